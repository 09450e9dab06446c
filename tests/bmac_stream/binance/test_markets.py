"""markets.py is a table: what it must add up to, and the universes that its filters make."""

import dataclasses

import pytest

from bmac_stream.bar import COLUMNS, INTERVALS_MS
from bmac_stream.binance.markets import MARKETS, STABLECOINS, TRADE_TYPES, Market
from bmac_stream.binance.protocol import SymbolInfo


@pytest.mark.parametrize("market", MARKETS.values(), ids=MARKETS)
def test_market_adds_up(market: Market) -> None:
    assert MARKETS[market.name] is market
    assert market.rest_url == market.rest_urls[0]
    assert all(url.startswith("https://") and not url.endswith("/") for url in market.rest_urls)
    assert all(url.startswith("wss://") and not url.endswith("/") for url in market.stream_urls)
    assert len(set(market.letters)) == len(COLUMNS) == len(set(market.row_columns))
    assert market.intervals <= set(INTERVALS_MS)
    assert [rows for rows, _ in market.kline_weights] == sorted(rows for rows, _ in market.kline_weights)
    assert market.kline_weights[-1][0] == market.max_limit


def test_kline_weights() -> None:
    futures, spot = MARKETS["usdm"], MARKETS["spot"]
    asked = (1, 99, 100, 499, 500, 1000, 1001, 1500)
    assert [futures.kline_weight(limit) for limit in asked] == [1, 1, 2, 2, 5, 5, 10, 10]
    assert [MARKETS["coinm"].kline_weight(limit) for limit in asked] == [1, 1, 2, 2, 5, 5, 10, 10]
    assert spot.kline_weight(1) == spot.kline_weight(1000) == 2
    for market, limit in ((futures, 0), (futures, 1501), (spot, 1001)):
        with pytest.raises(ValueError, match="limit must be in"):
            market.kline_weight(limit)


@pytest.mark.parametrize("market", MARKETS.values(), ids=MARKETS)
def test_page_limit_is_the_cheapest_per_bar(market: Market) -> None:
    cost = [market.kline_weight(limit) / limit for limit in range(1, market.max_limit + 1)]
    assert market.kline_weight(market.page_limit) / market.page_limit == min(cost)


def test_coin_margined_pages_stay_within_200_days() -> None:
    coinm = MARKETS["coinm"]
    assert coinm.page_rows("1m") == 499
    assert coinm.page_rows("1d") == 200
    assert coinm.page_rows("1w") == 28
    assert MARKETS["usdm"].page_rows("1w") == 499


def test_usd_margined_klines_come_from_the_market_path() -> None:
    # The plain path has been silent since 2026-04-23.
    assert MARKETS["usdm"].stream_urls == ("wss://fstream.binance.com/market",)
    assert MARKETS["coinm"].stream_urls == ("wss://dstream.binance.com", "wss://dstream.binance.com/market")


def test_stream_names() -> None:
    assert MARKETS["usdm"].stream("BTCUSDT_260925", "1m") == "btcusdt_260925@kline_1m"
    assert MARKETS["usdm"].stream("币安人生USDT", "1h") == "币安人生usdt@kline_1h"


def _info(symbol: str, quote: str, contract: str = "", status: str = "TRADING") -> SymbolInfo:
    return SymbolInfo(symbol, status, contract, "X", quote, quote, 0, 0, None, None, None)


UNIVERSE = (
    _info("BTCUSDT", "USDT", "PERPETUAL"),
    _info("币安人生USDT", "USDT", "PERPETUAL"),
    _info("USDCUSDT", "USDT", "PERPETUAL"),
    _info("TSLAUSDT", "USDT", "TRADIFI_PERPETUAL"),
    _info("BTCUSDT_260925", "USDT", "CURRENT_QUARTER"),
    _info("BTCUSDT_261225", "USDT", "NEXT_QUARTER"),
    _info("BTCUSDC", "USDC", "PERPETUAL"),
    _info("ETHBTC", "BTC", "PERPETUAL"),
    _info("OLDUSDT", "USDT", "PERPETUAL", "SETTLING"),
)


@pytest.mark.parametrize(
    ("trade_type", "symbols"),
    [
        ("usdt_perp", ["BTCUSDT", "币安人生USDT", "USDCUSDT"]),
        ("usdt_swap", ["BTCUSDT", "币安人生USDT", "USDCUSDT"]),
        ("usdt_deli", ["BTCUSDT_260925", "BTCUSDT_261225"]),
        ("usdc_perp", ["BTCUSDC"]),
        ("btc_perp", ["ETHBTC"]),
        ("coin_perp", ["BTCUSDT", "币安人生USDT", "USDCUSDT", "BTCUSDC", "ETHBTC"]),  # no test of the quote
        ("coin_swap", ["BTCUSDT", "币安人生USDT", "USDCUSDT", "BTCUSDC", "ETHBTC"]),
        ("coin_deli", ["BTCUSDT_260925", "BTCUSDT_261225"]),
    ],
)
def test_futures_universes(trade_type: str, symbols: list[str]) -> None:
    assert [info.symbol for info in UNIVERSE if TRADE_TYPES[trade_type].includes(info)] == symbols


def test_spot_universes() -> None:
    market = [
        _info("BTCUSDT", "USDT"),
        _info("PAXGUSDT", "USDT"),
        _info("ETHBTC", "BTC"),
        _info("BTCUSDC", "USDC"),
    ]
    found = {
        name: [info.symbol for info in market if TRADE_TYPES[name].includes(info)]
        for name in ("usdt_spot", "usdc_spot", "btc_spot")
    }
    assert found == {"usdt_spot": ["BTCUSDT"], "usdc_spot": ["BTCUSDC"], "btc_spot": ["ETHBTC"]}
    assert "USDCUSDT" in STABLECOINS and len(STABLECOINS) == 15


def test_every_trade_type_names_a_market() -> None:
    assert {trade_type.market for trade_type in TRADE_TYPES.values()} == set(MARKETS)
    assert all(name == trade_type.name for name, trade_type in TRADE_TYPES.items())


def test_a_markets_letters_are_what_is_read() -> None:
    swapped = dataclasses.replace(MARKETS["usdm"], letters=("o", "h", "l", "c", "v", "q", "n", "Q", "V"))

    class K:
        o, h, l, c, v, q, n, V, Q = range(9)  # noqa: E741 - the wire's own letter

    assert MARKETS["usdm"].read_letters(K) == tuple(range(9))
    assert swapped.read_letters(K) == (0, 1, 2, 3, 4, 5, 6, 8, 7)
