"""bmac_stream/{factor_writer,factors,engine_process}.py: what an engine publishes is what it computed."""

import copy
import json
import os
import pickle
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bmac_stream import engine_process
from bmac_stream.client import RunTime, attach
from bmac_stream.engine import Engine, FactorError, plan_factors
from bmac_stream.engine_process import EngineProcess, statics_of
from bmac_stream.errors import ShmError, StoreNotFound, StoreRetired, WriterDead
from bmac_stream.factor_writer import CROSS, FactorWriter, specs
from bmac_stream.factors import SUFFIX, Factors, attach_factors
from kernels.cross_section import cs_demean
from kernels.node import Node
from kernels.rolling import ts_mean
from shm import NoSpace, Spec, Status, StoreWriter
from shm.segment import segment_path
from tests.bmac_stream.fake_collector import G0, MINUTE, SOURCE, FakeCollector, run_time
from tests.bmac_stream.test_client import open_files
from tests.bmac_stream.test_engine import CLOSE, FIRST, Market, agree, nodes

DEPTH = 5
EXAMPLE = Path(__file__).parents[2] / "examples" / "strategy_shared_factors.py"
NAMES = ("mean", "spread", "bar", "behind")


class Published:
    """A market, an engine that publishes, and a reader of that."""

    def __init__(
        self, market: Market, state: Path | None = None, which: Mapping[str, Node] | None = None
    ) -> None:
        self.market = market
        store = market.attach()
        which = which or nodes()
        plan = plan_factors(store, which)
        own, cross = specs(store, plan, DEPTH)
        assert cross is not None

        def open_one(name: str, spec: Spec) -> StoreWriter:
            return StoreWriter.open(name, spec, directory=market.directory)

        self.writer = FactorWriter(plan, open_one("f", own), open_one("f" + CROSS, cross))
        self.engine = Engine(store, which, follower=self.writer, depth=DEPTH, state=state)
        self.factors = attach_factors("f", directory=market.directory)

    def check(self) -> None:
        """The reader sees the engine's values, of the same run_time."""
        engine, factors = self.engine, self.factors
        assert factors.run_time == engine.run_time
        found, symbols = factors.matrix(), factors.symbols
        for symbol, slot in engine.store.symbols.items():
            want = [engine[name][slot] for name in factors.names]
            assert found[symbols[symbol]].tobytes() == np.array(want).tobytes(), symbol
            assert factors.view("origin")[symbols[symbol], 0] == engine.origin_g[slot]
        for name in factors.names:
            row, rows = factors.cross_section(name), factors.symbols_of(name)
            for symbol, slot in engine.store.symbols.items():
                assert row[rows[symbol]].tobytes() == engine[name][slot].tobytes()


@pytest.fixture
def published(tmp_path: Path) -> Iterator[Published]:
    market = Market(tmp_path)
    made = Published(market)
    yield made
    made.factors.close()
    made.writer.close()
    market.writer.close()


def test_every_value_of_every_run_time(published: Published) -> None:
    market, engine = published.market, published.engine
    assert published.factors.names == NAMES
    published.check()
    for i in range(20):
        market.close({3: Status.PENDING} if i % 5 == 2 else None)
        engine.poll()
        agree(engine, market)
        published.check()
        member = published.factors.view("member")[:, 0]
        assert member[3] == (0.0 if i % 5 == 2 else 1.0)


def test_own_factors_are_published_with_the_symbols_own_bar(published: Published) -> None:
    market, engine, factors = published.market, published.engine, published.factors
    before = factors.symbol("S4")
    market.put(4)
    engine.poll()
    after = factors.symbol("S4")
    bar = market.bars[market.g - FIRST, :, 4]
    assert after["bar"] == max(bar[3], bar[4]) and after["behind"] == before["behind"]
    assert factors.symbol("S5")["bar"] == engine.symbol("S5")[3]
    assert factors.own["S4"].end_g == market.g + 1 and factors.own["S5"].end_g == market.g


