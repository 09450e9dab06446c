"""bmac_stream/history.py: a table of bars in any form gives what the live engine gave, to the bit."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bmac_stream import history
from bmac_stream.bar import COLUMNS
from bmac_stream.engine import Engine, FactorError
from bmac_stream.recorder import copy_rows, describe
from bmac_stream.snapshot import write
from kernels.cumulative import cum_sum
from kernels.elementwise import is_missing
from kernels.node import field
from shm import Status
from tests.bmac_stream.test_engine import CLOSE, Market, nodes


@pytest.fixture
def market(tmp_path: Path) -> Iterator[Market]:
    made = Market(tmp_path)
    for i in range(9):
        made.close({3: Status.ABSENT} if i % 3 else None)
    yield made
    made.writer.close()


def agree(engine: Engine, made: history.Factored) -> None:
    """The newest bar of a history is the engine's newest run_time."""
    assert made.names == engine.names and int(made.run_time[-1]) == engine.run_time
    for k, symbol in enumerate(made.symbols):
        slot = engine.store[symbol].slot
        assert made.values[-1, :, k].tobytes() == np.ascontiguousarray(engine.values[:, slot]).tobytes(), (
            symbol
        )


def test_every_form_of_a_table(market: Market, tmp_path: Path) -> None:
    store = market.attach()
    engine = Engine(store, nodes())
    table = store.to_arrow()
    agree(engine, history.batch(nodes(), table))
    agree(engine, engine.batch(store.to_pandas()))
    agree(engine, history.batch(nodes(), store.to_polars()))
    shuffled = table.take(np.random.default_rng(1).permutation(table.num_rows))
    pq.write_table(shuffled, tmp_path / "bars.parquet")
    agree(engine, history.batch(nodes(), tmp_path / "bars.parquet"))
    snapshot = write(tmp_path / "snapshot", describe(store), copy_rows(store))
    agree(engine, history.batch(nodes(), snapshot))
    folder = tmp_path / "folder"
    folder.mkdir()
    for i in range(4):
        pq.write_table(shuffled.slice(i * 300, 300 if i < 3 else None), folder / f"{i}.parquet")
    agree(engine, history.batch(nodes(), folder))


def test_pieces_are_the_whole(market: Market) -> None:
    table = market.attach().to_arrow()
    whole = history.batch(nodes(), table)
    n, seen = 0, 0
    for part in history.batches(nodes(), table, chunk_bars=37):
        at = slice(n, n + len(part.open_time))
        assert part.values.tobytes() == whole.values[at].tobytes()
        assert np.array_equal(part.open_time, whole.open_time[at])
        n, seen = at.stop, seen + 1
    assert n == len(whole.open_time) == 150 and seen == 5


def test_the_long_table(market: Market) -> None:
    made = history.batch(
        {"mean": nodes()["mean"], "hour": field("open_time") / 3.6e6}, market.attach().to_arrow()
    )
    frame = made.to_pandas()
    assert list(frame.columns) == ["symbol", "candle_begin_time", "candle_end_time", "mean", "hour"]
    row = frame[(frame.symbol == "S4")].iloc[-1]
    assert row["mean"] == made.values[-1, 0, 4] and row["hour"] == made.open_time[-1] / 3.6e6
    assert row["candle_end_time"].value == made.run_time[-1] * 1_000_000


def test_into_the_callers_array(market: Market) -> None:
    table = market.attach().to_arrow()
    out = np.empty((150, 4, 9))
    assert history.batch(nodes(), table, out=out).values is out
    with pytest.raises(ValueError, match=r"out must be float64 \[150, 4, 9\]"):
        history.batch(nodes(), table, out=np.empty((150, 4, 8)))


def test_statics_by_symbol(market: Market) -> None:
    table = market.attach().to_arrow()
    made = history.batch({"w": field("weight") * 2.0}, table, statics={"weight": {"S1": 3.0}})
    assert made.values[0, 0, 1] == 6.0 and np.isnan(made.values[0, 0, 2])


def bars(**changes: Any) -> pa.Table:
    columns: dict[str, Any] = {
        "symbol": ["A", "A", "B"],
        "open_time": [0, 60_000, 60_000],
        **{name: [1.0, 2.0, 3.0] for name in COLUMNS},
    }
    return pa.table({k: v for k, v in (columns | changes).items() if v is not None})


