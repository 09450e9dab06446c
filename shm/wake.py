"""Waking readers: a futex word for those that block, an eventfd for those in asyncio.

Writer: `Bell` (one njit call to ring, one thread that wakes the crowd, one that takes in eventfds).
Readers: `await_word` to sleep, `BellClient` to hand in an eventfd.

  writer  publish; futex word += 1 (sequentially consistent); wake
  reader  load the futex word (acquire); look at the data; sleep while the word is what it was

If the word was bumped before the reader loaded it, the acquire shows it the data; if after, the kernel's
compare fails and it does not sleep. Readers map read-only and are not counted.

A sleeper costs its waker 10 to 20 us. So the writer's own call wakes at most one blocked reader and one
eventfd, and hands the rest to the bell thread, which runs without the GIL. A reader that dies, stops or
hands in nonsense costs the writer nothing: the eventfd is checked, made non-blocking, and its number stays
reserved for as long as the bell thread may write to it.
"""

import contextlib
import os
import selectors
import socket
import struct
import threading
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numba import types

from shm.atomics import (
    clock_ns,
    eventfd_ring,
    futex_wait,
    futex_wake,
    load_acquire,
    pause,
    store_release,
    xadd,
)
from shm.compiled import compiled
from shm.layout import FUTEX
from shm.local import Local
from shm.ring import post

__all__ = ["MAX_BELLS", "Bell", "BellClient", "await_word", "ring_bell", "wake_all"]

_I: Final = types.int64
_WORDS: Final = types.Array(_I, 1, "C")
_WORDS_RO: Final = types.Array(_I, 1, "C", readonly=True)

MAX_BELLS: Final = 256
"""Eventfds that the writer keeps; asyncio readers beyond that wait with a thread of their own."""

# The bell's private words.
_HAND: Final = 0  # bumped to hand the crowd over to the bell thread
_STOP: Final = 16
_N_BELLS: Final = 17
_BELLS: Final = 18

_ALL: Final = 0x7FFFFFFF
_NO_FILES_S: Final = 0.1
_SLICE_NS: Final = 1_000_000_000


@compiled(types.void(_WORDS, _WORDS))
def ring_bell(words: Any, bell: Any) -> None:
    """Tell readers that there is something new. Bounded work, however many readers there are."""
    xadd(words, FUTEX, 1)
    woken = futex_wake(words, FUTEX, 1)
    n_bells = load_acquire(bell, _N_BELLS)
    if n_bells > 0:
        eventfd_ring(load_acquire(bell, _BELLS))
    if woken > 0 or n_bells > 1:
        xadd(bell, _HAND, 1)
        futex_wake(bell, _HAND, 1)


@compiled(types.void(_WORDS, _WORDS))
def _bell_loop(words: Any, bell: Any) -> None:
    """The bell thread: wakes all that `ring_bell` did not."""
    seen = 0
    while load_acquire(bell, _STOP) == 0:
        futex_wait(bell, _HAND, seen, _SLICE_NS)
        hand = load_acquire(bell, _HAND)
        if hand != seen:
            seen = hand
            futex_wake(words, FUTEX, _ALL)
            for i in range(load_acquire(bell, _N_BELLS)):
                eventfd_ring(load_acquire(bell, _BELLS + i))


@compiled(types.void(_WORDS, _WORDS))
def _stop_bell(words: Any, bell: Any) -> None:
    store_release(bell, _STOP, 1)
    xadd(bell, _HAND, 1)
    futex_wake(bell, _HAND, 1)


@compiled(types.void(_WORDS))
def wake_all(words: Any) -> None:
    """Wake every blocked reader at once. For rare events: a retired file."""
    xadd(words, FUTEX, 1)
    futex_wake(words, FUTEX, _ALL)


@compiled(_I(_WORDS_RO, _I, _I, _I, _I))
def await_word(words: Any, i: int, seen: int, spin_ns: int, sleep_ns: int) -> int:
    """Wait until control word i exceeds `seen`; returns the word, whatever it is when time is up.

    Spins for `spin_ns`, then sleeps once for up to `sleep_ns` (both may be 0). Also returns, with the word
    as it is, when woken for something else or by a signal: the caller loops.
    """
    value = load_acquire(words, i)
    if value > seen:
        return value
    if spin_ns > 0:
        until = clock_ns() + spin_ns
        while clock_ns() < until:
            for _ in range(32):
                value = load_acquire(words, i)
                if value > seen:
                    return value
                pause()
    if sleep_ns > 0:
        futex = load_acquire(words, FUTEX)
        value = load_acquire(words, i)
        if value > seen:
            return value
        futex_wait(words, FUTEX, futex, sleep_ns)
    return load_acquire(words, i)


