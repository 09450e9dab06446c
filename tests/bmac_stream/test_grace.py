"""The grace follows the delays that were seen, and stays between its bounds."""

import math
import random

import pytest

from bmac_stream.grace import DelayHistogram, Grace


def test_a_quantile_is_never_below_the_truth_and_at_most_a_sixth_above() -> None:
    random_ = random.Random(1)
    delays = [random_.lognormvariate(6, 1) for _ in range(5000)]
    histogram = DelayHistogram()
    for delay in delays:
        histogram.add(delay)
    for q in (0.1, 0.5, 0.9, 0.99, 0.995):
        true = sorted(delays)[math.ceil(q * len(delays)) - 1]
        assert true <= histogram.quantile(q) <= max(true * 7 / 6 * 1.0001, 4.0)


def test_of_nothing_there_is_no_quantile() -> None:
    assert math.isnan(DelayHistogram().quantile(0.5))


def test_the_smallest_and_the_largest_delays_have_a_bucket() -> None:
    histogram = DelayHistogram()
    histogram.add(-50.0)
    histogram.add(1e12)
    assert histogram.quantile(0.5) == 4.0
    assert math.isfinite(histogram.quantile(1.0))


def test_fading_forgets_the_old() -> None:
    histogram = DelayHistogram()
    for _ in range(100):
        histogram.add(10_000)
    for _ in range(60):
        histogram.fade(0.9)
        for _ in range(100):
            histogram.add(100)
    assert histogram.quantile(0.995) < 120


def closes(grace: Grace, delay_ms: float, n_bars: int, n_symbols: int = 50) -> None:
    for _ in range(n_bars):
        for _ in range(n_symbols):
            grace.frame(delay_ms)
        grace.bar_over()


def test_grace_follows_the_delays_up_and_down() -> None:
    grace = Grace(15_000)
    assert grace.grace_ms == Grace.START_MS
    closes(grace, 2_000, 5)
    slow = grace.grace_ms
    assert 2_000 < slow < 3_500
    closes(grace, 200, 100)
    assert grace.grace_ms < slow / 2


def test_grace_has_a_floor_and_leaves_rest_half_of_the_limit() -> None:
    grace = Grace(15_000)
    closes(grace, 1, 100)
    assert grace.grace_ms == Grace.FLOOR_MS
    closes(grace, 60_000, 100)
    assert grace.grace_ms == 7_500


def test_a_faster_clock_has_a_higher_floor() -> None:
    grace = Grace(15_000, rate=240)
    closes(grace, 1, 100)
    assert grace.grace_ms == Grace.FLOOR_WALL_MS * 240


def test_few_frames_teach_nothing() -> None:
    grace = Grace(15_000)
    grace.frame(5)
    grace.bar_over()
    assert grace.grace_ms == Grace.START_MS


@pytest.mark.parametrize("n_requests", [0, 1, 8, 100, 10_000])
def test_settling_is_after_the_grace_and_never_after_the_limit(n_requests: int) -> None:
    grace = Grace(15_000)
    for took in (50.0, 80.0, 4_000.0):
        grace.rest(took)
    assert grace.grace_ms < grace.settle_ms(n_requests, 8) <= 15_000


def test_settling_waits_longer_for_more_requests_and_slower_rest() -> None:
    quick, slow = Grace(15_000), Grace(15_000)
    for _ in range(10):
        quick.rest(20.0)
        slow.rest(2_000.0)
    assert quick.settle_ms(1, 8) < quick.settle_ms(17, 8)
    assert quick.settle_ms(1, 8) < slow.settle_ms(1, 8)
