"""Number formats: byte for byte as recorded frames print them, and back to the same float64."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bmac_stream.simulator.market import Instrument, Rows
from bmac_stream.simulator.numbers import KlineFormat, decimals_of, snap, snap_array


def instrument(symbol: str, market: str, decimals: tuple[int, int, int]) -> Instrument:
    return Instrument(
        market=market,
        symbol=symbol,
        pair=symbol.split("_")[0],
        base="X",
        quote="USDT",
        margin_asset="USDT",
        contract_type="PERPETUAL",
        price_precision=decimals[0],
        quantity_precision=decimals[1],
        quote_precision=decimals[2],
        tick_size="0.01",
        step_size="0.001",
        min_notional="5",
        contract_size=1,
        onboard_ms=0,
        delivery_ms=0,
        list_ms=0,
    )


@given(st.integers(-(2**53) + 1, 2**53 - 1), st.integers(0, 12))
def test_snap_is_the_float_of_the_decimal_text(units: int, decimals: int) -> None:
    sign, digits = "-" if units < 0 else "", f"{abs(units):0{decimals + 1}d}"
    text = f"{sign}{digits[: len(digits) - decimals]}.{digits[len(digits) - decimals :]}".rstrip(".")
    assert snap(float(text), decimals) == float(text)
    assert snap_array(np.array([float(text)]), decimals)[0] == float(text)


@given(st.floats(0, 1e12), st.integers(0, 8))
def test_what_is_snapped_survives_printing(x: float, decimals: int) -> None:
    y = snap(x, decimals)
    assert float(f"{y:.{decimals}f}") == y
    assert abs(y - x) <= 0.5000001 * 10**-decimals + abs(x) * 1e-15


def test_decimals_of_text() -> None:
    assert [decimals_of(t) for t in ("0.0010", "5", "0.1", "0.00000000")] == [4, 0, 1, 8]


def test_recorded_frames_print_the_same_again(recorded_data: Path) -> None:
    n = 0
    with gzip.open(recorded_data / "ws_kline_frames_2021.jsonl.gz", "rt") as lines:
        for line in lines:
            record = json.loads(line)
            if record["market"] == "us":  # another exchange's decimals
                continue
            market = {"spot": "spot", "um": "usdm", "cm": "coinm"}[record["market"]]
            data = json.loads(record["raw"])
            data = data.get("data", data)
            k = data["k"]
            decimals = decimals_of(k["o"]), decimals_of(k["v"]), decimals_of(k["q"])
            if market == "usdm":
                assert decimals[2] == decimals[0] + decimals[1]
            else:
                assert decimals in ((8, 8, 8), (decimals[0], 0, 8))
            one = instrument(k["s"], market, decimals)
            values = [float(k[c]) for c in ("o", "h", "l", "c", "v", "q", "n", "V", "Q")]
            fmt = KlineFormat(one, k["i"])
            printed = fmt.event(data["E"], k["t"], values, k["f"], k["L"], k["x"])
            assert printed == json.dumps(data, separators=(",", ":")).encode()
            assert fmt.k(k["t"], values, k["f"], k["L"], k["x"]) in printed
            n += 1
    assert n > 300


def test_rows_of_klines_have_twelve_elements_of_the_right_types() -> None:
    fmt = KlineFormat(instrument("BTCUSDT", "usdm", (2, 3, 5)), "1m")
    values = np.array([[1.5, 2.0, 1.0, 1.25, 10.5, 13.125, 3.0, 0.5, 0.625]])
    rows = Rows(np.array([60_000]), values, np.array([7]), np.array([9]))
    body = fmt.rows(rows)
    expected = b'[[60000,"1.50","2.00","1.00","1.25","10.500",119999,"13.12500",3,"0.500","0.62500","0"]]'
    assert body == expected
    assert b"[" + fmt.row(60_000, values[0].tolist()) + b"]" == expected
    micro = json.loads(fmt.rows(rows, time_scale=1000))
    assert (micro[0][0], micro[0][6]) == (60_000_000, 119_999_999)


def test_continuous_events_carry_the_pair_and_no_symbol_inside() -> None:
    fmt = KlineFormat(instrument("BTCUSD_PERP", "coinm", (1, 0, 8)), "5m")
    event = json.loads(fmt.continuous(5, "PERPETUAL", 0, [1.0] * 9, 1, 1, True))
    assert (event["e"], event["ps"], event["ct"]) == ("continuous_kline", "BTCUSD", "PERPETUAL")
    assert "s" not in event["k"]
    assert event["k"]["x"] is True and event["k"]["T"] == 299_999 and event["k"]["v"] == "1"


@pytest.mark.parametrize("symbol", ["龙虾USDT", "100%USDT"])
def test_any_symbol_can_be_printed(symbol: str) -> None:
    event = KlineFormat(instrument(symbol, "usdm", (2, 0, 2)), "1m").event(1, 0, [0.0] * 9, -1, -1, False)
    assert json.loads(event)["k"]["s"] == symbol
