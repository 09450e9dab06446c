"""Recursive filters: exponential means, and exponentially weighted variance, covariance, correlation.

A missing bar (NaN or +-inf) leaves what a filter remembers as it was, and the last value stands; the `ewm_`
operators follow pandas' default (ignore_na=False), where old weights fade during missing bars as well. None
of them forgets its first bar, but what it was fades: errors do not add up, so there is no refresh.
"""

from typing import Any, Final, Literal

import numpy as np

from kernels.abi import kernel, now, own, rows
from kernels.elementwise import absolute, less_equal, select, sqrt
from kernels.node import FOREVER, Node, Number, Operator
from kernels.rolling import ts_sum
from kernels.shift import delta

__all__ = [
    "ADAPTIVE",
    "EWM_COV",
    "EWM_MEAN",
    "EWM_VAR",
    "EXPONENTIAL",
    "Seed",
    "adaptive",
    "dema",
    "ema",
    "ewm_corr",
    "ewm_cov",
    "ewm_mean",
    "ewm_std",
    "ewm_var",
    "exponential",
    "kama",
    "rma",
    "sma_cn",
    "tema",
]

Seed = Literal["first", "mean"]
"""Where a filter begins: at its first value, as pandas (adjust=False), or at the mean of as many first values
as it is long, as TA-Lib."""


# ---- exponential: one filter for all fixed factors --------------------------------------------------------


@rows
def _exponential(
    x: Any, value: Any, count: Any, out: Any, n: int, skip: float, seed: float, least: float, alpha: float,
    divisor: float,
) -> None:  # fmt: skip
    for i in range(n):
        there = x[i] - x[i] == 0.0
        c = count[i] + (1.0 if there else 0.0)
        v = value[i]
        total = v + x[i] if c > skip else 0.0
        total = total / divisor if c == seed else total
        v = (total if c <= seed else v + alpha * (x[i] - v)) if there else v
        value[i] = v
        count[i] = min(c, max(seed, least))  # what is beyond decides nothing
        out[i] = v if c >= least else np.nan


@kernel
def exponential_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """exponential: v + alpha * (x - v), begun at sum / divisor of `seed` values after `skip` unread ones.

    in      x
    state   2 rows: the value (before it begins: the sum), the number of values seen
    out     v from the `least`-th value on; NaN before; at a missing bar the last one
    refresh none: rounding fades as old values do
    source  pandas Series.ewm(adjust=False, ignore_na=True).mean(); TA_INT_EMA of TA-Lib
    """
    x, out = now(state, stride, p, 1, g), now(state, stride, p, 0, g)
    value, count = own(state, stride, p, 2, 0), own(state, stride, p, 2, 1)
    skip, seed = float(p[6]), float(p[6] + p[7])
    _exponential(x, value, count, out, n, skip, seed, float(p[8]), f[0], f[1])


EXPONENTIAL: Final = Operator(
    "exponential",
    exponential_kernel,
    inputs=("x",),
    parameters=("skip", "seed", "least", "alpha", "divisor"),
    rows=lambda *_: (0.0, 0.0),
    warm_up=lambda skip, seed, least, alpha, divisor: least - 1,
    memory=lambda *_: FOREVER,
)


def exponential(
    x: Number,
    alpha: float,
    *,
    skip: int = 0,
    seed: int = 1,
    least: int | None = None,
    divisor: float | None = None,
) -> Node:
    """v + alpha * (x - v) over the values of x, in its unit; at a missing bar the last value.

    skip     first values that are not read at all
    seed     v begins as the sum of so many values divided by `divisor` (default: `seed`, their mean)
    least    values seen, unread ones as well, before the first output; default skip + seed, and not below
    """
    first = skip + seed if least is None else least
    if not 0.0 < alpha <= 1.0:
        raise ValueError(f"0 < alpha <= 1 is expected, found {alpha}")
    if skip < 0 or seed < 1 or first < skip + seed:
        raise ValueError(
            f"skip >= 0, seed >= 1, least >= skip + seed are expected, found {skip}, {seed}, {least}"
        )
    d = float(seed) if divisor is None else float(divisor)
    return EXPONENTIAL(x, parameters=(int(skip), int(seed), int(first), float(alpha), d))[0]


def _seed(seed: Seed, length: int) -> int:
    if length < 1:
        raise ValueError(f"a length of at least 1 is expected, found {length}")
    if seed not in ("first", "mean"):
        raise ValueError(f"seed is 'first' or 'mean', found {seed!r}")
    return length if seed == "mean" else 1


