"""bmac_stream.console: BMAC's lines, in BMAC's order, none before its time, one summary a bar otherwise."""

import logging
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bmac_stream import console as module
from bmac_stream.closing import Completed
from bmac_stream.config import Config
from bmac_stream.console import WIDTH, Console, divider
from bmac_stream.writer import State

from .test_collector import running

T0 = 1_722_660_600_000  # 2024-08-03 12:50:00+08:00
MINUTE = 60_000


class Clock:
    """A clock that is set by hand."""

    def __init__(self, ms: float) -> None:
        self.ms = ms

    def now_ms(self) -> float:
        return self.ms


class Writer:
    """What a Console asks of a writer: four symbols, of which some are late with bar `target`."""

    def __init__(self, *late: str) -> None:
        self.live = True
        self.target = 0
        self.late = list(late)
        self.series = {name: SimpleNamespace(state=State.ACTIVE) for name in "ABCD"}

    def close_ms(self, g: int) -> int:
        return T0 + (g + 1) * MINUTE

    def behind(self, g: int) -> list[str]:
        return self.late


def made(**keys: Any) -> tuple[Console, Clock]:
    """A console as for BMAC's directory, and its clock."""
    keys = {
        "interval": "1m",
        "trade_type": "usdt_deli",
        "from_folder": True,
        "base_dir": "/home/admin/d",
    } | keys
    console, clock = Console(Config(**keys)), Clock(T0 + 30_122)
    console.follow(clock)  # type: ignore[arg-type]
    return console, clock


def done(g: int = 0, **change: Any) -> Completed:
    return Completed(g, T0 + (g + 1) * MINUTE, 1, 4, [], 0, 620.0, "D")._replace(**change)


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Any:
    """What was said since the last time."""
    caplog.set_level(logging.INFO)

    def said() -> list[str]:
        found = list(caplog.messages)
        caplog.clear()
        return found

    return said


def test_dividers_are_as_wide_as_bmacs() -> None:
    # its author's own screen
    text = "Bmac 1m usdt_deli update Runtime=2024-08-03 12:51:00+08:00"
    assert divider(text) == "====== Bmac 1m usdt_deli update Runtime=2024-08-03 12:51:00+08:00 ======"
    round_1 = "--------------- Init history round 1 2024-08-03 12:50:30 ---------------"
    assert divider("Init history round 1 2024-08-03 12:50:30", "-") == round_1
    assert len(round_1) == len(divider("x")) == WIDTH


def test_the_banner(lines: Any) -> None:
    console, _ = made(keep_symbols=["BTC"])
    console.banner()
    first, *rest = lines()
    assert re.fullmatch(r"=+ Start Bmac Stream 0\.1\.0 \d{4}-\d\d-\d\d \d\d:\d\d:\d\d =+", first)
    assert len(first) == WIDTH
    assert rest == [
        "🔵 interval=1m, type=usdt_deli, num_candles=1500, funding_rate=False, keep_symbols=['BTC']",
        "🔵 Candle data dir /home/admin/d/usdt_deli_1m, initializing",
        "🔵 Exchange info data dir /home/admin/d/exginfo_1m, initializing",
    ]


