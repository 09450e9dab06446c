"""Which symbols are collected: the trade_type's filter, rules, keep_symbols, listings and delistings.

Pure: exchangeInfo in, names out.
"""

import difflib
import re
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from .binance.markets import STABLECOINS, TRADIFI, TradeType
from .binance.protocol import SymbolInfo
from .config import Symbols

__all__ = [
    "BMAC_RULES",
    "LOW_SLOTS",
    "Changes",
    "Universe",
    "changes",
    "choose",
    "is_delivered",
    "is_leveraged",
    "slots_low",
]

BMAC_RULES: Final = Symbols()
"""What BMAC collects: no TRADIFI_PERPETUAL, no pair of its list of stablecoins, all else."""

_LEVERAGED: Final = ("UP", "DOWN", "BULL", "BEAR")
_DELIVERY: Final = re.compile(r".+_(\d{6})")
_DELIVERY_MS: Final = 8 * 3_600_000  # 08:00 UTC of that day

LOW_SLOTS: Final = 0.05
"""A store with a smaller part of its slots free will soon refuse listings: delisted symbols keep theirs."""


class Universe(NamedTuple):
    """What the exchange has of what was asked for.

    symbols   names in the exchange's order, with the time each was listed (ms UTC; 0: not known)
    problems  a line for each name of the config that does not do what it should, with key and reason
    left_out  names that trade and are of the trade_type, but that keep_symbols or a rule leaves out
    stopped   names that are asked for and listed, but do not trade now: halted, ended, or not begun yet
    """

    symbols: dict[str, int]
    problems: list[str]
    left_out: frozenset[str] = frozenset()
    stopped: frozenset[str] = frozenset()


class Changes(NamedTuple):
    """The way from one list of symbols to another."""

    added: list[str]
    removed: list[str]


def choose(
    infos: Sequence[SymbolInfo],
    trade_type: TradeType,
    keep: Sequence[str] | None,
    rules: Symbols = BMAC_RULES,
    *,
    nearest: bool = True,
) -> Universe:
    """The symbols of `trade_type` that trade now and that `rules` allow; if `keep` is given, only its own.

    nearest  name the nearest symbol beside each unknown one: milliseconds for each
    """
    known = {info.symbol: info for info in infos}
    bases = {info.base_asset for info in infos}
    only = None if keep is None else frozenset(keep)
    covered = [i for i in infos if trade_type.covers(i, tradifi=True)]
    offered = [i for i in covered if i.status == "TRADING"]
    trading = {i.symbol: i.onboard_ms for i in offered if not _forbids(rules, i, trade_type, bases)}
    stopped = frozenset(
        i.symbol
        for i in covered
        if i.status != "TRADING"
        and (only is None or i.symbol in only)
        and not _forbids(rules, i, trade_type, bases)
    )
    problems = []
    for name in rules.exclude:
        if name not in known:
            problems.append(f"symbols.exclude: {name}: {_unknown(name, known, nearest=nearest)}")
    for name in keep or ():
        if name in trading:
            continue
        info = known.get(name)
        if info is None:
            reason = _unknown(name, trading, known, nearest=nearest)
        elif not trade_type.covers(info, tradifi=True):
            reason = f"{info.contract_type or 'spot'} quoted in {info.quote_asset}, not of {trade_type.name}"
        elif rule := _forbids(rules, info, trade_type, bases):
            reason = f"left out by {rule}"
        else:
            reason = f"not trading now (status {info.status})"
        problems.append(f"keep_symbols: {name}: {reason}")
    kept = trading if only is None else {name: at for name, at in trading.items() if name in only}
    return Universe(kept, problems, frozenset(info.symbol for info in offered) - kept.keys(), stopped)


def is_leveraged(info: SymbolInfo, bases: Collection[str]) -> bool:
    """Whether a spot symbol is of a leveraged token: BTCUP, ETHDOWN, EOSBULL, BEAR, ...

    bases  every base asset of the exchange: JUP and SYRUP end with UP, but there is no J and no SYR
    """
    base = info.base_asset
    return base in ("BULL", "BEAR") or any(
        base.endswith(end) and base.removesuffix(end) in bases for end in _LEVERAGED
    )


def is_delivered(symbol: str, now_ms: float) -> bool:
    """Whether it is a delivery contract whose time is over, by the date in its name: BTCUSD_261225. All of a
    quarter end at once, and may be in exchangeInfo no more: that is no halt of the market."""
    if (match := _DELIVERY.fullmatch(symbol)) is None:
        return False
    try:
        day = datetime.strptime(match[1], "%y%m%d").replace(tzinfo=UTC)
    except ValueError:
        return False
    return day.timestamp() * 1e3 + _DELIVERY_MS <= now_ms


def _forbids(rules: Symbols, info: SymbolInfo, trade_type: TradeType, bases: Collection[str]) -> str:
    """The rule that leaves a symbol out, with what it is; "" if none does."""
    spot = trade_type.market == "spot"
    if info.symbol in rules.exclude:
        return "symbols.exclude"
    if not rules.tradifi and info.contract_type == TRADIFI:
        return f"symbols.tradifi ({TRADIFI})"
    if not rules.stablecoins and spot and info.symbol in STABLECOINS:
        return "symbols.stablecoins (a pair of BMAC's list of stablecoins)"
    if not rules.leveraged and spot and is_leveraged(info, bases):
        return "symbols.leveraged (a leveraged token)"
    if not rules.non_ascii and not info.symbol.isascii():
        return "symbols.non_ascii (a name with other letters than ASCII)"
    return ""


def _unknown(name: str, *among: Collection[str], nearest: bool) -> str:
    looked_at = among if nearest else ()
    near = next((found for names in looked_at if (found := difflib.get_close_matches(name, names, n=1))), [])
    return f"the exchange has no such symbol{f'; nearest: {near[0]}' if near else ''}"


def changes(before: Sequence[str], after: Sequence[str]) -> Changes:
    """Who came and who went, each in the order of its list."""
    old, new = set(before), set(after)
    return Changes([name for name in after if name not in old], [name for name in before if name not in new])


def slots_low(free: int, capacity: int) -> bool:
    """Whether so few of a store's `capacity` slots are free that its owner should know."""
    return free < max(1.0, LOW_SLOTS * capacity)
