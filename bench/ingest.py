"""From the exchange's frame to a strategy that can read it: how long, how many, and does it leak?

    python bench/ingest.py                  everything, about 7 minutes
    python bench/ingest.py --quick          small sizes; the floors are told all the same
    python bench/ingest.py --json out.json  writes machine, figures and floors too

Real processes on one machine: the embedded exchange answers REST; the streams come from a raw sender whose
frames were encoded beforehand; the collector is the real one; strategies are processes that wait on the
store. On the replay clock a 1m bar lasts `60 / rate` seconds. Four questions:

  burst      500 closing frames sent at once: how long until a strategy that blocks in `wait` is awake, with
             every symbol readable. In the pauses between the bursts BMAC v2 does the same bars in its way
             (bmac_way.py): one pandas merge, one parquet file and one ready file per symbol.
  frame      closing frames sent one by one: from the send of each to readable, for a spinning reader.
  late       some closing frames come after the grace and quiet symbols get none; in every other bar REST
             does not answer for the late ones either. How long `wait` takes, and whom it names.
  sustained  ten million forming frames as fast as the collector takes them, while bars close.

All that the strategy read, and every bar in the store at the end, is compared with the exchange's truth:
where they differ, Disagreement ends the run and no figure is told.
"""

import statistics
import sys
import time
from collections import deque
from dataclasses import dataclass, field, replace

import fire
import numpy as np
import strategies
from bmac_way import BmacWay
from feed import frames_of
from live import Live, Tls, agreement
from report import Figures, quantile
from sender import Plan
from session import Workplace, cpu_s, memory_kib
from truth import generated_truth

from bmac_stream.bar import INTERVALS_MS

__all__ = ["QUICK", "Options", "main", "run"]

INTERVAL = "1m"
STEP = INTERVALS_MS[INTERVAL]
SEED = 11

BURST_FLOOR_MS = 60.0
BMAC_FLOOR = 50.0
FRAMES_FLOOR = 50_000.0
GROWTH_FLOOR_MIB = 8.0
PACE_S = 0.0003
WARM_UP = 0.2  # share of the sustained frames after which memory should not grow


@dataclass(frozen=True)
class Options:
    """Sizes. `bursts`, `paced`, `late` and `tls` are numbers of bars; a bar lasts 60 / rate wall seconds.

    bmac_candles     rows in each of BMAC's files; as many as ours for a fair comparison
    frames           forming frames of the sustained part; sustained_rate: exchange seconds per second there
    """

    symbols: int = 500
    candles: int = 1500
    rate: float = 24.0
    bursts: int = 24
    paced: int = 6
    late: int = 8
    n_late: int = 20
    tls: int = 10
    frames: int = 10_000_000
    sustained_rate: float = 4.0


QUICK = Options(symbols=60, candles=200, bursts=4, paced=2, late=2, n_late=5, tls=2, frames=200_000)


