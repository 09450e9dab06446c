"""The order of bars: whatever comes, in whatever order, the store says what the exchange said, once."""

import random
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from bmac_stream.backfill import ABSENT, BAR, UNKNOWN, Answer
from bmac_stream.bar import COLUMNS
from bmac_stream.binance.protocol import Kline
from bmac_stream.clock import Clock
from bmac_stream.errors import StoreFull
from bmac_stream.grace import Grace
from bmac_stream.writer import MAX_WAITING, BarWriter, Origin, State
from shm import Spec, Status, StoreReader, StoreWriter

MINUTE = 60_000
START = 29_000_000  # number of the first bar in these tests
WINDOW = 50
PENDING = int(Status.PENDING)


class SetClock(Clock):
    """A clock that stands where it is put."""

    def __init__(self, now_ms: float) -> None:
        super().__init__()
        self.time_ms = now_ms
        self.synced, self.uncertainty_ms = True, 0.0

    def now_ms(self) -> float:
        return self.time_ms


def truth(symbol: str, g: int, revision: int = 0) -> tuple[float, ...]:
    """What the exchange says of a bar: nine numbers that only this bar has."""
    base = (sum(symbol.encode()) * 1000 + g % 1000) * 10 + revision
    return tuple(float(base * 10 + i) for i in range(9))


def kline(
    symbol: str, g: int, *, closed: bool = True, event_ms: int | None = None, revision: int = 0
) -> Kline:
    opened = g * MINUTE
    event = opened + MINUTE + 100 if event_ms is None else event_ms
    return Kline(symbol, "1m", opened, opened + MINUTE - 1, event, closed, truth(symbol, g, revision))


def answer(symbol: str, g: int, n: int, missing: dict[int, int] | None = None) -> Answer:
    """An answer of REST: bars [g, g + n), but `missing` number -> status."""
    values = np.array([truth(symbol, g + i) for i in range(n)]).reshape(n, 9)
    status = np.full(n, BAR, np.uint8)
    for number, word in (missing or {}).items():
        values[number - g] = np.nan
        status[number - g] = word
    return Answer(g, values, status)


class Bench:
    """A writer on a store of its own, a reader beside it, and what was told."""

    def __init__(self, name: str, directory: Path, max_symbols: int = 8) -> None:
        self.spec = Spec(
            columns=COLUMNS,
            window=WINDOW,
            slack=20,
            max_symbols=max_symbols,
            interval_ms=MINUTE,
            source="test",
        )
        self.name, self.directory = name, directory
        self.store = StoreWriter.open(name, self.spec, directory=directory)
        self.clock = SetClock(START * MINUTE)
        self.completed: list[int] = []
        self.early = 0
        self.open_writer()

    def open_writer(self) -> None:
        self.writer = BarWriter(
            self.store, "1m", WINDOW, self.clock, Grace(15_000),
            on_complete=self.completed.append, on_early=self._early,
        )  # fmt: skip

    def _early(self) -> None:
        self.early += 1

    def restart(self) -> None:
        self.store.close()
        self.store = StoreWriter.open(self.name, self.spec, directory=self.directory)
        assert not self.store.created
        self.open_writer()

    def at(self, g: int, ms: float = 200.0) -> None:
        """The clock stands `ms` after bar g - 1 closed: bar g is forming."""
        self.clock.time_ms = g * MINUTE + ms

    def load(self, *symbols: str, n: int = 20) -> None:
        """History of n bars up to START, readable, live."""
        for symbol in symbols:
            self.writer.expect(symbol)
            self.writer.answer(symbol, answer(symbol, START - n, n), START * MINUTE)
            assert self.writer.activate(symbol)
        self.writer.go_live()

    def status(self, symbol: str, g: int) -> int:
        slot = self.writer.series[symbol].slot
        return int(self.store.read(slot, g, 1)[1][0])

    def check(
        self,
        symbol: str,
        first: int,
        end: int,
        revisions: dict[int, int] | None = None,
        absent: Iterable[int] = (),
    ) -> None:
        """Every bar of [first, end) is published, and is the truth."""
        slot = self.writer.series[symbol].slot
        assert self.store.count(slot) == end
        first = max(first, end - WINDOW)
        values, status = self.store.read(slot, first, end - first)
        gone = set(absent)
        words = [ABSENT if g in gone else BAR for g in range(first, end)]
        np.testing.assert_array_equal(status, words)
        nothing = (np.nan,) * 9
        wanted = [
            nothing if g in gone else truth(symbol, g, (revisions or {}).get(g, 0)) for g in range(first, end)
        ]
        np.testing.assert_array_equal(values, np.array(wanted))


