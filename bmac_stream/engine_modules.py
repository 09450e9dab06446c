"""The user's own modules of factors, imported again when their sources changed.

Python imports a module once. An engine that is told to read its factors again shall compute what the file
says now; and what it said before, if the file is broken now.
"""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Final

from factor_defs import registry

__all__ = ["UserModules"]

_OURS: Final = ("bmac_stream", "factor_defs", "kernels", "shm")


class UserModules:
    """What a config's factors come from, beside the libraries: the modules they name, and what those import
    from the same folder (of a package: from all of it)."""

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}

    def note(self, factors: Iterable[registry.Entry]) -> None:
        """These are imported: what their sources are now is what is computed."""
        self._seen |= {name: _digest(path) for name, path in _sources(factors).items()}

    @contextmanager
    def reread(self, factors: Iterable[registry.Entry]) -> Iterator[list[str]]:
        """Within the block, modules are imported anew if the source of any of them changed since `note`; the
        value names those whose did. If the block raises, all is as it was; else it is noted."""
        factors = list(factors)
        sources = _sources(factors)
        changed = [
            name for name, path in sources.items() if self._seen.get(name) not in (None, _digest(path))
        ]
        former: dict[str, ModuleType] = {}
        if changed:
            former = {name: sys.modules.pop(name) for name in sources}
            importlib.invalidate_caches()
            for path in sources.values():  # by date and length, an edit within a second may not be seen
                _forget_bytecode(path)
        try:
            yield changed
        except BaseException:
            for name in _sources(factors):
                sys.modules.pop(name, None)
            sys.modules.update(former)
            raise
        self.note(factors)


def _sources(factors: Iterable[registry.Entry]) -> Mapping[str, Path]:
    """The imported modules that factors are of, by name, and their files."""
    named = {_module(entry) for entry in factors} - {"", *registry.LIBRARIES}
    folders: set[tuple[str, Path]] = set()  # a package's name and folder; "" for modules beside each other
    for name in named:
        top = name.partition(".")[0]
        file = _file(sys.modules.get(top)) or _file(sys.modules.get(name))
        if file is not None:
            folders.add((top if file.name == "__init__.py" else "", file.parent))
    made = {}
    for name, module in list(sys.modules.items()):
        file, top = _file(module), name.partition(".")[0]
        if file is None or top in _OURS or name == "__main__":
            continue
        if (top, _top_folder(name)) in folders or ("", file.parent) in folders:
            made[name] = file
    return made


def _module(entry: registry.Entry) -> str:
    return (entry if isinstance(entry, str) else str(entry[0])).rpartition(":")[0]


def _top_folder(name: str) -> Path:
    file = _file(sys.modules.get(name.partition(".")[0]))
    return file.parent if file is not None else Path()


def _file(module: ModuleType | None) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file) if isinstance(file, str) and file.endswith(".py") else None


def _digest(path: Path) -> str:
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    except OSError:
        return "none"


def _forget_bytecode(path: Path) -> None:
    try:
        Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)
    except (OSError, NotImplementedError):
        return  # a folder that cannot be written to: Python's own look at the date has to do
