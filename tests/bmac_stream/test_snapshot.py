"""bmac_stream.snapshot: what is written is what is read, or an error by name."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bmac_stream import snapshot
from bmac_stream.bar import COLUMNS
from bmac_stream.errors import NoSpace, SnapshotDamaged, SnapshotError, SnapshotForeign
from bmac_stream.snapshot import Snapshot, SnapshotMeta, SymbolRows

MINUTE = 60_000
G0 = 29_000_000


@dataclass(frozen=True)
class Wanted:
    """The part of a store's Spec that a snapshot is compared with."""

    source: str = "embedded:generator:seed=7"
    columns: tuple[str, ...] = COLUMNS
    interval_ms: int = MINUTE
    origin_ms: int = 0
    meta: str = '{"trade_type": "usdt_perp"}'


def make_meta(**changes: object) -> SnapshotMeta:
    meta = SnapshotMeta(
        store="s",
        source="embedded:generator:seed=7",
        interval_ms=MINUTE,
        origin_ms=0,
        columns=COLUMNS,
        window=100,
        meta='{"trade_type": "usdt_perp"}',
        epoch=2**63 - 1,
        complete_g=G0 + 99,
    )
    return msgspec.structs.replace(meta, **changes)


def make_rows(n_symbols: int = 5, n: int = 40, seed: int = 1) -> list[SymbolRows]:
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n_symbols):
        values = np.round(rng.lognormal(3, 1, (len(COLUMNS), n + i)), 4)
        status = np.ones(n + i, np.uint8)
        status[3], status[-1] = 2, 3
        values[:, status != 1] = np.nan
        rows.append(SymbolRows(f"SYM{i:02d}USDT", G0 + i, values, status))
    return rows


def same(snap: Snapshot, rows: list[SymbolRows]) -> bool:
    return snap.symbols == tuple(one.symbol for one in rows) and all(
        got.g0 == one.g0
        and got.values.tobytes() == np.ascontiguousarray(one.values).tobytes()
        and got.status.tobytes() == one.status.tobytes()
        for got, one in zip(snap, rows, strict=True)
    )


def test_round_trip_keeps_every_bit(tmp_path: Path) -> None:
    rows = make_rows()
    rows[1].values[0, 0] = -0.0
    rows[1].values[0, 1] = 5e-324
    snap = snapshot.load(snapshot.write(tmp_path, make_meta(), rows), Wanted())
    assert same(snap, rows)
    assert snap.meta.epoch == 2**63 - 1 and snap.meta.complete_g == G0 + 99
    assert snap.meta.n_rows == sum(one.status.size for one in rows)
    assert snap.meta.last_g == G0 + 4 + 43
    assert "SYM02USDT" in snap and "NONE" not in snap and len(snap) == 5
    assert snap["SYM02USDT"].g0 == G0 + 2
    snap["SYM02USDT"].values[:], snap["SYM02USDT"].status[:] = 0, 0  # copies: what was read stays
    assert same(snap, rows)


def test_many_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "_ROWS_PER_GROUP", 100)
    rows = make_rows(9)
    path = snapshot.write(tmp_path, make_meta(), rows)
    assert pq.ParquetFile(path).num_row_groups > 3
    assert same(snapshot.load(path), rows)


def test_any_parquet_reader_can_read_it(tmp_path: Path) -> None:
    rows = make_rows(2, 5)
    table = pq.read_table(snapshot.write(tmp_path, make_meta(), rows), page_checksum_verification=True)
    assert table.column_names == ["symbol", "open_time", *COLUMNS, "status"]
    assert table.column("symbol").to_pylist() == ["SYM00USDT"] * 5 + ["SYM01USDT"] * 6
    assert table.column("open_time").to_pylist()[:2] == [G0 * MINUTE, (G0 + 1) * MINUTE]
    assert table.column("status").to_pylist()[:5] == [1, 1, 1, 2, 3]


def test_empty_store_and_symbols_without_bars(tmp_path: Path) -> None:
    assert len(snapshot.load(snapshot.write(tmp_path, make_meta(), []))) == 0
    nothing = SymbolRows("AAA", 5, np.empty((len(COLUMNS), 0)), np.empty(0, np.uint8))
    snap = snapshot.load(snapshot.write(tmp_path, make_meta(), [nothing, *make_rows(1)]))
    assert snap.symbols == ("SYM00USDT",)


def test_two_generations_are_kept(tmp_path: Path) -> None:
    (tmp_path / "s.1h.00000009.parquet").write_bytes(b"another store")
    paths = [snapshot.write(tmp_path, make_meta(), make_rows(seed=i)) for i in range(4)]
    assert snapshot.generations(tmp_path, "s") == [paths[3], paths[2]]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "s.00000003.parquet",
        "s.00000004.parquet",
        "s.1h.00000009.parquet",
    ]
    assert snapshot.generations(tmp_path / "none", "s") == []


