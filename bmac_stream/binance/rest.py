"""Binance's REST API: one session, every answer checked, every failure an error of bmac_stream.errors.

The client moves bytes and keeps to the rules of the road: weight is taken from the Governor before a request
goes out, the header's count and 429 / 418 are told to it. What the bytes mean is protocol.py's business.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self, TypeVar

import aiohttp

from bmac_stream.binance.markets import Market
from bmac_stream.binance.protocol import (
    ExchangeInfo,
    FundingInfo,
    FundingRate,
    Klines,
    PremiumIndex,
    decode_error,
    decode_exchange_info,
    decode_funding_info,
    decode_funding_rate,
    decode_klines,
    decode_premium_index,
    decode_time,
    excerpt,
)
from bmac_stream.binance.transport import network_error, proxy_for, require_socks, ssl_context
from bmac_stream.binance.weights import Governor
from bmac_stream.clock import Clock
from bmac_stream.errors import ApiError, BadResponse, Banned, ExchangeError, NetworkError, RateLimited

__all__ = ["MAX_BODY", "RestClient", "RestStats", "retry"]

MAX_BODY: Final = 64 * 1024 * 1024
"""Most bytes of one answer, unpacked. The largest that is normal, spot's exchangeInfo, has 17 MB."""

_BIG_ANSWER: Final = 6.0  # exchangeInfo may take this many times timeout_s
_FUNDING_LIMIT: Final = 500  # fundingRate and fundingInfo together, requests ...
_FUNDING_WINDOW_MS: Final = 300_000  # ... per 5 minutes and address
_TEMPORARY_CODES: Final = frozenset((-1000, -1001, -1006, -1007, -1008, -1016))
_LIMITED_S: Final = 60.0  # a 429 without Retry-After: a whole window
_BANNED_S: Final = 120.0  # a 418 without one: the shortest ban there is

_T = TypeVar("_T")


@dataclass(slots=True)
class RestStats:
    """What one client has done since it was made."""

    requests: int = 0
    weight: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    """By kind: "network", "http_429", "http_418", "api", or the kind of a BadResponse."""
    bad_rows: Counter[str] = field(default_factory=Counter)
    """Kline rows left out, by kind."""


