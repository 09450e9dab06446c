"""What bench/ingest.py and bench/init.py stand on: real processes, their files, and the truth.

`Workplace` holds a folder on disk, one in /dev/shm, and every process that is started in it; leaving it ends
the processes and removes the folders, also on Ctrl-C and SIGTERM. `Exchange` is the embedded exchange in a
process of its own, with its clock, its symbols, and what its bars were.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import numpy.typing as npt

from bmac_stream.clock import Clock
from bmac_stream.simulator.generator import GeneratedMarket, GeneratorConfig
from bmac_stream.simulator.process import SimulatorProcess

__all__ = ["Child", "Exchange", "Workplace", "cpu_s", "memory_kib"]

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

_ROOT = Path(__file__).resolve().parent.parent
_COLUMNS = (1, 2, 3, 4, 5, 7, 8, 9, 10)  # of a kline row, in the order of bar.COLUMNS


class Child:
    """A process of ours, `python -m MODULE ...`. Its output goes to `log`, and is shown if it fails."""

    def __init__(self, log: Path, *command: str) -> None:
        self.log = log
        self.started = time.monotonic()
        self._file = log.open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=self._file,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C comes to the bench, which ends its children in order
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def check(self) -> None:
        """RuntimeError with the end of its output if it has ended."""
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.log.stem} ended with {self.process.returncode}:\n{self.tail()}")

    def tail(self) -> str:
        """The end of its output."""
        return self.log.read_text(errors="replace")[-3000:]

    def stop(self, *, kill: bool = False, timeout_s: float = 15.0) -> int:
        """SIGTERM (or SIGKILL to it and what it started), bounded; the exit status."""
        if self.process.poll() is None:
            if kill:
                for pid in [self.pid, *_started_by(self.pid)]:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            else:
                self.process.terminate()
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                os.killpg(self.pid, signal.SIGKILL)
        status = self.process.wait()
        self._file.close()
        return status


class Workplace:
    """Folders and processes of one bench. A context manager that leaves nothing behind.

    disk    a folder for configs, logs, snapshots and BMAC's files
    memory  a folder in /dev/shm for stores
    """

    def __enter__(self) -> "Workplace":
        self._old = signal.signal(signal.SIGTERM, _interrupt)
        self.disk = Path(tempfile.mkdtemp(prefix="bmac-place-"))
        self.memory = Path(tempfile.mkdtemp(prefix="bmac-place-", dir="/dev/shm"))
        self._children: list[Child] = []
        self._exchanges: list[Exchange] = []
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        for child in reversed(self._children):
            child.stop(timeout_s=5)
            if kind is not None and issubclass(kind, Exception):
                print(f"{child.log.stem} said at last:\n{child.tail()}", file=sys.stderr)
        for exchange in self._exchanges:
            exchange.stop(timeout_s=5)
        for folder in (self.disk, self.memory):
            shutil.rmtree(folder, ignore_errors=True)
        signal.signal(signal.SIGTERM, self._old)

    def start(self, name: str, *command: str) -> Child:
        """Starts `python -m COMMAND`; it is ended when the workplace is left."""
        log = self.disk / f"{name}-{len(self._children)}.log"
        child = Child(log, *command)
        self._children.append(child)
        return child

    def kill(self, name: str) -> None:
        """SIGKILL to the processes of that name and all that they started."""
        for child in self._children:
            if child.log.stem.rpartition("-")[0] == name:
                child.stop(kill=True)

    def exchange(self, *, rate: float, seed: int, n_symbols: int) -> "Exchange":
        """Starts the embedded exchange with a generated USD-M market."""
        exchange = Exchange(rate=rate, seed=seed, n_symbols=n_symbols)
        self._exchanges.append(exchange)
        return exchange

    def collector(self, name: str, config: Mapping[str, Any]) -> Child:
        """Starts the real collector on `config`, with its store in `memory` and its snapshot on `disk`."""
        folder = self.disk / name
        folder.mkdir(exist_ok=True)
        store = {"name": name, "directory": str(self.memory)} | dict(config.get("store", {}))
        (folder / "config.json").write_text(json.dumps({**config, "store": store}))
        return self.start(name, "bmac_stream.collector", str(folder / "config.json"))


class Exchange(SimulatorProcess):
    """The embedded exchange's USD-M market without listings, delistings and holes, seen from outside.

    Attributes: `rest` and `stream` (URLs), `rate`, `source`, `market` (the same one, in this process: it
    knows the future), and a `clock` that goes with the exchange's.
    """

    def __init__(self, *, rate: float, seed: int, n_symbols: int) -> None:
        config = GeneratorConfig(
            seed=seed, n_symbols=n_symbols, n_spot=0, n_coinm=0, listing_hours=0, hole_days=0
        )
        names = ("seed", "n_symbols", "n_spot", "n_coinm", "listing_hours", "hole_days")
        super().__init__(markets="usdm", rate=rate, **{name: getattr(config, name) for name in names})
        self.start()
        self.rest, self.stream = str(self.ready["rest"]), str(self.ready["stream"])
        self.rate, self.source = float(self.ready["rate"]), str(self.ready["source"])
        assert self.ready["start_ms"] == config.start_ms, "the same market starts at the same time"
        self.market = GeneratedMarket(config)
        self.clock = Clock(self.rate)
        answers = []
        for _ in range(5):
            sent = time.monotonic()
            now_ms = self.now_ms()
            received = time.monotonic()
            answers.append((received - sent, now_ms, sent, received))
        _, now_ms, sent, received = min(answers)
        self.clock.sync(now_ms, sent, received)

    def symbols(self, n: int, n_bars: int) -> list[str]:
        """The n busiest perpetuals against USDT that trade and have n_bars 1m bars by now, sorted."""
        now, found = int(self.clock.now_ms()), []
        for one in self.market.instruments("usdm"):
            old = self.market.first_open_ms(one, "1m") < now - n_bars * 60_000
            if old and one.trades_at(now) and (one.contract_type, one.quote) == ("PERPETUAL", "USDT"):
                found.append((self.market.klines(one, "1d", now - 3 * 86_400_000, 1, now), one.symbol))
        if len(found) < n:
            raise ValueError(f"{n} symbols are wanted, the exchange has {len(found)}")
        found.sort(key=lambda each: -each[0].values[0, 6])
        return sorted(symbol for _, symbol in found[:n])

    def bars(self, symbol: str, interval: str, start_ms: int, end_ms: int) -> tuple[I64, F64]:
        """(open_time int64[n], values float64[n, 9]) that the exchange tells of a span, ends included."""
        rows = self.truth(symbol, interval, start_ms, end_ms)
        open_time = np.array([row[0] for row in rows], dtype=np.int64)
        values = np.array([[float(row[i]) for i in _COLUMNS] for row in rows], dtype=np.float64)
        return open_time, values.reshape(-1, len(_COLUMNS))


def _started_by(pid: int) -> list[int]:
    """Children of a process, and theirs."""
    tasks = Path(f"/proc/{pid}/task")
    found = []
    with contextlib.suppress(FileNotFoundError):
        for task in tasks.iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return found + [grandchild for child in found for grandchild in _started_by(child)]


def cpu_s(pid: int) -> float:
    """User and system CPU time of a process so far, seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_kib(pid: int) -> int:
    """Private memory in RAM of a process, KiB: without the shared pages of a store that fills up."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1])
    raise ValueError(f"no RssAnon of process {pid}")


def _interrupt(_signum: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
