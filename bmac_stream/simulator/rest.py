"""The exchange's REST half: endpoints, parameters and their errors, weights, headers.

`Rest.serve` answers every request of a market's listener: it charges the weight, lets an armed fault
disfigure the answer, reads the parameters, and prints the body.
"""

import asyncio
import json
import re
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from typing import Final
from uuid import uuid4

import numpy as np
from aiohttp import web

from bmac_stream.bar import INTERVALS_MS
from bmac_stream.simulator.exchange import Exchange
from bmac_stream.simulator.exchange_info import exchange_info
from bmac_stream.simulator.faults import Fault
from bmac_stream.simulator.limits import (
    SPOT_RAW,
    Pool,
    Verdict,
    funding_pool,
    kline_weight,
    weight_pool,
)
from bmac_stream.simulator.market import Funding, Instrument, Rows
from bmac_stream.simulator.numbers import KlineFormat

__all__ = ["PREFIXES", "Refused", "Rest"]

PREFIXES: Final = {"spot": "/api/v3", "usdm": "/fapi/v1", "coinm": "/dapi/v1"}
_MAX_KLINES: Final = {"spot": 1000, "usdm": 1500, "coinm": 1500}
_DAY_MS: Final = 86_400_000
_COINM_SPAN_MS: Final = 200 * _DAY_MS
_FUNDING_PIECE_MS: Final = 4 * 3_600_000
_RATE_TYPE_SINCE_MS: Final = 1_785_196_800_000  # 2026-07-28: fundingRate rows gain rateType
_CONTRACT_TYPES: Final = ("PERPETUAL", "CURRENT_QUARTER", "NEXT_QUARTER", "TRADIFI_PERPETUAL")
_INTEGER: Final = re.compile(r"[0-9]{1,20}")
_SYMBOL: Final = re.compile(r"[\w\-.]{1,50}")
_TIME_ZONE: Final = re.compile(r"[+-]?\d{1,2}(:\d{2})?")
_HTML: Final = (
    "<html>\r\n<head><title>{0}</title></head>\r\n<body>\r\n<center><h1>{0}</h1></center>\r\n"
    "<hr><center>{1}</center>\r\n</body>\r\n</html>\r\n"
)


class Refused(Exception):
    """The exchange's own error: HTTP status, code and text."""

    def __init__(self, code: int, msg: str, status: int = 400) -> None:
        super().__init__(msg)
        self.code, self.msg, self.status = code, msg, status


@dataclass(frozen=True, slots=True)
class _Endpoint:
    answer: "Callable[[Rest, _Request], bytes]"
    weight: "Callable[[_Request], int]"
    pool: str = "weight"
    json_type: str = "application/json"


