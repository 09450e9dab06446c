"""What the compiler made of the protocols, on both architectures: orders that x86 cannot be seen to break.

The optimised IR, and the assembly for x86-64 and aarch64, are followed along every path by an automaton
that knows one protocol (cases 2 and 3 of the list in test_failures.py). Each deliberate bug below must be
refused by the automaton in at least the IR and the aarch64 code.
"""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from shm import layout
from tests.shm.codegen import TRIPLES, Flow, assembly, body, function_ir
from tests.shm.mutants import Build, Change, build

FORMS = ("ir", *TRIPLES)

SLOTS = layout.SLOTS * 8


# ---- instructions -> events -----------------------------------------------------------------------------


class Ir:
    """Names events in IR. Pointers are followed to the constant byte offset they were made with."""

    def __init__(self, lines: list[str]) -> None:
        self.offset: dict[str, int] = {}
        self.scratch = {"%retptr", "%excinfo"}
        for line in lines:
            if m := re.match(r"(%\S+) = getelementptr i8, ptr (%\S+), i64 (-?\d+)", line):
                self.offset[m[1]] = int(m[3])
            elif m := re.match(r"(%\S+) = alloca ", line):
                self.scratch.add(m[1])

    def __call__(self, line: str) -> str:
        if m := re.match(r"fence (\w+)", line):
            return f"fence {m[1]}"
        if m := re.match(r"%\S+ = load atomic \S+, ptr ([^\s,]+) (\w+)", line):
            return f"load {m[2]} {self.offset.get(m[1], 'data')}"
        if m := re.match(r"store atomic \S+ [^,]+, ptr ([^\s,]+) (\w+)", line):
            return f"store {m[2]} {self.offset.get(m[1], 'data')}"
        if m := re.match(r"store <8 x double> [^,]+, ptr ([^\s,]+), align 8", line):
            return f"store eight {self.offset.get(m[1], 'data')}"
        if m := re.match(r"store [^,]+, ptr ([^\s,]+)", line):
            return "" if m[1] in self.scratch or line.startswith("store ptr null") else "plain store"
        if "atomicrmw" in line:
            return "rmw"
        return ""


def _arm(line: str) -> str:
    opcode, _, rest = line.partition(" ")
    if opcode == "dmb":
        return {"ish": "fence release", "ishld": "fence acquire"}[rest]
    where = re.search(r"\[(\w+)(?:, #(-?\d+))?", rest)
    if not where or where[1] == "sp":
        return ""
    at = where[2] or "data"
    if opcode == "ldar":
        return f"load acquire {at}"
    if opcode == "stlr":
        return f"store release {at}"
    if opcode in ("ldr", "ldur", "ldp"):
        return f"load monotonic {at}"
    if opcode in ("str", "stur", "stp", "strb"):
        return "" if rest.startswith(("xzr", "wzr")) else f"store monotonic {at}"
    return ""


def _x86(line: str) -> str:
    if line == "membarrier":
        return "fence"
    m = re.match(r"(\w+) (.*?)(?:, )?(-?\d*)\((%\w+)[^()]*\)(.*)$", line)
    if not m or m[4] == "%rsp" or m[1].startswith(("lea", "prefetch")):
        return ""
    at = m[3] or "data"
    if m[5].startswith(","):
        return f"load {at}"
    if m[1].startswith(("cmp", "test", "push", "call", "add", "sub", "and", "or", "imul", "bt")) and m[2]:
        return f"load {at}"
    if m[1].startswith("mov") and m[2].startswith("%"):
        return f"store {at}"
    if m[1] in ("incq", "decq"):
        return f"store {at}"
    return ""


@functools.cache
def _compiled(kit: Build, module: str, function: str) -> tuple[str, str]:
    dispatcher = getattr(kit.module(module), function)
    dispatcher.compile(kit.module("compiled").SIGNATURES[function])
    return function_ir(dispatcher)


def look(kit: Build, module: str, function: str, form: str) -> tuple[Flow, Callable[[str], str]]:
    """A function's flow and the naming of its events, as IR or as the assembly of an architecture."""
    name, ir = _compiled(kit, module, function)
    lines = body(name, ir)
    if form == "ir":
        return Flow.of_ir(lines), Ir(lines)
    return Flow.of_assembly(assembly(name, ir, form)), {"x86_64": _x86, "aarch64": _arm}[form]


