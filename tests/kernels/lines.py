"""Two passes in extended precision over each window: what lines and correlations are held to."""

from typing import Any

import numpy as np

from tests.kernels.harness import Array


def line(x: Any, y: Any) -> dict[str, Any]:
    """Everything about y on x, from values that are all there, in extended precision."""
    x, y = x.astype(np.longdouble), y.astype(np.longdouble)
    mx, my = x.mean(), y.mean()
    dx, dy = x - mx, y - my
    xx, yy, xy = (dx * dx).sum(), (dy * dy).sum(), (dx * dy).sum()
    still_x, still_y = (np.sqrt(q / len(d)) <= 1e-15 * abs(m) for q, d, m in ((xx, dx, mx), (yy, dy, my)))
    beta = np.nan if still_x else xy / xx
    return {
        "cov": xy / (len(x) - 1),
        "corr": np.nan if still_x or still_y else xy / np.sqrt(xx) / np.sqrt(yy),
        "beta": beta,
        "alpha": my - beta * mx,
        "rsquare": np.nan if still_x or still_y else xy / xx * (xy / yy),
        "residual": dy[-1] - beta * dx[-1],
        "still": still_y,
        "variance": yy / (len(y) - 1),
        "level": my,
        "last": dy[-1],
    }


def of_pairs(x: Array, y: Array, window: int, least: int, what: str) -> Array:
    out = np.full(len(x), np.nan)
    both = np.isfinite(x) & np.isfinite(y)
    for t in range(len(x)):
        part = slice(max(0, t - window + 1), t + 1)
        there = both[part]
        if there.sum() >= max(least, 2) and (what != "residual" or there[-1]):
            out[t] = line(x[part][there], y[part][there])[what]
    return out


def of_time(x: Array, window: int, least: int, what: str) -> Array:
    out = np.full(len(x), np.nan)
    padded = np.concatenate([np.full(window - 1, np.nan), x])
    for t in range(len(x)):
        values = padded[t : t + window]
        there = np.isfinite(values)
        if there.sum() < max(least, 2) or (what == "residual" and not there[-1]):
            continue
        found = line(np.arange(1, window + 1)[there], values[there])
        if found["still"]:
            flat = {"beta": 0.0, "alpha": found["level"], "rsquare": np.nan, "residual": found["last"]}
            out[t] = (found | flat)[what]
        else:
            out[t] = found[what]
    return out


TOLERANCE: dict[str, Any] = {"rtol": 1e-9, "usual": 1e-10}
"""Relative to the value, or to the column's median: a covariance near 0 is a difference of large sums."""
