"""bmac_kit.calculators: frames of a directory and of a store, who is left out, what is raised."""

import asyncio
import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import bmac_stream
from bmac_stream.bmac_kit import BmacAllMarketCalculator, BmacSingleSymbolCalculator, CandleFileReader
from bmac_stream.bmac_kit.market_store import StoreMarket
from bmac_stream.bmac_kit.shared import SharedCandles
from bmac_stream.client import Store
from bmac_stream.engine import FactorError
from bmac_stream.errors import CandleFileForeign, Lagging, LegacyFactorError, NotReady
from shm import Status, StoreWriter
from tests.bmac_stream.bmac_kit.bmac_writer import COLUMNS, BmacDirectory, candles
from tests.bmac_stream.bmac_kit.test_legacy import Package
from tests.bmac_stream.fake_collector import G0, FakeCollector, bar, make_spec, run_time

END = datetime(2026, 11, 22, 12, 35, tzinfo=UTC)
"""Long past: what is not ready at the first look will never be."""
STEP = timedelta(minutes=5)
SYMBOLS = ["BTCUSDT", "ETHUSDT", "AAAUSDT", "ZROUSDT", "币安人生USDT"]
LAST = G0 + 59

PCT_CHG = (
    "def signal(*args):\n    df, n, name = args\n    df[name] = df['close'].pct_change(n)\n    return df"
)
MEAN = (
    "def signal_multi_params(df, ns):\n"
    "    x = (df['high'] / df['low'] - 1) / df['trade_num']\n"
    "    return {str(n): x.rolling(int(n), min_periods=1).mean() for n in ns}"
)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    monkeypatch.syspath_prepend(str(tmp_path))
    made = Package(tmp_path)
    made.add("PctChg", PCT_CHG)
    made.add("TrdNumMeanV1", MEAN)
    return made


@pytest.fixture
def made(tmp_path: Path) -> BmacDirectory:
    made = BmacDirectory(tmp_path)
    for seed, symbol in enumerate(SYMBOLS):
        made.live(symbol, candles(END, 200, STEP, seed))
    made.exginfo(SYMBOLS, END)
    return made


def market(made: BmacDirectory, factors: list[Any], package: Package, **more: Any) -> BmacAllMarketCalculator:
    readers = [
        CandleFileReader(str(folder), made.save_type) for folder in (made.exginfo_dir, made.candle_dir)
    ]
    return BmacAllMarketCalculator(*readers, factors, package.name, **more)


def single(
    made: BmacDirectory, factors: list[Any], package: Package, **more: Any
) -> BmacSingleSymbolCalculator:
    reader = CandleFileReader(made.candle_dir, made.save_type)
    return BmacSingleSymbolCalculator("BTCUSDT", reader, factors, package.name, **more)


FACTORS: list[Any] = [("PctChg", 100), ("TrdNumMeanV1", 80), ("PctChg", 5)]


# ---- one symbol, of a directory


@pytest.mark.parametrize("save_type", ["parquet", "feather"])
async def test_a_single_frame_is_bmacs(tmp_path: Path, package: Package, save_type: str) -> None:
    made = BmacDirectory(tmp_path, save_type=save_type)
    frame = candles(END, 200, STEP)
    made.live("BTCUSDT", frame)
    found = await single(made, FACTORS, package).calc_factors(END)
    frame = frame.rename_axis(None)
    expected = frame.assign(
        PctChg_100=frame["close"].pct_change(100),
        TrdNumMeanV1_80=((frame["high"] / frame["low"] - 1) / frame["trade_num"]).rolling(80, 1).mean(),
        PctChg_5=frame["close"].pct_change(5),
    )
    pd.testing.assert_frame_equal(found, expected, check_freq=False)
    assert found["PctChg_100"].isna().sum() == 100  # the warm-up is kept
    assert found.index[-1] == END and found.index.name is None


async def test_another_symbol_may_be_asked_for(made: BmacDirectory, package: Package) -> None:
    calculator = single(made, FACTORS, package)
    found = await calculator.calc_factors(END, "ETHUSDT")
    assert found["close"].tolist() == candles(END, 200, STEP, 1)["close"].tolist()
    with pytest.raises(ValueError, match=r"needs a symbol"):
        await market(made, FACTORS, package).calc_factors(END)
    of_market = await market(made, FACTORS, package).calc_factors(END, symbol="ETHUSDT")
    pd.testing.assert_frame_equal(of_market, found)


