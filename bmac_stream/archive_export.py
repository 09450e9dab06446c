"""A long history, or a part of it, as files for other programs.

csv      one file per symbol and month, {SYMBOL}-{interval}-{YYYY-MM}.csv, as data.binance.vision writes them:
         its twelve columns with its names, times in ms, a line of names; `ignore` is 0. What is exported so
         can be imported so. Absent bars are not there.
parquet  one file {trade_type}-{interval}.parquet with the data set's own columns, sorted by day, then by
         symbol and time.

Files appear under their names when all are written.
"""

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from bmac_stream.archive import DataSet, storing
from bmac_stream.archive_file import ROWS_PER_GROUP, SCHEMA, Rows, to_table
from bmac_stream.bar import COLUMNS

__all__ = ["CSV_COLUMNS", "FORMATS", "export"]

FORMATS: Final = ("csv", "parquet")
CSV_COLUMNS: Final = (
    *("open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "count"),
    *("taker_buy_volume", "taker_buy_quote_volume", "ignore"),
)


def export(
    data: DataSet,
    out: str | Path,
    *,
    format: str = "csv",
    symbols: Collection[str] | None = None,
    start_ms: int | None = None,
    end_ms: int | None = None,
) -> tuple[list[Path], int]:
    """Write bars that open in [start_ms, end_ms) into the folder `out`; (the files, the number of bars).

    symbols  these only; a symbol of which there is nothing is no error
    HistoryDamaged and its kin if a file cannot be read, NoSpace if the disk is full: nothing is left then.
    ValueError for an unknown format.
    """
    if format not in FORMATS:
        raise ValueError(f"format is one of {', '.join(FORMATS)}, found {format!r}")
    folder = Path(out)
    work = folder / f".export.{os.getpid()}.tmp"
    with storing(data):
        work.mkdir(parents=True)
        try:
            rows = _rows(data, None if symbols is None else frozenset(symbols), start_ms, end_ms)
            if format == "csv":
                n_bars = sum(_append_csv(work, data, one) for one in rows)
            else:
                n_bars = _write_parquet(work / f"{data.trade_type}-{data.interval}.parquet", rows)
            made = sorted(work.iterdir())
            for path in made:
                path.rename(folder / path.name)
            return [folder / path.name for path in made], n_bars
        finally:
            with suppress(OSError):
                shutil.rmtree(work)


def _rows(
    data: DataSet, symbols: frozenset[str] | None, start_ms: int | None, end_ms: int | None
) -> Iterator[Rows]:
    """By day, then by symbol."""
    for start, path in data.look().files.items():
        if (end_ms is not None and start >= end_ms) or (
            start_ms is not None and start + data.span_ms <= start_ms
        ):
            continue
        with data.open(start, path) as file:
            for one in file if symbols is None else file.only(symbols):
                low = 0 if start_ms is None else int(np.searchsorted(one.open_time, start_ms))
                high = None if end_ms is None else int(np.searchsorted(one.open_time, end_ms))
                part = one.part(slice(low, high))
                if len(part.open_time):
                    yield part


def _append_csv(folder: Path, data: DataSet, one: Rows) -> int:
    months = one.open_time.astype("datetime64[ms]").astype("datetime64[M]")
    for month in np.unique(months):
        part = one.part(months == month)
        name = (
            f"{one.symbol}-{data.interval}-{datetime.fromtimestamp(part.open_time[0] / 1e3, UTC):%Y-%m}.csv"
        )
        path = folder / name
        by_name = dict(zip(COLUMNS, part.values, strict=True))
        n = len(part.open_time)
        columns = [
            part.open_time,
            *(by_name[c] for c in ("open", "high", "low", "close", "volume")),
            part.open_time + data.interval_ms - 1,
            by_name["quote_volume"],
            by_name["trade_num"].astype(np.int64),
            by_name["taker_buy_base_asset_volume"],
            by_name["taker_buy_quote_asset_volume"],
            np.zeros(n, np.int64),
        ]
        table = pa.Table.from_arrays([pa.array(c) for c in columns], names=list(CSV_COLUMNS))
        options = pa_csv.WriteOptions(include_header=False, quoting_style="none")
        with path.open("ab") as file:
            if file.tell() == 0:
                file.write(",".join(CSV_COLUMNS).encode() + b"\n")  # Arrow would quote the names
            pa_csv.write_csv(table, file, options)
    return len(one.open_time)


def _write_parquet(path: Path, rows: Iterator[Rows]) -> int:
    n_bars = 0
    with pq.ParquetWriter(path, SCHEMA, compression="zstd", compression_level=1) as writer:
        group: list[Rows] = []
        size = 0
        for one in rows:
            if group and size + len(one.open_time) > ROWS_PER_GROUP:
                writer.write_table(to_table(group), row_group_size=size)
                group, size = [], 0
            group.append(one)
            size += len(one.open_time)
            n_bars += len(one.open_time)
        if group:
            writer.write_table(to_table(group), row_group_size=size)
    return n_bars
