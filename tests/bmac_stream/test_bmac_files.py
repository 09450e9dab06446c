"""bmac_stream.bmac_files: what of the store is written when, in a directory of the real world."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bmac_stream
from bmac_stream import bmac_files
from bmac_stream.bar import COLUMNS, N_COLUMNS
from bmac_stream.binance.protocol import SymbolInfo
from bmac_stream.bmac_disk import OneFile
from bmac_stream.bmac_files import Follower, RunDirectory
from bmac_stream.bmac_layout import ready_name
from bmac_stream.client import Store
from bmac_stream.errors import NoSpace, RunDirectoryError, RunDirectoryTaken
from bmac_stream.funding import funding_spec
from bmac_stream.tables import ExchangeInfoTable
from shm import Status, StoreWriter
from tests.bmac_stream.fake_collector import G0, MINUTE, FakeCollector, bar, run_time

LAST = G0 + 59
WINDOW = 50
ZONE = "Asia/Hong_Kong"
ALL = ("AAAUSDT", "BBBUSDT", "CCCUSDT")


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[FakeCollector]:
    with FakeCollector.start(tmp_path) as collector:
        yield collector


@pytest.fixture
def store(writer: FakeCollector, tmp_path: Path) -> Iterator[Store]:
    with bmac_stream.attach("rule", directory=tmp_path) as attached:
        yield attached


class Run:
    """A run directory under test, and what lies in it."""

    def __init__(self, store: Store, base: Path, **options: object) -> None:
        self.said: list[str] = []
        self.base = base
        self.folder = base / "usdt_perp_1m"
        self.exginfo = base / "exginfo_1m"
        self.directory = RunDirectory(
            store, base, "usdt_perp", "usdm", say=self.said.append, **options  # type: ignore[arg-type]
        )  # fmt: skip

    def update(self) -> int:
        if not self.directory.is_open:
            self.directory.open()
        return self.directory.update()

    def names(self, folder: Path | None = None) -> list[str]:
        return sorted(path.name for path in (folder or self.folder).iterdir() if path.name[0] != ".")

    def frame(self, symbol: str) -> pd.DataFrame:
        return pd.read_parquet(self.folder / f"{symbol}.pqt")

    def ready(self, symbol: str) -> list[int]:
        """run_times (g of the bar) of its ready files."""
        zone = pd.Timestamp(0).tz_localize(ZONE).tzinfo
        found = []
        for path in self.folder.glob("*.ready"):
            if path.name.startswith(f"{symbol}_"):
                at = pd.to_datetime(path.name[-21:-6], format="%Y%m%d_%H%M%S").tz_localize(zone)
                found.append(int(at.timestamp() * 1000) // MINUTE - 1)
        return found

    def holds(
        self, symbol: str, slot: int, last_g: int, n: int = WINDOW, without: tuple[int, ...] = ()
    ) -> None:
        """Asserts that the file has just these bars, and the one ready file that says so."""
        g = np.array([g for g in range(last_g - n + 1, last_g + 1) if g not in without])
        frame = self.frame(symbol)
        begin = frame["candle_begin_time"].astype("int64").to_numpy() // 1_000_000
        np.testing.assert_array_equal(begin, g * MINUTE)
        np.testing.assert_array_equal(frame[list(COLUMNS)].to_numpy(), bar(slot, g))
        assert self.ready(symbol) == [last_g]


def left(path: Path) -> tuple[int, int]:
    """Whether it was written since can be seen from this."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns


@pytest.fixture
def run(store: Store, tmp_path: Path) -> Iterator[Run]:
    made = Run(store, tmp_path / "base")
    yield made
    made.directory.close()


def test_every_close_is_written(run: Run, writer: FakeCollector) -> None:
    assert run.update() == 3
    for slot, symbol in enumerate(ALL):
        run.holds(symbol, slot, LAST)
    assert run.update() == 0, "nothing new, nothing written"
    g = writer.close_bar()
    assert run.update() == 3
    for slot, symbol in enumerate(ALL):
        run.holds(symbol, slot, g)
    assert len(run.names()) == 6
    assert [line.partition(", ")[2] for line in run.said] == ["files of all symbols ready"] * 2