@pytest.fixture
def bench(store_name: str, tmp_path: Path) -> Iterator[Bench]:
    found = Bench(store_name, tmp_path)
    yield found
    found.store.close()


# ------------------------------------------------------------------------------------------ live bars


def test_bars_in_order_are_published_at_once_and_complete_together(bench: Bench) -> None:
    bench.load("A", "B")
    assert bench.completed == [START - 1]
    for g in range(START, START + 3):
        bench.at(g + 1)
        bench.writer.frame(kline("A", g))
        assert bench.store.count(bench.writer.series["A"].slot) == g + 1
        assert bench.store.complete_g == g - 1
        bench.writer.frame(kline("B", g))
        assert bench.store.complete_g == g
    assert bench.completed == [START - 1, START, START + 1, START + 2]
    bench.check("A", START - 20, START + 3)
    assert bench.writer.counts.ws_bars == 6


def test_a_bar_waits_for_the_one_before_it(bench: Bench) -> None:
    bench.load("A")
    bench.at(START + 3)
    for g in (START + 2, START + 1):
        bench.writer.frame(kline("A", g))
        assert bench.store.count(bench.writer.series["A"].slot) == START
    assert bench.writer.missing("A", START + 3) == [START]
    bench.writer.frame(kline("A", START))
    bench.check("A", START - 20, START + 3)
    assert bench.completed == [START - 1, START + 2]


def test_rest_fills_exactly_the_hole(bench: Bench) -> None:
    bench.load("A")
    bench.at(START + 4)
    bench.writer.frame(kline("A", START + 3))
    assert bench.writer.missing("A", START + 4) == [START, START + 1, START + 2]
    bench.writer.answer("A", answer("A", START, 3), bench.clock.now_ms())
    bench.check("A", START - 20, START + 4)
    counts = bench.writer.counts.take()
    assert (counts["ws_bars"], counts["repaired_bars"]) == (1, 3)


def test_an_absent_bar_settles_like_any_other(bench: Bench) -> None:
    bench.load("A")
    bench.at(START + 2)
    bench.writer.answer("A", answer("A", START, 2, {START: ABSENT}), bench.clock.now_ms())
    assert bench.status("A", START) == ABSENT
    assert bench.completed[-1] == START + 1
    values, _ = bench.store.read(bench.writer.series["A"].slot, START, 1)
    assert np.isnan(values).all()


def test_what_is_not_known_is_not_written(bench: Bench) -> None:
    bench.load("A")
    bench.at(START + 2)
    bench.writer.answer(
        "A", answer("A", START, 2, {START: UNKNOWN, START + 1: UNKNOWN}), bench.clock.now_ms()
    )
    assert bench.store.count(bench.writer.series["A"].slot) == START
    assert bench.completed == [START - 1]


def test_forming_bars_are_shown_and_old_ones_are_not(bench: Bench) -> None:
    bench.load("A")
    bench.at(START, 5_000)
    slot = bench.writer.series["A"].slot
    bench.writer.frame(kline("A", START, closed=False, event_ms=START * MINUTE + 4_000, revision=2))
    bench.writer.frame(kline("A", START, closed=False, event_ms=START * MINUTE + 3_000, revision=1))
    bench.writer.frame(kline("A", START - 1, closed=False, event_ms=START * MINUTE + 4_500))
    with StoreReader.attach(bench.name, directory=bench.directory) as reader:
        found = reader.read_forming(slot)
        assert found is not None
        assert found[0] == START
        np.testing.assert_array_equal(found[1], truth("A", START, 2))
    bench.check("A", START - 20, START)
    assert bench.writer.counts.stale_frames == 1


@pytest.mark.parametrize("closed", [True, False])
def test_a_bar_of_the_future_is_refused_and_told(bench: Bench, closed: bool) -> None:
    bench.load("A")
    bench.at(START, 5_000)
    bench.writer.frame(kline("A", START if closed else START + 1, closed=closed))
    assert (bench.early, bench.writer.counts.early_frames) == (1, 1)
    bench.check("A", START - 20, START)


def test_a_closing_frame_from_before_the_close_is_none(bench: Bench) -> None:
    bench.load("A")
    bench.at(START + 1)
    bench.writer.frame(kline("A", START, event_ms=(START + 1) * MINUTE - 5_000, revision=1))
    assert bench.writer.counts.early_frames == 1
    bench.writer.frame(kline("A", START))
    bench.check("A", START - 20, START + 1)


