"""The collector as a process, as tests and benches use it: started with a config, watched, killed, judged."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from bmac_stream.errors import ShmError
from shm import Status, StoreReader

__all__ = ["CollectorProcess", "Held", "until"]

REPO = Path(__file__).resolve().parents[2]


def until(what: str, check: Callable[[], Any], timeout_s: float, pause_s: float = 0.02) -> Any:
    """Wait until `check` gives something true, and give that; AssertionError naming `what` if it does not."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:g} s"
        time.sleep(pause_s)


class Held:
    """What a store held of one symbol when it was read: bars first_g, first_g + 1, ...

    values float64[n, 9], status uint8[n]
    """

    def __init__(self, first_g: int, values: npt.NDArray[np.float64], status: npt.NDArray[np.uint8]) -> None:
        self.first_g, self.values, self.status = first_g, values, status


class CollectorProcess:
    """`python -m bmac_stream.collector` with this config, a context manager.

    config   keys of config.json; the store's name is given apart, its directory is the folder
    """

    def __init__(self, folder: Path, store: str, *arguments: str, **config: Any) -> None:
        self.folder, self.store = folder, store
        self.arguments = arguments
        self.config = {"interval": "1m", "trade_type": "usdt_perp", "bmac_files": False} | config
        self.config["store"] = {"name": store, "directory": str(folder)} | config.get("store", {})
        (folder / "config.json").write_text(json.dumps(self.config))
        self.log_path = folder / "collector.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._reader: StoreReader | None = None

    def start(self, *more: str) -> Self:
        """Start it (again, with the same store)."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bmac_stream.collector", str(self.folder), *self.arguments, *more],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=REPO,
            )
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reader is not None:
            self._reader.close()
        self.end()

    @property
    def log(self) -> str:
        """Everything it said."""
        return self.log_path.read_text("utf-8", "replace")

    def end(self, number: int = signal.SIGTERM, timeout_s: float = 12.0) -> int:
        """Send a signal and wait; the exit status. SIGKILL if it does not end."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"it did not end within {timeout_s:g} s\n{self.log[-3000:]}") from None
        return self.process.wait()

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def reader(self, timeout_s: float = 30.0) -> StoreReader:
        """A reader of its store; attached once."""
        if self._reader is None:

            def attach() -> StoreReader | None:
                assert self.process is not None
                assert self.process.poll() is None, f"the collector ended\n{self.log[-3000:]}"
                try:
                    return StoreReader.attach(self.store, directory=self.folder)
                except ShmError:
                    return None

            self._reader = until("a store", attach, timeout_s)
        return self._reader

    def live(self, timeout_s: float = 60.0) -> StoreReader:
        """Wait for the phase `live`."""
        reader = self.reader(timeout_s)
        self._until("live", lambda: reader.phase == "live", timeout_s)
        return reader

    def complete(self, g: int, timeout_s: float = 60.0) -> None:
        """Wait until bar g is complete."""
        reader = self.reader()
        self._until(f"bar {g} complete", lambda: reader.complete_g >= g, timeout_s)

    def counters(self) -> dict[str, int]:
        """The store's counters."""
        return dict(self.reader().counters())

    def held(self) -> dict[str, Held]:
        """Everything the store holds, settled bars of readable symbols, up to the newest complete one."""
        reader = self.reader()
        found = {}
        for symbol, slot in reader.symbols().items():
            end = reader.complete_g + 1
            first = max(reader.first_g(slot), end - reader.spec.window)
            rows = np.array(reader.rows(slot, reader.count(slot) - first))[:, : end - first]
            found[symbol] = Held(first, rows[:-1].T.copy(), rows[-1].astype(np.uint8))
        return found

    def unsettled(self) -> int:
        """Cells of readable symbols which are pending now."""
        return sum(int((held.status == Status.PENDING).sum()) for held in self.held().values())

    def _until(self, what: str, check: Callable[[], bool], timeout_s: float) -> None:
        def watched() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, f"the collector ended before {what}\n{self.log[-3000:]}"
            return check()

        try:
            until(what, watched, timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log[-3000:]}") from None


def environment() -> dict[str, str]:
    """The environment for processes of tests."""
    return dict(os.environ)
