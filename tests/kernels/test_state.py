"""kernels/state.py: what is saved goes on to the bit; what is foreign or damaged is refused by name."""

from typing import Any

import numpy as np
import pytest

from kernels.batch import batch
from kernels.node import Node, field
from kernels.plan import Plan
from kernels.rolling import ts_mean, ts_std
from kernels.run import Program
from kernels.state import BadState, ForeignState, dump, load, put_back

G = 77_000_001
NAMES = tuple(f"S{i}" for i in range(21))


def bars(n: int, seed: int = 1) -> Any:
    random = np.random.default_rng(seed)
    made = np.exp(np.cumsum(0.01 * random.normal(size=(n, 1, len(NAMES))), axis=0))
    made[random.random(made.shape) < 0.05] = np.nan
    return made


def outputs() -> dict[str, Node]:
    close = field("close")
    return {"mean": ts_mean(close, 7), "std": ts_std(close, 20, 5) / close}


def test_going_on_elsewhere_gives_the_same_bits() -> None:
    plan, data = Plan(outputs()), bars(200)
    whole = batch(Program(plan, len(NAMES)), data, g=G)
    first = Program(plan, len(NAMES))
    batch(first, data[:113], g=G)
    saved = load(bytes(dump(first, {name: i for i, name in enumerate(NAMES)}, {"g": G + 113})))
    assert saved.symbols == NAMES and saved.notes == {"g": G + 113} and saved.names == ("mean", "std")
    other = Program(Plan(outputs()), len(NAMES))
    put_back(other, saved, range(len(NAMES)))
    assert batch(other, data[113:], g=G + 113).tobytes() == whole[113:].tobytes()


def test_symbols_may_stand_in_other_slots_and_be_left_out() -> None:
    plan, data = Plan(outputs()), bars(120)
    whole = batch(Program(plan, len(NAMES)), data, g=G)
    first = Program(plan, len(NAMES))
    batch(first, data[:60], g=G)
    saved = load(dump(first, {name: i for i, name in enumerate(NAMES)}, {}))
    order = np.random.default_rng(3).permutation(len(NAMES))
    slots = order.copy()
    slots[4] = -1
    other = Program(plan, len(NAMES))
    put_back(other, saved, slots.tolist())
    moved = np.empty_like(data)
    moved[:, :, order] = data
    got = batch(other, moved[60:], g=G + 60)
    for name, slot in enumerate(order):
        assert (got[:, :, slot].tobytes() == whole[60:, :, name].tobytes()) == (name != 4)


def test_a_state_of_another_plan_is_refused() -> None:
    plan = Plan(outputs())
    saved = load(dump(Program(plan, 2), {"A": 0, "B": 1}, {}))
    with pytest.raises(ForeignState, match=r"only there: \['std'\], only here: \['more'\]"):
        put_back(
            Program(Plan({"mean": ts_mean(field("close"), 7), "more": field("close") * 2}), 2), saved, [0, 1]
        )
    with pytest.raises(ForeignState, match="same names, other kernels"):
        put_back(Program(Plan(outputs() | {"mean": ts_mean(field("close"), 8)}), 2), saved, [0, 1])


def test_damage_is_seen() -> None:
    data = bytes(dump(Program(Plan(outputs()), 3), {"A": 0, "B": 1, "C": 2}, {}))
    with pytest.raises(BadState, match="begins with"):
        load(b"x" * 100)
    with pytest.raises(BadState, match="at least"):
        load(data[:10])
    with pytest.raises(BadState, match="should have"):
        load(data[:-8])
    with pytest.raises(ForeignState, match="version 9, this program reads 1"):
        load(data[:8] + b"\x09\0\0\0" + data[12:])
    for at in (len(data) // 2, len(data) - 24, len(data) - 1):
        with pytest.raises(BadState, match="damaged"):
            load(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
