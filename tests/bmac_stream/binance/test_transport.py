"""transport.py: proxies are read, chosen and shown without their credentials; failures get plain words."""

import socket
import ssl

import pytest

from bmac_stream.binance import transport
from bmac_stream.binance.transport import describe, network_error, parse_proxy, proxy_for, require_socks
from bmac_stream.errors import Unsupported


@pytest.mark.parametrize(
    ("text", "url", "shown"),
    [
        ("http://10.0.0.1:7890", "http://10.0.0.1:7890", "http://10.0.0.1:7890"),
        ("10.0.0.1:7890", "http://10.0.0.1:7890", "http://10.0.0.1:7890"),
        ("http://proxy", "http://proxy:80", "http://proxy:80"),
        ("socks5://h:1081", "socks5h://h:1081", "socks5://h:1081"),
        ("socks5h://h", "socks5h://h:1080", "socks5://h:1080"),
        ("socks5://u:p%40ss@h:1", "socks5h://u:p%40ss@h:1", "socks5://***@h:1"),
        ("http://u@h:1", "http://u:@h:1", "http://***@h:1"),
        ("http://[::1]:3128", "http://[::1]:3128", "http://[::1]:3128"),
    ],
)
def test_parse_proxy(text: str, url: str, shown: str) -> None:
    proxy = parse_proxy(text)
    assert (proxy.url, str(proxy), repr(proxy)) == (url, shown, f"Proxy({shown!r})")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ftp://u:s3cret@h:1",
        "http://",
        "http://u:s3cret@h:99999",
        "http://u:s3cret@h/path",
        "socks4://h:1",
        "http://[",
    ],
)
def test_what_is_no_proxy_is_refused_without_its_credentials(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_proxy(text)
    assert "s3cret" not in str(caught.value)


def test_the_environment_counts_only_if_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    assert proxy_for("env", "wss://stream.binance.com") is None
    monkeypatch.setenv("https_proxy", "http://secure:1")
    monkeypatch.setenv("all_proxy", "socks5://any:2")
    monkeypatch.setenv("no_proxy", "localhost,.internal")
    assert proxy_for(None, "https://api.binance.com") is None
    assert proxy_for("", "https://api.binance.com") is None
    assert str(proxy_for("env", "wss://stream.binance.com:443")) == "http://secure:1"
    assert str(proxy_for("env", "ws://plain")) == "socks5://any:2"
    assert proxy_for("env", "https://localhost:8080") is None
    assert proxy_for("env", "https://exchange.internal") is None
    assert str(proxy_for("http://own:3", "https://localhost")) == "http://own:3"


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    require_socks()
    monkeypatch.setattr(transport, "find_spec", lambda name: None)
    with pytest.raises(Unsupported, match=r"pip install 'bmac-stream\[socks\]'"):
        require_socks()


def test_failures_in_plain_words() -> None:
    wrapped = OSError("outer")
    wrapped.__cause__ = ConnectionRefusedError()
    group = ExceptionGroup("several", [socket.gaierror(-2, "Name or service not known")])
    assert describe(wrapped) == "connection refused"
    assert describe(group) == "the name cannot be resolved (DNS): Name or service not known"
    assert describe(ConnectionResetError()) == "connection reset"
    assert describe(TimeoutError()) == "no answer in time"
    assert describe(ssl.SSLCertVerificationError(1, "expired")).startswith("TLS verification failed: ")
    assert describe(ssl.SSLError(1, "wrong version")).startswith("TLS failed")
    assert (
        describe(ValueError("x" * 900)).startswith("ValueError: xxx")
        and len(describe(ValueError("x" * 900))) < 300
    )
    assert describe(EOFError()) == "EOFError"


def test_whatever_a_library_says_the_password_stays_here() -> None:
    proxy = parse_proxy("http://alice:p%40ss@proxy:1")
    told = network_error(ValueError(f"bad proxy {proxy.url} for alice with p@ss or p%40ss"), "host", proxy)
    assert "p@ss" not in str(told) and "p%40ss" not in str(told) and "alice" not in str(told)
    assert "http://***@proxy:1" in str(told)


def test_verification_is_never_off() -> None:
    context = transport.ssl_context()
    assert context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname
