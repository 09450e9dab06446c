"""`python -m bmac_stream.resample CFG`: one process keeps the stores that a config's `resample` asks for.

It takes the collector's own config; the collector starts it by itself. It finds the base store there, makes
one store for each entry (`{store}.1h_15m`: hours that begin at a quarter past) and keeps them level with the
base until the collector ends: then it ends with status 0, as on SIGTERM or SIGINT. Every store is an ordinary
one: `bmac_stream.attach`, `Engine`, `status` and the recorder take it as it is.

A new store begins with what the base holds (1500 minutes are 25 hours), a snapshot of the store, and the long
history, if the config has that enabled.
What was collected once stays: in shared memory over restarts, and beside the config's snapshots over reboots.
"""

import logging
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Final

import numpy as np
import pyarrow as pa

from bmac_stream import snapshot
from bmac_stream.archive import DataSet
from bmac_stream.as_command import as_command
from bmac_stream.client import Store, attach
from bmac_stream.config import Config, Resample, load_config
from bmac_stream.errors import (
    BmacError,
    ConfigError,
    Lagging,
    ShmError,
    StoreRetired,
    WriterDead,
    WriterLocked,
    WriterStalled,
)
from bmac_stream.recorder import Recorder
from bmac_stream.resample import Grid, grid_of
from bmac_stream.resample_history import merged, older_bars
from bmac_stream.resample_store import Resampler, Rows, spec_of
from shm import Spec, Status, StoreWriter
from shm.layout import FUTEX
from shm.wake import await_word

__all__ = ["ResampleProcess", "Snapshots", "command_line", "main"]

log = logging.getLogger("bmac_stream.resample")

BEAT_S: Final = 0.25
"""How often readers are told that the stores are looked after, at least."""
FORM_S: Final = 0.5
"""Between two updates of the bars that are open; longer if they would take more than FORM_SHARE of a core."""
FORM_SHARE: Final = 0.02
LATE_FORM_S: Final = 2.0
"""So much later where the base is never quiet for BEAT_S."""
LOCK_S: Final = 5.0
"""A former process of a collector that was killed ends within this."""
SNAPSHOT_S: Final = 600.0
"""Between two snapshots of a store."""


