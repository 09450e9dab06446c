"""The exchange's limits: weight pools with their refusals and bans, connection attempts, messages.

Everything here is pure: the caller passes exchange time in ms, so that at `rate` R a weight minute is over
R times sooner, for the exchange and for a client that follows the exchange's clock alike.

Windows are fixed ones that open on the minute (the real alignment is not documented). Refused requests
count as well: a client that goes on hammering is what a ban is for.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

__all__ = [
    "ERAS",
    "AttemptLimit",
    "Era",
    "MessageLimit",
    "Pool",
    "PoolAccount",
    "RestLimits",
    "Verdict",
    "funding_pool",
    "kline_weight",
    "weight_pool",
]

Era = Literal["pre-split", "split", "merged"]
ERAS: Final = ("pre-split", "split", "merged")
"""pre-split: before the USD-M stream host was split in 2026-04. split: USD-M klines come from /market only.
merged: since 2026-06-30; fapi and dapi also share one weight pool and one universe of symbols."""

_MINUTE_MS: Final = 60_000
FIRST_BAN_S: Final = 120
LONGEST_BAN_S: Final = 3 * 86_400


@dataclass(frozen=True, slots=True)
class Pool:
    """What is counted together: at most `limit` per `window_ms` and client address."""

    name: str
    limit: int
    window_ms: int = _MINUTE_MS
    refusals_before_ban: int = 5
    """How many requests are refused with 429 within one window before the address is banned."""


SPOT_WEIGHT: Final = Pool("spot", 6000)
SPOT_RAW: Final = Pool("spot-raw", 300_000, 5 * _MINUTE_MS)
FUNDING: Final = Pool("funding", 500, 5 * _MINUTE_MS)
_FUTURES_LIMIT: Final = 2400


def weight_pool(market: str, era: Era) -> Pool:
    """The weight pool that requests to `market` are charged to. USD-M and COIN-M share one when merged."""
    if market == "spot":
        return SPOT_WEIGHT
    return Pool("futures" if era == "merged" else market, _FUTURES_LIMIT)


def funding_pool() -> Pool:
    """The pool that fapi's fundingRate and fundingInfo share: requests, not weight."""
    return FUNDING


def kline_weight(market: str, limit: int) -> int:
    """What one klines request costs: flat on spot, by `limit` on futures."""
    if market == "spot":
        return 2
    if limit < 100:
        return 1
    if limit < 500:
        return 2
    return 5 if limit <= 1000 else 10


class Verdict(NamedTuple):
    """What the limits say of one request.

    status         200, 429 (over the limit) or 418 (banned)
    used           what the pool has counted in the window so far, this request included
    retry_after_s  exchange seconds until it is worth asking again; 0 with status 200
    until_ms       exchange time at which a ban ends; 0 unless status is 418
    """

    status: int
    used: int
    retry_after_s: int
    until_ms: int


@dataclass(slots=True)
class PoolAccount:
    """What one client address has used of one pool; also the judge's record of how well it behaved."""

    window: int = -1
    used: int = 0
    refused: int = 0
    banned_until_ms: int = 0
    bans: int = 0
    max_used: int = 0
    """The most that was counted in any one window."""
    total: int = 0
    n_refused: int = 0
    """Requests answered 429."""
    n_during_ban: int = 0
    """Requests made while banned (answered 418); the request that earned the ban is not one of them."""
    n_during_limit: int = 0
    """Requests made after a 429, before its Retry-After was over."""


@dataclass(slots=True)
class RestLimits:
    """The pools of every client address."""

    accounts: dict[tuple[str, str], PoolAccount] = field(default_factory=dict)
    """(pool name, client address) -> account."""

    def account(self, pool: Pool, client: str) -> PoolAccount:
        """The account of `client` with `pool`, opened at its first request."""
        key = (pool.name, client)
        found = self.accounts.get(key)
        if found is None:
            found = self.accounts[key] = PoolAccount()
        return found

    def charge(self, pool: Pool, client: str, weight: int, now_ms: float) -> Verdict:
        """Count one request and say whether it is served."""
        account = self.account(pool, client)
        now = int(now_ms)
        window = now // pool.window_ms
        if window != account.window:
            account.window, account.used, account.refused = window, 0, 0
        if now < account.banned_until_ms:
            account.n_during_ban += 1
            return self._banned(account, now)
        if account.refused:
            account.n_during_limit += 1
        account.used += weight
        account.total += weight
        account.max_used = max(account.max_used, account.used)
        if account.used <= pool.limit:
            return Verdict(200, account.used, 0, 0)
        account.refused += 1
        if account.refused > pool.refusals_before_ban:
            self.ban(pool, client, min(FIRST_BAN_S << min(account.bans, 20), LONGEST_BAN_S), now)
            return self._banned(account, now)
        account.n_refused += 1
        left_ms = (window + 1) * pool.window_ms - now
        return Verdict(429, account.used, -(-left_ms // 1000), 0)

    def ban(self, pool: Pool, client: str, seconds: float, now_ms: float) -> int:
        """Ban `client` from `pool` for `seconds` of exchange time; returns when the ban ends, ms."""
        account = self.account(pool, client)
        account.bans += 1
        account.banned_until_ms = int(now_ms + seconds * 1000)
        return account.banned_until_ms

    @staticmethod
    def _banned(account: PoolAccount, now: int) -> Verdict:
        left_ms = account.banned_until_ms - now
        return Verdict(418, account.used, -(-left_ms // 1000), account.banned_until_ms)


class AttemptLimit:
    """At most `limit` connection attempts per five minutes and address (spot: 300)."""

    __slots__ = ("_used", "limit")

    def __init__(self, limit: int = 300) -> None:
        self.limit = limit
        self._used: dict[str, tuple[int, int]] = {}

    def allow(self, client: str, now_ms: float) -> bool:
        """Count one attempt; False if it is one too many."""
        window = int(now_ms) // (5 * _MINUTE_MS)
        last, used = self._used.get(client, (window, 0))
        used = used + 1 if last == window else 1
        self._used[client] = (window, used)
        return used <= self.limit


class MessageLimit:
    """At most `limit` messages within any second of one connection; PING and PONG count as well."""

    __slots__ = ("_times", "limit", "most")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.most = 0
        """The most messages seen within a second."""
        self._times: deque[float] = deque()

    def allow(self, now_ms: float) -> bool:
        """Count one message; False if it is one too many and the connection must go."""
        times = self._times
        while times and times[0] <= now_ms - 1000:
            times.popleft()
        times.append(now_ms)
        self.most = max(self.most, len(times))
        return len(times) <= self.limit
