"""The exchange as a whole: its process, admin endpoint, faults of REST, restarts, its record."""

import ast
import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import pytest

import bmac_stream.simulator
from bmac_stream.simulator import Simulator, SimulatorProcess
from bmac_stream.simulator.__main__ import main
from bmac_stream.simulator.faults import KINDS
from tests.bmac_stream.simulator.rig import MINUTE_MS, START_MS, eventually, new_market, running, small_market


def test_the_simulator_imports_nothing_of_the_collectors_edge() -> None:
    allowed = ("bmac_stream.as_command", "bmac_stream.bar", "bmac_stream.simulator")
    files = list(Path(bmac_stream.simulator.__file__).parent.glob("*.py"))
    assert len(files) > 10
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                assert not name.startswith("bmac_stream") or name.startswith(allowed), f"{file.name}: {name}"


# ---- the process -----------------------------------------------------------------------------------


def test_process_says_when_it_is_ready_and_ends_cleanly() -> None:
    options = {"n_symbols": 3, "n_spot": 2, "n_coinm": 1, "rate": 10.0, "seed": 11}
    with SimulatorProcess(**options) as process:
        ready = process.ready
        assert ready["source"] == "embedded:generator:seed=11"
        assert ready["rate"] == 10.0
        assert set(ready["markets"]) == {"spot", "usdm", "coinm"}
        assert ready["rest"] == process.url("spot")["rest"]
        assert process.now_ms() >= ready["start_ms"]
        process.wait_until(ready["start_ms"] + 1000)
        assert process.fault("duplicate", count=1)["active"]
        assert process.clear_faults() == 1
        with pytest.raises(ValueError, match="unknown fault"):
            process.fault("nonsense")
        rows = process.truth("BTCUSDT", "1m", ready["start_ms"] - 3 * MINUTE_MS, ready["start_ms"])
        assert len(rows) >= 3
        assert process.stats()["rate"] == 10.0
        os.kill(process.pid, signal.SIGINT)
        assert process.stop() == 0


def test_process_serves_recorded_bars(recorded_data: Path) -> None:
    folder = recorded_data / "klines_1m_usdm_2026-02"
    with SimulatorProcess(data=folder, rate=600.0) as process:
        assert list(process.ready["markets"]) == ["usdm"]
        assert process.ready["source"].startswith("embedded:recorded:")
        assert len(process.admin("symbols")) == 7
        assert process.stop() == 0  # by SIGTERM


def test_bad_options_end_with_status_2() -> None:
    for options in ({"markets": "moon"}, {"rate": 0}, {"data": "/nowhere"}, {"start": "yesterday"}):
        with pytest.raises((ValueError, OSError)):
            main(n_symbols=2, **options)
    command = [sys.executable, "-m", "bmac_stream.simulator", "--era=stone"]
    out = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (out.returncode, out.stdout) == (2, "")
    assert "era must be one of pre-split, split, merged, found 'stone'" in out.stderr
    assert "Traceback" not in out.stderr


# ---- in this process -------------------------------------------------------------------------------


async def test_ready_names_every_market() -> None:
    async with running(markets=("usdm", "coinm"), rate=2.0) as (simulator, _):
        ready = simulator.ready()
        assert list(ready["markets"]) == ["usdm", "coinm"]
        assert (ready["rest"], ready["stream"]) == tuple(ready["markets"]["usdm"].values())
        assert (ready["rate"], ready["start_ms"]) == (2.0, START_MS)
    with pytest.raises(ValueError, match="markets"):
        Simulator(small_market(), markets=("moon",))


async def test_exchange_time_runs_at_its_rate() -> None:
    async with running(rate=1000.0) as (simulator, client):
        first = (await client.get("usdm", "/admin/time")).body
        await asyncio.sleep(0.2)
        second = (await client.get("usdm", "/admin/time")).body
        assert 190_000 < second["exchange_ms"] - first["exchange_ms"] < 2_000_000
        await client.post("time", {"rate": 1.0})
        assert simulator.exchange.time.rate == 1.0
        assert (await client.post("time", {"rate": 0})).status == 400


