"""bmac_stream.status: every store is told, damaged ones too, and nothing crashes."""

import io
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
from rich.console import Console

from bmac_stream import status
from bmac_stream.status import StoreStatus
from shm import StoreWriter
from shm.layout import COMPLETE
from tests.bmac_stream.fake_collector import G0, FakeCollector, bar, make_spec, run_time

LAST = G0 + 59

KEYS = {
    "name", "path", "error", "source", "interval", "trade_type", "writer", "phase", "silent_s", "pid",
    "generation", "epoch", "active", "loading", "delisted", "capacity", "window", "run_time", "ready",
    "missing", "absent_now", "complete_ms", "age_s", "corrections", "absent_bars", "pending_bars",
    "late_fills", "reconnects", "weight_used_1m", "counters", "bytes", "free_slots", "warnings",
    "interval_ms",
}  # fmt: skip
"""What programs may rely on: a key may be added, none may go."""


def printed(found: list[StoreStatus], width: int = 100) -> str:
    out = io.StringIO()
    status.show(found, "/dev/shm", Console(file=out, width=width))
    return out.getvalue()


def test_a_live_store(tmp_path: Path) -> None:
    with FakeCollector.start(tmp_path) as writer:
        writer.remove_symbol(2)
        writer.add_symbol("LATEUSDT", LAST)
        g = writer.close_bar(pending=("AAAUSDT",), absent=("BBBUSDT",))
        writer.add("reconnects", 4)
        writer.set("last_complete_ms", 321)
        (found,) = status.look(tmp_path)
        assert found.error is None and found.name == "rule" and found.path == str(tmp_path / "bmac.rule")
        assert (found.source, found.interval, found.trade_type) == ("embedded:rule", "1m", "usdt_perp")
        assert (found.writer, found.phase, found.pid) == ("live", "live", os.getpid())
        assert (found.active, found.loading, found.delisted, found.capacity) == (2, 1, 1, 16)
        assert (found.run_time, found.ready, found.missing) == (run_time(g), 1, ["AAAUSDT"])
        assert (found.absent_now, found.complete_ms, found.reconnects) == (1, 321, 4)
        assert found.age_s is None  # an embedded exchange has a time of its own
        assert found.bytes == make_spec().nbytes and 0 <= found.silent_s < 60
        assert set(msgspec.to_builtins(found)) == KEYS
        text = printed([found])
        for words in ("rule", "embedded:rule", "live", "2 of 16", "1/2 ready", "AAAUSDT", "321 ms"):
            assert words in text


def test_age_of_a_real_exchange(tmp_path: Path) -> None:
    with FakeCollector.start(tmp_path, source="binance"):
        (found,) = status.look(tmp_path)
        assert found.age_s == pytest.approx(time.time() - run_time(LAST) / 1e3, abs=60)


def test_before_the_first_bar(tmp_path: Path) -> None:
    with FakeCollector.start(tmp_path, (), history=0):
        (found,) = status.look(tmp_path)
        assert (found.run_time, found.ready, found.active) == (0, 0, 0)
        assert "none yet" in printed([found])


def test_closed_dead_stalled_retired(tmp_path: Path) -> None:
    FakeCollector.start(tmp_path).close()
    assert status.look_at("rule", tmp_path).writer == "closed"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bmac_stream.fake_collector", str(tmp_path), "0.02"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        assert status.look_at("rule", tmp_path).writer == "live"
        process.send_signal(signal.SIGSTOP)
        found = status.look_at("rule", tmp_path)
        assert found.writer == "live"  # not yet: it may be silent for ten seconds
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]
    found = status.look_at("rule", tmp_path)
    assert found.writer == "dead" and found.phase == "live" and "dead" in printed([found])


def test_stalled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeCollector.start(tmp_path):
        monkeypatch.setattr(time, "monotonic_ns", lambda at=time.monotonic_ns: at() + 60_000_000_000)
        (found,) = status.look(tmp_path)
        assert found.writer == "stalled" and found.silent_s > 59


