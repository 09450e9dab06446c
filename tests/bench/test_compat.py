"""bench/compat.py: BmacKit's way does what the documents say, and a small run agrees with it."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

pytestmark = pytest.mark.usefixtures("bench_modules")


@pytest.fixture(autouse=True)
def _examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "examples"))


def test_bmackits_way_gives_the_documents_frames(tmp_path: Path) -> None:
    from compat_bmac import AllMarketWay, FilesWay
    from compat_market import Market

    market = Market(tmp_path, tmp_path, symbols=4, candles=150, ahead=2)
    bars = market.bars()
    market.write_history(1, bars)
    factors = [("PctChg", 100), ("TrdNumMeanV1", 80)]
    way = AllMarketWay(FilesWay(market.exginfo_dir), FilesWay(market.candle_dir), factors, "factor")
    frame = asyncio.run(way.calc_all_factors(market.run_time(1)))
    assert frame.index.tolist() == market.names
    close, high, low, trades = (bars[:, 1:151, i] for i in (3, 1, 2, 6))
    assert frame["close"].tolist() == close[:, -1].tolist()
    np.testing.assert_allclose(frame["PctChg_100"].tolist(), close[:, -1] / close[:, -101] - 1)
    expected = ((high / low - 1) / trades)[:, -80:].mean(axis=1)
    np.testing.assert_allclose(frame["TrdNumMeanV1_80"].tolist(), expected)
    single = asyncio.run(way.calc_factors(market.run_time(1), market.names[2]))
    assert len(single) == 150 and single["PctChg_100"].isna().sum() == 100


@pytest.mark.slow
def test_small_run_agrees() -> None:
    """All contenders on one small market; the figures are nobody's business."""
    import compat
    from report import Figures

    figures = Figures("small", console=Console(quiet=True))
    compat.run(compat.Options(symbols=6, candles=150, rounds=1, closes=2, writes=1), figures)
    assert figures["compared_numbers"] == 2 * 3 * 12 * (150 + 6)
    for name in ("single_engine_ms", "market_legacy_ms", "close_engine_ms", "write_ours_s"):
        assert figures[name] > 0


def test_frames_that_differ_are_an_error(tmp_path: Path) -> None:
    import compat
    import pandas as pd
    from live import Disagreement

    begin = pd.date_range("2026-01-01", periods=3, tz="UTC")
    frame = pd.DataFrame(
        {"candle_begin_time": begin, "close": [1.0, 2.0, 3.0], "PctChg_100": [np.nan, 0.5, 0.1]}
    )
    assert compat.same(frame.copy(), frame, "the same") == 9
    for change, what in (
        ({"close": [1.0, 2.0, 3.0000001]}, "close differs"),
        ({"PctChg_100": [0.0, 0.5, 0.1]}, "PctChg_100 differs"),
        ({"candle_begin_time": begin[::-1]}, "other times"),
        ({"more": 1.0}, "columns"),
    ):
        with pytest.raises(Disagreement, match=what):
            compat.same(frame.assign(**change), frame, "frame")
    with pytest.raises(Disagreement, match="other rows"):
        compat.same(frame.iloc[:2], frame, "frame")
