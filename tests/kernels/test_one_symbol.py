"""One symbol at a time, from plain numbers or as a peek: the same bits as all symbols together."""

import gc
import weakref

import numpy as np
import pytest

from factor_defs.fields import close, high, low
from kernels.elementwise import absolute
from kernels.node import Node
from kernels.operators import OPERATORS
from kernels.plan import Plan
from kernels.rolling import ts_mean, ts_std
from kernels.run import MAX_VALUES, OneSymbol, Program, load_fields, peek, read_outputs, step_cross, step_own
from tests.kernels.harness import Array, same_bits

T, S, G = 150, 11, 1_000_003
COLUMNS = ("open", "high", "low", "close", "volume")
OUTPUTS: dict[str, Node] = {
    "std": ts_std(close, 20),
    "bias": close / ts_mean(close, 10) - 1.0,
    "range": ts_mean((high - low) / close, 5),
    "close": absolute(close),
}


def bars() -> Array:
    made = np.exp(np.random.default_rng(3).normal(size=(T, len(COLUMNS), S)))
    made[40:43, 3, 2] = np.nan
    return made


def order(plan: Plan) -> Array:
    return np.array([COLUMNS.index(name) for name in plan.fields], np.int64)


def step_all(program: Program, g: int, bar: Array, members: Array | None = None) -> Array:
    out = np.full((len(program.plan.names), S), np.nan)
    columns = order(program.plan)
    load_fields(program.address, g, 0, S, bar.ctypes.data, columns.ctypes.data, S, 1)
    step_own(program.address, g, 0, S)
    if members is not None:
        step_cross(program.address, g, S, members.ctypes.data)
    read_outputs(program.address, g, 0, S, out.ctypes.data, S)
    return out


def test_plain_numbers_give_the_same_bits() -> None:
    plan = Plan(OUTPUTS)
    whole, alone = Program(plan, S), Program(plan, S)
    symbols = [OneSymbol(alone, slot, order(plan).tolist()) for slot in range(S)]
    rest = [0.0] * (MAX_VALUES - len(COLUMNS))
    for t, bar in enumerate(bars()):
        expected = step_all(whole, G + t, bar)
        for slot, symbol in enumerate(symbols):
            symbol.step(G + t, *bar[:, slot].tolist(), *rest)
        same_bits(np.column_stack([symbol.out for symbol in symbols]), expected)


def test_each_number_goes_to_its_column() -> None:
    """All nine: a wrong one in the chain of selects would be seen."""
    from kernels.node import field

    names = [f"c{k}" for k in range(MAX_VALUES)]
    plan = Plan({name: absolute(field(name)) for name in names})
    program = Program(plan, 3)
    columns = [names.index(name) for name in plan.fields]
    symbol = OneSymbol(program, 1, columns[::-1])
    values = [10.0 + k for k in range(MAX_VALUES)]
    symbol.step(G, *values)
    given = {name: values[c] for name, c in zip(plan.fields, columns[::-1], strict=True)}
    assert symbol.out.tolist() == [given[name] for name in plan.names]


def test_peek_is_the_step_and_commits_nothing() -> None:
    plan = Plan(OUTPUTS)
    program, scratch = Program(plan, S), Program(plan, 1)
    columns = order(plan)
    found = np.full((len(plan.names), S), np.nan)
    one = np.empty(len(plan.names))
    for t, bar in enumerate(bars()):
        before = program._block.copy()
        for slot in range(S):
            for price in (0.5, 1.0):  # the forming bar changes; the last one is what will be closed
                forming = np.ascontiguousarray(bar[:, slot]) * price
                peek(
                    program.address,
                    scratch.address,
                    G + t,
                    slot,
                    forming.ctypes.data,
                    columns.ctypes.data,
                    1,
                    one.ctypes.data,
                )
            found[:, slot] = one
        same_bits(program._block, before)
        same_bits(found, step_all(program, G + t, bar))


def test_peek_is_nan_behind_a_cross_section() -> None:
    (gate,) = (operator for operator in OPERATORS if operator.name == "gate")
    plan = Plan({"own": ts_mean(close, 3), "cross": gate(close, close / close)[0] * 2.0})
    assert plan.is_cross == (False, True)
    program, scratch, columns = Program(plan, S), Program(plan, 1), order(plan)
    data, members = bars(), np.ones(S)
    for t in range(5):
        step_all(program, G + t, data[t], members)
    out = np.empty(2)
    bar = np.ascontiguousarray(data[5][:, 4])
    peek(
        program.address,
        scratch.address,
        G + 5,
        4,
        bar.ctypes.data,
        columns.ctypes.data,
        1,
        out.ctypes.data,
    )
    assert np.isfinite(out[0])
    assert np.isnan(out[1])


def test_step_keeps_what_it_writes_to() -> None:
    program = Program(Plan(OUTPUTS), 1)
    symbol = OneSymbol(program, 0, [0, 1, 2])
    step, owner = symbol.step, weakref.ref(symbol)
    del symbol
    gc.collect()
    assert owner() is not None
    del step
    gc.collect()
    assert owner() is None


def test_what_does_not_fit_is_refused() -> None:
    program = Program(Plan(OUTPUTS), S)
    with pytest.raises(ValueError, match="slot 11 of a program with 11"):
        OneSymbol(program, S, [0, 1, 2])
    with pytest.raises(ValueError, match="columns 0 to 8"):
        OneSymbol(program, 0, [0, 1, MAX_VALUES])
    with pytest.raises(TypeError):
        OneSymbol(program, 0, [0, 1, 2]).step(G, 1.0, 2.0)