@dataclass
class BmacRounds:
    """BMAC's way in the pauses. A round is one bar of all symbols, one symbol after the other."""

    way: BmacWay
    live: Live
    next_open: int
    rounds_ms: list[float] = field(default_factory=list)
    _todo: deque[str] = field(default_factory=deque)
    _spent_s: float = 0.0

    @classmethod
    def make(cls, live: Live, folder_name: str) -> "BmacRounds":
        """With its files written: all bars that the store holds. Bars that pass meanwhile are played."""
        folder = live.place.disk / folder_name
        folder.mkdir()
        way = BmacWay(folder, INTERVAL, live.candles)
        end = live.feed.next_close()
        open_time = end + STEP * np.arange(-live.candles, 0, dtype=np.int64)
        for symbol in live.truth.symbols:
            way.write_history(symbol, open_time, live.truth.bars(symbol, int(open_time[0]), live.candles))
            live.keep_up()
        return cls(way, live, end)

    def __call__(self, until: float) -> None:
        """Works until `until`; what is left of a round goes on in the next pause. Decoding is not counted."""
        while time.monotonic() + 0.03 < until:
            if not self._todo:
                if self.next_open + STEP > self.live.exchange.clock.now_ms():
                    return  # it has caught up: that bar is not over
                self._todo.extend(self.live.truth.symbols)
            values, at = self.live.truth.bar(self._todo[0], self.next_open), self.next_open
            event = self.live.feed.event(self._todo.popleft(), at, at + STEP, values, closed=True)
            symbol, bar = self.way.decode(event)
            begin = time.perf_counter()
            self.way.update(symbol, bar)
            self._spent_s += time.perf_counter() - begin
            if not self._todo:
                self.rounds_ms.append(self._spent_s * 1e3)
                self._spent_s = 0.0
                self.next_open += STEP

    def check(self) -> None:
        """BMAC's files, the store and the truth have the same last bars."""
        done = self.next_open - STEP
        for symbol in self.live.truth.symbols:
            self.live.keep_up()
            open_time, values = self.way.read(symbol)
            last = int(np.searchsorted(open_time, done))
            agreement(last < len(open_time) and open_time[last] == done, f"{symbol}: BMAC lacks the last bar")
            newer = self.live.raw.count(self.live.raw.slot(symbol)) - 1 - done // STEP
            n = min(last + 1, 100, self.live.candles - newer)
            want = self.live.truth.bars(symbol, done - (n - 1) * STEP, n)
            agreement(np.array_equal(values[last + 1 - n : last + 1], want), f"{symbol}: BMAC's file differs")
            agreement(np.array_equal(self.live.rows(symbol, done, n), want), f"{symbol}: the store differs")


def run(options: Options, figures: Figures) -> None:
    """All questions, into `figures`."""
    with Workplace() as place:
        exchange = place.exchange(rate=options.rate, seed=SEED, n_symbols=options.symbols + 100)
        symbols = exchange.symbols(options.symbols, options.candles + 60)
        tls = Tls.make(place.disk)
        n_ahead = 2 * (options.bursts + options.paced + options.late + options.tls) + 200
        truth = generated_truth(exchange, symbols, INTERVAL, options.candles + 50, n_ahead)
        with Live(place, exchange, truth, INTERVAL, "burst", options.candles) as live:
            bursts(options, figures, live)
            late_and_quiet(options, figures, live)
            frames_one_by_one(options, figures, live)
            n_compared = live.check_store()
            figures.add("compared_bars", n_compared, "of the store with the exchange's REST: none differ")
        with Live(place, exchange, truth, INTERVAL, "tls", 99, tls) as live:
            found = [live.check(live.bar()).woken_ms for _ in range(options.tls)]
            _spread(figures, "burst_tls_ms", found, "the burst over TLS")
        exchange.stop()

        exchange = place.exchange(rate=options.sustained_rate, seed=SEED, n_symbols=options.symbols + 100)
        truth = generated_truth(exchange, symbols, INTERVAL, 150, 600)
        with Live(place, exchange, truth, INTERVAL, "sustained", 99) as live:
            sustained(options, figures, live)
            live.check_store()


def bursts(options: Options, figures: Figures, live: Live) -> None:
    """Bursts, and BMAC's way between them."""
    rounds = BmacRounds.make(live, "bmac")
    live.bar()  # both warm
    live.idle = rounds
    found: list[float] = []
    ratios: list[float] = []
    while len(found) < options.bursts or not rounds.rounds_ms:
        n_before = len(rounds.rounds_ms)
        found.append(live.check(live.bar()).woken_ms)
        # a round took some pauses: it is set against the bursts between them
        ratios += [ms / statistics.median(found[-4:]) for ms in rounds.rounds_ms[n_before:]]
    live.idle = lambda until: None
    rounds.check()
    n = len(live.truth.symbols)
    _spread(figures, "burst_ms", found, f"{n} closing frames at once until a strategy's `wait` has returned")
    figures.at_most("burst_ms_p50", BURST_FLOOR_MS, figures["burst_ms_p50"])
    note = f"BMAC v2's way, {n} symbols, {len(rounds.rounds_ms)} bars in the pauses; decoding not counted"
    figures.add("bmac_ms_p50", statistics.median(rounds.rounds_ms), note)
    figures.add(
        "bmac_over_burst", statistics.median(ratios), "median over BMAC's bars, each against its bursts"
    )
    figures.at_least("bmac_over_burst", BMAC_FLOOR, figures["bmac_over_burst"])


