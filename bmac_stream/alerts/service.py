"""The process that sends alerts: `python -m bmac_stream.alerts CFG`, started by the collector.

stdin is one end of a socket (SOCK_SEQPACKET) on which the collector says what happens (events.py), without
ever waiting. When it ends without a Bye, the collector died, and that is told too. Each channel has a bounded
outbox and a task of its own: one that hangs holds up nobody else. Lines on stdout are for the collector's
log; neither they nor anything else shows a secret.

Ends with status 0 on the end of the socket and on SIGTERM, after what waits was tried once more.
"""

import asyncio
import contextlib
import math
import os
import random
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from bmac_stream.alerts.channels import read_channels
from bmac_stream.alerts.events import Alert, Bar, Beat, Bye, Gone, decode
from bmac_stream.alerts.limiter import Limiter, Note
from bmac_stream.alerts.senders import Sender, SendFailed, sender_of
from bmac_stream.alerts.watch import Watch
from bmac_stream.config import Config, load_config, secrets_of
from bmac_stream.errors import ConfigError

__all__ = ["Courier", "Service", "disk_low", "main"]

MAX_EVENT: Final = 1 << 16
OUTBOX: Final = 20
"""Notes that one channel may have waiting; beyond it the oldest goes, and is counted."""
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
"""Between two attempts; doubling, jittered."""
GIVE_UP_S: Final = 3600.0
"""A note that is so old is not worth sending any more."""
FLUSH_S: Final = 2.0
"""What a clean end may take."""
DIED_FLUSH_S: Final = 30.0
"""How long the news that the collector died is tried; nobody waits for this process then."""
TICK_S: Final = 0.25
DISK_EVERY_S: Final = 30.0
DISK_FREE: Final = 100 << 20
"""Less free space than this is told, bytes: a snapshot of a whole market has 50 to 100 MB."""


