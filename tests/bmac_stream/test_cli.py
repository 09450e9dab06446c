"""bmac_stream.cli: what can be called, what it prints, and with which status it ends."""

import functools
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bmac_stream import cli
from bmac_stream.cli import COMMANDS, MODULES, Commands, main
from bmac_stream.errors import ConfigError, WriterDead
from tests.bmac_stream.fake_collector import FakeCollector


def test_status_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bmac.broken").write_bytes(b"no store")
    with FakeCollector.start(tmp_path):
        assert main(["status", "--json", f"--directory={tmp_path}"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["directory"] == str(tmp_path)
        assert [store["name"] for store in told["stores"]] == ["broken", "rule"]
        assert told["stores"][0]["error"] and told["stores"][1]["writer"] == "live"


def test_status_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with FakeCollector.start(tmp_path):
        assert main(["status", f"--directory={tmp_path}"]) == 0
        out = capsys.readouterr().out
        assert "rule" in out and "3/3 ready" in out and max(map(len, out.splitlines())) <= 100


def test_status_as_a_health_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = f"--directory={tmp_path}"
    assert main(["status", "--check", where]) == 1  # no store at all
    with FakeCollector.start(tmp_path):
        assert main(["status", "--check", where]) == 0
        assert main(["status", "rule", "--check", where]) == 0
        assert main(["status", "none", "--check", where]) == 1
        assert main(["status", "rule", "--check", where, "--owner=no-such-user"]) == 1
        assert main(["status", "rule", "--check", where, f"--owner={os.getuid()}"]) == 0
    assert main(["status", "--check", where]) == 1
    assert main(["status", where]) == 0
    capsys.readouterr()
    with FakeCollector.start(tmp_path, (), name="begun", history=0) as writer:
        writer.set_phase("starting")
        assert main(["status", "begun", "--check", "--json", where]) == 1
        out, err = capsys.readouterr()
        assert json.loads(out)["stores"][0]["writer"] == "live"
        assert err == "begun: no run_time is complete yet (phase 'starting')\n"


def test_a_store_that_is_not_there_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = f"--directory={tmp_path}"
    with FakeCollector.start(tmp_path):
        for words in (["status", "nosuch", where], ["status", "nosuch", "--check", where]):
            assert main(words) == 1
            out, err = capsys.readouterr()
            assert out == "" and err.count("\n") == 1 and "has no store 'nosuch'; stores there: rule" in err
        assert main(["status", "nosuch", "--json", where]) == 1
        assert "no store" in json.loads(capsys.readouterr().out)["stores"][0]["error"]


@pytest.mark.parametrize("words", [["status", "rule", "extra"], ["check", ".", "x"], ["run", "c.json", "3"]])
def test_a_word_too_many_does_nothing(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    called: list[str] = []
    before = getattr(Commands, words[0])

    @functools.wraps(before)
    def method(*given: object, **more: object) -> int:
        called.append(words[0])
        return 0

    monkeypatch.setattr(Commands, words[0], method)
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2 and not called
    capsys.readouterr()


def test_programs_are_listed_and_handed_over_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in ([], ["--help"]):
        assert main(words) == 0
        out = capsys.readouterr().out
        assert all(f"python -m bmac_stream.{name} CFG" in out for name in ("collector", "engine", "alerts"))
        assert all(f" {name} " in out for name in COMMANDS)
    assert main(["colector", "cfg.json"]) == 2
    assert "programs: collector" in capsys.readouterr().err
    ran: list[list[str]] = []

    def execv(path: str, words: list[str]) -> None:
        ran.append([path, *words])
        raise SystemExit(0)

    monkeypatch.setattr(os, "execv", execv)
    for name in MODULES:
        with pytest.raises(SystemExit):
            main([name, "cfg.json", "--seconds=3"])
        assert importlib.util.find_spec(f"bmac_stream.{name}")
        assert ran.pop() == [sys.executable] * 2 + ["-m", f"bmac_stream.{name}", "cfg.json", "--seconds=3"]


def test_only_what_is_listed_can_be_called(capsys: pytest.CaptureFixture[str]) -> None:
    public = {name for name in vars(Commands) if not name.startswith("_")}
    assert public == set(COMMANDS)
    for words in (["__class__"], ["nothing"], ["keys"], ["version", "__class__"]):
        assert main(words) == 2, words
        out, err = capsys.readouterr()
        assert out.strip() in ("", "0.1.0") and "there are status, doctor" in err
    with pytest.raises(SystemExit) as ended:
        main(["version", "real"])
    assert ended.value.code == 2
    capsys.readouterr()
    assert main(["version"]) == 0
    assert capsys.readouterr().out.strip().endswith("0.1.0")


@pytest.mark.parametrize(
    ("error", "status"),
    [(ConfigError(["a: wrong", "b: wrong"]), 2), (WriterDead("bmac.x: dead"), 1), (KeyboardInterrupt(), 130)],
)
def test_errors_are_a_line_and_a_status(
    error: BaseException, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(self: Commands) -> int:
        raise error

    monkeypatch.setattr(cli.Commands, "version", fail)
    assert main(["version"]) == status
    out, err = capsys.readouterr()
    assert out == "" and "Traceback" not in err and (str(error) in err)


def test_run_is_asked_with_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    from bmac_stream import run

    asked: list[object] = []
    monkeypatch.setattr(run, "run", lambda *words, **more: asked.append((words, more)) or 3)
    assert main(["run", "cfg.json", "--seconds=2"]) == 3
    assert asked == [(("cfg.json",), {"seconds": 2, "keep": False})]


def test_as_a_module(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bmac_stream", "status", "--json", f"--directory={tmp_path}"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0 and json.loads(done.stdout)["stores"] == [], done.stderr
