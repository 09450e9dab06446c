"""A snapshot: what a store held, in one parquet file from which the collector starts again.

One row per bar, sorted by symbol, then by time:

    symbol       string         dictionary encoded
    open_time    int64          ms UTC
    <columns>    float64 each   the store's columns, in its order
    status       uint8          shm.Status: bar, absent or pending (NaN then)

The footer's key `bmac_stream` holds a JSON object (`SnapshotMeta`): where the bars come from, which bars of
which symbol the file holds, and a CRC-32 of every column as decoded; the key `bmac_stream.crc32` is the
CRC-32 of that object. With parquet's page checksums (written here, verified on reading) a flipped bit is an
error, wherever it is: the pages have their CRC, and what lies outside of them is checked by what was decoded
(tests/bmac_stream/test_snapshot.py flips bits). Encodings: docs/decisions/0010-snapshot-format.md.

A file appears whole or not at all (tmp, fsync, read back, rename, fsync of the folder). The last two
generations are kept; `<store>.<serial>.parquet`, the higher serial is the newer, so that a clock that
jumps changes nothing.

Any process may read; per store one recorder writes.
"""

import errno
import os
import re
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from bmac_stream.arrow import from_numpy, from_words, to_numpy
from bmac_stream.errors import NoSpace, SnapshotDamaged, SnapshotError, SnapshotForeign

__all__ = [
    "GENERATIONS",
    "Expected",
    "Snapshot",
    "SnapshotMeta",
    "SymbolRows",
    "generations",
    "load",
    "load_latest",
    "write",
]

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]

VERSION: Final = 1
GENERATIONS: Final = 2
"""How many files of a store are kept; as many damaged ones (`*.bad`) are."""

_ROWS_PER_GROUP: Final = 65_536  # about 6 MB of columns in memory at a time while writing
_MAX_STATUS: Final = 3  # shm.Status.PENDING
_KEY: Final = b"bmac_stream"
_KEY_CRC: Final = b"bmac_stream.crc32"


class SymbolRows(NamedTuple):
    """Consecutive bars of one symbol: row i is bar number g0 + i.

    symbol  its name
    g0      number of the first bar
    values  float64 [n_columns, n], the store's columns in order (status not among them)
    status  uint8 [n], shm.Status of each bar; where it is not BAR the values are NaN
    """

    symbol: str
    g0: int
    values: F64
    status: U8


class SnapshotMeta(msgspec.Struct, frozen=True, kw_only=True):
    """What the file says about itself. Times are ms UTC."""

    version: int = VERSION
    store: str  # name of the store
    source: str  # which exchange, or which embedded market: never mixed
    interval_ms: int
    origin_ms: int  # open_time of bar number 0
    columns: tuple[str, ...]  # without status
    window: int  # bars that the store promised to each reader
    meta: str = "{}"  # the store's own JSON object (trade_type, interval, ...)
    epoch: int = 0  # of the store
    complete_g: int = -1  # newest bar number that every symbol had when the copy began, -1: none
    created_ms: int = 0  # system's clock, for people only
    symbols: tuple[tuple[str, int, int], ...] = ()  # (symbol, g0, number of bars), in the file's order
    crc32: dict[str, int] = {}  # column -> CRC-32 of its decoded little-endian bytes; filled by `write`

    @property
    def n_rows(self) -> int:
        """Bars in the file, over all symbols."""
        return sum(n for _, _, n in self.symbols)

    @property
    def last_g(self) -> int:
        """Number of the newest bar of any symbol, -1 if the file holds none."""
        return max((g0 + n - 1 for _, g0, n in self.symbols), default=-1)

    @property
    def close_ms(self) -> int:
        """When the newest bar of any symbol closes; `origin_ms` if the file holds none."""
        return self.origin_ms + (self.last_g + 1) * self.interval_ms


class Expected(Protocol):
    """What a snapshot is compared with; shm.Spec is one."""

    @property
    def source(self) -> str: ...
    @property
    def columns(self) -> tuple[str, ...]: ...
    @property
    def interval_ms(self) -> int: ...
    @property
    def origin_ms(self) -> int: ...
    @property
    def meta(self) -> str: ...


