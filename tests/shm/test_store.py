"""shm/writer.py and shm/reader.py: a store's life, from its first file over restarts to its successor."""

import asyncio
import gc
import json
import math
import multiprocessing
import os
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import shm
from shm import (
    Lagging,
    NoSpace,
    OrderError,
    SegmentMismatch,
    ShmError,
    SlotState,
    Spec,
    Status,
    StoreBroken,
    StoreFull,
    StoreNotFound,
    StoreReader,
    StoreRetired,
    StoreWriter,
    SymbolNotFound,
    WriterDead,
    WriterLocked,
    directory,
)
from shm import layout as lay
from shm.segment import bell_path, lock_path, segment_path
from tests.shm.support import fill, row, rows, small_spec


@pytest.fixture
def writer(store_name: str) -> Iterator[StoreWriter]:
    with StoreWriter.open(store_name, small_spec()) as writer:
        yield writer


@pytest.fixture
def reader(writer: StoreWriter, store_name: str) -> Iterator[StoreReader]:
    with StoreReader.attach(store_name) as reader:
        yield reader


def test_all_names_are_importable() -> None:
    assert all(hasattr(shm, name) for name in shm.__all__)


def test_a_new_store_says_what_it_is(store_name: str) -> None:
    meta = json.dumps({"interval": "1m", "名": "值"}, ensure_ascii=False)
    spec = small_spec(source="embedded:generator:seed=1", meta=meta, origin_ms=345_600_000)
    with StoreWriter.open(store_name, spec) as writer, StoreReader.attach(store_name) as reader:
        assert writer.created and writer.generation == 1
        assert reader.spec == writer.spec == spec
        assert (reader.epoch, reader.generation) == (writer.epoch, 1)
        assert abs(reader.created_ms - time.time() * 1e3) < 60_000
        assert (reader.complete_g, reader.head, reader.n_slots) == (-1, -1, 0)
        assert reader.writer_pid == os.getpid() and reader.writer_alive
        assert reader.data.shape == (4, 4, 32) and reader.cap == 16
        assert segment_path(store_name).stat().st_size == spec.nbytes
        assert stat.S_IMODE(segment_path(store_name).stat().st_mode) == 0o600


def test_phases_counters_and_heartbeat(writer: StoreWriter, reader: StoreReader) -> None:
    assert reader.phase == "starting"
    for i in range(9):
        writer.set_phase(f"phase {i} " + "x" * 20)
        assert reader.phase == f"phase {i} " + "x" * 20
    writer.set_phase("实时")
    assert reader.phase == "实时"
    with pytest.raises(ValueError, match="at most 31 bytes"):
        writer.set_phase("x" * 32)
    writer.add("seen")
    writer.add("seen", 5)
    writer.set("kept", -3)
    assert reader.counters() == {"seen": 6, "kept": -3} and writer.counter("seen") == 6
    with pytest.raises(KeyError):
        writer.add("nothing")
    time.sleep(0.03)
    silent = reader.silence_s
    assert 0.03 <= silent < 30
    writer.heartbeat()
    assert reader.silence_s < silent
    reader.check_writer()
    writer._words[lay.WRITER_BOOT] ^= 1
    assert reader.silence_s == math.inf, "a heartbeat of another boot means nothing"


def test_read_runs_on_the_memory_itself_and_returns_what_held(
    writer: StoreWriter, reader: StoreReader
) -> None:
    (slot,) = fill(writer, 1, 0, 40)
    assert reader.read(slot, lambda r: np.shares_memory(r, reader.data), 8)
    assert np.shares_memory(reader.view(slot, "b", 8), reader.data)
    assert np.shares_memory(reader.panel("b", 8), reader.data)
    assert reader.panel("b", 8).shape == (1, 8)
    calls = []

    def overtaken_once(view: np.ndarray) -> float:
        calls.append(1)
        if len(calls) == 1:
            for g in range(40, 48):
                writer.append(slot, g, row(slot, g))
        return float(view[0].sum())

    assert reader.read(slot, overtaken_once, 8) == sum(range(40, 48)) and len(calls) == 2


def test_a_reader_that_is_always_overtaken_gets_lagging(writer: StoreWriter, reader: StoreReader) -> None:
    (slot,) = fill(writer, 1, 0, 40)
    calls = []

    def slow(view: np.ndarray) -> float:
        calls.append(1)
        writer.skip_to(slot, reader.count(slot) + 8)
        return float(view.sum())

    with pytest.raises(Lagging, match="slot 0 was overtaken by the writer 3 times"):
        reader.read(slot, slow, 8, retries=2)
    assert len(calls) == 3
    with pytest.raises(Lagging, match="panel was overtaken"):
        reader.read_panel("a", slow, 8)


