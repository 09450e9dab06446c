"""What bench/ingest.py and bench/init.py stand on: real processes, their files, and the truth.

`Workplace` holds a folder on disk, one in /dev/shm, and every process that is started in it; leaving it ends
the processes and removes the folders, also on Ctrl-C and SIGTERM. `Exchange` is the embedded exchange in a
process of its own, seen from outside over HTTP: its clock, its symbols, its statistics, its faults, and what
the bars were.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import numpy.typing as npt

from bmac_stream.clock import Clock

__all__ = ["Child", "Exchange", "Workplace", "cpu_s", "memory_kib"]

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

_ROOT = Path(__file__).resolve().parent.parent
_COLUMNS = (1, 2, 3, 4, 5, 7, 8, 9, 10)  # of a kline row, in the order of bar.COLUMNS


class Child:
    """A process of ours, `python -m MODULE ...`. Its output goes to `log`, and is shown if it fails."""

    def __init__(self, log: Path, *command: str, first_line: bool = False) -> None:
        self.log = log
        self.started = time.monotonic()
        self._file = log.open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if first_line else self._file,
            stderr=self._file,
            start_new_session=True,  # Ctrl-C comes to the bench, which ends its children in order
        )
        self.first_line = ""
        if first_line:
            assert self.process.stdout is not None
            self.first_line = self.process.stdout.readline().decode()

    @property
    def pid(self) -> int:
        return self.process.pid

    def check(self) -> None:
        """RuntimeError with the end of its output if it has ended."""
        if self.process.poll() is not None:
            tail = self.log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{self.log.stem} ended with {self.process.returncode}:\n{tail}")

    def stop(self, *, kill: bool = False, timeout_s: float = 15.0) -> int:
        """SIGTERM (or SIGKILL to it and what it started), bounded; the exit status."""
        if self.process.poll() is None:
            if kill:
                os.killpg(self.pid, signal.SIGKILL)
            else:
                self.process.terminate()
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                os.killpg(self.pid, signal.SIGKILL)
        status = self.process.wait()
        self._file.close()
        if self.process.stdout is not None:
            self.process.stdout.close()
        return status


class Workplace:
    """Folders and processes of one bench. A context manager that leaves nothing behind.

    disk    a folder for configs, logs, snapshots and BMAC's files
    memory  a folder in /dev/shm for stores
    """

    def __enter__(self) -> "Workplace":
        self._old = signal.signal(signal.SIGTERM, _interrupt)
        self.disk = Path(tempfile.mkdtemp(prefix="bmac-bench-"))
        self.memory = Path(tempfile.mkdtemp(prefix="bmac-bench-", dir="/dev/shm"))
        self._children: list[Child] = []
        return self

    def __exit__(self, *exc: object) -> None:
        for child in reversed(self._children):
            child.stop(timeout_s=5)
        for folder in (self.disk, self.memory):
            shutil.rmtree(folder, ignore_errors=True)
        signal.signal(signal.SIGTERM, self._old)

    def start(self, name: str, *command: str, first_line: bool = False) -> Child:
        """Starts `python -m COMMAND`; it is ended when the workplace is left."""
        log = self.disk / f"{name}-{len(self._children)}.log"
        child = Child(log, *command, first_line=first_line)
        self._children.append(child)
        return child

    def exchange(self, *, rate: float, seed: int, n_symbols: int) -> "Exchange":
        """Starts the embedded exchange with a generated USD-M market."""
        options = {"markets": "usdm", "port": 0, "rate": rate, "seed": seed, "n_symbols": n_symbols}
        words = [f"--{key}={value}" for key, value in options.items()]
        child = self.start("exchange", "bmac_stream.simulator", *words, first_line=True)
        if not child.first_line:
            child.process.wait(10)
            child.check()
        return Exchange(child)

    def collector(self, name: str, config: Mapping[str, Any]) -> Child:
        """Starts the real collector on `config`, with its store in `memory` and its snapshot on `disk`."""
        folder = self.disk / name
        folder.mkdir(exist_ok=True)
        store = {"name": name, "directory": str(self.memory)} | dict(config.get("store", {}))
        (folder / "config.json").write_text(json.dumps({**config, "store": store}))
        return self.start(name, "bmac_stream.collector", str(folder / "config.json"))


class Exchange:
    """The embedded exchange's USD-M market, from outside.

    Attributes: `rest` and `stream` (URLs), `rate`, `source`, and a `clock` that goes with the exchange's.
    """

    def __init__(self, child: Child) -> None:
        self.child = child
        said = json.loads(child.first_line)
        self.rest, self.stream = str(said["rest"]), str(said["stream"])
        self.rate, self.source = float(said["rate"]), str(said["source"])
        self.clock = Clock(self.rate)
        self.sync()

    def sync(self) -> None:
        """Sets `clock` by the best of five answers of /time."""
        answers = []
        for _ in range(5):
            sent = time.monotonic()
            server_ms = self.get("/fapi/v1/time")["serverTime"]
            answers.append((time.monotonic() - sent, server_ms, sent, time.monotonic()))
        _, server_ms, sent, received = min(answers)
        self.clock.sync(server_ms, sent, received)

    def get(self, path: str, body: Any = None, method: str | None = None, **query: object) -> Any:
        """GET (POST if there is a body) of `path`, decoded."""
        url = f"{self.rest}{path}?{urllib.parse.urlencode(query)}" if query else f"{self.rest}{path}"
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(url, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def symbols(self, n: int) -> list[str]:
        """The first n perpetuals against USDT that trade, sorted. ValueError if there are not so many."""
        listed = self.get("/fapi/v1/exchangeInfo")["symbols"]
        names = sorted(
            each["symbol"]
            for each in listed
            if (each["status"], each["contractType"], each["quoteAsset"]) == ("TRADING", "PERPETUAL", "USDT")
        )
        if len(names) < n:
            raise ValueError(f"{n} symbols are wanted, the exchange has {len(names)}")
        return names[:n]

    def truth(self, symbol: str, interval: str, start_ms: int, end_ms: int) -> tuple[I64, F64]:
        """(open_time int64[n], values float64[n, 9]): what the bars with start <= open_time <= end were."""
        rows = self.get("/admin/truth", symbol=symbol, interval=interval, start=start_ms, end=end_ms)
        open_time = np.array([row[0] for row in rows], dtype=np.int64)
        values = np.array([[float(row[i]) for i in _COLUMNS] for row in rows], dtype=np.float64)
        return open_time, values.reshape(-1, len(_COLUMNS))

    def stats(self) -> Any:
        """/admin/stats."""
        return self.get("/admin/stats")

    def fault(self, **fault: object) -> Any:
        """Arms a fault: kind=..., see bmac_stream.simulator.faults."""
        return self.get("/admin/fault", fault)

    def clear_faults(self) -> None:
        """Disarms all faults."""
        self.get("/admin/faults", method="DELETE")


def memory_kib(pid: int) -> int:
    """Private memory in RAM of a process, KiB: without the shared pages of a store that fills up."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1])
    return 0


def cpu_s(pid: int) -> float:
    """User and system CPU time of a process so far, seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _interrupt(_signum: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
