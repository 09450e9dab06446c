"""shm/jit.py: reading inside the caller's own compiled code."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from numba import njit

from shm import StoreReader, StoreWriter
from shm.compiled import SOURCE_HASH
from shm.jit import (
    StoreArrays,
    begin,
    complete_g,
    is_active,
    panel,
    panel_begin,
    panel_valid,
    spin_complete,
    spin_count,
    valid,
    wait_complete,
    window,
)
from tests.shm.support import fill, row, small_spec


@pytest.fixture
def writer(store_name: str) -> Iterator[StoreWriter]:
    with StoreWriter.open(store_name, small_spec()) as writer:
        fill(writer, 2, 0, 40)
        yield writer


@pytest.fixture
def reader(writer: StoreWriter, store_name: str) -> Iterator[StoreReader]:
    with StoreReader.attach(store_name) as reader:
        yield reader


@njit(nogil=True)
def _sum(store: StoreArrays, slot: int, column: int, n: int) -> Any:
    token = begin(store, slot)
    total = window(store, slot, column, n, token).sum()
    return total, token, valid(store, slot, n, token)


@njit(nogil=True)
def _market(store: StoreArrays, column: int, n: int) -> Any:
    token = panel_begin(store)
    shown = panel(store, column, n, token)
    last = 0.0
    for slot in range(shown.shape[0]):
        if is_active(store, slot):
            last += shown[slot, -1]
    return last, shown.shape, token, panel_valid(store, n, token)


def test_a_window_in_compiled_code(writer: StoreWriter, reader: StoreReader) -> None:
    total, token, held = _sum(reader.arrays, 1, reader.column("b"), 8)
    assert (total, token, held) == (reader.view(1, "b", 8).sum(), (40, 0), True)
    for k in range(8):
        assert valid(reader.arrays, 1, 8, token), k
        writer.append(1, 40 + k, row(1, 40 + k))
    assert not valid(reader.arrays, 1, 8, token), "as many as the slack allows, and no more"
    assert _sum(reader.arrays, 1, 0, 8)[0] == sum(1e6 + g for g in range(40, 48))


def test_a_panel_in_compiled_code(writer: StoreWriter, reader: StoreReader) -> None:
    last, shape, token, held = _market(reader.arrays, 0, 8)
    assert (last, shape, token, held) == (39 + 1e6 + 39, (2, 8), (40, 0, 2), True)
    writer.skip_to(0, 48)
    assert panel_valid(reader.arrays, 8, token)
    writer.skip_to(0, 49)
    assert not panel_valid(reader.arrays, 8, token), "`head` tells, although nothing is complete"
    writer.remove_symbol(0)
    assert _market(reader.arrays, 0, 1)[0] == 1e6 + 39


def test_every_bar_of_two_laps_in_compiled_code(writer: StoreWriter, reader: StoreReader) -> None:
    """Wherever in a block the newest bar is, and wherever in the ring the window begins."""
    for g in range(40, 72):
        for slot in range(2):
            writer.append(slot, g, row(slot, g))
        writer.complete(g)
        for n in (1, 5, 15):
            assert _sum(reader.arrays, 0, 0, n)[0] == sum(range(g + 1 - n, g + 1))
            assert _market(reader.arrays, 0, n)[0] == 2 * g + 1e6


def test_a_correction_is_seen(writer: StoreWriter, reader: StoreReader) -> None:
    _, token, _ = _sum(reader.arrays, 0, 0, 8)
    market = _market(reader.arrays, 0, 8)[2]
    writer.correct(0, 39, [1.0, 2.0, 3.0])
    assert not valid(reader.arrays, 0, 8, token)
    assert not panel_valid(reader.arrays, 8, market)
    assert _sum(reader.arrays, 0, 0, 1) == (1.0, (40, 1), True)


def test_spinning(writer: StoreWriter, reader: StoreReader) -> None:
    store = reader.arrays
    assert spin_complete(store, 38, 0) == complete_g(store) == 39
    assert spin_complete(store, 39, 1_000_000) == 39, "time is up"
    assert spin_count(store, 0, 40, 1_000_000) == 40
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(spin_complete(store, 39, 10_000_000_000))),
        threading.Thread(target=lambda: found.append(spin_count(store, 0, 40, 10_000_000_000))),
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.02)
    writer.append(0, 40, row(0, 40))
    writer.append(1, 40, row(1, 40))
    writer.complete(40)
    for thread in threads:
        thread.join(10)
    assert sorted(found) == [40, 41]


def test_sleeping(writer: StoreWriter, reader: StoreReader) -> None:
    store = reader.arrays
    assert wait_complete(store, 38, 0) == 39
    assert wait_complete(store, 39, 1_000_000) == 39, "time is up"
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(wait_complete(store, 39, 10_000_000_000)))
    thread.start()
    time.sleep(0.02)
    used = time.process_time()
    time.sleep(0.2)
    assert time.process_time() - used < 0.1, "it spins"
    writer.notify()  # woken for nothing: it sleeps on
    time.sleep(0.02)
    assert not found
    writer.append(0, 40, row(0, 40))
    writer.append(1, 40, row(1, 40))
    writer.complete(40)
    thread.join(5)
    assert found == [40]


@njit
def _store(store: StoreArrays) -> None:
    store.data[0, 0, 0] = 1.0


def test_a_store_into_the_map_does_not_compile(reader: StoreReader) -> None:
    with pytest.raises(numba.TypingError, match=r"readonly|Cannot modify"):
        _store(reader.arrays)


def test_the_type_names_the_sources(reader: StoreReader) -> None:
    assert f"shm_{SOURCE_HASH}" in str(numba.typeof(reader.arrays)), "so a caller's cache cannot go stale"


_CALLER = """
import sys
from numba import njit
from shm import StoreReader
from shm.jit import begin, valid, window

@njit(cache=True)
def total(store, slot, n):
    token = begin(store, slot)
    return window(store, slot, 0, n, token).sum(), valid(store, slot, n, token)

with StoreReader.attach(sys.argv[1]) as reader:
    print(*total(reader.arrays, 1, 8), sum(total.stats.cache_hits.values()))
"""


def test_a_callers_own_cache(writer: StoreWriter, store_name: str, tmp_path: Path) -> None:
    script = tmp_path / "caller.py"
    script.write_text(_CALLER)
    root = Path(__file__).resolve().parents[2]
    expected = 8 * 1e6 + sum(range(32, 40))
    for hits in (0, 1):
        done = subprocess.run(
            [sys.executable, str(script), store_name],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
            env={"PYTHONPATH": str(root), "PATH": "", "HOME": str(tmp_path)},
        )
        assert done.stdout.split() == [str(expected), "True", str(hits)]
    assert np.isfinite(expected)
