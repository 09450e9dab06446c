"""Factors in both forms, pandas modules of examples/factor and the engine's, give the same numbers."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import bmac_stream
from bmac_stream.bar import COLUMNS
from bmac_stream.bmac_kit import BmacAllMarketCalculator
from bmac_stream.client import Store
from factor_defs import bmac
from shm import Spec, Status, StoreWriter
from tests.factor_defs import bars as b

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
TWINS = sorted(path.stem for path in (EXAMPLES / "factor").glob("*.py"))
WINDOWS = (7, 20, 60)
FLAT = {"Std": "Std", "Zscore": "Std", "Volatility": "Volatility"}
"""Where nothing moves in a window pandas' deviation is a remainder of its sums; the engine's is zero."""
FACTORS = [(name, n) for name in TWINS for n in WINDOWS]


@pytest.fixture(autouse=True)
def _examples(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "factor"]:
        del sys.modules[name]


def store_of(folder: Path, bars: b.Bars) -> tuple[StoreWriter, Store, int]:
    """A store of these bars, and the run_time of the last of them. A bar of NaN is an absent one."""
    values = np.stack([bars[name] for name in COLUMNS], axis=1)  # [T, 9, S]
    n = len(values)
    first = int(b.BEGIN_MS // 60_000)
    spec = Spec(columns=COLUMNS, window=n, max_symbols=16, interval_ms=60_000, source="test")
    writer = StoreWriter.open("twins", spec, directory=folder)
    for i in range(values.shape[2]):
        slot = writer.add_symbol(f"S{i}USDT", first)
        rows = np.ascontiguousarray(values[:, :, i])
        there = np.isfinite(rows).any(axis=1)
        writer.load(slot, first, rows, np.where(there, Status.BAR, Status.ABSENT).astype(np.uint8))
        writer.activate(slot)
    writer.complete(first + n - 1)
    return writer, bmac_stream.attach("twins", directory=folder), (first + n) * 60_000


def same(found: NDArray[np.float64], expected: NDArray[np.float64], what: str) -> None:
    scale = np.abs(expected[np.isfinite(expected)]).max(initial=0.0)
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9 * scale, err_msg=what)


async def compare(store: Store, run_time: int, symbols: list[str]) -> None:
    """Every factor over all periods of every symbol, and the market's last row."""
    legacy = BmacAllMarketCalculator(store, store, FACTORS)
    engine = BmacAllMarketCalculator(store, store, FACTORS, prefer="engine")
    assert legacy.factors.legacy_columns == [f"{name}_{n}" for name, n in FACTORS]
    assert list(engine.factors.nodes) == legacy.factors.legacy_columns
    n_compared = 0
    for symbol in symbols:
        of_modules = await legacy.calc_factors(run_time, symbol)
        of_engine = await engine.calc_factors(run_time, symbol)
        assert list(of_modules.columns) == list(of_engine.columns)
        for name, n in FACTORS:
            column = f"{name}_{n}"
            found, expected = (f[column].to_numpy() for f in (of_engine, of_modules))
            moves = of_engine[f"{FLAT[name]}_{n}"].to_numpy() != 0 if name in FLAT else slice(None)
            same(found[moves], expected[moves], f"{symbol} {column}")
            n_compared += int(np.isfinite(found[moves]).sum())
    assert n_compared > 0.6 * len(symbols) * len(FACTORS) * len(of_modules)
    last_modules = await legacy.calc_all_factors(run_time)
    last_engine = await engine.calc_all_factors(run_time)
    assert last_modules.index.tolist() == last_engine.index.tolist()
    for name, n in FACTORS:
        column = f"{name}_{n}"
        found, expected = (f.loc[symbols, column].to_numpy() for f in (last_engine, last_modules))
        same(found, expected, f"market {column}")


def test_there_are_enough_twins() -> None:
    assert len(TWINS) >= 25 and set(TWINS) <= set(bmac.FACTORS)


@pytest.mark.slow
async def test_twins_agree_on_generated_bars(tmp_path: Path) -> None:
    writer, store, run_time = store_of(tmp_path, b.generated())
    with writer, store:
        await compare(store, run_time, [f"S{i}USDT" for i in range(7)])


@pytest.mark.slow
async def test_twins_agree_on_recorded_bars(tmp_path: Path, recorded_data: Path) -> None:
    bars = b.recorded(recorded_data)
    writer, store, run_time = store_of(tmp_path, bars)
    with writer, store:
        await compare(store, run_time, [f"S{i}USDT" for i in range(bars["close"].shape[1])])
