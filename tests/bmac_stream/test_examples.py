"""The examples run as they are, each as a process of its own beside a collector."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bmac_stream.config import load_config
from tests.bmac_stream.fake_collector import FakeCollector

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
STRATEGIES = {"strategy.py": "AAAUSDT", "strategy_asyncio.py": "BBBUSDT", "own_njit.py": "above"}
"""Example -> a word of its output."""


def test_every_example_is_known() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(STRATEGIES)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_follows_the_market(name: str, tmp_path: Path) -> None:
    with FakeCollector.start(tmp_path, window=100, history=100) as writer:
        words = ["rule"] + (["BBBUSDT"] if "asyncio" in name else [])
        process = subprocess.Popen(
            [sys.executable, str(EXAMPLES / name), *words, "--n_run_times=3", f"--directory={tmp_path}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            deadline = time.monotonic() + 40
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.1)
                writer.close_bar()
            out, err = process.communicate(timeout=5)
        finally:
            process.kill()
            process.wait()
        assert process.returncode == 0, err
        lines = [line for line in out.splitlines() if line[:6].isdigit()]
        assert len({line.split()[0] for line in lines}) == 3, out
        assert any(STRATEGIES[name] in line for line in lines), out


@pytest.mark.parametrize("name", ["strategy_asyncio.py"])
def test_a_dead_collector_ends_a_strategy_with_a_line(name: str, tmp_path: Path) -> None:
    FakeCollector.start(tmp_path, ("BTCUSDT",), window=100, history=100).close()
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), "rule", f"--directory={tmp_path}"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1 and "WriterDead" in done.stderr and "Traceback" not in done.stderr, (
        done.stderr
    )


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.json")), ids=lambda path: path.name)
def test_configs_are_valid(path: Path) -> None:
    raw = json.loads(path.read_text())
    if isinstance(raw.get("ca_file"), str):
        pytest.skip("names a CA file that the reader has")
    load_config(path, strict=True)