class Courier:
    """Brings notes to one channel, in order, each until it is taken, given up or pushed out by newer ones.

    say  told what goes wrong, once a minute at most
    """

    def __init__(
        self, sender: Sender, say: Callable[[str], None], *, first_pause_s: float = FIRST_PAUSE_S
    ) -> None:
        self.sent = 0
        self.lost = 0
        """Notes that were given up, refused or pushed out."""
        self._sender = sender
        self._say = say
        self._first_pause_s = first_pause_s
        self._outbox: deque[tuple[float, Note]] = deque()
        self._wake = asyncio.Event()
        self._hurry_s = math.inf
        self._busy = False
        self._said = -math.inf
        self._told_lost = 0

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is under way."""
        return not self._outbox and not self._busy

    def put(self, note: Note) -> None:
        """Take a note. Never waits."""
        wanted = note.only(self._sender.channel.kinds)
        if wanted is None:
            return
        self._outbox.append((time.monotonic(), wanted))
        if len(self._outbox) > OUTBOX:
            self._outbox.popleft()
            self.lost += 1
        self._wake.set()

    def hurry(self, pause_s: float) -> None:
        """The end is near: what waits for another attempt is tried at once, then every `pause_s`."""
        self._hurry_s = pause_s
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            if not self._outbox:
                self._wake.clear()
                await self._wake.wait()
                continue
            self._busy = True
            try:
                await self._bring(*self._outbox.popleft())
            finally:
                self._busy = False

    async def _bring(self, since: float, note: Note) -> None:
        pause_s = self._first_pause_s
        while True:
            lost = self.lost
            more = {"messages that were lost": lost - self._told_lost} if lost > self._told_lost else {}
            try:
                await self._sender.send(note._replace(suppressed=note.suppressed | more))
            except SendFailed as error:
                if not error.again or time.monotonic() - since > GIVE_UP_S or len(self._outbox) >= OUTBOX:
                    self.lost += 1
                    self._tell(f"not sent: {error}")
                    return
                self._tell(f"{error}; tried again")
                wait_s = max(pause_s * random.uniform(0.7, 1.0), error.retry_after_s)
            except Exception as error:  # a bug must not end the channel
                self.lost += 1
                self._tell(f"not sent: unexpected {type(error).__name__}")
                return
            else:
                self.sent += 1
                self._told_lost = lost
                return
            await self._pause(wait_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _pause(self, seconds: float) -> None:
        """Sleep; whoever is hurried wakes at once, and never sleeps for longer than that says."""
        started, hurried = time.monotonic(), self._hurry_s
        while (left_s := started + min(seconds, self._hurry_s) - time.monotonic()) > 0:
            if self._hurry_s != hurried:
                return
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._wake.wait()

    def _tell(self, text: str) -> None:
        now = time.monotonic()
        if now - self._said >= 60.0:
            self._said = now
            lost = f" ({self.lost} messages lost so far)" if self.lost else ""
            self._say(f"{self._sender.channel.name}: {text}{lost}")


class Service:
    """Everything between the socket and the channels.

    title     first line of every message
    senders   one for each channel
    interval_ms  length of a bar
    paths     folders whose file systems need room
    """

    def __init__(
        self,
        title: str,
        senders: Sequence[Sender],
        interval_ms: int,
        *,
        paths: Sequence[Path] = (),
        say: Callable[[str], None] = print,
        hide: Callable[[str], str] = lambda text: text,
        limiter: Limiter | None = None,
        first_pause_s: float = FIRST_PAUSE_S,
    ) -> None:
        self.title = title
        self.limiter = limiter or Limiter()
        self.couriers = [Courier(sender, say, first_pause_s=first_pause_s) for sender in senders]
        self.watch = Watch(interval_ms, time.monotonic())
        self.ended = asyncio.Event()
        """The collector is gone, or a signal came."""
        self.died = False
        """It is gone without a Bye."""
        self._senders = list(senders)
        self._paths = list(paths)
        self._hide = hide
        self._bye = False
        self._low: set[Path] = set()
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self, channel: socket.socket) -> None:
        """Work until the socket ends or `ended` is set; then try once more what waits."""
        self._tasks = [asyncio.create_task(courier.run()) for courier in self.couriers]
        self._tasks.append(asyncio.create_task(self._tick()))
        if self._paths:
            self._tasks.append(asyncio.create_task(self._look_at_disks()))
        hear = asyncio.create_task(self._hear(channel))
        end = asyncio.create_task(self.ended.wait())
        done, _ = await asyncio.wait({hear, end, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
        hear.cancel()
        end.cancel()
        await asyncio.gather(hear, end, return_exceptions=True)
        for task in done:
            task.result()  # a bug: this process ends by it, and the collector starts it again
        self._drain(channel)
        await (self._flush(DIED_FLUSH_S, 3.0) if self.died else self._flush(FLUSH_S, 0.3))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def take(self, raw: bytes) -> None:
        """One event, as bytes. What is none is ignored."""
        try:
            event = decode(raw)
        except (msgspec.DecodeError, ValueError):
            return
        now = time.monotonic()
        if isinstance(event, Alert):
            self.limiter.add(msgspec.structs.replace(event, text=self._hide(event.text)), now)
        elif isinstance(event, Bar):
            self._add(self.watch.bar(event))
        elif isinstance(event, Beat):
            self._add(self.watch.beat(event, now))
        elif isinstance(event, Gone):
            self.watch.gone(event.symbols)
        else:
            assert isinstance(event, Bye)
            self._bye = True

    def _add(self, found: Iterable[tuple[str, str]]) -> None:
        now, at = time.monotonic(), time.time()
        for kind, text in found:
            self.limiter.add(Alert(kind, self._hide(text), at), now)

    async def _hear(self, channel: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        channel.setblocking(False)
        while True:
            try:
                raw = await loop.sock_recv(channel, MAX_EVENT)
            except OSError:
                raw = b""
            if not raw:
                self._gone()
                return
            self.take(raw)

    def _drain(self, channel: socket.socket) -> None:
        """What was said until now, after a signal."""
        channel.setblocking(False)
        with contextlib.suppress(OSError):
            while raw := channel.recv(MAX_EVENT):
                self.take(raw)
            self._gone()

    def _gone(self) -> None:
        if not self._bye and not self.died:
            self.died = True
            self._add([("died", "the collector is gone: killed or crashed")])

    async def _tick(self) -> None:
        while True:
            now = time.monotonic()
            self._add(self.watch.tick(now))
            if (note := self.limiter.take(now)) is not None:
                self._send(note)
            await asyncio.sleep(min(TICK_S, max(0.05, self.limiter.due_s(now))))

    def _send(self, note: Note) -> None:
        for courier in self.couriers:
            courier.put(note)

    async def _look_at_disks(self) -> None:
        while True:
            for path in self._paths:
                # in a thread: a network file system may hang
                low = await asyncio.to_thread(disk_low, path)
                if low and path not in self._low:
                    self._low.add(path)
                    self._add([("disk", f"{path}: {low}")])
                elif low is not None and not low and path in self._low:
                    self._low.discard(path)
                    self._add([("recovery", f"{path}: there is room again")])
            await asyncio.sleep(DISK_EVERY_S)

    async def _flush(self, timeout_s: float, pause_s: float) -> None:
        until = time.monotonic() + timeout_s
        if (note := self.limiter.take(time.monotonic(), last=True)) is not None:
            self._send(note)
        for courier in self.couriers:
            courier.hurry(pause_s)
        while time.monotonic() < until and not all(courier.idle for courier in self.couriers):
            await asyncio.sleep(0.02)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                await asyncio.gather(*(sender.close() for sender in self._senders), return_exceptions=True)


def disk_low(path: Path) -> str | None:
    """What is wrong with the room at `path`: "" when there is enough, None when nobody can say."""
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    free = found.f_bavail * found.f_frsize
    if free < DISK_FREE:
        return f"only {free >> 20} MB of {found.f_blocks * found.f_frsize >> 20} are free"
    return "" if found.f_files == 0 or found.f_favail > 0 else "no inode is free"


def _hider(config: Config) -> Callable[[str], str]:
    secrets = secrets_of(config)

    def hide(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, "***")
        return text

    return hide


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # whoever read this is gone
        print(text, flush=True)


async def _run(config: Config, channel: socket.socket) -> None:
    hide = _hider(config)
    found = read_channels(config.dingding, config.msg_sender, config.alerts, config.proxy)
    title = f"Bmac {config.store_name} @ {socket.gethostname()}"
    ca_file = None if config.ca_file is None else str(config.path(config.ca_file))
    senders = []
    for one in found.channels:
        try:
            senders.append(sender_of(one, title, hide, ca_file))
        except Exception as error:  # the environment's proxy, a missing extra: the other channels go on
            _say(hide(f"{one.name}: {type(error).__name__}: {error}"))
    paths = [Path(config.base_dir)]
    if config.snapshot.enabled:
        paths.append(config.path(config.snapshot.directory))
    service = Service(title, senders, config.interval_ms, paths=paths, say=_say, hide=hide)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, service.ended.set)
    await service.run(channel)


def main(arguments: Sequence[str]) -> None:
    """Send what the collector at the other end of stdin says, as the config ARGUMENTS[0] wants. Does not
    return."""
    if len(arguments) != 1:
        sys.exit("usage: python -m bmac_stream.alerts CFG (started by the collector, which speaks on stdin)")
    try:
        config, _ = load_config(arguments[0])
    except ConfigError as error:
        sys.exit(str(error))
    try:
        channel = socket.socket(fileno=os.dup(0))
    except OSError:
        sys.exit("stdin is no socket: this process is started by the collector")
    os.nice(10)
    status = 0
    try:
        asyncio.run(_run_then_leave(config, channel))
    except Exception as error:  # a traceback may show a URL
        print(f"alerts: unexpected {type(error).__name__}", file=sys.stderr, flush=True)
        status = 1
    os._exit(status)


async def _run_then_leave(config: Config, channel: socket.socket) -> None:
    await _run(config, channel)
    sys.stdout.flush()
    # asyncio.run would wait for threads, and one that is stuck in a name look-up may stay so for minutes
    os._exit(0)
