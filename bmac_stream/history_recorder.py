"""The history recorder: an ordinary reader of a store that keeps a data set of all its closed bars.

`python -m bmac_stream.history_recorder CFG`: the collector starts it, when `history.enabled`, as a process of
its own and restarts it if it dies; it can be run by hand as well. What it writes: bmac_stream.archive.

It keeps no account of what it has written. It compares: a file of the data set with what the store holds of
the same time; what is missing is added, what differs is corrected. So it may be killed at any moment, and
what it missed is made up for from the store's window at the next start. Which files it compares: at the
start, after a new symbol and after more corrections than the store's journal holds, all within the window;
else those of new bars and of bars that came late or were revised. Bars are taken up to the run_time that the
whole market has reached; a bar that is pending is no bar yet. Of a bar that an archive or REST has brought,
the store's word changes nothing.

If it was away for longer than the store's window, the bars between are said to be lost (a warning and a JSON
line `history_gap`): `python -m bmac_stream history verify DIR --repair` fetches them.

Every file is one JSON line on stdout; messages go to stderr. A full disk or an unusable file is logged and
tried again later; nothing that was there is lost. It ends with status 0 on SIGTERM or SIGINT, when the
collector is gone and when the process that started it is gone, and writes what there is before.
"""

import itertools
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from operator import attrgetter
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bmac_stream.archive import DataSet
from bmac_stream.archive_file import STORE, Rows
from bmac_stream.bar import COLUMNS, N_COLUMNS, utc_text
from bmac_stream.client import Store, attach
from bmac_stream.config import load_config
from bmac_stream.errors import (
    BmacError,
    HistoryError,
    Lagging,
    NoSpace,
    ShmError,
    StoreRetired,
    SymbolNotFound,
    WriterDead,
    WriterStalled,
)
from shm import SlotState, Status

__all__ = ["HistoryRecorder", "main"]

I64 = npt.NDArray[np.int64]

EVERY_MS: Final = 900_000
"""Files are brought up to date this often, ms of exchange time: rewriting a day of 600 symbols' minutes takes
up to 0.7 s of one core (decision 0067), and until then the bars are in the store."""
MIN_INTERVAL_S: Final = 10.0
"""But not more often than this, seconds of wall time, unless the store would overtake (a replay)."""
POLL_S: Final = 0.5
RETRY_S: Final = (5.0, 15.0, 30.0, 60.0)
"""Waits after failures; the last one goes on."""
LOCK_WAIT_S: Final = 5.0

log = logging.getLogger("bmac_stream.history")


