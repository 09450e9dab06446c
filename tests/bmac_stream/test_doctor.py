"""bmac_stream.doctor: what it finds, in which words, and that it ends in time.

The way to the exchange is walked against the embedded exchange, with its faults.
"""

import json
import resource
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from bmac_stream import doctor, doctor_route
from bmac_stream.binance.markets import MARKETS
from bmac_stream.check import checks
from bmac_stream.config import Config, load_config, stream_urls
from bmac_stream.doctor import Check, machine_checks, main
from bmac_stream.doctor_route import Way, exchange_checks, way_of
from bmac_stream.room import described, rooms
from bmac_stream.simulator.generator import GeneratedMarket, GeneratorConfig
from bmac_stream.simulator.server import Simulator
from shm import StoreWriter
from tests.bmac_stream.fake_collector import FakeCollector, make_spec

MARKET = GeneratorConfig(n_symbols=6, n_spot=4, n_coinm=3, listing_hours=0.0)


def make_config(folder: Path, **keys: object) -> Config:
    path = folder / "config.json"
    path.write_text(json.dumps({"interval": "1m", "trade_type": "usdt_perp", **keys}))
    return load_config(path)[0]


def levels(checks: list[Check]) -> dict[str, str]:
    return {check.name: check.level for check in checks}


def one(checks: list[Check], name: str) -> Check:
    return next(check for check in checks if check.name == name)


# ---- the machine


def test_this_machine(tmp_path: Path) -> None:
    found = machine_checks(make_config(tmp_path, store={"directory": str(tmp_path)}))
    names = levels(found)
    for name in ("kernel", "C library", "Python", "packages", "open files", "shared memory", "snapshots"):
        assert names[name] == "ok", one(found, name)
    assert all(check.advice for check in found if check.level != "ok")
    assert not list(tmp_path.glob("*tmp*"))  # it leaves nothing behind


Usage = namedtuple("Usage", "total used free")


def test_too_little_shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config(tmp_path, store={"directory": str(tmp_path)})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(64 << 20, 60 << 20, 4 << 20))
    check = one(machine_checks(config), "shared memory")
    assert check.level == "fail" and "4 MiB free of 64 MiB" in check.found and "--shm-size" in check.advice
    assert "needed: usdt_perp_1m 251 MiB" in check.found
    with StoreWriter.open(
        "usdt_perp_1m", make_spec(window=1500, max_symbols=1024, slack=100), directory=tmp_path
    ):
        check = one(machine_checks(config), "shared memory")
    assert check.level == "ok"  # the store is there already


def test_all_stores_of_a_config_are_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more = {"resample": [{"interval": "45m"}], "funding_rate": True, "factors": [["PctChg", 100]]}
    config = make_config(tmp_path, store={"directory": str(tmp_path)}, **more)
    total = sum(part.nbytes for part in rooms(config))
    for free, level in ((total, "ok"), (total - 1, "fail")):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: Usage(1 << 40, 0, free))
        found, said = one(machine_checks(config), "shared memory"), one(checks(tmp_path), "memory")
        assert (found.level, said.level) == (level, level)
        assert described(rooms(config)) in found.found
        assert described(rooms(config)) in said.found
        assert found.advice == said.advice


def test_directories_that_cannot_be_used(tmp_path: Path) -> None:
    config = make_config(
        tmp_path, store={"directory": str(tmp_path / "none")}, snapshot={"directory": "config.json/snap"}
    )
    found = machine_checks(config)
    assert one(found, "shared memory").level == "fail"
    assert one(found, "snapshots").level == "fail" and "snapshot.directory" in one(found, "snapshots").advice


