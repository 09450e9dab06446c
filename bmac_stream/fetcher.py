"""REST at work: history pages and repairs by a few workers, repairs first, never beyond the weight.

The fetcher asks; what an answer means is said by backfill.py, and where it goes by writer.py. A request that
fails is asked again later, for ever, with a growing pause.
"""

import asyncio
import logging
import math
import random
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from .backfill import ABSENT, BAR, UNKNOWN, Answer, Page, cover, judge, pages
from .bar import INTERVALS_MS, origin_ms
from .binance.rest import RestClient
from .clock import Clock
from .errors import ApiError, ExchangeError, RateLimited, StoreFull
from .grace import Grace
from .quiet import Quiet
from .writer import BarWriter, Series, State

__all__ = ["Fetcher"]

log = logging.getLogger("bmac_stream.rest")

HISTORY_SHARE: Final = 0.95
"""History leaves this much of our weight untouched: a closing bar must not wait for the next minute."""

DENIALS: Final = 3
"""So many answers in a row must lack a bar before it is absent, unless a later row is in the answer."""

AGAIN_MS: Final = (120_000.0, 900_000.0)
"""Bars that are absent by such answers alone are asked for again after so long, exchange ms: an exchange that
has trouble may lack for minutes what it has later."""

FIRST_PAUSE_MS: Final = 1_000.0
LONGEST_PAUSE_MS: Final = 300_000.0
"""Between two requests for a bar that the exchange does not give: exchange ms, doubling."""

NO_CLOCK_MS: Final = 365 * 86_400_000.0
"""How wrong a clock may be that nobody has set: rows are then closed by later rows alone, none is absent."""

FAILED_PAUSE_S: Final = 0.2
LONGEST_FAILED_PAUSE_S: Final = 30.0
"""After a request that failed: wall seconds, doubling, jittered."""


@dataclass(slots=True, eq=False)
class _History:
    symbol: str
    cursor: int  # next bar to ask for, while the symbol has no bar yet
    failures: int = 0
    again: int = 0  # how often the end of the history was asked for again
    stuck: int = 0  # how often a page in a row brought nothing
    not_before: float = 0.0  # monotonic seconds


@dataclass(slots=True)
class _Unproven:
    """Bars of a symbol that are absent, though no later row was ever beside their place."""

    bars: set[int]
    due_ms: float
    asked: int = 0


