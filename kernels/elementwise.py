"""Operators on one bar of one symbol: arithmetic, comparison, logic, choice.

NaN in an input gives NaN, except where an operator says otherwise. Truth is a float: 1.0 or 0.0.
Each kernel reads its inputs' rows at the present bar and remembers nothing; it loads before it chooses, since
a load that hangs on a condition keeps the loop from being vectorised. Constants are folded, but for
log, exp, tanh, atan and powers: those have the kernel's own last bit, which Python's may miss.
"""

import math
from typing import Any, Final

import numpy as np

from kernels import fmath
from kernels.abi import kernel, now, rows
from kernels.node import Node, Number, Operator, as_node

__all__ = [
    "ABSOLUTE",
    "ADD",
    "ATAN",
    "BAR_NUMBER",
    "CLIP",
    "DIV",
    "EQUAL",
    "EXP",
    "FILL",
    "FLOOR",
    "IS_MISSING",
    "LESS",
    "LESS_EQUAL",
    "LOG",
    "LOGICAL_AND",
    "LOGICAL_NOT",
    "LOGICAL_OR",
    "MAXIMUM",
    "MINIMUM",
    "MUL",
    "NEG",
    "NOT_EQUAL",
    "POWER",
    "SELECT",
    "SIGN",
    "SIGNED_POWER",
    "SQRT",
    "SUB",
    "TANH",
    "absolute",
    "add",
    "atan",
    "bar_number",
    "clip",
    "div",
    "equal",
    "exp",
    "fill",
    "floor",
    "is_missing",
    "less",
    "less_equal",
    "log",
    "logical_and",
    "logical_not",
    "logical_or",
    "maximum",
    "minimum",
    "mul",
    "neg",
    "not_equal",
    "power",
    "select",
    "sign",
    "signed_power",
    "sqrt",
    "sub",
    "tanh",
]


def _divide(x: float, y: float) -> float:
    with np.errstate(all="ignore"):
        return float(np.float64(x) / np.float64(y))


@rows
def _add(x: Any, y: Any, out: Any, n: int) -> None:
    for i in range(n):
        out[i] = x[i] + y[i]


@kernel
def add_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """add: x + y."""
    _add(now(state, stride, p, 1, g), now(state, stride, p, 2, g), now(state, stride, p, 0, g), n)


ADD: Final = Operator("add", add_kernel, ("x", "y"), fold=lambda x, y: x + y)


def add(x: Number, y: Number) -> Node:
    """x + y."""
    return ADD(x, y)[0]


@rows
def _sub(x: Any, y: Any, out: Any, n: int) -> None:
    for i in range(n):
        out[i] = x[i] - y[i]


@kernel
def sub_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """sub: x - y."""
    _sub(now(state, stride, p, 1, g), now(state, stride, p, 2, g), now(state, stride, p, 0, g), n)


SUB: Final = Operator("sub", sub_kernel, ("x", "y"), fold=lambda x, y: x - y)


def sub(x: Number, y: Number) -> Node:
    """x - y."""
    return SUB(x, y)[0]


@rows
def _mul(x: Any, y: Any, out: Any, n: int) -> None:
    for i in range(n):
        out[i] = x[i] * y[i]


@kernel
def mul_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """mul: x * y."""
    _mul(now(state, stride, p, 1, g), now(state, stride, p, 2, g), now(state, stride, p, 0, g), n)


MUL: Final = Operator("mul", mul_kernel, ("x", "y"), fold=lambda x, y: x * y)


def mul(x: Number, y: Number) -> Node:
    """x * y."""
    return MUL(x, y)[0]


@rows
def _div(x: Any, y: Any, out: Any, n: int) -> None:
    for i in range(n):
        out[i] = x[i] / y[i]


@kernel
def div_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """div: x / y, as IEEE has it: 1 / 0 is inf, 0 / 0 is NaN."""
    _div(now(state, stride, p, 1, g), now(state, stride, p, 2, g), now(state, stride, p, 0, g), n)


DIV: Final = Operator("div", div_kernel, ("x", "y"), fold=_divide)


def div(x: Number, y: Number) -> Node:
    """x / y, as IEEE has it: 1 / 0 is inf, 0 / 0 is NaN."""
    return DIV(x, y)[0]


@rows
def _less(x: Any, y: Any, out: Any, n: int) -> None:
    for i in range(n):
        a, b = x[i], y[i]
        out[i] = (1.0 if a < b else 0.0) if a == a and b == b else np.nan


