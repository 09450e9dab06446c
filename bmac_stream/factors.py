"""What a strategy reads of an engine process: the factors of the whole market, in place, read-only.

    factors = bmac_stream.attach("usdt_perp_1m").factors
    run_time = factors.wait(timeout_s=90)     the market's next run_time, all factors there
    factors.cross_section("PctChg_100")       float64[n_slots], a copy, consistent
    factors.symbol("BTCUSDT")                 {name: value} of its newest bar
    factors.symbols_of("PctChg_100")          {symbol: row} of such a cross-section or view
    factors.matrix()                          float64[n_slots, n_factors], a copy, consistent
    factors.view("PctChg_100")                float64[n_slots, 1], in place: "Raw views" in bmac_stream.client

Own factors of a symbol are there as soon as its bar was stepped; those behind a cross-section at the
run_time, with `member` (1.0 for who was in it). `origin` is the number of the first bar that a symbol's state
was made from. The stores below are ordinary ones, `own` and `cross`: all that client.Store offers works.

An engine that takes other factors up goes on in new files. From then on every read here is StoreRetired, as
`wait` is: ask `store.factors` again, or `attach_factors` and `wait(seen=...)` with the last run_time one had.
An engine that died is told by `wait`, and by `store.factors`; what is attached can still be read.
"""

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from bmac_stream.client import RunTime, Store, attach
from bmac_stream.errors import StoreNotFound, StoreRetired
from shm.layout import first_cell

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

__all__ = ["SUFFIX", "Factors", "attach_factors"]

F64 = NDArray[np.float64]

SUFFIX: Final = ".factors"
"""What the name of an engine's store ends with, after that of its bars."""
CROSS: Final = ".cross"
SETTLE_S: Final = 2.0
"""How long one of two stores may be missing, or of other factors, before an attach fails."""
_NOTES: Final = ("origin", "member")


class Factors:
    """An engine's factors, attached read-only. Made by `attach_factors`.

    own    store of the factors of each symbol alone, and of `origin`
    cross  store of the factors behind a cross-section, and of `member`; None if there are none
    names  all factors: the own ones first
    """

    def __init__(self, own: Store, cross: Store | None) -> None:
        self.own = own
        self.cross = cross
        self._home = {name: own for name in own.columns if name not in _NOTES}
        if cross is not None:
            self._home |= {name: cross for name in cross.columns if name not in _NOTES}
        self.names = tuple(self._home)
        self.stores = (own,) if cross is None else (own, cross)
        self.last = self.stores[-1]
        """The store that a run_time completes last."""

    @property
    def symbols(self) -> dict[str, int]:
        """Readable symbols and their rows in every panel of own factors, and in `matrix`."""
        return self.own.symbols

    def symbols_of(self, name: str) -> dict[str, int]:
        """Readable symbols and their rows in `view(name)` and `cross_section(name)`; rows of own factors and
        of those behind a cross-section may differ. KeyError names no such factor."""
        return self._store(name).symbols

    @property
    def retired(self) -> bool:
        """Whether the engine went on with other files. As `Store.retired`."""
        return any(store.retired for store in self.stores)

    @property
    def run_time(self) -> int:
        """The newest run_time that every factor has reached, ms UTC; 0 before the first."""
        return self.last.run_time

    def wait(self, timeout_s: float = 90.0, *, seen: int | None = None) -> RunTime:
        """Block until every factor has reached the market's next run_time. As `Store.wait`."""
        return self.last.wait(timeout_s, seen=seen)

    def run_times(self, timeout_s: float | None = None, *, seen: int | None = None) -> AsyncIterator[RunTime]:
        """`async for run_time in factors.run_times():` as `Store.run_times`."""
        return self.last.run_times(timeout_s, seen=seen)

    def view(self, name: str, n: int = 1) -> F64:
        """Raw view of one factor of the whole market, float64[n_slots, n], newest last; `symbols_of(name)`
        tells the rows. KeyError names no such factor; StoreRetired as all reads."""
        return self._current(self._store(name)).panel(name, n)

    def cross_section(self, name: str, n: int = 1) -> F64:
        """A consistent copy of one factor of the whole market: float64[n_slots], or [n_slots, n] for n > 1;
        `symbols_of(name)` tells the rows."""
        made: F64 = self._current(self._store(name)).read_panel(name, np.copy, n)
        return made[:, 0] if n == 1 else made

    def symbol(self, symbol: str) -> dict[str, float]:
        """All factors of one symbol: of its newest own bar, and of the newest run_time."""
        made: dict[str, float] = {}
        for store in self.stores:
            if symbol in self._current(store):
                rows = store[symbol].copy(1)
                if rows.values.shape[1]:
                    made |= dict(zip(store.columns, rows.values[:, 0].tolist(), strict=True))
        return made

    def matrix(self, run_time: int | None = None) -> F64:
        """A consistent copy of every factor of the whole market: float64[n_slots, n_factors], columns as
        `names`, rows as `own.panel_symbols`; NaN where there is none."""
        for store in self.stores:
            self._current(store)
        if run_time is None:
            run_time = self.run_time
        names = self.own.panel_symbols
        out = np.full((len(names), len(self.names)), np.nan)
        if run_time == 0:
            return out
        at = 0
        for store in self.stores:
            columns = [name for name in self.names if self._home[name] is store]
            if not columns:
                continue
            cells = _Cells(store, columns, run_time)
            part = store.read_panel(columns[0], cells, 1, run_time=run_time)
            rows = store.symbols
            for i, name in enumerate(names):
                if name in rows and rows[name] < len(part):
                    out[i, at : at + len(columns)] = part[rows[name]]
            at += len(columns)
        return out

    def to_pandas(self) -> "pd.DataFrame":
        """The newest run_time as a frame: one row for each symbol, one column for each factor."""
        import pandas as pd

        symbols, matrix = self._whole()
        return pd.DataFrame(matrix, index=symbols, columns=list(self.names))

    def to_arrow(self) -> "pa.Table":
        """The newest run_time as an Arrow table: `symbol`, then one column for each factor."""
        import pyarrow as pa

        symbols, matrix = self._whole()
        columns = {name: np.ascontiguousarray(matrix[:, i]) for i, name in enumerate(self.names)}
        return pa.table({"symbol": symbols, **columns})

    def to_polars(self) -> "pl.DataFrame":
        """The newest run_time as a polars frame: `symbol`, then one column for each factor."""
        import polars as pl

        made = pl.from_arrow(self.to_arrow())
        assert isinstance(made, pl.DataFrame)
        return made

    def close(self) -> None:
        """Let go of the stores."""
        for store in self.stores:
            store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("Factors cannot be pickled or copied: attach in the other process")

    def __repr__(self) -> str:
        return f"<Factors {self.own.name!r}, {len(self.names)} factors, {len(self.own)} symbols>"

    def _whole(self) -> tuple[list[str], F64]:
        symbols = self.own.symbols
        matrix = self.matrix()
        slots = [slot for slot in symbols.values() if slot < len(matrix)]
        return list(symbols)[: len(slots)], matrix[slots]

    def _current(self, store: Store) -> Store:
        """The store, unless its engine left it: numbers that stand still would pass for new ones."""
        if store.retired:
            raise StoreRetired(f"store {store.name!r}: its engine went on with new files; attach again")
        return store

    def _store(self, name: str) -> Store:
        if name in _NOTES:
            return self.own if name == "origin" or self.cross is None else self.cross
        try:
            return self._home[name]
        except KeyError:
            raise KeyError(f"store {self.own.name!r} has no factor {name!r}") from None


