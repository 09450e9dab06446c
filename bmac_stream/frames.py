"""Frames of a store's bars for pandas, polars and Arrow: consistent copies, times tz-aware UTC.

One row per bar, oldest first, with BMAC's columns. A bar that the exchange does not have, or that has not
come yet, is a row of NaN, so that holes are seen and rows stay one interval apart. The bar that is still open
is not among them. The whole market is one long table with a column `symbol`, symbols sorted, every symbol up
to the same run_time: the newest that the market has reached, before the first the newest that all have.
Fewer than n rows of a symbol mean that it is younger.
"""

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bmac_stream.client import RETRIES, _explained
from bmac_stream.errors import Lagging, SymbolNotFound

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from bmac_stream.client import Store, SymbolRows

__all__ = ["to_arrow", "to_pandas", "to_polars"]

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]


def to_pandas(store: "Store", symbol: str | None = None, n: int | None = None) -> "pd.DataFrame":
    """BMAC's frame: index `candle_end_time`, then `candle_begin_time` (both datetime64[ns, UTC]) and the
    store's columns (float64). For the whole market (`symbol` None) a categorical `symbol` comes first.

    n  the last n bars of each symbol, all there are by default
    ImportError names the extra to install if pandas is missing; SymbolNotFound, Lagging as the client.
    """
    pandas: Any = _import("pandas", "to_pandas")
    parts = _parts(store, symbol, n)
    begin = _begin_times(store, parts).view("datetime64[ms]").astype("datetime64[ns]")
    step = np.timedelta64(store.interval_ms, "ms")
    columns: dict[str, Any] = {}
    if symbol is None:
        codes = np.repeat(np.arange(len(parts)), [part.status.size for part in parts])
        columns["symbol"] = pandas.Categorical.from_codes(codes, categories=[p.symbol for p in parts])
    columns["candle_begin_time"] = pandas.DatetimeIndex(begin).tz_localize("UTC")
    for i, name in enumerate(store.columns):
        columns[name] = _column(parts, i)
    index = pandas.DatetimeIndex(begin + step, name="candle_end_time").tz_localize("UTC")
    frame: pd.DataFrame = pandas.DataFrame({k: pandas.Series(v, index=index) for k, v in columns.items()})
    return frame


def to_arrow(store: "Store", symbol: str | None = None, n: int | None = None) -> "pa.Table":
    """Columns [`symbol` (dictionary)], `candle_begin_time`, `candle_end_time` (timestamp[ms, UTC]), then the
    store's columns (double; NaN, never null). Arguments and errors as `to_pandas`."""
    import pyarrow as pa

    parts = _parts(store, symbol, n)
    begin = _begin_times(store, parts)
    time = pa.timestamp("ms", "UTC")
    arrays: dict[str, Any] = {}
    if symbol is None:
        codes = np.repeat(np.arange(len(parts), dtype=np.int32), [part.status.size for part in parts])
        names = pa.array([part.symbol for part in parts], pa.string())
        arrays["symbol"] = pa.DictionaryArray.from_arrays(pa.array(codes), names)
    arrays["candle_begin_time"] = pa.array(begin).cast(time)
    arrays["candle_end_time"] = pa.array(begin + store.interval_ms).cast(time)
    for i, name in enumerate(store.columns):
        arrays[name] = pa.array(_column(parts, i))
    return pa.table(arrays)


def to_polars(store: "Store", symbol: str | None = None, n: int | None = None) -> "pl.DataFrame":
    """As `to_arrow`, as a polars frame (times Datetime("ms", "UTC"), `symbol` Categorical)."""
    polars: Any = _import("polars", "to_polars")
    frame: pl.DataFrame = polars.from_arrow(to_arrow(store, symbol, n))
    return frame


def _parts(store: "Store", symbol: str | None, n: int | None) -> "list[SymbolRows]":
    if symbol is not None:
        return [store[symbol].copy(n)]
    wanted = store.window if n is None else n
    if not 0 < wanted <= store.window:
        raise ValueError(f"n must be 1 to {store.window} (the window of store {store.name!r}), found {n}")
    for _ in range(RETRIES + 1):
        parts = _market(store, wanted)
        if parts is not None:
            return parts
    raise _explained(
        store.reader,
        Lagging(
            f"store {store.name!r}: bars were overwritten while {wanted} of each symbol were copied,"
            f" {RETRIES + 1} times"
        ),
    )


def _market(store: "Store", wanted: int) -> "list[SymbolRows] | None":
    """Each symbol by itself, up to the run_time that all have reached: a symbol may be a bar ahead. None if
    the ring went on so far meanwhile that one of them is cut."""
    end = store.reader.complete_g + 1 or _least_end(store)
    parts = []
    for name in sorted(store.symbols):
        with suppress(SymbolNotFound):  # delisted meanwhile
            view = store[name]
            part = view.copy_until(end, wanted)
            if part.status.size < wanted and part.g0 > store.reader.first_g(view.slot):
                return None
            parts.append(part)
    return parts


def _least_end(store: "Store") -> int:
    """Before the market's first run_time: the end of the symbol that has come least far."""
    reader = store.reader
    return min((reader.count(slot) for slot in store.symbols.values()), default=0)


def _begin_times(store: "Store", parts: "list[SymbolRows]") -> I64:
    if not parts:
        return np.empty(0, np.int64)
    g = np.concatenate([np.arange(p.g0, p.g0 + p.status.size, dtype=np.int64) for p in parts])
    times: I64 = g * store.interval_ms + store.origin_ms
    return times


def _column(parts: "list[SymbolRows]", i: int) -> F64:
    return np.concatenate([part.values[i] for part in parts]) if parts else np.empty(0)


def _import(module: str, what: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{what} needs {module}: pip install 'bmac-stream[frames]'") from error