def test_a_closing_frame_a_little_before_our_clock_is_taken(bench: Bench) -> None:
    bench.load("A")
    bench.at(START + 1, -1_500)  # our clock is behind the exchange's
    bench.writer.frame(kline("A", START))
    bench.check("A", START - 20, START + 1)


def test_one_frame_from_the_far_future_does_not_make_the_others_stale(bench: Bench) -> None:
    bench.load("A")
    bench.at(START, 5_000)
    opened = START * MINUTE
    bench.writer.frame(kline("A", START, closed=False, event_ms=4_000_000_000_000, revision=1))
    bench.writer.frame(kline("A", START, closed=False, event_ms=opened + 5_000, revision=2))
    with StoreReader.attach(bench.name, directory=bench.directory) as reader:
        found = reader.read_forming(bench.writer.series["A"].slot)
        assert found is not None
        np.testing.assert_array_equal(found[1], truth("A", START, 2))
    bench.at(START + 1)
    bench.writer.frame(kline("A", START, event_ms=4_000_000_000_000, revision=1))
    bench.writer.frame(kline("A", START))
    bench.check("A", START - 20, START + 1)
    assert (bench.writer.counts.early_frames, bench.writer.counts.stale_frames) == (2, 0)


def test_frames_of_strangers_are_counted(bench: Bench) -> None:
    bench.load("A")
    bench.writer.frame(kline("Z", START))
    assert bench.writer.counts.foreign_frames == 1


# -------------------------------------------------------------------------------- settling, corrections


def test_settling_publishes_what_is_missing_as_pending_and_names_it(bench: Bench) -> None:
    bench.load("A", "B", "C")
    bench.at(START + 1)
    bench.writer.frame(kline("A", START))
    assert bench.writer.settle(START) == ["B", "C"]
    assert bench.store.complete_g == START
    assert [bench.status(name, START) for name in "ABC"] == [BAR, PENDING, PENDING]
    assert bench.writer.missing("B", START + 1) == [START]
    bench.writer.frame(kline("B", START))
    bench.writer.answer("C", answer("C", START, 1), bench.clock.now_ms())
    for name in "ABC":
        bench.check(name, START - 20, START + 1)
        assert bench.writer.missing(name, START + 1) == []
    counts = bench.writer.counts.take()
    assert (counts["pending_bars"], counts["late_fills"], counts["corrections"]) == (2, 2, 2)
    assert bench.completed == [START - 1, START], "readers wake once per run_time"


def test_settling_keeps_what_waits_behind_a_hole(bench: Bench) -> None:
    bench.load("A")
    bench.at(START + 6)
    for g in (START + 1, START + 3, START + 4):
        bench.writer.frame(kline("A", g))
    bench.writer.settle(START + 5)
    found = [bench.status("A", START + i) for i in range(6)]
    assert found == [PENDING, BAR, PENDING, BAR, BAR, PENDING]
    assert bench.writer.missing("A", START + 6) == [START, START + 2, START + 5]
    assert bench.writer.target == START + 6


def test_who_had_no_frame_is_asked_for_first(bench: Bench) -> None:
    bench.load("A", "B", "C")
    bench.at(START, 30_000)
    bench.writer.frame(kline("A", START, closed=False, event_ms=START * MINUTE + 29_000))
    bench.at(START + 1)
    bench.writer.frame(kline("C", START))
    assert [series.symbol for series in bench.writer.behind(START)] == ["B", "A"]


def test_a_pending_bar_may_turn_out_absent(bench: Bench) -> None:
    bench.load("A")
    bench.at(START + 1)
    bench.writer.settle(START)
    bench.writer.answer("A", answer("A", START, 1, {START: ABSENT}), bench.clock.now_ms())
    assert bench.status("A", START) == ABSENT
    assert bench.writer.missing("A", START + 1) == []


def test_what_was_pending_and_left_the_window_is_forgotten(bench: Bench) -> None:
    bench.load("A")
    bench.at(START + WINDOW + 11)
    bench.writer.settle(START + WINDOW + 10)
    assert len(bench.writer.missing("A", START + WINDOW + 11)) == WINDOW
    assert len(bench.writer.series["A"].pending) == WINDOW


