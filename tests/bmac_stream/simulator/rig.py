"""What the tests of the embedded exchange share: small generated markets and a GET that tells everything."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp
from multidict import CIMultiDictProxy

from bmac_stream.simulator import Simulator
from bmac_stream.simulator.generator import GeneratedMarket, GeneratorConfig

START_MS = 1_772_496_000_000  # 2026-03-03 00:00 UTC
MINUTE_MS = 60_000

_markets: dict[tuple[int, int, int], GeneratedMarket] = {}


def small_market(n_symbols: int = 12, n_spot: int = 3, n_coinm: int = 2) -> GeneratedMarket:
    """A generated market without holes and scheduled listings. Shared: do not list or delist on it."""
    key = (n_symbols, n_spot, n_coinm)
    if key not in _markets:
        _markets[key] = new_market(*key)
    return _markets[key]


def new_market(n_symbols: int = 12, n_spot: int = 3, n_coinm: int = 2) -> GeneratedMarket:
    """The same, for one test alone."""
    return GeneratedMarket(
        GeneratorConfig(
            n_symbols=n_symbols,
            n_spot=n_spot,
            n_coinm=n_coinm,
            start_ms=START_MS,
            listing_hours=0,
            hole_days=0,
        )
    )


class Answer(NamedTuple):
    status: int
    headers: CIMultiDictProxy[str]
    body: Any


class Client:
    """GET against one simulator: `client.get("usdm", "klines", symbol=..., ...)`."""

    def __init__(self, simulator: Simulator, session: aiohttp.ClientSession) -> None:
        self.simulator = simulator
        self.session = session

    async def get(
        self, market: str, name: str, headers: dict[str, str] | None = None, **params: Any
    ) -> Answer:
        prefix = {"spot": "/api/v3/", "usdm": "/fapi/v1/", "coinm": "/dapi/v1/"}[market]
        url = self.simulator.urls(market)["rest"] + (name if name.startswith("/") else prefix + name)
        texts = {k: str(v) for k, v in params.items()}
        async with self.session.get(url, params=texts, headers=headers) as answer:
            body = await answer.json() if "json" in answer.content_type else await answer.text()
            return Answer(answer.status, answer.headers, body)

    async def post(self, name: str, body: Any) -> Answer:
        url = self.simulator.urls(self.simulator.markets[0])["rest"] + "/admin/" + name
        async with self.session.post(url, json=body) as answer:
            return Answer(answer.status, answer.headers, await answer.json())


async def eventually(holds: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Wait until `holds()`; TimeoutError if it never does."""
    async with asyncio.timeout(timeout_s):
        while not holds():  # nobody announces it
            await asyncio.sleep(0.01)


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[tuple[Simulator, Client]]:
    """A simulator on this loop and a client of it; half a minute for all that is done with them."""
    market = options.pop("market", None) or small_market()
    timeout = aiohttp.ClientTimeout(total=20)
    async with (
        asyncio.timeout(30),
        Simulator(market, **options) as simulator,
        aiohttp.ClientSession(timeout=timeout) as session,
    ):
        yield simulator, Client(simulator, session)
