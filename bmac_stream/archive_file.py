"""One file of the long history: the bars of all symbols in one span of time, sorted by symbol, then time.

    symbol         string                 dictionary encoded
    open_time      timestamp[ms, UTC]     left edge of the bar
    <columns>      double each            bar.COLUMNS
    n_corrections  int32                  how often the bar was changed after it was first written here
    corrected_at   timestamp[ms, UTC]     when last (this machine's clock); null: never
    came_from      string                 "store", "archive" or "rest"

There are no rows for bars that do not exist. Those that the exchange itself has none of (absent) are named in
the footer's key `bmac_stream.history`, a JSON object (`FileMeta`) that also says which bars of which symbol
the file holds, and has a CRC-32 of every column as decoded; `bmac_stream.history.crc32` is the CRC-32 of
that object. With parquet's page checksums a flipped bit is an error wherever it is, as in snapshots.

Symbols are never split between row groups, so that one symbol is one range of one row group. Files are read
and written symbol by symbol: memory holds a row group, not a day. Nothing here knows of folders or locks.
"""

import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from bmac_stream.bar import COLUMNS, INTERVALS_MS, N_COLUMNS
from bmac_stream.errors import HistoryDamaged, HistoryError, HistoryForeign

__all__ = [
    "ARCHIVE",
    "CAME_FROM",
    "REST",
    "ROWS_PER_GROUP",
    "SCHEMA",
    "STORE",
    "VERSION",
    "BarFile",
    "FileMeta",
    "Rows",
    "absent_spans",
    "to_table",
    "write",
]

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]
U8 = npt.NDArray[np.uint8]

VERSION: Final = 1
ROWS_PER_GROUP: Final = 65_536
CAME_FROM: Final = ("store", "archive", "rest")
"""Who said what a bar is: our collector, a file of data.binance.vision, or the exchange when it was asked."""
STORE: Final = 0
ARCHIVE: Final = 1
REST: Final = 2

_TIME: Final = pa.timestamp("ms", "UTC")
SCHEMA: Final = pa.schema(
    [("symbol", pa.string()), ("open_time", _TIME)]
    + [(name, pa.float64()) for name in COLUMNS]
    + [("n_corrections", pa.int32()), ("corrected_at", _TIME), ("came_from", pa.string())]
)
_DIGESTED: Final = ("open_time", *COLUMNS, "n_corrections", "corrected_at", "came_from")
_KEY: Final = b"bmac_stream.history"
_KEY_CRC: Final = b"bmac_stream.history.crc32"


class Rows(NamedTuple):
    """Bars of one symbol, ascending in time, without duplicates.

    open_time      int64 [n], ms UTC
    values         float64 [9, n], bar.COLUMNS
    n_corrections  int32 [n]
    corrected_at   int64 [n], ms UTC; 0: never
    came_from      uint8 [n], index of CAME_FROM
    """

    symbol: str
    open_time: I64
    values: F64
    n_corrections: I32
    corrected_at: I64
    came_from: U8

    @classmethod
    def fresh(cls, symbol: str, open_time: I64, values: F64, came_from: int) -> "Rows":
        """Bars that were never corrected. values: float64 [9, n]."""
        n = len(open_time)
        assert values.shape == (N_COLUMNS, n), f"{symbol}: {n} times, values {values.shape}"
        zeros = np.zeros(n, np.int64)
        return cls(
            symbol,
            open_time.astype(np.int64, copy=False),
            values,
            np.zeros(n, np.int32),
            zeros,
            np.full(n, came_from, np.uint8),
        )

    def part(self, which: Any) -> "Rows":
        """The rows that a slice, mask or index selects."""
        return Rows(
            self.symbol,
            self.open_time[which],
            self.values[:, which],
            self.n_corrections[which],
            self.corrected_at[which],
            self.came_from[which],
        )


