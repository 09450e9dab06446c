"""bmac_stream.arrow: the same arrays that pyarrow's own ways give, and no pandas for them."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from bmac_stream.arrow import from_numpy, from_words, to_numpy

FRESH = """
import sys
from pathlib import Path

import numpy as np

from bmac_stream import snapshot
from bmac_stream.binance.protocol import SymbolInfo
from bmac_stream.collector import Collector
from bmac_stream.tables import _to_bytes

rows = [snapshot.SymbolRows(name, 7, np.ones((1, 3)), np.ones(3, np.uint8)) for name in ("A", "B")]
meta = snapshot.SnapshotMeta(store="s", source="x", interval_ms=1, origin_ms=0, columns=("close",), window=3)
snapshot.write(sys.argv[1], meta, rows)
found, problems = snapshot.load_latest(sys.argv[1], "s")
assert found is not None and len(found) == 2 and not problems
assert _to_bytes([SymbolInfo("A", "TRADING", "", "A", "B", "", 0, 0, None, None, None)], {b"a": b"b"})
print("pandas" in sys.modules)
"""


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.int32, np.uint8])
def test_numbers_there_and_back(dtype: type[np.generic]) -> None:
    values = np.arange(10).astype(dtype)
    for part in (values, values[:0], values[3:7], values[::2]):
        made = from_numpy(part)
        made.validate(full=True)
        assert made.equals(pa.array(part))
        back = to_numpy(pa.chunked_array([made]))
        assert back.dtype == dtype
        assert back.tolist() == part.tolist()
        assert not back.flags.writeable


def test_nan_is_a_number_and_memory_outlives_its_array() -> None:
    made = from_numpy(np.array([np.nan, 1.0]))
    assert made.null_count == 0
    assert np.isnan(made[0].as_py())
    kept = to_numpy(pa.chunked_array([from_numpy(np.full(100_000, 7.0))]))
    assert [from_numpy(np.full(100_000, 1.0)) for _ in range(5)]
    assert (kept == 7.0).all()


def test_chunks_and_slices_are_put_together() -> None:
    chunks = [from_numpy(np.arange(3.0)), from_numpy(np.arange(5.0))[1:3], from_numpy(np.empty(0))]
    assert to_numpy(pa.chunked_array(chunks)).tolist() == [0, 1, 2, 1, 2]
    assert to_numpy(pa.chunked_array([], pa.int64())).tolist() == []
    assert to_numpy(pa.chunked_array([], pa.int64())).dtype == np.int64


def test_what_cannot_be_told_in_numbers_is_refused() -> None:
    with pytest.raises(pa.ArrowException):
        to_numpy(pa.chunked_array([pa.array([1.0, None])]))
    with pytest.raises(pa.ArrowException):
        to_numpy(pa.chunked_array([pa.array(["a"])]))
    with pytest.raises(KeyError):
        from_numpy(np.array([True]))


@pytest.mark.parametrize("words", [[], ["a"], ["BTCUSDT", None, "", "币安人生USDT"] * 5, [None], [""]])
def test_words(words: list[str | None]) -> None:
    made = from_words(words)
    made.validate(full=True)
    assert made.equals(pa.array(words, pa.string()))
    assert made.null_count == words.count(None)


def test_snapshots_and_tables_are_written_and_read_without_pandas(tmp_path: object) -> None:
    """Its import held up a restart for 0.35 s, and each process beside the collector."""
    command = [sys.executable, "-c", FRESH, str(tmp_path)]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "False\n"
