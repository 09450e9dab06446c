"""The clock follows /time, tells jumps, and does not believe /time against the frames."""

import asyncio
import time
from typing import Any

import pytest

from bmac_stream.clock import Clock
from bmac_stream.timekeeper import LEAST_PAUSE_S, Timekeeper

HOUR = 3_600_000.0


class Exchange:
    """What the REST client is to the timekeeper: /time, `offset_ms` off this machine's clock."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.offset_ms = 0.0

    def now_ms(self) -> float:
        return time.time() * 1e3 + self.offset_ms

    async def sync_clock(self, samples: int = 3) -> float:
        now = time.monotonic()
        return self.clock.sync(self.now_ms(), now, now)


def made() -> tuple[Clock, Exchange, Timekeeper]:
    clock = Clock()
    exchange = Exchange(clock)
    rest: Any = exchange
    return clock, exchange, Timekeeper(rest, clock, 60)


async def test_small_moves_are_followed_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    clock, exchange, keeper = made()
    await keeper.sync()
    exchange.offset_ms = 300.0
    assert abs(await keeper.sync() - 300.0) < 50
    assert abs(clock.now_ms() - exchange.now_ms()) < 50
    assert keeper.jumps == 0
    assert caplog.messages == []


async def test_a_jump_is_told_and_followed(caplog: pytest.LogCaptureFixture) -> None:
    clock, exchange, keeper = made()
    await keeper.sync()
    exchange.offset_ms = HOUR
    await keeper.sync()
    assert abs(clock.now_ms() - exchange.now_ms()) < 50
    assert keeper.jumps == 1
    assert "jumped by +36000" in caplog.text


async def test_a_jump_that_frames_confirm_is_followed() -> None:
    clock, exchange, keeper = made()
    await keeper.sync()
    exchange.offset_ms = -HOUR
    keeper.heard(exchange.now_ms())
    await keeper.sync()
    assert abs(clock.now_ms() - exchange.now_ms()) < 50


@pytest.mark.parametrize("offset_ms", [HOUR, -HOUR, 5_000.0, -5_000.0])
async def test_a_jump_that_frames_contradict_is_not_believed(
    offset_ms: float, caplog: pytest.LogCaptureFixture
) -> None:
    clock, exchange, keeper = made()
    await keeper.sync()
    keeper.heard(exchange.now_ms())
    exchange.offset_ms = offset_ms
    assert await keeper.sync() == 0.0
    assert abs(clock.now_ms() - time.time() * 1e3) < 50
    assert keeper.jumps == 1
    assert "not believed" in caplog.text


async def test_before_the_first_sync_a_replay_goes_by_its_frames() -> None:
    clock = Clock(rate=60.0)
    keeper = Timekeeper(Exchange(clock), clock, 60)  # type: ignore[arg-type]
    keeper.heard(1_770_000_000_000.0)
    assert abs(clock.now_ms() - 1_770_000_000_000.0) < 60_000
    assert not clock.synced
    assert clock.uncertainty_ms < 60_000


@pytest.mark.parametrize("offset_ms", [HOUR, -HOUR, 3_000.0])
async def test_before_the_first_sync_frames_set_a_clock_that_is_wrong(offset_ms: float) -> None:
    """A restart while REST is banned: what this machine's clock says may be hours off."""
    clock, exchange, keeper = made()
    exchange.offset_ms = offset_ms
    keeper.heard(exchange.now_ms() - 200.0)
    assert abs(clock.now_ms() - exchange.now_ms()) < 1_000
    assert not clock.synced
    assert clock.uncertainty_ms < 60_000


async def test_before_the_first_sync_a_clock_that_fits_the_frames_is_left_alone() -> None:
    clock, _, keeper = made()
    keeper.heard(time.time() * 1e3 - 2_000.0)
    assert abs(clock.now_ms() - time.time() * 1e3) < 50
    assert clock.uncertainty_ms < 60_000


async def test_doubts_in_crowds_do_not_make_a_storm_of_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    _, exchange, keeper = made()
    asked = 0
    pauses: list[float] = []

    async def sync_clock(samples: int = 3) -> float:
        nonlocal asked
        asked += 1
        return 0.0

    sleep = asyncio.sleep

    async def told(seconds: float) -> None:
        pauses.append(seconds)
        keeper.doubt()
        await sleep(0)

    exchange.sync_clock = sync_clock  # type: ignore[method-assign]
    monkeypatch.setattr("bmac_stream.timekeeper.asyncio.sleep", told)
    keeper.doubt()
    work = asyncio.create_task(keeper.run())
    async with asyncio.timeout(5):
        while asked < 5:
            await sleep(0)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    assert sum(pauses) >= 4 * LEAST_PAUSE_S


async def test_a_clock_that_was_never_set_is_asked_for_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, _, keeper = made()
    monkeypatch.setattr("bmac_stream.timekeeper.LEAST_PAUSE_S", 0.01)
    work = asyncio.create_task(keeper.run())
    async with asyncio.timeout(5):
        while not clock.synced:
            await asyncio.sleep(0.01)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


async def test_slow_answers_do_not_spoil_a_clock_that_is_right() -> None:
    clock, exchange, keeper = made()
    await keeper.sync()
    assert clock.uncertainty_ms < 50

    async def slow(samples: int = 3) -> float:
        now = time.monotonic()  # of 4 s nearly all on the way back
        return clock.sync(exchange.now_ms() - 3_900.0, now - 4.0, now)

    exchange.sync_clock = slow  # type: ignore[method-assign]
    assert await keeper.sync() == 0.0
    assert abs(clock.now_ms() - exchange.now_ms()) < 50
    assert clock.uncertainty_ms < 100
    for _ in range(40):  # but not for ever
        await keeper.sync()
    assert clock.uncertainty_ms > 500
    exchange.offset_ms = 5_000.0
    await keeper.sync()
    assert abs(clock.now_ms() - exchange.now_ms()) <= 2_000, "what contradicts is followed"
