"""History through the same steps: a plan over arrays of bars, into an array the caller may give."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from kernels.plan import Plan
from kernels.run import Program, replay

__all__ = ["batch"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


def batch(
    program: Program,
    bars: F64,
    *,
    g: int,
    columns: Mapping[str, int] | None = None,
    members: F64 | None = None,
    first: I64 | None = None,
    out: F64 | None = None,
) -> F64:
    """Step bars g, g + 1, ... and read every output: what live steps would have given, to the bit.

    program  where the state is, and stays: the next call goes on, so a long history can come in pieces
    bars     float64 [n_bars, n_columns, n_slots], NaN where a symbol has no bar; C order
    columns  name -> index in `bars` of the plan's fields; default: the plan's own order
    members  float64 [n_bars, n_slots], 1.0 for those in the cross-section; default: those with a finite
             value in any of the plan's fields
    first    int64 [n_slots], each slot's first bar: what comes before is not remembered, and its outputs are
             NaN. Default: the bar g for all; only what makes values of missing ones (`fill`, `is_missing`,
             `bar_number`) tells one from the other
    out      float64 [n_bars, n_outputs, n_slots], C order; made if not given. Giving one that was written
             to before saves the time in which the system finds memory, which is more than the steps take
    ValueError names what does not fit.
    """
    plan: Plan = program.plan
    n_slots = program.n_slots
    if bars.ndim != 3 or bars.shape[2] != n_slots or bars.dtype != np.float64 or not bars.flags.c_contiguous:
        raise ValueError(
            f"bars must be float64 [n_bars, n_columns, {n_slots}] in C order, found {bars.dtype} {bars.shape}"
        )
    where = {name: i for i, name in enumerate(plan.fields)} if columns is None else columns
    missing = [name for name in plan.fields if name not in where]
    if missing:
        raise ValueError(f"the plan reads {list(plan.fields)}; bars lack {missing}")
    order = np.array([where[name] for name in plan.fields], np.int64)
    if len(order) and not 0 <= order.min() <= order.max() < bars.shape[1]:
        raise ValueError(f"bars have {bars.shape[1]} columns, asked for are {order.tolist()}")
    n_bars = len(bars)
    there = members
    if there is None:
        there = np.asarray(np.isfinite(bars[:, order]).any(axis=1), np.float64)
    _check("members", there, (n_bars, n_slots))
    if out is None:
        out = np.empty((n_bars, len(plan.names), n_slots))
    _check("out", out, (n_bars, len(plan.names), n_slots))
    has_cross = any(step.cross for step in plan.steps)
    begins = np.full(n_slots, -1) if first is None else np.asarray(first, np.int64) - g
    if begins.shape != (n_slots,):
        raise ValueError(f"first must be int64 [{n_slots}], found {list(begins.shape)}")
    stops = [*np.unique(begins[(begins >= 0) & (begins < n_bars)]).tolist(), n_bars]
    done = 0
    for stop in stops:
        if stop > done:
            replay(
                program.address,
                g + done,
                stop - done,
                0,
                n_slots,
                bars[done:].ctypes.data,
                order.ctypes.data,
                n_slots,
                1,
                bars.shape[1] * n_slots,
                there[done:].ctypes.data if has_cross else 0,
                out[done:].ctypes.data,
                n_slots,
                len(plan.names) * n_slots,
            )
        done = stop
        for slot in np.flatnonzero(begins == stop):
            program.reset(int(slot))
            out[:stop, :, slot] = np.nan
    out[:, :, begins >= n_bars] = np.nan
    return out


def _check(name: str, array: F64, shape: tuple[int, ...]) -> None:
    if array.shape != shape or array.dtype != np.float64 or not array.flags.c_contiguous:
        raise ValueError(
            f"{name} must be float64 {list(shape)} in C order, found {array.dtype} {list(array.shape)}"
        )
