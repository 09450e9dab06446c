"""factor_defs/gtja191.py against the published formulas, read from the docstrings and computed by NumPy.

The reference knows nothing of nodes and plans: a parser of the report's notation, and one function of whole
arrays for each of its words, windows computed one by one in extended precision.

A rank, a comparison or a sign may turn on the last digit: two correlations that are equal on paper come out
1e-16 apart, either way. So all is computed again with everything that a window sums 1e-13 off: at random, and
with ranks that take all that is within 1e-9 as lower, and as higher. Where that changes a value by more than
the tolerance, none is expected; how many those are is bounded.
"""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from factor_defs import gtja191
from factor_defs.registry import lookup
from kernels.plan import Plan
from tests.factor_defs import bars as b
from tests.factor_defs.bars import Bars, over
from tests.kernels.harness import Array

Tree = tuple[Any, ...]

_OFF, _TIE = 1e-13, 1e-9
_RTOL, _ATOL = 1e-9, 1e-11
"""Of the value, and of the factor's mean magnitude."""
_PLACES_OF_PLACES: Final = ("gtja119", "gtja138")
"""Ties within ties may hide each other, high and low: 2 in 1000 values may differ."""


# ---- the report's notation -------------------------------------------------------------------------------

_TOKEN: Final = re.compile(r"\s*(\d+\.\d+|\d+|[A-Z]\w*|\|\||<=|>=|[-+*/^<>=?:(),&])")
_LEVELS: Final = (("||",), ("&",), ("<", ">", "<=", ">=", "="), ("+", "-"), ("*", "/"))
"""Operators from the loosest; ^ and the sign bind closer."""


class Parser:
    """A formula as a tree: (word, trees...), ("number", value), or what `names` says for a name."""

    def __init__(self, text: str, names: dict[str, Tree]) -> None:
        self.tokens = _TOKEN.findall(text)
        self.names = names
        assert "".join(self.tokens) == "".join(text.split()), text
        self.tree = self.choice()
        assert not self.tokens, text

    def next_is(self, *tokens: str) -> bool:
        return self.tokens[:1] != [] and self.tokens[0] in tokens

    def expect(self, token: str) -> None:
        assert self.tokens.pop(0) == token

    def choice(self) -> Tree:
        condition = self.chain(0)
        if not self.next_is("?"):
            return condition
        self.expect("?")
        yes = self.choice()
        self.expect(":")
        return ("?", condition, yes, self.choice())

    def chain(self, level: int) -> Tree:
        if level == len(_LEVELS):
            return self.signed()
        left = self.chain(level + 1)
        while self.next_is(*_LEVELS[level]):
            left = (self.tokens.pop(0), left, self.chain(level + 1))
        return left

    def signed(self) -> Tree:
        if self.next_is("-"):
            self.expect("-")
            return ("*", ("number", -1.0), self.signed())
        base = self.atom()
        while self.next_is("^"):
            self.expect("^")
            base = ("^", base, self.atom())
        return base

    def atom(self) -> Tree:
        token: str = self.tokens.pop(0)
        if token == "(":
            inside = self.choice()
            self.expect(")")
            return inside
        if token[0].isdigit():
            return ("number", float(token))
        if not self.next_is("("):
            return self.names.get(token, ("name", token))
        arguments = []
        while not self.next_is(")"):
            self.tokens.pop(0)  # the opening bracket, or a comma
            arguments.append(self.choice())
        self.expect(")")
        return (token, *arguments)


def formula(name: str) -> Tree:
    """The tree of a factor's docstring: "Alpha49: formula; NAME = definition; ...", then a free paragraph."""
    paragraph = " ".join(str(gtja191.FACTORS[name].__doc__).split("\n\n")[0].split())
    text, *definitions = paragraph.split(";")
    title, _, text = text.partition(": ")
    assert title.strip() == name.replace("gtja", "Alpha")
    names: dict[str, Tree] = {}
    for definition in reversed(definitions):  # one may use those behind it
        word, _, meaning = definition.partition(" = ")
        names[word.strip()] = Parser(meaning, names).tree
    return Parser(text, names).tree


