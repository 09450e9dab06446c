"""Feeder: rows published from one buffer, each in one compiled call."""

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from shm import ports, ring
from shm.layout import Status
from shm.local import Local

if TYPE_CHECKING:
    from shm.writer import StoreWriter

__all__ = ["Feeder"]

_BAR: Final = int(Status.BAR)


class Feeder(Local):
    """Publishes what is in `row`. Made by `StoreWriter.feed`; refuses when its writer is closed.

    A call hands over numbers alone, since compiled code knows where the buffer lies: half the price of
    `StoreWriter.append` where nothing is cached, and the same checks.
    """

    def __init__(self, writer: "StoreWriter", address: int, row: npt.NDArray[np.float64]) -> None:
        """Not for callers: use `StoreWriter.feed`."""
        self._writer = writer
        self._port = address
        self._values = row.view(np.ndarray)  # a view cannot be resized, nor can what it is a view of
        self._row: int = self._values.ctypes.data

    @property
    def row(self) -> npt.NDArray[np.float64]:
        """float64[n_values]: fill it, then publish it. The same array for ever."""
        return self._values

    def append(self, slot: int, g: int, status: int = _BAR, *, complete: bool = False) -> None:
        """`StoreWriter.append` of `row`.

        complete  `StoreWriter.complete(g)` too, in the same call: for the last of a market's symbols. If it
                  is refused (OrderError: another symbol lacks bar g), the row is published all the same.
        """
        if type(slot) is type(g) is type(status) is int:
            try:
                done = ports.feed_at(self._port, self._row, slot, g, status, complete)
            except OverflowError:  # it does not fit a word; what is wrong with it is told below
                done = ports.REFUSED
            if done == ring.OK:
                return
            if done == ports.APPENDED:
                self._writer.complete(g)
                return
        self._writer.append(slot, g, self._values, status)
        if complete:
            self._writer.complete(g)

    def write_forming(self, slot: int, g: int) -> None:
        """`StoreWriter.write_forming` of `row`."""
        if type(slot) is type(g) is int:
            try:
                if ports.form_at(self._port, self._row, slot, g) == ring.OK:
                    return
            except OverflowError:
                pass
        self._writer.write_forming(slot, g, self._values)
