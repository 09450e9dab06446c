"""bench/factors.py at its smallest size: who is there agrees, who is not is said. Nothing is timed."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from factor_defs.fields import close, high, volume
from kernels.elementwise import absolute
from kernels.plan import Plan
from kernels.rolling import ts_mean, ts_std

pytestmark = pytest.mark.usefixtures("bench_modules")

ROOT = Path(__file__).parents[2]


def plan() -> Plan:
    return Plan({"bias": close / ts_mean(close, 10) - 1.0, "std": ts_std(volume, 20), "high": absolute(high)})


def run(*arguments: str) -> tuple[int, str, str]:
    """(exit status, output, errors) of the command."""
    done = subprocess.run(
        [sys.executable, "bench/factors.py", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=220,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_alpha158_is_kunquants() -> None:
    """All factors, every cell. g++ compiles KunQuant's the first time."""
    from factor_kunquant import absent

    status, out, errors = run("--agree", "--sets", "alpha158")
    assert status == 0, out + errors
    if why := absent():
        assert f"absent: kunquant: {why}" in out
    else:
        assert "alpha158: ours and KunQuant's stream agree in every cell on 158 of 158" in out


def test_bars_are_bars() -> None:
    from factor_bars import COLUMNS, make_bars

    bars = make_bars(50, 7)
    assert bars.shape == (50, len(COLUMNS), 7)
    assert np.isfinite(bars).all()
    assert (bars > 0.0).all()
    open_, high_, low_, close_, volume_, quote = bars.transpose(1, 0, 2)[:6]
    assert (high_ >= np.maximum(open_, close_)).all()
    assert (low_ <= np.minimum(open_, close_)).all()
    assert ((quote / volume_ >= low_) & (quote / volume_ <= high_)).all()


def test_what_agreement_is() -> None:
    from factors import share_agreeing

    nan = np.nan
    expected = np.array([1.0, 2.0, nan, 4.0])
    assert share_agreeing(np.array([1.0, 2.0, nan, 4.0]), expected) == 1.0
    assert share_agreeing(np.array([1.0, 2.0 + 1e-7, nan, 4.0]), expected) == 1.0
    assert share_agreeing(np.array([1.0, 2.1, nan, 4.0]), expected) == 0.75
    assert share_agreeing(np.array([1.0, 2.0, 3.0, 4.0]), expected) == 0.75, "a number is not NaN"
    assert share_agreeing(np.array([1.0, nan, nan, 4.0]), expected) == 0.75, "NaN is no number"
    assert share_agreeing(np.full(2, nan), np.full(2, nan)) == 1.0


def test_a_contender_that_is_wrong_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    import factor_indicators
    import factor_ours
    from factors import Disagreement, agree_on_indicators

    class Wrong(factor_indicators.Pandas):
        def values(self) -> list[float]:
            sma, *rest = super().values()
            return [sma * 1.001, *rest]

    monkeypatch.setattr(factor_ours, "absent", lambda name: "left out")
    monkeypatch.setattr(factor_indicators, "ENGINES", {"pandas": factor_indicators.Pandas, "another": Wrong})
    with pytest.raises(Disagreement, match=r"another and pandas agree on 0\.0% of sma"):
        agree_on_indicators(5)


def test_live_steps_are_the_history() -> None:
    from factor_bars import make_bars
    from factor_ours import Ours

    bars = make_bars(60, 12)
    live, history = Ours(plan(), 11), Ours(plan(), 11)  # bars are wider than what is stepped
    found, expected = np.empty((60, 3, 11)), np.empty((60, 3, 11))
    for bar, out in zip(bars, found, strict=True):
        live.whole_step(bar, out)
    history.replay(bars, expected)
    assert np.array_equal(found, expected, equal_nan=True)
    assert np.isfinite(found[-1]).all()
    one = np.empty(3)
    forming = make_bars(1, 12, seed=9)[0]
    live.peek(4, forming.ctypes.data + 8 * 4, 12, one.ctypes.data)
    live.whole_step(forming, found[0])
    assert np.array_equal(one, found[0][:, 4])


def test_bytes_touched_are_counted() -> None:
    from factor_bars import make_bars
    from factor_memory import PAGE, touched_bytes
    from factor_ours import Ours

    n_symbols = PAGE // 8
    ours = Ours(Plan({"x": absolute(high), "y": absolute(close)}), n_symbols)
    touched = touched_bytes(ours, make_bars(5, n_symbols))
    if touched is None:
        pytest.skip("this system does not tell which pages were used")
    assert touched == 4 * PAGE, "two rows read, two written"
    before = ours.program.state.copy()
    bar = make_bars(1, n_symbols, seed=3)[0]
    ours.whole_step(bar, np.empty((2, n_symbols)))
    assert not np.array_equal(ours.program.state, before), "the program has its own memory again"


