"""factor_defs/ta.py against TA-Lib itself, on complete bars."""

import importlib
import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from factor_defs import ta
from factor_defs.published import named
from kernels.node import Node
from tests.factor_defs import bars as b
from tests.factor_defs.bars import Bars
from tests.kernels.harness import Array

talib: Any = importlib.import_module("talib")
abstract: Any = importlib.import_module("talib.abstract")

FIELDS: Final = ("open", "high", "low", "close", "volume")
Parameters = dict[str, int | float]


def _each(names: Iterable[str], **parameters: int | float) -> list[tuple[str, Parameters]]:
    return [(name, parameters) for name in names]


_PERIODIC: Final = [
    name for name, make in ta.FACTORS.items() if "timeperiod" in inspect.signature(make).parameters
]
OTHERS: Final[list[tuple[str, Parameters]]] = [
    *_each(_PERIODIC, timeperiod=2),
    *_each(_PERIODIC, timeperiod=33),
    *_each(("SMA", "RMA", "ATR", "PLUS_DM", "MINUS_DI", "MOM", "ROC", "VAR"), timeperiod=1),
    *(case for k in (1, 2, 3, 4, 5, 6, 8) for case in _each(("MA",), timeperiod=9, matype=k)),
    ("ADOSC", {"fastperiod": 12, "slowperiod": 5}),
    ("APO", {"fastperiod": 30, "slowperiod": 4, "matype": 0}),
    ("BBANDS", {"timeperiod": 9, "nbdevup": 1.0, "nbdevdn": 3.0}),
    ("MACD", {"fastperiod": 20, "slowperiod": 6, "signalperiod": 4}),
    ("MACDFIX", {"signalperiod": 5}),
    ("PPO", {"fastperiod": 3, "slowperiod": 17, "matype": 2}),
    ("SAR", {"acceleration": 0.05, "maximum": 0.1}),
    ("STDDEV", {"timeperiod": 11, "nbdev": 2.5}),
    ("STOCH", {"fastk_period": 14, "slowk_period": 5, "slowd_period": 2}),
    ("STOCHF", {"fastk_period": 21, "fastd_period": 4}),
    ("STOCHRSI", {"timeperiod": 7, "fastk_period": 9, "fastd_period": 2}),
    ("SUPERTREND", {"timeperiod": 7, "multiplier": 1.5}),
    ("T3", {"timeperiod": 4, "vfactor": 0.3}),
    ("ULTOSC", {"timeperiod1": 20, "timeperiod2": 5, "timeperiod3": 9}),
]
"""Parameters besides TA-Lib's defaults."""


_ROUGH: Final = {"BETA": 1e-6, "CORREL": 1e-6}
"""Where TA-Lib subtracts sums that are almost equal: `test_two_series` has the other digits."""

_OF_PRICE: Final = {"LINEARREG_SLOPE": 1e-12, "LINEARREG_ANGLE": 1e-11}
"""Where TA-Lib's rounding is one of prices, not of results."""


def agree(found: Mapping[str, Array], bars: Bars, column: str, name: str, parameters: Parameters) -> None:
    """Fail where a function differs from TA-Lib on a symbol that is complete from its first bar on."""
    compared = 0
    for k in range(bars["close"].shape[1]):
        first = int(np.argmax(np.isfinite(bars["close"][:, k])))
        inputs = {field: bars[field][first:, k].copy() for field in FIELDS}
        if not np.isfinite(inputs["close"]).all() or len(inputs["close"]) < 100:
            continue
        unsure = np.zeros(len(inputs["close"]), bool)
        if name == "STOCHRSI":
            unsure = still(inputs["close"], parameters)
        for output, expected in reference(name, inputs, parameters).items():
            own = found[f"{column}.{output}" if output else column]
            got = own[first:, k].copy()
            assert np.isnan(own[:first, k]).all(), f"{column} before the first bar"
            if "INDEX" in name:
                got, expected = at_index(got, inputs["close"]), at_index(expected, inputs["close"])
            got[unsure], expected[unsure] = 0.0, 0.0
            size = np.nanmax(np.abs(expected), initial=0.0)
            rtol = _ROUGH.get(name, 1e-9)
            atol = 1e-3 * rtol * size + _OF_PRICE.get(name, 0.0) * inputs["close"].max()
            b.agree(got[:, None], expected[:, None], f"{column} {output}, symbol {k}", rtol, atol)
            compared += 1
    assert compared, f"{column} was compared with nothing"


def reference(name: str, inputs: Mapping[str, Array], parameters: Parameters) -> dict[str, Array]:
    """TA-Lib's outputs by name, "" for an only one; NaN where it has not begun."""
    function = abstract.Function(name)
    function.parameters = parameters  # the lookback is theirs
    found = function(inputs)
    outputs = [*found] if isinstance(found, list | tuple) else [found]
    names = function.info["output_names"] if len(outputs) > 1 else [""]
    made = {}
    for output, values in zip(names, outputs, strict=True):
        made[output] = np.asarray(values, float)
        made[output][: function.lookback] = np.nan  # outputs of whole numbers are 0 there
    return made


