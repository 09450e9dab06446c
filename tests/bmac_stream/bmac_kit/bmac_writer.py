"""BMAC's run directory, written by its rules and by nothing of this project: plain pandas and file names.

What is imitated: file names, columns, dtypes, the index and its changing name, feather files that lose it,
ready files in Hong Kong time of which there is one for each symbol, data first and ready file second, writing
straight onto the final path.
"""

import time
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

COLUMNS = [
    "open",
    "high",
    "low",
    "close",
    "volume",
    "quote_volume",
    "trade_num",
    "taker_buy_base_asset_volume",
    "taker_buy_quote_asset_volume",
]
HONG_KONG = timezone(timedelta(hours=8))


def candles(end: datetime, n: int, interval: timedelta, seed: int = 0) -> pd.DataFrame:
    """n random candles up to `end`, as BMAC's history leaves them."""
    random = np.random.default_rng(seed)
    close = 100.0 * (seed + 1) * np.exp(np.cumsum(0.002 * random.standard_normal(n)))
    opened = np.concatenate([close[:1], close[:-1]])
    volume = random.lognormal(5, 1, n)
    bought = random.random(n)
    ends = pd.DatetimeIndex([end - i * interval for i in range(n)][::-1]).tz_convert("UTC").as_unit("ns")
    frame = pd.DataFrame(
        {
            "candle_begin_time": ends - interval,
            "open": opened,
            "high": np.maximum(opened, close) * (1 + 0.001 * random.random(n)),
            "low": np.minimum(opened, close) * (1 - 0.001 * random.random(n)),
            "close": close,
            "volume": volume,
            "quote_volume": volume * close,
            "trade_num": np.floor(1 + 100 * random.random(n)),
            "taker_buy_base_asset_volume": volume * bought,
            "taker_buy_quote_asset_volume": volume * close * bought,
        }
    )
    return frame.set_index(ends.rename("candle_end_time"))


class BmacDirectory:
    """`BASE/{trade_type}_{interval}` and `BASE/exginfo_{interval}`."""

    def __init__(
        self, base: Path, trade_type: str = "usdt_perp", interval: str = "5m", save_type: str = "parquet"
    ) -> None:
        self.candle_dir = base / f"{trade_type}_{interval}"
        self.exginfo_dir = base / f"exginfo_{interval}"
        self.save_type = save_type
        self.ext = {"parquet": "pqt", "feather": "fea"}[save_type]
        for folder in (self.candle_dir, self.exginfo_dir):
            folder.mkdir(parents=True, exist_ok=True)

    def path(self, symbol: str) -> Path:
        return self.candle_dir / f"{symbol}.{self.ext}"

    def write(self, symbol: str, frame: pd.DataFrame, *, ready: bool = True) -> None:
        """The data file, then the ready file of its last candle."""
        self._save(frame, self.path(symbol))
        if ready:
            end = frame["candle_begin_time"].iloc[-1] + (
                frame.index[-1] - frame["candle_begin_time"].iloc[-1]
            )
            self.ready(self.candle_dir, symbol, end.to_pydatetime(warn=False))

    def live(self, symbol: str, frame: pd.DataFrame) -> None:
        """The same after a live bar, when the index has lost its name."""
        self.write(symbol, frame.rename_axis(None))

    def exginfo(self, symbols: Sequence[str], run_time: datetime) -> None:
        rows: list[dict[str, Any]] = [
            {
                "symbol": symbol,
                "contract_type": "PERPETUAL",
                "status": "TRADING",
                "base_asset": symbol.removesuffix("USDT"),
                "quote_asset": "USDT",
                "margin_asset": "USDT",
                "price_tick": Decimal("0.10"),
                "lot_size": Decimal("0.001"),
                "min_notional_value": Decimal("5"),
            }
            for symbol in symbols
        ]
        self._save(pd.DataFrame(rows), self.exginfo_dir / f"exginfo.{self.ext}")
        self.ready(self.exginfo_dir, "exginfo", run_time)

    def ready(self, folder: Path, symbol: str, run_time: datetime) -> None:
        for old in folder.glob(f"{symbol}_*.ready"):
            old.unlink()
        name = run_time.astimezone(HONG_KONG).strftime("%Y%m%d_%H%M%S")
        (folder / f"{symbol}_{name}.ready").write_text(str(time.time()))

    def _save(self, frame: pd.DataFrame, path: Path) -> None:
        if self.save_type == "parquet":
            frame.to_parquet(path)
        else:
            frame.reset_index(drop=True).to_feather(path)  # BMAC's feather files lose the index
