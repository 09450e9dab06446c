"""From base bars to everything a market is asked: any interval, forming bars, pushes, fundings.

`BarMarket` implements market.Market over one method, `_raw_block`: the base bars (1m as a rule) of one
instrument and one UTC day. Closed bars of longer intervals are sums of base bars; what is inside a base
bar comes from `path.Steps`. `klines` and `updates` go the same way through the same numbers, so they agree
to the bit. A row whose open is NaN does not exist (a hole of the exchange, or not listed).

One thread may use a market at a time.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numba import njit

from bmac_stream.bar import INTERVALS_MS, floor_open_time
from bmac_stream.simulator.funding import MAX_LATE_MS, funding_at, key_of, mark_at, premium_at
from bmac_stream.simulator.market import F64, I64, MARKETS, Bool, Funding, Instrument, Premium, Rows, Updates
from bmac_stream.simulator.numbers import POWERS, decimals_of
from bmac_stream.simulator.path import Steps, forming, make_steps, second_rows
from bmac_stream.simulator.sums import Sum, add_group, bars, grouped, joined, nothing

__all__ = ["DAY_MS", "BarMarket", "Block", "scales_of"]

DAY_MS: Final = 86_400_000
_HOUR_MS: Final = 3_600_000
_FAR: Final = 2**62

_N_BLOCKS: Final = 2.2  # days kept per instrument, 115 kB each with 1m bars: 220 MB for 870 instruments
_N_HOURS: Final = 16_384  # the same days as hours: 2.1 kB each

Block = tuple[F64, I64]
"""Base bars of one day: values float64[n, 9] (NaN open: no such bar), first trade id int64[n]."""


@njit(cache=True, nogil=True)
def _mask(values: F64, open_ms: int, base_ms: int, from_ms: int, until_ms: int) -> None:
    for i in range(len(values)):
        t = open_ms + i * base_ms
        if t + base_ms <= from_ms or t >= until_ms:
            values[i, :] = np.nan


@dataclass(slots=True)
class _Live:
    """Instruments `index` of one market at one base bar, for pushes of one interval."""

    index: I64
    base_ms: int  # open time of the base bar
    bar_ms: int  # open time of the bar it is in
    before: Sum  # the bar up to this base bar
    previous: F64  # the whole bar before; only where the base bar opens a bar
    previous_first: I64
    base: F64  # the base bar, final values
    base_first: I64
    steps: Steps


class BarMarket:
    """A market made of base bars. See market.Market for the public methods.

    instruments  by market name
    base         name of the base interval; a day holds a whole number of them
    source, start_ms, end_ms   as in market.Market
    seed         of what is invented inside base bars, and of fundings
    seconds      whether 1s bars are served on spot (from the steps inside base bars)
    """

    def __init__(
        self,
        instruments: dict[str, list[Instrument]],
        *,
        base: str,
        source: str,
        start_ms: int,
        end_ms: int | None,
        seed: int = 0,
        seconds: bool = True,
    ) -> None:
        self._source, self._start_ms, self._end_ms = source, start_ms, end_ms
        self._base_ms = INTERVALS_MS[base]
        assert DAY_MS % self._base_ms == 0, f"a day holds no whole number of {base}"
        self._per_day = DAY_MS // self._base_ms
        self._seed = seed
        self._seconds = seconds
        self._instruments = {name: list(instruments.get(name, ())) for name in MARKETS}
        self._position: dict[str, dict[str, int]] = {}
        self._scales: dict[str, F64] = {}
        self._keys: dict[str, np.ndarray] = {}
        for name in MARKETS:
            self._index(name)
        self._blocks: OrderedDict[tuple[str, int, int], Block] = OrderedDict()
        self._hours: OrderedDict[tuple[str, int, int], Block] = OrderedDict()
        self._lives: dict[tuple[str, str], list[_Live]] = {}
        self._days: dict[str, tuple[int, I64, Sum]] = {}

    # -- what the subclass gives ------------------------------------------------------------------

    def _raw_block(self, market: str, position: int, day: int) -> Block:
        """Base bars of the UTC day `day` (days since 1970) with final values; NaN open: no such bar."""
        raise NotImplementedError

    def _steps(self, market: str, index: I64, open_ms: int, values: F64) -> Steps:
        """What happens inside the base bar at open_ms with those final values."""
        n = np.full(len(index), open_ms, np.int64)
        return make_steps(values, n, self._keys[market][index], self._scales[market][index], self._base_ms)

    # -- listings ---------------------------------------------------------------------------------

    @property
    def source(self) -> str:
        return self._source

    @property
    def start_ms(self) -> int:
        return self._start_ms

    @property
    def end_ms(self) -> int | None:
        return self._end_ms

    def intervals(self, market: str) -> tuple[str, ...]:
        whole = [name for name, ms in INTERVALS_MS.items() if ms % self._base_ms == 0]
        return ("1s", *whole) if self._seconds and market == "spot" else tuple(whole)

    def instruments(self, market: str) -> list[Instrument]:
        return self._instruments[market]

    def find(self, market: str, symbol: str) -> Instrument | None:
        position = self._position[market].get(symbol)
        return None if position is None else self._instruments[market][position]

    def list_symbol(self, market: str, symbol: str, at_ms: int) -> Instrument:
        if symbol in self._position[market]:
            raise ValueError(f"{market} has {symbol} already")
        list_ms = -(-at_ms // self._base_ms) * self._base_ms
        new = self._new_instrument(market, symbol, list_ms)
        self._instruments[market].append(new)
        self._index(market)
        return new

    def delist_symbol(self, market: str, symbol: str, at_ms: int) -> Instrument:
        position = self._position[market][symbol]
        delist_ms = -(-at_ms // self._base_ms) * self._base_ms
        old = self._instruments[market][position]
        new = replace(
            old, delist_ms=delist_ms, delivery_ms=delist_ms if market != "spot" else old.delivery_ms
        )
        self._instruments[market][position] = new
        for cache in (self._blocks, self._hours):
            for key in [k for k in cache if k[0] == market and k[1] == position]:
                del cache[key]
        self._lives.clear()
        self._days.clear()
        return new

    def _new_instrument(self, market: str, symbol: str, list_ms: int) -> Instrument:
        """An instrument that is listed at run time: like the market's first one."""
        if not self._instruments[market]:
            raise ValueError(f"there is no {market} market here")
        like = self._instruments[market][0]
        base = symbol.removesuffix("_PERP").removesuffix(like.quote)
        return replace(
            like,
            symbol=symbol,
            pair=symbol.removesuffix("_PERP"),
            base=base,
            onboard_ms=list_ms,
            list_ms=list_ms,
            delist_ms=None,
        )

    def _index(self, market: str) -> None:
        """Tables over positions: symbol -> position, scales, random keys."""
        known = self._instruments[market]
        self._position[market] = {i.symbol: p for p, i in enumerate(known)}
        self._scales[market] = np.array([scales_of(i) for i in known]).reshape(-1, 4)
        self._keys[market] = np.array([key_of(self._seed, market, i.symbol) for i in known], dtype=np.uint64)

    # -- bars -------------------------------------------------------------------------------------

    def first_open_ms(self, instrument: Instrument, interval: str) -> int:
        return floor_open_time(max(instrument.list_ms, self._data_from_ms(instrument)), interval)

    def _data_from_ms(self, instrument: Instrument) -> int:
        """When its data begin, if that is after the listing."""
        return instrument.list_ms

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
        if interval not in self.intervals(instrument.market):
            raise KeyError(interval)
        step = INTERVALS_MS[interval]
        market, position = instrument.market, self._position[instrument.market][instrument.symbol]
        instrument = self._instruments[market][position]
        first = self.first_open_ms(instrument, interval)
        low = max(start_ms, first)
        low = first - (first - low) // step * step  # up to the grid
        last = (now_ms, end_ms, _before(self._end_ms), _before(instrument.delist_ms))
        high = min(x for x in last if x is not None)
        if n <= 0 or high < low:
            return _rows(np.empty(0, np.int64), np.empty((0, 9)), np.empty(0, np.int64))
        high = floor_open_time(high, interval)
        parts: list[Rows] = []
        left = n
        while left > 0 and low <= high:
            # holes are rare: n bars of the grid at a time, until n rows are there
            span = (max(left, 32) - 1) * step
            a, b = (max(low, high - span), high) if latest else (low, min(high, low + span))
            rows = self._span(market, position, interval, a, b, now_ms)
            keep = slice(-left, None) if latest else slice(left)
            rows = Rows(rows[0][keep], rows[1][keep], rows[2][keep], rows[3][keep])
            parts.insert(0, rows) if latest else parts.append(rows)
            left -= len(rows.open_time)
            low, high = (low, a - step) if latest else (b + step, high)
        opens, values, firsts, lasts = (np.concatenate(c) for c in zip(*parts, strict=True))
        return Rows(opens, values, firsts, lasts)

    def _span(self, market: str, position: int, interval: str, a: int, b: int, now_ms: int) -> Rows:
        """Bars that open in [a, b] (on the grid), as at now_ms; bars that do not exist are left out."""
        step = INTERVALS_MS[interval]
        if step < self._base_ms:
            return self._second_span(market, position, a, b, now_ms)
        now_base = now_ms // self._base_ms * self._base_ms
        end = min(b + step, now_base)  # base bars before it are closed
        split = a
        if step % _HOUR_MS == 0 and self._base_ms < _HOUR_MS:
            split = max(a, end // _HOUR_MS * _HOUR_MS)
        times, values, first = self._gather(market, position, a, split, hours=True)
        fine = self._gather(market, position, split, end, hours=False)
        parts = [(times, values, first), fine]
        if now_base < b + step:
            row, row_first = self._forming_row(market, position, now_base, now_ms)
            parts.append((np.array([now_base]), row[None, :], np.array([row_first])))
        times, values, first = (np.concatenate(x) for x in zip(*parts, strict=True))
        n = (b - a) // step + 1
        _, vs, qs, _ = self._scales[market][position]
        bars, bars_first = grouped(values, first, (times - a) // step, n, vs, qs)
        here = ~np.isnan(bars[:, 0])
        return _rows(a + np.flatnonzero(here) * step, bars[here], bars_first[here])

    def _gather(self, market: str, position: int, a: int, b: int, *, hours: bool) -> tuple[I64, F64, I64]:
        """Base bars (or hours) with a <= open < b, final values, NaN rows included."""
        step = _HOUR_MS if hours else self._base_ms
        step = max(step, self._base_ms)
        times = [np.empty(0, np.int64)]
        values, first = [np.empty((0, 9))], [np.empty(0, np.int64)]
        for day in range(a // DAY_MS, -(-b // DAY_MS) if b > a else a // DAY_MS):
            block = self._hour_block(market, position, day) if hours else self._block(market, position, day)
            low = max(a - day * DAY_MS, 0) // step
            high = -(-min(b - day * DAY_MS, DAY_MS) // step)
            times.append(day * DAY_MS + np.arange(low, high) * step)
            values.append(block[0][low:high])
            first.append(block[1][low:high])
        return np.concatenate(times), np.concatenate(values), np.concatenate(first)

    def _block(self, market: str, position: int, day: int) -> Block:
        key = (market, position, day)
        block = self._blocks.get(key)
        if block is None:
            block = self._raw_block(market, position, day)
            one, opens = self._instruments[market][position], day * DAY_MS
            until = min(x for x in (one.delist_ms, self._end_ms, _FAR) if x is not None)
            if one.list_ms > opens or until < opens + DAY_MS:
                block = (block[0].copy(), block[1])
                _mask(block[0], opens, self._base_ms, one.list_ms, until)
            self._blocks[key] = block
            if len(self._blocks) > 100 + _N_BLOCKS * sum(map(len, self._instruments.values())):
                self._blocks.popitem(last=False)
        else:
            self._blocks.move_to_end(key)
        return block

    def _hour_block(self, market: str, position: int, day: int) -> Block:
        if self._base_ms >= _HOUR_MS:
            return self._block(market, position, day)
        key = (market, position, day)
        block = self._hours.get(key)
        if block is None:
            values, first = self._block(market, position, day)
            _, vs, qs, _ = self._scales[market][position]
            per_hour = _HOUR_MS // self._base_ms
            block = grouped(values, first, np.arange(self._per_day) // per_hour, 24, vs, qs)
            self._hours[key] = block
            if len(self._hours) > _N_HOURS:
                self._hours.popitem(last=False)
        else:
            self._hours.move_to_end(key)
        return block

    def _base_row(self, market: str, position: int, open_ms: int) -> tuple[F64, int]:
        values, first = self._block(market, position, open_ms // DAY_MS)
        i = open_ms % DAY_MS // self._base_ms
        return values[i], int(first[i])

    def _close_before(self, market: str, position: int, open_ms: int) -> float:
        """Close of the last base bar before open_ms, two days back at most; NaN: there is none."""
        for day in range((open_ms - 1) // DAY_MS, (open_ms - 1) // DAY_MS - 3, -1):
            closes = self._block(market, position, day)[0][:, 3]
            closes = closes[: max(0, min(self._per_day, (open_ms - day * DAY_MS) // self._base_ms))]
            there = np.flatnonzero(~np.isnan(closes))
            if len(there):
                return float(closes[there[-1]])
        return float("nan")

    def _forming_row(self, market: str, position: int, open_ms: int, now_ms: int) -> tuple[F64, int]:
        """The base bar at open_ms as at now_ms; NaN: no such bar."""
        row, first = self._base_row(market, position, open_ms)
        if np.isnan(row[0]) or row[6] == 0.0:
            return row, first
        index = np.array([position])
        steps = self._steps(market, index, open_ms, row[None, :])
        units, last, _ = forming(steps, open_ms - 1, now_ms)
        if last[0] < 0:
            row = np.zeros(9)
            row[:4] = self._close_before(market, position, open_ms)
            return row, -1
        return self._values(market, index, units)[0], first

    def _values(self, market: str, index: I64, units: F64) -> F64:
        """Units to values; rows without trades become NaN."""
        scales = self._scales[market][index]
        price, volume, quote = scales[:, 0:1], scales[:, 1:2], scales[:, 2:3]
        one = np.ones_like(price)
        divisor = np.concatenate([price, price, price, price, volume, quote, one, volume, quote], axis=1)
        values: F64 = units / divisor
        values[units[:, 6] == 0.0] = np.nan
        return values

    # -- one second -------------------------------------------------------------------------------

    def _second_span(self, market: str, position: int, a: int, b: int, now_ms: int) -> Rows:
        """1s bars that open in [a, b]; seconds without trades repeat the close before."""
        index = np.array([position])
        times, values, firsts = [], [], []
        for open_ms in range(a // self._base_ms * self._base_ms, b + 1, self._base_ms):
            row, first = self._base_row(market, position, open_ms)
            if np.isnan(row[0]):
                continue
            steps = self._steps(market, index, open_ms, row[None, :])
            units, before = second_rows(steps, open_ms, now_ms, self._base_ms)
            bars = self._values(market, np.full(len(units), position), units)
            quiet = np.isnan(bars[:, 0])
            if quiet.any():
                close = np.where(quiet, np.nan, bars[:, 3])
                start = np.concatenate([[self._close_before(market, position, open_ms)], close])
                latest = np.maximum.accumulate(np.where(np.isnan(start), 0, np.arange(len(start))))
                bars[quiet, :4] = start[latest][:-1][quiet, None]
                bars[quiet, 4:] = 0.0
            opens = open_ms + np.arange(len(units)) * 1000
            keep = (opens >= a) & (opens <= b) & ~np.isnan(bars[:, 0])
            times.append(opens[keep])
            values.append(bars[keep])
            firsts.append((first + before)[keep])
        if not times:
            return _rows(np.empty(0, np.int64), np.empty((0, 9)), np.empty(0, np.int64))
        return _rows(np.concatenate(times), np.concatenate(values), np.concatenate(firsts))

    def _second_updates(self, market: str, index: I64, since_ms: int, now_ms: int, timer_ms: int) -> Updates:
        """Pushes of 1s bars, one instrument after the other."""
        parts = []
        span = -(-timer_ms // 1000) * 1000 + 1000
        a, b = (since_ms - span) // 1000 * 1000, now_ms // 1000 * 1000
        for position in index.tolist():
            rows = self._second_span(market, position, a, b, now_ms)
            traded = rows.values[:, 6] > 0
            opens, values, first = rows.open_time[traded], rows.values[traded], rows.first_trade_id[traded]
            start, last = self._second_edges(market, position, a, now_ms, opens)
            following = np.append(start[1:], _FAR)
            due = np.minimum(following, opens + 1000 + timer_ms)
            closed = (since_ms < due) & (due <= now_ms)
            growing = (opens == b) & (last > since_ms)
            event = np.where(closed, due, last)
            keep = closed | growing
            m = int(keep.sum())
            parts.append(
                (np.full(m, position), event[keep], opens[keep], closed[keep], values[keep], first[keep])
            )
        return _updates(parts)

    def _second_edges(self, market: str, position: int, a: int, now_ms: int, opens: I64) -> tuple[I64, I64]:
        """Times of the first and the last trade of each of the seconds `opens`."""
        index, all_times = np.array([position]), [np.empty(0, np.int64)]
        for open_ms in range(a // self._base_ms * self._base_ms, now_ms + 1, self._base_ms):
            row, _ = self._base_row(market, position, open_ms)
            steps = self._steps(market, index, open_ms, row[None, :])
            all_times.append(steps.time[0, : steps.size[0]])
        times = np.concatenate(all_times)
        times = times[times <= now_ms]
        first = np.searchsorted(times, opens, side="left")
        last = np.searchsorted(times, opens + 1000, side="left") - 1
        return times[first], times[last]

    # -- pushes -----------------------------------------------------------------------------------

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
        if interval not in self.intervals(market):
            raise KeyError(interval)
        index = np.asarray(index, dtype=np.int64)
        if INTERVALS_MS[interval] < self._base_ms:
            return self._second_updates(market, index, since_ms, now_ms, close_timer_ms)
        assert close_timer_ms < self._base_ms, "a closing frame is due within the next base bar"
        base, m = self._base_ms, len(index)
        parts = []
        grown, last = np.zeros(m, np.bool_), np.full(m, -1, np.int64)
        live = None
        row, row_first = np.empty((m, 9)), np.empty(m, np.int64)
        for open_ms in range(since_ms // base * base, now_ms + 1, base):
            live = self._live(market, interval, index, open_ms)
            until = min(now_ms, open_ms + base - 1)
            if open_ms == live.bar_ms:
                grown[:] = False
                first_trade = np.where(live.steps.size > 0, live.steps.time[:, 0], _FAR)
                due = np.minimum(first_trade, open_ms + close_timer_ms)
                close = (live.previous[:, 6] > 0) & (since_ms < due) & (due <= until)
                opens = np.full(int(close.sum()), open_ms - INTERVALS_MS[interval])
                parts.append(
                    (index[close], due[close], opens, np.ones(len(opens), np.bool_), live.previous[close],
                     live.previous_first[close])
                )  # fmt: skip
            units, latest, changed = forming(live.steps, since_ms, until)
            grown |= changed
            last = np.where(latest >= 0, latest, last)
            if until == now_ms:
                row, row_first = self._values(market, index, units), live.base_first
        if live is not None and grown.any():
            vs, qs = self._units(market, index)
            total = joined(live.before, row, row_first, vs, qs)
            values, first = bars(total, vs, qs), total.first
            opens = np.full(int(grown.sum()), live.bar_ms)
            still = np.zeros(len(opens), np.bool_)
            parts.append((index[grown], last[grown], opens, still, values[grown], first[grown]))
        out = _updates(parts)
        if len(parts) > 1:
            place = np.empty(int(index.max(initial=-1)) + 1, np.int64)
            place[index] = np.arange(m)
            by = np.argsort(place[out.position], kind="stable")
            position, event, opens, closed, values, first, end = out
            out = Updates(position[by], event[by], opens[by], closed[by], values[by], first[by], end[by])
        return out

    def _live(self, market: str, interval: str, index: I64, open_ms: int) -> _Live:
        """The state of `index` at the base bar at open_ms; the last two are kept and continued."""
        kept = self._lives.setdefault((market, interval), [])
        for live in kept:
            if live.base_ms == open_ms and np.array_equal(live.index, index):
                return live
        bar_ms = floor_open_time(open_ms, interval)
        vs, qs = self._units(market, index)
        earlier = next(
            (x for x in kept if x.base_ms == open_ms - self._base_ms and np.array_equal(x.index, index)), None
        )
        if earlier is not None:
            done = joined(earlier.before, earlier.base, earlier.base_first, vs, qs)
        else:
            done = self._up_to(market, interval, index, open_ms)
        before, previous = (nothing(len(index)), done) if open_ms == bar_ms else (done, nothing(len(index)))
        self._make_ahead(market, index, open_ms)
        base = [self._base_row(market, int(p), open_ms) for p in index]
        values = np.array([row for row, _ in base]).reshape(-1, 9)
        first = np.array([f for _, f in base], dtype=np.int64)
        steps = self._steps(market, index, open_ms, values)
        live = _Live(
            index.copy(),
            open_ms,
            bar_ms,
            before,
            bars(previous, vs, qs),
            previous.first,
            values,
            first,
            steps,
        )
        del kept[:-3]
        kept.append(live)
        return live

    def _make_ahead(self, market: str, index: I64, open_ms: int) -> None:
        """In a day's last hour, makes tomorrow's blocks a few at a time: all at once would delay pushes."""
        turn = (open_ms % DAY_MS - (DAY_MS - _HOUR_MS)) // self._base_ms
        turns = _HOUR_MS // self._base_ms - 1
        if 0 <= turn < turns:
            for position in index[index % turns == turn].tolist():
                self._block(market, position, open_ms // DAY_MS + 1)

    def _up_to(self, market: str, interval: str, index: I64, open_ms: int) -> Sum:
        """The bar of each instrument that the base bar before open_ms is in, up to open_ms."""
        bar_ms = floor_open_time(open_ms - 1, interval)
        out = nothing(len(index))
        split = bar_ms
        if bar_ms % _HOUR_MS == 0:
            split = min(max(bar_ms, open_ms // _HOUR_MS * _HOUR_MS), open_ms)
        for i, position in enumerate(index.tolist()):
            parts = [
                self._gather(market, position, bar_ms, split, hours=True),
                self._gather(market, position, split, open_ms, hours=False),
            ]
            for _, values, first in parts:
                _, vs, qs, _ = self._scales[market][position]
                add_group(out, i, values, first, vs, qs)
        return out

    def _units(self, market: str, index: I64) -> tuple[F64, F64]:
        """Units of volume and of quote volume of the instruments."""
        scales = self._scales[market][index]
        return scales[:, 1].copy(), scales[:, 2].copy()

    def day(self, market: str, index: I64, now_ms: int) -> F64:
        index = np.asarray(index, dtype=np.int64)
        hour = max(_HOUR_MS, self._base_ms)
        this_hour = now_ms // hour * hour
        vs, qs = self._units(market, index)
        kept = self._days.get(market)
        if kept is None or kept[0] != this_hour or not np.array_equal(kept[1], index):
            total = nothing(len(index))
            for i, position in enumerate(index.tolist()):
                _, v, f = self._gather(market, position, this_hour - DAY_MS + hour, this_hour, hours=True)
                add_group(total, i, v, f, vs[i], qs[i])
            kept = (this_hour, index.copy(), total)
            self._days[market] = kept
        interval = "1h" if self._base_ms <= _HOUR_MS else "1d"
        live = self._live(market, interval, index, now_ms // self._base_ms * self._base_ms)
        units, _, _ = forming(live.steps, live.base_ms, now_ms)
        row = self._values(market, index, units)
        total = joined(kept[2], bars(live.before, vs, qs), live.before.first, vs, qs)
        values = bars(joined(total, row, live.base_first, vs, qs), vs, qs)
        for i, position in enumerate(index.tolist()):
            if not self._instruments[market][position].trades_at(now_ms):
                values[i] = np.nan
        return values

    # -- funding ----------------------------------------------------------------------------------

    def funding(self, market: str, symbol: str | None, start_ms: int, end_ms: int) -> Funding:
        rows: list[tuple[int, str, float, float]] = []
        for one in self._instruments[market]:
            if symbol not in (None, one.symbol) or one.funding_hours == 0:
                continue
            every = one.funding_hours * _HOUR_MS
            low = max(start_ms - MAX_LATE_MS, self._data_from_ms(one))
            high = min(x for x in (end_ms, one.delist_ms, self._end_ms) if x is not None)
            for at in range(-(-low // every) * every, high + 1, every):
                rate, late = funding_at(self._seed, one.symbol, at)
                if start_ms <= at + late <= end_ms:
                    rows.append((at + late, one.symbol, rate, self._mark(one, at)))
        rows.sort()
        times, symbols, rates, marks = zip(*rows, strict=True) if rows else ((), (), (), ())
        return Funding(
            list(symbols), np.array(times, dtype=np.int64), np.array(rates, float), np.array(marks, float)
        )

    def premium(self, market: str, symbol: str, now_ms: int) -> Premium:
        one = self._instruments[market][self._position[market][symbol]]
        return premium_at(self._seed, one, self._mark(one, now_ms), now_ms)

    def _mark(self, one: Instrument, at_ms: int) -> float:
        """Mark price: about the last close before at_ms; 0 before there was one."""
        at_ms = min(x for x in (at_ms, self._end_ms, one.delist_ms) if x is not None)
        position = self._position[one.market][one.symbol]
        close = self._close_before(one.market, position, at_ms // self._base_ms * self._base_ms)
        return mark_at(self._seed, one.symbol, close, at_ms)


def _before(ms: int | None) -> int | None:
    return None if ms is None else ms - 1


def _rows(open_time: I64, values: F64, first: I64) -> Rows:
    """Rows with trade ids that follow from the first; (-1, -1) for bars without trades."""
    trades = values[:, 6].astype(np.int64)
    first = np.where(trades > 0, first, -1)
    return Rows(open_time, values, first, np.where(trades > 0, first + trades - 1, -1))


def _updates(parts: list[tuple[I64, I64, I64, Bool, F64, I64]]) -> Updates:
    if not parts:
        none = np.empty(0, np.int64)
        return Updates(none, none, none, np.empty(0, np.bool_), np.empty((0, 9)), none, none)
    position, event, opens, closed, values, first = (np.concatenate(x) for x in zip(*parts, strict=True))
    return Updates(position, event, opens, closed, values, first, first + values[:, 6].astype(np.int64) - 1)


def scales_of(one: Instrument) -> tuple[float, float, float, float]:
    """10**decimals of price, volume and quote volume, and the tick in units of price.

    Decimals that matter are those of tick and step: spot prints 8, but moves on coarser grids."""
    price, volume = decimals_of(one.tick_size), decimals_of(one.step_size)
    if one.market == "spot":
        price, volume = decimals_of(one.tick_size.rstrip("0")), decimals_of(one.step_size.rstrip("0"))
    quote = min(one.quote_precision, price + volume) if one.market != "coinm" else 8
    tick = round(float(one.tick_size) * 10**price)
    return float(POWERS[price]), float(POWERS[volume]), float(POWERS[quote]), float(max(tick, 1))
