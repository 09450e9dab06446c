"""Who writes a run directory: one of our processes, and no BMAC beside it.

BMAC v2 takes no lock, so it is looked for in three ways: as a process that was started on this directory
(`cli.py bmac start DIR`); as fresh data files that are not ours, watched over a bar's close before the
first file is written (`foreign_files`, for one in a container of its own); and for as long as we write, as
files of ours that somebody replaced (bmac_disk.py). Our own processes exclude each other by flock on
`.bmac_stream.lock` in each folder, a name that BMAC's readers do not see; the lock also tells when the folder
itself was taken away, as BMAC's start does. Decision 0063.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from .bmac_layout import EXTENSIONS, Foreign, mark_of, parse_ready
from .errors import RunDirectoryTaken

__all__ = ["LOCK_NAME", "FolderLock", "bmac_process", "foreign_files"]

LOCK_NAME: Final = ".bmac_stream.lock"


class FolderLock:
    """The right to write into one folder, for as long as this process lives or until `release`.

    RunDirectoryTaken, which names the holder, if another process of ours has it; OSError if the folder
    cannot be written.
    """

    def __init__(self, folder: Path, store: str) -> None:
        self.folder = folder
        path = folder / LOCK_NAME
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(self._fd)
            os.close(self._fd)
            raise RunDirectoryTaken(
                f"{folder} is already written by {holder}: one run directory, one collector"
            ) from None
        except BaseException:
            os.close(self._fd)
            raise
        note = json.dumps({"pid": os.getpid(), "store": store, "since": round(time.time(), 3)})
        with contextlib.suppress(
            OSError
        ):  # it is only for people; a full disk is named when a file is written
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, note.encode(), 0)

    def check(self) -> None:
        """RunDirectoryTaken if the folder is no longer the one that was locked."""
        try:
            found = (self.folder / LOCK_NAME).stat()
        except FileNotFoundError:
            found = None
        ours = os.fstat(self._fd)
        if found is None or (found.st_dev, found.st_ino) != (ours.st_dev, ours.st_ino):
            raise RunDirectoryTaken(
                f"{self.folder} was removed or made anew while we wrote it, as BMAC does when it starts"
            )

    def release(self) -> None:
        """Let go of it. The file stays: removing it would let two others in."""
        os.close(self._fd)


def _holder(fd: int) -> str:
    try:
        note = json.loads(os.pread(fd, 4096, 0))
        return f"process {int(note['pid'])} (store {str(note['store'])[:100]!r})"
    except (ValueError, KeyError, TypeError, OSError):
        return "another process of bmac_stream"


def bmac_process(base: Path, proc: Path = Path("/proc")) -> int | None:
    """The process number of a running `cli.py bmac start BASE`, or None. Other users' processes are seen too,
    if /proc shows them; what runs in another container only if this one shares its processes."""
    try:
        ours = base.stat()
    except OSError:
        return None
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode("utf-8", "surrogateescape").split("\0")[:-1]
        except OSError:
            continue
        for named in _base_dirs(words):
            with contextlib.suppress(OSError):
                found = _as_seen_by(entry, named).stat()
                if (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino):
                    return int(entry.name)
    return None


def _base_dirs(words: Sequence[str]) -> Iterator[str]:
    """The directories that a command line of BMAC's names; none if it is not BMAC's. Our own command is spelt
    `bmac start DIR`, without its cli.py."""
    for i in range(len(words) - 3):
        if Path(words[i]).name == "cli.py" and words[i + 1 : i + 3] == ["bmac", "start"]:
            for word in words[i + 3 :]:
                yield word.partition("=")[2] if word.startswith("--base") else word


def _as_seen_by(process: Path, named: str) -> Path:
    """A path of that process: from its working directory, in its mount name space."""
    if named.startswith("/"):
        seen = process / "root" / named.lstrip("/")
        return seen if os.access(process / "root", os.X_OK) else Path(named)
    return process / "cwd" / named


def foreign_files(folders: Sequence[Path], since: float) -> list[tuple[float, Path]]:
    """Data files with a ready file that were written after `since` (seconds since 1970) and are not ours, the
    newest first: (time, path). What has no ready file is a stray of its owner's."""
    endings = tuple(EXTENSIONS.values())
    found = []
    for folder in folders:
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue
        promised = {ready[0] for entry in entries if (ready := parse_ready(entry.name)) is not None}
        for entry in entries:
            name, _, ending = entry.name.rpartition(".")
            if ending not in endings or name not in promised:
                continue
            with contextlib.suppress(OSError):
                written = entry.stat().st_mtime
                if written > since and isinstance(mark_of(Path(entry.path)), Foreign):
                    found.append((written, Path(entry.path)))
    return sorted(found, reverse=True)
