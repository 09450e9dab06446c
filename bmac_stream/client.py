"""What a strategy imports: the bars of a running collector's store, in place, read-only.

    store = bmac_stream.attach("usdt_perp_1m")
    btc = store["BTCUSDT"]
    btc.close[-100:]                                          raw view: see "Raw views" below
    btc.read(lambda bars: bars.close.mean(), n=100)           consistent, else Lagging
    store.read_panel("close", momentum, n=21)                 the same for the whole market
    run_time = store.wait(timeout_s=90)                       blocks until the market's next bar close

Any number of processes may attach; none can disturb the collector or another reader (the map is read-only).
A Store belongs to one thread or one event loop, and to one process: it is not pickled, others attach too.

Times are int64 ms UTC. `open_time` is a bar's left edge, `run_time = open_time + interval` its right edge:
from then on it may be used. A bar that the exchange does not have (absent) or that was not there at its
deadline (pending) is NaN in every column; `status` says which (shm.Status). A pending bar that arrives later
is filled in; `store.corrections()` tells.

**Raw views** (`btc.close`, `btc.column(...)`, `store.panel(...)`) are windows on memory in which the
collector goes on writing. A view keeps showing the bars it was made for until about `slack` (100 by
default) more bars have closed; then its oldest values are overwritten. A correction changes a value in
place. So: use a view at once, take a new one at the next bar, copy what is to be kept; and where a torn
value would cost money, use `read` / `read_panel`, or validate what was computed: `with btc.guard(100) as
bars: ...`, or `token = btc.token()` before and `btc.valid(token)` after. No view can be written to.

Errors: WriterDead and WriterStalled (`wait`, `check`) name the store and how long it has been silent;
StoreRetired means that the collector moved on to a new file: `store.reattach()`; Lagging, that this reader
was overtaken more often than it may retry.
"""

import json
import math
import pwd
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, NoReturn, Self, TypeVar, cast

import numpy as np
import numpy.typing as npt

from bmac_stream.bar import interval_name
from bmac_stream.errors import (
    Lagging,
    SegmentMismatch,
    ShmError,
    StoreNotFound,
    StoreRetired,
    SymbolNotFound,
    TableNotFound,
    WriterDead,
)
from shm import PanelToken, Spec, Status, StoreReader, Token
from shm.directory import slot_word
from shm.jit import StoreArrays
from shm.layout import SLOT_COUNT, first_cell
from shm.ring import peek

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from bmac_stream.factors import Factors

__all__ = ["Bars", "Correction", "FormingBar", "RunTime", "Store", "SymbolRows", "SymbolView", "attach"]

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
T = TypeVar("T")
V = TypeVar("V", F64, float)

RETRIES: Final = 3
"""How often a consistent read that was overtaken is tried again before Lagging."""


class RunTime(int):
    """The right edge of a bar that the whole market has reached: int, ms UTC.

    missing  symbols whose bar was not there at the deadline (pending: NaN now, filled in later), sorted
    absent   symbols for which the exchange itself has no bar, sorted
    skipped  run_times that came and went since the last one this reader was told; 0 if it keeps up
    """

    missing: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    skipped: int = 0


class Correction(NamedTuple):
    """A closed bar that changed after it was published (late fill or revision)."""

    symbol: str
    open_time: int
    old_status: Status
    new_status: Status


class SymbolRows(NamedTuple):
    """A copy of consecutive bars of one symbol: values float64 [n_columns, n], status uint8 [n]; bar i is
    number g0 + i."""

    symbol: str
    g0: int
    values: F64
    status: U8


