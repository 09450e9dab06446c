"""The collector's end of the socket to the process that sends alerts: it speaks, and never waits.

A message that finds no room (the process is dead, or hangs) is dropped and counted. Nothing here does more
than one system call on a non-blocking socket; without channels in the config it does nothing at all.

What is told comes through logging as well: every ERROR, and each record with an attribute `alert`, the kind:
`log.warning("newly traded: %s", names, extra=alert("listing"))`.
"""

import asyncio
import contextlib
import logging
import math
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

from bmac_stream.alerts.channels import read_channels
from bmac_stream.alerts.events import MAX_NAMES, MAX_TEXT, Alert, Bar, Beat, Bye, Event, Gone, encode
from bmac_stream.children import Children
from bmac_stream.config import Config, secrets_of

__all__ = ["Feed", "command"]

BEAT_S: Final = 1.0
SEND_BUFFER: Final = 1 << 18
END_S: Final = 2.5
"""What the process may take to end: its flush, and a little more."""
_NOT_OURS: Final = "alerts"
"""Name of the child; what it says must not come back to it."""


def command(config: Config) -> list[str]:
    """The command line of the process: no secret is in it."""
    return [sys.executable, "-m", "bmac_stream.alerts", config.config_file]


class Feed(logging.Handler):
    """Says what happens to the process that sends alerts, and keeps that alive."""

    def __init__(self, config: Config) -> None:
        super().__init__(logging.NOTSET)
        found = read_channels(config.dingding, config.msg_sender, config.alerts, config.proxy)
        self.wanted = bool(found.channels) and bool(config.config_file)
        """Whether the config has any channel."""
        self.dropped = 0
        """Messages that found no room."""
        self._told_dropped = 0
        self._secrets = secrets_of(config)
        self._children = Children({_NOT_OURS: command(config)} if self.wanted else {})
        self._mine: socket.socket | None = None
        self._other: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None
        self._next_beat = -math.inf

    def start(self) -> None:
        """Begin: the process is spawned, errors that are logged are told."""
        if not self.wanted or self._mine is not None:
            return
        # kept at both ends, so that what is said while the process is started again waits for it
        self._mine, self._other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._mine.setblocking(False)
        self._mine.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self._children.all[_NOT_OURS].stdin = self._other.fileno()
        logging.getLogger().addHandler(self)
        self._task = asyncio.create_task(self._children.keep(_NOT_OURS), name="alerts")

    # -------------------------------------------------------------------------------------------- saying

    def tell(self, kind: str, text: str) -> None:
        """Tell an alert."""
        if self._mine is None:
            return
        for secret in self._secrets:
            text = text.replace(secret, "***")
        self._say(Alert(kind, text[:MAX_TEXT], time.time()))

    def bar(self, run_time: int, n_active: int, pending: Sequence[str]) -> None:
        """A run_time (ms UTC) was completed, without these symbols."""
        if self._mine is not None:
            self._say(Bar(run_time, n_active, len(pending), list(pending[:MAX_NAMES])))

    def gone(self, symbols: Sequence[str]) -> None:
        """These symbols are no longer collected."""
        if self._mine is not None:
            for start in range(0, len(symbols), MAX_NAMES):
                self._say(Gone(list(symbols[start : start + MAX_NAMES])))

    def beat(self, phase: str, complete: int, blocked_s: float, banned: bool) -> None:
        """The collector lives; may be called often, is said every BEAT_S. See events.Beat."""
        if self._mine is None or (now := time.monotonic()) < self._next_beat:
            return
        self._next_beat = now + BEAT_S
        dropped = self.dropped
        if self._say(Beat(phase, complete, blocked_s, banned, dropped - self._told_dropped)):
            self._told_dropped = dropped

    def emit(self, record: logging.LogRecord) -> None:
        """A log record: told if it is an error or marked as an alert."""
        try:
            kind = getattr(record, "alert", None)
            if kind is None and record.levelno < logging.ERROR:
                return
            text = record.getMessage()
            if text.startswith(f"{_NOT_OURS}:") and kind is None:
                return
            lines = text.strip().splitlines() or [""]
            if len(lines) > 1:  # a traceback: where, and at its end what
                text = f"{lines[0]}: {lines[-1].strip()}"
            if kind is None:
                kind = "disk" if "No space left" in text else _KIND_OF.get(record.name, "error")
            self.tell(kind, text)
        except Exception:  # as logging itself: telling must not break what is told
            self.handleError(record)

    def _say(self, event: Event) -> bool:
        assert self._mine is not None
        try:
            self._mine.send(encode(event))
        except OSError:
            self.dropped += 1
            return False
        return True

    # -------------------------------------------------------------------------------------------- ending

    async def end(self, timeout_s: float = END_S) -> None:
        """Say goodbye and wait until the process has sent what it had: its own flush and a moment more, but
        `timeout_s` at most. Then it is killed."""
        if self._mine is None:
            return
        logging.getLogger().removeHandler(self)
        self._say(Bye())
        started, child = time.monotonic(), self._children.all[_NOT_OURS]
        while child.pid == 0 and time.monotonic() - started < timeout_s:
            await asyncio.sleep(0.01)  # being spawned: cancelled now, it would be nobody's child
        self._shut()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._children.end(max(timeout_s - (time.monotonic() - started), 0.1))

    def kill(self) -> None:
        """SIGKILL to the process, at once."""
        self._children.kill()

    def _shut(self) -> None:
        for end in (self._mine, self._other):
            if end is not None:
                with contextlib.suppress(OSError):
                    end.close()
        self._mine = self._other = None

    def __repr__(self) -> str:
        return f"Feed(wanted={self.wanted})"


_KIND_OF: Final[dict[str, Any]] = {"bmac_stream.clock": "clock"}
