"""A strategy that computes its factors itself: an engine of its own on the market's bars.

    python examples/strategy_with_engine.py usdt_perp_1m

needs a running collector (`make run` starts one: its store is trial_usdt_perp_1m), and no second process.
"""

import sys
from datetime import UTC, datetime

import fire
import numpy as np

import bmac_stream
from bmac_stream.errors import BmacError, ShmError
from factor_defs import registry
from factor_defs.fields import close
from kernels.cross_section import cs_rank
from kernels.shift import pct_change

FACTORS = {
    # names as in a config, all of them in docs/factors.md ...
    **registry.columns([["PctChg", 20], ["Bias", 20], ["crypto:TakerRatio", 20]]),
    # ... and expressions of one's own: the same close and the same change are computed once
    "strength": cs_rank(pct_change(close, 20)),
}


def show(engine, symbol):
    """One symbol's own factors now, and as they would be if its forming bar closed as it is."""
    now, then = engine.symbol(symbol), engine.peek(symbol)
    if then is None:
        return f"{symbol}: no trade since the close"
    pairs = zip(engine.names, now, then, strict=True)
    return f"{symbol}: " + ", ".join(f"{k} {a:.4g} -> {b:.4g}" for k, a, b in pairs if np.isfinite(b))


def main(store, n_run_times=0, peek_s=1.0, directory="/dev/shm"):
    """Print who is strong and bought at every run_time; n_run_times 0: for ever.

    peek_s  between closes, how often the strongest symbol's forming bar is looked at
    """
    market = bmac_stream.attach(store, directory=directory, timeout_s=10)
    engine = bmac_stream.Engine(market, FACTORS)
    print(f"{len(engine.names)} factors of {len(market)} symbols, from {engine.started_from}", flush=True)
    seen, strongest = 0, None
    while n_run_times == 0 or seen < n_run_times:
        try:
            run_time = engine.wait(timeout_s=peek_s)  # a dead or stalled collector is an error here
        except TimeoutError:
            if strongest:
                print(f"  {show(engine, strongest)}", flush=True)
            continue
        seen += 1
        # rows are in the order of the store's panels; NaN: not enough bars, or not there
        strength, taker = engine["strength"], engine["crypto:TakerRatio_20"]
        slots = np.flatnonzero(np.isfinite(strength))
        best = {market.panel_symbols[i]: taker[i] for i in slots[np.argsort(-strength[slots])][:3]}
        text = ", ".join(f"{symbol} (takers bought {share:.0%})" for symbol, share in best.items())
        when = datetime.fromtimestamp(run_time / 1e3, UTC).strftime("%H:%M")
        print(f"{run_time} {when} {len(slots)} symbols, strongest {text}", flush=True)
        strongest = next(iter(best), None)


if __name__ == "__main__":
    try:
        fire.Fire(main)
    except (BmacError, ShmError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except KeyboardInterrupt:
        pass
