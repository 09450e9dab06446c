"""bmac_stream.alerts.senders against robots on loopback that check signatures and bodies, and bad ones."""

import asyncio
import json
import os
import ssl
import sys
import threading
import types
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytest_asyncio
import trustme
from aiohttp import web

from bmac_stream.alerts.channels import Channel, read_channels, secrets_in
from bmac_stream.alerts.limiter import Line, Note
from bmac_stream.alerts.senders import (
    AppriseSender,
    HttpSender,
    SendFailed,
    dingding_sign,
    feishu_sign,
    judge,
    request_of,
    text_of,
)
from tests.bmac_stream.binance.proxies import HttpProxy, SocksProxy

from .robots import KEY, SECRET, TOKEN, Robots

TITLE = "Bmac usdt_perp_1m @ here"
NOTE = Note(
    (Line("ban", "banned & <told> 100%", 1_700_000_000.0), Line("listing", "新币USDT", 1_700_000_001.0, 3)),
    {"error": 12},
)

RAW: dict[str, dict[str, Any]] = {
    "dingding": {"type": "dingding", "access_token": TOKEN, "secret": SECRET},
    "wechat_work": {"type": "wechat_work", "key": KEY},
    "feishu": {"type": "feishu", "token": TOKEN, "secret": SECRET},
    "telegram": {"type": "telegram", "bot_token": f"123456:{TOKEN}", "chat_id": -100200300},
    "webhook": {"type": "webhook", "headers": {"Authorization": "Bearer b34r3r"}},
}


def channel_of(raw: dict[str, Any], url: str, proxy: str | None = None) -> Channel:
    """A channel at the robots' address."""
    raw = raw | ({"url": f"{url}/hook/{TOKEN}"} if raw["type"] == "webhook" else {"base_url": url})
    found = read_channels(None, None, [raw], proxy)
    assert found.problems == []
    return found.channels[0]


def hider(raw: dict[str, Any]) -> Callable[[str], str]:
    """What hides the secrets of a channel's settings."""
    secrets = secrets_in(raw)

    def hide(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, "***")
        return text

    return hide


@pytest_asyncio.fixture
async def robots() -> AsyncIterator[Robots]:
    """All robots."""
    async with Robots() as server:
        yield server


async def send(channel: Channel, timeout_s: float = 5.0, ca_file: str | None = None) -> None:
    """Send NOTE once."""
    sender = HttpSender(channel, TITLE, timeout_s=timeout_s, ca_file=ca_file)
    try:
        await sender.send(NOTE)
    finally:
        await sender.close()


# ------------------------------------------------------------------------------------ what is documented


def test_signatures_of_the_documents_schemes() -> None:
    # worked out with openssl: printf '%s\n%s' T S | openssl dgst -sha256 -hmac S -binary | base64
    assert dingding_sign(1577262236757, "this is secret") == "hmPWwU+7lVdm3ZZz0r9tSfx0L4Q26jWOZr9+Gs6EZQM="
    # printf '' | openssl dgst -sha256 -hmac "$(printf '%s\n%s' T S)" -binary | base64
    assert feishu_sign(1599360473, "demo") == "l1N0gAcBjdwBvGm1xMjOF0XSyaLRpR7tuO5dHfhAYc8="


@pytest.mark.parametrize("kind", RAW)
async def test_every_robot_takes_what_is_sent(robots: Robots, kind: str) -> None:
    await send(channel_of(RAW[kind], robots.url))
    assert robots.refused == []
    ((taken, text),) = robots.taken
    assert taken == kind
    assert text.splitlines() == [
        TITLE,
        "❌ 11-14 22:13:20Z ban: banned & <told> 100%",
        "🔵 11-14 22:13:21Z listing: 新币USDT (x3)",
        "and not shown: 12 error",
    ]


