"""bmac_stream.client: what a strategy sees is what was published, or an error by name."""

import asyncio
import contextlib
import copy
import os
import pickle
import pwd
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numba import njit

import bmac_stream
from bmac_stream.bar import COLUMNS
from bmac_stream.client import Bars, RunTime, Store
from bmac_stream.errors import (
    Lagging,
    SegmentMismatch,
    ShmError,
    StoreBroken,
    StoreNotFound,
    StoreRetired,
    SymbolNotFound,
    WriterDead,
    WriterStalled,
)
from shm import Status
from shm.jit import begin, valid, window
from tests.bmac_stream.fake_collector import G0, MINUTE, SOURCE, FakeCollector, bar, run_time

LAST = G0 + 59  # newest bar of the history
WINDOW = 50


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[FakeCollector]:
    with FakeCollector.start(tmp_path) as collector:
        yield collector


@pytest.fixture
def store(writer: FakeCollector, tmp_path: Path) -> Iterator[Store]:
    with bmac_stream.attach("rule", directory=tmp_path) as attached:
        yield attached


def expected(slot: int, last: int, n: int) -> np.ndarray:
    """[9, n] bars up to number `last`."""
    return bar(slot, np.arange(last - n + 1, last + 1)).T


# ---- one symbol


def test_columns_are_zero_copy_views_of_the_window(store: Store, writer: FakeCollector) -> None:
    view = store["BBBUSDT"]
    for i, name in enumerate(COLUMNS):
        column = getattr(view, name)
        assert column.dtype == np.float64 and column.shape == (WINDOW,)
        assert np.shares_memory(column, store.data) and not column.flags.writeable
        np.testing.assert_array_equal(column, expected(1, LAST, WINDOW)[i])
        np.testing.assert_array_equal(view.column(name, 7), expected(1, LAST, 7)[i])
    np.testing.assert_array_equal(view.status, np.full(WINDOW, Status.BAR))
    held = view.close
    writer.close_bar()
    np.testing.assert_array_equal(view.close, expected(1, LAST + 1, WINDOW)[3])
    np.testing.assert_array_equal(held, expected(1, LAST, WINDOW)[3])  # still the bars it was made for


def test_views_follow_the_ring_around(store: Store, writer: FakeCollector) -> None:
    view = store["AAAUSDT"]
    for _ in range(3 * store.cap):
        g = writer.close_bar()
        assert view.close[-1] == bar(0, g)[3] and view.close[0] == bar(0, g - WINDOW + 1)[3]
        assert view.last_run_time == run_time(g)
        assert view.bars(3).values[3].tolist() == [bar(0, k)[3] for k in (g - 2, g - 1, g)]
    np.testing.assert_array_equal(view.bars().values[:-1], expected(0, g, WINDOW))


def test_times(store: Store) -> None:
    view = store["AAAUSDT"]
    assert view.count == len(view) == WINDOW
    assert view.last_run_time == run_time(LAST) == store.run_time
    assert view.first_open_time == (LAST - WINDOW + 1) * MINUTE
    times = view.open_time
    assert times.dtype == np.int64 and times[-1] == LAST * MINUTE and times[0] == view.first_open_time
    np.testing.assert_array_equal(view.run_time, times + MINUTE)
    bars = view.bars(5)
    assert len(bars) == 5 and bars.open_time.tolist() == [(LAST - 4 + i) * MINUTE for i in range(5)]
    assert bars.run_time[-1] == run_time(LAST)


def test_a_young_symbol_has_fewer_bars(store: Store, writer: FakeCollector) -> None:
    writer.list("NEWUSDT", LAST - 3, 4)
    view = store["NEWUSDT"]
    assert view.count == 4 and view.first_open_time == (LAST - 3) * MINUTE
    np.testing.assert_array_equal(view.close, expected(3, LAST, 4)[3])
    assert view.read(len) == 4 and view.read(len, n=2) == 2 and view.read(len, n=40) == 4
    assert view.copy().g0 == LAST - 3


