"""Where every byte of a store lies, and how its header is written and checked.

One file: header, control words, journal, slots, counters, forming cells, redo record, texts, data. All
numbers are little-endian, all words 8 bytes wide and aligned. docs/shm-format.md draws it; test_format.py
reads a store by that drawing alone. Any change here changes LAYOUT_VERSION, and an old reader refuses.

Pure: nothing here opens a file or knows of processes.
"""

import json
import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from shm.errors import SegmentVersion, StoreBroken

__all__ = [
    "COMPLETE",
    "COPY_BLOCK",
    "CORR_BEGIN",
    "CORR_END",
    "DIRECTORY_VERSION",
    "FUTEX",
    "HEAD",
    "HEADER_BYTES",
    "HEARTBEAT",
    "H_FORMING_CELLS",
    "H_FORMING_OFFSET",
    "H_REDO_OFFSET",
    "JOURNAL",
    "JOURNAL_ENTRIES",
    "JOURNAL_ENTRY_WORDS",
    "LAYOUT_VERSION",
    "MAGIC",
    "NAME_BYTES",
    "N_SLOTS",
    "PHASE_BYTES",
    "PHASE_CELL",
    "PHASE_CELLS",
    "PHASE_VERSION",
    "SLOTS",
    "SLOT_COUNT",
    "SLOT_FIRST_G",
    "SLOT_FORMING",
    "SLOT_LOADED",
    "SLOT_NAME",
    "SLOT_NAME_LENGTH",
    "SLOT_STATE",
    "SLOT_WORDS",
    "STATE",
    "STATE_OFFSET",
    "STATUS_COLUMN",
    "WRITER_BOOT",
    "WRITER_GENERATION",
    "WRITER_PID",
    "WRITER_START",
    "FileState",
    "Layout",
    "SlotState",
    "Spec",
    "Status",
    "check_prefix",
    "first_cell",
    "pack_header",
    "parse_header",
    "ring_capacity",
    "source_span",
    "text_span",
]

MAGIC: Final = b"shmrows\0"
LAYOUT_VERSION: Final = 2
_BYTE_ORDER: Final = 0x01020304
HEADER_BYTES: Final = 4096

# Header fields, int64, by word index (byte offset / 8) where compiled code reads them.
H_FORMING_CELLS: Final = 13
H_FORMING_OFFSET: Final = 17
H_REDO_OFFSET: Final = 18

# Control words, by word index. One line of 128 bytes each: no two are written through one cache line pair.
STATE_OFFSET: Final = 4096  # bytes; stays there in every version of the layout, as do magic and source
STATE: Final = 4096 // 8
HEAD: Final = 4224 // 8  # newest bar number begun by any slot; -1: none
COMPLETE: Final = 4352 // 8  # newest complete bar number + 1; 0: none
CORR_BEGIN: Final = 4480 // 8  # corrections begun
CORR_END: Final = 4608 // 8  # corrections finished; equal to CORR_BEGIN when none is under way
FUTEX: Final = 4736 // 8  # its low 32 bits are the word that readers sleep on
HEARTBEAT: Final = 4864 // 8  # CLOCK_MONOTONIC ns of the writer's last sign of life
DIRECTORY_VERSION: Final = 4992 // 8  # goes up with every change of the directory
N_SLOTS: Final = DIRECTORY_VERSION + 1  # slots ever taken in this epoch
WRITER_GENERATION: Final = 5120 // 8  # goes up with every start of a writer
WRITER_PID: Final = WRITER_GENERATION + 1
WRITER_START: Final = WRITER_GENERATION + 2  # CLOCK_MONOTONIC ns of its start
WRITER_BOOT: Final = WRITER_GENERATION + 3  # two words: the boot id, 16 bytes
PHASE_VERSION: Final = 5248 // 8  # counter of the phase cells
PHASE_CELL: Final = 5376 // 8
PHASE_CELLS: Final = 4
PHASE_BYTES: Final = 32

JOURNAL: Final = 8192 // 8
JOURNAL_ENTRIES: Final = 4096
JOURNAL_ENTRY_WORDS: Final = 4  # slot, g, old status, new status

