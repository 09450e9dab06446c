"""bmac_stream/engine.py: random histories of whatever can happen to bars, each run_time equal to a batch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bmac_stream.bar import COLUMNS
from bmac_stream.engine import Engine
from kernels.batch import batch
from kernels.cross_section import GATE, cs_demean, cs_rank
from kernels.elementwise import fill, is_missing
from kernels.exponential import ema
from kernels.node import Node, field
from kernels.plan import MEMBER
from kernels.rolling import ts_mean, ts_std, ts_sum
from kernels.run import Program
from shm import SlotState, Status
from shm.layout import first_cell
from tests.bmac_stream.test_engine import CLOSE, FIRST, VOLUME, Market

ALL: dict[str, Node] = {
    "mean": ts_mean(CLOSE, 7),
    "ratio": ts_std(CLOSE, 20, 5) / ts_mean(VOLUME, 60),
    "close": CLOSE,
    "again": ts_mean(CLOSE, 7),
    "ema": ema(VOLUME, 9),
    "filled": ts_sum(fill(CLOSE, 0.0), 12) + is_missing(VOLUME),
    "time": field("open_time") / 60_000.0 - CLOSE,
    "rank": cs_rank(CLOSE),
    "behind": ts_mean(GATE(CLOSE, MEMBER)[0], 5, 2) - CLOSE,
    "smooth": ts_mean(cs_rank(VOLUME), 6, 1),
    "deep": ts_mean(cs_rank(ts_mean(CLOSE, 3, 1)), 9, 1),
    "deeper": ts_mean(cs_demean(ts_std(CLOSE, 20, 5)), 15, 1) - cs_rank(ts_sum(VOLUME, 4)),
    "twice": cs_rank(fill(cs_rank(CLOSE), 0.0)),
    "nested": cs_rank(ts_mean(cs_rank(VOLUME), 6, 1)),
    "late": ts_sum(fill(cs_rank(CLOSE), 0.5), 12),
}


class Noted(Engine):
    """An engine that notes the members of each run_time: float64[n, max_symbols] from FIRST on, NaN where
    nobody has noted them."""

    def __init__(self, noted: Any, *args: Any, **options: Any) -> None:
        self.noted = noted
        self.full = self.partly = 0
        super().__init__(*args, **options)

    def _finish(self) -> None:
        super()._finish()
        self.noted[self.g - 1 - FIRST] = self.members

    def _replay_all(self, end: int | None) -> None:
        """Who was a member stays so; of bars that nobody has seen, who the store has bars of now."""
        super()._replay_all(end)
        self.full += 1
        data = self.store.data
        now = self.store.symbols
        gone = [
            x.slot
            for x in self.store.reader.directory()
            if x.state == SlotState.DELISTED and x.symbol not in now
        ]
        listed = np.isin(np.arange(data.shape[0]), [*now.values(), *gone])
        for g in range(max(FIRST, self.g - self.store.window), self.g):
            if np.isnan(self.noted[g - FIRST]).any():
                status = data[:, -1, first_cell(g + 1, 1, self.store.cap)]
                self.noted[g - FIRST] = (status == Status.BAR) * listed

    def _redo_market(self, *args: Any) -> None:
        super()._redo_market(*args)
        self.partly += 1


class History:
    """A market to which things happen, and an engine."""

    def __init__(self, directory: Path, seed: int, capacity: int) -> None:
        self.market = Market(directory, max_symbols=capacity)
        self.random = np.random.default_rng(seed)
        self.noted: Any = np.full((9000, capacity), np.nan)
        self.kept: Any = self.noted.copy()
        self.path = directory / "state"
        self.names = tuple(ALL)
        self.changed_g = 0
        self.former = "S0"
        self.gaps: list[tuple[int, int]] = []
        self.n_listed = 0
        self.begin(None)

    def begin(self, state: Path | None) -> None:
        self.noted[:] = np.nan if state is None else self.kept
        which = {name: ALL[name] for name in self.names}
        self.engine = Noted(self.noted, self.market.attach(), which, state=state)

    def live(self) -> list[int]:
        return list(self.market.writer.symbols.values())

    def bar(self) -> None:
        """The next bar of all, some late or absent, with looks and corrections in between."""
        market, random, engine = self.market, self.random, self.engine
        for slot in random.permutation(self.live()):
            u = random.random()
            status = Status.PENDING if u < 0.03 else Status.ABSENT if u < 0.05 else Status.BAR
            market.put(int(slot), status)
            if status != Status.BAR:
                self.gaps.append((int(slot), market.g))
            if random.random() < 0.02:
                engine.poll()
            if random.random() < 0.03:
                self.correct()
        market.complete()

    def correct(self) -> None:
        """Mostly a gap is filled, of any age; now and then a bar is revised, which begins everything anew."""
        market, random, store = self.market, self.random, self.engine.store
        slot, g = int(random.choice(self.live())), market.g - 1 - int(random.integers(0, 60))
        if random.random() < 0.92:
            if not self.gaps:
                return
            slot, g = self.gaps.pop(int(random.integers(max(0, len(self.gaps) - 8), len(self.gaps))))
        count, first = market.writer.count(slot), market.writer.first_g(slot)
        if slot in self.live() and max(first, count - store.cap + 1) <= g < count:
            market.correct(slot, g)

    def happen(self) -> None:
        market, random, engine = self.market, self.random, self.engine
        u = random.random()
        if u < 0.06 and engine.store.reader.n_slots < engine.store.spec.max_symbols:
            n = int(random.choice([0, 3, 60]))
            name = f"N{self.n_listed}" if random.random() < 0.5 else self.former
            if name in market.writer.symbols:
                return
            self.n_listed += 1
            market.list(name, market.g - n, n)
        elif u < 0.10 and len(self.live()) > 4:
            slot = int(random.choice(self.live()))
            self.former = next(name for name, x in market.writer.symbols.items() if x == slot)
            market.writer.remove_symbol(slot)
        elif u < 0.14:
            engine.save(self.path)
            self.kept = self.noted.copy()
        elif u < 0.18 and self.path.exists():
            self.begin(self.path)
        elif u < 0.20:
            self.begin(None)
        elif u < 0.25:
            names = list(random.permutation(list(ALL)))[: int(random.integers(4, len(ALL) + 1))]
            if "mean" not in names:
                names.append("mean")
            self.names = tuple(str(name) for name in names)
            engine.set_factors({name: ALL[name] for name in self.names})
            self.changed_g = engine.g
        elif u < 0.35:
            for _ in range(int(random.choice([2, 20, 170, 400], p=[0.5, 0.4, 0.06, 0.04]))):
                self.bar()

    def agree(self) -> None:
        """Bit for bit, for factors whose state is as if made from origin_g on."""
        engine, market = self.engine, self.market
        store = engine.store
        assert engine.run_time == store.open_time_of(market.g)
        slots = store.slots
        assert (engine.next_g[slots] >= market.g).all() and (
            np.flatnonzero(engine.next_g >= 0) == np.sort(slots)
        ).all()
        n = market.g - FIRST
        origin = np.where(engine.origin_g >= 0, engine.origin_g, market.g)
        start = int(origin.min()) - FIRST
        out = batch(
            Program(engine.plan, market.bars.shape[2]),
            np.ascontiguousarray(market.bars[start:n]),
            g=FIRST + start,
            first=np.where(engine.origin_g >= 0, origin, FIRST + start),  # the delisted were members
            columns={name: i for i, name in enumerate(COLUMNS)},
            members=np.nan_to_num(self.noted[start:n]),
        )
        want: Any = out[-1]
        for i, name in enumerate(engine.names):
            if name == "ema" and self.changed_g:
                continue  # what goes on began earlier
            bad = [int(s) for s in slots if engine.values[i, s].tobytes() != want[i, s].tobytes()]
            assert not bad, (name, bad, engine.values[i, bad], want[i, bad], origin[bad] - market.g, market.g)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bmac_stream.engine.REPLAY_EVERY_S", 0.0)
    history = History(tmp_path, seed, 40)
    for _ in range(120):
        history.happen()
        history.bar()
        if history.random.random() < 0.8:
            history.engine.poll()
            history.agree()
    history.market.writer.close()
