"""bmac_stream.bmac_layout: pandas reads BMAC's very frames out of our bytes."""

import io
import json
import os
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from bmac_stream.bar import COLUMNS
from bmac_stream.bmac_layout import (
    CandleFrame,
    Foreign,
    Mark,
    exginfo_columns,
    exginfo_table,
    funding_table,
    is_file_name,
    mark_of,
    parse_ready,
    ready_name,
    to_bytes,
)
from bmac_stream.tables import COLUMNS as INFO_COLUMNS

MARK = Mark("embedded:rule", "usdt_perp", "1m", "BTCUSDT")
MINUTE = 60_000
T0 = 1_720_000_020_000 // MINUTE * MINUTE
ZONE = "Asia/Hong_Kong"


def values(n: int) -> np.ndarray:
    return np.arange(9.0 * n).reshape(9, n) + 0.25


def bmac_frame(begin_ms: np.ndarray, rows: np.ndarray) -> pd.DataFrame:
    """The frame of BMAC's files, said a second time: facts, section 2."""
    begin = pd.to_datetime(begin_ms, unit="ms", utc=True).astype("datetime64[ns, UTC]")
    frame = pd.DataFrame({"candle_begin_time": begin} | dict(zip(COLUMNS, rows, strict=True)))
    frame.index = pd.DatetimeIndex(begin + pd.Timedelta(minutes=1), name="candle_end_time")
    return frame


def test_candles_as_parquet_are_bmacs_frame() -> None:
    rows = values(5)
    data = CandleFrame("parquet", MINUTE).encode(MARK, T0, rows, None)
    found = pd.read_parquet(io.BytesIO(data))
    pd.testing.assert_frame_equal(found, bmac_frame(T0 + MINUTE * np.arange(5), rows), check_freq=False)
    assert list(found.columns) == ["candle_begin_time", *COLUMNS]
    assert str(found.index.dtype) == "datetime64[ns, UTC]"
    footer = pq.read_metadata(io.BytesIO(data))
    assert footer.num_row_groups == 1 and footer.format_version == "2.6"
    assert {footer.row_group(0).column(i).compression for i in range(11)} == {"SNAPPY"}


def test_candles_as_feather_have_no_end_time() -> None:
    rows = values(5)
    frame = CandleFrame("feather", MINUTE)
    found = pd.read_feather(io.BytesIO(frame.encode(MARK, T0, rows, None)))
    wanted = bmac_frame(T0 + MINUTE * np.arange(5), rows).reset_index(drop=True)
    pd.testing.assert_frame_equal(found, wanted)
    assert isinstance(found.index, pd.RangeIndex)
    shorter = pd.read_feather(io.BytesIO(frame.encode(MARK, T0, rows[:, :3], None)))
    pd.testing.assert_frame_equal(shorter, wanted.iloc[:3])


@pytest.mark.parametrize("save_type", ["parquet", "feather"])
def test_bars_that_there_are_not_are_left_out(save_type: str) -> None:
    rows = values(6)
    keep = np.array([True, False, True, True, False, False])
    rows[:, ~keep] = np.nan
    data = CandleFrame(save_type, MINUTE).encode(MARK, T0, rows, keep)
    read = pd.read_feather if save_type == "feather" else pd.read_parquet
    found = read(io.BytesIO(data))
    wanted = bmac_frame(T0 + MINUTE * np.array([0, 2, 3]), rows[:, keep])
    if save_type == "feather":
        wanted = wanted.reset_index(drop=True)
    pd.testing.assert_frame_equal(found, wanted, check_freq=False)


def test_times_are_those_of_each_symbol() -> None:
    frame = CandleFrame("parquet", MINUTE)
    for first, n in ((T0, 3), (T0, 4), (T0 + MINUTE, 3), (T0, 3)):
        found = pd.read_parquet(io.BytesIO(frame.encode(MARK, first, values(n), None)))
        assert found["candle_begin_time"].iloc[0] == pd.Timestamp(first, unit="ms", tz="UTC")
        assert len(found) == n


def info(**changes: list[object]) -> pa.Table:
    columns: dict[str, list[object]] = {
        "symbol": ["BTCUSDT", "币安人生USDT"], "status": ["TRADING"] * 2, "contract_type": ["PERPETUAL"] * 2,
        "base_asset": ["BTC", "币安人生"], "quote_asset": ["USDT"] * 2, "margin_asset": ["USDT"] * 2,
        "price_tick": ["0.10", "0.0000100"], "lot_size": ["0.001", "1"], "min_notional_value": ["100", "5"],
        "contract_size": [float("nan")] * 2, "onboard_ms": [1, 2], "delivery_ms": [0, 0],
    }  # fmt: skip
    columns |= changes
    text = {name: pa.string() for name in ("price_tick", "lot_size", "min_notional_value")}
    return pa.table({name: pa.array(columns[name], text.get(name)) for name in INFO_COLUMNS})


def test_exginfo_per_market() -> None:
    for market, columns in (
        ("usdm", "symbol contract_type status base_asset quote_asset margin_asset price_tick lot_size "
                 "min_notional_value"),
        ("coinm", "symbol contract_type status base_asset quote_asset margin_asset price_tick lot_size"),
        ("spot", "symbol status base_asset quote_asset price_tick lot_size min_notional_value"),
    ):  # fmt: skip
        assert exginfo_columns(market) == tuple(columns.split())
        for save_type in ("parquet", "feather"):
            data = io.BytesIO(to_bytes(exginfo_table(info(), market, MARK), save_type))
            frame = pd.read_feather(data) if save_type == "feather" else pd.read_parquet(data)
            assert list(frame.columns) == columns.split() and isinstance(frame.index, pd.RangeIndex)
            assert frame["symbol"].tolist() == ["BTCUSDT", "币安人生USDT"]
            assert frame["price_tick"].tolist() == [Decimal("0.10"), Decimal("0.0000100")]
            assert str(frame["lot_size"].iloc[1]) == "1.000"  # scale of the data, as pandas infers it


