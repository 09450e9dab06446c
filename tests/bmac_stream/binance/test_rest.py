"""rest.py against a small server that answers as told: every failure has its name, none has a secret."""

import asyncio
import gzip
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web

from bmac_stream.binance.markets import MARKETS
from bmac_stream.binance.rest import RestClient, retry
from bmac_stream.binance.weights import Governor
from bmac_stream.clock import Clock
from bmac_stream.errors import ApiError, BadResponse, Banned, ExchangeError, NetworkError, RateLimited

from .messages import OPEN_TIME, rows
from .proxies import HttpProxy, SocksProxy

USDM = MARKETS["usdm"]
TIME = b'{"serverTime":1785542400123}'


class Exchange:
    """Answers every request with `answer`; keeps what was asked."""

    def __init__(self) -> None:
        self.asked: list[web.Request] = []
        self.answer: Callable[[], web.StreamResponse] = lambda: web.Response(body=TIME)
        self.raw: bytes | None = None
        self.port = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        if self.raw is not None:
            assert request.transport is not None
            request.transport.write(self.raw)  # type: ignore[attr-defined]
            await asyncio.sleep(0.01)
            request.transport.close()
        return self.answer()


@asynccontextmanager
async def _serve(tls: ssl.SSLContext | None = None) -> AsyncIterator[Exchange]:
    exchange = Exchange()
    app = web.Application()
    app.router.add_get("/{path:.*}", exchange.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    exchange.port = runner.addresses[0][1]
    try:
        yield exchange
    finally:
        await runner.cleanup()


@pytest.fixture
async def exchange() -> AsyncIterator[Exchange]:
    async with _serve() as server:
        yield server


@pytest.fixture
async def client(exchange: Exchange) -> AsyncIterator[RestClient]:
    async with _client(f"http://127.0.0.1:{exchange.port}") as made:
        yield made


def _client(url: str, **options: Any) -> RestClient:
    clock = Clock()
    return RestClient(USDM, url, clock, Governor(2400, 0.9, clock), **{"timeout_s": 2.0, **options})


async def test_klines(exchange: Exchange, client: RestClient) -> None:
    exchange.answer = lambda: web.Response(body=rows(3), headers={"X-MBX-USED-WEIGHT-1M": "7"})
    page = await client.klines(
        "币安人生USDT", "1m", start_ms=OPEN_TIME, end_ms=OPEN_TIME + 120_000, limit=100
    )
    assert page.values.shape == (3, 9)
    request = exchange.asked[0]
    assert request.path == "/fapi/v1/klines"
    assert dict(request.query) == {
        "symbol": "币安人生USDT",
        "interval": "1m",
        "startTime": str(OPEN_TIME),
        "endTime": str(OPEN_TIME + 120_000),
        "limit": "100",
    }
    assert (client.stats.requests, client.stats.weight, client.governor.used) == (1, 2, 2)


async def test_rows_that_were_not_asked_for(exchange: Exchange, client: RestClient) -> None:
    exchange.answer = lambda: web.Response(body=rows(3))
    for bounds in ({"start_ms": OPEN_TIME + 60_000}, {"end_ms": OPEN_TIME + 60_000}, {"limit": 2}):
        with pytest.raises(BadResponse) as caught:
            await client.klines("BTCUSDT", "1m", **{"limit": 3, **bounds})
        assert caught.value.kind == "range"
    assert client.stats.errors == {"range": 3}


async def test_bad_rows_are_counted(exchange: Exchange, client: RestClient) -> None:
    page = json.loads(rows(3))
    page[1][2] = "NaN"
    exchange.answer = lambda: web.Response(body=json.dumps(page).encode())
    bad: list[tuple[int, str]] = []
    found = await client.klines("BTCUSDT", "1m", limit=3, bad=bad)
    assert len(found.open_time) == 2 and bad == [(OPEN_TIME + 60_000, "not_finite")]
    assert client.stats.bad_rows == {"not_finite": 1}


async def test_sync_clock(exchange: Exchange) -> None:
    clock = Clock(rate=10.0)
    async with RestClient(
        USDM, f"http://127.0.0.1:{exchange.port}", clock, Governor(2400, 1.0, clock)
    ) as client:
        await client.sync_clock()
        assert clock.synced and abs(clock.now_ms() - 1785542400123) < 20_000
        assert len(exchange.asked) == 3 and clock.uncertainty_ms < 10_000


async def test_other_methods(exchange: Exchange, client: RestClient) -> None:
    exchange.answer = lambda: web.Response(body=b"{}")
    await client.ping()
    exchange.answer = lambda: web.Response(body=b'{"symbols":[{"symbol":"A","status":"TRADING"}]}')
    assert [info.symbol for info in (await client.exchange_info()).symbols] == ["A"]
    exchange.answer = lambda: web.Response(body=b'[{"symbol":"A","markPrice":"1"}]')
    assert (await client.premium_index())[0].mark_price == 1.0
    exchange.answer = lambda: web.Response(body=b'[{"symbol":"A","fundingTime":2,"fundingRate":"0.1"}]')
    assert (await client.funding_rate("A", start_ms=1, end_ms=3))[0].rate == 0.1
    exchange.answer = lambda: web.Response(body=b'[{"symbol":"A","fundingIntervalHours":4}]')
    assert (await client.funding_info())[0].interval_hours == 4
    assert client.funding_governor.used == 2  # a pool of their own
    assert client.governor.used == 1 + 1 + 10 + 1 + 0


async def test_content_type_may_lie(exchange: Exchange, client: RestClient) -> None:
    exchange.answer = lambda: web.Response(body=TIME, content_type="text/html")
    assert await client.time() == 1785542400123


async def test_packed_answers(exchange: Exchange, client: RestClient) -> None:
    exchange.answer = lambda: web.Response(body=gzip.compress(TIME), headers={"Content-Encoding": "gzip"})
    assert await client.time() == 1785542400123


HTML = b"<!doctype html><title>Access denied</title>" + b"x" * 5_000


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, HTML, "html"),
        (403, HTML, "html"),
        (502, b"", "http"),
        (301, b"", "http"),
        (200, b"", "json"),
        (200, b'{"serverTi', "json"),
        (200, b"[1]", "schema"),
        (200, b"\xff\xfe", "json"),
    ],
)
async def test_answers_that_are_none(
    exchange: Exchange, client: RestClient, status: int, body: bytes, kind: str
) -> None:
    exchange.answer = lambda: web.Response(
        status=status, body=body, headers={"Location": "http://127.0.0.1:1/"}
    )
    with pytest.raises(BadResponse) as caught:
        await client.time()
    assert caught.value.kind == kind and len(str(caught.value)) < 400
    assert client.stats.errors == {kind: 1}


