"""Paths inside bars: they end on the bar, never leave it, and are always the same."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bmac_stream.simulator.path import (
    MAX_STEPS,
    Steps,
    forming,
    make_steps,
    second_rows,
    steps_of_trades,
)

SCALES = np.array([[100.0, 1000.0, 100_000.0, 10.0]])  # 2 price decimals, tick 0.10, 3 volume decimals


def bar(o: int, h: int, low: int, c: int, v: int, n: int, tv: int) -> np.ndarray:
    """A bar from ticks of 0.10 and volume units of 0.001, with quote volumes at (open + close) / 2."""
    middle = (o + c) / 2 * 10
    q, tq = np.rint(middle * v), np.rint(middle * tv)
    prices = [x * 10 / 100 for x in (o, h, low, c)]
    return np.array([[*prices, v / 1000, q / 100_000, n, tv / 1000, tq / 100_000]])


@st.composite
def bars(draw: st.DrawFn) -> np.ndarray:
    n = draw(st.integers(1, 2000))
    o = draw(st.integers(1, 10_000))
    c = o if n == 1 else draw(st.integers(1, 10_000))
    up = draw(st.integers(0, 50)) if n >= 3 else 0
    down = draw(st.integers(0, 50)) if n >= 4 else 0
    v = draw(st.integers(n, 10**7))
    return bar(o, max(o, c) + up, max(1, min(o, c) - down), c, v, n, draw(st.integers(0, v)))


def make(values: np.ndarray, key: int = 5) -> Steps:
    return make_steps(values, np.array([60_000]), np.array([key], np.uint64), SCALES, 60_000)


@given(bars())
@settings(deadline=None, max_examples=200)
def test_a_path_ends_on_its_bar_and_stays_inside(values: np.ndarray) -> None:
    steps = make(values)
    n = int(steps.size[0])
    assert n == min(int(values[0, 6]), MAX_STEPS)
    units = np.rint(values[0] * [100, 100, 100, 100, 1000, 100_000, 1, 1000, 100_000])
    time, price, total = steps.time[0, :n], steps.price[0, :n], steps.total[0, :n]
    assert time[0] >= 60_000 and time[-1] < 120_000 and (np.diff(time) >= 0).all()
    # the end is the bar, to the bit
    assert [steps.high[0, n - 1], steps.low[0, n - 1], price[-1]] == units[[1, 2, 3]].tolist()
    assert total[-1].tolist() == units[4:].tolist()
    assert price[0] == units[0]
    # inside: prices on the tick grid between low and high, both of which are touched
    assert ((price >= units[2]) & (price <= units[1]) & (price % 10 == 0)).all()
    assert price.max() == units[1] and price.min() == units[2]
    # sums only grow; each step holds a trade; takers are a part
    assert (np.diff(total, axis=0) >= 0).all()
    assert (np.diff(total[:, 2]) >= 1).all() and total[0, 2] >= 1
    assert (total[:, 3] <= total[:, 0]).all() and (total[:, 4] <= total[:, 1]).all()
    assert (total == np.rint(total)).all()


@pytest.mark.parametrize("n", [1, 2, 3])
def test_odd_bars_are_reached_too(n: int) -> None:
    """Recordings hold bars with more prices than trades, or quote volume without volume."""
    odd = np.array([[50.0, 52.0, 49.0, 51.0, 0.0, 7.0, n, 0.0, 3.0]])
    units, _, _ = forming(make(odd), 0, 10**12)
    assert units[0].tolist() == [5000.0, 5200.0, 4900.0, 5100.0, 0.0, 700_000.0, n, 0.0, 300_000.0]


def test_paths_are_the_same_again_and_differ_between_keys_and_bars() -> None:
    values = bar(500, 520, 490, 505, 90_000, 100, 30_000)
    a, b = make(values), make(values)
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    assert not np.array_equal(a.time, make(values, key=6).time)
    # other instruments beside it do not matter
    many = make_steps(
        np.repeat(values, 3, axis=0),
        np.full(3, 60_000),
        np.array([9, 5, 11], np.uint64),
        np.repeat(SCALES, 3, axis=0),
        60_000,
    )
    assert np.array_equal(many.price[1], a.price[0]) and np.array_equal(many.total[1], a.total[0])


def test_forming_takes_trades_up_to_now_and_says_what_changed() -> None:
    steps = make(bar(500, 520, 490, 505, 90_000, 10, 30_000))
    first, second = int(steps.time[0, 0]), int(steps.time[0, 1])
    units, last, changed = forming(steps, 60_000, first - 1)
    assert units[0].tolist() == [0.0] * 9 and last[0] == -1 and not changed[0]
    units, last, changed = forming(steps, first - 1, first)
    assert units[0, 0] == units[0, 3] == 5000.0 and units[0, 6] == 1 and last[0] == first and changed[0]
    units, _, changed = forming(steps, first, second - 1)
    assert units[0, 6] == 1 and not changed[0]
    units, _, _ = forming(steps, first, 119_999)
    assert units[0, 6] == 10 and units[0, :4].tolist() == [5000.0, 5200.0, 4900.0, 5050.0]


def test_bars_without_trades_and_bars_that_do_not_exist_have_no_steps() -> None:
    quiet = np.array([[5.0, 5.0, 5.0, 5.0, 0.0, 0.0, 0.0, 0.0, 0.0], [np.nan] * 9])
    keys = np.array([1, 2], np.uint64)
    steps = make_steps(quiet, np.zeros(2, np.int64), keys, np.repeat(SCALES, 2, axis=0), 60_000)
    assert steps.size.tolist() == [0, 0]
    assert make_steps(quiet[1:], np.zeros(1, np.int64), keys[1:], SCALES, 60_000).size.tolist() == [0]


@pytest.mark.parametrize("n", [1, 3, 60, 900])
def test_seconds_add_up_to_the_minute(n: int) -> None:
    high, low, close = (500, 500, 500) if n == 1 else (505, 500, 505) if n == 3 else (520, 490, 505)
    steps = make(bar(500, high, low, close, 90_000, n, 1000))
    rows, before = second_rows(steps, 60_000, 10**9)
    k = int(steps.size[0])
    assert rows.shape == (60, 9)
    assert rows[:, 4:].sum(axis=0).tolist() == steps.total[0, k - 1].tolist()
    traded = rows[:, 6] > 0
    assert rows[traded, 1].max() == steps.high[0, k - 1] and rows[traded, 2].min() == steps.low[0, k - 1]
    assert (before[traded] == (np.cumsum(rows[:, 6]) - rows[:, 6])[traded]).all()
    early, _ = second_rows(steps, 60_000, 89_999)
    assert np.array_equal(early[:30], rows[:30]) and early[30:].sum() == 0


def test_steps_of_trades_are_running_sums() -> None:
    steps = steps_of_trades(
        np.array([10, 11, 30]),
        np.array([100.0, 90.0, 95.0]),
        np.array([1.0, 2.0, 3.0]),
        np.array([100.0, 180.0, 285.0]),
        np.array([True, False, False]),
    )
    assert steps.high[0].tolist() == [100, 100, 100] and steps.low[0].tolist() == [100, 90, 90]
    assert steps.total[0].tolist() == [[1, 100, 1, 0, 0], [3, 280, 2, 2, 180], [6, 565, 3, 5, 465]]
    none = np.empty(0)
    assert steps_of_trades(none.astype(np.int64), none, none, none, none).size.tolist() == [0]
