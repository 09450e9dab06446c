"""The factors of BMAC's users: PctChg, TrdNumMeanV1 and the classics of that community.

Names and the habit of one window `n` are theirs; formulas are written here as they are commonly known, and
each docstring says which of several versions is meant. In formulas x[k] is x of k bars ago, sums and means
without a window are over the last n bars. A factor is NaN until its window is full, where those who use
pandas often begin with one bar (min_periods=1); TrdNumMeanV1 does so here too, because BMAC's own did.
"""

from typing import Final

from factor_defs.fields import close, high, low, open_, quote_volume, taker_buy_quote, trade_num, volume, vwap
from factor_defs.published import Factor, defaults
from kernels.elementwise import absolute, log, maximum, minimum, sign
from kernels.exponential import ema, sma_cn
from kernels.extremes import ts_argmax, ts_argmin, ts_max, ts_min
from kernels.node import Node
from kernels.quantiles import ts_mad
from kernels.rolling import ts_count, ts_mean, ts_std, ts_sum, ts_sum_if, ts_zscore
from kernels.shift import delay, delta, pct_change
from kernels.trend import ts_forecast

__all__ = ["FACTORS", "nodes"]

_typical: Final = (high + low + close) / 3.0
_change: Final = delta(close, 1)
_true_range: Final = maximum(high, delay(close, 1)) - minimum(low, delay(close, 1))


# ---- BMAC's own ------------------------------------------------------------------------------------------


def pct_chg(n: int = 100) -> Node:
    """close / close[n] - 1. Source: BMAC's sample factor, df['close'].pct_change(n)."""
    return pct_change(close, n)


def trd_num_mean_v1(n: int = 80) -> Node:
    """Mean range of price per trade: mean of (high / low - 1) / trade_num, from the first bar on.

    BMAC's formula was never published. This one is ours: it has the size, the behaviour at the first bars
    (a mean of as many as there are) and the order of the coins that its published screenshots show. Bars
    without trades do not count.
    """
    return ts_mean((high / low - 1.0) / trade_num, n, 1)


# ---- price -----------------------------------------------------------------------------------------------


def ma(n: int = 20) -> Node:
    """Mean of close."""
    return ts_mean(close, n)


def ema_(n: int = 20) -> Node:
    """Exponential mean of close with span n, from the first bar on (pandas ewm(span=n, adjust=False))."""
    return ema(close, n)


def std(n: int = 20) -> Node:
    """Standard deviation of close, ddof 1."""
    return ts_std(close, n)


def zscore(n: int = 20) -> Node:
    """(close - mean(close)) / std(close)."""
    return ts_zscore(close, n)


def bias(n: int = 20) -> Node:
    """close / mean(close) - 1."""
    return close / ts_mean(close, n) - 1.0


def ema_bias(n: int = 20) -> Node:
    """close / ema(close, n) - 1."""
    return close / ema(close, n) - 1.0


def mtm(n: int = 20) -> Node:
    """Momentum in percent: 100 * (close / close[n] - 1)."""
    return 100.0 * pct_change(close, n)


def mtm_mean(n: int = 20) -> Node:
    """Mean of close / close[n] - 1."""
    return ts_mean(pct_change(close, n), n)


def roc(n: int = 20) -> Node:
    """Change of the mean: mean(close) / mean(close)[n] - 1."""
    return pct_change(ts_mean(close, n), n)