def test_the_same_bar_again_changes_nothing(bench: Bench) -> None:
    bench.load("A")
    bench.at(START + 1)
    for _ in range(3):
        bench.writer.frame(kline("A", START))
    bench.writer.answer("A", answer("A", START - 5, 6), bench.clock.now_ms())
    bench.check("A", START - 20, START + 1)
    assert bench.store.corrections == 0


def test_a_newer_report_of_a_closed_bar_is_a_counted_correction(bench: Bench) -> None:
    bench.load("A")
    bench.at(START + 1)
    close = (START + 1) * MINUTE
    bench.writer.frame(kline("A", START, event_ms=close + 100))
    bench.writer.frame(kline("A", START, event_ms=close + 150, revision=1))
    bench.check("A", START - 20, START + 1, {START: 1})
    counts = bench.writer.counts.take()
    assert (counts["revised_bars"], counts["corrections"]) == (1, 1)


def test_an_older_report_never_replaces_a_newer_one(bench: Bench) -> None:
    bench.load("A")
    bench.at(START + 1)
    close = (START + 1) * MINUTE
    bench.writer.frame(kline("A", START, event_ms=close + 150))
    bench.writer.frame(kline("A", START, event_ms=close + 100, revision=1))
    bench.check("A", START - 20, START + 1)
    assert bench.store.corrections == 0
    # it is doubtful now: REST decides, once
    assert bench.writer.missing("A", START + 1) == [START]
    bench.writer.answer("A", answer("A", START, 1), bench.clock.now_ms())
    bench.writer.decided("A", [START])
    assert bench.writer.missing("A", START + 1) == []
    bench.check("A", START - 20, START + 1)


def test_rest_from_before_a_frame_does_not_replace_it(bench: Bench) -> None:
    bench.load("A")
    bench.at(START + 1)
    bench.writer.frame(kline("A", START, event_ms=(START + 1) * MINUTE + 100, revision=1))
    bench.writer.answer("A", answer("A", START, 1), stamp_ms=(START + 1) * MINUTE + 50)
    bench.check("A", START - 20, START + 1, {START: 1})
    bench.writer.answer("A", answer("A", START, 1), stamp_ms=(START + 1) * MINUTE + 5_000)
    bench.check("A", START - 20, START + 1)


def test_an_old_frame_never_revises_history(bench: Bench) -> None:
    bench.load("A", n=40)
    bench.writer.frame(kline("A", START - 30, revision=1, event_ms=START * MINUTE))
    bench.check("A", START - 40, START)
    bench.writer.answer("A", answer("A", START - 30, 1), START * MINUTE)
    assert bench.store.corrections == 0


def test_rest_losing_a_bar_loses_nothing_here(bench: Bench) -> None:
    bench.load("A")
    bench.at(START + 1)
    bench.writer.frame(kline("A", START))
    bench.writer.answer("A", answer("A", START, 1, {START: ABSENT}), START * MINUTE + 10 * MINUTE)
    bench.check("A", START - 20, START + 1)


@pytest.mark.parametrize("frame_first", [True, False])
def test_rest_losing_a_bar_that_waits_loses_nothing_here(bench: Bench, frame_first: bool) -> None:
    """A bar that a frame told waits for the one before it; an answer of later lacks it."""
    bench.load("A")
    bench.at(START + 5)
    word = answer("A", START, 2, {START: UNKNOWN, START + 1: ABSENT})
    if frame_first:
        bench.writer.frame(kline("A", START + 1))
    bench.writer.answer("A", word, bench.clock.now_ms())
    if not frame_first:
        bench.writer.frame(kline("A", START + 1))
    bench.writer.frame(kline("A", START))
    bench.check("A", START - 20, START + 2)


def test_bars_that_left_the_window_are_left_alone(bench: Bench) -> None:
    bench.load("A")
    bench.at(START + WINDOW + 6)
    for g in range(START, START + WINDOW + 5):
        bench.writer.frame(kline("A", g))
    bench.writer.frame(kline("A", START - 10, revision=1))
    bench.writer.answer("A", answer("A", START - 20, 10), 1e15)
    assert bench.store.corrections == 0


# ------------------------------------------------------------------------------------------- history


def test_history_oldest_first_and_live_bars_wait_for_it(bench: Bench) -> None:
    writer = bench.writer
    writer.expect("A")
    bench.at(START + 2)
    writer.frame(kline("A", START))
    writer.answer("A", answer("A", START - 40, 20), START * MINUTE)
    writer.frame(kline("A", START + 1))
    assert bench.store.symbols == {"A": 0}
    with StoreReader.attach(bench.name, directory=bench.directory) as reader:
        assert reader.symbols() == {}
        writer.answer("A", answer("A", START - 20, 20), START * MINUTE)
        assert writer.activate("A")
        assert reader.symbols() == {"A": 0}
    bench.check("A", START - 40, START + 2)
    writer.go_live()
    assert bench.completed == [START + 1]


