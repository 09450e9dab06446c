"""What can go wrong, case by case. This table says where each of the 19 cases is tested, and which deliberate
bugs are shown to be caught there; `test_every_case_is_mapped` reads it.

case | what                          | tests                                              | mutants
1    | torn bar or window            | test_stress, test_mutants                          | count first, one copy, <=, cap == window, no validation
2    | order, invisible on x86       | test_memory_model, test_codegen                    | each fence, release and acquire taken away in turn
3    | compiler deletes or hoists    | test_codegen                                       | plain loads and stores
4    | counters wrap                 | test_failures::test_counters_at_their_limits, test_failures::test_narrow_compare_is_caught | narrow compare
5    | writer killed at every step   | test_crash                                         | count first, begin before the redo record, no redo at restart
6    | restart with readers attached | test_crash, test_store, test_failures::test_restart_by_a_new_file_is_noticed | unlink and create anew
7    | two collectors                | test_failures::test_second_writer_is_refused, test_segment | no lock
8    | dead and stalled writers      | test_failures::test_stalled_is_not_dead, test_wake | lock not asked for
9    | readers crash or stall        | test_failures::test_readers_killed_and_stopped, test_wake | SharedMemory instead of our own map
10   | lost wake-ups                 | test_failures::test_no_wake_up_is_lost, test_failures::test_lost_wake_up_is_caught, test_memory_model | word late, bump first, no bump, no wake, crowd forgotten
11   | resource tracker              | test_failures::test_tracker_leaves_our_file_alone, test_failures::test_tracker_unlinks_for_shared_memory | SharedMemory instead of our own map
12   | foreign and damaged files     | test_failures::test_every_header_byte_counts, test_failures::test_unchecked_header_is_caught, test_segment, test_store | no checksum
13   | full file system              | test_failures::test_full_file_system, test_failures::test_truncate_instead_of_allocate_is_caught, test_segment | ftruncate instead of fallocate
14   | permissions, links, umask     | test_failures::test_other_users_are_refused, test_segment | 0o666 (refused by group_number)
15   | slow reader                   | test_failures::test_slow_reader_gets_no_value, test_store | no validation
16   | symbols come and go           | test_directory, test_memory_model                  | state first, slot reuse
17   | panels                        | test_stress, test_mutants, test_failures::test_complete_asks_every_symbol | head after the data, validated by complete, complete early
18   | life of mapped views          | test_failures::test_views_keep_the_map, test_segment | explicit unmap
19   | corrections and late fills    | test_stress, test_mutants, test_crash, test_memory_model, test_codegen, test_corrections | no begin, end first, no redo, fences
"""  # noqa: E501

import ast
import contextlib
import multiprocessing
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shm import (
    Lagging,
    NoSpace,
    OrderError,
    SegmentVersion,
    ShmError,
    Spec,
    Status,
    StoreBroken,
    StoreNotFound,
    StoreReader,
    StoreRetired,
    StoreWriter,
    WriterDead,
    WriterLocked,
    WriterStalled,
)
from shm.layout import COMPLETE, FUTEX, HEADER_BYTES, SLOT_COUNT, SLOTS, STATE_OFFSET
from tests.shm.mutants import Change, build
from tests.shm.workers import Kit, Real, new_arena

DIRECTORY = Path("/dev/shm")
SPEC = Spec(columns=("a", "b"), window=8, slack=8, max_symbols=3, interval_ms=1000, source="test")
HERE = Path(__file__).parent
IS_ROOT = os.geteuid() == 0


@pytest.fixture
def name() -> Iterator[str]:
    name = f"failures-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    try:
        yield name
    finally:
        for path in DIRECTORY.glob(f"bmac.{name}*"):
            path.unlink()


def fill(writer: StoreWriter, n_bars: int, symbols: tuple[str, ...] = ("X", "Y")) -> None:
    for symbol in symbols:
        writer.activate(writer.add_symbol(symbol, 0))
    for g in range(n_bars):
        for slot in range(len(symbols)):
            writer.append(slot, g, [float(g), float(slot)])
        writer.complete(g)


