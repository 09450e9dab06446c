"""BMAC's users: how long from a bar's close to the factors of the whole market, then and now?

    python bench/compat.py                  everything, about 2 minutes
    python bench/compat.py --quick          small sizes; the floors are told all the same
    python bench/compat.py --json out.json  writes machine, figures and floors too

One run, in turns; the same bars for all, the same two factors (PctChg 100, TrdNumMeanV1 80; the pandas
modules are those of examples/factor). Contenders:

  bmac     BmacKit's way (compat_bmac.py) on files that BMAC v2's way (bmac_way.py) wrote; newest pandas
  files    our calculators, the same pandas modules, the same files
  legacy   our calculators, the same pandas modules, a store in shared memory
  engine   our calculators, the engine's factors, the same store

Four questions: one symbol with all its periods; the whole market at one run_time; from the close of a bar,
in another process, to the frame of the whole market; and one close of all symbols written to files (beside
BMAC's way: bmac_stream.bmac_files, every file whole, under another name first).

Frames of all contenders are compared before and after: where they differ, Disagreement ends the run.
"""

import asyncio
import shutil
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fire
import numpy as np
import pandas as pd
from bmac_way import BmacWay
from compat_bmac import AllMarketWay, FilesWay, SingleWay
from compat_market import INTERVAL, Closer, Market
from live import agreement
from report import Figures, Rounds, interleave
from session import Workplace

import bmac_stream
from bmac_stream.bmac_files import RunDirectory
from bmac_stream.bmac_kit import BmacAllMarketCalculator, BmacSingleSymbolCalculator, CandleFileReader

__all__ = ["QUICK", "Options", "main", "run"]

FACTORS = [("PctChg", 100), ("TrdNumMeanV1", 80)]
NAMES = [f"{name}_{param}" for name, param in FACTORS]
AGES = 10**10
"""A deadline that the bars here, which are of the past, do not reach."""

ENGINE_FLOOR = 100.0
LEGACY_FLOOR = 3.0
WRITE_FLOOR_S = 1.5


@dataclass(frozen=True)
class Options:
    """Sizes. `rounds` of one symbol and of the market, `closes` of bars, `writes` of files."""

    symbols: int = 300
    candles: int = 1500
    rounds: int = 7
    closes: int = 3
    writes: int = 3


QUICK = Options(symbols=30, candles=300, rounds=3, closes=2, writes=2)


class Contenders:
    """All four, on one market.

    k  the newest bar in the store; k_files: the newest in BMAC's files
    """

    def __init__(self, market: Market) -> None:
        self.market = market
        self.k = self.k_files = 0
        self.store = bmac_stream.attach("compat", directory=market.memory)
        self.loop = asyncio.new_event_loop()  # a Runner prints every frame for its signal handler
        old = FilesWay(market.candle_dir)
        self.bmac_one = SingleWay(old, FACTORS, "factor")
        self.bmac_all = AllMarketWay(FilesWay(market.exginfo_dir), old, FACTORS, "factor")
        candles, exginfo = CandleFileReader(market.candle_dir), CandleFileReader(market.exginfo_dir)
        symbol = market.names[0]
        make_one, make_all = BmacSingleSymbolCalculator, BmacAllMarketCalculator
        self.one = {
            "files": make_one(symbol, candles, FACTORS, bmac_expire_sec=AGES),
            "legacy": make_one(symbol, self.store, FACTORS, bmac_expire_sec=AGES),
            "engine": make_one(symbol, self.store, FACTORS, bmac_expire_sec=AGES, prefer="engine"),
        }
        self.all = {
            "files": make_all(exginfo, candles, FACTORS, bmac_expire_sec=AGES),
            "legacy": make_all(self.store, self.store, FACTORS, bmac_expire_sec=AGES),
            "engine": make_all(self.store, self.store, FACTORS, bmac_expire_sec=AGES, prefer="engine"),
        }

    def close(self) -> None:
        self.loop.close()
        self.store.close()

    def timed(self, made: Coroutine[Any, Any, pd.DataFrame]) -> tuple[pd.DataFrame, float]:
        """A frame, and the seconds it took."""

        async def run() -> tuple[pd.DataFrame, float]:
            began = time.perf_counter()
            frame = await made
            return frame, time.perf_counter() - began

        return self.loop.run_until_complete(run())

    def single(self, who: str) -> pd.DataFrame:
        return self.timed(self._single(who))[0]

    def whole(self, who: str) -> pd.DataFrame:
        return self.timed(self._whole(who))[0]

    def single_s(self, who: str) -> float:
        return self.timed(self._single(who))[1]

    def whole_s(self, who: str) -> float:
        return self.timed(self._whole(who))[1]

    def _single(self, who: str) -> Coroutine[Any, Any, pd.DataFrame]:
        if who == "bmac":
            return self.bmac_one.calc_factors(self.market.run_time(self.k_files), self.market.names[0])
        k = self.k_files if who == "files" else self.k
        return self.one[who].calc_factors(self.market.run_time(k))

    def _whole(self, who: str, k: int | None = None) -> Coroutine[Any, Any, pd.DataFrame]:
        if k is None:
            k = self.k_files if who in ("bmac", "files") else self.k
        run_time = self.market.run_time(k)
        if who == "bmac":
            return self.bmac_all.calc_all_factors(run_time)
        return self.all[who].calc_all_factors(run_time)

    def after_close_s(self, who: str, closer: Closer, k: int) -> tuple[pd.DataFrame, float]:
        """The frame of bar k, and the seconds from when its close began, in the other process."""

        async def run() -> tuple[pd.DataFrame, float]:
            waiting = asyncio.create_task(self._whole(who, k))
            await asyncio.sleep(0.05)  # it waits
            assert not waiting.done()
            closer.begin("bmac" if who == "bmac" else "store", k)
            frame = await waiting
            return frame, time.monotonic()

        frame, done = self.loop.run_until_complete(run())
        return frame, done - closer.end()[0]

    def agree(self) -> int:
        """Compare the frames of all contenders, at one bar; how many numbers were compared."""
        agreement(self.k == self.k_files, "the store and the files are at different bars")
        n = 0
        expected = self.single("bmac")
        for who in self.one:
            n += same(self.single(who), expected, f"one symbol, {who}")
        expected = self.whole("bmac")
        for who in self.all:
            n += same(self.whole(who), expected, f"whole market, {who}")
            agreement(not self.all[who].left_out, f"{who} left out {self.all[who].left_out}")
        return n


