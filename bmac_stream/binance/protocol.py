"""Binance's messages as typed values: bytes in, checked values out. No socket, no clock, no `async`.

Every message is decoded once, straight into typed structs (msgspec, numbers in strings parsed by C to the
very doubles of `float(str)`), and nothing per frame makes a dict. What does not fit is a BadFrame or a
BadResponse with a short fixed `kind` for counting; no other error leaves this module, whatever the bytes.
"""

import math
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Struct

from bmac_stream.bar import INTERVALS_MS, N_COLUMNS, interval_ms, origin_ms
from bmac_stream.errors import BadFrame, BadResponse

if TYPE_CHECKING:
    from bmac_stream.binance.markets import Market

__all__ = [
    "FRAME_KINDS",
    "ControlReply",
    "ExchangeInfo",
    "FundingInfo",
    "FundingRate",
    "Kline",
    "Klines",
    "PremiumIndex",
    "Shutdown",
    "SymbolInfo",
    "Values",
    "check_age",
    "check_bar",
    "decode_error",
    "decode_exchange_info",
    "decode_frame",
    "decode_funding_info",
    "decode_funding_rate",
    "decode_klines",
    "decode_premium_index",
    "decode_time",
    "excerpt",
]

Values = tuple[float, float, float, float, float, float, float, float, float]
"""The numbers of one bar, in the order of bar.COLUMNS."""
assert N_COLUMNS == 9, "Values and the checks below name nine columns"

FRAME_KINDS: Final = (
    "json",  # not JSON, not UTF-8, or cut
    "schema",  # JSON, but a field is missing or of the wrong type
    "unknown",  # neither an event nor a reply
    "event",  # a kline stream carries something else
    "symbol",  # the names in the frame disagree, or the symbol was not asked for
    "interval",  # not an interval, or not the one asked for
    "open_time",  # off the grid or out of range
    "close_time",  # not open_time + interval - 1
    "not_finite",  # NaN or infinity
    "price",  # not above zero, or low <= open, close <= high is broken
    "volume",  # below zero
    "taker",  # takers bought more than was traded, or less than nothing
    "trade_num",  # below zero or not whole
    "future",  # opens later than the exchange's clock allows
    "stale",  # of a bar that is long over
    "oversize",  # longer than a frame may be (websocket.py)
)
"""Every `kind` that a BadFrame can have; rows of klines bodies use the same words."""

_MAX_TIME_MS: Final = 4_102_444_800_000  # 2100-01-01
_MAX_COUNT: Final = 2**53


def excerpt(raw: bytes | bytearray | memoryview, limit: int = 200) -> str:
    """The beginning of a message, printable and bounded, for logs and errors."""
    head = bytes(raw[:limit])
    text = repr(head)[2:-1]
    return text if len(raw) <= limit else f"{text}... ({len(raw)} bytes)"


# ---------------------------------------------------------------------------------------------- frames


class Kline(Struct, frozen=True, gc=False):
    """One kline frame: a bar as it forms, or (`is_closed`) its last state.

    symbol      upper case; for a continuous kline "<pair>_<contract type>"
    open_time, close_time, event_time   int ms UTC; event_time is the exchange's clock when it was sent
    values      bar.COLUMNS in order; checked by `check_bar`
    """

    symbol: str
    interval: str
    open_time: int
    close_time: int
    event_time: int
    is_closed: bool
    values: Values


class ControlReply(Struct, frozen=True):
    """The answer to SUBSCRIBE and the like. `code` is None when it went well."""

    id: int | str | None
    result: object
    code: int | None
    msg: str


class Shutdown(Struct, frozen=True):
    """The server will close this connection soon: open another one now."""

    event_time: int


class _KlineWire(Struct, gc=False):
    t: int
    T: int
    i: str
    x: Any  # not bool: a decoder that takes numbers in strings takes "true" and 1 as well
    o: float
    h: float
    l: float  # noqa: E741 - the wire's own letter
    c: float
    v: float
    q: float
    V: float
    Q: float
    n: float
    s: str = ""


class _EventWire(Struct, gc=False):
    e: str = ""
    E: int = 0
    s: str = ""
    k: _KlineWire | None = None
    ps: str = ""
    ct: str = ""


class _ErrorWire(Struct):
    code: int = 0
    msg: str = ""


