"""kernels/exponential.py against plain loops in extended precision, pandas, and TA-Lib."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kernels.exponential import (
    Seed,
    adaptive,
    dema,
    ema,
    ewm_corr,
    ewm_cov,
    ewm_mean,
    ewm_std,
    ewm_var,
    exponential,
    kama,
    rma,
    sma_cn,
    tema,
)
from kernels.node import Node, field
from tests.kernels.harness import DATA, Array, check, check_drift, run

Long = np.longdouble


def finite(x: Array) -> Array:
    """x, infinite values missing."""
    return np.where(np.isfinite(x), x, np.nan)


def carried(out: Array) -> Array:
    """The last value over missing ones."""
    return np.asarray(pd.Series(out).ffill(), float)


def filtered(x: Array, alpha: float, begin: int) -> Array:
    """Over the values of x alone: the mean of the first `begin`, then old * (1 - alpha) + new * alpha."""
    out = np.full(len(x), np.nan)
    at = np.flatnonzero(np.isfinite(x))
    if len(at) >= begin:
        value = x[at[:begin]].astype(Long).mean()
        out[at[begin - 1]] = value
        for t in at[begin:]:
            value = value * (1 - Long(alpha)) + Long(x[t]) * Long(alpha)
            out[t] = value
    return carried(out)


@pytest.mark.parametrize(
    ("node", "alpha", "begin"),
    [
        (ema(field("x"), 1), 1.0, 1),
        (ema(field("x"), 12), 2 / 13, 1),
        (ema(field("x"), 12, "mean"), 2 / 13, 12),
        (rma(field("x"), 14), 1 / 14, 1),
        (rma(field("x"), 14, seed="mean"), 1 / 14, 14),
        (sma_cn(field("x"), 9, 2), 2 / 9, 1),
    ],
)
def test_exponential_means(node: Node, alpha: float, begin: int) -> None:
    check(node, lambda x: filtered(x, alpha, begin), rtol=1e-12, atol=1e-13)


def test_first_seed_is_pandas() -> None:
    check(
        ema(field("x"), 20),
        lambda x: pd.Series(finite(x)).ewm(span=20, adjust=False, ignore_na=True).mean(),
        rtol=1e-12,
        atol=1e-13,
    )


def test_skip_divisor_and_least() -> None:
    """Two values are not read, the sum of three by 4 begins, the output waits for the seventh."""

    def expected(x: Array) -> Array:
        out = np.full(len(x), np.nan)
        at = np.flatnonzero(np.isfinite(x))
        value = Long(0)
        for k, t in enumerate(at):
            if 2 <= k < 5:
                value += x[t] / Long(4)
            elif k >= 5:
                value += (x[t] - value) / Long(8)
            if k >= 6:
                out[t] = value
        return carried(out)

    node = exponential(field("x"), 0.125, skip=2, seed=3, least=7, divisor=4.0)
    check(node, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("seed", ["first", "mean"])
def test_double_and_triple(seed: Seed) -> None:
    def of_stages(x: Array, factors: tuple[int, ...]) -> Array:
        stages = [x]
        for _ in factors:
            stages.append(filtered(stages[-1], 2 / 8, 7 if seed == "mean" else 1))
        total = sum((c * s.astype(Long) for c, s in zip(factors, stages[1:], strict=True)), Long(0))
        return np.asarray(total, float)

    check(dema(field("x"), 7, seed), lambda x: of_stages(x, (2, -1)), rtol=1e-11, atol=1e-12)
    check(tema(field("x"), 7, seed), lambda x: of_stages(x, (3, -3, 1)), rtol=1e-11, atol=1e-12)


def test_adaptive() -> None:
    def expected(x: Array, y: Array) -> Array:
        out = np.full(len(x), np.nan)
        alpha = 1 / (1 + y * y)
        value, last, begun = Long(np.nan), Long(np.nan), False
        for t in range(len(x)):
            if np.isfinite(x[t]) and np.isfinite(alpha[t]):
                if not begun:
                    value, begun = (x[t] if np.isnan(last) else last), True
                value = Long(value) + alpha[t] * (x[t] - Long(value))
            if np.isfinite(x[t]):
                last = x[t]
            if begun:
                out[t] = value
        return out

    y = field("y")
    check(adaptive(field("x"), 1.0 / (1.0 + y * y)), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("adjust", [True, False])
def test_ewm_mean(adjust: bool) -> None:
    check(
        ewm_mean(field("x"), 9, adjust=adjust),
        lambda x: pd.Series(finite(x)).ewm(span=9, adjust=adjust).mean(),
        rtol=1e-12,
        atol=1e-13,
    )


def weighted(x: Array, y: Array, span: float, of: Callable[..., Any]) -> Array:
    """`of` each prefix: deviations of x and y from their weighted means, the weights."""
    out = np.full(len(x), np.nan)
    there = np.isfinite(x) & np.isfinite(y)
    keep = 1 - Long(2.0 / (span + 1.0))
    for t in range(len(x)):
        at = np.flatnonzero(there[: t + 1])
        if len(at) >= 2:
            w = keep ** (t - at)
            a, b = x[at].astype(Long), y[at].astype(Long)
            out[t] = of(a - (w * a).sum() / w.sum(), b - (w * b).sum() / w.sum(), w)
    return out


def covariance(a: Any, b: Any, w: Any) -> Any:
    return (w * a * b).sum() / w.sum() * w.sum() ** 2 / (w.sum() ** 2 - (w * w).sum())


def test_ewm_variance() -> None:
    # A x1000 print fades by a factor in each bar and takes its rounding along: no looser than the rest.
    check(
        ewm_var(field("x"), 10),
        lambda x: weighted(x, x, 10, covariance),
        rtol=1e-9,
        atol=1e-30,
        without=("constant",),
    )
    check(
        ewm_std(field("x"), 10),
        lambda x: pd.Series(finite(x)).ewm(span=10).std(),
        rtol=1e-9,
        without=("offset", "constant"),  # pandas itself is off by 1e-7, and zero becomes 1e-8
    )


def test_ewm_variance_of_a_long_constant_fades_to_nothing() -> None:
    found = run({"out": ewm_var(field("x"), 10)}, DATA)[:, 0, 2]
    expected = weighted(DATA["x"][:, 2], DATA["x"][:, 2], 10, covariance)
    assert np.nanmax(np.abs(found - expected)) < 1e-12


@pytest.mark.parametrize("span", range(8, 40))
def test_one_value_has_no_variance_however_long_the_gap_behind_it(span: int) -> None:
    x = np.full((60, 1), np.nan)
    x[3], x[50] = 7.0, 8.0
    found = run({"out": ewm_var(field("x"), span)}, {"x": x})[:, 0, 0]
    assert np.isnan(found[:50]).all()
    assert np.isfinite(found[50:]).all()


def test_ewm_covariance_and_correlation() -> None:
    x, y = field("x"), field("y")

    def correlation(a: Any, b: Any, w: Any) -> Any:
        with np.errstate(all="ignore"):
            return (w * a * b).sum() / np.sqrt((w * a * a).sum() * (w * b * b).sum())

    apart = ("constant",)  # held by the absolute bound below
    check(
        ewm_cov(x, y, 15), lambda x, y: weighted(x, y, 15, covariance), rtol=1e-8, atol=1e-26, without=apart
    )
    check(
        ewm_corr(x, y, 15),
        lambda x, y: weighted(x, y, 15, correlation),
        rtol=1e-8,
        atol=1e-10,
        without=(*apart, "zero"),
    )
    check(
        ewm_cov(x, y, 15),
        lambda x, y: pd.Series(finite(x)).ewm(span=15).cov(pd.Series(finite(y))),
        rtol=1e-7,
        atol=1e-12,
        without=("offset", *apart),
    )


def test_drift() -> None:
    check_drift(ema(field("x"), 20), lambda x: filtered(x, 2 / 21, 1)[-1], bars=200_000)
    check_drift(
        ewm_std(field("x"), 20),
        lambda x: np.sqrt(last_covariance(x, 20)),
        bars=200_000,
    )


def last_covariance(x: Any, span: float) -> Any:
    w = (1 - Long(2.0 / (span + 1.0))) ** np.arange(len(x) - 1, -1, -1)
    a = x - (w * x).sum() / w.sum()
    return covariance(a, a, w)


def test_kama() -> None:
    def expected(x: Array) -> Array:
        out = np.full(len(x), np.nan)
        value = Long(np.nan)
        for t in range(10, len(x)):
            window = finite(x[t - 10 : t + 1]).astype(Long)
            path = np.abs(np.diff(window)).sum()
            change = window[-1] - window[0]
            if np.isfinite(path):
                value = Long(x[t - 1]) if np.isnan(value) else value
                ratio = Long(1) if path <= change or path == 0 else abs(change) / path
                value += (ratio * (Long(2) / 3 - Long(2) / 31) + Long(2) / 31) ** 2 * (x[t] - value)
            out[t] = value
        return out

    check(kama(field("x"), 10), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ema(field("x"), 0), "at least 1"),
        (lambda: ema(field("x"), 5, "middle"), "'first' or 'mean'"),  # type: ignore[arg-type]
        (lambda: sma_cn(field("x"), 3, 4), "m <= n"),
        (lambda: exponential(field("x"), 1.5), "alpha"),
        (lambda: exponential(field("x"), 0.5, seed=3, least=2), "least"),
        (lambda: ewm_mean(field("x"), 0.5), "span"),
    ],
)
def test_what_cannot_be_is_told(make: Callable[[], Node], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
