"""A whole market from a seed: any bar of any time, the same in every process and on every machine.

What moves: one market factor (with volatility that comes in clusters, of hours and of weeks), and one
process of its own for every asset. Assets follow the factor mostly at once, in part a minute later (BTC
leads). Both are bounded random walks by day, with a bridge between days, so that a day can be made without
the days before it. Assets have one price on spot, usdm and coinm, up to a small basis. Trades arrive in
numbers that follow volatility; quiet symbols have minutes without any. Volumes, taker flow and quote
volumes are whole numbers of steps and consistent.

Only +, -, *, / and sqrt of IEEE 754 are used (exp is our own): libm and SIMD differ by machine in the last
bit, and a tick would flip. Random numbers are counter-based: a hash of (key, day, minute, purpose).
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit

from bmac_stream.simulator import listing
from bmac_stream.simulator.bars import DAY_MS, BarMarket, Block, scales_of
from bmac_stream.simulator.funding import key_of
from bmac_stream.simulator.market import F64, I64, Instrument

__all__ = ["DEFAULT_START_MS", "GeneratedMarket", "GeneratorConfig"]

DEFAULT_START_MS: Final = 1_772_496_000_000
"""2026-03-03 00:00 UTC, a Tuesday."""

_LAST_DAY: Final = 30_000  # 2052
_MINUTES: Final = 1440
_HOLE_DAYS: Final = 30


@dataclass(frozen=True, slots=True)
class GeneratorConfig:
    """What is generated.

    seed           of everything
    n_symbols      USDT perpetuals of usdm that trade at start_ms; USDC, TRADIFI, delivery and settled ones
                   come on top (about a fifth more at 600, none below 10)
    n_spot, n_coinm   pairs and perpetuals there (coinm: BTC and ETH quarters on top)
    start_ms       exchange time at which serving starts; bars do not depend on it, listings do
    listing_hours  hours between scheduled listings and delistings (in turn); 0: none
    schedule_days  for how long after start_ms the schedule goes on
    hole_days      one day of a market in so many has a hole of minutes (maintenance), and one day of a
                   symbol in four times as many; 0: none
    """

    seed: int = 7
    n_symbols: int = 600
    n_spot: int = 60
    n_coinm: int = 20
    start_ms: int = DEFAULT_START_MS
    listing_hours: float = 12.0
    schedule_days: float = 90.0
    hole_days: int = _HOLE_DAYS


@njit(cache=True, nogil=True)
def _uniform(key: np.uint64, i: int) -> float:
    """In [0, 1): splitmix64's output number i of the stream `key`."""
    x = key + np.uint64(i + 1) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x = x ^ (x >> np.uint64(31))
    return float(x >> np.uint64(11)) * 1.1102230246251565e-16  # 2**-53