async def test_a_late_reader_gets_the_frame_of_its_run_time(made: BmacDirectory, package: Package) -> None:
    found = await single(made, FACTORS, package).calc_factors(END - 3 * STEP)
    assert len(found) == 197 and found.index[-1] == END - 3 * STEP
    frame = await market(made, FACTORS, package).calc_all_factors(END - 3 * STEP)
    assert frame.loc["BTCUSDT", "PctChg_100"] == found["PctChg_100"].iloc[-1]


async def test_not_ready_is_an_error_by_name(made: BmacDirectory, package: Package) -> None:
    for symbol, why in (("BTCUSDT", "20261122_203500"), ("XUSDT", "none")):
        with pytest.raises(NotReady, match=rf"{symbol}: no candle that ends at 2026-11-22 12:40.*{why}"):
            await single(made, FACTORS, package).calc_factors(END + STEP, symbol)
    with pytest.raises(TimeoutError):
        await single(made, FACTORS, package).calc_factors(END + STEP)


async def test_ready_without_its_candle_is_not_ready(made: BmacDirectory, package: Package) -> None:
    made.ready(made.candle_dir, "BTCUSDT", END + STEP)
    with pytest.raises(NotReady, match=r"newest candle up to run_time ended at 2026-11-22 12:35"):
        await single(made, FACTORS, package).calc_factors(END + STEP)


async def test_the_wait_ends_at_its_deadline_not_before(made: BmacDirectory, package: Package) -> None:
    soon = datetime.now(UTC).replace(microsecond=0)
    calculator = single(made, FACTORS, package, bmac_expire_sec=2)
    with pytest.raises(NotReady, match="within 2 s"):
        await calculator.calc_factors(soon)
    assert time.time() >= soon.timestamp() + 2


