"""kernels/cross_section.py against pandas, bar by bar; and what no cross-section may depend on.

`check` here is for operators across symbols, as the harness' is for those along time.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import pandas as pd
import pytest

from kernels.cross_section import (
    CS_RANK,
    cs_bottom,
    cs_count,
    cs_demean,
    cs_group_mean,
    cs_group_rank,
    cs_mean,
    cs_members,
    cs_neutralise,
    cs_pick,
    cs_rank,
    cs_residual,
    cs_scale,
    cs_std,
    cs_sum,
    cs_top,
    cs_winsorise,
    cs_zscore,
)
from kernels.elementwise import less
from kernels.node import Node, field
from kernels.plan import Plan
from kernels.run import Program, copy_slot
from tests.kernels.harness import Array, run, same_bits

START: Final = 1_000_003
X, Y, GROUP, FLAG = field("x"), field("y"), field("group"), field("flag")


def bars(n: int, seed: int = 0) -> dict[str, Array]:
    """Cross-sections of all kinds, one a row: fields x, y, group, flag and the members, float64[T, n]."""
    random = np.random.default_rng(seed)
    noise = random.normal(size=n)
    slots = np.arange(n)

    def missing(row: Array) -> Array:
        return np.where(random.random(n) < 0.2, np.nan, row)

    def alone(value: float, row: Any = np.nan) -> Array:
        return np.where(slots == n // 3, value, row)

    kinds = [
        noise,
        np.exp(5 * noise),
        100 + 0.01 * noise,
        1e9 + noise,
        1e-12 * np.exp(noise),
        alone(0.0, 1e9 + noise),
        alone(-1e18, 1000.0 * random.integers(0, 9, n) + 1e-7 * noise),
        alone(1e15, np.round(noise, 1)),
        random.integers(-2, 3, n).astype(float),
        np.round(random.random(n) * n) / n,
        np.where(random.random(n) < 0.5, -0.0, 0.0),
        np.full(n, 0.1),
        np.zeros(n),
        np.full(n, np.nan),
        alone(7.0),
        np.where(random.random(n) < 0.1, np.inf, noise),
        np.where(random.random(n) < 0.1, -np.inf, missing(noise)),
        missing(noise),
        missing(np.round(noise)),
        np.sort(noise),
        -np.sort(noise),
        1e-140 * random.integers(-9, 9, n),
        1e140 * noise,
    ]
    x = np.array(kinds)
    x = np.concatenate([x, x, x])
    y = np.array([missing(0.3 * row + random.normal(size=n)) for row in x])
    member = np.ones(x.shape)
    member[len(kinds) : 2 * len(kinds)] = random.random((len(kinds), n)) < 0.7
    member[2 * len(kinds) :] = random.random((len(kinds), n)) < 2.5 / n
    member[-1] = 0.0
    group = random.choice([1.0, 2.0, -3.5, 1e6, np.nan], x.shape, p=[0.4, 0.3, 0.1, 0.1, 0.1])
    group[-len(kinds) // 2 :] = 3.0
    flag = (slots == n // 3) * np.ones(x.shape)
    return {"x": x, "y": y, "group": group, "flag": flag, "member": member}


def check(
    node: Node,
    reference: Callable[..., Any],
    *,
    tolerance: float = 0.0,
    ties_by_slot: bool = False,
    within: int = 0,
    of_inputs: bool = False,
) -> None:
    """Equal to `reference` on every bar, in whatever order the symbols stand, and after a restart.

    reference  gets Series of one bar, one for each of the plan's fields: NaN for non-members and inf, the
               slots as index. It gives a Series, or a number for all members
    tolerance  in parts of the largest magnitude expected at the bar
    of_inputs  or of its first input
    within     bars with fewer values than this are compared in bits only
    """
    plan = Plan({"out": node})
    for n in (1, 2, 9, 512, 700):
        data = bars(n)
        members = data.pop("member")
        found = run({"out": node}, data, members=members)
        for t in range(len(members)):
            member = members[t] == 1.0
            values = [
                pd.Series(np.where(member & np.isfinite(data[f][t]), data[f][t], np.nan)) for f in plan.fields
            ]
            with np.errstate(all="ignore"):
                expected = np.where(member, reference(*values), np.nan).astype(float)
            got = found[t, 0]
            if np.isfinite(expected).sum() < within:
                continue
            where = f"{node.text}, {n} symbols, bar {t}"
            assert np.array_equal(np.isnan(got), np.isnan(expected)), where
            largest = np.stack([expected, values[0] if of_inputs else expected])
            size = np.nanmax(np.abs(largest), initial=0.0)
            assert np.nanmax(np.abs(got - expected), initial=0.0) <= tolerance * size, where
        order = np.random.default_rng(n).permutation(n)
        if not ties_by_slot:
            moved = run({"out": node}, permuted(data, order), members=members[:, order])
            same_bits(moved, np.ascontiguousarray(found[:, :, order]))
        check_restart(node, data, members, found)
        check_strangers(node, data, members, found)


def permuted(data: Mapping[str, Array], order: Any) -> dict[str, Array]:
    return {name: np.ascontiguousarray(rows[:, order]) for name, rows in data.items()}


def check_restart(node: Node, data: Mapping[str, Array], members: Array, found: Array) -> None:
    """Stopped in the middle and carried to another program, or begun there: the same bits."""
    plan, n, middle = Plan({"out": node}), members.shape[1], len(members) // 2
    before, after = Program(plan, n), Program(plan, n)
    run({"out": node}, {k: v[:middle] for k, v in data.items()}, members=members[:middle], program=before)
    for slot in range(n):
        copy_slot(before.address, slot, after.address, slot)
    rest = {k: v[middle:] for k, v in data.items()}
    for program in (after, Program(plan, n)):
        got = run({"out": node}, rest, members=members[middle:], program=program, start=START + middle)
        same_bits(got, found[middle:])


def check_strangers(node: Node, data: Mapping[str, Array], members: Array, found: Array) -> None:
    """Slots that are no members change nothing, whatever they hold."""
    n = members.shape[1]
    more = {k: np.concatenate([np.full((len(v), 3), 1.0), v, np.full((len(v), 5), -9.0)], axis=1) for k, v in
            data.items()}  # fmt: skip
    wider = np.pad(members, ((0, 0), (3, 5)))
    got = run({"out": node}, more, members=wider)
    same_bits(np.ascontiguousarray(got[:, :, 3 : 3 + n]), found)
    assert np.isnan(got[:, :, :3]).all()


# ---- by order --------------------------------------------------------------------------------------------


def test_rank() -> None:
    check(cs_rank(X), lambda x: x.rank(pct=True))


def test_rank_of_a_rank_is_that_rank() -> None:
    ranked = cs_rank(X)
    assert cs_rank(ranked) is ranked
    data = bars(512)
    members = data.pop("member")
    once = run({"out": ranked}, data, members=members)
    again = run({"out": CS_RANK(ranked)[0]}, data, members=members)
    same_bits(again, once)


def test_rank_of_near_values_is_exact() -> None:
    """Crowds that the leading bits do not tell apart, one within the other, in all positions."""
    random = np.random.default_rng(3)
    n, rows = 512, []
    for _ in range(40):
        near = 1.0 + np.spacing(1.0) * random.integers(0, 60, n)
        far = near * random.choice([1.0, 1.0 + 1e-9, 1.1, 1e100, -1e-200], n)
        far[random.integers(0, n)] = random.choice([0.0, -1e300])
        rows.append(far)
    x = np.array(rows)
    found = run({"out": cs_rank(X)}, {"x": x})[:, 0]
    same_bits(found, pd.DataFrame(x).rank(axis=1, pct=True).to_numpy())


@pytest.mark.parametrize(("lower", "upper"), [(0.01, 0.99), (0.0, 1.0), (0.25, 0.5), (0.5, 0.5)])
def test_winsorise(lower: float, upper: float) -> None:
    check(
        cs_winsorise(X, lower, upper),
        lambda x: x.clip(x.quantile(lower), x.quantile(upper)),
        tolerance=1e-14,
    )


def test_winsorise_refuses_quantiles_the_wrong_way() -> None:
    with pytest.raises(ValueError, match="lower <= upper"):
        cs_winsorise(X, 0.9, 0.1)


@pytest.mark.parametrize("k", [1, 2, 10, 600])
def test_extremes(k: int) -> None:
    def of(x: Any, ascending: bool) -> Any:
        first = x.rank(method="first", ascending=ascending)  # equals: the lower slot is first
        return (first <= k).astype(float).where(x.notna())

    check(cs_top(X, k), lambda x: of(x, False), ties_by_slot=True)
    check(cs_bottom(X, k), lambda x: of(x, True), ties_by_slot=True)


def test_extremes_refuse_none() -> None:
    with pytest.raises(ValueError, match="k >= 1"):
        cs_top(X, 0)


# ---- by sums ---------------------------------------------------------------------------------------------


def wide(x: Any) -> Any:
    """In extended precision, without the missing."""
    return x.dropna().to_numpy().astype(np.longdouble)


def test_sum_and_mean() -> None:
    check(cs_sum(X), lambda x: float(wide(x).sum()) if x.notna().any() else np.nan, tolerance=2e-16)
    check(cs_mean(X), lambda x: float(wide(x).mean()) if x.notna().any() else np.nan, tolerance=3e-16)


def test_sum_of_the_least_and_of_the_greatest() -> None:
    """Denormals add up exactly; magnitudes up to 1e300 are summed without overflow on the way."""
    random = np.random.default_rng(2)
    small, great = 5e-324 * random.integers(-9, 9, 512), 1e300 * random.uniform(-1, 1, 512)
    x = np.array([small, great])
    found = run({"out": cs_sum(X)}, {"x": x})[:, 0, 0]
    assert found[0] == float(small.astype(np.longdouble).sum())
    assert found[1] == pytest.approx(float(great.astype(np.longdouble).sum()), rel=1e-15)


def test_sum_of_what_cancels() -> None:
    """1e16 + 1 - 1e16 is 1 in every order; a plain sum gives 0 or 2 in some."""
    for order in ([0, 1, 2], [1, 0, 2], [0, 2, 1]):
        x = np.array([1e16, 1.0, -1e16])[order][None, :]
        assert run({"out": cs_sum(X)}, {"x": x})[0, 0, 0] == 1.0


def test_sum_of_the_rest_of_what_cancels() -> None:
    """What 1e20 leaves to the lower parts is summed in no order either."""
    random = np.random.default_rng(4)
    values = np.concatenate([[1e20, -1e20], random.normal(size=510)])
    x = np.array([random.permutation(values) for _ in range(50)])
    assert len(np.unique(run({"out": cs_sum(X)}, {"x": x})[:, 0, 0])) == 1


def deviation(x: Any) -> float:
    return (
        float(wide(x).std(ddof=1)) if x.count() > 1 and x.nunique() > 1 else 0.0 if x.count() > 1 else np.nan
    )


def test_std() -> None:
    check(cs_std(X), deviation, tolerance=1e-14)


def deviations(x: Any) -> Any:
    if x.nunique() < 2:
        return x - x
    nearby = x - x.median()  # so that the mean of 1e9 and noise has no rounding to speak of
    return (nearby.to_numpy().astype(np.longdouble) - wide(nearby).mean()).astype(float)


def test_demean() -> None:
    check(cs_demean(X), deviations, tolerance=1e-14)


def test_zscore() -> None:
    check(cs_zscore(X), lambda x: deviations(x) / (deviation(x) or np.nan), tolerance=1e-13)


def test_members_and_count() -> None:
    check(cs_members(X), lambda x: float(x.notna().sum()))
    check(cs_count(less(X, Y)), lambda x, y: float((x < y).sum()))


def test_mean_goes_to_members_without_a_value() -> None:
    x = np.array([[1.0, np.nan, 4.0]])
    found = run({"out": cs_mean(X)}, {"x": x}, members=np.array([[1.0, 1.0, 0.0]]))[0, 0]
    assert found[:2].tolist() == [1.0, 1.0]
    assert np.isnan(found[2])


def test_scale() -> None:
    def of(x: Any, total: float) -> Any:
        magnitude = float(np.abs(wide(x)).sum())
        return x / magnitude * total if magnitude > 0 else x * np.nan

    check(cs_scale(X), lambda x: of(x, 1.0), tolerance=1e-15)
    check(cs_scale(X, 20), lambda x: of(x, 20.0), tolerance=1e-15)


def test_pick() -> None:
    check(cs_pick(X, FLAG), lambda x, flag: x[flag == 1.0].iloc[0] if (flag == 1.0).any() else np.nan)


def test_residual() -> None:
    def of(y: Any, x: Any) -> Any:
        both = y.notna() & x.notna()
        out = pd.Series(np.nan, y.index)
        if x[both].nunique() > 1:
            dy, dx = deviations(y[both]).astype(np.longdouble), deviations(x[both]).astype(np.longdouble)
            out[both] = (dy - (dx * dy).sum() / (dx * dx).sum() * dx).astype(float)
        return out

    # What is left of a y that x explains wholly is rounding: y's noise keeps it from that, but not with two.
    check(cs_residual(Y, X), of, tolerance=1e-14, within=3, of_inputs=True)
    check(cs_residual(Y, GROUP), of, tolerance=1e-14, within=3, of_inputs=True)


# ---- by group --------------------------------------------------------------------------------------------


def by_group(x: Any, group: Any, of: Callable[[Any], Any]) -> Any:
    out = pd.Series(np.nan, x.index)
    for value in group.dropna().unique():
        chosen = (group == value) & x.notna()
        out[chosen] = of(x[chosen])
    return out


def group_mean(x: Any) -> float:
    return float(x.iloc[0]) if x.nunique() == 1 else float(wide(x).mean()) if len(x) else np.nan


def test_neutralise() -> None:
    check(cs_neutralise(Y, GROUP), lambda y, g: by_group(y, g, deviations), tolerance=1e-14)
    check(cs_neutralise(Y, 0.0), deviations, tolerance=1e-14)
    check(cs_group_mean(Y, GROUP), lambda y, g: by_group(y, g, group_mean), tolerance=1e-15)


def test_many_groups() -> None:
    random = np.random.default_rng(1)
    x, group = random.normal(size=(20, 512)), random.integers(0, 300, (20, 512)).astype(float)
    outputs = {"a": cs_neutralise(X, GROUP), "b": cs_group_rank(X, GROUP)}
    found = run(outputs, {"x": x, "group": group})
    for t in range(20):
        grouped = pd.Series(x[t]).groupby(group[t])
        np.testing.assert_allclose(found[t, 0], x[t] - grouped.transform("mean"), atol=1e-15)
        np.testing.assert_array_equal(found[t, 1], grouped.rank(pct=True))


def test_group_rank() -> None:
    check(cs_group_rank(X, GROUP), lambda x, g: x.groupby(g).rank(pct=True))
    check(cs_group_rank(X, 1.0), lambda x: x.rank(pct=True))
