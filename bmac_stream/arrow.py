"""NumPy arrays and words to Arrow and back, by their memory: pandas stays out of it.

pyarrow's own ways (`pa.array`, `to_numpy`) first ask whether they were given something of pandas, and import
it for that: 0.3 s, in which no other thread of the process gets on, and 40 MB that nothing else here needs.
The collector and the processes beside it never work with frames, so they take these (test_arrow.py).
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = ["from_numpy", "from_words", "to_numpy"]

_TYPES: Final[dict[np.dtype[Any], pa.DataType]] = {
    np.dtype(np.float64): pa.float64(),
    np.dtype(np.int64): pa.int64(),
    np.dtype(np.int32): pa.int32(),
    np.dtype(np.uint8): pa.uint8(),
}


def from_numpy(values: npt.NDArray[Any]) -> pa.Array:
    """One dimension of float64, int64, int32 or uint8, in place if it lies in one piece; NaN stays NaN.

    KeyError for any other dtype.
    """
    assert values.ndim == 1, values.shape
    whole = np.ascontiguousarray(values)
    return pa.Array.from_buffers(_TYPES[whole.dtype], len(whole), [None, pa.py_buffer(whole)])


def from_words(words: Sequence[str | None]) -> pa.Array:
    """An Arrow array of strings; None is null."""
    texts = [b"" if word is None else word.encode() for word in words]
    ends = np.zeros(len(texts) + 1, np.int32)
    np.cumsum([len(text) for text in texts], out=ends[1:])
    known = np.packbits(np.array([word is not None for word in words], bool), bitorder="little")
    buffers = [pa.py_buffer(known), pa.py_buffer(ends), pa.py_buffer(b"".join(texts))]
    return pa.Array.from_buffers(pa.string(), len(texts), buffers)


def to_numpy(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """The numbers of a column of one of those types, read-only; in place if it has one chunk.

    pa.ArrowTypeError if it is of another type, or has nulls.
    """
    dtype = next((dtype for dtype, kind in _TYPES.items() if kind == column.type), None)
    if dtype is None or column.null_count:
        raise pa.ArrowTypeError(f"{column.type} with {column.null_count} nulls is no array of plain numbers")
    parts = [_view(chunk, dtype) for chunk in column.chunks]
    whole = parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, dtype), *parts])
    whole.flags.writeable = False
    return whole


def _view(chunk: pa.Array, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    if not len(chunk):
        return np.empty(0, dtype)  # it may have no memory at all
    return np.frombuffer(chunk.buffers()[1], dtype, len(chunk), chunk.offset * dtype.itemsize)
