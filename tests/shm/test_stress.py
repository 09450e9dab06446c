"""Two processes on one ring, as fast as they can: no accepted read may ever be wrong (cases 1, 17 and 19).

A writer process appends to three symbols, one of them two bars ahead of the others, corrects bars inside the
readers' windows, fills late ones, completes bars and writes forming rows. This process reads whole windows,
panels or forming rows in place, on a read-only map, and knows exactly what each accepted one must hold. Runs
with a writer at full speed and with one that pauses before every store. What each run could have seen (its
power) is printed, and a run without enough accepted and refused reads fails. That the oracle has eyes is
shown in test_mutants.py.
"""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shm.mutants import stepped
from tests.shm.workers import Counts, Loops, Real, WriterProcess, map_arena, new_arena

N_SLOTS, CAP = 3, 16
WINDOWS = {"slots": CAP - 1, "panels": CAP - 3, "forming": 1}
FLOORS = {  # accepted, refused
    "slots": (20_000, 100),
    "panels": (5_000, 100),
    "forming": (20_000, 1),
}


@pytest.fixture(scope="module")
def readers() -> Loops:
    return Loops(Real())


@pytest.fixture(scope="module")
def writer(readers: Loops, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WriterProcess]:
    process = WriterProcess(stepped(tmp_path_factory.mktemp("stepped")), N_SLOTS, CAP)
    try:
        readers.compile(new_arena(N_SLOTS, CAP), *WINDOWS)  # at the same time as the writer's
        process.wait_ready()
        yield process
    finally:
        process.close()


@pytest.fixture
def arena_path() -> Iterator[Path]:
    path = Path("/dev/shm") / f"bmac-test-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _round(
    readers: Loops, writer: WriterProcess, path: Path, what: str, seconds: float, gap: int, pauses: int
) -> tuple[Counts, int]:
    writer.start(path, seconds, gap, pauses)
    counts = readers.read(what, map_arena(path, N_SLOTS, CAP), WINDOWS[what], seconds)
    return counts, writer.finish()


def _stress(
    readers: Loops, writer: WriterProcess, path: Path, what: str, pauses: int, seconds: float, appends: int
) -> None:
    """Rounds until the floors are reached, at most 40 of them; every round counts."""
    new_arena(N_SLOTS, CAP, path)
    counts, written = Counts(0, 0, 0, 0), 0
    accepted, refused = FLOORS[what]
    for i in range(40):
        more, bars = _round(readers, writer, path, what, seconds, gap=(0, 20, 200)[i % 3], pauses=pauses)
        counts, written = counts + more, written + bars * N_SLOTS
        if counts.accepted >= accepted and counts.refused >= refused and i >= 1 and written >= appends:
            break
    print(f"\n{what}, {pauses} pauses before a store: {written:,} appends, {counts}")
    assert counts.torn == 0
    assert counts.stale == 0
    assert counts.accepted >= accepted, "no power: nothing was accepted"
    assert counts.refused >= refused, "no power: nothing was refused"
    assert written >= appends


@pytest.mark.parametrize("pauses", [0, 5])
@pytest.mark.parametrize("what", WINDOWS)
def test_no_accepted_read_is_wrong(
    readers: Loops, writer: WriterProcess, arena_path: Path, what: str, pauses: int
) -> None:
    _stress(readers, writer, arena_path, what, pauses, seconds=0.25, appends=10_000)


@pytest.mark.stress
@pytest.mark.parametrize("pauses", [0, 5, 50])
@pytest.mark.parametrize("what", WINDOWS)
def test_no_accepted_read_is_wrong_long(
    readers: Loops, writer: WriterProcess, arena_path: Path, what: str, pauses: int
) -> None:
    """10^8 appends at full speed; half a minute where every store is slowed down."""
    appends = 1_000_000 if pauses else 100_000_000
    _stress(readers, writer, arena_path, what, pauses, seconds=10.0, appends=appends)
