"""The whole way: exchange, collector, store, through every fault at once; every bar stored is the exchange's.

The exchange is a process, the collector is a process, and both only meet on sockets. Recorded bars are
compared with the file they come from, generated ones with the exchange's own record.
"""

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import trustme

from bmac_stream.simulator.process import SimulatorProcess
from shm import Status

from .binance.proxies import HttpProxy, SocksProxy
from .rig import CollectorProcess, Held, until

MINUTE = 60_000
FILE_COLUMNS = (
    "open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy_volume",
    "taker_buy_quote_volume",
)  # fmt: skip
# Half a wall second's worth of exchange time at most: what a busy machine may hold a frame up by.
CONFIG = {
    "num_candles": 600,
    "num_socket_listeners": 3,
    "candle_close_timeout_sec": 50,
    "snapshot": {"min_interval_sec": 5},
}
SHORT = CONFIG | {"num_candles": 200}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in shared memory, as a store has it, removed afterwards."""
    made = Path("/dev/shm") / f"bmac-test-{os.getpid()}-{tmp_path.name[-40:]}"
    made.mkdir()
    yield made
    for root, _, files in os.walk(made, topdown=False):
        for name in files:
            (Path(root) / name).unlink()
        Path(root).rmdir()


Truth = dict[str, tuple[int, np.ndarray]]
"""symbol -> (number of the first bar, float64[n, 9]); NaN where the exchange has no bar."""


def truth_of_files(folder: Path) -> Truth:
    """The recorded files, read by pyarrow alone."""
    found = {}
    for path in sorted(folder.glob("*.parquet")):
        table = pq.read_table(path)
        times = table["open_time"].to_numpy()
        if times.dtype.kind == "M":
            times = times.astype("datetime64[ms]").astype(np.int64)
        numbers = times // MINUTE
        assert (np.diff(numbers) == 1).all()
        columns = [table[name].to_numpy().astype(np.float64) for name in FILE_COLUMNS]
        found[path.stem] = (int(numbers[0]), np.stack(columns, axis=1))
    return found


def truth_of_exchange(exchange: SimulatorProcess, held: dict[str, Held]) -> Truth:
    """What the embedded exchange itself says of the bars that are held."""
    found = {}
    for symbol, bars in held.items():
        n = len(bars.status)
        start = bars.first_g * MINUTE
        rows = exchange.truth(symbol, "1m", start, start + (n - 1) * MINUTE)
        values = np.full((n, 9), np.nan)
        for row in rows:
            values[int(row[0]) // MINUTE - bars.first_g] = [
                float(row[i]) for i in (1, 2, 3, 4, 5, 7, 8, 9, 10)
            ]
        found[symbol] = (bars.first_g, values)
    return found


def differences(held: dict[str, Held], truth: Truth) -> list[str]:
    """Every stored bar that is not the truth: lost, different, or invented."""
    wrong = []
    for symbol, bars in sorted(held.items()):
        first, values = truth[symbol]
        wanted = values[bars.first_g - first : bars.first_g - first + len(bars.status)]
        assert len(wanted) == len(bars.status)
        exists = ~np.isnan(wanted[:, 0])
        same = (bars.values == wanted).all(axis=1) & (bars.status == Status.BAR)
        rightly_absent = np.isnan(bars.values).all(axis=1) & (bars.status == Status.ABSENT)
        for i in np.flatnonzero(~np.where(exists, same, rightly_absent)):
            word = Status(int(bars.status[i])).name
            wrong.append(
                f"{symbol} bar {bars.first_g + int(i)}: {word} {bars.values[i]}, expected {wanted[i]}"
            )
    return wrong


def campaign(exchange: SimulatorProcess, collector: CollectorProcess, n_bars: int) -> dict[str, Any]:
    """n_bars run_times with two socket drops, a silent stall, a kill -9 and a REST ban on the way."""
    reader = collector.live(120)
    first = reader.complete_g
    before = exchange.stats()["requests"].get("/fapi/v1/klines", 0)

    def reach(share: float) -> None:
        collector.complete(base + int(share * n_bars), 60 + n_bars)

    base = first
    reach(1 / 8)
    exchange.fault("drop", abort=True)
    reach(2 / 8)
    exchange.fault("drop", code=1001)
    reach(3 / 8)
    exchange.fault("stall", count=1, duration_s=25)
    until("the stall is noticed", lambda: collector.counters()["stalls"] >= 1, 30)
    reach(4 / 8)
    generation = reader.generation
    collector.kill()
    collector.start()
    until("the next collector", lambda: reader.generation > generation, 60)
    until("the next collector to be live", lambda: reader.phase == "live", 60)
    base = reader.complete_g - n_bars // 2
    reach(5 / 8)
    # closing frames go missing while REST is banned: their bars are pending until the ban is over
    exchange.fault("ban", seconds=180)
    exchange.fault("missing_close", count=3)
    reach(1.0)
    until("everything settled", lambda: collector.unsettled() == 0, 60)
    settled = collector.counters()["ws_frames"]
    until("counters of now", lambda: collector.counters()["ws_frames"] != settled, 10)
    found = collector.counters()
    found["klines"] = exchange.stats()["requests"]["/fapi/v1/klines"] - before
    found["run_times"] = reader.complete_g - first
    return found


def report(counters: dict[str, int]) -> str:
    """The figures that a reader of the test's output wants to see."""
    live = counters["ws_bars"] + counters["repaired_bars"]
    names = (
        "run_times", "ws_bars", "repaired_bars", "pending_bars", "late_fills", "duplicate_bars", "reconnects",
        "stalls", "repair_requests", "repairs_overtaken", "klines", "rest_errors", "revised_bars", "bugs",
    )  # fmt: skip
    figures = ", ".join(f"{name} {counters[name]}" for name in names)
    return f"{counters['ws_bars'] / live:.2%} of the live bars by WebSocket; {figures}"


