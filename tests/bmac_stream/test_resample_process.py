"""`python -m bmac_stream.resample` as a process: beside a collector, through faults, and by hand."""

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bmac_stream import resample_process
from bmac_stream.archive import DataSet
from bmac_stream.archive_file import STORE, Rows
from bmac_stream.binance.protocol import SymbolInfo
from bmac_stream.bmac_kit import BmacAllMarketCalculator, CandleFileReader
from bmac_stream.client import Store, attach
from bmac_stream.engine import Engine
from bmac_stream.errors import ConfigError, ShmError
from bmac_stream.resample import fold
from bmac_stream.resample_process import ResampleProcess
from bmac_stream.simulator.process import SimulatorProcess
from bmac_stream.snapshot import generations, load_latest
from bmac_stream.status import look_at
from bmac_stream.tables import ExchangeInfoTable
from shm import Status
from shm.segment import segment_path

from .fake_collector import G0, SOURCE, FakeCollector, bar
from .rig import REPO, CollectorProcess, until
from .test_acceptance import folder, hosts  # noqa: F401

MINUTE = 60_000


def configured(directory: Path, name: str, *targets: dict[str, Any], **more: Any) -> Path:
    path = directory / "config.json"
    config = {
        "interval": "1m",
        "trade_type": "usdt_perp",
        "store": {"name": name, "directory": str(directory), "slack": 20},
        "resample": list(targets),
    }
    path.write_text(json.dumps(config | more))
    return path


@contextlib.contextmanager
def process(path: Path) -> Iterator[subprocess.Popen[str]]:
    made = subprocess.Popen(
        [sys.executable, "-m", "bmac_stream.resample", str(path)], stderr=subprocess.PIPE, text=True, cwd=REPO
    )
    try:
        yield made
    finally:
        if made.poll() is None:
            made.kill()
        made.communicate()


def attached(name: str, directory: Path) -> Store:
    def found() -> Store | None:
        try:
            store = attach(name, directory=directory)
        except ShmError:
            return None
        if store.run_time:
            return store
        store.close()
        return None

    store: Store = until(f"store {name} with a run_time", found, 60)
    return store


# ---- beside a collector


def exchange_differs(exchange: SimulatorProcess, store: Store) -> tuple[int, list[str]]:
    """How many bars of a store without an offset were compared, and which are not the exchange's own."""
    step, n, wrong = store.interval_ms, 0, []
    for symbol in store.symbols:
        held = store[symbol].copy()
        end = store.reader.complete_g + 1
        count = min(len(held.status), end - held.g0)
        start = store.open_time_of(held.g0)
        own = {
            int(row[0]): [float(row[i]) for i in (1, 2, 3, 4, 5, 7, 8, 9, 10)]
            for row in exchange.truth(symbol, store.interval, start, start + (count - 1) * step)
        }
        for i in range(count):
            at = start + i * step
            values = own.get(at, [np.nan] * 9)
            status = Status.BAR if at in own else Status.ABSENT
            if held.status[i] != status or not np.array_equal(held.values[:, i], values, equal_nan=True):
                wrong.append(f"{symbol} {at}: {held.status[i]} {held.values[:, i]}, the exchange: {values}")
        n += count
    return n, wrong


def offset_differs(base: Store, store: Store) -> tuple[int, list[str]]:
    """How many bars were compared, and which are not made of the base's."""
    n, wrong = store.interval_ms // base.interval_ms, []
    compared = 0
    for symbol in store.symbols:
        held, minutes = store[symbol].copy(), base[symbol].copy()
        for i, g in enumerate(range(held.g0, held.g0 + len(held.status))):
            first = (store.open_time_of(g) - base.origin_ms) // base.interval_ms - minutes.g0
            if first < 0 or first + n > len(minutes.status):
                continue
            rows = np.vstack([minutes.values, minutes.status])[:, first : first + n]
            values, status = fold(rows, n)
            compared += 1
            if status[0] != held.status[i] or not np.array_equal(
                values[0], held.values[:, i], equal_nan=True
            ):
                wrong.append(f"{symbol} {g}: {held.values[:, i]}, made of the base: {values[0]}")
    return compared, wrong


