"""How fast are factors: live, one symbol alone, as a peek, over history; and against other engines?

    python bench/factors.py [--json FILE] [--agree] [--sets alpha158,alpha101,ten] [--symbols 1,8,64,512]
    python bench/factors.py --profile alpha158          where the time of a plan goes, by operator

Contenders agree on the same bars before they are timed; what does not agree is listed. All run in one process
on one core, in turns (factor_time.py says how), in float64. `--agree` is the agreement alone.
KunQuant steps whole vectors of symbols: at S=1 it steps one block. It cannot step one symbol of many, nor
peek. Where it has fewer factors than we, or reads them otherwise, both are timed on its own.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import factor_engine
import factor_indicators
import factor_kunquant
import factor_ours
import fire
import numba
import numpy as np
from factor_bars import COLUMNS, F64, make_bars
from factor_growth import growth
from factor_memory import PAGE, copy_rate, touched_bytes
from factor_ours import FIRST_G, Ours, plan_of
from factor_profile import profile as print_profile
from factor_time import Sweep, time_live
from report import Figures, interleave, pin, quantile

from kernels import state
from kernels.run import OneSymbol, Program, load_fields, read_outputs, step_own
from shm.atomics import clock_ns

SETS = ("alpha158", "alpha101", "ten")
WARM = 320
"""Bars before anything is timed or compared: every window is full, every seed forgotten."""

FLOORS = {
    "alpha158_over_kunquant": 20.0,
    "alpha158_p99_over_median": 3.0,
    "alpha101_over_kunquant": 5.0,
    "ten_python_of_talib_stream": 1.0,
    "ten_python_of_ta_numba": 1.0,
    "ten_python_of_talipp": 1.0,
    "ten_python_of_pandas": 1.0,
    "ten_market_over_kunquant": 4.0,
    "alpha158_one_symbol_us": 10.0,
    "alpha158_peek_us": 15.0,
    "alpha158_batch_over_kunquant": 10.0,
    "alpha158_restore_ms": 5.0,
}

TOLERANCE = 1e-6
"""Two engines agree on a cell if they differ by less than this part of its size or of the usual one."""


AS_KUNQUANT = {"alpha101": "alpha101_as_kunquant"}
"""Sets that KunQuant reads in another way than we: timed are both, the ratio is that of the same formulas."""

AGREEING = {"alpha158": (1.0, 1.0), "alpha101": (0.9, 0.99), "ten": (1.0, 1.0)}
"""On how many of a set's factors we and KunQuant must agree before anything is timed, and on what part of a
factor's cells. Alpha101 ranks what is equal but for rounding (a correlation of two bars is 1 or -1): there
KunQuant's stream and its own batch differ more than we and its stream."""


class Disagreement(AssertionError):
    """Two contenders that should say the same do not."""


# ---- agreement --------------------------------------------------------------------------------------------


def share_agreeing(found: F64, expected: F64) -> float:
    """Part of the cells that agree; NaN agrees with NaN only."""
    missing = np.isnan(found) | np.isnan(expected)
    both = np.isnan(found) & np.isnan(expected)
    size = np.abs(expected)
    usual = np.nanmedian(size) if not missing.all() else 0.0
    with np.errstate(invalid="ignore"):
        near = (np.abs(found - expected) <= TOLERANCE * np.maximum(size, usual)) | (found == expected)
    return float((near & ~missing | both).mean())


def agree_on_set(name: str, n_symbols: int, n_bars: int) -> tuple[list[str], dict[str, float], list[str]]:
    """Our stream and KunQuant's over the same bars: names that both have; those that differ somewhere
    (name -> part of the cells that agree); names that only KunQuant has."""
    theirs = factor_kunquant.Stream(name, n_symbols)
    same = AS_KUNQUANT.get(name, name)
    ours_have = set(plan_of(same).names)
    names = [key for key in theirs.names if key in ours_have]
    ours = Ours(plan_of(same, names), n_symbols)
    bars = make_bars(WARM + n_bars, theirs.width)
    found = np.empty((n_bars, len(names), n_symbols))
    expected = np.empty((n_bars, len(theirs.names), theirs.width))
    for t, bar in enumerate(bars):
        k = max(t - WARM, 0)
        ours.whole_step(bar, found[k])
        theirs.whole_step(bar, expected[k])
    differ = {}
    for i, key in enumerate(names):
        share = share_agreeing(found[:, i], expected[:, theirs.names.index(key), :n_symbols])
        if share < 1.0:
            differ[key] = share
    return names, differ, [key for key in theirs.names if key not in ours_have]


