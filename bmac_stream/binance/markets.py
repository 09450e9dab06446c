"""What Binance's three markets do differently, as data: hosts, paths, weights, limits, wire letters, filters.

Nothing here opens a socket or reads a clock. A new market is one more entry in MARKETS, a new kind of
universe one more entry in TRADE_TYPES. Numbers come from Binance's documentation of 2026 (spot API docs,
USD-M and COIN-M developer pages); what the documents do not say is marked so.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final

from bmac_stream.bar import COLUMNS, INTERVALS_MS
from bmac_stream.binance.protocol import SymbolInfo, Values

__all__ = ["MARKETS", "STABLECOINS", "TRADE_TYPES", "TRADIFI", "Market", "TradeType"]

_DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Market:
    """One of Binance's markets: everything that REST, streams and parser must know about it.

    name        "spot", "usdm" (USD-margined futures) or "coinm" (coin-margined futures)
    rest_urls   hosts of the REST API; the first is the default
    prefix      path before every REST method, e.g. "/fapi/v1"
    stream_urls candidates for the base of stream URLs; the first that *speaks* is kept (a handshake and an
                acknowledgement prove nothing: the retired USD-M path gives both and stays silent)
    """

    name: str
    rest_urls: tuple[str, ...]
    prefix: str
    stream_urls: tuple[str, ...]

    weight_limit: int
    """REQUEST_WEIGHT per minute and IP address. fapi and dapi count into one shared pool."""
    weight_pool: str
    """Markets with the same pool share one limit (and one Governor)."""
    kline_weights: tuple[tuple[int, int], ...]
    """(rows, weight): a page of at most `rows` rows costs `weight`; ascending."""
    weights: dict[str, int]
    """Weight of the other REST methods, by path without prefix."""
    page_limit: int
    """Rows per klines page that cost the least weight per bar."""
    max_limit: int
    """Most rows one klines request may ask for."""
    max_span_ms: int | None
    """Longest allowed endTime - startTime of klines; None: no limit."""
    funding: bool
    """Whether premiumIndex, fundingRate and fundingInfo exist."""
    exchange_info_params: dict[str, str]
    """Parameters that make the exchangeInfo answer smaller without losing symbols."""

    streams_per_connection: int
    """Streams on one socket; the futures' documents say 1024 today, 200 before: 200 is safe."""
    messages_per_s: int
    """Messages (JSON, ping and pong alike) a client may send per second on one socket."""
    ping_interval_s: float
    """The server pings this often ..."""
    pong_timeout_s: float
    """... and drops a client that has not answered for so long."""
    push_interval_ms: int
    """Least time between two kline frames of one symbol, ms of exchange time."""

    letters: tuple[str, ...]
    """Letters of a kline frame's "k" object, in the order of bar.COLUMNS."""
    row_columns: tuple[int, ...]
    """Places in a REST kline row, in the order of bar.COLUMNS."""
    units: dict[str, str]
    """Unit of the amounts: "base", "quote" or "contracts", by column of bar.COLUMNS."""
    intervals: frozenset[str]
    """Intervals of bar.INTERVALS_MS which this market has."""

    connection_life_ms: int = _DAY_MS
    """The server closes a stream socket after this much exchange time."""
    attempts: int = 300
    attempts_window_ms: int = 300_000
    """Connection attempts allowed per window and address (documented for spot, taken for all)."""

    read_letters: Callable[[Any], Values] = field(init=False, repr=False, compare=False)
    """Takes the numbers out of a decoded "k" object, by `letters`."""

    def __post_init__(self) -> None:
        assert len(self.letters) == len(self.row_columns) == len(COLUMNS)
        object.__setattr__(self, "read_letters", attrgetter(*self.letters))

    @property
    def rest_url(self) -> str:
        """The default REST host."""
        return self.rest_urls[0]

    def kline_weight(self, limit: int) -> int:
        """Weight of one klines request for `limit` rows. ValueError if that is not in 1..max_limit."""
        if not 1 <= limit <= self.max_limit:
            raise ValueError(f"limit must be in 1..{self.max_limit} on {self.name}, found {limit}")
        return next(weight for rows, weight in self.kline_weights if limit <= rows)

    def page_rows(self, interval: str) -> int:
        """Rows of the cheapest page whose span the exchange accepts (COIN-M: at most 200 days)."""
        if self.max_span_ms is None:
            return self.page_limit
        return max(1, min(self.page_limit, self.max_span_ms // INTERVALS_MS[interval]))

    def stream(self, symbol: str, interval: str) -> str:
        """The name of `symbol`'s kline stream."""
        return f"{symbol.lower()}@kline_{interval}"


@dataclass(frozen=True, slots=True)
class TradeType:
    """A universe of symbols, as BMAC v2 names them.

    name            BMAC's `trade_type`
    market          key of MARKETS
    quote           the asset that its symbols are quoted in; None: any
    contract_types  of its symbols; "" on spot
    """

    name: str
    market: str
    quote: str | None
    contract_types: frozenset[str]

    def covers(self, info: SymbolInfo, *, tradifi: bool = False) -> bool:
        """Whether a symbol is of this kind. tradifi: TRADIFI_PERPETUAL contracts count as perpetual ones."""
        kind = info.contract_type
        if tradifi and kind == TRADIFI:
            kind = "PERPETUAL"
        return kind in self.contract_types and self.quote in (None, info.quote_asset)

    def accepts(self, info: SymbolInfo) -> bool:
        """Whether BMAC counts a symbol to this universe, trading or not."""
        return self.covers(info) and not (self.market == "spot" and info.symbol in STABLECOINS)

    def includes(self, info: SymbolInfo) -> bool:
        """Whether `info` belongs to this universe now: it is trading, and `accepts` says yes."""
        return info.status == "TRADING" and self.accepts(info)


# Row places are the same everywhere; what the numbers mean is not (`units`).
_ROW: Final = (1, 2, 3, 4, 5, 7, 8, 9, 10)
# open high low close volume quote_volume trade_num taker_buy_base taker_buy_quote
_LETTERS: Final = ("o", "h", "l", "c", "v", "q", "n", "V", "Q")

_LINEAR: Final = {
    "volume": "base",
    "quote_volume": "quote",
    "taker_buy_base_asset_volume": "base",
    "taker_buy_quote_asset_volume": "quote",
}
# Coin-margined: v contracts, q base asset, V contracts bought by takers, Q base asset bought by takers.
# BMAC puts them into the same columns, by place; so do we.
_INVERSE: Final = {
    "volume": "contracts",
    "quote_volume": "base",
    "taker_buy_base_asset_volume": "contracts",
    "taker_buy_quote_asset_volume": "base",
}

_FUTURES_WEIGHTS: Final = {
    "ping": 1,
    "time": 1,
    "exchangeInfo": 1,
    "premiumIndex": 10,  # of all symbols
    "fundingRate": 1,
    "fundingInfo": 0,  # a pool of its own, see rest.py
}
_FUTURES_KLINES: Final = ((99, 1), (499, 2), (1000, 5), (1500, 10))
_FUTURES_INTERVALS: Final = frozenset(INTERVALS_MS) - {"1s"}

MARKETS: Final[dict[str, Market]] = {
    market.name: market
    for market in (
        Market(
            name="spot",
            rest_urls=("https://api.binance.com", "https://data-api.binance.vision"),
            prefix="/api/v3",
            # :443 first: it passes more firewalls than :9443; the third serves market data only.
            stream_urls=(
                "wss://stream.binance.com:443",
                "wss://stream.binance.com:9443",
                "wss://data-stream.binance.vision",
            ),
            weight_limit=6000,
            weight_pool="spot",
            kline_weights=((1000, 2),),
            weights={"ping": 1, "time": 1, "exchangeInfo": 20},
            page_limit=1000,
            max_limit=1000,
            max_span_ms=None,
            funding=False,
            # The permission sets are most of the 17 MB that the full answer has (2026-07).
            exchange_info_params={"showPermissionSets": "false"},
            streams_per_connection=1024,
            messages_per_s=5,
            ping_interval_s=20.0,
            pong_timeout_s=60.0,
            push_interval_ms=2000,
            letters=_LETTERS,
            row_columns=_ROW,
            units=_LINEAR,
            intervals=frozenset(INTERVALS_MS),
        ),
        Market(
            name="usdm",
            rest_urls=("https://fapi.binance.com",),
            prefix="/fapi/v1",
            # Klines live under /market since 2026-04-23. The plain path connects, acknowledges, says nothing.
            stream_urls=("wss://fstream.binance.com/market",),
            weight_limit=2400,
            weight_pool="futures",
            kline_weights=_FUTURES_KLINES,
            weights=_FUTURES_WEIGHTS,
            page_limit=499,
            max_limit=1500,
            max_span_ms=None,
            funding=True,
            exchange_info_params={},
            streams_per_connection=200,
            messages_per_s=10,
            ping_interval_s=180.0,
            pong_timeout_s=600.0,
            push_interval_ms=250,
            letters=_LETTERS,
            row_columns=_ROW,
            units=_LINEAR,
            intervals=_FUTURES_INTERVALS,
        ),
        Market(
            name="coinm",
            rest_urls=("https://dapi.binance.com",),
            prefix="/dapi/v1",
            # Reports conflict on whether COIN-M moved too (ccxt: no; aggr: yes): try both.
            stream_urls=("wss://dstream.binance.com", "wss://dstream.binance.com/market"),
            weight_limit=2400,
            weight_pool="futures",
            kline_weights=_FUTURES_KLINES,
            weights=_FUTURES_WEIGHTS,
            page_limit=499,
            max_limit=1500,
            max_span_ms=200 * _DAY_MS,
            funding=True,
            exchange_info_params={},
            streams_per_connection=200,
            messages_per_s=10,
            ping_interval_s=180.0,
            pong_timeout_s=600.0,
            push_interval_ms=250,
            letters=_LETTERS,
            row_columns=_ROW,
            units=_INVERSE,
            intervals=_FUTURES_INTERVALS,
        ),
    )
}
"""The markets by name."""

STABLECOINS: Final = frozenset(
    (
        "BKRWUSDT",
        "USDCUSDT",
        "USDPUSDT",
        "TUSDUSDT",
        "BUSDUSDT",
        "FDUSDUSDT",
        "DAIUSDT",
        "EURUSDT",
        "GBPUSDT",
        "USBPUSDT",
        "SUSDUSDT",
        "PAXGUSDT",
        "AEURUSDT",
        "USDSUSDT",
        "USDSBUSDT",
    )
)
"""Spot pairs that BMAC leaves out. They are pair names, so only pairs quoted in USDT are ever left out."""

TRADIFI: Final = "TRADIFI_PERPETUAL"
"""Contract type of perpetuals over shares, metals and the like. BMAC does not know it."""

_SPOT: Final = frozenset(("",))
_PERPETUAL: Final = frozenset(("PERPETUAL",))
_QUARTERS: Final = frozenset(("CURRENT_QUARTER", "NEXT_QUARTER"))

TRADE_TYPES: Final[dict[str, TradeType]] = {
    trade_type.name: trade_type
    for trade_type in (
        TradeType("usdt_spot", "spot", "USDT", _SPOT),
        TradeType("usdc_spot", "spot", "USDC", _SPOT),
        TradeType("btc_spot", "spot", "BTC", _SPOT),
        TradeType("usdt_perp", "usdm", "USDT", _PERPETUAL),
        TradeType("usdt_swap", "usdm", "USDT", _PERPETUAL),  # BMAC v1's name of usdt_perp
        TradeType("usdt_deli", "usdm", "USDT", _QUARTERS),
        TradeType("usdc_perp", "usdm", "USDC", _PERPETUAL),
        TradeType("btc_perp", "usdm", "BTC", _PERPETUAL),
        TradeType("coin_perp", "coinm", None, _PERPETUAL),
        TradeType("coin_swap", "coinm", None, _PERPETUAL),  # BMAC v1's name of coin_perp
        TradeType("coin_deli", "coinm", None, _QUARTERS),
    )
}
"""BMAC v2's trade types by name. Aliases keep their own name, since file names are made of it."""
