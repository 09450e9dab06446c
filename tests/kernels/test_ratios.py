"""kernels/ratios.py against NumPy, each output on its own."""

from typing import Any

import numpy as np
import pytest

from kernels.elementwise import absolute, maximum, minimum, sqrt
from kernels.node import Node, field
from kernels.plan import Plan
from kernels.ratios import (
    bar_shape,
    both_over,
    moments_over,
    position,
    root_over,
    ts_move_shares,
    ts_path_shares,
)
from kernels.rolling import ts_count, ts_sum
from kernels.shift import delay, delta
from tests.kernels.harness import DATA, Array, check, check_drift, run, same_bits

x, y, z = field("x"), field("y"), field("z")
WINDOWS = [1, 2, 5, 20, 60]


def before(x: Array, lag: int = 1) -> Array:
    return np.concatenate([np.full(lag, np.nan), x[:-lag]])


def over_moves(moves: Array, window: int, of: Any) -> Array:
    """`of` the last `window` moves where all of them are finite."""
    out = np.full(len(moves), np.nan)
    for t in range(window - 1, len(moves)):
        values = moves[t - window + 1 : t + 1]
        if np.isfinite(values).all():
            out[t] = of(values)
    return out


SHAPE = bar_shape(x, y, z, x * 0.5 + y * 0.5, 0.25)


@pytest.mark.parametrize("name", SHAPE)
def test_bar_shape(name: str) -> None:
    def reference(o: Array, h: Array, low: Array) -> Array:
        with np.errstate(all="ignore"):
            c = o * 0.5 + h * 0.5
            parts = {
                "mid": c - o,
                "length": h - low,
                "up": h - np.maximum(o, c),
                "down": np.minimum(o, c) - low,
                "shift": 2 * c - h - low,
            }
            return parts[name.removesuffix("_2")] / (h - low + 0.25 if name.endswith("_2") else o)

    check(SHAPE[name], reference, rtol=0.0)


def elementwise(which: str) -> tuple[Node, Node]:
    """The same by operators of one step each."""
    o, h, low, c = x, y, z, x * 0.5 + y * 0.5
    parts = {
        "mid": c - o,
        "length": h - low,
        "up": h - maximum(o, c),
        "down": minimum(o, c) - low,
        "shift": 2.0 * c - h - low,
    }
    part = parts[which.removesuffix("_2")]
    return SHAPE[which], part / (h - low + 0.25 if which.endswith("_2") else o)


def test_one_pass_has_the_bits_of_many() -> None:
    pairs = [elementwise(name) for name in SHAPE]
    pairs += zip(both_over(x, y, z), (x / z, y / z), strict=True)
    pairs += zip(moments_over(x, y, z), (x / z, sqrt(y) / z), strict=True)
    pairs += [(root_over(x, y, 0.1), sqrt(x) / (y + 0.1)), (position(x, y, z, 0.1), (x - y) / (z - y + 0.1))]
    rises, falls = (ts_count(c, 7) * (1.0 / 7) for c in (x > delay(x, 1), x < delay(x, 1)))
    pairs += zip(ts_move_shares(x, 7), (rises, falls, rises - falls), strict=True)
    # Refreshed at other bars, a sum may round otherwise, so whole numbers; 1e-12 is there to be seen.
    whole = field("whole")
    length, move = ts_sum(absolute(whole - delay(whole, 1)), 7), delta(whole, 7)
    up, down = ((length + way) * (0.5 / (length + 1e-12)) for way in (move, -move))
    pairs += zip(ts_path_shares(whole, 7), (up, down, up - down), strict=True)
    with np.errstate(invalid="ignore"):
        data = {**DATA, "whole": np.floor(DATA["y"])}
    for found, expected in pairs:
        both = run({"found": found, "expected": expected}, data)
        assert np.isfinite(both).any()
        same_bits(both[:, 0].copy(), both[:, 1].copy())


def test_a_shape_is_one_step() -> None:
    assert len(Plan(bar_shape(x, y, z, field("c"))).steps) == 1


@pytest.mark.parametrize("output", [0, 1])
def test_both_over(output: int) -> None:
    def reference(x: Array, y: Array, z: Array) -> Array:
        with np.errstate(all="ignore"):
            return (x, y)[output] / z

    check(both_over(x, y, z)[output], reference, rtol=0.0)


@pytest.mark.parametrize("output", [0, 1])
def test_moments_over(output: int) -> None:
    def reference(x: Array, y: Array, z: Array) -> Array:
        with np.errstate(all="ignore"):
            return (x if output == 0 else np.sqrt(y)) / z

    check(moments_over(x, y, z)[output], reference, rtol=0.0)


def test_root_over() -> None:
    def reference(x: Array, y: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.sqrt(x) / (y + 0.5)

    check(root_over(x, y, 0.5), reference, rtol=0.0)


def test_position() -> None:
    def reference(x: Array, y: Array, z: Array) -> Array:
        with np.errstate(all="ignore"):
            return (x - y) / (z - y + 0.5)

    check(position(x, y, z, 0.5), reference, rtol=0.0)


@pytest.mark.parametrize("output", [0, 1, 2])
@pytest.mark.parametrize("window", WINDOWS)
def test_move_shares(window: int, output: int) -> None:
    def reference(x: Array) -> Array:
        with np.errstate(invalid="ignore"):
            known = ~np.isnan(x) & ~np.isnan(before(x))
            sign = np.where(known, (x > before(x)) * 1.0 - (x < before(x)), np.nan)
        shares = (lambda v: (v > 0).mean(), lambda v: (v < 0).mean(), lambda v: v.mean())
        return over_moves(sign, window, shares[output])

    check(ts_move_shares(x, window)[output], reference, rtol=1e-15, atol=3e-16)


def path_reference(x: Array, window: int, output: int) -> Array:
    with np.errstate(invalid="ignore"):
        moves = x - before(x)

    def share(values: Array) -> Any:
        wide = values.astype(np.longdouble)
        rise, fall = np.maximum(wide, 0).sum(), np.maximum(-wide, 0).sum()
        return (rise, fall, rise - fall)[output] / (rise + fall + 1e-12)

    return over_moves(moves, window, share)


@pytest.mark.parametrize("output", [0, 1, 2])
@pytest.mark.parametrize("window", WINDOWS)
def test_path_shares(window: int, output: int) -> None:
    node = ts_path_shares(x, window)[output]
    # A move of prices at 1e9 is known to 1e-7 only, but exactly so: differences of neighbours are exact.
    check(node, lambda x: path_reference(x, window, output), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("output", [0, 1])
def test_path_shares_do_not_drift(output: int) -> None:
    check_drift(ts_path_shares(x, 20)[output], lambda x: path_reference(x, 20, output)[-1])


def test_path_shares_are_refreshed() -> None:
    """A print of 1e40 and one of 1e22 leave something behind even in a sum of twice the digits."""
    random = np.random.default_rng(6)
    prices = 100.0 + np.cumsum(random.normal(size=(200, 8)), axis=0)
    prices[100], prices[103] = 1e40, 1e22
    node = ts_path_shares(x, 20)[0]
    found = run({"out": node}, {"x": prices})[146:, 0]
    for k in range(8):
        assert np.allclose(found[:, k], path_reference(prices[:, k], 20, 0)[146:], rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("window", [0, -1, 2.0, True])
def test_windows_that_mean_nothing(window: Any) -> None:
    for operator in (ts_move_shares, ts_path_shares):
        with pytest.raises(ValueError, match="1 or more whole bars"):
            operator(x, window)
