"""Which symbols the generated exchange lists, with their grids, ages and schedule.

Names of real assets come first (Binance's larger ones), then invented ones. Prices are levels about which
the generator moves; grids follow Binance's habits for such a price, with its oddities: prices printed with
more decimals than the tick has, contracts of 1000 coins, Chinese names, several quote assets.
Nothing here depends on the seed except ages and tastes drawn from it.
"""

import calendar
import datetime as dt
from dataclasses import dataclass, replace
from typing import Final

from bmac_stream.simulator.funding import key_of
from bmac_stream.simulator.market import PERPETUAL_DELIVERY_MS, Instrument

__all__ = [
    "EPOCH_DAY",
    "NEWCOMER_DOLLARS",
    "NEWCOMER_PRICE",
    "TRADIFI_ASSETS",
    "Asset",
    "assets",
    "coinm",
    "delivery_ms_of",
    "newcomer",
    "quarters",
    "spot",
    "usdm",
]

EPOCH_DAY: Final = 17_897
"""Day (since 1970) at which the generated world begins: 2019-01-01. Nothing is older."""

_DAY_MS: Final = 86_400_000
_MINUTE_MS: Final = 60_000

# name, price level, daily dollars traded on usdm (relative)
_MAJORS: Final = (
    ("BTC", 64_000.0, 14e9), ("ETH", 3_100.0, 11e9), ("SOL", 150.0, 4e9), ("XRP", 0.62, 1.9e9),
    ("BNB", 590.0, 9e8), ("DOGE", 0.155, 1.6e9), ("1000PEPE", 0.0118, 9e8), ("ADA", 0.45, 5e8),
    ("SUI", 1.9, 7e8), ("LINK", 14.2, 5e8), ("AVAX", 27.0, 4e8), ("LTC", 82.0, 3.4e8),
    ("WIF", 2.3, 4.2e8), ("BCH", 410.0, 2.6e8), ("NEAR", 5.4, 2.4e8), ("DOT", 6.3, 2.2e8),
    ("FIL", 4.4, 1.8e8), ("TRX", 0.124, 2e8), ("UNI", 8.1, 1.6e8), ("APT", 9.3, 1.7e8),
    ("ARB", 0.82, 1.8e8), ("OP", 1.9, 1.7e8), ("ETC", 23.0, 1.4e8), ("TON", 6.6, 1.3e8),
    ("AAVE", 102.0, 1.5e8), ("ATOM", 6.7, 1.1e8), ("INJ", 22.0, 1.2e8), ("1000SHIB", 0.0182, 1.9e8),
    ("ORDI", 34.0, 1.5e8), ("TIA", 6.1, 1.3e8), ("FTM", 0.55, 1e8), ("RUNE", 4.3, 1e8),
    ("SEI", 0.36, 9e7), ("LDO", 1.7, 8e7), ("MKR", 2_350.0, 7e7), ("ICP", 8.8, 6e7),
    ("GALA", 0.023, 8e7), ("XLM", 0.1, 5e7), ("ALGO", 0.15, 4e7), ("HBAR", 0.07, 5e7),
    ("VET", 0.024, 3e7), ("SAND", 0.31, 4e7), ("MANA", 0.33, 2.6e7), ("AXS", 5.6, 2.8e7),
    ("CRV", 0.29, 6e7), ("EOS", 0.56, 3e7), ("XMR", 158.0, 3e7), ("ZEC", 30.0, 2.4e7),
    ("DASH", 27.0, 1.4e7), ("NEO", 11.0, 1.6e7), ("IOTA", 0.17, 1.2e7), ("QTUM", 2.6, 9e6),
    ("THETA", 1.4, 1.4e7), ("EGLD", 31.0, 1.2e7), ("KSM", 20.5, 7e6), ("YFI", 5_600.0, 1.2e7),
    ("COMP", 49.0, 1.1e7), ("SNX", 1.6, 1.3e7), ("SUSHI", 0.72, 1.4e7), ("1INCH", 0.31, 1.1e7),
    ("ENJ", 0.17, 7e6), ("BAT", 0.19, 5e6), ("ZRX", 0.34, 6e6), ("GRT", 0.16, 1.5e7),
    ("CHZ", 0.066, 1.4e7), ("HOT", 0.0018, 4e6), ("1000BONK", 0.022, 1.3e8), ("1000FLOKI", 0.14, 9e7),
    ("JUP", 0.92, 6e7), ("PYTH", 0.33, 4e7), ("STX", 1.6, 5e7), ("IMX", 1.45, 4e7),
    ("DYDX", 1.1, 4e7), ("GMT", 0.15, 2.4e7), ("APE", 0.82, 2.6e7), ("BLUR", 0.18, 2e7),
    ("WLD", 1.9, 1.6e8), ("ENS", 19.0, 3e7), ("PENDLE", 3.4, 4.4e7), ("JTO", 2.3, 3e7),
)  # fmt: skip
_CHINESE: Final = (("币安人生", 0.14, 6e7), ("我踏马来了", 0.031, 2e7), ("龙虾", 0.012, 1.2e7))
_TRADIFI: Final = (
    ("XAU", 4_050.0, 6e8, "COMMODITY"), ("XAG", 48.0, 3e8, "COMMODITY"), ("TSLA", 410.0, 1e8, "EQUITY"),
    ("NVDA", 182.0, 8e7, "EQUITY"), ("HOOD", 121.0, 2e7, "EQUITY"), ("MSTR", 210.0, 4e7, "EQUITY"),
    ("COIN", 262.0, 3e7, "EQUITY"), ("CRCL", 88.0, 2e7, "EQUITY"), ("AMZN", 232.0, 1e7, "EQUITY"),
    ("PLTR", 166.0, 2e7, "EQUITY"), ("INTC", 38.0, 1e7, "EQUITY"), ("GOOGL", 301.0, 1e7, "EQUITY"),
    ("META", 640.0, 1e7, "EQUITY"), ("AAPL", 270.0, 1e7, "EQUITY"), ("MSFT", 480.0, 7e6, "EQUITY"),
    ("QQQ", 612.0, 9e6, "INDEX"), ("SPY", 676.0, 9e6, "INDEX"), ("SAMSUNG", 71.0, 3e6, "KR_EQUITY"),
    ("CL", 61.0, 3e7, "COMMODITY"), ("COPPER", 5.2, 8e6, "COMMODITY"),
)  # fmt: skip
# what spot alone has: pairs of two dollars (or of gold, or of other money), tokens with leverage
_STABLE: Final = (
    ("USDC", 1.0, 2e9), ("FDUSD", 0.998, 1e9), ("TUSD", 0.997, 1e7), ("PAXG", 2_400.0, 3e7),
    ("EUR", 1.09, 4e7),
)  # fmt: skip
_LEVERAGED: Final = (("BTCUP", 24.0, 2e7), ("BTCDOWN", 0.004, 2e7), ("ETHUP", 11.0, 1e7))
MANY: Final = 20
"""A market of fewer symbols has none of the rarer kinds: a test that asks for six gets six."""
_SUB_TYPES: Final = ("Layer-1", "Layer-2", "DeFi", "Meme", "AI", "Infrastructure", "Gaming", "Payment")
NEWCOMER_PRICE: Final = 1.0
NEWCOMER_DOLLARS: Final = 5e6
"""What a symbol is like that is listed at run time and is nobody's asset yet."""

