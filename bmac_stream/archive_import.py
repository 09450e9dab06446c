"""Files of data.binance.vision (klines, zip or csv, daily or monthly) into a long history.

A file's name says what it holds: `BTCUSDT-1m-2024-02.zip`, `BTCUSDT-1m-2024-02-17.csv`. Its rows are, with or
without a line of names:

    open_time, open, high, low, close, volume, close_time, quote_volume, count, taker_buy_volume,
    taker_buy_quote_volume, ignore

times in ms, or in us (spot since 2025). The columns are taken by place, as from REST: on coin-margined
markets `volume` is in contracts and `quote_volume` in the base asset, as everywhere here. close_time is not
looked at: in old files it is short where the exchange stood still.

Everything is read and checked before anything is changed, then all of it takes effect at once
(archive.Change): an import is done, or it is not, and doing it again changes nothing. Files that were read
wait in one Arrow file in the journal's folder, a batch for each symbol and file of the data set, so memory
holds one file to read and one row group to write; the disk holds twice what is imported for a while.
"""

import functools
import hashlib
import io
import itertools
import os
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv

from bmac_stream.archive import DataSet, storing
from bmac_stream.archive_file import ARCHIVE, Rows
from bmac_stream.bar import COLUMNS, INTERVALS_MS, N_COLUMNS, origin_ms
from bmac_stream.binance.markets import TRADE_TYPES
from bmac_stream.errors import ImportRefused

__all__ = ["Imported", "Source", "import_files", "read_source", "sources"]

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

MAX_PROBLEMS: Final = 100
MAX_BYTES: Final = 2 << 30
"""Most bytes of one unpacked file; a month of 1s bars has 0.4 GB."""
PLACES: Final = (1, 2, 3, 4, 5, 7, 8, 9, 10)
"""Fields of bar.COLUMNS in a row."""
N_FIELDS: Final = 12

_NAME: Final = re.compile(r"(?P<symbol>[^-/]+)-(?P<interval>\d+[a-zA-Z]+)-(?P<period>\d{4}-\d\d(-\d\d)?)")
_MARKET_FOLDERS: Final = {"spot": "spot", "um": "usdm", "cm": "coinm"}
_NOT_BARS: Final = ("markPriceKlines", "indexPriceKlines", "premiumIndexKlines")
_MICROSECONDS: Final = 10**14  # a time in ms that large would be of the year 5138


class Source(NamedTuple):
    """A file to import, as its name describes it: bars of `symbol` that open in [first_ms, end_ms)."""

    path: Path
    symbol: str
    first_ms: int
    end_ms: int


@dataclass(slots=True)
class Imported:
    """What an import did.

    n_files, n_bars  read, and what they held
    n_added, n_corrected   bars that are new in the data set, and that differed there
    passed_over      files in folders that are no klines of the interval: left alone
    refused          a line for each file that was left out (only with skip_bad)
    """

    n_files: int = 0
    n_bars: int = 0
    n_added: int = 0
    n_corrected: int = 0
    passed_over: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


class _Bad(Exception):
    """A file that cannot be used; the text names it, and the line."""


# ---- which files


def sources(
    paths: Iterable[str | Path], trade_type: str, interval: str
) -> tuple[list[Source], list[str], list[str]]:
    """(files to import, files that were passed over, problems).

    A file that is named must be importable; of what lies in a folder (however deep) only klines of the
    interval are taken, the rest is passed over. What is of another market by its folder (.../spot/...,
    .../um/..., ...) is a problem.
    """
    market = TRADE_TYPES[trade_type].market
    found: dict[tuple[str, str], Source] = {}
    passed: list[str] = []
    problems: list[str] = []

    def take(path: Path, named: bool) -> None:
        match = _NAME.fullmatch(path.stem)
        kind = next((part for part in path.parts if part in _NOT_BARS), None)
        of = next((_MARKET_FOLDERS[p] for p in path.parent.parts[::-1] if p in _MARKET_FOLDERS), market)
        if path.suffix not in (".zip", ".csv") or match is None:
            why = "expected a name like BTCUSDT-1m-2024-02.zip or BTCUSDT-1m-2024-02-17.csv"
        elif kind is not None:
            why = f"these are {kind}, not klines"
        elif match["interval"] != interval:
            why = f"its bars are of {match['interval']}, expected {interval}"
        elif of != market:
            problems.append(f"{path}: it lies in a folder of {of}, but {trade_type} is {market}")
            return
        else:
            span = _span(match["period"])
            if span is None:
                problems.append(f"{path}: {match['period']} is no day or month")
                return
            source = Source(path, match["symbol"], *span)
            # the same file packed and unpacked is one
            found.setdefault((match["symbol"], match["period"]), source)
            return
        if named:
            problems.append(f"{path}: {why}")
        elif path.suffix != ".CHECKSUM":
            passed.append(str(path))

    for given in paths:
        place = Path(given)
        if place.is_dir():
            for path in sorted(place.rglob("*"), key=lambda p: (str(p.parent), p.stem, p.suffix != ".zip")):
                if path.is_file():
                    take(path, False)
        elif place.is_file():
            take(place, True)
        else:
            problems.append(f"{place}: no such file or folder")
    return sorted(found.values(), key=lambda s: (s.symbol, s.first_ms, s.end_ms)), passed, problems


