"""What the compiler made of a function: its optimised IR, and its assembly for both architectures.

The IR is what Numba's passes leave on this machine; the assembly of the other architecture is emitted by
LLVM from that same IR, with triple, data layout and processor attributes taken off. Inlined helpers are in
the function; calls to libc and to runtime helpers remain as calls.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm

__all__ = ["TRIPLES", "Flow", "assembly", "body", "function_ir"]

TRIPLES = {"x86_64": "x86_64-unknown-linux-gnu", "aarch64": "aarch64-unknown-linux-gnu"}

_ready = False


def _initialize() -> None:
    global _ready
    if not _ready:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
        _ready = True


def function_ir(dispatcher: Any) -> tuple[str, str]:
    """(name, IR of the whole module) of the one compiled signature of a jitted function."""
    (signature,) = dispatcher.signatures
    name = dispatcher.overloads[signature].fndesc.mangled_name
    return name, dispatcher.inspect_llvm(signature)


def body(name: str, ir: str) -> list[str]:
    """The instructions of function `name` in the IR, one a line, labels included."""
    start = re.search(rf'^define [^\n]*@"?{re.escape(name)}"?\(', ir, flags=re.M)
    assert start, f"{name} is not defined in the IR"
    lines = ir[start.start() : ir.index("\n}", start.start())].splitlines()[1:]
    return [line.strip() for line in lines if line.strip()]


def _alone(name: str, ir: str) -> str:
    """The IR with function `name` alone: others are only declared, since they may hold what is x86's own."""

    def declare(match: re.Match[str]) -> str:
        head = match[0].split("\n", 1)[0]
        if f"@{name}(" in head or f'@"{name}"(' in head:
            return match[0]
        head = re.sub(r"\b(linkonce_odr|internal|private|linkonce|weak_odr|comdat(\([^)]*\))?) ", "", head)
        head = re.sub(r"\s*comdat(\([^)]*\))?", "", head)
        return re.sub(r"^define", "declare", head).rsplit("{", 1)[0]

    return re.sub(r"^define [^\n]*\{\n.*?^\}", declare, ir, flags=re.M | re.S)


def assembly(name: str, ir: str, architecture: str) -> list[str]:
    """The instructions of function `name`, one a line, compiled for an architecture from its IR."""
    _initialize()
    triple = TRIPLES[architecture]
    machine = llvm.Target.from_triple(triple).create_target_machine(opt=2)
    text = re.sub(r"^target (triple|datalayout) = .*$", "", _alone(name, ir), flags=re.M)
    text = re.sub(r'"(target-cpu|target-features|tune-cpu)"="[^"]*"', "", text)
    if architecture == "aarch64":  # the spin loop's breath is another instruction there
        text = re.sub(r"^.*call void @llvm\.x86\.sse2\.pause\(\).*$", "", text, flags=re.M)
        text = re.sub(r"^declare .*@llvm\.x86\..*$", "", text, flags=re.M)
    module = llvm.parse_assembly(text)
    module.triple = triple
    module.data_layout = str(machine.target_data)
    lines = machine.emit_assembly(module).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith((f"{name}:", f'"{name}":')))
    end = next(i for i, line in enumerate(lines) if i > start and re.match(r"\.Lfunc_end\d+:", line))
    found = []
    for line in lines[start + 1 : end]:
        line = re.split(r"\s*(?://|#(?!\S*\d+\]|-?\d))", line.replace("#MEMBARRIER", "membarrier"))[0].strip()
        if line and (not line.startswith(".") or line.endswith(":")):
            found.append(re.sub(r"\s+", " ", line))
    return found


@dataclass(frozen=True, slots=True)
class Flow:
    """A function's instructions and where control can go from each."""

    lines: list[str]
    successors: list[list[int]]

    @classmethod
    def of_ir(cls, lines: list[str]) -> Flow:
        labels = {m[1]: i for i, line in enumerate(lines) if (m := re.match(r'"?([^\s:"]+)"?:', line))}
        successors: list[list[int]] = []
        for i, line in enumerate(lines):
            if line.startswith(("ret ", "ret\n", "unreachable")) or line == "ret void":
                successors.append([])
            elif line.startswith(("br ", "switch ")):
                successors.append([labels[t] for t in re.findall(r'label %"?([^\s,"\]]+)"?', line)])
            elif re.match(r"(i\d+ -?\d+, label %|\])", line):  # the cases of a switch, one a line
                targets = [labels[t] for t in re.findall(r'label %"?([^\s,"\]]+)"?', line)]
                successors.append([*targets, i + 1])
                successors[i - 1].append(i)
            else:
                successors.append([i + 1])
        return cls(lines, successors)

    @classmethod
    def of_assembly(cls, lines: list[str]) -> Flow:
        labels = {line[:-1]: i for i, line in enumerate(lines) if line.endswith(":")}
        successors: list[list[int]] = []
        for i, line in enumerate(lines):
            opcode = line.split(" ", 1)[0]
            targets = [labels[t] for t in re.findall(r"\.LBB[\w]+", line) if t in labels]
            if opcode in ("ret", "retq", "ud2", "brk"):
                successors.append([])
            elif opcode in ("jmp", "b") and targets:
                successors.append(targets)
            elif opcode.startswith(("j", "b.", "cb", "tb")) and targets:
                successors.append([*targets, i + 1])
            else:
                assert opcode not in ("br", "jmpq"), f"a computed jump cannot be followed: {line}"
                successors.append([i + 1])
        return cls(lines, successors)

    def run(self, kind: Callable[[str], str], step: Callable[[str, str], str], start: str) -> set[str]:
        """Every state in which an automaton can be at a return, over all paths through the function.

        `kind` names what an instruction is ("" for nothing of interest), `step` gives the next state; a
        state that begins with "BAD" is reported at once and followed no further.
        """
        todo, seen, ends = [(0, start)], {(0, start)}, set()
        while todo:
            i, state = todo.pop()
            what = kind(self.lines[i])
            if what:
                state = step(state, what)
                if state.startswith("BAD"):
                    ends.add(f"{state}: {self.lines[i]}")
                    continue
            if not self.successors[i]:
                ends.add(state)
            for j in self.successors[i]:
                if (j, state) not in seen:
                    seen.add((j, state))
                    todo.append((j, state))
        return ends

    def in_loop(self, i: int) -> bool:
        """Can instruction i be executed again after itself?"""
        todo, seen = list(self.successors[i]), set(self.successors[i])
        while todo:
            j = todo.pop()
            if j == i:
                return True
            for k in self.successors[j]:
                if k not in seen:
                    seen.add(k)
                    todo.append(k)
        return False
