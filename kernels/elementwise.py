"""Operators on one bar of one symbol: arithmetic, comparison, logic, choice.

NaN in an input gives NaN, except where an operator says otherwise. Truth is a float: 1.0 or 0.0.
Each kernel reads its inputs' rows at the present bar and remembers nothing.
"""

import math
from typing import Any, Final

import numpy as np

from kernels.abi import kernel, now, rows
from kernels.node import Node, Number, Operator

__all__ = [
    "ABSOLUTE",
    "ADD",
    "DIV",
    "EQUAL",
    "LESS",
    "LESS_EQUAL",
    "LOGICAL_AND",
    "LOGICAL_NOT",
    "LOGICAL_OR",
    "MAXIMUM",
    "MINIMUM",
    "MUL",
    "NEG",
    "SELECT",
    "SQRT",
    "SUB",
    "absolute",
    "add",
    "div",
    "equal",
    "less",
    "less_equal",
    "logical_and",
    "logical_not",
    "logical_or",
    "maximum",
    "minimum",
    "mul",
    "neg",
    "select",
    "sqrt",
    "sub",
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
        out[i] = (1.0 if x[i] < y[i] else 0.0) if x[i] == x[i] and y[i] == y[i] else np.nan


@kernel
def less_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """less: 1.0 where x < y, else 0.0."""
    _less(now(state, stride, p, 1, g), now(state, stride, p, 2, g), now(state, stride, p, 0, g), n)


LESS: Final = Operator(
    "less", less_kernel, ("x", "y"), fold=lambda x, y: math.nan if x != x or y != y else float(x < y)
)


def less(x: Number, y: Number) -> Node:
    """1.0 where x < y, else 0.0."""
    return LESS(x, y)[0]


@rows
def _less_equal(x: Any, y: Any, out: Any, n: int) -> None:
    for i in range(n):
        out[i] = (1.0 if x[i] <= y[i] else 0.0) if x[i] == x[i] and y[i] == y[i] else np.nan


@kernel
def less_equal_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """less_equal: 1.0 where x <= y, else 0.0."""
    _less_equal(now(state, stride, p, 1, g), now(state, stride, p, 2, g), now(state, stride, p, 0, g), n)


LESS_EQUAL: Final = Operator(
    "less_equal",
    less_equal_kernel,
    ("x", "y"),
    fold=lambda x, y: math.nan if x != x or y != y else float(x <= y),
)


def less_equal(x: Number, y: Number) -> Node:
    """1.0 where x <= y, else 0.0."""
    return LESS_EQUAL(x, y)[0]


@rows
def _equal(x: Any, y: Any, out: Any, n: int) -> None:
    for i in range(n):
        out[i] = (1.0 if x[i] == y[i] else 0.0) if x[i] == x[i] and y[i] == y[i] else np.nan


@kernel
def equal_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """equal: 1.0 where x == y, else 0.0."""
    _equal(now(state, stride, p, 1, g), now(state, stride, p, 2, g), now(state, stride, p, 0, g), n)


EQUAL: Final = Operator(
    "equal", equal_kernel, ("x", "y"), fold=lambda x, y: math.nan if x != x or y != y else float(x == y)
)


def equal(x: Number, y: Number) -> Node:
    """1.0 where x == y, else 0.0."""
    return EQUAL(x, y)[0]


@rows
def _logical_and(x: Any, y: Any, out: Any, n: int) -> None:
    for i in range(n):
        out[i] = (1.0 if x[i] != 0.0 and y[i] != 0.0 else 0.0) if x[i] == x[i] and y[i] == y[i] else np.nan


@kernel
def logical_and_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """logical_and: 1.0 where neither x nor y is 0.0, else 0.0."""
    _logical_and(now(state, stride, p, 1, g), now(state, stride, p, 2, g), now(state, stride, p, 0, g), n)


LOGICAL_AND: Final = Operator(
    "logical_and",
    logical_and_kernel,
    ("x", "y"),
    fold=lambda x, y: math.nan if x != x or y != y else float(x != 0 and y != 0),
)


def logical_and(x: Number, y: Number) -> Node:
    """1.0 where neither x nor y is 0.0, else 0.0."""
    return LOGICAL_AND(x, y)[0]


@rows
def _logical_or(x: Any, y: Any, out: Any, n: int) -> None:
    for i in range(n):
        out[i] = (1.0 if x[i] != 0.0 or y[i] != 0.0 else 0.0) if x[i] == x[i] and y[i] == y[i] else np.nan


@kernel
def logical_or_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """logical_or: 1.0 where x or y is not 0.0, else 0.0."""
    _logical_or(now(state, stride, p, 1, g), now(state, stride, p, 2, g), now(state, stride, p, 0, g), n)


LOGICAL_OR: Final = Operator(
    "logical_or",
    logical_or_kernel,
    ("x", "y"),
    fold=lambda x, y: math.nan if x != x or y != y else float(x != 0 or y != 0),
)


def logical_or(x: Number, y: Number) -> Node:
    """1.0 where x or y is not 0.0, else 0.0."""
    return LOGICAL_OR(x, y)[0]


@rows
def _logical_not(x: Any, out: Any, n: int) -> None:
    for i in range(n):
        out[i] = (1.0 if x[i] == 0.0 else 0.0) if x[i] == x[i] else np.nan


@kernel
def logical_not_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """logical_not: 1.0 where x is 0.0, else 0.0."""
    _logical_not(now(state, stride, p, 1, g), now(state, stride, p, 0, g), n)


LOGICAL_NOT: Final = Operator(
    "logical_not", logical_not_kernel, ("x",), fold=lambda x: math.nan if x != x else float(x == 0)
)


def logical_not(x: Number) -> Node:
    """1.0 where x is 0.0, else 0.0."""
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
        out[i] = (x[i] if x[i] < y[i] else y[i]) if x[i] == x[i] and y[i] == y[i] else np.nan


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
        out[i] = (x[i] if x[i] > y[i] else y[i]) if x[i] == x[i] and y[i] == y[i] else np.nan


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
        out[i] = (x[i] if condition[i] != 0.0 else y[i]) if condition[i] == condition[i] else np.nan


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
