"""shm/ring.py: what is published, what is refused, and what no reader may see. One process, no races:
those are test_memory_model.py, test_stress.py and test_crash.py."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from shm import Lagging, OrderError, SlotState, Status, StoreReader, StoreWriter
from shm import layout as lay
from shm.directory import slot_word
from tests.shm.support import copies_agree, fill, row, rows, small_spec

CAP = 16
NAN = np.full(3, np.nan)


@pytest.fixture
def writer(store_name: str) -> Iterator[StoreWriter]:
    with StoreWriter.open(store_name, small_spec()) as writer:
        yield writer


@pytest.fixture
def reader(writer: StoreWriter, store_name: str) -> Iterator[StoreReader]:
    with StoreReader.attach(store_name) as reader:
        yield reader


def test_append_publishes_in_order(writer: StoreWriter, reader: StoreReader) -> None:
    (slot,) = fill(writer, 1, 100, 4)
    for g in range(104, 200):
        writer.append(slot, g, row(slot, g))
        assert (reader.count(slot), reader.head) == (g + 1, g)
        n = min(g - 99, CAP - 1)
        assert np.array_equal(reader.rows(slot, n)[:3].T, rows(slot, g + 1 - n, n))
        assert (reader.rows(slot, n)[3] == Status.BAR).all()


def test_a_block_is_copied_down_with_the_first_bar_of_the_next(
    writer: StoreWriter, reader: StoreReader
) -> None:
    (slot,) = fill(writer, 1, 0, 40)
    cells = reader.data[slot, 0]
    for g in range(40, 47):
        writer.append(slot, g, row(slot, g))
        assert cells[CAP + g % CAP] == g
        assert cells[g % CAP] == g - CAP, "an append touches the upper half alone"
    writer.append(slot, 47, NAN, Status.ABSENT)
    assert cells[15] == 47 - CAP
    writer.append(slot, 48, row(slot, 48))
    different = reader.data[slot, :, :CAP] != reader.data[slot, :, CAP:]
    assert list(np.flatnonzero(different[0])) == [0, 15], "bar 48 is not copied yet, bar 47 is NaN"
    assert list(cells[8:15]) == list(range(40, 47)) and np.isnan(cells[15])


@pytest.mark.parametrize(
    ("window", "slack", "cap"), [(2, 2, 4), (5, 3, 8), (8, 3, 12), (8, 4, 16), (200, 60, 260)]
)
def test_every_window_of_every_bar(store_name: str, window: int, slack: int, cap: int) -> None:
    """Rings of all shapes: shorter than a block, of whole blocks, with a rest; every length at every bar."""
    spec = small_spec(window=window, slack=slack)
    with StoreWriter.open(store_name, spec) as writer, StoreReader.attach(store_name) as reader:
        assert reader.cap == cap
        (slot,) = fill(writer, 1, 0, 1)
        for g in range(1, 3 * cap + 2):
            if g % (cap + 3) == 5:
                writer.skip_to(slot, g + 1)
                writer.correct(slot, g, row(slot, g))
            else:
                writer.append(slot, g, row(slot, g))
            writer.complete(g)
            for n in {1, 2, 3, cap // 2, cap - 3, cap - 2, cap - 1, g % (cap - 1) + 1}:
                if 1 <= n <= g + 1:
                    assert np.array_equal(reader.rows(slot, n)[:3].T, rows(slot, g + 1 - n, n)), (g, n)
                    assert np.array_equal(writer.read(slot, g + 1 - n, n)[0], rows(slot, g + 1 - n, n))
                    for end in range(max(n, g + 1 - (cap - 1 - n)), g + 1):  # windows of the past
                        assert reader.view(slot, "a", n, end)[0] == slot * 1e6 + end - n
            assert copies_agree(reader)


@pytest.mark.parametrize("n", range(1, 9))
@pytest.mark.parametrize("end", ["delisted", "skipped", "skipped far", "restarted"])
def test_a_block_that_was_begun_is_copied_down_whoever_ends_it(
    writer: StoreWriter, reader: StoreReader, store_name: str, n: int, end: str
) -> None:
    """n bars are appended to a block, then it goes on otherwise: for two laps windows show what there is."""
    a, b = fill(writer, 2, 0, 40)
    for g in range(40, 40 + n):
        writer.append(a, g, row(a, g))
    again = 40 + n  # a bar of `a` from here on is a bar again
    if end == "delisted":
        writer.remove_symbol(a)
        again = 10**9
    elif end == "restarted":
        writer._finalizer()  # as a killed process: no goodbye
        writer = StoreWriter.open(store_name, small_spec())
    else:
        again = 50 if end == "skipped" else 1000 + n
        writer.skip_to(a, again)
    with writer:
        for g in range(40 + n, 40 + n + 2 * CAP):
            if end != "delisted":
                writer.append(a, reader.count(a), row(a, reader.count(a)))
            writer.skip_to(b, g + 1)
            writer.complete(g)
            assert copies_agree(reader)
            for k, seen in enumerate(reader.rows(a, CAP - 1)[:3].T, reader.count(a) - CAP + 1):
                expected = row(a, k) if k < 40 + n or k >= again else NAN
                assert np.array_equal(seen, expected, equal_nan=True), (g, k)


@pytest.mark.parametrize("first_g", [0, 2**31 - 10, 2**32 - 10, 2_000_000_000, 2**62, 2**63 - 4 * CAP])
def test_bar_numbers_of_any_size(writer: StoreWriter, reader: StoreReader, first_g: int) -> None:
    (slot,) = fill(writer, 1, first_g, 3)
    for g in range(first_g + 3, first_g + 40):
        writer.append(slot, g, row(slot, g))
        writer.complete(g)
    assert reader.complete_g == first_g + 39
    assert reader.count(slot) == first_g + 40
    assert reader.read(slot, lambda r: r[0, -1], 8) == row(slot, first_g + 39)[0]
    assert reader.read_panel("b", lambda p: p[0, -8], 8) == row(slot, first_g + 32)[1]


def _bytes(writer: StoreWriter) -> tuple[bytes, bytes]:
    words = writer._words.copy()
    words[lay.HEARTBEAT] = 0
    return words.tobytes(), writer._data.tobytes()


def test_refused_calls_write_nothing(writer: StoreWriter) -> None:
    a, b = fill(writer, 2, 10, 5)
    loading = writer.add_symbol("L", 12)
    gone = writer.add_symbol("G", 12)
    writer.remove_symbol(gone)
    writer.load(loading, 12, rows(loading, 12, 2), [1, 1])
    before = _bytes(writer)
    ones = np.ones(2, np.uint8)
    refused: list[tuple[str, Any]] = [
        ("bar 14 asked for, bar 15 is next", lambda: writer.append(a, 14, row(a, 14))),
        ("bar 16 asked for, bar 15 is next", lambda: writer.append(a, 16, row(a, 16))),
        ("L is LOADING", lambda: writer.append(loading, 14, row(loading, 14))),
        ("G is DELISTED", lambda: writer.append(gone, 12, row(gone, 12))),
        (
            "S1: bar 17 asked for, bar 15 is next",
            lambda: writer.append_rows([a, b], [15, 17], rows(a, 15, 2), ones),
        ),
        ("S0: bar 15 asked for", lambda: writer.append_rows([a, a], [15, 15], rows(a, 15, 2), ones)),
        ("LOADING", lambda: writer.append_rows([a, loading], [15, 14], rows(a, 15, 2), ones)),
        ("bar 14 asked for, bar 15 is next", lambda: writer.skip_to(a, 14)),
        ("L: bar 15 asked for, bar 14 is next", lambda: writer.load(loading, 15, rows(loading, 15, 2), ones)),
        ("L: bar 13 asked for", lambda: writer.load(loading, 13, rows(loading, 13, 2), ones)),
        ("S0 is ACTIVE", lambda: writer.load(a, 15, rows(a, 15, 2), ones)),
        ("S0 is ACTIVE", lambda: writer.activate(a)),
        ("L cannot be activated: it is loaded up to bar 13, bar 14 is", lambda: writer.activate(loading)),
        ("bars 15 to 15 asked for, 10 to 14 are held", lambda: writer.correct(a, 15, row(a, 15))),
        ("bars 9 to 9 asked for, 10 to 14 are held", lambda: writer.correct(a, 9, row(a, 9))),
        ("bars 14 to 15 asked for", lambda: writer.correct_rows(a, 14, rows(a, 14, 2), ones)),
        ("L is LOADING", lambda: writer.correct(loading, 12, row(loading, 12))),
        ("S0 has published up to bar 14", lambda: writer.complete(15)),
        ("bar 14 is complete already, the newest complete is 14", lambda: writer.complete(14)),
        ("bar 3 is complete already", lambda: writer.complete(3)),
        ("DELISTED, only a live", lambda: writer.remove_symbol(gone)),
    ]
    for message, call in refused:
        with pytest.raises(OrderError, match=message):
            call()
        assert _bytes(writer) == before, message
    for call in (
        lambda: writer.append(a, 15, [1.0, 2.0]),
        lambda: writer.append(a, 15, row(a, 15), Status.EMPTY),
        lambda: writer.append(a, 15, row(a, 15), 4),
        lambda: writer.append_rows([a], [15, 16], rows(a, 15, 2), ones),
        lambda: writer.append_rows([a, a], [15, 16], rows(a, 15, 2), [1, 9]),
        lambda: writer.correct_rows(a, 14, np.zeros((2, 2)), ones),
    ):
        with pytest.raises(ValueError):
            call()
        assert _bytes(writer) == before


def test_append_rows_of_one_slot_and_many(writer: StoreWriter, reader: StoreReader) -> None:
    a, b = fill(writer, 2, 0, 2)
    slots, numbers = [a, b, a, b, a], [2, 2, 3, 3, 4]
    values = np.array([row(s, g) for s, g in zip(slots, numbers, strict=True)])
    writer.append_rows(slots, numbers, values, np.ones(5, np.uint8))
    assert (reader.count(a), reader.count(b)) == (5, 4)
    assert np.array_equal(reader.rows(a, 5)[:3].T, rows(a, 0, 5))
    assert np.array_equal(reader.rows(b, 4)[:3].T, rows(b, 0, 4))
    writer.append_rows([], [], np.empty((0, 3)), [])


@pytest.mark.parametrize("gap", [0, 1, CAP - 1, CAP, CAP + 1, 5 * CAP + 3, 10**9])
def test_gaps_of_any_length_are_pending(writer: StoreWriter, reader: StoreReader, gap: int) -> None:
    (slot,) = fill(writer, 1, 1000, 20)
    writer.skip_to(slot, 1020 + gap)
    assert (reader.count(slot), reader.head) == (1020 + gap, 1019 + gap)
    writer.append(slot, 1020 + gap, row(slot, 1020 + gap))
    seen = reader.rows(slot, CAP - 1)
    pending = min(gap, CAP - 2)
    assert np.isnan(seen[:3, CAP - 2 - pending : CAP - 2]).all()
    assert (seen[3, CAP - 2 - pending : CAP - 2] == Status.PENDING).all()
    assert np.array_equal(seen[:3, -1], row(slot, 1020 + gap))
    assert np.array_equal(seen[:3, : CAP - 2 - pending].T, rows(slot, 1006 + gap, CAP - 2 - pending))


def test_bars_before_the_first_are_empty(writer: StoreWriter, reader: StoreReader) -> None:
    (slot,) = fill(writer, 1, 1000, 3)
    assert reader.first_g(slot) == 1000
    assert np.isnan(reader.view(slot, "a", 8)[:5]).all()
    assert list(reader.view(slot, "status", 8)) == [0] * 5 + [1] * 3


@pytest.mark.parametrize("n", [1, CAP, CAP + 5, 4 * CAP])
def test_history_longer_than_the_ring(writer: StoreWriter, reader: StoreReader, n: int) -> None:
    slot = writer.add_symbol("A", 50)
    for g in range(50, 50 + n, 7):  # pages, as they come
        size = min(7, 50 + n - g)
        writer.load(slot, g, rows(slot, g, size), np.ones(size, np.uint8))
        assert reader.count(slot) == 0, "not visible before activation"
    writer.activate(slot)
    assert reader.count(slot) == 50 + n
    held = min(n, CAP - 1)
    assert np.array_equal(reader.rows(slot, held)[:3].T, rows(slot, 50 + n - held, held))


def test_loading_row_never_shows_an_older_bar_in_a_panel(writer: StoreWriter, reader: StoreReader) -> None:
    """A panel's cell of g in a row that is being loaded is NaN or bar g, never bar g - cap."""
    (slot,) = fill(writer, 1, 0, 100)
    late = writer.add_symbol("LATE", 60)
    g = 100
    for page in range(60, 100, 5):
        writer.load(late, page, rows(late, page, 5), np.ones(5, np.uint8))
        writer.append(slot, g, row(slot, g))
        writer.complete(g)
        g += 1
        shown = reader.panel("a", CAP - 1)[late]
        numbers = np.arange(g - CAP + 1, g)
        wrong = ~np.isnan(shown) & (shown != late * 1e6 + numbers)
        assert not wrong.any(), (numbers[wrong], shown[wrong])
    assert list(reader.active()) == [True, False]
    writer.load(late, 100, rows(late, 100, g - 100), np.ones(g - 100, np.uint8))
    writer.activate(late)
    assert list(reader.active()) == [True, True]
    assert np.array_equal(reader.panel("a", 8)[late], late * 1e6 + np.arange(g - 8, g))