def test_limits_and_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 4096))
    assert "ulimit" in one(machine_checks(None), "open files").advice
    monkeypatch.setattr(doctor, "PACKAGES", {"numpy": (99, 0), "no-such-package": (1, 0)})
    check = one(machine_checks(None), "packages")
    assert check.level == "fail" and "older than 99.0" in check.found and "no-such-package" in check.found
    monkeypatch.setattr(doctor.platform, "release", lambda: "3.10.0-957.el7.x86_64")
    assert one(machine_checks(None), "kernel").level == "fail"
    monkeypatch.setattr(doctor.platform, "machine", lambda: "riscv64")
    assert one(machine_checks(None), "system").level == "fail"
    monkeypatch.setattr(doctor.platform, "libc_ver", lambda: ("", ""))
    assert doctor._numbers("2.5.1rc1") == (2, 5, 1) and doctor._numbers("6.18.44-fc") == (6, 18, 44)


def test_a_check_that_breaks_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: 1 / 0)
    found = machine_checks(None)
    assert one(found, "files").level == "warn" and "ZeroDivisionError" in one(found, "files").found
    assert "shared memory" in levels(found)


def test_stores_that_nobody_writes(tmp_path: Path) -> None:
    FakeCollector.start(tmp_path, name="ended").close()
    (tmp_path / "bmac.broken").write_bytes(b"x" * 9000)
    with FakeCollector.start(tmp_path, name="living"):
        found = machine_checks(make_config(tmp_path, store={"directory": str(tmp_path)}))
    assert one(found, "store broken").level == "warn" and "rm " in one(found, "store broken").advice
    assert one(found, "store ended").level == "ok" and "store living" not in levels(found)


def test_the_removal_of_a_store_names_its_files_and_no_other_store_s(tmp_path: Path) -> None:
    for name in ("ended", "ended2", "ended.factors"):
        FakeCollector.start(tmp_path, name=name).close()
    for end in (".exginfo.arrow", "_live"):
        (tmp_path / f"bmac.ended{end}").touch()
    found = machine_checks(make_config(tmp_path, store={"directory": str(tmp_path)}))
    command = one(found, "store ended").advice.partition("rm ")[2].split()
    assert {Path(word).name for word in command} == {
        path.name
        for end in ("", ".lock", ".bell", ".exginfo.arrow")
        if (path := tmp_path / f"bmac.ended{end}").exists()
    }
    assert not any("*" in check.advice for check in found)


@pytest.mark.parametrize(
    ("factors", "says"),
    [
        ([["PctChgg", 20]], "did you mean bmac:PctChg?"),
        ([["PctChg", 2000]], "needs 2001 bars"),
        ([["PctChg", 20], ["PctChg", 20], ["bmac:PctChg", 20]], ""),
        (["no_such_module_of_mine:Bias"], "no_such_module_of_mine"),
        ([["PctChg", 20], ["PctChg", 30]], ""),
    ],
)
def test_factors_are_judged_as_the_engine_does(tmp_path: Path, factors: list[object], says: str) -> None:
    config = make_config(tmp_path, store={"directory": str(tmp_path)}, num_candles=60, factors=factors)
    for found in (machine_checks(config), checks(tmp_path)):
        check = one(found, "factors")
        assert check.level == ("fail" if says else "ok") and says in check.found, check
    assert "factors" not in levels(machine_checks(make_config(tmp_path)))


