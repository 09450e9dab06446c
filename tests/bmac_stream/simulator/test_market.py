"""Instruments over time, and that both markets are what the server half asks for."""

import inspect

import pytest

from bmac_stream.simulator.bars import BarMarket
from bmac_stream.simulator.generator import GeneratedMarket, GeneratorConfig
from bmac_stream.simulator.market import Instrument, Market
from bmac_stream.simulator.recorded import RecordedMarket, RecordedTrades

DAY_MS = 86_400_000


def instrument(market: str, **changes: object) -> Instrument:
    fields: dict[str, object] = {
        "market": market,
        "symbol": "BTCUSDT",
        "pair": "BTCUSDT",
        "base": "BTC",
        "quote": "USDT",
        "margin_asset": "USDT",
        "contract_type": "PERPETUAL",
        "price_precision": 2,
        "quantity_precision": 3,
        "quote_precision": 5,
        "tick_size": "0.10",
        "step_size": "0.001",
        "min_notional": "5",
        "contract_size": 1,
        "onboard_ms": 0,
        "delivery_ms": 0,
        "list_ms": 10 * DAY_MS,
        "delist_ms": 20 * DAY_MS,
    }
    return Instrument(**(fields | changes))  # type: ignore[arg-type]


def test_status_over_time() -> None:
    at = [8 * DAY_MS, 9 * DAY_MS, 10 * DAY_MS, 20 * DAY_MS - 1, 20 * DAY_MS, 90 * DAY_MS]
    future, spot = instrument("usdm"), instrument("spot")
    expected = [None, "PENDING_TRADING", "TRADING", "TRADING", "SETTLING", "SETTLING"]
    assert [future.status_at(t) for t in at] == expected
    assert [spot.status_at(t) for t in at] == [None, None, "TRADING", "TRADING", "BREAK", "BREAK"]
    assert [future.trades_at(t) for t in at] == [False, False, True, True, False, False]
    assert instrument("usdm", delist_ms=None).trades_at(10**15)


def test_a_delivery_contract_becomes_the_current_one() -> None:
    quarter = instrument("usdm", contract_type="NEXT_QUARTER", current_ms=15 * DAY_MS)
    assert quarter.contract_type_at(15 * DAY_MS - 1) == "NEXT_QUARTER"
    assert quarter.contract_type_at(15 * DAY_MS) == "CURRENT_QUARTER"
    assert instrument("usdm").contract_type_at(0) == "PERPETUAL"


@pytest.mark.parametrize("kind", [GeneratedMarket, RecordedMarket, RecordedTrades])
def test_every_market_has_the_interface(kind: type[BarMarket]) -> None:
    for name, member in inspect.getmembers(Market):
        if name.startswith("_"):
            continue
        mine = getattr(kind, name)
        if inspect.isfunction(member):
            assert inspect.signature(mine) == inspect.signature(member), name
        else:
            assert isinstance(mine, property), name


def test_a_market_is_a_market() -> None:
    market: Market = GeneratedMarket(GeneratorConfig(n_symbols=2, n_spot=1, n_coinm=1))
    assert market.source == "embedded:generator:seed=7" and market.end_ms is None
    assert "1s" in market.intervals("spot") and "1s" not in market.intervals("usdm")
    assert "1m" in market.intervals("usdm")
