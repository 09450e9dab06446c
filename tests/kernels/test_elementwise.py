"""kernels/elementwise.py: every operator against NumPy on hard numbers, and folding against the kernel."""

import itertools
import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pytest

from kernels import elementwise as e
from kernels.node import Node, Operator, constant, field
from tests.kernels.harness import DATA, START, Array, agree, check, run

OPERATORS: Final = {value.name: value for value in vars(e).values() if isinstance(value, Operator)}


def nan_aware(of: Callable[..., Any]) -> Callable[..., Array]:
    """NaN wherever an input is NaN."""

    def reference(*inputs: Array) -> Array:
        with np.errstate(all="ignore"):
            value = np.asarray(of(*inputs), float)
        return np.where(np.logical_or.reduce([np.isnan(x) for x in inputs]), np.nan, value)

    return reference


def _clip(x: Array, low: Array, high: Array) -> Array:
    return np.maximum(np.minimum(x, high), low)


def _signed_power(x: Array, exponent: Array) -> Array:
    return np.where(x == 0.0, 0.0, np.sign(x) * np.power(np.abs(x), exponent))


REFERENCES: Final[dict[str, Callable[..., Array]]] = {
    "absolute": nan_aware(np.abs),
    "add": nan_aware(np.add),
    "atan": nan_aware(np.arctan),
    "clip": nan_aware(_clip),
    "div": nan_aware(np.divide),
    "equal": nan_aware(np.equal),
    "exp": nan_aware(np.exp),
    "fill": lambda x, value: np.asarray(np.where(np.isfinite(x), x, value)),
    "floor": nan_aware(np.floor),
    "is_missing": lambda x: 1.0 - np.isfinite(x),
    "less": nan_aware(np.less),
    "less_equal": nan_aware(np.less_equal),
    "log": nan_aware(np.log),
    "logical_and": nan_aware(np.logical_and),
    "logical_not": nan_aware(np.logical_not),
    "logical_or": nan_aware(np.logical_or),
    "maximum": nan_aware(np.maximum),
    "minimum": nan_aware(np.minimum),
    "mul": nan_aware(np.multiply),
    "neg": nan_aware(np.negative),
    "not_equal": nan_aware(np.not_equal),
    "power": nan_aware(np.power),
    "select": lambda c, x, y: np.asarray(np.where(np.isnan(c), np.nan, np.where(c != 0, x, y))),
    "sign": nan_aware(np.sign),
    "signed_power": nan_aware(_signed_power),
    "sqrt": nan_aware(np.sqrt),
    "sub": nan_aware(np.subtract),
    "tanh": nan_aware(np.tanh),
}

APPROXIMATE: Final = {
    "atan": 1e-15,
    "exp": 1e-15,
    "log": 1e-15,
    "tanh": 1e-15,
    "power": 1e-15,
    "signed_power": 1e-15,
}
"""All others are exact to the last bit."""

EDGES: Final = (
    0.0,
    -0.0,
    1.0,
    -1.0,
    2.0,
    -2.5,
    3.0,
    0.5,
    1e-310,
    -1e308,
    1e9 + 0.25,
    np.inf,
    -np.inf,
    np.nan,
)


def call(operator: Operator) -> Node:
    return operator(*(field(name) for name in ("x", "y", "z")[: len(operator.inputs)]))[0]


def test_every_operator_has_a_reference() -> None:
    assert {*REFERENCES, "bar_number"} == set(OPERATORS)


def test_bar_number() -> None:
    found = run({"out": e.bar_number(), "x": field("x")}, DATA)[:, 0]
    assert (found == START + np.arange(len(found))[:, None]).all()


@pytest.mark.parametrize("name", REFERENCES)
def test_on_hard_series(name: str) -> None:
    check(call(OPERATORS[name]), REFERENCES[name], rtol=APPROXIMATE.get(name, 0.0))


@pytest.mark.parametrize("name", REFERENCES)
def test_at_the_edges(name: str) -> None:
    """Every combination of numbers at which something changes; folding gives what the kernel gives."""
    operator = OPERATORS[name]
    n = len(operator.inputs)
    cases = np.array([*itertools.product(EDGES, repeat=n)])
    data = {
        field_: np.ascontiguousarray(cases[None, :, k]) for k, field_ in zip(range(n), "xyz", strict=False)
    }
    found = run({"out": call(operator)}, data, members=np.ones((1, len(cases))))[0, 0]
    agree(found, REFERENCES[name](*cases.T.copy()), APPROXIMATE.get(name, 0.0), 0.0, name)
    if operator.fold is not None:
        folded = [operator(*map(float, case))[0].value for case in cases]
        assert np.array_equal(np.array(folded, float), found, equal_nan=True)


def test_functions_are_the_operators() -> None:
    for name, operator in OPERATORS.items():
        assert operator.name == name
        inputs = [field(f) for f in ("x", "y", "z")[: len(operator.inputs)]]
        assert getattr(e, name)(*inputs) is operator(*inputs)[0]


def test_operators_of_python() -> None:
    x, y = field("x"), field("y")
    assert x**2 is e.mul(x, x) and x**1.0 is x
    assert x**y is e.power(x, y) and 2.0**y is e.power(2.0, y)
    assert ~x is e.logical_not(x) and (x > y) is e.less(y, x) and abs(-x) is e.absolute(e.neg(x))


def test_powers_that_are_exact() -> None:
    """The error before the last rounding is small: results that a float64 holds stay exact."""
    x, wholes = field("x"), {"x": np.arange(-1000.0, 1000.0)[None, :]}
    found = run({"square": e.POWER(x, 2.0)[0], "cube": x**3.0}, wholes)[0]
    assert np.array_equal(found[0], wholes["x"][0] ** 2)
    assert np.array_equal(found[1], wholes["x"][0] * wholes["x"][0] ** 2)


def test_constants_fold() -> None:
    assert e.clip(5.0, 0.0, 2.0) is constant(2.0)
    assert math.isnan(e.clip(math.nan, 0.0, 2.0).value or 0.0)
    assert e.log(2.0).value is None  # the kernel's own bits, not libm's
    assert e.sign(-3).value == -1.0 and e.is_missing(math.inf).value == 1.0


def test_data_has_what_it_takes() -> None:
    assert np.isinf(DATA["x"]).any() and np.isnan(DATA["x"]).any() and (DATA["x"] < 0).any()
