"""How should a day of the long history lie in its file, and what does it cost to keep and to read?

    python bench/archive.py                600 symbols, 3 days of 1m bars, written to a temporary folder

Contenders: rows sorted by symbol and time, or by time and symbol, in row groups of 16 k to 256 k rows. Asked
of each by DuckDB, polars and pyarrow: one symbol's days; one hour of the whole market; every close there is.
All must give the same number of rows. First calls are not counted; medians of 5.
The last answer stands in docs/decisions/0067-long-history.md.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import fire
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from bmac_stream import archive_file
from bmac_stream.archive import DataSet
from bmac_stream.archive_file import STORE, Rows, to_table
from bmac_stream.bar import COLUMNS

__all__ = ["main"]

DAY = 86_400_000
FIRST = 20_000 * DAY


def day_of(symbols: int, first_ms: int) -> list[Rows]:
    """Bars with ticks of four digits, as markets have them."""
    rng = np.random.default_rng(first_ms // DAY)
    times = first_ms + 60_000 * np.arange(1440)
    made = []
    for i in range(symbols):
        tick = 10.0 ** -(i % 5)
        close = np.round(1000 + np.cumsum(rng.normal(0, 2, 1440))) * tick
        high, low = close + tick * rng.integers(0, 9, 1440), close - tick * rng.integers(0, 9, 1440)
        volume = np.round(rng.lognormal(5, 1, 1440), 2)
        taker = np.round(volume * rng.random(1440), 2)
        values = np.array(
            [close, high, low, close, volume, volume * close, np.round(volume), taker, taker * close]
        )
        made.append(Rows.fresh(f"S{i:04d}USDT", times, values, STORE))
    return made


def median_ms(call: Callable[[], object], n: int = 5) -> float:
    """Of n calls after a first one."""
    call()
    found = []
    for _ in range(n):
        began = time.perf_counter()
        call()
        found.append((time.perf_counter() - began) * 1e3)
    return statistics.median(found)


def write_as(path: Path, table: pa.Table, rows_per_group: int) -> None:
    """As archive_file.write does, with other row groups and order."""
    pq.write_table(
        table,
        path,
        row_group_size=rows_per_group,
        compression="zstd",
        compression_level=1,
        use_dictionary=["symbol", "came_from"],
        column_encoding=dict.fromkeys(COLUMNS, "BYTE_STREAM_SPLIT")
        | dict.fromkeys(("open_time", "n_corrections", "corrected_at"), "DELTA_BINARY_PACKED"),
        write_page_checksum=True,
        write_statistics=["symbol", "open_time", "n_corrections"],
    )


def main(symbols: int = 600, days: int = 3, scans: bool = True) -> None:
    """Time keeping (a day brought up to date) and reading."""
    with tempfile.TemporaryDirectory(prefix="bench-archive-") as folder:
        measure(Path(folder), symbols, days, scans)


def measure(folder: Path, symbols: int, days: int, scans: bool) -> None:
    """Print it all."""
    rows = [day_of(symbols, FIRST + i * DAY) for i in range(days)]
    data = DataSet(folder / "history", "usdt_perp", "1m", "embedded:bench")
    for part, upto in (("a day's first bars", 15), ("half a day", 720), ("the day's last bars", 1440)):
        began, cpu = time.perf_counter(), time.process_time()
        with data.change(STORE, "bench") as change:
            change.update(FIRST, lambda n=upto: [one.part(slice(0, n)) for one in rows[0]])  # type: ignore[misc]
            change.commit()
        took, used = time.perf_counter() - began, time.process_time() - cpu
        print(f"brought up to date, {part}: {took:.2f} s ({used:.2f} s of CPU)")
    print(f"a day: {data.path_of(FIRST).stat().st_size / 1e6:.1f} MB")
    began = time.perf_counter()
    with data.open(FIRST) as file:
        assert sum(len(one.open_time) for one in file) == symbols * 1440
    print(f"read whole with every check: {time.perf_counter() - began:.2f} s")
    if not scans:
        return
    print(f"{'layout':24} {'MB':>6}   " + "".join(f"{n:>26}" for n in ("one symbol", "one hour", "all")))
    tables = [to_table(day) for day in rows]
    for order, keys in (("symbol, time", None), ("time, symbol", ["open_time", "symbol"])):
        sorted_tables = (
            tables if keys is None else [t.sort_by([(k, "ascending") for k in keys]) for t in tables]
        )
        for size in (16_384, archive_file.ROWS_PER_GROUP, 262_144):
            place = folder / f"{order}-{size}".replace(", ", "-")
            for i, table in enumerate(sorted_tables):
                inside = place / f"date={i}"
                inside.mkdir(parents=True)
                write_as(inside / "bars.parquet", table, size // 1440 * 1440)
            mb = sum(p.stat().st_size for p in place.rglob("*.parquet")) / 1e6
            print(
                f"{order:13} {size // 1024:6} k {mb:8.1f}   "
                + "".join(f"{c:>26}" for c in scan(place, symbols))
            )


def scan(place: Path, symbols: int) -> list[str]:
    """ "duckdb / polars / pyarrow" in ms for each question."""
    glob = f"{place}/*/*.parquet"
    name = f"S{symbols // 2:04d}USDT"
    low, high = FIRST + DAY + 6 * 3_600_000, FIRST + DAY + 7 * 3_600_000
    time_type = pa.timestamp("ms", "UTC")
    t0, t1 = (pa.scalar(t, pa.int64()).cast(time_type) for t in (low, high))
    p0, p1 = (pl.lit(t).cast(pl.Datetime("ms", "UTC")) for t in (low, high))
    data = ds.dataset(place, format="parquet")
    time_field = ds.field("open_time")
    hour = (time_field >= t0) & (time_field < t1)
    sql_hour = f"open_time >= make_timestamptz({low * 1000}) AND open_time < make_timestamptz({high * 1000})"
    found = []
    with duckdb.connect() as db:
        for sql, lazy, arrow, n in (
            (
                f"SELECT open_time, close FROM '{glob}' WHERE symbol = '{name}'",
                pl.scan_parquet(glob).filter(pl.col("symbol") == name).select("open_time", "close"),
                lambda: data.to_table(["open_time", "close"], filter=ds.field("symbol") == name),
                len(data.files) * 1440,
            ),
            (
                f"SELECT symbol, open_time, close FROM '{glob}' WHERE {sql_hour}",
                pl.scan_parquet(glob)
                .filter(pl.col("open_time") >= p0, pl.col("open_time") < p1)
                .select("symbol", "open_time", "close"),
                lambda: data.to_table(["symbol", "open_time", "close"], filter=hour),
                symbols * 60,
            ),
            (
                f"SELECT close FROM '{glob}'",
                pl.scan_parquet(glob).select("close"),
                lambda: data.to_table(["close"]),
                symbols * len(data.files) * 1440,
            ),
        ):
            assert len(db.sql(sql).pl()) == len(lazy.collect()) == arrow().num_rows == n
            times = (
                median_ms(lambda sql=sql: db.sql(sql).pl()),  # type: ignore[misc]
                median_ms(lazy.collect),
                median_ms(arrow),
            )
            found.append(" / ".join(f"{t:.0f}" for t in times))
    return found


if __name__ == "__main__":
    fire.Fire(main)
