"""bmac_stream.recorder: when it writes, that it writes what the store holds, and how it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import bmac_stream
from bmac_stream import recorder, snapshot
from bmac_stream.backfill import OVERLAP
from bmac_stream.client import Store
from bmac_stream.errors import StoreNotFound, WriterDead
from bmac_stream.recorder import Recorder
from shm import Status
from tests.bmac_stream.fake_collector import G0, FakeCollector, bar, make_spec

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


def test_a_snapshot_is_what_the_store_holds(store: Store, writer: FakeCollector, tmp_path: Path) -> None:
    writer.close_bar(pending=("AAAUSDT",), absent=("BBBUSDT",))
    writer.list("AUSDT", LAST - 2, 4)
    writer.remove_symbol(2)
    writer.add_symbol("LATEUSDT", LAST)  # still loading: not readable, not in the snapshot
    path = Recorder(store, tmp_path / "snap").take()
    assert path is not None
    found = snapshot.load(path, make_spec())
    assert found.symbols == ("AAAUSDT", "AUSDT", "BBBUSDT")
    meta = found.meta
    assert (meta.store, meta.source, meta.complete_g) == ("rule", "embedded:rule", LAST + 1)
    assert (meta.epoch, meta.window, meta.meta) == (store.reader.epoch, WINDOW, store.spec.meta)
    for rows in found:
        slot = store.symbols[rows.symbol]
        values, status = writer.read(slot, rows.g0, rows.status.size)
        np.testing.assert_array_equal(rows.values, values.T)
        np.testing.assert_array_equal(rows.status, status)
    assert found["AAAUSDT"].g0 == LAST + 2 - WINDOW and found["AAAUSDT"].status[-1] == Status.PENDING
    assert found["AUSDT"].g0 == LAST - 2 and found["AUSDT"].status.size == 4


def test_a_snapshot_taken_while_bars_close_is_consistent(
    store: Store, writer: FakeCollector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between any two symbols the writer goes on, by as much as the ring."""
    rows_of = recorder.copy_rows

    def hurried(of: Store) -> Iterator[snapshot.SymbolRows]:
        for rows in rows_of(of):
            for _ in range(store.cap):
                writer.close_bar()
            yield rows

    monkeypatch.setattr(recorder, "copy_rows", hurried)
    path = Recorder(store, tmp_path / "snap").take()
    assert path is not None
    for rows in snapshot.load(path):
        slot = store.symbols[rows.symbol]
        numbers = np.arange(rows.g0, rows.g0 + rows.status.size)
        np.testing.assert_array_equal(rows.values, bar(slot, numbers).T)


def test_when_it_is_due(store: Store, writer: FakeCollector, tmp_path: Path) -> None:
    one = Recorder(store, tmp_path / "snap", every_bars=3, min_interval_s=0.0)
    assert one.due() and one.take() is not None and not one.due()
    writer.close_bar()
    writer.close_bar()
    assert not one.due()
    writer.close_bar()
    assert one.due() and one.take() is not None and not one.due()
    writer.list("NEWUSDT", LAST, 4)
    assert one.due()  # other symbols
    slow = Recorder(store, tmp_path / "snap", every_bars=1, min_interval_s=3600.0)
    slow.take()
    writer.close_bar()
    assert not slow.due()


def test_a_correction_that_no_start_would_find_is_due(
    store: Store, writer: FakeCollector, tmp_path: Path
) -> None:
    """What a snapshot holds as pending is asked for at a start, and so are its newest bars."""
    writer.close_bar(pending=("BBBUSDT",))
    late = writer.next_g - 1
    for _ in range(OVERLAP):
        writer.close_bar()
    one = Recorder(store, tmp_path / "snap", every_bars=1000, min_interval_s=0.0)
    assert one.take() is not None
    slot, values = writer.symbols["BBBUSDT"], np.ones(len(writer.spec.columns))
    writer.correct(slot, late, values)
    assert not one.due(), "it was pending"
    writer.correct(slot, late + 1, values)
    assert not one.due(), "it is one of the newest"
    writer.correct(slot, late, 2 * values)
    assert one.due()
    one.min_interval_s = 3600.0
    assert one.take() is not None and not one.due()
    writer.correct(slot, late, 3 * values)
    assert not one.due(), "not so soon after the last one"


def test_the_last_one_is_written_only_if_something_is_new(
    store: Store, writer: FakeCollector, tmp_path: Path
) -> None:
    one = Recorder(store, tmp_path / "snap", every_bars=1000)
    one.finish()
    assert one.n_written == 1
    one.finish()
    assert one.n_written == 1
    writer.correct(0, LAST, bar(0, LAST) + 1)
    writer.add("corrections")
    one.finish()
    assert one.n_written == 2
    writer.append(0, LAST + 1, bar(0, LAST + 1))
    one.finish()
    assert one.n_written == 3


