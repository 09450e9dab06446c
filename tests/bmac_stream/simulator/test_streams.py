"""Streams: names, control messages, wrapping, cadence, closing frames, limits, and every fault of sockets."""

import asyncio
import contextlib
import json
from itertools import pairwise
from typing import Any

import aiohttp
import pytest
import websockets
from aiohttp import WSMsgType

from bmac_stream.simulator import Settings, Simulator
from bmac_stream.simulator.exchange import Exchange
from bmac_stream.simulator.faults import MALFORMED
from bmac_stream.simulator.numbers import KlineFormat
from bmac_stream.simulator.streams import Hub, KlineGroup
from bmac_stream.simulator.topics import Meaning, parse_topic, ws_frame
from tests.bmac_stream.simulator.rig import (
    MINUTE_MS,
    START_MS,
    Client,
    eventually,
    new_market,
    running,
    small_market,
)

SUBSCRIBE = '{"method":"SUBSCRIBE","params":["btcusdt@kline_1m"],"id":1}'


async def connect(client: Client, market: str, path: str, **options: Any) -> aiohttp.ClientWebSocketResponse:
    url = client.simulator.urls(market)["stream"] + path
    return await client.session.ws_connect(url, max_msg_size=0, **options)


async def receive(ws: aiohttp.ClientWebSocketResponse, timeout_s: float = 5.0) -> Any:
    """The next JSON message; AssertionError if the socket closes or is silent."""
    message = await ws.receive(timeout_s)
    assert message.type is WSMsgType.TEXT, message
    return json.loads(message.data)


async def collect(ws: aiohttp.ClientWebSocketResponse, n: int, timeout_s: float = 10.0) -> list[Any]:
    async with asyncio.timeout(timeout_s):
        return [await receive(ws, timeout_s) for _ in range(n)]


async def closing(ws: aiohttp.ClientWebSocketResponse, timeout_s: float = 5.0) -> int | None:
    """Read until the socket closes; its code (None or 1006: reset)."""
    async with asyncio.timeout(timeout_s):
        while True:
            message = await ws.receive()
            if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
                return ws.close_code


async def silence(ws: aiohttp.ClientWebSocketResponse, seconds: float = 0.5) -> bool:
    try:
        await ws.receive(seconds)
    except TimeoutError:
        return True
    return False


# ---- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("market", "name", "meaning"),
    [
        ("spot", "btcusdt@kline_1s", Meaning("kline", "BTCUSDT", "1s")),
        ("usdm", "btcusdt@kline_1m", Meaning("kline", "BTCUSDT", "1m")),
        ("usdm", "币安人生usdt@kline_1m", Meaning("kline", "币安人生USDT", "1m")),
        ("coinm", "btcusd_perp@kline_3d", Meaning("kline", "BTCUSD_PERP", "3d")),
        (
            "usdm",
            "btcusdt_perpetual@continuousKline_1h",
            Meaning("continuous", "BTCUSDT", "1h", "PERPETUAL"),
        ),
        (
            "usdm",
            "xauusdt_tradifi_perpetual@continuousKline_1h",
            Meaning("continuous", "XAUUSDT", "1h", "TRADIFI_PERPETUAL"),
        ),
        (
            "coinm",
            "btcusd_next_quarter@continuousKline_1h",
            Meaning("continuous", "BTCUSD", "1h", "NEXT_QUARTER"),
        ),
        ("spot", "ethusdt@miniTicker", Meaning("mini", "ETHUSDT")),
        ("spot", "!miniTicker@arr", Meaning("mini_all")),
        ("usdm", "ethusdt@markPrice@1s", Meaning("mark", "ETHUSDT", "1s")),
        ("usdm", "!markPrice@arr", Meaning("mark_all", "", "3s")),
        ("usdm", "btcusdt@kline_1s", None),
        ("usdm", "BTCUSDT@kline_1m", None),
        ("spot", "btcusdt_perpetual@continuousKline_1m", None),
        ("spot", "btcusdt@kline_7m", None),
        ("spot", "0", None),
        ("spot", "", None),
        ("spot", "@kline_1m", None),
    ],
)
def test_names(market: str, name: str, meaning: Meaning | None) -> None:
    assert parse_topic(market, name) == meaning