# ---- the report's words ----------------------------------------------------------------------------------


def rank(x: Array) -> Array:
    made: Array = pd.DataFrame(x).rank(axis=1, pct=True).to_numpy()
    return made


def rough_rank(x: Array, above: bool) -> Array:
    """The highest place that x could have, or the lowest, when every value is a little off."""
    tie = _TIE * (np.abs(x) + np.nan_to_num(np.abs(x)).mean())
    places = [(x[:, [k]] <= x + tie) if above else (x[:, [k]] < x - tie) for k in range(x.shape[1])]
    made = (np.sum(places, axis=0) + (not above)) / np.maximum(np.isfinite(x).sum(axis=1), 1)[:, None]
    return np.where(np.isfinite(x), made, np.nan)


def last_rank(w: Any, shift: float = 0.0) -> Any:
    """Place of the last value; `shift` raises it, but not above what is the same number."""
    last = w[:, -1:]
    moved = last + shift * (np.abs(last) + np.abs(w).mean(axis=1, keepdims=True))
    equal = w == last
    return (((w < moved) & ~equal).sum(axis=1) + (equal.sum(axis=1) + 1) / 2) / w.shape[1]


def weighted(weights: Any) -> Callable[[Any], Any]:
    return lambda w: w @ (weights / weights.sum())


def known(*values: Any) -> Any:
    return ~np.any([np.isnan(v) for v in np.broadcast_arrays(*values)], axis=0)


def truth(holds: Any, *values: Any) -> Any:
    return np.where(known(*values), holds, np.nan)


def power(x: Any, y: Any) -> Any:
    return np.where(known(x, y), np.power(x, y), np.nan)


def filtered_slope(y: tuple[Array, Array], x: tuple[Array, Array], n: int) -> Array:
    """REGBETA(FILTER(y, c), FILTER(x, c), n): over those of the last n bars where c holds."""
    (y_values, holds), (x_values, _) = y, x
    out = np.full(y_values.shape, np.nan)
    for t, s in np.argwhere(np.isfinite(over(holds, n, b.mean))):
        window = slice(t - n + 1, t + 1)
        chosen = (holds[window, s] == 1) & np.isfinite(y_values[window, s] + x_values[window, s])
        if chosen.sum() >= 2:
            out[t, s] = np.polyfit(x_values[window, s][chosen], y_values[window, s][chosen], 1)[0]
    return out


