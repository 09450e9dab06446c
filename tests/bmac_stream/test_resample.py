"""resample: longer bars from shorter ones, against the exchange's own and a plain reference."""

import math
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from bmac_stream.bar import COLUMNS
from bmac_stream.resample import Grid, fold, grid_of
from shm import Status

MINUTE, HOUR = 60_000, 3_600_000
BAR, ABSENT, PENDING = (float(one) for one in (Status.BAR, Status.ABSENT, Status.PENDING))
RECORDED = (
    "open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy_volume",
    "taker_buy_quote_volume",
)  # fmt: skip


def rows_of(*bars: tuple[float, ...] | None) -> np.ndarray:
    """Base bars as a store holds them; None is an absent one."""
    rows = np.full((len(COLUMNS) + 1, len(bars)), np.nan)
    for i, bar in enumerate(bars):
        rows[-1, i] = ABSENT
        if bar is not None:
            rows[:, i] = (*bar, BAR)
    return rows


def one(open_: float, high: float, low: float, close: float, trades: float = 1.0) -> tuple[float, ...]:
    return open_, high, low, close, trades / 10, 3 * trades / 10, trades, 0.0, 0.0


# ---- what a bar is made of


def test_first_last_highest_lowest_and_sums() -> None:
    rows = rows_of(one(10, 11, 9, 10.5), one(10.5, 12, 10, 11, 2), one(11, 11.5, 8, 9, 3))
    values, status = fold(rows, 3)
    assert status.tolist() == [Status.BAR]
    assert values[0].tolist() == [10, 12, 8, 9, 0.6, 1.8, 6, 0, 0]


def test_sums_are_those_of_the_decimals() -> None:
    # 0.1 + 0.2 is 0.30000000000000004 in float64; the exchange writes 0.3
    rows = rows_of(one(1, 1, 1, 1, 1), one(1, 1, 1, 1, 2))
    assert fold(rows, 2)[0][0, COLUMNS.index("volume")] == 0.3


def test_an_absent_bar_adds_nothing_and_all_absent_is_absent() -> None:
    rows = rows_of(None, one(10, 11, 9, 10.5), None, None, None, None)
    values, status = fold(rows, 3)
    assert status.tolist() == [Status.BAR, Status.ABSENT]
    assert values[0, :4].tolist() == [10, 11, 9, 10.5]
    assert np.isnan(values[1]).all()


def test_one_pending_bar_makes_the_whole_pending() -> None:
    rows = rows_of(one(1, 2, 0.5, 1), one(1, 2, 0.5, 1), one(1, 2, 0.5, 1), one(3, 3, 3, 3))
    rows[:, 1] = np.nan
    rows[-1, 1] = PENDING
    values, status = fold(rows, 2)
    assert status.tolist() == [Status.PENDING, Status.BAR]
    assert np.isnan(values[0]).all()
    partly, status = fold(rows[:, :2], 2, partly=True)
    assert status.tolist() == [Status.BAR]
    assert partly[0, :4].tolist() == [1, 2, 0.5, 1]


def test_a_bar_without_trades_gives_its_price_only_if_none_had_one() -> None:
    flat, traded = one(7, 7, 7, 7, 0), one(10, 11, 9, 10.5)
    assert fold(rows_of(flat, traded, flat), 3)[0][0, :4].tolist() == [10, 11, 9, 10.5]
    assert fold(rows_of(flat, flat, flat), 3)[0][0, :4].tolist() == [7, 7, 7, 7]


def test_a_listing_begins_within_its_first_bar() -> None:
    rows = rows_of(one(1, 2, 0.5, 1), one(5, 6, 4, 5), one(6, 7, 5, 6))
    values, status = fold(rows, 2, lead=1)
    assert status.tolist() == [Status.BAR, Status.BAR]
    assert values[:, 0].tolist() == [1, 5]
    assert values[:, 1].tolist() == [2, 7]


def test_columns_beside_the_exchange_s_own_are_the_last_one_s() -> None:
    rows = rows_of(one(1, 2, 0.5, 1), one(1, 3, 0.5, 2), None)
    wide = np.vstack([rows[:-1], [[0.1, 0.2, np.nan], [5.0, np.nan, np.nan]], rows[-1:]])
    values, _ = fold(wide, 3)
    np.testing.assert_array_equal(values[:, :9], fold(rows, 3)[0])
    np.testing.assert_array_equal(values[0, 9:], [0.2, np.nan])


def test_no_bars_make_none() -> None:
    values, status = fold(np.empty((len(COLUMNS) + 1, 0)), 5)
    assert values.shape == (0, len(COLUMNS))
    assert status.shape == (0,)