@pytest.mark.parametrize("n", [0, 1, 125, 126, 65535, 65536])
def test_frames_are_read_by_another_implementation(n: int) -> None:
    from websockets.frames import Frame
    from websockets.streams import StreamReader

    reader = StreamReader()
    reader.feed_data(ws_frame(b"x" * n))
    parser = Frame.parse(reader.read_exact, mask=False)
    with pytest.raises(StopIteration) as ended:
        next(parser)
    assert ended.value.value.data == b"x" * n


# ---- control messages ------------------------------------------------------------------------------


async def test_subscribe_list_unsubscribe_with_every_id() -> None:
    async with running(rate=60.0) as (_, client):
        ws = await connect(client, "usdm", "/market/ws")
        for ident in (1, -7, 1_700_000_000_000, "3fa85f64-5717-4562-b3fc-2c963f66afa6", None):
            message = {"method": "SUBSCRIBE", "params": ["nosuch@kline_1m"], "id": ident}
            await ws.send_json(message)
            assert await receive(ws) == {"result": None, "id": ident}
        await ws.send_json({"method": "SUBSCRIBE", "params": ["a@b", "nosuch@kline_1m"], "id": 2})
        await receive(ws)
        await ws.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 3})
        assert await receive(ws) == {"result": ["nosuch@kline_1m", "a@b"], "id": 3}
        await ws.send_json({"method": "UNSUBSCRIBE", "params": ["nosuch@kline_1m", "never@was"], "id": 4})
        assert await receive(ws) == {"result": None, "id": 4}
        await ws.send_json({"method": "LIST_SUBSCRIPTIONS", "id": "x"})
        assert await receive(ws) == {"result": ["a@b"], "id": "x"}


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("{", 3, "Invalid JSON"),
        ("hello", 3, "Invalid JSON"),
        ("[]", 2, "Invalid request"),
        ('{"id":1}', 2, "missing field `method`"),
        ('{"method":"SUBSCRIB","params":[],"id":1}', 2, "unknown variant `SUBSCRIB`"),
        ('{"method":"SUBSCRIBE","params":[1],"id":1}', 2, "expected a string"),
        ('{"method":"SUBSCRIBE","params":"a","id":1}', 2, "Invalid request"),
        ('{"method":"LIST_SUBSCRIPTIONS","id":1.5}', 2, "request ID must be an unsigned integer"),
        ('{"method":"LIST_SUBSCRIPTIONS","id":true}', 2, "request ID must be an unsigned integer"),
        (
            '{"method":"LIST_SUBSCRIPTIONS","id":"' + "x" * 37 + '"}',
            2,
            "request ID must be an unsigned integer",
        ),
        ('{"method":"GET_PROPERTY","params":["colour"],"id":1}', 0, "Unknown property"),
        ('{"method":"SET_PROPERTY","params":["combined","yes"],"id":1}', 1, "expected Boolean"),
        ('{"method":"SET_PROPERTY","params":["combined",true,1],"id":1}', 2, "too many parameters"),
        ('{"method":"SET_PROPERTY","params":[1,true],"id":1}', 2, "property name must be a string"),
    ],
)
async def test_errors_of_control_messages(text: str, code: int, words: str) -> None:
    async with running() as (_, client):
        ws = await connect(client, "spot", "/ws")
        await ws.send_str(text)
        reply = await receive(ws)
        assert reply["code"] == code
        assert words in reply["msg"]
        await ws.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 9})
        assert (await receive(ws))["id"] == 9


async def test_the_combined_property_wraps_and_unwraps() -> None:
    async with running(rate=60.0) as (_, client):
        ws = await connect(client, "usdm", "/market/ws/btcusdt@kline_1m")
        assert (await receive(ws))["e"] == "kline"

        async def ask(method: str, *params: Any) -> Any:
            await ws.send_json({"method": method, "params": list(params), "id": 5})
            while True:
                reply = await receive(ws)
                if reply.get("id") == 5:
                    return reply["result"]

        assert await ask("GET_PROPERTY", "combined") is False
        assert await ask("SET_PROPERTY", "combined", True) is None
        wrapped = await receive(ws)
        assert (wrapped["stream"], wrapped["data"]["e"]) == ("btcusdt@kline_1m", "kline")
        assert await ask("GET_PROPERTY", "combined") is True


