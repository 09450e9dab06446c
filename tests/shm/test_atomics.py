"""shm/atomics.py: each function does what its name says, one process; ordering is test_codegen's subject."""

import errno
import os
import threading
import time
from typing import Any

import numpy as np
import pytest
from numba import njit

from shm import atomics


@njit
def _words(words: Any, floats: Any) -> Any:
    atomics.store_relaxed(words, 0, atomics.load_acquire(words, 1) + 5)
    atomics.fence_release()
    atomics.store_release(words, 2, atomics.load_relaxed(words, 0))
    atomics.store_float(words, 4, -1.5)
    atomics.store_relaxed(floats, 3, atomics.load_float(words, 4) * 2)
    atomics.fence_acquire()
    atomics.fence_seq_cst()
    atomics.pause()
    return atomics.xadd(words, 3, 7), atomics.clock_ns()


def test_loads_stores_and_the_clock() -> None:
    words, floats = np.arange(10), np.zeros((2, 2, 2))
    before = time.monotonic_ns()
    old, clock = _words(words, floats)
    assert before <= clock <= time.monotonic_ns()
    assert (old, words[3]) == (3, 10)
    assert (words[0], words[2]) == (6, 6)
    assert words.view(np.float64)[4] == -1.5
    assert floats[0, 1, 1] == -3.0, "element 3 in C order"
    assert np.array_equal(words[5:], [5, 6, 7, 8, 9])


def test_stores_refuse_read_only_arrays() -> None:
    words = np.arange(10)
    words.flags.writeable = False
    with pytest.raises(Exception, match=r"(?s)store|No implementation"):
        _words(words, np.zeros((2, 2, 2)))


@njit(nogil=True)
def _wait(words: Any, expected: int, timeout_ns: int) -> int:
    return atomics.futex_wait(words, 1, expected, timeout_ns)


@njit(nogil=True)
def _wake(words: Any, n: int) -> int:
    return atomics.futex_wake(words, 1, n)


def test_futex_returns_why() -> None:
    words = np.array([0, 7, 0])
    words_ro = words.view()
    words_ro.flags.writeable = False
    assert _wait(words_ro, 8, 1_000_000_000) == -errno.EAGAIN, "the word differs: no sleep"
    start = time.monotonic()
    assert _wait(words_ro, 7, 20_000_000) == -errno.ETIMEDOUT
    assert time.monotonic() - start >= 0.02
    assert _wake(words, 5) == 0, "nobody sleeps"


def test_futex_compares_32_bits() -> None:
    words = np.array([0, (5 << 32) | 7, 0])
    assert _wait(words, 8, 1) == -errno.EAGAIN
    assert _wait(words, 7, 1) == -errno.ETIMEDOUT


def test_futex_wakes_a_sleeper() -> None:
    words = np.array([0, 7, 0])
    _wait(words, 8, 1), _wake(words, 1)  # compiled before the clock runs
    result: list[int] = []
    sleeper = threading.Thread(target=lambda: result.append(_wait(words, 7, 10_000_000_000)))
    sleeper.start()
    deadline = time.monotonic() + 5
    while not _wake(words, 1):
        assert time.monotonic() < deadline, "the sleeper never slept"
        time.sleep(0.001)
    sleeper.join(5)
    assert result == [0]


@njit
def _ring(fd: int) -> int:
    return atomics.eventfd_ring(fd)


def test_eventfd_adds_one_and_never_blocks() -> None:
    fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    try:
        assert _ring(fd) == 8
        assert _ring(fd) == 8
        assert os.eventfd_read(fd) == 2
        os.eventfd_write(fd, 2**64 - 2)
        assert _ring(fd) == -errno.EAGAIN
    finally:
        os.close(fd)
    assert _ring(-1) == -errno.EBADF


@njit
def _many(words: Any, n: int) -> int:
    total = 0
    for _ in range(n):
        total += atomics.clock_ns() & 1
        total += atomics.futex_wait(words, 1, 8, 1)
        total += atomics.eventfd_ring(-1)
    return total


def test_loops_do_not_eat_the_stack() -> None:
    """Locals of 40 bytes a turn would need 20 MB: this test died of it, and so would a spinning reader."""
    words, n = np.array([0, 7, 0]), 500_000
    expected = -n * (errno.EAGAIN + errno.EBADF)
    assert expected <= _many(words, n) <= expected + n
