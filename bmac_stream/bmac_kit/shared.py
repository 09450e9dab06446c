"""A store of shared memory as the source of a calculator's candles: waiting, reading, exchange info.

Nothing is polled while a bar is awaited: the collector rings. What happens to the collector meanwhile is
waited out until the deadline, as BMAC's readers waited out a BMAC that was started again: a new file of the
store is attached, a collector that is dead or silent may come back.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bmac_stream.bmac_kit.candles import Candles
from bmac_stream.client import Store, attach
from bmac_stream.errors import (
    Lagging,
    NotReady,
    ShmError,
    StoreNotFound,
    StoreRetired,
    SymbolNotFound,
    TableNotFound,
    WriterDead,
    WriterStalled,
)
from shm import PanelToken, Status, StoreReader
from shm.layout import first_cell

__all__ = ["MarketBar", "SharedCandles"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

_SLICE_S: Final = 0.5
_AGAIN_S: Final = 0.1
"""How often a store without a living collector is looked at again."""
_LATE_S: Final = 0.02
"""How often a bar is looked at again that was given up on and may come late."""
_AWAY: Final = (WriterDead, WriterStalled, StoreNotFound)


class _Deadline(Protocol):
    run_time_ms: int
    expire_s: float

    @property
    def left_s(self) -> float: ...


class MarketBar(NamedTuple):
    """One bar of every readable symbol, a consistent copy.

    names   readable symbols; slots int64: their rows; values float64[n_names, n_columns + 1], status last
    """

    names: list[str]
    slots: I64
    values: F64


class SharedCandles:
    """An attached store, and what a calculator asks of it. `store.reader` is another one once another file of
    that name was attached: what was made of the old one is no longer good."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._order: list[str] = []
        self._order_of: tuple[StoreReader, int] | None = None

    @classmethod
    def of(cls, store: Store) -> "SharedCandles":
        """Of a store that the strategy has attached, and goes on to own."""
        return cls(store)

    @classmethod
    def named(cls, name: str) -> "SharedCandles":
        """Attach by name; a path is a store in another directory than /dev/shm. StoreNotFound."""
        path = Path(name)
        return cls(attach(path.name, directory=path.parent) if "/" in name else attach(name))

    def g_of(self, run_time_ms: int) -> int:
        """The number of the bar that ends at run_time. ValueError if none does."""
        g, rest = divmod(run_time_ms - self.store.origin_ms, self.store.interval_ms)
        if rest:
            raise ValueError(
                f"store {self.store.name!r} has bars of {self.store.interval}: none ends at"
                f" {_said(run_time_ms)}"
            )
        return g - 1

    def is_ready(self, symbol: str, run_time_ms: int) -> bool:
        """Whether the symbol's bar that ends at run_time is settled."""
        return symbol in self.store and self.store[symbol].end_g > self.g_of(run_time_ms)

    # ---- reading

    def newest(self, symbol: str) -> Candles:
        """All closed bars that the store holds of a symbol. SymbolNotFound, Lagging."""
        return self._candles(symbol, self.store[symbol].end_g)[0]

    def candles(self, symbol: str, end_g: int) -> Candles:
        """The bars before number `end_g`."""
        return self._candles(symbol, end_g)[0]

    def _candles(self, symbol: str, end_g: int) -> tuple[Candles, int]:
        """The candles, and the status of the newest of them."""
        store = self.store
        rows = store[symbol].copy_until(end_g, store.window)
        n = rows.values.shape[1]
        begin = (rows.g0 + np.arange(n, dtype=np.int64)) * store.interval_ms + store.origin_ms
        values = rows.values
        values.flags.writeable = False
        status = int(rows.status[-1]) if n else int(Status.EMPTY)
        return Candles(symbol, store.interval_ms, begin, values, store.columns), status

    def bar(self, g: int) -> MarketBar:
        """Bar g of every symbol. Lagging if it is no longer held."""
        store = self.store
        symbols = store.symbols
        cell = first_cell(g + 1, 1, store.cap)

        def copied(token: PanelToken) -> F64:
            if g < token.oldest:
                raise Lagging(f"store {store.name!r}: bar {g} is no longer within its {store.window} bars")
            made: F64 = store.data[: token.n_slots, :, cell].copy()
            return made

        values = store.reader.read_panel_at(copied, store.window)
        slots = np.fromiter(symbols.values(), np.int64, len(symbols))
        return MarketBar(list(symbols), slots, values[slots])

    # ---- waiting

    async def wait_market(self, deadline: _Deadline) -> int:
        """Until the market has reached run_time: the number of its bar. NotReady says what kept it."""
        why = ""
        while True:
            g = self.g_of(deadline.run_time_ms)
            try:
                if self.store.reader.complete_g >= g:
                    return g
                await self._heard(g, deadline.left_s)
                if self.store.reader.complete_g >= g:
                    return g
                why = ""
            except StoreRetired as error:
                why = self._reattached(error)
            except _AWAY as error:
                why = str(error)
            if deadline.left_s <= 0:
                raise self._not_ready(f"store {self.store.name!r}", deadline, why)
            if why:
                await asyncio.sleep(min(_AGAIN_S, deadline.left_s))

    async def wait_candles(self, symbol: str, deadline: _Deadline) -> Candles:
        """Until the symbol's own bar that ends at run_time is there: its candles up to it.

        NotReady at the deadline, and at once if the exchange has no such bar.
        """
        why = ""
        while True:
            g = self.g_of(deadline.run_time_ms)
            try:
                view = self.store[symbol]
                if view.end_g <= g:
                    # A thread that sleeps: one symbol has no bell of its own.
                    left = min(_SLICE_S, deadline.left_s)
                    await asyncio.to_thread(self.store.reader.wait_slot, view.slot, g, left)
                candles, status = self._candles(symbol, g + 1)
                if status == Status.BAR:
                    return candles
                if status == Status.ABSENT:
                    raise NotReady(
                        f"{symbol}: the exchange has no bar that ends at {_said(deadline.run_time_ms)}"
                    )
                why = "its bar was not to be had so far"
            except NotReady:
                raise
            except StoreRetired as error:
                why = self._reattached(error)
            except SymbolNotFound as error:
                why = f"store {self.store.name!r} has no such symbol" if symbol else str(error)
            except _AWAY as error:
                why = str(error)
            except TimeoutError:
                why = ""
            if deadline.left_s <= 0:
                raise self._not_ready(symbol, deadline, why)
            if why:
                await asyncio.sleep(min(_LATE_S, deadline.left_s))

    async def _heard(self, g: int, left_s: float) -> None:
        """Sleep until the collector rings for bar g, some time at most."""
        if left_s > 0:
            try:
                await self.store.reader.wait_async(g - 1, left_s)
            except TimeoutError:
                return

    def _reattached(self, error: ShmError) -> str:
        try:
            self.store.reattach(timeout_s=0.0)
        except ShmError as again:
            return str(again)
        return str(error)

    def _not_ready(self, who: str, deadline: _Deadline, why: str) -> NotReady:
        store = self.store
        newest = _said(store.run_time) if store.run_time else "none"
        return NotReady(
            f"{who}: no bar that ends at {_said(deadline.run_time_ms)} within {deadline.expire_s:g} s after"
            f" it; the newest run_time of store {store.name!r} is {newest}" + (f"; {why}" if why else "")
        )

    # ---- exchange info

    def order(self) -> list[str]:
        """Symbols in exchange-info order; after them those that it does not name yet, in the store's."""
        with suppress(ShmError):  # a dead collector's order is good enough, a retired file's is not
            try:
                self.store.check()
            except StoreRetired:
                self.store.reattach(timeout_s=0.0)
        reader = self.store.reader
        if self._order_of != (reader, reader.directory_version):
            try:
                known = self.store.exchange_info()["symbol"].to_pylist()
            except TableNotFound:
                known = []
            more = [name for name in self.store.symbols if name not in set(known)]
            self._order = [*known, *more]
            self._order_of = None if more else (reader, reader.directory_version)
        return self._order

    def exginfo(self) -> pd.DataFrame:
        """The exchange info as BMAC's frame: its columns for this market, tick, lot and notional as Decimal.
        TableNotFound if there is none yet."""
        table = self.store.exchange_info()
        names = ["symbol", "contract_type", "status", "base_asset", "quote_asset", "margin_asset"]
        frame: Any = table.select(names).to_pandas()
        if not frame["contract_type"].any():  # spot
            frame = frame.drop(columns=["contract_type", "margin_asset"])
        for name in ("price_tick", "lot_size", "min_notional_value"):
            column: Sequence[str | None] = table[name].to_pylist()
            if any(value is not None for value in column):  # COIN-M has no least notional
                frame[name] = [None if value is None else Decimal(value) for value in column]
        made: pd.DataFrame = frame
        return made

    def table(self, name: str) -> pd.DataFrame | None:
        """ "exginfo" or "funding" as BMAC's frame of that name; None for any other."""
        return self.exginfo() if name == "exginfo" else self.funding() if name == "funding" else None

    def funding(self) -> pd.DataFrame:
        """Funding rates in long form, oldest period first: symbol, fundingRate (NaN where there is none) and
        time, the run_time in Hong Kong's zone. StoreNotFound if the collector keeps none."""
        long = self.store.funding.to_pandas()
        made = pd.DataFrame(
            {
                "symbol": long["symbol"].astype(str).to_numpy(),
                "fundingRate": long["funding_rate"].to_numpy(),
                "time": pd.DatetimeIndex(long.index).tz_convert("Hongkong").as_unit("us"),
            }
        )
        return made.sort_values("time", kind="stable", ignore_index=True)


def _said(at_ms: int) -> str:
    return str(pd.Timestamp(at_ms, unit="ms", tz="UTC"))