# ---- what is pushed --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("market", "path", "streams"),
    [
        ("spot", "/ws/", ("btcusdt@kline_1m",)),
        ("spot", "/ws/", ("btcusdt@kline_1m", "ethusdt@kline_1m")),
        ("spot", "/stream?streams=", ("btcusdt@kline_1m", "ethusdt@kline_1m")),
        ("usdm", "/market/ws/", ("btcusdt@kline_1m", "ethusdt@kline_1m")),
        ("usdm", "/market/stream?streams=", ("btcusdt@kline_1m", "btcusdt_perpetual@continuousKline_1m")),
        ("coinm", "/stream?streams=", ("btcusd_perp@kline_1m", "btcusdt@kline_1m")),
    ],
)
async def test_streams_in_the_url(market: str, path: str, streams: tuple[str, ...]) -> None:
    async with running(rate=60.0) as (_, client):
        ws = await connect(client, market, path + "/".join(streams))
        seen = set()
        async with asyncio.timeout(10):
            while len(seen) < len(streams):
                message = await receive(ws, 10)
                if "?" in path:
                    seen.add(message["stream"])
                    assert message["stream"].partition("@")[0].partition("_")[0].upper() in json.dumps(
                        message
                    )
                else:
                    seen.add(message["s"].lower() + "@kline_" + message["k"]["i"])
        assert seen == set(streams)


async def test_streams_by_message_on_a_bare_path() -> None:
    async with running(rate=60.0) as (_, client):
        for path in ("/market/ws", "/market/stream", "/market/ws/0"):
            ws = await connect(client, "usdm", path)
            await ws.send_str(SUBSCRIBE)
            assert await receive(ws) == {"result": None, "id": 1}
            message = await receive(ws)
            assert message.get("data", message)["s"] == "BTCUSDT"
            assert ("stream" in message) == path.endswith("stream")
            await ws.send_json({"method": "UNSUBSCRIBE", "params": ["btcusdt@kline_1m"], "id": 2})
            while "result" not in await receive(ws):
                pass
            assert await silence(ws)


@pytest.mark.parametrize(
    ("market", "path"),
    [
        ("spot", "/ws/btcusdt@kline_1m/ethusdt@kline_1m"),
        ("usdm", "/market/ws/btcusdt@kline_1m/ethusdt@kline_1m"),
        ("coinm", "/ws/btcusd_perp@kline_1m/ethusd_perp@kline_1m"),
    ],
)
async def test_kline_frames_are_whole_and_agree_with_the_truth(market: str, path: str) -> None:
    async with running(rate=120.0) as (simulator, client):
        ws = await connect(client, market, path)
        closed: dict[tuple[str, int], dict[str, Any]] = {}
        n: dict[tuple[str, int], int] = {}
        async with asyncio.timeout(15):
            while len(closed) < 4:
                event = await receive(ws)
                k = event["k"]
                key = (event["s"], k["t"])
                assert list(event) == ["e", "E", "s", "k"]
                assert list(k) == list("tTsifLochlvnxqVQB")
                assert k["T"] == k["t"] + MINUTE_MS - 1
                assert k["n"] == k["L"] - k["f"] + 1
                assert k["n"] >= n.get(key, 1), "the trades of a bar never become fewer"
                n[key] = k["n"]
                assert key not in closed, "nothing follows a closing frame"
                if k["x"]:
                    assert 0 < event["E"] - k["T"] <= 2001
                    closed[key] = k
                else:
                    assert k["t"] <= event["E"] <= k["T"] + 1 + 1000 * 120  # rounds are coarse at this rate
        for (symbol, open_time), k in closed.items():
            row = simulator.truth(market, symbol, "1m", open_time, open_time).values[0].tolist()
            assert [float(k[c]) for c in "ohlcvqnVQ"] == row


async def test_between_two_forming_frames_closing_ones_come_once() -> None:
    async with running(rate=4.0) as (_, client):  # slow enough for rounds in which only closing frames leave
        ws = await connect(client, "spot", "/ws/btcusdt@kline_1s/ethusdt@kline_1s")
        closed: dict[tuple[str, int], int] = {}
        async with asyncio.timeout(15):
            while len(closed) < 8:
                event = await receive(ws)
                key = (event["s"], event["k"]["t"])
                assert key not in closed
                if event["k"]["x"]:
                    closed[key] = event["E"]
        delays = [event_ms - open_time - 1000 for (_, open_time), event_ms in closed.items()]
        assert any(d % 1000 for d in delays), "they do not wait for the next forming frame"


