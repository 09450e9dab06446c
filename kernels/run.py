"""A plan at work: one state block, and the compiled loops that step it. All of it without the GIL.

The same steps run live, at warm-up over stored bars and in batch over history: there is no second way to
compute anything. Memory is taken when the program is made.

    state   [row][stride] float64; a symbol is a column, the number of the column is its slot

Own steps run for any run of slots side by side, together or one by one, each slot bar by bar in order. The
cross part of bar g runs once for all slots, after the own steps of g and before any of g + 1. Bars before a
symbol's first one may be stepped as NaN or not at all: the state stays what it was (tests hold every
operator to it).

Addresses go into compiled code as integers: one argument each, 10 ns instead of 60 for an array. The checks
of shapes and types are in the methods of `Program`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, cast

import numpy as np
from numba import types
from numpy.typing import NDArray

from kernels.abi import at, call, compiled, floats, integers, rows, stream
from kernels.plan import Plan

__all__ = [
    "MAX_VALUES",
    "TILE",
    "OneSymbol",
    "Program",
    "copy_slot",
    "direct",
    "load_fields",
    "peek",
    "read_outputs",
    "replay",
    "step_cross",
    "step_one",
    "step_own",
]

TILE: Final = 512
"""Slots that are stepped side by side, so that their rows of one plan stay in the cache."""
MAX_VALUES: Final = 9
"""How many numbers of a bar `step_one` takes."""

# Words of a program, as the compiled loops read them.
_STATE, _STRIDE, _N_ROWS, _STEPS, _N_OWN, _N_STEPS, _FIELDS, _N_FIELDS, _OUTPUTS, _N_OUTPUTS, _MEMBER = range(
    11
)
_STEP_WORDS: Final = 3  # address of the kernel, of its p, of its f
_FIELD_WORDS: Final = 2  # row, mask
_OUTPUT_WORDS: Final = 3  # row, mask, whether of the cross part

# Words of one symbol, as `step_one` reads them.
_PROGRAM, _SLOT, _COLUMNS, _OUT = range(4)

_I: Final = types.int64
_D: Final = types.float64


@rows
def _copy(x: Any, out: Any, n: int) -> None:
    for i in range(n):
        out[i] = x[i]


@rows
def _gather(x: Any, apart: int, out: Any, n: int) -> None:
    for i in range(n):
        out[i] = x[i * apart]


@rows
def _publish(x: Any, out: Any, n: int) -> None:
    for i in range(n):
        out[i] = x[i] if x[i] == x[i] else np.nan


@rows
def _publish_far(x: Any, out: Any, n: int) -> None:
    """As `_publish`, past the cache: history is not read again soon. 40 instead of 60 us for 158 rows."""
    for i in range(n):
        value = x[i]
        stream(out, i, value if value == value else np.nan)


@compiled(types.void(_I, _I, _I, _I, _I, _I))
def _run(program: int, g: int, slot: int, n: int, first: int, last: int) -> None:
    """Steps [first, last) of bar g for n slots from `slot` on."""
    words = integers(program)
    stride = words[_STRIDE]
    state = at(floats(words[_STATE]), slot)
    steps = integers(words[_STEPS])
    for k in range(first, last):
        step = at(steps, k * _STEP_WORDS)
        call(step[0], state, stride, integers(step[1]), floats(step[2]), g, n)


@compiled(types.void(_I, _I, _I, _I))
def step_own(program: int, g: int, slot: int, n: int) -> None:
    """The own part of bar g for n slots from `slot` on, whose fields are in place."""
    n_own = integers(program)[_N_OWN]
    for begin in range(slot, slot + n, TILE):
        _run(program, g, begin, min(TILE, slot + n - begin), 0, n_own)


@compiled(types.void(_I, _I, _I, _I))
def step_cross(program: int, g: int, n: int, members: int) -> None:
    """The cross part of bar g for all n slots.

    members  address of float64[n]: 1.0 for a slot that belongs to this bar's cross-section, else 0.0
    """
    words = integers(program)
    _copy(floats(members), at(floats(words[_STATE]), words[_MEMBER] * words[_STRIDE]), n)
    _run(program, g, 0, n, words[_N_OWN], words[_N_STEPS])


@compiled(types.void(_I, _I, _I, _I, _I, _I, _I, _I))
def load_fields(
    program: int, g: int, slot: int, n: int, source: int, columns: int, by_column: int, by_slot: int
) -> None:
    """Bring the fields of bar g of n slots from `slot` on into place.

    source   address of column 0 of slot 0 at this bar, float64
    columns  address of int64[n_fields]: which column each of the plan's fields is
    by_column, by_slot  cells from one column, and from one slot, to the next
    """
    words = integers(program)
    state = at(floats(words[_STATE]), slot)
    places = integers(words[_FIELDS])
    for k in range(words[_N_FIELDS]):
        place = at(places, k * _FIELD_WORDS)
        row = at(state, (place[0] + (g & place[1])) * words[_STRIDE])
        cells = at(floats(source), integers(columns)[k] * by_column + slot * by_slot)
        if by_slot == 1:
            _copy(cells, row, n)
        else:
            _gather(cells, by_slot, row, n)


@compiled(types.void(_I, _I, _I, _I, _I, _I))
def read_outputs(program: int, g: int, slot: int, n: int, out: int, by_output: int) -> None:
    """The outputs of bar g of n slots from `slot` on, which have done g; NaN is always the same NaN.

    out      address of the first output of slot 0, float64; slots lie side by side
    by_output  cells from one output to the next
    """
    words = integers(program)
    state = at(floats(words[_STATE]), slot)
    places = integers(words[_OUTPUTS])
    for k in range(words[_N_OUTPUTS]):
        place = at(places, k * _OUTPUT_WORDS)
        row = at(state, (place[0] + (g & place[1])) * words[_STRIDE])
        _publish(row, at(floats(out), k * by_output + slot), n)


@compiled(types.void(_I, _I, _I, _I, _I, _I))
def _read_far(program: int, g: int, slot: int, n: int, out: int, by_output: int) -> None:
    """`read_outputs` of a history."""
    words = integers(program)
    state = at(floats(words[_STATE]), slot)
    places = integers(words[_OUTPUTS])
    for k in range(words[_N_OUTPUTS]):
        place = at(places, k * _OUTPUT_WORDS)
        row = at(state, (place[0] + (g & place[1])) * words[_STRIDE])
        _publish_far(row, at(floats(out), k * by_output + slot), n)


@compiled(types.void(_I, _I, _I, _I, _I, _I, _I, _I, _I, _I, _I, _I, _I, _I))
def replay(
    program: int,
    g: int,
    n_bars: int,
    slot: int,
    n: int,
    source: int,
    columns: int,
    by_column: int,
    by_slot: int,
    by_bar: int,
    members: int,
    out: int,
    by_output: int,
    by_bar_out: int,
) -> None:
    """Bars g to g + n_bars - 1 of n slots from `slot` on: load, step, read out.

    source, columns, by_column, by_slot  as in `load_fields`, at bar g; `by_bar` cells to the next bar
    members  address of float64[n_bars][n]: the cross-section of each bar. 0: the cross part is left out
    out      as in `read_outputs`, `by_bar_out` cells to the next bar. 0: nothing is read out
    With members, `slot` must be 0 and n all slots.
    """
    tile = n if members != 0 else TILE
    for begin in range(slot, slot + n, tile):
        width = min(tile, slot + n - begin)
        for k in range(n_bars):
            load_fields(program, g + k, begin, width, source + 8 * k * by_bar, columns, by_column, by_slot)
            step_own(program, g + k, begin, width)
            if members != 0:
                step_cross(program, g + k, n, members + 8 * k * n)
            if out != 0:
                _read_far(program, g + k, begin, width, out + 8 * k * by_bar_out, by_output)


@compiled(types.void(_I, _I, _I, _I))
def copy_slot(program: int, slot: int, other: int, other_slot: int) -> None:
    """One symbol's whole state to a slot of another program of the same plan."""
    words, others = integers(program), integers(other)
    x, out = at(floats(words[_STATE]), slot), at(floats(others[_STATE]), other_slot)
    stride, other_stride = words[_STRIDE], others[_STRIDE]
    for row in range(words[_N_ROWS]):
        out[row * other_stride] = x[row * stride]


