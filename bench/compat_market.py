"""The market of bench/compat.py: the same bars as BMAC's files and as a store, closed when told.

Whoever closes a bar is a process of its own (`closer`), as a collector is: it owns the store, and does with
BMAC's files what BMAC v2 does (bmac_way.py). All know the bars in advance: they follow from the seed.
"""

import multiprocessing
import multiprocessing.connection
import time
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pandas as pd
from bmac_way import BmacWay
from numpy.typing import NDArray

from bmac_stream.bar import COLUMNS
from shm import Spec, Status, StoreWriter

__all__ = ["INTERVAL", "STEP", "Closer", "Market"]

F64 = NDArray[np.float64]

INTERVAL = "1m"
STEP = 60_000
FIRST = 29_000_000
"""Number of the first bar."""
_HONG_KONG = timezone(timedelta(hours=8))


@dataclass(frozen=True)
class Market:
    """Sizes and places; picklable, so that another process has the same one."""

    disk: Path
    memory: Path
    symbols: int
    candles: int
    ahead: int
    seed: int = 5

    @property
    def names(self) -> list[str]:
        """As exginfo has them."""
        return [f"S{i:03d}USDT" for i in range(self.symbols)]

    @property
    def candle_dir(self) -> Path:
        return self.disk / f"usdt_perp_{INTERVAL}"

    @property
    def exginfo_dir(self) -> Path:
        return self.disk / f"exginfo_{INTERVAL}"

    def bars(self) -> F64:
        """float64[n_symbols, candles + ahead, 9]: random walks, as a quiet market."""
        random = np.random.default_rng(self.seed)
        shape = (self.symbols, self.candles + self.ahead)
        close = 100.0 * np.exp(
            random.normal(size=(self.symbols, 1)) + np.cumsum(0.001 * random.normal(size=shape), 1)
        )
        opened = np.concatenate([close[:, :1], close[:, :-1]], axis=1)
        high = np.maximum(opened, close) * (1 + 0.0005 * random.random(shape))
        low = np.minimum(opened, close) * (1 - 0.0005 * random.random(shape))
        volume = random.lognormal(5.0, 1.0, shape)
        taker = random.random(shape)
        quote = volume * close
        rows = (opened, high, low, close, volume, quote, np.ceil(volume), taker * volume, taker * quote)
        assert len(rows) == len(COLUMNS)
        return np.stack(rows, axis=2)

    def run_time_ms(self, k: int) -> int:
        """The right edge of the k-th bar after the history; of the history's last one for k = 0."""
        return (FIRST + self.candles + k) * STEP

    def run_time(self, k: int) -> datetime:
        """The same in Hong Kong time."""
        return datetime.fromtimestamp(self.run_time_ms(k) / 1e3, _HONG_KONG)

    def write_history(self, k: int, bars: F64) -> None:
        """BMAC's directory as it stands after the k-th bar, ready files included."""
        way = BmacWay(self.candle_dir, INTERVAL, self.candles)
        self.candle_dir.mkdir(exist_ok=True)
        times = (FIRST + k + np.arange(self.candles, dtype=np.int64)) * STEP
        for old in self.candle_dir.glob("*.ready"):
            old.unlink()
        stamp = self.run_time(k).strftime("%Y%m%d_%H%M%S")
        for i, name in enumerate(self.names):
            way.write_history(name, times, bars[i, k : k + self.candles])
            (self.candle_dir / f"{name}_{stamp}.ready").touch()
        self.write_exginfo(k)

    def write_exginfo(self, k: int) -> None:
        """The exchange info of that run_time."""
        self.exginfo_dir.mkdir(exist_ok=True)
        pd.DataFrame({"symbol": self.names, "status": "TRADING"}).to_parquet(self.exginfo_dir / "exginfo.pqt")
        for old in self.exginfo_dir.glob("*.ready"):
            old.unlink()
        (self.exginfo_dir / f"exginfo_{self.run_time(k).strftime('%Y%m%d_%H%M%S')}.ready").touch()


class Closer:
    """The process that closes bars. A context manager; its methods wait until it is done."""

    def __init__(self, market: Market) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_closer, args=(market, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._answer()

    def begin(self, what: str, k: int) -> None:
        """Have the k-th bar closed, in the "store" or in "bmac"'s files, while we go on."""
        self._pipe.send((what, k))

    def end(self) -> tuple[float, float]:
        """(when it began, when it was done), time.monotonic() of the machine."""
        return self._answer()

    def close_bar(self, what: str, k: int) -> float:
        """Close it and wait; how long it took, seconds."""
        self.begin(what, k)
        began, done = self.end()
        return done - began

    def _answer(self) -> tuple[float, float]:
        if not self._pipe.poll(60):
            raise RuntimeError("the process that closes bars does not answer")
        found: tuple[float, float] = self._pipe.recv()
        return found

    def __enter__(self) -> "Closer":
        return self

    def __exit__(self, *exc: object) -> None:
        self._pipe.send(("end", 0))
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _closer(market: Market, pipe: multiprocessing.connection.Connection) -> None:
    bars = market.bars()
    spec = Spec(
        columns=COLUMNS,
        window=market.candles,
        max_symbols=max(16, market.symbols),
        interval_ms=STEP,
        source="bench",
    )
    with StoreWriter.open("compat", spec, directory=market.memory) as writer:
        for i, name in enumerate(market.names):
            slot = writer.add_symbol(name, FIRST)
            rows = np.ascontiguousarray(bars[i, : market.candles])
            writer.load(slot, FIRST, rows, np.full(market.candles, Status.BAR, np.uint8))
            writer.activate(slot)
        writer.complete(FIRST + market.candles - 1)
        writer.set_phase("live")
        way = BmacWay(market.candle_dir, INTERVAL, market.candles)
        pipe.send((0.0, 0.0))
        while True:
            while not pipe.poll(1.0):
                writer.heartbeat()
            what, k = pipe.recv()
            if what == "end":
                return
            at = market.candles + k - 1
            frames = [
                way._frame(np.array([(FIRST + at) * STEP]), bars[i, at : at + 1])
                for i in range(market.symbols)
            ]
            began = time.monotonic()
            if what == "store":
                for i in range(market.symbols):
                    writer.append(i, FIRST + at, bars[i, at])
                writer.complete(FIRST + at)
            else:
                market.write_exginfo(k)
                for name, frame in zip(market.names, frames, strict=True):
                    way.update(name, frame)
            pipe.send((began, time.monotonic()))
