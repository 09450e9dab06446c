"""Deliberate bugs in the ring, each run where it must be caught: an oracle that lets one pass is blind.

Each mutant is the package's own source with one piece of text changed (mutants.py asserts that the piece was
found). Bugs in appends, corrections, windows and panels meet every interleaving of a reader with the writer's
stores (replay.py), so that catching them takes no luck; bugs of the forming row meet the loops of the stress
test in two threads. Bugs of order alone, which x86 hides, are caught in test_memory_model.py and
test_codegen.py; of a killed writer in test_crash.py; of wake-ups, files and locks in test_failures.py.
"""

import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.shm.mutants import TRACED, Build, Change, build, stepped
from tests.shm.replay import Judge, Trace, write_trace
from tests.shm.workers import Counts, Loops, Real, new_arena

N_SLOTS, CAP, N_BARS = 3, 16, 18  # all slots begin another lap


@dataclass(frozen=True, slots=True)
class Mutant:
    """Text changes, and the run that must see them.

    what       who reads: "slots", "panels" or "forming"
    in_reader  the bug is in the readers' functions and the writer is sound; else it is in the writer's
               function that the mutant's name begins with (append, correct, complete), and no other
    early      the script itself completes a bar before the last symbol has it
    """

    what: str
    in_reader: bool
    changes: tuple[Change, ...]
    window: int = CAP - 1
    early: bool = False


def _ring(old: str, new: str, times: int = 1) -> Change:
    return Change("ring", old, new, times)


_SLOT_RULE = "return bool(count - oldest < cap and begun == corrections)"
_PANEL_RULE = "return bool(head - oldest < cap and begun == corrections)"
_COPY = "    _copy_down(data, slot, cell)\n"
_STORE_ROW = f"    _store_upper(data, slot, cell, values, status)\n{_COPY}"
_COUNT = "    store_release(words, SLOTS + slot * SLOT_WORDS + SLOT_COUNT, g + 1)\n"
_BEGIN = "    store_release(words, CORR_BEGIN, load_relaxed(words, CORR_BEGIN) + 1)\n"
_END = "    store_release(words, CORR_END, serial + 1)\n"
_DATA_OF_REDO = (
    "    at = slot * n_columns * width + g % cap\n    for column in range(n_columns - 1):\n        value ="
)
_NO_REDO_CHECK = _ring("    if load_relaxed(words, CORR_BEGIN) == serial:\n        return\n", "")
_PANEL_WINDOW = CAP - 3