class FileMeta(msgspec.Struct, frozen=True, kw_only=True):
    """What a file says about itself. Times are ms UTC."""

    version: int = VERSION
    trade_type: str
    interval: str
    source: str  # which exchange, or which embedded market: never mixed
    start_ms: int  # the span of time whose bars (by open_time) lie here and nowhere else
    end_ms: int
    written_ms: int = 0  # this machine's clock, for people only
    symbols: tuple[tuple[str, int, int, int], ...] = ()  # (symbol, number of bars, first and last open_time)
    absent: dict[str, list[tuple[int, int]]] = {}  # symbol -> (open_time, number of bars) of known holes
    crc32: dict[str, int] = {}  # column -> CRC-32 of its decoded little-endian bytes

    @property
    def n_rows(self) -> int:
        """Bars in the file."""
        return sum(n for _, n, _, _ in self.symbols)

    @property
    def interval_ms(self) -> int:
        """Length of a bar, ms."""
        return INTERVALS_MS[self.interval]

    def absent_times(self, symbol: str) -> I64:
        """open_time of the bars of `symbol` that the exchange is known to have none of, int64, ascending."""
        parts = [first + self.interval_ms * np.arange(n) for first, n in self.absent.get(symbol, ())]
        return np.concatenate(parts).astype(np.int64) if parts else np.empty(0, np.int64)


def absent_spans(times: I64, interval_ms: int) -> list[tuple[int, int]]:
    """Ascending open times as (first, number) of consecutive ones."""
    if len(times) == 0:
        return []
    breaks = np.flatnonzero(np.diff(times) != interval_ms) + 1
    return [(int(run[0]), len(run)) for run in np.split(times, breaks)]


# ---- writing


def write(
    path: Path,
    meta: FileMeta,
    rows: Iterable[Rows],
    absent: Callable[[], dict[str, list[tuple[int, int]]]] = dict,
) -> FileMeta:
    """Write a file at `path` (where nothing of worth lies), and fsync it; returns what it says of itself.

    rows    by ascending symbol, one item for each, taken one after the other; those without bars are left out
    absent  gives FileMeta.absent, asked for when all rows were taken
    OSError or pyarrow's errors if that fails: the caller removes what was begun.
    """
    placed: list[tuple[str, int, int, int]] = []
    crc = dict.fromkeys(_DIGESTED, 0)
    with path.open("wb") as file:
        with pq.ParquetWriter(
            file,
            SCHEMA,
            compression="zstd",
            compression_level=1,
            use_dictionary=["symbol", "came_from"],
            column_encoding=dict.fromkeys(COLUMNS, "BYTE_STREAM_SPLIT")
            | dict.fromkeys(("open_time", "n_corrections", "corrected_at"), "DELTA_BINARY_PACKED"),
            write_page_checksum=True,
            write_statistics=["symbol", "open_time", "n_corrections"],
        ) as writer:
            group: list[Rows] = []
            size = 0
            for one in rows:
                n = len(one.open_time)
                if n == 0:
                    continue
                _assert_sound(one, meta, placed[-1][0] if placed else "")
                if group and size + n > ROWS_PER_GROUP:
                    _write_group(writer, group, crc)
                    group, size = [], 0
                group.append(one)
                size += n
                placed.append((one.symbol, n, int(one.open_time[0]), int(one.open_time[-1])))
            if group:
                _write_group(writer, group, crc)
            done = msgspec.structs.replace(meta, symbols=tuple(placed), absent=absent(), crc32=crc)
            text = msgspec.json.encode(done)
            writer.add_key_value_metadata({_KEY: text, _KEY_CRC: str(zlib.crc32(text)).encode()})
        file.flush()
        os.fsync(file.fileno())
    return done


def to_table(group: list[Rows]) -> pa.Table:
    """Rows of some symbols as a table with SCHEMA."""
    times = np.concatenate([one.open_time for one in group])
    corrected = np.concatenate([one.corrected_at for one in group])
    names = pa.array([one.symbol for one in group], pa.string())
    arrays: list[Any] = [
        names.take(pa.array(np.repeat(np.arange(len(group)), [len(one.open_time) for one in group]))),
        pa.array(times).cast(_TIME),
    ]
    arrays += [pa.array(np.concatenate([one.values[i] for one in group])) for i in range(N_COLUMNS)]
    arrays.append(pa.array(np.concatenate([one.n_corrections for one in group])))
    arrays.append(pa.array(corrected, mask=corrected == 0).cast(_TIME))
    codes = np.concatenate([one.came_from for one in group])
    arrays.append(pa.array(CAME_FROM, pa.string()).take(pa.array(codes)))
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def _write_group(writer: Any, group: list[Rows], crc: dict[str, int]) -> None:
    table = to_table(group)
    writer.write_table(table, row_group_size=table.num_rows)
    for one in group:
        _digest(one, crc)