class _Cells:
    """One bar of several columns of all rows, a copy, whatever panel it is called with."""

    def __init__(self, store: Store, columns: list[str], run_time: int) -> None:
        self._data = store.data
        self._columns = [store.column_index[name] for name in columns]
        end = (run_time - store.origin_ms) // store.interval_ms
        self._cell = first_cell(end, 1, store.cap)

    def __call__(self, panel: F64) -> F64:
        return np.take(self._data[: len(panel), :, self._cell], self._columns, axis=1)


def attach_factors(
    name: str,
    *,
    directory: str | Path = "/dev/shm",
    timeout_s: float = 0.0,
    max_silence_s: float = 10.0,
    owner: str | int | None = None,
) -> Factors:
    """Attach to the factors that an engine process publishes as `name`. As `client.attach`.

    StoreNotFound if there is none, or `name` is a store of bars. While an engine takes other factors up, its
    two stores are not there at once: they are looked for again for SETTLE_S, or `timeout_s` if that is more.
    """
    end = time.monotonic() + max(timeout_s, SETTLE_S)

    def attach_one(which: str, timeout_s: float) -> Store:
        return attach(
            which, directory=directory, timeout_s=timeout_s, max_silence_s=max_silence_s, owner=owner
        )

    while True:
        own = attach_one(name, max(0.0, min(timeout_s, end - time.monotonic())))
        try:
            cross = _partner(own, attach_one)
        except StoreNotFound as error:
            own.close()
            if time.monotonic() > end or own.meta.get("kind") != "factors":
                raise error
            time.sleep(0.01)
        except BaseException:
            own.close()
            raise
        else:
            return Factors(own, cross)


def _partner(own: Store, attach_one: Callable[[str, float], Store]) -> Store | None:
    """The cross store of the same plan, if there is to be one."""
    if own.meta.get("kind") != "factors":
        raise StoreNotFound(f"store {own.name!r} holds bars, not factors; an engine's ends with {SUFFIX!r}")
    if not own.meta.get("cross"):
        return None
    cross = attach_one(own.name + CROSS, 0.0)
    if cross.meta.get("plan") == own.meta.get("plan"):
        return cross
    cross.close()
    raise StoreNotFound(
        f"store {own.name!r} is of plan {own.meta.get('plan')}, {cross.name!r} of {cross.meta.get('plan')}:"
        " their engine is taking other factors up, or was killed in it"
    )
