"""StoreReader: any number of processes that read a store in place, on a read-only map.

A reader takes no lock and leaves no trace: it may be slow, stopped or killed at any point. Views are the
shared memory itself and go stale: take a token first and ask `valid` when done, or let `read` do both.
"""

import asyncio
import math
import time
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from shm import directory as slots
from shm import ring
from shm.errors import (
    Lagging,
    ShmError,
    StoreBroken,
    StoreNotFound,
    StoreRetired,
    SymbolNotFound,
    WriterDead,
    WriterStalled,
)
from shm.follow import Follower
from shm.jit import STAMP, StoreArrays
from shm.layout import (
    COMPLETE,
    CORR_BEGIN,
    CORR_END,
    DIRECTORY_VERSION,
    HEAD,
    HEARTBEAT,
    JOURNAL_ENTRIES,
    N_SLOTS,
    PHASE_BYTES,
    PHASE_CELL,
    PHASE_CELLS,
    PHASE_VERSION,
    SLOT_COUNT,
    SLOT_FIRST_G,
    SLOT_STATE,
    STATUS_COLUMN,
    WRITER_BOOT,
    WRITER_GENERATION,
    WRITER_PID,
    FileState,
    SlotState,
    first_cell,
)
from shm.local import Local
from shm.segment import (
    DEFAULT_DIRECTORY,
    Segment,
    bell_path,
    boot_id,
    check_platform,
    open_existing,
    segment_path,
    writer_alive,
)
from shm.wake import await_word
from shm.wake_asyncio import AsyncBell

__all__ = ["PanelToken", "StoreReader", "Token"]

_Result = TypeVar("_Result")
_F64 = npt.NDArray[np.float64]

_SLICE_S: Final = 0.5  # a blocked reader looks at the writer, and at signals, this often
_CORRECTION_S: Final = 1.0  # how long corrections may keep a reader from a value
_STUCK_S: Final = 0.02  # a correction under way for longer: is its writer alive?


class Token(NamedTuple):
    """What a view of one slot is checked against: bars [oldest, g_end)."""

    slot: int
    g_end: int
    oldest: int
    corrections: int


class PanelToken(NamedTuple):
    """What a panel is checked against: bars [oldest, g_end) of the first n_slots slots."""

    g_end: int
    oldest: int
    corrections: int
    n_slots: int


