"""protocol.py: hand-written and recorded messages, every rule broken once, and mutations without end."""

import gzip
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bmac_stream.bar import INTERVALS_MS, origin_ms
from bmac_stream.binance.markets import MARKETS
from bmac_stream.binance.protocol import (
    FRAME_KINDS,
    ControlReply,
    Kline,
    Shutdown,
    check_age,
    check_bar,
    decode_error,
    decode_exchange_info,
    decode_frame,
    decode_funding_info,
    decode_funding_rate,
    decode_klines,
    decode_premium_index,
    decode_time,
    excerpt,
)
from bmac_stream.errors import BadFrame, BadResponse

from .messages import OPEN_TIME, VALUES, frame, row, rows

USDM, SPOT, COINM = MARKETS["usdm"], MARKETS["spot"], MARKETS["coinm"]
FLOATS = tuple(float(value) for value in VALUES)
MARKET_OF = {"spot": SPOT, "us": SPOT, "um": USDM, "cm": COINM}  # as the recordings name them


# ---------------------------------------------------------------------------------------------- frames


@pytest.mark.parametrize("market", MARKETS.values(), ids=lambda market: market.name)
@pytest.mark.parametrize("combined", [True, False])
def test_kline_frame(market: Any, combined: bool) -> None:
    kline = decode_frame(frame(combined=combined), market)
    assert kline == Kline("BTCUSDT", "1m", OPEN_TIME, OPEN_TIME + 59_999, OPEN_TIME + 12_345, False, FLOATS)
    closed = decode_frame(frame(combined=combined, x=True), market)
    assert isinstance(closed, Kline) and closed.is_closed


def test_frame_of_a_symbol_that_is_not_ascii() -> None:
    kline = decode_frame(frame(symbol="币安人生USDT"), USDM)
    assert isinstance(kline, Kline) and kline.symbol == "币安人生USDT"


def test_spot_stream_with_a_time_zone() -> None:
    assert isinstance(decode_frame(frame(stream="btcusdt@kline_1m@+08:00"), SPOT), Kline)


def test_coin_margined_letters() -> None:
    """ethusd_210924 as recorded in 2021: v, V are contracts, q, Q the base asset."""
    raw = (
        b'{"stream":"ethusd_210924@kline_1m","data":{"e":"kline","E":1626916405054,"s":"ETHUSD_210924","k":{'
        b'"t":1626916380000,"T":1626916439999,"s":"ETHUSD_210924","i":"1m","f":11380855,"L":11380895,"o":'
        b'"1992.70","c":"1992.17","h":"1993.71","l":"1992.17","v":"1893","n":41,"x":false,"q":"9.49653573",'
        b'"V":"1368","Q":"6.86228695","B":"0"}}}'
    )
    kline = decode_frame(raw, COINM)
    assert isinstance(kline, Kline)
    assert kline.values == (1992.70, 1993.71, 1992.17, 1992.17, 1893.0, 9.49653573, 41.0, 1368.0, 6.86228695)
    assert COINM.units["volume"] == "contracts" and COINM.units["quote_volume"] == "base"


def test_continuous_kline() -> None:
    event = json.loads(frame(combined=False))
    del event["s"], event["k"]["s"]
    event |= {"e": "continuous_kline", "ps": "BTCUSDT", "ct": "PERPETUAL"}
    for message in (event, {"stream": "btcusdt_perpetual@continuousKline_1m", "data": event}):
        kline = decode_frame(json.dumps(message).encode(), USDM)
        assert isinstance(kline, Kline)
        assert (kline.symbol, kline.interval, kline.values) == ("BTCUSDT_PERPETUAL", "1m", FLOATS)


@pytest.mark.parametrize(
    ("raw", "reply"),
    [
        (b'{"result":null,"id":1}', ControlReply(1, None, None, "")),
        (b'{"result":["btcusdt@kline_1m"],"id":"a-b"}', ControlReply("a-b", ["btcusdt@kline_1m"], None, "")),
        (b'{"code":2,"msg":"Invalid request","id":7}', ControlReply(7, None, 2, "Invalid request")),
        (b'{"error":{"code":3,"msg":"Invalid JSON"},"id":null}', ControlReply(None, None, 3, "Invalid JSON")),
    ],
)
def test_replies(raw: bytes, reply: ControlReply) -> None:
    assert decode_frame(raw, USDM) == reply