@kernel
def less_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """less: 1.0 where x < y, else 0.0; NaN where either is NaN."""
    _less(now(state, stride, p, 1, g), now(state, stride, p, 2, g), now(state, stride, p, 0, g), n)


LESS: Final = Operator(
    "less", less_kernel, ("x", "y"), fold=lambda x, y: math.nan if x != x or y != y else float(x < y)
)


def less(x: Number, y: Number) -> Node:
    """1.0 where x < y, else 0.0; NaN where either is NaN."""
    return LESS(x, y)[0]


@rows
def _less_equal(x: Any, y: Any, out: Any, n: int) -> None:
    for i in range(n):
        a, b = x[i], y[i]
        out[i] = (1.0 if a <= b else 0.0) if a == a and b == b else np.nan


@kernel
def less_equal_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """less_equal: 1.0 where x <= y, else 0.0; NaN where either is NaN."""
    _less_equal(now(state, stride, p, 1, g), now(state, stride, p, 2, g), now(state, stride, p, 0, g), n)


LESS_EQUAL: Final = Operator(
    "less_equal",
    less_equal_kernel,
    ("x", "y"),
    fold=lambda x, y: math.nan if x != x or y != y else float(x <= y),
)


def less_equal(x: Number, y: Number) -> Node:
    """1.0 where x <= y, else 0.0; NaN where either is NaN."""
    return LESS_EQUAL(x, y)[0]


@rows
def _equal(x: Any, y: Any, out: Any, n: int) -> None:
    for i in range(n):
        a, b = x[i], y[i]
        out[i] = (1.0 if a == b else 0.0) if a == a and b == b else np.nan


@kernel
def equal_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """equal: 1.0 where x == y, else 0.0; NaN where either is NaN."""
    _equal(now(state, stride, p, 1, g), now(state, stride, p, 2, g), now(state, stride, p, 0, g), n)


EQUAL: Final = Operator(
    "equal", equal_kernel, ("x", "y"), fold=lambda x, y: math.nan if x != x or y != y else float(x == y)
)


def equal(x: Number, y: Number) -> Node:
    """1.0 where x == y, else 0.0; NaN where either is NaN."""
    return EQUAL(x, y)[0]


@rows
def _logical_and(x: Any, y: Any, out: Any, n: int) -> None:
    for i in range(n):
        a, b = x[i], y[i]
        out[i] = (1.0 if a != 0.0 and b != 0.0 else 0.0) if a == a and b == b else np.nan


@kernel
def logical_and_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """logical_and: 1.0 where neither x nor y is 0.0, else 0.0; NaN where either is NaN."""
    _logical_and(now(state, stride, p, 1, g), now(state, stride, p, 2, g), now(state, stride, p, 0, g), n)


LOGICAL_AND: Final = Operator(
    "logical_and",
    logical_and_kernel,
    ("x", "y"),
    fold=lambda x, y: math.nan if x != x or y != y else float(x != 0 and y != 0),
)


def logical_and(x: Number, y: Number) -> Node:
    """1.0 where neither x nor y is 0.0, else 0.0; NaN where either is NaN."""
    return LOGICAL_AND(x, y)[0]


@rows
def _logical_or(x: Any, y: Any, out: Any, n: int) -> None:
    for i in range(n):
        a, b = x[i], y[i]
        out[i] = (1.0 if a != 0.0 or b != 0.0 else 0.0) if a == a and b == b else np.nan


@kernel
def logical_or_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """logical_or: 1.0 where x or y is not 0.0, else 0.0; NaN where either is NaN."""
    _logical_or(now(state, stride, p, 1, g), now(state, stride, p, 2, g), now(state, stride, p, 0, g), n)


LOGICAL_OR: Final = Operator(
    "logical_or",
    logical_or_kernel,
    ("x", "y"),
    fold=lambda x, y: math.nan if x != x or y != y else float(x != 0 or y != 0),
)


def logical_or(x: Number, y: Number) -> Node:
    """1.0 where x or y is not 0.0, else 0.0; NaN where either is NaN."""
    return LOGICAL_OR(x, y)[0]


@rows
def _logical_not(x: Any, out: Any, n: int) -> None:
    for i in range(n):
        out[i] = (1.0 if x[i] == 0.0 else 0.0) if x[i] == x[i] else np.nan


