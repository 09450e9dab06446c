"""Copies of the package `shm` with its text changed: deliberate bugs, and hooks at every store.

`build` copies the sources into a folder of its own under a package name of its own, applies substitutions
(each must be found, so that a mutant cannot quietly become the original), and makes compilation lazy and
uncached, so that only what a test runs is compiled. A build can be imported here, next to the real one, or
in a child process.

The one store that is not atomic, of eight cells at once, is eight stores in the builds that follow: nothing
depends on their order. A *stepped* build calls a hook before every store. The hook reads two words of this
process: `STEP[0]` counts down and at zero ends the process as kill -9 would, at exactly that store;
`STEP[1]` spins so many pauses, which widens the moment in which a half-written row can be seen. A *traced*
build writes every store down, so that replay.py can stop between any two of them.
"""

from __future__ import annotations

import importlib
import itertools
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

__all__ = ["LAZY", "LOG", "STEPPED", "TRACED", "Build", "Change", "build", "shm_folder", "stepped"]

_numbers = itertools.count()

LOG = np.zeros((1 << 16, 2), np.int64)
"""What the traced builds of this process stored: LOG[0, 0] counts, LOG[1:] holds (address, bits)."""


@dataclass(frozen=True, slots=True)
class Change:
    """In `module`.py replace `old` by `new`, `times` times in all (0: every time it is found)."""

    module: str
    old: str
    new: str
    times: int = 1

    def apply(self, source: str) -> str:
        found = source.count(self.old)
        wanted = self.times or max(found, 1)
        assert found == wanted, f"{self.module}.py: {self.old!r} found {found} times, expected {wanted}"
        return source.replace(self.old, self.new)


def _cell_by_cell(hook: str) -> Change:
    """Eight cells are stored one by one, with `hook` before each."""
    return Change(
        "atomics",
        "        eight = ir.VectorType(_F64, 8).as_pointer()\n"
        "        to, source = (_element(context, builder, sig.args[0], args[0], i) for i in args[1:])\n"
        "        cells = builder.load(builder.bitcast(source, eight), align=8, typ=eight.pointee)\n"
        "        builder.store(cells, builder.bitcast(to, eight), align=8)\n",
        "        to, source = (_element(context, builder, sig.args[0], args[0], i) for i in args[1:])\n"
        "        for k in range(8):\n"
        "            cell, below = (builder.gep(end, [ir.Constant(_I64, k)]) for end in (source, to))\n"
        "            value = builder.load(cell, typ=_F64)\n"
        f"            {hook}\n"
        "            builder.store(value, below)\n",
    )


LAZY = (
    Change(
        "compiled",
        "        with _cache() as cached:\n",
        "        with contextlib.nullcontext():\n            SIGNATURES[function.__name__] = signature\n",
    ),
    Change("compiled", "njit(signature, cache=cached, ", "njit("),
    Change("compiled", "\n\ndef _source_hash", "\nSIGNATURES: dict[str, Any] = {}\n\n\ndef _source_hash"),
)
"""Compile at the first call, for whatever types come, without a cache; remember the signatures."""

STEPPED = (
    Change(
        "atomics",
        "            builder.store_atomic(",
        "            _step(builder)\n            builder.store_atomic(",
    ),
    Change(
        "atomics",
        "\n\ndef _loader(",
        """

import numpy as _np

STEP = _np.array([-1, 0], dtype=_np.int64)


def _step(builder: Any) -> None:
    from numba.core import cgutils

    def word(i: int) -> Any:
        return builder.inttoptr(ir.Constant(_I64, STEP.ctypes.data + 8 * i), _I64.as_pointer())

    left = builder.sub(builder.load(word(0), typ=_I64), ir.Constant(_I64, 1))
    builder.store(left, word(0))
    with builder.if_then(builder.icmp_signed("==", left, ir.Constant(_I64, 0)), likely=False):
        builder.call(_libc(builder, "_exit", ir.VoidType(), [_I32]), [ir.Constant(_I32, 99)])
    with cgutils.for_range(builder, builder.load(word(1), typ=_I64)):
        if _IS_X86:
            builder.call(_libc(builder, "llvm.x86.sse2.pause", ir.VoidType(), []), [])
        else:
            builder.fence("seq_cst")


def _loader(""",
    ),
    _cell_by_cell("_step(builder)"),
)
"""The hook before every store."""

TRACED = (
    Change(
        "atomics",
        "            builder.store_atomic(",
        "            _log(builder, pointer, args[2])\n            builder.store_atomic(",
    ),
    Change(
        "atomics",
        "\n\ndef _loader(",
        """

from tests.shm.mutants import LOG


def _log(builder: Any, pointer: Any, value: Any) -> None:
    def word(i: Any) -> Any:
        base = ir.Constant(_I64, LOG.ctypes.data)
        return builder.inttoptr(builder.add(base, builder.mul(i, ir.Constant(_I64, 8))), _I64.as_pointer())

    n = builder.load(word(ir.Constant(_I64, 0)), typ=_I64)
    at = builder.add(builder.mul(n, ir.Constant(_I64, 2)), ir.Constant(_I64, 2))
    builder.store(builder.ptrtoint(pointer, _I64), word(at))
    bits = value if value.type == _I64 else builder.bitcast(value, _I64)
    builder.store(bits, word(builder.add(at, ir.Constant(_I64, 1))))
    builder.store(builder.add(n, ir.Constant(_I64, 1)), word(ir.Constant(_I64, 0)))


def _loader(""",
    ),
    _cell_by_cell("_log(builder, below, value)"),
)
"""Every store is written down in LOG."""


def shm_folder() -> Path:
    """Where the real package lies."""
    import shm

    assert shm.__file__ is not None
    return Path(shm.__file__).parent


@dataclass(frozen=True, slots=True)
class Build:
    """A changed copy of the package: importable here and in any process that calls `module`."""

    folder: str
    package: str

    def module(self, name: str) -> ModuleType:
        """The copy's module `name`; "" for the package itself."""
        if self.folder not in sys.path:
            sys.path.insert(0, self.folder)
        return importlib.import_module(f"{self.package}.{name}" if name else self.package)


def build(folder: Path, changes: Iterable[Change] = (), *, lazy: bool = True) -> Build:
    """Write a changed copy of `shm` into `folder`. AssertionError if a substitution is not found."""
    package = f"shm_build_{next(_numbers)}"
    target = folder / package
    target.mkdir(parents=True)
    todo = [*(LAZY if lazy else ()), *changes]
    for path in shm_folder().glob("*.py"):
        source = path.read_text()
        for change in todo:
            if change.module == path.stem:
                source = change.apply(source)
        source = re.sub(r"^(\s*)(from|import) shm\b", rf"\1\2 {package}", source, flags=re.M)
        (target / path.name).write_text(source)
    known = {p.stem for p in shm_folder().glob("*.py")}
    unknown = {c.module for c in todo} - known
    assert not unknown, f"no such module: {unknown}"
    importlib.invalidate_caches()
    return Build(str(folder), package)


def stepped(folder: Path, changes: Iterable[Change] = ()) -> Build:
    """A build with the hook before every store."""
    return build(folder, [*STEPPED, *changes])
