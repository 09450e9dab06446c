"""`python -m bmac_stream.simulator`: the embedded exchange as a process.

Prints one JSON line when it is ready, with the urls of each market; ends with status 0 on SIGTERM or
SIGINT.
"""

import asyncio
import contextlib
import datetime as dt
import json
import signal
import ssl
import sys
from collections.abc import Sequence
from types import FrameType

from bmac_stream.as_command import as_command
from bmac_stream.simulator.exchange import Settings
from bmac_stream.simulator.generator import DEFAULT_START_MS, GeneratedMarket, GeneratorConfig
from bmac_stream.simulator.limits import Era
from bmac_stream.simulator.market import MARKETS, Market
from bmac_stream.simulator.recorded import RecordedMarket
from bmac_stream.simulator.server import Simulator

__all__ = ["main"]


def main(
    markets: str | Sequence[str] = "",
    *,
    rate: float = 1.0,
    seed: int = 7,
    n_symbols: int = 600,
    n_spot: int = 60,
    n_coinm: int = 20,
    listing_hours: float = 12.0,
    hole_days: int = 30,
    data: str = "",
    history_days: float = 10.0,
    exchange_info: str = "",
    funding: str = "",
    start: str | int = "",
    host: str = "127.0.0.1",
    port: int = 0,
    era: Era = "merged",
    coinm_route: str = "plain",
    tls_cert: str = "",
    tls_key: str = "",
    seconds: float = 0.0,
) -> None:
    """Serve Binance's REST and WebSocket protocol for a generated or a recorded market.

    Args:
        markets: some of spot,usdm,coinm, each on a port of its own; default: all that there is data for
        rate: exchange seconds per wall second; above 1 for a time-lapse
        seed: of the generated market and of the faults' probabilities
        n_symbols: generated: USD-M perpetuals that trade
        n_spot: generated: spot pairs
        n_coinm: generated: COIN-M perpetuals
        listing_hours: generated: hours between scheduled listings and delistings; 0: none
        hole_days: generated: one day in so many has minutes without any bar; 0: none
        data: a directory or file of recorded klines of one market to serve instead of the generator
        history_days: recorded: days of the data that lie behind when it starts
        exchange_info: recorded: an exchangeInfo body (.json, .json.gz) for precisions that bars do not show
        funding: recorded: a parquet file of fundings; without it they are invented
        start: exchange time to start at, ms or ISO 8601 (UTC); default: the market's own
        host: address to listen on
        port: of the first market, the others follow; 0: free ones
        era: pre-split, split or merged (how the USD-M streams and the weight pools behave)
        coinm_route: plain, market or both: where COIN-M streams speak
        tls_cert: PEM file of a certificate chain: serve https and wss
        tls_key: PEM file of its key
        seconds: end after so many wall seconds; 0: never
    """
    names = (
        [m.strip() for m in markets.split(",") if m.strip()] if isinstance(markets, str) else list(markets)
    )
    tls = None
    if tls_cert:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(tls_cert, tls_key or None)
    start_ms = _time_ms(start)
    market: Market
    if data:
        only = names[0] if len(names) == 1 else None
        market = RecordedMarket(
            data,
            market=only,
            history_days=history_days,
            start_ms=start_ms,
            exchange_info=exchange_info or None,
            funding=funding or None,
        )
    else:
        begin = DEFAULT_START_MS if start_ms is None else start_ms // 60_000 * 60_000
        market = GeneratedMarket(
            GeneratorConfig(
                seed=seed,
                n_symbols=n_symbols,
                n_spot=n_spot,
                n_coinm=n_coinm,
                start_ms=begin,
                listing_hours=listing_hours,
                hole_days=hole_days,
            )
        )
    names = names or [name for name in MARKETS if market.instruments(name)]
    simulator = Simulator(
        market,
        markets=names,
        rate=rate,
        start_ms=start_ms,
        settings=Settings(era=era, coinm_route=coinm_route),
        host=host,
        ports=[port + i if port else 0 for i in range(len(names))],
        tls=tls,
        seed=seed,
    )
    asyncio.run(_serve(simulator, seconds))


async def _serve(simulator: Simulator, seconds: float) -> None:
    ended, loop = asyncio.Event(), asyncio.get_running_loop()

    def end(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: it is ending already
            loop.call_soon_threadsafe(ended.set)

    # Not the loop's own handlers: they go with the loop, and a second signal would then kill the process.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    async with simulator:
        print(json.dumps(simulator.ready()), flush=True)
        waits = [asyncio.ensure_future(e.wait()) for e in (ended, simulator.failed)]
        await asyncio.wait(waits, timeout=seconds or None, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()


def _time_ms(text: str | int) -> int | None:
    """ms UTC from a number or an ISO 8601 text; None from ""."""
    if text == "":
        return None
    if isinstance(text, int) or text.isdigit():
        return int(text)
    moment = dt.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return int(moment.timestamp() * 1000)


if __name__ == "__main__":
    try:
        as_command(main)
        for number in (signal.SIGTERM, signal.SIGINT):  # a second signal is too late to matter
            signal.signal(number, signal.SIG_IGN)
    except (ValueError, OSError) as error:
        print(f"bmac_stream.simulator: {error}", file=sys.stderr)
        sys.exit(2)