def at_index(index: Array, values: Array) -> Array:
    """Of equals TA-Lib takes one or the other: the value that is pointed at is compared."""
    known = np.isfinite(index)
    out = np.full(len(index), np.nan)
    out[known] = values[index[known].astype(int)]
    return out


def still(close: Array, parameters: Parameters) -> Any:
    """Bars where the RSI of the window has no range but rounding: of that both make noise."""
    p = {"timeperiod": 14, "fastk_period": 5, "fastd_period": 3, **parameters}
    rsi = talib.RSI(close, int(p["timeperiod"]))
    n = int(p["fastk_period"])
    flat = talib.MAX(rsi, n) - talib.MIN(rsi, n) < 1e-6
    return np.convolve(flat, np.ones(int(p["fastd_period"])))[: len(close)] > 0


@pytest.mark.parametrize("name", ta.FACTORS)
def test_defaults_are_those_of_talib(name: str) -> None:
    theirs = dict(abstract.Function(name).parameters)
    ours = {
        key: parameter.default
        for key, parameter in inspect.signature(ta.FACTORS[name]).parameters.items()
        if parameter.kind is not parameter.KEYWORD_ONLY
    }
    assert ours.items() <= theirs.items()
    assert {key for key in theirs if key not in ours} <= {
        "matype", "slowk_matype", "slowd_matype", "fastd_matype", "nbdev"
    }  # fmt: skip
    assert [key for key in theirs if key in ours] == [*ours]


def test_outputs_are_named_as_talib_names_them() -> None:
    for name, make in ta.FACTORS.items():
        outputs = abstract.Function(name).info["output_names"]
        made = make()
        assert ([*made] if isinstance(made, dict) else outputs[:1]) == outputs


@pytest.fixture(scope="module")
def generated() -> tuple[Bars, dict[str, Array]]:
    bars = b.generated()
    return bars, b.compute(ta.nodes(), bars)


@pytest.mark.slow
def test_generated(generated: tuple[Bars, dict[str, Array]]) -> None:
    for name in ta.FACTORS:
        agree(generated[1], generated[0], name, name, {})


def test_other_parameters() -> None:
    bars = b.generated()
    columns = {f"{name} {parameters}": (name, parameters) for name, parameters in OTHERS}
    nodes: dict[str, Node] = {}
    for column, (name, parameters) in columns.items():
        nodes |= named(column, ta.FACTORS[name](**parameters))
    found = b.compute(nodes, bars)
    for column, (name, parameters) in columns.items():
        agree(found, bars, column, name, parameters)


def test_recorded(recorded_data: Path) -> None:
    bars = b.recorded(recorded_data)
    found = b.compute(ta.nodes(), bars)
    for name in ta.FACTORS:
        agree(found, bars, name, name, {})


def test_two_series(recorded_data: Path) -> None:
    """BETA and CORREL against two passes in extended precision."""
    for bars in (b.generated(), b.recorded(recorded_data)):
        found = b.compute({"BETA": ta.beta(), "CORREL": ta.correl()}, bars)
        high, low = bars["high"], bars["low"]
        x, y = ((s - b.shifted(s, 1)) / b.shifted(s, 1) for s in (high, low))
        slope = b.over_pairs(y, x, 5, lambda v, w: np.nan_to_num(b.slope(v, w).astype(float)))
        b.agree(found["BETA"], slope, "BETA", rtol=1e-9, atol=1e-11)
        corr = b.over_pairs(high, low, 30, lambda v, w: np.nan_to_num(b.corr(v, w).astype(float)))
        b.agree(found["CORREL"], corr, "CORREL", rtol=1e-9, atol=1e-11)


def test_index_of_an_extreme_without_ties(generated: tuple[Bars, dict[str, Array]]) -> None:
    bars, found = generated
    expected = reference("MINMAXINDEX", {field: bars[field][:, 0] for field in FIELDS}, {})
    for output, index in expected.items():
        b.agree(found[f"MINMAXINDEX.{output}"][:, :1], index[:, None], output, rtol=0.0, atol=0.0)


def test_newest_of_equal_extremes() -> None:
    bars = {"close": np.full((40, 1), 7.0)}
    found = b.compute(ta.minmaxindex(5), bars)
    for index in found.values():
        expected = np.where(np.arange(40) < 4, np.nan, np.arange(40))[:, None]
        b.agree(index, expected, "the newest", rtol=0.0, atol=0.0)


def test_bits() -> None:
    b.check_bits(ta.nodes(), b.generated())


def test_warm_up(generated: tuple[Bars, dict[str, Array]]) -> None:
    b.check_warm_up(ta.nodes(), generated[1])


def test_filters_hold_and_windows_are_missing_over_a_gap(
    generated: tuple[Bars, dict[str, Array]],
) -> None:
    bars, found = generated
    gap = np.isnan(bars["close"][:, 4])
    late = np.arange(len(gap)) > 60
    assert gap[late].any()
    assert np.isfinite(found["EMA"][late, 4]).all()
    assert np.isnan(found["SMA"][gap, 4]).all()
    assert np.isfinite(found["SMA"][~gap & (np.arange(len(gap)) > 370), 4]).any()


def test_unknown_kind_of_mean() -> None:
    with pytest.raises(ValueError, match=r"matype is one of .*, found 7"):
        ta.ma(10, 7)
