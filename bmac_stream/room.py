"""How much shared memory a config's stores take, before anything is taken: what `doctor` and `check` say.

A store's size follows from its spec, and the specs here are made by the functions that its writer opens it
with. Two parts are bounds: the funding store, whose symbols are the whole market's (FUNDING_SLOTS), and
factors of a user's own module, which is not run here: each counts as one column.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from bmac_stream.bar import origin_ms
from bmac_stream.config import Config
from shm import ShmError, Spec, StoreReader
from shm.segment import segment_path

__all__ = ["FUNDING_SLOTS", "Room", "advice", "described", "rooms"]

FUNDING_SLOTS: Final = {"usdm": 1024, "coinm": 128}
"""Symbols of a new funding store at most: it has room for the market's perpetuals and a quarter more."""


class Room(NamedTuple):
    """One store's part.

    name    of the store
    nbytes  that it takes
    there   bytes that a file of that name has already
    """

    name: str
    nbytes: int
    there: int


def rooms(config: Config) -> list[Room]:
    """Every store that a config asks for: bars first, then longer bars, funding, and the engine process'
    factors, if it names some."""
    found = []
    for name, spec in _specs(config):
        path = segment_path(name, config.store.directory)
        there = path.stat().st_size if path.is_file() else 0
        found.append(Room(name, spec.nbytes, there))
    return found


def described(parts: list[Room]) -> str:
    """`usdt_perp_1m 251 MiB, usdt_perp_1m.1h 238 MiB, together 489 MiB`."""
    text = ", ".join(f"{part.name} {part.nbytes / 2**20:,.0f} MiB" for part in parts)
    if len(parts) > 1:
        text += f", together {sum(part.nbytes for part in parts) / 2**20:,.0f} MiB"
    return text


def advice(parts: list[Room]) -> str:
    """What to do where there is less room than `parts` take."""
    gigabytes = sum(part.nbytes for part in parts) * 5 // 4 // 2**30 + 1
    return (
        f"Make it larger (`mount -o remount,size={gigabytes}G /dev/shm`; Docker: --shm-size={gigabytes}g), or"
        " lower num_candles or store.max_symbols."
    )


def _specs(config: Config) -> Iterator[tuple[str, Spec]]:
    from bmac_stream import collector, funding, resample, resample_store

    name = config.store_name
    base = collector.spec_of(config, config.source or "?")
    yield name, base
    for target in config.resample:
        grid = resample.grid_of(
            config.interval_ms, origin_ms(config.interval), target.interval, target.offset
        )
        window = target.num_candles or config.num_candles
        yield (
            config.resampled_name(target),
            resample_store.spec_of(base, name, grid, target.interval, window, config.store.slack),
        )
    if config.funding_rate:
        slots = _slots(name + funding.SUFFIX, config)
        yield name + funding.SUFFIX, funding.funding_spec(base, name, slots)
    if config.factors:
        yield from _factors(config, base)


def _slots(name: str, config: Config) -> int:
    """Symbols of the funding store: one that is there goes on with as many as it has."""
    try:
        with StoreReader.attach(name, directory=config.store.directory) as reader:
            return reader.spec.max_symbols
    except ShmError:
        return FUNDING_SLOTS[config.market.name]


def _factors(config: Config, base: Spec) -> Iterator[tuple[str, Spec]]:
    from bmac_stream import factor_writer
    from bmac_stream.engine import bound
    from bmac_stream.factors import SUFFIX
    from factor_defs import registry
    from kernels.node import Node, field

    nodes: dict[str, Node] = {}
    for i, entry in enumerate(config.factors):
        place, colon, _ = (entry if isinstance(entry, str) else str(entry[0])).rpartition(":")
        try:
            own = bool(colon) and place not in registry.LIBRARIES
            nodes |= {f"{i}": field("close")} if own else registry.columns([entry])
        except (LookupError, ValueError, TypeError):  # the engine process says what is wrong with it
            nodes[f"{i}"] = field("close")
    plan = bound(nodes, base.columns, base.interval_ms, base.origin_ms)
    name = config.store_name + SUFFIX
    alone, cross = factor_writer.specs_over(base, config.store_name, plan, config.factor_depth)
    yield name, alone
    if cross is not None:
        yield name + factor_writer.CROSS, cross
