"""Where alerts go: the config's `dingding`, `msg_sender` and `alerts`, read and checked.

BMAC had two forms, and both work as they are: up to 2024-08 `"dingding": {"error": {"access_token",
"secret"}}`, later `"msg_sender": {"type": "dingding" | "wechat_work", "error": {...}}`, whose type had to be
put inside "error" to have any effect, so it is found there too. Only "error" is used; names beside it are
accepted. `alerts` is a list of further channels, each with a type of TYPES.

Nothing here shows a value: tokens, webhooks and keys are secrets.
"""

import difflib
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, quote, urlsplit

from bmac_stream.alerts.events import KINDS
from bmac_stream.binance.transport import parse_proxy

__all__ = ["BMAC_TYPES", "DIRECT", "TYPES", "Channel", "Reading", "read_channels", "secrets_in"]

BMAC_TYPES: Final = ("dingding", "wechat_work")
"""What BMAC's msg_sender could be."""
DIRECT: Final = "direct"
"""A channel's `proxy` that says: none, whatever the config's is."""

_COMMON: Final = ("type", "proxy", "kinds")
TYPES: Final = {
    "dingding": ("access_token", "secret", "webhook_url", "base_url"),
    "wechat_work": ("key", "webhook_url", "base_url"),
    "feishu": ("token", "secret", "webhook_url", "base_url"),
    "telegram": ("bot_token", "chat_id", "base_url"),
    "webhook": ("url", "headers"),
    "apprise": ("url", "urls"),
}
"""Every type of channel, with its keys beside type, proxy and kinds."""

# type -> (the key that is enough instead of webhook_url, default base_url, path before it)
_HOOKS: Final = {
    "dingding": ("access_token", "https://oapi.dingtalk.com", "/robot/send?access_token="),
    "wechat_work": ("key", "https://qyapi.weixin.qq.com", "/cgi-bin/webhook/send?key="),
    "feishu": ("token", "https://open.feishu.cn", "/open-apis/bot/v2/hook/"),
}
_TELEGRAM: Final = "https://api.telegram.org"
_OPEN: Final = frozenset({"type", "base_url", "kinds", "chat_id", "proxy"})  # these are no secrets
_TOKEN: Final = re.compile(r"[A-Za-z0-9_.:-]{1,300}")
_CHAT: Final = re.compile(r"-?\d{1,20}|@[A-Za-z0-9_]{1,64}")
_HEADER: Final = re.compile(r"[A-Za-z0-9-]{1,100}")


@dataclass(frozen=True, slots=True, repr=False)
class Channel:
    """One place that messages are sent to. Its text form shows its name alone.

    name     what messages call it: "dingding", "msg_sender", "alerts[0] feishu"
    type     one of TYPES
    url      where messages are posted, token included ("" with apprise)
    secret   key of the signature ("" without)
    chat_id  telegram's
    headers  further HTTP headers of a webhook
    urls     apprise's
    proxy    URL of a proxy, "env", or None
    kinds    the kinds of alerts that are told here; None: all
    """

    name: str
    type: str
    url: str = ""
    secret: str = ""
    chat_id: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    urls: tuple[str, ...] = ()
    proxy: str | None = None
    kinds: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        return f"Channel({self.name!r})"


class Reading(NamedTuple):
    """What was read. The lists hold (key, text) pairs: what is wrong, what is odd, keys that nobody knows."""

    channels: list[Channel]
    problems: list[tuple[str, str]]
    warnings: list[tuple[str, str]]
    unknown: list[tuple[str, str]]


def read_channels(
    dingding: Mapping[str, Any] | None,
    msg_sender: Mapping[str, Any] | None,
    alerts: Sequence[Mapping[str, Any]],
    proxy: str | None,
) -> Reading:
    """All channels of a config's keys; `proxy` is the config's, for those that name none themselves."""
    reading = Reading([], [], [], [])
    if dingding:
        _read_bmac(reading, "dingding", dingding, "dingding", proxy)
    if msg_sender:
        _read_bmac(reading, "msg_sender", msg_sender, None, proxy)
    for i, raw in enumerate(alerts):
        where, kind = f"alerts[{i}]", raw.get("type")
        if not isinstance(kind, str) or kind not in TYPES:
            reading.problems.append((f"{where}.type", _no_type(kind, TYPES)))
            continue
        keys = (*_COMMON, *TYPES[kind])
        for key in raw:
            if key not in keys:
                reading.unknown.append((f"{where}.{_shown(key)}", f"no such key{_nearest(key, keys)}"))
        _read_one(reading, where, f"{where} {kind}", kind, raw, proxy)
    return reading


