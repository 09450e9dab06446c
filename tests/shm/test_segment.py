"""shm/segment.py: making, refusing, locking and mapping files; failure cases 12 to 14 and 18."""

import fcntl
import os
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from shm import NoSpace, SegmentVersion, ShmError, StoreBroken, StoreNotFound, WriterLocked
from shm import segment as seg
from shm.layout import STATE, FileState, Layout
from shm.segment import Segment, WriterLock, create, lock_path, open_existing, segment_path, writer_alive
from tests.shm.support import small_spec

LAYOUT = Layout.of(small_spec())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return segment_path("x", tmp_path)


@pytest.fixture
def made(path: Path) -> Segment:
    return create(path, LAYOUT, 0o600, None)


def test_names() -> None:
    assert segment_path("usdt_perp.1m-A") == Path("/dev/shm/bmac.usdt_perp.1m-A")
    for name in ("", "a/b", "a b", "..\0", "x" * 101, "a\n", "a.lock", "a.bell", "a.new", "a.x.arrow"):
        with pytest.raises(ValueError, match="name is"):
            segment_path(name)


def test_a_path_is_that_file_wherever_the_process_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert segment_path("x", ".") == segment_path("x", tmp_path) == tmp_path / "bmac.x"


def test_a_new_store_is_ready_and_empty(made: Segment, path: Path) -> None:
    assert made.state == FileState.READY
    assert path.stat().st_size == LAYOUT.file_size
    assert path.stat().st_blocks * 512 >= LAYOUT.file_size, "the space is taken, not promised"
    found = open_existing(path)
    assert (found.layout, found.epoch) == (LAYOUT, made.epoch)
    assert np.isnan(found.data[:, :-1]).all() and (found.data[:, -1] == 0).all()
    assert not list(path.parent.glob("*.new"))
    for segment in (found, made):
        segment.close()


def test_epochs_differ(path: Path) -> None:
    assert len({create(path, LAYOUT, 0o600, None).epoch for _ in range(5)}) == 5


@pytest.mark.parametrize("umask", [0, 0o777])
@pytest.mark.parametrize(("mode", "group"), [(0o600, None), (0o640, os.getgid())])
def test_mode_is_exact_whatever_the_umask(path: Path, umask: int, mode: int, group: int | None) -> None:
    before = os.umask(umask)
    try:
        create(path, LAYOUT, mode, group).close()
        WriterLock(path, mode, group).release()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert stat.S_IMODE(lock_path(path).stat().st_mode) == mode


def test_only_two_modes() -> None:
    with pytest.raises(ValueError, match="0o600, or 0o640"):
        seg.group_number(0o666, None)


