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
  `origin_g`: only factors that never forget depend on it.
- The members of a past cross-section stay who they were: a late bar's symbol does not become one. Where the
  correction changes what members brought to past cross-sections - the exchange revised a member's bar, or the
  late bar is within the memory of what is ranked later, as in cs_rank(ts_mean(close, 3)) - these are stepped
  again for the whole market, with the members recorded: from a checkpoint, once for all corrections that came
  together; from the oldest bar in the store where the bar is older than the checkpoints (32 to 64 bars), and
  that not more often than every `REPLAY_EVERY_S` seconds. Between two such replays, past cross-sections stay
  as they were published.
- A listed symbol's own factors begin with its oldest bar in the store; it is in cross-sections from the next
  run_time on. A delisted one is NaN from then on, and stays in the past cross-sections it was in.
- Members of bars from before this engine (and the state it took up) are those the store has bars of.

All of it is equal, to the bit, to `kernels.batch.batch` over the same bars, beginning with the same bar and
with the same members (tests/bmac_stream/test_engine.py, test_engine_random.py).

An Engine belongs to one thread. What it needs is allocated when it is made.
"""

import asyncio
import difflib
import hashlib
import os
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from bmac_stream.client import RunTime, Store
from bmac_stream.engine_loop import LOST, MOVED, advance, sleep, take_bars
from bmac_stream.engine_members import Members
from bmac_stream.errors import BmacError, Lagging
from factor_defs import registry
from kernels import ahead
from kernels.carry import carry
from kernels.elementwise import bar_number
from kernels.node import Node, field, replaced
from kernels.plan import Plan
from kernels.run import Program, copy_slot, peek, read_outputs, replay, step_cross
from kernels.state import dump, load, put_back
from shm import SlotState, Status
from shm.layout import first_cell

if TYPE_CHECKING:
    import pandas as pd

    from bmac_stream.history import Factored

__all__ = ["Engine", "FactorError", "Follower", "bound", "default_static", "named", "plan_factors", "reads"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]

CHECKPOINT_BARS: Final = 32
"""A copy of the state is kept from every so many bars, the newest two of them, for corrections."""
REPLAY_EVERY_S: Final = 5.0
"""Late bars that are older than every checkpoint cost the whole market's steps over all stored bars, 0.2 to
1.5 s: not more often than this, so that a hundred symbols that are repaired one by one cost two replays."""
_TRIES: Final = 100
"""How often a read of the store that corrections keep disturbing is tried again."""
_SLICE_S: Final = 0.5
_NOTES_FORMAT: Final = 2
"""Of what is noted beside a saved state; 1 had no members."""
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

    def crossed(self, engine: "Engine", g: int, values: F64) -> None:
        """The cross parts of bars g to engine.g - 1 were computed again; values: float64[n, n_outputs,
        max_symbols], all outputs of those bars."""


class _Checkpoint:
    """The state as it was.

    g       the bar that the market was to step next; -1 if it was between two bars: then each slot's own part
            is good, and the cross part is not
    next_g  int64[max_symbols]: each slot's next bar; -1 for one that was not in use
    state   float64[n_rows, max_symbols]
    """

    def __init__(self, program: Program) -> None:
        self.g = -1
        self.next_g: I64 = np.full(program.n_slots, -1, np.int64)
        # Columns that nobody used hold what a program begins with: kernels keep places of cells in there.
        self.state: F64 = program.state.copy()

    def clear(self) -> None:
        """Of no use any more."""
        self.g = -1
        self.next_g[:] = -1


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
        self._unborn: set[int] = set()
        self._recorded = Members(store.window, self._capacity)
        self._replayed_at = -np.inf
        self._due = False
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

    def members_of(self, slot: int, g: int, n: int) -> U8:
        """Whether a slot was in the cross-section of bars g, g + 1, ...: uint8[n]; 0: no, or not known."""
        return self._recorded.of(slot, g, g + n)

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
            elif self._due and self._may_replay():
                before = self.g
                self._start()
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
        self,
        factors: Mapping[str, Node] | Sequence[registry.Entry],
        *,
        follower: Follower | None = None,
        statics: Mapping[str, Mapping[str, float]] | None = None,
    ) -> int:
        """Compute these factors from now on; returns how many calls go on from the old ones.

        What was computed before goes on to the bit. What is new is replayed over the stored bars: `origin_g`
        is then the later of the two beginnings. FactorError, and nothing changes, if they cannot be computed.

        follower  who is told from now on; it begins with every symbol
        statics   as for `Engine`; None: as they are. What is made of one that changed begins anew
        """
        self.poll()
        former, nodes = self.statics, named(factors)
        if statics is not None:
            self.statics = dict(statics)
        changed = {
            name
            for name in {*former, *self.statics}
            if dict(former.get(name, {})) != dict(self.statics.get(name, {}))
        }
        old, values, origin = self.program, self._values, self.origin_g.copy()
        known = dict(zip(self.plan.names, self.plan.nodes, strict=True))
        try:
            self._use(nodes)
        except BaseException:
            self.statics = former
            raise
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
        for slot in np.flatnonzero((next_g > self.g) & (origin <= self.g)):  # its own bar is there already
            for last in (self._last, self._last_status):
                last[:-1, ..., slot] = last[1:, ..., slot].copy()
            self._replay_slot(int(slot), self.g, int(next_g[slot]))
        self.next_g[:] = np.where(next_g >= 0, next_g, self.next_g)
        self.origin_g[:] = np.maximum(self.origin_g, origin)
        shared = carry(old, self.program, next_g, changed)
        goes_on = next_g >= 0
        for i, (name, node) in enumerate(zip(self.plan.names, self.plan.nodes, strict=True)):
            if known.get(name) is node and not reads(node, changed):
                self._values[i, goes_on] = values[list(known).index(name), goes_on]
        self._checkpoint()
        self._tell_all()
        return shared

    def batch(self, source: Any, *, out: F64 | None = None) -> "Factored":
        """These factors over a history of bars, in memory of their own: see bmac_stream.history."""
        from bmac_stream import bar, history

        nodes = dict(zip(self.plan.names, self.plan.nodes, strict=True))
        interval = self.store.interval
        return history.batch(
            nodes,
            source,
            interval=interval,
            offset_minutes=(self.store.origin_ms - bar.origin_ms(interval)) // 60_000,
            statics=self.statics,
            out=out,
        )

    # ---- keeping -------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> int:
        """Write the state to a file (whole or not at all); returns its bytes. ValueError before the first
        run_time."""
        if self.g < 0:
            raise ValueError("there is no state before the market's first run_time")
        if self._due:  # which corrections are still to be seen in past cross-sections is not saved
            self._start()
        symbols = {name: slot for name, slot in self.store.symbols.items() if self.next_g[slot] >= 0}
        slots = list(symbols.values())
        notes = {
            "format": _NOTES_FORMAT,
            "statics": self._statics_hash(),
            "source": self.store.source,
            "interval_ms": self.store.interval_ms,
            "origin_ms": self.store.origin_ms,
            "epoch": self.store.reader.epoch,
            "corrections": self._corrections,
            "g": self.g,
            "members": self._recorded.saved(self._n_slots),
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
            if notes.get("format") != _NOTES_FORMAT:
                raise ValueError(
                    f"its notes have format {notes.get('format')}, this program's {_NOTES_FORMAT}"
                )
            if theirs != mine:
                raise ValueError(f"it is of the store {theirs}, this one is {mine}")
            self._recorded.take(notes["members"])  # true of this store, whatever becomes of the state
            if notes["statics"] != self._statics_hash():
                raise ValueError("symbols had other groups, or other static values")
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
            self._status[early] = self.store.reader.data[early, -1, first_cell(g + 1, 1, self.store.cap)]
        if self._has_cross:
            self.members[:] = program.state[self.plan.member_row] == 1.0
        self._n_slots = self.store.reader.n_slots
        self._checkpoint()
        return True

    def _statics_hash(self) -> str:
        """16 hex digits over the values that the plan's static fields were given."""
        given = {name: sorted(self.statics.get(name, {}).items()) for name in sorted(self.plan.statics)}
        return hashlib.blake2b(repr(given).encode(), digest_size=8).hexdigest()

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
        self._checkpoints = [_Checkpoint(program) for _ in range(2)]
        self._nobody: F64 = np.zeros(self.store.cap)
        self._cross_memory = max(
            (x for x, c in zip(plan.memory, plan.is_cross, strict=True) if c), default=0.0
        )

    def _slot(self, symbol: str) -> int:
        slot = self.store[symbol].slot
        if self.next_g[slot] < 0:
            self.poll()
        return slot

    def _start(self) -> None:
        """Everything from the stored bars, all symbols at once."""
        known = self.next_g >= 0
        self._replay_all(None)
        self._checkpoint()
        self._due = False
        if self._follower is not None:
            for slot in np.flatnonzero(known & (self.next_g < 0)):
                self._follower.ended(self, int(slot))
        first = self.g - min(self.store.window, self.g)
        self.started_from = f"the stored bars, from bar {first} on{self._refused}"
        self._tell_all()

    def _may_replay(self) -> bool:
        """Whether late bars may cost a replay of everything now; if so, it is the one for some time."""
        now = time.monotonic()
        if now - self._replayed_at < REPLAY_EVERY_S:
            return False
        self._replayed_at = now
        return True

    def _replay_all(self, end: int | None) -> None:
        """Step bars up to `end` (exclusive; None: all that is complete) for all slots, from the oldest on.

        Members are those recorded; for bars of which nothing is, the symbols that the store has bars of.
        """
        reader, program = self.store.reader, self.program
        for checkpoint in self._checkpoints:
            checkpoint.clear()
        for _ in range(_TRIES):
            self._look_for_slots()
            corrections = reader.n_corrections
            token = reader.panel_token(self.store.window)
            stop = token.g_end if end is None else end
            first = max(0, token.oldest)
            n, n_slots = stop - first, token.n_slots
            program.reset()
            there = np.zeros((n, n_slots))
            counted = self._counted[:n_slots]
            there[:, counted] = (self._stored_status(first, n, n_slots)[counted] == Status.BAR).T
            self._recorded.put_into(first, there)
            begins = np.array([reader.first_g(slot) for slot in range(n_slots)], np.int64)
            early = self._checkpoints[0]  # the one that `_checkpoint` leaves
            early.g = stop - CHECKPOINT_BARS
            self._step_all(first, stop, there, begins)
            if reader.panel_valid(token):
                break
        else:
            raise Lagging(f"store {self.store.name!r}: bars were corrected during each of {_TRIES} replays")
        self.g, self._n_slots, self._corrections = stop, n_slots, corrections
        self._recorded.replace(first, there)
        active = self._active[:n_slots]
        self.next_g[:] = self.origin_g[:] = -1
        self.next_g[:n_slots][active] = np.maximum(begins, stop)[active]
        self.origin_g[:n_slots][active] = np.maximum(begins, first)[active]
        if early.g > first:
            early.next_g[:n_slots][active] = np.maximum(begins, early.g)[active]
        else:
            early.clear()
        self._settle()
        self.members[:] = 0.0
        if n:
            self.members[:n_slots] = there[-1]

    def _stored_status(self, first: int, n: int, n_slots: int) -> F64:
        """A view of the status of n bars, float64[n_slots, n]."""
        cell = first_cell(first + n, n, self.store.cap)
        return self.store.reader.data[:n_slots, -1, cell : cell + n]

    def _step_all(self, first: int, stop: int, there: F64, begins: I64) -> None:
        """Both parts of bars [first, stop) for the slots from 0 on, straight from the store; the newest
        outputs and their status to `_last`. The caller asks whether the bars held.

        there   float64[stop - first, n_slots]: the members
        begins  int64[n_slots]: each slot's first bar; nothing of before is remembered
        Checkpoints that are of a bar in between are taken.
        """
        program, data, cap = self.program, self.store.reader.data, self.store.cap
        n, n_slots = there.shape
        n_columns = data.shape[1]
        source = data.ctypes.data + 8 * first_cell(stop, n, cap)
        untold = max(0, n - self.depth)
        inside = np.unique(begins[(begins > first) & (begins < stop)]) - first
        taken = [checkpoint.g - first for checkpoint in self._checkpoints if first < checkpoint.g <= stop]
        done = 0
        for part in sorted({untold, n, *inside.tolist(), *taken}):
            if part > done:
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
                    self._last[done - n :].ctypes.data if done >= untold else 0,
                    self._capacity,
                    self._last[0].size,
                )
            done = part
            for slot in np.flatnonzero(begins == first + done) if 0 < part < n else ():
                program.reset(int(slot))
            for checkpoint in self._checkpoints:
                if first < checkpoint.g == first + done:
                    np.copyto(checkpoint.state, program.state)
                    for slot in np.flatnonzero(begins > checkpoint.g):
                        checkpoint.state[:, slot] = program.fresh(int(slot))
        for slot in np.flatnonzero(begins >= stop):
            program.reset(int(slot))
            self._last[:, :, slot] = np.nan
        kept = min(n, self.depth)
        status = self._stored_status(first, n, n_slots)
        self._last_status[:] = 0.0
        self._last_status[self.depth + 1 - kept :, :n_slots] = status[:, n - kept :].T

    def _settle(self) -> None:
        """All was stepped up to `g`: who is not there any more is forgotten, values are of `g - 1`."""
        gone = self.next_g < 0
        for slot in np.flatnonzero(gone[: self._n_slots]):
            self.program.reset(int(slot))
        self._last[:, :, gone] = np.nan
        self._values[:] = np.nan
        self._values[:, : self._n_slots] = self._last[-1, :, : self._n_slots]
        self._unborn = {int(slot) for slot in np.flatnonzero(self.next_g > self.g)} - self._ahead()

    def _ahead(self) -> set[int]:
        """Slots whose own part has stepped the bar that the market is at."""
        return {int(slot) for slot in np.flatnonzero((self.next_g > self.g) & (self.origin_g <= self.g))}

    def _checkpoint(self) -> None:
        self._checkpoints.reverse()
        newest, width = self._checkpoints[0], self._width()
        newest.g = -1 if self._ahead() else self.g
        newest.next_g[:] = self.next_g
        np.copyto(newest.state[:, :width], self.program.state[:, :width])

    def _look_for_slots(self) -> None:
        """Which slots have bars to step: those of readable symbols. Those delisted were members as well."""
        self._directory = self.store.reader.directory_version
        self._active = np.zeros(self._capacity, bool)
        self._active[self.store.slots] = True
        self._n_slots = self.store.reader.n_slots
        self._counted = self._active.copy()
        now = self.store.symbols
        for entry in self.store.reader.directory():
            if entry.state == SlotState.DELISTED and entry.symbol not in now:
                self._counted[entry.slot] = True
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
            self._unborn.discard(int(slot))
            self.program.reset(int(slot))
            self._values[:, slot] = np.nan
            if self._follower is not None:
                self._follower.ended(self, int(slot))

    def _begin(self, slot: int) -> None:
        """A listed symbol: its stored bars up to the present one, in which it was no member."""
        program, scratch = self.program, self._scratch
        program.reset(slot)
        first = self._oldest(slot)
        stop = max(first, self.g)
        copy_slot(program.address, slot, scratch.address, 0)

        def take(checkpoint: _Checkpoint) -> None:
            checkpoint.state[:, slot] = scratch.state[:, 0]

        for checkpoint in self._checkpoints:
            checkpoint.next_g[slot] = -1 if checkpoint.g < 0 else max(first, checkpoint.g)
            if first >= checkpoint.g:
                take(checkpoint)
        taken = [c for c in self._checkpoints if c.g > first]
        n = self._replay_slot(slot, first, stop, taken, take, alone=True)
        copy_slot(scratch.address, 0, program.address, slot)
        self.next_g[slot], self.origin_g[slot] = stop, first
        if first > self.g:
            self._unborn.add(slot)
        self._values[:, slot] = self._last[-1, :, slot] if n else np.nan
        if self._follower is not None:
            n = min(n, self.depth)
            self._tell_last(self._follower.begun, slot, stop - n, n)

    def _oldest(self, slot: int) -> int:
        reader = self.store.reader
        return max(reader.first_g(slot), reader.count(slot) - self.store.window, 0)

    def _replay_slot(
        self,
        slot: int,
        first: int,
        stop: int,
        checkpoints: Sequence[_Checkpoint] = (),
        take: Callable[[_Checkpoint], None] = lambda checkpoint: None,
        *,
        alone: bool = False,
    ) -> int:
        """Step a slot's own part over bars [first, stop); how many of its newest outputs are in `_last`.

        checkpoints  which to `take` when their bar is reached
        alone        on the scratch, and the cross part too, with no members: nobody else is in there
        """
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
        program, place = (self._scratch, 0) if alone else (self.program, slot)
        due = {int(c.next_g[slot]) - first: c for c in checkpoints}
        kept = min(n, self.depth + 1)
        done = 0
        for part in sorted({n - kept, n, *due}):
            told = done >= n - kept
            if part > done:
                replay(
                    program.address,
                    first + done,
                    part - done,
                    place,
                    1,
                    self._bars[done:].ctypes.data,
                    self._order.ctypes.data,
                    1,
                    0,
                    self._bars.shape[1],
                    self._nobody.ctypes.data if alone and self._has_cross else 0,
                    self._last[done - n, :, slot - place :].ctypes.data if told else 0,
                    self._capacity,
                    self._last[0].size,
                )
            done = part
            if part in due:
                take(due[part])
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
        for slot in [slot for slot in self._unborn if self.next_g[slot] == self.g]:
            self.program.reset(slot)  # the cross part has no memory of before its first bar
            self._unborn.discard(slot)
        if self.g % CHECKPOINT_BARS == 0:
            self._checkpoint()

    def _note_members(self, g: int) -> None:
        np.equal(self._status, float(Status.BAR), out=self.members)
        self.members *= self.next_g == g + 1
        self._recorded.record(g, self.members)

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
        changed = self.g
        for _, slot, g, old, _ in entries:
            if self.origin_g[slot] <= g < self.next_g[slot]:
                from_g[slot] = min(g, from_g.get(slot, g))
                changed = min(changed, self._first_changed(slot, g, old))
            elif self.next_g[slot] < 0 and self._first_changed(slot, g, old) < self.g:
                changed = min(changed, g)  # delisted by now: its own part is not redone here
        if changed < self.g and self._checkpoint_before(changed) is None and self._may_replay():
            self._start()
            return
        try:
            for slot, g in from_g.items():
                self._redo(slot, g)
            if changed < self.g:
                checkpoint = self._checkpoint_before(changed)
                if checkpoint is None:
                    self._due = True
                else:
                    self._redo_market(checkpoint, changed)
        except Lagging:  # so far behind that bars since the checkpoint are gone
            self._start()

    def _first_changed(self, slot: int, g: int, old: int) -> int:
        """The first past cross-section that is another when a slot's bar g is; `self.g` if there is none."""
        if not self._has_cross or g >= self.g or g + self._cross_memory < self.g - self.depth:
            return self.g
        recorded = self._recorded
        if recorded.of(slot, g, g + 1)[0] if g >= recorded.first else old == Status.BAR:
            return g
        end = min(float(self.g), g + 1 + self.plan.gate_memory)
        later = np.flatnonzero(recorded.of(slot, g + 1, int(end)))
        return g + 1 + int(later[0]) if len(later) else self.g

    def _checkpoint_before(self, g: int) -> _Checkpoint | None:
        """The newest checkpoint of the whole market from before bar g."""
        for checkpoint in self._checkpoints:
            if 0 <= checkpoint.g <= g and (checkpoint.next_g[self.next_g >= 0] >= 0).all():
                return checkpoint
        return None

    def _redo_market(self, checkpoint: _Checkpoint, changed: int) -> None:
        """Step both parts of all slots again from a checkpoint on, with the members recorded: past
        cross-sections from bar `changed` on are others."""
        reader, program, begin = self.store.reader, self.program, checkpoint.g
        n_slots, width = self._n_slots, self._width()
        begins = checkpoint.next_g[:n_slots].copy()
        there = np.zeros((self.g - begin, n_slots))
        self._recorded.put_into(begin, there)
        for _ in range(_TRIES):
            token = reader.panel_token(self.store.window)
            if token.oldest > begin:
                raise Lagging(f"store {self.store.name!r}: bar {begin} is older than its window")
            np.copyto(program.state[:, :width], checkpoint.state[:, :width])
            program.put_statics()
            self._step_all(begin, self.g, there, begins)
            if reader.panel_valid(token):
                break
        else:
            raise Lagging(f"store {self.store.name!r}: bars were corrected during each of {_TRIES} replays")
        for other in self._checkpoints:
            if other.g < 0:
                other.clear()
        self._settle()
        if self._follower is not None:
            n = min(self.depth, self.g - changed)
            self._follower.crossed(self, self.g - n, self._last[self.depth + 1 - n :])
        for slot in self._ahead():
            self._replay_slot(slot, self.g, int(self.next_g[slot]))

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

        def take(checkpoint: _Checkpoint) -> None:
            checkpoint.state[own, slot] = program.state[own, slot]

        after = [c for c in self._checkpoints if c.next_g[slot] > g]  # they hold the bar as it was
        for checkpoint in after:
            if checkpoint.next_g[slot] < first:
                checkpoint.next_g[slot] = -1
        after = [c for c in after if c.next_g[slot] >= first]
        kept = self._replay_slot(slot, first, next_g, after, take)
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
                self._last_status[-1, slot] = data[slot, -1, first_cell(g + 1, 1, self.store.cap)]
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


def reads(node: Node, names: Iterable[str]) -> bool:
    """Whether one of these fields is in an expression."""
    sought, seen, left = set(names), set[Node](), [node]
    while left and sought:
        one = left.pop()
        if one.operator is None and one.name in sought:
            return True
        new = [x for x in one.inputs if x not in seen]
        seen.update(new)
        left += new
    return False


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
