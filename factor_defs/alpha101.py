"""Alpha101: the 101 formulas of Zura Kakushadze, "101 Formulaic Alphas" (arXiv:1601.00991), appendix A.

Each docstring is the published formula, and the tests compute it from there. What the paper leaves open:

- rank is the place among all symbols with a value, divided by their number, equals sharing the mean of their
  places; ts_rank the same within the window. ts_argmax and ts_argmin count from the oldest bar, 1, to the
  newest; of equals the oldest counts. min and max of a series and a number are ts_min and ts_max, of two
  series the lesser and the greater of the bar. stddev and covariance have ddof 1. x^y of a negative x is NaN
  unless y is whole; SignedPower keeps the sign of x. Windows that are no whole number are cut to one.
- adv{d}, "average daily dollar volume", is the mean quote volume of d bars. Many ports take volume in base:
  `traded=volume`. That also makes adv20 < volume (7, 21) a comparison of like with like, which it is not with
  the paper's words.
- IndClass: `group`, a series whose value names a symbol's group; a symbol without one (NaN) has no value. By
  default all are one group. All levels (sector, industry, subindustry) take the same series.
- cap, the market capitalisation, is in no bar: `cap` is a series of yours; by default all are equal.
- correlation is 0 in a full window where a series does not vary, as in many ports: on paper it is undefined,
  but NaN would eat its way through the windows over it (96 and 97 would have no value at all on recorded
  bars, since a rank often stands still). Over 2 bars it is 1, -1 or 0: computed from the signs of the
  changes, so that a rank of it is no rank of roundings.

A value is NaN until all its windows are full, and while a bar of one is missing (NaN or infinite, as what was
divided by 0 is). A symbol that is no member of a bar's cross-section misses that bar in every window over
ranks. Comparisons are NaN where a side is.
"""

import inspect
from typing import Any, Final

from factor_defs.fields import close, high, low, open_, quote_volume, volume, vwap
from factor_defs.published import Factor
from kernels.cross_section import cs_neutralise, cs_rank, cs_scale
from kernels.elementwise import (
    absolute,
    equal,
    log,
    maximum,
    minimum,
    power,
    select,
    sign,
    signed_power,
    sqrt,
)
from kernels.extremes import ts_argmax, ts_argmin, ts_max, ts_min
from kernels.node import Node, Number
from kernels.quantiles import ts_rank
from kernels.regression import ts_corr, ts_cov
from kernels.rolling import ts_mean, ts_product, ts_std, ts_sum
from kernels.shift import delay, delta, pct_change
from kernels.weighted import decay_linear

__all__ = ["FACTORS", "nodes", "returns"]

returns: Final[Node] = pct_change(close, 1)
"""Close-to-close return of a bar."""


def _corr(x: Node, y: Node, window: int) -> Node:
    """Correlation, 0 in a full window where x or y does not vary."""
    return ts_corr(x, y, window, flat_is_zero=True)


def _two_bar_corr(x: Node, y: Node) -> Node:
    """Correlation over 2 bars: 1 when both went the same way, -1 when not, 0 when one did not move."""
    return sign(delta(x, 1)) * sign(delta(y, 1))


def alpha001() -> Node:
    """Alpha#1: (rank(Ts_ArgMax(SignedPower(((returns < 0) ? stddev(returns, 20) : close), 2.), 5)) -
    0.5)
    """
    return cs_rank(ts_argmax(signed_power(select(returns < 0.0, ts_std(returns, 20), close), 2.0), 5)) - 0.5


def alpha002() -> Node:
    """Alpha#2: (-1 * correlation(rank(delta(log(volume), 2)), rank(((close - open) / open)), 6))"""
    return -_corr(cs_rank(delta(log(volume), 2)), cs_rank((close - open_) / open_), 6)


def alpha003() -> Node:
    """Alpha#3: (-1 * correlation(rank(open), rank(volume), 10))"""
    return -_corr(cs_rank(open_), cs_rank(volume), 10)


def alpha004() -> Node:
    """Alpha#4: (-1 * Ts_Rank(rank(low), 9))"""
    return -ts_rank(cs_rank(low), 9)


def alpha005() -> Node:
    """Alpha#5: (rank((open - (sum(vwap, 10) / 10))) * (-1 * abs(rank((close - vwap)))))"""
    return cs_rank(open_ - ts_mean(vwap, 10)) * -absolute(cs_rank(close - vwap))


def alpha006() -> Node:
    """Alpha#6: (-1 * correlation(open, volume, 10))"""
    return -_corr(open_, volume, 10)


def alpha007(traded: Node = quote_volume) -> Node:
    """Alpha#7: ((adv20 < volume) ? ((-1 * ts_rank(abs(delta(close, 7)), 60)) * sign(delta(close, 7))) :
    (-1 * 1))
    """
    return select(
        ts_mean(traded, 20) < volume, -ts_rank(absolute(delta(close, 7)), 60) * sign(delta(close, 7)), -1.0
    )


def alpha008() -> Node:
    """Alpha#8: (-1 * rank(((sum(open, 5) * sum(returns, 5)) - delay((sum(open, 5) * sum(returns, 5)),
    10))))
    """
    return -cs_rank(ts_sum(open_, 5) * ts_sum(returns, 5) - delay(ts_sum(open_, 5) * ts_sum(returns, 5), 10))


def alpha009() -> Node:
    """Alpha#9: ((0 < ts_min(delta(close, 1), 5)) ? delta(close, 1) : ((ts_max(delta(close, 1), 5) < 0) ?
    delta(close, 1) : (-1 * delta(close, 1))))
    """
    return select(
        ts_min(delta(close, 1), 5) > 0.0,
        delta(close, 1),
        select(ts_max(delta(close, 1), 5) < 0.0, delta(close, 1), -delta(close, 1)),
    )


def alpha010() -> Node:
    """Alpha#10: rank(((0 < ts_min(delta(close, 1), 4)) ? delta(close, 1) : ((ts_max(delta(close, 1), 4)
    < 0) ? delta(close, 1) : (-1 * delta(close, 1)))))
    """
    return cs_rank(
        select(
            ts_min(delta(close, 1), 4) > 0.0,
            delta(close, 1),
            select(ts_max(delta(close, 1), 4) < 0.0, delta(close, 1), -delta(close, 1)),
        )
    )


