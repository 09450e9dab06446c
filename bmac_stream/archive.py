"""The long history: a folder of parquet files in which every bar lies once, whoever reads it and whenever.

    {root}/{trade_type}/{interval}/date=YYYY-MM-DD/bars.parquet    1s: bars-00.parquet ... bars-23.parquet
    {root}/_journal/{trade_type}/{interval}/                       what is no bar: nothing there ends in
                                                                   .parquet, nothing above is anything else

Which file a bar lies in follows from its open_time (UTC) alone, and a file is only ever replaced whole, by
rename. So `SELECT * FROM 'history/**/*.parquet'` sees each bar once, with its newest value, at any moment:
there is no second file that wins, and nothing to compact.

What was changed is visible in the rows (`n_corrections`, `corrected_at`, `came_from`) and, with the old
values, in `_journal/.../corrections.jsonl`: one line for each correction,

    {"at": ms, "symbol", "open_time": ms, "n": 1, "why", "old": [9 values], "new": [9 values]}

`Change` is the one way to write: files are made complete under the journal's folder, then a commit record is
written, then they are renamed. Whoever is killed before the record has done nothing, whoever is killed after
it has done everything: the next one to take the lock finishes. Readers need no lock.
"""

import errno
import fcntl
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bmac_stream.archive_file import CAME_FROM, STORE, BarFile, FileMeta, Rows, absent_spans, write
from bmac_stream.bar import INTERVALS_MS
from bmac_stream.errors import HistoryDamaged, HistoryError, HistoryForeign, HistoryLocked, NoSpace

__all__ = ["Change", "Changed", "DataSet", "Found", "find", "merge", "storing"]

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

JOURNAL: Final = "_journal"
"""Readers of folders (pyarrow, Spark, DuckDB's globs of *.parquet) pass over names that begin so."""

_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS
_NAME: Final = re.compile(r"date=(\d{4})-(\d\d)-(\d\d)/bars(?:-(\d\d))?\.parquet")
_LOCK_POLL_S: Final = 0.05


class Found(NamedTuple):
    """What lies in a data set's folder: files by the start of their span (ms UTC, ascending), and files that
    are none of ours."""

    files: dict[int, Path]
    foreign: list[Path]


class Changed(NamedTuple):
    """What an update of one file would do, or did."""

    start_ms: int
    n_added: int
    n_corrected: int
    n_absent: int
    """Holes that became known."""

    def __bool__(self) -> bool:
        return bool(self.n_added or self.n_corrected or self.n_absent)


def find(directory: str | Path) -> "list[DataSet]":
    """The data sets at `directory`: itself, if it is {root}/{trade_type}/{interval}, or all below it if it is
    {root} or {root}/{trade_type}. HistoryError if there is none."""
    path = Path(directory).absolute()
    if path.name in INTERVALS_MS and not (path / JOURNAL).exists() and path.is_dir():
        return [DataSet(path.parent.parent, path.parent.name, path.name)]
    try:
        inside = sorted(p for p in path.glob("*/*") if p.name in INTERVALS_MS and p.is_dir())
        if path.parent.joinpath(JOURNAL, path.name).is_dir():
            inside = sorted(p for p in path.iterdir() if p.name in INTERVALS_MS and p.is_dir())
    except OSError as error:
        raise HistoryError(f"{path}: {error.strerror}") from error
    found = [DataSet(p.parent.parent, p.parent.name, p.name) for p in inside if p.parent.name != JOURNAL]
    if not found:
        raise HistoryError(
            f"{path}: no history there, expected {{trade_type}}/{{interval}}/date=YYYY-MM-DD/ below it"
        )
    return found


