"""Loops that drive the ring as hard as they can, and know what every accepted read must show.

Values encode (bar, symbol, column, version), and which correction changes which bar is a function of its
serial number alone. So for an accepted token (count, corrections) the expected window is exact: one wrong
word is "torn", a token older than one before is "stale".

`Loops` compiles the same loops against any build of the package (mutants.py), on memory that is either this
process's own or a file that another process maps as well.
"""

from __future__ import annotations

import contextlib
import importlib
import mmap
import multiprocessing
import os
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import numba
import numpy as np
from numpy.typing import NDArray

from shm import layout

__all__ = ["COLUMNS", "Arena", "Counts", "Kit", "Loops", "Real", "WriterProcess", "map_arena", "new_arena"]

COLUMNS = 5  # of values; the status comes on top
EVERY, BACK = 4, 2  # after every 4th bar the bar 2 before it is corrected, in the slots by turns
AHEAD = 2  # slot 0 publishes so many bars before the others: `complete` says less than `head`
FORMING_CELLS = 4
UPDATES = 3  # forming updates per bar

Words = NDArray[np.int64]
Data = NDArray[np.float64]


class Kit(Protocol):
    """Where the functions come from: the real package or a changed copy."""

    def module(self, name: str) -> ModuleType: ...


class Real:
    """The package as it is."""

    def module(self, name: str) -> ModuleType:
        return importlib.import_module(f"shm.{name}" if name else "shm")


class Arena(NamedTuple):
    """Control words and rings of a store, without the rest of the file."""

    words: Words
    data: Data


def _sizes(n_slots: int, cap: int) -> tuple[int, int, int]:
    forming = layout.SLOTS + n_slots * layout.SLOT_WORDS
    redo = forming + n_slots * FORMING_CELLS * (1 + COLUMNS)
    n_words = redo + 4 + COLUMNS + 16
    return forming, redo, n_words


def new_arena(n_slots: int, cap: int, path: Path | None = None) -> Arena:
    """Empty rings of ACTIVE slots with count 0, in a new file or in this process's memory."""
    forming, redo, n_words = _sizes(n_slots, cap)
    n_data = n_slots * (COLUMNS + 1) * 2 * cap
    if path is None:
        raw = np.zeros(n_words + n_data, np.int64)
    else:
        with path.open("xb") as file:
            file.truncate(8 * (n_words + n_data))
        raw = _map(path, writable=True)
    arena = _split(raw, n_slots, cap)
    arena.data[:] = np.nan
    arena.words[layout.HEAD] = -1
    arena.words[layout.H_FORMING_CELLS] = FORMING_CELLS
    arena.words[layout.H_FORMING_OFFSET] = 8 * forming
    arena.words[layout.H_REDO_OFFSET] = 8 * redo
    arena.words[layout.N_SLOTS] = n_slots
    for slot in range(n_slots):
        arena.words[layout.SLOTS + slot * layout.SLOT_WORDS + layout.SLOT_STATE] = layout.SlotState.ACTIVE
    return arena


def _map(path: Path, writable: bool) -> Words:
    fd = os.open(path, os.O_RDWR if writable else os.O_RDONLY)
    try:
        mapped = mmap.mmap(fd, 0, prot=mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0))
    finally:
        os.close(fd)
    return np.frombuffer(mapped, np.int64)


def _split(raw: Words, n_slots: int, cap: int) -> Arena:
    n_words = _sizes(n_slots, cap)[2]
    return Arena(raw[:n_words], raw[n_words:].view(np.float64).reshape(n_slots, COLUMNS + 1, 2 * cap))


def map_arena(path: Path, n_slots: int, cap: int) -> Arena:
    """A reader's, read-only map of an arena in a file."""
    return _split(_map(path, writable=False), n_slots, cap)


@dataclass(frozen=True, slots=True)
class Counts:
    """What a reader saw: its power and its verdict."""

    accepted: int
    refused: int
    torn: int
    stale: int

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.accepted + other.accepted,
            self.refused + other.refused,
            self.torn + other.torn,
            self.stale + other.stale,
        )

    @property
    def bad(self) -> int:
        return self.torn + self.stale


