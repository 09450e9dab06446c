"""kernels/regression.py against two passes in extended precision over each window."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kernels.node import Node, field
from kernels.plan import Plan
from kernels.regression import (
    ts_alpha,
    ts_beta,
    ts_beta_residual,
    ts_beta_rsquare,
    ts_corr,
    ts_cov,
    ts_forecast,
    ts_intercept,
    ts_residual,
    ts_rsquare,
    ts_slope,
    ts_trend_mean,
    ts_trend_var,
)
from tests.kernels.harness import DATA, Array, T, check, check_drift, run

X, Y = field("x"), field("y")
WINDOWS = [(2, 2), (5, 5), (20, 3), (60, 60)]


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


@pytest.mark.parametrize(("window", "least"), [*WINDOWS, (3, 3), (4, 4), (6, 6), (7, 7), (8, 8), (9, 9)])
def test_correlation(window: int, least: int) -> None:
    check(ts_corr(X, Y, window, least), lambda x, y: of_pairs(x, y, window, least, "corr"), **TOLERANCE)


@pytest.mark.parametrize(("window", "least"), WINDOWS)
def test_covariance(window: int, least: int) -> None:
    check(ts_cov(X, Y, window, least), lambda x, y: of_pairs(x, y, window, least, "cov"), **TOLERANCE)


@pytest.mark.parametrize(("window", "least"), [(5, 5), (20, 3)])
@pytest.mark.parametrize(
    ("operator", "what"),
    [
        (ts_beta, "beta"),
        (ts_alpha, "alpha"),
        (ts_beta_rsquare, "rsquare"),
        (ts_beta_residual, "residual"),
    ],
)
def test_line_of_two_series(operator: Callable[..., Node], what: str, window: int, least: int) -> None:
    check(operator(Y, X, window, least), lambda x, y: of_pairs(x, y, window, least, what), **TOLERANCE)


@pytest.mark.parametrize(("window", "least"), WINDOWS)
@pytest.mark.parametrize(("operator", "what"), [(ts_slope, "beta"), (ts_rsquare, "rsquare")])
def test_line_on_time(operator: Callable[..., Node], what: str, window: int, least: int) -> None:
    check(operator(X, window, least), lambda x: of_time(x, window, least, what), **TOLERANCE)


@pytest.mark.parametrize(
    ("operator", "what"),
    [
        (ts_intercept, "alpha"),
        (ts_residual, "residual"),
        (ts_trend_mean, "level"),
        (ts_trend_var, "variance"),
    ],
)
def test_place_on_time(operator: Callable[..., Node], what: str) -> None:
    check(operator(X, 20, 3), lambda x: of_time(x, 20, 3, what), **TOLERANCE)


def test_forecast() -> None:
    check(
        ts_forecast(X, 20, 2),
        lambda x: of_time(x, 20, 20, "alpha") + 22 * of_time(x, 20, 20, "beta"),
        **TOLERANCE,
    )


@pytest.mark.parametrize("window", [5, 20])
def test_a_correlation_that_is_0_where_nothing_varies(window: int) -> None:
    def reference(x: Array, y: Array) -> Array:
        found = of_pairs(x, y, window, window, "corr")
        full = ~np.isnan(of_pairs(x, y, window, window, "cov"))
        return np.where(full & np.isnan(found), 0.0, found)

    check(ts_corr(X, Y, window, flat_is_zero=True), reference, **TOLERANCE)


def test_drift() -> None:
    def last(what: str, window: int) -> Callable[..., Any]:
        return lambda x: line(np.arange(1.0, window + 1), x[-window:])[what]

    check_drift(ts_slope(X, 20), last("beta", 20), window=20)
    check_drift(ts_rsquare(X, 60), last("rsquare", 60), window=60)
    check_drift(ts_residual(X, 20), last("residual", 20), window=20)


def test_drift_of_two_series() -> None:
    def last(what: str) -> Callable[..., Any]:
        return lambda x, y: line(x[-20:], y[-20:])[what]

    check_drift(ts_corr(X, Y, 20), last("corr"), window=20)
    check_drift(ts_cov(X, Y, 20), last("cov"), window=20)
    check_drift(ts_beta(Y, X, 20), last("beta"), window=20)
    check_drift(ts_beta_residual(Y, X, 20), last("residual"), window=20)


def test_what_does_not_vary_correlates_with_nothing() -> None:
    """Neither after long motion nor after a bad print may rounding make a correlation of a constant."""
    random = np.random.default_rng(3)
    x = 100.0 + np.cumsum(random.normal(size=(T, 3)), axis=0)
    x[100] *= 1e6
    x[150:, 0] = 0.1
    x[150:, 1] = 0.1 + np.where(random.random(T - 150) < 0.5, 0.0, np.spacing(0.1))
    x[150:, 2] = 1e9
    y = random.normal(size=(T, 3))
    data = {"x": x, "y": y}
    outputs = {
        "corr": ts_corr(X, Y, 20),
        "beta": ts_beta(Y, X, 20),
        "rsquare": ts_rsquare(X, 20),
        "slope": ts_slope(X, 20),
    }
    found = run(outputs, data)[169:]
    assert np.isnan(found[:, :3]).all()
    assert (found[:, 3] == 0.0).all()


def test_correlation_stays_within_one() -> None:
    x = DATA["x"]
    found = run({"same": ts_corr(X, X * 3.0, 5), "opposite": ts_corr(X, -X, 5)}, {"x": x})
    assert np.nanmax(found) == 1.0
    assert np.nanmin(found) == -1.0


def test_one_pass_gives_the_whole_line() -> None:
    outputs = {"a": ts_slope(X, 9), "b": ts_intercept(X, 9), "c": ts_rsquare(X, 9), "d": ts_residual(X, 9)}
    outputs |= {"mean": ts_trend_mean(X, 9), "var": ts_trend_var(X, 9)}
    assert len(Plan(outputs).steps) == 1


@pytest.mark.parametrize(("window", "least"), [(1, None), (5, 0), (5, 6), (5.0, None)])
def test_windows_that_mean_nothing(window: Any, least: int | None) -> None:
    with pytest.raises(ValueError, match="min_periods <= window"):
        ts_slope(X, window, least)
