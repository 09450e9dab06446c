"""The shared form of the benchmarks: JSON document, floors and exit status, the turns contenders take."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
from rich.console import Console

REPORT = Path(__file__).parents[2] / "bench" / "report.py"


@pytest.fixture(scope="module")
def report() -> ModuleType:
    import sys

    spec = importlib.util.spec_from_file_location("bench_report", REPORT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_report"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_document_and_status(report: ModuleType, tmp_path: Path) -> None:
    figures = report.Figures("How fast?", console=Console(quiet=True))
    figures.add("append_ns", 6.0, "hot")
    assert figures.at_most("append_ns", 20, figures["append_ns"])
    assert figures.finish(tmp_path / "met.json") == 0
    document = json.loads((tmp_path / "met.json").read_text())
    assert document["figures"] == {"append_ns": 6.0}
    floor = {k: document["floors"][0][k] for k in ("name", "value", "floor", "ok")}
    assert floor == {"name": "append_ns", "value": 6.0, "floor": 20, "ok": True}
    assert {"cpu", "cores", "kernel", "python", "numba"} <= set(document["machine"])

    assert not figures.at_least("ratio", 2.5, 2.4)
    assert figures.finish() == 1


def test_absent_contender_is_an_unmet_floor(report: ModuleType, tmp_path: Path) -> None:
    figures = report.Figures("How fast?", console=Console(quiet=True))
    figures.unmet("blackboard_over_spin", 2.5, "iceoryx2 is not installed")
    assert figures.finish(tmp_path / "f.json") == 1
    floor = json.loads((tmp_path / "f.json").read_text())["floors"][0]
    assert floor["ok"] is False
    assert floor["value"] is None
    assert "iceoryx2" in floor["note"]


def test_interleave_takes_turns(report: ModuleType) -> None:
    calls: list[str] = []

    def contender(name: str, figure: float) -> float:
        calls.append(name)
        return figure

    rounds = report.interleave({"a": lambda: contender("a", 1.0), "b": lambda: contender("b", 3.0)}, rounds=3)
    assert calls == ["b", "a", "a", "b", "b", "a", "a", "b"]  # the first two warm up
    assert rounds.ratio("b", "a") == 3.0
    assert rounds.median("b") == 3.0
    assert len(rounds.values["a"]) == 3