class _FrameWire(Struct, gc=False):
    """Everything that may arrive, in one struct, so that one decode is enough: combined envelope, raw event,
    reply. The letters of other raw events (mini ticker: o, h, l, c, v, q) do not collide with these."""

    stream: str = ""
    data: _EventWire | None = None
    e: str = ""
    E: int = 0
    s: str = ""
    k: _KlineWire | None = None
    ps: str = ""
    ct: str = ""
    id: int | str | None = None
    result: Any = msgspec.UNSET
    code: int | None = None
    msg: str = ""
    error: _ErrorWire | None = None


class _PeekWire(Struct, gc=False):
    stream: str = ""
    e: object = ""
    k: object = None


_decode_frame_wire = msgspec.json.Decoder(_FrameWire, strict=False).decode
_decode_peek = msgspec.json.Decoder(list[_PeekWire] | _PeekWire).decode

# msgspec's own errors, and what bad UTF-8, absurd numbers and absurd nesting raise.
_DECODE_ERRORS: Final = (msgspec.DecodeError, UnicodeDecodeError, OverflowError, RecursionError)


@lru_cache(maxsize=16_384)
def _split_stream(stream: str) -> tuple[str, str]:
    """("BTCUSDT", "kline_1m") of "btcusdt@kline_1m"; bounded, since names come from outside."""
    name, _, kind = stream.partition("@")
    return name.upper(), kind.partition("@")[0]  # spot: "<symbol>@kline_1h@+08:00"


def check_bar(open_time: int, close_time: int, interval: str, values: Sequence[float]) -> str | None:
    """The first rule that a bar breaks, as a word of FRAME_KINDS; None if it is sound.

    open_time, close_time  int ms UTC
    values                 bar.COLUMNS in order

    The rules: a known interval, open_time on its grid, close_time = open_time + interval - 1, all numbers
    finite, 0 < low <= open, close <= high, volumes and trade_num not below zero, trade_num whole, taker
    volumes between zero and the total.
    """
    step = INTERVALS_MS.get(interval)
    if step is None:
        return "interval"
    if not 0 <= open_time < _MAX_TIME_MS or (open_time - origin_ms(interval)) % step:
        return "open_time"
    if close_time != open_time + step - 1:
        return "close_time"
    o, h, low, c, v, q, n, taker_v, taker_q = values
    # One sum finds every NaN and infinity, since all terms that matter are checked to be positive below.
    if not math.isfinite(o + h + low + c + v + q + n + taker_v + taker_q):
        return "not_finite"
    if not (0.0 < low <= o <= h and low <= c <= h):
        return "price"
    if v < 0.0 or q < 0.0:
        return "volume"
    if not (0.0 <= taker_v <= v and 0.0 <= taker_q <= q):
        return "taker"
    if not 0.0 <= n <= _MAX_COUNT or n % 1.0:
        return "trade_num"
    return None


def check_age(open_time: int, interval: str, now_ms: float, *, rate: float = 1.0) -> str | None:
    """Whether a live frame's bar is of about now: "future", "stale" or None.

    now_ms  exchange time; rate: exchange seconds per wall second, which widens the tolerance.
    A frame may be one minute of wall time early, and two bars and ten minutes of wall time late.
    """
    age = now_ms - open_time
    slack = max(1.0, rate)
    if age < -60_000 * slack:
        return "future"
    if age > 2 * INTERVALS_MS[interval] + 600_000 * slack:
        return "stale"
    return None