class DataSet:
    """The bars of one trade_type and interval. Making this object touches nothing.

    root    the folder of all histories
    source  which exchange the bars are of; None: as the files there say. Another one there is refused
    """

    def __init__(self, root: str | Path, trade_type: str, interval: str, source: str | None = None) -> None:
        self.root = Path(root).absolute()
        self.trade_type = trade_type
        self.interval = interval
        self.interval_ms = INTERVALS_MS[interval]
        self.folder = self.root / trade_type / interval
        self.journal = self.root / JOURNAL / trade_type / interval
        self.span_ms = _HOUR_MS if self.interval_ms < 60_000 else _DAY_MS
        """Length of the time whose bars share a file: a day, or an hour of 1s bars."""
        self.source = source

    def __repr__(self) -> str:
        return f"<DataSet {self.folder}>"

    # ---- where things are

    def start_of(self, open_time: int) -> int:
        """Start of the span, and so the file, that a bar lies in, ms UTC."""
        return open_time // self.span_ms * self.span_ms

    def path_of(self, start_ms: int) -> Path:
        """The file of the span that starts at `start_ms`, there or not."""
        moment = datetime.fromtimestamp(start_ms / 1e3, UTC)
        hour = f"-{moment.hour:02d}" if self.span_ms < _DAY_MS else ""
        return self.folder / f"date={moment:%Y-%m-%d}" / f"bars{hour}.parquet"

    def look(self) -> Found:
        """The files there are, by name alone."""
        files: dict[int, Path] = {}
        foreign: list[Path] = []
        paths = sorted(self.folder.rglob("*")) if self.folder.is_dir() else []
        for path in paths:
            if path.is_dir():
                continue
            start = self._start_named(path)
            if start is None:
                foreign.append(path)
            else:
                files[start] = path
        return Found(dict(sorted(files.items())), foreign)

    def _start_named(self, path: Path) -> int | None:
        match = _NAME.fullmatch(path.relative_to(self.folder).as_posix())
        if match is None or (match[4] is None) != (self.span_ms == _DAY_MS):
            return None
        try:
            moment = datetime(*map(int, match.groups(default="0")), tzinfo=UTC)  # type: ignore[arg-type, misc]
        except ValueError:
            return None
        return int(moment.timestamp()) * 1000

    def open(self, start_ms: int, path: Path | None = None) -> BarFile:
        """The file of a span, checked to be of this data set. Errors as BarFile's, and HistoryForeign."""
        path = self.path_of(start_ms) if path is None else path
        file = BarFile(path)
        try:
            self._check_ours(path, file.meta, start_ms)
        except HistoryError:
            file.close()
            raise
        return file

    def _check_ours(self, path: Path, meta: FileMeta, start_ms: int) -> None:
        wanted: dict[str, Any] = {
            "trade_type": self.trade_type,
            "interval": self.interval,
            "start_ms": start_ms,
            "end_ms": start_ms + self.span_ms,
        }
        if self.source is not None:
            wanted["source"] = self.source
        for field, value in wanted.items():
            if getattr(meta, field) != value:
                raise HistoryForeign(f"{path}: {field} is {getattr(meta, field)!r}, expected {value!r}")

    def newest(self) -> FileMeta | None:
        """What the newest readable file says of itself; None if there is none."""
        for start, path in reversed(self.look().files.items()):
            with suppress(HistoryDamaged), self.open(start, path) as file:
                return file.meta
        return None

    def corrections(self) -> Iterator[dict[str, Any]]:
        """What the log of corrections holds, oldest first. A torn last line (a full disk) is passed over."""
        with suppress(FileNotFoundError), (self.journal / "corrections.jsonl").open("rb") as log:
            for line in log:
                with suppress(json.JSONDecodeError):
                    yield json.loads(line)

    # ---- changing

    @contextmanager
    def change(
        self, came_from: int, why: str, *, wait_s: float = 60.0, now_ms: int | None = None
    ) -> "Iterator[Change]":
        """`with data.change(STORE, "recorder") as change:` - the lock, what a killed process left undone,
        then the block; what it staged and did not commit is removed.

        came_from  who says what the bars are; the store never overrules an archive or REST
        why        for the log of corrections
        wait_s     how long to wait for the lock: HistoryLocked then
        now_ms     for `corrected_at`; by default this machine's clock
        HistoryForeign if the data set there has another source; NoSpace if the disk is full; HistoryError for
        any other failure of the file system.
        """
        with storing(self):
            self.journal.mkdir(parents=True, exist_ok=True)
            with (self.journal / "lock").open("ab") as lock:
                self._take(lock, wait_s)
                self.recover()
                newest = self.newest()
                if newest is not None and self.source is None:
                    self.source = newest.source
                now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
                change = Change(self, came_from, why, now_ms)
                try:
                    yield change
                finally:
                    change.drop()

    def _take(self, lock: Any, wait_s: float) -> None:
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise HistoryLocked(
                        f"history {self.folder}: another process is changing it (waited {wait_s:g} s)"
                    ) from None
                time.sleep(_LOCK_POLL_S)

    def recover(self) -> bool:
        """Finish what was committed, remove what was not. Only with the lock. True if there was a commit."""
        record = self.journal / "commit.json"
        committed = record.exists()
        if committed:
            self.finish(msgspec.json.decode(record.read_bytes(), type=_Commit))
        for leftover in self.journal.glob("*.tmp"):
            leftover.unlink()
        return committed

    def finish(self, commit: "_Commit") -> None:
        """Do what a commit record says, as often as needed."""
        folders = {self.journal}
        for name, target in commit.files:
            staged, final = self.journal / name, self.root / target
            if staged.exists():
                if not final.parent.is_dir():
                    final.parent.mkdir(parents=True, exist_ok=True)
                    folders.update((final.parent.parent, final.parent.parent.parent, self.root))
                staged.rename(final)
                folders.add(final.parent)
        spool = self.journal / commit.corrections if commit.corrections else None
        if spool is not None and spool.exists():
            with (self.journal / "corrections.jsonl").open("ab") as log:
                log.truncate(commit.log_size)  # an append that was cut off is done again
                with spool.open("rb") as lines:
                    while block := lines.read(1 << 20):
                        log.write(block)
                log.flush()
                os.fsync(log.fileno())
        for folder in folders:
            _fsync_folder(folder)
        (self.journal / "commit.json").unlink(missing_ok=True)
        _fsync_folder(self.journal)
        if spool is not None:
            spool.unlink(missing_ok=True)

    def set_aside(self, start_ms: int, path: Path) -> Path:
        """Move a damaged file out of every reader's sight; returns where it lies now."""
        place = self.journal / "damaged"
        place.mkdir(parents=True, exist_ok=True)
        stem = f"{path.parent.name}.{path.name}"
        for number in range(1_000_000):
            target = place / f"{stem}.{number}.bad"
            if not target.exists():
                break
        path.rename(target)
        _fsync_folder(path.parent)
        _fsync_folder(place)
        return target