def alpha011() -> Node:
    """Alpha#11: ((rank(ts_max((vwap - close), 3)) + rank(ts_min((vwap - close), 3))) *
    rank(delta(volume, 3)))
    """
    return (cs_rank(ts_max(vwap - close, 3)) + cs_rank(ts_min(vwap - close, 3))) * cs_rank(delta(volume, 3))


def alpha012() -> Node:
    """Alpha#12: (sign(delta(volume, 1)) * (-1 * delta(close, 1)))"""
    return sign(delta(volume, 1)) * -delta(close, 1)


def alpha013() -> Node:
    """Alpha#13: (-1 * rank(covariance(rank(close), rank(volume), 5)))"""
    return -cs_rank(ts_cov(cs_rank(close), cs_rank(volume), 5))


def alpha014() -> Node:
    """Alpha#14: ((-1 * rank(delta(returns, 3))) * correlation(open, volume, 10))"""
    return -cs_rank(delta(returns, 3)) * _corr(open_, volume, 10)


def alpha015() -> Node:
    """Alpha#15: (-1 * sum(rank(correlation(rank(high), rank(volume), 3)), 3))"""
    return -ts_sum(cs_rank(_corr(cs_rank(high), cs_rank(volume), 3)), 3)


def alpha016() -> Node:
    """Alpha#16: (-1 * rank(covariance(rank(high), rank(volume), 5)))"""
    return -cs_rank(ts_cov(cs_rank(high), cs_rank(volume), 5))


def alpha017(traded: Node = quote_volume) -> Node:
    """Alpha#17: (((-1 * rank(ts_rank(close, 10))) * rank(delta(delta(close, 1), 1))) *
    rank(ts_rank((volume / adv20), 5)))
    """
    return (
        -cs_rank(ts_rank(close, 10))
        * cs_rank(delta(delta(close, 1), 1))
        * cs_rank(ts_rank(volume / ts_mean(traded, 20), 5))
    )


def alpha018() -> Node:
    """Alpha#18: (-1 * rank(((stddev(abs((close - open)), 5) + (close - open)) + correlation(close, open,
    10))))
    """
    return -cs_rank(ts_std(absolute(close - open_), 5) + (close - open_) + _corr(close, open_, 10))


def alpha019() -> Node:
    """Alpha#19: ((-1 * sign(((close - delay(close, 7)) + delta(close, 7)))) * (1 + rank((1 +
    sum(returns, 250)))))
    """
    return -sign(close - delay(close, 7) + delta(close, 7)) * (1.0 + cs_rank(1.0 + ts_sum(returns, 250)))


def alpha020() -> Node:
    """Alpha#20: (((-1 * rank((open - delay(high, 1)))) * rank((open - delay(close, 1)))) * rank((open -
    delay(low, 1))))
    """
    return (
        -cs_rank(open_ - delay(high, 1)) * cs_rank(open_ - delay(close, 1)) * cs_rank(open_ - delay(low, 1))
    )


def alpha021(traded: Node = quote_volume) -> Node:
    """Alpha#21: ((((sum(close, 8) / 8) + stddev(close, 8)) < (sum(close, 2) / 2)) ? (-1 * 1) :
    (((sum(close, 2) / 2) < ((sum(close, 8) / 8) - stddev(close, 8))) ? 1 : (((1 < (volume /
    adv20)) || ((volume / adv20) == 1)) ? 1 : (-1 * 1))))
    """
    return select(
        ts_mean(close, 8) + ts_std(close, 8) < ts_mean(close, 2),
        -1.0,
        select(
            ts_mean(close, 2) < ts_mean(close, 8) - ts_std(close, 8),
            1.0,
            select(
                (volume / ts_mean(traded, 20) > 1.0) | equal(volume / ts_mean(traded, 20), 1.0), 1.0, -1.0
            ),
        ),
    )


def alpha022() -> Node:
    """Alpha#22: (-1 * (delta(correlation(high, volume, 5), 5) * rank(stddev(close, 20))))"""
    return -(delta(_corr(high, volume, 5), 5) * cs_rank(ts_std(close, 20)))


def alpha023() -> Node:
    """Alpha#23: (((sum(high, 20) / 20) < high) ? (-1 * delta(high, 2)) : 0)"""
    return select(ts_mean(high, 20) < high, -delta(high, 2), 0.0)


def alpha024() -> Node:
    """Alpha#24: ((((delta((sum(close, 100) / 100), 100) / delay(close, 100)) < 0.05) ||
    ((delta((sum(close, 100) / 100), 100) / delay(close, 100)) == 0.05)) ? (-1 * (close -
    ts_min(close, 100))) : (-1 * delta(close, 3)))
    """
    return select(
        (delta(ts_mean(close, 100), 100) / delay(close, 100) < 0.05)
        | equal(delta(ts_mean(close, 100), 100) / delay(close, 100), 0.05),
        -(close - ts_min(close, 100)),
        -delta(close, 3),
    )


def alpha025(traded: Node = quote_volume) -> Node:
    """Alpha#25: rank(((((-1 * returns) * adv20) * vwap) * (high - close)))"""
    return cs_rank(-returns * ts_mean(traded, 20) * vwap * (high - close))


def alpha026() -> Node:
    """Alpha#26: (-1 * ts_max(correlation(ts_rank(volume, 5), ts_rank(high, 5), 5), 3))"""
    return -ts_max(_corr(ts_rank(volume, 5), ts_rank(high, 5), 5), 3)


def alpha027() -> Node:
    """Alpha#27: ((0.5 < rank((sum(correlation(rank(volume), rank(vwap), 6), 2) / 2.0))) ? (-1 * 1) : 1)"""
    return select(cs_rank(ts_mean(_corr(cs_rank(volume), cs_rank(vwap), 6), 2)) > 0.5, -1.0, 1.0)


def alpha028(traded: Node = quote_volume) -> Node:
    """Alpha#28: scale(((correlation(adv20, low, 5) + ((high + low) / 2)) - close))"""
    return cs_scale(_corr(ts_mean(traded, 20), low, 5) + (high + low) / 2.0 - close)


def alpha029() -> Node:
    """Alpha#29: (min(product(rank(rank(scale(log(sum(ts_min(rank(rank((-1 * rank(delta((close - 1),
    5))))), 2), 1))))), 1), 5) + ts_rank(delay((-1 * returns), 6), 5))
    """
    return ts_min(
        cs_rank(cs_rank(cs_scale(log(ts_min(cs_rank(cs_rank(-cs_rank(delta(close - 1.0, 5)))), 2))))), 5
    ) + ts_rank(delay(-returns, 6), 5)