class Snapshot:
    """A snapshot in memory, checked. Iterating gives the `SymbolRows` of each symbol."""

    def __init__(self, path: Path, meta: SnapshotMeta, values: list[F64], status: U8) -> None:
        """values: the columns, each float64 [n_rows], as they were decoded: a copy of all of them into one
        array would cost as much as decoding them."""
        self.path = path
        self.meta = meta
        self._values = values
        self._status = status
        ends = np.cumsum([n for _, _, n in meta.symbols]).tolist()
        self._place = {
            symbol: (g0, end - n, end) for (symbol, g0, n), end in zip(meta.symbols, ends, strict=True)
        }

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols, sorted."""
        return tuple(self._place)

    def __len__(self) -> int:
        return len(self._place)

    def __contains__(self, symbol: str) -> bool:
        return symbol in self._place

    def __getitem__(self, symbol: str) -> SymbolRows:
        """The bars of `symbol`: a copy. KeyError if the snapshot has none."""
        g0, begin, end = self._place[symbol]
        values = np.array([column[begin:end] for column in self._values])
        return SymbolRows(symbol, g0, values, self._status[begin:end].copy())

    def __iter__(self) -> Iterator[SymbolRows]:
        return (self[symbol] for symbol in self._place)


def generations(directory: str | Path, store: str) -> list[Path]:
    """The snapshots of `store` in `directory`, newest first; no damaged ones."""
    found = _numbered(Path(directory), store, "parquet")
    return [path for _, path in sorted(found, reverse=True)]


def write(directory: str | Path, meta: SnapshotMeta, rows: Iterable[SymbolRows]) -> Path:
    """Write one snapshot and return its path; older generations than GENERATIONS are then removed.

    rows  the symbols, sorted by name; taken one after the other, so that a store can be copied symbol by
          symbol. Symbols without bars are left out. `meta.symbols` and `meta.crc32` are filled in here.

    NoSpace (with need and room) if the disk is full, SnapshotError for any other failure of the file system;
    the temporary file is then gone and the older generations stand.
    """
    folder = Path(directory)
    tmp = folder / f"{meta.store}.{os.getpid()}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder, meta.store)
        _write_file(tmp, meta, rows)
        load(tmp)  # what cannot be read back must not replace what can
        newest = generations(folder, meta.store)
        serial = 1 + (_serial(newest[0]) if newest else 0)
        path = folder / f"{meta.store}.{serial:08d}.parquet"
        tmp.rename(path)
        _fsync_folder(folder)
        for old in generations(folder, meta.store)[GENERATIONS:]:
            old.unlink(missing_ok=True)
    except (OSError, pa.ArrowException) as error:
        if _is_disk_full(error):
            raise NoSpace(f"snapshot of store {meta.store!r}: {_room(folder, tmp)}: {error}") from error
        raise SnapshotError(f"snapshot of store {meta.store!r} in {folder}: {error}") from error
    finally:
        with suppress(OSError):
            tmp.unlink(missing_ok=True)
    return path


def load(path: str | Path, expected: Expected | None = None, *, now_ms: float | None = None) -> Snapshot:
    """Read and check one snapshot.

    expected  refuse another source, interval, origin or columns, or another market in `meta`
    now_ms    exchange time: refuse a file with bars that close after it

    SnapshotDamaged if the file is cut, flipped or foreign to this format; SnapshotForeign if it is sound but
    refused; SnapshotError if it cannot be opened at all.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            return _load_open(path, file, expected, now_ms)
    except SnapshotError:
        raise
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise SnapshotError(f"snapshot {path}: {error.strerror}") from error
    except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError, OverflowError) as error:
        # Whatever the decoder says of flipped bytes; a file that reads back wrongly is caught by the digests.
        first_line = str(error).partition("\n")[0]
        raise SnapshotDamaged(f"snapshot {path}: {type(error).__name__}: {first_line}") from error


def load_latest(
    directory: str | Path,
    store: str,
    expected: Expected | None = None,
    *,
    now_ms: float | None = None,
) -> tuple[Snapshot | None, list[SnapshotError]]:
    """The newest usable snapshot of `store`, or None; and why newer ones were not used.

    A damaged file is set aside as `*.bad` (the last GENERATIONS of those are kept); a foreign one stays.
    """
    problems: list[SnapshotError] = []
    for path in generations(directory, store):
        try:
            return load(path, expected, now_ms=now_ms), problems
        except SnapshotDamaged as error:
            problems.append(error)
            _set_aside(path, store)
        except SnapshotError as error:
            problems.append(error)
    return None, problems


# ---- writing


def _schema(columns: tuple[str, ...]) -> pa.Schema:
    return pa.schema(
        [("symbol", pa.string()), ("open_time", pa.int64())]
        + [(column, pa.float64()) for column in columns]
        + [("status", pa.uint8())]
    )


