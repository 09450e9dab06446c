"""docs/shm-format.md: a live store is read by its tables, with os, mmap and struct and nothing of ours."""

import fcntl
import mmap
import os
import re
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shm import StoreWriter
from tests.shm.support import fill, row, small_spec

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "shm-format.md"
_ROW = re.compile(r"\| (\d+) \| (i64|u32|char\[(\d+)\]) \| (\w+) \|")


def _table() -> dict[str, tuple[int, str]]:
    """name -> (offset, struct format), from every table of the document."""
    found: dict[str, tuple[int, str]] = {}
    for line in DOCUMENT.read_text().splitlines():
        if match := _ROW.match(line):
            offset, kind, size, name = match.groups()
            assert name not in found, f"{name} is drawn twice"
            found[name] = (int(offset), {"i64": "<q", "u32": "<I"}.get(kind, f"<{size}s"))
    return found


@dataclass
class PlainReader:
    """A reader written from the document."""

    memory: mmap.mmap
    table: dict[str, tuple[int, str]]

    @classmethod
    def open(cls, path: Path) -> "PlainReader":
        fd = os.open(path, os.O_RDONLY)
        try:
            memory = mmap.mmap(fd, os.fstat(fd).st_size, prot=mmap.PROT_READ)
        finally:
            os.close(fd)
        return cls(memory, _table())

    def get(self, name: str, base: int = 0) -> Any:
        offset, kind = self.table[name]
        return struct.unpack_from(kind, self.memory, base + offset)[0]

    def text(self, name: str) -> str:
        start, length = self.get(f"{name}_offset"), self.get(f"{name}_length")
        return self.memory[start : start + length].decode()

    def slots(self) -> dict[str, int]:
        active = {}
        for s in range(self.get("n_slots")):
            base = self.get("slots_offset") + 256 * s
            if self.get("slot_state", base) == 2:
                active[self.get("name", base)[: self.get("name_length", base)].decode()] = s
        return active

    def slot_base(self, s: int) -> int:
        return int(self.get("slots_offset")) + 256 * s

    def cells(self, s: int, c: int, end: int, n: int) -> tuple[float, ...]:
        """The n numbers before bar `end`."""
        cap, columns = self.get("cap"), self.get("n_columns")
        first = cap + (end - 1) % cap + 1 - n
        at = self.get("data_offset") + ((s * columns + c) * 2 * cap + first) * 8
        return struct.unpack_from(f"<{n}d", self.memory, at)

    def last(self, s: int, c: int, n: int) -> tuple[float, ...] | None:
        """The last n bars, or None if the writer was too fast."""
        e, c1 = self.get("corr_end"), self.get("count", self.slot_base(s))
        values = self.cells(s, c, c1, n)
        c2, b = self.get("count", self.slot_base(s)), self.get("corr_begin")
        return values if c2 - c1 < self.get("cap") - n and b == e else None


@pytest.fixture
def writer(store_name: str) -> Iterator[StoreWriter]:
    spec = small_spec(source="来源", meta='{"interval": "1m"}', origin_ms=345_600_000)
    with StoreWriter.open(store_name, spec) as writer:
        fill(writer, 2, 1_000_000, 40)
        yield writer


@pytest.fixture
def plain(writer: StoreWriter) -> PlainReader:
    return PlainReader.open(writer.path)


def test_header(writer: StoreWriter, plain: PlainReader) -> None:
    assert plain.get("magic") == b"shmrows\0"
    assert (plain.get("version"), plain.get("byte_order")) == (2, 0x01020304)
    assert plain.get("file_size") == len(plain.memory) == writer.spec.nbytes
    texts_end = plain.get("meta_offset") + plain.get("meta_length")
    covered = plain.memory[24:4096] + plain.memory[plain.get("source_offset") : texts_end]
    assert plain.get("checksum") == zlib.crc32(covered)
    assert plain.get("epoch") == writer.epoch
    assert plain.text("source") == "来源"
    assert plain.text("columns").split("\n") == ["a", "b", "c"]
    assert plain.text("counter_names").split("\n") == ["seen", "kept"]
    assert plain.text("meta") == '{"interval": "1m"}'
    names = ("window", "slack", "cap", "n_columns", "max_symbols", "interval_ms", "origin_ms")
    assert [plain.get(n) for n in names] == [8, 4, 16, 4, 4, 60_000, 345_600_000]
    assert (plain.get("forming_cells"), plain.get("n_counters")) == (4, 2)
    assert (plain.get("journal_offset"), plain.get("journal_entries")) == (8192, 4096)
    assert plain.get("slots_offset") == 139_264
    assert plain.get("data_offset") % 4096 == 0
    header_end = max(o for n, (o, _) in plain.table.items() if n == "journal_entries") + 8
    assert not any(plain.memory[header_end:4096]), "the rest of the header is zero"