def test_read_gives_the_bars_and_their_times(store: Store) -> None:
    view = store["CCCUSDT"]
    assert view.read(lambda bars: bars.close.mean(), n=10) == expected(2, LAST, 10)[3].mean()

    def all_of(bars: Bars) -> tuple[list[int], np.ndarray, list[float]]:
        return bars.open_time.tolist(), bars.values.copy(), bars.status.tolist()

    times, values, status = view.read(all_of, n=3)
    assert times == [(LAST - 2 + i) * MINUTE for i in range(3)]
    np.testing.assert_array_equal(values[:-1], expected(2, LAST, 3))
    assert status == [Status.BAR] * 3


@pytest.mark.parametrize("n", [0, -1, WINDOW + 1])
def test_n_out_of_range_is_named(store: Store, n: int) -> None:
    for call in (
        lambda: store["AAAUSDT"].read(len, n),
        lambda: store["AAAUSDT"].column("close", n),
        lambda: store.panel("close", n),
        lambda: store.read_panel("close", len, n),
    ):
        with pytest.raises(ValueError, match=f"found {n}"):
            call()


def test_read_retries_until_nothing_moved_then_lagging(store: Store, writer: FakeCollector) -> None:
    view = store["AAAUSDT"]
    calls: list[int] = []

    def slow(bars: Bars) -> float:
        calls.append(1)
        if len(calls) < 3:  # the writer overtakes the first two tries
            for _ in range(store.cap):
                writer.close_bar()
        return float(bars.close[0])

    got = view.read(slow, n=WINDOW)
    assert len(calls) == 3 and got == bar(0, writer.next_g - WINDOW)[3]

    def too_slow(bars: Bars) -> float:
        for _ in range(store.cap):
            writer.close_bar()
        return float(bars.close[0])

    with pytest.raises(Lagging, match="overtaken"):
        view.read(too_slow, n=WINDOW)


def test_errors_of_the_function_count_only_if_what_it_saw_was_real(
    store: Store, writer: FakeCollector
) -> None:
    view = store["AAAUSDT"]
    with pytest.raises(ZeroDivisionError):
        view.read(lambda bars: 1 / 0, n=1)
    calls: list[int] = []

    def once(bars: Bars) -> str:
        calls.append(1)
        if len(calls) == 1:
            writer.correct(0, LAST, bar(0, LAST) + 1)
            raise RuntimeError("saw half a correction")
        return f"{bars.close[-1] - bar(0, LAST)[3]:g}"

    assert view.read(once, n=1) == "1"


def test_guard_and_tokens_refuse_what_moved(store: Store, writer: FakeCollector) -> None:
    view = store["AAAUSDT"]
    with view.guard(20) as bars:
        mean = bars.close.mean()
    assert mean == expected(0, LAST, 20)[3].mean()
    with pytest.raises(Lagging, match="AAAUSDT"), view.guard(20):
        writer.correct(0, LAST, bar(0, LAST), Status.BAR)
    token = view.token(20)
    writer.close_bar()
    assert view.valid(token)
    for _ in range(store.cap - 21):
        writer.close_bar()
    assert not view.valid(token)
    panel = store.panel_token(20)
    assert store.panel_valid(panel)
    for _ in range(store.cap - 20):
        writer.close_bar()
    assert store.panel_valid(panel)  # the next bar is the first to fall on the panel's oldest
    writer.close_bar()
    assert not store.panel_valid(panel)


def test_views_cannot_be_written(store: Store) -> None:
    for view in (store["AAAUSDT"].close, store.panel("close", 3), store["AAAUSDT"].bars(3).values):
        with pytest.raises(ValueError, match="read-only"):
            view[...] = 0.0


def test_unknown_names(store: Store) -> None:
    with pytest.raises(SymbolNotFound, match="'XXX'"):
        store["XXX"]
    with pytest.raises(KeyError):
        store["AAAUSDT"].column("fees")
    with pytest.raises(KeyError):
        store.panel("fees", 3)


def test_forming_bar_is_flagged_and_goes_when_it_closes(store: Store, writer: FakeCollector) -> None:
    view = store["BBBUSDT"]
    assert view.forming is None
    writer.write_forming(1, LAST + 1, bar(1, LAST + 1) + 0.5)
    forming = view.forming
    assert forming is not None and forming.is_closed is False
    assert forming.close == bar(1, LAST + 1)[3] + 0.5 and isinstance(forming.close, float)
    assert (forming.open_time, forming.run_time) == ((LAST + 1) * MINUTE, run_time(LAST + 1))
    assert "close=" in repr(forming)
    assert view.close[-1] == bar(1, LAST)[3]  # not among the closed ones
    writer.close_bar()
    assert view.forming is None


