"""Which symbols are collected: the trade_type's filter, keep_symbols, listings and delistings.

Pure: exchangeInfo in, names out.
"""

import difflib
from collections.abc import Sequence
from typing import Final, NamedTuple

from .binance.markets import TradeType
from .binance.protocol import SymbolInfo

__all__ = ["LOW_SLOTS", "Changes", "Universe", "changes", "choose", "slots_low"]

LOW_SLOTS: Final = 0.05
"""A store with a smaller part of its slots free will soon refuse listings: delisted symbols keep theirs."""


class Universe(NamedTuple):
    """What the exchange has of what was asked for.

    symbols   names in the exchange's order, with the time each was listed (ms UTC; 0: not known)
    problems  a line for each name of keep_symbols that cannot be collected now, with the reason
    """

    symbols: dict[str, int]
    problems: list[str]


class Changes(NamedTuple):
    """The way from one list of symbols to another."""

    added: list[str]
    removed: list[str]


def choose(infos: Sequence[SymbolInfo], trade_type: TradeType, keep: Sequence[str] | None) -> Universe:
    """The symbols of `trade_type` that trade now, only those of `keep` if that is given."""
    trading = {info.symbol: info.onboard_ms for info in infos if trade_type.includes(info)}
    if keep is None:
        return Universe(trading, [])
    known = {info.symbol: info for info in infos}
    problems = []
    for name in keep:
        if name in trading:
            continue
        info = known.get(name)
        if info is None:
            near = difflib.get_close_matches(name, trading, n=1) or difflib.get_close_matches(
                name, known, n=1
            )
            hint = f"; nearest: {near[0]}" if near else ""
            problems.append(f"{name}: the exchange has no such symbol{hint}")
        elif not trade_type.accepts(info):
            kind = info.contract_type or "spot"
            problems.append(f"{name}: {kind} quoted in {info.quote_asset}, not of {trade_type.name}")
        else:
            problems.append(f"{name}: not trading now (status {info.status})")
    return Universe({name: trading[name] for name in trading if name in set(keep)}, problems)


def changes(before: Sequence[str], after: Sequence[str]) -> Changes:
    """Who came and who went, each in the order of its list."""
    old, new = set(before), set(after)
    return Changes([name for name in after if name not in old], [name for name in before if name not in new])


def slots_low(free: int, capacity: int) -> bool:
    """Whether so few of a store's `capacity` slots are free that its owner should know."""
    return free < max(1.0, LOW_SLOTS * capacity)