class _Column(Generic[V]):
    """Reads the column of its own name from an object with `column(name)`."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, bars: Any, owner: type | None = None) -> V:
        if bars is None:
            return cast(V, self)  # on the class itself: the descriptor, for help()
        try:
            return cast(V, bars.column(self.name))
        except KeyError:
            raise AttributeError(f"this store has no column {self.name}") from None


class Bars:
    """The last n bars of one symbol, oldest first: what `read` passes to its function.

    Columns are float64 [n] views of shared memory; what is kept beyond the call must be copied
    (an array that is returned and shares memory with the store may change later).
    """

    __slots__ = ("_index", "_rows", "g0", "interval_ms", "origin_ms")

    open = _Column[F64]()
    high = _Column[F64]()
    low = _Column[F64]()
    close = _Column[F64]()
    volume = _Column[F64]()
    quote_volume = _Column[F64]()
    trade_num = _Column[F64]()
    taker_buy_base_asset_volume = _Column[F64]()
    taker_buy_quote_asset_volume = _Column[F64]()
    funding_rate = _Column[F64]()
    next_funding_time = _Column[F64]()
    status = _Column[F64]()

    def __init__(self, rows: F64, index: dict[str, int], g0: int, interval_ms: int, origin_ms: int) -> None:
        self._rows = rows
        self._index = index
        self.g0 = g0
        self.interval_ms = interval_ms
        self.origin_ms = origin_ms

    def __len__(self) -> int:
        return int(self._rows.shape[1])

    def column(self, name: str) -> F64:
        """A column by name, float64 [n]; `status` too. KeyError if the store has none of that name."""
        column: F64 = self._rows[self._index[name]]
        return column

    @property
    def values(self) -> F64:
        """All columns, float64 [n_columns + 1, n], status last."""
        return self._rows

    @property
    def open_time(self) -> I64:
        """Left edges, int64 [n], ms UTC."""
        g: I64 = np.arange(self.g0, self.g0 + len(self), dtype=np.int64)
        return g * self.interval_ms + self.origin_ms

    @property
    def run_time(self) -> I64:
        """Right edges, int64 [n], ms UTC."""
        return self.open_time + self.interval_ms


class FormingBar:
    """The bar that is open now: a copy, float values under the column names. It is not closed and will
    change; no other method of this module mixes it with closed bars."""

    __slots__ = ("_index", "_values", "open_time", "run_time")

    is_closed: Final = False

    open = _Column[float]()
    high = _Column[float]()
    low = _Column[float]()
    close = _Column[float]()
    volume = _Column[float]()
    quote_volume = _Column[float]()
    trade_num = _Column[float]()
    taker_buy_base_asset_volume = _Column[float]()
    taker_buy_quote_asset_volume = _Column[float]()
    funding_rate = _Column[float]()
    next_funding_time = _Column[float]()

    def __init__(self, values: F64, index: dict[str, int], open_time: int, run_time: int) -> None:
        self._values = values
        self._index = index
        self.open_time = open_time
        """Left edge, ms UTC."""
        self.run_time = run_time
        """When it will be closed, ms UTC."""

    def column(self, name: str) -> float:
        """A value by column name. KeyError if the store has none of that name."""
        return float(self._values[self._index[name]])

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={self.column(name):g}" for name in list(self._index)[: len(self._values)])
        return f"FormingBar(open_time={self.open_time}, {values})"


class _File(NamedTuple):
    """The segment that a view is of. A re-attached store has another one; its old views keep theirs."""

    name: str
    data: F64
    places: dict[str, int]
    cap: int
    window: int
    slack: int
    interval_ms: int
    origin_ms: int

    def open_time_of(self, g: int) -> int:
        return self.origin_ms + g * self.interval_ms


class SymbolView:
    """One symbol of a file. Its columns are zero-copy views of the last `window` closed bars.

    `view.close` is float64 [n], read-only, oldest first, n = the bars there are, at most the store's window.
    How long such a raw view may be held: see "Raw views" at the top of this module.
    Valid until the store is re-attached; after a delisting it goes on, as NaN.
    """

    __slots__ = ("_count_at", "_file", "_first_g", "_reader", "_rows", "_words", "slot", "symbol")

    open = _Column[F64]()
    high = _Column[F64]()
    low = _Column[F64]()
    close = _Column[F64]()
    volume = _Column[F64]()
    quote_volume = _Column[F64]()
    trade_num = _Column[F64]()
    taker_buy_base_asset_volume = _Column[F64]()
    taker_buy_quote_asset_volume = _Column[F64]()
    funding_rate = _Column[F64]()
    next_funding_time = _Column[F64]()
    status = _Column[F64]()

    def __init__(self, reader: StoreReader, file: _File, symbol: str, slot: int) -> None:
        self._reader = reader
        self._file = file
        self._first_g = reader.first_g(slot)
        # The way to the count without `reader.count`'s checks: 0.3 us instead of 0.8 for every `view.close`.
        self._words = reader.words
        self._count_at = slot_word(slot, SLOT_COUNT)
        self._rows: dict[str, F64] = {name: file.data[slot, row] for name, row in file.places.items()}
        self.symbol = symbol
        self.slot = slot
        """The symbol's row in every panel."""

    def __repr__(self) -> str:
        return f"<{self.symbol} of store {self._file.name!r}, {self.count} bars>"

    def __reduce__(self) -> NoReturn:
        # pickle would copy the arrays: bars that stand still
        raise TypeError("a SymbolView cannot be pickled or copied: attach in the other process")

    @property
    def count(self) -> int:
        """Bars there are: at most the store's window, fewer for a young symbol."""
        return min(self._file.window, peek(self._words, self._count_at) - self._first_g)

    def __len__(self) -> int:
        return self.count

    @property
    def end_g(self) -> int:
        """Number of the next bar to come: one more than the newest closed bar's."""
        return int(peek(self._words, self._count_at))

    @property
    def first_open_time(self) -> int:
        """open_time of the oldest bar there is, ms UTC."""
        return self._file.open_time_of(peek(self._words, self._count_at) - self.count)

    @property
    def last_run_time(self) -> int:
        """run_time of the newest closed bar, ms UTC."""
        return self._file.open_time_of(peek(self._words, self._count_at))

    @property
    def open_time(self) -> I64:
        """Left edges of the bars there are, int64 [n], ms UTC (computed, a copy)."""
        end, n = self._span(None)
        return self._bars(end, n).open_time

    @property
    def run_time(self) -> I64:
        """Right edges of the bars there are, int64 [n], ms UTC (computed, a copy)."""
        return self.open_time + self._file.interval_ms

    def column(self, name: str, n: int | None = None) -> F64:
        """Raw view of the last n bars of a column (all there are by default). KeyError: no such column."""
        row = self._rows[name]
        end, n = self._span(n)
        low = first_cell(end, n, self._file.cap)
        return row[low : low + n]

    def bars(self, n: int | None = None) -> Bars:
        """Raw view of the last n bars, all columns (fewer if the symbol is younger)."""
        return self._bars(*self._span(n))

    def read(self, fn: Callable[[Bars], T], n: int | None = None, *, retries: int = RETRIES) -> T:
        """`fn` of the last n bars (all there are by default; fewer if the symbol is younger), consistent.

        fn is called again, up to `retries` times, if bars were overwritten or corrected meanwhile; an error
        it raises while that happened counts as that. Its result is only returned if every value it may have
        seen was right; it must not hold views (copy what is to be kept).
        ValueError if n is more than the store's window; Lagging if every try was overtaken; WriterDead if the
        collector died within a correction.
        """
        _, n = self._span(n)
        if n == 0:
            return fn(self._bars(self.end_g, 0))
        try:
            return self._reader.read_at(
                self.slot, lambda token: fn(self._bars(token.g_end, n)), n, retries=retries
            )
        except Lagging as error:
            raise _explained(self._reader, error) from None

    def copy(self, n: int | None = None) -> SymbolRows:
        """A consistent copy of the last n bars (all there are by default)."""
        return self.read(self._copied, n)

    def copy_until(self, end_g: int, n: int) -> SymbolRows:
        """A consistent copy of n bars before bar number `end_g`, however far the symbol is past it; fewer if
        it is younger, or if they are no longer held. Lagging if bars kept closing while it was made."""
        for _ in range(RETRIES + 1):
            rows, held = self._copy_back(end_g, n)
            stop = min(max(end_g - rows.g0, 0), held)
            part = slice(max(stop - n, 0), stop)
            # else more than that one bar was published meanwhile, and older ones are there
            if stop >= n or rows.g0 <= self._first_g or held >= self._file.cap - 1:
                return SymbolRows(self.symbol, rows.g0 + part.start, rows.values[:, part], rows.status[part])
        raise _explained(
            self._reader,
            Lagging(
                f"store {self._file.name!r}, {self.symbol}: bars closed while the {n} before number {end_g}"
                f" were copied, {RETRIES + 1} times"
            ),
        )

    def _copy_back(self, end_g: int, n: int) -> tuple[SymbolRows, int]:
        """The newest bars, so many that n of them are before bar number `end_g`, and how many they are."""
        count = self.end_g
        # one more, for a bar that is published meanwhile
        held = min(n + max(count - end_g, 0) + 1, count - self._first_g, self._file.cap - 1)
        if held <= 0:
            return self._copied(self._bars(count, 0)), 0
        rows = self._reader.read_at(
            self.slot, lambda token: self._copied(self._bars(token.g_end, held)), held, retries=RETRIES
        )
        return rows, held

    def _copied(self, bars: Bars) -> SymbolRows:
        values = bars.values
        return SymbolRows(self.symbol, bars.g0, values[:-1].copy(), values[-1].astype(np.uint8))

    def token(self, n: int | None = None) -> Token:
        """To be taken before a raw view of the last n bars (default: the window) is used."""
        return self._reader.token(self.slot, n)

    def valid(self, token: Token) -> bool:
        """Whether everything that was read since `token` was taken was right."""
        return self._reader.valid(token)

    @contextmanager
    def guard(self, n: int | None = None) -> Iterator[Bars]:
        """`with btc.guard(100) as bars:` validates at the end: Lagging if bars were overwritten or corrected
        meanwhile, and whatever the block computed is not to be used. It cannot retry; `read` can."""
        _, n = self._span(n)
        token = self._reader.token(self.slot, max(n, 1))
        yield self._bars(token.g_end, n)
        if not self._reader.valid(token):
            raise Lagging(f"store {self._file.name!r}, {self.symbol}: bars changed while they were read")

    @property
    def forming(self) -> FormingBar | None:
        """The bar that is open now, a copy; None if there was no update since the last close."""
        found = self._reader.read_forming(self.slot)
        if found is None:
            return None
        g, values = found
        if g < peek(self._words, self._count_at):
            return None
        file = self._file
        return FormingBar(values, self._file.places, file.open_time_of(g), file.open_time_of(g + 1))

    def _span(self, n: int | None) -> tuple[int, int]:
        """(g_end, number of bars): what there is of the last n."""
        end = peek(self._words, self._count_at)
        window = self._file.window
        if n is None:
            n = window
        elif not 0 < n <= window:
            raise ValueError(f"n must be 1 to {window} (the window of store {self._file.name!r}), found {n}")
        return end, min(n, end - self._first_g)

    def _bars(self, end: int, n: int) -> Bars:
        file = self._file
        low = first_cell(end, n, file.cap)
        rows = file.data[self.slot, :, low : low + n]
        return Bars(rows, self._file.places, end - n, file.interval_ms, file.origin_ms)