# ---- the market


def test_panel_rows_are_slots(store: Store, writer: FakeCollector) -> None:
    panel = store.panel("volume", 30)
    assert panel.shape == (3, 30) and np.shares_memory(panel, store.data)
    for slot in range(3):
        np.testing.assert_array_equal(panel[slot], expected(slot, LAST, 30)[4])
    assert store.symbols == {"AAAUSDT": 0, "BBBUSDT": 1, "CCCUSDT": 2}
    assert store.panel_symbols == ("AAAUSDT", "BBBUSDT", "CCCUSDT")
    assert store.slots.tolist() == [0, 1, 2] and len(store) == 3 and list(store) == list(store.symbols)


def test_panel_ends_at_the_complete_bar(store: Store, writer: FakeCollector) -> None:
    writer.append(0, LAST + 1, bar(0, LAST + 1))
    assert store["AAAUSDT"].close[-1] == bar(0, LAST + 1)[3]
    assert store.panel("close", 2)[0].tolist() == expected(0, LAST, 2)[3].tolist()


def test_listing_and_delisting(store: Store, writer: FakeCollector) -> None:
    before = store["BBBUSDT"]
    writer.remove_symbol(1)
    writer.list("NEWUSDT", LAST - 1, 2)
    g = writer.close_bar()
    assert store.symbols == {"AAAUSDT": 0, "CCCUSDT": 2, "NEWUSDT": 3}
    assert store.panel_symbols == ("AAAUSDT", None, "CCCUSDT", "NEWUSDT")
    assert store.slots.tolist() == [0, 2, 3]
    assert "BBBUSDT" not in store
    with pytest.raises(SymbolNotFound):
        store["BBBUSDT"]
    panel = store.panel("close", 3)
    assert np.isnan(panel[1, -1]) and panel[1, 0] == bar(1, LAST - 1)[3]
    assert np.isnan(panel[3, 0]) == (g - 2 < LAST - 1) and panel[3, -1] == bar(3, g)[3]
    assert np.isnan(before.close[-1])  # the old view goes on, as NaN
    writer.add_symbol("BBBUSDT", g + 1)  # listed again: invisible while its history is loaded
    assert "BBBUSDT" not in store and len(store.panel_symbols) == 5
    writer.load(4, g + 1, bar(4, np.array([g + 1])), [Status.BAR])
    writer.activate(4)
    assert store["BBBUSDT"].slot == 4


def test_read_panel_of_several_columns(store: Store) -> None:
    high, low = store.read_panel(("high", "low"), lambda high, low: (high.copy(), low.copy()), n=4)
    np.testing.assert_array_equal(high - low, np.full((3, 4), -1.0))
    assert high[2].tolist() == expected(2, LAST, 4)[1].tolist()


def test_read_panel_at_the_run_time_that_wait_told(store: Store, writer: FakeCollector) -> None:
    told = run_time(writer.close_bar())
    writer.close_bar()
    writer.close_bar()
    last = store.read_panel("close", lambda close: close[:, -1].tolist(), n=5, run_time=told)
    assert last == [bar(slot, LAST + 1)[3] for slot in range(3)]
    assert store.panel("close", 5, run_time=told)[0, -1] == bar(0, LAST + 1)[3]
    assert store.panel("close", 5)[0, -1] == bar(0, LAST + 3)[3]
    with pytest.raises(ValueError, match="no run_time"):
        store.panel("close", 5, run_time=run_time(LAST + 4))
    with pytest.raises(ValueError, match="no run_time"):
        store.panel("close", 5, run_time=told + 1)
    with pytest.raises(Lagging, match="no longer"):
        store.panel("close", WINDOW, run_time=told)