def ema(x: Number, span: int, seed: Seed = "first") -> Node:
    """Exponential mean of x, alpha = 2 / (span + 1); missing bars are ignored, the last value stands.

    seed  "first": as pandas ewm(span=span, adjust=False, ignore_na=True); "mean": begins with the mean of
          the first `span` values, NaN before, as TA-Lib's EMA
    """
    return exponential(x, 2.0 / (span + 1.0), seed=_seed(seed, span))


def rma(x: Number, n: int, seed: Seed = "first") -> Node:
    """Wilder's mean of x: exponential with alpha = 1 / n. Missing bars and seed as in `ema`."""
    return exponential(x, 1.0 / n, seed=_seed(seed, n))


def sma_cn(x: Number, n: int, m: int = 1) -> Node:
    """SMA(x, n, m) of Chinese charting software: exponential with alpha = m / n, begun at the first value."""
    if not 1 <= m <= n:
        raise ValueError(f"1 <= m <= n is expected, found m {m}, n {n}")
    return exponential(x, m / n)


def dema(x: Number, n: int, seed: Seed = "first") -> Node:
    """Double exponential mean: 2 e1 - e2, where e1 = ema(x, n), e2 = ema(e1, n). Patrick Mulloy, 1994."""
    first = ema(x, n, seed)
    return 2.0 * first - ema(first, n, seed)


def tema(x: Number, n: int, seed: Seed = "first") -> Node:
    """Triple exponential mean: 3 e1 - 3 e2 + e3, each the ema of the one before. Patrick Mulloy, 1994."""
    first = ema(x, n, seed)
    second = ema(first, n, seed)
    return 3.0 * (first - second) + ema(second, n, seed)


# ---- adaptive: a factor of its own at each bar ------------------------------------------------------------


@rows
def _adaptive(x: Any, alpha: Any, value: Any, begun: Any, out: Any, n: int) -> None:
    for i in range(n):
        there = x[i] - x[i] == 0.0
        moves = there and alpha[i] - alpha[i] == 0.0
        v = value[i]
        moved = v + alpha[i] * (x[i] - v) if v == v else x[i]
        waits = x[i] if there and begun[i] == 0.0 else v
        v = moved if moves else waits
        begun[i] = 1.0 if moves else begun[i]
        value[i] = v
        out[i] = v if begun[i] != 0.0 else np.nan


@kernel
def adaptive_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """adaptive: v + alpha * (x - v), where alpha is a series; begun at x one value before the first alpha.

    in      x, alpha (0 to 1)
    state   2 rows: the value (before it begins: the last x), whether it has begun
    out     v; NaN before the first alpha; where x or alpha is missing the last one
    refresh none: rounding fades as old values do
    source  TA_KAMA of TA-Lib
    """
    x, alpha = now(state, stride, p, 1, g), now(state, stride, p, 2, g)
    value, begun = own(state, stride, p, 3, 0), own(state, stride, p, 3, 1)
    _adaptive(x, alpha, value, begun, now(state, stride, p, 0, g), n)


ADAPTIVE: Final = Operator(
    "adaptive",
    adaptive_kernel,
    inputs=("x", "alpha"),
    rows=lambda: (np.nan, 0.0),
    memory=lambda: FOREVER,
)


def adaptive(x: Number, alpha: Number) -> Node:
    """v + alpha * (x - v), where alpha (0 to 1) is a series of its own; in the unit of x.

    Begins at the value of x before the first alpha; where x or alpha is missing the last value stands.
    """
    return ADAPTIVE(x, alpha)[0]


def kama(x: Number, n: int = 10, fast: int = 2, slow: int = 30) -> Node:
    """Kaufman's adaptive mean of x, in its unit: the straighter the last n bars, the faster it follows.

    alpha = (r * (2 / (fast + 1) - 2 / (slow + 1)) + 2 / (slow + 1)) ** 2, where r is |x - x n bars ago|
    over the sum of the n one-bar changes' sizes (1 where nothing changed). First value after n bars; a
    missing value holds it for the n + 1 bars that would need it. As TA-Lib's KAMA, which has fast 2, slow 30.
    """
    if n < 1 or fast < 1 or slow < 1:
        raise ValueError(f"lengths of at least 1 are expected, found {n}, {fast}, {slow}")
    change = delta(x, n)
    path = ts_sum(absolute(delta(x, 1)), n)
    # TA-Lib compares the path with the signed change: what rounding makes longer than the path is 1.
    ratio = select(less_equal(path, change), 1.0, select(less_equal(path, 0.0), 1.0, absolute(change) / path))
    quick, steady = 2.0 / (fast + 1.0), 2.0 / (slow + 1.0)
    alpha = ratio * (quick - steady) + steady
    return adaptive(x, alpha * alpha)


