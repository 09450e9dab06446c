"""The fault board: what it does to frames, when it is over, and that every way to break a frame breaks it."""

import json
import math
from typing import Any

import pytest

from bmac_stream.simulator.faults import ARMED, AT_ONCE, KINDS, MALFORMED, Fault, FaultBoard, Frame, malform

EVENT = {
    "e": "kline",
    "E": 1_784_000_000_250,
    "s": "BTCUSDT",
    "k": {
        "t": 1_783_999_980_000,
        "T": 1_784_000_039_999,
        "s": "BTCUSDT",
        "i": "1m",
        "f": 10,
        "L": 19,
        "o": "100.00",
        "c": "101.00",
        "h": "102.00",
        "l": "99.00",
        "v": "5.000",
        "n": 10,
        "x": True,
        "q": "500.00000",
        "V": "2.000",
        "Q": "200.00000",
        "B": "0",
    },
}
GOOD = json.dumps(EVENT, separators=(",", ":")).encode()


def frame(text: str, *, closing: bool = False) -> Frame:
    return Frame(text.encode(), closing)


def through(board: FaultBoard, one: Frame, symbol: str = "BTCUSDT") -> list[bytes]:
    return [f.payload for f in board.frames("usdm", symbol, "1m", symbol, one)[0]]


def is_sound(payload: bytes) -> bool:
    """An independent reading of what a consumer may accept, written from the protocol's facts."""
    try:
        event: Any = json.loads(payload.decode("utf-8"))
        if len(payload) > 1 << 20 or event["e"] != "kline":
            return False
        k = event["k"]
        prices = {n: k[n] for n in "ohlcvqVQ"}
        if not all(isinstance(v, str) for v in prices.values()) or type(k["x"]) is not bool:
            return False
        x = {n: float(v) for n, v in prices.items()}
        return (
            all(math.isfinite(v) for v in x.values())
            and 0 < x["l"] <= min(x["o"], x["c"])
            and max(x["o"], x["c"]) <= x["h"]
            and 0 <= x["V"] <= x["v"]
            and event["s"] == k["s"] == "BTCUSDT"
            and k["i"] == "1m"
            and type(k["t"]) is int
            and k["t"] % 60_000 == 0
            and k["T"] == k["t"] + 59_999
            and k["t"] <= event["E"]
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def test_the_good_frame_is_sound() -> None:
    assert is_sound(GOOD)


@pytest.mark.parametrize("variant", list(MALFORMED))
def test_every_variant_breaks_the_frame(variant: str) -> None:
    assert not is_sound(malform(GOOD, variant))


def test_kinds_are_listed_once() -> None:
    assert not set(AT_ONCE) & set(ARMED)
    assert set(KINDS) == set(AT_ONCE) | set(ARMED)


@pytest.mark.parametrize(
    "wrong",
    [
        Fault(kind="no_such"),
        Fault(kind="malformed", variants=["no_such"]),
        Fault(kind="duplicate", probability=1.5),
        Fault(kind="listing"),
    ],
)
def test_senseless_faults_are_refused(wrong: Fault) -> None:
    with pytest.raises(ValueError):
        FaultBoard().add(wrong)


def test_nothing_armed_touches_nothing() -> None:
    board = FaultBoard()
    assert not board.touches_frames
    board.add(Fault(kind="http_error"))
    assert not board.touches_frames
    fault = board.add(Fault(kind="duplicate"))
    assert board.touches_frames
    board.clear(fault.id)
    assert not board.touches_frames


def test_duplicate_counts_down() -> None:
    board = FaultBoard()
    fault = board.add(Fault(kind="duplicate", count=2))
    assert [len(through(board, frame(str(i)))) for i in range(4)] == [2, 2, 1, 1]
    assert (fault.hits, fault.active) == (2, False)
    assert not board.touches_frames


def test_out_of_order_sends_the_one_before_again() -> None:
    board = FaultBoard()
    board.add(Fault(kind="out_of_order"))
    assert through(board, frame("1")) == [b"1"]
    assert through(board, frame("2")) == [b"2", b"1"]
    assert through(board, frame("3"), "ETHUSDT") == [b"3"]


def test_missing_close_spares_forming_frames_and_other_symbols() -> None:
    board = FaultBoard()
    board.add(Fault(kind="missing_close", symbols=["BTCUSDT"]))
    assert through(board, frame("f")) == [b"f"]
    assert through(board, frame("c", closing=True)) == []
    assert through(board, frame("c", closing=True), "ETHUSDT") == [b"c"]


def test_late_frames_come_later() -> None:
    board = FaultBoard()
    board.add(Fault(kind="late", seconds=30, closing=True))
    assert board.frames("usdm", "A", "1m", "A", frame("f")) == ([frame("f")], [])
    now, later = board.frames("usdm", "A", "1m", "A", frame("c", closing=True))
    assert (now, later) == ([], [(30_000, frame("c", closing=True))])


def test_malformed_takes_its_variants_in_turn() -> None:
    board = FaultBoard()
    board.add(Fault(kind="malformed", variants=["null", "empty"]))
    sent = [through(board, Frame(GOOD, False))[0] for _ in range(3)]
    assert sent == [b"null", b"", b"null"]


def test_probability_is_drawn_from_the_seed() -> None:
    def hits(seed: int) -> list[int]:
        board = FaultBoard(seed)
        board.add(Fault(kind="silent_symbols", symbols=["BTCUSDT"], probability=0.5))
        return [len(through(board, frame("x"))) for _ in range(40)]

    assert hits(1) == hits(1)
    assert hits(1) != hits(2)
    assert 5 < sum(hits(1)) < 35


def test_duration_ends_a_fault() -> None:
    board = FaultBoard()
    fault = board.add(Fault(kind="duplicate", duration_s=0.0))
    assert through(board, frame("1")) == [b"1"]
    assert not fault.active
    assert not board.touches_frames


def test_rest_faults_match_market_path_and_client() -> None:
    board = FaultBoard()
    fault = board.add(Fault(kind="http_error", market="usdm", path="klines", client="127.0.0.2"))
    assert board.rest("usdm", "/fapi/v1/klines", "127.0.0.1") is None
    assert board.rest("usdm", "/fapi/v1/time", "127.0.0.2") is None
    assert board.rest("spot", "/api/v3/klines", "127.0.0.2") is None
    assert board.rest("usdm", "/fapi/v1/klines", "127.0.0.2") is fault


def test_rest_faults_match_symbols_and_interval() -> None:
    board = FaultBoard()
    fault = board.add(Fault(kind="http_error", symbols=["BTCUSDT"], interval="1m"))
    assert board.rest("usdm", "/fapi/v1/klines", "127.0.0.1", "ETHUSDT", "1m") is None
    assert board.rest("usdm", "/fapi/v1/klines", "127.0.0.1", "BTCUSDT", "1h") is None
    assert board.rest("usdm", "/fapi/v1/time", "127.0.0.1") is None
    assert board.rest("usdm", "/fapi/v1/klines", "127.0.0.1", "BTCUSDT", "1m") is fault


def test_time_offset_is_of_one_market() -> None:
    board = FaultBoard()
    board.add(Fault(kind="time_offset", market="spot", offset_ms=-5000))
    assert (board.time_offset_ms("spot"), board.time_offset_ms("usdm")) == (-5000, 0)
