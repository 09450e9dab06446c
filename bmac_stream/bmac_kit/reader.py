"""`CandleFileReader`: a strategy's way to candles, in BMAC's directories or in a store of shared memory.

    CandleFileReader("../usdt_perp_5m_all_v2/usdt_perp_5m", "parquet")    BMAC's directory, its own or ours
    CandleFileReader("usdt_perp_5m", "shm")                               the store of that name
    CandleFileReader("shm:usdt_perp_5m", "parquet")                       the same, where only a path changes
    CandleFileReader(store)                                               a store that is attached already

All four have the same methods. The symbols "exginfo" and "funding" are those tables, also of a store.

Ready means that the bar which ends at run_time is in the data. BMAC's own reader asked for the one ready
file of that name, so that a reader who came after the next close found nothing; here a later ready file
will do, and calculators cut the frame at run_time. run_times may have any zone (BMAC: Hong Kong's only).
"""

import os
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import pandas as pd

from bmac_stream.bmac_kit import candles as files
from bmac_stream.bmac_kit.candles import Candles
from bmac_stream.bmac_kit.clock import HONG_KONG, convert_interval_to_timedelta, run_time_ms
from bmac_stream.bmac_kit.shared import SharedCandles
from bmac_stream.client import Store
from bmac_stream.errors import CandleFileError, CandleFileForeign

__all__ = ["CandleFileReader", "Deadline"]

_EXTENSIONS: Final = {"parquet": "pqt", "feather": "fea"}
_READY: Final = re.compile(r"(.+)_([0-9]{8}_[0-9]{6})\.ready")
_TABLES: Final = ("exginfo", "funding")
"""Data files that hold no candles."""


class Deadline:
    """When a wait ends, by this machine's clock.

    run_time_ms  what is waited for; expire_s  how long after it. At least one look is always taken.
    """

    def __init__(self, run_time_ms: int, expire_s: float) -> None:
        self.run_time_ms = run_time_ms
        self.expire_s = expire_s

    @property
    def left_s(self) -> float:
        """Seconds that are left, 0 if it is over."""
        return max(0.0, self.run_time_ms / 1e3 + self.expire_s - time.time())