def test_a_failure_is_named_and_put_off(
    store: Store, writer: FakeCollector, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "snap").write_text("a file where the folder should be")
    one = Recorder(store, tmp_path / "snap", every_bars=1, min_interval_s=0.0)
    assert one.due() and one.take() is None and one.n_failures == 1
    assert "SnapshotError" in caplog.text and "next try in 15 s" in caplog.text
    assert not one.due()
    (tmp_path / "snap").unlink()
    one._next = 0.0
    assert one.due() and one.take() is not None and one.n_failures == 0


def test_step_ends_with_the_collector(store: Store, writer: FakeCollector, tmp_path: Path) -> None:
    one = Recorder(store, tmp_path / "snap", every_bars=1, min_interval_s=0.0)
    writer.close_bar()
    assert one.step() and one.n_written == 1
    writer.close()
    with pytest.raises(WriterDead):
        store.check()
    assert not one.step()


def test_it_follows_a_store_that_was_made_anew(tmp_path: Path) -> None:
    first = FakeCollector.start(tmp_path)
    with bmac_stream.attach("rule", directory=tmp_path) as store:
        one = Recorder(store, tmp_path / "snap", every_bars=1, min_interval_s=0.0)
        one.take()
        first.close()
        with FakeCollector.start(tmp_path, window=30):
            assert one.step() and one.written is not None
            assert snapshot.load(one.written).meta.window == 30


# ---- as a process


def start(tmp_path: Path, *more: str) -> subprocess.Popen[str]:
    command = recorder.command(
        "rule", tmp_path / "snap", directory=str(tmp_path), every_bars=5, min_interval_s=0.0
    )
    return subprocess.Popen([*command, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_process_writes_reports_and_ends_on_sigterm(tmp_path: Path) -> None:
    with FakeCollector.start(tmp_path) as writer:
        process = start(tmp_path)
        try:
            assert process.stdout is not None
            first = json.loads(process.stdout.readline())
            assert first["symbols"] == 3 and Path(first["snapshot"]).is_file()
            for _ in range(2):
                g = writer.close_bar()
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=20)
        finally:
            process.kill()
        assert process.returncode == 0, err
        last = json.loads(out.splitlines()[-1])
        assert last["run_time"] == (g + 1) * 60_000  # two bars were not due, but were written at the end
        found, problems = snapshot.load_latest(tmp_path / "snap", "rule", make_spec())
        assert found is not None and not problems and found.meta.complete_g == g


@pytest.mark.slow
def test_process_ends_when_the_collector_is_killed(tmp_path: Path) -> None:
    collector = subprocess.Popen(
        [sys.executable, "-m", "tests.bmac_stream.fake_collector", str(tmp_path), "0.02"],
        stdout=subprocess.PIPE,
        text=True,
    )
    process = None
    try:
        assert collector.stdout is not None and collector.stdout.readline() == "ready\n"
        process = start(tmp_path)
        assert process.stdout is not None and process.stdout.readline()
        collector.kill()
        collector.wait()
        _, err = process.communicate(timeout=20)
        assert process.returncode == 0, err
        assert "WriterDead" in err or "nobody writes it" in err
        with bmac_stream.attach("rule", directory=tmp_path) as store:
            found, _ = snapshot.load_latest(tmp_path / "snap", "rule", make_spec())
            assert found is not None and found.meta.complete_g == store.reader.complete_g
    finally:
        collector.kill()
        collector.wait()
        collector.stdout.close()  # type: ignore[union-attr]
        if process is not None:
            process.kill()
            process.wait()


def test_process_ends_when_the_one_who_started_it_is_gone(tmp_path: Path) -> None:
    with FakeCollector.start(tmp_path):
        command = recorder.command("rule", tmp_path / "snap", directory=str(tmp_path))
        code = (
            "import subprocess, sys; p = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True);"
            "p.stdout.readline(); print(p.pid, flush=True)"
        )
        starter = subprocess.run(
            [sys.executable, "-c", code, *command], capture_output=True, text=True, timeout=30
        )
        pid = int(starter.stdout)
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline and _runs(pid):
            time.sleep(0.05)
        if _runs(pid):
            os.kill(pid, signal.SIGKILL)
            pytest.fail("the recorder goes on without its parent")


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False


def test_process_for_the_collector_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owners: list[object] = []

    def attach(name: str, *, owner: object, **_: object) -> object:
        owners.append(owner)
        raise StoreNotFound(name)

    monkeypatch.setattr(recorder, "attach", attach)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(os, "nice", lambda n: 0)
    with pytest.raises(StoreNotFound):
        recorder.main("rule", str(tmp_path), owner="somebody")
    assert owners == ["somebody"]
    process = start(tmp_path, "--owner=no-such-user")
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1 and "no-such-user" in err and "Traceback" not in err


def test_process_without_a_store_says_so(tmp_path: Path) -> None:
    process = start(tmp_path, "--attach_timeout_s=0.1")
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1 and "StoreNotFound" in err and "Traceback" not in err