class HistoryRecorder:
    """Brings a data set up to a store, time and again.

    every_bars  files are written when so many bars are new; default: EVERY_MS, at most window / 4
    """

    def __init__(self, store: Store, data: DataSet, *, every_bars: int | None = None) -> None:
        # a store may have further columns, of funding; the history has the exchange's own
        assert store.columns[:N_COLUMNS] == COLUMNS, f"store {store.name!r} has columns {store.columns}"
        assert store.interval_ms == data.interval_ms, f"{store.interval}, {data.interval}"
        self.store = store
        self.data = data
        self.every_bars = every_bars or max(1, min(EVERY_MS // store.interval_ms, store.window // 4))
        self.n_failures = 0
        """Failures since everything was written the last time."""
        self._next = 0.0
        self._begin()

    def _begin(self) -> None:
        """Nothing is known of what the data set holds of this store."""
        self._written_g = -1  # newest bar that was compared
        self._journal = self.store.n_corrections  # corrections before this one will be seen as it is
        self._slots: set[int] = set()
        self._dirty: dict[int, int] = {}  # start of a file -> the oldest bar for which it must be compared

    # ---- when

    def due(self) -> bool:
        """Whether it is time: the market is complete for the first time, enough bars are new, or a file that
        could not be written waits."""
        now, complete_g = time.monotonic(), self.store.reader.complete_g
        new = complete_g - self._written_g
        if complete_g < 0 or (self.n_failures and now < self._next):
            return False
        if self._written_g < 0 or new >= max(self.every_bars, self.store.window // 2):
            return True
        return now >= self._next and (new >= self.every_bars or bool(self._dirty))

    def step(self) -> bool:
        """Wait for a bar, at most POLL_S, and write if it is time. False once the collector is gone."""
        try:
            with suppress(TimeoutError):
                self.store.wait(POLL_S)
        except WriterStalled:
            time.sleep(POLL_S)  # what it has written can be kept all the same
        except WriterDead as error:
            log.info("%s", error)
            return False
        except StoreRetired:
            self.take(last=True)  # what the old file still holds
            try:
                self.store.reattach()
            except ShmError as error:
                log.warning("%s: %s", type(error).__name__, error)
                return False
            self._begin()
        if self.due():
            self.take()
        return True

    # ---- what

    def take(self, *, last: bool = False) -> bool:
        """Compare and write every file that may differ from the store. False if one could not be written: it
        is logged, and tried again.

        last  do not wait for anything
        """
        end_g = self.store.reader.complete_g + 1
        failed = False
        try:
            oldest = self._look(end_g)
        except (ShmError, BmacError) as error:
            self._failed(error)
            return False
        for start_ms, wanted_g in sorted(self._dirty.items()):
            try:
                self._bring(start_ms, end_g, 0.0 if last else LOCK_WAIT_S)
            except (HistoryError, NoSpace, Lagging, WriterDead) as error:
                failed = True
                self._failed(error)
            else:
                del self._dirty[start_ms]
                self._tell_gap(wanted_g, min(oldest, self._g_of(start_ms + self.data.span_ms)))
        self._written_g = max(self._written_g, end_g - 1)
        if not failed:
            self.n_failures = 0
            self._next = time.monotonic() + MIN_INTERVAL_S
        return not failed

    def _failed(self, error: Exception) -> None:
        wait_s = RETRY_S[min(self.n_failures, len(RETRY_S) - 1)]
        self.n_failures += 1
        self._next = time.monotonic() + wait_s
        log.error("%s: %s; next try in %g s", type(error).__name__, error, wait_s)

    def _look(self, end_g: int) -> int:
        """Which files may differ: noted in _dirty. Returns the oldest bar that the store holds."""
        store = self.store
        entries = [e for e in store.reader.directory() if e.state in (SlotState.ACTIVE, SlotState.DELISTED)]
        slots = {entry.slot for entry in entries}
        # new bars since, and before anything is copied: what is corrected after this is seen at the next look
        corrected: list[int] | None
        try:
            found, following = store.reader.corrections(self._journal)
            corrected = [g for _, _, g, _, _ in found]
        except Lagging:
            corrected, following = None, store.n_corrections
        oldest = self._oldest_g(entries, end_g)
        if self._written_g < 0:
            self._tell_gap(self._recorded_end_g(), oldest)
        elif self._written_g + 1 < oldest:
            self._tell_gap(self._written_g + 1, oldest)
        if self._written_g < 0 or slots - self._slots or corrected is None:
            self._note(range(oldest, end_g))
        else:
            self._note(range(max(oldest, self._written_g + 1), end_g))
            self._note([g for g in corrected if oldest <= g < end_g])
        self._slots, self._journal = slots, following
        return oldest

    def _note(self, numbers: "range | list[int]") -> None:
        g = np.asarray(numbers, np.int64)
        times = self.store.origin_ms + g * self.store.interval_ms
        starts, place = np.unique(times // self.data.span_ms * self.data.span_ms, return_inverse=True)
        for i, start in enumerate(starts.tolist()):
            first = int(g[place == i].min())
            self._dirty[start] = min(first, self._dirty.get(start, first))

    def _g_of(self, time_ms: int) -> int:
        """The first bar that opens at `time_ms` or later."""
        return -((self.store.origin_ms - time_ms) // self.store.interval_ms)

    def _oldest_g(self, entries: list[Any], end_g: int) -> int:
        """The oldest bar that the store holds of any symbol."""
        reader, window = self.store.reader, self.store.window
        oldest = [
            max(e.first_g, count - window) for e in entries if (count := reader.count(e.slot)) > e.first_g
        ]
        return max(0, min(oldest, default=end_g))

    def _recorded_end_g(self) -> int:
        """The bar after the newest one of the data set; -1 if it has none."""
        newest = self.data.newest()
        last = max((last for _, _, _, last in newest.symbols), default=-1) if newest is not None else -1
        return -1 if last < 0 else (last - self.store.origin_ms) // self.store.interval_ms + 1

    def _tell_gap(self, begin_g: int, end_g: int) -> None:
        if begin_g < 0 or begin_g >= end_g:
            return
        first, end = self.store.open_time_of(begin_g), self.store.open_time_of(end_g)
        log.warning(
            "bars from %s to %s UTC (open_time; %d of each symbol) are lost: the store no longer held"
            " them. `python -m bmac_stream history verify %s --repair` fetches them",
            utc_text(first),
            utc_text(end - self.store.interval_ms),
            end_g - begin_g,
            self.data.folder,
        )
        _say({"history_gap": {"first": first, "end": end, "bars": end_g - begin_g}})

    def _bring(self, start_ms: int, end_g: int, wait_s: float) -> None:
        began = time.monotonic()
        absent: dict[str, I64] = {}
        with self.data.change(STORE, "recorder", wait_s=wait_s) as change:
            changed = change.update(start_ms, lambda: self._rows(start_ms, end_g, absent), absent)
            change.commit()
        for path, why in change.aside:
            log.error("a damaged file was set aside as %s: %s", path, why)
        if changed:
            _say(
                {
                    "history": str(self.data.path_of(start_ms)),
                    "added": changed.n_added,
                    "corrected": changed.n_corrected,
                    "run_time": self.store.open_time_of(end_g),
                    "took_s": round(time.monotonic() - began, 3),
                }
            )

    def _rows(self, start_ms: int, end_g: int, absent: dict[str, I64]) -> Iterator[Rows]:
        """The store's bars of a file, by ascending symbol; the holes go into `absent` as they are met."""
        store = self.store
        begin_g = self._g_of(start_ms)
        stop_g = min(self._g_of(start_ms + self.data.span_ms), end_g)
        entries = [e for e in store.reader.directory() if e.state in (SlotState.ACTIVE, SlotState.DELISTED)]
        entries.sort(key=attrgetter("symbol", "slot"))
        for symbol, same in itertools.groupby(entries, key=attrgetter("symbol")):
            times: list[I64] = []
            values: list[Any] = []
            for entry in same:  # one, or one for each time it was listed
                found = self._copy(entry.slot, max(begin_g, entry.first_g), stop_g)
                if found is None:
                    continue
                g0, rows, status = found
                here = np.flatnonzero(status == Status.BAR)
                times.append(store.origin_ms + (g0 + here) * store.interval_ms)
                values.append(rows[:, here])
                holes = np.flatnonzero(status == Status.ABSENT)
                if entry.state == SlotState.DELISTED:  # from then on it is absent by our own doing
                    holes = holes[holes < (here[-1] if len(here) else 0)]
                if len(holes):
                    more = store.origin_ms + (g0 + holes) * store.interval_ms
                    absent[symbol] = np.union1d(absent.get(symbol, more), more)
            if times:
                every, first = np.unique(np.concatenate(times[::-1]), return_index=True)
                yield Rows.fresh(symbol, every, np.concatenate(values[::-1], axis=1)[:, first], STORE)

    def _copy(self, slot: int, begin_g: int, stop_g: int) -> "tuple[int, Any, Any] | None":
        """(g0, float64 [9, n], uint8 [n]) of what the store holds of bars [begin_g, stop_g), consistent."""
        reader = self.store.reader
        count = reader.count(slot)
        n = min(count - begin_g, self.store.window)
        if n <= 0 or stop_g <= count - n:
            return None
        try:
            g0, rows = reader.read_at(
                slot, lambda token: (token.g_end - n, reader.rows(slot, n, token.g_end).copy()), n
            )
        except SymbolNotFound:
            return None
        part = slice(max(begin_g - g0, 0), max(stop_g - g0, 0))
        return g0 + part.start, rows[:N_COLUMNS, part], rows[-1, part].astype(np.uint8)


def _say(note: dict[str, Any]) -> None:
    with suppress(BrokenPipeError):  # whoever read this is gone; the files stand
        print(msgspec.json.encode(note).decode(), flush=True)


def main(cfg: str, attach_timeout_s: float = 30.0) -> None:
    """Keep the history of a collector's bars until the collector ends.

    cfg               the collector's config file, or the folder it lies in
    attach_timeout_s  how long to wait for a collector that is starting
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    stop: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: stop.append(received))
    os.nice(10)
    pa.set_cpu_count(1)
    parent = os.getppid()
    config, _ = load_config(str(cfg))
    store = attach(config.store_name, directory=config.store.directory, timeout_s=attach_timeout_s)
    root = config.path(config.history.directory)
    recorder = HistoryRecorder(store, DataSet(root, config.trade_type, config.interval, store.source))
    while not stop and os.getppid() == parent and recorder.step():
        pass
    with suppress(ShmError):
        recorder.take(last=True)


if __name__ == "__main__":
    from bmac_stream.as_command import as_command

    try:
        as_command(main)
    except (BmacError, ShmError, KeyError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
