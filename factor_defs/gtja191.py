"""GTJA 191: the short-period price-volume factors of Guotai Junan Securities (a broker's report, June 2017).

Each docstring is the formula as it was published, and the tests compute it from there; definitions of parts
follow after a semicolon. Where the printed text cannot be meant so, a second paragraph says what was printed.
Two of the 191 are left out: see `LEFT_OUT`. The words of the formulas:

- RANK is the place among all symbols with a value, divided by their number, equals sharing the mean of their
  places; TSRANK the same within the window. STD and COVIANCE have ddof 1.
- SMA(x, n, m) is exponential with alpha = m / n and begins with the first value; WMA has the weights 0.9^k, k
  bars ago; DECAYLINEAR the weights n, n - 1, ..., 1, the newest heaviest. Weights add up to 1.
- HIGHDAY and LOWDAY are the bars since the highest or lowest of the window: 0 is now; of equals the oldest
  counts. REGBETA(x, SEQUENCE(n)) is the slope on time, per bar. SUMAC is a sum over n bars.
- MAX(x, n) and MIN(x, n) of a series and a number of bars, as printed in 7, 10, 17, 41, 64, 91, 108, 119,
  121, 127, 154, 157, 162 and 164, are TSMAX and TSMIN: so they are in the formulas of WorldQuant from which
  most of these come. With two series they are the greater and the lesser of the bar.
- RET is close / close[1] - 1, VWAP is `fields.vwap`, AMOUNT the quote volume.
- BANCHMARKINDEX... (75, 149, 181, 182) was a stock index. Here it is the symbol that the series `benchmark`
  marks with 1.0: by default BTC's.

A condition is 1.0 or 0.0. A value is NaN until all its windows are full, and while a bar of one is missing
(NaN or infinite, as what was divided by 0 is); SMA goes on without missing bars. A symbol that is no member
of a bar's cross-section misses that bar in every window over ranks. Correlations are NaN where a series does
not vary; those over 2 bars come from the signs of the changes: a rank of them is no rank of roundings. Of
A ? B : C only the chosen one must be there, so 4, 10, 23, 160, 174 and 180 may begin earlier than others.

Prices and volumes enter many factors as they are (14, 43, 70, 81, 126, ...): such values do not compare
across symbols.
"""

import math
from typing import Final

from factor_defs.fields import close, high, low, open_, quote_volume, volume, vwap
from factor_defs.published import Factor
from kernels.cross_section import cs_pick, cs_rank
from kernels.elementwise import absolute, equal, log, maximum, minimum, power, select, sign, sqrt
from kernels.exponential import sma_cn
from kernels.extremes import ts_argmax, ts_argmin, ts_max, ts_min
from kernels.node import Node, field
from kernels.quantiles import ts_rank
from kernels.regression import ts_beta, ts_corr, ts_cov
from kernels.rolling import ts_count, ts_mean, ts_std, ts_sum, ts_sum_if
from kernels.shift import delay, delta, pct_change
from kernels.trend import ts_slope
from kernels.weighted import decay_exp, decay_linear

__all__ = ["FACTORS", "LEFT_OUT", "is_btc", "nodes"]

LEFT_OUT: Final[dict[str, str]] = {
    "gtja30": "WMA(REGRESI(RET, MKT, SMB, HML, 60)^2, 20) needs the factors of Fama and French, which are "
    "made of market capitalisation and book value",
    "gtja143": "CLOSE > DELAY(CLOSE, 1) ? RET * SELF : SELF refers to its own last value and does not say "
    "the first; whatever it is, the product of returns fades to 0",
}
"""Published name to why there is no such factor here."""

is_btc: Final[Node] = field("is_btc")
"""1.0 for the one symbol that the others are measured by (BTC's), else 0.0; the engine supplies it."""

# ---- what several formulas share -------------------------------------------------------------------------

_ret: Final = pct_change(close, 1)
_last_close: Final = delay(close, 1)
_move: Final = delta(close, 1)
_rises: Final = close > _last_close
_falls: Final = close < _last_close
_typical: Final = (high + low + close) / 3.0
_span: Final = high - low
_true_range: Final = maximum(maximum(_span, absolute(_last_close - high)), absolute(_last_close - low))
_hd: Final = delta(high, 1)
_ld: Final = delay(low, 1) - low
_opening: Final = delta(open_, 1)
_dtm: Final = select(open_ <= delay(open_, 1), 0.0, maximum(high - open_, _opening))
_dbm: Final = select(open_ >= delay(open_, 1), 0.0, maximum(open_ - low, _opening))
_within: Final = ((close - low) - (high - close)) / _span
"""Where the close stands between low and high: -1 to 1."""
_signed_volume: Final = select(_rises, volume, select(_falls, -volume, 0.0))
_relative_volume: Final = volume / ts_mean(volume, 20)


def _two_bar_corr(x: Node, y: Node) -> Node:
    """CORR over 2 bars, of the changes of x and y: 1.0 when both went the same way, -1.0 when not, or NaN."""
    way = sign(x) * sign(y)
    return way / absolute(way)


def _off_mean(window: int) -> Node:
    mean = ts_mean(close, window)
    return (close - mean) / mean * 100.0


def _stochastic() -> Node:
    lowest = ts_min(low, 9)
    return (close - lowest) / (ts_max(high, 9) - lowest) * 100.0


def _williams() -> Node:
    highest = ts_max(high, 6)
    return (highest - close) / (highest - ts_min(low, 6)) * 100.0


def _strength(x: Node, n: int) -> Node:
    """Smoothed rises of x by its smoothed moves."""
    change = delta(x, 1)
    return sma_cn(maximum(change, 0.0), n, 1) / sma_cn(absolute(change), n, 1) * 100.0


def _less_than_gap(window: int) -> Node:
    """What of the move is not explained by a gap: of gtja3 and gtja59."""
    gap = select(_rises, minimum(low, _last_close), maximum(high, _last_close))
    return ts_sum(select(equal(close, _last_close), 0.0, close - gap), window)


def _directions() -> tuple[Node, Node]:
    """Rolling sums over 12 bars of moves up and down, of the bar as a whole."""
    here, before = high + low, delay(high, 1) + delay(low, 1)
    move = maximum(absolute(delta(high, 1)), absolute(delta(low, 1)))
    return ts_sum(select(here <= before, 0.0, move), 12), ts_sum(select(here >= before, 0.0, move), 12)


def _swing() -> Node:
    """Welles Wilder's swing index, as the report has it."""
    h, lo, span = absolute(high - _last_close), absolute(low - _last_close), absolute(high - delay(low, 1))
    body = absolute(_last_close - delay(open_, 1)) / 4.0
    scale = select(
        (h > lo) & (h > span),
        h + lo / 2.0 + body,
        select((lo > span) & (lo > h), lo + h / 2.0 + body, span + body),
    )
    numerator = close - _last_close + (close - open_) / 2.0 + _last_close - delay(open_, 1)
    return 16.0 * numerator / scale * maximum(h, lo)


def _directional() -> Node:
    """Smoothed difference of directional movements, in percent: of gtja172 and gtja186."""
    ranges = ts_sum(_true_range, 14)
    down = ts_sum(select((_ld > 0.0) & (_ld > _hd), _ld, 0.0), 14) * 100.0 / ranges
    up = ts_sum(select((_hd > 0.0) & (_hd > _ld), _hd, 0.0), 14) * 100.0 / ranges
    return ts_mean(absolute(down - up) / (down + up) * 100.0, 6)


def _cumulated(window: int) -> Node:
    mean = ts_mean(close, window)
    total = ts_sum(close - mean, window)
    return ts_max(total, window) - ts_min(total, window) / ts_std(close, window)


# ---- 1 to 50 ---------------------------------------------------------------------------------------------


def gtja1() -> Node:
    """Alpha1: (-1 * CORR(RANK(DELTA(LOG(VOLUME), 1)), RANK(((CLOSE - OPEN) / OPEN)), 6))"""
    return -ts_corr(cs_rank(delta(log(volume), 1)), cs_rank((close - open_) / open_), 6)


def gtja2() -> Node:
    """Alpha2: (-1 * DELTA((((CLOSE - LOW) - (HIGH - CLOSE)) / (HIGH - LOW)), 1))"""
    return -delta(_within, 1)


def gtja3() -> Node:
    """Alpha3: SUM((CLOSE = DELAY(CLOSE, 1) ? 0 : CLOSE - (CLOSE > DELAY(CLOSE, 1) ? MIN(LOW, DELAY(CLOSE, 1))
    : MAX(HIGH, DELAY(CLOSE, 1)))), 6)
    """
    return _less_than_gap(6)


def gtja4() -> Node:
    """Alpha4: ((((SUM(CLOSE, 8) / 8) + STD(CLOSE, 8)) < (SUM(CLOSE, 2) / 2)) ? (-1 * 1) : (((SUM(CLOSE, 2) /
    2) < ((SUM(CLOSE, 8) / 8) - STD(CLOSE, 8))) ? 1 : (((1 < (VOLUME / MEAN(VOLUME, 20))) || ((VOLUME /
    MEAN(VOLUME, 20)) = 1)) ? 1 : (-1 * 1))))
    """
    mean, std, last = ts_mean(close, 8), ts_std(close, 8), ts_mean(close, 2)
    by_volume = select(_relative_volume >= 1.0, 1.0, -1.0)
    return select(mean + std < last, -1.0, select(last < mean - std, 1.0, by_volume))


def gtja5() -> Node:
    """Alpha5: (-1 * TSMAX(CORR(TSRANK(VOLUME, 5), TSRANK(HIGH, 5), 5), 3))"""
    return -ts_max(ts_corr(ts_rank(volume, 5), ts_rank(high, 5), 5), 3)


def gtja6() -> Node:
    """Alpha6: (RANK(SIGN(DELTA((((OPEN * 0.85) + (HIGH * 0.15))), 4))) * -1)"""
    return -cs_rank(sign(delta(open_ * 0.85 + high * 0.15, 4)))


def gtja7() -> Node:
    """Alpha7: ((RANK(TSMAX((VWAP - CLOSE), 3)) + RANK(TSMIN((VWAP - CLOSE), 3))) * RANK(DELTA(VOLUME, 3)))"""
    off = vwap - close
    return (cs_rank(ts_max(off, 3)) + cs_rank(ts_min(off, 3))) * cs_rank(delta(volume, 3))


def gtja8() -> Node:
    """Alpha8: RANK(DELTA(((((HIGH + LOW) / 2) * 0.2) + (VWAP * 0.8)), 4) * -1)"""
    return cs_rank(-delta((high + low) / 2.0 * 0.2 + vwap * 0.8, 4))