def test_when_rounds_are_due() -> None:
    exchange = Exchange(small_market())
    hub = Hub(exchange)
    group = KlineGroup("spot", "1m", START_MS, START_MS, topics={0: []})
    group.formats[0] = KlineFormat(exchange.market.instruments("spot")[0], "1m")

    def due(ms: int) -> int:
        hub._push_klines(group, START_MS + ms)
        return int(group.due_ms) - START_MS

    assert due(30_000) == 32_000, "in the middle of a bar: when forming frames are due"
    assert due(32_001) == 34_000
    assert due(58_500) == 60_000
    assert due(60_000) == 60_250, "a bar has ended: every quarter of a second for closing frames"
    assert due(60_260) == 60_500
    assert due(62_100) == 62_250
    assert due(62_250) == 64_000, "the timer has closed what was left"
    futures = KlineGroup("usdm", "1m", START_MS, START_MS, topics={0: []})
    futures.formats[0] = KlineFormat(exchange.market.instruments("usdm")[0], "1m")
    hub._push_klines(futures, START_MS + 30_010)
    assert futures.due_ms == START_MS + 30_250


async def test_cadence_and_change() -> None:
    async with running(rate=4.0, start_ms=START_MS + 10_000) as (_, client):
        ws = await connect(client, "usdm", "/market/ws/btcusdt@kline_1m")
        events = await collect(ws, 8)
        gaps = [b["E"] - a["E"] for a, b in pairwise(events)]
        assert min(gaps) >= 150
        assert len({(e["k"]["n"], e["k"]["v"]) for e in events}) == len(events), "only when something changed"
        spot = await connect(client, "spot", "/ws/btcusdt@kline_1m")
        slow = await collect(spot, 2)
        assert slow[1]["E"] - slow[0]["E"] >= 1900
        seconds = await connect(client, "spot", "/ws/btcusdt@kline_1s")
        event = (await collect(seconds, 1))[0]
        assert event["k"]["T"] - event["k"]["t"] == 999


async def test_closing_frames_come_on_the_next_trade_or_after_two_seconds() -> None:
    async with running(rate=240.0) as (simulator, client):
        symbols = [i.symbol for i in simulator.exchange.market.instruments("usdm") if i.trades_at(START_MS)]
        streams = "/".join(f"{s.lower()}@kline_1m" for s in symbols)
        ws = await connect(client, "usdm", "/market/ws/" + streams)
        delays, bars = [], {}
        async with asyncio.timeout(15):
            while len(delays) < 60:
                event = await receive(ws)
                if event["k"]["x"]:
                    delays.append(event["E"] - event["k"]["T"] - 1)
                    bars[(event["s"], event["k"]["t"])] = event["k"]["n"]
        assert all(0 <= d <= 2000 for d in delays)
        assert len(set(delays)) > 3
        assert 2000 in delays or len(bars) > 0
        assert all(n > 0 for n in bars.values()), "an empty bar pushes nothing"


async def test_mini_tickers_and_mark_prices() -> None:
    async with running(rate=60.0) as (_, client):
        ws = await connect(client, "usdm", "/market/ws/!miniTicker@arr")
        first = await receive(ws)
        assert {e["e"] for e in first} == {"24hrMiniTicker"}
        assert {e["st"] for e in first} == {1, 2}, "merged: both futures"
        assert list(first[0]) == ["e", "E", "s", "c", "o", "h", "l", "v", "q", "ps", "st"]
        one = await connect(client, "spot", "/ws/btcusdt@miniTicker")
        assert list(await receive(one)) == ["e", "E", "s", "c", "o", "h", "l", "v", "q"]
        mark = await connect(client, "usdm", "/market/ws/btcusdt@markPrice@1s")
        event = await receive(mark)
        assert (event["e"], event["s"]) == ("markPriceUpdate", "BTCUSDT")
        everyone = await connect(client, "usdm", "/market/ws/!markPrice@arr")
        assert len(await receive(everyone)) > 10


async def test_microseconds_on_spot() -> None:
    async with running(rate=60.0) as (_, client):
        ws = await connect(client, "spot", "/ws/btcusdt@kline_1m?timeUnit=MICROSECOND")
        event = await receive(ws)
        assert event["E"] > 10**15
        assert event["k"]["T"] - event["k"]["t"] == 60 * 10**6 - 1