class Store:
    """A collector's store, attached read-only. Made by `attach`."""

    def __init__(
        self, reader: StoreReader, name: str, directory: str | Path, owner: int | None = None
    ) -> None:
        self._owner = owner
        self._factors: Factors | None = None
        self._funding: Store | None = None
        self._told_beside: dict[str, int] = {}
        """What a store beside the bars told last before its file was left: kind -> run_time, ms UTC."""
        self.name = name
        self.directory = directory
        self._take(reader)
        self._seen_g = reader.complete_g

    def _take(self, reader: StoreReader) -> None:
        spec: Spec = reader.spec
        self.reader = reader
        """The shm.StoreReader below, for what this class does not offer."""
        self.spec = spec
        """What was fixed when the store was made: columns, window, slack, source, ..."""
        self.data: F64 = reader.data
        """float64 [max_symbols, n_columns + 1, 2 * cap], read-only, raw: docs/shm-format.md."""
        self.cap = self.data.shape[2] // 2
        self.window = spec.window
        """Bars that a view of one symbol holds."""
        self.columns = spec.columns
        """Names of the columns, without status."""
        self.column_index = {name: i for i, name in enumerate((*spec.columns, "status"))}
        self.interval_ms = spec.interval_ms
        self.origin_ms = spec.origin_ms
        self._file = _File(
            self.name,
            self.data,
            self.column_index,
            self.cap,
            spec.window,
            spec.slack,
            spec.interval_ms,
            spec.origin_ms,
        )
        self._views: dict[str, SymbolView] = {}
        self._directory_version = -1
        self._symbols: dict[str, int] = {}
        self._panel_symbols: tuple[str | None, ...] = ()

    # ---- what it is

    @property
    def source(self) -> str:
        """Which exchange, or which embedded market, the bars are of."""
        return self.spec.source

    @property
    def interval(self) -> str:
        """Length of a bar, as Binance names it ("1m"); of lengths that Binance does not have "45m", "3h"."""
        return interval_name(self.interval_ms)

    @property
    def meta(self) -> dict[str, Any]:
        """What the collector noted when it made the store (trade_type, interval, ...)."""
        meta: dict[str, Any] = json.loads(self.spec.meta)
        return meta

    def counters(self) -> dict[str, int]:
        """What the collector counts: frames, repairs, reconnects, weight, ... (names as in `status`)."""
        return self.reader.counters()

    @property
    def phase(self) -> str:
        """What the collector does: "history", "live", "stopping", "closed"."""
        return self.reader.phase

    @property
    def silence_s(self) -> float:
        """Seconds since the collector's last heartbeat."""
        return self.reader.silence_s

    def check(self, max_silence_s: float | None = None) -> None:
        """Raise if nobody writes: WriterDead, WriterStalled (silent for longer than `max_silence_s`) or
        StoreRetired. The message names the store and how long it has been silent."""
        self.reader.check_writer(max_silence_s)

    @property
    def retired(self) -> bool:
        """Whether the writer went on with another file, or this one was removed: what is in it stays as it
        is, and passes for new. ShmError once the store is closed."""
        _ = self.reader.words  # closed?
        try:
            self.reader.check_writer(math.inf)
        except StoreRetired:
            return True
        except WriterDead:
            return False
        return False

    @property
    def arrays(self) -> StoreArrays:
        """What the functions of shm.jit take: for reading within @njit code of one's own
        (examples/own_njit.py)."""
        return self.reader.arrays

    def open_time_of(self, g: int) -> int:
        """open_time of bar number g, ms UTC."""
        return self.origin_ms + g * self.interval_ms

    # ---- symbols

    @property
    def symbols(self) -> dict[str, int]:
        """Readable symbols -> row in every panel, in the order of rows. Follows listings and delistings."""
        version = self.reader.directory_version
        if version != self._directory_version:
            found = sorted(self.reader.symbols().items(), key=lambda item: item[1])
            names: list[str | None] = [None] * self.reader.n_slots
            for symbol, slot in found:
                names[slot] = symbol
            self._symbols, self._panel_symbols = dict(found), tuple(names)
            self._directory_version = version
        return self._symbols

    @property
    def panel_symbols(self) -> tuple[str | None, ...]:
        """The symbol of each row of a panel; None for a row that is delisted, loading or free."""
        _ = self.symbols
        return self._panel_symbols

    @property
    def slots(self) -> I64:
        """The rows of a panel that hold a readable symbol, int64, ascending: `panel[slots]` drops the others
        (a copy). Take it before the panel: rows are only ever added."""
        return np.fromiter(self.symbols.values(), np.int64, len(self.symbols))

    def __contains__(self, symbol: str) -> bool:
        return symbol in self.symbols

    def __len__(self) -> int:
        return len(self.symbols)

    def __iter__(self) -> Iterator[str]:
        return iter(self.symbols)

    def __getitem__(self, symbol: str) -> SymbolView:
        """The symbol's view. SymbolNotFound (a KeyError) if it is not readable (now)."""
        slot = self.symbols.get(symbol)
        if slot is None:
            raise SymbolNotFound(f"store {self.name!r} has no symbol {symbol!r} among its {len(self)}")
        view = self._views.get(symbol)
        if view is None or view.slot != slot:  # listed again: another slot
            view = self._views[symbol] = SymbolView(self.reader, self._file, symbol, slot)
        return view

    # ---- the whole market

    @property
    def run_time(self) -> int:
        """The newest run_time that the whole market has reached, ms UTC; 0 before the first."""
        g = self.reader.complete_g
        return self.open_time_of(g + 1) if g >= 0 else 0

    def panel(self, column: str, n: int, *, run_time: int | None = None) -> F64:
        """Raw view of one column of the whole market: float64 [n_slots, n], newest bar last.

        Row i is `store.panel_symbols[i]` (rows of None hold nothing of use: NaN after a delisting, parts of
        a history that is still being loaded), and the last
        column is the bar that ended at `run_time` (by default the newest that the whole market has reached).
        How long it may be held: "Raw views" at the top of this module; to validate: `panel_token()` before,
        `panel_valid(token)` after. Lagging if run_time - n bars is not within the window, and before the
        market's first run_time.
        """
        row, end = self.column_index[column], self._panel_end(n, run_time)
        return self._panel(row, n, end, self.reader.n_slots)

    def read_panel(
        self,
        columns: str | Sequence[str],
        fn: Callable[..., T],
        n: int,
        *,
        run_time: int | None = None,
        retries: int = RETRIES,
    ) -> T:
        """`fn(panel)` of one column, or `fn(panel, panel, ...)` of several, consistent as `SymbolView.read`.

        Each panel is float64 [n_slots, n] as from `panel`; all end at the same run_time. Give `run_time` as
        `wait` returned it, and the panel ends there even if the next bar has closed since.
        """
        names = (columns,) if isinstance(columns, str) else tuple(columns)
        rows = [self.column_index[name] for name in names]
        end = self._panel_end(n, run_time)

        def panels(token: PanelToken) -> T:
            last = token.g_end if run_time is None else end
            if last - n < token.oldest:
                raise self._too_old(n, last)
            return fn(*(self._panel(row, n, last, token.n_slots) for row in rows))

        span = n if run_time is None else self.window
        try:
            return self.reader.read_panel_at(panels, span, retries=retries)
        except Lagging as error:
            raise _explained(self.reader, error) from None

    def panel_token(self, n: int | None = None) -> PanelToken:
        """To be taken before raw panels of the last n bars (default: the window) are used."""
        return self.reader.panel_token(n)

    def panel_valid(self, token: PanelToken) -> bool:
        """Whether everything that was read from panels since `token` was taken was right."""
        return self.reader.panel_valid(token)

    def _panel_end(self, n: int, run_time: int | None) -> int:
        newest = self.reader.complete_g + 1
        if not 0 < n <= self.window:
            raise ValueError(f"n must be 1 to {self.window} (the window of store {self.name!r}), found {n}")
        if newest == 0:
            # cells are taken by number: what lies in those "before bar 0" are bars of any time
            raise Lagging(f"store {self.name!r} has no panel before its first run_time: `wait` for it")
        if run_time is None:
            return newest
        end, rest = divmod(int(run_time) - self.origin_ms, self.interval_ms)
        if rest or end > newest:
            raise ValueError(
                f"store {self.name!r}: {int(run_time)} is no run_time of {self.interval} that was reached"
            )
        if end - n < newest - self.window:
            raise _explained(self.reader, self._too_old(n, end))
        return end

    def _too_old(self, n: int, end: int) -> Lagging:
        return Lagging(
            f"store {self.name!r}: {n} bars up to run_time {self.open_time_of(end)} are no longer within"
            f" the window of {self.window} bars"
        )

    def _panel(self, row: int, n: int, end: int, n_slots: int) -> F64:
        low = first_cell(end, n, self.cap)
        return self.data[:n_slots, row, low : low + n]

    # ---- waiting

    def wait(self, timeout_s: float = 90.0, *, seen: int | None = None, spin_us: int = 0) -> RunTime:
        """Block until the market's next run_time, and return it with who is missing.

        seen     the run_time one has already: returns at once if the market is further. By default the one
                 that the last `wait` returned, or that stood when the store was attached
        spin_us  look for so long before sleeping: saves the kernel's wake-up (about 20 us) and costs a core

        A market that is ahead is told at once; how many run_times were passed over is `.skipped`.
        TimeoutError after `timeout_s`; WriterDead, WriterStalled or StoreRetired as soon as that is the case.
        """
        seen_g = self._seen_g if seen is None else self._g_of(seen)
        try:
            g = self.reader.wait(seen_g, timeout_s, spin_us=spin_us)
        except TimeoutError as error:
            raise self._no_bar(timeout_s) from error
        self._seen_g = g
        return self._arrived(g, seen_g)

    async def run_times(
        self, timeout_s: float | None = None, *, seen: int | None = None
    ) -> AsyncIterator[RunTime]:
        """`async for run_time in store.run_times():` yields each run_time as it is reached, from the next on.

        seen       the run_time one has already, to go on after an error without a gap: what came since is
                   told at once, with `.skipped`
        timeout_s  TimeoutError if the next does not come within; by default only a dead or stalled collector
                   ends the wait (WriterDead, WriterStalled, StoreRetired).
        A loop body that takes longer than a bar finds the newest, with `.skipped`.
        """
        seen_g = self.reader.complete_g if seen is None else self._g_of(seen)
        while True:
            reader = self.reader
            try:
                g = await reader.wait_async(seen_g, 60.0 if timeout_s is None else timeout_s)
            except TimeoutError as error:
                if timeout_s is None:
                    continue
                raise self._no_bar(timeout_s) from error
            except ShmError:
                if self.reader is reader:
                    raise
                continue  # another task has attached again: the same bars, by the same numbers
            yield self._arrived(g, seen_g)
            seen_g = g

    def wait_symbol(
        self, symbol: str, timeout_s: float = 90.0, *, seen: int | None = None, spin_us: int = 0
    ) -> int:
        """Block until `symbol` alone has its next closed bar; returns that bar's run_time, ms UTC.

        seen     the run_time one has already, by default the newest there is: give it in a loop, else a bar
                 that closes between two calls is passed over
        spin_us  look for so long before sleeping. A sleeper is woken when closing frames have come, which is
                 some milliseconds before the market is complete, and looks every half a second besides
        Errors as in `wait`.
        """
        view = self[symbol]
        count = self.reader.count(view.slot) if seen is None else self._g_of(seen) + 1
        try:
            end = self.reader.wait_slot(view.slot, count, timeout_s, spin_us=spin_us)
        except TimeoutError as error:
            raise self._no_bar(timeout_s, symbol) from error
        return self.open_time_of(end)

    def corrections(self, since: int = 0) -> tuple[list[Correction], int]:
        """Closed bars that changed, oldest first, and what to pass as `since` next time.

        since  0: all since the file was made; `store.n_corrections`: only those to come
        Lagging if more changed since than the journal holds: read everything again, go on from there.
        """
        entries, following = self.reader.corrections(since)
        names = {entry.slot: entry.symbol for entry in self.reader.directory()} if entries else {}
        found = [
            Correction(names[slot], self.open_time_of(g), Status(old), Status(new))
            for _, slot, g, old, new in entries
        ]
        return found, following

    @property
    def n_corrections(self) -> int:
        """Corrections since the file was made."""
        return self.reader.n_corrections

    def _g_of(self, run_time: int) -> int:
        return (int(run_time) - self.origin_ms) // self.interval_ms - 1

    def _arrived(self, g: int, seen_g: int) -> RunTime:
        names = self.panel_symbols
        # A copy of one cell per symbol. It may be overwritten `slack` bars later: then nothing is said of it.
        status = self.data[: len(names), -1, first_cell(g + 1, 1, self.cap)].copy()
        run_time = RunTime(self.open_time_of(g + 1))
        run_time.skipped = g - seen_g - 1 if seen_g >= 0 else 0
        for field, value in (("missing", Status.PENDING), ("absent", Status.ABSENT)):
            late = np.flatnonzero(status == value)
            if late.size:
                setattr(run_time, field, tuple(sorted(name for i in late if (name := names[i]))))
        return run_time

    def _no_bar(self, timeout_s: float, symbol: str = "") -> TimeoutError:
        who = f"{symbol} of store {self.name!r}" if symbol else f"store {self.name!r}"
        return TimeoutError(
            f"{who}: no bar closed within {timeout_s:g} s; the newest run_time is {self.run_time},"
            f" the collector is in phase {self.phase!r}, last heartbeat {self.silence_s:.1f} s ago"
        )

    # ---- factors

    @property
    def factors(self) -> "Factors":
        """What an engine process computes on this store (`python -m bmac_stream.engine`): see
        bmac_stream.factors. Attached when first asked for, and anew when its engine went on with another
        file (for which it is waited, 2 s at most): ask for it at every run_time. `wait` then goes on from
        what was told before.

        StoreNotFound if there is none, or it is of other bars (store, source, interval or origin).
        WriterDead if the collector writes and no engine does: its numbers are of the past and would pass for
        new ones. Of a collector that ended too they can be read, as its bars can; and always by
        `attach_factors`. (What was attached before the engine died can still be read, as bars can; `wait`
        raises.)
        """
        alive = self.reader.writer_alive
        found = self._factors
        if found is None or not _is_usable(found):
            from bmac_stream.factors import SETTLE_S, SUFFIX, attach_factors

            self._drop_factors()
            made = attach_factors(
                self.name + SUFFIX,
                directory=self.directory,
                timeout_s=0.0 if found is None else SETTLE_S,  # its engine is making the next
                max_silence_s=self.reader.max_silence_s,
                owner=self._owner,
            )
            try:
                for store in made.stores:
                    self._check_beside(store, "factors")
            except BaseException:
                made.close()
                raise
            made.last._tell_after(self._told_beside.get("factors", 0))
            found = self._factors = made
        # an engine that goes on takes the names first, then it lets go: `retired` is looked at last
        if alive and not found.own.reader.writer_alive and not found.own.retired:
            own = found.own
            raise WriterDead(
                f"store {own.name!r}: no engine writes it, silent for {own.silence_s:.1f} s, while store"
                f" {self.name!r} goes on"
            )
        return found

    def _check_beside(self, found: "Store", kind: str) -> None:
        """StoreNotFound if it was not made from these bars."""
        meta = found.meta
        same = (found.source, found.interval_ms, found.origin_ms, meta.get("bars", self.name))
        if meta.get("kind") != kind or same != (self.source, self.interval_ms, self.origin_ms, self.name):
            raise StoreNotFound(
                f"store {found.name!r} is not the {kind} of store {self.name!r} ({_said(self.spec)}): it is"
                f" of {meta.get('bars', 'none')!r} ({_said(found.spec)})"
            )

    def _drop_factors(self) -> None:
        if self._factors is not None:
            self._told_beside["factors"] = self._factors.last._told
            self._factors.close()
            self._factors = None

    def _drop_funding(self) -> None:
        if self._funding is not None:
            self._told_beside["funding"] = self._funding._told
            self._funding.close()
            self._funding = None

    @property
    def _told(self) -> int:
        """The run_time that the next `wait` goes on from, ms UTC; 0: none."""
        return self.open_time_of(self._seen_g + 1) if self._seen_g >= 0 else 0

    def _tell_after(self, run_time: int) -> None:
        """`wait` goes on from here; 0: as it is."""
        if run_time:
            self._seen_g = self._g_of(run_time)

    # ---- what the collector writes beside it

    def exchange_info(self) -> "pa.Table":
        """Tick, lot, least notional, contract, status and listing of every collected symbol, as exchangeInfo
        last said: see bmac_stream.tables. TableNotFound (a LookupError) if there is none yet. A resampled
        store has its base's."""
        from bmac_stream.tables import read_table

        meta = self.meta
        if meta.get("kind") != "resampled":
            return read_table(self.reader, self._owner)
        try:
            with attach(str(meta["base"]), directory=self.directory, owner=self._owner) as base:
                return base.exchange_info()
        except StoreNotFound as error:
            raise TableNotFound(f"store {self.name!r}: the store it is made from is gone: {error}") from error

    @property
    def funding(self) -> "Store":
        """Funding rates beside the bars: a store of its own, with the columns of bmac_stream.funding.
        Attached when first asked for, and anew when its collector went on with another file. StoreNotFound
        if there is none (the config needs `"funding_rate": true`), or if the collector that runs no longer
        keeps it."""
        alive = self.reader.writer_alive
        found = self._funding
        if found is None or not _is_usable(found):
            from bmac_stream.funding import SUFFIX

            self._drop_funding()
            made = attach(
                self.name + SUFFIX,
                directory=self.directory,
                max_silence_s=self.reader.max_silence_s,
                owner=self._owner,
            )
            try:
                self._check_beside(made, "funding")
            except BaseException:
                made.close()
                raise
            made._tell_after(self._told_beside.get("funding", 0))
            found = self._funding = made
        if alive and not found.reader.writer_alive and not found.retired:
            # its rates are of the past and would pass for new ones
            raise StoreNotFound(
                f'store {found.name!r} is no longer written: "funding_rate" is off, or about to begin'
            )
        return found

    @property
    def units(self) -> dict[str, str]:
        """What the amounts of a store of bars are in, by column: "base", "quote" (of the symbol's assets) or
        "contracts" (COIN-M). {} for other stores."""
        from bmac_stream.binance.markets import MARKETS

        market = MARKETS.get(self.meta.get("market", ""))
        bars = market is not None and set(market.units) <= set(self.columns)
        return dict(market.units) if market is not None and bars else {}

    # ---- frames: copies

    def to_pandas(self, symbol: str | None = None, n: int | None = None) -> "pd.DataFrame":
        """The last n bars (all by default) of one symbol, or of the whole market, as BMAC's frame:
        see bmac_stream.frames.to_pandas."""
        from bmac_stream import frames

        return frames.to_pandas(self, symbol, n)

    def to_polars(self, symbol: str | None = None, n: int | None = None) -> "pl.DataFrame":
        """The same as a polars frame: see bmac_stream.frames.to_polars."""
        from bmac_stream import frames

        return frames.to_polars(self, symbol, n)

    def to_arrow(self, symbol: str | None = None, n: int | None = None) -> "pa.Table":
        """The same as an Arrow table: see bmac_stream.frames.to_arrow."""
        from bmac_stream import frames

        return frames.to_arrow(self, symbol, n)

    # ---- life

    def reattach(self, timeout_s: float = 10.0) -> None:
        """Attach again by name after StoreRetired. Symbol views taken before belong to the old file:
        take new ones; `factors` and `funding` are attached anew when they are asked for. Bars seen before are
        not told again by `wait`. Corrections are counted anew: go on from 0 or `n_corrections`.

        SegmentMismatch if the new file is of another source, interval or origin: the store stays as it was,
        and whoever wants those bars attaches to them."""
        old = self.reader
        new = _attach_reader(self.name, self.directory, timeout_s, old.max_silence_s, self._owner)
        expected, found = _said(self.spec), _said(new.spec)
        if expected != found:
            new.close()
            raise SegmentMismatch(
                f"{old.path}: expected {expected}, found {found}; `attach` takes it for what it is"
            )
        self._drop_factors()
        self._drop_funding()
        self._take(new)
        old.close()

    def close(self) -> None:
        """Let go of the store. Views that are still held stay readable (and no longer change hands)."""
        self._drop_factors()
        self._drop_funding()
        self.reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        # pickle would copy the arrays: a store that stands still and says that it is alive
        raise TypeError("a Store cannot be pickled or copied: attach in the other process")

    def __repr__(self) -> str:
        return f"<Store {self.name!r}, {self.source}, {self.interval}, {len(self)} symbols, {self.phase}>"


