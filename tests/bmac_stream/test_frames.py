"""bmac_stream.frames: BMAC's columns, tz-aware times, the store's very numbers."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import bmac_stream
from bmac_stream.bar import COLUMNS
from bmac_stream.client import Store
from bmac_stream.errors import Lagging, SymbolNotFound
from shm import StoreReader
from tests.bmac_stream.fake_collector import G0, MINUTE, FakeCollector, bar

LAST = G0 + 59
WINDOW = 50


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[FakeCollector]:
    with FakeCollector.start(tmp_path) as collector:
        yield collector


@pytest.fixture
def store(writer: FakeCollector, tmp_path: Path) -> Iterator[Store]:
    with bmac_stream.attach("rule", directory=tmp_path) as attached:
        yield attached


def expected(slot: int, last: int, n: int) -> np.ndarray:
    return bar(slot, np.arange(last - n + 1, last + 1))


def test_pandas_frame_of_one_symbol_is_bmacs(store: Store) -> None:
    frame = store.to_pandas("BBBUSDT")
    assert list(frame.columns) == ["candle_begin_time", *COLUMNS]
    assert str(frame["candle_begin_time"].dtype) == "datetime64[ns, UTC]"
    assert str(frame.index.dtype) == "datetime64[ns, UTC]" and frame.index.name == "candle_end_time"
    assert all(frame[name].dtype == np.float64 for name in COLUMNS)
    np.testing.assert_array_equal(frame[list(COLUMNS)].to_numpy(), expected(1, LAST, WINDOW))
    assert frame["candle_begin_time"].iloc[-1] == pd.Timestamp(LAST * MINUTE, unit="ms", tz="UTC")
    assert (frame.index - frame["candle_begin_time"] == pd.Timedelta("1min")).all()
    assert len(store.to_pandas("BBBUSDT", n=7)) == 7


def test_frames_are_copies(store: Store, writer: FakeCollector) -> None:
    frame, table = store.to_pandas("AAAUSDT"), store.to_arrow("AAAUSDT")
    before = frame["close"].to_numpy().copy()
    for _ in range(3 * store.cap):
        writer.close_bar()
    np.testing.assert_array_equal(frame["close"].to_numpy(), before)
    np.testing.assert_array_equal(table.column("close").to_numpy(), before)
    frame.loc[frame.index[0], "close"] = 1.0  # writable, and nobody else's


def test_market_frame_is_long_and_sorted_by_symbol(store: Store, writer: FakeCollector) -> None:
    writer.list("AAUSDT", LAST - 4, 5)  # young, and first by name
    frame = store.to_pandas()
    assert list(frame.columns) == ["symbol", "candle_begin_time", *COLUMNS]
    sizes = frame.groupby("symbol", observed=True, sort=False).size()
    assert list(sizes.items()) == [("AAAUSDT", 50), ("AAUSDT", 5), ("BBBUSDT", 50), ("CCCUSDT", 50)]
    part = frame[frame["symbol"] == "CCCUSDT"]
    np.testing.assert_array_equal(part[list(COLUMNS)].to_numpy(), expected(2, LAST, WINDOW))


def test_market_frame_ends_at_one_run_time(store: Store, writer: FakeCollector) -> None:
    writer.append(0, LAST + 1, bar(0, LAST + 1))
    frame = store.to_pandas(n=3)
    assert frame.index.max() == pd.Timestamp(store.run_time, unit="ms", tz="UTC")
    assert frame.groupby("symbol", observed=True).size().tolist() == [3, 3, 3]
    np.testing.assert_array_equal(frame["close"].to_numpy()[:3], expected(0, LAST, 3)[:, 3])
    assert store.to_pandas("AAAUSDT", n=1)["close"].iloc[0] == bar(0, LAST + 1)[3]


def test_market_frame_is_no_shorter_for_symbols_that_are_ahead(store: Store, writer: FakeCollector) -> None:
    for k in (1, 2, 3):
        writer.append(0, LAST + k, bar(0, LAST + k))
    for n, rows in ((None, WINDOW), (WINDOW, WINDOW), (7, 7), (1, 1)):
        frame = store.to_pandas(n=n)
        for slot, symbol in enumerate(("AAAUSDT", "BBBUSDT", "CCCUSDT")):
            part = frame[frame["symbol"] == symbol]
            np.testing.assert_array_equal(part[list(COLUMNS)].to_numpy(), expected(slot, LAST, rows))


def overtaken(monkeypatch: pytest.MonkeyPatch, writer: FakeCollector, n_bars: int, times: int) -> None:
    """The next `times` reads of a symbol lose the processor for `n_bars` bars before they begin."""
    read_at, left = StoreReader.read_at, [times]

    def late(self: StoreReader, *args: Any, **more: Any) -> Any:
        if left[0]:
            left[0] -= 1
            for _ in range(n_bars):
                writer.close_bar()
        return read_at(self, *args, **more)

    monkeypatch.setattr(StoreReader, "read_at", late)


@pytest.mark.parametrize(("n_bars", "times"), [(1, 1), (3, 1), (5, 3)])
def test_market_frame_is_no_shorter_when_bars_close_meanwhile(
    store: Store, writer: FakeCollector, monkeypatch: pytest.MonkeyPatch, n_bars: int, times: int
) -> None:
    overtaken(monkeypatch, writer, n_bars, times)
    frame = store.to_pandas(n=10)
    assert frame.groupby("symbol", observed=True).size().tolist() == [10, 10, 10]
    for slot, symbol in enumerate(("AAAUSDT", "BBBUSDT", "CCCUSDT")):
        part = frame[frame["symbol"] == symbol]
        np.testing.assert_array_equal(part[list(COLUMNS)].to_numpy(), expected(slot, LAST, 10))


def test_market_frame_begins_again_when_the_ring_went_on(
    store: Store, writer: FakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More bars than `slack` closed meanwhile: the run_time that it began with is no longer held whole."""
    overtaken(monkeypatch, writer, store.cap - 5, 1)
    frame = store.to_pandas(n=10)
    for slot, symbol in enumerate(("AAAUSDT", "BBBUSDT", "CCCUSDT")):
        part = frame[frame["symbol"] == symbol]
        np.testing.assert_array_equal(
            part[list(COLUMNS)].to_numpy(), expected(slot, LAST + store.cap - 5, 10)
        )


