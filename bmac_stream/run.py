"""`python -m bmac_stream run CFG`: collector, embedded exchange, factor engine and a sample strategy, seen in
one terminal.

Four processes: the collector (which starts the embedded exchange and the recorder itself), the engine if the
config names `factors`, the sample strategy, and this one, which only reads the stores and draws
(bmac_stream.run_view). Ctrl-C, SIGTERM or the end of the terminal ends them all, cleanly.
It is a trial: the config is copied to a temporary directory, so that snapshots and history go there, and
that directory and the stores it made are removed at the end, unless `--keep`. A store that was there before
is left alone.
"""

import codecs
import collections
import contextlib
import json
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final

from rich.console import Console
from rich.live import Live
from rich.text import Text

import bmac_stream
from bmac_stream.child import with_us
from bmac_stream.client import Store
from bmac_stream.config import Config, load_config
from bmac_stream.errors import ShmError, WriterDead
from bmac_stream.factors import CROSS, Factors
from bmac_stream.factors import SUFFIX as FACTORS
from bmac_stream.funding import SUFFIX as FUNDING
from bmac_stream.run_view import Said, View, alarms
from bmac_stream.status import files_of
from shm.segment import segment_path, writer_alive

__all__ = ["run"]

LINES_KEPT: Final = 200
LINES_TOLD: Final = 20
"""Of the last ones of a collector that ended by itself."""


