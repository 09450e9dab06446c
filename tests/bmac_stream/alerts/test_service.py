"""bmac_stream.alerts.service: outboxes, hanging endpoints, the flush at the end, the process itself."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bmac_stream.alerts import service as module
from bmac_stream.alerts.channels import Channel, read_channels
from bmac_stream.alerts.events import Alert, Bar, Beat, Bye, Event, encode
from bmac_stream.alerts.limiter import Limiter, Line, Note
from bmac_stream.alerts.senders import HttpSender, Sender, SendFailed
from bmac_stream.alerts.service import OUTBOX, Courier, Service, disk_low
from tests.bmac_stream.rig import REPO

from .robots import SECRET, TOKEN, Robots
from .test_senders import RAW, channel_of

TITLE = "Bmac x @ here"


class Scripted(Sender):
    """A sender that does as it is told: each answer is an exception, None (taken) or an event to wait for."""

    def __init__(self, *answers: Any, kinds: tuple[str, ...] | None = None) -> None:
        super().__init__(Channel("scripted", "webhook", kinds=kinds), TITLE, lambda text: text)
        self.answers = list(answers)
        self.taken: list[Note] = []
        self.asked = 0

    async def send(self, note: Note) -> None:
        self.asked += 1
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, asyncio.Event):
            await answer.wait()
        elif answer is not None:
            raise answer
        self.taken.append(note)

    def texts(self) -> list[str]:
        """Every line that was taken."""
        return [line.text for note in self.taken for line in note.lines]


def note(text: str, kind: str = "error") -> Note:
    return Note((Line(kind, text, 0.0),), {})


async def until(check: Callable[[], Any], timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not check():
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def delivering(*couriers: Courier) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(courier.run()) for courier in couriers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# ---------------------------------------------------------------------------------------------- a courier


async def test_a_message_is_tried_until_it_is_taken_and_in_order() -> None:
    again = SendFailed("HTTP 500", again=True)
    sender, said = Scripted(again, again, None), list[str]()
    courier = Courier(sender, said.append, first_pause_s=0.01)
    async with delivering(courier):
        courier.put(note("a"))
        courier.put(note("b"))
        await until(lambda: courier.sent == 2)
    assert sender.texts() == ["a", "b"] and sender.asked == 4 and courier.lost == 0
    assert said == ["scripted: HTTP 500; tried again"], "once a minute, not every time"


async def test_what_is_refused_is_dropped_and_counted_in_the_next() -> None:
    sender, said = Scripted(SendFailed("code 310000", again=False)), list[str]()
    courier = Courier(sender, said.append)
    async with delivering(courier):
        courier.put(note("a"))
        courier.put(note("b"))
        courier.put(note("c"))
        await until(lambda: courier.sent == 2)
    assert sender.texts() == ["b", "c"] and courier.lost == 1
    assert [one.suppressed for one in sender.taken] == [{"messages that were lost": 1}, {}]
    assert said == ["scripted: not sent: code 310000 (1 messages lost so far)"]


async def test_a_bug_in_a_sender_does_not_end_it() -> None:
    sender = Scripted(KeyError("s3cretpass"))
    said = list[str]()
    courier = Courier(sender, said.append)
    async with delivering(courier):
        courier.put(note("a"))
        courier.put(note("b"))
        await until(lambda: courier.sent == 1)
    assert "KeyError" in said[0] and "s3cret" not in said[0]


async def test_an_outbox_has_a_bound_and_the_newest_stay() -> None:
    blocked = asyncio.Event()
    sender = Scripted(blocked)
    courier = Courier(sender, lambda text: None)
    async with delivering(courier):
        courier.put(note("first"))
        await until(lambda: sender.asked == 1)
        for i in range(100):
            courier.put(note(str(i)))
        blocked.set()
        await until(lambda: courier.idle)
    assert sender.texts() == ["first", *(str(i) for i in range(100 - OUTBOX, 100))]
    assert courier.lost == 100 - OUTBOX


async def test_one_that_cannot_be_sent_makes_room_once_the_outbox_is_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LONGEST_PAUSE_S", 0.002)
    sender = Scripted(*[SendFailed("HTTP 500", again=True)] * 50)
    courier = Courier(sender, lambda text: None, first_pause_s=0.001)
    courier.put(note("old"))
    async with delivering(courier):
        await until(lambda: sender.asked > 1)
        for i in range(OUTBOX):
            courier.put(note(str(i)))
        await until(lambda: courier.idle)
    assert "old" not in sender.texts() and courier.lost >= 1


async def test_a_wait_that_was_asked_for_is_kept() -> None:
    sender = Scripted(SendFailed("HTTP 429", again=True, retry_after_s=0.5))
    courier = Courier(sender, lambda text: None, first_pause_s=0.001)
    started = time.monotonic()
    async with delivering(courier):
        courier.put(note("a"))
        await until(lambda: courier.sent == 1)
    assert time.monotonic() - started >= 0.5


async def test_pauses_grow_and_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def pause(self: Courier, seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(Courier, "_pause", pause)
    sender = Scripted(*[SendFailed("x", again=True)] * 12)
    courier = Courier(sender, lambda text: None)
    async with delivering(courier):
        courier.put(note("a"))
        await until(lambda: courier.sent == 1)
    for i, seconds in enumerate(pauses):
        longest = min(2.0**i, module.LONGEST_PAUSE_S)
        assert 0.7 * longest <= seconds <= longest
    assert len(pauses) == 12


async def test_a_channel_gets_its_kinds_only() -> None:
    sender = Scripted(kinds=("ban",))
    courier = Courier(sender, lambda text: None)
    async with delivering(courier):
        courier.put(note("no", "listing"))
        courier.put(note("yes", "ban"))
        await until(lambda: courier.sent == 1)
    assert sender.texts() == ["yes"]


# --------------------------------------------------------------------------------------------- the service


class Running:
    """A Service on this loop, and the collector's end of its socket."""

    def __init__(self, *senders: Sender, interval_ms: int = 60_000, **options: Any) -> None:
        self.mine, self.its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.said: list[str] = []
        self.service = Service(
            TITLE, senders, interval_ms, say=self.said.append, limiter=Limiter(per_kind_s=0.0), **options
        )
        self.task = asyncio.create_task(self.service.run(self.its))

    def tell(self, *events: Event) -> None:
        """Say something, as the collector does."""
        for event in events:
            self.mine.send(encode(event))

    async def end(self, *last: Event) -> float:
        """The collector goes away; how long the service took after that, seconds."""
        self.tell(*last)
        started = time.monotonic()
        self.mine.close()
        async with asyncio.timeout(60):
            await self.task
        self.its.close()
        return time.monotonic() - started


