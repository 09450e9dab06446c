"""Alpha158 of qlib: 9 shapes of the bar, 4 prices and 29 rolling factors over 5, 10, 20, 30 and 60 bars.

Names and formulas are those of qlib's `Alpha158DL` (microsoft/qlib, qlib/contrib/data/loader.py); VWAP is
`fields.vwap`. What differs, on purpose:

- qlib's windows begin with one bar (min_periods=1); here a factor is NaN until its window is full, as in
  KunQuant (KunQuant/predefined/Alpha158.py), and while a bar of the window is missing.
- Undefined is NaN: a correlation or an R2 without variance. qlib blanks a standard deviation below 2e-5,
  which would be every coin below a cent; KunQuant writes 0 for a correlation.
- A bar without volume makes CORD undefined for the next `window` bars (log of inf); KunQuant adds 1e-12.
- Of equal extremes the oldest counts, as in qlib; `newest=True` takes the newest, as KunQuant does.

What several factors need is written in one way, so that a plan computes it once: the mean and deviation of a
window are one pass, so are its three regression factors, its extreme and where it lies, its two quantiles and
the rank, its rises and falls, and what several of them are divided by (kernels/ratios.py).
"""

from collections.abc import Callable
from typing import Final

from factor_defs.fields import close, high, low, open_, volume, vwap
from kernels.elementwise import absolute, log
from kernels.extremes import ts_argmax, ts_argmin, ts_max, ts_min
from kernels.node import Node
from kernels.quantiles import ts_order
from kernels.ratios import (
    bar_shape,
    both_over,
    moments_over,
    position,
    root_over,
    ts_move_shares,
    ts_path_shares,
)
from kernels.regression import ts_corr
from kernels.rolling import ts_mean, ts_var
from kernels.shift import delay
from kernels.trend import ts_residual, ts_rsquare, ts_slope, ts_trend_mean, ts_trend_var

__all__ = ["FACTORS", "WINDOWS", "nodes"]

WINDOWS: Final = (5, 10, 20, 30, 60)
"""The windows of the published set, in bars."""

_EPSILON: Final = 1e-12
"""qlib's guard against a division by zero."""


# ---- the shape of the bar --------------------------------------------------------------------------------

_shape: Final = bar_shape(open_, high, low, close, _EPSILON)


def kmid() -> Node:
    """(close - open) / open."""
    return _shape["mid"]


def klen() -> Node:
    """(high - low) / open."""
    return _shape["length"]


def kmid2() -> Node:
    """(close - open) / (high - low + 1e-12)."""
    return _shape["mid_2"]


def kup() -> Node:
    """The upper shadow: (high - max(open, close)) / open."""
    return _shape["up"]


def kup2() -> Node:
    """(high - max(open, close)) / (high - low + 1e-12)."""
    return _shape["up_2"]


def klow() -> Node:
    """The lower shadow: (min(open, close) - low) / open."""
    return _shape["down"]


def klow2() -> Node:
    """(min(open, close) - low) / (high - low + 1e-12)."""
    return _shape["down_2"]


def ksft() -> Node:
    """(2 close - high - low) / open."""
    return _shape["shift"]


def ksft2() -> Node:
    """(2 close - high - low) / (high - low + 1e-12)."""
    return _shape["shift_2"]


# ---- prices ----------------------------------------------------------------------------------------------


def _price(x: Node, d: int) -> Node:
    return (delay(x, d) if d else x) / close


def open_price(d: int = 0) -> Node:
    """open[d] / close: the open d bars ago."""
    return _price(open_, d)


def high_price(d: int = 0) -> Node:
    """high[d] / close."""
    return _price(high, d)


def low_price(d: int = 0) -> Node:
    """low[d] / close."""
    return _price(low, d)


def vwap_price(d: int = 0) -> Node:
    """vwap[d] / close."""
    return _price(vwap, d)


# ---- close over a window ---------------------------------------------------------------------------------


def roc(window: int = 5) -> Node:
    """close[window] / close: the close `window` bars ago."""
    return delay(close, window) / close


def _moments(x: Node, window: int, by: Node) -> tuple[Node, Node]:
    return moments_over(ts_mean(x, window), ts_var(x, window), by)


