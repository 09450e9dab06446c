"""The way to the exchange, for REST and streams alike: proxies, TLS, and failures in plain words.

TLS is always verified; a CA file can add trust, nothing takes it away. A proxy is used only if the
configuration names one (or says "env"), and its credentials never appear in a message.
"""

import asyncio
import errno
import functools
import socket
import ssl
import urllib.request
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from bmac_stream.errors import NetworkError, Unsupported

__all__ = ["Proxy", "describe", "network_error", "parse_proxy", "proxy_for", "require_socks", "ssl_context"]

_PORTS: Final = {"http": 80, "socks5": 1080}


@dataclass(frozen=True, slots=True, repr=False)
class Proxy:
    """An HTTP proxy (CONNECT) or a SOCKS5 proxy. Its text forms do not show the credentials."""

    scheme: str
    host: str
    port: int
    username: str | None = None
    password: str | None = None

    @property
    def url(self) -> str:
        """The whole URL, credentials included: for connecting, never for a message."""
        login = ""
        if self.username is not None:
            login = f"{quote(self.username, safe='')}:{quote(self.password or '', safe='')}@"
        # socks5h: the proxy resolves the name; the direct way to DNS may be blocked or poisoned.
        scheme = "socks5h" if self.scheme == "socks5" else self.scheme
        return f"{scheme}://{login}{self._address()}"

    def _address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        login = "***@" if self.username is not None else ""
        return f"{self.scheme}://{login}{self._address()}"

    def __repr__(self) -> str:
        return f"Proxy({str(self)!r})"

    def scrub(self, text: str) -> str:
        """`text` without this proxy's credentials, should a library have put them there."""
        text = text.replace(self.url, str(self))
        for secret in (self.password, self.username):
            if secret:
                text = text.replace(secret, "***").replace(quote(secret, safe=""), "***")
        return text


def parse_proxy(url: str) -> Proxy:
    """A proxy from "http://[user:password@]host[:port]" or "socks5://..." (socks5h is the same: names are
    always resolved by the proxy). ValueError without the credentials if it is something else."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
        parts = urlsplit("")
    scheme = {"http": "http", "socks5": "socks5", "socks5h": "socks5"}.get(parts.scheme)
    if scheme is None or not host:
        raise ValueError(
            'a proxy must look like "http://host:port" or "socks5://host:port" (user:password@ before the '
            f"host if it wants them), found scheme {parts.scheme!r} and host {host!r}"
        )
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(f"a proxy has no path, found one after host {host!r}")
    return Proxy(
        scheme,
        host,
        port or _PORTS[scheme],
        None if parts.username is None else unquote(parts.username),
        None if parts.password is None else unquote(parts.password),
    )


def proxy_for(setting: str | None, url: str) -> Proxy | None:
    """The proxy for `url`: none, the one that `setting` names, or with "env" the one of the usual variables
    (https_proxy, http_proxy, all_proxy, no_proxy). ValueError as parse_proxy."""
    if not setting:
        return None
    if setting != "env":
        return parse_proxy(setting)
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.netloc):
        return None
    scheme = {"wss": "https", "ws": "http"}.get(parts.scheme, parts.scheme)
    found = urllib.request.getproxies()
    named = found.get(scheme) or found.get("all")
    return parse_proxy(named) if named else None


def require_socks() -> None:
    """Unsupported, naming the extra, if the SOCKS libraries are not installed."""
    missing = [name for name in ("python_socks", "aiohttp_socks") if find_spec(name) is None]
    if missing:
        raise Unsupported(
            "a SOCKS5 proxy needs the extra 'socks': pip install 'bmac-stream[socks]' "
            f"(not installed: {', '.join(missing)})"
        )


@functools.cache  # 60 ms each, and REST and streams trust the same
def ssl_context(ca_file: str | Path | None = None) -> ssl.SSLContext:
    """The system's trust, plus the certificates of `ca_file` (PEM). NetworkError if that cannot be read.

    Made once for each `ca_file` of a process.
    """
    context = ssl.create_default_context()
    assert context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=str(ca_file))
        except (OSError, ssl.SSLError) as error:
            raise NetworkError(f"ca_file {str(ca_file)!r} cannot be used: {error}") from None
    return context


def network_error(error: BaseException, host: str, proxy: Proxy | None) -> NetworkError:
    """What a library raised while reaching `host`, as a NetworkError in plain words, no credentials."""
    via = f" through proxy {proxy}" if proxy is not None else ""
    text = f"{host}{via}: {describe(error)}"
    return NetworkError(proxy.scrub(text) if proxy is not None else text)


def describe(error: BaseException) -> str:
    """An error of a socket, TLS, DNS or a library above them, in plain words."""
    chain = _chain(error)
    certificates = [cause for cause in chain if isinstance(cause, ssl.SSLCertVerificationError)]
    if certificates:
        # aiohttp's own subclass wraps the one that has the message
        texts = [getattr(cause, "verify_message", "") for cause in certificates]
        return f"TLS verification failed: {next(filter(None, texts), certificates[0])}"
    for cause in chain:
        if isinstance(cause, ssl.SSLError):
            return f"TLS failed: {getattr(cause, 'reason', None) or cause}"
        if isinstance(cause, socket.gaierror):
            return f"the name cannot be resolved (DNS): {cause.strerror or cause}"
        if isinstance(cause, ConnectionRefusedError):
            return "connection refused"
        if isinstance(cause, ConnectionResetError | BrokenPipeError):
            return "connection reset"
    for cause in chain:
        if isinstance(cause, TimeoutError | asyncio.TimeoutError):
            return "no answer in time"
    for cause in chain:
        if isinstance(cause, OSError) and cause.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
            return "no route to host"
    return f"{type(error).__name__}: {str(error)[:200]}" if str(error) else type(error).__name__


def _chain(error: BaseException | None) -> list[BaseException]:
    """The error, what it wraps and what caused it; bounded."""
    found: list[BaseException] = []
    queue = [error]
    while queue and len(found) < 16:
        cause = queue.pop(0)
        if cause is None or cause in found:
            continue
        found.append(cause)
        inner = getattr(cause, "os_error", None) or getattr(cause, "_os_error", None)  # aiohttp's wrapping
        certificate = getattr(cause, "certificate_error", None)
        group = list(cause.exceptions) if isinstance(cause, BaseExceptionGroup) else []
        queue += [
            *(item for item in (inner, certificate) if isinstance(item, BaseException)),
            *group,
            cause.__cause__,
            None if cause.__suppress_context__ else cause.__context__,
        ]
    return found