@pytest.mark.parametrize(
    "raw",
    [
        b'{"e":"serverShutdown","E":1785542400000}',
        b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1785542400000}}',
    ],
)
def test_shutdown_notice(raw: bytes) -> None:
    assert decode_frame(raw, SPOT) == Shutdown(1785542400000)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"e":"24hrMiniTicker","E":1,"s":"BTCUSDT","c":"1","o":"1","h":"1","l":"1","v":"1","q":"1"}',
        b'{"stream":"btcusdt@miniTicker","data":{"e":"24hrMiniTicker","E":1,"s":"BTCUSDT","c":"1"}}',
        b'{"stream":"!miniTicker@arr","data":[{"e":"24hrMiniTicker","E":1,"s":"BTCUSDT","c":"1"}]}',
        b'[{"e":"24hrMiniTicker","E":1,"s":"BTCUSDT","c":"1"}]',
        b'{"stream":"btcusdt@bookTicker","data":{"u":400900217,"s":"BTCUSDT","b":"25.3","B":"31.2"}}',
        b'{"e":"forceOrder","E":1,"o":{"s":"BTCUSDT","S":"SELL"}}',
        b'{"e":"aggTrade","E":1,"s":"BTCUSDT","a":1,"p":"0.001","q":"100","f":100,"l":105,"T":1,"m":true}',
        b'{"e":"something","E":"soon","s":[1,2]}',
    ],
)
def test_events_of_other_kinds_are_nobodys_fault(raw: bytes) -> None:
    assert decode_frame(raw, USDM) is None


BREAKS: list[tuple[str, bytes]] = [
    ("json", b""),
    ("json", b"{"),
    ("json", frame()[:-3]),
    ("json", b"\xff" + frame()),
    ("json", frame().replace(b"BTCUSDT", b"BTC\xffUSDT")),
    ("json", b'{"e":"\\ud800"}'),
    ("schema", b"[]"),
    ("schema", b"[" * 100_000),
    ("schema", b'"kline"'),
    ("schema", frame(o=None)),
    ("schema", frame(o="61_800.30")),
    ("schema", frame(o=" 61800.30")),
    ("schema", frame(o="1e999")),
    ("schema", frame(x="maybe")),
    ("schema", frame(x="true")),
    ("schema", frame(x=1)),
    ("schema", frame(x=0)),
    ("schema", frame(x=None)),
    ("schema", frame(x=[True])),
    ("schema", frame().replace(b'"t":', b'"tt":')),
    ("schema", b'{"e":"kline","E":1,"s":"BTCUSDT"}'),
    ("schema", frame(combined=False).replace(b'"E":', b'"E":-')),
    ("schema", frame(combined=False, symbol="")),
    ("unknown", b"{}"),
    ("unknown", b'{"hello":1}'),
    ("event", b'{"stream":"btcusdt@kline_1m","data":{"e":"aggTrade","E":1}}'),
    ("event", b'{"stream":"btcusdt@kline_1m"}'),
    ("symbol", frame(stream="ethusdt@kline_1m")),
    ("symbol", frame(s="ETHUSDT")),
    ("symbol", frame(combined=False).replace(b'"s":"BTCUSDT"', b'"s":"ETHUSDT"', 1)),
    ("interval", frame(stream="btcusdt@kline_5m")),
    ("interval", frame(combined=False, i="7m")),
    ("interval", frame(combined=False, i="1M")),
    ("open_time", frame(t=OPEN_TIME + 1, T=OPEN_TIME + 60_000)),
    ("open_time", frame(t=-60_000, T=-1)),
    ("open_time", frame(t=10**30, T=10**30 + 59_999)),
    ("close_time", frame(T=OPEN_TIME + 60_000)),
    ("close_time", frame(combined=False, i="5m")),
    ("not_finite", frame(q="NaN")),
    ("not_finite", frame(h="Infinity")),
    ("price", frame(l="61801")),
    ("price", frame(h="61805")),
    ("price", frame(c="61812.01")),
    ("price", frame(o="0", l="0")),
    ("price", frame(l="-61799.90")),
    ("volume", frame(v="-12.345")),
    ("volume", frame(q="-1")),
    ("taker", frame(V="12.346")),
    ("taker", frame(Q="762912.27811")),
    ("taker", frame(V="-1")),
    ("trade_num", frame(n=-1)),
    ("trade_num", frame(n=1.5)),
    ("trade_num", frame(n=2**60)),
]