class CandleFileReader:
    """Candles of one directory, or of one store.

    base_dir        the directory of the data and ready files; "shm:NAME" or a Store for shared memory
    save_type       "parquet" (`.pqt`) or "feather" (`.fea`); "shm": base_dir is a store's name
    ready_timezone  zone of the names of ready files, as the collector's config has it

    Attributes: base_dir, save_type, ext as in BMAC; shared: what is read instead of files, or None.
    ValueError for another save_type; StoreNotFound if there is no such store.
    """

    def __init__(
        self,
        base_dir: str | os.PathLike[str] | Store,
        save_type: str = "parquet",
        *,
        ready_timezone: str = "Asia/Hong_Kong",
    ) -> None:
        self.base_dir: Any = base_dir
        self.save_type = save_type
        self.shared = _shared(base_dir, save_type)
        if self.shared is not None:
            self.ext = "shm"
            return
        if save_type not in _EXTENSIONS:
            raise ValueError(f"save_type must be 'parquet', 'feather' or 'shm', found {save_type!r}")
        self.ext = _EXTENSIONS[save_type]
        self._folder = Path(str(base_dir))
        self._zone: tzinfo = HONG_KONG if ready_timezone == "Asia/Hong_Kong" else ZoneInfo(ready_timezone)

    def __repr__(self) -> str:
        return f"CandleFileReader({self.base_dir!r}, {self.save_type!r})"

    # ---- BMAC's methods

    def format_ready_file_path(self, symbol: str, run_time: datetime) -> str:
        """Path of the ready file of that run_time."""
        return str(self._files() / f"{symbol}_{self._stamp(run_time_ms(run_time))}.ready")

    def format_data_file_path(self, symbol: str) -> str:
        """Path of the data file."""
        return str(self._files() / f"{symbol}.{self.ext}")

    def check_ready(self, symbol: str, run_time: datetime) -> bool:
        """Whether the bar that ends at run_time is there (of a store: or will never be, and is NaN)."""
        if self.shared is not None:
            return self.shared.is_ready(symbol, run_time_ms(run_time))
        return self.newest_ready([symbol]).get(symbol, "") >= self._stamp(run_time_ms(run_time))

    def read_candle(self, symbol: str) -> pd.DataFrame:
        """The whole data file as a frame: candles with their end as index, also of feather files; "exginfo"
        and "funding" as they are. CandleFileError; SymbolNotFound, TableNotFound of a store."""
        if self.shared is not None:
            table = self.shared.table(symbol)
            return self.shared.newest(symbol).frame() if table is None else table
        if symbol in _TABLES:
            return self.read_table(symbol)
        return self.read(symbol).frame()

    def has_symbol(self, symbol: str) -> bool:
        """Whether there is a data file of it."""
        if self.shared is not None:
            return symbol in self.shared.store
        return Path(self.format_data_file_path(symbol)).exists()

    def get_all_symbols(self) -> list[str]:
        """Symbols that have a data file, sorted; of a store in its order."""
        if self.shared is not None:
            return list(self.shared.store.symbols)
        with os.scandir(self._folder) as entries:
            names = [entry.name for entry in entries if entry.name.endswith(f".{self.ext}")]
        return sorted(name.removesuffix(f".{self.ext}") for name in names if not name.startswith("."))

    # ---- what the calculators need beside them

    def read(self, symbol: str) -> Candles:
        """The candles of a data file, checked. CandleFileError."""
        return files.read_candles(Path(self.format_data_file_path(symbol)), self._interval_ms())

    def read_table(self, name: str) -> pd.DataFrame:
        """A data file that holds no candles, such as exginfo: it has at least a column `symbol`."""
        path = Path(self.format_data_file_path(name))
        table = files.read_table(path)
        if "symbol" not in table.column_names:
            raise CandleFileForeign(
                f"{path}: expected a column symbol, found {', '.join(table.column_names)}"
            )
        made: pd.DataFrame = table.to_pandas()
        return made

    def newest_ready(self, symbols: Sequence[str] | None = None) -> dict[str, str]:
        """symbol -> stamp of its newest ready file, for the whole directory in one look; names that are no
        ready files are passed over. CandleFileError if the directory cannot be read."""
        wanted = None if symbols is None else set(symbols)
        found: dict[str, str] = {}
        try:
            names = os.listdir(self._files())  # noqa: PTH208 - names are enough; paths take ten times as long
        except OSError as error:
            raise CandleFileError(f"{self._folder}: {error.strerror}") from error
        for name in names:
            if name.endswith(".ready") and (match := _READY.fullmatch(name)):
                symbol, stamp = match[1], match[2]
                if (wanted is None or symbol in wanted) and stamp > found.get(symbol, ""):
                    found[symbol] = stamp
        return found

    def stamp(self, at_ms: int) -> str:
        """What the name of a ready file of that run_time has in it."""
        return self._stamp(at_ms)

    def _stamp(self, at_ms: int) -> str:
        return datetime.fromtimestamp(at_ms / 1e3, UTC).astimezone(self._zone).strftime("%Y%m%d_%H%M%S")

    def _files(self) -> Path:
        if self.shared is not None:
            raise CandleFileError(f"{self.shared.store!r} has no files")
        return self._folder

    def _interval_ms(self) -> int | None:
        """The interval that the directory's name ends with: usdt_perp_5m."""
        try:
            step = convert_interval_to_timedelta(self._folder.resolve().name.rpartition("_")[2])
        except ValueError:
            return None
        return int(step.total_seconds() * 1000)


def _shared(base_dir: Any, save_type: str) -> SharedCandles | None:
    if isinstance(base_dir, Store):
        return SharedCandles.of(base_dir)
    name = str(base_dir)
    if name.startswith("shm:"):
        return SharedCandles.named(name.removeprefix("shm:"))
    return SharedCandles.named(name) if save_type == "shm" else None
