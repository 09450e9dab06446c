"""The collector against an exchange on the same loop: phases, faults one at a time, ends, exit statuses."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bmac_stream import attach, recorder, snapshot
from bmac_stream import collector as collector_module
from bmac_stream.bar import N_COLUMNS, bar_number
from bmac_stream.client import SymbolRows
from bmac_stream.collector import COUNTERS, Collector, _Redact, main, spec_of
from bmac_stream.config import Config, load_config
from bmac_stream.errors import NetworkError
from bmac_stream.simulator import Simulator
from bmac_stream.simulator.generator import GeneratedMarket, GeneratorConfig
from bmac_stream.simulator.listing import delivery_ms_of
from bmac_stream.snapshot import SnapshotMeta
from bmac_stream.writer import State
from shm import Status, StoreReader, StoreWriter

from .rig import REPO, until
from .simulator.rig import new_market, small_market

MINUTE = 60_000
RATE = 240.0  # a bar of 1m lasts a quarter of a second


def config_of(folder: Path, name: str, simulator: Simulator, **keys: Any) -> Config:
    """A config for an exchange on this loop."""
    raw = {
        "interval": "1m",
        "trade_type": "usdt_perp",
        "num_candles": 60,
        "num_socket_listeners": 2,
        "candle_close_timeout_sec": 50,
        "exchange": {
            **simulator.urls("usdm"),
            "rate": RATE,
            "source": "embedded:test",
        },
        "snapshot": {"enabled": False},
        "bmac_files": False,
    } | keys
    raw["store"] = {"name": name, "directory": str(folder), "max_symbols": 32} | keys.get("store", {})
    (folder / "config.json").write_text(json.dumps(raw))
    return load_config(folder, strict=True)[0]


class Run:
    """A collector on this loop, and its exchange."""

    def __init__(self, simulator: Simulator, folder: Path, name: str, **keys: Any) -> None:
        self.simulator, self.folder, self.name = simulator, folder, name
        self.config = config_of(folder, name, simulator, **keys)
        self.task: asyncio.Task[int] | None = None

    async def start(self, **options: Any) -> Collector:
        """Start (another) collector and wait until its store is open."""
        self.collector = Collector(self.config, **options)
        self.task = asyncio.create_task(self.collector.run())
        await self.until("a writer", lambda: hasattr(self.collector, "closer"))
        return self.collector

    async def live(self) -> None:
        """Wait for the live phase."""
        await self.until("live", lambda: self.collector.writer.live)

    async def bars(self, n: int) -> None:
        """Wait for n more run_times."""
        target = self.collector.store.complete_g + n
        await self.until(f"bar {target}", lambda: self.collector.store.complete_g >= target)

    async def until(self, what: str, check: Callable[[], Any], timeout_s: float = 20.0) -> None:
        """Wait until `check` is true; AssertionError naming `what` if it never is."""
        try:
            async with asyncio.timeout(timeout_s):
                while not check():
                    assert self.task is not None
                    if self.task.done():
                        raise AssertionError(f"the collector ended before {what}: {self.task.result()}")
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"{what}: not within {timeout_s:g} s") from None

    async def end(self) -> int:
        """Stop it cleanly; its exit status."""
        assert self.task is not None
        self.collector.stopping.set()
        async with asyncio.timeout(10):
            return await self.task

    async def crash(self) -> None:
        """Stop it without any manners, as far as one process can: nothing is published any more."""
        assert self.task is not None
        for task in [*self.collector._tasks, self.task]:
            task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    def counts(self) -> dict[str, int]:
        """The store's counters, up to now."""
        self.collector._write_counters(0.0)
        return {name: self.collector.store.counter(name) for name in COUNTERS}

    def settled(self) -> bool:
        """Whether nothing that was published is pending."""
        return not any(series.pending for series in self.collector.writer.series.values())

    def check(self) -> int:
        """Compare every settled bar of every readable symbol with the exchange's record; how many."""
        store, n = self.collector.store, 0
        for series in self.collector.writer.series.values():
            if series.state is not State.ACTIVE:
                continue
            first = max(store.first_g(series.slot), series.next_g - self.config.num_candles)
            values, status = store.read(series.slot, first, series.next_g - first)
            start, end = first * MINUTE, (series.next_g - 1) * MINUTE
            rows = self.simulator.truth("usdm", series.symbol, "1m", start, end)
            wanted = {
                int(opened) // MINUTE: row for opened, row in zip(rows.open_time, rows.values, strict=True)
            }
            for i, word in enumerate(status):
                g = first + i
                if g in wanted:
                    assert (word, tuple(values[i])) == (Status.BAR, tuple(wanted[g])), (series.symbol, g)
                else:
                    assert word == Status.ABSENT, (series.symbol, g, Status(int(word)).name)
            n += len(status)
        return n

    def into_snapshot(self, change: Callable[[SymbolRows], SymbolRows] = lambda rows: rows) -> None:
        """Let the collector, which has ended, leave its bars in a snapshot only, each symbol's as `change`
        gives them."""
        with attach(self.name, directory=self.folder) as store:
            rows = [snapshot.SymbolRows(*change(one)) for one in recorder.copy_rows(store)]
            snapshot.write(self.folder / "snapshot", recorder.describe(store), rows)
        for path in list(self.folder.glob("bmac.*")):
            path.unlink()


