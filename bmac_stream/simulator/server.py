"""The embedded exchange as a whole: one listener per market, its admin endpoint, its start and end.

Each market listens on a port of its own, so that a client nobody here wrote needs nothing but a changed
host: the paths are Binance's. /admin is served by every listener:

    GET  /admin/time               exchange time and rate; POST {"rate": R} changes the rate
    GET  /admin/stats              the record: requests, weights, bans, connections, messages, frames
    GET  /admin/truth?symbol=&interval=&start=&end=[&market=][&forming=1]   klines rows, unlimited
    GET  /admin/symbols[?market=]  symbols with their status and when they are listed and delisted
    GET  /admin/faults             faults, armed and past, with their hits; DELETE [?id=] disarms
    POST /admin/fault              {"kind": ..., ...}: see faults.Fault and faults.KINDS

Loopback by default; /admin has no password, so do not open it to others.
"""

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self

import msgspec
import numpy as np
from aiohttp import web

from bmac_stream.bar import INTERVALS_MS
from bmac_stream.simulator.exchange import Exchange, Settings
from bmac_stream.simulator.faults import AT_ONCE, Fault
from bmac_stream.simulator.limits import funding_pool, weight_pool
from bmac_stream.simulator.market import MARKETS, Instrument, Market, Rows
from bmac_stream.simulator.numbers import KlineFormat
from bmac_stream.simulator.rest import Rest
from bmac_stream.simulator.streams import Hub

__all__ = ["Simulator"]

_STREAM_CATEGORIES: Final = {
    "spot": (),
    "usdm": ("market", "public", "private"),
    "coinm": ("market", "public", "private"),
}
_MAX_TRUTH: Final = 1_000_000


