"""bmac_stream.run: a trial removes what it made, and nothing else."""

import json
from pathlib import Path

import pytest

from bmac_stream.client import attach
from bmac_stream.config import load_config
from bmac_stream.run import _remove, _stores, run

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