def agree_on_indicators(n_bars: int) -> list[str]:
    """Every engine of one symbol says what TA-Lib's batch says; the names of those that are here."""
    bars = make_bars(1600 + n_bars, 1)[:, :, 0]
    history, rest = bars[:1600], bars[1600:]
    found: dict[str, list[list[float]]] = {}
    for name, engine in factor_indicators.ENGINES.items():
        if not factor_indicators.absent(engine):
            made = engine(np.ascontiguousarray(history))
            found[name] = []
            for row in rest[:, [1, 2, 3]].tolist():
                made.update(*row)
                found[name].append(made.values())
    if not factor_ours.absent("ten"):
        plan = plan_of("ten")
        program = Program(plan, 1)
        symbol = OneSymbol(program, 0, factor_ours.order(plan).tolist())
        found["ours"] = []
        for t, row in enumerate(bars.tolist()):
            symbol.step(FIRST_G + t, *row)
            if t >= len(history):
                found["ours"].append(symbol.out.tolist())
    names = list(found)
    judge = "talib_stream" if "talib_stream" in found else names[0]
    for name in names:
        a, b = np.array(found[name]), np.array(found[judge])
        for k, label in enumerate(factor_indicators.NAMES):
            if not np.isnan(a[:, k]).all() and (share := share_agreeing(a[:, k], b[:, k])) < 1.0:
                raise Disagreement(f"{name} and {judge} agree on {share:.1%} of {label}")
    return names


def kunquant_with_itself(name: str, n_symbols: int, n_bars: int) -> dict[str, float]:
    """Where KunQuant's stream differs from its batch: name -> part of the cells that agree within 1e-3."""
    stream, batch = factor_kunquant.Stream(name, n_symbols), factor_kunquant.Batch(name)
    bars = make_bars(WARM + n_bars, stream.width)
    live = np.empty((len(bars), len(stream.names), stream.width))
    for bar, out in zip(bars, live, strict=True):
        stream.whole_step(bar, out)
    whole = np.zeros((len(batch.names), len(bars), stream.width))
    batch.run(batch.inputs(bars), whole)
    differ = {}
    for key in stream.names:
        a, b = live[WARM:, stream.names.index(key)], whole[batch.names.index(key), WARM:]
        with np.errstate(invalid="ignore"):
            near = (np.abs(a - b) <= 1e-3 * np.abs(b)) | (a == b) | (np.isnan(a) & np.isnan(b))
        if not near.all():
            differ[key] = float(near.mean())
    return differ


def tell(differ: dict[str, float]) -> str:
    return ", ".join(f"{key} {share:.1%}" for key, share in differ.items())


# ---- live -------------------------------------------------------------------------------------------------


