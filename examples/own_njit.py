"""A signal in one's own compiled code, straight on shared memory: one call per bar for the whole market.

    python examples/own_njit.py usdt_perp_1m

shm.jit's functions are compiled into the caller: take a token, look at windows, ask whether it held.
"""

import sys

import fire
import numpy as np
from numba import njit

import bmac_stream
from bmac_stream.errors import ShmError
from shm.jit import panel, panel_begin, panel_valid


@njit
def breakouts(store, high, close, n, out):
    """out[slot] = close over the highest high of the n - 1 bars before, minus 1; False: read it again.

    NaN where one of the bars is missing. high and close are column numbers; out is float64[max_symbols].
    """
    token = panel_begin(store)
    highs = panel(store, high, n, token)
    closes = panel(store, close, n, token)
    for slot in range(highs.shape[0]):
        top = highs[slot, 0]
        for i in range(1, n - 1):
            # not max(): max(4.0, nan) is 4.0. Once top is NaN, nothing is above it
            if highs[slot, i] > top or np.isnan(highs[slot, i]):
                top = highs[slot, i]
        out[slot] = closes[slot, n - 1] / top - 1.0
    return panel_valid(store, n, token)


def main(store, n=60, n_run_times=0, directory="/dev/shm"):
    """Print who closed above the highest high at every run_time; n_run_times 0: for ever."""
    market = bmac_stream.attach(store, directory=directory, timeout_s=10)
    high, close = market.column_index["high"], market.column_index["close"]
    out = np.full(market.spec.max_symbols, np.nan)
    breakouts(market.arrays, high, close, n, out)  # compiles now, not at the first bar
    seen = 0
    while n_run_times == 0 or seen < n_run_times:
        run_time = market.wait(timeout_s=600)
        seen += 1
        while not breakouts(market.arrays, high, close, n, out):
            pass  # a correction came between: once more
        found = {symbol: out[slot] for symbol, slot in market.symbols.items() if out[slot] > 0}
        best = sorted(found, key=lambda symbol: -found[symbol])[:5]
        text = ", ".join(f"{symbol} {found[symbol]:+.3%}" for symbol in best)
        print(f"{run_time} {len(found)} above their {n} bars' high: {text}", flush=True)


if __name__ == "__main__":
    try:
        fire.Fire(main)
    except (ShmError, TimeoutError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except KeyboardInterrupt:
        pass
