"""shm/directory.py: slots are filled first, shown last, and never given twice."""

from collections.abc import Iterator

import numpy as np
import pytest

from shm import OrderError, SlotState, StoreFull, StoreReader, StoreWriter, SymbolNotFound
from shm import directory as slots
from shm import layout as lay
from tests.shm.support import fill, row, rows, small_spec


@pytest.fixture
def writer(store_name: str) -> Iterator[StoreWriter]:
    with StoreWriter.open(store_name, small_spec()) as writer:
        yield writer


@pytest.fixture
def reader(writer: StoreWriter, store_name: str) -> Iterator[StoreReader]:
    with StoreReader.attach(store_name) as reader:
        yield reader


def test_a_slot_is_seen_when_it_is_active(writer: StoreWriter, reader: StoreReader) -> None:
    assert (reader.n_slots, reader.symbols(), reader.slot_state(0)) == (0, {}, SlotState.FREE)
    versions = [reader.directory_version]
    slot = writer.add_symbol("BTCUSDT", 5)
    assert (reader.slot_state(slot), reader.symbols()) == (SlotState.LOADING, {})
    versions.append(reader.directory_version)
    with pytest.raises(SymbolNotFound, match="'BTCUSDT' is not among its 0 symbols"):
        reader.slot("BTCUSDT")
    with pytest.raises(SymbolNotFound, match="LOADING"):
        reader.view(slot, "a", 1)
    with pytest.raises(SymbolNotFound, match="LOADING"):
        reader.read(slot, lambda r: 0, 1)
    writer.load(slot, 5, rows(slot, 5, 2), [1, 1])
    writer.activate(slot)
    versions.append(reader.directory_version)
    assert reader.symbols() == writer.symbols == {"BTCUSDT": slot}
    assert reader.slot("BTCUSDT") == slot
    writer.remove_symbol(slot)
    versions.append(reader.directory_version)
    assert (reader.slot_state(slot), reader.symbols(), writer.symbols) == (SlotState.DELISTED, {}, {})
    with pytest.raises(KeyError):
        reader.slot("BTCUSDT")
    assert versions == sorted(set(versions)), "every change is a new version"


def test_names_are_any_utf8_up_to_64_bytes(writer: StoreWriter, reader: StoreReader) -> None:
    names = ["币安人生USDT", "x" * 64, "é" * 32, "A"]
    for name in names:
        slot = writer.add_symbol(name, 0)
        writer.activate(slot)
    assert list(reader.symbols()) == names
    for name in ("", "x" * 65, "币" * 22, "a\0b"):
        with pytest.raises(ValueError, match="1 to 64 bytes"):
            writer.add_symbol(name, 0)


def test_a_full_directory_harms_nothing(writer: StoreWriter, reader: StoreReader) -> None:
    a, *_ = fill(writer, 4, 0, 5)
    before = writer._words.tobytes()
    with pytest.raises(StoreFull, match=r"no slot for NEW: all 4 are taken .*max_symbols"):
        writer.add_symbol("NEW", 0)
    assert writer._words.tobytes() == before
    assert "NEW" not in writer.symbols and reader.n_slots == 4
    writer.append(a, 5, row(a, 5))
    assert reader.view(a, "a", 1)[0] == 5


def test_a_slot_is_never_given_twice(writer: StoreWriter, reader: StoreReader) -> None:
    seen: set[int] = set()
    for i in range(4):
        slot = writer.add_symbol("SAME", i)
        assert slot not in seen, "a relisted symbol takes a new slot"
        seen.add(slot)
        writer.activate(slot)
        writer.remove_symbol(slot)
    with pytest.raises(StoreFull):
        writer.add_symbol("SAME", 9)
    assert [(e.slot, e.symbol, e.first_g) for e in reader.directory()] == [(i, "SAME", i) for i in range(4)]


def test_a_live_symbol_is_not_added_again(writer: StoreWriter) -> None:
    slot = writer.add_symbol("A", 0)
    with pytest.raises(OrderError, match=f"A is live already, in slot {slot}"):
        writer.add_symbol("A", 0)
    with pytest.raises(OrderError, match="start at 0"):
        writer.add_symbol("B", -1)
    assert writer.symbols == {"A": slot}


def test_a_half_taken_slot_is_not_shown_and_is_taken_over(writer: StoreWriter, reader: StoreReader) -> None:
    """A writer killed before the number of slots went up leaves a slot that nobody sees."""
    slots.take(writer._words, 4, "HALF", 3)
    writer._words[lay.N_SLOTS] -= 1
    assert reader.directory() == []
    slot = writer.add_symbol("X", 7)
    assert (slot, reader.directory()[0].symbol, reader.first_g(slot)) == (0, "X", 7)
    name = writer._words[slots.slot_word(0, lay.SLOT_NAME) :][:8]
    assert np.array_equal(name.tobytes(), b"X".ljust(64, b"\0")), "nothing is left of the longer name"


def test_slots_out_of_range_never_reach_compiled_code(writer: StoreWriter, reader: StoreReader) -> None:
    fill(writer, 1, 0, 5)
    for slot in (-1, 4, 10**12):
        for call in (reader.count, reader.token, reader.slot_state, reader.first_g, reader.read_forming):
            with pytest.raises(SymbolNotFound):
                call(slot)
        with pytest.raises(SymbolNotFound):
            reader.read(slot, lambda r: 0, 2)
    for slot in (-1, 1, 4):
        with pytest.raises(SymbolNotFound, match="was never taken"):
            writer.append(slot, 0, row(0, 0))
        with pytest.raises(SymbolNotFound):
            writer.append_rows([0, slot], [5, 5], rows(0, 5, 2), [1, 1])
