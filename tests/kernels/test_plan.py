"""kernels/plan.py: what is computed once, what is kept, what is let through to the cross-section."""

import numpy as np
import pytest

from kernels.cross_section import cs_demean, cs_rank, cs_sum
from kernels.elementwise import fill
from kernels.node import FOREVER, Node, Operator, constant, field
from kernels.plan import MEMBER, Plan, Step
from kernels.rolling import MOMENTS, ts_mean, ts_std, ts_sum, ts_var
from kernels.shift import delay
from tests.kernels.harness import run, same_bits

x, y = field("x"), field("y")


def names(plan: Plan) -> list[str]:
    return [step.operator.name for step in plan.steps]


def rows_of(step: Step) -> set[int]:
    """Rows that a step writes, whatever the bar."""
    made = {series.row + k for series in step.outputs for k in range(series.mask + 1)}
    return made | set(range(step.own_row, step.own_row + len(step.operator.rows(*step.parameters))))


# ---- what is computed ------------------------------------------------------------------------------------


def test_an_expression_used_twice_is_one_step() -> None:
    spread = x - y
    plan = Plan({"a": ts_sum(spread, 5) / spread, "b": spread * 2.0, "c": spread})
    assert sorted(names(plan)) == ["div", "mul", "sub", "ts_sum"]


def test_outputs_of_one_operator_are_one_step() -> None:
    plan = Plan({"mean": ts_mean(x, 20), "std": ts_std(x, 20), "var": ts_var(x, 20)})
    assert sorted(names(plan)) == ["sqrt", "ts_moments"]


def test_outputs_are_in_the_order_and_under_the_names_given() -> None:
    plan = Plan({"b": x + y, "a": x - y, "again": x + y})
    assert plan.names == ("b", "a", "again")
    data = {"x": np.array([[5.0]]), "y": np.array([[3.0]])}
    assert run({"b": x + y, "a": x - y, "again": x + y}, data)[0, :, 0].tolist() == [8.0, 2.0, 8.0]


def test_steps_come_after_what_they_read() -> None:
    node = ts_mean(ts_std(x, 5) + ts_sum(y, 3), 4) * delay(x, 2)
    plan = Plan({"out": node})
    made = {series.row for series in plan.field_rows} | {plan.member_row}
    for step in plan.steps:
        for series in step.inputs:
            assert series.row in made
        made |= {series.row for series in step.outputs}


def test_a_long_chain_needs_no_recursion() -> None:
    node: Node = x
    for _ in range(5000):
        node = node + 1.0
    assert len(Plan({"out": node}).steps) == 5000


def test_constants_have_a_row_filled_once() -> None:
    plan = Plan({"out": x * 2.5 + 2.5})
    assert (plan.initial == 2.5).sum() == 1


def test_a_constant_or_nothing_needs_no_plan() -> None:
    with pytest.raises(ValueError, match="constant"):
        Plan({"out": constant(2.0) + 1.0})
    with pytest.raises(ValueError, match="at least one"):
        Plan({})


# ---- where it lies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lag", "length"), [(1, 2), (2, 4), (3, 4), (4, 8), (7, 8), (8, 16), (64, 128)])
def test_a_ring_is_the_least_power_of_two_that_holds_the_oldest_bar(lag: int, length: int) -> None:
    plan = Plan({"out": delay(x, lag)})
    assert plan.field_rows[0].mask == length - 1


def test_one_ring_serves_all_windows_over_a_series() -> None:
    plan = Plan({"a": delay(x - y, 3), "b": delay(x - y, 9), "c": (x - y) * 2.0})
    (series,) = {s.inputs[0] for s in plan.steps if s.operator.name in ("delay", "mul")}
    assert series.mask == 15


def test_a_row_is_used_again_when_nobody_needs_it_any_more() -> None:
    """A chain of a hundred steps lives in a handful of rows; unless it is asked for."""
    chain = [x]
    for _ in range(100):
        chain.append(chain[-1] * (1.0 + x))
    short, long = Plan({"out": chain[-1]}), Plan({str(k): node for k, node in enumerate(chain[1:])})
    assert short.n_rows <= 8
    assert long.n_rows >= 100
    assert len({series.row for series in long.outputs}) == 100
    data = {"x": np.random.default_rng(0).normal(size=(3, 5)) / 10}
    same_bits(run({"out": chain[-1]}, data)[:, 0], run({str(k): n for k, n in enumerate(chain)}, data)[:, -1])


def test_rows_of_a_step_never_overlap_what_it_reads_or_what_is_kept() -> None:
    """Row functions are compiled as if their pointers did not overlap."""
    spread = x - y
    outputs = {
        "a": ts_std(spread * 2.0, 5) + ts_sum(spread, 9),
        "b": ts_mean(ts_sum(x * y, 3), 4),
        "c": cs_demean(ts_mean(spread, 3) / y) * x,
    }
    plan = Plan(outputs)
    kept: set[int] = set()
    for step in plan.steps:
        read = {series.row + k for series in step.inputs for k in range(series.mask + 1)}
        assert not rows_of(step) & read
        series = [s.row for s in step.outputs]
        assert len(set(series)) == len(series)
        own = set(range(step.own_row, step.own_row + len(step.operator.rows(*step.parameters))))
        rings = {s.row + k for s in step.outputs if s.mask for k in range(s.mask + 1)}
        assert not rows_of(step) & kept
        kept |= own | rings
    assert not kept & {plan.member_row} and max(kept) < plan.n_rows


