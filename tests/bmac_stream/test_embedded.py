"""The embedded exchange as the collector's child: it starts, is started again, and never outlives us."""

import asyncio
import json
import os
import signal
import sys
import urllib.request
from pathlib import Path

import pytest

from bmac_stream.child import Child
from bmac_stream.config import load_config
from bmac_stream.embedded import EmbeddedExchange
from bmac_stream.errors import BmacError

from .test_child import alive


def exchange_of(folder: Path, not_before_ms: int | None = None, **embedded: object) -> EmbeddedExchange:
    raw = {"interval": "1m", "trade_type": "usdt_perp", "exchange": "embedded", "embedded": embedded}
    (folder / "config.json").write_text(json.dumps(raw))
    return EmbeddedExchange(load_config(folder)[0], not_before_ms)


def test_its_command_says_what_the_config_says(tmp_path: Path) -> None:
    (tmp_path / "bars").mkdir()
    words = exchange_of(tmp_path, seed=3, n_symbols=9, rate=2.5, data="bars").command(1234)
    for word in (
        "--markets=usdm", "--seed=3", "--n_symbols=9", "--rate=2.5", "--start=1234", "--port=0",
        f"--data={tmp_path / 'bars'}",
    ):  # fmt: skip
        assert word in words


async def test_it_starts_where_the_store_ends_and_is_started_again_at_the_same_address(
    tmp_path: Path,
) -> None:
    exchange = exchange_of(tmp_path, 1_772_600_000_000, n_symbols=3, rate=10)
    try:
        ready = await exchange.start()
        assert ready.source == "embedded:generator:seed=7"
        assert ready.start_ms == 1_772_600_000_000
        keeping = asyncio.create_task(exchange.keep(lambda: 1_772_700_000_000.0))
        first = exchange.pid
        os.kill(first, signal.SIGKILL)

        def time_ms() -> int:
            with urllib.request.urlopen(f"{ready.rest}/fapi/v1/time", timeout=5) as answer:
                return int(json.load(answer)["serverTime"])

        async with asyncio.timeout(60):
            while True:
                await asyncio.sleep(0.05)
                try:
                    found = await asyncio.to_thread(time_ms)
                except OSError:
                    continue
                break
        assert found >= 1_772_700_000_000
        assert exchange.pid != first
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
    finally:
        await exchange.stop()
    assert not alive(exchange.pid)


async def test_a_machine_without_room_for_a_process_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    exchange = exchange_of(tmp_path)
    monkeypatch.setattr(exchange, "command", lambda start_ms: [sys.executable, "-c", "print('x')"])
    tries = 0
    start, sleep = Child.start, asyncio.sleep

    async def refused(child: Child) -> None:
        nonlocal tries
        tries += 1
        if 1 < tries < 4:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        await start(child)

    monkeypatch.setattr(Child, "start", refused)
    monkeypatch.setattr("bmac_stream.embedded.asyncio.sleep", lambda seconds: sleep(0))
    with pytest.raises(BmacError, match="did not start"):
        await exchange.start()
    keeping = asyncio.create_task(exchange.keep(lambda: 0.0))
    async with asyncio.timeout(10):
        while tries < 6 and not keeping.done():
            await sleep(0.01)
    assert not keeping.done()
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    await exchange.stop()
    assert "cannot be started" in caplog.text


async def test_one_that_cannot_start_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "bars").mkdir()
    exchange = exchange_of(tmp_path, data="bars")
    with pytest.raises(BmacError, match="did not start"):
        await exchange.start()
    assert not alive(exchange.pid)
