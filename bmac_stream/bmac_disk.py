"""One data file of a run directory and its ready file: whole, and in BMAC's order, at every instant.

Data first: written under a name that BMAC's readers and globs do not see (`.{NAME}.pqt.tmp`), then renamed.
Then the old ready file away, then the new one there. A process that is killed between any two of these steps
leaves a whole file, and ready files of which each is true: the data may be newer than the ready file says,
never older (tests/bmac_stream/test_bmac_disk.py kills it at each step).

Nothing is flushed to the disk by force, as BMAC does not either: after a power cut the files are made anew
from the store (decision 0062).
"""

import contextlib
import errno
import logging
import os
import time
from pathlib import Path
from typing import Final

import pyarrow as pa

from .bmac_layout import Foreign, mark_of
from .errors import NoSpace, RunDirectoryError, RunDirectoryTaken

__all__ = ["OneFile", "named"]

_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)

log = logging.getLogger("bmac_stream.bmac_files")


class OneFile:
    """One data file and its ready file. One process writes them; see bmac_guard.

    folder, name, path   of the data file
    ours    whether what is there was written by us, now or before
    ready   names of its ready files that may be there
    last_g  newest bar in it; -1: not written by this process
    """

    __slots__ = (
        "_left",
        "_temporary",
        "folder",
        "last_g",
        "name",
        "ours",
        "path",
        "ready",
        "retry_at",
        "tries",
    )

    def __init__(self, folder: Path, name: str, ending: str) -> None:
        self.folder, self.name = folder, name
        self.path = folder / f"{name}.{ending}"
        self.ours = False
        self.ready: set[str] = set()
        self.last_g = -1
        self.tries = 0
        self.retry_at = 0.0
        self._temporary = folder / f".{name}.{ending}.tmp"
        self._left: tuple[int, int, int] | None = None  # (inode, mtime_ns, size) as this process left it

    @property
    def is_there(self) -> bool:
        """Whether this process wrote the data file, and it is still there."""
        return self._left is not None and self.path.exists()

    def is_past(self, ready: str) -> bool:
        """Whether a file of ours is there that is further than this ready file's name says."""
        return self.ours and any(other > ready for other in self.ready)

    def publish(self, data: pa.Buffer | None, ready: str) -> int:
        """Data, old ready file away, new ready file. How many data files were written: 0 if `data` is None,
        which says that the file is as it should be. OSError leaves what was there; RunDirectoryTaken as in
        `refuse_replaced`."""
        self.refuse_replaced()
        if data is not None:
            self._left = _write(self.path, self._temporary, data)
            self.ours = True
        for old in self.ready - {ready}:
            with contextlib.suppress(
                FileNotFoundError, IsADirectoryError
            ):  # a folder of that name is a stray
                (self.folder / old).unlink()
            self.ready.discard(old)
        path = self.folder / ready
        if ready not in self.ready or not path.exists():
            _write(path, self.folder / f".{self.name}.ready.tmp", str(time.time()).encode())
            self.ready.add(ready)
        return int(data is not None)

    def remove(self, path: Path | None = None) -> None:
        """Ready file and data away, in BMAC's order. path: of the data, if it has another ending."""
        for name in sorted(self.ready):
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                (self.folder / name).unlink()
        self.ready.clear()
        (path or self.path).unlink(missing_ok=True)
        self.ours, self._left = False, None

    def refuse_replaced(self) -> None:
        """RunDirectoryTaken if a sound file of somebody else's is where this process left its own."""
        if self._left is None:
            return
        try:
            found = self.path.stat()
            if (found.st_ino, found.st_mtime_ns, found.st_size) == self._left:
                return
            mark = mark_of(self.path)
        except OSError:
            return  # gone, or no file any more: it is written anew, or that fails with a name
        if isinstance(mark, Foreign) and not mark.damaged:
            raise RunDirectoryTaken(
                f"{self.path} was replaced while we wrote that directory: another program writes it, too"
            )
        if isinstance(mark, Foreign):
            log.warning("%s was damaged by somebody: it is written anew", self.path)


def named(error: OSError, path: Path) -> RunDirectoryError | NoSpace:
    """The error that says which file, and why."""
    if error.errno in _NO_ROOM:
        return NoSpace(f"{path}: no room left on its disk ({error.strerror})")
    return RunDirectoryError(f"{path} cannot be written: {error.strerror or error}")


def _write(path: Path, temporary: Path, data: pa.Buffer | bytes) -> tuple[int, int, int]:
    """`data` as the file `path`, whole or not at all; its (inode, mtime_ns, size)."""
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(temporary, flags, 0o666)
        try:
            left = memoryview(data)
            while left.nbytes:
                left = left[os.write(fd, left) :]
            found = os.fstat(fd)
        finally:
            os.close(fd)
        temporary.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    return found.st_ino, found.st_mtime_ns, found.st_size
