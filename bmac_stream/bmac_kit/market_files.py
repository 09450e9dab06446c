"""The whole market at one run_time, out of BMAC's directory: every symbol is read and computed as soon as it
is ready, while the others are awaited.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd

from bmac_stream.bar import COLUMNS
from bmac_stream.bmac_kit.candles import Candles
from bmac_stream.bmac_kit.factors import FactorList, of_panel
from bmac_stream.bmac_kit.market_store import market_frame
from bmac_stream.bmac_kit.reader import CandleFileReader, Deadline
from bmac_stream.errors import CandleFileError, CandleFileForeign, LegacyFactorError, NotReady

__all__ = ["files_market", "wait_candles", "wait_symbols"]

POLL_S: Final = 0.01
"""How often a directory is looked at, as BMAC's readers did."""
_AT_ONCE: Final = 4


async def wait_symbols(reader: CandleFileReader, deadline: Deadline) -> tuple[list[str], str]:
    """(symbols of the exchange info in its order, what is wrong with it if it is older than run_time).

    NotReady if there is none that can be read.
    """
    stamp, problem = reader.stamp(deadline.run_time_ms), ""
    while True:
        left_s = deadline.left_s
        try:
            ready = reader.newest_ready(["exginfo"]).get("exginfo", "")
            problem = f"not ready; the newest is {ready or 'none'}"
            if ready >= stamp:
                return reader.read_table("exginfo")["symbol"].tolist(), ""
        except CandleFileError as error:
            problem = str(error)
        if left_s <= 0:
            break
        await asyncio.sleep(min(POLL_S, left_s))
    try:
        return reader.read_table("exginfo")["symbol"].tolist(), problem
    except CandleFileError as error:
        raise NotReady(f"exginfo of {stamp}: {problem}") from error


async def wait_candles(reader: CandleFileReader, symbol: str, deadline: Deadline) -> Candles:
    """The candles of one symbol up to run_time, as soon as its ready file and its data say so. A file that
    is being written at that moment is read again. NotReady at the deadline, CandleFileForeign at once."""
    stamp = reader.stamp(deadline.run_time_ms)
    while True:
        left_s = deadline.left_s
        found, why = _look(reader, symbol, stamp, deadline.run_time_ms, reader.newest_ready([symbol]))
        if found is not None:
            return found
        if left_s <= 0:
            raise NotReady(f"{_late(symbol, deadline)}: {why}")
        await asyncio.sleep(min(POLL_S, left_s))


async def files_market(
    reader: CandleFileReader,
    factors: FactorList,
    statics: Mapping[str, Mapping[str, float]],
    order: list[str],
    deadline: Deadline,
) -> tuple[pd.DataFrame, dict[str, str]]:
    """(one row for each symbol of `order` that was ready in time, symbol -> why it is left out)."""
    stamp = reader.stamp(deadline.run_time_ms)
    candles: dict[str, Candles] = {}
    of_pandas: dict[str, dict[str, Any]] = {}
    left_out: dict[str, str] = dict.fromkeys(order, "no ready file")
    waiting, failed = dict.fromkeys(order), None
    while True:
        left_s = deadline.left_s  # before the look: the last one is after the deadline
        ready = reader.newest_ready()
        n_done = 0
        for name in [name for name in waiting if ready.get(name, "") >= stamp]:
            try:
                found, why = _look(reader, name, stamp, deadline.run_time_ms, ready)
            except CandleFileForeign as error:  # no later look will find it otherwise
                del waiting[name]
                left_out[name] = str(error)
                continue
            if found is None:
                left_out[name] = why
                continue
            del waiting[name]
            try:
                if factors.legacy_columns:
                    made = factors.of_frame(found.factor_frame())
                    of_pandas[name] = {column: made[column].array[-1] for column in factors.legacy_columns}
            except LegacyFactorError as error:
                left_out[name], failed = str(error), error
                continue
            candles[name] = found
            del left_out[name]
            n_done += 1
            if n_done % _AT_ONCE == 0:
                await asyncio.sleep(0)
        if not waiting or left_s <= 0:
            break
        await asyncio.sleep(min(POLL_S, left_s))
    if failed is not None and not candles:
        raise LegacyFactorError(f"of no symbol could the factors be computed; the last: {failed}") from failed
    for name in waiting:
        if ready.get(name, "") < stamp:
            left_out[name] = f"not ready; its newest ready file is {ready.get(name, 'none')}"
    names = [name for name in order if name in candles]
    of_engine = _of_engine(factors, statics, [candles[name] for name in names], deadline.run_time_ms)
    columns: dict[str, Any] = {}
    for column in factors.columns:
        if column in of_engine:
            columns[column] = of_engine[column]
        else:
            columns[column] = [of_pandas[name][column] for name in names]
    step = candles[names[0]].interval_ms if names else 0
    last = np.array([candles[name].values[:, -1] for name in names]).reshape(-1, len(COLUMNS))
    frame = market_frame(names, deadline.run_time_ms - step, COLUMNS, last, columns)
    return frame, left_out


def _look(
    reader: CandleFileReader, symbol: str, stamp: str, run_time_ms: int, ready: dict[str, str]
) -> tuple[Candles | None, str]:
    """The symbol's candles if they are there, else why not. CandleFileForeign."""
    if ready.get(symbol, "") < stamp:
        return None, f"not ready; its newest ready file is {ready.get(symbol, 'none')}"
    try:
        candles = reader.read(symbol).until(run_time_ms)
    except CandleFileForeign:
        raise
    except CandleFileError as error:  # half-written: whole at the next look
        return None, str(error)
    if candles.run_time_ms != run_time_ms:
        newest = pd.Timestamp(candles.run_time_ms, unit="ms", tz="UTC")
        return None, f"ready, but its newest candle up to run_time ended at {newest}"
    return candles, ""


def _of_engine(
    factors: FactorList,
    statics: Mapping[str, Mapping[str, float]],
    symbols: list[Candles],
    run_time_ms: int,
) -> dict[str, Any]:
    if not factors.nodes or not symbols:
        return {name: np.empty(0) for name in factors.nodes}
    step = symbols[0].interval_ms
    plan = factors.plan(step, run_time_ms % step, COLUMNS, statics)
    last = None
    for piece in of_panel(plan, symbols, run_time_ms, max(map(len, symbols)), statics):
        last = piece[-1]
    assert last is not None
    return dict(zip(plan.names, last, strict=True))


def _late(symbol: str, deadline: Deadline) -> str:
    when = pd.Timestamp(deadline.run_time_ms, unit="ms", tz="UTC")
    return f"{symbol}: no candle that ends at {when} within {deadline.expire_s:g} s after it"