def frames_one_by_one(options: Options, figures: Figures, live: Live) -> None:
    """From the send of one closing frame to readable, at a pace that the collector can keep."""
    watcher = live.reader(strategies.watcher)
    while not watcher.poll(0.05):
        live.keep_up()
    agreement(watcher.recv() == "ready", "the watcher is out of step")
    waits_us: list[float] = []
    # Spread frames are late ones: the collector learns in two bars that this is how they come now, and
    # waits for them. Those bars do not count.
    for i in range(2 + options.paced):
        open_time = live.begin()
        plans = live.feed.closing_each(open_time)
        watcher.send((open_time // STEP, list(plans), 5.0))
        agreement(watcher.recv() == "watching", "the watcher is out of step")
        live.feed.wait_for_close(open_time)
        sent = live.feed.fire_paced(plans, PACE_S)
        live.report(open_time)
        seen = watcher.recv()
        if i < 2:
            continue
        for sent_ns, seen_ns in zip(sent.values(), seen, strict=True):
            agreement(seen_ns > 0, "a bar that was sent did not become readable")
            waits_us.append((seen_ns - sent_ns) / 1e3)
    _spread(figures, "frame_us", waits_us, "one closing frame, from its send to readable (a spinning reader)")


def late_and_quiet(options: Options, figures: Figures, live: Live) -> None:
    """What `wait` does when frames are late or never come."""
    random = np.random.default_rng(SEED)
    repaired: list[float] = []
    named: list[float] = []
    n_quiet = 0
    graces_ms: list[float] = []
    due: Plan = []
    for i in range(options.late):
        withheld = sorted(random.choice(live.truth.symbols, options.n_late, replace=False).tolist())
        unanswered = i % 2 == 1
        fault = None
        if unanswered:
            fault = live.exchange.fault(kind="http_error", path="klines", status=503, symbols=withheld)
        burst = live.bar(withheld=withheld, always=False)
        quiet = live.truth.quiet(burst.open_time)
        n_quiet += len(quiet)
        if fault is not None:
            live.exchange.clear_faults()
        live.check(burst, missing=withheld if unanswered else ())
        (named if unanswered else repaired).append(burst.woken_ms)
        graces_ms.append(live.store.counters()["grace_ms"] / live.exchange.rate)
        # A bar later, which is after any grace, the frames come after all, and change nothing.
        live.feed.fire(due)
        only = set(live.truth.symbols) - set(withheld)
        due = live.feed.closing(burst.open_time, without=only, always=True)
    live.feed.fire(due)
    in_exchange_s = live.exchange.rate / 1e3
    note = "for so long the collector waits for frames before it asks REST, learnt from the bursts"
    figures.add("late_grace_ms_p50", statistics.median(graces_ms), note)
    note = f"{options.n_late} late, {n_quiet / options.late:.0f} quiet, REST has them: nobody is named"
    figures.add("late_wait_ms_p50", statistics.median(repaired), note)
    figures.add(
        "late_wait_exchange_s_p50", statistics.median(repaired) * in_exchange_s, "on the exchange's clock"
    )
    if named:
        note = "REST fails for the late ones: exactly they are named, nobody else"
        figures.add("named_wait_ms_p50", statistics.median(named), note)
        figures.add(
            "named_wait_exchange_s_p50", statistics.median(named) * in_exchange_s, "on the exchange's clock"
        )


def sustained(options: Options, figures: Figures, live: Live) -> None:
    """Forming frames as fast as they are taken, with bars closing; memory and backlog on the way."""
    feed, pid = live.feed, live.collector.pid
    open_time = live.begin()
    rounds = feed.forming_rounds(open_time)
    n_round = frames_of(rounds[0])
    counted_before, cpu_before = _settled_frames(live), cpu_s(pid)
    started = time.monotonic()
    memory: list[tuple[int, int]] = []  # frames sent, KiB
    n_sent = n_closings = backlog = 0
    closing: Plan = feed.closing(open_time, always=True)
    i = 0
    next_look = 0
    while n_sent < options.frames:
        if feed.until_close(open_time) <= 0:
            n_sent += frames_of(closing)
            feed.sender.fire(closing)
            n_closings += 1
            rounds = feed.moved(rounds, open_time, open_time + STEP)
            open_time += STEP
            closing = feed.closing(open_time, always=True)
        feed.sender.fire(rounds[i % len(rounds)])
        n_sent += n_round
        i += 1
        if n_sent >= next_look:
            next_look = n_sent + options.frames // 100
            live.collector.check()
            counted = _frames(live) - counted_before
            memory.append((n_sent, memory_kib(pid)))
            backlog = max(backlog, n_sent - counted)
            while live.strategy.poll():
                live.strategy.recv()
    last_sent = time.monotonic()
    while (counted := _frames(live) - counted_before) < n_sent and time.monotonic() < last_sent + 30:
        time.sleep(0.01)
    ended = time.monotonic()
    agreement(counted == n_sent, f"{n_sent} frames were sent, {counted} counted")
    frames_per_s = n_sent / (ended - started)
    figures.add(
        "sustained_frames_per_s", frames_per_s, f"{n_sent:,} frames, {n_closings} bars closed meanwhile"
    )
    figures.add("sustained_cpu_us_per_frame", (cpu_s(pid) - cpu_before) / n_sent * 1e6, "of the collector")
    figures.add("sustained_backlog_frames", backlog, "sent and not yet counted, at most")
    figures.add("sustained_drained_s", ended - last_sent, "from the last frame sent to the last one counted")
    figures.at_least("sustained_frames_per_s", FRAMES_FLOOR, frames_per_s)
    warm = np.array([row for row in memory if row[0] >= WARM_UP * n_sent], dtype=np.float64)
    agreement(len(warm) >= 2, "too short a run to tell whether memory grows")
    slope = float(np.polyfit(warm[:, 0] / 1e6, warm[:, 1] / 1024, 1)[0])
    growth = float(warm[-1, 1] - warm[0, 1]) / 1024
    figures.add("memory_mib", float(warm[-1, 1]) / 1024, "private memory of the collector at the end")
    figures.add("memory_mib_per_million_frames", slope, "slope after the warm-up (a fifth of the frames)")
    figures.add("memory_growth_mib", growth, "from the end of the warm-up to the end")
    figures.at_most("memory_growth_mib", GROWTH_FLOOR_MIB, growth)


def _spread(figures: Figures, name: str, values: list[float], note: str) -> None:
    for suffix, q in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
        figures.add(f"{name}_{suffix}", quantile(values, q), f"{note}, n={len(values)}" if q == 0.5 else "")


def _frames(live: Live) -> int:
    return live.store.counters()["ws_frames"]


def _settled_frames(live: Live) -> int:
    """The counter, once all that was sent before has been counted."""
    before = -1
    while before != (now := _frames(live)):
        before = now
        time.sleep(0.6)
    return now


def main(json: str | None = None, quick: bool = False, **sizes: float) -> None:
    """Run it. Any field of Options can be given: --bursts=50 --frames=1000000."""
    options = QUICK if quick else Options()
    kinds = {name: type(getattr(options, name)) for name in Options.__dataclass_fields__}
    unknown = sorted(set(sizes) - set(kinds))
    if unknown:
        sys.exit(f"no such option: {', '.join(unknown)}; there are {', '.join(kinds)}")
    options = replace(options, **{name: kinds[name](value) for name, value in sizes.items()})
    figures = Figures(__doc__.splitlines()[0] if __doc__ else "")
    run(options, figures)
    sys.exit(figures.finish(json))


if __name__ == "__main__":
    fire.Fire(main)
