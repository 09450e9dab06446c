"""How long until the whole market's history is readable: from nothing, and from a snapshot?

    python bench/init.py                  500 symbols x 1500 bars, about 3 minutes
    python bench/init.py --quick          small sizes; the floors are told all the same
    python bench/init.py --json out.json  writes machine, figures and floors too

From nothing, the exchange's weight limit decides, so the question is how much of the allowed time is lost.
The bound: Binance counts weight in fixed minutes of its clock. With the cheapest pages (499 rows for 2, a
last page under 100 rows for 1) the history costs W; we may spend C = share x limit per minute; so the last
request can be sent at the earliest when the minute number ceil(W / C), counted from the one in which the
collector was started, begins. That is the bound, and all work of that last minute is counted as loss:
sending, serving (by the embedded exchange, on the same cores), parsing, storing.

The exchange's own count says whether the limit was kept, and every stored bar is compared with the
exchange's truth. A restart finds no store, only the snapshot: the collector was killed, the store removed.
"""

import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import fire
import numpy as np
from live import agreement
from report import Figures
from session import Child, Exchange, Workplace

import bmac_stream
from bmac_stream.bar import INTERVALS_MS, N_COLUMNS
from bmac_stream.errors import ShmError
from shm import StoreReader

__all__ = ["QUICK", "Options", "allowed_s", "main", "run", "weight_of_history"]

INTERVAL = "1m"
STEP = INTERVALS_MS[INTERVAL]
MINUTE_MS = 60_000
SEED = 13
LIMIT = 2400  # USD-M, per minute and address

LOSS_FLOOR = 1.10
RESTART_FLOOR_S = 3.0


@dataclass(frozen=True)
class Options:
    """Sizes. rate: exchange seconds per wall second; faster, and processors are the limit, not weights.

    share     of the weight limit that the collector may use
    phase_s   seconds after an exchange minute's begin at which the collector is started
    restarts  from the snapshot
    """

    symbols: int = 500
    candles: int = 1500
    rate: float = 1.0
    share: float = 0.9
    phase_s: float = 0.5
    restarts: int = 3


QUICK = Options(symbols=40, candles=600, rate=4.0, share=0.06, restarts=1)


def weight_of_history(symbols: int, candles: int) -> int:
    """The least weight for `candles` bars of all symbols on USD-M, and exchangeInfo."""
    full, rest = divmod(candles, 499)
    last = 0 if not rest else 1 if rest < 100 else 2
    return symbols * (2 * full + last) + 1


