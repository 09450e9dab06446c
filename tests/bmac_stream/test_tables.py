"""Exchange info as a table: what it holds, whose it is, who may read it, what can be wrong with it."""

import gzip
import json
import os
import stat
from pathlib import Path

import pyarrow as pa
import pytest

from bmac_stream.binance.markets import MARKETS
from bmac_stream.binance.protocol import SymbolInfo, decode_exchange_info
from bmac_stream.client import attach
from bmac_stream.errors import StoreBroken, TableNotFound
from bmac_stream.tables import COLUMNS, ExchangeInfoTable
from shm.segment import table_path

from .fake_collector import FakeCollector
from .simulator.rig import new_market
from .test_collector import running

BTC = SymbolInfo(
    "BTCUSDT", "TRADING", "PERPETUAL", "BTC", "USDT", "USDT", 1_569_398_400_000, 4_133_404_800_000,
    "0.10", "0.001", "50",
)  # fmt: skip
COIN = SymbolInfo("BTCUSD_PERP", "TRADING", "PERPETUAL", "BTC", "USD", "BTC", 1, 2, "0.1", "100", None, 100.0)
BARE = SymbolInfo("币安人生USDT", "TRADING", "", "币安人生", "USDT", "", 0, 0, None, None, None)


def written(tmp_path: Path, *infos: SymbolInfo, name: str = "rule", read_ms: float = 77.9) -> FakeCollector:
    """A store with a table of `infos`."""
    writer = FakeCollector.start(tmp_path, name=name)
    assert ExchangeInfoTable(writer, 0o600, None).write(infos, {info.symbol for info in infos}, read_ms)
    return writer


def test_rows_are_as_the_exchange_says(tmp_path: Path) -> None:
    with written(tmp_path, BTC, COIN, BARE), attach("rule", directory=tmp_path) as store:
        table = store.exchange_info()
        assert tuple(table.column_names) == COLUMNS
        assert table.schema.metadata[b"read_ms"] == b"77"
        first, second, third = table.to_pylist()
        assert first.pop("contract_size") != first.get("contract_size")  # NaN
        assert first == {
            "symbol": "BTCUSDT", "status": "TRADING", "contract_type": "PERPETUAL", "base_asset": "BTC",
            "quote_asset": "USDT", "margin_asset": "USDT", "price_tick": "0.10", "lot_size": "0.001",
            "min_notional_value": "50", "onboard_ms": 1_569_398_400_000, "delivery_ms": 4_133_404_800_000,
        }  # fmt: skip
        assert (second["lot_size"], second["contract_size"]) == ("100", 100.0)
        assert second["min_notional_value"] is None
        assert (third["symbol"], third["price_tick"], third["lot_size"]) == ("币安人生USDT", None, None)
        kinds = {field.name: str(field.type) for field in table.schema}
        assert kinds["contract_size"] == "double"
        assert {kinds["onboard_ms"], kinds["delivery_ms"]} == {"int64"}
        assert {kinds[name] for name in COLUMNS[:9]} == {"string"}


def test_only_what_is_collected_in_the_exchanges_order_and_only_when_it_changed(tmp_path: Path) -> None:
    with FakeCollector.start(tmp_path) as writer, attach("rule", directory=tmp_path) as store:
        table = ExchangeInfoTable(writer, 0o600, None)
        infos = (COIN, BTC, BARE)
        assert table.write(infos, {"BTCUSDT", "BTCUSD_PERP"}, 1)
        assert store.exchange_info()["symbol"].to_pylist() == ["BTCUSD_PERP", "BTCUSDT"]
        path = table_path(writer.path, "exginfo")
        before = path.stat().st_ino
        assert not table.write(infos, {"BTCUSD_PERP", "BTCUSDT"}, 2)
        assert path.stat().st_ino == before
        assert table.write(infos, {"BTCUSDT"}, 3)
        assert store.exchange_info().schema.metadata[b"read_ms"] == b"3"
        assert [entry.name for entry in tmp_path.iterdir() if entry.name.endswith(".new")] == []