def _digest(one: Rows, crc: dict[str, int]) -> None:
    arrays = (one.open_time, *one.values, one.n_corrections, one.corrected_at, one.came_from)
    for name, array in zip(_DIGESTED, arrays, strict=True):
        crc[name] = zlib.crc32(np.ascontiguousarray(array).data, crc[name])


def _assert_sound(one: Rows, meta: FileMeta, before: str) -> None:
    times = one.open_time
    assert before < one.symbol, f"{one.symbol} after {before}"
    assert one.values.shape == (N_COLUMNS, len(times)), f"{one.symbol}: values {one.values.shape}"
    assert meta.start_ms <= times[0] and times[-1] < meta.end_ms, f"{one.symbol}: outside of {meta.start_ms}"
    assert (np.diff(times) > 0).all(), f"{one.symbol}: times do not ascend"


# ---- reading


class BarFile:
    """A file of the data set, open: what it says of itself at once, its rows symbol by symbol.

    with BarFile(path) as file:
        file.meta
        for rows in file: ...

    HistoryDamaged if it is cut, flipped or no such file, on opening or while it is read (the digests of the
    columns are known at the end only: believe nothing of a file that raises); HistoryForeign if its version
    is not ours; HistoryError if it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise HistoryError(f"{path}: {error.strerror}") from error
        try:
            footer = pq.read_metadata(self._file)
            self.meta = _read_meta(path, footer.metadata or {})
            self._parquet = pq.ParquetFile(
                self._file,
                metadata=footer,
                page_checksum_verification=True,
                read_dictionary=["symbol", "came_from"],
            )
            self._check_schema(footer.num_rows)
        except HistoryError:
            self._file.close()
            raise
        except Exception as error:
            self._file.close()
            raise _damaged(path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def __iter__(self) -> Iterator[Rows]:
        """Every symbol's rows, by ascending symbol; all columns are checked."""
        crc = dict.fromkeys(_DIGESTED, 0)
        waiting = iter(self.meta.symbols)
        for index in range(self._parquet.num_row_groups):
            yield from self._group(index, waiting, crc)
        if next(waiting, None) is not None:
            raise HistoryDamaged(f"{self.path}: it lacks symbols that its description names")
        if crc != self.meta.crc32:
            wrong = [name for name in _DIGESTED if crc[name] != self.meta.crc32.get(name)]
            raise HistoryDamaged(f"{self.path}: column {wrong[0]} does not match its CRC-32")

    def only(self, symbols: frozenset[str]) -> Iterator[Rows]:
        """The rows of these symbols; row groups without them are not read. The columns' digests are not
        checked (the pages' are)."""
        waiting = list(self.meta.symbols)
        for index in range(self._parquet.num_row_groups):
            size, taken = self._parquet.metadata.row_group(index).num_rows, 0
            names = []
            while waiting and taken < size:
                names.append(waiting.pop(0))
                taken += names[-1][1]
            if any(name[0] in symbols for name in names):
                for rows in self._group(index, iter(names), dict.fromkeys(_DIGESTED, 0)):
                    if rows.symbol in symbols:
                        yield rows

    def _group(
        self, index: int, waiting: Iterator[tuple[str, int, int, int]], crc: dict[str, int]
    ) -> Iterator[Rows]:
        try:
            group = _decode(self._parquet.read_row_group(index))
        except Exception as error:  # whatever the decoder says of flipped bytes
            raise _damaged(self.path, error) from error
        at, size = 0, len(group.times)
        while at < size:
            said = next(waiting, None)
            if said is None or said[1] <= 0 or at + said[1] > size:
                raise HistoryDamaged(f"{self.path}: row group {index} is not what its description says")
            one = group.symbol(said[0], at, at + said[1])
            if one is None or (int(one.open_time[0]), int(one.open_time[-1])) != said[2:]:
                raise HistoryDamaged(f"{self.path}: the rows of {said[0]} are not what its description says")
            self._check_times(one)
            _digest(one, crc)
            at += said[1]
            yield one

    def _check_times(self, one: Rows) -> None:
        times, meta = one.open_time, self.meta
        if (np.diff(times) <= 0).any():
            raise HistoryDamaged(f"{self.path}: the bars of {one.symbol} are not in order, or come twice")
        if times[0] < meta.start_ms or times[-1] >= meta.end_ms:
            raise HistoryDamaged(f"{self.path}: bars of {one.symbol} are outside of its span")

    def _check_schema(self, n_rows: int) -> None:
        found = self._parquet.schema_arrow
        for wanted in SCHEMA:
            index = found.get_field_index(wanted.name)
            kind: Any = found.field(index).type if index >= 0 else None
            if kind is not None and pa.types.is_dictionary(kind):
                kind = kind.value_type
            if kind != wanted.type:
                raise HistoryDamaged(f"{self.path}: column {wanted.name} is {kind}, expected {wanted.type}")
        if found.names != SCHEMA.names:
            raise HistoryDamaged(f"{self.path}: columns {found.names}")
        if n_rows != self.meta.n_rows:
            raise HistoryDamaged(f"{self.path}: {n_rows} rows, its description says {self.meta.n_rows}")