def test_delisted_rows_go_on_as_absent(writer: StoreWriter, reader: StoreReader) -> None:
    a, b = fill(writer, 2, 0, 20)
    writer.remove_symbol(b)
    for g in range(20, 60):
        writer.append(a, g, row(a, g))
        writer.complete(g)
        panel = reader.panel("a", CAP - 1)
        dead = min(g - 19, CAP - 1)
        assert np.isnan(panel[b, -dead:]).all()
        assert np.array_equal(panel[b, :-dead], b * 1e6 + np.arange(g - CAP + 2, 20))
        assert (reader.panel("status", CAP - 1)[b, -dead:] == Status.ABSENT).all()
        assert reader.count(b) == g + 1
    assert reader.slot_state(b) == SlotState.DELISTED
    writer.skip_to(a, 10**6)
    writer.complete(10**6 - 1)
    assert reader.count(b) == 10**6 and np.isnan(reader.panel("a", CAP - 1)[b]).all()


def test_a_store_of_delisted_symbols_still_moves_its_head(writer: StoreWriter, reader: StoreReader) -> None:
    (slot,) = fill(writer, 1, 0, 20)
    token = reader.panel_token(8)
    writer.remove_symbol(slot)
    writer.complete(40)
    assert reader.head == 40
    assert not reader.panel_valid(token), "bars of that window were overwritten by ABSENT ones"