async def test_what_the_collector_says_is_sent() -> None:
    sender = Scripted()
    running = Running(sender)
    running.tell(Alert("listing", "newly traded: X", 1.0))
    await until(lambda: sender.taken)
    assert sender.texts() == ["newly traded: X"]
    running.tell(Beat("history"), *[Bar(i, 300, 1, ["SLOW"]) for i in range(3)], Beat("live"))
    await until(lambda: "not ready for 3 run_times: SLOW" in sender.texts() and "live" in sender.texts())
    assert await running.end(Bye()) < module.FLUSH_S
    assert not running.service.died


async def test_one_hanging_channel_holds_up_no_other() -> None:
    stuck, good = Scripted(asyncio.Event()), Scripted()
    running = Running(stuck, good)
    for i in range(3):
        running.tell(Alert("error", f"e{i}", 1.0))
        await until(lambda i=i: f"e{i}" in good.texts())
    assert stuck.taken == []
    took_s = await running.end(Bye())
    assert took_s < module.FLUSH_S + 1.0, "the end does not wait for it"


async def test_the_end_flushes_what_waited() -> None:
    sender = Scripted()
    running = Running(sender)
    running.tell(Alert("error", "one more", 1.0), Alert("stop", "the collector ends", 2.0))
    await running.end(Bye())
    assert sorted(sender.texts()) == ["one more", "the collector ends"]


async def test_the_end_tries_once_more_what_waits_for_another_attempt() -> None:
    sender = Scripted(SendFailed("HTTP 500", again=True, retry_after_s=1000.0))
    running = Running(sender)
    running.tell(Alert("error", "e", 1.0))
    await until(lambda: sender.asked == 1)
    await running.end(Bye())
    assert sender.texts() == ["e"]


