"""Every trade_type of BMAC, from the config to bars: what each collects, that it is right, in what units."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bmac_stream import funding, tables
from bmac_stream.binance.markets import MARKETS, STABLECOINS, TRADE_TYPES
from bmac_stream.client import attach
from bmac_stream.collector import Collector
from bmac_stream.config import Symbols, load_config
from bmac_stream.simulator import Simulator
from bmac_stream.simulator.market import Instrument
from shm import Status

from .simulator.rig import new_market

MINUTE = 60_000
RATE = 180.0
N_BARS = 3


def wanted(simulator: Simulator, trade_type: str, now_ms: int) -> set[str]:
    """BMAC's filter, written out by trade_type, on what the exchange lists."""
    quarters = ("CURRENT_QUARTER", "NEXT_QUARTER")

    def fits(one: Instrument) -> bool:
        kind = one.contract_type_at(now_ms)
        return {
            "usdt_spot": one.quote == "USDT" and one.symbol not in STABLECOINS,
            "usdc_spot": one.quote == "USDC",
            "btc_spot": one.quote == "BTC",
            "usdt_perp": one.quote == "USDT" and kind == "PERPETUAL",
            "usdt_swap": one.quote == "USDT" and kind == "PERPETUAL",
            "usdt_deli": one.quote == "USDT" and kind in quarters,
            "usdc_perp": one.quote == "USDC" and kind == "PERPETUAL",
            "btc_perp": one.quote == "BTC" and kind == "PERPETUAL",
            "coin_perp": kind == "PERPETUAL",
            "coin_swap": kind == "PERPETUAL",
            "coin_deli": kind in quarters,
        }[trade_type]

    market = simulator.exchange.market.instruments(TRADE_TYPES[trade_type].market)
    return {one.symbol for one in market if one.status_at(now_ms) == "TRADING" and fits(one)}


@pytest.fixture(scope="module")
def market() -> Iterator[Any]:
    """One of everything."""
    yield new_market(40, 40, 3)


@contextlib.asynccontextmanager
async def collecting(
    market: Any, folder: Path, name: str, trade_type: str, **keys: Any
) -> AsyncIterator[tuple[Simulator, Collector]]:
    """A collector that is live, N_BARS later, and its exchange."""
    of = TRADE_TYPES[trade_type].market
    async with asyncio.timeout(50), Simulator(market, markets=(of,), rate=RATE) as simulator:
        raw = {
            "interval": "1m", "trade_type": trade_type, "num_candles": 20, "candle_close_timeout_sec": 50,
            "num_socket_listeners": 2, "snapshot": {"enabled": False}, "bmac_files": False,
            "exchange": {**simulator.urls(of), "rate": RATE, "source": "embedded:test"},
            "store": {"name": name, "directory": str(folder), "max_symbols": 64},
        } | keys  # fmt: skip
        (folder / "config.json").write_text(json.dumps(raw))
        config, warnings = load_config(folder, strict=True)
        assert warnings == []
        collector = Collector(config)
        task = asyncio.create_task(collector.run())
        try:
            while not (hasattr(collector, "writer") and collector.writer.live):
                assert not task.done(), f"it ended with {task.result()}"
                await asyncio.sleep(0.02)
            target = collector.store.complete_g + N_BARS
            while collector.store.complete_g < target:
                await asyncio.sleep(0.02)
            yield simulator, collector
        finally:
            collector.stopping.set()
            assert await task == 0


@pytest.mark.parametrize("trade_type", TRADE_TYPES)
async def test_it_collects_what_bmac_collects(
    market: Any, tmp_path: Path, store_name: str, trade_type: str
) -> None:
    of = TRADE_TYPES[trade_type].market
    async with collecting(market, tmp_path, store_name, trade_type) as (simulator, collector):
        with attach(store_name, directory=tmp_path) as store:
            names = set(store)
            assert names == set(collector.symbols) == wanted(simulator, trade_type, store.run_time)
            assert names
            assert store.meta["trade_type"] == trade_type, "an alias stays as it is written"
            assert store.units == MARKETS[of].units
            n = 0
            for symbol in store:
                rows = store[symbol].copy(10)
                opens = (rows.g0 + np.arange(len(rows.status))) * MINUTE
                truth = simulator.truth(of, symbol, "1m", int(opens[0]), int(opens[-1]))
                by_open = dict(zip(truth.open_time.tolist(), truth.values, strict=True))
                for open_ms, values, status in zip(opens.tolist(), rows.values.T, rows.status, strict=True):
                    if status != Status.PENDING:
                        assert status == Status.BAR and np.array_equal(values, by_open[open_ms]), symbol
                        n += 1
            assert n >= 5 * len(names)
            info = {row["symbol"]: row for row in store.exchange_info().to_pylist()}
            assert set(info) == names
            for symbol, row in info.items():
                one = simulator.exchange.market.find(of, symbol)
                assert one is not None
                size = str(one.contract_size) if of == "coinm" else one.step_size
                least = None if of == "coinm" else one.min_notional
                assert (row["lot_size"], row["min_notional_value"]) == (size, least)
                assert (row["margin_asset"], row["contract_type"] == "") == (one.margin_asset, of == "spot")
        assert collector._bugs == 0
        if trade_type in ("usdt_perp", "usdt_spot"):
            assert any(not symbol.isascii() for symbol in names)
            heard = [s for s in names if not s.isascii() and collector.writer.series[s].seen_g > 0]
            assert heard, "its streams speak too"


