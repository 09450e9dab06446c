"""Our side of bench/factors.py: the sets as plans, and a program driven as the engine drives it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from factor_bars import COLUMNS, F64
from factor_indicators import NAMES

from kernels.node import Node
from kernels.plan import Plan
from kernels.run import Program, direct, load_fields, peek, read_outputs, replay, step_cross, step_own

__all__ = ["FIRST_G", "Ours", "absent", "order", "plan_of"]

FIRST_G: Final = 1_000_003
"""The number of the first bar."""

_load, _own, _cross, _read = (direct(f) for f in (load_fields, step_own, step_cross, read_outputs))
_peek = direct(peek)


def _library(name: str) -> Callable[[], dict[str, Node]]:
    def nodes() -> dict[str, Node]:
        made: dict[str, Node] = importlib.import_module(f"factor_defs.{name}").nodes()
        return made

    return nodes


def _ten() -> dict[str, Node]:
    """The ten indicators of factor_indicators.py, in its order, out of factor_defs.ta."""
    ta = importlib.import_module("factor_defs.ta").FACTORS
    macd, bands = ta["MACD"](12, 26, 9), ta["BBANDS"](20, 2.0, 2.0)
    made = [ta["SMA"](20), ta["EMA"](20), ta["RSI"](14), ta["STDDEV"](20)]
    made += [*macd.values(), *bands.values(), ta["ATR"](14), ta["MAX"](20), ta["MIN"](20), ta["ROC"](100)]
    return dict(zip(NAMES, made, strict=True))


_SETS: Final[dict[str, Callable[[], dict[str, Node]]]] = {
    "alpha158": _library("qlib158"),
    "alpha101": _library("alpha101"),
    "ten": _ten,
    "alpha101_as_kunquant": lambda: importlib.import_module("factor_translate").translated("alpha101"),
}


def plan_of(name: str, only: Sequence[str] | None = None) -> Plan:
    """A set's plan: all of it, or the factors named, in that order. `pkg.module` names another library.

    `alpha101_as_kunquant` is KunQuant's reading of that set (factor_translate.py).
    """
    nodes = _SETS[name]() if name in _SETS else importlib.import_module(name).nodes()
    return Plan(nodes if only is None else {key: nodes[key] for key in only})


def absent(name: str) -> str:
    """Why a set cannot be planned; empty if it can."""
    try:
        plan_of(name)
    except (ImportError, AttributeError, KeyError, TypeError, ValueError) as error:
        return f"our {name} is not there: {type(error).__name__}: {error}"
    return ""


def order(plan: Plan) -> Any:
    """int64[n_fields]: which column of the bench's bars each field is."""
    return np.array([COLUMNS.index(name) for name in plan.fields], np.int64)


class Ours:
    """A plan for `n_symbols`, stepped bar by bar. Bars may be wider than that, as KunQuant's blocks are."""

    def __init__(self, plan: Plan, n_symbols: int) -> None:
        self.plan = plan
        self.names = list(plan.names)
        self.n_symbols = self.width = n_symbols
        self.program = Program(plan, n_symbols)
        self.address = self.program.address
        self.g = FIRST_G - 1
        self.has_cross = any(plan.is_cross)
        self.members = np.ones(n_symbols)
        self._members = self.members.ctypes.data
        self.columns = order(plan)
        self._columns = self.columns.ctypes.data
        self.scratch = Program(plan, 1)

    def push(self, bar: F64) -> None:
        """Bring one bar into place: float64 [len(COLUMNS), n_symbols or more]."""
        self.g += 1
        _load(self.address, self.g, 0, self.n_symbols, bar.ctypes.data, self._columns, bar.shape[1], 1)

    def run(self) -> None:
        """The step alone, its fields being in place."""
        _own(self.address, self.g, 0, self.n_symbols)
        if self.has_cross:
            _cross(self.address, self.g, self.n_symbols, self._members)

    def read(self, out: F64) -> None:
        """Copy every output into out[n_outputs, n_symbols]."""
        _read(self.address, self.g, 0, self.n_symbols, out.ctypes.data, out.shape[1])

    def whole_step(self, bar: F64, out: F64) -> None:
        """Load, step, read out."""
        self.push(bar)
        self.run()
        self.read(out)

    def peek(self, slot: int, bar_address: int, by_column: int, out_address: int) -> None:
        """All outputs of one symbol as if `bar` closed now, from the bar's address."""
        _peek(
            self.address,
            self.scratch.address,
            self.g + 1,
            slot,
            bar_address,
            self._columns,
            by_column,
            out_address,
        )

    def replay(self, bars: F64, out: F64 | None = None) -> None:
        """Step all bars [n_bars, len(COLUMNS), width] in one call, into out[n_bars, n_outputs, n_symbols]."""
        n_bars, n_columns, width = bars.shape
        members = np.ones((n_bars, self.n_symbols)) if self.has_cross else None
        replay(
            self.address,
            self.g + 1,
            n_bars,
            0,
            self.n_symbols,
            bars.ctypes.data,
            self._columns,
            width,
            1,
            n_columns * width,
            0 if members is None else members.ctypes.data,
            0 if out is None else out.ctypes.data,
            self.n_symbols,
            len(self.names) * self.n_symbols,
        )
        self.g += n_bars
