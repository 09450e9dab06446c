"""The governor: never above its share in any minute of the exchange, in order, and obedient to bans."""

import asyncio
import json
import random
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bmac_stream.binance.weights import Governor
from bmac_stream.clock import Clock

from .virtual import FakeClock, run_virtual

MINUTE = 60_000


def _governor(clock: FakeClock, limit: int = 100, share: float = 1.0, **options: Any) -> Governor:
    return Governor(limit, share, clock, monotonic=clock.monotonic, **options)


@dataclass
class World:
    """What the exchange saw: weight by minute of its own clock."""

    clock: FakeClock
    seen: Counter[int]

    def arrive(self, weight: int) -> None:
        self.seen[int(self.clock.true_ms() // MINUTE)] += weight


@st.composite
def _cases(draw: st.DrawFn) -> dict[str, Any]:
    uncertainty = draw(st.sampled_from([0.0, 5.0, 200.0, 3_000.0]))
    return {
        "rate": draw(st.sampled_from([1.0, 60.0])),
        "limit": draw(st.integers(50, 200)),
        "share": draw(st.sampled_from([0.3, 0.5, 0.9, 1.0])),
        "uncertainty": uncertainty,
        "errors": draw(st.lists(st.floats(-uncertainty, uncertainty), min_size=1, max_size=8)),
        "start": draw(st.integers(0, MINUTE)),
        "workers": draw(st.integers(1, 6)),
        "latency_s": draw(st.sampled_from([0.001, 0.05, 0.4, 3.0])),
        "cancel": draw(st.sampled_from([0.0, 0.2])),
        "seed": draw(st.integers(0, 2**32)),
    }


async def _hammer(case: dict[str, Any]) -> tuple[Governor, World, int]:
    """Workers ask as much as they are given, while the clock is set anew and requests are cancelled."""
    rng = random.Random(case["seed"])
    clock = FakeClock(1_785_542_400_000.0 + case["start"], case["rate"])
    clock.uncertainty_ms = case["uncertainty"]
    clock.error_ms = case["errors"][0]
    world = World(clock, Counter())
    governor = _governor(clock, case["limit"], case["share"])
    loop = asyncio.get_running_loop()
    done = 0

    async def request() -> None:
        nonlocal done
        weight = rng.choice([1, 1, 2, 5])
        async with governor.request(weight):
            there, back = (rng.random() * case["latency_s"] for _ in range(2))
            loop.call_later(there, world.arrive, weight)  # on its way, whatever becomes of us
            await asyncio.sleep(there + back)
        done += 1

    async def work() -> None:
        for _ in range(25):
            if rng.random() < case["cancel"]:
                with suppress(TimeoutError):
                    async with asyncio.timeout(rng.random() * 1.5):
                        await request()
            else:
                await request()

    async def sync() -> None:
        for error in case["errors"][1:]:
            await asyncio.sleep(clock.wall_s(rng.random() * 2 * MINUTE))
            clock.error_ms = error

    syncing = asyncio.create_task(sync())
    await asyncio.gather(*(work() for _ in range(case["workers"])))
    syncing.cancel()
    await asyncio.sleep(10)
    return governor, world, done


@pytest.mark.slow
@settings(max_examples=6, deadline=None)
@given(_cases())
def test_never_above_the_share_in_any_minute_of_the_exchange(case: dict[str, Any]) -> None:
    governor, world, done = run_virtual(_hammer(case))
    assert max(world.seen.values()) <= governor.capacity == int(case["limit"] * case["share"])
    assert governor.used_total >= sum(world.seen.values())
    if not case["cancel"]:
        assert done == 25 * case["workers"]
        assert governor.used_total == sum(world.seen.values())


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("errors", "latency_s", "cancel", "start"),
    [
        ([2_500.0], 0.05, 0.0, 1_000),  # our clock runs ahead
        ([-2_500.0], 0.05, 0.0, 1_000),
        ([2_900.0, -2_900.0, 2_900.0, -2_900.0], 0.05, 0.0, 1_000),  # and jumps at every sync
        ([-2_900.0, 2_900.0, -2_900.0, 2_900.0], 0.05, 0.0, 1_000),
        ([0.0], 3.0, 0.0, 58_500),  # slow answers
        ([0.0], 3.0, 0.7, 58_500),  # requests that are given up, and arrive all the same
    ],
)
def test_known_ways_to_exceed_a_minute(
    errors: list[float], latency_s: float, cancel: float, start: int, seed: int
) -> None:
    case = {
        "rate": 1.0, "limit": 100, "share": 0.5, "uncertainty": max(map(abs, errors)), "errors": errors,
        "start": start, "workers": 6, "latency_s": latency_s, "cancel": cancel, "seed": seed,
    }  # fmt: skip
    governor, world, _ = run_virtual(_hammer(case))
    assert max(world.seen.values()) <= governor.capacity == 50


def test_a_sync_moves_the_past_along() -> None:
    """The clock was 20 s behind, more than it knew: what we spent belongs to the minute of now after all."""

    async def main() -> tuple[int, int]:
        clock = FakeClock(1_785_542_410_000.0)
        clock.error_ms = -20_000.0
        governor = _governor(clock)
        async with governor.request(50):
            pass
        await asyncio.sleep(15)
        before = governor.used
        clock.error_ms = 0.0
        return before, governor.used

    assert run_virtual(main()) == (0, 50)


def test_a_minutes_share_is_used_to_the_full() -> None:
    """The governor must not only be safe: 1000 units at 100 a minute take ten minutes, not eleven."""

    async def main() -> float:
        clock = FakeClock()
        clock.uncertainty_ms = 20.0
        governor = _governor(clock)
        started = clock.true_ms()

        async def work() -> None:
            for _ in range(100):
                async with governor.request(1):
                    await asyncio.sleep(0.05)

        await asyncio.gather(*(work() for _ in range(10)))
        return (clock.true_ms() - started) / MINUTE

    assert 9.0 <= run_virtual(main()) < 9.5


def test_first_come_first_served() -> None:
    async def main() -> list[int]:
        governor = _governor(FakeClock())
        order: list[int] = []

        async def one(number: int, weight: int) -> None:
            async with governor.request(weight):
                order.append(number)

        # The small ones behind the large one must not overtake it for ever.
        await asyncio.gather(*(one(i, 90 if i == 1 else 20) for i in range(8)))
        return order

    assert run_virtual(main()) == list(range(8))


def test_a_cancelled_waiter_takes_nothing_and_blocks_nobody() -> None:
    async def main() -> tuple[int, int]:
        governor = _governor(FakeClock())
        async with governor.request(100):
            pass
        waiters = [asyncio.create_task(governor.acquire(10)) for _ in range(5)]
        await asyncio.sleep(1)
        for waiter in waiters[:4]:
            waiter.cancel()
        governor.end(await waiters[4])
        return governor.used, governor.used_total

    assert run_virtual(main()) == (10, 110)


def test_a_failed_request_is_counted_once() -> None:
    async def main() -> int:
        governor = _governor(FakeClock())
        for _ in range(3):
            with suppress(OSError):
                async with governor.request(7):
                    raise OSError
        return governor.used

    assert run_virtual(main()) == 21


def test_what_could_never_be_granted_is_refused_at_once() -> None:
    async def main() -> None:
        governor = _governor(FakeClock(), 100, 0.5)
        with pytest.raises(ValueError, match="more than this collector may use: 50"):
            await governor.acquire(51)
        for share in (0.0, -1.0, 1.1, 0.001):
            with pytest.raises(ValueError, match="share"):
                _governor(FakeClock(), 100, share)

    run_virtual(main())


def test_others_on_the_same_address_leave_less_for_us() -> None:
    async def main() -> tuple[int, float]:
        clock = FakeClock(1_785_542_401_000.0)
        governor = _governor(clock, 100, 0.8)
        async with governor.request(10) as ticket:
            await asyncio.sleep(0.01)
            governor.observe(70, ticket)  # 60 of them are not ours
        assert governor.used_by_all == 70
        for _ in range(2):
            async with governor.request(10):
                pass
        granted = governor.used  # 30 + 60: 95 is the ceiling
        async with governor.request(10):
            pass
        return granted, clock.true_ms()

    granted, time_ms = run_virtual(main())
    assert granted == 30
    assert time_ms >= 1_785_542_460_000.0  # the fourth had to wait for the next minute


def test_a_header_of_the_minute_before_says_nothing_about_this_one() -> None:
    async def main() -> int:
        clock = FakeClock(1_785_542_459_900.0)
        governor = _governor(clock)
        async with governor.request(5) as ticket:
            await asyncio.sleep(0.2)
            governor.observe(100, ticket)
        return governor.used_by_all

    assert run_virtual(main()) == 5  # ours alone: it may have been counted in this minute


@pytest.mark.parametrize("rate", [1.0, 60.0])
def test_retry_after_is_obeyed_in_the_exchanges_time(rate: float) -> None:
    async def main() -> float:
        clock = FakeClock(rate=rate)
        governor = _governor(clock)
        started = clock.true_ms()
        governor.limited(30.0)
        assert governor.blocked_s == pytest.approx(30.0 / rate) and not governor.is_banned
        async with governor.request(1):
            return (clock.true_ms() - started) / 1e3

    assert 30.0 <= run_virtual(main()) < 30.0 + 2.0 * rate


def test_a_shorter_pause_does_not_end_a_longer_one() -> None:
    async def main() -> tuple[float, bool]:
        governor = _governor(FakeClock())
        governor.banned(300.0)
        governor.limited(5.0)
        return governor.blocked_s, governor.is_banned

    assert run_virtual(main()) == (300.0, True)


def test_absurd_deadlines_are_bounded() -> None:
    async def main() -> list[float]:
        found = []
        for seconds in (float("nan"), -5.0, 1e300, float("inf")):
            governor = _governor(FakeClock())
            governor.limited(seconds)
            found.append(governor.blocked_s)
        return found

    assert run_virtual(main()) == [60.0, 1.0, 4 * 86_400.0, 4 * 86_400.0]


def test_a_ban_survives_a_restart(tmp_path: Path) -> None:
    state = tmp_path / "ban.json"

    async def first() -> None:
        _governor(FakeClock(), name="futures", state_file=state).banned(600.0)

    async def second(name: str) -> tuple[float, bool]:
        # Exchange time is another one now, as in a replay: only the wall clock outlives a process.
        governor = _governor(FakeClock(1_600_000_000_000.0), name=name, state_file=state)
        return governor.blocked_s, governor.is_banned

    run_virtual(first())
    left, banned = run_virtual(second("futures"))
    assert banned and 595.0 < left <= 600.0
    assert run_virtual(second("spot")) == (0.0, False)
    assert [path.name for path in tmp_path.iterdir()] == ["ban.json"]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"name":"x"}', b'{"name":"x","until_s":"soon","banned":true}', b"\xff",
     b"[" * 99_999, b'{"name":"x","until_s":1e999,"banned":true}', b'{"name":"x","until_s":5,"banned":true}'],
)  # fmt: skip
def test_a_damaged_or_old_state_file_is_as_none(tmp_path: Path, content: bytes) -> None:
    state = tmp_path / "ban.json"
    state.write_bytes(content)
    assert Governor(100, 1.0, Clock(), name="x", state_file=state).blocked_s == 0.0


def test_an_unwritable_state_file_does_not_stop_anything(tmp_path: Path) -> None:
    governor = Governor(100, 1.0, Clock(), name="x", state_file=tmp_path / "nowhere" / "ban.json")
    governor.banned(120.0)
    assert 119.0 < governor.blocked_s <= 120.0


def test_a_state_file_from_the_far_future_is_not_believed(tmp_path: Path) -> None:
    state = tmp_path / "ban.json"
    state.write_text(json.dumps({"name": "x", "until_s": time.time() + 1e7, "banned": True}))
    assert Governor(100, 1.0, Clock(), name="x", state_file=state).blocked_s == 0.0


def test_a_pool_of_another_window() -> None:
    """fundingRate: 500 requests per 5 minutes."""

    async def main() -> float:
        clock = FakeClock()
        governor = _governor(clock, 500, 1.0, window_ms=300_000)
        started = clock.true_ms()
        for _ in range(501):
            async with governor.request(1):
                pass
        return (clock.true_ms() - started) / 1e3

    assert 300.0 <= run_virtual(main()) < 302.0