_ONSETS: Final = [
    "B",
    "D",
    "F",
    "G",
    "H",
    "K",
    "L",
    "M",
    "N",
    "P",
    "R",
    "S",
    "T",
    "V",
    "Z",
    "CR",
    "DR",
    "FL",
    "GR",
    "KR",
    "PL",
    "SK",
    "TR",
]
_VOWELS: Final = ["A", "E", "I", "O", "U"]


@dataclass(frozen=True, slots=True)
class Asset:
    """Something that is traded: price level in dollars and dollars that it trades a day on usdm.

    name is shared by spot, usdm and coinm: their prices move together.
    """

    name: str
    price: float
    dollars: float
    kind: str = "COIN"


TRADIFI_ASSETS: Final = tuple(Asset(name, price, dollars, kind) for name, price, dollars, kind in _TRADIFI)
"""What TRADIFI_PERPETUAL contracts are over."""
SPOT_ASSETS: Final = (
    *(Asset(*one, "STABLE") for one in _STABLE),
    *(Asset(*one, "LEVERAGED") for one in _LEVERAGED),
)
"""What only spot trades, against USDT."""


def assets(n: int) -> list[Asset]:
    """The n most traded coins: real names first, then invented ones, ever quieter and of any price."""
    found = [Asset(*one) for one in _MAJORS[:n]]
    if n >= 40:
        found[30:30] = [Asset(*one) for one in _CHINESE]
    found = found[:n]
    taken = {one.name for one in found} | {one[0] for one in _MAJORS}
    i = 0
    while len(found) < n:
        h = key_of(0, "asset", str(i))
        i += 1
        name = _ONSETS[h % 23] + _VOWELS[h // 23 % 5] + _ONSETS[h // 115 % 15]
        if h // 5000 % 3:
            name += _VOWELS[h // 2000 % 5]
        if name in taken:
            continue
        taken.add(name)
        u = (h >> 20) % 2**20 / 2**20
        price = 10.0 ** (-3.2 + 4.6 * u) * 1.3
        rank = len(found) / 600
        found.append(Asset(name, price, 3e7 * (0.004 + (1 - min(rank, 1.0)) ** 3) * (0.4 + 1.2 * u)))
    return found


def _grid(price: float, odd: int) -> tuple[int, int, str, str]:
    """(price decimals, quantity decimals, tick, step) that Binance's USD-M gives such a price."""
    digits = next((d for d, low in enumerate((500.0, 100.0, 20.0, 0.9, 0.2, 0.02, 0.003)) if price >= low), 7)
    digits = (2, 2, 3, 4, 4, 5, 6, 7)[digits]
    quantity = (
        3 if price >= 300 else 2 if price >= 30 else 1 if price >= 3 else odd % 2 if price >= 0.3 else 0
    )
    tick = digits
    if odd % 7 == 0 and digits < 7:  # AVAX 0.0010, WIF 0.0001000: the tick is coarser than what is printed
        digits += 1
    return digits, quantity, f"{10.0**-tick:.{digits}f}", f"{10.0**-quantity:.{quantity}f}"


def _cross_grid(price: float) -> tuple[int, int, str]:
    """(price decimals, quantity decimals, tick) of a spot pair quoted in BTC: products fit 8 decimals."""
    digits = 5 if price >= 1e-2 else 6 if price >= 1e-3 else 7 if price >= 1e-4 else 8
    return digits, 8 - digits, f"{10.0**-digits:.8f}"


def _listed(seed: int, name: str, rank: int, start_ms: int) -> int:
    """When an asset was listed: the largest ones years ago, others any time since; at a full minute."""
    start_day = start_ms // _DAY_MS
    u = key_of(seed, "listed", name) / 2**64
    oldest = EPOCH_DAY + 240
    day = oldest + u * u * 400 if rank < 40 else oldest + u * max(start_day - oldest - 3, 1)
    minute = int((u * 7919) % 1 * 24) * 60 + (30 if u > 0.5 else 0)
    return (int(min(day, start_day - 3)) * 1440 + minute) * _MINUTE_MS


def _future(
    seed: int,
    asset: Asset,
    quote: str,
    *,
    list_ms: int,
    delist_ms: int | None = None,
    contract: str = "PERPETUAL",
) -> Instrument:
    symbol = asset.name + quote
    odd = key_of(0, "grid", symbol)
    price_digits, quantity_digits, tick, step = _grid(asset.price, odd)
    if symbol.startswith("BTCUSD"):
        price_digits, tick = 2, "0.10"
    sub = ("TradFi",) if contract == "TRADIFI_PERPETUAL" else (_SUB_TYPES[odd % 8],) if odd % 5 else ()
    hours = 8 if asset.dollars > 1e8 else (4, 4, 4, 8, 1)[odd % 5] if odd % 11 == 0 else (4, 4, 4, 8)[odd % 4]
    return Instrument(
        market="usdm",
        symbol=symbol,
        pair=symbol,
        base=asset.name,
        quote=quote,
        margin_asset=quote,
        contract_type=contract,
        price_precision=price_digits,
        quantity_precision=quantity_digits,
        quote_precision=price_digits + quantity_digits,
        tick_size=tick,
        step_size=step,
        min_notional="50" if asset.name == "BTC" else "20" if asset.dollars > 1.5e8 else "5",
        contract_size=1,
        onboard_ms=list_ms,
        delivery_ms=PERPETUAL_DELIVERY_MS if delist_ms is None else delist_ms,
        list_ms=list_ms,
        delist_ms=delist_ms,
        funding_hours=hours,
        underlying_type=asset.kind,
        underlying_sub_type=sub,
    )


def newcomer(market: str, symbol: str, list_ms: int) -> Instrument:
    """A symbol that nobody foresaw, as it may be listed at run time: a dollar each, of middling volume."""
    pair = symbol.removesuffix("_PERP")
    quote = next((q for q in ("USDT", "USDC", "FDUSD", "USD") if pair.endswith(q)), "USDT")
    asset = Asset(pair.removesuffix(quote), NEWCOMER_PRICE, NEWCOMER_DOLLARS)
    one = _future(0, asset, quote, list_ms=list_ms)
    if market == "usdm":
        return replace(one, symbol=symbol, pair=pair)
    if market == "coinm":
        return replace(
            one,
            market="coinm",
            symbol=symbol,
            pair=pair,
            margin_asset=asset.name,
            quantity_precision=0,
            quote_precision=8,
            step_size="1",
            min_notional="",
            contract_size=10,
            funding_hours=8,
        )
    return replace(
        one,
        market="spot",
        symbol=symbol,
        pair=pair,
        margin_asset="",
        contract_type="",
        price_precision=8,
        quantity_precision=8,
        quote_precision=8,
        tick_size=f"{float(one.tick_size):.8f}",
        step_size=f"{float(one.step_size):.8f}",
        min_notional="5.00000000",
        delivery_ms=0,
        funding_hours=0,
    )


def delivery_ms_of(year: int, month: int) -> int:
    """08:00 UTC of the last Friday of the month."""
    last = calendar.monthrange(year, month)[1]
    day = dt.date(year, month, last)
    day -= dt.timedelta(days=(day.weekday() - 4) % 7)
    return calendar.timegm((day.year, day.month, day.day, 8, 0, 0)) * 1000


def quarters(start_ms: int, years: float = 2.0) -> list[tuple[str, int, int, int]]:
    """Delivery contracts that trade at start_ms or within `years`: (YYMMDD, list, current from, delivery).

    One is listed when the contract two quarters before it is delivered.
    """
    first = dt.datetime.fromtimestamp(start_ms / 1000, dt.UTC).year - 1
    ends = [delivery_ms_of(y, m) for y in range(first, first + int(years) + 4) for m in (3, 6, 9, 12)]
    found = []
    for before, middle, end in zip(ends, ends[1:], ends[2:], strict=False):
        if end > start_ms and before < start_ms + years * 366 * _DAY_MS:
            name = dt.datetime.fromtimestamp(end / 1000, dt.UTC).strftime("%y%m%d")
            found.append((name, before, middle, end))
    return found


def usdm(seed: int, n: int, start_ms: int, *, listing_hours: float, schedule_days: float) -> list[Instrument]:
    """n USDT perpetuals that trade at start_ms (with Chinese names from 40 on), and in proportion USDC
    perpetuals, TRADIFI_PERPETUAL ones, delivery contracts, symbols that were settled before, and a
    schedule of listings and delistings after it: one every `listing_hours`, in turn, for `schedule_days`.
    """
    coins = assets(n)
    found = [
        _future(seed, one, "USDT", list_ms=_listed(seed, one.name, rank, start_ms))
        for rank, one in enumerate(coins)
    ]
    for rank, one in enumerate(coins[: n // 20]):
        quiet = Asset(one.name, one.price, one.dollars * 0.08)
        found.append(
            _future(seed, quiet, "USDC", list_ms=_listed(seed, one.name + "USDC", rank + 40, start_ms))
        )
    recent = start_ms - 200 * _DAY_MS
    for rank, one in enumerate(TRADIFI_ASSETS[: n // 20]):
        at = recent // _DAY_MS * _DAY_MS + rank * 7 * _DAY_MS + 14 * 60 * _MINUTE_MS
        found.append(_future(seed, one, "USDT", list_ms=at, contract="TRADIFI_PERPETUAL"))
    for one in coins[: min(2, n // 10)]:
        found += [_delivery(one, start_ms, *quarter) for quarter in quarters(start_ms)]
    gone = _new_coins(coins, n // 30)
    for rank, one in enumerate(gone):
        listed = _listed(seed, one.name, 40, start_ms - 60 * _DAY_MS)
        ended = start_ms // _DAY_MS * _DAY_MS - (rank * 13 + 5) * _DAY_MS + 9 * 60 * _MINUTE_MS
        found.append(_future(seed, one, "USDT", list_ms=min(listed, ended - 9 * _DAY_MS), delist_ms=ended))
    if listing_hours > 0:
        found = _scheduled(seed, found, coins + gone, n, start_ms, listing_hours, schedule_days)
    if n >= MANY:
        found.append(_cross(_future(seed, coins[1], "BTC", list_ms=found[0].list_ms)))
    return found


def _cross(one: Instrument) -> Instrument:
    """A perpetual quoted in BTC, with the grid that Binance's ETHBTC has."""
    return replace(
        one,
        price_precision=6,
        quantity_precision=2,
        quote_precision=8,
        tick_size="0.000001",
        step_size="0.01",
        min_notional="0.001",
        underlying_sub_type=("Cross Pair",),
    )


def _new_coins(known: list[Asset], n: int) -> list[Asset]:
    names = {one.name for one in known}
    return [one for one in assets(len(known) + n + 8) if one.name not in names][:n]


def _scheduled(
    seed: int,
    found: list[Instrument],
    known: list[Asset],
    n: int,
    start_ms: int,
    listing_hours: float,
    schedule_days: float,
) -> list[Instrument]:
    """Listings and delistings in turn. Those that leave come from the quiet end, each at most once."""
    events = int(schedule_days * 24 / listing_hours)
    coming = _new_coins(known, (events + 1) // 2)
    leaving = list(range(n - 1, max(n // 2, 10), -1))
    for i in range(events):
        at = int(start_ms + (i + 0.5) * listing_hours * 3_600_000) // (5 * _MINUTE_MS) * 5 * _MINUTE_MS
        if i % 2 == 0:
            found.append(_future(seed, coming[i // 2], "USDT", list_ms=at))
        elif i // 2 < len(leaving):
            old = found[leaving[i // 2]]
            one = next(a for a in known if a.name == old.base)
            found[leaving[i // 2]] = _future(seed, one, "USDT", list_ms=old.list_ms, delist_ms=at)
    return found


def _delivery(
    asset: Asset, start_ms: int, name: str, list_ms: int, current_ms: int, end_ms: int
) -> Instrument:
    pair = asset.name + "USDT"
    digits = 1 if asset.name == "BTC" else 2
    tick = f"{10.0**-digits:.{digits}f}"
    return Instrument(
        market="usdm",
        symbol=f"{pair}_{name}",
        pair=pair,
        base=asset.name,
        quote="USDT",
        margin_asset="USDT",
        contract_type="CURRENT_QUARTER" if start_ms >= current_ms else "NEXT_QUARTER",
        price_precision=digits,
        quantity_precision=3,
        quote_precision=digits + 3,
        tick_size=tick,
        step_size="0.001",
        min_notional="5",
        contract_size=1,
        onboard_ms=list_ms,
        delivery_ms=end_ms,
        list_ms=list_ms,
        delist_ms=end_ms,
        current_ms=current_ms,
    )


def coinm(seed: int, n: int, start_ms: int) -> list[Instrument]:
    """n coin-margined perpetuals (100 USD per BTC contract, 10 for others), BTC and ETH quarters."""
    found = []
    plain = [one for one in assets(40) if one.name.isascii() and not one.name.startswith("1000")]
    for rank, one in enumerate(plain[:n]):
        price_digits, _, tick, _ = _grid(one.price, 1)
        if one.name == "BTC":
            price_digits, tick = 1, "0.1"
        pair = one.name + "USD"
        perpetual = Instrument(
            market="coinm",
            symbol=pair + "_PERP",
            pair=pair,
            base=one.name,
            quote="USD",
            margin_asset=one.name,
            contract_type="PERPETUAL",
            price_precision=price_digits,
            quantity_precision=0,
            quote_precision=8,
            tick_size=tick,
            step_size="1",
            min_notional="",
            contract_size=100 if one.name == "BTC" else 10,
            onboard_ms=_listed(seed, pair, rank, start_ms),
            delivery_ms=PERPETUAL_DELIVERY_MS,
            list_ms=_listed(seed, pair, rank, start_ms),
            funding_hours=8,
        )
        found.append(perpetual)
        if one.name in ("BTC", "ETH"):
            for name, list_ms, current_ms, end_ms in quarters(start_ms):
                found.append(
                    replace(
                        perpetual,
                        symbol=f"{pair}_{name}",
                        contract_type="CURRENT_QUARTER" if start_ms >= current_ms else "NEXT_QUARTER",
                        onboard_ms=list_ms,
                        list_ms=list_ms,
                        delivery_ms=end_ms,
                        delist_ms=end_ms,
                        current_ms=current_ms,
                        funding_hours=0,
                    )
                )
    return found


def spot(seed: int, n: int, start_ms: int) -> list[Instrument]:
    """n spot pairs: USDT ones, then some in USDC and FDUSD; a tenth more that are on BREAK for ever; then,
    from MANY on, some in BTC and those of SPOT_ASSETS."""
    found = []
    plain = [one for one in assets(max(n, 40) + n // 10 + 8) if not one.name.startswith("1000")]
    wanted = [(one, "USDT") for one in plain[: n - n // 8]]
    wanted += [(one, ("USDC", "FDUSD")[i % 2]) for i, one in enumerate(plain[: n // 8])]
    broken = [(one, "USDT") for one in plain[n : n + n // 10]]
    rarer = []
    if n >= MANY:
        rarer = [(one, "BTC") for one in plain[1 : 1 + n // 10]] + [(one, "USDT") for one in SPOT_ASSETS]
    for rank, (one, quote) in enumerate(wanted + broken + rarer):
        price_digits, quantity_digits, tick, _ = _grid(one.price, 1)
        if quote == "BTC":
            price_digits, quantity_digits, tick = _cross_grid(one.price / plain[0].price)
        quantity_digits = min(quantity_digits + 2 if one.price > 1000 else quantity_digits, 8 - price_digits)
        ended = (
            None
            if not len(wanted) <= rank < len(wanted) + len(broken)
            else start_ms // _DAY_MS * _DAY_MS - (rank + 3) * _DAY_MS
        )
        listed = _listed(seed, one.name + quote + "spot", rank, start_ms - 90 * _DAY_MS)
        found.append(
            Instrument(
                market="spot",
                symbol=one.name + quote,
                pair=one.name + quote,
                base=one.name,
                quote=quote,
                margin_asset="",
                contract_type="",
                price_precision=8,
                quantity_precision=8,
                quote_precision=8,
                tick_size=f"{float(tick):.8f}",
                step_size=f"{10.0**-quantity_digits:.8f}",
                min_notional="0.00010000" if quote == "BTC" else "5.00000000",
                contract_size=1,
                onboard_ms=listed,
                delivery_ms=0,
                list_ms=min(listed, ended - 9 * _DAY_MS) if ended else listed,
                delist_ms=ended,
            )
        )
    return found