@compiled(types.void(_I, _I, _I, _I, _I, _I, _I, _I))
def peek(
    program: int, scratch: int, g: int, slot: int, source: int, columns: int, by_column: int, out: int
) -> None:
    """What the outputs of one symbol would be if bar g were this one; nothing of `program` is written.

    scratch  another program of the same plan, of one slot: its state is lost
    source   address of column 0 of the symbol's bar, `by_column` cells from one column to the next
    columns  as in `load_fields`
    out      address of float64[n_outputs]: NaN behind a cross-section, which needs the whole market
    """
    copy_slot(program, slot, scratch, 0)
    load_fields(scratch, g, 0, 1, source, columns, by_column, 1)
    step_own(scratch, g, 0, 1)
    read_outputs(scratch, g, 0, 1, out, 1)
    places = integers(integers(program)[_OUTPUTS])
    for k in range(integers(program)[_N_OUTPUTS]):
        if places[k * _OUTPUT_WORDS + 2] != 0:
            floats(out)[k] = np.nan


@compiled(types.void(_I, _I, _D, _D, _D, _D, _D, _D, _D, _D, _D))
def step_one(
    symbol: int,
    g: int,
    v0: float,
    v1: float,
    v2: float,
    v3: float,
    v4: float,
    v5: float,
    v6: float,
    v7: float,
    v8: float,
) -> None:
    """Load bar g of one symbol from plain numbers, step its own part, read out: one call from Python.

    symbol  address of an `OneSymbol`, which says where the numbers belong and where the outputs go
    """
    words = integers(symbol)
    program, slot = words[_PROGRAM], words[_SLOT]
    columns = integers(words[_COLUMNS])
    block = integers(program)
    state = at(floats(block[_STATE]), slot)
    places = integers(block[_FIELDS])
    for k in range(block[_N_FIELDS]):
        c = columns[k]
        low = v0 if c == 0 else v1 if c == 1 else v2 if c == 2 else v3
        high = v4 if c == 4 else v5 if c == 5 else v6 if c == 6 else v7 if c == 7 else v8
        place = at(places, k * _FIELD_WORDS)
        state[(place[0] + (g & place[1])) * block[_STRIDE]] = low if c < 4 else high
    step_own(program, g, slot, 1)
    read_outputs(program, g, slot, 1, words[_OUT] - 8 * slot, 1)


