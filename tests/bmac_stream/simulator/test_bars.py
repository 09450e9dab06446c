"""Intervals, forming bars and pushes: one truth, asked in different ways."""

import dataclasses

import numpy as np
import pytest

from bmac_stream.bar import INTERVALS_MS, floor_open_time
from bmac_stream.simulator.bars import DAY_MS, BarMarket, Block
from bmac_stream.simulator.funding import key_of
from bmac_stream.simulator.generator import GeneratedMarket, GeneratorConfig
from bmac_stream.simulator.market import Instrument, Rows

MINUTE = 60_000
CONFIG = GeneratorConfig(seed=3, n_symbols=24, n_spot=30, n_coinm=4, listing_hours=0)


@pytest.fixture(scope="module")
def market() -> GeneratedMarket:
    return GeneratedMarket(CONFIG)


def one(market: BarMarket, symbol: str, name: str = "usdm") -> Instrument:
    found = market.find(name, symbol)
    assert found is not None
    return found


def same(a: Rows, b: Rows) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def tail(rows: Rows, n: int) -> Rows:
    return Rows(rows[0][-n:], rows[1][-n:], rows[2][-n:], rows[3][-n:])


def add_up(rows: Rows, price_units: float, volume_units: float, quote_units: float) -> np.ndarray:
    """One bar from many, written apart from the market's own way: Python integers."""
    traded = [v for v in rows.values.tolist() if v[6] > 0]
    if not traded:
        return rows.values[0]
    total = [
        sum(round(v[i] * u) for v in traded) / u for i, u in ((4, volume_units), (5, quote_units), (6, 1))
    ]
    taker = [sum(round(v[i] * u) for v in traded) / u for i, u in ((7, volume_units), (8, quote_units))]
    prices = [traded[0][0], max(v[1] for v in traded), min(v[2] for v in traded), traded[-1][3]]
    return np.array([*prices, *total, *taker])


@pytest.mark.parametrize("interval", ["3m", "5m", "1h", "4h", "1d", "3d", "1w"])
@pytest.mark.parametrize(
    ("name", "symbol"), [("usdm", "BTCUSDT"), ("usdm", "quiet"), ("coinm", "BTCUSD_PERP")]
)
def test_long_bars_are_sums_of_minutes(
    market: GeneratedMarket, interval: str, name: str, symbol: str
) -> None:
    instrument = quietest(market) if symbol == "quiet" else one(market, symbol, name)
    now = market.start_ms + 13 * MINUTE + 17_123
    step = INTERVALS_MS[interval]
    rows = market.klines(instrument, interval, 0, 3, now, latest=True)
    assert len(rows.open_time) == 3 and rows.open_time[-1] == floor_open_time(now, interval)
    price, volume, quote, _ = market._scales[name][market._position[name][instrument.symbol]]
    for i, opens in enumerate(rows.open_time.tolist()):
        minutes = market.klines(instrument, "1m", opens, 20_000, now, end_ms=opens + step - 1)
        assert rows.values[i].tolist() == add_up(minutes, price, volume, quote).tolist()
        ids = minutes.first_trade_id[minutes.first_trade_id >= 0]
        assert rows.first_trade_id[i] == (ids[0] if len(ids) else -1)
        assert rows.last_trade_id[i] == minutes.last_trade_id.max()


def quietest(market: BarMarket, name: str = "usdm") -> Instrument:
    trading = [i for i in market.instruments(name) if i.trades_at(market.start_ms)]
    rows = {
        i.symbol: market.klines(i, "1d", 0, 2, market.start_ms - 1, latest=True).values[0, 6] for i in trading
    }
    return one(market, min(rows, key=lambda s: rows[s]), name)


