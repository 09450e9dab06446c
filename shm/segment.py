"""The file of a store: made, opened, checked, mapped, locked. Never shrunk, never unlinked while in use.

Writer: `WriterLock`, `create`, `open_existing(writable=True)`. Readers: `open_existing`, `writer_alive`.
Plain `os.open` + `posix_fallocate` + `mmap`: `multiprocessing.shared_memory` unlinks a live segment when any
process that attached exits (CPython <= 3.12), and when its owner is killed; see docs/decisions/0001.
A map lives as long as a NumPy array looks into it; nothing here ever unmaps under a view.
"""

import contextlib
import ctypes
import errno
import fcntl
import grp
import mmap
import os
import platform
import re
import stat
import struct
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from shm.atomics import ARCHITECTURES
from shm.errors import (
    NoSpace,
    SegmentVersion,
    ShmError,
    StoreBroken,
    StoreNotFound,
    WriterLocked,
)
from shm.layout import (
    HEAD,
    HEADER_BYTES,
    STATE,
    FileState,
    Layout,
    check_prefix,
    pack_header,
    parse_header,
    source_span,
    text_span,
)
from shm.local import Local
from shm.ring import peek, post

__all__ = [
    "DEFAULT_DIRECTORY",
    "Segment",
    "WriterLock",
    "bell_path",
    "boot_id",
    "check_platform",
    "create",
    "group_number",
    "lock_path",
    "open_existing",
    "open_owned",
    "peek_source",
    "remove_leftover",
    "segment_path",
    "set_mode",
    "table_path",
    "writer_alive",
]

DEFAULT_DIRECTORY: Final = "/dev/shm"
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_BESIDE: Final = (".lock", ".bell", ".new", ".arrow")
_FLOCK: Final = struct.Struct("@hhqqi4x")  # struct flock of 64-bit Linux
_OPEN: Final = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK if sys.platform == "linux" else 0
_MODES: Final = (0o600, 0o640)
_HUGE: Final = 1 << 21
_MADV_COLLAPSE: Final = 25  # these three are not in the mmap module
_MAP_FIXED: Final = 0x10
_MAP_NORESERVE: Final = 0x4000


def check_platform() -> None:
    """Raise ShmError unless this is Linux on a machine whose futex and byte order are known."""
    if sys.platform != "linux" or platform.machine() not in ARCHITECTURES or sys.byteorder != "little":
        raise ShmError(
            f"shm needs Linux on {' or '.join(ARCHITECTURES)}, found {sys.platform} on {platform.machine()}"
        )


def segment_path(name: str, directory: str | Path = DEFAULT_DIRECTORY) -> Path:
    """`<directory>/bmac.<name>`, absolute: the process may change its directory. ValueError unless the name
    is 1 to 100 of A-Z a-z 0-9 _ . -, and does not end like the files beside a store."""
    if not _NAME.fullmatch(name) or name.endswith(_BESIDE):
        raise ValueError(
            f"a store's name is 1 to 100 of A-Z a-z 0-9 _ . - and does not end in {', '.join(_BESIDE)}, "
            f"found {name!r}"
        )
    return Path(directory).absolute() / f"bmac.{name}"


def lock_path(path: Path) -> Path:
    """The file whose lock the writer holds. It is never removed."""
    return path.with_name(path.name + ".lock")


def bell_path(path: Path) -> Path:
    """The unix socket over which asyncio readers hand in their eventfd."""
    return path.with_name(path.name + ".bell")


def table_path(path: Path, kind: str) -> Path:
    """A table of the application beside the store, an Arrow file: `<store>.<kind>.arrow`."""
    return path.with_name(f"{path.name}.{kind}.arrow")