def test_none_yet_is_a_lookup_error_that_says_so(tmp_path: Path) -> None:
    with FakeCollector.start(tmp_path), attach("rule", directory=tmp_path) as store:
        with pytest.raises(TableNotFound, match="no exchange info yet"):
            store.exchange_info()
        with pytest.raises(LookupError):
            store.exchange_info()


def test_it_stays_when_the_collector_starts_again(tmp_path: Path) -> None:
    written(tmp_path, BTC).close()
    with FakeCollector.start(tmp_path) as writer, attach("rule", directory=tmp_path) as store:
        ExchangeInfoTable(writer, 0o600, None)
        assert len(store.exchange_info()) == 1


def test_it_goes_with_the_stores_file(tmp_path: Path) -> None:
    written(tmp_path, BTC).close()
    old = attach("rule", directory=tmp_path)
    with FakeCollector.start(tmp_path, window=40) as writer:  # another spec: a new file takes the name
        with attach("rule", directory=tmp_path) as store, pytest.raises(TableNotFound, match="another file"):
            store.exchange_info()
        ExchangeInfoTable(writer, 0o600, None)
        assert not table_path(writer.path, "exginfo").exists()
        ExchangeInfoTable(writer, 0o600, None).write((BARE,), {BARE.symbol}, 1)
        with pytest.raises(TableNotFound, match="reattach"):
            old.exchange_info()
        old.reattach()
        assert old.exchange_info()["symbol"].to_pylist() == [BARE.symbol]
    old.close()


def test_a_table_of_another_source_is_not_this_stores(tmp_path: Path) -> None:
    with written(tmp_path, BTC) as writer, attach("rule", directory=tmp_path) as store:
        path = table_path(writer.path, "exginfo")
        table = store.exchange_info()
        changed = table.replace_schema_metadata({**table.schema.metadata, b"source": b"binance"})
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, changed.schema) as out:
            out.write_table(changed)
        with pytest.raises(TableNotFound, match="another file"):
            store.exchange_info()


@pytest.mark.parametrize(("mode", "group"), [(0o600, None), (0o640, os.getegid())])
def test_permissions_are_the_stores_whatever_the_umask(tmp_path: Path, mode: int, group: int | None) -> None:
    before = os.umask(0)
    try:
        with FakeCollector.start(tmp_path) as writer:
            ExchangeInfoTable(writer, mode, group).write((BTC,), {"BTCUSDT"}, 1)
            found = table_path(writer.path, "exginfo").stat()
            assert stat.S_IMODE(found.st_mode) == mode
            assert group is None or found.st_gid == group
    finally:
        os.umask(before)


