"""Calls from Python that must be quick: one bar published, one bar complete, the next bar read.

A call that comes once in a while finds nothing of itself in the processor's caches: what it costs is the
memory it touches, and an array handed to compiled code touches ten times what a number does. So a writer and
a follower keep a port, a few words that say where everything lies, and hand over its address. All that has to
be checked is checked here; what is not plainly right is refused without a word and without a trace, and the
caller asks the function in ring.py, which knows why.

  port  words, data  addresses of the control words and of the ring; words is 0 when its owner was closed
        slots, columns, width  the shape of the ring
        bell  address of the bell's words (writer only)
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import carray, types  # type: ignore[attr-defined]  # it exports it
from numba.extending import intrinsic

from shm import ring
from shm.atomics import clock_ns, load_relaxed, store_release
from shm.compiled import compiled, entry
from shm.layout import H_FORMING_CELLS, HEARTBEAT, N_SLOTS, SLOT_COUNT, SLOT_WORDS, SLOTS
from shm.wake import await_word, ring_bell

__all__ = [
    "APPENDED",
    "OVERTAKEN",
    "REFUSED",
    "append_at",
    "complete_at",
    "feed_at",
    "form_at",
    "new_port",
    "next_row",
    "refuse_all",
]

_I: Final = types.int64
_ROW: Final = types.Array(types.float64, 1, "C", readonly=True)

_P_WORDS: Final = 0
_P_DATA: Final = 1
_P_SLOTS: Final = 2
_P_COLUMNS: Final = 3
_P_WIDTH: Final = 4
_P_BELL: Final = 5
_PORT_WORDS: Final = 8

REFUSED: Final = -1
"""Nothing was done; the function in ring.py, or its caller, says why."""
APPENDED: Final = -3
"""The row is published, but its bar could not be declared complete."""
_TRIES: Final = 100
OVERTAKEN: Final = -2
"""`next_row` was overtaken, or a correction was under way, each time it looked."""


def new_port(
    words: npt.NDArray[np.int64], data: npt.NDArray[np.float64], bell: npt.NDArray[np.int64] | None = None
) -> npt.NDArray[np.int64]:
    """The port of these arrays; whoever keeps it keeps them, too. Its address is `port.ctypes.data`."""
    port = np.zeros(_PORT_WORDS, np.int64)
    port[:6] = words.ctypes.data, data.ctypes.data, *data.shape, 0 if bell is None else bell.ctypes.data
    return port


def refuse_all(port: npt.NDArray[np.int64]) -> None:
    """From now on every call through the port is refused."""
    port[:] = 0


def _pointer(typingctx: Any, address: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.int64), codegen


_at: Any = intrinsic(_pointer)


@compiled(_I(_I, _I, _I, _ROW, _I), nogil=False)
def _append_at(address: int, slot: int, g: int, values: Any, status: int) -> int:
    port = carray(_at(address), (_PORT_WORDS,), np.int64)
    n_columns = port[_P_COLUMNS]
    if port[_P_WORDS] == 0 or not 0 <= slot < port[_P_SLOTS] or not 1 <= status <= 3:
        return REFUSED
    if len(values) != n_columns - 1 or (values.strides[0] != 8 and n_columns > 2):
        return REFUSED
    words = carray(_at(port[_P_WORDS]), (SLOTS,), np.int64)
    data = carray(_at(port[_P_DATA]), (port[_P_SLOTS], n_columns, port[_P_WIDTH]), np.float64)
    return ring.append(words, data, slot, g, values, status)


@compiled(_I(_I, _I), nogil=False)
def _complete_at(address: int, g: int) -> int:
    port = carray(_at(address), (_PORT_WORDS,), np.int64)
    if port[_P_WORDS] == 0:
        return REFUSED
    words = carray(_at(port[_P_WORDS]), (SLOTS,), np.int64)
    shape = (port[_P_SLOTS], port[_P_COLUMNS], port[_P_WIDTH])
    if ring.complete(words, carray(_at(port[_P_DATA]), shape, np.float64), g)[0] != ring.OK:
        return REFUSED
    ring_bell(words, carray(_at(port[_P_BELL]), (SLOTS,), np.int64))
    store_release(words, HEARTBEAT, clock_ns())
    return ring.OK


@compiled(_I(_I, _I, _I, _I, _I, _I), nogil=False)
def _feed_at(address: int, row: int, slot: int, g: int, status: int, completes: int) -> int:
    port = carray(_at(address), (_PORT_WORDS,), np.int64)
    n_columns = port[_P_COLUMNS]
    if port[_P_WORDS] == 0 or not 0 <= slot < port[_P_SLOTS] or not 1 <= status <= 3:
        return REFUSED
    words = carray(_at(port[_P_WORDS]), (SLOTS,), np.int64)
    data = carray(_at(port[_P_DATA]), (port[_P_SLOTS], n_columns, port[_P_WIDTH]), np.float64)
    values = carray(_at(row), (n_columns - 1,), np.float64)
    if ring.append(words, data, slot, g, values, status) != ring.OK:
        return REFUSED
    if not completes:
        return ring.OK
    if ring.complete(words, data, g)[0] != ring.OK:
        return APPENDED
    ring_bell(words, carray(_at(port[_P_BELL]), (SLOTS,), np.int64))
    store_release(words, HEARTBEAT, clock_ns())
    return ring.OK


@compiled(_I(_I, _I, _I, _I), nogil=False)
def _form_at(address: int, row: int, slot: int, g: int) -> int:
    port = carray(_at(address), (_PORT_WORDS,), np.int64)
    if port[_P_WORDS] == 0:
        return REFUSED
    words = carray(_at(port[_P_WORDS]), (SLOTS,), np.int64)
    if load_relaxed(words, H_FORMING_CELLS) == 0 or not 0 <= slot < load_relaxed(words, N_SLOTS):
        return REFUSED
    ring.write_forming(words, slot, g, carray(_at(row), (port[_P_COLUMNS] - 1,), np.float64))
    return ring.OK


@compiled(_I(_I, _I, _I, _I, _I, _I))
def _next_row(address: int, slot: int, seen: int, spin_ns: int, sleep_ns: int, out: int) -> int:
    port = carray(_at(address), (_PORT_WORDS,), np.int64)
    n_columns, width = port[_P_COLUMNS], port[_P_WIDTH]
    words = carray(_at(port[_P_WORDS]), (SLOTS,), np.int64)
    data = carray(_at(port[_P_DATA]), (port[_P_SLOTS], n_columns, width), np.float64)
    row = carray(_at(out), (1 + n_columns,), np.float64)
    count = await_word(words, SLOTS + slot * SLOT_WORDS + SLOT_COUNT, seen, spin_ns, sleep_ns)
    if count <= seen:
        return count
    for _ in range(_TRIES):
        count, corrections = ring.slot_begin(words, slot)
        at = slot * n_columns * width + width // 2 + (count - 1) % (width // 2)
        row[0] = count - 1
        for column in range(n_columns):
            row[1 + column] = load_relaxed(data, at)
            at += width
        if ring.slot_valid(words, slot, count - 1, width // 2, corrections):
            return count
    return OVERTAKEN


append_at: Final = entry(_append_at)
"""append_at(port, slot, g, values, status): `ring.append`; 0 if it was done, else nothing was.

values  float64, one-dimensional: the caller has looked. Length and strides are looked at here.
"""
feed_at: Final = entry(_feed_at)
"""feed_at(port, row, slot, g, status, completes): `ring.append` of the values at address `row`; with
`completes` also what `complete_at` does. 0 if all was done, APPENDED if only the first, REFUSED if nothing.

row  address of float64[n_columns - 1], which the caller keeps
"""
form_at: Final = entry(_form_at)
"""form_at(port, row, slot, g): `ring.write_forming` of the values at address `row`; 0, or REFUSED."""
complete_at: Final = entry(_complete_at)
"""complete_at(port, g): `ring.complete`, the bell and the heartbeat; 0 if it was done, else nothing was."""
next_row: Final = entry(_next_row)
"""next_row(port, slot, seen, spin_ns, sleep_ns, out): wait as `await_word` does for the slot's count to
exceed `seen`, then copy its newest bar whole; returns the count that goes with it, or one that is not above
`seen`, or OVERTAKEN. The port is an open one, the slot in range.

out  address of float64[1 + n_columns]: bar number, values, status
"""
