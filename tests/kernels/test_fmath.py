"""kernels/fmath.py against 64-bit fractions (np.longdouble) where they are at hand, and at every edge."""

import itertools
from typing import Any, Final

import numpy as np
import pytest

from kernels.elementwise import atan, exp, log, power, tanh
from kernels.node import Node, field
from tests.kernels.harness import Array, run

N: Final = 40_000
x, y = field("x"), field("y")
FUNCTIONS: Final = {
    "log": (log, np.log),
    "exp": (exp, np.exp),
    "tanh": (tanh, np.tanh),
    "atan": (atan, np.arctan),
}
BOUNDS: Final = {"log": 1.0, "exp": 1.0, "tanh": 3.0, "atan": 2.0, "power": 1.0}
"""In units of the last place, as the docstrings promise."""

precise = pytest.mark.skipif(
    np.finfo(np.longdouble).nmant < 63, reason="long double is no longer than double"
)


def values(node: Node, **data: Array) -> Array:
    found: Array = run({"out": node}, {name: column[None, :] for name, column in data.items()})[0, 0]
    return found


def ulps(found: Array, exact: Any) -> float:
    """Largest distance in units of the last place of the exact value."""
    unit = np.spacing(np.abs(exact.astype(float))).astype(np.longdouble)
    return float(np.max(np.abs(found - exact) / unit))


def spread(seed: int, low: float, high: float) -> Array:
    return np.random.default_rng(seed).uniform(low, high, N)


@precise
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("log", np.exp(spread(1, -744.0, 709.0))),
        ("log", spread(2, 0.5, 2.0)),
        ("log", 1.0 + spread(3, -1e-5, 1e-5)),
        ("exp", spread(4, -744.0, 709.0)),
        ("exp", spread(5, -1e-3, 1e-3)),
        ("tanh", spread(6, -3.0, 3.0)),
        ("tanh", spread(7, -25.0, 25.0)),
        ("tanh", spread(8, -1e-6, 1e-6)),
        ("atan", spread(9, -4.0, 4.0)),
        ("atan", np.exp(spread(10, -50.0, 50.0))),
    ],
)
def test_error(name: str, arguments: Array) -> None:
    function, reference = FUNCTIONS[name]
    assert ulps(values(function(x), x=arguments), reference(arguments.astype(np.longdouble))) < BOUNDS[name]


@precise
@pytest.mark.parametrize(
    ("base", "exponent"),
    [
        (np.exp(spread(11, -5.0, 5.0)), spread(12, -5.0, 5.0)),
        (np.exp(spread(13, -740.0, 700.0)), spread(14, -0.95, 0.95)),
        (1.0 + spread(15, -1e-3, 1e-3), spread(16, -3e5, 3e5)),
        (np.floor(spread(17, 1.0, 30.0)), np.floor(spread(18, -10.0, 11.0))),
    ],
)
def test_error_of_powers(base: Array, exponent: Array) -> None:
    exact = np.power(base.astype(np.longdouble), exponent.astype(np.longdouble))
    assert ulps(values(power(x, y), x=base, y=exponent), exact) < BOUNDS["power"]


EDGES: Final = np.array(
    [
        0.0,
        -0.0,
        5e-324,
        -5e-324,
        2.2e-308,
        0.5,
        np.nextafter(1.0, 0.0),
        1.0,
        np.nextafter(1.0, 2.0),
        1.5,
        2.0,
        3.0,
        709.7,
        709.8,
        744.4,
        745.2,
        746.1,
        2.0**52 + 1.0,
        2.0**53,
        1e19,
        1e300,
        1.7e308,
        np.inf,
        np.nan,
    ]
)
BOTH: Final = np.concatenate([EDGES, -EDGES])


@np.errstate(all="ignore")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_edges(name: str) -> None:
    function, reference = FUNCTIONS[name]
    found, expected = values(function(x), x=BOTH), reference(BOTH)
    np.testing.assert_allclose(found, expected, rtol=1e-15, atol=5e-324)
    known = ~np.isnan(expected)
    assert (np.signbit(found) == np.signbit(expected))[known].all()


@np.errstate(all="ignore")
def test_edges_of_powers() -> None:
    cases = np.array([*itertools.product(BOTH, BOTH)])
    base, exponent = cases[:, 0].copy(), cases[:, 1].copy()
    found = values(power(x, y), x=base, y=exponent)
    expected = np.where(np.isnan(base) | np.isnan(exponent), np.nan, np.power(base, exponent))
    np.testing.assert_allclose(found, expected, rtol=1e-15, atol=5e-324)
    known = ~np.isnan(expected)
    assert (np.signbit(found) == np.signbit(expected))[known].all()


def test_smallest_numbers_are_rounded_once() -> None:
    """exp and powers below the smallest normal number: right to the last place that there is."""
    arguments = spread(19, -745.0, -708.5)
    exact = np.exp(arguments.astype(np.longdouble))
    assert np.max(np.abs(values(exp(x), x=arguments) - exact)) <= 5e-324
    found = values(power(x, y), x=np.full(1074, 2.0), y=-np.arange(1.0, 1075.0))
    assert (found == np.ldexp(1.0, -np.arange(1, 1075))).all()


def test_order_is_kept() -> None:
    """Where pieces of the methods meet, the results still rise."""
    for function, around in (
        (log, np.sqrt(0.5)),
        (exp, 0.5 * np.log(2.0)),
        (atan, 0.66),
        (atan, 2.414213562373095),
    ):
        near = np.asarray(around * (1.0 + np.arange(-2000, 2001) * 2.0**-50), np.float64)
        found = values(function(x), x=near)
        assert (np.diff(found) >= -np.spacing(np.abs(found[1:]))).all()
