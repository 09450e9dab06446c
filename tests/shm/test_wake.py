"""shm/wake.py: blocked and asyncio readers wake, a slow or dead one costs the writer nothing.
Lost wake-ups under load are test_stress.py's subject."""

import asyncio
import contextlib
import gc
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shm import ShmError, StoreReader, StoreRetired, StoreWriter, WriterDead, WriterStalled
from shm import layout as lay
from shm.segment import bell_path
from shm.wake import MAX_BELLS, BellClient
from shm.wake_asyncio import AsyncBell
from tests.shm.support import fill, small_spec


@pytest.fixture
def writer(store_name: str) -> Iterator[StoreWriter]:
    with StoreWriter.open(store_name, small_spec()) as writer:
        fill(writer, 1, 0, 5)
        yield writer


@pytest.fixture
def reader(writer: StoreWriter, store_name: str) -> Iterator[StoreReader]:
    with StoreReader.attach(store_name) as reader:
        yield reader


def _advance(writer: StoreWriter) -> int:
    g = writer.complete_g + 1
    writer.skip_to(0, g + 1)
    writer.complete(g)
    return g


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, f"not within 5 s: {what}"
        time.sleep(0.002)


def test_wait_returns_at_once_what_is_there(reader: StoreReader) -> None:
    assert reader.wait(-1, 0.0) == 4
    assert reader.wait_slot(0, 4, 0.0) == 5
    assert reader.wait(3, 0.0, spin_us=50) == 4


def test_wait_times_out(reader: StoreReader) -> None:
    for spin_us in (0, 1000, 10**9):
        start = time.monotonic()
        with pytest.raises(TimeoutError, match=r"nothing new within 0.05 s"):
            reader.wait(4, 0.05, spin_us=spin_us)
        assert time.monotonic() - start >= 0.05


@pytest.fixture
def no_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sleepers do not look up by themselves for a minute: only a bell can wake them."""
    monkeypatch.setattr("shm.reader._SLICE_S", 60.0)


@pytest.mark.usefixtures("no_slices")
@pytest.mark.parametrize("spin_us", [0.0, 1e6])
def test_all_blocked_readers_wake(writer: StoreWriter, store_name: str, spin_us: float) -> None:
    """The writer's own call wakes one; the bell thread wakes the rest."""
    n_readers = 2 if spin_us else 6
    results: list[int] = []

    def sleeper() -> None:
        with StoreReader.attach(store_name) as reader:
            seen = 4
            while seen < 7:
                seen = reader.wait(seen, 60, spin_us=spin_us)
            results.append(seen)

    start = time.monotonic()
    threads = [threading.Thread(target=sleeper) for _ in range(n_readers)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        time.sleep(0.1)
        last = _advance(writer)
    for thread in threads:
        thread.join(100)
    assert results == [last] * n_readers
    assert time.monotonic() - start < 30, "woken, not timed out"


@pytest.mark.usefixtures("no_slices")
def test_notify_wakes_readers_of_one_slot(writer: StoreWriter, reader: StoreReader) -> None:
    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(reader.wait_slot(0, 5, 60)))
    thread.start()
    time.sleep(0.05)
    writer.skip_to(0, 6)
    writer.notify()
    thread.join(30)
    assert results == [6]


def test_futex_word_goes_up_after_publication(writer: StoreWriter, reader: StoreReader) -> None:
    before = int(reader.words[lay.FUTEX])
    _advance(writer)
    writer.notify()
    assert reader.words[lay.FUTEX] == before + 2


def test_dead_and_stalled_writers_end_a_wait(writer: StoreWriter, reader: StoreReader) -> None:
    reader.max_silence_s = 0.3
    writer.heartbeat()
    start = time.monotonic()
    with pytest.raises(WriterStalled, match=rf"process {os.getpid()} holds .* silent for [0-9.]+ s.*0.3 s"):
        reader.wait(4, 10)
    assert time.monotonic() - start >= 0.29
    writer.close()
    with pytest.raises(WriterDead, match=r"nobody writes it, silent for [0-9.]+ s \(phase 'closed'"):
        reader.wait(4, 10)
    assert reader.wait(3, 10) == 4, "what is there can still be had"