def attach(
    name: str,
    *,
    directory: str | Path = "/dev/shm",
    timeout_s: float = 0.0,
    max_silence_s: float = 10.0,
    owner: str | int | None = None,
) -> Store:
    """Attach to the store `name` of a running (or ended) collector, read-only.

    timeout_s      wait so long for a collector that is still starting
    max_silence_s  a collector that was silent for longer is stalled: `wait` and `check` raise WriterStalled
    owner          the user (name or number) whose collector it is, if not one's own: its config's store has a
                   group that one belongs to. KeyError if there is no such user
    StoreNotFound if there is none, StoreBroken / SegmentVersion if it is not one this program can read.
    """
    uid = pwd.getpwnam(owner).pw_uid if isinstance(owner, str) else owner
    directory = Path(directory).absolute()  # it is looked at again later, wherever the process has gone
    return Store(_attach_reader(name, directory, timeout_s, max_silence_s, uid), name, directory, uid)


def _is_usable(found: "Store | Factors") -> bool:
    """Whether what is attached is still the newest file, and open."""
    try:
        return not found.retired
    except ShmError:  # whoever asked for it has closed it
        return False


def _said(spec: Spec) -> str:
    """What bars a store holds, in words: equal words, equal bars."""
    return f"{interval_name(spec.interval_ms)} bars of {spec.source}, origin {spec.origin_ms}"


def _explained(reader: StoreReader, error: Lagging) -> Lagging:
    """`error`, with the true reason if the collector is not live: then it brings many bars at once, and the
    reader is not slow."""
    phase = reader.phase
    if phase not in ("starting", "history", "catching up"):
        return error
    return Lagging(f"{error}; its collector is bringing what was missed (phase {phase!r}): try again later")


def _attach_reader(
    name: str, directory: str | Path, timeout_s: float, max_silence_s: float, owner: int | None
) -> StoreReader:
    try:
        reader = StoreReader.attach(name, directory=directory, timeout_s=timeout_s, owner=owner)
    except StoreNotFound as error:
        raise StoreNotFound(
            f"{error}; is its collector running? `python -m bmac_stream status` lists the stores there are"
        ) from error
    reader.max_silence_s = max_silence_s
    return reader