def test_errors_of_the_callers_function_count_only_if_the_read_held(
    writer: StoreWriter, reader: StoreReader
) -> None:
    (slot,) = fill(writer, 1, 0, 40)
    with pytest.raises(ZeroDivisionError):
        reader.read(slot, lambda r: 1 // 0, 8)
    with pytest.raises(ZeroDivisionError):
        reader.read_panel("a", lambda p: 1 // 0, 8)
    calls = []

    def fails_on_torn_values(view: np.ndarray) -> int:
        calls.append(1)
        if len(calls) == 1:
            writer.skip_to(slot, 60)
            raise ValueError("nonsense, since the rows were overwritten")
        return len(calls)

    assert reader.read(slot, fails_on_torn_values, 8) == 2


def test_panels_of_several_columns_end_at_one_bar(writer: StoreWriter, reader: StoreReader) -> None:
    a, b = fill(writer, 2, 0, 40)
    token = reader.panel_token(4)
    for g in (40, 41):
        writer.append_rows([a, b], [g, g], [row(a, g), row(b, g)], [1, 1])
        writer.complete(g)
    assert list(reader.panel("a", 4, token)[0]) == [36, 37, 38, 39]
    assert list(reader.panel(2, 4, token)[0]) == [36.5, 37.5, 38.5, 39.5]
    assert list(reader.panel("a", 4)[0]) == [38, 39, 40, 41]
    found = reader.read_panel(["a", "c", "status"], lambda *p: [x[1, -1] for x in p], 4)
    assert found == [1e6 + 41, 1e6 + 41.5, Status.BAR]
    with pytest.raises(KeyError):
        reader.panel("d", 4)
    with pytest.raises(IndexError):
        reader.panel(4, 4)


def test_the_writer_reads_its_own_bars(writer: StoreWriter) -> None:
    (slot,) = fill(writer, 1, 0, 40)
    values, statuses = writer.read(slot, 30, 10)
    assert np.array_equal(values, rows(slot, 30, 10)) and values.flags.writeable
    assert statuses.dtype == np.uint8 and list(statuses) == [1] * 10
    assert writer.read(slot, 25, 15)[0][0, 0] == 25
    assert writer.read(slot, 40, 0)[0].shape == (0, 3)
    for g0, n in ((24, 2), (39, 2), (40, 1), (30, -1)):
        with pytest.raises(OrderError, match="25 to 39 are held"):
            writer.read(slot, g0, n)


def test_a_restart_goes_on_on_the_same_inode(
    writer: StoreWriter, reader: StoreReader, store_name: str
) -> None:
    a, b = fill(writer, 2, 0, 40)
    writer.append(a, 40, row(a, 40))
    loading = writer.add_symbol("LOADING", 30)
    writer.load(loading, 30, rows(loading, 30, 5), [1] * 5)
    writer.write_forming(a, 41, row(a, 41))
    writer.add("seen", 7)
    token = reader.token(a)
    inode = segment_path(store_name).stat().st_ino
    version = reader.directory_version
    writer._finalizer()  # as a killed process: no goodbye
    with StoreWriter.open(store_name, small_spec()) as second:
        assert not second.created
        assert (second.generation, reader.generation) == (2, 2)
        assert segment_path(store_name).stat().st_ino == inode
        assert second.symbols == {"S0": a, "S1": b} == reader.symbols()
        assert (second.count(a), second.count(b), second.complete_g, second.head) == (41, 40, 39, 40)
        assert reader.valid(token), "a restart by itself disturbs no reader"
        assert reader.directory_version > version
        assert second.slot_state(loading) == SlotState.LOADING and second.count(loading) == 0
        assert np.isnan(reader.data[loading, :3]).all() and (reader.data[loading, 3] == 0).all()
        again = second.add_symbol("LOADING", 30)
        assert again == loading, "it was never shown, and stays that symbol's"
        assert second.first_g(again) == second.count(again) == 30
        assert second.counter("seen") == 7, "counters go on"
        second.append_rows([b, a, b], [40, 41, 41], [row(b, 40), row(a, 41), row(b, 41)], [1, 1, 1])
        second.complete(41)
        assert reader.wait(39, 1) == 41
        assert np.array_equal(reader.read(b, lambda r: r[:3].T.copy(), 8), rows(b, 34, 8))
        forming = reader.read_forming(a)
        assert forming is not None and forming[0] == 41


@pytest.mark.parametrize("killed", [True, False])
def test_starts_that_are_cut_short_cost_no_slots(store_name: str, killed: bool) -> None:
    for first in range(5):
        writer = StoreWriter.open(store_name, small_spec())
        slots = [writer.add_symbol(name, first) for name in ("A", "B", "C", "D")]
        assert slots == [0, 1, 2, 3]
        for slot in slots:
            writer.load(slot, first, rows(slot, first, 3), [1] * 3)
        if killed:
            # at the worst place: the count is shown, the state is not
            writer._words[directory.slot_word(0, lay.SLOT_COUNT)] = first + 3
            writer._finalizer()
        else:
            writer.close()
    with StoreWriter.open(store_name, small_spec()) as writer, StoreReader.attach(store_name) as reader:
        assert writer.symbols == {} and reader.count(0) == 0 and np.isnan(reader.data[:, :3]).all()
        with pytest.raises(StoreFull):
            writer.add_symbol("E", 0)
        (slot,) = fill_one(writer, "C", 7, 4)
        assert slot == 2 and reader.symbols() == {"C": 2} and reader.first_g(2) == 7
        assert reader.panel("a", 5)[:, -1].tolist()[2] == row(2, 10)[0]
        assert np.isnan(reader.panel("a", 5)[[0, 1, 3]]).all(), "slots nobody came back for stay empty"


def fill_one(writer: StoreWriter, symbol: str, g0: int, n: int) -> list[int]:
    slot = writer.add_symbol(symbol, g0)
    writer.load(slot, g0, rows(slot, g0, n), np.ones(n, np.uint8))
    writer.activate(slot)
    writer.complete(g0 + n - 1)
    return [slot]


def test_a_removed_lock_file_lets_no_second_writer_in(writer: StoreWriter, store_name: str) -> None:
    """People remove lock files that seem to be in the way."""
    (slot,) = fill(writer, 1, 0, 5)
    for changes in ({}, {"window": 30}):
        lock_path(segment_path(store_name)).unlink()
        with pytest.raises(WriterLocked, match=r"is writing this store, though its lock file .* was removed"):
            StoreWriter.open(store_name, small_spec(**changes))
    writer.append(slot, 5, row(slot, 5))
    writer.complete(5)
    view = writer._data[0]
    writer.close()
    with StoreWriter.open(store_name, small_spec()) as second:
        assert not second.created and second.complete_g == 5, "a map that is still held holds no lock"
    del view


def test_a_removed_lock_file_is_no_dead_writer(writer: StoreWriter, reader: StoreReader) -> None:
    fill(writer, 1, 0, 5)
    lock_path(reader.path).unlink()
    reader.check_writer()
    assert reader.writer_alive
    writer.close()
    with pytest.raises(WriterDead, match="nobody writes it"):
        reader.check_writer()


def test_a_relative_directory_is_meant_as_it_was_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with StoreWriter.open("x", small_spec(), directory="."), StoreReader.attach("x", directory=".") as reader:
        monkeypatch.chdir("/")
        reader.check_writer()
        assert reader.path == tmp_path / "bmac.x"
    assert not list(tmp_path.glob("*.bell")), "the writer found its socket, too"


def test_a_file_of_another_boot_is_not_gone_on_with(writer: StoreWriter, store_name: str) -> None:
    """On a disk, what was written back before the power failed is of any age: counts without their rows."""
    fill(writer, 1, 0, 5)
    writer._words[lay.WRITER_BOOT] += 1
    writer._finalizer()
    with StoreWriter.open(store_name, small_spec()) as second:
        assert second.created and second.symbols == {}
        second._words[lay.WRITER_BOOT : lay.WRITER_BOOT + 2] = 0
        second._finalizer()
        with StoreWriter.open(store_name, small_spec()) as third:
            assert not third.created, "killed before its first sign of life"


def test_head_is_never_too_low_after_a_restart(writer: StoreWriter, store_name: str) -> None:
    """Not even if a former version forgot it: counts and complete say how far rows were begun."""
    (slot,) = fill(writer, 1, 0, 40)
    writer.append(slot, 40, row(slot, 40))
    writer._words[lay.HEAD] = 3
    writer._finalizer()
    with StoreWriter.open(store_name, small_spec()) as second:
        assert second.head == 40


def test_another_source_is_refused_and_nothing_touched(store_name: str) -> None:
    with StoreWriter.open(store_name, small_spec(source="binance")) as writer:
        fill(writer, 1, 0, 5)
    before = segment_path(store_name).read_bytes()
    message = "holds rows of source 'binance', asked for is 'embedded:generator:seed=1'"
    for changes in ({}, {"window": 20}):
        with pytest.raises(SegmentMismatch, match=message):
            StoreWriter.open(store_name, small_spec(source="embedded:generator:seed=1", **changes))
    assert segment_path(store_name).read_bytes() == before
    older = bytearray(before)
    older[8] = 9  # another version of the layout: the source is still found
    segment_path(store_name).write_bytes(older)
    with pytest.raises(SegmentMismatch, match=message):
        StoreWriter.open(store_name, small_spec(source="embedded:generator:seed=1"))
    assert segment_path(store_name).read_bytes() == bytes(older)


@pytest.mark.parametrize(
    "changes",
    [
        {"window": 30},
        {"columns": ("a", "b", "d")},
        {"max_symbols": 5},
        {"interval_ms": 1000},
        {"origin_ms": 1},
        {"forming_cells": 2},
        {"counters": ("other",)},
        {"meta": '{"x": 1}'},
        {"slack": 5},
    ],
)
def test_another_spec_takes_the_name_with_a_new_file(
    writer: StoreWriter, reader: StoreReader, store_name: str, changes: dict[str, object]
) -> None:
    (slot,) = fill(writer, 1, 0, 20)
    view = reader.view(slot, "a", 4)
    writer.close()
    futex = int(reader.words[lay.FUTEX])
    with StoreWriter.open(store_name, small_spec(**changes)) as second:
        assert second.created and second.generation == 1 and second.epoch != reader.epoch
        assert reader.words[lay.STATE] == lay.FileState.RETIRED, "the old file says so itself"
        assert reader.words[lay.FUTEX] == futex + 1, "and its sleepers are woken"
        assert second.symbols == {} and second.complete_g == -1
        with pytest.raises(StoreRetired, match="attach again"):
            reader.wait(19, 5)
        assert list(view) == [16, 17, 18, 19], "its readers keep what they have"
        with StoreReader.attach(store_name) as again:
            assert again.spec == small_spec(**changes) and again.epoch == second.epoch
            again.check_writer()


@pytest.mark.parametrize("version", [1, 99])  # 1: windows began in the lower half where they could
def test_a_store_of_another_layout_gets_a_successor(store_name: str, version: int) -> None:
    path = segment_path(store_name)
    StoreWriter.open(store_name, small_spec()).close()
    with StoreReader.attach(store_name) as reader:
        with path.open("r+b") as file:
            file.seek(8)
            file.write(bytes([version]))
        with pytest.raises(shm.SegmentVersion, match=f"has layout {version}, this code knows 2"):
            StoreReader.attach(store_name)
        with StoreWriter.open(store_name, small_spec()) as writer:
            assert writer.created
            with pytest.raises(StoreRetired):
                reader.check_writer()


def test_foreign_and_broken_files_are_not_overwritten(store_name: str) -> None:
    path = segment_path(store_name)
    path.write_bytes(b"precious" * 1000)
    with pytest.raises(StoreBroken, match="begin with"):
        StoreWriter.open(store_name, small_spec())
    assert path.read_bytes() == b"precious" * 1000
    path.unlink()
    StoreWriter.open(store_name, small_spec()).close()
    with path.open("r+b") as file:
        file.seek(lay.STATE_OFFSET)
        file.write(bytes(8))
    with pytest.raises(StoreBroken, match="never became READY"):
        StoreWriter.open(store_name, small_spec())
    start = time.monotonic()
    with pytest.raises(StoreNotFound, match="not READY"):
        StoreReader.attach(store_name, timeout_s=0.1)
    assert 0.1 <= time.monotonic() - start < 5
    with StoreWriter.open(store_name + "-other", small_spec()) as writer:
        assert writer.created, "a refused open leaves no lock behind"


def test_an_unlinked_file_is_retired(writer: StoreWriter, reader: StoreReader) -> None:
    reader.path.unlink()
    with pytest.raises(StoreRetired):
        reader.check_writer()


def test_a_writer_can_tell_that_its_file_was_removed(writer: StoreWriter, store_name: str) -> None:
    assert not writer.removed
    segment_path(store_name).unlink()
    assert writer.removed


def test_a_restart_removes_what_a_killed_successor_left(writer: StoreWriter, store_name: str) -> None:
    writer._finalizer()
    left = segment_path(store_name).with_name(f"bmac.{store_name}.new")
    left.write_bytes(bytes(4096))
    with StoreWriter.open(store_name, small_spec()) as second:
        assert not second.created and not left.exists()


def test_no_space_says_need_and_room(store_name: str) -> None:
    spec = small_spec(window=10**9, max_symbols=1000)
    with pytest.raises(NoSpace, match=f"needs {spec.nbytes} bytes"):
        StoreWriter.open(store_name, spec)
    assert not segment_path(store_name).exists()
    StoreWriter.open(store_name, small_spec()).close()


def test_attach_waits_for_a_store_to_appear(store_name: str) -> None:
    with pytest.raises(StoreNotFound, match="no such store"):
        StoreReader.attach(store_name)
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_write_and_sleep, args=(store_name, 1.0))
    process.start()
    try:
        with StoreReader.attach(store_name, timeout_s=60) as reader:
            assert reader.spec == small_spec()
    finally:
        process.join(60)
    assert process.exitcode == 0


def _write_and_sleep(name: str, seconds: float) -> None:
    with StoreWriter.open(name, small_spec()) as writer:
        fill(writer, 2, 0, 40)
        time.sleep(seconds)


def test_another_process_writes_and_is_killed(store_name: str) -> None:
    """Two writers: one wins, also while the first is stopped. After kill -9 the readers see it, and the
    store goes on."""
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_write_and_sleep, args=(store_name, 600.0))
    process.start()
    assert process.pid is not None
    try:
        with StoreReader.attach(store_name, timeout_s=60) as reader:
            assert reader.wait(-1, 60) == 39
            with pytest.raises(WriterLocked, match=f"process {process.pid} is writing"):
                StoreWriter.open(store_name, small_spec())
            os.kill(process.pid, signal.SIGSTOP)
            with pytest.raises(WriterLocked):
                StoreWriter.open(store_name, small_spec())
            os.kill(process.pid, signal.SIGKILL)
            process.join(30)
            with pytest.raises(WriterDead, match=f"process {process.pid}"):
                reader.wait(39, 30)
            assert reader.view(1, "a", 2).tolist() == [1e6 + 38, 1e6 + 39]
            with StoreWriter.open(store_name, small_spec()) as writer:
                assert not writer.created and writer.generation == 2
                writer.append(0, 40, row(0, 40))
                assert reader.count(0) == 41
    finally:
        process.kill()
        process.join(30)


