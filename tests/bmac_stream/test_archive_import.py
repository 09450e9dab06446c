"""bmac_stream.archive_import: what data.binance.vision's files say lies in the data set, or nothing does."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pytest

from bmac_stream.archive import DataSet
from bmac_stream.archive_file import STORE, Rows
from bmac_stream.archive_import import Source, import_files, read_source, sources
from bmac_stream.bar import COLUMNS
from bmac_stream.errors import HistoryForeign, ImportRefused, NoSpace
from bmac_stream.simulator.recorded import read_klines
from tests.bmac_stream import vision

DAY = "2024-02-17"


@pytest.fixture
def data(tmp_path: Path) -> DataSet:
    return DataSet(tmp_path / "history", "usdt_perp", "1h", "binance")


def held(data: DataSet) -> dict[str, dict[int, tuple[float, ...]]]:
    """Symbol -> open_time -> values, as any reader sees them; a bar that is there twice fails."""
    found: dict[str, dict[int, tuple[float, ...]]] = {}
    if data.look().files:
        for row in ds.dataset(data.folder, format="parquet").to_table().to_pylist():
            time = int(row["open_time"].timestamp() * 1000)
            assert time not in found.setdefault(row["symbol"], {}), (row["symbol"], time)
            found[row["symbol"]][time] = tuple(row[name] for name in COLUMNS)
    return found


def wanted(symbol: str, *periods: str, interval: str = "1h") -> dict[int, tuple[float, ...]]:
    times = np.unique(np.concatenate([vision.times(period, interval) for period in periods]))
    return dict(zip(times.tolist(), map(tuple, vision.values(symbol, times).T.tolist()), strict=True))


@pytest.mark.parametrize("us", [False, True], ids=["ms", "us"])
@pytest.mark.parametrize("header", [False, True], ids=["bare", "header"])
@pytest.mark.parametrize("zipped", [False, True], ids=["csv", "zip"])
def test_every_form_of_a_file(tmp_path: Path, data: DataSet, us: bool, header: bool, zipped: bool) -> None:
    path = vision.write(tmp_path, "BTCUSDT", "2024-02", "1h", us=us, header=header, zipped=zipped)
    done = import_files(data, [path])
    assert (done.n_files, done.n_bars, done.n_added, done.n_corrected) == (1, 29 * 24, 29 * 24, 0)
    assert held(data) == {"BTCUSDT": wanted("BTCUSDT", "2024-02")}
    assert len(data.look().files) == 29


@pytest.mark.parametrize(
    ("market", "trade_type", "symbol"),
    [
        ("spot", "usdt_spot", "BTCUSDT"),
        ("um", "usdt_deli", "BTCUSDT_240329"),
        ("cm", "coin_perp", "BTCUSD_PERP"),
    ],
)
def test_a_tree_as_it_is_downloaded(tmp_path: Path, market: str, trade_type: str, symbol: str) -> None:
    data = DataSet(tmp_path / "history", trade_type, "1h", "binance")
    root = tmp_path / "data" / ("spot" if market == "spot" else f"futures/{market}")
    vision.write(root / "monthly/klines" / symbol / "1h", symbol, "2024-01", "1h")
    vision.write(root / "daily/klines" / symbol / "1h", symbol, DAY, "1h", header=True)
    vision.write(root / "daily/klines" / symbol / "1m", symbol, DAY, "1m")  # another interval
    vision.write(root / "daily/markPriceKlines" / symbol / "1h", symbol, "2024-02-18", "1h")
    (root / "readme.txt").write_text("foreign")
    done = import_files(data, [tmp_path / "data"])
    assert done.n_files == 2 and len(done.passed_over) == 3
    assert held(data) == {symbol: wanted(symbol, "2024-01", DAY)}


def test_again_changes_nothing(tmp_path: Path, data: DataSet) -> None:
    for symbol in ("AUSDT", "BUSDT"):
        vision.write(tmp_path / "in", symbol, DAY, "1h")
    import_files(data, [tmp_path / "in"])
    stamps = {p: p.stat().st_mtime_ns for p in data.look().files.values()}
    done = import_files(data, [tmp_path / "in"])
    assert (done.n_bars, done.n_added, done.n_corrected) == (48, 0, 0)
    assert stamps == {p: p.stat().st_mtime_ns for p in data.look().files.values()}
    # a monthly file that repeats the day adds the rest
    vision.write(tmp_path / "in", "AUSDT", "2024-02", "1h")
    assert import_files(data, [tmp_path / "in"]).n_added == 28 * 24
    assert held(data) == {"AUSDT": wanted("AUSDT", "2024-02"), "BUSDT": wanted("BUSDT", DAY)}


def test_an_archive_corrects_the_store_visibly(tmp_path: Path, data: DataSet) -> None:
    times = vision.times(DAY, "1h")
    ours = Rows.fresh("AUSDT", times[:5], vision.values("AUSDT", times[:5]) + [[1.0]] * 9, STORE)
    with data.change(STORE, "recorder") as change:
        change.update(int(times[0]), lambda: [ours])
        change.commit()
    done = import_files(data, [vision.write(tmp_path, "AUSDT", DAY, "1h")])
    assert (done.n_added, done.n_corrected) == (19, 5)
    assert held(data) == {"AUSDT": wanted("AUSDT", DAY)}
    table = ds.dataset(data.folder, format="parquet").to_table().sort_by("open_time")
    assert table["n_corrections"].to_pylist() == [1] * 5 + [0] * 19
    assert table["came_from"].to_pylist() == ["archive"] * 24
    assert [line["open_time"] for line in data.corrections()] == times[:5].tolist()


ROW = "1708128000000,100,101,99,100,5,1708131599999,500,7,2,200,0"  # 2024-02-17 00:00


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("1708131600000,100,101,99,100,5,1708135199999,500,7,2,200", "11 fields, expected 12"),
        ("1708131600000,100,101,99,100,5,1708135199999,500,7,2,200,0,0", "13 fields, expected 12"),
        ("1708131600000,1oo,101,99,100,5,1708135199999,500,7,2,200,0", "'1oo' is no number"),
        ("1708131600000,,101,99,100,5,1708135199999,500,7,2,200,0", "'' is no number"),
        ("1708131600000,nan,101,99,100,5,1708135199999,500,7,2,200,0", "is not a number"),
        ("1708131600001,100,101,99,100,5,1708135199999,500,7,2,200,0", "not on the grid of 1h"),
        ("1708214400000,100,101,99,100,5,1708135199999,500,7,2,200,0", "outside of the period"),
        ("1708131600,100,101,99,100,5,1708135199999,500,7,2,200,0", "not on the grid|outside of the period"),
        ("1708131600000,100,101,100.5,100,5,1708135199999,500,7,2,200,0", "prices are not"),
        ("1708131600000,100,99.5,99,100,5,1708135199999,500,7,2,200,0", "prices are not"),
        ("1708131600000,0,101,0,100,5,1708135199999,500,7,2,200,0", "prices are not"),
        ("1708131600000,100,101,99,100,-5,1708135199999,500,7,2,200,0", "an amount is negative"),
        ("1708131600000,100,101,99,100,5,1708135199999,500,7,6,200,0", "takers bought more"),
        ("1708131600000,100,101,99,100,5,1708135199999,500,7.5,2,200,0", "trades is not a whole number"),
        ("1708128000000,100,101,99,100,6,1708131599999,500,7,2,200,0", "comes twice, with other values"),
    ],
)
def test_bad_rows_are_named_by_file_and_line(tmp_path: Path, data: DataSet, row: str, why: str) -> None:
    good = vision.write(tmp_path, "AUSDT", DAY, "1h")
    bad = vision.write(tmp_path, "BUSDT", DAY, "1h", header=True, rows=[ROW, "", row])
    with pytest.raises(ImportRefused, match=why) as caught:
        import_files(data, [good, bad])
    (problem,) = caught.value.problems
    assert problem.startswith(f"{bad}, line 4: ")
    assert held(data) == {}  # the good one neither
    done = import_files(data, [good, bad], skip_bad=True)
    assert done.refused == [problem] and held(data) == {"AUSDT": wanted("AUSDT", DAY)}
    assert not list(data.journal.glob("*.staged")) and not list(data.journal.glob("*.tmp"))


def test_a_bar_that_comes_twice_and_is_the_same_is_taken_once(tmp_path: Path, data: DataSet) -> None:
    rows = vision.lines("AUSDT", vision.times(DAY, "1h"), "1h")
    import_files(data, [vision.write(tmp_path, "AUSDT", DAY, "1h", rows=[*rows[5:], *rows[:9]])])
    assert held(data) == {"AUSDT": wanted("AUSDT", DAY)}


def test_bad_files_are_named(tmp_path: Path, data: DataSet) -> None:
    cut = vision.write(tmp_path, "CUTUSDT", DAY, "1h", checksum=False)
    cut.write_bytes(cut.read_bytes()[:-30])
    flipped = vision.write(tmp_path, "FLIPUSDT", DAY, "1h")
    body = bytearray(flipped.read_bytes())
    body[60] ^= 1
    flipped.write_bytes(body)
    inside = vision.write(tmp_path, "FLIP2USDT", DAY, "1h", checksum=False)
    inside.write_bytes(bytes(body))  # without a checksum beside it, the zip's own must tell
    other = vision.write(tmp_path, "OTHERUSDT", DAY, "1h", zipped=False)  # sound, but not what was published
    other.write_text("\n".join(vision.lines("AUSDT", vision.times(DAY, "1h"), "1h")))
    page = tmp_path / f"HTMLUSDT-1h-{DAY}.csv"
    page.write_text("<html>404</html>")
    empty = tmp_path / f"NOUSDT-1h-{DAY}.csv"
    empty.write_text(vision.HEADER + "\n")
    with pytest.raises(ImportRefused) as caught:
        import_files(data, [tmp_path])
    told = {line.split(":")[0].split(",")[0] for line in caught.value.problems}
    assert told == {str(p) for p in (cut, flipped, inside, other, page, empty)}
    assert held(data) == {}


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (f"BTCUSDT-1m-{DAY}.csv", "its bars are of 1m, expected 1h"),
        ("BTCUSDT.csv", "expected a name like"),
        ("BTCUSDT-1h-2024-13.csv", "is no day or month"),
        (f"spot/BTCUSDT-1h-{DAY}.csv", "in a folder of spot, but usdt_perp is usdm"),
        (f"markPriceKlines/BTCUSDT-1h-{DAY}.csv", "these are markPriceKlines"),
        ("none.zip", "no such file"),
    ],
)
def test_files_that_are_something_else(tmp_path: Path, data: DataSet, name: str, why: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    if name != "none.zip":
        path.write_text(ROW)
    with pytest.raises(ImportRefused, match=why):
        import_files(data, [path])


def test_two_files_that_differ_about_a_bar(tmp_path: Path, data: DataSet) -> None:
    times = vision.times(DAY, "1h")
    rows = vision.lines("AUSDT", times, "1h")
    rows[3] = rows[3].replace(",0", ",1")[:-1] + "0"
    other = rows[3].split(",")
    other[5] = "1000"
    day = vision.write(tmp_path, "AUSDT", DAY, "1h", rows=[*rows[:3], ",".join(other), *rows[4:]])
    month = vision.write(tmp_path, "AUSDT", "2024-02", "1h")
    with pytest.raises(ImportRefused, match="differ about the bar of AUSDT at 2024-02-17 03:00:00") as caught:
        import_files(data, [day, month])
    assert str(day) in str(caught.value) and str(month) in str(caught.value)
    assert held(data) == {}


def test_another_source_is_refused(tmp_path: Path, data: DataSet) -> None:
    path = vision.write(tmp_path, "AUSDT", DAY, "1h")
    import_files(data, [path])
    with pytest.raises(HistoryForeign, match="source is 'binance', expected 'embedded:x'"):
        import_files(DataSet(data.root, "usdt_perp", "1h", "embedded:x"), [path])


@pytest.mark.parametrize("at", range(1, 31, 3))
def test_killed_or_full_at_any_step(
    tmp_path: Path, data: DataSet, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Three files of the data set: all change or none does, once the next one has taken the lock."""
    import_files(data, [vision.write(tmp_path / "a", "AUSDT", f"2024-02-{d}", "1h") for d in (17, 18, 19)])
    before = held(data)
    files = [vision.write(tmp_path / "b", "BUSDT", f"2024-02-{d}", "1h") for d in (17, 18, 19)]
    steps = [0]
    fsync = os.fsync

    def full(fd: int) -> None:
        steps[0] += 1
        if steps[0] == at:
            raise OSError(28, "No space left on device")
        fsync(fd)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        try:
            import_files(data, files)
        except NoSpace:
            pass
        else:
            assert steps[0] < at
    with data.change(STORE, "next"):
        pass
    after = before | {"BUSDT": wanted("BUSDT", "2024-02-17", "2024-02-18", "2024-02-19")}
    assert held(data) in (before, after)
    import_files(data, files)
    assert held(data) == after
    assert {p.name for p in data.journal.iterdir()} == {"lock"}