def direct(function: Callable[..., None]) -> Callable[..., None]:
    """A compiled function of this module without Numba's choice of a signature: half the cost of the call.

    Arguments must be exactly what the signature says, ints and floats; TypeError otherwise.
    """
    made: Any = function
    (entry,) = made.overloads.values()
    return cast(Callable[..., None], entry.entry_point)


class Program:
    """A plan with its state for `n_slots` symbols, as compiled code reads it: at `address`, in words.

    n_slots = 1 makes a scratch for `peek`: the rows of the one symbol lie side by side.
    """

    def __init__(self, plan: Plan, n_slots: int) -> None:
        if n_slots < 1:
            raise ValueError(f"a program needs at least one slot, found {n_slots}")
        self.plan = plan
        self.n_slots = n_slots
        self.stride = _stride(n_slots)
        """Cells from one row to the next."""
        self._block = _aligned((plan.n_rows, self.stride))
        self.state: NDArray[np.float64] = self._block[:, :n_slots]
        """[n_rows, n_slots] float64: what the program remembers."""
        self._p = [np.array(step.words, np.int64) for step in plan.steps]
        self._f = [np.array(step.numbers, np.float64) for step in plan.steps]
        self._steps = np.array(
            [
                (step.operator.kernel.address, p.ctypes.data, f.ctypes.data)
                for step, p, f in zip(plan.steps, self._p, self._f, strict=True)
            ],
            np.int64,
        )
        self._fields = np.array([(s.row, s.mask) for s in plan.field_rows], np.int64)
        self._outputs = np.array(
            [(s.row, s.mask, cross) for s, cross in zip(plan.outputs, plan.is_cross, strict=True)], np.int64
        )
        self._words = np.array(
            [
                self._block.ctypes.data,
                self.stride,
                plan.n_rows,
                self._steps.ctypes.data,
                plan.n_own,
                len(plan.steps),
                self._fields.ctypes.data,
                len(plan.fields),
                self._outputs.ctypes.data,
                len(plan.outputs),
                plan.member_row,
            ],
            np.int64,
        )
        self.address = int(self._words.ctypes.data)
        """What the compiled functions take as `program`; valid as long as this object lives."""
        self._statics: NDArray[np.float64] = np.full((len(plan.statics), n_slots), np.nan)
        self._static_rows = [
            (i, row) for i, s in enumerate(plan.static_rows) for row in range(s.row, s.row + s.mask + 1)
        ]
        self.reset()

    @property
    def nbytes(self) -> int:
        """Bytes of the state block."""
        return self._block.nbytes

    def reset(self, slot: int | None = None) -> None:
        """Forget everything of one slot, or of all."""
        if slot is None:
            self._block[:] = self.plan.initial[:, None]
            self.put_statics()
        else:
            self.state[:, slot] = self.fresh(slot)

    def put_statics(self) -> None:
        """Give each slot its static fields again, after `state` was written from elsewhere."""
        for i, row in self._static_rows:
            self.state[row] = self._statics[i]

    def fresh(self, slot: int) -> NDArray[np.float64]:
        """What a slot's state is before its first bar: float64[n_rows], a copy."""
        made = self.plan.initial.copy()
        for i, row in self._static_rows:
            made[row] = self._statics[i, slot]
        return made

    def set_static(self, name: str, values: NDArray[np.float64]) -> None:
        """Give each slot its value of a static field, float64[n_slots], from now on. ValueError for a field
        that the plan has no such of, or another shape."""
        if name not in self.plan.statics or values.shape != (self.n_slots,):
            raise ValueError(
                f"a static field is one of {list(self.plan.statics)}, float64[{self.n_slots}];"
                f" found {name!r}, {list(values.shape)}"
            )
        k = self.plan.statics.index(name)
        self._statics[k] = values
        for i, row in self._static_rows:
            if i == k:
                self.state[row] = values


