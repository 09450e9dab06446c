"""websocket.py against a small stream server that misbehaves on demand: every loss is noticed and healed."""

import asyncio
import base64
import dataclasses
import hashlib
import json
import logging
import socket
import ssl
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from bmac_stream.bar import floor_open_time
from bmac_stream.binance.markets import MARKETS
from bmac_stream.binance.protocol import Kline
from bmac_stream.binance.websocket import KlineStreams, StreamEvent
from bmac_stream.clock import Clock

from .messages import frame
from .proxies import HttpProxy, SocksProxy

USDM = MARKETS["usdm"]


class Streams:
    """A stream server: answers SUBSCRIBE, pushes a kline per stream every `pace_s`."""

    def __init__(self) -> None:
        self.port = 0
        self.sockets: list[ServerConnection] = []
        self.subscribed: dict[ServerConnection, set[str]] = {}
        self.messages: list[dict[str, Any]] = []
        self.attempts: list[str] = []
        self.most_open = 0
        self.pace_s = 0.02
        self.silent_paths: set[str] = set()
        self.silent = False
        self.refuse = False
        self.refused_names: set[str] = set()
        self.deaf = 0  # so many messages are neither obeyed nor answered

    async def handle(self, ws: ServerConnection) -> None:
        assert ws.request is not None
        self.attempts.append(ws.request.path)
        self.sockets.append(ws)
        self.most_open = max(self.most_open, len(self.sockets))
        streams = self.subscribed[ws] = set()
        pushing = asyncio.create_task(self.push(ws, streams))
        try:
            async for raw in ws:
                message = json.loads(raw)
                self.messages.append(message)
                if self.deaf:
                    self.deaf -= 1
                    continue
                if self.refuse or self.refused_names.intersection(message["params"]):
                    await ws.send(json.dumps({"code": 2, "msg": "Invalid request", "id": message["id"]}))
                    continue
                if message["method"] == "SUBSCRIBE":
                    streams.update(message["params"])
                else:
                    streams.difference_update(message["params"])
                await ws.send(json.dumps({"result": None, "id": message["id"]}))
        except ConnectionClosed:
            pass
        finally:
            pushing.cancel()
            self.sockets.remove(ws)
            del self.subscribed[ws]

    async def push(self, ws: ServerConnection, streams: set[str]) -> None:
        assert ws.request is not None
        with suppress(ConnectionClosed):
            while True:
                await asyncio.sleep(self.pace_s)
                if self.silent or ws.request.path in self.silent_paths:
                    continue
                for stream in sorted(streams):
                    await ws.send(live_frame(stream.partition("@")[0].upper()).decode())

    async def say(self, text: str | bytes) -> None:
        for ws in self.sockets:
            await ws.send(text)


def live_frame(symbol: str, **change: Any) -> bytes:
    """A kline of the bar that forms now."""
    opened = floor_open_time(time.time() * 1e3, "1m")
    return frame(symbol=symbol, t=opened, T=opened + 59_999, **change)


@asynccontextmanager
async def _serve(tls: ssl.SSLContext | None = None) -> AsyncIterator[Streams]:
    streams = Streams()
    async with serve(streams.handle, "127.0.0.1", 0, ssl=tls, compression=None) as server:
        streams.port = next(iter(server.sockets)).getsockname()[1]
        yield streams


@pytest.fixture
async def server() -> AsyncIterator[Streams]:
    async with _serve() as streams:
        yield streams


class Client:
    """KlineStreams and what they said."""

    def __init__(self, server: Streams | None, urls: list[str] | None = None, **options: Any) -> None:
        self.seen: Counter[str] = Counter()
        self.events: list[StreamEvent] = []
        market = options.pop("market", USDM)
        self.streams = KlineStreams(
            market,
            urls if urls is not None else [f"ws://127.0.0.1:{server.port}"] if server else [],
            "1m",
            options.pop("clock", None) or Clock(),
            options.pop("on_kline", self.on_kline),
            on_event=self.events.append,
            **{"groups": 2, "first_frame_timeout_s": 0.4, "silence_timeout_s": 0.4, **options},
        )

    def on_kline(self, kline: Kline) -> None:
        self.seen[kline.symbol] += 1

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    @asynccontextmanager
    async def running(self, *symbols: str) -> AsyncIterator[KlineStreams]:
        self.streams.set_symbols(symbols)
        task = asyncio.create_task(self.streams.run())
        try:
            yield self.streams
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def until(what: Callable[[], object], within_s: float = 8.0) -> None:
    """Wait for it to become true."""
    async with asyncio.timeout(within_s):
        while not what():
            await asyncio.sleep(0.01)


