"""factor_defs/qlib158.py against qlib's formulas over whole windows, written apart."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from factor_defs import qlib158
from tests.factor_defs import bars as b
from tests.factor_defs.bars import Bars, over, over_pairs, shifted
from tests.kernels.harness import Array

Reference = Callable[[int], Array]


def simple(x: Bars) -> dict[str, Array]:
    """The bar's shape and its prices."""
    o, h, lo, c = (x[name] for name in ("open", "high", "low", "close"))
    span = h - lo + 1e-12
    top, bottom = np.where(o > c, o, c), np.where(o < c, o, c)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "KMID": (c - o) / o,
            "KLEN": (h - lo) / o,
            "KMID2": (c - o) / span,
            "KUP": (h - top) / o,
            "KUP2": (h - top) / span,
            "KLOW": (bottom - lo) / o,
            "KLOW2": (bottom - lo) / span,
            "KSFT": (2 * c - h - lo) / o,
            "KSFT2": (2 * c - h - lo) / span,
            "OPEN0": o / c,
            "HIGH0": h / c,
            "LOW0": lo / c,
            "VWAP0": x["quote_volume"] / x["volume"] / c,
        }


def rolling(x: Bars, newest: bool = False) -> dict[str, Reference]:
    """Name to a function of the window."""
    h, lo, c, v = (x[name] for name in ("high", "low", "close", "volume"))
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = c / shifted(c, 1)
        log_volume, volume_ratio = np.log(v + 1), np.log(v / shifted(v, 1) + 1)
        weighted = np.abs(ratio - 1) * v
    rise, v_rise = c - shifted(c, 1), v - shifted(v, 1)

    def where(s: Array, d: int, of: Callable[..., Array]) -> Array:
        if newest:
            return over(s, d, lambda w: d - of(w[:, ::-1], axis=1)) / d
        return over(s, d, lambda w: of(w, axis=1) + 1) / d

    def share(s: Array, d: int, sign: float) -> Array:
        total = over(np.abs(s), d, lambda w: w.sum(axis=1))
        return over(np.where(np.isnan(s), s, np.maximum(sign * s, 0)), d, lambda w: w.sum(axis=1)) / (
            total + 1e-12
        )

    def count(d: int, sign: float) -> Array:
        return over(np.where(np.isnan(rise), np.nan, sign * rise > 0), d, b.mean)

    def on_time(d: int, of: Callable[..., Array]) -> Array:
        return over(c, d, lambda w: of(w, b.time_of(w)))

    def rank(d: int) -> Array:
        made = pd.DataFrame(c).rolling(d).rank(pct=True).to_numpy()
        return np.where(np.isnan(over(c, d, b.mean)), np.nan, made)

    def position(d: int) -> Array:
        bottom, top = over(lo, d, lambda w: w.min(axis=1)), over(h, d, lambda w: w.max(axis=1))
        return (c - bottom) / (top - bottom + 1e-12)

    return {
        "ROC": lambda d: shifted(c, d) / c,
        "MA": lambda d: over(c, d, b.mean) / c,
        "STD": lambda d: over(c, d, b.std) / c,
        "BETA": lambda d: on_time(d, b.slope) / c,
        "RSQR": lambda d: on_time(d, lambda w, t: b.corr(w, t) ** 2),
        "RESI": lambda d: on_time(d, b.residual) / c,
        "MAX": lambda d: over(h, d, lambda w: w.max(axis=1)) / c,
        "MIN": lambda d: over(lo, d, lambda w: w.min(axis=1)) / c,
        "QTLU": lambda d: over(c, d, lambda w: np.quantile(w, 0.8, axis=1)) / c,
        "QTLD": lambda d: over(c, d, lambda w: np.quantile(w, 0.2, axis=1)) / c,
        "RANK": rank,
        "RSV": position,
        "IMAX": lambda d: where(h, d, np.argmax),
        "IMIN": lambda d: where(lo, d, np.argmin),
        "IMXD": lambda d: where(h, d, np.argmax) - where(lo, d, np.argmin),
        "CORR": lambda d: over_pairs(c, log_volume, d, b.corr),
        "CORD": lambda d: over_pairs(ratio, volume_ratio, d, b.corr),
        "CNTP": lambda d: count(d, 1),
        "CNTN": lambda d: count(d, -1),
        "CNTD": lambda d: count(d, 1) - count(d, -1),
        "SUMP": lambda d: share(rise, d, 1),
        "SUMN": lambda d: share(rise, d, -1),
        "SUMD": lambda d: share(rise, d, 1) - share(rise, d, -1),
        "VMA": lambda d: over(v, d, b.mean) / (v + 1e-12),
        "VSTD": lambda d: over(v, d, b.std) / (v + 1e-12),
        "WVMA": lambda d: over(weighted, d, b.std) / (over(weighted, d, b.mean) + 1e-12),
        "VSUMP": lambda d: share(v_rise, d, 1),
        "VSUMN": lambda d: share(v_rise, d, -1),
        "VSUMD": lambda d: share(v_rise, d, 1) - share(v_rise, d, -1),
    }


def expected(x: Bars, newest: bool = False) -> dict[str, Array]:
    """All 158 in qlib's order."""
    made = simple(x)
    for name, of in rolling(x, newest).items():
        with np.errstate(invalid="ignore", divide="ignore"):
            made |= {f"{name}{d}": of(d) for d in (5, 10, 20, 30, 60)}
    return made


def hold(x: Bars, newest: bool = False) -> None:
    found, wanted = b.compute(qlib158.nodes(newest), x), expected(x, newest)
    assert list(found) == list(wanted)
    for name, value in wanted.items():
        b.agree(found[name], value, name)


def test_generated_bars() -> None:
    hold(b.generated())


def test_recorded_bars(recorded_data: Path) -> None:
    hold(b.recorded(recorded_data))


def test_newest_of_equal_extremes() -> None:
    x = b.generated()
    found, wanted = b.compute(qlib158.nodes(newest=True), x), expected(x, newest=True)
    oldest = b.compute(qlib158.nodes(), x)
    for name in ("IMAX60", "IMIN5", "IMXD20"):
        b.agree(found[name], wanted[name], name)
        assert (found[name] != oldest[name]).sum() > np.isnan(found[name]).sum()  # ties are there


def test_same_bits_in_every_way() -> None:
    b.check_bits(qlib158.nodes(), b.generated())


def test_warm_up_is_as_promised() -> None:
    b.check_warm_up(qlib158.nodes(), b.compute(qlib158.nodes(), b.generated()))


def test_published_names() -> None:
    names = list(qlib158.nodes())
    assert len(names) == len(set(names)) == 158
    assert names[:14] == [
        *("KMID", "KLEN", "KMID2", "KUP", "KUP2", "KLOW", "KLOW2", "KSFT", "KSFT2"),
        *("OPEN0", "HIGH0", "LOW0", "VWAP0", "ROC5"),
    ]
    assert names[-1] == "VSUMD60"


@pytest.mark.parametrize("name", ["OPEN", "HIGH", "LOW", "VWAP"])
def test_prices_of_earlier_bars(name: str) -> None:
    x = b.generated()
    with np.errstate(invalid="ignore"):
        column = x["quote_volume"] / x["volume"] if name == "VWAP" else x[name.lower()]
    found = b.compute({"past": qlib158.FACTORS[name](3)}, x)["past"]
    b.agree(found, shifted(column, 3) / x["close"], name)
