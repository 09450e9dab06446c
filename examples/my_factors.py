"""Factors of one's own: functions of numbers that compose operators. No list, no class, nothing to register.

    PYTHONPATH=examples python -m bmac_stream explain my_factors:Bias,20 my_factors:Squeeze

A config names them as `["my_factors:Bias", 20]`; the folder of this file must be on PYTHONPATH. Operators are
in docs/factors.md, columns of the bar in factor_defs/fields.py. Nothing is compiled for a new factor.
"""

from factor_defs.fields import close, high, low, quote_volume, taker_buy_quote
from kernels.cross_section import cs_neutralise, cs_rank
from kernels.elementwise import select
from kernels.node import Node, field
from kernels.rolling import ts_mean, ts_std
from kernels.shift import pct_change


def Bias(window: int = 20) -> Node:
    """How far close is from its mean: close / ts_mean(close, window) - 1."""
    return close / ts_mean(close, window) - 1.0


def Squeeze(window: int = 20, width: float = 2.0) -> dict[str, Node]:
    """Two values: whether Bollinger's bands lie within Keltner's (1.0: yes), and where in them close is."""
    middle, deviation = ts_mean(close, window), ts_std(close, window)
    keltner = 1.5 * ts_mean(high - low, window)
    return {"on": width * deviation < keltner, "position": (close - middle) / (width * deviation)}


def BoughtStrength(window: int = 20) -> Node:
    """Rank of the return less its group's mean, among the symbols that takers rather buy; NaN for others."""
    nothing = float("nan")
    bought = ts_mean(taker_buy_quote / quote_volume, window) > 0.5
    change = cs_neutralise(pct_change(close, window), field("group"))
    return cs_rank(select(bought, change, nothing))