def alpha030() -> Node:
    """Alpha#30: (((1.0 - rank(((sign((close - delay(close, 1))) + sign((delay(close, 1) - delay(close,
    2)))) + sign((delay(close, 2) - delay(close, 3)))))) * sum(volume, 5)) / sum(volume, 20))
    """
    return (
        (
            1.0
            - cs_rank(
                sign(close - delay(close, 1))
                + sign(delay(close, 1) - delay(close, 2))
                + sign(delay(close, 2) - delay(close, 3))
            )
        )
        * ts_sum(volume, 5)
        / ts_sum(volume, 20)
    )


def alpha031(traded: Node = quote_volume) -> Node:
    """Alpha#31: ((rank(rank(rank(decay_linear((-1 * rank(rank(delta(close, 10)))), 10)))) + rank((-1 *
    delta(close, 3)))) + sign(scale(correlation(adv20, low, 12))))
    """
    return (
        cs_rank(cs_rank(cs_rank(decay_linear(-cs_rank(cs_rank(delta(close, 10))), 10))))
        + cs_rank(-delta(close, 3))
        + sign(cs_scale(_corr(ts_mean(traded, 20), low, 12)))
    )


def alpha032() -> Node:
    """Alpha#32: (scale(((sum(close, 7) / 7) - close)) + (20 * scale(correlation(vwap, delay(close, 5),
    230))))
    """
    return cs_scale(ts_mean(close, 7) - close) + 20.0 * cs_scale(_corr(vwap, delay(close, 5), 230))


def alpha033() -> Node:
    """Alpha#33: rank((-1 * ((1 - (open / close))^1)))"""
    return cs_rank(-(1.0 - open_ / close))


def alpha034() -> Node:
    """Alpha#34: rank(((1 - rank((stddev(returns, 2) / stddev(returns, 5)))) + (1 - rank(delta(close,
    1)))))
    """
    return cs_rank(1.0 - cs_rank(ts_std(returns, 2) / ts_std(returns, 5)) + (1.0 - cs_rank(delta(close, 1))))


def alpha035() -> Node:
    """Alpha#35: ((Ts_Rank(volume, 32) * (1 - Ts_Rank(((close + high) - low), 16))) * (1 -
    Ts_Rank(returns, 32)))
    """
    return ts_rank(volume, 32) * (1.0 - ts_rank(close + high - low, 16)) * (1.0 - ts_rank(returns, 32))


def alpha036(traded: Node = quote_volume) -> Node:
    """Alpha#36: (((((2.21 * rank(correlation((close - open), delay(volume, 1), 15))) + (0.7 * rank((open
    - close)))) + (0.73 * rank(Ts_Rank(delay((-1 * returns), 6), 5)))) +
    rank(abs(correlation(vwap, adv20, 6)))) + (0.6 * rank((((sum(close, 200) / 200) - open) *
    (close - open)))))
    """
    return (
        2.21 * cs_rank(_corr(close - open_, delay(volume, 1), 15))
        + 0.7 * cs_rank(open_ - close)
        + 0.73 * cs_rank(ts_rank(delay(-returns, 6), 5))
        + cs_rank(absolute(_corr(vwap, ts_mean(traded, 20), 6)))
        + 0.6 * cs_rank((ts_mean(close, 200) - open_) * (close - open_))
    )


def alpha037() -> Node:
    """Alpha#37: (rank(correlation(delay((open - close), 1), close, 200)) + rank((open - close)))"""
    return cs_rank(_corr(delay(open_ - close, 1), close, 200)) + cs_rank(open_ - close)


def alpha038() -> Node:
    """Alpha#38: ((-1 * rank(Ts_Rank(close, 10))) * rank((close / open)))"""
    return -cs_rank(ts_rank(close, 10)) * cs_rank(close / open_)


def alpha039(traded: Node = quote_volume) -> Node:
    """Alpha#39: ((-1 * rank((delta(close, 7) * (1 - rank(decay_linear((volume / adv20), 9)))))) * (1 +
    rank(sum(returns, 250))))
    """
    return -cs_rank(delta(close, 7) * (1.0 - cs_rank(decay_linear(volume / ts_mean(traded, 20), 9)))) * (
        1.0 + cs_rank(ts_sum(returns, 250))
    )


def alpha040() -> Node:
    """Alpha#40: ((-1 * rank(stddev(high, 10))) * correlation(high, volume, 10))"""
    return -cs_rank(ts_std(high, 10)) * _corr(high, volume, 10)


def alpha041() -> Node:
    """Alpha#41: (((high * low)^0.5) - vwap)"""
    return sqrt(high * low) - vwap


def alpha042() -> Node:
    """Alpha#42: (rank((vwap - close)) / rank((vwap + close)))"""
    return cs_rank(vwap - close) / cs_rank(vwap + close)


def alpha043(traded: Node = quote_volume) -> Node:
    """Alpha#43: (ts_rank((volume / adv20), 20) * ts_rank((-1 * delta(close, 7)), 8))"""
    return ts_rank(volume / ts_mean(traded, 20), 20) * ts_rank(-delta(close, 7), 8)


def alpha044() -> Node:
    """Alpha#44: (-1 * correlation(high, rank(volume), 5))"""
    return -_corr(high, cs_rank(volume), 5)


def alpha045() -> Node:
    """Alpha#45: (-1 * ((rank((sum(delay(close, 5), 20) / 20)) * correlation(close, volume, 2)) *
    rank(correlation(sum(close, 5), sum(close, 20), 2))))
    """
    return -(
        cs_rank(ts_mean(delay(close, 5), 20))
        * _two_bar_corr(close, volume)
        * cs_rank(_two_bar_corr(ts_sum(close, 5), ts_sum(close, 20)))
    )


def alpha046() -> Node:
    """Alpha#46: ((0.25 < (((delay(close, 20) - delay(close, 10)) / 10) - ((delay(close, 10) - close) /
    10))) ? (-1 * 1) : (((((delay(close, 20) - delay(close, 10)) / 10) - ((delay(close, 10) -
    close) / 10)) < 0) ? 1 : ((-1 * 1) * (close - delay(close, 1)))))
    """
    return select(
        (delay(close, 20) - delay(close, 10)) / 10.0 - (delay(close, 10) - close) / 10.0 > 0.25,
        -1.0,
        select(
            (delay(close, 20) - delay(close, 10)) / 10.0 - (delay(close, 10) - close) / 10.0 < 0.0,
            1.0,
            -(close - delay(close, 1)),
        ),
    )