async def test_a_webhook_has_the_parts_as_json(robots: Robots) -> None:
    await send(channel_of(RAW["webhook"], robots.url))
    (body,) = robots.bodies
    assert body["source"] == "bmac_stream" and body["title"] == TITLE and body["level"] == "error"
    assert [(one["kind"], one["level"], one["times"]) for one in body["alerts"]] == [
        ("ban", "error", 1),
        ("listing", "info", 3),
    ]
    assert body["suppressed"] == {"error": 12}
    assert robots.headers[0]["Authorization"] == "Bearer b34r3r"
    assert robots.headers[0]["Content-Type"].startswith("application/json")


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("dingding", {"secret": "SECwrong"}),
        ("dingding", {"secret": None}),
        ("dingding", {"access_token": "wrong"}),
        ("feishu", {"secret": "wrong"}),
        ("feishu", {"secret": None}),
        ("feishu", {"token": "wrong"}),
        ("wechat_work", {"key": "wrong"}),
        ("telegram", {"bot_token": "1:wrong"}),
        ("telegram", {"chat_id": 7}),
    ],
)
async def test_what_a_robot_refuses_is_not_tried_again(
    robots: Robots, kind: str, change: dict[str, Any]
) -> None:
    raw = {key: value for key, value in (RAW[kind] | change).items() if value is not None}
    with pytest.raises(SendFailed) as failed:
        await send(channel_of(raw, robots.url))
    assert not failed.value.again
    assert robots.taken == []


def test_a_text_is_cut_where_the_robot_would() -> None:
    note = Note(tuple(Line("error", "错" * 500, 0.0) for _ in range(20)), {})
    for kind, most in (("wechat_work", 2048), ("telegram", 4096)):
        body = json.loads(request_of(channel_of(RAW[kind], "https://h"), note, TITLE, 0.0).body)
        text = body["text"] if kind == "telegram" else body["text"]["content"]
        assert most * 0.8 < len(text.encode()) <= most and text.endswith("…")
    assert len(text_of(note, TITLE).encode()) > 20_000


def test_a_request_does_not_show_its_url() -> None:
    request = request_of(channel_of(RAW["dingding"], "https://h"), NOTE, TITLE, 1.0)
    assert TOKEN in request.url and TOKEN not in repr(request) and "sign=" in request.url


# ----------------------------------------------------------------------------------------- bad endpoints


@pytest.mark.parametrize(
    ("kind", "behave"),
    [
        (kind, behave)
        for kind in RAW
        for behave in ("500", "html", "cut", "list", "429", "redirect", "hang", "huge")
        if kind != "webhook" or behave not in ("html", "cut", "list", "huge")  # its 200 may hold anything
    ],
)
async def test_a_bad_endpoint_is_a_failure_and_no_more(robots: Robots, kind: str, behave: str) -> None:
    robots.behave = behave
    with pytest.raises(SendFailed) as failed:
        await send(channel_of(RAW[kind], robots.url), timeout_s=0.3 if behave == "hang" else 10.0)
    # a robot never redirects: something on the way did; a webhook that does is set up wrongly
    assert failed.value.again is ((kind, behave) != ("webhook", "redirect"))
    assert robots.asked == 1, "no redirection is followed: it would carry the token elsewhere"
    assert failed.value.retry_after_s == (1.0 if behave == "429" else 0.0)
    assert TOKEN not in str(failed.value) and KEY not in str(failed.value)


@pytest.mark.parametrize("kind", RAW)
async def test_no_failure_shows_a_secret(kind: str) -> None:
    # nobody listens there, and the name is none: libraries put hosts and URLs into their errors
    for url in ("http://127.0.0.1:1", "https://nobody.invalid"):
        raw = RAW[kind]
        channel = channel_of(raw, url)
        sender = HttpSender(channel, TITLE, hider(raw), timeout_s=2.0)
        with pytest.raises(SendFailed) as failed:
            await sender.send(NOTE)
        await sender.close()
        shown = f"{failed.value!r} {failed.value.__cause__!r} {failed.value.__suppress_context__}"
        assert not any(secret in shown for secret in (TOKEN, SECRET, KEY, "b34r3r"))
        assert failed.value.__suppress_context__, "a traceback would show what a library raised"


