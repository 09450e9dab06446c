"""Corrections of published bars: seen whole, counted, journaled, and completed after a crash (case 19)."""

import time
from collections.abc import Iterator

import numpy as np
import pytest

from shm import Lagging, OrderError, Status, StoreReader, StoreWriter, WriterDead, WriterStalled, ring
from shm import layout as lay
from tests.shm.support import fill, row, rows, small_spec

CAP = 16
NEW = np.array([7.0, 8.0, 9.0])


@pytest.fixture
def writer(store_name: str) -> Iterator[StoreWriter]:
    with StoreWriter.open(store_name, small_spec()) as writer:
        yield writer


@pytest.fixture
def reader(writer: StoreWriter, store_name: str) -> Iterator[StoreReader]:
    with StoreReader.attach(store_name) as reader:
        yield reader


def test_every_bar_in_the_ring_can_be_corrected(writer: StoreWriter, reader: StoreReader) -> None:
    a, b = fill(writer, 2, 0, 40)
    other = reader.data[b].copy()
    for g in range(40 - CAP + 1, 40):
        writer.correct(a, g, NEW + g, Status.BAR)
        assert np.array_equal(reader.data[a, :3, g % CAP], NEW + g)
        assert np.array_equal(reader.data[a, :3, g % CAP + CAP], NEW + g)
    assert np.array_equal(reader.data[b], other)
    assert reader.count(a) == 40 and reader.n_corrections == CAP - 1
    with pytest.raises(OrderError, match="25 to 39 are held"):
        writer.correct(a, 24, NEW)


def test_a_pending_bar_is_filled_late(writer: StoreWriter, reader: StoreReader) -> None:
    (slot,) = fill(writer, 1, 0, 10)
    writer.skip_to(slot, 13)
    writer.complete(12)
    assert list(reader.panel("status", 4)[0]) == [1, 3, 3, 3]
    writer.correct_rows(slot, 10, rows(slot, 10, 2), [1, 2])
    assert list(reader.view(slot, "status", 4)) == [1, 1, 2, 3]
    assert reader.corrections(0) == ([(0, slot, 10, 3, 1), (1, slot, 11, 3, 2)], 2)


@pytest.mark.parametrize("panel", [False, True])
def test_a_correction_refuses_what_was_read_across_it(
    writer: StoreWriter, reader: StoreReader, panel: bool
) -> None:
    a, b = fill(writer, 2, 0, 40)
    seen = []

    def look(view: np.ndarray) -> float:
        if not seen:
            writer.correct(b, 38, NEW)  # any slot: the pair of counters is one for the store
        seen.append(float(view[..., -2].sum()))
        return seen[-1]

    if panel:
        result = reader.read_panel("a", look, 8)
        assert result == 38 + 7
    else:
        result = reader.read(b, look, 8)
        assert result == NEW.sum() + 1
    assert len(seen) == 2 and seen[1] == result, "the first attempt was refused, the second held"
    token, panel_token = reader.token(a), reader.panel_token()
    assert reader.valid(token) and reader.panel_valid(panel_token)
    writer.correct(b, 38, NEW)
    assert not reader.valid(token) and not reader.panel_valid(panel_token)


def test_journal_is_bounded_and_says_so(writer: StoreWriter, reader: StoreReader) -> None:
    (slot,) = fill(writer, 1, 0, 40)
    n = lay.JOURNAL_ENTRIES
    for i in range(n + 10):
        writer.correct(slot, 30 + i % 10, NEW, 1 + i % 3)
    rows_found, next_since = reader.corrections(10)
    assert next_since == n + 10 and len(rows_found) == n
    old = [1] * 10 + [1 + (i - 10) % 3 for i in range(10, n + 10)]
    expected = [(i, slot, 30 + i % 10, old[i], 1 + i % 3) for i in range(10, n + 10)]
    assert rows_found == expected
    assert reader.corrections(n + 10) == ([], n + 10)
    with pytest.raises(Lagging, match=f"from 9 on .* last {n} of {n + 10}"):
        reader.corrections(9)
    for since in (-1, n + 11):
        with pytest.raises(ValueError, match="since"):
            reader.corrections(since)