@pytest.mark.parametrize("newer", ["the frame", "the answer"])
def test_of_a_frame_that_waits_and_the_history_the_newer_is_believed(bench: Bench, newer: str) -> None:
    """As when the symbol is readable; an older frame that says otherwise makes the bar doubtful."""
    close = (START + 1) * MINUTE
    bench.at(START + 1, 2_000)
    bench.writer.expect("A")
    sent_ms = close + (1_200 if newer == "the frame" else 1_800)
    bench.writer.frame(kline("A", START, event_ms=close + 1_500, revision=1))
    bench.writer.answer("A", answer("A", START - 10, 11), sent_ms)
    assert bench.writer.activate("A")
    bench.writer.go_live()
    wins = newer == "the frame"
    bench.check("A", START - 10, START + 1, revisions={START: 1} if wins else {})
    assert bench.writer.missing("A", START + 1) == ([] if wins else [START])
    # the answer after: nothing to do; a frame from in between is older than what was believed
    bench.writer.frame(kline("A", START, event_ms=close + 1_300, revision=2))
    bench.check("A", START - 10, START + 1, revisions={START: 1} if wins else {})
    assert bench.writer.missing("A", START + 1) == [START]


def test_an_older_frame_that_differs_from_a_bar_that_waits_makes_it_doubtful(bench: Bench) -> None:
    bench.load("A")
    bench.at(START + 2, 1_500)
    close = (START + 2) * MINUTE
    bench.writer.answer("A", answer("A", START, 2, {START: UNKNOWN}), close + 1_100)
    bench.writer.frame(kline("A", START + 1, event_ms=close + 50))
    bench.writer.frame(kline("A", START))
    assert bench.writer.missing("A", START + 2) == [], "the same again is no reason"
    bench.at(START + 4, 1_500)
    close = (START + 4) * MINUTE
    bench.writer.answer("A", answer("A", START + 2, 2, {START + 2: UNKNOWN}), close + 1_100)
    bench.writer.frame(kline("A", START + 3, event_ms=close + 100, revision=1))
    bench.writer.frame(kline("A", START + 2))
    assert bench.writer.missing("A", START + 4) == [START + 3]
    bench.check("A", START - 10, START + 4)


@pytest.mark.parametrize("word", [UNKNOWN, ABSENT])
def test_history_that_lacks_a_bar_does_not_hide_the_frame_that_waits(bench: Bench, word: int) -> None:
    bench.writer.expect("A")
    bench.at(START + 3)
    bench.writer.frame(kline("A", START + 1))
    reply = answer("A", START - 20, 23, {START + 1: word})
    bench.writer.answer("A", reply, bench.clock.now_ms())
    assert np.isnan(reply.values[21]).all(), "the answer itself is as it was"
    assert bench.writer.activate("A")
    bench.check("A", START - 20, START + 3)
    assert bench.writer.missing("A", START + 3) == []


def test_rows_before_the_first_bar_are_not_loaded(bench: Bench) -> None:
    bench.writer.expect("A")
    missing = dict.fromkeys(range(START - 20, START - 15), ABSENT)
    bench.writer.answer("A", answer("A", START - 20, 20, missing), START * MINUTE)
    slot = bench.writer.series["A"].slot
    assert bench.store.first_g(slot) == START - 15
    assert bench.writer.activate("A")
    bench.check("A", START - 15, START)


def test_a_symbol_without_a_bar_takes_no_slot(bench: Bench) -> None:
    bench.writer.expect("A")
    bench.writer.answer("A", answer("A", START - 2, 2, dict.fromkeys((START - 2, START - 1), ABSENT)), 0.0)
    assert bench.store.symbols == {}
    assert bench.writer.missing("A", START) == []


def test_holes_in_history_are_absent_or_pending_and_mended(bench: Bench) -> None:
    bench.writer.expect("A")
    holes = {START - 10: ABSENT, START - 8: UNKNOWN, START - 1: UNKNOWN}
    bench.writer.answer("A", answer("A", START - 20, 20, holes), START * MINUTE)
    assert bench.writer.series["A"].next_g == START - 1, "what is unknown at the end is left for later"
    bench.writer.answer("A", answer("A", START - 3, 3), START * MINUTE)
    assert bench.writer.activate("A")
    assert bench.status("A", START - 10) == ABSENT
    assert bench.status("A", START - 8) == PENDING
    assert bench.writer.missing("A", START) == [START - 8]
    bench.writer.answer("A", answer("A", START - 8, 1), START * MINUTE)
    assert bench.status("A", START - 8) == BAR