def gtja9() -> Node:
    """Alpha9: SMA(((HIGH + LOW) / 2 - (DELAY(HIGH, 1) + DELAY(LOW, 1)) / 2) * (HIGH - LOW) / VOLUME, 7, 2)"""
    return sma_cn(delta((high + low) / 2.0, 1) * _span / volume, 7, 2)


def gtja10() -> Node:
    """Alpha10: (RANK(TSMAX(((RET < 0) ? STD(RET, 20) : CLOSE)^2, 5)))"""
    return cs_rank(ts_max(power(select(_ret < 0.0, ts_std(_ret, 20), close), 2.0), 5))


def gtja11() -> Node:
    """Alpha11: SUM(((CLOSE - LOW) - (HIGH - CLOSE)) / (HIGH - LOW) * VOLUME, 6)"""
    return ts_sum(_within * volume, 6)


def gtja12() -> Node:
    """Alpha12: (RANK((OPEN - (SUM(VWAP, 10) / 10)))) * (-1 * (RANK(ABS((CLOSE - VWAP)))))"""
    return cs_rank(open_ - ts_mean(vwap, 10)) * -cs_rank(absolute(close - vwap))


def gtja13() -> Node:
    """Alpha13: (((HIGH * LOW)^0.5) - VWAP)"""
    return sqrt(high * low) - vwap


def gtja14() -> Node:
    """Alpha14: CLOSE - DELAY(CLOSE, 5)"""
    return delta(close, 5)


def gtja15() -> Node:
    """Alpha15: OPEN / DELAY(CLOSE, 1) - 1"""
    return open_ / _last_close - 1.0


def gtja16() -> Node:
    """Alpha16: (-1 * TSMAX(RANK(CORR(RANK(VOLUME), RANK(VWAP), 5)), 5))"""
    return -ts_max(cs_rank(ts_corr(cs_rank(volume), cs_rank(vwap), 5)), 5)


def gtja17() -> Node:
    """Alpha17: RANK((VWAP - TSMAX(VWAP, 15)))^DELTA(CLOSE, 5)"""
    return power(cs_rank(vwap - ts_max(vwap, 15)), delta(close, 5))


def gtja18() -> Node:
    """Alpha18: CLOSE / DELAY(CLOSE, 5)"""
    return close / delay(close, 5)


def gtja19() -> Node:
    """Alpha19: (CLOSE < DELAY(CLOSE, 5) ? (CLOSE - DELAY(CLOSE, 5)) / DELAY(CLOSE, 5) : (CLOSE = DELAY(CLOSE,
    5) ? 0 : (CLOSE - DELAY(CLOSE, 5)) / CLOSE))
    """
    before, change = delay(close, 5), delta(close, 5)
    return select(close < before, change / before, select(equal(close, before), 0.0, change / close))


def gtja20() -> Node:
    """Alpha20: (CLOSE - DELAY(CLOSE, 6)) / DELAY(CLOSE, 6) * 100"""
    return pct_change(close, 6) * 100.0


def gtja21() -> Node:
    """Alpha21: REGBETA(MEAN(CLOSE, 6), SEQUENCE(6))"""
    return ts_slope(ts_mean(close, 6), 6)


def gtja22() -> Node:
    """Alpha22: SMA(((CLOSE - MEAN(CLOSE, 6)) / MEAN(CLOSE, 6) - DELAY((CLOSE - MEAN(CLOSE, 6)) / MEAN(CLOSE,
    6), 3)), 12, 1)

    Printed: SMEAN for SMA.
    """
    mean = ts_mean(close, 6)
    return sma_cn(delta((close - mean) / mean, 3), 12, 1)


def gtja23() -> Node:
    """Alpha23: SMA((CLOSE > DELAY(CLOSE, 1) ? STD(CLOSE, 20) : 0), 20, 1) / (SMA((CLOSE > DELAY(CLOSE, 1) ?
    STD(CLOSE, 20) : 0), 20, 1) + SMA((CLOSE <= DELAY(CLOSE, 1) ? STD(CLOSE, 20) : 0), 20, 1)) * 100
    """
    up, down = gtja174(), gtja160()
    return up / (up + down) * 100.0


def gtja24() -> Node:
    """Alpha24: SMA(CLOSE - DELAY(CLOSE, 5), 5, 1)"""
    return sma_cn(delta(close, 5), 5, 1)


def gtja25() -> Node:
    """Alpha25: ((-1 * RANK((DELTA(CLOSE, 7) * (1 - RANK(DECAYLINEAR((VOLUME / MEAN(VOLUME, 20)), 9)))))) * (1
    + RANK(SUM(RET, 250))))
    """
    quiet = 1.0 - cs_rank(decay_linear(_relative_volume, 9))
    return -cs_rank(delta(close, 7) * quiet) * (1.0 + cs_rank(ts_sum(_ret, 250)))


def gtja26() -> Node:
    """Alpha26: ((((SUM(CLOSE, 7) / 7) - CLOSE)) + ((CORR(VWAP, DELAY(CLOSE, 5), 230))))"""
    return (ts_mean(close, 7) - close) + ts_corr(vwap, delay(close, 5), 230)


def gtja27() -> Node:
    """Alpha27: WMA((CLOSE - DELAY(CLOSE, 3)) / DELAY(CLOSE, 3) * 100 + (CLOSE - DELAY(CLOSE, 6)) /
    DELAY(CLOSE, 6) * 100, 12)
    """
    return decay_exp(pct_change(close, 3) * 100.0 + pct_change(close, 6) * 100.0, 12, 0.9)


def gtja28() -> Node:
    """Alpha28: 3 * SMA((CLOSE - TSMIN(LOW, 9)) / (TSMAX(HIGH, 9) - TSMIN(LOW, 9)) * 100, 3, 1) - 2 *
    SMA(SMA((CLOSE - TSMIN(LOW, 9)) / (TSMAX(HIGH, 9) - TSMIN(LOW, 9)) * 100, 3, 1), 3, 1)

    J of KDJ. Printed: MAX(HIGH, 9) - TSMAX(LOW, 9) in the second denominator.
    """
    k = gtja57()
    return 3.0 * k - 2.0 * sma_cn(k, 3, 1)


def gtja29() -> Node:
    """Alpha29: (CLOSE - DELAY(CLOSE, 6)) / DELAY(CLOSE, 6) * VOLUME"""
    return pct_change(close, 6) * volume


def gtja31() -> Node:
    """Alpha31: (CLOSE - MEAN(CLOSE, 12)) / MEAN(CLOSE, 12) * 100"""
    return _off_mean(12)


def gtja32() -> Node:
    """Alpha32: (-1 * SUM(RANK(CORR(RANK(HIGH), RANK(VOLUME), 3)), 3))"""
    return -ts_sum(cs_rank(ts_corr(cs_rank(high), cs_rank(volume), 3)), 3)


def gtja33() -> Node:
    """Alpha33: ((((-1 * TSMIN(LOW, 5)) + DELAY(TSMIN(LOW, 5), 5)) * RANK(((SUM(RET, 240) - SUM(RET, 20)) /
    220))) * TSRANK(VOLUME, 5))
    """
    trend = cs_rank((ts_sum(_ret, 240) - ts_sum(_ret, 20)) / 220.0)
    return -delta(ts_min(low, 5), 5) * trend * ts_rank(volume, 5)


def gtja34() -> Node:
    """Alpha34: MEAN(CLOSE, 12) / CLOSE"""
    return ts_mean(close, 12) / close


def gtja35() -> Node:
    """Alpha35: (MIN(RANK(DECAYLINEAR(DELTA(OPEN, 1), 15)), RANK(DECAYLINEAR(CORR((VOLUME), ((OPEN * 0.65) +
    (OPEN * 0.35)), 17), 7))) * -1)
    """
    moves = cs_rank(decay_linear(_opening, 15))
    return -minimum(moves, cs_rank(decay_linear(ts_corr(volume, open_, 17), 7)))


def gtja36() -> Node:
    """Alpha36: RANK(SUM(CORR(RANK(VOLUME), RANK(VWAP), 6), 2))

    Printed: the parentheses of CORR and SUM closed one number too early.
    """
    return cs_rank(ts_sum(ts_corr(cs_rank(volume), cs_rank(vwap), 6), 2))


def gtja37() -> Node:
    """Alpha37: (-1 * RANK(((SUM(OPEN, 5) * SUM(RET, 5)) - DELAY((SUM(OPEN, 5) * SUM(RET, 5)), 10))))"""
    return -cs_rank(delta(ts_sum(open_, 5) * ts_sum(_ret, 5), 10))


def gtja38() -> Node:
    """Alpha38: (((SUM(HIGH, 20) / 20) < HIGH) ? (-1 * DELTA(HIGH, 2)) : 0)"""
    return select(ts_mean(high, 20) < high, -delta(high, 2), 0.0)


def gtja39() -> Node:
    """Alpha39: ((RANK(DECAYLINEAR(DELTA((CLOSE), 2), 8)) - RANK(DECAYLINEAR(CORR(((VWAP * 0.3) + (OPEN *
    0.7)), SUM(MEAN(VOLUME, 180), 37), 14), 12))) * -1)
    """
    traded = ts_sum(ts_mean(volume, 180), 37)
    with_volume = cs_rank(decay_linear(ts_corr(vwap * 0.3 + open_ * 0.7, traded, 14), 12))
    return with_volume - cs_rank(decay_linear(delta(close, 2), 8))


def gtja40() -> Node:
    """Alpha40: SUM((CLOSE > DELAY(CLOSE, 1) ? VOLUME : 0), 26) / SUM((CLOSE <= DELAY(CLOSE, 1) ? VOLUME : 0),
    26) * 100
    """
    return ts_sum_if(volume, _rises, 26) / ts_sum_if(volume, close <= _last_close, 26) * 100.0


def gtja41() -> Node:
    """Alpha41: (RANK(TSMAX(DELTA((VWAP), 3), 5)) * -1)"""
    return -cs_rank(ts_max(delta(vwap, 3), 5))


def gtja42() -> Node:
    """Alpha42: ((-1 * RANK(STD(HIGH, 10))) * CORR(HIGH, VOLUME, 10))"""
    return -cs_rank(ts_std(high, 10)) * ts_corr(high, volume, 10)


def gtja43() -> Node:
    """Alpha43: SUM((CLOSE > DELAY(CLOSE, 1) ? VOLUME : (CLOSE < DELAY(CLOSE, 1) ? -VOLUME : 0)), 6)"""
    return ts_sum(_signed_volume, 6)