class OneSymbol:
    """One symbol of a program that gets its bars from Python, as plain numbers.

    program  keeps the state
    slot     the symbol's
    columns  for each of the plan's fields: which of the numbers given to `step` it is, from 0
    """

    def __init__(self, program: Program, slot: int, columns: Sequence[int]) -> None:
        plan = program.plan
        if not 0 <= slot < program.n_slots:
            raise ValueError(f"slot {slot} of a program with {program.n_slots}")
        if len(columns) != len(plan.fields) or not all(0 <= c < MAX_VALUES for c in columns):
            raise ValueError(f"columns 0 to {MAX_VALUES - 1} for {plan.fields}, found {list(columns)}")
        self.program = program
        self.out: NDArray[np.float64] = np.full(len(plan.names), np.nan)
        """The outputs after the last step, in the plan's order; the cross part's are as they were."""
        self._columns = np.array(columns, np.int64)
        self._words = np.array(
            [program.address, slot, self._columns.ctypes.data, self.out.ctypes.data], np.int64
        )
        self.step = partial(direct(step_one), int(self._words.ctypes.data))
        """step(g, v0, ..., v8): bar g's numbers, all nine of them floats; the result is in `out`."""
        vars(self.step)["symbol"] = self  # whoever keeps `step` alone keeps the memory behind the address


def _stride(n_slots: int) -> int:
    if n_slots == 1:
        return 1
    stride = -(-n_slots // 8) * 8
    # Rows that lie a multiple of 4096 bytes apart fall into the same few cache sets: 520 cells instead of
    # 512 took one symbol's step from 8.2 to 4.6 us.
    return stride + 8 if stride % 512 == 0 else stride


def _aligned(shape: tuple[int, int]) -> NDArray[np.float64]:
    """Zeros whose first cell begins a cache line."""
    n = shape[0] * shape[1]
    raw = np.zeros(n + 8)
    skip = (-raw.ctypes.data // 8) % 8
    return raw[skip : skip + n].reshape(shape)