@pytest.mark.parametrize(("kind", "raw"), BREAKS, ids=range(len(BREAKS)))
def test_every_rule_is_checked(kind: str, raw: bytes) -> None:
    with pytest.raises(BadFrame) as caught:
        decode_frame(raw, USDM)
    assert caught.value.kind == kind
    assert len(str(caught.value)) < 700


def test_every_kind_is_listed() -> None:
    assert {kind for kind, _ in BREAKS} | {"future", "stale", "oversize"} == set(FRAME_KINDS)


def test_numbers_are_the_doubles_of_float() -> None:
    rng = random.Random(2)
    for _ in range(2_000):
        text = f"{rng.random() * 10 ** rng.randint(-7, 12):.{rng.randint(0, 17)}f}"
        if float(text) > 0:
            kline = decode_frame(frame(o=text, h=text, l=text, c=text, v=text, V=text), USDM)
            assert isinstance(kline, Kline)
            assert kline.values[:5] == (float(text),) * 5, text


@pytest.mark.parametrize("interval", INTERVALS_MS)
def test_check_bar_knows_every_interval(interval: str) -> None:
    step = INTERVALS_MS[interval]
    opened = origin_ms(interval) + 3_000 * step
    assert check_bar(opened, opened + step - 1, interval, FLOATS) is None
    assert check_bar(opened + 500, opened + 500 + step - 1, interval, FLOATS) == "open_time"


def test_a_quiet_bar_is_sound() -> None:
    assert (
        check_bar(OPEN_TIME, OPEN_TIME + 59_999, "1m", (1.5, 1.5, 1.5, 1.5, 0.0, 0.0, 0.0, 0.0, 0.0)) is None
    )


def test_check_age() -> None:
    now = OPEN_TIME + 30_000.0
    assert check_age(OPEN_TIME, "1m", now) is None
    assert check_age(OPEN_TIME + 60_000, "1m", now) is None  # our clock may be a little behind
    assert check_age(OPEN_TIME + 120_000, "1m", now) == "future"
    assert check_age(OPEN_TIME - 600_000, "1m", now) is None
    assert check_age(OPEN_TIME - 780_000, "1m", now) == "stale"
    assert check_age(OPEN_TIME - 780_000, "1m", now, rate=60.0) is None
    assert check_age(OPEN_TIME - 780_000, "1h", now) is None


def test_excerpts_are_bounded_and_printable() -> None:
    assert excerpt(b"abc\x00\n") == "abc\\x00\\n"
    text = excerpt(b"\xff" * 10_000)
    assert len(text) < 900 and text.endswith("(10000 bytes)")


# ------------------------------------------------------------------------------------------------ rows


def test_klines() -> None:
    page = decode_klines(rows(5), USDM, "1m", "BTCUSDT")
    times, values = page
    assert times.dtype == np.int64 and values.dtype == np.float64
    assert times.tolist() == [OPEN_TIME + i * 60_000 for i in range(5)]
    assert values.shape == (5, 9) and values.flags.c_contiguous
    assert all(tuple(bar) == FLOATS for bar in values.tolist())


def test_no_klines() -> None:
    page = decode_klines(b"[]", USDM, "1m", "BTCUSDT")
    assert page.open_time.shape == (0,) and page.values.shape == (0, 9)


def test_rows_may_grow() -> None:
    assert decode_klines(json.dumps([[*row(), "new", {"x": 1}]]).encode(), USDM, "1m", "X").values.shape == (
        1,
        9,
    )