def alpha047(traded: Node = quote_volume) -> Node:
    """Alpha#47: ((((rank((1 / close)) * volume) / adv20) * ((high * rank((high - close))) / (sum(high,
    5) / 5))) - rank((vwap - delay(vwap, 5))))
    """
    return cs_rank(1.0 / close) * volume / ts_mean(traded, 20) * (
        high * cs_rank(high - close) / ts_mean(high, 5)
    ) - cs_rank(vwap - delay(vwap, 5))


def alpha048(group: Number = 1.0) -> Node:
    """Alpha#48: (indneutralize(((correlation(delta(close, 1), delta(delay(close, 1), 1), 250) *
    delta(close, 1)) / close), IndClass.subindustry) / sum(((delta(close, 1) / delay(close,
    1))^2), 250))
    """
    return cs_neutralise(
        _corr(delta(close, 1), delta(delay(close, 1), 1), 250) * delta(close, 1) / close, group
    ) / ts_sum(power(delta(close, 1) / delay(close, 1), 2.0), 250)


def alpha049() -> Node:
    """Alpha#49: (((((delay(close, 20) - delay(close, 10)) / 10) - ((delay(close, 10) - close) / 10)) <
    (-1 * 0.1)) ? 1 : ((-1 * 1) * (close - delay(close, 1))))
    """
    return select(
        (delay(close, 20) - delay(close, 10)) / 10.0 - (delay(close, 10) - close) / 10.0 < -0.1,
        1.0,
        -(close - delay(close, 1)),
    )


def alpha050() -> Node:
    """Alpha#50: (-1 * ts_max(rank(correlation(rank(volume), rank(vwap), 5)), 5))"""
    return -ts_max(cs_rank(_corr(cs_rank(volume), cs_rank(vwap), 5)), 5)


def alpha051() -> Node:
    """Alpha#51: (((((delay(close, 20) - delay(close, 10)) / 10) - ((delay(close, 10) - close) / 10)) <
    (-1 * 0.05)) ? 1 : ((-1 * 1) * (close - delay(close, 1))))
    """
    return select(
        (delay(close, 20) - delay(close, 10)) / 10.0 - (delay(close, 10) - close) / 10.0 < -0.05,
        1.0,
        -(close - delay(close, 1)),
    )


def alpha052() -> Node:
    """Alpha#52: ((((-1 * ts_min(low, 5)) + delay(ts_min(low, 5), 5)) * rank(((sum(returns, 240) -
    sum(returns, 20)) / 220))) * ts_rank(volume, 5))
    """
    return (
        (-ts_min(low, 5) + delay(ts_min(low, 5), 5))
        * cs_rank((ts_sum(returns, 240) - ts_sum(returns, 20)) / 220.0)
        * ts_rank(volume, 5)
    )


def alpha053() -> Node:
    """Alpha#53: (-1 * delta((((close - low) - (high - close)) / (close - low)), 9))"""
    return -delta((close - low - (high - close)) / (close - low), 9)


def alpha054() -> Node:
    """Alpha#54: ((-1 * ((low - close) * (open^5))) / ((low - high) * (close^5)))"""
    return -((low - close) * power(open_, 5.0)) / ((low - high) * power(close, 5.0))


def alpha055() -> Node:
    """Alpha#55: (-1 * correlation(rank(((close - ts_min(low, 12)) / (ts_max(high, 12) - ts_min(low,
    12)))), rank(volume), 6))
    """
    return -_corr(
        cs_rank((close - ts_min(low, 12)) / (ts_max(high, 12) - ts_min(low, 12))), cs_rank(volume), 6
    )


def alpha056(cap: Number = 1.0) -> Node:
    """Alpha#56: (0 - (1 * (rank((sum(returns, 10) / sum(sum(returns, 2), 3))) * rank((returns * cap)))))"""
    return -(cs_rank(ts_sum(returns, 10) / ts_sum(ts_sum(returns, 2), 3)) * cs_rank(returns * cap))


def alpha057() -> Node:
    """Alpha#57: (0 - (1 * ((close - vwap) / decay_linear(rank(ts_argmax(close, 30)), 2))))"""
    return -((close - vwap) / decay_linear(cs_rank(ts_argmax(close, 30)), 2))


def alpha058(group: Number = 1.0) -> Node:
    """Alpha#58: (-1 * Ts_Rank(decay_linear(correlation(IndNeutralize(vwap, IndClass.sector), volume,
    3.92795), 7.89291), 5.50322))
    """
    return -ts_rank(decay_linear(_corr(cs_neutralise(vwap, group), volume, 3), 7), 5)


def alpha059(group: Number = 1.0) -> Node:
    """Alpha#59: (-1 * Ts_Rank(decay_linear(correlation(IndNeutralize(((vwap * 0.728317) + (vwap * (1 -
    0.728317))), IndClass.industry), volume, 4.25197), 16.2289), 8.19648))
    """
    return -ts_rank(
        decay_linear(_corr(cs_neutralise(vwap * 0.728317 + vwap * (1.0 - 0.728317), group), volume, 4), 16), 8
    )


def alpha060() -> Node:
    """Alpha#60: (0 - (1 * ((2 * scale(rank(((((close - low) - (high - close)) / (high - low)) *
    volume)))) - scale(rank(ts_argmax(close, 10))))))
    """
    return -(
        2.0 * cs_scale(cs_rank((close - low - (high - close)) / (high - low) * volume))
        - cs_scale(cs_rank(ts_argmax(close, 10)))
    )


def alpha061(traded: Node = quote_volume) -> Node:
    """Alpha#61: (rank((vwap - ts_min(vwap, 16.1219))) < rank(correlation(vwap, adv180, 17.9282)))"""
    return cs_rank(vwap - ts_min(vwap, 16)) < cs_rank(_corr(vwap, ts_mean(traded, 180), 17))


def alpha062(traded: Node = quote_volume) -> Node:
    """Alpha#62: ((rank(correlation(vwap, sum(adv20, 22.4101), 9.91009)) < rank(((rank(open) +
    rank(open)) < (rank(((high + low) / 2)) + rank(high))))) * -1)
    """
    return -(
        cs_rank(_corr(vwap, ts_sum(ts_mean(traded, 20), 22), 9))
        < cs_rank(cs_rank(open_) + cs_rank(open_) < cs_rank((high + low) / 2.0) + cs_rank(high))
    )