@pytest.mark.parametrize(
    ("source", "match"),
    [
        (bars(symbol=None), "has a column 'symbol'"),
        (bars(open_time=None), "open_time or candle_begin_time"),
        (bars(open_time=[0, 60_000, 60_001]), "open_time 60001 is not on the grid"),
        (bars(symbol=["A", "A", "A"]), "A has two bars of open_time 60000"),
        (bars().slice(0, 0), "no rows"),
        (bars().slice(0, 1), "say the interval"),
        ("nowhere.parquet", "no such file"),
        (17, "a frame or the path"),
    ],
)
def test_what_is_no_table_of_bars(source: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        history.batch({"x": CLOSE * 2.0}, source)


def test_bars_of_another_length_that_begin_later() -> None:
    table = bars(open_time=[20 * 60_000, 65 * 60_000, 65 * 60_000])
    made = history.batch({"x": CLOSE * 2.0}, table, interval="45m", offset_minutes=20)
    assert (made.interval_ms, made.run_time.tolist()) == (2_700_000, [65 * 60_000, 110 * 60_000])
    with pytest.raises(ValueError, match="not on the grid"):
        history.batch({"x": CLOSE * 2.0}, table, interval="45m")
    with pytest.raises(ValueError, match="'45' is no interval"):
        history.batch({"x": CLOSE * 2.0}, table, interval="45")


def test_columns_that_are_missing() -> None:
    with pytest.raises(FactorError, match=r"no columns \['close'\]"):
        history.batch({"x": CLOSE * 2.0}, bars(close=None))


def test_recorded_bars(recorded_data: Path) -> None:
    made = history.batch({"up": CLOSE / field("open") - 1.0}, recorded_data / "klines_1h_usdm_top150.parquet")
    assert made.interval_ms == 3_600_000 and len(made.symbols) == 150
    table = pq.read_table(recorded_data / "klines_1h_usdm_top150.parquet")
    assert int(np.isfinite(made.values).sum()) == table.num_rows


def test_time_is_known_where_there_is_no_bar(market: Market) -> None:
    """A table's own open_time would be missing there, live it is not."""
    table = _with_open_time(market)
    gaps = table.filter(pa.array(np.arange(table.num_rows) % 7 != 0))
    made = history.batch({"missing": cum_sum(is_missing(field("open_time")))}, gaps)
    assert not made.values[-1].any()


def _with_open_time(market: Market) -> pa.Table:
    table = market.attach().to_arrow()
    times = table["candle_begin_time"].cast(pa.int64())
    return table.drop_columns(["candle_begin_time", "candle_end_time"]).append_column("open_time", times)


def test_times_and_symbols_that_are_none(market: Market) -> None:
    table = _with_open_time(market)
    at = table.column_names.index("open_time")
    micro = pa.array(table["open_time"].to_numpy() * 1000)
    with pytest.raises(ValueError, match="must be in milliseconds"):
        history.batch(nodes(), table.set_column(at, "open_time", micro))
    for name in ("symbol", "open_time"):
        some = pa.array([None, *table[name].to_pylist()[1:]])
        with pytest.raises(ValueError, match=f"1 rows of the table of bars have no {name}"):
            history.batch(nodes(), table.set_column(table.column_names.index(name), name, some))


def test_files_of_different_columns(market: Market, tmp_path: Path) -> None:
    """What a file does not have is missing there; whole numbers in one are numbers in all."""
    table = _with_open_time(market)
    at = table.column_names.index("close")
    whole = table.set_column(at, "close", pa.array(np.floor(table["close"].to_numpy() * 10)))
    want = history.batch({"c": CLOSE * 1.0}, whole)
    folder = tmp_path / "folder"
    folder.mkdir()
    pq.write_table(
        whole.slice(0, 400)
        .set_column(at, "close", pa.array(whole["close"].to_numpy()[:400], from_pandas=True).cast(pa.int64()))
        .drop_columns(["volume"]),
        folder / "a.parquet",
    )
    half = whole.slice(400).set_column(at, "close", pa.array(whole["close"].slice(400).to_numpy()))
    pq.write_table(half, folder / "b.parquet")
    made = history.batch({"c": CLOSE * 1.0, "v": field("volume") * 1.0}, folder)
    assert made.values[:, 0].tobytes() == want.values[:, 0].tobytes()
    assert np.isnan(made.values[:, 1]).any() and np.isfinite(made.values[:, 1]).any()
