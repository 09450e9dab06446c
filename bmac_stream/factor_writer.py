"""Factors into shared memory: what an engine computes, for any number of readers.

Two stores like those of bars, with the same bar numbers, because their halves come at different times:

    NAME        own factors; a symbol's row is published as soon as its bar was stepped
    NAME.cross  factors behind a cross-section, and `member`: 1.0 for who was in it; published per run_time.
                Only there if a factor needs it.

Each row's last column of NAME, `origin`, is the number of the first bar that the symbol's state was made
from: only factors that never forget depend on it. A row has its bar's status: factors of an absent or
pending bar are what the operators make of a missing value. A late fill corrects the rows it changes.

`depth` rows are kept of every symbol; docs/shm-format.md has the bytes.
"""

import json
import logging
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bmac_stream.client import Store
from bmac_stream.engine import Engine, Follower
from bmac_stream.engine_loop import read_rows
from bmac_stream.errors import StoreFull
from kernels.plan import Plan
from shm import Spec, Status, StoreWriter
from shm.layout import Layout

__all__ = ["CROSS", "FactorWriter", "specs", "specs_over"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]

log = logging.getLogger("bmac_stream.engine")

CROSS: Final = ".cross"
"""What the name of a cross store ends with."""


def specs(bars: Store, plan: Plan, depth: int) -> tuple[Spec, Spec | None]:
    """What the two stores are, before anything is taken (`nbytes` says how large). None: not needed."""
    return specs_over(bars.spec, bars.name, plan, depth)


def specs_over(bars: Spec, name: str, plan: Plan, depth: int) -> tuple[Spec, Spec | None]:
    """`specs` over the store `name` of bars, which need not be there yet."""
    meta = {"kind": "factors", "bars": name, "plan": plan.hash, "cross": any(plan.is_cross)}
    own = [name for name, cross in zip(plan.names, plan.is_cross, strict=True) if not cross]
    cross = [name for name, cross in zip(plan.names, plan.is_cross, strict=True) if cross]

    def spec(columns: list[str]) -> Spec:
        return Spec(
            columns=tuple(columns),
            window=depth,
            slack=max(2, depth),  # a bar each: rows stay short, and a whole matrix is read faster
            max_symbols=bars.max_symbols,
            interval_ms=bars.interval_ms,
            origin_ms=bars.origin_ms,
            source=bars.source,
            meta=json.dumps(meta | json.loads(bars.meta) | {"kind": "factors"}),
            forming_cells=0,
            counters=("replays", "corrected_rows"),
        )

    return spec([*own, "origin"]), spec([*cross, "member"]) if cross else None