def decode_frame(
    raw: bytes | bytearray | memoryview, market: "Market"
) -> Kline | ControlReply | Shutdown | None:
    """One stream message. None: an event of another kind (mini ticker, ...), which is nobody's fault.

    Raw and combined form, `kline` and `continuous_kline`. Raises BadFrame, and nothing else.
    """
    try:
        frame = _decode_frame_wire(raw)
    except _DECODE_ERRORS as error:
        _reject(raw, error)
        return None
    event: _FrameWire | _EventWire = frame
    if frame.data is not None:
        event = frame.data
    wire = event.k
    kind = event.e
    if wire is None or (kind != "kline" and kind != "continuous_kline"):
        return _other(frame, event, raw)

    if kind == "kline":
        symbol = event.s
        if wire.s != symbol:
            raise BadFrame("symbol", f"s {symbol!r} and k.s {wire.s!r} differ")
    else:
        symbol = f"{event.ps}_{event.ct}"
    if not symbol:
        raise BadFrame("schema", "no symbol")
    if frame.stream:
        name, what = _split_stream(frame.stream)
        if name != symbol and name != symbol.upper():
            raise BadFrame("symbol", f"stream {frame.stream[:80]!r} carries {symbol[:80]!r}")
        if what != ("kline_" if kind == "kline" else "continuousKline_") + wire.i:
            raise BadFrame("interval", f"stream {frame.stream[:80]!r} carries interval {wire.i[:20]!r}")
    values = market.read_letters(wire)
    if wire.x is not True and wire.x is not False:
        raise BadFrame("schema", f"x is {str(wire.x)[:20]!r}: {excerpt(raw)}")
    broken = check_bar(wire.t, wire.T, wire.i, values)
    if broken is not None:
        raise BadFrame(broken, f"{symbol[:80]} {excerpt(raw)}")
    if not 0 <= event.E < _MAX_TIME_MS:
        raise BadFrame("schema", f"event time {event.E}")
    return Kline(symbol, wire.i, wire.t, wire.T, event.E, wire.x, values)


def _other(
    frame: _FrameWire, event: _FrameWire | _EventWire, raw: bytes | bytearray | memoryview
) -> ControlReply | Shutdown | None:
    """What is not a kline: an event of another kind, a shutdown notice, or a reply."""
    if event.e == "serverShutdown":
        return Shutdown(event.E)
    if frame.stream:
        if "kline_" in frame.stream.lower():
            raise BadFrame("event", f"stream {frame.stream[:80]!r} carries {event.e[:40]!r}: {excerpt(raw)}")
        return None
    if frame.e:
        if "kline" in frame.e:
            raise BadFrame("schema", f"a kline event without k: {excerpt(raw)}")
        return None
    if frame.error is not None:
        return ControlReply(frame.id, None, frame.error.code, frame.error.msg)
    if frame.code is not None:
        return ControlReply(frame.id, None, frame.code, frame.msg)
    if frame.result is not msgspec.UNSET:
        return ControlReply(frame.id, frame.result, None, "")
    raise BadFrame("unknown", excerpt(raw))


def _reject(raw: bytes | bytearray | memoryview, error: Exception) -> None:
    """Raises BadFrame, unless the frame is a foreign event whose fields only have other types than ours."""
    if isinstance(error, msgspec.ValidationError):
        try:
            peek = _decode_peek(raw)
        except _DECODE_ERRORS:
            peek = []
        entries = peek if isinstance(peek, list) else [peek]
        if entries and all(_is_foreign(entry) for entry in entries):
            return
        raise BadFrame("schema", f"{error}: {excerpt(raw)}") from None
    raise BadFrame("json", f"{error}: {excerpt(raw)}") from None


def _is_foreign(peek: _PeekWire) -> bool:
    if peek.stream:
        return "kline_" not in peek.stream.lower() and ("@" in peek.stream or peek.stream[0] == "!")
    return isinstance(peek.e, str) and bool(peek.e) and "kline" not in peek.e and peek.k is None


# ------------------------------------------------------------------------------------------------ rows


class Klines(NamedTuple):
    """A page of klines, oldest first: open_time int64[n] (ms UTC), values float64[n, 9] (bar.COLUMNS).

    The last row may be the bar that is still forming: judge by the exchange's clock.
    """

    open_time: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]


class _Row(Struct, array_like=True, gc=False):
    """A REST kline row; further elements are ignored. Numbers are read as doubles: times and counts are
    exact up to 2**53."""

    open_time: float
    open: float
    high: float
    low: float
    close: float
    amount: float
    close_time: float
    other_amount: float
    count: float
    taker_amount: float
    taker_other_amount: float


_ROW_FIELDS: Final = len(_Row.__struct_fields__)
_decode_rows = msgspec.json.Decoder(list[_Row], strict=False).decode