def run(code: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """A Python process of its own; options are subprocess.run's."""
    options.setdefault("timeout", 60)
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def test_every_case_is_mapped() -> None:
    """The table above names all 19 cases, and only tests that exist."""
    rows = re.findall(r"^(\d+) +\|([^|]*)\|([^|]*)\|([^|]*)$", __doc__ or "", flags=re.M)
    assert [int(row[0]) for row in rows] == list(range(1, 20))
    for number, _, tests, mutants in rows:
        assert mutants.strip(), f"case {number} shows no mutant"
        for test in tests.split(","):
            file, _, function = test.strip().partition("::")
            path = HERE / f"{file}.py"
            assert path.exists(), f"case {number}: no {path.name}"
            names = {node.name for node in ast.walk(ast.parse(path.read_text())) if hasattr(node, "name")}
            assert not function or function in names, f"case {number}: no {test}"


# ---- 4: counters ----


@pytest.mark.parametrize("first_g", [2**31 - 10, 2**32 - 10, 2**53 - 10, 2**63 - 60])
def test_counters_at_their_limits(name: str, first_g: int) -> None:
    with StoreWriter.open(name, SPEC) as writer, StoreReader.attach(name) as reader:
        slot = writer.add_symbol("X", first_g)
        writer.activate(slot)
        for g in range(first_g, first_g + 40):
            token = reader.token(slot, 8)
            writer.append(slot, g, [float(g % 1000), 0.0])
            writer.complete(g)
            assert reader.valid(token)
            assert reader.count(slot) == g + 1
            assert reader.complete_g == g
        rows = reader.read(slot, np.copy, 8)
        assert rows[0].tolist() == [float(g % 1000) for g in range(first_g + 32, first_g + 40)]
        panel = reader.read_panel("a", np.copy, 8)
        assert panel[0].tolist() == rows[0].tolist()


def _accepts_after(kit: Kit, n: int, corrections: bool) -> bool:
    """Does a token still hold after n appends, or n corrections?"""
    ring = kit.module("ring")
    words, data = new_arena(1, 16)
    row = np.zeros(5)
    for g in range(16):
        ring.append(words, data, 0, g, row, 1)
    reader = words.view()
    reader.flags.writeable = False
    count, end = ring.slot_begin(reader, 0)
    for k in range(n):
        if corrections:
            ring.correct(words, data, 0, 10, row, 1)
        else:
            ring.append(words, data, 0, 16 + k, row, 1)
    return bool(ring.slot_valid(reader, 0, count - 8, 16, end))


RULE = "return bool(count - oldest < cap and begun == corrections)"


def test_a_token_never_comes_back(tmp_path: Path) -> None:
    assert not any(_accepts_after(Real(), n, False) for n in (8, 255, 256, 257, 65536))
    assert not any(_accepts_after(Real(), n, True) for n in (1, 7, 8, 256, 65536))


@pytest.mark.parametrize("corrections", [False, True])
def test_narrow_compare_is_caught(tmp_path: Path, corrections: bool) -> None:
    """A count or serial of which only some bits are compared comes round again."""
    narrow = "return bool((count - oldest) % 256 < cap and begun % 8 == corrections % 8)"
    kit = build(tmp_path, [Change("ring", RULE, narrow)])
    assert _accepts_after(kit, 256, corrections)


# ---- 6, 7, 8: restarts, locks, dead and stalled writers ----


def _hold(name: str, connection: Any) -> None:
    """A writer that beats until it is told to end."""
    with StoreWriter.open(name, SPEC) as writer:
        fill(writer, 20) if not writer.symbols else None
        connection.send("ready")
        while not connection.poll(0.02):
            writer.heartbeat()


@contextlib.contextmanager
def holder(name: str) -> Iterator[Any]:
    """A process that is the writer; killed at the end."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_hold, args=(name, theirs))
    process.start()
    try:
        assert ours.poll(60)
        assert ours.recv() == "ready"
        yield process
    finally:
        process.kill()
        process.join()


def test_second_writer_is_refused(name: str) -> None:
    """While the first runs, and while it is stopped; at once when it is dead, however it died."""
    with holder(name) as process:
        with pytest.raises(WriterLocked, match=str(process.pid)):
            StoreWriter.open(name, SPEC)
        os.kill(process.pid, signal.SIGSTOP)
        with pytest.raises(WriterLocked, match=str(process.pid)):
            StoreWriter.open(name, SPEC)
        os.kill(process.pid, signal.SIGCONT)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        with StoreWriter.open(name, SPEC) as writer:
            assert not writer.created
            assert writer.generation == 2


def test_no_lock_is_caught(name: str, tmp_path: Path) -> None:
    """The mutant of case 7: without the lock a second writer gets in, which the test above would see."""
    kit = build(tmp_path, [Change("segment", "fcntl.F_OFD_SETLK", "fcntl.F_OFD_GETLK", 0)])  # asks, takes not
    package = kit.module("")
    spec = package.Spec(columns=("a", "b"), window=8, slack=8, max_symbols=3, interval_ms=1000, source="test")
    with package.StoreWriter.open(name, spec), package.StoreWriter.open(name, spec):
        pass


def test_stalled_is_not_dead(name: str) -> None:
    with holder(name) as process, StoreReader.attach(name) as reader:
        reader.check_writer(5.0)
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(0.3)
        with pytest.raises(WriterStalled, match=str(process.pid)):
            reader.check_writer(0.2)
        assert reader.writer_alive
        assert reader.read(0, np.copy, 4)[0].tolist() == [16.0, 17.0, 18.0, 19.0]
        os.kill(process.pid, signal.SIGCONT)
        time.sleep(0.2)
        reader.check_writer(5.0)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        with pytest.raises(WriterDead):
            reader.check_writer(1e9)  # by the lock, not by the silence: a process number may be used again
        with pytest.raises(WriterDead):
            reader.wait(reader.complete_g, 30.0)
        assert reader.read(0, np.copy, 4)[0].tolist() == [16.0, 17.0, 18.0, 19.0]


def test_restart_by_a_new_file_is_noticed(name: str) -> None:
    """The mutant of case 6: a writer that unlinks and creates. Its readers are told, and never hang."""
    with StoreWriter.open(name, SPEC) as writer:
        fill(writer, 20)
    with StoreReader.attach(name) as reader:
        (DIRECTORY / f"bmac.{name}").unlink()
        with StoreWriter.open(name, SPEC) as writer:
            assert writer.created
            with pytest.raises(StoreRetired):
                reader.check_writer()
            with pytest.raises(StoreRetired):
                reader.wait(reader.complete_g, 30.0)


# ---- 9: readers ----


def _read_for_ever(name: str, connection: Any) -> None:
    with StoreReader.attach(name) as reader:
        connection.send("ready")
        while True:
            with contextlib.suppress(Lagging, TimeoutError):
                reader.wait(reader.complete_g, 1.0)
                reader.read(0, np.copy, 8)


def test_readers_killed_and_stopped(name: str) -> None:
    """Readers that die or stop in the middle of waiting or reading: the writer goes on as if nothing were."""
    context = multiprocessing.get_context("spawn")
    with StoreWriter.open(name, SPEC) as writer:
        fill(writer, 20)
        processes = []
        for _ in range(3):
            ours, theirs = context.Pipe()
            process = context.Process(target=_read_for_ever, args=(name, theirs))
            process.start()
            processes.append((process, ours))
        try:
            for _, connection in processes:
                assert connection.poll(60)
            g = 20
            for moment in range(300):
                for slot in range(2):
                    writer.append(slot, g, [float(g), 0.0])
                writer.complete(g)
                g += 1
                time.sleep(0.0005)
                if moment == 100:
                    os.kill(processes[0][0].pid or 0, signal.SIGKILL)
                    os.kill(processes[1][0].pid or 0, signal.SIGSTOP)
                if moment == 200:
                    os.kill(processes[2][0].pid or 0, signal.SIGKILL)
                    os.kill(processes[1][0].pid or 0, signal.SIGCONT)
            with StoreReader.attach(name) as reader:
                assert reader.complete_g == 319
                assert reader.read(0, np.copy, 1)[0, 0] == 319.0
            assert processes[1][0].is_alive()
        finally:
            for process, _ in processes:
                process.kill()
                process.join()
        assert (DIRECTORY / f"bmac.{name}").exists()


# ---- 10: lost wake-ups ----


def lost_wake_ups(kit: Kit, rounds: int, n_readers: int, publish: Callable[..., None] | None = None) -> int:
    """Readers that slept on although the writer had published and rung; stops at the first round with one.

    A reader sleeps for two seconds at most. It was lost if it slept for a second and more after the writer
    had finished ringing: the writer's own delays do not count. Bounded by `rounds` and 20 s.
    """
    wake, ring = kit.module("wake"), kit.module("ring")
    words = np.zeros(SLOTS, np.int64)
    view = words.view()
    view.flags.writeable = False
    bell = np.zeros(1024, np.int64)
    wake.ring_bell(words, bell)
    wake.await_word(view, COMPLETE, -1, 0, 0)
    crowd = threading.Thread(target=wake._bell_loop, args=(words, bell), daemon=True)
    crowd.start()
    arrived, returned = threading.Barrier(n_readers + 1), threading.Barrier(n_readers + 1)
    stop, rung = False, 0.0
    late = [0.0] * n_readers

    def read(i: int) -> None:
        seen = 0
        while True:
            arrived.wait(30)
            if stop:
                return
            while wake.await_word(view, COMPLETE, seen, 0, 2_000_000_000) <= seen:
                pass
            seen += 1
            late[i] = time.monotonic()
            returned.wait(30)

    threads = [threading.Thread(target=read, args=(i,), daemon=True) for i in range(n_readers)]
    for thread in threads:
        thread.start()
    rng, lost, until = np.random.default_rng(1), 0, time.monotonic() + 20
    for value in range(1, rounds + 1):
        arrived.wait(30)
        for _ in range(int(rng.integers(0, 3))):
            time.sleep(float(rng.uniform(0, 1e-4)))
        if publish is None:
            ring.post(words, COMPLETE, value)
            wake.ring_bell(words, bell)
        else:
            publish(words, bell, value)
        rung = time.monotonic()
        returned.wait(30)
        lost += sum(moment - rung > 1.0 for moment in late)
        if lost or time.monotonic() > until:
            break
    stop = True
    arrived.wait(30)
    for thread in threads:
        thread.join(5)
    wake._stop_bell(words, bell)
    crowd.join(5)
    return lost


_CHECK = (
    "        futex = load_acquire(words, FUTEX)\n"
    "        value = load_acquire(words, i)\n"
    "        if value > seen:\n"
    "            return value\n"
)
_PAUSE = "        for _ in range(20000):\n            pause()\n"
_LATE = (
    "        value = load_acquire(words, i)\n"
    "        if value > seen:\n"
    "            return value\n"
    f"{_PAUSE}"
    "        futex = load_acquire(words, FUTEX)\n"
)
WAKE_MUTANTS = {
    "word loaded after the look at the data": (1, (Change("wake", _CHECK, _LATE),)),
    "word not bumped": (
        1,
        (
            Change("wake", _CHECK, _CHECK + _PAUSE),
            Change("wake", "    xadd(words, FUTEX, 1)\n    woken", "    woken"),
        ),
    ),
    "nobody woken": (1, (Change("wake", "woken = futex_wake(words, FUTEX, 1)", "woken = 0"),)),
    "the crowd forgotten": (3, (Change("wake", "if woken > 0 or n_bells > 1:", "if n_bells > 1:"),)),
}


@pytest.mark.parametrize("n_readers", [1, 3])
def test_no_wake_up_is_lost(n_readers: int) -> None:
    assert lost_wake_ups(Real(), 1500, n_readers) == 0


def test_no_wake_up_is_lost_in_a_slow_reader(tmp_path: Path) -> None:
    """With a pause where the mutants below are hurt by one."""
    kit = build(tmp_path, [Change("wake", _CHECK, _CHECK + _PAUSE)])
    assert lost_wake_ups(kit, 300, 1) == 0


@pytest.mark.stress
def test_no_wake_up_is_lost_long() -> None:
    for _ in range(20):
        assert lost_wake_ups(Real(), 50_000, 2) == 0


@pytest.mark.parametrize("mutant", WAKE_MUTANTS)
def test_lost_wake_up_is_caught(tmp_path: Path, mutant: str) -> None:
    n_readers, changes = WAKE_MUTANTS[mutant]
    assert lost_wake_ups(build(tmp_path, changes), 3000, n_readers) > 0


def test_bump_before_the_data_is_caught(tmp_path: Path) -> None:
    """A writer that rings first and publishes then: a reader in between goes to sleep on old data."""
    kit = Real()
    wake, ring = kit.module("wake"), kit.module("ring")

    def publish(words: Any, bell: Any, value: int) -> None:
        wake.ring_bell(words, bell)
        time.sleep(0.001)
        ring.post(words, COMPLETE, value)

    assert lost_wake_ups(kit, 100, 1, publish) > 0
    assert FUTEX != COMPLETE


def test_long_spins() -> None:
    """Seconds of spinning take no stack: a clock read in a loop once took 16 bytes each time, and died."""
    code = """
import threading, numpy as np
from shm.wake import await_word
threading.stack_size(256 * 1024)
words = np.zeros(20000, np.int64); words.flags.writeable = False
thread = threading.Thread(target=await_word, args=(words, 544, 0, 1_500_000_000, 0))
thread.start(); thread.join(); print("alive")
"""
    done = run(code)
    assert "alive" in done.stdout, done.stderr


# ---- 11: the resource tracker ----

_SHARED = (
    "import sys; from multiprocessing.shared_memory import SharedMemory; s = SharedMemory(sys.argv[1]); "
)


@pytest.mark.parametrize("end", ["", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"])
def test_tracker_leaves_our_file_alone(name: str, end: str) -> None:
    with StoreWriter.open(name, SPEC) as writer:
        fill(writer, 3)
        run(f"import sys; from shm import StoreReader; r = StoreReader.attach(sys.argv[1]); {end}", name)
        assert (DIRECTORY / f"bmac.{name}").stat().st_nlink == 1


def test_tracker_unlinks_for_shared_memory(name: str) -> None:
    """The mutant of cases 9 and 11, and why we map by ourselves: attaching so takes the file away."""
    with StoreWriter.open(name, SPEC) as writer:
        fill(writer, 3)
        done = run(_SHARED, f"bmac.{name}")
        assert done.returncode == 0, done.stderr
        if (DIRECTORY / f"bmac.{name}").exists():
            pytest.skip("this Python's resource tracker leaves an attached segment alone")
        with StoreReader(writer._segment) as reader, pytest.raises(StoreRetired):
            reader.check_writer()


# ---- 12: foreign and damaged files ----


def _named(look: Callable[[Path], Any], path: Path, error: type[Exception]) -> bool:
    """Is the file refused by an error of ours? Anything else is a damaged file that was believed."""
    try:
        look(path).close()
    except error:
        return True
    except Exception:
        return False
    return False


def test_every_header_byte_counts(name: str) -> None:
    """No byte of the header or the texts can be flipped unnoticed, nothing shorter or longer is taken."""
    with StoreWriter.open(name, SPEC) as writer:
        fill(writer, 3)
        texts = writer._segment.layout.source_offset, writer._segment.layout.texts
    path = DIRECTORY / f"bmac.{name}"
    image = path.read_bytes()
    with path.open("r+b", buffering=0) as file:
        for at in [*range(HEADER_BYTES), *range(texts[0], texts[0] + len(texts[1]))]:
            file.seek(at)
            file.write(bytes([image[at] ^ 0x10]))
            with pytest.raises((StoreBroken, SegmentVersion)):
                StoreReader.attach(name)
            file.seek(at)
            file.write(image[at : at + 1])
        StoreReader.attach(name).close()
        for size in (0, 1, 4095, 4096, 8192, len(image) - 4096, len(image) - 1, len(image) + 4096):
            file.truncate(size)
            with pytest.raises(StoreBroken):
                StoreReader.attach(name)
        file.seek(0)
        file.truncate(len(image))
        file.write(image)
        file.seek(STATE_OFFSET)
        file.write(bytes(8))  # never became READY
        with pytest.raises(StoreNotFound, match="READY"):
            StoreReader.attach(name, timeout_s=0.1)


def test_unchecked_header_is_caught(name: str, tmp_path: Path) -> None:
    """Without the checksum some flipped byte is taken for good."""
    with StoreWriter.open(name, SPEC):
        pass
    old = "if zlib.crc32(header[_PREFIX.size :] + texts) != checksum:"
    kit = build(tmp_path, [Change("layout", old, "if False:")])
    error = kit.module("errors").ShmError
    path = DIRECTORY / f"bmac.{name}"
    taken = 0
    with path.open("r+b", buffering=0) as file:
        image = path.read_bytes()
        for at in range(24, 400):
            file.seek(at)
            file.write(bytes([image[at] ^ 0x10]))
            taken += not _named(kit.module("segment").open_existing, path, error)
            file.seek(at)
            file.write(image[at : at + 1])
    assert taken > 0


# ---- 13: full file systems ----


@pytest.fixture
def small_tmpfs(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 256 KiB; the smallest store needs more."""
    if not IS_ROOT:
        pytest.skip("mounting a small tmpfs needs root")
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=False)


