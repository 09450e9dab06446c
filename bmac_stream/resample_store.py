"""One store of longer bars, kept level with the store of bars that it is made from.

A Resampler is an ordinary reader of the base store and the one writer of its own. `poll` takes in all that
the base has; it may be called at any time, by one thread, and after a stop of any length:

* A symbol's bar is published as soon as its last base bar is there. If one of them is pending, it waits for
  the base's run_time, then it is published as pending.
* A run_time is complete when the base's run_time of the same moment is.
* A base bar that comes late or is revised corrects the bar it belongs to.
* What the base no longer holds and nobody remembers is pending for ever. A bar that was known is never taken
  back to pending.
* A symbol's first bar is one of which every base bar is known. The bar that a symbol was listed in is made of
  what there is since: the exchange's own begins at the listing, too. When that was, exchange info says
  (`onboard_ms`); that the base holds little of a symbol says nothing. Where it is not known (spot), or base
  bars since are not held, that bar is left out: the first is the next one.
"""

import json
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from bmac_stream.client import Store
from bmac_stream.errors import BmacError, Lagging, StoreFull
from bmac_stream.resample import Grid, fold, fold_slots
from shm import SlotState, Spec, Status, StoreWriter
from shm.directory import slot_word
from shm.layout import SLOT_COUNT, SLOT_WORDS, Layout, first_cell

__all__ = ["COUNTERS", "Older", "Resampler", "Rows", "spec_of"]

log = logging.getLogger("bmac_stream.resample")

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
T = TypeVar("T")

KIND: Final = "resampled"
SLACK: Final = 16
"""Bars that a reader may lag; they are long."""
COUNTERS: Final = ("corrections", "late_fills", "absent_bars", "pending_bars", "last_complete_ms")
"""Names as in the base store. last_complete_ms is the base's own, of the same run_time."""

_NEVER: Final = np.iinfo(np.int64).max
_TRIES: Final = 1000
_BAR: Final = int(Status.BAR)
_ABSENT: Final = int(Status.ABSENT)
_PENDING: Final = int(Status.PENDING)


class Rows(NamedTuple):
    """Consecutive bars g, g + 1, ...: values float64[n, n_columns], status uint8[n]."""

    g: int
    values: F64
    status: U8


Older = Callable[[str], Rows | None]
"""Bars of a symbol that the base no longer holds, of a new store; None if nothing is remembered."""


def spec_of(base: Spec, name: str, grid: Grid, interval: str, window: int, slack: int) -> Spec:
    """The store of `window` bars of this grid, made of the store `name` of `base`; `nbytes` says how large it
    is, before anything is taken."""
    offset = (grid.origin_ms - base.origin_ms) // 60_000 % (grid.interval_ms // 60_000)
    note = {"kind": KIND, "base": name, "interval": interval, "offset": offset}
    return Spec(
        columns=base.columns,
        window=window,
        slack=min(slack, SLACK),
        max_symbols=base.max_symbols,
        interval_ms=grid.interval_ms,
        origin_ms=grid.origin_ms,
        source=base.source,
        meta=json.dumps(json.loads(base.meta) | note),
        counters=COUNTERS,
    )


class _Series:
    """One symbol: its slot in the base, in ours (-1: none yet), the first bar that this base can tell, and
    the bar to publish next."""

    __slots__ = ("first_g", "mine", "next_g", "slot", "symbol")

    def __init__(self, symbol: str, slot: int, mine: int, first_g: int) -> None:
        self.symbol, self.slot, self.mine = symbol, slot, mine
        self.first_g = self.next_g = first_g


