"""Resampler: a store kept level with its base through gaps, late fills, corrections, listings and restarts.

The reference is a dictionary of what the base was told, and a few lines of plain Python over it.
"""

import dataclasses
import logging
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bmac_stream.bar import COLUMNS, N_COLUMNS
from bmac_stream.binance.protocol import SymbolInfo
from bmac_stream.client import Store, attach
from bmac_stream.engine import Engine
from bmac_stream.errors import SegmentMismatch, StoreRetired
from bmac_stream.recorder import copy_rows
from bmac_stream.resample import grid_of
from bmac_stream.resample_store import Resampler, Rows, spec_of
from bmac_stream.status import look_at
from bmac_stream.tables import ExchangeInfoTable
from shm import Spec, Status, StoreWriter

MINUTE = 60_000
G0 = 29_000_000
BAR, ABSENT, PENDING = Status.BAR, Status.ABSENT, Status.PENDING
NAN = np.full(N_COLUMNS, np.nan)


def base_spec(**changes: Any) -> Spec:
    fields: dict[str, Any] = {
        "columns": COLUMNS,
        "window": 60,
        "slack": 40,
        "max_symbols": 16,
        "interval_ms": MINUTE,
        "source": "embedded:rule",
        "meta": '{"trade_type": "usdt_perp", "interval": "1m"}',
        "counters": ("last_complete_ms",),
    }
    return Spec(**(fields | changes))


class World:
    """A base store, its resampled store, and what a perfect memory knows of both."""

    def __init__(self, folder: Path, interval: str = "5m", offset: int = 0, window: int = 30) -> None:
        self.folder, self.interval, self.offset, self.window = folder, interval, offset, window
        self.writer = StoreWriter.open("base", base_spec(), directory=folder)
        self.truth: dict[str, dict[int, tuple[Status, np.ndarray]]] = {}
        self.listed: dict[str, int] = {}
        self.random = np.random.default_rng(7)
        self.g = G0
        self.base: Store | None = None
        self.open()

    def open(self) -> None:
        """The resampling side, begun (anew)."""
        self.base = attach("base", directory=self.folder)
        self.grid = grid_of(MINUTE, 0, self.interval, self.offset)
        spec = spec_of(self.base.spec, self.base.name, self.grid, self.interval, self.window, 100)
        self.mine = StoreWriter.open("long", spec, directory=self.folder)
        self.resampler = Resampler(self.base, self.mine, self.grid)

    def shut(self) -> None:
        """The resampling side ends."""
        assert self.base is not None
        self.mine.close()
        self.base.close()

    def close(self) -> None:
        self.shut()
        self.writer.close()

    def row(self) -> np.ndarray:
        """A bar's values; one in five has no trade."""
        low, high = sorted(self.random.integers(9_000, 11_000, 2) / 100)
        trades = float(self.random.integers(0, 5))
        return (
            np.array([low, high, low, high, *(self.random.integers(0, 10**6, 5) / 1000)])[:9] * 1.0
            if (trades)
            else np.array([low, low, low, low, 0.0, 0.0, 0.0, 0.0, 0.0])
        )

    def list(self, symbol: str, first: int) -> None:
        """A symbol with bars from `first` up to now."""
        slot = self.writer.add_symbol(symbol, first)
        self.truth[symbol] = {}
        rows = [self.row() for _ in range(first, self.g)]
        for i, row in enumerate(rows):
            self.truth[symbol][first + i] = (BAR, row)
        if rows:
            self.writer.load(slot, first, np.array(rows), np.full(len(rows), BAR))
        self.writer.activate(slot)

    def onboard(self, **listed: int) -> None:
        """Exchange info says when symbols were listed: the number of the bar; 0: it does not know."""
        self.listed |= listed
        infos = [
            SymbolInfo(name, "TRADING", "PERPETUAL", "", "", "", g * MINUTE + (g > 0), 0, None, None, None)
            for name, g in self.listed.items()
        ]
        assert ExchangeInfoTable(self.writer, 0o600, None).write(infos, self.listed, 1.0)

    def bar(self, symbol: str, status: Status = BAR) -> None:
        """Publish a symbol's bar of now."""
        row = self.row() if status == BAR else NAN
        slot = self.writer.symbols[symbol]
        self.writer.append(slot, self.writer.count(slot), row, status)
        self.truth[symbol][self.writer.count(slot) - 1] = (status, row)

    def complete(self) -> None:
        self.writer.complete(self.g)
        self.g += 1

    def minute(self, statuses: dict[str, Status] | None = None) -> None:
        """A whole minute of the market."""
        for symbol in self.writer.symbols:
            self.bar(symbol, (statuses or {}).get(symbol, BAR))
        self.complete()

    def correct(self, symbol: str, g: int) -> None:
        row = self.row()
        self.writer.correct(self.writer.symbols[symbol], g, row, BAR)
        self.truth[symbol][g] = (BAR, row)

    def expected(self, symbol: str, g: int) -> tuple[Status, np.ndarray]:
        """Bar g as it should be, by plain Python."""
        minutes = [
            self.truth[symbol].get(i, (ABSENT, NAN))
            for i in range(self.grid.first(g), self.grid.first(g + 1))
        ]
        if any(status == PENDING for status, _ in minutes):
            return PENDING, NAN
        rows = [row for status, row in minutes if status == BAR]
        if not rows:
            return ABSENT, NAN
        traded = [row for row in rows if row[6] > 0] or rows[:1]
        sums = [float(sum(Decimal(repr(float(row[c]))) for row in rows)) for c in range(4, 9)]
        close = traded[-1][3] if any(row[6] > 0 for row in rows) else rows[-1][3]
        return BAR, np.array(
            [traded[0][0], max(r[1] for r in traded), min(r[2] for r in traded), close, *sums]
        )

    def check(self, symbol: str, first: int | None = None) -> int:
        """Every bar of a symbol that is held is as it should be; how many."""
        with attach("long", directory=self.folder) as store:
            view = store[symbol]
            rows = view.copy()
            if first is not None:
                assert rows.g0 == first
            for i, status in enumerate(rows.status.tolist()):
                expected, values = self.expected(symbol, rows.g0 + i)
                assert status == expected, (symbol, i, len(rows.status))
                np.testing.assert_array_equal(rows.values[:, i], values)
            end = self.grid.holding(max(self.truth[symbol]) + 1)
            assert rows.g0 + len(rows.status) == end
            return len(rows.status)


