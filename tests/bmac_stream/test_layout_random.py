"""Where a bar lies (layout 2, shm/ring.py): random histories of stores of many shapes, and after each step
every public way of reading against a dict of the bars that were written. An error says what differed when."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba import njit

from bmac_stream.bar import COLUMNS
from bmac_stream.client import Store
from shm import SlotState, Status, StoreReader, StoreWriter, jit
from shm.directory import slot_word
from shm.layout import SLOT_COUNT
from tests.shm.support import small_spec

LOADING, ACTIVE, DELISTED = SlotState.LOADING, SlotState.ACTIVE, SlotState.DELISTED
SHAPES = ((2, 2), (5, 3), (8, 3), (8, 4), (9, 3), (28, 4), (40, 9), (200, 60))
"""(window, slack): rings of 4 to 260 bars, shorter than a block of eight, of whole blocks, with a rest."""
WHAT = ("list", "append", "skip", "correct", "remove", "restart", "crash")
HOW_OFTEN, STEPS = (0.12, 0.57, 0.03, 0.2, 0.006, 0.014, 0.06), 200
STATUS = len(COLUMNS)
EMPTY = np.append(np.full(STATUS, np.nan), 0.0)  # bars are kept as float64[n_columns + 1], status last


@njit
def jit_read(store: Any, slot: int, column: int, n: int, row: Any, panel: Any) -> tuple[bool, bool]:
    one, all_ = jit.begin(store, slot), jit.panel_begin(store)
    for k in range(n):
        row[k] = jit.window(store, slot, column, n, one)[k]
        for i in range(len(panel)):
            panel[i, k] = jit.panel(store, column, n, all_)[i, k]
    return jit.valid(store, slot, n, one), jit.panel_valid(store, n, all_)


@dataclass
class Slot:
    """What was written to a slot; `end` is its next bar's number."""

    name: str
    first: int
    end: int
    state: SlotState = LOADING
    bars: dict[int, Any] = field(default_factory=dict)

    def put(self, g: int, rows: Any) -> None:
        self.bars.update(enumerate(rows, g))
        self.end = max(self.end, g + len(rows))

    def skip(self, end: int, status: Status, cap: int) -> None:
        self.put(max(self.end, end - cap), [np.append(EMPTY[:STATUS], status)] * min(end - self.end, cap))

    def want(self, end: int, n: int) -> Any:
        """The n bars before bar `end`: float64[n_columns + 1, n]."""
        return np.array([self.bars.get(g, EMPTY) for g in range(end - n, end)]).reshape(n, STATUS + 1).T


