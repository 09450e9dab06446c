"""bmac_stream.archive: a long history as programs that know nothing of us read it, while it is changed."""

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from bmac_stream import archive, history
from bmac_stream.archive import DataSet, find
from bmac_stream.archive_file import ARCHIVE, REST, SCHEMA, STORE, BarFile, Rows, absent_spans
from bmac_stream.archive_import import import_files
from bmac_stream.bar import COLUMNS
from bmac_stream.cli import main
from bmac_stream.errors import HistoryDamaged, HistoryError, HistoryLocked
from bmac_stream.simulator.recorded import read_klines
from tests.bmac_stream import vision

SYMBOLS = ("AUSDT", "BUSDT", "币安人生USDT")
PERIODS = ("2024-02-28", "2024-02-29", "2024-03-01")


@pytest.fixture
def data(tmp_path: Path) -> DataSet:
    """Three symbols, three days, hourly; one bar corrected twice."""
    made = DataSet(tmp_path / "history", "usdt_perp", "1h", "binance")
    for symbol in SYMBOLS:
        for period in PERIODS:
            vision.write(tmp_path / "in", symbol, period, "1h")
    import_files(made, [tmp_path / "in"])
    time = vision.times(PERIODS[1], "1h")[[5]]
    for n in (1, 2):
        values = vision.values("BUSDT", time) + n
        with made.change(REST, "test", now_ms=1_709_300_000_000 + n) as change:
            change.update(
                int(time[0]) // 86_400_000 * 86_400_000, lambda v=values: [Rows.fresh("BUSDT", time, v, REST)]
            )  # type: ignore[misc]
            change.commit()
    return made


def expected() -> dict[tuple[str, int], tuple[float, ...]]:
    found = {}
    for symbol in SYMBOLS:
        for period in PERIODS:
            times = vision.times(period, "1h")
            for time, values in zip(times.tolist(), vision.values(symbol, times).T.tolist(), strict=True):
                found[symbol, time] = tuple(values)
    time = int(vision.times(PERIODS[1], "1h")[5])
    found["BUSDT", time] = tuple(x + 2 for x in found["BUSDT", time])
    return found


def as_seen(rows: list[dict[str, Any]]) -> dict[tuple[str, int], tuple[float, ...]]:
    """By symbol and time; a bar that is there twice fails."""
    found: dict[tuple[str, int], tuple[float, ...]] = {}
    for row in rows:
        key = row["symbol"], round(row["open_time"].timestamp() * 1000)
        assert key not in found, key
        found[key] = tuple(row[name] for name in COLUMNS)
    return found


# ---- three readers, each without a word from us


def test_read_by_duckdb(data: DataSet) -> None:
    import duckdb

    glob = f"{data.root}/**/*.parquet"
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        frame = db.sql(f"SELECT * FROM '{glob}'").pl()
        assert as_seen(frame.to_dicts()) == expected()
        corrected = db.execute(
            f"SELECT symbol, n_corrections, came_from, epoch_ms(corrected_at) FROM '{glob}'"
            " WHERE n_corrections > 0"
        ).fetchall()
        assert corrected == [("BUSDT", 2, "rest", 1_709_300_000_002)]
        # the folders' names are a column, so that a day is found without opening the others
        days = db.execute(f"SELECT date, count(*) FROM '{glob}' GROUP BY ALL ORDER BY ALL").fetchall()
        assert [(str(day), n) for day, n in days] == [(period, 72) for period in PERIODS]
        kinds = dict(db.execute(f"SELECT column_name, column_type FROM (DESCRIBE FROM '{glob}')").fetchall())
        assert kinds["open_time"] == "TIMESTAMP WITH TIME ZONE" and kinds["close"] == "DOUBLE"
        log = data.journal / "corrections.jsonl"
        lines = db.execute(f"SELECT symbol, n, old[4], new[4] FROM '{log}' ORDER BY n").fetchall()
        close = vision.values("BUSDT", vision.times(PERIODS[1], "1h")[[5]])[3, 0]
        assert lines == [("BUSDT", 1, close, close + 1), ("BUSDT", 2, close + 1, close + 2)]


def test_read_by_polars(data: DataSet) -> None:
    for place in (f"{data.root}/**/*.parquet", data.folder):
        frame = pl.scan_parquet(place).collect()
        assert as_seen(frame.to_dicts()) == expected()
        assert frame.schema["open_time"] == pl.Datetime("ms", "UTC") and frame.schema["close"] == pl.Float64
    one = (
        pl.scan_parquet(data.folder)
        .filter(pl.col("symbol") == "BUSDT", pl.col("n_corrections") > 0)
        .collect()
    )
    assert one["came_from"].to_list() == ["rest"]


def test_read_by_pyarrow(data: DataSet) -> None:
    for place in (data.root, data.folder):
        table = ds.dataset(place, format="parquet").to_table()
        assert as_seen(table.to_pylist()) == expected()
        assert table.schema.equals(SCHEMA)
    hive = ds.dataset(data.folder, format="parquet", partitioning="hive")
    assert hive.to_table(filter=ds.field("date") == PERIODS[0]).num_rows == 72
    assert as_seen(pq.read_table(data.folder).to_pylist()) == expected()