@pytest.mark.parametrize("interval", ["1m", "5m", "1h"])
def test_any_page_of_history_is_the_same(market: GeneratedMarket, interval: str) -> None:
    instrument, now = one(market, "XRPUSDT"), market.start_ms + 90_000
    step = INTERVALS_MS[interval]
    whole = market.klines(instrument, interval, now - 3000 * step, 5000, now)
    assert (np.diff(whole.open_time) > 0).all()
    assert same(market.klines(instrument, interval, 0, 700, now, latest=True), tail(whole, 700))
    # page by page, on a market that has never been asked
    fresh = GeneratedMarket(CONFIG)
    pages, start = [], int(whole.open_time[0])
    while start <= now:
        page = fresh.klines(one(fresh, "XRPUSDT"), interval, start, 499, now)
        pages.append(page)
        start = int(page.open_time[-1]) + step
    assert same(Rows(*(np.concatenate(c) for c in zip(*pages, strict=True))), whole)  # type: ignore[arg-type]


def test_limits_of_klines(market: GeneratedMarket) -> None:
    instrument, now = one(market, "BTCUSDT"), market.start_ms + 30_000
    rows = market.klines(instrument, "1m", market.start_ms - 5 * MINUTE + 1, 100, now)
    assert rows.open_time.tolist() == [market.start_ms + i * MINUTE for i in range(-4, 1)]
    ended = market.klines(
        instrument, "1m", market.start_ms - 5 * MINUTE, 100, now, end_ms=market.start_ms - 1
    )
    assert ended.open_time[-1] == market.start_ms - MINUTE
    assert len(market.klines(instrument, "1m", now + MINUTE, 5, now).open_time) == 0
    assert len(market.klines(instrument, "1m", 0, 0, now).open_time) == 0
    first = market.first_open_ms(instrument, "1m")
    assert market.klines(instrument, "1m", 0, 2, now).open_time[0] == first
    with pytest.raises(KeyError):
        market.klines(instrument, "1s", 0, 5, now)
    with pytest.raises(KeyError):
        market.updates("usdm", "2m", np.array([0]), 0, 1)


@pytest.mark.parametrize(
    ("name", "interval"), [("usdm", "1m"), ("usdm", "5m"), ("coinm", "1h"), ("spot", "1s")]
)
def test_pushes_are_the_klines(market: GeneratedMarket, name: str, interval: str) -> None:
    """Every pushed row, forming or closed, is what klines says at that moment; every bar closes once."""
    index = np.array([i for i, x in enumerate(market.instruments(name)) if x.trades_at(market.start_ms)])[
        ::-1
    ]
    step = INTERVALS_MS[interval]
    start = market.start_ms + 60 * MINUTE - 2500
    now, every = start, 250 if interval == "1s" else 1700
    closed: dict[tuple[int, int], list[float]] = {}
    n_forming = 0
    while now < start + (12_000 if interval == "1s" else 130_000):
        since, now = now, now + every
        got = market.updates(name, interval, index, since, now)
        assert ((got.event_ms > since) & (got.event_ms <= now)).all()
        places = [index.tolist().index(p) for p in got.position]
        assert places == sorted(places)
        formed = set(got.position[~got.closed].tolist())
        for position in index[::5].tolist():  # a forming row is pushed if and only if a trade happened
            instrument, opens = market.instruments(name)[position], floor_open_time(now, interval)
            n = [
                market.klines(instrument, interval, opens, 1, t).values[:, 6].sum()
                for t in (max(since, opens - 1), now)
            ]
            assert (position in formed) == (n[1] > n[0])
        for i, position in enumerate(got.position.tolist()):
            instrument, opens = market.instruments(name)[position], int(got.open_time[i])
            truth = market.klines(instrument, interval, opens, 1, now)
            assert truth.open_time[0] == opens
            assert got.values[i].tolist() == truth.values[0].tolist()
            assert got.values[i, 6] > 0
            assert got.last_trade_id[i] - got.first_trade_id[i] + 1 == got.values[i, 6]
            assert got.first_trade_id[i] == truth.first_trade_id[0]
            if got.closed[i]:
                assert (position, opens) not in closed
                assert opens + step <= got.event_ms[i] <= opens + step + 2000
                final = market.klines(instrument, interval, opens, 1, now + 10 * DAY_MS)
                assert got.values[i].tolist() == final.values[0].tolist()
                closed[position, opens] = got.values[i].tolist()
            else:
                n_forming += 1
                assert opens <= got.event_ms[i] < opens + step
    assert n_forming > 20
    # none was forgotten: bars that ended well within the time and had trades
    for position in index.tolist():
        a, b = floor_open_time(start, interval), now - step - 2100
        rows = market.klines(market.instruments(name)[position], interval, a, 500, now)
        for opens, values in zip(rows.open_time.tolist(), rows.values.tolist(), strict=True):
            if opens + step > start and opens <= b:
                assert ((position, opens) in closed) == (values[6] > 0)


