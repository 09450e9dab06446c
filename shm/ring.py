"""The ring: who appends rows, who reads them, and what a slow reader loses.

One writer process calls the functions of the first half; any number of readers, on read-only maps, those of
the second. A row is published by its slot's count alone, there is no state "being written": a writer killed
between any two stores blocks nobody. A reader works in place and then asks whether it was overtaken; if so
it gets no value.

  append(g)   head := max(head, g); release fence; the row's upper cells; if it begins a block of cells, the
              lower cells of the block before; count := g + 1, release
  window      count -> c1, acquire; the rows [c1 - W, c1) in place; acquire fence; count -> c2
              accepted iff c2 - c1 < cap - W
  panel       the same with `complete` for c1 and `head` for c2
  correct     redo record; begin + 1; release fence; stores; journal; end + 1, release
              readers load `end` first and `begin` last, and accept iff they are equal
  forming     the append with W = 1 over a few cells

The proof is in docs/shm-format.md, the model that tries all orders in tests/shm/test_memory_model.py.
Bar number g lies in cell cap + g mod cap and, once a bar of the next block of cells is there, in g mod cap
too: a window ends in the upper half, may begin in the lower one, and is always one slice. Nothing looks at
a lower cell before the lap of its bar is over, so an append touches half of the memory (decision 0036).
Compiled calls check everything before their first store: an error leaves the store as it was.
"""

from typing import Any, Final

import numpy as np
from numba import types

from shm.atomics import (
    copy_eight,
    fence_acquire,
    fence_release,
    load_acquire,
    load_float,
    load_relaxed,
    store_float,
    store_relaxed,
    store_release,
)
from shm.compiled import compiled
from shm.layout import (
    COMPLETE,
    COPY_BLOCK,
    CORR_BEGIN,
    CORR_END,
    H_FORMING_CELLS,
    H_FORMING_OFFSET,
    H_REDO_OFFSET,
    HEAD,
    JOURNAL,
    JOURNAL_ENTRIES,
    JOURNAL_ENTRY_WORDS,
    N_SLOTS,
    SLOT_COUNT,
    SLOT_FIRST_G,
    SLOT_FORMING,
    SLOT_LOADED,
    SLOT_STATE,
    SLOT_WORDS,
    SLOTS,
    SlotState,
    Status,
)

__all__ = [
    "BAD_COUNT",
    "BAD_STATE",
    "NOT_HELD",
    "OK",
    "activate",
    "append",
    "append_rows",
    "complete",
    "correct",
    "correct_rows",
    "finish_correction",
    "load",
    "panel_begin",
    "panel_valid",
    "peek",
    "post",
    "read_forming",
    "read_journal",
    "read_states",
    "skip_to",
    "slot_begin",
    "slot_valid",
    "wipe",
    "write_forming",
]

_I: Final = types.int64
_WORDS: Final = types.Array(_I, 1, "C")
_WORDS_RO: Final = types.Array(_I, 1, "C", readonly=True)
_DATA: Final = types.Array(types.float64, 3, "C")
_ROW: Final = types.Array(types.float64, 1, "C", readonly=True)
_ROWS: Final = types.Array(types.float64, 2, "C", readonly=True)
_STATUSES: Final = types.Array(types.uint8, 1, "C", readonly=True)
_NUMBERS: Final = types.Array(_I, 1, "C", readonly=True)
_NUMBERS_OUT: Final = types.Array(_I, 1, "C")
_FLOATS: Final = types.Array(types.float64, 1, "C")
_JOURNAL_COPY: Final = types.Array(_I, 2, "C")
_PAIR: Final = types.UniTuple(_I, 2)  # type: ignore[no-untyped-call]  # Numba's stub

OK: Final = 0
BAD_STATE: Final = 1
"""The slot is not in the state that the call needs."""
BAD_COUNT: Final = 2
"""The bar number is not the one whose turn it is."""
NOT_HELD: Final = 3
"""The bar is not published yet, or no longer in the ring."""

