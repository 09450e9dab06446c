"""An engine that is killed at any instruction, and two of one name: readers never see a torn matrix.

The market says its own truth: at bar g, every symbol's close is g - FIRST, plus a thousandth of its number.
So `close` tells the bar, `twice` must be its double, `rank` the order of the symbols, in every row, whoever
wrote it.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bmac_stream
from bmac_stream.bar import COLUMNS
from bmac_stream.engine import Engine, plan_factors
from bmac_stream.errors import Lagging, ShmError, WriterLocked
from bmac_stream.factor_writer import CROSS, FactorWriter, specs
from bmac_stream.factors import Factors, attach_factors
from kernels.cross_section import cs_rank
from kernels.node import Node, field
from shm import Spec, StoreWriter

FIRST = 5_000_000
N = 120
CLOSE = field("close")
FACTORS: dict[str, Node] = {"close": CLOSE * 1.0, "twice": CLOSE * 2.0, "rank": cs_rank(CLOSE)}
DEPTH = 3
SPEC = Spec(columns=COLUMNS, window=60, slack=40, max_symbols=N + 8, interval_ms=60_000, source="test")
SHARES = np.arange(N) / 1000.0


def bars(g: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    rows = np.ones((N, len(COLUMNS)))
    rows[:, COLUMNS.index("close")] = g - FIRST + SHARES
    return rows


def write_for_ever(directory: Path) -> None:
    """Child: the collector and the engine in one, without a pause. Now and then a bar is late, so that rows
    are corrected, of both stores."""
    with StoreWriter.open("bars", SPEC, directory=directory) as market:
        slots = np.array([market.symbols.get(f"S{i}", -1) for i in range(N)])
        if not market.symbols:
            for i in range(N):
                slots[i] = market.add_symbol(f"S{i}", FIRST)
                market.load(int(slots[i]), FIRST, bars(FIRST)[i : i + 1], [1])
                market.activate(int(slots[i]))
        g = max(market.count(int(slot)) for slot in slots)
        for slot in slots:  # what the former writer left half
            for missing in range(market.count(int(slot)), g):
                market.append(int(slot), missing, bars(missing)[slot])
        if market.complete_g < g - 1:
            market.complete(g - 1)
        store = bmac_stream.attach("bars", directory=directory)
        plan = plan_factors(store, FACTORS)
        own, cross = specs(store, plan, DEPTH)
        assert cross is not None
        with FactorWriter(
            plan,
            StoreWriter.open("f", own, directory=directory),
            StoreWriter.open("f" + CROSS, cross, directory=directory),
        ) as writer:
            engine = Engine(store, FACTORS, follower=writer, depth=DEPTH)
            numbers, status = np.full(N, g), np.ones(N, np.uint8)
            print("ready", flush=True)
            while True:
                numbers[:] = g
                market.append_rows(slots[: N // 2], numbers[: N // 2], bars(g)[: N // 2], status[: N // 2])
                if g % 3 == 0:
                    engine.poll()  # half of the market is ahead
                market.append_rows(slots[N // 2 :], numbers[N // 2 :], bars(g)[N // 2 :], status[N // 2 :])
                market.complete(g)
                engine.poll()
                if g % 5 == 0:
                    market.correct(int(slots[g % N]), g - 1, bars(g - 1)[g % N])
                    engine.poll()
                g += 1


def look(factors: Factors, seen: int) -> int:
    """Read the newest matrix and one symbol's rows; the bar they are of."""
    run_time = factors.run_time
    try:
        matrix = factors.matrix(run_time)
        rows = factors.own["S7"].copy(DEPTH)
    except (Lagging, ValueError):  # overtaken, by a writer that never rests
        return seen
    g = factors.own.reader.complete_g if run_time == factors.run_time else 0
    close, twice, rank = matrix[:N].T
    assert (twice == 2.0 * close).all()
    assert np.allclose(close - SHARES, np.round(close[0]), rtol=0, atol=1e-9), "of one bar"
    assert (rank == np.arange(1, N + 1) / N).all()
    values = dict(zip(factors.own.columns, rows.values, strict=True))
    assert (values["twice"] == 2.0 * values["close"]).all()
    assert np.allclose(np.diff(values["close"]), 1.0) and 1 <= len(values["close"]) <= DEPTH
    assert not g or g >= seen
    return max(g, seen)


