"""bmac_stream/engine.py: whatever happens to the bars on their way, the factors are those of a batch."""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bmac_stream
from bmac_stream.bar import COLUMNS
from bmac_stream.config import Config
from bmac_stream.engine import CHECKPOINT_BARS, REPLAY_EVERY_S, Engine, FactorError, Follower
from bmac_stream.engine_process import statics_of
from factor_defs import registry
from kernels.batch import batch
from kernels.cross_section import GATE, cs_demean, cs_mean, cs_neutralise, cs_rank
from kernels.cumulative import cum_sum
from kernels.elementwise import fill, is_missing, select
from kernels.exponential import ema
from kernels.node import Node, field
from kernels.plan import MEMBER, Plan
from kernels.rolling import ts_mean, ts_std, ts_sum
from kernels.run import Program
from kernels.shift import delay
from shm import Spec, Status, StoreWriter

CLOSE, VOLUME = field("close"), field("volume")
FIRST = 5_000_000
WINDOW = 150
N = 9


def nodes() -> dict[str, Node]:
    gated = GATE(CLOSE, MEMBER)[0]
    return {
        "mean": ts_mean(CLOSE, 7),
        "spread": ts_std(CLOSE, 20, 5) / ts_mean(VOLUME, 60),
        "behind": ts_mean(gated, 5, 2) - CLOSE,
        "bar": select(CLOSE > VOLUME, CLOSE, VOLUME),
    }


class Market:
    """A store, and what was written to it: bars [n_bars, n_columns, n_slots] from FIRST on, and members."""

    def __init__(self, directory: Path, history: int = 200, max_symbols: int = 16) -> None:
        spec = Spec(
            columns=COLUMNS,
            window=WINDOW,
            slack=40,
            max_symbols=max_symbols,
            interval_ms=60_000,
            source="test",
        )
        self.random = np.random.default_rng(7)
        self.directory = directory
        self.writer = StoreWriter.open("bars", spec, directory=directory)
        self.bars = np.full((9000, len(COLUMNS), max_symbols), np.nan)
        self.members = np.zeros((9000, max_symbols))
        self.g = FIRST + history
        for i in range(N):
            self.list(f"S{i}", FIRST, history)
        self.writer.complete(self.g - 1)

    def bar(self) -> Any:
        return np.exp(self.random.normal(size=len(COLUMNS)))

    def list(self, symbol: str, first_g: int, n: int) -> int:
        slot = self.writer.add_symbol(symbol, first_g)
        values = np.array([self.bar() for _ in range(n)]).reshape(n, len(COLUMNS))
        status = np.ones(n, np.uint8)
        for i in np.flatnonzero(self.random.random(n) < 0.05):
            values[i], status[i] = np.nan, Status.ABSENT
        at = first_g - FIRST
        self.bars[at : at + n, :, slot] = values
        self.members[at : at + n, slot] = status == 1
        self.writer.load(slot, first_g, values, status)
        self.writer.activate(slot)
        return slot

    def put(self, slot: int, status: Status = Status.BAR) -> None:
        values = self.bar() if status == Status.BAR else np.full(len(COLUMNS), np.nan)
        self.bars[self.g - FIRST, :, slot] = values
        self.members[self.g - FIRST, slot] = status == Status.BAR
        self.writer.append(slot, self.g, values, int(status))

    def correct(self, slot: int, g: int) -> None:
        """A late or revised bar; who was a member stays so."""
        values = self.bar()
        self.bars[g - FIRST, :, slot] = values
        self.writer.correct(slot, g, values)

    def complete(self) -> None:
        self.writer.complete(self.g)
        self.g += 1

    def close(self, late: Mapping[int, Status] | None = None) -> None:
        """One bar of every live symbol, in random order."""
        for slot in self.random.permutation(list(self.writer.symbols.values())):
            self.put(int(slot), (late or {}).get(int(slot), Status.BAR))
        self.complete()

    def close_but(self, *without: int) -> None:
        """One bar of every live symbol but these, which begin later."""
        for slot in self.writer.symbols.values():
            if slot not in without:
                self.put(slot)
        self.complete()

    def attach(self) -> bmac_stream.Store:
        return bmac_stream.attach("bars", directory=self.directory)

    def expected(self, origin: Any, which: Mapping[str, Node] | None = None) -> Any:
        """Every factor of the newest run_time by batch, each slot from its own first bar on."""
        plan = Plan(which or nodes())
        n = self.g - FIRST
        bars, members = self.bars[:n].copy(), self.members[:n].copy()
        start = min(int(first) for first in origin if first >= 0) - FIRST
        for slot, first in enumerate(origin):  # those delisted are in the past cross-sections they were in
            bars[: max(first - FIRST, 0), :, slot] = np.nan
        columns = {name: i for i, name in enumerate(COLUMNS)}
        out = batch(
            Program(plan, bars.shape[2]),
            np.ascontiguousarray(bars[start:]),
            g=FIRST + start,
            first=np.array([first if first >= 0 else FIRST + start for first in origin], np.int64),
            columns=columns,
            members=np.ascontiguousarray(members[start:]),
        )
        return out[-1]