def test_read_panel_at_a_run_time_that_leaves_the_window_meanwhile(
    store: Store, writer: FakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bars close between the look at the run_time and the token."""
    take = store.reader.panel_token

    def late(n: int | None = None) -> object:
        for _ in range(store.cap - WINDOW + 5):
            writer.close_bar()
        return take(n)

    monkeypatch.setattr(store.reader, "panel_token", late)
    with pytest.raises(Lagging, match="no longer"):
        store.read_panel("close", lambda close: close[0, 0], n=WINDOW, run_time=run_time(LAST))


def test_read_panel_is_refused_when_overtaken(store: Store, writer: FakeCollector) -> None:
    def too_slow(close: np.ndarray) -> float:
        for _ in range(store.cap):
            writer.close_bar()
        return float(close[0, 0])

    with pytest.raises(Lagging, match="panel"):
        store.read_panel("close", too_slow, n=10)


@pytest.mark.parametrize("phase", ["starting", "history", "catching up", "live"])
def test_lagging_says_so_when_it_is_the_collector_that_catches_up(
    store: Store, writer: FakeCollector, phase: str
) -> None:
    def too_slow(*_: object) -> float:
        for _ in range(store.cap):
            writer.close_bar()
        return 0.0

    told = run_time(writer.close_bar())
    writer.set_phase(phase)
    for read in (
        lambda: store["AAAUSDT"].read(too_slow, n=WINDOW),
        lambda: store.read_panel("close", too_slow, n=10),
        lambda: store.panel("close", 10, run_time=told),
    ):
        with pytest.raises(Lagging) as caught:
            read()
        assert ("its collector is bringing what was missed" in str(caught.value)) is (phase != "live")


# ---- waiting


def later(delay_s: float, *calls: object) -> threading.Thread:
    """Do things after a while, from another thread (the writer is only used there then)."""

    def work() -> None:
        for call in calls:
            time.sleep(delay_s)
            call()  # type: ignore[operator]

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_wait_tells_the_next_run_time(store: Store, writer: FakeCollector) -> None:
    thread = later(0.1, writer.close_bar)
    began = time.monotonic()
    got = store.wait(timeout_s=10)
    assert got == run_time(LAST + 1) and isinstance(got, RunTime) and isinstance(got, int)
    assert 0.05 < time.monotonic() - began < 5
    assert (got.missing, got.absent, got.skipped) == ((), (), 0)
    thread.join()


def test_wait_never_skips_silently(store: Store, writer: FakeCollector) -> None:
    for _ in range(3):
        writer.close_bar()
    got = store.wait(timeout_s=1)
    assert got == run_time(LAST + 3) and got.skipped == 2
    with pytest.raises(TimeoutError, match=r"'rule'.*'live'"):
        store.wait(timeout_s=0.05)
    assert store.wait(timeout_s=1, seen=run_time(LAST + 1)).skipped == 1
    latest = store.wait(timeout_s=1, seen=0)
    assert latest == run_time(LAST + 3) and latest.skipped == 0


def test_wait_names_who_is_missing(store: Store, writer: FakeCollector) -> None:
    writer.close_bar(pending=("CCCUSDT", "AAAUSDT"), absent=("BBBUSDT",))
    got = store.wait(timeout_s=1)
    assert got.missing == ("AAAUSDT", "CCCUSDT") and got.absent == ("BBBUSDT",)
    assert np.isnan(store["AAAUSDT"].close[-1]) and store["AAAUSDT"].status[-1] == Status.PENDING


def test_a_delisted_symbol_is_not_missing(store: Store, writer: FakeCollector) -> None:
    writer.remove_symbol(1)
    writer.close_bar()
    got = store.wait(timeout_s=1)
    assert (got.missing, got.absent) == ((), ())


def test_wait_symbol(store: Store, writer: FakeCollector) -> None:
    assert store.wait_symbol("AAAUSDT", 1, seen=run_time(LAST - 1)) == run_time(LAST)

    def publish() -> None:
        writer.append(0, LAST + 1, bar(0, LAST + 1))
        writer.notify()

    thread = later(0.1, publish)
    assert store.wait_symbol("AAAUSDT", 10) == run_time(LAST + 1)
    assert store.run_time == run_time(LAST)  # the market is not there yet
    with pytest.raises(TimeoutError, match="BBBUSDT"):
        store.wait_symbol("BBBUSDT", 0.05)
    thread.join()


async def test_run_times_in_asyncio(store: Store, writer: FakeCollector) -> None:
    thread = later(0.05, writer.close_bar, writer.close_bar, lambda: writer.close_bar(pending=("BBBUSDT",)))
    seen: list[RunTime] = []
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0.005)
            beats += 1

    other = asyncio.create_task(beat())
    async with asyncio.timeout(10):
        async for got in store.run_times():
            seen.append(got)
            if got == run_time(LAST + 3):
                break
    other.cancel()
    thread.join()
    assert sum(1 + got.skipped for got in seen) == 3 and seen[-1].missing == ("BBBUSDT",)
    assert beats > 5  # the loop went on meanwhile
    with pytest.raises(TimeoutError, match="'rule'"):
        async for _ in store.run_times(timeout_s=0.05):
            pass


# ---- the collector's end


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.bmac_stream.fake_collector", str(tmp_path), "0.05"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None and child.stdout.readline() == "ready\n"
    yield child
    child.send_signal(signal.SIGCONT)
    child.kill()
    child.wait()
    child.stdout.close()


def test_a_dead_collector_is_an_error_with_its_silence(
    process: subprocess.Popen[str], tmp_path: Path
) -> None:
    with bmac_stream.attach("rule", directory=tmp_path) as store:
        first = store.wait(10)
        threading.Timer(0.2, process.kill).start()
        with pytest.raises(WriterDead, match=r"bmac\.rule.*silent for \d+\.\d s"):
            while True:
                store.wait(10)
        with pytest.raises(WriterDead, match="silent"):
            store.check()
        with pytest.raises(WriterDead):
            asyncio.run(anext(store.run_times()))  # type: ignore[arg-type]
        assert store.run_time >= first and store["AAAUSDT"].close[-1] > 0  # what is there can still be read


def test_a_stalled_collector_is_an_error_and_may_come_back(
    process: subprocess.Popen[str], tmp_path: Path
) -> None:
    with bmac_stream.attach("rule", directory=tmp_path, max_silence_s=0.4) as store:
        store.wait(10)
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(WriterStalled, match=r"silent for \d+\.\d s, allowed are 0.4 s"):
            while True:
                store.wait(10)
        process.send_signal(signal.SIGCONT)
        before = store.run_time
        deadline = time.monotonic() + 10
        while store.run_time == before and time.monotonic() < deadline:
            time.sleep(0.02)
        assert store.wait(10) > before


def test_a_restarted_collector_goes_on_under_the_same_views(tmp_path: Path) -> None:
    first = FakeCollector.start(tmp_path)
    with bmac_stream.attach("rule", directory=tmp_path) as store:
        view = store["AAAUSDT"]
        first.close()
        assert store.phase == "closed"
        with pytest.raises(WriterDead):
            store.wait(1)
        with FakeCollector.start(tmp_path) as second:
            g = second.close_bar()
            assert g == LAST + 1 and store.wait(1) == run_time(g) and view.close[-1] == bar(0, g)[3]


def test_retired_store_says_attach_again(tmp_path: Path) -> None:
    first = FakeCollector.start(tmp_path)
    with bmac_stream.attach("rule", directory=tmp_path) as store:
        first.close_bar()
        store.wait(1)
        old = store["AAAUSDT"]
        kept = old.close.copy()
        first.close()
        with FakeCollector.start(tmp_path, window=30, history=70) as second:
            with pytest.raises(StoreRetired, match="attach again"):
                store.wait(1)
            store.reattach()
            assert store.window == 30 and len(store["AAAUSDT"].close) == 30
            assert store["AAAUSDT"].close[-1] == bar(0, LAST + 10)[3]
            np.testing.assert_array_equal(old.close, kept)  # views of the old file keep what they had
            assert store.wait(1) == run_time(LAST + 10)
            second.close_bar()
            assert store.wait(1) == run_time(LAST + 11)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"source": "binance:usdm"}, "expected 1m bars of embedded:rule.*found 1m bars of binance:usdm"),
        ({"interval_ms": 5 * MINUTE}, "expected 1m bars.*found 5m bars of embedded:rule"),
        ({"origin_ms": 30_000}, "origin 0.*origin 30000"),
    ],
)
def test_a_successor_of_other_bars_is_refused(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    """A strategy of synthetic minutes must not go on, unasked, with an exchange's, or with hours."""
    first = FakeCollector.start(tmp_path)
    with bmac_stream.attach("rule", directory=tmp_path) as store:
        first.close()
        (tmp_path / "bmac.rule").unlink()
        with FakeCollector.start(tmp_path, **changes):  # type: ignore[arg-type]
            before = open_files(tmp_path)
            with pytest.raises(SegmentMismatch, match=words):
                store.reattach()
            assert open_files(tmp_path) == before
            assert store.run_time == run_time(LAST) and store.source == SOURCE  # as it was
        (tmp_path / "bmac.rule").unlink()
        with FakeCollector.start(tmp_path) as third:
            store.reattach()
            third.close_bar()
            assert store.wait(1) == run_time(LAST + 1)


def open_files(directory: Path) -> int:
    """How many files of a directory this process holds open."""
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            found += str(entry.readlink()).startswith(str(directory))
    return found


def rates(directory: Path) -> FakeCollector:
    """A writer of what passes for the funding of "rule"."""
    return FakeCollector.start(directory, name="rule.funding", meta='{"kind": "funding"}')


def test_funding_is_attached_anew_when_its_file_is_retired(
    store: Store, writer: FakeCollector, tmp_path: Path
) -> None:
    with rates(tmp_path):
        first = store.funding
        assert store.funding is first
        (tmp_path / "bmac.rule.funding").unlink()
    with rates(tmp_path) as second:
        second.close_bar()
        assert store.funding is not first and store.funding["AAAUSDT"].end_g == LAST + 2
        with store.funding:
            pass
        assert store.funding["AAAUSDT"].end_g == LAST + 2  # whoever closes it does so for himself
    with pytest.raises(StoreNotFound, match="no longer written"):
        _ = store.funding  # also of one that was attached while it was kept
    with rates(tmp_path):
        assert store.funding["AAAUSDT"].end_g == LAST + 2


def test_reattach_closes_what_was_attached_beside(
    store: Store, writer: FakeCollector, tmp_path: Path
) -> None:
    with rates(tmp_path):
        store.reattach()
        before = open_files(tmp_path)
        for _ in range(5):
            assert store.funding.run_time == run_time(LAST)
            store.reattach()
        assert open_files(tmp_path) == before


def test_no_store_is_pickled_or_copied(store: Store) -> None:
    """Pickle would copy the arrays: prices that stand still, in what says it is alive."""
    for thing in (store, store["AAAUSDT"]):
        for take in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="cannot be pickled or copied: attach in the other process"):
                take(thing)