BIG = "Spec(columns=('a',), window=2000, max_symbols=64, interval_ms=1000, source='test')"


def test_full_file_system(small_tmpfs: Path) -> None:
    """An error that names need and room, and nothing left; even when the first look at the room was wrong."""
    lie = "import os; real = os.statvfs; os.statvfs = lambda p: real('/dev/shm'); "
    for look in ("", lie):
        code = f"import sys; {look}from shm import *; StoreWriter.open('x', {BIG}, directory=sys.argv[1])"
        done = run(code, str(small_tmpfs))
        assert done.returncode == 1, done.stderr
        assert "NoSpace" in done.stderr
        assert "needs" in done.stderr
        assert not (small_tmpfs / "bmac.x").exists()
        assert not (small_tmpfs / "bmac.x.new").exists()


def test_truncate_instead_of_allocate_is_caught(small_tmpfs: Path, tmp_path: Path) -> None:
    """The mutant of case 13 dies of SIGBUS, which no handler of ours could turn into an error."""
    kit = build(
        tmp_path,
        [
            Change("segment", "os.posix_fallocate(fd, 0, need)", "os.ftruncate(fd, need)"),
            Change("segment", "if free < need:", "if False:"),
        ],
    )
    code = f"import sys; sys.path.insert(0, {kit.folder!r}); from {kit.package} import *; "
    done = run(f"{code}StoreWriter.open('x', {BIG}, directory=sys.argv[1])", str(small_tmpfs))
    assert done.returncode == -signal.SIGBUS, done.stderr