# ---- protocols as automata -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shape:
    """What one compiled function must look like, along every path.

    step     the automaton: (state, event, form) -> next state; a state "BAD ..." ends the path
    ends     states allowed at a return
    reached  a state that some path must end in (else the checks would pass on an empty function)
    """

    module: str
    function: str
    step: Callable[[str, str, str], str]
    ends: frozenset[str]
    reached: str

    def faults(self, kit: Build, form: str) -> set[str]:
        """What is wrong with the function in this form; empty if nothing is."""
        flow, kind = look(kit, self.module, self.function, form)
        found = flow.run(kind, lambda state, what: self.step(state, what, form), "start")
        if self.reached not in found:
            found.add(f"BAD no path ends in {self.reached!r}")
        return found - self.ends


def _fences(what: str, order: str, form: str) -> bool:
    return what.startswith("fence") and (form == "x86_64" or what == f"fence {order}")


def _releases(what: str, form: str, *words: str) -> bool:
    """A release store of one of these words. `stlr` has no offset, on x86 no store has an order."""
    kind, *_, word = what.split()
    if kind != "store":
        return False
    if form == "x86_64":
        return word in words
    return "release" in what and (word in words or form == "aarch64")


def _publishes(publish: str, first: str = "", jumps: bool = False) -> Callable[[str, str, str], str]:
    """Release fence, stores of data, release store of `publish`; the word `first` before the fence.

    With `jumps` the word may also be published with no data: a count that jumps over rows stored before.
    """

    def step(state: str, what: str, form: str) -> str:
        if what == "plain store":
            return "BAD plain store"
        if _fences(what, "release", form):
            return "fenced"
        if not what.startswith("store"):
            return state
        word = what.split()[-1]
        if first and word == first:
            return "BAD the first word after the fence" if state in ("fenced", "written") else state
        if _releases(what, form, publish):
            return (
                "published" if state == "written" or (jumps and state != "fenced") else "BAD published early"
            )
        if word == publish:
            return "BAD published without release"
        return "written" if state in ("fenced", "written") else "BAD data before the fence"

    return step


def _correction(state: str, what: str, form: str) -> str:
    """Redo record; begin (release); release fence; data; end (release)."""
    if what == "plain store":
        return "BAD plain store"
    if _fences(what, "release", form):
        return "fenced" if state == "begun" else state
    if not what.startswith("store"):
        return state
    word = what.split()[-1]
    if state in ("start", "redo"):
        if _releases(what, form, BEGIN):
            return "begun" if state == "redo" else "BAD begin before the redo record"
        return "redo" if word != END else "BAD end before begin"
    if state == "begun":
        return "BAD data before the fence"
    if _releases(what, form, END):
        return "done" if state == "written" else "BAD end before the data"
    return "written" if state in ("fenced", "written") and word != END else f"BAD store when {state}"


def _read(state: str, what: str, form: str) -> str:
    """Acquire load; loads of data; acquire fence; a load."""
    if _fences(what, "acquire", form):
        return "fenced" if state == "reading" else state
    if not what.startswith("load"):
        return state
    if what.startswith("load acquire") or (form == "x86_64" and what.endswith(f" {FORMING}")):
        return "checked" if state == "fenced" else "acquired"
    return {"acquired": "reading", "fenced": "checked"}.get(state, state)


def _begins(state: str, what: str, form: str) -> str:
    """Two acquire loads: the end of corrections first, then the count."""
    if not what.startswith("load"):
        return state
    if form != "x86_64" and "acquire" not in what:
        return "BAD load without acquire"
    word = what.split()[-1]
    if form != "aarch64" and (word == END) != (state == "start"):
        return "BAD the count is loaded before the end of corrections"
    return {"start": "end", "end": "both"}.get(state, "BAD third load")


def _checks(state: str, what: str, form: str) -> str:
    """Acquire fence; then two loads."""
    if _fences(what, "acquire", form):
        return "fenced"
    if not what.startswith("load"):
        return state
    return {"fenced": "one", "one": "both"}.get(state, "BAD load before the fence")


_COUNT = str(SLOTS + 8 * layout.SLOT_COUNT)
FORMING = str(SLOTS + 8 * layout.SLOT_FORMING)
_HEAD, BEGIN, END = (str(8 * word) for word in (layout.HEAD, layout.CORR_BEGIN, layout.CORR_END))

