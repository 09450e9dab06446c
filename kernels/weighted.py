"""Means of a moving window in which newer bars weigh more.

A missing bar (NaN, +-inf) in the window gives NaN: a mean over what is left would have other weights.
"""

from typing import Any, Final

import numpy as np

from kernels.abi import back, kernel, now, own, part, rows
from kernels.fmath import high_half, two_sum
from kernels.node import Node, Number, Operator

__all__ = ["DECAY_EXP", "DECAY_LINEAR", "decay_exp", "decay_linear"]


@rows
def _zero(x: Any, n: int) -> None:
    for i in range(n):
        x[i] = 0.0


# ---- linear weights --------------------------------------------------------------------------------------

_COUNT, _SUM, _SUM_LOW, _WEIGHTED, _WEIGHTED_LOW = range(5)  # own rows


@rows
def _linear_slide(
    x: Any,
    old: Any,
    count: Any,
    high: Any,
    low: Any,
    weighted: Any,
    weighted_low: Any,
    out: Any,
    n: int,
    window: float,
) -> None:
    total = 0.5 * window * (window + 1.0)
    for i in range(n):
        enters = x[i] - x[i] == 0.0
        leaves = old[i] - old[i] == 0.0
        c = count[i] + ((1.0 if enters else 0.0) - (1.0 if leaves else 0.0))
        new = x[i] if enters else 0.0
        gone = -old[i] if leaves else 0.0
        # All weights fall by one, which takes the whole sum away; what leaves had weight one.
        half = high_half(new)
        a, a_low = two_sum(weighted[i], window * half)
        b, b_low = two_sum(a, window * (new - half))
        d, d_low = two_sum(b, -high[i])
        rest = weighted_low[i] + ((a_low + b_low) + (d_low - low[i]))
        s, s_low = two_sum(high[i], new)
        t, t_low = two_sum(s, gone)
        count[i] = c
        high[i] = t
        low[i] += s_low + t_low
        weighted[i] = d
        weighted_low[i] = rest
        out[i] = (d + rest) / total if c == window else np.nan


@rows
def _linear_add(
    x: Any, count: Any, high: Any, low: Any, weighted: Any, weighted_low: Any, n: int, weight: float
) -> None:
    for i in range(n):
        enters = x[i] - x[i] == 0.0
        new = x[i] if enters else 0.0
        half = high_half(new)
        a, a_low = two_sum(weighted[i], weight * half)
        b, b_low = two_sum(a, weight * (new - half))
        s, s_low = two_sum(high[i], new)
        count[i] += 1.0 if enters else 0.0
        high[i] = s
        low[i] += s_low
        weighted[i] = b
        weighted_low[i] += a_low + b_low


@rows
def _linear_publish(count: Any, weighted: Any, weighted_low: Any, out: Any, n: int, window: float) -> None:
    total = 0.5 * window * (window + 1.0)
    for i in range(n):
        out[i] = (weighted[i] + weighted_low[i]) / total if count[i] == window else np.nan


@kernel
def decay_linear_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """decay_linear: mean of the last `window` bars with the weights 1, 2, ..., window, the newest heaviest.

    in      x
    state   5 rows: number of values; plain and weighted sum, each with its rounding error: with it a bad
            print leaves nothing behind when it goes
    out     NaN where one of the bars is missing; in the unit of x
    refresh exact every `window` bars
    source  Kakushadze, 101 Formulaic Alphas (arXiv:1601.00991), decay_linear; TA-Lib WMA
    """
    window = p[6]
    count = own(state, stride, p, 2, _COUNT)
    high, low = own(state, stride, p, 2, _SUM), own(state, stride, p, 2, _SUM_LOW)
    weighted, weighted_low = own(state, stride, p, 2, _WEIGHTED), own(state, stride, p, 2, _WEIGHTED_LOW)
    out = now(state, stride, p, 0, g)
    if (g + p[5]) % window == 0:
        for k in range(5):
            _zero(own(state, stride, p, 2, k), n)
        for lag in range(window - 1, -1, -1):
            x, weight = back(state, stride, p, 1, g, lag), float(window - lag)
            _linear_add(x, count, high, low, weighted, weighted_low, n, weight)
        _linear_publish(count, weighted, weighted_low, out, n, float(window))
    else:
        x, old = now(state, stride, p, 1, g), back(state, stride, p, 1, g, window)
        _linear_slide(x, old, count, high, low, weighted, weighted_low, out, n, float(window))


