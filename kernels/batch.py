"""History through the same steps: a plan over arrays of bars, into an array the caller may give."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from kernels.plan import Plan
from kernels.run import Program, replay

__all__ = ["batch"]

F64 = NDArray[np.float64]


def batch(
    program: Program,
    bars: F64,
    *,
    g: int,
    columns: Mapping[str, int] | None = None,
    members: F64 | None = None,
    out: F64 | None = None,
) -> F64:
    """Step bars g, g + 1, ... and read every output: what live steps would have given, to the bit.

    program  where the state is, and stays: the next call goes on, so a long history can come in pieces
    bars     float64 [n_bars, n_columns, n_slots], NaN where a symbol has no bar; C order
    columns  name -> index in `bars` of the plan's fields; default: the plan's own order
    members  float64 [n_bars, n_slots], 1.0 for those in the cross-section; default: those with a finite
             value in any of the plan's fields
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
    replay(
        program.address,
        g,
        n_bars,
        0,
        n_slots,
        bars.ctypes.data,
        order.ctypes.data,
        n_slots,
        1,
        bars.shape[1] * n_slots,
        there.ctypes.data if has_cross else 0,
        out.ctypes.data,
        n_slots,
        len(plan.names) * n_slots,
    )
    return out


def _check(name: str, array: F64, shape: tuple[int, ...]) -> None:
    if array.shape != shape or array.dtype != np.float64 or not array.flags.c_contiguous:
        raise ValueError(
            f"{name} must be float64 {list(shape)} in C order, found {array.dtype} {list(array.shape)}"
        )
