"""BmacKit's two calculators, with the signatures and frames of its public documents."""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import numpy as np
import pandas as pd

from bmac_stream.bmac_kit.candles import Candles
from bmac_stream.bmac_kit.clock import run_time_ms
from bmac_stream.bmac_kit.factors import FactorList, Prefer, of_panel
from bmac_stream.bmac_kit.market_files import files_market, wait_candles, wait_symbols
from bmac_stream.bmac_kit.market_store import StoreMarket
from bmac_stream.bmac_kit.reader import CandleFileReader, Deadline
from bmac_stream.client import Store
from bmac_stream.engine import FactorError
from shm import StoreReader

__all__ = ["BmacAllMarketCalculator", "BmacSingleSymbolCalculator"]

log = logging.getLogger("bmac_stream.bmac_kit")

_NAMED: Final = 10
"""How many left-out symbols a warning says the reason of."""


class BmacSingleSymbolCalculator:
    """Factors of one symbol, all periods.

    symbol           the symbol, e.g. "BTCUSDT"
    candle_reader    CandleFileReader of the candles, or a Store
    factor_cfgs      factors, e.g. [("PctChg", 100), ("TrdNumMeanV1", 80)]: see bmac_kit.factors
    package          where the pandas modules are: `factor/PctChg.py`
    bmac_expire_sec  seconds after run_time for which its bar is awaited
    prefer           whose factor a name means that both have: "legacy" (the package's) or "engine"
    statics          as of bmac_stream.Engine

    FactorError, LegacyFactorError for factors that cannot be used, when it is made.
    """

    def __init__(
        self,
        symbol: str,
        candle_reader: CandleFileReader | Store,
        factor_cfgs: Sequence[Any],
        package: str = "factor",
        bmac_expire_sec: float = 40,
        *,
        prefer: Prefer = "legacy",
        statics: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        self.symbol = symbol
        self.candle_reader = _reader(candle_reader)
        self.factor_cfgs = list(factor_cfgs)
        self.package = package
        self.bmac_expire_sec = bmac_expire_sec
        self.factors = FactorList(factor_cfgs, package, prefer)
        self._statics = dict(statics or {})

    async def calc_factors(self, run_time: datetime | int, symbol: str | None = None) -> pd.DataFrame:
        """Every candle up to `run_time` with every factor: index the ends of the bars (datetime64[ns, UTC],
        no name), candle columns, then `{factor}_{param}`; rows of the warm-up are NaN.

        run_time  end of the bar that is awaited: a datetime (without a zone: Hong Kong's), or int ms UTC
        symbol    another than the calculator's own
        NotReady (a TimeoutError) if the bar is not there `bmac_expire_sec` after run_time; LegacyFactorError
        if a module raises; CandleFileForeign for a file that is none of BMAC's; FactorError for a factor that
        compares symbols.
        """
        symbol = symbol or self.symbol
        if not symbol:
            raise ValueError("calc_factors of a whole market's calculator needs a symbol")
        deadline = Deadline(run_time_ms(run_time), self.bmac_expire_sec)
        shared = self.candle_reader.shared
        if shared is not None:
            candles = await shared.wait_candles(symbol, deadline)
        else:
            candles = await wait_candles(self.candle_reader, symbol, deadline)
        return self._with_factors(candles)

    def _with_factors(self, candles: Candles) -> pd.DataFrame:
        frame = candles.factor_frame()
        found = self.factors.of_frame(frame) if self.factors.legacy_columns else {}
        if self.factors.nodes:
            found |= self._of_engine(candles)
        if found:
            columns = {name: found[name] for name in self.factors.columns}
            frame = pd.concat([frame, pd.DataFrame(columns, index=frame.index, copy=False)], axis=1)
        frame.columns = pd.Index(list(frame.columns))
        return frame

    def _of_engine(self, candles: Candles) -> dict[str, Any]:
        step = candles.interval_ms
        plan = self.factors.plan(step, candles.run_time_ms % step, candles.columns, self._statics)
        if any(plan.is_cross):
            name = next(name for name, cross in zip(plan.names, plan.is_cross, strict=True) if cross)
            raise FactorError(f"{name} compares symbols: BmacAllMarketCalculator has it, one symbol does not")
        n_bars = (candles.run_time_ms - int(candles.begin_ms[0])) // step
        pieces = of_panel(plan, [candles], candles.run_time_ms, n_bars, self._statics)
        values = np.concatenate([piece[:, :, 0].T.copy() for piece in pieces], axis=1)
        at = values.shape[1] - 1 - (int(candles.begin_ms[-1]) - candles.begin_ms) // step
        values = np.where(at >= 0, values[:, np.maximum(at, 0)], np.nan)
        return dict(zip(plan.names, values, strict=True))


class BmacAllMarketCalculator(BmacSingleSymbolCalculator):
    """Factors of the whole market at one run_time.

    exginfo_reader   CandleFileReader of the exchange info (the order of the rows), or a Store
    candle_reader    CandleFileReader of the candles, or a Store
    The rest is as of BmacSingleSymbolCalculator. Of a store, the engine's factors are kept current from the
    moment that the calculator is made.

    left_out  symbol -> why it is not in the newest frame
    """

    def __init__(
        self,
        exginfo_reader: CandleFileReader | Store,
        candle_reader: CandleFileReader | Store,
        factor_cfgs: Sequence[Any],
        package: str = "factor",
        bmac_expire_sec: float = 40,
        *,
        prefer: Prefer = "legacy",
        statics: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        super().__init__(
            "", candle_reader, factor_cfgs, package, bmac_expire_sec, prefer=prefer, statics=statics
        )
        self.exginfo_reader = _reader(exginfo_reader)
        self.left_out: dict[str, str] = {}
        shared = self.candle_reader.shared
        self._market = None if shared is None else StoreMarket(shared, self.factors, self._statics)

    async def calc_all_factors(self, run_time: datetime | int) -> pd.DataFrame:
        """The candle that ends at `run_time` and every factor of every symbol: index the symbols in
        exchange-info order, no name; columns as of `calc_factors`.

        Symbols that are not ready `bmac_expire_sec` after run_time (of a store: when it calls the run_time
        complete), and those for which a factor raises, are left out: a warning names them, `left_out` says
        why. NotReady if there is no exchange info, or the store does not get there; LegacyFactorError if a
        factor raises for all; Lagging if a store's bars are corrected again and again meanwhile.
        """
        deadline = Deadline(run_time_ms(run_time), self.bmac_expire_sec)
        if self._market is not None and self.candle_reader.shared is not None:
            shared = self.candle_reader.shared
            waited: StoreReader | None = None
            while shared.store.reader is not waited:  # the order took up a new file: it may not be there yet
                g = await shared.wait_market(deadline)
                waited = shared.store.reader
                order = await self._order(deadline)
            frame, left_out = await self._market.frame(g, deadline.run_time_ms, order)
        else:
            order = await self._order(deadline)
            frame, left_out = await files_market(
                self.candle_reader, self.factors, self._statics, order, deadline
            )
        self.left_out = left_out
        if left_out:
            said = "; ".join(f"{name}: {why}" for name, why in [*left_out.items()][:_NAMED])
            others = [*left_out][_NAMED:]
            more = f"; and {', '.join(others)}" if others else ""
            log.warning(
                "%d of %d symbols left out at %s: %s%s", len(left_out), len(order), run_time, said, more
            )
        return frame

    async def _order(self, deadline: Deadline) -> list[str]:
        shared = self.exginfo_reader.shared
        if shared is not None:
            return shared.order()
        order, problem = await wait_symbols(self.exginfo_reader, deadline)
        if problem:
            log.warning("exchange info of an older run_time is used: %s", problem)
        return order


def _reader(reader: CandleFileReader | Store) -> CandleFileReader:
    return CandleFileReader(reader) if isinstance(reader, Store) else reader
