"""bmac_stream.bmac_disk: a file is old or new at every instant, whatever kills the process."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bmac_stream.bmac_disk import OneFile, named
from bmac_stream.bmac_layout import CandleFrame, Mark, ready_name
from bmac_stream.errors import NoSpace, RunDirectoryError, RunDirectoryTaken

MARK = Mark("embedded:rule", "usdt_perp", "1m", "BTCUSDT")
MINUTE = 60_000
ZONE = "Asia/Hong_Kong"
STEPS = 7
"""data: open, half written, rename; old ready: remove; new ready: open, half written, rename."""


def data(n: int) -> pa.Buffer:
    return CandleFrame("parquet", MINUTE).encode(MARK, 0, np.full((9, n), float(n)), None)


def ready(n: int) -> str:
    return ready_name("BTCUSDT", n * MINUTE, ZONE)


def state(folder: Path) -> tuple[int, list[str]]:
    """(rows of the data file, which must be whole; ready files)"""
    rows = pq.read_table(folder / "BTCUSDT.pqt").num_rows
    return rows, sorted(path.name for path in folder.glob("*.ready"))


# Every operation on the folder is an audit event, and it is raised before the operation is done.
_KILLED = """
import os, signal, sys
from pathlib import Path
from bmac_stream.bmac_disk import OneFile
from tests.bmac_stream.test_bmac_disk import data, ready

folder, step = Path(sys.argv[1]), int(sys.argv[2])
file = OneFile(folder, "BTCUSDT", "pqt")
file.publish(data(100), ready(100))
content, done = data(101), 0

def count(what):
    global done
    if done == step:
        os.kill(os.getpid(), signal.SIGKILL)
    done += 1

def hook(event, args):
    if event in ("open", "os.rename", "os.remove") and str(folder) in str(args[0]):
        count(event)

