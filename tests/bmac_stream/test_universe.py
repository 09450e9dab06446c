"""Which symbols are collected, and why the others are not."""

from bmac_stream.binance.markets import TRADE_TYPES
from bmac_stream.binance.protocol import SymbolInfo
from bmac_stream.universe import changes, choose, slots_low


def info(
    symbol: str, status: str = "TRADING", contract: str = "PERPETUAL", quote: str = "USDT"
) -> SymbolInfo:
    return SymbolInfo(symbol, status, contract, symbol[:3], quote, quote, 1_000, 0, None, None, None)


INFOS = [
    info("BTCUSDT"), info("ETHUSDT"), info("OLDUSDT", "SETTLING"),
    info("TSLAUSDT", contract="TRADIFI_PERPETUAL"), info("BTCUSDC", quote="USDC"), info("币安人生USDT"),
]  # fmt: skip
USDT_PERP = TRADE_TYPES["usdt_perp"]


def test_all_that_trade_in_the_exchanges_order() -> None:
    found = choose(INFOS, USDT_PERP, None)
    assert list(found.symbols) == ["BTCUSDT", "ETHUSDT", "币安人生USDT"]
    assert found.symbols["BTCUSDT"] == 1_000
    assert found.problems == []


def test_names_that_cannot_be_collected_are_told_with_the_reason() -> None:
    keep = ["ETHUSDT", "BTCUSDTT", "OLDUSDT", "BTCUSDC", "TSLAUSDT", "QQQQQQQQ"]
    found = choose(INFOS, USDT_PERP, keep)
    assert list(found.symbols) == ["ETHUSDT"]
    assert found.problems == [
        "BTCUSDTT: the exchange has no such symbol; nearest: BTCUSDT",
        "OLDUSDT: not trading now (status SETTLING)",
        "BTCUSDC: PERPETUAL quoted in USDC, not of usdt_perp",
        "TSLAUSDT: TRADIFI_PERPETUAL quoted in USDT, not of usdt_perp",
        "QQQQQQQQ: the exchange has no such symbol",
    ]


def test_changes() -> None:
    assert changes(["A", "B", "C"], ["C", "D", "A"]) == (["D"], ["B"])
    assert changes([], []) == ([], [])


def test_low_slots() -> None:
    assert [slots_low(free, 1000) for free in (50, 49, 0)] == [False, True, True]
    assert [slots_low(free, 3) for free in (1, 0)] == [False, True]