async def test_admin_refuses_what_it_does_not_know() -> None:
    async with running() as (_, client):
        for body in (
            {"kind": "nonsense"},
            {"kind": "drop", "colour": 1},
            {"kind": "late", "count": "x"},
            [1],
        ):
            assert (await client.post("fault", body)).status == 400
        assert (await client.get("usdm", "/admin/nothing")).status == 404
        assert (
            await client.get("usdm", "/admin/truth", symbol="NOPE", interval="1m", start=0, end=1)
        ).status == 400


async def test_stats_are_the_judges_record() -> None:
    async with running(rate=60.0) as (simulator, client):
        await client.get("usdm", "klines", symbol="BTCUSDT", interval="1m")
        await client.get("usdm", "klines", symbol="NOPE", interval="1m")
        url = simulator.urls("usdm")["stream"] + "/market/ws/btcusdt@kline_1m"
        async with client.session.ws_connect(url) as ws:
            while not json.loads((await ws.receive()).data)["k"]["x"]:
                pass
        stats = (await client.get("usdm", "/admin/stats")).body
        assert stats["requests"] == {"/fapi/v1/klines": 2}, "the admin endpoint is not counted"
        assert stats["statuses"] == {"200": 1, "400": 1}
        assert stats["clients"] == {"127.0.0.1": 2}
        assert stats["pools"]["futures"]["127.0.0.1"]["max_per_window"] == 10
        assert stats["connections"]["opened"] == 1
        assert stats["frames"] >= 2
        assert stats["closing_frames"] >= 1
        assert stats["source"] == simulator.exchange.market.source


# ---- faults of REST --------------------------------------------------------------------------------


async def test_every_fault_of_an_answer() -> None:
    query = {"symbol": "BTCUSDT", "interval": "1m", "limit": 100}
    async with running() as (simulator, client):
        whole = (await client.get("usdm", "klines", **query)).body

        async def ask(kind: str, **fields: object) -> object:
            simulator.fault(kind, count=1, path="klines", **fields)
            return await client.get("usdm", "klines", **query)

        for status, code in ((429, -1003), (418, -1003), (500, -1000), (503, -1008), (504, -1007)):
            answer = await ask("http_error", status=status, seconds=7)
            assert (answer.status, answer.body["code"]) == (status, code)
            assert answer.headers.get("Retry-After") == ("7" if status < 500 else None)
        page = await ask("html", status=403)
        assert page.status == 403
        assert page.headers["Content-Type"] == "text/html"
        assert page.body.startswith("<html>")
        odd = await ask("error_json", code=-1001, msg="Internal error")
        assert (odd.status, odd.body) == (200, {"code": -1001, "msg": "Internal error"})
        short = await ask("short_page", rows=10)
        assert short.body == whole[:10]
        assert (await ask("empty_page")).body == []
        with pytest.raises(aiohttp.ClientPayloadError):
            await ask("truncated")
        began = time.monotonic()
        assert (await ask("slow", seconds=0.4)).body[:-1] == whole[:-1]
        assert time.monotonic() - began >= 0.38
        assert (await client.get("usdm", "klines", **query)).body[:-1] == whole[:-1], "all of them are over"
        assert all(not f.active and f.hits == 1 for f in simulator.exchange.faults.faults)
        simulator.fault("reset", count=2)  # aiohttp tries once more on a connection that was used before
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.get("usdm", "klines", **query)
        listed = (await client.get("usdm", "/admin/faults")).body
        assert [f["kind"] for f in listed][:3] == ["http_error"] * 3
        assert {f["kind"] for f in listed} <= set(KINDS)


