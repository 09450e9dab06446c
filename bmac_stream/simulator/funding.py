"""Fundings, mark and index prices: invented from the seed, around the market's own closes."""

import hashlib
from typing import Final

import numpy as np

from bmac_stream.simulator.market import Instrument, Premium
from bmac_stream.simulator.numbers import snap

__all__ = ["MAX_LATE_MS", "funding_at", "key_of", "mark_at", "premium_at"]

MAX_LATE_MS: Final = 17
"""A funding happens so many ms after its hour at most, as recorded."""

_HOUR_MS: Final = 3_600_000


def key_of(seed: int, *names: str) -> int:
    """A 64-bit number for a name under a seed, the same in every process."""
    text = "\x1f".join((str(seed), *names)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def _noise(seed: int, name: str, i: int) -> float:
    return key_of(seed, name, str(i)) / 2**64


def funding_at(seed: int, symbol: str, at_ms: int) -> tuple[float, int]:
    """Rate of the funding due at at_ms (8 decimals), and how many ms late it is.

    Three in ten have the base rate of 0.0001, 58 % are 1 to 17 ms late: both as recorded in 2026.
    """
    a, b = _noise(seed, symbol, at_ms), _noise(seed + 1, symbol, at_ms)
    rate = 0.0001 if a < 0.3 else 0.0001 + 0.0003 * (a - 0.6) + 0.002 * (a - 0.6) ** 5
    return snap(rate, 8), int(1 + MAX_LATE_MS * (b / 0.58)) if b < 0.58 else 0


def mark_at(seed: int, symbol: str, close: float, at_ms: int) -> float:
    """Mark price when the last close was `close` (NaN: 0.0): half the time exactly it, else beside it."""
    if np.isnan(close):
        return 0.0
    minute = at_ms // 60_000
    if _noise(seed, symbol, minute + 1) < 0.5:
        return close
    return snap(close * (1.0 + 1e-4 * (_noise(seed, symbol, minute + 2) - 0.5)), 8)


def premium_at(seed: int, one: Instrument, mark: float, now_ms: int) -> Premium:
    """The row of premiumIndex of `one`. After its delisting, and for delivery contracts: no next funding."""
    index = snap(mark * (1.0 + 4e-4 * (_noise(seed, one.symbol, now_ms // 60_000) - 0.5)), 8)
    if one.funding_hours == 0:
        return Premium(mark, index, index, 0.0, 0.0, 0)
    every = one.funding_hours * _HOUR_MS
    last = now_ms // every * every
    if one.delist_ms is not None and now_ms >= one.delist_ms:
        return Premium(mark, index, index, 0.0, 0.0001, 0)
    return Premium(mark, index, index, funding_at(seed, one.symbol, last)[0], 0.0001, last + every)