@pytest.mark.slow
def test_generated_bars_are_the_exchange_s_own_through_faults(folder: Path, store_name: str) -> None:  # noqa: F811
    """Streams dropped, the collector killed, symbols listed and delisted: every 5m and 15m bar made of 1m
    ones is the exchange's own, to the bit."""
    with (
        SimulatorProcess(markets="usdm", n_symbols=10, seed=5, rate=240, listing_hours=0.5) as exchange,
        CollectorProcess(
            folder,
            store_name,
            exchange=hosts(exchange),
            exchange_info_every_sec=60,
            num_candles=200,
            num_socket_listeners=3,
            candle_close_timeout_sec=50,
            resample=[
                {"interval": "5m"},
                {"interval": "15m", "num_candles": 20},
                {"interval": "5m", "offset": 3, "name": f"{store_name}-later"},
            ],
        ) as collector,
    ):
        reader = collector.live(120)
        first = reader.complete_g
        names = [f"{store_name}.5m", f"{store_name}.15m", f"{store_name}-later"]
        stores = [attached(name, folder) for name in names]
        collector.complete(first + 10)
        exchange.fault("drop", abort=True)
        collector.complete(first + 20)
        generation = reader.generation
        collector.kill()
        collector.start()
        until("the next collector", lambda: reader.generation > generation, 60)
        collector.complete(first + 50, 120)
        until(
            "all to be level",
            lambda: all(store.run_time + store.interval_ms > reader_time(reader) for store in stores),
            30,
        )
        until("no late bars", lambda: collector.unsettled() == 0, 30)
        until("nothing pending", lambda: not any(pending(store) for store in stores), 30)
        assert set(stores[0].symbols) <= set(stores[0].exchange_info()["symbol"].to_pylist())
        compared = [exchange_differs(exchange, store) for store in stores[:2]]
        with attach(store_name, directory=folder) as base:
            compared.append(offset_differs(base, stores[2]))
        log = collector.log
        assert collector.end() == 0
        for store in stores:
            assert store.phase == "closed"
            store.close()
    for n, wrong in compared:
        assert n > 100
        assert wrong == []
    assert "MiB" in log
    assert list(folder.glob("snapshot/*.5m.*.parquet"))


def reader_time(reader: Any) -> int:
    return int(reader.spec.origin_ms + (reader.complete_g + 1) * reader.spec.interval_ms)


def pending(store: Store) -> int:
    return sum(int((store[symbol].copy().status == Status.PENDING).sum()) for symbol in store.symbols)


# ---- by hand


def test_from_start_to_end(tmp_path: Path) -> None:
    path = configured(
        tmp_path, "rule", {"interval": "5m"}, {"interval": "15m", "offset": 7, "num_candles": 9}
    )
    with FakeCollector.start(tmp_path) as base, process(path) as child:
        five, other = attached("rule.5m", tmp_path), attached("rule.15m_7m", tmp_path)
        assert (five.interval, five.interval_ms, five.origin_ms) == ("5m", 5 * MINUTE, 0)
        assert (other.interval, other.origin_ms, other.window) == ("15m", 7 * MINUTE, 9)
        assert other.meta["base"] == "rule"
        assert (other.meta["offset"], other.meta["trade_type"]) == (7, "usdt_perp")
        before = five.run_time
        while base.next_g * MINUTE < before + 5 * MINUTE:
            base.close_bar()
        run_time = five.wait(20, seen=before)
        assert run_time == before + 5 * MINUTE
        assert five.phase == "live"
        for store in (five, other):
            compared, wrong = offset_differs(attach("rule", directory=tmp_path), store)
            assert compared >= 6
            assert wrong == []
        with pytest.raises(LookupError):
            five.exchange_info()
        base.close()
        assert child.wait(20) == 0
        assert five.phase == "closed"
        for store in (five, other):
            store.close()
        assert child.stderr is not None
        said = child.stderr.read()
    assert "store rule.15m_7m: 9 bars of 15m" in said
    assert "MiB" in said
    assert "at most 3 bars" in said


