"""Limits go by exchange time, count refused requests too, and escalate from 429 to 418."""

import pytest

from bmac_stream.simulator.limits import (
    AttemptLimit,
    MessageLimit,
    Pool,
    RestLimits,
    funding_pool,
    kline_weight,
    weight_pool,
)

T = 1_784_000_000_000 // 60_000 * 60_000  # a whole minute


@pytest.mark.parametrize(
    ("market", "limit", "weight"),
    [
        ("usdm", 1, 1),
        ("usdm", 99, 1),
        ("usdm", 100, 2),
        ("usdm", 499, 2),
        ("usdm", 500, 5),
        ("coinm", 1000, 5),
        ("coinm", 1001, 10),
        ("usdm", 1500, 10),
        ("spot", 1, 2),
        ("spot", 1000, 2),
    ],
)
def test_weight_of_klines(market: str, limit: int, weight: int) -> None:
    assert kline_weight(market, limit) == weight


def test_futures_share_one_pool_only_when_merged() -> None:
    assert weight_pool("usdm", "merged") == weight_pool("coinm", "merged")
    assert weight_pool("usdm", "split") != weight_pool("coinm", "split")
    assert weight_pool("spot", "merged").limit == 6000
    assert weight_pool("usdm", "merged").limit == 2400
    assert (funding_pool().limit, funding_pool().window_ms) == (500, 300_000)


def test_window_is_a_minute_of_exchange_time() -> None:
    limits, pool = RestLimits(), Pool("p", 10)
    assert limits.charge(pool, "a", 10, T + 59_000) == (200, 10, 0, 0)
    assert limits.charge(pool, "a", 1, T + 59_999).status == 429
    assert limits.charge(pool, "a", 10, T + 60_000) == (200, 10, 0, 0)


def test_429_says_when_the_window_ends() -> None:
    limits, pool = RestLimits(), Pool("p", 10)
    limits.charge(pool, "a", 10, T)
    assert limits.charge(pool, "a", 1, T + 17_500).retry_after_s == 43
    assert limits.charge(pool, "a", 1, T + 59_999).retry_after_s == 1


def test_addresses_and_pools_are_apart() -> None:
    limits = RestLimits()
    assert limits.charge(Pool("p", 10), "a", 11, T).status == 429
    assert limits.charge(Pool("p", 10), "b", 10, T).status == 200
    assert limits.charge(Pool("q", 10), "a", 10, T).status == 200


def test_going_on_after_429_is_a_ban_and_the_next_is_longer() -> None:
    limits, pool = RestLimits(), Pool("p", 10, refusals_before_ban=2)
    limits.charge(pool, "a", 10, T)
    statuses = [limits.charge(pool, "a", 1, T + i).status for i in range(4)]
    assert statuses == [429, 429, 418, 418]
    account = limits.account(pool, "a")
    assert account.bans == 1
    assert account.banned_until_ms == T + 2 + 120_000
    assert account.n_during_ban == 1
    assert account.n_during_limit == 2
    verdict = limits.charge(pool, "a", 1, T + 62_000)
    assert (verdict.status, verdict.until_ms) == (418, account.banned_until_ms)
    assert verdict.retry_after_s == 59
    after = account.banned_until_ms
    assert limits.charge(pool, "a", 10, after).status == 200
    for i in range(3):
        last = limits.charge(pool, "a", 1, after + i)
    assert last.status == 418
    assert last.retry_after_s == 240


def test_account_remembers_the_fullest_minute() -> None:
    limits, pool = RestLimits(), Pool("p", 100)
    for minute, weight in enumerate((3, 70, 5)):
        limits.charge(pool, "a", weight, T + minute * 60_000)
    account = limits.account(pool, "a")
    assert (account.max_used, account.total, account.n_refused) == (70, 78, 0)


def test_messages_within_any_second() -> None:
    limit = MessageLimit(5)
    assert all(limit.allow(T + i * 100) for i in range(5))
    assert not limit.allow(T + 999)
    quiet = MessageLimit(5)
    assert all(quiet.allow(T + i * 200) for i in range(50))
    assert quiet.most == 5


def test_connection_attempts() -> None:
    limit = AttemptLimit(3)
    assert [limit.allow("a", T) for _ in range(4)] == [True, True, True, False]
    assert limit.allow("b", T)
    assert limit.allow("a", T // 300_000 * 300_000 + 300_000)