def test_damaged_is_set_aside_and_the_previous_used(tmp_path: Path) -> None:
    rows = make_rows()
    older = snapshot.write(tmp_path, make_meta(), rows)
    newer = snapshot.write(tmp_path, make_meta(), make_rows(seed=2))
    raw = bytearray(newer.read_bytes())
    raw[len(raw) // 3] ^= 4
    newer.write_bytes(raw)
    snap, problems = snapshot.load_latest(tmp_path, "s", Wanted())
    assert snap is not None and snap.path == older and same(snap, rows)
    assert [type(p) for p in problems] == [SnapshotDamaged] and newer.name in str(problems[0])
    assert not newer.exists() and newer.with_name(newer.name + ".bad").read_bytes() == raw
    older.write_bytes(b"")
    assert snapshot.load_latest(tmp_path, "s", Wanted())[0] is None
    assert len(list(tmp_path.glob("*.bad"))) == 2
    path = snapshot.write(tmp_path, make_meta(), rows)
    path.write_bytes(raw)
    snapshot.load_latest(tmp_path, "s", Wanted())
    assert len(list(tmp_path.glob("*.bad"))) == 2  # bounded


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"source": "binance"}, "source"),
        ({"interval_ms": 3_600_000}, "interval_ms"),
        ({"origin_ms": 1}, "origin_ms"),
        ({"columns": (*COLUMNS, "funding_rate")}, "columns"),
        ({"columns": (COLUMNS[1], COLUMNS[0], *COLUMNS[2:])}, "columns"),
        ({"meta": '{"trade_type": "usdt_spot"}'}, "trade_type"),
    ],
)
def test_foreign_snapshot_is_refused_by_name(tmp_path: Path, changes: dict[str, object], word: str) -> None:
    path = snapshot.write(tmp_path, make_meta(), make_rows())
    snapshot.load(path, Wanted())
    with pytest.raises(SnapshotForeign, match=word) as caught:
        snapshot.load(path, Wanted(**changes))  # type: ignore[arg-type]
    assert str(path) in str(caught.value)
    snap, problems = snapshot.load_latest(tmp_path, "s", Wanted(**changes))  # type: ignore[arg-type]
    assert snap is None and len(problems) == 1
    assert path.exists()  # not damaged: it stays


def test_snapshot_from_the_future_is_refused(tmp_path: Path) -> None:
    path = snapshot.write(tmp_path, make_meta(), make_rows())
    closes = (snapshot.load(path).meta.last_g + 1) * MINUTE
    snapshot.load(path, now_ms=closes)
    with pytest.raises(SnapshotForeign, match="closes"):
        snapshot.load(path, now_ms=closes - 1)


def test_unknown_format_version_is_refused(tmp_path: Path) -> None:
    """`write` reads back what it wrote, so it meets the refusal too."""
    with pytest.raises(SnapshotForeign, match="format 2, this program knows 1"):
        snapshot.write(tmp_path, make_meta(version=2), make_rows(1))
    assert list(tmp_path.iterdir()) == []


def test_no_bit_flip_is_silent(tmp_path: Path) -> None:
    """A flip is an error, or changes nothing of what is read (facts: 252 of 300 were silent by default)."""
    rows = make_rows(4, 60)
    path = snapshot.write(tmp_path, make_meta(), rows)
    good = path.read_bytes()
    rng = np.random.default_rng(20261122)
    raised = harmless = 0
    for at, bit in zip(rng.integers(0, len(good), 400), rng.integers(0, 8, 400), strict=True):
        raw = bytearray(good)
        raw[at] ^= 1 << int(bit)
        path.write_bytes(raw)
        try:
            snap = snapshot.load(path, Wanted())
        except SnapshotError:
            raised += 1
        else:
            assert same(snap, rows), f"byte {at} bit {bit}: silently different"
            assert snap.meta.complete_g == G0 + 99
            harmless += 1
    print(f"{raised} raised, {harmless} harmless of {raised + harmless}, file of {len(good)} bytes")
    assert raised > 330  # the test has power


def test_every_truncation_is_an_error(tmp_path: Path) -> None:
    path = snapshot.write(tmp_path, make_meta(), make_rows(2, 20))
    good = path.read_bytes()
    rng = np.random.default_rng(3)
    for size in [0, 1, 4, 8, len(good) - 1, *rng.integers(0, len(good), 60).tolist()]:
        path.write_bytes(good[:size])
        with pytest.raises(SnapshotDamaged):
            snapshot.load(path)


