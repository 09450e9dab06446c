"""Against the real Binance: opt-in (`make smoke`), skipped where there is no network.

Few requests, no key, nothing written beyond a temporary folder.
"""

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import bmac_stream
from bmac_stream.binance.markets import MARKETS
from bmac_stream.doctor_route import Way, exchange_checks

pytestmark = pytest.mark.network


@pytest.fixture(scope="module", autouse=True)
def network() -> None:
    try:
        socket.create_connection(("fapi.binance.com", 443), timeout=5).close()
    except OSError as error:
        pytest.skip(f"no way to Binance from here: {error}")


async def test_the_way_to_every_market() -> None:
    found = await exchange_checks(None, 30.0)
    assert {f"{name} streams" for name in MARKETS} <= {check.name for check in found}
    failed = [check for check in found if check.level == "fail"]
    assert not failed, failed


async def test_usdm_klines_still_come_from_market_only() -> None:
    """If the plain path speaks again, markets.py has room for a second candidate."""
    usdm = MARKETS["usdm"]
    from bmac_stream import doctor_route

    way = Way(usdm, usdm.rest_url, ("wss://fstream.binance.com",))
    found = await doctor_route._check_way(way, 10.0)
    streams = next(check for check in found if check.name == "usdm streams")
    assert streams.level == "fail", streams


def test_a_collector_brings_closed_bars(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        '{"interval": "1m", "trade_type": "usdt_perp", "num_candles": 99, "snapshot": {"enabled": false},'
        ' "keep_symbols": ["BTCUSDT", "ETHUSDT"],'
        f' "store": {{"name": "smoke", "directory": "{tmp_path}", "max_symbols": 4}}}}'
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "bmac_stream.collector", str(tmp_path), "--bars=2", "--seconds=200"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        with bmac_stream.attach("smoke", directory=tmp_path, timeout_s=60) as store:
            run_time = store.wait(timeout_s=150)
            assert abs(time.time() * 1e3 - run_time) < 60_000
            assert store["BTCUSDT"].count == 99 and store["BTCUSDT"].status.tolist() == [1.0] * 99
            assert 1_000 < store["BTCUSDT"].close[-1] < 10_000_000
    finally:
        process.terminate()
        _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err[-2000:]