EXACT: Final[dict[str, Callable[..., Any]]] = {
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
    "*": lambda x, y: x * y,
    "/": lambda x, y: x / y,
    "^": power,
    "<": lambda x, y: truth(x < y, x, y),
    ">": lambda x, y: truth(x > y, x, y),
    "<=": lambda x, y: truth(x <= y, x, y),
    ">=": lambda x, y: truth(x >= y, x, y),
    "=": lambda x, y: truth(x == y, x, y),
    "&": lambda x, y: truth((x != 0) & (y != 0), x, y),
    "||": lambda x, y: truth((x != 0) | (y != 0), x, y),
    "?": lambda c, x, y: np.where(known(c), np.where(c != 0, x, y), np.nan),
    "ABS": np.abs,
    "LOG": np.log,
    "SIGN": np.sign,
    "MAX": lambda x, y: np.maximum(x, y),
    "MIN": lambda x, y: np.minimum(x, y),
    "DELAY": lambda x, n: b.shifted(x, n),
    "DELTA": lambda x, n: x - b.shifted(x, n),
    "TSMAX": lambda x, n: over(x, n, lambda w: w.max(axis=1)),
    "TSMIN": lambda x, n: over(x, n, lambda w: w.min(axis=1)),
    "TSRANK": lambda x, n: over(x, n, last_rank),
    "HIGHDAY": lambda x, n: over(x, n, lambda w: n - 1 - w.argmax(axis=1)),
    "LOWDAY": lambda x, n: over(x, n, lambda w: n - 1 - w.argmin(axis=1)),
    "COUNT": lambda c, n: over(c, n, lambda w: w.sum(axis=1)),
    "PROD": lambda x, n: over(x, n, lambda w: w.prod(axis=1)),
    "SEQUENCE": lambda n: n,
    "FILTER": lambda x, c: (x, c),
}
INEXACT: Final[dict[str, Callable[..., Any]]] = {
    "SUM": lambda x, n: over(x, n, lambda w: w.sum(axis=1)),
    "SUMAC": lambda x, n: over(x, n, lambda w: w.sum(axis=1)),
    "SUMIF": lambda x, n, c: over(EXACT["?"](c, x, 0.0), n, lambda w: w.sum(axis=1)),
    "MEAN": lambda x, n: over(x, n, b.mean),
    "STD": lambda x, n: over(x, n, b.std),
    "SMA": lambda x, n, m: b.ewm(x, m / n),
    "WMA": lambda x, n: over(x, n, weighted(0.9 ** np.arange(n)[::-1])),
    "DECAYLINEAR": lambda x, n: over(x, n, weighted(np.arange(1.0, n + 1))),
    "CORR": lambda x, y, n: b.over_pairs(x, y, n, b.corr),
    "COVIANCE": lambda x, y, n: b.over_pairs(x, y, n, b.cov),
    "REGBETA": lambda y, x, *n: (
        filtered_slope(y, x, *n) if n else over(y, x, lambda w: b.slope(w, b.time_of(w)))
    ),
}


def is_inexact(tree: Tree) -> bool:
    """Whether it has a sum over a window that may be off in the last digit; places and signs have none."""
    word, *rest = tree
    if word in ("RANK", "TSRANK", "SIGN", "COUNT") or (word == "CORR" and rest[2] == ("number", 2.0)):
        return False
    one_bar = word == "SUM" and rest[1] == ("number", 1.0)
    return (word in INEXACT and not one_bar) or any(isinstance(x, tuple) and is_inexact(x) for x in rest)


class Reference:
    """Formulas over one panel; equal parts are computed once.

    off    what windows sum is a little off, at random
    above  ranks of it are the highest or lowest that may come out, comparisons likewise; None: as they come
    """

    def __init__(self, bars: Bars, off: bool = False, above: bool | None = None) -> None:
        self.off, self.above = off, above
        self.random = np.random.default_rng(0)
        self.known: dict[Tree, Any] = {}
        shape, there = bars["close"].shape, np.isfinite(bars["close"])
        self.members = there
        fields = {name.upper(): bars[name] for name in ("open", "high", "low", "close", "volume")}
        fields |= {"AMOUNT": bars["quote_volume"], "VWAP": bars["quote_volume"] / bars["volume"]}
        fields["RET"] = bars["close"] / b.shifted(bars["close"], 1) - 1
        for name in ("open", "close"):
            column = np.broadcast_to(bars[name][:, :1], shape)  # the first symbol is the benchmark
            fields[f"BANCHMARKINDEX{name.upper()}"] = np.where(there, column, np.nan)
        self.fields = fields

    def of(self, tree: Tree) -> Any:
        if tree not in self.known:
            self.known[tree] = self.compute(*tree)
        return self.known[tree]

    def compute(self, word: str, *rest: Any) -> Any:
        if word == "number":
            return int(rest[0]) if rest[0].is_integer() else rest[0]
        if word == "name":
            return self.fields[rest[0]]
        values = [self.of(part) for part in rest]
        if word == "RANK":
            x = np.where(self.members & np.isfinite(values[0]), values[0], np.nan)
            return rank(x) if self.above is None or not is_inexact(rest[0]) else rough_rank(x, self.above)
        if word == "TSRANK" and self.above is not None and is_inexact(rest[0]):
            return over(values[0], values[1], lambda w: last_rank(w, _TIE if self.above else -_TIE))
        if word in _LEVELS[2] and self.above is not None and any(is_inexact(part) for part in rest):
            values[0] = values[0] + (_TIE if self.above else -_TIE) * np.abs(values[0])
        if word in ("+", "-", "*", "/", "^") and all(isinstance(v, int | float) for v in values):
            values = [float(v) for v in values]
        with np.errstate(all="ignore"):
            if word in EXACT:
                return EXACT[word](*values)
            made = np.asarray(INEXACT[word](*values), float)
        if word == "CORR" and values[2] == 2:
            return np.round(made)  # 1 or -1
        return self.moved(made) if self.off and is_inexact((word, *rest)) else made

    def moved(self, x: Array) -> Array:
        """What is 0 on paper is off as well, in the measure of the column."""
        size = np.abs(x) + np.nan_to_num(np.abs(np.where(np.isfinite(x), x, 0.0)).mean(axis=0))
        made: Array = x + _OFF * size * self.random.uniform(-1, 1, x.shape)
        return made