class Child:
    """A child process whose lines of output are kept, the newest LINES_KEPT of them. It dies with us."""

    def __init__(self, name: str, *command: str) -> None:
        self.name = name
        self.lines: collections.deque[str] = collections.deque(maxlen=LINES_KEPT)
        self.n_lines = 0
        self._rest = ""
        self._said_at = time.monotonic()
        self.process = subprocess.Popen(
            with_us("-u", "-m", *command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C comes to us alone: we end the children in order
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        stdout: Any = self.process.stdout
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        # Not by lines: progress that is written over has none for a while.
        while raw := stdout.read1(1 << 16):
            *lines, self._rest = re.split(r"[\r\n]", self._rest + decoder.decode(raw))
            for line in filter(None, map(str.rstrip, lines)):
                self.lines.append(line)
                self.n_lines += 1
            self._said_at = time.monotonic()

    def said(self) -> Said:
        """What is known of it now."""
        lines = [*self.lines, *([self._rest] if self._rest else [])]
        trouble = self.ended or self._stopped()
        return Said(self.name, lines, time.monotonic() - self._said_at, trouble)

    def _stopped(self) -> str:
        try:
            stat = Path(f"/proc/{self.process.pid}/stat").read_text()
        except OSError:
            return ""
        state = stat.rpartition(")")[2].split()[0]
        return f"is stopped (process {self.process.pid}; SIGCONT lets it go on)" if state in "Tt" else ""

    @property
    def ended(self) -> str:
        """How it ended, in words; "" while it runs."""
        status = self.process.poll()
        return "" if status is None else _how(status)

    def stop(self, timeout_s: float = 10.0) -> int:
        """SIGTERM, wait, and SIGKILL if that was not enough; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
        status = self.process.wait()
        self._reader.join(1.0)  # the last lines of the pipe, unless a child of its own holds it
        return status


class _Trial:
    """The processes of one trial, and what is attached of their stores.

    copy  the config as its processes take it
    """

    def __init__(self, config: Config, copy: Path) -> None:
        self._config, self._copy = config, copy
        self.collector = Child("collector", "bmac_stream.collector", str(copy))
        self.engine: Child | None = None
        self.strategy: Child | None = None
        self.store: Store | None = None
        self.factors: Factors | None = None
        self._computes = False
        self._told: dict[str, int] = {}
        self._alarms: set[str] = set()

    def look(self) -> None:
        """Attach to what is there by now, and start what reads it."""
        config = self._config
        if self.store is None:
            self.store = self._attach()
        if self.store is not None and self.strategy is None:
            if config.factors:
                self.engine = Child("engine", "bmac_stream.engine", str(self._copy))
            where = f"--directory={config.store.directory}"
            self.strategy = Child("strategy", "bmac_stream.sample_strategy", config.store_name, where)
        if self.store is not None and self.engine is not None:
            try:
                self.factors = self.store.factors
                self._computes |= self.factors.run_time > 0
            except WriterDead:
                pass  # its last numbers, with what is said of it
            except ShmError:
                self.factors = None

    def _attach(self) -> Store | None:
        """The store of this collector: one that was there before may be given up for a new file."""
        try:
            found = bmac_stream.attach(self._config.store_name, directory=self._config.store.directory)
            if found.reader.writer_pid == self.collector.process.pid:
                return found
            found.close()
        except ShmError:
            pass
        return None

    def said(self) -> tuple[Said, Said | None, Said | None]:
        """Of collector, engine and strategy."""
        engine, strategy = self.engine, self.strategy
        return (
            self.collector.said(),
            None if engine is None else engine.said(),
            None if strategy is None else strategy.said(),
        )

    def print_new(self, console: Console, ending: bool = False) -> None:
        """New lines of every process as plain lines, and new alarms; none at the end, which is our doing."""
        for child in (self.collector, self.engine, self.strategy):
            if child is None:
                continue
            new = child.n_lines - self._told.get(child.name, 0)
            self._told[child.name] = child.n_lines
            for line in list(child.lines)[-new:] if new > 0 else []:
                # other programs' output: plain text, never markup
                console.print(Text(f"{child.name}: {line}"), soft_wrap=True)
        found = [] if ending else alarms(self.store, self.factors, *self.said())
        for alarm in found:
            if alarm.kind not in self._alarms:
                console.print(Text(alarm.text, style="red"), soft_wrap=True)
        self._alarms = {alarm.kind for alarm in found}

    def stop(self) -> int:
        """End everything, readers first; the collector's exit status."""
        if self.strategy is not None:
            self.strategy.stop()
        if self.engine is not None:
            self.engine.stop(10.0 if self._computes else 2.0)  # while it compiles it does not listen
        return self.collector.stop()


def run(cfg: str, seconds: float = 0.0, keep: bool = False) -> int:
    """Start collector, engine and sample strategy for the config at `cfg`, and show them until Ctrl-C.

    seconds  end by itself after so many seconds; 0: not
    keep     leave the store in shared memory, and the snapshots, afterwards
    Returns the collector's exit status, 128 + N if signal N ended it unasked. Without a terminal, plain lines
    are printed instead of the view.
    """
    config, _ = load_config(cfg)
    path = Path(cfg) / "config.json" if Path(cfg).is_dir() else Path(cfg)
    console = Console()
    view = View(config, path)
    end = time.monotonic() + seconds if seconds else float("inf")
    directory = config.store.directory
    before = [path for path in _stores(config) if path.exists()]
    live = Live(console=console, auto_refresh=False) if console.is_terminal else None
    trial: _Trial | None = None
    died = ""
    status = 0
    with _signals() as ending:
        base = Path(tempfile.mkdtemp(prefix="bmac_stream-"))
        try:
            trial = _Trial(config, _copy(config, path, base))
            if live is None:
                console.print(view.title)
                if config.rate != 1:
                    console.print("The collector's seconds are exchange time.", style="dim")
            with live or contextlib.nullcontext():
                while time.monotonic() < end and not trial.collector.ended:
                    trial.look()
                    if live is None:
                        trial.print_new(console)
                    else:
                        screen = view.screen(console, trial.store, trial.factors, *trial.said())
                        live.update(screen, refresh=True)
                    time.sleep(0.25)
        except KeyboardInterrupt:
            ending()
            with contextlib.suppress(OSError):  # the terminal may be gone
                console.print("ending", style="dim")
        finally:
            ending()
            if trial is not None:
                died = trial.collector.ended
                status = trial.stop()
            if not keep:
                shutil.rmtree(base, ignore_errors=True)
                _remove([path for path in _stores(config) if path not in before])
        if trial is None:
            return 130
        # a terminal that is gone fails here: nothing is left to be done
        if live is None:
            trial.print_new(console, ending=True)
        elif died:
            for line in list(trial.collector.lines)[-LINES_TOLD:]:
                console.print(Text(line), soft_wrap=True)
        if died:
            console.print(Text(f"the collector {died}: the trial is over", style="bold red"))
        if keep:
            console.print(f"kept: store {config.store_name} in {directory}, snapshots in {base}")
        else:
            for path in before:
                console.print(f"left as it was there before: {path}", soft_wrap=True)
    if status >= 0:
        return status
    return 0 if status == -signal.SIGTERM and not died else 128 - status


# ---- helpers


@contextlib.contextmanager
def _signals() -> Iterator[Any]:
    """Ctrl-C, SIGTERM and a closed terminal are KeyboardInterrupt inside, until the function it gives is
    called: from then on they do nothing, so that the end is not interrupted.

    In a shell's background (`&`) SIGINT is ignored from the start: its own handler is not enough.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
        numbers.append(signal.SIGHUP)
    former = {number: signal.signal(number, interrupt) for number in numbers}

    def ending() -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)

    try:
        yield ending
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _how(status: int) -> str:
    """How a process ended, in words: its status, or minus the signal, as subprocess has it."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


def _copy(config: Config, path: Path, base: Path) -> Path:
    """The config in `base`, to be given to the processes as the user gave it: as a folder or as a file. What
    it reads lies where it lay; what it writes goes to `base`."""
    raw: dict[str, Any] = json.loads(path.read_bytes().decode("utf-8-sig"))
    if config.embedded.data is not None:
        raw["embedded"]["data"] = str(config.path(config.embedded.data).absolute())
    if config.ca_file is not None:
        raw["ca_file"] = str(config.path(config.ca_file).absolute())
    for key in ("snapshot", "history"):
        if key in raw:
            raw[key].pop("directory", None)
    copy = base / path.name
    copy.write_text(json.dumps(raw))
    return base if config.from_folder else copy


def _stores(config: Config) -> list[Path]:
    """Every store that the processes of a trial may make."""
    own = config.store_name
    names = [own, own + FUNDING, own + FACTORS, own + FACTORS + CROSS]
    names += [config.resampled_name(target) for target in config.resample]
    return [segment_path(name, config.store.directory) for name in names]


def _remove(made: list[Path]) -> None:
    """The stores that were made here, with the files beside them; none that somebody writes."""
    for path in made:
        if not path.parent.is_dir() or writer_alive(path):
            continue
        for file in files_of(path):
            file.unlink(missing_ok=True)
