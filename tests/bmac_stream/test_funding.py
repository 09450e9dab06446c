"""The funding store against the exchange's truth: settlements, restarts, failures, and bars that go on."""

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bmac_stream.binance.markets import MARKETS
from bmac_stream.binance.protocol import FundingRate, PremiumIndex
from bmac_stream.client import Store, attach
from bmac_stream.config import load_config
from bmac_stream.engine import Engine
from bmac_stream.errors import NetworkError, StoreNotFound
from bmac_stream.funding import COLUMNS, SUFFIX, Funding, funding_spec
from bmac_stream.simulator import Simulator
from shm import Status, StoreWriter

from .fake_collector import FakeCollector, make_spec
from .simulator.rig import small_market
from .test_collector import Run

HOUR = 3_600_000
STEP = HOUR
RATE = 7_200.0  # an hour lasts half a second


@contextlib.asynccontextmanager
async def running(folder: Path, name: str, market: str = "usdm", **keys: Any) -> AsyncIterator[Run]:
    """An exchange, and a collector of its 1h bars with funding that is not started yet."""
    async with Simulator(
        small_market(12, 1, 3), markets=tuple(dict.fromkeys(("usdm", market))), rate=RATE
    ) as simulator:
        run = Run(
            simulator, folder, name,
            interval="1h",
            trade_type={"usdm": "usdt_perp", "coinm": "coin_perp"}[market],
            exchange={**simulator.urls(market), "rate": RATE, "source": "embedded:test"},
            candle_close_timeout_sec=1800,
            funding_rate=True,
            **keys,
        )  # fmt: skip
        try:
            yield run
        finally:
            if run.task is not None and not run.task.done():
                await run.end()