def test_without_factors_no_kernel_is_imported(tmp_path: Path) -> None:
    make_config(tmp_path)
    code = (
        "import sys; from bmac_stream import config, doctor;"
        f"assert not list(doctor.factor_checks(config.load_config({str(tmp_path)!r})[0]));"
        "assert 'kernels' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# ---- the way


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(GeneratedMarket(MARKET)) as running:
        yield running


def way_to(simulator: Simulator, market: str = "usdm", **more: object) -> Way:
    urls = simulator.urls(market)
    made = Way(MARKETS[market], urls["rest"], stream_urls(MARKETS[market], urls["stream"]), real=False)
    return replace(made, **more)  # type: ignore[arg-type]


async def walk(way: Way, timeout_s: float = 5.0) -> list[Check]:
    return await doctor_route._check_way(way, timeout_s)


@pytest.mark.parametrize("market", ["spot", "usdm", "coinm"])
async def test_a_sound_way(simulator: Simulator, market: str) -> None:
    found = await walk(way_to(simulator, market))
    assert set(levels(found).values()) == {"ok"}, found
    assert "first kline frame" in one(found, f"{market} streams").found
    assert "used in this minute" in one(found, f"{market} weight").found


async def test_connected_but_silent(simulator: Simulator) -> None:
    simulator.fault("silent_new")
    found = await walk(way_to(simulator), timeout_s=2.0)
    assert levels(found)["usdm REST"] == "ok"
    check = one(found, "usdm streams")
    assert check.level == "fail" and "no kline frame" in check.found and "/market" in check.advice
    assert "no kline came" in check.found  # what the streams said last


async def test_the_retired_path_is_found_out(simulator: Simulator) -> None:
    bare = simulator.urls("usdm")["stream"]
    check = one(await walk(way_to(simulator, stream_urls=(bare,)), timeout_s=2.0), "usdm streams")
    assert check.level == "fail" and bare in check.found


async def test_refusals_are_explained(simulator: Simulator) -> None:
    words = {
        "html": ({"status": 403}, "another route or a proxy"),
        "http_error": ({"status": 418, "seconds": 60.0}, "Wait 60 s"),
        "reset": ({}, "name a proxy in the config"),
    }
    for kind, (fields, advice) in words.items():
        fault = simulator.fault(kind, **fields)
        check = one(await walk(way_to(simulator), timeout_s=2.0), "usdm REST")
        assert check.level == "fail" and advice in check.advice, (kind, check)
        simulator.clear_faults(fault.id)


async def test_nothing_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        way = Way(MARKETS["spot"], f"http://127.0.0.1:{port}", (f"ws://127.0.0.1:{port}",), real=False)
        began = time.monotonic()
        found = await walk(way, timeout_s=1.5)
        assert time.monotonic() - began < 10
    assert levels(found) == {"spot REST": "fail", "spot streams": "fail"}
    assert "refused" in one(found, "spot REST").found and "refused" in one(found, "spot streams").found


async def test_a_proxy_that_is_not_there(simulator: Simulator) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        proxy = f"http://user:secret@127.0.0.1:{taken.getsockname()[1]}"
        found = await walk(way_to(simulator, proxy=proxy), timeout_s=1.5)
    assert one(found, "usdm REST").level == "fail" and "Is the proxy" in one(found, "usdm REST").advice
    assert "secret" not in repr(found)


async def test_tls_is_verified_and_a_ca_file_helps(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with Simulator(GeneratedMarket(MARKET), markets=["usdm"], tls=context) as simulator:
        way = way_to(simulator)
        found = await walk(way, timeout_s=2.0)
        assert levels(found) == {"usdm REST": "fail", "usdm streams": "fail"}
        assert "TLS verification failed" in one(found, "usdm REST").found
        assert "ca_file" in one(found, "usdm REST").advice
        found = await walk(replace(way, ca_file=str(tmp_path / "ca.pem")))
        assert set(levels(found).values()) == {"ok"} and "TLS verified" in one(found, "usdm REST").found


async def test_symbols_that_the_exchange_does_not_have(simulator: Simulator, tmp_path: Path) -> None:
    trade = make_config(tmp_path).trade
    found = await walk(way_to(simulator, trade=trade, keep_symbols=("BTCUSDT", "BTCUSD")))
    check = one(found, "usdm symbols")
    assert check.level == "warn" and "BTCUSD" in check.found and "keep_symbols" in check.advice
    assert "BTCUSD: the exchange has no such symbol; nearest: BTCUSDT" in check.advice
    found = await walk(way_to(simulator, trade=trade, keep_symbols=("BTCUSD",)))
    assert one(found, "usdm symbols").level == "fail"
    deli = make_config(tmp_path, trade_type="usdt_deli").trade
    found = await walk(way_to(simulator, trade=deli))  # so small a market has none
    assert one(found, "usdm symbols").level == "fail" and "not tried" in one(found, "usdm streams").found


async def test_a_clock_that_is_wrong(simulator: Simulator) -> None:
    """The embedded exchange lives in another time, as a machine with a wrong clock does."""
    check = one(await walk(way_to(simulator, real=True)), "usdm clock")
    assert check.level == "warn" and "timedatectl" in check.advice


async def test_weight_that_others_use(simulator: Simulator) -> None:
    way = way_to(simulator)
    busy = replace(way, market=replace(way.market, weight_limit=100))
    assert one(await walk(busy), "usdm weight").level == "ok"
    async with doctor_route.RestClient(
        way.market, way.rest_url, doctor_route.Clock(), doctor_route.Governor(2400, 1.0, doctor_route.Clock())
    ) as rest:
        for _ in range(6):
            await rest.klines("BTCUSDT", "1m", limit=1500)
    check = one(await walk(busy), "usdm weight")
    assert check.level == "warn" and "weight_share" in check.advice


# ---- the whole


def test_the_way_of_a_config(tmp_path: Path) -> None:
    way = way_of(make_config(tmp_path, proxy="socks5://127.0.0.1:1080", keep_symbols=["BTCUSDT"]))
    assert way.rest_url == "https://fapi.binance.com" and way.real and way.keep_symbols == ("BTCUSDT",)
    assert way_of(make_config(tmp_path, symbols={"tradifi": True})).rules.tradifi
    assert way.stream_urls == ("wss://fstream.binance.com/market",) and way.proxy == "socks5://127.0.0.1:1080"
    hosts = {"rest": "http://127.0.0.1:1", "stream": "ws://127.0.0.1:2"}
    way = way_of(make_config(tmp_path, exchange=hosts))
    assert way.rest_url == hosts["rest"] and way.stream_urls == ("ws://127.0.0.1:2/market",) and not way.real


async def test_without_a_network_it_says_so_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_dns(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_dns)
    for config in (None, make_config(tmp_path)):
        found = await exchange_checks(config, 5.0)
        check = one(found, "name resolution")
        assert check.level == "fail" and "no network" in check.advice
        assert [c for c in found if c.level == "ok"] == []


async def test_dns_that_hangs_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(3))
    began = time.monotonic()
    found = await exchange_checks(None, 0.3)
    assert time.monotonic() - began < 2.5
    assert "no answer from DNS" in one(found, "name resolution").found


def test_a_proxy_of_the_environment_that_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://user:secret@127.0.0.1:9")
    (check,) = doctor_route._environment(way_of(make_config(tmp_path)))
    assert check.level == "warn" and '"proxy": "env"' in check.advice and "secret" not in repr(check)
    assert doctor_route._environment(way_of(make_config(tmp_path, proxy="env"))) == []


def test_main_with_the_embedded_exchange(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_config(
        tmp_path, exchange="embedded", embedded={"n_symbols": 5}, store={"directory": str(tmp_path)}, typo=1
    )
    assert main(str(tmp_path), json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is True and {"name", "level", "found", "advice"} == set(told["checks"][0])
    by_name = {check["name"]: check for check in told["checks"]}
    assert by_name["usdm streams"]["level"] == "ok" and "kline frame" in by_name["usdm streams"]["found"]
    assert by_name["config"]["level"] == "warn" and "typo" in by_name["config"]["found"]


def test_main_with_a_config_that_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"interval": "1mm", "trade_type": "usdt_prep"}')
    assert main(str(path)) == 1
    out = capsys.readouterr().out
    assert "nearest: usdt_perp" in " ".join(out.split()) and "failed" in out
    assert max(map(len, out.splitlines())) <= 100
    assert "name resolution" not in out  # no exchange to ask