def decode_klines(
    body: bytes, market: "Market", interval: str, symbol: str, *, bad: list[tuple[int, str]] | None = None
) -> Klines:
    """The rows of a klines answer, checked like frames, and strictly ascending.

    bad  None: one bad row makes the whole page a BadResponse. A list: bad rows are left out of the page and
         appended to it as (open_time, kind), so that one bar which the exchange itself has wrong cannot
         stop a symbol.

    Raises BadResponse (its `kind` says which rule was broken).
    """
    rows = _typed(_decode_rows, body, f"klines of {symbol}")
    n = len(rows)
    flat = np.fromiter(
        chain.from_iterable(map(msgspec.structs.astuple, rows)), dtype=np.float64, count=n * _ROW_FIELDS
    )
    table = flat.reshape(n, _ROW_FIELDS)
    found = _bad_rows(table, market, interval)
    if found:
        if bad is None:
            row, kind = next(iter(found.items()))
            raise _bad_response(kind, f"klines of {symbol} {interval}, row {row} of {n}: {rows[row]}")
        bad.extend((_time_or_zero(table[row, 0]), kind) for row, kind in found.items())
        table = np.delete(table, list(found), axis=0)
    return Klines(table[:, 0].astype(np.int64), np.ascontiguousarray(table[:, list(market.row_columns)]))


def _time_or_zero(time: float) -> int:
    return int(time) if 0 <= time < _MAX_TIME_MS else 0


def _bad_rows(table: npt.NDArray[np.float64], market: "Market", interval: str) -> dict[int, str]:
    """Row -> kind of those that break a rule; `check_bar` for a whole page at once."""
    step, origin = interval_ms(interval), origin_ms(interval)
    time, close_time = table[:, 0], table[:, 6]
    o, h, low, c, v, q, n, taker_v, taker_q = table[:, list(market.row_columns)].T
    with np.errstate(invalid="ignore", over="ignore"):
        broken = {
            "open_time": ~((time >= 0) & (time < _MAX_TIME_MS) & ((time - origin) % step == 0)),
            "close_time": ~(close_time == time + (step - 1)),
            "not_finite": ~np.isfinite(table).all(axis=1),
            "price": ~((low > 0) & (low <= o) & (o <= h) & (low <= c) & (c <= h)),
            "volume": ~((v >= 0) & (q >= 0)),
            "taker": ~((taker_v >= 0) & (taker_v <= v) & (taker_q >= 0) & (taker_q <= q)),
            "trade_num": ~((n >= 0) & (n <= _MAX_COUNT) & (n % 1.0 == 0)),
        }
    found: dict[int, str] = {}
    for kind, mask in broken.items():
        for index in np.flatnonzero(mask):
            found.setdefault(int(index), kind)
    with np.errstate(invalid="ignore"):
        disordered = bool((np.diff(time) <= 0).any())
    if found or disordered:  # rare: keep the sound rows that ascend
        newest = -np.inf
        for row, opened in enumerate(time.tolist()):
            if row in found:
                continue
            if opened <= newest:
                found[row] = "open_time"
            else:
                newest = opened
    return dict(sorted(found.items()))


# ---------------------------------------------------------------------------------------- other answers


class SymbolInfo(Struct, frozen=True):
    """One symbol of exchangeInfo, in the words of all three markets.

    status          "TRADING", ... (COIN-M before the merge calls it contractStatus)
    contract_type   "PERPETUAL", "TRADIFI_PERPETUAL", "CURRENT_QUARTER", ...; "" on spot
    onboard_ms, delivery_ms   int ms UTC, 0 where the market has none
    price_tick, lot_size, min_notional   the exchange's own decimal strings, None where it has none.
                    As in BMAC: tickSize, stepSize (COIN-M: contractSize), notional (spot: minNotional)
    contract_size   quote asset per contract where contracts are traded (COIN-M), else None
    """

    symbol: str
    status: str
    contract_type: str
    base_asset: str
    quote_asset: str
    margin_asset: str
    onboard_ms: int
    delivery_ms: int
    price_tick: str | None
    lot_size: str | None
    min_notional: str | None
    contract_size: float | None = None


class ExchangeInfo(NamedTuple):
    """symbols in the exchange's order; `rejected`: names (or excerpts) of entries that cannot be used;
    weight_limit: REQUEST_WEIGHT per minute as the exchange states it, None if it does not.

    There is no server time here on purpose: futures serve this answer from a cache that is hours old.
    """

    symbols: tuple[SymbolInfo, ...]
    rejected: tuple[str, ...]
    weight_limit: int | None