@pytest.fixture
def market(tmp_path: Path) -> Iterator[Market]:
    made = Market(tmp_path)
    yield made
    made.writer.close()


def agree(engine: Engine, market: Market) -> None:
    """Bit for bit the batch over the same bars, the same first bars, the same members."""
    assert engine.run_time == engine.store.open_time_of(market.g)
    expected = market.expected(engine.origin_g, dict(zip(engine.plan.names, engine.plan.nodes, strict=True)))
    found = engine.values
    slots = engine.store.slots
    assert len(slots) and np.isfinite(found[:, slots]).any()
    assert found[:, slots].tobytes() == np.ascontiguousarray(expected[:, slots]).tobytes()
    assert np.array_equal(engine.members[slots], market.members[market.g - 1 - FIRST, slots])


@pytest.mark.slow
def test_warm_up_then_bar_by_bar(market: Market) -> None:
    engine = Engine(market.attach(), nodes())
    assert (engine.origin_g[:N] == FIRST + 50).all()
    agree(engine, market)
    for _ in range(70):
        market.close()
        assert engine.poll() == 1
        agree(engine, market)


def test_a_start_at_any_bar(market: Market) -> None:
    """Wherever in its ring the store is: bars are taken from where they lie."""
    for _ in range(30):
        for _ in range(5):
            market.close()
        engine = Engine(market.attach(), nodes())
        agree(engine, market)


def test_a_symbols_own_factors_come_with_its_own_bar(market: Market) -> None:
    engine = Engine(market.attach(), nodes())
    before = engine.symbol("S3")
    assert before.tobytes() == engine.values[:, 3].copy().tobytes()
    market.put(3)
    assert engine.poll() == 0
    after = engine.symbol("S3")
    bar = market.bars[market.g - FIRST, :, 3]
    assert after[3] == max(bar[3], bar[4]), "the newest bar's"
    assert after[2] == before[2], "what is behind the cross-section waits for the run_time"
    assert engine.symbol("S4").tobytes() == engine.values[:, 4].copy().tobytes()
    for slot in (0, 1, 2, 4, 5, 6, 7, 8):
        market.put(slot)
    market.complete()
    assert engine.poll() == 1
    agree(engine, market)


def test_absent_and_pending_bars_and_late_fills(market: Market) -> None:
    engine = Engine(market.attach(), nodes())
    for i in range(90):
        late = {2: Status.PENDING} if i % 10 == 4 else {5: Status.ABSENT} if i % 7 == 1 else {}
        market.close(late)
        engine.poll()
        agree(engine, market)
        if i % 10 == 6:
            market.correct(2, market.g - 3)  # the one that was pending
            engine.poll()
            agree(engine, market)
    assert engine.origin_g[2] == FIRST + 50, "every fill was taken from a checkpoint"


def test_a_late_fill_from_before_every_checkpoint_moves_the_origin(market: Market) -> None:
    engine = Engine(market.attach(), nodes())
    market.close({1: Status.PENDING})
    for _ in range(3 * CHECKPOINT_BARS):
        market.close()
        engine.poll()
    market.correct(1, FIRST + 200)
    engine.poll()
    assert engine.origin_g[1] == market.g - WINDOW and engine.origin_g[0] == FIRST + 50
    agree(engine, market)
    market.close()
    engine.poll()
    agree(engine, market)


