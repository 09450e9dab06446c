"""How the functions of this package are compiled: ahead of the first call, without the GIL, cached on disk.

Numba's cache notices an edit of a function's own file only, but our functions inline `atomics.py` and the
offsets of `layout.py`. So the cache lies in a folder named after the content of all sources of the package:
an edit anywhere means another folder, and a stale cache cannot be found (test_compiled.py). One process
compiles at a time: a second one waits and then loads what the first wrote.
"""

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from numba import njit
from numba.core import config

__all__ = ["SOURCE_HASH", "compiled", "entry"]

_config: Any = config  # its attributes come from the environment; checkers cannot know them
_Function = TypeVar("_Function", bound=Callable[..., object])


def _source_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


SOURCE_HASH: Final = _source_hash(Path(__file__).parent)
"""16 hex digits over all sources of the package."""


def _cache_folder() -> Path | None:
    """The folder for this state of the sources, or None where nothing can be written."""
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    bases = [Path(__file__).parent / "__pycache__", user / "numba"]
    if _config.CACHE_DIR:
        bases.insert(0, Path(_config.CACHE_DIR))
    for base in bases:
        folder = base / f"shm-{SOURCE_HASH}"
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK | os.X_OK):
                return folder
    return None


_FOLDER: Final = _cache_folder()


@contextlib.contextmanager
def _cache() -> Iterator[bool]:
    """Numba's cache folder is ours inside, under a file lock; yields whether there is one."""
    if _FOLDER is None:
        yield False
        return
    before = _config.CACHE_DIR
    fd = os.open(_FOLDER / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        _config.CACHE_DIR = str(_FOLDER)
        yield True
    finally:
        _config.CACHE_DIR = before
        os.close(fd)


def compiled(signature: Any, *, nogil: bool = True) -> Callable[[_Function], _Function]:
    """Compile a function now for exactly `signature` (Numba types), or load it from the cache.

    Works without the GIL, unless `nogil` is False: giving it back and taking it again costs a short function
    more than its work. A float division by zero is inf or NaN, as in NumPy. Arguments of other types
    raise TypeError instead of compiling again: a read-only array never reaches a function that stores.
    """

    def decorate(function: _Function) -> _Function:
        with _cache() as cached:
            # Inlined into its callers by LLVM: a call costs six counts of references. Append 65 -> 12 ns.
            made = njit(signature, cache=cached, nogil=nogil, error_model="numpy", forceinline=True)(function)
        return cast(_Function, made)

    return decorate


def entry(function: _Function) -> _Function:
    """The compiled code of a function with one signature, as Python calls it: no search by argument types.

    That halves the price of a call, and checks nothing: an array of another dtype or dimension is misread.
    For functions that take numbers, and arrays that the caller has checked itself.
    """
    found = list(cast(Any, function).overloads.values())
    return cast(_Function, found[0].entry_point) if len(found) == 1 else function
