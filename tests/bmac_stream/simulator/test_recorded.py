"""Recorded files as markets: what was in the file is what is served, to the bit."""

import gzip
import json
import zipfile
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bmac_stream.simulator.bars import BarMarket
from bmac_stream.simulator.market import Instrument, Rows
from bmac_stream.simulator.numbers import KlineFormat
from bmac_stream.simulator.recorded import RecordedMarket, RecordedTrades, read_klines, to_ms

MINUTE = 60_000
START = 1_769_904_000_000
N = 3 * 1440


def rows(seed: int = 0, n: int = N) -> list[tuple[object, ...]]:
    """Rows of a kline CSV: texts as data.binance.vision prints them."""
    rng = np.random.default_rng(seed)
    price, found = 1000, []
    for i in range(n):
        o, price = price, max(500, price + int(rng.integers(-3, 4)))
        trades = int(rng.integers(0, 9))
        if trades == 0:
            o = price = found[-1][-1] if found else price
            volume = taker = quote = taker_quote = "0"
            h = low = price
        else:
            h, low = max(o, price) + (trades > 3), min(o, price) - (trades > 4)
            lots = trades + int(rng.integers(0, 1000))
            part = int(rng.integers(0, lots + 1))
            volume, taker = f"{lots / 10:.1f}", f"{part / 10:.1f}"
            quote, taker_quote = f"{lots * o / 1e5:.5f}", f"{part * o / 1e5:.5f}"
        opens = START + i * MINUTE
        prices = [f"{x / 1e4:.4f}" for x in (o, h, low, price)]
        found.append(
            (opens, *prices, volume, opens + MINUTE - 1, quote, trades, taker, taker_quote, "0", price)
        )
    return [r[:-1] for r in found]


def truth(known: list[tuple[object, ...]]) -> tuple[np.ndarray, np.ndarray]:
    times = np.array([r[0] for r in known])
    values = np.array([[float(str(r[i])) for i in (1, 2, 3, 4, 5, 7, 8, 9, 10)] for r in known])
    return times, values


def csv(known: list[tuple[object, ...]], *, header: bool, micro: bool = False) -> str:
    lines = ["open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,"
             "taker_buy_quote_volume,ignore"] if header else []  # fmt: skip
    for r in known:
        row = list(r)
        if micro:
            row[0], row[6] = r[0] * 1000, (r[6] + 1) * 1000 - 1  # type: ignore[operator]
        lines.append(",".join(str(x) for x in row))
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("micro", [True, False])
@pytest.mark.parametrize("zipped", [True, False])
def test_files_of_data_binance_vision(tmp_path: Path, header: bool, micro: bool, zipped: bool) -> None:
    known = rows()
    half = 1500
    for name, part in (("2026-01-31", known[:half]), ("2026-02-01", known[half - 5 :])):  # five rows twice
        text = csv(part, header=header, micro=micro)
        stem = f"XYZUSDT-1m-{name}"
        if zipped:
            with zipfile.ZipFile(tmp_path / f"{stem}.zip", "w") as archive:
                archive.writestr(f"{stem}.csv", text)
        else:
            (tmp_path / f"{stem}.csv").write_text(text)
    (tmp_path / "README.txt").write_text("nothing")
    times, values = truth(known)
    found = read_klines(tmp_path)
    assert list(found) == ["XYZUSDT"]
    assert np.array_equal(found["XYZUSDT"][0], times) and np.array_equal(found["XYZUSDT"][1], values)


def parquet(path: Path, names: dict[str, str], **more: object) -> None:
    times, values = truth(rows())
    names_here = ["open", "high", "low", "close", "volume", "quote", "trades", "taker", "taker_quote"]
    columns = dict(zip(names_here, values.T, strict=True))
    table = {"open_time": times, **columns}
    pq.write_table(pa.table({names.get(k, k): v for k, v in table.items()} | more), path)


