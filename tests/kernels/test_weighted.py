"""kernels/weighted.py against the definition in extended precision."""

from typing import Any

import numpy as np
import pytest

from kernels.node import field
from kernels.weighted import decay_exp, decay_linear
from tests.kernels.harness import Array, check, check_drift, run

x = field("x")


def weighted(values: Array, weights: Any) -> Array:
    """Mean of each window with these weights, oldest first; NaN where one value is missing."""
    w = len(weights)
    out = np.full(len(values), np.nan)
    for t in range(w - 1, len(values)):
        window = values[t - w + 1 : t + 1].astype(np.longdouble)
        if np.isfinite(window).all():
            out[t] = (window * weights).sum() / weights.sum()
    return out


def linear(window: int) -> Any:
    return np.arange(1, window + 1).astype(np.longdouble)


def exponential(window: int, factor: float) -> Any:
    return np.longdouble(factor) ** np.arange(window)[::-1]


@pytest.mark.parametrize("window", [1, 2, 10, 61])
def test_linear(window: int) -> None:
    check(decay_linear(x, window), lambda v: weighted(v, linear(window)), rtol=4e-16, atol=1e-300)


def test_linear_forgets_any_bad_print() -> None:
    random = np.random.default_rng(3)
    prices = 100.0 + random.normal(size=(200, 1))
    prices[61] = 1e15
    found = run({"out": decay_linear(x, 50)}, {"x": prices})[:, 0, 0]
    np.testing.assert_allclose(found[120:], weighted(prices[:, 0], linear(50))[120:], rtol=4e-16)


@pytest.mark.parametrize(("window", "factor"), [(1, 0.5), (2, 0.9), (10, 0.25), (61, 0.97)])
def test_exponential(window: int, factor: float) -> None:
    # Relative to what stood in the window: after a bad print of x1000 its rounding fades until the refresh.
    check(
        decay_exp(x, window, factor),
        lambda v: weighted(v, exponential(window, factor)),
        rtol=1e-12,
        atol=1e-15,
    )


def test_drift() -> None:
    check_drift(decay_linear(x, 30), lambda v: (v[-30:] * linear(30)).sum() / linear(30).sum(), rtol=1e-15)
    weights = exponential(50, 0.99)
    check_drift(decay_exp(x, 50, 0.99), lambda v: (v[-50:] * weights).sum() / weights.sum(), rtol=1e-12)


def test_parameters_that_mean_nothing_are_told() -> None:
    for factor in (0.0, 1.0, -0.5, float("nan")):
        with pytest.raises(ValueError, match="factor"):
            decay_exp(x, 10, factor)
    with pytest.raises(ValueError, match="window"):
        decay_linear(x, 0)
