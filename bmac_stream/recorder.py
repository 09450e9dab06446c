"""The recorder: an ordinary reader of a store that writes snapshots (bmac_stream.snapshot) now and then.

`python -m bmac_stream.recorder STORE --snapshot_directory DIR [--every_bars 30] ...`: the collector starts it
as a process of its own and restarts it if it dies; it can be run by hand as well. It reads like any strategy,
one symbol per validation, so that it never holds the collector up, and runs at low priority.

It writes a last snapshot and ends with status 0 on SIGTERM or SIGINT, when the collector is gone, and when
the process that started it is gone. Every snapshot is one JSON line on stdout; messages go to stderr.
A full disk or an unwritable folder is logged and tried again later; what was there before stays.
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import pyarrow as pa

from bmac_stream import snapshot
from bmac_stream.backfill import OVERLAP
from bmac_stream.client import Store, attach
from bmac_stream.errors import (
    Lagging,
    NoSpace,
    ShmError,
    SnapshotError,
    StoreRetired,
    SymbolNotFound,
    WriterDead,
    WriterStalled,
)
from shm import Status

__all__ = ["Recorder", "command", "copy_rows", "describe", "main"]

POLL_S: Final = 0.5
"""How soon a signal is noticed at the latest."""
RETRY_S: Final = (15.0, 30.0, 60.0, 120.0, 300.0)
"""Waits after failed snapshots; the last one goes on."""

log = logging.getLogger("bmac_stream.recorder")


def command(
    store: str,
    snapshot_directory: str | Path,
    *,
    directory: str = "/dev/shm",
    every_bars: int = 30,
    min_interval_s: float = 60.0,
) -> list[str]:
    """The command line that starts a recorder with this interpreter (spawned, never forked). Start it with
    `start_new_session=True`, so that Ctrl-C reaches the collector alone, which then ends it by SIGTERM."""
    return [
        sys.executable,
        "-m",
        "bmac_stream.recorder",
        store,
        f"--snapshot_directory={snapshot_directory}",
        f"--directory={directory}",
        f"--every_bars={every_bars}",
        f"--min_interval_s={min_interval_s}",
    ]


def describe(store: Store) -> snapshot.SnapshotMeta:
    """What a snapshot of `store`, begun now, says about itself."""
    return snapshot.SnapshotMeta(
        store=store.name,
        source=store.source,
        interval_ms=store.interval_ms,
        origin_ms=store.origin_ms,
        columns=store.columns,
        window=store.window,
        meta=store.spec.meta,
        epoch=store.reader.epoch,
        complete_g=store.reader.complete_g,
    )


def copy_rows(store: Store) -> Iterator[snapshot.SymbolRows]:
    """Copies of every readable symbol's bars, sorted by symbol; each symbol is consistent by itself.

    A symbol that is delisted meanwhile is left out. Lagging if a copy was overtaken time and again.
    """
    for symbol in sorted(store.symbols):
        with suppress(SymbolNotFound):
            rows = store[symbol].copy()
            yield snapshot.SymbolRows(symbol, rows.g0, rows.values, rows.status)


class _Content(NamedTuple):
    """What decides whether a snapshot would differ from the last one."""

    complete_g: int
    n_symbols: int
    n_bars: int
    n_corrections: int


_NOTHING: Final = _Content(-1, 0, 0, 0)


class Recorder:
    """Decides when a snapshot is due, and writes it.

    every_bars      one every so many bars
    min_interval_s  but never more often than this, seconds of wall time
    """

    def __init__(
        self, store: Store, directory: str | Path, *, every_bars: int = 30, min_interval_s: float = 60.0
    ) -> None:
        self.store = store
        self.directory = Path(directory)
        self.every_bars = every_bars
        self.min_interval_s = min_interval_s
        self.written: Path | None = None
        self.n_written = 0
        self.n_failures = 0
        """Failures since the last snapshot that was written."""
        self._content = _NOTHING
        self._next = time.monotonic()

    def content(self) -> _Content:
        """What the store holds now."""
        reader = self.store.reader
        slots = self.store.symbols.values()
        n_bars = sum(reader.count(slot) for slot in slots)
        return _Content(reader.complete_g, len(slots), n_bars, self.store.n_corrections)

    def due(self) -> bool:
        """Whether it is time: enough bars, other symbols, or a wrong number in the last one, and not too soon
        after it. The first is due when the market is complete for the first time."""
        if time.monotonic() < self._next:
            return False
        found = self.content()
        if self.n_written == 0:
            return found.complete_g >= 0
        last = self._content
        return (
            found.complete_g - last.complete_g >= self.every_bars
            or found.n_symbols != last.n_symbols
            or self._is_wrong(last)
        )

    def _is_wrong(self, last: _Content) -> bool:
        """Whether the last snapshot has bars that were corrected since, and that no start will ask for: it
        does for what is pending there, and for the newest bars."""
        try:
            entries, _ = self.store.reader.corrections(last.n_corrections)
        except Lagging:  # more than are kept
            return True
        oldest = last.complete_g - OVERLAP
        return any(g <= oldest and old != Status.PENDING for _, _, g, old, _ in entries)

    def take(self) -> Path | None:
        """Write a snapshot. None if that failed: it is logged, and the next try is put off."""
        began = time.monotonic()
        content = self.content()
        try:
            path = snapshot.write(self.directory, describe(self.store), copy_rows(self.store))
        except (SnapshotError, NoSpace, Lagging) as error:
            wait_s = RETRY_S[min(self.n_failures, len(RETRY_S) - 1)]
            self.n_failures += 1
            self._next = time.monotonic() + wait_s
            log.error("%s: %s; next try in %g s", type(error).__name__, error, wait_s)
            return None
        took_s = time.monotonic() - began
        self._content = content
        self._next = time.monotonic() + self.min_interval_s
        self.n_failures = 0
        self.n_written += 1
        self.written = path
        note = {
            "snapshot": str(path),
            "symbols": content.n_symbols,
            "run_time": self.store.open_time_of(content.complete_g + 1) if content.complete_g >= 0 else 0,
            "bytes": path.stat().st_size,
            "took_s": round(took_s, 3),
        }
        with suppress(BrokenPipeError):  # whoever read this is gone; the snapshot stands
            print(msgspec.json.encode(note).decode(), flush=True)
        return path

    def finish(self) -> None:
        """The last snapshot, if the store holds anything that the one before does not."""
        with suppress(ShmError):
            content = self.content()
            if content.n_symbols and content != self._content:
                self.take()

    def step(self) -> bool:
        """Wait for a bar, at most POLL_S, and write if it is time. False once the collector is gone."""
        try:
            with suppress(TimeoutError):
                self.store.wait(POLL_S)
        except WriterStalled:
            time.sleep(POLL_S)
            return True
        except WriterDead as error:
            log.info("%s", error)
            return False
        except StoreRetired:
            try:
                self.store.reattach()
            except ShmError as error:
                log.warning("%s: %s", type(error).__name__, error)
                return False
            self.n_written = 0
            self._content = _NOTHING
        if self.due():
            self.take()
        return True


def main(
    store: str,
    snapshot_directory: str,
    directory: str = "/dev/shm",
    every_bars: int = 30,
    min_interval_s: float = 60.0,
    attach_timeout_s: float = 30.0,
    owner: str | int | None = None,
) -> None:
    """Write snapshots of STORE into SNAPSHOT_DIRECTORY until the collector ends.

    directory         where the store lies
    every_bars        one every so many bars
    min_interval_s    but never more often than this
    attach_timeout_s  how long to wait for a collector that is starting
    owner             the user whose collector it is, if not yours: its store has a group that you belong to
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    stop: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: stop.append(received))
    os.nice(10)
    pa.set_cpu_count(1)
    parent = os.getppid()
    recorder = Recorder(
        attach(str(store), directory=directory, timeout_s=attach_timeout_s, owner=owner),
        snapshot_directory,
        every_bars=every_bars,
        min_interval_s=min_interval_s,
    )
    while not stop and os.getppid() == parent and recorder.step():
        pass
    recorder.finish()


if __name__ == "__main__":
    from bmac_stream.as_command import as_command

    try:
        as_command(main)
    except (ShmError, KeyError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