async def test_a_collector_that_dies_is_told() -> None:
    sender = Scripted(SendFailed("busy", again=True))
    running = Running(sender, first_pause_s=0.01)
    running.tell(Beat("live"))
    await running.end()
    assert running.service.died
    assert "the collector is gone: killed or crashed" in sender.texts()


async def test_silence_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bmac_stream.alerts.watch.SILENT_S", 0.05)
    sender = Scripted()
    running = Running(sender)
    running.tell(Beat("live"))
    await until(lambda: any("no sign of life" in text for text in sender.texts()))
    running.tell(Beat("live"))
    await until(lambda: any("lives again" in text for text in sender.texts()))
    await running.end(Bye())


async def test_nonsense_on_the_socket_is_ignored() -> None:
    sender = Scripted()
    running = Running(sender)
    for raw in (b"{", b"[]", b'{"type": "what"}', b'{"type": "bar", "run_time": "x"}', b"\xff\xfe"):
        running.mine.send(raw)
    running.tell(Alert("error", "still here", 1.0))
    await until(lambda: "still here" in sender.texts())
    await running.end(Bye())


async def test_what_is_said_is_scrubbed_here_too() -> None:
    sender = Scripted()
    running = Running(sender, hide=lambda text: text.replace(SECRET, "***"))
    running.tell(Alert("error", f"cannot reach x?secret={SECRET}", 1.0))
    await until(lambda: sender.taken)
    assert sender.texts() == ["cannot reach x?secret=***"]
    await running.end(Bye())


async def test_a_bug_ends_the_process_and_not_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Running(Scripted())
    monkeypatch.setattr(running.service.watch, "tick", lambda now: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        async with asyncio.timeout(10):
            await running.task
    for task in running.service._tasks:
        task.cancel()
    running.mine.close()
    running.its.close()


async def test_a_full_disk_and_its_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "DISK_EVERY_S", 0.01)
    low = ["only 3 MB of 100 are free"]
    monkeypatch.setattr(module, "disk_low", lambda path: low[0])
    sender = Scripted()
    running = Running(sender, paths=[tmp_path])
    await until(lambda: f"{tmp_path}: only 3 MB of 100 are free" in sender.texts())
    low[0] = ""
    await until(lambda: f"{tmp_path}: there is room again" in sender.texts())
    await running.end(Bye())
    assert len(sender.texts()) == 2


def test_what_a_full_disk_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert disk_low(tmp_path / "nothing") is None
    found = os.statvfs(tmp_path)

    def statvfs(**change: int) -> None:
        names = [name for name in dir(found) if name.startswith("f_")]
        values = {name: getattr(found, name) for name in names} | change
        monkeypatch.setattr("os.statvfs", lambda path: type("found", (), values))

    statvfs(f_bavail=1 << 20, f_frsize=4096, f_blocks=1 << 22, f_favail=5, f_files=10)
    assert disk_low(tmp_path) == ""
    statvfs(f_bavail=1 << 10, f_frsize=4096, f_blocks=1 << 22, f_favail=5, f_files=10)
    assert disk_low(tmp_path) == "only 4 MB of 16384 are free"
    statvfs(f_bavail=1 << 20, f_frsize=4096, f_blocks=1 << 22, f_favail=0, f_files=10)
    assert disk_low(tmp_path) == "no inode is free"
    statvfs(f_bavail=1 << 20, f_frsize=4096, f_blocks=1 << 22, f_favail=0, f_files=0)
    assert disk_low(tmp_path) == "", "btrfs counts no inodes"


@pytest.mark.parametrize("behave", ["hang", "500", "html", "429"])
async def test_a_bad_endpoint_until_it_is_good(behave: str) -> None:
    async with Robots() as robots:
        robots.behave, robots.fail = behave, 2
        senders = [HttpSender(channel_of(RAW["dingding"], robots.url), TITLE, timeout_s=0.3)]
        running = Running(*senders, first_pause_s=0.01)
        running.tell(Alert("ban", "banned", 1.0))
        await robots.until(1)
        assert robots.asked == 3 and "banned" in robots.texts()
        await running.end(Bye())