SLOTS: Final = JOURNAL + JOURNAL_ENTRIES * JOURNAL_ENTRY_WORDS
SLOT_WORDS: Final = 32  # 256 bytes a slot
SLOT_COUNT: Final = 0  # next bar number to be published
SLOT_STATE: Final = 1
SLOT_FIRST_G: Final = 2
SLOT_LOADED: Final = 3  # the writer's own: next bar number to be loaded before activation
SLOT_FORMING: Final = 8  # counter of the forming cells, on a line of its own
SLOT_NAME_LENGTH: Final = 16
SLOT_NAME: Final = 17
NAME_BYTES: Final = 64

COPY_BLOCK: Final = 8  # cells of one cache line: so many bars are copied to the lower half of a row at once

STATUS_COLUMN: Final = "status"

_FIELDS: Final = struct.Struct("<27q")  # from byte 24 on
_PREFIX: Final = struct.Struct("<8sIIq")  # magic, version, byte order, checksum


class Status(IntEnum):
    """What a cell holds; kept as the ring's last column, as a float64.

    EMPTY    never written: before the symbol's first bar
    BAR      a bar
    ABSENT   the source itself has no bar here: NaN for ever
    PENDING  not here when its time was up: NaN, may be corrected later
    """

    EMPTY = 0
    BAR = 1
    ABSENT = 2
    PENDING = 3


class SlotState(IntEnum):
    """What a slot of the directory is. It only ever moves to the right, and never leaves DELISTED."""

    FREE = 0
    LOADING = 1
    ACTIVE = 2
    DELISTED = 3