MUTANTS = {
    # the reader of one symbol
    "slot: not validated": Mutant("slots", True, (_ring(_SLOT_RULE, "return True"),)),
    "slot: <= instead of <": Mutant("slots", True, (_ring(_SLOT_RULE, _SLOT_RULE.replace("<", "<=")),)),
    "slot: cap == window, count unchanged": Mutant(
        "slots", True, (_ring(_SLOT_RULE, _SLOT_RULE.replace("<", "<=")),), window=CAP
    ),
    "slot: corrections ignored": Mutant(
        "slots",
        True,
        (_ring(_SLOT_RULE, "return bool(count - oldest < cap)"),),
    ),
    "slot: end of corrections loaded last": Mutant(
        "slots",
        True,
        (
            _ring(
                "end = load_acquire(words, CORR_END)\n    count",
                "end = load_acquire(words, CORR_BEGIN)\n    count",
            ),
            _ring(
                f"begun = load_relaxed(words, CORR_BEGIN)\n    {_SLOT_RULE}",
                f"begun = load_relaxed(words, CORR_END)\n    {_SLOT_RULE}",
            ),
        ),
    ),
    # the writer
    "append: count before the data": Mutant(
        "slots",
        False,
        (_ring(f"{_STORE_ROW}{_COUNT}", f"{_COUNT}{_STORE_ROW}"),),
    ),
    "append: no block is copied down": Mutant(
        "slots", False, (_ring(f"{_STORE_ROW}{_COUNT}", f"{_STORE_ROW}{_COUNT}".replace(_COPY, "")),)
    ),
    "append: blocks copied before their last bar": Mutant(
        "slots", False, (_ring(_COPY, _COPY.replace("cell)", "_cell(data, g + 2))")),)
    ),
    "append: blocks copied a bar late": Mutant(
        "slots", False, (_ring(_COPY, _COPY.replace("cell)", "_cell(data, g - 1))")),)
    ),
    "append: a block's first bar not copied": Mutant(
        "slots", False, (_ring("copy_eight(data, at, at + cap)", "copy_eight(data, at + 1, at + 1 + cap)"),)
    ),
    "append: a block copied up instead of down": Mutant(
        "slots", False, (_ring("copy_eight(data, at, at + cap)", "copy_eight(data, at + cap, at)"),)
    ),
    "append: no upper copy": Mutant(
        "slots",
        False,
        (
            _ring(
                "    at = slot * n_columns * width + width // 2 + cell\n",
                "    at = slot * n_columns * width + cell\n",
            ),
        ),
        window=1,
    ),
    "append: last column after the count": Mutant(
        "slots",
        False,
        (
            _ring("    store_relaxed(data, at, float(status))\n\n\n", "\n\n"),
            _ring(
                _COUNT,
                _COUNT
                + "    width = data.shape[2]\n"
                + "    at = (slot * data.shape[1] + data.shape[1] - 1) * width + g % (width // 2)\n"
                + "    store_relaxed(data, at + width // 2, float(status))\n",
            ),
        ),
        window=1,
    ),
    "correct: begin together with end": Mutant(
        "slots",
        False,
        (_NO_REDO_CHECK, _ring(_BEGIN, ""), _ring(_END, f"{_BEGIN}{_END}")),
    ),
    "correct: end before the data": Mutant(
        "slots",
        False,
        (_ring(_END, ""), _ring(_DATA_OF_REDO, f"{_END}{_DATA_OF_REDO}")),
    ),
    "correct: no upper copy": Mutant(
        "slots", False, (_ring("        store_relaxed(data, at + cap, value)\n", ""),), window=CAP - 8
    ),
    "correct: no lower copy": Mutant(
        "slots", False, (_ring("        store_relaxed(data, at, value)\n", ""),)
    ),
    # panels
    "panel: not validated": Mutant(
        "panels", True, (_ring(_PANEL_RULE, "return True"),), window=_PANEL_WINDOW
    ),
    "panel: <= instead of <": Mutant(
        "panels",
        True,
        (_ring(_PANEL_RULE, _PANEL_RULE.replace("<", "<=")),),
        window=_PANEL_WINDOW,
    ),
    "panel: validated by complete": Mutant(
        "panels",
        True,
        (_ring("head = load_relaxed(words, HEAD)", "head = load_relaxed(words, COMPLETE)"),),
        window=_PANEL_WINDOW,
    ),
    "panel: corrections ignored": Mutant(
        "panels", True, (_ring(_PANEL_RULE, "return bool(head - oldest < cap)"),), window=_PANEL_WINDOW - 4
    ),
    "panel: read up to head": Mutant(
        "panels",
        True,
        (_ring("done = load_acquire(words, COMPLETE)", "done = load_acquire(words, HEAD) + 1"),),
        window=_PANEL_WINDOW - 4,
    ),
    "append: head may go back": Mutant(
        "panels",
        False,
        (_ring("    if g > load_relaxed(words, HEAD):\n", "    if True:\n"),),
        window=_PANEL_WINDOW,
    ),
    "append: head after the data": Mutant(
        "panels",
        False,
        (
            _ring(
                f"    _raise_head(words, g)\n    fence_release()\n{_STORE_ROW}",
                f"    fence_release()\n{_STORE_ROW}    _raise_head(words, g)\n",
            ),
        ),
        window=_PANEL_WINDOW,
    ),
    "complete: before the last symbol": Mutant(
        "panels",
        False,
        (
            _ring(
                " == _ACTIVE and load_relaxed(words, at + SLOT_COUNT) <= g:",
                " == _ACTIVE and load_relaxed(words, at + SLOT_COUNT) < 0:",
            ),
        ),
        window=_PANEL_WINDOW,
        early=True,
    ),
    # forming rows
    "forming: not validated": Mutant(
        "forming", True, (_ring("if load_relaxed(words, version_at) - before < cells - 1:", "if True:"),)
    ),
    "forming: one cell too many": Mutant(
        "forming", True, (_ring(" - before < cells - 1:", " - before < cells:"),)
    ),
    "forming: version before the data": Mutant(
        "forming",
        False,
        (
            _ring("    store_release(words, version_at, version + 1)\n", ""),
            _ring(
                "    store_relaxed(words, at, g)\n",
                "    store_release(words, version_at, version + 1)\n    store_relaxed(words, at, g)\n",
            ),
        ),
    ),
    "forming: one cell": Mutant(
        "forming",
        False,
        (
            _ring("(slot * cells + version % cells) * size", "(slot * cells) * size"),
            _ring("(slot * cells + (before - 1) % cells) * size", "(slot * cells) * size"),
        ),
    ),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Build, Trace, Judge]:
    """What the unchanged source writes, and its readers."""
    kit = build(tmp_path_factory.mktemp("sound"), TRACED)
    return kit, write_trace(kit, N_SLOTS, CAP, N_BARS), Judge(Real())