def test_a_signal_ends_a_blocked_wait(reader: StoreReader) -> None:
    class Stop(Exception):
        pass

    def stop(signum: int, frame: object) -> None:
        raise Stop

    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        start = time.monotonic()
        with pytest.raises(Stop):
            reader.wait(4, 30)
        assert time.monotonic() - start < 10
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("no_slices")
async def test_asyncio_waits_by_eventfd(writer: StoreWriter, reader: StoreReader) -> None:
    assert await reader.wait_async(-1, 0.0) == 4
    with pytest.raises(TimeoutError):
        await reader.wait_async(4, 0.05)
    waits = [asyncio.create_task(reader.wait_async(4, 60)) for _ in range(3)]
    await asyncio.sleep(0.05)
    assert writer._bell.n_bells == 1, "one eventfd, however many tasks"
    start = time.monotonic()
    g = _advance(writer)
    assert await asyncio.gather(*waits) == [g] * 3
    assert time.monotonic() - start < 30, "woken, not timed out"


async def test_arrivals(writer: StoreWriter, reader: StoreReader) -> None:
    seen = []

    async def follow() -> None:
        async for g in reader.arrivals():
            seen.append(g)
            if g >= 9:
                return

    task = asyncio.create_task(follow())
    for _ in range(5):
        await asyncio.sleep(0.03)
        _advance(writer)
    await asyncio.wait_for(task, 5)
    assert seen == [5, 6, 7, 8, 9]
    late = reader.arrivals(seen_g=0)
    assert await anext(late) == 9, "what was completed meanwhile is one arrival"
    await late.aclose()


async def test_asyncio_finds_a_restarted_writer(
    writer: StoreWriter, reader: StoreReader, store_name: str
) -> None:
    with pytest.raises(TimeoutError):
        await reader.wait_async(4, 0.05)
    writer._finalizer()
    with pytest.raises(WriterDead):
        await reader.wait_async(4, 10)
    with StoreWriter.open(store_name, small_spec()) as second:
        task = asyncio.create_task(reader.wait_async(4, 10))
        await asyncio.sleep(0.1)
        assert second._bell.n_bells == 1
        g = _advance(second)
        assert await task == g


@pytest.mark.usefixtures("no_slices")
async def test_asyncio_without_a_socket_sleeps_in_a_thread(writer: StoreWriter, reader: StoreReader) -> None:
    bell_path(reader.path).unlink()
    task = asyncio.create_task(reader.wait_async(4, 60))
    await asyncio.sleep(0.1)
    start = time.monotonic()
    g = _advance(writer)
    assert await task == g
    assert time.monotonic() - start < 30, "woken, not timed out"


def test_asyncio_reader_may_move_to_another_loop(writer: StoreWriter, reader: StoreReader) -> None:
    for _ in range(2):

        async def once() -> int:
            task = asyncio.create_task(reader.wait_async(writer.complete_g, 10))
            await asyncio.sleep(0.05)
            g = _advance(writer)
            assert await task == g
            return g

        asyncio.run(once())


@pytest.mark.usefixtures("no_slices")
def test_a_wait_that_ends_at_once_leaves_nothing_in_a_closed_loop(
    writer: StoreWriter, reader: StoreReader
) -> None:
    for _ in range(5):
        assert asyncio.run(reader.wait_async(3, 5)) == 4
        with pytest.raises(TimeoutError):
            asyncio.run(reader.wait_async(4, 0.0))
    assert not reader._bell._waiting

    async def once() -> int:
        task = asyncio.create_task(reader.wait_async(4, 60))
        await asyncio.sleep(0.05)
        _advance(writer)
        return await asyncio.wait_for(task, 10)

    assert asyncio.run(once()) == 5


def test_waiters_of_a_closed_loop_keep_nobody_from_being_woken(
    writer: StoreWriter, reader: StoreReader
) -> None:
    bell = AsyncBell(bell_path(reader.path))
    problems = []

    async def abandoned() -> None:
        assert bell.connect()
        assert await bell.heard(bell.next_ring(), 5), "the writer rings once when it takes one in"
        bell.next_ring()

    async def woken() -> list[bool]:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        assert bell.connect()
        rungs = [bell.next_ring() for _ in range(5)]
        _advance(writer)
        return [await bell.heard(rung, 1) for rung in rungs]

    for _ in range(3):
        asyncio.run(abandoned())
    assert asyncio.run(woken()) == [True] * 5
    assert not problems
    bell.close()


