"""bmac_stream.bar: names and lengths of intervals."""

import time

import pytest

from bmac_stream.bar import INTERVALS_MS, interval_name, length_ms, made_interval_ms, utc_text

MINUTE, DAY = 60_000, 86_400_000


@pytest.mark.parametrize("name", [*INTERVALS_MS, "2m", "10m", "45m", "90m", "3h", "7m", "36h"])
def test_a_length_has_one_name(name: str) -> None:
    ms = length_ms(name)
    assert ms is not None
    assert interval_name(ms) == name


@pytest.mark.parametrize(
    ("name", "one"), [("60m", "1h"), ("120m", "2h"), ("24h", "1d"), ("72h", "3d"), ("168h", "1w")]
)
def test_another_spelling_is_the_same_length(name: str, one: str) -> None:
    assert length_ms(name) == INTERVALS_MS[one]


@pytest.mark.parametrize("name", ["", "m", "0m", "-5m", "1.5h", "05m", "5 m", "5m\n", "2s", "2d", "1M", "5T"])
def test_what_is_no_length(name: str) -> None:
    assert length_ms(name) is None


def test_odd_lengths_are_named_in_ms() -> None:
    assert interval_name(250) == "250ms"
    assert interval_name(61_000) == "61000ms"


def test_all_that_divide_a_day_can_be_made_and_no_others() -> None:
    made = []
    for minutes in range(1, 3000):
        try:
            assert made_interval_ms(f"{minutes}m", MINUTE) == minutes * MINUTE
            made.append(minutes)
        except ValueError:
            continue
    assert made == [n for n in range(2, 1441) if 1440 % n == 0]
    assert len(made) == 35


@pytest.mark.parametrize(
    ("interval", "base", "says"),
    [
        ("7m", "1m", "must divide a day evenly, 7m does not; nearest: 6m and 8m"),
        ("50m", "1m", "nearest: 48m and 1h"),
        ("50m", "5m", "nearest: 45m and 1h"),
        ("10m", "3m", "must be a multiple of 3m, found 10m; nearest: 9m and 12m"),
        ("23h", "1h", "nearest: 12h and 1d"),
        ("25h", "1h", "must be at most 1d, found 25h; nearest: 1d"),
        ("1m", "1m", "must be a multiple of 1m, found 1m; nearest: 2m"),
        ("1h", "1d", "none can be made of 1d"),
        ("2d", "1m", "'2d' is no interval"),
    ],
)
def test_what_cannot_be_made_is_refused_with_the_nearest(interval: str, base: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        made_interval_ms(interval, INTERVALS_MS[base])


def test_minutes_of_seconds() -> None:
    assert made_interval_ms("1m", 1000) == MINUTE
    with pytest.raises(ValueError, match="no interval"):
        made_interval_ms("30s", 1000)


def test_a_moment_for_people_is_in_utc_whatever_the_machine_s_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Hong_Kong")
    time.tzset()
    try:
        assert utc_text(1_772_366_400_999.0) == "2026-03-01 12:00:00"
    finally:
        monkeypatch.undo()
        time.tzset()