write = os.write
def half(fd, left):
    if len(left) > 1 and done in (1, 5):
        write(fd, left[: len(left) // 2])
        count("write")
        left = left[len(left) // 2 :]
        return write(fd, left) + len(left)
    return write(fd, left)

os.write = half
sys.addaudithook(hook)
file.publish(content, ready(101))
print(done)
"""


def killed(folder: Path, step: int) -> subprocess.CompletedProcess[str]:
    folder.mkdir()
    return subprocess.run(
        [sys.executable, "-c", _KILLED, str(folder), str(step)],
        capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize("step", range(STEPS))
def test_killed_at_each_step_old_or_new_never_half(tmp_path: Path, step: int) -> None:
    folder = tmp_path / "run"
    assert killed(folder, step).returncode == -9
    rows, names = state(folder)
    assert rows == (100 if step < 3 else 101)
    # what a ready file promises is in the data
    assert names == ([ready(100)] if step < 4 else [])
    seen = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    assert sorted(seen) == sorted(["BTCUSDT.pqt", *names])
    # who comes next finishes it
    file = OneFile(folder, "BTCUSDT", "pqt")
    file.ready = set(names)
    assert file.publish(data(102), ready(102)) == 1
    assert state(folder) == (102, [ready(102)])


def test_all_steps_are_known(tmp_path: Path) -> None:
    ran = killed(tmp_path / "run", 1000)
    assert ran.returncode == 0 and int(ran.stdout) == STEPS, ran.stderr
    assert state(tmp_path / "run") == (101, [ready(101)])


def test_one_ready_file_even_if_there_were_several(tmp_path: Path) -> None:
    file = OneFile(tmp_path, "BTCUSDT", "pqt")
    for n in (3, 4, 5):
        (tmp_path / ready(n)).touch()
    file.ready = {ready(3), ready(4), ready(5), ready(6)}  # the last one is not there (any more)
    file.publish(data(5), ready(5))
    assert state(tmp_path) == (5, [ready(5)])
    other = tmp_path / ready_name("BTCUSDT_240927", 1, ZONE)
    other.touch()  # BMAC's glob BTCUSDT_* would take it for one of BTCUSDT's
    file.publish(data(6), ready(6))
    assert state(tmp_path) == (6, sorted([ready(6), other.name]))
    assert float((tmp_path / ready(6)).read_text()) > 1.7e9


def test_a_correction_keeps_the_ready_file(tmp_path: Path) -> None:
    file = OneFile(tmp_path, "BTCUSDT", "pqt")
    file.publish(data(5), ready(5))
    before = (tmp_path / ready(5)).stat().st_ino
    assert file.publish(data(6), ready(5)) == 1
    assert state(tmp_path) == (6, [ready(5)]) and (tmp_path / ready(5)).stat().st_ino == before
    assert file.publish(None, ready(7)) == 0
    assert state(tmp_path) == (6, [ready(7)])
    (tmp_path / ready(7)).unlink()
    file.publish(data(7), ready(7))
    assert state(tmp_path) == (7, [ready(7)])


def test_ready_promises_at_no_time_more_than_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = OneFile(tmp_path, "BTCUSDT", "pqt")
    file.publish(data(5), ready(5))
    seen: list[tuple[int, list[str]]] = []
    for name in ("rename", "unlink"):
        real = getattr(Path, name)

        def watched(self: Path, *args: object, real: object = real, **more: object) -> object:
            seen.append(state(tmp_path))
            return real(self, *args, **more)  # type: ignore[operator]

        monkeypatch.setattr(Path, name, watched)
    file.publish(data(6), ready(6))
    assert seen == [(5, [ready(5)]), (6, [ready(5)]), (6, [])]


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = OneFile(tmp_path, "BTCUSDT", "pqt")
    file.publish(data(5), ready(5))
    real, room = os.write, [2000]

    def short(fd: int, left: memoryview) -> int:
        if room[0] <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        n = real(fd, left[: room[0]])
        room[0] -= n
        return n

    monkeypatch.setattr(os, "write", short)
    with pytest.raises(OSError) as caught:
        file.publish(data(6), ready(6))
    assert state(tmp_path) == (5, [ready(5)])
    assert not list(tmp_path.glob(".*")), "the temporary file is gone"
    error = named(caught.value, file.path)
    assert isinstance(error, NoSpace) and "BTCUSDT.pqt" in str(error)
    room[0] = len(memoryview(data(6)))  # the data fits, the ready file does not
    with pytest.raises(OSError):
        file.publish(data(6), ready(6))
    assert state(tmp_path) == (6, [])
    room[0] = 10**9
    file.publish(data(6), ready(6))
    assert state(tmp_path) == (6, [ready(6)])


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "BTCUSDT.pqt").mkdir()
    file = OneFile(tmp_path, "BTCUSDT", "pqt")
    with pytest.raises(OSError) as caught:
        file.publish(data(5), ready(5))
    error = named(caught.value, file.path)
    assert isinstance(error, RunDirectoryError) and "BTCUSDT.pqt cannot be written" in str(error)
    assert [path.name for path in tmp_path.iterdir()] == ["BTCUSDT.pqt"]


def test_links_are_replaced_and_never_followed(tmp_path: Path) -> None:
    secret = tmp_path / "elsewhere"
    secret.write_text("mine")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "BTCUSDT.pqt").symlink_to(secret)
    file = OneFile(folder, "BTCUSDT", "pqt")
    file.publish(data(5), ready(5))
    assert secret.read_text() == "mine" and state(folder) == (5, [ready(5)])
    (folder / ".BTCUSDT.pqt.tmp").symlink_to(secret)
    with pytest.raises(OSError):
        file.publish(data(6), ready(6))
    assert secret.read_text() == "mine" and state(folder) == (5, [ready(5)])


def test_somebody_elses_file_in_the_place_of_ours(tmp_path: Path) -> None:
    file = OneFile(tmp_path, "BTCUSDT", "pqt")
    foreign = pa.table({"open": [1.0, 2.0]})
    pq.write_table(foreign, file.path)
    file.publish(data(5), ready(5))  # it was there before us: taken over
    os.utime(file.path)
    file.publish(data(6), ready(6))  # touched, but ours
    file.path.write_bytes(b"PAR1 half")
    file.publish(data(7), ready(7))  # damaged: made anew
    file.path.unlink()
    file.publish(data(8), ready(8))
    assert state(tmp_path) == (8, [ready(8)])
    pq.write_table(foreign, file.path)
    with pytest.raises(RunDirectoryTaken, match=r"BTCUSDT\.pqt was replaced"):
        file.publish(data(9), ready(9))
    assert pq.read_table(file.path).equals(foreign)


def test_remove(tmp_path: Path) -> None:
    file = OneFile(tmp_path, "BTCUSDT", "pqt")
    file.publish(data(5), ready(5))
    assert file.is_there and file.is_past(ready(4)) and not file.is_past(ready(5))
    file.remove()
    assert not list(tmp_path.iterdir()) and not file.is_there and not file.is_past(ready(4))
    file.remove()
