"""The examples run as they are, each as a process of its own beside a collector."""

import importlib
import json
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from bmac_stream import attach, history
from bmac_stream.config import load_config
from bmac_stream.recorder import copy_rows, describe
from bmac_stream.snapshot import write
from factor_defs import registry
from kernels.plan import Plan
from tests.bmac_stream.fake_collector import G0, FakeCollector, bar
from tests.bmac_stream.test_engine import Market

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
STRATEGIES = {
    "strategy.py": "AAAUSDT",
    "strategy_asyncio.py": "BBBUSDT",
    "own_njit.py": "above",
    "strategy_with_engine.py": "strongest AAAUSDT",
    "strategy_shared_factors.py": "my_factors:Bias_20 of 3 symbols",
}
"""Example -> a word of its output."""
OTHERS = {"bmac_kit_strategy.py", "my_factors.py", "my_operator.py", "research.py"}
COMPILING_S = 150
"""Kernels may have to be compiled first."""


def test_every_example_is_known() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(STRATEGIES) | OTHERS


@contextmanager
def engine_beside(name: str, folder: Path) -> Iterator[None]:
    """The engine process, for the example that reads what it publishes."""
    if name != "strategy_shared_factors.py":
        yield
        return
    config = {
        "interval": "1m",
        "trade_type": "usdt_perp",
        "store": {"name": "rule", "directory": str(folder)},
        "factors": [["PctChg", 20], ["my_factors:Bias", 20]],
    }
    (folder / "config.json").write_text(json.dumps(config))
    with (folder / "engine.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "bmac_stream.engine", str(folder)],
            stderr=log,
            env=os.environ | {"PYTHONPATH": str(EXAMPLES)},
        )
        try:
            yield
            process.terminate()
            assert process.wait(20) == 0, (folder / "engine.log").read_text()
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_follows_the_market(name: str, tmp_path: Path) -> None:
    with FakeCollector.start(tmp_path, window=100, history=100) as writer, engine_beside(name, tmp_path):
        words = ["rule"] + (["BBBUSDT"] if "asyncio" in name else [])
        process = subprocess.Popen(
            [sys.executable, str(EXAMPLES / name), *words, "--n_run_times=3", f"--directory={tmp_path}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            deadline = time.monotonic() + COMPILING_S
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


def test_the_strategy_with_an_engine_looks_at_the_forming_bar(tmp_path: Path) -> None:
    """Between two closes: what the factors would be if the forming bar closed as it is."""
    example = [sys.executable, str(EXAMPLES / "strategy_with_engine.py"), "rule", "--n_run_times=2"]
    with (
        FakeCollector.start(tmp_path, window=100, history=100) as writer,
        (tmp_path / "errors").open("w+") as errors,
        subprocess.Popen(
            [*example, "--peek_s=0.2", f"--directory={tmp_path}"],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        peeked: list[str] = []
        try:
            for line in process.stdout:
                writer.heartbeat()
                if "strongest" in line:
                    g = writer.next_g
                    for slot in writer.symbols.values():
                        writer.write_forming(slot, g, 2.0 * bar(slot, g))
                elif "from the stored" in line or "->" in line:
                    peeked += [line] if "->" in line else []
                    writer.close_bar()
            assert process.wait(20) == 0, (tmp_path / "errors").read_text()
        finally:
            process.kill()
        (values,) = re.findall(r"AAAUSDT: PctChg_20 (\S+) -> ([^,\s]+)", "".join(peeked))
        g, close = G0 + 101, 3
        now = bar(0, g - 1)[close] / bar(0, g - 21)[close] - 1.0
        then = 2.0 * bar(0, g)[close] / bar(0, g - 20)[close] - 1.0
        assert np.allclose([float(x) for x in values], [now, then], rtol=1e-3)


def test_an_own_operator_agrees_with_its_reference() -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "my_operator.py")],
        capture_output=True,
        text=True,
        timeout=COMPILING_S,
    )
    assert done.returncode == 0 and "agrees" in done.stdout, done.stderr


def test_research_draws_factors_from_parquet(tmp_path: Path) -> None:
    market = Market(tmp_path)
    store = market.attach()
    snapshot = write(tmp_path / "snapshot", describe(store), copy_rows(store))
    symbols = sorted(store.symbols)
    for source, symbol in (([], "MADE00USDT"), ([str(snapshot), "PctChg,5", "Bias,7"], symbols[1])):
        out = tmp_path / f"{symbol}.svg"
        done = subprocess.run(
            [sys.executable, str(EXAMPLES / "research.py"), *source, f"--symbol={symbol}", f"--out={out}"],
            capture_output=True,
            text=True,
            timeout=COMPILING_S,
        )
        assert done.returncode == 0 and symbol in done.stdout, done.stderr
        panels = ElementTree.parse(out).getroot().findall("{*}g")
        titles = [panel.findtext("{*}text") for panel in panels]
        assert len(titles) == (4 if not source else 2), titles
        line = [path.get("d") or "" for path in panels[-1].findall("{*}path")][-1]
        if source:
            made = history.batch([["Bias", 7]], snapshot)
            n = np.isfinite(made.values[:, 0, made.symbols.index(symbol)]).sum()
            assert line.count(",") == n > 50  # one point for each bar that has a value
    market.writer.close()


def test_factors_of_the_config_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    config, _ = load_config(EXAMPLES / "engine.json")
    plan = Plan(registry.columns(config.factors))
    assert max(plan.warm_up) < config.num_candles
    mine = {entry if isinstance(entry, str) else entry[0] for entry in config.factors}
    assert {"my_factors:Bias", "my_factors:Squeeze", "my_factors:BoughtStrength"} <= mine
    assert "my_operator:CusumUp" in mine


def test_a_missing_bar_is_nan_in_own_compiled_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """max(4.0, nan) is 4.0 in compiled code: a hole among the highs must not pass for none."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    breakouts = importlib.import_module("own_njit").breakouts
    with (
        FakeCollector.start(tmp_path, window=100, history=10) as writer,
        attach("rule", directory=tmp_path) as store,
    ):
        high, close = store.column_index["high"], store.column_index["close"]
        out = np.empty(store.spec.max_symbols)
        for late in ((), ("BBBUSDT",), (), ("AAAUSDT",), (), ()):
            writer.close_bar(pending=late)
        assert breakouts(store.arrays, high, close, 5, out)
        assert np.isnan(out[:2]).all() and np.isfinite(out[2])
        assert breakouts(store.arrays, high, close, 4, out)
        assert np.isnan(out[0]) and np.isfinite(out[1:3]).all()
