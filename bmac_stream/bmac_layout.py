"""BMAC's run directory as bytes: the names of its files, and its frames as parquet or feather.

    {trade_type}_{interval}/{SYMBOL}.pqt     {SYMBOL}_{YYYYmmdd_HHMMSS}.ready
    exginfo_{interval}/exginfo.pqt           exginfo_{YYYYmmdd_HHMMSS}.ready
                       funding.pqt           funding_{YYYYmmdd_HHMMSS}.ready

What pandas.read_parquet and pandas.read_feather (`.fea`) make of these bytes is the very frame that BMAC v2
(binance_datatool) leaves there. They are made from Arrow tables without pandas, which is not needed here
(decision 0062). Nothing here touches the file system but `mark_of`.

Every file carries a mark of ours (schema metadata `bmac_stream`), by which it can be told from BMAC's own.
"""

import errno
import json
import os
import re
import stat
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq

from .bar import COLUMNS

__all__ = [
    "EXTENSIONS",
    "CandleFrame",
    "Foreign",
    "Mark",
    "candle_folder",
    "exginfo_columns",
    "exginfo_folder",
    "exginfo_table",
    "funding_table",
    "is_file_name",
    "mark_of",
    "parse_ready",
    "ready_name",
    "to_bytes",
]

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

EXTENSIONS: Final = {"parquet": "pqt", "feather": "fea"}
"""save_type -> ending of data files, the exchange info's and the funding's too."""

_KEY: Final = b"bmac_stream"
_UTC: Final = pa.timestamp("ns", "UTC")
_HONG_KONG: Final = "Hongkong"  # BMAC's own name of the zone; it is part of a column's dtype
_READY: Final = re.compile(r"(.+)_(\d{8}_\d{6})\.ready", re.DOTALL)

# pandas' description of a frame, as its release 2.2 (BMAC's) writes it, so that no newer dtype comes out.
_PANDAS_VERSION: Final = "2.2.1"


class Mark(NamedTuple):
    """What a file of ours says about itself.

    source      where its data is from: never mixed
    trade_type  as the config has it
    interval    as the config has it
    name        the symbol, "exginfo" or "funding"
    """

    source: str
    trade_type: str
    interval: str
    name: str


class Foreign(NamedTuple):
    """What `mark_of` says of a file that is not ours. damaged: no program could read it as it is now."""

    damaged: bool


def candle_folder(trade_type: str, interval: str) -> str:
    """Name of the folder of the symbols' files. The trade_type is the config's own word, an alias too."""
    return f"{trade_type}_{interval}"


def exginfo_folder(interval: str) -> str:
    """Name of the folder of exginfo and funding."""
    return f"exginfo_{interval}"


def ready_name(name: str, run_time_ms: int, zone: str) -> str:
    """Name of the ready file: "the bar ending at run_time is in the file of `name`"."""
    return f"{name}_{_local(run_time_ms, zone)}.ready"


@lru_cache(maxsize=64)  # a close is one run_time for all symbols
def _local(run_time_ms: int, zone: str) -> str:
    return datetime.fromtimestamp(run_time_ms / 1e3, ZoneInfo(zone)).strftime("%Y%m%d_%H%M%S")


def parse_ready(file_name: str) -> tuple[str, str] | None:
    """(name, time as text) of a ready file's name; None if it is none."""
    match = _READY.fullmatch(file_name)
    return None if match is None else (match[1], match[2])


def is_file_name(symbol: str) -> bool:
    """Whether a symbol can be the name of a file: any letters, but no path, and nothing hidden."""
    return (
        bool(symbol)
        and symbol.isprintable()
        and "/" not in symbol
        and not symbol.startswith(".")
        and len(symbol.encode("utf-8", "surrogateescape")) <= 200
    )


class CandleFrame:
    """Makes candle files of one (trade_type, interval).

    save_type    "parquet" or "feather"
    interval_ms  length of a bar, ms
    """

    def __init__(self, save_type: str, interval_ms: int) -> None:
        self._feather = save_type == "feather"
        self._interval_ms = interval_ms
        self._save_type = save_type
        self._schemas: dict[tuple[Mark, int], pa.Schema] = {}
        self._times = _Times(interval_ms)

    def encode(self, mark: Mark, first_ms: int, values: F64, keep: Bools | None) -> pa.Buffer:
        """The bytes of one symbol's file.

        first_ms  open_time of the first bar, ms UTC
        values    float64 [9, n], BMAC's columns in order, one bar after the other without holes in time
        keep      bool [n]: which of the bars there are, None: all. BMAC fills no gap, so the rest is left out
        """
        n = values.shape[1]
        begin, end = self._times.arrays(first_ms, n)
        if keep is not None:
            picked = np.flatnonzero(keep)
            values = np.ascontiguousarray(values[:, picked])
            begin, end = begin.take(pa.array(picked)), end.take(pa.array(picked))
        arrays = [begin, *map(pa.array, values)]
        if not self._feather:
            arrays.append(end)
        return to_bytes(pa.Table.from_arrays(arrays, schema=self._schema(mark, len(begin))), self._save_type)

    def _schema(self, mark: Mark, n: int) -> pa.Schema:
        key = (mark, n if self._feather else 0)
        schema = self._schemas.get(key)
        if schema is None:
            if len(self._schemas) > 10_000:  # young symbols have another n with every bar
                self._schemas.clear()
            schema = self._schemas[key] = _candle_schema(self._feather).with_metadata(
                {b"pandas": _candle_pandas(self._feather, n), _KEY: _mark_bytes(mark)}
            )
        return schema