def test_limit_on_file_size(name: str) -> None:
    """A process that may not make files of that size gets the same error."""
    code = f"import sys; from shm import *; StoreWriter.open(sys.argv[1], {BIG})"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    done = run(code, name, preexec_fn=limit)
    assert done.returncode == 1, done.stderr
    assert NoSpace.__name__ in done.stderr


# ---- 14: other users ----


@pytest.mark.skipif(not IS_ROOT, reason="becoming another user needs root")
def test_other_users_are_refused(name: str) -> None:
    with StoreWriter.open(name, SPEC) as writer:
        fill(writer, 3)
        for path in DIRECTORY.glob(f"bmac.{name}*"):
            if not path.is_socket():
                done = subprocess.run(
                    ["cat", str(path)], user=65534, group=65534, cwd="/", capture_output=True, check=False
                )
                assert done.returncode != 0
                assert b"Permission denied" in done.stderr
            assert path.stat().st_mode & 0o177 == 0, path
    with pytest.raises(ValueError, match="0o600"):
        StoreWriter.open(name, SPEC, mode=0o666)


# ---- 15, 17, 18 ----


def test_slow_reader_gets_no_value(name: str) -> None:
    """A reader's function that takes longer than the slack: refused, retried, then Lagging. Never a value."""
    with StoreWriter.open(name, SPEC) as writer, StoreReader.attach(name) as reader:
        fill(writer, 20)
        calls = []

        def slow(rows: Any) -> float:
            before = rows[0].copy()
            for g in range(writer.count(0), writer.count(0) + 24):  # a lap, and the block that is copied last
                for slot in range(2):
                    writer.append(slot, g, [float(g), 0.0])
                writer.complete(g)
            calls.append(bool((before != rows[0]).any()))
            return float(rows[0].sum())

        for look in (lambda: reader.read(0, slow, 8), lambda: reader.read_panel("a", slow, 8)):
            calls.clear()
            with pytest.raises(Lagging):
                look()
            assert len(calls) == 4
            assert all(calls)  # what it looked at did change under its hands


