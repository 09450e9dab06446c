"""What the embedded exchange needs to know of a market: instruments, bars at any moment, funding.

The server half (REST, streams) reads this interface only. Two markets implement it: `generator` (seeded,
synthetic) and `recorded` (files). Both derive from `bars.BarMarket`, which turns base bars (1m as a rule)
into every interval, forming bars and pushes.

`klines` is the truth: what it says as floats is bit for bit `float()` of what `numbers` prints of it, so
that a client which parses the printed text holds the same float64.

Times are int64 ms UTC of the exchange's clock. Markets are "spot", "usdm" and "coinm". An instrument is
named by its `Instrument` (one is the same as another when market and symbol are), or by its position in
`instruments(market)`: positions never change, new ones are appended. Nothing here reads a clock.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

__all__ = [
    "F64",
    "I64",
    "MARKETS",
    "PERPETUAL_DELIVERY_MS",
    "Bool",
    "Funding",
    "Instrument",
    "Market",
    "Premium",
    "Rows",
    "Updates",
]

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

MARKETS: Final = ("spot", "usdm", "coinm")

PERPETUAL_DELIVERY_MS: Final = 4_133_404_800_000
"""deliveryDate of every perpetual that trades: 2100-12-25 08:00 UTC."""

_ANNOUNCED_MS: Final = 86_400_000  # a futures listing is PENDING_TRADING for a day before it trades


@dataclass(frozen=True, slots=True)
class Instrument:
    """One symbol, with all that exchangeInfo prints of it. Immutable; a delisting replaces it.

    price_precision     decimals of o h l c in klines and frames (8 on spot)
    quantity_precision  decimals of volume and taker volume (8 on spot, 0 on coinm: contracts)
    quote_precision     decimals of quote volumes (usdm: price + quantity decimals; else 8)
    tick_size           as the PRICE_FILTER prints it; prices are multiples of it
    step_size           as the LOT_SIZE prints it; volumes are multiples of it
    contract_size       coinm: USD per contract (100 or 10); 1 elsewhere
    contract_type       "" on spot; PERPETUAL, TRADIFI_PERPETUAL, CURRENT_QUARTER, NEXT_QUARTER (a delivery
                        contract changes from next to current: ask `contract_type_at`)
    list_ms             the first instant that trades: the first bar holds it
    delist_ms           trading ends here (exclusive); None: no end is known
    current_ms          delivery contracts: from here on it is the CURRENT_QUARTER
    funding_hours       hours between fundings; 0: none (spot, delivery)
    """

    market: str
    symbol: str
    pair: str
    base: str
    quote: str
    margin_asset: str
    contract_type: str
    price_precision: int
    quantity_precision: int
    quote_precision: int
    tick_size: str
    step_size: str
    min_notional: str
    contract_size: int
    onboard_ms: int
    delivery_ms: int
    list_ms: int
    delist_ms: int | None = None
    current_ms: int = 0
    funding_hours: int = 0
    underlying_type: str = "COIN"
    underlying_sub_type: tuple[str, ...] = ()

    def status_at(self, now_ms: int) -> str | None:
        """exchangeInfo's status at `now_ms`, None: not listed there (yet).

        spot: None, TRADING, BREAK. Futures: None, PENDING_TRADING (a day), TRADING, SETTLING (for ever,
        as the real exchangeInfo keeps them).
        """
        if now_ms < self.list_ms:
            pending = self.market != "spot" and now_ms >= self.list_ms - _ANNOUNCED_MS
            return "PENDING_TRADING" if pending else None
        if self.delist_ms is not None and now_ms >= self.delist_ms:
            return "BREAK" if self.market == "spot" else "SETTLING"
        return "TRADING"

    def contract_type_at(self, now_ms: int) -> str:
        """contract_type, with NEXT_QUARTER turning into CURRENT_QUARTER at `current_ms`."""
        if self.contract_type in ("CURRENT_QUARTER", "NEXT_QUARTER"):
            return "CURRENT_QUARTER" if now_ms >= self.current_ms else "NEXT_QUARTER"
        return self.contract_type

    def trades_at(self, now_ms: int) -> bool:
        """Whether it trades at `now_ms`."""
        return self.list_ms <= now_ms and (self.delist_ms is None or now_ms < self.delist_ms)


class Rows(NamedTuple):
    """Bars of one instrument, ascending.

    open_time       int64[n], ms
    values          float64[n, 9] in the order of bmac_stream.bar.COLUMNS. A bar without trades has
                    open = high = low = close = the close before it, and zeros.
    first_trade_id  int64[n]; last_trade_id int64[n]: last - first + 1 = trade_num; (-1, -1) if none
    """

    open_time: I64
    values: F64
    first_trade_id: I64
    last_trade_id: I64


class Updates(NamedTuple):
    """What kline streams of many instruments would push. For one instrument rows are in order of time:
    closing frames first, then at most one forming frame.

    position   int64[m], in instruments(market)
    event_ms   int64[m], when the exchange knew it: the time of the last trade of a forming bar, or the
               moment at which the bar was closed. In (since_ms, now_ms]; event time of the frame is >= it.
    open_time  int64[m]
    closed     bool[m], x of the frame
    values     float64[m, 9]; first_trade_id, last_trade_id int64[m]
    """

    position: I64
    event_ms: I64
    open_time: I64
    closed: Bool
    values: F64
    first_trade_id: I64
    last_trade_id: I64


class Funding(NamedTuple):
    """Fundings that happened, ascending in time. mark_price is NaN where a recording does not know it.

    symbol list[str]; funding_time int64[n] (0-17 ms after the hour); rate, mark_price float64[n].
    """

    symbol: list[str]
    funding_time: I64
    rate: F64
    mark_price: F64


class Premium(NamedTuple):
    """One row of premiumIndex. Rates are of the period before (last) and, spot-like, 0 for delivery."""

    mark_price: float
    index_price: float
    settle_price: float
    last_funding_rate: float
    interest_rate: float
    next_funding_ms: int


class Market(Protocol):
    """A market whose past, present and future are decided; time is an argument of every question.

    source    "embedded:generator:seed=7" or "embedded:recorded:<digest>": never mixed with another
    start_ms  exchange time to start serving from; there is history before it
    end_ms    end of the data (no bar opens at or after it), None: endless
    """

    @property
    def source(self) -> str: ...

    @property
    def start_ms(self) -> int: ...

    @property
    def end_ms(self) -> int | None: ...

    def intervals(self, market: str) -> tuple[str, ...]:
        """Intervals that can be asked here: names of bar.INTERVALS_MS (1s on spot only)."""
        ...

    def instruments(self, market: str) -> list[Instrument]:
        """All that ever existed or will by schedule; ask `status_at`. Do not change the list."""
        ...

    def find(self, market: str, symbol: str) -> Instrument | None:
        """The instrument of that (upper-case) symbol, None: never heard of. In O(1)."""
        ...

    def first_open_ms(self, instrument: Instrument, interval: str) -> int:
        """open_time of its first bar (which may be a partial one: listed in the middle of it)."""
        ...

    def klines(
        self,
        instrument: Instrument,
        interval: str,
        start_ms: int,
        n: int,
        now_ms: int,
        *,
        end_ms: int | None = None,
        latest: bool = False,
    ) -> Rows:
        """Bars with start_ms <= open_time <= min(end_ms, now_ms): the first n, or the last n if `latest`.

        Closed bars and the forming one at now_ms (trades with time <= now_ms are in it; before its first
        trade it is a row without trades). Bars that the exchange itself lacks are left out and do not
        count. Nothing before the listing, nothing that opens at or after the delisting.
        KeyError: an interval that is not in `intervals`.
        """
        ...

    def updates(
        self,
        market: str,
        interval: str,
        index: I64,
        since_ms: int,
        now_ms: int,
        *,
        close_timer_ms: int = 2000,
    ) -> Updates:
        """What changed in (since_ms, now_ms] in the bars of the instruments at positions `index`.

        A forming row if a trade happened in the present bar in that time. A closed row for every bar with
        trades whose closing frame fell due in that time: at the first trade of the next bar, or
        `close_timer_ms` after the bar's end if none came until then. A bar without trades pushes nothing.
        A bar that is forming and a bar that is closed agree with `klines` at the same now_ms, to the bit.
        Rows come grouped by instrument, in the order of `index`. Time must not run backwards between calls
        for it to be cheap; any order is correct. since_ms may be any distance back; keep it within some
        bars (every closing frame in between is returned, intermediate forming ones are not).
        """
        ...

    def day(self, market: str, index: I64, now_ms: int) -> F64:
        """float64[m, 9]: the last 24 hourly bars with the forming one as one bar, for miniTicker. NaN row:
        it does not trade."""
        ...

    def funding(self, market: str, symbol: str | None, start_ms: int, end_ms: int) -> Funding:
        """Fundings with start_ms <= funding_time <= end_ms, of one symbol or of all; ascending."""
        ...

    def premium(self, market: str, symbol: str, now_ms: int) -> Premium:
        """Mark and index price and the next funding, at now_ms. Delivery: rates and next_funding_ms 0."""
        ...

    def list_symbol(self, market: str, symbol: str, at_ms: int) -> Instrument:
        """Lists a new symbol, trading from `at_ms` (rounded up to a minute). ValueError: it exists.
        A recorded market serves the bars of one of its instruments under the new name."""
        ...

    def delist_symbol(self, market: str, symbol: str, at_ms: int) -> Instrument:
        """Ends trading of a symbol at `at_ms` (rounded up to a minute). KeyError: there is none."""
        ...
