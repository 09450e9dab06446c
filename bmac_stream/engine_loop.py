"""What the engine does at a bar, compiled: take the bar from the store, step the plan, read the outputs.

Bars are read under the store's rules (shm/jit.py): taken, then asked whether they held, then stepped.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
from numba import types

import shm
from kernels import run
from kernels.abi import at, compiled, floats, integers
from kernels.run import load_fields, step_own
from shm.atomics import fence_acquire, futex_wait, load_acquire, load_relaxed
from shm.layout import CORR_BEGIN, CORR_END, FUTEX, SLOT_COUNT, SLOT_WORDS, SLOTS

__all__ = ["LOST", "MOVED", "advance", "read_rows", "sleep", "take_bars"]

MOVED: Final = -1
"""A correction came in between: try again."""
LOST: Final = -2
"""The ring no longer holds the bar."""

_SOURCES: Final = (*Path(str(shm.__file__)).parent.glob("*.py"), Path(str(run.__file__)))
_I: Final = types.int64
_DATA: Final = types.Array(types.float64, 3, "C", readonly=True)
_WORDS: Final = types.Array(_I, 1, "C", readonly=True)
_NUMBERS: Final = types.Array(_I, 1, "C")
_FLOATS: Final = types.Array(types.float64, 1, "C")
_ROWS: Final = types.Array(types.float64, 2, "C")


@compiled(
    _I(_DATA, _WORDS, _I, _NUMBERS, _NUMBERS, _I, _I, _NUMBERS, _FLOATS, _ROWS, _NUMBERS), also=_SOURCES
)
def advance(
    data: Any,
    words: Any,
    program: int,
    columns: Any,
    order: Any,
    g: int,
    n_slots: int,
    next_g: Any,
    status: Any,
    stage: Any,
    done: Any,
) -> int:
    """Step bar g of every slot whose turn it is and that has published it.

    data, words  the store's arrays
    columns      int64[n_fields]: where the plan's fields are in the store; order: 0, 1, 2, ...
    next_g       int64[max_symbols]: each slot's next bar; other slots than those at g are left alone
    status       float64[max_symbols], written: the store's status of bar g of each slot stepped
    stage        float64[n_fields, max_symbols], overwritten
    done         int64[max_symbols], written: the slots that were stepped, ascending
    Returns how many slots were stepped; MOVED or LOST: none was.
    """
    cap = data.shape[2] // 2
    cell = cap + g % cap
    n_columns = data.shape[1]
    corrections = load_acquire(words, CORR_END)
    n = 0
    newest = 0
    for slot in range(n_slots):
        if next_g[slot] != g:
            continue
        count = load_acquire(words, SLOTS + slot * SLOT_WORDS + SLOT_COUNT)
        if count <= g:
            continue
        for k in range(len(columns)):
            stage[k, slot] = data[slot, columns[k], cell]
        status[slot] = data[slot, n_columns - 1, cell]
        done[n] = slot
        n += 1
    fence_acquire()
    for i in range(n):
        newest = max(newest, load_relaxed(words, SLOTS + done[i] * SLOT_WORDS + SLOT_COUNT))
    if n > 0 and newest - g >= cap:
        return LOST
    if load_relaxed(words, CORR_BEGIN) != corrections:
        return MOVED
    source, places = stage.ctypes.data, order.ctypes.data
    i = 0
    while i < n:
        first = done[i]
        width = 1
        while i + width < n and done[i + width] == first + width:
            width += 1
        load_fields(program, g, first, width, source, places, stage.shape[1], 1)
        step_own(program, g, first, width)
        i += width
    for k in range(n):
        next_g[done[k]] = g + 1
    return n


@compiled(types.void(_DATA, _I, _I, _I, _NUMBERS, _ROWS), also=_SOURCES)
def take_bars(data: Any, slot: int, g: int, n: int, columns: Any, out: Any) -> None:
    """Copy bars g to g + n - 1 of one slot: out float64[n, n_columns]. The caller asks whether they held."""
    cap = data.shape[2] // 2
    begin = cap + (g + n - 1) % cap + 1 - n
    for k in range(len(columns)):
        for i in range(n):
            out[i, k] = data[slot, columns[k], begin + i]


@compiled(types.void(_I, _I, _NUMBERS, _NUMBERS, _ROWS), also=_SOURCES)
def read_rows(program: int, g: int, slots: Any, outputs: Any, out: Any) -> None:
    """Outputs of bar g, a row for each slot: out float64[n_slots, n_outputs]; NaN is always the same NaN.

    outputs  int64[n_outputs]: which of the plan's
    """
    words = integers(program)
    state = floats(words[0])
    stride = words[1]
    places = integers(words[8])
    for i in range(len(slots)):
        for k in range(len(outputs)):
            place = at(places, 3 * outputs[k])
            x = state[(place[0] + (g & place[1])) * stride + slots[i]]
            out[i, k] = x if x == x else np.nan


@compiled(_I(_WORDS, _I, _I), also=_SOURCES)
def sleep(words: Any, seen: int, timeout_ns: int) -> int:
    """Sleep until the store's writer rings after `seen`, or time is up; the number of rings so far.

    seen  what the last call returned; a ring that came since ends the sleep at once
    """
    if load_acquire(words, FUTEX) == seen and timeout_ns > 0:
        futex_wait(words, FUTEX, seen, timeout_ns)
    return load_acquire(words, FUTEX)