def _write_file(path: Path, meta: SnapshotMeta, rows: Iterable[SymbolRows]) -> None:
    columns = meta.columns
    placed: list[tuple[str, int, int]] = []
    crc = dict.fromkeys((*columns, "status"), 0)
    with path.open("wb") as file:
        with pq.ParquetWriter(
            file,
            _schema(columns),
            compression="zstd",
            compression_level=1,
            use_dictionary=["symbol", "status"],
            column_encoding=dict.fromkeys(columns, "BYTE_STREAM_SPLIT")
            | {"open_time": "DELTA_BINARY_PACKED"},
            write_page_checksum=True,
            write_statistics=["symbol", "open_time"],
        ) as writer:
            group: list[SymbolRows] = []
            n_rows = 0
            for one in rows:
                n = one.status.size
                assert one.values.shape == (len(columns), n), f"{one.symbol}: values {one.values.shape}"
                assert not placed or placed[-1][0] < one.symbol, f"{one.symbol} out of order"
                if n == 0:
                    continue
                if group and n_rows + n > _ROWS_PER_GROUP:
                    _write_group(writer, meta, group, crc)
                    group, n_rows = [], 0
                group.append(one)
                n_rows += n
                placed.append((one.symbol, one.g0, n))
            if group:
                _write_group(writer, meta, group, crc)
            done = msgspec.structs.replace(
                meta, symbols=tuple(placed), crc32=crc, created_ms=time.time_ns() // 1_000_000
            )
            text = msgspec.json.encode(done)
            writer.add_key_value_metadata({_KEY: text, _KEY_CRC: str(zlib.crc32(text)).encode()})
        file.flush()
        os.fsync(file.fileno())


def _write_group(writer: Any, meta: SnapshotMeta, group: list[SymbolRows], crc: dict[str, int]) -> None:
    lengths = [one.status.size for one in group]
    names = from_words([one.symbol for one in group])
    arrays: list[Any] = [
        names.take(from_numpy(np.repeat(np.arange(len(group)), lengths))),
        from_numpy(_open_times(meta, [one.g0 for one in group], lengths)),
    ]
    for i, column in enumerate(meta.columns):
        values = np.concatenate([one.values[i] for one in group])
        crc[column] = zlib.crc32(values.data, crc[column])
        arrays.append(from_numpy(values))
    status = np.concatenate([one.status for one in group]).astype(np.uint8, copy=False)
    crc["status"] = zlib.crc32(status.data, crc["status"])
    arrays.append(from_numpy(status))
    table = pa.Table.from_arrays(arrays, schema=_schema(meta.columns))
    writer.write_table(table, row_group_size=table.num_rows)


def _open_times(meta: SnapshotMeta, g0: list[int], n: list[int]) -> I64:
    """Open times of the bars of several symbols, one symbol after the other."""
    begins = np.cumsum(n, dtype=np.int64) - n
    numbers = np.arange(sum(n), dtype=np.int64) + np.repeat(np.array(g0, np.int64) - begins, n)
    times: I64 = meta.origin_ms + meta.interval_ms * numbers
    return times


def _fsync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _is_disk_full(error: Exception) -> bool:
    number = getattr(error, "errno", None)
    return number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or "No space left" in str(error)


def _room(folder: Path, tmp: Path) -> str:
    try:
        size = tmp.stat().st_size
        fs = os.statvfs(folder)
    except OSError:
        return f"no room left in {folder}"
    return f"no room left in {folder}: {size} bytes were written, {fs.f_bavail * fs.f_frsize} are free"


# ---- reading


def _load_open(path: Path, file: Any, expected: Expected | None, now_ms: float | None) -> Snapshot:
    footer = pq.read_metadata(file)
    meta = _read_meta(path, footer.metadata or {})
    if expected is not None:
        _refuse_foreign(path, meta, expected)
    if now_ms is not None and meta.symbols and meta.close_ms > now_ms:
        raise SnapshotForeign(
            f"snapshot {path}: its newest bar closes at {meta.close_ms}, the exchange's time is {now_ms:.0f}"
        )
    parquet = pq.ParquetFile(
        file, metadata=footer, page_checksum_verification=True, read_dictionary=["symbol"]
    )
    if parquet.schema_arrow.names != _schema(meta.columns).names:
        raise SnapshotDamaged(f"snapshot {path}: columns {parquet.schema_arrow.names}")
    n = meta.n_rows
    if footer.num_rows != n:
        raise SnapshotDamaged(f"snapshot {path}: {footer.num_rows} rows, expected {n}")
    table = parquet.read()
    if table.num_rows != n:
        raise SnapshotDamaged(f"snapshot {path}: {table.num_rows} rows, expected {n}")
    _check_keys(path, meta, table)
    values = [_read_column(path, meta, table, column) for column in meta.columns]
    status = _read_column(path, meta, table, "status")
    if n and int(status.max()) > _MAX_STATUS:
        raise SnapshotDamaged(f"snapshot {path}: status {status.max()} is unknown")
    return Snapshot(path, meta, values, status)


