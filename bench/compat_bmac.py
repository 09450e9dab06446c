"""A contender for bench/compat.py: BmacKit's way to its factors, reproduced in our own words.

The kit itself was never published; its interface was. What is done here follows the documents, the one
derivative that is public, and BMAC's own `CandleFileReader`: a wait coroutine for each symbol that asks every
10 ms whether the ready file is there, `pandas.read_parquet` of the whole file, one call of the factor module
on a copy for each parameter, and for a whole market the last row of every frame, in the order of exginfo.
Symbols are computed as they come. The newest pandas is used, which is twice as quick here as BMAC's pins.
"""

import asyncio
import importlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

__all__ = ["AllMarketWay", "FilesWay", "SingleWay"]


class FilesWay:
    """BMAC's CandleFileReader, parquet."""

    def __init__(self, base_dir: Path) -> None:
        self._base_dir = base_dir

    def check_ready(self, symbol: str, run_time: datetime) -> bool:
        """Whether the ready file of that name is there; run_time is Hong Kong's."""
        return (self._base_dir / f"{symbol}_{run_time.strftime('%Y%m%d_%H%M%S')}.ready").exists()

    def read_candle(self, symbol: str) -> pd.DataFrame:
        """The whole file."""
        return pd.read_parquet(self._base_dir / f"{symbol}.pqt")


class SingleWay:
    """One symbol, all periods."""

    def __init__(self, reader: FilesWay, factors: Sequence[tuple[str, Any]], package: str) -> None:
        self._reader = reader
        self._factors = [
            (importlib.import_module(f"{package}.{name}"), name, param) for name, param in factors
        ]

    async def calc_factors(self, run_time: datetime, symbol: str) -> pd.DataFrame:
        """The frame with its factor columns."""
        while not self._reader.check_ready(symbol, run_time):
            await asyncio.sleep(0.01)
        frame = self._reader.read_candle(symbol)
        made = {}
        for module, name, param in self._factors:
            column = f"{name}_{param}"
            made[column] = module.signal(frame.copy(), param, column)[column]
        return frame.assign(**made)


class AllMarketWay(SingleWay):
    """The whole market at one run_time."""

    def __init__(
        self, exginfo: FilesWay, reader: FilesWay, factors: Sequence[tuple[str, Any]], package: str
    ) -> None:
        super().__init__(reader, factors, package)
        self._exginfo = exginfo

    async def calc_all_factors(self, run_time: datetime) -> pd.DataFrame:
        """One row for each symbol."""
        while not self._exginfo.check_ready("exginfo", run_time):
            await asyncio.sleep(0.01)
        symbols = self._exginfo.read_candle("exginfo")["symbol"].tolist()
        rows = {}
        for one in asyncio.as_completed([self._last(run_time, symbol) for symbol in symbols]):
            symbol, row = await one
            rows[symbol] = row
        return pd.DataFrame([rows[symbol] for symbol in symbols], index=symbols)

    async def _last(self, run_time: datetime, symbol: str) -> tuple[str, pd.Series]:
        frame = await self.calc_factors(run_time, symbol)
        return symbol, frame.iloc[-1]
