"""A writer killed at every single store, and at random: nothing lost, twice or torn (cases 5, 6).

Every store: a traced build of the package (mutants.py) writes down the atomic stores of a piece of writing.
The file as kill -9 would leave it after the k-th store is then made for every k, and a real reader and a real
restarting writer must make sense of it. At random: processes are killed with SIGKILL while they write, and
started again, under a reader that stays attached.
"""

import contextlib
import functools
import multiprocessing
import os
import random
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shm import Lagging, Status, StoreReader, StoreWriter, Token, WriterDead, WriterStalled
from shm.layout import CORR_BEGIN, CORR_END, first_cell
from tests.shm.mutants import LOG, TRACED, Build, Change, build

DIRECTORY = Path("/dev/shm")
COLUMNS = ("a", "b", "c")
N_BARS = 43  # complete before the job; the ring holds 16: three cells of a block are filled
HELD = 15

Oracle = dict[tuple[int, int], int]
"""(slot, g) -> version of a bar, -1: PENDING."""


def spec_of(package: Any) -> Any:
    return package.Spec(
        columns=COLUMNS, window=8, slack=8, max_symbols=4, interval_ms=1000, source="test", forming_cells=3
    )


def row(slot: int, g: int, version: int = 0) -> Any:
    if version < 0:
        return np.full(len(COLUMNS), np.nan)
    return np.array([(g * 4 + slot) * 8 + column + version / 2 for column in range(len(COLUMNS))])


@pytest.fixture
def name() -> Iterator[str]:
    name = f"crash-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    try:
        yield name
    finally:
        for path in DIRECTORY.glob(f"bmac.{name}*"):
            path.unlink()


def make_store(writer: Any, n_bars: int) -> None:
    """Two symbols, bars 0 ... n_bars - 1 complete; a third that is still being loaded."""
    for slot, symbol in enumerate(("X", "Y")):
        assert writer.add_symbol(symbol, 0) == slot
        writer.load(slot, 0, row(slot, 0)[None], np.array([Status.BAR], np.uint8))
        writer.activate(slot)
    writer.complete(0)
    for g in range(1, n_bars):
        for slot in range(2):
            writer.append(slot, g, row(slot, g))
        writer.complete(g)


# ---- what is being done when the writer is killed ----------------------------------------------------------


def _append(writer: Any, g: int) -> None:
    writer.append(0, g, row(0, g))


def _append_and_complete(writer: Any, g: int) -> None:
    for slot in range(2):
        writer.append(slot, g, row(slot, g))
    writer.complete(g)


def _append_past_the_end(writer: Any, g: int) -> None:
    """Past the end of the block, which is that of the ring: its lower cells, then the next lap."""
    for bar in range(g, g + 7):
        writer.append(0, bar, row(0, bar))


def _correct(writer: Any, g: int) -> None:
    writer.correct(0, g - 3, row(0, g - 3, version=1))


def _correct_twice(writer: Any, g: int) -> None:
    rows = np.stack([row(0, g - 3, version=1), row(0, g - 2, version=1)])
    writer.correct_rows(0, g - 3, rows, np.full(2, Status.BAR, np.uint8))


def _skip(writer: Any, g: int) -> None:
    writer.skip_to(0, g + 30)


def _forming(writer: Any, g: int) -> None:
    for _ in range(4):
        writer.write_forming(0, g, row(0, g))


JOBS: dict[str, Callable[[Any, int], None]] = {
    "append": _append,
    "append and complete": _append_and_complete,
    "append past the end": _append_past_the_end,
    "correct": _correct,
    "correct twice": _correct_twice,
    "skip": _skip,
    "forming": _forming,
}


