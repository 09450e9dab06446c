"""Factors over history: a frame, a parquet file or a whole data set of bars, through the steps that run live.

    from bmac_stream import history

    made = history.batch([["PctChg", 100], "qlib158"], "snapshot/usdt_perp_1m.17.parquet")
    made.values                     float64[n_bars, n_factors, n_symbols]
    made.to_arrow()                 the same as a long table
    for part in history.batches(factors, "bars/", chunk_bars=10_000):      a year of bars, in pieces
        ...

A source is a long table: one row for each bar of each symbol, in any order. It is a pandas, polars or Arrow
frame (`Store.to_pandas()` and its kin give such), the path of a parquet file (a snapshot of the recorder is
one), or of a folder of parquet files. Columns: `symbol`; the time, as `open_time` (int64 ms UTC), or
`candle_begin_time` (timestamp, UTC if it has no zone); and what the factors read. What is not there is NaN.
A row whose `status` is there and not 1 is no bar.

The bits are those of a live engine that began with the same bar, and had the same members in its
cross-sections: here, the symbols that have a bar. Every piece goes on where the last one ended.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from bmac_stream import bar
from bmac_stream.engine import FactorError, bound, default_static, named
from factor_defs import registry
from kernels import batch as steps
from kernels.node import Node
from kernels.run import Program

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Factored", "batch", "batches"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

_TIMES: Final = ("open_time", "candle_begin_time")
_DAY_MS: Final = 86_400_000
_LAST_MS: Final = 10**14
"""The year 5138: what is later is not in milliseconds."""


@dataclass(frozen=True, slots=True)
class Factored:
    """Factors of consecutive bars.

    values     float64[n_bars, n_factors, n_symbols]; NaN: not enough bars, or not there
    names      of the factors; symbols: sorted
    open_time  int64[n_bars], ms UTC
    """

    values: F64
    names: tuple[str, ...]
    symbols: tuple[str, ...]
    open_time: I64
    interval_ms: int

    @property
    def run_time(self) -> I64:
        """Right edges, from when on the factors may be used; int64[n_bars], ms UTC."""
        return self.open_time + self.interval_ms

    def to_arrow(self) -> "pa.Table":
        """A long table: `symbol`, `candle_begin_time`, `candle_end_time` (timestamp[ms, UTC]), the factors;
        sorted by time, then symbol. A copy."""
        n_bars, n_symbols = len(self.open_time), len(self.symbols)
        time = pa.timestamp("ms", "UTC")
        codes = pa.array(np.tile(np.arange(n_symbols, dtype=np.int32), n_bars))
        begin = pa.array(np.repeat(self.open_time, n_symbols))
        columns: dict[str, Any] = {
            "symbol": pa.DictionaryArray.from_arrays(codes, pa.array(self.symbols, pa.string())),
            "candle_begin_time": begin.cast(time),
            "candle_end_time": pc.add(begin, self.interval_ms).cast(time),
        }
        for k, name in enumerate(self.names):
            columns[name] = pa.array(self.values[:, k].ravel())
        return pa.table(columns)

    def to_pandas(self) -> "pd.DataFrame":
        """`to_arrow` as a pandas frame."""
        frame: pd.DataFrame = self.to_arrow().to_pandas()
        return frame


def batch(
    factors: Mapping[str, Node] | Sequence[registry.Entry],
    source: Any,
    *,
    interval: str | None = None,
    offset_minutes: int = 0,
    statics: Mapping[str, Mapping[str, float]] | None = None,
    out: F64 | None = None,
) -> Factored:
    """Factors of every bar of `source` at once: 8 bytes for each factor, bar and symbol.

    interval  "1m", "45m", ...; default: the smallest distance of two bars of one symbol
    offset_minutes  by which bars begin later than the interval's own, as in a config's `resample`
    statics   as for `Engine`
    out       where `values` go, float64[n_bars, n_factors, n_symbols]; made if not given
    FactorError if the factors cannot be computed; ValueError if `source` is no table of bars, or `out` does
    not fit.
    """
    (made,) = _batches(factors, _Source(source, interval, offset_minutes), statics, None, out)
    return made


def batches(
    factors: Mapping[str, Node] | Sequence[registry.Entry],
    source: Any,
    *,
    chunk_bars: int = 10_000,
    interval: str | None = None,
    offset_minutes: int = 0,
    statics: Mapping[str, Mapping[str, float]] | None = None,
) -> Iterator[Factored]:
    """`batch` in pieces of `chunk_bars` bars, oldest first, in memory that does not grow with the history.

    Of files, only the rows of one piece are read at a time. The pieces' `values` are one array, used again:
    copy what is to be kept.
    """
    if chunk_bars < 1:
        raise ValueError(f"chunk_bars must be at least 1, found {chunk_bars}")
    yield from _batches(factors, _Source(source, interval, offset_minutes), statics, chunk_bars, None)


def _batches(
    factors: Mapping[str, Node] | Sequence[registry.Entry],
    source: "_Source",
    statics: Mapping[str, Mapping[str, float]] | None,
    chunk_bars: int | None,
    out: F64 | None,
) -> Iterator[Factored]:
    plan = bound(named(factors), source.columns, source.interval_ms, source.origin_ms, statics or ())
    lacking = [name for name in plan.fields if name not in source.columns]
    if lacking:
        raise FactorError(f"the source has no columns {lacking}; it has {', '.join(source.columns)}")
    program = Program(plan, len(source.symbols))
    for name in plan.statics:
        program.set_static(name, source.static(name, (statics or {}).get(name)))
    step = chunk_bars or source.n_bars
    kept: F64 | None = None
    for begin in range(0, source.n_bars, step):
        n = min(step, source.n_bars - begin)
        bars, members = source.bars(plan.fields, begin, n)
        if out is None and kept is None:
            kept = np.empty((n, len(plan.names), len(source.symbols)))
        into = out if out is not None else kept
        assert into is not None
        values = steps.batch(
            program,
            bars,
            g=source.first_g + begin,
            members=members,
            first=source.begins,
            out=into[:n] if out is None else into,
        )
        times = source.origin_ms + source.interval_ms * np.arange(
            source.first_g + begin, source.first_g + begin + n, dtype=np.int64
        )
        yield Factored(values, plan.names, source.symbols, times, source.interval_ms)


class _Source:
    """A long table of bars, wherever it lies, as panels."""

    def __init__(self, source: Any, interval: str | None, offset_minutes: int) -> None:
        self._data = _dataset(source)
        names = self._data.schema.names
        if "symbol" not in names:
            raise ValueError(f"a table of bars has a column 'symbol'; found {', '.join(names)}")
        time = [name for name in _TIMES if name in names]
        if not time:
            raise ValueError(f"a table of bars has a column {' or '.join(_TIMES)}; found {', '.join(names)}")
        self._time = time[0]
        # Time is known where there is no bar, too, as it is live.
        self.columns = tuple(name for name in names if name not in ("symbol", "status", *_TIMES))
        self._has_status = "status" in names
        keys = self._data.to_table(columns=["symbol", self._time])
        for name in ("symbol", self._time):
            if keys[name].null_count:
                raise ValueError(f"{keys[name].null_count} rows of the table of bars have no {name}")
        times = _milliseconds(keys[self._time])
        if not len(times):
            raise ValueError("the table of bars has no rows")
        if times.max() > _LAST_MS:
            raise ValueError(f"{self._time} must be in milliseconds, found {int(times.max())}")
        symbols = keys["symbol"].cast(pa.string())
        self.symbols = tuple(sorted(pc.unique(symbols).to_pylist()))
        length = bar.length_ms(interval) if interval else _smallest_step(symbols, times)
        if length is None:
            raise ValueError(f"{interval!r} is no interval")
        self.interval_ms = length
        self.origin_ms = bar.origin_ms(bar.interval_name(length)) + offset_minutes * 60_000
        g, rest = np.divmod(times - self.origin_ms, self.interval_ms)
        if rest.any():
            wrong = int(times[np.flatnonzero(rest)[0]])
            raise ValueError(f"open_time {wrong} is not on the grid of {self.interval_ms} ms")
        self.first_g = int(g.min())
        self.n_bars = int(g.max()) - self.first_g + 1
        places = pc.index_in(symbols, pa.array(self.symbols)).to_numpy()
        self.begins = np.full(len(self.symbols), np.iinfo(np.int64).max)
        np.minimum.at(self.begins, places, g)

    def bars(self, fields: Sequence[str], begin: int, n: int) -> tuple[F64, F64]:
        """(float64[n, n_fields, n_symbols], members float64[n, n_symbols]) of bars from `begin` on."""
        low = self.origin_ms + (self.first_g + begin) * self.interval_ms
        high = low + n * self.interval_ms
        kind = self._data.schema.field(self._time).type
        time = ds.field(self._time)
        part = (time >= _time_scalar(low, kind)) & (time < _time_scalar(high, kind))
        wanted = ["symbol", self._time, *(["status"] if self._has_status else []), *fields]
        table = self._data.to_table(columns=list(dict.fromkeys(wanted)), filter=part)
        row = (_milliseconds(table[self._time]) - low) // self.interval_ms
        places = pc.index_in(table["symbol"].cast(pa.string()), pa.array(self.symbols)).to_numpy()
        out = np.full((n, len(fields), len(self.symbols)), np.nan)
        members = np.zeros((n, len(self.symbols)))
        there = np.ones(len(row), bool)
        if self._has_status:
            there = table["status"].to_numpy() == 1
        seen = row[there] * len(self.symbols) + places[there]
        if len(np.unique(seen)) != len(seen):
            values, counts = np.unique(seen, return_counts=True)
            at = int(values[counts > 1][0])
            when = low + at // len(self.symbols) * self.interval_ms
            raise ValueError(f"{self.symbols[at % len(self.symbols)]} has two bars of open_time {when}")
        for k, name in enumerate(fields):
            out[row[there], k, places[there]] = table[name].cast(pa.float64()).to_numpy()[there]
        members[row[there], places[there]] = 1.0
        return out, members

    def static(self, name: str, given: Mapping[str, float] | None) -> F64:
        """Each symbol's value of a static field."""
        values = default_static(name, self.symbols) if given is None else given
        return np.array([values.get(symbol, values.get("", np.nan)) for symbol in self.symbols])