async def test_a_half_written_file_is_read_again(made: BmacDirectory, package: Package) -> None:
    """BMAC writes over the file while the ready file of the bar before still stands."""
    now = datetime.now(UTC).replace(microsecond=0)
    frame = candles(now, 200, STEP)
    made.live("BTCUSDT", frame)
    whole = made.path("BTCUSDT").read_bytes()
    made.path("BTCUSDT").write_bytes(whole[: len(whole) // 2])
    waiting = asyncio.create_task(single(made, FACTORS, package).calc_factors(now))
    for n in (0, 100, len(whole) - 1):
        await asyncio.sleep(0.03)
        assert not waiting.done()
        made.path("BTCUSDT").write_bytes(whole[:n])
    await asyncio.sleep(0.03)
    made.path("BTCUSDT").write_bytes(whole)
    assert (await waiting)["close"].tolist() == frame["close"].tolist()


async def test_a_file_that_stays_broken_is_named(made: BmacDirectory, package: Package) -> None:
    made.path("BTCUSDT").write_bytes(b"PAR1")
    with pytest.raises(NotReady, match=r"BTCUSDT\.pqt: not a whole parquet file"):
        await single(made, FACTORS, package).calc_factors(END)
    candles(END, 9, STEP).drop(columns="close").to_parquet(made.path("BTCUSDT"))
    with pytest.raises(CandleFileForeign, match="expected the columns"):
        await single(made, FACTORS, package).calc_factors(END)


# ---- the whole market, of a directory


async def test_an_all_market_frame_is_bmacs(made: BmacDirectory, package: Package) -> None:
    calculator = market(made, FACTORS, package)
    found = await calculator.calc_all_factors(END)
    assert found.index.tolist() == SYMBOLS and found.index.name is None  # of the exchange info, not sorted
    assert list(found.columns) == ["candle_begin_time", *COLUMNS, "PctChg_100", "TrdNumMeanV1_80", "PctChg_5"]
    assert str(found["candle_begin_time"].dtype) == "datetime64[ns, UTC]"
    for symbol in SYMBOLS:
        row = (await calculator.calc_factors(END, symbol)).iloc[-1]
        assert found.loc[symbol].tolist() == row.tolist()
    assert calculator.left_out == {}
    assert issubclass(BmacAllMarketCalculator, BmacSingleSymbolCalculator)


async def test_who_is_not_there_is_left_out_and_named(
    made: BmacDirectory, package: Package, caplog: pytest.LogCaptureFixture
) -> None:
    made.exginfo([*SYMBOLS, "NEWUSDT"], END)
    made.write("ETHUSDT", candles(END - STEP, 200, STEP, 1))  # not ready
    made.path("AAAUSDT").write_bytes(b"")  # damaged
    candles(END, 9, STEP).astype({"close": "float32"}).to_parquet(made.path("ZROUSDT"))  # foreign
    calculator = market(made, FACTORS, package)
    with caplog.at_level(logging.WARNING):
        found = await calculator.calc_all_factors(END)
    assert found.index.tolist() == ["BTCUSDT", "币安人生USDT"]
    assert list(calculator.left_out) == ["ETHUSDT", "AAAUSDT", "ZROUSDT", "NEWUSDT"]
    reasons = ["20261122_203000", "AAAUSDT.pqt: not a whole", "close: expected float64", "none"]
    for why, reason in zip(calculator.left_out.values(), reasons, strict=True):
        assert reason in why
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("4 of 6 symbols left out") and all(name in line for name in calculator.left_out)


async def test_a_factor_that_raises_for_one_symbol_leaves_it_out(
    made: BmacDirectory, package: Package, caplog: pytest.LogCaptureFixture
) -> None:
    package.add(
        "Picky",
        "def signal(df, n, name):\n"
        "    if df['close'].iloc[0] > 350:\n        raise ValueError('too dear')\n"
        "    df[name] = df['close'] * n\n    return df",
    )
    calculator = market(made, [("Picky", 2), ("PctChg", 1)], package)
    with caplog.at_level(logging.WARNING):
        found = await calculator.calc_all_factors(END)
    assert found.index.tolist() == SYMBOLS[:3]
    assert (found["Picky_2"] == 2 * found["close"]).all()
    for symbol in SYMBOLS[3:]:
        assert f"{symbol}: factor module {package.name}.Picky: ValueError" in caplog.text
        assert "Picky.py, line 3: too dear" in calculator.left_out[symbol]
    with pytest.raises(LegacyFactorError, match="too dear"):
        await calculator.calc_factors(END, "ZROUSDT")
    package.add("Never", "def signal(df, n, name):\n    raise ValueError('never')\n")
    with pytest.raises(LegacyFactorError, match=r"of no symbol.*never"):
        await market(made, [("Never", 1)], package).calc_all_factors(END)


async def test_symbols_are_computed_as_they_become_ready(made: BmacDirectory, package: Package) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    waiting = asyncio.create_task(market(made, FACTORS, package).calc_all_factors(now))
    await asyncio.sleep(0.05)
    made.exginfo(SYMBOLS, now)
    for seed, symbol in reversed([*enumerate(SYMBOLS)]):
        await asyncio.sleep(0.02)
        assert not waiting.done()
        made.live(symbol, candles(now, 200, STEP, seed))
    found = await waiting
    assert found.index.tolist() == SYMBOLS
    assert found.loc["ETHUSDT", "close"] == candles(now, 200, STEP, 1)["close"].iloc[-1]


async def test_without_exchange_info(
    made: BmacDirectory, package: Package, caplog: pytest.LogCaptureFixture
) -> None:
    made.exginfo(SYMBOLS[:2], END - STEP)
    with caplog.at_level(logging.WARNING):
        found = await market(made, FACTORS, package).calc_all_factors(END)
    assert found.index.tolist() == SYMBOLS[:2]
    assert "exchange info of an older run_time" in caplog.text and "20261122_203000" in caplog.text
    (made.exginfo_dir / "exginfo.pqt").write_bytes(b"PAR1")
    with pytest.raises(NotReady, match="exginfo"):
        await market(made, FACTORS, package).calc_all_factors(END)


async def test_nobody_ready_is_an_empty_frame_of_the_same_columns(
    made: BmacDirectory, package: Package
) -> None:
    made.exginfo(["XUSDT"], END)
    found = await market(made, [("PctChg", 2), ("Bias", 3)], package).calc_all_factors(END)
    assert found.empty and list(found.columns) == ["candle_begin_time", *COLUMNS, "PctChg_2", "Bias_3"]


# ---- factors of the engine, and both


async def test_engine_factors_and_modules_in_one_call(made: BmacDirectory, package: Package) -> None:
    factors = [
        ("Bias", 20),
        ("PctChg", 5),
        ("bmac:PctChg", 5),
        ("Boll", "20,2"),
        "qlib158:KMID",
        ("Macd", 3, 7, 4),
    ]
    boll = ["Boll_20,2." + value for value in ("upper", "middle", "lower", "width", "position")]
    macd = ["Macd_3_7_4." + value for value in ("dif", "dea", "macd")]
    names = ["Bias_20", "PctChg_5", "bmac:PctChg_5", *boll, "qlib158:KMID", *macd]
    calculator = market(made, factors, package)
    found = await calculator.calc_all_factors(END)
    assert list(found.columns[10:]) == names
    assert np.allclose(found["bmac:PctChg_5"], found["PctChg_5"], rtol=1e-12)
    frame = await calculator.calc_factors(END, "AAAUSDT")
    assert list(frame.columns[10:]) == names
    close = frame["close"]
    pd.testing.assert_series_equal(frame["Bias_20"], close / close.rolling(20).mean() - 1, check_names=False)
    upper = close.rolling(20).mean() + 2 * close.rolling(20).std()
    pd.testing.assert_series_equal(frame["Boll_20,2.upper"], upper, check_names=False)
    assert frame.iloc[-1][names].tolist() == found.loc["AAAUSDT", names].tolist()


def test_whose_factor_a_name_means(made: BmacDirectory, package: Package) -> None:
    package.add("Bias", "def signal(df, n, name):\n    df[name] = 42.0\n    return df")
    assert single(made, [("Bias", 5)], package).factors.legacy_columns == ["Bias_5"]
    preferred = single(made, [("Bias", 5), ("PctChg", 1)], package, prefer="engine").factors
    assert list(preferred.nodes) == ["Bias_5", "PctChg_1"]
    package.add("OnlyMine", PCT_CHG)
    assert single(made, [("OnlyMine", 5)], package, prefer="engine").factors.legacy_columns == ["OnlyMine_5"]
    assert list(single(made, [("bmac:Bias", 5)], package).factors.nodes) == ["bmac:Bias_5"]


def test_what_is_no_factor_is_named(made: BmacDirectory, package: Package) -> None:
    for factors, kind, message in (
        (
            [("PctChgg", 5)],
            FactorError,
            rf"no factor 'PctChgg'; did you mean .*no module PctChgg\.py in .*{package.name}",
        ),
        ([("Boll", "a,b")], FactorError, "expected numbers"),
        ([("Bias", 2.5)], FactorError, "n must be int"),
        ([("PctChg", 5), ("PctChg", 5)], ValueError, "two factors make a column 'PctChg_5'"),
        ([5], ValueError, "found 5"),
        ([()], ValueError, "found"),
    ):
        with pytest.raises(kind, match=message):
            single(made, factors, package)
    with pytest.raises(ValueError, match="prefer"):
        single(made, [], package, prefer="pandas")


async def test_a_factor_that_compares_symbols_needs_the_market(made: BmacDirectory, package: Package) -> None:
    calculator = market(made, ["alpha101:alpha003"], package)
    found = await calculator.calc_all_factors(END)
    assert found["alpha101:alpha003"].notna().all()
    with pytest.raises(FactorError, match="compares symbols"):
        await calculator.calc_factors(END, "BTCUSDT")


async def test_a_gap_is_counted_by_rows_in_modules_and_by_bars_in_the_engine(
    made: BmacDirectory, package: Package
) -> None:
    frame = candles(END, 200, STEP)
    made.live("BTCUSDT", frame.drop(frame.index[190:193]))
    found = await single(made, [("PctChg", 10), ("bmac:PctChg", 10)], package).calc_factors(END)
    close = frame["close"]
    assert found["PctChg_10"].iloc[-1] == close.iloc[-1] / close.iloc[-14] - 1
    assert found["bmac:PctChg_10"].iloc[-1] == pytest.approx(close.iloc[-1] / close.iloc[-11] - 1)


async def test_factors_that_read_what_candles_do_not_have(made: BmacDirectory, package: Package) -> None:
    with pytest.raises(FactorError, match="reads 'funding_rate'"):
        await single(made, ["crypto:FundingMean"], package).calc_factors(END)


# ---- of a store


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[FakeCollector]:
    with FakeCollector.start(tmp_path) as writer:
        yield writer


@pytest.fixture
def store(collector: FakeCollector, tmp_path: Path) -> Iterator[Store]:
    with bmac_stream.attach("rule", directory=tmp_path) as attached:
        yield attached


AGES = 10**9
"""A deadline for run_times of 2025, which the store below has."""
NAMES = ["AAAUSDT", "BBBUSDT", "CCCUSDT"]
MIXED: list[Any] = [("PctChg", 7), ("bmac:PctChg", 7), ("TrdNumMeanV1", 80), ("Bias", 20)]


def close_of(slot: int, last: int, n: int) -> Any:
    return pd.Series(bar(slot, np.arange(last - n + 1, last + 1))[:, 3])


async def test_a_store_gives_the_same_frames(store: Store, package: Package) -> None:
    calculator = BmacAllMarketCalculator(store, store, MIXED, package.name)
    found = await calculator.calc_all_factors(run_time(LAST))
    assert found.index.tolist() == NAMES and found.index.name is None
    names = ["PctChg_7", "bmac:PctChg_7", "TrdNumMeanV1_80", "Bias_20"]
    assert list(found.columns) == ["candle_begin_time", *COLUMNS, *names]
    assert str(found["candle_begin_time"].dtype) == "datetime64[ns, UTC]"
    for slot, name in enumerate(NAMES):
        frame = await calculator.calc_factors(run_time(LAST), name)
        bars = store.to_pandas(name).rename_axis(None)
        pd.testing.assert_frame_equal(frame[bars.columns], bars)
        np.testing.assert_allclose(
            frame.iloc[-1][names].tolist(), found.loc[name, names].tolist(), rtol=1e-12
        )
        assert found.loc[name].tolist()[:10] == frame.iloc[-1].tolist()[:10]
        close = close_of(slot, LAST, 50)
        np.testing.assert_allclose(frame["PctChg_7"], close.pct_change(7), atol=1e-12)
        np.testing.assert_allclose(frame["bmac:PctChg_7"], close.pct_change(7), atol=1e-12)
        np.testing.assert_allclose(frame["Bias_20"], close / close.rolling(20).mean() - 1, atol=1e-12)


async def test_a_store_is_followed_bar_by_bar(
    store: Store, collector: FakeCollector, package: Package
) -> None:
    calculator = BmacAllMarketCalculator(store, store, MIXED, package.name, bmac_expire_sec=AGES)
    for _ in range(5):
        waiting = asyncio.create_task(calculator.calc_all_factors(run_time(collector.next_g)))
        alone = asyncio.create_task(calculator.calc_factors(run_time(collector.next_g), "BBBUSDT"))
        await asyncio.sleep(0.02)
        assert not waiting.done() and not alone.done()
        g = collector.close_bar()
        found = await waiting
        assert found["close"].tolist() == [bar(slot, g)[3] for slot in range(3)]
        expected = [close_of(slot, g, 8).pct_change(7).iloc[-1] for slot in range(3)]
        np.testing.assert_allclose(found["bmac:PctChg_7"], expected, atol=1e-12)
        np.testing.assert_allclose(found["PctChg_7"], expected, atol=1e-12)
        assert (await alone)["close"].iloc[-1] == bar(1, g)[3]


async def test_a_late_reader_of_a_store(store: Store, collector: FakeCollector, package: Package) -> None:
    """The engine is past that run_time: its factors are computed over the stored bars, and are the same."""
    calculator = BmacAllMarketCalculator(store, store, MIXED, package.name)
    at_first = await calculator.calc_all_factors(run_time(LAST))
    for _ in range(4):
        collector.close_bar()
    later = await calculator.calc_all_factors(run_time(LAST + 4))
    assert later["close"].tolist() != at_first["close"].tolist()
    again = await calculator.calc_all_factors(run_time(LAST))
    pd.testing.assert_frame_equal(again, at_first, rtol=0, atol=1e-14)  # one bar moves them by 4e-13
    single_frame = await calculator.calc_factors(run_time(LAST), "AAAUSDT")
    assert single_frame["close"].iloc[-1] == bar(0, LAST)[3]


async def test_pending_and_absent_bars_are_left_out_and_named(
    store: Store, collector: FakeCollector, package: Package, caplog: pytest.LogCaptureFixture
) -> None:
    g = collector.close_bar(pending=("AAAUSDT",), absent=("CCCUSDT",))
    calculator = BmacAllMarketCalculator(store, store, MIXED, package.name)
    with caplog.at_level(logging.WARNING):
        found = await calculator.calc_all_factors(run_time(g))
    assert found.index.tolist() == ["BBBUSDT"]
    assert calculator.left_out == {"AAAUSDT": "not here in time", "CCCUSDT": "the exchange has no such bar"}
    assert "AAAUSDT: not here in time; CCCUSDT: the exchange has no such bar" in caplog.text
    with pytest.raises(NotReady, match="CCCUSDT: the exchange has no bar"):
        await calculator.calc_factors(run_time(g), "CCCUSDT")
    calculator.bmac_expire_sec = AGES
    waiting = asyncio.create_task(calculator.calc_factors(run_time(g), "AAAUSDT"))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    collector.correct(collector.symbols["AAAUSDT"], g, bar(0, g), Status.BAR)
    assert (await waiting)["close"].iloc[-1] == bar(0, g)[3]


async def test_a_bar_that_comes_while_the_frame_is_made(
    store: Store, collector: FakeCollector, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    calculator = BmacAllMarketCalculator(store, store, MIXED, package.name, bmac_expire_sec=AGES)
    g = collector.close_bar(pending=("BBBUSDT",))
    look = SharedCandles.bar

    def late(shared: SharedCandles, number: int) -> Any:
        monkeypatch.setattr(SharedCandles, "bar", look)
        collector.correct(1, g, bar(1, g), Status.BAR)  # the engine has looked already
        return look(shared, number)

    monkeypatch.setattr(SharedCandles, "bar", late)
    found = await calculator.calc_all_factors(run_time(g))
    assert found.index.tolist() == NAMES
    np.testing.assert_allclose(found["bmac:PctChg_7"], found["PctChg_7"], atol=1e-14)


def revised(collector: FakeCollector, symbol: str, g: int, factor: float = 2.0) -> None:
    slot = collector.symbols[symbol]
    collector.correct(slot, g, bar(slot, g) * factor, Status.BAR)


def during_pandas(monkeypatch: pytest.MonkeyPatch, act: Any, times: int = 1) -> None:
    """Run `act` after the first symbol's candles were read for pandas factors, in each of the next loops."""
    original = StoreMarket._of_pandas
    look, left = SharedCandles.candles, [times]

    async def loop(self: StoreMarket, *args: Any) -> None:
        due = [left[0] > 0]
        left[0] -= 1

        def candles(shared: SharedCandles, symbol: str, end_g: int) -> Any:
            found = look(shared, symbol, end_g)
            if due[0]:
                due[0] = False
                act(symbol)
            return found

        monkeypatch.setattr(SharedCandles, "candles", candles)
        await original(self, *args)
        monkeypatch.setattr(SharedCandles, "candles", look)

    monkeypatch.setattr(StoreMarket, "_of_pandas", loop)


@pytest.mark.parametrize("back", [0, 7])
async def test_a_revision_while_pandas_factors_are_made(
    store: Store, collector: FakeCollector, package: Package, monkeypatch: pytest.MonkeyPatch, back: int
) -> None:
    """A row's candle, its pandas factors and the engine's are of one state of the store, all the same."""
    calculator = BmacAllMarketCalculator(store, store, MIXED, package.name, bmac_expire_sec=AGES)
    g = collector.close_bar()
    read: list[str] = []

    def act(symbol: str) -> None:
        read.append(symbol)
        for name in NAMES:
            revised(collector, name, g - back)  # of one symbol that was read already, of two that were not
        collector.close_bar()
        revised(collector, "CCCUSDT", g + 1)  # of a later bar: it is not this run_time's

    during_pandas(monkeypatch, act)
    found = await calculator.calc_all_factors(run_time(g))
    assert read == NAMES[:1]
    monkeypatch.undo()
    expected = await BmacAllMarketCalculator(store, store, MIXED, package.name).calc_all_factors(run_time(g))
    pd.testing.assert_frame_equal(found, expected, rtol=1e-12)
    assert found["close"].tolist() == [bar(slot, g)[3] * (1 if back else 2) for slot in range(3)]
    np.testing.assert_allclose(found["bmac:PctChg_7"], found["PctChg_7"], atol=1e-12)


async def test_only_what_was_revised_is_computed_again(
    store: Store, collector: FakeCollector, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    calculator = BmacAllMarketCalculator(store, store, MIXED, package.name, bmac_expire_sec=AGES)
    g = collector.close_bar(pending=("CCCUSDT",))
    asked: list[list[str]] = []
    during_pandas(monkeypatch, lambda _: collector.correct(2, g, bar(2, g), Status.BAR))
    loop = StoreMarket._of_pandas

    async def noted(self: StoreMarket, names: list[str], *args: Any) -> None:
        asked.append(names)
        await loop(self, names, *args)

    monkeypatch.setattr(StoreMarket, "_of_pandas", noted)
    found = await calculator.calc_all_factors(run_time(g))
    assert asked == [["AAAUSDT", "BBBUSDT"], ["CCCUSDT"]]
    assert found.index.tolist() == NAMES and not calculator.left_out


async def test_a_store_that_is_revised_without_end_is_an_error(
    store: Store, collector: FakeCollector, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    calculator = BmacAllMarketCalculator(store, store, MIXED, package.name, bmac_expire_sec=AGES)
    g = collector.close_bar()
    during_pandas(monkeypatch, lambda symbol: revised(collector, symbol, g), times=10**9)
    with pytest.raises(Lagging, match=r"'rule'.*corrected in each of 100 looks"):
        await calculator.calc_all_factors(run_time(g))


async def test_more_revisions_than_the_journal_holds(
    store: Store, collector: FakeCollector, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    calculator = BmacAllMarketCalculator(store, store, MIXED, package.name, bmac_expire_sec=AGES)
    g = collector.close_bar()

    def act(symbol: str) -> None:
        revised(collector, symbol, g)
        for _ in range(4100):
            revised(collector, "CCCUSDT", g - 40)

    during_pandas(monkeypatch, act)
    found = await calculator.calc_all_factors(run_time(g))
    np.testing.assert_allclose(found["bmac:PctChg_7"], found["PctChg_7"], atol=1e-12)
    assert found["close"].iloc[0] == 2 * bar(0, g)[3]


async def test_a_new_file_while_pandas_factors_are_made(
    store: Store, collector: FakeCollector, tmp_path: Path, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    calculator = BmacAllMarketCalculator(store, store, MIXED, package.name, bmac_expire_sec=AGES)

    def act(_: str) -> None:
        collector.close()
        with FakeCollector.start(tmp_path, window=45):
            store.reattach(timeout_s=0.0)

    during_pandas(monkeypatch, act)
    with pytest.raises(Lagging, match="'rule': a new file took its place"):
        await calculator.calc_all_factors(run_time(LAST))


async def test_a_store_that_does_not_get_there(store: Store, package: Package) -> None:
    calculator = BmacAllMarketCalculator(store, store, MIXED, package.name)
    with pytest.raises(
        NotReady, match=r"store 'rule': no bar that ends at .* the newest run_time of store 'rule'"
    ):
        await calculator.calc_all_factors(run_time(LAST + 1))
    with pytest.raises(NotReady, match=r"BBBUSDT: no bar that ends at"):
        await calculator.calc_factors(run_time(LAST + 1), "BBBUSDT")
    with pytest.raises(NotReady, match=r"XUSDT.*no such symbol"):
        await calculator.calc_factors(run_time(LAST), "XUSDT")
    with pytest.raises(ValueError, match="bars of 1m: none ends at"):
        await calculator.calc_all_factors(run_time(LAST) + 1)


async def test_a_collector_that_comes_back_is_waited_for(tmp_path: Path, package: Package) -> None:
    first = FakeCollector.start(tmp_path)
    store = bmac_stream.attach("rule", directory=tmp_path)
    exginfo = CandleFileReader(f"shm:{tmp_path}/rule")  # attached by itself, as by a strategy's two readers
    calculator = BmacAllMarketCalculator(exginfo, store, MIXED, package.name, bmac_expire_sec=AGES)
    waiting = asyncio.create_task(calculator.calc_all_factors(run_time(LAST + 1)))
    await asyncio.sleep(0.05)
    first.close()
    await asyncio.sleep(0.6)
    assert not waiting.done()
    with FakeCollector.start(tmp_path) as second:
        g = second.close_bar()
        assert (await asyncio.wait_for(waiting, 20))["close"].tolist() == [bar(i, g)[3] for i in range(3)]
    # another file under the same name: more symbols, another window
    waiting = asyncio.create_task(calculator.calc_all_factors(run_time(LAST + 2)))
    await asyncio.sleep(0.05)
    names = tuple(f"S{i:02d}USDT" for i in range(20))
    with FakeCollector.start(tmp_path, names, window=40, history=61, max_symbols=32) as third:
        g = third.close_bar()
        assert g == LAST + 2
        found = await asyncio.wait_for(waiting, 20)
        assert found.index.tolist() == list(names)
        expected = [close_of(i, g, 8).pct_change(7).iloc[-1] for i in range(20)]
        np.testing.assert_allclose(found["bmac:PctChg_7"], expected, atol=1e-14)
    store.close()


async def test_a_new_file_that_is_still_filled_is_waited_for(tmp_path: Path, package: Package) -> None:
    first = FakeCollector.start(tmp_path)
    with bmac_stream.attach("rule", directory=tmp_path) as store:
        calculator = BmacAllMarketCalculator(store, store, MIXED, package.name, bmac_expire_sec=AGES)
        await calculator.calc_all_factors(run_time(LAST))
        first.close()
        with StoreWriter.open("rule", make_spec(window=40), directory=tmp_path) as loading:
            # the old file has this bar, the new one has no symbol yet
            waiting = asyncio.create_task(calculator.calc_all_factors(run_time(LAST)))
            await asyncio.sleep(0.3)
            assert not waiting.done()
            numbers = np.arange(LAST - 39, LAST + 1)
            for i, name in enumerate(NAMES):
                slot = loading.add_symbol(name, LAST - 39)
                loading.load(slot, LAST - 39, bar(i, numbers), np.full(40, Status.BAR, np.uint8))
                loading.activate(slot)
            loading.complete(LAST)
            found = await asyncio.wait_for(waiting, 20)
            assert found.index.tolist() == NAMES and not calculator.left_out
            assert found["close"].tolist() == [bar(i, LAST)[3] for i in range(3)]


async def test_a_listed_symbol_joins_and_the_order_is_the_stores(
    store: Store, collector: FakeCollector, package: Package
) -> None:
    calculator = BmacAllMarketCalculator(store, store, MIXED, package.name)
    collector.list("NEWUSDT", LAST - 3, 4)
    g = collector.close_bar()
    found = await calculator.calc_all_factors(run_time(g))
    assert found.index.tolist() == [*NAMES, "NEWUSDT"]
    assert np.isnan(found.loc["NEWUSDT", "PctChg_7"]) and np.isnan(found.loc["NEWUSDT", "bmac:PctChg_7"])
    assert found.loc["NEWUSDT", "TrdNumMeanV1_80"] == pytest.approx(
        ((bar(3, np.arange(LAST - 3, g + 1))[:, 1] / bar(3, np.arange(LAST - 3, g + 1))[:, 2] - 1)
         / bar(3, np.arange(LAST - 3, g + 1))[:, 6]).mean()
    )  # fmt: skip


async def test_exchange_info_of_a_directory_and_candles_of_a_store(
    tmp_path: Path, store: Store, package: Package
) -> None:
    made = BmacDirectory(tmp_path / "bmac", interval="1m")
    made.exginfo(["CCCUSDT", "NONEUSDT", "AAAUSDT"], datetime.fromtimestamp(run_time(LAST) / 1e3, UTC))
    calculator = BmacAllMarketCalculator(CandleFileReader(made.exginfo_dir), store, MIXED, package.name)
    found = await calculator.calc_all_factors(run_time(LAST))
    assert found.index.tolist() == ["CCCUSDT", "AAAUSDT"]
    assert calculator.left_out == {"NONEUSDT": "not among the store's symbols"}


async def test_a_module_that_raises_for_one_symbol_of_a_store(store: Store, package: Package) -> None:
    package.add(
        "Picky",
        "def signal(df, n, name):\n"
        "    if 2000 <= df['close'].iloc[0] < 3000:\n        raise ValueError('no')\n"
        "    df[name] = 1.0 * n\n    return df",
    )
    calculator = BmacAllMarketCalculator(store, store, [("Picky", 2), ("Bias", 3)], package.name)
    found = await calculator.calc_all_factors(run_time(LAST))
    assert found.index.tolist() == ["AAAUSDT", "CCCUSDT"] and found["Picky_2"].tolist() == [2.0, 2.0]
    assert "Picky.py, line 3: no" in calculator.left_out["BBBUSDT"]
    package.add("Never", "def signal(df, n, name):\n    raise ValueError('never')\n")
    with pytest.raises(LegacyFactorError, match=r"of no symbol.*never"):
        await BmacAllMarketCalculator(store, store, [("Never", 1)], package.name).calc_all_factors(
            run_time(LAST)
        )


def test_factors_a_store_cannot_have_are_refused_at_once(store: Store, package: Package) -> None:
    with pytest.raises(FactorError, match=r"needs 101 bars"):
        BmacAllMarketCalculator(store, store, [("bmac:PctChg", 100)], package.name)
    with pytest.raises(FactorError, match="funding_rate"):
        BmacAllMarketCalculator(store, store, ["crypto:FundingMean"], package.name)
