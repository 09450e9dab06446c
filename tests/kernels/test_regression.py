"""kernels/regression.py against two passes in extended precision over each window."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kernels.node import Node, field
from kernels.regression import ts_alpha, ts_beta, ts_beta_residual, ts_beta_rsquare, ts_corr, ts_cov
from kernels.trend import (
    ts_rsquare,
    ts_slope,
)
from tests.kernels.harness import DATA, Array, T, check, check_drift, run
from tests.kernels.lines import TOLERANCE, line, of_pairs

X, Y = field("x"), field("y")
WINDOWS = [(2, 2), (5, 5), (20, 3), (60, 60)]


@pytest.mark.parametrize(("window", "least"), [*WINDOWS, (3, 3), (4, 4), (6, 6), (7, 7), (8, 8), (9, 9)])
def test_correlation(window: int, least: int) -> None:
    check(ts_corr(X, Y, window, least), lambda x, y: of_pairs(x, y, window, least, "corr"), **TOLERANCE)


@pytest.mark.parametrize(("window", "least"), WINDOWS)
def test_covariance(window: int, least: int) -> None:
    check(ts_cov(X, Y, window, least), lambda x, y: of_pairs(x, y, window, least, "cov"), **TOLERANCE)


@pytest.mark.parametrize(("window", "least"), [(5, 5), (20, 3)])
@pytest.mark.parametrize(
    ("operator", "what"),
    [
        (ts_beta, "beta"),
        (ts_alpha, "alpha"),
        (ts_beta_rsquare, "rsquare"),
        (ts_beta_residual, "residual"),
    ],
)
def test_line_of_two_series(operator: Callable[..., Node], what: str, window: int, least: int) -> None:
    check(operator(Y, X, window, least), lambda x, y: of_pairs(x, y, window, least, what), **TOLERANCE)


@pytest.mark.parametrize("window", [5, 20])
def test_a_correlation_that_is_0_where_nothing_varies(window: int) -> None:
    def reference(x: Array, y: Array) -> Array:
        found = of_pairs(x, y, window, window, "corr")
        full = ~np.isnan(of_pairs(x, y, window, window, "cov"))
        return np.where(full & np.isnan(found), 0.0, found)

    check(ts_corr(X, Y, window, flat_is_zero=True), reference, **TOLERANCE)


def test_drift_of_two_series() -> None:
    def last(what: str) -> Callable[..., Any]:
        return lambda x, y: line(x[-20:], y[-20:])[what]

    check_drift(ts_corr(X, Y, 20), last("corr"), window=20)
    check_drift(ts_cov(X, Y, 20), last("cov"), window=20)
    check_drift(ts_beta(Y, X, 20), last("beta"), window=20)
    check_drift(ts_beta_residual(Y, X, 20), last("residual"), window=20)


def test_what_does_not_vary_correlates_with_nothing() -> None:
    """Neither after long motion nor after a bad print may rounding make a correlation of a constant."""
    random = np.random.default_rng(3)
    x = 100.0 + np.cumsum(random.normal(size=(T, 3)), axis=0)
    x[100] *= 1e6
    x[150:, 0] = 0.1
    x[150:, 1] = 0.1 + np.where(random.random(T - 150) < 0.5, 0.0, np.spacing(0.1))
    x[150:, 2] = 1e9
    y = random.normal(size=(T, 3))
    data = {"x": x, "y": y}
    outputs = {
        "corr": ts_corr(X, Y, 20),
        "beta": ts_beta(Y, X, 20),
        "rsquare": ts_rsquare(X, 20),
        "slope": ts_slope(X, 20),
    }
    found = run(outputs, data)[169:]
    assert np.isnan(found[:, :3]).all()
    assert (found[:, 3] == 0.0).all()


def test_correlation_stays_within_one() -> None:
    x = DATA["x"]
    found = run({"same": ts_corr(X, X * 3.0, 5), "opposite": ts_corr(X, -X, 5)}, {"x": x})
    assert np.nanmax(found) == 1.0
    assert np.nanmin(found) == -1.0
