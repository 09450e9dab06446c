"""The exchange's half of bench/ingest.py: the market's frames, on the replay clock, through the raw sender.

What is sent is what the embedded exchange's REST says the bars were: the same seeded market, computed here
ahead of time, so that frames are encoded before their moment comes.
"""

import time
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from sender import Plan, Sender, kline_event
from session import Exchange
from truth import Truth

from bmac_stream.bar import INTERVALS_MS

__all__ = ["Feed", "frames_of", "stream_of"]

F64 = npt.NDArray[np.float64]

_VERSIONS = 4  # forming frames that differ, per symbol


def stream_of(symbol: str, interval: str) -> str:
    """Name of a symbol's kline stream."""
    return f"{symbol.lower()}@kline_{interval}"


class Feed:
    """Sends bars as the exchange would, but all at once.

    delay_ms  exchange time from a bar's close until its closing frames are due
    """

    def __init__(
        self, exchange: Exchange, sender: Sender, truth: Truth, interval: str, delay_ms: float
    ) -> None:
        self.exchange = exchange
        self.sender = sender
        self.truth = truth
        self.interval = interval
        self.step = INTERVALS_MS[interval]
        self.delay_ms = delay_ms

    def next_close(self) -> int:
        """open_time of the bar that closes next, ms."""
        return int(self.exchange.clock.now_ms()) // self.step * self.step

    def until_close(self, open_time: int) -> float:
        """Wall seconds until the closing frames of that bar are due."""
        clock = self.exchange.clock
        return clock.wall_s(open_time + self.step + self.delay_ms - clock.now_ms())

    def closing(self, open_time: int, *, without: Collection[str] = (), always: bool = False) -> Plan:
        """Closing frames of all subscribed symbols but `without`, encoded.

        always  also of symbols without a trade in that bar (zeros); else those get none
        """
        return self.sender.prepare(self._closing(open_time, without, always))

    def closing_each(self, open_time: int) -> dict[str, Plan]:
        """The closing frame of every subscribed symbol as a plan of its own."""
        streams = {stream_of(symbol, self.interval): symbol for symbol in self.truth.symbols}
        events = self._closing(open_time, (), True)
        return {streams[name]: self.sender.prepare({name: event}) for name, event in events.items()}

    def _closing(self, open_time: int, without: Collection[str], always: bool) -> dict[str, bytes]:
        silent = set(without) if always else self.truth.quiet(open_time).union(without)
        event_time = open_time + self.step + int(self.delay_ms)
        streams = self.sender.streams()
        events = {}
        for symbol in self.truth.symbols:
            stream = stream_of(symbol, self.interval)
            if symbol not in silent and stream in streams:
                values = self.truth.bar(symbol, open_time)
                events[stream] = self.event(symbol, open_time, event_time, values, closed=True)
        return events

    def event(self, symbol: str, open_time: int, event_time: int, values: F64, *, closed: bool) -> bytes:
        """One kline event."""
        end = open_time + self.step - 1
        return kline_event(symbol, self.interval, open_time, end, event_time, values, closed=closed)

    def forming(self, open_time: int, version: int = 0) -> Plan:
        """A forming frame of every subscribed symbol that trades in that bar: a part of what it will be."""
        quiet = self.truth.quiet(open_time)
        streams = self.sender.streams()
        event_time = open_time + 1  # one for all: an older one than the last would be dropped
        share = np.array([1.0, 1.0, 1.0, 1.0] + 5 * [0.5 + 0.1 * version])
        events = {}
        for symbol in self.truth.symbols:
            stream = stream_of(symbol, self.interval)
            if symbol not in quiet and stream in streams:
                values = self.truth.bar(symbol, open_time) * share
                values[6] = max(1.0, np.floor(values[6]))
                values[4:] = np.round(values[4:], 8)
                events[stream] = self.event(symbol, open_time, event_time, values, closed=False)
        return self.sender.prepare(events)

    def forming_rounds(self, open_time: int) -> list[Plan]:
        """Some rounds of forming frames that differ, to be sent over and over."""
        return [self.forming(open_time, version) for version in range(_VERSIONS)]

    def moved(self, rounds: Sequence[Plan], old_open: int, new_open: int) -> list[Plan]:
        """The same rounds for another bar: only their times are replaced, which is quick."""
        result = []
        olds = (old_open, old_open + self.step - 1, old_open + 1)
        times = [(str(old).encode(), str(old + new_open - old_open).encode()) for old in olds]
        for plan in rounds:
            moved = []
            for connection, data in plan:
                for old, new in times:
                    data = data.replace(old, new)
                moved.append((connection, data))
            result.append(moved)
        return result

    def wait_for_close(self, open_time: int) -> None:
        """Sleeps, at last spins, until the closing frames of that bar are due."""
        left = self.until_close(open_time)
        if left > 0.002:
            time.sleep(left - 0.002)
        while self.until_close(open_time) > 0:
            pass

    def fire_at_close(self, open_time: int, plan: Plan) -> int:
        """Waits for the moment, then sends; returns time.monotonic_ns() just before the first byte."""
        self.wait_for_close(open_time)
        return self.fire(plan)

    def fire(self, plan: Plan) -> int:
        """Sends at once; returns time.monotonic_ns() just before the first byte."""
        return self.sender.fire(plan)

    def fire_paced(self, plans: Mapping[str, Plan], gap_s: float) -> dict[str, int]:
        """Sends one plan after the other, at least gap_s apart; when each was sent, monotonic ns."""
        sent = {}
        due = time.monotonic()
        for key, plan in plans.items():
            while (left := due - time.monotonic()) > 0:
                time.sleep(left)
            due = max(due, time.monotonic()) + gap_s
            sent[key] = self.fire(plan)
        return sent


def frames_of(plan: Plan) -> int:
    """How many events a plan holds."""
    return sum(data.count(b'"e":"kline"') for _, data in plan)
