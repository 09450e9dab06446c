"""kernels/extremes.py against NumPy on each window."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kernels.extremes import HIGHEST, LOWEST, ts_argmax, ts_argmin, ts_max, ts_min, ts_range_position
from kernels.node import Node, Operator, field
from kernels.plan import Plan
from kernels.run import Program
from tests.kernels.harness import DATA, START, Array, check, run, same_bits

X = field("x")


def over_windows(x: Array, window: int, least: int, of: Callable[[Any], Any]) -> Array:
    """`of` the last `window` bars, missing ones (and those before the first) as NaN."""
    out = np.full(len(x), np.nan)
    padded = np.concatenate([np.full(window - 1, np.nan), np.where(np.isfinite(x), x, np.nan)])
    for t in range(len(x)):
        values = padded[t : t + window]
        if np.isfinite(values).sum() >= least:
            out[t] = of(values)
    return out


WINDOWS = [(1, 1), (2, 1), (5, 5), (20, 3), (60, 60), (64, 9), (65, 9), (90, 90)]


@pytest.mark.parametrize(("window", "least"), WINDOWS)
@pytest.mark.parametrize(("operator", "of"), [(ts_max, np.nanmax), (ts_min, np.nanmin)])
def test_value(operator: Callable[..., Node], of: Callable[[Any], Any], window: int, least: int) -> None:
    check(operator(X, window, least), lambda x: over_windows(x, window, least, of), rtol=0.0)


@pytest.mark.parametrize(("window", "least"), WINDOWS)
@pytest.mark.parametrize(("operator", "of"), [(ts_argmax, np.nanargmax), (ts_argmin, np.nanargmin)])
def test_place_is_of_the_oldest(
    operator: Callable[..., Node], of: Callable[[Any], Any], window: int, least: int
) -> None:
    check(operator(X, window, least), lambda x: over_windows(x, window, least, lambda v: of(v) + 1), rtol=0.0)


@pytest.mark.parametrize(("window", "least"), WINDOWS)
@pytest.mark.parametrize(("operator", "of"), [(ts_argmax, np.nanargmax), (ts_argmin, np.nanargmin)])
def test_place_is_of_the_newest_where_asked(
    operator: Callable[..., Node], of: Callable[[Any], Any], window: int, least: int
) -> None:
    check(
        operator(X, window, least, newest=True),
        lambda x: over_windows(x, window, least, lambda v: window - of(v[::-1])),
        rtol=0.0,
    )


@pytest.mark.parametrize("window", [3, 9, 40])
@pytest.mark.parametrize("newest", [False, True])
def test_of_zeros_the_one_that_stands_there(window: int, newest: bool) -> None:
    """0.0 and -0.0 are equals: value and place are those of one and the same bar."""
    random = np.random.default_rng(4)
    x = random.choice([0.0, -0.0, -1.0, 1.0], (300, 16), p=[0.3, 0.3, 0.37, 0.03])
    where = ts_argmax(X, window, newest=newest)
    value = HIGHEST(X, parameters=(window, window, int(newest)))[0]
    for slots in ([0, 16], *([k, 1] for k in range(16))):
        program = Program(Plan({"value": value, "where": where}), 16)
        found = run({}, {"x": x}, program=program, slots=(slots[0], slots[1]))
        for k in range(slots[0], slots[0] + slots[1]):
            for t in range(window, 300):
                bar = t - window + int(found[t, 1, k])
                assert np.signbit(found[t, 0, k]) == np.signbit(x[bar, k])


@pytest.mark.parametrize("newest", [False, True])
@pytest.mark.parametrize("operator", [HIGHEST, LOWEST])
def test_what_is_kept_does_not_depend_on_the_others(operator: Operator, newest: bool) -> None:
    """One symbol may be searched alone, or with many that lost theirs: the state is the same."""
    outputs = {"out": operator(X, parameters=(20, 3, int(newest)))[1]}
    together, alone = Program(Plan(outputs), DATA["x"].shape[1]), Program(Plan(outputs), DATA["x"].shape[1])
    for t in range(0, 420, 5):
        piece = {"x": DATA["x"][t : t + 5]}
        run(outputs, piece, program=together, start=START + t)
        for slot in range(alone.n_slots):
            run(outputs, piece, program=alone, start=START + t, slots=(slot, 1))
        rows = slice(together.plan.steps[0].own_row, together.plan.steps[0].own_row + 3)
        same_bits(alone.state[rows].copy(), together.state[rows].copy())


def test_range_position() -> None:
    def reference(x: Array) -> Array:
        with np.errstate(invalid="ignore"):
            return over_windows(
                x, 20, 20, lambda v: (v[-1] - v.min()) / (v.max() - v.min()) if v.max() > v.min() else np.nan
            )

    check(ts_range_position(X, 20), reference, rtol=1e-15)


def test_value_and_place_are_one_pass() -> None:
    plan = Plan({"max": ts_max(X, 7), "place": ts_argmax(X, 7), "lowest": ts_min(X, 7)})
    assert [step.operator.name for step in plan.steps] == ["ts_highest", "ts_lowest"]


@pytest.mark.parametrize(("window", "least"), [(0, None), (5, 0), (5, 6), (5.0, None)])
def test_windows_that_mean_nothing(window: Any, least: int | None) -> None:
    with pytest.raises(ValueError, match="min_periods <= window"):
        ts_max(X, window, least)