# ---- bars ------------------------------------------------------------------------------------------------


def panel(n_bars: int = 300) -> Bars:
    """20 symbols with prices near each other, so that their ranks move; hardly two values are alike.

    The first is the benchmark; one rises, one is listed late, one has gaps, some bars close where an earlier
    one did.
    """
    random = np.random.default_rng(191)
    shape = (n_bars, 20)
    away = np.zeros(shape)
    for t in range(1, n_bars):
        away[t] = 0.9 * away[t - 1] + 0.01 * random.standard_t(4, 20)
    away[:, 3] += np.linspace(-0.2, 0.2, n_bars)
    for t, k in np.argwhere(random.random(shape) < 0.02):
        away[t, k] = away[max(0, t - (1 if k % 2 else 5)), k]
    close = 100.0 * np.exp(away)
    open_ = 100.0 * np.exp(np.nan_to_num(b.shifted(away, 1)) + 0.004 * random.normal(size=shape))
    high = np.maximum(open_, close) * np.exp(0.004 * random.exponential(size=shape))
    low = np.minimum(open_, close) * np.exp(-0.004 * random.exponential(size=shape))
    volume = 1e4 * random.lognormal(0.0, 1.2, shape)
    mean = low + (high - low) * random.beta(3, 3, shape)
    made = {"open": open_, "high": high, "low": low, "close": close, "volume": volume}
    made["quote_volume"] = volume * mean
    gaps = random.random(n_bars) < 0.01
    for k, absent in ((5, np.arange(n_bars) < 20), (9, gaps)):
        for x in made.values():
            x[absent, k] = np.nan
    made["is_btc"] = np.where(np.isnan(close), np.nan, np.arange(20) == 0)
    return made


# ---- tests -----------------------------------------------------------------------------------------------


def apart(x: Array, y: Array) -> Any:
    """Where two values are not one within the tolerance."""
    size = np.abs(np.where(np.isfinite(y), y, 0.0)).mean()
    with np.errstate(invalid="ignore"):
        near = (np.abs(x - y) <= _RTOL * np.abs(y) + _ATOL * size) | (x == y)
    return ~(near | (np.isnan(x) & np.isnan(y)))


def compare(bars: Bars, without: tuple[str, ...] = ()) -> dict[str, tuple[int, int]]:
    """Fail where a sure value is another than the formula's. Of each factor: how many were sure, and were."""
    found = b.compute(gtja191.nodes(), bars)
    exact, others = Reference(bars), [Reference(bars, True, above) for above in (None, False, True)]
    wrong, counts = [], {}
    for name in gtja191.FACTORS:
        if name in without:
            continue
        tree = formula(name)
        expected = np.broadcast_to(np.asarray(exact.of(tree), float), found[name].shape)
        sure = ~np.any([apart(np.asarray(other.of(tree), float), expected) for other in others], axis=0)
        values = np.isfinite(expected)
        counts[name] = (int((sure & values).sum()), int(values.sum()))
        bad = np.argwhere(sure & apart(found[name], expected))
        if len(bad) > (0.002 * sure.sum() if name in _PLACES_OF_PLACES else 0):
            at = tuple(bad[0])
            wrong.append(f"{name}: first of {len(bad)} at {at}: {found[name][at]}, expected {expected[at]}")
    assert not wrong, "\n".join(wrong)
    return counts