def gtja44() -> Node:
    """Alpha44: (TSRANK(DECAYLINEAR(CORR(((LOW)), MEAN(VOLUME, 10), 7), 6), 4) +
    TSRANK(DECAYLINEAR(DELTA((VWAP), 3), 10), 15))
    """
    with_volume = ts_rank(decay_linear(ts_corr(low, ts_mean(volume, 10), 7), 6), 4)
    return with_volume + ts_rank(decay_linear(delta(vwap, 3), 10), 15)


def gtja45() -> Node:
    """Alpha45: (RANK(DELTA((((CLOSE * 0.6) + (OPEN * 0.4))), 1)) * RANK(CORR(VWAP, MEAN(VOLUME, 150),
    15)))
    """
    moves = cs_rank(delta(close * 0.6 + open_ * 0.4, 1))
    return moves * cs_rank(ts_corr(vwap, ts_mean(volume, 150), 15))


def gtja46() -> Node:
    """Alpha46: (MEAN(CLOSE, 3) + MEAN(CLOSE, 6) + MEAN(CLOSE, 12) + MEAN(CLOSE, 24)) / (4 * CLOSE)"""
    return gtja153() / close


def gtja47() -> Node:
    """Alpha47: SMA((TSMAX(HIGH, 6) - CLOSE) / (TSMAX(HIGH, 6) - TSMIN(LOW, 6)) * 100, 9, 1)"""
    return sma_cn(_williams(), 9, 1)


def gtja48() -> Node:
    """Alpha48: (-1 * ((RANK(((SIGN((CLOSE - DELAY(CLOSE, 1))) + SIGN((DELAY(CLOSE, 1) - DELAY(CLOSE, 2)))) +
    SIGN((DELAY(CLOSE, 2) - DELAY(CLOSE, 3)))))) * SUM(VOLUME, 5)) / SUM(VOLUME, 20))
    """
    way = sign(_move)
    run = cs_rank(way + delay(way, 1) + delay(way, 2))
    return -(run * ts_sum(volume, 5)) / ts_sum(volume, 20)


def gtja49() -> Node:
    """Alpha49: SUM(DOWN, 12) / (SUM(DOWN, 12) + SUM(UP, 12)); DOWN = ((HIGH + LOW) >= (DELAY(HIGH, 1) +
    DELAY(LOW, 1)) ? 0 : MAX(ABS(HIGH - DELAY(HIGH, 1)), ABS(LOW - DELAY(LOW, 1)))); UP = ((HIGH + LOW) <=
    (DELAY(HIGH, 1) + DELAY(LOW, 1)) ? 0 : MAX(ABS(HIGH - DELAY(HIGH, 1)), ABS(LOW - DELAY(LOW, 1))))
    """
    up, down = _directions()
    return down / (down + up)


def gtja50() -> Node:
    """Alpha50: SUM(UP, 12) / (SUM(UP, 12) + SUM(DOWN, 12)) - SUM(DOWN, 12) / (SUM(DOWN, 12) + SUM(UP, 12));
    DOWN = ((HIGH + LOW) >= (DELAY(HIGH, 1) + DELAY(LOW, 1)) ? 0 : MAX(ABS(HIGH - DELAY(HIGH, 1)), ABS(LOW -
    DELAY(LOW, 1)))); UP = ((HIGH + LOW) <= (DELAY(HIGH, 1) + DELAY(LOW, 1)) ? 0 : MAX(ABS(HIGH - DELAY(HIGH,
    1)), ABS(LOW - DELAY(LOW, 1))))
    """
    return gtja51() - gtja49()


# ---- 51 to 100 -------------------------------------------------------------------------------------------


def gtja51() -> Node:
    """Alpha51: SUM(UP, 12) / (SUM(UP, 12) + SUM(DOWN, 12)); DOWN = ((HIGH + LOW) >= (DELAY(HIGH, 1) +
    DELAY(LOW, 1)) ? 0 : MAX(ABS(HIGH - DELAY(HIGH, 1)), ABS(LOW - DELAY(LOW, 1)))); UP = ((HIGH + LOW) <=
    (DELAY(HIGH, 1) + DELAY(LOW, 1)) ? 0 : MAX(ABS(HIGH - DELAY(HIGH, 1)), ABS(LOW - DELAY(LOW, 1))))
    """
    up, down = _directions()
    return up / (down + up)


def gtja52() -> Node:
    """Alpha52: SUM(MAX(0, HIGH - DELAY((HIGH + LOW + CLOSE) / 3, 1)), 26) / SUM(MAX(0, DELAY((HIGH + LOW +
    CLOSE) / 3, 1) - LOW), 26) * 100
    """
    before = delay(_typical, 1)
    above, below = maximum(0.0, high - before), maximum(0.0, before - low)
    return ts_sum(above, 26) / ts_sum(below, 26) * 100.0


def gtja53() -> Node:
    """Alpha53: COUNT(CLOSE > DELAY(CLOSE, 1), 12) / 12 * 100"""
    return ts_count(_rises, 12) / 12.0 * 100.0


def gtja54() -> Node:
    """Alpha54: (-1 * RANK((STD(ABS(CLOSE - OPEN), 10) + (CLOSE - OPEN)) + CORR(CLOSE, OPEN, 10)))

    Printed: STD without its number of bars; CORR's is taken.
    """
    body = close - open_
    return -cs_rank(ts_std(absolute(body), 10) + body + ts_corr(close, open_, 10))


def gtja55() -> Node:
    """Alpha55: SUM(16 * (CLOSE - DELAY(CLOSE, 1) + (CLOSE - OPEN) / 2 + DELAY(CLOSE, 1) - DELAY(OPEN, 1)) /
    ((H > L & H > S ? H + L / 2 + B / 4 : (L > S & L > H ? L + H / 2 + B / 4 : S + B / 4))) * MAX(H, L), 20);
    H = ABS(HIGH - DELAY(CLOSE, 1)); L = ABS(LOW - DELAY(CLOSE, 1)); S = ABS(HIGH - DELAY(LOW, 1)); B =
    ABS(DELAY(CLOSE, 1) - DELAY(OPEN, 1))
    """
    return ts_sum(_swing(), 20)


def gtja56() -> Node:
    """Alpha56: (RANK((OPEN - TSMIN(OPEN, 12))) < RANK((RANK(CORR(SUM(((HIGH + LOW) / 2), 19),
    SUM(MEAN(VOLUME, 40), 19), 13))^5)))
    """
    # The fifth power of a rank has its order: RANK(RANK(x)^5) is RANK(x).
    with_volume = ts_corr(ts_sum((high + low) / 2.0, 19), ts_sum(ts_mean(volume, 40), 19), 13)
    return cs_rank(open_ - ts_min(open_, 12)) < cs_rank(with_volume)


def gtja57() -> Node:
    """Alpha57: SMA((CLOSE - TSMIN(LOW, 9)) / (TSMAX(HIGH, 9) - TSMIN(LOW, 9)) * 100, 3, 1)"""
    return sma_cn(_stochastic(), 3, 1)


def gtja58() -> Node:
    """Alpha58: COUNT(CLOSE > DELAY(CLOSE, 1), 20) / 20 * 100"""
    return ts_count(_rises, 20) / 20.0 * 100.0


def gtja59() -> Node:
    """Alpha59: SUM((CLOSE = DELAY(CLOSE, 1) ? 0 : CLOSE - (CLOSE > DELAY(CLOSE, 1) ? MIN(LOW, DELAY(CLOSE,
    1)) : MAX(HIGH, DELAY(CLOSE, 1)))), 20)
    """
    return _less_than_gap(20)


def gtja60() -> Node:
    """Alpha60: SUM(((CLOSE - LOW) - (HIGH - CLOSE)) / (HIGH - LOW) * VOLUME, 20)"""
    return ts_sum(_within * volume, 20)


def gtja61() -> Node:
    """Alpha61: (MAX(RANK(DECAYLINEAR(DELTA(VWAP, 1), 12)), RANK(DECAYLINEAR(RANK(CORR((LOW), MEAN(VOLUME,
    80), 8)), 17))) * -1)
    """
    with_volume = cs_rank(decay_linear(cs_rank(ts_corr(low, ts_mean(volume, 80), 8)), 17))
    return -maximum(cs_rank(decay_linear(delta(vwap, 1), 12)), with_volume)


def gtja62() -> Node:
    """Alpha62: (-1 * CORR(HIGH, RANK(VOLUME), 5))"""
    return -ts_corr(high, cs_rank(volume), 5)


def gtja63() -> Node:
    """Alpha63: SMA(MAX(CLOSE - DELAY(CLOSE, 1), 0), 6, 1) / SMA(ABS(CLOSE - DELAY(CLOSE, 1)), 6, 1) * 100"""
    return _strength(close, 6)


def gtja64() -> Node:
    """Alpha64: (MAX(RANK(DECAYLINEAR(CORR(RANK(VWAP), RANK(VOLUME), 4), 4)),
    RANK(DECAYLINEAR(TSMAX(CORR(RANK(CLOSE), RANK(MEAN(VOLUME, 60)), 4), 13), 14))) * -1)
    """
    now = cs_rank(decay_linear(ts_corr(cs_rank(vwap), cs_rank(volume), 4), 4))
    mean = ts_corr(cs_rank(close), cs_rank(ts_mean(volume, 60)), 4)
    return -maximum(now, cs_rank(decay_linear(ts_max(mean, 13), 14)))


def gtja65() -> Node:
    """Alpha65: MEAN(CLOSE, 6) / CLOSE"""
    return ts_mean(close, 6) / close


def gtja66() -> Node:
    """Alpha66: (CLOSE - MEAN(CLOSE, 6)) / MEAN(CLOSE, 6) * 100"""
    return _off_mean(6)


def gtja67() -> Node:
    """Alpha67: SMA(MAX(CLOSE - DELAY(CLOSE, 1), 0), 24, 1) / SMA(ABS(CLOSE - DELAY(CLOSE, 1)), 24, 1) *
    100
    """
    return _strength(close, 24)


def gtja68() -> Node:
    """Alpha68: SMA(((HIGH + LOW) / 2 - (DELAY(HIGH, 1) + DELAY(LOW, 1)) / 2) * (HIGH - LOW) / VOLUME,
    15, 2)
    """
    return sma_cn(delta((high + low) / 2.0, 1) * _span / volume, 15, 2)