def test_a_late_bar_sets_the_published_rows_right(published: Published) -> None:
    market, engine, factors = published.market, published.engine, published.factors
    market.close({2: Status.PENDING})
    market.close()
    engine.poll()
    old = factors.own["S2"].column("mean", 3).copy()
    market.correct(2, market.g - 2)
    engine.poll()
    new = factors.own["S2"].column("mean", 3).copy()
    assert np.isnan(old[1:]).all() and np.isfinite(new[1:]).all() and new[0] == old[0]
    assert new[-1] == engine["mean"][2]
    assert factors.own["S2"].column("status", 3).tolist() == [1.0, 1.0, 1.0]
    published.check()


def test_listing_delisting_and_a_second_engine(published: Published) -> None:
    market, engine, factors = published.market, published.engine, published.factors
    market.list("NEW", market.g - 60, 60)
    market.close()
    engine.poll()
    assert "NEW" in factors.symbols
    published.check()
    market.writer.remove_symbol(market.writer.symbols["S1"])
    for _ in range(3):
        market.close()
    engine.poll()
    assert "S1" not in factors.symbols
    published.check()
    # The engine dies, bars go on, a symbol goes, a new engine takes the stores over.
    published.writer.close()
    market.writer.remove_symbol(market.writer.symbols["S6"])
    for _ in range(9):
        market.close()
    again = Published(market)
    assert "S6" not in factors.symbols and factors.run_time == again.engine.run_time
    published.factors, published.engine, published.writer = factors, again.engine, again.writer
    published.check()
    market.close()
    again.engine.poll()
    published.check()
    again.factors.close()


@pytest.mark.parametrize(("published_since", "missed", "ahead"), [(0, 0, ()), (0, 0, (4,)), (3, 7, (2, 4))])
def test_a_second_engine_that_takes_up_a_state(
    published: Published, tmp_path: Path, published_since: int, missed: int, ahead: tuple[int, ...]
) -> None:
    """Bars that the first one published after the state was saved, bars that nobody has seen, symbols that
    are a bar ahead: readers see what they would have."""
    market, path = published.market, tmp_path / "state"
    market.close()
    published.engine.poll()
    if not missed:
        for slot in ahead:
            market.put(slot)
    published.engine.poll()
    published.engine.save(path)
    for _ in range(published_since):
        market.close({5: Status.PENDING})
    published.engine.poll()
    published.writer.close()
    for _ in range(missed):
        market.close()
    if missed:
        for slot in ahead:
            market.put(slot)
    again = Published(market, path)
    assert again.engine.started_from.startswith(str(path))
    published.writer = again.writer
    factors, engine = again.factors, again.engine
    assert factors.run_time == engine.run_time and factors.cross is not None
    for slot in ahead:
        values, bar = factors.symbol(f"S{slot}"), market.bars[market.g - FIRST, :, slot]
        assert values["bar"] == max(bar[3], bar[4]), "its own factors are those of its own bar"
        assert factors.cross[f"S{slot}"].end_g == market.g, "the market's are not there yet"
    if not ahead:
        again.check()
        agree(engine, market)
    for slot in sorted(set(range(9)) - set(ahead)):
        market.put(slot)
    market.complete()
    for _ in range(3):
        engine.poll()
        agree(engine, market)
        again.check()
        assert factors.view("member")[:9, 0].all()
        market.close()
    published.factors.close()
    published.factors = factors


def test_other_factors_while_a_symbol_is_a_bar_ahead(published: Published, tmp_path: Path) -> None:
    """Its cross-section is published with everybody's, not with the change."""
    market, engine = published.market, published.engine
    market.put(4)
    engine.poll()
    which = nodes() | {"more": ts_mean(CLOSE, 3)}
    own, cross = specs(engine.store, plan_factors(engine.store, which), DEPTH)
    assert cross is not None
    two = (
        StoreWriter.open(name, spec, directory=tmp_path) for name, spec in (("h", own), ("h.cross", cross))
    )
    with FactorWriter(plan_factors(engine.store, which), *two) as writer:
        engine.set_factors(which, follower=writer)
        with attach_factors("h", directory=tmp_path) as factors:
            assert factors.cross is not None and factors.cross["S4"].end_g == market.g
            for slot in (0, 1, 2, 3, 5, 6, 7, 8):
                market.put(slot)
            market.complete()
            engine.poll()
            agree(engine, market)
            row = factors.cross.symbols["S4"]
            assert factors.cross_section("behind")[row] == engine["behind"][4]
            assert factors.cross_section("member")[row] == 1.0