def test_parquet_of_several_kinds(tmp_path: Path) -> None:
    times, values = truth(rows())
    ours = {
        "quote": "quote_volume",
        "trades": "trade_num",
        "taker": "taker_buy_base_asset_volume",
        "taker_quote": "taker_buy_quote_asset_volume",
    }
    parquet(tmp_path / "AUSDT.parquet", ours)
    bmac = ours | {"open_time": "candle_begin_time"}
    parquet(tmp_path / "b.parquet", bmac, symbol=["BUSDT"] * N)
    stamps = pa.array(times).cast(pa.timestamp("ms", tz="UTC")).cast(pa.timestamp("ns", tz="UTC"))
    parquet(tmp_path / "CUSDT.parquet", ours | {"open_time": "number"}, open_time=stamps)
    parquet(tmp_path / "DUSDT.parquet", {"quote": "quote_volume", "trades": "trades"})
    found = read_klines(tmp_path)
    assert list(found) == ["AUSDT", "BUSDT", "CUSDT", "DUSDT"]
    for symbol in ("AUSDT", "BUSDT", "CUSDT"):
        assert np.array_equal(found[symbol][0], times) and np.array_equal(found[symbol][1], values)
    assert np.array_equal(found["DUSDT"][1][:, :7], values[:, :7])
    assert (found["DUSDT"][1][:, 7:] == 0).all()  # no taker columns there


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no \.parquet"):
        read_klines(tmp_path)
    pq.write_table(pa.table({"open_time": [1], "price": [2.0]}), tmp_path / "x.parquet")
    with pytest.raises(ValueError, match="found \\['open_time', 'price'\\]"):
        read_klines(tmp_path)
    gone = tmp_path / "two"
    gone.mkdir()
    (gone / "AUSDT.csv").write_text(csv(rows(n=50)[::2], header=True))
    (gone / "BUSDT.csv").write_text(csv(rows(n=50), header=True))
    with pytest.raises(ValueError, match="one interval"):
        RecordedMarket(gone)


def test_units_of_time_are_told_apart() -> None:
    t = 1_769_904_060
    for scale in (1, 10**3, 10**6, 10**9):
        assert to_ms(np.array([t * scale])).tolist() == [t * 1000]
    assert to_ms(np.empty(0, np.int64)).tolist() == []


@pytest.fixture
def small(tmp_path: Path) -> Path:
    known = rows()
    hole = known[:2000] + known[2010:]
    (tmp_path / "XYZUSDT-1m-2026-02.csv").write_text(csv(hole, header=True))
    (tmp_path / "ENDUSDT-1m-2026-02.csv").write_text(csv(rows(1)[:1440], header=False))
    return tmp_path


def find(market: BarMarket, symbol: str, name: str = "usdm") -> Instrument:
    found = market.find(name, symbol)
    assert found is not None
    return found


def test_a_recorded_market_serves_its_files(small: Path) -> None:
    market = RecordedMarket(small, history_days=1.0)
    assert market.start_ms == START + 86_400_000 and market.end_ms == START + N * MINUTE
    one = find(market, "XYZUSDT")
    assert (one.price_precision, one.quantity_precision, one.quote_precision) == (4, 1, 5)
    assert (one.base, one.quote, one.tick_size, one.step_size) == ("XYZ", "USDT", "0.0001", "0.1")
    known = rows()
    times, values = truth(known[:2000] + known[2010:])
    got = market.klines(one, "1m", 0, 10_000, market.end_ms)
    assert np.array_equal(got.open_time, times) and np.array_equal(got.values, values)
    assert (got.first_trade_id[0], got.last_trade_id[-1]) == (1, int(values[:, 6].sum()))
    printed = json.loads(KlineFormat(one, "1m").rows(got))
    for text, row in zip(printed, known[:2000] + known[2010:], strict=True):
        assert [float(x) for x in text] == [float(str(x)) for x in row]
        assert row[8] == 0 or text == list(row)  # the CSV prints an empty bar's volumes as 0
    # the path inside bars ends on the file's bars
    index = np.array([0, 1])
    got = market.updates("usdm", "1m", index, market.start_ms, market.start_ms + 30 * MINUTE)
    ours = [(t, v) for p, t, v, x in zip(got.position, got.open_time, got.values, got.closed, strict=True)
            if x and market.instruments("usdm")[p] is one]  # fmt: skip
    assert len(ours) > 20
    for opens, row in ours:
        assert np.array_equal(row, values[times == opens][0])


def test_a_symbol_whose_file_ends_is_delisted_there(small: Path) -> None:
    market = RecordedMarket(small)
    ended = find(market, "ENDUSDT")
    assert ended.delist_ms == START + 1440 * MINUTE
    assert ended.status_at(market.start_ms + 10**8) == "SETTLING"
    assert find(market, "XYZUSDT").delist_ms is None
    assert market.start_ms == START + N * MINUTE // 2  # half of what there is, not ten days
    assert RecordedMarket(small, start_ms=START + 5 * MINUTE).start_ms == START + 5 * MINUTE


