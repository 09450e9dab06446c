"""bmac_stream.archive_verify: whatever is wrong with a long history is found, named, and can be put right."""

import asyncio
import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from bmac_stream import archive_verify
from bmac_stream.archive import DataSet
from bmac_stream.archive_file import STORE, BarFile, Rows
from bmac_stream.archive_verify import Absent, Report, connect, verify
from bmac_stream.backfill import ABSENT, BAR, Page
from bmac_stream.bar import COLUMNS
from bmac_stream.binance.markets import MARKETS
from bmac_stream.binance.protocol import ExchangeInfo, Klines, SymbolInfo
from bmac_stream.binance.rest import RestClient
from bmac_stream.cli import main
from bmac_stream.clock import Clock
from bmac_stream.config import Config, load_config
from bmac_stream.errors import ApiError
from bmac_stream.simulator.process import SimulatorProcess

HOUR = 3_600_000
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
N = 60
"""Bars of each symbol, over three or four days."""


@dataclasses.dataclass
class Truth:
    """What the exchange says: REST's bars of some symbols, read once."""

    config: Config
    source: str
    first_ms: int
    values: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Truth]:
    with SimulatorProcess(markets="usdm", n_symbols=8, hole_days=0) as exchange:
        urls = exchange.url("usdm")
        folder = tmp_path_factory.mktemp("cfg")
        source = exchange.ready["source"]
        config = {
            "interval": "1h",
            "trade_type": "usdt_perp",
            "exchange": {"rest": urls["rest"], "stream": urls["stream"], "source": source},
        }
        (folder / "config.json").write_text(json.dumps(config))
        found, _ = load_config(folder)
        first_g = exchange.ready["start_ms"] // HOUR - N - 2
        values = asyncio.run(_read(found, first_g))
        yield Truth(found, source, first_g * HOUR, values)


async def _read(config: Config, first_g: int) -> dict[str, np.ndarray]:
    async with connect(config, "usdt_perp") as exchange:
        found = {}
        for symbol in SYMBOLS:
            values, status = await exchange.ask(symbol, "1h", Page(first_g, N))
            assert (status == BAR).all(), symbol
            found[symbol] = values
        return found


