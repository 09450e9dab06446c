"""kernels/cumulative.py against pandas and plain loops."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from kernels.cumulative import (
    bars_since,
    cum_count,
    cum_max,
    cum_min,
    cum_product,
    cum_sum,
    drawdown,
    streak,
    ts_fill,
    ts_max_drawdown,
    value_when,
)
from kernels.node import Node, field
from tests.kernels.harness import Array, check, run

x, y, z = field("x"), field("y"), field("z")


def finite(x: Array) -> "pd.Series[float]":
    return pd.Series(np.where(np.isfinite(x), x, np.nan))


@pytest.mark.parametrize(
    ("node", "reference"),
    [
        (cum_max(x), lambda x: finite(x).cummax()),
        (cum_min(x), lambda x: finite(x).cummin()),
        (cum_count(x), lambda x: finite(x).expanding().count()),
        (ts_fill(x), lambda x: finite(x).ffill()),
        (drawdown(x), lambda x: (finite(x) / finite(x).cummax() - 1).where(finite(x).cummax() > 0)),
    ],
    ids=lambda x: repr(x) if isinstance(x, Node) else "reference",
)
def test_as_pandas(node: Node, reference: Callable[[Array], object]) -> None:
    check(node, reference, rtol=0.0)


def test_sum() -> None:
    def expected(x: Array) -> Array:
        there = np.isfinite(x)
        total = np.cumsum(np.where(there, x, 0).astype(np.longdouble))
        return np.where(there, total, np.nan).astype(float)

    check(cum_sum(x), expected, rtol=1e-15, atol=1e-25)


def test_sum_begins_again_where_reset_is_true() -> None:
    def expected(x: Array, reset: Array) -> Array:
        out = np.full(len(x), np.nan)
        total = np.longdouble(0)
        for t in range(len(x)):
            if reset[t] > 1.0:
                total = np.longdouble(0)
            if np.isfinite(x[t]):
                total += x[t]
                out[t] = total
        return out

    # On "signed" and "ties" the reset comes now and then, on prices at every bar.
    check(cum_sum(x, y > 1.0), expected, rtol=1e-15, atol=1e-13)


def test_sum_keeps_its_digits() -> None:
    """A million bars of +-1e9 around a sum of ones: a plain sum would lose 1e-6 of it."""
    random = np.random.default_rng(3)
    values = np.repeat(1e9 * random.normal(size=500_000), 2)
    values[1::2] *= -1
    values += 0.1
    found = run({"out": cum_sum(x)}, {"x": values[:, None]})[-1, 0, 0]
    expected = values.astype(np.longdouble).sum()
    assert abs(found - expected) < 1e-12 * expected


def test_product() -> None:
    growth = 1.0 + x / 1e4

    def expected(x: Array) -> Array:
        there = np.isfinite(x)
        product = np.cumprod(np.where(there, 1 + x / 1e4, 1.0).astype(np.longdouble))
        return np.where(there, product, np.nan).astype(float)

    # 1e9 / 1e4 to the 420th is inf in one and not in the other's range.
    check(cum_product(growth), expected, rtol=1e-12, atol=1e-300, without=("offset",))


def test_product_beyond_range_is_inf() -> None:
    assert np.isposinf(run({"out": cum_product(x)}, {"x": np.full((400, 1), 10.0)})[-1, 0, 0])


def test_streak() -> None:
    def expected(x: Array, y: Array) -> Array:
        out = np.full(len(x), np.nan)
        length = 0
        for t in range(len(x)):
            length = length + 1 if x[t] < y[t] else 0
            if not np.isnan(x[t]) and not np.isnan(y[t]):
                out[t] = length
        return out

    check(streak(x < y), expected, rtol=0.0)


def test_the_unknown_ends_a_streak() -> None:
    condition = np.array([1.0, 2.0, np.nan, 1.0, 1.0, 0.0, -1.0])[:, None]
    found = run({"out": streak(x)}, {"x": condition})[:, 0, 0]
    assert found.tolist()[:2] + found.tolist()[3:] == [1.0, 2.0, 1.0, 2.0, 0.0, 1.0]
    assert np.isnan(found[2])


def test_bars_since() -> None:
    def expected(x: Array, y: Array) -> Array:
        at = np.arange(len(x), dtype=float)
        last = pd.Series(np.where(x < y, at, np.nan)).ffill()
        return np.asarray(at - last, float)

    check(bars_since(x < y), expected, rtol=0.0)


def test_value_when() -> None:
    def expected(x: Array, y: Array, z: Array) -> Array:
        out = np.full(len(x), np.nan)
        value = np.nan
        for t in range(len(x)):
            if x[t] < y[t]:
                value = z[t]
            out[t] = value
        return out

    check(value_when(x < y, z), expected, rtol=0.0)


@pytest.mark.parametrize("window", [1, 2, 3, 20, 64])
def test_deepest_fall_of_a_window(window: int) -> None:
    def expected(x: Array) -> Array:
        out = np.full(len(x), np.nan)
        for t in range(window - 1, len(x)):
            values = x[t - window + 1 : t + 1]
            if np.isfinite(values).all() and (values > 0).all():
                out[t] = (values / np.maximum.accumulate(values)).min() - 1.0
        return out

    check(ts_max_drawdown(x, window), expected, rtol=0.0)


def test_no_window_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        ts_max_drawdown(x, 0)
