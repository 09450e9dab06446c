"""kernels/indicators.py against the same in NumPy, and Wilder's means in extended precision."""

import numpy as np
import pytest

from kernels.indicators import (
    directional_movement,
    ratio,
    relative_change,
    rises_falls,
    share,
    true_range,
    where_known,
)
from kernels.node import field
from tests.kernels.harness import DATA, Array, check
from tests.kernels.test_exponential import filtered

x, y, z = field("x"), field("y"), field("z")


def before(x: Array) -> Array:
    return np.concatenate([[np.nan], x[:-1]])


def test_ratio() -> None:
    with np.errstate(invalid="ignore"):
        data = {"x": DATA["x"], "y": np.round(DATA["y"] % 3.0) - 1.0}  # -1, 0, 1, 2

    def expected(x: Array, y: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.where((y == 0) & ~np.isnan(x), 0.5, x / np.where(y == 0, 1, y))

    check(ratio(x, y, 0.5), expected, rtol=0.0, data=data)
    assert (data["y"][:, 0] == 0).any()


def test_where_known() -> None:
    check(where_known(x, y), lambda x, y: np.where(np.isnan(y), np.nan, x), rtol=0.0)


def test_true_range() -> None:
    def expected(x: Array, y: Array, z: Array) -> Array:
        with np.errstate(all="ignore"):
            c = before(z)
            return np.maximum(x - y, np.maximum(np.abs(x - c), np.abs(y - c)))

    check(true_range(x, y, z), expected, rtol=0.0, without=("infinite",))  # inf - inf is no range


@pytest.mark.parametrize("output", [0, 1])
def test_directional_movement(output: int) -> None:
    def expected(x: Array, y: Array) -> Array:
        with np.errstate(all="ignore"):
            rise, fall = x - before(x), before(y) - y
        a, b = (rise, fall) if output == 0 else (fall, rise)
        return np.where(np.isnan(rise) | np.isnan(fall), np.nan, np.where((a > b) & (a > 0), a, 0.0))

    check(directional_movement(x, y)[output], expected, rtol=0.0)


@pytest.mark.parametrize("output", [0, 1])
@pytest.mark.parametrize("n", [1, 2, 14])
def test_rises_and_falls(n: int, output: int) -> None:
    def expected(x: Array) -> Array:
        with np.errstate(all="ignore"):
            change = x - before(x)
        change[np.isinf(change)] = np.nan
        return filtered(np.maximum(change if output == 0 else -change, 0.0), 1 / n, n)

    # What a fall of 1000 leaves behind fades from above: nothing cancels, no atol but for the fading itself.
    check(rises_falls(x, n)[output], expected, rtol=1e-12, atol=1e-20)


def test_no_length_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        rises_falls(x, 0)


def test_share_and_relative_change() -> None:
    x, y = field("x"), field("y")

    def shares(a: Array, b: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.where(a + b == 0.0, 0.0, 100.0 * (a / (a + b)))

    def changes(a: Array) -> Array:
        old = np.concatenate([np.full(7, np.nan), a[:-7]])
        with np.errstate(all="ignore"):
            return np.where((old == 0.0) & np.isfinite(a), 0.0, 2.0 * ((a - old) / old))

    check(share(x, y, 100.0), shares, rtol=0.0)
    check(relative_change(x, 7, 2.0), changes, rtol=0.0, without=("infinite",))
    with pytest.raises(ValueError, match="at least one bar back, found 0"):
        relative_change(x, 0)
