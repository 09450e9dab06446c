"""bmac_stream.history_recorder: each bar once, none lost that the store holds, whatever happens between."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
import pytest

import bmac_stream
from bmac_stream import archive, history_recorder
from bmac_stream.archive import DataSet
from bmac_stream.archive_file import REST, STORE, Rows
from bmac_stream.archive_verify import verify
from bmac_stream.bar import COLUMNS
from bmac_stream.client import Store
from bmac_stream.config import load_config
from bmac_stream.errors import HistoryForeign, NoSpace, WriterStalled
from bmac_stream.history_recorder import HistoryRecorder
from shm import Status
from tests.bmac_stream.fake_collector import G0, MINUTE, SOURCE, FakeCollector, bar
from tests.bmac_stream.rig import CollectorProcess, until

DAY_G = 1440
MIDNIGHT = -(-G0 // DAY_G) * DAY_G
"""The first bar of a day after G0."""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[FakeCollector]:
    with FakeCollector.start(tmp_path, history=MIDNIGHT - G0 - 10, window=100, slack=30) as collector:
        yield collector


@pytest.fixture
def store(writer: FakeCollector, tmp_path: Path) -> Iterator[Store]:
    with bmac_stream.attach("rule", directory=tmp_path) as attached:
        yield attached


@pytest.fixture
def data(tmp_path: Path) -> DataSet:
    return DataSet(tmp_path / "history", "usdt_perp", "1m", SOURCE)


def bars_of(data: DataSet) -> dict[tuple[str, int], tuple[float, ...]]:
    """(symbol, g) -> values, as a reader that knows nothing sees them; a bar that is there twice fails."""
    table = ds.dataset(data.root, format="parquet").to_table() if data.look().files else None
    found: dict[tuple[str, int], tuple[float, ...]] = {}
    for row in table.to_pylist() if table is not None else ():
        key = row["symbol"], int(row["open_time"].timestamp() * 1000) // MINUTE
        assert key not in found, f"{key} twice"
        found[key] = tuple(row[name] for name in COLUMNS)
    return found


def truth(writer: FakeCollector, first: int, end: int) -> dict[tuple[str, int], tuple[float, ...]]:
    """What `bars_of` should give for every symbol of the writer."""
    return {
        (symbol, g): tuple(bar(slot, g).tolist())
        for symbol, slot in writer.symbols.items()
        for g in range(first, end)
    }


def test_every_bar_of_the_store_is_there_once(store: Store, writer: FakeCollector, data: DataSet) -> None:
    recorder = HistoryRecorder(store, data)
    assert recorder.due() and recorder.take()
    end = writer.next_g
    assert bars_of(data) == truth(writer, end - 100, end)
    for _ in range(30):  # over midnight
        writer.close_bar()
    assert not recorder.due()  # so soon after the last
    recorder._next = 0.0
    assert recorder.due() and recorder.take() and not recorder.due()
    assert bars_of(data) == truth(writer, end - 100, end + 30)
    files = data.look()
    assert len(files.files) == 2 and not files.foreign
    assert MIDNIGHT * MINUTE in files.files


def test_a_new_recorder_changes_nothing_that_is_there(
    store: Store, writer: FakeCollector, data: DataSet
) -> None:
    HistoryRecorder(store, data).take()
    stamps = {path: path.stat().st_mtime_ns for path in data.look().files.values()}
    HistoryRecorder(store, data).take()
    assert stamps == {path: path.stat().st_mtime_ns for path in data.look().files.values()}


def test_pending_bars_come_later_absent_ones_are_known(
    store: Store, writer: FakeCollector, data: DataSet
) -> None:
    recorder = HistoryRecorder(store, data)
    recorder.take()
    end = writer.next_g
    g = writer.close_bar(pending=("AAAUSDT",), absent=("BBBUSDT",))
    recorder.take()
    found = bars_of(data)
    assert ("AAAUSDT", g) not in found and ("BBBUSDT", g) not in found and ("CCCUSDT", g) in found
    with data.open(data.start_of(g * MINUTE)) as file:
        assert file.meta.absent == {"BBBUSDT": [(g * MINUTE, 1)]}
    writer.correct(0, g, bar(0, g))  # late
    writer.correct(1, g, bar(1, g))  # and there was one after all
    writer.correct(2, end - 50, bar(2, end - 50) + 1)  # revised
    recorder.take()
    with data.open(data.start_of(g * MINUTE)) as file:
        assert file.meta.absent == {}
    wanted = truth(writer, end - 100, end + 1)
    wanted["CCCUSDT", end - 50] = tuple((bar(2, end - 50) + 1).tolist())
    assert bars_of(data) == wanted
    (line,) = data.corrections()
    assert (line["symbol"], line["open_time"], line["n"]) == ("CCCUSDT", (end - 50) * MINUTE, 1)
    assert line["old"] == bar(2, end - 50).tolist() and line["new"] == (bar(2, end - 50) + 1).tolist()
    rows = ds.dataset(data.root, format="parquet").to_table(filter=ds.field("n_corrections") > 0).to_pylist()
    assert [(r["symbol"], r["n_corrections"], r["came_from"]) for r in rows] == [("CCCUSDT", 1, "store")]
    assert abs(rows[0]["corrected_at"].timestamp() - time.time()) < 600


def test_what_rest_said_is_not_overruled_by_the_store(
    store: Store, writer: FakeCollector, data: DataSet
) -> None:
    HistoryRecorder(store, data).take()
    g = writer.next_g - 5
    start = data.start_of(g * MINUTE)
    right = Rows.fresh("AAAUSDT", np.array([g * MINUTE]), (bar(0, g) + 7)[:, None], REST)
    with data.change(REST, "test") as change:
        assert change.update(start, lambda: [right]).n_corrected == 1
        change.commit()
    HistoryRecorder(store, data).take()
    assert bars_of(data)["AAAUSDT", g] == tuple((bar(0, g) + 7).tolist())


def test_listed_delisted_and_listed_again(store: Store, writer: FakeCollector, data: DataSet) -> None:
    recorder = HistoryRecorder(store, data)
    recorder.take()
    end = writer.next_g
    slot = writer.list("NEWUSDT", end - 80, 80)  # appears late, with a history that was compared already
    recorder.take()
    wanted = truth(writer, end - 100, end)
    wanted = {key: v for key, v in wanted.items() if key[0] != "NEWUSDT" or key[1] >= end - 80}
    assert bars_of(data) == wanted
    writer.close_bar()
    writer.remove_symbol(slot)
    for _ in range(3):
        writer.close_bar()
    again = writer.list("NEWUSDT", end + 3, 1)
    writer.close_bar()
    recorder.take()
    wanted |= {(s, g): v for (s, g), v in truth(writer, end, end + 5).items() if s != "NEWUSDT"}
    wanted["NEWUSDT", end] = tuple(bar(slot, end).tolist())  # the last one before it was delisted
    for g in (end + 3, end + 4):
        wanted["NEWUSDT", g] = tuple(bar(again, g).tolist())
    assert bars_of(data) == wanted
    with data.open(data.start_of(end * MINUTE)) as file:
        assert "NEWUSDT" not in file.meta.absent  # nobody knows what the exchange had meanwhile


def test_away_for_longer_than_the_window(
    store: Store, writer: FakeCollector, data: DataSet, capsys: pytest.CaptureFixture[str]
) -> None:
    HistoryRecorder(store, data).take()
    end = writer.next_g
    capsys.readouterr()
    for _ in range(150):
        writer.close_bar()
    HistoryRecorder(store, data).take()
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    gaps = [one["history_gap"] for one in said if "history_gap" in one]
    assert gaps == [{"first": end * MINUTE, "end": (end + 50) * MINUTE, "bars": 50}]
    assert bars_of(data) == truth(writer, end - 100, end) | truth(writer, end + 50, end + 150)


def test_a_damaged_file_is_set_aside_and_made_anew(
    store: Store, writer: FakeCollector, data: DataSet, caplog: pytest.LogCaptureFixture
) -> None:
    HistoryRecorder(store, data).take()
    (path,) = data.look().files.values()
    body = bytearray(path.read_bytes())
    body[len(body) // 3] ^= 4
    path.write_bytes(body)
    assert HistoryRecorder(store, data).take()
    assert bars_of(data) == truth(writer, writer.next_g - 100, writer.next_g)
    (aside,) = (data.journal / "damaged").iterdir()
    assert aside.read_bytes() == bytes(body) and str(aside) in caplog.text


def test_a_file_of_another_version_or_source_stays(
    store: Store, writer: FakeCollector, data: DataSet, caplog: pytest.LogCaptureFixture
) -> None:
    HistoryRecorder(store, DataSet(data.root, "usdt_perp", "1m", "binance")).take()
    before = {path: path.read_bytes() for path in data.look().files.values()}
    recorder = HistoryRecorder(store, data)
    assert not recorder.take()
    assert "source is 'binance', expected 'embedded:rule'" in caplog.text
    assert before == {path: path.read_bytes() for path in data.look().files.values()}
    with pytest.raises(HistoryForeign), data.change(STORE, "x"):
        pass
    for path in before:
        path.unlink()
    recorder._next = 0.0
    assert recorder.due() and recorder.take()
    assert bars_of(data) == truth(writer, writer.next_g - 100, writer.next_g)


@pytest.mark.parametrize("at", range(1, 27))
def test_killed_at_any_step(
    store: Store, writer: FakeCollector, data: DataSet, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """At any fsync and rename the process may end: what is there is whole, and the next one finishes it."""
    HistoryRecorder(store, data).take()
    end = writer.next_g
    before = bars_of(data)
    for _ in range(30):
        writer.close_bar()
    writer.correct(2, end - 50, bar(2, end - 50) + 1)
    after = truth(writer, end - 100, end + 30)
    after["CCCUSDT", end - 50] = tuple((bar(2, end - 50) + 1).tolist())

    class Killed(BaseException):
        pass

    steps = [0]

    def dying(step: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            steps[0] += 1
            if steps[0] == at:
                raise Killed
            return step(*args)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", dying(os.fsync))
        patch.setattr(Path, "rename", dying(Path.rename))
        patch.setattr(archive.Change, "drop", lambda self: None)  # nor does it tidy up
        try:
            HistoryRecorder(store, data).take()
        except Killed:
            killed = True
        else:
            killed = False
    between = bars_of(data)
    assert between.keys() >= before.keys()
    assert all(value in (before.get(key), after.get(key)) for key, value in between.items())
    assert killed or between == after
    HistoryRecorder(store, data).take()
    assert bars_of(data) == after
    assert len(list(data.corrections())) == 1
    assert not list(data.journal.glob("*.tmp")) and not (data.journal / "commit.json").exists()


def test_the_steps_and_their_order(
    store: Store, writer: FakeCollector, data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is renamed is on the disk before, the record before what it says is done. If writing takes more
    steps one day, the range of the test above must grow."""
    HistoryRecorder(store, data).take()
    writer.close_bar()
    writer.correct(2, writer.next_g - 80, bar(2, 0) + 1)
    steps: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def synced(fd: int) -> None:
        steps.append("fsync " + Path(f"/proc/self/fd/{fd}").readlink().name)
        fsync(fd)

    def renamed(self: Path, to: Path) -> Path:
        steps.append(f"{self.name} -> {to.name}")
        return rename(self, to)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    HistoryRecorder(store, data).take()
    start = data.start_of(G0 * MINUTE)
    folder = data.path_of(start).parent.name
    assert steps[:7] == [
        f"fsync {start}.tmp",
        "fsync corrections.tmp",
        "fsync commit.tmp",
        "commit.tmp -> commit.json",
        "fsync 1m",
        f"{start}.tmp -> bars.parquet",
        "fsync corrections.jsonl",
    ]
    assert {f"fsync {folder}", "fsync 1m"} <= set(steps[7:]) and len(steps) <= 13