def test_journal_entries_under_a_correction_are_refused(writer: StoreWriter, reader: StoreReader) -> None:
    """The entry that correction n + J overwrites is given up when that correction begins."""
    (slot,) = fill(writer, 1, 0, 40)
    for i in range(lay.JOURNAL_ENTRIES):
        writer.correct(slot, 39, NEW + i)
    out = np.empty((1, 4), np.int64)
    assert ring.read_journal(reader.words, 0, 1, out) == ring.OK
    writer._words[lay.CORR_BEGIN] += 1
    assert ring.read_journal(reader.words, 0, 1, out) == ring.NOT_HELD
    assert ring.read_journal(reader.words, 1, 1, out) == ring.OK
    writer._words[lay.CORR_BEGIN] -= 1


def _half_done(writer: StoreWriter, slot: int, g: int) -> None:
    """What a writer leaves that was killed after it began to correct bar g, with a torn row."""
    words, at = writer._words, writer._segment.layout.redo_offset // 8
    words[at : at + 4] = [slot, g, Status.PENDING, Status.BAR]
    words[at + 4 : at + 7] = NEW.view(np.int64)
    words[lay.CORR_BEGIN] += 1
    writer._data[slot, 0, g % CAP] = 1e9
    writer._data[slot, 3, g % CAP + CAP] = Status.ABSENT


def test_a_restarted_writer_completes_the_redo(
    writer: StoreWriter, reader: StoreReader, store_name: str
) -> None:
    a, b = fill(writer, 2, 0, 40)
    writer.correct(b, 39, NEW)
    _half_done(writer, a, 35)
    token = reader.token(a)
    assert not reader.valid(token)
    writer._finalizer()  # as a killed process: no goodbye
    start = time.monotonic()
    with pytest.raises(WriterDead, match="within correction 2; the next one completes it"):
        reader.read(a, lambda r: r.sum(), 8)
    with pytest.raises(WriterDead, match="panel: the writer died within correction 2"):
        reader.read_panel("a", lambda p: p.sum(), 8)
    assert time.monotonic() - start < 5, "bounded"
    with StoreWriter.open(store_name, small_spec()) as second:
        assert not second.created and second.corrections == 2
        seen = reader.read(a, lambda r: r.copy(), 8)
        assert np.array_equal(seen[:3, 3], NEW) and seen[3, 3] == Status.BAR
        assert np.array_equal(np.delete(seen[:3], 3, axis=1).T, np.delete(rows(a, 32, 8), 3, axis=0))
        assert np.array_equal(reader.data[:, :, :CAP], reader.data[:, :, CAP:], equal_nan=True)
        assert reader.corrections(0)[0] == [(0, b, 39, 1, 1), (1, a, 35, 3, 1)]
        second.append(a, 40, row(a, 40))
    with StoreWriter.open(store_name, small_spec()) as third:
        assert third.corrections == 2, "done once"


def test_a_redo_record_without_begin_is_ignored(writer: StoreWriter, store_name: str) -> None:
    """Killed while it wrote the record: nothing was begun, nothing is done."""
    (slot,) = fill(writer, 1, 0, 40)
    at = writer._segment.layout.redo_offset // 8
    writer._words[at : at + 4] = [slot, 35, 1, 1]
    before = writer._data.copy()
    writer._finalizer()
    with StoreWriter.open(store_name, small_spec()) as second:
        assert second.corrections == 0
        assert np.array_equal(second._data, before, equal_nan=True)


def test_a_writer_stopped_within_a_correction_is_stalled(writer: StoreWriter, reader: StoreReader) -> None:
    (slot,) = fill(writer, 1, 0, 40)
    _half_done(writer, slot, 35)
    with pytest.raises(WriterStalled, match=r"correction 1 has been half done for 1.0 s"):
        reader.read(slot, lambda r: r.sum(), 8)
    ring.finish_correction(writer._words, writer._data)
    assert reader.read(slot, lambda r: r[0, 3], 8) == NEW[0]


def test_a_storm_of_corrections_ends_in_lagging(
    writer: StoreWriter, reader: StoreReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    (slot,) = fill(writer, 1, 0, 40)
    monkeypatch.setattr("shm.reader._CORRECTION_S", 0.1)
    with pytest.raises(Lagging, match=r"corrections kept coming for 0.1 s"):
        reader.read(slot, lambda r: writer.correct(slot, 39, NEW), 8)