class _Request:
    """One request: its market and its parameters, read on demand with the exchange's errors."""

    __slots__ = ("market", "microseconds", "now", "params")

    def __init__(self, market: str, params: Mapping[str, str], now: int, microseconds: bool) -> None:
        self.market, self.params, self.now, self.microseconds = market, params, now, microseconds

    def text(self, name: str) -> str:
        """A mandatory parameter."""
        value = self.params.get(name, "")
        if not value:
            raise Refused(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
        return value

    def integer(self, name: str) -> int | None:
        """An optional number; None if it was not sent."""
        value = self.params.get(name)
        if value is None:
            return None
        if value == "":
            raise Refused(-1105, f"Parameter '{name}' was empty.")
        if not _INTEGER.fullmatch(value):
            legal = "^[0-9]{1,20}$"
            raise Refused(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")
        return int(value)

    def time_ms(self, name: str) -> int | None:
        """An optional time: ms, on spot microseconds too."""
        value = self.integer(name)
        if value is not None and self.market == "spot" and value >= 10**14:
            value //= 1000
        return value

    def limit(self, default: int, most: int) -> int:
        """`limit`, clamped to the maximum (what the real one does above it is not established)."""
        value = self.integer("limit")
        if value is None:
            return default
        if value == 0:
            raise Refused(-1130, "Data sent for parameter 'limit' is not valid.")
        return min(value, most)


class Rest:
    """The REST half of one exchange; `serve` is the handler of every path that is no stream."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self._formats: dict[tuple[str, str, str], KlineFormat] = {}

    async def serve(self, request: web.Request, market: str) -> web.StreamResponse:
        """Answer one request to the listener of `market`."""
        exchange = self.exchange
        stats, now = exchange.stats, exchange.now_ms()
        client, path = request.remote or "", request.path
        stats.requests[path] += 1
        stats.clients[client] += 1
        prefix = PREFIXES[market] + "/"
        name = path.removeprefix(prefix) if path.startswith(prefix) else ""
        endpoint = _ENDPOINTS[market].get(name)
        unit = request.headers.get("X-MBX-TIME-UNIT", "").upper()
        asked = _Request(market, request.query, now, market == "spot" and unit == "MICROSECOND")
        verdict = self._charge(endpoint, asked, client)
        query = request.query
        fault = exchange.faults.rest(market, path, client, query.get("symbol"), query.get("interval"))
        status, body, headers = 200, b"", self._headers(market, endpoint, verdict)
        if verdict.status != 200:
            status, body = verdict.status, _limit_body(market, verdict, self._pool(endpoint, market))
            headers["Retry-After"] = str(verdict.retry_after_s)
        elif endpoint is None or request.method != "GET":
            status, body = 404, _HTML.format("404 Not Found", "nginx").encode()
            headers["Content-Type"] = "text/html"
        else:
            try:
                if unit not in ("", "MILLISECOND", "MICROSECOND") and market == "spot":
                    raise Refused(-1194, "Invalid value for time unit.")
                body = endpoint.answer(self, asked)
                if fault is not None and fault.kind in ("short_page", "empty_page"):
                    body = self._shortened(fault, body, name)
            except Refused as error:
                status, body = error.status, _error_body(error.code, error.msg)
        stats.statuses[fault.status if fault and fault.kind in ("http_error", "html") else status] += 1
        if fault is not None:
            stats.faulty[fault.kind] += 1
            return await self._disfigured(request, fault, status, body, headers)
        return web.Response(status=status, body=body, headers=headers)

    # ---- limits and headers ------------------------------------------------------------------------

    def _pool(self, endpoint: _Endpoint | None, market: str) -> Pool:
        if endpoint is not None and endpoint.pool == "funding":
            return funding_pool()
        return weight_pool(market, self.exchange.settings.era)

    def _charge(self, endpoint: _Endpoint | None, asked: _Request, client: str) -> Verdict:
        limits, now = self.exchange.limits, asked.now
        if asked.market == "spot":
            raw = limits.charge(SPOT_RAW, client, 1, now)
            if raw.status != 200:
                return raw
        weight = 1
        if endpoint is not None:
            try:
                weight = endpoint.weight(asked)
            except Refused:
                weight = 1
        return limits.charge(self._pool(endpoint, asked.market), client, weight, now)

    @staticmethod
    def _headers(market: str, endpoint: _Endpoint | None, verdict: Verdict) -> dict[str, str]:
        if market == "spot":
            return {
                "Content-Type": "application/json;charset=UTF-8",
                "Date": formatdate(usegmt=True),
                "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
                "Server": "nginx",
                "Vary": "Accept-Encoding",
                "x-mbx-uuid": str(uuid4()),
                "x-mbx-used-weight": str(verdict.used),
                "x-mbx-used-weight-1m": str(verdict.used),
                "Strict-Transport-Security": "max-age=31536000; includeSubdomains",
                "X-Frame-Options": "SAMEORIGIN",
                "X-Xss-Protection": "1; mode=block",
                "X-Content-Type-Options": "nosniff",
                "Content-Security-Policy": "default-src 'self'",
                "X-Content-Security-Policy": "default-src 'self'",
                "X-Webkit-Csp": "default-src 'self'",
                "Cache-Control": "no-cache, no-store, must-revalidate",
                "Pragma": "no-cache",
                "Expires": "0",
                "Access-Control-Allow-Origin": "*",
            }
        headers = {
            "Content-Type": endpoint.json_type if endpoint else "application/json",
            "Date": formatdate(usegmt=True),
            "Server": "Tengine",
            "x-response-time": "0ms",
        }
        if endpoint is None or endpoint.pool != "funding":
            headers["x-mbx-used-weight-1m"] = str(verdict.used)
        return headers

    # ---- faults ------------------------------------------------------------------------------------

    @staticmethod
    def _shortened(fault: Fault, body: bytes, name: str) -> bytes:
        if not name.lower().endswith("klines"):
            return body
        rows = json.loads(body)
        return json.dumps(rows[: fault.rows] if fault.kind == "short_page" else []).encode()

    async def _disfigured(
        self, request: web.Request, fault: Fault, status: int, body: bytes, headers: dict[str, str]
    ) -> web.StreamResponse:
        match fault.kind:
            case "http_error":
                code, msg = fault.code or _CODE_OF.get(fault.status, (-1000, ""))[0], fault.msg
                if msg is None:
                    msg = _CODE_OF.get(
                        fault.status, (0, "An unknown error occurred while processing the request.")
                    )[1]
                if fault.status in (418, 429):
                    headers["Retry-After"] = str(int(fault.seconds))
                return web.Response(status=fault.status, body=_error_body(code, msg), headers=headers)
            case "html":
                headers["Content-Type"] = "text/html"
                title = f"{fault.status} {_TITLES.get(fault.status, 'Error')}"
                text = _HTML.format(title, "cloudfront").encode()
                return web.Response(status=fault.status, body=text, headers=headers)
            case "error_json":
                text = _error_body(fault.code or -1001, fault.msg or "Internal error; unable to process.")
                return web.Response(status=200, body=text, headers=headers)
            case "truncated":
                return await _cut(request, status, body, headers)
            case "slow":
                return await _dribble(request, status, body, headers, fault.seconds)
            case "reset":
                _reset(request)
                return web.Response(status=500)
        return web.Response(status=status, body=body, headers=headers)

    # ---- answers -----------------------------------------------------------------------------------

    def ping(self, asked: _Request) -> bytes:
        return b"{}"

    def time(self, asked: _Request) -> bytes:
        now = asked.now + self.exchange.faults.time_offset_ms(asked.market)
        return b'{"serverTime":%d}' % (now * 1000 if asked.microseconds else now)

    def exchange_info(self, asked: _Request) -> bytes:
        return exchange_info(self.exchange, asked.market, asked.now)

    def spot_exchange_info(self, asked: _Request) -> bytes:
        params, chosen = asked.params, None
        if "symbol" in params and "symbols" in params:
            raise Refused(-1128, "Combination of optional parameters invalid.")
        if "symbol" in params:
            chosen = [self._instrument(asked)]
        elif "symbols" in params:
            names = _names(params["symbols"], "symbols")
            chosen = [self._known("spot", n) for n in names]
        if "symbolStatus" in params:
            status = params["symbolStatus"]
            if chosen is not None:
                raise Refused(-1128, "Combination of optional parameters invalid.")
            if status not in ("TRADING", "HALT", "BREAK"):
                raise Refused(-1130, "Data sent for parameter 'symbolStatus' is not valid.")
            chosen = [i for i in self.exchange.market.instruments("spot") if i.status_at(asked.now) == status]
        if "permissions" in params:
            text = params["permissions"]
            wanted = _names(text, "permissions") if text.startswith("[") else [text]
            if "SPOT" not in wanted:
                chosen = []
        return exchange_info(self.exchange, "spot", asked.now, chosen)

    def klines(self, asked: _Request) -> bytes:
        _only(asked, ("symbol", "interval", "startTime", "endTime", "timeZone", "limit"))
        instrument = self._instrument(asked)
        zone = asked.params.get("timeZone")
        if asked.market == "spot" and zone is not None and not _TIME_ZONE.fullmatch(zone):
            raise Refused(-1130, "Data sent for parameter 'timeZone' is not valid.")
        return self._rows(asked, instrument)

    def continuous_klines(self, asked: _Request) -> bytes:
        pair = asked.text("pair").upper()
        contract_type = asked.text("contractType").upper()
        if contract_type not in _CONTRACT_TYPES:
            raise Refused(-1130, "Data sent for parameter 'contractType' is not valid.")
        instrument = self.exchange.contract(asked.market, pair, contract_type)
        if instrument is None:
            raise Refused(-1121, "Invalid symbol.")
        return self._rows(asked, instrument)

    def _rows(self, asked: _Request, instrument: Instrument) -> bytes:
        interval = asked.text("interval")
        if interval not in INTERVALS_MS or (interval == "1s" and asked.market != "spot"):
            raise Refused(-1120, "Invalid interval.")
        if interval not in self.exchange.market.intervals(instrument.market):
            raise Refused(-1120, "Invalid interval.")
        limit = asked.limit(500, _MAX_KLINES[asked.market])
        start, end = asked.time_ms("startTime"), asked.time_ms("endTime")
        latest = start is None
        if asked.market != "spot" and start is not None and end is not None and start > end:
            raise Refused(-1023, "Start time is greater than end time.")
        if asked.market == "coinm" and (start is not None or end is not None):
            # COIN-M counts back from the end of a span of at most 200 days.
            latest = True
            if start is None and end is not None:
                start = max(end - _COINM_SPAN_MS, 0)
            elif end is None and start is not None:
                end = start + _COINM_SPAN_MS
            assert start is not None
            assert end is not None
            if end - start > _COINM_SPAN_MS:
                raise Refused(-1127, "Lookup interval is too big.")
        rows = self.bars(instrument, interval, start or 0, limit, asked.now, end, latest)
        key = (instrument.market, instrument.symbol, interval)
        fmt = self._formats.get(key)
        if fmt is None:
            if len(self._formats) > 20_000:
                self._formats.clear()
            fmt = self._formats[key] = KlineFormat(instrument, interval)
        return fmt.rows(rows, time_scale=1000 if asked.microseconds else 1)

    def bars(
        self,
        instrument: Instrument,
        interval: str,
        start_ms: int,
        n: int,
        now: int,
        end_ms: int | None,
        latest: bool,
    ) -> Rows:
        """Bars as the market has them."""
        return self.exchange.market.klines(
            instrument, interval, start_ms, n, now, end_ms=end_ms, latest=latest
        )

    def premium_index(self, asked: _Request) -> bytes:
        """usdm: one object with symbol, else an array; coinm: always an array, by symbol or pair."""
        now, market = asked.now, asked.market
        symbol, pair = asked.params.get("symbol"), asked.params.get("pair")
        if symbol:
            chosen = [self._instrument(asked)]
        else:
            chosen = [
                i
                for i in self.exchange.market.instruments(market)
                if i.status_at(now) is not None and (not pair or i.pair == pair)
            ]
            if pair and market == "coinm" and not chosen:
                raise Refused(-1121, "Invalid symbol.")
        rows = [self._premium(i, now, market) for i in chosen]
        if symbol and market == "usdm":
            return rows[0].encode()
        return ("[" + ",".join(rows) + "]").encode()

    def _premium(self, instrument: Instrument, now: int, market: str) -> str:
        p = self.exchange.market.premium(instrument.market, instrument.symbol, now)
        last, interest = f"{p.last_funding_rate:.8f}", f"{p.interest_rate:.8f}"
        pair = ""
        if market == "coinm":
            pair = f'"pair":"{instrument.pair}",'
            if "PERPETUAL" not in instrument.contract_type:
                last = interest = ""
        return (
            f'{{"symbol":"{instrument.symbol}",{pair}"markPrice":"{p.mark_price:.8f}",'
            f'"indexPrice":"{p.index_price:.8f}","estimatedSettlePrice":"{p.settle_price:.8f}",'
            f'"lastFundingRate":"{last}","interestRate":"{interest}",'
            f'"nextFundingTime":{p.next_funding_ms},"time":{now}}}'
        )

    def funding_rate(self, asked: _Request) -> bytes:
        """Ascending; without times the most recent `limit`, with them the first `limit` from startTime."""
        now, market = asked.now, asked.market
        limit = asked.limit(100, 1000)
        start, end = asked.time_ms("startTime"), asked.time_ms("endTime")
        if start is not None and end is not None and start > end:
            raise Refused(-1023, "Start time is greater than end time.")
        symbol: str | None = None
        if market == "coinm":
            asked.text("symbol")
        if asked.params.get("symbol"):
            instrument = self._instrument(asked)
            symbol, market = instrument.symbol, instrument.market
        last_ms = now if end is None else min(end, now)
        span = (limit + 1) * 8 * 3_600_000 if symbol else 3 * _DAY_MS
        ask = self.exchange.market.funding
        if start is None:
            found = ask(market, symbol, last_ms - span, last_ms)
        else:
            # piece by piece: nobody waits for what lies beyond the page
            piece = span if symbol else _FUNDING_PIECE_MS
            end_ms = min(start + piece, last_ms)
            found = ask(market, symbol, start, end_ms)
            while len(found.symbol) < limit and end_ms < last_ms:
                more = ask(market, symbol, end_ms + 1, min(end_ms + piece, last_ms))
                end_ms = min(end_ms + piece, last_ms)
                found = Funding(
                    found.symbol + more.symbol,
                    *(np.concatenate(pair) for pair in zip(found[1:], more[1:], strict=True)),
                )
        n = len(found.symbol)
        chosen = range(max(n - limit, 0), n) if start is None else range(min(n, limit))
        rate_type = ',"rateType":"Regular"' if now >= _RATE_TYPE_SINCE_MS and asked.market == "usdm" else ""
        times, rates, marks = found.funding_time.tolist(), found.rate.tolist(), found.mark_price.tolist()
        rows = []
        for i in chosen:
            mark = "" if marks[i] != marks[i] else f"{marks[i]:.8f}"
            rows.append(
                f'{{"symbol":"{found.symbol[i]}","fundingTime":{times[i]},'
                f'"fundingRate":"{rates[i]:.8f}","markPrice":"{mark}"{rate_type}}}'
            )
        return ("[" + ",".join(rows) + "]").encode()

    def funding_info(self, asked: _Request) -> bytes:
        rows = [
            {
                "symbol": i.symbol,
                "adjustedFundingRateCap": "0.02000000",
                "adjustedFundingRateFloor": "-0.02000000",
                "fundingIntervalHours": i.funding_hours,
                "disclaimer": False,
                "updateTime": i.onboard_ms,
            }
            for i in self.exchange.market.instruments(asked.market)
            if i.funding_hours and i.status_at(asked.now) == "TRADING"
        ]
        return json.dumps(rows, separators=(",", ":"), ensure_ascii=False).encode()

    def _instrument(self, asked: _Request) -> Instrument:
        symbol = asked.text("symbol")
        if asked.market == "spot" and (not _SYMBOL.fullmatch(symbol) or symbol != symbol.upper()):
            legal = "^[\\\\w\\\\-._&&[^a-z]]{1,50}$"
            raise Refused(-1100, f"Illegal characters found in parameter 'symbol'; legal range is '{legal}'.")
        return self._known(asked.market, symbol)

    def _known(self, market: str, symbol: str) -> Instrument:
        instrument = self.exchange.find(market, symbol)
        if instrument is None:
            raise Refused(-1121, "Invalid symbol.")
        return instrument


def _names(text: str, parameter: str) -> list[str]:
    """A JSON array of strings in a query parameter."""
    try:
        names = json.loads(text)
    except ValueError:
        names = None
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise Refused(-1100, f"Illegal characters found in parameter '{parameter}'.")
    return names


def _only(asked: _Request, known: tuple[str, ...]) -> None:
    """Spot counts parameters; the futures ignore what they do not know."""
    read = sum(name in asked.params for name in known)
    if asked.market == "spot" and len(asked.params) > read:
        raise Refused(
            -1104,
            f"Not all sent parameters were read; read '{read}' parameter(s) but was sent "
            f"'{len(asked.params)}'.",
        )


def _error_body(code: int, msg: str) -> bytes:
    return json.dumps({"code": code, "msg": msg}, separators=(",", ":"), ensure_ascii=False).encode()


def _limit_body(market: str, verdict: Verdict, pool: Pool) -> bytes:
    if verdict.status == 418:
        msg = (
            f"Way too much request weight used; IP banned until {verdict.until_ms}. Please use WebSocket "
            "Streams for live updates to avoid bans."
        )
        if market != "spot":
            msg = (
                f"Way too many requests; IP banned until {verdict.until_ms}. Please use the websocket for "
                "live updates to avoid bans."
            )
        return _error_body(-1003, msg)
    minutes = pool.window_ms // 60_000
    return _error_body(
        -1003,
        f"Too much request weight used; current limit is {pool.limit} request weight per {minutes} "
        f"{'MINUTE' if minutes == 1 else 'MINUTES'}. Please use WebSocket Streams for live updates to avoid "
        "polling the API.",
    )


_TITLES: Final = {403: "Forbidden", 404: "Not Found", 502: "Bad Gateway", 503: "Service Unavailable"}
_CODE_OF: Final = {
    408: (-1007, "Timeout waiting for response from backend server."),
    418: (-1003, "Way too many requests; IP banned."),
    429: (-1003, "Too many requests."),
    500: (-1000, "An unknown error occurred while processing the request."),
    503: (-1008, "Server is currently overloaded with other requests. Please try again in a few minutes."),
    504: (-1007, "Timeout waiting for response from backend server."),
}


async def _cut(request: web.Request, status: int, body: bytes, headers: dict[str, str]) -> web.StreamResponse:
    """Half of the body under a Content-Length that promises all, then the connection ends."""
    response = web.StreamResponse(status=status, headers={**headers, "Content-Length": str(len(body) + 2)})
    await response.prepare(request)
    await response.write(body[: len(body) // 2] or b"{")
    if request.transport is not None:
        request.transport.close()
    return response


async def _dribble(
    request: web.Request, status: int, body: bytes, headers: dict[str, str], seconds: float
) -> web.StreamResponse:
    response = web.StreamResponse(status=status, headers={**headers, "Content-Length": str(len(body))})
    await response.prepare(request)
    pieces = 20
    size = max(1, -(-len(body) // pieces))
    for at in range(0, len(body), size):
        await response.write(body[at : at + size])
        await asyncio.sleep(seconds / pieces)
    await response.write_eof()
    return response


def _reset(request: web.Request) -> None:
    transport = request.transport
    if transport is None:
        return
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _weight(n: int) -> Callable[[_Request], int]:
    return lambda asked: n


def _klines_weight(asked: _Request) -> int:
    return kline_weight(asked.market, asked.limit(500, _MAX_KLINES[asked.market]))


_UTF8: Final = "application/json;charset=UTF-8"
_KLINES: Final = _Endpoint(Rest.klines, _klines_weight)
_CONTINUOUS: Final = _Endpoint(Rest.continuous_klines, _klines_weight)
_COMMON: Final = {"ping": _Endpoint(Rest.ping, _weight(1)), "time": _Endpoint(Rest.time, _weight(1))}
_ENDPOINTS: Final[dict[str, dict[str, _Endpoint]]] = {
    "spot": {
        **_COMMON,
        "exchangeInfo": _Endpoint(Rest.spot_exchange_info, _weight(20)),
        "klines": _KLINES,
        "uiKlines": _KLINES,
    },
    "usdm": {
        **_COMMON,
        "exchangeInfo": _Endpoint(Rest.exchange_info, _weight(1)),
        "klines": _KLINES,
        "continuousKlines": _CONTINUOUS,
        "premiumIndex": _Endpoint(Rest.premium_index, lambda asked: 1 if asked.params.get("symbol") else 10),
        "fundingRate": _Endpoint(Rest.funding_rate, _weight(1), "funding", _UTF8),
        "fundingInfo": _Endpoint(Rest.funding_info, _weight(1), "funding", _UTF8),
    },
    "coinm": {
        **_COMMON,
        "exchangeInfo": _Endpoint(Rest.exchange_info, _weight(1)),
        "klines": _KLINES,
        "continuousKlines": _CONTINUOUS,
        "premiumIndex": _Endpoint(Rest.premium_index, _weight(10)),
        "fundingRate": _Endpoint(Rest.funding_rate, _weight(1)),
        "fundingInfo": _Endpoint(Rest.funding_info, _weight(1)),
    },
}
