"""REST answers: shapes, anchoring, weights, headers and errors, against facts and recordings."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from bmac_stream.simulator import Settings
from tests.bmac_stream.simulator.rig import MINUTE_MS, START_MS, new_market, running

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
ROW = (int, str, str, str, str, str, int, str, int, str, str, str)


def opens(rows: list[list[Any]]) -> list[int]:
    return [row[0] for row in rows]


# ---- bodies ----------------------------------------------------------------------------------------


async def test_ping_and_time() -> None:
    async with running(rate=1000.0) as (simulator, client):
        for market in ("spot", "usdm", "coinm"):
            assert (await client.get(market, "ping")).body == {}
            before = simulator.exchange.now_ms()
            body = (await client.get(market, "time")).body
            assert list(body) == ["serverTime"]
            assert before <= body["serverTime"] <= simulator.exchange.now_ms()


@pytest.mark.parametrize(
    ("market", "symbol"), [("spot", "BTCUSDT"), ("usdm", "ETHUSDT"), ("coinm", "BTCUSD_PERP")]
)
async def test_klines_rows(market: str, symbol: str) -> None:
    async with running() as (_, client):
        rows = (await client.get(market, "klines", symbol=symbol, interval="5m", limit=20)).body
        assert len(rows) == 20
        for row in rows:
            assert tuple(map(type, row)) == ROW
            assert row[6] == row[0] + 5 * MINUTE_MS - 1
            o, h, low, c = (float(x) for x in row[1:5])
            assert low <= min(o, c) <= max(o, c) <= h
            assert float(row[9]) <= float(row[5])
            assert float(row[10]) <= float(row[7])
        decimals = [len(x.partition(".")[2]) for x in (rows[0][1], rows[0][5], rows[0][7])]
        if market == "spot":
            assert decimals == [8, 8, 8]
        elif market == "usdm":
            assert decimals[2] == decimals[0] + decimals[1]
        else:
            assert decimals[1:] == [0, 8]


async def test_klines_agree_with_the_truth_to_the_bit() -> None:
    async with running() as (simulator, client):
        rows = (await client.get("usdm", "klines", symbol="ETHUSDT", interval="1m", limit=300)).body
        truth = simulator.truth("usdm", "ETHUSDT", "1m", rows[0][0], rows[-1][0])
        assert opens(rows)[:-1] == truth.open_time.tolist()  # the last one is forming
        columns = [1, 2, 3, 4, 5, 7, 8, 9, 10]
        assert [[float(row[i]) for i in columns] for row in rows[:-1]] == truth.values.tolist()
        printed = (
            await client.get(
                "usdm", "/admin/truth", symbol="ETHUSDT", interval="1m", start=rows[0][0], end=rows[-1][0]
            )
        ).body
        assert printed == rows[:-1]


async def test_the_forming_bar_is_the_last_row() -> None:
    async with running(start_ms=START_MS + 30_000) as (_, client):
        rows = (await client.get("usdm", "klines", symbol="BTCUSDT", interval="1m", limit=2)).body
        assert opens(rows) == [START_MS - MINUTE_MS, START_MS]
        whole = (await client.get("usdm", "klines", symbol="BTCUSDT", interval="1m", limit=1)).body[0]
        assert whole[8] > 0


async def test_limits_of_klines() -> None:
    async with running() as (_, client):
        for market, symbol, most in (
            ("spot", "BTCUSDT", 1000),
            ("usdm", "BTCUSDT", 1500),
            ("coinm", "BTCUSD_PERP", 1500),
        ):
            for limit, n in (({}, 500), ({"limit": 7}, 7), ({"limit": 9999}, most)):
                rows = (await client.get(market, "klines", symbol=symbol, interval="1m", **limit)).body
                assert len(rows) == n
                assert opens(rows) == list(range(START_MS - (n - 1) * MINUTE_MS, START_MS + 1, MINUTE_MS))


@pytest.mark.parametrize("market", ["spot", "usdm"])
async def test_anchors_of_spot_and_usdm(market: str) -> None:
    a, b = START_MS - 50 * MINUTE_MS, START_MS - 10 * MINUTE_MS
    async with running() as (_, client):

        async def ask(**times: int) -> list[int]:
            query = {"symbol": "BTCUSDT", "interval": "1m", "limit": 5, **times}
            return [
                (t - START_MS) // MINUTE_MS for t in opens((await client.get(market, "klines", **query)).body)
            ]

        assert await ask() == [-4, -3, -2, -1, 0]
        assert await ask(startTime=a) == [-50, -49, -48, -47, -46]
        assert await ask(startTime=a + 1) == [-49, -48, -47, -46, -45]
        assert await ask(endTime=b) == [-14, -13, -12, -11, -10]
        assert await ask(startTime=a, endTime=b) == [-50, -49, -48, -47, -46]
        assert await ask(startTime=b, endTime=b + 2 * MINUTE_MS) == [-10, -9, -8]
        assert await ask(startTime=START_MS + HOUR_MS) == []


async def test_coinm_counts_back_from_the_end() -> None:
    a, b = START_MS - 50 * MINUTE_MS, START_MS - 10 * MINUTE_MS
    async with running() as (_, client):

        async def ask(interval: str = "1m", **times: int) -> list[int]:
            query = {"symbol": "BTCUSD_PERP", "interval": interval, "limit": 5, **times}
            return [
                (t - START_MS) // MINUTE_MS
                for t in opens((await client.get("coinm", "klines", **query)).body)
            ]

        assert await ask() == [-4, -3, -2, -1, 0]
        assert await ask(startTime=a, endTime=b) == [-14, -13, -12, -11, -10]
        assert await ask(endTime=b) == [-14, -13, -12, -11, -10]
        assert await ask(startTime=a) == [-4, -3, -2, -1, 0]
        old = START_MS - 300 * DAY_MS
        days = await ask("1d", startTime=old)
        assert days == [(old + d * DAY_MS - START_MS) // MINUTE_MS for d in range(196, 201)]
        answer = await client.get(
            "coinm", "klines", symbol="BTCUSD_PERP", interval="1d", startTime=old, endTime=START_MS
        )
        assert answer.status == 400


async def test_merged_futures_answer_for_each_other() -> None:
    async with running() as (_, client):
        theirs = await client.get("usdm", "klines", symbol="BTCUSD_PERP", interval="1h", limit=3)
        ours = await client.get("coinm", "klines", symbol="BTCUSD_PERP", interval="1h", limit=3)
        assert theirs.body == ours.body
    async with running(settings=Settings(era="split")) as (_, client):
        assert (await client.get("usdm", "klines", symbol="BTCUSD_PERP", interval="1h")).status == 400


async def test_continuous_klines_are_those_of_the_contract() -> None:
    async with running() as (_, client):
        for contract, symbol in (("PERPETUAL", "BTCUSDT"), ("CURRENT_QUARTER", "BTCUSDT_260327")):
            want = (await client.get("usdm", "klines", symbol=symbol, interval="1h", limit=3)).body
            assert len(want) == 3
            got = await client.get(
                "usdm", "continuousKlines", pair="BTCUSDT", contractType=contract, interval="1h", limit=3
            )
            assert got.body == want
        wrong = await client.get(
            "usdm", "continuousKlines", pair="BTCUSDT", contractType="WEEKLY", interval="1h"
        )
        assert (wrong.status, wrong.body["code"]) == (400, -1130)


async def test_ui_klines_and_seconds_on_spot() -> None:
    async with running(start_ms=START_MS + 90_500) as (_, client):
        plain = await client.get("spot", "klines", symbol="BTCUSDT", interval="1h", limit=3)
        ui = await client.get("spot", "uiKlines", symbol="BTCUSDT", interval="1h", limit=3)
        assert opens(ui.body) == opens(plain.body)
        seconds = await client.get("spot", "klines", symbol="BTCUSDT", interval="1s", limit=3)
        assert [t % 1000 for t in opens(seconds.body)] == [0, 0, 0]
        assert (await client.get("usdm", "klines", symbol="BTCUSDT", interval="1s")).body["code"] == -1120


async def test_microseconds_on_spot() -> None:
    async with running() as (_, client):
        headers = {"X-MBX-TIME-UNIT": "MICROSECOND"}
        query = {"symbol": "BTCUSDT", "interval": "1m", "limit": 2}
        plain = (await client.get("spot", "klines", **query)).body
        fine = (await client.get("spot", "klines", headers, **query)).body
        assert opens(fine) == [t * 1000 for t in opens(plain)]
        assert [row[6] for row in fine] == [(row[6] + 1) * 1000 - 1 for row in plain]
        assert (await client.get("spot", "time", headers)).body["serverTime"] > 10**15
        anchored = (await client.get("spot", "klines", startTime=opens(fine)[0], **query)).body
        assert opens(anchored) == opens(plain)
        wrong = await client.get("spot", "time", {"X-MBX-TIME-UNIT": "HOURS"})
        assert wrong.body["code"] == -1194


async def test_premium_index() -> None:
    async with running() as (_, client):
        one = (await client.get("usdm", "premiumIndex", symbol="BTCUSDT")).body
        assert list(one) == [
            "symbol",
            "markPrice",
            "indexPrice",
            "estimatedSettlePrice",
            "lastFundingRate",
            "interestRate",
            "nextFundingTime",
            "time",
        ]
        assert one["nextFundingTime"] % (4 * HOUR_MS) == 0
        everything = (await client.get("usdm", "premiumIndex")).body
        by_symbol = {row["symbol"]: row for row in everything}
        assert by_symbol["BTCUSDT"].keys() == one.keys()
        assert by_symbol["BTCUSDT_260327"]["nextFundingTime"] == 0
        assert by_symbol["BTCUSDT_260327"]["lastFundingRate"] == "0.00000000"
        coin = (await client.get("coinm", "premiumIndex", symbol="BTCUSD_PERP")).body
        assert [row["pair"] for row in coin] == ["BTCUSD"]
        pair = (await client.get("coinm", "premiumIndex", pair="BTCUSD")).body
        assert {row["symbol"] for row in pair} == {"BTCUSD_PERP", "BTCUSD_260327", "BTCUSD_260626"}


async def test_funding_rate() -> None:
    async with running() as (_, client):
        recent = (await client.get("usdm", "fundingRate", symbol="BTCUSDT", limit=5)).body
        assert len(recent) == 5
        assert list(recent[0]) == ["symbol", "fundingTime", "fundingRate", "markPrice"]
        times = [row["fundingTime"] for row in recent]
        assert times == sorted(times)
        assert START_MS - 3 * DAY_MS < times[0] < times[-1] <= START_MS + 1000
        first = await client.get(
            "usdm", "fundingRate", symbol="BTCUSDT", startTime=times[0], endTime=times[-1], limit=2
        )
        assert first.body == recent[:2]
        everyone = (await client.get("usdm", "fundingRate", limit=50)).body
        assert len({row["symbol"] for row in everyone}) > 1
        assert (await client.get("coinm", "fundingRate")).body["code"] == -1102
        assert (await client.get("coinm", "fundingRate", symbol="BTCUSD_260327")).body == []
    late = 1_790_000_000_000
    async with running(start_ms=late) as (_, client):
        rows = (await client.get("usdm", "fundingRate", symbol="BTCUSDT", limit=1)).body
        assert rows[0]["rateType"] == "Regular"


async def test_exchange_info_of_the_futures_is_stale() -> None:
    async with running(start_ms=START_MS + 90 * MINUTE_MS) as (_, client):
        for market in ("usdm", "coinm"):
            body = (await client.get(market, "exchangeInfo")).body
            assert HOUR_MS < START_MS + 90 * MINUTE_MS - body["serverTime"] < 2 * HOUR_MS
        spot = (await client.get("spot", "exchangeInfo")).body
        assert abs(spot["serverTime"] - START_MS - 90 * MINUTE_MS) < 5000


async def test_spot_exchange_info_by_symbol() -> None:
    async with running() as (_, client):

        async def ask(**params: str) -> Any:
            return (await client.get("spot", "exchangeInfo", **params)).body

        names = [s["symbol"] for s in (await ask())["symbols"]]
        assert names[:2] == ["BTCUSDT", "ETHUSDT"]
        assert [s["symbol"] for s in (await ask(symbol="ETHUSDT"))["symbols"]] == ["ETHUSDT"]
        two = await ask(symbols='["ETHUSDT","BTCUSDT"]')
        assert [s["symbol"] for s in two["symbols"]] == ["ETHUSDT", "BTCUSDT"]
        assert (await ask(symbol="NOPE"))["code"] == -1121
        assert (await ask(symbols="BTCUSDT"))["code"] == -1100
        assert (await ask(symbol="BTCUSDT", symbols='["BTCUSDT"]'))["code"] == -1128
        assert (await ask(permissions="LEVERAGED"))["symbols"] == []
        assert len((await ask(permissions="SPOT"))["symbols"]) == len(names)
        assert (await ask(symbolStatus="BREAK"))["symbols"] == []


async def test_listing_and_delisting_show_in_exchange_info() -> None:
    async with running(market=new_market(), rate=60.0, start_ms=START_MS + 30_000) as (simulator, client):
        simulator.fault("listing", market="usdm", symbols=["NEWUSDT"], seconds=600)
        simulator.fault("delisting", market="usdm", symbols=["XRPUSDT"])
        body = (await client.get("usdm", "exchangeInfo")).body
        statuses = {s["symbol"]: s["status"] for s in body["symbols"]}
        assert statuses["NEWUSDT"] == "PENDING_TRADING"
        simulator.exchange.time.set_rate(60_000.0)
        while simulator.exchange.now_ms() < START_MS + 12 * MINUTE_MS:
            body = (await client.get("usdm", "exchangeInfo")).body
        simulator.exchange.time.set_rate(1.0)
        body = (await client.get("usdm", "exchangeInfo")).body
        entries = {s["symbol"]: s for s in body["symbols"]}
        assert entries["NEWUSDT"]["status"] == "TRADING"
        assert entries["XRPUSDT"]["status"] == "SETTLING"
        assert entries["XRPUSDT"]["deliveryDate"] == START_MS + MINUTE_MS
        rows = (await client.get("usdm", "klines", symbol="NEWUSDT", interval="1m")).body
        assert opens(rows)[0] == START_MS + 11 * MINUTE_MS
        gone = (await client.get("usdm", "klines", symbol="XRPUSDT", interval="1m")).body
        assert opens(gone)[-1] == START_MS


# ---- weights and headers ---------------------------------------------------------------------------


async def test_used_weight_in_each_markets_form() -> None:
    async with running() as (_, client):
        spot = await client.get("spot", "time")
        assert (spot.headers["x-mbx-used-weight"], spot.headers["x-mbx-used-weight-1m"]) == ("1", "1")
        klines = await client.get("spot", "klines", symbol="BTCUSDT", interval="1m", limit=1000)
        assert klines.headers["x-mbx-used-weight-1m"] == "3"
        assert (await client.get("spot", "exchangeInfo")).headers["x-mbx-used-weight-1m"] == "23"
        usdm = await client.get("usdm", "klines", symbol="BTCUSDT", interval="1m", limit=499)
        assert usdm.headers["x-mbx-used-weight-1m"] == "2"
        assert "x-mbx-used-weight" not in usdm.headers
        coinm = await client.get("coinm", "klines", symbol="BTCUSD_PERP", interval="1m")
        assert coinm.headers["x-mbx-used-weight-1m"] == "7"  # one pool for both futures
        assert (await client.get("usdm", "premiumIndex")).headers["x-mbx-used-weight-1m"] == "17"
        one = await client.get("usdm", "premiumIndex", symbol="BTCUSDT")
        assert one.headers["x-mbx-used-weight-1m"] == "18"
        for name in ("fundingInfo", "fundingRate"):
            assert not [h for h in (await client.get("usdm", name)).headers if "weight" in h.lower()]


async def test_too_much_weight_is_429_then_418_until_the_ban_ends() -> None:
    async with running() as (simulator, client):
        query = {
            "symbol": "BTCUSDT",
            "interval": "1d",
            "limit": 1500,
            "startTime": 2 * START_MS,
        }  # [], weight 10
        answers = []
        while len(answers) < 260:
            answers.append(await client.get("usdm", "klines", **query))
            if answers[-1].status == 418:
                break
        statuses = [a.status for a in answers]
        assert statuses == [200] * 240 + [429] * 5 + [418]
        refused, banned = answers[240], answers[-1]
        assert refused.body["code"] == banned.body["code"] == -1003
        assert "2400 request weight per 1 MINUTE" in refused.body["msg"]
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert int(banned.headers["Retry-After"]) == 120
        until = int(banned.body["msg"].split("until ")[1].split(".")[0])
        assert (await client.get("coinm", "ping")).status == 418
        assert (await client.get("spot", "ping")).status == 200
        report = simulator.exchange.report()["pools"]["futures"]["127.0.0.1"]
        assert (report["bans"], report["requests_during_ban"]) == (1, 1)
        assert report["max_per_window"] >= 2400
        simulator.exchange.time.set_rate(100_000.0)
        while simulator.exchange.now_ms() < until:
            await client.get("spot", "ping")
        assert (await client.get("usdm", "ping")).status == 200


async def test_fundings_have_a_pool_of_their_own() -> None:
    async with running() as (simulator, client):
        pool = simulator.rest._pool  # the pool that is charged, seen from below
        from bmac_stream.simulator.rest import _ENDPOINTS

        assert pool(_ENDPOINTS["usdm"]["fundingInfo"], "usdm").name == "funding"
        simulator.exchange.limits.charge(
            pool(_ENDPOINTS["usdm"]["fundingRate"], "usdm"), "127.0.0.1", 500, START_MS
        )
        assert (await client.get("usdm", "fundingRate")).status == 429
        assert (await client.get("usdm", "ping")).status == 200


@pytest.mark.parametrize(
    ("market", "name", "recorded"),
    [
        ("spot", "exchangeInfo", "api-v3-exchangeInfo.headers"),
        ("usdm", "exchangeInfo", "fapi-v1-exchangeInfo.headers"),
        ("usdm", "premiumIndex", "fapi-v1-premiumIndex.headers"),
        ("usdm", "fundingInfo", "fapi-v1-fundingInfo.headers"),
        ("usdm", "fundingRate", "fapi-v1-fundingRate-BTCUSDT-limit20.headers"),
    ],
)
async def test_headers_are_those_recorded(recorded_data: Path, market: str, name: str, recorded: str) -> None:
    text = (recorded_data / "rest_2026-07" / recorded).read_text()
    if text.startswith("{"):
        known = json.loads(text)
    else:
        block = text.strip().split("\n\n")[-1]
        known = dict(line.split(": ", 1) for line in block.splitlines()[1:])
    want = {k.lower(): v for k, v in known.items() if v and k != "status"}
    ours_alone = {
        "via",
        "x-cache",
        "x-amz-cf-pop",
        "x-amz-cf-id",
        "cf-ray",
    }  # the way there, not the exchange
    async with running() as (_, client):
        headers = {k.lower(): v for k, v in (await client.get(market, name)).headers.items()}
    assert want.keys() - ours_alone <= headers.keys()
    assert headers["content-type"] == want["content-type"]
    weights = {k for k in headers if "weight" in k}
    assert weights == {k for k in want if "weight" in k}
    if market == "spot":
        same = want.keys() - ours_alone - {"date", "content-length", "x-mbx-uuid"} - weights
        assert {k: headers[k] for k in same} == {k: want[k] for k in same}


# ---- bodies against recordings ---------------------------------------------------------------------


def load(path: Path) -> Any:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        return json.load(file)


def shape(value: Any) -> Any:
    """Keys and types, recursively; a list is the set of its members' shapes."""
    if isinstance(value, dict):
        return {k: shape(v) for k, v in value.items()}
    return type(value).__name__