async def test_a_listed_symbol_begins_to_push_on_standing_subscriptions() -> None:
    async with running(market=new_market(), rate=120.0) as (simulator, client):
        ws = await connect(client, "usdm", "/market/ws/newusdt@kline_1m")
        assert await silence(ws, 0.2)
        simulator.fault("listing", market="usdm", symbols=["NEWUSDT"])
        event = await receive(ws, 5)
        assert event["s"] == "NEWUSDT"
        simulator.fault("delisting", market="usdm", symbols=["NEWUSDT"])
        last = event
        with pytest.raises(TimeoutError):
            while True:
                last = await receive(ws, 0.8)
        assert last["k"]["x"]


# ---- routes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("market", "path", "settings", "speaks"),
    [
        ("usdm", "/ws/", Settings(), False),
        ("usdm", "/stream?streams=", Settings(), False),
        ("usdm", "/market/ws/", Settings(), True),
        ("usdm", "/public/ws/", Settings(), False),
        ("usdm", "/private/stream?streams=", Settings(), False),
        ("usdm", "/ws/", Settings(era="pre-split"), True),
        ("usdm", "/market/ws/", Settings(era="split"), True),
        ("coinm", "/ws/", Settings(), True),
        ("coinm", "/market/ws/", Settings(), False),
        ("coinm", "/ws/", Settings(coinm_route="market"), False),
        ("coinm", "/market/ws/", Settings(coinm_route="market"), True),
        ("coinm", "/market/ws/", Settings(coinm_route="both"), True),
    ],
)
async def test_wrong_routes_acknowledge_and_stay_silent(
    market: str, path: str, settings: Settings, speaks: bool
) -> None:
    symbol = "btcusdt" if market == "usdm" else "btcusd_perp"
    async with running(rate=60.0, settings=settings) as (_, client):
        ws = await connect(client, market, f"{path}{symbol}@kline_1m")
        await ws.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 1})
        while "result" not in (reply := await receive(ws)):
            assert speaks
        assert reply["result"] == [f"{symbol}@kline_1m"]
        assert await silence(ws, 0.4) != speaks


# ---- limits ----------------------------------------------------------------------------------------


async def test_too_many_messages_disconnect() -> None:
    async with running() as (simulator, client):
        for market, path, limit in (("spot", "/ws", 5), ("usdm", "/market/ws", 10)):
            ws = await connect(client, market, path)
            for i in range(limit):
                await ws.send_json({"method": "LIST_SUBSCRIPTIONS", "id": i})
            assert len(await collect(ws, limit)) == limit
            await ws.ping()  # pings count as well
            assert await closing(ws) == 1008
        await eventually(lambda: simulator.exchange.stats.closed["messages"] == 2)


async def test_too_many_streams_disconnect() -> None:
    async with running(settings=Settings(max_streams=3)) as (_, client):
        ws = await connect(client, "usdm", "/market/stream?streams=a@x/b@x/c@x")
        await ws.send_json({"method": "SUBSCRIBE", "params": ["a@x"], "id": 1})
        assert (await receive(ws))["id"] == 1
        await ws.send_json({"method": "SUBSCRIBE", "params": ["d@x"], "id": 1})
        assert await closing(ws) == 1008
        url = await connect(client, "usdm", "/market/stream?streams=a@x/b@x/c@x/d@x")
        assert await closing(url) == 1008


async def test_a_connection_lives_for_a_day_of_exchange_time() -> None:
    async with running(rate=86_400.0) as (simulator, client):
        ws = await connect(client, "usdm", "/market/ws/nosuch@kline_1m")
        began = simulator.exchange.now_ms()
        assert await closing(ws) == 1001
        assert simulator.exchange.now_ms() - began >= 86_000_000
        await eventually(lambda: simulator.exchange.stats.closed["life"] == 1)


async def test_connection_attempts_of_spot() -> None:
    async with running(settings=Settings(attempts=2)) as (_, client):
        for _i in range(2):
            await connect(client, "spot", "/ws")
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await connect(client, "spot", "/ws")
        assert refused.value.status == 429
        await connect(client, "usdm", "/market/ws")