def test_links_are_neither_followed_when_read_nor_when_written(tmp_path: Path) -> None:
    with FakeCollector.start(tmp_path) as writer, attach("rule", directory=tmp_path) as store:
        path, victim = table_path(writer.path, "exginfo"), tmp_path / "victim"
        victim.write_text("mine")
        path.symlink_to(victim)
        with pytest.raises(StoreBroken, match="symbolic link"):
            store.exchange_info()
        path.with_name(path.name + ".new").symlink_to(victim)
        ExchangeInfoTable(writer, 0o600, None).write((BTC,), {"BTCUSDT"}, 1)
        assert victim.read_text() == "mine"
        assert not path.is_symlink()
        assert len(store.exchange_info()) == 1


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "flipped", "columns"])
def test_what_is_damaged_is_said_to_be(tmp_path: Path, damage: str) -> None:
    with written(tmp_path, BTC, COIN) as writer, attach("rule", directory=tmp_path) as store:
        path = table_path(writer.path, "exginfo")
        raw = path.read_bytes()
        other = pa.BufferOutputStream()
        table = store.exchange_info().drop_columns(["status"])
        with pa.ipc.new_file(other, table.schema) as out:
            out.write_table(table)
        path.write_bytes(
            {
                "empty": b"",
                "cut": raw[: len(raw) // 2],
                "text": b"<html>" * 100,
                "flipped": raw[:8] + b"\xff" * 400 + raw[408:-400] + b"\xff" * 390 + raw[-10:],
                "columns": other.getvalue().to_pybytes(),
            }[damage]
        )
        with pytest.raises(StoreBroken, match=r"damaged|not a table"):
            store.exchange_info()


def test_stores_are_not_confused_with_their_tables(tmp_path: Path) -> None:
    from bmac_stream.status import find_stores

    with written(tmp_path, BTC):
        assert find_stores(tmp_path) == ["rule"]


@pytest.mark.parametrize(
    ("file", "market", "symbol", "expected"),
    [
        ("rest_2026-07/fapi-v1-exchangeInfo.json.gz", "usdm", "BTCUSDT", ("0.10", "0.001", "50", None)),
        ("rest_2026-07/fapi-v1-exchangeInfo.json.gz", "usdm", "ETHBTC", ("0.000001", "0.01", "0.001", None)),
        (
            "rest_2026-07/api-v3-exchangeInfo-curated-BTCETHXVG.json", "spot", "BTCUSDT",
            ("0.01000000", "0.00001000", "5.00000000", None),
        ),
        ("rest_2021/exchangeInfo_dapi_2021-04.txt.gz", "coinm", "BTCUSD_PERP", ("0.1", "100", None, 100.0)),
        (
            "rest_2021/exchangeInfo_spot_2021-09-17.txt.gz", "spot", "BTCUSDT",
            ("0.01000000", "0.00000100", "10.00000000", None),
        ),
    ],
)  # fmt: skip
def test_recorded_bodies(
    recorded_data: Path, file: str, market: str, symbol: str, expected: tuple[str, str, str, float]
) -> None:
    raw = (recorded_data / file).read_bytes()
    body = gzip.decompress(raw) if file.endswith(".gz") else raw
    sent, _ = json.JSONDecoder().raw_decode(body[body.index(b"{") :].decode())
    body = json.dumps(sent).encode()  # the recording goes on after the answer
    infos = {info.symbol: info for info in decode_exchange_info(body, MARKETS[market]).symbols}
    info = infos[symbol]
    assert (info.price_tick, info.lot_size, info.min_notional, info.contract_size) == expected
    assert len(infos) == len(sent["symbols"])
    wire = next(entry for entry in sent["symbols"] if entry["symbol"] == symbol)
    assert info.onboard_ms == wire.get("onboardDate", 0)
    assert info.delivery_ms == wire.get("deliveryDate", 0)


async def test_a_collector_keeps_it_up_to_date(tmp_path: Path, store_name: str) -> None:
    async with running(tmp_path, store_name, market=new_market(8, 1, 1), exchange_info_every_sec=60) as run:
        collector = await run.start()
        await run.live()
        with attach(store_name, directory=tmp_path) as store:

            def rows() -> dict[str, dict[str, object]]:
                return {row["symbol"]: row for row in store.exchange_info().to_pylist()}

            first = rows()
            assert list(first) == list(collector.symbols)
            for symbol, row in first.items():
                one = run.simulator.exchange.market.find("usdm", symbol)
                assert one is not None
                found = (row["price_tick"], row["lot_size"], row["min_notional_value"], row["onboard_ms"])
                assert found == (one.tick_size, one.step_size, one.min_notional, one.onboard_ms)
            read_ms = int(store.exchange_info().schema.metadata[b"read_ms"])
            assert abs(read_ms - collector.clock.now_ms()) < 60 * 60_000
            gone = next(iter(first))
            run.simulator.fault("listing", symbols=["NEWUSDT"], seconds=30)
            run.simulator.fault("delisting", symbols=[gone], seconds=30)
            await run.until("both", lambda: "NEWUSDT" in rows() and gone not in rows())
            assert rows()["NEWUSDT"]["status"] == "TRADING"


async def test_a_table_that_cannot_be_written_stops_no_bar(
    tmp_path: Path, store_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path, store_name) as run:
        table_path(tmp_path / f"bmac.{store_name}", "exginfo").mkdir()
        await run.start()
        await run.live()
        await run.bars(2)
        assert run.counts()["bugs"] == 0
    assert "exchange info is not written" in caplog.text