@pytest.mark.parametrize(
    ("raw", "errors"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + TIME, BadResponse),  # cut short
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n{", BadResponse),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 28\r\n\r\n" + TIME, BadResponse),
        (b"\x00\x01\x02 nonsense\r\n\r\n", BadResponse),
        (b"", NetworkError),
    ],
)
async def test_broken_http(
    exchange: Exchange, client: RestClient, raw: bytes, errors: type[ExchangeError]
) -> None:
    exchange.raw = raw
    with pytest.raises(errors):
        await client.time()


async def test_too_long_a_body(exchange: Exchange) -> None:
    exchange.answer = lambda: web.Response(
        body=gzip.compress(b"0" * 1_000_000), headers={"Content-Encoding": "gzip"}
    )
    async with _client(f"http://127.0.0.1:{exchange.port}", max_body=100_000) as client:
        with pytest.raises(BadResponse) as caught:
            await client.time()
    assert caught.value.kind == "too_long"


@pytest.mark.parametrize("status", [200, 400])
async def test_the_exchanges_own_errors(exchange: Exchange, client: RestClient, status: int) -> None:
    exchange.answer = lambda: web.Response(status=status, body=b'{"code":-1121,"msg":"Invalid symbol."}')
    with pytest.raises(ApiError) as caught:
        await client.klines("NOPE", "1m", limit=1)
    assert (caught.value.status, caught.value.code, caught.value.msg) == (status, -1121, "Invalid symbol.")


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7.0), ("", 60.0), ("Wed, 21 Oct", 60.0), ("-5", 60.0), ("9" * 40, 60.0)]
)
async def test_429_pauses_the_governor(
    exchange: Exchange, client: RestClient, header: str, seconds: float
) -> None:
    body = b'{"code":-1003,"msg":"Too much request weight used."}'
    exchange.answer = lambda: web.Response(status=429, body=body, headers={"Retry-After": header})
    with pytest.raises(RateLimited) as caught:
        await client.time()
    assert not isinstance(caught.value, Banned) and caught.value.retry_after_s == seconds
    assert seconds - 1 < client.governor.blocked_s <= seconds
    with pytest.raises(TimeoutError):  # nothing goes out meanwhile
        async with asyncio.timeout(0.2):
            await client.time()
    assert len(exchange.asked) == 1