def alpha063(group: Number = 1.0, traded: Node = quote_volume) -> Node:
    """Alpha#63: ((rank(decay_linear(delta(IndNeutralize(close, IndClass.industry), 2.25164), 8.22237)) -
    rank(decay_linear(correlation(((vwap * 0.318108) + (open * (1 - 0.318108))), sum(adv180,
    37.2467), 13.557), 12.2883))) * -1)
    """
    return -(
        cs_rank(decay_linear(delta(cs_neutralise(close, group), 2), 8))
        - cs_rank(
            decay_linear(
                _corr(vwap * 0.318108 + open_ * (1.0 - 0.318108), ts_sum(ts_mean(traded, 180), 37), 13), 12
            )
        )
    )


def alpha064(traded: Node = quote_volume) -> Node:
    """Alpha#64: ((rank(correlation(sum(((open * 0.178404) + (low * (1 - 0.178404))), 12.7054),
    sum(adv120, 12.7054), 16.6208)) < rank(delta(((((high + low) / 2) * 0.178404) + (vwap * (1 -
    0.178404))), 3.69741))) * -1)
    """
    return -(
        cs_rank(
            _corr(ts_sum(open_ * 0.178404 + low * (1.0 - 0.178404), 12), ts_sum(ts_mean(traded, 120), 12), 16)
        )
        < cs_rank(delta((high + low) / 2.0 * 0.178404 + vwap * (1.0 - 0.178404), 3))
    )


def alpha065(traded: Node = quote_volume) -> Node:
    """Alpha#65: ((rank(correlation(((open * 0.00817205) + (vwap * (1 - 0.00817205))), sum(adv60,
    8.6911), 6.40374)) < rank((open - ts_min(open, 13.635)))) * -1)
    """
    return -(
        cs_rank(_corr(open_ * 0.00817205 + vwap * (1.0 - 0.00817205), ts_sum(ts_mean(traded, 60), 8), 6))
        < cs_rank(open_ - ts_min(open_, 13))
    )


def alpha066() -> Node:
    """Alpha#66: ((rank(decay_linear(delta(vwap, 3.51013), 7.23052)) + Ts_Rank(decay_linear(((((low *
    0.96633) + (low * (1 - 0.96633))) - vwap) / (open - ((high + low) / 2))), 11.4157), 6.72611))
    * -1)
    """
    return -(
        cs_rank(decay_linear(delta(vwap, 3), 7))
        + ts_rank(
            decay_linear((low * 0.96633 + low * (1.0 - 0.96633) - vwap) / (open_ - (high + low) / 2.0), 11), 6
        )
    )


def alpha067(group: Number = 1.0, traded: Node = quote_volume) -> Node:
    """Alpha#67: ((rank((high - ts_min(high, 2.14593)))^rank(correlation(IndNeutralize(vwap,
    IndClass.sector), IndNeutralize(adv20, IndClass.subindustry), 6.02936))) * -1)
    """
    return -power(
        cs_rank(high - ts_min(high, 2)),
        cs_rank(_corr(cs_neutralise(vwap, group), cs_neutralise(ts_mean(traded, 20), group), 6)),
    )


def alpha068(traded: Node = quote_volume) -> Node:
    """Alpha#68: ((Ts_Rank(correlation(rank(high), rank(adv15), 8.91644), 13.9333) < rank(delta(((close *
    0.518371) + (low * (1 - 0.518371))), 1.06157))) * -1)
    """
    return -(
        ts_rank(_corr(cs_rank(high), cs_rank(ts_mean(traded, 15)), 8), 13)
        < cs_rank(delta(close * 0.518371 + low * (1.0 - 0.518371), 1))
    )


def alpha069(group: Number = 1.0, traded: Node = quote_volume) -> Node:
    """Alpha#69: ((rank(ts_max(delta(IndNeutralize(vwap, IndClass.industry), 2.72412),
    4.79344))^Ts_Rank(correlation(((close * 0.490655) + (vwap * (1 - 0.490655))), adv20, 4.92416),
    9.0615)) * -1)
    """
    return -power(
        cs_rank(ts_max(delta(cs_neutralise(vwap, group), 2), 4)),
        ts_rank(_corr(close * 0.490655 + vwap * (1.0 - 0.490655), ts_mean(traded, 20), 4), 9),
    )


def alpha070(group: Number = 1.0, traded: Node = quote_volume) -> Node:
    """Alpha#70: ((rank(delta(vwap, 1.29456))^Ts_Rank(correlation(IndNeutralize(close,
    IndClass.industry), adv50, 17.8256), 17.9171)) * -1)
    """
    return -power(
        cs_rank(delta(vwap, 1)), ts_rank(_corr(cs_neutralise(close, group), ts_mean(traded, 50), 17), 17)
    )


def alpha071(traded: Node = quote_volume) -> Node:
    """Alpha#71: max(Ts_Rank(decay_linear(correlation(Ts_Rank(close, 3.43976), Ts_Rank(adv180, 12.0647),
    18.0175), 4.20501), 15.6948), Ts_Rank(decay_linear((rank(((low + open) - (vwap + vwap)))^2),
    16.4662), 4.4388))
    """
    return maximum(
        ts_rank(decay_linear(_corr(ts_rank(close, 3), ts_rank(ts_mean(traded, 180), 12), 18), 4), 15),
        ts_rank(decay_linear(power(cs_rank(low + open_ - (vwap + vwap)), 2.0), 16), 4),
    )


def alpha072(traded: Node = quote_volume) -> Node:
    """Alpha#72: (rank(decay_linear(correlation(((high + low) / 2), adv40, 8.93345), 10.1519)) /
    rank(decay_linear(correlation(Ts_Rank(vwap, 3.72469), Ts_Rank(volume, 18.5188), 6.86671),
    2.95011)))
    """
    return cs_rank(decay_linear(_corr((high + low) / 2.0, ts_mean(traded, 40), 8), 10)) / cs_rank(
        decay_linear(_corr(ts_rank(vwap, 3), ts_rank(volume, 18), 6), 2)
    )


def alpha073() -> Node:
    """Alpha#73: (max(rank(decay_linear(delta(vwap, 4.72775), 2.91864)),
    Ts_Rank(decay_linear(((delta(((open * 0.147155) + (low * (1 - 0.147155))), 2.03608) / ((open *
    0.147155) + (low * (1 - 0.147155)))) * -1), 3.33829), 16.7411)) * -1)
    """
    return -maximum(
        cs_rank(decay_linear(delta(vwap, 4), 2)),
        ts_rank(
            decay_linear(
                -(
                    delta(open_ * 0.147155 + low * (1.0 - 0.147155), 2)
                    / (open_ * 0.147155 + low * (1.0 - 0.147155))
                ),
                3,
            ),
            16,
        ),
    )