async def test_time_can_be_wrong() -> None:
    async with running() as (simulator, client):
        simulator.fault("time_offset", offset_ms=-3_600_000, market="usdm")
        usdm = (await client.get("usdm", "time")).body["serverTime"]
        spot = (await client.get("spot", "time")).body["serverTime"]
        assert 3_590_000 < spot - usdm < 3_610_000
        simulator.clear_faults()
        assert (await client.get("usdm", "time")).body["serverTime"] >= spot - 1000


async def test_a_ban_is_418_until_it_ends() -> None:
    async with running(rate=100.0) as (simulator, client):
        simulator.fault("ban", seconds=60, market="usdm")
        until = simulator.exchange.now_ms() + 60_000
        answer = await client.get("usdm", "time")
        assert (answer.status, answer.body["code"]) == (418, -1003)
        assert 50 <= int(answer.headers["Retry-After"]) <= 60
        assert (await client.get("spot", "time")).status == 200
        url = simulator.urls("usdm")["stream"] + "/market/ws/btcusdt@kline_1m"
        async with client.session.ws_connect(url) as ws:
            assert (await ws.receive(5)).type is aiohttp.WSMsgType.TEXT, "streams live on through a ban"
        await eventually(lambda: simulator.exchange.now_ms() > until)
        assert (await client.get("usdm", "time")).status == 200
        assert simulator.exchange.report()["pools"]["futures"]["127.0.0.1"]["requests_during_ban"] == 1


async def test_a_restart_closes_everything_and_comes_back_on_the_same_port() -> None:
    async with running(rate=60.0) as (simulator, client):
        ports = list(simulator.ports)
        url = simulator.urls("usdm")["stream"] + "/market/ws/btcusdt@kline_1m"
        ws = await client.session.ws_connect(url)
        assert (await client.post("fault", {"kind": "restart", "seconds": 0.5})).status == 200
        async with asyncio.timeout(5):
            while (await ws.receive()).type is aiohttp.WSMsgType.TEXT:
                pass
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.get("usdm", "ping")
        await eventually(lambda: not simulator.down)
        assert (await client.get("usdm", "ping")).status == 200
        assert simulator.ports == ports
        async with client.session.ws_connect(url) as again:
            assert (await again.receive(5)).type is aiohttp.WSMsgType.TEXT


async def test_listing_what_exists_and_delisting_what_does_not_is_refused() -> None:
    async with running(market=new_market(), markets=("usdm",)) as (_, client):
        there = {"kind": "listing", "symbols": ["BTCUSDT"]}
        gone = {"kind": "delisting", "symbols": ["NOPEUSDT"]}
        assert (await client.post("fault", there)).status == 400
        assert (await client.post("fault", gone)).status == 400
        fresh = await client.post("fault", {"kind": "listing", "symbols": ["NEWUSDT"]})
        assert (fresh.status, fresh.body["hits"]) == (200, 1)
        listed = {s["symbol"]: s for s in (await client.get("usdm", "/admin/symbols")).body}
        assert listed["NEWUSDT"]["list_ms"] == START_MS + MINUTE_MS


async def test_nothing_is_left_when_it_ends() -> None:
    before = len(asyncio.all_tasks())
    async with running(rate=60.0) as (simulator, client):
        url = simulator.urls("usdm")["stream"] + "/market/ws/btcusdt@kline_1m"
        ws = await client.session.ws_connect(url)
        await ws.receive()
        simulator.fault("stall", pongs=False)
        await asyncio.sleep(0.1)
        simulator.fault("restart", seconds=100)
        await asyncio.sleep(0.05)
    await eventually(lambda: len(asyncio.all_tasks()) <= before)


async def test_a_bug_of_ours_is_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    market = new_market()

    def broken(*args: object, **options: object) -> None:
        raise ArithmeticError("broken on purpose")

    monkeypatch.setattr(market, "updates", broken)
    with pytest.raises(ArithmeticError, match="on purpose"):
        async with running(market=market) as (simulator, client):
            url = simulator.urls("usdm")["stream"] + "/market/ws/btcusdt@kline_1m"
            await client.session.ws_connect(url)
            await asyncio.wait_for(simulator.failed.wait(), 5)
