"""A strategy in a process of its own: reads the market where it lies, at every bar close.

    python examples/strategy.py usdt_perp_1m

needs a running collector (`make run` starts one: its store is trial_usdt_perp_1m). No copy, no file, no
pandas: `bias` gets a view of shared memory, and its result is only used if nothing was overwritten meanwhile.
"""

import sys

import fire
import numpy as np

import bmac_stream
from bmac_stream.errors import ShmError


def bias(close, window=20):
    """Relative distance of the last close from its mean, per symbol; NaN where a bar is missing."""
    return close[:, -1] / close[:, -window:].mean(axis=1) - 1.0


def main(store, window=20, n_run_times=0, directory="/dev/shm"):
    """Print who is farthest from the mean at every run_time; n_run_times 0: for ever."""
    market = bmac_stream.attach(store, directory=directory, timeout_s=10)
    print(
        f"{market.name}: {market.source}, {len(market.symbols)} symbols, bars of {market.interval}",
        flush=True,
    )
    seen = 0
    while n_run_times == 0 or seen < n_run_times:
        run_time = market.wait(timeout_s=600)  # a dead or stalled collector is an error here
        seen += 1
        values = market.read_panel("close", lambda close: bias(close, window), n=window, run_time=run_time)
        slots = market.slots[np.isfinite(values[market.slots])]  # rows of the symbols that can be traded
        if run_time.missing:
            print(f"{run_time} late: {', '.join(run_time.missing[:5])}", flush=True)
        if run_time.skipped:
            print(f"{run_time} {run_time.skipped} run_times went by while this strategy was busy", flush=True)
        if len(slots):
            order = slots[np.argsort(values[slots])]
            names = market.panel_symbols
            low, high = order[0], order[-1]
            print(
                f"{run_time} low {names[low]} {values[low]:+.3%}, high {names[high]} {values[high]:+.3%}",
                flush=True,
            )


if __name__ == "__main__":
    try:
        fire.Fire(main)
    except (ShmError, TimeoutError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except KeyboardInterrupt:
        pass