def judge(counters: dict[str, int], n_symbols: int, gone: int = 0) -> None:
    """What must hold whatever the exchange was. gone: symbols that may end their trading meanwhile."""
    print(report(counters))
    assert counters["bugs"] == 0
    assert counters["revised_bars"] == 0
    assert counters["bad_frames"] == 0
    assert counters["reconnects"] >= 2
    assert counters["stalls"] >= 1
    assert counters["pending_bars"] >= counters["late_fills"] >= 1
    # a repair brings a bar, or its frame overtakes it, or it comes a moment later, or REST is banned; the
    # rest is what an answer did not have yet, and what the collector that was killed had not counted
    asked_for = counters["repaired_bars"] + counters["duplicate_bars"] + counters["rest_errors"]
    asked_for += counters["repairs_overtaken"]
    assert counters["repair_requests"] <= asked_for + 2 * n_symbols + 10 * gone
    # at these rates a frame that a busy machine holds up by a tenth of a second is half a minute late
    assert counters["repairs_overtaken"] <= 0.2 * (counters["ws_bars"] + counters["repaired_bars"])
    # after the start: repairs, and one page of history for each symbol after the kill
    assert counters["klines"] <= counters["repair_requests"] + 2 * n_symbols + 2 * gone


def hosts(exchange: SimulatorProcess) -> dict[str, Any]:
    """The config's `exchange` for a simulator."""
    return {**exchange.url("usdm"), "rate": exchange.ready["rate"], "source": exchange.ready["source"]}


def recorded_run(data: Path, folder: Path, store: str, rate: float, n_bars: int) -> None:
    """The recorded month through the whole campaign."""
    files = data / "klines_1m_usdm_2026-02"
    if not files.is_dir():
        pytest.skip(f"no recorded 1m bars at {files}")
    truth = truth_of_files(files)
    assert len(truth) == 7
    with (
        SimulatorProcess(markets="usdm", data=str(files), rate=rate, start="2026-02-03T00:00:30") as exchange,
        CollectorProcess(folder, store, exchange=hosts(exchange), **CONFIG) as collector,
    ):
        counters = campaign(exchange, collector, n_bars)
        held = collector.held()
    assert held.keys() == truth.keys()
    assert all(len(bars.status) == CONFIG["num_candles"] for bars in held.values())
    assert differences(held, truth) == []
    judge(counters, len(truth))
    assert counters["run_times"] >= n_bars
    assert counters["ws_bars"] >= 0.95 * (counters["ws_bars"] + counters["repaired_bars"])