DECAY_LINEAR: Final = Operator(
    "decay_linear",
    decay_linear_kernel,
    inputs=("x",),
    parameters=("window",),
    rows=lambda window: (0.0,) * 5,
    history=lambda window: window,
    warm_up=lambda window: window - 1,
    memory=lambda window: 2 * window,
)


def decay_linear(x: Number, window: int) -> Node:
    """Mean of the last `window` bars of x with the weights 1, 2, ..., window, the newest heaviest.

    In the unit of x; NaN where one of the bars is missing.
    """
    return DECAY_LINEAR(x, parameters=(_window(window),))[0]


# ---- exponential weights ---------------------------------------------------------------------------------


@rows
def _exp_slide(
    x: Any,
    old: Any,
    count: Any,
    weighted: Any,
    out: Any,
    n: int,
    window: float,
    factor: float,
    last: float,
    total: float,
) -> None:
    for i in range(n):
        enters = x[i] - x[i] == 0.0
        leaves = old[i] - old[i] == 0.0
        c = count[i] + ((1.0 if enters else 0.0) - (1.0 if leaves else 0.0))
        s = factor * weighted[i] + ((x[i] if enters else 0.0) - (last * old[i] if leaves else 0.0))
        count[i] = c
        weighted[i] = s
        out[i] = s / total if c == window else np.nan


@rows
def _exp_add(x: Any, count: Any, weighted: Any, n: int, factor: float) -> None:
    for i in range(n):
        enters = x[i] - x[i] == 0.0
        count[i] += 1.0 if enters else 0.0
        weighted[i] = factor * weighted[i] + (x[i] if enters else 0.0)


@rows
def _exp_publish(count: Any, weighted: Any, out: Any, n: int, window: float, total: float) -> None:
    for i in range(n):
        out[i] = weighted[i] / total if count[i] == window else np.nan


@part
def _geometric(factor: float, window: int) -> tuple[float, float]:
    """factor ** window, and the sum of factor ** k for k from 0 to window - 1."""
    power, total = 1.0, 0.0  # of the leading bits of window that have been read
    bit = 1
    while 2 * bit <= window:
        bit *= 2
    while bit > 0:
        total += power * total
        power *= power
        if window & bit:
            total = 1.0 + factor * total
            power *= factor
        bit //= 2
    return power, total


@kernel
def decay_exp_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """decay_exp: mean of the last `window` bars with the weight factor ** k for the bar k bars ago.

    in      x
    state   2 rows: number of values, weighted sum
    out     NaN where one of the bars is missing; in the unit of x
    refresh exact every `window` bars: until then a bad print leaves its own rounding behind, which fades
    source  the definition; numpy.average(x[-window:], weights=factor ** arange(window)[::-1])
    """
    window, factor = p[6], f[0]
    last, total = _geometric(factor, window)
    count, weighted = own(state, stride, p, 2, 0), own(state, stride, p, 2, 1)
    out = now(state, stride, p, 0, g)
    if (g + p[5]) % window == 0:
        _zero(count, n)
        _zero(weighted, n)
        for lag in range(window - 1, -1, -1):
            _exp_add(back(state, stride, p, 1, g, lag), count, weighted, n, factor)
        _exp_publish(count, weighted, out, n, float(window), total)
    else:
        x, old = now(state, stride, p, 1, g), back(state, stride, p, 1, g, window)
        _exp_slide(x, old, count, weighted, out, n, float(window), factor, last, total)


DECAY_EXP: Final = Operator(
    "decay_exp",
    decay_exp_kernel,
    inputs=("x",),
    parameters=("window", "factor"),
    rows=lambda window, factor: (0.0,) * 2,
    history=lambda window, factor: window,
    warm_up=lambda window, factor: window - 1,
    memory=lambda window, factor: 2 * window,
)


def decay_exp(x: Number, window: int, factor: float) -> Node:
    """Mean of the last `window` bars of x with the weight factor ** k for the bar k bars ago, 0 < factor < 1.

    In the unit of x; NaN where one of the bars is missing.
    """
    if not 0.0 < factor < 1.0:
        raise ValueError(f"0 < factor < 1 is expected, found {factor!r}")
    return DECAY_EXP(x, parameters=(_window(window), float(factor)))[0]


def _window(window: int) -> int:
    if isinstance(window, bool) or not isinstance(window, int) or window < 1:
        raise ValueError(f"a window must be a whole number of bars, 1 or more, found {window!r}")
    return window
