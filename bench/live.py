"""One collector in its live phase, as bench/ingest.py plays it: sender, collector, strategy, checks."""

import contextlib
import multiprocessing
import ssl
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import strategies
from feed import Feed
from sender import Sender
from session import Exchange, Workplace
from truth import Truth

import bmac_stream
from bmac_stream.bar import INTERVALS_MS, N_COLUMNS
from bmac_stream.client import Store
from bmac_stream.errors import StoreNotFound
from shm import StoreReader

__all__ = ["Burst", "Disagreement", "Live", "Tls", "agreement"]

F64 = npt.NDArray[np.float64]


class Disagreement(AssertionError):
    """Contenders, or a reader and the truth, differ: no figure may be told."""


def agreement(holds: bool, what: str) -> None:
    """Disagreement unless it holds."""
    if not holds:
        raise Disagreement(what)


@dataclass(frozen=True)
class Burst:
    """One bar's close: when its first frame was sent (ns), and what the strategy saw."""

    open_time: int
    sent_ns: int
    woken: strategies.Woken

    @property
    def woken_ms(self) -> float:
        """From the first byte sent to the strategy being awake."""
        return (self.woken.woken_ns - self.sent_ns) / 1e6

    @property
    def read_ms(self) -> float:
        """... and having copied the closes of all symbols."""
        return (self.woken.read_ns - self.sent_ns) / 1e6


@dataclass(frozen=True)
class Tls:
    """A server's TLS context with a certificate of a test CA, and the CA's file for the client."""

    server: ssl.SSLContext
    ca_file: Path

    @classmethod
    def make(cls, folder: Path) -> "Tls":
        import trustme  # a tool of the house; only this figure needs it

        ca = trustme.CA()
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert("127.0.0.1", "localhost").configure_cert(server)
        ca.cert_pem.write_to_path(str(folder / "ca.pem"))
        return cls(server, folder / "ca.pem")