@pytest.mark.parametrize("damage", ["empty", "cut", "header", "foreign", "unreadable"])
def test_damaged_files_are_listed_with_their_error(tmp_path: Path, damage: str) -> None:
    FakeCollector.start(tmp_path, name="good").close()
    path = tmp_path / "bmac.bad"
    FakeCollector.start(tmp_path, name="bad").close()
    raw = bytearray(path.read_bytes())
    if damage == "empty":
        path.write_bytes(b"")
    elif damage == "cut":
        path.write_bytes(raw[: len(raw) // 2])
    elif damage == "header":
        raw[100] ^= 1
        path.write_bytes(raw)
    elif damage == "foreign":
        path.write_bytes(b"hello" * 2000)
    else:
        path.unlink()
        path.symlink_to(tmp_path / "bmac.good")
    found = {one.name: one for one in status.look(tmp_path)}
    assert found["good"].error is None
    if damage == "unreadable":
        assert "bad" not in found  # a link is no store
    else:
        assert found["bad"].error and found["bad"].writer == "unknown"
        assert "Error" in found["bad"].error or "Store" in found["bad"].error
    assert "good" in printed(list(found.values()))


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    found = status.look_at("none", tmp_path)
    assert found.error == f"StoreNotFound: {tmp_path} has no store 'none'; stores there: none"
    with FakeCollector.start(tmp_path):
        assert str(status.look_at("none", tmp_path).error).endswith("stores there: rule")


def test_what_a_health_check_does_not_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeCollector.start(tmp_path, (), history=0) as writer:
        writer.set_phase("starting")
        (found,) = status.look(tmp_path)
        assert found.writer == "live" and "no run_time is complete yet (phase 'starting')" in status.unfit(
            found
        )
    with FakeCollector.start(tmp_path, name="real", source="binance") as writer:
        at = run_time(LAST) / 1e3
        for age_s, words in ((5, ""), (129, ""), (131, "its newest run_time is 2 min old")):
            monkeypatch.setattr(time, "time", lambda age_s=age_s: at + age_s)
            assert status.unfit(status.look_at("real", tmp_path)).startswith(words)
            assert bool(words) == bool(status.unfit(status.look_at("real", tmp_path)))
        monkeypatch.setattr(time, "time", lambda: at + 61)
        writer.close_bar(pending=("AAAUSDT", "BBBUSDT"))
        assert status.unfit(status.look_at("real", tmp_path)) == ""
        writer.close_bar(pending=("AAAUSDT", "BBBUSDT", "CCCUSDT"))
        assert "every one of 3 symbols is missing" in status.unfit(status.look_at("real", tmp_path))
    assert "collector is closed" in status.unfit(status.look_at("real", tmp_path))


def test_other_files_are_no_stores(tmp_path: Path) -> None:
    with FakeCollector.start(tmp_path):
        (tmp_path / "something").write_bytes(b"")
        (tmp_path / "bmac.folder").mkdir()
        with socket.socket(socket.AF_UNIX) as bell:
            bell.bind(str(tmp_path / "bmac.odd"))
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/bmac.\xff")).touch()  # could not even be printed
        for name in ("rule.new", "rule.exginfo.arrow", "with space"):
            (tmp_path / f"bmac.{name}").touch()
        assert status.find_stores(tmp_path) == ["rule"]
        printed(status.look(tmp_path))
    assert status.find_stores(tmp_path / "none") == []
    assert "no store" in printed([])


def test_a_name_that_a_store_may_have_is_found(tmp_path: Path) -> None:
    with FakeCollector.start(tmp_path, name="x.tmp"):
        assert status.find_stores(tmp_path) == ["x.tmp"]


def test_a_run_time_that_cannot_be_is_told(tmp_path: Path) -> None:
    with FakeCollector.start(tmp_path) as writer:
        writer._words[COMPLETE] = 1 << 60
        found = status.look(tmp_path)
        assert "is no" in printed(found, 200)
        assert msgspec.json.decode(msgspec.json.encode(found))[0]["run_time"] > 1e15


def test_slots_that_run_low_are_a_warning(tmp_path: Path) -> None:
    with FakeCollector.start(tmp_path, max_symbols=4) as writer:
        (found,) = status.look(tmp_path)
        assert (found.free_slots, found.warnings) == (1, [])
        writer.remove_symbol(0)
        writer.add_symbol("LASTUSDT", LAST)
        (found,) = status.look(tmp_path)
        assert found.free_slots == 0
        (warning,) = found.warnings
        assert "0 of 4 slots" in warning and "store.max_symbols" in warning
        assert "slots are" in printed([found])


def test_a_collector_of_another_user_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    me = pwd.getpwuid(os.getuid()).pw_name
    with FakeCollector.start(tmp_path):
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        (found,) = status.look(tmp_path)
        assert found.error is not None and "belongs to user" in found.error
        for owner in (me, os.getuid()):
            (found,) = status.look(tmp_path, owner)
            assert (found.error, found.active) == (None, 3)
        (found,) = status.look(tmp_path, "no-such-user")
        assert found.error is not None and "no-such-user" in found.error


def test_the_table_fits_100_columns(tmp_path: Path) -> None:
    """Long names, long sources, many missing."""
    symbols = tuple(f"{i}VERYLONGSYMBOLNAMEUSDT_271231" for i in range(14))
    name = "a_store_with_a_name_as_long_as_names_may_get_" + "x" * 50
    source = "embedded:recorded:" + "0123456789abcdef" * 4
    with FakeCollector.start(tmp_path, symbols, name=name, source=source) as writer:
        writer.close_bar(pending=symbols)
        for width in (100, 200):
            lines = printed(status.look(tmp_path), width).splitlines()
            assert max(map(len, lines)) <= 100
        text = printed(status.look(tmp_path)).replace("│", "")
        assert "0/14 ready" in text and "9 more" in text
        assert len(lines) > 5


def test_a_status_while_the_market_moves(tmp_path: Path) -> None:
    """A store is looked at between any two actions of its writer."""
    with FakeCollector.start(tmp_path) as writer:
        for _ in range(30):
            writer.close_bar()
            writer.append(0, writer.next_g, bar(0, writer.next_g))
            (found,) = status.look(tmp_path)
            assert found.ready == 3 and not found.missing
            for slot in (1, 2):
                writer.append(slot, writer.next_g, bar(slot, writer.next_g))
            writer.complete(writer.next_g)
            writer.next_g += 1


def test_stores_of_other_columns(tmp_path: Path) -> None:
    """A store of factors, say: nothing here needs bars."""
    spec = make_spec(columns=("alpha", "beta"), meta="{}", counters=(), interval_ms=7_000)
    with StoreWriter.open("factors", spec, directory=tmp_path) as writer:
        slot = writer.add_symbol("A", 0)
        writer.load(slot, 0, np.ones((3, 2)), np.ones(3))
        writer.activate(slot)
        writer.complete(2)
        (found,) = status.look(tmp_path)
        assert (found.interval, found.ready, found.complete_ms, found.trade_type) == ("7000ms", 1, None, "")