async def test_usdm_bodies_have_the_recorded_shape(recorded_data: Path) -> None:
    folder = recorded_data / "rest_2026-07"
    async with running() as (_, client):
        info = (await client.get("usdm", "exchangeInfo")).body
        want = load(folder / "fapi-v1-exchangeInfo.json.gz")
        assert list(info) == list(want)
        assert info["rateLimits"] == want["rateLimits"]
        assert shape(info["assets"][0]) == shape(want["assets"][0])
        for symbol in info["symbols"]:
            assert list(symbol) == list(want["symbols"][0])
            assert shape(symbol) == shape(want["symbols"][0])
        kinds = {f["filterType"]: shape(f) for f in want["symbols"][0]["filters"]}
        assert {f["filterType"]: shape(f) for f in info["symbols"][0]["filters"]} == kinds
        premium = (await client.get("usdm", "premiumIndex")).body
        assert shape(premium[0]) == shape(load(folder / "fapi-v1-premiumIndex.json.gz")[0])
        funding = (await client.get("usdm", "fundingInfo")).body
        assert shape(funding[0]) == shape(load(folder / "fapi-v1-fundingInfo.json.gz")[0])
        rates = (await client.get("usdm", "fundingRate", symbol="BTCUSDT", limit=20)).body
        known = load(folder / "fapi-v1-fundingRate-BTCUSDT-limit20.json")
        assert len(rates) == len(known)
        assert shape(rates[0]) == shape(known[0])
        for ours, theirs in (
            (premium[0], load(folder / "fapi-v1-premiumIndex.json.gz")[0]),
            (rates[0], known[0]),
        ):
            for key, value in theirs.items():
                if isinstance(value, str) and "." in value:
                    assert len(ours[key].partition(".")[2]) == len(value.partition(".")[2]), key