# --------------------------------------------------------------------------------------------- the process


@contextlib.contextmanager
def process(folder: Path, config: dict[str, Any]) -> Iterator[tuple[subprocess.Popen[str], socket.socket]]:
    """`python -m bmac_stream.alerts` with this config, and the collector's end of its socket."""
    (folder / "config.json").write_text(json.dumps({"interval": "1m", "trade_type": "usdt_perp"} | config))
    mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", "bmac_stream.alerts", str(folder / "config.json")]
    with subprocess.Popen(
        command, stdin=its, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=REPO
    ) as child:
        its.close()
        try:
            yield child, mine
        finally:
            mine.close()
            child.kill()


async def test_both_of_bmacs_forms_reach_their_robots(tmp_path: Path) -> None:
    async with Robots() as robots:
        secret = {"access_token": TOKEN, "secret": SECRET, "base_url": robots.url}
        url = f"{robots.url}/cgi-bin/webhook/send?key={RAW['wechat_work']['key']}"
        config = {
            "dingding": {"error": secret},
            "msg_sender": {"error": {"type": "wechat_work", "webhook_url": url}},
            "alerts": [
                {"type": "dingding", **secret, "kinds": ["disk"]},
                {"type": "feishu", "token": TOKEN, "secret": SECRET, "base_url": robots.url},
            ],
        }
        with process(tmp_path, config) as (child, mine):
            mine.send(encode(Alert("error", "something broke", time.time())))
            await robots.until(3, 30.0)
            assert sorted(kind for kind, _ in robots.taken) == ["dingding", "feishu", "wechat_work"]
            assert robots.texts().count("something broke") == 3
            assert robots.texts().startswith("Bmac usdt_perp_1m @ ")
            command_line = Path(f"/proc/{child.pid}/cmdline").read_bytes()  # noqa: ASYNC240  # no disk
            assert TOKEN.encode() not in command_line and SECRET.encode() not in command_line
            mine.send(encode(Bye()))
            mine.close()
            assert await asyncio.to_thread(child.wait, 10) == 0
            assert child.stdout is not None and child.stdout.read() == ""


async def test_a_hanging_robot_shows_no_secret_and_does_not_keep_the_process(tmp_path: Path) -> None:
    async with Robots() as robots:
        robots.behave = "html"
        config = {"dingding": {"error": {"access_token": TOKEN, "secret": SECRET, "base_url": robots.url}}}
        with process(tmp_path, config) as (child, mine):
            mine.send(encode(Alert("error", f"a text with {SECRET}", time.time())))
            async with asyncio.timeout(30):
                while not robots.asked:
                    await asyncio.sleep(0.02)
            robots.behave = "hang"
            child.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(child.wait, 10) == 0
            assert child.stdout is not None
            said = child.stdout.read()
            assert "dingding: HTTP 200, not a JSON answer; tried again" in said
            assert TOKEN not in said and SECRET not in said and "Traceback" not in said


async def test_a_killed_collector_is_told_by_the_process(tmp_path: Path) -> None:
    async with Robots() as robots:
        config = {"alerts": [{"type": "webhook", "url": f"{robots.url}/hook/x"}]}
        with process(tmp_path, config) as (child, mine):
            mine.close()  # as the kernel does for a process that was killed
            assert await asyncio.to_thread(child.wait, 30) == 0
        assert "died: the collector is gone" in robots.texts()


@pytest.mark.slow
def test_the_process_says_what_it_needs(tmp_path: Path) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "bmac_stream.alerts", *words],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=REPO, timeout=60,
        )  # fmt: skip

    assert "usage" in run().stderr
    found = run(str(tmp_path / "nothing.json"))
    assert found.returncode == 1 and "no such file" in found.stderr
    (tmp_path / "config.json").write_text('{"interval": "1m", "trade_type": "usdt_perp"}')
    assert "stdin is no socket" in run(str(tmp_path)).stderr


def test_a_config_without_channels_has_none() -> None:
    assert read_channels(None, None, [], None) == ([], [], [], [])