class Bell(Local):
    """The writer's end: rings, and serves the eventfds that readers hand in. Closed once."""

    def __init__(self, words: npt.NDArray[np.int64], path: Path, mode: int, group: int | None) -> None:
        self._words = words
        self._bell = np.zeros(_BELLS + MAX_BELLS, np.int64)
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._listener, self._path = _listen(path, mode, group), path
        self._threads = [
            threading.Thread(target=_bell_loop, args=(words, self._bell), name="shm-bell", daemon=True)
        ]
        if self._listener is not None:
            serve = threading.Thread(
                target=_serve, args=(self._listener, self._bell, self._wake_fd), name="shm-bells", daemon=True
            )
            self._threads.append(serve)
        for thread in self._threads:
            thread.start()

    @property
    def words(self) -> npt.NDArray[np.int64]:
        """What `ring_bell` takes as its second."""
        return self._bell

    def ring(self) -> None:
        """Wake readers; see `ring_bell`."""
        ring_bell(self._words, self._bell)

    @property
    def n_bells(self) -> int:
        """Eventfds in the table, those of readers that left included."""
        return int(self._bell[_N_BELLS])

    def close(self) -> None:
        """End both threads and remove the socket."""
        if self._wake_fd < 0:
            return
        _stop_bell(self._words, self._bell)
        os.eventfd_write(self._wake_fd, 1)
        for thread in self._threads:
            thread.join()
        if self._listener is not None:
            self._path.unlink(missing_ok=True)
        for fd in self._bell[_BELLS : _BELLS + self.n_bells]:
            os.close(int(fd))
        self._bell[_N_BELLS] = 0
        os.close(self._wake_fd)
        self._wake_fd = -1


def _through_directory(path: Path, fd: int) -> str:
    """A name for a socket that stays below the 107 bytes a socket address may have."""
    return f"/proc/self/fd/{fd}/{path.name}"


def _listen(path: Path, mode: int, group: int | None) -> socket.socket | None:
    """The listening socket, or None where there can be none: asyncio readers then wait with a thread."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        path.unlink(missing_ok=True)  # left from a killed writer; the lock is ours
        # Connecting needs write permission, so a mode without it closes the gap between bind and chmod.
        os.fchmod(listener.fileno(), 0)
        listener.bind(_through_directory(path, directory))
        if group is not None:
            os.chown(path, -1, group)
        path.chmod(0o660 if mode == 0o640 else 0o600)
        listener.listen(64)
        listener.setblocking(False)
    except OSError:
        listener.close()
        return None
    finally:
        os.close(directory)
    return listener


def _is_eventfd(fd: int) -> bool:
    return str(Path(f"/proc/self/fd/{fd}").readlink()).startswith("anon_inode:[eventfd")


def _receive(connection: socket.socket) -> int:
    """The eventfd that a reader sent, made non-blocking; -1 if it sent anything else."""
    with contextlib.suppress(OSError):
        _, fds, _, _ = socket.recv_fds(connection, 16, 4, socket.MSG_CMSG_CLOEXEC)
        if len(fds) == 1 and _is_eventfd(fds[0]):
            os.set_blocking(fds[0], False)
            return fds[0]
        for fd in fds:
            os.close(fd)
    return -1


def _serve(listener: socket.socket, bell: npt.NDArray[np.int64], wake_fd: int) -> None:
    """The thread that takes eventfds in. A connection is the reader's sign of life."""
    dummy = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    places: dict[socket.socket, int] = {}  # connection -> its place in the table, -1: none yet
    free: list[int] = []

    def leave(connection: socket.socket) -> None:
        selector.unregister(connection)
        place = places.pop(connection)
        if place >= 0:
            # The number stays reserved: the bell thread may be about to write to it.
            os.dup2(dummy, int(bell[_BELLS + place]), inheritable=False)
            free.append(place)
        connection.close()

    def enter(connection: socket.socket) -> None:
        fd = _receive(connection)
        n_bells = int(bell[_N_BELLS])
        if fd < 0 or places[connection] >= 0 or (not free and n_bells >= MAX_BELLS):
            if fd >= 0:
                os.close(fd)
            leave(connection)
            return
        if free:
            place = free.pop()
            os.dup2(fd, int(bell[_BELLS + place]), inheritable=False)
            os.close(fd)
        else:
            place = n_bells
            post(bell, _BELLS + place, fd)
            post(bell, _N_BELLS, n_bells + 1)
        places[connection] = place
        # What was published between the reader's look and now must not be slept through.
        with contextlib.suppress(OSError):
            os.eventfd_write(int(bell[_BELLS + place]), 1)

    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        selector.register(wake_fd, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj == wake_fd:
                    for connection in list(places):
                        leave(connection)
                    listener.close()
                    os.close(dummy)
                    return
                if key.fileobj is listener:
                    try:
                        connection, _ = listener.accept()
                    except OSError:
                        time.sleep(_NO_FILES_S)  # no number is free for it; it stays at the door
                        continue
                    connection.setblocking(False)
                    if len(places) >= 2 * MAX_BELLS:
                        connection.close()
                        continue
                    places[connection] = -1
                    selector.register(connection, selectors.EVENT_READ)
                elif isinstance(key.fileobj, socket.socket) and key.fileobj in places:
                    enter(key.fileobj)


class BellClient(Local):
    """An asyncio reader's end: an eventfd that the writer rings, and the connection that says we live."""

    def __init__(self, path: Path) -> None:
        """Connects. OSError where there is no writer, no socket or no permission."""
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        directory = -1
        try:
            directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self.connection.setblocking(False)
            self.connection.connect(_through_directory(path, directory))
            socket.send_fds(self.connection, [struct.pack("<q", os.getpid())], [self.fd])
        except OSError:
            self.close()
            raise
        finally:
            if directory >= 0:
                os.close(directory)

    def drain(self) -> bool:
        """Take the rings that came so far; whether there were any."""
        try:
            return os.eventfd_read(self.fd) > 0
        except BlockingIOError:
            return False

    @property
    def lost(self) -> bool:
        """Whether the writer's end is gone."""
        try:
            return self.connection.recv(1) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        """Let go of both. Twice does no harm."""
        self.connection.close()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
