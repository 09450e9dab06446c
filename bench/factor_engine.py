"""The engine process under bench/factors.py: from the last symbol's bar to the whole matrix elsewhere.

This process plays the collector, and the strategy in another process's place: it has the same core as the
collector, the engine has the other. 500 symbols of random bars; at each close all but one symbol are
published and the engine takes them in; then the last symbol's bar is published, the clock starts,
the bar is called complete, and the clock stops when the reader is told that all factors of that run_time are
there. It then copies the whole matrix and checks that it was of that bar: a second figure.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from report import Figures
from session import Child, Workplace

import bmac_stream
from bmac_stream.bar import COLUMNS
from bmac_stream.errors import ShmError
from bmac_stream.factors import Factors
from shm import Spec, StoreWriter

__all__ = ["FLOOR_MS", "measure"]

FLOOR_MS = 1.0
_WINDOW = 400
_FIRST = 1_000_000


class _Collector:
    """A store of bars that closes when told."""

    def __init__(self, place: Workplace, n_symbols: int) -> None:
        self.random = np.random.default_rng(3)
        spec = Spec(columns=COLUMNS, window=_WINDOW, max_symbols=1024, interval_ms=60_000, source="bench")
        self.writer = StoreWriter.open("bench", spec, directory=place.memory)
        self.n_symbols = n_symbols
        self.close_price = 100.0 * np.exp(self.random.normal(size=n_symbols))
        self.g = _FIRST + _WINDOW
        history = np.stack([self.bars() for _ in range(_WINDOW)])
        for i in range(n_symbols):
            slot = self.writer.add_symbol(f"S{i:03d}USDT", _FIRST)
            self.writer.load(slot, _FIRST, np.ascontiguousarray(history[:, i]), np.ones(_WINDOW, np.uint8))
            self.writer.activate(slot)
        self.writer.complete(self.g - 1)

    def bars(self) -> NDArray[np.float64]:
        """The next bar of every symbol, float64[n_symbols, n_columns]."""
        opened = self.close_price
        self.close_price = opened * np.exp(0.002 * self.random.standard_t(4, self.n_symbols))
        spread = np.exp(0.001 * np.abs(self.random.normal(size=self.n_symbols)))
        high, low = (
            np.maximum(opened, self.close_price) * spread,
            np.minimum(opened, self.close_price) / spread,
        )
        volume = np.exp(self.random.normal(5.0, 1.0, self.n_symbols))
        quote = volume * (high + low) / 2.0
        taker = self.random.random(self.n_symbols)
        rows = (
            opened,
            high,
            low,
            self.close_price,
            volume,
            quote,
            np.ceil(volume),
            taker * volume,
            taker * quote,
        )
        return np.column_stack(rows)


def measure(figures: Figures, n_symbols: int = 500, rounds: int = 60) -> None:
    """Median time from the last symbol's bar published to the whole Alpha158 matrix of `n_symbols` being
    readable in another process, against the floor of 1 ms."""
    with Workplace() as place:
        collector = _Collector(place, n_symbols)
        writer = collector.writer
        config = {
            "interval": "1m",
            "trade_type": "usdt_perp",
            "store": {"name": "bench", "directory": str(place.memory)},
            "factors": ["qlib158"],
        }
        path = place.disk / "config.json"
        path.write_text(json.dumps(config))
        engine = place.start("engine", "bmac_stream.engine", str(path))
        cores = sorted(os.sched_getaffinity(0))
        # What spins here must not have the core that the engine wakes on.
        os.sched_setaffinity(engine.pid, {cores[-1]})
        os.sched_setaffinity(0, {cores[0]})
        factors = _attach(engine, writer, place.memory)
        store = factors.own
        there_ms: list[float] = []
        copied_ms: list[float] = []
        whole = np.empty((n_symbols, len(factors.names)))
        last = writer.symbols[f"S{n_symbols - 1:03d}USDT"]
        cells = [store.column_index[name] for name in factors.names]
        for _ in range(rounds):
            bars = collector.bars()
            g = collector.g
            slots = np.arange(n_symbols - 1)
            writer.append_rows(slots, np.full(n_symbols - 1, g), bars[:-1], np.ones(n_symbols - 1, np.uint8))
            writer.notify()
            _until(lambda g=g: store.reader.count(0) > g and store.reader.count(n_symbols - 2) > g, writer)
            time.sleep(0.02)
            row = bars[-1].copy()
            writer.append(last, g, row)
            begin = time.perf_counter_ns()
            writer.complete(g)
            store.reader.wait(g - 1, 5.0, spin_us=5e6)
            there_ms.append((time.perf_counter_ns() - begin) / 1e6)
            token = store.panel_token(1)
            whole[:] = store.data[:n_symbols, cells[0] : cells[-1] + 1, store.cap + g % store.cap]
            end = time.perf_counter_ns()
            assert store.panel_valid(token) and token.g_end == g + 1
            assert np.isfinite(whole[:, 0]).all()
            copied_ms.append((end - begin) / 1e6)
            collector.g += 1
        assert np.array_equal(whole, factors.matrix()[:n_symbols], equal_nan=True)
        factors.close()
        engine.stop()
        writer.close()
        os.sched_setaffinity(0, cores)
    there_ms, copied_ms = there_ms[10:], copied_ms[10:]
    figures.add(
        "engine_matrix_ms",
        statistics.median(copied_ms),
        f"last of {n_symbols} bars published -> Alpha158 of all copied elsewhere; min {min(copied_ms):.3g}, "
        f"max {max(copied_ms):.3g}",
    )
    figures.add("engine_there_ms", statistics.median(there_ms), "until the reader was told that all is there")
    figures.at_most("engine_matrix_ms", FLOOR_MS, statistics.median(copied_ms))


def _until(what: Callable[[], bool], writer: StoreWriter, timeout_s: float = 120.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        if time.monotonic() > deadline:
            raise TimeoutError("the engine did not follow")
        writer.heartbeat()
        time.sleep(0.001)


def _attach(engine: Child, writer: StoreWriter, directory: Path) -> Factors:
    found: list[Factors] = []

    def ready() -> bool:
        engine.check()
        try:
            factors = bmac_stream.attach_factors("bench.factors", directory=directory)
        except ShmError:
            return False
        if factors.run_time:
            found.append(factors)
            return True
        factors.close()
        return False

    _until(ready, writer)
    return found[0]