IN_THREADS = [name for name, mutant in MUTANTS.items() if mutant.what == "forming"]


@pytest.mark.parametrize("name", [name for name in MUTANTS if name not in IN_THREADS])
def test_mutant_is_caught(tmp_path: Path, sound: tuple[Build, Trace, Judge], name: str) -> None:
    mutant, (kit, trace, judge) = MUTANTS[name], sound
    if mutant.in_reader:
        judge = Judge(build(tmp_path, mutant.changes))
    else:
        ring = build(tmp_path, [*TRACED, *mutant.changes]).module("ring")
        function = name.split(":")[0]
        instead = {function: getattr(ring, function)}
        trace = write_trace(kit, N_SLOTS, CAP, N_BARS, early=mutant.early, instead=instead)
    counts = judge.judge(trace, mutant.what, mutant.window)
    assert counts.bad, f"nobody noticed: {counts}"


@pytest.mark.parametrize(("what", "windows"), [("slots", (1, 8, CAP - 1)), ("panels", (1, 8, CAP - 3))])
def test_every_interleaving_of_the_sound_one(
    sound: tuple[Build, Trace, Judge], what: str, windows: tuple[int, ...]
) -> None:
    """The exhaustive run on the unchanged source: never wrong, often accepted, often refused."""
    for window in windows:
        counts = sound[2].judge(sound[1], what, window)
        print(f"\n{what}, window {window}: {len(sound[1].at)} stores, {counts}")
        assert counts.bad == 0
        assert counts.accepted > 10_000
        assert counts.refused > 10_000


def _rounds(writer: Loops, reader: Loops, n: int) -> Counts:
    """Up to n rounds of forming rows written in one thread and read in another, until one is wrong."""
    counts = Counts(0, 0, 0, 0)
    for i in range(n):
        arena = new_arena(N_SLOTS, CAP)
        options = {"gap": (0, 20, 200)[i % 3]}
        thread = threading.Thread(target=writer.write, args=(arena, 0.15), kwargs=options)
        thread.start()
        counts += reader.read("forming", arena, 1, 0.15)
        thread.join()
        if counts.bad:
            break
    return counts


@pytest.mark.parametrize("name", IN_THREADS)
def test_forming_mutant_is_caught(tmp_path: Path, name: str) -> None:
    kit = stepped(tmp_path, MUTANTS[name].changes)
    kit.module("atomics").STEP[1] = 0 if MUTANTS[name].in_reader else 5
    loops = Loops(kit, only="forming")
    loops.compile(new_arena(N_SLOTS, CAP), "forming")
    counts = _rounds(loops, loops, n=100)
    assert counts.bad, f"nobody noticed: {counts}"


def test_forming_rows_of_the_sound_one(tmp_path: Path) -> None:
    kit = stepped(tmp_path)
    loops = Loops(kit, only="forming")
    loops.compile(new_arena(N_SLOTS, CAP), "forming")
    for pauses in (0, 5):
        kit.module("atomics").STEP[1] = pauses
        counts = _rounds(loops, loops, n=3)
        assert counts.bad == 0, counts
        assert counts.accepted > 1000, counts