@pytest.fixture(params=[("5m", 0), ("5m", 3), ("15m", 7)], ids=lambda p: f"{p[0]}_{p[1]}")
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, *request.param)
    yield made
    made.close()


@pytest.fixture
def five(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path, "5m", 2)
    yield made
    made.close()


def test_history_begins_with_the_first_whole_bar(world: World) -> None:
    world.g = G0 + 60
    world.list("AAA", G0)
    world.minute()
    assert world.resampler.poll() == 1
    first = -(-(G0 + 1 - world.grid.shift) // world.grid.n)
    assert world.check("AAA", first) >= 60 // world.grid.n - 1
    assert world.mine.complete_g == world.grid.holding(world.g) - 1


def test_a_bar_is_there_with_its_last_minute_before_the_market_is_complete(five: World) -> None:
    five.g = G0 + 60
    five.list("AAA", G0)
    five.list("BBB", G0)
    five.minute()
    five.resampler.poll()
    while five.grid.first(five.grid.holding(five.g) + 1) != five.g + 1:
        five.minute()
        five.resampler.poll()
    before = five.mine.complete_g
    five.bar("AAA")
    assert five.resampler.poll() == 0
    assert five.mine.count(five.mine.symbols["AAA"]) == before + 2
    assert five.mine.count(five.mine.symbols["BBB"]) == before + 1
    five.bar("BBB")
    five.complete()
    assert five.resampler.poll() == 1
    assert five.mine.complete_g == before + 1
    five.check("AAA")
    five.check("BBB")


def test_a_pending_minute_is_waited_for_then_filled_late(five: World) -> None:
    five.g = G0 + 60
    five.list("AAA", G0)
    five.list("BBB", G0)
    five.minute()
    while five.grid.first(five.grid.holding(five.g)) != five.g:
        five.minute()
    five.resampler.poll()
    hole, mine = five.g, five.mine.symbols["AAA"]
    count = five.mine.count(mine)
    five.minute({"AAA": PENDING})
    for _ in range(3):
        five.minute()
    five.bar("AAA")  # its last minute is there, the hole is not
    five.resampler.poll()
    assert five.mine.count(mine) == count, "it may still come before the run_time"
    five.bar("BBB")
    five.complete()
    five.resampler.poll()
    assert five.mine.count(mine) == count + 1
    five.check("AAA")
    assert five.mine.read(mine, count, 1)[1][0] == PENDING
    five.correct("AAA", hole)
    five.resampler.poll()
    assert five.mine.read(mine, count, 1)[1][0] == BAR
    assert five.mine.counter("late_fills") == 1
    five.check("AAA")


def test_a_hole_that_is_filled_in_time_is_never_seen(five: World) -> None:
    five.g = G0 + 60
    five.list("AAA", G0)
    five.list("BBB", G0)
    five.minute()
    while five.grid.first(five.grid.holding(five.g)) != five.g:
        five.minute()
    hole = five.g
    five.minute({"AAA": PENDING})
    for _ in range(3):
        five.minute()
    five.bar("AAA")
    five.resampler.poll()
    five.correct("AAA", hole)
    five.resampler.poll()
    assert five.mine.corrections == 0
    five.check("AAA")


def test_a_listing_begins_with_the_bar_it_falls_into(five: World) -> None:
    five.g = G0 + 60
    five.list("AAA", G0)
    five.minute()
    five.resampler.poll()
    while five.grid.first(five.grid.holding(five.g)) != five.g:
        five.minute()
    five.minute()
    five.minute()
    five.list("NEW", five.g - 1)
    five.onboard(NEW=five.g - 1)
    while five.grid.first(five.grid.holding(five.g)) != five.g:
        five.minute()
        five.resampler.poll()
    assert five.check("NEW", five.grid.holding(five.g) - 1) == 1


@pytest.mark.parametrize("onboard", [-500, -1, 0, 1, None])
def test_the_first_bar_is_whole_or_begins_with_the_listing(five: World, onboard: int | None) -> None:
    """Of OLD the base begins two minutes into a longer bar, of AAA it holds its whole window. Only if OLD was
    listed then or since is that bar the exchange's; otherwise it would be made of a part of its minutes."""
    five.g = G0 + 60
    five.list("AAA", G0)
    first = five.grid.first(five.grid.holding(five.g) - 4) + 2
    if onboard is not None:
        five.onboard(OLD=first + onboard, AAA=0)
    five.list("OLD", first)
    five.minute()
    five.resampler.poll()
    listed = onboard is not None and onboard >= 0
    assert five.check("OLD", five.grid.holding(first) + (not listed)) >= 3


def test_a_listing_that_the_base_no_longer_holds_whole_begins_later(five: World) -> None:
    five.g = G0 + 60
    five.list("AAA", G0)
    edge = five.grid.first(five.grid.holding(G0) + 1)
    five.onboard(OLD=edge + 1)
    five.list("OLD", edge + 1)
    while five.g - 60 <= edge + 1:  # the window has gone past the listing
        five.minute()
    five.resampler.poll()
    five.check("OLD", five.grid.holding(edge) + 1)


def test_a_delisted_symbol_ends_and_comes_back_as_another(five: World) -> None:
    five.g = G0 + 60
    five.list("AAA", G0)
    five.list("BBB", G0)
    five.minute()
    five.resampler.poll()
    slot = five.mine.symbols["BBB"]
    five.writer.remove_symbol(five.writer.symbols["BBB"])
    for _ in range(12):
        five.minute()
        five.resampler.poll()
    assert "BBB" not in five.mine.symbols
    five.list("BBB", five.g - 2)
    for _ in range(12):
        five.minute()
        five.resampler.poll()
    assert five.mine.symbols["BBB"] != slot
    five.check("AAA")
    five.check("BBB")


def test_the_open_bar_is_made_of_what_there_is(five: World) -> None:
    five.g = G0 + 60
    five.list("AAA", G0)
    five.minute()
    while five.grid.first(five.grid.holding(five.g)) != five.g:
        five.minute()
    five.resampler.poll()
    with attach("long", directory=five.folder) as store:
        five.resampler.form()
        assert store["AAA"].forming is None, "nothing of it is known"
        five.minute()
        five.minute()
        slot = five.writer.symbols["AAA"]
        five.writer.write_forming(slot, five.g, np.array([100, 500, 50, 70, 1, 2, 3, 0, 0.0]))
        five.resampler.poll()
        five.resampler.form()
        forming = store["AAA"].forming
        assert forming is not None
        first = five.grid.first(five.grid.holding(five.g))
        closed = [five.truth["AAA"][g][1] for g in (first, first + 1)]
        assert (forming.high, forming.low, forming.close) == (500, 50, 70)
        assert forming.trade_num == 3 + sum(row[6] for row in closed)
        assert forming.open_time == first * MINUTE


def test_a_stop_of_any_length_is_made_up_for_as_far_as_the_base_goes_back(world: World) -> None:
    world.g = G0 + 60
    world.list("AAA", G0)
    world.minute()
    world.resampler.poll()
    for pause in (1, 7, 40):
        world.shut()
        for _ in range(pause):
            world.minute()
        world.correct("AAA", world.g - 1)
        world.open()
        assert not world.mine.created
        world.resampler.poll()
        world.check("AAA")


def test_what_came_while_nobody_looked_for_too_long_is_pending(five: World) -> None:
    five.g = G0 + 60
    five.list("AAA", G0)
    five.minute()
    five.resampler.poll()
    last = five.mine.count(five.mine.symbols["AAA"])
    five.shut()
    for _ in range(90):
        five.minute()
    five.open()
    five.resampler.poll()
    slot = five.mine.symbols["AAA"]
    _, status = five.mine.read(slot, last, five.mine.count(slot) - last)
    # the first bar of which the window of 60 minutes holds all
    whole = -(-(five.g - 60 - five.grid.shift) // five.grid.n) - last
    assert whole > 2
    assert (status[:whole] == PENDING).all()
    assert (status[whole:] == BAR).all()


def test_a_base_that_ran_on_past_its_ring_leaves_pending_bars(five: World) -> None:
    """A reader that was stopped (SIGSTOP, a laptop asleep), its base filling 200 minutes at once."""
    five.g = G0 + 60
    five.list("AAA", G0)
    five.minute()
    five.resampler.poll()
    slot = five.mine.symbols["AAA"]
    last = five.mine.count(slot)
    for _ in range(200):
        five.minute()
    five.resampler.poll()
    n = five.mine.count(slot) - last
    assert five.mine.complete_g == five.grid.holding(five.g) - 1
    _, status = five.mine.read(slot, five.mine.count(slot) - 20, 20)
    oldest = five.g - five.base.cap + 2  # type: ignore[union-attr]
    known = five.grid.holding(five.g) - (-(-(oldest - five.grid.shift) // five.grid.n))
    assert n == 40
    assert (status[-known:] == BAR).all()
    assert (status[:-known] == PENDING).all()


def test_more_corrections_than_the_journal_holds(five: World) -> None:
    five.g = G0 + 60
    five.list("AAA", G0)
    five.minute()
    five.resampler.poll()
    for _ in range(5000):
        five.correct("AAA", five.g - 3)
    five.correct("AAA", five.g - 20)
    for _ in range(4090):
        five.correct("AAA", five.g - 3)
    five.resampler.poll()
    five.check("AAA")


def test_a_new_file_of_the_base_keeps_what_was_known(five: World) -> None:
    five.g = G0 + 60
    five.list("AAA", G0)
    five.minute()
    five.resampler.poll()
    n = five.check("AAA")
    before = five.mine.symbols["AAA"], five.mine.first_g(five.mine.symbols["AAA"])
    five.writer.close()
    five.writer = StoreWriter.open("base", base_spec(window=50), directory=five.folder)
    assert five.base is not None
    with pytest.raises(StoreRetired):
        five.base.check()
    kept = {g: row for g, row in five.truth["AAA"].items() if g >= five.g - 30}
    slot = five.writer.add_symbol("AAA", five.g - 30)
    rows, status = np.array([row for _, row in kept.values()]), np.full(30, BAR, np.uint8)
    rows[12], status[12] = np.nan, PENDING  # what was known stays known
    five.writer.load(slot, five.g - 30, rows, status)
    five.writer.activate(slot)
    five.minute()
    five.shut()
    five.open()
    five.resampler.poll()
    assert (five.mine.symbols["AAA"], five.mine.first_g(five.mine.symbols["AAA"])) == before
    assert five.mine.corrections == 0
    # the bar that holds the new file's first minute is not made anew of a part of it
    edge = five.grid.holding(five.g - 31)
    assert five.grid.first(edge) < five.g - 31, "the new file begins within it"
    known = five.mine.read(slot, edge, 1)
    five.correct("AAA", five.g - 31)
    five.resampler.poll()
    np.testing.assert_array_equal(five.mine.read(slot, edge, 1)[0], known[0])
    assert n <= len(five.mine.read(slot, before[1], five.mine.count(slot) - before[1])[1])


def test_a_symbol_that_is_still_loading_comes_back(five: World) -> None:
    five.g = G0 + 60
    five.list("AAA", G0)
    five.list("BBB", G0)
    five.minute()
    five.resampler.poll()
    slot = five.mine.symbols["BBB"]
    five.writer.close()
    five.shut()
    five.writer = StoreWriter.open("base", base_spec(window=59), directory=five.folder)
    truth = five.truth
    slot_a = five.writer.add_symbol("AAA", G0 + 1)
    slot_b = five.writer.add_symbol("BBB", G0 + 1)
    rows = np.array([truth["AAA"][g][1] for g in range(G0 + 1, five.g)])
    five.writer.load(slot_a, G0 + 1, rows, np.full(len(rows), BAR))
    five.writer.activate(slot_a)
    five.open()
    for _ in range(6):
        five.bar("AAA")
        five.complete()
        five.resampler.poll()
    assert five.mine.symbols["BBB"] == slot
    assert five.mine.read(slot, five.mine.count(slot) - 1, 1)[1][0] == PENDING
    for g in range(five.g - 6, five.g):
        truth["BBB"][g] = (BAR, five.row())
    rows = np.array([truth["BBB"][g][1] for g in range(G0 + 1, five.g)])
    five.writer.load(slot_b, G0 + 1, rows, np.full(len(rows), BAR))
    five.writer.activate(slot_b)
    five.resampler.poll()
    five.check("BBB")


def test_older_bars_of_a_new_store(five: World) -> None:
    five.g = G0 + 60
    five.list("AAA", G0)
    five.minute()
    first = five.grid.holding(G0 + 1)
    old = Rows(
        first - 9, np.arange(5 * N_COLUMNS, dtype=float).reshape(5, N_COLUMNS), np.full(5, BAR, np.uint8)
    )
    assert five.base is not None
    made = Resampler(five.base, five.mine, five.grid, older={"AAA": old}.get)
    made.poll()
    slot = five.mine.symbols["AAA"]
    values, status = five.mine.read(slot, first - 9, 10)
    assert status[:5].tolist() == [BAR] * 5
    np.testing.assert_array_equal(values[:5], old.values)
    assert (status[5:9] == PENDING).all()
    assert status[9] in (BAR, PENDING)


def test_other_sources_are_never_mixed(five: World) -> None:
    five.g = G0 + 60
    assert five.base is not None
    spec = spec_of(five.base.spec, five.base.name, five.grid, "5m", 30, 100)
    five.mine.close()
    with pytest.raises(SegmentMismatch):
        StoreWriter.open("long", dataclasses.replace(spec, source="binance"), directory=five.folder)
    five.mine = StoreWriter.open("long", spec, directory=five.folder)


def test_a_full_store_leaves_a_symbol_out_and_goes_on(five: World, caplog: pytest.LogCaptureFixture) -> None:
    five.g = G0 + 60
    for i in range(4):
        five.list(f"S{i}", G0)
    five.minute()
    five.mine.close()
    spec = spec_of(five.base.spec, five.base.name, five.grid, "5m", 30, 100)  # type: ignore[union-attr]
    small = dataclasses.replace(spec, max_symbols=2)
    five.mine = StoreWriter.open("long", small, directory=five.folder)
    made = Resampler(five.base, five.mine, five.grid)  # type: ignore[arg-type]
    with caplog.at_level(logging.ERROR):
        made.poll()
        for _ in range(10):
            five.minute()
            made.poll()
    assert len(five.mine.symbols) == 2
    assert "is not resampled" in caplog.text
    for symbol in five.mine.symbols:
        five.check(symbol)


def test_a_look_that_was_disturbed_is_looked_again(five: World, monkeypatch: pytest.MonkeyPatch) -> None:
    five.g = G0 + 60
    five.list("AAA", G0)
    five.minute()
    five.resampler.poll()
    while five.grid.first(five.grid.holding(five.g)) != five.g:
        five.minute()
    assert five.base is not None
    reader, left = five.base.reader, [3]
    valid = reader.valid

    def disturbed(token: Any) -> bool:
        if left[0]:
            left[0] -= 1
            five.correct("AAA", five.g - 2)
        return valid(token)

    monkeypatch.setattr(reader, "valid", disturbed)
    five.resampler.poll()
    assert left == [0]
    # what was published was right at once: nothing had to be set right by the corrections' own way
    slot = five.mine.symbols["AAA"]
    g = five.mine.count(slot) - 1
    np.testing.assert_array_equal(five.mine.read(slot, g, 1)[0][0], five.expected("AAA", g)[1])
    assert five.mine.corrections == 0


def test_bars_that_close_together(five: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """All at once, as after a burst of frames: one is pending, one absent, one a bar ahead, one disturbed."""
    five.g = G0 + 60
    for name in ("AAA", "BBB", "CCC", "DDD", "EEE"):
        five.list(name, G0)
    five.minute()
    while five.grid.first(five.grid.holding(five.g)) != five.g:
        five.minute()
    five.resampler.poll()
    one_by_one: list[str] = []
    go_on = five.resampler._go_on

    def told(series: Any, complete_g: int) -> None:
        one_by_one.append(series.symbol)
        go_on(series, complete_g)

    monkeypatch.setattr(five.resampler, "_go_on", told)
    for _ in range(4):
        five.minute({"BBB": PENDING, "CCC": ABSENT})
    for name in ("AAA", "BBB", "DDD", "EEE"):
        five.bar(name)
    five.bar("CCC", ABSENT)
    five.resampler.poll()
    assert one_by_one == ["BBB"], "only who waits for the run_time is looked at alone"
    mine = five.mine
    assert mine.count(mine.symbols["BBB"]) == mine.count(mine.symbols["AAA"]) - 1
    five.complete()
    five.resampler.poll()
    for name in mine.symbols:
        five.check(name)
    # disturbed: nothing of it is taken, everybody is looked at alone
    for _ in range(4):
        five.minute()
    for name in five.writer.symbols:
        five.bar(name)
    assert five.base is not None
    valid, left = five.base.reader.valid, [1]

    def disturbed(token: Any) -> bool:
        if left[0]:
            left[0] -= 1
            five.correct("DDD", five.g - 2)
        return valid(token)

    monkeypatch.setattr(five.base.reader, "valid", disturbed)
    one_by_one.clear()
    five.resampler.poll()
    assert sorted(one_by_one) == sorted(mine.symbols)
    assert mine.counter("corrections") == 0
    five.complete()
    five.resampler.poll()
    for name in mine.symbols:
        five.check(name)


def test_funding_beside_the_bars_is_that_of_the_bar_s_end(tmp_path: Path) -> None:
    spec = base_spec(columns=(*COLUMNS, "funding_rate", "next_funding_time"))
    with StoreWriter.open("base", spec, directory=tmp_path) as writer:
        slot = writer.add_symbol("AAA", G0)
        rows = np.ones((60, 11))
        rows[:, 9], rows[:, 10] = np.arange(60), np.nan
        writer.load(slot, G0, rows, np.full(60, BAR))
        writer.activate(slot)
        writer.complete(G0 + 59)
        with attach("base", directory=tmp_path) as base:
            grid = grid_of(MINUTE, 0, "5m")
            with StoreWriter.open(
                "long", spec_of(base.spec, base.name, grid, "5m", 30, 100), directory=tmp_path
            ) as mine:
                made = Resampler(base, mine, grid)
                made.poll()
                values, _ = mine.read(mine.symbols["AAA"], grid.holding(G0), 12)
                assert values[:, 9].tolist() == [4.0 + 5 * i for i in range(12)]
                assert np.isnan(values[:, 10]).all()
                rows[59, 9] = 0.5  # became known later
                writer.correct(slot, G0 + 59, rows[59])
                made.poll()
                assert mine.read(mine.symbols["AAA"], grid.holding(G0 + 59), 1)[0][0, 9] == 0.5
                assert mine.counter("corrections") == 1
                Resampler(base, mine, grid).poll()  # begun anew: NaN is no difference
                assert mine.counter("corrections") == 1


@pytest.mark.parametrize("seed", range(10))
def test_random_histories(tmp_path: Path, seed: int) -> None:
    """Everything that can happen, in any order; the store ends as the reference says."""
    random = np.random.default_rng(seed)
    interval, offset = [
        ("5m", 0), ("5m", 4), ("15m", 0), ("15m", 11), ("3m", 1), ("30m", 13),
        ("10m", 0), ("10m", 7), ("45m", 20), ("24m", 23),
    ][seed]  # fmt: skip
    world = World(tmp_path, interval, offset, window=40)
    world.random = random
    world.g = G0 + 60
    for name in ("AAA", "BBB", "CCC"):
        world.list(name, G0)
    world.minute()
    names = iter(f"NEW{i}" for i in range(100))
    for _ in range(400):
        what = random.integers(0, 40)
        if what == 0 and len(world.writer.symbols) < 6 and world.writer.directory_version < 60:
            name, first = next(names), world.g - int(random.integers(0, 20))
            world.onboard(**{name: first if random.random() < 0.7 else first - 500})
            world.list(name, first)
        elif what == 1 and len(world.writer.symbols) > 2:
            gone = str(random.choice(sorted(set(world.writer.symbols) - {"AAA"})))
            world.writer.remove_symbol(world.writer.symbols[gone])
        elif what == 2:
            world.shut()
            for _ in range(int(random.integers(0, 20))):
                world.minute()
            world.open()
        elif what < 12:
            symbol = str(random.choice(sorted(world.writer.symbols)))
            slot = world.writer.symbols[symbol]
            low = max(world.writer.first_g(slot), world.g - 40)
            if low < world.g:
                world.correct(symbol, int(random.integers(low, world.g)))
        statuses = {
            symbol: Status(int(random.choice([BAR, ABSENT, PENDING], p=[0.8, 0.1, 0.1])))
            for symbol in world.writer.symbols
        }
        for symbol in random.permutation(sorted(world.writer.symbols)).tolist():
            world.bar(symbol, statuses[symbol])
            if random.random() < 0.2:
                world.resampler.poll()
                world.resampler.form()
        world.complete()
        if random.random() < 0.7:
            world.resampler.poll()
    world.resampler.poll()
    assert world.mine.complete_g == world.grid.holding(world.g) - 1
    begin = {
        name: world.grid.holding(min(truth) - 1) + 1  # its first whole bar
        if world.listed.get(name, 0) < min(truth)
        else world.grid.holding(min(truth))
        for name, truth in world.truth.items()
    }
    now = world.grid.holding(world.g)
    assert {name for name in world.writer.symbols if now > begin[name]} == set(world.mine.symbols)
    for name in world.listed.keys() & world.mine.symbols:
        assert world.mine.first_g(world.mine.symbols[name]) == begin[name]
    n = {symbol: world.check(symbol) for symbol in world.mine.symbols}
    assert n["AAA"] >= min(40, 400 // world.grid.n), n
    world.close()


def test_an_engine_on_hours_with_an_offset(five: World) -> None:
    five.g = G0 + 60
    for name in ("AAA", "BBB"):
        five.list(name, G0)
    five.minute()
    five.resampler.poll()
    with attach("long", directory=five.folder) as store:
        engine = Engine(store, [["PctChg", 3]])
        for _ in range(23):
            five.minute()
            five.resampler.poll()
        assert engine.poll() >= 4
        close = store["AAA"].copy().values[3]
        assert engine["PctChg_3"][store.symbols["AAA"]] == pytest.approx(close[-1] / close[-4] - 1)
        assert engine.run_time == store.run_time
        assert engine.run_time % (5 * MINUTE) == 2 * MINUTE


def test_status_recorder_and_frames_take_it_as_it_is(five: World) -> None:
    five.g = G0 + 60
    five.list("AAA", G0)
    five.minute()
    five.resampler.poll()
    found = look_at("long", five.folder)
    assert (found.interval, found.active, found.error, found.trade_type) == ("5m", 1, None, "usdt_perp")
    with attach("long", directory=five.folder) as store:
        assert [rows.symbol for rows in copy_rows(store)] == ["AAA"]
        frame = store.to_pandas("AAA")
        assert len(frame) == len(store["AAA"])
        assert frame.index[-1].value // 10**6 == store.run_time
