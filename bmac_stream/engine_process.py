"""`python -m bmac_stream.engine CFG`: one process computes factors for all, into shared memory.

It takes the collector's own config: the store is found from it, `factors` names what to compute, and
`factor_depth` how many bars of it are kept. It waits for its collector, goes on after a restart of it, takes
up its saved state, and ends with status 0 on SIGTERM or SIGINT. SIGHUP reads `factors` and `factor_groups`
again, and the user's own modules if their sources changed: what was computed before goes on to the bit, what
is made of other groups or other code begins anew, readers attach anew. What is broken changes nothing.
"""

import logging
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Final

from bmac_stream.as_command import as_command
from bmac_stream.client import Store, attach
from bmac_stream.config import Config, load_config
from bmac_stream.engine import Engine, FactorError, named, plan_factors
from bmac_stream.engine_modules import UserModules
from bmac_stream.errors import ConfigError, Lagging, ShmError, StoreRetired, WriterDead, WriterStalled
from bmac_stream.factor_writer import CROSS, FactorWriter, specs
from bmac_stream.factors import SUFFIX
from kernels.plan import Plan
from kernels.run import Program
from shm import Spec, StoreWriter
from shm.segment import segment_path

__all__ = ["EngineProcess", "command_line", "main", "statics_of"]

log = logging.getLogger("bmac_stream.engine")

BEAT_S: Final = 0.5
"""How often readers are told that the engine lives."""
SAY_EVERY_S: Final = 60.0
"""How often it is told that the collector is silent."""


