"""What every operator is held to, whatever it computes.

`DATA[field]` is float64[T, len(COLUMNS)]: each column is a symbol of its own kind, from a plain walk to
prices that hurt. `check` runs an expression over all of them and compares with a reference written apart, one
column at a time; then it asks for the same bits from every other way to run the same plan.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kernels.node import Node
from kernels.plan import Plan
from kernels.run import Program, copy_slot, replay

Array = NDArray[np.float64]

T: Final = 420
START: Final = 1_000_003
"""The bar number that runs begin with: nothing may depend on beginning at 0."""


def _columns(seed: int) -> dict[str, Array]:
    random = np.random.default_rng(seed)

    def walk(scale: float = 0.01) -> Array:
        made: Array = 100.0 * np.exp(np.cumsum(scale * random.standard_t(4, T)))
        return made

    gaps = walk()
    gaps[random.random(T) < 0.1] = np.nan
    gaps[150:230] = np.nan
    infinite = walk()
    infinite[[60, 200, 201]] = np.inf
    infinite[[90, 300]] = -np.inf
    constant = walk()
    constant[80:260] = constant[80]
    bad = walk()
    bad[180] *= 1000.0
    late = walk()
    late[:130] = np.nan
    few = np.full(T, np.nan)
    few[200:203] = walk()[:3]
    return {
        "walk": walk(),
        "offset": 1e9 + random.normal(size=T),
        "constant": constant,
        "tiny": 1e-12 * walk(),
        "gaps": gaps,
        "infinite": infinite,
        "bad print": bad,
        "late": late,
        "ties": random.integers(-2, 3, T).astype(float),
        "signed": random.normal(size=T),
        "never": np.full(T, np.nan),
        "three bars": few,
        "zero": np.zeros(T),
    }


COLUMNS: Final = tuple(_columns(0))
DATA: Final[dict[str, Array]] = {
    name: np.ascontiguousarray(np.column_stack([*_columns(seed).values()]))
    for seed, name in enumerate(("x", "y", "z"))
}
"""Fields x, y and z: float64[T, len(COLUMNS)]."""


def run(
    outputs: Mapping[str, Node],
    data: Mapping[str, Array],
    *,
    start: int = START,
    members: Array | None = None,
    program: Program | None = None,
    slots: tuple[int, int] | None = None,
) -> Array:
    """Step a plan over `data` (float64[T, S] for each field); the outputs as float64[T, n_outputs, S].

    members  float64[T, S]; None: every symbol with a value in some field
    slots    (first, n): only these symbols; the cross part is left out
    """
    plan = program.plan if program else Plan(outputs)
    columns = np.stack([data[name] for name in plan.fields] or [next(iter(data.values()))], axis=1)
    n_bars, n_fields, n_slots = columns.shape
    columns = np.ascontiguousarray(columns)
    program = program or Program(plan, n_slots)
    out = np.full((n_bars, len(plan.names), n_slots), np.nan)
    if members is None:
        members = np.isfinite(columns).any(axis=1).astype(float)
    members = np.ascontiguousarray(members)
    order = np.arange(n_fields, dtype=np.int64)
    first, n = slots or (0, n_slots)
    replay(
        program.address,
        start,
        n_bars,
        first,
        n,
        columns.ctypes.data,
        order.ctypes.data,
        n_slots,
        1,
        n_fields * n_slots,
        members.ctypes.data if slots is None else 0,
        out.ctypes.data,
        n_slots,
        out[0].size,
    )
    return out


def same_bits(found: Array, expected: Array) -> None:
    """Fail where one bit differs. All NaN are one: outputs are published with one NaN."""
    differ = np.argwhere(found.view(np.int64) != expected.view(np.int64))
    assert not len(differ), (
        f"first of {len(differ)} at {differ[0]}: {found[tuple(differ[0])]!r}, {expected[tuple(differ[0])]!r}"
    )


def agree(found: Array, expected: Array, rtol: float, atol: float, what: str) -> None:
    """Fail where values differ by more than rtol * |expected| + atol, or one is NaN and the other not."""
    missing = np.isnan(found) != np.isnan(expected)
    with np.errstate(invalid="ignore"):
        far = ~(np.abs(found - expected) <= rtol * np.abs(expected) + atol) & (found != expected)
    wrong = np.flatnonzero(missing | (far & ~np.isnan(expected)))
    assert not len(wrong), (
        f"{what}: first of {len(wrong)} at {wrong[0]}: {found[wrong[0]]!r}, {expected[wrong[0]]!r}"
    )


def check(
    node: Node,
    reference: Callable[..., Any],
    *,
    rtol: float = 1e-10,
    atol: float = 0.0,
    usual: float = 0.0,
    without: tuple[str, ...] = (),
    data: Mapping[str, Array] = DATA,
    names: tuple[str, ...] = COLUMNS,
) -> None:
    """An expression along time: equal to `reference`, and the same bits in whatever way it is run.

    reference  called once for each column with the plan's fields, in the order of `plan.fields`: float64[T]
    usual      further absolute tolerance, in parts of the median size of the column's expected values
    without    columns whose values the reference cannot give (say why beside the call); bits are still held
    """
    plan = Plan({"out": node})
    found = run({"out": node}, data)
    for k, name in enumerate(names):
        if name not in without:
            expected = np.asarray(reference(*(data[field][:, k].copy() for field in plan.fields)), float)
            size = 0.0 if np.isnan(expected).all() else float(np.nanmedian(np.abs(expected)))
            agree(found[:, 0, k], expected, rtol, atol + usual * size, f"{node.text} on {name!r}")
    check_bits(node, found, data)


def check_bits(node: Node, found: Array, data: Mapping[str, Array] = DATA) -> None:
    """The same bits alone and together, after a restart, after a NaN beginning, after forgetting."""
    plan = Plan({"out": node})
    n_bars, _, n_slots = found.shape
    whole = {"out": node}
    if not any(plan.is_cross):
        alone = Program(plan, n_slots)
        for slot in range(n_slots):
            got = run(whole, data, program=alone, slots=(slot, 1))
            same_bits(got[:, :, slot], found[:, :, slot])
    # Stop in the middle, carry each symbol's state to another program, go on.
    middle = n_bars // 2 + 7
    before, after = Program(plan, n_slots), Program(plan, n_slots)
    run(whole, {k: v[:middle] for k, v in data.items()}, program=before)
    for slot in range(n_slots):
        copy_slot(before.address, slot, after.address, slot)
    same_bits(
        run(whole, {k: v[middle:] for k, v in data.items()}, program=after, start=START + middle),
        found[middle:],
    )
    # Bars before the first one, stepped as NaN, change nothing.
    empty = 37
    padded = {k: np.concatenate([np.full((empty, n_slots), np.nan), v]) for k, v in data.items()}
    same_bits(run(whole, padded, start=START - empty)[empty:], found)
    # What is promised to be forgotten is forgotten.
    if np.isfinite(plan.memory[0]) and plan.memory[0] < n_bars - 60:
        skipped = 41
        later = run(whole, {k: v[skipped:] for k, v in data.items()}, start=START + skipped)
        from_here = int(plan.memory[0])
        same_bits(later[from_here:], found[skipped + from_here :])
    # The first value comes when it is promised, on a symbol that misses nothing.
    complete = [k for k in range(n_slots) if all(np.isfinite(v[:, k]).all() for v in data.values())]
    firsts = [np.flatnonzero(~np.isnan(found[:, 0, k])) for k in complete]
    firsts = [f for f in firsts if len(f)]
    at = sorted({int(f[0]) for f in firsts})
    assert at and at[0] == plan.warm_up[0], (
        f"{node.text}: warm-up of {plan.warm_up[0]} promised, first values at {at}"
    )


def check_drift(
    node: Node,
    tail: Callable[..., Any],
    *,
    bars: int = 1_000_000,
    keep: int = 1500,
    rtol: float = 1e-9,
    window: int = 39,
) -> None:
    """After a million bars with one bad print of x1000: within rtol of `tail`.

    tail    gets the last `keep` bars of each field in extended precision, gives the value of the last bar
    window  one column's bad print lies just before the last `window` bars
    """
    random = np.random.default_rng(5)
    plan = Plan({"out": node})
    shape = (bars, 4)
    data = {}
    for name in plan.fields:
        prices = 100.0 + 0.01 * np.cumsum(random.normal(size=shape), axis=0)
        prices[:, 1] = 1e9 + random.normal(size=bars)
        prices[bars // 3, 2] *= 1000.0
        prices[bars - window - 1, 3] *= 1000.0
        data[name] = prices
    found = run({"out": node}, data)[-1, 0]
    for k in range(4):
        expected = float(tail(*(data[name][-keep:, k].astype(np.longdouble) for name in plan.fields)))
        assert abs(found[k] - expected) <= rtol * abs(expected), (
            f"{node.text}, column {k}: {found[k]!r}, {expected!r}"
        )
