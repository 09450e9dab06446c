"""A contender for bench/ingest.py: what BMAC v2 does with one closed bar, reproduced in our own words.

BMAC v2 (binance_datatool, commit dc6d39b) keeps one parquet file per symbol. For every closed frame its
single dispatcher reads that file, appends the bar, drops duplicates (the last one wins), sorts, keeps the
last `num_candles` rows, writes the file onto its final path, looks for the symbol's old ready file by
glob, removes it and creates the new one. Symbols go one after the other; nothing overlaps. The newest
pandas is used, which is kinder to it than BMAC's own pins.
"""

import json
import time
from datetime import timedelta, timezone
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from bmac_stream.bar import COLUMNS, INTERVALS_MS

__all__ = ["BmacWay"]

_HONG_KONG = timezone(timedelta(hours=8))
_LETTERS = "ohlcvqnVQ"  # the frame's keys in the order of COLUMNS (spot and USD-M)


class BmacWay:
    """The candle directory of one BMAC v2 process. Files are parquet (`.pqt`), as its default is.

    root         an existing directory; files are made in it
    interval     a name of bar.INTERVALS_MS
    num_candles  rows kept per symbol
    """

    def __init__(self, root: Path, interval: str, num_candles: int) -> None:
        self._root = root
        self._step = pd.Timedelta(milliseconds=INTERVALS_MS[interval])
        self._num_candles = num_candles

    def path(self, symbol: str) -> Path:
        """The candle file of `symbol`."""
        return self._root / f"{symbol}.pqt"

    def write_history(
        self, symbol: str, open_time: npt.NDArray[np.int64], values: npt.NDArray[np.float64]
    ) -> None:
        """What its history phase leaves: the file and no ready file. open_time int64[n] ms, values [n, 9]."""
        self._frame(open_time, values).to_parquet(self.path(symbol))

    def decode(self, raw: bytes) -> tuple[str, pd.DataFrame]:
        """(symbol, one-row frame) of a combined or raw closing frame: what its listener puts on the queue."""
        message = json.loads(raw)
        kline = message.get("data", message)["k"]
        values = np.array([[float(kline[letter]) for letter in _LETTERS]])
        return kline["s"], self._frame(np.array([kline["t"]], dtype=np.int64), values)

    def update(self, symbol: str, bar: pd.DataFrame) -> None:
        """Its dispatcher's work for one closed bar: merge, write, ready file."""
        path = self.path(symbol)
        old = pd.read_parquet(path)
        newest = old["candle_begin_time"].max()
        if bar["candle_begin_time"].max() <= newest:
            return
        if bar["candle_begin_time"].min() - newest > self._step:
            raise ValueError(f"{symbol}: a gap after {newest}; BMAC would ask REST here")
        merged = pd.concat([old, bar])
        merged = merged.drop_duplicates(subset="candle_begin_time", keep="last")
        merged = merged.sort_values("candle_begin_time").tail(self._num_candles)
        merged.to_parquet(path)
        for ready in self._root.glob(f"{symbol}_*.ready"):
            ready.unlink()
        run_time = merged["candle_begin_time"].iloc[-1] + self._step
        name = run_time.tz_convert(_HONG_KONG).strftime("%Y%m%d_%H%M%S")
        (self._root / f"{symbol}_{name}.ready").write_text(str(time.time()))

    def read(self, symbol: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """(open_time int64[n] ms, values float64[n, 9]) of a symbol's file, for the agreement."""
        frame = pd.read_parquet(self.path(symbol))
        begin = frame["candle_begin_time"].to_numpy(dtype="datetime64[ms]").astype(np.int64)
        return begin, frame[list(COLUMNS)].to_numpy(dtype=np.float64)

    def is_ready(self, symbol: str, run_time_ms: int) -> bool:
        """Whether the ready file of that run_time stands, as BMAC's readers ask."""
        run_time = pd.Timestamp(run_time_ms, unit="ms", tz="UTC").tz_convert(_HONG_KONG)
        return (self._root / f"{symbol}_{run_time.strftime('%Y%m%d_%H%M%S')}.ready").exists()

    def _frame(self, open_time: npt.NDArray[np.int64], values: npt.NDArray[np.float64]) -> pd.DataFrame:
        begin = pd.to_datetime(open_time, unit="ms", utc=True).as_unit("ns")
        columns = {"candle_begin_time": begin} | {name: values[:, i] for i, name in enumerate(COLUMNS)}
        return pd.DataFrame(columns).set_index(pd.DatetimeIndex(begin + self._step))
