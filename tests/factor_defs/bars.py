"""Bars that factors are tested with, windows as arrays, and how a library is held to its references.

Bars are a dict of field to float64[T, S]. An absent bar is NaN in every field. References work on whole
windows in extended precision, so they neither drift nor share a line with the kernels.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from kernels.node import Node
from kernels.plan import Plan
from kernels.run import Program, copy_slot
from tests.kernels.harness import START, Array, run, same_bits

T: Final = 380
MINUTE_MS: Final = 60_000
BEGIN_MS: Final = 1_770_329_000_000 // MINUTE_MS * MINUTE_MS
"""22:03 UTC: midnight falls into the generated bars."""

Bars = dict[str, Array]


def _symbol(seed: int, price: float, tick: float = 0.0, quiet: float = 0.0) -> Bars:
    """A walk of four steps within each bar. `quiet` is the share of bars without a trade."""
    random = np.random.default_rng(seed)
    steps = 0.003 * random.standard_t(4, (T, 4))
    traded = random.random(T) >= quiet
    steps[~traded] = 0.0
    path = price * np.exp(np.cumsum(steps).reshape(T, 4))
    open_ = np.concatenate([[price], path[:-1, 3]])
    if tick:
        path, open_ = np.round(path / tick) * tick, np.round(open_ / tick) * tick
    inside = np.column_stack([open_, path])
    volume = np.where(traded, 1e4 / price * random.lognormal(0, 1, T), 0.0)
    trades = np.where(traded, 1.0 + random.poisson(200, T), 0.0)
    bought = random.uniform(0.1, 0.9, T)
    mean = inside.mean(axis=1)
    return {
        "open": open_,
        "high": inside.max(axis=1),
        "low": inside.min(axis=1),
        "close": path[:, 3],
        "volume": volume,
        "quote_volume": volume * mean,
        "trade_num": trades,
        "taker_buy_base_asset_volume": volume * bought,
        "taker_buy_quote_asset_volume": volume * bought * mean,
        "open_time": BEGIN_MS + MINUTE_MS * np.arange(T, dtype=float),
        "funding_rate": np.repeat(random.normal(0, 1e-4, T // 40 + 1), 40)[:T],
    }


def generated() -> Bars:
    """Eight symbols: plain, cheap, coarse ticks (many ties), with bars without trades, with gaps (one over
    midnight), listed late, three bars old, and one that never moves."""
    symbols = [
        _symbol(0, 60_000.0),
        _symbol(1, 1e-7),
        _symbol(2, 1.0, tick=0.005),
        _symbol(3, 20.0, tick=0.01, quiet=0.15),
        _symbol(4, 300.0),
        _symbol(5, 3.0),
        _symbol(6, 5.0),
        _symbol(7, 1.0, tick=1e6),
    ]
    for name, value in (("open", 1.0), ("high", 1.0), ("low", 1.0), ("close", 1.0)):
        symbols[7][name] = np.full(T, value)
    symbols[7]["quote_volume"] = symbols[7]["volume"].copy()
    symbols[7]["taker_buy_quote_asset_volume"] = symbols[7]["taker_buy_base_asset_volume"].copy()
    random = np.random.default_rng(9)
    gaps = random.random(T) < 0.02
    gaps[110:125] = True
    for k, absent in ((4, gaps), (5, np.arange(T) < 150), (6, np.arange(T) < T - 3)):
        for x in symbols[k].values():
            x[absent] = np.nan
    bars = {name: np.column_stack([symbol[name] for symbol in symbols]) for name in symbols[0]}
    bars["is_btc"] = np.where(np.isnan(bars["close"]), np.nan, np.arange(8) == 0)
    return bars


def recorded(folder: Path, n_bars: int = 700) -> Bars:
    """Recorded 1m bars of seven USD-M perpetuals from 2026-02-06 on, the funding rates of those days."""
    begin = 1_770_400_000_000 // MINUTE_MS * MINUTE_MS
    names = {
        "trades": "trade_num",
        "taker_buy_volume": "taker_buy_base_asset_volume",
        "taker_buy_quote_volume": "taker_buy_quote_asset_volume",
    }
    funding = pq.read_table(folder / "funding_usdm_2026-01_03.parquet").to_pandas()
    symbols = []
    for path in sorted((folder / "klines_1m_usdm_2026-02").glob("*.parquet")):
        frame = pq.read_table(path).to_pandas().rename(columns=names)
        frame = frame[frame["open_time"] >= begin].head(n_bars)
        rates = funding[funding["symbol"] == path.stem].sort_values("funding_time")
        ends = frame["open_time"].to_numpy() + MINUTE_MS
        last = np.searchsorted(rates["funding_time"].to_numpy(), ends, side="right") - 1
        frame["funding_rate"] = np.where(last >= 0, rates["funding_rate"].to_numpy()[last], np.nan)
        frame["is_btc"] = float(path.stem == "AVAXUSDT")  # no BTC among them: another coin stands for it
        symbols.append(frame.drop(columns="close_time"))
    return {
        str(name): np.column_stack([frame[name].to_numpy(float) for frame in symbols]) for name in symbols[0]
    }


# ---- windows ---------------------------------------------------------------------------------------------


def over(x: Array, window: int, of: Callable[[Any], Any], least: int | None = None) -> Array:
    """`of` every window of every symbol: it gets longdouble[n, m] and gives [n].

    least  None: windows that miss a value give NaN, m is the window. Else each window's values alone are
           given (n = 1), and a window with fewer than `least` gives NaN.
    """
    x = np.where(np.isfinite(x), x, np.nan)
    out = np.full(x.shape, np.nan)
    padded = np.concatenate([np.full((window - 1, x.shape[1]), np.nan), x])
    windows = np.lib.stride_tricks.sliding_window_view(padded, window, axis=0)
    present = np.isfinite(windows).sum(axis=2)
    if least is None:
        full = present == window
        if full.any():
            out[full] = of(windows[full].astype(np.longdouble))
        return out
    for at in np.argwhere(present >= least):
        values = windows[tuple(at)]
        out[tuple(at)] = of(values[np.isfinite(values)].astype(np.longdouble)[None])[0]
    return out


def over_pairs(x: Array, y: Array, window: int, of: Callable[[Any, Any], Any]) -> Array:
    """As `over` for two series; a bar that misses either is missing in both."""
    both = np.isfinite(x) & np.isfinite(y)
    out = np.full(x.shape, np.nan)
    padding = np.full((window - 1, x.shape[1]), np.nan)
    views = [
        np.lib.stride_tricks.sliding_window_view(
            np.concatenate([padding, np.where(both, s, np.nan)]), window, axis=0
        )
        for s in (x, y)
    ]
    full = np.isfinite(views[0]).all(axis=2)
    if full.any():
        out[full] = of(views[0][full].astype(np.longdouble), views[1][full].astype(np.longdouble))
    return out


def mean(w: Any) -> Any:
    return w.mean(axis=1)


def var(w: Any) -> Any:
    return np.where(flat(w), 0.0, w.var(axis=1, ddof=1))


def std(w: Any) -> Any:
    return np.sqrt(var(w))


def flat(w: Any) -> Any:
    """Windows whose values are all one."""
    return w.max(axis=1) == w.min(axis=1)


def cov(x: Any, y: Any) -> Any:
    dx, dy = x - x.mean(axis=1)[:, None], y - y.mean(axis=1)[:, None]
    return (dx * dy).sum(axis=1) / (x.shape[1] - 1)


def slope(y: Any, x: Any) -> Any:
    return np.where(flat(x), np.nan, cov(x, y) / np.where(flat(x), 1, x.var(axis=1, ddof=1)))


def corr(x: Any, y: Any) -> Any:
    undefined = flat(x) | flat(y)
    scale = np.where(undefined, 1, np.sqrt(x.var(axis=1, ddof=1) * y.var(axis=1, ddof=1)))
    return np.where(undefined, np.nan, cov(x, y) / scale)


def residual(y: Any, x: Any) -> Any:
    """Of the last bar."""
    b = slope(y, x)
    return y[:, -1] - (y.mean(axis=1) + b * (x[:, -1] - x.mean(axis=1)))


def time_of(w: Any) -> Any:
    """1 to window, for each window."""
    return np.broadcast_to(np.arange(1, w.shape[1] + 1, dtype=np.longdouble), w.shape)


def shifted(x: Array, d: int) -> Array:
    """x[d]."""
    return np.concatenate([np.full((d, x.shape[1]), np.nan), x[:-d]]) if d else x


def ewm(x: Array, alpha: float) -> Array:
    """pandas' exponential mean, adjust=False; a missing value is skipped, the last mean stands there."""
    made = pd.DataFrame(np.where(np.isfinite(x), x, np.nan)).ewm(alpha=alpha, adjust=False, ignore_na=True)
    return made.mean().to_numpy()