def test_reader_processes_leave_the_store_as_it_is(store_name: str) -> None:
    with StoreWriter.open(store_name, small_spec()) as writer:
        fill(writer, 1, 0, 40)
        before = segment_path(store_name).read_bytes()
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=_attach_and_read, args=(store_name,))
        process.start()
        process.join(60)
        assert process.exitcode == 0
        assert segment_path(store_name).read_bytes() == before


def _attach_and_read(name: str) -> None:
    with StoreReader.attach(name) as reader:
        assert reader.read(0, lambda r: r[0].sum(), 8) == sum(range(32, 40))
        os._exit(0)


def test_closed_ends_say_so(writer: StoreWriter, reader: StoreReader) -> None:
    (slot,) = fill(writer, 1, 0, 40)
    view = reader.view(slot, "a", 3)
    arrays = reader.arrays
    reader.close()
    reader.close()
    for call in (
        reader.symbols,
        lambda: reader.view(slot, "a", 3),
        lambda: reader.wait(0, 0),
        reader.counters,
    ):
        with pytest.raises(ShmError, match="closed"):
            call()
    writer.close()
    writer.close()
    for call in (lambda: writer.append(slot, 40, row(slot, 40)), writer.heartbeat, writer.notify):
        with pytest.raises(ShmError, match="closed"):
            call()
    gc.collect()
    assert list(view) == [37, 38, 39], "views outlive both"
    assert arrays.words[lay.COMPLETE] == 40