# ---- ewm: pandas' exponentially weighted moments ----------------------------------------------------------


@rows
def _ewm_mean(x: Any, mean: Any, weight: Any, out: Any, n: int, alpha: float, entering: float) -> None:
    for i in range(n):
        there = x[i] - x[i] == 0.0
        old = weight[i] * (1.0 - alpha)
        total = old + entering
        m = mean[i] + entering / total * (x[i] - mean[i]) if mean[i] == mean[i] else x[i]
        # Without adjustment all old weights together are 1 after each value.
        weight[i] = (total if entering == 1.0 else 1.0) if there else old
        mean[i] = m if there else mean[i]
        out[i] = mean[i]


@kernel
def ewm_mean_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """ewm_mean: mean with weights (1 - alpha) ** k, k bars ago; missing bars count in k.

    in      x
    state   2 rows: the mean (NaN before the first value), the sum of the weights
    out     the mean from the first value on; at a missing bar the last one
    refresh none: rounding fades as old values do
    source  pandas Series.ewm(alpha=, adjust=, ignore_na=False).mean()
    """
    x, out = now(state, stride, p, 1, g), now(state, stride, p, 0, g)
    _ewm_mean(x, own(state, stride, p, 2, 0), own(state, stride, p, 2, 1), out, n, f[0], f[1])


EWM_MEAN: Final = Operator(
    "ewm_mean",
    ewm_mean_kernel,
    inputs=("x",),
    parameters=("alpha", "entering"),
    rows=lambda *_: (np.nan, 0.0),
    memory=lambda *_: FOREVER,
)


def ewm_mean(x: Number, span: float, adjust: bool = True) -> Node:
    """pandas x.ewm(span=span, adjust=adjust).mean(): old weights fade during missing bars as well.

    adjust  False: recursive, all that was before has the weight 1 - alpha; without missing bars as `ema`
    """
    alpha = _alpha(span)
    return EWM_MEAN(x, parameters=(alpha, 1.0 if adjust else alpha))[0]


def _alpha(span: float) -> float:
    if not span >= 1.0:
        raise ValueError(f"a span of at least 1 is expected, found {span}")
    return 2.0 / (span + 1.0)


_COUNT, _WEIGHT, _SQUARES, _HIGH_X, _LOW_X, _XX, _HIGH_Y, _LOW_Y, _YY, _XY = range(10)  # own rows


@rows
def _weigh(there: Any, count: Any, weight: Any, squares: Any, part: Any, n: int, keep: float) -> None:
    """Let all weights fade and the new one, 1, in; `part` is its part of their sum, `there` 1.0 or 0.0."""
    for i in range(n):
        total = weight[i] * keep + there[i]
        count[i] = min(count[i] + there[i], 2.0)
        weight[i] = total
        squares[i] = squares[i] * keep * keep + there[i]
        part[i] = there[i] / total if total > 0.0 else 0.0


@rows
def _present(x: Any, there: Any, n: int) -> None:
    for i in range(n):
        there[i] = 1.0 if x[i] - x[i] == 0.0 else 0.0


@rows
def _present_both(x: Any, y: Any, there: Any, n: int) -> None:
    for i in range(n):
        there[i] = 1.0 if x[i] - x[i] == 0.0 and y[i] - y[i] == 0.0 else 0.0


@rows
def _spread(x: Any, there: Any, part: Any, high: Any, low: Any, square: Any, before: Any, n: int) -> None:
    """Mean and variance of the weighted values; `before`: x from the mean before it entered."""
    for i in range(n):
        # The mean is high + low: at 1e9 one float would leave 1e-7 in every deviation.
        d = (x[i] - high[i]) - low[i] if there[i] == 1.0 else 0.0
        step = low[i] + part[i] * d
        top = high[i] + step
        low[i] = step - (top - high[i])
        high[i] = top
        # All terms are positive: nothing cancels, errors fade.
        square[i] = (1.0 - part[i]) * (square[i] + part[i] * d * d)
        before[i] = d


@rows
def _spread_both(dx: Any, dy: Any, part: Any, product: Any, n: int) -> None:
    for i in range(n):
        product[i] = (1.0 - part[i]) * (product[i] + part[i] * dx[i] * dy[i])


@rows
def _unbias(biased: Any, count: Any, weight: Any, squares: Any, out: Any, n: int) -> None:
    for i in range(n):
        whole = weight[i] * weight[i]
        rest = whole - squares[i]
        out[i] = biased[i] * (whole / rest) if count[i] == 2.0 and rest > 0.0 else np.nan