def info(symbol: str) -> SymbolInfo:
    return SymbolInfo(symbol, "TRADING", "PERPETUAL", symbol[:3], "USDT", "USDT", 0, 0, "0.1", "1", "5")


async def test_everything_reads_bars_of_a_length_that_binance_does_not_have(tmp_path: Path) -> None:
    path = configured(
        tmp_path, "rule", {"interval": "45m", "offset": 20}, {"interval": "90m"}, snapshot={"directory": "s"}
    )
    with FakeCollector.start(tmp_path, window=600, history=600) as base, process(path) as child:
        table = ExchangeInfoTable(base, 0o600, None)
        assert table.write([info(symbol) for symbol in base.symbols], base.symbols, 1.0)
        store, other = attached("rule.45m_20m", tmp_path), attached("rule.90m", tmp_path)
        assert (store.interval, store.interval_ms, store.origin_ms) == ("45m", 45 * MINUTE, 20 * MINUTE)
        assert (store.meta["interval"], store.meta["offset"], other.interval) == ("45m", 20, "90m")
        assert look_at("rule.45m_20m", tmp_path).interval == "45m"
        assert store.exchange_info()["symbol"].to_pylist() == list(base.symbols)
        reader = CandleFileReader(store)
        calculator = BmacAllMarketCalculator(reader, reader, [("bmac:PctChg", 3)], bmac_expire_sec=10**9)
        engine = Engine(store, [["PctChg", 3]])
        before = store.run_time
        while base.next_g * MINUTE < before + 45 * MINUTE:
            base.close_bar()
        run_time = store.wait(20, seen=before)
        assert run_time == before + 45 * MINUTE == engine.wait(20)
        frame = await calculator.calc_all_factors(run_time)
        for symbol, slot in store.symbols.items():
            close = store[symbol].copy().values[3]
            assert engine["PctChg_3"][slot] == pytest.approx(close[-1] / close[-4] - 1)
            assert frame.loc[symbol, "bmac:PctChg_3"] == pytest.approx(engine["PctChg_3"][slot])
        for one in (store, other):
            with attach("rule", directory=tmp_path) as minutes:
                compared, wrong = offset_differs(minutes, one)
            assert (compared >= 15, wrong) == (True, [])
        made = engine.batch(store.to_arrow())
        assert made.interval_ms == 45 * MINUTE
        assert made.run_time[-1] == run_time
        held = store["AAAUSDT"].copy()
        until("a snapshot", lambda: generations(tmp_path / "s", "rule.45m_20m"), 30)
        child.send_signal(signal.SIGTERM)
        assert child.wait(20) == 0
        found, problems = load_latest(tmp_path / "s", "rule.45m_20m", store.spec)
        assert found is not None and problems == []
        np.testing.assert_array_equal(found["AAAUSDT"].values[:, -len(held.status) :], held.values)
        store.close()
        other.close()


def test_what_was_collected_outlives_a_reboot(tmp_path: Path) -> None:
    """Nothing is left in shared memory, and the base begins anew: the snapshot has the older bars."""
    path = configured(tmp_path, "rule", {"interval": "5m"}, snapshot={"directory": "snaps"})
    with FakeCollector.start(tmp_path) as base, process(path) as child:
        store = attached("rule.5m", tmp_path)
        first = store["AAAUSDT"].first_open_time
        old = store["AAAUSDT"].copy()
        until("a snapshot", lambda: generations(tmp_path / "snaps", "rule.5m"), 30)
        child.send_signal(signal.SIGTERM)
        assert child.wait(20) == 0
        store.close()
        (tmp_path / "bmac.rule.5m").unlink()
        for _ in range(100):
            base.close_bar()
    with FakeCollector.start(tmp_path), process(path) as child:
        store = attached("rule.5m", tmp_path)
        view = store["AAAUSDT"]
        assert view.first_open_time == first
        rows = view.copy()
        np.testing.assert_array_equal(rows.values[:, : old.values.shape[1]], old.values)
        gap = rows.status[len(old.status) :]
        assert gap[0] == Status.PENDING, "what neither the snapshot nor the base has is not made up"
        assert gap[-1] == Status.BAR
        store.close()
        child.send_signal(signal.SIGTERM)
        assert child.wait(20) == 0