class _Commit(msgspec.Struct, frozen=True):
    files: list[tuple[str, str]]  # (name in the journal's folder, path below the root)
    corrections: str | None  # file of lines for the log
    log_size: int  # of the log, before they are appended


class Change:
    """Files in the making. Made by `DataSet.change`, which holds the lock."""

    def __init__(self, data: DataSet, came_from: int, why: str, now_ms: int) -> None:
        self.data = data
        self.came_from = came_from
        self.why = why
        self.now_ms = now_ms
        self.aside: list[tuple[Path, str]] = []
        """Damaged files that were moved away, and what was wrong with them."""
        self._staged: dict[int, str] = {}
        self._spool: Any = None

    def update(
        self,
        start_ms: int,
        rows: Callable[[], Iterable[Rows]],
        absent: dict[str, I64] | None = None,
    ) -> Changed:
        """Stage the file of a span with `rows` merged into it; nothing is staged if nothing would change.

        rows    gives them by ascending symbol, all within the span; asked again if the file there is damaged
        absent  symbol -> open times of bars that the exchange has none of; it may be filled while the rows
                are taken. A bar always beats a hole
        A damaged file there is set aside first. HistoryForeign if the file is of another version or source:
        it stays as it is.
        """
        data = self.data
        assert start_ms not in self._staged, f"{start_ms} is staged already"
        path = data.path_of(start_ms)
        meta = FileMeta(
            trade_type=data.trade_type,
            interval=data.interval,
            source=data.source or "",
            start_ms=start_ms,
            end_ms=start_ms + data.span_ms,
        )
        assert meta.source, "a data set without files needs a source"
        holes = {} if absent is None else absent
        spool_at = self._spool.tell() if self._spool is not None else 0
        if path.exists():
            try:
                with data.open(start_ms, path) as old:
                    return self._stage(start_ms, meta, old.meta, iter(old), rows(), holes)
            except HistoryDamaged as error:
                if self._spool is not None:
                    self._spool.truncate(spool_at)
                    self._spool.seek(spool_at)
                self.aside.append((data.set_aside(start_ms, path), str(error)))
        return self._stage(start_ms, meta, None, iter(()), rows(), holes)

    def _stage(
        self,
        start_ms: int,
        meta: FileMeta,
        before: FileMeta | None,
        old: Iterator[Rows],
        new: Iterable[Rows],
        absent: dict[str, I64],
    ) -> Changed:
        data = self.data
        tally = [0, 0]
        there: dict[str, I64] = {}
        name = f"{start_ms}.tmp"

        def counted() -> Iterator[Rows]:
            for one in merge(old, new, self.came_from, self.now_ms, tally, self._log):
                there[one.symbol] = one.open_time
                yield one

        holes = {} if before is None else {s: before.absent_times(s) for s in before.absent}
        n_absent = 0

        def known() -> dict[str, list[tuple[int, int]]]:
            nonlocal n_absent
            found: dict[str, list[tuple[int, int]]] = {}
            nothing = np.empty(0, np.int64)
            for symbol in sorted({*holes, *absent}):
                was = holes.get(symbol, nothing)
                times = np.union1d(was, absent.get(symbol, nothing))
                times = times[(times >= meta.start_ms) & (times < meta.end_ms)]
                times = np.setdiff1d(times, there.get(symbol, nothing))
                n_absent += len(np.setdiff1d(times, was))
                if len(times):
                    found[symbol] = absent_spans(times, data.interval_ms)
            return found

        tmp = data.journal / name
        write(tmp, msgspec.structs.replace(meta, written_ms=self.now_ms), counted(), known)
        changed = Changed(start_ms, tally[0], tally[1], n_absent)
        if changed:
            self._staged[start_ms] = name
        else:
            tmp.unlink()
        return changed

    def _log(self, line: dict[str, Any]) -> None:
        if self._spool is None:
            self._spool = (self.data.journal / "corrections.tmp").open("wb")
        self._spool.write(msgspec.json.encode({"at": self.now_ms, **line, "why": self.why}) + b"\n")

    def commit(self) -> int:
        """Let all that was staged take effect, at once; returns the number of files."""
        if not self._staged:
            return 0
        data = self.data
        log = data.journal / "corrections.jsonl"
        if self._spool is not None:
            self._spool.flush()
            os.fsync(self._spool.fileno())
            self._spool.close()
        commit = _Commit(
            [
                (name, data.path_of(start).relative_to(data.root).as_posix())
                for start, name in self._staged.items()
            ],
            None if self._spool is None else "corrections.tmp",
            log.stat().st_size if log.exists() else 0,
        )
        record = data.journal / "commit.json"
        tmp = data.journal / "commit.tmp"
        with tmp.open("wb") as file:
            file.write(msgspec.json.encode(commit))
            file.flush()
            os.fsync(file.fileno())
        tmp.rename(record)
        _fsync_folder(data.journal)
        self._staged, self._spool = {}, None
        data.finish(commit)
        return len(commit.files)

    def drop(self) -> None:
        """Remove what was staged and not committed."""
        if self._spool is not None:
            with suppress(OSError):
                self._spool.close()
            self._spool = None
        if not (self.data.journal / "commit.json").exists():
            for leftover in self.data.journal.glob("*.tmp"):
                with suppress(OSError):
                    leftover.unlink()
        self._staged = {}