# ---- the border ------------------------------------------------------------------------------------------


def test_what_crosses_the_border_goes_through_one_gate() -> None:
    spread = x - y
    plan = Plan(
        {"own": spread, "a": cs_demean(spread), "b": cs_demean(spread) + spread, "c": ts_sum(cs_demean(x), 3)}
    )
    own, cross = plan.steps[: plan.n_own], plan.steps[plan.n_own :]
    assert not any(step.cross for step in own) and all(step.cross for step in cross)
    assert [step.operator.name for step in cross].count("gate") == 2  # spread and x, once each
    assert plan.is_cross == (False, True, True, True)
    written = {series.row for step in own for series in step.outputs} | {s.row for s in plan.field_rows}
    for step in cross:
        if step.operator.name != "gate":
            assert not written & {series.row for series in step.inputs}


def test_a_symbol_that_is_no_member_gives_nothing_and_gets_nothing() -> None:
    """Its own values go on, and its history behind the border shows the bars in which it was away."""
    data = {"x": np.arange(12.0).reshape(4, 3) ** 2}
    members = np.ones((4, 3))
    members[1, 2] = 0.0
    found = run({"own": x * 2.0, "cs": cs_demean(x), "sum": ts_sum(cs_demean(x), 2)}, data, members=members)
    assert found[1, 0, 2] == 2.0 * data["x"][1, 2]
    assert np.isnan(found[1, 1, 2])
    np.testing.assert_allclose(found[1, 1, :2], data["x"][1, :2] - data["x"][1, :2].mean())
    assert np.isnan(found[1:3, 2, 2]).all() and np.isfinite(found[3, 2, 2])
    assert np.isfinite(found[1:, 2, :2]).all()


def test_who_is_no_member_has_no_part_in_a_cross_section_of_what_others_remember() -> None:
    """A rank that was filled, and a mean of ranks that goes on without today's: only members are ranked."""
    data = {"x": np.arange(12.0).reshape(4, 3) ** 2}
    members = np.ones((4, 3))
    members[2, 2] = 0.0
    nodes = {
        "filled": cs_rank(fill(cs_rank(x), 9.0)),
        "mean": cs_rank(ts_mean(cs_rank(x), 3, 1)),
        "sum": cs_sum(fill(cs_rank(x), 9.0)),
    }
    found = run(nodes, data, members=members)
    assert found[2, :, :2].tolist() == [[0.5, 1.0], [0.5, 1.0], [1.5, 1.5]]
    assert np.isnan(found[2, :, 2]).all()
    assert found[3, 1].tolist() == [1 / 3, 2 / 3, 1.0]
    wider = {"x": np.hstack([data["x"], np.full((4, 5), np.nan)])}
    more = np.hstack([members, np.zeros((4, 5))])
    assert run(nodes, wider, members=more)[:, :, :3].tobytes() == found.tobytes()


def test_how_long_a_bar_is_seen_at_the_border() -> None:
    assert Plan({"a": cs_rank(x), "b": ts_mean(y, 50)}).gate_memory == 0
    assert Plan({"a": ts_mean(cs_rank(x), 50)}).gate_memory == 0
    assert Plan({"a": cs_rank(ts_mean(cs_rank(x), 50))}).gate_memory == 0
    assert Plan({"a": cs_rank(ts_sum(x, 5))}).gate_memory == Plan({"a": ts_sum(x, 5)}).memory[0] > 0


# ---- what it promises ------------------------------------------------------------------------------------


def test_warm_up_and_memory_add_up_along_the_longest_chain() -> None:
    plan = Plan({"a": ts_sum(ts_mean(x, 20), 5) + delay(x, 3), "b": delay(y, 7), "c": x + y})
    assert plan.warm_up == (19 + 4, 7, 0)
    assert plan.memory == (40 + 10, 7.0, 0.0)
    never = Operator("never", MOMENTS.kernel, ("x",), memory=lambda: FOREVER)
    assert Plan({"a": ts_mean(never(x)[0], 5)}).memory == (FOREVER,)


def test_words_are_what_a_kernel_reads() -> None:
    plan = Plan({"out": ts_mean(x, 20, 3)})
    (step,) = plan.steps
    mean, var = step.outputs
    (ring,) = plan.field_rows
    assert step.words == [mean.row, 0, var.row, 0, ring.row, 31, step.own_row, step.phase, 20, 3]
    assert step.phase == ts_var(x, 20, 3).digest and step.numbers == []


def test_phases_differ_so_that_no_step_pays_for_all() -> None:
    plan = Plan({str(w): ts_mean(x / w, 60) for w in range(1, 121)})
    phases = [step.phase % 60 for step in plan.steps if step.operator is MOMENTS]
    assert max(np.bincount(phases, minlength=60)) <= 8


def test_a_hash_tells_plans_whose_states_differ() -> None:
    same = Plan({"out": ts_mean(x, 20)}).hash
    assert Plan({"out": ts_mean(x, 20)}).hash == same
    others = [
        {"out": ts_mean(x, 21)},
        {"out": ts_mean(x, 20, 19)},
        {"out": ts_mean(y, 20)},
        {"out": ts_var(x, 20)},
        {"other": ts_mean(x, 20)},
        {"out": ts_mean(x, 20), "more": x + y},
    ]
    assert len({same, *(Plan(outputs).hash for outputs in others)}) == 1 + len(others)


def test_the_member_is_a_field_of_its_own() -> None:
    assert "member" not in Plan({"out": cs_demean(x)}).fields
    assert MEMBER.name == "member"