class _Group(NamedTuple):
    """A decoded row group: codes into the list of names, and the columns whole."""

    names: list[str]
    codes: Any
    times: I64
    values: F64
    n_corrections: I32
    corrected_at: I64
    came_from: U8

    def symbol(self, symbol: str, begin: int, end: int) -> Rows | None:
        """Rows [begin, end); None if they are not all of `symbol`."""
        codes = self.codes[begin:end]
        if self.names[codes[0]] != symbol or (codes != codes[0]).any():
            return None
        which = slice(begin, end)
        return Rows(
            symbol,
            self.times[which],
            self.values[:, which],
            self.n_corrections[which],
            self.corrected_at[which],
            self.came_from[which],
        )


def _decode(table: Any) -> _Group:
    symbols = _codes(table.column("symbol"))
    origins = _codes(table.column("came_from"))
    places = np.array([CAME_FROM.index(name) for name in origins[0]], np.uint8)
    values = np.empty((N_COLUMNS, table.num_rows))
    for i, name in enumerate(COLUMNS):
        values[i] = _plain(table.column(name))
    corrected = table.column("corrected_at").cast(pa.int64()).fill_null(0)
    return _Group(
        symbols[0],
        symbols[1],
        _plain(table.column("open_time").cast(pa.int64())),
        values,
        _plain(table.column("n_corrections")),
        _plain(corrected),
        places[origins[1]] if len(places) else np.empty(0, np.uint8),
    )


def _plain(column: Any) -> Any:
    if column.null_count:
        raise ValueError("a column has nulls")
    return column.to_numpy()


def _codes(column: Any) -> tuple[list[str], Any]:
    """(dictionary, codes) of a dictionary-encoded column."""
    if column.null_count:
        raise ValueError("a column has nulls")
    one = column.unify_dictionaries().combine_chunks()
    if isinstance(one, pa.ChunkedArray):
        one = one.chunk(0)
    return one.dictionary.to_pylist(), one.indices.to_numpy()


def _read_meta(path: Path, keys: dict[bytes, bytes]) -> FileMeta:
    text, crc = keys.get(_KEY), keys.get(_KEY_CRC)
    if text is None or crc is None:
        raise HistoryDamaged(f"{path}: a parquet file, but not of a history of bmac_stream")
    if str(zlib.crc32(text)).encode() != crc:
        raise HistoryDamaged(f"{path}: its description does not match its CRC-32")
    with suppress(msgspec.MsgspecError, KeyError, TypeError):
        version = msgspec.json.decode(text)["version"]
        if version != VERSION:
            raise HistoryForeign(f"{path}: format {version}, this program knows {VERSION}")
    try:
        meta = msgspec.json.decode(text, type=FileMeta)
    except msgspec.MsgspecError as error:
        raise HistoryDamaged(f"{path}: description: {error}") from error
    if meta.interval not in INTERVALS_MS:
        raise HistoryForeign(f"{path}: interval {meta.interval!r} is unknown")
    return meta


def _damaged(path: Path, error: Exception) -> HistoryDamaged:
    first_line = str(error).partition("\n")[0]
    return HistoryDamaged(f"{path}: {type(error).__name__}: {first_line}")
