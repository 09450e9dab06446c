"""BMAC's run directory: an ordinary reader of a store that writes it, file by file, as bars close.

    python -m bmac_stream.bmac_files CFG

The collector starts it as a process of its own; it can be run by hand as well. It looks at the store at every
publication and writes the files of exactly those symbols that have a new or a corrected bar, in the order in
which they close. For each: the data file (another name first, then renamed), the old ready file away, the new
one there. So whoever reads finds a whole file at any moment, an old or a new one, and what a ready file
promises is in the data; a process that is killed leaves nothing else behind.

exginfo comes first at every run_time, from `Store.exchange_info()`; funding, with `funding_rate`, as soon as
the companion store has it. A symbol that is delisted loses its files, as with BMAC. Files that are not ours,
and are not the file of a symbol of the store, are left alone.

A full disk or a folder that cannot be written is named and tried again; the newest bars are written then. If
BMAC, or another process of ours, writes that directory, nothing is written there until it has stopped.

What it says on stdout is one line for each run_time that the market has reached: `files of all symbols
ready` or `files of k/N symbols ready`; faults are lines that begin with `error: `. It ends with status 0 on
SIGTERM or SIGINT, when the collector is gone, and when the process that started it is gone.
"""

import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from shm import SlotState, Status
from shm.directory import slot_word
from shm.layout import FUTEX, SLOT_COUNT
from shm.wake import await_word

from .bar import COLUMNS
from .bmac_disk import OneFile, named
from .bmac_guard import FolderLock, bmac_process, foreign_files
from .bmac_layout import (
    EXTENSIONS,
    CandleFrame,
    Foreign,
    Mark,
    candle_folder,
    exginfo_columns,
    exginfo_folder,
    exginfo_table,
    funding_table,
    is_file_name,
    mark_of,
    parse_ready,
    ready_name,
    to_bytes,
)
from .client import Store, attach
from .config import Config, load_config
from .errors import (
    ConfigError,
    Lagging,
    NoSpace,
    RunDirectoryError,
    RunDirectoryTaken,
    ShmError,
    StoreBroken,
    StoreRetired,
    SymbolNotFound,
    TableNotFound,
    WriterDead,
    WriterStalled,
)

__all__ = ["Follower", "RunDirectory", "main", "run_directory"]

POLL_S: Final = 0.5
"""How soon a signal or a correction is noticed at the latest."""
RETRY_S: Final = (1.0, 2.0, 5.0, 15.0, 30.0)
"""Waits after a file that could not be written; the last one goes on."""
LOADING_S: Final = 1.0
"""Between two looks while the collector brings history: files are not written for every bar of it."""
LOOK_S: Final = 60.0
"""Between two looks for a process of BMAC's."""
WATCH_S: Final = 90.0
"""How long fresh files that are not ours are watched at most before the first is written."""
HEARTBEAT_S: Final = 2.0
"""A companion store that was silent for longer is asked how it is."""
QUIET_S: Final = 600.0
"""After another program wrote here, ours do again when it has not for two bars, or for so long at most."""
TOLD_S: Final = 10.0
"""Between two lines that say the same fault again."""
_LOADING: Final = ("starting", "history", "catching up")
"""Phases of the collector in which bars of the past come."""

log = logging.getLogger("bmac_stream.bmac_files")


