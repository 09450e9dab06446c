"""Contenders for bench/factors.py that keep one indicator of one symbol in one Python object.

Ten indicators, 14 numbers, TA-Lib's definitions and seeds: SMA 20, EMA 20, RSI 14, STDDEV 20, MACD 12/26/9,
BBANDS 20, ATR 14, MAX 20, MIN 20, ROC 100. A contender is warmed up with bars one by one (TA-Lib: opened on
history), then gets closed bars as plain numbers. `values` reads its newest numbers; it is not timed.
pandas is what BmacKit's users do: the last 1500 bars as a frame, everything computed anew.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from factor_bars import COLUMNS, F64

__all__ = ["ENGINES", "NAMES", "absent"]

NAMES: Final = (
    "sma", "ema", "rsi", "std", "macd", "macd_signal", "macd_hist",
    "bb_upper", "bb_middle", "bb_lower", "atr", "max", "min", "roc",
)  # fmt: skip
"""The 14 numbers, in order."""

_HIGH, _LOW, _CLOSE = (COLUMNS.index(name) for name in ("high", "low", "close"))
_KEPT: Final = 1500


class TaLib:
    """talib.stream: one handle for each indicator."""

    module = "talib.stream"

    def __init__(self, history: F64) -> None:
        from talib import stream

        high, low, close = (np.ascontiguousarray(history[:, k]) for k in (_HIGH, _LOW, _CLOSE))
        self.on_close: list[Any] = [
            stream.SMA(close, 20),
            stream.EMA(close, 20),
            stream.RSI(close, 14),
            stream.STDDEV(close, 20, 1.0),
            stream.MACD(close, 12, 26, 9),
            stream.BBANDS(close, 20, 2.0, 2.0),
            stream.MAX(close, 20),
            stream.MIN(close, 20),
            stream.ROC(close, 100),
        ]
        self.on_bar: Any = stream.ATR(high, low, close, 14)
        self.update = self._calls("update")
        self.peek = self._calls("peek")

    def _calls(self, name: str) -> Callable[[float, float, float], None]:
        a, b, c, d, e, f, g, h, i = (getattr(handle, name) for handle in self.on_close)
        atr = getattr(self.on_bar, name)

        def calls(high: float, low: float, close: float) -> None:
            a(close)
            b(close)
            c(close)
            d(close)
            e(close)
            f(close)
            g(close)
            h(close)
            i(close)
            atr(high, low, close)

        return calls

    def values(self) -> list[float]:
        sma, ema, rsi, std, macd, bands, top, bottom, roc = (handle.value for handle in self.on_close)
        return [sma, ema, rsi, std, *macd, *bands, self.on_bar.value, top, bottom, roc]


class TaNumba:
    """ta-numba's streaming classes, over its Rust back end."""

    module = "ta_numba.streaming"

    def __init__(self, history: F64) -> None:
        import ta_numba.streaming as ta

        made = [ta.SMA(20), ta.EMA(20), ta.RSI(14), ta.StandardDeviation(20), ta.MACD(12, 26, 9)]
        made += [ta.BBands(20, 2.0), ta.ATR(14), ta.DonchianChannel(20), ta.ROC(101)]  # counts both ends
        sma, ema, rsi, std, macd, bands, atr, channel, roc = (x.update for x in made)
        self.found: list[dict[str, float]] = []

        def update(high: float, low: float, close: float) -> None:
            self.found = [
                sma(close),
                ema(close),
                rsi(close),
                std(close),
                macd(close),
                bands(close),
                atr(high, low, close),
                channel(close, close),
                roc(close),
            ]

        self.update = update
        _feed(update, history)

    def values(self) -> list[float]:
        sma, ema, rsi, std, macd, bands, atr, channel, roc = self.found
        return [
            sma["sma"], ema["ema"], rsi["rsi"], std["std"], macd["macd"], macd["signal"], macd["histogram"],
            bands["upper"], bands["middle"], bands["lower"], atr["atr"],
            channel["upper"], channel["lower"], roc["roc"],
        ]  # fmt: skip


class Talipp:
    """talipp: Python lists, which keep all history."""

    module = "talipp"

    def __init__(self, history: F64) -> None:
        from talipp.indicators import ATR, BB, EMA, MACD, ROC, RSI, SMA, DonchianChannels, StdDev
        from talipp.ohlcv import OHLCV

        self.made: list[Any] = [SMA(20), EMA(20), RSI(14), StdDev(20), MACD(12, 26, 9), BB(20, 2)]
        self.made += [ATR(14), DonchianChannels(20), ROC(100)]
        sma, ema, rsi, std, macd, bands, atr, channel, roc = (x.add for x in self.made)

        def update(high: float, low: float, close: float) -> None:
            sma(close)
            ema(close)
            rsi(close)
            std(close)
            macd(close)
            bands(close)
            atr(OHLCV(close, high, low, close))
            channel(OHLCV(close, close, close, close))
            roc(close)

        self.update = update
        _feed(update, history)

    def values(self) -> list[float]:
        sma, ema, rsi, std, macd, bands, atr, channel, roc = (x[-1] for x in self.made)
        return [
            sma, ema, rsi, std, macd.macd, macd.signal, macd.histogram,
            bands.ub, bands.cb, bands.lb, atr, channel.ub, channel.lb, roc,
        ]  # fmt: skip