def _dataset(source: Any) -> Any:
    if isinstance(source, str | Path):
        path = Path(source)
        if not path.exists():
            raise ValueError(f"{path}: no such file or folder")
        return _of_files(path)
    if isinstance(source, pa.Table):
        return ds.dataset(source)
    if hasattr(source, "to_arrow"):  # polars
        return ds.dataset(source.to_arrow())
    if type(source).__module__.startswith("pandas"):
        return ds.dataset(pa.Table.from_pandas(source))
    raise ValueError(f"a frame or the path of parquet files is expected, found {type(source).__name__}")


def _of_files(path: Path) -> Any:
    """All files with the columns that any of them has, each of the widest of its types."""
    schemas = [part.physical_schema for part in ds.dataset(path, format="parquet").get_fragments()]
    if len(schemas) < 2:
        return ds.dataset(path, format="parquet")
    try:
        widest = pa.unify_schemas(schemas, promote_options="permissive")
    except pa.ArrowTypeError as error:
        raise ValueError(f"{path}: its files differ in the type of a column: {error}") from error
    return ds.dataset(path, schema=widest, format="parquet")


def _milliseconds(column: Any) -> I64:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ms", column.type.tz), safe=False).cast(pa.int64())
    made: I64 = column.cast(pa.int64()).to_numpy().astype(np.int64)
    return made


def _time_scalar(ms: int, kind: Any) -> Any:
    if pa.types.is_timestamp(kind):
        return pa.scalar(ms, pa.int64()).cast(pa.timestamp("ms", kind.tz)).cast(kind)
    return pa.scalar(ms, kind)


def _smallest_step(symbols: Any, times: I64) -> int:
    codes = symbols.combine_chunks().dictionary_encode()
    codes = codes.combine_chunks() if isinstance(codes, pa.ChunkedArray) else codes
    order = np.lexsort((times, codes.indices.to_numpy()))
    same = np.diff(codes.indices.to_numpy()[order]) == 0
    steps_ms = np.diff(times[order])[same]
    steps_ms = steps_ms[steps_ms > 0]
    if not len(steps_ms):
        raise ValueError("no symbol has two bars: say the interval")
    return int(steps_ms.min())