def _span(period: str) -> tuple[int, int] | None:
    try:
        if len(period) > 7:
            first = datetime.strptime(period, "%Y-%m-%d").replace(tzinfo=UTC)
            end = first + timedelta(days=1)
        else:
            first = datetime.strptime(period, "%Y-%m").replace(tzinfo=UTC)
            end = (first + timedelta(days=32)).replace(day=1)
    except ValueError:
        return None
    return int(first.timestamp()) * 1000, int(end.timestamp()) * 1000


# ---- one file


def read_source(source: Source, interval: str) -> tuple[I64, F64]:
    """(open_time int64 [n] ms, values float64 [9, n]) of a file, ascending, each bar once.

    ImportRefused with one problem that names the file and, where it is a row, the line: a file that is cut,
    empty or no zip, a checksum (FILE.CHECKSUM beside it, sha256) that differs, a row that is not of twelve
    numbers, is off the interval's grid or outside of the period in the file's name, has prices that are not
    low <= open, close <= high, negative amounts, or comes twice with other values.
    """
    try:
        return _checked(source, _table(_body(source.path), source.path), interval)
    except _Bad as error:
        raise ImportRefused([str(error)]) from None
    except OSError as error:
        raise ImportRefused([f"{source.path}: {error.strerror or error}"]) from error


def _body(path: Path) -> bytes:
    """The CSV's bytes, unpacked; the checksum beside the file is compared."""
    raw = path.read_bytes()
    beside = path.with_name(path.name + ".CHECKSUM")
    if beside.is_file():
        said = beside.read_text("utf-8", "replace").split()
        found = hashlib.sha256(raw).hexdigest()
        if not said or said[0].lower() != found:
            raise _Bad(f"{path}: its sha256 is {found}, {beside.name} says {said[0] if said else 'nothing'}")
    if path.suffix == ".csv":
        return raw
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            inside = [one for one in archive.infolist() if one.filename.endswith(".csv")]
            if len(inside) != 1:
                raise _Bad(f"{path}: {len(inside)} csv files in it, expected one")
            if inside[0].file_size > MAX_BYTES:
                raise _Bad(f"{path}: {inside[0].file_size} bytes unpacked, at most {MAX_BYTES} are read")
            return archive.read(inside[0])
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, ValueError) as error:
        raise _Bad(f"{path}: no usable zip file: {error}") from None
    except Exception as error:  # zlib.error and kin, for bytes that are damaged
        raise _Bad(f"{path}: damaged: {error}") from None


def _table(body: bytes, path: Path) -> F64:
    """All fields as numbers, [n, 12]."""
    skip = _n_header_lines(body, path)
    names = [str(i) for i in range(N_FIELDS)]
    try:
        table = pa_csv.read_csv(
            io.BytesIO(body),
            read_options=pa_csv.ReadOptions(column_names=names, skip_rows=skip, use_threads=False),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.float64()), null_values=[], strings_can_be_null=False
            ),
        )
    except pa.ArrowException as error:
        line, why = _first_bad_line(body, skip)
        raise _Bad(f"{path}, line {line}: {why}" if line else f"{path}: {error}") from None
    if table.num_rows == 0:
        raise _Bad(f"{path}: no bars in it")
    return np.column_stack([table.column(name).to_numpy() for name in names])