def test_a_collector_of_another_user_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    me = pwd.getpwuid(os.getuid()).pw_name
    with FakeCollector.start(tmp_path):
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        with pytest.raises(StoreBroken, match="belongs to user"):
            bmac_stream.attach("rule", directory=tmp_path)
        for owner in (me, os.getuid()):
            with bmac_stream.attach("rule", directory=tmp_path, owner=owner) as store:
                store.reattach()
                assert len(store) == 3


def test_no_panel_before_the_first_run_time(tmp_path: Path) -> None:
    """Cells are taken by number: those "before bar 0" hold bars of any time."""
    with FakeCollector.start(tmp_path, (), history=0) as writer:
        writer.list("AAAUSDT", G0, 60)
        with bmac_stream.attach("rule", directory=tmp_path) as store:
            assert store.run_time == 0 and len(store["AAAUSDT"].close) == WINDOW
            for read in (store.panel, lambda c, n: store.read_panel(c, lambda p: 0, n)):
                with pytest.raises(Lagging, match="no panel before its first run_time"):
                    read("close", 10)
            writer.complete(LAST)
            assert store.panel("close", 2)[0].tolist() == expected(0, LAST, 2)[3].tolist()


async def test_run_times_go_on_after_an_error_without_a_gap(store: Store, writer: FakeCollector) -> None:
    writer.close_bar()
    writer.close_bar()
    told = await anext(store.run_times(1, seen=run_time(LAST)))
    assert (told, told.skipped) == (run_time(LAST + 2), 1)