class RestClient:
    """One market's REST API.

    market      which one
    base_url    scheme and host, e.g. "http://127.0.0.1:8080"; None: the market's own
    clock       exchange time; `sync_clock` sets it
    governor    grants request weight; clients of markets that share a pool share it
    timeout_s   wall seconds for one request from connecting to the last byte (exchangeInfo: six times that)
    proxy       "http://...", "socks5://...", "env" or None: direct
    ca_file     PEM with further certificates to trust
    funding_governor   for the pool of fundingRate and fundingInfo; made from `governor` if not given

    Methods raise NetworkError, BadResponse, ApiError (RateLimited, Banned) and nothing else; ValueError for
    arguments that no answer could satisfy. Nothing is retried here: see `retry`.
    """

    def __init__(
        self,
        market: Market,
        base_url: str | None,
        clock: Clock,
        governor: Governor,
        *,
        timeout_s: float = 5.0,
        proxy: str | None = None,
        ca_file: str | Path | None = None,
        max_connections: int = 16,
        max_body: int = MAX_BODY,
        funding_governor: Governor | None = None,
    ) -> None:
        self.market = market
        self.base_url = (base_url or market.rest_url).rstrip("/")
        self.governor = governor
        self.funding_governor = funding_governor or Governor(
            _FUNDING_LIMIT,
            governor.share,
            clock,
            name=f"{governor.name} funding",
            window_ms=_FUNDING_WINDOW_MS,
        )
        self.stats = RestStats()
        self._clock = clock
        self._timeout_s = timeout_s
        self._proxy = proxy_for(proxy, self.base_url)
        self._ssl = ssl_context(ca_file) if self.base_url.startswith("https:") else None
        self._max_connections = max_connections
        self._max_body = max_body
        self._session: aiohttp.ClientSession | None = None
        self._closed = False
        if self._proxy is not None and self._proxy.scheme == "socks5":
            require_socks()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections. Requests under way fail with NetworkError."""
        self._closed = True
        if self._session is not None:
            await self._session.close()
            self._session = None

    # ------------------------------------------------------------------------------------- methods

    async def ping(self) -> None:
        """Reach the API and come back."""
        await self._get("ping", {}, self.market.weights["ping"], lambda body: None)

    async def time(self) -> int:
        """The exchange's clock, int ms UTC."""
        return await self._get("time", {}, self.market.weights["time"], decode_time)

    async def sync_clock(self, samples: int = 3) -> float:
        """Set the clock by the quickest of some /time answers; returns how far it was moved, ms."""
        best: tuple[float, int, float, float] | None = None
        for _ in range(max(1, samples)):
            sent_received: list[float] = []
            server_ms = await self._get(
                "time", {}, self.market.weights["time"], decode_time, moments=sent_received
            )
            sent, received = sent_received
            if best is None or received - sent < best[0]:
                best = (received - sent, server_ms, sent, received)
        assert best is not None
        return self._clock.sync(best[1], best[2], best[3])

    async def exchange_info(self) -> ExchangeInfo:
        """All symbols of the market."""
        return await self._get(
            "exchangeInfo",
            self.market.exchange_info_params,
            self.market.weights["exchangeInfo"],
            lambda body: decode_exchange_info(body, self.market),
            timeout_s=self._timeout_s * _BIG_ANSWER,
        )

    async def klines(
        self,
        symbol: str,
        interval: str,
        *,
        start_ms: int | None = None,
        end_ms: int | None = None,
        limit: int,
        bad: list[tuple[int, str]] | None = None,
        moments: list[float] | None = None,
    ) -> Klines:
        """A page of klines, oldest first; the bar that is forming now is part of it.

        start_ms, end_ms  bounds of open_time, both inclusive. If more than `limit` rows lie between, spot and
                          USD-M give the oldest, COIN-M the newest: ask for spans of at most `limit` bars.
        limit             at most this many rows (1..market.max_limit); decides the weight
        bad               see protocol.decode_klines: a list takes rows that break a rule
        moments           is set to [sent, received], monotonic seconds: it may have waited for weight before
        """
        weight = self.market.kline_weight(limit)
        params = {"symbol": symbol, "interval": interval, "limit": str(limit)}
        if start_ms is not None:
            params["startTime"] = str(start_ms)
        if end_ms is not None:
            params["endTime"] = str(end_ms)

        def decode(body: bytes) -> Klines:
            page = decode_klines(body, self.market, interval, symbol, bad=bad)
            times = page.open_time
            if len(times) > limit:
                raise BadResponse(f"klines of {symbol}: {len(times)} rows where {limit} were asked", "range")
            if len(times) and (
                (start_ms is not None and times[0] < start_ms) or (end_ms is not None and times[-1] > end_ms)
            ):
                raise BadResponse(
                    f"klines of {symbol}: rows {times[0]}..{times[-1]} where {start_ms}..{end_ms} were asked",
                    "range",
                )
            return page

        already = 0 if bad is None else len(bad)
        page = await self._get("klines", params, weight, decode, moments=moments)
        if bad is not None:
            self.stats.bad_rows.update(kind for _, kind in bad[already:])
        return page

    async def premium_index(self) -> list[PremiumIndex]:
        """Mark prices and last funding rates of all symbols. Futures only."""
        return await self._get("premiumIndex", {}, self.market.weights["premiumIndex"], decode_premium_index)

    async def funding_rate(
        self,
        symbol: str | None = None,
        *,
        start_ms: int | None = None,
        end_ms: int | None = None,
        limit: int = 1000,
    ) -> list[FundingRate]:
        """Settled funding rates, ascending; COIN-M needs a symbol. A pool of its own. Futures only."""
        params = {"limit": str(limit)}
        for key, value in (("symbol", symbol), ("startTime", start_ms), ("endTime", end_ms)):
            if value is not None:
                params[key] = str(value)
        return await self._get(
            "fundingRate", params, self.market.weights["fundingRate"], decode_funding_rate, funding=True
        )

    async def funding_info(self) -> list[FundingInfo]:
        """Symbols whose funding terms differ from the usual 8 hours. Futures only."""
        return await self._get(
            "fundingInfo", {}, self.market.weights["fundingInfo"], decode_funding_info, funding=True
        )

    # -------------------------------------------------------------------------------------- moving

    async def _get(
        self,
        path: str,
        params: dict[str, str],
        weight: int,
        decode: Callable[[bytes], _T],
        *,
        timeout_s: float | None = None,
        funding: bool = False,
        moments: list[float] | None = None,
    ) -> _T:
        """One request: weight first, then the bytes, then their meaning."""
        async with AsyncExitStack() as stack:
            if funding:
                await stack.enter_async_context(self.funding_governor.request(1))
            ticket = await stack.enter_async_context(self.governor.request(weight))
            self.stats.requests += 1
            self.stats.weight += weight
            try:
                sent = time.monotonic()
                status, headers, body = await self._exchange(path, params, timeout_s or self._timeout_s)
                if moments is not None:
                    moments[:] = (sent, time.monotonic())
                used = headers.get("X-MBX-USED-WEIGHT-1M", "")
                if used.isascii() and used.isdigit() and len(used) < 10:
                    self.governor.observe(int(used), ticket)
                if status != 200:
                    raise self._refused(status, headers, body, path)
                try:
                    return decode(body)
                except BadResponse:
                    if (api_error := decode_error(body)) is not None:
                        raise ApiError(status, *api_error) from None
                    if body.lstrip()[:1] == b"<":
                        raise BadResponse(
                            f"{path}: HTML where JSON was due: {excerpt(body)}", "html"
                        ) from None
                    raise
            except ExchangeError as error:
                self.stats.errors[_kind(error)] += 1
                if isinstance(error, RateLimited):
                    self._tell_governors(error, funding)
                raise

    async def _exchange(
        self, path: str, params: dict[str, str], timeout_s: float
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of one GET."""
        session = self._open_session()
        proxy = self._proxy
        http_proxy = proxy if proxy is not None and proxy.scheme == "http" else None
        url = f"{self.base_url}{self.market.prefix}/{path}"
        try:
            async with session.get(
                url,
                params=params,
                proxy=None if http_proxy is None else http_proxy.url,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=timeout_s),
            ) as response:
                return response.status, response.headers, await self._read(response, path)
        except aiohttp.ClientPayloadError as error:
            raise BadResponse(f"{path}: the body was cut short: {str(error)[:100]}", "truncated") from None
        except aiohttp.ClientHttpProxyError as error:
            raise NetworkError(f"proxy {proxy} answered {error.status} {error.message[:80]!r}") from None
        except aiohttp.ClientResponseError as error:
            raise BadResponse(f"{path}: not an HTTP answer: {str(error.message)[:150]}", "http") from None
        except (TimeoutError, aiohttp.ClientError, OSError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not self._closed:
                raise
            raise self._failed(error, timeout_s) from None
        except Exception as error:
            # python_socks has errors of its own, which are no OSError; it is not imported unless needed.
            if type(error).__module__.partition(".")[0] in ("python_socks", "aiohttp_socks"):
                raise self._failed(error, timeout_s) from None
            raise

    def _failed(self, error: Exception, timeout_s: float) -> NetworkError:
        if isinstance(error, TimeoutError) and not str(error):
            error = TimeoutError(f"no answer within {timeout_s:g} s")
        return network_error(error, self.base_url, self._proxy)

    async def _read(self, response: aiohttp.ClientResponse, path: str) -> bytes:
        """The body, bounded, whatever Content-Type and Content-Length say."""
        chunks: list[bytes] = []
        size = 0
        async for chunk in response.content.iter_chunked(1 << 18):
            size += len(chunk)
            if size > self._max_body:
                response.close()
                raise BadResponse(f"{path}: the body is longer than {self._max_body} bytes", "too_long")
            chunks.append(chunk)
        return b"".join(chunks)

    def _open_session(self) -> aiohttp.ClientSession:
        if self._closed:
            raise NetworkError("this client is closed")
        if self._session is None:
            connector: aiohttp.BaseConnector
            proxy = self._proxy
            if proxy is not None and proxy.scheme == "socks5":
                from aiohttp_socks import ProxyConnector, ProxyType  # an extra: only for those who need it

                connector = ProxyConnector(
                    proxy.host,
                    proxy.port,
                    ProxyType.SOCKS5,
                    username=proxy.username,
                    password=proxy.password,
                    rdns=True,
                    ssl=self._ssl or True,
                    limit=self._max_connections,
                )
            else:
                connector = aiohttp.TCPConnector(ssl=self._ssl or True, limit=self._max_connections)
            self._session = aiohttp.ClientSession(
                connector=connector, trust_env=False, headers={"User-Agent": "bmac_stream"}
            )
        return self._session

    def _refused(self, status: int, headers: Mapping[str, str], body: bytes, path: str) -> ExchangeError:
        """The error for an answer whose status is not 200."""
        api_error = decode_error(body)
        if status in (418, 429):
            code, msg = api_error or (-1003, excerpt(body))
            seconds = _retry_after(headers.get("Retry-After", ""))
            if status == 418:
                return Banned(status, code, msg, self._banned_s(msg) if seconds is None else seconds)
            return RateLimited(status, code, msg, _LIMITED_S if seconds is None else seconds)
        if api_error is not None:
            return ApiError(status, *api_error)
        kind = "html" if body.lstrip()[:1] == b"<" else "http"
        return BadResponse(f"{path}: HTTP {status}: {excerpt(body)}", kind)

    def _banned_s(self, msg: str) -> float:
        """Seconds of a ban from its text ("... banned until 1628677374538."), or the least there is."""
        for word in msg.replace(".", " ").split():
            if word.isascii() and word.isdigit() and len(word) == 13:
                return max(_BANNED_S, (int(word) - self._clock.now_ms()) / 1e3)
        return _BANNED_S

    def _tell_governors(self, error: RateLimited, funding: bool) -> None:
        for governor in (self.governor, self.funding_governor) if funding else (self.governor,):
            if isinstance(error, Banned):
                governor.banned(error.retry_after_s)
            else:
                governor.limited(error.retry_after_s)


def _retry_after(header: str) -> float | None:
    """Seconds, or None if the header is absent or something else."""
    header = header.strip()
    return float(header) if header.isascii() and header.isdigit() and len(header) < 10 else None


def _kind(error: ExchangeError) -> str:
    if isinstance(error, RateLimited):
        return f"http_{error.status}"
    if isinstance(error, ApiError):
        return "api"
    return error.kind if isinstance(error, BadResponse) else "network"


def _temporary(error: ExchangeError) -> bool:
    if isinstance(error, ApiError):
        return isinstance(error, RateLimited) or error.status >= 500 or error.code in _TEMPORARY_CODES
    return True


async def retry(
    call: Callable[[], Awaitable[_T]],
    *,
    attempts: int | None,
    base_s: float = 0.5,
    cap_s: float = 30.0,
    on_error: Callable[[ExchangeError, int], None] | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> _T:
    """`await call()`, again after a temporary failure, with capped and jittered back-off (wall seconds).

    attempts  how often at most; None: for ever
    on_error  told every failure that is followed by another attempt, with the number of attempts so far

    Errors that another attempt cannot heal (an unknown symbol) are raised at once, and so is a ban, unless
    attempts is None: then the next request waits for the Governor, which lets nothing out during a ban.
    """
    made = 0
    while True:
        made += 1
        try:
            return await call()
        except ExchangeError as error:
            if not _temporary(error) or (
                attempts is not None and (made >= attempts or isinstance(error, Banned))
            ):
                raise
            if on_error is not None:
                on_error(error, made)
        # Full jitter: many waiters must not come back at the same moment.
        await sleep(random.uniform(0.2, 1.0) * min(cap_s, base_s * 2.0 ** min(made - 1, 16)))
