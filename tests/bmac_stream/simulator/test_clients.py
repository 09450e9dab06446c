"""Clients that this project did not write, against the embedded exchange, unchanged but for their URLs.

python-binance, ccxt.pro and Binance's own SDK ask for exchangeInfo, klines and funding, and follow a live
kline stream until a bar has closed; what they understood is compared with the truth.
"""

import asyncio
import warnings
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from bmac_stream.simulator import SimulatorProcess
from tests.bmac_stream.simulator.rig import MINUTE_MS, START_MS

RATE = 60.0


@pytest.fixture(scope="module")
def exchange() -> Iterator[SimulatorProcess]:
    """One exchange for all clients; a minute bar closes every second."""
    with SimulatorProcess(
        n_symbols=12, n_spot=4, n_coinm=2, rate=RATE, start=START_MS, listing_hours=0, hole_days=0
    ) as process:
        yield process


async def on_thread(call: Callable[..., Any], *args: Any, **options: Any) -> Any:
    return await asyncio.to_thread(lambda: call(*args, **options))


async def truth(exchange: SimulatorProcess, market: str, symbol: str, open_time: int) -> list[Any]:
    rows = await on_thread(exchange.truth, symbol, "1m", open_time, open_time, market=market)
    assert len(rows) == 1
    return list(rows[0])


async def first_closed(receive: Callable[[], Awaitable[Any]], timeout_s: float = 15.0) -> dict[str, Any]:
    """The `k` of the first closed bar of which an earlier frame was seen as well."""
    async with asyncio.timeout(timeout_s):
        seen = set()
        while True:
            event = await receive()
            k: dict[str, Any] = event["data"]["k"] if "data" in event else event["k"]
            if k["x"] and k["t"] in seen:
                return k
            seen.add(k["t"])


# ---- python-binance --------------------------------------------------------------------------------


@pytest.mark.parametrize("market", ["spot", "usdm", "coinm"])
async def test_python_binance(exchange: SimulatorProcess, market: str) -> None:
    from binance import AsyncClient, BinanceSocketManager
    from binance.enums import FuturesType

    client = AsyncClient()
    client.API_URL = exchange.url("spot")["rest"] + "/api"
    client.FUTURES_URL = exchange.url("usdm")["rest"] + "/fapi"
    client.FUTURES_COIN_URL = exchange.url("coinm")["rest"] + "/dapi"
    sockets = BinanceSocketManager(client)
    sockets.STREAM_URL = exchange.url("spot")["stream"] + "/"
    sockets.FSTREAM_URL = exchange.url("usdm")["stream"] + "/"
    sockets.DSTREAM_URL = exchange.url("coinm")["stream"] + "/"
    symbol = "BTCUSD_PERP" if market == "coinm" else "BTCUSDT"
    try:
        if market == "spot":
            await client.ping()
            assert (await client.get_server_time())["serverTime"] > START_MS
            info = await client.get_exchange_info()
            one = await client.get_symbol_info("ETHUSDT")
            assert one is not None
            assert one["baseAsset"] == "ETH"
            rows = await client.get_klines(symbol=symbol, interval="1m", limit=100)
            history = await client.get_historical_klines(
                symbol, "1h", str(START_MS - 30 * 3_600_000), str(START_MS - 1)
            )
            assert len(history) == 30
            socket = sockets.kline_socket(symbol, "1m")
        elif market == "usdm":
            info = await client.futures_exchange_info()
            rows = await client.futures_klines(symbol=symbol, interval="1m", limit=100)
            assert (await client.futures_mark_price(symbol=symbol))["symbol"] == symbol
            funding = await client.futures_funding_rate(symbol=symbol, limit=10)
            assert len(funding) == 10
            continuous = await client.futures_continuous_klines(
                pair=symbol, contractType="PERPETUAL", interval="1m", limit=5
            )
            assert continuous[0] in rows
            socket = sockets.kline_futures_socket(symbol, "1m")
        else:
            info = await client.futures_coin_exchange_info()
            rows = await client.futures_coin_klines(symbol=symbol, interval="1m", limit=100)
            assert len(await client.futures_coin_mark_price(symbol=symbol)) == 1
            socket = sockets.kline_futures_socket("BTCUSD", "1m", futures_type=FuturesType.COIN_M)
        assert symbol in {s["symbol"] for s in info["symbols"]}
        assert len(rows) == 100
        assert rows[-2] == await truth(exchange, market, symbol, rows[-2][0])
        async with socket as stream:
            k = await first_closed(stream.recv)
        row = await truth(exchange, market, symbol, k["t"])
        assert [
            k["t"],
            k["o"],
            k["h"],
            k["l"],
            k["c"],
            k["v"],
            k["T"],
            k["q"],
            k["n"],
            k["V"],
            k["Q"],
        ] == row[:11]
    finally:
        await client.close_connection()


async def test_python_binance_multiplex_and_errors(exchange: SimulatorProcess) -> None:
    from binance import AsyncClient, BinanceAPIException, BinanceSocketManager

    client = AsyncClient()
    client.API_URL = exchange.url("spot")["rest"] + "/api"
    sockets = BinanceSocketManager(client)
    sockets.STREAM_URL = exchange.url("spot")["stream"] + "/"
    try:
        async with (
            asyncio.timeout(15),
            sockets.multiplex_socket(["btcusdt@kline_1m", "ethusdt@kline_1m"]) as ws,
        ):
            seen = set()
            while len(seen) < 2:
                seen.add((await ws.recv())["data"]["s"])
        with pytest.raises(BinanceAPIException) as refused:
            await client.get_klines(symbol="NOSUCH", interval="1m")
        assert (refused.value.status_code, refused.value.code) == (400, -1121)
    finally:
        await client.close_connection()