_UNTOUCHED = {"attach", "close", "column", "max_silence_s", "path"}
"""What of a reader does not look at the store."""


def test_nothing_looks_at_the_store_of_a_closed_reader(writer: StoreWriter, reader: StoreReader) -> None:
    """Compiled code checks no bounds, and the file number may be another file's by now."""
    fill(writer, 1, 0, 40)
    arguments: dict[str, tuple[object, ...]] = {
        "count": (0,), "first_g": (0,), "slot_state": (0,), "slot": ("S0",), "view": (0, "a", 3, 40),
        "rows": (0, 3, 40), "panel": ("a", 3, reader.panel_token(3)), "token": (0,),
        "valid": (reader.token(0),), "follow": (0,),
        "panel_valid": (reader.panel_token(),), "read": (0, len, 3), "read_at": (0, len, 3),
        "read_panel": ("a", len, 3), "read_panel_at": (len, 3), "read_forming": (0,), "corrections": (0,),
        "wait": (38, 0.0), "wait_slot": (0, 39, 0.0), "wait_async": (38, 0.0), "arrivals": (38,),
    }  # fmt: skip
    assert reader.slot("S0") == 0
    follower = reader.follow(0)
    reader.close()
    for name in {name for name in vars(StoreReader) if not name.startswith("_")} - _UNTOUCHED:
        with pytest.raises(ShmError, match=r": this reader is closed$"):
            found = getattr(reader, name)
            found = found(*arguments.get(name, ()))
            asyncio.run(anext(found) if hasattr(found, "__anext__") else found)
    with pytest.raises(ShmError, match=r": this reader is closed$"):
        follower.next(0.0)