def boot_id() -> bytes:
    """16 bytes that name this boot of the machine; heartbeats of another boot mean nothing."""
    return bytes.fromhex(Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", ""))


# ---- the writer's lock -----------------------------------------------------------------------------------


class WriterLock(Local):
    """Held by the one writer; freed by the kernel when that process ends, however it ends.

    `hold` takes a second one, of the store's own file: people remove lock files.
    An open-file-description lock: a second attempt in the same process is refused too, and readers can ask
    for it without taking it. A forked child would keep it: start processes by spawn.
    """

    def __init__(self, path: Path, mode: int, group: int | None) -> None:
        self.path = lock_path(path)
        self._data_fd = -1
        self.fd = open_owned(self.path, os.O_RDWR | os.O_CREAT, mode)
        try:
            if not _lock(self.fd):
                holder = os.pread(self.fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
                raise WriterLocked(
                    f"{path}: process {holder} is writing this store (it holds {self.path}); stop it first"
                )
            set_mode(self.fd, mode, group)
            os.ftruncate(self.fd, 0)
            os.pwrite(self.fd, f"{os.getpid()}\n".encode(), 0)
        except BaseException:
            os.close(self.fd)
            raise

    def hold(self, fd: int) -> None:
        """Lock the store's file too, open as `fd`; the one held before is let go.

        WriterLocked if another process writes it: its lock file was removed under it.
        """
        if self._data_fd >= 0:
            os.close(self._data_fd)
        # Opened anew: a map would keep the lock of `fd` itself for as long as a view lives.
        self._data_fd = os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)
        if not _lock(self._data_fd):
            raise WriterLocked(
                f"{self.path.with_suffix('')}: another process is writing this store, though its lock file "
                f"{self.path} was removed; stop it first"
            )

    def release(self) -> None:
        """Give the locks back. Once; the files stay."""
        for fd in (self._data_fd, self.fd):
            if fd >= 0:
                os.close(fd)
        self.fd = self._data_fd = -1


def _lock(fd: int) -> bool:
    """Whether the lock of a whole file could be had."""
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        return False
    return True


def _held(fd: int) -> bool:
    """Whether another open file holds the lock of this one."""
    found = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    return bool(_FLOCK.unpack(found)[0] != fcntl.F_UNLCK)


def writer_alive(path: Path, fd: int = -1) -> bool:
    """Whether some process holds the writer's lock of the store at `path`. About 2 us.

    fd  the store's own file, open: its lock will do, whatever became of the lock file

    StoreBroken if the lock file may not be read and there is no `fd`.
    """
    if fd >= 0 and _held(fd):
        return True
    try:
        lock = os.open(lock_path(path), os.O_RDONLY | _OPEN)  # a writer that starts holds this one first
    except FileNotFoundError:
        return False
    except PermissionError as error:
        if fd >= 0:
            return False
        raise StoreBroken(f"{lock_path(path)}: this user may not read it ({error.strerror})") from error
    try:
        return _held(lock)
    finally:
        os.close(lock)


# ---- files -----------------------------------------------------------------------------------------------


def open_owned(path: Path, flags: int, mode: int = 0, owner: int | None = None) -> int:
    """os.open, but a symlink, another kind of file, or another user's file is StoreBroken."""
    try:
        fd = os.open(path, flags | _OPEN, mode)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise StoreBroken(f"{path} is a symbolic link; a store is a file") from error
        raise
    found = os.fstat(fd)
    allowed = {os.geteuid()} if owner is None else {os.geteuid(), owner}
    if not stat.S_ISREG(found.st_mode):
        problem = "is not a regular file"
    elif found.st_uid not in allowed:
        problem = f"belongs to user {found.st_uid}, expected {' or '.join(map(str, sorted(allowed)))}"
    else:
        return fd
    os.close(fd)
    raise StoreBroken(f"{path} {problem}")


def set_mode(fd: int, mode: int, group: int | None) -> None:
    """Exactly `mode`, whatever the umask."""
    if group is not None:
        os.fchown(fd, -1, group)
    os.fchmod(fd, mode)


def group_number(mode: int, group: str | int | None) -> int | None:
    """The group's number. ValueError for a mode that is neither 0o600 nor 0o640."""
    if mode not in _MODES:
        raise ValueError(f"mode must be 0o600, or 0o640 to let a group read, found {mode:#o}")
    if isinstance(group, str):
        return grp.getgrnam(group).gr_gid
    return group


@dataclass(slots=True)
class Segment(Local):
    """An open, checked and mapped store.

    words  int64[data_offset / 8]: header, control words, directory, journal, ... as one array
    data   float64[max_symbols, n_columns, 2 * cap]; read-only, as `words`, unless this is the writer's
    """

    path: Path
    fd: int
    layout: Layout
    epoch: int
    created_ms: int
    words: npt.NDArray[np.int64]
    data: npt.NDArray[np.float64]

    @property
    def state(self) -> FileState | int:
        """What the file says it is. ShmError after `close`: compiled code checks no bounds."""
        words = self.words
        if not len(words):
            raise ShmError(f"{self.path}: this store is closed")
        value = int(peek(words, STATE))
        return FileState(value) if value in tuple(FileState) else value

    @property
    def unlinked(self) -> bool:
        """Whether the file lost its name: someone removed or replaced it. ShmError after `close`."""
        if self.fd < 0:
            raise ShmError(f"{self.path}: this store is closed")
        return os.fstat(self.fd).st_nlink == 0

    def close(self) -> None:
        """Let go. The map itself stays for as long as a view of it lives."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        self.words = np.empty(0, np.int64)
        self.data = np.empty((0, 0, 0))


def _map_file(fd: int, size: int, writable: bool) -> tuple[Any, int]:
    """(buffer, where in it the file begins): the file, mapped at a multiple of 2 MiB if it is that large.

    Only there can a huge page of the file be one page of this process, too. The mmap module cannot be told
    an address, so it sets room aside, and the file is laid into it; both end when the buffer does.
    """
    if size < _HUGE:
        return mmap.mmap(fd, size, access=mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ), 0
    protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
    room = mmap.mmap(-1, size + _HUGE, flags=flags, prot=protection)
    start = np.frombuffer(room, np.uint8).ctypes.data
    at = -start % _HUGE
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (
        ctypes.c_void_p,
        ctypes.c_size_t,
        *[ctypes.c_int] * 3,
        ctypes.c_long,
    )
    if libc.mmap(start + at, size, protection, mmap.MAP_SHARED | _MAP_FIXED, fd, 0) != start + at:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return room, at


def _collapse(fd: int, buffer: Any, at: int, size: int) -> None:
    """Put a new file into huge pages, where the kernel can (6.1 on, whatever its settings for tmpfs).

    An append touches two pages for every column of its symbol, a market's newest bars many times what the
    processor's page cache holds. It changes no byte; where it cannot be had, things are as they were.

    One small page is taken in each: the kernel makes no huge page out of nothing, and out of 512 small ones
    by copying them, which took 320 MiB 0.14 to 1.4 s; so it is 0.04 s.
    """
    for begin in range(0, size - size % _HUGE, _HUGE):
        os.posix_fallocate(fd, begin, 4096)
    libc = ctypes.CDLL(None)  # the mmap module's own madvise would hold up every other thread meanwhile
    libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    libc.madvise(np.frombuffer(buffer, np.uint8).ctypes.data + at, size, _MADV_COLLAPSE)


def _map(
    path: Path,
    fd: int,
    layout: Layout,
    epoch: int,
    created_ms: int,
    writable: bool,
    new: bool = False,
) -> Segment:
    buffer, at = _map_file(fd, layout.file_size, writable)
    if new and layout.file_size >= _HUGE:
        _collapse(fd, buffer, at, layout.file_size)
    words = np.frombuffer(buffer, np.int64, count=layout.data_offset // 8, offset=at)
    shape = (layout.spec.max_symbols, layout.n_columns, 2 * layout.cap)
    data = np.frombuffer(buffer, np.float64, count=int(np.prod(shape)), offset=at + layout.data_offset)
    return Segment(path, fd, layout, epoch, created_ms, words, data.reshape(shape))


def remove_leftover(path: Path) -> None:
    """What a writer that was killed within `create` left. The lock must be ours."""
    path.with_name(path.name + ".new").unlink(missing_ok=True)


def create(path: Path, layout: Layout, mode: int, group: int | None) -> Segment:
    """A new store, READY, under the name `path`; what had the name before loses it. Writer only, locked.

    Everything is written under another name first, so that nobody ever sees half a store. NoSpace names
    need and room before anything is taken; fallocate makes sure of it, so no store can die of SIGBUS.
    """
    need = layout.file_size
    remove_leftover(path)  # before the room is measured: it may be what takes it
    try:
        room = os.statvfs(path.parent)
    except FileNotFoundError:
        raise StoreNotFound(f"{path.parent}: no such directory") from None
    free = room.f_bavail * room.f_frsize
    if free < need:
        raise NoSpace(_no_space(path, need, free))
    temporary = path.with_name(path.name + ".new")
    fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | _OPEN, 0o600)
    try:
        epoch = int.from_bytes(os.urandom(8), "little") >> 1 or 1
        created_ms = time.time_ns() // 1_000_000
        try:
            os.ftruncate(fd, need)
            segment = _map(path, fd, layout, epoch, created_ms, writable=True, new=True)
            os.posix_fallocate(fd, 0, need)  # whatever is not there yet; nothing is touched before
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
                raise
            raise NoSpace(_no_space(path, need, free)) from error
        os.pwrite(fd, pack_header(layout, epoch, created_ms), 0)
        os.pwrite(fd, layout.texts, layout.source_offset)
        segment.words[HEAD] = -1
        segment.data[:, :-1, :] = np.nan
        segment.data[:, -1, :] = 0.0
        post(segment.words, STATE, FileState.READY)
        set_mode(fd, mode, group)
        temporary.rename(path)
    except BaseException:
        os.close(fd)
        temporary.unlink(missing_ok=True)
        raise
    return segment


def _no_space(path: Path, need: int, free: int) -> str:
    mib = 1 << 20
    return (
        f"{path}: the store needs {need} bytes ({need / mib:.1f} MiB), {path.parent} has {free} free "
        f"({free / mib:.1f} MiB); fewer symbols or bars, or a larger file system (docker: --shm-size)"
    )


def open_existing(path: Path, *, writable: bool = False, owner: int | None = None) -> Segment:
    """Open, check and map the store at `path`. State is the caller's to judge.

    owner  a user besides this one whose file may be read (a group's collector)

    Raises FileNotFoundError, StoreBroken, SegmentVersion. Nothing is mapped before size and header agree, so
    a truncated file cannot end in SIGBUS.
    """
    fd = open_owned(path, os.O_RDWR if writable else os.O_RDONLY, owner=None if writable else owner)
    try:
        size = os.fstat(fd).st_size
        header = os.pread(fd, HEADER_BYTES, 0)
        check_prefix(header, str(path))
        offset, length = text_span(header)
        if not (0 <= offset <= size and 0 <= length <= size - offset):
            raise StoreBroken(f"{path}: texts of {length} bytes at {offset} in a file of {size}; damaged")
        texts = os.pread(fd, length, offset)
        layout, epoch, created_ms = parse_header(header, texts, size, str(path))
        return _map(path, fd, layout, epoch, created_ms, writable)
    except BaseException:
        os.close(fd)
        raise


def peek_source(path: Path) -> str:
    """The source of a store of any layout version. StoreBroken if it has none."""
    fd = open_owned(path, os.O_RDONLY)
    try:
        header = os.pread(fd, HEADER_BYTES, 0)
        with contextlib.suppress(SegmentVersion):  # the source lies at the same place in every version
            check_prefix(header, str(path))
        offset, length = source_span(header)
        text = os.pread(fd, length, offset) if 0 < length <= 1024 and offset > 0 else b""
    finally:
        os.close(fd)
    if not text:
        raise StoreBroken(f"{path}: the header names no source")
    return text.decode(errors="replace")