async def test_spot_body_has_the_recorded_shape(recorded_data: Path) -> None:
    want = load(recorded_data / "rest_2026-07" / "api-v3-exchangeInfo-curated-BTCETHXVG.json")
    async with running() as (_, client):
        info = (await client.get("spot", "exchangeInfo")).body
    assert list(info) == list(want)
    assert info["rateLimits"] == want["rateLimits"]
    assert list(info["symbols"][0]) == list(want["symbols"][0])
    assert shape(info["symbols"][0]) == shape(want["symbols"][0])
    ours = [list(f) for f in info["symbols"][0]["filters"]]
    assert ours == [list(f) for f in want["symbols"][0]["filters"]]


async def test_coinm_body_has_the_recorded_shape(recorded_data: Path) -> None:
    with gzip.open(recorded_data / "rest_2021" / "BINANCE_DELIVERY.0.gz", "rt", encoding="utf-8") as file:
        text = next(line for line in file if "/dapi/v1/exchangeInfo" in line)
    want = json.loads(text[text.index("{") :])
    async with running() as (_, client):
        info = (await client.get("coinm", "exchangeInfo")).body
    assert list(info) == list(want)
    assert set(info["symbols"][0]) == set(want["symbols"][0])
    assert shape(info["symbols"][0]) == shape(want["symbols"][0])
    assert {f["filterType"] for f in info["symbols"][0]["filters"]} == {
        f["filterType"] for f in want["symbols"][0]["filters"]
    }