async def test_what_a_robot_says_is_scrubbed() -> None:
    with pytest.raises(SendFailed, match="code 1: no"):
        judge("dingding", 200, {}, b'{"errcode": 1, "errmsg": "no"}')
    echo = json.dumps({"errcode": 1, "errmsg": f"bad token {TOKEN}"}).encode()

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=echo)

    app = web.Application()
    app.router.add_post("/robot/send", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        raw = RAW["dingding"]
        sender = HttpSender(channel_of(raw, f"http://127.0.0.1:{port}"), TITLE, hider(raw))
        with pytest.raises(SendFailed, match=r"bad token \*\*\*"):
            await sender.send(NOTE)
        await sender.close()
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("kind", "status", "body", "again"),
    [
        ("dingding", 200, {"errcode": 130101, "errmsg": "send too fast"}, True),
        ("dingding", 200, {"errcode": -1, "errmsg": "busy"}, True),
        ("dingding", 200, {"errcode": 310000, "errmsg": "keywords not in content"}, False),
        ("dingding", 200, {"errcode": False}, True),
        ("dingding", 200, {}, True),
        ("dingding", 502, {"errcode": 0}, True),
        ("wechat_work", 200, {"errcode": 45009, "errmsg": "api freq out of limit"}, True),
        ("wechat_work", 200, {"errcode": 93000}, False),
        ("feishu", 200, {"code": 11232, "msg": "frequency limited"}, True),
        ("feishu", 200, {"code": 19024, "msg": "Key Words Not Found"}, False),
        ("feishu", 400, {"code": 9499, "msg": "too many request"}, True),
        ("telegram", 403, {"ok": False, "description": "bot was kicked"}, False),
        ("telegram", 502, {"ok": False}, True),
        ("telegram", 200, {"ok": "true"}, False),
        ("webhook", 404, {}, False),
        ("webhook", 503, {}, True),
        ("webhook", 408, {}, True),
    ],
)
def test_whether_another_attempt_can_help(kind: str, status: int, body: dict[str, Any], again: bool) -> None:
    with pytest.raises(SendFailed) as failed:
        judge(kind, status, {}, json.dumps(body).encode())
    assert failed.value.again is again


def test_what_is_taken() -> None:
    judge("dingding", 200, {}, b'{"errcode": 0, "errmsg": "ok"}')
    judge("wechat_work", 200, {}, b'{"errcode": 0}')
    judge("feishu", 200, {}, b'{"StatusCode": 0, "StatusMessage": "success"}')
    judge("feishu", 200, {}, b'{"code": 0, "data": {}, "msg": "success"}')
    judge("telegram", 200, {}, b'{"ok": true, "result": {}}')
    judge("webhook", 204, {}, b"")


def test_telegram_says_how_long_to_wait() -> None:
    body = b'{"ok": false, "error_code": 429, "parameters": {"retry_after": 17}}'
    with pytest.raises(SendFailed) as failed:
        judge("telegram", 429, {}, body)
    assert failed.value.retry_after_s == 17.0
    with pytest.raises(SendFailed) as failed:
        judge("telegram", 429, {"Retry-After": "99999999"}, b'{"parameters": {"retry_after": "x"}}')
    assert failed.value.retry_after_s == 0.0, "what is not sensible is not obeyed"


# ------------------------------------------------------------------------------------------ proxies, TLS


@pytest.mark.parametrize("kind", [HttpProxy, SocksProxy])
async def test_the_proxy_is_used_and_its_password_not_shown(robots: Robots, kind: Any) -> None:
    port = robots.url.rpartition(":")[2]
    async with kind(login=("me", "s3cretpass"), hosts={"robots.example": "127.0.0.1"}) as proxy:
        # a name that only the proxy knows: the direct way would fail
        raw = RAW["dingding"] | {"base_url": f"http://robots.example:{port}"}
        found = read_channels(None, None, [raw], proxy.url)
        await send(found.channels[0])
        assert len(robots.taken) == 1
        assert proxy.asked == [f"robots.example:{port}"]
    with pytest.raises(SendFailed) as failed:
        await send(found.channels[0])
    assert "through proxy" in str(failed.value) and "s3cretpass" not in str(failed.value)