class FileState(IntEnum):
    """What the file is. READY is stored last when it is made, RETIRED when a new file took its name."""

    INITIALISING = 0
    READY = 1
    RETIRED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What is fixed when a store is created. ValueError names what is wrong.

    columns        names of the float64 columns, without `status`, which is added as the last
    window         bars that a reader may look at with at least `slack` bars of grace
    slack          bars that the writer may publish while a reader looks at a window before it is refused
    max_symbols    slots; a delisted symbol keeps its slot until the store is made anew
    interval_ms    length of a bar
    origin_ms      open time of bar number 0, ms UTC
    source         where the rows come from; a store of another source is never opened or overwritten
    meta           a JSON object for the application, at most 4096 bytes
    forming_cells  cells for the row that is not closed yet: 0 for none, else at least 2
    counters       names of int64 counters which the writer keeps for its readers to see
    """

    columns: tuple[str, ...]
    window: int
    slack: int = 100
    max_symbols: int = 1024
    interval_ms: int
    origin_ms: int = 0
    source: str
    meta: str = "{}"
    forming_cells: int = 4
    counters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for what, names in (("column", self.columns), ("counter", self.counters)):
            if len(set(names)) != len(names):
                raise ValueError(f"{what} names repeat: {names}")
            for name in names:
                if not name or "\n" in name or len(name.encode()) > 200:
                    raise ValueError(f"a {what} name has 1 to 200 bytes and no line break, found {name!r}")
        if not self.columns or STATUS_COLUMN in self.columns:
            raise ValueError(f"columns must name at least one, and not {STATUS_COLUMN!r}: {self.columns}")
        for field, least in (("window", 1), ("slack", 1), ("max_symbols", 1), ("interval_ms", 1)):
            if getattr(self, field) < least:
                raise ValueError(f"{field} must be at least {least}, found {getattr(self, field)}")
        if self.forming_cells == 1 or not 0 <= self.forming_cells <= 64:
            raise ValueError(f"forming_cells must be 0 or 2 to 64, found {self.forming_cells}")
        if not self.source or len(self.source.encode()) > 1024:
            raise ValueError(f"source must have 1 to 1024 bytes, found {self.source!r}")
        if len(self.meta.encode()) > 4096:
            raise ValueError(f"meta must have at most 4096 bytes, found {len(self.meta.encode())}")
        try:
            is_object = isinstance(json.loads(self.meta), dict)
        except ValueError:
            is_object = False
        if not is_object:
            raise ValueError(f"meta must be a JSON object, found {self.meta!r}")

    @property
    def nbytes(self) -> int:
        """Size of the file in bytes, known before anything is taken."""
        return Layout.of(self).file_size


def ring_capacity(window: int, slack: int) -> int:
    """Bars a ring holds: at least window + slack, and 16; 4 where the slack is 3 or less.

    Who asks for so little slack looks at the newest bar of many columns: at cap 4 both copies of a cell's row
    are one cache line, and reading one bar of all columns takes half the time that it does at cap 16.
    A row is 16 * cap bytes. Were that a multiple of 128 or more, the cells of one bar would fall into a part
    of the cache's sets only, and a whole market's newest bars would not stay cached from one append to the
    next. So a row of a page or more is an odd number of cache lines: cap is a multiple of 4, but not of 8.
    """
    wanted = max(window + slack, 4 if slack < 4 else 16)
    if wanted > 248:
        return (wanted + 3) // 8 * 8 + 4
    return (wanted + 3) // 4 * 4 if wanted < 16 else (wanted + 7) // 8 * 8


def first_cell(end: int, n: int, cap: int) -> int:
    """Cell of a row in which the n bars before bar `end` begin, 0 <= n < cap.

    A window ends in the upper half, where the bars of the newest one's lap of the ring lie; those of the lap
    before it lie in the lower half.
    """
    return cap + (end - 1) % cap + 1 - n


def _aligned(offset: int, to: int) -> int:
    return (offset + to - 1) // to * to


@dataclass(frozen=True, slots=True)
class Layout:
    """The offsets that follow from a Spec. Bytes unless the name says otherwise."""

    spec: Spec
    cap: int
    n_columns: int  # with status
    slots_offset: int
    counters_offset: int
    forming_offset: int
    redo_offset: int
    source_offset: int
    columns_offset: int
    counter_names_offset: int
    meta_offset: int
    data_offset: int
    file_size: int

    @classmethod
    def of(cls, spec: Spec) -> "Layout":
        cap = ring_capacity(spec.window, spec.slack)
        n_values = len(spec.columns)
        slots = SLOTS * 8
        counters = slots + spec.max_symbols * SLOT_WORDS * 8
        forming = _aligned(counters + 8 * len(spec.counters), 128)
        redo = _aligned(forming + spec.max_symbols * spec.forming_cells * (1 + n_values) * 8, 128)
        source = _aligned(redo + (4 + n_values) * 8, 128)
        columns = source + len(spec.source.encode())
        counter_names = columns + len(_joined(spec.columns))
        meta = counter_names + len(_joined(spec.counters))
        data = _aligned(meta + len(spec.meta.encode()), 4096)
        size = _aligned(data + spec.max_symbols * (n_values + 1) * 2 * cap * 8, 4096)
        return cls(
            spec=spec,
            cap=cap,
            n_columns=n_values + 1,
            slots_offset=slots,
            counters_offset=counters,
            forming_offset=forming,
            redo_offset=redo,
            source_offset=source,
            columns_offset=columns,
            counter_names_offset=counter_names,
            meta_offset=meta,
            data_offset=data,
            file_size=size,
        )

    @property
    def texts(self) -> bytes:
        """The texts as they lie in the file from source_offset on."""
        spec = self.spec
        joined = (_joined(spec.columns), _joined(spec.counters))
        return spec.source.encode() + joined[0] + joined[1] + spec.meta.encode()


def _joined(names: tuple[str, ...]) -> bytes:
    return "\n".join(names).encode()


def _split(text: bytes) -> tuple[str, ...]:
    return tuple(text.decode().split("\n")) if text else ()


def pack_header(layout: Layout, epoch: int, created_ms: int) -> bytes:
    """The header's 4096 bytes. The checksum covers all that follows it in the header, and the texts."""
    spec, texts = layout.spec, layout.texts
    body = _FIELDS.pack(
        layout.file_size,
        epoch,
        created_ms,
        spec.window,
        spec.slack,
        layout.cap,
        layout.n_columns,
        spec.max_symbols,
        spec.interval_ms,
        spec.origin_ms,
        spec.forming_cells,
        len(spec.counters),
        layout.slots_offset,
        layout.counters_offset,
        layout.forming_offset,
        layout.redo_offset,
        layout.data_offset,
        layout.source_offset,
        layout.columns_offset - layout.source_offset,
        layout.columns_offset,
        layout.counter_names_offset - layout.columns_offset,
        layout.counter_names_offset,
        layout.meta_offset - layout.counter_names_offset,
        layout.meta_offset,
        len(spec.meta.encode()),
        JOURNAL * 8,
        JOURNAL_ENTRIES,
    ).ljust(HEADER_BYTES - _PREFIX.size, b"\0")
    return _PREFIX.pack(MAGIC, LAYOUT_VERSION, _BYTE_ORDER, zlib.crc32(body + texts)) + body