@kernel
def logical_not_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """logical_not: 1.0 where x is 0.0, else 0.0; NaN where x is NaN."""
    _logical_not(now(state, stride, p, 1, g), now(state, stride, p, 0, g), n)


LOGICAL_NOT: Final = Operator(
    "logical_not", logical_not_kernel, ("x",), fold=lambda x: math.nan if x != x else float(x == 0)
)


def logical_not(x: Number) -> Node:
    """1.0 where x is 0.0, else 0.0; NaN where x is NaN."""
    return LOGICAL_NOT(x)[0]


@rows
def _neg(x: Any, out: Any, n: int) -> None:
    for i in range(n):
        out[i] = -x[i]


@kernel
def neg_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """neg: -x."""
    _neg(now(state, stride, p, 1, g), now(state, stride, p, 0, g), n)


NEG: Final = Operator("neg", neg_kernel, ("x",), fold=lambda x: -x)


def neg(x: Number) -> Node:
    """-x."""
    return NEG(x)[0]


@rows
def _absolute(x: Any, out: Any, n: int) -> None:
    for i in range(n):
        out[i] = abs(x[i])


@kernel
def absolute_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """absolute: the magnitude of x."""
    _absolute(now(state, stride, p, 1, g), now(state, stride, p, 0, g), n)


ABSOLUTE: Final = Operator("absolute", absolute_kernel, ("x",), fold=abs)


def absolute(x: Number) -> Node:
    """The magnitude of x."""
    return ABSOLUTE(x)[0]


@rows
def _sqrt(x: Any, out: Any, n: int) -> None:
    for i in range(n):
        out[i] = np.sqrt(x[i])


@kernel
def sqrt_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """sqrt: the square root of x; NaN below 0."""
    _sqrt(now(state, stride, p, 1, g), now(state, stride, p, 0, g), n)


SQRT: Final = Operator("sqrt", sqrt_kernel, ("x",), fold=lambda x: math.sqrt(x) if x >= 0 else math.nan)


def sqrt(x: Number) -> Node:
    """The square root of x; NaN below 0."""
    return SQRT(x)[0]


@rows
def _minimum(x: Any, y: Any, out: Any, n: int) -> None:
    for i in range(n):
        a, b = x[i], y[i]
        out[i] = (a if a < b else b) if a == a and b == b else np.nan


@kernel
def minimum_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """minimum: the lesser of x and y at the same bar."""
    _minimum(now(state, stride, p, 1, g), now(state, stride, p, 2, g), now(state, stride, p, 0, g), n)


MINIMUM: Final = Operator(
    "minimum", minimum_kernel, ("x", "y"), fold=lambda x, y: math.nan if x != x or y != y else min(x, y)
)


def minimum(x: Number, y: Number) -> Node:
    """The lesser of x and y at the same bar."""
    return MINIMUM(x, y)[0]


@rows
def _maximum(x: Any, y: Any, out: Any, n: int) -> None:
    for i in range(n):
        a, b = x[i], y[i]
        out[i] = (a if a > b else b) if a == a and b == b else np.nan


@kernel
def maximum_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """maximum: the greater of x and y at the same bar."""
    _maximum(now(state, stride, p, 1, g), now(state, stride, p, 2, g), now(state, stride, p, 0, g), n)


MAXIMUM: Final = Operator(
    "maximum", maximum_kernel, ("x", "y"), fold=lambda x, y: math.nan if x != x or y != y else max(x, y)
)


def maximum(x: Number, y: Number) -> Node:
    """The greater of x and y at the same bar."""
    return MAXIMUM(x, y)[0]


@rows
def _select(condition: Any, x: Any, y: Any, out: Any, n: int) -> None:
    for i in range(n):
        c, a, b = condition[i], x[i], y[i]
        out[i] = (a if c != 0.0 else b) if c == c else np.nan


@kernel
def select_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """select: x where the condition is not 0.0, y where it is; NaN where it is NaN. The other may be NaN."""
    out = now(state, stride, p, 0, g)
    _select(now(state, stride, p, 1, g), now(state, stride, p, 2, g), now(state, stride, p, 3, g), out, n)


SELECT: Final = Operator(
    "select",
    select_kernel,
    ("condition", "x", "y"),
    fold=lambda c, x, y: math.nan if c != c else (x if c != 0 else y),
)


def select(condition: Number, x: Number, y: Number) -> Node:
    """x where the condition is not 0.0, y where it is; NaN where it is NaN. The other may be NaN."""
    return SELECT(condition, x, y)[0]