def _close_moments(window: int) -> tuple[Node, Node]:
    # The pass of the line on time has both: the set needs it anyway for BETA, RSQR and RESI.
    return moments_over(ts_trend_mean(close, window), ts_trend_var(close, window), close)


def ma(window: int = 5) -> Node:
    """ts_mean(close, window) / close."""
    return _close_moments(window)[0]


def std(window: int = 5) -> Node:
    """ts_std(close, window) / close."""
    return _close_moments(window)[1]


def beta(window: int = 5) -> Node:
    """Slope of close on time, per bar: ts_slope(close, window) / close."""
    return both_over(ts_slope(close, window), ts_residual(close, window), close)[0]


def rsqr(window: int = 5) -> Node:
    """R2 of close on time: ts_rsquare(close, window); NaN while close does not move."""
    return ts_rsquare(close, window)


def resi(window: int = 5) -> Node:
    """The last residual of close on time: ts_residual(close, window) / close."""
    return both_over(ts_slope(close, window), ts_residual(close, window), close)[1]


def _quantiles(window: int) -> tuple[Node, Node]:
    high_, low_, _ = ts_order(close, window, 0.8)
    return both_over(high_, low_, close)


def qtlu(window: int = 5) -> Node:
    """ts_quantile(close, window, 0.8) / close, linear between two values."""
    return _quantiles(window)[0]


def qtld(window: int = 5) -> Node:
    """ts_quantile(close, window, 0.2) / close, linear between two values."""
    return _quantiles(window)[1]


def rank(window: int = 5) -> Node:
    """Rank of close in its window, 1/window to 1, ties averaged: ts_rank(close, window)."""
    return ts_order(close, window, 0.8)[2]


# ---- high and low over a window --------------------------------------------------------------------------


def max_(window: int = 5) -> Node:
    """ts_max(high, window) / close."""
    return ts_max(high, window) / close


def min_(window: int = 5) -> Node:
    """ts_min(low, window) / close."""
    return ts_min(low, window) / close


def rsv(window: int = 5) -> Node:
    """(close - ts_min(low, window)) / (ts_max(high, window) - ts_min(low, window) + 1e-12)."""
    return position(close, ts_min(low, window), ts_max(high, window), _EPSILON)


def imax(window: int = 5, newest: bool = False) -> Node:
    """Where the highest high lies, 1 for the oldest bar: ts_argmax(high, window) / window.

    newest  of equal highs: False the oldest (qlib), True the newest (KunQuant)
    """
    return ts_argmax(high, window, newest=newest) * (1.0 / window)


def imin(window: int = 5, newest: bool = False) -> Node:
    """Where the lowest low lies, 1 for the oldest bar: ts_argmin(low, window) / window; ties as in IMAX."""
    return ts_argmin(low, window, newest=newest) * (1.0 / window)


def imxd(window: int = 5, newest: bool = False) -> Node:
    """Bars from the lowest low to the highest high, in windows: IMAX - IMIN; ties as in IMAX."""
    return imax(window, newest) - imin(window, newest)


# ---- close and volume together ---------------------------------------------------------------------------

_log_volume: Final = log(volume + 1.0)
_price_ratio: Final = close / delay(close, 1)
_volume_ratio: Final = log(volume / delay(volume, 1) + 1.0)
_weighted_move: Final = absolute(_price_ratio - 1.0) * volume


def corr(window: int = 5) -> Node:
    """ts_corr(close, log(volume + 1), window)."""
    return ts_corr(close, _log_volume, window)


def cord(window: int = 5) -> Node:
    """ts_corr(close / close[1], log(volume / volume[1] + 1), window)."""
    return ts_corr(_price_ratio, _volume_ratio, window)


def wvma(window: int = 5) -> Node:
    """With w = |close / close[1] - 1| * volume: ts_std(w, window) / (ts_mean(w, window) + 1e-12)."""
    return root_over(ts_var(_weighted_move, window), ts_mean(_weighted_move, window), _EPSILON)


def vma(window: int = 5) -> Node:
    """ts_mean(volume, window) / (volume + 1e-12)."""
    return _moments(volume, window, volume + _EPSILON)[0]


