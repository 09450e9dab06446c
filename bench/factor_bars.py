"""Bars for bench/factors.py: a market of random walks with heavy tails, the same for all contenders.

No bar is missing and no two prices are equal, since the contenders mean different things by ties and NaN;
what we mean by them is held in tests/kernels and tests/factor_defs.
"""

import numpy as np
from numpy.typing import NDArray

from bmac_stream.bar import COLUMNS

__all__ = ["COLUMNS", "F64", "make_bars"]

F64 = NDArray[np.float64]


def make_bars(n_bars: int, n_symbols: int, seed: int = 7) -> F64:
    """float64 [n_bars, len(COLUMNS), n_symbols] in C order: one bar is one piece of memory."""
    random = np.random.default_rng(seed)
    shape = (n_bars, n_symbols)
    begin = np.exp(random.uniform(np.log(1e-3), np.log(1e4), n_symbols))
    close = begin * np.exp(np.cumsum(0.002 * random.standard_t(4, shape), axis=0))
    open_ = np.vstack([begin, close[:-1]]) * np.exp(0.0005 * random.normal(size=shape))
    high = np.maximum(open_, close) * np.exp(0.001 * random.exponential(size=shape))
    low = np.minimum(open_, close) * np.exp(-0.001 * random.exponential(size=shape))
    volume = np.exp(random.normal(8.0, 1.0, n_symbols) + 0.6 * random.normal(size=shape))
    vwap = low + (high - low) * random.uniform(0.2, 0.8, shape)
    taker = random.uniform(0.2, 0.8, shape)
    values = {
        "open": open_,
        "high": high,
        "low": low,
        "close": close,
        "volume": volume,
        "quote_volume": volume * vwap,
        "trade_num": np.ceil(volume / 10.0),
        "taker_buy_base_asset_volume": taker * volume,
        "taker_buy_quote_asset_volume": taker * volume * vwap,
    }
    return np.ascontiguousarray(np.stack([values[name] for name in COLUMNS], axis=1))