SHAPES = {
    "append": Shape("ring", "_append", _publishes(_COUNT, _HEAD), frozenset({"published"}), "published"),
    "append without values": Shape(
        "ring",
        "_append_nan",
        _publishes(_COUNT, _HEAD, jumps=True),
        frozenset({"published", "start"}),
        "published",
    ),
    "forming": Shape("ring", "write_forming", _publishes(FORMING), frozenset({"published"}), "published"),
    "correction": Shape("ring", "_correct", _correction, frozenset({"done", "begun"}), "done"),
    "redo": Shape(
        "ring", "finish_correction", _publishes(END), frozenset({"published", "start"}), "published"
    ),
    "read forming": Shape(
        "ring", "read_forming", _read, frozenset({"start", "acquired", "checked"}), "checked"
    ),
    "slot begin": Shape("ring", "slot_begin", _begins, frozenset({"both"}), "both"),
    "panel begin": Shape("ring", "panel_begin", _begins, frozenset({"both"}), "both"),
    "slot valid": Shape("ring", "slot_valid", _checks, frozenset({"both"}), "both"),
    "panel valid": Shape("ring", "panel_valid", _checks, frozenset({"both"}), "both"),
}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Build:
    return build(tmp_path_factory.mktemp("real"))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", SHAPES)
def test_order_survives_the_compiler(real: Build, name: str, form: str) -> None:
    assert not SHAPES[name].faults(real, form)


def test_head_is_raised_before_the_fence(real: Build) -> None:
    """The store of `head` is conditional, so its absence cannot be seen along a path: look for it."""
    for function in ("_append", "_append_nan", "complete", "load"):
        flow, kind = look(real, "ring", function, "ir")
        assert f"store monotonic {_HEAD}" in set(map(kind, flow.lines)), function


def _copies_blocks(kit: Build, function: str) -> bool:
    """Whether on some path eight cells are stored at once after others, after fence and before count."""
    flow, kind = look(kit, "ring", function, "ir")

    def step(state: str, what: str) -> str:
        if what == "fence release":
            return "fenced"
        if what == f"store release {_COUNT}":
            return "copied and published" if state == "copied" else "published"
        if what.startswith("store eight"):
            return "copied" if state in ("stored", "copied") else "BAD copied before the row"
        return "stored" if what.startswith("store") and state == "fenced" else state

    return "copied and published" in flow.run(kind, step, "start")


def test_blocks_are_copied_between_fence_and_count(real: Build, tmp_path: Path) -> None:
    """The copy is conditional, so its absence cannot be seen along a path: look for it. (That no store of
    data comes before the fence or after the count is seen above.)"""
    without = build(tmp_path, [Change("ring", "    _copy_down(data, slot, ", "    max(0, ", 2)])
    for function in ("_append", "_append_nan"):
        assert _copies_blocks(real, function), function
        assert not _copies_blocks(without, function), function


@pytest.mark.parametrize("form", ["ir", "aarch64"])
@pytest.mark.parametrize(
    ("module", "function"),
    [
        ("ring", "append_rows"), ("ring", "skip_to"), ("ring", "complete"),
        ("ports", "_append_at"), ("ports", "_feed_at"),
    ],
)  # fmt: skip
def test_blocks_are_copied_there_wherever_an_append_is_inlined(
    real: Build, module: str, function: str, form: str
) -> None:
    flow, kind = look(real, module, function, form)

    def event(line: str) -> str:
        vector = form == "aarch64" and re.match(r"(stp|str|stur) q\d+.*\[x", line)
        return "store eight" if vector else kind(line)

    def step(state: str, what: str) -> str:
        if what == "fence release":
            return "fenced"
        if what.startswith("store eight"):
            return "copied" if state in ("fenced", "copied") else "BAD eight cells stored elsewhere"
        return "published" if what.startswith("store release") else state

    assert any(event(line).startswith("store eight") for line in flow.lines)
    assert not {state for state in flow.run(event, step, "start") if state.startswith("BAD")}


