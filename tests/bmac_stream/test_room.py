"""bmac_stream.room: what the stores of a config take is what their files are."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bmac_stream.client import attach
from bmac_stream.collector import spec_of
from bmac_stream.config import Config, load_config
from bmac_stream.engine import plan_factors
from bmac_stream.factor_writer import CROSS, specs
from bmac_stream.funding import funding_spec
from bmac_stream.room import FUNDING_SLOTS, Room, advice, described, rooms
from shm import StoreWriter

from .rig import REPO, until

SMALL = {"max_symbols": 32, "slack": 20}


def configured(directory: Path, **more: Any) -> Config:
    path = directory / "config.json"
    raw = {"interval": "1m", "trade_type": "usdt_perp", "num_candles": 200}
    path.write_text(json.dumps(raw | {"store": SMALL | {"directory": str(directory)}} | more))
    return load_config(path)[0]


def size_of(name: str, directory: Path) -> int:
    return (directory / f"bmac.{name}").stat().st_size


def test_one_store(tmp_path: Path) -> None:
    config = configured(tmp_path)
    (part,) = rooms(config)
    assert (part.name, part.there) == ("usdt_perp_1m", 0)
    StoreWriter.open(config.store_name, spec_of(config, "binance"), directory=tmp_path).close()
    assert rooms(config) == [Room("usdt_perp_1m", part.nbytes, part.nbytes)]
    assert size_of("usdt_perp_1m", tmp_path) == part.nbytes


def test_the_files_that_their_writers_make(tmp_path: Path) -> None:
    """Bars with funding's columns, longer ones of two lengths (made by their process), factors."""
    config = configured(
        tmp_path,
        funding_rate=True,
        resample=[{"interval": "45m", "offset": 20, "num_candles": 70}, {"interval": "3h"}],
        factors=[["PctChg", 10], ["bmac:Cci", 10]],
        factor_depth=20,
    )
    parts = {part.name: part.nbytes for part in rooms(config)}
    with StoreWriter.open(config.store_name, spec_of(config, "binance"), directory=tmp_path) as base:
        base.activate(base.add_symbol("AAAUSDT", 0))
        base.heartbeat()
        command = [sys.executable, "-m", "bmac_stream.resample", config.config_file]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=REPO) as child:
            try:
                until("the last store", (tmp_path / "bmac.usdt_perp_1m.3h").exists, 60)
            finally:
                child.terminate()
            assert child.stderr is not None
            said = child.stderr.read()
        with attach(config.store_name, directory=tmp_path) as store:
            own, cross = specs(store, plan_factors(store, config.factors), config.factor_depth)
    for name in ("usdt_perp_1m", "usdt_perp_1m.45m_20m", "usdt_perp_1m.3h"):
        assert parts.pop(name) == size_of(name, tmp_path), name
    assert f"{size_of('usdt_perp_1m.45m_20m', tmp_path) / 2**20:.1f} MiB" in said
    assert parts.pop("usdt_perp_1m.factors") == own.nbytes
    assert cross is None
    assert list(parts) == ["usdt_perp_1m.funding"]


def test_factors_behind_a_cross_section_and_of_other_people(tmp_path: Path) -> None:
    config = configured(tmp_path, factors=["alpha101", ["mine:Factor", 3], "no_such_factor"])
    parts = {part.name: part.nbytes for part in rooms(config)}
    assert "usdt_perp_1m.factors" + CROSS in parts
    fewer = {part.name: part.nbytes for part in rooms(configured(tmp_path, factors=["alpha101"]))}
    assert parts["usdt_perp_1m.factors"] > fewer["usdt_perp_1m.factors"], "each is a column of the own store"


def test_funding_has_room_for_the_market_or_what_it_has(tmp_path: Path) -> None:
    config = configured(tmp_path, funding_rate=True)
    base = spec_of(config, "binance")
    most = funding_spec(base, config.store_name, FUNDING_SLOTS["usdm"])
    assert rooms(config)[1] == Room("usdt_perp_1m.funding", most.nbytes, 0)
    less = funding_spec(base, config.store_name, 40)
    StoreWriter.open("usdt_perp_1m.funding", less, directory=tmp_path).close()
    assert rooms(config)[1] == Room("usdt_perp_1m.funding", less.nbytes, less.nbytes)
    (tmp_path / "bmac.usdt_perp_1m.funding").write_bytes(b"x" * 100)
    assert rooms(config)[1] == Room("usdt_perp_1m.funding", most.nbytes, 100)


def test_a_resampled_store_takes_about_what_the_base_takes(tmp_path: Path) -> None:
    config = configured(tmp_path, num_candles=1500, store={}, resample=[{"interval": "45m"}])
    base, longer = rooms(config)
    assert 0.9 < longer.nbytes / base.nbytes < 1.0
    text = described([base, longer])
    assert text == "usdt_perp_1m 251 MiB, usdt_perp_1m.45m 238 MiB, together 489 MiB"
    assert described([base]) == "usdt_perp_1m 251 MiB"


@pytest.mark.parametrize(("mib", "says"), [(100, "1G"), (820, "2G"), (1600, "2G"), (4000, "5G")])
def test_the_advice_is_enough(mib: int, says: str) -> None:
    assert f"size={says} " in advice([Room("a", mib << 19, 0), Room("b", mib << 19, 0)])
