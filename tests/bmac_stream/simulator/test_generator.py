"""The generated market: the same everywhere, consistent to the last unit, and like a market."""

import subprocess
import sys

import numpy as np
import pytest

from bmac_stream.simulator.generator import GeneratedMarket, GeneratorConfig, _exp, _log
from bmac_stream.simulator.market import Instrument, Rows
from bmac_stream.simulator.numbers import snap_array

DAY_MS = 86_400_000
CONFIG = GeneratorConfig(seed=11, n_symbols=60, n_spot=20, n_coinm=6)
PROBE = """
import hashlib, sys
from bmac_stream.simulator.generator import GeneratedMarket, GeneratorConfig
market = GeneratedMarket(GeneratorConfig(seed=11, n_symbols=int(sys.argv[1]), n_spot=20, n_coinm=6))
digest = hashlib.sha256()
for name, symbol in (("usdm", "XRPUSDT"), ("spot", "BTCUSDT"), ("coinm", "ETHUSD_PERP")):
    found = market.find(name, symbol)
    rows = market.klines(found, "1m", market.start_ms - 3 * 86_400_000, 1700, market.start_ms)
    digest.update(rows.open_time.tobytes() + rows.values.tobytes() + rows.first_trade_id.tobytes())
print(digest.hexdigest())
"""


@pytest.fixture(scope="module")
def market() -> GeneratedMarket:
    return GeneratedMarket(CONFIG)


def trading(market: GeneratedMarket, name: str = "usdm") -> list[Instrument]:
    return [i for i in market.instruments(name) if i.trades_at(market.start_ms)]


def minutes(market: GeneratedMarket, instrument: Instrument, days: float) -> Rows:
    n = int(days * 1440)
    return market.klines(instrument, "1m", 0, n, market.start_ms - 1, latest=True)


def test_bars_are_the_same_in_every_process_and_on_every_machine() -> None:
    """The number was made on x86-64; only IEEE operations are used, so it holds elsewhere.

    It changes when the generator does: then write the new one down, and say so in the changelog, since
    stores and recordings under the same source would not match any more."""
    expected = "4b26e4c8e57627e5d00a7b9461da688e9fcfef472290292f53d94e539ad3b5fa"
    for n in ("60", "9"):  # how many others are listed does not matter
        done = subprocess.run(
            [sys.executable, "-c", PROBE, n], capture_output=True, text=True, timeout=120, check=True
        )
        assert done.stdout.strip() == expected


def test_bars_do_not_depend_on_what_was_asked_before(market: GeneratedMarket) -> None:
    instrument = trading(market)[7]
    a = market.klines(instrument, "1m", market.start_ms - 2 * DAY_MS, 2000, market.start_ms)
    fresh = GeneratedMarket(CONFIG)
    fresh.klines(instrument, "1d", 0, 100, market.start_ms)
    fresh.klines(instrument, "1m", market.start_ms + 700 * DAY_MS, 10, market.start_ms + 800 * DAY_MS)
    b = fresh.klines(instrument, "1m", market.start_ms - 2 * DAY_MS, 2000, market.start_ms)
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_seeds_are_different_markets(market: GeneratedMarket) -> None:
    other = GeneratedMarket(GeneratorConfig(seed=12, n_symbols=5, n_spot=0, n_coinm=0))
    assert other.source != market.source
    mine, theirs = (minutes(m, m.instruments("usdm")[0], 0.1) for m in (market, other))
    assert not np.array_equal(mine.values[-50:], theirs.values[-50:])