def test_a_new_store_begins_with_the_long_history(tmp_path: Path) -> None:
    path = configured(tmp_path, "rule", {"interval": "5m"}, history={"enabled": True, "directory": "past"})
    data = DataSet(tmp_path / "past", "usdt_perp", "1m", SOURCE)
    minutes = np.arange(G0 - 200, G0 + 30)
    for start in sorted({data.start_of(int(g) * MINUTE) for g in minutes}):
        part = minutes[(minutes * MINUTE // data.span_ms) * data.span_ms == start]
        rows = Rows.fresh("AAAUSDT", part * MINUTE, bar(0, part).T.copy(), STORE)
        with data.change(STORE, "test") as change:
            change.update(start, lambda rows=rows: [rows])  # type: ignore[misc]
            change.commit()
    with FakeCollector.start(tmp_path), process(path) as child:
        store = attached("rule.5m", tmp_path)
        held = store["AAAUSDT"].copy()
        assert held.g0 == (G0 - 200) // 5
        assert (held.status == Status.BAR).all(), "history and base meet"
        ends = np.arange(held.g0, held.g0 + len(held.status)) * 5 + 4
        np.testing.assert_array_equal(held.values[3], bar(0, ends)[:, 3])
        assert store["BBBUSDT"].copy().g0 > held.g0 + 30
        store.close()
        child.send_signal(signal.SIGTERM)
        assert child.wait(20) == 0
        assert child.stderr is not None
        assert "of 1 symbols from" in child.stderr.read()


def test_a_killed_one_is_taken_up(tmp_path: Path) -> None:
    path = configured(tmp_path, "rule", {"interval": "5m"}, snapshot={"enabled": False})
    with FakeCollector.start(tmp_path) as base:
        with process(path) as child:
            store = attached("rule.5m", tmp_path)
            child.kill()
            child.wait()
        for _ in range(30):
            base.close_bar()
        with process(path) as child:
            until("level", lambda: store.run_time == base.next_g * MINUTE // (5 * MINUTE) * 5 * MINUTE, 30)
            assert pending(store) == 0
            child.send_signal(signal.SIGTERM)
            assert child.wait(20) == 0
            store.close()


@pytest.mark.parametrize(
    ("targets", "more", "status", "says"),
    [
        ([], {}, 2, "names no store"),
        ([{"interval": "7m"}], {}, 2, "nearest: 6m and 8m"),
        ([{"interval": "2h"}], {"num_candles": 100}, 2, "num_candles"),
        ([{"interval": "1h"}], {}, 2, "at least 60"),
    ],
)
def test_what_cannot_be_done_is_said(
    tmp_path: Path, targets: list[dict[str, Any]], more: dict[str, Any], status: int, says: str
) -> None:
    path = configured(tmp_path, "rule", *targets, **more)
    with FakeCollector.start(tmp_path), process(path) as child:
        _, said = child.communicate(timeout=60)
        assert child.returncode == status, said
    assert says in said
    assert "Traceback" not in said


def test_two_writers_of_one_store(tmp_path: Path) -> None:
    path = configured(tmp_path, "rule", {"interval": "5m"})
    with FakeCollector.start(tmp_path), process(path) as first:
        store = attached("rule.5m", tmp_path)
        with process(path) as second:
            _, said = second.communicate(timeout=60)
            assert second.returncode == 3
        assert "WriterLocked" in said
        assert str(first.pid) in said
        store.close()


def test_a_config_without_targets(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="resample"):
        ResampleProcess(configured(tmp_path, "rule"))


def test_a_base_of_another_layout_is_waited_for_at_leisure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its refusal comes at once, that of a missing one after a while."""
    made = ResampleProcess(configured(tmp_path, "rule", {"interval": "5m"}))
    FakeCollector.start(tmp_path).close()
    with segment_path("rule", tmp_path).open("r+b") as file:
        file.seek(8)
        file.write(b"\x01")
    pauses: list[float] = []
    monkeypatch.setattr(resample_process.time, "sleep", pauses.append)
    assert made._attach() is None
    assert 0.5 * resample_process.BEAT_S < sum(pauses) <= resample_process.BEAT_S