def _broken(index: int, value: Any) -> bytes:
    page = [row(OPEN_TIME + i * 60_000) for i in range(4)]
    page[2][index] = value
    return json.dumps(page).encode()


ROW_BREAKS: list[tuple[str, bytes]] = [
    ("open_time", _broken(0, OPEN_TIME + 1)),
    ("open_time", _broken(0, OPEN_TIME)),
    ("open_time", _broken(0, 10**17)),
    ("close_time", _broken(6, OPEN_TIME)),
    ("not_finite", _broken(5, "NaN")),
    ("price", _broken(1, "61812.01")),
    ("price", _broken(3, "0")),
    ("price", _broken(4, "1")),
    ("volume", _broken(7, "-1")),
    ("taker", _broken(9, "13")),
    ("taker", _broken(10, "-0.1")),
    ("trade_num", _broken(8, -1)),
]


@pytest.mark.parametrize(("kind", "body"), ROW_BREAKS, ids=range(len(ROW_BREAKS)))
def test_a_bad_row_condemns_the_page_or_only_itself(kind: str, body: bytes) -> None:
    with pytest.raises(BadResponse) as caught:
        decode_klines(body, USDM, "1m", "BTCUSDT")
    assert caught.value.kind in (kind, "close_time")  # a wrong open_time makes the close_time wrong as well
    bad: list[tuple[int, str]] = []
    page = decode_klines(body, USDM, "1m", "BTCUSDT", bad=bad)
    assert page.open_time.tolist() == [OPEN_TIME + i * 60_000 for i in (0, 1, 3)]
    assert len(bad) == 1 and bad[0][1] == caught.value.kind


def test_rows_and_frames_obey_the_same_rules() -> None:
    """A row passes exactly when `check_bar` accepts it."""
    rng = random.Random(3)
    odd = ["NaN", "inf", "-1", "0", "1e300", "61800.30", "61812.00", "7", "0.5"]
    for _ in range(1_500):
        page = [row()]
        for _ in range(rng.randint(0, 2)):
            page[0][rng.choice((1, 2, 3, 4, 5, 7, 9, 10))] = rng.choice(odd)
        if rng.random() < 0.2:
            page[0][6] += rng.choice((0, 1))
        values = [float(page[0][place]) for place in USDM.row_columns]
        expected = check_bar(page[0][0], page[0][6], "1m", values)
        bad: list[tuple[int, str]] = []
        decode_klines(json.dumps(page).encode(), USDM, "1m", "X", bad=bad)
        assert [kind for _, kind in bad] == ([] if expected is None else [expected]), page


def test_rows_out_of_order_keep_what_ascends() -> None:
    page = [row(OPEN_TIME + i * 60_000) for i in (0, 2, 1, 2, 3)]
    bad: list[tuple[int, str]] = []
    kept = decode_klines(json.dumps(page).encode(), USDM, "1m", "X", bad=bad)
    assert ((kept.open_time - OPEN_TIME) // 60_000).tolist() == [0, 2, 3]
    assert [kind for _, kind in bad] == ["open_time"] * 2


# --------------------------------------------------------------------------------------- other answers


def test_errors() -> None:
    assert decode_error(b'{"code":-1121,"msg":"Invalid symbol."}') == (-1121, "Invalid symbol.")
    for body in (b'{"serverTime":1}', b"[]", b"", b"<html>", b'{"code":"x"}', b'{"code":1'):
        assert decode_error(body) is None


def test_time() -> None:
    assert decode_time(b'{"serverTime":1785542400123}') == 1785542400123
    for body in (
        b"{}",
        b'{"serverTime":-1}',
        b'{"serverTime":1e400}',
        b'{"serverTime":99999999999999999999}',
        b"",
    ):
        with pytest.raises(BadResponse):
            decode_time(body)


FAPI_SYMBOL = {
    "symbol": "BTCUSDT", "contractType": "PERPETUAL", "deliveryDate": 4133404800000,
    "onboardDate": 1567965300000, "status": "TRADING",
    "baseAsset": "BTC", "quoteAsset": "USDT", "marginAsset": "USDT", "pricePrecision": 2,
    "filters": [
        {"filterType": "PRICE_FILTER", "tickSize": "0.10"}, {"filterType": "LOT_SIZE", "stepSize": "0.001"},
        {"filterType": "MIN_NOTIONAL", "notional": "50"}, {"filterType": "MAX_NUM_ORDERS", "limit": 200},
    ],
}  # fmt: skip
DAPI_SYMBOL = {
    "symbol": "BTCUSD_PERP", "contractType": "PERPETUAL", "contractStatus": "TRADING", "contractSize": 100,
    "baseAsset": "BTC", "quoteAsset": "USD", "marginAsset": "BTC", "onboardDate": 1, "deliveryDate": 2,
    "filters": [
        {"filterType": "PRICE_FILTER", "tickSize": "0.1"}, {"filterType": "LOT_SIZE", "stepSize": "1"},
    ],
}  # fmt: skip
SPOT_SYMBOL = {
    "symbol": "BTCUSDT", "status": "BREAK", "baseAsset": "BTC", "quoteAsset": "USDT",
    "filters": [
        {"filterType": "PRICE_FILTER", "tickSize": "0.01"}, {"filterType": "LOT_SIZE", "stepSize": "0.00001"},
        {"filterType": "NOTIONAL", "minNotional": "5.0", "maxNotional": "9"},
        {"filterType": "ICEBERG_PARTS", "limit": 9},
    ],
}  # fmt: skip


def _info(*symbols: object) -> bytes:
    limits = [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 2400}]
    return json.dumps({"serverTime": 1, "rateLimits": limits, "symbols": symbols}).encode()


