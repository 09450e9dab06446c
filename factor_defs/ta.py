"""The functions of TA-Lib that people use, under TA-Lib's names, parameters and outputs.

On complete bars each equals TA-Lib 0.8 (https://ta-lib.org), its seeding and the length of its warm-up
included; so where others have NaN for 0 / 0 these have TA-Lib's 0. TA-Lib takes differences below 1e-14 for
zero in places: at prices of 1e-12 it is wrong there, and these are not. During missing bars recursive filters
hold, windows are NaN; TA-Lib has no rule for them.

Differences: of equal extremes MAXINDEX, MININDEX and MINMAXINDEX take the newest, TA-Lib takes one or the
other, depending on what went before; BBANDS and the stochastics have their means as by default (SMA).
"""

import math
from collections.abc import Callable
from typing import Final

from factor_defs.fields import close, high, low, open_, volume
from factor_defs.published import Factor, defaults
from kernels.cumulative import cum_count, cum_sum
from kernels.elementwise import absolute, atan, fill, less, maximum, minimum, not_equal, select, sqrt
from kernels.exponential import dema as _dema
from kernels.exponential import ema as _ema
from kernels.exponential import exponential, rma
from kernels.exponential import kama as _kama
from kernels.exponential import tema as _tema
from kernels.extremes import ts_argmax, ts_argmin, ts_max, ts_min
from kernels.indicators import (
    directional_movement,
    ratio,
    relative_change,
    rises_falls,
    share,
    true_range,
    where_known,
)
from kernels.machines import directed_sum
from kernels.machines import sar as _sar
from kernels.machines import supertrend as _supertrend
from kernels.node import Node
from kernels.quantiles import ts_mad
from kernels.regression import ts_beta, ts_corr
from kernels.rolling import ts_mean, ts_sum, ts_var
from kernels.shift import delay, delta
from kernels.trend import ts_forecast, ts_slope
from kernels.weighted import decay_linear

__all__ = ["FACTORS", "nodes"]

_typical: Final = (high + low + close) / 3.0
_true_range: Final = true_range(high, low, close)


def _unless_rounding(difference: Node, x: Node, y: Node) -> Node:
    """The difference of x and y, or 0 where only the order in which prices were added makes one."""
    return select(less(1e-14 * (absolute(x) + absolute(y)), absolute(difference)), difference, 0.0)


# ---- moving averages --------------------------------------------------------------------------------------


def sma(timeperiod: int = 30, *, real: Node = close) -> Node:
    """Mean of the last `timeperiod` bars."""
    return ts_mean(real, timeperiod)


def ema(timeperiod: int = 30, *, real: Node = close) -> Node:
    """Exponential mean, alpha = 2 / (timeperiod + 1), begun at the mean of the first `timeperiod` values."""
    return _ema(real, timeperiod, "mean")


def wma(timeperiod: int = 30, *, real: Node = close) -> Node:
    """Weighted mean: `timeperiod` for the newest bar down to 1 for the oldest, over the sum of weights."""
    return decay_linear(real, timeperiod)


def dema_(timeperiod: int = 30, *, real: Node = close) -> Node:
    """2 e1 - e2, where e1 = EMA(real), e2 = EMA(e1)."""
    return _dema(real, timeperiod, "mean")


def tema_(timeperiod: int = 30, *, real: Node = close) -> Node:
    """3 e1 - 3 e2 + e3, each the EMA of the one before."""
    return _tema(real, timeperiod, "mean")