def test_early_symbols_do_not_wait_for_the_last(run: Run, writer: FakeCollector) -> None:
    run.update()
    writer.append(1, LAST + 1, bar(1, LAST + 1))
    before = left(run.folder / "AAAUSDT.pqt")
    assert run.update() == 1
    run.holds("BBBUSDT", 1, LAST + 1)
    run.holds("AAAUSDT", 0, LAST)
    assert left(run.folder / "AAAUSDT.pqt") == before, "only what changed is written"
    for slot in (0, 2):
        writer.append(slot, LAST + 1, bar(slot, LAST + 1))
    writer.complete(LAST + 1)
    assert run.update() == 2


def test_a_market_that_completes_while_files_are_written_is_told_when_they_are(
    run: Run, writer: FakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.update()
    writer.append(0, LAST + 1, bar(0, LAST + 1))
    publish = OneFile.publish

    def slow(self: OneFile, *args: object) -> int:
        if writer.complete_g == LAST:
            for slot in (1, 2):
                writer.append(slot, LAST + 1, bar(slot, LAST + 1))
            writer.complete(LAST + 1)
        return publish(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(OneFile, "publish", slow)
    assert run.update() == 1 and len(run.said) == 1
    run.directory.wait(5.0)  # returns at once
    assert run.update() == 2 and run.said[-1].endswith("files of all symbols ready")


def test_a_gap_is_not_filled_and_is_not_ready(run: Run, writer: FakeCollector) -> None:
    run.update()
    g = writer.close_bar(pending=("AAAUSDT",), absent=("BBBUSDT",))
    assert run.update() == 1
    run.holds("AAAUSDT", 0, LAST)
    run.holds("BBBUSDT", 1, LAST)
    assert run.said[-1].endswith("files of 1/3 symbols ready")
    writer.close_bar()
    assert run.update() == 3
    run.holds("BBBUSDT", 1, g + 1, without=(g,))
    writer.correct(0, g, bar(0, g))  # the late one came
    assert run.update() == 1
    run.holds("AAAUSDT", 0, g + 1)
    writer.correct(2, g, bar(2, g + 7))  # and one was revised
    assert run.update() == 1
    frame = run.frame("CCCUSDT")
    np.testing.assert_array_equal(frame[list(COLUMNS)].to_numpy()[-2], bar(2, g + 7))
    assert run.ready("CCCUSDT") == [g + 1]


def test_a_late_fill_of_the_newest_bar_makes_it_ready(run: Run, writer: FakeCollector) -> None:
    g = writer.close_bar(pending=("AAAUSDT",))
    run.update()
    run.holds("AAAUSDT", 0, g - 1, n=WINDOW - 1)
    writer.correct(0, g, bar(0, g))
    assert run.update() == 1
    run.holds("AAAUSDT", 0, g)


def test_more_corrections_than_the_journal_holds(run: Run, writer: FakeCollector) -> None:
    run.update()
    for _ in range(4200):
        writer.correct(0, LAST, bar(0, LAST + 1))
    assert run.update() == 3
    np.testing.assert_array_equal(run.frame("AAAUSDT")[list(COLUMNS)].to_numpy()[-1], bar(0, LAST + 1))


def test_a_symbol_without_a_single_bar_has_no_file(run: Run, writer: FakeCollector) -> None:
    slot = writer.add_symbol("NEWUSDT", LAST)
    writer.load(slot, LAST, np.full((1, N_COLUMNS), np.nan), np.array([Status.ABSENT]))
    writer.activate(slot)
    run.update()
    assert not [name for name in run.names() if name.startswith("NEW")]
    g = writer.close_bar()
    run.update()
    run.holds("NEWUSDT", slot, g, n=1)


def test_listings_and_delistings(run: Run, writer: FakeCollector) -> None:
    run.update()
    slot = writer.list("币安人生USDT", LAST - 4, 5)
    assert run.update() == 1
    run.holds("币安人生USDT", slot, LAST, n=5)
    writer.remove_symbol(1)
    run.update()
    assert not [name for name in run.names() if name.startswith("BBB")]
    assert "AAAUSDT.pqt" in run.names()
    g = writer.close_bar()
    run.update()
    again = writer.list("BBBUSDT", g, 1)  # listed again: another slot
    run.update()
    run.holds("BBBUSDT", again, g, n=1)


def test_a_symbol_that_went_while_nobody_looked(run: Run, store: Store, writer: FakeCollector) -> None:
    run.update()
    run.directory.close()
    shutil.copy(run.folder / "BBBUSDT.pqt", run.folder / "mine.pqt")
    writer.remove_symbol(1)
    writer.set_phase("history")
    again = Run(store, run.base)
    again.update()
    assert "BBBUSDT.pqt" in run.names(), "its symbols may still be loading"
    writer.set_phase("live")
    again.update()
    again.directory.close()
    assert run.names() == sorted(
        ["mine.pqt"] + [f"{s}.pqt" for s in ("AAAUSDT", "CCCUSDT")]
        + [ready_name(s, run_time(LAST), ZONE) for s in ("AAAUSDT", "CCCUSDT")]
    )  # fmt: skip


def test_a_restart_keeps_what_is_there_and_writes_what_is_new(
    run: Run, store: Store, writer: FakeCollector
) -> None:
    run.update()
    run.directory.close()
    (run.folder / ".AAAUSDT.pqt.tmp").write_bytes(b"of a process that was killed")
    (run.folder / ready_name("AAAUSDT", run_time(LAST - 3), ZONE)).touch()
    (run.folder / "BBBUSDT.pqt").write_bytes(b"PAR1 truncated")
    (run.folder / ready_name("CCCUSDT", run_time(LAST), ZONE)).unlink()
    again = Run(store, run.base)
    again.update()
    for slot, symbol in enumerate(ALL):
        again.holds(symbol, slot, LAST)
    assert len(again.names()) == 6 and not (run.folder / ".AAAUSDT.pqt.tmp").exists()
    again.directory.close()


def test_history_that_is_older_than_the_files_waits(run: Run, store: Store, writer: FakeCollector) -> None:
    run.update()
    run.directory.close()
    future = ready_name("AAAUSDT", run_time(LAST + 9), ZONE)
    (run.folder / ready_name("AAAUSDT", run_time(LAST), ZONE)).rename(run.folder / future)
    writer.set_phase("history")
    again = Run(store, run.base)
    assert again.update() == 2
    assert future in again.names(), "what is there is further than the store is yet"
    writer.set_phase("live")
    assert again.update() == 1
    again.holds("AAAUSDT", 0, LAST)
    again.directory.close()


def test_files_of_another_source_never_stay(run: Run, tmp_path: Path, writer: FakeCollector) -> None:
    run.update()
    run.directory.close()
    with (
        FakeCollector.start(tmp_path, ("AAAUSDT",), name="other", source="binance"),
        bmac_stream.attach("other", directory=tmp_path) as other,
    ):
        again = Run(other, run.base)
        again.directory.open()
        assert again.names() == []
        again.update()
        again.holds("AAAUSDT", 0, LAST)
        assert len(again.names()) == 2
        again.directory.close()


def test_another_save_type_replaces_the_files(run: Run, store: Store, writer: FakeCollector) -> None:
    run.update()
    run.directory.close()
    again = Run(store, run.base, save_type="feather")
    again.update()
    assert sorted(path.suffix for path in run.folder.glob("[!.]*")) == [".fea"] * 3 + [".ready"] * 3
    frame = pd.read_feather(run.folder / "AAAUSDT.fea")
    assert list(frame.columns) == ["candle_begin_time", *COLUMNS] and len(frame) == WINDOW
    again.directory.close()


def test_stray_files_are_left_alone(run: Run, writer: FakeCollector) -> None:
    run.folder.mkdir(parents=True)
    strays = {
        "notes.txt": b"mine",
        "OLDUSDT.pqt": b"PAR1 no parquet",
        "DOGEUSDT_20240101_000000.ready": b"",
        "half.fea": b"",
        ".hidden": b"mine",
    }
    for name, content in strays.items():
        (run.folder / name).write_bytes(content)
    pd.DataFrame({"a": [1]}).to_parquet(run.folder / "backup.pqt")
    (run.folder / "folder.pqt").mkdir()
    (run.folder / "BBBUSDT_20240101_000000.ready").mkdir()
    (run.folder / ready_name("AAAUSDT", run_time(LAST + 100), ZONE)).touch()  # promises what nobody has
    run.update()
    writer.close_bar()
    run.update()
    for name, content in strays.items():
        assert (run.folder / name).read_bytes() == content
    assert len(pd.read_parquet(run.folder / "backup.pqt")) == 1 and (run.folder / "folder.pqt").is_dir()
    (run.folder / "BBBUSDT_20240101_000000.ready").rmdir()
    for slot, symbol in enumerate(ALL):
        run.holds(symbol, slot, LAST + 1)
    (run.folder / ready_name("AAAUSDT", run_time(LAST + 200), ZONE)).touch()  # and one that comes meanwhile
    g = writer.close_bar()
    run.update()
    run.holds("AAAUSDT", 0, g)


def test_files_of_bmac_are_taken_over(run: Run, writer: FakeCollector) -> None:
    run.folder.mkdir(parents=True)
    for symbol in ALL:
        pd.DataFrame({"open": [1.0]}).to_parquet(run.folder / f"{symbol}.pqt")
        (run.folder / ready_name(symbol, run_time(LAST - 1), ZONE)).touch()
    run.update()
    for slot, symbol in enumerate(ALL):
        run.holds(symbol, slot, LAST)


def test_files_that_somebody_removes_are_written_again(run: Run, writer: FakeCollector) -> None:
    run.update()
    (run.folder / "AAAUSDT.pqt").unlink()
    (run.folder / ready_name("BBBUSDT", run_time(LAST), ZONE)).unlink()
    g = writer.close_bar()
    run.update()
    for slot, symbol in enumerate(ALL):
        run.holds(symbol, slot, g)


def test_a_reader_that_falls_behind_goes_on_with_the_newest(run: Run, writer: FakeCollector) -> None:
    run.update()
    for _ in range(4):
        writer.close_bar()
    g = writer.close_bar(absent=("CCCUSDT",))
    assert run.update() == 3
    run.holds("AAAUSDT", 0, g)
    run.holds("CCCUSDT", 2, g - 1, n=WINDOW - 1)
    assert run.directory.n_skipped == 4 + 4 + 3
    assert run.said[-1].startswith("behind: 11 bars ")


def test_fewer_rows_than_the_window(store: Store, writer: FakeCollector, tmp_path: Path) -> None:
    run = Run(store, tmp_path / "base", num_candles=7)
    run.update()
    run.holds("AAAUSDT", 0, LAST, n=7)
    run.directory.close()


def test_another_zone(store: Store, writer: FakeCollector, tmp_path: Path) -> None:
    run = Run(store, tmp_path / "base", zone="UTC")
    run.update()
    at = pd.Timestamp(run_time(LAST), unit="ms").strftime("%Y%m%d_%H%M%S")
    assert f"AAAUSDT_{at}.ready" in run.names()
    run.directory.close()


def test_columns_beside_the_exchanges_own(tmp_path: Path) -> None:
    columns = ("vwap", *COLUMNS)
    name = {"name": "wide", "columns": columns, "symbols": (), "history": 0}
    with FakeCollector.start(tmp_path, **name) as writer:  # type: ignore[arg-type]
        slot = writer.add_symbol("AAAUSDT", G0)
        numbers = np.arange(G0, G0 + 60)
        wide = np.column_stack([np.full(60, -1.0), bar(0, numbers)])
        writer.load(slot, G0, wide, np.full(60, Status.BAR))
        writer.activate(slot)
        writer.complete(LAST)
        with bmac_stream.attach("wide", directory=tmp_path) as store:
            run = Run(store, tmp_path / "base")
            run.update()
            run.holds("AAAUSDT", 0, LAST)
            run.directory.close()


# ---- exginfo and funding


def symbol_info(symbol: str, **changes: object) -> SymbolInfo:
    fields: dict[str, object] = {
        "status": "TRADING", "contract_type": "PERPETUAL", "base_asset": symbol[:-4], "quote_asset": "USDT",
        "margin_asset": "USDT", "onboard_ms": 1, "delivery_ms": 0, "price_tick": "0.10", "lot_size": "0.001",
        "min_notional": "100",
    }  # fmt: skip
    return SymbolInfo(symbol, **(fields | changes))  # type: ignore[arg-type]


def exginfo_ready(run: Run) -> list[str]:
    return [name for name in run.names(run.exginfo) if name.endswith(".ready")]


def test_exginfo_every_period(run: Run, writer: FakeCollector) -> None:
    run.update()
    assert run.names(run.exginfo) == [], "there is none yet"
    table = ExchangeInfoTable(writer, 0o600, None)
    table.write([symbol_info(s) for s in ("CCCUSDT", "AAAUSDT", "XUSDT", "BBBUSDT")], ALL, 1.0)
    run.update()
    frame = pd.read_parquet(run.exginfo / "exginfo.pqt")
    assert frame["symbol"].tolist() == ["CCCUSDT", "AAAUSDT", "BBBUSDT"]
    assert frame["price_tick"].tolist() == [Decimal("0.10")] * 3
    assert exginfo_ready(run) == [ready_name("exginfo", run_time(LAST), ZONE)]
    before = left(run.exginfo / "exginfo.pqt")
    writer.append(0, LAST + 1, bar(0, LAST + 1))  # the first symbol of a new period
    run.update()
    assert exginfo_ready(run) == [ready_name("exginfo", run_time(LAST + 1), ZONE)]
    assert left(run.exginfo / "exginfo.pqt") == before, "it says the same"
    table.write([symbol_info("AAAUSDT"), symbol_info("BBBUSDT", lot_size=None)], ALL, 2.0)
    for slot in (1, 2):
        writer.append(slot, LAST + 1, bar(slot, LAST + 1))
    writer.complete(LAST + 1)
    writer.next_g += 1
    writer.close_bar()
    run.update()
    frame = pd.read_parquet(run.exginfo / "exginfo.pqt")
    assert frame["lot_size"].tolist() == [Decimal("0.001"), None]
    assert exginfo_ready(run) == [ready_name("exginfo", run_time(LAST + 2), ZONE)]


def test_funding(store: Store, writer: FakeCollector, tmp_path: Path) -> None:
    run = Run(store, tmp_path / "base", funding=True, num_candles=3)
    run.update()
    assert run.names(run.exginfo) == [], "the companion store is not there yet"
    spec = funding_spec(writer.spec, "rule", 8)
    with StoreWriter.open("rule.funding", spec, directory=tmp_path) as rates:
        for i, symbol in enumerate(("AAAUSDT", "ZZZUSDT", "QUARTER_240927")):
            rates.add_symbol(symbol, LAST)
            rates.load(i, LAST, rate_row(i, LAST)[None], np.array([Status.BAR], np.uint8))
            rates.activate(i)
        rates.complete(LAST)
        run.update()
        frame = pd.read_parquet(run.exginfo / "funding.pqt")
        assert frame["symbol"].tolist() == ["AAAUSDT", "ZZZUSDT", "QUARTER_240927"]
        assert exginfo_ready(run) == [ready_name("funding", run_time(LAST), ZONE)]
        for g in range(LAST + 1, LAST + 6):
            for i in range(3):
                there = not (i == 1 and g == LAST + 4)
                row = rate_row(i, g) if there else np.full(5, np.nan)
                rates.append(i, g, row, Status.BAR if there else Status.ABSENT)
            rates.complete(g)
        run.update()
        frame = pd.read_parquet(run.exginfo / "funding.pqt")
        # BMAC: time >= run_time - interval * num_candles, so one more period than bars
        at = frame["time"].dt.tz_convert("UTC")
        got = list(zip(at.astype("int64") // 1000, frame["symbol"], frame["fundingRate"], strict=True))
        wanted = [
            (run_time(g), symbol, float(rate_row(i, g)[0]))
            for g in range(LAST + 2, LAST + 6)
            for i, symbol in enumerate(("AAAUSDT", "ZZZUSDT", "QUARTER_240927"))
            if not (i == 1 and g == LAST + 4)
        ]
        assert repr(got) == repr(wanted)
        assert exginfo_ready(run) == [ready_name("funding", run_time(LAST + 5), ZONE)]
        for i in range(3):  # a run_time at which it could not be read
            rates.append(i, LAST + 6, np.full(5, np.nan), Status.ABSENT)
        rates.complete(LAST + 6)
        run.update()
        assert exginfo_ready(run) == [ready_name("funding", run_time(LAST + 5), ZONE)]
    run.directory.close()


def rate_row(i: int, g: int) -> np.ndarray:
    row = np.full(5, np.nan)
    row[0] = np.nan if i == 2 else 0.0001 * (i + 1) + (g % 10) * 1e-6
    return row


# ---- the disk


def test_a_full_disk_is_named_and_the_next_bars_go_on(
    run: Run, writer: FakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.update()
    real, full = os.write, [True]

    def write(fd: int, data: bytes) -> int:
        if full[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, data)

    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr(bmac_files, "RETRY_S", (0.0,))
    for _ in range(3):
        g = writer.close_bar()
        assert run.update() == 0
    assert isinstance(run.directory.failure, NoSpace)
    errors = [line for line in run.said if line.startswith("error: ")]
    assert len(errors) == 1 and "NoSpace" in errors[0] and "USDT.pqt" in errors[0], "said once, by name"
    for slot, symbol in enumerate(ALL):
        run.holds(symbol, slot, LAST)
    full[0] = False
    assert run.update() == 3
    assert run.directory.failure is None
    assert [line for line in run.said if line.endswith("base can be written again")]
    for slot, symbol in enumerate(ALL):
        run.holds(symbol, slot, g)


def test_one_file_that_cannot_be_written_does_not_stop_the_others(
    run: Run, writer: FakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.folder.mkdir(parents=True)
    (run.folder / "BBBUSDT.pqt").mkdir()
    assert run.update() == 2
    assert isinstance(run.directory.failure, RunDirectoryError)
    assert "BBBUSDT.pqt" in str(run.directory.failure)
    g = writer.close_bar()
    assert run.update() == 2
    run.holds("CCCUSDT", 2, g)
    (run.folder / "BBBUSDT.pqt").rmdir()
    until = time.monotonic() + 10
    while run.directory.failure and time.monotonic() < until:
        run.update()
        time.sleep(0.05)
    run.holds("BBBUSDT", 1, g)


def test_a_base_that_is_no_folder(store: Store, tmp_path: Path) -> None:
    (tmp_path / "base").write_text("a file")
    with pytest.raises(RunDirectoryError, match="base cannot be written"):
        Run(store, tmp_path / "base").directory.open()


# ---- who else writes there


def test_two_of_ours(run: Run, store: Store, writer: FakeCollector) -> None:
    run.update()
    with pytest.raises(RunDirectoryTaken, match=f"already written by process {os.getpid()}"):
        Run(store, run.base).directory.open()
    other_type = RunDirectory(store, run.base, "usdc_perp", "usdm")
    with pytest.raises(RunDirectoryTaken, match="exginfo_1m is already written"):
        other_type.open()  # another folder of candles, but the same exginfo
    run.directory.close()
    other_type.open()
    other_type.close()


def test_a_bmac_beside_us_is_noticed(run: Run, store: Store, writer: FakeCollector, tmp_path: Path) -> None:
    ExchangeInfoTable(writer, 0o600, None).write([symbol_info(s) for s in ALL], ALL, 1.0)
    run.update()
    pd.DataFrame({"symbol": list(ALL)}).to_parquet(run.exginfo / "exginfo.pqt")
    writer.close_bar()
    with pytest.raises(RunDirectoryTaken, match=r"exginfo\.pqt was replaced"):
        run.update()
    run.directory.close()
    again = Run(store, tmp_path / "second")
    again.update()
    shutil.rmtree(again.folder)  # as BMAC does when it starts
    again.folder.mkdir()
    writer.close_bar()
    with pytest.raises(RunDirectoryTaken, match="removed or made anew"):
        again.update()
    assert again.names() == [], "nothing was written into its new folder"
    again.directory.close()


def test_a_bmac_that_is_seen_running(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bmac_files, "bmac_process", lambda base: 4711)
    with pytest.raises(RunDirectoryTaken, match="process 4711"):
        run.directory.open()
    assert not run.base.exists(), "nothing was touched"
    follower = Follower(run.directory, 0.1)
    for _ in range(2):
        assert follower.step()
    assert len(run.said) == 1 and "BMAC (process 4711)" in run.said[0]
    assert not run.base.exists()
    follower.finish()


def step_until(follower: Follower, what: object, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():  # type: ignore[operator]
        assert time.monotonic() < deadline
        assert follower.step()


def test_fresh_files_are_watched_before_the_first_is_written(
    run: Run, writer: FakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bmac_files, "POLL_S", 0.02)
    run.folder.mkdir(parents=True)
    foreign = run.folder / "AAAUSDT.pqt"
    pd.DataFrame({"open": [1.0]}).to_parquet(foreign)
    (run.folder / ready_name("AAAUSDT", run_time(LAST - 1), ZONE)).touch()
    content = foreign.read_bytes()
    follower = Follower(run.directory, 0.5, watch_s=0.5)
    follower.step()
    assert "watching" in run.said[0] and foreign.read_bytes() == content
    step_until(follower, lambda: foreign.read_bytes() != content)  # nobody went on: taken over
    run.holds("AAAUSDT", 0, LAST)
    follower.finish()


def test_a_bmac_that_goes_on_writing_is_left_alone(
    run: Run, writer: FakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bmac_files, "POLL_S", 0.02)
    run.folder.mkdir(parents=True)
    foreign = run.folder / "AAAUSDT.pqt"
    pd.DataFrame({"open": [1.0]}).to_parquet(foreign)
    ready = run.folder / ready_name("AAAUSDT", run_time(LAST - 1), ZONE)
    ready.touch()
    follower = Follower(run.directory, 30.0)
    follower.step()
    os.utime(foreign, (time.time() + 1, time.time() + 1))
    step_until(follower, lambda: any(line.startswith("error: RunDirectoryTaken") for line in run.said))
    assert "AAAUSDT.pqt" in run.said[-1] and not run.directory.is_open
    follower._next_try = 0.0
    follower.step()  # a second try finds its files still fresh
    assert not run.directory.is_open and run.names() == ["AAAUSDT.pqt", ready.name]
    old = time.time() - 1000
    os.utime(foreign, (old, old))
    follower._next_try = 0.0
    step_until(follower, lambda: len(run.names()) == 6)  # it has ended: ours
    follower.finish()


# ---- the store's life


def test_a_retired_store_is_attached_anew(
    run: Run, store: Store, writer: FakeCollector, tmp_path: Path
) -> None:
    follower = Follower(run.directory, 60.0)
    follower.step()
    run.holds("AAAUSDT", 0, LAST)
    writer.close()
    with FakeCollector.start(tmp_path, ("BBBUSDT",), window=40, history=70) as other:
        step_until(follower, lambda: run.ready("BBBUSDT") == [G0 + 69])
        run.holds("BBBUSDT", 0, G0 + 69, n=40)
        assert len(run.names()) == 2, "symbols that it does not have lost their files"
        g = other.close_bar()
        step_until(follower, lambda: run.ready("BBBUSDT") == [g])
    follower.finish()


def test_the_last_bars_are_written_when_the_collector_ends(run: Run, writer: FakeCollector) -> None:
    follower = Follower(run.directory, 60.0)
    assert follower.step()
    g = writer.close_bar()
    writer.set_phase("closed")
    writer.close()
    while follower.step():
        pass
    follower.finish()
    for slot, symbol in enumerate(ALL):
        run.holds(symbol, slot, g)
    assert not run.directory.is_open


def config(folder: Path, **keys: object) -> Path:
    import json

    (folder / "config.json").write_text(
        json.dumps(
            {"interval": "1m", "trade_type": "usdt_swap", "num_candles": 50, "exchange": "embedded"}
            | {"store": {"name": "rule", "directory": str(folder)}} | keys
        )
    )  # fmt: skip
    return folder


@pytest.mark.slow
def test_process_writes_and_ends_on_sigterm(tmp_path: Path) -> None:
    with FakeCollector.start(tmp_path) as writer:
        process = subprocess.Popen(
            [sys.executable, "-m", "bmac_stream.bmac_files", str(config(tmp_path))],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            assert process.stdout.readline().endswith("files of all symbols ready\n")
            g = writer.close_bar()
            assert process.stdout.readline().endswith("files of all symbols ready\n")
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=20)
        finally:
            process.kill()
        assert process.returncode == 0, err
    folder = tmp_path / "usdt_swap_1m"  # the alias as it was written
    assert len(pd.read_parquet(folder / "AAAUSDT.pqt")) == WINDOW
    assert (folder / ready_name("CCCUSDT", run_time(g), ZONE)).exists()


def test_process_ends_when_the_collector_is_killed(tmp_path: Path) -> None:
    collector = subprocess.Popen(
        [sys.executable, "-m", "tests.bmac_stream.fake_collector", str(tmp_path), "0.02"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    process = None
    try:
        assert collector.stdout is not None and collector.stdout.readline() == "ready\n"
        process = subprocess.Popen(
            [sys.executable, "-m", "bmac_stream.bmac_files", str(config(tmp_path))],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None and process.stdout.readline()
        collector.kill()
        collector.wait()
        _, err = process.communicate(timeout=20)
        assert process.returncode == 0, err
        with bmac_stream.attach("rule", directory=tmp_path) as store:
            end = store["BBBUSDT"].end_g
        frame = pd.read_parquet(tmp_path / "usdt_swap_1m" / "BBBUSDT.pqt")
        assert frame.index[-1] == pd.Timestamp(end * MINUTE, unit="ms", tz="UTC")
    finally:
        collector.kill()
        collector.wait()
        collector.stdout.close()  # type: ignore[union-attr]
        if process is not None:
            process.kill()
            process.wait()


def test_process_says_what_is_wrong_in_a_line(tmp_path: Path) -> None:
    for folder, words in ((config(tmp_path), "StoreNotFound"), (tmp_path / "none", "none")):
        ran = subprocess.run(
            [sys.executable, "-m", "bmac_stream.bmac_files", str(folder), "--attach_timeout_s=0.1"],
            capture_output=True, text=True, timeout=30,
        )  # fmt: skip
        assert ran.returncode == 1 and words in ran.stderr and "Traceback" not in ran.stderr