@contextlib.asynccontextmanager
async def running(folder: Path, name: str, *, market: Any = None, **keys: Any) -> AsyncIterator[Run]:
    """An exchange with eight symbols, and a collector that is not started yet."""
    async with Simulator(market or small_market(8, 1, 1), markets=("usdm",), rate=RATE) as simulator:
        run = Run(simulator, folder, name, **keys)
        try:
            yield run
        finally:
            if run.task is not None and not run.task.done():
                await run.end()


# ------------------------------------------------------------------------------------------- phases


async def test_history_then_live_bars_all_as_the_exchange_has_them(tmp_path: Path, store_name: str) -> None:
    async with running(tmp_path, store_name) as run:
        collector = await run.start()
        assert collector.store.created
        await run.live()
        await run.bars(4)
        assert run.check() >= 8 * 60
        counts = run.counts()
        assert counts["ws_bars"] >= 8
        assert counts["bugs"] == counts["revised_bars"] == counts["bad_frames"] == 0
        with StoreReader.attach(store_name, directory=tmp_path) as reader:
            assert len(reader.symbols()) == len(collector.symbols) >= 8
            assert reader.phase == "live"
            assert reader.silence_s < 1.0
        assert await run.end() == 0
        with StoreReader.attach(store_name, directory=tmp_path) as reader:
            assert reader.phase == "closed"


async def test_history_is_asked_for_once_and_as_cheaply_as_can_be(tmp_path: Path, store_name: str) -> None:
    async with running(tmp_path, store_name, num_candles=700) as run:
        await run.start()
        await run.live()
        asked = run.simulator.exchange.stats.requests["/fapi/v1/klines"]
        assert asked <= 2 * len(run.collector.symbols) + run.collector.fetcher.repairs
        assert run.check() >= 700 * 8


async def test_a_restart_asks_only_for_what_is_missing(tmp_path: Path, store_name: str) -> None:
    async with running(tmp_path, store_name) as run:
        await run.start()
        await run.live()
        await run.bars(2)
        await run.end()
        generation = run.collector.store.spec
        before = run.simulator.exchange.stats.requests["/fapi/v1/klines"]
        await asyncio.sleep(1.2)
        collector = await run.start()
        assert not collector.store.created
        assert collector.store.spec == generation
        await run.live()
        asked = run.simulator.exchange.stats.requests["/fapi/v1/klines"] - before
        assert asked <= len(collector.symbols) + collector.fetcher.repairs
        assert run.counts()["rest_bars"] < 2 * 60 * 8, "no whole history twice"
        await run.bars(2)
        run.check()


async def test_a_start_from_a_snapshot_asks_only_for_what_is_missing(tmp_path: Path, store_name: str) -> None:
    keys = {"snapshot": {"every_bars": 1, "min_interval_sec": 0}, "num_candles": 600}
    async with running(tmp_path, store_name, **keys) as run:
        await run.start()
        await run.live()
        await run.until("a snapshot", lambda: list((tmp_path / "snapshot").glob("*.parquet")), 30)
        assert await run.end() == 0
        for path in list(tmp_path.glob("bmac.*")):  # noqa: ASYNC240  # two files
            path.unlink()
        before = run.simulator.exchange.stats.requests["/fapi/v1/klines"]
        collector = await run.start()
        assert collector.store.created
        run.simulator.fault("slow", path="klines", seconds=0.5)
        await run.until("readable before REST answers", lambda: len(collector.symbols) > 4)
        assert collector.store.complete_g < 0
        readable = [one for one in collector.writer.series.values() if one.state is State.ACTIVE]
        assert len(readable) == len(collector.symbols)
        run.simulator.clear_faults()
        await run.live()
        asked = run.simulator.exchange.stats.requests["/fapi/v1/klines"] - before
        counts = run.counts()
        assert counts["snapshot_bars"] >= 8 * 500
        assert asked <= len(collector.symbols) + collector.fetcher.repairs
        run.check()


