"""What is missing, which pages of REST bring it, and what an answer says of every bar asked for.

Pure: no socket, no clock, no store. Bars are bar numbers g (see bar.py), spans are half open [g, end).
"""

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from .bar import N_COLUMNS

__all__ = [
    "ABSENT",
    "ABSENT_AFTER_MS",
    "ABSENT_BEFORE_NEXT_MS",
    "BAR",
    "CLOSE_MARGIN_MS",
    "DENIALS",
    "DENIAL_APART_MS",
    "OVERLAP",
    "UNKNOWN",
    "Answer",
    "Page",
    "cover",
    "judge",
    "pages",
    "spans",
    "weight",
]

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]

# the store's words for a cell (shm.Status); UNKNOWN is EMPTY: nothing is known of it
UNKNOWN: Final = 0
BAR: Final = 1
ABSENT: Final = 2

CLOSE_MARGIN_MS: Final = 1_000
"""A newest row counts as closed when the request was sent so long after the bar's close: trades of the last
milliseconds still reach the row after it. A row that another row follows needs no margin."""

ABSENT_BEFORE_NEXT_MS: Final = 10_000
"""A bar without a row is absent when a later row exists and the bar closed so long before the request."""

ABSENT_AFTER_MS: Final = 120_000
"""The same when no later row exists: the market may be halted, or its next bar has had no trade yet."""

DENIALS: Final = 3
"""So many answers in a row must lack a bar before it is absent, unless a later row is in the answer."""

DENIAL_APART_MS: Final = 1_000
"""They must have been asked for so long after each other, exchange ms: within a moment they are one."""

OVERLAP: Final = 16
"""A readable symbol that catches up is asked for so many of its newest bars again: they may have been
corrected since they were saved."""


class Page(NamedTuple):
    """One request: bars [g, g + n), asked for with limit=n and both times."""

    g: int
    n: int


class Answer(NamedTuple):
    """What a page says of the bars [g, g + n).

    values  float64[n, 9] in bar.COLUMNS order; NaN where there is no closed row
    status  uint8[n]: BAR, ABSENT (the exchange itself has none), or UNKNOWN (ask again later)
    """

    g: int
    values: F64
    status: U8


def pages(g: int, end: int, page_limit: int) -> list[Page]:
    """The cheapest pages for [g, end), oldest first.

    page_limit  rows per page that cost least per row on the market (499 on futures at weight 2, 1000 on
                spot). All but the last page are full; a short last page costs less by itself.
    """
    assert page_limit > 0
    return [Page(start, min(page_limit, end - start)) for start in range(g, end, page_limit)]


def weight(wanted: Iterable[Page], kline_weight: Callable[[int], int]) -> int:
    """What the pages cost together; kline_weight is the market's price of one request by its limit."""
    return sum(kline_weight(page.n) for page in wanted)


def spans(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Ascending spans [g, end) of consecutive numbers; duplicates count once."""
    found: list[tuple[int, int]] = []
    for g in sorted(set(numbers)):
        if found and found[-1][1] == g:
            found[-1] = (found[-1][0], g + 1)
        else:
            found.append((g, g + 1))
    return found


def cover(missing: Iterable[int], page_limit: int, kline_weight: Callable[[int], int]) -> list[Page]:
    """The pages that ask for exactly the missing bars, oldest first, few and cheap.

    Neighbouring holes share a page where that is not dearer than asking for each alone: one request of
    weight 1 for bars 7 and 9, but not one of weight 10 for two bars a day apart.
    """
    found: list[Page] = []
    for g, end in spans(missing):
        for page in pages(g, end, page_limit):
            if found:
                last = found[-1]
                n = page.g + page.n - last.g
                apart = kline_weight(last.n) + kline_weight(page.n)
                if n <= page_limit and kline_weight(n) <= apart:
                    found[-1] = Page(last.g, n)
                    continue
            found.append(page)
    return found


def judge(
    page: Page,
    numbers: I64,
    values: F64,
    *,
    sent_ms: float,
    uncertainty_ms: float,
    origin_ms: int,
    interval_ms: int,
    spoiled: I64 | None = None,
) -> Answer:
    """Lay the rows of an answer on the grid, and say what each bar of the page is.

    numbers         bar numbers of the rows, ascending (rows outside of the page only prove that time went on)
    values          float64[n, 9], the rows
    sent_ms         exchange time when the request was sent: the answer is of then or later
    uncertainty_ms  how wrong the clock may be
    spoiled         bar numbers of rows that are there but break a rule: neither bars nor absent

    A row is closed if a later row exists, or if its bar closed more than CLOSE_MARGIN_MS + uncertainty_ms
    before the request; a newest row that is not so is forming, and UNKNOWN here.
    """
    assert values.shape == (len(numbers), N_COLUMNS)
    grid = np.full((page.n, N_COLUMNS), np.nan)
    status = np.full(page.n, UNKNOWN, np.uint8)
    newest = int(numbers[-1]) if len(numbers) else -1
    # bars below `over` closed so long before the request that no clock error can make them forming
    over = _closed_before(sent_ms - uncertainty_ms - CLOSE_MARGIN_MS, origin_ms, interval_ms)
    inside = (numbers >= page.g) & (numbers < page.g + page.n) & ((numbers < newest) | (numbers < over))
    at = numbers[inside] - page.g
    grid[at] = values[inside]
    status[at] = BAR
    gone = max(
        min(newest, _closed_before(sent_ms - uncertainty_ms - ABSENT_BEFORE_NEXT_MS, origin_ms, interval_ms)),
        _closed_before(sent_ms - uncertainty_ms - ABSENT_AFTER_MS, origin_ms, interval_ms),
    )
    absent = (status == UNKNOWN) & (np.arange(page.g, page.g + page.n) < gone)
    # a row that is there is never absent, closed or not
    for shown in (numbers, spoiled):
        if shown is not None:
            absent[shown[(shown >= page.g) & (shown < page.g + page.n)] - page.g] = False
    status[absent] = ABSENT
    return Answer(page.g, grid, status)


def _closed_before(time_ms: float, origin_ms: int, interval_ms: int) -> int:
    """The first bar that is not closed at `time_ms`: all below it are."""
    return int((time_ms - origin_ms) // interval_ms)