# ---- what a library is held to ---------------------------------------------------------------------------


def compute(nodes: Mapping[str, Node], bars: Bars) -> dict[str, Array]:
    """All nodes in one plan: name to float64[T, S]."""
    found = run(nodes, bars, members=np.isfinite(bars["close"]).astype(float))
    return {name: found[:, k] for k, name in enumerate(nodes)}


def agree(found: Array, expected: Array, name: str, rtol: float = 1e-9, atol: float | None = None) -> None:
    """Fail where values differ by more than rtol * |expected| + atol, or one is NaN and the other not.

    atol  None: 1e-12 of what is usual for the symbol; a value near zero is a difference of such values
    """
    expected = np.asarray(expected, float)
    usual = np.nan_to_num(pd.DataFrame(np.abs(expected)).median().to_numpy())
    least = 1e-12 * usual if atol is None else atol
    with np.errstate(invalid="ignore"):
        close = (np.abs(found - expected) <= rtol * np.abs(expected) + least) | (found == expected)
    wrong = np.argwhere(~(close | (np.isnan(found) & np.isnan(expected))))
    assert not len(wrong), (
        f"{name}: first of {len(wrong)} at (bar, symbol) {tuple(map(int, wrong[0]))}: "
        f"{found[tuple(wrong[0])]}, expected {expected[tuple(wrong[0])]}; symbols {np.unique(wrong[:, 1])}"
    )
    assert np.isfinite(found).any(), f"{name} has no value at all"


