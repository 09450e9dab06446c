"""A strategy that computes nothing: it reads the factors that one engine process publishes for all.

    PYTHONPATH=examples python -m bmac_stream run examples/engine.json     in one terminal
    python examples/strategy_shared_factors.py engine_usdt_perp_1m         in another, as often as you like

The engine alone, beside a collector that runs: `python -m bmac_stream.engine CONFIG`.
"""

import sys

import fire
import numpy as np

import bmac_stream
from bmac_stream.errors import BmacError, ShmError, StoreRetired


def attach(store, directory):
    """What the engine of a store publishes, as soon as it does."""
    factors = bmac_stream.attach_factors(f"{store}.factors", directory=directory, timeout_s=60)
    print(f"{len(factors.names)} factors: {', '.join(factors.names[:6])}, ...", flush=True)
    return factors


def main(store, factor=None, n_run_times=0, directory="/dev/shm"):
    """Print a factor's mean over the market and who is at its ends; default: the last one."""
    factors = attach(store, directory)
    seen, done = None, 0
    while n_run_times == 0 or done < n_run_times:
        try:
            run_time = factors.wait(timeout_s=600, seen=seen)  # every factor of every symbol is there
            # [n_slots, n_factors], a consistent copy. `view` shows one factor in place, `symbol` one symbol
            matrix = factors.matrix(run_time)
        except StoreRetired:  # the engine was told to compute other factors (SIGHUP)
            factors = attach(store, directory)
            continue
        seen = run_time  # the next engine's first `wait` tells what came meanwhile
        done += 1
        name = factor or factors.names[-1]
        values = matrix[:, factors.names.index(name)]
        slots = np.flatnonzero(np.isfinite(values))
        if not len(slots):
            print(f"{run_time} {name}: not enough bars yet", flush=True)
            continue
        symbols = factors.own.panel_symbols
        low, high = slots[np.argmin(values[slots])], slots[np.argmax(values[slots])]
        print(
            f"{run_time} {name} of {len(slots)} symbols: mean {values[slots].mean():.4g},"
            f" {symbols[low]} {values[low]:.4g}, {symbols[high]} {values[high]:.4g}",
            flush=True,
        )


if __name__ == "__main__":
    try:
        fire.Fire(main)
    except (BmacError, ShmError, TimeoutError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except KeyboardInterrupt:
        pass