def same(found: pd.DataFrame, expected: pd.DataFrame, what: str) -> int:
    """Same index, columns and times; same candles to the bit; same factors."""
    agreement(list(found.columns) == list(expected.columns), f"{what}: columns {list(found.columns)}")
    agreement(found.index.tolist() == expected.index.tolist(), f"{what}: other rows")
    begin = "candle_begin_time"
    agreement(found[begin].tolist() == expected[begin].tolist(), f"{what}: other times")
    for column in found.columns.drop(begin):
        a, b = found[column].to_numpy(float), expected[column].to_numpy(float)
        equal = (
            np.allclose(a, b, rtol=1e-8, atol=1e-12, equal_nan=True)
            if column in NAMES
            else np.array_equal(a, b, equal_nan=True)
        )
        agreement(equal, f"{what}: {column} differs")
    return int(found.size)


def run(options: Options, figures: Figures) -> None:
    """All four questions; the figures are added to `figures`."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))
    # one bar a round of the market (and one warms up), one a close of the files' and the store's, one a write
    ahead = options.rounds + options.closes + options.writes + 3
    with Workplace() as place:
        market = Market(place.disk, place.memory, options.symbols, options.candles, ahead)
        bars = market.bars()
        market.write_history(0, bars)
        with Closer(market) as closer:
            them = Contenders(market)
            n = them.agree()
            _one_symbol(options, figures, them)
            _market(options, figures, them, closer)
            market.write_history(them.k, bars)
            them.k_files = them.k
            _closes(options, figures, them, closer)
            n += them.agree()
            _writes(options, figures, them, closer, bars, place.disk)
            figures.add("compared_numbers", n, "of frames of all contenders: none differ")
            them.close()
    sys.path.pop(0)


def _one_symbol(options: Options, figures: Figures, them: Contenders) -> None:
    who = ("bmac", "files", "legacy", "engine")
    rounds = interleave({name: _calling(them.single_s, name) for name in who}, 3 * options.rounds)
    _tell(figures, "single_ms", rounds, f"one symbol, {options.candles} periods, 2 factors")


def _market(options: Options, figures: Figures, them: Contenders, closer: Closer) -> None:
    def engine_s() -> float:
        them.k += 1  # so that its bar is a new one every time
        closer.close_bar("store", them.k)
        return them.whole_s("engine")

    who: dict[str, Callable[[], float]] = {
        name: _calling(them.whole_s, name) for name in ("bmac", "files", "legacy")
    }
    rounds = interleave({**who, "engine": engine_s}, options.rounds)
    _tell(figures, "market_ms", rounds, f"{options.symbols} symbols, all there")
    figures.at_least("market_bmac_over_engine", ENGINE_FLOOR, figures["market_bmac_over_engine"])
    figures.at_least("market_bmac_over_legacy", LEGACY_FLOOR, figures["market_bmac_over_legacy"])


def _closes(options: Options, figures: Figures, them: Contenders, closer: Closer) -> None:
    frames: dict[str, pd.DataFrame] = {}
    values: dict[str, list[float]] = {"bmac": [], "legacy": [], "engine": []}
    for i in range(options.closes):
        them.k += 1
        them.k_files += 1
        order = ["bmac", "engine"] if i % 2 else ["engine", "bmac"]
        # The store closes a bar once: pandas modules and the engine have it by turns.
        order[order.index("engine")] = who = "legacy" if i % 3 == 1 else "engine"
        for name in order:
            frames[name], seconds = them.after_close_s(name, closer, them.k)
            values[name].append(seconds)
        same(frames[who], frames["bmac"], f"bar {them.k} closed, {who}")
    note = f"close of {options.symbols} symbols in another process, to the frame of the whole market"
    for name, found in values.items():
        if found:
            figures.add(f"close_{name}_ms", 1e3 * float(np.median(found)), f"{note}; n={len(found)}")
    figures.add("close_bmac_over_engine", figures["close_bmac_ms"] / figures["close_engine_ms"])


def _writes(
    options: Options, figures: Figures, them: Contenders, closer: Closer, bars: Any, disk: Path
) -> None:
    market = them.market
    directory = RunDirectory(them.store, disk / "ours", "usdt_perp", "usdm", num_candles=market.candles)
    directory.open()
    directory.update()
    way = BmacWay(market.candle_dir, INTERVAL, market.candles)

    def ours() -> float:
        them.k += 1
        closer.close_bar("store", them.k)
        began = time.perf_counter()
        n = directory.update()
        took = time.perf_counter() - began
        agreement(n == market.symbols, f"{n} of {market.symbols} files were written")
        return took

    def bmacs() -> float:
        them.k_files += 1
        at = market.candles + them.k_files - 1
        times = np.array([market.run_time_ms(them.k_files) - 60_000])
        frames = [way._frame(times, bars[i, at : at + 1]) for i in range(market.symbols)]
        began = time.perf_counter()
        for name, frame in zip(market.names, frames, strict=True):
            way.update(name, frame)
        return time.perf_counter() - began

    rounds = interleave({"bmac": bmacs, "ours": ours}, options.writes)
    market.write_exginfo(them.k_files)
    for name in market.names[:: max(1, market.symbols // 20)]:
        written = CandleFileReader(directory.folder).read_candle(name)
        expected = CandleFileReader(market.candle_dir).read_candle(name)
        same(written, expected, f"file of {name}")
    directory.close()
    shutil.rmtree(disk / "ours")
    note = f"one close of {market.symbols} symbols x {market.candles} candles to files, one after the other"
    figures.add("write_bmac_s", rounds.median("bmac"), f"{note}; onto the final path")
    figures.add("write_ours_s", rounds.median("ours"), f"{note}; another name first, then renamed")
    figures.add("write_bmac_over_ours", rounds.ratio("bmac", "ours"))
    figures.at_most("write_ours_s", WRITE_FLOOR_S, figures["write_ours_s"])


def _calling(function: Callable[[str], float], name: str) -> Callable[[], float]:
    return lambda: function(name)


def _tell(figures: Figures, name: str, rounds: Rounds, note: str) -> None:
    for who in rounds.values:
        low, high = rounds.spread(who)
        figures.add(
            f"{name.removesuffix('_ms')}_{who}_ms",
            1e3 * rounds.median(who),
            f"{note}; {1e3 * low:.3g} to {1e3 * high:.3g}",
        )
    for who in ("files", "legacy", "engine"):
        figures.add(f"{name.removesuffix('_ms')}_bmac_over_{who}", rounds.ratio("bmac", who))


def main(json: str | None = None, quick: bool = False, **sizes: int) -> None:
    """Run it. Any field of Options can be given: --symbols=100 --rounds=20."""
    options = QUICK if quick else Options()
    unknown = sorted(set(sizes) - set(Options.__dataclass_fields__))
    if unknown:
        sys.exit(f"no such option: {', '.join(unknown)}; there are {', '.join(Options.__dataclass_fields__)}")
    options = replace(options, **sizes)
    figures = Figures(__doc__.splitlines()[0] if __doc__ else "")
    run(options, figures)
    sys.exit(figures.finish(json))


if __name__ == "__main__":
    fire.Fire(main)