async def test_a_snapshot_of_the_future_that_was_read_ahead_gives_way_to_an_older_one(
    tmp_path: Path, store_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is read before the exchange's time is known."""
    async with running(tmp_path, store_name, snapshot={"every_bars": 1, "min_interval_sec": 0}) as run:
        await run.start()
        await run.live()
        folder = tmp_path / "snapshot"
        await run.until("a snapshot", lambda: list(folder.glob("*.parquet")), 30)
        assert await run.end() == 0
        good = snapshot.load(snapshot.generations(folder, store_name)[0])
        later = [rows._replace(g0=rows.g0 + 10_000) for rows in good]
        bad = snapshot.write(folder, good.meta, later)
        for path in list(tmp_path.glob("bmac.*")):  # noqa: ASYNC240  # two files
            path.unlink()
        await run.start()
        await run.live()
        run.check()
        assert run.counts()["snapshot_bars"] >= 4 * 60
        assert f"snapshot not used: snapshot {bad}: its newest bar closes at" in caplog.text
        assert bad.exists(), "it is no damaged one"


async def test_a_history_that_a_shorter_window_cut_is_read_anew(
    tmp_path: Path, store_name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("bmac_stream.collector.commands", lambda config: {})  # no recorder
    async with running(tmp_path, store_name) as run:
        await run.start()
        await run.live()
        assert await run.end() == 0
        young = min(run.collector.store.symbols)

        def listed_lately(rows: SymbolRows) -> SymbolRows:
            if rows.symbol != young:
                return rows
            return rows._replace(g0=rows.g0 + 20, values=rows.values[:, 20:], status=rows.status[20:])

        run.into_snapshot(listed_lately)
        run.config = config_of(tmp_path, store_name, run.simulator, num_candles=600, snapshot={})
        collector = await run.start()
        await run.live()
        store = collector.store
        held = {name: store.count(slot) - store.first_g(slot) for name, slot in store.symbols.items()}
        assert 40 <= held.pop(young) < 60 and run.counts()["snapshot_bars"] < 60, "that is all it has"
        assert min(held.values()) >= 600
        run.check()
    assert f"60 bars a symbol, 600 are wanted: REST is asked for all of {len(held)} symbols" in caplog.text


async def test_funding_rates_of_a_snapshot_stay_while_the_exchange_does_not_tell_them(
    tmp_path: Path, store_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bmac_stream.collector.commands", lambda config: {})  # no recorder
    monkeypatch.setattr("bmac_stream.collector.FUNDING_S", 0.2)
    async with running(tmp_path, store_name, funding_rate=True, snapshot={}) as run:
        collector = await run.start()
        await run.live()
        await run.until("rates", lambda: collector.funding and collector.funding.known.is_set())
        await run.bars(1)
        slot = collector.store.symbols["BTCUSDT"]
        start = collector.store.count(slot) - 60
        told = collector.store.read(slot, start, 60)[0][:, N_COLUMNS:]
        assert not np.isnan(told).any()
        assert await run.end() == 0
        run.into_snapshot()
        run.simulator.fault("http_error", path="fundingRate", status=503)
        collector = await run.start()
        await run.live()
        assert collector.funding is not None and not collector.funding.known.is_set()
        assert collector.writer.extra is collector.funding.columns, "live bars have nothing of the file"
        slot = collector.store.symbols["BTCUSDT"]
        first = max(start, collector.store.first_g(slot))
        again = collector.store.read(slot, first, start + 60 - first)[0][:, N_COLUMNS:]
        assert len(again) > 30
        np.testing.assert_array_equal(again, told[first - start :])


async def test_symbols_become_readable_as_they_finish(tmp_path: Path, store_name: str) -> None:
    async with running(tmp_path, store_name, num_rest_fetchers=1, num_candles=1500) as run:
        collector = await run.start()
        seen = set()
        while not collector.writer.live:
            seen.add(sum(series.state is State.ACTIVE for series in collector.writer.series.values()))
            await asyncio.sleep(0.002)
        assert len(seen) > 3, seen
        assert run.collector.store.complete_g >= 0
        run.check()


async def test_a_bar_that_closes_while_history_is_read_is_not_lost(tmp_path: Path, store_name: str) -> None:
    async with running(tmp_path, store_name, num_rest_fetchers=1) as run:
        run.simulator.fault("slow", path="klines", seconds=0.2, count=8)
        await run.start()
        await run.live()
        assert run.collector.store.complete_g * MINUTE > run.simulator.exchange.start_ms
        run.check()


# ----------------------------------------------------------------------------------- faults, one by one


async def test_a_missing_closing_frame_is_repaired_in_time(tmp_path: Path, store_name: str) -> None:
    async with running(tmp_path, store_name) as run:
        await run.start()
        await run.live()
        await run.bars(1)
        before = run.counts()
        run.simulator.fault("missing_close", count=4)
        await run.bars(3)
        after = run.counts()
        assert after["repaired_bars"] - before["repaired_bars"] >= 4
        await run.until("everything settled", run.settled)
        run.check()


async def test_late_double_and_disordered_frames_change_nothing(tmp_path: Path, store_name: str) -> None:
    async with running(tmp_path, store_name) as run:
        await run.start()
        await run.live()
        run.simulator.fault("duplicate", probability=0.5)
        run.simulator.fault("out_of_order", probability=0.3)
        run.simulator.fault("late", probability=0.2, seconds=40)
        await run.bars(6)
        run.simulator.clear_faults()
        await run.bars(2)
        await run.until("everything settled", run.settled)
        run.check()
        counts = run.counts()
        assert counts["duplicate_bars"] + counts["stale_frames"] > 0
        assert counts["revised_bars"] == counts["bugs"] == 0


async def test_malformed_frames_never_reach_the_store(tmp_path: Path, store_name: str) -> None:
    async with running(tmp_path, store_name) as run:
        await run.start()
        await run.live()
        run.simulator.fault("malformed", probability=0.5)
        await run.bars(5)
        run.simulator.clear_faults()
        await run.bars(2)
        await run.until("everything settled", run.settled)
        run.check()
        counts = run.counts()
        assert counts["bad_frames"] > 0
        assert counts["bugs"] == 0


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "http_error", "status": 503},
        {"kind": "html", "status": 403},
        {"kind": "error_json", "code": -1000, "msg": "unknown"},
        {"kind": "truncated"},
        {"kind": "reset"},
        {"kind": "short_page", "rows": 3},
        {"kind": "empty_page"},
    ],
    ids=lambda fault: fault["kind"],
)
async def test_bad_answers_while_history_is_read(
    tmp_path: Path, store_name: str, fault: dict[str, Any]
) -> None:
    async with running(tmp_path, store_name) as run:
        for symbol in sorted(small_symbols(run))[:6]:
            run.simulator.fault(**fault, path="klines", symbols=[symbol], count=2)
        await run.start()
        await run.live()
        await run.bars(1)
        await run.until("everything settled", run.settled)
        assert run.collector.store.complete_g >= run.collector.writer.now_g() - 2
        assert run.check() >= 8 * 60
        assert run.counts()["bugs"] == 0
        assert all(
            run.collector.store.count(series.slot) - run.collector.store.first_g(series.slot) >= 60
            for series in run.collector.writer.series.values()
        ), "no symbol begins later than it should"


