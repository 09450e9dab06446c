"""kernels/shift.py against pandas and extended precision."""

import numpy as np
import pandas as pd
import pytest

from kernels.node import field
from kernels.shift import delay, delta, log_change, pct_change
from tests.kernels.harness import Array, check

x = field("x")


def before(values: Array, d: int) -> Array:
    return pd.Series(values).shift(d).to_numpy(copy=True)


@pytest.mark.parametrize("d", [1, 7, 8, 64])
def test_delay(d: int) -> None:
    check(delay(x, d), lambda v: before(v, d), rtol=0.0)


def test_no_delay_is_the_series_itself() -> None:
    assert delay(x, 0) is x


@pytest.mark.parametrize("d", [1, 20])
@np.errstate(invalid="ignore")
def test_delta(d: int) -> None:
    check(delta(x, d), lambda v: v - before(v, d), rtol=0.0)


@pytest.mark.parametrize("d", [1, 20])
@np.errstate(all="ignore")
def test_pct_change(d: int) -> None:
    def reference(v: Array) -> Array:
        now, old = v.astype(np.longdouble), before(v, d).astype(np.longdouble)
        return np.asarray(np.where(old == 0, np.nan, (now - old) / old), float)

    check(pct_change(x, d), reference, rtol=4e-16)


@pytest.mark.parametrize("d", [1, 20])
@np.errstate(all="ignore")
def test_log_change(d: int) -> None:
    def reference(v: Array) -> Array:
        now, old = v.astype(np.longdouble), before(v, d).astype(np.longdouble)
        return np.asarray(np.where((now > 0) & (old > 0), np.log(now / old), np.nan), float)

    check(log_change(x, d), reference, rtol=1e-12, atol=3e-16)


@pytest.mark.parametrize("shift", [delta, pct_change, log_change])
def test_a_lag_is_a_whole_number_of_bars_from_one_on(shift: object) -> None:
    for d in (0, -1, 1.0, True):
        with pytest.raises(ValueError, match="lag"):
            shift(x, d)  # type: ignore[operator]
    with pytest.raises(ValueError, match="lag"):
        delay(x, -1)
