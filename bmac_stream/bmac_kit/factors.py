"""What a strategy's list of factors means: which are pandas modules, which are the engine's.

    [("PctChg", 100), ("TrdNumMeanV1", 80)]      as in BMAC: name and parameter
    [("Boll", "20,2"), ("Macd", 12, 26, 9)]      several parameters
    ["qlib158:KMID", "qlib158"]                  the engine's, as in a config

A name with one parameter is looked for in the strategy's package (`factor/PctChg.py`) first, then among the
engine's factors (factor_defs.registry): an unchanged strategy keeps its own formulas. With
`prefer="engine"` it is the other way round. A name with its library, ("bmac:PctChg", 100), is always the
engine's, and so is one with no parameter or several.

Columns are `{factor}_{param}`, as the strategy wrote both; an engine's factor of several values has one
column for each, "Boll_20,2.upper".
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bmac_stream.bar import COLUMNS
from bmac_stream.bmac_kit import legacy
from bmac_stream.bmac_kit.candles import Candles
from bmac_stream.engine import FactorError, bound, default_static
from factor_defs import registry
from factor_defs.published import named as named_columns
from kernels.batch import batch
from kernels.node import Node
from kernels.plan import Plan
from kernels.run import Program

__all__ = ["FactorList", "Prefer", "of_panel"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Prefer = Literal["legacy", "engine"]

_LONGEST: Final = 1_000_000
"""Bars of one symbol that an engine's factors look back over, gaps included."""
_PIECE: Final = 512
"""Bars of the whole market that are computed at once: 200 MB for Alpha158 of 320 symbols."""


@dataclass(slots=True)
class _Legacy:
    """A module with all the parameters that are asked of it."""

    factor: legacy.LegacyFactor
    parameters: list[Any]


class FactorList:
    """A strategy's factors, resolved.

    columns  names of all factor columns, in the strategy's order
    nodes    the engine's among them: column -> expression

    FactorError for a name that nobody has or parameters that do not fit; LegacyFactorError for a module that
    cannot be used; ValueError for what is no factor, or a column that comes twice.
    """

    def __init__(
        self, factor_cfgs: Sequence[Any], package: str = "factor", prefer: Prefer = "legacy"
    ) -> None:
        if prefer not in ("legacy", "engine"):
            raise ValueError(f"prefer must be 'legacy' or 'engine', found {prefer!r}")
        self._package = package
        self._prefer = prefer
        self.columns: list[str] = []
        self.nodes: dict[str, Node] = {}
        self._legacy: dict[str, _Legacy] = {}
        self._planned: tuple[Any, Plan] | None = None
        for entry in factor_cfgs:
            self._take(entry)
        twice = sorted({name for name in self.columns if self.columns.count(name) > 1})
        if twice:
            raise ValueError(f"two factors make a column {twice[0]!r}")

    @property
    def legacy_columns(self) -> list[str]:
        """Columns of pandas modules."""
        return [name for name in self.columns if name not in self.nodes]

    def of_frame(self, frame: pd.DataFrame) -> dict[str, Any]:
        """Every pandas factor over a candle frame: {column: Series}. LegacyFactorError."""
        made: dict[str, Any] = {}
        for one in self._legacy.values():
            made |= one.factor.series(frame, one.parameters)
        return made

    def plan(
        self,
        interval_ms: int,
        phase_ms: int,
        columns: Sequence[str],
        statics: Mapping[str, Mapping[str, float]],
    ) -> Plan:
        """The engine's factors over bars of these columns, whose open_time is phase_ms + g * interval_ms.
        FactorError if they read others."""
        key = (interval_ms, phase_ms, tuple(columns))
        if self._planned is not None and self._planned[0] == key:
            return self._planned[1]
        nodes = self.nodes
        plan = bound(nodes, columns, interval_ms, phase_ms, statics)
        lacking = [field for field in plan.fields if field not in columns]
        if lacking:
            who = next(name for name, node in nodes.items() if lacking[0] in Plan({name: node}).fields)
            raise FactorError(f"{who} reads {lacking[0]!r}; candles have {', '.join(columns)}")
        self._planned = (key, plan)
        return plan

    def _take(self, entry: Any) -> None:
        if isinstance(entry, str):
            self._of_engine(registry.columns, [entry])
            return
        if not isinstance(entry, Sequence) or not entry or not isinstance(entry[0], str):
            raise ValueError(f"a factor is written as (name, parameter), found {entry!r}")
        name, *parameters = entry
        alone = len(parameters) == 1 and ":" not in name
        order = ("legacy", "engine") if self._prefer == "legacy" else ("engine", "legacy")
        for kind in order if alone else ("engine",):
            if kind == "legacy" and self._is_legacy(name, parameters[0]):
                return
            if kind == "engine" and (not alone or self._engine_has(name)):
                self._of_engine(self._nodes, name, parameters)
                return
        where = (
            f"no module {name}.py in package {self._package!r} (looked for in {', '.join(sys.path[:3])}, ...)"
        )
        try:
            registry.find(name)
        except registry.UnknownFactor as error:
            raise FactorError(f"{error}; and {where}") from None

    def _is_legacy(self, name: str, parameter: Any) -> bool:
        known = self._legacy.get(name)
        if known is None:
            factor = legacy.find(self._package, name)
            if factor is None:
                return False
            known = self._legacy[name] = _Legacy(factor, [])
        known.parameters.append(parameter)
        self.columns.append(known.factor.column(parameter))
        return True

    @staticmethod
    def _engine_has(name: str) -> bool:
        try:
            registry.find(name)
        except registry.UnknownFactor:
            return False
        return True

    def _of_engine(self, make: Any, *arguments: Any) -> None:
        try:
            found: dict[str, Node] = make(*arguments)
        except (LookupError, ValueError, TypeError) as error:
            raise FactorError(str(error)) from error
        self.nodes |= found
        self.columns += found

    @staticmethod
    def _nodes(name: str, parameters: Sequence[Any]) -> dict[str, Node]:
        numbers = [number for parameter in parameters for number in _numbers(parameter)]
        column = "_".join([name, *(str(parameter) for parameter in parameters)])
        return named_columns(column, registry.lookup(name, *numbers))


