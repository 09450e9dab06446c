"""factor_defs/bmac.py against the same formulas over whole windows, written apart."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from factor_defs import bmac
from tests.factor_defs import bars as b
from tests.factor_defs.bars import Bars, over, shifted
from tests.kernels.harness import Array

_LEAST = {"Trix": 1e-12}
"""In percent of a mean: its last digit is 1e-14."""


def total(x: Array, n: int) -> Array:
    return over(x, n, lambda w: w.sum(axis=1))


def only_if(x: Array, condition: Any, known: Array) -> Array:
    return np.where(np.isnan(x) | np.isnan(known), np.nan, np.where(condition, x, 0.0))


def references(x: Bars) -> dict[str, Array]:
    """Every factor with its default parameters."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return {**prices(x), **ranges(x), **volumes(x)}


def prices(x: Bars) -> dict[str, Array]:
    h, lo, c = (x[name] for name in ("high", "low", "close"))
    mean, std = over(c, 20, b.mean), over(c, 20, b.std)
    e20 = b.ewm(c, 2 / 21)
    e3 = b.ewm(b.ewm(e20, 2 / 21), 2 / 21)
    dif = b.ewm(c, 2 / 13) - b.ewm(c, 2 / 27)
    dea = b.ewm(dif, 2 / 10)
    d = c - shifted(c, 1)
    up, way = total(np.where(np.isnan(d), d, np.maximum(d, 0)), 14), total(np.abs(d), 14)

    def end_of_line(w: Any) -> Any:
        return w[:, -1] - b.residual(w, b.time_of(w))

    return {
        "PctChg": c / shifted(c, 100) - 1,
        "Ma": mean,
        "Ema": e20,
        "Std": std,
        "Zscore": np.where(std > 0, (c - mean) / std, np.nan),
        "Bias": c / mean - 1,
        "EmaBias": c / e20 - 1,
        "Mtm": (c / shifted(c, 20) - 1) * 100,
        "MtmMean": over(c / shifted(c, 20) - 1, 20, b.mean),
        "Roc": mean / shifted(mean, 20) - 1,
        "Dpo": c / shifted(mean, 11) - 1,
        "Trix": (e3 / shifted(e3, 1) - 1) * 100,
        "Reg": c / over(c, 20, end_of_line) - 1,
        "Macd.dif": dif,
        "Macd.dea": dea,
        "Macd.macd": (dif - dea) * 2,
        "Boll.upper": mean + 2 * std,
        "Boll.middle": mean,
        "Boll.lower": mean - 2 * std,
        "Boll.width": 4 * std / mean,
        "Boll.position": np.where(std > 0, (c - mean + 2 * std) / (4 * std), np.nan),
        "Er.bull": h / e20 - 1,
        "Er.bear": lo / e20 - 1,
        "Efficiency": np.abs(c - shifted(c, 20)) / total(np.abs(d), 20),
        "Rsi": up / way * 100,
        "Cmo": (c - shifted(c, 20)) / total(np.abs(d), 20) * 100,
        "Psy": over(np.where(np.isnan(d), np.nan, d > 0), 20, b.mean) * 100,
    }


def ranges(x: Bars) -> dict[str, Array]:
    o, h, lo, c = (x[name] for name in ("open", "high", "low", "close"))
    last = shifted(c, 1)
    true_range = np.maximum(h - lo, np.maximum(np.abs(h - last), np.abs(lo - last)))

    def top(n: int) -> Array:
        return over(h, n, lambda w: w.max(axis=1))

    def bottom(n: int) -> Array:
        return over(lo, n, lambda w: w.min(axis=1))

    rsv = (c - bottom(9)) / (top(9) - bottom(9)) * 100
    k = b.ewm(rsv, 1 / 3)
    d = b.ewm(k, 1 / 3)
    tp = (h + lo + c) / 3

    def spread(w: Any) -> Any:
        return np.where(b.flat(w), 0, np.abs(w - w.mean(axis=1)[:, None]).mean(axis=1))

    mad = over(tp, 20, spread)
    up = over(h, 20, lambda w: 20 - w[:, ::-1].argmax(axis=1)) * 5
    down = over(lo, 20, lambda w: 20 - w[:, ::-1].argmin(axis=1)) * 5
    return {
        "TrdNumMeanV1": over((h / lo - 1) / x["trade_num"], 80, b.mean, least=1),
        "Volatility": over(c / last - 1, 20, b.std),
        "Amplitude": top(20) / bottom(20) - 1,
        "RangeMean": over(h / lo - 1, 20, b.mean),
        "AtrPct": over(true_range, 20, b.mean) / c,
        "MinMax": (c - bottom(20)) / (top(20) - bottom(20)),
        "Wr": (top(20) - c) / (top(20) - bottom(20)) * 100,
        "Kdj.k": k,
        "Kdj.d": d,
        "Kdj.j": 3 * k - 2 * d,
        "Cci": np.where(mad > 0, (tp - over(tp, 20, b.mean)) / (0.015 * mad), np.nan),
        "Aroon.up": up,
        "Aroon.down": down,
        "Aroon.oscillator": up - down,
        "Body": over(np.abs(c - o) / (h - lo), 20, b.mean, least=1),
    }