@pytest.mark.parametrize("name", ["usdm", "spot", "coinm"])
def test_every_bar_is_consistent_to_the_last_unit(market: GeneratedMarket, name: str) -> None:
    for i in trading(market, name):
        rows = minutes(market, i, 1.5)
        o, h, low, c, v, q, n, tv, tq = rows.values.T
        assert np.isfinite(rows.values).all() and (rows.values >= 0).all() and (low > 0).all()
        assert (low <= np.minimum(o, c)).all() and (np.maximum(o, c) <= h).all()
        assert (tv <= v).all() and (tq <= q).all()
        # on the grids of tick and step, and exactly what is printed
        tick, step = float(i.tick_size), float(i.step_size)
        for price in (o, h, low, c):
            assert np.array_equal(snap_array(np.rint(price / tick) * tick, i.price_precision), price)
        for volume in (v, tv):
            assert np.array_equal(snap_array(np.rint(volume / step) * step, i.quantity_precision), volume)
        for quote in (q, tq):
            assert np.array_equal(snap_array(quote, i.quote_precision), quote)
        # what was paid lies between low and high, for takers that buy and for the others
        unit = 10.0**-i.quote_precision
        for volume, quote in ((tv, tq), (v - tv, q - tq)):
            if name == "coinm":
                assert (quote >= volume * i.contract_size / h - unit).all()
                assert (quote <= volume * i.contract_size / low + unit).all()
            else:
                assert (quote >= volume * low - unit - q * 1e-12).all()
                assert (quote <= volume * h + unit + q * 1e-12).all()
        # trades: each moves a step at least; ids go on without a gap; few trades cannot make four prices
        assert (v >= n * step * (1 - 1e-9)).all()
        traded = n > 0
        first, last = rows.first_trade_id[traded], rows.last_trade_id[traded]
        assert np.array_equal(last - first + 1, n[traded].astype(np.int64))
        assert np.array_equal(first[1:], last[:-1] + 1)
        assert (h[n == 1] == low[n == 1]).all() and ((tv == 0) | (tv == v))[n == 1].all()
        # a minute without trades repeats the close before, where that minute is there
        quiet = np.flatnonzero(~traded)
        quiet = quiet[quiet > 0]
        quiet = quiet[np.diff(rows.open_time)[quiet - 1] == 60_000]
        assert (rows.values[quiet, :4] == c[quiet - 1][:, None]).all() and (v[quiet] == 0).all()


def test_closes_join_opens(market: GeneratedMarket) -> None:
    i = trading(market)[0]
    rows = minutes(market, i, 2.5)  # across two midnights
    gaps = rows.values[1:, 0] - rows.values[:-1, 3]
    busy = (rows.values[1:, 6] > 1) & (rows.values[:-1, 6] > 1) & (np.diff(rows.open_time) == 60_000)
    assert busy.sum() > 3000 and (gaps[busy] == 0).all()