def make(
    root: Path,
    truth: Truth,
    *,
    missing: dict[str, list[int]] | None = None,
    wrong: dict[str, list[int]] | None = None,
    absent: dict[str, list[int]] | None = None,
) -> DataSet:
    """The truth as a data set, with faults: numbers of bars (0 to N - 1) by symbol."""
    data = DataSet(root, "usdt_perp", "1h", truth.source)
    times = truth.first_ms + HOUR * np.arange(N)
    rows: list[Rows] = []
    for symbol, values in truth.values.items():
        mine = values.copy()
        mine[3, (wrong or {}).get(symbol, [])] += 0.01 * (mine[1] - mine[2] + 1)[0]
        mine[1] = np.maximum(mine[1], mine[3])
        there = np.setdiff1d(np.arange(N), (missing or {}).get(symbol, []))
        rows.append(Rows.fresh(symbol, times[there], mine[:, there], STORE))
    with data.change(STORE, "test") as change:
        for start in sorted({data.start_of(int(t)) for t in times}):
            inside = [one.part(one.open_time // data.span_ms * data.span_ms == start) for one in rows]
            change.update(
                start,
                lambda inside=inside: [one for one in inside if len(one.open_time)],  # type: ignore[misc]
                {symbol: times[numbers] for symbol, numbers in (absent or {}).items()},
            )
        change.commit()
    return data


def look(data: DataSet, truth: Truth | None = None, **more: Any) -> Report:
    ask = {"config": truth.config} if truth is not None else {"ask": False}
    return asyncio.run(verify(data, seed=1, **ask, **more))


def kinds(report: Report) -> list[str]:
    return sorted(fault.kind for fault in report.faults)


def assert_true(data: DataSet, truth: Truth) -> None:
    """The data set is the truth, each bar once."""
    table = (
        ds.dataset(data.folder, format="parquet")
        .to_table()
        .sort_by([("symbol", "ascending"), ("open_time", "ascending")])
    )
    assert table["symbol"].to_pylist() == [s for s in SYMBOLS for _ in range(N)]
    for i, name in enumerate(COLUMNS):
        np.testing.assert_array_equal(
            table[name].to_numpy(), np.concatenate([truth.values[s][i] for s in SYMBOLS]), err_msg=name
        )


def test_a_sound_data_set_is_clean(tmp_path: Path, truth: Truth) -> None:
    data = make(tmp_path / "h", truth)
    report = look(data, truth)
    assert report.clean and not report.faults, report.faults
    assert (report.n_symbols, report.n_bars, report.n_files) == (3, 3 * N, len(data.look().files))
    assert report.n_compared == 3 * N  # less than a page in each file
    assert (report.first, report.end) == (truth.first_ms, truth.first_ms + N * HOUR)
    assert look(data).clean and look(data).n_compared == 0


def test_gaps_are_found_and_filled(tmp_path: Path, truth: Truth) -> None:
    missing = {"BTCUSDT": [5, 6, 40], "ETHUSDT": [0, 1, 2], "SOLUSDT": [N - 1, N - 2]}
    data = make(tmp_path / "h", truth, missing=missing)
    offline = look(data)
    assert [
        (f.symbol, (f.first - truth.first_ms) // HOUR, (f.end - truth.first_ms) // HOUR)
        for f in offline.faults
    ] == [
        ("BTCUSDT", 5, 7),
        ("BTCUSDT", 40, 41),
    ]  # what is outside of a symbol's own bars, only the exchange can tell
    report = look(data, truth)
    spans = [
        (f.symbol, (f.first - truth.first_ms) // HOUR, (f.end - truth.first_ms) // HOUR)
        for f in report.faults
    ]
    assert spans == [("BTCUSDT", 5, 7), ("BTCUSDT", 40, 41), ("ETHUSDT", 0, 3), ("SOLUSDT", N - 2, N)]
    assert not report.clean
    assert kinds(look(data, truth, inner=True)) == ["gap", "gap"]
    mended = look(data, truth, repair=True)
    assert mended.clean and kinds(mended) == ["gap"] * 4
    assert_true(data, truth)
    assert not look(data, truth).faults
    table = ds.dataset(data.folder).to_table(filter=ds.field("came_from") == "rest")
    assert table.num_rows == 8


def test_known_holes_are_no_gaps(tmp_path: Path, truth: Truth) -> None:
    data = make(tmp_path / "h", truth, missing={"BTCUSDT": [5, 6]}, absent={"BTCUSDT": [5, 6]})
    report = look(data, truth)
    assert not report.faults and report.n_absent == 2
    hole = Absent(symbol="BTCUSDT", n=2, first=truth.first_ms + 5 * HOUR, end=truth.first_ms + 7 * HOUR)
    assert report.absent == [hole]


def test_absent_bars_are_asked_for_again_on_demand(tmp_path: Path, truth: Truth) -> None:
    """What the exchange lacked when it was asked, it may have now: an hour of trouble is no hole for ever."""
    gone = {"BTCUSDT": [5, 6, 40], "SOLUSDT": [6]}
    data = make(tmp_path / "h", truth, missing=gone, absent=gone)
    assert not look(data, truth).faults
    report = look(data, absent=True)
    assert not report.faults and "not asked for again" in report.notes[-1]
    report = look(data, truth, absent=True)
    assert kinds(report) == ["not_absent"] * 3 and not report.clean
    spans = [
        (f.symbol, (f.first - truth.first_ms) // HOUR, (f.end - truth.first_ms) // HOUR)
        for f in report.faults
    ]
    assert sorted(spans) == [("BTCUSDT", 5, 7), ("BTCUSDT", 40, 41), ("SOLUSDT", 6, 7)]
    assert look(data, truth).n_absent == 4, "without repair nothing is changed"
    mended = look(data, truth, absent=True, repair=True)
    assert mended.clean and kinds(mended) == ["not_absent"] * 3
    assert_true(data, truth)
    assert look(data, truth, absent=True).absent == []


def test_one_short_answer_makes_no_bar_absent(
    tmp_path: Path, truth: Truth, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that lacks its end, with no later row to prove it whole, is asked for again, twice."""
    data = make(tmp_path / "h", truth, missing={"BTCUSDT": [5, 6]})
    real, short = RestClient.klines, [2]

    async def klines(self: RestClient, *args: Any, **more: Any) -> Klines:
        rows = await real(self, *args, **more)
        if short[0]:
            short[0] -= 1
            return rows._replace(open_time=rows.open_time[:0], values=rows.values[:0])
        return rows

    monkeypatch.setattr(RestClient, "klines", klines)
    mended = look(data, truth, inner=True, sample=0, repair=True)
    assert mended.clean and kinds(mended) == ["gap"] and short == [0]
    assert_true(data, truth)


def test_bars_that_differ_are_corrected_visibly(tmp_path: Path, truth: Truth) -> None:
    data = make(tmp_path / "h", truth, wrong={"ETHUSDT": [7, 30]})
    report = look(data, truth)
    assert kinds(report) == ["differs", "differs"] and not report.clean
    assert "the exchange says" in report.faults[0].text and report.faults[0].symbol == "ETHUSDT"
    mended = look(data, truth, repair=True)
    assert mended.clean and kinds(mended) == ["differs", "differs"]
    assert_true(data, truth)
    after = look(data, truth)
    assert not after.faults and after.n_corrected == 2
    lines = list(data.corrections())
    assert [(line["open_time"] - truth.first_ms) // HOUR for line in lines] == [7, 30]
    assert lines[0]["new"] == truth.values["ETHUSDT"][:, 7].tolist() and lines[0]["why"] == "verify"


def test_bars_that_cannot_be(tmp_path: Path, truth: Truth) -> None:
    data = make(tmp_path / "h", truth)
    values = truth.values["BTCUSDT"][:, [9]].copy()
    values[3] = np.nan
    nan = Rows.fresh("BTCUSDT", np.array([truth.first_ms + 9 * HOUR]), values, STORE)
    with data.change(STORE, "test") as change:
        change.update(data.start_of(truth.first_ms + 9 * HOUR), lambda: [nan])
        change.commit()
    assert kinds(look(data)) == ["bad_bar"]
    report = look(data, truth, sample=0, repair=True)
    assert report.clean and kinds(report) == ["bad_bar", "differs"]
    assert_true(data, truth)


@pytest.mark.parametrize("which", [0, 1, -1])
@pytest.mark.parametrize("how", ["flipped", "cut", "emptied"])
def test_damaged_files_are_set_aside_and_fetched_again(
    tmp_path: Path, truth: Truth, which: int, how: str
) -> None:
    data = make(tmp_path / "h", truth)
    path = list(data.look().files.values())[which]
    body = bytearray(path.read_bytes())
    if how == "flipped":
        body[len(body) // 4] ^= 1
    else:
        body = body[: len(body) // 2] if how == "cut" else bytearray()
    path.write_bytes(body)
    assert kinds(look(data)) == ["damaged"] and str(path) in look(data).faults[0].text
    report = look(data, truth, repair=True)
    assert report.clean and "damaged" in kinds(report)
    assert [p.read_bytes() for p in (data.journal / "damaged").iterdir()] == [bytes(body)]
    if how == "flipped":  # the file itself says what it held
        assert_true(data, truth)
    else:  # of the whole day, what the exchange has
        table = ds.dataset(data.folder, format="parquet").to_table()
        times = table["open_time"].cast("int64").to_numpy()
        here = (times >= truth.first_ms) & (times < truth.first_ms + N * HOUR)
        assert here.sum() == 3 * N and len(set(zip(table["symbol"].to_pylist(), times, strict=True))) == len(
            times
        )
    assert not look(data, truth).faults


def test_flipped_bits_are_never_silently_other_bars(tmp_path: Path, truth: Truth) -> None:
    """A bit anywhere in a file: it is damage, or nothing of it reaches a bar."""
    data = make(tmp_path / "h", truth)
    start, path = list(data.look().files.items())[1]  # a whole day, whatever the hour is now
    sound = path.read_bytes()
    with data.open(start) as file:
        before = [(r.symbol, r.open_time.tobytes(), r.values.tobytes()) for r in file]
    rng = np.random.default_rng(3)
    refused = 0
    for at in rng.integers(0, len(sound), 300).tolist():
        body = bytearray(sound)
        body[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(body)
        try:
            with data.open(start) as file:
                after = [(r.symbol, r.open_time.tobytes(), r.values.tobytes()) for r in file]
        except archive_verify.HistoryError:
            refused += 1
        else:
            assert after == before, at
    assert refused > 250


def test_files_that_are_not_ours(tmp_path: Path, truth: Truth) -> None:
    data = make(tmp_path / "h", truth)
    paths = list(data.look().files.values())
    stray = paths[0].with_name("more.parquet")
    shutil.copy(paths[0], stray)
    (data.folder / "notes.txt").write_text("mine")
    report = look(data, truth, repair=True)
    assert kinds(report) == ["stray"] and not report.clean
    assert any("notes.txt" in note for note in report.notes)
    assert stray.exists() and (data.folder / "notes.txt").read_text() == "mine"
    stray.unlink()
    shutil.copy(paths[0], paths[1])  # a file in another's place
    report = look(data)
    assert kinds(report) == ["foreign"] and "start_ms is" in report.faults[0].text


def test_another_version_is_named(tmp_path: Path, truth: Truth, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make(tmp_path / "h", truth)
    monkeypatch.setattr("bmac_stream.archive_file.VERSION", 2)
    report = look(data)
    assert set(kinds(report)) == {"foreign"} and "format 1, this program knows 2" in report.faults[0].text
    path = next(iter(data.look().files.values()))
    pq.write_table(pq.read_table(path), path)  # the same rows, not written by us
    with pytest.raises(archive_verify.HistoryDamaged, match="not of a history"):
        BarFile(path)


def test_rows_that_are_not_in_order_or_come_twice(tmp_path: Path, truth: Truth) -> None:
    data = make(tmp_path / "h", truth)
    start, path = next(iter(data.look().files.items()))
    with data.open(start) as file:
        footer = pq.read_metadata(path).metadata
        meta = file.meta
    table = pq.read_table(path)
    n = meta.symbols[0][1]
    order = [1, 0, *range(2, n), *range(n, table.num_rows)]
    pq.write_table(table.take(order).replace_schema_metadata(footer), path)
    assert "not what its description says" in look(data).faults[0].text
    order = [0, 1, 1, *range(3, n), *range(n, table.num_rows)]
    pq.write_table(table.take(order).replace_schema_metadata(footer), path)
    assert "come twice" in look(data).faults[0].text


def test_values_that_were_changed_by_another_program(tmp_path: Path, truth: Truth) -> None:
    """Every page has its checksum then, and the description is as it was: only the columns' digests tell."""
    data = make(tmp_path / "h", truth)
    path = next(iter(data.look().files.values()))
    footer, table = pq.read_metadata(path).metadata, pq.read_table(path)
    close = table["close"].to_numpy().copy()
    close[0] += 1e-9
    at = table.schema.get_field_index("close")
    table = table.set_column(at, "close", pa.array(close)).replace_schema_metadata(footer)
    pq.write_table(table, path, write_page_checksum=True)
    assert "column close does not match its CRC-32" in look(data).faults[0].text


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("close", pa.float32()),
        ("open_time", pa.timestamp("us", "UTC")),
        ("open_time", pa.timestamp("ms", "Asia/Tokyo")),
    ],
)
def test_other_types_of_columns_are_named(tmp_path: Path, truth: Truth, column: str, kind: Any) -> None:
    data = make(tmp_path / "h", truth)
    path = next(iter(data.look().files.values()))
    footer, table = dict(pq.read_metadata(path).metadata), pq.read_table(path)
    footer.pop(b"ARROW:schema")
    at = table.schema.get_field_index(column)
    table = table.set_column(at, column, table[column].cast(kind)).replace_schema_metadata(footer)
    pq.write_table(table, path)
    assert f"column {column} is {kind}, expected" in look(data).faults[0].text


def test_what_the_exchange_has_not(tmp_path: Path, truth: Truth, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing bar that it has not either is known to be absent; one that we have is named, and stays."""
    data = make(tmp_path / "h", truth, missing={"SOLUSDT": [20]})
    real = archive_verify.Exchange.ask

    async def ask(self: archive_verify.Exchange, symbol: str, interval: str, page: Page) -> Any:
        values, status = await real(self, symbol, interval, page)
        for of, n in (("SOLUSDT", 20), ("ETHUSDT", 30)):
            at = truth.first_ms // HOUR + n - page.g
            if symbol == of and 0 <= at < page.n:
                values[:, at], status[at] = np.nan, ABSENT
        return values, status

    monkeypatch.setattr(archive_verify.Exchange, "ask", ask)
    report = look(data, truth, repair=True)
    assert {f.kind: (f.symbol, f.repaired) for f in report.faults} == {
        "gap": ("SOLUSDT", True),
        "extra": ("ETHUSDT", False),
    }
    report = look(data)
    assert not report.faults and (report.n_absent, report.n_bars) == (1, 3 * N - 1)


def test_an_exchange_that_cannot_be_asked_is_a_fault(tmp_path: Path, truth: Truth) -> None:
    data = make(tmp_path / "h", truth, missing={"BTCUSDT": [5]})
    folder = tmp_path / "cfg"
    folder.mkdir()
    config = {
        "interval": "1h",
        "trade_type": "usdt_perp",
        "http_timeout_sec": 0.5,
        "exchange": {"rest": "http://127.0.0.1:9", "stream": "ws://127.0.0.1:9", "source": truth.source},
    }
    (folder / "config.json").write_text(json.dumps(config))
    report = asyncio.run(verify(data, config=load_config(folder)[0], repair=True))
    assert kinds(report) == ["gap", "unasked"] and not report.clean


def test_another_exchange_is_refused(tmp_path: Path, truth: Truth) -> None:
    data = make(tmp_path / "h", dataclasses.replace(truth, source="embedded:other"))
    with pytest.raises(archive_verify.HistoryForeign, match="the exchange is"):
        look(data, truth)
    report = asyncio.run(verify(data))
    assert report.clean and "no exchange was asked" in report.notes[0]


def test_from_the_command_line(tmp_path: Path, truth: Truth, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "h"
    make(root, truth, missing={"BTCUSDT": [5]})
    cfg = f"--cfg={truth.config.base_dir}"
    assert main(["history", "verify", str(root), "--offline"]) == 1
    assert "FAULT gap: BTCUSDT: 1 bars are missing, 20" in capsys.readouterr().out
    assert main(["history", "verify", str(root), cfg, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["clean"] is False and told["data_sets"][0]["faults"][0]["kind"] == "gap"
    assert main(["history", "verify", str(root), cfg, "--repair"]) == 0
    assert "repaired gap" in capsys.readouterr().out
    assert main(["history", "verify", str(root / "usdt_perp" / "1h"), cfg]) == 0
    other = tmp_path / "other"
    make(other, truth, missing={"BTCUSDT": [5, 6]}, absent={"BTCUSDT": [5, 6]})
    assert main(["history", "verify", str(other), cfg]) == 0
    said = capsys.readouterr().out
    assert "absent by the exchange's word: BTCUSDT: 2 bars, 20" in said
    assert "2 absent by the exchange's word," in said
    assert main(["history", "verify", str(other), cfg, "--absent"]) == 1
    assert "FAULT not_absent: BTCUSDT: 2 bars that are noted as absent are there" in capsys.readouterr().out
    assert main(["history", "verify", str(tmp_path / "nothing")]) == 1
    assert "no history there" in capsys.readouterr().err


def test_the_embedded_exchange_of_a_config_is_started_and_asked(tmp_path: Path) -> None:
    """Its market follows from its seed, so it can be asked for what it said before it was stopped."""
    config = {
        "interval": "1h",
        "trade_type": "usdt_perp",
        "exchange": "embedded",
        "embedded": {"n_symbols": 8, "seed": 11},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    found, _ = load_config(tmp_path)

    async def read() -> tuple[str, int, np.ndarray]:
        async with connect(found, "usdt_perp") as exchange:
            first_g = int(exchange.clock.now_ms()) // HOUR - 30
            values, status = await exchange.ask("BTCUSDT", "1h", Page(first_g, 20))
            assert (status == BAR).all()
            return exchange.source, first_g, values

    source, first_g, values = asyncio.run(read())
    data = DataSet(tmp_path / "history", "usdt_perp", "1h", source)
    times = HOUR * np.arange(first_g, first_g + 20)
    values[3, 4] = values[1, 4] = values[1, 4] + 1
    rows = Rows.fresh("BTCUSDT", times, values, STORE)
    with data.change(STORE, "test") as change:
        for start in sorted(set((times // data.span_ms * data.span_ms).tolist())):
            part = rows.part(times // data.span_ms * data.span_ms == start)
            change.update(start, lambda part=part: [part])  # type: ignore[misc]
        change.commit()
    report = asyncio.run(verify(data, config=found, repair=True))
    assert report.clean and kinds(report) == ["differs"], report.faults
    assert report.faults[0].first == HOUR * (first_g + 4)


class FakeRest:
    """An exchange with a list of symbols, and bars from `begins` on."""

    def __init__(self, market: str, symbols: list[SymbolInfo], begins: dict[str, int] | None = None) -> None:
        self.market = MARKETS[market]
        self._symbols, self._begins = symbols, begins or {}
        self.asked: list[str] = []

    async def exchange_info(self) -> ExchangeInfo:
        return ExchangeInfo(tuple(self._symbols), (), None)

    async def klines(self, symbol: str, interval: str, *, start_ms: int, end_ms: int, **_: Any) -> Klines:
        self.asked.append(symbol)
        if symbol not in self._begins:
            raise ApiError(400, -1121, "Invalid symbol.")
        first = max(start_ms, self._begins[symbol])
        times = np.array([first] if first <= end_ms else [], np.int64)
        return Klines(times, np.ones((len(times), 9)))


def info(symbol: str, status: str = "TRADING", onboard_ms: int = 0) -> SymbolInfo:
    return SymbolInfo(symbol, status, "PERPETUAL", "X", "USDT", "USDT", onboard_ms, 0, None, None, None)


@pytest.mark.parametrize("market", ["usdm", "spot"])
async def test_listing_and_delisting_decide_what_a_gap_is(tmp_path: Path, market: str) -> None:
    """OLD is whole; YOUNG was listed in bar 10, LATE there too but its bars begin with 14; GONE is delisted
    after bar 20, BEHIND trades and ends there; STRANGE is not known at the exchange any more."""
    data = DataSet(tmp_path / "h", "usdt_perp" if market == "usdm" else "usdt_spot", "1h", "binance")
    times = 1_700_006_400_000 + HOUR * np.arange(30)
    begins = {"YOUNG": 10, "LATE": 14, "STRANGE": 4}
    ends = {"GONE": 21, "BEHIND": 21, "STRANGE": 9}
    rows = []
    for symbol in sorted(("OLD", "YOUNG", "LATE", "GONE", "BEHIND", "STRANGE")):
        part = times[begins.get(symbol, 0) : ends.get(symbol, 30)]
        values = np.repeat([[2.0], [3.0], [1.0], [2.0], [1.0], [1.0], [1.0], [1.0], [1.0]], len(part), axis=1)
        rows.append(Rows.fresh(symbol, part, values, STORE))
    with data.change(STORE, "test") as change:
        for start in sorted(set((times // data.span_ms * data.span_ms).tolist())):
            inside = [one.part(one.open_time // data.span_ms * data.span_ms == start) for one in rows]
            change.update(start, lambda i=inside: i)  # type: ignore[misc]
        change.commit()
    listed = int(times[10])
    onboard = listed if market == "usdm" else 0
    rest = FakeRest(
        market,
        [
            info("OLD"),
            info("YOUNG", onboard_ms=onboard),
            info("LATE", onboard_ms=onboard),
            info("GONE", "SETTLING" if market == "usdm" else "BREAK"),
            info("BEHIND"),
        ],
        {"YOUNG": listed, "LATE": listed},
    )
    run = archive_verify._Verifier(data, Report(data_set="", faults=[], notes=[]), 0, 1)
    run.files()
    exchange = archive_verify.Exchange(rest, Clock(), "binance")  # type: ignore[arg-type]
    gaps = run.gaps(await run.limits(exchange))
    found = {
        s: [((run.time_of(a) - times[0]) // HOUR, (run.time_of(b) - times[0]) // HOUR) for a, b in g]
        for s, g in gaps.items()
    }
    assert found == {"LATE": [(10, 14)], "BEHIND": [(21, 30)]}
    assert sorted(rest.asked) == (["STRANGE"] if market == "usdm" else ["LATE", "STRANGE", "YOUNG"])


@pytest.mark.parametrize(("since_close_ms", "last"), [(900.0, 22), (1_300.0, 23)])
async def test_a_bar_that_has_just_closed_is_not_missing_yet(
    tmp_path: Path, since_close_ms: float, last: int
) -> None:
    """A day's file that says nothing: what it should hold ends with the newest bar that REST is believed on,
    which here, with a clock that may be wrong by 200 ms, is so 1.2 s after its close."""
    data = DataSet(tmp_path / "h", "usdt_perp", "1h", "binance")
    day = 1_700_006_400_000
    values = np.repeat([[2.0], [3.0], [1.0], [2.0], [1.0], [1.0], [1.0], [1.0], [1.0]], 24, axis=1)
    with data.change(STORE, "test") as change:
        for start in (day - 24 * HOUR, day):
            rows = Rows.fresh("OLD", start + HOUR * np.arange(24), values, STORE)
            change.update(start, lambda rows=rows: [rows])  # type: ignore[misc]
        change.commit()
    data.path_of(day).write_bytes(b"")
    run = archive_verify._Verifier(data, Report(data_set="", faults=[], notes=[]), 0, 1)
    run.files()
    clock = SimpleNamespace(now_ms=lambda: day + 24 * HOUR + since_close_ms, uncertainty_ms=200.0)
    rest = FakeRest("usdm", [info("OLD")])
    exchange = archive_verify.Exchange(rest, clock, "binance")  # type: ignore[arg-type]
    gaps = run.gaps(await run.limits(exchange))
    assert gaps == {"OLD": [(run.g_of(day), run.g_of(day + HOUR * last) + 1)]}