async def test_run_times_go_on_where_another_task_attached_again(
    store: Store, writer: FakeCollector, tmp_path: Path
) -> None:
    loop = asyncio.get_running_loop()
    waiting = asyncio.create_task(anext(store.run_times(5)))
    await asyncio.sleep(0.05)
    began = loop.time()
    store.reattach()
    await asyncio.sleep(0.05)
    assert not waiting.done()
    writer.close_bar()
    assert await waiting == run_time(LAST + 1)
    assert loop.time() - began < 4
    waiting = asyncio.create_task(anext(store.run_times(5)))
    await asyncio.sleep(0.05)
    store.close()
    with pytest.raises(ShmError, match="closed"):
        await waiting


def test_a_store_is_found_again_wherever_the_process_goes(
    tmp_path: Path, writer: FakeCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with bmac_stream.attach(writer.path.name.removeprefix("bmac."), directory=".") as store:
        monkeypatch.chdir("/")
        store.check()
        store.reattach()
        assert store.run_time == run_time(LAST)


def test_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound, match=r"none.*bmac_stream status"):
        bmac_stream.attach("none", directory=tmp_path)


# ---- what else it tells


def test_what_the_store_is(store: Store, writer: FakeCollector) -> None:
    writer.add("reconnects", 2)
    assert store.source == "embedded:rule" and store.interval == "1m" and store.phase == "live"
    assert store.meta == {"trade_type": "usdt_perp", "interval": "1m"} and store.columns == COLUMNS
    assert store.counters()["reconnects"] == 2
    assert store.spec.window == store.window == WINDOW and 0 <= store.silence_s < 60
    assert "rule" in repr(store) and "AAAUSDT" in repr(store["AAAUSDT"])
    store.check()


