"""What is asked for is exactly what is missing, and cheap; what an answer says is never more than true."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bmac_stream.backfill import (
    ABSENT,
    ABSENT_AFTER_MS,
    ABSENT_BEFORE_NEXT_MS,
    BAR,
    CLOSE_MARGIN_MS,
    UNKNOWN,
    Answer,
    Page,
    cover,
    judge,
    pages,
    spans,
    weight,
)

MINUTE = 60_000


def futures(limit: int) -> int:
    """What a klines request costs on USD-M and COIN-M."""
    return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1000 else 10


def test_pages_cover_the_span_once_oldest_first() -> None:
    assert pages(0, 1500, 499) == [Page(0, 499), Page(499, 499), Page(998, 499), Page(1497, 3)]
    assert pages(5, 5, 499) == []
    assert pages(5, 6, 499) == [Page(5, 1)]


def test_pages_are_the_cheapest() -> None:
    # best cost of n bars by any mix of requests, by dynamic programming over the four price steps
    best = [0.0] * 1601
    for n in range(1, 1601):
        best[n] = min(
            best[max(0, n - step)] + price for step, price in ((99, 1), (499, 2), (1000, 5), (1500, 10))
        )
    for n in range(1, 1601):
        assert weight(pages(0, n, 499), futures) == best[n]


def test_spans() -> None:
    assert spans([5, 3, 4, 9, 9, 11, 10]) == [(3, 6), (9, 12)]
    assert spans([]) == []


@given(st.sets(st.integers(0, 5000), max_size=60))
def test_cover_asks_for_all_that_is_missing_and_is_never_dearer_than_one_by_one(missing: set[int]) -> None:
    found = cover(missing, 499, futures)
    asked = {g for page in found for g in range(page.g, page.g + page.n)}
    assert missing <= asked
    assert all(page.n <= 499 for page in found)
    assert all(page.g in missing and page.g + page.n - 1 in missing for page in found)
    alone = [page for g, end in spans(missing) for page in pages(g, end, 499)]
    assert weight(found, futures) <= weight(alone, futures)
    assert len(found) <= len(alone)
    assert [page.g for page in found] == sorted(page.g for page in found)


def test_near_holes_share_a_page_and_far_ones_do_not() -> None:
    assert cover([7, 9], 499, futures) == [Page(7, 3)]
    assert cover([7, 1447], 1500, futures) == [Page(7, 1), Page(1447, 1)]


def bars(numbers: list[int]) -> tuple[np.ndarray, np.ndarray]:
    values = np.arange(len(numbers) * 9, dtype=np.float64).reshape(-1, 9) + 1.0
    return np.array(numbers, np.int64), values


def asked(
    page: Page, numbers: list[int], at_ms: float, uncertainty_ms: float = 0.0, following: bool = False
) -> Answer:
    numbers_, values = bars(numbers)
    return judge(
        page, numbers_, values, sent_ms=at_ms, uncertainty_ms=uncertainty_ms,
        origin_ms=0, interval_ms=MINUTE,
    )  # fmt: skip


def test_a_row_that_another_follows_is_closed() -> None:
    answer = asked(Page(10, 2), [10, 11], at_ms=11 * MINUTE + 5)
    assert list(answer.status) == [BAR, UNKNOWN]
    assert answer.values[0, 0] == 1.0
    assert np.isnan(answer.values[1]).all()


def test_the_newest_row_is_closed_only_a_margin_after_its_close() -> None:
    close = 11 * MINUTE
    for late, uncertainty, wanted in (
        (-1, 0, UNKNOWN), (0, 0, UNKNOWN), (CLOSE_MARGIN_MS - 1, 0, UNKNOWN), (CLOSE_MARGIN_MS, 0, BAR),
        (CLOSE_MARGIN_MS, 50, UNKNOWN), (CLOSE_MARGIN_MS + 50, 50, BAR),
    ):  # fmt: skip
        assert list(asked(Page(10, 1), [10], close + late, uncertainty).status) == [wanted]


def test_a_forming_row_is_never_a_bar_nor_absent() -> None:
    answer = asked(Page(10, 1), [10], at_ms=10 * MINUTE + 30_000)
    assert list(answer.status) == [UNKNOWN]


def test_a_hole_between_rows_is_absent_some_time_after() -> None:
    page, rows = Page(10, 3), [10, 12]
    late = 12 * MINUTE + ABSENT_BEFORE_NEXT_MS
    assert list(asked(page, rows, late - 1).status) == [BAR, UNKNOWN, UNKNOWN]
    assert list(asked(page, rows, late).status) == [BAR, ABSENT, UNKNOWN]


def test_a_hole_at_the_end_is_absent_only_much_later() -> None:
    page = Page(10, 2)
    assert list(asked(page, [10], 12 * MINUTE + ABSENT_AFTER_MS - 1).status) == [BAR, UNKNOWN]
    assert list(asked(page, [10], 12 * MINUTE + ABSENT_AFTER_MS).status) == [BAR, ABSENT]
    assert list(asked(page, [], 12 * MINUTE + ABSENT_AFTER_MS).status) == [ABSENT, ABSENT]


def test_a_bar_that_is_not_over_is_never_absent() -> None:
    assert list(asked(Page(10, 2), [], 10 * MINUTE + 1).status) == [UNKNOWN, UNKNOWN]
    assert list(asked(Page(10, 2), [15], 10 * MINUTE + 1).status) == [UNKNOWN, UNKNOWN]


def test_rows_after_the_page_prove_that_time_went_on() -> None:
    assert list(asked(Page(10, 1), [10, 11], 11 * MINUTE + 1).status) == [BAR]


def test_a_row_that_breaks_a_rule_is_neither_a_bar_nor_absent() -> None:
    numbers, values = bars([10, 12])
    answer = judge(
        Page(10, 3), numbers, values, sent_ms=1e9, uncertainty_ms=0, origin_ms=0, interval_ms=MINUTE,
        spoiled=np.array([11, 99], np.int64),
    )  # fmt: skip
    assert list(answer.status) == [BAR, UNKNOWN, BAR]


@settings(max_examples=300)
@given(
    rows=st.sets(st.integers(0, 30)),
    g=st.integers(0, 25),
    n=st.integers(1, 10),
    at=st.integers(0, 40 * MINUTE),
    uncertainty=st.integers(0, 5000),
)
def test_an_answer_is_a_subset_of_the_truth(
    rows: set[int], g: int, n: int, at: int, uncertainty: int
) -> None:
    """Whatever the exchange shows at exchange time `at`: rows of bars begun by then, the newest forming."""
    truth = sorted(r for r in rows if r * MINUTE <= at - uncertainty)
    answer = asked(Page(g, n), truth, at, uncertainty)
    for i, status in enumerate(answer.status):
        number = g + i
        closed = (number + 1) * MINUTE <= at - uncertainty
        if status == BAR:
            assert number in truth and (closed or number < truth[-1])
            assert answer.values[i, 0] == truth.index(number) * 9 + 1.0
        else:
            assert np.isnan(answer.values[i]).all()
        if status == ABSENT:
            assert number not in truth and closed


@pytest.mark.parametrize("numbers", [[], [10]])
def test_one_row_per_bar_asked_for(numbers: list[int]) -> None:
    answer = asked(Page(9, 4), numbers, 0)
    assert answer.g == 9
    assert answer.values.shape == (4, 9)
    assert answer.status.shape == (4,)