def start(directory: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.bmac_stream.test_engine_killed", str(directory)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def killed_and_followed(directory: Path, n_kills: int) -> None:
    random = np.random.default_rng(3)
    factors, seen, looks = None, 0, 0
    for kill in range(n_kills):
        child = start(directory)
        try:
            assert child.stdout is not None and child.stdout.readline() == "ready\n"
            if factors is None:
                factors = attach_factors("f", directory=directory)
            end = time.monotonic() + 0.1 + 0.2 * random.random()
            began = seen
            while time.monotonic() < end or seen == began:
                seen, looks = look(factors, seen), looks + 1
        finally:
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
            assert child.stdout is not None
            child.stdout.close()
        for _ in range(3):  # what it left
            seen = look(factors, seen)
        assert factors.own.reader.generation == kill + 1, "each goes on with the same store"
    assert factors is not None and looks > 10
    factors.close()


def test_killed_while_it_writes(tmp_path: Path) -> None:
    killed_and_followed(tmp_path, 2)


@pytest.mark.stress
def test_killed_many_times(tmp_path: Path) -> None:
    killed_and_followed(tmp_path, 30)


class Killed(BaseException):
    """Nothing of the process comes after it."""


@pytest.mark.parametrize("which", ["own", "cross"])
@pytest.mark.parametrize("n_rows", [0, 1, 63, N - 1, N])
def test_killed_between_two_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str, n_rows: int
) -> None:
    """`append_rows` publishes row by row: what stands between two of them is what a kill can leave."""
    market = StoreWriter.open("bars", SPEC, directory=tmp_path)
    for i in range(N):
        slot = market.add_symbol(f"S{i}", FIRST)
        market.load(slot, FIRST, bars(FIRST)[i : i + 1], [1])
        market.activate(slot)
    market.complete(FIRST)
    slots, status = np.arange(N), np.ones(N, np.uint8)

    def close(g: int) -> None:
        market.append_rows(slots, np.full(N, g), bars(g), status)
        market.complete(g)

    def begin() -> tuple[FactorWriter, Engine]:
        store = bmac_stream.attach("bars", directory=tmp_path)
        plan = plan_factors(store, FACTORS)
        own, cross = specs(store, plan, DEPTH)
        assert cross is not None
        writers = [StoreWriter.open(n, s, directory=tmp_path) for n, s in (("f", own), ("f" + CROSS, cross))]
        writer = FactorWriter(plan, *writers)
        return writer, Engine(store, FACTORS, follower=writer, depth=DEPTH)

    writer, engine = begin()
    for g in range(FIRST + 1, FIRST + 6):
        close(g)
        engine.poll()
    factors = attach_factors("f", directory=tmp_path)
    seen = look(factors, 0)
    one = writer.own if which == "own" else writer.cross
    assert one is not None and seen == FIRST + 5
    append_rows = one.append_rows

    def partly(slots: Any, numbers: Any, rows: Any, status: Any) -> None:
        append_rows(slots[:n_rows], numbers[:n_rows], rows[:n_rows], status[:n_rows])
        raise Killed

    monkeypatch.setattr(one, "append_rows", partly)
    close(FIRST + 6)
    with pytest.raises(Killed):
        engine.poll()
    look(factors, 0)
    assert factors.run_time == engine.store.open_time_of(FIRST + 6), "that of the last whole matrix"
    writer.close()
    close(FIRST + 7)
    writer, engine = begin()
    assert look(factors, 0) == FIRST + 7 and factors.own.reader.generation == 2
    close(FIRST + 8)
    engine.poll()
    assert look(factors, 0) == FIRST + 8
    factors.close()
    writer.close()
    market.close()


def test_a_second_engine_is_refused_by_name(tmp_path: Path) -> None:
    child = start(tmp_path)
    try:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        with bmac_stream.attach("bars", directory=tmp_path) as store:
            own, cross = specs(store, plan_factors(store, FACTORS), DEPTH)
            assert cross is not None
            for name, spec in (("f", own), ("f" + CROSS, cross)):
                with pytest.raises(WriterLocked, match=str(child.pid)):
                    StoreWriter.open(name, spec, directory=tmp_path)
        with attach_factors("f", directory=tmp_path) as factors:
            seen = look(factors, 0)
            end = time.monotonic() + 30.0
            while look(factors, 0) == seen and time.monotonic() < end:
                time.sleep(0.01)
            assert look(factors, 0) > seen, "the first one goes on"
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        assert child.stdout is not None
        child.stdout.close()


if __name__ == "__main__":
    try:
        write_for_ever(Path(sys.argv[1]))
    except ShmError as error:
        sys.exit(f"{type(error).__name__}: {error}")
