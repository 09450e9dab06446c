"""kernels/batch.py: pieces are the whole, and what does not fit is named."""

import numpy as np
import pytest

from kernels.batch import batch
from kernels.cross_section import GATE
from kernels.node import field
from kernels.plan import MEMBER, Plan
from kernels.rolling import ts_mean
from kernels.run import TILE, Program

CLOSE = field("close")


def test_pieces_give_the_whole() -> None:
    data = np.random.default_rng(2).normal(size=(90, 1, 11))
    plan = Plan({"mean": ts_mean(CLOSE, 9)})
    whole = batch(Program(plan, 11), data, g=5)
    program, out = Program(plan, 11), np.empty((90, 1, 11))
    for begin in range(0, 90, 13):
        batch(program, data[begin : begin + 13], g=5 + begin, out=out[begin : begin + 13])
    assert out.tobytes() == whole.tobytes()


def test_more_symbols_than_a_tile_are_as_if_alone() -> None:
    n = 2 * TILE + 37
    data = np.random.default_rng(2).normal(size=(30, 1, n))
    plan = Plan({"mean": ts_mean(CLOSE, 9)})
    whole = batch(Program(plan, n), data, g=0)
    for slot in (0, TILE - 1, TILE, n - 1):
        alone = batch(Program(plan, 1), np.ascontiguousarray(data[:, :, slot : slot + 1]), g=0)
        assert alone[:, :, 0].tobytes() == whole[:, :, slot].tobytes()


def test_members_are_who_has_a_value_unless_said() -> None:
    data = np.random.default_rng(2).normal(size=(6, 1, 4))
    data[3, 0, 2] = np.nan
    plan = Plan({"gated": GATE(CLOSE, MEMBER)[0]})
    assert np.array_equal(batch(Program(plan, 4), data, g=0)[:, 0], data[:, 0], equal_nan=True)
    members = np.ones((6, 4))
    members[:, 1] = 0.0
    got = batch(Program(plan, 4), data, g=0, members=members)[:, 0]
    assert np.isnan(got[:, 1]).all() and np.array_equal(got[:, 0], data[:, 0, 0])


def test_what_does_not_fit_is_named() -> None:
    program = Program(Plan({"mean": ts_mean(CLOSE, 9) * field("volume")}), 4)
    with pytest.raises(ValueError, match=r"\[n_bars, n_columns, 4\].*\(5, 2, 3\)"):
        batch(program, np.zeros((5, 2, 3)), g=0)
    with pytest.raises(ValueError, match=r"bars lack \['volume'\]"):
        batch(program, np.zeros((5, 2, 4)), g=0, columns={"close": 0})
    with pytest.raises(ValueError, match="have 2 columns"):
        batch(program, np.zeros((5, 2, 4)), g=0, columns={"close": 0, "volume": 2})
    with pytest.raises(ValueError, match=r"out must be float64 \[5, 1, 4\]"):
        batch(program, np.zeros((5, 2, 4)), g=0, out=np.zeros((5, 4, 1)))
    with pytest.raises(ValueError, match=r"members must be float64 \[5, 4\]"):
        batch(program, np.zeros((5, 2, 4)), g=0, members=np.zeros((5, 3)))