def test_closed_readers_of_stores_with_little_in_them_say_so(store_name: str) -> None:
    with StoreWriter.open(store_name, small_spec(forming_cells=0, counters=())):
        reader = StoreReader.attach(store_name)
    assert reader.counters() == {} and reader.read_forming(0) is None
    reader.close()
    for call in (reader.counters, lambda: reader.read_forming(0)):
        with pytest.raises(ShmError, match="this reader is closed"):
            call()


def test_a_clean_end_leaves_file_and_lock_but_no_socket(writer: StoreWriter, store_name: str) -> None:
    path = segment_path(store_name)
    assert bell_path(path).exists()
    writer.close()
    assert path.exists() and lock_path(path).exists() and not bell_path(path).exists()
    with StoreReader.attach(store_name) as reader:
        assert reader.phase == "closed"
        with pytest.raises(WriterDead, match="phase 'closed'"):
            reader.check_writer()


def test_a_forgotten_writer_lets_go(store_name: str) -> None:
    writer = StoreWriter.open(store_name, small_spec())
    del writer
    gc.collect()
    StoreWriter.open(store_name, small_spec()).close()


def test_any_directory_will_do(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 120)  # longer than the address of a unix socket may be
    deep.mkdir()
    with StoreWriter.open("n", small_spec(), directory=deep) as writer:
        fill(writer, 1, 0, 20)
        with StoreReader.attach("n", directory=deep) as reader:
            assert reader.complete_g == 19
            assert bell_path(reader.path).exists()
    with pytest.raises(StoreNotFound, match="no such directory"):
        StoreWriter.open("n", small_spec(), directory=tmp_path / "none")


