"""Kline streams of many symbols over a few sockets: connect, subscribe, watch, replace, for ever.

What a frame means is protocol.py's business; a checked Kline is handed to `on_kline` at once and nothing is
queued here. What can go wrong, and what is done:

* A socket that connects, acknowledges and stays silent (a retired path does exactly that) is given up at a
  first-frame deadline, and the next candidate URL is tried; the one that speaks is remembered.
* A socket that falls silent later is replaced, whatever its pings say.
* The exchange closes every socket after 24 h, and announces a shutdown on spot: the successor is opened
  first, and the old one closed only when the new one speaks. Both call `on_kline` meanwhile.
* Every other loss is a reconnect with capped, jittered back-off, within the exchange's attempt budget.

What was missed while no socket spoke is told by an event (`dark_since_ms`), so that REST can fill it.
"""

import asyncio
import json
import logging
import math
import random
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from bmac_stream.bar import INTERVALS_MS
from bmac_stream.binance.framing import MAX_FRAME, FrameConnection
from bmac_stream.binance.markets import Market
from bmac_stream.binance.protocol import ControlReply, Kline, Shutdown, check_age, decode_frame
from bmac_stream.binance.transport import network_error, proxy_for, require_socks, ssl_context
from bmac_stream.clock import Clock
from bmac_stream.errors import BadFrame, NetworkError

__all__ = ["ConnectionStats", "KlineStreams", "StreamEvent", "StreamStats"]

_log = logging.getLogger(__name__)

# Streams are asked for by SUBSCRIBE on a bare /stream, as the exchange's own SDK does, and not in the URL:
# the same message adds and removes symbols later without a new connection, a refusal has an answer that
# names it, and proxies log no kilobytes of URL. The combined form (/stream, not /ws) names the stream in
# every frame, which the parser compares with the symbol inside.
_PATH: Final = "/stream"
_NAMES_PER_MESSAGE: Final = 100  # 2.5 kB; spot refuses control messages of more than 4 kB
_QUEUED_FRAMES: Final = 1024  # frames that websockets may hold before it stops reading the socket
_ANSWER_S: Final = 30.0  # a control message without an answer for so long was lost
_REFUSED_S: Final = 60.0  # a single name that was refused is asked for again after so long
_STABLE_S: Final = 30.0  # a connection that lived so long was a success
_MAX_BACKOFF_S: Final = 30.0
_LEAST_WATCH_S: Final = 1.0  # deadlines are exchange time, but never shorter than this much wall time
_REFUSING: Final = (403, 418, 429)  # HTTP status: come back much later
_BUDGET: Final = 0.5  # part of the exchange's connection attempts that we use


class _Refused(NetworkError):
    """The exchange does not want us for a while."""


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """Something that the user of the streams may want to act on.

    kind           "connected": a socket is open (it proves nothing);
                   "speaking": its first frame came, and `dark_since_ms` says since when (exchange time)
                   these symbols had no speaking socket, None if they had one all along;
                   "subscribed": the exchange acknowledged these symbols; "refused": it did not;
                   "lost": the last speaking socket of these symbols is gone;
                   "failed": an attempt to connect came to nothing; "rollover": a successor is due
    group          which of the sockets, from 0
    symbols        whom it concerns
    detail         a sentence for the log, without secrets
    """

    kind: Literal["connected", "speaking", "subscribed", "refused", "lost", "failed", "rollover"]
    group: int
    symbols: tuple[str, ...]
    detail: str = ""
    dark_since_ms: float | None = None


@dataclass(slots=True)
class ConnectionStats:
    """One socket."""

    group: int
    url: str
    symbols: int = 0
    frames: int = 0
    klines: int = 0
    bad_frames: int = 0
    messages_sent: int = 0
    opened_mono: float = math.nan
    last_frame_mono: float = math.nan
    """time.monotonic() when the watchdog last saw new frames."""


@dataclass(slots=True)
class StreamStats:
    """All sockets since the start. `connections` holds those that are open now."""

    attempts: int = 0
    opened: int = 0
    reconnects: int = 0
    """Sockets opened in place of one that was lost (make-before-break successors are `rollovers`)."""
    rollovers: int = 0
    stalls: int = 0
    """Sockets given up because they were silent."""
    frames: int = 0
    klines: int = 0
    other_events: int = 0
    refused: int = 0
    bad_frames: Counter[str] = field(default_factory=Counter)
    """By BadFrame.kind."""
    connections: list[ConnectionStats] = field(default_factory=list)