def test_a_full_disk_is_said_and_tried_again(
    store: Store,
    writer: FakeCollector,
    data: DataSet,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    recorder = HistoryRecorder(store, data)
    recorder.take()
    before = bars_of(data)
    end = writer.next_g
    for _ in range(40):
        writer.close_bar()

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert not recorder.take()
    assert "NoSpace" in caplog.text and "no room left" in caplog.text
    assert bars_of(data) == before and not list(data.journal.glob("*.tmp"))
    assert not recorder.due()
    recorder._next = 0.0
    assert recorder.due() and recorder.take()
    assert bars_of(data) == truth(writer, end - 100, end + 40)


def test_what_a_full_disk_cost_is_said(
    store: Store,
    writer: FakeCollector,
    data: DataSet,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recorder = HistoryRecorder(store, data)
    recorder.take()
    end = writer.next_g
    writer.close_bar()
    with monkeypatch.context() as patch:
        patch.setattr(history_recorder.HistoryRecorder, "_bring", _no_room)
        assert not recorder.take()
    for _ in range(120):
        writer.close_bar()
    capsys.readouterr()
    assert recorder.take()
    gaps = [json.loads(line).get("history_gap") for line in capsys.readouterr().out.splitlines()]
    lost = {g for gap in gaps if gap for g in range(gap["first"] // MINUTE, gap["end"] // MINUTE)}
    assert lost == set(range(end, end + 21))


def _no_room(*_: object) -> None:
    raise NoSpace("no room left")


def test_a_collector_that_is_stopped_costs_no_bar(
    store: Store, writer: FakeCollector, data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silent for too long, but alive: what it has written is kept all the same."""
    monkeypatch.setattr(history_recorder, "POLL_S", 0.01)
    recorder = HistoryRecorder(store, data)
    store.reader.max_silence_s = 0.0
    with pytest.raises(WriterStalled):
        store.check()
    assert recorder.step()
    assert bars_of(data) == truth(writer, writer.next_g - 100, writer.next_g)


def test_it_ends_with_the_collector(store: Store, writer: FakeCollector, data: DataSet) -> None:
    recorder = HistoryRecorder(store, data)
    writer.close()
    assert not recorder.step()


@pytest.mark.slow
def test_as_a_process_killed_and_started_again(tmp_path: Path) -> None:
    """`kill -9` at random moments; what is there then is a part of the truth, in the end it is all."""
    config = {
        "interval": "1m",
        "trade_type": "usdt_perp",
        "store": {"name": "rule", "directory": str(tmp_path)},
        "history": {"enabled": True},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    data = DataSet(tmp_path / "history", "usdt_perp", "1m", SOURCE)
    with FakeCollector.start(tmp_path, history=MIDNIGHT - G0 - 10, window=400, slack=50) as writer:
        first = G0
        command = [sys.executable, "-m", "bmac_stream.history_recorder", str(tmp_path)]
        for _ in range(2):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            wanted = truth(writer, first, writer.next_g)
            until("all bars are there", lambda wanted=wanted: bars_of(data) == wanted, 60)
            for _ in range(20):
                writer.close_bar()
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert wanted.items() <= bars_of(data).items() <= truth(writer, first, writer.next_g).items()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wanted = truth(writer, first, writer.next_g)
        until("all bars are there", lambda: bars_of(data) == wanted, 60)
        writer.close_bar()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert bars_of(data) == truth(writer, first, writer.next_g)


@pytest.mark.slow
async def test_beside_a_collector(tmp_path: Path, store_name: str) -> None:
    """Bars of a running collector, the recorder killed and the collector restarted between: what lies there
    is what the exchange says, without a gap, when it is asked for all of it."""
    config = {
        "num_candles": 120,
        "exchange": "embedded",
        "embedded": {"n_symbols": 8, "seed": 5, "rate": 120.0},
        "snapshot": {"enabled": False},
        "history": {"enabled": True},
        "bmac_files": False,
        "funding_rate": True,  # its columns of the bars are not of the history
    }
    with CollectorProcess(tmp_path, store_name, **config) as collector:
        reader = collector.live()
        data = DataSet(tmp_path / "history", "usdt_perp", "1m", reader.spec.source)
        until("a first file", lambda: data.look().files, 60)
        assert collector.process is not None
        for pid in children(collector.process.pid, "bmac_stream.history_recorder"):
            os.kill(pid, signal.SIGKILL)
        collector.complete(reader.complete_g + 20)
        collector.end()
        held = collector.held()
    assert "history: ended with status -9: started again" in collector.log
    first = min(one.first_g for one in held.values())
    table = ds.dataset(data.folder, format="parquet").to_table()
    assert sorted(set(table["symbol"].to_pylist())) == sorted(held)
    found = bars_of(data)
    for symbol, one in held.items():
        for i, g in enumerate(range(one.first_g, one.first_g + len(one.status))):
            wanted = tuple(one.values[i, : len(COLUMNS)].tolist()) if one.status[i] == Status.BAR else None
            assert found.get((symbol, g)) == wanted, (symbol, g - first)
    report = await verify(data, config=load_config(tmp_path)[0], sample=100_000)
    assert report.clean and report.n_compared > 8 * 120, report.faults[:5]


def children(pid: int, module: str) -> list[int]:
    """Processes that `pid` started with this module."""
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            with suppress(OSError):
                parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == pid and module in (place / "cmdline").read_text():
                    found.append(int(place.name))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_random_histories(
    store: Store, writer: FakeCollector, data: DataSet, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Bars, late bars, revisions, listings, delistings, recorders that are restarted or killed at any step:
    in the end there is what the store ever said last of each bar, once."""
    rng = np.random.default_rng(seed)
    wanted = truth(writer, writer.next_g - 100, writer.next_g)
    late: dict[tuple[str, int], int] = {}

    class Killed(BaseException):
        pass

    def take(recorder: HistoryRecorder, die_at: int) -> None:
        left = [die_at]

        def dying(step: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any) -> Any:
                left[0] -= 1
                if left[0] == 0:
                    raise Killed
                return step(*args)

            return call

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", dying(os.fsync))
            patch.setattr(Path, "rename", dying(Path.rename))
            if die_at:
                patch.setattr(archive.Change, "drop", lambda self: None)
            recorder.take()

    recorder = HistoryRecorder(store, data)
    recorder.take()
    fresh = 0
    n_revised = n_killed = 0
    for _ in range(60):
        for _ in range(int(rng.integers(1, 25))):
            names = [s for s in writer.symbols if rng.random() < 0.1]
            split = int(rng.integers(0, len(names) + 1))
            pending, absent = tuple(names[:split]), tuple(names[split:])
            g = writer.close_bar(pending=pending, absent=absent)
            for symbol, slot in writer.symbols.items():
                if symbol in pending:
                    late[symbol, g] = slot
                elif symbol not in absent:
                    wanted[symbol, g] = tuple(bar(slot, g).tolist())
        newest = writer.next_g - 1
        for (symbol, g), slot in list(late.items()):
            if symbol not in writer.symbols or g < newest - 60:
                del late[symbol, g]
            elif rng.random() < 0.5:
                writer.correct(slot, g, bar(slot, g))
                wanted[symbol, g] = tuple(bar(slot, g).tolist())
                del late[symbol, g]
        for symbol, slot in writer.symbols.items():
            g = newest - int(rng.integers(0, 60))
            if rng.random() < 0.2 and (symbol, g) in wanted and g >= writer_first_g(writer, slot):
                values = np.array(wanted[symbol, g]) + 0.5
                writer.correct(slot, g, values)
                wanted[symbol, g] = tuple(values.tolist())
                n_revised += 1
        if rng.random() < 0.2 and fresh < 8:
            symbol = f"N{fresh % 3}USDT"  # listed again, sometimes
            if symbol in writer.symbols:
                writer.remove_symbol(writer.symbols[symbol])
            else:
                n = int(rng.integers(1, 40))
                slot = writer.list(symbol, writer.next_g - n, n)
                for g in range(writer.next_g - n, writer.next_g):
                    wanted[symbol, g] = tuple(bar(slot, g).tolist())
                fresh += 1
        if rng.random() < 0.3:
            recorder = HistoryRecorder(store, data)
        try:
            take(recorder, int(rng.integers(1, 20)) if rng.random() < 0.4 else 0)
        except Killed:
            n_killed += 1
            recorder = HistoryRecorder(store, data)
    HistoryRecorder(store, data).take()
    found = bars_of(data)
    assert found.keys() == wanted.keys()
    assert {k: (v, wanted[k]) for k, v in found.items() if v != wanted[k]} == {}
    assert n_revised > 20 and n_killed > 3


def writer_first_g(writer: FakeCollector, slot: int) -> int:
    """The first bar of a slot."""
    return int(writer.first_g(slot))
