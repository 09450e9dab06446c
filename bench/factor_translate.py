"""KunQuant's expressions as ours: the same formulas, operator by operator, for both engines.

Alpha101 was published as text that can be read in several ways (is adv20 in base or quote? is ts_rank a share
or a place?), and KunQuant's reading is not that of factor_defs/alpha101.py. So that both compute the same
when they are timed, KunQuant's own graph is translated here. Its comparisons with NaN are false, ours NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from factor_kunquant import INPUTS, graph

from kernels import cross_section as cs
from kernels import elementwise as el
from kernels import extremes, quantiles, regression, rolling, shift, weighted
from kernels.node import Node, constant, field

__all__ = ["translated"]


def _true(condition: Node) -> Node:
    return el.fill(condition, 0.0)


_ELEMENTWISE: Final[dict[str, Callable[..., Node]]] = {
    "Add": lambda x, y: x + y,
    "Sub": lambda x, y: x - y,
    "Mul": lambda x, y: x * y,
    "Div": lambda x, y: x / y,
    "Max": el.maximum,
    "Min": el.minimum,
    "Pow": el.power,
    "Abs": el.absolute,
    "Sign": el.sign,
    "Log": el.log,
    "Exp": el.exp,
    "Sqrt": el.sqrt,
    "LessThan": lambda x, y: _true(x < y),
    "LessEqual": lambda x, y: _true(x <= y),
    "GreaterThan": lambda x, y: _true(x > y),
    "GreaterEqual": lambda x, y: _true(x >= y),
    "Equals": lambda x, y: _true(el.equal(x, y)),
    "And": el.logical_and,
    "Or": el.logical_or,
    "Not": el.logical_not,
    "Select": el.select,
    "Rank": cs.cs_rank,
    "Scale": cs.cs_scale,
}
_WINDOWED: Final[dict[str, Callable[..., Node]]] = {
    "BackRef": shift.delay,
    "WindowedSum": rolling.ts_sum,
    "WindowedAvg": rolling.ts_mean,
    "WindowedVar": rolling.ts_var,
    "WindowedStddev": rolling.ts_std,
    "WindowedProduct": rolling.ts_product,
    "WindowedMax": extremes.ts_max,
    "WindowedMin": extremes.ts_min,
    "TsArgMax": lambda x, w: extremes.ts_argmax(x, w, newest=True),
    "TsArgMin": lambda x, w: extremes.ts_argmin(x, w, newest=True),
    "TsRank": lambda x, w: float(w) * quantiles.ts_rank(x, w),
    "DecayLinear": weighted.decay_linear,
    "WindowedCovariance": regression.ts_cov,
    "WindowedCorrelation": regression.ts_corr,
}
"""Inputs, then the window."""


def translated(name: str) -> dict[str, Node]:
    """One of KunQuant's sets in our operators, under its names. KeyError names what has no counterpart."""
    done: dict[Any, Node] = {}
    outputs: dict[str, Node] = {}
    for op in graph(name).ops:
        kind, attributes = type(op).__name__, op.attrs
        inputs = [done[x] for x in op.inputs]
        if kind == "Input":
            done[op] = field(INPUTS[attributes["name"]])
        elif kind == "ConstantOp":
            done[op] = constant(float(attributes["value"]))
        elif kind == "Output":
            outputs[attributes["name"]] = inputs[0]
        elif kind == "SetInfOrNanToValue":
            done[op] = el.fill(inputs[0], float(attributes["value"]))
        elif kind == "Clip":
            done[op] = el.clip(inputs[0], -float(attributes["value"]), float(attributes["value"]))
        elif kind.endswith("Const"):
            pair = [inputs[0], constant(float(attributes["value"]))]
            done[op] = _ELEMENTWISE[kind[:-5]](*(pair[::-1] if attributes.get("swap") else pair))
        elif kind in _WINDOWED:
            done[op] = _WINDOWED[kind](*inputs, int(attributes["window"]))
        else:
            done[op] = _ELEMENTWISE[kind](*inputs)
    return outputs