def test_published_formulas() -> None:
    counts = compare(panel())
    few = {name: (sure, n) for name, (sure, n) in counts.items() if sure < max(200, 0.5 * n)}
    assert not few, f"hardly any value is sure: {few}"
    assert sum(sure for sure, _ in counts.values()) > 0.98 * sum(n for _, n in counts.values())


def test_recorded_bars(recorded_data: Path) -> None:
    """1h bars of BTC and 19 other perpetuals. Ticks, prices from 1e-6 to 1e5, ranks that hardly move: of some
    factors there are few values, or they hang on ties."""
    frame = pq.read_table(recorded_data / "klines_1h_usdm_top150.parquet").to_pandas()
    whole = frame.groupby("symbol")["close"].count().sort_values(kind="stable").index
    symbols = ["BTCUSDT", *[name for name in whole if name != "BTCUSDT"][-19:]]
    bars = {}
    for name in ("open", "high", "low", "close", "volume", "quote_volume"):
        wide = frame.pivot(index="open_time", columns="symbol", values=name)[symbols]
        bars[name] = np.ascontiguousarray(wide.iloc[-300:].to_numpy(float))
    bars["is_btc"] = np.where(np.isnan(bars["close"]), np.nan, np.arange(20) == 0)
    counts = compare(bars, without=("gtja157",))  # CLOSE - 1, as printed, ties or unties changes by rounding
    assert sum(sure > 200 for sure, _ in counts.values()) > 180
    assert sum(sure for sure, _ in counts.values()) > 0.95 * sum(n for _, n in counts.values())


def test_same_bits_in_every_way() -> None:
    b.check_bits(gtja191.nodes(), panel())


def test_warm_up_is_as_promised() -> None:
    """Without cross-sections: correlations of ranks wait until ranks move. Of A ? B : C one may be first."""
    whole = gtja191.nodes()
    cross = dict(zip(whole, Plan(whole).is_cross, strict=True))
    nodes = {name: node for name, node in whole.items() if not cross[name]}
    assert len(nodes) > 100
    b.check_warm_up(nodes, b.compute(nodes, panel()), ("gtja4", "gtja160", "gtja174", "gtja180"))


def test_hard_bars() -> None:
    """Ties, bars without trades, gaps, constant prices: NaN or inf where undefined, the others unharmed."""
    bars = b.generated()
    found = b.compute(gtja191.nodes(), bars)
    some = [name for name, x in found.items() if np.isfinite(x[:, 0]).any()]
    assert len(some) > 170  # ranks of such prices never change: no correlations of them
    b.check_bits(gtja191.nodes(), bars)


def test_all_but_those_left_out() -> None:
    names = [f"gtja{i}" for i in range(1, 192)]
    assert [*gtja191.nodes()] == [name for name in names if name not in gtja191.LEFT_OUT]
    assert set(gtja191.LEFT_OUT) <= set(names) and all(gtja191.LEFT_OUT.values())
    assert lookup("gtja191:gtja191") is gtja191.gtja191()


@pytest.mark.parametrize("text", ["RANK(CLOSE", "(CLOSE ! OPEN)", "CLOSE CLOSE", "MEAN(CLOSE; 3)"])
def test_the_parser_reads_all_or_nothing(text: str) -> None:
    with pytest.raises((AssertionError, IndexError)):
        Parser(text, {})


def test_signs_and_powers_bind_as_in_the_report() -> None:
    reference = Reference(panel(3))
    assert reference.of(Parser("-2 * (3 - 1)^1.5 - 1 < 2 & 1 = 1", {}).tree) == 1.0
    assert math.isclose(reference.of(Parser("-2^2 + 3 * 4 / 6", {}).tree), -2.0)
