"""bmac_stream.bmac_guard: one writer of a run directory, and no BMAC beside it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bmac_stream.bmac_guard import LOCK_NAME, FolderLock, bmac_process, foreign_files
from bmac_stream.bmac_layout import CandleFrame, Mark
from bmac_stream.errors import RunDirectoryTaken


def process(root: Path, pid: int, *words: str, cwd: Path | None = None) -> None:
    """A process as /proc shows it."""
    folder = root / str(pid)
    folder.mkdir()
    (folder / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in words))
    (folder / "root").symlink_to("/")
    (folder / "cwd").symlink_to(cwd or "/")


def test_a_running_bmac_is_found(tmp_path: Path) -> None:
    proc, base = tmp_path / "proc", tmp_path / "udeli_1m"
    for folder in (proc, base, tmp_path / "other", proc / "self", proc / "1234567"):
        folder.mkdir()
    (proc / "uptime").touch()
    process(proc, 1, "python", "cli.py", "bmac", "start", str(tmp_path / "other"))
    process(proc, 2, "python", "cli.py", "bhds", "start", str(base))
    process(proc, 3, "/venv/bin/python", "/venv/bin/bmac", "start", str(base))  # our own command
    process(proc, 4, "vim", str(base))
    process(proc, 5, "python", "cli.py", "bmac")
    assert bmac_process(base, proc) is None
    process(proc, 6, "/opt/python", "/opt/binance_datatool/cli.py", "bmac", "start", str(base) + "/")
    assert bmac_process(base, proc) == 6
    (proc / "6" / "cmdline").unlink()
    process(proc, 7, "python", "cli.py", "bmac", "start", "--base_dir=udeli_1m", cwd=tmp_path)
    assert bmac_process(base, proc) == 7
    (proc / "7" / "cmdline").unlink()
    (tmp_path / "link").symlink_to(base)
    process(proc, 8, "python", "cli.py", "bmac", "start", "link", cwd=tmp_path)
    assert bmac_process(base, proc) == 8
    assert bmac_process(tmp_path / "none", proc) is None


def test_a_running_bmac_is_found_in_the_real_proc(tmp_path: Path) -> None:
    code = "import sys; print('here', flush=True); sys.stdin.read()"
    (tmp_path / "cli.py").write_text(code)
    child = subprocess.Popen(
        [sys.executable, "cli.py", "bmac", "start", "."],
        cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert child.stdout is not None and child.stdout.readline() == b"here\n"
        assert bmac_process(tmp_path) == child.pid
    finally:
        child.communicate(b"")
    assert bmac_process(tmp_path) is None


def test_the_lock_names_its_holder(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path, "usdt_perp_1m")
    with pytest.raises(RunDirectoryTaken, match=f"process {os.getpid()} \\(store 'usdt_perp_1m'\\)"):
        FolderLock(tmp_path, "other")
    lock.check()
    lock.release()
    lock = FolderLock(tmp_path, "other")
    (tmp_path / LOCK_NAME).write_text("no JSON")
    with pytest.raises(RunDirectoryTaken, match="another process of bmac_stream"):
        FolderLock(tmp_path, "third")
    lock.release()


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from bmac_stream.bmac_guard import FolderLock;"
        "lock = FolderLock(Path(sys.argv[1]), 'x'); print('here', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None and child.stdout.readline() == b"here\n"
    with pytest.raises(RunDirectoryTaken, match=f"process {child.pid} "):
        FolderLock(tmp_path, "y")
    child.kill()
    child.communicate()
    FolderLock(tmp_path, "y").release()


def test_a_folder_that_was_taken_away(tmp_path: Path) -> None:
    folder = tmp_path / "usdt_perp_1m"
    folder.mkdir()
    lock = FolderLock(folder, "x")
    (folder / LOCK_NAME).unlink()
    with pytest.raises(RunDirectoryTaken, match="removed or made anew"):
        lock.check()
    (folder / LOCK_NAME).touch()  # another one of that name is not it
    with pytest.raises(RunDirectoryTaken, match="removed or made anew"):
        lock.check()
    lock.release()


def test_a_lock_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / LOCK_NAME).symlink_to(tmp_path / "mine")
    with pytest.raises(OSError):
        FolderLock(folder, "x")
    assert (tmp_path / "mine").read_text() == "mine"


def test_fresh_files_of_others(tmp_path: Path) -> None:
    now = time.time()
    ours = CandleFrame("parquet", 60_000).encode(Mark("s", "t", "1m", "A"), 0, np.ones((9, 3)), None)
    (tmp_path / "A.pqt").write_bytes(ours)
    frame = pd.DataFrame({"open": [1.0]})
    for name, age_s in (("B.pqt", 10), ("C.pqt", 20), ("D.pqt", 1000)):
        frame.to_parquet(tmp_path / name)
        os.utime(tmp_path / name, (now - age_s, now - age_s))
    frame.to_parquet(tmp_path / "mine.pqt")  # somebody's own: BMAC's have ready files
    for name in ("A", "B", "C", "D", "half"):
        (tmp_path / f"{name}_20240701_004300.ready").touch()
    (tmp_path / ".hidden.pqt").write_bytes(b"")
    (tmp_path / "notes.txt").touch()
    (tmp_path / "half.fea").write_bytes(b"ARROW1")
    found = foreign_files((tmp_path, tmp_path / "none"), now - 100)
    assert [path.name for _, path in found] == ["half.fea", "B.pqt", "C.pqt"]
    assert found[1][0] == pytest.approx(now - 10, abs=0.01)
