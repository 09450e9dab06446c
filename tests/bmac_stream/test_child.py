"""A child process is read, ended and never left behind."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bmac_stream import child as module
from bmac_stream.child import Child, with_us

from .rig import REPO, until


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


async def test_lines_then_none_then_the_status() -> None:
    child = Child("a child", [sys.executable, "-c", "print('one'); print('zwölf'); raise SystemExit(5)"])
    assert (child.pid, child.alive) == (0, False)
    await child.start()
    assert [await child.line() for _ in range(3)] == ["one", "zwölf", None]
    assert await child.wait() == 5
    assert child.pid > 0
    assert not child.alive
    assert await child.stop(1.0) == 5, "once more is once"
    child.kill()


async def test_bytes_that_are_no_text_and_lines_beyond_all_measure_do_no_harm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_LINE", 1_000)
    code = "import sys\nsys.stdout.buffer.write(b'a\\xff\\n' + b'x' * 500_000 + b'\\nlast\\n')"
    child = Child("odd", [sys.executable, "-c", code])
    await child.start()
    found = []
    async with asyncio.timeout(20):
        while (line := await child.line()) is not None:
            found.append(line)
    assert found[0] == "a\ufffd"
    assert found[-1] == "last"
    assert all(len(line) <= 2_000 for line in found)
    assert await child.wait() == 0


async def test_a_grandchild_that_holds_the_pipe_does_not_hold_us_up() -> None:
    code = (
        "import subprocess, sys\n"
        "held = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(30)'])\n"
        "print(held.pid, flush=True)\n"
    )
    child = Child("a parent", [sys.executable, "-c", code])
    await child.start()
    grandchild = int(await child.line() or 0)
    try:
        async with asyncio.timeout(10):
            assert await child.stop(0.5) in (0, -signal.SIGTERM)
    finally:
        os.kill(grandchild, signal.SIGKILL)


async def test_a_command_that_does_not_exist_is_an_error() -> None:
    child = Child("nothing", ["/nonexistent/program"])
    with pytest.raises(FileNotFoundError):
        await child.start()
    assert not child.alive
    assert await child.stop(1.0) is None


async def test_a_cancelled_reader_leaves_the_child_to_be_ended() -> None:
    child = Child("mute", [sys.executable, "-c", "import time; time.sleep(60)"])
    await child.start()
    reading = asyncio.create_task(child.line())
    await asyncio.sleep(0.05)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert await child.stop(10.0) == -signal.SIGTERM


def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    code = (
        "import subprocess, time;"
        "from bmac_stream.child import with_us;"
        "child = subprocess.Popen(with_us('-c', 'import time; print(1, flush=True); time.sleep(60)'));"
        "print(child.pid, flush=True);"
        "time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=REPO)
    try:
        assert parent.stdout is not None
        lines = sorted(int(parent.stdout.readline()) for _ in range(2))
        pid = lines[1]
        assert alive(pid)
        parent.kill()
        parent.wait()
        until("its end", lambda: not alive(pid), 10)
    finally:
        parent.kill()
        parent.wait()
        if parent.stdout is not None:
            parent.stdout.close()


async def test_a_child_that_does_not_listen_is_killed() -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    child = Child("deaf", [sys.executable, "-c", code])
    assert await child.stop(1.0) is None
    await child.start()
    assert await child.line() == "deaf"
    assert await child.stop(0.2) == -signal.SIGKILL


async def test_a_chatty_child_can_end() -> None:
    code = (
        "import signal, sys\n"
        "def stop(*_):\n    print('x' * 2_000_000)\n    print('y\\n' * 200_000, flush=True)\n"
        "    sys.exit(7)\n"
        "signal.signal(15, stop)\nprint('up', flush=True)\nsignal.pause()"
    )
    child = Child("chatty", [sys.executable, "-c", code])
    await child.start()
    assert await child.line() == "up"
    assert child.alive
    assert await child.stop(10.0) == 7
    assert not child.alive


def test_with_us_runs_what_it_is_given() -> None:
    found = subprocess.run(
        with_us("-c", "import sys; print(sys.argv[1:])", "a", "b"), capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "['a', 'b']"