def gtja69() -> Node:
    """Alpha69: (SUM(DTM, 20) > SUM(DBM, 20) ? (SUM(DTM, 20) - SUM(DBM, 20)) / SUM(DTM, 20) : (SUM(DTM, 20) =
    SUM(DBM, 20) ? 0 : (SUM(DTM, 20) - SUM(DBM, 20)) / SUM(DBM, 20))); DTM = (OPEN <= DELAY(OPEN, 1) ? 0 :
    MAX((HIGH - OPEN), (OPEN - DELAY(OPEN, 1)))); DBM = (OPEN >= DELAY(OPEN, 1) ? 0 : MAX((OPEN - LOW), (OPEN
    - DELAY(OPEN, 1))))
    """
    up, down = ts_sum(_dtm, 20), ts_sum(_dbm, 20)
    return select(up > down, (up - down) / up, select(equal(up, down), 0.0, (up - down) / down))


def gtja70() -> Node:
    """Alpha70: STD(AMOUNT, 6)"""
    return ts_std(quote_volume, 6)


def gtja71() -> Node:
    """Alpha71: (CLOSE - MEAN(CLOSE, 24)) / MEAN(CLOSE, 24) * 100"""
    return _off_mean(24)


def gtja72() -> Node:
    """Alpha72: SMA((TSMAX(HIGH, 6) - CLOSE) / (TSMAX(HIGH, 6) - TSMIN(LOW, 6)) * 100, 15, 1)"""
    return sma_cn(_williams(), 15, 1)


def gtja73() -> Node:
    """Alpha73: ((TSRANK(DECAYLINEAR(DECAYLINEAR(CORR((CLOSE), VOLUME, 10), 16), 4), 5) -
    RANK(DECAYLINEAR(CORR(VWAP, MEAN(VOLUME, 30), 4), 3))) * -1)
    """
    smooth = ts_rank(decay_linear(decay_linear(ts_corr(close, volume, 10), 16), 4), 5)
    return cs_rank(decay_linear(ts_corr(vwap, ts_mean(volume, 30), 4), 3)) - smooth


def gtja74() -> Node:
    """Alpha74: (RANK(CORR(SUM(((LOW * 0.35) + (VWAP * 0.65)), 20), SUM(MEAN(VOLUME, 40), 20), 7)) +
    RANK(CORR(RANK(VWAP), RANK(VOLUME), 6)))
    """
    sums = ts_corr(ts_sum(low * 0.35 + vwap * 0.65, 20), ts_sum(ts_mean(volume, 40), 20), 7)
    return cs_rank(sums) + cs_rank(ts_corr(cs_rank(vwap), cs_rank(volume), 6))


def gtja75(benchmark: Node = is_btc) -> Node:
    """Alpha75: COUNT(CLOSE > OPEN & BANCHMARKINDEXCLOSE < BANCHMARKINDEXOPEN, 50) / COUNT(BANCHMARKINDEXCLOSE
    < BANCHMARKINDEXOPEN, 50)
    """
    falls = cs_pick(close, benchmark) < cs_pick(open_, benchmark)
    return ts_count((close > open_) & falls, 50) / ts_count(falls, 50)


def gtja76() -> Node:
    """Alpha76: STD(ABS((CLOSE / DELAY(CLOSE, 1) - 1)) / VOLUME, 20) / MEAN(ABS((CLOSE / DELAY(CLOSE, 1) - 1))
    / VOLUME, 20)
    """
    per_volume = absolute(_ret) / volume
    return ts_std(per_volume, 20) / ts_mean(per_volume, 20)


def gtja77() -> Node:
    """Alpha77: MIN(RANK(DECAYLINEAR(((((HIGH + LOW) / 2) + HIGH) - (VWAP + HIGH)), 20)),
    RANK(DECAYLINEAR(CORR(((HIGH + LOW) / 2), MEAN(VOLUME, 40), 3), 6)))
    """
    middle = (high + low) / 2.0
    with_volume = cs_rank(decay_linear(ts_corr(middle, ts_mean(volume, 40), 3), 6))
    return minimum(cs_rank(decay_linear(middle - vwap, 20)), with_volume)


def gtja78() -> Node:
    """Alpha78: ((HIGH + LOW + CLOSE) / 3 - MEAN((HIGH + LOW + CLOSE) / 3, 12)) / (0.015 * MEAN(ABS(CLOSE -
    MEAN((HIGH + LOW + CLOSE) / 3, 12)), 12))

    Printed: MA for the first MEAN.
    """
    mean = ts_mean(_typical, 12)
    return (_typical - mean) / (0.015 * ts_mean(absolute(close - mean), 12))


def gtja79() -> Node:
    """Alpha79: SMA(MAX(CLOSE - DELAY(CLOSE, 1), 0), 12, 1) / SMA(ABS(CLOSE - DELAY(CLOSE, 1)), 12, 1) *
    100
    """
    return _strength(close, 12)


def gtja80() -> Node:
    """Alpha80: (VOLUME - DELAY(VOLUME, 5)) / DELAY(VOLUME, 5) * 100"""
    return pct_change(volume, 5) * 100.0


def gtja81() -> Node:
    """Alpha81: SMA(VOLUME, 21, 2)"""
    return sma_cn(volume, 21, 2)


def gtja82() -> Node:
    """Alpha82: SMA((TSMAX(HIGH, 6) - CLOSE) / (TSMAX(HIGH, 6) - TSMIN(LOW, 6)) * 100, 20, 1)"""
    return sma_cn(_williams(), 20, 1)


def gtja83() -> Node:
    """Alpha83: (-1 * RANK(COVIANCE(RANK(HIGH), RANK(VOLUME), 5)))"""
    return -cs_rank(ts_cov(cs_rank(high), cs_rank(volume), 5))


def gtja84() -> Node:
    """Alpha84: SUM((CLOSE > DELAY(CLOSE, 1) ? VOLUME : (CLOSE < DELAY(CLOSE, 1) ? -VOLUME : 0)), 20)"""
    return ts_sum(_signed_volume, 20)


def gtja85() -> Node:
    """Alpha85: (TSRANK((VOLUME / MEAN(VOLUME, 20)), 20) * TSRANK((-1 * DELTA(CLOSE, 7)), 8))"""
    return ts_rank(_relative_volume, 20) * ts_rank(-delta(close, 7), 8)


def gtja86() -> Node:
    """Alpha86: ((0.25 < (((DELAY(CLOSE, 20) - DELAY(CLOSE, 10)) / 10) - ((DELAY(CLOSE, 10) - CLOSE) / 10))) ?
    (-1 * 1) : (((((DELAY(CLOSE, 20) - DELAY(CLOSE, 10)) / 10) - ((DELAY(CLOSE, 10) - CLOSE) / 10)) < 0) ? 1 :
    ((-1 * 1) * (CLOSE - DELAY(CLOSE, 1)))))
    """
    middle = delay(close, 10)
    bend = (delay(close, 20) - middle) / 10.0 - (middle - close) / 10.0
    return select(bend > 0.25, -1.0, select(bend < 0.0, 1.0, -_move))


def gtja87() -> Node:
    """Alpha87: ((RANK(DECAYLINEAR(DELTA(VWAP, 4), 7)) + TSRANK(DECAYLINEAR(((((LOW * 0.9) + (LOW * 0.1)) -
    VWAP) / (OPEN - ((HIGH + LOW) / 2))), 11), 7)) * -1)
    """
    off = (low - vwap) / (open_ - (high + low) / 2.0)
    return -(cs_rank(decay_linear(delta(vwap, 4), 7)) + ts_rank(decay_linear(off, 11), 7))


def gtja88() -> Node:
    """Alpha88: (CLOSE - DELAY(CLOSE, 20)) / DELAY(CLOSE, 20) * 100"""
    return pct_change(close, 20) * 100.0


def gtja89() -> Node:
    """Alpha89: 2 * (SMA(CLOSE, 13, 2) - SMA(CLOSE, 27, 2) - SMA(SMA(CLOSE, 13, 2) - SMA(CLOSE, 27, 2), 10,
    2))
    """
    apart = sma_cn(close, 13, 2) - sma_cn(close, 27, 2)
    return 2.0 * (apart - sma_cn(apart, 10, 2))


def gtja90() -> Node:
    """Alpha90: (RANK(CORR(RANK(VWAP), RANK(VOLUME), 5)) * -1)"""
    return -cs_rank(ts_corr(cs_rank(vwap), cs_rank(volume), 5))


def gtja91() -> Node:
    """Alpha91: ((RANK((CLOSE - TSMAX(CLOSE, 5))) * RANK(CORR((MEAN(VOLUME, 40)), LOW, 5))) * -1)"""
    return -(cs_rank(close - ts_max(close, 5)) * cs_rank(ts_corr(ts_mean(volume, 40), low, 5)))


def gtja92() -> Node:
    """Alpha92: (MAX(RANK(DECAYLINEAR(DELTA(((CLOSE * 0.35) + (VWAP * 0.65)), 2), 3)),
    TSRANK(DECAYLINEAR(ABS(CORR((MEAN(VOLUME, 180)), CLOSE, 13)), 5), 15)) * -1)
    """
    moves = cs_rank(decay_linear(delta(close * 0.35 + vwap * 0.65, 2), 3))
    with_volume = absolute(ts_corr(ts_mean(volume, 180), close, 13))
    return -maximum(moves, ts_rank(decay_linear(with_volume, 5), 15))


def gtja93() -> Node:
    """Alpha93: SUM((OPEN >= DELAY(OPEN, 1) ? 0 : MAX((OPEN - LOW), (OPEN - DELAY(OPEN, 1)))), 20)"""
    return ts_sum(_dbm, 20)


def gtja94() -> Node:
    """Alpha94: SUM((CLOSE > DELAY(CLOSE, 1) ? VOLUME : (CLOSE < DELAY(CLOSE, 1) ? -VOLUME : 0)), 30)"""
    return ts_sum(_signed_volume, 30)


def gtja95() -> Node:
    """Alpha95: STD(AMOUNT, 20)"""
    return ts_std(quote_volume, 20)


def gtja96() -> Node:
    """Alpha96: SMA(SMA((CLOSE - TSMIN(LOW, 9)) / (TSMAX(HIGH, 9) - TSMIN(LOW, 9)) * 100, 3, 1), 3, 1)"""
    return sma_cn(gtja57(), 3, 1)


def gtja97() -> Node:
    """Alpha97: STD(VOLUME, 10)"""
    return ts_std(volume, 10)


def gtja98() -> Node:
    """Alpha98: ((((DELTA((SUM(CLOSE, 100) / 100), 100) / DELAY(CLOSE, 100)) < 0.05) || ((DELTA((SUM(CLOSE,
    100) / 100), 100) / DELAY(CLOSE, 100)) = 0.05)) ? (-1 * (CLOSE - TSMIN(CLOSE, 100))) : (-1 * DELTA(CLOSE,
    3)))
    """
    slow = delta(ts_mean(close, 100), 100) / delay(close, 100) <= 0.05
    return select(slow, ts_min(close, 100) - close, -delta(close, 3))


