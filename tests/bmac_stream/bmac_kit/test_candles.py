"""bmac_kit.candles: BMAC's files as frames, and everything that is none of them by name."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bmac_stream.bmac_kit.candles import Times, read_candles, read_table
from bmac_stream.errors import CandleFileDamaged, CandleFileError, CandleFileForeign
from tests.bmac_stream.bmac_kit.bmac_writer import COLUMNS, BmacDirectory, candles

END = datetime(2026, 11, 22, 12, 35, tzinfo=UTC)
STEP = timedelta(minutes=5)


@pytest.fixture
def frame() -> pd.DataFrame:
    return candles(END, 40, STEP)


def written(tmp_path: Path, frame: pd.DataFrame, save_type: str = "parquet") -> Path:
    made = BmacDirectory(tmp_path, save_type=save_type)
    made.write("BTCUSDT", frame, ready=False)
    return made.path("BTCUSDT")


@pytest.mark.parametrize("index_name", ["candle_end_time", None])
@pytest.mark.parametrize("save_type", ["parquet", "feather"])
def test_a_file_is_bmacs_frame(
    tmp_path: Path, frame: pd.DataFrame, save_type: str, index_name: str | None
) -> None:
    path = written(tmp_path, frame.rename_axis(index_name), save_type)
    found = read_candles(path).frame()
    pd.testing.assert_frame_equal(found, frame.rename_axis(None), check_freq=False)
    assert list(found.columns) == ["candle_begin_time", *COLUMNS]
    assert found.index.name is None and str(found.index.dtype) == "datetime64[ns, UTC]"
    assert str(found["candle_begin_time"].dtype) == "datetime64[ns, UTC]"
    assert set(found.dtypes[1:]) == {np.dtype("float64")}


def test_what_a_file_has_beside_bmacs_columns_is_kept(tmp_path: Path, frame: pd.DataFrame) -> None:
    frame = frame.assign(fundingRate=np.arange(40.0), note="x")
    found = read_candles(written(tmp_path, frame)).until(int(END.timestamp() * 1000) - 300_000).frame()
    assert found["fundingRate"].tolist() == list(range(39)) and set(found["note"]) == {"x"}
    assert found.index[-1] == END - STEP


def test_a_frame_is_cut_at_run_time(tmp_path: Path, frame: pd.DataFrame) -> None:
    whole = read_candles(written(tmp_path, frame))
    ms = int(END.timestamp() * 1000)
    assert whole.run_time_ms == ms and whole.until(ms) is whole and len(whole.until(ms + 10**9)) == 40
    cut = whole.until(ms - 1)
    assert len(cut) == 39 and cut.frame().index[-1] == END - STEP
    assert len(whole.until(0)) == 0 and whole.until(0).run_time_ms == 0


def test_shared_times_make_the_same_frame(tmp_path: Path, frame: pd.DataFrame) -> None:
    whole = read_candles(written(tmp_path, frame))
    times = Times(whole.begin_ms, whole.interval_ms)
    pd.testing.assert_frame_equal(whole.frame(times), whole.frame())
    assert whole.frame(times).index is whole.frame(times).index


def test_a_gap_is_no_row(tmp_path: Path, frame: pd.DataFrame) -> None:
    found = read_candles(written(tmp_path, frame.drop(frame.index[10:13])))
    assert len(found) == 37 and found.interval_ms == 300_000


def test_a_feather_file_of_one_row_needs_to_know_its_interval(tmp_path: Path, frame: pd.DataFrame) -> None:
    path = written(tmp_path, frame.tail(1), "feather")
    with pytest.raises(CandleFileForeign, match="interval is not known"):
        read_candles(path)
    assert read_candles(path, 300_000).run_time_ms == int(END.timestamp() * 1000)


@pytest.mark.parametrize("save_type", ["parquet", "feather"])
def test_every_cut_of_a_file_is_damaged(tmp_path: Path, frame: pd.DataFrame, save_type: str) -> None:
    path = written(tmp_path, frame, save_type)
    whole = path.read_bytes()
    for n in {0, 1, 4, 8, 100, len(whole) // 2, len(whole) - 1, *range(0, len(whole), 397)}:
        path.write_bytes(whole[:n])
        with pytest.raises(CandleFileDamaged, match=path.name):
            read_candles(path)
    path.write_bytes(b"<html>not found</html>" * 50)
    with pytest.raises(CandleFileDamaged, match="not a whole"):
        read_candles(path)


@pytest.mark.parametrize("save_type", ["parquet", "feather"])
def test_flipped_bytes_are_candles_or_an_error_by_name(
    tmp_path: Path, frame: pd.DataFrame, save_type: str
) -> None:
    path = written(tmp_path, frame, save_type)
    whole = bytearray(path.read_bytes())
    random = np.random.default_rng(3)
    outcomes = set()
    for at in random.integers(0, len(whole), 300):
        flipped = bytearray(whole)
        flipped[at] ^= int(random.integers(1, 256))
        path.write_bytes(flipped)
        try:
            assert read_candles(path).values.shape[0] == 9
            outcomes.add("read")
        except CandleFileError as error:
            assert str(path) in str(error)
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_a_parquet_file_named_feather_is_damaged(tmp_path: Path, frame: pd.DataFrame) -> None:
    path = written(tmp_path, frame)
    other = path.rename(path.with_suffix(".fea"))
    with pytest.raises(CandleFileDamaged, match="feather"):
        read_table(other)


def test_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CandleFileError, match=r"none\.pqt: No such file"):
        read_candles(tmp_path / "none.pqt")


def _zone(frame: pd.DataFrame, name: str, zone: str | None) -> pd.DataFrame:
    return frame.assign(**{name: frame[name].dt.tz_convert(zone)})


FOREIGN: dict[str, tuple[Any, str]] = {
    "no close": (lambda f: f.drop(columns="close"), "expected the columns .*close.*, found .*open"),
    "another table": (lambda f: pd.DataFrame({"symbol": ["BTCUSDT"]}), "found symbol"),
    "text": (lambda f: f.assign(close=f["close"].astype(str)), "close: expected float64, found .*string"),
    "int": (
        lambda f: f.assign(trade_num=f["trade_num"].astype(int)),
        "trade_num: expected float64, found int64",
    ),
    "float32": (lambda f: f.astype({"volume": "float32"}), "volume: expected float64, found float32"),
    "hong kong": (
        lambda f: _zone(f, "candle_begin_time", "Asia/Hong_Kong"),
        r"candle_begin_time: expected datetime64\[ns, UTC\], found datetime64\[ns, Asia/Hong_Kong\]",
    ),
    "no zone": (lambda f: _zone(f, "candle_begin_time", None), "found .*without a zone"),
    "ms": (
        lambda f: f.assign(candle_begin_time=f["candle_begin_time"].astype("int64")),
        "candle_begin_time: expected datetime64.*found int64",
    ),
    "index without zone": (lambda f: f.tz_convert(None), "candle_end_time: expected .*without a zone"),
    "out of order": (lambda f: f.iloc[::-1], "ascending"),
    "twice": (lambda f: pd.concat([f, f.tail(1)]), "ascending"),
    "ends elsewhere": (lambda f: f.set_index(f.index + timedelta(minutes=1)), "found"),
    "no time": (
        lambda f: f.assign(candle_begin_time=f["candle_begin_time"].where(f["close"] > f["close"].min())),
        "a time in every row",
    ),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_foreign_file_is_named_with_expected_and_found(
    tmp_path: Path, frame: pd.DataFrame, what: str
) -> None:
    change, message = FOREIGN[what]
    path = tmp_path / "BTCUSDT.pqt"
    change(frame).to_parquet(path)
    with pytest.raises(CandleFileForeign, match=message) as error:
        read_candles(path, 300_000)
    assert str(path) in str(error.value)


def test_times_of_any_unit_are_read(tmp_path: Path, frame: pd.DataFrame) -> None:
    path = tmp_path / "BTCUSDT.pqt"
    table = pa.Table.from_pandas(frame)
    names = ("candle_begin_time", "candle_end_time")
    for unit in ("ms", "us"):
        for name in names:
            column = table[name].cast(pa.timestamp(unit, "UTC"))
            table = table.set_column(table.column_names.index(name), name, column)
        pq.write_table(table.replace_schema_metadata(None), path)  # and without pandas' own notes
        pd.testing.assert_frame_equal(read_candles(path).frame(), frame.rename_axis(None), check_freq=False)
