"""Factors kept current on a store of bars: `Engine` in a strategy's own process.

    store = bmac_stream.attach("usdt_perp_1m")
    engine = bmac_stream.Engine(store, [["PctChg", 100], "qlib158", ["my_factors:Bias", 20]])
    run_time = engine.wait(timeout_s=90)        the market's next bar close, with every factor
    engine["PctChg_100"]                        one factor of the whole market, float64[n_slots]
    engine.symbol("BTCUSDT")                    all factors of one symbol, as soon as its own bar closed
    engine.peek("BTCUSDT")                      the same with the bar that is still forming; commits nothing

What happens at bar g:

- A symbol's own factors are stepped when its bar is there, alone or with whoever is there as well.
- When the store calls g complete (every bar is there, or its deadline is over), the rest follows as NaN, the
  **members** of the cross-section are fixed (those whose bar was there) and the cross part is stepped once.
- A late or revised bar comes as a correction: the symbol's own part goes back to a checkpoint from before it,
  else to the oldest bar in the store, and is stepped again. Which bar a symbol's state began with is in
  `origin_g`: only factors that never forget depend on it. Past cross-sections stay as they were published,
  with their members; only where the exchange revised a bar that had been a member is everything replayed.
- A listed symbol's own factors begin with its oldest bar in the store; it is in cross-sections from the next
  run_time on. A delisted one is NaN from then on.

All of it is equal, to the bit, to `kernels.batch.batch` over the same bars, beginning with the same bar and
with the same members (tests/bmac_stream/test_engine.py).
One thing is not: where a factor remembers past cross-sections of own factors that look back themselves, such
as ts_mean(cs_rank(ts_mean(close, 3)), 4), a late bar's neighbours in time stand in them as they were
published, without that bar, until they are forgotten.

An Engine belongs to one thread. What it needs is allocated when it is made.
"""

import asyncio
import difflib
import os
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bmac_stream.client import RunTime, Store
from bmac_stream.engine_loop import LOST, MOVED, advance, sleep, take_bars
from bmac_stream.errors import BmacError, Lagging
from factor_defs import registry
from kernels import ahead
from kernels.carry import carry
from kernels.elementwise import bar_number
from kernels.node import Node, field, replaced
from kernels.plan import Plan
from kernels.run import Program, peek, read_outputs, replay, step_cross
from kernels.state import dump, load, put_back
from shm import Status

if TYPE_CHECKING:
    import pandas as pd

    from bmac_stream.history import Factored

__all__ = ["Engine", "FactorError", "Follower", "bound", "default_static", "named", "plan_factors"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]

CHECKPOINT_BARS: Final = 32
"""A copy of the state is kept from every so many bars, the newest two of them, for corrections."""
_TRIES: Final = 100
"""How often a read of the store that corrections keep disturbing is tried again."""
_SLICE_S: Final = 0.5
_DEFAULTS: Final = ("is_btc", "group")
"""Static fields that every store has."""


class FactorError(BmacError):
    """The factors asked for cannot be computed on this store; the message says why."""


class Follower:
    """Who is told what an engine has done; each method does nothing by default.

    values  float64[n, n_outputs]: outputs of the slot's bars g, g + 1, ...; status: uint8[n], the bars' own
    """

    def begun(self, engine: "Engine", slot: int, g: int, values: F64, status: U8) -> None:
        """A slot has caught up, its newest bar is g + n - 1. It may have begun before: all is anew then."""

    def ended(self, engine: "Engine", slot: int) -> None:
        """A slot's symbol was delisted."""

    def stepped(self, engine: "Engine", g: int, slots: I64, status: F64) -> None:
        """Own factors of bar g are there for `slots`; status: float64[max_symbols]."""

    def finished(self, engine: "Engine", g: int) -> None:
        """The cross part of bar g is there."""

    def redone(self, engine: "Engine", slot: int, g: int, values: F64, status: U8) -> None:
        """Own factors of a slot from bar g on were computed again."""


class _Checkpoint(NamedTuple):
    """The state as it was: each slot's next bar, and float64[n_rows, max_symbols]."""

    next_g: I64
    state: F64


