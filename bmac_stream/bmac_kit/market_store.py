"""The whole market at one run_time, out of shared memory.

Engine factors come from an Engine that is kept warm: made with the calculator, stepped at every call, so
that a run_time costs what its bar costs. A run_time that the engine has passed already is computed over the
stored bars. Pandas factors get every symbol's frame, one after the other. That takes tenths of a second, and
bars are revised or come late meanwhile: a frame is of one state of the store, or there is none.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bmac_stream.bmac_kit.candles import BEGIN, Times
from bmac_stream.bmac_kit.factors import FactorList, of_panel
from bmac_stream.bmac_kit.shared import MarketBar, SharedCandles
from bmac_stream.engine import Engine
from bmac_stream.errors import Lagging, LegacyFactorError, SymbolNotFound
from shm import Status, StoreReader

__all__ = ["StoreMarket"]

F64 = NDArray[np.float64]

_AT_ONCE: Final = 16
"""Symbols of pandas factors between two looks of the event loop."""
_TRIES: Final = 1000
_LOOKS: Final = 100
"""At a run_time's bars; all but the first compute the pandas factors of those alone that changed."""
_BAR: Final = int(Status.BAR)
_WHY: Final = {int(Status.ABSENT): "the exchange has no such bar", int(Status.PENDING): "not here in time"}


class StoreMarket:
    """All symbols of a store.

    shared   where the bars are; factors: what is computed of them; statics: as of `Engine`
    """

    def __init__(
        self, shared: SharedCandles, factors: FactorList, statics: Mapping[str, Mapping[str, float]]
    ) -> None:
        self._shared = shared
        self._factors = factors
        self._statics = statics
        self._engine: Engine | None = None
        self._reader: StoreReader | None = None
        self._warm()

    async def frame(self, g: int, run_time_ms: int, order: list[str]) -> tuple[pd.DataFrame, dict[str, str]]:
        """(one row for each symbol of `order` whose bar g is there, symbol -> why it is left out).

        Lagging if bars up to g change in each of _LOOKS looks, or another file takes the store's place.
        """
        store, reader = self._shared.store, self._shared.store.reader
        made: dict[str, dict[str, Any]] = {}
        failed: dict[str, str] = {}
        since = reader.n_corrections
        for _ in range(_LOOKS):
            bar = self._bar(g)
            place = {name: i for i, name in enumerate(bar.names)}
            names, left_out = _members(bar, place, order)
            of_engine = self._of_engine(bar, g, run_time_ms)
            todo = [name for name in names if name not in made and name not in failed]
            await self._of_pandas(todo, g, run_time_ms, made, failed)
            if store.reader is not reader:
                raise Lagging(f"store {store.name!r}: a new file took its place while a frame was made of it")
            changed, since = self._changed(since, g, bar)
            if not changed:
                break
            for name in changed:
                made.pop(name, None)
                failed.pop(name, None)
        else:
            raise Lagging(
                f"store {store.name!r}: bars up to the run_time were corrected in each of {_LOOKS} looks"
            )
        left_out |= {name: failed[name] for name in names if name in failed}
        names = [name for name in names if name not in failed]
        rows = np.array([place[name] for name in names], np.int64)
        columns: dict[str, Any] = {}
        for column in self._factors.columns:
            if column in of_engine:
                columns[column] = of_engine[column][rows]
            else:
                columns[column] = [made[name][column] for name in names]
        return market_frame(
            names, run_time_ms - store.interval_ms, store.columns, bar.values[rows, :-1], columns,
        ), left_out  # fmt: skip

    def _changed(self, since: int, g: int, bar: MarketBar) -> tuple[list[str], int]:
        """The symbols of `bar` that had bars up to g corrected since there were `since` corrections, and how
        many there are now."""
        store = self._shared.store
        try:
            entries, following = store.reader.corrections(since)
        except Lagging:  # more than the journal holds
            return bar.names, store.n_corrections
        slots = {slot for _, slot, at, _, _ in entries if g - store.window < at <= g}
        names = [name for name, slot in zip(bar.names, bar.slots.tolist(), strict=True) if slot in slots]
        return names, following

    def _bar(self, g: int) -> MarketBar:
        """Bar g, and the engine at the same corrections: of a late bar both know, or neither."""
        for _ in range(_TRIES):
            before = self._shared.store.n_corrections
            self._warm()
            bar = self._shared.bar(g)
            if self._shared.store.n_corrections == before:
                return bar
        raise Lagging(f"store {self._shared.store.name!r} was corrected in each of {_TRIES} looks at it")

    def _warm(self) -> None:
        """The engine, made or brought up to the present."""
        if not self._factors.nodes:
            return
        store = self._shared.store
        if self._engine is None or self._reader is not store.reader:
            self._engine = Engine(store, self._factors.nodes, statics=self._statics)
            self._reader = store.reader
        self._engine.poll()

    def _of_engine(self, bar: MarketBar, g: int, run_time_ms: int) -> dict[str, F64]:
        """column -> float64[n_names] of every symbol of `bar`."""
        if self._engine is None:
            return {}
        if self._engine.g == g + 1:
            values = self._engine.values[:, bar.slots]
            return dict(zip(self._engine.names, values, strict=True))
        store = self._shared.store
        symbols = [self._shared.candles(name, g + 1) for name in bar.names]
        plan = self._factors.plan(store.interval_ms, store.origin_ms, store.columns, self._statics)
        last = None
        for piece in of_panel(plan, symbols, run_time_ms, store.window, self._statics):
            last = piece[-1]
        assert last is not None
        return dict(zip(plan.names, last, strict=True))

    async def _of_pandas(
        self,
        names: list[str],
        g: int,
        run_time_ms: int,
        made: dict[str, dict[str, Any]],
        failed: dict[str, str],
    ) -> None:
        """Put into `made` symbol -> column -> value at run_time, into `failed` symbol -> why not."""
        columns = self._factors.legacy_columns
        if not columns:
            return
        shared, error = self._shared, None
        times: dict[int, Times] = {}  # by the number of bars: most symbols have as many
        for i, name in enumerate(names):
            if i % _AT_ONCE == 0:
                await asyncio.sleep(0)
            try:
                candles = shared.candles(name, g + 1)
                shared_times = times.get(len(candles))
                if shared_times is None:
                    shared_times = times[len(candles)] = Times(candles.begin_ms, candles.interval_ms)
                found = self._factors.of_frame(candles.factor_frame(shared_times))
                made[name] = {column: found[column].array[-1] for column in columns}
            except (LegacyFactorError, SymbolNotFound) as problem:
                error = problem
                failed[name] = str(problem)
        if names and not made and isinstance(error, LegacyFactorError):
            raise LegacyFactorError(
                f"of no symbol could the factors be computed; the last: {error}"
            ) from error