class PremiumIndex(NamedTuple):
    """Prices in quote asset; last_funding_rate is NaN where there is none; times int ms UTC."""

    symbol: str
    mark_price: float
    index_price: float
    last_funding_rate: float
    next_funding_ms: int
    time_ms: int


class FundingRate(NamedTuple):
    """One settled funding. funding_ms is as sent: often some ms after the hour. mark_price may be NaN."""

    symbol: str
    funding_ms: int
    rate: float
    mark_price: float


class FundingInfo(NamedTuple):
    """Funding terms of a symbol. Symbols that the answer does not name pay every 8 hours."""

    symbol: str
    interval_hours: int
    cap: float
    floor: float


class _FilterWire(Struct):
    filterType: str = ""
    tickSize: str | int | float | None = None
    stepSize: str | int | float | None = None
    notional: str | int | float | None = None
    minNotional: str | int | float | None = None


class _SymbolWire(Struct):
    symbol: str
    status: str = ""
    contractStatus: str = ""
    contractType: str = ""
    baseAsset: str = ""
    quoteAsset: str = ""
    marginAsset: str = ""
    onboardDate: int = 0
    deliveryDate: int = 0
    contractSize: int | float | str | None = None
    filters: list[_FilterWire] = []


class _LimitWire(Struct):
    rateLimitType: str = ""
    interval: str = ""
    intervalNum: int = 0
    limit: int = 0


class _ExchangeInfoWire(Struct):
    symbols: list[msgspec.Raw]
    rateLimits: list[_LimitWire] = []


class _TimeWire(Struct):
    serverTime: int


class _PremiumWire(Struct):
    symbol: str
    markPrice: str | float = ""
    indexPrice: str | float = ""
    lastFundingRate: str | float = ""
    nextFundingTime: int = 0
    time: int = 0


class _FundingRateWire(Struct):
    symbol: str
    fundingTime: int
    fundingRate: str | float
    markPrice: str | float = ""


class _FundingInfoWire(Struct):
    symbol: str
    fundingIntervalHours: int = 8
    adjustedFundingRateCap: str | float = ""
    adjustedFundingRateFloor: str | float = ""


class _ApiErrorWire(Struct):
    code: int
    msg: str = ""


_decode_exchange_info = msgspec.json.Decoder(_ExchangeInfoWire).decode
_decode_symbol = msgspec.json.Decoder(_SymbolWire).decode
_decode_time = msgspec.json.Decoder(_TimeWire).decode
_decode_premium = msgspec.json.Decoder(list[_PremiumWire] | _PremiumWire).decode
_decode_funding_rate = msgspec.json.Decoder(list[_FundingRateWire]).decode
_decode_funding_info = msgspec.json.Decoder(list[_FundingInfoWire]).decode
_decode_api_error = msgspec.json.Decoder(_ApiErrorWire).decode

# A symbol becomes a stream name, a URL parameter and a file name: no separators, no control characters.
# Names are not ASCII only (币安人生USDT).
_SYMBOL: Final = re.compile(r"[^\W_][\w.-]{0,63}")
_SYMBOL_BYTES: Final = 64  # what a slot of the store holds

_T = TypeVar("_T")


def _bad_response(kind: str, detail: str) -> BadResponse:
    return BadResponse(f"{kind}: {detail}", kind)


def _typed(decode: Callable[[bytes], _T], body: bytes, what: str) -> _T:
    """`decode(body)`, or BadResponse with an excerpt."""
    try:
        return decode(body)
    except msgspec.ValidationError as error:
        raise _bad_response("schema", f"{what}: {error}: {excerpt(body)}") from None
    except _DECODE_ERRORS as error:
        raise _bad_response("json", f"{what}: {error}: {excerpt(body)}") from None


def _number(value: str | float) -> float:
    """A number, or NaN where the exchange sends "" or a word."""
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def _text(value: str | float | None) -> str | None:
    """A decimal as the exchange wrote it. None where there is none."""
    return None if value is None or value == "" else str(value)


def decode_error(body: bytes) -> tuple[int, str] | None:
    """(code, msg) if the body is Binance's error object, else None."""
    if body.lstrip()[:1] != b"{":
        return None
    try:
        wire = _decode_api_error(body)
    except _DECODE_ERRORS:
        return None
    return wire.code, wire.msg[:500]