def test_everything_anew_while_a_symbol_is_a_bar_ahead(published: Published) -> None:
    """Its row is published already, and is set right."""
    market, engine = published.market, published.engine
    for _ in range(3):
        market.close()
    market.put(4)
    engine.poll()
    market.correct(6, market.g - 2)  # it had been a member
    engine.poll()
    own = published.factors.own["S4"]
    assert own.end_g == market.g + 1 and own.column("origin", 1)[-1] == engine.origin_g[4]
    for slot in (0, 1, 2, 3, 5, 6, 7, 8):
        market.put(slot)
    market.complete()
    engine.poll()
    agree(engine, market)
    published.check()
    market.close()
    engine.poll()
    published.check()


def test_a_second_engine_while_a_symbol_is_a_bar_ahead(published: Published) -> None:
    market = published.market
    market.close()
    market.put(4)
    published.engine.poll()
    published.writer.close()
    again = Published(market)
    published.writer, factors = again.writer, again.factors
    for slot in (0, 1, 2, 3, 5, 6, 7, 8):
        market.put(slot)
    market.complete()
    again.engine.poll()
    agree(again.engine, market)
    again.check()
    published.factors.close()
    published.factors = factors


def test_a_late_bar_sets_past_cross_sections_right(tmp_path: Path) -> None:
    """Those that are still held, of every symbol: later ones by what the late bar brings, members as they
    were."""
    market = Market(tmp_path)
    which = {"own": ts_mean(CLOSE, 3, 1), "apart": cs_demean(ts_mean(CLOSE, 3, 1))}
    made = Published(market, which=which)
    try:
        market.close({2: Status.PENDING})
        for _ in range(3):
            market.close()
        made.engine.poll()
        cross = made.factors.cross
        assert cross is not None
        old = cross.panel("apart", 5).copy()
        market.correct(2, market.g - 4)
        made.engine.poll()
        made.check()
        new, members = cross.panel("apart", 5), cross.panel("member", 5)
        own = made.factors.own.panel("own", 5)
        want = np.where(
            members == 1.0, own - np.nanmean(np.where(members == 1.0, own, np.nan), axis=0), np.nan
        )
        np.testing.assert_allclose(new[:9, 1:], want[:9, 1:], rtol=1e-9, atol=1e-12)
        assert members[2].tolist() == [1.0, 0.0, 1.0, 1.0, 1.0]
        assert (new[:9, 2:4] != old[:9, 2:4]).all() and new[:9, 0].tobytes() == old[:9, 0].tobytes()
    finally:
        made.factors.close()
        made.writer.close()
        market.writer.close()


def test_frames(published: Published) -> None:
    frame = published.factors.to_pandas()
    assert list(frame.columns) == list(NAMES) and list(frame.index) == [f"S{i}" for i in range(9)]
    assert frame.to_numpy().tobytes() == published.factors.matrix()[:9].tobytes()
    table = published.factors.to_arrow()
    assert table.column_names == ["symbol", *NAMES] and table.num_rows == 9
    assert published.factors.to_polars().columns == ["symbol", *NAMES]


def test_bars_are_no_factors(published: Published) -> None:
    with pytest.raises(StoreNotFound, match="holds bars, not factors"):
        attach_factors("bars", directory=published.market.directory)
    with pytest.raises(KeyError, match="no factor 'nothing'"):
        published.factors.view("nothing")


# ---- the process -----------------------------------------------------------------------------------------


def _config(market: Market, factors: Any, **more: Any) -> Path:
    path = market.directory / "config.json"
    settings = {
        "interval": "1m",
        "trade_type": "usdt_perp",
        "store": {"name": "bars", "directory": str(market.directory)},
        "factors": factors,
        "factor_depth": DEPTH,
        **more,
    }
    path.write_text(json.dumps(settings))
    return path


