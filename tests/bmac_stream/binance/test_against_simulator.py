"""The edge against the embedded exchange, which shares no line with it: three markets, and faults."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

import pytest

from bmac_stream.bar import INTERVALS_MS
from bmac_stream.binance.markets import MARKETS, TRADE_TYPES
from bmac_stream.binance.protocol import Kline
from bmac_stream.binance.rest import RestClient, retry
from bmac_stream.binance.websocket import KlineStreams, StreamEvent
from bmac_stream.binance.weights import Governor
from bmac_stream.clock import Clock
from bmac_stream.errors import ApiError
from bmac_stream.simulator import Simulator

from ..simulator.rig import small_market
from .test_websocket import until

RATE = 60.0


def _streams(simulator: Simulator, market: str) -> list[str]:
    base = simulator.urls(market)["stream"]
    return [base + urlsplit(own).path for own in MARKETS[market].stream_urls]


@asynccontextmanager
async def _client(simulator: Simulator, market: str, share: float = 0.9) -> AsyncIterator[RestClient]:
    clock = Clock(RATE)
    governor = Governor(MARKETS[market].weight_limit, share, clock)
    async with RestClient(MARKETS[market], simulator.urls(market)["rest"], clock, governor) as client:
        await client.sync_clock()
        yield client


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with asyncio.timeout(30), Simulator(small_market(), rate=RATE) as running:
        yield running


@pytest.mark.parametrize("trade_type", ["usdt_spot", "usdt_perp", "coin_perp"])
async def test_rest_of_three_markets(simulator: Simulator, trade_type: str) -> None:
    market = MARKETS[TRADE_TYPES[trade_type].market]
    async with _client(simulator, market.name) as client:
        assert abs(client._clock.now_ms() - simulator.exchange.now_ms()) < 30_000
        info = await client.exchange_info()
        assert info.rejected == () and info.weight_limit == market.weight_limit
        symbols = [symbol.symbol for symbol in info.symbols if TRADE_TYPES[trade_type].includes(symbol)]
        assert len(symbols) >= 2
        assert all(symbol.price_tick and symbol.lot_size for symbol in info.symbols)
        for interval in ("1m", "1h", "1w"):
            step = INTERVALS_MS[interval]
            page = await client.klines(symbols[0], interval, limit=50)
            times = page.open_time
            assert (times[1:] - times[:-1] >= step).all()
            assert times[-1] <= simulator.exchange.now_ms() < times[-1] + 3 * step
        times = (await client.klines(symbols[0], "1m", limit=50)).open_time.tolist()
        some = await client.klines(symbols[0], "1m", start_ms=times[10], end_ms=times[19], limit=10)
        assert some.open_time.tolist() == times[10:20]
        truth = simulator.truth(market.name, symbols[0], "1m", times[10], times[19])
        assert len(some.values) == 10 and some.open_time.tolist() == [int(t) for t in truth.open_time]
        with pytest.raises(ApiError) as caught:
            await client.klines("NOSUCHSYMBOL", "1m", limit=1)
        assert caught.value.code == -1121
        if market.funding:
            assert {index.symbol for index in await client.premium_index()} >= set(symbols)
            await client.funding_info()
            assert len(await client.funding_rate(symbols[0], limit=5)) <= 5


@pytest.mark.parametrize("market", ["spot", "usdm", "coinm"])
async def test_streams_of_three_markets(simulator: Simulator, market: str) -> None:
    async with _client(simulator, market) as client:
        info = await client.exchange_info()
        symbols = [symbol.symbol for symbol in info.symbols if symbol.status == "TRADING"]
        last: dict[tuple[str, int], Kline] = {}
        events: list[StreamEvent] = []

        def on_kline(kline: Kline) -> None:
            if kline.is_closed:
                last[kline.symbol, kline.open_time] = kline

        streams = KlineStreams(
            MARKETS[market],
            _streams(simulator, market),
            "1m",
            client._clock,
            on_kline,
            groups=2,
            on_event=events.append,
        )
        streams.set_symbols(symbols)
        running = asyncio.create_task(streams.run())
        await until(lambda: len(last) >= 2 * len(symbols), 12.0)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        assert not streams.stats.bad_frames and streams.stats.stalls == 0 and streams.stats.refused == 0
        # What the stream said last of a bar is what REST says of it.
        checked = 0
        for (symbol, opened), kline in list(last.items())[:6]:
            page = await client.klines(symbol, "1m", start_ms=opened, end_ms=opened, limit=1)
            assert tuple(page.values[0].tolist()) == kline.values
            checked += 1
        assert checked == 6


async def test_the_silent_legacy_path_is_left(simulator: Simulator) -> None:
    base = simulator.urls("usdm")["stream"]
    seen: Counter[str] = Counter()
    async with _client(simulator, "usdm") as client:
        symbols = [
            s.symbol for s in (await client.exchange_info()).symbols if TRADE_TYPES["usdt_perp"].includes(s)
        ]
        streams = KlineStreams(
            MARKETS["usdm"], [base, f"{base}/market"], "1m", client._clock,
            lambda kline: seen.update((kline.symbol,)), groups=1,
        )  # fmt: skip
        streams.set_symbols(symbols)
        running = asyncio.create_task(streams.run())
        await until(lambda: len(seen) == len(symbols), 15.0)
        running.cancel()
    assert streams.stats.stalls == 1


async def test_malformed_frames_and_dropped_sockets_are_survived(simulator: Simulator) -> None:
    seen: Counter[str] = Counter()
    async with _client(simulator, "usdm") as client:
        symbols = [
            s.symbol for s in (await client.exchange_info()).symbols if TRADE_TYPES["usdt_perp"].includes(s)
        ]
        streams = KlineStreams(
            MARKETS["usdm"], _streams(simulator, "usdm"), "1m", client._clock,
            lambda kline: seen.update((kline.symbol,)), groups=2,
        )  # fmt: skip
        streams.set_symbols(symbols)
        running = asyncio.create_task(streams.run())
        await until(lambda: len(seen) == len(symbols))
        simulator.fault("malformed", market="usdm", count=40)
        await until(lambda: streams.stats.bad_frames.total() >= 25)
        # an oversize frame closes its connection too: wait until both stand again
        await until(lambda: len(simulator.hub.connections) == 2)
        assert simulator.fault("drop", market="usdm").hits == 2
        await until(lambda: streams.stats.reconnects >= 2)
        seen.clear()
        await until(lambda: len(seen) == len(symbols))
        assert not running.done()
        running.cancel()
    assert set(streams.stats.bad_frames) - {"oversize"}


async def test_history_at_full_speed_stays_within_the_weight(simulator: Simulator) -> None:
    """Four minutes' weight, asked for by eight workers at once: no 429, and no minute above the share."""
    async with _client(simulator, "usdm", share=0.05) as client:
        info = await client.exchange_info()
        symbol = next(s.symbol for s in info.symbols if TRADE_TYPES["usdt_perp"].includes(s))

        async def work() -> None:
            for _ in range(12):
                await retry(lambda: client.klines(symbol, "1m", limit=1000), attempts=1)

        await asyncio.gather(*(work() for _ in range(8)))
        (account,) = simulator.exchange.report()["pools"]["futures"].values()
        assert client.governor.capacity == 120 and client.stats.weight > 480
        assert 100 <= account["max_per_window"] <= 120
        assert account["refused"] == 0


async def test_nothing_is_asked_during_a_ban(simulator: Simulator) -> None:
    async with _client(simulator, "usdm") as client:
        simulator.fault("ban", market="usdm", seconds=180.0)
        asked = asyncio.create_task(retry(client.time, attempts=None, base_s=0.01))
        await until(lambda: client.governor.is_banned)
        await asyncio.gather(*(retry(client.time, attempts=None, base_s=0.01) for _ in range(5)), asked)
        (account,) = simulator.exchange.report()["pools"]["futures"].values()
        assert account["requests_during_ban"] <= 1 + client.stats.errors["http_418"]
        assert client.stats.errors["http_418"] == 1