def test_the_source_names_the_content(small: Path) -> None:
    a = RecordedMarket(small).source
    assert a.startswith("embedded:recorded:") and a == RecordedMarket(small).source
    path = small / "ENDUSDT-1m-2026-02.csv"
    path.write_text(path.read_text().replace("0.1000", "0.1001", 1))
    assert RecordedMarket(small).source != a


def test_a_new_symbol_can_be_listed_on_recorded_data(small: Path) -> None:
    market = RecordedMarket(small, history_days=1.0)
    new = market.list_symbol("usdm", "NEWUSDT", market.start_ms + 1)
    assert new.list_ms == market.start_ms + MINUTE
    got = market.klines(new, "1m", 0, 10, market.start_ms + 10 * MINUTE)
    assert got.open_time[0] == new.list_ms and len(got.open_time) == 10


def test_coin_margined_and_spot_files_are_told_by_name_or_by_word(tmp_path: Path) -> None:
    (tmp_path / "ETHUSD_PERP-1m-2026-02.csv").write_text(csv(rows(), header=True))
    assert find(RecordedMarket(tmp_path), "ETHUSD_PERP", "coinm").contract_size == 10
    one = find(RecordedMarket(tmp_path, market="spot"), "ETHUSD_PERP", "spot")
    assert (one.price_precision, one.tick_size, one.step_size) == (8, "0.00010000", "0.10000000")


def test_fundings_can_be_recorded_too(small: Path, tmp_path: Path) -> None:
    path = tmp_path / "funding.pq"
    times = [START + 3, START + 28_800_000, START + 57_600_011]
    pq.write_table(
        pa.table(
            {
                "funding_time": times,
                "symbol": ["XYZUSDT", "OTHER", "XYZUSDT"],
                "funding_rate": [1e-4, 2e-4, -3e-5],
            }
        ),
        path,
    )
    market = RecordedMarket(small, funding=path)
    found = market.funding("usdm", None, START, START + 10**9)
    assert found.symbol == ["XYZUSDT", "XYZUSDT"] and found.rate.tolist() == [1e-4, -3e-5]
    assert np.isnan(found.mark_price).all()
    assert market.funding("usdm", "XYZUSDT", START + 4, START + 10**9).funding_time.tolist() == times[2:]


# -- recordings of the real exchange ------------------------------------------------------------------


def test_recorded_minutes_are_served_as_they_are(recorded_data: Path) -> None:
    folder = recorded_data / "klines_1m_usdm_2026-02"
    info = recorded_data / "rest_2026-07" / "fapi-v1-exchangeInfo.json.gz"
    market = RecordedMarket(folder, exchange_info=info)
    assert market.start_ms == START + 10 * 86_400_000
    files = read_klines(folder)
    assert len(files) == len(market.instruments("usdm")) == 7
    symbols = {s["symbol"]: s for s in json.loads(gzip.decompress(info.read_bytes()))["symbols"]}
    for symbol, (times, values) in files.items():
        one = find(market, symbol)
        got = market.klines(one, "1m", 0, 50_000, market.end_ms or 0)
        assert np.array_equal(got.open_time, times) and np.array_equal(got.values, values)
        assert one.price_precision == symbols[symbol]["pricePrecision"]
        assert one.quantity_precision == symbols[symbol]["quantityPrecision"]
        # what is printed reads back as the file's float64, bit for bit
        some = Rows(got[0][::17], got[1][::17], got[2][::17], got[3][::17])
        printed = json.loads(KlineFormat(one, "1m").rows(some))
        back = np.array([[float(row[i]) for i in (1, 2, 3, 4, 5, 7, 8, 9, 10)] for row in printed])
        assert np.array_equal(back, values[::17])


def test_minutes_add_up_to_the_recorded_hours(recorded_data: Path) -> None:
    """Two independent recordings of one month: our sums of minutes against the exchange's own hours."""
    market = RecordedMarket(recorded_data / "klines_1m_usdm_2026-02")
    hours = read_klines(recorded_data / "klines_1h_usdm_top150.parquet")
    n = 0
    for one in market.instruments("usdm"):
        times, values = hours[one.symbol]
        got = market.klines(one, "1h", 0, 2000, market.end_ms or 0)
        common, a, b = np.intersect1d(times, got.open_time, return_indices=True)
        assert np.array_equal(values[a][:, :7], got.values[b][:, :7])
        n += len(common)
    assert n == 7 * 545


