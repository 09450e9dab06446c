"""Factors of a market that trades around the clock and says who was the taker.

Flow, liquidity, realised volatility, and each coin against BTC and against the market. In formulas r is
log(close / close[1]), x[k] is x of k bars ago. Nothing is annualised: a volatility is per bar; multiply it by
the square root of the bars in a year. Where a bar without trades leaves a value undefined, the docstring says
whether the window goes on without it.

Factors against the market stand in the cross-section: they see the symbols that are members at that bar.
They need fields that are no columns of a bar, which the engine supplies (see below).
"""

import math
from typing import Final

from factor_defs.fields import (
    close,
    high,
    low,
    open_,
    quote_volume,
    taker_buy_base,
    taker_buy_quote,
    trade_num,
    volume,
)
from factor_defs.published import Factor, defaults
from kernels.cross_section import cs_mean, cs_pick, cs_rank, cs_std
from kernels.cumulative import cum_sum, ts_fill, ts_max_drawdown
from kernels.elementwise import absolute, fill, floor, log, sqrt
from kernels.node import Node, field
from kernels.regression import ts_beta, ts_beta_residual, ts_corr
from kernels.rolling import ts_kurt, ts_mean, ts_skew, ts_sum, ts_sum_if, ts_var, ts_zscore
from kernels.shift import delay, log_change, pct_change
from kernels.trend import ts_slope

__all__ = ["FACTORS", "funding_rate", "is_btc", "nodes", "open_time"]

# ---- fields beyond the bar's prices and volumes ----------------------------------------------------------

open_time: Final[Node] = field("open_time")
"""Left edge of the bar in ms since 1970, UTC; NaN for an absent bar."""
is_btc: Final[Node] = field("is_btc")
"""1.0 for the one symbol that coins are measured by (BTC's), else 0.0."""
funding_rate: Final[Node] = field("funding_rate")
"""The funding rate known at the bar's end, as a fraction per funding interval; NaN where there is none."""

_r: Final = log_change(close, 1)
_signed_base: Final = 2.0 * taker_buy_base - volume
_signed_quote: Final = 2.0 * taker_buy_quote - quote_volume
_DAY_MS: Final = 86_400_000.0
_day: Final = ts_fill(floor(open_time / _DAY_MS))
_new_day: Final = fill(_day > delay(_day, 1), 0.0)


# ---- who was the taker -----------------------------------------------------------------------------------


def taker_ratio(window: int = 20) -> Node:
    """Share of quote volume that takers bought, 0 to 1: ts_sum(taker_buy_quote) / ts_sum(quote_volume)."""
    return ts_sum(taker_buy_quote, window) / ts_sum(quote_volume, window)


def taker_flow(window: int = 20) -> Node:
    """Bought less sold by takers, -1 to 1: ts_sum(2 taker_buy_quote - quote_volume) /
    ts_sum(quote_volume)."""
    return ts_sum(_signed_quote, window) / ts_sum(quote_volume, window)


def cvd(window: int = 60) -> Node:
    """Cumulative volume delta of the window in base asset: ts_sum(2 taker_buy_base - volume)."""
    return ts_sum(_signed_base, window)


def cvd_session() -> Node:
    """Cumulative volume delta since 00:00 UTC in base asset; needs `open_time`."""
    return cum_sum(_signed_base, _new_day)


def cvd_slope(window: int = 20) -> Node:
    """Slope of the cumulative volume delta by mean volume: ts_slope(cum_sum(2 taker_buy_base - volume)) /
    ts_mean(volume); 1 when every trade is a taker's buy."""
    return ts_slope(cum_sum(_signed_base), window) / ts_mean(volume, window)


def up_down_volume(window: int = 20) -> Node:
    """(up - down) / (up + down), -1 to 1: volume of rising and of falling bars; NaN where there are none."""
    up = ts_sum_if(volume, close > delay(close, 1), window)
    down = ts_sum_if(volume, close < delay(close, 1), window)
    return (up - down) / (up + down)


# ---- liquidity and activity ------------------------------------------------------------------------------