def test_no_run_time_is_completed_before_history_is_there(bench: Bench) -> None:
    bench.writer.expect("A")
    bench.writer.answer("A", answer("A", START - 20, 20), START * MINUTE)
    assert bench.writer.activate("A")
    bench.at(START + 1)
    bench.writer.frame(kline("A", START))
    assert bench.completed == []
    bench.writer.go_live()
    assert bench.completed == [START]


def test_a_listing_joins_only_when_it_has_caught_up_with_the_panel(bench: Bench) -> None:
    bench.load("A")
    writer = bench.writer
    writer.expect("B")
    bench.at(START + 3)
    writer.answer("B", answer("B", START - 5, 6), START * MINUTE)
    for g in range(START, START + 3):
        writer.frame(kline("A", g))
    writer.frame(kline("B", START + 2))
    assert not writer.activate("B"), "bar START + 1 of B is missing and the panel is complete up to START + 2"
    assert writer.missing("B", START + 3) == [START + 1]
    writer.answer("B", answer("B", START + 1, 1), START * MINUTE)
    assert writer.activate("B")
    bench.check("B", START - 5, START + 3)
    bench.at(START + 4)
    writer.frame(kline("A", START + 3))
    assert bench.store.complete_g == START + 2
    writer.frame(kline("B", START + 3))
    assert bench.store.complete_g == START + 3


def test_waiting_bars_are_bounded_and_the_oldest_go(bench: Bench) -> None:
    bench.load("A")
    bench.at(START + MAX_WAITING + 50)
    for g in range(START + 1, START + MAX_WAITING + 20):
        bench.writer.frame(kline("A", g))
    waiting = bench.writer.series["A"].waiting
    assert len(waiting) == MAX_WAITING
    assert max(waiting) == START + MAX_WAITING + 19
    assert bench.writer.counts.waiting_dropped == 19 - 1 + 1


def test_a_full_store_harms_nobody(store_name: str, tmp_path: Path) -> None:
    bench = Bench(store_name, tmp_path, max_symbols=1)
    try:
        bench.load("A")
        bench.writer.expect("B")
        with pytest.raises(StoreFull):
            bench.writer.answer("B", answer("B", START - 5, 5), START * MINUTE)
        bench.writer.remove("B")
        bench.at(START + 1)
        bench.writer.frame(kline("A", START))
        assert bench.store.complete_g == START
    finally:
        bench.store.close()


# --------------------------------------------------------------------------------- delisting, restart


def test_a_delisting_does_not_hold_up_the_others(bench: Bench) -> None:
    bench.load("A", "B")
    bench.at(START + 1)
    bench.writer.frame(kline("A", START))
    assert bench.store.complete_g == START - 1
    bench.writer.remove("B")
    assert bench.store.complete_g == START
    bench.writer.frame(kline("B", START))
    bench.writer.answer("B", answer("B", START, 1), START * MINUTE)
    assert list(bench.store.symbols) == ["A"]


def test_everything_delisted_is_still_settled(bench: Bench) -> None:
    bench.load("A")
    bench.writer.remove("A")
    bench.at(START + 1)
    bench.writer.settle(START)
    assert bench.store.complete_g == START


def test_a_restart_goes_on_where_the_store_stands(bench: Bench) -> None:
    bench.load("A", "B")
    bench.at(START + 1)
    bench.writer.frame(kline("A", START))
    bench.writer.settle(START)
    bench.restart()
    assert sorted(bench.writer.resume()) == ["A", "B"]
    assert bench.writer.missing("B", START + 1) == [START], "pending bars are still asked for"
    bench.at(START + 4)
    bench.writer.frame(kline("A", START + 3))
    assert bench.writer.missing("A", START + 4) == [START + 1, START + 2]
    assert bench.writer.missing("B", START + 4) == [START, START + 1, START + 2, START + 3]
    bench.writer.answer("A", answer("A", START + 1, 2), START * MINUTE)
    bench.writer.answer("B", answer("B", START, 4), START * MINUTE)
    bench.writer.go_live()
    for name in "AB":
        bench.check(name, START - 20, START + 4)
    assert bench.store.complete_g == START + 3


