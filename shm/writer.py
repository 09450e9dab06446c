"""StoreWriter: the one process that writes a store.

Not thread-safe: one thread (or one event loop) owns it. Readers never slow it down, whatever they do.
"""

import contextlib
import mmap
import operator
import os
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from shm import directory as slots
from shm import ports, ring
from shm.errors import (
    OrderError,
    SegmentMismatch,
    SegmentVersion,
    ShmError,
    StoreBroken,
    StoreNotFound,
    SymbolNotFound,
)
from shm.feed import Feeder
from shm.layout import (
    COMPLETE,
    CORR_END,
    DIRECTORY_VERSION,
    HEAD,
    HEARTBEAT,
    N_SLOTS,
    PHASE_BYTES,
    PHASE_CELL,
    PHASE_CELLS,
    PHASE_VERSION,
    SLOT_COUNT,
    SLOT_FIRST_G,
    SLOT_LOADED,
    SLOT_STATE,
    SLOT_WORDS,
    STATE,
    STATE_OFFSET,
    WRITER_BOOT,
    WRITER_GENERATION,
    WRITER_PID,
    WRITER_START,
    FileState,
    Layout,
    SlotState,
    Spec,
    Status,
    first_cell,
)
from shm.local import Local
from shm.segment import (
    DEFAULT_DIRECTORY,
    Segment,
    WriterLock,
    bell_path,
    boot_id,
    check_platform,
    create,
    group_number,
    open_existing,
    peek_source,
    remove_leftover,
    segment_path,
    set_mode,
)
from shm.wake import Bell, wake_all

__all__ = ["StoreWriter"]

_F64 = npt.NDArray[np.float64]
_U8 = npt.NDArray[np.uint8]
_FLOAT64 = np.dtype(np.float64)  # the one object that ordinary arrays share
_BAR = int(Status.BAR)  # handed to compiled code an enum costs 30 times what its number does


