"""kernels/machines.py against TA-Lib, which sees the complete bars alone."""

import importlib
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pytest

from kernels.machines import directed_sum, sar, supertrend
from kernels.node import Node, field
from tests.kernels.harness import DATA, Array, agree, check, run

talib: Any = importlib.import_module("talib")

_COMPLETE: Final = np.isfinite(DATA["x"]) & np.isfinite(DATA["y"])
BARS: Final[dict[str, Array]] = {
    "high": np.where(_COMPLETE, np.fmax(DATA["x"], DATA["y"]), np.nan),
    "low": np.where(_COMPLETE, np.fmin(DATA["x"], DATA["y"]), np.nan),
    "close": np.where(_COMPLETE, 0.3 * DATA["x"] + 0.7 * DATA["y"], np.nan),
}
TORN: Final = BARS | {"low": np.where(np.isfinite(DATA["z"]), BARS["low"], np.inf)}
"""Bars whose low may be missing alone."""
high, low, close = field("high"), field("low"), field("close")


def on_complete(of: Callable[..., Any], *bars: Array) -> Array:
    """`of` the bars that miss nothing, NaN at the others."""
    out = np.full(len(bars[0]), np.nan)
    at = np.all([np.isfinite(x) for x in bars], axis=0)
    if at.sum() > 1:
        out[at] = of(*(x[at] for x in bars))
    return out


@pytest.mark.parametrize(("step", "limit"), [(0.02, 0.2), (0.3, 0.1), (0.0, 0.2)])
def test_stop_and_reverse(step: float, limit: float) -> None:
    check(
        sar(high, low, step, limit),
        lambda h, l: on_complete(lambda h, l: talib.SAR(h, l, step, limit), h, l),  # noqa: E741
        rtol=1e-12,
        atol=1e-13,
        data=TORN,
    )


@pytest.mark.parametrize("output", [0, 1])
@pytest.mark.parametrize(("window", "factor"), [(10, 3.0), (3, 0.5), (30, 0.2)])
def test_supertrend(window: int, factor: float, output: int) -> None:
    def node() -> Node:
        return supertrend(high, low, close, window, factor)[output]

    def expected(h: Array, l: Array, c: Array) -> Array:  # noqa: E741
        found = talib.SUPERTREND(h, l, c, window, factor)[output].astype(float)
        found[:window] = np.nan  # TA-Lib's direction is of whole numbers, 0 before it begins
        return np.asarray(found, float)

    # After a gap the true range is measured from the last close there was: as TA-Lib on complete bars.
    check(node(), lambda h, l, c: on_complete(expected, h, l, c), rtol=1e-11, atol=1e-12, data=BARS)  # noqa: E741


def test_directed_sum() -> None:
    def expected(x: Array, y: Array) -> Array:
        """TA-Lib's own is a plain sum, off by more where a x1000 print was in it."""
        sign = np.sign(np.diff(x, prepend=-np.inf))
        return np.asarray(np.cumsum((sign * y).astype(np.longdouble)), float)

    check(
        directed_sum(field("x"), field("y")),
        lambda x, y: on_complete(expected, x, y),
        rtol=1e-14,
        atol=1e-25,
    )
    walk, weight = DATA["x"][:, 0], np.abs(DATA["y"][:, 0])
    found = run({"out": directed_sum(field("x"), field("y"))}, {"x": walk[:, None], "y": weight[:, None]})
    agree(found[:, 0, 0], talib.OBV(walk, weight), 1e-12, 1e-9, "on-balance volume")


def test_negative_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 0"):
        sar(high, low, -0.1)
