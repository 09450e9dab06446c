"""kernels/rolling.py against two passes in extended precision over each window."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kernels.node import field
from kernels.rolling import ts_mean, ts_std, ts_var
from tests.kernels.harness import Array, check, check_drift


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


def test_drift() -> None:
    check_drift(ts_mean(field("x"), 20), lambda x: np.mean(x[-20:]))
    check_drift(ts_std(field("x"), 60), lambda x: np.std(x[-60:], ddof=1))