class _Times:
    """The two time columns, made once for all symbols of a close."""

    def __init__(self, interval_ms: int) -> None:
        self._interval_ms = interval_ms
        self._made: dict[tuple[int, int], tuple[pa.Array, pa.Array]] = {}

    def arrays(self, first_ms: int, n: int) -> tuple[pa.Array, pa.Array]:
        """(begin, end), timestamp[ns, UTC] each, of n bars in a row."""
        made = self._made.get((first_ms, n))
        if made is None:
            if len(self._made) >= 16:
                self._made.clear()
            begin = (first_ms + self._interval_ms * np.arange(n, dtype=np.int64)) * 1_000_000
            end = begin + self._interval_ms * 1_000_000
            made = self._made[first_ms, n] = (pa.array(begin).view(_UTC), pa.array(end).view(_UTC))
        return made


@lru_cache(maxsize=2)
def _candle_schema(is_feather: bool) -> pa.Schema:
    fields = [("candle_begin_time", _UTC), *((name, pa.float64()) for name in COLUMNS)]
    return pa.schema(fields if is_feather else [*fields, ("candle_end_time", _UTC)])


@lru_cache(maxsize=4096)
def _candle_pandas(is_feather: bool, n: int) -> bytes:
    columns = [_time_column("candle_begin_time", "UTC"), *(_plain(name, "float64") for name in COLUMNS)]
    if is_feather:
        return _pandas([_range_index(n)], columns)
    # BMAC's name of the index after its start; after the first bar of a stream it has none. decision 0062
    return _pandas(["candle_end_time"], [*columns, _time_column("candle_end_time", "UTC")])


# ---- exchange info


def exginfo_columns(market: str) -> tuple[str, ...]:
    """BMAC's columns of exginfo for a market ("spot", "usdm", "coinm")."""
    decimals = ("price_tick", "lot_size", "min_notional_value")
    if market == "spot":
        return ("symbol", "status", "base_asset", "quote_asset", *decimals)
    texts = ("symbol", "contract_type", "status", "base_asset", "quote_asset", "margin_asset")
    return (*texts, *(decimals[:2] if market == "coinm" else decimals))


def exginfo_table(info: pa.Table, market: str, mark: Mark) -> pa.Table:
    """BMAC's exginfo of `Store.exchange_info()`: RangeIndex, text, and decimals whose precision and scale
    follow the data. Where the exchange gives no such number it is null (BMAC stopped there)."""
    arrays, columns = [], []
    for name in exginfo_columns(market):
        texts = info.column(name).to_pylist()
        if name in ("price_tick", "lot_size", "min_notional_value"):
            array = _decimals(texts)
            digits = {"precision": array.type.precision, "scale": array.type.scale}
            columns.append(_plain(name, "decimal", "object", digits))
        else:
            array = pa.array(texts, pa.string())
            columns.append(_plain(name, "unicode", "object"))
        arrays.append(array)
    schema = pa.schema(
        [(name, array.type) for name, array in zip(exginfo_columns(market), arrays, strict=True)],
        metadata={b"pandas": _pandas([_range_index(info.num_rows)], columns), _KEY: _mark_bytes(mark)},
    )
    return pa.Table.from_arrays(arrays, schema=schema)


def _decimals(texts: Sequence[str | None]) -> pa.Array:
    numbers = [_decimal(text) for text in texts]
    if not any(number is not None for number in numbers):
        return pa.array(numbers, pa.decimal128(18, 8))
    try:
        return pa.array(numbers)
    except pa.ArrowInvalid:  # more digits than any market has: no number rather than no file
        return pa.array([None] * len(numbers), pa.decimal128(18, 8))


def _decimal(text: str | None) -> Decimal | None:
    try:
        number = Decimal(text) if text else None
    except InvalidOperation:
        return None
    return number if number is None or number.is_finite() else None


