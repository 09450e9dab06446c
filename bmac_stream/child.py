"""A child process of the collector: spawned, read line by line, ended in order, never left behind."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, Final

__all__ = ["Child", "with_us"]

log = logging.getLogger("bmac_stream.child")

MAX_LINE: Final = 1 << 20

KILLED_S: Final = 5.0
"""So long is waited for a process that was killed: one that hangs in the kernel must not keep us."""

# Linux: SIGKILL when the parent dies, also by kill -9; survives the exec that follows. What runs so has
# nothing to save, and a process that is asked politely may hang on its way out.
_WITH_US: Final = (
    "import ctypes, os, signal, sys;"
    "ctypes.CDLL(None).prctl(1, signal.SIGKILL);"
    "os.getppid() == int(sys.argv[1]) or sys.exit(0);"
    "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
)


def with_us(*arguments: str) -> list[str]:
    """The command of `python ARGUMENTS` as a process that is killed when this one dies, however."""
    return [sys.executable, "-c", _WITH_US, str(os.getpid()), *arguments]


class Child:
    """One process. Its stdout is read here, its stderr is ours; Ctrl-C in a terminal does not reach it.

    name     for messages
    command  the command line
    """

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self.command = list(command)
        self.stdin: int = asyncio.subprocess.DEVNULL
        """What it has as stdin: nothing, or a file descriptor of ours (which stays open here)."""
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Spawn it. OSError if that is impossible."""
        self._process = await asyncio.create_subprocess_exec(
            *self.command,
            stdin=self.stdin,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
            limit=MAX_LINE,
        )

    @property
    def pid(self) -> int:
        """Its process id, 0 if it was never started."""
        return 0 if self._process is None else self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it is running."""
        return self._process is not None and self._process.returncode is None

    async def line(self) -> str | None:
        """The next line of its stdout; None once that is closed. A line beyond MAX_LINE is cut away."""
        assert self._process is not None and self._process.stdout is not None
        while True:
            try:
                raw = await self._process.stdout.readline()
            except ValueError:
                continue
            return raw.decode("utf-8", "replace").rstrip() if raw else None

    async def wait(self) -> int:
        """Its exit status, once it ended."""
        assert self._process is not None
        return await self._process.wait()

    async def stop(self, timeout_s: float) -> int | None:
        """SIGTERM, after `timeout_s` SIGKILL; its exit status (None: it was never started)."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
        return await self.end(timeout_s)

    async def end(self, timeout_s: float) -> int | None:
        """Wait for its end, after `timeout_s` SIGKILL; its exit status (None: it was never started, or hangs
        in the kernel, which is logged)."""
        if self._process is None:
            return None
        try:
            async with asyncio.timeout(timeout_s):
                while await self.line() is not None:  # or a full pipe would keep it from ending
                    pass
                await self._process.wait()
        except TimeoutError:
            self.kill()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):  # the pipe's end; a grandchild may hold it open
                    while await self.line() is not None:
                        pass
        try:
            async with asyncio.timeout(KILLED_S):
                status = await self._process.wait()
        except TimeoutError:
            log.error("%s (process %d) does not end, not even by SIGKILL", self.name, self.pid)
            return None
        # Its pipes are closed a turn of the loop later; a loop that ends now would leave them to the garbage
        # collector, which finds the loop closed.
        transport: Any = getattr(self._process, "_transport", None)
        if transport is not None:
            transport.close()
        return status

    def kill(self) -> None:
        """SIGKILL, at once."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