async def test_tls_is_verified(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    taken = []

    async def answer(request: web.Request) -> web.Response:
        taken.append(await request.json())
        return web.Response()

    app = web.Application()
    app.router.add_post("/x", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "localhost", 0, ssl_context=context)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        raw = {"type": "webhook", "url": f"https://localhost:{port}/x"}
        (channel,) = read_channels(None, None, [raw], None).channels
        with pytest.raises(SendFailed, match="TLS verification failed"):
            await send(channel)
        assert taken == []
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        await send(channel, ca_file=str(tmp_path / "ca.pem"))
        assert len(taken) == 1
    finally:
        await runner.cleanup()


# ---------------------------------------------------------------------------------------------- apprise


class FakeApprise:
    """What we use of apprise's class Apprise."""

    told: ClassVar[list[tuple[list[str], str, str]]] = []
    answers: ClassVar[list[Any]] = []
    proxies: ClassVar[list[str | None]] = []

    def __init__(self) -> None:
        self.urls: list[str] = []

    def add(self, url: str) -> bool:
        self.urls.append(url)
        return not url.startswith("unknown:")

    def notify(self, body: str, title: str) -> bool:
        self.proxies.append(os.environ.get("https_proxy"))
        answer = self.answers.pop(0) if self.answers else True
        if isinstance(answer, threading.Event):
            answer.wait(10)
            answer = True
        if isinstance(answer, Exception):
            raise answer
        self.told.append((self.urls, title, body))
        return bool(answer)


@pytest.fixture
def fake_apprise(monkeypatch: pytest.MonkeyPatch) -> type[FakeApprise]:
    """The module `apprise`, so that the test needs no extra and no network."""
    module = types.ModuleType("apprise")
    module.Apprise = FakeApprise  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "apprise", module)
    for name in ("told", "answers", "proxies"):
        monkeypatch.setattr(FakeApprise, name, [])
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://somebody.example:1")
    return FakeApprise


def apprise_channel(*urls: str, proxy: str | None = None) -> Channel:
    """A channel by apprise."""
    return Channel("alerts[0] apprise", "apprise", urls=urls or ("mailto://u:s3cretpass@h",), proxy=proxy)


async def test_apprise_is_handed_title_and_body(fake_apprise: type[FakeApprise]) -> None:
    await AppriseSender(apprise_channel(proxy="http://p:8080"), TITLE).send(NOTE)
    ((urls, title, body),) = fake_apprise.told
    assert urls == ["mailto://u:s3cretpass@h"] and title == TITLE
    assert body == text_of(NOTE, TITLE).partition("\n")[2]
    assert fake_apprise.proxies == ["http://p:8080"]
    await AppriseSender(apprise_channel(), TITLE).send(NOTE)
    assert fake_apprise.proxies[-1] is None, "no proxy is asked for, none is used"


@pytest.mark.parametrize(
    "answer", [False, RuntimeError("cannot reach mailto://u:s3cretpass@h"), ValueError()]
)
async def test_what_apprise_fails_at(fake_apprise: type[FakeApprise], answer: Any) -> None:
    fake_apprise.answers.append(answer)
    hide = hider({"urls": ["mailto://u:s3cretpass@h"]})
    with pytest.raises(SendFailed) as failed:
        await AppriseSender(apprise_channel(), TITLE, hide).send(NOTE)
    assert failed.value.again and "s3cret" not in str(failed.value)


async def test_a_url_that_apprise_does_not_know(fake_apprise: type[FakeApprise]) -> None:
    with pytest.raises(SendFailed, match="not known to apprise"):
        await AppriseSender(apprise_channel("unknown://s3cretpass"), TITLE).send(NOTE)
    assert fake_apprise.told == []


async def test_an_apprise_that_hangs_has_one_thread(fake_apprise: type[FakeApprise]) -> None:
    release = threading.Event()
    fake_apprise.answers.append(release)
    sender = AppriseSender(apprise_channel(), TITLE, timeout_s=0.1)
    try:
        with pytest.raises(SendFailed, match="no answer within"):
            await sender.send(NOTE)
        for _ in range(3):
            with pytest.raises(SendFailed, match="still busy"):
                await sender.send(NOTE)
        assert sum(thread.name == "apprise" for thread in threading.enumerate()) == 1
    finally:
        release.set()
    async with asyncio.timeout(5):
        while any(thread.name == "apprise" for thread in threading.enumerate()):
            await asyncio.sleep(0.01)
    await sender.send(NOTE)
    assert len(fake_apprise.told) == 2