@pytest.mark.parametrize("interval", ["1m", "15m"])
def test_pushes_do_not_depend_on_how_often_they_are_asked(market: GeneratedMarket, interval: str) -> None:
    index = np.arange(10)
    start = market.start_ms + 45 * MINUTE - 9_000
    found = []
    for every in (1_000, 9_500, 200_000):
        fresh, now, closed = GeneratedMarket(CONFIG), start, []
        while now < start + 200_000:
            since, now = now, min(now + every, start + 200_000)
            got = fresh.updates("usdm", interval, index, since, now)
            closed += [
                (int(p), int(t), int(e), tuple(v))
                for p, t, e, v, x in zip(
                    got.position, got.open_time, got.event_ms, got.values.tolist(), got.closed, strict=True
                )
                if x
            ]
        found.append(sorted(closed))
    assert found[0] == found[1] == found[2] and len(found[0]) > 5


def test_time_may_run_backwards(market: GeneratedMarket) -> None:
    index, now = np.arange(8), market.start_ms + 50 * MINUTE
    before = market.updates("usdm", "5m", index, now, now + 90_000)
    market.updates("usdm", "5m", index, now + 600_000, now + 700_000)
    again = market.updates("usdm", "5m", index, now, now + 90_000)
    assert all(np.array_equal(a, b) for a, b in zip(before, again, strict=True))


def test_a_bar_without_a_trade_yet_repeats_the_close_before(market: GeneratedMarket) -> None:
    instrument = quietest(market)
    found = 0
    for minute in range(200):
        opens = market.start_ms + minute * MINUTE
        rows = market.klines(instrument, "1m", opens - 2 * MINUTE, 3, opens)
        if rows.open_time[-1] != opens or rows.values[-1, 6] > 0 or len(rows.open_time) < 2:
            continue
        found += 1
        assert rows.values[-1].tolist() == [rows.values[-2, 3]] * 4 + [0.0] * 5
        assert (rows.first_trade_id[-1], rows.last_trade_id[-1]) == (-1, -1)
    assert found > 150


class Flat(BarMarket):
    """One symbol, price 100 + minute of the day, one trade a minute, with a hole and an empty minute."""

    def __init__(self, like: Instrument, **changes: int) -> None:
        first = dataclasses.replace(like, list_ms=0, delist_ms=None)
        super().__init__(
            {"usdm": [dataclasses.replace(first, **changes)]},  # type: ignore[arg-type]
            base="1m",
            source="test",
            start_ms=DAY_MS,
            end_ms=3 * DAY_MS,
        )

    def _raw_block(self, market: str, position: int, day: int) -> Block:
        price = 100.0 + np.arange(1440)
        values = np.stack(
            [price] * 4 + [np.ones(1440), price, np.ones(1440), np.zeros(1440), np.zeros(1440)], 1
        )
        values[10:13] = np.nan
        values[20] = [values[19, 3]] * 4 + [0.0] * 5
        return values, day * 1440 + np.arange(1440)