@kernel
def ewm_var_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """ewm_var: variance with weights (1 - alpha) ** k, k bars ago, bias=False; missing bars count in k.

    in      x
    state   9 rows: number of values (up to 2), sum of weights and of their squares, mean in two parts,
            variance, and three for the time being
    out     the variance from the second value on; at a missing bar the last one
    refresh none: rounding fades as old values do
    source  pandas Series.ewm(alpha=, adjust=True, ignore_na=False).var()
    """
    x = now(state, stride, p, 1, g)
    count, weight = own(state, stride, p, 2, _COUNT), own(state, stride, p, 2, _WEIGHT)
    squares, square = own(state, stride, p, 2, _SQUARES), own(state, stride, p, 2, _XX)
    high, low = own(state, stride, p, 2, _HIGH_X), own(state, stride, p, 2, _LOW_X)
    there, part, d = own(state, stride, p, 2, 6), own(state, stride, p, 2, 7), own(state, stride, p, 2, 8)
    _present(x, there, n)
    _weigh(there, count, weight, squares, part, n, 1.0 - f[0])
    _spread(x, there, part, high, low, square, d, n)
    _unbias(square, count, weight, squares, now(state, stride, p, 0, g), n)


EWM_VAR: Final = Operator(
    "ewm_var",
    ewm_var_kernel,
    inputs=("x",),
    parameters=("alpha",),
    rows=lambda alpha: (0.0,) * 9,
    warm_up=lambda alpha: 1,
    memory=lambda alpha: FOREVER,
)


def ewm_var(x: Number, span: float) -> Node:
    """pandas x.ewm(span=span).var(), in the square of the unit of x."""
    return EWM_VAR(x, parameters=(_alpha(span),))[0]


def ewm_std(x: Number, span: float) -> Node:
    """pandas x.ewm(span=span).std(), in the unit of x."""
    return sqrt(ewm_var(x, span))


@kernel
def ewm_cov_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """ewm_cov: variances and covariance with weights (1 - alpha) ** k, k bars ago, bias=False.

    in      x, y; a bar counts as missing where one of them is; missing bars count in k
    state   14 rows: as ewm_var, for x and y, their product, and four for the time being
    out     cov, var_x, var_y from the second pair on; at a missing bar the last ones
    refresh none: rounding fades as old values do
    source  pandas Series.ewm(alpha=, adjust=True, ignore_na=False).cov()
    """
    x, y = now(state, stride, p, 3, g), now(state, stride, p, 4, g)
    count, weight = own(state, stride, p, 5, _COUNT), own(state, stride, p, 5, _WEIGHT)
    squares, product = own(state, stride, p, 5, _SQUARES), own(state, stride, p, 5, _XY)
    xx, yy = own(state, stride, p, 5, _XX), own(state, stride, p, 5, _YY)
    there, part = own(state, stride, p, 5, 10), own(state, stride, p, 5, 11)
    dx, dy = own(state, stride, p, 5, 12), own(state, stride, p, 5, 13)
    _present_both(x, y, there, n)
    _weigh(there, count, weight, squares, part, n, 1.0 - f[0])
    _spread(x, there, part, own(state, stride, p, 5, _HIGH_X), own(state, stride, p, 5, _LOW_X), xx, dx, n)
    _spread(y, there, part, own(state, stride, p, 5, _HIGH_Y), own(state, stride, p, 5, _LOW_Y), yy, dy, n)
    _spread_both(dx, dy, part, product, n)
    _unbias(product, count, weight, squares, now(state, stride, p, 0, g), n)
    _unbias(xx, count, weight, squares, now(state, stride, p, 1, g), n)
    _unbias(yy, count, weight, squares, now(state, stride, p, 2, g), n)


EWM_COV: Final = Operator(
    "ewm_cov",
    ewm_cov_kernel,
    inputs=("x", "y"),
    outputs=("cov", "var_x", "var_y"),
    parameters=("alpha",),
    rows=lambda alpha: (0.0,) * 14,
    warm_up=lambda alpha: 1,
    memory=lambda alpha: FOREVER,
)


def ewm_cov(x: Number, y: Number, span: float) -> Node:
    """pandas x.ewm(span=span).cov(y), in the product of the units; a bar needs both."""
    return EWM_COV(x, y, parameters=(_alpha(span),))[0]


def ewm_corr(x: Number, y: Number, span: float) -> Node:
    """pandas x.ewm(span=span).corr(y), -1 to 1; a bar needs both; NaN where one of them never moved."""
    cov, var_x, var_y = EWM_COV(x, y, parameters=(_alpha(span),))
    return cov / (sqrt(var_x) * sqrt(var_y))
