"""Operators across symbols, and the gate where they begin: one row in, one row out, at one run_time.

A cross-section kernel gets all symbols at once (its n is the number of slots). Symbols that are not members
at that run_time, and missing values, come as NaN: they take no part, and get NaN.
"""

from typing import Any, Final

import numpy as np

from kernels.abi import kernel, now, rows
from kernels.node import Operator

__all__ = ["GATE"]


@rows
def _gate(x: Any, member: Any, out: Any, n: int) -> None:
    for i in range(n):
        out[i] = x[i] if member[i] == 1.0 else np.nan


@kernel
def gate(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """gate: x where the symbol is a member of this bar's cross-section.

    in      x, member (1.0 or 0.0)
    state   none
    out     x, or NaN where member is not 1.0
    """
    _gate(now(state, stride, p, 1, g), now(state, stride, p, 2, g), now(state, stride, p, 0, g), n)


GATE: Final = Operator("gate", gate, inputs=("x", "member"), cross=True)