def test_complete_is_a_release(real: Build) -> None:
    flow, kind = look(real, "ring", "complete", "ir")
    stores = {what for what in map(kind, flow.lines) if what.endswith(f" {8 * layout.COMPLETE}")}
    assert stores == {f"load monotonic {8 * layout.COMPLETE}", f"store release {8 * layout.COMPLETE}"}


@pytest.mark.parametrize("form", FORMS)
def test_wait_loads_inside_its_loop(real: Build, form: str) -> None:
    """Case 3: the spinning reader looks again and again, with acquire."""
    flow, kind = look(real, "wake", "await_word", form)
    loads = [i for i, line in enumerate(flow.lines) if kind(line).startswith("load")]
    looping = [i for i in loads if flow.in_loop(i)]
    assert looping
    if form != "x86_64":
        assert any("acquire" in kind(flow.lines[i]) for i in looping)


@pytest.mark.parametrize("plain", [False, True], ids=["atomic", "plain"])
def test_plain_words_do_not_survive(tmp_path: Path, plain: bool) -> None:
    """Why every word is atomic, on x86 too: plain stores are merged, plain loads lifted out of loops."""
    kit = build(tmp_path, PLAIN if plain else ())
    atomics, compiled = kit.module("atomics"), kit.module("compiled")
    signature = compiled.SIGNATURES

    @compiled.compiled("void(int64[::1])")
    def twice(words: Any) -> None:
        atomics.store_relaxed(words, 0, 1)
        atomics.store_relaxed(words, 0, 2)

    @compiled.compiled("int64(int64[::1], int64)")
    def spin(words: Any, seen: int) -> int:
        while atomics.load_relaxed(words, 0) <= seen:
            pass
        return 0

    twice.compile(signature["twice"])
    spin.compile(signature["spin"])
    name, ir = function_ir(twice)
    lines = assembly(name, ir, "x86_64")
    assert sum("$1" in line or "$2" in line for line in lines) == (1 if plain else 2)
    name, ir = function_ir(spin)
    flow = Flow.of_assembly(assembly(name, ir, "x86_64"))
    loads = [i for i, line in enumerate(flow.lines) if re.match(r"(mov|cmp)q? .*\(%r(?!sp)", line)]
    assert any(flow.in_loop(i) for i in loads) == (not plain)


# ---- deliberate bugs -------------------------------------------------------------------------------------

PLAIN = (
    Change(
        "atomics", "builder.store_atomic(args[2], pointer, ordering, 8)", "builder.store(args[2], pointer)"
    ),
    Change(
        "atomics",
        "builder.load_atomic(pointer, ordering, 8, typ=target)",
        "builder.load(pointer, typ=target)",
    ),
)
_COPY = "    _copy_down(data, slot, cell)\n"
_STORE_ROW = f"    _store_upper(data, slot, cell, values, status)\n{_COPY}"
_RAISE = "    _raise_head(words, g)\n"
_PUBLISH = "(words, SLOTS + slot * SLOT_WORDS + SLOT_COUNT, g + 1)\n"
_END = "    store_release(words, CORR_END, serial + 1)\n"
_BEGIN = "    store_release(words, CORR_BEGIN, load_relaxed(words, CORR_BEGIN) + 1)\n"
_LOAD_END = "    end = load_acquire(words, CORR_END)\n"
_LOAD_COUNT = "    count = load_acquire(words, SLOTS + slot * SLOT_WORDS + SLOT_COUNT)\n"

