"""The past of a series: its value some bars ago, and the change since then.

NaN, now or then, gives NaN; so do the first `d` bars. A lag counts bars, not time: a missing bar is one.
"""

from typing import Any, Final

import numpy as np

from kernels import fmath
from kernels.abi import back, kernel, now, rows
from kernels.node import Node, Number, Operator, as_node

__all__ = ["DELAY", "DELTA", "LOG_CHANGE", "PCT_CHANGE", "delay", "delta", "log_change", "pct_change"]


def _lag(d: int) -> int:
    return d


@rows
def _copy(x: Any, out: Any, n: int) -> None:
    for i in range(n):
        out[i] = x[i]


@kernel
def delay_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """delay: x as it was d bars ago.

    in      x
    state   none; reads the ring of x
    out     any value of x, inf too
    source  pandas Series.shift(d)
    """
    _copy(back(state, stride, p, 1, g, p[6]), now(state, stride, p, 0, g), n)


DELAY: Final = Operator("delay", delay_kernel, ("x",), parameters=("d",), history=_lag, warm_up=_lag)


def delay(x: Number, d: int) -> Node:
    """x as it was d bars ago, d >= 0; in the unit of x."""
    return as_node(x) if _bars(d) == 0 else DELAY(x, parameters=(d,))[0]


@rows
def _delta(x: Any, old: Any, out: Any, n: int) -> None:
    for i in range(n):
        out[i] = x[i] - old[i]


@kernel
def delta_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """delta: x less its value d bars ago.

    in      x
    state   none; reads the ring of x
    out     NaN where x is NaN at either bar
    source  pandas Series.diff(d)
    """
    x, old = now(state, stride, p, 1, g), back(state, stride, p, 1, g, p[6])
    _delta(x, old, now(state, stride, p, 0, g), n)


DELTA: Final = Operator("delta", delta_kernel, ("x",), parameters=("d",), history=_lag, warm_up=_lag)


def delta(x: Number, d: int) -> Node:
    """x less its value d bars ago, d >= 1; in the unit of x."""
    return DELTA(x, parameters=(_bars(d, 1),))[0]


@rows
def _pct_change(x: Any, old: Any, out: Any, n: int) -> None:
    for i in range(n):
        change = (x[i] - old[i]) / old[i]
        out[i] = change if old[i] != 0.0 else np.nan


@kernel
def pct_change_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """pct_change: x / (x d bars ago) - 1, as (x - old) / old, so that small changes keep their digits.

    in      x
    state   none; reads the ring of x
    out     0.01 for one percent; NaN where x is NaN at either bar, or was 0
    source  pandas Series.pct_change(d), which gives inf after 0
    """
    x, old = now(state, stride, p, 1, g), back(state, stride, p, 1, g, p[6])
    _pct_change(x, old, now(state, stride, p, 0, g), n)


PCT_CHANGE: Final = Operator(
    "pct_change", pct_change_kernel, ("x",), parameters=("d",), history=_lag, warm_up=_lag
)


def pct_change(x: Number, d: int) -> Node:
    """x / (x d bars ago) - 1, d >= 1: 0.01 for one percent; NaN after 0."""
    return PCT_CHANGE(x, parameters=(_bars(d, 1),))[0]


@rows
def _log_change(x: Any, old: Any, out: Any, n: int) -> None:
    for i in range(n):
        change = fmath.log(x[i] / old[i])
        out[i] = change if x[i] > 0.0 and old[i] > 0.0 else np.nan


@kernel
def log_change_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """log_change: natural logarithm of x / (x d bars ago).

    in      x
    state   none; reads the ring of x
    out     NaN where x is NaN at either bar, or not above 0
    source  numpy.log(x / x.shift(d))
    """
    x, old = now(state, stride, p, 1, g), back(state, stride, p, 1, g, p[6])
    _log_change(x, old, now(state, stride, p, 0, g), n)


LOG_CHANGE: Final = Operator(
    "log_change", log_change_kernel, ("x",), parameters=("d",), history=_lag, warm_up=_lag
)


def log_change(x: Number, d: int) -> Node:
    """Natural logarithm of x / (x d bars ago), d >= 1; NaN unless both are above 0."""
    return LOG_CHANGE(x, parameters=(_bars(d, 1),))[0]


def _bars(d: int, least: int = 0) -> int:
    if isinstance(d, bool) or not isinstance(d, int) or d < least:
        raise ValueError(f"a lag must be a whole number of bars, {least} or more, found {d!r}")
    return d