def decode_time(body: bytes) -> int:
    """The exchange's clock, int ms UTC. BadResponse if it is not there or absurd."""
    time = _typed(_decode_time, body, "time").serverTime
    if not 0 < time < _MAX_TIME_MS:
        raise _bad_response("schema", f"time: serverTime {str(time)[:40]}")
    return time


def decode_exchange_info(body: bytes, market: "Market") -> ExchangeInfo:
    """The symbols of a market, both of the older and of today's shape.

    One entry that cannot be read is left out and named in `rejected`; a body without any symbol is a
    BadResponse (it would look as if everything were delisted).
    """
    wire = _typed(_decode_exchange_info, body, "exchangeInfo")
    symbols: dict[str, SymbolInfo] = {}
    rejected: list[str] = []
    for raw in wire.symbols:
        try:
            info = _symbol_info(_decode_symbol(raw), inverse=market.units["volume"] == "contracts")
        except _DECODE_ERRORS:
            rejected.append(excerpt(bytes(raw), 60))
            continue
        fits = _SYMBOL.fullmatch(info.symbol) and len(info.symbol.encode()) <= _SYMBOL_BYTES
        if fits and info.symbol not in symbols:
            symbols[info.symbol] = info
        else:
            rejected.append(repr(info.symbol)[:80])
    if not symbols:
        raise _bad_response("schema", f"exchangeInfo holds no usable symbol: {excerpt(body)}")
    limit = next(
        (
            rate.limit
            for rate in wire.rateLimits
            if rate.rateLimitType == "REQUEST_WEIGHT"
            and (rate.interval, rate.intervalNum) == ("MINUTE", 1)
            and 0 < rate.limit <= 1_000_000
        ),
        None,
    )
    return ExchangeInfo(tuple(symbols.values()), tuple(rejected), limit)


def _symbol_info(wire: _SymbolWire, *, inverse: bool) -> SymbolInfo:
    filters = {entry.filterType: entry for entry in wire.filters}
    price, lot = filters.get("PRICE_FILTER"), filters.get("LOT_SIZE")
    notional = filters.get("NOTIONAL") or filters.get("MIN_NOTIONAL")
    size = math.nan if wire.contractSize is None else _number(wire.contractSize)
    least = None
    if notional is not None:
        least = notional.minNotional if notional.notional is None else notional.notional
    return SymbolInfo(
        symbol=wire.symbol,
        status=wire.status or wire.contractStatus,
        contract_type=wire.contractType,
        base_asset=wire.baseAsset,
        quote_asset=wire.quoteAsset,
        margin_asset=wire.marginAsset,
        onboard_ms=wire.onboardDate if 0 < wire.onboardDate < _MAX_COUNT else 0,
        delivery_ms=wire.deliveryDate if 0 < wire.deliveryDate < _MAX_COUNT else 0,
        price_tick=_text(price.tickSize if price else None),
        lot_size=_text(wire.contractSize if inverse else lot.stepSize if lot else None),
        min_notional=_text(least),
        contract_size=size if math.isfinite(size) else None,
    )


def decode_premium_index(body: bytes) -> list[PremiumIndex]:
    """premiumIndex of one symbol (an object) or all (an array), without what has no symbol's name."""
    wire = _typed(_decode_premium, body, "premiumIndex")
    return [
        PremiumIndex(
            row.symbol,
            _number(row.markPrice),
            _number(row.indexPrice),
            _number(row.lastFundingRate),
            _time_or_zero(row.nextFundingTime),
            _time_or_zero(row.time),
        )
        for row in (wire if isinstance(wire, list) else [wire])
        if _SYMBOL.fullmatch(row.symbol)
    ]


def decode_funding_rate(body: bytes) -> list[FundingRate]:
    """Settled funding rates, ascending in time."""
    return [
        FundingRate(row.symbol, row.fundingTime, _number(row.fundingRate), _number(row.markPrice))
        for row in _typed(_decode_funding_rate, body, "fundingRate")
        if 0 < row.fundingTime < _MAX_TIME_MS
    ]


def decode_funding_info(body: bytes) -> list[FundingInfo]:
    """Funding terms of the symbols whose terms differ from the usual."""
    return [
        FundingInfo(
            row.symbol,
            row.fundingIntervalHours,
            _number(row.adjustedFundingRateCap),
            _number(row.adjustedFundingRateFloor),
        )
        for row in _typed(_decode_funding_info, body, "fundingInfo")
    ]