def test_a_store_left_alone_for_long_is_skipped_ahead(bench: Bench) -> None:
    bench.load("A")
    bench.restart()
    bench.writer.resume()
    now = START + 10 * WINDOW
    bench.at(now)
    bench.writer.skip("A", now - WINDOW)
    assert bench.writer.missing("A", now) == list(range(now - WINDOW, now))
    bench.writer.answer("A", answer("A", now - WINDOW, WINDOW), START * MINUTE)
    bench.check("A", now - WINDOW, now)


def test_a_snapshot_counts_as_a_snapshot(bench: Bench) -> None:
    bench.writer.expect("A")
    bench.writer.answer("A", answer("A", START - 9, 9), 0.0, Origin.SNAPSHOT)
    assert bench.writer.counts.take() == {"snapshot_bars": 9}
    assert bench.writer.series["A"].state is State.LOADING


# ------------------------------------------------------------------------------------ any order at all


@pytest.mark.parametrize("seed", range(12))
def test_any_order_of_frames_answers_and_deadlines_ends_in_the_truth(
    seed: int, store_name: str, tmp_path: Path
) -> None:
    """Frames late, twice, out of order or never; answers with holes; deadlines; restarts; a listing."""
    random_ = random.Random(seed)
    bench = Bench(store_name, tmp_path)
    names = ["A", "B", "C"]
    gone: set[tuple[str, int]] = {("A", START + 7), ("C", START + 20), ("C", START + 21)}  # never existed
    try:
        bench.load(*names)
        end = START + 40
        held: list[Kline] = []
        for g in range(START, end):
            if g == START + 15:
                names.append("D")
                bench.writer.expect("D")
                bench.writer.answer("D", answer("D", g - 5, 5), START * MINUTE)
                bench.writer.activate("D")
            bench.at(g + 1)
            for name in names:
                if (name, g) in gone or random_.random() < 0.2:
                    continue
                held.append(kline(name, g))
                if random_.random() < 0.2:
                    held.append(kline(name, g))
            random_.shuffle(held)
            for _ in range(random_.randint(0, len(held))):
                bench.writer.frame(held.pop())
            if random_.random() < 0.6:
                name = random_.choice(names)
                if missing := bench.writer.missing(name, g + 1):
                    first = missing[0]
                    holes = {
                        n: ABSENT if (name, n) in gone else UNKNOWN
                        for n in range(first, g + 1)
                        if (name, n) in gone or random_.random() < 0.3
                    }
                    reply = answer(name, first, g + 1 - first, holes)
                    bench.writer.answer(name, reply, bench.clock.now_ms())
            if random_.random() < 0.5:
                bench.writer.settle(g)
            if random_.random() < 0.1:
                bench.restart()
                bench.writer.resume()
                bench.writer.go_live()
        bench.at(end)
        for name in names:
            for _ in range(2):
                if missing := bench.writer.missing(name, end):
                    holes = {n: ABSENT for n in range(missing[0], end) if (name, n) in gone}
                    bench.writer.answer(
                        name, answer(name, missing[0], end - missing[0], holes), bench.clock.now_ms()
                    )
        for name in names:
            slot = bench.writer.series[name].slot
            first = max(bench.store.first_g(slot), end - WINDOW)
            assert bench.store.count(slot) == end
            values, status = bench.store.read(slot, first, end - first)
            for i, word in enumerate(status):
                if (name, first + i) in gone:
                    assert word == ABSENT
                else:
                    assert word == BAR
                    assert tuple(values[i]) == truth(name, first + i)
            assert not bench.writer.series[name].waiting
        assert bench.store.complete_g == end - 1
        assert bench.completed == sorted(set(bench.completed)), "each run_time once, in order"
        assert bench.writer.counts.revised_bars == 0
    finally:
        bench.store.close()


# ---------------------------------------------------------------------------- columns beside the bars


class Rates:
    """A column that changes at known times, as a funding rate does."""

    columns = ("rate", "next")

    def __init__(self) -> None:
        self.times: list[int] = []

    def row(self, symbol: str, close_ms: int) -> tuple[float, ...]:
        before = [one for one in self.times if one < close_ms]
        return (float(before[-1]) if before else np.nan, float(close_ms))

    def rows(self, symbol: str, close_ms: np.ndarray) -> np.ndarray:
        return np.array([self.row(symbol, int(one)) for one in close_ms]).reshape(-1, 2)