def test_corrections_are_told(store: Store, writer: FakeCollector) -> None:
    g = writer.close_bar(pending=("BBBUSDT",))
    found, following = store.corrections(store.n_corrections)
    assert (found, following) == ([], 0)
    writer.correct(1, g, bar(1, g))
    writer.remove_symbol(1)
    found, following = store.corrections()
    assert found == [("BBBUSDT", g * MINUTE, Status.PENDING, Status.BAR)] and following == 1
    assert store.corrections(following) == ([], 1)


def test_reading_in_ones_own_njit_code(store: Store, writer: FakeCollector) -> None:
    @njit  # type: ignore[misc, unused-ignore]
    def last_mean(arrays, slot, column, n):  # type: ignore[no-untyped-def]
        token = begin(arrays, slot)
        mean = window(arrays, slot, column, n, token).mean()
        return mean, valid(arrays, slot, n, token)

    mean, good = last_mean(store.arrays, store["CCCUSDT"].slot, store.column_index["close"], 8)
    assert good and mean == expected(2, LAST, 8)[3].mean()


def test_import_is_light() -> None:
    code = (
        "import sys, bmac_stream; bmac_stream.bar.COLUMNS;"
        "heavy = {'numba', 'pyarrow', 'numpy', 'aiohttp', 'pandas'} & set(sys.modules);"
        "print(heavy); bmac_stream.errors.Lagging; assert bmac_stream.attach; assert 'numba' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout == "set()\n", done.stderr


def test_all_is_what_is_importable() -> None:
    for name in bmac_stream.__all__:
        assert getattr(bmac_stream, name) is not None
    with pytest.raises(AttributeError, match="no_such"):
        bmac_stream.no_such  # noqa: B018


def test_readers_are_separate_from_the_writer_process(tmp_path: Path) -> None:
    """Another process sees the same bytes through its own read-only map."""
    with FakeCollector.start(tmp_path) as writer:
        code = (
            f"import bmac_stream; s = bmac_stream.attach('rule', directory={str(tmp_path)!r});"
            "print(float(s['BBBUSDT'].close[-1]), int(s.wait(20, seen=0)))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        assert done.stdout.split() == [str(float(bar(1, LAST)[3])), str(run_time(LAST))], done.stderr
        assert writer.complete_g == LAST and (tmp_path / "bmac.rule").exists()