def test_exchange_info_of_three_markets() -> None:
    usdm = decode_exchange_info(_info(FAPI_SYMBOL), USDM)
    assert usdm.weight_limit == 2400 and usdm.rejected == ()
    (info,) = usdm.symbols
    assert (info.price_tick, info.lot_size, info.min_notional) == ("0.10", "0.001", "50")
    assert (info.onboard_ms, info.delivery_ms) == (1567965300000, 4133404800000)
    (info,) = decode_exchange_info(_info(DAPI_SYMBOL), COINM).symbols
    assert (info.status, info.lot_size, info.min_notional) == ("TRADING", "100", None)
    (info,) = decode_exchange_info(_info({**DAPI_SYMBOL, "status": "SETTLING"}), COINM).symbols
    assert info.status == "SETTLING"
    (info,) = decode_exchange_info(_info(SPOT_SYMBOL), SPOT).symbols
    assert (info.status, info.contract_type, info.margin_asset) == ("BREAK", "", "")
    assert (info.price_tick, info.lot_size, info.min_notional) == ("0.01", "0.00001", "5.0")


def test_one_strange_symbol_does_not_cost_the_others() -> None:
    strange = [
        {**FAPI_SYMBOL, "symbol": "../../etc"},
        {**FAPI_SYMBOL, "symbol": ""},
        {**FAPI_SYMBOL, "symbol": "A/B"},
        {**FAPI_SYMBOL, "symbol": "A\u0000B"},
        {**FAPI_SYMBOL, "symbol": "币" * 22},
        {**FAPI_SYMBOL, "filters": 7},
        {"status": "TRADING"},
        5,
        FAPI_SYMBOL,  # a second time
    ]
    found = decode_exchange_info(_info(FAPI_SYMBOL, *strange, {"symbol": "币安人生USDT"}), USDM)
    assert [info.symbol for info in found.symbols] == ["BTCUSDT", "币安人生USDT"]
    assert len(found.rejected) == len(strange)


@pytest.mark.parametrize("body", [b"{}", b'{"symbols":[]}', b'{"symbols":[{}]}', b"[]", b"<html>"])
def test_exchange_info_without_symbols_is_no_answer(body: bytes) -> None:
    with pytest.raises(BadResponse):
        decode_exchange_info(body, USDM)