def dpo(n: int = 20) -> Node:
    """Detrended price: close / mean(close)[n // 2 + 1] - 1."""
    return close / delay(ts_mean(close, n), n // 2 + 1) - 1.0


def trix(n: int = 20) -> Node:
    """Change in percent of the exponential mean of the exponential mean of that of close, span n each."""
    return 100.0 * pct_change(ema(ema(ema(close, n), n), n), 1)


def reg(n: int = 20) -> Node:
    """close over the end of its regression line on time: close / forecast(close, n, 0) - 1."""
    return close / ts_forecast(close, n, 0) - 1.0


def macd(fast: int = 12, slow: int = 26, signal: int = 9) -> dict[str, Node]:
    """dif = ema(close, fast) - ema(close, slow); dea = ema(dif, signal); macd = 2 * (dif - dea)."""
    dif = ema(close, fast) - ema(close, slow)
    dea = ema(dif, signal)
    return {"dif": dif, "dea": dea, "macd": 2.0 * (dif - dea)}


def boll(n: int = 20, k: float = 2.0) -> dict[str, Node]:
    """Bollinger's bands: middle = mean(close), upper and lower = middle +- k * std(close);
    width = (upper - lower) / middle, position = (close - lower) / (upper - lower)."""
    middle = ts_mean(close, n)
    reach = k * ts_std(close, n)
    upper, lower = middle + reach, middle - reach
    return {
        "upper": upper,
        "middle": middle,
        "lower": lower,
        "width": 2.0 * reach / middle,
        "position": (close - lower) / (upper - lower),
    }


# ---- range -----------------------------------------------------------------------------------------------


def volatility(n: int = 20) -> Node:
    """Standard deviation of close / close[1] - 1, ddof 1."""
    return ts_std(pct_change(close, 1), n)


def amplitude(n: int = 20) -> Node:
    """max(high) / min(low) - 1."""
    return ts_max(high, n) / ts_min(low, n) - 1.0


def range_mean(n: int = 20) -> Node:
    """Mean of high / low - 1."""
    return ts_mean(high / low - 1.0, n)


def atr_pct(n: int = 20) -> Node:
    """mean(true range) / close; true range = max(high, close[1]) - min(low, close[1])."""
    return ts_mean(_true_range, n) / close


def min_max(n: int = 20) -> Node:
    """Where close lies in the window's range: (close - min(low)) / (max(high) - min(low)), 0 to 1."""
    bottom = ts_min(low, n)
    return (close - bottom) / (ts_max(high, n) - bottom)


def wr(n: int = 20) -> Node:
    """Williams' R, 0 to 100: 100 * (max(high) - close) / (max(high) - min(low))."""
    top = ts_max(high, n)
    return 100.0 * (top - close) / (top - ts_min(low, n))


def kdj(n: int = 9) -> dict[str, Node]:
    """k = SMA(rsv, 3, 1), d = SMA(k, 3, 1), j = 3 k - 2 d; rsv = 100 * MinMax(n).

    SMA(x, 3, 1) adds a third of what is new, from its first value on (pandas ewm(com=2, adjust=False)).
    """
    k = sma_cn(100.0 * min_max(n), 3, 1)
    d = sma_cn(k, 3, 1)
    return {"k": k, "d": d, "j": 3.0 * k - 2.0 * d}


def cci(n: int = 20) -> Node:
    """(tp - mean(tp)) / (0.015 * mad(tp)); tp = (high + low + close) / 3, mad: mean |tp - mean(tp)|."""
    return (_typical - ts_mean(_typical, n)) / (0.015 * ts_mad(_typical, n))


def aroon(n: int = 20) -> dict[str, Node]:
    """How new the extremes are, 100 / n for the oldest bar to 100 for this one: up = 100 * argmax(high) / n,
    down = 100 * argmin(low) / n, oscillator = up - down; the newest of equal ones."""
    up = ts_argmax(high, n, newest=True) * (100.0 / n)
    down = ts_argmin(low, n, newest=True) * (100.0 / n)
    return {"up": up, "down": down, "oscillator": up - down}


def er(n: int = 20) -> dict[str, Node]:
    """Elder's rays by the price: bull = high / ema(close, n) - 1, bear = low / ema(close, n) - 1."""
    mean = ema(close, n)
    return {"bull": high / mean - 1.0, "bear": low / mean - 1.0}


def efficiency(n: int = 20) -> Node:
    """Kaufman's efficiency ratio: |close - close[n]| / sum(|close - close[1]|), 0 to 1."""
    return absolute(delta(close, n)) / ts_sum(absolute(_change), n)


# ---- rises and falls -------------------------------------------------------------------------------------


def rsi(n: int = 14) -> Node:
    """Cutler's: 100 * sum(max(d, 0)) / sum(|d|), d = close - close[1]. Wilder's is `ta:RSI`."""
    return 100.0 * ts_sum(maximum(_change, 0.0), n) / ts_sum(absolute(_change), n)


def cmo(n: int = 20) -> Node:
    """Chande's oscillator: 100 * (close - close[n]) / sum(|close - close[1]|)."""
    return 100.0 * delta(close, n) / ts_sum(absolute(_change), n)


def psy(n: int = 20) -> Node:
    """Percent of rising bars: 100 * count(close > close[1]) / n."""
    return ts_count(close > delay(close, 1), n) * (100.0 / n)


# ---- volume ----------------------------------------------------------------------------------------------


def quote_volume_mean(n: int = 20) -> Node:
    """Mean of quote_volume."""
    return ts_mean(quote_volume, n)


def volume_mean(n: int = 20) -> Node:
    """Mean of volume."""
    return ts_mean(volume, n)


def volume_bias(n: int = 20) -> Node:
    """quote_volume / mean(quote_volume) - 1."""
    return quote_volume / ts_mean(quote_volume, n) - 1.0


def trade_num_mean(n: int = 20) -> Node:
    """Mean of trade_num."""
    return ts_mean(trade_num, n)


def taker_buy_ratio(n: int = 20) -> Node:
    """sum(taker_buy_quote_asset_volume) / sum(quote_volume), 0 to 1."""
    return ts_sum(taker_buy_quote, n) / ts_sum(quote_volume, n)


def vwap_bias(n: int = 20) -> Node:
    """vwap / mean(vwap) - 1; vwap = quote_volume / volume of the bar. `crypto:VwapDeviation` weighs bars."""
    return vwap / ts_mean(vwap, n) - 1.0


def obv(n: int = 20) -> Node:
    """On-balance volume of the window: sum(sign(close - close[1]) * volume)."""
    return ts_sum(sign(_change) * volume, n)


def force(n: int = 13) -> Node:
    """Elder's force: ema((close - close[1]) * volume, n)."""
    return ema(_change * volume, n)


def vr(n: int = 26) -> Node:
    """Volume ratio: 100 * (up + flat / 2) / (down + flat / 2), sums of volume of rising, unchanged and
    falling bars."""
    up = ts_sum_if(volume, close > delay(close, 1), n)
    down = ts_sum_if(volume, close < delay(close, 1), n)
    total = ts_sum(volume, n)
    return 100.0 * (total + up - down) / (total - up + down)


def mfi(n: int = 14) -> Node:
    """Money flow: 100 * up / (up + down), sums of tp * volume of bars with tp above and below tp[1];
    tp = (high + low + close) / 3."""
    flow = _typical * volume
    up = ts_sum_if(flow, _typical > delay(_typical, 1), n)
    down = ts_sum_if(flow, _typical < delay(_typical, 1), n)
    return 100.0 * up / (up + down)


def vao(n: int = 10) -> Node:
    """mean(v, n) - mean(v, 3 n); v = w + w[1], w = volume * (close - (high + low) / 2)."""
    w = volume * (close - (high + low) / 2.0)
    v = w + delay(w, 1)
    return ts_mean(v, n) - ts_mean(v, 3 * n)


def cmf(n: int = 20) -> Node:
    """Chaikin's flow: sum(volume * (2 close - high - low) / (high - low)) / sum(volume). A bar without range
    leaves the windows that hold it NaN."""
    return ts_sum(volume * (2.0 * close - high - low) / (high - low), n) / ts_sum(volume, n)


def log_volume_mean(n: int = 20) -> Node:
    """Mean of log(quote_volume + 1)."""
    return ts_mean(log(quote_volume + 1.0), n)


def body(n: int = 20) -> Node:
    """Mean of |close - open| / (high - low), the body's part of the range, over bars that have a range."""
    return ts_mean(absolute(close - open_) / (high - low), n, 1)


FACTORS: Final[dict[str, Factor]] = {
    "PctChg": pct_chg,
    "TrdNumMeanV1": trd_num_mean_v1,
    "Ma": ma,
    "Ema": ema_,
    "Std": std,
    "Zscore": zscore,
    "Bias": bias,
    "EmaBias": ema_bias,
    "Mtm": mtm,
    "MtmMean": mtm_mean,
    "Roc": roc,
    "Dpo": dpo,
    "Trix": trix,
    "Reg": reg,
    "Macd": macd,
    "Boll": boll,
    "Volatility": volatility,
    "Amplitude": amplitude,
    "RangeMean": range_mean,
    "AtrPct": atr_pct,
    "MinMax": min_max,
    "Wr": wr,
    "Kdj": kdj,
    "Cci": cci,
    "Aroon": aroon,
    "Er": er,
    "Efficiency": efficiency,
    "Rsi": rsi,
    "Cmo": cmo,
    "Psy": psy,
    "QuoteVolumeMean": quote_volume_mean,
    "VolumeMean": volume_mean,
    "VolumeBias": volume_bias,
    "LogVolumeMean": log_volume_mean,
    "TradeNumMean": trade_num_mean,
    "TakerBuyRatio": taker_buy_ratio,
    "VwapBias": vwap_bias,
    "Obv": obv,
    "Force": force,
    "Vr": vr,
    "Mfi": mfi,
    "Vao": vao,
    "Cmf": cmf,
    "Body": body,
}
"""Name, as in `["PctChg", 100]`, to function."""


def nodes() -> dict[str, Node]:
    """All with their default parameters, under their names; "Boll.upper" for one of several values."""
    return defaults(FACTORS)
