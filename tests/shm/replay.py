"""Every interleaving of a reader with the writer's stores, one store at a time, without any luck.

A traced build of the package writes down each atomic store of a short piece of writing. `judge` then plays
the stores back one by one, and lets the compiled reader begin after store i, look at its whole window after
store j and validate after store k, for all i <= j <= k. The oracle is that of the stress test: an accepted
token fixes every word of the window. This is sequential consistency only, which is what a stress test on
x86 can see at best, but complete; orders are the business of the model and of the emitted code.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from shm import layout
from tests.shm.mutants import LOG
from tests.shm.workers import AHEAD, BACK, COLUMNS, EVERY, Arena, Counts, Kit, new_arena

__all__ = ["Judge", "Trace", "serial_of", "value_of", "write_trace"]

Bits = NDArray[np.int64]


def serial_of(g: int, slot: int, n_slots: int) -> int:
    """The number of the correction that changes this bar; -1 if none does."""
    n, rest = divmod(g + BACK - (EVERY - 1), EVERY)
    return n if rest == 0 and n >= 0 and n % n_slots == slot else -1


def value_of(g: int, slot: int, column: int, n_slots: int, version: int) -> float:
    return float((((g * n_slots + slot) * COLUMNS) + column) * 2 + version)


@dataclass(frozen=True, slots=True)
class Trace:
    """Memory before the piece of writing, and its stores: word number and bits, in program order."""

    before: Arena
    at: Bits
    bits: Bits


def _row(g: int, slot: int, n_slots: int) -> tuple[NDArray[np.float64], int]:
    n = serial_of(g, slot, n_slots)
    if n >= 0 and n % 2 == 1:
        return np.full(COLUMNS, np.nan), int(layout.Status.PENDING)
    return np.array([value_of(g, slot, c, n_slots, 0) for c in range(COLUMNS)]), int(layout.Status.BAR)


def write_trace(
    kit: Kit,
    n_slots: int,
    cap: int,
    n_bars: int,
    *,
    early: bool = False,
    instead: dict[str, Any] | None = None,
) -> Trace:
    """Fill the rings, then write down the stores of `n_bars` more bars. Slot 0 is AHEAD of the others.

    instead  functions of the ring to use in place of the kit's, by name: a mutant's, also from a traced build
    """
    ring, log = SimpleNamespace(**vars(kit.module("ring")) | (instead or {})), LOG
    arena = new_arena(n_slots, cap)
    words, data = arena

    def bar(g: int) -> None:
        for slot in range(n_slots):
            number = g + AHEAD if slot == 0 else g
            row, status = _row(number, slot, n_slots)
            assert ring.append(words, data, slot, number, row, status) == 0
            if early and slot == n_slots - 2:
                assert ring.complete(words, data, g)[0] == 0
        if not early:
            assert ring.complete(words, data, g)[0] == 0
        if g % EVERY == EVERY - 1:
            slot = (g // EVERY) % n_slots
            row = np.array([value_of(g - BACK, slot, c, n_slots, 1) for c in range(COLUMNS)])
            assert ring.correct(words, data, slot, g - BACK, row, int(layout.Status.BAR)) == 0

    for g in range(AHEAD):
        row, status = _row(g, 0, n_slots)
        assert ring.append(words, data, 0, g, row, status) == 0
    for g in range(2 * cap):
        bar(g)
    before = Arena(words.copy(), data.copy())
    log[0, 0] = 0
    for g in range(2 * cap, 2 * cap + n_bars):
        bar(g)
    n = int(log[0, 0])
    assert 0 < n < len(log) - 1
    n_words = len(words)
    at = (log[1 : n + 1, 0] - words.ctypes.data) // 8  # words and data lie in one piece of memory
    assert ((at >= 0) & (at < n_words + data.size)).all(), "a store outside the arena"
    return Trace(before, at.copy(), log[1 : n + 1, 1].copy())


class Judge:
    """A build's readers, compiled to look at every moment of a trace."""

    def __init__(self, kit: Kit) -> None:
        ring = kit.module("ring")
        slot_begin, slot_valid = ring.slot_begin, ring.slot_valid
        panel_begin, panel_valid = ring.panel_begin, ring.panel_valid
        bar, pending = float(layout.Status.BAR), float(layout.Status.PENDING)
        jit = numba.njit(error_model="numpy")
        serial, value = jit(serial_of), jit(value_of)

        @jit
        def is_wrong(data: Any, slot: int, at: int, g: int, corrections: int) -> bool:
            n_slots = data.shape[0]
            n = serial(g, slot, n_slots)
            corrected = n >= 0 and n < corrections
            late = n >= 0 and n % 2 == 1 and not corrected
            wrong = data[slot, COLUMNS, at] != (pending if late else bar)
            for column in range(COLUMNS):
                found = data[slot, column, at]
                wrong |= (
                    not np.isnan(found) if late else found != value(g, slot, column, n_slots, int(corrected))
                )
            return wrong

        @jit
        def window_wrong(data: Any, slot: int, window: int, end: int, corrections: int) -> bool:
            cap = data.shape[2] // 2
            start = cap + (end - 1) % cap + 1 - window
            wrong = False
            for k in range(window):
                wrong |= is_wrong(data, slot, start + k, end - window + k, corrections)
            return wrong

        @jit
        def slots(words: Any, data: Any, at: Any, bits: Any, slot: int, window: int, out: Any) -> None:
            cap, n = data.shape[2] // 2, len(at) + 1
            tokens = np.empty((n, 2), np.int64)
            seen_wrong = np.zeros(
                n, np.bool_
            )  # has the reader that began at i already looked at a wrong window?
            flat, values = data.reshape(-1), bits.view(np.float64)
            for t in range(n):
                if t > 0:
                    if at[t - 1] < len(words):
                        words[at[t - 1]] = bits[t - 1]
                    else:
                        flat[at[t - 1] - len(words)] = values[t - 1]
                tokens[t, 0], tokens[t, 1] = slot_begin(words, slot)
                for i in range(t + 1):
                    end, corrections = tokens[i, 0], tokens[i, 1]
                    if not seen_wrong[i]:
                        seen_wrong[i] = window_wrong(data, slot, window, end, corrections)
                    if slot_valid(words, slot, end - window, cap, corrections):
                        out[0] += 1
                        out[2] += seen_wrong[i]
                    else:
                        out[1] += 1

        @jit
        def panels(words: Any, data: Any, at: Any, bits: Any, slot: int, window: int, out: Any) -> None:
            cap, n = data.shape[2] // 2, len(at) + 1
            tokens = np.empty((n, 2), np.int64)
            seen_wrong = np.zeros(n, np.bool_)
            flat, values = data.reshape(-1), bits.view(np.float64)
            for t in range(n):
                if t > 0:
                    if at[t - 1] < len(words):
                        words[at[t - 1]] = bits[t - 1]
                    else:
                        flat[at[t - 1] - len(words)] = values[t - 1]
                tokens[t, 0], tokens[t, 1] = panel_begin(words)
                for i in range(t + 1):
                    end, corrections = tokens[i, 0], tokens[i, 1]
                    for s in range(data.shape[0]):
                        if not seen_wrong[i]:
                            seen_wrong[i] = window_wrong(data, s, window, end, corrections)
                    if panel_valid(words, end - window, cap, corrections):
                        out[0] += 1
                        out[2] += seen_wrong[i]
                    else:
                        out[1] += 1

        self._judges = {"slots": slots, "panels": panels}

    def judge(self, trace: Trace, what: str, window: int) -> Counts:
        """Over all moments to begin, look and validate. A wrong look counts for every later validation."""
        total = Counts(0, 0, 0, 0)
        for slot in range(trace.before.data.shape[0] if what == "slots" else 1):
            out = np.zeros(4, np.int64)
            words, data = trace.before.words.copy(), trace.before.data.copy()
            self._judges[what](words, data, trace.at, trace.bits, slot, window, out)
            total += Counts(*out.tolist())
        return total