def secrets_in(raw: Mapping[str, Any] | None) -> list[str]:
    """Every text in a channel's settings that must not be shown, and the parts of URLs that are secret."""
    found: list[str] = []

    def walk(value: object) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                if key not in _OPEN:
                    walk(inner)
                elif key == "proxy" and isinstance(inner, str):
                    found.extend(_login(inner))
        elif isinstance(value, list | tuple):
            for inner in value:
                walk(inner)
        elif isinstance(value, str):
            found.append(value)
            if "://" in value:
                found.extend(_parts(value))

    walk(raw or {})
    found += [quote(text, safe="") for text in found]
    return list(dict.fromkeys(text for text in found if len(text) >= 6))


# ------------------------------------------------------------------------------------------------ reading


def _read_bmac(
    reading: Reading, where: str, raw: Mapping[str, Any], kind: str | None, proxy: str | None
) -> None:
    """`{"error": {...}}`, with the type beside it or in it."""
    error = raw.get("error")
    if error is None:
        reading.warnings.append((where, 'has no "error": nothing is sent to it'))
        return
    if not isinstance(error, Mapping):
        reading.problems.append((f"{where}.error", "expected an object {...}"))
        return
    if not any(value not in ("", None) for key, value in error.items() if key != "type"):
        reading.warnings.append((f"{where}.error", "is empty: nothing is sent to it"))
        return
    if kind is None:
        kind = error.get("type", raw.get("type"))
        if not isinstance(kind, str) or kind not in BMAC_TYPES:
            reading.problems.append((f"{where}.type", _no_type(kind, BMAC_TYPES)))
            return
    _read_one(reading, f"{where}.error", where, kind, error, proxy)


def _read_one(
    reading: Reading, where: str, name: str, kind: str, raw: Mapping[str, Any], proxy: str | None
) -> None:
    """One channel's settings."""
    before = len(reading.problems)

    def problem(key: str, text: str) -> None:
        reading.problems.append((f"{where}.{key}" if key else where, text))

    def text(key: str) -> str:
        value = raw.get(key)
        if value is None:
            return ""
        if isinstance(value, int) and not isinstance(value, bool) and key == "chat_id":
            value = str(value)
        if not isinstance(value, str) or not value.strip():
            problem(key, "expected a text that is not empty")
            return ""
        return value.strip()

    def token(key: str) -> str:
        value = text(key)
        if value and not _TOKEN.fullmatch(value):
            problem(key, "has letters that such a token cannot have (not shown)")
        return value

    url, secret, chat_id = "", "", ""
    headers: dict[str, str] = {}
    urls: tuple[str, ...] = ()
    if kind in _HOOKS:
        key, base, path = _HOOKS[kind]
        base = _url(reading, where, "base_url", text("base_url") or base).rstrip("/")
        value = token(key)
        url = text("webhook_url")
        if url:
            _url(reading, where, "webhook_url", url)
        elif value:
            url = f"{base}{path}{value}"
        elif not any(given in raw for given in (key, "webhook_url")):
            problem("", f"needs {key} or webhook_url")
        if "secret" in TYPES[kind]:
            secret = text("secret")
    elif kind == "telegram":
        base = _url(reading, where, "base_url", text("base_url") or _TELEGRAM).rstrip("/")
        value, chat_id = token("bot_token"), text("chat_id")
        for needed in ("bot_token", "chat_id"):
            if needed not in raw:
                problem(needed, "is required and missing")
        if chat_id and not _CHAT.fullmatch(chat_id):
            problem("chat_id", "must be a number or @name (not shown)")
        url = f"{base}/bot{value}/sendMessage"
    elif kind == "webhook":
        if "url" not in raw:
            problem("url", "is required and missing")
        elif url := text("url"):
            _url(reading, where, "url", url)
        headers = _headers(raw.get("headers"), problem)
    else:
        urls = _urls(raw, problem)
        if find_spec("apprise") is None:
            problem("", "apprise is not installed: pip install 'bmac-stream[alerts]'")
    channel = Channel(
        name, kind, url, secret, chat_id, headers, urls, _proxy(raw, proxy, problem), _kinds(raw, problem)
    )
    if len(reading.problems) == before:
        reading.channels.append(channel)