def gtja99() -> Node:
    """Alpha99: (-1 * RANK(COVIANCE(RANK(CLOSE), RANK(VOLUME), 5)))"""
    return -cs_rank(ts_cov(cs_rank(close), cs_rank(volume), 5))


def gtja100() -> Node:
    """Alpha100: STD(VOLUME, 20)"""
    return ts_std(volume, 20)


# ---- 101 to 150 ------------------------------------------------------------------------------------------


def gtja101() -> Node:
    """Alpha101: ((RANK(CORR(CLOSE, SUM(MEAN(VOLUME, 30), 37), 15)) < RANK(CORR(RANK(((HIGH * 0.1) + (VWAP *
    0.9))), RANK(VOLUME), 11))) * -1)
    """
    long = cs_rank(ts_corr(close, ts_sum(ts_mean(volume, 30), 37), 15))
    return -(long < cs_rank(ts_corr(cs_rank(high * 0.1 + vwap * 0.9), cs_rank(volume), 11)))


def gtja102() -> Node:
    """Alpha102: SMA(MAX(VOLUME - DELAY(VOLUME, 1), 0), 6, 1) / SMA(ABS(VOLUME - DELAY(VOLUME, 1)), 6, 1) *
    100
    """
    return _strength(volume, 6)


def gtja103() -> Node:
    """Alpha103: ((20 - LOWDAY(LOW, 20)) / 20) * 100"""
    return ts_argmin(low, 20) / 20.0 * 100.0  # 20 at the newest bar


def gtja104() -> Node:
    """Alpha104: (-1 * (DELTA(CORR(HIGH, VOLUME, 5), 5) * RANK(STD(CLOSE, 20))))"""
    return -(delta(ts_corr(high, volume, 5), 5) * cs_rank(ts_std(close, 20)))


def gtja105() -> Node:
    """Alpha105: (-1 * CORR(RANK(OPEN), RANK(VOLUME), 10))"""
    return -ts_corr(cs_rank(open_), cs_rank(volume), 10)


def gtja106() -> Node:
    """Alpha106: CLOSE - DELAY(CLOSE, 20)"""
    return delta(close, 20)


def gtja107() -> Node:
    """Alpha107: (((-1 * RANK((OPEN - DELAY(HIGH, 1)))) * RANK((OPEN - DELAY(CLOSE, 1)))) * RANK((OPEN -
    DELAY(LOW, 1))))
    """
    above = -cs_rank(open_ - delay(high, 1))
    return above * cs_rank(open_ - _last_close) * cs_rank(open_ - delay(low, 1))


def gtja108() -> Node:
    """Alpha108: ((RANK((HIGH - TSMIN(HIGH, 2)))^RANK(CORR((VWAP), (MEAN(VOLUME, 120)), 6))) * -1)"""
    rise = cs_rank(high - ts_min(high, 2))
    return -power(rise, cs_rank(ts_corr(vwap, ts_mean(volume, 120), 6)))


def gtja109() -> Node:
    """Alpha109: SMA(HIGH - LOW, 10, 2) / SMA(SMA(HIGH - LOW, 10, 2), 10, 2)"""
    smooth = sma_cn(_span, 10, 2)
    return smooth / sma_cn(smooth, 10, 2)


def gtja110() -> Node:
    """Alpha110: SUM(MAX(0, HIGH - DELAY(CLOSE, 1)), 20) / SUM(MAX(0, DELAY(CLOSE, 1) - LOW), 20) * 100"""
    above, below = maximum(0.0, high - _last_close), maximum(0.0, _last_close - low)
    return ts_sum(above, 20) / ts_sum(below, 20) * 100.0


def gtja111() -> Node:
    """Alpha111: SMA(VOLUME * ((CLOSE - LOW) - (HIGH - CLOSE)) / (HIGH - LOW), 11, 2) - SMA(VOLUME * ((CLOSE -
    LOW) - (HIGH - CLOSE)) / (HIGH - LOW), 4, 2)
    """
    flow = _within * volume
    return sma_cn(flow, 11, 2) - sma_cn(flow, 4, 2)


def gtja112() -> Node:
    """Alpha112: (SUM((CLOSE - DELAY(CLOSE, 1) > 0 ? CLOSE - DELAY(CLOSE, 1) : 0), 12) - SUM((CLOSE -
    DELAY(CLOSE, 1) < 0 ? ABS(CLOSE - DELAY(CLOSE, 1)) : 0), 12)) / (SUM((CLOSE - DELAY(CLOSE, 1) > 0 ? CLOSE
    - DELAY(CLOSE, 1) : 0), 12) + SUM((CLOSE - DELAY(CLOSE, 1) < 0 ? ABS(CLOSE - DELAY(CLOSE, 1)) : 0), 12)) *
    100
    """
    up, down = gtja167(), gtja129()
    return (up - down) / (up + down) * 100.0


def gtja113() -> Node:
    """Alpha113: (-1 * ((RANK((SUM(DELAY(CLOSE, 5), 20) / 20)) * CORR(CLOSE, VOLUME, 2)) *
    RANK(CORR(SUM(CLOSE, 5), SUM(CLOSE, 20), 2))))
    """
    level = cs_rank(ts_mean(delay(close, 5), 20))
    # How sums of 5 and of 20 bars change. A price is above 0: the sign is 1, or NaN where a sum misses a bar.
    sums = _two_bar_corr(delta(close, 5), delta(close, 20)) * sign(ts_min(close, 21))
    return -(level * _two_bar_corr(_move, delta(volume, 1)) * cs_rank(sums))


def gtja114() -> Node:
    """Alpha114: ((RANK(DELAY(((HIGH - LOW) / (SUM(CLOSE, 5) / 5)), 2)) * RANK(RANK(VOLUME))) / (((HIGH - LOW)
    / (SUM(CLOSE, 5) / 5)) / (VWAP - CLOSE)))
    """
    width = _span / ts_mean(close, 5)
    return cs_rank(delay(width, 2)) * cs_rank(volume) / (width / (vwap - close))


def gtja115() -> Node:
    """Alpha115: (RANK(CORR(((HIGH * 0.9) + (CLOSE * 0.1)), MEAN(VOLUME, 30), 10))^RANK(CORR(TSRANK(((HIGH +
    LOW) / 2), 4), TSRANK(VOLUME, 10), 7)))
    """
    with_mean = cs_rank(ts_corr(high * 0.9 + close * 0.1, ts_mean(volume, 30), 10))
    return power(with_mean, cs_rank(ts_corr(ts_rank((high + low) / 2.0, 4), ts_rank(volume, 10), 7)))


def gtja116() -> Node:
    """Alpha116: REGBETA(CLOSE, SEQUENCE(20))

    Printed: REGBETA(CLOSE, SEQUENCE, 20).
    """
    return ts_slope(close, 20)


def gtja117() -> Node:
    """Alpha117: ((TSRANK(VOLUME, 32) * (1 - TSRANK(((CLOSE + HIGH) - LOW), 16))) * (1 - TSRANK(RET, 32)))"""
    low_price = 1.0 - ts_rank(close + high - low, 16)
    return ts_rank(volume, 32) * low_price * (1.0 - ts_rank(_ret, 32))


def gtja118() -> Node:
    """Alpha118: SUM(HIGH - OPEN, 20) / SUM(OPEN - LOW, 20) * 100"""
    return ts_sum(high - open_, 20) / ts_sum(open_ - low, 20) * 100.0


def gtja119() -> Node:
    """Alpha119: (RANK(DECAYLINEAR(CORR(VWAP, SUM(MEAN(VOLUME, 5), 26), 5), 7)) -
    RANK(DECAYLINEAR(TSRANK(TSMIN(CORR(RANK(OPEN), RANK(MEAN(VOLUME, 15)), 21), 9), 7), 8)))
    """
    sums = cs_rank(decay_linear(ts_corr(vwap, ts_sum(ts_mean(volume, 5), 26), 5), 7))
    lowest = ts_min(ts_corr(cs_rank(open_), cs_rank(ts_mean(volume, 15)), 21), 9)
    return sums - cs_rank(decay_linear(ts_rank(lowest, 7), 8))


def gtja120() -> Node:
    """Alpha120: (RANK((VWAP - CLOSE)) / RANK((VWAP + CLOSE)))"""
    return cs_rank(vwap - close) / cs_rank(vwap + close)


def gtja121() -> Node:
    """Alpha121: ((RANK((VWAP - TSMIN(VWAP, 12)))^TSRANK(CORR(TSRANK(VWAP, 20), TSRANK(MEAN(VOLUME, 60), 2),
    18), 3)) * -1)
    """
    with_volume = ts_corr(ts_rank(vwap, 20), ts_rank(ts_mean(volume, 60), 2), 18)
    return -power(cs_rank(vwap - ts_min(vwap, 12)), ts_rank(with_volume, 3))


def gtja122() -> Node:
    """Alpha122: (SMA(SMA(SMA(LOG(CLOSE), 13, 2), 13, 2), 13, 2) - DELAY(SMA(SMA(SMA(LOG(CLOSE), 13, 2), 13,
    2), 13, 2), 1)) / DELAY(SMA(SMA(SMA(LOG(CLOSE), 13, 2), 13, 2), 13, 2), 1)
    """
    return pct_change(_triple_log(), 1)


def _triple_log() -> Node:
    return sma_cn(sma_cn(sma_cn(log(close), 13, 2), 13, 2), 13, 2)


def gtja123() -> Node:
    """Alpha123: ((RANK(CORR(SUM(((HIGH + LOW) / 2), 20), SUM(MEAN(VOLUME, 60), 20), 9)) < RANK(CORR(LOW,
    VOLUME, 6))) * -1)
    """
    sums = ts_corr(ts_sum((high + low) / 2.0, 20), ts_sum(ts_mean(volume, 60), 20), 9)
    return -(cs_rank(sums) < cs_rank(ts_corr(low, volume, 6)))


def gtja124() -> Node:
    """Alpha124: (CLOSE - VWAP) / DECAYLINEAR(RANK(TSMAX(CLOSE, 30)), 2)"""
    return (close - vwap) / decay_linear(cs_rank(ts_max(close, 30)), 2)


