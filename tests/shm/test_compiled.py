"""shm/compiled.py: compiled ahead, cached across processes, and never from stale sources."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from shm import compiled, ring

_KERNEL = """
from numba import types
from shm.atomics import load_acquire, store_release
from shm.compiled import compiled
from shm.constants import STEP

_WORDS = types.Array(types.int64, 1, "C")

@compiled(types.int64(_WORDS))
def advance(words):
    store_release(words, 0, load_acquire(words, 0) + STEP)
    return words[0]
"""
_MAIN = """
import numpy as np
from shm.kernel import advance
hits = sum(advance.stats.cache_hits.values())
print(advance(np.zeros(2, np.int64)), hits)
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A small package `shm` of the real atomics and decorator, with one function of its own."""
    folder = tmp_path / "shm"
    folder.mkdir()
    real = Path(compiled.__file__).parent
    for name in ("atomics.py", "compiled.py"):
        shutil.copy(real / name, folder / name)
    (folder / "__init__.py").write_text("")
    (folder / "constants.py").write_text("STEP = 5\n")
    (folder / "kernel.py").write_text(_KERNEL)
    return folder


def _run(package: Path, **env: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", _MAIN],
        cwd=package.parent,
        env={"PYTHONPATH": str(package.parent), "PATH": "", "HOME": str(package.parent)} | env,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout.split()


def test_an_edit_in_another_file_is_never_missed(package: Path) -> None:
    """Numba alone would go on with STEP = 5: it looks at kernel.py only."""
    assert _run(package) == ["5", "0"]
    assert _run(package) == ["5", "1"], "a fresh process loads what the first one compiled"
    (package / "constants.py").write_text("STEP = 7\n")
    assert _run(package) == ["7", "0"]


def test_the_users_cache_folder_is_respected(package: Path, tmp_path: Path) -> None:
    cache = tmp_path / "elsewhere"
    assert _run(package, NUMBA_CACHE_DIR=str(cache)) == ["5", "0"]
    assert list(cache.glob("shm-*/*/*.nbc")) or list(cache.glob("shm-*/**/*.nbc"))
    assert not (package / "__pycache__").exists() or not list((package / "__pycache__").glob("shm-*"))


def test_where_nothing_can_be_written_it_compiles_without_a_cache(package: Path) -> None:
    (package / "__pycache__").write_text("in the way")
    (package.parent / ".cache").write_text("in the way")
    assert _run(package) == ["5", "0"]
    assert not list(package.parent.rglob("*.nbc"))


def test_compiled_for_one_signature_only() -> None:
    words = np.zeros(8, np.int64)
    words.flags.writeable = False
    with pytest.raises(TypeError, match="No matching definition"):
        ring.post(words, 0, 1)
    assert words[0] == 0