class KlineStreams:
    """Kline streams of one interval for a changing set of symbols.

    market      which market: limits, wire letters
    base_urls   candidates, e.g. ("wss://fstream.binance.com/market",); empty: the market's own
    interval    of bar.INTERVALS_MS
    clock       exchange time; its rate shortens deadlines that are the exchange's
    on_kline    called in the event loop for every sound frame, closed or forming; must be quick. Duplicates
                and older states may come (two sockets overlap at a rollover). What it raises ends `run`.
    groups      sockets over which the symbols are spread; more are opened if the exchange's limit of streams
                per socket asks for it, fewer if there are fewer symbols
    first_frame_timeout_s, silence_timeout_s   exchange seconds in which a socket must speak; both grow
                while attempts fail, so that a few quiet symbols do not make a storm
    open_timeout_s   wall seconds for TCP, TLS, proxy and handshake together
    life_ms     exchange ms after which a socket is replaced (None: about an hour before the exchange does)
    on_event    told StreamEvents
    """

    def __init__(
        self,
        market: Market,
        base_urls: Sequence[str],
        interval: str,
        clock: Clock,
        on_kline: Callable[[Kline], None],
        *,
        proxy: str | None = None,
        ca_file: str | Path | None = None,
        groups: int = 8,
        first_frame_timeout_s: float = 15.0,
        silence_timeout_s: float = 60.0,
        open_timeout_s: float = 10.0,
        life_ms: float | None = None,
        on_event: Callable[[StreamEvent], None] | None = None,
    ) -> None:
        if interval not in INTERVALS_MS or interval not in market.intervals:
            raise ValueError(f"{market.name} has no interval {interval!r}")
        if groups < 1:
            raise ValueError(f"groups must be at least 1, found {groups}")
        self.market = market
        self.interval = interval
        self.clock = clock
        self.stats = StreamStats()
        self.first_frame_timeout_s = first_frame_timeout_s
        self.silence_timeout_s = silence_timeout_s
        self._base_urls = tuple(url.rstrip("/") for url in base_urls) or market.stream_urls
        self._favourite = 0
        self._on_kline = on_kline
        self._on_event = on_event
        self._n_groups = groups
        self._groups: list[_Group] = []
        self._group_of: dict[str, _Group] = {}
        self._open_timeout_s = open_timeout_s
        self._life_ms = life_ms
        self._attempts: deque[float] = deque()
        self._tasks: asyncio.TaskGroup | None = None
        self._bad_logged = -math.inf
        self._bad_unlogged = 0
        self._proxies = {url: proxy_for(proxy, url) for url in self._base_urls}
        tls = any(url.startswith("wss:") for url in self._base_urls)
        self._ssl = ssl_context(ca_file) if tls else None
        if any(found is not None and found.scheme == "socks5" for found in self._proxies.values()):
            require_socks()

    # ------------------------------------------------------------------------------------- symbols

    @property
    def symbols(self) -> frozenset[str]:
        """The symbols that are wanted now."""
        return frozenset(self._group_of)

    def set_symbols(self, symbols: Iterable[str]) -> None:
        """Want exactly these symbols (upper case). Sockets that stand stay; symbols that stay keep theirs."""
        wanted = set(symbols)
        for symbol in [symbol for symbol in self._group_of if symbol not in wanted]:
            group = self._group_of.pop(symbol)
            group.symbols.discard(symbol)
            group.touch()
        new = sorted(wanted - self._group_of.keys())
        needed = max(self._n_groups, math.ceil(len(wanted) / self.market.streams_per_connection))
        while new and len(self._groups) < needed:
            self._add_group()
        for symbol in new:
            group = min(self._groups, key=lambda group: (len(group.symbols), group.index))
            if not group.symbols:
                group.dark_since_ms = self.clock.now_ms()
            group.symbols.add(symbol)
            self._group_of[symbol] = group
            group.touch()

    def resubscribe(self, symbols: Iterable[str]) -> None:
        """Ask for these symbols' streams anew (UNSUBSCRIBE, SUBSCRIBE): they are mute while others speak."""
        for symbol in symbols:
            if (group := self._group_of.get(symbol)) is not None:
                for connection in group.connections:
                    connection.renew.add(symbol)
                group.touch()

    def is_covered(self, symbol: str) -> bool:
        """Whether a socket that has spoken carries this symbol now."""
        group = self._group_of.get(symbol)
        return group is not None and any(connection.spoke.is_set() for connection in group.connections)

    # ------------------------------------------------------------------------------------- running

    async def run(self) -> None:
        """Serve until cancelled. Raises only what `on_kline` or `on_event` raise."""
        assert self._tasks is None, "run() is running already"
        try:
            async with asyncio.TaskGroup() as self._tasks:
                for group in self._groups:
                    self._tasks.create_task(self._serve(group))
                # Groups may be added while we run, and none may be there yet.
                await asyncio.get_running_loop().create_future()
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
        finally:
            self._tasks = None

    def _add_group(self) -> None:
        group = _Group(len(self._groups))
        self._groups.append(group)
        if self._tasks is not None:
            self._tasks.create_task(self._serve(group))

    async def _serve(self, group: "_Group") -> None:
        """Keep one speaking socket for the group, as long as it has symbols."""
        current: _Connection | None = None
        failures = 0
        try:
            while True:
                if not group.symbols:
                    if current is not None:
                        await current.close("no symbols are left")
                        current = None
                    failures = 0
                    await group.filled.wait()
                    continue
                await self._take_attempt()
                base_url = self._base_urls[(self._favourite + failures) % len(self._base_urls)]
                patience = 2.0 ** min(failures // len(self._base_urls), 4)
                successor = _Connection(self, group, base_url, patience)
                await _first(successor.task, successor.spoke.wait(), group.emptied.wait())
                if successor.spoke.is_set():
                    self._favourite = self._base_urls.index(base_url)
                    if current is not None:
                        self.stats.rollovers += current.alive
                        self.stats.reconnects += not current.alive
                        await current.close("replaced by its successor")
                    current = successor
                    await _first(current.task, current.due.wait(), group.emptied.wait())
                    if group.symbols and current.alive:
                        self._tell("rollover", group, current.due_reason)
                        failures = 0
                        continue
                    if current.age_s >= _STABLE_S:
                        failures = 0
                    if not current.alive:
                        self.stats.reconnects += 1
                        await _finished(current)
                        current = None
                else:
                    await successor.close("it never spoke")
                    if successor.refused_by_status:
                        failures = max(failures, 5)
                if group.symbols:
                    # Full jitter; the first attempt after a loss is nearly at once.
                    await asyncio.sleep(random.random() * min(_MAX_BACKOFF_S, 0.2 * 2.0 ** min(failures, 16)))
                    failures += 1
        finally:
            tasks = [connection.abort() for connection in group.connections]
            if tasks:
                await asyncio.wait(tasks)

    async def _take_attempt(self) -> None:
        """Wait until another connection attempt is within the exchange's limit per window."""
        allowed = max(1, int(self.market.attempts * _BUDGET))
        window_s = self.clock.wall_s(self.market.attempts_window_ms)
        while len(self._attempts) >= allowed:
            left_s = self._attempts[0] + window_s - time.monotonic()
            if left_s > 0:
                await asyncio.sleep(left_s)
            else:
                self._attempts.popleft()
        self._attempts.append(time.monotonic())
        self.stats.attempts += 1

    # ------------------------------------------------------------------------- what connections need

    async def _connect(self, base_url: str) -> FrameConnection:
        """One attempt; NetworkError in plain words."""
        proxy = self._proxies[base_url]
        url = base_url + _PATH
        try:
            connection = await connect(
                url,
                create_connection=FrameConnection,
                ssl=self._ssl if url.startswith("wss:") else None,
                proxy=None if proxy is None else proxy.url,
                compression=None,
                max_size=MAX_FRAME,
                max_queue=_QUEUED_FRAMES,
                open_timeout=self._open_timeout_s,
                # A dead peer is found within 40 s even when frames are rare; answering the server's pings
                # is the library's work.
                ping_interval=20,
                ping_timeout=20,
                close_timeout=2,
                user_agent_header="bmac_stream",
            )
            assert isinstance(connection, FrameConnection)
            return connection
        except InvalidStatus as error:
            status = error.response.status_code
            kind = _Refused if status in _REFUSING else NetworkError
            raise kind(f"{base_url}: the handshake was answered with HTTP {status}") from None
        except (OSError, EOFError, WebSocketException) as error:
            raise network_error(error, base_url, proxy) from None
        except Exception as error:
            # python_socks is an extra and its errors are no OSError: known by where they come from.
            if type(error).__module__.partition(".")[0] == "python_socks":
                raise network_error(error, base_url, proxy) from None
            raise

    def _tell(
        self,
        kind: Literal["connected", "speaking", "subscribed", "refused", "lost", "failed", "rollover"],
        group: "_Group",
        detail: str,
        symbols: Iterable[str] | None = None,
        dark_since_ms: float | None = None,
    ) -> None:
        if self._on_event is not None:
            whom = tuple(sorted(group.symbols if symbols is None else symbols))
            self._on_event(StreamEvent(kind, group.index, whom, detail, dark_since_ms))

    def _bad(self, error: BadFrame) -> None:
        """Count, and log at most once a minute."""
        self.stats.bad_frames[error.kind] += 1
        now = time.monotonic()
        if now - self._bad_logged < 60.0:
            self._bad_unlogged += 1
            return
        more = f" ({self._bad_unlogged} more since the last such line)" if self._bad_unlogged else ""
        self._bad_logged, self._bad_unlogged = now, 0
        _log.warning("bad frame, dropped: %s%s", str(error)[:400], more)

    def _deadline_s(self, exchange_s: float) -> float:
        """Wall seconds of an exchange-time deadline; network and machine do not run faster at a rate."""
        return max(self.clock.wall_s(exchange_s * 1e3), min(exchange_s, _LEAST_WATCH_S))


class _Group:
    """The symbols of one socket, and the sockets (two at a rollover) that carry them."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.symbols: set[str] = set()
        self.connections: list[_Connection] = []
        self.dark_since_ms: float | None = None
        self.filled = asyncio.Event()
        self.emptied = asyncio.Event()

    def touch(self) -> None:
        """The symbols changed: wake whoever cares."""
        for event, state in ((self.filled, bool(self.symbols)), (self.emptied, not self.symbols)):
            if state:
                event.set()
            else:
                event.clear()
        for connection in self.connections:
            connection.changed.set()


class _Connection:
    """One socket from connect to close. `task` ends when it is gone; its result is the reason."""

    def __init__(self, streams: KlineStreams, group: _Group, base_url: str, patience: float) -> None:
        self.streams = streams
        self.group = group
        self.base_url = base_url
        self.patience = patience
        self.spoke = asyncio.Event()
        self.due = asyncio.Event()
        self.due_reason = ""
        self.changed = asyncio.Event()
        self.renew: set[str] = set()
        self.refused_by_status = False
        self.stats = ConnectionStats(group.index, base_url)
        self._started = time.monotonic()
        self._subscribed: set[str] = set()
        self._known: set[str] = set()  # ever subscribed here: late frames of dropped symbols are no fault
        self._pending: dict[int, tuple[str, list[str], float]] = {}  # without a yes: again when it is due
        self._per_message = _NAMES_PER_MESSAGE
        self._next_id = 1
        self._next_send = 0.0
        self._ws: FrameConnection | None = None
        self._closing = ""
        self._oldest = -math.inf  # open_times that are plausible now
        self._newest = math.inf
        group.connections.append(self)
        self.task = asyncio.create_task(self._live())

    @property
    def alive(self) -> bool:
        return not self.task.done()

    @property
    def age_s(self) -> float:
        return time.monotonic() - self._started

    def abort(self) -> asyncio.Task[str]:
        """Drop the socket now, without manners; the task to wait for."""
        if self._ws is not None:
            self._ws.transport.abort()
        self.task.cancel()
        return self.task

    async def close(self, reason: str) -> None:
        """Close politely, within the library's close_timeout. The task's own failure is raised here."""
        self._closing = self._closing or reason
        if self._ws is not None:
            await self._ws.close()
        else:
            self.task.cancel()
        await _finished(self)

    async def _live(self) -> str:
        streams, group = self.streams, self.group
        tending: asyncio.Task[None] | None = None
        reason = "cancelled"
        try:
            try:
                self._ws = ws = await streams._connect(self.base_url)
            except NetworkError as error:
                self.refused_by_status = isinstance(error, _Refused)
                reason = str(error)
                streams._tell("failed", group, reason)
                return reason
            self.stats.opened_mono = self.stats.last_frame_mono = time.monotonic()
            streams.stats.opened += 1
            streams.stats.connections.append(self.stats)
            streams._tell("connected", group, self.base_url)
            tending = asyncio.create_task(self._tend(ws))
            # If tending fails, by a bug or by what on_event raises, reading must end too.
            tending.add_done_callback(lambda _: ws.transport.abort())
            handle = self._frame_handler()
            ws.on_text = handle
            try:
                while True:  # what does not take the short cut: fragmented messages, and the end
                    handle(await ws.recv(decode=False))
            except ConnectionClosed as closed:
                if closed.sent is not None and closed.sent.code == 1009 and closed.rcvd_then_sent is not True:
                    streams._bad(BadFrame("oversize", f"a frame of more than {MAX_FRAME} bytes"))
                reason = self._closing or f"closed: {str(closed)[:200]}"
            if ws.failure is not None:
                raise ws.failure
            if tending.done() and not tending.cancelled():
                tending.result()
            return reason
        finally:
            if tending is not None:
                tending.cancel()
            if self._ws is not None:
                self._ws.transport.abort()
            group.connections.remove(self)
            if self.stats in streams.stats.connections:
                streams.stats.connections.remove(self.stats)
            if self.spoke.is_set() and not any(other.spoke.is_set() for other in group.connections):
                group.dark_since_ms = streams.clock.now_ms()
                if reason != "cancelled" and group.symbols:
                    streams._tell("lost", group, f"{self.base_url}: {reason}")

    def _frame_handler(self) -> Callable[[bytes], None]:
        """The hot path: 50,000 frames a second and more must pass here."""
        streams, stats, totals = self.streams, self.stats, self.streams.stats
        market, interval, on_kline = streams.market, streams.interval, streams._on_kline
        wanted = self.group.symbols

        def handle(raw: bytes) -> None:
            stats.frames += 1
            totals.frames += 1
            try:
                item = decode_frame(raw, market)
                if item.__class__ is not Kline:
                    self._other(item)
                    return
                if item.symbol not in wanted or item.interval != interval:
                    if self._is_late(item):
                        return
                elif not self._oldest <= item.open_time <= self._newest:
                    self._check_age(item)
            except BadFrame as error:
                stats.bad_frames += 1
                streams._bad(error)
                return
            stats.klines += 1
            totals.klines += 1
            if stats.klines == 1:
                self._begin_speaking()
            on_kline(item)

        return handle

    def _is_late(self, kline: Kline) -> bool:
        """True for a symbol that was dropped; BadFrame for one that was never asked for."""
        if kline.interval != self.streams.interval:
            raise BadFrame("interval", f"{kline.interval!r} where {self.streams.interval} was asked for")
        if kline.symbol not in self._known:
            raise BadFrame("symbol", f"{kline.symbol[:80]!r} was not asked for")
        self.streams.stats.other_events += 1
        return True

    def _check_age(self, kline: Kline) -> None:
        clock = self.streams.clock
        now = clock.now_ms()
        kind = check_age(kline.open_time, kline.interval, now, rate=clock.rate) if clock.synced else None
        if kind is not None:
            raise BadFrame(kind, f"{kline.symbol} opens at {kline.open_time}, it is {now:.0f}")

    def _begin_speaking(self) -> None:
        self.spoke.set()
        since, self.group.dark_since_ms = self.group.dark_since_ms, None
        self.streams._tell("speaking", self.group, self.base_url, dark_since_ms=since)

    def _other(self, item: Kline | ControlReply | Shutdown | None) -> None:
        """What is not a kline: replies, the shutdown notice, events of other kinds."""
        if isinstance(item, Shutdown):
            self._set_due("the server announced its shutdown")
        elif isinstance(item, ControlReply):
            number = item.id if isinstance(item.id, int) else -1
            method, symbols, _ = self._pending.pop(number, ("?", [], 0.0))
            if item.code is not None:
                self.streams.stats.refused += 1
                # one name may have cost the others their streams: ask again in smaller parts
                pause_s = _REFUSED_S if len(symbols) < 2 else 0.0
                self._per_message = max(1, min(self._per_message, len(symbols) // 2))
                self._pending[number] = (method, symbols, time.monotonic() + pause_s)
                self.changed.set()
                detail = f"{method} refused with code {item.code}: {item.msg[:200]}"
                self.streams._tell("refused", self.group, detail, symbols)
            elif method == "SUBSCRIBE":
                self.streams._tell("subscribed", self.group, self.base_url, symbols)
        else:
            self.streams.stats.other_events += 1

    def _set_due(self, reason: str) -> None:
        if not self.due.is_set():
            self.due_reason = reason
            self.due.set()

    # ------------------------------------------------------------------------------------- tending

    async def _tend(self, ws: FrameConnection) -> None:
        """Keep the subscriptions as wanted, and watch for silence and old age."""
        streams = self.streams
        life_ms = streams._life_ms
        if life_ms is None:
            life_ms = streams.market.connection_life_ms * random.uniform(22.5, 23.5) / 24.0
        life_s = streams.clock.wall_s(life_ms)
        subscribed_at = math.inf
        frames = 0
        while True:
            await self._synchronise(ws)
            now = time.monotonic()
            subscribed_at = min(subscribed_at, now)
            if self.stats.klines != frames:
                frames = self.stats.klines
                self.stats.last_frame_mono = now
            self.stats.symbols = len(self._subscribed)
            self._refresh_plausible()
            first = not self.spoke.is_set()
            limit_s = streams._deadline_s(
                streams.first_frame_timeout_s * self.patience if first else streams.silence_timeout_s
            )
            silent_s = now - (subscribed_at if first else self.stats.last_frame_mono)
            if silent_s > limit_s:
                streams.stats.stalls += 1
                self._closing = (
                    f"connected and subscribed, but no kline came in {limit_s:.0f} s"
                    if first
                    else f"silent for {silent_s:.0f} s"
                )
                if first:
                    streams._tell("failed", self.group, f"{self.base_url}: {self._closing}")
                ws.transport.abort()
                return
            if self.age_s > life_s:
                self._set_due("the exchange closes every connection after 24 h")
            with suppress(TimeoutError):
                async with asyncio.timeout(min(1.0, limit_s / 4)):
                    await self.changed.wait()
            self.changed.clear()

    def _refresh_plausible(self) -> None:
        """Bounds of open_time that need no closer look until the next call."""
        clock, step = self.streams.clock, INTERVALS_MS[self.streams.interval]
        now = clock.now_ms()
        self._oldest, self._newest = (now - 2 * step, now + 1.0) if clock.synced else (-math.inf, math.inf)

    async def _synchronise(self, ws: FrameConnection) -> None:
        """Send what turns the streams that are subscribed into those that are wanted."""
        now = time.monotonic()
        for number in [number for number, (_, _, due) in self._pending.items() if due <= now]:
            method, symbols, _ = self._pending.pop(number)
            if method == "SUBSCRIBE":
                self._subscribed.difference_update(symbols)
        while True:
            wanted = self.group.symbols
            renew = self.renew & self._subscribed
            self.renew.clear()
            drop = sorted((self._subscribed - wanted) | renew)
            if drop:
                self._subscribed.difference_update(drop)
                await self._send(ws, "UNSUBSCRIBE", drop)
                continue
            add = sorted(wanted - self._subscribed)
            if not add:
                return
            self._subscribed.update(add)
            self._known.update(add)
            await self._send(ws, "SUBSCRIBE", add)

    async def _send(self, ws: FrameConnection, method: str, symbols: list[str]) -> None:
        """One control message per batch of names, at half of the allowed pace: pings and pongs count too."""
        market = self.streams.market
        size = self._per_message
        for start in range(0, len(symbols), size):
            batch = symbols[start : start + size]
            await asyncio.sleep(max(0.0, self._next_send - time.monotonic()))
            self._next_send = time.monotonic() + 2.0 / market.messages_per_s
            message: dict[str, Any] = {
                "method": method,
                "params": [market.stream(symbol, self.streams.interval) for symbol in batch],
                "id": self._next_id,
            }
            self._pending[self._next_id] = (method, batch, time.monotonic() + _ANSWER_S)
            while len(self._pending) > 256:  # never answered: forget the oldest
                del self._pending[next(iter(self._pending))]
            self._next_id += 1
            self.stats.messages_sent += 1
            with suppress(ConnectionClosed):  # reading finds out and says why
                await ws.send(json.dumps(message, ensure_ascii=False, separators=(",", ":")))


async def _first(*waiters: Awaitable[object]) -> None:
    """Wait until one of them is done. Tasks go on; coroutines given here are ended."""
    tasks = [
        waiter if isinstance(waiter, asyncio.Task) else asyncio.ensure_future(waiter) for waiter in waiters
    ]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task, waiter in zip(tasks, waiters, strict=True):
            if task is not waiter:
                task.cancel()


async def _finished(connection: _Connection) -> None:
    """Wait for the end of a connection; what on_kline or on_event raised in it is raised here."""
    await asyncio.wait([connection.task])
    if not connection.task.cancelled():
        connection.task.result()
