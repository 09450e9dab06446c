"""bmac_stream.bmac_cli: BMAC's own command line, its exit statuses, and what it says of other words."""

import json
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from bmac_stream import bmac_cli, collector
from bmac_stream.bmac_cli import main

from .rig import REPO, until


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What the collector was started with; it ends with status 3."""
    found: list[tuple[str, dict[str, Any]]] = []

    def start(cfg: str, **options: Any) -> None:
        found.append((cfg, options))
        raise SystemExit(3)

    monkeypatch.setattr(collector, "main", start)
    return found


@pytest.mark.parametrize(
    "words",
    [["start", "/data/u_1m"], ["start", "--base_dir=/data/u_1m"], ["start", "--base_dir", "/data/u_1m"]],
)
def test_start_as_bmac_spelt_it(words: list[str], asked: list[tuple[str, dict[str, Any]]]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 3, "the collector's own status"
    assert asked == [("/data/u_1m", {"seconds": 0.0, "bars": 0, "strict": False})]


def test_the_home_folder_and_a_folder_of_digits(
    asked: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    for word in ("--base_dir=~/udeli_1m", "2024"):
        with pytest.raises(SystemExit):
            main(["start", word, "--seconds=5", "--bars=2", "--strict"])
    assert asked == [
        ("/home/me/udeli_1m", {"seconds": 5, "bars": 2, "strict": True}),
        ("2024", {"seconds": 5, "bars": 2, "strict": True}),
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stop"], ["no such command 'stop'", "start BASE_DIR", "python -m bmac_stream has status, doctor"]),
        (["bmac", "start", "x"], ['"bmac start BASE_DIR"']),
        (["bhds", "get_aws_candle"], ["python -m bmac_stream history"]),
        (["__class__"], ["no such command"]),
        ([], ["usage: bmac", "start"]),
    ],
)
def test_other_words(
    words: list[str], said: list[str], capsys: pytest.CaptureFixture[str], asked: list[Any]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2 and asked == []
    err = capsys.readouterr().err
    assert all(text in err for text in said), err


def test_a_start_without_a_folder_is_no_start(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["start"],
        ["start", "a", "--no_such=1"],
        ["start", "a", "--base_dir=b"],
        ["start", "a", "b"],
    ):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2
    assert asked == [] and "BASE_DIR" in capsys.readouterr().err


def test_it_is_installed_under_its_name() -> None:
    scripts = tomllib.loads((REPO / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]
    assert scripts["bmac"] == "bmac_stream.bmac_cli:main"
    assert callable(bmac_cli.main)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bmac_stream.bmac_cli", *words],
        capture_output=True, text=True, cwd=REPO, timeout=60,
    )  # fmt: skip


def test_a_bad_config_is_status_2(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"interval": "7x", "trade_type": "usdt_deli"}')
    found = run("start", str(tmp_path))
    assert found.returncode == 2
    assert "config.json: interval" in found.stderr and "Traceback" not in found.stderr
    assert run("start", str(tmp_path / "nothing")).returncode == 2


@pytest.mark.slow
def test_a_directory_of_bmacs_from_start_to_ctrl_c(tmp_path: Path, store_name: str) -> None:
    config = {
        "interval": "1m", "trade_type": "usdt_deli", "num_candles": 60, "exchange": "embedded",
        "embedded": {"n_symbols": 12, "rate": 60}, "store": {"name": store_name, "directory": str(tmp_path)},
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "bmac_stream.bmac_cli", "start", str(tmp_path)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=REPO,
        )  # fmt: skip
    try:
        until("a bar", lambda: b"Last updated" in (tmp_path / "log").read_bytes(), 60)
        process.send_signal(signal.SIGINT)
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.wait()
    text = (tmp_path / "log").read_text("utf-8")
    order = """
        Start Bmac |interval=1m, type=usdt_deli, num_candles=60|Candle data dir |Exchange info data dir |
        Init history round 1|Server time: |Symbol range: | finished, 0 left|
        History initialized, Server time: |Create WS listen group |
        Bmac 1m usdt_deli update Runtime=|all symbols ready|Last updated
    """
    at = 0
    for word in (one.strip("\n") for one in order.replace("|\n        ", "|").strip().split("|")):
        found = text.find(word, at)
        assert found >= 0, f"{word!r} is not there, or too early:\n{text[:5000]}"
        at = found
    assert "Traceback" not in text