class Simulator:
    """An embedded exchange on loopback, an async context manager. It runs on the loop that starts it.

    market    what is traded (`generator`, `recorded`)
    markets   which of "spot", "usdm", "coinm" are served
    rate      exchange seconds per wall second
    ports     one for each of `markets`; 0: any free one
    tls       a server context: https and wss instead of http and ws
    seed      of the faults' probabilities
    """

    def __init__(
        self,
        market: Market,
        *,
        markets: Sequence[str] = MARKETS,
        rate: float = 1.0,
        start_ms: int | None = None,
        settings: Settings | None = None,
        host: str = "127.0.0.1",
        ports: Sequence[int] | None = None,
        tls: ssl.SSLContext | None = None,
        seed: int = 0,
    ) -> None:
        unknown = [m for m in markets if m not in MARKETS]
        if unknown or not markets:
            raise ValueError(f"markets must be some of {', '.join(MARKETS)}, found {list(markets)}")
        self.markets = tuple(markets)
        self.ports = list(ports or [0] * len(self.markets))
        if len(self.ports) != len(self.markets):
            raise ValueError(f"{len(self.markets)} markets need as many ports, found {len(self.ports)}")
        self.host = host
        self._tls = tls
        self._market, self._rate, self._start_ms = market, rate, start_ms
        self._settings, self._seed = settings, seed
        self._runners: dict[str, web.AppRunner] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._formats: dict[tuple[str, str, str], KlineFormat] = {}
        self.down = False
        """True while a restart keeps the listeners closed."""
        self.failed: asyncio.Event = asyncio.Event()
        """Set when a part of the exchange broke (a bug of ours); `stop` raises what broke it."""
        self._failure: BaseException | None = None

    # ---- life --------------------------------------------------------------------------------------

    async def start(self) -> Self:
        """Open the listeners; exchange time begins now, after the market of its first minute was made."""
        start_ms = self._market.start_ms if self._start_ms is None else self._start_ms
        for name in self.markets:
            interval = next(one for one in self._market.intervals(name) if one != "1s")
            everyone = np.arange(len(self._market.instruments(name)))
            # a generated day takes a second or two to make: the first subscriber shall not wait for it
            self._market.updates(name, interval, everyone, start_ms, start_ms)
        self.exchange = Exchange(
            self._market,
            rate=self._rate,
            start_ms=self._start_ms,
            settings=self._settings,
            seed=self._seed,
        )
        self.rest, self.hub = Rest(self.exchange), Hub(self.exchange)
        for i, name in enumerate(self.markets):
            app = web.Application(client_max_size=1 << 20)
            app.router.add_route("*", "/{tail:.*}", _handler(self, name))
            runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.5)
            await runner.setup()
            self._runners[name] = runner
            self.ports[i] = await self._listen(runner, self.ports[i])
        self._spawn(self.hub.run())
        return self

    async def stop(self) -> None:
        """Close every socket and listener."""
        self.down = True
        await self.hub.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for runner in self._runners.values():
            _abort_all(runner)
            await runner.cleanup()
        self._runners.clear()
        if self._failure is not None:
            raise self._failure

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def _listen(self, runner: web.AppRunner, port: int) -> int:
        sock = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((self.host, port))
        await web.SockSite(runner, sock, ssl_context=self._tls, backlog=1024).start()
        return int(sock.getsockname()[1])

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._failure = self._failure or task.exception()
            self.failed.set()

    # ---- what it is --------------------------------------------------------------------------------

    def urls(self, market: str) -> dict[str, str]:
        """{"rest": ..., "stream": ...} of one market."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        at = f"{host}:{self.ports[self.markets.index(market)]}"
        s = "s" if self._tls else ""
        return {"rest": f"http{s}://{at}", "stream": f"ws{s}://{at}"}

    def ready(self) -> dict[str, Any]:
        """What the process prints when it is ready: urls of the first market and of each, rate, source."""
        return {
            **self.urls(self.markets[0]),
            "rate": self.exchange.time.rate,
            "source": self.exchange.market.source,
            "start_ms": self.exchange.start_ms,
            "markets": {name: self.urls(name) for name in self.markets},
        }

    def truth(
        self, market: str, symbol: str, interval: str, start_ms: int, end_ms: int, *, forming: bool = False
    ) -> Rows:
        """The bars with start_ms <= open_time <= end_ms, closed by now (and the `forming` one).
        KeyError: no such symbol or interval."""
        now = self.exchange.now_ms()
        instrument = self._market.find(market, symbol)
        if instrument is None:
            raise KeyError(symbol)
        if not forming:
            end_ms = min(end_ms, now - INTERVALS_MS[interval])
        return self._market.klines(instrument, interval, start_ms, _MAX_TRUTH, now, end_ms=end_ms)

    # ---- faults ------------------------------------------------------------------------------------

    def fault(self, kind: str, **fields: Any) -> Fault:
        """Arm a fault, or carry it out at once. ValueError: it makes no sense. See faults.Fault."""
        return self.add_fault(msgspec.convert({"kind": kind, **fields}, Fault))

    def add_fault(self, fault: Fault) -> Fault:
        """`fault`, from a Fault."""
        self.exchange.faults.add(fault)
        if fault.kind in AT_ONCE:
            fault.hits = self._carry_out(fault)
        return fault

    def clear_faults(self, fault_id: int | None = None) -> int:
        """Disarm one fault, or all; returns how many were armed."""
        return self.exchange.faults.clear(fault_id)

    def _carry_out(self, fault: Fault) -> int:
        exchange, now = self.exchange, self.exchange.now_ms()
        match fault.kind:
            case "drop":
                return self.hub.drop(fault)
            case "shutdown":
                return self.hub.announce_shutdown(fault)
            case "restart":
                self._spawn(self._restart(fault.seconds))
                return 1
            case "ban":
                known = {client for _, client in exchange.limits.accounts} | {"127.0.0.1"}
                clients = {fault.client} if fault.client else known
                names = [fault.market] if fault.market else self.markets
                pools = {weight_pool(name, exchange.settings.era) for name in names} | {funding_pool()}
                for client in clients:
                    for pool in pools:
                        exchange.limits.ban(pool, client, fault.seconds, now)
                return len(clients)
            case "listing" | "delisting":
                change = self._market.list_symbol if fault.kind == "listing" else self._market.delist_symbol
                market, at = fault.market or self.markets[0], now + int(fault.seconds * 1000)
                for symbol in fault.symbols or ():
                    try:
                        change(market, symbol, at)
                    except KeyError:
                        raise ValueError(f"{market} has no symbol {symbol}") from None
                self.hub.universe_changed()
                return len(fault.symbols or ())
        raise AssertionError(fault.kind)

    async def _restart(self, seconds: float) -> None:
        await asyncio.sleep(0.02)  # the answer of the admin endpoint leaves first
        self.down = True
        for runner in self._runners.values():
            for site in list(runner.sites):
                await site.stop()
            _abort_all(runner)
        await asyncio.sleep(seconds)
        for i, name in enumerate(self.markets):
            await self._listen(self._runners[name], self.ports[i])
        self.down = False

    # ---- requests ----------------------------------------------------------------------------------

    async def serve(self, request: web.Request, market: str) -> web.StreamResponse:
        """One request to the listener of `market`."""
        parts = request.path.strip("/").split("/")
        if parts[0] == "admin":
            return await self._admin(request, market, "/".join(parts[1:]))
        if parts[0] in _STREAM_CATEGORIES[market] and len(parts) > 1:
            parts.pop(0)
        if parts[0] in ("ws", "stream") and "upgrade" in request.headers:
            return await self.hub.serve(request, market)
        return await self.rest.serve(request, market)

    async def _admin(self, request: web.Request, market: str, name: str) -> web.Response:
        try:
            return await self._administer(request, request.query.get("market", market), name)
        except (ValueError, KeyError, TypeError) as error:  # msgspec's errors are ValueErrors
            return _json({"error": f"{type(error).__name__}: {error}"}, 400)

    async def _administer(self, request: web.Request, market: str, name: str) -> web.Response:
        exchange, query = self.exchange, request.query
        match (request.method, name):
            case ("GET" | "POST", "time"):
                if request.method == "POST":
                    exchange.time.set_rate(float((await request.json())["rate"]))
                now = exchange.time.now_ms()
                start = exchange.start_ms
                return _json({"exchange_ms": now, "rate": exchange.time.rate, "start_ms": start})
            case ("GET", "stats"):
                return _json(exchange.report())
            case ("GET", "truth"):
                symbol, interval = query["symbol"], query["interval"]
                rows = self.truth(
                    market,
                    symbol,
                    interval,
                    int(query["start"]),
                    int(query["end"]),
                    forming="forming" in query,
                )
                return web.Response(
                    body=self._format(market, symbol, interval).rows(rows), content_type="application/json"
                )
            case ("GET", "symbols"):
                now = exchange.now_ms()
                return _json([_symbol(i, now) for i in self._market.instruments(market)])
            case ("GET", "faults"):
                list(exchange.faults.armed(*(f.kind for f in exchange.faults.faults)))  # ends what is over
                return _json([msgspec.to_builtins(f) for f in exchange.faults.faults])
            case ("DELETE", "faults"):
                return _json({"cleared": self.clear_faults(int(query["id"]) if "id" in query else None)})
            case ("POST", "fault"):
                fault = self.add_fault(msgspec.json.decode(await request.read(), type=Fault))
                return _json(msgspec.to_builtins(fault))
        return _json({"error": f"no {request.method} /admin/{name}"}, 404)

    def _format(self, market: str, symbol: str, interval: str) -> KlineFormat:
        key = (market, symbol, interval)
        if key not in self._formats:
            instrument = self._market.find(market, symbol)
            assert instrument is not None
            self._formats[key] = KlineFormat(instrument, interval)
        return self._formats[key]


def _handler(simulator: Simulator, market: str) -> Any:
    async def handle(request: web.Request) -> web.StreamResponse:
        return await simulator.serve(request, market)

    return handle


def _abort_all(runner: web.AppRunner) -> None:
    """Reset every socket of a listener."""
    for handler in list(runner.server.connections) if runner.server else ():
        transport = getattr(handler, "transport", None)
        if transport is not None:
            with contextlib.suppress(OSError):
                transport.abort()


def _json(value: Any, status: int = 200) -> web.Response:
    text = json.dumps(value, ensure_ascii=False)
    return web.Response(status=status, text=text, content_type="application/json")


def _symbol(instrument: Instrument, now: int) -> dict[str, Any]:
    return {
        "symbol": instrument.symbol,
        "status": instrument.status_at(now),
        "list_ms": instrument.list_ms,
        "delist_ms": instrument.delist_ms,
    }