def of_panel(
    plan: Plan,
    symbols: Sequence[Candles],
    run_time_ms: int,
    n_bars: int,
    statics: Mapping[str, Mapping[str, float]],
) -> Iterator[F64]:
    """An engine's factors over candles, in pieces of consecutive bars: float64[n, n_factors, n_symbols], the
    last row of the last piece that of `run_time_ms`. The pieces' memory is used again: copy what is kept.

    A bar that a symbol does not have is NaN, as in a store. What lies further back than `n_bars` is not
    looked at.
    """
    interval_ms = symbols[0].interval_ms
    n_bars = min(n_bars, _LONGEST)
    first_g, phase_ms = divmod(run_time_ms - n_bars * interval_ms, interval_ms)
    first_ms = first_g * interval_ms + phase_ms
    bars = np.full((n_bars, max(1, len(plan.fields)), len(symbols)), np.nan)
    begins = np.full(len(symbols), np.iinfo(np.int64).max)
    members = np.zeros((n_bars, len(symbols)))
    for slot, candles in enumerate(symbols):
        row = (candles.begin_ms - first_ms) // interval_ms
        inside = (row >= 0) & (row < n_bars)
        row = row[inside]
        if not len(row):
            continue
        for k, name in enumerate(plan.fields):
            bars[row, k, slot] = candles.values[candles.columns.index(name), inside]
        members[row, slot] = np.isfinite(candles.values[: len(COLUMNS), inside]).any(axis=0)
        begins[slot] = first_g + row[0]
    program = Program(plan, len(symbols))
    for name in plan.statics:
        given = statics.get(name) or default_static(name, [candles.symbol for candles in symbols])
        values = [given.get(candles.symbol, given.get("", np.nan)) for candles in symbols]
        program.set_static(name, np.array(values))
    piece = np.empty((min(_PIECE, n_bars), len(plan.names), len(symbols)))
    for at in range(0, n_bars, _PIECE):
        n = min(_PIECE, n_bars - at)
        yield batch(
            program,
            bars[at : at + n],
            g=first_g + at,
            members=members[at : at + n],
            first=begins,
            out=piece[:n],
        )


def _numbers(parameter: Any) -> list[int | float | bool]:
    """A parameter as the engine takes it: '5,20' is two."""
    if isinstance(parameter, int | float):
        return [parameter]
    if isinstance(parameter, list | tuple):
        return [number for part in parameter for number in _numbers(part)]
    if isinstance(parameter, str):
        found: list[int | float | bool] = []
        for word in parameter.split(","):
            try:
                found.append(int(word))
            except ValueError:
                try:
                    found.append(float(word))
                except ValueError:
                    raise ValueError(f"expected numbers, as in '5,20', found {parameter!r}") from None
        return found
    raise ValueError(f"a parameter is a number or a text of numbers, found {parameter!r}")
