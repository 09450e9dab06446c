"""bmac_stream.run_view: fits every terminal, cuts no number, and says what is dead, stalled or old."""

import io
import json
import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from rich.console import Console

from bmac_stream.client import Store, attach
from bmac_stream.config import load_config
from bmac_stream.factors import Factors
from bmac_stream.run_view import Said, View, alarms, number

from .fake_collector import FakeCollector

LINE = (
    "03-03 00:04 600 symbols in 83 us | up TADAUSDT +2.35% CRUPAUSDT +2.23% PYTHUSDT +1.82% | down BID -3.40%"
)
COLLECTOR = Said("collector", [f"{i} {LINE}" for i in range(99)], 1.0, "")
STRATEGY = Said("strategy", [f"{i} {LINE}" for i in range(99)], 2.0, "")
ENGINE = Said("engine", ["compiling kernels, once on this machine: 3 of 97"], 0.0, "")
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "DOGEUSDT", "BNBUSDT")


def view(folder: Path, rate: float = 10.0) -> View:
    path = folder / "config.json"
    text = {"exchange": "embedded", "embedded": {"rate": rate}, "interval": "1m", "trade_type": "usdt_perp"}
    path.write_text(json.dumps(text))
    return View(load_config(path)[0], path)


def drawn(shown: View, size: tuple[int, int], *parts: Any) -> list[str]:
    console = Console(
        file=io.StringIO(), width=size[0], height=size[1], force_terminal=True, color_system=None
    )
    console.print(shown.screen(console, *parts))
    return cast(io.StringIO, console.file).getvalue().splitlines()


def factors(run_time: int) -> Factors:
    values = {f"qlib158:STD_{n}": -0.00123456789 for n in range(158)}
    return cast(Factors, SimpleNamespace(
        names=tuple(values), symbols=dict.fromkeys(SYMBOLS, 0), run_time=run_time, symbol=lambda _: values,
        last=SimpleNamespace(check=lambda: None),
    ))  # fmt: skip


def market(folder: Path) -> tuple[FakeCollector, Store]:
    collector = FakeCollector.start(folder, SYMBOLS)
    g = collector.next_g
    for slot in range(len(SYMBOLS)):
        row = np.full(9, 123_456_789.0)
        row[:4] = 0.00012345 if slot else 39_739.9
        collector.append(slot, g, row)
    collector.complete(g)
    collector.next_g = g + 1
    return collector, attach("rule", directory=str(folder))


@pytest.mark.parametrize("size", [(80, 24), (60, 20), (200, 50), (40, 10)])
def test_it_fits_the_terminal_and_cuts_no_number(tmp_path: Path, size: tuple[int, int]) -> None:
    collector, store = market(tmp_path)
    shown, made = view(tmp_path), factors(store.run_time)
    with collector, store:
        for parts in (
            (None, None, COLLECTOR, None, None),
            (store, None, COLLECTOR, ENGINE, STRATEGY),
            (store, made, COLLECTOR, ENGINE, STRATEGY),
            (store, made, COLLECTOR, ENGINE._replace(ended="was killed by SIGKILL"), STRATEGY),
        ):
            lines = drawn(shown, size, *parts)
            assert len(lines) < size[1] and max(map(len, lines)) <= size[0]
            text = "\n".join(lines)
            assert "…" not in text
            assert "98 03-03" in text, "the collector's newest line, at the top of its panel"
            for word in re.findall(r"[\d.,]+[kMG]", text):
                assert word == "123M", "whole or not at all"
        if size[1] > 10:
            assert "39,739.9" in text and "123M" in text
            assert "-0.001235" in text and "engine was killed by SIGKILL" in text
            for panel in ("sample strategy", "collector"):
                at = next(i for i, line in enumerate(lines) if panel in line)
                assert lines[at + 1].startswith("│ 98 "), "newest first"


def test_what_the_engine_says_until_there_are_factors(tmp_path: Path) -> None:
    collector, store = market(tmp_path)
    with collector, store:
        for made in (None, factors(0)):
            text = "\n".join(drawn(view(tmp_path), (80, 24), store, made, COLLECTOR, ENGINE, STRATEGY))
            assert "no factors yet" in text and "3 of 97" in text
        text = "\n".join(drawn(view(tmp_path), (80, 24), store, factors(60_000), COLLECTOR, ENGINE, STRATEGY))
        assert "158 factors" in text and "3 of 97" not in text


def test_the_age_of_what_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    collector, store = market(tmp_path)
    shown, now = view(tmp_path), time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)

    def head() -> str:
        lines = drawn(shown, (100, 24), store, None, COLLECTOR, ENGINE, STRATEGY)
        return next(line for line in lines if "readable" in line)

    with collector, store:
        assert "0 s ago" in head() and "silent" not in head()
        now += 17
        assert "17 s ago" in head()
        collector.heartbeat()
        collector.close_bar()
        assert "0 s ago" in head()
        beat = time.monotonic_ns()
        monkeypatch.setattr(time, "monotonic_ns", lambda: beat + 5_000_000_000)
        assert "silent for 5" in head() and not alarms(store, None, COLLECTOR, ENGINE, STRATEGY)
        monkeypatch.setattr(time, "monotonic_ns", lambda: beat + 50_000_000_000)
        (alarm,) = alarms(store, None, COLLECTOR, ENGINE, STRATEGY)
        assert "WriterStalled" in alarm.text and "silent for 5" in alarm.text


def test_a_dead_writer_and_ended_processes_are_told(tmp_path: Path) -> None:
    collector, store = market(tmp_path)
    collector.close()
    made = factors(60_000)
    made.last.check = store.check  # type: ignore[method-assign]
    assert [alarm.kind for alarm in alarms(None, made, COLLECTOR, ENGINE, STRATEGY)] == ["factors"]
    made.run_time = 0  # type: ignore[misc]
    assert not alarms(None, made, COLLECTOR, ENGINE, STRATEGY), "an engine that compiles is not stalled"
    with store:
        ended = STRATEGY._replace(ended="ended with status 1")
        text = "\n".join(drawn(view(tmp_path), (100, 30), store, None, COLLECTOR, ENGINE, ended))
        assert "WriterDead" in text and "strategy ended with status 1" in text


@pytest.mark.parametrize(("rate", "said"), [(10.0, True), (1.0, False)])
def test_a_replay_s_seconds_are_said_to_be_the_exchange_s(tmp_path: Path, rate: float, said: bool) -> None:
    text = "\n".join(drawn(view(tmp_path, rate), (80, 24), None, None, COLLECTOR, None, None))
    assert ("exchange time" in text) == said


def test_numbers() -> None:
    for value, text in (
        (0, "0"), (734, "734"), (0.125, "0.125"), (999.7, "1k"), (18_130, "18.1k"), (999_600, "1M"),
        (-1_250_000, "-1.25M"), (4.02e10, "40.2G"), (float("nan"), "-"), (1e17, "1.00e+17"),
    ):  # fmt: skip
        assert number(value) == text
