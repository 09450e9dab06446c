"""The installed module `bmac_kit`: BmacKit's names, and nothing else."""

import tomllib
from pathlib import Path

import bmac_kit
import bmac_stream.bmac_kit

ROOT = Path(__file__).resolve().parent.parent


def test_it_is_bmac_streams() -> None:
    assert bmac_kit.__all__ == bmac_stream.bmac_kit.__all__
    for name in bmac_kit.__all__:
        assert getattr(bmac_kit, name) is getattr(bmac_stream.bmac_kit, name)


def test_it_has_the_documents_names() -> None:
    assert set(bmac_kit.__all__) == {
        "BmacAllMarketCalculator",
        "BmacSingleSymbolCalculator",
        "CandleFileReader",
        "async_sleep_until_run_time",
        "convert_interval_to_timedelta",
        "next_run_time",
        "now_time",
        "sleep_until_run_time",
    }


def test_it_is_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert project["tool"]["setuptools"]["py-modules"] == ["bmac_kit"]