def test_windows_and_panels(writer: StoreWriter, plain: PlainReader) -> None:
    assert plain.slots() == {"S0": 0, "S1": 1}
    writer.append(0, 1_000_040, row(0, 1_000_040))
    writer.skip_to(1, 1_000_041)
    assert plain.get("complete") == 1_000_040 and plain.get("head") == 1_000_040
    writer.complete(1_000_040)
    assert plain.get("complete") == 1_000_041
    for slot in (0, 1):
        assert plain.get("count", plain.slot_base(slot)) == 1_000_041
        assert plain.get("first_g", plain.slot_base(slot)) == 1_000_000
    assert plain.last(0, 1, 8) == tuple(g + 0.25 for g in range(1_000_033, 1_000_041))
    assert plain.last(1, 3, 3) == (1.0, 1.0, 3.0), "status is the last column; 3 is PENDING"
    panel = [plain.cells(s, 0, plain.get("complete"), 3) for s in (0, 1)]
    assert np.array_equal(panel, [[1000038, 1000039, 1000040], [2000038, 2000039, np.nan]], equal_nan=True)
    writer.remove_symbol(1)
    assert plain.slots() == {"S0": 0}


def test_windows_of_every_length_at_every_bar(writer: StoreWriter, plain: PlainReader) -> None:
    for g in range(1_000_040, 1_000_080):
        writer.append(0, g, row(0, g))
        for n in range(1, 16):
            assert plain.last(0, 1, n) == tuple(k + 0.25 for k in range(g + 1 - n, g + 1))


def test_corrections_journal_and_redo(writer: StoreWriter, plain: PlainReader) -> None:
    for i in range(4100):
        writer.correct(1, 1_000_030 + i % 5, [i, i + 1.0, i + 2.0], 1 + i % 3)
    assert plain.get("corr_begin") == plain.get("corr_end") == 4100
    entry = plain.get("journal_offset") + 32 * (4099 % 4096)
    names = ("journal_slot", "journal_g", "old_status", "new_status")
    expected = [1, 1_000_030 + 4099 % 5, 1 + 4094 % 3, 1 + 4099 % 3]
    assert [plain.get(n, entry) for n in names] == expected
    redo = plain.get("redo_offset")
    assert [plain.get(n, redo) for n in names] == expected
    assert struct.unpack_from("<3d", plain.memory, redo + 32) == (4099.0, 4100.0, 4101.0)
    assert plain.cells(1, 0, 1_000_035, 5) == (4095.0, 4096.0, 4097.0, 4098.0, 4099.0)


def test_cells_counters_and_the_writer(writer: StoreWriter, plain: PlainReader) -> None:
    for i in range(6):
        writer.write_forming(1, 1_000_040, [i, 10.0 + i, 20.0 + i])
    version = plain.get("forming_version", plain.slot_base(1))
    assert version == 6 and plain.get("forming_version", plain.slot_base(0)) == 0
    k = plain.get("forming_cells")
    at = plain.get("forming_offset") + (1 * k + (version - 1) % k) * plain.get("n_columns") * 8
    assert struct.unpack_from("<q3d", plain.memory, at) == (1_000_040, 5.0, 15.0, 25.0)
    writer.add("kept", 12)
    assert struct.unpack_from("<2q", plain.memory, plain.get("counters_offset")) == (0, 12)
    writer.set_phase("live")
    version = plain.get("phase_version")
    cell = plain.get("phase_cells")[(version - 1) % 4 * 32 :][:32]
    assert cell == b"live".ljust(32, b"\0")
    assert (plain.get("generation"), plain.get("writer_pid")) == (1, os.getpid())
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")
    assert plain.get("boot").hex() == boot
    start = plain.get("writer_start")
    writer.heartbeat()
    assert 0 < start <= plain.get("heartbeat") <= time.monotonic_ns()
    assert plain.get("state") == 1
    before = plain.get("futex")
    writer.notify()
    assert plain.get("futex") == before + 1
    version = plain.get("directory_version")
    writer.add_symbol("NEW", 5)
    assert plain.get("directory_version") == version + 1 and plain.get("n_slots") == 3
    assert plain.get("loaded", plain.slot_base(2)) == 5


def test_the_lock_is_found_as_written(writer: StoreWriter) -> None:
    def held() -> bool:
        with writer.path.with_name(writer.path.name + ".lock").open("rb") as file:
            query = struct.pack("@hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0)
            return struct.unpack("@hhqqi4x", fcntl.fcntl(file, fcntl.F_OFD_GETLK, query))[0] != fcntl.F_UNLCK

    assert held()
    writer.close()
    assert not held()


_SHARED_MEMORY = """
import struct, sys
from multiprocessing import resource_tracker, shared_memory
if sys.version_info >= (3, 13):
    memory = shared_memory.SharedMemory(sys.argv[1], track=False)
else:
    memory = shared_memory.SharedMemory(sys.argv[1])
    resource_tracker.unregister(memory._name, "shared_memory")  # else the store dies with this process
print(bytes(memory.buf[:7]).decode(), struct.unpack_from("<q", memory.buf, 4352)[0])
memory.close()
"""


def test_multiprocessing_shared_memory_can_attach(writer: StoreWriter, plain: PlainReader) -> None:
    """It is an ordinary POSIX shared-memory object, and it survives a reader of that kind."""
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", _SHARED_MEMORY, writer.path.name],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert done.stdout.split() == ["shmrows", "1000040"]
        assert done.stderr == ""
        assert writer.path.exists() and writer.path.stat().st_size == writer.spec.nbytes
    writer.append(0, 1_000_040, row(0, 1_000_040))
    assert plain.last(0, 0, 1) == (1_000_040.0,)