def test_factors_over_it(data: DataSet) -> None:
    """The engine's batch reads it as it is."""
    made = history.batch([["PctChg", 3]], data.folder)
    assert made.symbols == tuple(sorted(SYMBOLS)) and made.values.shape == (72, 1, 3)
    close = vision.values("AUSDT", made.open_time)[3]
    np.testing.assert_allclose(made.values[3:, 0, 0], close[3:] / close[:-3] - 1)


def test_replayed_by_the_embedded_exchange(data: DataSet) -> None:
    """A history can be the embedded exchange's market: `"embedded": {"data": "history/usdt_perp/1h"}`."""
    found = read_klines(data.folder)
    seen = {
        (symbol, time): tuple(row)
        for symbol, (times, values) in found.items()
        for time, row in zip(times.tolist(), values.tolist(), strict=True)
    }
    assert seen == expected()


def test_rows_are_sorted_and_symbols_whole(data: DataSet) -> None:
    for start, path in data.look().files.items():
        file = pq.ParquetFile(path)
        rows = file.read().to_pylist()
        keys = [(row["symbol"], row["open_time"]) for row in rows]
        assert keys == sorted(keys) and file.num_row_groups == 1
        with data.open(start) as mine:
            assert [one.symbol for one in mine.only(frozenset(("BUSDT",)))] == ["BUSDT"]
        kinds = {file.metadata.row_group(0).column(i).statistics is not None for i in (0, 1)}
        assert kinds == {True}


def test_readers_see_each_bar_once_while_files_change(data: DataSet) -> None:
    """A reader goes on while files are replaced; it sees the old file or the new one."""
    time = vision.times(PERIODS[1], "1h")
    start = int(time[0])
    stop = threading.Event()
    problems: list[str] = []
    n_read = [0]

    def read() -> None:
        while not stop.is_set():
            table = ds.dataset(data.root, format="parquet").to_table(columns=["symbol", "open_time", "close"])
            keys = set(zip(table["symbol"].to_pylist(), table["open_time"].to_pylist(), strict=True))
            closes = table.filter(ds.field("symbol") == "AUSDT")["close"].to_pylist()[24:48]
            offsets = {
                round(c - w, 6) for c, w in zip(closes, vision.values("AUSDT", time)[3].tolist(), strict=True)
            }
            if len(keys) != table.num_rows or table.num_rows != 9 * 24 or len(offsets) != 1:
                problems.append(f"{len(keys)} keys, {table.num_rows} rows, {offsets}")
            n_read[0] += 1

    thread = threading.Thread(target=read)
    thread.start()
    try:
        n = 0
        while n < 30 or n_read[0] < 10:
            n += 1
            values = vision.values("AUSDT", time) + float(n)
            with data.change(REST, "test") as change:
                change.update(start, lambda v=values: [Rows.fresh("AUSDT", time, v, REST)])  # type: ignore[misc]
                change.commit()
    finally:
        stop.set()
        thread.join()
    assert not problems, problems[:3]


# ---- changing


def test_one_at_a_time(data: DataSet) -> None:
    other = DataSet(data.root, "usdt_perp", "1h")
    with (
        data.change(STORE, "a"),
        pytest.raises(HistoryLocked, match="another process is changing it"),
        other.change(STORE, "b", wait_s=0.1),
    ):
        pass
    with other.change(STORE, "b", wait_s=0.1):
        assert other.source == "binance"  # as its files say


def test_what_is_not_committed_is_as_if_never_begun(data: DataSet) -> None:
    before = {p: p.read_bytes() for p in data.look().files.values()}
    time = vision.times(PERIODS[0], "1h")
    values = vision.values("AUSDT", time) + 1
    with pytest.raises(RuntimeError), data.change(REST, "test") as change:
        assert (
            change.update(int(time[0]), lambda: [Rows.fresh("AUSDT", time, values, REST)]).n_corrected == 24
        )
        raise RuntimeError
    assert before == {p: p.read_bytes() for p in data.look().files.values()}
    assert {p.name for p in data.journal.iterdir()} == {"lock", "corrections.jsonl"}
    assert len(list(data.corrections())) == 2