async def test_a_ban_is_obeyed_and_live_bars_go_on(tmp_path: Path, store_name: str) -> None:
    async with running(tmp_path, store_name) as run:
        await run.start()
        await run.live()
        run.simulator.fault("ban", seconds=240)
        run.simulator.fault("missing_close", count=2)
        await run.bars(2)
        assert run.collector.governor.is_banned
        asked = run.simulator.exchange.stats.requests.total()
        await run.bars(1)
        assert run.simulator.exchange.stats.requests.total() == asked, "asked during the ban"
        counts = run.counts()
        assert counts["pending_bars"] == 2, "who is missing is published as pending in time"
        await run.until("everything settled", run.settled)
        run.check()
        assert run.counts()["late_fills"] == 2


async def test_a_ban_survives_a_restart(tmp_path: Path, store_name: str) -> None:
    async with running(tmp_path, store_name) as run:
        await run.start()
        await run.live()
        run.simulator.fault("ban", seconds=12_000)
        run.simulator.fault("missing_close", count=1)
        await run.until("the ban", lambda: run.collector.governor.is_banned)
        await run.end()
        asked = run.simulator.exchange.stats.requests.total()
        collector = await run.start()
        assert collector.governor.is_banned
        # the store's own symbols go on by streams alone, without exchangeInfo and without /time
        await run.until("live bars", lambda: collector.streams.stats.klines > 20)
        assert run.simulator.exchange.stats.requests.total() == asked


async def test_a_restart_of_the_exchange(tmp_path: Path, store_name: str) -> None:
    async with running(tmp_path, store_name) as run:
        await run.start()
        await run.live()
        run.simulator.fault("restart", seconds=1.0)
        await run.bars(5)
        await run.until("everything settled", run.settled)
        await run.until("frames again", lambda: len(run.collector.streams.stats.connections) == 2)
        await run.bars(2)
        run.check()


async def test_a_clock_that_is_told_wrong_is_not_believed(
    tmp_path: Path, store_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path, store_name, clock_sync_every_sec=60) as run:
        await run.start()
        await run.live()
        await run.bars(1)
        run.simulator.fault("time_offset", offset_ms=3_600_000)
        before = run.collector.clock.now_ms() - run.simulator.exchange.now_ms()
        await run.until("the jump", lambda: run.collector.keeper.jumps >= 1, 15)
        after = run.collector.clock.now_ms() - run.simulator.exchange.now_ms()
        assert abs(after - before) < 60_000
        await run.bars(2)
        assert run.counts()["pending_bars"] == 0
        run.check()
    assert "not believed" in caplog.text


