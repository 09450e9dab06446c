"""bmac_stream.run: a trial removes what it made, and nothing else."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trustme

from bmac_stream import run as run_module
from bmac_stream.client import attach
from bmac_stream.config import load_config
from bmac_stream.run import Child, _copy, _how, _remove, _stores, run

from .fake_collector import FakeCollector


def write(folder: Path, name: str, **more: object) -> Path:
    folder.mkdir()
    config = {
        "exchange": "embedded",
        "embedded": {"n_symbols": 2},
        "interval": "1m",
        "trade_type": "usdt_perp",
        "num_candles": 60,
        "store": {"name": name, "directory": str(folder)},
        "bmac_files": False,
        **more,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name.startswith("bmac.")}


@pytest.mark.slow
def test_a_store_that_somebody_else_writes_outlives_a_trial_of_its_name(tmp_path: Path) -> None:
    folder = write(tmp_path / "stores", "busy")
    with FakeCollector.start(folder, name="busy") as collector, FakeCollector.start(folder, name="busy_live"):
        there = files(folder)
        with attach("busy", directory=str(folder)) as store:
            assert run(str(folder), seconds=60) == 3, "its collector is refused"
            assert files(folder) == there
            collector.close_bar()
            store.check()
            assert store.run_time


@pytest.mark.slow
def test_a_trial_removes_its_own_store_and_not_one_whose_name_goes_on(tmp_path: Path) -> None:
    folder = write(tmp_path / "stores", "trial")
    with FakeCollector.start(folder, name="trial_live"):
        there = files(folder)
        assert run(str(folder), seconds=4) == 0
        assert files(folder) == there


def test_what_belongs_to_a_trial(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "stores", "trial", resample=[{"interval": "5m"}, {"interval": "1h", "name": "hours"}]
    )
    config, _ = load_config(folder)
    names = ["trial", "trial.funding", "trial.factors", "trial.factors.cross", "trial.5m", "hours"]
    assert [path.name for path in _stores(config)] == [f"bmac.{name}" for name in names]
    others = {"bmac.trial_live", "bmac.trial.x", "bmac.trial.arrow", "bmac.trialx.lock", "bmac.hours2"}
    beside = {"", ".lock", ".bell", ".new", ".exginfo.arrow"}
    for name in {f"bmac.{name}{end}" for name in names for end in beside} | others:
        (folder / name).touch()
    _remove(_stores(config))
    assert files(folder) == others


def test_a_store_that_was_taken_over_meanwhile_is_left(tmp_path: Path) -> None:
    folder = write(tmp_path / "stores", "trial")
    config, _ = load_config(folder)
    with FakeCollector.start(folder, name="trial"):
        there = files(folder)
        _remove(_stores(config))
        assert files(folder) == there
    _remove(_stores(config))
    assert not files(folder)
    assert [path.name for path in folder.iterdir()] == ["config.json"]


STUBBED = """
import sys
from bmac_stream import run

class Stub(run.Child):
    def __init__(self, name, *command):
        super().__init__(name, "http.server", "0", "--bind=127.0.0.1")
        print("child", self.process.pid, flush=True)

run.Child = Stub
sys.exit(run.run(sys.argv[1]))
"""
"""A trial whose only process is one that runs until it is ended."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_trial_in_a_shell_s_background_ends_on_signals(tmp_path: Path, number: signal.Signals) -> None:
    """There SIGINT is ignored from the start, and Python makes no KeyboardInterrupt of it."""
    folder = write(tmp_path / "stores", "trial")
    process = subprocess.Popen(
        [sys.executable, "-c", STUBBED, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    try:
        assert process.stdout is not None
        child = next(int(line.split()[1]) for line in process.stdout if line.startswith("child"))
        process.send_signal(number)
        assert process.wait(30) == 0
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


def test_a_trial_tells_which_signal_killed_its_collector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Killed(Child):
        def __init__(self, name: str, *command: str) -> None:
            super().__init__(name, "http.server", "0", "--bind=127.0.0.1")
            self.process.kill()

    monkeypatch.setattr(run_module, "Child", Killed)
    folder = write(tmp_path / "stores", "trial")
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert run(str(folder)) == 128 + signal.SIGKILL
    assert "the collector was killed by SIGKILL" in capsys.readouterr().out
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_a_store_of_the_name_that_was_there_before_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stub(Child):
        def __init__(self, name: str, *command: str) -> None:
            super().__init__(name, "http.server", "0", "--bind=127.0.0.1")

    monkeypatch.setattr(run_module, "Child", Stub)
    folder = write(tmp_path / "stores", "trial")
    FakeCollector.start(folder, name="trial").close()
    config, _ = load_config(folder)
    trial = run_module._Trial(config, folder)
    try:
        trial.look()
        assert trial.store is None and trial.strategy is None
        monkeypatch.setattr(trial.collector.process, "pid", os.getpid())
        with FakeCollector.start(folder, name="trial"):
            trial.look()
            assert trial.store is not None and trial.store.run_time and trial.strategy is not None
    finally:
        monkeypatch.undo()
        trial.stop()


def test_how_a_process_ended() -> None:
    assert _how(3) == "ended with status 3" and _how(-9) == "was killed by SIGKILL"
    assert _how(-40) == "was killed by signal 40"


def test_progress_that_is_written_over_is_seen_before_its_line_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "it_says.py").write_text(
        "import sys, time\nsys.stderr.write('whole\\r1 of 2\\r2 of 2')\nsys.stderr.flush()\ntime.sleep(60)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    child = Child("engine", "it_says")
    try:
        end = time.monotonic() + 30
        while len(child.said().lines) < 3 and time.monotonic() < end:
            time.sleep(0.01)
        assert child.said().lines == ["whole", "1 of 2", "2 of 2"] and not child.ended
        child.process.send_signal(signal.SIGSTOP)
        while not child.said().ended and time.monotonic() < end:
            time.sleep(0.01)
        assert "is stopped" in child.said().ended and not child.ended
        child.process.kill()
        child.process.wait()
        assert child.said().ended == "was killed by SIGKILL"
    finally:
        child.stop()


def test_what_a_trial_reads_lies_beside_the_user_s_config_and_what_it_writes_does_not(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "stores", "trial", ca_file="my.pem", embedded={"data": "bars"},
        snapshot={"directory": "/mine", "every_bars": 3}, history={"enabled": True, "directory": "/mine"},
    )  # fmt: skip
    trustme.CA().cert_pem.write_to_path(str(folder / "my.pem"))
    (folder / "bars").mkdir()
    named = folder / "named.json"
    named.write_bytes(b"\xef\xbb\xbf" + (folder / "config.json").read_bytes())
    for given, path in ((folder, folder / "config.json"), (named, named)):
        base = tmp_path / path.stem
        base.mkdir()
        config, _ = load_config(given)
        copied, _ = load_config(_copy(config, path, base))
        assert copied.embedded.data == str(folder / "bars") and copied.ca_file == str(folder / "my.pem")
        assert copied.path(copied.snapshot.directory) == base / "snapshot"
        assert copied.path(copied.history.directory) == base / "history"
        assert copied.snapshot.every_bars == 3 and copied.history.enabled
        assert copied.from_folder == (given == folder), "BMAC's files are written for a folder only"
        assert Path(copied.config_file).name == path.name, "messages name the file that the user knows"