def live(figures: Figures, name: str, n_symbols: int, rounds: int, kunquant: bool, sweep: Sweep) -> None:
    """One set at one number of symbols: ours and KunQuant's, on KunQuant's factors."""
    label = f"{name}_{n_symbols}"
    contenders: dict[str, Any] = {}
    if kunquant:
        contenders["kunquant"] = factor_kunquant.Stream(name, n_symbols)
        names = contenders["kunquant"].names
        if name in AS_KUNQUANT:
            contenders["library"] = Ours(plan_of(name), n_symbols)
    else:
        names = list(plan_of(name).names)
    same = AS_KUNQUANT.get(name, name) if kunquant else name
    contenders["ours"] = Ours(plan_of(same, names), n_symbols)
    width = max(c.width for c in contenders.values())
    n_alone = {"ours": 6 * rounds, "library": rounds, "kunquant": rounds}
    bars = make_bars(WARM + 6 * rounds, width)
    for contender in contenders.values():
        for bar in bars[:WARM]:
            contender.push(bar)
            contender.run()
    found = time_live(contenders, bars[WARM:], rounds, n_alone, 15, sweep)
    for who in contenders:
        suffix = "" if who == "ours" else f"_{who}"
        figures.add(f"{label}{suffix}_us", found.turns.median(who), found.note(who))
    if kunquant:
        ratio = found.turns.ratio("kunquant", "ours")
        whole = [k / o for k, o in zip(found.whole["kunquant"], found.whole["ours"], strict=True)]
        alone = statistics.median(found.alone["kunquant"]) / statistics.median(found.alone["ours"])
        cold = statistics.median(found.cold["kunquant"]) / statistics.median(found.cold["ours"])
        note = f"{len(names)} factors; alone {alone:.3g}, cold {cold:.3g}, "
        note += f"with load and read-out {statistics.median(whole):.3g}"
        figures.add(f"{label}_over_kunquant", ratio, note)
        if "library" in contenders:
            note = f"our {len(contenders['library'].names)} factors against KunQuant's {len(names)}"
            figures.add(f"{label}_library_over_kunquant", found.turns.ratio("kunquant", "library"), note)
    alone_ours = found.alone["ours"]
    spread = quantile(alone_ours, 0.99) / statistics.median(alone_ours)
    figures.add(f"{label}_p99_over_median", spread, f"alone, {len(alone_ours)} bars")


# ---- one symbol -------------------------------------------------------------------------------------------


@numba.njit(nogil=True)
def close_one_by_one(
    program: int, g: int, slots: Any, source: int, columns: int, by_column: int, out: int, n_outputs: int,
    times: Any,
) -> None:  # fmt: skip
    """Symbols close one after the other: times[i] ns of step, of load + step, of load + step + read-out."""
    for i in range(slots.size):
        slot = slots[i]
        t0 = clock_ns()
        load_fields(program, g, slot, 1, source, columns, by_column, 1)
        t1 = clock_ns()
        step_own(program, g, slot, 1)
        t2 = clock_ns()
        read_outputs(program, g, slot, 1, out + 8 * slot * (n_outputs - 1), 1)
        t3 = clock_ns()
        times[i, 0], times[i, 1], times[i, 2] = t2 - t1, t2 - t0, t3 - t0


def one_symbol(figures: Figures, name: str, n_symbols: int, sweep: Sweep) -> None:
    """A symbol's close inside compiled code, and a peek from Python: symbols in random order. What looks
    across symbols waits for the whole market: its outputs are old at a close, and NaN in a peek."""
    ours = Ours(plan_of(name), n_symbols)
    n_outputs = len(ours.names)
    bars = make_bars(WARM + 70, n_symbols)
    ours.replay(bars[:WARM])
    random = np.random.default_rng(1)
    out = np.zeros((n_symbols, n_outputs))
    times = np.empty((n_symbols, 3))

    def close_all(bar: F64, slots: Any) -> F64:
        """[len(slots), 3] us."""
        where = (ours.address, ours.g, slots)
        data = (bar.ctypes.data, ours.columns.ctypes.data, n_symbols, out.ctypes.data, n_outputs)
        close_one_by_one(*where, *data, times[: len(slots)])
        return times[: len(slots)] / 1e3

    warm, cold = [], []
    for bar in bars[WARM : WARM + 40]:
        ours.g += 1
        warm.append(close_all(bar, random.permutation(n_symbols)))
    for bar in bars[WARM + 40 : WARM + 70]:  # afterwards: a sweep makes the next closes cold as well
        ours.g += 1
        slots = random.permutation(n_symbols)
        sweep()
        cold.append(close_all(bar, slots[:1])[0, 2])
        close_all(bar, slots[1:])
    step, load, whole = np.concatenate(warm[1:]).T
    note = f"load, step and read-out; min {whole.min():.3g}, p99 {np.quantile(whole, 0.99):.3g}; "
    note += f"step alone {np.median(step):.3g}, with load {np.median(load):.3g}; "
    note += f"cold {statistics.median(cold[1:]):.3g}"
    figures.add(f"{name}_one_symbol_us", float(np.median(whole)), note)

    one = np.empty(n_outputs)
    forming, to = bars[-1].ctypes.data, one.ctypes.data

    def peeks(slots: list[int], before: Callable[[], None] | None = None) -> list[float]:
        found = []
        for slot in slots:
            if before:
                before()
            began = time.perf_counter_ns()
            ours.peek(slot, forming + 8 * slot, n_symbols, to)
            found.append((time.perf_counter_ns() - began) / 1e3)
        return found

    warm_peeks = peeks(random.integers(n_symbols, size=5000).tolist())[1000:]
    cold_peeks = peeks(random.integers(n_symbols, size=30).tolist(), sweep)
    note = f"a call from Python; min {min(warm_peeks):.3g}, p99 {quantile(warm_peeks, 0.99):.3g}; "
    note += f"cold {statistics.median(cold_peeks):.3g}"
    figures.add(f"{name}_peek_us", statistics.median(warm_peeks), note)


