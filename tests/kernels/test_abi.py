"""kernels/abi.py: vectorised code, the same bits in both bodies of a loop, a cache that never lies."""

import importlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

import kernels
from kernels import abi
from kernels.abi import Kernel
from kernels.node import Node, Operator, field
from kernels.operators import OPERATORS
from tests.kernels.harness import DATA, run, same_bits

# ---- every kernel ----------------------------------------------------------------------------------------

COPIES: Final = {"delay", "bar_number"}
"""They move numbers and compute nothing."""
_ARITHMETIC: Final = rb"[\x51\x54-\x59\x5c-\x5f\xc2]"  # sqrt, and, or, xor, add, mul, sub, min, div, max, cmp
_DOUBLES: Final = (
    b"[" + re.escape(bytes(b for b in range(256) if b & 0x07 == 0x05)) + b"]"
)  # 256 bits of them
_SINGLES: Final = b"[" + re.escape(bytes(b for b in range(256) if b & 0x07 == 0x04)) + b"]"
_PACKED: Final = re.compile(
    b"|".join(
        (
            b"\xc5" + _DOUBLES + _ARITHMETIC,
            b"\xc4." + _DOUBLES + _ARITHMETIC,
            b"\x62." + _DOUBLES + rb"[\x20-\x7f\xa0-\xff]" + _ARITHMETIC,
            b"\xc5" + _SINGLES + rb"[\x54-\x57]",  # signs are set and cleared by and, or, xor of any type
            b"\xc4\xe3" + _DOUBLES + rb"\x09",  # round
        )
    ),
    re.DOTALL,
)
"""VEX and EVEX encodings of arithmetic on four or eight doubles at once."""


def machine_code(kernel: Kernel) -> bytes:
    """The object file that the cache holds for a kernel: a cached function's assembly cannot be asked for."""
    assert kernel.address
    folder = abi._cache_folder(kernel.source)
    assert folder is not None
    name = f"{kernel.source.stem}.{kernel.name}-*.nbc"
    return b"".join(path.read_bytes() for path in folder.rglob(name))


@pytest.mark.skipif(platform.machine() != "x86_64", reason="instructions of x86 are counted")
@pytest.mark.parametrize(
    "operator", [x for x in OPERATORS if not x.cross and x.name not in COPIES], ids=lambda x: x.name
)
def test_a_kernel_is_vectorised(operator: Operator) -> None:
    """One branch or one pointer that may overlap, and LLVM leaves the loop scalar: five times the cost."""
    code = machine_code(operator.kernel)
    assert code
    assert _PACKED.search(code), f"{operator.name}: no packed instruction"


def test_the_count_tells_scalar_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that leaves early cannot be vectorised, and is seen as such."""
    source = """
from kernels.abi import kernel, now, rows


@rows
def _first(x, out, n):
    for i in range(n):
        out[i] = x[i] * 3.0 + 1.0
        if x[i] < 0.0:
            break


@kernel
def first(state, stride, p, f, g, n):
    _first(now(state, stride, p, 1, g), now(state, stride, p, 0, g), n)
"""
    (tmp_path / "leaves_early.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    code = machine_code(importlib.import_module("leaves_early").first)
    assert code and not _PACKED.search(code)


VALUES: Final[dict[str, float]] = {"d": 3, "window": 7, "min_periods": 4, "factor": 0.9, "alpha": 0.1}
"""Parameters by name, to call an operator without knowing it; others are held to it by their own tests."""


def test_vector_and_scalar_bodies_give_the_same_bits() -> None:
    """Thirteen symbols at once take the vector body and the tail, one alone takes the tail only."""
    inputs = [field(name) for name in ("x", "y", "z")]
    nodes: dict[str, Node] = {}
    for operator in OPERATORS:
        if not operator.cross and all(name in VALUES for name in operator.parameters):
            parameters = tuple(VALUES[name] for name in operator.parameters)
            made = operator(*inputs[: len(operator.inputs)], parameters=parameters)
            nodes |= {node.text: node for node in made}
    assert len(nodes) > 50
    together = run(nodes, DATA)
    for slot in range(together.shape[2]):
        alone = run(nodes, {name: data[:, slot : slot + 1].copy() for name, data in DATA.items()})
        same_bits(alone[:, :, 0], np.ascontiguousarray(together[:, :, slot]))


# ---- the cache -------------------------------------------------------------------------------------------

USER: Final = """
from kernels import fmath
from kernels.abi import back, kernel, now, rows