class StoreWriter(Local):
    """The writer's end of a store. Made by `open`; a context manager closes it. No copy, no pickle.

    created     the file is new; False: a file of the same spec went on where it was
    generation  how many writers this file has had
    epoch       random number of this file; slots mean the same symbol as long as it stays
    spec        what was asked for
    """

    def __init__(
        self, segment: Segment, lock: WriterLock, created: bool, mode: int, group: int | None
    ) -> None:
        """Not for callers: use `open`."""
        self._segment = segment
        self._words = segment.words
        self._data = segment.data
        self._lock = lock
        self.created = created
        self.spec = segment.layout.spec
        self.epoch = segment.epoch
        self._n_values = len(self.spec.columns)
        self._n_slots = int(self._words[N_SLOTS])
        self._scratch = np.zeros(self.spec.max_symbols, np.int64)
        counters_at = segment.layout.counters_offset // 8
        self._counters = {name: counters_at + i for i, name in enumerate(self.spec.counters)}
        self.symbols: dict[str, int] = {}
        """The live symbols, LOADING or ACTIVE, and their slots."""
        self._begun: dict[str, int] = {}  # symbols that a former writer was loading -> their slots
        self._recover()
        self._bell = Bell(self._words, bell_path(segment.path), mode, group)
        self._port = ports.new_port(self._words, self._data, self._bell.words)
        self._address: int = self._port.ctypes.data
        self._finalizer = weakref.finalize(self, _let_go, segment, lock, self._bell)
        self._bell.ring()

    @classmethod
    def open(
        cls,
        name: str,
        spec: Spec,
        *,
        directory: str | Path = DEFAULT_DIRECTORY,
        mode: int = 0o600,
        group: str | int | None = None,
    ) -> "StoreWriter":
        """Become the writer of the store `name`, making its file if there is none of this spec.

        mode   0o600, or 0o640 with `group` (name or number) to let that group read

        The file of a former writer with an equal spec is taken over as it is: counts go on, readers stay
        attached. If the spec differs in anything but the source, a new file takes the name and the old one is
        marked RETIRED; its readers keep what they have and attach again. So it is with a file that was last
        written before this boot (not in /dev/shm, then): if the power failed, its parts are of any age.

        WriterLocked     another process (named) writes this store
        SegmentMismatch  the file's source is another: it is neither mixed nor overwritten
        NoSpace          need and room are named; nothing was taken
        StoreBroken      the name belongs to something that is not a whole store of this user
        """
        check_platform()
        group_id = group_number(mode, group)
        path = segment_path(name, directory)
        if not path.parent.is_dir():
            raise StoreNotFound(f"{path.parent}: no such directory")
        lock = WriterLock(path, mode, group_id)
        try:
            segment, created = _obtain(path, Layout.of(spec), mode, group_id, lock)
            return cls(segment, lock, created, mode, group_id)
        except BaseException:
            lock.release()
            raise

    def _recover(self) -> None:
        """Make whole what a killed writer left, then say who we are."""
        words = self._words
        ring.finish_correction(words, self._data)
        newest = int(words[COMPLETE]) - 1
        for entry in slots.read(words):
            if entry.state == SlotState.LOADING:
                # It was never shown to anyone, and stays that symbol's. Otherwise every start that is cut
                # short would cost as many slots as there are symbols, and a few would fill the store.
                ring.wipe(self._data, entry.slot)
                slots.retake(words, entry.slot, 0)
                self._begun[entry.symbol] = entry.slot
            elif entry.state == SlotState.ACTIVE:
                self.symbols[entry.symbol] = entry.slot
                newest = max(newest, int(words[slots.slot_word(entry.slot, SLOT_COUNT)]) - 1)
        # `head` is stored before the data it covers, so it is never too low; too high would only cost reads.
        ring.post(words, HEAD, max(int(words[HEAD]), newest))
        self.heartbeat()
        words[WRITER_BOOT : WRITER_BOOT + 2] = np.frombuffer(boot_id(), np.int64)
        words[WRITER_PID] = os.getpid()
        words[WRITER_START] = time.monotonic_ns()
        self.set_phase("starting")
        ring.post(words, WRITER_GENERATION, int(words[WRITER_GENERATION]) + 1)
        slots.touch(words)

    # ---- symbols -----------------------------------------------------------------------------------------

    def add_symbol(self, symbol: str, first_g: int) -> int:
        """Take a slot for `symbol`, LOADING: readers do not see it before `activate`.

        symbol   1 to 64 bytes of UTF-8
        first_g  the first bar number it will have; `load` starts there

        A symbol that was LOADING when the last writer ended gets the same slot again, empty.
        StoreFull if no slot is left, OrderError if the symbol is live already; neither harms what is there.
        """
        if symbol in self.symbols:
            raise OrderError(f"{self.path}: {symbol} is live already, in slot {self.symbols[symbol]}")
        if first_g < 0:
            raise OrderError(f"{self.path}: {symbol}: bar numbers start at 0, found first_g {first_g}")
        slot = self._begun.pop(symbol, -1)
        if slot >= 0:
            slots.retake(self._open_words, slot, first_g)
        else:
            slot = slots.take(self._open_words, self.spec.max_symbols, symbol, first_g)
            self._n_slots = slot + 1
        slots.touch(self._words)
        self.symbols[symbol] = slot
        return slot

    def load(self, slot: int, g0: int, values: npt.ArrayLike, status: npt.ArrayLike) -> None:
        """History of a LOADING slot, oldest first; repeated calls continue.

        g0      first_g, then the bar after the last one loaded: else OrderError
        values  float64[n, n_values];  status  uint8[n], of Status
        """
        rows, statuses = self._rows(values, status)
        self._refuse(ring.load(self._open_words, self._data, self._slot(slot), g0, rows, statuses), slot, g0)

    def activate(self, slot: int) -> None:
        """Show a LOADING slot to readers: its count once, then the slot itself.

        OrderError if it was not loaded up to the newest complete bar: panels are always whole.
        """
        reason = ring.activate(self._open_words, self._slot(slot))
        if reason == ring.BAD_COUNT:
            loaded = int(self._words[slots.slot_word(slot, SLOT_LOADED)])
            raise OrderError(
                f"{self.path}: {self._name(slot)} cannot be activated: it is loaded up to bar {loaded - 1}, "
                f"bar {self.complete_g} is complete"
            )
        self._refuse(reason, slot, -1)
        slots.touch(self._words)

    def remove_symbol(self, slot: int) -> None:
        """Delist: the slot is never used again in this epoch; its row goes on as ABSENT at every bar."""
        self._slot(slot)
        state = SlotState(self._open_words[slots.slot_word(slot, SLOT_STATE)])
        if state not in (SlotState.LOADING, SlotState.ACTIVE):
            raise OrderError(f"{self.path}: slot {slot} is {state.name}, only a live symbol can be removed")
        del self.symbols[self._name(slot)]
        if state == SlotState.LOADING:
            ring.wipe(self._data, slot)
        slots.set_state(self._words, slot, SlotState.DELISTED)

    # ---- rows --------------------------------------------------------------------------------------------

    def append(self, slot: int, g: int, values: npt.ArrayLike, status: int = _BAR) -> None:
        """Publish bar g of an ACTIVE slot. OrderError unless g is its count; nothing is written then.

        values  float64[n_values]; NaN with status ABSENT or PENDING
        """
        if (
            type(slot) is type(g) is type(status) is int
            and type(values) is np.ndarray
            and values.dtype is _FLOAT64
            and values.ndim == 1
        ):
            try:
                if ports.append_at(self._address, slot, g, values, status) == ring.OK:
                    return
            except OverflowError:  # it does not fit a word; what is wrong with it is told below
                pass
        row, slot, g = self._row(values), operator.index(slot), operator.index(g)
        reason = ring.append(self._open_words, self._data, self._slot(slot), g, row, _checked(status))
        if reason != ring.OK:
            self._refuse(reason, slot, g)

    def feed(self, row: _F64 | None = None) -> Feeder:
        """A buffer of one row, from which rows are published at half the price of `append`.

        row  float64[n_values], contiguous: the buffer itself, no copy; a new one by default. ValueError for
             anything else
        """
        if row is None:
            row = np.full(self._n_values, np.nan)
        if (
            not isinstance(row, np.ndarray)
            or row.dtype != _FLOAT64
            or row.shape != (self._n_values,)
            or not (row.flags.c_contiguous and row.flags.aligned)
        ):
            found = f"{row.dtype}{list(row.shape)}" if isinstance(row, np.ndarray) else type(row).__name__
            raise ValueError(f"a buffer is a contiguous float64[{self._n_values}], found {found}")
        return Feeder(self, self._address, row)

    def append_rows(
        self, slot: npt.ArrayLike, g: npt.ArrayLike, values: npt.ArrayLike, status: npt.ArrayLike
    ) -> None:
        """Publish many rows in the order given, in one call; all are checked before the first is stored.

        slot, g  int64[n];  values  float64[n, n_values];  status  uint8[n]
        """
        rows, statuses = self._rows(values, status)
        slot_numbers = np.ascontiguousarray(slot, np.int64)
        numbers = np.ascontiguousarray(g, np.int64)
        if not len(slot_numbers) == len(numbers) == len(rows):
            raise ValueError(f"{len(slot_numbers)} slots, {len(numbers)} numbers and {len(rows)} rows")
        if not len(slot_numbers):
            return
        self._slot(int(slot_numbers.min()))
        self._slot(int(slot_numbers.max()))
        reason, i = ring.append_rows(
            self._open_words, self._data, self._scratch, slot_numbers, numbers, rows, statuses
        )
        if reason != ring.OK:
            self._refuse(reason, int(slot_numbers[i]), int(numbers[i]))

    def skip_to(self, slot: int, g: int) -> None:
        """Publish PENDING rows up to bar g (exclusive); bounded work for a gap of any length."""
        self._refuse(ring.skip_to(self._open_words, self._data, self._slot(slot), g), slot, g)

    def correct(self, slot: int, g: int, values: npt.ArrayLike, status: int = Status.BAR) -> None:
        """Replace bar g, which is published and still in the ring; readers see it whole, and journaled.

        OrderError if it is not published yet, before first_g, or no longer held.
        """
        row = self._row(values)
        self._refuse(
            ring.correct(self._open_words, self._data, self._slot(slot), g, row, _checked(status)), slot, g
        )

    def correct_rows(self, slot: int, g0: int, values: npt.ArrayLike, status: npt.ArrayLike) -> None:
        """Replace bars g0, g0 + 1, ...: all are checked first; each is one whole correction.

        values  float64[n, n_values];  status  uint8[n]
        """
        rows, statuses = self._rows(values, status)
        reason = ring.correct_rows(self._open_words, self._data, self._slot(slot), g0, rows, statuses)
        self._refuse(reason, slot, g0, len(rows))

    def write_forming(self, slot: int, g: int, values: npt.ArrayLike) -> None:
        """Publish the state of bar g, which is not closed yet. ValueError if the store has no such cells."""
        if not self.spec.forming_cells:
            raise ValueError(f"{self.path} has no cells for forming rows (forming_cells = 0)")
        row, slot, g = self._row(values), operator.index(slot), operator.index(g)
        ring.write_forming(self._open_words, self._slot(slot), g, row)

    def complete(self, g: int) -> None:
        """Declare bar g complete for the whole directory, and wake readers.

        OrderError if an ACTIVE slot (named) has not published g, or g is complete already.
        """
        if ports.complete_at(self._address, g) == ring.OK:
            return
        reason, found = ring.complete(self._open_words, self._data, g)
        if reason == ring.BAD_COUNT:
            raise OrderError(
                f"{self.path}: bar {g} is not complete: {self._name(found)} has published "
                f"up to bar {self.count(found) - 1}"
            )
        if reason == ring.BAD_STATE:
            raise OrderError(f"{self.path}: bar {g} is complete already, the newest complete is {found - 1}")
        self._bell.ring()
        self.heartbeat()

    # ---- the writer's own view ---------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """The file."""
        return self._segment.path

    @property
    def removed(self) -> bool:
        """Whether someone removed the file (systemd-logind does, at a logout, unless RemoveIPC=no): what is
        written then reaches no new reader."""
        _ = self._open_words
        return self._segment.unlinked

    @property
    def generation(self) -> int:
        """How many writers this file has had, this one included."""
        return int(self._open_words[WRITER_GENERATION])

    @property
    def complete_g(self) -> int:
        """The newest complete bar number; -1: none."""
        return int(self._open_words[COMPLETE]) - 1

    @property
    def head(self) -> int:
        """The newest bar number begun by any slot; -1: none."""
        return int(self._open_words[HEAD])

    @property
    def corrections(self) -> int:
        """Corrections made since the file was made."""
        return int(self._open_words[CORR_END])

    @property
    def directory_version(self) -> int:
        """Goes up with every change of the directory."""
        return int(self._open_words[DIRECTORY_VERSION])

    def count(self, slot: int) -> int:
        """The bar number that is next: published of an ACTIVE slot, loaded of a LOADING one."""
        state = self._open_words[slots.slot_word(self._slot(slot), SLOT_STATE)]
        field = SLOT_LOADED if state == SlotState.LOADING else SLOT_COUNT
        return int(self._words[slots.slot_word(slot, field)])

    def counts(self, slot: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """The bar numbers that are next of many ACTIVE slots, int64[n], in one look."""
        numbers = np.asarray(slot, np.int64)
        if len(numbers):
            self._slot(int(numbers.min()))
            self._slot(int(numbers.max()))
        return self._open_words[slots.slot_word(0, SLOT_COUNT) + numbers * SLOT_WORDS]

    def first_g(self, slot: int) -> int:
        """The first bar number of a slot."""
        return int(self._open_words[slots.slot_word(self._slot(slot), SLOT_FIRST_G)])

    def slot_state(self, slot: int) -> SlotState:
        """What a slot is; FREE if it was never taken."""
        if not 0 <= slot < self.spec.max_symbols:
            raise SymbolNotFound(f"{self.path}: slot {slot} of {self.spec.max_symbols}")
        return SlotState(self._open_words[slots.slot_word(slot, SLOT_STATE)])

    def read(self, slot: int, g0: int, n: int) -> tuple[_F64, _U8]:
        """Copies of bars g0 ... g0 + n - 1: (values float64[n, n_values], status uint8[n]).

        OrderError if one of them is not there: not published, or no longer in the ring. Bars before first_g
        are NaN and EMPTY.
        """
        count, cap = self.count(slot), self._segment.layout.cap
        oldest = max(count - cap + 1, 0)  # the cell before is the next to be written, perhaps half
        if n < 0 or g0 + n > count or g0 < oldest:
            raise OrderError(
                f"{self.path}: {self._name(slot)}: bars {g0} to {g0 + n - 1} asked for, "
                f"{oldest} to {count - 1} are held"
            )
        at = first_cell(g0 + n, n, cap)
        rows = self._data[slot, :, at : at + n]
        return np.ascontiguousarray(rows[:-1].T), rows[-1].astype(np.uint8)

    # ---- signs of life -----------------------------------------------------------------------------------

    def notify(self) -> None:
        """Wake readers; `complete` does it by itself. Bounded work, however many they are."""
        _ = self._open_words
        self._bell.ring()

    def heartbeat(self) -> None:
        """Say that the writer lives. Call it at least once a second."""
        ring.post(self._open_words, HEARTBEAT, time.monotonic_ns())

    def set_phase(self, text: str) -> None:
        """A word for people, at most 31 bytes of UTF-8: "history", "live", "stopping"."""
        encoded = text.encode()
        if len(encoded) >= PHASE_BYTES:
            raise ValueError(f"a phase has at most {PHASE_BYTES - 1} bytes, found {text!r}")
        words = self._open_words
        version = int(words[PHASE_VERSION])
        at = PHASE_CELL + version % PHASE_CELLS * PHASE_BYTES // 8
        for k, word in enumerate(np.frombuffer(encoded.ljust(PHASE_BYTES, b"\0"), np.int64)):
            ring.post(words, at + k, int(word))
        ring.post(words, PHASE_VERSION, version + 1)

    def add(self, counter: str, n: int = 1) -> None:
        """Add n to a counter of the spec. KeyError if there is none of that name."""
        self._open_words[self._counters[counter]] += n

    def set(self, counter: str, value: int) -> None:
        """Set a counter of the spec."""
        self._open_words[self._counters[counter]] = value

    def counter(self, counter: str) -> int:
        """The value of a counter of the spec."""
        return int(self._open_words[self._counters[counter]])

    def close(self) -> None:
        """The clean end: phase "closed", readers woken, lock given back. The file stays. Twice is once."""
        if self._finalizer.alive:
            self.set_phase("closed")
            ports.refuse_all(self._port)
            self._finalizer()
            self._words = np.empty(0, np.int64)
            self._data = np.empty((0, 0, 0))

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # ---- helpers -----------------------------------------------------------------------------------------

    @property
    def _open_words(self) -> npt.NDArray[np.int64]:
        """The control words; ShmError after `close`, since compiled code checks no bounds."""
        if not len(self._words):
            raise ShmError(f"{self.path}: this writer is closed")
        return self._words

    def _slot(self, slot: int) -> int:
        if not 0 <= slot < self._n_slots:
            raise SymbolNotFound(f"{self.path}: slot {slot} was never taken")
        return slot

    def _name(self, slot: int) -> str:
        entry = slots.read(self._open_words)[slot]
        return entry.symbol

    def _row(self, values: npt.ArrayLike) -> _F64:
        row = np.ascontiguousarray(values, np.float64)
        if row.shape != (self._n_values,):
            raise ValueError(f"a row has {self._n_values} values, found an array of shape {row.shape}")
        return row

    def _rows(self, values: npt.ArrayLike, status: npt.ArrayLike) -> tuple[_F64, _U8]:
        rows = np.ascontiguousarray(values, np.float64)
        statuses = np.ascontiguousarray(status, np.uint8)
        if statuses.ndim != 1 or rows.shape != (len(statuses), self._n_values):
            raise ValueError(
                f"expected values [n, {self._n_values}] and status [n], "
                f"found {rows.shape} and {statuses.shape}"
            )
        if len(statuses):
            _checked(int(statuses.min()))
            _checked(int(statuses.max()))
        return rows, statuses

    def _refuse(self, reason: int, slot: int, g: int, n: int = 1) -> None:
        """OrderError with what was asked for and what is there, unless `reason` is OK."""
        if reason == ring.OK:
            return
        who = f"{self.path}: {self._name(slot)}"
        count = self.count(slot)
        if reason == ring.BAD_STATE:
            raise OrderError(f"{who} is {self.slot_state(slot).name}; slot {slot} cannot take this")
        if reason == ring.BAD_COUNT:
            raise OrderError(f"{who}: bar {g} asked for, bar {count} is next")
        oldest = max(self.first_g(slot), count - self._segment.layout.cap + 1)
        raise OrderError(f"{who}: bars {g} to {g + n - 1} asked for, {oldest} to {count - 1} are held")


def _checked(status: int) -> int:
    """A status that a published row may have. ValueError for any other."""
    if not 1 <= status <= 3:  # plain numbers: comparing enums would cost as much as the append
        raise ValueError(f"a row's status is BAR, ABSENT or PENDING (1 to 3), found {status!r}")
    return int(status)


def _let_go(segment: Segment, lock: WriterLock, bell: Bell) -> None:
    """The end of a writer: `close`, garbage collection or interpreter exit."""
    bell.close()  # its socket goes before the lock: the next writer's has the same name
    lock.release()
    wake_all(segment.words)
    segment.close()


def _obtain(
    path: Path, layout: Layout, mode: int, group: int | None, lock: WriterLock
) -> tuple[Segment, bool]:
    """(the segment to write, whether it is new). The lock is held, and that of the file is taken."""
    spec = layout.spec
    try:
        existing = open_existing(path, writable=True)
    except FileNotFoundError:
        return _create(path, layout, mode, group, lock), True
    except SegmentVersion:
        _check_source(path, peek_source(path), spec.source)
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    else:
        try:
            _check_source(path, existing.layout.spec.source, spec.source)
            lock.hold(existing.fd)
        except BaseException:
            existing.close()
            raise
        state = existing.state
        if state == FileState.READY and existing.layout == layout and _of_this_boot(existing):
            set_mode(existing.fd, mode, group)
            remove_leftover(path)
            return existing, False
        if state not in (FileState.READY, FileState.RETIRED):
            existing.close()
            raise StoreBroken(f"{path}: never became READY (state {state}); remove it by hand")
        fd = os.dup(existing.fd)
        existing.close()
    try:
        lock.hold(fd)
        made = _create(path, layout, mode, group, lock)
        _retire(fd)
        return made, True
    finally:
        os.close(fd)


def _create(path: Path, layout: Layout, mode: int, group: int | None, lock: WriterLock) -> Segment:
    made = create(path, layout, mode, group)
    lock.hold(made.fd)
    return made


def _of_this_boot(segment: Segment) -> bool:
    boot = segment.words[WRITER_BOOT : WRITER_BOOT + 2].tobytes()
    return boot in (boot_id(), bytes(16))  # zero: no writer came as far as its first row


def _check_source(path: Path, found: str, expected: str) -> None:
    if found != expected:
        raise SegmentMismatch(
            f"{path} holds rows of source {found!r}, asked for is {expected!r}; sources are never mixed: "
            "use another store name, or remove the file"
        )


def _retire(fd: int) -> None:
    """Mark a file that lost its name, and wake its readers."""
    with contextlib.closing(mmap.mmap(fd, 2 * STATE_OFFSET)) as buffer:
        words: Any = np.frombuffer(buffer, np.int64)
        ring.post(words, STATE, FileState.RETIRED)
        wake_all(words)
        del words