@contextmanager
def storing(data: DataSet) -> Iterator[None]:
    """What the file system or Arrow raises in the block becomes NoSpace or HistoryError."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        if _is_full(error):
            fs = os.statvfs(data.root)
            room = f"no room left, {fs.f_bavail * fs.f_frsize} bytes are free"
            raise NoSpace(f"history {data.folder}: {room}: {error}") from error
        raise HistoryError(f"history {data.folder}: {error}") from error


def merge(
    old: Iterable[Rows],
    new: Iterable[Rows],
    came_from: int,
    now_ms: int,
    tally: list[int],
    log: Callable[[dict[str, Any]], None],
) -> Iterator[Rows]:
    """Both, by ascending symbol; each of them ascends. tally[0] and [1] count added and corrected bars.

    A bar that is in both and differs is corrected, and logged, unless the store says so of a bar that an
    archive or REST has brought: they were asked because the store was doubted or absent.
    """
    left, right = iter(old), iter(new)
    a, b = next(left, None), next(right, None)
    while a is not None or b is not None:
        if b is None or (a is not None and a.symbol < b.symbol):
            assert a is not None
            yield a
            a = next(left, None)
        elif a is None or b.symbol < a.symbol:
            tally[0] += len(b.open_time)
            yield b
            b = next(right, None)
        else:
            yield _merged(a, b, came_from, now_ms, tally, log)
            a, b = next(left, None), next(right, None)


def _merged(
    a: Rows, b: Rows, came_from: int, now_ms: int, tally: list[int], log: Callable[[dict[str, Any]], None]
) -> Rows:
    at = np.searchsorted(a.open_time, b.open_time)
    hit = at < len(a.open_time)
    hit[hit] = a.open_time[at[hit]] == b.open_time[hit]
    place = at[hit]
    differs = (a.values[:, place] != b.values[:, hit]).any(axis=0)
    if came_from == STORE:
        differs &= a.came_from[place] == STORE
    if differs.any():
        wrong, right = place[differs], np.flatnonzero(hit)[differs]
        values, times, origin = a.values.copy(), a.corrected_at.copy(), a.came_from.copy()
        number = a.n_corrections.copy()
        values[:, wrong] = b.values[:, right]
        number[wrong] += 1
        times[wrong] = now_ms
        origin[wrong] = came_from
        for i, j in zip(wrong.tolist(), right.tolist(), strict=True):
            log(
                {
                    "symbol": a.symbol,
                    "open_time": int(a.open_time[i]),
                    "n": int(number[i]),
                    "came_from": CAME_FROM[came_from],
                    "old": a.values[:, i].tolist(),
                    "new": b.values[:, j].tolist(),
                }
            )
        tally[1] += len(wrong)
        a = Rows(a.symbol, a.open_time, values, number, times, origin)
    added = b.part(~hit)
    if len(added.open_time) == 0:
        return a
    tally[0] += len(added.open_time)
    both = Rows(
        a.symbol,
        np.concatenate([a.open_time, added.open_time]),
        np.concatenate([a.values, added.values], axis=1),
        np.concatenate([a.n_corrections, added.n_corrections]),
        np.concatenate([a.corrected_at, added.corrected_at]),
        np.concatenate([a.came_from, added.came_from]),
    )
    return both.part(np.argsort(both.open_time, kind="stable"))


def _is_full(error: Exception) -> bool:
    number = getattr(error, "errno", None)
    return number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or "No space left" in str(error)


def _fsync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