class Loops:
    """The writer's and the readers' loops, compiled against one build of the package."""

    def __init__(self, kit: Kit, *, only: str = "", complete_early: bool = False) -> None:
        """only            leave out what those of "slots", "panels" or "forming" do not see, to compile less
        complete_early  a mutant: bar g is declared complete before the last symbol has it
        """
        ring, atomics = kit.module("ring"), kit.module("atomics")
        append, complete, correct = ring.append, ring.complete, ring.correct
        write_forming, read_forming = ring.write_forming, ring.read_forming
        slot_begin, slot_valid = ring.slot_begin, ring.slot_valid
        panel_begin, panel_valid = ring.panel_begin, ring.panel_valid
        clock_ns, pause = atomics.clock_ns, atomics.pause
        bar, pending = float(layout.Status.BAR), float(layout.Status.PENDING)
        jit = numba.njit(nogil=True, error_model="numpy")

        @jit
        def _complete(words: Any, data: Any, g: int) -> tuple[int, int]:
            words[layout.COMPLETE] = g + 1
            return 0, 0

        @jit
        def _nothing(words: Any, data: Any, slot: int, g: int, row: Any, status: int) -> int:
            return 0

        @jit
        def _no_forming(words: Any, slot: int, g: int, row: Any) -> None:
            pass

        if only in ("slots", "forming"):
            complete = _complete
        if only in ("slots", "panels"):
            write_forming = _no_forming
        if only == "forming":
            append = correct = _nothing

        @jit
        def serial_of(g: int, slot: int, n_slots: int) -> int:
            """The number of the correction that changes this bar; -1 if none does."""
            n, rest = divmod(g + BACK - (EVERY - 1), EVERY)
            return n if rest == 0 and n >= 0 and n % n_slots == slot else -1

        @jit
        def value_of(g: int, slot: int, column: int, n_slots: int, version: int) -> float:
            return float((((g * n_slots + slot) * COLUMNS) + column) * 2 + version)

        @jit
        def is_wrong(data: Any, slot: int, at: int, g: int, corrections: int) -> bool:
            """Does the cell hold anything but bar g as it is after so many corrections?"""
            n_slots = data.shape[0]
            n = serial_of(g, slot, n_slots)
            corrected = n >= 0 and n < corrections
            if n >= 0 and n % 2 == 1 and not corrected:  # not here in time: filled by its correction
                wrong = data[slot, COLUMNS, at] != pending
                for column in range(COLUMNS):
                    wrong |= not np.isnan(data[slot, column, at])
                return wrong
            wrong = data[slot, COLUMNS, at] != bar
            for column in range(COLUMNS):
                wrong |= data[slot, column, at] != value_of(g, slot, column, n_slots, int(corrected))
            return wrong

        @jit
        def append_bar(words: Any, data: Any, slot: int, g: int, row: Any) -> int:
            n_slots = data.shape[0]
            n = serial_of(g, slot, n_slots)
            late = n >= 0 and n % 2 == 1
            version = 0 if n_slots > 0 else 1
            for column in range(COLUMNS):
                row[column] = np.nan if late else value_of(g, slot, column, n_slots, version)
            return int(append(words, data, slot, g, row, int(pending) if late else int(bar)))

        @jit
        def write(words: Any, data: Any, until_ns: int, n_max: int, gap: int) -> int:
            """Append bar after bar to all slots, with corrections, late fills and forming bars.

            No literal is passed to a function: Numba would compile it once more for each of them.
            """
            n_slots = data.shape[0]
            row = np.empty(COLUMNS)
            g = words[layout.COMPLETE]
            first, update = g, g * UPDATES
            if words[layout.HEAD] < 0:
                g -= AHEAD
            while g - first < n_max and (g % 16 or clock_ns() < until_ns):
                for slot in range(n_slots if g >= 0 else 1):
                    if append_bar(words, data, slot, g + AHEAD if slot == 0 else g, row) != 0:
                        return -1
                    if complete_early and slot == n_slots - 2 and complete(words, data, g)[0] != 0:
                        return -1
                if g < 0:
                    g += 1
                    continue
                if not complete_early and complete(words, data, g)[0] != 0:
                    return -1
                for _ in range(UPDATES):
                    for column in range(COLUMNS):
                        row[column] = update * COLUMNS + column
                    write_forming(words, n_slots - 1, update // UPDATES, row)
                    update += 1
                if g % EVERY == EVERY - 1:
                    slot = (g // EVERY) % n_slots
                    version = 1 if g >= 0 else 0
                    for column in range(COLUMNS):
                        row[column] = value_of(g - BACK, slot, column, n_slots, version)
                    if correct(words, data, slot, g - BACK, row, int(bar)) != 0:
                        return -1
                if g % 64 < 32:
                    for _ in range(gap):
                        pause()
                g += 1
            return max(g, 0) - first

        @jit
        def read_slots(words: Any, data: Any, window: int, until_ns: int, out: Any) -> None:
            """Read the last `window` bars of the slots by turns, in place."""
            n_slots, cap = data.shape[0], data.shape[2] // 2
            seen = np.zeros(n_slots, np.int64)
            i = 0
            while i % 64 or clock_ns() < until_ns:
                slot = i % n_slots
                i += 1
                count, corrections = slot_begin(words, slot)
                if count < cap:
                    continue
                oldest = count - window
                start = cap + (count - 1) % cap + 1 - window
                wrong = False
                for k in range(window - 1, -1, -1):  # the oldest last: it is overwritten first
                    wrong |= is_wrong(data, slot, start + k, oldest + k, corrections)
                if slot_valid(words, slot, oldest, cap, corrections):
                    out[0] += 1
                    out[2] += wrong
                    out[3] += count < seen[slot]
                    seen[slot] = count
                else:
                    out[1] += 1

        @jit
        def read_panels(words: Any, data: Any, window: int, until_ns: int, out: Any) -> None:
            """Read the last `window` complete bars of all slots, in place."""
            n_slots, cap = data.shape[0], data.shape[2] // 2
            seen = 0
            i = 0
            while i % 64 or clock_ns() < until_ns:
                i += 1
                done, corrections = panel_begin(words)
                if done < cap:
                    continue
                oldest = done - window
                start = cap + (done - 1) % cap + 1 - window
                wrong = False
                for slot in range(n_slots):
                    for k in range(window - 1, -1, -1):
                        wrong |= is_wrong(data, slot, start + k, oldest + k, corrections)
                if panel_valid(words, oldest, cap, corrections):
                    out[0] += 1
                    out[2] += wrong
                    out[3] += done < seen
                    seen = done
                else:
                    out[1] += 1

        @jit
        def read_forming_bars(words: Any, data: Any, window: int, until_ns: int, out: Any) -> None:
            """Copy the forming bar of the last slot; `window` is not used."""
            row = np.empty(COLUMNS)
            last = 0
            i = 0
            while i % 64 or clock_ns() < until_ns:
                i += 1
                g = read_forming(words, data.shape[0] - 1, row, 1)
                if g == -2:
                    out[1] += 1
                elif g >= 0:
                    update = int(row[0]) // COLUMNS
                    wrong = g != update // UPDATES
                    for column in range(COLUMNS):
                        wrong |= row[column] != update * COLUMNS + column
                    out[0] += 1
                    out[2] += wrong
                    out[3] += update < last
                    last = update

        self._write = write
        self._readers = {"slots": read_slots, "panels": read_panels, "forming": read_forming_bars}
        self.clock = clock_ns

    def write(self, arena: Arena, seconds: float, n_max: int = 1 << 60, gap: int = 0) -> int:
        """Append for so long or so many bars; how many. RuntimeError if a call was refused."""
        import time

        until = time.clock_gettime_ns(time.CLOCK_MONOTONIC) + int(seconds * 1e9)
        n = int(self._write(arena.words, arena.data, until, n_max, gap))
        if n < 0:
            raise RuntimeError("the ring refused the writer")
        return n

    def read(self, what: str, arena: Arena, window: int, seconds: float) -> Counts:
        """Read "slots", "panels" or "forming" for so long."""
        import time

        until = time.clock_gettime_ns(time.CLOCK_MONOTONIC) + int(seconds * 1e9)
        out = np.zeros(4, np.int64)
        words, data = arena.words.view(), arena.data.view()
        words.flags.writeable = data.flags.writeable = False
        self._readers[what](words, data, window, until, out)
        return Counts(*out.tolist())

    def compile(self, arena: Arena, *what: str) -> None:
        """Compile before the clock runs: the writer on no bars at all, the readers on no time at all."""
        self.write(arena, 0.0, n_max=0)
        for name in what:
            self.read(name, arena, 1, 0.0)


# ---- a writer in a process of its own ------------------------------------------------------------------


def _writer_main(connection: Any, build: Any, n_slots: int, cap: int) -> None:
    """Serves (path, seconds, gap, pauses): writes into the arena, answers with the number of bars."""
    plain, stepped = Loops(Real()), Loops(build)
    scratch = new_arena(n_slots, cap)
    plain.compile(scratch)
    stepped.compile(scratch)
    connection.send("ready")
    while (job := connection.recv()) is not None:
        path, seconds, gap, pauses = job
        arena = _split(_map(path, writable=True), n_slots, cap)
        build.module("atomics").STEP[1] = pauses
        loops = stepped if pauses else plain
        connection.send(loops.write(arena, seconds, gap=gap))


class WriterProcess:
    """A spawned process that writes arenas on demand: `start`, read meanwhile, `finish`."""

    def __init__(self, build: Any, n_slots: int, cap: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_writer_main, args=(theirs, build, n_slots, cap))
        self._process.start()
        theirs.close()

    def wait_ready(self) -> None:
        assert self._connection.poll(120), "the writer process did not start"
        assert self._connection.recv() == "ready"

    def start(self, path: Path, seconds: float, gap: int = 0, pauses: int = 0) -> None:
        self._connection.send((path, seconds, gap, pauses))

    def finish(self) -> int:
        """Bars written. EOFError if the process died."""
        assert self._connection.poll(120), "the writer process does not answer"
        return int(self._connection.recv())

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._connection.send(None)
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
