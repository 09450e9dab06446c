"""Follower: the newest bar of one symbol, again and again, each handed over whole in one compiled call."""

import time
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from shm import ports
from shm.local import Local

if TYPE_CHECKING:
    from shm.reader import StoreReader, Token

__all__ = ["Follower"]

_SLICE_S: Final = 0.5  # a blocked follower looks at the writer, and at signals, this often


class Follower(Local):
    """Waits for a slot's next bar and copies it. Made by `StoreReader.follow`.

    row    float64[1 + n_values + 1]: bar number, values, status; overwritten by the next call
    count  the bar number that comes after `row`; what `next` waits to be exceeded

    Bars that were published between two calls are skipped: it is the newest that is handed over.
    """

    def __init__(self, reader: "StoreReader", slot: int, count: int) -> None:
        """Not for callers: use `StoreReader.follow`."""
        self.row: npt.NDArray[np.float64] = np.full(1 + reader.data.shape[1], np.nan)
        self.count = count
        self._reader = reader
        self._slot = slot
        self._maps = words, data = reader.words, reader.data  # they live as long as the port
        self._port = ports.new_port(words, data)
        self._address: int = self._port.ctypes.data
        self._row: int = self.row.ctypes.data

    def next(self, timeout_s: float, *, spin_us: float = 0.0) -> npt.NDArray[np.float64]:
        """Block until a bar after `row` is published; returns `row`, which now holds the newest.

        spin_us  spin that long before sleeping, and see every append; sleepers wake when the writer
                 notifies, which its `complete` does

        TimeoutError, or WriterDead, WriterStalled, StoreRetired as soon as that is seen (within 0.5 s);
        Lagging if the writer overtook every attempt to copy.
        """
        deadline = time.monotonic() + timeout_s
        spin_s, left = min(spin_us / 1e6, timeout_s), timeout_s
        seen = self.count
        while True:
            spin_now_s = min(spin_s, _SLICE_S)
            spin_s -= spin_now_s
            sleep_s = 0.0 if spin_s > 0 else max(0.0, min(left, _SLICE_S))
            spin_ns, sleep_ns = int(spin_now_s * 1e9), int(sleep_s * 1e9)
            count = ports.next_row(self._address, self._slot, seen, spin_ns, sleep_ns, self._row)
            if count > seen:  # from here on every microsecond is the bar's
                self.count = count
                return self.row
            if count == ports.OVERTAKEN:
                self.count = self._reader.read_at(self._slot, self._copy, 1)
                return self.row
            self._reader.check_writer()
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"{self._reader.path}: nothing new within {timeout_s} s")

    def _copy(self, token: "Token") -> int:
        self.row[1:] = self._reader.rows(self._slot, 1, token.g_end)[:, 0]
        self.row[0] = token.g_end - 1
        return token.g_end