@rows
def _not_equal(x: Any, y: Any, out: Any, n: int) -> None:
    for i in range(n):
        a, b = x[i], y[i]
        out[i] = (1.0 if a != b else 0.0) if a == a and b == b else np.nan


@kernel
def not_equal_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """not_equal: 1.0 where x != y, else 0.0; NaN where either is NaN."""
    _not_equal(now(state, stride, p, 1, g), now(state, stride, p, 2, g), now(state, stride, p, 0, g), n)


NOT_EQUAL: Final = Operator(
    "not_equal",
    not_equal_kernel,
    ("x", "y"),
    fold=lambda x, y: math.nan if x != x or y != y else float(x != y),
)


def not_equal(x: Number, y: Number) -> Node:
    """1.0 where x != y, else 0.0; NaN where either is NaN."""
    return NOT_EQUAL(x, y)[0]


@rows
def _sign(x: Any, out: Any, n: int) -> None:
    for i in range(n):
        out[i] = ((1.0 if x[i] > 0.0 else 0.0) - (1.0 if x[i] < 0.0 else 0.0)) if x[i] == x[i] else np.nan


@kernel
def sign_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """sign: 1.0 above 0, -1.0 below, 0.0 at 0; NaN where x is NaN."""
    _sign(now(state, stride, p, 1, g), now(state, stride, p, 0, g), n)


SIGN: Final = Operator(
    "sign", sign_kernel, ("x",), fold=lambda x: math.nan if x != x else float((x > 0) - (x < 0))
)


def sign(x: Number) -> Node:
    """1.0 above 0, -1.0 below, 0.0 at 0; NaN where x is NaN."""
    return SIGN(x)[0]


@rows
def _floor(x: Any, out: Any, n: int) -> None:
    for i in range(n):
        out[i] = np.floor(x[i])


@kernel
def floor_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """floor: the greatest whole number that is not above x."""
    _floor(now(state, stride, p, 1, g), now(state, stride, p, 0, g), n)


FLOOR: Final = Operator("floor", floor_kernel, ("x",), fold=lambda x: float(np.floor(x)))


def floor(x: Number) -> Node:
    """The greatest whole number that is not above x."""
    return FLOOR(x)[0]


@rows
def _clip(x: Any, low: Any, high: Any, out: Any, n: int) -> None:
    for i in range(n):
        a, least, most = x[i], low[i], high[i]
        missing = a != a or least != least or most != most
        a = a if a < most else most
        out[i] = np.nan if missing else (a if a > least else least)


@kernel
def clip_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """clip: x, or low where it is below low, or high where it is above high. low where low > high."""
    out = now(state, stride, p, 0, g)
    _clip(now(state, stride, p, 1, g), now(state, stride, p, 2, g), now(state, stride, p, 3, g), out, n)


CLIP: Final = Operator(
    "clip",
    clip_kernel,
    ("x", "low", "high"),
    fold=lambda x, low, high: math.nan if x != x or low != low or high != high else max(min(x, high), low),
)


def clip(x: Number, low: Number, high: Number) -> Node:
    """x, or low where it is below low, or high where it is above high. low where low > high."""
    return CLIP(x, low, high)[0]


@rows
def _is_missing(x: Any, out: Any, n: int) -> None:
    for i in range(n):
        out[i] = 0.0 if x[i] - x[i] == 0.0 else 1.0


@kernel
def is_missing_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """is_missing: 1.0 where x is NaN or infinite, else 0.0; never NaN."""
    _is_missing(now(state, stride, p, 1, g), now(state, stride, p, 0, g), n)


IS_MISSING: Final = Operator(
    "is_missing", is_missing_kernel, ("x",), fold=lambda x: float(not math.isfinite(x))
)


def is_missing(x: Number) -> Node:
    """1.0 where x is NaN or infinite, else 0.0; never NaN."""
    return IS_MISSING(x)[0]


@rows
def _fill(x: Any, value: Any, out: Any, n: int) -> None:
    for i in range(n):
        a, b = x[i], value[i]
        out[i] = a if a - a == 0.0 else b


@kernel
def fill_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """fill: x, or the value where x is NaN or infinite."""
    _fill(now(state, stride, p, 1, g), now(state, stride, p, 2, g), now(state, stride, p, 0, g), n)


