"""kernels/rolling.py against two passes in extended precision over each window."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kernels.node import field
from kernels.rolling import (
    ts_count,
    ts_kurt,
    ts_mean,
    ts_product,
    ts_skew,
    ts_std,
    ts_sum,
    ts_sum_if,
    ts_var,
    ts_zscore,
)
from tests.kernels.harness import Array, check, check_drift, run


def over_windows(x: Array, window: int, least: int, of: Callable[[Any], Any]) -> Array:
    """`of` each window's finite values in extended precision; NaN below `least` values."""
    out = np.full(len(x), np.nan)
    for t in range(len(x)):
        values = x[max(0, t - window + 1) : t + 1].astype(np.longdouble)
        values = values[np.isfinite(values)]
        if len(values) >= least:
            out[t] = of(values)
    return out


@pytest.mark.parametrize(("window", "least"), [(1, 1), (5, 5), (20, 3), (60, 60)])
def test_mean(window: int, least: int) -> None:
    check(
        ts_mean(field("x"), window, least),
        lambda x: over_windows(x, window, least, np.mean),
        rtol=1e-12,
        atol=1e-13,
    )


@pytest.mark.parametrize(("window", "least"), [(2, 2), (5, 5), (20, 3), (60, 60)])
def test_variance(window: int, least: int) -> None:
    check(
        ts_var(field("x"), window, least),
        lambda x: over_windows(x, window, max(least, 2), lambda v: np.var(v, ddof=1)),
        rtol=1e-9,
        atol=1e-30,
    )


@pytest.mark.parametrize(("window", "least"), [(1, 1), (5, 5), (20, 3), (60, 60)])
def test_sum(window: int, least: int) -> None:
    check(ts_sum(field("x"), window, least), lambda x: over_windows(x, window, least, np.sum), rtol=1e-15)


def test_sums_of_whole_numbers_are_exact() -> None:
    random = np.random.default_rng(1)
    x = random.integers(0, 2, (5000, 8)).astype(float)
    x[:, 4:] *= 2.0**52
    found = run({"out": ts_sum(field("x"), 30)}, {"x": x})[29:, 0]
    assert np.array_equal(found, np.lib.stride_tricks.sliding_window_view(x, 30, axis=0).sum(axis=-1))


@pytest.mark.parametrize(("window", "least"), [(1, 1), (20, 20), (30, 4)])
def test_count(window: int, least: int) -> None:
    def reference(x: Array, y: Array) -> Array:
        known = ~(np.isnan(x) | np.isnan(y))
        true = np.where(known, (x < y).astype(float), np.nan)
        return pd.Series(true).rolling(window, least).sum().round().to_numpy()

    check(ts_count(field("x") < field("y"), window, least), reference, rtol=0.0)
    # Any number but 0.0 is true, infinite ones too.
    check(
        ts_count(field("x"), window, least),
        lambda x: pd.Series(np.where(np.isnan(x), np.nan, x != 0.0)).rolling(window, least).sum().round(),
        rtol=0.0,
    )


def test_sum_if() -> None:
    def reference(y: Array, x: Array) -> Array:  # the plan meets y first
        with np.errstate(invalid="ignore"):
            taken = np.where(np.isnan(y), np.nan, np.where(y > 100.0, x, 0.0))
        return over_windows(taken, 20, 20, np.sum)

    check(ts_sum_if(field("x"), field("y") > 100.0, 20), reference, rtol=1e-15)


def test_zscore() -> None:
    def reference(x: Array) -> Array:
        mean = over_windows(x, 20, 20, np.mean)
        std = over_windows(x, 20, 20, lambda v: np.std(v, ddof=1))
        with np.errstate(all="ignore"):
            return np.where(std > 0.0, (x - mean) / std, np.nan)

    # At 1e9 the mean itself is rounded to 1e-7, which is then what the score is off by.
    check(ts_zscore(field("x"), 20), reference, rtol=1e-9, atol=1e-6)


def skew_of(values: Any) -> Any:
    d = values - values.mean()
    n, m2, m3 = len(d), np.mean(d**2), np.mean(d**3)
    return np.sqrt(np.longdouble(n * (n - 1))) / (n - 2) * m3 / m2**1.5 if (d != 0).any() else np.nan


def kurt_of(values: Any) -> Any:
    d = values - values.mean()
    n, m2, m4 = len(d), np.mean(d**2), np.mean(d**4)
    if not (d != 0).any():
        return np.nan
    return ((n * n - 1) * m4 / m2**2 - 3 * (n - 1) ** 2) / ((n - 2) * (n - 3))


@pytest.mark.parametrize(("window", "least"), [(4, 4), (20, 20), (60, 7)])
def test_skewness_and_kurtosis(window: int, least: int) -> None:
    """Absolute tolerance: a skewness near 0 is a difference of large sums."""
    check(ts_skew(field("x"), window, least), lambda x: over_windows(x, window, least, skew_of), atol=1e-8)
    check(ts_kurt(field("x"), window, least), lambda x: over_windows(x, window, least, kurt_of), atol=1e-8)


def test_skewness_and_kurtosis_are_those_of_pandas() -> None:
    x = np.random.default_rng(2).gamma(2.0, size=(300, 1))
    found = run({"skew": ts_skew(field("x"), 30), "kurt": ts_kurt(field("x"), 30)}, {"x": x})[:, :, 0]
    windows = pd.Series(x[:, 0]).rolling(30)
    np.testing.assert_allclose(found[:, 0], windows.skew(), rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(found[:, 1], windows.kurt(), rtol=1e-9, atol=1e-11)


def test_a_window_too_short_for_a_kurtosis_is_told() -> None:
    with pytest.raises(ValueError, match="window of 4 or more"):
        ts_kurt(field("x"), 3)
    with pytest.raises(ValueError, match="whole numbers"):
        ts_sum(field("x"), 20.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("window", [1, 2, 21])
def test_product(window: int) -> None:
    def reference(x: Array) -> Array:
        return over_windows(x, window, window, np.prod)

    check(ts_product(field("x"), window), reference, rtol=1e-14)


def test_drift_of_shape() -> None:
    check_drift(ts_kurt(field("x"), 60), lambda x: kurt_of(x[-60:]), window=60)
    check_drift(ts_skew(field("x"), 20), lambda x: skew_of(x[-20:]), window=20)


def test_drift() -> None:
    check_drift(ts_sum(field("x"), 20), lambda x: np.sum(x[-20:]), window=20)
    check_drift(ts_mean(field("x"), 20), lambda x: np.mean(x[-20:]), window=20)
    check_drift(ts_std(field("x"), 60), lambda x: np.std(x[-60:], ddof=1), window=60)
