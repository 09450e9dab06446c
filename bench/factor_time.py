"""How live steps are timed: by turns, alone, and with cold caches.

by turns  one bar each, the order reversed every other bar: each contender finds the caches as the other left
          them. The ratio is the median of the ratios bar by bar.
alone     bar after bar of one contender, nothing between them: its own caches, and all its refreshes
cold      64 MiB of other memory are read and written before each step

A contender has `push(bar)`, `run()` and `read(out)`. The step is `run` alone: inputs in place before it,
outputs in its own memory after it; `whole` is all three.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

import numpy as np
from factor_bars import F64
from report import Rounds, interleave, quantile

__all__ = ["Live", "Steps", "Sweep", "time_live"]

_SWEEP_BYTES: Final = 64 << 20


class Steps(Protocol):
    """What can be stepped."""

    names: list[str]
    width: int

    def push(self, bar: F64) -> None: ...

    def run(self) -> None: ...

    def read(self, out: F64) -> None: ...


class Sweep:
    """Throws everything else out of the caches."""

    def __init__(self) -> None:
        self._memory = np.zeros(_SWEEP_BYTES // 8)

    def __call__(self) -> None:
        self._memory += 1.0


@dataclass(slots=True)
class Live:
    """us of every contender, in all ways."""

    turns: Rounds
    whole: dict[str, list[float]]
    alone: dict[str, list[float]]
    cold: dict[str, list[float]] = field(default_factory=dict)

    def note(self, name: str) -> str:
        """What the median by turns does not say."""
        alone, low = self.alone[name], min(self.turns.values[name])
        text = f"by turns; min {low:.3g}, p99 {quantile(self.turns.values[name], 0.99):.3g}; "
        text += f"alone {statistics.median(alone):.3g}, p99 {quantile(alone, 0.99):.3g}; "
        text += f"with load and read-out {statistics.median(self.whole[name]):.3g}"
        if name in self.cold:
            text += f"; cold {statistics.median(self.cold[name]):.3g}"
        return text


def time_live(
    contenders: dict[str, Steps],
    bars: F64,
    rounds: int,
    n_alone: dict[str, int],
    n_cold: int,
    sweep: Sweep | None = None,
) -> Live:
    """Time warm contenders on `bars`; each begins with the first in every way.

    rounds bars by turns, n_alone[name] alone, n_cold cold (0: not asked for); the longest must fit `bars`.
    """
    whole: dict[str, list[float]] = {name: [] for name in contenders}
    iterators = {name: iter(bars) for name in contenders}
    outs = {name: np.empty((len(c.names), c.width)) for name, c in contenders.items()}

    def one_bar(name: str, before: Callable[[], None] | None = None) -> float:
        contender, out = contenders[name], outs[name]
        bar = next(iterators[name])
        t0 = time.perf_counter_ns()
        contender.push(bar)
        t1 = time.perf_counter_ns()
        if before:
            before()
        t2 = time.perf_counter_ns()
        contender.run()
        t3 = time.perf_counter_ns()
        contender.read(out)
        t4 = time.perf_counter_ns()
        if before is None:
            whole[name].append((t1 - t0 + t4 - t2) / 1e3)
        return (t3 - t2) / 1e3

    turns = interleave({name: partial(one_bar, name) for name in contenders}, rounds)
    whole = {name: values[1:] for name, values in whole.items()}
    alone, cold = {}, {}
    for name, contender in contenders.items():
        alone[name] = _alone(contender, bars[: n_alone[name]])
        if sweep and n_cold:
            iterators[name] = iter(bars)
            cold[name] = [one_bar(name, sweep) for _ in range(n_cold)]
    return Live(turns, whole, alone, cold)


def _alone(contender: Steps, bars: F64) -> list[float]:
    times = []
    for bar in bars:
        contender.push(bar)
        began = time.perf_counter_ns()
        contender.run()
        times.append((time.perf_counter_ns() - began) / 1e3)
    return times