async def test_the_rules_of_what_bmac_did_not_know(
    market: Any, tmp_path: Path, store_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    rules = {"tradifi": True, "non_ascii": False, "exclude": ["ETHUSDT"]}
    keep = ["BTCUSDT", "ETHUSDT", "XAUUSDT", "币安人生USDT", "ETHBTC"]
    async with collecting(market, tmp_path, store_name, "usdt_perp", symbols=rules, keep_symbols=keep) as (
        _,
        collector,
    ):
        assert set(collector.symbols) == {"BTCUSDT", "XAUUSDT"}
        with attach(store_name, directory=tmp_path) as store:
            kinds = store.exchange_info()["contract_type"].to_pylist()
            assert kinds == ["PERPETUAL", "TRADIFI_PERPETUAL"]
    assert "keep_symbols: ETHUSDT: left out by symbols.exclude" in caplog.text
    assert "keep_symbols: 币安人生USDT: left out by symbols.non_ascii" in caplog.text
    assert "keep_symbols: ETHBTC: PERPETUAL quoted in BTC, not of usdt_perp" in caplog.text


async def test_a_rule_that_changed_is_no_halt(market: Any, tmp_path: Path, store_name: str) -> None:
    async with collecting(market, tmp_path, store_name, "usdt_spot") as (_, collector):
        before = set(collector.symbols)
    gone = sorted(before)[: len(before) // 2]  # far more than a delisting explains
    rules = {"exclude": gone}
    async with collecting(market, tmp_path, store_name, "usdt_spot", symbols=rules) as (_, collector):
        assert set(collector.symbols) == before - set(gone)
        assert set(collector.store.symbols) == before - set(gone)


async def test_coin_margined_columns_keep_their_places(market: Any, tmp_path: Path, store_name: str) -> None:
    async with (
        collecting(market, tmp_path, store_name, "coin_perp") as (_, collector),
    ):
        del collector
        with attach(store_name, directory=tmp_path) as store:
            assert store.units["volume"] == store.units["taker_buy_base_asset_volume"] == "contracts"
            assert store.units["quote_volume"] == store.units["taker_buy_quote_asset_volume"] == "base"
            sizes = {r["symbol"]: r["contract_size"] for r in store.exchange_info().to_pylist()}
            for symbol in store:
                bars = store[symbol].bars()
                traded = np.nan_to_num(bars.volume) > 0
                assert traded.any()
                assert np.array_equal(bars.volume[traded] % 1, np.zeros(traded.sum())), "whole contracts"
                # so many contracts of so many dollars, in the asset: between the highest and the lowest price
                dollars = bars.volume[traded] * sizes[symbol]
                assert (bars.quote_volume[traded] <= dollars / bars.low[traded] + 1e-8).all()
                assert (bars.quote_volume[traded] >= dollars / bars.high[traded] - 1e-8).all()


def test_the_documents_say_the_same() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "markets.md").read_text("utf-8")
    assert [name for name in TRADE_TYPES if f"`{name}`" not in text] == []
    assert [name for name in STABLECOINS if name not in text] == []
    for column, unit in MARKETS["coinm"].units.items():
        assert f"| {column} | {MARKETS['usdm'].units[column]} | {unit} |" in text
    for field in msgspec.structs.fields(Symbols):
        default = [] if field.name == "exclude" else field.default
        assert f"| `{field.name}` | `{json.dumps(default)}` |" in text
    assert [name for name in (*tables.COLUMNS, *funding.COLUMNS) if f"`{name}`" not in text] == []
