"""What the generated exchange lists."""

import datetime as dt
import itertools
import re
from collections import Counter

import pytest

from bmac_stream.simulator import listing
from bmac_stream.simulator.generator import DEFAULT_START_MS as START
from bmac_stream.simulator.market import Instrument
from bmac_stream.simulator.numbers import decimals_of

HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def usdm() -> list[Instrument]:
    return listing.usdm(7, 600, START, listing_hours=12.0, schedule_days=30.0)


def plain(known: list[Instrument]) -> list[Instrument]:
    return [i for i in known if i.contract_type == "PERPETUAL" and i.quote == "USDT" and i.trades_at(START)]


@pytest.mark.parametrize("n", [1, 2, 7, 39, 40, 100, 600])
def test_as_many_usdt_perpetuals_trade_as_asked(n: int) -> None:
    known = listing.usdm(7, n, START, listing_hours=12.0, schedule_days=30.0)
    assert len(plain(known)) == n
    assert plain(known)[0].symbol == "BTCUSDT"
    symbols = [i.symbol for i in known]
    assert len(set(symbols)) == len(symbols)
    pairs = listing.spot(7, n, START)
    rarer = [i for i in pairs if i.quote == "BTC" or i.base in {one.name for one in listing.SPOT_ASSETS}]
    assert len(pairs) - len(rarer) == n + n // 10
    assert bool(rarer) == (n >= listing.MANY)


def test_a_whole_market_has_every_kind(usdm: list[Instrument]) -> None:
    trading = [i for i in usdm if i.trades_at(START)]
    kinds = Counter(i.contract_type_at(START) for i in trading)
    assert kinds["CURRENT_QUARTER"] == kinds["NEXT_QUARTER"] == 2
    assert kinds["TRADIFI_PERPETUAL"] >= 15
    assert Counter(i.quote for i in trading)["USDC"] >= 20
    assert sum(not i.symbol.isascii() for i in trading) == 3
    assert Counter(i.status_at(START) for i in usdm)["SETTLING"] >= 10
    assert {i.funding_hours for i in trading} == {0, 1, 4, 8}
    coarse = [i for i in trading if i.tick_size.endswith("0") and "." in i.tick_size]
    assert len(coarse) > 30  # printed with more decimals than the tick has


def test_every_kind_that_a_trade_type_or_a_rule_is_about_trades() -> None:
    usdm = listing.usdm(7, 40, START, listing_hours=0, schedule_days=0)
    pairs = listing.spot(7, 40, START)
    coinm = listing.coinm(7, 2, START)
    trading = {i.symbol for known in (usdm, pairs, coinm) for i in known if i.trades_at(START)}
    assert {"BTCUSDT", "ETHBTC", "BTCUSDC", "XAUUSDT", "币安人生USDT", "BTCUSD_PERP"} <= trading
    assert {"BTCUPUSDT", "BTCDOWNUSDT", "USDCUSDT", "PAXGUSDT", "EURUSDT"} <= {
        i.symbol for i in pairs
    } & trading
    kinds = {(i.market, i.quote, i.contract_type_at(START)) for known in (usdm, coinm) for i in known}
    assert {(m, q, k) for m, q in (("usdm", "USDT"), ("coinm", "USD")) for k in
            ("PERPETUAL", "CURRENT_QUARTER", "NEXT_QUARTER")} <= kinds  # fmt: skip
    assert {("usdm", q, "PERPETUAL") for q in ("USDC", "BTC")} <= kinds
    assert {i.quote for i in pairs} >= {"USDT", "USDC", "BTC"}
    cross = next(i for i in usdm if i.symbol == "ETHBTC")
    assert (cross.margin_asset, cross.tick_size, cross.step_size) == ("BTC", "0.000001", "0.01")


def test_grids_are_printed_as_they_are(usdm: list[Instrument]) -> None:
    for i in usdm:
        assert decimals_of(i.tick_size) == i.price_precision
        assert decimals_of(i.step_size) == i.quantity_precision
        assert i.quote_precision == i.price_precision + i.quantity_precision
        assert float(i.tick_size) > 0 and float(i.step_size) > 0
    btc = next(i for i in usdm if i.symbol == "BTCUSDT")
    assert (btc.price_precision, btc.tick_size, btc.step_size, btc.min_notional) == (2, "0.10", "0.001", "50")
    for i in listing.spot(7, 60, START):
        assert (i.price_precision, i.quantity_precision, i.quote_precision) == (8, 8, 8)
        assert decimals_of(i.tick_size) == decimals_of(i.step_size) == 8
        assert len(i.tick_size.rstrip("0")) + len(i.step_size.rstrip("0")) <= 12  # products fit 8 decimals
    for i in listing.coinm(7, 20, START):
        assert (i.quantity_precision, i.quote_precision, i.margin_asset) == (0, 8, i.base)
        assert i.contract_size == (100 if i.base == "BTC" else 10)


def test_listings_and_delistings_come_in_turn(usdm: list[Instrument]) -> None:
    until = START + 30 * 24 * HOUR_MS
    come = sorted(i.list_ms for i in usdm if START < i.list_ms <= until and "_" not in i.symbol)
    gone = sorted(
        i.delist_ms for i in usdm if i.delist_ms and START < i.delist_ms <= until and "_" not in i.symbol
    )
    assert len(come) == len(gone) == 30
    assert all(b - a == 24 * HOUR_MS for a, b in itertools.pairwise(come))
    assert all(g - c == 12 * HOUR_MS for c, g in zip(come, gone, strict=True))
    assert all(t % 300_000 == 0 for t in come + gone)
    still = listing.usdm(7, 30, START, listing_hours=0.0, schedule_days=30.0)
    still = [i for i in still if "_" not in i.symbol]
    assert all(i.list_ms < START and (i.delist_ms is None or i.delist_ms < START) for i in still)


def test_quarters_are_last_fridays_at_eight() -> None:
    # recorded in 2026-07: BTCUSDT_260925 and BTCUSDT_261225, onboard two quarters ahead
    assert listing.delivery_ms_of(2026, 9) == 1790323200000
    assert listing.delivery_ms_of(2026, 12) == 1798185600000
    now = int(dt.datetime(2026, 7, 4, tzinfo=dt.UTC).timestamp() * 1000)
    first, second, third = listing.quarters(now)[:3]
    assert first[:2] == ("260925", 1774598400000) and first[3] == 1790323200000
    assert second[0] == "261225" and second[1] < now < second[2]
    assert third[1] > now  # not listed yet


def test_ages_differ_and_do_not_come_from_the_future(usdm: list[Instrument]) -> None:
    ages = [START - i.list_ms for i in plain(usdm)]
    assert min(ages) > 0
    assert sum(a > 4 * 365 * 24 * HOUR_MS for a in ages) > 40
    assert sum(a < 200 * 24 * HOUR_MS for a in ages) > 5
    assert all(i.list_ms >= listing.EPOCH_DAY * 24 * HOUR_MS for i in usdm)
    assert all(re.fullmatch(r"[0-9A-Z一-鿿]+(_\d{6})?", i.symbol) for i in usdm)
