"""What a bar says of funding: only what was public when it closed, the same in history as live."""

import random

import numpy as np

from bmac_stream.funding_columns import FundingColumns

HOUR = 3_600_000


def known(times: list[int]) -> FundingColumns:
    columns = FundingColumns()
    for at in random.Random(1).sample(times, len(times)):
        assert columns.settled("A", at, at / 1e9)
    return columns


def test_the_last_rate_before_the_close_and_the_next_time_from_it_on() -> None:
    columns = known([8 * HOUR, 16 * HOUR])
    columns.expected("A", 24 * HOUR, 16 * HOUR)
    assert np.isnan(columns.row("A", 8 * HOUR)[0]), "settled at the close is not before it"
    assert columns.row("A", 8 * HOUR)[1] == 8 * HOUR
    assert columns.row("A", 8 * HOUR + 1) == (8 * HOUR / 1e9, 16 * HOUR)
    assert columns.row("A", 16 * HOUR) == (8 * HOUR / 1e9, 16 * HOUR)
    assert columns.row("A", 17 * HOUR) == (16 * HOUR / 1e9, 24 * HOUR)
    late = columns.row("A", 25 * HOUR)
    assert late[0] == 16 * HOUR / 1e9, "the rate in force, until the next is known"
    assert np.isnan(late[1]), "a settlement that is past is not the next"


def test_nothing_is_known_of_others() -> None:
    columns = known([8 * HOUR])
    assert np.isnan(columns.row("B", 9 * HOUR)).all()
    assert np.isnan(columns.rows("B", np.array([9 * HOUR, 10 * HOUR]))).all()


def test_rows_are_row_for_many() -> None:
    columns = known([at * HOUR for at in (1, 5, 6, 13, 21)])
    columns.expected("A", 29 * HOUR, 21 * HOUR)
    close = np.arange(0, 35 * HOUR, HOUR // 2)
    np.testing.assert_array_equal(columns.rows("A", close), [columns.row("A", int(at)) for at in close])


def test_told_twice_is_no_news_and_a_revision_is() -> None:
    columns = known([8 * HOUR])
    assert not columns.settled("A", 8 * HOUR, 8 * HOUR / 1e9)
    assert columns.settled("A", 8 * HOUR, 0.5)
    assert columns.row("A", 9 * HOUR)[0] == 0.5


def test_a_settlement_is_listed_a_little_after_it_is_due() -> None:
    columns = known([8 * HOUR + 13])
    assert columns.row("A", 8 * HOUR)[1] == 8 * HOUR
    assert columns.row("A", 8 * HOUR + 60_000)[0] == (8 * HOUR + 13) / 1e9


def test_a_bar_written_after_its_settlement_was_due_still_names_it() -> None:
    columns = FundingColumns()
    columns.expected("A", 8 * HOUR, 7 * HOUR)
    columns.expected("A", 16 * HOUR, 8 * HOUR + 1_000)
    assert columns.row("A", 8 * HOUR)[1] == 8 * HOUR
    assert columns.row("A", 9 * HOUR)[1] == 16 * HOUR


def test_a_period_that_the_exchange_changes_is_believed() -> None:
    columns = FundingColumns()
    columns.expected("A", 8 * HOUR, 7 * HOUR)
    columns.expected("A", 12 * HOUR, 7 * HOUR + 1)
    assert columns.row("A", 7 * HOUR)[1] == 12 * HOUR
