"""How many bytes of state one step touches, and how fast this machine copies as many.

The bytes are counted, not reckoned: the state is laid out with one row to a page, the pages' accessed bits
are cleared through /proc/self/clear_refs, a step runs, and the kernel tells which pages were used. A row of
512 symbols is exactly one page, so pages are bytes; the processor cannot be asked for less.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from factor_bars import F64
from factor_ours import Ours

__all__ = ["PAGE", "copy_rate", "touched_bytes"]

PAGE: Final = mmap.PAGESIZE
_MADV_NOHUGEPAGE: Final = 15
_SELF: Final = Path("/proc/self")


def touched_bytes(ours: Ours, bars: F64) -> float | None:
    """Mean bytes of state that a step of 512 symbols reads or writes; None where the system does not tell."""
    assert 8 * ours.n_symbols == PAGE, "one row must be one page"
    program = ours.program
    n_rows = program.plan.n_rows
    pages = mmap.mmap(-1, n_rows * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    pages.madvise(_MADV_NOHUGEPAGE)
    block: Any = np.frombuffer(pages, np.float64).reshape(n_rows, ours.n_symbols)
    block[:] = program.state
    before = program._words[:2].copy()
    program._words[:2] = block.ctypes.data, ours.n_symbols
    try:
        counts = []
        for bar in bars:
            ours.push(bar)
            (_SELF / "clear_refs").write_text("1")
            ours.run()
            counts.append(_referenced(block.ctypes.data))
        program.state[:] = block
    except OSError:
        return None
    finally:
        program._words[:2] = before
    return float(np.mean(counts))


def _referenced(address: int) -> int:
    """Bytes in pages used since the bits were cleared, in the mapping that holds `address`."""
    inside = False
    for line in (_SELF / "smaps").read_text().splitlines():
        first = line.split(" ", 1)[0]
        if "-" in first and not first.endswith(":"):
            low, high = (int(word, 16) for word in first.split("-"))
            inside = low <= address < high
        elif inside and first == "Referenced:":
            return 1024 * int(line.split()[1])
    raise OSError("the mapping is not listed")


def copy_rate(n_bytes: float) -> float:
    """Bytes read and written per second when a block of `n_bytes` / 2 is copied to another, repeatedly."""
    half = max(int(n_bytes / 16), 1)
    source, target = np.ones(half), np.ones(half)
    return 16 * half / _median(lambda: np.copyto(target, source), 200)


def _median(call: Callable[[], None], n: int) -> float:
    """The median of n calls in seconds."""
    times = []
    for _ in range(n):
        began = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - began)
    return float(np.median(times)) / 1e9
