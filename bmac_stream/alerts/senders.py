"""One message to one channel: its body, its signature, and what the answer means.

`request_of` and `judge` are pure; HttpSender moves the bytes, with the channel's proxy and verified TLS, and
AppriseSender hands the text to the extra `alerts` in a thread. Every failure is a SendFailed in plain words
without secrets, which says whether another attempt can help.

Sources: the public documents of each robot. DingTalk signs `timestamp(ms) \\n secret` with the secret and
puts both into the query; Feishu uses `timestamp(s) \\n secret` as the key of an empty message and puts both
into the body; both take HMAC-SHA256 in base64. WeCom's and Telegram's secret is in the URL.
"""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import aiohttp
import yarl

from bmac_stream.alerts.channels import Channel
from bmac_stream.alerts.events import KINDS
from bmac_stream.alerts.limiter import Note
from bmac_stream.binance.transport import describe, proxy_for, require_socks, ssl_context

__all__ = [
    "AppriseSender",
    "HttpSender",
    "Request",
    "SendFailed",
    "Sender",
    "dingding_sign",
    "feishu_sign",
    "judge",
    "request_of",
    "sender_of",
    "text_of",
]

TIMEOUT_S: Final = 10.0
CONNECT_S: Final = 5.0
MAX_ANSWER: Final = 1 << 16
MAX_BYTES: Final = {"wechat_work": 2000, "telegram": 3500}
"""What a message's text may have, UTF-8; WeCom cuts at 2048, Telegram at 4096 letters."""
MAX_BYTES_ELSE: Final = 8000

# answers that a later attempt can heal: busy, too many in a minute
_LATER: Final = {
    "dingding": frozenset({-1, 130101, 410100}),
    "wechat_work": frozenset({-1, 45009, 45033}),
    "feishu": frozenset({9499, 11232, 11233, 99991400}),
}


class SendFailed(Exception):
    """A message was not taken.

    again          whether another attempt can help
    retry_after_s  not before, seconds; 0: not said
    """

    def __init__(self, text: str, *, again: bool, retry_after_s: float = 0.0) -> None:
        self.again = again
        self.retry_after_s = retry_after_s
        super().__init__(text)


class Request(NamedTuple):
    """An HTTP POST. Its URL may hold a token: never for a message."""

    url: str
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"Request({len(self.body)} bytes)"


def dingding_sign(timestamp_ms: int, secret: str) -> str:
    """DingTalk's signature: base64 of HMAC-SHA256 of `timestamp \\n secret`, keyed with the secret."""
    return _hmac(secret, f"{timestamp_ms}\n{secret}")


def feishu_sign(timestamp_s: int, secret: str) -> str:
    """Feishu's signature: base64 of HMAC-SHA256 of nothing, keyed with `timestamp \\n secret`."""
    return _hmac(f"{timestamp_s}\n{secret}", "")


def text_of(note: Note, title: str) -> str:
    """A note as people read it: the title, then a line for each alert with its time (UTC)."""
    rows = [title]
    for line in note.lines:
        times = f" (x{line.times})" if line.times > 1 else ""
        mark = "❌" if KINDS[line.kind] == "error" else "🔵"
        rows.append(f"{mark} {_utc(line.at)} {line.kind}: {line.text}{times}")
    if note.suppressed:
        more = ", ".join(f"{n} {kind}" for kind, n in sorted(note.suppressed.items()))
        rows.append(f"and not shown: {more}")
    return "\n".join(rows)


def request_of(channel: Channel, note: Note, title: str, now_s: float) -> Request:
    """What is posted to `channel` (not apprise).

    title  first line of the text: which collector this is about
    now_s  seconds since 1970, for signatures
    """
    text = _cut(text_of(note, title), MAX_BYTES.get(channel.type, MAX_BYTES_ELSE))
    url = channel.url
    body: dict[str, Any]
    if channel.type == "dingding":
        body = {"msgtype": "text", "text": {"content": text}}
        if channel.secret:
            at = int(now_s * 1e3)
            sign = quote(dingding_sign(at, channel.secret), safe="")
            url += f"{'&' if '?' in url else '?'}timestamp={at}&sign={sign}"
    elif channel.type == "wechat_work":
        body = {"msgtype": "text", "text": {"content": text}}
    elif channel.type == "feishu":
        body = {"msg_type": "text", "content": {"text": text}}
        if channel.secret:
            at = int(now_s)
            body = {"timestamp": str(at), "sign": feishu_sign(at, channel.secret), **body}
    elif channel.type == "telegram":
        body = {
            "chat_id": channel.chat_id,
            "text": text,
            "link_preview_options": {"is_disabled": True},
        }
    else:
        assert channel.type == "webhook", channel.type
        body = {
            "source": "bmac_stream",
            "title": title,
            "text": text,
            "level": "error" if any(KINDS[line.kind] == "error" for line in note.lines) else "info",
            "alerts": [line._asdict() | {"level": KINDS[line.kind]} for line in note.lines],
            "suppressed": note.suppressed,
        }
    headers = {"Content-Type": "application/json; charset=utf-8", **channel.headers}
    return Request(url, headers, json.dumps(body, ensure_ascii=False).encode())