def test_window_is_valid_for_exactly_its_slack(writer: StoreWriter, reader: StoreReader) -> None:
    (slot,) = fill(writer, 1, 0, 40)
    for n in (1, 8, CAP - 1):
        token = reader.token(slot, n)
        view = reader.view(slot, "a", n, token.g_end)
        before = view.copy()
        for k in range(CAP - n):
            assert reader.valid(token), k
            assert np.array_equal(view, before)
            g = reader.count(slot)
            writer.append(slot, g, row(slot, g))
        assert not reader.valid(token)


def test_panel_is_valid_until_head_comes_round(writer: StoreWriter, reader: StoreReader) -> None:
    a, b = fill(writer, 2, 0, 40)
    token = reader.panel_token(8)
    panel = reader.panel("a", 8, token)
    before = panel.copy()
    for g in range(40, 40 + CAP - 8):
        assert reader.panel_valid(token)
        writer.append(a, g, row(a, g))  # b is late: only `head` can tell
        assert np.array_equal(panel, before)
    writer.append(a, 48, row(a, 48))
    assert reader.count(b) == 40 and reader.complete_g == 39
    assert not reader.panel_valid(token)


def test_views_out_of_range_are_refused(writer: StoreWriter, reader: StoreReader) -> None:
    (slot,) = fill(writer, 1, 0, 40)
    for n, g_end in ((4, 41), (4, 28), (CAP - 1, 39)):
        with pytest.raises(Lagging, match="25 to 39 are held"):
            reader.view(slot, "a", n, g_end)
    assert list(reader.view(slot, "a", 4, 29)) == [25, 26, 27, 28]
    for n in (0, -1, CAP, 10**6):
        with pytest.raises(ValueError, match="1 to 15 bars"):
            reader.view(slot, "a", n)
        with pytest.raises(ValueError, match="1 to 15 bars"):
            reader.panel("a", n)