def crashes(kit: Build, job: str, name: str) -> Iterator[tuple[int, bytes]]:
    """(k, the file as it is when the writer died before its k+1-th store), for every k of the job."""
    package, log = kit.module(""), LOG
    first = f"{name}-traced"
    with package.StoreWriter.open(first, spec_of(package), directory=DIRECTORY) as writer:
        make_store(writer, N_BARS)
        image = bytearray((DIRECTORY / f"bmac.{first}").read_bytes())
        log[0, 0] = 0
        JOBS[job](writer, N_BARS)
        n = int(log[0, 0])
        base = writer._words.ctypes.data
        at, bits = log[1 : n + 1, 0] - base, log[1 : n + 1, 1].copy()
    inside = (at >= 0) & (at < len(image))  # the bell's own words are elsewhere
    assert inside.any()
    yield 0, bytes(image)
    for k, (offset, value) in enumerate(zip(at[inside].tolist(), bits[inside], strict=True), 1):
        image[offset : offset + 8] = value.tobytes()
        yield k, bytes(image)


def faults(job: str, name: str, image: bytes, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is wrong with a crashed file, for a reader that stays on it and a writer that takes it over."""
    import shm.reader

    monkeypatch.setattr(shm.reader, "_STUCK_S", 0.0)  # it asks for the lock at once
    wrong: list[str] = []
    path = DIRECTORY / f"bmac.{name}"
    path.write_bytes(image)
    path.chmod(0o600)
    inode = path.stat().st_ino
    g = N_BARS

    def check(what: str, slot: int, newest: int, rows: Any, versions: Oracle) -> None:
        for k in range(rows.shape[1]):
            bar = newest - rows.shape[1] + 1 + k
            version = versions.get((slot, bar), 0)
            status = Status.BAR if version >= 0 else Status.PENDING
            if (
                not np.array_equal(rows[:-1, k], row(slot, bar, version), equal_nan=True)
                or rows[-1, k] != status
            ):
                wrong.append(f"{what}: slot {slot}, bar {bar} (version {version}): {rows[:, k]}")

    with StoreReader.attach(name, directory=DIRECTORY) as reader:
        begun, ended = int(reader.words[CORR_BEGIN]), int(reader.words[CORR_END])
        before = reader.generation

        def oracle(corrected: int) -> Oracle:
            """Versions when so many corrections are done and the slots' counts are what they are."""
            known: Oracle = {(0, g - 3 + k): 1 for k in range(corrected)}
            if job == "skip":
                known |= {(0, bar): -1 for bar in range(g, g + 31)}
            return known

        #   the reader, with nobody writing
        for slot in range(2):
            try:
                newest, rows = reader.read_at(
                    slot, lambda t: (t.g_end - 1, reader.rows(t.slot, HELD, t.g_end).copy()), HELD
                )
            except WriterDead:
                if begun == ended:
                    wrong.append("a reader was told of a half-done correction when there was none")
            else:
                check("dead writer", slot, newest, rows, oracle(ended))
                if begun != ended:
                    wrong.append("a reader accepted a window during a half-done correction")
        if job == "forming" and (found := reader.read_forming(0)) is not None:
            wrong += [] if found[0] == g and (found[1] == row(0, g)).all() else [f"forming: {found}"]

        #   the next writer
        with StoreWriter.open(name, spec_of(__import__("shm")), directory=DIRECTORY) as writer:
            if writer.created or path.stat().st_ino != inode or writer.generation != before + 1:
                wrong.append("the file was not taken over as it is")
            if int(reader.words[CORR_END]) != begun or int(reader.words[CORR_BEGIN]) != begun:
                wrong.append(f"correction {begun} was not completed")
            entries, _ = reader.corrections(0)
            if entries != [(k, 0, g - 3 + k, int(Status.BAR), int(Status.BAR)) for k in range(begun)]:
                wrong.append(f"journal: {entries}")
            versions = oracle(begun)
            for slot in range(2):
                count = writer.count(slot)
                most = {"skip": 30, "append past the end": 7}.get(job, 1) if slot == 0 else 1
                if not g <= count <= g + most:
                    wrong.append(f"slot {slot} has count {count}")
                values, status = writer.read(slot, count - HELD, HELD)
                check("restarted", slot, count - 1, np.vstack([values.T, status[None]]), versions)
            #   and it goes on for a lap of the ring: no bar twice, none left out, none forgotten below
            end = max(g, *(writer.count(slot) - 1 for slot in range(2))) + HELD + 2
            for bar in range(min(writer.count(0), writer.count(1)), end + 1):
                for slot in range(2):
                    if writer.count(slot) == bar:
                        writer.append(slot, bar, row(slot, bar, versions.get((slot, bar), 0) and 0))
                        versions.pop((slot, bar), None)
                if bar > writer.complete_g:
                    writer.complete(bar)
                for slot in range(2):
                    newest = reader.count(slot) - 1
                    check("going on", slot, newest, reader.read(slot, np.copy, HELD), versions)
            if reader.complete_g != end:
                wrong.append(f"complete is {reader.complete_g}, expected {end}")
    return wrong


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Build:
    return build(tmp_path_factory.mktemp("traced"), TRACED)


@pytest.mark.parametrize("job", JOBS)
def test_killed_at_every_store(traced: Build, name: str, job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    n = 0
    for k, image in crashes(traced, job, name):
        assert not faults(job, name, image, monkeypatch), f"{job}, after store {k}"
        n = k
    print(f"\n{job}: killed after each of {n} stores")
    assert n >= {"append": 6, "append and complete": 12, "append past the end": 60, "skip": 100}.get(job, 15)


_COPY = "    _copy_down(data, slot, cell)\n"
_STORE_ROW = f"    _store_upper(data, slot, cell, values, status)\n{_COPY}"
_COUNT = "    store_release(words, SLOTS + slot * SLOT_WORDS + SLOT_COUNT, g + 1)\n"
_BEGIN = "    store_release(words, CORR_BEGIN, load_relaxed(words, CORR_BEGIN) + 1)\n"
_END = "    store_release(words, CORR_END, serial + 1)\n"
_REDO = "    store_relaxed(words, redo, slot)\n"
MUTANTS: dict[str, tuple[str, tuple[Change, ...]]] = {
    "count before the data": (
        "append",
        (Change("ring", f"{_STORE_ROW}{_COUNT}", f"{_COUNT}{_STORE_ROW}"),),
    ),
    "block copied after the count, and not again": (
        "append past the end",
        (Change("ring", f"{_COPY}{_COUNT}", f"{_COUNT}{_COPY}"),),
    ),
    "begin before the redo record": (
        "correct twice",
        (Change("ring", _BEGIN, ""), Change("ring", _REDO, _BEGIN + _REDO)),
    ),
    "end before the journal": (
        "correct",
        (
            Change("ring", _END, ""),
            Change(
                "ring",
                "    entry = JOURNAL + (serial % JOURNAL_ENTRIES)",
                f"{_END}    entry = JOURNAL + (serial % JOURNAL_ENTRIES)",
            ),
        ),
    ),
    "complete before the rows of the bar": (
        "skip",
        (
            Change(
                "ring",
                "    n = load_relaxed(words, count_at)\n",
                "    n = load_relaxed(words, count_at)\n    store_release(words, count_at, end)\n",
            ),
        ),
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutant_is_caught(
    traced: Build, tmp_path: Path, name: str, mutant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, changes = MUTANTS[mutant]
    module, function = {
        "append": ("ports", "append_at"),  # what StoreWriter.append calls
        "append past the end": ("ports", "append_at"),
        "correct": ("ring", "correct"),
        "correct twice": ("ring", "correct_rows"),
        "skip": ("ring", "skip_to"),
    }[job]
    mutated = build(tmp_path, [*TRACED, *changes]).module(module)
    monkeypatch.setattr(traced.module(module), function, getattr(mutated, function))  # the rest is compiled
    assert any(faults(job, name, image, monkeypatch) for _, image in crashes(traced, job, name))


def test_restart_without_redo_is_caught(traced: Build, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that takes a file over and forgets the half-done correction."""
    monkeypatch.setattr("shm.ring.finish_correction", lambda words, data: None)

    def blocked(image: bytes) -> bool:
        try:
            return bool(faults("correct", name, image, monkeypatch))
        except WriterStalled:  # readers of the new writer still wait for the old one's correction
            return True

    assert any(blocked(image) for _, image in crashes(traced, "correct", name))


# ---- at random ---------------------------------------------------------------------------------------------


def _write_for_ever(name: str, connection: Any) -> None:
    """Append, correct and complete as fast as possible until killed; a bar's version tells how often it was
    corrected: bars that 5 divides once, of slot 0."""
    with StoreWriter.open(name, spec_of(__import__("shm")), directory=DIRECTORY) as writer:
        if writer.complete_g < 0 and not writer.symbols:
            make_store(writer, 20)
        connection.send((writer.generation, writer.complete_g))
        g = min(writer.count(0), writer.count(1))
        while True:
            for slot in range(2):
                if writer.count(slot) == g:
                    writer.append(slot, g, row(slot, g))
            if g > writer.complete_g:
                writer.complete(g)
            if g % 5 == 0:
                writer.correct(0, g - 2, row(0, g - 2, version=1))
            g += 1


@pytest.mark.slow
def test_random_kills_with_a_reader_attached(name: str, n_kills: int = 3) -> None:
    context = multiprocessing.get_context("spawn")
    rng = random.Random(7)
    reader: StoreReader | None = None
    accepted = refused = 0
    newest = -1
    inode = None
    unmade: set[int] = set()  # a writer killed right before its correction of this bar never made it

    def look(reader: StoreReader, token: Token) -> tuple[int, Any]:
        at = first_cell(token.g_end, 8, reader.cap)
        return token.g_end, reader.data[token.slot, :, at : at + 8].copy()

    def torn(rows: Any, slot: int, g_end: int) -> bool:
        """Every bar exactly once and whole; a bar may be corrected or not, near the end, but not half."""
        for k in range(rows.shape[1]):
            bar = g_end - rows.shape[1] + k
            maybe = slot == 0 and bar % 5 == 3
            either = maybe and (bar >= g_end - 4 or bar in unmade)
            versions = (0, 1) if either else ((1,) if maybe and bar > 20 else (0,))
            if not any((rows[:-1, k] == row(slot, bar, v)).all() for v in versions):
                return True
        return False

    for kill in range(n_kills):
        ours, theirs = context.Pipe()
        process = context.Process(target=_write_for_ever, args=(name, theirs))
        process.start()
        try:
            assert ours.poll(60), "the writer did not start"
            generation, done = ours.recv()
            unmade |= {done - 2, done - 1}
            if reader is None:
                reader = StoreReader.attach(name, directory=DIRECTORY, timeout_s=5)
                inode = (DIRECTORY / f"bmac.{name}").stat().st_ino
            assert generation == kill + 1 == reader.generation
            assert (DIRECTORY / f"bmac.{name}").stat().st_ino == inode
            until = time.monotonic() + rng.uniform(0.05, 0.3)
            while time.monotonic() < until:
                slot = rng.randrange(2)
                try:
                    g_end, rows = reader.read_at(slot, functools.partial(look, reader), 8)
                except Lagging:
                    refused += 1
                    continue
                accepted += 1
                assert not torn(rows, slot, g_end), (slot, g_end, rows)
        finally:
            os.kill(process.pid or 0, signal.SIGKILL)
            process.join()
        with contextlib.suppress(WriterDead, Lagging):
            reader.read(0, np.copy, 8)
        assert not reader.writer_alive
        assert reader.complete_g >= newest
        newest = reader.complete_g
    assert reader is not None
    print(f"\n{n_kills} kills, {newest} bars, accepted {accepted}, refused {refused}")
    assert accepted > 100
    assert newest > 100
    reader.close()


@pytest.mark.stress
def test_random_kills_long(name: str) -> None:
    test_random_kills_with_a_reader_attached(name, n_kills=60)
