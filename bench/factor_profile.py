"""Where a plan's time goes: every step of it timed inside compiled code, summed by operator.

python bench/factors.py --profile alpha158 [--symbols 512]
"""

from __future__ import annotations

from collections import defaultdict

import numba
import numpy as np
from factor_bars import F64, make_bars
from factor_ours import Ours, plan_of
from rich.console import Console
from rich.table import Table

from kernels.run import _run, load_fields
from shm.atomics import clock_ns

__all__ = ["profile", "step_times"]

_WARM = 150


@numba.njit(nogil=True)
def _time_steps(
    program: int, g: int, n_bars: int, slot: int, n: int, n_steps: int, source: int, columns: int,
    by_column: int, by_bar: int, times: F64,
) -> None:  # fmt: skip
    """times[bar, step] in ns. All steps of a bar for all symbols, one after the other."""
    for t in range(n_bars):
        load_fields(program, g + t, slot, n, source + 8 * t * by_bar, columns, by_column, 1)
        for k in range(n_steps):
            began = clock_ns()
            _run(program, g + t, slot, n, k, k + 1)
            times[t, k] = clock_ns() - began


@numba.njit(nogil=True)
def _clock_cost(n: int) -> float:
    least = 1_000_000
    for _ in range(n):
        began = clock_ns()
        least = min(least, clock_ns() - began)
    return float(least)


def step_times(ours: Ours, bars: F64, slot: int = 0, n: int | None = None) -> F64:
    """ns of every step at every bar [n_bars, n_steps], the clock's own cost taken off.

    The state goes on by these bars; the cross part runs only when all symbols do.
    """
    program, width = ours.program, bars.shape[2]
    n = ours.n_symbols if n is None else n
    whole = n == ours.n_symbols
    n_steps = len(program.plan.steps) if whole else program.plan.n_own
    if ours.has_cross and whole:
        program._block[program.plan.member_row, : ours.n_symbols] = 1.0
    times = np.zeros((len(bars), n_steps))
    where = (program.address, ours.g + 1, len(bars), slot, n, n_steps)
    data = (bars.ctypes.data, ours.columns.ctypes.data, width, bars.shape[1] * width)
    _time_steps(*where, *data, times)
    ours.g += len(bars)
    return np.maximum(times - _clock_cost(1000), 0.0)


def profile(name: str, n_symbols: int, n_bars: int = 600, console: Console | None = None) -> None:
    """Print what a plan's steps cost: all symbols together, and one symbol alone."""
    console = console or Console(highlight=False)
    plan = plan_of(name)
    bars = make_bars(_WARM + 2 * n_bars, n_symbols)
    ours = Ours(plan, n_symbols)
    ours.replay(bars[:_WARM])
    step_times(ours, bars[:1], 0, 1)  # compiles
    together = step_times(ours, bars[_WARM : _WARM + n_bars])
    alone = step_times(ours, bars[_WARM + n_bars :], n_symbols // 2, 1)
    alone = np.pad(alone, ((0, 0), (0, together.shape[1] - alone.shape[1])))
    groups: dict[str, list[int]] = defaultdict(list)
    for k, step in enumerate(plan.steps):
        groups[step.operator.name + (" (cross)" if step.cross else "")].append(k)
    total = together.mean(axis=0).sum()
    console.print(
        f"{name}: {len(plan.names)} outputs, {len(plan.steps)} steps ({plan.n_own} own), {plan.n_rows} rows; "
        f"{n_symbols} symbols: median {np.median(together.sum(axis=1)) / 1e3:.1f} us a bar, "
        f"p99 {np.quantile(together.sum(axis=1), 0.99) / 1e3:.1f}; "
        f"one symbol: median {np.median(alone.sum(axis=1)) / 1e3:.2f} us"
    )
    table = Table("operator", "steps", "us", "%", "us each", "ns/symbol", "p99 us", "alone us", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for label, ks in sorted(groups.items(), key=lambda item: -together[:, item[1]].mean(axis=0).sum()):
        us = together[:, ks].mean(axis=0).sum() / 1e3
        table.add_row(
            label,
            str(len(ks)),
            f"{us:.2f}",
            f"{100 * 1e3 * us / total:.1f}",
            f"{us / len(ks):.2f}",
            f"{1e3 * us / len(ks) / n_symbols:.2f}",
            f"{np.quantile(together[:, ks].sum(axis=1), 0.99) / 1e3:.1f}",
            f"{alone[:, ks].mean(axis=0).sum() / 1e3:.3f}",
        )
    console.print(table)
    mean = together.mean(axis=0)
    console.print("dearest steps:")
    for k in np.argsort(-mean)[:15]:
        console.print(f"  {mean[k] / 1e3:8.2f} us  {plan.steps[k].text[:95]}", soft_wrap=True)