def test_the_digests_see_what_page_checksums_cannot(tmp_path: Path) -> None:
    """A file with sound pages, but other bars than its description says."""
    rows = make_rows(2, 20)
    path = snapshot.write(tmp_path, make_meta(), rows)
    table = pq.read_table(path)
    keys = pq.ParquetFile(path).metadata.metadata
    keys = {k: v for k, v in keys.items() if k.startswith(b"bmac_stream")}

    def rewrite(changed: pa.Table) -> None:
        with pq.ParquetWriter(path, changed.schema, write_page_checksum=True) as writer:
            writer.write_table(changed)
            writer.add_key_value_metadata(keys)

    rewrite(table)
    assert same(snapshot.load(path), rows)
    for column, value in (("close", 1.5), ("status", 3), ("open_time", 0), ("symbol", "SYM01USDT")):
        values = table.column(column).to_pylist()
        values[0] = value
        place = table.column_names.index(column)
        rewrite(table.set_column(place, column, pa.array(values, table.schema.field(column).type)))
        with pytest.raises(SnapshotDamaged, match=column):
            snapshot.load(path)
    rewrite(table.slice(0, table.num_rows - 1))
    with pytest.raises(SnapshotDamaged, match="rows"):
        snapshot.load(path)
    rewrite(table)
    keys[b"bmac_stream"] = keys[b"bmac_stream"].replace(b"seed=7", b"seed=8")
    rewrite(table)
    with pytest.raises(SnapshotDamaged, match="CRC-32"):
        snapshot.load(path)


def test_other_files_are_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "s.00000001.parquet")
    with pytest.raises(SnapshotDamaged, match="not a snapshot"):
        snapshot.load(tmp_path / "s.00000001.parquet")
    with pytest.raises(SnapshotError, match="No such file"):
        snapshot.load(tmp_path / "none.parquet")


def test_failure_while_writing_leaves_the_old_one(tmp_path: Path) -> None:
    rows = make_rows()
    old = snapshot.write(tmp_path, make_meta(), rows)

    def broken():  # type: ignore[no-untyped-def]
        yield rows[0]
        raise OSError(28, "No space left on device")

    with pytest.raises(NoSpace, match="'s'"):
        snapshot.write(tmp_path, make_meta(), broken())
    with pytest.raises(ZeroDivisionError):
        snapshot.write(tmp_path, make_meta(), (1 / 0 for _ in range(1)))  # type: ignore[misc]
    assert [p.name for p in tmp_path.iterdir()] == [old.name]
    assert same(snapshot.load(old), rows)


def test_leftovers_of_killed_recorders_are_removed(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / f"s.{dead.pid}.tmp").write_bytes(b"half")
    (tmp_path / f"s.{os.getppid()}.tmp").write_bytes(b"alive")
    snapshot.write(tmp_path, make_meta(), make_rows(1))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.00000001.parquet", f"s.{os.getppid()}.tmp"]


def test_full_disk_is_named_and_harmless(tmp_path: Path) -> None:
    """The kernel refuses bytes beyond a limit on the file's size, as a full disk does."""
    snapshot.write(tmp_path, make_meta(), make_rows(2, 20))
    code = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
from tests.bmac_stream.test_snapshot import make_meta, make_rows, snapshot, NoSpace
try:
    snapshot.write({str(tmp_path)!r}, make_meta(), make_rows(40, 400))
except NoSpace as error:
    print("NoSpace:", error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("NoSpace: snapshot of store 's'"), done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["s.00000001.parquet"]
    assert len(snapshot.load(tmp_path / "s.00000001.parquet")) == 2


def test_unwritable_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SnapshotError, match="'s'"):
        snapshot.write(tmp_path / "file", make_meta(), make_rows(1))


def test_pages_carry_checksums_and_they_are_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two flags of parquet, apart from our own digests (which would hide that one is missing)."""
    path = snapshot.write(tmp_path, make_meta(), make_rows(1, 200))
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    with pytest.raises(OSError, match=r"(?i)crc|checksum"):
        pq.read_table(path, page_checksum_verification=True)
    monkeypatch.setattr(snapshot.zlib, "crc32", lambda *_: pytest.fail("pages are checked before digests"))
    monkeypatch.setattr(
        snapshot,
        "_read_meta",
        lambda *_: msgspec.structs.replace(make_meta(), symbols=(("SYM00USDT", G0, 200),)),
    )
    with pytest.raises(SnapshotDamaged, match=r"(?i)crc|checksum"):
        snapshot.load(path)
