"""bmac_stream.alerts.watch: what is told of late symbols, silence and bans, once, and that it is over."""

import pytest

from bmac_stream.alerts.events import MAX_NAMES, Bar, Beat
from bmac_stream.alerts.watch import CATCH_UP_S, SILENT_S, Watch, bars_until_stale

MINUTE = 60_000


def bar(watch: Watch, *pending: str, active: int = 300) -> list[tuple[str, str]]:
    return list(watch.bar(Bar(0, active, len(pending), list(pending[:MAX_NAMES]))))


def kinds(found: list[tuple[str, str]]) -> list[str]:
    return [kind for kind, _ in found]


@pytest.mark.parametrize(
    ("interval_ms", "n"), [(1_000, 180), (MINUTE, 3), (3 * MINUTE, 1), (60 * MINUTE, 1), (7 * 86_400_000, 1)]
)
def test_how_long_a_symbol_must_be_late(interval_ms: int, n: int) -> None:
    assert bars_until_stale(interval_ms) == n
    watch = Watch(interval_ms, 0.0)
    for _ in range(n - 1):
        assert bar(watch, "A") == []
    ((kind, text),) = bar(watch, "A")
    assert kind == "stale" and text.endswith(": A")


def test_a_stale_symbol_is_told_once_and_so_is_its_return() -> None:
    watch = Watch(MINUTE, 0.0)
    for _ in range(2):
        assert bar(watch, "A", "B") == []
    assert bar(watch, "A", "B") == [("stale", "not ready for 3 run_times: A B")]
    assert bar(watch, "A", "B") == []
    assert bar(watch, "B") == [("recovery", "ready again: A")]
    assert bar(watch) == [("recovery", "ready again: B")]
    assert bar(watch) == []
    assert bar(watch, "A") == [], "the count begins anew"


def test_a_symbol_that_is_late_now_and_then_is_not_told() -> None:
    watch = Watch(MINUTE, 0.0)
    for i in range(20):
        assert bar(watch, *(["A"] if i % 3 else [])) == []


def test_a_delisted_symbol_is_not_ready_again() -> None:
    watch = Watch(MINUTE, 0.0)
    for _ in range(3):
        bar(watch, "A", "B")
    watch.gone(["A", "Z"])
    assert bar(watch, "B") == []
    assert bar(watch) == [("recovery", "ready again: B")]
    found = [bar(watch, "A") for _ in range(3)]
    assert found[-1] == [("stale", "not ready for 3 run_times: A")], "listed anew, it is told anew"


def test_half_a_market_is_told_at_once_and_not_by_name() -> None:
    watch = Watch(MINUTE, 0.0)
    names = [f"S{i}" for i in range(200)]
    assert bar(watch, *names) == [("stale", "market not ready: 200 of 300 symbols were not ready in time")]
    for _ in range(5):
        assert bar(watch, *names) == []
    found = bar(watch, "S0", "S1")
    assert kinds(found) == ["recovery", "stale"]
    assert found[0][1] == "market ready again: 298 of 300 symbols"
    assert found[1][1] == "not ready for 3 run_times: S0 S1", (
        "what stays away is told when the others are back"
    )
    assert bar(watch) == [("recovery", "ready again: S0 S1")]


def test_a_market_of_one_symbol_is_a_symbol() -> None:
    watch = Watch(MINUTE, 0.0)
    assert [bar(watch, "A", active=1) for _ in range(2)] == [[], []]
    assert kinds(bar(watch, "A", active=1)) == ["stale"]


def test_names_that_an_event_has_no_room_for_are_not_called_ready() -> None:
    watch = Watch(MINUTE, 0.0)
    names = [f"S{i}" for i in range(MAX_NAMES + 20)]
    for _ in range(3):
        found = bar(watch, *names, active=1000)
    assert kinds(found) == ["stale"]
    assert found[0][1].endswith(f"and {MAX_NAMES - 10} more")
    assert bar(watch, *reversed(names), active=1000) == [], "the other names are new, none is ready again"


def test_silence_and_its_end() -> None:
    watch = Watch(MINUTE, 100.0)
    assert list(watch.tick(100.0 + SILENT_S - 1)) == []
    ((kind, text),) = watch.tick(100.0 + SILENT_S + 1)
    assert kind == "stale" and "no sign of life" in text
    assert list(watch.tick(150.0)) == []
    assert kinds(list(watch.beat(Beat("history"), 160.0))) == ["recovery"]
    assert list(watch.tick(161.0)) == []


def test_catching_up_and_its_end() -> None:
    watch = Watch(MINUTE, 0.0)
    assert kinds(list(watch.beat(Beat("live"), 0.0))) == ["start"]
    for now in range(1, int(CATCH_UP_S) + 2):
        assert list(watch.beat(Beat("catching up"), float(now))) == []
        assert list(watch.tick(float(now))) == []
    now = CATCH_UP_S + 2.5
    watch.beat(Beat("catching up"), now)
    found = list(watch.tick(now))
    assert kinds(found) == ["stale"] and "catching up" in found[0][1]
    assert list(watch.beat(Beat("live"), now + 1)) == [("recovery", "the collector has caught up")]


def test_a_short_catch_up_is_not_told() -> None:
    watch = Watch(MINUTE, 0.0)
    list(watch.beat(Beat("live"), 0.0))
    for start in (10.0, 50.0, 90.0):
        list(watch.beat(Beat("catching up"), start))
        assert list(watch.tick(start + 20)) == [] or start + 20 - start > SILENT_S
        list(watch.beat(Beat("live"), start + 21))
    list(watch.beat(Beat("live"), 120.0))
    assert list(watch.tick(121.0)) == []


def test_bans_and_limits() -> None:
    watch = Watch(MINUTE, 0.0)
    list(watch.beat(Beat("live"), 0.0))
    found = list(watch.beat(Beat("live", blocked_s=30.0), 1.0))
    assert kinds(found) == ["ban"] and "429" in found[0][1]
    assert list(watch.beat(Beat("live", blocked_s=29.0), 2.0)) == []
    found = list(watch.beat(Beat("live", blocked_s=120.0, banned=True), 3.0))
    assert kinds(found) == ["ban"] and "418" in found[0][1] and "120 s" in found[0][1]
    assert list(watch.beat(Beat("live"), 4.0)) == [("recovery", "the exchange answers REST again")]
    assert list(watch.beat(Beat("live"), 5.0)) == []


def test_live_is_told_once() -> None:
    watch = Watch(MINUTE, 0.0)
    assert list(watch.beat(Beat("history"), 0.0)) == []
    assert list(watch.beat(Beat("live"), 1.0)) == [("start", "live")]
    assert list(watch.beat(Beat("live"), 2.0)) == []
    list(watch.beat(Beat("catching up"), 3.0))
    assert list(watch.beat(Beat("live"), 4.0)) == []


def test_lost_events_are_told() -> None:
    watch = Watch(MINUTE, 0.0)
    assert kinds(list(watch.beat(Beat("history", dropped=3), 0.0))) == ["lost"]