MUTANTS: dict[str, tuple[str, tuple[Change, ...]]] = {
    "w0: no fence at the start of append": (
        "append",
        (
            Change(
                "ring",
                f"    fence_release()\n{_STORE_ROW}    store_release",
                f"{_STORE_ROW}    store_release",
            ),
        ),
    ),
    "w2: count is not a release": (
        "append",
        (Change("ring", f"    store_release{_PUBLISH}", f"    store_relaxed{_PUBLISH}"),),
    ),
    "count before the data": (
        "append",
        (
            Change(
                "ring", f"{_STORE_ROW}    store_release{_PUBLISH}", f"    store_release{_PUBLISH}{_STORE_ROW}"
            ),
        ),
    ),
    "head raised after the fence": (
        "append",
        (
            Change(
                "ring",
                f"{_RAISE}    fence_release()\n{_STORE_ROW}",
                f"    fence_release()\n{_RAISE}{_STORE_ROW}",
            ),
        ),
    ),
    "append without values: no fence": (
        "append without values",
        (Change("ring", "        fence_release()\n        _store_nan", "        _store_nan"),),
    ),
    "block copied after the count": (
        "append",
        (Change("ring", f"{_COPY}    store_release{_PUBLISH}", f"    store_release{_PUBLISH}{_COPY}"),),
    ),
    "block copied before the fence": (
        "append",
        (Change("ring", f"    fence_release()\n{_STORE_ROW}", f"{_COPY}    fence_release()\n{_STORE_ROW}"),),
    ),
    "append without values: block copied after the count": (
        "append without values",
        (
            Change(
                "ring",
                "        _copy_down(data, slot, _cell(data, g))  # what was appended to this block before\n",
                "",
            ),
            Change(
                "ring",
                "        store_release(words, count_at, g + 1)\n    if end",
                "        store_release(words, count_at, g + 1)\n"
                "        _copy_down(data, slot, _cell(data, g))\n    if end",
            ),
        ),
    ),
    "forming: no fence": (
        "forming",
        (
            Change(
                "ring",
                "    fence_release()\n    store_relaxed(words, at, g)",
                "    store_relaxed(words, at, g)",
            ),
        ),
    ),
    "forming: version is not a release": (
        "forming",
        (
            Change(
                "ring",
                "store_release(words, version_at, version + 1)",
                "store_relaxed(words, version_at, version + 1)",
            ),
        ),
    ),
    "correction: no fence": (
        "correction",
        (Change("ring", "    cap = width // 2\n    fence_release()\n", "    cap = width // 2\n"),),
    ),
    "correction: begin after the data": (
        "correction",
        (
            Change(
                "ring",
                f"{_BEGIN}    finish_correction(words, data)\n",
                f"    finish_correction(words, data)\n{_BEGIN}",
            ),
        ),
    ),
    "correction: end is not a release": (
        "correction",
        (Change("ring", _END, _END.replace("release", "relaxed")),),
    ),
    "correction: begin before the redo record": (
        "correction",
        (
            Change("ring", _BEGIN, ""),
            Change(
                "ring",
                "    store_relaxed(words, redo, slot)\n",
                f"{_BEGIN}    store_relaxed(words, redo, slot)\n",
            ),
        ),
    ),
    "r1: slot begins without acquire": (
        "slot begin",
        (
            Change("ring", "count = load_acquire(words, SLOTS", "count = load_relaxed(words, SLOTS"),
            Change("ring", "end = load_acquire(words, CORR_END)", "end = load_relaxed(words, CORR_END)", 2),
        ),
    ),
    "r1: panel begins without acquire": (
        "panel begin",
        (Change("ring", "done = load_acquire(words, COMPLETE)", "done = load_relaxed(words, COMPLETE)"),),
    ),
    "end of corrections loaded last": (
        "slot begin",
        (Change("ring", f"{_LOAD_END}{_LOAD_COUNT}", f"{_LOAD_COUNT}{_LOAD_END}"),),
    ),
    "r3: slot checked without acquire fence": (
        "slot valid",
        (Change("ring", "    fence_acquire()\n    count = load_relaxed", "    count = load_relaxed"),),
    ),
    "r3: panel checked without acquire fence": (
        "panel valid",
        (Change("ring", "    fence_acquire()\n    head = load_relaxed", "    head = load_relaxed"),),
    ),
    "r3: forming checked without acquire fence": (
        "read forming",
        (Change("ring", "        fence_acquire()\n        if load_relaxed", "        if load_relaxed"),),
    ),
    "r1: forming read without acquire": (
        "read forming",
        (
            Change(
                "ring", "before = load_acquire(words, version_at)", "before = load_relaxed(words, version_at)"
            ),
        ),
    ),
    "plain loads and stores": ("append", PLAIN),
}

_ORDER_OF_LOADS = {"end of corrections loaded last"}  # two `ldar` without offsets look alike on aarch64


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutant_is_seen(tmp_path: Path, mutant: str) -> None:
    name, changes = MUTANTS[mutant]
    kit = build(tmp_path, changes)
    assert SHAPES[name].faults(kit, "ir"), "the IR is not looked at closely enough"
    if mutant not in _ORDER_OF_LOADS:
        assert SHAPES[name].faults(kit, "aarch64"), "the assembly is not looked at closely enough"