def truth(run: Run, market: str, symbol: str, first_ms: int, end_ms: int) -> dict[int, float]:
    """What was settled of a symbol: open_time of the bar -> sum of the rates."""
    found = run.simulator.exchange.market.funding(market, symbol, first_ms, end_ms - 1)
    bars: dict[int, float] = {}
    for ms, rate in zip(found.funding_time.tolist(), found.rate.tolist(), strict=True):
        bars[ms // STEP * STEP] = bars.get(ms // STEP * STEP, 0.0) + rate
    return bars


def check(run: Run, store: Store, market: str = "usdm", since: int = 0) -> tuple[int, int, int]:
    """Compare every row with the exchange's truth; how many readings, settlements and misses there are from
    `since` on."""
    funding = store.funding
    known_ms = funding.counters()["settled_until_ms"]
    exchange = run.simulator.exchange.market
    reads = settled = absent = 0
    for symbol in funding:
        rows = funding[symbol].copy()
        opens = funding.origin_ms + (rows.g0 + np.arange(len(rows.status))) * STEP
        wanted = truth(run, market, symbol, int(opens[0]), int(opens[-1]) + STEP)
        for open_ms, values, status in zip(opens.tolist(), rows.values.T, rows.status, strict=True):
            if open_ms + STEP <= known_ms:
                rate = wanted.get(open_ms)
                assert values[2] == rate if rate is not None else np.isnan(values[2]), (symbol, open_ms)
                settled += rate is not None and open_ms >= since
            if status == Status.BAR:
                p = exchange.premium(market, symbol, open_ms + STEP + 1_000)
                numeric = market == "usdm" or p.next_funding_ms > 0
                assert values[0] == p.last_funding_rate if numeric else np.isnan(values[0]), symbol
                assert values[1] == p.next_funding_ms if p.next_funding_ms else np.isnan(values[1]), symbol
                assert values[3] > 0 and values[4] > 0
                reads += open_ms >= since
            else:
                assert status == Status.ABSENT
                assert np.isnan(values[[0, 1, 3, 4]]).all()
                absent += open_ms >= since
    return reads, settled, absent


# ---------------------------------------------------------------------------------- against an exchange


@pytest.mark.slow
@pytest.mark.parametrize("market", ["usdm", "coinm"])
async def test_readings_and_settlements_are_the_exchanges(
    tmp_path: Path, store_name: str, market: str
) -> None:
    async with running(tmp_path, store_name, market) as run:
        collector = await run.start()
        await run.live()
        with attach(store_name, directory=tmp_path) as store:
            keeper = collector.funding
            assert keeper is not None
            await run.until("settlements of the past", lambda: keeper.store and keeper._due)
            funding = store.funding
            assert store.funding is funding
            await run.until("the past", lambda: funding.phase == "live")
            begin = funding.run_time
            assert check(run, store, market)[1] > 0
            target = (begin // (8 * HOUR) + 1) * 8 * HOUR + HOUR // 2
            await run.until("it known", lambda: funding.counters()["settled_until_ms"] > target, 40)
            reads, settled, _ = check(run, store, market, begin)
            assert reads >= 4 * len(funding)
            assert settled >= 3, "what fell while the collector was there"
            listed = [
                one.symbol
                for one in run.simulator.exchange.market.instruments(market)
                if one.status_at(begin) is not None
            ]
            assert set(funding) == set(listed), "all that premiumIndex names, not only what is collected"
            assert set(funding) > set(store)
            assert funding.columns == COLUMNS
            check_bars(run, store, market, begin)
            name = next(iter(store))
            assert store[name].read(lambda bars: bars.funding_rate[-1], n=1) in store[name].funding_rate
            engine = Engine(store, ["crypto:Funding"])  # factors see what the bars say
            rates, n_known = engine["crypto:Funding"], 0
            for symbol, slot in store.symbols.items():
                bar = store[symbol].copy_until((engine.run_time - store.origin_ms) // STEP, 1)
                if len(bar.status) and bar.status[0] == Status.BAR:
                    rate = bar.values[store.column_index["funding_rate"], 0]
                    np.testing.assert_array_equal(rates[slot], rate)
                    n_known += bool(np.isfinite(rate))
            assert n_known
        assert run.counts()["bugs"] == 0


def check_bars(run: Run, store: Store, market: str, since: int) -> None:
    """Every bar says which rate was settled last before its close, and when the next falls."""
    before = after = 0
    newest = store.run_time
    for symbol in store:
        rows = store[symbol].copy()
        closes = store.origin_ms + (rows.g0 + 1 + np.arange(len(rows.status))) * STEP
        day = 24 * HOUR
        found = run.simulator.exchange.market.funding(
            market, symbol, int(closes[0]) - day, int(closes[-1]) + day
        )
        rates, dues = rows.values[store.column_index["funding_rate"]], rows.values[-1]
        for close, rate, due, status in zip(closes.tolist(), rates, dues, rows.status, strict=True):
            if status != Status.BAR or close > newest:
                assert np.isnan(rate) or status == Status.BAR
                continue
            i = int(np.searchsorted(found.funding_time, close))
            wanted = found.rate[i - 1] if i else np.nan
            assert np.array_equal(rate, wanted, equal_nan=True), (symbol, close, rate, wanted)
            if i < len(found.funding_time):
                assert due == found.funding_time[i] // 60_000 * 60_000, (symbol, close)
                after += close > since
            before += i > 0 and close <= since
    assert before and (after or market == "coinm")


async def test_a_restart_goes_on_and_keeps_what_there_is(tmp_path: Path, store_name: str) -> None:
    async with running(tmp_path, store_name) as run:
        await run.start()
        await run.live()
        with attach(store_name, directory=tmp_path) as store:
            await run.until("a store", lambda: (tmp_path / f"bmac.{store_name}.funding").exists())
            await run.until("readings", lambda: _reads(store) >= 4)
            before = {symbol: store.funding[symbol].copy() for symbol in store.funding}
            await run.end()
            held = int(store.funding.run_time)
            await asyncio.sleep(1.0)  # several bars pass
            await run.start()
            await run.live()
            await run.until("more readings", lambda: _reads(store) >= 8)
            end = held + 6 * HOUR
            await run.until("it known", lambda: store.funding.counters()["settled_until_ms"] > end, 20)
            reads, settled, absent = check(run, store)
            assert reads and settled and absent, "bars passed while nobody was there"
            for symbol, rows in before.items():
                now = store.funding[symbol].copy()
                n = rows.g0 + len(rows.status) - now.g0
                old = slice(now.g0 - rows.g0, None)
                assert np.array_equal(now.values[[0, 1, 3, 4], :n], rows.values[[0, 1, 3, 4], old],
                                      equal_nan=True)  # fmt: skip
                assert np.array_equal(now.status[:n], rows.status[old])
            check_bars(run, store, "usdm", held)
        assert run.counts()["bugs"] == 0


def _reads(store: Store) -> int:
    with contextlib.suppress(StoreNotFound):
        return store.funding.counters()["reads"]
    return 0


async def test_without_rest_rows_are_absent_and_bars_go_on(tmp_path: Path, store_name: str) -> None:
    async with running(tmp_path, store_name) as run:
        collector = await run.start()
        await run.live()
        with attach(store_name, directory=tmp_path) as store:
            await run.until("readings", lambda: _reads(store) >= 3)
            missed: list[int] = []
            assert collector.funding is not None
            collector.funding._on_miss = missed.append
            run.simulator.fault("http_error", status=503, path="premiumIndex", seconds=3600)
            await run.until("misses", lambda: len(missed) >= 3)
            assert store.funding.counters()["misses"] >= 3
            run.simulator.clear_faults()
            reads = _reads(store)
            await run.until("readings again", lambda: _reads(store) >= reads + 3)
            funding = store.funding
            for symbol in funding:
                rows = funding[symbol].copy()
                for run_time in missed:
                    assert rows.status[run_time // STEP - 1 - rows.g0] == Status.ABSENT
            check(run, store)
            assert store.run_time >= missed[-1]
            for run_time in missed:
                statuses = store.read_panel("status", np.copy, 1, run_time=run_time)[store.slots]
                assert (statuses == Status.BAR).all(), "the bars of those run_times are all there"
        assert run.counts()["bugs"] == 0


# -------------------------------------------------------------------------------------------- one by one


class _Governor:
    blocked_s, used, capacity = 0.0, 0, 2000


class _Rest:
    """Answers that a test decides."""

    def __init__(self, market: Any) -> None:
        self.market, self.governor = market, _Governor()
        self.rows: list[PremiumIndex] | Exception = []
        self.settled: list[FundingRate] = []
        self.asked: list[tuple[str | None, int, int]] = []

    async def premium_index(self) -> list[PremiumIndex]:
        if isinstance(self.rows, Exception):
            raise self.rows
        return self.rows

    async def funding_rate(
        self, symbol: str | None, *, start_ms: int, end_ms: int, limit: int
    ) -> list[FundingRate]:
        self.asked.append((symbol, start_ms, end_ms))
        found = [r for r in self.settled if start_ms <= r.funding_ms <= end_ms and symbol in (None, r.symbol)]
        return found[:limit]


class _Clock:
    synced, rate = True, 1.0

    def __init__(self, now: float) -> None:
        self.now = now

    def now_ms(self) -> float:
        return self.now

    def wall_s(self, ms: float) -> float:
        return ms / 1e3


NOW = 30_000_000 * 60_000


def made(tmp_path: Path, market: str = "usdm") -> tuple[Funding, _Rest, _Clock]:
    rest, clock = _Rest(MARKETS[market]), _Clock(NOW + 1_500)
    funding: Any = Funding("rule", make_spec(), rest, clock, directory=str(tmp_path))  # type: ignore[arg-type]
    return funding, rest, clock


def premium(
    symbol: str, rate: float = 1e-4, due: int = NOW + 8 * HOUR, at: int = NOW + 1_000
) -> PremiumIndex:
    return PremiumIndex(symbol, 100.0, 101.0, rate, due, at)


async def test_a_new_store_has_its_window_and_the_newest_reading(tmp_path: Path) -> None:
    funding, rest, _ = made(tmp_path)
    rest.rows = [premium("AUSDT"), premium("BUSDT", float("nan"), 0)]
    store = funding.store = await funding._open()
    g = NOW // 60_000 - 1
    assert (store.complete_g, list(store.symbols)) == (g - 1, ["AUSDT", "BUSDT"])
    funding._publish(store, g, await funding._read(NOW))
    values, status = store.read(store.symbols["AUSDT"], g, 1)
    assert status[0] == Status.BAR
    assert np.array_equal(values[0], [1e-4, NOW + 8 * HOUR, np.nan, 100.0, 101.0], equal_nan=True)
    values, status = store.read(store.symbols["BUSDT"], g, 1)
    assert np.isnan(values[0, :3]).all() and status[0] == Status.BAR
    assert funding._due == {"AUSDT": NOW + 8 * HOUR}
    funding.close()


async def test_a_reading_of_before_the_run_time_is_no_reading_of_it(tmp_path: Path) -> None:
    funding, rest, clock = made(tmp_path)
    rest.rows = [premium("AUSDT", at=NOW - 1)]
    clock.now = NOW + 29_700.0

    async def pass_by() -> None:
        await asyncio.sleep(0.05)
        clock.now = NOW + 30_000.0

    found, _ = await asyncio.gather(funding._read(NOW), pass_by())
    assert found is None
    rest.rows = [premium("AUSDT", at=NOW), premium("OLDUSDT", at=NOW - 61_000)]
    clock.now = NOW + 2_000.0
    rows = await funding._read(NOW)
    assert rows is not None and [row.symbol for row in rows] == ["AUSDT"]


async def test_several_settlements_in_one_bar_are_added_up_however_often_they_are_told(
    tmp_path: Path,
) -> None:
    funding, rest, clock = made(tmp_path)
    rest.rows = [premium("AUSDT")]
    store = funding.store = await funding._open()
    g = NOW // 60_000 - 5
    at = g * 60_000
    told = [
        ("AUSDT", at, 1e-4),
        ("AUSDT", at + 30_000, 2e-4),
        ("AUSDT", at + 60_000, 5e-4),
        ("GONE", at, 1.0),
    ]
    rest.settled = [FundingRate(*one, 1.0) for one in told]
    for _ in range(3):
        await funding._ask_settled(store, clock.now_ms(), None)
    values, status = store.read(store.symbols["AUSDT"], g - 1, 4)
    assert np.array_equal(values[:, 2], [np.nan, 1e-4 + 2e-4, 5e-4, np.nan], equal_nan=True)
    assert (status == Status.ABSENT).all()
    n = store.corrections
    await funding._ask_settled(store, clock.now_ms(), None)
    assert store.corrections == n, "nothing new, nothing written"
    funding.close()


async def test_pages_of_one_moment_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bmac_stream.funding.PAGE", 3)
    funding, rest, clock = made(tmp_path)
    names = [f"S{i}USDT" for i in range(5)]
    rest.rows = [premium(name) for name in names]
    store = funding.store = await funding._open()
    at = NOW - 600_000
    rest.settled = [FundingRate(name, at + i // 2, 1e-4 * (i + 1), 1.0) for i, name in enumerate(names)]
    await funding._ask_settled(store, clock.now_ms(), None)
    for i, name in enumerate(names):
        values, _ = store.read(store.symbols[name], at // 60_000, 1)
        assert values[0, 2] == 1e-4 * (i + 1), name
    funding.close()


async def test_a_sum_is_written_once_and_whole_wherever_pages_and_readings_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bmac_stream.funding.PAGE", 3)
    funding, rest, clock = made(tmp_path)
    rest.rows = [premium("AUSDT")]
    store = funding.store = await funding._open()
    g = NOW // 60_000 - 20
    at = g * 60_000
    rest.settled = [FundingRate("AUSDT", at + 10_000 * i, 1e-4, 1.0) for i in range(5)]
    await funding._ask_settled(store, clock.now_ms(), None)
    assert store.corrections == 1, "no reader has seen a part"
    assert store.read(store.symbols["AUSDT"], g, 1)[0][0, 2] == 5 * 1e-4
    # all is known up to the middle of that bar: the next reading begins with the bar
    store.set("settled_until_ms", at + 35_000)
    rest.settled.append(FundingRate("AUSDT", at + 59_000, 1e-4, 1.0))
    await funding._ask_settled(store, clock.now_ms(), None)
    assert store.read(store.symbols["AUSDT"], g, 1)[0][0, 2] == 6 * 1e-4
    funding.close()


async def test_what_is_settled_in_a_bar_that_is_open_waits_for_its_row(tmp_path: Path) -> None:
    funding, rest, clock = made(tmp_path)
    rest.rows = [premium("AUSDT")]
    store = funding.store = await funding._open()
    g = NOW // 60_000
    rest.settled = [FundingRate("AUSDT", NOW + 5, 3e-4, 1.0)]
    clock.now = NOW + 9_000.0
    newest = await funding._ask_settled(store, clock.now_ms(), None)
    assert newest == {"AUSDT": NOW + 5}
    funding._publish(store, g - 1, None)
    funding._publish(store, g, None)
    values, status = store.read(store.symbols["AUSDT"], g - 1, 2)
    assert np.isnan(values[0, 2]) and values[1, 2] == 3e-4
    assert (status == Status.ABSENT).all()
    assert not funding._ahead
    funding.close()


async def test_coin_margined_symbols_are_asked_one_by_one(tmp_path: Path) -> None:
    funding, rest, clock = made(tmp_path, "coinm")
    rest.rows = [premium("AUSD_PERP"), premium("BUSD_PERP"), premium("AUSD_260626", due=0)]
    store = funding.store = await funding._open()
    funding._publish(store, NOW // 60_000 - 1, await funding._read(NOW))
    await funding._ask_settled(store, clock.now_ms(), None)
    assert [symbol for symbol, _, _ in rest.asked] == ["AUSD_PERP", "BUSD_PERP"]
    known = store.counter("settled_until_ms")
    assert known == NOW + 1_500 - 600_000
    rest.asked.clear()
    await funding._ask_settled(store, clock.now_ms() + 60_000, ["BUSD_PERP"])
    assert [symbol for symbol, _, _ in rest.asked] == ["BUSD_PERP"]
    assert store.counter("settled_until_ms") == known + 60_000
    funding._due["AUSD_PERP"] = NOW + 60_000  # due as well, and not asked for
    await funding._ask_settled(store, clock.now_ms() + 120_000, ["BUSD_PERP"])
    assert store.counter("settled_until_ms") == known + 60_000
    funding.close()


async def test_symbols_come_and_go(tmp_path: Path) -> None:
    funding, rest, _ = made(tmp_path)
    rest.rows = [premium("AUSDT"), premium("BUSDT")]
    store = funding.store = await funding._open()
    g = NOW // 60_000 - 1
    funding._publish(store, g, [premium("AUSDT"), premium("NEWUSDT"), premium("币安人生USDT")])
    assert list(store.symbols) == ["AUSDT", "BUSDT", "NEWUSDT", "币安人生USDT"]
    assert store.first_g(store.symbols["NEWUSDT"]) == g
    assert store.read(store.symbols["BUSDT"], g, 1)[1][0] == Status.ABSENT
    for i in range(1, 10):
        assert "BUSDT" in store.symbols, i
        funding._publish(store, g + i, [premium("AUSDT")])
    assert "BUSDT" not in store.symbols
    assert store.complete_g == g + 9
    funding.close()


async def test_a_store_that_is_full_is_made_larger_at_the_next_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    funding, rest, _ = made(tmp_path)
    rest.rows = [premium("AUSDT")]
    store = funding.store = await funding._open()
    room = store.spec.max_symbols
    many = [premium(f"S{i}USDT") for i in range(room + 3)]
    funding._publish(store, NOW // 60_000 - 1, many)
    assert len(store.symbols) == room
    assert "a restart makes a larger store" in caplog.text
    funding.close()
    rest.rows = many
    again = await funding._open()
    assert len(again.symbols) == len(many) < again.spec.max_symbols
    again.close()


async def test_bars_passed_while_nobody_was_there_are_absent_rows(tmp_path: Path) -> None:
    funding, rest, clock = made(tmp_path)
    rest.rows = [premium("AUSDT")]
    store = funding.store = await funding._open()
    g = NOW // 60_000 - 1
    funding._publish(store, g, await funding._read(NOW))
    funding.close()
    clock.now += 5 * 60_000
    store = funding.store = await funding._open()
    assert not store.created
    rest.settled = [FundingRate("AUSDT", (g + 2) * 60_000, 7e-4, 1.0)]
    await funding._ask_settled(store, clock.now_ms(), None)
    await funding._fill_up(store, g + 5)
    values, status = store.read(store.symbols["AUSDT"], g, 5)
    assert status.tolist() == [Status.BAR] + 4 * [Status.ABSENT]
    assert values[0, 0] == 1e-4 and np.isnan(values[1:, 0]).all()
    assert np.array_equal(values[:, 2], [np.nan, np.nan, 7e-4, np.nan, np.nan], equal_nan=True)
    funding.close()


async def test_a_restart_with_a_short_window_knows_what_was_settled_last(tmp_path: Path) -> None:
    """AUSDT was settled before the window; BUSDT, which is settled every hour, has moved settled_until on."""
    funding, rest, clock = made(tmp_path)
    rest.rows = [premium("AUSDT"), premium("BUSDT")]
    rest.settled = [FundingRate("AUSDT", NOW - 6 * HOUR, 3e-4, 1.0), FundingRate("BUSDT", NOW, 2e-4, 1.0)]
    assert funding._window * funding._step < 6 * HOUR
    store = funding.store = await funding._open()
    await funding._ask_settled(store, clock.now_ms(), None)
    assert funding.columns.row("AUSDT", NOW + 60_000)[0] == 3e-4
    assert store.counter("settled_until_ms") > NOW - 6 * HOUR
    funding.close()
    clock.now += 5 * 60_000
    again, _, _ = made(tmp_path)
    again._rest, again._clock = rest, clock  # type: ignore[assignment]
    store = again.store = await again._open()
    assert not store.created
    await again._ask_settled(store, clock.now_ms(), None)
    assert again.columns.row("AUSDT", NOW + 6 * 60_000)[0] == 3e-4
    assert again.columns.row("BUSDT", NOW + 6 * 60_000)[0] == 2e-4
    again.known.set()
    await again._ask_settled(store, clock.now_ms(), None)
    assert rest.asked[-1][1] > NOW - HOUR, "afterwards only what is new is asked for"
    again.close()


async def test_errors_are_waited_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    funding, rest, _ = made(tmp_path)
    rest.rows = NetworkError("away")
    opening = asyncio.create_task(funding._open())
    await asyncio.sleep(0.05)
    rest.rows = [premium("AUSDT")]
    async with asyncio.timeout(5):
        store = await opening
    assert "AUSDT" in store.symbols
    store.close()


# ------------------------------------------------------------------------------------------ who reads


def test_no_funding_store_is_said(tmp_path: Path) -> None:
    with (
        FakeCollector.start(tmp_path),
        attach("rule", directory=tmp_path) as store,
        pytest.raises(StoreNotFound),
    ):
        _ = store.funding


def test_a_store_of_another_kind_or_source_is_not_taken_for_it(tmp_path: Path) -> None:
    name = "rule" + SUFFIX
    with FakeCollector.start(tmp_path) as bars, attach("rule", directory=tmp_path) as store:
        with (
            FakeCollector.start(tmp_path, name=name),
            pytest.raises(StoreNotFound, match="not the funding"),
        ):
            _ = store.funding
        (tmp_path / f"bmac.{name}").unlink()
        spec = funding_spec(dataclasses.replace(bars.spec, source="binance"), "rule", 8)
        with (
            StoreWriter.open(name, spec, directory=tmp_path),
            pytest.raises(StoreNotFound, match="not the funding"),
        ):
            _ = store.funding


def test_rates_that_nobody_keeps_any_more_are_not_given_as_new(tmp_path: Path) -> None:
    name = "rule" + SUFFIX
    with FakeCollector.start(tmp_path) as bars, attach("rule", directory=tmp_path) as store:
        with StoreWriter.open(name, funding_spec(bars.spec, "rule", 8), directory=tmp_path):
            assert store.funding.columns == COLUMNS
        store.reattach()  # "funding_rate" was switched off meanwhile
        with pytest.raises(StoreNotFound, match="no longer written"):
            _ = store.funding
    with attach("rule", directory=tmp_path) as store:
        assert store.funding.columns == COLUMNS, "of a collector that ended, both are of the past"


def test_a_store_without_these_columns_says_so(tmp_path: Path, store_name: str) -> None:
    with StoreWriter.open(store_name, make_spec(), directory=tmp_path) as writer:
        slot = writer.add_symbol("AUSDT", 0)
        writer.activate(slot)
        writer.heartbeat()
        with attach(store_name, directory=tmp_path) as store:
            assert not hasattr(store["AUSDT"], "funding_rate")
            with pytest.raises(AttributeError, match="no column funding_rate"):
                _ = store["AUSDT"].funding_rate


def test_spot_has_none_and_futures_warn_of_nothing(tmp_path: Path) -> None:
    raw = {"interval": "1m", "trade_type": "usdt_spot", "funding_rate": True}
    (tmp_path / "config.json").write_text(json.dumps(raw))
    config, warnings = load_config(tmp_path)
    assert not config.funding_rate and any("spot has no funding" in line for line in warnings)
    (tmp_path / "config.json").write_text(json.dumps(raw | {"trade_type": "coin_perp"}))
    config, warnings = load_config(tmp_path)
    assert config.funding_rate and not warnings