@pytest.mark.parametrize("digits", [0, 2, 3, 5, 8])
def test_sums_of_random_decimals_are_exact_where_float64_tells_them_apart(digits: int) -> None:
    random = np.random.default_rng(digits)
    for n in (2, 60, 1440):
        top = 10.0 ** (15 - digits) / n
        units = random.integers(0, max(2, int(min(top, 1e9) * 10**digits)), n)
        texts = [f"{int(unit) // 10**digits}.{int(unit) % 10**digits:0{digits or 1}d}" for unit in units]
        rows = rows_of(*(one(1, 1, 1, 1),) * n)
        rows[COLUMNS.index("volume")] = [float(text) for text in texts]
        made = fold(rows, n)[0][0, COLUMNS.index("volume")]
        assert made == float(sum(map(Decimal, texts))), (digits, n)


def test_sums_beyond_that_are_close_to_the_exact_one() -> None:
    random = np.random.default_rng(1)
    for _ in range(200):
        x = random.uniform(1e9, 1e13, 60)
        rows = rows_of(*(one(1, 1, 1, 1),) * 60)
        rows[5] = x
        made, exact = fold(rows, 60)[0][0, 5], math.fsum(x)
        assert abs(made - exact) <= 2 * math.ulp(exact)


# ---- the grid


def test_numbers_of_hours_that_begin_at_a_quarter_past() -> None:
    grid = grid_of(MINUTE, 0, "1h", 15)
    assert grid == Grid(HOUR, 15 * MINUTE, 60, 15)
    assert grid.first(0) == 15
    assert [grid.holding(g) for g in (14, 15, 74, 75)] == [-1, 0, 0, 1]


def test_numbers_of_a_length_that_binance_does_not_have() -> None:
    grid = grid_of(5 * MINUTE, 0, "45m", 10)
    assert grid == Grid(45 * MINUTE, 10 * MINUTE, 9, 2)
    assert [grid.holding(g) for g in (1, 2, 10, 11)] == [-1, 0, 0, 1]


@pytest.mark.parametrize(
    ("base", "interval", "offset", "says"),
    [
        (MINUTE, "7m", 0, "nearest: 6m and 8m"),
        (5 * MINUTE, "3m", 0, "multiple of 5m"),
        (5 * MINUTE, "5m", 0, "multiple of 5m"),
        (MINUTE, "3d", 0, "at most 1d"),
        (MINUTE, "1.5h", 0, "no interval"),
        (MINUTE, "45m", 45, "0 to 44"),
        (5 * MINUTE, "1h", 7, "whole number"),
        (MINUTE, "1h", 60, "0 to 59"),
        (MINUTE, "1h", -1, "0 to 59"),
    ],
)
def test_what_cannot_be_made_is_refused(base: int, interval: str, offset: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        grid_of(base, 0, interval, offset)


# ---- the exchange's own


def recorded(path: Path) -> tuple[int, np.ndarray]:
    """(open time of the first minute, rows) of one symbol of 2026-02."""
    table = pq.read_table(path)
    times = np.array(table["open_time"].cast("int64"))
    order = np.argsort(times)
    rows = np.array([table[name].cast("float64").to_numpy()[order] for name in RECORDED])
    assert (np.diff(times[order]) == MINUTE).all()
    return int(times[order[0]]), np.vstack([rows, np.full(rows.shape[1], BAR)])


def test_recorded_minutes_make_the_recorded_hours(recorded_data: Path) -> None:
    """Every field that was recorded of the exchange's own 1h bars, to the bit."""
    hours = pq.read_table(recorded_data / "klines_1h_usdm_top150.parquet").to_pandas()
    n = 0
    for path in sorted((recorded_data / "klines_1m_usdm_2026-02").glob("*.parquet")):
        start, rows = recorded(path)
        assert start % HOUR == 0
        values, status = fold(rows, 60)
        assert (status == Status.BAR).all()
        own = hours[hours.symbol == path.stem]
        i = (own.open_time.to_numpy() - start) // HOUR
        inside = (i >= 0) & (i < len(values))
        expected = own[list(RECORDED[:7])].to_numpy(np.float64)[inside]
        np.testing.assert_array_equal(values[i[inside], :7], expected, err_msg=path.stem)
        n += len(expected)
    assert n > 3000


def test_recorded_minutes_at_every_offset_add_up_to_the_same(recorded_data: Path) -> None:
    """Hours at an offset have no twin at the exchange: a reference in decimals, written apart."""
    path = sorted((recorded_data / "klines_1m_usdm_2026-02").glob("*.parquet"))[0]
    _, rows = recorded(path)
    for offset in (7, 15, 30, 59):
        part = rows[:, offset : offset + 24 * 60]
        values, _ = fold(part, 60)
        for i, made in enumerate(values):
            minutes = part[:, 60 * i : 60 * i + 60]
            traded = minutes[:, minutes[6] > 0]
            assert made[:4].tolist() == [traded[0, 0], traded[1].max(), traded[2].min(), traded[3, -1]]
            for c in range(4, 9):
                exact = sum(Decimal(repr(float(x))) for x in minutes[c])
                assert made[c] == float(exact)
