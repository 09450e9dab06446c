"""shm/layout.py: offsets, the capacity rule, and a header of which every byte counts."""

import struct

import pytest

from shm import SegmentVersion, Spec, StoreBroken
from shm import layout as lay
from shm.layout import Layout, check_prefix, pack_header, parse_header, ring_capacity, source_span, text_span
from tests.shm.support import small_spec


def test_a_row_is_an_odd_number_of_cache_lines() -> None:
    for window in range(1, 3000, 7):
        for slack in (1, 100):
            cap = ring_capacity(window, slack)
            assert window + slack <= cap < max(window + slack, 16) + 8
            assert cap >= (4 if slack < 4 else 16)
            if 16 * cap >= 4096:
                assert 16 * cap % 128 == 64, "the cells of one bar must spread over all sets of the cache"
            else:
                assert cap % 4 == 0, "rows begin on cache lines"
    assert ring_capacity(1, 2) == 4 and ring_capacity(4, 4) == 16
    assert ring_capacity(1500, 100) == 1604


@pytest.mark.parametrize("cells", [0, 2, 4])
@pytest.mark.parametrize("n_columns", [1, 9, 3000])
def test_areas_follow_each_other_without_overlap(cells: int, n_columns: int) -> None:
    names = tuple(f"factor_{i}" for i in range(n_columns))
    spec = small_spec(columns=names, forming_cells=cells, max_symbols=3, meta='{"k": "值"}')
    layout = Layout.of(spec)
    slots_end = layout.slots_offset + 3 * lay.SLOT_WORDS * 8
    assert lay.HEADER_BYTES == lay.STATE * 8
    assert lay.PHASE_CELL * 8 + lay.PHASE_CELLS * lay.PHASE_BYTES <= lay.JOURNAL * 8
    assert layout.slots_offset == lay.JOURNAL * 8 + lay.JOURNAL_ENTRIES * lay.JOURNAL_ENTRY_WORDS * 8
    assert slots_end == layout.counters_offset
    assert layout.counters_offset + 2 * 8 <= layout.forming_offset
    assert layout.forming_offset + 3 * cells * (1 + n_columns) * 8 <= layout.redo_offset
    assert layout.redo_offset + (4 + n_columns) * 8 <= layout.source_offset
    assert layout.source_offset + len(layout.texts) <= layout.data_offset
    assert layout.data_offset % 4096 == 0
    assert layout.data_offset + 3 * (n_columns + 1) * 2 * layout.cap * 8 <= layout.file_size
    assert layout.file_size == spec.nbytes


def test_control_words_have_lines_of_their_own() -> None:
    words = (lay.STATE, lay.HEAD, lay.COMPLETE, lay.CORR_BEGIN, lay.CORR_END, lay.FUTEX, lay.HEARTBEAT)
    words += (lay.DIRECTORY_VERSION, lay.WRITER_GENERATION, lay.PHASE_VERSION)
    assert len({w * 8 // 128 for w in words}) == len(words)
    assert all(w * 8 % 128 == 0 for w in words)
    assert lay.SLOT_FORMING * 8 // 64 != lay.SLOT_COUNT * 8 // 64
    assert lay.SLOT_WORDS * 8 % 128 == 0 and lay.SLOTS * 8 % 128 == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"columns": ()}, "at least one"),
        ({"columns": ("a", "a")}, "repeat"),
        ({"columns": ("a", "status")}, "status"),
        ({"columns": ("a\nb",)}, "line break"),
        ({"columns": ("",)}, "1 to 200 bytes"),
        ({"counters": ("x", "x")}, "repeat"),
        ({"window": 0}, "window"),
        ({"slack": 0}, "slack"),
        ({"max_symbols": 0}, "max_symbols"),
        ({"interval_ms": 0}, "interval_ms"),
        ({"forming_cells": 1}, "forming_cells"),
        ({"forming_cells": -2}, "forming_cells"),
        ({"source": ""}, "source"),
        ({"meta": "[1]"}, "JSON object"),
        ({"meta": "{"}, "JSON object"),
        ({"meta": '{"a": "' + "x" * 4096 + '"}'}, "4096 bytes"),
    ],
)
def test_a_spec_says_what_is_wrong_with_it(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_spec(**changes)


def _packed(spec: Spec) -> tuple[Layout, bytes]:
    layout = Layout.of(spec)
    return layout, pack_header(layout, 77, 123_456)


def test_header_round_trip() -> None:
    spec = small_spec(source="来源", meta='{"interval": "1m"}', origin_ms=-5, counters=())
    layout, header = _packed(spec)
    assert text_span(header) == (layout.source_offset, len(layout.texts))
    start, length = source_span(header)
    assert layout.texts[start - layout.source_offset :][:length].decode() == "来源"
    assert parse_header(header, layout.texts, layout.file_size, "x") == (layout, 77, 123_456)


def test_every_byte_of_the_header_and_texts_counts() -> None:
    layout, header = _packed(small_spec())
    for i in range(len(header)):
        for bit in (1, 128):
            damaged = header[:i] + bytes([header[i] ^ bit]) + header[i + 1 :]
            with pytest.raises((StoreBroken, SegmentVersion)):
                parse_header(damaged, layout.texts, layout.file_size, "x")
    for i in range(len(layout.texts)):
        damaged = layout.texts[:i] + bytes([layout.texts[i] ^ 1]) + layout.texts[i + 1 :]
        with pytest.raises(StoreBroken, match="checksum"):
            parse_header(header, damaged, layout.file_size, "x")


def test_header_refusals_name_the_reason() -> None:
    layout, header = _packed(small_spec())
    with pytest.raises(StoreBroken, match="begin with"):
        check_prefix(b"PAR1" + header[4:], "x")
    with pytest.raises(StoreBroken, match="begin with"):
        check_prefix(header[:100], "x")
    with pytest.raises(SegmentVersion, match="x has layout 9, this code knows 2"):
        check_prefix(header[:8] + struct.pack("<I", 9) + header[12:], "x")
    with pytest.raises(StoreBroken, match="byte order"):
        check_prefix(header[:12] + struct.pack(">I", 0x01020304) + header[16:], "x")
    with pytest.raises(StoreBroken, match="the file has 4096"):
        parse_header(header, layout.texts, 4096, "x")