def test_group_opt_in(store_name: str) -> None:
    with StoreWriter.open(store_name, small_spec(), mode=0o640, group=os.getgid()):
        path = segment_path(store_name)
        assert [stat.S_IMODE(p.stat().st_mode) for p in (path, lock_path(path), bell_path(path))] == [
            0o640,
            0o640,
            0o660,
        ]
    with pytest.raises(ValueError, match="mode"):
        StoreWriter.open(store_name, small_spec(), mode=0o644)


def test_many_columns() -> None:
    spec = Spec(
        columns=tuple(f"factor_{i:04d}" for i in range(3000)),
        window=10,
        max_symbols=2,
        interval_ms=1,
        source="f",
        forming_cells=0,
    )
    name = f"test-wide-{os.getpid()}"
    try:
        with StoreWriter.open(name, spec) as writer, StoreReader.attach(name) as reader:
            slot = writer.add_symbol("A", 0)
            writer.activate(slot)
            values = np.arange(3000.0)
            writer.append(slot, 0, values)
            writer.correct(slot, 0, values + 1)
            writer.complete(0)
            assert reader.view(slot, "factor_2999", 1)[0] == 3000
            assert np.array_equal(reader.rows(slot, 1)[:-1, 0], values + 1)
            with pytest.raises(SymbolNotFound):
                reader.slot("B")
    finally:
        for path in Path("/dev/shm").glob(f"bmac.{name}*"):
            path.unlink()
