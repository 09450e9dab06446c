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

from typing import Any, Final

import numpy as np
from numba import types
from numpy.typing import NDArray

from kernels.abi import at, call, compiled, floats, integers, rows
from kernels.plan import Plan

__all__ = ["TILE", "Program", "copy_slot", "load_fields", "read_outputs", "replay", "step_cross", "step_own"]

TILE: Final = 512
"""Slots that are stepped side by side, so that their rows of one plan stay in the cache."""

# Words of a program, as the compiled loops read them.
_STATE, _STRIDE, _N_ROWS, _STEPS, _N_OWN, _N_STEPS, _FIELDS, _N_FIELDS, _OUTPUTS, _N_OUTPUTS, _MEMBER = range(
    11
)
_STEP_WORDS: Final = 3  # address of the kernel, of its p, of its f
_FIELD_WORDS: Final = 2  # row, mask
_OUTPUT_WORDS: Final = 3  # row, mask, whether of the cross part

_I: Final = types.int64


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
                read_outputs(program, g + k, begin, width, out + 8 * k * by_bar_out, by_output)


@compiled(types.void(_I, _I, _I, _I))
def copy_slot(program: int, slot: int, other: int, other_slot: int) -> None:
    """One symbol's whole state to a slot of another program of the same plan."""
    words, others = integers(program), integers(other)
    x, out = at(floats(words[_STATE]), slot), at(floats(others[_STATE]), other_slot)
    stride, other_stride = words[_STRIDE], others[_STRIDE]
    for row in range(words[_N_ROWS]):
        out[row * other_stride] = x[row * stride]


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
        self.reset()

    @property
    def nbytes(self) -> int:
        """Bytes of the state block."""
        return self._block.nbytes

    def reset(self, slot: int | None = None) -> None:
        """Forget everything of one slot, or of all."""
        if slot is None:
            self._block[:] = self.plan.initial[:, None]
        else:
            self.state[:, slot] = self.plan.initial


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