def allowed_s(weight: int, capacity: int, started_ms: float) -> float:
    """Exchange seconds from started_ms until the last request may be sent, by fixed minutes."""
    minutes_to_wait = -(-weight // capacity) - 1
    begins_ms = (started_ms // MINUTE_MS + minutes_to_wait) * MINUTE_MS
    return max(0.0, begins_ms - started_ms) / 1e3


def run(options: Options, figures: Figures) -> None:
    """Both questions, into `figures`."""
    with Workplace() as place:
        exchange = place.exchange(rate=options.rate, seed=SEED, n_symbols=options.symbols + 100)
        symbols = exchange.symbols(options.symbols, options.candles + 60)
        config = {
            "interval": INTERVAL,
            "trade_type": "usdt_perp",
            "num_candles": options.candles,
            "keep_symbols": symbols,
            "weight_share": options.share,
            "exchange": {
                "rest": exchange.rest,
                "stream": exchange.stream,
                "rate": exchange.rate,
                "source": exchange.source,
            },
            "snapshot": {"directory": "snapshot", "every_bars": 1, "min_interval_sec": 0},
        }
        from_nothing(options, figures, place, exchange, config, symbols)
        from_snapshot(options, figures, place, exchange, config, symbols)


def from_nothing(
    options: Options,
    figures: Figures,
    place: Workplace,
    exchange: Exchange,
    config: dict[str, Any],
    symbols: Sequence[str],
) -> None:
    """The history over REST."""
    clock = exchange.clock
    begin_ms = (clock.now_ms() // MINUTE_MS + 1) * MINUTE_MS + options.phase_s * 1e3
    time.sleep(max(0.0, clock.wall_s(begin_ms - clock.now_ms())))
    started_ms = clock.now_ms()
    collector = place.collector("init", config)
    took_s = all_readable(place, collector, symbols) * exchange.rate
    capacity = int(LIMIT * options.share)
    weight = weight_of_history(options.symbols, options.candles)
    allowed = allowed_s(weight, capacity, started_ms)
    most = most_weight(exchange)
    agreement(most <= LIMIT, f"{most} of {LIMIT} weight was used in one minute")
    n_compared = compare(place, exchange, symbols, options.candles)
    note = f"{options.symbols} symbols x {options.candles} bars, exchange seconds from the process's start"
    figures.add("init_s", took_s, note)
    figures.add(
        "init_allowed_s", allowed, f"weight {weight} at {capacity} a minute: begin of the last minute"
    )
    figures.add("init_weight_minutes", weight / capacity, "the same weight spread evenly, for comparison")
    figures.add("init_max_weight", most, f"in any minute, counted by the exchange; the limit is {LIMIT}")
    figures.add("init_compared_bars", n_compared, "of the store with the exchange's REST: none differ")
    if allowed > 0:
        figures.add("init_over_allowed", took_s / allowed)
        figures.at_most("init_over_allowed", LOSS_FLOOR, took_s / allowed)
    else:
        figures.unmet("init_over_allowed", LOSS_FLOOR, "the weights allow it within one minute: no bound")
    figures.at_most("init_max_weight", float(capacity), float(most))


def from_snapshot(
    options: Options,
    figures: Figures,
    place: Workplace,
    exchange: Exchange,
    config: dict[str, Any],
    symbols: Sequence[str],
) -> None:
    """Restarts: the collector killed, its store removed, a snapshot kept that is a bar or more behind."""
    wait_for_snapshot(place, exchange)
    place.kill("init")
    # A bar closes while nobody collects: every symbol lacks one. No later snapshot shall make it easier.
    clock = exchange.clock
    time.sleep(clock.wall_s(STEP + 2_000 - clock.now_ms() % STEP))
    config = {**config, "snapshot": {"directory": "snapshot", "every_bars": 1000, "min_interval_sec": 3600}}
    found, whole = [], []
    for _ in range(options.restarts):
        place.kill("init")
        for file in place.memory.glob("bmac.init*"):
            file.unlink()
        last_g = int(clock.now_ms() // STEP) - 1  # of the bars that are closed when the process starts
        collector = place.collector("init", config)
        found.append(all_readable(place, collector, symbols))
        whole.append(complete(place, collector, last_g))
    note = f"{options.restarts} times: process start to all symbols readable, wall seconds, median"
    figures.add("restart_s_p50", statistics.median(found), note)
    figures.add("restart_s_max", max(found))
    note = "the same, until the bars that closed since the snapshot are there too"
    figures.add("restart_complete_s_p50", statistics.median(whole), note)
    figures.add("restart_complete_s_max", max(whole))
    compare(place, exchange, symbols, options.candles)
    time.sleep(1.0)  # the collector writes its counters now and then
    with bmac_stream.attach("init", directory=str(place.memory)) as store:
        counters = store.counters()
    agreement(counters["snapshot_bars"] > 0, "the restart did not use the snapshot")
    agreement(counters["rest_bars"] >= options.symbols, "nothing was missing: the restart was too easy")
    figures.add("restart_snapshot_bars", counters["snapshot_bars"], "in the last restart")
    figures.add("restart_rest_bars", counters["rest_bars"], "fetched, because the snapshot is older")
    most = most_weight(exchange)
    figures.add("restart_max_weight", most, "in any minute so far")
    figures.at_most("restart_s_p50", RESTART_FLOOR_S, figures["restart_s_p50"])
    figures.at_most("restart_max_weight", float(LIMIT), float(most))


def all_readable(place: Workplace, collector: Child, symbols: Sequence[str]) -> float:
    """Wall seconds from the collector's start until every symbol is readable."""
    deadline = time.monotonic() + 900
    reader: StoreReader | None = None
    wanted = set(symbols)
    while time.monotonic() < deadline:
        collector.check()
        try:
            if reader is None:
                reader = StoreReader.attach("init", directory=str(place.memory))
            if wanted <= set(reader.symbols()):
                took = time.monotonic() - collector.started
                reader.close()
                return took
        except ShmError:
            reader = None
        time.sleep(0.01)
    raise TimeoutError("not all symbols were readable after 900 s")


def complete(place: Workplace, collector: Child, g: int) -> float:
    """Wall seconds from the collector's start until every symbol has bar g."""
    deadline = time.monotonic() + 900
    with StoreReader.attach("init", directory=str(place.memory)) as reader:
        while time.monotonic() < deadline:
            collector.check()
            if reader.complete_g >= g:
                return time.monotonic() - collector.started
            time.sleep(0.01)
    raise TimeoutError(f"bar {g} was not complete after 900 s")


def wait_for_snapshot(place: Workplace, exchange: Exchange) -> None:
    """Waits for the first snapshot that is begun from now on."""
    with bmac_stream.attach("init", directory=str(place.memory)) as store:
        before = store.counters()["snapshots"]
        deadline = time.monotonic() + 30 + 2 * STEP / 1e3 / exchange.rate
        while store.counters()["snapshots"] <= before:
            if time.monotonic() > deadline:
                raise TimeoutError("no snapshot was written")
            time.sleep(0.05)


def compare(place: Workplace, exchange: Exchange, symbols: Sequence[str], n: int) -> int:
    """Every stored bar is the exchange's; how many were compared."""
    n_compared = 0
    reader = StoreReader.attach("init", directory=str(place.memory))
    try:
        for symbol in symbols:
            slot = reader.slot(symbol)
            end = reader.count(slot)
            want_at, want = exchange.bars(symbol, INTERVAL, (end - n) * STEP, (end - 1) * STEP)
            rows = reader.read(slot, lambda view: view[:N_COLUMNS].copy(), n + reader.count(slot) - end)
            agreement(len(want_at) == n, f"{symbol}: the exchange has {len(want_at)} bars of {n}")
            agreement(np.array_equal(rows[:, :n].T, want), f"{symbol}: the store differs from the exchange")
            n_compared += n
    finally:
        reader.close()
    return n_compared


def most_weight(exchange: Exchange) -> int:
    """The most weight that the exchange has counted in one minute, over all its clients."""
    accounts = [account for pool in exchange.stats()["pools"].values() for account in pool.values()]
    return max(int(account["max_per_window"]) for account in accounts)


def main(json: str | None = None, quick: bool = False, **sizes: float) -> None:
    """Run it. Any field of Options can be given: --symbols=100 --rate=2."""
    options = QUICK if quick else Options()
    kinds = {name: type(getattr(options, name)) for name in Options.__dataclass_fields__}
    unknown = sorted(set(sizes) - set(kinds))
    if unknown:
        sys.exit(f"no such option: {', '.join(unknown)}; there are {', '.join(kinds)}")
    options = replace(options, **{name: kinds[name](value) for name, value in sizes.items()})
    figures = Figures(__doc__.splitlines()[0] if __doc__ else "")
    run(options, figures)
    sys.exit(figures.finish(json))


if __name__ == "__main__":
    fire.Fire(main)