async def test_server_pings_want_their_payload_back() -> None:
    settings = Settings(ping_every_s=(0.1, 0.1), ping_deadline_s=(0.6, 0.6))
    async with running(settings=settings) as (simulator, client):
        mute = await connect(client, "spot", "/ws", autoping=False)
        ping = await mute.receive(2)
        assert ping.type is WSMsgType.PING
        assert int(ping.data) >= START_MS
        good = await connect(client, "spot", "/ws")  # aiohttp answers by itself while it reads
        unasked = await connect(client, "spot", "/ws", autoping=False)
        futures = await connect(client, "usdm", "/market/ws", autoping=False)
        ends = [asyncio.create_task(closing(ws)) for ws in (mute, unasked, good)]
        for _ in range(4):
            await asyncio.sleep(0.25)
            with contextlib.suppress(ConnectionError):
                await unasked.pong(b"hello")
            await futures.pong(b"hello")
        assert await ends[0] == 1008
        assert await ends[1] == 1008, "on spot a pong that echoes nothing does not count"
        await eventually(lambda: simulator.exchange.stats.closed["pong"] == 2)
        assert not ends[2].done()
        assert not futures.closed
        ends[2].cancel()


async def test_a_client_that_does_not_read_gets_no_forming_frames_and_then_none() -> None:
    settings = Settings(soft_buffer=1 << 16, hard_buffer=3 << 22)
    # at 60, even a busy machine makes far more than 20 forming frames before the closing ones fill the buffer
    async with running(rate=60.0, settings=settings) as (simulator, client):
        stats = simulator.exchange.stats
        # frames of 2 MB fill the kernel's buffers at once
        simulator.fault("malformed", variants=["huge"])
        ws = await connect(client, "usdm", "/market/ws/btcusdt@kline_1m/ethusdt@kline_1m")
        (connection,) = simulator.hub.connections
        await eventually(lambda: stats.skipped_frames >= 20, 30)
        assert connection.transport.get_write_buffer_size() < (3 << 22) + (1 << 23)
        await eventually(lambda: stats.closed["slow"] == 1, 30)
        assert not ws.closed, "it has not looked yet"


# ---- faults ----------------------------------------------------------------------------------------


async def minute_frames(client: Client, simulator: Simulator, n: int, **fault: Any) -> list[Any]:
    """Messages of one 1m stream under a fault, raw text or bytes."""
    ws = await connect(client, "usdm", "/market/ws/btcusdt@kline_1m")
    await receive(ws)
    simulator.fault(**fault)
    async with asyncio.timeout(15):
        return [(await ws.receive()).data for _ in range(n)]


@pytest.mark.parametrize("code", [1000, 1001, 1012])
async def test_drop_with_a_close_code(code: int) -> None:
    async with running(rate=60.0) as (simulator, client):
        ws = await connect(client, "usdm", "/market/ws/btcusdt@kline_1m")
        other = await connect(client, "spot", "/ws/btcusdt@kline_1m")
        await receive(ws)
        assert simulator.fault("drop", code=code, market="usdm").hits == 1
        assert await closing(ws) == code
        await receive(other)


async def test_drop_by_reset() -> None:
    async with running(rate=60.0) as (simulator, _):
        url = simulator.urls("usdm")["stream"] + "/market/ws/btcusdt@kline_1m"
        async with websockets.connect(url) as ws:
            await ws.recv()
            simulator.fault("drop", abort=True)
            with pytest.raises(websockets.ConnectionClosedError) as ended:
                while True:
                    await asyncio.wait_for(ws.recv(), 5)
            assert ended.value.rcvd is None, "no close frame"
        await eventually(lambda: not simulator.hub.connections)


async def test_a_stalled_socket_is_silent_but_answers_pings() -> None:
    async with running(rate=60.0) as (simulator, client):
        ws = await connect(client, "usdm", "/market/ws/btcusdt@kline_1m", autoping=False)
        await receive(ws)
        simulator.fault("stall", duration_s=1.0)
        await asyncio.sleep(0.1)
        while not await silence(ws, 0.3):
            pass
        await ws.ping(b"there?")
        pong = await ws.receive(1)
        assert (pong.type, pong.data) == (WSMsgType.PONG, b"there?")
        message = await ws.receive(3)
        assert message.type is WSMsgType.TEXT, "the stall is over"


async def test_a_half_open_socket_answers_nothing() -> None:
    async with running(rate=60.0) as (simulator, client):
        ws = await connect(client, "usdm", "/market/ws/btcusdt@kline_1m", autoping=False)
        second = await connect(client, "usdm", "/market/ws/btcusdt@kline_1m")
        await receive(ws)
        fault = simulator.fault("stall", pongs=False, count=1)
        await asyncio.sleep(0.1)
        while not await silence(ws, 0.3):
            pass
        await ws.ping(b"there?")
        assert await silence(ws, 0.5)
        await receive(second)
        simulator.clear_faults(fault.id)
        pong = await ws.receive(3)
        assert pong.type in (WSMsgType.PONG, WSMsgType.TEXT)