def amihud(window: int = 60) -> Node:
    """Illiquidity: mean of |r| / quote_volume over bars with trades, at least half of the window.

    Source: Amihud, Illiquidity and stock returns, Journal of Financial Markets 5 (2002).
    """
    return ts_mean(absolute(_r) / quote_volume, window, (window + 1) // 2)


def kyle_lambda(window: int = 60) -> Node:
    """Price impact per unit of quote volume: slope of r on 2 taker_buy_quote - quote_volume.

    Source: Kyle, Continuous auctions and insider trading, Econometrica 53 (1985); as a regression: Hasbrouck.
    """
    return ts_beta(_r, _signed_quote, window)


def trade_size(window: int = 20) -> Node:
    """Average trade in quote asset: ts_sum(quote_volume) / ts_sum(trade_num)."""
    return ts_sum(quote_volume, window) / ts_sum(trade_num, window)


def volume_z(window: int = 60) -> Node:
    """ts_zscore(quote_volume)."""
    return ts_zscore(quote_volume, window)


def trade_num_z(window: int = 60) -> Node:
    """ts_zscore(trade_num)."""
    return ts_zscore(trade_num, window)


def vwap_deviation(window: int = 60) -> Node:
    """close by the window's mean price of trades: close * ts_sum(volume) / ts_sum(quote_volume) - 1."""
    return close * ts_sum(volume, window) / ts_sum(quote_volume, window) - 1.0


def vwap_session() -> Node:
    """close by the mean price of trades since 00:00 UTC, less 1; needs `open_time`."""
    return close * cum_sum(volume, _new_day) / cum_sum(quote_volume, _new_day) - 1.0


# ---- realised volatility, per bar ------------------------------------------------------------------------

_span_2: Final = log(high / low) * log(high / low)
_body: Final = log(close / open_)
_rs: Final = log(high / close) * log(high / open_) + log(low / close) * log(low / open_)


def vol_close(window: int = 60) -> Node:
    """sqrt(mean of r^2)."""
    return sqrt(ts_mean(_r * _r, window))


def vol_parkinson(window: int = 60) -> Node:
    """sqrt(mean of log(high / low)^2 / (4 log 2)). Source: Parkinson, Journal of Business 53 (1980)."""
    return sqrt(ts_mean(_span_2, window) * (0.25 / math.log(2.0)))


def vol_garman_klass(window: int = 60) -> Node:
    """sqrt(mean of log(high / low)^2 / 2 - (2 log 2 - 1) log(close / open)^2).

    Source: Garman and Klass, Journal of Business 53 (1980).
    """
    return sqrt(ts_mean(0.5 * _span_2 - (2.0 * math.log(2.0) - 1.0) * (_body * _body), window))


def vol_rogers_satchell(window: int = 60) -> Node:
    """sqrt(mean of log(high/close) log(high/open) + log(low/close) log(low/open)).

    Source: Rogers and Satchell, Annals of Applied Probability 1 (1991).
    """
    return sqrt(ts_mean(_rs, window))


def vol_yang_zhang(window: int = 60) -> Node:
    """sqrt(var(log(open / close[1])) + k var(log(close / open)) + (1 - k) rs), variances with ddof 1,
    rs the mean of Rogers and Satchell, k = 0.34 / (1.34 + (window + 1) / (window - 1)); window >= 2.

    Source: Yang and Zhang, Journal of Business 73 (2000).
    """
    if window < 2:
        raise ValueError(f"VolYangZhang: window must be 2 or more, found {window}")
    k = 0.34 / (1.34 + (window + 1) / (window - 1))
    gap = ts_var(log(open_ / delay(close, 1)), window)
    return sqrt(gap + k * ts_var(_body, window) + (1.0 - k) * ts_mean(_rs, window))


def return_skew(window: int = 60) -> Node:
    """ts_skew(r)."""
    return ts_skew(_r, window)


def return_kurt(window: int = 60) -> Node:
    """ts_kurt(r), excess."""
    return ts_kurt(_r, window)


def max_drawdown(window: int = 60) -> Node:
    """The deepest fall of close from a high before it within the window: ts_max_drawdown(close)."""
    return ts_max_drawdown(close, window)


# ---- against BTC and the market --------------------------------------------------------------------------

_btc_r: Final = cs_pick(_r, is_btc)
_market_r: Final = cs_mean(_r)


def btc_beta(window: int = 60) -> Node:
    """Slope of r on BTC's r; needs `is_btc`."""
    return ts_beta(_r, _btc_r, window)


def btc_residual(window: int = 60) -> Node:
    """What is left of r after its regression on BTC's r; needs `is_btc`."""
    return ts_beta_residual(_r, _btc_r, window)


def btc_corr(window: int = 60) -> Node:
    """Correlation of r with BTC's r; needs `is_btc`."""
    return ts_corr(_r, _btc_r, window)


def btc_relative(window: int = 60) -> Node:
    """close / close[window] less BTC's; needs `is_btc`."""
    change = pct_change(close, window)
    return change - cs_pick(change, is_btc)


def market_beta(window: int = 60) -> Node:
    """Slope of r on the mean r of all members."""
    return ts_beta(_r, _market_r, window)


def market_residual(window: int = 60) -> Node:
    """What is left of r after its regression on the mean r of all members."""
    return ts_beta_residual(_r, _market_r, window)


def market_corr(window: int = 60) -> Node:
    """Correlation of r with the mean r of all members."""
    return ts_corr(_r, _market_r, window)


def market_return(window: int = 1) -> Node:
    """Mean of close / close[window] - 1 over all members."""
    return cs_mean(pct_change(close, window))


def dispersion(window: int = 1) -> Node:
    """Standard deviation of close / close[window] - 1 over all members, ddof 1."""
    return cs_std(pct_change(close, window))


def breadth(window: int = 1) -> Node:
    """Share of members with close > close[window], 0 to 1."""
    return cs_mean(close > delay(close, window))


def breadth_mean(window: int = 60) -> Node:
    """Share of members with close above its own mean: cs_mean(close > ts_mean(close))."""
    return cs_mean(close > ts_mean(close, window))


def rank_return(window: int = 20) -> Node:
    """cs_rank(close / close[window] - 1)."""
    return cs_rank(pct_change(close, window))


def rank_volume(window: int = 20) -> Node:
    """cs_rank(ts_sum(quote_volume))."""
    return cs_rank(ts_sum(quote_volume, window))


def rank_volatility(window: int = 60) -> Node:
    """cs_rank(VolClose)."""
    return cs_rank(vol_close(window))


# ---- funding ---------------------------------------------------------------------------------------------


def funding() -> Node:
    """The funding rate; needs `funding_rate`, as all below."""
    return funding_rate


def funding_mean(window: int = 60) -> Node:
    """ts_mean(funding_rate)."""
    return ts_mean(funding_rate, window)


def funding_z(window: int = 60) -> Node:
    """ts_zscore(funding_rate)."""
    return ts_zscore(funding_rate, window)


def rank_funding() -> Node:
    """cs_rank(funding_rate)."""
    return cs_rank(funding_rate)


FACTORS: Final[dict[str, Factor]] = {
    "TakerRatio": taker_ratio,
    "TakerFlow": taker_flow,
    "Cvd": cvd,
    "CvdSession": cvd_session,
    "CvdSlope": cvd_slope,
    "UpDownVolume": up_down_volume,
    "Amihud": amihud,
    "KyleLambda": kyle_lambda,
    "TradeSize": trade_size,
    "VolumeZ": volume_z,
    "TradeNumZ": trade_num_z,
    "VwapDeviation": vwap_deviation,
    "VwapSession": vwap_session,
    "VolClose": vol_close,
    "VolParkinson": vol_parkinson,
    "VolGarmanKlass": vol_garman_klass,
    "VolRogersSatchell": vol_rogers_satchell,
    "VolYangZhang": vol_yang_zhang,
    "ReturnSkew": return_skew,
    "ReturnKurt": return_kurt,
    "MaxDrawdown": max_drawdown,
    "BtcBeta": btc_beta,
    "BtcResidual": btc_residual,
    "BtcCorr": btc_corr,
    "BtcRelative": btc_relative,
    "MarketBeta": market_beta,
    "MarketResidual": market_residual,
    "MarketCorr": market_corr,
    "MarketReturn": market_return,
    "Dispersion": dispersion,
    "Breadth": breadth,
    "BreadthMean": breadth_mean,
    "RankReturn": rank_return,
    "RankVolume": rank_volume,
    "RankVolatility": rank_volatility,
    "Funding": funding,
    "FundingMean": funding_mean,
    "FundingZ": funding_z,
    "RankFunding": rank_funding,
}
"""Name, as in `["crypto:Amihud", 60]`, to function."""


def nodes() -> dict[str, Node]:
    """All with their default parameters, under their names."""
    return defaults(FACTORS)