def parse_header(header: bytes, texts: bytes, file_size: int, where: str) -> tuple[Layout, int, int]:
    """(layout, epoch, created_ms) of a file whose first 4096 bytes are `header`.

    texts      what lies from `source` to `meta`, as `text_span` told; b"" to check the prefix alone
    file_size  what the file system says
    where      the file's name, for messages

    Raises StoreBroken (foreign, cut, damaged) or SegmentVersion (a store, but of another layout).
    """
    check_prefix(header, where)
    checksum = _PREFIX.unpack_from(header)[3]
    if zlib.crc32(header[_PREFIX.size :] + texts) != checksum:
        raise StoreBroken(f"{where}: the header's checksum does not fit its content; the file is damaged")
    values = _FIELDS.unpack_from(header, _PREFIX.size)
    (size, epoch, created, window, slack, cap, n_columns, max_symbols, interval, origin, cells) = values[:11]
    source_length, columns_length, names_length, meta_length = values[18], values[20], values[22], values[24]
    if size != file_size:
        raise StoreBroken(f"{where}: the header says {size} bytes, the file has {file_size}")
    ends = (source_length, source_length + columns_length, source_length + columns_length + names_length)
    try:
        spec = Spec(
            columns=_split(texts[ends[0] : ends[1]]),
            window=window,
            slack=slack,
            max_symbols=max_symbols,
            interval_ms=interval,
            origin_ms=origin,
            source=texts[: ends[0]].decode(),
            meta=texts[ends[2] : ends[2] + meta_length].decode(),
            forming_cells=cells,
            counters=_split(texts[ends[1] : ends[2]]),
        )
    except ValueError as error:
        raise StoreBroken(f"{where}: the header does not add up: {error}") from error
    layout = Layout.of(spec)
    if (layout.cap, layout.n_columns) != (cap, n_columns) or pack_header(layout, epoch, created) != header:
        raise StoreBroken(f"{where}: offsets in the header are not those of layout {LAYOUT_VERSION}")
    return layout, epoch, created


def check_prefix(header: bytes, where: str) -> None:
    """Raise unless `header` begins like a store of this layout and this machine's byte order."""
    if len(header) < HEADER_BYTES or header[:8] != MAGIC:
        raise StoreBroken(f"{where}: not a store: expected it to begin with {MAGIC!r}, found {header[:8]!r}")
    version, order = _PREFIX.unpack_from(header)[1:3]
    if version != LAYOUT_VERSION:
        raise SegmentVersion(f"{where} has layout {version}, this code knows {LAYOUT_VERSION}")
    if order != _BYTE_ORDER:
        raise StoreBroken(f"{where}: written in another byte order ({order:#010x})")


def text_span(header: bytes) -> tuple[int, int]:
    """(offset, length) of the texts, as the header says; the source alone is stable over versions."""
    values = _FIELDS.unpack_from(header, _PREFIX.size)
    return values[17], values[18] + values[20] + values[22] + values[24]


def source_span(header: bytes) -> tuple[int, int]:
    """(offset, length) of the source text; at the same place in every version of the layout."""
    values = _FIELDS.unpack_from(header, _PREFIX.size)
    return values[17], values[18]


assert _PREFIX.size == 24
assert SLOTS * 8 == 139264
assert SLOT_NAME * 8 + NAME_BYTES <= SLOT_WORDS * 8
assert PHASE_CELL + PHASE_CELLS * PHASE_BYTES // 8 <= JOURNAL