def trima(timeperiod: int = 30, *, real: Node = close) -> Node:
    """Mean with triangular weights: the SMA of an SMA, each of about half the bars."""
    return ts_mean(ts_mean(real, (timeperiod + 1) // 2), timeperiod // 2 + 1)


def kama_(timeperiod: int = 30, *, real: Node = close) -> Node:
    """Kaufman's adaptive mean, between EMAs of 2 and 30 bars."""
    return _kama(real, timeperiod)


def t3(timeperiod: int = 5, vfactor: float = 0.7, *, real: Node = close) -> Node:
    """Tillson's T3: GD(GD(GD(real))), where GD = EMA * (1 + v) - EMA(EMA) * v, from six EMAs in a row."""
    e = [real]
    for _ in range(6):
        e.append(_ema(e[-1], timeperiod, "mean"))
    v, v2, v3 = vfactor, vfactor**2, vfactor**3
    far = -v3 * e[6] + 3.0 * (v2 + v3) * e[5]
    return far - (6.0 * v2 + 3.0 * (v + v3)) * e[4] + (1.0 + 3.0 * v + v3 + 3.0 * v2) * e[3]


_MEANS: Final[dict[int, Callable[..., Node]]] = {
    0: sma,
    1: ema,
    2: wma,
    3: dema_,
    4: tema_,
    5: trima,
    6: kama_,
    8: t3,
}
"""TA-Lib's numbers for kinds of moving averages."""


def ma(timeperiod: int = 30, matype: int = 0, *, real: Node = close) -> Node:
    """A moving average by number: 0 SMA, 1 EMA, 2 WMA, 3 DEMA, 4 TEMA, 5 TRIMA, 6 KAMA, 8 T3."""
    if matype not in _MEANS:
        raise ValueError(f"matype is one of {[*_MEANS]}, found {matype}")
    return _MEANS[matype](timeperiod, real=real)


def rma_(timeperiod: int = 30, *, real: Node = close) -> Node:
    """Wilder's mean: exponential with alpha = 1 / timeperiod, begun at the mean of the first values."""
    return rma(real, timeperiod, "mean")


def midpoint(timeperiod: int = 14, *, real: Node = close) -> Node:
    """(highest + lowest) / 2 of the last `timeperiod` bars."""
    return (ts_max(real, timeperiod) + ts_min(real, timeperiod)) / 2.0


def midprice(timeperiod: int = 14) -> Node:
    """(highest high + lowest low) / 2 of the last `timeperiod` bars."""
    return (ts_max(high, timeperiod) + ts_min(low, timeperiod)) / 2.0


# ---- bands ------------------------------------------------------------------------------------------------


def bbands(
    timeperiod: int = 20, nbdevup: float = 2.0, nbdevdn: float = 2.0, *, real: Node = close
) -> dict[str, Node]:
    """Bollinger's bands: SMA, and that many population standard deviations above and below."""
    middle, deviation = ts_mean(real, timeperiod), stddev(timeperiod, real=real)
    return {
        "upperband": middle + nbdevup * deviation,
        "middleband": middle,
        "lowerband": middle - nbdevdn * deviation,
    }


def accbands(timeperiod: int = 20) -> dict[str, Node]:
    """Headley's bands: SMAs of high * (1 + w), close and low * (1 - w), w = 4 (high - low) / (high + low)."""
    width = ratio(4.0 * (high - low), high + low)
    return {
        "upperband": ts_mean(high * (1.0 + width), timeperiod),
        "middleband": ts_mean(close, timeperiod),
        "lowerband": ts_mean(low * (1.0 - width), timeperiod),
    }


def donchian(timeperiod: int = 20) -> dict[str, Node]:
    """Highest high, lowest low of the last `timeperiod` bars, and their middle."""
    upper, lower = ts_max(high, timeperiod), ts_min(low, timeperiod)
    return {"upperband": upper, "middleband": (upper + lower) / 2.0, "lowerband": lower}


def sar(acceleration: float = 0.02, maximum: float = 0.2) -> Node:
    """Wilder's parabolic stop and reverse."""
    return _sar(high, low, acceleration, maximum)


def supertrend(timeperiod: int = 10, multiplier: float = 3.0) -> dict[str, Node]:
    """A stop at `multiplier` ATRs from the middle of the bar, and the trend: 1.0 up, -1.0 down."""
    line, trend = _supertrend(high, low, close, timeperiod, multiplier)
    return {"supertrend": line, "trend": trend}


# ---- oscillators of one series ----------------------------------------------------------------------------


def macd(
    fastperiod: int = 12, slowperiod: int = 26, signalperiod: int = 9, *, real: Node = close
) -> dict[str, Node]:
    """fast EMA - slow EMA, its EMA, and the difference of the two. The fast EMA begins with the slow one."""
    fast, slow = sorted((fastperiod, slowperiod))
    return _macd(real, fast, slow, 2.0 / (fast + 1.0), 2.0 / (slow + 1.0), signalperiod)


def macdfix(signalperiod: int = 9, *, real: Node = close) -> dict[str, Node]:
    """MACD of 12 and 26 bars with the rounded factors 0.15 and 0.075 of its first publication."""
    return _macd(real, 12, 26, 0.15, 0.075, signalperiod)


def _macd(real: Node, fast: int, slow: int, alpha: float, slow_alpha: float, n: int) -> dict[str, Node]:
    line = exponential(real, alpha, skip=slow - fast, seed=fast) - exponential(real, slow_alpha, seed=slow)
    signal = _ema(line, n, "mean")
    return {"macd": where_known(line, signal), "macdsignal": signal, "macdhist": line - signal}


def apo(fastperiod: int = 12, slowperiod: int = 26, matype: int = 1, *, real: Node = close) -> Node:
    """fast mean - slow mean."""
    fast, slow = sorted((fastperiod, slowperiod))
    return ma(fast, matype, real=real) - ma(slow, matype, real=real)


def ppo(fastperiod: int = 12, slowperiod: int = 26, matype: int = 1, *, real: Node = close) -> Node:
    """100 * (fast mean - slow mean) / slow mean."""
    fast, slow = sorted((fastperiod, slowperiod))
    base = ma(slow, matype, real=real)
    return 100.0 * ratio(ma(fast, matype, real=real) - base, base)


def rsi(timeperiod: int = 14, *, real: Node = close) -> Node:
    """100 * mean rise / (mean rise + mean fall), Wilder's means; 0 where nothing moved."""
    up, down = rises_falls(real, timeperiod)
    return share(up, down, 100.0)


def cmo(timeperiod: int = 14, *, real: Node = close) -> Node:
    """Chande's momentum: 100 * (mean rise - mean fall) / (their sum), here with Wilder's means."""
    up, down = rises_falls(real, timeperiod)
    return 100.0 * ratio(up - down, up + down)


def stochrsi(
    timeperiod: int = 14, fastk_period: int = 5, fastd_period: int = 3, *, real: Node = close
) -> dict[str, Node]:
    """STOCHF of the RSI instead of prices."""
    x = rsi(timeperiod, real=real)
    return _stochf(x, x, x, fastk_period, fastd_period)


def mom(timeperiod: int = 10, *, real: Node = close) -> Node:
    """Change since `timeperiod` bars ago."""
    return delta(real, timeperiod)


def rocp(timeperiod: int = 10, *, real: Node = close) -> Node:
    """(x - old) / old, where old is x `timeperiod` bars ago."""
    return relative_change(real, timeperiod)


def roc(timeperiod: int = 10, *, real: Node = close) -> Node:
    """100 * (x / old - 1)."""
    return relative_change(real, timeperiod, 100.0)


def rocr(timeperiod: int = 10, *, real: Node = close) -> Node:
    """x / old."""
    return ratio(real, delay(real, timeperiod))


def rocr100(timeperiod: int = 10, *, real: Node = close) -> Node:
    """100 * x / old."""
    return 100.0 * rocr(timeperiod, real=real)


def trix(timeperiod: int = 30, *, real: Node = close) -> Node:
    """Percent change, over one bar, of the EMA of the EMA of the EMA."""
    x = real
    for _ in range(3):
        x = _ema(x, timeperiod, "mean")
    return roc(1, real=x)


# ---- oscillators of the bar -------------------------------------------------------------------------------


def _position(high: Node, low: Node, close: Node, n: int) -> Node:
    """Percent of the way from lowest low to highest high; 0 where there is no way."""
    bottom = ts_min(low, n)
    return 100.0 * ratio(close - bottom, ts_max(high, n) - bottom)


def _stochf(high: Node, low: Node, close: Node, k: int, d: int) -> dict[str, Node]:
    fastk = _position(high, low, close, k)
    fastd = ts_mean(fastk, d)
    return {"fastk": where_known(fastk, fastd), "fastd": fastd}


def stochf(fastk_period: int = 5, fastd_period: int = 3) -> dict[str, Node]:
    """Percent of the way from lowest low to highest high, and its mean."""
    return _stochf(high, low, close, fastk_period, fastd_period)


def stoch(fastk_period: int = 5, slowk_period: int = 3, slowd_period: int = 3) -> dict[str, Node]:
    """Mean of the percent of the way from lowest low to highest high, and the mean of that."""
    slowk = ts_mean(_position(high, low, close, fastk_period), slowk_period)
    slowd = ts_mean(slowk, slowd_period)
    return {"slowk": where_known(slowk, slowd), "slowd": slowd}


def willr(timeperiod: int = 14) -> Node:
    """-100 * (highest high - close) / (highest high - lowest low)."""
    top = ts_max(high, timeperiod)
    return -100.0 * ratio(top - close, top - ts_min(low, timeperiod))


def cci(timeperiod: int = 14) -> Node:
    """(typical price - its mean) / (0.015 * mean absolute deviation)."""
    mean = ts_mean(_typical, timeperiod)
    away = _unless_rounding(_typical - mean, _typical, mean)
    return ratio(away, 0.015 * ts_mad(_typical, timeperiod))


def aroon(timeperiod: int = 14) -> dict[str, Node]:
    """100 * (timeperiod - bars since the lowest low, the highest high) / timeperiod; the newest of equals."""
    down = ts_argmin(low, timeperiod + 1, newest=True)
    up = ts_argmax(high, timeperiod + 1, newest=True)
    return {"aroondown": 100.0 / timeperiod * (down - 1.0), "aroonup": 100.0 / timeperiod * (up - 1.0)}


def aroonosc(timeperiod: int = 14) -> Node:
    """Aroon up - Aroon down."""
    lines = aroon(timeperiod)
    return lines["aroonup"] - lines["aroondown"]


def bop() -> Node:
    """(close - open) / (high - low)."""
    return ratio(close - open_, high - low)


def ultosc(timeperiod1: int = 7, timeperiod2: int = 14, timeperiod3: int = 28) -> Node:
    """Williams' ultimate oscillator: buying pressure over true range of three windows, weights 4, 2, 1."""
    pressure = close - minimum(low, delay(close, 1))
    short, middle, long = (
        ratio(ts_sum(pressure, n), ts_sum(_true_range, n))
        for n in sorted((timeperiod1, timeperiod2, timeperiod3))
    )
    return 100.0 / 7.0 * (4.0 * short + 2.0 * middle + long)


def imi(timeperiod: int = 14) -> Node:
    """100 * sum of gains / (gains + losses), from open to close within bars; 50 where nothing moved."""
    move = close - open_
    gains = ts_sum(maximum(move, 0.0), timeperiod)
    return 100.0 * ratio(gains, gains + ts_sum(maximum(-move, 0.0), timeperiod), 0.5)


# ---- directional movement ---------------------------------------------------------------------------------


def _wilder(x: Node, n: int, least: int) -> Node:
    """Wilder's sum over n: the first is of n - 1 values, as TA-Lib has it."""
    if n < 2:
        return x
    return float(n) * exponential(x, 1.0 / n, seed=n - 1, divisor=float(n), least=least)


def plus_dm(timeperiod: int = 14) -> Node:
    """Wilder's sum of rises of the high, where they are greater than falls of the low."""
    return _wilder(directional_movement(high, low)[0], timeperiod, timeperiod - 1)


def minus_dm(timeperiod: int = 14) -> Node:
    """Wilder's sum of falls of the low, where they are greater than rises of the high."""
    return _wilder(directional_movement(high, low)[1], timeperiod, timeperiod - 1)


def _indicator(movement: Node, n: int) -> Node:
    # For one bar TA-Lib leaves the 100 out.
    return (100.0 if n > 1 else 1.0) * ratio(movement, _wilder(_true_range, n, n))


def plus_di(timeperiod: int = 14) -> Node:
    """100 * PLUS_DM / Wilder's sum of the true range; a period of 1 gives a fraction, as TA-Lib's."""
    return _indicator(plus_dm(timeperiod), timeperiod)


def minus_di(timeperiod: int = 14) -> Node:
    """100 * MINUS_DM / Wilder's sum of the true range; a period of 1 gives a fraction, as TA-Lib's."""
    return _indicator(minus_dm(timeperiod), timeperiod)


def dx(timeperiod: int = 14) -> Node:
    """100 * |PLUS_DI - MINUS_DI| / (PLUS_DI + MINUS_DI)."""
    plus, minus = plus_di(timeperiod), minus_di(timeperiod)
    return 100.0 * ratio(absolute(plus - minus), plus + minus)


def adx(timeperiod: int = 14) -> Node:
    """Wilder's mean of DX."""
    return rma(dx(timeperiod), timeperiod, "mean")


def adxr(timeperiod: int = 14) -> Node:
    """Mean of ADX now and timeperiod - 1 bars ago."""
    x = adx(timeperiod)
    return (x + delay(x, timeperiod - 1)) / 2.0


# ---- ranges -----------------------------------------------------------------------------------------------


def trange() -> Node:
    """The greatest of high - low, |high - last close|, |low - last close|."""
    return _true_range


def atr(timeperiod: int = 14) -> Node:
    """Wilder's mean of the true range."""
    return rma(_true_range, timeperiod, "mean") if timeperiod > 1 else _true_range


def natr(timeperiod: int = 14) -> Node:
    """100 * ATR / close."""
    return 100.0 * ratio(atr(timeperiod), close)


# ---- volume -----------------------------------------------------------------------------------------------


def mfi(timeperiod: int = 14) -> Node:
    """100 * money flow of rises / money flow: typical price * volume, by the typical price's direction."""
    old = delay(_typical, 1)
    change = _typical - old
    flow = select(not_equal(_unless_rounding(change, _typical, old), 0.0), _typical * volume, 0.0)
    rises = ts_sum(select(less(change, 0.0), 0.0, flow), timeperiod)
    return 100.0 * ratio(rises, ts_sum(flow, timeperiod))


def obv(*, real: Node = close) -> Node:
    """Sum of volume with the sign of the price's change; it begins with the first bar's volume."""
    return directed_sum(real, volume)


def ad() -> Node:
    """Sum of volume * ((close - low) - (high - close)) / (high - low); 0 for a bar without a range."""
    return cum_sum(ratio((close - low) - (high - close), high - low) * volume)


def adosc(fastperiod: int = 3, slowperiod: int = 10) -> Node:
    """Chaikin's oscillator: fast EMA - slow EMA of AD, both begun at its first value."""
    line, least = ad(), max(fastperiod, slowperiod)
    fast = exponential(line, 2.0 / (fastperiod + 1.0), least=least)
    return fast - exponential(line, 2.0 / (slowperiod + 1.0), least=least)


# ---- statistics -------------------------------------------------------------------------------------------


def var(timeperiod: int = 5, *, real: Node = close) -> Node:
    """Population variance of the last `timeperiod` bars."""
    if timeperiod == 1:
        return real - real
    return ts_var(real, timeperiod) * ((timeperiod - 1.0) / timeperiod)


def stddev(timeperiod: int = 5, nbdev: float = 1.0, *, real: Node = close) -> Node:
    """`nbdev` population standard deviations of the last `timeperiod` bars."""
    one = sqrt(var(timeperiod, real=real))
    return one if nbdev == 1.0 else nbdev * one


def avgdev(timeperiod: int = 14, *, real: Node = close) -> Node:
    """Mean absolute deviation from the mean of the last `timeperiod` bars."""
    return ts_mad(real, timeperiod)


def linearreg(timeperiod: int = 14, *, real: Node = close) -> Node:
    """The end, at the present bar, of the regression line through the last `timeperiod` bars."""
    return ts_forecast(real, timeperiod, 0)


def linearreg_slope(timeperiod: int = 14, *, real: Node = close) -> Node:
    """Slope of the regression line, per bar."""
    return ts_slope(real, timeperiod)


def linearreg_intercept(timeperiod: int = 14, *, real: Node = close) -> Node:
    """The beginning, at the oldest bar, of the regression line."""
    return ts_forecast(real, timeperiod, 1 - timeperiod)


def linearreg_angle(timeperiod: int = 14, *, real: Node = close) -> Node:
    """Angle of the regression line in degrees."""
    return atan(ts_slope(real, timeperiod)) * (180.0 / math.pi)


def tsf(timeperiod: int = 14, *, real: Node = close) -> Node:
    """The regression line one bar ahead."""
    return ts_forecast(real, timeperiod, 1)


def beta(timeperiod: int = 5, *, real0: Node = high, real1: Node = low) -> Node:
    """Slope of the returns of real1 on those of real0, over `timeperiod` returns; 0 without variance."""
    x, y = rocp(1, real=real0), rocp(1, real=real1)
    return _defined(ts_beta(y, x, timeperiod), ts_mean(x, timeperiod) + ts_mean(y, timeperiod))


def correl(timeperiod: int = 30, *, real0: Node = high, real1: Node = low) -> Node:
    """Pearson's correlation of the last `timeperiod` bars; 0 without variance."""
    return _defined(
        ts_corr(real0, real1, timeperiod), ts_mean(real0, timeperiod) + ts_mean(real1, timeperiod)
    )


def _defined(x: Node, complete: Node) -> Node:
    """x, or 0 where it is undefined though the window is complete."""
    return where_known(fill(x, 0.0), complete)


# ---- windows ----------------------------------------------------------------------------------------------


def max_(timeperiod: int = 30, *, real: Node = close) -> Node:
    """Highest value of the last `timeperiod` bars."""
    return ts_max(real, timeperiod)


def min_(timeperiod: int = 30, *, real: Node = close) -> Node:
    """Lowest value of the last `timeperiod` bars."""
    return ts_min(real, timeperiod)


def minmax(timeperiod: int = 30, *, real: Node = close) -> dict[str, Node]:
    """Lowest and highest value of the last `timeperiod` bars."""
    return {"min": ts_min(real, timeperiod), "max": ts_max(real, timeperiod)}


def maxindex(timeperiod: int = 30, *, real: Node = close) -> Node:
    """The bar of the highest value, counted from the symbol's first bar = 0; the newest of equals."""
    return _bar(real) + (ts_argmax(real, timeperiod, newest=True) - float(timeperiod))


def minindex(timeperiod: int = 30, *, real: Node = close) -> Node:
    """The bar of the lowest value, counted from the symbol's first bar = 0; the newest of equals."""
    return _bar(real) + (ts_argmin(real, timeperiod, newest=True) - float(timeperiod))


def minmaxindex(timeperiod: int = 30, *, real: Node = close) -> dict[str, Node]:
    """MININDEX and MAXINDEX."""
    return {"minidx": minindex(timeperiod, real=real), "maxidx": maxindex(timeperiod, real=real)}


def _bar(x: Node) -> Node:
    """Bars since the first value of x, missing ones too."""
    return cum_sum(less(0.0, cum_count(x))) - 1.0


def sum_(timeperiod: int = 30, *, real: Node = close) -> Node:
    """Sum of the last `timeperiod` bars."""
    return ts_sum(real, timeperiod)


# ---- prices of the bar ------------------------------------------------------------------------------------


def avgprice() -> Node:
    """(open + high + low + close) / 4."""
    return (open_ + high + low + close) / 4.0


def medprice() -> Node:
    """(high + low) / 2."""
    return (high + low) / 2.0


def typprice() -> Node:
    """(high + low + close) / 3."""
    return _typical


def wclprice() -> Node:
    """(high + low + 2 close) / 4."""
    return (high + low + 2.0 * close) / 4.0


FACTORS: Final[dict[str, Factor]] = {
    "ACCBANDS": accbands,
    "AD": ad,
    "ADOSC": adosc,
    "ADX": adx,
    "ADXR": adxr,
    "APO": apo,
    "AROON": aroon,
    "AROONOSC": aroonosc,
    "ATR": atr,
    "AVGDEV": avgdev,
    "AVGPRICE": avgprice,
    "BBANDS": bbands,
    "BETA": beta,
    "BOP": bop,
    "CCI": cci,
    "CMO": cmo,
    "CORREL": correl,
    "DEMA": dema_,
    "DONCHIAN": donchian,
    "DX": dx,
    "EMA": ema,
    "IMI": imi,
    "KAMA": kama_,
    "LINEARREG": linearreg,
    "LINEARREG_ANGLE": linearreg_angle,
    "LINEARREG_INTERCEPT": linearreg_intercept,
    "LINEARREG_SLOPE": linearreg_slope,
    "MA": ma,
    "MACD": macd,
    "MACDFIX": macdfix,
    "MAX": max_,
    "MAXINDEX": maxindex,
    "MEDPRICE": medprice,
    "MFI": mfi,
    "MIDPOINT": midpoint,
    "MIDPRICE": midprice,
    "MIN": min_,
    "MININDEX": minindex,
    "MINMAX": minmax,
    "MINMAXINDEX": minmaxindex,
    "MINUS_DI": minus_di,
    "MINUS_DM": minus_dm,
    "MOM": mom,
    "NATR": natr,
    "OBV": obv,
    "PLUS_DI": plus_di,
    "PLUS_DM": plus_dm,
    "PPO": ppo,
    "RMA": rma_,
    "ROC": roc,
    "ROCP": rocp,
    "ROCR": rocr,
    "ROCR100": rocr100,
    "RSI": rsi,
    "SAR": sar,
    "SMA": sma,
    "STDDEV": stddev,
    "STOCH": stoch,
    "STOCHF": stochf,
    "STOCHRSI": stochrsi,
    "SUM": sum_,
    "SUPERTREND": supertrend,
    "T3": t3,
    "TEMA": tema_,
    "TRANGE": trange,
    "TRIMA": trima,
    "TRIX": trix,
    "TSF": tsf,
    "TYPPRICE": typprice,
    "ULTOSC": ultosc,
    "VAR": var,
    "WCLPRICE": wclprice,
    "WILLR": willr,
    "WMA": wma,
}
"""TA-Lib's name -> function. Parameters are TA-Lib's, in its order."""


def nodes() -> dict[str, Node]:
    """Every function with TA-Lib's default parameters, "NAME" or "NAME.output"."""
    return defaults(FACTORS)