class FactorWriter(Follower):
    """Writes what an engine computes. Close it as a context manager.

    own, cross  open writers of the stores of `specs`; cross is None if there are no such factors
    """

    def __init__(self, plan: Plan, own: StoreWriter, cross: StoreWriter | None) -> None:
        self.own = own
        self.cross = cross
        is_cross = np.array(plan.is_cross)
        self._own_outputs: I64 = np.flatnonzero(~is_cross)
        self._cross_outputs: I64 = np.flatnonzero(is_cross)
        capacity = own.spec.max_symbols
        self._slots: I64 = np.full(capacity, -1, np.int64)  # of the engine's slots
        self._cross_slots: I64 = np.full(capacity, -1, np.int64)
        self._own_rows: F64 = np.empty((capacity, len(self._own_outputs) + 1))
        self._cross_rows: F64 = np.empty((capacity, len(self._cross_outputs) + 1))
        self._numbers: I64 = np.empty(capacity, np.int64)
        self._symbols: dict[int, str] = {}
        self._ahead: set[int] = set()  # of the engine's slots: published further than the engine has stepped
        self._settled = False
        self.left_out: set[str] = set()
        """Symbols that no slot is left for: they have no factors here. Delisted ones keep theirs until the
        stores are made anew."""

    def begun(self, engine: Engine, slot: int, g: int, values: F64, status: U8) -> None:
        """A symbol's newest rows: a new symbol begins with them, a known one goes on or is set right."""
        symbol = engine.store.panel_symbols[slot]
        assert symbol is not None
        self._symbols[slot] = symbol
        rows = np.column_stack([values[:, self._own_outputs], np.full(len(values), engine.origin_g[slot])])
        try:
            self._slots[slot] = _follow_on(self.own, symbol, g, rows, status)
        except StoreFull as error:
            self._leave_out(slot, error)
            return
        if self.own.count(int(self._slots[slot])) > g + len(values):
            self._ahead.add(slot)
        else:
            self._ahead.discard(slot)
        self.own.add("replays")
        if self.cross is not None:
            # A symbol may be a bar ahead of the newest cross-section.
            n = max(0, min(len(values), engine.g - g))
            rows, members = self._cross_part(engine, slot, g, values[:n])
            try:
                self._cross_slots[slot] = _follow_on(self.cross, symbol, g, rows, members)
            except StoreFull as error:
                self.own.remove_symbol(int(self._slots[slot]))
                self._leave_out(slot, error)

    def _leave_out(self, slot: int, error: StoreFull) -> None:
        """All others go on."""
        symbol = self._symbols.pop(slot)
        self._slots[slot] = -1
        self._ahead.discard(slot)
        self.left_out.add(symbol)
        log.error("%s has no factors: %s", symbol, error)

    def _cross_part(self, engine: Engine, slot: int, g: int, values: F64) -> tuple[F64, U8]:
        """Rows of a slot from its outputs of bars g, g + 1, ..., and their status."""
        members = engine.members_of(slot, g, len(values))
        rows = np.column_stack([values[:, self._cross_outputs], members])
        return rows, np.where(members == 1, Status.BAR, Status.ABSENT).astype(np.uint8)

    def ended(self, engine: Engine, slot: int) -> None:
        """A symbol was delisted."""
        if self._symbols.pop(slot, None) is None:
            return  # one that was left out
        self.own.remove_symbol(int(self._slots[slot]))
        self._slots[slot] = -1
        self._ahead.discard(slot)
        if self.cross is not None:
            self.cross.remove_symbol(int(self._cross_slots[slot]))
            self._cross_slots[slot] = -1

    def stepped(self, engine: Engine, g: int, slots: I64, status: F64) -> None:
        """Publish own factors of bar g."""
        if self.left_out:
            slots = slots[self._slots[slots] >= 0]
        n = len(slots)
        rows, numbers = self._own_rows[:n], self._numbers[:n]
        read_rows(engine.program.address, g, slots, self._own_outputs, rows)
        rows[:, -1] = engine.origin_g[slots]
        if self._ahead:
            slots, rows = self._correct_ahead(g, slots, rows, status)
            n = len(slots)
            numbers = self._numbers[:n]
        if n == 1:  # the usual case while bars come in one by one, and what everybody waits for at the end
            slot = int(slots[0])
            self.own.append(int(self._slots[slot]), g, rows[0], int(status[slot]))
            return
        numbers[:] = g
        self.own.append_rows(self._slots[slots], numbers, rows, status[slots].astype(np.uint8))

    def _correct_ahead(self, g: int, slots: I64, rows: F64, status: F64) -> tuple[I64, F64]:
        """Set right what is published already, for an engine that began again; what is left to publish."""
        new = np.ones(len(slots), bool)
        for i, slot in enumerate(slots.tolist()):
            if slot not in self._ahead:
                continue
            mine = int(self._slots[slot])
            if self.own.count(mine) > g:
                new[i] = False
                _set_right(self.own, mine, g, rows[i : i + 1], status[slot : slot + 1].astype(np.uint8))
            if self.own.count(mine) <= g + 1:
                self._ahead.discard(slot)
        return slots[new], rows[new]

    def finished(self, engine: Engine, g: int) -> None:
        """Publish the cross part of bar g, and call it complete."""
        if not self._settled:
            self._forget_strangers()
        if self.own.complete_g < g:
            self.own.complete(g)
        if self.cross is not None and self.cross.complete_g < g:
            self._publish_cross(engine, g, self.cross)

    def _publish_cross(self, engine: Engine, g: int, cross: StoreWriter) -> None:
        slots = np.flatnonzero((engine.next_g > g) & (self._cross_slots >= 0))
        # A symbol that has just begun, or was found again, may have its row already.
        slots = slots[cross.counts(self._cross_slots[slots]) == g]
        n = len(slots)
        rows, numbers = self._cross_rows[:n], self._numbers[:n]
        read_rows(engine.program.address, g, slots, self._cross_outputs, rows)
        rows[:, -1] = engine.members[slots]
        numbers[:] = g
        status = np.where(engine.members[slots] == 1.0, Status.BAR, Status.ABSENT).astype(np.uint8)
        cross.append_rows(self._cross_slots[slots], numbers, rows, status)
        cross.complete(g)

    def _forget_strangers(self) -> None:
        """Symbols that a former engine wrote and the market no longer has."""
        self._settled = True
        known = set(self._symbols.values())
        for writer in (self.own, self.cross):
            if writer is not None:
                for symbol, slot in list(writer.symbols.items()):
                    if symbol not in known:
                        writer.remove_symbol(slot)

    def redone(self, engine: Engine, slot: int, g: int, values: F64, status: U8) -> None:
        """Set right the rows of bars that changed."""
        if slot not in self._symbols:
            return
        rows = np.column_stack([values[:, self._own_outputs], np.full(len(values), engine.origin_g[slot])])
        n = _set_right(self.own, int(self._slots[slot]), g, rows, status)
        self.own.add("corrected_rows", n)

    def crossed(self, engine: Engine, g: int, values: F64) -> None:
        """Set right the cross-sections that a late bar changed, symbol by symbol."""
        if self.cross is None:
            return
        n = 0
        for slot, mine in enumerate(self._cross_slots.tolist()):
            if mine >= 0:
                rows, status = self._cross_part(engine, slot, g, values[:, :, slot])
                n += _set_right(self.cross, mine, g, rows, status)
        self.cross.add("corrected_rows", n)

    def heartbeat(self, phase: str) -> None:
        """Say that the engine is there, and what it does."""
        for writer in (self.own, self.cross):
            if writer is not None:
                writer.heartbeat()
                writer.set_phase(phase)

    def close(self) -> None:
        """Let go of the stores; readers keep what is there."""
        self.own.close()
        if self.cross is not None:
            self.cross.close()

    def __enter__(self) -> "FactorWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _set_right(writer: StoreWriter, slot: int, g: int, rows: F64, status: U8) -> int:
    """Correct those of the rows from bar g on that are published and still held; how many there were."""
    count = writer.count(slot)
    first = max(g, writer.first_g(slot), count - Layout.of(writer.spec).cap + 1)
    n = min(g + len(rows), count) - first
    if n <= 0:
        return 0
    part = slice(first - g, first - g + n)
    writer.correct_rows(slot, first, rows[part], status[part])
    return n


def _follow_on(writer: StoreWriter, symbol: str, g: int, rows: F64, status: U8) -> int:
    """Publish rows g, g + 1, ... of a symbol wherever its store stands; its slot."""
    slot = writer.symbols.get(symbol)
    if slot is None:
        # A store that was already complete further on gets what is missing as pending.
        slot = writer.add_symbol(symbol, g)
        writer.load(slot, g, rows, status)
        missing = writer.complete_g + 1 - (g + len(rows))
        if missing > 0:
            nothing = np.full((missing, rows.shape[1]), np.nan)
            writer.load(slot, g + len(rows), nothing, np.full(missing, Status.PENDING, np.uint8))
        writer.activate(slot)
        return slot
    _set_right(writer, slot, g, rows, status)
    count = writer.count(slot)
    if count < g:
        writer.skip_to(slot, g)
        count = g
    for i in range(count - g, len(rows)):
        writer.append(slot, g + i, rows[i], int(status[i]))
    return slot
