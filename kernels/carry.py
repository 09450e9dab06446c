"""From one plan to another at run time: what both compute goes on as if nothing had happened."""

import re
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from kernels.abi import Kernel
from kernels.plan import Series
from kernels.run import Program

__all__ = ["carry"]


def carry(old: Program, new: Program, next_g: NDArray[np.int64], changed: Iterable[str] = ()) -> int:
    """Give `new` what `old` remembers of the calls that both plans make; returns how many calls they share.

    Both have done every slot's bars up to next_g - 1 (int64[n_slots]; below 0: the slot is not in use). What
    `new` has from its own warm-up stays where `old` remembers less of the past.

    changed  static fields that have other values now: what is made of them stays as `new` has it
    ValueError if the programs are of different sizes.
    """
    if old.n_slots != new.n_slots:
        raise ValueError(f"both programs must have {old.n_slots} slots, found {new.n_slots}")
    slots = np.flatnonzero(next_g >= 0)
    last = next_g[slots] - 1
    calls = {(step.text, step.cross): step for step in old.plan.steps}
    # Two operators of one name, such as a user's own before and after an edit, share nothing, nor does
    # anything that is made of them.
    others = [
        re.escape(step.text)
        for step in new.plan.steps
        if (known := calls.get((step.text, step.cross)))
        and not _same(known.operator.kernel, step.operator.kernel)
    ]
    others += [rf"(?<![\w.:]){re.escape(name)}(?![\w(])" for name in changed]
    apart = re.compile("|".join(others) or r"(?!)")
    shared = 0
    for step in new.plan.steps:
        known = calls.get((step.text, step.cross))
        if known is None or apart.search(step.text) or known.n_own_rows != step.n_own_rows:
            continue
        shared += 1
        rows = np.arange(step.n_own_rows)
        new.state[np.ix_(step.own_row + rows, slots)] = old.state[np.ix_(known.own_row + rows, slots)]
        for before, after in zip(known.outputs, step.outputs, strict=True):
            _carry_series(old, before, new, after, slots, last)
    fields = dict(zip(old.plan.fields, old.plan.field_rows, strict=True))
    for name, after in zip(new.plan.fields, new.plan.field_rows, strict=True):
        if name in fields:
            _carry_series(old, fields[name], new, after, slots, last)
    return shared


def _same(kernel: Kernel, other: Kernel) -> bool:
    """Whether both are the same code, be it that its module was imported twice."""
    if kernel is other:
        return True
    # One that nobody asked for its digest would tell that of its file as it is now.
    return vars(kernel).get("digest") == other.digest and kernel.function.__code__ == other.function.__code__


def _carry_series(
    old: Program,
    before: Series,
    new: Program,
    after: Series,
    slots: NDArray[np.int64],
    last: NDArray[np.int64],
) -> None:
    if after.mask == 0 or before.mask == 0:  # the present bar alone: made anew at the next one
        return
    for lag in range(min(before.mask, after.mask) + 1):
        g = last - lag
        new.state[after.row + (g & after.mask), slots] = old.state[before.row + (g & before.mask), slots]