def alpha074(traded: Node = quote_volume) -> Node:
    """Alpha#74: ((rank(correlation(close, sum(adv30, 37.4843), 15.1365)) < rank(correlation(rank(((high
    * 0.0261661) + (vwap * (1 - 0.0261661)))), rank(volume), 11.4791))) * -1)
    """
    return -(
        cs_rank(_corr(close, ts_sum(ts_mean(traded, 30), 37), 15))
        < cs_rank(_corr(cs_rank(high * 0.0261661 + vwap * (1.0 - 0.0261661)), cs_rank(volume), 11))
    )


def alpha075(traded: Node = quote_volume) -> Node:
    """Alpha#75: (rank(correlation(vwap, volume, 4.24304)) < rank(correlation(rank(low), rank(adv50),
    12.4413)))
    """
    return cs_rank(_corr(vwap, volume, 4)) < cs_rank(_corr(cs_rank(low), cs_rank(ts_mean(traded, 50)), 12))


def alpha076(group: Number = 1.0, traded: Node = quote_volume) -> Node:
    """Alpha#76: (max(rank(decay_linear(delta(vwap, 1.24383), 11.8259)),
    Ts_Rank(decay_linear(Ts_Rank(correlation(IndNeutralize(low, IndClass.sector), adv81, 8.14941),
    19.569), 17.1543), 19.383)) * -1)
    """
    return -maximum(
        cs_rank(decay_linear(delta(vwap, 1), 11)),
        ts_rank(decay_linear(ts_rank(_corr(cs_neutralise(low, group), ts_mean(traded, 81), 8), 19), 17), 19),
    )


def alpha077(traded: Node = quote_volume) -> Node:
    """Alpha#77: min(rank(decay_linear(((((high + low) / 2) + high) - (vwap + high)), 20.0451)),
    rank(decay_linear(correlation(((high + low) / 2), adv40, 3.1614), 5.64125)))
    """
    return minimum(
        cs_rank(decay_linear((high + low) / 2.0 + high - (vwap + high), 20)),
        cs_rank(decay_linear(_corr((high + low) / 2.0, ts_mean(traded, 40), 3), 5)),
    )


def alpha078(traded: Node = quote_volume) -> Node:
    """Alpha#78: (rank(correlation(sum(((low * 0.352233) + (vwap * (1 - 0.352233))), 19.7428), sum(adv40,
    19.7428), 6.83313))^rank(correlation(rank(vwap), rank(volume), 5.77492)))
    """
    return power(
        cs_rank(
            _corr(ts_sum(low * 0.352233 + vwap * (1.0 - 0.352233), 19), ts_sum(ts_mean(traded, 40), 19), 6)
        ),
        cs_rank(_corr(cs_rank(vwap), cs_rank(volume), 5)),
    )


def alpha079(group: Number = 1.0, traded: Node = quote_volume) -> Node:
    """Alpha#79: (rank(delta(IndNeutralize(((close * 0.60733) + (open * (1 - 0.60733))),
    IndClass.sector), 1.23438)) < rank(correlation(Ts_Rank(vwap, 3.60973), Ts_Rank(adv150,
    9.18637), 14.6644)))
    """
    return cs_rank(delta(cs_neutralise(close * 0.60733 + open_ * (1.0 - 0.60733), group), 1)) < cs_rank(
        _corr(ts_rank(vwap, 3), ts_rank(ts_mean(traded, 150), 9), 14)
    )


def alpha080(group: Number = 1.0, traded: Node = quote_volume) -> Node:
    """Alpha#80: ((rank(Sign(delta(IndNeutralize(((open * 0.868128) + (high * (1 - 0.868128))),
    IndClass.industry), 4.04545)))^Ts_Rank(correlation(high, adv10, 5.11456), 5.53756)) * -1)
    """
    return -power(
        cs_rank(sign(delta(cs_neutralise(open_ * 0.868128 + high * (1.0 - 0.868128), group), 4))),
        ts_rank(_corr(high, ts_mean(traded, 10), 5), 5),
    )


def alpha081(traded: Node = quote_volume) -> Node:
    """Alpha#81: ((rank(Log(product(rank((rank(correlation(vwap, sum(adv10, 49.6054), 8.47743))^4)),
    14.9655))) < rank(correlation(rank(vwap), rank(volume), 5.07914))) * -1)
    """
    return -(
        cs_rank(
            log(ts_product(cs_rank(power(cs_rank(_corr(vwap, ts_sum(ts_mean(traded, 10), 49), 8)), 4.0)), 14))
        )
        < cs_rank(_corr(cs_rank(vwap), cs_rank(volume), 5))
    )


def alpha082(group: Number = 1.0) -> Node:
    """Alpha#82: (min(rank(decay_linear(delta(open, 1.46063), 14.8717)),
    Ts_Rank(decay_linear(correlation(IndNeutralize(volume, IndClass.sector), ((open * 0.634196) +
    (open * (1 - 0.634196))), 17.4842), 6.92131), 13.4283)) * -1)
    """
    return -minimum(
        cs_rank(decay_linear(delta(open_, 1), 14)),
        ts_rank(
            decay_linear(
                _corr(cs_neutralise(volume, group), open_ * 0.634196 + open_ * (1.0 - 0.634196), 17), 6
            ),
            13,
        ),
    )


def alpha083() -> Node:
    """Alpha#83: ((rank(delay(((high - low) / (sum(close, 5) / 5)), 2)) * rank(rank(volume))) / (((high -
    low) / (sum(close, 5) / 5)) / (vwap - close)))
    """
    return (
        cs_rank(delay((high - low) / ts_mean(close, 5), 2))
        * cs_rank(cs_rank(volume))
        / ((high - low) / ts_mean(close, 5) / (vwap - close))
    )


def alpha084() -> Node:
    """Alpha#84: SignedPower(Ts_Rank((vwap - ts_max(vwap, 15.3217)), 20.7127), delta(close, 4.96796))"""
    return signed_power(ts_rank(vwap - ts_max(vwap, 15), 20), delta(close, 4))


