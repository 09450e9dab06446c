"""The asyncio side of the bell: one eventfd in the loop, any number of tasks that wait for it.

Readers only. Made before there is a loop; binds to the loop that first waits, and again if another one does.
"""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Final

from shm.local import Local
from shm.wake import BellClient

__all__ = ["AsyncBell"]

_TURNED_AWAY_S: Final = 5.0
"""Not asked again for so long after the writer closed a connection without one ring: its table is full."""


class AsyncBell(Local):
    """Waits for the writer's bell at `path`; connects when asked to, and again after the writer restarted."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._client: BellClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: set[asyncio.Future[None]] = set()  # all of that loop
        self._pid = -1  # a forked child must not touch its parent's loop
        self._welcome = False  # the writer rings once when it takes an eventfd in
        self._not_before = 0.0

    def connect(self) -> bool:
        """Whether rings will be heard from now on in the running loop. Never blocks."""
        loop = asyncio.get_running_loop()
        if self._client is not None:
            if self._loop is loop:
                return True
            # Whoever waits in the other loop is not woken: two loops would take the bell from each other
            # without end, instead of once in a slice of their waits.
            self._leave()
        if loop.time() < self._not_before:
            return False
        try:
            client = BellClient(self._path)
        except OSError:
            return False
        self._client, self._loop, self._pid, self._welcome = client, loop, os.getpid(), False
        loop.add_reader(client.fd, self._on_ring)
        loop.add_reader(client.connection.fileno(), self._on_lost)
        return True

    def next_ring(self) -> "asyncio.Future[None]":
        """A future that is done at the next ring. Take it, then look at the data, then await `heard`;
        `forget` it in any case: its loop may end before the next ring."""
        assert self._loop is not None, "connect first"
        future = self._loop.create_future()
        self._waiting.add(future)
        return future

    def forget(self, rung: "asyncio.Future[None]") -> None:
        """Nobody waits for this one any more."""
        self._waiting.discard(rung)

    async def heard(self, rung: "asyncio.Future[None]", timeout_s: float) -> bool:
        """Whether the bell rang, or was closed, within `timeout_s`."""
        try:
            await asyncio.wait_for(rung, timeout_s)
        except TimeoutError:
            return False
        return True

    def _on_ring(self) -> None:
        if self._client is not None:
            self._welcome |= self._client.drain()
        _wake(self._waiting)

    def _on_lost(self) -> None:
        """The writer closed the connection (it never sends): connect again at the next wait, unless it had
        no room; a thread waits then."""
        assert self._client is not None and self._loop is not None
        if not (self._welcome or self._client.drain()):
            self._not_before = self._loop.time() + _TURNED_AWAY_S
        self.close()

    def close(self) -> None:
        """Leave the loop and the writer, and wake all who wait: they see what came to pass. Twice does no
        harm."""
        loop, waiting = self._loop, self._waiting
        self._leave()
        if loop is not None and waiting and self._pid == os.getpid():
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits in it
                loop.call_soon_threadsafe(_wake, waiting)

    def _leave(self) -> None:
        client, loop = self._client, self._loop
        self._client = self._loop = None
        self._waiting = set()
        if client is None:
            return
        if loop is not None and not loop.is_closed() and self._pid == os.getpid():
            loop.remove_reader(client.fd)
            loop.remove_reader(client.connection.fileno())
        client.close()


def _wake(waiting: "set[asyncio.Future[None]]") -> None:
    for future in waiting:
        if not future.done():
            future.set_result(None)