# ---- ccxt.pro --------------------------------------------------------------------------------------


def ccxt_client(exchange: SimulatorProcess) -> Any:
    """ccxt.pro's binance with its hosts replaced. Margin and currencies need a key; options have no host."""
    import ccxt.pro

    client = ccxt.pro.binance(
        {"options": {"fetchMarkets": {"types": ["spot", "linear", "inverse"]}, "fetchMargins": False}}
    )
    hosts = {
        "https://api.binance.com": exchange.url("spot")["rest"],
        "https://fapi.binance.com": exchange.url("usdm")["rest"],
        "https://dapi.binance.com": exchange.url("coinm")["rest"],
        "wss://stream.binance.com:9443": exchange.url("spot")["stream"],
        "wss://fstream.binance.com": exchange.url("usdm")["stream"],
        "wss://dstream.binance.com": exchange.url("coinm")["stream"],
    }

    def replaced(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: replaced(v) for k, v in value.items()}
        for real, ours in hosts.items():
            if isinstance(value, str) and value.startswith(real):
                return ours + value[len(real) :]
        return value

    client.urls["api"] = replaced(client.urls["api"])
    # ccxt tells spot's events by "/stream" in the URL, which is in "wss://stream.binance.com"
    client.urls["api"]["ws"]["spot"] += "?host=/stream"
    return client


async def test_ccxt_pro(exchange: SimulatorProcess) -> None:
    client = ccxt_client(exchange)
    try:
        markets = await client.load_markets()
        assert {"BTC/USDT", "BTC/USDT:USDT", "BTC/USD:BTC"} <= set(markets)
        assert markets["BTC/USDT:USDT"]["linear"]
        assert markets["BTC/USD:BTC"]["contractSize"] == 100
        assert [m for m in markets.values() if m["future"] and m["expiry"]]
        assert await client.fetch_time() > START_MS
        for name, market, symbol in (
            ("BTC/USDT", "spot", "BTCUSDT"),
            ("BTC/USDT:USDT", "usdm", "BTCUSDT"),
            ("BTC/USD:BTC", "coinm", "BTCUSD_PERP"),
        ):
            bars = await client.fetch_ohlcv(name, "1m", limit=50)
            assert len(bars) == 50
            row = await truth(exchange, market, symbol, bars[-2][0])
            assert bars[-2][1:5] == [float(x) for x in row[1:5]]
            async with asyncio.timeout(15):
                first = (await client.watch_ohlcv(name, "1m"))[-1][0]  # the list itself lives on
                while (last := (await client.watch_ohlcv(name, "1m"))[-1][0]) == first:
                    pass
            assert last == first + MINUTE_MS
        funding = await client.fetch_funding_rate("BTC/USDT:USDT")
        assert funding["nextFundingTimestamp"] or funding["fundingTimestamp"]
        history = await client.fetch_funding_rate_history("BTC/USDT:USDT", limit=20)
        assert len(history) == 20
        intervals = await client.fetch_funding_intervals()
        assert intervals["BTC/USDT:USDT"]["interval"] in ("4h", "8h")
    finally:
        await client.close()


# ---- Binance's own SDK -----------------------------------------------------------------------------


async def test_binance_sdk(exchange: SimulatorProcess) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from binance_common.configuration import ConfigurationRestAPI, ConfigurationWebSocketStreams
        from binance_sdk_derivatives_trading_usds_futures.derivatives_trading_usds_futures import (
            DerivativesTradingUsdsFutures,
        )
        from binance_sdk_derivatives_trading_usds_futures.rest_api.models import (
            KlineCandlestickDataIntervalEnum,
        )
    url = exchange.url("usdm")
    client = DerivativesTradingUsdsFutures(
        config_rest_api=ConfigurationRestAPI(base_path=url["rest"], timeout=10_000),
        config_ws_streams=ConfigurationWebSocketStreams(stream_url=url["stream"]),
    )
    rest = client.rest_api
    response = await on_thread(rest.exchange_information)
    info = response.data()
    assert "BTCUSDT" in {s.symbol for s in info.symbols}
    limits = response.rate_limits
    assert limits is not None
    assert limits[0].count >= 1
    rows = (
        await on_thread(
            rest.kline_candlestick_data,
            symbol="BTCUSDT",
            interval=KlineCandlestickDataIntervalEnum.INTERVAL_1m,
            limit=10,
        )
    ).data()
    assert len(rows) == 10
    plain = [getattr(x, "actual_instance", x) for x in rows[-2]]
    assert plain == await truth(exchange, "usdm", "BTCUSDT", plain[0])
    funding = (await on_thread(rest.get_funding_rate_history, symbol="BTCUSDT", limit=5)).data()
    assert [f.symbol for f in funding] == ["BTCUSDT"] * 5
    details = (await on_thread(rest.get_funding_rate_info)).data()
    assert {d.funding_interval_hours for d in details} <= {1, 4, 8}
    mark = (await on_thread(rest.mark_price, symbol="BTCUSDT")).data()
    assert mark is not None

    frames: asyncio.Queue[Any] = asyncio.Queue()
    streams = client.websocket_streams
    connection = await streams.create_connection()
    try:
        stream = await connection.kline_candlestick_streams(symbol="btcusdt", interval="1m")
        stream.on("message", frames.put_nowait)

        async def receive() -> Any:
            return (await frames.get()).model_dump(by_alias=True)

        k = await first_closed(receive)
        row = await truth(exchange, "usdm", "BTCUSDT", k["t"])
        assert [k["o"], k["h"], k["l"], k["c"], k["v"]] == row[1:6]
        await stream.unsubscribe()
    finally:
        await connection.close_connection(close_session=True)
