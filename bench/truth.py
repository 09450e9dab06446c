"""What the bars will have been: the seeded market of the embedded exchange, computed ahead of time."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from session import Exchange

from bmac_stream.bar import INTERVALS_MS, N_COLUMNS

__all__ = ["Truth", "generated_truth"]

F64 = npt.NDArray[np.float64]


class Truth:
    """Bars of the generated market, known before they happen.

    values  float64[n_symbols, n_bars, 9] from open_time `start_ms` on
    """

    def __init__(self, symbols: Sequence[str], interval: str, start_ms: int, values: F64) -> None:
        self.symbols = list(symbols)
        self.step = INTERVALS_MS[interval]
        self.start_ms = start_ms
        self.values = values
        self._row = {symbol: i for i, symbol in enumerate(self.symbols)}

    def bar(self, symbol: str, open_time: int) -> F64:
        """float64[9] of one bar. IndexError outside of what is known."""
        bars: F64 = self.bars(symbol, open_time, 1)[0]
        return bars

    def bars(self, symbol: str, open_time: int, n: int) -> F64:
        """float64[n, 9], n bars from open_time on. IndexError outside of what is known."""
        first, rest = divmod(open_time - self.start_ms, self.step)
        if rest or first < 0 or first + n > self.values.shape[1]:
            raise IndexError(f"bars of {open_time} are not among the {self.values.shape[1]} known ones")
        rows: F64 = self.values[self._row[symbol], first : first + n]
        return rows

    def quiet(self, open_time: int) -> set[str]:
        """Symbols without a trade in that bar: the exchange pushes nothing, and REST has a row of zeros."""
        first = (open_time - self.start_ms) // self.step
        return {s for s, n in zip(self.symbols, self.values[:, first, 6], strict=True) if not n}


def generated_truth(
    exchange: Exchange, symbols: Sequence[str], interval: str, n_before: int, n_ahead: int
) -> Truth:
    """n_before bars up to now and n_ahead after it."""
    step = INTERVALS_MS[interval]
    start_ms = (int(exchange.clock.now_ms()) // step - n_before) * step
    n = n_before + n_ahead
    values = np.empty((len(symbols), n, N_COLUMNS))
    for i, symbol in enumerate(symbols):
        instrument = exchange.market.find("usdm", symbol)
        assert instrument is not None
        rows = exchange.market.klines(instrument, interval, start_ms, n, start_ms + (n + 1) * step)
        assert len(rows.open_time) == n, f"{symbol} has holes"
        values[i] = rows.values
    return Truth(symbols, interval, start_ms, values)
