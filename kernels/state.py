"""A program's state as bytes: to stop, go on elsewhere, and have the same bits as if it had never stopped.

    offset 0   magic b"BMACSTAT", version uint32, length of the header uint32
    16         header: JSON {"plan", "names", "n_rows", "symbols", "notes"}, padded with spaces to 64 bytes
    then       float64 [n_rows][n_symbols], little-endian
    last 16    two uint64 over the floats' words: their exclusive or, and their sum

The plan's hash covers rows, calls, and the sources of its kernels, so a state is only ever taken up by the
code that wrote it. Kernels use nothing but IEEE arithmetic: a state may move between machines.
"""

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from kernels.abi import compiled, integers
from kernels.run import Program

__all__ = ["VERSION", "BadState", "ForeignState", "SavedState", "dump", "load", "put_back"]

VERSION: Final = 1
_MAGIC: Final = b"BMACSTAT"
_PREFIX: Final = struct.Struct("<8sII")
_ALIGN: Final = 64


class BadState(ValueError):
    """The bytes are no state, cut, or damaged."""


class ForeignState(ValueError):
    """A sound state, but of another version or another plan."""


class SavedState(NamedTuple):
    """What `load` found: the plan's hash, its outputs' names, the symbols in the order of `values`' columns,
    what the saver noted, and values float64 [n_rows, n_symbols] (a view of the bytes)."""

    plan: str
    names: tuple[str, ...]
    symbols: tuple[str, ...]
    notes: dict[str, Any]
    values: NDArray[np.float64]


def dump(program: Program, symbols: Mapping[str, int], notes: Mapping[str, Any]) -> bytearray:
    """The state of `symbols` (name -> slot), with `notes` that JSON can hold."""
    plan = program.plan
    header = json.dumps(
        {
            "plan": plan.hash,
            "names": plan.names,
            "n_rows": plan.n_rows,
            "symbols": list(symbols),
            "notes": dict(notes),
        },
        separators=(",", ":"),
    ).encode()
    header += b" " * (-(_PREFIX.size + len(header)) % _ALIGN)
    begin = _PREFIX.size + len(header)
    out = bytearray(begin + 8 * plan.n_rows * len(symbols) + 16)
    _PREFIX.pack_into(out, 0, _MAGIC, VERSION, len(header))
    out[_PREFIX.size : begin] = header
    values = np.frombuffer(out, "<f8", plan.n_rows * len(symbols), begin).reshape(plan.n_rows, len(symbols))
    np.take(program.state, np.fromiter(symbols.values(), np.int64, len(symbols)), axis=1, out=values)
    out[-16:] = _sums(values)
    return out


def load(data: bytes | bytearray | memoryview) -> SavedState:
    """Read a state. BadState or ForeignState says what was expected and found."""
    if len(data) < _PREFIX.size + 16:
        raise BadState(f"a state has at least {_PREFIX.size + 16} bytes, found {len(data)}")
    magic, version, length = _PREFIX.unpack_from(data)
    if magic != _MAGIC:
        raise BadState(f"a state begins with {_MAGIC!r}, found {magic!r}")
    if version != VERSION:
        raise ForeignState(f"the state has version {version}, this program reads {VERSION}")
    try:
        header = json.loads(bytes(data[_PREFIX.size : _PREFIX.size + length]))
        names, symbols = tuple(header["names"]), tuple(header["symbols"])
        plan, n_rows, notes = header["plan"], int(header["n_rows"]), header["notes"]
    except (ValueError, KeyError, TypeError) as error:
        raise BadState(f"the state's header cannot be read: {error}") from None
    begin, n = _PREFIX.size + length, n_rows * len(symbols)
    if len(data) != begin + 8 * n + 16:
        raise BadState(f"the state should have {begin + 8 * n + 16} bytes, found {len(data)}")
    values = np.frombuffer(data, "<f8", n, begin).reshape(n_rows, len(symbols))
    if bytes(data[-16:]) != _sums(values):
        raise BadState("the state's check sums differ: it is damaged")
    return SavedState(plan, names, symbols, notes, values)


def put_back(program: Program, saved: SavedState, slots: Sequence[int]) -> None:
    """Give a saved state's symbols to `slots` of a program of the same plan; -1 leaves a symbol out.

    ForeignState if the plan is another: it names the outputs that differ.
    """
    plan = program.plan
    if saved.plan != plan.hash:
        gone = [name for name in saved.names if name not in plan.names]
        new = [name for name in plan.names if name not in saved.names]
        what = f"only there: {gone[:5]}, only here: {new[:5]}" if gone or new else "same names, other kernels"
        raise ForeignState(f"the state is of plan {saved.plan}, this is plan {plan.hash} ({what})")
    to = np.asarray(slots, np.int64)
    if len(to) == program.n_slots and np.array_equal(to, np.arange(program.n_slots)):
        program.state[:] = saved.values
        return
    kept = to >= 0
    program.state[:, to[kept]] = saved.values[:, kept]


@compiled(types.UniTuple(types.int64, 2)(types.int64, types.int64))  # type: ignore[no-untyped-call]
def _add_up(address: int, n: int) -> tuple[int, int]:
    """Exclusive or and sum (modulo 2**64) of n words: 8 MiB in less than a millisecond."""
    words = integers(address)
    mixed = total = 0
    for i in range(n):
        mixed ^= words[i]
        total += words[i]
    return mixed, total


def _sums(values: NDArray[np.float64]) -> bytes:
    return struct.pack("<qq", *_add_up(values.ctypes.data, values.size))