@pytest.mark.parametrize("n_bars", [3, 90])
def test_a_market_that_is_never_held_whole_is_lagging(
    store: Store, writer: FakeCollector, monkeypatch: pytest.MonkeyPatch, n_bars: int
) -> None:
    overtaken(monkeypatch, writer, n_bars, -1)
    with pytest.raises(Lagging, match="rule"):
        store.to_pandas(n=10)


def test_market_frame_before_the_first_run_time_ends_at_one_too(tmp_path: Path) -> None:
    with FakeCollector.start(tmp_path, (), history=0) as writer:
        writer.list("AAAUSDT", G0, 5)
        writer.list("BBBUSDT", G0, 7)
        with bmac_stream.attach("rule", directory=tmp_path) as store:
            frame = store.to_pandas(n=3)
    for slot, symbol in enumerate(("AAAUSDT", "BBBUSDT")):
        part = frame[frame["symbol"] == symbol]
        np.testing.assert_array_equal(part[list(COLUMNS)].to_numpy(), expected(slot, G0 + 4, 3))


def test_a_symbol_delisted_while_the_market_is_copied_is_left_out(
    store: Store, writer: FakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = Store.__getitem__

    def late(self: Store, symbol: str) -> object:
        if symbol == "BBBUSDT":
            writer.remove_symbol(1)
        return take(self, symbol)

    monkeypatch.setattr(Store, "__getitem__", late)
    assert list(store.to_pandas(n=2)["symbol"].cat.categories) == ["AAAUSDT", "CCCUSDT"]


def test_holes_are_rows_of_nan(store: Store, writer: FakeCollector) -> None:
    writer.close_bar(pending=("AAAUSDT",))
    writer.close_bar(absent=("AAAUSDT",))
    writer.close_bar()
    for closes in (
        store.to_pandas("AAAUSDT", 4)["close"].to_numpy(),
        store.to_polars("AAAUSDT", 4)["close"].to_numpy(),
        store.to_arrow("AAAUSDT", 4).column("close").to_numpy(),
    ):
        assert np.isnan(closes).tolist() == [False, True, True, False]
    assert store.to_arrow("AAAUSDT").column("close").null_count == 0


def test_arrow_table(store: Store) -> None:
    table = store.to_arrow("CCCUSDT", n=5)
    utc = pa.timestamp("ms", "UTC")
    assert table.schema.names == ["candle_begin_time", "candle_end_time", *COLUMNS]
    assert table.schema.field("candle_begin_time").type == utc == table.schema.field("candle_end_time").type
    times = table.column("candle_begin_time").cast(pa.int64()).to_pylist()
    assert times == [(LAST - 4 + i) * MINUTE for i in range(5)]
    for i, name in enumerate(COLUMNS):
        np.testing.assert_array_equal(table.column(name).to_numpy(), expected(2, LAST, 5)[:, i])
    market = store.to_arrow(n=2)
    assert market.column("symbol").to_pylist() == ["AAAUSDT"] * 2 + ["BBBUSDT"] * 2 + ["CCCUSDT"] * 2


def test_polars_frame(store: Store) -> None:
    frame = store.to_polars("AAAUSDT")
    assert frame.columns == ["candle_begin_time", "candle_end_time", *COLUMNS]
    assert frame.schema["candle_end_time"] == pl.Datetime("ms", "UTC")
    np.testing.assert_array_equal(frame.select(COLUMNS).to_numpy(), expected(0, LAST, WINDOW))
    assert store.to_polars(n=2).filter(pl.col("symbol") == "BBBUSDT").height == 2


def test_an_empty_store(tmp_path: Path) -> None:
    with (
        FakeCollector.start(tmp_path, (), name="empty", history=0),
        bmac_stream.attach("empty", directory=tmp_path) as store,
    ):
        assert store.to_pandas().shape == (0, 11) and store.to_arrow().num_rows == 0
        assert store.to_polars().height == 0


def test_unknown_symbol_and_n(store: Store) -> None:
    with pytest.raises(SymbolNotFound):
        store.to_pandas("XXX")
    with pytest.raises(ValueError, match="found 51"):
        store.to_pandas("AAAUSDT", 51)
    with pytest.raises(ValueError, match="found 0"):
        store.to_arrow(n=0)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_missing_library_names_its_extra(
    store: Store, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(
        ImportError, match=rf"to_{library} needs {library}: pip install 'bmac-stream\[frames\]'"
    ):
        getattr(store, f"to_{library}")("AAAUSDT")