SYMBOLS = ("AUSDT", "BUSDT", "CUSDT", "币安人生USDT")


async def test_frames_of_all_symbols_arrive(server: Streams) -> None:
    client = Client(server)
    async with client.running(*SYMBOLS) as streams:
        await until(lambda: min(client.seen[symbol] for symbol in SYMBOLS) > 3)
        assert len(server.sockets) == 2 and sorted(map(len, server.subscribed.values())) == [2, 2]
        assert set(server.attempts) == {"/stream"}
        assert streams.stats.klines == streams.stats.frames - 2  # two replies
        assert all(streams.is_covered(symbol) for symbol in SYMBOLS) and not streams.is_covered("X")
        assert [connection.symbols for connection in streams.stats.connections] == [2, 2]
    assert not client.streams.stats.connections and not client.streams.stats.bad_frames
    for kind in ("connected", "speaking", "subscribed"):
        whom = [symbol for event in client.events if event.kind == kind for symbol in event.symbols]
        assert sorted(whom) == sorted(SYMBOLS), kind
    assert all(event.dark_since_ms for event in client.events if event.kind == "speaking")
    await until(lambda: not server.sockets)


async def test_symbols_come_and_go_without_a_new_connection(server: Streams) -> None:
    client = Client(server)
    async with client.running(*SYMBOLS) as streams:
        await until(lambda: len(client.seen) == 4)
        group_of = dict(streams._group_of)
        streams.set_symbols(["BUSDT", "CUSDT", "币安人生USDT", "NEWUSDT"])
        await until(lambda: client.seen["NEWUSDT"])
        wanted = {"busdt@kline_1m", "cusdt@kline_1m", "币安人生usdt@kline_1m", "newusdt@kline_1m"}
        await until(lambda: set().union(*server.subscribed.values()) == wanted)
        assert all(streams._group_of[symbol] is group_of[symbol] for symbol in ("BUSDT", "CUSDT"))
        assert len(server.attempts) == 2 and not streams.stats.bad_frames
        gone = client.seen["AUSDT"]
        await asyncio.sleep(0.1)
        assert client.seen["AUSDT"] == gone
        assert streams.symbols == {"BUSDT", "CUSDT", "币安人生USDT", "NEWUSDT"}


async def test_empty_groups_sleep_and_wake(server: Streams) -> None:
    client = Client(server, groups=8)
    async with client.running() as streams:
        await asyncio.sleep(0.2)
        assert not server.attempts
        streams.set_symbols(["AUSDT"])
        await until(lambda: client.seen["AUSDT"])
        assert len(server.sockets) == 1
        streams.set_symbols([])
        await until(lambda: not server.sockets)
        streams.set_symbols(["BUSDT"])
        await until(lambda: client.seen["BUSDT"])
        assert len(server.attempts) == 2


async def test_groups_grow_with_the_limit_of_streams(server: Streams) -> None:
    client = Client(server, market=dataclasses.replace(USDM, streams_per_connection=3))
    async with client.running(*(f"S{i}USDT" for i in range(6))) as streams:
        await until(lambda: len(client.seen) == 6)
        streams.set_symbols(f"S{i}USDT" for i in range(11))
        await until(lambda: len(client.seen) == 11)
        assert len(server.sockets) == 4
        assert max(len(names) for names in server.subscribed.values()) <= 3


async def test_many_names_are_sent_in_batches_at_a_measured_pace(server: Streams) -> None:
    server.pace_s = 0.2
    client = Client(server, groups=1, first_frame_timeout_s=5.0)
    began = time.monotonic()
    async with client.running(*(f"S{i}USDT" for i in range(200))):
        await until(lambda: len(client.seen) == 200)
    batches = [len(message["params"]) for message in server.messages if message["method"] == "SUBSCRIBE"]
    assert batches == [100, 100]
    assert time.monotonic() - began >= 2.0 / USDM.messages_per_s


async def test_resubscribe(server: Streams) -> None:
    client = Client(server)
    async with client.running(*SYMBOLS) as streams:
        await until(lambda: len(client.seen) == 4)
        streams.resubscribe(["AUSDT", "UNKNOWN"])
        await until(lambda: len(server.messages) == 4)
        assert [(m["method"], m["params"]) for m in server.messages[2:]] == [
            ("UNSUBSCRIBE", ["ausdt@kline_1m"]),
            ("SUBSCRIBE", ["ausdt@kline_1m"]),
        ]
        assert len(server.attempts) == 2