class Resampler:
    """Keeps `writer`, a store of `spec_of`, level with `base`.

    older  where a new store has the bars from that are older than the base's
    """

    def __init__(
        self, base: Store, writer: StoreWriter, grid: Grid, *, older: Older = lambda symbol: None
    ) -> None:
        self.base = base
        self.writer = writer
        self.grid = grid
        self._older = older
        self._cap = Layout.of(writer.spec).cap
        self._series: dict[int, _Series] = {}  # by slot of the base
        self._due: I64 = np.full(
            base.spec.max_symbols, _NEVER, np.int64
        )  # the base's count that is waited for
        self._counts_at: I64 = slot_word(0, SLOT_COUNT) + SLOT_WORDS * np.arange(base.spec.max_symbols)
        self._directory = -1
        self._corrections = base.reader.n_corrections  # before anything is read
        self._refused: set[str] = set()

    def poll(self) -> int:
        """Take in what the base has; how many run_times were completed. Nothing before the base's first.

        Lagging if the base's corrections never pause: call again.
        """
        reader, writer, grid = self.base.reader, self.writer, self.grid
        if reader.complete_g < 0:
            return 0
        if reader.directory_version != self._directory:
            self._look_at_directory()
        if reader.n_corrections != self._corrections:
            self._correct()
        complete_g = reader.complete_g  # before the counts: of those that are ACTIVE none is behind it
        counts = reader.words[self._counts_at]
        due = np.flatnonzero(counts >= self._due)
        if len(due) > 1:
            due = self._go_on_together(due, counts, complete_g)
        for slot in due.tolist():
            self._go_on(self._series[slot], complete_g)
        g, before = grid.holding(complete_g + 1) - 1, writer.complete_g
        if g <= before or not writer.symbols:
            return 0
        self._settle(g)
        writer.complete(g)
        writer.set("last_complete_ms", self.base.counters().get("last_complete_ms", 0))
        return g - before if before >= 0 else 1

    def form(self) -> None:
        """Publish every symbol's bar that is open now: the base bars so far, the open one included."""
        for series in self._series.values():
            if series.mine >= 0:
                with suppress(Lagging):
                    self._form(series)

    def _form(self, series: _Series) -> None:
        reader, grid = self.base.reader, self.grid
        first = max(grid.first(series.next_g), reader.first_g(series.slot))

        def copied(end: int) -> tuple[int, F64]:
            n = min(max(0, end - first), grid.n)
            at = first_cell(first + n, n, reader.cap)
            return first, reader.data[series.slot, :, at : at + n].copy()

        open_bar = reader.read_forming(series.slot)
        rows = self._consistent(series.slot, copied)
        if rows.shape[1] >= grid.n:
            return  # it is over, and will be published
        if open_bar is not None and open_bar[0] == first + rows.shape[1]:
            rows = np.column_stack([rows, np.append(open_bar[1], float(_BAR))])
        if rows.shape[1]:
            values, status = fold(rows, grid.n, partly=True)
            if status[0] == _BAR:
                self.writer.write_forming(series.mine, series.next_g, values[0])

    # ---- symbols -------------------------------------------------------------------------------------------

    def _look_at_directory(self) -> None:
        """Begin with the symbols that have become readable, end those that are gone."""
        reader, writer = self.base.reader, self.writer
        version = reader.directory_version
        entries = reader.directory()
        live = {entry.symbol: entry.slot for entry in entries if entry.state == SlotState.ACTIVE}
        loading = {entry.symbol for entry in entries if entry.state == SlotState.LOADING}
        for slot, series in list(self._series.items()):
            if live.get(series.symbol) != slot:
                self._end(series)
        # symbols of a former run that the base no longer has; one that is loading comes back
        for symbol, mine in list(writer.symbols.items()):
            if symbol not in live and symbol not in loading:
                writer.remove_symbol(mine)
        new = [symbol for symbol, slot in live.items() if slot not in self._series]
        onboard = self._onboard() if new else {}
        for symbol in new:
            self._begin(symbol, live[symbol], onboard.get(symbol, 0))
        self._directory = version

    def _onboard(self) -> dict[str, int]:
        """symbol -> when it was listed, ms UTC; 0: not known. Empty if the base has no exchange info."""
        try:
            table = self.base.exchange_info()
        except (BmacError, OSError):
            return {}
        return dict(zip(table["symbol"].to_pylist(), table["onboard_ms"].to_pylist(), strict=True))

    def _begin(self, symbol: str, slot: int, onboard_ms: int) -> None:
        """Publish what the base holds of a symbol, wherever it stands in our store.

        onboard_ms  when it was listed; 0: not known
        """
        reader, grid, window = self.base.reader, self.grid, self.base.window
        first, count = reader.first_g(slot), reader.count(slot)
        held = max(first, count - window)
        g = grid.holding(held)
        all_since = held == first and first <= (onboard_ms - self.base.origin_ms) // self.base.interval_ms
        if grid.first(g) < held and not all_since:
            g += 1
        series = self._series[slot] = _Series(symbol, slot, self.writer.symbols.get(symbol, -1), g)
        rows = self._rows(series, reader.complete_g)
        older = self._older(symbol) if series.mine < 0 else None
        try:
            self._publish(series, rows if older is None else _joined(older, rows))
        except StoreFull as error:
            if symbol not in self._refused:
                self._refused.add(symbol)
                log.error("%s is not resampled: %s", symbol, error)
            return
        self._due[slot] = grid.first(series.next_g + 1)

    def _end(self, series: _Series) -> None:
        del self._series[series.slot]
        self._due[series.slot] = _NEVER
        if series.mine >= 0:
            self.writer.remove_symbol(series.mine)

    # ---- bars ----------------------------------------------------------------------------------------------

    def _go_on(self, series: _Series, complete_g: int) -> None:
        """Publish every bar of a symbol that is over by now."""
        self._publish(series, self._rows(series, complete_g))
        self._due[series.slot] = self.grid.first(series.next_g + 1)

    def _go_on_together(self, due: I64, counts: I64, complete_g: int) -> I64:
        """`_go_on` for the many who are at the same bar and have just that one to publish; who is left."""
        reader, grid = self.base.reader, self.grid
        first = int(self._due[due].min()) - grid.n
        plain = (self._due[due] == first + grid.n) & (counts[due] < first + 2 * grid.n)
        plain &= np.array([self._series[slot].mine >= 0 for slot in due.tolist()])
        series = [self._series[slot] for slot in due[plain].tolist()]
        mine = np.array([one.mine for one in series], np.int64)
        g = grid.holding(first)
        if not len(mine) or (self.writer.counts(mine) != g).any():
            return due
        token = reader.token(series[0].slot, 1)
        values, status = fold_slots(
            reader.data, due[plain], first_cell(first + grid.n, grid.n, reader.cap), grid.n
        )
        held = reader.valid(token._replace(oldest=first))  # nothing was corrected; and a fence
        if not held or (reader.words[self._counts_at[due[plain]]] - first >= reader.cap).any():
            return due
        known = (status != _PENDING) | (first + grid.n <= complete_g + 1)
        self.writer.append_rows(mine[known], np.full(int(known.sum()), g), values[known], status[known])
        self._counted(status[known])
        for one, published in zip(series, known.tolist(), strict=True):
            if published:
                one.next_g = g + 1
                self._due[one.slot] = first + 2 * grid.n
        left = np.ones(len(due), bool)
        left[np.flatnonzero(plain)[known]] = False
        return due[left]

    def _rows(self, series: _Series, complete_g: int) -> Rows:
        """The bars from next_g on that are over and known, or for which nobody waits any more."""
        grid = self.grid
        rows = self._fold(series, series.next_g, grid.holding(self.base.reader.count(series.slot)))
        waited = max(0, grid.holding(complete_g + 1) - rows.g)  # those before it the base has completed
        late = np.flatnonzero(rows.status[waited:] == _PENDING)
        n = waited + int(late[0]) if len(late) else len(rows.status)
        return Rows(rows.g, rows.values[:n], rows.status[:n])

    def _fold(self, series: _Series, g: int, end: int) -> Rows:
        """Bars g ... end - 1 as the base tells them now; those it no longer holds are pending."""
        reader, grid, slot = self.base.reader, self.grid, series.slot
        first_g = reader.first_g(slot)

        def made(count: int) -> tuple[int, Rows]:
            oldest = max(first_g, count - reader.cap + 2)
            lost = lead = 0
            if g < end and grid.first(g) < oldest:
                if oldest == first_g and grid.first(g + 1) > oldest:
                    lead = oldest - grid.first(g)  # the bar that the symbol was listed in
                else:
                    lost = min(end, grid.holding(oldest - 1) + 1) - g
            start = grid.first(g + lost) + lead
            n = max(0, grid.first(end) - start)
            at = first_cell(start + n, n, reader.cap)
            values, status = fold(reader.data[slot, :, at : at + n], grid.n, lead=lead if n else 0)
            if lost:
                values = np.concatenate([np.full((lost, values.shape[1]), np.nan), values])
                status = np.concatenate([np.full(lost, _PENDING, np.uint8), status])
            return start if n else count, Rows(g, values, status)

        return self._consistent(slot, made)

    def _consistent(self, slot: int, look: Callable[[int], tuple[int, T]]) -> T:
        """What look(count) found, once the oldest base bar that it looked at (told with it) still held."""
        reader = self.base.reader
        for _ in range(_TRIES):
            token = reader.token(slot, 1)
            oldest, found = look(token.g_end)
            if reader.valid(token._replace(oldest=oldest)):
                return found
            time.sleep(1e-4)
        raise Lagging(f"store {self.base.name!r}: slot {slot} changed in each of {_TRIES} looks at it")

    def _publish(self, series: _Series, rows: Rows) -> None:
        """Put bars into our store, wherever the symbol stands there; what is there already is set right."""
        writer, end = self.writer, rows.g + len(rows.status)
        series.next_g = end
        if series.mine < 0:
            if not len(rows.status):
                return  # its first bar is not over
            slot = writer.add_symbol(series.symbol, rows.g)
            writer.load(slot, rows.g, rows.values, rows.status)
            missing = writer.complete_g + 1 - end
            if missing > 0:  # our store was further already
                nothing = np.full((missing, rows.values.shape[1]), np.nan)
                writer.load(slot, end, nothing, np.full(missing, _PENDING, np.uint8))
                series.next_g = end + missing
            writer.activate(slot)
            series.mine = slot
            self._counted(rows.status)
            return
        slot, count = series.mine, writer.count(series.mine)
        self._set_right(slot, rows)
        if count < rows.g:
            writer.skip_to(slot, rows.g)  # what came while nobody looked
            writer.add("pending_bars", rows.g - count)
            count = rows.g
        for i in range(count - rows.g, len(rows.status)):
            writer.append(slot, rows.g + i, rows.values[i], int(rows.status[i]))
        self._counted(rows.status[count - rows.g :])
        series.next_g = max(end, count)

    def _set_right(self, slot: int, rows: Rows) -> None:
        """Correct those of the bars that are published, still held, and told differently now."""
        writer = self.writer
        count = writer.count(slot)
        low = max(rows.g, writer.first_g(slot), count - self._cap + 1)
        high = min(rows.g + len(rows.status), count)
        if low >= high:
            return
        stored, before = writer.read(slot, low, high - low)
        values, status = rows.values[low - rows.g : high - rows.g], rows.status[low - rows.g : high - rows.g]
        # what was known stays known: the base may have forgotten it, as a new file of another history has
        better = (status == _BAR) | ((status != _PENDING) & (before == _PENDING))
        same = (values == stored) | (np.isnan(values) & np.isnan(stored))
        differs = (status != before) | ((status == _BAR) & ~same.all(axis=1))
        for i in np.flatnonzero(better & differs).tolist():
            writer.correct(slot, low + i, values[i], int(status[i]))
            writer.add("corrections")
            writer.add("late_fills", int(before[i] == _PENDING and status[i] == _BAR))

    def _correct(self) -> None:
        """Bars of the base changed after they were published: so do the bars that they belong to."""
        reader, grid = self.base.reader, self.grid
        try:
            entries, following = reader.corrections(self._corrections)
        except Lagging:  # more than the journal holds: look at everything
            following = reader.n_corrections
            changed = dict.fromkeys(self._series, (0, _NEVER))
        else:
            changed = {}
            for _, slot, base_g, _, _ in entries:
                g = grid.holding(base_g)
                low, high = changed.get(slot, (g, g))
                changed[slot] = min(low, g), max(high, g)
        for slot, (low, high) in changed.items():
            series = self._series.get(slot)
            if series is None or series.mine < 0:
                continue
            first = max(low, series.first_g, series.next_g - self._cap + 1)
            end = min(high + 1, series.next_g)
            if first < end:
                self._set_right(series.mine, self._fold(series, first, end))
        self._corrections = following

    def _settle(self, g: int) -> None:
        """Publish what is still missing up to bar g as pending: the base has completed it without."""
        writer = self.writer
        for slot in writer.symbols.values():
            if (count := writer.count(slot)) <= g:
                writer.skip_to(slot, g + 1)
                writer.add("pending_bars", g + 1 - count)

    def _counted(self, status: U8) -> None:
        for counter, word in (("absent_bars", _ABSENT), ("pending_bars", _PENDING)):
            if n := int(np.count_nonzero(status == word)):
                self.writer.add(counter, n)


def _joined(older: Rows, rows: Rows) -> Rows:
    """`rows` with what is older; what lies between them is pending."""
    n = min(len(older.status), rows.g - older.g)
    if n <= 0:
        return rows
    gap = rows.g - older.g - n
    nothing = np.full((gap, rows.values.shape[1]), np.nan)
    values = np.concatenate([older.values[:n], nothing, rows.values])
    status = np.concatenate([older.status[:n], np.full(gap, _PENDING, np.uint8), rows.status])
    return Rows(older.g, values, status)
