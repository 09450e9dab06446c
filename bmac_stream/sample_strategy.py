"""A strategy in its own process: at every bar close, the market's strongest and weakest symbols.

`python -m bmac_stream.sample_strategy STORE [--bars 20] [--directory DIR]` attaches to a running collector's
store, reads the `close` panel in place (no copy, no file), and prints one line per run_time. It is what
`python -m bmac_stream run` shows beside the bars, and a pattern for a strategy of one's own.
"""

import sys
import time
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

import bmac_stream
from bmac_stream.as_command import as_command
from bmac_stream.errors import BmacError, ShmError

__all__ = ["main", "momentum"]


def momentum(close: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return over the panel's span, newest over oldest close minus 1.

    close   (n_symbols, n) closes, oldest first; NaN where a symbol has no bar
    result  (n_symbols,); NaN where either end is NaN
    """
    result: npt.NDArray[np.float64] = close[:, -1] / close[:, 0] - 1.0
    return result


def main(store: str, bars: int = 20, directory: str = "/dev/shm") -> None:
    """Print the strongest and weakest symbols at every bar close until the collector ends or Ctrl-C."""
    market = bmac_stream.attach(store, directory=directory, timeout_s=60)
    print(f"attached to {store} ({market.source}), {len(market.symbols)} symbols", flush=True)
    while True:
        run_time = market.wait(timeout_s=600)
        started = time.perf_counter_ns()
        # of the bar we were told of: a newer one may be complete by now
        moves = market.read_panel("close", momentum, n=bars + 1, run_time=run_time)
        took_us = (time.perf_counter_ns() - started) / 1e3
        names = market.panel_symbols
        ranked = [slot for slot in np.argsort(moves) if np.isfinite(moves[slot]) and names[slot] is not None]
        when = datetime.fromtimestamp(run_time / 1e3, UTC).strftime("%m-%d %H:%M")
        if not ranked:
            print(f"{when} not enough bars yet", flush=True)
            continue
        up = " ".join(f"{names[slot]} {moves[slot]:+.2%}" for slot in ranked[:-4:-1])
        down = " ".join(f"{names[slot]} {moves[slot]:+.2%}" for slot in ranked[:2])
        late = f" | waiting for {len(run_time.missing)}" if run_time.missing else ""
        print(f"{when} {len(ranked)} symbols in {took_us:.0f} us | up {up} | down {down}{late}", flush=True)


if __name__ == "__main__":
    try:
        as_command(main)
    except (BmacError, ShmError, TimeoutError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except KeyboardInterrupt:
        pass