class Engine:
    """Factors over a store, computed in this process.

    store     an attached store of bars
    factors   entries as in a config (factor_defs.registry), or a mapping of names to expressions
    follower  who is told what was computed (the engine process publishes so)
    depth     bars of outputs that a follower gets of a symbol that begins, or is computed again
    statics   fields that are no columns of a bar: name -> {symbol: value}; symbols that are not named have
              the value of "", else NaN. By default `is_btc` is 1.0 for BTC's own symbol, else 0.0, and
              `group` 0.0 for all. `open_time` (ms) is there always
    state     a file of `save`: taken up if it is of these factors and of this very store, and the bars since
              are still there; otherwise everything is replayed, and `started_from` says why

    FactorError  a factor reads a column the store does not have, or needs more bars than it keeps
    """

    def __init__(
        self,
        store: Store,
        factors: Mapping[str, Node] | Sequence[registry.Entry],
        *,
        follower: Follower | None = None,
        depth: int = 1,
        statics: Mapping[str, Mapping[str, float]] | None = None,
        state: str | Path | None = None,
    ) -> None:
        ahead.prepare()
        self.store = store
        self.depth = depth
        self.statics = dict(statics or {})
        self._follower = follower
        self._capacity = store.spec.max_symbols
        self.next_g: I64 = np.full(self._capacity, -1, np.int64)
        """int64[max_symbols]: each slot's next bar; -1 for one that is not in use."""
        self.origin_g: I64 = np.full(self._capacity, -1, np.int64)
        """int64[max_symbols]: the first bar that a slot's state was made from."""
        self.members: F64 = np.zeros(self._capacity)
        """float64[max_symbols]: 1.0 for who was in the cross-section of the newest run_time."""
        self.g = -1
        """The next bar to be finished; -1 before the market's first run_time."""
        self.started_from = "nothing yet"
        """What the present state began with, in words."""
        self._refused = ""
        self._status: F64 = np.zeros(self._capacity)
        self._done: I64 = np.zeros(self._capacity, np.int64)
        self._directory = -1
        self._n_slots = 0
        self._corrections = 0
        self._told_g = -1
        self._use(named(factors))
        if state is None or not self._restore(Path(state)):
            self.poll()
        else:
            self._follower = None  # it knows none of the symbols yet
            self.poll()
            self._follower = follower
            self._tell_newest()
        self._told_g = self.g - 1

    # ---- what is computed ----------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """The factors' names, in the order of all arrays."""
        return self.plan.names

    @property
    def run_time(self) -> int:
        """The run_time that `values` are of, ms UTC; 0 before the first."""
        return self.store.open_time_of(self.g) if self.g >= 0 else 0

    @property
    def values(self) -> F64:
        """float64[n_factors, n_slots], read-only: every factor of the newest finished run_time; row order
        `names`, column order `store.panel_symbols`. NaN: not enough bars, or not there. A view: the next
        run_time overwrites it."""
        view = self._values[:, : self._n_slots]
        view.flags.writeable = False
        return view

    def __getitem__(self, name: str) -> F64:
        """One factor of the whole market, float64[n_slots], as `values`. KeyError names the nearest."""
        try:
            row: F64 = self.values[self._index[name]]
            return row
        except KeyError:
            raise KeyError(f"{name!r} is none of this engine's factors{_nearest(name, self.names)}") from None

    def symbol(self, symbol: str) -> F64:
        """All factors of one symbol, float64[n_factors], a copy: the own ones of its newest bar, which may be
        one ahead of `run_time`; those behind a cross-section of `run_time`."""
        slot = self._slot(symbol)
        made = self._values[:, slot].copy()
        g = int(self.next_g[slot]) - 1
        if g >= self.g:
            out = np.empty((len(self.names), 1))
            read_outputs(self.program.address, g, slot, 1, out.ctypes.data - 8 * slot, 1)
            own = ~self._is_cross
            made[own] = out[own, 0]
        return made

    def peek(self, symbol: str) -> F64 | None:
        """What the own factors would be if the forming bar closed as it is now: float64[n_factors], a copy.

        NaN behind a cross-section. Nothing is committed. None if no update came since the last close, or the
        engine has not taken that close in yet (`poll`).
        """
        slot = self._slot(symbol)
        forming = self.store.reader.read_forming(slot)
        if forming is None or forming[0] != self.next_g[slot]:
            return None
        g, values = forming
        out = np.empty(len(self.names))
        program, scratch = self.program.address, self._scratch.address
        peek(program, scratch, g, slot, values.ctypes.data, self._columns.ctypes.data, 1, out.ctypes.data)
        return out

    def to_pandas(self) -> "pd.DataFrame":
        """The newest run_time as a frame: one row for each symbol, one column for each factor; a copy."""
        import pandas as pd

        symbols = self.store.symbols
        slots = np.fromiter(symbols.values(), np.int64, len(symbols))
        return pd.DataFrame(self._values[:, slots].T.copy(), index=list(symbols), columns=list(self.names))

    # ---- going on ------------------------------------------------------------------------------------

    def poll(self) -> int:
        """Take in all that the store has, without waiting; returns how many run_times were finished.

        Lagging if corrections never pause.
        """
        finished = 0
        reader = self.store.reader
        while True:
            if self.g < 0:
                if reader.complete_g < 0:
                    return finished
                self._start()
                finished += 1
            if reader.directory_version != self._directory:
                self._look_at_directory()
            if reader.n_corrections != self._corrections:
                before = self.g
                self._take_corrections()
                finished += self.g - before
            complete = reader.complete_g >= self.g
            n = self._advance()
            if n == LOST:
                self._start()
                finished += 1
                continue
            if n > 0 and self._follower is not None:
                self._follower.stepped(self, self.g, self._done[:n], self._status)
            if not complete:
                return finished
            self._finish()
            finished += 1

    def wait(self, timeout_s: float = 90.0) -> RunTime:
        """Block until the market's next run_time has every factor, and return it with who is missing.

        TimeoutError after `timeout_s`; WriterDead, WriterStalled or StoreRetired as soon as that is the case.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            left = deadline - time.monotonic()
            news = self.g - 1 > self._told_g  # finished by a `poll` or `step` before
            self.step(0.0 if news else max(0.0, min(left, _SLICE_S)))
            if self.g - 1 > self._told_g:
                return self._tell()
            if left <= 0:
                raise TimeoutError(
                    f"store {self.store.name!r}: no run_time was finished within {timeout_s:g} s;"
                    f" the newest is {self.run_time}"
                )

    def step(self, timeout_s: float) -> int:
        """Take in what is there; if that finished no run_time, sleep until the collector rings, at most
        `timeout_s`, and take in again. Returns how many run_times were finished.

        WriterDead, WriterStalled or StoreRetired if nothing rang and that is why.
        """
        words = self.store.reader.words
        rung = sleep(words, 0, 0)
        finished = self.poll()
        if finished or timeout_s <= 0:
            return finished
        if sleep(words, rung, int(timeout_s * 1e9)) == rung:
            self.store.check()
        return self.poll()

    async def run_times(self, timeout_s: float | None = None) -> AsyncIterator[RunTime]:
        """`async for run_time in engine.run_times():` as `Store.run_times`, with every factor computed."""
        while True:
            self.poll()
            if self.g - 1 > self._told_g:
                yield self._tell()
                continue
            try:
                await self.store.reader.wait_async(
                    max(self.g, 0) - 1, 60.0 if timeout_s is None else timeout_s
                )
            except TimeoutError:
                if timeout_s is not None:
                    raise
            await asyncio.sleep(0)

    def set_factors(
        self, factors: Mapping[str, Node] | Sequence[registry.Entry], *, follower: Follower | None = None
    ) -> int:
        """Compute these factors from now on; returns how many calls go on from the old ones.

        What was computed before goes on to the bit. What is new is replayed over the stored bars: `origin_g`
        is then the later of the two beginnings. FactorError, and nothing changes, if they cannot be computed.

        follower  who is told from now on; it begins with every symbol
        """
        self.poll()
        old, values, origin = self.program, self._values, self.origin_g.copy()
        known = dict(zip(self.plan.names, self.plan.nodes, strict=True))
        self._use(named(factors))
        self._follower = follower
        if self.g < 0:
            return 0
        next_g, corrections, members = self.next_g.copy(), self._corrections, self.members.copy()
        self._replay_all(self.g)
        # What came after the poll: corrections are still to be done in what goes on, the delisted end here,
        # the listed have begun with the replay.
        self._corrections = corrections
        next_g[~self._active] = -1
        origin[next_g < 0] = -1
        self.members[:] = np.where(next_g >= 0, members, 0.0)
        for slot in np.flatnonzero(next_g > self.g):  # its own bar is there already: one ahead
            for last in (self._last, self._last_status):
                last[:-1, ..., slot] = last[1:, ..., slot].copy()
            self._replay_slot(int(slot), self.g, int(next_g[slot]))
        self.next_g[:] = np.where(next_g >= 0, next_g, self.next_g)
        self.origin_g[:] = np.maximum(self.origin_g, origin)
        shared = carry(old, self.program, next_g)
        goes_on = next_g >= 0
        for i, (name, node) in enumerate(zip(self.plan.names, self.plan.nodes, strict=True)):
            if known.get(name) is node:
                self._values[i, goes_on] = values[list(known).index(name), goes_on]
        self._checkpoint()
        self._tell_all()
        return shared

    def batch(self, source: Any, *, out: F64 | None = None) -> "Factored":
        """These factors over a history of bars, in memory of their own: see bmac_stream.history."""
        from bmac_stream import history

        nodes = dict(zip(self.plan.names, self.plan.nodes, strict=True))
        return history.batch(nodes, source, interval=self.store.interval, statics=self.statics, out=out)

    # ---- keeping -------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> int:
        """Write the state to a file (whole or not at all); returns its bytes. ValueError before the first
        run_time."""
        if self.g < 0:
            raise ValueError("there is no state before the market's first run_time")
        symbols = {name: slot for name, slot in self.store.symbols.items() if self.next_g[slot] >= 0}
        slots = list(symbols.values())
        notes = {
            "source": self.store.source,
            "interval_ms": self.store.interval_ms,
            "origin_ms": self.store.origin_ms,
            "epoch": self.store.reader.epoch,
            "corrections": self._corrections,
            "g": self.g,
            "slots": slots,
            "next_g": self.next_g[slots].tolist(),
            "origin_g": self.origin_g[slots].tolist(),
        }
        data = dump(self.program, symbols, notes)
        path = Path(path)
        part = path.with_name(f".{path.name}.part")
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        return len(data)

    def _restore(self, path: Path) -> bool:
        """Take up a saved state; False, and nothing has changed, if it does not fit."""
        try:
            saved = load(path.read_bytes())
            notes, reader = saved.notes, self.store.reader
            mine = (self.store.source, self.store.interval_ms, self.store.origin_ms, reader.epoch)
            theirs = tuple(notes[key] for key in ("source", "interval_ms", "origin_ms", "epoch"))
            if theirs != mine:
                raise ValueError(f"it is of the store {theirs}, this one is {mine}")
            g, oldest = int(notes["g"]), reader.complete_g + 1 - self.store.window
            if not oldest <= g <= reader.complete_g + 1:
                raise ValueError(f"it ends before bar {g}, the store holds {oldest} to {reader.complete_g}")
            # One that was delisted and listed again has another slot, and begins anew.
            now = self.store.symbols
            slots = [
                slot if now.get(name) == slot else -1
                for name, slot in zip(saved.symbols, notes["slots"], strict=True)
            ]
            put_back(self.program, saved, slots)
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._refused = f", since {path} could not be used: {error}"
            return False
        for slot, next_g, origin_g in zip(slots, notes["next_g"], notes["origin_g"], strict=True):
            if slot >= 0:
                self.next_g[slot], self.origin_g[slot] = next_g, origin_g
        self.g, self._corrections = g, int(notes["corrections"])
        self.started_from = f"{path}, saved before bar {g}"
        program, values = self.program, self._values
        read_outputs(program.address, g - 1, 0, self._capacity, values.ctypes.data, self._capacity)
        values[:, self.next_g < 0] = np.nan
        for early in np.flatnonzero(self.next_g > g):  # its own factors are of the bar after
            values[~self._is_cross, early] = np.nan
            self._status[early] = self.store.reader.data[early, -1, g % self.store.cap]
        if self._has_cross:
            self.members[:] = program.state[self.plan.member_row] == 1.0
        return True

    # ---- inside --------------------------------------------------------------------------------------

    def _use(self, nodes: Mapping[str, Node]) -> None:
        """Make plan and program, or leave all as it is."""
        plan = plan_factors(self.store, nodes, self.statics)
        program = Program(plan, self._capacity)
        index = self.store.column_index
        self.plan = plan
        self.program = program
        self._scratch = Program(plan, 1)
        self._static_version = -1
        self._index = {name: i for i, name in enumerate(plan.names)}
        self._is_cross = np.array(plan.is_cross)
        self._has_cross = any(step.cross for step in plan.steps)
        self._columns: I64 = np.array([index[name] for name in plan.fields], np.int64)
        self._order: I64 = np.arange(len(plan.fields), dtype=np.int64)
        self._stage: F64 = np.empty((len(plan.fields), self._capacity))
        self._values: F64 = np.full((len(plan.names), self._capacity), np.nan)
        self._with_status: I64 = np.append(self._columns, index["status"])
        self._bars: F64 = np.empty((self.store.cap, len(plan.fields) + 1))
        self._last: F64 = np.full((self.depth + 1, len(plan.names), self._capacity), np.nan)
        self._last_status: F64 = np.zeros((self.depth + 1, self._capacity))
        self._checkpoints = [
            _Checkpoint(np.full(self._capacity, -1, np.int64), np.full_like(self.program.state, np.nan))
            for _ in range(2)
        ]

    def _slot(self, symbol: str) -> int:
        slot = self.store[symbol].slot
        if self.next_g[slot] < 0:
            self.poll()
        return slot

    def _start(self) -> None:
        """Everything from the stored bars, all symbols at once."""
        known = self.next_g >= 0
        self._replay_all(None)
        if self._follower is not None:
            for slot in np.flatnonzero(known & (self.next_g < 0)):
                self._follower.ended(self, int(slot))
        first = self.g - min(self.store.window, self.g)
        self.started_from = f"the stored bars, from bar {first} on{self._refused}"
        self._tell_all()

    def _replay_all(self, end: int | None) -> None:
        """Step bars up to `end` (exclusive; None: all that is complete) for all slots, from the oldest on."""
        reader, program = self.store.reader, self.program
        data, cap = reader.data, self.store.cap
        n_columns = data.shape[1]
        for _ in range(_TRIES):
            self._look_for_slots()
            corrections = reader.n_corrections
            token = reader.panel_token(self.store.window)
            stop = token.g_end if end is None else end
            first = max(0, token.oldest)
            n, n_slots = stop - first, token.n_slots
            cell = first % cap
            program.reset()
            status = data[:n_slots, -1, cell : cell + n]
            there = np.zeros((n, n_slots))
            active = self._active[:n_slots]
            there[:, active] = (status[active] == Status.BAR).T
            source = data.ctypes.data + 8 * cell
            done = 0
            oldest = np.array([reader.first_g(slot) for slot in range(n_slots)], np.int64)
            begins = np.where(active & (oldest > first), oldest - first, -1)
            untold = max(0, n - self.depth)
            for part in sorted({untold, n, *(int(at) for at in np.unique(begins) if 0 <= at < n)}):
                if part == done:
                    continue
                out = 0 if part <= untold else self._last[done - n :].ctypes.data
                replay(
                    program.address,
                    first + done,
                    part - done,
                    0,
                    n_slots,
                    source + 8 * done,
                    self._columns.ctypes.data,
                    2 * cap,
                    n_columns * 2 * cap,
                    1,
                    there[done:].ctypes.data if self._has_cross else 0,
                    out,
                    self._capacity,
                    self._last[0].size,
                )
                done = part
                for slot in np.flatnonzero(begins == done):  # nothing of before its first bar is remembered
                    program.reset(int(slot))
            for slot in np.flatnonzero(begins > n):
                program.reset(int(slot))
            kept = min(n, self.depth)
            self._last_status[:] = 0.0
            self._last_status[self.depth + 1 - kept :, :n_slots] = status[:, n - kept :].T
            if reader.panel_valid(token):
                break
        else:
            raise Lagging(f"store {self.store.name!r}: bars were corrected during each of {_TRIES} replays")
        self.g, self._n_slots, self._corrections = stop, n_slots, corrections
        self.next_g[:] = -1
        self.next_g[: len(active)][active] = stop
        self.origin_g[:] = -1
        self.origin_g[:n_slots][active] = np.maximum(oldest, first)[active]
        for slot in np.flatnonzero(~active):
            program.reset(int(slot))
            self._last[:, :, slot] = np.nan
        for slot in np.flatnonzero(begins >= n):
            self._last[:, :, slot] = np.nan
        self._values[:] = np.nan
        self._values[:, :n_slots] = self._last[-1, :, :n_slots]
        self.members[:] = 0.0
        if n:
            self.members[:n_slots] = there[-1]
        for checkpoint in self._checkpoints:
            checkpoint.next_g[:] = -1
        self._checkpoint()

    def _checkpoint(self) -> None:
        self._checkpoints.reverse()
        newest, width = self._checkpoints[0], self._width()
        newest.next_g[:] = self.next_g
        np.copyto(newest.state[:, :width], self.program.state[:, :width])

    def _look_for_slots(self) -> None:
        """Which slots have bars to step: those of readable symbols."""
        self._directory = self.store.reader.directory_version
        self._active = np.zeros(self._capacity, bool)
        self._active[self.store.slots] = True
        self._n_slots = self.store.reader.n_slots
        if self.plan.statics and self._static_version != self._directory:
            self._static_version = self._directory
            for name in self.plan.statics:
                given = self.statics.get(name) or default_static(name, self.store.symbols)
                values = np.full(self._capacity, np.nan)
                for symbol, slot in self.store.symbols.items():
                    values[slot] = given.get(symbol, given.get("", np.nan))
                self.program.set_static(name, values)

    def _look_at_directory(self) -> None:
        """Begin with listed symbols, end with delisted ones."""
        self._look_for_slots()
        for slot in np.flatnonzero(self._active & (self.next_g < 0)):
            self._begin(int(slot))
        for slot in np.flatnonzero(~self._active & (self.next_g >= 0)):
            self.next_g[slot] = self.origin_g[slot] = -1
            for checkpoint in self._checkpoints:
                checkpoint.next_g[slot] = -1
            self.program.reset(int(slot))
            self._values[:, slot] = np.nan
            if self._follower is not None:
                self._follower.ended(self, int(slot))

    def _begin(self, slot: int) -> None:
        """A listed symbol: its own part over its stored bars up to the present one."""
        self.program.reset(slot)
        first = self._oldest(slot)
        stop = max(first, self.g)
        n = self._replay_slot(slot, first, stop)
        self.next_g[slot], self.origin_g[slot] = stop, first
        self._values[:, slot] = self._last[-1, :, slot] if n else np.nan
        if self._follower is not None:
            n = min(n, self.depth)
            self._tell_last(self._follower.begun, slot, stop - n, n)

    def _oldest(self, slot: int) -> int:
        reader = self.store.reader
        return max(reader.first_g(slot), reader.count(slot) - self.store.window, 0)

    def _replay_slot(self, slot: int, first: int, stop: int) -> int:
        """Step a slot's own part over bars [first, stop); how many of its newest outputs are in `_last`."""
        reader = self.store.reader
        n = stop - first
        if n <= 0:
            return 0
        for _ in range(_TRIES):
            token = reader.token(slot, min(reader.count(slot) - first, self.store.cap - 1))
            if token.oldest > first:
                raise Lagging(f"store {self.store.name!r}: bar {first} of slot {slot} is no longer held")
            take_bars(reader.data, slot, first, n, self._with_status, self._bars)
            if reader.valid(token):
                break
        else:
            raise Lagging(
                f"store {self.store.name!r}: slot {slot} was corrected during each of {_TRIES} reads"
            )
        kept = min(n, self.depth + 1)
        done = 0
        for part in (n - kept, n):
            replay(
                self.program.address,
                first + done,
                part - done,
                slot,
                1,
                self._bars[done:].ctypes.data,
                self._order.ctypes.data,
                1,
                0,
                self._bars.shape[1],
                0,
                0 if part < n else self._last[-kept:].ctypes.data,
                self._capacity,
                self._last[0].size,
            )
            done = part
        self._last_status[-kept:, slot] = self._bars[n - kept : n, -1]
        return kept

    def _advance(self) -> int:
        reader = self.store.reader
        for _ in range(_TRIES):
            n = advance(
                reader.data,
                reader.words,
                self.program.address,
                self._columns,
                self._order,
                self.g,
                self._n_slots,
                self.next_g,
                self._status,
                self._stage,
                self._done,
            )
            if n != MOVED:
                return int(n)
        raise Lagging(f"store {self.store.name!r}: bars were corrected during each of {_TRIES} reads")

    def _finish(self) -> None:
        """Bar g is complete: its cross part, its outputs. Those who wait in other processes come first."""
        g = self.g
        if self._has_cross:
            self._note_members(g)
            step_cross(self.program.address, g, self._width(), self.members.ctypes.data)
        self.g = g + 1
        if self._follower is not None:
            self._follower.finished(self, g)
        if not self._has_cross:
            self._note_members(g)
        read_outputs(self.program.address, g, 0, self._n_slots, self._values.ctypes.data, self._capacity)
        if self.g % CHECKPOINT_BARS == 0:
            self._checkpoint()

    def _note_members(self, g: int) -> None:
        np.equal(self._status, float(Status.BAR), out=self.members)
        self.members *= self.next_g == g + 1

    def _width(self) -> int:
        """Slots that the cross part looks at: those in use, rounded up so that listings seldom change it."""
        return min(self._capacity, -(-self._n_slots // 64) * 64)

    def _take_corrections(self) -> None:
        """Step symbols whose bars changed again, from before the change."""
        try:
            entries, following = self.store.reader.corrections(self._corrections)
        except Lagging:
            self._start()
            return
        self._corrections = following
        from_g: dict[int, int] = {}
        for _, slot, g, old, _ in entries:
            if self.origin_g[slot] <= g < self.next_g[slot]:
                from_g[slot] = min(g, from_g.get(slot, g))
                if self._has_cross and old == Status.BAR and g < self.g:
                    self._start()
                    return
        try:
            for slot, g in from_g.items():
                self._redo(slot, g)
        except Lagging:  # so far behind that bars since the checkpoint are gone
            self._start()

    def _redo(self, slot: int, g: int) -> None:
        program, own, next_g = self.program, self.plan.own_rows, int(self.next_g[slot])
        for checkpoint in self._checkpoints:
            if 0 <= checkpoint.next_g[slot] <= g:
                first = int(checkpoint.next_g[slot])
                program.state[own, slot] = checkpoint.state[own, slot]
                break
        else:
            first = self._oldest(slot)
            if first >= next_g:
                raise Lagging(
                    f"store {self.store.name!r}: bar {next_g} of slot {slot} is older than its window"
                )
            program.state[own, slot] = program.fresh(slot)[own]
            self.origin_g[slot] = first
        for checkpoint in self._checkpoints:
            if checkpoint.next_g[slot] > g:  # it holds the bar as it was
                checkpoint.next_g[slot] = -1
        kept = self._replay_slot(slot, first, next_g)
        if next_g > self.g:
            self._status[slot] = self._last_status[-1, slot]
        last = self._last[self.depth + 1 - kept :, :, slot]
        of_run_time = kept - 1 - (next_g - self.g)
        if of_run_time >= 0:
            self._values[~self._is_cross, slot] = last[of_run_time, ~self._is_cross]
        if self._follower is not None:
            n = min(kept, next_g - g)
            self._tell_last(self._follower.redone, slot, next_g - n, n)

    def _tell_all(self) -> None:
        """A follower begins with every symbol's newest outputs."""
        if self._follower is not None:
            for slot in np.flatnonzero(self.next_g >= 0):
                next_g = int(self.next_g[slot])
                n = min(self.depth, next_g - int(self.origin_g[slot]))
                self._tell_last(self._follower.begun, int(slot), next_g - n, n)
            self._follower.finished(self, self.g - 1)

    def _tell_newest(self) -> None:
        """A follower begins with one bar of every symbol: more of the past is not in a restored state."""
        if self._follower is not None and self.g >= 0:
            data, program, last = self.store.reader.data, self.program, self._last[-1]
            for slot in np.flatnonzero(self.next_g >= 0):
                g = int(self.next_g[slot]) - 1
                read_outputs(program.address, g, int(slot), 1, last.ctypes.data, self._capacity)
                self._last_status[-1, slot] = data[slot, -1, g % self.store.cap]
                n = min(1, g + 1 - int(self.origin_g[slot]))
                self._tell_last(self._follower.begun, int(slot), g + 1 - n, n)
            self._follower.finished(self, self.g - 1)

    def _tell_last(
        self, tell: Callable[["Engine", int, int, F64, U8], None], slot: int, g: int, n: int
    ) -> None:
        """Tell a slot's newest n outputs, which are in `_last`, beginning with bar g."""
        begin = self.depth + 1 - n
        status = self._last_status[begin:, slot].astype(np.uint8)
        tell(self, slot, g, self._last[begin:, :, slot], status)

    def _tell(self) -> RunTime:
        g, seen = self.g - 1, self._told_g
        self._told_g = g
        return self.store._arrived(g, seen)


def plan_factors(
    store: Store,
    factors: Mapping[str, Node] | Sequence[registry.Entry],
    statics: Iterable[str] = (),
) -> Plan:
    """The plan of these factors on this store. FactorError if they cannot be computed there."""
    nodes = named(factors)
    plan = bound(nodes, store.columns, store.interval_ms, store.origin_ms, statics)
    lacking = [name for name in plan.fields if name not in store.columns]
    if lacking:
        readers = [name for name, node in nodes.items() if lacking[0] in Plan({name: node}).fields]
        who = ", ".join(readers[:3]) + (", ..." if len(readers) > 3 else "")
        raise FactorError(
            f"store {store.name!r} has no columns {lacking}, which {who} read; it has"
            f" {', '.join(store.columns)}"
        )
    for name, warm_up in zip(plan.names, plan.warm_up, strict=True):
        if warm_up >= store.window:
            raise FactorError(
                f"{name} needs {warm_up + 1} bars before its first value, store {store.name!r} keeps"
                f" {store.window}"
            )
    return plan


def bound(
    nodes: Mapping[str, Node],
    columns: Iterable[str],
    interval_ms: int,
    origin_ms: int,
    statics: Iterable[str] = (),
) -> Plan:
    """A plan over bars of these columns: `open_time` follows from the bar's number, flags and groups are
    static unless they are columns."""
    own = set(columns)
    if "open_time" not in own:
        time_ms = bar_number() * float(interval_ms) + float(origin_ms)
        nodes = replaced(nodes, {field("open_time"): time_ms})
    return Plan(nodes, {*statics, *_DEFAULTS} - own)


def named(factors: Mapping[str, Node] | Sequence[registry.Entry]) -> Mapping[str, Node]:
    """Factors as a mapping of column names to expressions. FactorError for entries that mean none."""
    if isinstance(factors, Mapping):
        return factors
    try:
        return registry.columns(factors)
    except (LookupError, ValueError, TypeError) as error:
        raise FactorError(str(error)) from error
    except Exception as error:  # a user's own module may raise anything
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise FactorError(
            f"{type(error).__name__} in {last.filename}, line {last.lineno}: {error}"
        ) from error


def default_static(name: str, symbols: Iterable[str]) -> Mapping[str, float]:
    """What symbols have of a static field that nobody gave: see `Engine`."""
    known = list(symbols)
    if name != "is_btc":
        return dict.fromkeys(known, 0.0)
    coins = sorted((symbol for symbol in known if symbol.startswith("BTC")), key=lambda s: (len(s), s))
    return {symbol: float(symbol in coins[:1]) for symbol in known}


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


if __name__ == "__main__":
    from bmac_stream.engine_process import command_line

    command_line()
