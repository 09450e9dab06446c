"""bmac_stream.cli: what can be called, what it prints, and with which status it ends."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bmac_stream import cli
from bmac_stream.cli import COMMANDS, Commands, main
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


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    out, err = capsys.readouterr()
    assert ended.value.code == 0 and all(name in out + err for name in COMMANDS)