def _url(reading: Reading, where: str, key: str, url: str) -> str:
    """`url`, noted as a problem if it is none, and as a warning if it would carry secrets in the open."""
    try:
        parts = urlsplit(url)
        host = parts.hostname if parts.port != 0 else None
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host or re.search(r"\s", url):
        reading.problems.append((f"{where}.{key}", "must be a URL with https:// (not shown)"))
    elif parts.scheme == "http" and not _local(host):
        reading.warnings.append((f"{where}.{key}", "is http://: its secrets travel unencrypted"))
    return url


def _local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _headers(raw: object, problem: Any) -> dict[str, str]:
    if raw is None:
        return {}
    good = isinstance(raw, Mapping) and all(
        isinstance(key, str)
        and _HEADER.fullmatch(key)
        and isinstance(value, str)
        and value.isprintable()
        and value.isascii()
        for key, value in raw.items()
    )
    if not good or not isinstance(raw, Mapping):
        problem("headers", "must be an object of header names and their texts (not shown)")
        return {}
    return dict(raw)


def _urls(raw: Mapping[str, Any], problem: Any) -> tuple[str, ...]:
    found = raw.get("urls", raw.get("url"))
    found = [found] if isinstance(found, str) else found
    if (
        not isinstance(found, list)
        or not found
        or not all(isinstance(one, str) and "://" in one for one in found)
    ):
        problem("urls", "must be a list of apprise URLs such as mailto://... (not shown)")
        return ()
    return tuple(found)


def _proxy(raw: Mapping[str, Any], default: str | None, problem: Any) -> str | None:
    value = raw.get("proxy")
    if value is None:
        return default
    if value == DIRECT:
        return None
    try:
        if not isinstance(value, str):
            raise ValueError
        if value != "env":
            parse_proxy(value)
    except ValueError:
        problem("proxy", f'must be a URL as the config\'s proxy, "env" or "{DIRECT}" (not shown)')
        return None
    return value


def _kinds(raw: Mapping[str, Any], problem: Any) -> tuple[str, ...] | None:
    value = raw.get("kinds")
    if value is None:
        return None
    if not isinstance(value, list) or not value or not all(isinstance(kind, str) for kind in value):
        problem("kinds", f"must be a list of {', '.join(KINDS)}")
        return None
    for kind in value:
        if kind not in KINDS:
            problem("kinds", f"there is no kind {_shown(kind)}{_nearest(kind, KINDS)}")
    return tuple(value)


def _no_type(kind: object, types: Any) -> str:
    if kind is None:
        return f"is required and missing; there are {', '.join(types)}"
    hint = _nearest(kind, types) if isinstance(kind, str) else ""
    return f"there is no such type{hint}; there are {', '.join(types)}"


def _nearest(word: str, names: Any) -> str:
    found = difflib.get_close_matches(word.lower()[:100], list(names), n=1, cutoff=0.5)
    return f"; nearest: {found[0]}" if found else ""


def _shown(word: str) -> str:
    return ascii(word[:40])


def _parts(url: str) -> list[str]:
    """The words of a URL that are not its host: who knows one of them may know it all."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return []
    last = parts.path.rstrip("/").rpartition("/")[2]
    known = last in ("send", "sendMessage", "webhook")
    return [
        *(word for word in (parts.password,) if word),
        *([] if known else [last]),
        *(value for _, value in parse_qsl(parts.query)),
    ]


def _login(proxy: str) -> list[str]:
    try:
        parts = urlsplit(proxy)
        return [word for word in (parts.password, parts.username) if word]
    except ValueError:
        return []
