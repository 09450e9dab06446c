"""An operator of one's own: kernel, operator, and its check against a reference written apart.

    python examples/my_operator.py                   compiles the kernel (once) and checks it

`cusum` is one-sided: how far a series has run up against a drift since it was last at 0. As a factor, from a
config: `["my_operator:CusumUp", 20]`, the folder of this file on PYTHONPATH. The package does not change.

What a kernel may do, and how it finds its numbers, is at the head of kernels/abi.py.
"""

import numpy as np

from factor_defs.fields import close
from kernels.abi import kernel, now, own, rows
from kernels.batch import batch
from kernels.node import FOREVER, Node, Number, Operator, field
from kernels.plan import Plan
from kernels.rolling import ts_std
from kernels.run import Program
from kernels.shift import pct_change


@rows
def _run_up(x, level, out, n, drift):
    """The loop over symbols: one pointer for each row, no branches, so that it becomes vector code."""
    for i in range(n):
        v, before = x[i], level[i]
        there = v - v == 0.0  # neither NaN nor infinite
        after = before + v - drift
        after = after if after > 0.0 else 0.0
        level[i] = after if there else before
        out[i] = after if there else np.nan


@kernel
def cusum_kernel(state, stride, p, f, g, n):
    """cusum: max(0, its value at the bar before + x - drift), from 0 on.

    in      x
    state   1 row: the value
    out     not negative; NaN where x is NaN or infinite, which leaves the state as it was
    source  Page 1954, Continuous inspection schemes
    """
    # series are numbered outputs first, then inputs: 0 is the result, 1 is x. f holds float parameters
    _run_up(now(state, stride, p, 1, g), own(state, stride, p, 2, 0), now(state, stride, p, 0, g), n, f[0])


CUSUM = Operator(
    "cusum",
    cusum_kernel,
    inputs=("x",),
    parameters=("drift",),
    rows=lambda drift: (0.0,),  # the state before the first bar
    memory=lambda drift: FOREVER,  # it may depend on its first bar for good
)


def cusum(x: Number, drift: float = 0.0) -> Node:
    """How far x has run up against a drift since it was last at 0; in the unit of x."""
    return CUSUM(x, parameters=(float(drift),))[0]


def CusumUp(window: int = 20) -> Node:
    """A factor made of it: runs of returns, each return as a part of the usual one."""
    change = pct_change(close, 1)
    return cusum(change / ts_std(change, window), 0.5)


def reference(x, drift):
    """The same in plain Python, one symbol: float64[n_bars]."""
    out, level = np.full(len(x), np.nan), 0.0
    for i, v in enumerate(x):
        if np.isfinite(v):
            level = max(0.0, level + v - drift)
            out[i] = level
    return out


def main():
    """Every symbol against the reference, and the whole against the same bars in two pieces."""
    n_bars, n_symbols, drift = 500, 37, 0.2
    random = np.random.default_rng(1)
    x = random.normal(size=(n_bars, n_symbols))
    x[random.random(x.shape) < 0.05] = np.nan
    x[70, 3], x[200:260, 5] = np.inf, np.nan
    bars = np.ascontiguousarray(x[:, None, :])  # [n_bars, n_columns, n_symbols]
    plan = Plan({"run up": cusum(field("x"), drift)})
    found = batch(Program(plan, n_symbols), bars, g=0)
    for k in range(n_symbols):
        np.testing.assert_allclose(found[:, 0, k], reference(x[:, k], drift), rtol=1e-12)
    program = Program(plan, n_symbols)
    pieces = [batch(program, bars[:123], g=0), batch(program, bars[123:], g=123)]
    assert np.concatenate(pieces).tobytes() == found.tobytes()
    print(f"cusum agrees with its reference: {n_bars} bars of {n_symbols} symbols")


if __name__ == "__main__":
    main()