async def test_418_is_a_ban_and_is_not_retried(exchange: Exchange, client: RestClient) -> None:
    until = int(client._clock.now_ms()) + 600_000
    body = json.dumps({"code": -1003, "msg": f"Way too much request weight used; IP banned until {until}."})
    exchange.answer = lambda: web.Response(status=418, body=body.encode())
    with pytest.raises(Banned) as caught:
        await retry(client.time, attempts=5, base_s=0.01)
    assert 590 < caught.value.retry_after_s <= 600 and client.governor.is_banned
    assert len(exchange.asked) == 1 and client.stats.errors == {"http_418": 1}


async def test_time_out_refusal_and_dns(exchange: Exchange) -> None:
    async def slow(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        raise AssertionError

    exchange.handle = slow  # type: ignore[method-assign]
    app = web.Application()
    app.router.add_get("/{path:.*}", slow)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    async with _client(f"http://127.0.0.1:{port}", timeout_s=0.2) as client:
        with pytest.raises(NetworkError, match="no answer"):
            await client.time()
    await runner.cleanup()
    async with _client(f"http://127.0.0.1:{port}") as client:
        with pytest.raises(NetworkError, match="connection refused"):
            await client.time()
        assert client.stats.errors == {"network": 1}
    async with _client("http://nowhere.invalid") as client:
        with pytest.raises(NetworkError, match="cannot be resolved"):
            await client.time()


async def test_a_closed_client_says_so(client: RestClient) -> None:
    await client.close()
    with pytest.raises(NetworkError, match="closed"):
        await client.time()


# ------------------------------------------------------------------------------------ TLS and proxies


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
async def secure(authority: trustme.CA) -> AsyncIterator[Exchange]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("exchange.test", "127.0.0.1").configure_cert(context)
    async with _serve(context) as server:
        yield server


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


async def test_tls_is_verified_and_a_ca_can_be_added(secure: Exchange, ca_file: Path) -> None:
    url = f"https://127.0.0.1:{secure.port}"
    async with _client(url) as client:
        with pytest.raises(NetworkError, match="TLS verification failed"):
            await client.time()
    async with _client(url, ca_file=ca_file) as client:
        assert await client.time() == 1785542400123
    async with _client(f"https://localhost:{secure.port}", ca_file=ca_file) as client:
        with pytest.raises(NetworkError, match="TLS verification failed"):  # not a name of the certificate
            await client.time()
    assert len(secure.asked) == 1
    with pytest.raises(NetworkError, match="ca_file"):
        _client(url, ca_file="/nowhere/ca.pem")


@pytest.mark.parametrize("kind", [HttpProxy, SocksProxy])
@pytest.mark.parametrize("login", [None, ("user", "pass:w@rd")])
async def test_through_a_proxy_where_there_is_no_other_way(
    secure: Exchange, ca_file: Path, kind: type[HttpProxy] | type[SocksProxy], login: tuple[str, str] | None
) -> None:
    async with kind(login=login, hosts={"exchange.test": "127.0.0.1"}) as proxy:
        address = f"127.0.0.1:{proxy.port}"
        shown = f"{proxy.scheme}://" + ("user:pass%3Aw%40rd@" if login else "") + address
        url = f"https://exchange.test:{secure.port}"  # a name that only the proxy can resolve
        async with _client(url, ca_file=ca_file, proxy=shown) as client:
            assert await client.time() == 1785542400123
        assert proxy.asked == [f"exchange.test:{secure.port}"]
        async with _client(url, proxy=shown) as client:
            with pytest.raises(NetworkError, match="TLS verification failed"):
                await client.time()
        if login:
            async with _client(
                url, ca_file=ca_file, proxy=f"{proxy.scheme}://user:wrongsecret@{address}"
            ) as client:
                with pytest.raises(NetworkError) as caught:
                    await client.time()
            assert "wrongsecret" not in str(caught.value) and proxy.refused == 1
    async with _client(url, ca_file=ca_file, proxy=shown) as client:
        with pytest.raises(NetworkError, match="proxy") as caught:
            await client.time()
    assert "rd@" not in str(caught.value) and "w%40rd" not in str(caught.value)


async def test_plain_http_through_a_proxy(exchange: Exchange) -> None:
    async with HttpProxy(hosts={"exchange.test": "127.0.0.1"}) as proxy:
        async with _client(f"http://exchange.test:{exchange.port}", proxy=proxy.url) as client:
            assert await client.time() == 1785542400123
        assert proxy.tunnels == 1


async def test_a_proxy_that_cannot_reach_the_exchange(secure: Exchange) -> None:
    async with HttpProxy() as proxy:
        proxy.refuse_with = "502 Bad Gateway"
        async with _client(f"https://127.0.0.1:{secure.port}", proxy=proxy.url) as client:
            with pytest.raises(NetworkError, match="502"):
                await client.time()


# ---------------------------------------------------------------------------------------------- retry


async def test_retry_backs_off_and_gives_up() -> None:
    slept: list[float] = []
    told: list[int] = []
    made = 0

    async def fail() -> int:
        nonlocal made
        made += 1
        raise NetworkError("refused")

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    with pytest.raises(NetworkError):
        await retry(
            fail, attempts=9, base_s=1.0, cap_s=8.0, sleep=sleep, on_error=lambda _, n: told.append(n)
        )
    assert made == 9 and told == list(range(1, 9))
    for n, seconds in enumerate(slept):
        assert 0.2 * min(8.0, 2.0**n) <= seconds <= min(8.0, 2.0**n)


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (ApiError(400, -1121, "Invalid symbol."), 1),
        (ApiError(400, -1007, "Timeout"), 3),
        (ApiError(503, -1, "Unknown"), 3),
        (RateLimited(429, -1003, "", 1.0), 3),
        (Banned(418, -1003, "", 1.0), 1),
        (BadResponse("html"), 3),
    ],
)
async def test_what_is_retried(error: ExchangeError, attempts: int) -> None:
    made = 0

    async def fail() -> int:
        nonlocal made
        made += 1
        raise error

    with pytest.raises(type(error)):
        await retry(fail, attempts=3, base_s=0.0)
    assert made == attempts


async def test_retry_for_ever_returns_what_came_at_last() -> None:
    made = 0

    async def heal() -> str:
        nonlocal made
        made += 1
        if made < 40:
            raise Banned(418, -1003, "", 1.0)
        return "well"

    assert await retry(heal, attempts=None, base_s=0.0) == "well"
