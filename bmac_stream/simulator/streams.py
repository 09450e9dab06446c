"""The exchange's WebSocket streams: connections, who listens to what, and the rounds of pushes.

One `Hub` serves all markets. In each round it asks the market what changed, prints every event once, and
writes the same bytes to all who subscribed. It writes whole server frames straight to the transport, many
in one write: frames of a server have no mask and, uncompressed, no state, so bytes can be shared.

Nothing is queued without bound: a client that does not read gets closing frames only (`soft_buffer`), and
is disconnected when even these pile up (`hard_buffer`).
"""

import asyncio
import contextlib
import heapq
import itertools
import json
import socket
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

import numpy as np
from aiohttp import WSCloseCode, WSMsgType, web

from bmac_stream.bar import INTERVALS_MS
from bmac_stream.simulator.control import control_reply
from bmac_stream.simulator.exchange import Exchange
from bmac_stream.simulator.faults import Fault, Frame
from bmac_stream.simulator.limits import AttemptLimit, MessageLimit
from bmac_stream.simulator.market import F64, I64, Instrument
from bmac_stream.simulator.numbers import KlineFormat
from bmac_stream.simulator.topics import (
    MARKET_CODE,
    Meaning,
    in_microseconds,
    mini_event,
    parse_topic,
    ws_frame,
)

__all__ = ["Connection", "Hub", "KlineGroup", "Topic"]

KLINE_EVERY_MS: Final = {"spot": 2000, "usdm": 250, "coinm": 250}
MINI_EVERY_MS: Final = {"spot": 1000, "usdm": 2000, "coinm": 500}
CLOSING_EVERY_MS: Final = 250
_SECOND_KLINE_EVERY_MS: Final = 1000
_MAX_LATE: Final = 100_000  # frames held back by a fault; what comes on top is lost


class Connection:
    """One socket: what it subscribed, how it wants it wrapped, and what is wrong with it."""

    def __init__(
        self,
        ws: web.WebSocketResponse,
        transport: asyncio.Transport,
        market: str,
        path: str,
        client: str,
        *,
        combined: bool,
        speaks: bool,
        microseconds: bool,
        opened_ms: float,
        messages_per_s: int,
    ) -> None:
        self.ws = ws
        self.transport = transport
        self.market = market
        self.path = path
        self.client = client
        self.combined = combined
        self.speaks = speaks
        self.microseconds = microseconds
        self.opened_ms = opened_ms
        self.messages = MessageLimit(messages_per_s)
        self.names: dict[str, Topic | None] = {}
        self.out: list[bytes] = []
        self.congested = False
        self.stall: Fault | None = None
        self.reason = "client"
        now = time.monotonic()
        self.pinged = now
        self.alive = now
        self.ping_payload = b""

    def abort(self, reason: str) -> None:
        """Reset the connection (RST)."""
        self.reason = reason
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    async def close(self, code: int, reason: str, text: str = "") -> None:
        """Close with a close frame; reset if the client does not answer it in a second."""
        self.reason = reason
        try:
            async with asyncio.timeout(1.0):
                await self.ws.close(code=code, message=text.encode())
        except (TimeoutError, ConnectionError, RuntimeError):
            pass
        finally:
            self.transport.abort()


@dataclass(eq=False, slots=True)
class Topic:
    """One stream of one listener with those who listen."""

    market: str
    name: str
    meaning: Meaning
    microseconds: bool
    raw: dict[Connection, None] = field(default_factory=dict)
    combined: dict[Connection, None] = field(default_factory=dict)
    last: object = None
    """What was pushed last, for streams that push only changes."""
    group: "KlineGroup | None" = None
    position: int = -1

    def join(self, connection: Connection) -> None:
        (self.combined if connection.combined else self.raw)[connection] = None

    def leave(self, connection: Connection) -> None:
        self.raw.pop(connection, None)
        self.combined.pop(connection, None)


@dataclass(eq=False, slots=True)
class KlineGroup:
    """All kline topics of one market's instruments and one interval: asked for in one go."""

    market: str
    interval: str
    since_ms: int
    closing_since_ms: int
    topics: dict[int, list[Topic]] = field(default_factory=dict)
    """position of the instrument -> topics"""
    formats: dict[int, KlineFormat] = field(default_factory=dict)
    index: I64 | None = None
    due_ms: float = 0.0
    forming_due_ms: float = 0.0


class Hub:
    """All streams of one exchange. `run` must be running; `serve` is the handler of every stream path."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.connections: dict[Connection, None] = {}
        self._attempts = AttemptLimit(exchange.settings.attempts)
        self._topics: dict[tuple[str, str, bool], Topic] = {}
        self._groups: dict[tuple[str, str], KlineGroup] = {}
        self._minis: dict[Topic, float] = {}
        self._marks: dict[Topic, float] = {}
        self._late: list[tuple[float, int, Topic, Frame]] = []
        self._serial = itertools.count()
        self._positions: dict[str, dict[str, int]] = {}
        self._wake = asyncio.Event()
        self._closing: set[asyncio.Task[None]] = set()
        self._hour = 0

    # ---- connections -------------------------------------------------------------------------------

    def speaks(self, market: str, category: str) -> bool:
        """Whether streams of `market` push anything on /ws ("") or on /market, /public, /private."""
        settings = self.exchange.settings
        if market == "spot":
            return category == ""
        if market == "usdm":
            return category == ("" if settings.era == "pre-split" else "market")
        return settings.coinm_route == "both" or category == (
            "" if settings.coinm_route == "plain" else "market"
        )

    async def serve(self, request: web.Request, market: str) -> web.StreamResponse:
        """Accept a socket on a stream path and serve it until it ends."""
        exchange, settings = self.exchange, self.exchange.settings
        client = request.remote or ""
        path = request.path
        parts = path.strip("/").split("/")
        category = parts.pop(0) if parts[0] in ("market", "public", "private") else ""
        combined = parts[0] == "stream"
        if market == "spot" and not self._attempts.allow(client, exchange.now_ms()):
            exchange.stats.refused += 1
            return web.Response(status=429, text="Too many connection attempts")
        fault = exchange.faults.handshake(market, path, client)
        if fault is not None and fault.kind == "refuse_ws":
            exchange.stats.refused += 1
            return web.Response(status=fault.status, text="")
        names = parts[1:]
        if combined:
            names = [n for n in request.query.get("streams", "").split("/") if n]
        futures = market != "spot"
        ws = web.WebSocketResponse(autoping=False, compress=False, max_msg_size=1 << 20, timeout=1.0)
        await ws.prepare(request)
        transport = request.transport
        if transport is None:
            return ws
        assert isinstance(transport, asyncio.Transport), type(transport)
        connection = Connection(
            ws,
            transport,
            market,
            path,
            client,
            combined=combined,
            speaks=self.speaks(market, category) and fault is None,
            microseconds=not futures and request.query.get("timeUnit", "").upper() == "MICROSECOND",
            opened_ms=exchange.time.now_ms(),
            messages_per_s=settings.messages_per_s[futures],
        )
        self.connections[connection] = None
        exchange.stats.opened += 1
        self._wake.set()
        try:
            if self.subscribe(connection, [unquote(n) for n in names]):
                await self._read(connection)
            else:
                await connection.close(WSCloseCode.POLICY_VIOLATION, "streams", "Too many streams")
        finally:
            self.forget(connection)
        return ws

    async def _read(self, connection: Connection) -> None:
        ws, exchange = connection.ws, self.exchange
        while True:
            message = await ws.receive()
            kind = message.type
            if kind in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
                if kind is WSMsgType.ERROR:
                    connection.reason = "protocol"
                return
            exchange.stats.messages += 1
            within = connection.messages.allow(exchange.time.now_ms())
            exchange.stats.most_messages_per_s = max(
                exchange.stats.most_messages_per_s, connection.messages.most
            )
            if not within:
                await connection.close(WSCloseCode.POLICY_VIOLATION, "messages", "Too many requests")
                return
            if kind is WSMsgType.PING:
                if connection.stall is None or connection.stall.pongs:
                    self._write(connection, ws_frame(message.data, 10))
            elif kind is WSMsgType.PONG:
                if message.data == connection.ping_payload or connection.market != "spot":
                    connection.alive = time.monotonic()
            else:
                text = (
                    message.data if kind is WSMsgType.TEXT else bytes(message.data).decode("utf-8", "replace")
                )
                reply, fits = control_reply(self, connection, text)
                if connection.stall is None:
                    self._write(connection, ws_frame(reply))
                if not fits:
                    await connection.close(WSCloseCode.POLICY_VIOLATION, "streams", "Too many streams")
                    return

    def forget(self, connection: Connection) -> None:
        """The connection has ended."""
        if self.connections.pop(connection, False) is None:
            self.exchange.stats.closed[connection.reason] += 1
            self.unsubscribe(connection, list(connection.names))

    def subscribe(self, connection: Connection, names: Iterable[str]) -> bool:
        """Add streams; False: more than one connection may have, and it must be closed."""
        for name in names:
            if name in connection.names:
                continue
            if len(connection.names) >= self.exchange.settings.max_streams:
                return False
            topic = self._topic(connection, name) if connection.speaks else None
            connection.names[name] = topic
            if topic is not None:
                topic.join(connection)
        self._wake.set()
        return True

    def unsubscribe(self, connection: Connection, names: Iterable[str]) -> None:
        """Take streams away; those that it does not have are ignored."""
        for name in names:
            topic = connection.names.pop(name, None)
            if topic is not None:
                topic.leave(connection)
                if not topic.raw and not topic.combined:
                    self._drop(topic)

    def set_combined(self, connection: Connection, combined: bool) -> None:
        """Wrap events from now on, or no longer."""
        topics = [t for t in connection.names.values() if t is not None]
        for topic in topics:
            topic.leave(connection)
        connection.combined = combined
        for topic in topics:
            topic.join(connection)

    # ---- topics ------------------------------------------------------------------------------------

    def _topic(self, connection: Connection, name: str) -> Topic | None:
        market = connection.market
        key = (market, name, connection.microseconds)
        topic = self._topics.get(key)
        if topic is not None:
            return topic
        meaning = parse_topic(market, name)
        if meaning is None:
            return None
        topic = self._topics[key] = Topic(market, name, meaning, connection.microseconds)
        now = self.exchange.now_ms()
        if meaning.kind in ("kline", "continuous"):
            self._enrol(topic, now)
        elif meaning.kind in ("mini", "mini_all"):
            self._minis[topic] = 0.0
        else:
            self._marks[topic] = 0.0
        return topic

    def _enrol(self, topic: Topic, now: int) -> None:
        """Put a kline topic into the group of its instrument; a symbol that does not exist (yet) has none."""
        meaning = topic.meaning
        if meaning.kind == "continuous":
            instrument = self.exchange.contract(topic.market, meaning.subject, meaning.contract_type)
        else:
            instrument = None
            for other in self.exchange.universe(topic.market):
                instrument = instrument or self.exchange.market.find(other, meaning.subject)
        if instrument is None or meaning.interval not in self.exchange.market.intervals(instrument.market):
            return
        position = self._position(instrument)
        key = (instrument.market, meaning.interval)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = KlineGroup(*key, now, now)
        group.topics.setdefault(position, []).append(topic)
        topic.group, topic.position = group, position
        group.formats.setdefault(position, KlineFormat(instrument, meaning.interval))
        group.index = None

    def _drop(self, topic: Topic) -> None:
        self._topics.pop((topic.market, topic.name, topic.microseconds), None)
        self._minis.pop(topic, None)
        self._marks.pop(topic, None)
        group = topic.group
        if group is None:
            return
        topics = group.topics[topic.position]
        topics.remove(topic)
        if not topics:
            del group.topics[topic.position]
            group.index = None
        if not group.topics:
            self._groups.pop((group.market, group.interval), None)

    def _position(self, instrument: Instrument) -> int:
        positions = self._positions.setdefault(instrument.market, {})
        found = positions.get(instrument.symbol)
        if found is None:
            for i, other in enumerate(self.exchange.market.instruments(instrument.market)):
                positions[other.symbol] = i
            found = positions[instrument.symbol]
        return found

    def universe_changed(self) -> None:
        """An instrument was listed or replaced: look again for topics that had none, refresh formats."""
        for group in self._groups.values():
            group.topics.clear()
            group.formats.clear()
            group.index = None
        now = self.exchange.now_ms()
        for topic in self._topics.values():
            topic.group = None
            if topic.meaning.kind in ("kline", "continuous"):
                self._enrol(topic, now)
        self._groups = {key: group for key, group in self._groups.items() if group.topics}

    # ---- rounds ------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Push until cancelled."""
        exchange = self.exchange
        while True:
            began = time.monotonic()
            now = exchange.now_ms()
            due = self._round(now)
            self._flush()
            self._keep_alive()
            busy = time.monotonic() - began
            exchange.stats.longest_round_ms = max(exchange.stats.longest_round_ms, busy * 1e3)
            wait = exchange.time.wall_s(due - exchange.time.now_ms())
            # At high rates rounds would follow each other without a break: leave three quarters of the core.
            wait = min(max(wait, exchange.settings.tick_s - busy, 3 * busy, 0.001), 0.25)
            if self._topics or self._late:
                await asyncio.sleep(wait)
            else:
                with contextlib.suppress(TimeoutError):
                    # not wait_for: on Python 3.11 it swallows a cancellation that comes with the event
                    async with asyncio.timeout(0.25):
                        await self._wake.wait()
                self._wake.clear()

    def _round(self, now: int) -> float:
        """One round of pushes at exchange time `now`; returns when the next is due, ms."""
        hour = now // 3_600_000
        if hour != self._hour:  # contracts roll over on the hour
            if self._hour and any(t.meaning.kind == "continuous" for t in self._topics.values()):
                self.universe_changed()
            self._hour = hour
        for connection in self.connections:
            connection.congested = _waiting_bytes(connection.transport) > self.exchange.settings.soft_buffer
        due = now + 1000.0
        for group in list(self._groups.values()):
            if now >= group.due_ms:
                self._push_klines(group, now)
            due = min(due, group.due_ms)
        for topic, at in list(self._minis.items()):
            if now >= at:
                self._push_mini(topic, now)
                every = 1000 if topic.meaning.kind == "mini_all" else MINI_EVERY_MS[topic.market]
                self._minis[topic] = at = now - now % every + every
            due = min(due, at)
        for topic, at in list(self._marks.items()):
            if now >= at:
                self._push_mark(topic, now)
                every = 1000 if topic.meaning.interval == "1s" else 3000
                self._marks[topic] = at = now - now % every + every
            due = min(due, at)
        while self._late and self._late[0][0] <= now:
            _, _, topic, frame = heapq.heappop(self._late)
            self._send(topic, frame)
        if self._late:
            due = min(due, self._late[0][0])
        return due

    def _push_klines(self, group: KlineGroup, now: int) -> None:
        every = _SECOND_KLINE_EVERY_MS if group.interval == "1s" else KLINE_EVERY_MS[group.market]
        closing_every = min(every, CLOSING_EVERY_MS)
        forming = now >= group.forming_due_ms
        since = group.since_ms if forming else group.closing_since_ms
        if group.index is None:
            group.index = np.fromiter(group.topics, np.int64, len(group.topics))
        updates = self.exchange.market.updates(
            group.market,
            group.interval,
            group.index,
            since,
            now,
            close_timer_ms=self.exchange.settings.close_timer_ms,
        )
        wanted = updates.closed & (updates.event_ms > group.closing_since_ms)
        if forming:
            wanted |= ~updates.closed
        rows = np.flatnonzero(wanted)
        for position, event, open_time, closed, values, first, last in zip(
            updates.position[rows].tolist(),
            updates.event_ms[rows].tolist(),
            updates.open_time[rows].tolist(),
            updates.closed[rows].tolist(),
            updates.values[rows].tolist(),
            updates.first_trade_id[rows].tolist(),
            updates.last_trade_id[rows].tolist(),
            strict=True,
        ):
            # A closing frame leaves at the next quarter second, at any rate; a forming one leaves now.
            event_ms = min(now, -(-event // CLOSING_EVERY_MS) * CLOSING_EVERY_MS) if closed else now
            fmt = group.formats[position]
            event_bytes = b""
            for topic in group.topics[position]:
                if topic.meaning.kind == "continuous":
                    payload = fmt.continuous(
                        event_ms, topic.meaning.contract_type, open_time, values, first, last, closed
                    )
                else:
                    payload = event_bytes = event_bytes or fmt.event(
                        event_ms, open_time, values, first, last, closed
                    )
                self._emit(topic, Frame(payload, closed), now)
        group.closing_since_ms = now
        if forming:
            group.since_ms = now
            group.forming_due_ms = now - now % every + every
        step = INTERVALS_MS[group.interval]
        near_close = now % step < self.exchange.settings.close_timer_ms + CLOSING_EVERY_MS
        next_edge = now - now % step + step
        closing_due = now - now % closing_every + closing_every if near_close else next_edge
        group.due_ms = min(group.forming_due_ms, closing_due)

    def _push_mini(self, topic: Topic, now: int) -> None:
        market = self.exchange.market
        everything = topic.meaning.kind == "mini_all"
        merged = self.exchange.settings.era == "merged" and topic.market != "spot"
        events: list[bytes] = []
        last: dict[str, tuple[float, ...]] = topic.last if isinstance(topic.last, dict) else {}
        for name in self.exchange.universe(topic.market):
            instruments = market.instruments(name)
            if everything:
                index = np.arange(len(instruments))
            else:
                found = market.find(name, topic.meaning.subject)
                index = np.array([self._position(found)] if found is not None else [], np.int64)
            if not len(index):
                continue
            rows: F64 = market.day(name, index, now)
            for position, values in zip(index.tolist(), rows.tolist(), strict=True):
                instrument = instruments[position]
                if values[3] != values[3] or last.get(instrument.symbol) == tuple(values):
                    continue
                last[instrument.symbol] = tuple(values)
                events.append(mini_event(instrument, values, now, merged))
        topic.last = last
        if everything and events:
            self._emit(topic, Frame(b"[" + b",".join(events) + b"]", False), now)
        elif events:
            self._emit(topic, Frame(events[0], False), now)

    def _push_mark(self, topic: Topic, now: int) -> None:
        market = self.exchange.market
        merged = self.exchange.settings.era == "merged"
        events: list[bytes] = []
        for name in self.exchange.universe(topic.market):
            if topic.meaning.kind == "mark_all":
                instruments = market.instruments(name)
            else:
                found = market.find(name, topic.meaning.subject)
                instruments = [] if found is None else [found]
            for instrument in instruments:
                if not instrument.trades_at(now):
                    continue
                p = market.premium(name, instrument.symbol, now)
                st = f',"st":{MARKET_CODE[name]}' if merged and topic.meaning.kind == "mark_all" else ""
                events.append(
                    f'{{"e":"markPriceUpdate","E":{now},"s":"{instrument.symbol}","p":"{p.mark_price:.8f}",'
                    f'"i":"{p.index_price:.8f}","P":"{p.settle_price:.8f}","r":"{p.last_funding_rate:.8f}",'
                    f'"T":{p.next_funding_ms}{st}}}'.encode()
                )
        if topic.meaning.kind == "mark_all" and events:
            self._emit(topic, Frame(b"[" + b",".join(events) + b"]", False), now)
        elif events:
            self._emit(topic, Frame(events[0], False), now)

    def _emit(self, topic: Topic, frame: Frame, now: int) -> None:
        """Send an event through the armed faults, if any."""
        faults = self.exchange.faults
        if topic.microseconds:
            frame = Frame(in_microseconds(frame.payload), frame.closing)
        if not faults.touches_frames:
            self._send(topic, frame)
            return
        meaning = topic.meaning
        at_once, later = faults.frames(
            topic.market, meaning.subject, meaning.interval, f"{topic.market}:{topic.name}", frame
        )
        for one in at_once:
            self._send(topic, one)
        for delay_ms, one in later[: max(0, _MAX_LATE - len(self._late))]:
            heapq.heappush(self._late, (now + delay_ms, next(self._serial), topic, one))

    def _send(self, topic: Topic, frame: Frame) -> None:
        stats = self.exchange.stats
        stats.closing_frames += frame.closing
        if topic.raw:
            self._hand(topic.raw, ws_frame(frame.payload), frame.closing)
        if topic.combined:
            name = json.dumps(topic.name, ensure_ascii=False).encode()
            wrapped = b'{"stream":' + name + b',"data":' + frame.payload + b"}"
            self._hand(topic.combined, ws_frame(wrapped), frame.closing)

    def _hand(self, connections: dict[Connection, None], data: bytes, closing: bool) -> None:
        stats = self.exchange.stats
        for connection in connections:
            if connection.stall is not None:
                continue
            if connection.congested and not closing:
                stats.skipped_frames += 1
                continue
            connection.out.append(data)
            stats.frames += 1
            stats.bytes_sent += len(data)

    def _flush(self) -> None:
        for connection in list(self.connections):
            if connection.out:
                data = b"".join(connection.out)
                connection.out.clear()
                self._write(connection, data)
                if _waiting_bytes(connection.transport) > self.exchange.settings.hard_buffer:
                    connection.abort("slow")

    @staticmethod
    def _write(connection: Connection, data: bytes) -> None:
        if not connection.transport.is_closing() and not connection.ws.closed:
            connection.transport.write(data)

    # ---- keeping connections, or not ---------------------------------------------------------------

    def _keep_alive(self) -> None:
        """Server pings, their deadline, the 24 h limit, and stalls that begin or end."""
        settings, now = self.exchange.settings, time.monotonic()
        exchange_now = self.exchange.time.now_ms()
        stalls = list(self.exchange.faults.armed("stall"))
        for connection in list(self.connections):
            self._stall(connection, stalls)
            if connection.stall is not None:
                continue
            futures = connection.market != "spot"
            if exchange_now - connection.opened_ms >= settings.life_ms:
                self.close_later(connection, WSCloseCode.GOING_AWAY, "life", "24 hours")
            elif now - connection.alive > settings.ping_deadline_s[futures]:
                self.close_later(connection, WSCloseCode.POLICY_VIOLATION, "pong", "Pong timeout")
            elif now - connection.pinged >= settings.ping_every_s[futures]:
                connection.pinged = now
                connection.ping_payload = str(int(exchange_now)).encode()
                self._write(connection, ws_frame(connection.ping_payload, 9))

    def _stall(self, connection: Connection, stalls: list[Fault]) -> None:
        fault = connection.stall
        if fault is not None:
            if fault.active:
                return
            connection.stall = None
            connection.alive = time.monotonic()
            if not fault.pongs:
                with contextlib.suppress(RuntimeError):
                    connection.transport.resume_reading()
            return
        for fault in stalls:
            if self.matches(fault, connection) and (fault.count is None or fault.hits < fault.count):
                fault.hits += 1
                connection.stall = fault
                if not fault.pongs:
                    with contextlib.suppress(RuntimeError):
                        connection.transport.pause_reading()
                return

    @staticmethod
    def matches(fault: Fault, connection: Connection) -> bool:
        """Whether a fault of sockets means this one."""
        return (
            fault.market in (None, connection.market)
            and (fault.path is None or fault.path in connection.path)
            and fault.client in (None, connection.client)
        )

    def close_later(self, connection: Connection, code: int, reason: str, text: str = "") -> None:
        """Start to close; does not wait."""
        if connection.reason != "client":
            return
        connection.reason = reason
        task = asyncio.get_running_loop().create_task(connection.close(code, reason, text))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def drop(self, fault: Fault) -> int:
        """Carry out a `drop`: close or reset matching connections; returns how many."""
        n = 0
        for connection in list(self.connections):
            if self.matches(fault, connection) and (fault.count is None or n < fault.count):
                n += 1
                if fault.abort:
                    connection.abort("drop")
                else:
                    self.close_later(connection, fault.code or WSCloseCode.GOING_AWAY, "drop")
        return n

    def announce_shutdown(self, fault: Fault) -> int:
        """Carry out a `shutdown`: the event now, the close `seconds` of exchange time later."""
        now = self.exchange.now_ms()
        event = f'{{"e":"serverShutdown","E":{now}}}'.encode()
        chosen = [c for c in self.connections if c.market == "spot" and self.matches(fault, c)]
        for connection in chosen:
            wrapped = b'{"stream":"!serverShutdown","data":' + event + b"}"
            self._write(connection, ws_frame(wrapped if connection.combined else event))

        def end() -> None:
            for connection in chosen:
                if connection in self.connections:
                    self.close_later(connection, WSCloseCode.GOING_AWAY, "shutdown")

        asyncio.get_running_loop().call_later(self.exchange.time.wall_s(fault.seconds * 1000), end)
        return len(chosen)

    async def close(self) -> None:
        """Close every connection (code 1001)."""
        for connection in list(self.connections):
            if connection.stall is not None and not connection.stall.pongs:
                connection.abort("end")
            else:
                self.close_later(connection, WSCloseCode.GOING_AWAY, "end")
        if self._closing:
            await asyncio.wait(list(self._closing), timeout=2.0)


def _waiting_bytes(transport: asyncio.Transport) -> int:
    """How much a client has not taken yet. A closed TLS transport has no buffer that could be asked."""
    return 0 if transport.is_closing() else transport.get_write_buffer_size()
