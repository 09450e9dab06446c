"""The doctor's other half: the way to the exchange, step by step, until the first kline frame.

Per market: name resolution, proxy, TLS and REST's /time (with the clock's offset), exchangeInfo, request
weight in use, and one kline frame from the streams: a handshake and an acknowledgement prove nothing, for the
retired USD-M path gives both and stays silent. Every step is bounded in time, and nothing here raises.
"""

import asyncio
import contextlib
import socket
import threading
import urllib.request
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from bmac_stream.binance.markets import MARKETS, TRADE_TYPES, Market, TradeType
from bmac_stream.binance.protocol import ExchangeInfo, Kline
from bmac_stream.binance.rest import RestClient
from bmac_stream.binance.transport import Proxy, proxy_for
from bmac_stream.binance.websocket import KlineStreams, StreamEvent
from bmac_stream.binance.weights import Governor
from bmac_stream.clock import Clock
from bmac_stream.config import Config, Hosts, Symbols, stream_urls
from bmac_stream.doctor import Check
from bmac_stream.embedded import EmbeddedExchange
from bmac_stream.errors import Banned, BmacError, ExchangeError, NetworkError, RateLimited
from bmac_stream.universe import BMAC_RULES, choose

__all__ = ["Way", "exchange_checks", "way_of"]

T = TypeVar("T")

OFFSET_WARN_MS: Final = 1_000.0
WEIGHT_WARN: Final = 0.5
"""Part of the weight limit in use by this address before we have done anything worth it."""
BUSY: Final = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "BTCUSDC", "ETHBTC", "BTCUSD_PERP", "ETHUSD_PERP")
"""Symbols that trade every second: their streams speak at once."""
N_STREAMS: Final = 5
INTERVAL: Final = "1m"
START_TIMEOUT_S: Final = 60.0
"""The embedded exchange may have to compile its market first."""


@dataclass(frozen=True)
class Way:
    """How one market is reached."""

    market: Market
    rest_url: str
    stream_urls: tuple[str, ...]
    trade: TradeType | None = None
    keep_symbols: tuple[str, ...] = ()
    rules: Symbols = BMAC_RULES
    proxy: str | None = None
    ca_file: str | None = None
    rate: float = 1.0
    real: bool = True
    """False: an exchange that keeps its own time, whose clock says nothing about this machine's."""

    @property
    def name(self) -> str:
        return self.market.name

    def proxy_to(self, url: str) -> Proxy | None:
        return proxy_for(self.proxy, url)


def way_of(config: Config) -> Way:
    """The way that a collector with this config goes. Not for the embedded one."""
    market = config.market
    rest_url, streams, real = market.rest_url, market.stream_urls, True
    if isinstance(config.exchange, Hosts):
        rest_url, real = config.exchange.rest, False
        streams = stream_urls(market, config.exchange.stream)
    return Way(
        market=market,
        rest_url=rest_url,
        stream_urls=streams,
        trade=config.trade,
        keep_symbols=tuple(config.keep_symbols or ()),
        rules=config.symbols,
        proxy=config.proxy,
        ca_file=None if config.ca_file is None else str(config.path(config.ca_file)),
        rate=config.rate,
        real=real,
    )


async def exchange_checks(config: Config | None, timeout_s: float) -> list[Check]:
    """Every market of `config` (all of Binance's without one), at the same time."""
    if config is not None and config.exchange == "embedded":
        return await _embedded(config, timeout_s)
    if config is not None:
        ways = [way_of(config)]
    else:
        ways = [Way(m, m.rest_url, m.stream_urls) for m in MARKETS.values()]
    found = _environment(ways[0])
    if not await _has_network(ways, timeout_s, found):
        return found
    for checks in await asyncio.gather(*(_check_way(way, timeout_s) for way in ways)):
        found += checks
    return found


def _environment(way: Way) -> list[Check]:
    named = {scheme: url for scheme, url in urllib.request.getproxies().items() if scheme != "no"}
    if named and way.proxy is None:
        return [
            Check(
                "proxy",
                "warn",
                f"the environment names a proxy ({', '.join(sorted(named))}_proxy), but it is not used",
                'Write "proxy": "env" into the config if the exchange is to be reached through it.',
            )
        ]
    return []


async def _has_network(ways: Sequence[Way], timeout_s: float, found: list[Check]) -> bool:
    """Whether any host can be found at all; without that, nothing else needs to be tried."""
    results: dict[str, str | None] = {}

    async def look_up(url: str, way: Way) -> None:
        proxy = way.proxy_to(url)
        parts = urlsplit(url)
        default = 443 if parts.scheme in ("https", "wss") else 80
        host, port = parts.hostname or "", parts.port or default
        if proxy is not None:
            host, port = proxy.host, proxy.port
        if host not in results:
            results[host] = ""
            results[host] = await _resolve(host, port, timeout_s)

    await asyncio.gather(*(look_up(url, way) for way in ways for url in (way.rest_url, *way.stream_urls)))
    bad = {host: text for host, text in results.items() if text}
    what = "name resolution"
    if not bad:
        found.append(Check(what, "ok", ", ".join(sorted(results))))
        return True
    everything = len(bad) == len(results)
    found.append(
        Check(
            what,
            "fail",
            "; ".join(f"{host}: {text}" for host, text in sorted(bad.items())),
            "There is no network here, or DNS does not answer: check the connection and /etc/resolv.conf."
            if everything
            else 'Some names are blocked here: use another DNS server, or a proxy ("proxy" in the config).',
        )
    )
    return not everything