def volumes(x: Bars) -> dict[str, Array]:
    h, lo, c, v, qv = (x[name] for name in ("high", "low", "close", "volume", "quote_volume"))
    d = c - shifted(c, 1)
    tp = (h + lo + c) / 3
    moved = tp - shifted(tp, 1)
    vwap = qv / v
    w = v * (c - (h + lo) / 2)
    rising, falling = total(only_if(v, d > 0, d), 26), total(only_if(v, d < 0, d), 26)
    flat = total(only_if(v, d == 0, d), 26)
    into, out_of = total(only_if(tp * v, moved > 0, moved), 14), total(only_if(tp * v, moved < 0, moved), 14)
    return {
        "QuoteVolumeMean": over(qv, 20, b.mean),
        "VolumeMean": over(v, 20, b.mean),
        "VolumeBias": qv / over(qv, 20, b.mean) - 1,
        "LogVolumeMean": over(np.log1p(qv), 20, b.mean),
        "TradeNumMean": over(x["trade_num"], 20, b.mean),
        "TakerBuyRatio": total(x["taker_buy_quote_asset_volume"], 20) / total(qv, 20),
        "VwapBias": vwap / over(vwap, 20, b.mean) - 1,
        "Obv": total(np.sign(d) * v, 20),
        "Force": b.ewm(d * v, 2 / 14),
        "Vr": (rising + flat / 2) / (falling + flat / 2) * 100,
        "Mfi": into / (into + out_of) * 100,
        "Vao": over(w + shifted(w, 1), 10, b.mean) - over(w + shifted(w, 1), 30, b.mean),
        "Cmf": total(v * (2 * c - h - lo) / (h - lo), 20) / total(v, 20),
    }


def hold(x: Bars) -> None:
    found, wanted = b.compute(bmac.nodes(), x), references(x)
    assert sorted(found) == sorted(wanted)
    for name, value in wanted.items():
        b.agree(found[name], value, name, atol=_LEAST.get(name))


def test_generated_bars() -> None:
    hold(b.generated())


def test_recorded_bars(recorded_data: Path) -> None:
    hold(b.recorded(recorded_data))


def test_same_bits_in_every_way() -> None:
    b.check_bits(bmac.nodes(), b.generated())


def test_warm_up_is_as_promised() -> None:
    b.check_warm_up(bmac.nodes(), b.compute(bmac.nodes(), b.generated()))


def test_trades_per_range_begins_with_the_first_bar() -> None:
    """As BMAC's screenshots show: bar 2 is the mean of two."""
    x = b.generated()
    found = b.compute({"f": bmac.trd_num_mean_v1(80)}, x)["f"][:, 0]
    each = (x["high"] / x["low"] - 1)[:2, 0] / x["trade_num"][:2, 0]
    assert found[:2] == pytest.approx([each[0], (each[0] + each[1]) / 2])


def test_parameters_reach_the_formula() -> None:
    x = b.generated()
    with np.errstate(invalid="ignore", divide="ignore"):
        wanted = over(x["close"], 7, b.mean) + 1.5 * over(x["close"], 7, b.std)
    found = b.compute({"upper": bmac.boll(7, 1.5)["upper"]}, x)["upper"]
    b.agree(found, wanted, "Boll(7, 1.5).upper")