def gtja125() -> Node:
    """Alpha125: (RANK(DECAYLINEAR(CORR((VWAP), MEAN(VOLUME, 80), 17), 20)) / RANK(DECAYLINEAR(DELTA(((CLOSE *
    0.5) + (VWAP * 0.5)), 3), 16)))
    """
    with_volume = cs_rank(decay_linear(ts_corr(vwap, ts_mean(volume, 80), 17), 20))
    return with_volume / cs_rank(decay_linear(delta(close * 0.5 + vwap * 0.5, 3), 16))


def gtja126() -> Node:
    """Alpha126: (CLOSE + HIGH + LOW) / 3"""
    return _typical


def gtja127() -> Node:
    """Alpha127: (MEAN((100 * (CLOSE - TSMAX(CLOSE, 12)) / (TSMAX(CLOSE, 12)))^2, 12))^(1 / 2)

    Printed: MEAN without its number of bars; TSMAX's is taken.
    """
    highest = ts_max(close, 12)
    return sqrt(ts_mean(power(100.0 * (close - highest) / highest, 2.0), 12))


def gtja128() -> Node:
    """Alpha128: 100 - (100 / (1 + SUM(((HIGH + LOW + CLOSE) / 3 > DELAY((HIGH + LOW + CLOSE) / 3, 1) ? (HIGH
    + LOW + CLOSE) / 3 * VOLUME : 0), 14) / SUM(((HIGH + LOW + CLOSE) / 3 < DELAY((HIGH + LOW + CLOSE) / 3, 1)
    ? (HIGH + LOW + CLOSE) / 3 * VOLUME : 0), 14)))
    """
    before, flow = delay(_typical, 1), _typical * volume
    up = ts_sum(select(_typical > before, flow, 0.0), 14)
    return 100.0 - 100.0 / (1.0 + up / ts_sum(select(_typical < before, flow, 0.0), 14))


def gtja129() -> Node:
    """Alpha129: SUM((CLOSE - DELAY(CLOSE, 1) < 0 ? ABS(CLOSE - DELAY(CLOSE, 1)) : 0), 12)"""
    return ts_sum(select(_move < 0.0, absolute(_move), 0.0), 12)


def gtja130() -> Node:
    """Alpha130: (RANK(DECAYLINEAR(CORR(((HIGH + LOW) / 2), MEAN(VOLUME, 40), 9), 10)) /
    RANK(DECAYLINEAR(CORR(RANK(VWAP), RANK(VOLUME), 7), 3)))
    """
    with_mean = cs_rank(decay_linear(ts_corr((high + low) / 2.0, ts_mean(volume, 40), 9), 10))
    return with_mean / cs_rank(decay_linear(ts_corr(cs_rank(vwap), cs_rank(volume), 7), 3))


def gtja131() -> Node:
    """Alpha131: (RANK(DELTA(VWAP, 1))^TSRANK(CORR(CLOSE, MEAN(VOLUME, 50), 18), 18))"""
    return power(cs_rank(delta(vwap, 1)), ts_rank(ts_corr(close, ts_mean(volume, 50), 18), 18))


def gtja132() -> Node:
    """Alpha132: MEAN(AMOUNT, 20)"""
    return ts_mean(quote_volume, 20)


def gtja133() -> Node:
    """Alpha133: ((20 - HIGHDAY(HIGH, 20)) / 20) * 100 - ((20 - LOWDAY(LOW, 20)) / 20) * 100"""
    return gtja177() - gtja103()


def gtja134() -> Node:
    """Alpha134: (CLOSE - DELAY(CLOSE, 12)) / DELAY(CLOSE, 12) * VOLUME"""
    return pct_change(close, 12) * volume


def gtja135() -> Node:
    """Alpha135: SMA(DELAY(CLOSE / DELAY(CLOSE, 20), 1), 20, 1)"""
    return sma_cn(delay(close / delay(close, 20), 1), 20, 1)


def gtja136() -> Node:
    """Alpha136: ((-1 * RANK(DELTA(RET, 3))) * CORR(OPEN, VOLUME, 10))"""
    return -cs_rank(delta(_ret, 3)) * ts_corr(open_, volume, 10)


def gtja137() -> Node:
    """Alpha137: 16 * (CLOSE - DELAY(CLOSE, 1) + (CLOSE - OPEN) / 2 + DELAY(CLOSE, 1) - DELAY(OPEN, 1)) / ((H
    > L & H > S ? H + L / 2 + B / 4 : (L > S & L > H ? L + H / 2 + B / 4 : S + B / 4))) * MAX(H, L); H =
    ABS(HIGH - DELAY(CLOSE, 1)); L = ABS(LOW - DELAY(CLOSE, 1)); S = ABS(HIGH - DELAY(LOW, 1)); B =
    ABS(DELAY(CLOSE, 1) - DELAY(OPEN, 1))
    """
    return _swing()


def gtja138() -> Node:
    """Alpha138: ((RANK(DECAYLINEAR(DELTA((((LOW * 0.7) + (VWAP * 0.3))), 3), 20)) -
    TSRANK(DECAYLINEAR(TSRANK(CORR(TSRANK(LOW, 8), TSRANK(MEAN(VOLUME, 60), 17), 5), 19), 16), 7)) * -1)
    """
    with_volume = ts_corr(ts_rank(low, 8), ts_rank(ts_mean(volume, 60), 17), 5)
    smooth = ts_rank(decay_linear(ts_rank(with_volume, 19), 16), 7)
    return smooth - cs_rank(decay_linear(delta(low * 0.7 + vwap * 0.3, 3), 20))


def gtja139() -> Node:
    """Alpha139: (-1 * CORR(OPEN, VOLUME, 10))"""
    return -ts_corr(open_, volume, 10)


def gtja140() -> Node:
    """Alpha140: MIN(RANK(DECAYLINEAR(((RANK(OPEN) + RANK(LOW)) - (RANK(HIGH) + RANK(CLOSE))), 8)),
    TSRANK(DECAYLINEAR(CORR(TSRANK(CLOSE, 8), TSRANK(MEAN(VOLUME, 60), 20), 8), 7), 3))
    """
    ranks = (cs_rank(open_) + cs_rank(low)) - (cs_rank(high) + cs_rank(close))
    with_volume = ts_corr(ts_rank(close, 8), ts_rank(ts_mean(volume, 60), 20), 8)
    return minimum(cs_rank(decay_linear(ranks, 8)), ts_rank(decay_linear(with_volume, 7), 3))


def gtja141() -> Node:
    """Alpha141: (RANK(CORR(RANK(HIGH), RANK(MEAN(VOLUME, 15)), 9)) * -1)"""
    return -cs_rank(ts_corr(cs_rank(high), cs_rank(ts_mean(volume, 15)), 9))


def gtja142() -> Node:
    """Alpha142: (((-1 * RANK(TSRANK(CLOSE, 10))) * RANK(DELTA(DELTA(CLOSE, 1), 1))) * RANK(TSRANK((VOLUME /
    MEAN(VOLUME, 20)), 5)))
    """
    turn = -cs_rank(ts_rank(close, 10)) * cs_rank(delta(_move, 1))
    return turn * cs_rank(ts_rank(_relative_volume, 5))


def gtja144() -> Node:
    """Alpha144: SUMIF(ABS(CLOSE / DELAY(CLOSE, 1) - 1) / AMOUNT, 20, CLOSE < DELAY(CLOSE, 1)) / COUNT(CLOSE <
    DELAY(CLOSE, 1), 20)
    """
    return ts_sum_if(absolute(_ret) / quote_volume, _falls, 20) / ts_count(_falls, 20)


def gtja145() -> Node:
    """Alpha145: (MEAN(VOLUME, 9) - MEAN(VOLUME, 26)) / MEAN(VOLUME, 12) * 100"""
    return (ts_mean(volume, 9) - ts_mean(volume, 26)) / ts_mean(volume, 12) * 100.0


def gtja146() -> Node:
    """Alpha146: MEAN(RET - SMA(RET, 61, 2), 20) * (RET - SMA(RET, 61, 2)) / SMA((RET - (RET - SMA(RET, 61,
    2)))^2, 60, 2)

    Printed: the last SMA without its third number; that of the others is taken.
    """
    smooth = sma_cn(_ret, 61, 2)
    off = _ret - smooth
    return ts_mean(off, 20) * off / sma_cn(power(_ret - off, 2.0), 60, 2)


def gtja147() -> Node:
    """Alpha147: REGBETA(MEAN(CLOSE, 12), SEQUENCE(12))"""
    return ts_slope(ts_mean(close, 12), 12)


def gtja148() -> Node:
    """Alpha148: ((RANK(CORR((OPEN), SUM(MEAN(VOLUME, 60), 9), 6)) < RANK((OPEN - TSMIN(OPEN, 14)))) * -1)"""
    with_volume = cs_rank(ts_corr(open_, ts_sum(ts_mean(volume, 60), 9), 6))
    return -(with_volume < cs_rank(open_ - ts_min(open_, 14)))


def gtja149(benchmark: Node = is_btc) -> Node:
    """Alpha149: REGBETA(FILTER(CLOSE / DELAY(CLOSE, 1) - 1, BANCHMARKINDEXCLOSE < DELAY(BANCHMARKINDEXCLOSE,
    1)), FILTER(BANCHMARKINDEXCLOSE / DELAY(BANCHMARKINDEXCLOSE, 1) - 1, BANCHMARKINDEXCLOSE <
    DELAY(BANCHMARKINDEXCLOSE, 1)), 252)

    The slope over those of the last 252 bars in which the benchmark fell; NaN unless there are two.
    """
    index = cs_pick(close, benchmark)
    falls = index < delay(index, 1)
    own, its = select(falls, _ret, math.nan), select(falls, pct_change(index, 1), math.nan)
    return select(ts_count(falls, 252) >= 2.0, ts_beta(own, its, 252, min_periods=2), math.nan)


def gtja150() -> Node:
    """Alpha150: (CLOSE + HIGH + LOW) / 3 * VOLUME"""
    return _typical * volume


# ---- 151 to 191 ------------------------------------------------------------------------------------------


def gtja151() -> Node:
    """Alpha151: SMA(CLOSE - DELAY(CLOSE, 20), 20, 1)"""
    return sma_cn(delta(close, 20), 20, 1)


def gtja152() -> Node:
    """Alpha152: SMA(MEAN(DELAY(SMA(DELAY(CLOSE / DELAY(CLOSE, 9), 1), 9, 1), 1), 12) -
    MEAN(DELAY(SMA(DELAY(CLOSE / DELAY(CLOSE, 9), 1), 9, 1), 1), 26), 9, 1)
    """
    smooth = delay(sma_cn(delay(close / delay(close, 9), 1), 9, 1), 1)
    return sma_cn(ts_mean(smooth, 12) - ts_mean(smooth, 26), 9, 1)