@pytest.mark.slow
def test_recorded_bars_through_every_fault(recorded_data: Path, folder: Path, store_name: str) -> None:
    recorded_run(recorded_data, folder, store_name, rate=300, n_bars=205)


@pytest.mark.stress
@pytest.mark.timeout(900)
def test_recorded_bars_through_every_fault_at_rate_60(
    recorded_data: Path, folder: Path, store_name: str
) -> None:
    recorded_run(recorded_data, folder, store_name, rate=60, n_bars=240)


@pytest.mark.slow
def test_generated_bars_through_every_fault(folder: Path, store_name: str) -> None:
    with (
        SimulatorProcess(markets="usdm", n_symbols=12, seed=11, rate=240, listing_hours=0.5) as exchange,
        CollectorProcess(
            folder, store_name, exchange=hosts(exchange), exchange_info_every_sec=60, **SHORT
        ) as collector,
    ):
        counters = campaign(exchange, collector, 32)
        held = collector.held()
        truth = truth_of_exchange(exchange, held)
    assert len(held) >= 12
    assert differences(held, truth) == []
    judge(counters, len(held), gone=2)


@contextlib.contextmanager
def proxy_thread(make: Callable[[], HttpProxy | SocksProxy]) -> Iterator[HttpProxy | SocksProxy]:
    """A proxy on a loop and thread of its own."""
    made: list[HttpProxy | SocksProxy] = []
    loop = asyncio.new_event_loop()
    ready, stop = threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with make() as proxy:
            made.append(proxy)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert ready.wait(10)
        yield made[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [HttpProxy, SocksProxy])
def test_the_same_through_a_proxy_and_tls_when_there_is_no_other_way(
    kind: type[HttpProxy] | type[SocksProxy], folder: Path, tmp_path: Path, store_name: str
) -> None:
    """The exchange's name is one that only the proxy can resolve, and its certificate is of a test CA."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate = authority.issue_cert("exchange.invalid", "127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    for part in certificate.cert_chain_pems:
        part.write_to_path(tmp_path / "cert.pem", append=True)
    login = ("collector", "s3cret-of-the-proxy")
    with (
        SimulatorProcess(
            markets="usdm", n_symbols=6, seed=5, rate=240, listing_hours=0, ca_file=str(tmp_path / "ca.pem"),
            tls_cert=str(tmp_path / "cert.pem"), tls_key=str(tmp_path / "key.pem"),
        ) as exchange,
        proxy_thread(lambda: kind(login=login, hosts={"exchange.invalid": "127.0.0.1"})) as proxy,
    ):  # fmt: skip
        places = hosts(exchange)
        for name in ("rest", "stream"):
            assert "127.0.0.1" in places[name]
            places[name] = places[name].replace("127.0.0.1", "exchange.invalid")
        assert places["rest"].startswith("https://") and places["stream"].startswith("wss://")
        with CollectorProcess(
            folder, store_name, exchange=places, proxy=proxy.url, ca_file=str(tmp_path / "ca.pem"), **SHORT
        ) as collector:
            counters = campaign(exchange, collector, 32)
            held = collector.held()
            truth = truth_of_exchange(exchange, held)
            assert collector.end() == 0
        assert "s3cret" not in collector.log
        assert proxy.tunnels >= 10
    assert len(held) >= 6
    assert differences(held, truth) == []
    judge(counters, len(held))


@pytest.mark.slow
def test_a_stopped_collector_catches_up_and_its_readers_know(folder: Path, store_name: str) -> None:
    """SIGSTOP for many bars, then SIGCONT: nothing lost, nothing invented."""
    with (
        SimulatorProcess(markets="usdm", n_symbols=8, seed=3, rate=240, listing_hours=0) as exchange,
        CollectorProcess(folder, store_name, exchange=hosts(exchange), **SHORT) as collector,
    ):
        reader = collector.live(120)
        first = reader.complete_g
        collector.complete(first + 5)
        assert collector.process is not None
        collector.process.send_signal(signal.SIGSTOP)
        time.sleep(2.5)
        assert reader.silence_s > 2.0
        collector.process.send_signal(signal.SIGCONT)
        collector.complete(first + 18)
        until("everything settled", lambda: collector.unsettled() == 0, 30)
        held = collector.held()
        truth = truth_of_exchange(exchange, held)
    assert differences(held, truth) == []