class History:
    """A store, what was written to it, and its readers."""

    def __init__(self, directory: Path, seed: int, window: int, slack: int) -> None:
        self.random, self.directory = np.random.default_rng(seed), directory
        self.spec = small_spec(columns=COLUMNS, window=window, slack=slack, max_symbols=5)
        self.writer = StoreWriter.open("bars", self.spec, directory=directory)
        self.reader = StoreReader.attach("bars", directory=directory)
        self.store = Store(StoreReader.attach("bars", directory=directory), "bars", directory)
        self.slots: list[Slot] = []
        self.cap, self.complete_g, self.version, self.n_panels = self.reader.cap, -1, 0, 0

    def of(self, *states: SlotState) -> list[int]:
        return [i for i, slot in enumerate(self.slots) if slot.state in states]

    def new(self, n: int = 1) -> tuple[Any, Any]:
        """n bars that were never before, float64[n, n_columns + 1], some without values; their statuses."""
        self.version += n
        rows = np.arange(self.version - n, self.version)[:, None] * 16.0 + np.arange(STATUS + 1)
        rows[:, STATUS] = self.random.choice([1, 2, 3], n, p=[0.86, 0.07, 0.07])
        rows[rows[:, STATUS] != Status.BAR, :STATUS] = np.nan
        return rows, rows[:, STATUS].astype(np.uint8)

    def do_list(self) -> None:
        """A symbol is listed, or more of its history is loaded; with all of it, it may become readable."""
        for i in self.of(LOADING)[:1]:
            slot, missing = self.slots[i], max(1, self.complete_g + 1 - self.slots[i].end)
            rows, status = self.new(int(self.random.choice([1, 5, self.cap + 3, missing])))
            self.writer.load(i, slot.end, rows[:, :STATUS], status)
            slot.put(slot.end, rows)
            if slot.end > self.complete_g and self.random.random() < 0.5:
                self.writer.activate(i)
                slot.state = ACTIVE
            return
        if len(self.slots) < self.spec.max_symbols:
            first = max(self.complete_g + 1, 1000) - int(self.random.integers(0, 2 * self.cap + 3))
            self.slots.append(Slot(f"S{len(self.slots)}", first, first))
            self.writer.add_symbol(self.slots[-1].name, first)

    def do_append(self) -> None:
        """One symbol, or whoever is behind, has the next bars; what all have is complete, perhaps later."""
        active, n = self.of(ACTIVE), int(self.random.integers(1, 2 + self.cap // 6))
        who = active if self.random.random() < 0.5 else self.random.permutation(active)[:1].tolist()
        end = min((self.slots[i].end for i in who), default=0) + n
        for i in who:
            g, how = self.slots[i].end, self.random.random()
            rows, status = self.new(max(end - g, 0))
            self.slots[i].put(g, rows)
            if how < 0.3:
                self.writer.append_rows([i] * len(rows), range(g, g + len(rows)), rows[:, :STATUS], status)
            for k, row in enumerate(rows if how >= 0.3 else (), g):
                if how < 0.6:
                    self.writer.feed(row[:STATUS]).append(i, k, int(row[STATUS]))
                else:
                    self.writer.append(i, k, row[:STATUS], int(row[STATUS]))
        g = min((self.slots[i].end for i in active), default=0) - 1
        if g > self.complete_g and self.random.random() < 0.8:
            self.writer.complete(g)
            self.complete_g = g
            for i in self.of(DELISTED):
                self.slots[i].skip(g + 1, Status.ABSENT, self.cap)

    def do_skip(self) -> None:
        """One symbol has no bars for a while, or the whole market; up to more than a lap of the ring."""
        n = int(self.random.choice([1, 7, 8, 9, self.cap - 1, self.cap, 2 * self.cap + 5]))
        for i in self.of(ACTIVE)[: self.random.choice([1, 9])]:
            self.writer.skip_to(i, end := self.slots[i].end + n)
            self.slots[i].skip(end, Status.PENDING, self.cap)

    def do_correct(self) -> None:
        """Bars that are held, most often of the newest blocks; the journal says what they were."""
        which = [i for i in self.of(ACTIVE, DELISTED) if self.slots[i].end > self.slots[i].first]
        for i in self.random.permutation(which)[:1].tolist():
            slot, before = self.slots[i], self.reader.n_corrections
            most = min(slot.end - slot.first, self.cap - 1, self.random.choice([17, self.cap]))
            g = slot.end - int(self.random.integers(1, most + 1))
            rows, status = self.new(min(slot.end - g, int(self.random.integers(1, 4))))
            self.writer.correct_rows(i, g, rows[:, :STATUS], status)
            want = [(i, k, slot.bars[k][STATUS], new) for k, new in enumerate(status, g)]
            slot.put(g, rows)
            told = [entry[1:] for entry in self.reader.corrections(before)[0]]
            self.same(told, np.array(want, float), "corrections")

    def do_remove(self) -> None:
        for i in self.of(ACTIVE)[-1:]:
            self.writer.remove_symbol(i)
            self.slots[i].state = DELISTED

    def do_restart(self) -> None:
        """Closed, or killed. What was LOADING is emptied, and listed again."""
        (self.writer.close if self.random.random() < 0.5 else self.writer._finalizer)()
        self.writer = StoreWriter.open("bars", self.spec, directory=self.directory)
        for slot in (self.slots[i] for i in self.of(LOADING)):
            slot.end, slot.bars = slot.first, {}
            self.writer.add_symbol(slot.name, slot.first)

    def do_crash(self) -> None:
        """Killed within an append: any of its stores are there, but not the count. Then the next writer."""
        for i in self.random.permutation(self.of(ACTIVE))[:1]:
            data, end, (rows, status) = self.writer._data, self.slots[i].end, self.new()
            before = data.copy()
            self.writer.append(i, end, rows[0, :STATUS], int(status[0]))
            lost = self.random.random(data.shape) < self.random.choice([0.0, 0.3, 0.7, 1.0])
            data[lost] = before[lost]
            self.writer._words[slot_word(i, SLOT_COUNT)] = end
            self.check()
            self.do_restart()

    def same(self, got: Any, want: Any, what: str) -> None:
        got = np.asarray(got, float)
        assert got.shape == want.shape, f"{what}: shape {got.shape} instead of {want.shape}"
        bad = [tuple(at) for at in np.argwhere((got != want) & ~(np.isnan(got) & np.isnan(want))).tolist()]
        assert not bad, f"{what}: {len(bad)} differ, first {bad[0]}: {got[bad[0]]} instead of {want[bad[0]]}"

    def check(self) -> None:
        for i in self.of(ACTIVE, DELISTED):
            self.check_windows(i, self.slots[i])
        if self.complete_g >= 0:
            self.check_panels()

    def check_windows(self, i: int, slot: Slot) -> None:
        """To the newest bar and to one of the past, of any length that is held; then a client's view."""
        for back in (0, int(self.random.integers(0, self.cap - 1))):
            for n in (1, self.cap - 1 - back, int(self.random.integers(1, self.cap - back))):
                end, k = slot.end - back, int(self.random.integers(STATUS))
                want, what = slot.want(end, n), f"of {slot.name}, {n} bars to {end}"
                self.same(self.reader.rows(i, n, end), want, f"rows {what}")
                self.same(self.reader.view(i, k, n, end), want[k], f"view {what}")
                values, status = self.writer.read(i, end - n, n)
                self.same(np.vstack([values.T, status]), want, f"writer.read {what}")
        if slot.state == DELISTED:
            return
        view, asked = self.store[slot.name], int(self.random.integers(1, self.spec.window + 1))
        n = min(asked, slot.end - slot.first)
        want, what = slot.want(slot.end, n), f"of {slot.name}, {n} bars to {slot.end}"
        self.same(self.reader.read(i, np.copy, n), want, f"read {what}")
        self.same(view.read(lambda bars: bars.values.copy(), asked), want, f"client's read {what}")
        self.same(view.close[-n:], want[COLUMNS.index("close")], f"close {what}")
        stop = slot.end + 2 - int(self.random.integers(0, self.cap + 2))
        for copy, end in ((view.copy(asked), slot.end), (view.copy_until(stop, asked), min(stop, slot.end))):
            n = max(end - max(slot.first, slot.end - self.cap + 1, end - asked), 0)
            what = f"copy of {slot.name}, {n} bars to {end} of {slot.end}"
            self.same(np.vstack([copy.values, copy.status]), slot.want(end, n), what)
            assert not n or copy.g0 == end - n, f"{what}: from {copy.g0}"

    def same_panel(self, got: Any, column: int, end: int, what: str) -> None:
        """Rows that are being loaded hold parts of what was loaded, others all of it."""
        for i, (slot, row) in enumerate(zip(self.slots, got, strict=True)):
            want = slot.want(end, len(row))[column]
            if slot.state == LOADING:
                want = np.where(np.isnan(row) | (row == EMPTY[column]), row, want)
            self.same(row, want, f"{what} of column {column}, {len(row)} bars to {end}, row {i}")
        self.n_panels += 1

    def check_panels(self) -> None:
        """Of any length, a client's of the past too; a symbol that is far ahead may have overwritten them."""
        random, reader, store, window = self.random, self.reader, self.store, self.spec.window
        newest, k, n = self.complete_g + 1, int(random.integers(STATUS)), int(random.integers(1, self.cap))
        i = self.of(ACTIVE, DELISTED)[0]
        token, row, panel = reader.panel_token(n), np.empty(n), np.empty((len(self.slots), n))
        valid = jit_read(reader.arrays, i, k, n, row, panel)
        assert valid == (True, reader.panel_valid(token)), f"jit.valid, jit.panel_valid, {n} bars: {valid}"
        self.same(row, self.slots[i].want(self.slots[i].end, n)[k], f"jit.window of {self.slots[i].name}")
        if valid[1]:
            self.same_panel(panel, k, newest, "jit.panel")
            self.same_panel(reader.panel(k, n, token), k, newest, "reader.panel")
        for back in (0, int(random.integers(window))) if store.panel_valid(store.panel_token()) else ():
            n, end, names = int(random.integers(1, window - back + 1)), newest - back, (COLUMNS[k], "status")
            at = None if random.random() < 0.5 and not back else store.open_time_of(end)
            both = store.read_panel(names, lambda a, b: (a.copy(), b.copy()), n, run_time=at)
            panels = (store.panel(names[0], n, run_time=at), *both)
            for got, column in zip(panels, (k, k, STATUS), strict=True):
                self.same_panel(got, column, end, "client's panel")
        told = store.wait(1.0, seen=store.open_time_of(newest - 1)).missing
        active = [self.slots[i] for i in self.of(ACTIVE)]
        want = sorted(s.name for s in active if s.want(newest, 1)[STATUS, 0] == Status.PENDING)
        assert not valid[1] or list(told) == want, f"wait: {told} are missing instead of {want}"


@pytest.mark.parametrize(("seed", "shape"), list(enumerate(SHAPES)))
def test_what_was_written_is_read(tmp_path: Path, seed: int, shape: tuple[int, int]) -> None:
    history = History(tmp_path, seed, *shape)
    where = f"seed {seed}, window {shape[0]}, slack {shape[1]}, cap {history.cap}"
    for step, what in enumerate(history.random.choice(WHAT, STEPS, p=HOW_OFTEN)):
        try:
            getattr(history, f"do_{what}")()
            history.check()
        except Exception as error:
            raise AssertionError(f"{where}, step {step} ({what}): {error}") from error
    assert history.n_panels > 2 * STEPS, f"{where}: only {history.n_panels} panels were looked at"
    history.writer.close()