def _members(bar: MarketBar, place: Mapping[str, int], order: list[str]) -> tuple[list[str], dict[str, str]]:
    """(the symbols of `order` whose bar is there, symbol -> why another is left out)."""
    status = bar.values[:, -1].astype(int).tolist()
    names: list[str] = []
    left_out: dict[str, str] = {}
    for name in order:
        i = place.get(name)
        if i is None:
            left_out[name] = "not among the store's symbols"
        elif status[i] != _BAR:
            left_out[name] = _WHY.get(status[i], "not here in time")
        else:
            names.append(name)
    return names, left_out


def market_frame(
    names: list[str],
    begin_ms: int,
    candle_columns: tuple[str, ...],
    candles: F64,
    factors: dict[str, Any],
) -> pd.DataFrame:
    """BMAC's frame of a whole market: index the symbols, no name; candle columns of run_time's bar, then the
    factors.

    candles  float64[n_names, n_columns]; factors: column -> one value for each name
    """
    block = {name: column for name, column in factors.items() if isinstance(column, np.ndarray)}
    values = np.empty((len(candle_columns) + len(block), len(names)))
    values[: len(candle_columns)] = candles.T
    for row, column in zip(values[len(candle_columns) :], block.values(), strict=True):
        row[:] = column
    frame = pd.DataFrame(
        values.T, index=pd.Index(names, dtype=object), columns=[*candle_columns, *block], copy=False
    )
    begin = np.full(len(names), begin_ms).view("datetime64[ms]").astype("datetime64[ns]")
    frame.insert(0, BEGIN, pd.DatetimeIndex(begin).tz_localize("UTC"))
    others = {name: column for name, column in factors.items() if name not in block}
    if not others:
        return frame
    more = pd.DataFrame(others, index=frame.index)
    frame = pd.concat([frame, more], axis=1)
    return frame[[BEGIN, *candle_columns, *factors]]
