"""Every close has its deadlines: REST is asked for what is missing, what does not come is pending, mute
symbols are subscribed anew."""

import asyncio
import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bmac_stream.closing import LOOKED_AT, Closer
from bmac_stream.writer import State

from .test_fetcher import Rig, rig
from .test_writer import MINUTE, START, answer, kline

__all__ = ["rig"]


@asynccontextmanager
async def closing(rig: Rig) -> AsyncIterator[Closer]:
    """A closer at work."""
    closer = Closer(rig.writer, rig.fetcher, rig.clock, rig.grace)
    work = asyncio.create_task(closer.run())
    try:
        yield closer
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


async def test_a_run_time_is_never_later_than_the_limit(rig: Rig) -> None:
    """However wrong the clock may be and however slow REST is."""
    rig.load("A", "B", "C")
    rig.clock.uncertainty_ms = 6_000.0
    rig.rest.gate.clear()
    for _ in range(20):
        rig.grace.rest(20_000.0)
    async with closing(rig):
        rig.at(START + 1, 7_400.0)
        await rig.until(lambda: rig.rest.asked)
        rig.at(START + 1, rig.grace.limit_ms - 100.0)
        await asyncio.sleep(0.1)
        assert rig.store.complete_g == START - 1
        rig.at(START + 1, rig.grace.limit_ms + 10.0)
        await rig.until(lambda: rig.store.complete_g == START)


async def test_bars_that_a_held_up_loop_missed_are_settled_together(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    rig.load("A", "B")
    async with closing(rig) as closer:
        rig.at(START + 1)
        for name in "AB":
            rig.writer.frame(kline(name, START))
        assert (rig.store.complete_g, closer.n_completed) == (START, 1)
        rig.rest.gate.clear()
        rig.at(START + 8, 10_000.0)
        await rig.until(lambda: rig.rest.asked)
        rig.at(START + 8, 15_010.0)
        await rig.until(lambda: rig.store.complete_g == START + 7)
        assert closer.n_completed == 8
        assert closer.last_complete_ms == 15_010.0
        rig.rest.gate.set()
        await rig.until(lambda: not rig.writer.missing("A", START + 8) + rig.writer.missing("B", START + 8))
    assert "7 bars at once" in caplog.text
    assert len(rig.rest.asked) == 2, "one page for each symbol"
    for name in "AB":
        rig.check(name, START - 20, START + 8)


async def test_a_hole_that_live_bars_wait_behind_is_mended_before_any_deadline(rig: Rig) -> None:
    rig.load("A")
    async with closing(rig):
        rig.at(START + 2, 100.0)
        rig.writer.frame(kline("A", START + 1))
        await rig.until(lambda: rig.store.complete_g == START + 1)
    rig.check("A", START - 20, START + 2)


async def test_a_bar_is_told_in_one_line_with_who_is_missing(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    rig.load("A", "B", "C")
    caplog.clear()
    Closer(rig.writer, rig.fetcher, rig.clock, rig.grace)
    rig.at(START + 1, 1_230.0)
    rig.writer.frame(kline("A", START))
    rig.writer.settle(START)
    (line,) = caplog.messages
    assert line == "2025-02-19 21:21:00, 1/3 symbols ready, complete after 1.23 s, pending: B C"


async def test_when_many_are_mute_a_connection_is_and_nobody_is_subscribed_anew(rig: Rig) -> None:
    rig.load("A", "B")
    again: list[str] = []
    Closer(rig.writer, rig.fetcher, rig.clock, rig.grace, resubscribe=again.extend)
    crowd = dict(rig.writer.series)
    for g in range(START, START + 4):
        rig.at(g + 1)
        rig.writer.frame(kline("A", g))
        # symbols that are settled already, without any frame
        for i in range(LOOKED_AT):
            rig.writer.series[f"X{i}"] = twin = type(crowd["A"])(f"X{i}")
            twin.state, twin.slot, twin.next_g = State.ACTIVE, crowd["B"].slot, START + 10
        rig.writer.answer("B", answer("B", g, 1), rig.clock.now_ms())
        assert rig.store.complete_g == g
    assert again == []


async def test_a_close_is_settled_at_the_deadline_and_mended_later(rig: Rig, store_name: str) -> None:
    rig.load("A", "B")
    told: list[str] = []
    closer = Closer(rig.writer, rig.fetcher, rig.clock, rig.grace, on_pending=told.extend)
    work = asyncio.create_task(closer.run())
    try:
        rig.rest.missing = {("B", START)}
        rig.at(START + 1, 100.0)
        rig.writer.frame(kline("A", START))
        await asyncio.sleep(0.1)
        assert rig.store.complete_g == START - 1, "not before the grace is over"
        rig.at(START + 1, 8_000.0)
        await rig.until(lambda: rig.rest.asked)
        assert {symbol for symbol, *_ in rig.rest.asked} == {"B"}
        rig.at(START + 1, 15_000.0)
        await rig.until(lambda: rig.store.complete_g == START)
        assert told == ["B"]
        assert rig.status("B", START) == 3
        rig.rest.missing = set()
        rig.at(START + 1, 40_000.0)
        await rig.until(lambda: rig.status("B", START) == 1)
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


async def test_nothing_is_settled_by_a_clock_that_nobody_set(rig: Rig) -> None:
    rig.load("A")
    closer = Closer(rig.writer, rig.fetcher, rig.clock, rig.grace)
    rig.clock.uncertainty_ms = math.inf
    rig.rest.ahead_ms = 60.0 * MINUTE
    rig.at(START + 60)
    work = asyncio.create_task(closer.run())
    try:
        await asyncio.sleep(0.5)
        rig.clock.time_ms += 60_000.0
        await asyncio.sleep(0.5)
        assert rig.store.complete_g == START - 1
        rig.clock.uncertainty_ms = 10.0
        await rig.until(lambda: rig.rest.asked)
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


async def test_a_mute_symbol_is_subscribed_anew(rig: Rig) -> None:
    rig.load("A", "B")
    again: list[str] = []
    Closer(rig.writer, rig.fetcher, rig.clock, rig.grace, resubscribe=again.extend)
    for g in range(START, START + 8):
        rig.at(g + 1)
        rig.writer.frame(kline("A", g))
        rig.writer.answer("B", answer("B", g, 1), rig.clock.now_ms())
        assert rig.store.complete_g == g
    assert again == ["B", "B"], "after two bars, and again after six; not at every bar"


async def test_a_symbol_whose_frames_come_late_is_not_mute(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 1s the exchange's closing frames come after REST has the bar."""
    monkeypatch.setattr("bmac_stream.closing.FRAME_LATE_MS", 2 * MINUTE)
    rig.load("A", "B", "C")
    again: list[str] = []
    Closer(rig.writer, rig.fetcher, rig.clock, rig.grace, resubscribe=again.extend)
    for g in range(START, START + 9):
        rig.at(g + 1)
        rig.writer.frame(kline("A", g))
        for name in "BC":
            rig.writer.answer(name, answer(name, g, 1), rig.clock.now_ms())
        assert rig.store.complete_g == g
        rig.writer.frame(kline("B", g, event_ms=int(rig.clock.now_ms())))
    assert again == ["C", "C"]
