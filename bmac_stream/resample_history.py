"""Longer bars out of the long history: what a new resampled store begins with, if the config keeps one."""

import logging
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from bmac_stream.archive import DataSet
from bmac_stream.bar import N_COLUMNS
from bmac_stream.errors import HistoryDamaged
from bmac_stream.resample import Grid, fold
from bmac_stream.resample_store import Rows
from shm import Status

__all__ = ["merged", "older_bars"]

log = logging.getLogger("bmac_stream.resample")

F64 = npt.NDArray[np.float64]
U8 = npt.NDArray[np.uint8]

_PENDING = int(Status.PENDING)


def older_bars(
    data: DataSet,
    grid: Grid,
    base_origin_ms: int,
    oldest_ms: int,
    *,
    n_columns: int = N_COLUMNS,
    between: Callable[[], None] = lambda: None,
) -> dict[str, Rows]:
    """The bars of every symbol that the files of `data`, of base bars, hold whole from `oldest_ms` on.

    n_columns  of a row; those beyond the exchange's are NaN: the history does not have them
    between    called after every file: this takes about half a second for a day of 600 symbols
    A damaged or missing file makes its bars pending. HistoryForeign if the data set is of another source.
    """
    step, files = data.interval_ms, data.look().files
    starts = [start for start in files if start + data.span_ms > oldest_ms]
    if not starts:
        return {}
    n = data.span_ms // step
    first = (starts[0] - base_origin_ms) // step
    # all symbols stand at the same minute: so many of an unfinished bar lie before the next file's
    n_left = first - grid.first(grid.holding(first))
    left: dict[str, F64] = {}
    made: dict[str, list[tuple[F64, U8]]] = {}
    begun: dict[str, int] = {}
    for start in range(starts[0], starts[-1] + 1, data.span_ms):
        minutes = _minutes(data, start, n) if start in files else {}
        first = (start - base_origin_ms) // step
        g = grid.holding(first - n_left)
        n_bars = (n_left + n) // grid.n
        for symbol in minutes.keys() | left.keys():
            before = left.get(symbol)
            rows = np.concatenate(
                [
                    _unknown(n_left) if before is None else before,
                    _unknown(n) if (found := minutes.get(symbol)) is None else found,
                ],
                axis=1,
            )
            begun.setdefault(symbol, g)
            made.setdefault(symbol, []).append(fold(rows[:, : n_bars * grid.n], grid.n))
            left[symbol] = rows[:, n_bars * grid.n :].copy()
        n_left = n_left + n - n_bars * grid.n
        between()
    return {
        symbol: bars for symbol, parts in made.items() if (bars := _bars(begun[symbol], parts, n_columns))
    }


def merged(one: Rows | None, other: Rows | None) -> Rows | None:
    """All that either knows; where both know a bar, it is that of `one`."""
    if one is None or other is None:
        return one or other
    g = min(one.g, other.g)
    end = max(one.g + len(one.status), other.g + len(other.status))
    values = np.full((end - g, one.values.shape[1]), np.nan)
    status = np.full(end - g, _PENDING, np.uint8)
    for rows in (other, one):
        known = np.flatnonzero(rows.status != _PENDING)
        values[known + rows.g - g] = rows.values[known]
        status[known + rows.g - g] = rows.status[known]
    return Rows(g, values, status)


def _minutes(data: DataSet, start: int, n: int) -> dict[str, F64]:
    """symbol -> float64[n_columns + 1, n], base bars of one file, status last."""
    found: dict[str, F64] = {}
    try:
        with data.open(start) as file:
            for one in file:
                rows = found[one.symbol] = _unknown(n)
                at = (one.open_time - start) // data.interval_ms
                rows[:-1, at] = one.values
                rows[-1, at] = float(Status.BAR)
            for symbol in file.meta.absent:
                rows = found.setdefault(symbol, _unknown(n))
                at = (file.meta.absent_times(symbol) - start) // data.interval_ms
                rows[-1, at[rows[-1, at] == _PENDING]] = float(Status.ABSENT)
    except HistoryDamaged as error:
        log.error("not used for longer bars: %s", error)
        return {}
    return found


def _unknown(n: int) -> F64:
    rows = np.full((N_COLUMNS + 1, n), np.nan)
    rows[-1] = float(_PENDING)
    return rows


def _bars(g: int, parts: list[tuple[F64, U8]], n_columns: int) -> Rows | None:
    """The parts as one, from the first known bar to the last; None if none is known."""
    status = np.concatenate([part for _, part in parts])
    known = np.flatnonzero(status != _PENDING)
    if not len(known):
        return None
    span = slice(int(known[0]), int(known[-1]) + 1)
    values = np.full((span.stop - span.start, n_columns), np.nan)
    values[:, :N_COLUMNS] = np.concatenate([part for part, _ in parts])[span]
    return Rows(g + span.start, values, status[span])