_LOADING: Final = int(SlotState.LOADING)
_ACTIVE: Final = int(SlotState.ACTIVE)
_DELISTED: Final = int(SlotState.DELISTED)
_EMPTY: Final = int(Status.EMPTY)
_ABSENT: Final = int(Status.ABSENT)
_PENDING: Final = int(Status.PENDING)


# ---- single words, for the Python side -------------------------------------------------------------------


@compiled([_I(_WORDS, _I), _I(_WORDS_RO, _I)])
def peek(words: Any, i: int) -> int:
    """Control word i, with acquire ordering."""
    return load_acquire(words, i)


@compiled(types.void(_WORDS, _I, _I))
def post(words: Any, i: int, value: int) -> None:
    """Store control word i, with release ordering. Writer only."""
    store_release(words, i, value)


# ---- the writer's half -----------------------------------------------------------------------------------


@compiled(_I(_DATA, _I))
def _cell(data: Any, g: int) -> int:
    """g mod cap, without looking at signs: that would cost a fifth of an append."""
    return np.int64(np.uint64(g) % np.uint64(data.shape[2] // 2))  # type: ignore[return-value]


@compiled(types.void(_DATA, _I, _I, _ROW, _I))
def _store_upper(data: Any, slot: int, cell: int, values: Any, status: int) -> None:
    """The upper cells of one row: all that a window looks at until the ring has come round."""
    n_columns, width = data.shape[1], data.shape[2]
    at = slot * n_columns * width + width // 2 + cell
    for column in range(n_columns - 1):
        store_relaxed(data, at, load_relaxed(values, column))  # an index with a sign costs a tenth
        at += width
    store_relaxed(data, at, float(status))


@compiled(types.void(_DATA, _I, _I))
def _copy_down(data: Any, slot: int, cell: int) -> None:
    """If a bar's cell begins a block of cells: the lower cells of the block before it, from the upper ones.

    Before the count: if the writer is killed in here, the next one publishes that bar again, and copies
    again. With the first bar of the next block, since what has just been stored cannot be loaded eight at a
    time. No accepted window contains the bars that these cells held, so the stores need not be atomic.
    """
    if cell & (COPY_BLOCK - 1):
        return
    n_columns, width = data.shape[1], data.shape[2]
    cap = width // 2
    first = (cell or cap) - 1
    first -= first & (COPY_BLOCK - 1)
    at = slot * n_columns * width + first
    for _ in range(n_columns):
        if first + COPY_BLOCK <= cap:
            copy_eight(data, at, at + cap)
        else:  # the rest at the end of the ring
            for k in range(at, at + cap - first):
                store_relaxed(data, k, load_relaxed(data, k + cap))
        at += width


@compiled(types.void(_DATA, _I, _I, _ROW, _I))
def _store_row(data: Any, slot: int, g: int, values: Any, status: int) -> None:
    """Both copies of one row at once, which is never too early. A row that is being loaded needs it: panels
    look at it up to any bar, whatever was loaded."""
    n_columns, width = data.shape[1], data.shape[2]
    cap = width // 2
    at = slot * n_columns * width + g % cap
    for column in range(n_columns - 1):
        store_relaxed(data, at, values[column])
        store_relaxed(data, at + cap, values[column])
        at += width
    store_relaxed(data, at, float(status))
    store_relaxed(data, at + cap, float(status))


@compiled(types.void(_DATA, _I, _I, _I))
def _store_nan(data: Any, slot: int, g: int, status: int) -> None:
    """Both copies of one row without values."""
    n_columns, width = data.shape[1], data.shape[2]
    cap = width // 2
    at = slot * n_columns * width + g % cap
    for _ in range(n_columns - 1):
        store_relaxed(data, at, np.nan)
        store_relaxed(data, at + cap, np.nan)
        at += width
    store_relaxed(data, at, float(status))
    store_relaxed(data, at + cap, float(status))


@compiled(types.void(_WORDS, _I))
def _raise_head(words: Any, g: int) -> None:
    """head := max(head, g). Must come before the release fence of the first data store of g."""
    if g > load_relaxed(words, HEAD):
        store_relaxed(words, HEAD, g)


@compiled(types.void(_WORDS, _DATA, _I, _I, _ROW, _I))
def _append(words: Any, data: Any, slot: int, g: int, values: Any, status: int) -> None:
    """One checked row. Two facts carry the proof: the fence comes first, the count last."""
    cell = _cell(data, g)
    _raise_head(words, g)
    fence_release()
    _store_upper(data, slot, cell, values, status)
    _copy_down(data, slot, cell)
    store_release(words, SLOTS + slot * SLOT_WORDS + SLOT_COUNT, g + 1)


@compiled(types.void(_WORDS, _DATA, _I, _I, _I))
def _append_nan(words: Any, data: Any, slot: int, end: int, status: int) -> None:
    """Publish rows without values from the slot's count up to bar `end` (exclusive), in bounded work.

    After `cap` of them every cell holds what the rest would store again, so the count may jump.
    """
    cap = data.shape[2] // 2
    count_at = SLOTS + slot * SLOT_WORDS + SLOT_COUNT
    n = load_relaxed(words, count_at)
    _raise_head(words, end - 1)
    for g in range(n, min(end, n + cap)):
        fence_release()
        _store_nan(data, slot, g, status)
        _copy_down(data, slot, _cell(data, g))  # what was appended to this block before
        store_release(words, count_at, g + 1)
    if end > n + cap:
        store_release(words, count_at, end)


@compiled(_I(_WORDS, _DATA, _I, _I, _ROW, _I))
def append(words: Any, data: Any, slot: int, g: int, values: Any, status: int) -> int:
    """Publish bar g of an ACTIVE slot; g must be its count. OK, BAD_STATE or BAD_COUNT."""
    at = SLOTS + slot * SLOT_WORDS
    if load_relaxed(words, at + SLOT_STATE) != _ACTIVE:
        return BAD_STATE
    if load_relaxed(words, at + SLOT_COUNT) != g:
        return BAD_COUNT
    _append(words, data, slot, g, values, status)
    return OK


@compiled(_PAIR(_WORDS, _DATA, _WORDS, _NUMBERS, _NUMBERS, _ROWS, _STATUSES))
def append_rows(
    words: Any, data: Any, scratch: Any, slots: Any, gs: Any, values: Any, statuses: Any
) -> tuple[int, int]:
    """Append many rows, in the order given; all are checked before the first is stored.

    scratch  int64[max_symbols], overwritten
    Returns (OK, n) or (reason, position of the first bad row).
    """
    for i in range(len(slots)):
        at = SLOTS + slots[i] * SLOT_WORDS
        if load_relaxed(words, at + SLOT_STATE) != _ACTIVE:
            return BAD_STATE, i
        scratch[slots[i]] = load_relaxed(words, at + SLOT_COUNT)
    for i in range(len(slots)):
        if gs[i] != scratch[slots[i]]:
            return BAD_COUNT, i
        scratch[slots[i]] += 1
    for i in range(len(slots)):
        _append(words, data, slots[i], gs[i], values[i], statuses[i])
    return OK, len(slots)


@compiled(_I(_WORDS, _DATA, _I, _I))
def skip_to(words: Any, data: Any, slot: int, g: int) -> int:
    """Publish PENDING rows of an ACTIVE slot up to bar g (exclusive). BAD_COUNT if its count is past g."""
    at = SLOTS + slot * SLOT_WORDS
    if load_relaxed(words, at + SLOT_STATE) != _ACTIVE:
        return BAD_STATE
    if load_relaxed(words, at + SLOT_COUNT) > g:
        return BAD_COUNT
    _append_nan(words, data, slot, g, _PENDING)
    return OK


@compiled(_I(_WORDS, _DATA, _I, _I, _ROWS, _STATUSES))
def load(words: Any, data: Any, slot: int, g0: int, values: Any, statuses: Any) -> int:
    """Rows of a LOADING slot, oldest first from bar g0 on, which must follow what was loaded before.

    Nobody but panel readers sees the row yet, and they may see it half: it holds NaN or bars of that very
    number, so a bar is left out when its cell already belongs to a later bar that is complete.
    """
    at = SLOTS + slot * SLOT_WORDS
    if load_relaxed(words, at + SLOT_STATE) != _LOADING:
        return BAD_STATE
    if load_relaxed(words, at + SLOT_LOADED) != g0:
        return BAD_COUNT
    cap = data.shape[2] // 2
    end = g0 + len(statuses)
    oldest = max(end, load_relaxed(words, COMPLETE)) - cap
    _raise_head(words, end - 1)
    fence_release()
    for g in range(max(g0, oldest), end):
        _store_row(data, slot, g, values[g - g0], statuses[g - g0])
    store_relaxed(words, at + SLOT_LOADED, end)
    return OK


@compiled(_I(_WORDS, _I))
def activate(words: Any, slot: int) -> int:
    """Publish a LOADING slot: its count once, then its state.

    BAD_COUNT if it was not loaded up to the newest complete bar: panels are whole.
    """
    at = SLOTS + slot * SLOT_WORDS
    if load_relaxed(words, at + SLOT_STATE) != _LOADING:
        return BAD_STATE
    loaded = load_relaxed(words, at + SLOT_LOADED)
    if loaded < load_relaxed(words, COMPLETE):
        return BAD_COUNT
    store_release(words, at + SLOT_COUNT, loaded)
    store_release(words, at + SLOT_STATE, _ACTIVE)
    return OK


@compiled(_PAIR(_WORDS, _DATA, _I))
def complete(words: Any, data: Any, g: int) -> tuple[int, int]:
    """Declare bar g complete: every ACTIVE slot has published it.

    Rows of DELISTED slots go on as ABSENT. Rows of LOADING slots are emptied where nothing was loaded, so
    that no panel shows bar g - cap. (BAD_COUNT, slot) names a slot that lacks g; (BAD_STATE, count) says
    that g was complete already.
    """
    done = load_relaxed(words, COMPLETE)
    if g < done:
        return BAD_STATE, done
    cap = data.shape[2] // 2
    n_slots = load_relaxed(words, N_SLOTS)
    for slot in range(n_slots):
        at = SLOTS + slot * SLOT_WORDS
        if load_relaxed(words, at + SLOT_STATE) == _ACTIVE and load_relaxed(words, at + SLOT_COUNT) <= g:
            return BAD_COUNT, slot
    _raise_head(words, g)
    fence_release()
    for slot in range(n_slots):
        at = SLOTS + slot * SLOT_WORDS
        state = load_relaxed(words, at + SLOT_STATE)
        if state == _DELISTED and load_relaxed(words, at + SLOT_COUNT) <= g:
            _append_nan(words, data, slot, g + 1, _ABSENT)
        elif state == _LOADING:
            loaded = load_relaxed(words, at + SLOT_LOADED)
            for k in range(max(done, loaded, g + 1 - cap), g + 1):
                _store_nan(data, slot, k, _EMPTY)
    store_release(words, COMPLETE, g + 1)
    return OK, 0


@compiled(types.void(_DATA, _I))
def wipe(data: Any, slot: int) -> None:
    """Empty the whole row of a slot that was never ACTIVE."""
    for g in range(data.shape[2] // 2):
        _store_nan(data, slot, g, _EMPTY)


# ---- corrections of published rows -----------------------------------------------------------------------


@compiled(types.void(_WORDS, _DATA))
def finish_correction(words: Any, data: Any) -> None:
    """Do what the redo record says, then count it as done. Doing it twice changes nothing more.

    The second half of every correction, and what a restarted writer does first when begin != end.
    """
    serial = load_relaxed(words, CORR_END)
    if load_relaxed(words, CORR_BEGIN) == serial:
        return
    redo = load_relaxed(words, H_REDO_OFFSET) // 8
    slot = load_relaxed(words, redo)
    g = load_relaxed(words, redo + 1)
    n_columns, width = data.shape[1], data.shape[2]
    cap = width // 2
    fence_release()
    at = slot * n_columns * width + g % cap
    for column in range(n_columns - 1):
        value = load_float(words, redo + 4 + column)
        store_relaxed(data, at, value)
        store_relaxed(data, at + cap, value)
        at += width
    status = float(load_relaxed(words, redo + 3))
    store_relaxed(data, at, status)
    store_relaxed(data, at + cap, status)
    entry = JOURNAL + (serial % JOURNAL_ENTRIES) * JOURNAL_ENTRY_WORDS
    for k in range(JOURNAL_ENTRY_WORDS):
        store_relaxed(words, entry + k, load_relaxed(words, redo + k))
    store_release(words, CORR_END, serial + 1)


@compiled(types.void(_WORDS, _DATA, _I, _I, _ROW, _I))
def _correct(words: Any, data: Any, slot: int, g: int, values: Any, status: int) -> None:
    """One checked correction. The redo record is whole before `begin` says that there is one."""
    n_columns, width = data.shape[1], data.shape[2]
    redo = load_relaxed(words, H_REDO_OFFSET) // 8
    cell = (slot * n_columns + n_columns - 1) * width + width // 2 + g % (width // 2)
    store_relaxed(words, redo, slot)
    store_relaxed(words, redo + 1, g)
    store_relaxed(words, redo + 2, int(load_relaxed(data, cell)))
    store_relaxed(words, redo + 3, status)
    for column in range(n_columns - 1):
        store_float(words, redo + 4 + column, values[column])
    store_release(words, CORR_BEGIN, load_relaxed(words, CORR_BEGIN) + 1)
    finish_correction(words, data)


@compiled(_I(_WORDS, _DATA, _I, _I, _I))
def _correctable(words: Any, data: Any, slot: int, g0: int, n: int) -> int:
    at = SLOTS + slot * SLOT_WORDS
    state = load_relaxed(words, at + SLOT_STATE)
    if state != _ACTIVE and state != _DELISTED:
        return BAD_STATE
    count = load_relaxed(words, at + SLOT_COUNT)
    # Bar count - cap is no longer held: its cell is the one that bar `count` goes to, perhaps half written.
    oldest = max(load_relaxed(words, at + SLOT_FIRST_G), count - data.shape[2] // 2 + 1)
    if g0 < oldest or g0 + n > count:
        return NOT_HELD
    return OK


@compiled(_I(_WORDS, _DATA, _I, _I, _ROW, _I))
def correct(words: Any, data: Any, slot: int, g: int, values: Any, status: int) -> int:
    """Replace bar g, published and still in the ring. OK, BAD_STATE or NOT_HELD."""
    reason = _correctable(words, data, slot, g, 1)
    if reason == OK:
        _correct(words, data, slot, g, values, status)
    return reason


@compiled(_I(_WORDS, _DATA, _I, _I, _ROWS, _STATUSES))
def correct_rows(words: Any, data: Any, slot: int, g0: int, values: Any, statuses: Any) -> int:
    """Replace bars g0, g0 + 1, ...: all checked first, then one whole correction after the other."""
    reason = _correctable(words, data, slot, g0, len(statuses))
    if reason == OK:
        for i in range(len(statuses)):
            _correct(words, data, slot, g0 + i, values[i], statuses[i])
    return reason


# ---- the row that is not closed yet ----------------------------------------------------------------------


@compiled(types.void(_WORDS, _I, _I, _ROW))
def write_forming(words: Any, slot: int, g: int, values: Any) -> None:
    """Publish the state of the forming bar g: the append with a window of one cell."""
    version_at = SLOTS + slot * SLOT_WORDS + SLOT_FORMING
    cells = load_relaxed(words, H_FORMING_CELLS)
    version = load_relaxed(words, version_at)
    size = 1 + len(values)
    at = load_relaxed(words, H_FORMING_OFFSET) // 8 + (slot * cells + version % cells) * size
    fence_release()
    store_relaxed(words, at, g)
    for k in range(len(values)):
        store_float(words, at + 1 + k, values[k])
    store_release(words, version_at, version + 1)


@compiled(_I(_WORDS_RO, _I, _FLOATS, _I))
def read_forming(words: Any, slot: int, out: Any, tries: int) -> int:
    """Copy the newest forming state into `out`; its bar number, -1 if there is none, -2 if overtaken."""
    version_at = SLOTS + slot * SLOT_WORDS + SLOT_FORMING
    cells = load_relaxed(words, H_FORMING_CELLS)
    base = load_relaxed(words, H_FORMING_OFFSET) // 8
    size = 1 + len(out)
    for _ in range(tries):
        before = load_acquire(words, version_at)
        if before == 0:
            return -1
        at = base + (slot * cells + (before - 1) % cells) * size
        g = load_relaxed(words, at)
        for k in range(len(out)):
            out[k] = load_float(words, at + 1 + k)
        fence_acquire()
        if load_relaxed(words, version_at) - before < cells - 1:
            return g
    return -2


# ---- the readers' half -----------------------------------------------------------------------------------


@compiled(_PAIR(_WORDS_RO, _I))
def slot_begin(words: Any, slot: int) -> tuple[int, int]:
    """(count, corrections): what a window of the slot starts from. Load `end` first, then the count."""
    end = load_acquire(words, CORR_END)
    count = load_acquire(words, SLOTS + slot * SLOT_WORDS + SLOT_COUNT)
    return count, end


@compiled(types.boolean(_WORDS_RO, _I, _I, _I, _I))
def slot_valid(words: Any, slot: int, oldest: int, cap: int, corrections: int) -> bool:
    """Whether bars from `oldest` on, read since `slot_begin`, were neither overwritten nor corrected."""
    fence_acquire()
    count = load_relaxed(words, SLOTS + slot * SLOT_WORDS + SLOT_COUNT)
    begun = load_relaxed(words, CORR_BEGIN)
    return bool(count - oldest < cap and begun == corrections)


@compiled(_PAIR(_WORDS_RO))
def panel_begin(words: Any) -> tuple[int, int]:
    """(complete, corrections): what a panel starts from."""
    end = load_acquire(words, CORR_END)
    done = load_acquire(words, COMPLETE)
    return done, end


@compiled(types.boolean(_WORDS_RO, _I, _I, _I))
def panel_valid(words: Any, oldest: int, cap: int, corrections: int) -> bool:
    """Whether bars from `oldest` on, of any slot, read since `panel_begin`, were left alone."""
    fence_acquire()
    head = load_relaxed(words, HEAD)
    begun = load_relaxed(words, CORR_BEGIN)
    return bool(head - oldest < cap and begun == corrections)


@compiled(types.void(_WORDS_RO, _NUMBERS_OUT))
def read_states(words: Any, out: Any) -> None:
    """The states of slots 0 ... len(out) - 1, each with acquire ordering: rows of ACTIVE ones are whole."""
    for slot in range(len(out)):
        out[slot] = load_acquire(words, SLOTS + slot * SLOT_WORDS + SLOT_STATE)


@compiled(_I(_WORDS_RO, _I, _I, _JOURNAL_COPY))
def read_journal(words: Any, since: int, n: int, out: Any) -> int:
    """Copy journal entries since, ..., since + n - 1 into out[n, 4]; OK, or NOT_HELD if overwritten."""
    for i in range(n):
        entry = JOURNAL + ((since + i) % JOURNAL_ENTRIES) * JOURNAL_ENTRY_WORDS
        for k in range(JOURNAL_ENTRY_WORDS):
            out[i, k] = load_relaxed(words, entry + k)
    fence_acquire()
    if load_relaxed(words, CORR_BEGIN) - since > JOURNAL_ENTRIES:
        return NOT_HELD
    return OK