def test_holes_are_left_out_and_do_not_count(market: GeneratedMarket) -> None:
    flat = Flat(one(market, "BTCUSDT"))
    instrument = one(flat, "BTCUSDT")
    rows = flat.klines(instrument, "1m", DAY_MS + 8 * MINUTE, 5, 2 * DAY_MS)
    assert ((rows.open_time - DAY_MS) // MINUTE).tolist() == [8, 9, 13, 14, 15]
    back = flat.klines(instrument, "1m", 0, 4, 2 * DAY_MS, end_ms=DAY_MS + 14 * MINUTE, latest=True)
    assert ((back.open_time - DAY_MS) // MINUTE).tolist() == [8, 9, 13, 14]
    many = flat.klines(instrument, "1m", DAY_MS, 100, 2 * DAY_MS)
    assert len(many.open_time) == 100 and many.open_time[-1] == DAY_MS + 102 * MINUTE
    assert len(flat.klines(instrument, "1m", 0, 100, DAY_MS + 60 * MINUTE, latest=True).open_time) == 100
    # a longer bar is made of what there is; one without any is no bar
    assert flat.klines(instrument, "5m", DAY_MS + 10 * MINUTE, 1, 2 * DAY_MS).values[0, 6] == 2
    three = flat.klines(instrument, "3m", DAY_MS + 9 * MINUTE, 2, 2 * DAY_MS)
    assert three.values[:, 6].tolist() == [1, 2]
    # nothing is pushed inside the hole, and a bar that ended before it closes by the timer
    got = flat.updates("usdm", "1m", np.array([0]), DAY_MS + 10 * MINUTE, DAY_MS + 13 * MINUTE - 1)
    assert got.closed.tolist() == [True] and got.event_ms.tolist() == [DAY_MS + 10 * MINUTE + 2000]
    # the empty minute has a row, pushes nothing, and closes nothing
    assert (
        flat.klines(instrument, "1m", DAY_MS + 20 * MINUTE, 1, 2 * DAY_MS).values[0, :4].tolist()
        == [119.0] * 4
    )
    got = flat.updates("usdm", "1m", np.array([0]), DAY_MS + 20 * MINUTE + 2000, DAY_MS + 21 * MINUTE - 1)
    assert len(got.position) == 0


def test_nothing_after_the_end_of_the_data_but_the_last_close(market: GeneratedMarket) -> None:
    flat = Flat(one(market, "BTCUSDT"))
    rows = flat.klines(one(flat, "BTCUSDT"), "1m", 0, 3, 9 * DAY_MS, latest=True)
    assert rows.open_time[-1] == 3 * DAY_MS - MINUTE
    got = flat.updates("usdm", "1m", np.array([0]), 3 * DAY_MS - 1, 3 * DAY_MS + 5000)
    assert got.closed.tolist() == [True] and got.open_time.tolist() == [3 * DAY_MS - MINUTE]


def test_bars_exist_from_listing_to_delisting(market: GeneratedMarket) -> None:
    a, b = DAY_MS + 7 * MINUTE, DAY_MS + 33 * MINUTE
    flat = Flat(one(market, "BTCUSDT"), list_ms=a, delist_ms=b)
    instrument = one(flat, "BTCUSDT")
    rows = flat.klines(instrument, "1m", 0, 1000, 2 * DAY_MS)
    assert (rows.open_time[0], rows.open_time[-1]) == (a, b - MINUTE)
    hours = flat.klines(instrument, "1h", 0, 1000, 2 * DAY_MS)
    assert hours.open_time.tolist() == [DAY_MS] and hours.values[0, 6] == 22
    assert flat.first_open_ms(instrument, "1h") == DAY_MS


def test_listing_and_delisting_at_run_time() -> None:
    market = GeneratedMarket(CONFIG)
    now = market.start_ms + 100_000
    index = np.arange(len(market.instruments("usdm")))
    market.updates("usdm", "1m", index, now - 1000, now)
    new = market.list_symbol("usdm", "NEWUSDT", now + 5 * MINUTE)
    assert new.list_ms % MINUTE == 0 and new.status_at(now) == "PENDING_TRADING"
    assert market.find("usdm", "NEWUSDT") == new and market.instruments("usdm")[-1] == new
    later = now + 20 * MINUTE
    rows = market.klines(new, "1m", 0, 100, later)
    assert rows.open_time[0] == new.list_ms and len(rows.open_time) > 10
    assert (
        rows.values[:, 3].tolist()
        != market.klines(one(market, "BTCUSDT"), "1m", new.list_ms, 100, later).values[:, 3].tolist()
    )
    with pytest.raises(ValueError, match="NEWUSDT"):
        market.list_symbol("usdm", "NEWUSDT", now)
    assert (rows.values[:, 6] > 0).any() and len(np.unique(rows.values[:, 3])) > 3
    position = market.instruments("usdm").index(new)
    ended = market.delist_symbol("usdm", "NEWUSDT", later)
    assert ended.delist_ms is not None and ended.status_at(ended.delist_ms) == "SETTLING"
    rows = market.klines(new, "1m", 0, 100, later + DAY_MS)  # an old Instrument names the same symbol
    assert rows.open_time[-1] == ended.delist_ms - MINUTE
    got = market.updates(
        "usdm", "1m", np.array([position]), ended.delist_ms + 2000, ended.delist_ms + DAY_MS // 24
    )
    assert len(got.position) == 0
    with pytest.raises(KeyError):
        market.delist_symbol("usdm", "NOSUCHUSDT", now)


def test_the_last_day_as_one_bar(market: GeneratedMarket) -> None:
    index = np.array([0, 3, 5])
    for now in (market.start_ms + 5 * 3_600_000 + 12_345, market.start_ms + 5 * 3_600_000 + 99_999):
        rows = market.day("usdm", index, now)
        for i, position in enumerate(index.tolist()):
            hours = market.klines(market.instruments("usdm")[position], "1h", 0, 24, now, latest=True)
            price, volume, quote, _ = market._scales["usdm"][position]
            assert rows[i].tolist() == add_up(hours, price, volume, quote).tolist()


def test_fundings_come_on_the_hour_in_order(market: GeneratedMarket) -> None:
    now = market.start_ms + 3 * 3_600_000
    found = market.funding("usdm", "BTCUSDT", now - 10 * DAY_MS, now)
    hours = one(market, "BTCUSDT").funding_hours
    assert len(found.symbol) in (240 // hours, 240 // hours + 1) and set(found.symbol) == {"BTCUSDT"}
    late = found.funding_time % (hours * 3_600_000)
    assert late.min() == 0 and 0 < late.max() <= 17
    assert (np.abs(found.rate) <= 0.02).all() and (found.mark_price > 0).all()
    every = market.funding("usdm", None, now - DAY_MS, now)
    assert (np.diff(every.funding_time) >= 0).all() and len(set(every.symbol)) >= 24
    some = market.funding("usdm", "BTCUSDT", int(found.funding_time[3]), int(found.funding_time[5]))
    assert some.funding_time.tolist() == found.funding_time[3:6].tolist()
    assert some.rate.tolist() == found.rate[3:6].tolist()
    premium = market.premium("usdm", "BTCUSDT", now)
    assert premium.next_funding_ms == market.start_ms + 8 * 3_600_000
    assert premium.last_funding_rate == found.rate[-1]
    close = market.klines(one(market, "BTCUSDT"), "1m", 0, 1, now - 1, latest=True).values[0, 3]
    assert abs(premium.mark_price / close - 1) < 1e-3


def test_keys_are_the_same_in_every_process() -> None:
    assert key_of(7, "usdm", "BTCUSDT") == 317071880983607428


@pytest.mark.parametrize(
    ("name", "symbol"), [("spot", "NEWUSDT"), ("coinm", "NEWUSD_PERP"), ("usdm", "NEWUSDC")]
)
def test_any_market_can_list(name: str, symbol: str) -> None:
    market = GeneratedMarket(CONFIG)
    new = market.list_symbol(name, symbol, market.start_ms)
    assert (new.market, new.symbol, new.base) == (name, symbol, "NEW")
    rows = market.klines(new, "1h", 0, 10, market.start_ms + 5 * 3_600_000)
    assert rows.open_time[0] == market.start_ms and rows.values[:, 6].sum() > 100
    known = market.instruments(name)[0]
    assert (new.quantity_precision == known.quantity_precision) or name == "usdm"