def _n_header_lines(body: bytes, path: Path) -> int:
    """1 if the first line has the columns' names, 0 if it is a bar."""
    first = body.partition(b"\n")[0].partition(b",")[0].strip(b' \r"')
    if first.lower().replace(b"_", b" ") == b"open time":
        return 1
    if not first[:1].isdigit() and first[:1] not in (b"", b"-"):
        raise _Bad(f"{path}, line 1: expected a time or open_time, found {first[:40]!r}")
    return 0


def _first_bad_line(body: bytes, skip: int) -> tuple[int, str]:
    for number, line in enumerate(body.decode("utf-8", "replace").splitlines(), 1):
        if number <= skip or not line.strip():
            continue
        fields = line.split(",")
        if len(fields) != N_FIELDS:
            return number, f"{len(fields)} fields, expected {N_FIELDS}: {line[:120]!a}"
        for text in fields:
            try:
                float(text)
            except ValueError:
                return number, f"{text[:40]!a} is no number"
    return 0, ""


def _checked(source: Source, table: F64, interval: str) -> tuple[I64, F64]:
    step, origin = INTERVALS_MS[interval], origin_ms(interval)
    times = table[:, 0]
    with np.errstate(invalid="ignore"):
        scale = np.where(times >= _MICROSECONDS, 1000.0, 1.0)  # us
        ms = np.floor(times / scale)
        o, h, low, c, v, q, n, taker_v, taker_q = table[:, list(PLACES)].T
        broken = {
            "is not a number": ~np.isfinite(table[:, [0, *PLACES]]).all(axis=1),
            f"open_time is not on the grid of {interval}": (times % scale != 0) | ((ms - origin) % step != 0),
            "open_time is outside of the period in the file's name": ~(
                (ms >= source.first_ms) & (ms < source.end_ms)
            ),
            "prices are not 0 < low <= open, close <= high": ~(
                (low > 0) & (low <= o) & (o <= h) & (low <= c) & (c <= h)
            ),
            "an amount is negative": ~((v >= 0) & (q >= 0) & (taker_v >= 0) & (taker_q >= 0)),
            "takers bought more than was traded": ~((taker_v <= v) & (taker_q <= q)),
            "the number of trades is not a whole number": ~((n >= 0) & (n % 1.0 == 0)),
        }
    first = min(((int(mask.argmax()), why) for why, mask in broken.items() if mask.any()), default=None)
    if first is not None:
        row, why = first
        raise _Bad(f"{_line(source, row)}: {why}: {_text(table[row])}")
    values = np.ascontiguousarray(table[:, list(PLACES)].T)
    open_time = ms.astype(np.int64)
    if (np.diff(open_time) <= 0).any():
        order = np.argsort(open_time, kind="stable")
        again = np.flatnonzero(np.diff(open_time[order]) == 0)
        for i in again.tolist():
            a, b = int(order[i]), int(order[i + 1])
            if (values[:, a] != values[:, b]).any():
                raise _Bad(f"{_line(source, b)}: the bar comes twice, with other values: {_text(table[b])}")
        order = np.delete(order, again)
        open_time, values = open_time[order], values[:, order]
    return open_time, values


def _line(source: Source, row: int) -> str:
    """Where a row stands: empty lines and the line of names count."""
    seen = -1
    body = _body(source.path)
    skip = _n_header_lines(body, source.path)
    for number, line in enumerate(body.splitlines(), 1):
        if number > skip and line.strip():
            seen += 1
            if seen == row:
                return f"{source.path}, line {number}"
    return str(source.path)


def _text(row: F64) -> str:
    return ",".join(f"{x:.15g}" for x in row)


# ---- all of them