class RunDirectory:
    """The files of one store in BMAC's layout. `open` it, then call `update` again and again.

    store        an attached store of bars; whoever reattaches it calls `reset`
    base         BMAC's base directory, which holds config.json
    trade_type   the config's own word; names the folder
    market       "spot", "usdm" or "coinm": the columns of exginfo
    num_candles  rows that a file has at most, by default (and at most) the store's window
    save_type    "parquet" or "feather"
    zone         time zone of the names of ready files
    funding      whether funding is written; needs the companion store
    say          told of every line for people
    """

    def __init__(
        self,
        store: Store,
        base: str | Path,
        trade_type: str,
        market: str,
        *,
        num_candles: int | None = None,
        save_type: str = "parquet",
        zone: str = "Asia/Hong_Kong",
        funding: bool = False,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.store = store
        self.base = Path(base)
        self.folder = self.base / candle_folder(trade_type, store.interval)
        self.exginfo_folder = self.base / exginfo_folder(store.interval)
        self.market, self.save_type, self.zone, self.funding = market, save_type, zone, funding
        self.num_candles = num_candles
        self.n_written = 0
        """Data files written."""
        self.n_skipped = 0
        """Bars that had no ready file of their own: a later one had closed before they were written."""
        self._told_skipped = 0
        self.failure: RunDirectoryError | NoSpace | None = None
        """Why a file could not be written; None once all could."""
        self._trade_type = trade_type
        self._ending = EXTENSIONS[save_type]
        self._say = say
        self._locks: list[FolderLock] = []
        self._candles: dict[str, OneFile] = {}
        self._exginfo = self._funding = OneFile(self.exginfo_folder, "exginfo", self._ending)
        self._failed = False
        self._told_failure = self._told_behind = self._looked_at = float("-inf")
        self.reset()

    def reset(self) -> None:
        """The store was attached anew: everything in it is new."""
        store = self.store
        self._frame = CandleFrame(self.save_type, store.interval_ms)
        self._n = min(self.num_candles or store.window, store.window)
        self._picked = [store.column_index[name] for name in COLUMNS]
        self._corrections = 0
        self._directory_version = -1
        self._names: list[str] = []
        self._index: dict[str, int] = {}
        self._words = np.empty(0, np.int64)
        self._seen = np.empty(0, np.int64)
        self._stale = np.empty(0, np.bool_)
        self._heard = 0
        self._told_g = -1
        self._swept = False
        self._info: pa.Table | None = None
        for file in (*self._candles.values(), self._exginfo, self._funding):
            file.last_g = -1

    # ---- beginning and end

    def open(self) -> None:
        """Make the folders, lock them, and look at what they hold. RunDirectoryTaken if somebody else writes
        them, RunDirectoryError or NoSpace if they cannot be written."""
        self._look_for_bmac()
        try:
            for folder in (self.folder, self.exginfo_folder):
                folder.mkdir(parents=True, exist_ok=True)
                self._locks.append(FolderLock(folder, self.store.name))
            self._candles = self._found(self.folder)
            found = self._found(self.exginfo_folder)
            self._exginfo = found.get("exginfo") or OneFile(self.exginfo_folder, "exginfo", self._ending)
            self._funding = found.get("funding") or OneFile(self.exginfo_folder, "funding", self._ending)
        except RunDirectoryTaken:
            self.close()
            raise
        except OSError as error:
            self.close()
            raise named(error, self.base) from error
        self.reset()

    def close(self) -> None:
        """Let go of the folders. The files stay as they are."""
        for lock in self._locks:
            lock.release()
        self._locks.clear()

    @property
    def is_open(self) -> bool:
        """Whether the folders are ours."""
        return bool(self._locks)

    def fresh_foreign(self, age_s: float) -> tuple[float, Path] | None:
        """The newest data file in these folders that somebody else wrote within the last `age_s` seconds of
        wall time: (seconds since 1970, path)."""
        found = foreign_files((self.folder, self.exginfo_folder), time.time() - age_s)
        return found[0] if found else None

    def _found(self, folder: Path) -> dict[str, OneFile]:
        """What lies in a folder. Temporary files of a process that was killed are removed, and files of ours
        that nobody would ever write again: of another source (real and synthetic bars never lie side by side)
        and of another save_type."""
        files: dict[str, OneFile] = {}
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
        for name in names:
            if (ready := parse_ready(name)) is not None:
                files.setdefault(ready[0], OneFile(folder, ready[0], self._ending)).ready.add(name)
            elif name.startswith(".") and name.endswith(".tmp"):
                with contextlib.suppress(OSError):
                    (folder / name).unlink()
        foreign = 0
        for name in names:
            stem, _, ending = name.rpartition(".")
            if ending not in EXTENSIONS.values() or not is_file_name(stem):
                continue
            try:
                mark = mark_of(folder / name)
            except OSError:
                continue
            if isinstance(mark, Foreign) or mark.name != stem:
                foreign += 1
                continue
            file = files.setdefault(stem, OneFile(folder, stem, self._ending))
            source = self.store.source
            if (mark.source, mark.trade_type) != (source, self._trade_type) or ending != self._ending:
                log.info("%s is of %s, %s: removed", folder / name, mark.trade_type, mark.source)
                file.remove(folder / name)
            else:
                file.ours = True
        if foreign:
            log.info("%s: %d data files are not ours; those of symbols will be replaced", folder, foreign)
        return files

    # ---- writing

    def update(self) -> int:
        """Write every file that the store has something new for; how many data files that were.

        RunDirectoryTaken if somebody else writes here; StoreRetired, WriterDead as the client. A file that
        cannot be written is named in `failure` and tried again by a later call.
        """
        assert self._locks, "open() comes first"
        for lock in self._locks:
            lock.check()
        reader = self.store.reader
        self._heard = int(reader.words[FUTEX])  # before everything that is looked at
        before = self.n_written
        self._failed = False
        loading = self.store.phase in _LOADING
        self._look_around()
        self._look_at_symbols(loading)
        self._look_at_corrections()
        complete_g = reader.complete_g
        counts = reader.words[self._words]
        newest = max(int(counts.max(initial=0)) - 1, complete_g)
        if newest > self._exginfo.last_g:
            self._sweep()
            self._attempt(self._exginfo, partial(self._write_exginfo, newest))
        for i in np.flatnonzero((counts > self._seen) | self._stale).tolist():
            file = self._candles[self._names[i]]
            self._attempt(file, partial(self._write_candles, i, file, loading))
        if self.funding:
            self._attempt(self._funding, self._write_funding)
        if not self._failed and self.failure is not None:
            self.failure = None
            self._say(f"{self.base} can be written again")
        if not loading:
            self._tell(complete_g)
        return self.n_written - before

    def wait(self, timeout_s: float) -> None:
        """Sleep until the store has published something since the last `update`, at most `timeout_s`. Errors
        as Store.check."""
        words = self.store.reader.words
        if int(await_word(words, FUTEX, self._heard, 0, int(timeout_s * 1e9))) <= self._heard:
            self.store.check()

    def _write_candles(self, i: int, file: OneFile, loading: bool) -> None:
        store = self.store
        try:
            rows = store[file.name].copy(self._n)
        except (Lagging, SymbolNotFound):
            return  # overtaken, or delisted: it is looked at again
        is_bar = rows.status == Status.BAR
        there = np.flatnonzero(is_bar)
        end_g = rows.g0 + len(is_bar)
        last_g = rows.g0 + int(there[-1]) if there.size else -1
        if last_g > file.last_g or (self._stale[i] and there.size):
            run_time = store.open_time_of(last_g + 1)
            if loading and file.is_past(ready_name(file.name, run_time, self.zone)):
                return  # what is there is from before a restart, and further
            values = rows.values if len(rows.values) == len(COLUMNS) else rows.values[self._picked]
            keep = None if there.size == is_bar.size else is_bar
            data = self._frame.encode(self._mark(file.name), store.open_time_of(rows.g0), values, keep)
            self.n_written += file.publish(data, ready_name(file.name, run_time, self.zone))
            if file.last_g >= 0 and not loading:
                passed = there[(there > file.last_g - rows.g0) & (there < last_g - rows.g0)].size
                self.n_skipped += passed
            file.last_g = last_g
        self._stale[i] = False
        self._seen[i] = end_g

    def _write_exginfo(self, newest: int) -> None:
        try:
            info = self.store.exchange_info().select(exginfo_columns(self.market))
        except (TableNotFound, StoreBroken) as error:
            log.debug("%s", error)
            return
        data = None
        if self._info is None or not info.equals(self._info) or not self._exginfo.is_there:
            data = to_bytes(exginfo_table(info, self.market, self._mark("exginfo")), self.save_type)
        ready = ready_name("exginfo", self.store.open_time_of(newest + 1), self.zone)
        self.n_written += self._exginfo.publish(data, ready)
        self._info = info
        self._exginfo.last_g = newest

    def _write_funding(self) -> None:
        file = self._funding
        try:
            store = self.store.funding
            newest = store.reader.complete_g
            if newest <= file.last_g:
                if store.silence_s > HEARTBEAT_S:
                    store.check()
                return
            n = min(self._n + 1, store.window)  # BMAC keeps time >= run_time - interval * num_candles
            end = store.open_time_of(newest + 1)
            rates, status = store.read_panel(
                ("funding_rate", "status"),
                lambda *panels: [panel.copy() for panel in panels],
                n,
                run_time=end,
            )
        except StoreRetired:
            self.store.funding.reattach()
            file.last_g = -1
            return
        except ShmError as error:  # not there yet, overtaken, not alive: the next look may find it
            log.debug("%s: %s", type(error).__name__, error)
            return
        names = [""] * len(rates)
        for entry in store.reader.directory():
            if entry.slot < len(names):
                names[entry.slot] = entry.symbol
        rows = []
        for k in range(n):
            there = np.flatnonzero(status[:, k] == Status.BAR)
            if there.size:
                rows.append((store.open_time_of(newest + 2 - n + k), there, rates[there, k]))
        if rows and rows[-1][0] == end:  # else it was not read at this run_time: nothing new
            table = funding_table(names, rows, self.save_type == "feather", self._mark("funding"))
            data = to_bytes(table, self.save_type)
            self.n_written += file.publish(data, ready_name("funding", end, self.zone))
        file.last_g = newest

    def _attempt(self, file: OneFile, work: Callable[[], None]) -> None:
        """`work` on one file, unless it failed a short while ago. Its failure is named and ends there."""
        if file.retry_at and time.monotonic() < file.retry_at:
            self._failed = True
            return
        try:
            work()
        except OSError as error:
            wait_s = RETRY_S[min(file.tries, len(RETRY_S) - 1)]
            file.tries += 1
            file.retry_at = time.monotonic() + wait_s
            self._failed = True
            self.failure = named(error, file.path)
            if time.monotonic() - self._told_failure > TOLD_S:
                self._told_failure = time.monotonic()
                self._say(f"error: {type(self.failure).__name__}: {self.failure}; tried again")
        else:
            if file.tries:
                log.info("%s can be written again", file.path)
            file.tries, file.retry_at = 0, 0.0

    def _mark(self, name: str) -> Mark:
        return Mark(self.store.source, self._trade_type, self.store.interval, name)

    # ---- what else there is to see

    def _look_at_symbols(self, loading: bool) -> None:
        """Listings and delistings. The first time that the collector is live, files of ours whose symbols
        went while nobody looked are removed as well."""
        reader = self.store.reader
        version = reader.directory_version
        if version == self._directory_version and (self._swept or loading):
            return
        symbols = self.store.symbols
        taken = {entry.symbol for entry in reader.directory() if entry.state is not SlotState.DELISTED}
        for name in [name for name, file in self._candles.items() if file.ours and name not in taken]:
            if name in self._index or not loading:
                log.info("%s is no longer collected: its files are removed", name)
                file = self._candles.pop(name)
                self._attempt(file, file.remove)
        names = [name for name in symbols if is_file_name(name)]
        for name in symbols.keys() - set(names):
            self._say(f"error: {name!a} cannot be the name of a file: it has none")
        old = self._index
        seen = [int(self._seen[old[name]]) if name in old else -1 for name in names]
        stale = [bool(self._stale[old[name]]) if name in old else False for name in names]
        self._names, self._index = names, {name: i for i, name in enumerate(names)}
        self._seen, self._stale = np.array(seen, np.int64), np.array(stale, np.bool_)
        self._words = np.array([slot_word(symbols[name], SLOT_COUNT) for name in names], np.int64)
        for name in names:
            self._candles.setdefault(name, OneFile(self.folder, name, self._ending))
        self._directory_version = version
        self._swept = self._swept or not loading

    def _look_at_corrections(self) -> None:
        try:
            changed, self._corrections = self.store.corrections(self._corrections)
        except Lagging:
            self._corrections = self.store.n_corrections
            self._stale[:] = True
            return
        for correction in changed:
            if (i := self._index.get(correction.symbol)) is not None:
                self._stale[i] = True

    def _sweep(self) -> None:
        """Ready files that came from elsewhere: there is only one per symbol when its file is written."""
        try:
            names = [path.name for path in self.folder.iterdir()]
        except OSError:
            return
        for name in names:
            if (ready := parse_ready(name)) is not None and (file := self._candles.get(ready[0])) is not None:
                file.ready.add(name)

    def _look_around(self) -> None:
        """Now and then: is there a BMAC?"""
        if time.monotonic() - self._looked_at > LOOK_S:
            self._looked_at = time.monotonic()
            self._look_for_bmac()
            self._exginfo.refuse_replaced()

    def _look_for_bmac(self) -> None:
        if (pid := bmac_process(self.base)) is not None:
            raise RunDirectoryTaken(f"BMAC (process {pid}) writes {self.base}: end one of the two")

    def _tell(self, g: int) -> None:
        """How many files have bar g, which was complete when this `update` began."""
        if g > self._told_g and self._names:
            self._told_g = g
            n_ready = sum(self._candles[name].last_g >= g for name in self._names)
            now = datetime.now(ZoneInfo(self.zone))
            which = "all" if n_ready == len(self._names) else f"{n_ready}/{len(self._names)}"
            self._say(f"{now}, files of {which} symbols ready")
        if self.n_skipped > self._told_skipped and time.monotonic() - self._told_behind > TOLD_S:
            self._told_behind = time.monotonic()
            self._say(
                f"behind: {self.n_skipped - self._told_skipped} bars had closed before the one ahead of them"
                " was written; the newest are"
            )
            self._told_skipped = self.n_skipped


class Follower:
    """Keeps a RunDirectory up to date until the collector ends: `step` again and again.

    interval_s  length of a bar, seconds of wall time
    """

    def __init__(self, directory: RunDirectory, interval_s: float, watch_s: float = WATCH_S) -> None:
        self.directory = directory
        self._interval_s, self._watch_s = interval_s, watch_s
        self._conflict = False  # somebody else wrote here while we ran
        self._watch: tuple[float, float] | None = None  # (monotonic until, newest foreign file then)
        self._next_try = 0.0
        self._told = ""

    def step(self) -> bool:
        """Write what is new, then wait for more, at most POLL_S. False once the collector is gone."""
        directory = self.directory
        try:
            if self._may_write():
                directory.update()
                directory.wait(POLL_S)
                if directory.store.phase in _LOADING:
                    time.sleep(LOADING_S)
            else:
                time.sleep(POLL_S)
                directory.store.check()
        except RunDirectoryTaken as error:
            self._conflict = self._conflict or directory.is_open
            self._stand_aside(error)
        except WriterStalled:
            time.sleep(POLL_S)
        except WriterDead as error:
            log.info("%s", error)
            return False
        except StoreRetired:
            try:
                directory.store.reattach()
            except ShmError as error:
                log.warning("%s: %s", type(error).__name__, error)
                return False
            directory.reset()
        return True

    def finish(self) -> None:
        """What the store still holds, then let go."""
        if self.directory.is_open and self._watch is None:
            with contextlib.suppress(ShmError, RunDirectoryError):
                self.directory.update()
        self.directory.close()

    def _may_write(self) -> bool:
        """Whether the directory is ours. It is opened, and watched, if need be."""
        directory = self.directory
        if not directory.is_open:
            if time.monotonic() < self._next_try:
                return False
            try:
                directory.open()
            except (RunDirectoryError, NoSpace) as error:
                self._stand_aside(error)
                return False
            self._begin()
        if self._watch is None:
            return True
        until, newest = self._watch
        found = directory.fresh_foreign(self._interval_s + 60 + self._watch_s)
        if found is not None and found[0] > newest:
            self._watch = None
            self._conflict = True
            raise RunDirectoryTaken(
                f"{found[1]} was just written by another program: end it, or take another directory"
            )
        if time.monotonic() >= until:
            log.info("nobody else wrote %s meanwhile", directory.folder)
            self._watch = None
        return self._watch is None

    def _begin(self) -> None:
        """After opening: is somebody else at work here?"""
        directory = self.directory
        # once it was seen to happen, it must have stopped for two bars
        quiet_s = min((2 if self._conflict else 1) * self._interval_s + 60, QUIET_S)
        found = directory.fresh_foreign(quiet_s)
        if found is None:
            self._conflict, self._told = False, ""
            return
        if self._conflict:
            raise RunDirectoryTaken(
                f"{found[1]} was written by another program; files go on once none was for {quiet_s:.0f} s"
            )
        watch_s = min(self._interval_s + 15, self._watch_s)
        directory._say(
            f"{found[1]} was written by another program {time.time() - found[0]:.0f} s ago: watching for"
            f" {watch_s:.0f} s whether it goes on, before the first file is written"
        )
        self._watch = (time.monotonic() + watch_s, found[0])

    def _stand_aside(self, error: Exception) -> None:
        self.directory.close()
        self._watch = None
        self._next_try = time.monotonic() + RETRY_S[2]
        if str(error) != self._told:
            self._told = str(error)
            self.directory._say(
                f"error: {type(error).__name__}: {error}; until it has stopped nothing is written there"
            )


def main(cfg: str, attach_timeout_s: float = 30.0, owner: str | int | None = None) -> None:
    """Write BMAC's run directory beside the config at CFG, from its collector's store, until that ends.

    attach_timeout_s  how long to wait for a collector that is starting
    owner             the user whose collector it is, if not yours
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    stop: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: stop.append(received))
    parent = os.getppid()
    config, _ = load_config(str(cfg))
    os.nice(10)
    pa.set_cpu_count(1)
    store = attach(
        config.store_name, directory=config.store.directory, timeout_s=attach_timeout_s, owner=owner
    )
    follower = Follower(run_directory(config, store, _print), config.interval_ms / 1e3 / config.rate)
    while not stop and os.getppid() == parent and follower.step():
        pass
    follower.finish()


def run_directory(config: Config, store: Store, say: Callable[[str], None]) -> RunDirectory:
    """The run directory that a config asks for."""
    return RunDirectory(
        store,
        config.base_dir,
        config.trade_type,
        config.market.name,
        num_candles=config.num_candles,
        save_type=config.save_type,
        zone=config.ready_timezone,
        funding=config.funding_rate,
        say=say,
    )


def _print(line: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # whoever read this is gone; the files stand
        print(line, flush=True)


if __name__ == "__main__":
    from bmac_stream.as_command import as_command

    try:
        as_command(main)
    except ConfigError as error:
        sys.exit("\n".join(error.problems))
    except (ShmError, KeyError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