async def test_new_connections_can_be_silent() -> None:
    async with running(rate=60.0) as (simulator, client):
        old = await connect(client, "usdm", "/market/ws/btcusdt@kline_1m")
        simulator.fault("silent_new", count=1)
        mute = await connect(client, "usdm", "/market/ws/btcusdt@kline_1m")
        await mute.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 1})
        assert (await receive(mute))["result"] == ["btcusdt@kline_1m"]
        assert await silence(mute, 0.4)
        await receive(old)
        await receive(await connect(client, "usdm", "/market/ws/btcusdt@kline_1m"))
        simulator.fault("refuse_ws", status=503, count=1)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await connect(client, "usdm", "/market/ws")
        assert refused.value.status == 503


async def test_some_symbols_vanish() -> None:
    async with running(rate=60.0) as (simulator, client):
        simulator.fault("silent_symbols", symbols=["ETHUSDT"])
        ws = await connect(client, "usdm", "/market/ws/btcusdt@kline_1m/ethusdt@kline_1m")
        assert {e["s"] for e in await collect(ws, 10)} == {"BTCUSDT"}


async def test_duplicates_and_old_frames_again() -> None:
    async with running(rate=60.0) as (simulator, client):
        twice = await minute_frames(client, simulator, 12, kind="duplicate")
        assert any(a == b for a, b in pairwise(twice))
        simulator.clear_faults()
        again = await minute_frames(client, simulator, 12, kind="out_of_order")
        assert len(set(again)) < len(again)


async def test_a_closing_frame_can_be_missing_or_late() -> None:
    async with running(rate=240.0) as (simulator, client):
        frames = await minute_frames(client, simulator, 30, kind="missing_close", count=1)
        opened = [json.loads(f)["k"]["t"] for f in frames]
        closed = [json.loads(f)["k"]["t"] for f in frames if json.loads(f)["k"]["x"]]
        assert len(set(opened) - set(closed)) >= 2, "one was swallowed, one is forming"
        simulator.clear_faults()
        frames = await minute_frames(client, simulator, 40, kind="late", closing=True, seconds=30, count=1)
        events = [json.loads(f) for f in frames]
        late = [
            e["k"]["t"]
            for i, e in enumerate(events)
            if e["k"]["x"] and any(x["k"]["t"] > e["k"]["t"] for x in events[:i])
        ]
        assert len(late) == 1


@pytest.mark.parametrize("variant", ["cut", "empty", "not_utf8", "huge", "nan", "wrong_symbol"])
async def test_malformed_frames_arrive_as_they_are(variant: str) -> None:
    assert variant in MALFORMED
    async with running(rate=60.0) as (simulator, client):
        reader = await connect(client, "usdm", "/market/stream?streams=btcusdt@kline_1m")
        await receive(reader)
        simulator.fault("malformed", variants=[variant], count=1)
        async with asyncio.timeout(10):
            while True:
                message = await reader.receive()
                try:
                    event = json.loads(message.data)["data"]
                    sound = (
                        event["s"] == "BTCUSDT" and float(event["k"]["c"]) > 0 and len(message.data) < 1000
                    )
                except (ValueError, TypeError, KeyError):
                    sound = False
                if not sound:
                    break
        assert simulator.exchange.faults.faults[-1].hits == 1


async def test_shutdown_is_announced_on_spot() -> None:
    async with running(rate=10.0) as (simulator, client):
        raw = await connect(client, "spot", "/ws")
        combined = await connect(client, "spot", "/stream")
        futures = await connect(client, "usdm", "/market/ws")
        await asyncio.sleep(0.05)
        assert simulator.fault("shutdown", seconds=10).hits == 2
        event = await receive(raw)
        assert (event["e"], list(event)) == ("serverShutdown", ["e", "E"])
        wrapped = await receive(combined)
        assert wrapped["stream"] == "!serverShutdown"
        assert wrapped["data"]["e"] == "serverShutdown"
        assert await silence(raw, 0.4), "the close comes later"
        assert await closing(raw) == 1001
        assert not futures.closed