def _until(what: Any, timeout_s: float = 60.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = what()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def test_the_process_from_start_to_stop(tmp_path: Path) -> None:
    market = Market(tmp_path)
    user = tmp_path / "my_factors.py"
    user.write_text(
        "from factor_defs.fields import close\nfrom kernels.rolling import ts_mean\n\n\n"
        "def Bias(window: int = 20):\n    return close / ts_mean(close, window) - 1.0\n"
    )
    path = _config(market, [["my_factors:Bias", 7]])
    log = (tmp_path / "log").open("w+")
    process = subprocess.Popen(
        [sys.executable, "-m", "bmac_stream.engine", str(path)],
        stderr=log,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    try:

        def attached() -> Factors | None:
            market.writer.heartbeat()
            try:
                found = attach_factors("bars" + SUFFIX, directory=tmp_path)
            except StoreNotFound:
                return None
            if found.run_time:
                return found
            found.close()
            return None

        factors = _until(attached)
        assert factors.names == ("my_factors:Bias_7",)

        def same() -> bool:
            market.writer.heartbeat()
            closes = market.bars[: market.g - FIRST, 3, :9]
            want = closes[-1] / np.mean(closes[-7:], axis=0) - 1.0
            return factors.run_time == market.attach().run_time and bool(
                np.allclose(factors.cross_section("my_factors:Bias_7")[:9], want, equal_nan=True)
            )

        for _ in range(3):
            market.close()
            _until(same)
        assert factors.own.phase == "live"
        _config(market, [["my_factors:Bias", 7], ["my_factors:Bias", 30]])
        process.send_signal(signal.SIGHUP)

        def retired() -> bool:
            market.writer.heartbeat()
            try:
                factors.own.check()
            except StoreRetired:
                return True
            except Exception:
                return False
            return False

        _until(retired)
        factors.close()
        factors = _until(attached)
        assert factors.names == ("my_factors:Bias_7", "my_factors:Bias_30")
        market.close()
        _until(same)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        factors.close()
        assert (tmp_path / "engine" / "bars.factors.state").exists()
        log.seek(0)
        told = log.read()
        assert "MiB" in told and "2 factors from now on" in told and "Traceback" not in told
    finally:
        process.kill()
        process.wait()
        log.close()
        market.writer.close()


def test_a_store_of_another_layout_is_waited_for_at_leisure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its refusal comes at once, that of a missing one after a while."""
    market = Market(tmp_path)
    process = EngineProcess(_config(market, [["PctChg", 5]]))
    market.writer.close()
    with segment_path("bars", tmp_path).open("r+b") as file:
        file.seek(8)
        file.write(b"\x01")
    pauses: list[float] = []
    monkeypatch.setattr(engine_process.time, "sleep", pauses.append)
    assert process._attach() is None
    assert 0.5 * engine_process.BEAT_S < sum(pauses) <= engine_process.BEAT_S


def test_other_factors_retire_what_readers_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that waits is told to attach anew, also where no factor is behind a cross-section any more."""
    market = Market(tmp_path)
    process = EngineProcess(_config(market, [["PctChg", 5], ["crypto:RankReturn", 5]]))
    store = market.attach()
    writer = process._open(store, plan_factors(store, process.config.factors))
    engine = Engine(store, process.config.factors, follower=writer, depth=DEPTH)
    before = attach_factors("bars" + SUFFIX, directory=tmp_path)
    assert before.cross is not None
    readers, close, told = (before.own, before.cross), FactorWriter.close, []

    def watched(self: FactorWriter) -> None:
        for one in readers:  # never a moment at which it is only known that nobody writes
            with pytest.raises(StoreRetired):
                one.check()
            told.append(one.name)
        close(self)

    try:
        _config(market, [["PctChg", 5]])
        with monkeypatch.context() as patch:
            patch.setattr(FactorWriter, "close", watched)
            writer = process._change(engine, writer)
        assert told == [one.name for one in readers]
        with attach_factors("bars" + SUFFIX, directory=tmp_path) as after:
            assert after.names == ("PctChg_5",) and after.cross is None
        assert not segment_path("bars" + SUFFIX + CROSS, tmp_path).exists()
    finally:
        before.close()
        writer.close()
        store.close()
        market.writer.close()


def test_factors_that_fail_leave_things_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    market = Market(tmp_path)
    process = EngineProcess(_config(market, [["PctChg", 5]]))
    store = market.attach()
    writer = process._open(store, plan_factors(store, process.config.factors))
    engine = Engine(store, process.config.factors, follower=writer, depth=DEPTH)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken_factors.py").write_text("def Bias(n: int = 3):\n    return 1 // 0\n")
    (tmp_path / "worse_factors.py").write_text("def Bias(n: int = 3:\n")
    try:
        for module, said in (
            ("broken_factors", "ZeroDivisionError in .*, line 2"),
            ("worse_factors", "Syntax"),
        ):
            with pytest.raises(FactorError, match=said):
                Engine(store, [[f"{module}:Bias", 3]])
            _config(market, [["PctChg", 5], [f"{module}:Bias", 3]])
            assert process._change(engine, writer) is writer
        _config(market, [["PctChg", 5], ["PctChg", 6]])
        opened: list[Any] = []

        def full(name: str, spec: Spec, **options: Any) -> StoreWriter:
            opened.append(name)
            if len(opened) == 1:
                raise NoSpace("no room")
            return open_one(name, spec, **options)

        open_one = StoreWriter.open
        with monkeypatch.context() as patch:
            patch.setattr(StoreWriter, "open", full)
            writer = process._change(engine, writer)
        assert len(opened) == 2 and list(engine.names) == ["PctChg_5"]
        market.close()
        engine.poll()
        with attach_factors("bars" + SUFFIX, directory=tmp_path) as factors:
            assert factors.names == ("PctChg_5",) and factors.run_time == engine.run_time
        process.reload()
        writer = process._change(engine, writer)
        assert list(engine.names) == ["PctChg_5", "PctChg_6"]
    finally:
        writer.close()
        store.close()
        market.writer.close()


def test_rows_of_the_two_stores_are_told_apart(published: Published) -> None:
    market, engine, factors = published.market, published.engine, published.factors
    assert factors.cross is not None and published.writer.cross is not None
    stray = published.writer.cross.add_symbol("STRAY", market.g)
    published.writer.cross.remove_symbol(stray)
    market.list("NEW", market.g - 30, 30)
    market.close()
    engine.poll()
    assert factors.symbols_of("mean")["NEW"] == 9 and factors.symbols_of("behind")["NEW"] == 10
    published.check()
    with pytest.raises(KeyError, match="no factor 'nothing'"):
        factors.symbols_of("nothing")


def test_one_store_alone_is_waited_for_then_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While an engine changes its factors, a reader finds one of two stores, or two of different plans."""
    market = Market(tmp_path)
    made = Published(market)
    made.factors.close()
    hidden, seen = (
        segment_path("f" + CROSS, tmp_path),
        segment_path("f" + CROSS, tmp_path).with_suffix(".not"),
    )
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            seen.rename(hidden)

    try:
        hidden.rename(seen)
        monkeypatch.setattr("bmac_stream.factors.time.sleep", nap)
        attach_factors("f", directory=tmp_path).close()
        assert len(naps) == 3
        monkeypatch.setattr("bmac_stream.factors.SETTLE_S", 0.05)
        naps[:] = [0.0] * 3
        hidden.rename(seen)
        with pytest.raises(StoreNotFound, match=r"f\.cross"):
            attach_factors("f", directory=tmp_path)
        seen.rename(hidden)
        made.writer.close()
        other = plan_factors(made.engine.store, {"x": nodes()["behind"]})
        cross = specs(made.engine.store, other, DEPTH)[1]
        assert cross is not None
        StoreWriter.open("f" + CROSS, cross, directory=tmp_path).close()
        with pytest.raises(StoreNotFound, match=r"of plan .* taking other factors up"):
            attach_factors("f", directory=tmp_path)
    finally:
        made.writer.close()
        market.writer.close()


# ---- beside a store of bars ------------------------------------------------------------------------------


def engine_file(directory: Path, n: int = 60, base: float = 0.0, **changes: Any) -> StoreWriter:
    """An engine's file beside the bars "rule": the factor F of one symbol is base + i at its bar i."""
    bars = changes.pop("bars", "rule")
    fields = {"window": 20, "slack": 10, "max_symbols": 16, "interval_ms": MINUTE, "source": SOURCE}
    meta = json.dumps({"kind": "factors", "bars": bars, "plan": "p", "cross": False})
    spec = Spec(columns=("F", "origin"), meta=meta, forming_cells=0, **(fields | changes))
    writer = StoreWriter.open("rule" + SUFFIX, spec, directory=directory)
    if writer.created:
        slot, g = writer.add_symbol("AAAUSDT", G0), np.arange(n)
        writer.load(slot, G0, np.column_stack([base + g, np.full(n, G0)]), np.ones(n, np.uint8))
        writer.activate(slot)
        writer.complete(G0 + n - 1)
    writer.set_phase("live")
    return writer


def put(writer: StoreWriter, value: float) -> None:
    """The symbol's next bar, complete."""
    writer.append(0, writer.complete_g + 1, np.array([value, G0]))
    writer.complete(writer.complete_g + 1)


def retire(writer: StoreWriter) -> None:
    """As an engine does that computes other factors from now on."""
    writer.path.unlink()
    writer.close()


def test_factors_follow_their_engine_to_another_file(tmp_path: Path) -> None:
    with FakeCollector.start(tmp_path), attach("rule", directory=tmp_path) as store:
        first = engine_file(tmp_path)
        held = store.factors
        assert store.factors is held and held.matrix().tolist() == [[59.0]]
        retire(first)
        with engine_file(tmp_path, base=1e6):
            reads: tuple[Callable[[], object], ...] = (
                held.matrix,
                held.to_pandas,
                lambda: held.symbol("AAAUSDT"),
                lambda: held.cross_section("F"),
                lambda: held.view("F"),
            )
            for read in reads:
                with pytest.raises(StoreRetired, match=r"rule\.factors"):
                    read()
            assert store.factors.matrix().tolist() == [[1e6 + 59]]
            with pytest.raises(ShmError, match="closed"):
                held.matrix()
            with store.factors:
                pass
            assert store.factors.symbol("AAAUSDT")["F"] == 1e6 + 59  # whoever closes it does so for himself


def test_factors_follow_their_bars_to_another_file(tmp_path: Path) -> None:
    bars, engine = FakeCollector.start(tmp_path), engine_file(tmp_path)
    with attach("rule", directory=tmp_path) as store:
        assert store.factors.run_time == run_time(G0 + 59)
        bars.close()
        engine.close()
        with (
            FakeCollector.start(tmp_path, max_symbols=32, history=70),
            engine_file(tmp_path, 70, 1e9, max_symbols=32),
        ):
            store.reattach()
            assert store.factors.run_time == store.run_time == run_time(G0 + 69)
            assert store.factors.cross_section("F").tolist() == [1e9 + 69]
            before = open_files(tmp_path)
            for _ in range(5):
                store.reattach()
                assert store.factors.matrix().tolist() == [[1e9 + 69]]
            assert open_files(tmp_path) == before


def test_no_run_time_is_lost_between_an_engines_files(tmp_path: Path) -> None:
    with FakeCollector.start(tmp_path), attach("rule", directory=tmp_path) as store:
        engine = engine_file(tmp_path)
        _ = store.factors
        put(engine, 1.0)
        assert store.factors.wait(1) == run_time(G0 + 60)
        retire(engine)
        engine = engine_file(tmp_path, 63)  # two bars closed while the engine changed
        told = store.factors.wait(1)
        assert (told, told.skipped) == (run_time(G0 + 62), 1)
        put(engine, 1.0)
        store.reattach()
        assert store.factors.wait(1) == run_time(G0 + 63)
        with pytest.raises(TimeoutError):
            store.factors.wait(0.01)  # told already
        engine.close()


async def test_run_times_of_factors_go_on_without_a_gap(tmp_path: Path) -> None:
    with engine_file(tmp_path), attach_factors("rule" + SUFFIX, directory=tmp_path) as factors:
        told = await anext(factors.run_times(1, seen=run_time(G0 + 57)))
        assert (told, told.skipped) == (run_time(G0 + 59), 1)
        assert factors.wait(1, seen=run_time(G0 + 58)) == run_time(G0 + 59)


def test_the_example_is_told_of_a_bar_that_closed_while_its_engine_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    example = runpy.run_path(str(EXAMPLE))
    engines, calls, wait = [engine_file(tmp_path)], [0], Factors.wait

    def then(self: Factors, timeout_s: float, *, seen: int | None = None) -> RunTime:
        calls[0] += 1
        if calls[0] == 1:
            put(engines[0], 1.0)
        elif calls[0] == 2:
            retire(engines[0])
            engines.append(engine_file(tmp_path, 62))
        return wait(self, min(timeout_s, 1.0), seen=seen)

    monkeypatch.setattr(Factors, "wait", then)
    try:
        example["main"]("rule", n_run_times=2, directory=tmp_path)
    finally:
        engines[-1].close()
    told = [line.split()[0] for line in capsys.readouterr().out.splitlines() if " F of 1 symbols" in line]
    assert told == [str(run_time(G0 + 60)), str(run_time(G0 + 61))]


def test_factors_that_nobody_computes_any_more_are_not_given_as_new(tmp_path: Path) -> None:
    engine = engine_file(tmp_path)
    with FakeCollector.start(tmp_path) as bars:
        with attach("rule", directory=tmp_path) as held, attach("rule", directory=tmp_path) as store:
            assert held.factors.matrix().tolist() == [[59.0]]
            engine.close()
            for _ in range(3):
                bars.close_bar()
            for one in (held, store):
                with pytest.raises(WriterDead, match=r"rule\.factors.*silent for .* s"):
                    _ = one.factors
            with engine_file(tmp_path):  # its engine was started again
                assert store.factors.matrix().tolist() == [[59.0]]
        with attach_factors("rule" + SUFFIX, directory=tmp_path) as past:
            assert past.matrix().tolist() == [[59.0]], "who asks for them by name gets them, as bars"
    with attach("rule", directory=tmp_path) as store:
        assert store.factors.matrix().tolist() == [[59.0]], "the collector ended too: both are of the past"


@pytest.mark.parametrize(
    "changes",
    [{"source": "binance:usdm"}, {"interval_ms": 60 * MINUTE}, {"origin_ms": 1000}, {"bars": "other"}],
)
def test_factors_of_other_bars_are_not_taken_for_these(tmp_path: Path, changes: dict[str, Any]) -> None:
    with (
        FakeCollector.start(tmp_path),
        engine_file(tmp_path, **changes),
        attach("rule", directory=tmp_path) as store,
    ):
        before = open_files(tmp_path)
        with pytest.raises(StoreNotFound, match=r"'rule.factors' is not the factors of store 'rule'"):
            _ = store.factors
        assert open_files(tmp_path) == before


def test_factors_are_not_pickled_or_copied(published: Published) -> None:
    for take in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="Factors cannot be pickled or copied"):
            take(published.factors)


# ---- changes of a running process ------------------------------------------------------------------------


class Running:
    """An engine process within this one: its parts as `EngineProcess._follow` has them."""

    def __init__(self, market: Market, **settings: Any) -> None:
        self.market = market
        self.process = EngineProcess(_config(market, **settings))
        self.store = market.attach()
        config = self.process.config
        plan = plan_factors(self.store, config.factors)
        self.process._modules.note(config.factors)
        self.writer = self.process._open(self.store, plan)
        self.engine = Engine(
            self.store, config.factors, follower=self.writer, depth=DEPTH, statics=statics_of(config)
        )

    def change(self, **settings: Any) -> bool:
        """SIGHUP with these settings; whether readers have to attach anew."""
        _config(self.market, **settings)
        before = self.writer
        self.writer = self.process._change(self.engine, before)
        return self.writer is not before

    def close(self) -> None:
        self.writer.close()
        self.store.close()
        self.market.writer.close()


def test_other_groups_are_taken_up(tmp_path: Path) -> None:
    factors = [["PctChg", 5], "apart_factors:Apart"]
    (tmp_path / "apart_factors.py").write_text(
        "from factor_defs.fields import close\nfrom kernels.node import field\n"
        "from kernels.cross_section import cs_neutralise\n\n\n"
        "def Apart():\n    return cs_neutralise(close, field('group'))\n"
    )
    sys.path.insert(0, str(tmp_path))
    running = Running(Market(tmp_path), factors=factors)
    market = running.market
    try:
        assert not running.change(factors=factors), "the same"
        assert running.change(factors=factors, factor_groups={"S1": "a", "S2": "a"})
        market.close()
        running.engine.poll()
        with attach_factors("bars" + SUFFIX, directory=tmp_path) as found:
            name = "apart_factors:Apart"
            rows, apart = found.symbols_of(name), found.cross_section(name)
            assert apart[rows["S1"]] == -apart[rows["S2"]] != 0.0
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("apart_factors", None)
        running.close()


def test_an_edited_module_is_taken_up_and_a_broken_one_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = (
        "from factor_defs.fields import close\nfrom kernels.exponential import ema\n"
        "from kernels.rolling import ts_mean\n\n\n"
        "def Mine(n: int = 3):\n    return {{'e': ema(close, n), 'm': ts_mean(close, n) * {}}}\n"
    )
    file = tmp_path / "edited_factors.py"
    file.write_text(source.format(2.0))
    sys.path.insert(0, str(tmp_path))
    factors = [["edited_factors:Mine", 3]]
    running = Running(Market(tmp_path), factors=factors)
    market = running.market
    try:
        file.write_text(source.format(4.0))
        before = running.engine.values.copy()
        assert running.change(factors=factors)
        assert running.engine.values[0].tobytes() == before[0].tobytes(), "goes on"
        assert np.array_equal(running.engine.values[1, :9], 2.0 * before[1, :9], equal_nan=True)
        file.write_text("def Mine(n: int = 3:\n")
        caplog.clear()
        assert not running.change(factors=factors)
        assert "stay as they are" in caplog.text and "SyntaxError" in caplog.text
        market.close()
        running.engine.poll()
        with attach_factors("bars" + SUFFIX, directory=tmp_path) as found:
            close = market.bars[: market.g - FIRST, 3, :9]
            got = found.cross_section("edited_factors:Mine_3.m")[:9]
            assert np.allclose(got, 4.0 * close[-3:].mean(axis=0), equal_nan=True)
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("edited_factors", None)
        running.close()


def test_a_full_store_leaves_symbols_out_then_is_made_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Slots that former markets took; all others go on, and nobody is missing in the end."""
    running = Running(Market(tmp_path), factors=[["PctChg", 5], ["crypto:RankReturn", 5]])
    market, writer = running.market, running.writer
    try:
        assert writer.cross is not None
        for i in range(7):  # 9 of 16 slots are in use
            writer.cross.remove_symbol(writer.cross.add_symbol(f"GONE{i}", market.g))
            if i < 6:
                writer.own.remove_symbol(writer.own.add_symbol(f"GONE{i}", market.g))
        market.list("A", market.g - 30, 30)  # a slot of its own, none behind the cross-section
        market.list("B", market.g, 0)
        for late in (None, {9: Status.PENDING}, None):
            market.close(late)
            running.engine.poll()
        market.correct(9, market.g - 2)
        running.engine.poll()
        assert writer.left_out == {"A", "B"} and "no slot for A" in caplog.text
        old = attach_factors("bars" + SUFFIX, directory=tmp_path)
        assert old.run_time == running.engine.run_time and "A" not in old.symbols and len(old.symbols) == 9
        values = running.engine.values.copy()
        running.writer = running.process._renew(running.engine, writer)
        assert running.engine.values.tobytes() == values.tobytes() and not running.writer.left_out
        with pytest.raises(StoreRetired):
            old.own.check()
        old.close()
        market.writer.remove_symbol(9)
        market.close()
        running.engine.poll()
        with attach_factors("bars" + SUFFIX, directory=tmp_path) as found:
            assert set(found.symbols) == {f"S{i}" for i in range(9)} | {"B"}
            for name in found.names:
                row, rows = found.cross_section(name), found.symbols_of(name)
                for symbol, slot in running.store.symbols.items():
                    assert row[rows[symbol]].tobytes() == running.engine[name][slot].tobytes()
    finally:
        running.close()


def test_a_config_that_cannot_be_used_ends_it_with_status_2(tmp_path: Path) -> None:
    market = Market(tmp_path, history=20)
    try:
        for factors, said in (([], "names no factor"), ([["PctChange", 5]], "did you mean")):
            done = subprocess.run(
                [sys.executable, "-m", "bmac_stream.engine", str(_config(market, factors))],
                capture_output=True,
                text=True,
                timeout=100,
            )
            assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr, (
                done.stderr
            )
    finally:
        market.writer.close()


def test_names_do_not_meet() -> None:
    assert SUFFIX + CROSS == ".factors.cross" and CLOSE.name == "close"