def alpha085(traded: Node = quote_volume) -> Node:
    """Alpha#85: (rank(correlation(((high * 0.876703) + (close * (1 - 0.876703))), adv30,
    9.61331))^rank(correlation(Ts_Rank(((high + low) / 2), 3.70596), Ts_Rank(volume, 10.1595),
    7.11408)))
    """
    return power(
        cs_rank(_corr(high * 0.876703 + close * (1.0 - 0.876703), ts_mean(traded, 30), 9)),
        cs_rank(_corr(ts_rank((high + low) / 2.0, 3), ts_rank(volume, 10), 7)),
    )


def alpha086(traded: Node = quote_volume) -> Node:
    """Alpha#86: ((Ts_Rank(correlation(close, sum(adv20, 14.7444), 6.00049), 20.4195) < rank(((open +
    close) - (vwap + open)))) * -1)
    """
    return -(
        ts_rank(_corr(close, ts_sum(ts_mean(traded, 20), 14), 6), 20)
        < cs_rank(open_ + close - (vwap + open_))
    )


def alpha087(group: Number = 1.0, traded: Node = quote_volume) -> Node:
    """Alpha#87: (max(rank(decay_linear(delta(((close * 0.369701) + (vwap * (1 - 0.369701))), 1.91233),
    2.65461)), Ts_Rank(decay_linear(abs(correlation(IndNeutralize(adv81, IndClass.industry),
    close, 13.4132)), 4.89768), 14.4535)) * -1)
    """
    return -maximum(
        cs_rank(decay_linear(delta(close * 0.369701 + vwap * (1.0 - 0.369701), 1), 2)),
        ts_rank(decay_linear(absolute(_corr(cs_neutralise(ts_mean(traded, 81), group), close, 13)), 4), 14),
    )


def alpha088(traded: Node = quote_volume) -> Node:
    """Alpha#88: min(rank(decay_linear(((rank(open) + rank(low)) - (rank(high) + rank(close))),
    8.06882)), Ts_Rank(decay_linear(correlation(Ts_Rank(close, 8.44728), Ts_Rank(adv60, 20.6966),
    8.01266), 6.65053), 2.61957))
    """
    return minimum(
        cs_rank(decay_linear(cs_rank(open_) + cs_rank(low) - (cs_rank(high) + cs_rank(close)), 8)),
        ts_rank(decay_linear(_corr(ts_rank(close, 8), ts_rank(ts_mean(traded, 60), 20), 8), 6), 2),
    )


def alpha089(group: Number = 1.0, traded: Node = quote_volume) -> Node:
    """Alpha#89: (Ts_Rank(decay_linear(correlation(((low * 0.967285) + (low * (1 - 0.967285))), adv10,
    6.94279), 5.51607), 3.79744) - Ts_Rank(decay_linear(delta(IndNeutralize(vwap,
    IndClass.industry), 3.48158), 10.1466), 15.3012))
    """
    return ts_rank(
        decay_linear(_corr(low * 0.967285 + low * (1.0 - 0.967285), ts_mean(traded, 10), 6), 5), 3
    ) - ts_rank(decay_linear(delta(cs_neutralise(vwap, group), 3), 10), 15)


def alpha090(group: Number = 1.0, traded: Node = quote_volume) -> Node:
    """Alpha#90: ((rank((close - ts_max(close, 4.66719)))^Ts_Rank(correlation(IndNeutralize(adv40,
    IndClass.subindustry), low, 5.38375), 3.21856)) * -1)
    """
    return -power(
        cs_rank(close - ts_max(close, 4)),
        ts_rank(_corr(cs_neutralise(ts_mean(traded, 40), group), low, 5), 3),
    )


def alpha091(group: Number = 1.0, traded: Node = quote_volume) -> Node:
    """Alpha#91: ((Ts_Rank(decay_linear(decay_linear(correlation(IndNeutralize(close, IndClass.industry),
    volume, 9.74928), 16.398), 3.83219), 4.8667) - rank(decay_linear(correlation(vwap, adv30,
    4.01303), 2.6809))) * -1)
    """
    return -(
        ts_rank(decay_linear(decay_linear(_corr(cs_neutralise(close, group), volume, 9), 16), 3), 4)
        - cs_rank(decay_linear(_corr(vwap, ts_mean(traded, 30), 4), 2))
    )


def alpha092(traded: Node = quote_volume) -> Node:
    """Alpha#92: min(Ts_Rank(decay_linear(((((high + low) / 2) + close) < (low + open)), 14.7221),
    18.8683), Ts_Rank(decay_linear(correlation(rank(low), rank(adv30), 7.58555), 6.94024),
    6.80584))
    """
    return minimum(
        ts_rank(decay_linear((high + low) / 2.0 + close < low + open_, 14), 18),
        ts_rank(decay_linear(_corr(cs_rank(low), cs_rank(ts_mean(traded, 30)), 7), 6), 6),
    )


def alpha093(group: Number = 1.0, traded: Node = quote_volume) -> Node:
    """Alpha#93: (Ts_Rank(decay_linear(correlation(IndNeutralize(vwap, IndClass.industry), adv81,
    17.4193), 19.848), 7.54455) / rank(decay_linear(delta(((close * 0.524434) + (vwap * (1 -
    0.524434))), 2.77377), 16.2664)))
    """
    return ts_rank(decay_linear(_corr(cs_neutralise(vwap, group), ts_mean(traded, 81), 17), 19), 7) / cs_rank(
        decay_linear(delta(close * 0.524434 + vwap * (1.0 - 0.524434), 2), 16)
    )


def alpha094(traded: Node = quote_volume) -> Node:
    """Alpha#94: ((rank((vwap - ts_min(vwap, 11.5783)))^Ts_Rank(correlation(Ts_Rank(vwap, 19.6462),
    Ts_Rank(adv60, 4.02992), 18.0926), 2.70756)) * -1)
    """
    return -power(
        cs_rank(vwap - ts_min(vwap, 11)),
        ts_rank(_corr(ts_rank(vwap, 19), ts_rank(ts_mean(traded, 60), 4), 18), 2),
    )


def alpha095(traded: Node = quote_volume) -> Node:
    """Alpha#95: (rank((open - ts_min(open, 12.4105))) < Ts_Rank((rank(correlation(sum(((high + low) /
    2), 19.1351), sum(adv40, 19.1351), 12.8742))^5), 11.7584))
    """
    return cs_rank(open_ - ts_min(open_, 12)) < ts_rank(
        power(cs_rank(_corr(ts_sum((high + low) / 2.0, 19), ts_sum(ts_mean(traded, 40), 19), 12)), 5.0), 11
    )