def gtja153() -> Node:
    """Alpha153: (MEAN(CLOSE, 3) + MEAN(CLOSE, 6) + MEAN(CLOSE, 12) + MEAN(CLOSE, 24)) / 4"""
    return (ts_mean(close, 3) + ts_mean(close, 6) + ts_mean(close, 12) + ts_mean(close, 24)) / 4.0


def gtja154() -> Node:
    """Alpha154: (((VWAP - TSMIN(VWAP, 16))) < (CORR(VWAP, MEAN(VOLUME, 180), 18)))"""
    return vwap - ts_min(vwap, 16) < ts_corr(vwap, ts_mean(volume, 180), 18)


def gtja155() -> Node:
    """Alpha155: SMA(VOLUME, 13, 2) - SMA(VOLUME, 27, 2) - SMA(SMA(VOLUME, 13, 2) - SMA(VOLUME, 27, 2),
    10, 2)
    """
    apart = sma_cn(volume, 13, 2) - sma_cn(volume, 27, 2)
    return apart - sma_cn(apart, 10, 2)


def gtja156() -> Node:
    """Alpha156: (MAX(RANK(DECAYLINEAR(DELTA(VWAP, 5), 3)), RANK(DECAYLINEAR(((DELTA(((OPEN * 0.15) + (LOW *
    0.85)), 2) / ((OPEN * 0.15) + (LOW * 0.85))) * -1), 3))) * -1)
    """
    price = open_ * 0.15 + low * 0.85
    fall = cs_rank(decay_linear(-(delta(price, 2) / price), 3))
    return -maximum(cs_rank(decay_linear(delta(vwap, 5), 3)), fall)


def gtja157() -> Node:
    """Alpha157: (TSMIN(PROD(RANK(RANK(LOG(SUM(TSMIN(RANK(RANK((-1 * RANK(DELTA((CLOSE - 1), 5))))), 2),
    1)))), 1), 5) + TSRANK(DELAY((-1 * RET), 6), 5))
    """
    # Ranks of ranks, sums and products of one bar, the logarithm below a rank and the 1 less in both closes
    # change nothing; but of prices like 1e-7 the 1 would leave no digit.
    falls = cs_rank(ts_min(cs_rank(-delta(close, 5)), 2))
    return ts_min(falls, 5) + ts_rank(delay(-_ret, 6), 5)


def gtja158() -> Node:
    """Alpha158: ((HIGH - SMA(CLOSE, 15, 2)) - (LOW - SMA(CLOSE, 15, 2))) / CLOSE"""
    smooth = sma_cn(close, 15, 2)
    return ((high - smooth) - (low - smooth)) / close


def gtja159() -> Node:
    """Alpha159: ((CLOSE - SUM(L, 6)) / SUM(H - L, 6) * 12 * 24 + (CLOSE - SUM(L, 12)) / SUM(H - L, 12) * 6 *
    24 + (CLOSE - SUM(L, 24)) / SUM(H - L, 24) * 6 * 24) * 100 / (6 * 12 + 6 * 24 + 12 * 24); L = MIN(LOW,
    DELAY(CLOSE, 1)); H = MAX(HIGH, DELAY(CLOSE, 1))

    Printed: HGIH for HIGH. The third weight, 6 * 24, is as printed.
    """
    bottom, top = minimum(low, _last_close), maximum(high, _last_close)

    def part(window: int) -> Node:
        return (close - ts_sum(bottom, window)) / ts_sum(top - bottom, window)

    return (part(6) * 288.0 + part(12) * 144.0 + part(24) * 144.0) * (100.0 / 504.0)


def gtja160() -> Node:
    """Alpha160: SMA((CLOSE <= DELAY(CLOSE, 1) ? STD(CLOSE, 20) : 0), 20, 1)"""
    return sma_cn(select(close <= _last_close, ts_std(close, 20), 0.0), 20, 1)


def gtja161() -> Node:
    """Alpha161: MEAN(MAX(MAX((HIGH - LOW), ABS(DELAY(CLOSE, 1) - HIGH)), ABS(DELAY(CLOSE, 1) - LOW)), 12)"""
    return ts_mean(_true_range, 12)


def gtja162() -> Node:
    """Alpha162: (RSI - TSMIN(RSI, 12)) / (TSMAX(RSI, 12) - TSMIN(RSI, 12)); RSI = SMA(MAX(CLOSE -
    DELAY(CLOSE, 1), 0), 12, 1) / SMA(ABS(CLOSE - DELAY(CLOSE, 1)), 12, 1) * 100
    """
    strength = _strength(close, 12)
    lowest = ts_min(strength, 12)
    return (strength - lowest) / (ts_max(strength, 12) - lowest)


def gtja163() -> Node:
    """Alpha163: RANK(((((-1 * RET) * MEAN(VOLUME, 20)) * VWAP) * (HIGH - CLOSE)))"""
    return cs_rank(-_ret * ts_mean(volume, 20) * vwap * (high - close))


def gtja164() -> Node:
    """Alpha164: SMA(((CLOSE > DELAY(CLOSE, 1) ? 1 / (CLOSE - DELAY(CLOSE, 1)) : 1) - TSMIN((CLOSE >
    DELAY(CLOSE, 1) ? 1 / (CLOSE - DELAY(CLOSE, 1)) : 1), 12)) / (HIGH - LOW) * 100, 13, 2)
    """
    inverse = select(_rises, 1.0 / _move, 1.0)
    return sma_cn((inverse - ts_min(inverse, 12)) / _span * 100.0, 13, 2)


def gtja165() -> Node:
    """Alpha165: TSMAX(SUMAC(CLOSE - MEAN(CLOSE, 48), 48), 48) - TSMIN(SUMAC(CLOSE - MEAN(CLOSE, 48), 48), 48)
    / STD(CLOSE, 48)

    Printed: MAX, MIN and SUMAC without numbers of bars; MEAN's is taken. Operators bind as printed.
    """
    return _cumulated(48)


def gtja166() -> Node:
    """Alpha166: -20 * (20 - 1)^1.5 * SUM(CLOSE / DELAY(CLOSE, 1) - 1 - MEAN(CLOSE / DELAY(CLOSE, 1) - 1, 20),
    20) / ((20 - 1) * (20 - 2) * (SUM(MEAN(CLOSE / DELAY(CLOSE, 1), 20)^2, 20))^1.5)

    Printed: (CLOSE / DELAY(CLOSE, 1), 20)^2 without a name for what is done over 20 bars.
    """
    off = ts_sum(_ret - ts_mean(_ret, 20), 20)
    scale = power(ts_sum(power(ts_mean(close / _last_close, 20), 2.0), 20), 1.5)
    return -20.0 * math.pow(19.0, 1.5) * off / (19.0 * 18.0 * scale)


def gtja167() -> Node:
    """Alpha167: SUM((CLOSE - DELAY(CLOSE, 1) > 0 ? CLOSE - DELAY(CLOSE, 1) : 0), 12)"""
    return ts_sum(select(_move > 0.0, _move, 0.0), 12)


def gtja168() -> Node:
    """Alpha168: (-1 * VOLUME / MEAN(VOLUME, 20))"""
    return -_relative_volume


def gtja169() -> Node:
    """Alpha169: SMA(MEAN(DELAY(SMA(CLOSE - DELAY(CLOSE, 1), 9, 1), 1), 12) - MEAN(DELAY(SMA(CLOSE -
    DELAY(CLOSE, 1), 9, 1), 1), 26), 10, 1)
    """
    smooth = delay(sma_cn(_move, 9, 1), 1)
    return sma_cn(ts_mean(smooth, 12) - ts_mean(smooth, 26), 10, 1)


def gtja170() -> Node:
    """Alpha170: ((((RANK((1 / CLOSE)) * VOLUME) / MEAN(VOLUME, 20)) * ((HIGH * RANK((HIGH - CLOSE))) /
    (SUM(HIGH, 5) / 5))) - RANK((VWAP - DELAY(VWAP, 5))))
    """
    cheap = cs_rank(1.0 / close) * volume / ts_mean(volume, 20)
    above = high * cs_rank(high - close) / ts_mean(high, 5)
    return cheap * above - cs_rank(delta(vwap, 5))


def gtja171() -> Node:
    """Alpha171: ((-1 * ((LOW - CLOSE) * (OPEN^5))) / ((CLOSE - HIGH) * (CLOSE^5)))"""
    # One power of a ratio: OPEN^5 of a coin at 1e-9 is lost, and its place is the same.
    return -(low - close) / (close - high) * power(open_ / close, 5.0)


def gtja172() -> Node:
    """Alpha172: MEAN(ABS(SUM((LD > 0 & LD > HD) ? LD : 0, 14) * 100 / SUM(TR, 14) - SUM((HD > 0 & HD > LD) ?
    HD : 0, 14) * 100 / SUM(TR, 14)) / (SUM((LD > 0 & LD > HD) ? LD : 0, 14) * 100 / SUM(TR, 14) + SUM((HD > 0
    & HD > LD) ? HD : 0, 14) * 100 / SUM(TR, 14)) * 100, 6); HD = HIGH - DELAY(HIGH, 1); LD = DELAY(LOW, 1) -
    LOW; TR = MAX(MAX(HIGH - LOW, ABS(HIGH - DELAY(CLOSE, 1))), ABS(LOW - DELAY(CLOSE, 1)))
    """
    return _directional()


def gtja173() -> Node:
    """Alpha173: 3 * SMA(CLOSE, 13, 2) - 2 * SMA(SMA(CLOSE, 13, 2), 13, 2) + SMA(SMA(SMA(LOG(CLOSE), 13, 2),
    13, 2), 13, 2)
    """
    smooth = sma_cn(close, 13, 2)
    return 3.0 * smooth - 2.0 * sma_cn(smooth, 13, 2) + _triple_log()


def gtja174() -> Node:
    """Alpha174: SMA((CLOSE > DELAY(CLOSE, 1) ? STD(CLOSE, 20) : 0), 20, 1)"""
    return sma_cn(select(_rises, ts_std(close, 20), 0.0), 20, 1)


def gtja175() -> Node:
    """Alpha175: MEAN(MAX(MAX((HIGH - LOW), ABS(DELAY(CLOSE, 1) - HIGH)), ABS(DELAY(CLOSE, 1) - LOW)), 6)"""
    return ts_mean(_true_range, 6)


