"""bmac_kit.reader: BMAC's methods, on a directory and on a store."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bmac_stream
from bmac_stream.binance.protocol import SymbolInfo
from bmac_stream.bmac_kit import CandleFileReader
from bmac_stream.bmac_kit.clock import HONG_KONG
from bmac_stream.errors import CandleFileError, CandleFileForeign, StoreNotFound, SymbolNotFound
from bmac_stream.tables import ExchangeInfoTable
from shm import Spec, StoreWriter
from tests.bmac_stream.bmac_kit.bmac_writer import BmacDirectory, candles
from tests.bmac_stream.fake_collector import G0, MINUTE, FakeCollector, run_time

END = datetime(2026, 11, 22, 12, 35, tzinfo=UTC)
STEP = timedelta(minutes=5)
LAST = G0 + 59


@pytest.fixture
def made(tmp_path: Path) -> BmacDirectory:
    made = BmacDirectory(tmp_path)
    for seed, symbol in enumerate(["BTCUSDT", "ETHUSDT_240927", "币安人生USDT"]):
        made.write(symbol, candles(END, 30, STEP, seed))
    return made


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[FakeCollector]:
    with FakeCollector.start(tmp_path) as writer:
        yield writer


def test_attributes_and_paths_are_bmacs(made: BmacDirectory) -> None:
    reader = CandleFileReader(str(made.candle_dir), "parquet")
    assert (reader.base_dir, reader.save_type, reader.ext) == (str(made.candle_dir), "parquet", "pqt")
    assert reader.format_data_file_path("BTCUSDT") == f"{made.candle_dir}/BTCUSDT.pqt"
    expected = f"{made.candle_dir}/BTCUSDT_20261122_203500.ready"
    naive = END.astimezone(HONG_KONG).replace(tzinfo=None)
    for at in (END, END.astimezone(HONG_KONG), naive, pd.Timestamp(END)):
        assert reader.format_ready_file_path("BTCUSDT", at) == expected
    assert CandleFileReader(made.candle_dir, "feather").ext == "fea"
    other = CandleFileReader(made.candle_dir, "parquet", ready_timezone="UTC")
    assert other.format_ready_file_path("BTCUSDT", END).endswith("BTCUSDT_20261122_123500.ready")
    with pytest.raises(ValueError, match="found 'csv'"):
        CandleFileReader(made.candle_dir, "csv")


def test_symbols_and_candles(made: BmacDirectory) -> None:
    reader = CandleFileReader(made.candle_dir, "parquet")
    (made.candle_dir / ".hidden.pqt").touch()
    assert reader.get_all_symbols() == ["BTCUSDT", "ETHUSDT_240927", "币安人生USDT"]
    assert reader.has_symbol("币安人生USDT") and not reader.has_symbol("XUSDT")
    expected = candles(END, 30, STEP, 1).rename_axis(None)
    pd.testing.assert_frame_equal(reader.read_candle("ETHUSDT_240927"), expected, check_freq=False)
    with pytest.raises(CandleFileError, match=r"XUSDT\.pqt"):
        reader.read_candle("XUSDT")


def test_ready_means_the_bar_is_there(made: BmacDirectory) -> None:
    reader = CandleFileReader(made.candle_dir, "parquet")
    for symbol in ("BTCUSDT", "ETHUSDT_240927", "币安人生USDT"):
        assert reader.check_ready(symbol, END)
        assert not reader.check_ready(symbol, END + STEP)
        assert reader.check_ready(symbol, END - STEP)  # a late reader: BMAC's found nothing
    assert not reader.check_ready("ETHUSDT", END) and not reader.check_ready("XUSDT", END)


def test_foreign_ready_files_are_passed_over(made: BmacDirectory) -> None:
    for name in ("latest.ready", "BTCUSDT_.ready", "BTCUSDT_2026.ready", "BTCUSDT_20991231_000000.lock"):
        (made.candle_dir / name).touch()
    (made.candle_dir / "ETHUSDT_240927_20261122_2035.ready").mkdir()
    reader = CandleFileReader(made.candle_dir, "parquet")
    assert not reader.check_ready("BTCUSDT", END + STEP) and not reader.check_ready("latest", END)
    assert reader.newest_ready()["BTCUSDT"] == "20261122_203500"


def test_exchange_info_is_a_table(made: BmacDirectory) -> None:
    made.exginfo(["BTCUSDT", "ETHUSDT"], END)
    reader = CandleFileReader(made.exginfo_dir, "parquet")
    assert reader.check_ready("exginfo", END)
    frame = reader.read_candle("exginfo")
    assert frame["symbol"].tolist() == ["BTCUSDT", "ETHUSDT"]
    assert frame["lot_size"].tolist() == [Decimal("0.001")] * 2
    candles(END, 3, STEP).to_parquet(made.exginfo_dir / "exginfo.pqt")
    with pytest.raises(CandleFileForeign, match="expected a column symbol"):
        reader.read_candle("exginfo")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    reader = CandleFileReader(tmp_path / "nowhere", "parquet")
    with pytest.raises(CandleFileError, match="nowhere: No such file"):
        reader.check_ready("BTCUSDT", END)


# ---- of a store


@pytest.mark.parametrize("form", ["shm", "prefix", "store"])
def test_a_store_has_the_same_methods(tmp_path: Path, collector: FakeCollector, form: str) -> None:
    reader = {
        "shm": lambda: CandleFileReader(f"{tmp_path}/rule", "shm"),
        "prefix": lambda: CandleFileReader(f"shm:{tmp_path}/rule", "parquet"),
        "store": lambda: CandleFileReader(bmac_stream.attach("rule", directory=tmp_path)),
    }[form]()
    assert reader.shared is not None
    assert reader.get_all_symbols() == ["AAAUSDT", "BBBUSDT", "CCCUSDT"]
    assert reader.has_symbol("BBBUSDT") and not reader.has_symbol("XUSDT")
    at = datetime.fromtimestamp(run_time(LAST) / 1000, UTC)
    assert reader.check_ready("BBBUSDT", at) and reader.check_ready("BBBUSDT", at - timedelta(minutes=1))
    assert not reader.check_ready("BBBUSDT", at + timedelta(minutes=1))
    assert not reader.check_ready("XUSDT", at)
    frame = reader.read_candle("BBBUSDT")
    expected = reader.shared.store.to_pandas("BBBUSDT").rename_axis(None)
    pd.testing.assert_frame_equal(frame, expected)
    assert frame.index[-1] == pd.Timestamp(at) and len(frame) == 50
    collector.close_bar()
    assert reader.check_ready("BBBUSDT", at + timedelta(minutes=1))
    assert reader.read_candle("BBBUSDT").index[-1] == at + timedelta(milliseconds=MINUTE)
    with pytest.raises(SymbolNotFound):
        reader.read_candle("XUSDT")
    with pytest.raises(CandleFileError, match="has no files"):
        reader.format_data_file_path("BBBUSDT")
    reader.shared.store.close()


def test_the_exchange_info_of_a_store_is_bmacs_frame(tmp_path: Path, collector: FakeCollector) -> None:
    reader = CandleFileReader(f"shm:{tmp_path}/rule")
    assert reader.shared is not None
    with pytest.raises(LookupError):
        reader.read_candle("exginfo")
    assert reader.shared.order() == ["AAAUSDT", "BBBUSDT", "CCCUSDT"]
    texts = ("0.10", "0.001", "5")
    perp = [
        SymbolInfo(f"{name}USDT", "TRADING", "PERPETUAL", name, "USDT", "USDT", 1, 2, *texts)
        for name in ("CCC", "NEW", "AAA")
    ]
    table = ExchangeInfoTable(collector, 0o600, None)
    table.write(perp, {info.symbol for info in perp}, 1.0)
    frame = reader.read_candle("exginfo")
    assert list(frame.columns) == [
        "symbol", "contract_type", "status", "base_asset", "quote_asset", "margin_asset",
        "price_tick", "lot_size", "min_notional_value",
    ]  # fmt: skip
    assert frame["price_tick"].tolist() == [Decimal("0.10")] * 3
    # symbols that the table does not name (yet) come last, in the store's order
    assert reader.shared.order() == ["CCCUSDT", "NEWUSDT", "AAAUSDT", "BBBUSDT"]
    spot = [SymbolInfo("AAAUSDT", "TRADING", "", "AAA", "USDT", "", 0, 0, *texts)]
    table.write(spot, {"AAAUSDT"}, 2.0)
    assert list(reader.read_candle("exginfo").columns) == [
        "symbol", "status", "base_asset", "quote_asset", "price_tick", "lot_size", "min_notional_value",
    ]  # fmt: skip
    coin = [SymbolInfo("AAAUSD_PERP", "TRADING", "PERPETUAL", "AAA", "USD", "AAA", 0, 0, "0.1", "10", None)]
    table.write(coin, {"AAAUSD_PERP"}, 3.0)
    assert "min_notional_value" not in reader.read_candle("exginfo").columns
    with pytest.raises(StoreNotFound):
        reader.read_candle("funding")
    reader.shared.store.close()


def test_funding_of_a_store_is_bmacs_frame(tmp_path: Path, collector: FakeCollector) -> None:
    reader = CandleFileReader(f"shm:{tmp_path}/rule")
    assert reader.shared is not None
    columns = ("funding_rate", "next_funding_time", "settled_rate", "mark_price", "index_price")
    spec = Spec(
        columns=columns, window=50, max_symbols=4, interval_ms=MINUTE,
        source=collector.spec.source, meta='{"kind": "funding"}',
    )  # fmt: skip
    with StoreWriter.open("rule.funding", spec, directory=tmp_path) as writer:
        for i, symbol in enumerate(["AAAUSDT", "XYZUSDT_240927"]):
            slot = writer.add_symbol(symbol, LAST - 1)
            rates = np.array([[1e-4 * i, 0, 0, 0, 0], [np.nan if i else 2e-4, 0, 0, 0, 0]])
            writer.load(slot, LAST - 1, rates, np.ones(2, np.uint8))
            writer.activate(slot)
        writer.complete(LAST)
        frame = reader.read_candle("funding")
    assert list(frame.columns) == ["symbol", "fundingRate", "time"]
    assert frame["symbol"].tolist() == ["AAAUSDT", "XYZUSDT_240927"] * 2
    np.testing.assert_array_equal(frame["fundingRate"], [0.0, 1e-4, 2e-4, np.nan])
    assert str(frame["time"].dtype) == "datetime64[us, Hongkong]"
    assert frame["time"].iloc[-1] == pd.Timestamp(run_time(LAST), unit="ms", tz="UTC")
    reader.shared.store.close()


def test_a_store_that_is_not_there_is_named(tmp_path: Path) -> None:
    for reader in (
        (f"shm:{tmp_path}/none", "parquet"),
        (f"{tmp_path}/none", "shm"),
        ("shm:no-such-store", "parquet"),
    ):
        with pytest.raises(StoreNotFound, match=r"none|no-such-store"):
            CandleFileReader(*reader)