async def _resolve(host: str, port: int, timeout_s: float) -> str | None:
    """None if the name has an address, else why not. In a daemon thread: a resolver may hang for minutes."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str | None] = loop.create_future()

    def tell(text: str | None) -> None:
        if not answer.done():
            answer.set_result(text)

    def work() -> None:
        text: str | None = None
        try:
            socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            text = error.strerror or str(error)
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(tell, text)

    threading.Thread(target=work, daemon=True).start()
    try:
        return await asyncio.wait_for(answer, min(timeout_s, 10.0))
    except TimeoutError:
        return "no answer from DNS"


async def _check_way(way: Way, timeout_s: float) -> list[Check]:
    found: list[Check] = []
    clock = Clock(way.rate)
    # A small share: a doctor must not take the weight that a running collector counts on.
    governor = Governor(way.market.weight_limit, 0.05, clock, name=f"doctor {way.name}")
    proxy = way.proxy_to(way.rest_url)
    through = f" through {proxy}" if proxy is not None else ""
    what = f"{way.name} REST"
    info: ExchangeInfo | None = None
    try:
        async with RestClient(
            way.market,
            way.rest_url,
            clock,
            governor,
            timeout_s=min(timeout_s, 10.0),
            proxy=way.proxy,
            ca_file=way.ca_file,
        ) as rest:
            await _bounded(rest.sync_clock(), timeout_s)
            tls = ", TLS verified" if way.rest_url.startswith("https") else ""
            round_trip = 2 * clock.uncertainty_ms / way.rate
            found.append(Check(what, "ok", f"{way.rest_url}{through}: {round_trip:.0f} ms{tls}"))
            if way.real:
                found.append(_offset(way, clock))
            info = await _bounded(rest.exchange_info(), timeout_s)
            found += _symbols(way, info)
            found.append(_weight(way, governor))
    except (ExchangeError, TimeoutError, ValueError) as error:
        found.append(Check(what, "fail", _text(error, timeout_s), _advice(error, proxy)))
    found.append(await _first_frame(way, clock, info, timeout_s))
    return found


def _offset(way: Way, clock: Clock) -> Check:
    text = f"this machine is {-clock.offset_ms:+.0f} ms off (+- {clock.uncertainty_ms:.0f} ms)"
    if abs(clock.offset_ms) - clock.uncertainty_ms > OFFSET_WARN_MS:
        return Check(
            f"{way.name} clock",
            "warn",
            text,
            "The collector goes by the exchange's clock, so bars are right; but set this one too"
            " (`timedatectl set-ntp true`, or chrony): orders signed with a wrong time are refused.",
        )
    return Check(f"{way.name} clock", "ok", text)


def _symbols(way: Way, info: ExchangeInfo) -> list[Check]:
    what = f"{way.name} symbols"
    if way.trade is None:
        trading = sum(symbol.status == "TRADING" for symbol in info.symbols)
        return [Check(what, "ok" if trading else "warn", f"{trading} are trading")]
    offered = set(choose(info.symbols, way.trade, None, way.rules).symbols)
    unknown = sorted(set(way.keep_symbols) - offered)
    if not offered:
        return [
            Check(what, "fail", f"{way.trade.name} has no symbol that trades", "Choose another trade_type.")
        ]
    if unknown:
        names = ", ".join(unknown[:10])
        level = "fail" if len(unknown) == len(set(way.keep_symbols)) else "warn"
        reasons = "; ".join(choose(info.symbols, way.trade, unknown[:10], way.rules).problems)
        hint = f"Correct keep_symbols. {reasons}"
        return [Check(what, level, f"not in {way.trade.name} now: {names}", hint)]  # type: ignore[arg-type]
    wanted = len(way.keep_symbols) or len(offered)
    return [Check(what, "ok", f"{wanted} of {len(offered)} in {way.trade.name}")]


def _weight(way: Way, governor: Governor) -> Check:
    used, limit = governor.used_by_all, governor.limit
    text = f"{used} of {limit} used in this minute, all programs on this address together"
    if used > WEIGHT_WARN * limit:
        return Check(
            f"{way.name} weight",
            "warn",
            text,
            "Other programs on this address use much of it: lower weight_share, or move them.",
        )
    return Check(f"{way.name} weight", "ok", text)


async def _first_frame(way: Way, clock: Clock, info: ExchangeInfo | None, timeout_s: float) -> Check:
    what = f"{way.name} streams"
    loop = asyncio.get_running_loop()
    first: asyncio.Future[Kline] = loop.create_future()

    def on_kline(kline: Kline) -> None:
        if not first.done():
            first.set_result(kline)

    failures: list[str] = []

    def on_event(event: StreamEvent) -> None:
        if event.kind in ("failed", "refused"):
            failures[:] = [event.detail]

    symbols = _busy(way, info)
    if not symbols:
        return Check(what, "warn", "not tried: there is no symbol to listen to")
    began = loop.time()
    proxy = way.proxy_to(way.stream_urls[0])
    try:
        streams = KlineStreams(
            way.market,
            way.stream_urls,
            INTERVAL,
            clock,
            on_kline,
            proxy=way.proxy,
            ca_file=way.ca_file,
            groups=1,
            first_frame_timeout_s=max(timeout_s / (len(way.stream_urls) + 1), 1.0) * way.rate,
            open_timeout_s=min(timeout_s, 10.0),
            on_event=on_event,
        )
        streams.set_symbols(symbols)
    except (ExchangeError, ValueError) as error:
        return Check(what, "fail", _text(error, timeout_s), _advice(error, proxy))
    running = asyncio.ensure_future(streams.run())
    try:
        both: set[asyncio.Future[Any]] = {first, running}
        await asyncio.wait(both, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await running
    hosts = " or ".join(way.stream_urls)
    why = f" ({failures[0]})" if failures else ""
    if first.done():
        kline = first.result()
        took = (loop.time() - began) * 1e3
        return Check(what, "ok", f"first kline frame ({kline.symbol}) after {took:.0f} ms")
    if running.done() and not running.cancelled() and (broken := running.exception()) is not None:
        return Check(what, "fail", _text(broken, timeout_s), _advice(broken, proxy))
    return Check(
        what,
        "fail",
        f"no kline frame from {hosts} within {timeout_s:g} s{why}",
        "If REST works: a firewall or proxy lets HTTPS pass but not WebSockets (allow `Upgrade`, or use a"
        " SOCKS5 proxy), or the stream's address is out of date: USD-M klines only come from wss://.../market.",
    )


def _busy(way: Way, info: ExchangeInfo | None) -> list[str]:
    """A few symbols whose streams speak soon."""
    if info is None:
        return [symbol for symbol in BUSY if ("_PERP" in symbol) == (way.name == "coinm")][:2]
    trades = (
        [way.trade] if way.trade is not None else [t for t in TRADE_TYPES.values() if t.market == way.name]
    )
    offered = [s.symbol for s in info.symbols if any(trade.includes(s) for trade in trades)]
    kept = [symbol for symbol in way.keep_symbols if symbol in offered]
    busy = [symbol for symbol in BUSY if symbol in offered]
    return list(dict.fromkeys([*busy, *kept, *offered]))[:N_STREAMS]


# ---- the embedded exchange


async def _embedded(config: Config, timeout_s: float) -> list[Check]:
    """Start it as the collector would, look at it, and end it."""
    what = "embedded exchange"
    exchange = EmbeddedExchange(config)
    try:
        ready = await _bounded(exchange.start(), max(timeout_s, START_TIMEOUT_S))
        way = Way(
            market=config.market,
            rest_url=ready.rest,
            stream_urls=stream_urls(config.market, ready.stream),
            trade=config.trade,
            keep_symbols=tuple(config.keep_symbols or ()),
            rules=config.symbols,
            rate=config.rate,
            real=False,
        )
        return [Check(what, "ok", ready.source), *await _check_way(way, timeout_s)]
    except (BmacError, OSError, TimeoutError) as error:
        advice = "Run `python -m bmac_stream.simulator` to see what it says."
        return [Check(what, "fail", _text(error, timeout_s), advice)]
    finally:
        await exchange.stop()


# ---- words


async def _bounded(call: Awaitable[T], timeout_s: float) -> T:
    return await asyncio.wait_for(call, timeout_s)


def _text(error: BaseException, timeout_s: float) -> str:
    if isinstance(error, TimeoutError) and not str(error):
        return f"no answer within {timeout_s:g} s"
    return f"{error}"


def _advice(error: BaseException, proxy: Proxy | None) -> str:
    text = str(error)
    if isinstance(error, Banned):
        return f"Wait {error.retry_after_s:.0f} s, and find the program on this address that asks too much."
    if isinstance(error, RateLimited):
        return "Too much is asked from this address: wait a minute, lower weight_share."
    if "TLS verification failed" in text:
        return (
            "Something between here and the exchange shows its own certificate, or the date here is wrong."
            ' If it is a proxy of your company, give its CA as "ca_file"; verification is never turned off.'
        )
    if "socks" in text and "extra" in text:
        return "Run: pip install 'bmac-stream[socks]'"
    if "DNS" in text:
        return "Check the network and DNS here, or name a proxy in the config: names are then resolved there."
    if proxy is not None and isinstance(error, NetworkError | TimeoutError):
        return f"Is the proxy {proxy} running, and does it let HTTPS through?"
    if isinstance(error, NetworkError | TimeoutError):
        return 'The exchange cannot be reached from here: name a proxy in the config ("proxy": "http://...").'
    if "403" in text or "451" in text or "HTML" in text:
        return (
            "The exchange refuses this address (country, or a firewall's page): use another route or a proxy."
        )
    return ""