class Nautilus:
    """nautilus_trader's indicators; it has no standard deviation and no MACD signal."""

    module = "nautilus_trader.indicators"

    def __init__(self, history: F64) -> None:
        import nautilus_trader.indicators as nt

        wilder = nt.MovingAverageType.WILDER
        self.made: list[Any] = [
            nt.SimpleMovingAverage(20),
            nt.ExponentialMovingAverage(20),
            nt.RelativeStrengthIndex(14, wilder),
            nt.MovingAverageConvergenceDivergence(12, 26),
            nt.BollingerBands(20, 2.0),
            nt.AverageTrueRange(14, wilder),
            nt.DonchianChannel(20),
            nt.RateOfChange(101),  # counts both ends
        ]
        sma, ema, rsi, macd, bands, atr, channel, roc = (x.update_raw for x in self.made)

        def update(high: float, low: float, close: float) -> None:
            sma(close)
            ema(close)
            rsi(close)
            macd(close)
            bands(close, close, close)
            atr(high, low, close)
            channel(close, close)
            roc(close)

        self.update = update
        _feed(update, history)

    def values(self) -> list[float]:
        sma, ema, rsi, macd, bands, atr, channel, roc = self.made
        return [
            sma.value, ema.value, 100.0 * rsi.value, np.nan, macd.value, np.nan, np.nan,
            bands.upper, bands.middle, bands.lower, atr.value, channel.upper, channel.lower,
            100.0 * roc.value,
        ]  # fmt: skip


class Pandas:
    """All of it anew from a frame of the last 1500 bars, at every bar."""

    module = "pandas"

    def __init__(self, history: F64) -> None:
        import pandas as pd

        self.columns = [COLUMNS[k] for k in (_HIGH, _LOW, _CLOSE)]
        self.frame = pd.DataFrame(history[-_KEPT:, [_HIGH, _LOW, _CLOSE]], columns=self.columns)
        self.found: dict[str, Any] = {}

    def update(self, high: float, low: float, close: float) -> None:
        import pandas as pd

        new = pd.DataFrame([[high, low, close]], columns=self.columns)
        self.frame = pd.concat([self.frame, new], ignore_index=True).iloc[-_KEPT:]
        price = self.frame["close"]
        before = price.shift(1)
        change = price - before
        up = change.clip(lower=0).ewm(alpha=1 / 14, adjust=False).mean()
        down = (-change).clip(lower=0).ewm(alpha=1 / 14, adjust=False).mean()
        macd = price.ewm(span=12, adjust=False).mean() - price.ewm(span=26, adjust=False).mean()
        signal = macd.ewm(span=9, adjust=False).mean()
        mean = price.rolling(20).mean()
        std = price.rolling(20).std(ddof=0)
        high_, low_ = self.frame["high"], self.frame["low"]
        spans = [high_ - low_, (high_ - before).abs(), (low_ - before).abs()]
        found = {
            "sma": mean,
            "ema": price.ewm(span=20, adjust=False).mean(),
            "rsi": 100 * up / (up + down),
            "std": std,
            "macd": macd,
            "macd_signal": signal,
            "macd_hist": macd - signal,
            "bb_upper": mean + 2 * std,
            "bb_middle": mean,
            "bb_lower": mean - 2 * std,
            "atr": pd.concat(spans, axis=1).max(axis=1).ewm(alpha=1 / 14, adjust=False).mean(),
            "max": price.rolling(20).max(),
            "min": price.rolling(20).min(),
            "roc": 100 * price.pct_change(100),
        }
        self.found = {name: series.iloc[-1] for name, series in found.items()}

    def values(self) -> list[float]:
        return [self.found[name] for name in NAMES]


def _feed(update: Callable[[float, float, float], None], history: F64) -> None:
    for high, low, close in history[:, [_HIGH, _LOW, _CLOSE]].tolist():
        update(high, low, close)


ENGINES: Final[dict[str, Any]] = {
    "talib_stream": TaLib,
    "ta_numba": TaNumba,
    "talipp": Talipp,
    "nautilus_trader": Nautilus,
    "pandas": Pandas,
}
"""Name -> class; made with float64 [n_bars, len(COLUMNS)] of one symbol, then `update(high, low, close)`."""


def absent(engine: Any) -> str:
    """Why it cannot run here; empty if it can."""
    try:
        module = importlib.import_module(engine.module)
    except ImportError as error:
        return f"{engine.module.split('.')[0]} is not installed ({error})"
    if engine is TaLib and not hasattr(module.RSI, "peek"):
        return "this TA-Lib has no stream handles: 0.8.1 or newer is needed"
    return ""
