"""Small stores whose every cell says which symbol and bar it belongs to."""

from typing import Any

import numpy as np
import numpy.typing as npt

from shm import SlotState, Spec, StoreReader, StoreWriter
from shm.layout import COPY_BLOCK

__all__ = ["COLUMNS", "copies_agree", "fill", "row", "rows", "small_spec"]

COLUMNS = ("a", "b", "c")


def small_spec(**changes: Any) -> Spec:
    """Three columns, window 8, slack 4 (cap 16), four slots."""
    fields: dict[str, Any] = {
        "columns": COLUMNS,
        "window": 8,
        "slack": 4,
        "max_symbols": 4,
        "interval_ms": 60_000,
        "source": "test",
        "counters": ("seen", "kept"),
    }
    return Spec(**(fields | changes))


def row(slot: int, g: int) -> npt.NDArray[np.float64]:
    """What bar g of a slot holds: one value for each column, different everywhere."""
    return np.array([slot * 1e6 + g, slot * 1e6 + g + 0.25, slot * 1e6 + g + 0.5])


def rows(slot: int, g0: int, n: int) -> npt.NDArray[np.float64]:
    """`row` for n bars from g0 on, [n, 3]."""
    return np.array([row(slot, g) for g in range(g0, g0 + n)]).reshape(n, 3)


def fill(writer: StoreWriter, symbols: int, g0: int, n: int) -> list[int]:
    """`symbols` ACTIVE symbols S0, S1, ... that hold bars g0 ... g0 + n - 1, all complete."""
    slots = []
    for i in range(symbols):
        slot = writer.add_symbol(f"S{i}", g0)
        writer.load(slot, g0, rows(slot, g0, n), np.ones(n, np.uint8))
        writer.activate(slot)
        slots.append(slot)
    writer.complete(g0 + n - 1)
    return slots


def copies_agree(reader: StoreReader) -> bool:
    """Whether all lower cells are those above them, but for the bars of the newest one's block."""
    cap, same = reader.cap, True
    for entry in reader.directory():
        lower, upper = reader.data[entry.slot, :, :cap], reader.data[entry.slot, :, cap:]
        owed = slice(0, 0)
        if entry.state in (SlotState.ACTIVE, SlotState.DELISTED):
            newest = (reader.count(entry.slot) - 1) % cap
            owed = slice(newest - newest % COPY_BLOCK, newest + 1)
        different = ~((lower == upper) | (np.isnan(lower) & np.isnan(upper)))
        different[:, owed] = False
        same &= not different.any()
    return same
