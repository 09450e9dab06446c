"""How the cost of a step grows: with symbols, with factors, with the window of one operator."""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Callable
from typing import Final

import numpy as np
from factor_bars import F64, make_bars
from factor_ours import Ours, plan_of
from report import Figures

from factor_defs.fields import close, volume
from kernels.node import Node
from kernels.plan import Plan

__all__ = ["growth"]

WINDOWS: Final = (5, 20, 60, 240, 1000)
_OPERATORS: Final[dict[str, tuple[str, Callable[..., Node]]]] = {
    "ts_std": ("rolling", lambda op, w: op(close, w)),
    "ts_max": ("extremes", lambda op, w: op(close, w)),
    "ts_rank": ("quantiles", lambda op, w: op(close, w)),
    "ts_median": ("quantiles", lambda op, w: op(close, w)),
    "ts_corr": ("regression", lambda op, w: op(close, volume, w)),
    "decay_linear": ("weighted", lambda op, w: op(close, w)),
}
"""Operator -> module of kernels, and how it is applied."""


def growth(figures: Figures, name: str | None, n_bars: int = 300) -> None:
    """Median steps, alone. `name` is the set for the growth with symbols and factors; None: left out."""
    if name:
        plan = plan_of(name)
        for n_symbols in (1, 8, 64, 512, 1024, 2048):
            us = _step_us(plan, make_bars(400, n_symbols), 150)
            note = f"{1e3 * us / n_symbols:,.0f} ns a symbol"
            figures.add(f"{name}_growth_{n_symbols}_symbols_us", us, note)
        for n in sorted({len(plan.names) // 8, len(plan.names) // 4, len(plan.names) // 2, len(plan.names)}):
            part = plan_of(name, plan.names[:n])
            us = _step_us(part, make_bars(400, 512), 150)
            note = f"{len(part.steps)} steps, {part.n_rows} rows; {1e3 * us / n:,.0f} ns a factor of 512"
            figures.add(f"{name}_growth_{n}_factors_us", us, note)
    bars = make_bars(WINDOWS[-1] + 100 + n_bars, 512)
    for operator, (module, apply) in _OPERATORS.items():
        try:
            function = getattr(importlib.import_module(f"kernels.{module}"), operator)
        except (ImportError, AttributeError):
            continue
        costs = []
        for window in WINDOWS:
            warm = min(2 * window + 20, WINDOWS[-1] + 100)
            plan = Plan({operator: apply(function, window)})
            costs.append(_step_us(plan, bars[-warm - n_bars :], warm))
        told = ", ".join(f"{us:.2f}" for us in costs)
        figures.add(f"window_{operator}_1000_of_20", costs[-1] / costs[1], f"{told} us at windows {WINDOWS}")


def _step_us(plan: Plan, bars: F64, warm: int) -> float:
    ours = Ours(plan, bars.shape[2])
    ours.replay(np.ascontiguousarray(bars[:warm]))
    times = []
    for bar in bars[warm:]:
        ours.push(bar)
        began = time.perf_counter_ns()
        ours.run()
        times.append((time.perf_counter_ns() - began) / 1e3)
    return statistics.median(times)
