"""REST at work, against a REST client that is a list of answers: order, pauses, weight, doubt."""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bmac_stream import fetcher
from bmac_stream.backfill import ABSENT, OVERLAP, Page
from bmac_stream.binance.markets import MARKETS
from bmac_stream.binance.protocol import Klines
from bmac_stream.errors import ApiError, NetworkError
from bmac_stream.fetcher import (
    FIRST_PAUSE_MS,
    HISTORY_SHARE,
    LONGEST_FAILED_PAUSE_S,
    LONGEST_PAUSE_MS,
    Fetcher,
)
from bmac_stream.grace import Grace
from bmac_stream.writer import Origin, State
from shm import Status

from .test_writer import MINUTE, START, Bench, answer, kline, truth


class FakeGovernor:
    """Weight that is set by hand."""

    capacity, used, blocked_s = 2000, 0, 0.0


class FakeRest:
    """Answers with the truth of test_writer: every bar up to the clock, but what is taken away.

    missing    bars it does not have
    spoiled    bars whose rows break a rule
    fail       errors to raise, first ones first
    ahead_ms   how far our clock is ahead of its own
    cut        how many rows the next answers lose at the end
    empty      so many of the next answers of more than a row come without any
    waits_s    how long requests wait for weight, as they tell it
    """

    def __init__(self, bench: Bench) -> None:
        self.market = MARKETS["usdm"]
        self.governor = FakeGovernor()
        self.bench = bench
        self.asked: list[tuple[str, int, int]] = []
        self.missing: set[tuple[str, int]] = set()
        self.spoiled: set[tuple[str, int]] = set()
        self.ahead_ms = 0.0
        self.fail: list[Exception] = []
        self.cut: list[int] = []
        self.empty = 0
        self.waits_s = 0.0
        self.gate = asyncio.Event()
        self.gate.set()

    async def klines(
        self,
        symbol: str,
        interval: str,
        *,
        start_ms: int,
        end_ms: int,
        limit: int,
        bad: list[Any],
        moments: list[float] | None = None,
    ) -> Klines:
        assert interval == "1m" and limit in (1, (end_ms - start_ms) // MINUTE + 1)
        self.asked.append((symbol, start_ms // MINUTE, limit))
        await self.gate.wait()
        await asyncio.sleep(0)
        if self.waits_s and moments is not None:
            moments[0] += self.waits_s
        if self.fail:
            raise self.fail.pop(0)
        end = min(end_ms // MINUTE, int((self.bench.clock.now_ms() - self.ahead_ms) // MINUTE))
        numbers = [g for g in range(start_ms // MINUTE, end + 1) if (symbol, g) not in self.missing][:limit]
        if self.empty and limit > 1:
            self.empty -= 1
            numbers = []
        if self.cut:
            numbers = numbers[: max(0, len(numbers) - self.cut.pop(0))]
        bad.extend((g * MINUTE, "price") for g in numbers if (symbol, g) in self.spoiled)
        numbers = [g for g in numbers if (symbol, g) not in self.spoiled]
        values = np.array([truth(symbol, g) for g in numbers]).reshape(-1, 9)
        return Klines(np.array(numbers, np.int64) * MINUTE, values)


class Rig(Bench):
    """A writer, a fetcher on a fake REST client, and what was resolved."""

    def __init__(self, name: str, directory: Path) -> None:
        super().__init__(name, directory, max_symbols=4)
        self.rest: Any = FakeRest(self)
        self.resolved: list[str] = []
        self.refused: list[str] = []
        self.grace = Grace(15_000)
        self.fetcher = Fetcher(
            self.rest, self.writer, "1m", self.clock, self.grace, n_workers=2,
            on_resolved=self.resolved.append, on_refused=self.refused.append,
        )  # fmt: skip

    async def until(self, check: Any) -> None:
        async with asyncio.timeout(5):
            while not check():
                await asyncio.sleep(0.005)

    async def passing(self, check: Any) -> None:
        """As `until`, while the exchange's time goes on, a hundred times as fast as ours."""
        self.clock.rate = 100.0
        async with asyncio.timeout(5):
            while not check():
                await asyncio.sleep(0.005)
                self.clock.time_ms += 500
        self.clock.rate = 1.0


@pytest.fixture
async def rig(store_name: str, tmp_path: Path) -> AsyncIterator[Rig]:
    found = Rig(store_name, tmp_path)
    found.at(START)
    work = asyncio.create_task(found.fetcher.run())
    yield found
    work.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await work
    found.store.close()


async def test_history_is_read_and_the_symbol_becomes_readable(rig: Rig) -> None:
    rig.writer.expect("A")
    rig.fetcher.load("A")
    await rig.until(lambda: rig.resolved)
    rig.check("A", START - 50, START)
    assert rig.rest.asked == [("A", START - 50, 51)], "the forming bar proves the one before it"


async def test_a_listing_date_saves_pages_before_it(rig: Rig) -> None:
    rig.rest.missing = {("A", g) for g in range(START - 50, START - 10)}
    rig.writer.expect("A")
    rig.fetcher.load("A", (START - 10) * MINUTE)
    await rig.until(lambda: rig.resolved)
    assert rig.rest.asked == [("A", START - 10, 11)]
    rig.check("A", START - 10, START)


async def test_a_cut_page_does_not_become_a_hole(rig: Rig) -> None:
    rig.at(START + 10)
    rig.rest.cut = [20, 20]
    rig.writer.expect("A")
    rig.fetcher.load("A")
    await rig.until(lambda: rig.resolved)
    while rig.writer.missing("A", START + 10):
        rig.fetcher.repair("A")
        await asyncio.sleep(0.001)
        rig.clock.time_ms += 50
    rig.check("A", START - 40, START + 10)


async def test_an_empty_page_is_asked_for_again_before_it_is_believed(rig: Rig) -> None:
    rig.rest.cut = [100, 100]
    rig.writer.expect("A")
    rig.fetcher.load("A")
    await rig.until(lambda: rig.resolved)
    rig.check("A", START - 50, START)


async def test_where_no_listing_date_is_known_the_oldest_row_saves_empty_pages(rig: Rig) -> None:
    rig.fetcher._page_limit = 5
    rig.rest.missing = {("A", g) for g in range(START - 50, START - 8)}
    rig.writer.expect("A")
    rig.fetcher.load("A")
    await rig.until(lambda: rig.resolved)
    assert rig.rest.asked == [
        ("A", START - 50, 5), ("A", START - 50, 1), ("A", START - 8, 5), ("A", START - 3, 4)
    ]  # fmt: skip
    rig.check("A", START - 8, START)


async def test_an_empty_page_is_never_believed_against_a_row_in_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the symbol would begin with a later page, and what is before it would be lost for good."""
    monkeypatch.setattr(fetcher, "FAILED_PAUSE_S", 0.001)
    monkeypatch.setattr(fetcher, "LONGEST_FAILED_PAUSE_S", 0.002)
    rig.fetcher._page_limit = 10
    rig.rest.empty = 12
    rig.writer.expect("A")
    rig.fetcher.load("A")
    await rig.until(lambda: rig.resolved)
    assert rig.rest.empty > 0, "nobody has to wait for it"
    await rig.until(lambda: rig.writer.series["A"].state is State.ACTIVE)
    assert rig.rest.empty == 0
    rig.check("A", START - 50, START)


async def test_a_symbol_without_any_row_is_asked_for_three_times(rig: Rig) -> None:
    rig.rest.missing = {("A", g) for g in range(START - 60, START + 1)}
    rig.writer.expect("A")
    rig.fetcher.load("A")
    await rig.passing(lambda: rig.resolved)
    assert [n for _, _, n in rig.rest.asked] == [51, 1, 51, 1, 51]
    assert rig.writer.series["A"].state is State.EXPECTED


async def test_a_row_that_is_always_bad_stops_no_symbol_that_catches_up(rig: Rig) -> None:
    rig.load("A")
    rig.fetcher._page_limit = 10
    rig.rest.spoiled = {("A", START + 4)}
    rig.at(START + 40)
    rig.fetcher.load("A")
    await rig.until(lambda: rig.resolved)
    assert len(rig.rest.asked) < 12
    assert rig.status("A", START + 4) == 3, "pending, and asked for again later"
    assert rig.writer.missing("A", START + 40) == [START + 4]
    rig.rest.spoiled = set()
    rig.fetcher.repair("A")
    await rig.until(lambda: rig.status("A", START + 4) == 1)
    rig.check("A", START - 10, START + 40)


async def test_a_page_that_is_always_bad_stops_no_symbol_that_loads(rig: Rig) -> None:
    rig.fetcher._page_limit = 10
    spoiled = range(START - 36, START - 14)
    rig.rest.spoiled = {("A", g) for g in spoiled}
    rig.writer.expect("A")
    rig.fetcher.load("A")
    await rig.until(lambda: rig.resolved)
    assert len(rig.rest.asked) < 20
    assert rig.writer.missing("A", START) == list(spoiled)
    rig.rest.spoiled = set()
    rig.fetcher.repair("A")
    await rig.until(lambda: not rig.writer.missing("A", START))
    rig.check("A", START - 50, START)


async def test_an_answer_for_a_symbol_that_was_listed_anew_meanwhile_is_dropped(rig: Rig) -> None:
    rig.load("A")
    rig.at(START + 2)
    rig.rest.gate.clear()
    rig.fetcher.repair("A")
    await rig.until(lambda: rig.rest.asked)
    rig.fetcher.forget("A")
    rig.writer.remove("A")
    rig.writer.expect("A")
    rig.rest.gate.set()
    await rig.until(lambda: not rig.fetcher._repairing)
    rig.fetcher.load("A")
    await rig.until(lambda: rig.resolved)
    assert rig.store.first_g(rig.writer.series["A"].slot) == START - 48, "all of the window, not the hole"


@pytest.mark.parametrize("ahead_bars", [1, 3, 300])
async def test_with_a_clock_that_nobody_set_no_forming_row_is_taken_for_closed(
    rig: Rig, ahead_bars: int
) -> None:
    rig.load("A")
    rig.clock.uncertainty_ms = math.inf
    rig.rest.ahead_ms = ahead_bars * MINUTE
    rig.at(START + 1 + ahead_bars)
    rig.fetcher.repair("A")
    await rig.until(lambda: not rig.fetcher._repairing)
    assert rig.writer.series["A"].next_g <= START + 1
    rig.fetcher.load("A")
    await asyncio.sleep(0.25)
    assert len(rig.rest.asked) == 1, "and no history is asked for: nobody knows which bars that is"
    rig.clock.uncertainty_ms = rig.rest.ahead_ms = 0.0
    rig.at(START + 1)
    await rig.until(lambda: rig.resolved)
    rig.check("A", START - 20, START + 1)


async def test_bars_that_three_answers_lack_are_absent(rig: Rig) -> None:
    rig.rest.missing = {("A", g) for g in range(START - 9, START)}
    rig.writer.expect("A")
    rig.fetcher.load("A")
    await rig.until(lambda: rig.resolved)
    await rig.until(lambda: rig.store.count(rig.writer.series["A"].slot) >= START - 9)
    rig.at(START + 5)
    while rig.writer.missing("A", START):
        assert len(rig.rest.asked) < 5
        rig.fetcher.repair("A")
        await asyncio.sleep(0.001)
        rig.clock.time_ms += 50
    rig.check("A", START - 50, START + 5, absent=range(START - 9, START))


async def test_what_was_absent_by_its_word_alone_is_asked_for_again(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """An exchange in trouble lacks bars for minutes; what it has later is brought in, in two tries."""
    rig.writer.expect("A")
    rig.fetcher.load("A")
    await rig.until(lambda: rig.resolved)
    gone = range(START, START + 15)
    rig.rest.missing = {("A", g) for g in range(START, START + 30)}
    rig.at(START + 20)
    while rig.writer.missing("A", START + 15):
        rig.fetcher.repair("A")
        await asyncio.sleep(0.001)
        rig.clock.time_ms += 500
    assert "absent by the exchange's word" in caplog.text
    await rig.until(lambda: rig.status("A", START + 14) == int(Status.ABSENT))
    rig.check("A", START - 20, rig.store.count(rig.writer.series["A"].slot), absent=range(START, START + 30))
    n = len(rig.rest.asked)
    await asyncio.sleep(0.6)
    assert len(rig.rest.asked) == n, "not at once"
    rig.rest.missing = {("A", START + 14)}
    rig.clock.time_ms += 241_000
    await rig.until(lambda: rig.status("A", START) == int(Status.BAR))
    assert [rig.status("A", g) for g in gone] == [int(Status.BAR)] * 14 + [int(Status.ABSENT)]
    n = len(rig.rest.asked)
    rig.rest.missing = set()
    rig.clock.time_ms += 1_021_000
    await rig.until(lambda: rig.status("A", START + 14) == int(Status.BAR))
    assert not any(min(bars) <= START + 14 for bars in rig.fetcher._unproven.values())


async def deny(rig: Rig, end: int, left: Iterable[int] = ()) -> None:
    """Ask until REST's silence is believed: of A's bars below `end` only `left` are still missing."""
    while rig.writer.missing("A", end) != list(left):
        rig.fetcher.repair("A")
        await asyncio.sleep(0.001)
        rig.clock.time_ms += 500


async def test_asking_again_makes_no_other_bar_absent(rig: Rig) -> None:
    """A bar that is only pending lies between two doubtful ones, on one page: one silence is no word."""
    rig.load("A")
    rig.rest.missing = {("A", g) for g in range(START, START + 60)} - {("A", START + 2)}
    rig.rest.spoiled = {("A", START + 2)}
    rig.at(START + 20)
    await deny(rig, START + 15, left=[START + 2])
    rig.writer.settle(START + 14)
    n = len(rig.rest.asked)
    rig.rest.missing.add(("A", START + 2))
    rig.rest.missing.remove(("A", START + 4))
    rig.clock.time_ms += 241_000
    await rig.until(lambda: rig.status("A", START + 4) == int(Status.BAR))
    assert rig.rest.asked[n][1] == START, "the pending bar was on that page"
    assert rig.status("A", START + 2) == int(Status.PENDING)
    assert rig.writer.missing("A", START + 15) == [START + 2], "and it is still asked for"


@pytest.mark.parametrize("error", [ZeroDivisionError("bug"), NetworkError("down")])
async def test_what_went_wrong_in_asking_again_is_asked_again(rig: Rig, error: Exception) -> None:
    rig.load("A")
    rig.rest.missing = {("A", g) for g in range(START, START + 60)}
    rig.at(START + 10)
    await deny(rig, START + 5)
    rig.rest.fail = [error]
    rig.clock.time_ms += 241_000
    await rig.until(lambda: not rig.rest.fail)
    rig.rest.missing = set()
    rig.clock.time_ms += 241_000
    await rig.until(lambda: rig.status("A", START) == int(Status.BAR))


async def test_a_doubtful_bar_of_a_symbol_that_loads_is_not_lost(rig: Rig) -> None:
    """Bars of a symbol that no reader sees cannot be corrected: they are asked for again when one can."""
    rig.load("X")
    rig.fetcher._page_limit = 10
    rig.rest.missing = {("A", g) for g in range(START - 30, START - 5)}
    rig.rest.spoiled = {("A", g) for g in range(START - 5, START + 9)}
    rig.writer.expect("A")
    rig.fetcher.load("A")
    await rig.passing(lambda: rig.fetcher._unproven and rig.writer.series["A"].next_g == START - 5)
    rig.rest.missing = set()
    rig.clock.time_ms += 241_000
    await asyncio.sleep(0.7)
    assert rig.writer.series["A"].state is State.LOADING
    rig.rest.spoiled = set()
    await rig.until(lambda: rig.resolved)
    rig.clock.time_ms += 241_000
    await rig.until(lambda: rig.status("A", START - 30) == int(Status.BAR))
    rig.check("A", START - 50, rig.store.count(rig.writer.series["A"].slot))


async def test_a_restart_forgets_no_doubt(rig: Rig) -> None:
    rig.load("A")
    rig.rest.missing = {("A", g) for g in range(START, START + 60)}
    rig.at(START + 10)
    await deny(rig, START + 5)
    rig.restart()
    rig.writer.resume()
    fetcher = Fetcher(rig.rest, rig.writer, "1m", rig.clock, rig.grace, n_workers=1)
    rig.rest.missing = set()
    work = asyncio.create_task(fetcher.run())
    fetcher.load("A")
    rig.clock.time_ms += 241_000
    try:
        await rig.until(lambda: rig.status("A", START) == int(Status.BAR))
    finally:
        work.cancel()
    rig.check("A", START - 20, rig.store.count(rig.writer.series["A"].slot))


async def test_a_halt_costs_few_requests_of_the_second_look(rig: Rig) -> None:
    """Every bar of a halt is doubtful, minute by minute: those of some minutes are asked for at once."""
    rig.load("A")
    rig.rest.missing = {("A", g) for g in range(START, START + 90)}
    rig.writer.answer("A", answer("A", START, 30, dict.fromkeys(range(START, START + 30), ABSENT)), 0.0)
    for g in range(START, START + 30):
        rig.at(g + 3)
        rig.fetcher._ask_later(rig.writer.series["A"], {g: 0})
    asked = []
    for _ in range(2):
        rig.clock.time_ms += 1_021_000
        rig.fetcher._wake.set()
        await rig.until(lambda: all(rig.clock.time_ms < due_ms for due_ms, *_ in rig.fetcher._due))
        asked.append(len(rig.rest.asked))
    assert asked[0] <= 17 and asked[1] <= asked[0] + 2
    assert not rig.fetcher._unproven, "each was asked for twice"
    rig.check("A", START - 20, START + 30, absent=range(START, START + 30))


async def test_holes_on_two_pages_are_both_believed(rig: Rig) -> None:
    """The answer to one page says nothing of another: else neither would be asked for often enough, ever."""
    rig.load("A")
    rig.fetcher._page_limit = 10
    rig.rest.missing = {("A", START), ("A", START + 30)}
    rig.at(START + 40)
    for g in range(START + 1, START + 40):
        if g != START + 30:
            rig.writer.frame(kline("A", g))
    rig.writer.settle(START + 39)
    for _ in range(5):
        rig.fetcher.repair("A")
        await rig.until(lambda: not rig.fetcher._repairing)
        rig.clock.time_ms += 5_000
    rig.check("A", START - 10, START + 40, absent=[START, START + 30])


async def test_a_bar_that_never_comes_does_not_hold_up_those_after_it(rig: Rig) -> None:
    rig.load("A")
    rig.rest.spoiled = {("A", START)}
    rig.at(START + 1)
    rig.writer.settle(START)
    for _ in range(10):
        assert rig.fetcher.repair("A")
        await rig.until(lambda: not rig.fetcher._repairing)
        pauses = rig.fetcher._pauses["A"]
        pause, pauses.fresh = pauses.fresh, pauses.fresh._replace(until_ms=0.0)
    pauses.fresh = pause  # of five minutes by now
    rig.at(START + 3, 2_000)
    assert rig.fetcher.repair("A"), "bars that nobody has asked for are asked for at once"
    await rig.until(lambda: rig.writer.missing("A", START + 3) == [START])
    assert rig.rest.asked[-1] == ("A", START + 1, 3), "and they alone"
    await rig.until(lambda: not rig.fetcher._repairing)
    assert not rig.fetcher.repair("A"), "the one that does not come waits"


@pytest.mark.parametrize("trouble", ["a row late", "an error"])
async def test_a_fresh_bar_does_not_wait_as_long_as_one_that_never_comes(rig: Rig, trouble: str) -> None:
    rig.load("A")
    rig.rest.spoiled = {("A", START)}
    rig.at(START + 1)
    rig.writer.settle(START)

    async def ask() -> None:
        rig.fetcher.repair("A")
        await rig.until(lambda: not rig.fetcher._repairing)

    for _ in range(10):
        await ask()
        pauses = rig.fetcher._pauses["A"]
        rig.clock.time_ms = pauses.fresh.until_ms
    await ask()
    assert pauses.fresh.length_ms == LONGEST_PAUSE_MS
    for g in range(rig.writer.series["A"].next_g, rig.writer.now_g()):
        rig.writer.frame(kline("A", g))
    g = rig.writer.now_g()
    rig.at(g + 1, 1_500)  # its frame does not come
    if trouble == "an error":
        rig.rest.fail = [NetworkError("once")]
    else:
        rig.rest.cut = [5]
    close_ms = rig.clock.time_ms
    while rig.writer.missing("A", g + 1) != [START]:
        await ask()
        rig.clock.time_ms += 500
    assert rig.clock.time_ms - close_ms <= 12_000, "within the time in which a run_time waits"
    n = len(rig.rest.asked)
    for _ in range(20):
        rig.clock.time_ms += 500
        await ask()
    assert len(rig.rest.asked) == n, "the old one waits on"


async def test_bars_that_nobody_has_share_a_pause(rig: Rig) -> None:
    """Each is tried often while it is the newest; all of them together once in five minutes."""
    rig.load("A")
    rig.rest.spoiled = {("A", g) for g in range(START, START + 20)}
    for g in range(START, START + 20):
        rig.at(g + 1, 1_500)
        for _ in range(57):
            rig.fetcher.repair("A")
            await rig.until(lambda: not rig.fetcher._repairing)
            rig.clock.time_ms += 1_000
    assert len(rig.rest.asked) <= 20 * 5
    pauses = rig.fetcher._pauses["A"]
    assert pauses.old.length_ms >= 32_000
    rig.rest.spoiled = set()
    rig.clock.time_ms += 300_000
    rig.fetcher.repair("A")
    await rig.until(lambda: not rig.writer.missing("A", START + 20))
    rig.check("A", START - 20, START + 25)


async def test_a_failure_for_a_symbol_that_is_gone_leaves_nothing(rig: Rig) -> None:
    rig.load("A", "B")
    rig.at(START + 1)
    rig.rest.gate.clear()
    rig.rest.fail = [NetworkError("too late")]
    rig.fetcher.repair("B")
    await rig.until(lambda: rig.rest.asked)
    rig.fetcher.forget("B")
    rig.writer.remove("B")
    rig.rest.gate.set()
    await rig.until(lambda: not rig.fetcher._repairing)
    assert not rig.fetcher._pauses
    assert rig.fetcher.errors["NetworkError"] == 1


async def test_answers_of_one_moment_are_one_denial(rig: Rig) -> None:
    rig.load("A")
    rig.rest.missing = {("A", g) for g in range(START, START + 60)}
    rig.at(START + 20)
    for _ in range(6):
        rig.fetcher.repair("A")
        await rig.until(lambda: not rig.fetcher._repairing)
        rig.fetcher._pauses.clear()
        rig.clock.time_ms += 100
    assert rig.writer.missing("A", START + 15) == list(range(START, START + 15))
    await deny(rig, START + 15)


async def test_a_symbol_behind_the_panel_is_asked_for_less_and_less(rig: Rig) -> None:
    rig.load("A")
    rig.at(START + 1)
    rig.writer.frame(kline("A", START))
    rig.rest.missing = {("B", START)}
    rig.writer.expect("B")
    rig.fetcher.load("B")
    job = None
    for _ in range(12):
        await rig.until(lambda: rig.fetcher._history)
        (job,) = rig.fetcher._history
        job.not_before = 0.0
        n = len(rig.rest.asked)
        await rig.until(lambda n=n: len(rig.rest.asked) > n)
    await rig.until(lambda: rig.fetcher._history)
    assert job is not None and job.not_before - time.monotonic() > 4.0


async def test_waiting_for_weight_is_not_the_exchange_s_slowness(rig: Rig) -> None:
    rig.load("A")
    rig.rest.waits_s = 5.0
    before = rig.grace.settle_ms(1, 8)
    answer, sent_ms = await rig.fetcher._ask("A", Page(START - 5, 1))
    assert answer.status.tolist() == [1]
    assert rig.grace.settle_ms(1, 8) == before
    assert sent_ms == rig.clock.time_ms + 5_000, "and the answer is of after it"


async def test_who_catches_up_asks_for_the_newest_bars_that_it_has_again(rig: Rig) -> None:
    """They may have been corrected since they were saved."""
    rig.writer.expect("A")
    old = answer("A", START - 40, 40)
    old.values[-3, 4] += 1.0
    rig.writer.answer("A", old, 0.0, Origin.SNAPSHOT)
    assert rig.writer.activate("A")
    rig.at(START + 3, 2_000)
    rig.fetcher.load("A")
    await rig.until(lambda: rig.resolved)
    assert rig.rest.asked == [("A", START - OVERLAP, OVERLAP + 4)]
    rig.check("A", START - 40, START + 3)
    assert rig.writer.counts.revised_bars == 1


async def test_a_doubtful_bar_stays_so_until_rest_has_told_it(rig: Rig) -> None:
    rig.load("A")
    rig.at(START + 1)
    close = (START + 1) * MINUTE
    rig.writer.frame(kline("A", START, event_ms=close + 150, revision=1))
    rig.writer.frame(kline("A", START, event_ms=close + 100))
    rig.rest.spoiled = {("A", START)}
    rig.fetcher.repair("A")
    await rig.until(lambda: not rig.fetcher._repairing)
    assert rig.writer.missing("A", START + 1) == [START]
    rig.rest.spoiled = set()
    rig.clock.time_ms += 2_000
    rig.fetcher.repair("A")
    await rig.until(lambda: not rig.writer.missing("A", START + 1))
    rig.check("A", START - 20, START + 1)


async def test_after_a_long_outage_bars_are_soon_asked_for(rig: Rig) -> None:
    rig.load("A")
    rig.at(START + 1)
    rig.rest.fail = [NetworkError("down") for _ in range(14)]
    waits = []
    while rig.rest.fail:
        assert rig.fetcher.repair("A")
        await rig.until(lambda: not rig.fetcher._repairing)
        pauses = rig.fetcher._pauses["A"]
        waits.append(pauses.failed.until_ms - rig.clock.time_ms)
        pauses.failed = pauses.failed._replace(until_ms=0.0)
    assert 1e3 * LONGEST_FAILED_PAUSE_S / 2 <= max(waits) <= 1e3 * LONGEST_FAILED_PAUSE_S


async def test_failures_are_tried_again_and_an_unknown_symbol_holds_nobody_up(rig: Rig) -> None:
    rig.rest.fail = [NetworkError("down"), ApiError(400, -1121, "Invalid symbol.")]
    rig.writer.expect("A")
    rig.fetcher.load("A")
    await rig.until(lambda: rig.resolved == ["A"])
    assert len(rig.rest.asked) == 2
    assert rig.writer.series["A"].state is State.EXPECTED
    assert rig.fetcher.errors == {"NetworkError": 1, "ApiError": 1}


async def test_a_bug_does_not_end_the_work(rig: Rig) -> None:
    rig.rest.fail = [ZeroDivisionError("bug"), ZeroDivisionError("bug")]
    for name in "AB":
        rig.writer.expect(name)
        rig.fetcher.load(name)
    await rig.until(lambda: rig.fetcher.bugs == 2)
    rig.writer.expect("C")
    rig.fetcher.load("C")
    await rig.until(lambda: rig.resolved == ["C"])


async def test_a_job_that_failed_does_not_outlive_its_symbol(rig: Rig) -> None:
    """Listed anew meanwhile, the symbol has a job of its own; the old one stands at another page."""
    rig.fetcher._page_limit = 10
    rig.rest.missing = {("A", g) for g in range(START - 50, START - 30)}
    rig.writer.expect("A")
    rig.fetcher.load("A", (START - 30) * MINUTE)
    rig.rest.gate.clear()
    await rig.until(lambda: rig.rest.asked)
    rig.fetcher.forget("A")
    rig.writer.remove("A")
    rig.rest.fail = [NetworkError("down")]
    rig.rest.missing = set()
    rig.writer.expect("A")
    rig.rest.gate.set()
    await rig.until(lambda: not rig.rest.fail)
    await asyncio.sleep(0.3)
    assert len(rig.rest.asked) == 1, "the old job is gone"
    rig.fetcher.load("A")
    await rig.until(lambda: rig.resolved)
    rig.check("A", START - 50, START)


async def test_no_room_is_told(rig: Rig) -> None:
    for name in "ABCDE":
        rig.writer.expect(name)
        rig.fetcher.load(name)
    await rig.until(lambda: len(rig.resolved) == 5)
    assert rig.refused == ["E"]
    assert set(rig.store.symbols) == set("ABCD")


async def test_history_leaves_weight_for_repairs(rig: Rig) -> None:
    rig.load("A")
    rig.rest.governor.used = int(HISTORY_SHARE * FakeGovernor.capacity)
    rig.writer.expect("B")
    rig.fetcher.load("B")
    rig.at(START + 2)
    await asyncio.sleep(0.25)
    assert rig.rest.asked == []
    assert rig.fetcher.repair("A")
    await rig.until(lambda: not rig.writer.missing("A", START + 2))
    assert [symbol for symbol, *_ in rig.rest.asked] == ["A"]
    rig.rest.governor.used = 0
    await rig.until(lambda: rig.resolved == ["B"])


async def test_a_repair_asks_for_exactly_what_is_missing_and_one_row_more(rig: Rig) -> None:
    rig.load("A")
    rig.at(START + 6)
    rig.writer.frame(kline("A", START))
    rig.writer.frame(kline("A", START + 3))
    assert rig.fetcher.repair("A")
    assert not rig.fetcher.repair("A"), "it is being done"
    await rig.until(lambda: not rig.writer.missing("A", START + 6))
    assert rig.rest.asked == [("A", START + 1, 6)]
    rig.check("A", START - 20, START + 6)


async def test_a_request_that_frames_overtook_is_counted(rig: Rig) -> None:
    rig.load("A")
    rig.load("B")
    rig.at(START + 2)
    rig.rest.gate.clear()
    assert rig.fetcher.repair("A") and rig.fetcher.repair("B")
    await rig.until(lambda: len(rig.rest.asked) == 2)
    for g in (START, START + 1):
        rig.writer.frame(kline("A", g))
    rig.writer.frame(kline("B", START))  # one of its two bars
    rig.rest.gate.set()
    await rig.until(lambda: not rig.fetcher._repairing)
    assert (rig.fetcher.repairs, rig.fetcher.overtaken) == (2, 1)
    for symbol in "AB":
        rig.check(symbol, START - 20, START + 2)


async def test_what_the_exchange_does_not_have_is_asked_for_less_and_less(rig: Rig) -> None:
    rig.load("A")
    rig.at(START + 1)
    rig.rest.missing = {("A", START), ("A", START + 1)}
    assert rig.fetcher.repair("A")
    waits = []
    for _ in range(5):
        await rig.until(lambda: not rig.fetcher._repairing)
        waited = 0.0
        while not rig.fetcher.repair("A"):
            rig.clock.time_ms += 100
            waited += 100
        waits.append(waited)
    assert waits == [FIRST_PAUSE_MS * 2**i for i in range(5)]


async def test_a_delisted_symbol_is_forgotten(rig: Rig) -> None:
    rig.load("A")
    rig.rest.gate.clear()
    rig.writer.expect("B")
    rig.fetcher.load("B")
    rig.at(START + 1)
    rig.fetcher.repair("A")
    await rig.until(lambda: len(rig.rest.asked) == 2)
    for name in "AB":
        rig.fetcher.forget(name)
        rig.writer.remove(name)
    rig.rest.gate.set()
    await rig.until(lambda: not rig.fetcher._repairing)
    await asyncio.sleep(0.02)
    assert rig.fetcher.bugs == 0
    assert rig.store.symbols == {}