def test_seconds_have_a_file_for_each_hour(tmp_path: Path) -> None:
    data = DataSet(tmp_path / "history", "usdt_spot", "1s", "binance")
    times = vision.times(DAY, "1s")[3500:7300]
    path = vision.write(
        tmp_path, "AUSDT", DAY, "1s", us=True, rows=vision.lines("AUSDT", times, "1s", us=True)
    )
    assert import_files(data, [path]).n_added == 3800
    names = [p.relative_to(data.folder).as_posix() for p in data.look().files.values()]
    assert names == [f"date={DAY}/bars-{hour:02d}.parquet" for hour in (0, 1, 2)]
    assert list(held(data)["AUSDT"]) == times.tolist()


def test_leftovers_of_a_killed_import_go(tmp_path: Path, data: DataSet) -> None:
    data.journal.mkdir(parents=True)
    (data.journal / "import.999999999.staged").write_text("x")
    import_files(data, [vision.write(tmp_path, "AUSDT", DAY, "1h")])
    assert {p.name for p in data.journal.iterdir()} == {"lock"}


def test_recorded_bars_come_through_exactly(recorded_data: Path, tmp_path: Path) -> None:
    """Real bars, printed as CSV in data.binance.vision's order, are the same doubles again."""
    recorded = read_klines(recorded_data / "klines_1m_usdm_2026-02" / "DOTUSDT.parquet")
    times, values = recorded["DOTUSDT"]
    day = vision.times("2026-02-03")
    here = np.isin(times, day)
    assert here.sum() == 1440
    rows = [
        ",".join(map(repr, [int(t), o, h, low, c, v, int(t) + 59_999, q, int(n), tv, tq, 0]))
        for t, (o, h, low, c, v, q, n, tv, tq) in zip(times[here], values[here].tolist(), strict=True)
    ]
    path = vision.write(tmp_path, "DOTUSDT", "2026-02-03", rows=rows)
    found_times, found = read_source(Source(path, "DOTUSDT", int(day[0]), int(day[-1]) + 60_000), "1m")
    np.testing.assert_array_equal(found_times, times[here])
    np.testing.assert_array_equal(found, values[here].T)


