"""bmac_kit.clock: run_times as BMAC has them, on the grid on which Binance closes."""

import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from bmac_stream.bar import INTERVALS_MS
from bmac_stream.bmac_kit import clock


def at(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(clock, "now_time", lambda: datetime.fromisoformat(text).astimezone(clock.HONG_KONG))


def test_now_is_hong_kongs() -> None:
    now = clock.now_time()
    assert now.utcoffset() == timedelta(hours=8)
    assert abs(now.timestamp() - time.time()) < 5
    assert str(now).endswith("+08:00")


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ("1m", "2026-11-22 12:35:00"),
        ("1T", "2026-11-22 12:35:00"),
        ("3m", "2026-11-22 12:36:00"),
        ("5m", "2026-11-22 12:35:00"),
        ("15m", "2026-11-22 12:45:00"),
        ("30m", "2026-11-22 13:00:00"),
        ("1h", "2026-11-22 13:00:00"),
        ("1H", "2026-11-22 13:00:00"),
        ("2h", "2026-11-22 14:00:00"),
        ("4h", "2026-11-22 16:00:00"),
        ("8h", "2026-11-22 16:00:00"),
        # of resampled stores: every day has the same ones
        ("10m", "2026-11-22 12:40:00"),
        ("45m", "2026-11-22 12:45:00"),
        ("90m", "2026-11-22 13:30:00"),
        ("24m", "2026-11-22 12:48:00"),
        ("3h", "2026-11-22 15:00:00"),
        # where BMAC was wrong: Hong Kong's grid has 04:00 and 16:00 UTC
        ("6h", "2026-11-22 18:00:00"),
        ("12h", "2026-11-23 00:00:00"),
        # and what it refused
        ("24h", "2026-11-23 00:00:00"),
        ("1d", "2026-11-23 00:00:00"),
        ("1w", "2026-11-23 00:00:00"),  # a Monday
    ],
)
def test_the_next_run_time_is_binances(monkeypatch: pytest.MonkeyPatch, interval: str, expected: str) -> None:
    at(monkeypatch, "2026-11-22 12:34:56.789+00:00")
    found = clock.next_run_time(interval)
    assert found == datetime.fromisoformat(expected).replace(tzinfo=UTC)
    assert found.utcoffset() == timedelta(hours=8)


def test_the_next_run_time_is_strictly_later(monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, "2026-11-22 12:35:00+00:00")
    assert clock.next_run_time("5m") == datetime(2026, 11, 22, 12, 40, tzinfo=UTC)


def test_bars_with_an_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, "2026-11-22 12:34:00+00:00")
    assert clock.next_run_time("1h", offset_minutes=35) == datetime(2026, 11, 22, 12, 35, tzinfo=UTC)
    assert clock.next_run_time("1h", offset_minutes=30) == datetime(2026, 11, 22, 13, 30, tzinfo=UTC)
    assert clock.next_run_time("45m", offset_minutes=20) == datetime(2026, 11, 22, 13, 5, tzinfo=UTC)


@pytest.mark.parametrize("interval", INTERVALS_MS)
def test_every_interval_has_its_length(interval: str) -> None:
    assert clock.convert_interval_to_timedelta(interval) == timedelta(milliseconds=INTERVALS_MS[interval])


@pytest.mark.parametrize("interval", ["1M", "7x", "", "m", "0m", "-5m", "5 m", "1.5h"])
def test_what_is_no_interval_is_named(interval: str) -> None:
    for call in (clock.convert_interval_to_timedelta, clock.next_run_time):
        with pytest.raises(ValueError, match="found"):
            call(interval)


def test_a_run_time_may_have_any_zone() -> None:
    instant = datetime(2026, 11, 22, 12, 35, tzinfo=UTC)
    ms = int(instant.timestamp()) * 1000
    naive = instant.astimezone(clock.HONG_KONG).replace(tzinfo=None)
    for run_time in (instant, instant.astimezone(clock.HONG_KONG), naive, ms):
        assert clock.run_time_ms(run_time) == ms
    assert clock.run_time_ms(np.int64(ms)) == ms and type(clock.run_time_ms(np.int64(ms))) is int
    with pytest.raises(TypeError, match="float"):
        clock.run_time_ms(float(ms))  # type: ignore[arg-type]


def test_a_run_time_without_a_zone_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(clock, "_zone_said", False)
    for _ in range(2):
        clock.run_time_ms(datetime(2026, 11, 22, 12, 35))
    [said] = caplog.messages
    assert "2026-11-22 12:35:00 has no zone" in said and "2026-11-22 04:35:00+00:00" in said


async def test_sleep_ends_at_run_time_not_before() -> None:
    assert clock.sleep_until_run_time is clock.async_sleep_until_run_time
    run_time = clock.now_time() + timedelta(seconds=0.15)
    await clock.sleep_until_run_time(run_time)
    assert clock.now_time() >= run_time
    await clock.sleep_until_run_time(run_time - timedelta(days=1))