def test_other_intervals_are_recognised(recorded_data: Path) -> None:
    hours = RecordedMarket(recorded_data / "klines_1h_usdm_top150.parquet")
    assert hours.intervals("usdm")[0] == "1h" and len(hours.instruments("usdm")) == 150
    days = RecordedMarket(recorded_data / "klines_1d_usdm_519.parquet", history_days=5)
    assert days.intervals("usdm") == ("1d", "3d", "1w") and len(days.instruments("usdm")) == 519


@pytest.fixture(scope="module")
def trades(recorded_data: Path) -> tuple[RecordedTrades, dict[tuple[str, str], list[dict[str, object]]]]:
    files = sorted((recorded_data / "trades_2024-08-08").iterdir())
    plain: dict[tuple[str, str], list[dict[str, object]]] = {}
    for file in files:
        market = {"spot": "spot", "usdm": "usdm", "cm": "coinm"}[file.name.split("_")[0]]
        for line in gzip.decompress(file.read_bytes()).decode().splitlines():
            trade = json.loads(line.partition(" ")[2])["data"]
            plain.setdefault((market, trade["s"]), []).append(trade)
    return RecordedTrades(files), plain


@pytest.mark.parametrize(
    ("name", "symbol"),
    [("spot", "BTCUSDT"), ("spot", "ETHUSDT"), ("usdm", "BTCUSDT"), ("usdm", "ETHUSDT"),
     ("coinm", "BTCUSD_PERP"), ("coinm", "ETHUSD_PERP")],
)  # fmt: skip
def test_forming_bars_are_rebuilt_from_trades(
    trades: tuple[RecordedTrades, dict[tuple[str, str], list[dict[str, object]]]], name: str, symbol: str
) -> None:
    """At many moments: what klines and updates say of the forming bar, against exact sums in Decimal."""
    market, plain = trades
    one = find(market, symbol, name)
    index = np.array([market.instruments(name).index(one)])
    since = market.start_ms
    for now in range(market.start_ms + 7_300, one.delist_ms or 0, 41_700):
        opens = now // MINUTE * MINUTE
        inside = [t for t in plain[name, symbol] if opens <= t["T"] <= now]  # type: ignore[operator]
        got = market.klines(one, "1m", opens, 1, now)
        prices = [Decimal(str(t["p"])) for t in inside]
        sizes = [Decimal(str(t["q"])) for t in inside]
        each = [
            one.contract_size * q / p if name == "coinm" else p * q
            for p, q in zip(prices, sizes, strict=True)
        ]
        taken = [not t["m"] for t in inside]
        eight = Decimal(1).scaleb(-one.quote_precision)
        expected = [
            prices[0], max(prices), min(prices), prices[-1], sum(sizes), sum(each).quantize(eight),
            len(inside),
            sum(q for q, taker in zip(sizes, taken, strict=True) if taker),
            Decimal(sum(q for q, taker in zip(each, taken, strict=True) if taker)).quantize(eight),
        ]  # fmt: skip
        assert got.values[0].tolist() == [float(x) for x in expected]
        assert (got.first_trade_id[0], got.last_trade_id[0]) == (inside[0]["t"], inside[-1]["t"])
        pushed = market.updates(name, "1m", index, since, now)
        assert pushed.values[-1].tolist() == got.values[0].tolist() and not pushed.closed[-1]
        assert pushed.event_ms[-1] == inside[-1]["T"]
        event = json.loads(KlineFormat(one, "1m").event(now, opens, got.values[0].tolist(), 1, 2, False))
        assert Decimal(event["k"]["v"]) == sum(sizes) and Decimal(event["k"]["h"]) == max(prices)
        since = now


def test_closing_frames_of_recorded_trades_come_with_the_next_trade(
    trades: tuple[RecordedTrades, dict[tuple[str, str], list[dict[str, object]]]],
) -> None:
    market, plain = trades
    one = find(market, "BTCUSD_PERP", "coinm")
    index = np.array([market.instruments("coinm").index(one)])
    got = market.updates("coinm", "1m", index, market.start_ms + 1000, (one.delist_ms or 0) - 1)
    assert got.closed[:-1].all() and len(got.closed) >= 5
    for opens, event in zip(got.open_time[:-1].tolist(), got.event_ms[:-1].tolist(), strict=True):
        following = min(int(t["T"]) for t in plain["coinm", "BTCUSD_PERP"] if int(t["T"]) >= opens + MINUTE)  # type: ignore[call-overload]
        assert event == min(following, opens + MINUTE + 2000)
