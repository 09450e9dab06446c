"""kernels/quantiles.py against NumPy on each window."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kernels.node import field
from kernels.plan import Plan
from kernels.quantiles import ts_mad, ts_median, ts_median_deviation, ts_order, ts_quantile, ts_rank
from tests.kernels.harness import DATA, Array, agree, check, check_bits, run, same_bits

X = field("x")
WINDOWS = [(1, 1), (2, 1), (5, 5), (20, 3), (60, 60)]


def over_windows(x: Array, window: int, least: int, of: Callable[[Any], Any]) -> Array:
    """`of` each window's values, the newest last; NaN below `least` values."""
    out = np.full(len(x), np.nan)
    for t in range(len(x)):
        values = x[max(0, t - window + 1) : t + 1]
        values = values[np.isfinite(values)]
        if len(values) >= least:
            out[t] = of(values)
    return out


def rank_of_last(values: Array) -> float:
    less, equal = (values < values[-1]).sum(), (values == values[-1]).sum()
    return float((less + (equal + 1) / 2) / len(values))


def mean_deviation(values: Array) -> Any:
    wide = values.astype(np.longdouble) - values[0]  # at 1e9 even extended precision rounds
    return np.abs(wide - wide.mean()).mean()


@pytest.mark.parametrize(("window", "least"), WINDOWS)
def test_rank(window: int, least: int) -> None:
    def reference(x: Array) -> Array:
        return np.where(np.isfinite(x), over_windows(x, window, least, rank_of_last), np.nan)

    check(ts_rank(X, window, least), reference, rtol=1e-15)


@pytest.mark.parametrize(
    ("window", "least", "q"),
    [(*w, q) for w in WINDOWS for q in (0.2, 0.5, 0.87)]
    + [(2, 1, 0.0), (20, 3, 0.0), (20, 3, 1.0), (9, 9, 1.0)],
)
def test_quantile(window: int, least: int, q: float) -> None:
    check(
        ts_quantile(X, window, q, least),
        lambda x: over_windows(x, window, least, lambda v: np.quantile(v, q)),
        rtol=1e-13,
        atol=1e-13,
    )


@pytest.mark.parametrize(("window", "least"), [*WINDOWS, (3, 3), (7, 2), (30, 30)])
@pytest.mark.parametrize(("q", "other"), [(0.2, 0.8), (0.8, 0.2)])
def test_order_is_quantiles_and_rank(window: int, least: int, q: float, other: float) -> None:
    """To the bit, also with zeros of both signs, which are equals."""
    made = ts_order(X, window, q, least)
    apart = (
        ts_quantile(X, window, q, least),
        ts_quantile(X, window, other, least),
        ts_rank(X, window, least),
    )
    random, shape = np.random.default_rng(3), DATA["x"].shape
    zeros = random.choice([0.0, -0.0, 1.0], shape)
    zeros[200:] = random.choice([0.0, -0.0, np.nan, np.inf, -np.inf], shape)[200:]
    for x in (DATA["x"], zeros):
        for found, expected in zip(made, apart, strict=True):
            values = run({"out": found}, {"x": x})
            assert np.isfinite(values).any()
            same_bits(values, run({"out": expected}, {"x": x}))


def test_order_is_the_same_in_every_way() -> None:
    rank = ts_order(X, 20, 0.8, 3)[2]
    check_bits(rank, run({"out": rank}, DATA))


def test_order_is_one_pass() -> None:
    assert len(Plan(dict(zip("abc", ts_order(X, 10, 0.8), strict=True))).steps) == 1


def test_pandas_says_the_same() -> None:
    x = DATA["x"]
    found = run({"rank": ts_rank(X, 20, 3), "quantile": ts_quantile(X, 20, 0.8, 3)}, DATA)
    for k in range(x.shape[1]):
        series = pd.Series(np.where(np.isfinite(x[:, k]), x[:, k], np.nan))
        rolling = series.rolling(20, min_periods=3)
        agree(found[:, 0, k], rolling.rank(pct=True).to_numpy(), 1e-14, 0.0, f"rank, column {k}")
        agree(found[:, 1, k], rolling.quantile(0.8).to_numpy(), 1e-14, 1e-14, f"quantile, column {k}")


@pytest.mark.parametrize(("window", "least"), [(7, 7), (20, 3)])
def test_median(window: int, least: int) -> None:
    check(
        ts_median(X, window, least),
        lambda x: over_windows(x, window, least, np.median),
        rtol=1e-13,
        atol=1e-13,
    )


@pytest.mark.parametrize("window", [1, 2, 7, 20])
def test_mean_deviation(window: int) -> None:
    check(
        ts_mad(X, window),
        lambda x: over_windows(x, window, window, mean_deviation),
        rtol=1e-12,
        atol=1e-13,
    )


@pytest.mark.parametrize("window", [1, 2, 7, 20])
def test_median_deviation(window: int) -> None:
    check(
        ts_median_deviation(X, window),
        lambda x: over_windows(x, window, window, lambda v: np.median(np.abs(v - np.median(v)))),
        rtol=1e-13,
        atol=1e-13,
    )


def test_a_zero_is_a_zero() -> None:
    """Which of two equal zeros left the sorted window may not show later."""
    random = np.random.default_rng(2)
    x = np.where(random.random((400, 8)) < 0.5, 0.0, -0.0)
    outputs = {
        "q": ts_quantile(X, 6, 0.3),
        "even": ts_median_deviation(X, 6),
        "odd": ts_median_deviation(X, 7),
    }
    found = run(outputs, {"x": x})[6:]
    assert (found == 0.0).all()
    assert not np.signbit(found).any()


def test_both_sides_are_one_pass() -> None:
    plan = Plan({"high": ts_quantile(X, 10, 0.8), "low": ts_quantile(X, 10, 0.2)})
    assert len(plan.steps) == 1
    found = run({"high": ts_quantile(X, 10, 0.8), "low": ts_quantile(X, 10, 0.2)}, DATA)
    assert np.nanmax(found[:, 0] - found[:, 1]) > 0.0


@pytest.mark.parametrize("q", [-0.1, 1.1, np.nan, True])
def test_quantiles_that_mean_nothing(q: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        ts_quantile(X, 10, q)


@pytest.mark.parametrize(("window", "least"), [(0, None), (5, 0), (5, 6)])
def test_windows_that_mean_nothing(window: int, least: int | None) -> None:
    with pytest.raises(ValueError, match="min_periods <= window"):
        ts_rank(X, window, least)