def gtja176() -> Node:
    """Alpha176: CORR(RANK(((CLOSE - TSMIN(LOW, 12)) / (TSMAX(HIGH, 12) - TSMIN(LOW, 12)))),
    RANK(VOLUME), 6)
    """
    lowest = ts_min(low, 12)
    place = (close - lowest) / (ts_max(high, 12) - lowest)
    return ts_corr(cs_rank(place), cs_rank(volume), 6)


def gtja177() -> Node:
    """Alpha177: ((20 - HIGHDAY(HIGH, 20)) / 20) * 100"""
    return ts_argmax(high, 20) / 20.0 * 100.0  # 20 at the newest bar


def gtja178() -> Node:
    """Alpha178: (CLOSE - DELAY(CLOSE, 1)) / DELAY(CLOSE, 1) * VOLUME"""
    return _ret * volume


def gtja179() -> Node:
    """Alpha179: (RANK(CORR(VWAP, VOLUME, 4)) * RANK(CORR(RANK(LOW), RANK(MEAN(VOLUME, 50)), 12)))"""
    with_mean = cs_rank(ts_corr(cs_rank(low), cs_rank(ts_mean(volume, 50)), 12))
    return cs_rank(ts_corr(vwap, volume, 4)) * with_mean


def gtja180() -> Node:
    """Alpha180: ((MEAN(VOLUME, 20) < VOLUME) ? ((-1 * TSRANK(ABS(DELTA(CLOSE, 7)), 60)) * SIGN(DELTA(CLOSE,
    7))) : (-1 * VOLUME))

    Printed: the colon within the parentheses of what stands before it.
    """
    change = delta(close, 7)
    return select(ts_mean(volume, 20) < volume, -ts_rank(absolute(change), 60) * sign(change), -volume)


def gtja181(benchmark: Node = is_btc) -> Node:
    """Alpha181: SUM(((CLOSE / DELAY(CLOSE, 1) - 1) - MEAN((CLOSE / DELAY(CLOSE, 1) - 1), 20)) -
    (BANCHMARKINDEXCLOSE - MEAN(BANCHMARKINDEXCLOSE, 20))^2, 20) / SUM((BANCHMARKINDEXCLOSE -
    MEAN(BANCHMARKINDEXCLOSE, 20))^3, 20)

    Printed: the last SUM without its number of bars; that of the others is taken.
    """
    index = cs_pick(close, benchmark)
    off = index - ts_mean(index, 20)
    squared = power(off, 2.0)
    return ts_sum((_ret - ts_mean(_ret, 20)) - squared, 20) / ts_sum(squared * off, 20)


def gtja182(benchmark: Node = is_btc) -> Node:
    """Alpha182: COUNT((CLOSE > OPEN & BANCHMARKINDEXCLOSE > BANCHMARKINDEXOPEN) || (CLOSE < OPEN &
    BANCHMARKINDEXCLOSE < BANCHMARKINDEXOPEN), 20) / 20
    """
    first, last = cs_pick(open_, benchmark), cs_pick(close, benchmark)
    together = ((close > open_) & (last > first)) | ((close < open_) & (last < first))
    return ts_count(together, 20) / 20.0


def gtja183() -> Node:
    """Alpha183: TSMAX(SUMAC(CLOSE - MEAN(CLOSE, 24), 24), 24) - TSMIN(SUMAC(CLOSE - MEAN(CLOSE, 24), 24), 24)
    / STD(CLOSE, 24)

    Printed: MAX, MIN and SUMAC without numbers of bars; MEAN's is taken. Operators bind as printed.
    """
    return _cumulated(24)


def gtja184() -> Node:
    """Alpha184: (RANK(CORR(DELAY((OPEN - CLOSE), 1), CLOSE, 200)) + RANK((OPEN - CLOSE)))"""
    body = open_ - close
    return cs_rank(ts_corr(delay(body, 1), close, 200)) + cs_rank(body)


def gtja185() -> Node:
    """Alpha185: RANK((-1 * ((1 - (OPEN / CLOSE))^2)))"""
    return cs_rank(-power(1.0 - open_ / close, 2.0))


def gtja186() -> Node:
    """Alpha186: (MEAN(DX, 6) + DELAY(MEAN(DX, 6), 6)) / 2; DX = ABS(SUM((LD > 0 & LD > HD) ? LD : 0, 14) *
    100 / SUM(TR, 14) - SUM((HD > 0 & HD > LD) ? HD : 0, 14) * 100 / SUM(TR, 14)) / (SUM((LD > 0 & LD > HD) ?
    LD : 0, 14) * 100 / SUM(TR, 14) + SUM((HD > 0 & HD > LD) ? HD : 0, 14) * 100 / SUM(TR, 14)) * 100; HD =
    HIGH - DELAY(HIGH, 1); LD = DELAY(LOW, 1) - LOW; TR = MAX(MAX(HIGH - LOW, ABS(HIGH - DELAY(CLOSE, 1))),
    ABS(LOW - DELAY(CLOSE, 1)))
    """
    smooth = _directional()
    return (smooth + delay(smooth, 6)) / 2.0


def gtja187() -> Node:
    """Alpha187: SUM((OPEN <= DELAY(OPEN, 1) ? 0 : MAX((HIGH - OPEN), (OPEN - DELAY(OPEN, 1)))), 20)"""
    return ts_sum(_dtm, 20)


def gtja188() -> Node:
    """Alpha188: ((HIGH - LOW - SMA(HIGH - LOW, 11, 2)) / SMA(HIGH - LOW, 11, 2)) * 100"""
    smooth = sma_cn(_span, 11, 2)
    return (_span - smooth) / smooth * 100.0


def gtja189() -> Node:
    """Alpha189: MEAN(ABS(CLOSE - MEAN(CLOSE, 6)), 6)"""
    return ts_mean(absolute(close - ts_mean(close, 6)), 6)


def gtja190() -> Node:
    """Alpha190: LOG((COUNT(RET > G, 20) - 1) * SUMIF((RET - G)^2, 20, RET < G) / (COUNT(RET < G, 20) *
    SUMIF((RET - G)^2, 20, RET > G))); G = (CLOSE / DELAY(CLOSE, 19))^(1 / 20) - 1

    Printed: parentheses around G missing in the first of the two differences.
    """
    even = power(close / delay(close, 19), 1.0 / 20.0) - 1.0
    above, below, squared = _ret > even, _ret < even, power(_ret - even, 2.0)
    up = ts_count(below, 20) * ts_sum_if(squared, above, 20)
    return log((ts_count(above, 20) - 1.0) * ts_sum_if(squared, below, 20) / up)


def gtja191() -> Node:
    """Alpha191: ((CORR(MEAN(VOLUME, 20), LOW, 5) + ((HIGH + LOW) / 2)) - CLOSE)"""
    return ts_corr(ts_mean(volume, 20), low, 5) + (high + low) / 2.0 - close


# ---- the list --------------------------------------------------------------------------------------------

FACTORS: Final[dict[str, Factor]] = {
    make.__name__: make
    for make in (
        gtja1,
        gtja2,
        gtja3,
        gtja4,
        gtja5,
        gtja6,
        gtja7,
        gtja8,
        gtja9,
        gtja10,
        gtja11,
        gtja12,
        gtja13,
        gtja14,
        gtja15,
        gtja16,
        gtja17,
        gtja18,
        gtja19,
        gtja20,
        gtja21,
        gtja22,
        gtja23,
        gtja24,
        gtja25,
        gtja26,
        gtja27,
        gtja28,
        gtja29,
        gtja31,
        gtja32,
        gtja33,
        gtja34,
        gtja35,
        gtja36,
        gtja37,
        gtja38,
        gtja39,
        gtja40,
        gtja41,
        gtja42,
        gtja43,
        gtja44,
        gtja45,
        gtja46,
        gtja47,
        gtja48,
        gtja49,
        gtja50,
        gtja51,
        gtja52,
        gtja53,
        gtja54,
        gtja55,
        gtja56,
        gtja57,
        gtja58,
        gtja59,
        gtja60,
        gtja61,
        gtja62,
        gtja63,
        gtja64,
        gtja65,
        gtja66,
        gtja67,
        gtja68,
        gtja69,
        gtja70,
        gtja71,
        gtja72,
        gtja73,
        gtja74,
        gtja75,
        gtja76,
        gtja77,
        gtja78,
        gtja79,
        gtja80,
        gtja81,
        gtja82,
        gtja83,
        gtja84,
        gtja85,
        gtja86,
        gtja87,
        gtja88,
        gtja89,
        gtja90,
        gtja91,
        gtja92,
        gtja93,
        gtja94,
        gtja95,
        gtja96,
        gtja97,
        gtja98,
        gtja99,
        gtja100,
        gtja101,
        gtja102,
        gtja103,
        gtja104,
        gtja105,
        gtja106,
        gtja107,
        gtja108,
        gtja109,
        gtja110,
        gtja111,
        gtja112,
        gtja113,
        gtja114,
        gtja115,
        gtja116,
        gtja117,
        gtja118,
        gtja119,
        gtja120,
        gtja121,
        gtja122,
        gtja123,
        gtja124,
        gtja125,
        gtja126,
        gtja127,
        gtja128,
        gtja129,
        gtja130,
        gtja131,
        gtja132,
        gtja133,
        gtja134,
        gtja135,
        gtja136,
        gtja137,
        gtja138,
        gtja139,
        gtja140,
        gtja141,
        gtja142,
        gtja144,
        gtja145,
        gtja146,
        gtja147,
        gtja148,
        gtja149,
        gtja150,
        gtja151,
        gtja152,
        gtja153,
        gtja154,
        gtja155,
        gtja156,
        gtja157,
        gtja158,
        gtja159,
        gtja160,
        gtja161,
        gtja162,
        gtja163,
        gtja164,
        gtja165,
        gtja166,
        gtja167,
        gtja168,
        gtja169,
        gtja170,
        gtja171,
        gtja172,
        gtja173,
        gtja174,
        gtja175,
        gtja176,
        gtja177,
        gtja178,
        gtja179,
        gtja180,
        gtja181,
        gtja182,
        gtja183,
        gtja184,
        gtja185,
        gtja186,
        gtja187,
        gtja188,
        gtja189,
        gtja190,
        gtja191,
    )
}
"""gtja1 to gtja191, without those of `LEFT_OUT`."""


def nodes(benchmark: Node = is_btc) -> dict[str, Node]:
    """All 189, with the same benchmark for all of them: 1.0 for the symbol that is the benchmark."""
    made = {}
    for name, make in FACTORS.items():
        node = make(benchmark) if name in _AGAINST_BENCHMARK else make()
        assert isinstance(node, Node)
        made[name] = node
    return made


_AGAINST_BENCHMARK: Final = ("gtja75", "gtja149", "gtja181", "gtja182")