FILL: Final = Operator(
    "fill", fill_kernel, ("x", "value"), fold=lambda x, value: x if math.isfinite(x) else value
)


def fill(x: Number, value: Number) -> Node:
    """X, or the value where x is NaN or infinite."""
    return FILL(x, value)[0]


@rows
def _log(x: Any, out: Any, n: int) -> None:
    for i in range(n):
        out[i] = fmath.log(x[i])


@kernel
def log_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """log: the natural logarithm of x; -inf at 0, NaN below."""
    _log(now(state, stride, p, 1, g), now(state, stride, p, 0, g), n)


LOG: Final = Operator("log", log_kernel, ("x",))


def log(x: Number) -> Node:
    """The natural logarithm of x; -inf at 0, NaN below."""
    return LOG(x)[0]


@rows
def _exp(x: Any, out: Any, n: int) -> None:
    for i in range(n):
        out[i] = fmath.exp(x[i])


@kernel
def exp_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """exp: e to the power of x."""
    _exp(now(state, stride, p, 1, g), now(state, stride, p, 0, g), n)


EXP: Final = Operator("exp", exp_kernel, ("x",))


def exp(x: Number) -> Node:
    """E to the power of x."""
    return EXP(x)[0]


@rows
def _tanh(x: Any, out: Any, n: int) -> None:
    for i in range(n):
        out[i] = fmath.tanh(x[i])


@kernel
def tanh_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """tanh: the hyperbolic tangent of x."""
    _tanh(now(state, stride, p, 1, g), now(state, stride, p, 0, g), n)


TANH: Final = Operator("tanh", tanh_kernel, ("x",))


def tanh(x: Number) -> Node:
    """The hyperbolic tangent of x."""
    return TANH(x)[0]


@rows
def _atan(x: Any, out: Any, n: int) -> None:
    for i in range(n):
        out[i] = fmath.atan(x[i])


@kernel
def atan_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """atan: the arc tangent of x in radians."""
    _atan(now(state, stride, p, 1, g), now(state, stride, p, 0, g), n)


ATAN: Final = Operator("atan", atan_kernel, ("x",))


def atan(x: Number) -> Node:
    """The arc tangent of x in radians."""
    return ATAN(x)[0]


@rows
def _power(x: Any, y: Any, out: Any, n: int) -> None:
    for i in range(n):
        out[i] = fmath.power(x[i], y[i])


@kernel
def power_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """power: x to the power of y; NaN for x < 0 with a y that is no whole number. 0 ** 0 is 1."""
    _power(now(state, stride, p, 1, g), now(state, stride, p, 2, g), now(state, stride, p, 0, g), n)


POWER: Final = Operator("power", power_kernel, ("x", "y"))


def power(x: Number, y: Number) -> Node:
    """X to the power of y; NaN for x < 0 with a y that is no whole number. 0 ** 0 is 1."""
    if isinstance(y, int | float):
        if y == 1.0:
            return as_node(x)
        if y == 2.0:
            return mul(x, x)  # the same bits for a hundredth of the cost
    return POWER(x, y)[0]


@rows
def _signed_power(x: Any, e: Any, out: Any, n: int) -> None:
    for i in range(n):
        magnitude = fmath.power(abs(x[i]), e[i])
        zero = x[i] == 0.0 and e[i] == e[i]
        out[i] = 0.0 if zero else (magnitude if x[i] > 0.0 else -magnitude)


@kernel
def signed_power_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """signed_power: the magnitude of x to the power of e, with the sign of x; 0.0 at 0."""
    _signed_power(now(state, stride, p, 1, g), now(state, stride, p, 2, g), now(state, stride, p, 0, g), n)


SIGNED_POWER: Final = Operator("signed_power", signed_power_kernel, ("x", "e"))


def signed_power(x: Number, e: Number) -> Node:
    """The magnitude of x to the power of e, with the sign of x; 0.0 at 0."""
    return SIGNED_POWER(x, e)[0]


@rows
def _bar_number(out: Any, g: float, n: int) -> None:
    for i in range(n):
        out[i] = g


@kernel
def bar_number_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """bar_number: the number of the bar; open_time = origin + bar_number * interval."""
    _bar_number(now(state, stride, p, 0, g), float(g), n)


BAR_NUMBER: Final = Operator("bar_number", bar_number_kernel, ())


def bar_number() -> Node:
    """The number of the bar, the same for all symbols, there or not: exact below 2**53."""
    return BAR_NUMBER()[0]