@pytest.mark.usefixtures("no_slices")
async def test_closing_a_reader_ends_the_waits_of_its_tasks(writer: StoreWriter, reader: StoreReader) -> None:
    waits = [asyncio.create_task(reader.wait_async(4, 60)) for _ in range(3)]
    await asyncio.sleep(0.05)
    reader.close()
    done, pending = await asyncio.wait(waits, timeout=5)
    for task in pending:
        task.cancel()
    assert not pending, "woken, not timed out"
    for task in done:
        with pytest.raises(ShmError, match="this reader is closed"):
            await task
    with pytest.raises(ShmError, match="this reader is closed"):
        await reader.wait_async(-1, 0.0)
    assert reader._bell._client is None, "a closed reader does not connect again"


def test_a_second_loop_takes_the_bell_and_wakes_nobody(writer: StoreWriter, reader: StoreReader) -> None:
    """Woken by that, the waits of two loops would take it from each other without end."""
    bell = AsyncBell(bell_path(reader.path))

    async def listen() -> "asyncio.Future[None]":
        assert bell.connect()
        assert await bell.heard(bell.next_ring(), 5), "the first ring"
        return bell.next_ring()

    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    try:
        lost = first.run_until_complete(listen())
        kept = second.run_until_complete(listen())
        bell.close()
        for loop in (first, second):
            loop.run_until_complete(asyncio.sleep(0.01))
        assert kept.done() and not lost.done()
    finally:
        first.close()
        second.close()


def test_places_of_readers_that_left_are_used_again(writer: StoreWriter, reader: StoreReader) -> None:
    path = bell_path(reader.path)
    for _ in range(30):
        client = BellClient(path)
        _until(lambda client=client: _rung(client), "the first ring")  # type: ignore[misc]
        _advance(writer)
        _until(lambda client=client: _rung(client), "a ring")  # type: ignore[misc]
        client.close()
        time.sleep(0.002)
    assert writer._bell.n_bells <= 5


def _rung(client: BellClient) -> bool:
    with contextlib.suppress(BlockingIOError):
        return os.eventfd_read(client.fd) > 0
    return False


def test_the_table_of_bells_is_bounded(writer: StoreWriter, reader: StoreReader) -> None:
    path = bell_path(reader.path)
    clients = []
    try:
        for _ in range(MAX_BELLS + 3):
            clients.append(BellClient(path))
            _until(lambda: _rung(clients[-1]) or clients[-1].lost, "an answer")
        assert writer._bell.n_bells == MAX_BELLS
        assert [c.lost for c in clients[-4:]] == [False, True, True, True]
        _advance(writer)
        _until(lambda: all(_rung(c) for c in clients[:1]), "the first, rung by the writer")
        for client in clients[1:MAX_BELLS]:
            _until(lambda client=client: _rung(client), "the others, rung by the thread")  # type: ignore[misc]
    finally:
        for client in clients:
            client.close()