async def test_a_refused_subscription_is_told(server: Streams) -> None:
    server.refuse = True
    client = Client(server, groups=1)
    async with client.running("AUSDT") as streams:
        await until(lambda: "refused" in client.kinds())
        event = next(event for event in client.events if event.kind == "refused")
        assert event.symbols == ("AUSDT",) and "Invalid request" in event.detail
        assert streams.stats.refused >= 1


async def test_one_refused_name_does_not_cost_the_others_their_streams(server: Streams) -> None:
    server.refused_names = {"busdt@kline_1m"}
    names = [*SYMBOLS, *(f"X{i}USDT" for i in range(6))]
    client = Client(server, groups=1, first_frame_timeout_s=5, silence_timeout_s=5)
    async with client.running(*names):
        await until(lambda: set(client.seen) == set(names) - {"BUSDT"})
        assert len(server.attempts) == 1
        assert len(server.messages) < 2 * len(names)


async def test_a_subscription_that_nobody_answers_is_asked_for_again(
    server: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bmac_stream.binance.websocket._ANSWER_S", 0.2)
    client = Client(server, groups=1, first_frame_timeout_s=5, silence_timeout_s=5)
    async with client.running("AUSDT") as streams:
        await until(lambda: client.seen["AUSDT"])
        server.deaf = 1
        streams.set_symbols(["AUSDT", "BUSDT"])
        await until(lambda: client.seen["BUSDT"])
        assert len(server.attempts) == 1
        told = len(server.messages)
        await asyncio.sleep(0.5)
        assert len(server.messages) == told, "answered ones are not asked for again"


async def test_connected_but_silent_means_the_next_candidate(server: Streams) -> None:
    """What the retired USD-M path does: handshake, acknowledgement, silence."""
    server.silent_paths = {"/legacy/stream"}
    base = f"ws://127.0.0.1:{server.port}"
    client = Client(server, [f"{base}/legacy", f"{base}/market"], groups=1)
    async with client.running("AUSDT") as streams:
        await until(lambda: client.seen["AUSDT"])
        assert server.attempts == ["/legacy/stream", "/market/stream"]
        assert streams.stats.stalls == 1
        failed = next(event for event in client.events if event.kind == "failed")
        assert "no kline came" in failed.detail and "/legacy" in failed.detail
        for ws in list(server.sockets):
            ws.transport.abort()
        await until(lambda: len(server.attempts) == 3 and client.events[-1].kind == "speaking")
        assert server.attempts[-1] == "/market/stream"  # remembered


async def test_a_lost_socket_is_replaced_and_the_gap_is_told(server: Streams) -> None:
    client = Client(server)
    async with client.running(*SYMBOLS) as streams:
        await until(lambda: len(client.seen) == 4)
        victim = server.sockets[0]
        names = server.subscribed[victim]
        lost_from = streams.clock.now_ms()
        victim.transport.abort()
        await until(lambda: streams.stats.reconnects == 1 and client.events[-1].kind == "speaking")
        lost = next(event for event in client.events if event.kind == "lost")
        assert {f"{symbol.lower()}@kline_1m" for symbol in lost.symbols} == names
        speaking = client.events[-1]
        assert speaking.symbols == lost.symbols
        assert speaking.dark_since_ms is not None
        assert lost_from - 1 <= speaking.dark_since_ms <= streams.clock.now_ms()
        assert len(server.attempts) == 3  # the other socket stayed


async def test_a_socket_that_falls_silent_is_replaced(server: Streams) -> None:
    client = Client(server, groups=1)
    async with client.running("AUSDT") as streams:
        await until(lambda: client.seen["AUSDT"])
        server.silent = True
        await until(lambda: streams.stats.stalls >= 1)
        server.silent = False
        heard = client.seen["AUSDT"]
        await until(lambda: client.seen["AUSDT"] > heard)
        assert "silent" in next(event for event in client.events if event.kind == "lost").detail


async def test_the_successor_speaks_before_the_old_socket_is_closed(server: Streams) -> None:
    clock = Clock(rate=1.0)
    client = Client(server, groups=1, clock=clock, life_ms=600.0)
    longest = 0.0
    last = time.monotonic()

    def on_kline(kline: Kline) -> None:
        nonlocal longest, last
        now = time.monotonic()
        longest, last = max(longest, now - last), now
        client.seen[kline.symbol] += 1

    client.streams._on_kline = on_kline
    async with client.running("AUSDT") as streams:
        await until(lambda: streams.stats.rollovers >= 2)
        assert server.most_open == 2
        assert "lost" not in client.kinds() and streams.stats.reconnects == 0
        speaking = [event for event in client.events if event.kind == "speaking"]
        assert speaking[0].dark_since_ms and all(event.dark_since_ms is None for event in speaking[1:])
        await until(lambda: len(server.sockets) == 1)


async def test_an_announced_shutdown_is_answered_at_once(server: Streams) -> None:
    client = Client(server, groups=1)
    async with client.running("AUSDT") as streams:
        await until(lambda: client.seen["AUSDT"])
        await server.say('{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1785542400000}}')
        await until(lambda: streams.stats.rollovers == 1)
        assert "lost" not in client.kinds()
        assert "shutdown" in next(event for event in client.events if event.kind == "rollover").detail


async def test_bad_frames_are_counted_logged_once_and_survived(
    server: Streams, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    clock.synced = True
    client = Client(server, groups=1, clock=clock)
    five = floor_open_time(time.time() * 1e3, "5m")
    bad = [
        b"{", b"[]", b"\xff\xfe", live_frame("ZUSDT"), live_frame("AUSDT", v="NaN"),
        frame(symbol="AUSDT"),  # of 2026-08-01, whenever that is
        frame(symbol="AUSDT", t=five, T=five + 299_999, i="5m"),
        b'{"stream":"ausdt@kline_1m","data":{"e":"trade"}}',
    ]  # fmt: skip
    with caplog.at_level(logging.WARNING):
        async with client.running("AUSDT") as streams:
            await until(lambda: client.seen["AUSDT"])
            for message in bad * 3:
                await server.say(message)  # binary frames, some of them: all the same
            await server.say('{"e":"24hrMiniTicker","E":1,"s":"AUSDT"}')
            heard = client.seen["AUSDT"]
            await until(lambda: client.seen["AUSDT"] > heard + 3)
            counted = streams.stats.bad_frames
            assert sum(counted.values()) == 3 * len(bad)
            assert counted["json"] == 6 and counted["symbol"] == 3 and counted["interval"] == 3
            assert counted["stale"] + counted["future"] == 3
            assert streams.stats.other_events == 1 and len(server.attempts) == 1
    lines = [record for record in caplog.records if record.name.endswith("binance.websocket")]
    assert len(lines) == 1 and len(lines[0].getMessage()) < 600


async def test_an_oversize_frame_costs_the_socket_only(server: Streams) -> None:
    client = Client(server, groups=1)
    async with client.running("AUSDT") as streams:
        await until(lambda: client.seen["AUSDT"])
        await server.say("x" * (1 << 21))
        await until(lambda: streams.stats.reconnects == 1)
        assert streams.stats.bad_frames["oversize"] == 1


async def test_fragments_and_pings_take_the_long_way(server: Streams) -> None:
    server.pace_s = 3600.0
    client = Client(server, groups=1, first_frame_timeout_s=30.0)
    async with client.running("AUSDT"):
        await until(lambda: server.messages)
        ws = server.sockets[0]
        raw = live_frame("AUSDT").decode()
        await ws.send([raw[:50], raw[50:90], raw[90:]])
        await ws.send(raw)
        waiter = await ws.ping(b"are you there")
        await asyncio.wait_for(waiter, 3)
        await until(lambda: client.seen["AUSDT"] == 2)


async def test_what_on_kline_raises_ends_run(server: Streams) -> None:
    def on_kline(kline: Kline) -> None:
        raise ZeroDivisionError(kline.symbol)

    client = Client(server, on_kline=on_kline)
    client.streams.set_symbols(SYMBOLS)
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(client.streams.run(), 5)


async def test_refused_and_unresolved_addresses_are_retried() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        client = Client(None, [f"ws://127.0.0.1:{port}", "ws://nowhere.invalid"], groups=1)
        async with client.running("AUSDT"):
            await until(lambda: client.kinds().count("failed") >= 3)
    details = [event.detail for event in client.events]
    assert any("connection refused" in detail for detail in details)
    assert any("cannot be resolved" in detail for detail in details)


async def test_attempts_stay_within_the_budget(server: Streams) -> None:
    market = dataclasses.replace(USDM, attempts=8, attempts_window_ms=60_000)
    server.silent = True
    client = Client(server, groups=1, market=market, first_frame_timeout_s=0.02)
    async with client.running("AUSDT") as streams:
        await until(lambda: streams.stats.attempts == 4)
        await asyncio.sleep(1.0)
        assert len(server.attempts) == 4  # half of what the exchange allows, then wait


async def test_stopping_leaves_nothing_behind(server: Streams) -> None:
    before = len(asyncio.all_tasks())
    client = Client(server)
    async with client.running(*SYMBOLS):
        await until(lambda: len(client.seen) == 4)
    await until(lambda: not server.sockets)
    assert len(asyncio.all_tasks()) <= before


@pytest.mark.parametrize("kind", [HttpProxy, SocksProxy])
async def test_tls_through_a_proxy_where_there_is_no_other_way(
    tmp_path: Path, kind: type[HttpProxy] | type[SocksProxy]
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("exchange.test").configure_cert(context)
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    login = ("user", "s3cret")
    async with _serve(context) as server, kind(login=login, hosts={"exchange.test": "127.0.0.1"}) as proxy:
        urls = [f"wss://exchange.test:{server.port}"]
        client = Client(None, urls, groups=1, proxy=proxy.url, ca_file=ca_file)
        async with client.running("AUSDT"):
            await until(lambda: client.seen["AUSDT"])
            proxy.drop()  # every tunnel is cut
            await until(lambda: client.kinds().count("speaking") == 2)
        assert set(proxy.asked) == {f"exchange.test:{server.port}"} and proxy.tunnels == 2

        distrusting = Client(None, urls, groups=1, proxy=proxy.url)
        async with distrusting.running("AUSDT"):
            await until(lambda: "failed" in distrusting.kinds())
        assert "TLS verification failed" in distrusting.events[0].detail

        wrong = f"{proxy.scheme}://user:wr0ng@127.0.0.1:{proxy.port}"
        locked_out = Client(None, urls, groups=1, proxy=wrong, ca_file=ca_file)
        async with locked_out.running("AUSDT"):
            await until(lambda: "failed" in locked_out.kinds())
        assert "proxy" in locked_out.events[0].detail
        for event in client.events + distrusting.events + locked_out.events:
            assert "s3cret" not in event.detail and "wr0ng" not in event.detail


def test_arguments_are_checked() -> None:
    for options in ({"groups": 0}, {"proxy": "ftp://x:1"}):
        with pytest.raises(ValueError):
            Client(None, **options)
    with pytest.raises(ValueError, match="interval"):
        KlineStreams(USDM, [], "1s", Clock(), lambda kline: None)
    with pytest.raises(ValueError, match="interval"):
        KlineStreams(USDM, [], "1M", Clock(), lambda kline: None)


async def test_half_a_byte_at_a_time() -> None:
    """The shortest TCP segments there are, across handshake, frame heads and payloads."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = await reader.readuntil(b"\r\n\r\n")
        key = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
        digest = hashlib.sha1(key.split(b": ")[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        answer = (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
        )
        ping = b"\x89\x02hi"
        payload = live_frame("AUSDT")
        message = b"\x81\x7e" + struct.pack(">H", len(payload)) + payload
        long = live_frame("AUSDT").replace(b'"B"', b'"pad":"' + b"x" * 70_000 + b'","B"')
        longer = b"\x81\x7f" + struct.pack(">Q", len(long)) + long
        for byte in answer + ping + message + ping:
            writer.write(bytes((byte,)))
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(longer[:5])
        await writer.drain()
        await asyncio.sleep(0.01)
        writer.write(longer[5:40_000])
        await writer.drain()
        await asyncio.sleep(0.01)
        writer.write(longer[40_000:] + message * 3 + ping + message[:7])
        await writer.drain()
        await asyncio.sleep(0.01)
        writer.write(message[7:])
        await writer.drain()
        pongs = await reader.readexactly(2)
        assert pongs
        await asyncio.sleep(30)

    raw = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = raw.sockets[0].getsockname()[1]
    client = Client(
        None, [f"ws://127.0.0.1:{port}"], groups=1, first_frame_timeout_s=20.0, silence_timeout_s=20.0
    )
    async with raw, client.running("AUSDT") as streams:
        await until(lambda: client.seen["AUSDT"] == 6)
        assert not streams.stats.bad_frames