def test_complete_asks_every_symbol(name: str) -> None:
    with StoreWriter.open(name, SPEC) as writer, StoreReader.attach(name) as reader:
        fill(writer, 20)
        writer.append(0, 20, [20.0, 0.0])
        with pytest.raises(OrderError, match="Y"):
            writer.complete(20)
        assert reader.complete_g == 19
        assert reader.read_panel("a", np.copy, 2).tolist() == [[18.0, 19.0], [18.0, 19.0]]
        writer.append(1, 20, [20.0, 1.0], Status.BAR)
        writer.complete(20)
        assert reader.read_panel("a", np.copy, 2).tolist() == [[19.0, 20.0], [19.0, 20.0]]


def test_views_keep_the_map(name: str) -> None:
    """After both ends are closed and forgotten, a view is still the memory it was. An explicit unmap, the
    mutant of case 18, is refused by Python as long as a view lives."""
    writer = StoreWriter.open(name, SPEC)
    fill(writer, 20)
    reader = StoreReader.attach(name)
    view = reader.view(0, "a", 8)
    base: Any = reader.data
    while isinstance(base, np.ndarray):
        base = base.base
    reader.close()
    writer.append(0, 20, [20.0, 0.0])
    writer.close()
    assert view.tolist() == [float(g) for g in range(12, 20)]
    mapped = base.obj if isinstance(base, memoryview) else base
    with pytest.raises(BufferError):
        mapped.close()
    with pytest.raises(ShmError):
        reader.count(0)
    assert SLOT_COUNT == 0
