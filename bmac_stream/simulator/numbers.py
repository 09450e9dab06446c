"""How Binance prints bars: decimals per market and instrument, the REST row and the stream's `k` object.

Every number is printed with a fixed count of decimals: 8 on spot; the instrument's price and quantity
precision on the futures, quote volume with both together (usdm) or 8 (coinm). Zeros have them too.
Values that come from `snap` (or from text) survive the round trip: float(printed) is the same float64.
Seen in recorded frames and bodies; `tests/.../test_numbers.py` compares.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from bmac_stream.bar import INTERVALS_MS
from bmac_stream.simulator.market import F64, I64, Instrument, Rows

__all__ = ["POWERS", "KlineFormat", "decimals_of", "snap", "snap_array"]

_EXACT: Final = float(2**53)  # up to here float64 holds every integer

POWERS: Final = np.array([float(10**d) for d in range(19)])
"""10**d, exactly: np.power may be off by one unit in the last place."""


def decimals_of(text: str) -> int:
    """Decimals that a printed number has: "0.0010" has 4, "5" has 0."""
    return len(text.partition(".")[2])


def snap(x: float, decimals: int) -> float:
    """The float64 nearest to x rounded to `decimals`: what a client reads after we print x.

    The quotient of two integers that float64 holds exactly is rounded once, so it is float() of the
    decimal text. Beyond 2**53 units the float64 grid is coarser than the decimals: x itself survives.
    """
    scale = float(POWERS[decimals])
    units = x * scale
    return float(np.rint(units)) / scale if abs(units) < _EXACT else x


def snap_array(x: F64, decimals: int | I64) -> F64:
    """`snap` of an array; `decimals` may be an array (int64, broadcast against x)."""
    scale = POWERS[decimals]
    units = x * scale
    return np.where(np.abs(units) < _EXACT, np.rint(units) / scale, x)


class KlineFormat:
    """Prints the bars of one instrument at one interval. Make it once, it holds the templates.

    `values` are 9 Python floats in the order of bmac_stream.bar.COLUMNS (`Rows.values[i].tolist()`).
    A row of 12 costs about 3 us, a frame about 4 us.
    """

    def __init__(self, instrument: Instrument, interval: str) -> None:
        p = f"%.{instrument.price_precision}f"
        v = f"%.{instrument.quantity_precision}f"
        q = f"%.{instrument.quote_precision}f"
        self._step = INTERVALS_MS[interval]
        self._row = f'[%d,"{p}","{p}","{p}","{p}","{v}",%d,"{q}",%d,"{v}","{q}","0"]'
        bar = (
            f'"i":"{interval}","f":%d,"L":%d,"o":"{p}","c":"{p}","h":"{p}","l":"{p}",'
            f'"v":"{v}","n":%d,"x":%s,"q":"{q}","V":"{v}","Q":"{q}","B":"0"}}'
        )
        symbol = _escaped(instrument.symbol)
        pair = _escaped(instrument.pair)
        self._k = f'{{"t":%d,"T":%d,"s":"{symbol}",{bar}'
        self._event = f'{{"e":"kline","E":%d,"s":"{symbol}","k":{self._k}}}'
        self._continuous = (
            f'{{"e":"continuous_kline","E":%d,"ps":"{pair}","ct":"%s","k":{{"t":%d,"T":%d,{bar}}}'
        )

    def row(self, open_time: int, values: Sequence[float]) -> bytes:
        """One row of /klines: a JSON array of 12."""
        return (self._row % self._row_of(open_time, values)).encode()

    def rows(self, rows: Rows, *, time_scale: int = 1) -> bytes:
        """The whole body of /klines. `time_scale` 1000 prints microseconds (spot's option)."""
        parts = []
        times = rows.open_time.tolist()
        for open_time, values in zip(times, rows.values.tolist(), strict=True):
            numbers = self._row_of(open_time, values)
            if time_scale != 1:
                close = (open_time + self._step) * time_scale - 1
                numbers = (open_time * time_scale, *numbers[1:6], close, *numbers[7:])
            parts.append(self._row % numbers)
        return ("[" + ",".join(parts) + "]").encode()

    def k(self, open_time: int, values: Sequence[float], first_id: int, last_id: int, closed: bool) -> bytes:
        """The `k` object of a kline event."""
        return (self._k % self._k_of(open_time, values, first_id, last_id, closed)).encode()

    def event(
        self,
        event_ms: int,
        open_time: int,
        values: Sequence[float],
        first_id: int,
        last_id: int,
        closed: bool,
    ) -> bytes:
        """A whole kline event as a raw stream carries it."""
        return (self._event % (event_ms, *self._k_of(open_time, values, first_id, last_id, closed))).encode()

    def continuous(
        self,
        event_ms: int,
        contract_type: str,
        open_time: int,
        values: Sequence[float],
        first_id: int,
        last_id: int,
        closed: bool,
    ) -> bytes:
        """A whole continuous_kline event (futures); `contract_type` as exchangeInfo prints it."""
        k = self._k_of(open_time, values, first_id, last_id, closed)
        return (self._continuous % (event_ms, contract_type, *k)).encode()

    def _row_of(self, open_time: int, values: Sequence[float]) -> tuple[float, ...]:
        o, h, low, c, v, q, n, tv, tq = values
        return open_time, o, h, low, c, v, open_time + self._step - 1, q, n, tv, tq

    def _k_of(
        self, open_time: int, values: Sequence[float], first_id: int, last_id: int, closed: bool
    ) -> tuple[float | str, ...]:
        o, h, low, c, v, q, n, tv, tq = values
        x = "true" if closed else "false"
        close_time = open_time + self._step - 1
        return open_time, close_time, first_id, last_id, o, c, h, low, v, n, x, q, tv, tq


def _escaped(text: str) -> str:
    """For use inside a %-template; symbols hold nothing that JSON escapes."""
    return text.replace("%", "%%")