@njit(cache=True, nogil=True)
def _stream(key: np.uint64, i: int) -> np.uint64:
    """A new stream out of a stream and a number."""
    x = key ^ (np.uint64(i) * np.uint64(0xD1342543DE82EF95) + np.uint64(0x632BE59BD9B4E019))
    x = (x ^ (x >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
    return x ^ (x >> np.uint64(32))


@njit(cache=True, nogil=True)
def _normal(key: np.uint64, i: int) -> float:
    """About normal: the sum of three uniforms, scaled to variance 1. |x| <= 3."""
    u = _uniform(key, 3 * i) + _uniform(key, 3 * i + 1) + _uniform(key, 3 * i + 2)
    return 2.0 * (u - 1.5)


@njit(cache=True, nogil=True)
def _exp(x: float) -> float:
    """e**x to 1e-14, by the same operations on every machine."""
    k = np.floor(x * 1.4426950408889634 + 0.5)
    r = x - k * 0.693147180369123816490 - k * 1.90821492927058770002e-10
    y = 1.0
    for i in range(13, 0, -1):
        y = 1.0 + y * r / i
    half = 2.0 if k >= 0.0 else 0.5
    for _ in range(int(abs(k))):
        y *= half
    return y


@njit(cache=True, nogil=True)
def _days(key: np.uint64, n: int, move: float, hold: float, trades: float) -> tuple[F64, F64, I64]:
    """Day by day since the epoch: log price against its level, log volatility, trades before that day.

    move    standard deviation of a day
    hold    how much of yesterday's distance from the level remains
    trades  mean number of a day
    """
    level, calm = np.zeros(n + 1), np.zeros(n + 1)
    before = np.zeros(n + 1, np.int64)
    for d in range(n):
        calm[d + 1] = 0.96 * calm[d] + 0.14 * _normal(key, 2 * d)
        heavy = 1.0 if _uniform(key, 7 * d + 900_001) > 0.02 else 3.0
        level[d + 1] = hold * level[d] + move * heavy * _exp(calm[d]) * _normal(key, 2 * d + 1)
        count = trades * _exp(1.3 * calm[d] + 0.2 * _normal(key, 3 * d + 500_000))
        before[d + 1] = before[d] + 1 + int(count)
    return level, calm, before


@njit(cache=True, nogil=True)
def _volatility(key: np.uint64, day: int, a: float, b: float) -> F64:
    """Of every minute of a day, mean about 1: clusters over six hours, on top of the days' a -> b (log)."""
    nodes = np.empty(25)
    for h in range(25):
        z = 0.0
        for back in range(6):
            z += _normal(key, day * 24 + h - back) * (1.0 - back / 6.0)
        nodes[h] = _exp(a + (b - a) * h / 24.0 + 0.28 * z)
    out = np.empty(_MINUTES)
    for m in range(_MINUTES):
        h = m // 60
        out[m] = nodes[h] + (nodes[h + 1] - nodes[h]) * (m % 60) / 60.0
    return out


@njit(cache=True, nogil=True)
def _bridge(key: np.uint64, day: int, start: float, end: float, move: float, volatility: F64) -> F64:
    """A path over the 1441 minute edges of a day from `start` to `end`, exactly; tails as Student's t(4)."""
    stream = _stream(key, day)
    path = np.empty(_MINUTES + 1)
    path[0] = 0.0
    for m in range(_MINUTES):
        a, b = _normal(stream, 8 * m), _normal(stream, 8 * m + 1)
        c, d = _normal(stream, 8 * m + 2), _normal(stream, 8 * m + 3)
        spread = np.sqrt(max((a * a + b * b + c * c + d * d) / 4.0, 0.08))
        step = _normal(stream, 8 * m + 4) / spread
        path[m + 1] = path[m] + step * volatility[m]
    scale = move / 37.9 / 1.25  # sqrt(1440); t(4) has more than unit variance
    drift = end - start - path[_MINUTES] * scale
    for m in range(_MINUTES + 1):
        path[m] = start + path[m] * scale + drift * m / _MINUTES
    path[0], path[_MINUTES] = start, end
    return path


@njit(cache=True, nogil=True)
def _day_block(
    key: np.uint64,
    day: int,
    log_price: F64,
    volatility: F64,
    trades: int,
    first_id: int,
    hole: np.ndarray,
    notional: float,
    sizes: F64,
    inverse: bool,
    values: F64,
    ids: I64,
) -> None:
    """Fills values[1440, 9] and ids[1440].

    log_price  of the 1441 edges; trades: number of the day, all of which are given to minutes
    hole       bool[1440], minutes in which the exchange is away
    notional   mean quote of a trade
    sizes      price, volume and quote units per 1, tick in price units, price units per step of volume ...
    """
    ps, vs, qs, tick, lot, contract = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5]
    stream = _stream(_stream(key, 17), day)
    weight = np.empty(_MINUTES)
    total = 0.0
    for m in range(_MINUTES):
        a, b = _normal(stream, 8 * m), _normal(stream, 8 * m + 1)
        burst = 0.08 + 0.46 * (a * a + b * b)
        move = abs(log_price[m + 1] - log_price[m]) * 900.0
        weight[m] = 0.0 if hole[m] else volatility[m] * burst * (1.0 + min(move, 4.0))
        total += weight[m]
    # the day's last minute always trades, so that a day knows its first close without the day before
    hole[_MINUTES - 1] = False
    share = (trades - 1) / total if total > 0.0 else 0.0
    given, run = 0, 0.0
    last = np.rint(_exp(log_price[0]) * ps / tick) * tick
    last = max(last, tick)
    for m in range(_MINUTES):
        run += weight[m]
        upto = min(int(run * share), trades - 1)
        n = upto - given
        if m == _MINUTES - 1:
            n = trades - given
        given += n
        ids[m] = first_id + given - n
        if hole[m]:
            values[m, :] = np.nan
            continue
        c = max(np.rint(_exp(log_price[m + 1]) * ps / tick), 1.0) * tick
        if n == 0:
            for j in range(4):
                values[m, j] = last / ps
            for j in range(4, 9):
                values[m, j] = 0.0
            continue
        o = max(np.rint(_exp(log_price[m]) * ps / tick), 1.0) * tick
        if n == 1:
            o = c
        h, low = max(o, c), min(o, c)
        # how far a Brownian bridge between o and c reaches: (|c - o| + sqrt(d**2 + 2 s**2 E)) / 2, E ~ exp
        spread = (o + c) * 0.5 * 4.2e-4 * volatility[m]
        if n >= 3:
            a, b = _normal(stream, 8 * m + 2), _normal(stream, 8 * m + 3)
            reach = (np.sqrt((h - low) ** 2 + spread * spread * (a * a + b * b)) - (h - low)) * 0.5
            h += np.rint(reach / tick) * tick
        if n >= 4:
            a, b = _normal(stream, 8 * m + 4), _normal(stream, 8 * m + 5)
            reach = (np.sqrt((h - low) ** 2 + spread * spread * (a * a + b * b)) - (h - low)) * 0.5
            low = max(low - np.rint(reach / tick) * tick, min(tick, low))
        price = (o + c) * 0.5 / ps
        u = _uniform(stream, 400_000 + 5 * m)
        mean = notional * (0.35 + 1.3 * u * u * u + 0.65 * _uniform(stream, 400_001 + 5 * m))
        each = mean / contract if inverse else mean / price
        lots = float(n) + np.floor(n * max(each * vs / lot - 1.0, 0.0))
        lean = (c - o) / (spread + tick)
        part = 0.5 + 0.3 * lean / (1.0 + abs(lean)) + 0.16 * (_uniform(stream, 400_002 + 5 * m) - 0.5)
        if n == 1:
            part = 1.0 if _uniform(stream, 400_003 + 5 * m) < part else 0.0
        taker = min(np.rint(lots * part), lots)
        v, tv = lots * lot, taker * lot
        # mean price of what takers bought and of what they sold: somewhere between low and high
        middle = (o + c + h + low) * 0.25
        up = _uniform(stream, 400_004 + 5 * m)
        bought = middle + (h - middle) * 0.4 * up
        sold = middle - (middle - low) * 0.4 * up
        if inverse:
            tq = np.rint(tv * contract / (bought / ps) * qs)
            mq = np.rint((v - tv) * contract / (sold / ps) * qs)
        else:
            tq = np.rint(tv * bought * (qs / (ps * vs)))
            mq = np.rint((v - tv) * sold * (qs / (ps * vs)))
        values[m, 0], values[m, 1], values[m, 2], values[m, 3] = o / ps, h / ps, low / ps, c / ps
        values[m, 4], values[m, 5], values[m, 6] = v / vs, (tq + mq) / qs, n
        values[m, 7], values[m, 8] = tv / vs, tq / qs
        last = c


@dataclass(slots=True)
class _Asset:
    """What is known of the price of one underlying (shared by all instruments over it)."""

    key: np.uint64
    level: float  # log of its price level
    beta: float
    late: float  # share of the market's move that it follows a minute later
    move: float  # standard deviation of a day of its own part
    days: tuple[F64, F64, I64]


class GeneratedMarket(BarMarket):
    """See GeneratorConfig. Bars depend on (seed, symbol, time) alone."""

    def __init__(self, config: GeneratorConfig | None = None) -> None:
        self.config = config = config or GeneratorConfig()
        assert config.start_ms % 60_000 == 0, "start_ms is a full minute"
        instruments = {
            "spot": listing.spot(config.seed, config.n_spot, config.start_ms),
            "usdm": listing.usdm(
                config.seed,
                config.n_symbols,
                config.start_ms,
                listing_hours=config.listing_hours,
                schedule_days=config.schedule_days,
            ),
            "coinm": listing.coinm(config.seed, config.n_coinm, config.start_ms),
        }
        levels = listing.assets(max(800, config.n_symbols + 200))
        self._levels = {one.name: one for one in [*listing.TRADIFI_ASSETS, *listing.SPOT_ASSETS, *levels]}
        self._assets: dict[str, _Asset] = {}
        self._trades: dict[tuple[str, int], tuple[I64, float]] = {}
        self._factors: OrderedDict[int, tuple[F64, F64]] = OrderedDict()
        self._paths: OrderedDict[tuple[str, int], tuple[F64, F64]] = OrderedDict()
        self._horizon = config.start_ms // DAY_MS - listing.EPOCH_DAY + 400
        self._factor_key = np.uint64(key_of(config.seed, "factor"))
        self._factor_days = _days(self._factor_key, self._horizon, 0.024, 0.998, 0.0)
        source = f"embedded:generator:seed={config.seed}"
        if config.hole_days != _HOLE_DAYS:
            source += f",hole_days={config.hole_days}"  # other bars: never mixed with those of the default
        super().__init__(
            instruments,
            base="1m",
            source=source,
            start_ms=config.start_ms,
            end_ms=None,
            seed=config.seed,
        )

    def _raw_block(self, market: str, position: int, day: int) -> Block:
        one = self._instruments[market][position]
        values, ids = np.full((_MINUTES, 9), np.nan), np.full(_MINUTES, -1, np.int64)
        number = day - listing.EPOCH_DAY
        if number < 0 or day < one.list_ms // DAY_MS or day > _LAST_DAY:
            return values, ids
        if one.delist_ms is not None and day * DAY_MS >= one.delist_ms:
            return values, ids
        self._reach(number)
        log_price, volatility = self._path(one.base, number)
        if one.quote == "BTC":
            log_price = log_price - self._path("BTC", number)[0]
        log_price = log_price + self._basis(one, number)
        before, notional = self._trade_days(one, position)
        sizes = np.array([*scales_of(one), max(1.0, _lot(one)), float(one.contract_size)])
        _day_block(
            np.uint64(key_of(self.config.seed, market, one.symbol)),
            day,
            log_price,
            volatility,
            int(before[number + 1] - before[number]),
            int(before[number]) + 1,
            self._hole(market, one.symbol, day),
            notional,
            sizes,
            market == "coinm",
            values,
            ids,
        )
        return values, ids

    def _new_instrument(self, market: str, symbol: str, list_ms: int) -> Instrument:
        return listing.newcomer(market, symbol, list_ms)

    def _reach(self, number: int) -> None:
        """Makes the tables of days long enough; what they held stays the same."""
        if number + 1 < self._horizon:
            return
        self._horizon = number + 400
        self._factor_days = _days(self._factor_key, self._horizon, 0.024, 0.998, 0.0)
        self._assets.clear()
        self._trades.clear()

    def _factor(self, number: int) -> tuple[F64, F64]:
        """The market's path of a day, from a minute before it (1442 edges), and its volatility."""
        found = self._factors.get(number)
        if found is None:
            level, calm, _ = self._factor_days
            volatility = _volatility(self._factor_key, number, calm[number], calm[number + 1])
            path = _bridge(self._factor_key, number, level[number], level[number + 1], 0.024, volatility)
            back = np.full(1, level[number])
            if number > 0:
                w = _volatility(self._factor_key, number - 1, calm[number - 1], calm[number])
                earlier = _bridge(self._factor_key, number - 1, level[number - 1], level[number], 0.024, w)
                back = earlier[-2:-1]
            found = np.concatenate([back, path]), volatility
            self._factors[number] = found
            if len(self._factors) > 2048:
                self._factors.popitem(last=False)
        return found

    def _asset(self, name: str) -> _Asset:
        found = self._assets.get(name)
        if found is None:
            seed = self.config.seed
            key = np.uint64(key_of(seed, "asset", name))
            u, w = key_of(seed, "taste", name) / 2**64, key_of(seed, "beta", name) / 2**64
            known = self._levels.get(name)
            level = _log(known.price if known else listing.NEWCOMER_PRICE)
            if name == "BTC":
                beta, late, move = 1.0, 0.0, 0.006
            elif known is not None and known.kind == "STABLE":
                beta, late, move = 0.0, 0.0, 0.0004
            elif known is not None and known.kind == "LEVERAGED":
                beta, late, move = (-1.5 if name.endswith("DOWN") else 1.5), 0.0, 0.01
            elif known is not None and known.kind != "COIN":
                beta, late, move = 0.15, 0.5, 0.012
            else:
                beta, late, move = 0.8 + 0.7 * w, 0.1 + 0.35 * u, 0.018 + 0.04 * u * u
            found = _Asset(key, level, beta, late, move, _days(key, self._horizon, move, 0.99, 0.0))
            self._assets[name] = found
        return found

    def _path(self, base: str, number: int) -> tuple[F64, F64]:
        """Log price at the minute edges of a day and volatility of its minutes, of the underlying `base`."""
        found = self._paths.get((base, number))
        if found is None:
            asset = self._asset(base)
            factor, market_volatility = self._factor(number)
            level, calm, _ = asset.days
            own = _volatility(asset.key, number, calm[number], calm[number + 1])
            volatility = (own + market_volatility) * 0.5
            path = _bridge(asset.key, number, level[number], level[number + 1], asset.move, volatility)
            market = (1.0 - asset.late) * factor[1:] + asset.late * factor[:-1]
            path = asset.level + asset.beta * market + path
            found = path, volatility
            self._paths[base, number] = found
            if len(self._paths) > 1024:
                self._paths.popitem(last=False)
        return found

    def _basis(self, one: Instrument, number: int) -> F64 | float:
        """Log distance of an instrument from its underlying: delivery contracts carry a premium."""
        small = 3e-4 * (key_of(self.config.seed, "basis", one.market, one.symbol) / 2**64 - 0.5)
        if one.market == "spot":
            return 0.0
        if one.delist_ms is None or "_" not in one.symbol:
            return small
        opens = (number + listing.EPOCH_DAY) * DAY_MS
        left = one.delist_ms - opens - np.arange(_MINUTES + 1) * 60_000
        return 0.04 * np.maximum(left, 0) / (365 * DAY_MS)

    def _trade_days(self, one: Instrument, position: int) -> tuple[I64, float]:
        """Trades of an instrument before each day since the epoch, and the mean quote of one."""
        found = self._trades.get((one.market, position))
        if found is None:
            known = self._levels.get(one.base)
            dollars = known.dollars if known else listing.NEWCOMER_DOLLARS
            if one.market == "spot":
                dollars *= 0.2
            if one.market == "coinm":
                dollars *= 0.05
            if "_2" in one.symbol:
                dollars *= 0.01
            elif one.quote == "USDC":
                dollars *= 0.08
            u = key_of(self.config.seed, "notional", one.symbol) / 2**64
            # larger markets have larger trades: 40 dollars where nothing happens, 2000 in BTC
            notional = (40.0 + 60.0 * u) * (1.0 + dollars**0.5 / 4000.0)
            if one.quote == "BTC":
                dollars, notional = (
                    0.05 * dollars / self._levels["BTC"].price,
                    notional / self._levels["BTC"].price,
                )
            key = np.uint64(key_of(self.config.seed, "trades", one.market, one.symbol))
            _, _, before = _days(key, self._horizon, 0.0, 0.0, dollars / notional)
            found = before, notional
            self._trades[one.market, position] = found
        return found

    def _hole(self, market: str, symbol: str, day: int) -> np.ndarray:
        """bool[1440]: minutes of a day in which the exchange has no bar."""
        hole = np.zeros(_MINUTES, np.bool_)
        every = self.config.hole_days
        for name, days, longest in ((market, every, 17), (f"{market}:{symbol}", 4 * every, 3)):
            h = key_of(self.config.seed, "hole", name, str(day))
            if days and h % days == 0:
                start = 60 + h // 1000 % 1300
                hole[start : start + 1 + h // 2_000_000 % longest] = True
        return hole


def _lot(one: Instrument) -> float:
    """Volume units per step: 1 unless the step is a multiple of its last decimal."""
    return float(round(float(one.step_size) * scales_of(one)[1]))


def _log(x: float) -> float:
    """Natural logarithm by Newton's method on our exp, the same on every machine."""
    y = 0.0
    for _ in range(200):
        step = x / _exp(y) - 1.0
        y += min(max(step, -1.0), 1.0)
        if abs(step) < 1e-15:
            break
    return y