def test_readers_cannot_write(made: Segment, path: Path) -> None:
    found = open_existing(path)
    with pytest.raises(ValueError, match="read-only"):
        found.data[0, 0, 0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        found.words[STATE] = 0


def test_symbolic_links_are_refused(made: Segment, path: Path) -> None:
    link = path.with_name("bmac.link")
    link.symlink_to(path)
    with pytest.raises(StoreBroken, match="symbolic link"):
        open_existing(link)
    lock_path(link).symlink_to(path)
    with pytest.raises(StoreBroken, match="symbolic link"):
        WriterLock(link, 0o600, None)


def test_other_kinds_of_files_are_refused(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(StoreBroken, match="not a regular file"):
        open_existing(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreBroken, match="not a regular file"):
        open_existing(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_files_of_another_user_are_refused_unless_named(made: Segment, path: Path) -> None:
    os.chown(path, 65534, -1)
    with pytest.raises(StoreBroken, match="belongs to user 65534, expected 0"):
        open_existing(path)
    open_existing(path, owner=65534).close()
    with pytest.raises(StoreBroken, match="belongs to user"):
        open_existing(path, writable=True, owner=65534)


def test_truncated_files_never_map(made: Segment, path: Path) -> None:
    for size in (LAYOUT.file_size - 1, LAYOUT.file_size - 4096, 4096, 4095, 100, 0):
        os.truncate(path, size)
        with pytest.raises(StoreBroken):
            open_existing(path)


def test_foreign_and_older_files(path: Path) -> None:
    path.write_bytes(b"PAR1" + bytes(10_000))
    with pytest.raises(StoreBroken, match="begin with"):
        open_existing(path)
    create(path, LAYOUT, 0o600, None)
    with path.open("r+b") as file:
        file.seek(8)
        file.write(b"\x07")
    with pytest.raises(SegmentVersion, match="layout 7, this code knows 2"):
        open_existing(path)
    assert seg.peek_source(path) == "test", "the source is found in any version"


def test_damaged_header_is_refused(made: Segment, path: Path) -> None:
    for offset in (40, 64, 152, 168, 3000, LAYOUT.source_offset, LAYOUT.columns_offset):
        content = path.read_bytes()
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(bytes([content[offset] ^ 0x40]))
        with pytest.raises(StoreBroken):
            open_existing(path)
        path.write_bytes(content)
    open_existing(path).close()


def test_no_space_is_named_before_anything_is_taken(path: Path) -> None:
    room = os.statvfs(path.parent)
    bars = room.f_bavail * room.f_frsize // (4 * 4 * 16) + 10_000
    layout = Layout.of(small_spec(window=bars))
    with pytest.raises(NoSpace, match=rf"needs {layout.file_size} bytes .* free"):
        create(path, layout, 0o600, None)
    assert list(path.parent.iterdir()) == []


def test_fallocate_failing_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, offset: int, length: int) -> None:
        raise OSError(28, "No space left on device")

    create(path, LAYOUT, 0o600, None).close()
    before = path.read_bytes()
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(NoSpace, match="needs"):
        create(path, LAYOUT, 0o600, None)
    assert list(path.parent.iterdir()) == [path]
    assert path.read_bytes() == before


def test_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound, match="no such directory"):
        create(segment_path("x", tmp_path / "none"), LAYOUT, 0o600, None)


def test_what_a_killed_creator_left_is_replaced(path: Path) -> None:
    path.with_name("bmac.x.new").write_bytes(b"half")
    create(path, LAYOUT, 0o600, None).close()
    assert list(path.parent.iterdir()) == [path]


def test_room_that_a_killed_creator_took_counts_as_free(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = path.with_name(path.name + ".new")
    left.write_bytes(bytes(4096))
    measure = os.statvfs

    def statvfs(where: Path) -> object:
        assert not left.exists()
        return measure(where)

    monkeypatch.setattr(os, "statvfs", statvfs)
    create(path, LAYOUT, 0o600, None).close()


def test_one_writer_by_lock(path: Path) -> None:
    assert not writer_alive(path)
    lock = WriterLock(path, 0o600, None)
    assert writer_alive(path)
    with pytest.raises(WriterLocked, match=rf"process {os.getpid()} is writing this store"):
        WriterLock(path, 0o600, None)
    assert writer_alive(path), "a refused attempt must not free the lock"
    lock.release()
    lock.release()
    assert not writer_alive(path)
    WriterLock(path, 0o600, None).release()
    assert lock_path(path).exists(), "the lock file is never removed"


def test_a_lock_file_that_is_gone_or_shut_is_no_dead_writer(
    made: Segment, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer holds the lock of the store's file too, and every reader has that open."""
    lock = WriterLock(path, 0o600, None)
    lock.hold(made.fd)
    found = open_existing(path)
    lock_path(path).rename(path.with_name("elsewhere"))
    assert writer_alive(path, found.fd) and not writer_alive(path)
    path.with_name("elsewhere").rename(lock_path(path))

    opened = os.open

    def shut(file: Path | str, *args: int) -> int:
        if str(file).endswith(".lock"):
            raise PermissionError(13, "Permission denied")
        return opened(file, *args)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", shut)
        assert writer_alive(path, found.fd)
        with pytest.raises(
            StoreBroken, match=r"bmac\.x\.lock: this user may not read it \(Permission denied\)"
        ):
            writer_alive(path)
        lock.release()
        assert not writer_alive(path, found.fd)

    begun = WriterLock(path, 0o600, None)
    assert writer_alive(path, found.fd), "a writer that starts has only the lock file"
    begun.release()
    assert not writer_alive(path, found.fd)
    found.close()
    made.close()


def test_a_closed_segment_says_so(made: Segment) -> None:
    made.close()
    for look in (lambda: made.state, lambda: made.unlinked):
        with pytest.raises(ShmError, match=r"bmac\.x: this store is closed"):
            look()


def test_lock_is_not_inherited_by_exec(path: Path) -> None:
    lock = WriterLock(path, 0o600, None)
    assert fcntl.fcntl(lock.fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    lock.release()


def test_views_outlive_close(made: Segment, path: Path) -> None:
    made.data[1, 2, 3] = 42.0
    found = open_existing(path)
    view = found.data[1, 2, 3:5]
    found.close()
    made.close()
    path.unlink()
    assert view[0] == 42.0 and np.isnan(view[1])


def test_other_platforms_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    seg.check_platform()
    monkeypatch.setattr(seg.platform, "machine", lambda: "riscv64")
    with pytest.raises(ShmError, match="needs Linux on x86_64 or aarch64, found linux on riscv64"):
        seg.check_platform()
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ShmError, match="found darwin"):
        seg.check_platform()


def test_a_large_file_lies_where_huge_pages_can(tmp_path: Path) -> None:
    """It is mapped at a multiple of 2 MiB, whole, in place; a view keeps it, and without one it is gone."""
    layout = Layout.of(small_spec(window=3000, max_symbols=16))
    assert layout.file_size > 1 << 21
    path = tmp_path / "bmac.large"
    made = create(path, layout, 0o600, None)
    found = open_existing(path)
    for segment in (made, found):
        assert segment.words.ctypes.data % (1 << 21) == 0
        assert segment.data.ctypes.data == segment.words.ctypes.data + layout.data_offset
    made.data[-1, -1, -1] = 7.0
    assert found.data[-1, -1, -1] == 7.0
    assert not found.data.flags.writeable
    with pytest.raises(ValueError, match="WRITEABLE"):
        found.data.flags.writeable = True
    assert path.read_bytes()[: layout.data_offset] == made.words.tobytes()

    view = found.data[-1, -1]
    made.close()
    found.close()

    def maps() -> int:
        return sum(str(path) in line for line in Path("/proc/self/maps").read_text().splitlines())

    assert view[-1] == 7.0
    assert maps() == 1
    del view
    assert maps() == 0