def test_a_log_that_was_cut_off_is_written_again(data: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the rename and the end of the log: each correction is in it once."""
    time = vision.times(PERIODS[0], "1h")
    values = vision.values("AUSDT", time) + 1
    log = data.journal / "corrections.jsonl"

    class Killed(BaseException):
        pass

    with monkeypatch.context() as patch:
        patch.setattr(archive.Change, "drop", lambda self: None)
        real = archive._fsync_folder

        def dying(folder: Path) -> None:
            if log.stat().st_size > 1000 and folder != data.journal:
                raise Killed
            real(folder)

        patch.setattr(archive, "_fsync_folder", dying)
        with pytest.raises(Killed), data.change(REST, "test") as change:
            change.update(int(time[0]), lambda: [Rows.fresh("AUSDT", time, values, REST)])
            change.commit()
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size - 100)  # as a power failure may leave it
    with data.change(STORE, "next"):
        pass
    lines = log.read_text().splitlines()
    assert len(lines) == 26 and all(json.loads(line) for line in lines)
    assert {p.name for p in data.journal.iterdir()} == {"lock", "corrections.jsonl"}


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "history").write_text("a file")
    data = DataSet(tmp_path / "history", "usdt_perp", "1h", "binance")
    with pytest.raises(HistoryError, match=str(data.folder)), data.change(STORE, "x"):
        pass


def test_find(data: DataSet, tmp_path: Path) -> None:
    for place in (data.root, data.folder, data.folder.parent, str(data.root)):
        assert [(d.root, d.trade_type, d.interval) for d in find(place)] == [(data.root, "usdt_perp", "1h")]
    with pytest.raises(HistoryError, match="no history there"):
        find(tmp_path / "nothing")


def test_absent_spans() -> None:
    times = np.array([0, 1, 2, 5, 9, 10]) * 60_000
    assert absent_spans(times, 60_000) == [(0, 3), (300_000, 1), (540_000, 2)]
    assert absent_spans(times[:0], 60_000) == []


def test_a_file_that_is_no_parquet(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1 nothing")
    with pytest.raises(HistoryDamaged, match=str(path)):
        BarFile(path)
    with pytest.raises(HistoryError, match="No such file"):
        BarFile(tmp_path / "none.parquet")


# ---- out again


def test_exported_csv_can_be_imported_and_is_the_same(data: DataSet, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["history", "export", str(data.folder), f"--out={out}"]) == 0
    assert sorted(p.name for p in out.iterdir()) == [
        f"{symbol}-1h-{month}.csv" for symbol in SYMBOLS for month in ("2024-02", "2024-03")
    ]
    first = (out / "AUSDT-1h-2024-02.csv").read_text().splitlines()
    assert first[0] == vision.HEADER
    assert first[1].split(",")[0] == str(vision.times(PERIODS[0], "1h")[0]) and len(first) == 49
    again = DataSet(tmp_path / "again", "usdt_perp", "1h", "binance")
    words = [f"--into={again.root}", "--trade_type=usdt_perp", "--interval=1h"]
    assert main(["history", "import", str(out), *words]) == 0
    assert as_seen(ds.dataset(again.folder, format="parquet").to_table().to_pylist()) == expected()


def test_a_part_is_exported(data: DataSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--symbols=AUSDT,BUSDT", "--start=2024-02-28T12:00", "--end=2024-03-01"]
    out = tmp_path / "out"
    assert main(["history", "export", str(data.root), f"--out={out}", "--format=parquet", *words]) == 0
    (path,) = out.iterdir()
    assert path.name == "usdt_perp-1h.parquet" and f"{2 * 36} bars in 1 files" in capsys.readouterr().out
    low, high = vision.times(PERIODS[0], "1h")[12], vision.times(PERIODS[2], "1h")[0]
    wanted = {k: v for k, v in expected().items() if k[0] != SYMBOLS[2] and low <= k[1] < high}
    table = pq.read_table(path)
    assert as_seen(table.to_pylist()) == wanted and table.schema.equals(SCHEMA)
    assert main(["history", "export", str(data.root), f"--out={out}", "--format=xlsx"]) == 2
    assert main(["history", "export", str(data.root), f"--out={out}", "--start=soon"]) == 2


def test_an_export_that_fails_leaves_nothing(data: DataSet, tmp_path: Path) -> None:
    path = list(data.look().files.values())[1]
    path.write_bytes(path.read_bytes()[:-9])
    out = tmp_path / "out"
    assert main(["history", "export", str(data.root), f"--out={out}"]) == 1
    assert list(out.iterdir()) == []


def test_the_import_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = vision.write(tmp_path, "AUSDT", PERIODS[0], "1h")
    bad = vision.write(tmp_path, "BUSDT", PERIODS[0], "1h", rows=["1,2,3"])
    words = [f"--into={tmp_path / 'h'}", "--trade_type=usdt_perp", "--interval=1h"]
    assert main(["history", "import", str(path), str(bad), *words]) == 1
    assert f"{bad}, line 1: 3 fields" in capsys.readouterr().err
    assert main(["history", "import", str(path), str(bad), *words, "--skip_bad"]) == 1
    assert "24 bars: 24 are new" in capsys.readouterr().out
    assert main(["history", "import", str(path), *words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["imported"] and (told["import"]["n_bars"], told["import"]["n_added"]) == (24, 0)
    assert main(["history", "import", *words]) == 2
    assert main(["history", "nonsense"]) == 2
    capsys.readouterr()
    assert (STORE, ARCHIVE, REST) == (0, 1, 2)
