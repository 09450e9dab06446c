"""From parquet to a picture: factors over a history of bars, as a strategy would have had them live.

    python examples/research.py snapshot/usdt_perp_1m.17.parquet --symbol=BTCUSDT --out=factors.svg
    python examples/research.py                                  without data: a generated market

The source may be a snapshot of the recorder, or any parquet file or folder with the columns that
bmac_stream.history names. The picture is an SVG that any browser shows; it needs no library.
"""

from pathlib import Path

import fire
import numpy as np
import pyarrow as pa

from bmac_stream import history
from bmac_stream.explain import entries

FACTORS = ("Bias,20", "crypto:TakerRatio,20", "crypto:RankReturn,60", "qlib158:CORR,30")
WIDTH, HEIGHT, LEFT, GAP = 1200, 150, 90, 24


def generated(n_bars=1500, n_symbols=40, seed=7):
    """A table of bars of a made-up market: one row for each bar of each symbol."""
    random = np.random.default_rng(seed)
    shape = (n_bars, n_symbols)
    market = random.standard_t(4, (n_bars, 1))
    close = 100 * np.exp(np.cumsum(1e-3 * (0.5 * market + random.standard_t(4, shape)), axis=0))
    before = np.vstack([close[:1], close[:-1]])
    noise = 1 + 5e-4 * np.abs(random.normal(size=(2, *shape)))
    volume = np.exp(random.normal(5, 1, shape))
    share = random.beta(20, 20, shape)
    columns = {
        "open": before,
        "high": np.maximum(before, close) * noise[0],
        "low": np.minimum(before, close) / noise[1],
        "close": close,
        "volume": volume,
        "quote_volume": volume * close,
        "trade_num": np.ceil(volume),
        "taker_buy_base_asset_volume": volume * share,
        "taker_buy_quote_asset_volume": volume * close * share,
    }
    times = 1_760_000_040_000 + 60_000 * np.repeat(np.arange(n_bars), n_symbols)
    symbols = np.tile([f"MADE{k:02}USDT" for k in range(n_symbols)], n_bars)
    return pa.table({"symbol": symbols, "open_time": times, **{k: v.ravel() for k, v in columns.items()}})


def path(x, y):
    """An SVG path through the points that have a value; pixels."""
    parts, pen = [], "M"
    for a, b in zip(x, y, strict=True):
        parts += [f"{pen}{a:.1f},{b:.1f}"] if np.isfinite(b) else []
        pen = "L" if np.isfinite(b) else "M"
    return "".join(parts)


def panel(values, k, title):
    """One factor: the market's middle half and median, and one symbol on top of it.

    values  [n_bars, n_symbols] of the factor; k: the symbol's column
    """
    seen = np.isfinite(values).any(axis=1)
    bands = np.full((3, len(values)), np.nan)
    bands[:, seen] = np.nanpercentile(values[seen], [25, 50, 75], axis=1)
    lines = np.vstack([bands, values[:, k]])
    low, high = np.nanmin(lines, initial=np.inf), np.nanmax(lines, initial=-np.inf)
    x = LEFT + np.arange(len(values)) * (WIDTH - LEFT) / max(1, len(values) - 1)
    y = HEIGHT - (lines - low) / (high - low or 1.0) * HEIGHT
    around = path(np.r_[x[seen], x[seen][::-1]], np.r_[y[0][seen], y[2][seen][::-1]])
    return (
        f'<path d="{around}" fill="#d5dfea"/><path d="{path(x, y[1])}" stroke="#7b93ad" fill="none"/>'
        f'<path d="{path(x, y[3])}" stroke="#c0392b" fill="none"/>'
        f'<text x="{LEFT}" y="-6" font-weight="bold">{title}</text>'
        f'<text x="0" y="10">{high:.4g}</text><text x="0" y="{HEIGHT}">{low:.4g}</text>'
    )


def main(source=None, *factors, symbol=None, bars=1500, out="factors.svg"):
    """Compute factors over a history and draw one symbol within its market.

    source   a parquet file, or a folder of such; default: a generated market
    factors  as `python -m bmac_stream explain` takes them: PctChg,100 qlib158:MA5
    symbol   default: the first one; bars: how many of the newest are drawn
    """
    asked = entries(factors or FACTORS)
    made = history.batch(asked, generated() if source is None else str(source))
    k = made.symbols.index(symbol) if symbol else 0
    drawn = made.values[-bars:]
    panels = [
        f'<g transform="translate(0,{GAP + i * (HEIGHT + GAP)})">{panel(drawn[:, i], k, name)}</g>'
        for i, name in enumerate(made.names)
    ]
    size = f'width="{WIDTH}" height="{GAP + len(panels) * (HEIGHT + GAP)}"'
    with Path(out).open("w") as file:
        file.write(f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">')
        file.write('<rect width="100%" height="100%" fill="white"/>' + "".join(panels) + "</svg>\n")
    print(f"{made.values.shape[0]} bars of {len(made.symbols)} symbols; {made.symbols[k]} in red: {out}")
    for i, name in enumerate(made.names):
        there = made.values[:, i][np.isfinite(made.values[:, i])]
        low, middle, high = np.percentile(there, [5, 50, 95]) if len(there) else (np.nan,) * 3
        part = len(there) / made.values[:, i].size
        print(f"{name:24} {part:6.1%} there, 5 % below {low:.4g}, half {middle:.4g}, 95 % {high:.4g}")


if __name__ == "__main__":
    fire.Fire(main)