async def test_a_machine_that_slept_finds_the_time_again(
    tmp_path: Path, store_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The monotonic clock stands still meanwhile: every frame seems to be of the future."""
    monkeypatch.setattr("bmac_stream.timekeeper.LEAST_PAUSE_S", 0.2)
    async with running(tmp_path, store_name, clock_sync_every_sec=86_400) as run:
        await run.start()
        await run.live()
        await run.bars(1)
        run.collector.clock._anchor_ms -= 10 * 3_600_000.0
        await run.until("the jump", lambda: run.collector.keeper.jumps >= 1, 15)
        await run.bars(2)


# ------------------------------------------------------------------------------- listings and delistings


async def test_listings_and_delistings_need_no_restart(tmp_path: Path, store_name: str) -> None:
    async with running(tmp_path, store_name, market=new_market(8, 1, 1), exchange_info_every_sec=60) as run:
        collector = await run.start()
        await run.live()
        gone = sorted(collector.symbols)[0]
        slots = dict(collector.store.symbols)
        run.simulator.fault("listing", symbols=["NEWUSDT"], seconds=30)
        run.simulator.fault("delisting", symbols=[gone], seconds=30)
        await run.until(
            "both", lambda: "NEWUSDT" in collector.store.symbols and gone not in collector.store.symbols
        )
        await run.until("the new one", lambda: collector.writer.series["NEWUSDT"].state is State.ACTIVE)
        await run.bars(3)
        assert collector.streams.symbols == set(collector.symbols)
        now = collector.store.symbols
        assert all(now[name] == slot for name, slot in slots.items() if name != gone), "nobody moved"
        assert now["NEWUSDT"] not in slots.values()
        await run.until("everything settled", run.settled)
        run.check()
        counts = run.counts()
        assert (counts["listings"], counts["delistings"], counts["bugs"]) == (1, 1, 0)
        first = collector.store.first_g(now["NEWUSDT"]) * MINUTE
        rows = run.simulator.truth("usdm", "NEWUSDT", "1m", 0, 2**52)
        assert first == rows.open_time[0], "from its first bar on"


async def test_a_new_symbol_whose_stream_is_mute_comes_by_rest(
    tmp_path: Path, store_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, store_name, market=new_market(4, 1, 1), exchange_info_every_sec=60) as run:
        collector = await run.start()
        await run.live()
        frame, load, asked = collector.writer.frame, collector.fetcher.load, []

        def empty_at_first(symbol: str, onboard_ms: int = 0) -> None:
            if symbol == "NEWUSDT":
                asked.append(symbol)
            if asked == ["NEWUSDT"]:
                collector._on_resolved(symbol)
            else:
                load(symbol, onboard_ms)

        monkeypatch.setattr(collector.fetcher, "load", empty_at_first)
        monkeypatch.setattr(
            collector.writer, "frame", lambda kline: frame(kline) if kline.symbol != "NEWUSDT" else None
        )
        run.simulator.fault("listing", symbols=["NEWUSDT"], seconds=30)
        await run.until("the new one", lambda: "NEWUSDT" in collector.store.symbols)
        assert len(asked) == 2, "it had no bar when it was first asked for"
        await run.bars(2)
        await run.until("everything settled", run.settled)
        run.check()


async def test_a_symbol_that_is_listed_again_gets_all_of_its_history_in_a_new_slot(
    tmp_path: Path, store_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, store_name, exchange_info_every_sec=60) as run:
        collector = await run.start()
        await run.live()
        name = sorted(collector.symbols)[0]
        slot = collector.store.symbols[name]
        ask = collector._ask_universe

        async def without() -> Any:
            universe = await ask()
            del universe.symbols[name]
            return universe

        with monkeypatch.context() as hidden:
            hidden.setattr(collector, "_ask_universe", without)
            await run.until("gone", lambda: name not in collector.store.symbols)
            await run.bars(2)
        await run.until("back", lambda: name in collector.store.symbols)
        await run.until("readable", lambda: collector.writer.series[name].state is State.ACTIVE)
        await run.bars(2)
        await run.until("everything settled", run.settled)
        run.check()
        again = collector.store.symbols[name]
        assert again > slot
        held = collector.store.count(again) - collector.store.first_g(again)
        assert held >= run.config.num_candles
        assert run.counts()["revised_bars"] == 0


async def test_a_halt_of_the_market_is_not_its_end(
    tmp_path: Path, store_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path, store_name, market=new_market(8, 1, 1), exchange_info_every_sec=60) as run:
        collector = await run.start()
        await run.live()
        slots = dict(collector.store.symbols)
        run.simulator.fault("delisting", symbols=list(slots)[:-1], seconds=0)
        await run.until("the halt", lambda: "taken for a halt" in caplog.text)
        await run.bars(3)
        assert collector.store.symbols == slots
        assert run.counts()["delistings"] == 0


async def test_a_halt_of_a_few_that_are_all_is_not_their_end(
    tmp_path: Path, store_name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("bmac_stream.collector.CONFIRM_S", 0.01)
    async with running(tmp_path, store_name, market=new_market(8, 1, 1)) as run:
        keep = small_symbols(run)[:4]
        run.config = config_of(tmp_path, store_name, run.simulator, keep_symbols=keep)
        collector = await run.start()
        await run.live()
        slots = dict(collector.store.symbols)
        run.simulator.fault("delisting", symbols=keep, seconds=0)
        await run.until("the halt", lambda: not set(keep) & set(small_symbols(run)))
        universe = await collector._ask_universe()
        await collector._apply(universe)
        assert collector.store.symbols == slots
        assert "4 of 4 symbols do not trade: taken for a halt" in caplog.text
        await collector._apply(universe._replace(stopped=universe.stopped - {keep[0]}))
        assert set(collector.store.symbols) == set(keep[1:]), "what the exchange lists no more has ended"
        await collector._apply(universe._replace(symbols={keep[1]: 0}))
        assert set(collector.store.symbols) == {keep[1]}, "while others trade, the market is not halted"
        await collector._apply(universe)
        assert not collector.store.symbols, "one alone shows no halt"


async def test_a_restart_in_a_halt_goes_on_with_the_store(
    tmp_path: Path, store_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path, store_name, market=new_market(8, 1, 1)) as run:
        collector = await run.start()
        await run.live()
        slots = dict(collector.store.symbols)
        run.simulator.fault("delisting", symbols=small_symbols(run), seconds=0)
        await run.until("the halt", lambda: not small_symbols(run))
        assert await run.end() == 0
        collector = await run.start()
        await run.live()
        await run.bars(1)
        assert collector.store.symbols == slots
    assert f"none of {len(slots)} symbols of usdt_perp trades now: going on with the store's" in caplog.text


async def test_a_start_in_a_halt_waits_for_its_end(
    tmp_path: Path, store_name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    halted = True
    choose = collector_module.choose

    def chosen(*arguments: Any, **keys: Any) -> Any:
        found = choose(*arguments, **keys)
        return found._replace(symbols={}, stopped=frozenset(found.symbols)) if halted else found

    monkeypatch.setattr("bmac_stream.collector.choose", chosen)
    async with running(tmp_path, store_name) as run:
        collector = await run.start()
        await run.until("the line", lambda: "trades now: waiting for one that does" in caplog.text)
        await asyncio.sleep(0.2)
        assert not collector.writer.live
        halted = False
        await run.live()
        await run.bars(1)
        run.check()


async def test_a_quarter_s_delivery_is_no_halt(
    tmp_path: Path, store_name: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of coin_deli ends at once (9 of 18 in 2021): kept, nothing would ever be ready in time again."""
    monkeypatch.setattr("bmac_stream.collector.HALT_SYMBOLS", 1)  # there are but two of each quarter here
    start_ms = delivery_ms_of(2026, 3) - 12 * MINUTE
    market = GeneratedMarket(GeneratorConfig(n_symbols=8, n_spot=1, n_coinm=2, start_ms=start_ms))
    async with Simulator(market, markets=("usdm", "coinm"), rate=RATE) as simulator:
        exchange = {**simulator.urls("coinm"), "rate": RATE, "source": "embedded:test"}
        keys = {"trade_type": "coin_deli", "exchange": exchange, "exchange_info_every_sec": 60}
        run = Run(simulator, tmp_path, store_name, **keys)
        try:
            collector = await run.start()
            await run.live()
            ending = {name for name in collector.symbols if name.endswith("_260327")}
            others = set(collector.symbols) - ending
            assert len(ending) == 2 and others
            await run.until("the delivery", lambda: not ending & set(collector.symbols))
            await run.bars(2)
            assert others <= set(collector.store.symbols) and not ending & set(collector.store.symbols)
        finally:
            await run.end()
    assert "taken for a halt" not in caplog.text


async def test_a_store_that_is_too_small_is_told_and_the_others_go_on(
    tmp_path: Path, store_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path, store_name, store={"max_symbols": 3}) as run:
        collector = await run.start()
        await run.live()
        await run.bars(2)
        assert len(collector.store.symbols) == 3
        assert run.counts()["store_full"] == len(small_symbols(run)) - 3
        run.check()
    assert "0 of 3 slots are free" in caplog.text
    assert "raise store.max_symbols" in caplog.text


def small_symbols(run: Run) -> list[str]:
    """The USDT perpetuals that trade at the exchange."""
    now = run.simulator.exchange.now_ms()
    return [
        one.symbol
        for one in run.simulator._market.instruments("usdm")
        if one.trades_at(now) and one.contract_type_at(now) == "PERPETUAL" and one.quote == "USDT"
    ]


async def test_keep_symbols_that_do_not_exist_are_named(
    tmp_path: Path, store_name: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, store_name, keep_symbols=["BTCUSDT", "BTCUSDTT"]) as run:
        collector = await run.start()
        await run.live()
        assert set(collector.store.symbols) == {"BTCUSDT"}
        # milliseconds for each name, which live bars would wait for
        monkeypatch.setattr("difflib.get_close_matches", lambda *_, **__: pytest.fail("looked for again"))
        await collector._apply(await collector._ask_universe())
    assert "BTCUSDTT: the exchange has no such symbol; nearest: BTCUSDT" in caplog.text


async def test_fewer_keep_symbols_at_a_restart_are_no_halt(
    tmp_path: Path, store_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path, store_name) as run:
        collector = await run.start()
        await run.live()
        assert len(collector.store.symbols) > 5 + 1
        assert await run.end() == 0
        run.config = config_of(tmp_path, store_name, run.simulator, keep_symbols=["BTCUSDT"])
        collector = await run.start()
        await run.live()
        await run.bars(1)
        assert set(collector.store.symbols) == {"BTCUSDT"}
        assert collector.streams.symbols == {"BTCUSDT"}
    assert "halt" not in caplog.text


async def test_nothing_to_collect_is_an_error(
    tmp_path: Path, store_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(tmp_path, store_name, keep_symbols=["NOSUCHUSDT"]) as run:
        await run.start()
        assert run.task is not None
        assert await run.task == 2
    assert "no symbol to collect" in capsys.readouterr().err


# ------------------------------------------------------------------------------------ disks, logs, ends


async def test_an_unwritable_snapshot_folder_does_not_stop_live_bars(tmp_path: Path, store_name: str) -> None:
    (tmp_path / "file").write_text("in the way")
    async with running(tmp_path, store_name, snapshot={"directory": "file"}) as run:
        await run.start()
        await run.live()
        await run.bars(2)
        run.check()


async def test_closing_frames_wake_who_waits_for_one_symbol(
    tmp_path: Path, store_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, store_name) as run:
        collector = await run.start()
        await run.live()
        store, woken_before_complete = collector.store, []
        notify = store.notify

        def counted() -> None:
            newest = max(one.next_g - 1 for one in collector.writer.series.values())
            woken_before_complete.append(newest > store.complete_g)
            notify()

        monkeypatch.setattr(store, "notify", counted)
        # one symbol's frames stay away, so the market is complete later than the others' bars are there
        run.simulator.fault("missing_close", symbols=[next(iter(collector.symbols))])
        await run.bars(3)
    assert any(woken_before_complete), woken_before_complete


async def test_a_store_whose_file_is_removed_ends_the_collector(
    tmp_path: Path, store_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path, store_name) as run:
        collector = await run.start()
        await run.live()
        collector.store.path.unlink()
        assert run.task is not None
        async with asyncio.timeout(15):
            assert await run.task == 1
    assert "was removed" in caplog.text


async def test_a_damaged_snapshot_is_told_and_rest_has_the_bars(
    tmp_path: Path, store_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "snapshot"
    folder.mkdir()
    (folder / f"{store_name}.00000001.parquet").write_bytes(b"PAR1 this is not a snapshot PAR1")
    async with running(tmp_path, store_name, snapshot={}) as run:
        await run.start()
        await run.live()
        run.check()
    assert "snapshot not used" in caplog.text


async def test_a_snapshot_that_fits_nothing_is_a_counted_bug_and_rest_has_the_bars(
    tmp_path: Path, store_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Found:
        path = tmp_path / "snapshot.parquet"
        meta = SnapshotMeta(
            store="s", source="x", interval_ms=MINUTE, origin_ms=0, columns=("close",), window=60
        )

        def __contains__(self, symbol: str) -> bool:
            return True

        def __getitem__(self, symbol: str) -> Any:
            n = 20
            g = int(run.collector.clock.now_ms() // MINUTE) - 30
            return SymbolRows(symbol, g, np.ones((3, n)), np.ones(n, np.uint8))

    monkeypatch.setattr("bmac_stream.collector.snapshot.load_latest", lambda *_, **__: (Found(), []))
    async with running(tmp_path, store_name, snapshot={}) as run:
        await run.start()
        await run.live()
        await run.bars(1)
        run.check()
        assert run.counts()["bugs"] > 0


async def test_no_bug_stops_the_heartbeat(
    tmp_path: Path, store_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, store_name) as run:
        collector = await run.start()
        await run.live()
        beats = 0
        heartbeat, write = collector.store.heartbeat, collector._write_counters

        def counted() -> None:
            nonlocal beats
            beats += 1
            heartbeat()

        def fails(lag_s: float) -> None:
            raise ZeroDivisionError("bug")

        monkeypatch.setattr(collector.store, "heartbeat", counted)
        monkeypatch.setattr(collector, "_write_counters", fails)
        with monkeypatch.context():
            await run.until("beats", lambda: beats >= 12, 6)
        monkeypatch.setattr(collector, "_write_counters", write)
        assert run.counts()["bugs"] > 5


async def test_a_collector_that_was_held_up_says_that_it_is_catching_up(
    tmp_path: Path, store_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, store_name) as run:
        collector = await run.start()
        await run.live()
        await run.bars(1)
        assert collector._phase == "live"
        with monkeypatch.context() as held:
            held.setattr(collector.writer, "settle", lambda g: [])
            held.setattr(collector.writer, "frame", lambda kline: None)
            held.setattr(collector.fetcher, "repair", lambda symbol: False)
            with StoreReader.attach(store_name, directory=tmp_path) as reader:
                await run.until("the phase", lambda: reader.phase == "catching up")
        await run.until("live again", lambda: collector._phase == "live")


async def test_one_line_per_bar(tmp_path: Path, store_name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with running(tmp_path, store_name) as run:
        await run.start()
        await run.live()
        await run.bars(3)
        n = run.collector.closer.n_completed
        n_symbols = len(run.collector.symbols)
    lines = [line for line in caplog.messages if "symbols ready" in line]
    assert len(lines) == n
    assert f"{n_symbols}/{n_symbols} symbols ready, complete after" in lines[-1]


async def test_it_ends_by_itself_after_so_many_bars_or_seconds(tmp_path: Path, store_name: str) -> None:
    async with running(tmp_path, store_name) as run:
        await run.start(bars=3)
        assert run.task is not None
        async with asyncio.timeout(20):
            assert await run.task == 0
        assert run.collector.closer.n_completed >= 3
        await run.start(seconds=0.3)
        async with asyncio.timeout(10):
            assert await run.task == 0


async def test_a_second_collector_is_refused(
    tmp_path: Path, store_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(tmp_path, store_name) as run:
        await run.start()
        assert await Collector(run.config).run() == 3
        assert f"process {os.getpid()}" in capsys.readouterr().err
        await run.live()


async def test_another_source_is_never_mixed_in(
    tmp_path: Path, store_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(tmp_path, store_name) as run:
        foreign = StoreWriter.open(store_name, spec_of(run.config, "another"), directory=tmp_path)
        foreign.close()
        assert await Collector(run.config).run() == 1
        assert "SegmentMismatch" in capsys.readouterr().err


# ------------------------------------------------------------------------------------- as a process


def collect(*arguments: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    """The command line, as users type it."""
    return subprocess.run(
        [sys.executable, "-m", "bmac_stream.collector", *arguments],
        capture_output=True, text=True, timeout=timeout_s, cwd=REPO, check=False,
    )  # fmt: skip


def test_a_bad_config_is_status_2_without_a_traceback(tmp_path: Path) -> None:
    secret = "http://user:s3cretpass@:1"
    (tmp_path / "config.json").write_text(
        json.dumps({"interval": "7x", "trade_type": "usdt_prep", "proxy": secret})
    )
    found = collect(str(tmp_path))
    assert found.returncode == 2
    assert len(found.stderr.splitlines()) == 3
    assert "Traceback" not in found.stderr and "s3cret" not in found.stdout + found.stderr


def test_what_cannot_be_built_is_told_and_leaves_the_store_free(
    tmp_path: Path, store_name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    exchange = {"rest": "http://127.0.0.1:9", "stream": "ws://127.0.0.1:9"}
    store = {"name": store_name, "directory": str(tmp_path), "max_symbols": 4}
    raw = {
        "interval": "1m",
        "trade_type": "usdt_perp",
        "num_candles": 9,
        "exchange": exchange,
        "store": store,
    }
    (tmp_path / "config.json").write_text(json.dumps(raw))
    config = load_config(tmp_path)[0]

    def fails(*_: Any, **__: Any) -> None:
        raise NetworkError("ca_file cannot be used")

    monkeypatch.setattr("bmac_stream.binance.rest.RestClient", fails)
    assert asyncio.run(Collector(config).run()) == 1
    assert "ca_file cannot be used" in capsys.readouterr().err
    StoreWriter.open(store_name, spec_of(config, "custom:127.0.0.1:9"), directory=tmp_path).close()


HANGING = """
import asyncio, sys
from bmac_stream import collector
from bmac_stream.children import Children
from bmac_stream.config import Config

class Hanging(collector.Collector):
    async def run(self):
        ignores = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=1); time.sleep(60)"
        self.children = Children({"a child": [sys.executable, "-c", ignores]})
        child = self.children.all["a child"]
        await child.start()
        await child.line()
        print(child.pid, flush=True)
        await self.stopping.wait()
        print("ending", flush=True)
        await child.stop(60)

sys.exit(asyncio.run(collector._run(Hanging(Config(interval="1m", trade_type="usdt_perp")))))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once_and_leaves_no_child(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HANGING], stdout=subprocess.PIPE, text=True, cwd=REPO
    ) as process:
        try:
            assert process.stdout is not None
            child = int(process.stdout.readline())
            process.send_signal(number)
            assert process.stdout.readline() == "ending\n"
            process.send_signal(number)
            assert process.wait(10) == 128 + number
            until("the child's end", lambda: not is_running(child), 10)
        finally:
            process.kill()


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_nothing_that_is_logged_shows_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    hide = _Redact(["hunter2x"])
    try:
        raise OSError("http://me:hunter2x@proxy")
    except OSError:
        record = logging.LogRecord("x", logging.ERROR, "", 1, "%s failed", ("hunter2x",), sys.exc_info())
    text = hide.format(record)
    assert "Traceback" in text
    assert "hunter2x" not in text


def test_importing_the_collector_brings_nothing_that_can_wait() -> None:
    """While the way to the exchange is imported, threads make the store's file and read the snapshot."""
    late = ("aiohttp", "websockets", "rich", "pandas", "bmac_stream.recorder", "bmac_stream.client")
    program = f"import bmac_stream.collector, sys; print([one for one in {late} if one in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=REPO
    )
    assert done.stdout == "[]\n"


def test_strict_makes_an_unknown_key_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"interval": "1m", "trade_type": "usdt_perp", "x": 1}))
    with pytest.raises(SystemExit) as ended:
        main(str(tmp_path), strict=True)
    assert ended.value.code == 2
    assert "'x': no such key" in capsys.readouterr().err


@pytest.mark.slow
def test_the_embedded_exchange_and_signals(tmp_path: Path, store_name: str) -> None:
    """Zero set-up: one config, one command; SIGTERM ends it all within 10 s, with a last snapshot."""
    config = {
        "exchange": "embedded", "embedded": {"n_symbols": 10, "rate": 120}, "interval": "1m",
        "trade_type": "usdt_perp", "num_candles": 100, "store": {"name": store_name},
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))

    def start(log: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "bmac_stream.collector", str(tmp_path)], stdout=log, stderr=log, cwd=REPO
        )

    def wait_for(reader: StoreReader, g: int) -> None:
        until(f"bar {g}", lambda: reader.complete_g >= g, 60)

    with (tmp_path / "log").open("wb") as log:
        process = start(log)
        try:
            with StoreReader.attach(store_name, timeout_s=60) as reader:
                assert reader.spec.source == "embedded:generator:seed=7"
                wait_for(reader, 0)
                first = reader.complete_g
                wait_for(reader, first + 2)
                process.send_signal(signal.SIGTERM)
                assert process.wait(10) == 0
                assert reader.phase == "closed"
                last = reader.complete_g
            assert list((tmp_path / "snapshot").glob("*.parquet"))
            process = start(log)
            with StoreReader.attach(store_name, timeout_s=60) as reader:
                wait_for(reader, last + 1)
                slot = reader.symbols()["BTCUSDT"]
                rows = np.array(reader.rows(slot, 50))
                assert (rows[-1] == Status.BAR).all(), "the replay went on where it ended"
                assert last - bar_number(0, "1m") > 0
            process.send_signal(signal.SIGKILL)
            process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    text = (tmp_path / "log").read_text()
    assert "not real data" in text
    assert "Traceback" not in text