class EngineProcess:
    """The engine of one config, from start to stop.

    path  of the config, as the collector takes it
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path
        self.config: Config = self._load()
        self._modules = UserModules()
        self._stop = False
        self._reload = False
        self._beat = 0.0
        self._said = 0.0

    def _load(self) -> Config:
        config, _ = load_config(self.path)
        if not config.factors:
            raise ConfigError([f"{self.path}: 'factors' names no factor to compute"])
        return config

    @property
    def name(self) -> str:
        """The name of the factors' store."""
        return self.config.store_name + SUFFIX

    @property
    def state_path(self) -> Path:
        """Where the state is kept between runs."""
        return Path(self.config.base_dir) / "engine" / f"{self.name}.state"

    def stop(self, *_: int | FrameType | None) -> None:
        """End after the bar at hand."""
        self._stop = True

    def reload(self, *_: int | FrameType | None) -> None:
        """Read the config's `factors` again."""
        self._reload = True

    def run(self, seconds: float = 0.0, bars: int = 0) -> int:
        """Until stopped, or for so many seconds or run_times (0: no limit); the exit status."""
        end = time.monotonic() + seconds if seconds else float("inf")
        left = bars or -1
        while not self._stop and left and time.monotonic() < end:
            store = self._attach()
            if store is None:
                continue
            try:
                left = self._follow(store, end, left)
            except (StoreRetired, Lagging) as error:
                log.warning("beginning again: %s", error)
                time.sleep(BEAT_S)
            finally:
                store.close()
        return 0

    def _attach(self) -> Store | None:
        began = time.monotonic()
        try:
            return attach(self.config.store_name, directory=self.config.store.directory, timeout_s=BEAT_S)
        except ShmError as error:
            self._say(f"waiting for a collector: {error}")
            time.sleep(
                max(0.0, began + BEAT_S - time.monotonic())
            )  # a file of another layout says so at once
            return None

    def _follow(self, store: Store, end: float, left: int) -> int:
        """Compute on one store until stopped; how many run_times are left to do. The store's errors when its
        collector went on with another file."""
        started = time.monotonic()
        plan = plan_factors(store, self.config.factors)
        self._modules.note(self.config.factors)
        writer = self._open(store, plan)
        try:
            engine = Engine(
                store,
                self.config.factors,
                follower=writer,
                depth=self.config.factor_depth,
                statics=statics_of(self.config),
                state=self.state_path if self.state_path.exists() else None,
            )
            log.info(
                "%d factors of %d symbols ready after %.2f s, from %s",
                len(engine.names), len(store), time.monotonic() - started, engine.started_from,
            )  # fmt: skip
            saved = time.monotonic()
            while not self._stop and left and time.monotonic() < end:
                if self._reload:
                    writer = self._change(engine, writer)
                if writer.left_out:
                    writer = self._renew(engine, writer)
                if self._bar(engine, writer):
                    left -= 1
                if time.monotonic() - saved > self.config.factor_state_every_sec:
                    saved = time.monotonic()
                    self._save(engine)
            writer.heartbeat("stopping")
            self._save(engine)
            return left
        finally:
            writer.close()

    def _bar(self, engine: Engine, writer: FactorWriter) -> bool:
        """Wait for news, compute, say that we live. Whether a run_time was finished."""
        phase = "live"
        g = engine.g
        try:
            engine.step(BEAT_S)
        except (WriterDead, WriterStalled) as error:
            phase = "no collector"
            self._say(str(error))
            time.sleep(BEAT_S)
        if time.monotonic() - self._beat > BEAT_S:
            self._beat = time.monotonic()
            writer.heartbeat(phase)
        return engine.g > g >= 0

    def _open(self, store: Store, plan: Plan) -> FactorWriter:
        own, cross = specs(store, plan, self.config.factor_depth)
        settings = self.config.store
        size = sum(spec.nbytes for spec in (own, cross) if spec is not None)
        log.info(
            "store %s: %d factors, %d bars of each of at most %d symbols: %.1f MiB in %s",
            self.name, len(plan.names), self.config.factor_depth, own.max_symbols, size / 2**20,
            settings.directory,
        )  # fmt: skip

        def open_one(name: str, spec: Spec) -> StoreWriter:
            writer = StoreWriter.open(
                name,
                spec,
                directory=settings.directory,
                mode=int(settings.mode, 8),
                group=settings.group,
            )
            writer.set_phase("warm-up")
            return writer

        # The second one first: who finds the first, which tells of it, finds both.
        second = open_one(self.name + CROSS, cross) if cross is not None else None
        if second is None:
            self._take_name_from(self.name + CROSS)
        try:
            return FactorWriter(plan, open_one(self.name, own), second)
        except BaseException:
            if second is not None:
                second.close()
            raise

    def _change(self, engine: Engine, writer: FactorWriter) -> FactorWriter:
        """Other factors from now on; if they cannot be computed, it stays as it is."""
        self._reload = False
        try:
            config = self._load()
            with self._modules.reread(config.factors) as changed:
                nodes = named(config.factors)
                plan = plan_factors(engine.store, nodes)
                Program(plan, 1)  # its kernels compile
        except Exception as error:  # whatever the user's own operators and the compiler say
            log.error("the factors stay as they are: %s: %s", type(error).__name__, error)
            return writer
        if changed:
            log.info("read again: %s", ", ".join(changed))
        statics: Mapping[str, Mapping[str, float]] = statics_of(config)
        if plan.hash == engine.plan.hash and statics == engine.statics:
            log.info("the factors are the same")
            return writer
        former, self.config = self.config, config
        self._retire(writer)
        try:
            made = self._open(engine.store, plan)
        except ShmError as error:  # such as no room for so many
            log.error("the factors stay as they are: %s", error)
            self.config = former
            nodes, statics = dict(zip(engine.plan.names, engine.plan.nodes, strict=True)), engine.statics
            made = self._open(engine.store, engine.plan)
        shared = engine.set_factors(nodes, follower=made, statics=statics)
        log.info("%d factors from now on, %d calls go on from before", len(engine.names), shared)
        return made

    def _renew(self, engine: Engine, writer: FactorWriter) -> FactorWriter:
        """The factors' stores made anew, since they have no slots left: delisted symbols keep theirs."""
        log.warning(
            "store %s is full, without %s: it is made anew, readers attach again",
            self.name, ", ".join(sorted(writer.left_out)),
        )  # fmt: skip
        self._retire(writer)
        made = self._open(engine.store, engine.plan)
        engine.set_factors(dict(zip(engine.plan.names, engine.plan.nodes, strict=True)), follower=made)
        return made

    def _retire(self, writer: FactorWriter) -> None:
        """Take the names of both stores, and let go of them: whoever reads them gets StoreRetired."""
        for name in (self.name, self.name + CROSS):
            self._take_name_from(name)  # before it is closed: readers shall attach anew, not miss a writer
        writer.close()

    def _take_name_from(self, store: str) -> None:
        """Whoever reads this store gets StoreRetired."""
        segment_path(store, self.config.store.directory).unlink(missing_ok=True)

    def _save(self, engine: Engine) -> None:
        if engine.g < 0 or not self.config.factor_state_every_sec:
            return
        try:
            self.state_path.parent.mkdir(parents=True, exist_ok=True)
            engine.save(self.state_path)
        except OSError as error:
            log.error("the state could not be saved: %s", error)

    def _say(self, text: str) -> None:
        if time.monotonic() - self._said > SAY_EVERY_S:
            self._said = time.monotonic()
            log.warning("%s", text)


def statics_of(config: Config) -> dict[str, dict[str, float]]:
    """What the config says of symbols: `group`, a number for each of `factor_groups`, 0.0 for the rest."""
    names = sorted(set(config.factor_groups.values()))
    groups = {symbol: 1.0 + names.index(name) for symbol, name in config.factor_groups.items()}
    return {"group": {"": 0.0, **groups}}


def main(cfg: str, seconds: float = 0.0, bars: int = 0) -> None:
    """Compute the factors of the config at `cfg` (a file, or a folder with config.json) until stopped.

    seconds, bars  end by itself after so many seconds, or run_times; 0: not
    """
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    process = EngineProcess(cfg)
    signal.signal(signal.SIGTERM, process.stop)
    signal.signal(signal.SIGINT, process.stop)
    signal.signal(signal.SIGHUP, process.reload)
    sys.exit(process.run(seconds, bars))  # a result would be printed


def command_line() -> None:
    """What `python -m bmac_stream.engine` runs: a config that cannot be used ends it with status 2."""
    try:
        as_command(main)
    except (ConfigError, FactorError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except ShmError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