# ---- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("market", "params", "code"),
    [
        ("usdm", {"interval": "1m"}, -1102),
        ("usdm", {"symbol": "", "interval": "1m"}, -1102),
        ("usdm", {"symbol": "BTCUSDT"}, -1102),
        ("usdm", {"symbol": "NOPEUSDT", "interval": "1m"}, -1121),
        ("usdm", {"symbol": "BTCUSDT", "interval": "7m"}, -1120),
        ("usdm", {"symbol": "BTCUSDT", "interval": "1m", "limit": "abc"}, -1100),
        ("usdm", {"symbol": "BTCUSDT", "interval": "1m", "limit": "-5"}, -1100),
        ("usdm", {"symbol": "BTCUSDT", "interval": "1m", "limit": "0"}, -1130),
        ("usdm", {"symbol": "BTCUSDT", "interval": "1m", "startTime": "x"}, -1100),
        ("usdm", {"symbol": "BTCUSDT", "interval": "1m", "startTime": "2", "endTime": "1"}, -1023),
        ("spot", {"symbol": "btcusdt", "interval": "1m"}, -1100),
        ("spot", {"symbol": "BTCUSDT", "interval": "1m", "nonsense": "1"}, -1104),
        ("spot", {"symbol": "BTCUSDT", "interval": "1M_"}, -1120),
    ],
)
async def test_errors_of_klines(market: str, params: dict[str, str], code: int) -> None:
    async with running() as (_, client):
        answer = await client.get(market, "klines", **params)
        assert answer.status == 400
        assert list(answer.body) == ["code", "msg"]
        assert answer.body["code"] == code
        assert "x-mbx-used-weight-1m" in answer.headers