def test_names_are_read_as_they_are(tmp_path: Path) -> None:
    for name in ("1000PEPEUSDT", "BTCUSDT_240329", "币安人生USDT"):
        vision.write(tmp_path, name, DAY, "1h")
    found, passed, problems = sources([tmp_path], "usdt_perp", "1h")
    assert {s.symbol for s in found} == {"1000PEPEUSDT", "BTCUSDT_240329", "币安人生USDT"}
    assert not passed and not problems


FULL = """
import resource, sys
from bmac_stream.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("room", [0, 3_000, 20_000])
def test_a_file_system_that_takes_no_more(tmp_path: Path, data: DataSet, room: int) -> None:
    """The operating system itself refuses the bytes: while reading, or while writing."""
    import_files(data, [vision.write(tmp_path / "a", "AUSDT", DAY, "1h")])
    before = held(data)
    for symbol in ("BUSDT", "CUSDT", "DUSDT", "EUSDT"):
        vision.write(tmp_path / "b", symbol, "2024-02", "1h")
    words = [f"--into={data.root}", "--trade_type=usdt_perp", "--interval=1h"]
    command = [sys.executable, "-c", FULL, str(room), "history", "import", str(tmp_path / "b"), *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("NoSpace: "), done.stderr
    assert held(data) == before
    assert {p.name for p in data.journal.iterdir()} == {"lock"}
    assert import_files(data, [tmp_path / "b"]).n_added == 4 * 29 * 24