def import_files(
    data: DataSet,
    paths: Sequence[str | Path],
    *,
    skip_bad: bool = False,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Imported:
    """Read files and folders, and put their bars into `data`: all of them, or none.

    skip_bad  leave bad files out (whole) instead of refusing everything; `refused` names them
    progress  told (files read, of how many) now and then
    ImportRefused with all problems (up to MAX_PROBLEMS) if anything cannot be used: nothing was changed then.
    NoSpace, HistoryForeign, HistoryLocked, HistoryError as archive.DataSet.change.
    """
    wanted, passed, problems = sources(paths, data.trade_type, data.interval)
    if problems and not skip_bad:
        raise ImportRefused(problems[:MAX_PROBLEMS])
    if not wanted and not problems:
        raise ImportRefused([f"{', '.join(map(str, paths))}: no klines of {data.interval} there"])
    done = Imported(passed_over=passed, refused=problems)
    with _Staging(data) as staging:
        for i, source in enumerate(wanted):
            try:
                open_time, values = read_source(source, data.interval)
            except ImportRefused as error:
                done.refused += error.problems
                if not skip_bad and len(done.refused) >= MAX_PROBLEMS:
                    break
                continue
            staging.add(source, open_time, values)
            done.n_files += 1
            done.n_bars += len(open_time)
            progress(i + 1, len(wanted))
        if done.refused and not skip_bad:
            raise ImportRefused(done.refused)
        staging.finish()
        with data.change(ARCHIVE, "import", wait_s=600.0) as change:
            for start in staging.starts:
                changed = change.update(start, functools.partial(staging.rows, start))
                done.n_added += changed.n_added
                done.n_corrected += changed.n_corrected
            change.commit()
    return done


class _Staging:
    """Read files, cut at the borders of the data set's files, in one Arrow file."""

    def __init__(self, data: DataSet) -> None:
        self._data = data
        self._path = data.journal / f"import.{os.getpid()}.staged"
        self._schema = pa.schema([("open_time", pa.int64())] + [(name, pa.float64()) for name in COLUMNS])
        self._batches: dict[int, dict[str, list[tuple[int, Path]]]] = {}
        self._n = 0
        self._writer: Any = None
        self._reader: Any = None

    def __enter__(self) -> "_Staging":
        with storing(self._data):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            for leftover in self._path.parent.glob("import.*.staged"):
                if not Path("/proc", leftover.name.split(".")[1]).exists():
                    leftover.unlink()  # of an import that was killed
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            self._writer = pa.ipc.new_file(str(self._path), self._schema, options=options)
        return self

    def __exit__(self, *_: object) -> None:
        self._reader = None
        with suppress(OSError, pa.ArrowException):
            self._writer.close()
        self._path.unlink(missing_ok=True)

    @property
    def starts(self) -> list[int]:
        """Starts of the files that have bars, ascending."""
        return sorted(self._batches)

    def add(self, source: Source, open_time: I64, values: F64) -> None:
        """Cut a file's bars into batches."""
        span = self._data.span_ms
        starts = open_time // span * span
        edges = [0, *(np.flatnonzero(np.diff(starts)) + 1).tolist(), len(starts)]
        for begin, end in itertools.pairwise(edges):
            columns = [pa.array(open_time[begin:end]), *(pa.array(row[begin:end]) for row in values)]
            with storing(self._data):
                self._writer.write_batch(pa.record_batch(columns, schema=self._schema))
            place = self._batches.setdefault(int(starts[begin]), {}).setdefault(source.symbol, [])
            place.append((self._n, source.path))
            self._n += 1

    def finish(self) -> None:
        """All was added: from now on it is read."""
        with storing(self._data):
            self._writer.close()
        self._reader = pa.ipc.open_file(pa.memory_map(str(self._path)))

    def rows(self, start_ms: int) -> Iterator[Rows]:
        """The bars of a file by ascending symbol. ImportRefused if two sources differ about one."""
        for symbol, parts in sorted(self._batches[start_ms].items()):
            times, values = self._part(parts[0][0])
            for (_, before), (number, path) in itertools.pairwise(parts):
                more_times, more_values = self._part(number)
                both, left, right = np.intersect1d(times, more_times, True, True)
                differ = (values[:, left] != more_values[:, right]).any(axis=0)
                if differ.any():
                    when = datetime.fromtimestamp(int(both[differ.argmax()]) / 1e3, UTC)
                    raise ImportRefused(
                        [f"{before} and {path} differ about the bar of {symbol} at {when:%Y-%m-%d %H:%M:%S}"]
                    )
                times, first = np.unique(np.concatenate([times, more_times]), return_index=True)
                values = np.concatenate([values, more_values], axis=1)[:, first]
            yield Rows.fresh(symbol, times, values, ARCHIVE)

    def _part(self, number: int) -> tuple[I64, F64]:
        batch = self._reader.get_batch(number)
        values = np.empty((N_COLUMNS, batch.num_rows))
        for i in range(N_COLUMNS):
            values[i] = batch.column(i + 1).to_numpy()
        return batch.column(0).to_numpy(), values