async def test_unknown_paths_are_404() -> None:
    async with running() as (_, client):
        assert (await client.get("usdm", "/fapi/v1/nothing")).status == 404
        assert (await client.get("usdm", "/api/v3/time")).status == 404
        assert (await client.get("spot", "/ws/btcusdt@kline_1m")).status == 404  # no upgrade asked


async def test_fundings_of_all_symbols_come_in_pages_without_a_gap() -> None:
    async with running() as (simulator, client):
        now = simulator.exchange.now_ms()
        start = (now // 3_600_000 - 40) * 3_600_000 + 5  # in the middle of those of one hour
        for symbol in (None, "BTCUSDT"):
            truth = simulator.exchange.market.funding("usdm", symbol, start, now)
            wanted = list(zip(truth.funding_time.tolist(), truth.symbol, strict=True))
            found: list[tuple[int, str]] = []
            more: Any = {} if symbol is None else {"symbol": symbol}
            at, pages = start, 0
            while True:
                answer = await client.get("usdm", "fundingRate", startTime=at, endTime=now, limit=13, **more)
                rows = [(row["fundingTime"], row["symbol"]) for row in answer.body]
                found += [row for row in rows if row not in found]
                pages += 1
                if len(rows) < 13:
                    break
                at = rows[-1][0]
            assert found == wanted
            assert len(wanted) > (13 if symbol is None else 3) and pages >= len(wanted) // 13
