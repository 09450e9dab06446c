"""Reading a store inside one's own @njit code: begin, look, ask whether it held.

    @njit
    def mean(store, slot, column, n):
        token = begin(store, slot)
        value = window(store, slot, column, n, token).mean()
        return value, valid(store, slot, n, token)

    mean(reader.arrays, slot, reader.column("close"), 100)

The functions are compiled into the caller. The type of StoreArrays names the sources of this package, so a
caller's own cache (cache=True) is not used again after this package changed.
Slots, columns and n are not checked: 0 <= slot < n_slots, 0 < n < cap. Arrays are read-only: a store to one
does not compile.
"""

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from shm.atomics import clock_ns, fence_acquire, futex_wait, load_acquire, load_relaxed, pause
from shm.compiled import SOURCE_HASH
from shm.layout import (
    COMPLETE,
    CORR_BEGIN,
    CORR_END,
    FUTEX,
    HEAD,
    N_SLOTS,
    SLOT_COUNT,
    SLOT_STATE,
    SLOT_WORDS,
    SLOTS,
    SlotState,
)

__all__ = [
    "STAMP",
    "StoreArrays",
    "begin",
    "complete_g",
    "is_active",
    "panel",
    "panel_begin",
    "panel_valid",
    "spin_complete",
    "spin_count",
    "valid",
    "wait_complete",
    "window",
]

_ACTIVE: Final = int(SlotState.ACTIVE)
STAMP: Final = np.zeros(0, np.dtype([(f"shm_{SOURCE_HASH}", np.int64)]))
"""Empty; its type stands for the sources of this package in the signature of a caller's function."""


class StoreArrays(NamedTuple):
    """A store as compiled code takes it: `reader.arrays`.

    data   float64[max_symbols, n_columns, 2 * cap], read-only
    words  int64[...] header and control words, read-only
    """

    data: npt.NDArray[np.float64]
    words: npt.NDArray[np.int64]
    stamp: npt.NDArray[Any]


@njit(nogil=True)
def begin(store: StoreArrays, slot: int) -> tuple[int, int]:
    """(g_end, corrections): the token of a read of one slot; its bars end before g_end."""
    end = load_acquire(store.words, CORR_END)
    count = load_acquire(store.words, SLOTS + slot * SLOT_WORDS + SLOT_COUNT)
    return count, end


@njit(nogil=True)
def window(store: StoreArrays, slot: int, column: int, n: int, token: tuple[int, int]) -> Any:
    """float64[n]: the last n bars of a column before token's g_end; a view, no copy."""
    cap = store.data.shape[2] // 2
    at = cap + (token[0] - 1) % cap + 1 - n
    return store.data[slot, column, at : at + n]


@njit(nogil=True)
def valid(store: StoreArrays, slot: int, n: int, token: tuple[int, int]) -> bool:
    """Whether the last n bars before token's g_end, read since `begin`, were neither overwritten nor
    corrected. If not, what was computed from them means nothing."""
    fence_acquire()
    count = load_relaxed(store.words, SLOTS + slot * SLOT_WORDS + SLOT_COUNT)
    begun = load_relaxed(store.words, CORR_BEGIN)
    return bool(count - token[0] < store.data.shape[2] // 2 - n and begun == token[1])


@njit(nogil=True)
def panel_begin(store: StoreArrays) -> tuple[int, int, int]:
    """(g_end, corrections, n_slots): the token of a read of all slots up to the newest complete bar."""
    end = load_acquire(store.words, CORR_END)
    done = load_acquire(store.words, COMPLETE)
    return done, end, load_acquire(store.words, N_SLOTS)


@njit(nogil=True)
def panel(store: StoreArrays, column: int, n: int, token: tuple[int, int, int]) -> Any:
    """float64[n_slots, n]: the last n bars before token's g_end of every slot; a view, no copy."""
    cap = store.data.shape[2] // 2
    at = cap + (token[0] - 1) % cap + 1 - n
    return store.data[: token[2], column, at : at + n]


@njit(nogil=True)
def panel_valid(store: StoreArrays, n: int, token: tuple[int, int, int]) -> bool:
    """As `valid`, for all slots at once."""
    fence_acquire()
    head = load_relaxed(store.words, HEAD)
    begun = load_relaxed(store.words, CORR_BEGIN)
    return bool(head - token[0] < store.data.shape[2] // 2 - n and begun == token[1])


@njit(nogil=True)
def is_active(store: StoreArrays, slot: int) -> bool:
    """Whether a slot's symbol is ACTIVE. Asked before a panel's token, its row is whole."""
    return bool(load_acquire(store.words, SLOTS + slot * SLOT_WORDS + SLOT_STATE) == _ACTIVE)


@njit(nogil=True)
def complete_g(store: StoreArrays) -> int:
    """The newest complete bar number; -1: none."""
    return load_acquire(store.words, COMPLETE) - 1


@njit(nogil=True)
def spin_complete(store: StoreArrays, seen_g: int, timeout_ns: int) -> int:
    """Spin until a bar after seen_g is complete; the newest complete bar number when time is up."""
    until = clock_ns() + timeout_ns
    while True:
        for _ in range(64):
            g = load_acquire(store.words, COMPLETE) - 1
            if g > seen_g:
                return g
            pause()
        if clock_ns() > until:
            return g


@njit(nogil=True)
def wait_complete(store: StoreArrays, seen_g: int, timeout_ns: int) -> int:
    """Sleep until a bar after seen_g is complete; the newest complete bar number when time is up.

    Sees neither signals nor a writer that died: sleep a second or less, then look (reader.check_writer).
    """
    until = clock_ns() + timeout_ns
    while True:
        futex = load_acquire(store.words, FUTEX)
        g = load_acquire(store.words, COMPLETE) - 1
        left = until - clock_ns()
        if g > seen_g or left <= 0:
            return g
        futex_wait(store.words, FUTEX, futex, left)


@njit(nogil=True)
def spin_count(store: StoreArrays, slot: int, seen_count: int, timeout_ns: int) -> int:
    """Spin until a slot's count exceeds seen_count; the count when time is up."""
    at = SLOTS + slot * SLOT_WORDS + SLOT_COUNT
    until = clock_ns() + timeout_ns
    while True:
        for _ in range(64):
            count = load_acquire(store.words, at)
            if count > seen_count:
                return count
            pause()
        if clock_ns() > until:
            return count