def test_funding() -> None:
    (index,) = decode_premium_index(
        b'{"symbol":"BTCUSDT_260925","markPrice":"1.5","indexPrice":"","lastFundingRate":"",'
        b'"nextFundingTime":0,"time":5}'
    )
    assert index.mark_price == 1.5 and math.isnan(index.last_funding_rate) and math.isnan(index.index_price)
    plain, typed = decode_funding_rate(
        b'[{"symbol":"A","fundingTime":1782633600013,"fundingRate":"0.00001355","markPrice":"2"},'
        b'{"symbol":"A","fundingTime":2,"fundingRate":"-0.1","markPrice":"","rateType":"Special"}]'
    )
    assert plain == ("A", 1782633600013, 0.00001355, 2.0)
    assert typed.rate == -0.1 and math.isnan(typed.mark_price)
    (terms,) = decode_funding_info(
        b'[{"symbol":"A","adjustedFundingRateCap":"0.02","adjustedFundingRateFloor":"-0.02","fundingIntervalHours":4}]'
    )
    assert terms == ("A", 4, 0.02, -0.02)


# -------------------------------------------------------------------------------------------- recorded


def test_recorded_frames(recorded_data: Path) -> None:
    place = recorded_data / "ws_kline_frames_2021.jsonl.gz"
    if not place.exists():
        pytest.skip(f"no {place}")
    n = closed = 0
    with gzip.open(place) as file:
        for line in file:
            entry = json.loads(line)
            kline = decode_frame(entry["raw"].encode(), MARKET_OF[entry["market"]])
            assert isinstance(kline, Kline)
            raw = json.loads(entry["raw"])["data"]["k"]
            assert kline.values == tuple(float(raw[letter]) for letter in "ohlcvqnVQ")
            assert (kline.symbol, kline.open_time, kline.is_closed) == (raw["s"], raw["t"], raw["x"])
            n, closed = n + 1, closed + kline.is_closed
    assert (n, closed) == (359, 5)


def _read(place: Path) -> bytes:
    if not place.exists():
        pytest.skip(f"no {place}")
    return gzip.decompress(place.read_bytes()) if place.suffix == ".gz" else place.read_bytes()


def test_recorded_answers_of_2026(recorded_data: Path) -> None:
    folder = recorded_data / "rest_2026-07"
    info = decode_exchange_info(_read(folder / "fapi-v1-exchangeInfo.json.gz"), USDM)
    assert (len(info.symbols), info.rejected, info.weight_limit) == (820, (), 2400)
    assert all(symbol.price_tick and symbol.lot_size and symbol.min_notional for symbol in info.symbols)
    kinds = [symbol.contract_type for symbol in info.symbols]
    assert (kinds.count("PERPETUAL"), kinds.count("TRADIFI_PERPETUAL")) == (698, 118)
    assert len(decode_premium_index(_read(folder / "fapi-v1-premiumIndex.json.gz"))) > 800
    terms = decode_funding_info(_read(folder / "fapi-v1-fundingInfo.json.gz"))
    assert sorted({term.interval_hours for term in terms}) == [1, 4, 8]
    rates = decode_funding_rate(_read(folder / "fapi-v1-fundingRate-BTCUSDT-limit20.json"))
    assert len(rates) == 20 and all(abs(rate.rate) < 0.01 for rate in rates)
    for name in ("api-v3-exchangeInfo-curated-BTCETHXVG.json", "api-v3-exchangeInfo-symbols.json"):
        spot = decode_exchange_info(_read(folder / name), SPOT)
        assert spot.weight_limit == 6000 and all(symbol.min_notional for symbol in spot.symbols)


def test_recorded_answers_of_2021(recorded_data: Path) -> None:
    for name, market, n in (
        ("BINANCE.0.gz", SPOT, 1695),
        ("BINANCE_DELIVERY.0.gz", COINM, 36),
    ):
        first_line = _read(recorded_data / "rest_2021" / name).split(b"\n")[0]
        info = decode_exchange_info(first_line[first_line.index(b"{") :], market)
        assert (len(info.symbols), info.rejected) == (n, ())
        assert {symbol.status for symbol in info.symbols} >= {"TRADING"}
        assert all(symbol.lot_size for symbol in info.symbols)


# ------------------------------------------------------------------------------------------------ fuzz