def test_profile_steps_the_plan() -> None:
    """Step by step under the clock, the state is what it is without."""
    from factor_bars import make_bars
    from factor_ours import Ours
    from factor_profile import step_times

    bars = make_bars(40, 9)
    timed, plain = Ours(plan(), 9), Ours(plan(), 9)
    times = step_times(timed, bars)
    plain.replay(bars)
    assert times.shape == (40, len(plan().steps))
    assert np.array_equal(timed.program.state, plain.program.state, equal_nan=True)
    assert timed.g == plain.g


def test_profile_prints_every_operator(capsys: pytest.CaptureFixture[str]) -> None:
    import factor_ours
    from factor_profile import profile

    factor_ours._SETS["small"] = lambda: dict(zip(plan().names, plan().nodes, strict=True))
    profile("small", 16, n_bars=20, console=Console(width=200))
    printed = capsys.readouterr().out
    for step in plan().steps:
        assert step.operator.name in printed


def test_absent_contenders_are_unmet_floors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import factor_indicators
    import factor_kunquant
    import factor_ours
    from factors import FLOORS, floors
    from report import Figures

    monkeypatch.setattr(factor_kunquant, "absent", lambda: "KunQuant needs g++")
    monkeypatch.setattr(factor_indicators, "absent", lambda engine: f"no {engine.module}")
    monkeypatch.setattr(factor_ours, "absent", lambda name: "our alpha101 is lost" if "101" in name else "")
    figures = Figures("small", console=Console(quiet=True))
    figures.add("alpha158_peek_us", 3.0)
    figures.add("ten_512_over_kunquant", 5.0)
    floors(figures, {"alpha158": False, "ten": True})
    assert figures.finish(tmp_path / "f.json") == 1
    told = {floor["name"]: floor for floor in json.loads((tmp_path / "f.json").read_text())["floors"]}
    assert list(told) == list(FLOORS)
    assert told["alpha158_peek_us"]["ok"] is True
    assert told["ten_market_over_kunquant"]["ok"] is True
    assert told["alpha158_over_kunquant"]["note"] == "KunQuant needs g++"
    assert told["alpha101_over_kunquant"]["note"] == "our alpha101 is lost"
    assert told["ten_python_of_talipp"]["note"] == "no talipp"
    assert told["alpha158_restore_ms"]["note"] == "not measured"


def test_contenders_that_are_not_installed_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata
    import shutil

    import factor_indicators
    import factor_kunquant

    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert factor_kunquant.absent() in ("KunQuant needs g++", "KunQuant is not installed")

    def broken(name: str, way: str) -> None:
        raise subprocess.CalledProcessError(1, "g++")

    if factor_kunquant.absent() != "KunQuant is not installed":
        monkeypatch.setattr(shutil, "which", lambda name: name)
        monkeypatch.setattr(factor_kunquant, "_library", broken)
        assert "do not compile here" in factor_kunquant.absent()

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert factor_kunquant.absent() == "KunQuant is not installed"
    for engine in factor_indicators.ENGINES.values():
        monkeypatch.setitem(sys.modules, engine.module, None)
        assert "is not installed" in factor_indicators.absent(engine)


@pytest.mark.slow
def test_every_question_is_asked(tmp_path: Path) -> None:
    """The whole command with the smallest set: contenders agree, and each question has a figure. What the
    figures are is nobody's business."""
    from factor_indicators import ENGINES
    from factor_kunquant import absent as no_kunquant

    arguments = ("--symbols", "8", "--rounds", "3", "--batch_bars", "30", "--json", str(tmp_path / "f.json"))
    status, out, errors = run("--sets", "ten", *arguments)
    assert status == 1, out + errors  # floors of the other sets are not asked for
    agreeing = next(line for line in out.splitlines() if line.startswith("one symbol: "))
    assert "ours" in agreeing
    for name, engine in ENGINES.items():
        here = importlib.util.find_spec(engine.module.split(".")[0])  # importing some takes long
        assert name in agreeing if here else f"absent: {name}: " in out
    if not no_kunquant():
        assert "ten: ours and KunQuant's stream agree in every cell on 14 of 14" in out
    told = json.loads((tmp_path / "f.json").read_text())
    for name in ("ten_8_us", "ten_python_ours_ns", "ten_one_symbol_us", "ten_peek_us", "ten_8_batch_ms"):
        assert told["figures"][name] > 0.0
    assert "not asked for" in {floor["note"] for floor in told["floors"]}