def _read_meta(path: Path, keys: dict[bytes, bytes]) -> SnapshotMeta:
    text, crc = keys.get(_KEY), keys.get(_KEY_CRC)
    if text is None or crc is None:
        raise SnapshotDamaged(f"snapshot {path}: a parquet file, but not a snapshot of bmac_stream")
    if str(zlib.crc32(text)).encode() != crc:
        raise SnapshotDamaged(f"snapshot {path}: its description does not match its CRC-32")
    try:
        version = msgspec.json.decode(text)["version"]
        if version != VERSION:
            raise SnapshotForeign(f"snapshot {path}: format {version}, this program knows {VERSION}")
        meta = msgspec.json.decode(text, type=SnapshotMeta)
    except (msgspec.MsgspecError, KeyError, TypeError) as error:
        raise SnapshotDamaged(f"snapshot {path}: description: {error}") from error
    return meta


def _refuse_foreign(path: Path, meta: SnapshotMeta, expected: Expected) -> None:
    for field in ("source", "interval_ms", "origin_ms", "columns"):
        found, wanted = getattr(meta, field), getattr(expected, field)
        if found != wanted:
            raise SnapshotForeign(f"snapshot {path}: {field} is {found!r}, expected {wanted!r}")
    # Spot and futures have symbols of one name.
    found, wanted = (msgspec.json.decode(text).get("trade_type") for text in (meta.meta, expected.meta))
    if found is not None and wanted is not None and found != wanted:
        raise SnapshotForeign(f"snapshot {path}: trade_type is {found!r}, expected {wanted!r}")


def _check_keys(path: Path, meta: SnapshotMeta, table: Any) -> None:
    """Columns `symbol` and `open_time` must be what the description says, row by row."""
    names = [symbol for symbol, _, _ in meta.symbols]
    counts = [n for _, _, n in meta.symbols]
    times = _open_times(meta, [g0 for _, g0, _ in meta.symbols], counts)
    if not np.array_equal(to_numpy(table.column("open_time")), times):
        raise SnapshotDamaged(f"snapshot {path}: open_time is not what its description says")
    number = {name: i for i, name in enumerate(names)}
    runs: list[I64] = []
    for chunk in table.column("symbol").chunks:
        numbers = np.array([number.get(name, -1) for name in chunk.dictionary.to_pylist()], np.int64)
        runs.append(numbers[to_numpy(pa.chunked_array([chunk.indices]))])
    found = np.concatenate(runs) if runs else np.empty(0, np.int64)
    if len(number) != len(names) or not np.array_equal(found, np.repeat(np.arange(len(names)), counts)):
        raise SnapshotDamaged(f"snapshot {path}: symbols are not what its description says")


def _read_column(path: Path, meta: SnapshotMeta, table: Any, column: str) -> npt.NDArray[Any]:
    values = to_numpy(table.column(column))
    if values.dtype != (np.uint8 if column == "status" else np.float64):
        raise SnapshotDamaged(f"snapshot {path}: column {column} holds {values.dtype}")
    if zlib.crc32(values.data) != meta.crc32.get(column):
        raise SnapshotDamaged(f"snapshot {path}: column {column} does not match its CRC-32")
    return values


# ---- generations


def _numbered(folder: Path, store: str, ending: str) -> list[tuple[int, Path]]:
    shape = re.compile(re.escape(store) + r"\.(\d+)\." + re.escape(ending))
    try:
        paths = list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [(int(m[1]), path) for path in paths if (m := shape.fullmatch(path.name))]


def _serial(path: Path) -> int:
    return int(path.name.split(".")[-2])


def _remove_leftovers(folder: Path, store: str) -> None:
    """Temporary files of recorders that were killed while writing."""
    for pid, tmp in _numbered(folder, store, "tmp"):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            tmp.unlink(missing_ok=True)
        except PermissionError:
            pass  # somebody else's process now has this number: it may be a recorder of another container


def _set_aside(path: Path, store: str) -> None:
    with suppress(OSError):
        path.rename(path.with_name(path.name + ".bad"))
        bad = sorted(_numbered(path.parent, store, "parquet.bad"), reverse=True)
        for _, old in bad[GENERATIONS:]:
            old.unlink(missing_ok=True)