@pytest.fixture
def beside(store_name: str, tmp_path: Path) -> Iterator[Bench]:
    found = Bench(store_name, tmp_path)
    found.store.close()
    found.spec = Spec(
        columns=(*COLUMNS, *Rates.columns),
        window=WINDOW,
        slack=20,
        max_symbols=8,
        interval_ms=MINUTE,
        source="test",
    )
    found.store = StoreWriter.open(store_name, found.spec, directory=tmp_path)
    found.writer = BarWriter(found.store, "1m", WINDOW, found.clock, Grace(15_000), extra=Rates())
    yield found
    found.store.close()


def extra_of(bench: Bench, first: int, end: int) -> np.ndarray:
    slot = bench.writer.series["AUSDT"].slot
    return bench.store.read(slot, first, end - first)[0][:, 9:]


def test_extra_columns_stand_beside_history_and_live_bars(beside: Bench) -> None:
    rates = beside.writer.extra
    assert isinstance(rates, Rates)
    rates.times = [(START - 5) * MINUTE]
    beside.writer.expect("AUSDT")
    beside.writer.answer("AUSDT", answer("AUSDT", START - 20, 20, {START - 3: ABSENT}), START * MINUTE)
    assert beside.writer.activate("AUSDT")
    beside.writer.go_live()
    beside.at(START + 1)
    beside.writer.frame(kline("AUSDT", START))
    beside.writer.frame(kline("AUSDT", START + 1, closed=False, event_ms=(START + 1) * MINUTE + 1))
    close = np.arange(START - 19, START + 2) * MINUTE
    wanted = np.column_stack((np.where(close > rates.times[0], rates.times[0], np.nan), close))
    wanted[17] = np.nan  # there is no bar
    np.testing.assert_array_equal(extra_of(beside, START - 20, START + 1), wanted)
    values, status = beside.store.read(beside.writer.series["AUSDT"].slot, START, 1)
    assert tuple(values[0, :9]) == truth("AUSDT", START)
    assert status[0] == BAR


def test_what_is_known_later_is_a_correction_and_only_where_it_differs(beside: Bench) -> None:
    rates = beside.writer.extra
    assert isinstance(rates, Rates)
    beside.load("AUSDT")
    before = beside.store.read(beside.writer.series["AUSDT"].slot, START - 20, 20)[0][:, :9]
    rates.times = [(START - 5) * MINUTE]
    assert beside.writer.renew("AUSDT", rates.times[0]) == 5
    np.testing.assert_array_equal(extra_of(beside, START - 5, START)[:, 0], rates.times[0])
    assert np.isnan(extra_of(beside, START - 20, START - 5)[:, 0]).all()
    assert beside.writer.renew("AUSDT", rates.times[0]) == 0
    assert beside.writer.renew("NOSUCH", 0) == 0
    assert beside.writer.counts.take()["corrections"] == 5
    after = beside.store.read(beside.writer.series["AUSDT"].slot, START - 20, 20)[0][:, :9]
    np.testing.assert_array_equal(before, after)


def test_a_bar_told_twice_is_no_revision_though_more_is_known_of_its_extra_columns(beside: Bench) -> None:
    rates = beside.writer.extra
    assert isinstance(rates, Rates)
    beside.load("AUSDT")
    rates.times = [(START - 5) * MINUTE]
    beside.writer.answer("AUSDT", answer("AUSDT", START - 5, 5), START * MINUTE + 5_000)
    assert beside.writer.counts.take().get("revised_bars", 0) == 0
    assert np.isnan(extra_of(beside, START - 5, START)[:, 0]).all()


def test_what_was_known_once_of_extra_columns_is_not_forgotten(beside: Bench) -> None:
    """As after a start without /fundingRate: neither by a renewal nor by a revision of the bar."""
    rates = beside.writer.extra
    assert isinstance(rates, Rates)
    rates.times = [(START - 30) * MINUTE]
    beside.load("AUSDT")
    known = extra_of(beside, START - 20, START)
    assert not np.isnan(known).any()
    rates.times = []
    assert beside.writer.renew("AUSDT", (START - 10) * MINUTE) == 0
    np.testing.assert_array_equal(extra_of(beside, START - 20, START), known)
    revised = answer("AUSDT", START - 1, 1)
    revised.values[0, 4] += 1.0
    beside.writer.answer("AUSDT", revised, START * MINUTE + 5_000)
    assert beside.writer.counts.take()["revised_bars"] == 1
    np.testing.assert_array_equal(extra_of(beside, START - 20, START), known)