# ---- funding


def funding_table(
    symbols: Sequence[str], rows: Sequence[tuple[int, I64, F64]], is_feather: bool, mark: Mark
) -> pa.Table:
    """BMAC's funding in long form, oldest period first; index 0..n-1 anew for each period.

    symbols  names that rows refer to
    rows     for each period (run_time in ms, int64 [n] positions in `symbols`, float64 [n] rates: NaN where
             the exchange gives no number)
    """
    names = pa.array(symbols, pa.string())
    which = np.concatenate([place for _, place, _ in rows]) if rows else np.empty(0, np.int64)
    rates = np.concatenate([rate for _, _, rate in rows]) if rows else np.empty(0)
    sizes = [len(place) for _, place, _ in rows]
    times = np.repeat(np.array([run_time for run_time, _, _ in rows], np.int64) * 1000, sizes)
    zoned = pa.timestamp("us", _HONG_KONG)
    arrays = [names.take(pa.array(which)), pa.array(rates), pa.array(times).view(zoned)]
    fields = [("symbol", pa.string()), ("fundingRate", pa.float64()), ("time", zoned)]
    columns = [_plain("symbol", "unicode", "object"), _plain("fundingRate", "float64"),
               _time_column("time", _HONG_KONG)]  # fmt: skip
    index: list[Any] = [_range_index(len(which))]
    if not is_feather and len(rows) != 1:
        numbers = np.concatenate([np.arange(n) for n in sizes]) if rows else np.empty(0, np.int64)
        arrays.append(pa.array(numbers, pa.int64()))
        fields.append(("__index_level_0__", pa.int64()))
        columns.append(_plain(None, "int64", field="__index_level_0__"))
        index = ["__index_level_0__"]
    metadata = {b"pandas": _pandas(index, columns), _KEY: _mark_bytes(mark)}
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=metadata))


# ---- bytes


def to_bytes(table: pa.Table, save_type: str) -> pa.Buffer:
    """A whole file in memory: parquet 2.6 (SNAPPY, one row group) or feather (LZ4), as pandas writes them."""
    sink = pa.BufferOutputStream()
    if save_type == "feather":
        feather.write_feather(table, sink, compression="lz4")
    else:
        # No dictionaries: prices and volumes hardly repeat, and trying costs as much as all the rest; text
        # does repeat. No statistics: with one row group nobody can skip one. decision 0062
        texts = [field.name for field in table.schema if pa.types.is_string(field.type)]
        pq.write_table(
            table,
            sink,
            version="2.6",
            compression="snappy",
            use_dictionary=texts or False,
            write_statistics=False,
            row_group_size=max(table.num_rows, 1),
        )
    return sink.getvalue()


def mark_of(path: Path) -> Mark | Foreign:
    """Who wrote a data file, from its footer. OSError if it cannot be opened, or is no file: a named pipe in
    its place would be waited for, for ever."""
    with open(path, "rb", opener=_open_file) as file:
        try:
            if path.suffix == ".fea":
                with pa.ipc.open_file(file) as reader:
                    metadata: Mapping[bytes, bytes] = reader.schema.metadata or {}
            else:
                metadata = pq.read_schema(file).metadata or {}
        except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError, OverflowError):
            return Foreign(damaged=True)
    try:
        fields = json.loads(metadata[_KEY])
        return Mark(*(str(fields[name]) for name in Mark._fields))
    except (KeyError, TypeError, ValueError):
        return Foreign(damaged=False)


def _open_file(path: str, flags: int) -> int:
    fd = os.open(path, flags | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a file", path)
    return fd


def _mark_bytes(mark: Mark) -> bytes:
    return json.dumps(mark._asdict()).encode()


# ---- pandas' description of a frame


def _plain(
    name: str | None, pandas_type: str, numpy_type: str | None = None, metadata: Any = None, field: str = ""
) -> dict[str, Any]:
    return {
        "name": name,
        "field_name": field or name,
        "pandas_type": pandas_type,
        "numpy_type": numpy_type or pandas_type,
        "metadata": metadata,
    }


def _time_column(name: str, zone: str) -> dict[str, Any]:
    return _plain(name, "datetimetz", "datetime64[ns]", {"timezone": zone})


def _range_index(n: int) -> dict[str, Any]:
    return {"kind": "range", "name": None, "start": 0, "stop": n, "step": 1}


def _pandas(index: list[Any], columns: list[dict[str, Any]]) -> bytes:
    names = _plain(None, "unicode", "object", {"encoding": "UTF-8"})
    description = {
        "index_columns": index,
        "column_indexes": [names],
        "columns": columns,
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": _PANDAS_VERSION,
    }
    return json.dumps(description).encode()
