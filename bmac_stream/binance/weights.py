"""How much may be asked of the exchange, and when: one Governor per pool of request weight.

Binance counts the weight of requests per address in fixed windows (minutes) of its own clock, tells the
count in a header, answers 429 when it is too much, and 418, a ban, when that is ignored. A Governor grants
weight so that our part stays within `share` of the limit in *every* window of the exchange's clock:

* A request is counted in each window that it may have reached the exchange in: from the moment it was
  granted until it was answered, widened on both sides by what the clock may be wrong by.
* What was spent is remembered by the monotonic clock and laid on the exchange's windows by the clock of
  now, so that a re-sync moves the past along instead of forgetting it.
* What others on this address use is learnt from the header; together we stay below `ceiling`.
* 429 and 418 stop everything until the exchange's own deadline. The deadline is kept in a file, so that a
  restarted collector waits as well.

The order is first come, first served. Not thread-safe: one event loop owns it.
"""

import asyncio
import json
import math
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from bmac_stream.clock import Clock

__all__ = ["CEILING", "Governor", "Ticket"]

CEILING: Final = 0.95
"""Part of the limit that all users of the address together may reach before we hold back."""

_MAX_MARGIN_MS: Final = 5_000.0
_ON_ITS_WAY_S: Final = 2.0  # how long after we gave it up a request may still reach the exchange, wall time
_MAX_BLOCK_S: Final = 4 * 86_400.0  # Binance's longest ban is 3 days; a header that says more is wrong


class Ticket:
    """Weight that was granted to one request. Open until the answer came (or none will)."""

    __slots__ = ("ended", "granted", "weight")

    def __init__(self, weight: int, granted: float) -> None:
        self.weight = weight
        self.granted = granted
        """When, on the monotonic clock, seconds."""
        self.ended = math.inf


