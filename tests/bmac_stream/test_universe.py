"""Which symbols are collected, and why the others are not."""

import pytest

from bmac_stream.binance.markets import TRADE_TYPES
from bmac_stream.binance.protocol import SymbolInfo
from bmac_stream.config import Symbols
from bmac_stream.universe import changes, choose, is_delivered, slots_low


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
        "keep_symbols: BTCUSDTT: the exchange has no such symbol; nearest: BTCUSDT",
        "keep_symbols: OLDUSDT: not trading now (status SETTLING)",
        "keep_symbols: BTCUSDC: PERPETUAL quoted in USDC, not of usdt_perp",
        "keep_symbols: TSLAUSDT: left out by symbols.tradifi (TRADIFI_PERPETUAL)",
        "keep_symbols: QQQQQQQQ: the exchange has no such symbol",
    ]


def test_what_is_listed_but_does_not_trade_is_kept_apart() -> None:
    infos = [*INFOS, info("NEWUSDT", "PENDING_TRADING"), info("DEADUSDC", "BREAK", quote="USDC")]
    assert choose(infos, USDT_PERP, None).stopped == {"OLDUSDT", "NEWUSDT"}
    assert choose(infos, USDT_PERP, ["OLDUSDT", "BTCUSDT", "QQQ"]).stopped == {"OLDUSDT"}
    rules = Symbols(exclude=["OLDUSDT"])
    assert choose(infos, USDT_PERP, None, rules).stopped == {"NEWUSDT"}


def test_the_nearest_names_are_looked_for_only_if_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("difflib.get_close_matches", lambda *_, **__: pytest.fail("looked for"))
    rules = Symbols(exclude=["ETHUSDTT"])
    assert choose(INFOS, USDT_PERP, ["BTCUSDTT"], rules, nearest=False).problems == [
        "symbols.exclude: ETHUSDTT: the exchange has no such symbol",
        "keep_symbols: BTCUSDTT: the exchange has no such symbol",
    ]


def spot(symbol: str, base: str, quote: str = "USDT", status: str = "TRADING") -> SymbolInfo:
    return SymbolInfo(symbol, status, "", base, quote, "", 0, 0, None, None, None)


SPOT = [
    spot("BTCUSDT", "BTC"), spot("ETHUSDT", "ETH"), spot("BTCUPUSDT", "BTCUP"), spot("JUPUSDT", "JUP"),
    spot("ETHDOWNUSDT", "ETHDOWN"), spot("SYRUPUSDT", "SYRUP"), spot("BEARUSDT", "BEAR"),
    spot("ETHBULLUSDT", "ETHBULL"), spot("USDCUSDT", "USDC"), spot("PAXGUSDT", "PAXG"),
    spot("币安人生USDT", "币安人生"), spot("BTCUSDC", "BTC", "USDC"),
    spot("EOSUSDT", "EOS", status="BREAK"), spot("EOSBEARUSDT", "EOSBEAR"),
]  # fmt: skip
LEVERAGED = {"BTCUPUSDT", "ETHDOWNUSDT", "BEARUSDT", "ETHBULLUSDT", "EOSBEARUSDT"}
ALL_USDT = {i.symbol for i in SPOT if i.quote_asset == "USDT" and i.status == "TRADING"}


@pytest.mark.parametrize(
    ("rules", "missing"),
    [
        (Symbols(), {"USDCUSDT", "PAXGUSDT"}),  # as BMAC
        (Symbols(stablecoins=True), set()),
        (Symbols(leveraged=False), LEVERAGED | {"USDCUSDT", "PAXGUSDT"}),
        (Symbols(non_ascii=False, stablecoins=True), {"币安人生USDT"}),
        (Symbols(exclude=["BTCUSDT", "PAXGUSDT"], stablecoins=True), {"BTCUSDT", "PAXGUSDT"}),
    ],
)
def test_rules_on_spot(rules: Symbols, missing: set[str]) -> None:
    found = choose(SPOT, TRADE_TYPES["usdt_spot"], None, rules)
    assert set(found.symbols) == ALL_USDT - missing
    assert found.left_out == missing
    assert list(found.symbols) == [i.symbol for i in SPOT if i.symbol in found.symbols]


def test_rules_on_futures() -> None:
    every = choose(INFOS, USDT_PERP, None, Symbols(tradifi=True))
    assert list(every.symbols) == ["BTCUSDT", "ETHUSDT", "TSLAUSDT", "币安人生USDT"]
    assert choose(INFOS, USDT_PERP, None).left_out == {"TSLAUSDT"}
    # what is about spot changes nothing here: BMAC has USDCUSDT among its perpetuals
    infos = [*INFOS, info("USDCUSDT"), info("BTCUPUSDT")]
    found = choose(infos, USDT_PERP, None, Symbols(leveraged=False))
    assert {"USDCUSDT", "BTCUPUSDT"} <= set(found.symbols)
    deli = [
        info("BTCUSDT_260626", contract="CURRENT_QUARTER"),
        info("TSLAUSDT", contract="TRADIFI_PERPETUAL"),
    ]
    assert list(choose(deli, TRADE_TYPES["usdt_deli"], None, Symbols(tradifi=True)).symbols) == [
        "BTCUSDT_260626"
    ]


def test_what_a_rule_leaves_out_of_keep_symbols_is_named_with_the_rule() -> None:
    rules = Symbols(leveraged=False, non_ascii=False, exclude=["ETHUSDT", "ETHUSDTT"])
    keep = ["BTCUSDT", "ETHUSDT", "BTCUPUSDT", "PAXGUSDT", "币安人生USDT"]
    found = choose(SPOT, TRADE_TYPES["usdt_spot"], keep, rules)
    assert list(found.symbols) == ["BTCUSDT"]
    assert found.problems == [
        "symbols.exclude: ETHUSDTT: the exchange has no such symbol; nearest: ETHUSDT",
        "keep_symbols: ETHUSDT: left out by symbols.exclude",
        "keep_symbols: BTCUPUSDT: left out by symbols.leveraged (a leveraged token)",
        "keep_symbols: PAXGUSDT: left out by symbols.stablecoins (a pair of BMAC's list of stablecoins)",
        "keep_symbols: 币安人生USDT: left out by symbols.non_ascii (a name with other letters than ASCII)",
    ]
    assert found.left_out == ALL_USDT - {"BTCUSDT"}


def test_the_default_is_bmacs_own_filter_for_every_trade_type() -> None:
    for trade_type in TRADE_TYPES.values():
        infos = SPOT if trade_type.market == "spot" else INFOS
        assert list(choose(infos, trade_type, None).symbols) == [
            i.symbol for i in infos if trade_type.includes(i)
        ], trade_type.name


def test_changes() -> None:
    assert changes(["A", "B", "C"], ["C", "D", "A"]) == (["D"], ["B"])
    assert changes([], []) == ([], [])


def test_low_slots() -> None:
    assert [slots_low(free, 1000) for free in (50, 49, 0)] == [False, True, True]
    assert [slots_low(free, 3) for free in (1, 0)] == [False, True]


def test_a_delivery_contract_is_over_at_eight_of_its_day() -> None:
    end = 1_616_745_600_000  # 2021-03-26 08:00 UTC
    assert is_delivered("BTCUSD_210326", end) and is_delivered("BTCUSDT_210326", end + 86_400_000)
    assert not is_delivered("BTCUSD_210326", end - 1)
    for other in ("BTCUSD_210625", "BTCUSD_PERP", "BTCUSDT", "BTCUSD_219999"):
        assert not is_delivered(other, end), other
