"""kernels/trend.py against two passes in extended precision over each window."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kernels.node import Node, field
from kernels.plan import Plan
from kernels.trend import (
    ts_forecast,
    ts_intercept,
    ts_residual,
    ts_rsquare,
    ts_slope,
    ts_trend_mean,
    ts_trend_var,
)
from tests.kernels.harness import check, check_drift
from tests.kernels.lines import TOLERANCE, line, of_time

X = field("x")
WINDOWS = [(2, 2), (5, 5), (20, 3), (60, 60)]


@pytest.mark.parametrize(("window", "least"), WINDOWS)
@pytest.mark.parametrize(("operator", "what"), [(ts_slope, "beta"), (ts_rsquare, "rsquare")])
def test_line_on_time(operator: Callable[..., Node], what: str, window: int, least: int) -> None:
    check(operator(X, window, least), lambda x: of_time(x, window, least, what), **TOLERANCE)


@pytest.mark.parametrize(
    ("operator", "what"),
    [
        (ts_intercept, "alpha"),
        (ts_residual, "residual"),
        (ts_trend_mean, "level"),
        (ts_trend_var, "variance"),
    ],
)
def test_place_on_time(operator: Callable[..., Node], what: str) -> None:
    check(operator(X, 20, 3), lambda x: of_time(x, 20, 3, what), **TOLERANCE)


def test_forecast() -> None:
    check(
        ts_forecast(X, 20, 2),
        lambda x: of_time(x, 20, 20, "alpha") + 22 * of_time(x, 20, 20, "beta"),
        **TOLERANCE,
    )


def test_drift() -> None:
    def last(what: str, window: int) -> Callable[..., Any]:
        return lambda x: line(np.arange(1.0, window + 1), x[-window:])[what]

    check_drift(ts_slope(X, 20), last("beta", 20), window=20)
    check_drift(ts_rsquare(X, 60), last("rsquare", 60), window=60)
    check_drift(ts_residual(X, 20), last("residual", 20), window=20)


def test_one_pass_gives_the_whole_line() -> None:
    outputs = {"a": ts_slope(X, 9), "b": ts_intercept(X, 9), "c": ts_rsquare(X, 9), "d": ts_residual(X, 9)}
    outputs |= {"mean": ts_trend_mean(X, 9), "var": ts_trend_var(X, 9)}
    assert len(Plan(outputs).steps) == 1


@pytest.mark.parametrize(("window", "least"), [(1, None), (5, 0), (5, 6), (5.0, None)])
def test_windows_that_mean_nothing(window: Any, least: int | None) -> None:
    with pytest.raises(ValueError, match="min_periods <= window"):
        ts_slope(X, window, least)