def test_a_correction_while_the_symbol_is_a_bar_ahead(market: Market) -> None:
    engine = Engine(market.attach(), nodes())
    market.close({4: Status.PENDING})
    engine.poll()
    market.put(4)
    engine.poll()
    market.correct(4, market.g - 1)
    engine.poll()
    agree(engine, market)
    for slot in (0, 1, 2, 3, 5, 6, 7, 8):
        market.put(slot)
    market.complete()
    engine.poll()
    agree(engine, market)


def test_a_revised_member_changes_the_cross_sections_it_was_in(market: Market) -> None:
    engine = Engine(market.attach(), nodes() | {"long": ts_mean(GATE(CLOSE, MEMBER)[0], 80, 1)})
    for _ in range(5):
        market.close()
    engine.poll()
    market.correct(6, market.g - 2)
    engine.poll()
    assert (engine.origin_g[:N] == FIRST + 50).all(), "from a checkpoint"
    agree(engine, market)
    for _ in range(2 * CHECKPOINT_BARS):
        market.close()
        engine.poll()
    market.correct(6, market.g - 2 * CHECKPOINT_BARS - 1)
    engine.poll()
    assert (engine.origin_g[:N] == market.g - WINDOW).all(), "from the oldest bar in the store"
    agree(engine, market)


def test_listing_and_delisting(market: Market) -> None:
    engine = Engine(market.attach(), nodes())
    market.close()
    engine.poll()
    young = market.list("NEW", market.g - 60, 60)
    market.members[:, young] = 0.0  # it was in no cross-section yet
    empty = market.list("BORN", market.g, 0)
    for _ in range(8):
        market.close()
        engine.poll()
        agree(engine, market)
    assert engine.origin_g[young] == market.g - 68 and engine.origin_g[empty] == market.g - 8
    market.writer.remove_symbol(2)
    market.close()
    engine.poll()
    assert np.isnan(engine.values[:, 2]).all() and engine.next_g[2] == -1
    agree(engine, market)


def test_who_slept_too_long_begins_again(market: Market) -> None:
    engine = Engine(market.attach(), nodes())
    for _ in range(WINDOW + 90):
        market.close()
    engine.poll()
    assert (engine.origin_g[:N] == market.g - WINDOW).all()
    agree(engine, market)


def test_peek_is_the_close_and_commits_nothing(market: Market) -> None:
    engine = Engine(market.attach(), nodes())
    assert engine.peek("S0") is None
    forming = market.bar()
    market.writer.write_forming(0, market.g, forming)
    state = engine.program.state.tobytes()
    got = engine.peek("S0")
    assert engine.program.state.tobytes() == state
    market.bars[market.g - FIRST, :, 0] = forming
    market.writer.append(0, market.g, forming)
    engine.poll()
    want = engine.symbol("S0")
    want[2] = np.nan  # behind the cross-section
    assert got is not None and got.tobytes() == want.tobytes()
    assert engine.peek("S0") is None, "that bar has closed"


def test_save_and_restore(market: Market, tmp_path: Path) -> None:
    engine = Engine(market.attach(), nodes())
    for _ in range(10):
        market.close()
    engine.poll()
    market.put(3)
    engine.poll()
    path = tmp_path / "state"
    assert engine.save(path) == path.stat().st_size
    for slot in (0, 1, 2, 4, 5, 6, 7, 8):
        market.put(slot)
    market.complete()
    for _ in range(30):
        market.close({1: Status.PENDING})
    market.correct(1, market.g - 5)
    engine.poll()
    again = Engine(market.attach(), nodes(), state=path)
    assert again.started_from.startswith(str(path)) and (again.origin_g == engine.origin_g).all()
    assert again.values.tobytes() == engine.values.tobytes()
    agree(again, market)
    again.save(path)
    at_once = Engine(market.attach(), nodes(), state=path)  # no bar has closed since
    assert at_once.started_from.startswith(str(path))
    agree(at_once, market)
    other = Engine(market.attach(), {"mean": ts_mean(CLOSE, 8)}, state=path)
    assert "only there: ['spread', 'behind', 'bar']" in other.started_from
    assert np.isfinite(other["mean"][0])
    path.write_bytes(path.read_bytes()[:-1])
    assert "should have" in Engine(market.attach(), nodes(), state=path).started_from