def judge(kind: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Raise SendFailed unless this answer says that the message was taken.

    kind  the channel's type
    """
    after_s = _seconds(headers.get("Retry-After"))
    try:
        answer: Any = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        answer = None
    if kind == "webhook":
        if 200 <= status < 300:
            return
        raise SendFailed(f"HTTP {status}", again=_again(status), retry_after_s=after_s)
    if kind == "telegram":
        if status == 200 and answer is not None and answer.get("ok") is True:
            return
        parameters = (answer or {}).get("parameters")
        if isinstance(parameters, dict):
            after_s = max(after_s, _seconds(parameters.get("retry_after")))
        raise SendFailed(
            f"HTTP {status}{_said(answer, 'description')}",
            again=_again(status) or answer is None,
            retry_after_s=after_s,
        )
    if answer is None:
        # a proxy's page, a cut body: the robot itself always answers with JSON
        raise SendFailed(
            f"HTTP {status}, not a JSON answer", again=_again(status) or status < 400, retry_after_s=after_s
        )
    if kind == "feishu":
        code, message = answer.get("code", answer.get("StatusCode")), "msg"
    else:
        code, message = answer.get("errcode"), "errmsg"
    if isinstance(code, bool) or not isinstance(code, int):
        code = None
    if status == 200 and code == 0:
        return
    raise SendFailed(
        f"HTTP {status}, code {'?' if code is None else code}{_said(answer, message)}",
        again=_again(status) or code is None or code in _LATER[kind],
        retry_after_s=after_s,
    )


class Sender:
    """Sends notes to one channel, one at a time."""

    def __init__(self, channel: Channel, title: str, hide: Callable[[str], str]) -> None:
        self.channel = channel
        self._title = title
        self._hide = hide

    async def send(self, note: Note) -> None:
        """Send it once. SendFailed if it was not taken."""
        raise NotImplementedError

    async def close(self) -> None:
        """Give back what it holds."""


class HttpSender(Sender):
    """Posts to a robot or a webhook.

    ca_file    PEM file with further trust, or None
    timeout_s  for the whole request
    """

    def __init__(
        self,
        channel: Channel,
        title: str,
        hide: Callable[[str], str] = lambda text: text,
        *,
        ca_file: str | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        super().__init__(channel, title, hide)
        self._ca_file = ca_file
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, connect=min(CONNECT_S, timeout_s))
        self._proxy = proxy_for(channel.proxy, channel.url)
        self._session: aiohttp.ClientSession | None = None

    async def send(self, note: Note) -> None:
        """Post it."""
        request = request_of(self.channel, note, self._title, time.time())
        try:
            session = self._open()
            proxy = self._proxy
            async with session.post(
                # encoded: the signature's %2B must arrive as it is
                yarl.URL(request.url, encoded=True),
                data=request.body,
                headers=request.headers,
                proxy=proxy.url if proxy is not None and proxy.scheme == "http" else None,
                allow_redirects=False,
                timeout=self._timeout,
            ) as response:
                body = await response.content.read(MAX_ANSWER)
                while len(body) < MAX_ANSWER and (
                    more := await response.content.read(MAX_ANSWER - len(body))
                ):
                    body += more
                try:
                    judge(self.channel.type, response.status, response.headers, body)
                except SendFailed as error:
                    raise SendFailed(
                        self._hide(str(error)), again=error.again, retry_after_s=error.retry_after_s
                    ) from None
        except SendFailed:
            raise
        except Exception as error:  # whatever a library raises: the text may hold the URL, so it is scrubbed
            text = self._hide(describe(error))
            if self._proxy is not None:
                text = f"through proxy {self._proxy}: {self._proxy.scrub(text)}"
            raise SendFailed(text, again=True) from None

    async def close(self) -> None:
        """Close its connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            # made here, so that an unusable CA file is this channel's failure and nobody else's
            tls = ssl_context(self._ca_file) if self.channel.url.startswith("https:") else True
            proxy = self._proxy
            connector: aiohttp.BaseConnector
            if proxy is not None and proxy.scheme == "socks5":
                require_socks()
                from aiohttp_socks import ProxyConnector, ProxyType  # an extra: only for those who need it

                connector = ProxyConnector(
                    proxy.host,
                    proxy.port,
                    ProxyType.SOCKS5,
                    username=proxy.username,
                    password=proxy.password,
                    rdns=True,
                    ssl=tls,
                    limit=2,
                )
            else:
                connector = aiohttp.TCPConnector(ssl=tls, limit=2)
            self._session = aiohttp.ClientSession(
                connector=connector, trust_env=False, headers={"User-Agent": "bmac_stream"}
            )
        return self._session


class AppriseSender(Sender):
    """Hands messages to apprise, in a daemon thread: it blocks, and may do so for long."""

    def __init__(
        self,
        channel: Channel,
        title: str,
        hide: Callable[[str], str] = lambda text: text,
        *,
        timeout_s: float = 3 * TIMEOUT_S,
    ) -> None:
        super().__init__(channel, title, hide)
        self._timeout_s = timeout_s
        self._running: threading.Thread | None = None

    async def send(self, note: Note) -> None:
        """Hand it over, and wait until apprise has sent it."""
        if self._running is not None and self._running.is_alive():
            raise SendFailed("apprise is still busy with the message before", again=True)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[bool] = loop.create_future()
        text = _cut(text_of(note, self._title), MAX_BYTES_ELSE)

        def work() -> None:
            try:
                result: bool | Exception = _apprise(self.channel.urls, self.channel.proxy, text)
            except Exception as error:  # its plugins may raise anything
                result = error
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(finish, result)

        def finish(result: "bool | Exception") -> None:
            if done.done():
                return
            if isinstance(result, Exception):
                done.set_exception(result)
            else:
                done.set_result(result)

        self._running = threading.Thread(target=work, name="apprise", daemon=True)
        self._running.start()
        try:
            async with asyncio.timeout(self._timeout_s):
                taken = await done
        except TimeoutError:
            raise SendFailed(f"apprise: no answer within {self._timeout_s:g} s", again=True) from None
        except Exception as error:
            raise SendFailed(self._hide(f"apprise: {describe(error)}"), again=True) from None
        if not taken:
            raise SendFailed("apprise: one of its URLs did not take it", again=True)


def sender_of(channel: Channel, title: str, hide: Callable[[str], str], ca_file: str | None) -> Sender:
    """The sender for a channel."""
    if channel.type == "apprise":
        return AppriseSender(channel, title, hide)
    return HttpSender(channel, title, hide, ca_file=ca_file)


def _apprise(urls: Sequence[str], proxy: str | None, text: str) -> bool:
    """Send by apprise; whether every URL took it. It knows proxies only from the environment, which is this
    process's own."""
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # its messages show URLs
    if proxy != "env":
        found = proxy_for(proxy, "https://apprise")
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            os.environ.pop(name.upper(), None)
            os.environ.pop(name, None)
            if found is not None:
                os.environ[name] = found.url
    import apprise  # an extra, and 0.2 s

    sender = apprise.Apprise()
    for url in urls:
        if not sender.add(url):
            raise ValueError("one of the URLs is not known to apprise (not shown)")
    title, _, body = text.partition("\n")
    return bool(sender.notify(body=body, title=title))


def _hmac(key: str, message: str) -> str:
    return base64.b64encode(hmac.new(key.encode(), message.encode(), hashlib.sha256).digest()).decode()


def _cut(text: str, n_bytes: int) -> str:
    raw = text.encode()
    return text if len(raw) <= n_bytes else raw[: n_bytes - 3].decode(errors="ignore") + "…"


def _utc(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%m-%d %H:%M:%SZ")


def _again(status: int) -> bool:
    return status in (408, 425, 429) or status >= 500


def _seconds(value: object) -> float:
    """Seconds of a Retry-After or retry_after; 0 if it is neither a number nor sensible."""
    try:
        seconds = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return 0.0
    return seconds if 0 < seconds < 3600 else 0.0


def _said(answer: Mapping[str, Any] | None, key: str) -> str:
    text = (answer or {}).get(key)
    return f": {text[:200]}" if isinstance(text, str) and text.isprintable() else ""