class Live:
    """A context manager: entered, all symbols are live and complete; left, its processes have ended.

    candles   bars of history
    idle      called in every pause with the time.monotonic() that it must return by
    """

    def __init__(
        self,
        place: Workplace,
        exchange: Exchange,
        truth: Truth,
        interval: str,
        name: str,
        candles: int,
        tls: Tls | None = None,
    ) -> None:
        self.place, self.exchange, self.truth, self.tls = place, exchange, truth, tls
        self.interval, self.name, self.candles = interval, name, candles
        self.step = INTERVALS_MS[interval]
        self.bar_s = self.step / 1e3 / exchange.rate
        self.idle: Callable[[float], None] = lambda until: None

    def __enter__(self) -> "Live":
        with contextlib.ExitStack() as stack:
            self.sender = stack.enter_context(Sender(self.tls.server if self.tls else None))
            delay_ms = 20.0 * self.exchange.rate
            self.feed = Feed(self.exchange, self.sender, self.truth, self.interval, delay_ms)
            self.collector = self.place.collector(self.name, self._config())
            stack.callback(self.collector.stop)
            self._readers: list[tuple[BaseProcess, Connection]] = []
            stack.callback(self._end_readers)
            self.strategy = self.reader(strategies.waiter)
            directory = str(self.place.memory)
            self.store = self._attach(directory)
            stack.callback(self.store.close)
            self.raw = StoreReader.attach(self.name, directory=directory)
            stack.callback(self.raw.close)
            self._until_live()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def reader(self, target: Callable[[Connection, str, str], None]) -> Connection:
        """Starts a reader's process on this store; our end of its pipe."""
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=target, args=(theirs, self.name, str(self.place.memory)), daemon=True)
        process.start()
        theirs.close()
        self._readers.append((process, ours))
        return ours

    def begin(self) -> int:
        """open_time of a bar that still has most of its time: its forming frames have been sent.

        Bars that have to pass until then are played, untimed.
        """
        while self.feed.until_close(open_time := self.feed.next_close()) < 0.4 * self.bar_s:
            self.feed.fire_at_close(open_time, self.feed.closing(open_time, always=True))
            self.report(open_time)
        self.feed.fire(self.feed.forming(open_time))
        return open_time

    def bar(self, *, withheld: Collection[str] = (), always: bool = True) -> Burst:
        """Plays one bar, all closing frames at once but those of `withheld`.

        always  symbols without a trade get a closing frame too
        """
        open_time = self.begin()
        plan = self.feed.closing(open_time, without=withheld, always=always)
        self.idle(time.monotonic() + self.feed.until_close(open_time) - 0.15)
        late_s = -self.feed.until_close(open_time)
        if late_s > 0:
            raise TimeoutError(f"this bench was {late_s:.3f} s late for a close: the machine is too busy")
        sent_ns = self.feed.fire_at_close(open_time, plan)
        return Burst(open_time, sent_ns, self.report(open_time))

    def keep_up(self) -> None:
        """To be called now and then during long work between bars: plays those that are due, untimed."""
        if self.feed.until_close(self.feed.next_close()) < 0.3 * self.bar_s:
            self.begin()

    def report(self, open_time: int) -> strategies.Woken:
        """What the waiting strategy saw at that bar's close. TimeoutError after 30 s."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            self.collector.check()
            if self.strategy.poll(1.0):
                woken: strategies.Woken = self.strategy.recv()
                if woken.run_time >= open_time + self.step:
                    agreement(
                        woken.run_time == open_time + self.step,
                        f"run_time {woken.run_time} was told before its close",
                    )
                    return woken
        raise TimeoutError(f"no run_time for the bar of {open_time} in 30 s")

    def check(self, burst: Burst, missing: Collection[str] = ()) -> Burst:
        """The strategy was told that exactly `missing` are missing, and read the truth of all others."""
        woken = burst.woken
        agreement(
            woken.missing == tuple(sorted(missing)) and not woken.absent,
            f"bar {burst.open_time}: missing {woken.missing[:9]}, absent {woken.absent[:9]},"
            f" withheld {sorted(missing)[:9]}",
        )
        closes = dict(zip(woken.symbols, woken.closes.tolist(), strict=True))
        agreement(set(self.truth.symbols) <= set(closes), "the strategy lacks symbols")
        for symbol in self.truth.symbols:
            want = float("nan") if symbol in missing else float(self.truth.bar(symbol, burst.open_time)[3])
            same = closes[symbol] == want or (want != want and closes[symbol] != closes[symbol])
            agreement(same, f"{symbol} {burst.open_time}: read {closes[symbol]}, the truth is {want}")
        return burst

    def rows(self, symbol: str, open_time: int, n: int) -> F64:
        """float64[n, 9]: the store's bars of a symbol that end with that of open_time."""
        slot = self.raw.slot(symbol)
        newer = self.raw.count(slot) - 1 - open_time // self.step
        rows: F64 = self.raw.read(slot, lambda view: view[:N_COLUMNS].copy(), n + newer)
        return np.ascontiguousarray(rows[:, :n].T)

    def check_store(self) -> int:
        """Every bar in the store is the one that the exchange's REST tells now; how many were compared."""
        n_compared = 0
        end = self.store.run_time - self.step
        for symbol in self.truth.symbols:
            self.keep_up()
            slot = self.raw.slot(symbol)
            newer = self.raw.count(slot) - 1 - end // self.step
            n = min(self.candles - newer, end // self.step + 1 - self.raw.first_g(slot))
            open_time, values = self.exchange.bars(symbol, self.interval, end - (n - 1) * self.step, end)
            agreement(len(open_time) == n, f"{symbol}: the exchange has {len(open_time)} bars, the store {n}")
            differ = np.flatnonzero((self.rows(symbol, end, n) != values).any(axis=1))
            agreement(not len(differ), f"{symbol}: the store differs at {open_time[differ][:9].tolist()}")
            n_compared += n
        return n_compared

    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = {
            "interval": self.interval,
            "trade_type": "usdt_perp",
            "num_candles": self.candles,
            "keep_symbols": self.truth.symbols,
            "exchange": {
                "rest": self.exchange.rest,
                "stream": self.sender.url,
                "rate": self.exchange.rate,
                "source": self.exchange.source,
            },
            "exchange_info_every_sec": 86_400,
            "clock_sync_every_sec": 600,
            # On the replay clock REST takes `rate` times as long as it does live.
            "candle_close_timeout_sec": 30,
            # This sender says nothing between a bar's forming frames and its closing ones.
            "first_frame_timeout_sec": 600,
            "silence_timeout_sec": 600,
        }
        if self.tls:
            config["ca_file"] = str(self.tls.ca_file)
        return config

    def _attach(self, directory: str) -> Store:
        deadline = time.monotonic() + 60
        while True:
            self.collector.check()
            try:
                return bmac_stream.attach(self.name, directory=directory, timeout_s=1)
            except StoreNotFound:
                if time.monotonic() > deadline:
                    raise

    def _until_live(self) -> None:
        """Plays bars while the collector loads its history, until two in a row were complete."""
        good, deadline = 0, time.monotonic() + 300
        while good < 2:
            self.collector.check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(self.store.symbols)} symbols are readable after 300 s")
            if not self.sender.streams():
                time.sleep(0.05)
                continue
            open_time = self.feed.next_close()
            self.feed.fire(self.feed.forming(open_time))
            self.feed.fire_at_close(open_time, self.feed.closing(open_time, always=True))
            time.sleep(0.3 * self.bar_s)
            whole = len(self.store.symbols) == len(self.truth.symbols)
            good = good + 1 if whole and self.store.run_time == open_time + self.step else 0
        while self.strategy.poll():
            self.strategy.recv()

    def _end_readers(self) -> None:
        for process, pipe in self._readers:
            with contextlib.suppress(OSError):
                pipe.send(None)
            process.join(3)
            if process.is_alive():
                process.kill()
                process.join()
            pipe.close()