class StoreReader(Local):
    """A reader's end of a store. Made by `attach`; a context manager closes it, as does losing it.

    Closed, everything that looks at the store is ShmError. No copy, no pickle: attach in the other process.

    spec           what the writer fixed when the file was made
    epoch          random number of this file; a slot number means one symbol as long as it stays
    data           float64[max_symbols, n_columns, 2 * cap], the ring itself, read-only
    words          int64[...], header and control words, read-only
    max_silence_s  how old the writer's heartbeat may be before a wait raises WriterStalled
    """

    max_silence_s: float = 10.0

    def __init__(self, segment: Segment) -> None:
        """Not for callers: use `attach`."""
        self._segment = segment
        self._bell = AsyncBell(bell_path(segment.path))
        self._finalizer = weakref.finalize(self, _let_go, segment, self._bell)
        self._finalizer.atexit = False  # nothing outlives the process
        self._words = segment.words
        self._data = segment.data
        self.spec = segment.layout.spec
        self.epoch = segment.epoch
        self.created_ms = segment.created_ms
        self.cap = segment.layout.cap
        """Bars that a ring holds; a view may have up to cap - 1."""
        self._columns = {name: i for i, name in enumerate((*self.spec.columns, STATUS_COLUMN))}
        self._symbols: dict[str, int] = {}
        self._symbols_version = -1
        self._boot = boot_id()

    @classmethod
    def attach(
        cls,
        name: str,
        *,
        directory: str | Path = DEFAULT_DIRECTORY,
        timeout_s: float = 0.0,
        owner: int | None = None,
    ) -> "StoreReader":
        """Map the store `name`, read-only; waits up to `timeout_s` for it to appear.

        owner  a user number, besides one's own, whose store may be read (a group's collector)

        StoreNotFound   no such store, or it did not become READY in time
        StoreBroken     the file is no store, damaged, a symbolic link, or of another user
        SegmentVersion  the file has another layout; both versions are named
        """
        check_platform()
        path = segment_path(name, directory)
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                segment = open_existing(path, owner=owner)
            except FileNotFoundError:
                problem = "no such store"
            except PermissionError as error:
                raise StoreBroken(f"{path}: this user may not read it ({error.strerror})") from error
            else:
                if segment.state == FileState.READY:
                    return cls(segment)
                problem = f"the file is not READY (state {segment.state})"
                segment.close()
            if time.monotonic() >= deadline:
                raise StoreNotFound(f"{path}: {problem}; is the writer running?")
            time.sleep(min(0.02, max(0.0, deadline - time.monotonic())))

    # ---- what the store says of itself -------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """The file."""
        return self._segment.path

    @property
    def words(self) -> npt.NDArray[np.int64]:
        """Header and control words, read-only; indices are in shm.layout. ShmError after `close`."""
        if not len(self._words):
            raise ShmError(f"{self.path}: this reader is closed")
        return self._words

    @property
    def data(self) -> _F64:
        """The ring, read-only: float64[max_symbols, n_columns, 2 * cap]; bar g in cell cap + g % cap."""
        _ = self.words
        return self._data

    @property
    def arrays(self) -> StoreArrays:
        """What the functions of shm.jit take."""
        return StoreArrays(self.data, self.words, STAMP)

    @property
    def generation(self) -> int:
        """Goes up with every start of a writer."""
        return int(ring.peek(self.words, WRITER_GENERATION))

    @property
    def writer_pid(self) -> int:
        """Process number of the last writer, in its own pid namespace."""
        return int(self.words[WRITER_PID])

    @property
    def phase(self) -> str:
        """The writer's word for what it does: "starting", "history", "live", ..., "closed"."""
        words = self.words
        for _ in range(100):
            version = int(ring.peek(words, PHASE_VERSION))
            if version == 0:
                return ""
            at = PHASE_CELL + (version - 1) % PHASE_CELLS * PHASE_BYTES // 8
            cell = [ring.peek(words, at + k) for k in range(PHASE_BYTES // 8)]
            if ring.peek(words, PHASE_VERSION) - version < PHASE_CELLS - 1:
                return np.array(cell, np.int64).tobytes().rstrip(b"\0").decode(errors="replace")
        raise Lagging(f"{self.path}: the phase changed 100 times while it was read")

    @property
    def directory_version(self) -> int:
        """Goes up with every change of the directory."""
        return int(ring.peek(self.words, DIRECTORY_VERSION))

    @property
    def n_slots(self) -> int:
        """Slots that were ever taken; the rows of a panel."""
        return int(ring.peek(self.words, N_SLOTS))

    @property
    def complete_g(self) -> int:
        """The newest complete bar number; -1: none."""
        return int(ring.peek(self.words, COMPLETE)) - 1

    @property
    def head(self) -> int:
        """The newest bar number begun by any slot; -1: none."""
        return int(ring.peek(self.words, HEAD))

    @property
    def n_corrections(self) -> int:
        """Corrections finished since the file was made."""
        return int(ring.peek(self.words, CORR_END))

    def counters(self) -> dict[str, int]:
        """The writer's counters, by name."""
        words, at = self.words, self._segment.layout.counters_offset // 8
        return {name: int(words[at + i]) for i, name in enumerate(self.spec.counters)}

    # ---- symbols -----------------------------------------------------------------------------------------

    def symbols(self) -> dict[str, int]:
        """The ACTIVE symbols and their slots, in slot order. Read again only when the directory changed."""
        version = self.directory_version
        if version != self._symbols_version:
            entries = slots.read(self.words)
            self._symbols = {e.symbol: e.slot for e in entries if e.state == SlotState.ACTIVE}
            self._symbols_version = version
        return dict(self._symbols)

    def directory(self) -> list[slots.Entry]:
        """Every slot ever taken: slot, symbol, state, first_g."""
        return slots.read(self.words)

    def slot(self, symbol: str) -> int:
        """The slot of an ACTIVE symbol. SymbolNotFound if there is none."""
        found = self._symbols.get(symbol)
        if found is None or self.directory_version != self._symbols_version:
            found = self.symbols().get(symbol)
        if found is None:
            raise SymbolNotFound(f"{self.path}: {symbol!r} is not among its {len(self._symbols)} symbols")
        return found

    def slot_state(self, slot: int) -> SlotState:
        """What a slot is; FREE if it was never taken."""
        return SlotState(ring.peek(self.words, slots.slot_word(self._in_range(slot), SLOT_STATE)))

    def count(self, slot: int) -> int:
        """The bar number that a slot publishes next; 0 before it is ACTIVE."""
        return int(ring.peek(self.words, slots.slot_word(self._in_range(slot), SLOT_COUNT)))

    def first_g(self, slot: int) -> int:
        """The first bar number that a slot ever had."""
        return int(ring.peek(self.words, slots.slot_word(self._in_range(slot), SLOT_FIRST_G)))

    def active(self) -> npt.NDArray[np.bool_]:
        """bool[n_slots]: which rows of a panel are of ACTIVE symbols.

        Take it before the panel. Rows of other slots hold NaN or, while a symbol is being loaded, some of
        its bars, each under its own number.
        """
        states = np.empty(self.n_slots, np.int64)
        ring.read_states(self.words, states)
        return np.asarray(states == SlotState.ACTIVE)

    # ---- views, and whether they still hold --------------------------------------------------------------

    def column(self, column: str | int) -> int:
        """Index of a column: its name, or an index that is in range. KeyError or IndexError if not."""
        if isinstance(column, str):
            return self._columns[column]
        return range(len(self._columns))[column]

    def view(self, slot: int, column: str | int, n: int, g_end: int | None = None) -> _F64:
        """The last n bars of a column: a view of shared memory, read-only, no copy.

        g_end  the bar after the last one wanted; default: all that is published

        It holds until the writer has published `cap - n` more bars, or corrects one: take `token` before,
        ask `valid` after. Bars before first_g are NaN. Lagging if the ring does not hold them.
        """
        at = self._first_cell(slot, n, g_end)
        view: _F64 = self._data[slot, self.column(column), at : at + n]
        return view

    def rows(self, slot: int, n: int, g_end: int | None = None) -> _F64:
        """The last n bars of all columns, [n_columns, n], the last of them status. As `view`."""
        at = self._first_cell(slot, n, g_end)
        view: _F64 = self._data[slot, :, at : at + n]
        return view

    def panel(self, column: str | int, n: int, token: PanelToken | None = None) -> _F64:
        """The last n complete bars of a column of all slots: [n_slots, n], a view, read-only, no copy.

        token  of `panel_token`, so that several columns end at the same bar

        Rows are slots, delisted ones included (`active` tells). Check with `panel_valid`.
        """
        if token is None:
            token = self.panel_token(n)
        self._check_n(n)
        at = first_cell(token.g_end, n, self.cap)
        view: _F64 = self.data[: token.n_slots, self.column(column), at : at + n]
        return view

    def token(self, slot: int, n: int | None = None) -> Token:
        """Taken before a view of the slot's last n bars (default: the spec's window)."""
        n = self.spec.window if n is None else self._check_n(n)
        count, corrections = ring.slot_begin(self.words, self._in_range(slot))
        return Token(slot, count, count - n, corrections)

    def valid(self, token: Token) -> bool:
        """Whether all that was read since `token` is what was published: not overwritten, not corrected."""
        words = self.words
        return bool(ring.slot_valid(words, token.slot, token.oldest, self.cap, token.corrections))

    def panel_token(self, n: int | None = None) -> PanelToken:
        """Taken before a panel of the last n complete bars (default: the spec's window)."""
        n = self.spec.window if n is None else self._check_n(n)
        done, corrections = ring.panel_begin(self.words)
        return PanelToken(done, done - n, corrections, self.n_slots)

    def panel_valid(self, token: PanelToken) -> bool:
        """As `valid`, for panels."""
        return bool(ring.panel_valid(self.words, token.oldest, self.cap, token.corrections))

    def read(self, slot: int, fn: Callable[[_F64], _Result], n: int, *, retries: int = 3) -> _Result:
        """fn(rows [n_columns, n]) on the slot's last n bars, in place; its result only if nothing moved.

        fn may run several times, and on values that are half overwritten: it must end, and must not keep or
        return the view itself. What it raises counts only if the read was valid.

        Lagging     overtaken more than `retries` times, or corrections never paused
        WriterDead  a correction was begun and its writer is gone (the next writer completes it)
        """

        def rows(token: Token) -> _Result:
            at = first_cell(token.g_end, n, self.cap)
            return fn(self._data[slot, :, at : at + n])

        return self.read_at(slot, rows, n, retries=retries)

    def read_at(self, slot: int, fn: Callable[[Token], _Result], n: int, *, retries: int = 3) -> _Result:
        """`read` for those who need to know which bars they see: fn(token) looks at [token.oldest, g_end)."""
        n = self._check_n(n)
        patience: _Patience | None = None
        while True:
            token = self.token(slot, n)
            if token.g_end <= 0:
                self._check_visible(slot)
            try:
                result = fn(token)
            except Exception:
                if self.valid(token):
                    raise
            else:
                if self.valid(token):
                    return result
            patience = patience or _Patience(self, retries, f"slot {slot}")
            patience.spend(overtaken=self.count(slot) - token.oldest >= self.cap)

    def read_panel(
        self,
        columns: str | int | Sequence[str | int],
        fn: Callable[..., _Result],
        n: int,
        *,
        retries: int = 3,
    ) -> _Result:
        """fn(panel [n_slots, n], ...) with one panel for each column, all up to the same complete bar.

        As `read`: in place, repeated until nothing moved, then Lagging or WriterDead.
        """
        names = [columns] if isinstance(columns, str | int) else list(columns)
        return self.read_panel_at(
            lambda token: fn(*(self.panel(name, n, token) for name in names)), n, retries=retries
        )

    def read_panel_at(self, fn: Callable[[PanelToken], _Result], n: int, *, retries: int = 3) -> _Result:
        """`read_panel` for those who need to know which bars they see: fn(token) looks at
        [token.oldest, g_end) of the first n_slots slots."""
        n = self._check_n(n)
        patience: _Patience | None = None
        while True:
            token = self.panel_token(n)
            try:
                result = fn(token)
            except Exception:
                if self.panel_valid(token):
                    raise
            else:
                if self.panel_valid(token):
                    return result
            patience = patience or _Patience(self, retries, "panel")
            patience.spend(overtaken=self.head - token.oldest >= self.cap)

    def read_forming(self, slot: int) -> tuple[int, _F64] | None:
        """(g, values copy) of the bar that is not closed yet; None if there never was one.

        Lagging if the writer overtook 1000 attempts.
        """
        words = self.words
        if not self.spec.forming_cells:
            return None
        values = np.empty(len(self.spec.columns))
        g = ring.read_forming(words, self._in_range(slot), values, 1000)
        if g == -2:
            raise Lagging(f"{self.path}: the forming row of slot {slot} was overtaken 1000 times")
        return None if g == -1 else (int(g), values)

    def corrections(self, since: int) -> tuple[list[tuple[int, int, int, int, int]], int]:
        """([(serial, slot, g, old_status, new_status), ...], next_since) of corrections from `since` on.

        Serials count from 0 since the file was made; start at 0, or at `n_corrections` for news only.
        Lagging if more than the journal's 4096 entries lie between.
        """
        words = self.words
        end = int(ring.peek(words, CORR_END))
        if not 0 <= since <= end:
            raise ValueError(f"corrections are numbered 0 to {end - 1}, found since = {since}")
        out = np.empty((min(end - since, JOURNAL_ENTRIES), 4), np.int64)
        if end - since > JOURNAL_ENTRIES or ring.read_journal(words, since, len(out), out) != ring.OK:
            raise Lagging(
                f"{self.path}: corrections from {since} on were asked for, the journal holds the last "
                f"{JOURNAL_ENTRIES} of {end}"
            )
        rows = [(since + i, *map(int, row)) for i, row in enumerate(out)]
        return [(row[0], row[1], row[2], row[3], row[4]) for row in rows], end

    # ---- waiting -----------------------------------------------------------------------------------------

    def wait(self, seen_g: int, timeout_s: float, *, spin_us: float = 0.0) -> int:
        """Block until a bar after `seen_g` is complete; returns the newest complete bar number.

        spin_us  spin that long before sleeping; saves the 20 us of a wake-up, costs a core meanwhile

        TimeoutError, or WriterDead, WriterStalled, StoreRetired as soon as that is seen (within 0.5 s), as is
        that another thread closed this reader (ShmError).
        """
        return self._wait(COMPLETE, seen_g + 1, timeout_s, spin_us) - 1

    def wait_slot(self, slot: int, seen_count: int, timeout_s: float, *, spin_us: float = 0.0) -> int:
        """Block until the slot's count exceeds `seen_count`; returns it. Sleepers wake when the writer
        notifies, which `complete` does; a spinning reader sees every append. Errors as `wait`."""
        at = slots.slot_word(self._in_range(slot), SLOT_COUNT)
        return self._wait(at, seen_count, timeout_s, spin_us)

    def follow(self, slot: int, seen_count: int | None = None) -> Follower:
        """The newest bar of a slot, again and again, copied whole: the quickest way from append to Python.

        seen_count  bars below this number are not handed over (default: what is published now)
        """
        count = self.count(slot)
        if count <= 0:
            self._check_visible(slot)
        return Follower(self, slot, count if seen_count is None else seen_count)

    def _wait(self, at: int, seen: int, timeout_s: float, spin_us: float) -> int:
        deadline = time.monotonic() + timeout_s
        spin_s = min(spin_us / 1e6, timeout_s)
        left = timeout_s
        while True:
            spin_now_s = min(spin_s, _SLICE_S)
            spin_s -= spin_now_s
            sleep_s = 0.0 if spin_s > 0 else max(0.0, min(left, _SLICE_S))
            value = int(await_word(self.words, at, seen, int(spin_now_s * 1e9), int(sleep_s * 1e9)))
            if value > seen:
                return value
            self.check_writer()
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"{self.path}: nothing new within {timeout_s} s")

    async def wait_async(self, seen_g: int, timeout_s: float) -> int:
        """`wait` for asyncio: the writer rings an eventfd of this process; no thread, no polling.

        Where no socket can be had, a thread sleeps on the futex instead. A restarted writer is found again.
        ShmError, at once, if another task closes this reader.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while True:
            words = self.words
            rung = self._bell.next_ring() if self._bell.connect() else None
            try:
                done = self.complete_g
                if done > seen_g:
                    return done
                left = deadline - loop.time()
                if left <= 0:
                    raise TimeoutError(f"{self.path}: nothing new within {timeout_s} s")
                if rung is not None:
                    await self._bell.heard(rung, min(left, _SLICE_S))
                else:
                    sleep_ns = int(min(left, _SLICE_S) * 1e9)
                    await asyncio.to_thread(await_word, words, COMPLETE, seen_g + 1, 0, sleep_ns)
            finally:
                if rung is not None:
                    self._bell.forget(rung)
            if self.complete_g <= seen_g:
                self.check_writer()  # whoever rang: the bell may be that of a new file's writer

    async def arrivals(self, seen_g: int | None = None) -> AsyncIterator[int]:
        """Yields the newest complete bar number whenever it moved on; bars completed at once are one yield.

        seen_g  start after this one (default: what is complete now)

        Ends with WriterDead, WriterStalled or StoreRetired; call it again to go on.
        """
        seen = self.complete_g if seen_g is None else seen_g
        while True:
            try:
                seen = await self.wait_async(seen, 60.0)
            except TimeoutError:
                continue
            yield seen

    # ---- the writer --------------------------------------------------------------------------------------

    @property
    def silence_s(self) -> float:
        """Seconds since the writer's last heartbeat; inf if that was before this boot."""
        words = self.words
        if words[WRITER_BOOT : WRITER_BOOT + 2].tobytes() != self._boot:
            return math.inf
        return max(0.0, (time.monotonic_ns() - int(ring.peek(words, HEARTBEAT))) / 1e9)

    @property
    def writer_alive(self) -> bool:
        """Whether some process holds the writer's lock: of this file, or the lock file beside it."""
        _ = self.words
        return writer_alive(self.path, self._segment.fd)

    def check_writer(self, max_silence_s: float | None = None) -> None:
        """Raise StoreRetired, WriterDead or WriterStalled; the message says for how long it has been silent.

        max_silence_s  default: the reader's own `max_silence_s`
        """
        limit = self.max_silence_s if max_silence_s is None else max_silence_s
        _ = self.words
        if self._segment.state == FileState.RETIRED or self._segment.unlinked:
            raise StoreRetired(f"{self.path}: the writer went on with a new file; attach again")
        silence = self.silence_s
        if not self.writer_alive:
            raise WriterDead(
                f"{self.path}: nobody writes it, silent for {silence:.1f} s (phase {self.phase!r}, "
                f"process {self.writer_pid})"
            )
        if silence > limit:
            raise WriterStalled(
                f"{self.path}: process {self.writer_pid} holds the writer's lock but has been silent for "
                f"{silence:.1f} s, allowed are {limit:g} s (phase {self.phase!r})"
            )

    def close(self) -> None:
        """Let go of the store, and wake the tasks that wait for it. Views that are still in use stay good:
        the map lives as long as they do."""
        self._finalizer()
        self._words = np.empty(0, np.int64)
        self._data = np.empty((0, 0, 0))

    def __enter__(self) -> "StoreReader":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # ---- helpers -----------------------------------------------------------------------------------------

    def _in_range(self, slot: int) -> int:
        if not 0 <= slot < self.spec.max_symbols:
            raise SymbolNotFound(f"{self.path}: slot {slot} of {self.spec.max_symbols}")
        return slot

    def _check_n(self, n: int) -> int:
        if not 0 < n < self.cap:
            raise ValueError(f"{self.path}: 1 to {self.cap - 1} bars can be looked at, found {n}")
        return n

    def _check_visible(self, slot: int) -> None:
        state = self.slot_state(slot)
        if state in (SlotState.FREE, SlotState.LOADING):
            raise SymbolNotFound(f"{self.path}: slot {slot} is {state.name}, nothing of it is published")

    def _first_cell(self, slot: int, n: int, g_end: int | None) -> int:
        count = self.count(slot)
        if count <= 0:
            self._check_visible(slot)
        end = count if g_end is None else g_end
        if not 0 < n < self.cap or end > count or end - n <= count - self.cap:
            self._check_n(n)
            raise Lagging(
                f"{self.path}: slot {slot}: bars {end - n} to {end - 1} asked for, "
                f"{count - self.cap + 1} to {count - 1} are held"
            )
        return first_cell(end, n, self.cap)


def _let_go(segment: Segment, bell: AsyncBell) -> None:
    """The end of a reader: `close` or garbage collection."""
    bell.close()
    segment.close()


class _Patience:
    """How long one read goes on trying: `retries` overruns, and a while of corrections."""

    def __init__(self, reader: StoreReader, retries: int, what: str) -> None:
        self._reader = reader
        self._retries = retries
        self._what = what
        self._overruns = 0
        self._since = time.monotonic()
        self._stuck = -1  # a correction that was under way at the last look, and since when
        self._stuck_since = 0.0

    def spend(self, *, overtaken: bool) -> None:
        """After a read that did not hold. Returns if another may be tried, else raises."""
        where = f"{self._reader.path}: {self._what}"
        if overtaken:
            self._overruns += 1
            if self._overruns > self._retries:
                raise Lagging(f"{where} was overtaken by the writer {self._overruns} times")
            return
        now = time.monotonic()
        words = self._reader.words
        begun, done = int(ring.peek(words, CORR_BEGIN)), int(ring.peek(words, CORR_END))
        if begun == done:
            if now - self._since > _CORRECTION_S:
                raise Lagging(f"{where}: corrections kept coming for {_CORRECTION_S} s")
            return
        # A correction takes well below a microsecond, unless its writer was stopped in it.
        if begun != self._stuck:
            self._stuck, self._stuck_since = begun, now
        elif now - self._stuck_since > _STUCK_S and not self._reader.writer_alive:
            raise WriterDead(f"{where}: the writer died within correction {begun}; the next one completes it")
        elif now - self._stuck_since > _CORRECTION_S:
            raise WriterStalled(f"{where}: correction {begun} has been half done for {_CORRECTION_S} s")
        time.sleep(1e-4)
