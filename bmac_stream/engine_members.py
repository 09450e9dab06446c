"""Who was in the cross-section of each of an engine's newest bars: recorded once, and never changed."""

import base64
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Members"]

F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]

_BITS: Final = "bits"


class Members:
    """A ring of rows, one for each bar: uint8[max_symbols], 1 for a member. All memory is taken here.

    first, stop  bars [first, stop) are recorded, at most `n_bars` of them
    """

    def __init__(self, n_bars: int, max_symbols: int) -> None:
        self._rows: U8 = np.zeros((n_bars, max_symbols), np.uint8)
        self.first = 0
        self.stop = 0

    def record(self, g: int, members: F64) -> None:
        """Bar g's members, float64[max_symbols], 1.0 for a member. After a gap only what follows is kept."""
        if g != self.stop:
            self.first = g
        self._rows[g % len(self._rows)] = members
        self.stop = g + 1
        self.first = max(self.first, self.stop - len(self._rows))

    def replace(self, first: int, rows: F64) -> None:
        """Bars from `first` on, float64[n, n_slots], and no others, are recorded from now on."""
        rows, first = rows[-len(self._rows) :], first + max(0, len(rows) - len(self._rows))
        at = np.arange(first, first + len(rows)) % len(self._rows)
        self._rows[at] = 0
        self._rows[at, : rows.shape[1]] = rows
        self.first, self.stop = first, first + len(rows)

    def put_into(self, first: int, rows: F64) -> None:
        """Write what is recorded of bars first, first + 1, ... over `rows`, float64[n, n_slots]."""
        begin, end = max(first, self.first), min(first + len(rows), self.stop)
        if begin < end:
            at = np.arange(begin, end) % len(self._rows)
            rows[begin - first : end - first] = self._rows[at, : rows.shape[1]]

    def of(self, slot: int, first: int, stop: int) -> U8:
        """One slot's part in bars [first, stop), uint8[stop - first]; 0 where nothing is recorded."""
        made = np.zeros(max(0, stop - first), np.uint8)
        begin, end = max(first, self.first), min(stop, self.stop)
        if begin < end:
            made[begin - first : end - first] = self._rows[np.arange(begin, end) % len(self._rows), slot]
        return made

    def saved(self, n_slots: int) -> dict[str, Any]:
        """What JSON can hold of the first `n_slots` slots; `take` reads it."""
        at = np.arange(self.first, self.stop) % len(self._rows)
        bits = np.packbits(self._rows[at, :n_slots]).tobytes()
        return {
            "first": self.first,
            "n_bars": len(at),
            "n_slots": n_slots,
            _BITS: base64.b64encode(bits).decode(),
        }

    def take(self, saved: Mapping[str, Any]) -> None:
        """Record what `saved` gave. ValueError, KeyError or TypeError if it is nothing of that kind."""
        first, n_bars, n_slots = (int(saved[key]) for key in ("first", "n_bars", "n_slots"))
        bits = np.frombuffer(base64.b64decode(saved[_BITS], validate=True), np.uint8)
        if first < 0 or n_slots > self._rows.shape[1] or len(bits) != -(-n_bars * n_slots // 8):
            raise ValueError(f"its members are {len(bits)} bytes for {n_bars} bars of {n_slots} symbols")
        rows = np.unpackbits(bits, count=n_bars * n_slots).reshape(n_bars, n_slots)
        self.replace(first, rows.astype(np.float64))