def test_a_restored_engine_knows_what_the_newest_bars_are(market: Market, tmp_path: Path) -> None:
    told: dict[int, list[int]] = {}

    class Told(Follower):
        def begun(self, engine: Engine, slot: int, g: int, values: Any, status: Any) -> None:
            told[slot] = status.tolist()

    for _ in range(3):
        market.close({5: Status.ABSENT})
        engine = Engine(market.attach(), nodes())
        market.put(3, Status.ABSENT)  # a bar ahead
        engine.poll()
        engine.save(tmp_path / "state")
        again = Engine(market.attach(), nodes(), state=tmp_path / "state", follower=Told())
        assert told == {slot: [Status.ABSENT if slot in (3, 5) else Status.BAR] for slot in range(N)}
        for slot in (0, 1, 2, 4, 5, 6, 7, 8):
            market.put(slot)
        market.complete()
        again.poll()
        agree(again, market)


def test_what_was_polled_is_told_without_sleeping(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(market.attach(), nodes())
    market.close()
    assert engine.poll() == 1
    asked: list[int] = []
    monkeypatch.setattr("bmac_stream.engine.sleep", lambda words, seen, timeout_ns: asked.append(timeout_ns))
    assert engine.wait(timeout_s=30) == engine.run_time and not any(asked)


def test_factors_change_at_run_time(market: Market) -> None:
    engine = Engine(market.attach(), nodes())
    for _ in range(40):
        market.close()
        engine.poll()
    market.put(5)
    engine.poll()
    before = engine.values[:2].copy()
    kept = {name: node for name, node in nodes().items() if name != "bar"}
    shared = engine.set_factors(kept | {"new": ts_mean(VOLUME, 30) / ts_mean(CLOSE, 7)})
    assert shared >= 5 and engine.names == ("mean", "spread", "behind", "new")
    assert engine.values[:2].tobytes() == before.tobytes()
    assert np.isfinite(engine["new"][:N]).any()
    for slot in (0, 1, 2, 3, 4, 6, 7, 8):
        market.put(slot)
    market.complete()
    for _ in range(100):  # by now nothing depends on the first bar
        market.close()
    engine.poll()
    agree(engine, market)


def test_what_cannot_be_computed_is_named(market: Market) -> None:
    store = market.attach()
    with pytest.raises(FactorError, match=r"mean needs 200 bars .* keeps 150"):
        Engine(store, {"mean": ts_mean(CLOSE, 200)})
    with pytest.raises(FactorError, match=r"no columns \['funding'\], which a, b read"):
        Engine(store, {"a": field("funding") * 2, "b": field("funding") * 3, "c": CLOSE * 2})
    with pytest.raises(FactorError, match="did you mean"):
        Engine(store, [["PctChange", 5]])
    engine = Engine(store, {"mean": ts_mean(CLOSE, 5)})
    with pytest.raises(KeyError, match="did you mean 'mean'"):
        engine["maen"]


def test_an_empty_market_and_a_symbol_of_three_bars(tmp_path: Path) -> None:
    spec = Spec(columns=COLUMNS, window=WINDOW, slack=40, max_symbols=8, interval_ms=60_000, source="test")
    with StoreWriter.open("bars", spec, directory=tmp_path) as writer:
        engine = Engine(bmac_stream.attach("bars", directory=tmp_path), nodes())
        assert engine.poll() == 0 and engine.run_time == 0 and engine.values.shape == (4, 0)
        slot = writer.add_symbol("A", 100)
        writer.load(slot, 100, np.ones((3, len(COLUMNS))), np.ones(3, np.uint8))
        writer.activate(slot)
        writer.complete(102)
        assert engine.poll() == 1
        assert np.isnan(engine["mean"][0]) and engine["bar"][0] == 1.0 and engine["behind"][0] == 0.0


def test_fields_that_are_no_columns(market: Market) -> None:
    store = market.attach()
    first = market.list("BTCX", market.g - 30, 30)
    market.list("BTC", market.g - 30, 30)
    given = {
        "hour": field("open_time") / 3_600_000.0,
        "flag": field("is_btc") * 2.0,
        "before": delay(field("group"), 3) + CLOSE * 0.0,
        "mine": field("weight") * 1.0,
    }
    engine = Engine(store, given, statics={"weight": {"S1": 0.5}, "group": {"S0": 7.0}})
    market.close()
    late = market.list("S99", market.g - 10, 10)
    market.close()
    engine.poll()
    assert engine["hour"][0] == store.open_time_of(market.g - 1) / 3_600_000.0
    assert engine["flag"][store["BTC"].slot] == 2.0 and engine["flag"][first] == 0.0 == engine["flag"][late]
    assert engine["before"][0] == 7.0 and np.isnan(engine["before"][1])
    assert engine["mine"][1] == 0.5 and np.isnan(engine["mine"][late])
    market.correct(1, market.g - 40)
    engine.poll()
    assert engine["mine"][1] == 0.5


def test_groups_of_symbols(market: Market) -> None:
    config = Config(interval="1m", trade_type="usdt_perp", factor_groups={"S1": "a", "S2": "a", "S5": "b"})
    market.list("S10", market.g, 0)
    given = {"apart": cs_neutralise(CLOSE, field("group"))}
    engine = Engine(market.attach(), given, statics=statics_of(config))
    market.close()
    engine.poll()
    close = market.bars[market.g - 1 - FIRST, 3]
    assert engine["apart"][5] == 0.0, "alone in its group"
    assert engine["apart"][1] == -engine["apart"][2] != 0.0
    rest = [0, 3, 4, 6, 7, 8, 9]
    assert np.allclose(engine["apart"][rest], close[rest] - close[rest].mean())
    whole = registry.library("alpha101")
    assert "group" in Plan(whole).fields


# ---- what happens in between -----------------------------------------------------------------------------


def test_a_name_that_means_something_else_from_now_on(market: Market) -> None:
    engine = Engine(market.attach(), {"x": ts_mean(CLOSE, 7)})
    market.close()
    engine.set_factors({"x": ts_mean(CLOSE, 3)})
    agree(engine, market)


def test_a_symbol_listed_again_does_not_take_up_its_former_state(market: Market, tmp_path: Path) -> None:
    which = {"e": ema(CLOSE, 5)}
    engine = Engine(market.attach(), which)
    engine.save(tmp_path / "state")
    market.writer.remove_symbol(2)
    new = market.list("S2", market.g - 3, 3)
    market.members[:, new] = 0.0
    market.close()
    again = Engine(market.attach(), which, state=tmp_path / "state")
    assert again.started_from.startswith(str(tmp_path)) and again.origin_g[new] == market.g - 4
    agree(again, market)


def test_a_checkpoint_brings_no_old_statics_back(market: Market) -> None:
    first = market.list("BTCX", market.g - 30, 30)
    engine = Engine(market.attach(), {"flag": field("is_btc") * 2.0, "e": ema(CLOSE, 5)})
    for _ in range(CHECKPOINT_BARS):
        market.close()
        engine.poll()
    market.close({first: Status.PENDING})
    market.list("BTC", market.g - 30, 30)
    market.close()
    engine.poll()
    assert engine["flag"][first] == 0.0
    market.correct(first, market.g - 2)
    market.close()
    engine.poll()
    assert engine.origin_g[first] < market.g - 40 and engine["flag"][first] == 0.0


def test_pending_then_there_before_the_run_time(market: Market) -> None:
    engine = Engine(market.attach(), nodes())
    market.put(4, Status.PENDING)
    engine.poll()
    market.correct(4, market.g)
    market.members[market.g - FIRST, 4] = 1.0
    for slot in (0, 1, 2, 3, 5, 6, 7, 8):
        market.put(slot)
    market.complete()
    engine.poll()
    agree(engine, market)


def test_what_comes_while_factors_change(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan may take seconds to compile: corrections, listings, delistings are not lost meanwhile."""
    engine = Engine(market.attach(), {"e": ema(CLOSE, 5), "m": ts_mean(CLOSE, 5)})
    market.close({4: Status.PENDING})
    engine.poll()
    use = Engine._use

    def slowly(self: Engine, nodes: Mapping[str, Node]) -> None:
        use(self, nodes)
        market.correct(4, market.g - 1)
        market.writer.remove_symbol(2)
        young = market.list("NEW", market.g - 20, 20)
        market.members[:, young] = 0.0

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "_use", slowly)
        engine.set_factors({"m": ts_mean(CLOSE, 5), "v": ts_mean(VOLUME, 3)})
    engine.poll()
    assert engine.next_g[2] == -1 and engine.next_g[9] == market.g
    market.close()
    engine.poll()
    agree(engine, market)


@pytest.mark.parametrize("behind", range(-12, 3))
def test_a_correction_seen_when_its_checkpoint_is_about_to_be_gone(market: Market, behind: int) -> None:
    engine = Engine(market.attach(), {"e": ema(CLOSE, 5), "m": ts_mean(CLOSE, 5)})
    for _ in range(4):
        market.close()
    market.close({4: Status.PENDING})
    engine.poll()
    g = market.g - 1
    for _ in range(engine.store.cap + behind - 1):
        market.close()
    if market.g - engine.store.cap < g:
        market.correct(4, g)
    engine.poll()
    agree(engine, market)


def test_nothing_is_remembered_of_before_a_listing(market: Market) -> None:
    which = {"s": ts_sum(fill(CLOSE, 0.0), 20), "c": cum_sum(is_missing(VOLUME))}
    engine = Engine(market.attach(), which)
    new = market.list("NEW", market.g - 30, 30)
    born = market.list("BORN", market.g, 0)
    for _ in range(5):
        market.close()
        engine.poll()
    agree(engine, market)
    again = Engine(market.attach(), which)
    for slot in (new, born):
        assert again.values[:, slot].tobytes() == engine.values[:, slot].tobytes()


async def test_waiting_for_a_market_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = Spec(columns=COLUMNS, window=WINDOW, slack=40, max_symbols=8, interval_ms=60_000, source="test")
    with StoreWriter.open("bars", spec, directory=tmp_path):
        engine = Engine(bmac_stream.attach("bars", directory=tmp_path), nodes())
        polls: list[int] = []
        monkeypatch.setattr(engine, "poll", lambda: polls.append(1))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(engine.run_times()), 0.3)
        assert len(polls) < 10


# ---- cross-sections that remember ------------------------------------------------------------------------


def remembering() -> dict[str, Node]:
    """What a late bar, a listing and a delisting reach through others, or through the past."""
    return {
        "smooth": ts_mean(cs_demean(ts_mean(CLOSE, 3, 1)), 4),
        "ranked": ts_mean(cs_rank(ts_mean(CLOSE, 3, 1)), 4),
        "twice": cs_rank(fill(cs_rank(CLOSE), 0.0)),
        "nested": cs_rank(ts_mean(cs_rank(VOLUME), 6, 1)) - cs_mean(ts_std(CLOSE, 5, 2)),
        "filled": ts_sum(fill(cs_rank(CLOSE), 0.5), 6),
        "own": ts_mean(CLOSE, 7),
    }


@pytest.mark.parametrize("depth", [1, 70])
def test_a_late_bar_is_in_later_cross_sections_as_if_it_had_come_in_time(market: Market, depth: int) -> None:
    """Its symbol is no member of its own bar's, and one of the next: there its mean is another now."""
    engine = Engine(market.attach(), remembering(), depth=depth)
    for age in (1, 2, 5, 20, 40):
        market.close({4: Status.PENDING})
        for _ in range(age):
            market.close()
            engine.poll()
        published = engine["smooth"].copy()
        market.correct(4, market.g - 1 - age)
        engine.poll()
        assert (engine["smooth"].tobytes() != published.tobytes()) == (age <= 5), age
        agree(engine, market)
        for _ in range(6):
            market.close()
            engine.poll()
            agree(engine, market)
    assert (engine.origin_g[:N] == FIRST + 50).all()


def test_a_late_bar_while_others_are_a_bar_ahead(market: Market) -> None:
    engine = Engine(market.attach(), remembering())
    market.close({4: Status.PENDING})
    market.close()
    for slot in (2, 4, 7):
        market.put(slot)
    engine.poll()
    own = engine.symbol("S2")
    market.correct(4, market.g - 2)
    engine.poll()
    assert engine.symbol("S2")[-1] == own[-1], "its own factors are those of its newest bar"
    agree(engine, market)
    for slot in (0, 1, 3, 5, 6, 8):
        market.put(slot)
    market.complete()
    engine.poll()
    agree(engine, market)


def test_listed_and_delisted_between_a_late_bar_and_its_coming(market: Market) -> None:
    """Members stay who they were: the delisted are in past cross-sections, the listed are not."""
    engine = Engine(market.attach(), remembering())
    market.close()
    market.close({4: Status.PENDING})
    engine.poll()
    young = market.list("NEW", market.g - 60, 60)
    market.members[:, young] = 0.0
    born = market.list("BORN", market.g + 1, 0)
    market.bars[market.g - FIRST, :, born] = np.nan
    market.close_but(born)
    engine.poll()
    agree(engine, market)
    market.writer.remove_symbol(2)
    market.close()
    engine.poll()
    agree(engine, market)
    market.correct(4, market.g - 3)
    engine.poll()
    agree(engine, market)
    for _ in range(7):
        market.close()
        engine.poll()
        agree(engine, market)


def test_nothing_is_remembered_of_before_a_first_bar_that_is_still_to_come(market: Market) -> None:
    """Neither live, nor after a late bar that takes the market back to before it, nor by its own late bar."""
    which = remembering() | {"filled own": ts_sum(fill(CLOSE, 0.5), 20)}
    engine = Engine(market.attach(), which)
    for age in (1, 3, 8):
        market.close({4: Status.PENDING})
        engine.poll()
        new = market.list(f"NEW{age}", market.g + 1, 0)
        engine.poll()
        market.bars[market.g - FIRST, :, new] = np.nan
        market.close_but(new)
        for _ in range(age):
            market.close({new: Status.PENDING})
            engine.poll()
            agree(engine, market)
        for slot, back in ((4, age + 2), (new, 1)):
            market.correct(slot, market.g - back)
            engine.poll()
            agree(engine, market)
    market.close({new: Status.PENDING})
    again = Engine(market.attach(), which)  # it has checkpoints from before all of these
    market.members = np.isfinite(market.bars[:, 3]).astype(float)  # nobody has told it of others
    market.correct(new, market.g - 1)
    for _ in range(2):
        again.poll()
        agree(again, market)
        market.close()


def test_the_markets_checkpoint_brings_no_old_statics_back(market: Market) -> None:
    first = market.list("BTCX", market.g - 30, 30)
    which = {"flag": field("is_btc") + CLOSE * 0.0, "long": ts_mean(cs_rank(ts_mean(CLOSE, 3)), 9, 1)}
    engine = Engine(market.attach(), which)
    market.close({4: Status.PENDING})
    engine.poll()
    assert engine["flag"][first] == 1.0
    btc = market.list("BTC", market.g - 30, 30)
    for _ in range(2):
        market.close()
    engine.poll()
    market.correct(4, market.g - 3)
    engine.poll()
    market.close()
    engine.poll()
    assert engine["flag"][first] == 0.0 and engine["flag"][btc] == 1.0


def test_a_late_bar_of_a_symbol_that_is_delisted_by_now(market: Market) -> None:
    engine = Engine(market.attach(), remembering())
    market.close({2: Status.PENDING})
    for _ in range(2):
        market.close()
    engine.poll()
    market.correct(2, market.g - 3)
    market.writer.remove_symbol(2)
    market.close()
    engine.poll()
    agree(engine, market)


def test_an_engine_that_begins_counts_the_delisted_where_they_were(market: Market) -> None:
    market.writer.remove_symbol(2)
    market.close()
    market.members[market.g - 1 - FIRST, 2] = 0.0
    agree(Engine(market.attach(), remembering()), market)


def test_an_outage_is_seen_by_one_replay(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    """Late bars of many symbols, together or one by one, older than every checkpoint or not."""
    now = [0.0]
    monkeypatch.setattr("bmac_stream.engine.time.monotonic", lambda: now[0])
    engine = Engine(market.attach(), remembering())
    replays: list[str] = []

    def counted(name: str, function: Any) -> Any:
        def call(*args: Any) -> None:
            replays.append(name)
            function(*args)

        return call

    for name in ("_start", "_redo_market"):
        monkeypatch.setattr(Engine, name, counted(name, getattr(Engine, name)))
    out = (1, 3, 5, 8)
    market.close(dict.fromkeys(out, Status.PENDING))
    market.close()
    engine.poll()
    for slot in out:
        market.correct(slot, market.g - 2)
    engine.poll()
    agree(engine, market)
    assert replays == ["_redo_market"]
    replays.clear()
    market.close(dict.fromkeys(out, Status.PENDING))
    late = market.g - 1
    for _ in range(3 * CHECKPOINT_BARS):
        market.close()
    engine.poll()
    which = {"long": ts_mean(cs_rank(ts_mean(CLOSE, 60, 1)), 40)}
    engine.set_factors(which)
    for _ in range(CHECKPOINT_BARS + 1):
        market.close()
    engine.poll()
    now[0] = 100.0
    for slot in out:
        market.correct(slot, late)
        engine.poll()
    assert replays == ["_start"], "the others wait"
    now[0] += REPLAY_EVERY_S - 0.1
    engine.poll()
    assert replays == ["_start"]
    now[0] += 0.2
    engine.poll()
    engine.poll()
    assert replays == ["_start", "_start"]
    agree(engine, market)


def test_who_was_no_member_and_is_none_costs_no_replay(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage that is filled while it lasts, and factors whose ranks look back at nothing."""
    engine = Engine(market.attach(), remembering() | {"long": cs_rank(ts_mean(CLOSE, 60, 1))})
    monkeypatch.setattr(Engine, "_start", None)
    monkeypatch.setattr(Engine, "_redo_market", None)
    for _ in range(3):
        market.close({4: Status.PENDING})
    engine.poll()
    for age in (3, 2, 1):
        market.correct(4, market.g - age)
        engine.poll()
        agree(engine, market)
    engine.set_factors({"rank": cs_rank(CLOSE), "mean": ts_mean(cs_rank(VOLUME), 30, 1)})
    market.close({4: Status.PENDING})
    market.close()
    engine.poll()
    market.correct(4, market.g - 2)
    engine.poll()
    agree(engine, market)


def test_members_are_known_after_a_restart(market: Market, tmp_path: Path) -> None:
    """With the state, also where it is of other factors: who was late is a member of nothing it missed."""
    engine = Engine(market.attach(), remembering())
    market.close({4: Status.PENDING, 6: Status.PENDING})
    market.close()
    engine.poll()
    for slot in (4, 6):
        market.correct(slot, market.g - 2)
    engine.poll()
    path = tmp_path / "state"
    engine.save(path)
    again = Engine(market.attach(), remembering(), state=path)
    assert again.started_from.startswith(str(path))
    agree(again, market)
    market.correct(6, market.g - 1)  # from before the state: a checkpoint is none yet, so from the oldest bar
    again.poll()
    agree(again, market)
    other = Engine(market.attach(), remembering() | {"more": cs_rank(VOLUME)}, state=path)
    assert "only here: ['more']" in other.started_from
    agree(other, market)
    without = Engine(market.attach(), remembering())
    assert without["smooth"].tobytes() != again["smooth"].tobytes(), "the store has the late bars by now"


def test_a_state_of_other_groups_is_refused(market: Market, tmp_path: Path) -> None:
    which = {"a": ts_mean(cs_neutralise(CLOSE, field("group")), 5)}
    engine = Engine(market.attach(), which, statics={"group": {"S1": 1.0}})
    path = tmp_path / "state"
    engine.save(path)
    assert Engine(market.attach(), which, statics={"group": {"S1": 1.0}}, state=path).started_from.startswith(
        str(path)
    )
    other = Engine(market.attach(), which, statics={"group": {"S1": 1.0, "S2": 1.0}}, state=path)
    assert "other groups" in other.started_from
    alike = {"mean": ts_mean(CLOSE, 5)}
    Engine(market.attach(), alike, statics={"group": {"S1": 1.0}}).save(path)
    same = Engine(market.attach(), alike, statics={"group": {"S1": 2.0}}, state=path)
    assert same.started_from.startswith(str(path)), "nobody reads them"


def test_other_groups_at_run_time(market: Market) -> None:
    """What is made of groups begins anew with them; all else goes on."""
    which = {
        "a": ts_mean(cs_neutralise(CLOSE, field("group")), 9),
        "mean": ts_mean(CLOSE, 7),
        "e": ema(CLOSE, 5),
    }
    groups = {"S1": 1.0, "S2": 1.0, "S5": 2.0}
    engine = Engine(market.attach(), which)
    for _ in range(3):
        market.close()
    engine.poll()
    before = engine.values[1:].copy()
    engine.set_factors(which, statics={"group": {"": 0.0, **groups}})
    new = Engine(market.attach(), which, statics={"group": {"": 0.0, **groups}})
    assert engine["a"].tobytes() == new["a"].tobytes()
    assert engine.values[1:].tobytes() == before.tobytes()
    with pytest.raises(FactorError):
        engine.set_factors([["PctChange", 5]], statics={"group": {}})
    assert engine.statics["group"]["S5"] == 2.0