def test_forming_cells(writer: StoreWriter, reader: StoreReader) -> None:
    a, b = fill(writer, 2, 0, 5)
    assert reader.read_forming(a) is None
    for i in range(20):
        writer.write_forming(a, 5 + i // 5, [i, 2.0 * i, -i])
        found = reader.read_forming(a)
        assert found is not None
        assert found[0] == 5 + i // 5 and list(found[1]) == [i, 2.0 * i, -i]
    assert reader.read_forming(b) is None
    values = found[1].copy()
    writer.write_forming(a, 9, NAN)
    assert np.array_equal(found[1], values), "a copy"


def test_forming_cells_may_be_left_out(store_name: str) -> None:
    with StoreWriter.open(store_name, small_spec(forming_cells=0)) as writer:
        (slot,) = fill(writer, 1, 0, 5)
        with pytest.raises(ValueError, match="forming_cells = 0"):
            writer.write_forming(slot, 5, row(slot, 5))
        with StoreReader.attach(store_name) as reader:
            assert reader.read_forming(slot) is None


class Oracle:
    """The store as plain dictionaries, and random calls on both."""

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.spec = small_spec(max_symbols=12)
        self.rng = np.random.default_rng(seed)
        self.writer = StoreWriter.open(name, self.spec)
        self.reader = StoreReader.attach(name)
        self.bars: dict[int, dict[int, tuple[tuple[float, ...], int]]] = {}
        self.state: dict[int, SlotState] = {}
        self.next: dict[int, int] = {}
        self.first: dict[int, int] = {}
        self.complete = -1
        self.journal: list[tuple[int, int, int, int]] = []

    def of(self, *states: SlotState) -> list[int]:
        return [s for s, state in self.state.items() if state in states]

    def new_row(self) -> tuple[tuple[float, ...], int]:
        status = int(self.rng.choice([1, 1, 1, 2, 3]))
        values = self.rng.random(3) if status == 1 else NAN
        return tuple(values.tolist()), status

    def put(self, slot: int, n: int) -> tuple[np.ndarray, np.ndarray]:
        made = [self.new_row() for _ in range(n)]
        for values in made:
            self.bars[slot][self.next[slot]] = values
            self.next[slot] += 1
        return np.array([m[0] for m in made]).reshape(n, 3), np.array([m[1] for m in made], np.uint8)

    def pick(self, slots: list[int]) -> int | None:
        return int(self.rng.choice(slots)) if slots else None

    def add(self) -> None:
        if len(self.state) < 12:
            first = max(0, self.complete + int(self.rng.integers(-40, 3)))
            slot = self.writer.add_symbol(f"S{len(self.state)}", first)
            self.state[slot], self.bars[slot] = SlotState.LOADING, {}
            self.next[slot] = self.first[slot] = first

    def load(self) -> None:
        if (slot := self.pick(self.of(SlotState.LOADING))) is not None:
            g0, n = self.next[slot], int(self.rng.integers(0, 25))
            values, statuses = self.put(slot, n)
            self.writer.load(slot, g0, values, statuses)

    def activate(self) -> None:
        if (slot := self.pick(self.of(SlotState.LOADING))) is not None:
            if self.next[slot] <= self.complete:
                with pytest.raises(OrderError):
                    self.writer.activate(slot)
            else:
                self.writer.activate(slot)
                self.state[slot] = SlotState.ACTIVE

    def append(self) -> None:
        if (slot := self.pick(self.of(SlotState.ACTIVE))) is not None:
            g = self.next[slot]
            values, statuses = self.put(slot, 1)
            self.writer.append(slot, g, values[0], int(statuses[0]))

    def skip(self) -> None:
        if (slot := self.pick(self.of(SlotState.ACTIVE))) is not None:
            g = self.next[slot] + int(self.rng.integers(0, 3 if self.rng.random() < 0.9 else 40))
            self.writer.skip_to(slot, g)
            for k in range(self.next[slot], g):
                self.bars[slot][k] = ((np.nan,) * 3, 3)
            self.next[slot] = g

    def correct(self) -> None:
        if (slot := self.pick(self.of(SlotState.ACTIVE, SlotState.DELISTED))) is not None:
            held = range(max(self.first[slot], self.next[slot] - CAP + 1), self.next[slot])
            if held:
                g = int(self.rng.choice(held))
                n = min(int(self.rng.integers(1, 4)), held.stop - g)
                made = [self.new_row() for _ in range(n)]
                self.writer.correct_rows(slot, g, [m[0] for m in made], [m[1] for m in made])
                for i, new in enumerate(made):
                    self.journal.append((slot, g + i, self.bars[slot][g + i][1], new[1]))
                    self.bars[slot][g + i] = new

    def remove(self) -> None:
        if (
            self.rng.random() < 0.2
            and (slot := self.pick(self.of(SlotState.ACTIVE, SlotState.LOADING))) is not None
        ):
            self.writer.remove_symbol(slot)
            if self.state[slot] == SlotState.LOADING:
                self.bars[slot], self.next[slot] = {}, 0
            self.state[slot] = SlotState.DELISTED

    def finish(self) -> None:
        active = self.of(SlotState.ACTIVE)
        target = min((self.next[s] for s in active), default=self.complete + 2) - 1
        if target > self.complete:
            self.writer.complete(target)
            for slot in self.of(SlotState.DELISTED):
                for k in range(self.next[slot], target + 1):
                    self.bars[slot][k] = ((np.nan,) * 3, 2)
                self.next[slot] = max(self.next[slot], target + 1)
            self.complete = target

    def restart(self) -> None:
        if self.rng.random() < 0.1:
            self.writer._finalizer()  # as a killed process: no goodbye
            self.writer = StoreWriter.open(self.name, self.spec)
            assert not self.writer.created
            for slot in self.of(SlotState.LOADING):
                assert self.reader.slot_state(slot) == SlotState.LOADING and self.reader.count(slot) == 0
                first = max(0, self.complete + int(self.rng.integers(-40, 3)))
                assert self.writer.add_symbol(f"S{slot}", first) == slot
                self.bars[slot], self.next[slot], self.first[slot] = {}, first, first

    def check(self) -> None:
        reader = self.reader
        assert reader.complete_g == self.complete
        live = {f"S{s}": s for s in self.of(SlotState.ACTIVE)}
        assert reader.symbols() == live
        assert copies_agree(reader)
        assert reader.head >= max([self.complete, *(self.next[s] - 1 for s in self.of(SlotState.ACTIVE))])
        for slot in self.of(SlotState.ACTIVE, SlotState.DELISTED):
            assert reader.slot_state(slot) == self.state[slot]
            assert reader.count(slot) == self.next[slot]
            if self.next[slot]:
                seen = reader.rows(slot, CAP - 1)
                self.compare(slot, seen, self.next[slot] - CAP + 1, exact=True)
        if self.complete >= 0:
            for slot in self.state:
                token = reader.panel_token(CAP - 1)
                panel = np.array([reader.panel(c, CAP - 1, token)[slot] for c in range(4)])
                valid = reader.head - (self.complete + 1 - (CAP - 1)) < CAP
                assert reader.panel_valid(token) == valid
                if valid:
                    self.compare(
                        slot, panel, self.complete - CAP + 2, exact=slot not in self.of(SlotState.LOADING)
                    )
        found, _ = reader.corrections(max(0, len(self.journal) - 100))
        assert [f[1:] for f in found] == self.journal[-100:]

    def compare(self, slot: int, seen: np.ndarray, g0: int, exact: bool) -> None:
        for i in range(seen.shape[1]):
            values, status = self.bars[slot].get(g0 + i, ((np.nan,) * 3, 0))
            same = np.array_equal(seen[:, i], [*values, status], equal_nan=True)
            empty = np.isnan(seen[:3, i]).all() and seen[3, i] == 0
            assert same or (empty and not exact), (slot, g0 + i, seen[:, i], values, status)


@pytest.mark.parametrize("seed", range(6))
def test_random_life_of_a_store(store_name: str, seed: int) -> None:
    """Any legal series of calls: every window and panel shows what an unbounded dictionary holds."""
    oracle = Oracle(store_name, seed)
    calls = [oracle.add, oracle.load, oracle.load, oracle.activate, oracle.skip, oracle.correct]
    calls += [oracle.append] * 4 + [oracle.finish] * 2 + [oracle.remove, oracle.restart]
    try:
        for step in range(400):
            calls[int(oracle.rng.integers(len(calls)))]()
            if step % 3 == 0:
                oracle.check()
        assert len(oracle.journal) > 10 and oracle.complete > 20, "the series had something to show"
    finally:
        oracle.reader.close()
        oracle.writer.close()


def test_slot_words_are_where_the_layout_says(writer: StoreWriter) -> None:
    (slot,) = fill(writer, 1, 7, 3)
    words = writer._words
    assert words[slot_word(slot, lay.SLOT_COUNT)] == 10
    assert words[slot_word(slot, lay.SLOT_FIRST_G)] == 7
    assert words[slot_word(slot, lay.SLOT_STATE)] == SlotState.ACTIVE