def check_bits(nodes: Mapping[str, Node], bars: Bars) -> None:
    """One plan of all: the same bits one symbol at a time, after a restart, and after bars of nothing."""
    plan = Plan(nodes)
    own = [k for k, cross in enumerate(plan.is_cross) if not cross]
    members = np.isfinite(bars["close"]).astype(float)
    found = run(nodes, bars, members=members)
    n_bars, n_slots = members.shape
    alone = Program(plan, n_slots)
    for slot in range(n_slots):
        got = run(nodes, bars, program=alone, slots=(slot, 1))
        same_bits(np.ascontiguousarray(got[:, own, slot]), np.ascontiguousarray(found[:, own, slot]))
    middle = n_bars // 2 + 7
    before, after = Program(plan, n_slots), Program(plan, n_slots)
    run(nodes, {k: v[:middle] for k, v in bars.items()}, program=before, members=members[:middle])
    for slot in range(n_slots):
        copy_slot(before.address, slot, after.address, slot)
    rest = {k: v[middle:] for k, v in bars.items()}
    same_bits(run(nodes, rest, program=after, start=START + middle, members=members[middle:]), found[middle:])
    nothing = np.full((37, n_slots), np.nan)
    padded = {k: np.concatenate([nothing, v]) for k, v in bars.items()}
    late = run(nodes, padded, start=START - 37, members=np.concatenate([0.0 * np.isfinite(nothing), members]))
    same_bits(late[37:], found)


def check_warm_up(nodes: Mapping[str, Node], found: Mapping[str, Array], early: tuple[str, ...] = ()) -> None:
    """The first value of symbol 0, which misses nothing, comes when the plan says.

    early  names that have one before: a plan adds up the longest chain, it cannot know that `fill` ends it
    """
    plan = Plan(nodes)
    for name, promised in zip(plan.names, plan.warm_up, strict=True):
        first = int(np.flatnonzero(np.isfinite(found[name][:, 0]))[0])
        assert first < promised if name in early else first == promised, (
            f"{name}: warm-up of {promised} promised, first value at {first}"
        )