def test_it_looks_like_a_market(market: GeneratedMarket) -> None:
    symbols = ["BTCUSDT", "ETHUSDT", "XRPUSDT", "DOGEUSDT", "LINKUSDT"]
    found = {s: minutes(market, market.find("usdm", s), 20) for s in symbols}  # type: ignore[arg-type]
    common = found[symbols[0]].open_time
    for rows in found.values():
        common = np.intersect1d(common, rows.open_time)
    assert len(common) > 20_000
    close = np.array([r.values[np.isin(r.open_time, common), 3] for r in found.values()])
    moves = np.diff(np.log(close), axis=1)
    tails = ((moves / moves.std(axis=1, keepdims=True)) ** 4).mean(axis=1)
    assert (tails > 4.5).all()  # 3 would be normal
    together = np.corrcoef(moves)
    assert (together[0, 1:] > 0.2).all() and together[0, 1] > 0.3
    ahead = np.corrcoef(moves[0, :-1], moves[1, 1:])[0, 1]
    behind = np.corrcoef(moves[0, 1:], moves[1, :-1])[0, 1]
    assert ahead > 0.05 > abs(behind)  # BTC leads
    size = np.abs(moves[0][: 20_000 // 60 * 60]).reshape(-1, 60).mean(axis=1)
    assert np.corrcoef(size[:-1], size[1:])[0, 1] > 0.4  # volatility comes in clusters
    volume = found["BTCUSDT"].values
    assert np.corrcoef(np.abs(np.diff(np.log(volume[:, 3]))), volume[1:, 4])[0, 1] > 0.3
    rise = volume[1:, 3] > volume[:-1, 3]
    share = volume[1:, 7] / volume[1:, 4]
    assert share[rise].mean() > share[~rise].mean() + 0.05  # takers move prices
    daily = moves.std(axis=1) * 1440**0.5
    assert (daily > 0.01).all() and (daily < 0.25).all()


def test_quiet_symbols_have_empty_minutes_and_busy_ones_none() -> None:
    market = GeneratedMarket(GeneratorConfig(seed=11, n_spot=0, n_coinm=0))
    empty = []
    for i in trading(market)[::12]:
        n = minutes(market, i, 0.5).values[:, 6]
        empty.append(float((n == 0).mean()))
    assert empty[0] == 0.0 and max(empty) > 0.25
    assert 0.1 < np.mean(np.array(empty) > 0.01) < 0.9


def test_one_asset_has_one_price_everywhere(market: GeneratedMarket) -> None:
    known = [
        market.find("spot", "ETHUSDT"),
        market.find("usdm", "ETHUSDT"),
        market.find("coinm", "ETHUSD_PERP"),
    ]
    closes = []
    for i in known:
        assert i is not None
        closes.append(market.klines(i, "1h", 0, 50, market.start_ms, latest=True).values[:, 3])
    assert np.allclose(closes[0], closes[1], rtol=2e-3) and np.allclose(closes[0], closes[2], rtol=2e-3)
    quarter = next(i for i in trading(market) if i.symbol.startswith("BTCUSDT_"))
    btc = market.find("usdm", "BTCUSDT")
    assert btc is not None
    a, b = (market.klines(i, "1h", 0, 9, market.start_ms, latest=True).values[-1, 3] for i in (quarter, btc))
    assert 0.999 < a / b < 1.05


def test_holes_come_as_often_as_asked() -> None:
    config = GeneratorConfig(seed=2, n_symbols=1, n_spot=0, n_coinm=0, hole_days=4)
    market = GeneratedMarket(config)
    rows = minutes(market, market.instruments("usdm")[0], 60)
    gaps = np.diff(rows.open_time) // 60_000 - 1
    assert 8 <= (gaps > 0).sum() <= 35 and gaps.max() <= 20
    assert market.source == "embedded:generator:seed=2,hole_days=4"
    none = GeneratedMarket(GeneratorConfig(seed=2, n_symbols=1, n_spot=0, n_coinm=0, hole_days=0))
    assert (np.diff(minutes(none, none.instruments("usdm")[0], 60).open_time) == 60_000).all()


def test_exp_and_log_are_right() -> None:
    x = np.linspace(-20, 20, 4001)
    ours = np.array([_exp(v) for v in x])
    assert np.abs(ours / np.exp(x) - 1).max() < 1e-13
    for price in (6.3e-4, 0.5, 1.0, 64_000.0):
        assert abs(_log(price) - np.log(price)) < 1e-12


def test_a_pair_quoted_in_btc_costs_what_its_assets_say() -> None:
    market = GeneratedMarket(GeneratorConfig(n_symbols=20, n_spot=20, n_coinm=1, hole_days=0))

    def closes(name: str, symbol: str) -> np.ndarray:
        found = market.find(name, symbol)
        assert found is not None
        return minutes(market, found, 1.0).values[:, 3]

    for name in ("usdm", "spot"):
        ratio = closes(name, "ETHBTC") / (closes(name, "ETHUSDT") / closes(name, "BTCUSDT"))
        assert np.abs(ratio - 1).max() < 0.01
    stable = closes("spot", "USDCUSDT")
    assert 0.98 < stable.min() <= stable.max() < 1.02
    up, down = np.diff(np.log(closes("spot", "BTCUPUSDT"))), np.diff(np.log(closes("spot", "BTCDOWNUSDT")))
    assert np.corrcoef(up, down)[0, 1] < 0