def test_the_history(lines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    console, clock = made()
    console.history(["ETHUSDT_241227", "BTCUSDT_240927"], 2)
    assert lines() == [
        "--------------- Init history round 1 2024-08-03 12:50:30 ---------------",
        "Server time: 2024-08-03 12:50:30.122000+08:00, Used weight: 2",
        "Symbol range: BTCUSDT_240927 -- ETHUSDT_241227",
    ]
    for _ in range(1000):
        console.reading(1, 1, 14)
    assert lines() == [], "now and then, not every time"
    monkeypatch.setattr(module, "ROUND_EVERY_S", 0.0)
    console._next_round = 0.0
    clock.ms += 478
    console.reading(1, 1, 20)
    console.history_over(2, 0, 25)
    assert lines() == [
        "Server time: 2024-08-03 12:50:30.600000+08:00, Used weight: 20",
        "1 finished, 1 left",
        "✅ 2 finished, 0 left",
        "✅ History initialized, Server time: 2024-08-03 12:50:30.600000+08:00, Used weight: 25",
    ]
    console.history([], 0)
    assert lines() == []
    console.history_over(3, 1, 25)
    assert lines()[0] == "🔔 3 finished, 1 left"


def test_the_groups(lines: Any) -> None:
    console, _ = made()
    console.live({3: 1, 0: 75, 1: 74})
    assert lines() == [
        "Create WS listen group 0, 75 symbols",
        "Create WS listen group 1, 74 symbols",
        "Create WS listen group 3, 1 symbols",
    ]


def test_a_period_as_bmac_said_it(lines: Any) -> None:
    console, clock = made()
    writer = Writer("A", "B", "C", "D")
    clock.ms = T0 + MINUTE - 1
    console.tick(writer)  # type: ignore[arg-type]
    assert lines() == [], "nothing before the bar has closed"
    for late, at in ((4, 46), (4, 300), (3, 1047), (3, 1300), (1, 2048)):
        clock.ms = T0 + MINUTE + at
        writer.late = list("ABCD"[:late])
        console.tick(writer)  # type: ignore[arg-type]
    clock.ms = T0 + MINUTE + 2700
    writer.target = 1
    console.completed(done(after_ms=2690.0, last_symbol="ETHUSDT_241227"))
    console.tick(writer)  # type: ignore[arg-type]
    assert lines() == [
        "====== Bmac 1m usdt_deli update Runtime=2024-08-03 12:51:00+08:00 ======",
        "2024-08-03 12:51:00.046000+08:00, 0/4 symbols ready",
        "2024-08-03 12:51:01.047000+08:00, 1/4 symbols ready",
        "2024-08-03 12:51:02.048000+08:00, 3/4 symbols ready",
        "✅ 2024-08-03 12:51:02.700000+08:00, all symbols ready, complete after 2.69 s",
        "🔵 Last updated ETHUSDT_241227 2024-08-03 12:51:02.690000+08:00",
    ]


def test_a_period_that_is_complete_before_anybody_looked(lines: Any) -> None:
    console, clock = made()
    clock.ms = T0 + MINUTE + 200
    console.completed(done(after_ms=180.0))
    assert [line.lstrip("=✅🔵 ")[:12] for line in lines()] == [
        "Bmac 1m usdt",
        "2024-08-03 1",
        "Last updated",
    ]


def test_symbols_that_are_not_ready(lines: Any) -> None:
    console, clock = made()
    clock.ms = T0 + MINUTE + 15_000
    console.completed(done(pending=["B", "C"], after_ms=15_000.0, last_symbol="", asked=2))
    assert lines()[1:] == [
        "🔔 Symbols not ready for runtime 2024-08-03 12:51:00+08:00: B C",
        "🔔 2024-08-03 12:51:15+08:00, 2/4 symbols ready, complete after 15.00 s, 2 by REST",
    ]


def test_many_names_are_not_all_said(lines: Any) -> None:
    console, _ = made()
    console.completed(done(pending=[f"S{i}" for i in range(400)], n_active=500))
    console.changed([f"S{i}USDT" for i in range(400)], [])
    assert all(len(line) < 500 for line in lines())


def test_a_collector_that_is_far_behind_says_nothing_of_the_past(lines: Any) -> None:
    console, clock = made()
    clock.ms = T0 + 10 * MINUTE
    console.tick(Writer("A"))  # type: ignore[arg-type]
    assert lines() == []
    writer = Writer("A")
    writer.live, clock.ms = False, T0 + MINUTE + 5
    console.tick(writer)  # type: ignore[arg-type]
    assert lines() == [], "nor before it is live"


def test_listings_and_delistings(caplog: pytest.LogCaptureFixture) -> None:
    console, _ = made()
    console.changed(["NEWUSDT"], ["OLDUSDT", "DEADUSDT"])
    assert caplog.messages == [
        "Remove not trading symbols {'OLDUSDT', 'DEADUSDT'}",
        "Add listening new symbols {'NEWUSDT'}",
    ]
    assert [record.alert for record in caplog.records] == ["delisting", "listing"]  # type: ignore[attr-defined]
    caplog.clear()
    plain, _ = made(from_folder=False)
    plain.changed(["NEWUSDT"], ["OLDUSDT"])
    assert caplog.messages == ["no longer collected: OLDUSDT", "newly traded: NEWUSDT"]
    assert [record.alert for record in caplog.records] == ["delisting", "listing"]  # type: ignore[attr-defined]
    caplog.clear()
    console.changed([], [])
    assert caplog.messages == []


def test_infos_and_fees(lines: Any) -> None:
    console, _ = made()
    console.infos_updated()
    console.funding_updated()
    assert lines() == [
        "✅ 2024-08-03 12:50:30.122000+08:00, Exchange infos updated",
        "✅ 2024-08-03 12:50:30.122000+08:00, Funding fees updated",
    ]


def test_the_zone_is_the_ready_files(lines: Any) -> None:
    console, _ = made(ready_timezone="UTC")
    console.infos_updated()
    assert lines() == ["✅ 2024-08-03 04:50:30.122000+00:00, Exchange infos updated"]


def test_without_bmacs_directory_it_is_one_summary_a_bar(lines: Any) -> None:
    console, clock = made(from_folder=False)
    console.banner()
    console.history(["A"], 1)
    console.reading(0, 1, 1)
    console.history_over(1, 0, 1)
    console.live({0: 4})
    console.infos_updated()
    console.funding_updated()
    clock.ms = T0 + MINUTE + 100
    console.tick(Writer("A"))  # type: ignore[arg-type]
    assert lines() == []
    console.completed(done())
    assert lines() == ["2024-08-03 04:51:00, 4/4 symbols ready, complete after 0.62 s"]


@pytest.mark.parametrize(
    ("keys", "bmac"), [({"bmac_files": False}, False), ({"bmac_files": True}, True), ({}, True)]
)
def test_bmacs_lines_go_with_bmacs_files(keys: dict[str, Any], bmac: bool) -> None:
    assert made(**keys)[0].bmac is bmac


async def test_a_collector_in_bmacs_words(
    tmp_path: Path, store_name: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "bmac_stream.collector")
    monkeypatch.setattr("bmac_stream.collector.commands", lambda config: {})
    async with running(tmp_path, store_name, bmac_files=True, exchange_info_every_sec=60) as run:
        await run.start()
        await run.live()
        await run.bars(4)
        await run.until("a reading of exchangeInfo", lambda: "Exchange infos updated" in caplog.text)
        assert await run.end() == 0
    said = caplog.messages
    runtimes = [line for line in said if "update Runtime=" in line]
    assert len(runtimes) == len(set(runtimes)) >= 4, "one divider a bar"
    assert runtimes == sorted(runtimes)
    complete = [line for line in said if "complete after" in line]
    assert len(complete) == len(runtimes)
    assert len([line for line in said if "symbols ready" in line]) <= 3 * len(runtimes)
    first = {word: next(i for i, line in enumerate(said) if word in line) for word in (
        "Start Bmac", "Init history round 1", "History initialized", "Create WS listen group 0", "Runtime="
    )}  # fmt: skip
    assert list(first.values()) == sorted(first.values()), first
    assert not any("history: " in line for line in said), "not the same twice in other words"


async def test_words_that_fail_do_not_hold_up_bars(
    tmp_path: Path, store_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, store_name) as run:
        collector = await run.start()
        await run.live()
        monkeypatch.setattr(collector.console, "completed", lambda done: 1 / 0)
        await run.bars(3)
        assert run.counts()["bugs"] >= 3
        await run.until("everything settled", run.settled)
        run.check()