@rows
def _scaled(x, out, n):
    for i in range(n):
        out[i] = 3.0 * fmath.log(x[i])


@kernel
def scaled(state, stride, p, f, g, n):
    _scaled(back(state, stride, p, 1, g, 1), now(state, stride, p, 0, g), n)
"""

RUN: Final = """
import json, sys, time
from pathlib import Path
import numpy as np
import user

folder = Path(sys.argv[1])
if len(sys.argv) > 2:  # begin together
    (folder / f"here-{sys.argv[2]}").touch()
    while len([*folder.glob("here-*")]) < 2:
        time.sleep(0.001)
state = np.array([0.0, 10.0, 20.0, 30.0, 40.0])  # out; a ring of four: bars 0, 1, 2, 3
p = np.array([0, 0, 1, 3, 0, 0])
made = user.scaled.compiled
made.ctypes(
    *(np.ctypeslib.as_ctypes(x) if isinstance(x, np.ndarray) else x for x in (state, 1, p, np.zeros(1), 2, 1))
)
print(json.dumps([state[0], made.cache_hits]))
"""


class House:
    """A copy of `kernels` with a user's file beside it, a cache of its own, and processes that use them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(
            Path(kernels.__file__).parent, folder / "kernels", ignore=shutil.ignore_patterns("__pycache__")
        )
        (folder / "user.py").write_text(USER)
        (folder / "run.py").write_text(RUN)

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"}
        environment["NUMBA_CACHE_DIR"] = str(self.folder / "cache")
        return subprocess.Popen(
            [sys.executable, "run.py", str(self.folder), *arguments],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def gives(self, expected: float) -> int:
        """Run the kernel; how many functions came from the cache."""
        value, hits = self.end(self.start())
        assert value == pytest.approx(expected)
        return hits

    def end(self, process: "subprocess.Popen[str]") -> tuple[float, int]:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        value, hits = json.loads(out)
        return value, hits

    def edit(self, name: str, old: str, new: str) -> None:
        """Change a file but neither its size nor its date: a cache that looks at those alone is fooled."""
        path = self.folder / name
        text, before = path.read_text(), path.stat()
        assert text.count(old) == 1 and len(old) == len(new)
        path.write_text(text.replace(old, new))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_an_edit_of_any_file_that_a_kernel_is_made_of_is_seen(tmp_path: Path) -> None:
    house = House(tmp_path)
    log = float(np.log(20.0))  # bar 1 of the ring
    assert house.gives(3.0 * log) == 0
    assert house.gives(3.0 * log) == 1
    house.edit("user.py", "3.0 *", "5.0 *")
    assert house.gives(5.0 * log) == 0
    house.edit("kernels/fmath.py", "    return y if usual else edge", "    return -y if usual else 0.0")
    assert house.gives(-5.0 * log) == 0
    house.edit("kernels/abi.py", "(g - lag) &", "(g + lag) &")
    assert house.gives(-5.0 * float(np.log(40.0))) == 0
    assert house.gives(-5.0 * float(np.log(40.0))) == 1


def test_two_cold_processes_compile_once(tmp_path: Path) -> None:
    house = House(tmp_path)
    both = [house.start("a"), house.start("b")]
    found = [house.end(process) for process in both]
    assert sorted(hits for _, hits in found) == [0, 1]
    assert found[0][0] == found[1][0]


def test_without_a_place_for_a_cache_kernels_compile_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = USER.replace("def scaled", "def uncached")
    (tmp_path / "nowhere_to_write.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(abi, "_folder", lambda source, also: None)
    made: Any = importlib.import_module("nowhere_to_write").uncached
    assert made.address
    assert not [*tmp_path.rglob("*.nbc")]


def test_a_digest_covers_the_shared_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hash of a plan, and with it of a saved state, moves with every source of its kernels."""
    mine, shared = tmp_path / "mine.py", tmp_path / "shared.py"
    mine.write_text("1")
    shared.write_text("1")
    monkeypatch.setattr(abi, "_SHARED", (shared,))
    seen = {abi._digest(mine).hexdigest()}
    mine.write_text("2")
    seen.add(abi._digest(mine).hexdigest())
    shared.write_text("2")
    seen.add(abi._digest(mine).hexdigest())
    assert len(seen) == 3