class Fetcher:
    """The workers that ask REST.

    n_workers    requests at the same time
    on_resolved  called with a symbol whose history has been read (or cannot be had)
    on_refused   called with a symbol for which the store has no slot
    """

    def __init__(
        self,
        rest: RestClient,
        writer: BarWriter,
        interval: str,
        clock: Clock,
        grace: Grace,
        *,
        n_workers: int,
        on_resolved: Callable[[str], None] = lambda symbol: None,
        on_refused: Callable[[str], None] = lambda symbol: None,
    ) -> None:
        self.requests = 0
        """klines requests sent, history included."""
        self.repairs = 0
        """klines requests sent for live bars."""
        self.errors: Counter[str] = Counter()
        self.bugs = 0
        """Errors that nobody expected; logged with where they came from."""
        self.progress_at = time.monotonic()
        """When a history page last came, monotonic seconds."""
        self._rest = rest
        self._writer = writer
        self._interval = interval
        self._step = INTERVALS_MS[interval]
        self._origin = origin_ms(interval)
        self._clock = clock
        self._grace = grace
        self._n_workers = n_workers
        self._on_resolved = on_resolved
        self._on_refused = on_refused
        self._page_limit = rest.market.page_rows(interval)
        self._wake = asyncio.Event()
        self._history: deque[_History] = deque()
        self._repairs: deque[str] = deque()
        self._repairing: set[str] = set()
        self._loading: set[str] = set()
        self._pauses: dict[str, tuple[float, float]] = {}  # symbol -> (not before, pause), exchange ms
        self._denied: dict[
            str, dict[int, int]
        ] = {}  # bars -> answers in a row that lacked them; a page at most
        self._unproven: dict[str, _Unproven] = {}
        self._quiet = Quiet(log)

    # -------------------------------------------------------------------------------------------- asking

    @property
    def n_workers(self) -> int:
        """Requests at the same time."""
        return self._n_workers

    def load(self, symbol: str, onboard_ms: int = 0) -> None:
        """Read the history of a symbol (or what it lacks of it), then make it readable."""
        if symbol in self._loading:
            return
        self._loading.add(symbol)
        first = max(0, (onboard_ms - self._origin) // self._step)
        self._history.append(_History(symbol, first))
        self._wake.set()

    def repair(self, symbol: str) -> bool:
        """Ask for what a symbol lacks, before any history. False if that is being done, or was done so
        lately without success that it must wait."""
        if symbol in self._loading or symbol in self._repairing:
            return False
        if self._pauses.get(symbol, (0.0, 0.0))[0] > self._clock.now_ms():
            return False
        self._repairing.add(symbol)
        self._repairs.append(symbol)
        self._wake.set()
        return True

    def forget(self, symbol: str) -> None:
        """The symbol is gone."""
        self._history = deque(job for job in self._history if job.symbol != symbol)
        self._loading.discard(symbol)
        self._pauses.pop(symbol, None)
        self._denied.pop(symbol, None)
        self._unproven.pop(symbol, None)

    # ------------------------------------------------------------------------------------------- working

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._n_workers):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            if self._repairs:
                symbol = self._repairs.popleft()
                try:
                    await self._repair(symbol)
                except Exception:  # a bug must not end the worker
                    self._bug(symbol)
            elif (symbol_again := self._next_unproven()) is not None:
                try:
                    await self._ask_again(symbol_again)
                except Exception:
                    self._bug(symbol_again)
            elif (job := self._next_history()) is not None:
                try:
                    await self._read_history(job)
                except Exception:
                    self._bug(job.symbol)
                    job.not_before = time.monotonic() + LONGEST_FAILED_PAUSE_S
                    self._history.append(job)
            else:
                self._wake.clear()
                timeout_s = 0.1 if self._history else 0.5 if self._unproven else None
                try:
                    # not wait_for: on Python 3.11 it swallows a cancellation that comes with the event
                    async with asyncio.timeout(timeout_s):
                        await self._wake.wait()
                except TimeoutError:
                    continue

    def _next_history(self) -> _History | None:
        """The first page that may be asked for now; None if there is none, or not enough weight."""
        if not self._history or self._clock.uncertainty_ms == math.inf:
            return None  # without the time nobody knows which bars are history
        governor = self._rest.governor
        weight = self._rest.market.kline_weight(self._page_limit)
        if governor.blocked_s > 0 or governor.used + weight > max(weight, HISTORY_SHARE * governor.capacity):
            return None
        now = time.monotonic()
        for _ in range(len(self._history)):
            job = self._history.popleft()
            if job.not_before <= now:
                return job
            self._history.append(job)
        return None

    async def _read_history(self, job: _History) -> None:
        """One page of a symbol's history; the next one is asked for next."""
        writer = self._writer
        series = writer.series.get(job.symbol)
        if series is None:
            return
        now_g = writer.now_g()
        oldest = now_g - writer.window
        if series.state is State.EXPECTED:
            start = job.cursor = max(job.cursor, oldest)
        else:
            if series.state is State.ACTIVE and series.next_g < oldest:
                writer.skip(job.symbol, oldest)
            start = series.next_g
            if not any(g not in series.waiting for g in range(start, now_g)):
                self._finish(job, series)
                return
        page = pages(start, max(now_g, start) + 1, self._page_limit)[
            0
        ]  # the forming bar proves the one before
        try:
            answer, sent_ms = await self._ask(job.symbol, page)
        except ExchangeError as error:
            self._failed(job, error)
            return
        except asyncio.CancelledError:
            self._history.appendleft(job)
            raise
        job.failures = 0
        self.progress_at = time.monotonic()
        if writer.series.get(job.symbol) is not series:
            return  # delisted meanwhile
        try:
            # a page of which nothing can be used time and again must not be asked for for ever
            writer.answer(job.symbol, answer, sent_ms, final=job.stuck >= DENIALS)
        except StoreFull as error:
            log.error("%s is not collected: %s (raise store.max_symbols)", job.symbol, error)
            self._on_refused(job.symbol)
            self._resolved(job.symbol)
            return
        if series.state is State.EXPECTED and job.symbol in self._denied:
            self._history.appendleft(job)  # an empty page: asked for again
            return
        job.cursor = page.g + page.n
        if page.g + page.n > now_g:
            behind = series.state is not State.EXPECTED and writer.missing(job.symbol, now_g - 1)
            if behind and job.again < DENIALS:
                job.again += 1  # a page without its newest rows: not the last word
                job.not_before = time.monotonic() + FAILED_PAUSE_S * 0.25
                self._history.append(job)
                return
            self._finish(job, series)
        elif series.state is State.EXPECTED or series.next_g > start:
            job.stuck = 0
            self._history.appendleft(job)
            self._wake.set()
        else:
            job.stuck += 1
            job.not_before = time.monotonic() + FAILED_PAUSE_S * 0.25
            self._history.append(job)

    def _finish(self, job: _History, series: Series) -> None:
        """All pages were read: the symbol becomes readable, unless the panel is ahead of it."""
        if series.state is State.LOADING and not self._writer.activate(job.symbol):
            job.not_before = time.monotonic() + min(0.2 * 1.5**job.failures, 5.0)
            job.failures += 1
            self._history.append(job)
            return
        self._resolved(job.symbol)

    def _resolved(self, symbol: str) -> None:
        self._loading.discard(symbol)
        self._on_resolved(symbol)

    async def _repair(self, symbol: str) -> None:
        """All that a symbol lacks, in as few requests as that takes."""
        writer = self._writer
        pause = self._pauses.get(symbol, (0.0, 0.0))[1]
        try:
            if (series := writer.series.get(symbol)) is None:
                return
            now_g = writer.now_g()
            missing = writer.missing(symbol, now_g)
            doubtful = [g for g in missing if g in series.doubtful]
            price = self._rest.market.kline_weight
            for page in cover(missing, self._page_limit, price):
                more = page.n + 1
                if page.g + page.n == now_g and more <= self._page_limit and price(more) == price(page.n):
                    page = page._replace(n=more)  # the row that proves the newest one closed
                self.repairs += 1
                answer, sent_ms = await self._ask(symbol, page)
                if writer.series.get(symbol) is not series:
                    return  # delisted meanwhile, or listed anew: then its history comes first
                writer.answer(symbol, answer, sent_ms)
            writer.decided(symbol, doubtful)
            if writer.missing(symbol, now_g):
                pause = min(max(2 * pause, FIRST_PAUSE_MS), LONGEST_PAUSE_MS)
                self._pauses[symbol] = (self._clock.now_ms() + pause, pause)
            else:
                self._pauses.pop(symbol, None)
        except ExchangeError as error:
            self._note(symbol, error)
            pause = min(max(2 * pause, FAILED_PAUSE_S * 1e3 * self._clock.rate), LONGEST_PAUSE_MS)
            self._pauses[symbol] = (self._clock.now_ms() + pause * random.uniform(0.5, 1.0), pause)
        finally:
            self._repairing.discard(symbol)

    def _next_unproven(self) -> str | None:
        """A symbol whose doubtful absent bars are due to be asked for; None: none, or no weight to spare."""
        governor = self._rest.governor
        if not self._unproven or governor.blocked_s > 0 or governor.used > HISTORY_SHARE * governor.capacity:
            return None
        now_ms = self._clock.now_ms()
        for symbol, doubt in self._unproven.items():
            if doubt.due_ms <= now_ms:
                doubt.due_ms = math.inf  # in one worker's hands
                return symbol
        return None

    async def _ask_again(self, symbol: str) -> None:
        """What is absent by the exchange's word: if it has it now, a correction brings it in."""
        writer, doubt = self._writer, self._unproven[symbol]
        series = writer.series.get(symbol)
        if series is None or series.state is State.EXPECTED:
            self._unproven.pop(symbol, None)
            return
        try:
            for page in cover(doubt.bars, self._page_limit, self._rest.market.kline_weight):
                answer, sent_ms = await self._ask(symbol, page, last_word=True)
                if writer.series.get(symbol) is not series:
                    return
                writer.answer(symbol, answer, sent_ms)
                found = page.g + np.flatnonzero(answer.status == BAR)
                doubt.bars.difference_update(int(g) for g in found)
        except ExchangeError as error:
            self._note(symbol, error)
            doubt.due_ms = self._clock.now_ms() + AGAIN_MS[0]
            return
        doubt.asked += 1
        if doubt.asked >= len(AGAIN_MS) or not doubt.bars:
            self._unproven.pop(symbol, None)
        else:
            doubt.due_ms = self._clock.now_ms() + AGAIN_MS[doubt.asked]

    async def _ask(self, symbol: str, page: Page, *, last_word: bool = False) -> tuple[Answer, float]:
        """One request; the answer, judged, and the exchange time from which it is at least.

        last_word  what it lacks was denied often enough
        """
        sent_ms, started = self._clock.now_ms(), time.monotonic()
        self.requests += 1
        bad: list[tuple[int, str]] = []
        rows = await self._rest.klines(
            symbol,
            self._interval,
            start_ms=self._origin + page.g * self._step,
            end_ms=self._origin + (page.g + page.n - 1) * self._step,
            limit=page.n,
            bad=bad,
        )
        self._grace.rest((time.monotonic() - started) * 1e3 * self._clock.rate)
        if bad:
            self.errors["bad_rows"] += len(bad)
            self._quiet.warning("bad_rows", "klines of %s: row %d breaks the rule %r", symbol, *bad[0])
        answer = judge(
            page,
            (rows.open_time - self._origin) // self._step,
            rows.values,
            sent_ms=sent_ms,
            uncertainty_ms=min(self._clock.uncertainty_ms, NO_CLOCK_MS),
            origin_ms=self._origin,
            interval_ms=self._step,
            spoiled=np.array([(time_ms - self._origin) // self._step for time_ms, _ in bad], np.int64),
        )
        if not last_word:
            self._confirm(symbol, answer, int(rows.open_time[-1]) if len(rows.open_time) else -1)
        return answer, sent_ms

    def _confirm(self, symbol: str, answer: Answer, newest_ms: int) -> None:
        """Bars that an answer lacks at its end, where no later row proves that it is whole, are absent only
        when DENIALS answers lack them: a page that was cut short must not become a hole for ever."""
        newest = (newest_ms - self._origin) // self._step
        lacking = [answer.g + int(i) for i in np.flatnonzero(answer.status == ABSENT)]
        before = self._denied.pop(symbol, {})
        denied = {g: n for g in lacking if g > newest and (n := before.get(g, 0) + 1) < DENIALS}
        if denied:
            answer.status[[g - answer.g for g in denied]] = UNKNOWN
            self._denied[symbol] = denied
        if believed := {g for g in lacking if g > newest and g not in denied}:
            doubt = self._unproven.setdefault(symbol, _Unproven(set(), self._clock.now_ms() + AGAIN_MS[0]))
            doubt.bars |= believed
            first, last = (self._origin + (g + 1) * self._step for g in (min(believed), max(believed)))
            self._quiet.warning(
                "absent", "%s: absent by the exchange's word, to be asked for again: %d run_times, %d to %d",
                symbol, len(believed), first, last,
            )  # fmt: skip

    def _failed(self, job: _History, error: ExchangeError) -> None:
        self._note(job.symbol, error)
        if not isinstance(error, RateLimited):  # that one is the governor's to wait for
            pause = min(FAILED_PAUSE_S * 2**job.failures, LONGEST_FAILED_PAUSE_S)
            job.not_before = time.monotonic() + pause * random.uniform(0.5, 1.0)
            job.failures = min(job.failures + 1, 10)
        if isinstance(error, ApiError) and error.code == -1121:
            job.not_before = time.monotonic() + LONGEST_FAILED_PAUSE_S
            self._on_resolved(job.symbol)  # the exchange does not know it: nobody waits for it
        self._history.append(job)

    def _bug(self, symbol: str) -> None:
        self.bugs += 1
        self._quiet.exception("bug", "unexpected error with an answer for %s", symbol)

    def _note(self, symbol: str, error: ExchangeError) -> None:
        kind = type(error).__name__
        self.errors[kind] += 1
        self._quiet.warning(kind, "REST, klines of %s: %s: %s", symbol, kind, error)