def alpha096(traded: Node = quote_volume) -> Node:
    """Alpha#96: (max(Ts_Rank(decay_linear(correlation(rank(vwap), rank(volume), 3.83878), 4.16783),
    8.38151), Ts_Rank(decay_linear(Ts_ArgMax(correlation(Ts_Rank(close, 7.45404), Ts_Rank(adv60,
    4.13242), 3.65459), 12.6556), 14.0365), 13.4143)) * -1)
    """
    return -maximum(
        ts_rank(decay_linear(_corr(cs_rank(vwap), cs_rank(volume), 3), 4), 8),
        ts_rank(
            decay_linear(ts_argmax(_corr(ts_rank(close, 7), ts_rank(ts_mean(traded, 60), 4), 3), 12), 14), 13
        ),
    )


def alpha097(group: Number = 1.0, traded: Node = quote_volume) -> Node:
    """Alpha#97: ((rank(decay_linear(delta(IndNeutralize(((low * 0.721001) + (vwap * (1 - 0.721001))),
    IndClass.industry), 3.3705), 20.4523)) - Ts_Rank(decay_linear(Ts_Rank(correlation(Ts_Rank(low,
    7.87871), Ts_Rank(adv60, 17.255), 4.97547), 18.5925), 15.7152), 6.71659)) * -1)
    """
    return -(
        cs_rank(decay_linear(delta(cs_neutralise(low * 0.721001 + vwap * (1.0 - 0.721001), group), 3), 20))
        - ts_rank(
            decay_linear(ts_rank(_corr(ts_rank(low, 7), ts_rank(ts_mean(traded, 60), 17), 4), 18), 15), 6
        )
    )


def alpha098(traded: Node = quote_volume) -> Node:
    """Alpha#98: (rank(decay_linear(correlation(vwap, sum(adv5, 26.4719), 4.58418), 7.18088)) -
    rank(decay_linear(Ts_Rank(Ts_ArgMin(correlation(rank(open), rank(adv15), 20.8187), 8.62571),
    6.95668), 8.07206)))
    """
    return cs_rank(decay_linear(_corr(vwap, ts_sum(ts_mean(traded, 5), 26), 4), 7)) - cs_rank(
        decay_linear(ts_rank(ts_argmin(_corr(cs_rank(open_), cs_rank(ts_mean(traded, 15)), 20), 8), 6), 8)
    )


def alpha099(traded: Node = quote_volume) -> Node:
    """Alpha#99: ((rank(correlation(sum(((high + low) / 2), 19.8975), sum(adv60, 19.8975), 8.8136)) <
    rank(correlation(low, volume, 6.28259))) * -1)
    """
    return -(
        cs_rank(_corr(ts_sum((high + low) / 2.0, 19), ts_sum(ts_mean(traded, 60), 19), 8))
        < cs_rank(_corr(low, volume, 6))
    )


def alpha100(group: Number = 1.0, traded: Node = quote_volume) -> Node:
    """Alpha#100: (0 - (1 * (((1.5 * scale(indneutralize(indneutralize(rank(((((close - low) - (high -
    close)) / (high - low)) * volume)), IndClass.subindustry), IndClass.subindustry))) -
    scale(indneutralize((correlation(close, rank(adv20), 5) - rank(ts_argmin(close, 30))),
    IndClass.subindustry))) * (volume / adv20))))
    """
    return -(
        (
            1.5
            * cs_scale(
                cs_neutralise(
                    cs_neutralise(cs_rank((close - low - (high - close)) / (high - low) * volume), group),
                    group,
                )
            )
            - cs_scale(
                cs_neutralise(
                    _corr(close, cs_rank(ts_mean(traded, 20)), 5) - cs_rank(ts_argmin(close, 30)), group
                )
            )
        )
        * (volume / ts_mean(traded, 20))
    )


def alpha101() -> Node:
    """Alpha#101: ((close - open) / ((high - low) + .001))"""
    return (close - open_) / (high - low + 0.001)


FACTORS: Final[dict[str, Factor]] = {
    make.__name__: make
    for make in (
        alpha001,
        alpha002,
        alpha003,
        alpha004,
        alpha005,
        alpha006,
        alpha007,
        alpha008,
        alpha009,
        alpha010,
        alpha011,
        alpha012,
        alpha013,
        alpha014,
        alpha015,
        alpha016,
        alpha017,
        alpha018,
        alpha019,
        alpha020,
        alpha021,
        alpha022,
        alpha023,
        alpha024,
        alpha025,
        alpha026,
        alpha027,
        alpha028,
        alpha029,
        alpha030,
        alpha031,
        alpha032,
        alpha033,
        alpha034,
        alpha035,
        alpha036,
        alpha037,
        alpha038,
        alpha039,
        alpha040,
        alpha041,
        alpha042,
        alpha043,
        alpha044,
        alpha045,
        alpha046,
        alpha047,
        alpha048,
        alpha049,
        alpha050,
        alpha051,
        alpha052,
        alpha053,
        alpha054,
        alpha055,
        alpha056,
        alpha057,
        alpha058,
        alpha059,
        alpha060,
        alpha061,
        alpha062,
        alpha063,
        alpha064,
        alpha065,
        alpha066,
        alpha067,
        alpha068,
        alpha069,
        alpha070,
        alpha071,
        alpha072,
        alpha073,
        alpha074,
        alpha075,
        alpha076,
        alpha077,
        alpha078,
        alpha079,
        alpha080,
        alpha081,
        alpha082,
        alpha083,
        alpha084,
        alpha085,
        alpha086,
        alpha087,
        alpha088,
        alpha089,
        alpha090,
        alpha091,
        alpha092,
        alpha093,
        alpha094,
        alpha095,
        alpha096,
        alpha097,
        alpha098,
        alpha099,
        alpha100,
        alpha101,
    )
}
"""alpha001 to alpha101."""


def nodes(group: Number = 1.0, cap: Number = 1.0, traded: Node = quote_volume) -> dict[str, Node]:
    """All 101, with the same group of a symbol, market capitalisation and traded value for all of them."""
    given: dict[str, Any] = {"group": group, "cap": cap, "traded": traded}
    made = {}
    for name, make in FACTORS.items():
        node = make(**{key: given[key] for key in inspect.signature(make).parameters})
        assert isinstance(node, Node)
        made[name] = node
    return made
