"""The embedded exchange as a process of its own: started, asked and ended from blocking code.

with SimulatorProcess(n_symbols=20, rate=60.0, markets="usdm") as exchange:
    exchange.url("usdm")["rest"]
    exchange.fault("drop", abort=True)
    exchange.truth("BTCUSDT", "1m", start_ms, end_ms)
"""

import json
import select
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from types import TracebackType
from typing import Any, Self

__all__ = ["SimulatorProcess"]


class SimulatorProcess:
    """`python -m bmac_stream.simulator` with these options (see __main__.main), a context manager.

    ready    what it printed when it was ready: urls, rate, source, start_ms
    ca_file  trusted for /admin when the exchange serves TLS
    """

    def __init__(self, *, ca_file: str | None = None, start_timeout_s: float = 60.0, **options: Any) -> None:
        self._options = options
        self._ca_file = ca_file
        self._start_timeout_s = start_timeout_s
        self._process: subprocess.Popen[str] | None = None
        self.ready: dict[str, Any] = {}

    def start(self) -> Self:
        """Start it and wait until it is ready. RuntimeError: it ended before, or took too long."""
        command = [sys.executable, "-m", "bmac_stream.simulator"]
        command += [f"--{name}={value}" for name, value in self._options.items()]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], self._start_timeout_s)
        line = self._process.stdout.readline() if readable else ""
        if not line:
            status = self.stop()
            raise RuntimeError(f"the embedded exchange was not ready, and ended with status {status}")
        self.ready = json.loads(line)
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def stop(self, timeout_s: float = 10.0) -> int:
        """SIGTERM, after `timeout_s` SIGKILL; returns the exit status."""
        process = self._process
        if process is None:
            return 0
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
        status = process.wait()
        if process.stdout is not None:
            process.stdout.close()
        return status

    def url(self, market: str) -> dict[str, str]:
        """{"rest": ..., "stream": ...} of one market."""
        found: dict[str, str] = self.ready["markets"][market]
        return found

    def admin(self, name: str, body: dict[str, Any] | None = None, *, method: str | None = None) -> Any:
        """One request to /admin/`name` (POST with a body, else GET); its JSON. ValueError: refused."""
        request = urllib.request.Request(
            f"{self.ready['rest']}/admin/{name}",
            data=None if body is None else json.dumps(body).encode(),
            method=method,
        )
        context = None
        if self._ca_file is not None:
            context = ssl.create_default_context(cafile=self._ca_file)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        try:
            with opener.open(request, timeout=30) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise ValueError(error.read().decode("utf-8", "replace")) from None

    def fault(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Arm a fault or carry it out: see faults.Fault."""
        found: dict[str, Any] = self.admin("fault", {"kind": kind, **fields})
        return found

    def clear_faults(self) -> int:
        """Disarm all faults."""
        return int(self.admin("faults", method="DELETE")["cleared"])

    def stats(self) -> dict[str, Any]:
        """The record: see exchange.Exchange.report."""
        found: dict[str, Any] = self.admin("stats")
        return found

    def now_ms(self) -> float:
        """Exchange time."""
        return float(self.admin("time")["exchange_ms"])

    def wait_until(self, exchange_ms: float, timeout_s: float = 60.0) -> None:
        """Sleep until exchange time `exchange_ms`. TimeoutError after `timeout_s` of wall time."""
        end = time.monotonic() + timeout_s
        rate = float(self.ready["rate"])
        while (left := exchange_ms - self.now_ms()) > 0:
            if time.monotonic() > end:
                raise TimeoutError(f"exchange time is {left:.0f} ms short of {exchange_ms:.0f}")
            time.sleep(min(max(left / 1e3 / rate, 0.005), 0.5))

    def truth(
        self, symbol: str, interval: str, start_ms: int, end_ms: int, *, market: str | None = None
    ) -> list[list[Any]]:
        """Rows of /klines, closed by now, with start_ms <= open_time <= end_ms."""
        query = {"symbol": symbol, "interval": interval, "start": start_ms, "end": end_ms}
        if market is not None:
            query["market"] = market
        found: list[list[Any]] = self.admin("truth?" + urllib.parse.urlencode(query))
        return found