def test_exginfo_without_a_filter_is_null() -> None:
    table = exginfo_table(info(min_notional_value=[None, "5"], price_tick=["no number", "NaN"]), "usdm", MARK)
    frame = pd.read_parquet(io.BytesIO(to_bytes(table, "parquet")))
    assert frame["min_notional_value"].tolist() == [None, Decimal("5")]
    assert frame["price_tick"].isna().all()
    long = exginfo_table(info(lot_size=["1." + "1" * 90, "1"]), "usdm", MARK)
    assert long.column("lot_size").null_count == 2


@pytest.mark.parametrize("save_type", ["parquet", "feather"])
def test_funding(save_type: str) -> None:
    symbols = ["AUSDT", "BUSDT", "CUSDT"]
    rows = [
        (T0, np.array([0, 2]), np.array([0.0001, np.nan])),
        (T0 + MINUTE, np.array([0, 1, 2]), np.array([0.0002, -0.0003, np.nan])),
    ]
    data = io.BytesIO(to_bytes(funding_table(symbols, rows, save_type == "feather", MARK), save_type))
    frame = pd.read_feather(data) if save_type == "feather" else pd.read_parquet(data)
    assert list(frame.columns) == ["symbol", "fundingRate", "time"]
    assert frame["symbol"].tolist() == ["AUSDT", "CUSDT", "AUSDT", "BUSDT", "CUSDT"]
    np.testing.assert_array_equal(frame["fundingRate"], [0.0001, np.nan, 0.0002, -0.0003, np.nan])
    assert str(frame["time"].dtype) == "datetime64[us, Hongkong]"
    times = pd.to_datetime([T0, T0, *[T0 + MINUTE] * 3], unit="ms", utc=True)
    assert (frame["time"].dt.tz_convert("UTC") == times).all()
    assert frame.index.tolist() == ([0, 1, 0, 1, 2] if save_type == "parquet" else [0, 1, 2, 3, 4])
    one = pd.read_parquet(io.BytesIO(to_bytes(funding_table(symbols, rows[:1], False, MARK), "parquet")))
    assert isinstance(one.index, pd.RangeIndex) and len(one) == 2  # its first period has no second index yet
    none = pd.read_parquet(io.BytesIO(to_bytes(funding_table([], [], False, MARK), "parquet")))
    assert len(none) == 0


def test_nothing_newer_than_bmacs_pandas_in_the_description() -> None:
    data = CandleFrame("parquet", MINUTE).encode(MARK, T0, values(2), None)
    said = json.loads(pq.read_schema(io.BytesIO(data)).metadata[b"pandas"])
    assert said["pandas_version"] == "2.2.1"
    assert {column["numpy_type"] for column in said["columns"]} == {"datetime64[ns]", "float64"}
    assert said["column_indexes"][0]["numpy_type"] == "object"


def test_ready_names_are_hong_kong_time() -> None:
    at = pd.Timestamp("2024-06-30 16:43", tz="UTC")
    name = ready_name("BTCUSDT_240927", int(at.timestamp() * 1000), ZONE)
    assert name == "BTCUSDT_240927_20240701_004300.ready"
    assert parse_ready(name) == ("BTCUSDT_240927", "20240701_004300")
    assert ready_name("A", int(at.timestamp() * 1000), "UTC") == "A_20240630_164300.ready"
    for other in (
        "BTCUSDT.ready",
        "BTCUSDT_2024_1.ready",
        "_20240701_004300.ready",
        "A_20240701_004300.ready.x",
    ):
        assert parse_ready(other) is None


def test_marks(tmp_path: Path) -> None:
    for ending, save_type in (("pqt", "parquet"), ("fea", "feather")):
        path = tmp_path / f"BTCUSDT.{ending}"
        data = CandleFrame(save_type, MINUTE).encode(MARK, T0, values(50), None).to_pybytes()
        path.write_bytes(data)
        assert mark_of(path) == MARK
        for cut in (0, 3, len(data) // 2, len(data) - 1):
            path.write_bytes(data[:cut])
            assert mark_of(path) == Foreign(damaged=True)
        frame = bmac_frame(T0 + MINUTE * np.arange(3), values(3))
        frame.to_parquet(path) if ending == "pqt" else frame.reset_index(drop=True).to_feather(path)
        assert mark_of(path) == Foreign(damaged=False)
    table = pa.table({"a": [1]}).replace_schema_metadata({b"bmac_stream": b"[1, 2]"})
    pq.write_table(table, tmp_path / "x.pqt")
    assert mark_of(tmp_path / "x.pqt") == Foreign(damaged=False)
    feather.write_feather(table, tmp_path / "y.fea", compression="uncompressed")
    assert mark_of(tmp_path / "y.fea") == Foreign(damaged=False)
    with pytest.raises(OSError):
        mark_of(tmp_path / "none.pqt")


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.pqt")
    fd = os.open(tmp_path / "x.pqt", os.O_RDWR)  # so that whoever waits for a writer fails here, too
    try:
        with pytest.raises(OSError, match="not a file"):
            mark_of(tmp_path / "x.pqt")
    finally:
        os.close(fd)


def test_names_that_can_be_files() -> None:
    assert all(is_file_name(name) for name in ("BTCUSDT", "BTCUSD_PERP", "币安人生USDT", "1000SATSUSDT"))
    assert not any(is_file_name(name) for name in ("", ".x", "../x", "a/b", "a\0b", "a\nb", "x" * 201))