def _mutate(raw: bytes, rng: random.Random) -> bytes:
    data = bytearray(raw)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        place = rng.randrange(len(data) + 1)
        match rng.randrange(8):
            case 0:
                data[place : place + 1] = bytes((rng.randrange(256),))
            case 1:
                del data[place : place + rng.choice((1, 1, 5, 60))]
            case 2:
                data[place:place] = rng.choice(
                    (b'"', b"{", b"}", b"[", b"-", b"9" * 30, b"null", b"NaN", b"\\ud800")
                )
            case 3:
                del data[place:]
            case 4:
                other = rng.randrange(len(data) + 1)
                data[place:place] = data[other : other + rng.choice((1, 8, 40))]
            case 5:
                data[place : place + 1] = str(rng.randrange(10)).encode()
            case 6:
                numbers = (b"1e400", b'"inf"', b"-0", b"1.5", b"true", b"[]", b'""', b"99999999999999999999")
                data = bytearray(
                    bytes(data).replace(rng.choice((b"60", b'"0"', b"48", b"false")), rng.choice(numbers), 1)
                )
            case 7 if place:
                data[place - 1] ^= 1 << rng.randrange(8)
    return bytes(data)


def _decoders() -> list[tuple[bytes, Callable[[bytes], object]]]:
    """Sound messages, and what reads them."""

    def page(body: bytes) -> object:
        return decode_klines(body, USDM, "1m", "BTCUSDT", bad=[])

    return [
        (frame(), lambda raw: decode_frame(raw, USDM)),
        (frame(symbol="币安人生USDT", x=True), lambda raw: decode_frame(raw, SPOT)),
        (frame(combined=False), lambda raw: decode_frame(raw, COINM)),
        (
            b'{"stream":"!miniTicker@arr","data":[{"e":"24hrMiniTicker","E":1}]}',
            lambda raw: decode_frame(raw, USDM),
        ),
        (b'{"code":2,"msg":"Invalid request: x","id":7}', lambda raw: decode_frame(raw, USDM)),
        (rows(3), lambda raw: decode_klines(raw, USDM, "1m", "BTCUSDT")),
        (rows(3), page),
        (_info(FAPI_SYMBOL, SPOT_SYMBOL), lambda raw: decode_exchange_info(raw, USDM)),
        (_info(DAPI_SYMBOL), lambda raw: decode_exchange_info(raw, COINM)),
        (b'{"serverTime":1785542400123}', decode_time),
        (b'{"code":-1121,"msg":"Invalid symbol."}', decode_error),
        (
            b'[{"symbol":"A","markPrice":"1","lastFundingRate":"0.1","nextFundingTime":0,"time":5}]',
            decode_premium_index,
        ),
        (b'[{"symbol":"A","fundingTime":2,"fundingRate":"-0.1","markPrice":""}]', decode_funding_rate),
        (b'[{"symbol":"A","adjustedFundingRateCap":"0.02","fundingIntervalHours":4}]', decode_funding_info),
    ]


def _fuzz(n: int, seed: int) -> tuple[int, int]:
    """(accepted, rejected) of n mutated messages; anything but a named error fails here."""
    rng = random.Random(seed)
    decoders = _decoders()
    accepted = rejected = 0
    for i in range(n):
        raw, decode = decoders[i % len(decoders)]
        mutated = _mutate(raw, rng)
        try:
            found = decode(mutated)
        except (BadFrame, BadResponse) as error:
            rejected += 1
            if isinstance(error, BadFrame):
                assert error.kind in FRAME_KINDS
            assert len(str(error)) < 2_000
        except BaseException as error:
            raise AssertionError(f"seed {seed}, message {i}: {mutated!r}") from error
        else:
            accepted += 1
            if isinstance(found, Kline):
                assert check_bar(found.open_time, found.close_time, found.interval, found.values) is None
    return accepted, rejected


def test_mutated_messages_raise_only_named_errors() -> None:
    accepted, rejected = _fuzz(30_000, seed=1)
    assert accepted > 1_000 and rejected > 10_000


@pytest.mark.stress
def test_a_million_mutated_messages_raise_only_named_errors() -> None:
    accepted, rejected = _fuzz(1_000_000, seed=random.SystemRandom().randrange(2**32))
    assert accepted > 30_000 and rejected > 300_000
