"""Bars added up, exactly: sums are kept in whole units as int64 and divided once on the way out.

With float64 sums the result would depend on the order of adding once it passes 2**51 units, which a week of
BTCUSDT's quote volume does; what is pushed and what REST says would then differ in the last bit.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from bmac_stream.simulator.market import F64, I64

__all__ = ["Sum", "add_group", "bars", "grouped", "joined", "nothing"]


class Sum(NamedTuple):
    """Bars being added up, one per row. Sums are whole units in int64: exact in any order and size.

    price  float64[m, 4]: open, high, low, close; NaN: nothing yet
    total  int64[m, 5]: volume, quote volume, trades, taker volume, taker quote volume
    first  int64[m]: first trade id
    """

    price: F64
    total: I64
    first: I64


@njit(cache=True, nogil=True)
def _add(price: F64, total: I64, first: I64, i: int, row: F64, row_first: int, vs: float, qs: float) -> None:
    """Adds one bar to bar i. A bar without trades gives its price only while none had any."""
    if np.isnan(row[0]):
        return
    n = int(row[6])
    if np.isnan(price[i, 0]) or (total[i, 2] == 0 and n > 0):
        for j in range(4):
            price[i, j] = row[j]
        first[i] = row_first
    if n == 0:
        return
    price[i, 1] = max(price[i, 1], row[1])
    price[i, 2] = min(price[i, 2], row[2])
    price[i, 3] = row[3]
    total[i, 0] += int(np.rint(row[4] * vs))
    total[i, 1] += int(np.rint(row[5] * qs))
    total[i, 2] += n
    total[i, 3] += int(np.rint(row[7] * vs))
    total[i, 4] += int(np.rint(row[8] * qs))


@njit(cache=True, nogil=True)
def _group(
    values: F64, ids: I64, group: I64, vs: float, qs: float, price: F64, total: I64, first: I64
) -> None:
    for i in range(len(values)):
        _add(price, total, first, group[i], values[i], ids[i], vs, qs)


@njit(cache=True, nogil=True)
def _join(price: F64, total: I64, first: I64, values: F64, ids: I64, vs: F64, qs: F64) -> None:
    for i in range(len(values)):
        _add(price, total, first, i, values[i], ids[i], vs[i], qs[i])


def nothing(n: int) -> Sum:
    """n bars to which nothing was added."""
    return Sum(np.full((n, 4), np.nan), np.zeros((n, 5), np.int64), np.full(n, -1, np.int64))


def grouped(values: F64, ids: I64, group: I64, n: int, vs: float, qs: float) -> tuple[F64, I64]:
    """n bars of one instrument, added up by group number; groups without a bar are NaN."""
    out = nothing(n)
    _group(values, ids, group, vs, qs, *out)
    return bars(out, np.full(n, vs), np.full(n, qs)), out.first


def joined(a: Sum, values: F64, ids: I64, vs: F64, qs: F64) -> Sum:
    """Bar values[s] added to a[s] for every instrument s; a NaN bar is nothing."""
    out = Sum(a.price.copy(), a.total.copy(), a.first.copy())
    _join(*out, values, ids, vs, qs)
    return out


def bars(a: Sum, vs: F64, qs: F64) -> F64:
    """float64[m, 9]; NaN where nothing was added."""
    values = np.empty((len(a.price), 9))
    values[:, :4] = a.price
    values[:, 4:] = a.total / np.stack([vs, qs, np.ones(len(vs)), vs, qs], axis=1)
    values[np.isnan(a.price[:, 0])] = np.nan
    return values


def add_group(to: Sum, i: int, values: F64, ids: I64, vs: float, qs: float) -> None:
    """Adds bars of one instrument to bar i, in place."""
    _group(values, ids, np.full(len(values), i), vs, qs, *to)
