"""bmac_stream.alerts.feed: the collector's end, alone and within a collector against an exchange."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from bmac_stream.alerts import feed as module
from bmac_stream.alerts.events import MAX_NAMES, MAX_TEXT, Alert, Bar, Beat, Bye, Event, alert, decode
from bmac_stream.alerts.feed import Feed, command
from bmac_stream.collector import Collector
from bmac_stream.config import Config
from tests.bmac_stream.test_collector import Run, running

from .robots import SECRET, TOKEN, Robots

HOOK = {"type": "webhook", "url": f"https://127.0.0.1:1/hook/{TOKEN}"}


def config_with(*channels: dict[str, Any], **keys: Any) -> Config:
    """A config with these alerts."""
    return Config(
        interval="1m", trade_type="usdt_perp", alerts=list(channels), config_file="/x/config.json", **keys
    )


class Ears:
    """A Feed whose process is not started, and what it says."""

    def __init__(self, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
        async def keep(self: Any, name: str) -> None:
            await asyncio.sleep(3600)

        monkeypatch.setattr("bmac_stream.children.Children.keep", keep)
        self.feed = Feed(config)
        self.feed.start()

    def heard(self) -> list[Event]:
        """Everything since the last time."""
        other = self.feed._other
        assert other is not None
        other.setblocking(False)
        found: list[Event] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(decode(other.recv(1 << 16)))
        return found


@pytest.fixture
def root_handlers() -> Iterator[None]:
    """No handler of a test stays behind."""
    before = list(logging.getLogger().handlers)
    yield
    logging.getLogger().handlers[:] = before


# -------------------------------------------------------------------------------------------------- alone


async def test_without_channels_nothing_is_done() -> None:
    before = list(logging.getLogger().handlers)
    feed = Feed(Config(interval="1m", trade_type="usdt_perp", config_file="/x/config.json"))
    feed.start()
    assert not feed.wanted and feed._mine is None
    feed.tell("error", "x")
    feed.bar(0, 1, [])
    feed.beat("live", 0, 0.0, False)
    await feed.end()
    feed.kill()
    assert feed.dropped == 0 and logging.getLogger().handlers == before


async def test_what_is_said(monkeypatch: pytest.MonkeyPatch, root_handlers: None) -> None:
    ears = Ears(config_with(HOOK), monkeypatch)
    ears.feed.tell("listing", "newly traded: X")
    ears.feed.bar(60_000, 300, [f"S{i}" for i in range(250)])
    ears.feed.beat("live", 60_000, 3.0, True)
    ears.feed.beat("live", 60_000, 3.0, True)
    first, bar, *beats = ears.heard()
    assert isinstance(first, Alert) and (first.kind, first.text) == ("listing", "newly traded: X")
    assert abs(first.at - time.time()) < 60
    assert isinstance(bar, Bar) and (bar.n_pending, len(bar.pending)) == (250, MAX_NAMES)
    assert beats == [Beat("live", 60_000, 3.0, True, 0)], "one a second, however often it is asked"


async def test_what_is_logged(monkeypatch: pytest.MonkeyPatch, root_handlers: None) -> None:
    ears = Ears(config_with(HOOK), monkeypatch)
    log = logging.getLogger("bmac_stream.collector")
    log.setLevel("INFO")
    log.warning("only a warning")
    log.error("store %s is gone", "x")
    log.warning("newly traded: X", extra=alert("listing"))
    logging.getLogger("bmac_stream.clock").error("clock: jumped by +5000 ms")
    log.error("snapshot: [Errno 28] No space left on device")
    log.error("unexpected error in frame\nTraceback (most recent call last):\n  File x\nKeyError: 'k'\n")
    log.info("alerts: dingding: HTTP 500; tried again")
    log.error("alerts: something")
    log.error("a token %s", TOKEN)
    log.error("long %s", "x" * 5000)
    bad = logging.makeLogRecord({"msg": "bad format %d", "args": ("x",), "levelno": logging.ERROR})
    monkeypatch.setattr(logging, "raiseExceptions", False)
    ears.feed.handle(bad)  # whatever is wrong with it, who logged it goes on
    found = ears.heard()
    assert all(isinstance(one, Alert) for one in found)
    told = [(one.kind, one.text) for one in found if isinstance(one, Alert)]
    assert told[:-1] == [
        ("error", "store x is gone"),
        ("listing", "newly traded: X"),
        ("clock", "clock: jumped by +5000 ms"),
        ("disk", "snapshot: [Errno 28] No space left on device"),
        ("error", "unexpected error in frame: KeyError: 'k'"),
        ("error", "a token ***"),
    ]
    assert len(told[-1][1]) == MAX_TEXT


async def test_nobody_listens_and_nobody_waits(monkeypatch: pytest.MonkeyPatch, root_handlers: None) -> None:
    ears = Ears(config_with(HOOK), monkeypatch)
    for i in range(20_000):  # a socket that waited would stand still here
        ears.feed.tell("error", f"{i} " + "x" * 400)
    assert 0 < ears.feed.dropped < 20_000
    n_lost = ears.feed.dropped
    first, *_ = ears.heard()
    assert isinstance(first, Alert) and first.text.startswith("0 "), "the oldest stay"
    ears.feed.beat("live", 0, 0.0, False)
    assert ears.heard() == [Beat("live", dropped=n_lost)]
    monkeypatch.setattr(module, "BEAT_S", 0.0)
    ears.feed._next_beat = 0.0
    ears.feed.beat("live", 0, 0.0, False)
    assert ears.heard() == [Beat("live")], "they are counted once"


async def test_the_end_is_said_and_the_handler_gone(
    monkeypatch: pytest.MonkeyPatch, root_handlers: None
) -> None:
    ears = Ears(config_with(HOOK), monkeypatch)
    assert ears.feed in logging.getLogger().handlers
    other = ears.feed._other
    assert other is not None
    kept = socket.socket(fileno=os.dup(other.fileno()))
    await ears.feed.end()
    assert decode(kept.recv(1000)) == Bye() and kept.recv(1000) == b""
    kept.close()
    assert ears.feed not in logging.getLogger().handlers
    ears.feed.tell("error", "afterwards")  # nothing happens
    await ears.feed.end()


def test_no_secret_is_in_the_command_line() -> None:
    words = command(config_with(HOOK))
    assert words[1:] == ["-m", "bmac_stream.alerts", "/x/config.json"]
    assert TOKEN not in repr(Feed(config_with(HOOK)))


# ------------------------------------------------------------------------------------- within a collector


UNLIMITED = """
import sys
from bmac_stream.alerts import service
limiter = service.Limiter
service.Limiter = lambda: limiter(per_kind_s=0.0, per_minute=10_000)
service.main(sys.argv[1:])
"""


@contextlib.asynccontextmanager
async def told(tmp_path: Path, name: str, **keys: Any) -> AsyncIterator[tuple[Run, Robots]]:
    """A collector with two channels, and what they are told; a minute is too long for a test, so messages
    are not limited."""

    def unlimited(config: Config) -> list[str]:
        return [sys.executable, "-c", UNLIMITED, config.config_file]

    async with Robots() as robots:
        channel = {"type": "webhook", "url": f"{robots.url}/hook/{TOKEN}"}
        ding = {
            "type": "dingding",
            "error": {"access_token": TOKEN, "secret": SECRET, "base_url": robots.url},
        }
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "command", unlimited)
            async with running(tmp_path, name, alerts=[channel], msg_sender=ding, **keys) as run:
                yield run, robots


async def says(robots: Robots, word: str, timeout_s: float = 30.0) -> None:
    """Wait until a message has this."""
    try:
        async with asyncio.timeout(timeout_s):
            while word not in robots.texts():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"{word!r} was not told, but:\n{robots.texts()}") from None


async def test_start_listing_delisting_and_end(tmp_path: Path, store_name: str) -> None:
    async with told(tmp_path, store_name, exchange_info_every_sec=60) as (run, robots):
        await run.start()
        await run.live()
        await says(robots, "start: collector of usdt_perp 1m from embedded:test")
        gone = sorted(run.collector.symbols)[-1]
        run.simulator.fault("listing", symbols=["NEWUSDT"], seconds=30)
        run.simulator.fault("delisting", symbols=[gone], seconds=30)
        await says(robots, "listing: newly traded: NEWUSDT")
        await says(robots, f"delisting: no longer collected: {gone}")
        assert {kind for kind, _ in robots.taken} == {"webhook", "dingding"}
        assert await run.end() == 0
        assert "stop: the collector ends in order" in robots.texts()
        assert "died" not in robots.texts()
        lines = "\n".join(text for kind, text in robots.taken if kind == "webhook").splitlines()
        after = lines[next(i for i, line in enumerate(lines) if "delisting" in line and gone in line) :]
        back = [line for line in after if "ready again" in line]
        assert not any(gone in line.split() for line in back), "what is delisted does not come back"
        assert not run.collector.alerts._children.all["alerts"].alive


@pytest.mark.slow
async def test_a_ban_a_dead_child_and_stale_symbols(tmp_path: Path, store_name: str) -> None:
    async with told(tmp_path, store_name) as (run, robots):
        await run.start()
        await run.live()
        await run.bars(1)
        run.simulator.fault("ban", seconds=2400)
        run.simulator.fault("silent_symbols", symbols=[next(iter(run.collector.symbols))])
        await says(robots, "ban: the exchange has banned (HTTP 418) this address")
        await says(robots, "stale: not ready for 3 run_times: " + next(iter(run.collector.symbols)))
        run.simulator.clear_faults()
        await says(robots, "the exchange answers REST again", 60.0)


async def test_a_process_that_is_killed_is_started_again_and_told(tmp_path: Path, store_name: str) -> None:
    async with told(tmp_path, store_name) as (run, robots):
        await run.start()
        await says(robots, "start:")
        os.kill(run.collector.alerts._children.all["alerts"].pid, signal.SIGKILL)
        await says(robots, "child: alerts: ended with status -9: started again")
        run.collector.alerts.tell("error", "and it works")
        await says(robots, "and it works")


@pytest.mark.parametrize("behave", ["hang", "500"])
async def test_a_bad_endpoint_holds_up_no_bar(tmp_path: Path, store_name: str, behave: str) -> None:
    async with told(tmp_path, store_name) as (run, robots):
        robots.behave = behave
        await run.start()
        await run.live()
        while not robots.asked:  # the first message is on its way, and hangs
            await asyncio.sleep(0.01)
        for i in range(500):
            run.collector.alerts.tell("error", f"storm {i}")
        await run.bars(12)
        await run.until("everything settled", run.settled)
        run.check()
        counts = run.counts()
        assert counts["bugs"] == 0
        assert await run.end() == 0


async def test_a_process_that_stands_still_holds_up_no_bar(tmp_path: Path, store_name: str) -> None:
    async with told(tmp_path, store_name) as (run, robots):
        await run.start()
        await run.live()
        await says(robots, "start:")
        pid = run.collector.alerts._children.all["alerts"].pid
        os.kill(pid, signal.SIGSTOP)
        try:
            for i in range(5000):
                run.collector.alerts.tell("error", f"storm {i} " + "x" * 300)
            assert run.collector.alerts.dropped > 0
            await run.bars(8)
            await run.until("everything settled", run.settled)
            run.check()
        finally:
            os.kill(pid, signal.SIGCONT)
        await says(robots, "alerts were lost on their way", 60.0)


async def test_a_store_that_is_taken_is_told(tmp_path: Path, store_name: str) -> None:
    async with told(tmp_path, store_name) as (run, robots):
        await run.start()
        await run.live()
        assert await Collector(run.config).run() == 3
        assert "error: the collector could not begin: WriterLocked" in robots.texts()