def vstd(window: int = 5) -> Node:
    """ts_std(volume, window) / (volume + 1e-12)."""
    return _moments(volume, window, volume + _EPSILON)[1]


# ---- rises and falls -------------------------------------------------------------------------------------


def cntp(window: int = 5) -> Node:
    """Share of rising bars: ts_count(close > close[1], window) / window."""
    return ts_move_shares(close, window)[0]


def cntn(window: int = 5) -> Node:
    """Share of falling bars: ts_count(close < close[1], window) / window."""
    return ts_move_shares(close, window)[1]


def cntd(window: int = 5) -> Node:
    """CNTP - CNTN."""
    return ts_move_shares(close, window)[2]


def sump(window: int = 5) -> Node:
    """Rises by all moves: ts_sum(max(d, 0)) / (ts_sum(|d|) + 1e-12), d = close - close[1]."""
    return ts_path_shares(close, window, _EPSILON)[0]


def sumn(window: int = 5) -> Node:
    """Falls by all moves: ts_sum(max(-d, 0)) / (ts_sum(|d|) + 1e-12), d = close - close[1]."""
    return ts_path_shares(close, window, _EPSILON)[1]


def sumd(window: int = 5) -> Node:
    """SUMP - SUMN."""
    return ts_path_shares(close, window, _EPSILON)[2]


def vsump(window: int = 5) -> Node:
    """SUMP of volume: ts_sum(max(d, 0)) / (ts_sum(|d|) + 1e-12), d = volume - volume[1]."""
    return ts_path_shares(volume, window, _EPSILON)[0]


def vsumn(window: int = 5) -> Node:
    """SUMN of volume: ts_sum(max(-d, 0)) / (ts_sum(|d|) + 1e-12), d = volume - volume[1]."""
    return ts_path_shares(volume, window, _EPSILON)[1]


def vsumd(window: int = 5) -> Node:
    """VSUMP - VSUMN."""
    return ts_path_shares(volume, window, _EPSILON)[2]


# ---- the list --------------------------------------------------------------------------------------------

_BAR: Final[dict[str, Callable[..., Node]]] = {
    "KMID": kmid,
    "KLEN": klen,
    "KMID2": kmid2,
    "KUP": kup,
    "KUP2": kup2,
    "KLOW": klow,
    "KLOW2": klow2,
    "KSFT": ksft,
    "KSFT2": ksft2,
}
_PRICES: Final[dict[str, Callable[..., Node]]] = {
    "OPEN": open_price,
    "HIGH": high_price,
    "LOW": low_price,
    "VWAP": vwap_price,
}
_ROLLING: Final[dict[str, Callable[..., Node]]] = {
    "ROC": roc,
    "MA": ma,
    "STD": std,
    "BETA": beta,
    "RSQR": rsqr,
    "RESI": resi,
    "MAX": max_,
    "MIN": min_,
    "QTLU": qtlu,
    "QTLD": qtld,
    "RANK": rank,
    "RSV": rsv,
    "IMAX": imax,
    "IMIN": imin,
    "IMXD": imxd,
    "CORR": corr,
    "CORD": cord,
    "CNTP": cntp,
    "CNTN": cntn,
    "CNTD": cntd,
    "SUMP": sump,
    "SUMN": sumn,
    "SUMD": sumd,
    "VMA": vma,
    "VSTD": vstd,
    "WVMA": wvma,
    "VSUMP": vsump,
    "VSUMN": vsumn,
    "VSUMD": vsumd,
}

FACTORS: Final[dict[str, Callable[..., Node]]] = {**_BAR, **_PRICES, **_ROLLING}
"""Name without window, as in `["qlib158:MA", 20]`, to function."""


def nodes(newest: bool = False) -> dict[str, Node]:
    """The published 158 in qlib's order, KMID to VSUMD60.

    newest  ties of IMAX, IMIN and IMXD: False as in qlib, True as in KunQuant
    """
    made = {name: factor() for name, factor in _BAR.items()}
    made |= {f"{name}0": factor() for name, factor in _PRICES.items()}
    for name, factor in _ROLLING.items():
        ties = {"newest": True} if newest and factor in (imax, imin, imxd) else {}
        made |= {f"{name}{window}": factor(window, **ties) for window in WINDOWS}
    return made
