"""factor_defs/crypto.py against the same formulas over whole windows, written apart."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from factor_defs import crypto
from tests.factor_defs import bars as b
from tests.factor_defs.bars import Bars, over, over_pairs, shifted
from tests.kernels.harness import Array

_LEAST = {"BtcResidual": 1e-18}
"""BTC's own is 0 but for its rounding."""


def total(x: Array, n: int) -> Array:
    return over(x, n, lambda w: w.sum(axis=1))


def references(x: Bars) -> dict[str, Array]:
    """Every factor with its default parameters."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return {**flows(x), **liquidity(x), **volatility(x), **against(x), **funding(x)}


def since_midnight(x: Array, open_time: Array) -> Array:
    """Sums that begin anew with the first bar of a UTC day that is there."""
    out = np.full(x.shape, np.nan)
    for k in range(x.shape[1]):
        frame = pd.DataFrame({"x": x[:, k], "day": open_time[:, k] // 86_400_000})
        out[:, k] = frame.groupby("day")["x"].cumsum().reindex(frame.index).to_numpy()
    return out


def flows(x: Bars) -> dict[str, Array]:
    c, v, qv = x["close"], x["volume"], x["quote_volume"]
    base, quote = 2 * x["taker_buy_base_asset_volume"] - v, 2 * x["taker_buy_quote_asset_volume"] - qv
    d = c - shifted(c, 1)
    up, down = (
        total(np.where(np.isnan(d) | np.isnan(v), np.nan, np.where(s * d > 0, v, 0)), 20) for s in (1, -1)
    )
    line = np.where(np.isnan(base), np.nan, np.nancumsum(base, axis=0))
    return {
        "TakerRatio": total(x["taker_buy_quote_asset_volume"], 20) / total(qv, 20),
        "TakerFlow": total(quote, 20) / total(qv, 20),
        "Cvd": total(base, 60),
        "CvdSession": since_midnight(base, x["open_time"]),
        "CvdSlope": over(line, 20, lambda w: b.slope(w, b.time_of(w))) / over(v, 20, b.mean),
        "UpDownVolume": (up - down) / (up + down),
    }


def liquidity(x: Bars) -> dict[str, Array]:
    c, v, qv, n = x["close"], x["volume"], x["quote_volume"], x["trade_num"]
    r = np.log(c / shifted(c, 1))
    signed = 2 * x["taker_buy_quote_asset_volume"] - qv

    def z(s: Array) -> Array:
        deviation = over(s, 60, b.std)
        return np.where(deviation > 0, (s - over(s, 60, b.mean)) / deviation, np.nan)

    day = x["open_time"]
    return {
        "Amihud": over(np.abs(r) / qv, 60, b.mean, least=30),
        "KyleLambda": over_pairs(r, signed, 60, b.slope),
        "TradeSize": total(qv, 20) / total(n, 20),
        "VolumeZ": z(qv),
        "TradeNumZ": z(n),
        "VwapDeviation": c / (total(qv, 60) / total(v, 60)) - 1,
        "VwapSession": c / (since_midnight(qv, day) / since_midnight(v, day)) - 1,
    }


def volatility(x: Bars) -> dict[str, Array]:
    o, h, lo, c = (x[name] for name in ("open", "high", "low", "close"))
    r = np.log(c / shifted(c, 1))
    span, body = np.log(h / lo), np.log(c / o)
    rs = np.log(h / c) * np.log(h / o) + np.log(lo / c) * np.log(lo / o)
    gk = span**2 / 2 - (2 * np.log(2) - 1) * body**2
    k = 0.34 / (1.34 + 61 / 59)
    yz = over(np.log(o / shifted(c, 1)), 60, b.var) + k * over(body, 60, b.var)
    frame = pd.DataFrame(r)

    def fall(w: Array) -> Array:
        return np.asarray((w / np.maximum.accumulate(w, axis=1) - 1).min(axis=1))

    def moment(s: pd.DataFrame) -> Array:
        full = ~np.isnan(over(r, 60, b.mean)) & (over(r, 60, b.var) > 0)
        return np.where(full, s.to_numpy(), np.nan)

    return {
        "VolClose": np.sqrt(over(r**2, 60, b.mean)),
        "VolParkinson": np.sqrt(over(span**2, 60, b.mean) / (4 * np.log(2))),
        "VolGarmanKlass": np.sqrt(np.maximum(over(gk, 60, b.mean), 0)),
        "VolRogersSatchell": np.sqrt(np.maximum(over(rs, 60, b.mean), 0)),
        "VolYangZhang": np.sqrt(np.maximum(yz + (1 - k) * over(rs, 60, b.mean), 0)),
        "ReturnSkew": moment(frame.rolling(60).apply(lambda w: pd.Series(w).skew(), raw=True)),
        "ReturnKurt": moment(frame.rolling(60).apply(lambda w: pd.Series(w).kurt(), raw=True)),
        "MaxDrawdown": over(c, 60, fall),
    }


def against(x: Bars) -> dict[str, Array]:
    c, qv = x["close"], x["quote_volume"]
    here = np.isfinite(c)
    r = np.log(c / shifted(c, 1))
    # As the kernel rounds, because ranks tell ties from what is no tie by a bit.
    change = {n: (c - shifted(c, n)) / shifted(c, n) for n in (1, 20, 60)}
    leader = int(np.nanargmax(x["is_btc"][-1]))

    def to_all(row: Array) -> Array:
        return np.where(here, row[:, None], np.nan)

    def mean(s: Array) -> Array:
        return to_all(pd.DataFrame(s).mean(axis=1).to_numpy())

    def rank(s: Array) -> Array:
        return pd.DataFrame(np.where(here, s, np.nan)).rank(axis=1, pct=True).to_numpy()

    def above(s: Array, level: Array) -> Array:
        return np.where(np.isnan(s) | np.isnan(level), np.nan, s > level)

    btc, market = to_all(r[:, leader]), mean(r)
    return {
        "BtcBeta": over_pairs(r, btc, 60, b.slope),
        "BtcResidual": over_pairs(r, btc, 60, b.residual),
        "BtcCorr": over_pairs(r, btc, 60, b.corr),
        "BtcRelative": change[60] - to_all(change[60][:, leader]),
        "MarketBeta": over_pairs(r, market, 60, b.slope),
        "MarketResidual": over_pairs(r, market, 60, b.residual),
        "MarketCorr": over_pairs(r, market, 60, b.corr),
        "MarketReturn": mean(change[1]),
        "Dispersion": to_all(pd.DataFrame(change[1]).std(axis=1).to_numpy()),
        "Breadth": mean(above(c, shifted(c, 1))),
        "BreadthMean": mean(above(c, over(c, 60, b.mean))),
        "RankReturn": rank(change[20]),
        "RankVolume": rank(total(qv, 20)),
        "RankVolatility": rank(np.sqrt(over(r**2, 60, b.mean))),
    }


def funding(x: Bars) -> dict[str, Array]:
    f = x["funding_rate"]
    deviation = over(f, 60, b.std)
    return {
        "Funding": f,
        "FundingMean": over(f, 60, b.mean),
        "FundingZ": np.where(deviation > 0, (f - over(f, 60, b.mean)) / deviation, np.nan),
        "RankFunding": pd.DataFrame(f).rank(axis=1, pct=True).to_numpy(),
    }


def hold(x: Bars) -> None:
    found, wanted = b.compute(crypto.nodes(), x), references(x)
    assert sorted(found) == sorted(wanted)
    for name, value in wanted.items():
        b.agree(found[name], value, name, atol=_LEAST.get(name))


def test_generated_bars() -> None:
    hold(b.generated())


def test_recorded_bars(recorded_data: Path) -> None:
    hold(b.recorded(recorded_data))


def test_same_bits_in_every_way() -> None:
    b.check_bits(crypto.nodes(), b.generated())


def test_warm_up_is_as_promised() -> None:
    found = b.compute(crypto.nodes(), b.generated())
    b.check_warm_up(crypto.nodes(), found, early=("CvdSession", "VwapSession"))


def test_a_session_begins_at_midnight_also_where_the_first_bars_are_absent() -> None:
    x = b.generated()
    days = x["open_time"] // 86_400_000
    midnight = int(np.flatnonzero(np.diff(days[:, 0]))[0]) + 1
    assert np.isnan(days[midnight, 4])  # this symbol's gap lies over midnight
    found = b.compute({"f": crypto.cvd_session()}, x)["f"]
    signed = 2 * x["taker_buy_base_asset_volume"] - x["volume"]
    first = midnight + int(np.flatnonzero(np.isfinite(days[midnight:, 4]))[0])
    assert found[midnight, 0] == pytest.approx(signed[midnight, 0])
    assert found[first, 4] == pytest.approx(signed[first, 4])


def test_a_symbol_that_is_no_member_moves_nobody() -> None:
    x = b.generated()
    other = {name: value.copy() for name, value in x.items()}
    for value in other.values():
        value[200:, 4] = np.nan
    nodes = {"mean": crypto.market_return(), "rank": crypto.rank_return()}
    found, without = b.compute(nodes, x), b.compute(nodes, other)
    assert np.isnan(without["rank"][200:, 4]).all()
    changed = found["mean"][200:, 0] != without["mean"][200:, 0]
    assert changed.any()  # the mean is of those that are there
    wanted = references(other)
    for name, key in (("mean", "MarketReturn"), ("rank", "RankReturn")):
        b.agree(without[name], wanted[key], name)


def test_volatility_of_bars_that_stand_still_is_zero() -> None:
    """Not NaN: what a sum that slid over large moves leaves behind may be below zero."""
    x = b.generated()
    for name in ("open", "high", "low", "close"):
        x[name][200:] = x["close"][199]
    nodes = {
        name: node for name, node in crypto.nodes().items() if name.startswith("Vol") and "Z" not in name
    }
    for name, found in b.compute(nodes, x).items():
        still = found[261:, [0, 1, 2, 3, 4, 7]]
        assert (still >= 0).all() and (still < 1e-6).all(), name


def test_yang_zhang_needs_two_bars() -> None:
    with pytest.raises(ValueError, match="window must be 2 or more, found 1"):
        crypto.vol_yang_zhang(1)
