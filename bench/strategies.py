"""The readers of bench/ingest.py, each a process of its own (spawned), reporting over a pipe.

`waiter` is what a strategy is: it blocks in `store.wait`, then reads the market's closes in place.
`watcher` looks at one symbol after the other without pause, to stamp the moment a bar becomes readable.
Stamps are time.monotonic_ns(), which all processes of a machine share.
"""

import signal
import time
from multiprocessing.connection import Connection
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

import bmac_stream
from shm import StoreReader

__all__ = ["Woken", "waiter", "watcher"]


class Woken(NamedTuple):
    """What a strategy saw at one bar close.

    run_time  ms; woken_ns: `wait` returned; read_ns: the closes of all symbols had been copied
    closes    float64[n_symbols]; symbols in the same order; missing, absent as `wait` named them
    """

    run_time: int
    woken_ns: int
    read_ns: int
    symbols: tuple[str, ...]
    closes: npt.NDArray[np.float64]
    missing: tuple[str, ...]
    absent: tuple[str, ...]


def waiter(pipe: Connection, name: str, directory: str) -> None:
    """Reports a Woken for every run_time until anything is sent to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    store = bmac_stream.attach(name, directory=directory, timeout_s=120)
    while not pipe.poll():
        try:
            run_time = store.wait(timeout_s=1)
        except TimeoutError:
            continue
        woken = time.monotonic_ns()
        closes = store.read_panel("close", lambda panel: panel[:, -1].copy(), n=1)
        read = time.monotonic_ns()
        names = tuple(name or "" for name in store.panel_symbols)
        pipe.send(Woken(int(run_time), woken, read, names, closes, run_time.missing, run_time.absent))
    store.close()


def watcher(pipe: Connection, name: str, directory: str) -> None:
    """Says "ready"; then, for every (g, [symbols], timeout_s), when each bar g became readable, ns; 0: not.

    The symbols are watched in that order, which must be the order in which they are sent.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    store = StoreReader.attach(name, directory=directory, timeout_s=120)
    pipe.send("ready")
    while (task := pipe.recv()) is not None:
        g, symbols, timeout_s = task
        slots = [store.slot(symbol) for symbol in symbols]
        pipe.send("watching")
        seen = [0] * len(slots)
        deadline = time.monotonic_ns() + int(timeout_s * 1e9)
        now = time.monotonic_ns()
        for i, slot in enumerate(slots):
            while store.count(slot) <= g and now < deadline:
                now = time.monotonic_ns()
            now = time.monotonic_ns()
            if store.count(slot) > g:
                seen[i] = now
        pipe.send(seen)
    store.close()