class ResampleProcess:
    """The stores of one config, from start to stop.

    path  of the config, as the collector takes it
    """

    def __init__(self, path: str | Path) -> None:
        self.config, _ = load_config(path)
        if not self.config.resample:
            raise ConfigError([f"{path}: 'resample' names no store to make"])
        self._writers: dict[str, StoreWriter] = {}
        self._stop = False
        self._phase = ""
        self._said: dict[str, float] = {}

    def stop(self, *_: int | FrameType | None) -> None:
        """End after what is at hand."""
        self._stop = True

    def run(self) -> int:
        """Until stopped, or until the collector ends; the exit status."""
        parent = os.getppid()
        snapshots = Snapshots(self.config)
        try:
            while not self._stop and os.getppid() == parent:
                base = self._attach()
                if base is None:
                    continue
                with base:
                    if not self._follow(base, parent, snapshots):
                        break
            return 0
        finally:
            for writer in self._writers.values():
                writer.heartbeat()
                writer.set_phase("stopping")
            snapshots.end()
            for writer in self._writers.values():
                writer.close()

    def _attach(self) -> Store | None:
        config, began = self.config, time.monotonic()
        try:
            return attach(config.store_name, directory=config.store.directory, timeout_s=BEAT_S)
        except ShmError as error:
            self._say("waiting", f"waiting for a collector: {error}")
            time.sleep(
                max(0.0, began + BEAT_S - time.monotonic())
            )  # a file of another layout says so at once
            return None

    def _follow(self, base: Store, parent: int, snapshots: "Snapshots") -> bool:
        """Keep level with one file of the base; False when there is nothing to wait for any more."""
        targets = [self._open(base, target) for target in self.config.resample]
        snapshots.begin(list(self._writers))
        words = base.reader.words
        beat = form = 0.0
        seen = 0
        while not self._stop and os.getppid() == parent:
            now = time.monotonic()
            try:
                idle = await_word(words, FUTEX, seen, 0, int(BEAT_S * 1e9)) == seen
                if idle:
                    base.check()
                seen = int(words[FUTEX])  # before what is looked at
                for target in targets:
                    target.poll()
                if now > (form if idle else form + LATE_FORM_S):  # not while bars are closing
                    began = time.monotonic()
                    for target in targets:
                        target.form()
                    took = time.monotonic() - began
                    form = now + max(FORM_S, took / FORM_SHARE)
                phase = "live" if base.reader.complete_g >= 0 else "history"
            except WriterStalled as error:
                phase = "no collector"
                self._say("stalled", str(error))
            except WriterDead as error:
                log.info("%s", error)
                return False
            except StoreRetired:
                log.info("store %s: its collector goes on with a new file", base.name)
                return True
            except Lagging as error:
                phase = "catching up"
                self._say("lagging", str(error))
            if now - beat > BEAT_S:
                beat = now
                self._beat(phase)
        return False

    def _beat(self, phase: str) -> None:
        for writer in self._writers.values():
            writer.heartbeat()
            if phase != self._phase:
                writer.set_phase(phase)
        self._phase = phase

    # ---- stores

    def _open(self, base: Store, target: Resample) -> Resampler:
        """The store of one entry, open, and what keeps it. A store that is open already goes on."""
        config = self.config
        name = config.resampled_name(target)
        try:
            grid = grid_of(base.interval_ms, base.origin_ms, target.interval, target.offset)
        except ValueError as error:
            raise ConfigError([f"resample: {name}: {error}"]) from None
        if grid.n > base.window:
            raise ConfigError(
                [f"resample: {name}: a bar is made of {grid.n} bars, store {base.name!r} keeps {base.window}:"
                 f" num_candles must be at least {grid.n}"]
            )  # fmt: skip
        window = target.num_candles or config.num_candles
        spec = spec_of(base.spec, base.name, grid, target.interval, window, config.store.slack)
        writer = self._writers.get(name)
        if writer is not None and writer.spec == spec:
            return Resampler(base, writer, grid)
        if writer is not None:
            Path(writer.path).unlink(missing_ok=True)  # its readers shall attach anew, not miss a writer
            writer.close()
        size = spec.nbytes / 2**20
        log.info(
            "store %s: %d bars of %s of at most %d symbols, from %s: %.1f MiB in %s",
            name, window, target.interval, spec.max_symbols, base.name, size, config.store.directory,
        )  # fmt: skip
        log.info("store %s: begins with at most %d bars of %s", name, base.window // grid.n, base.name)
        writer = self._writers[name] = self._take(name, spec)
        writer.set_phase("history")
        self._phase = ""
        return Resampler(base, writer, grid, older=_Remembered(config, name, base, grid, writer))

    def _take(self, name: str, spec: Spec) -> StoreWriter:
        """Become the store's writer; one that is just ending is waited for."""
        store, until = self.config.store, time.monotonic() + LOCK_S
        while True:
            try:
                return StoreWriter.open(
                    name, spec, directory=store.directory, mode=int(store.mode, 8), group=store.group
                )
            except WriterLocked:
                if time.monotonic() > until or self._stop:
                    raise
                time.sleep(0.1)

    def _say(self, key: str, text: str) -> None:
        """Once a minute at most."""
        if time.monotonic() - self._said.get(key, -60.0) >= 60.0:
            self._said[key] = time.monotonic()
            log.warning("%s", text)


class _Remembered:
    """What the newest snapshot and the long history hold of a store that is new. Read when first asked."""

    def __init__(self, config: Config, name: str, base: Store, grid: Grid, writer: StoreWriter) -> None:
        self._config, self._name, self._base, self._grid = config, name, base, grid
        self._writer = writer
        self._spec = writer.spec
        self._wanted = writer.created
        self._found: snapshot.Snapshot | None = None
        self._history: dict[str, Rows] = {}

    def __call__(self, symbol: str) -> Rows | None:
        if self._wanted:
            self._wanted = False
            self._found = self._load() if self._config.snapshot.enabled else None
            self._history = self._read_history() if self._config.history.enabled else {}
        found = merged(self._history.get(symbol), self._of_snapshot(symbol))
        if found is None:
            return None
        start = max(0, len(found.status) - self._spec.window)
        return Rows(found.g + start, found.values[start:], found.status[start:])

    def _of_snapshot(self, symbol: str) -> Rows | None:
        if self._found is None or symbol not in self._found:
            return None
        rows = self._found[symbol]
        return Rows(rows.g0, np.ascontiguousarray(rows.values.T), np.maximum(rows.status, int(Status.BAR)))

    def _read_history(self) -> dict[str, Rows]:
        config, base, grid, started = self._config, self._base, self._grid, time.monotonic()
        root = config.path(config.history.directory)
        oldest = base.run_time - self._spec.window * grid.interval_ms
        try:
            found = older_bars(
                DataSet(root, config.trade_type, base.interval, base.source),
                grid,
                base.origin_ms,
                oldest,
                n_columns=len(self._spec.columns),
                between=self._writer.heartbeat,
            )
        except (BmacError, OSError) as error:
            log.error("history not used: %s", error)
            return {}
        if found:
            n = max(len(rows.status) for rows in found.values())
            log.info(
                "store %s: up to %d bars of %d symbols from %s in %.1f s",
                self._name, n, len(found), root, time.monotonic() - started,
            )  # fmt: skip
        return found

    def _load(self) -> snapshot.Snapshot | None:
        folder = self._config.path(self._config.snapshot.directory)
        try:
            found, problems = snapshot.load_latest(folder, self._name, self._spec)
        except (BmacError, OSError) as error:
            log.error("snapshot not used: %s", error)
            return None
        for problem in problems:
            log.error("snapshot not used: %s", problem)
        if found is not None:
            log.info("store %s: older bars from %s", self._name, found.path.name)
        return found


class Snapshots:
    """Snapshots of the resampled stores, written by a thread of its own: an ordinary reader of them."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._recorders: list[Recorder] = []
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    def begin(self, names: list[str]) -> None:
        """Begin with these stores; nothing if it has begun, or the config wants no snapshots."""
        config = self._config
        if self._thread is not None or not config.snapshot.enabled:
            return
        folder = config.path(config.snapshot.directory)
        wait_s = max(SNAPSHOT_S, config.snapshot.min_interval_sec)
        for name in names:
            store = attach(name, directory=config.store.directory)
            self._recorders.append(Recorder(store, folder, every_bars=1, min_interval_s=wait_s))
        self._thread = threading.Thread(target=self._work, name="snapshots", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while not self._ended.wait(1.0):
            for recorder in self._recorders:
                try:
                    recorder.store.check()
                    if recorder.due():
                        recorder.take()
                except StoreRetired:
                    with suppress(ShmError):
                        recorder.store.reattach()
                except (WriterDead, WriterStalled):
                    continue
                except ShmError as error:
                    log.warning("snapshot: %s: %s", type(error).__name__, error)

    def end(self) -> None:
        """The last ones, and no more."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(5.0)
            for recorder in self._recorders:
                recorder.finish()
                recorder.store.close()


def main(cfg: str) -> None:
    """Keep the stores that `resample` of the config at CFG asks for, until the collector ends.

    cfg  a config file, or a folder holding config.json
    """
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    process = ResampleProcess(cfg)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, process.stop)
    with suppress(OSError):
        os.nice(5)
    pa.set_cpu_count(1)
    sys.exit(process.run())


def command_line() -> None:
    """What `python -m bmac_stream.resample` runs: 2, a config that cannot be used; 3, another process writes
    one of the stores; 1, another reason."""
    try:
        as_command(main)
    except ConfigError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except WriterLocked as error:
        print(f"WriterLocked: {error}", file=sys.stderr)
        sys.exit(3)
    except ShmError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