async def test_a_reader_for_whom_there_is_no_bell_does_not_knock_again_and_again(
    writer: StoreWriter, reader: StoreReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bell_path(reader.path)
    knocks = 0
    connect = BellClient.__init__

    def knock(client: BellClient, path: Path) -> None:
        nonlocal knocks
        knocks += 1
        connect(client, path)

    monkeypatch.setattr(BellClient, "__init__", knock)
    clients = []
    try:
        for _ in range(MAX_BELLS):
            clients.append(BellClient(path))
            _until(lambda: _rung(clients[-1]), "an answer")
        knocks = 0
        task = asyncio.create_task(reader.wait_async(4, 30))
        await asyncio.sleep(0.6)
        assert 1 <= knocks <= 3
        g = _advance(writer)
        assert await task == g, "a thread waits for it"
    finally:
        for client in clients:
            client.close()


async def test_a_retired_file_is_noticed_though_its_successor_rings(
    writer: StoreWriter, reader: StoreReader, store_name: str
) -> None:
    """Both have the same socket: a reader of the old file is woken by the new one's bars, for ever."""
    task = asyncio.create_task(reader.wait_async(4, 10))
    await asyncio.sleep(0.05)
    writer._finalizer()
    with StoreWriter.open(store_name, small_spec(window=30)) as second:
        fill(second, 1, 0, 5)
        await asyncio.sleep(0)
        start = time.monotonic()
        while not task.done() and time.monotonic() < start + 3:
            _advance(second)
            await asyncio.sleep(0.05)
        assert task.done()
        with pytest.raises(StoreRetired):
            await task


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.usefixtures("no_slices")
async def test_a_forked_child_that_closes_leaves_its_parent_the_bell(
    writer: StoreWriter, reader: StoreReader
) -> None:
    task = asyncio.create_task(reader.wait_async(4, 30))
    await asyncio.sleep(0.05)
    child = os.fork()
    if child == 0:
        try:
            reader.close()
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0  # noqa: ASYNC222
    start = time.monotonic()
    g = _advance(writer)
    assert await task == g
    assert time.monotonic() - start < 10, "woken, not timed out"


def test_spinning_readers_look_at_the_writer_too(writer: StoreWriter, reader: StoreReader) -> None:
    writer._finalizer()
    start = time.monotonic()
    with pytest.raises(WriterDead):
        reader.wait(4, 20, spin_us=20e6)
    assert time.monotonic() - start < 10


def test_no_free_file_numbers_do_not_keep_the_writer_busy(writer: StoreWriter, reader: StoreReader) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held: list[int] = []
    early = BellClient(bell_path(reader.path))
    _until(lambda: _rung(early), "the thread's first ring")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as knocking:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
            with pytest.raises(OSError, match="Too many open files"):
                while True:
                    held.append(os.dup(0))
            knocking.connect(str(bell_path(reader.path)))
            used = time.process_time()
            time.sleep(0.5)
            used = time.process_time() - used
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for fd in held:
                os.close(fd)
            early.close()
        assert used < 0.25, "the thread spins at a door that it cannot open"


def test_nonsense_on_the_socket_is_turned_away(writer: StoreWriter, reader: StoreReader) -> None:
    path = str(bell_path(reader.path))
    with Path(os.devnull).open() as null, socket.socketpair()[0] as sock:
        fds_sent: list[list[int]] = [[null.fileno()], [sock.fileno()], [null.fileno()] * 3]
        for fds in fds_sent:
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
                connection.connect(path)
                connection.settimeout(5)
                socket.send_fds(connection, [b"x"], fds)
                assert connection.recv(1) == b"", "the writer hung up"
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            connection.connect(path)
            connection.settimeout(5)
            connection.send(b"hello")
            assert connection.recv(1) == b""
    assert writer._bell.n_bells == 0
    _advance(writer)


def test_a_blocking_or_full_eventfd_cannot_hold_the_writer(writer: StoreWriter, reader: StoreReader) -> None:
    """A reader that never reads its eventfd, and made it blocking, is written to without waiting."""
    fd = os.eventfd(0, os.EFD_CLOEXEC)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.connect(str(bell_path(reader.path)))
        socket.send_fds(connection, [b"x"], [fd])
        _until(lambda: writer._bell.n_bells == 1, "the eventfd is in the table")
        assert not os.get_blocking(fd), "the writer made the shared description non-blocking"
        os.eventfd_write(fd, 2**64 - 2 - 1)
        for _ in range(5):
            _advance(writer)
    os.close(fd)


def test_no_file_descriptor_leaks(store_name: str) -> None:
    def count() -> int:
        gc.collect()  # maps of earlier tests
        return len(list(Path("/proc/self/fd").iterdir()))

    async def once() -> None:
        with StoreWriter.open(store_name, small_spec()) as writer, StoreReader.attach(store_name) as reader:
            if not writer.symbols:
                fill(writer, 1, 0, 5)
            with pytest.raises(TimeoutError):
                await reader.wait_async(writer.complete_g, 0.02)

    asyncio.run(once())
    before = count()
    for _ in range(5):
        asyncio.run(once())
    assert count() == before
    assert threading.active_count() == 1 or not [t for t in threading.enumerate() if t.name.startswith("shm")]


async def test_readers_that_nobody_holds_let_go(writer: StoreWriter, store_name: str) -> None:
    def held() -> tuple[int, int]:
        """Numbers of the store's file, and all."""
        numbers = list(Path("/proc/self/fd").iterdir())
        return sum(os.path.realpath(number).endswith(store_name) for number in numbers), len(numbers)

    async def once() -> None:
        reader = StoreReader.attach(store_name)
        assert await reader.wait_async(3, 5) == 4, "it has a bell, too"

    await once()
    gc.collect()  # maps of earlier tests
    of_the_file, before = held()
    for _ in range(20):
        await once()
    assert held()[0] == of_the_file
    # The writer, which is here too, takes a moment to see that one left.
    _until(lambda: held()[1] < before + 15, "eventfds and connections are closed")

    view = StoreReader.attach(store_name).view(0, "a", 3)
    follower = StoreReader.attach(store_name).follow(0, 0)
    gc.collect()
    assert view.tolist() == [2.0, 3.0, 4.0]
    assert follower.next(0.0)[0] == 4, "a follower keeps its reader"
    del view, follower
    assert held()[0] == of_the_file