class Governor:
    """Grants request weight within `share` of `limit` per window of exchange time.

    limit       weight per window that the exchange allows per address
    share       the part of it we may take, 0 < share <= 1
    window_ms   length of the window, ms of exchange time
    state_file  where a 429's or a ban's deadline survives a restart; None: nowhere
    name        what is governed; a state file of another name is not obeyed
    monotonic, sleep   wall seconds; only tests replace them, together with the clock
    """

    def __init__(
        self,
        limit: int,
        share: float,
        clock: Clock,
        *,
        state_file: Path | None = None,
        name: str = "",
        window_ms: int = 60_000,
        ceiling: float = CEILING,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        if not 0.0 < share <= 1.0:
            raise ValueError(f"share must be above 0 and at most 1, found {share}")
        self.limit = limit
        self.share = share
        self.name = name
        self.capacity = math.floor(limit * share)
        """The most weight we take per window."""
        if self.capacity < 1:
            raise ValueError(f"share {share} of {limit} leaves no weight at all")
        self.used_total = 0
        """Weight granted since the start."""
        self.waited_s = 0.0
        """Wall seconds that requests have waited for weight."""
        self.max_used = 0
        """The most weight counted into one window so far."""
        self._ceiling = math.floor(limit * max(share, ceiling))
        self._clock = clock
        self._monotonic = monotonic
        self._sleep = sleep
        self._window_ms = window_ms
        self._state_file = state_file
        self._turn = asyncio.Lock()  # hands over in order of arrival, and survives a cancelled waiter
        self._tickets: deque[Ticket] = deque()  # in order of granting; only what can still matter
        self._window = 0
        self._mapping = math.nan  # exchange time at monotonic 0; moves only when the clock is synced
        self._margin = math.nan  # the margin that the counts were made with
        self._used = 0  # weight that the exchange may have counted in this window
        self._answered = 0  # weight that it surely has
        self._others = 0
        self._blocked_until = -math.inf  # monotonic seconds
        self._banned = False
        self._load()

    # -------------------------------------------------------------------------------------- asking

    async def acquire(self, weight: int) -> Ticket:
        """Wait for `weight`, in order of arrival. The ticket must be given to `end` when the answer is in.

        ValueError if the weight could never be granted. A waiter that is cancelled has taken nothing.
        """
        if not 0 <= weight <= self.capacity:
            raise ValueError(f"weight {weight} is more than this collector may use: {self.capacity}")
        asked = self._monotonic()
        async with self._turn:
            while (wait_ms := self._wait_ms(weight)) > 0:
                # In slices, because a re-sync of the clock moves the window's end.
                await self._sleep(min(self._clock.wall_s(wait_ms), 1.0))
            ticket = Ticket(weight, self._monotonic())
            self._tickets.append(ticket)
            self._used += weight
            self.used_total += weight
            self.max_used = max(self.max_used, self._used)
        self.waited_s += ticket.granted - asked
        return ticket

    def end(self, ticket: Ticket, *, answered: bool = True) -> None:
        """The request is over. Its weight stays counted in its window; without an answer (failed, cancelled)
        it may still be on its way, and counts for a little longer."""
        if ticket.ended < math.inf:
            return
        self._refresh()
        ticket.ended = self._monotonic()
        if not answered:
            ticket.ended += _ON_ITS_WAY_S
        elif self._windows_of(ticket, ticket.ended) == (self._window, self._window):
            self._answered += ticket.weight

    @asynccontextmanager
    async def request(self, weight: int) -> AsyncIterator[Ticket]:
        """`acquire` and `end` around one request, whatever happens to it."""
        ticket = await self.acquire(weight)
        answered = False
        try:
            yield ticket
            answered = True
        finally:
            self.end(ticket, answered=answered)

    # ------------------------------------------------------------------------------------ learning

    def observe(self, used: int, ticket: Ticket) -> None:
        """The exchange's own count, from the header of the answer to `ticket`: others use this address too.

        Ignored when the answer may belong to the window before.
        """
        self._refresh()
        if self._windows_of(ticket, self._monotonic()) != (self._window, self._window):
            return
        # Requests still under way may be in `used` but are not subtracted: on the safe side, by what is
        # under way at most.
        ours = self._answered + (ticket.weight if ticket.ended == math.inf else 0)
        self._others = max(self._others, used - ours)

    def limited(self, retry_after_s: float) -> None:
        """429: nothing more until `retry_after_s` seconds of exchange time have passed."""
        self._block(retry_after_s, banned=False)

    def banned(self, retry_after_s: float) -> None:
        """418: this address is banned for so long. Survives a restart through the state file."""
        self._block(retry_after_s, banned=True)

    @property
    def blocked_s(self) -> float:
        """Wall seconds until anything may be asked again; 0 when nothing forbids it."""
        return max(0.0, self._blocked_until - self._monotonic())

    @property
    def is_banned(self) -> bool:
        """Whether a ban (418) is in force."""
        return self._banned and self.blocked_s > 0

    @property
    def used(self) -> int:
        """Weight counted into the window of now, ours alone."""
        self._refresh()
        return self._used

    @property
    def used_by_all(self) -> int:
        """Weight of the window of now as far as known, others on this address included."""
        self._refresh()
        return self._used + self._others

    # ----------------------------------------------------------------------------------- reckoning

    def _wait_ms(self, weight: int) -> float:
        """Exchange ms until `weight` could be granted; 0 if now. To be asked again after that wait."""
        blocked_s = self.blocked_s
        if blocked_s > 0:
            return max(1.0, blocked_s * 1e3 * self._clock.rate)
        now = self._refresh()
        if self._used + weight <= self.capacity and self._used + self._others + weight <= self._ceiling:
            return 0.0
        # The next window begins for us when it surely has begun for the exchange.
        return max(1.0, (self._window + 1) * self._window_ms + self._margin_ms() - now)

    def _refresh(self) -> float:
        """Bring the window's count up to now; returns exchange time."""
        now, mono = self._clock.now_ms(), self._monotonic()
        mapping = now - mono * 1e3 * self._clock.rate
        # A window stays in force until the next one has surely begun for the exchange too.
        margin = self._margin_ms()
        window = math.floor((now - margin) / self._window_ms)
        synced = not abs(mapping - self._mapping) < self._clock.rate  # one wall ms
        if window == self._window and margin == self._margin and not synced:
            return now
        if window != self._window:
            self._others = 0
        self._window, self._mapping, self._margin = window, mapping, margin
        too_old = mono - 2 * self._clock.wall_s(self._window_ms)
        while self._tickets and self._tickets[0].ended < too_old:
            self._tickets.popleft()
        self._used = self._answered = 0
        for ticket in self._tickets:
            first, last = self._windows_of(ticket, min(ticket.ended, mono))
            if first <= window <= last:
                self._used += ticket.weight
                if first == last and ticket.ended < math.inf:
                    self._answered += ticket.weight
        return now

    def _windows_of(self, ticket: Ticket, ended: float) -> tuple[int, int]:
        """First and last window in which the exchange may have counted a request that ended then."""
        rate, margin = self._clock.rate * 1e3, self._margin_ms()
        base = self._clock.now_ms() - self._monotonic() * rate
        return (
            math.floor((base + ticket.granted * rate - margin) / self._window_ms),
            math.floor((base + ended * rate + margin) / self._window_ms),
        )

    def _margin_ms(self) -> float:
        """What the clock may be wrong by, exchange ms."""
        return min(self._clock.uncertainty_ms, _MAX_MARGIN_MS, self._window_ms / 4) + 5.0

    # --------------------------------------------------------------------------------------- bans

    def _block(self, retry_after_s: float, *, banned: bool) -> None:
        seconds = min(max(retry_after_s, 1.0), _MAX_BLOCK_S) if retry_after_s == retry_after_s else 60.0
        wall_s = self._clock.wall_s(seconds * 1e3)
        until = self._monotonic() + wall_s
        if until <= self._blocked_until:
            return
        self._blocked_until = until
        self._banned = banned
        self._save(wall_s)

    def _save(self, wall_s: float) -> None:
        # The wall clock is the only one that a restart leaves standing.
        if self._state_file is None:
            return
        state = {"name": self.name, "banned": self._banned, "until_s": time.time() + wall_s}
        temporary = self._state_file.with_name(f"{self._state_file.name}.{os.getpid()}.tmp")
        with suppress(OSError):  # a full disk must not stop live bars; the ban is obeyed in this process
            try:
                with temporary.open("w") as file:
                    json.dump(state, file)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(self._state_file)
            finally:
                temporary.unlink(missing_ok=True)

    def _load(self) -> None:
        if self._state_file is None:
            return
        try:
            state = json.loads(self._state_file.read_bytes())
            left_s = float(state["until_s"]) - time.time()
            if state["name"] != self.name or not 0 < left_s <= _MAX_BLOCK_S:
                return
            self._banned = bool(state["banned"])
        except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
            return  # absent or damaged: as if never written
        self._blocked_until = self._monotonic() + left_s
