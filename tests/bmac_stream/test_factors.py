"""bmac_stream/{factor_writer,factors,engine_process}.py: what an engine publishes is what it computed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bmac_stream.engine import Engine, FactorError, plan_factors
from bmac_stream.engine_process import EngineProcess
from bmac_stream.errors import StoreNotFound, StoreRetired
from bmac_stream.factor_writer import CROSS, FactorWriter, specs
from bmac_stream.factors import SUFFIX, Factors, attach_factors
from kernels.rolling import ts_mean
from shm import NoSpace, Spec, Status, StoreWriter
from shm.segment import segment_path
from tests.bmac_stream.test_engine import CLOSE, FIRST, Market, agree, nodes

DEPTH = 5
NAMES = ("mean", "spread", "bar", "behind")


class Published:
    """A market, an engine that publishes, and a reader of that."""

    def __init__(self, market: Market, state: Path | None = None) -> None:
        self.market = market
        store = market.attach()
        plan = plan_factors(store, nodes())
        own, cross = specs(store, plan, DEPTH)
        assert cross is not None

        def open_one(name: str, spec: Spec) -> StoreWriter:
            return StoreWriter.open(name, spec, directory=market.directory)

        self.writer = FactorWriter(plan, open_one("f", own), open_one("f" + CROSS, cross))
        self.engine = Engine(store, nodes(), follower=self.writer, depth=DEPTH, state=state)
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
            home = factors.cross if name == "behind" else factors.own
            assert home is not None
            row = factors.cross_section(name)
            for symbol, slot in engine.store.symbols.items():
                assert row[home.symbols[symbol]].tobytes() == engine[name][slot].tobytes()


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


def _config(market: Market, factors: Any) -> Path:
    path = market.directory / "config.json"
    settings = {
        "interval": "1m",
        "trade_type": "usdt_perp",
        "store": {"name": "bars", "directory": str(market.directory)},
        "factors": factors,
        "factor_depth": DEPTH,
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