def indicators(figures: Figures, rounds: int, n: int = 400) -> None:
    """Ten indicators of one symbol from Python: ours in one call, the others as they are used."""
    bars = make_bars(1600 + n, 1)[:, :, 0]
    history = np.ascontiguousarray(bars[:1600])
    closed = bars[1600:].tolist()
    three = [(row[1], row[2], row[3]) for row in closed]
    calls: dict[str, Callable[[], float]] = {}

    def of_engine(call: Callable[[float, float, float], None], count: int) -> Callable[[], float]:
        def run() -> float:
            began = time.perf_counter_ns()
            for high, low, close in three[:count]:
                call(high, low, close)
            return (time.perf_counter_ns() - began) / count

        return run

    def of_ours(n_slots: int, tolist: bool) -> Callable[[], float]:
        plan = plan_of("ten")
        program = Program(plan, n_slots)
        symbol = OneSymbol(program, n_slots // 2, factor_ours.order(plan).tolist())
        for t, row in enumerate(history.tolist()):
            symbol.step(FIRST_G + t, *row)
        step, out, g = symbol.step, symbol.out, FIRST_G + len(history)

        def run() -> float:
            nonlocal g
            began = time.perf_counter_ns()
            for v0, v1, v2, v3, v4, v5, v6, v7, v8 in closed:
                step(g, v0, v1, v2, v3, v4, v5, v6, v7, v8)
                g += 1
            return (time.perf_counter_ns() - began) / n

        def run_and_list() -> float:
            nonlocal g
            began = time.perf_counter_ns()
            for v0, v1, v2, v3, v4, v5, v6, v7, v8 in closed:
                step(g, v0, v1, v2, v3, v4, v5, v6, v7, v8)
                out.tolist()
                g += 1
            return (time.perf_counter_ns() - began) / n

        return run_and_list if tolist else run

    if not factor_ours.absent("ten"):
        calls["ours"] = of_ours(512, False)
        calls["ours_as_list"] = of_ours(512, True)
        calls["ours_single"] = of_ours(1, False)
    for name, engine in factor_indicators.ENGINES.items():
        if not factor_indicators.absent(engine):
            made = engine(history)
            calls[name] = of_engine(made.update, 5 if name == "pandas" else n)
            if name == "talib_stream":
                calls["talib_stream_peek"] = of_engine(made.peek, n)
    found = interleave(calls, rounds)
    notes = {
        "ours": "one call with the bar's nine numbers, 14 numbers in an array; one of 512 symbols",
        "ours_as_list": "the same, and the array as a list of floats",
        "ours_single": "the same as the first, in a program of one symbol",
        "talib_stream": "update of ten handles",
        "talib_stream_peek": "peek of ten handles",
        "nautilus_trader": "eight of the ten indicators: no deviation, no MACD signal",
        "pandas": "all anew on the last 1500 bars",
    }
    for name in calls:
        low, high = found.spread(name)
        note = f"{notes.get(name, 'ten updates')}; {low:,.0f} to {high:,.0f}"
        figures.add(f"ten_python_{name}_ns", found.median(name), note)
    for name in factor_indicators.ENGINES:
        if "ours" in calls and name in calls:
            figures.add(f"ten_python_of_{name}", 1 / found.ratio(name, "ours"), f"ours / {name}")


def market_of_handles(figures: Figures, n_symbols: int, n_bars: int = 20) -> None:
    """What the whole market costs from Python with ten talib.stream handles for each symbol."""
    bars = make_bars(400 + n_bars, n_symbols)
    made = [factor_indicators.TaLib(np.ascontiguousarray(bars[:400, :, k])) for k in range(n_symbols)]
    rows = [bar[[1, 2, 3]].T.tolist() for bar in bars[400:]]
    times = []
    for row in rows:
        began = time.perf_counter_ns()
        for one, (high, low, close) in zip(made, row, strict=True):
            one.update(high, low, close)
        times.append((time.perf_counter_ns() - began) / 1e3)
    figures.add(f"ten_{n_symbols}_talib_stream_us", statistics.median(times), "ten handles for each symbol")


# ---- history, restore, memory -----------------------------------------------------------------------------


def history(figures: Figures, name: str, n_symbols: int, n_bars: int, rounds: int, kunquant: bool) -> None:
    """A whole history into arrays that were written to before (by the round that is thrown away): ours
    [bar][factor][symbol], KunQuant's [factor][bar][symbol]."""
    batch = factor_kunquant.Batch(name) if kunquant else None
    names = list(batch.names if batch else plan_of(name).names)
    bars = make_bars(n_bars, max(n_symbols, factor_kunquant.lanes()))
    out = np.zeros((n_bars, len(names), n_symbols))
    ours = Ours(plan_of(AS_KUNQUANT.get(name, name) if batch else name, names), n_symbols)

    def timed(call: Callable[[], None]) -> float:
        began = time.perf_counter()
        call()
        return time.perf_counter() - began

    def run_ours() -> float:
        ours.program.reset()
        return timed(lambda: ours.replay(bars, out))

    calls = {"ours": run_ours}
    if batch:
        inputs, theirs = batch.inputs(bars), np.zeros((len(names), n_bars, bars.shape[2]))
        calls["kunquant"] = lambda: timed(lambda: batch.run(inputs, theirs))
    found = interleave(calls, rounds)
    for who in calls:
        low, high = found.spread(who)
        suffix = "" if who == "ours" else f"_{who}"
        note = f"{len(names)} factors, {n_symbols} symbols x {n_bars} bars; "
        note += f"{1e3 * low:.3g} to {1e3 * high:.3g}; {1e6 * found.median(who) / n_bars:.3g} us a bar"
        figures.add(f"{name}_{n_symbols}_batch{suffix}_ms", 1e3 * found.median(who), note)
    if kunquant:
        ratio = found.ratio("kunquant", "ours")
        figures.add(f"{name}_{n_symbols}_batch_over_kunquant", ratio, "median of ratios")


def restore(figures: Figures, name: str, n_symbols: int, rounds: int, kunquant: bool) -> None:
    """A saved state of all symbols back into a program: same slots, and other slots."""
    ours = Ours(plan_of(name), n_symbols)
    ours.replay(make_bars(WARM, n_symbols))
    slots = {f"S{k:03d}": k for k in range(n_symbols)}
    saved = bytes(state.dump(ours.program, slots, {}))
    other = Program(ours.plan, n_symbols)
    moved = np.random.default_rng(2).permutation(n_symbols).tolist()

    def timed(call: Callable[[], object]) -> float:
        began = time.perf_counter()
        call()
        return 1e3 * (time.perf_counter() - began)

    calls: dict[str, Callable[[], float]] = {
        "dump": lambda: timed(lambda: state.dump(ours.program, slots, {})),
        "restore": lambda: timed(lambda: state.put_back(other, state.load(saved), list(slots.values()))),
        "restore_moved": lambda: timed(lambda: state.put_back(other, state.load(saved), moved)),
    }
    if kunquant:
        stream = factor_kunquant.Stream(name, n_symbols)
        for bar in make_bars(WARM, stream.width):
            stream.push(bar)
            stream.run()
        theirs = stream.context.serializeStates()
        calls["restore_kunquant"] = lambda: timed(lambda: factor_kunquant.Stream(name, n_symbols, theirs))
    found = interleave(calls, rounds)
    assert np.array_equal(other.state[:, moved], ours.program.state, equal_nan=True) or rounds % 2 == 0
    notes = {
        "dump": f"{len(saved) / 1e6:.1f} MB",
        "restore": "bytes checked and put back, the same slots",
        "restore_moved": "the same, each symbol to another slot",
        "restore_kunquant": "a new context from bytes, its library being loaded",
    }
    for key in calls:
        low, high = found.spread(key)
        figures.add(f"{name}_{key}_ms", found.median(key), f"{notes[key]}; {low:.3g} to {high:.3g}")


def memory(figures: Figures, sets: dict[str, bool]) -> None:
    """Bytes of state that a step of 512 symbols touches, against what the machine copies in that time."""
    n_symbols = PAGE // 8
    for name, kunquant in sets.items():
        bars = make_bars(WARM + 120, n_symbols)
        ours = Ours(plan_of(AS_KUNQUANT.get(name, name) if kunquant else name), n_symbols)
        ours.replay(bars[:WARM])
        touched = touched_bytes(ours, bars[WARM:])
        if touched is None:
            print(f"bytes of state touched by {name}: this system does not tell")
            continue
        rate = copy_rate(touched)
        share = touched / ours.program.nbytes
        figures.add(f"{name}_touched_kib", touched / 1024, f"a step of {n_symbols}; {share:.0%} of the state")
        figures.add(f"{name}_copy_gb_s", rate / 1e9, "read + written, copying a block of half the size")
        bound = figures.add(f"{name}_bound_us", touched / rate * 1e6, "the bytes touched at that rate")
        step = figures.figures.get(f"{name}_{n_symbols}_us")
        if step is not None:
            figures.add(f"{name}_over_bound", step / bound, f"the step of {n_symbols}, by turns, over it")


# ---- all of it --------------------------------------------------------------------------------------------


def check(figures: Figures, sets: Sequence[str], n_symbols: int, n_bars: int, deep: bool) -> dict[str, bool]:
    """Agreement of all contenders; for each of our sets whether KunQuant can be timed against it."""
    why_not = factor_kunquant.absent()
    if why_not:
        print(f"absent: kunquant: {why_not}")
    if "ten" in sets:  # importing ta_numba takes 13 s: it compiles all it has
        for name, engine in factor_indicators.ENGINES.items():
            if why := factor_indicators.absent(engine):
                print(f"absent: {name}: {why}")
    against: dict[str, bool] = {}
    for name in sets:
        if why := factor_ours.absent(name):
            print(f"absent: {why}")
            continue
        against[name] = not why_not
        if why_not:
            continue
        names, differ, lacking = agree_on_set(name, n_symbols, n_bars)
        if lacking:  # a ratio to an engine that computes more would flatter us
            against[name] = False
            print(f"{name}: not timed against KunQuant, of whose factors ours lacks {', '.join(lacking)}")
        figures.add(f"{name}_agreeing", len(names) - len(differ), f"of {len(names)}, in every cell")
        same = len(names) - len(differ)
        print(f"{name}: ours and KunQuant's stream agree in every cell on {same} of {len(names)} factors")
        if differ:
            print(f"{name}: they differ on {tell(differ)} (part of the cells that agree)")
        least, cells = AGREEING[name]
        far = [key for key, share in differ.items() if share < cells]
        if len(far) > (1.0 - least) * len(names):
            raise Disagreement(f"{name}: ours and KunQuant differ on {', '.join(far)}")
        if deep:
            own = kunquant_with_itself(name, n_symbols, n_bars)
            figures.add(f"{name}_kunquant_differs_from_itself", len(own), "its stream and its batch, 1e-3")
            if own:
                print(f"{name}: KunQuant's stream differs from its own batch on {tell(own)}")
    if "ten" in sets:
        print(f"one symbol: {', '.join(agree_on_indicators(n_bars))} agree")
    return against


def floors(figures: Figures, sets: dict[str, bool]) -> None:
    """Every floor of the project: met, missed, or unmet with the reason."""
    kunquant = factor_kunquant.absent()
    sources = {
        "alpha158_over_kunquant": "alpha158_512_over_kunquant",
        "alpha158_p99_over_median": "alpha158_512_p99_over_median",
        "alpha101_over_kunquant": "alpha101_512_over_kunquant",
        "ten_market_over_kunquant": "ten_512_over_kunquant",
        "alpha158_batch_over_kunquant": "alpha158_512_batch_over_kunquant",
    }
    for name, floor in FLOORS.items():
        value = figures.figures.get(sources.get(name, name))
        if value is not None:
            at_least = name.endswith("_over_kunquant")
            (figures.at_least if at_least else figures.at_most)(name, floor, value)
            continue
        which = name.split("_")[0]
        reason = "not asked for" if which not in SETS or which not in sets else "not measured"
        if why := factor_ours.absent(which):
            reason = why
        elif name.endswith("kunquant"):
            reason = kunquant or reason
        elif name.startswith("ten_python_of_"):
            reason = factor_indicators.absent(factor_indicators.ENGINES[name[14:]]) or reason
        figures.unmet(name, floor, reason)


def main(
    json: str | None = None,
    agree: bool = False,
    profile: str | None = None,
    sets: str | Sequence[str] = SETS,
    symbols: int | Sequence[int] = (1, 8, 64, 512),
    rounds: int = 120,
    batch_bars: int = 1500,
) -> None:
    """Measure, print, and exit 1 if a floor is missed.

    json        write figures and floors to this file
    agree       only check that the contenders agree, at the smallest size
    profile     only print where the time of this set goes (or of `pkg.module`, whose `nodes()` are taken)
    sets        which of alpha158, alpha101, ten
    symbols     how many
    rounds      bars that are timed by turns
    batch_bars  bars of the history
    """
    sets = (sets,) if isinstance(sets, str) else tuple(sets)
    sizes = (symbols,) if isinstance(symbols, int) else tuple(symbols)
    if profile:
        pin(sorted(os.sched_getaffinity(0))[0])
        print_profile(profile, sizes[-1])
        return
    figures = Figures("How fast are factors: live, one symbol alone, as a peek, over history?")
    if agree:
        check(figures, sets, 8, 60, deep=False)
        return
    against = check(figures, sets, 64, 120, deep=True)
    if "alpha158" in against:
        factor_engine.measure(figures)  # two processes, a core each
    pin(sorted(os.sched_getaffinity(0))[0])  # not before: g++ may use all cores
    sweep = Sweep()
    for name, kunquant in against.items():
        for n_symbols in sizes:
            print(f"{name}: {n_symbols} symbols", flush=True)
            live(figures, name, n_symbols, rounds, kunquant, sweep)
    if "ten" in sets:
        indicators(figures, 9)
        if not factor_indicators.absent(factor_indicators.TaLib):
            market_of_handles(figures, 512)
    memory(figures, against)
    for name in against:
        one_symbol(figures, name, 512, sweep)
    if "alpha158" in against:
        restore(figures, "alpha158", 512, 9, against["alpha158"])
    for name, kunquant in against.items():
        for n_symbols in sizes:
            print(f"{name}: a history of {n_symbols} symbols", flush=True)
            n_bars = batch_bars if name != "alpha101" else max(batch_bars // 5, 1)
            history(figures, name, n_symbols, n_bars, 3, kunquant)
    growth(figures, "alpha158" if "alpha158" in against else None, min(300, 10 * rounds))
    floors(figures, against)
    sys.exit(figures.finish(json))


if __name__ == "__main__":
    assert COLUMNS[1:4] == ("high", "low", "close")
    fire.Fire(main)
