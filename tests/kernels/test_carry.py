"""kernels/carry.py: what two plans share goes on, and nothing else."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kernels.batch import batch
from kernels.carry import carry
from kernels.cross_section import cs_neutralise
from kernels.cumulative import cum_max, cum_min
from kernels.node import field
from kernels.plan import Plan
from kernels.rolling import ts_mean
from kernels.run import Program

X = field("close")


def test_operators_of_one_name_share_nothing() -> None:
    highest, lowest = cum_max(X), cum_min(X)
    assert highest.operator is not None and lowest.operator is not None
    named_alike = replace(lowest.operator, name=highest.operator.name)
    other = named_alike(*highest.inputs, parameters=highest.parameters)[0]
    assert other.text == highest.text
    bars = np.random.default_rng(1).normal(size=(50, 1, 3))
    programs = [
        Program(Plan({"x": node, "of_it": ts_mean(node, 3), "mean": ts_mean(X, 5)}), 3)
        for node in (highest, other)
    ]
    old, new = programs
    batch(old, bars, g=0)
    before = batch(new, bars, g=0)[-1]
    assert carry(old, new, np.full(3, 50)) == 1, "the mean alone"
    after = batch(new, np.full((1, 1, 3), 1e9), g=50)[-1]
    assert np.array_equal(after[0], before[0])


def test_what_is_made_of_a_static_that_changed_begins_anew() -> None:
    """Not what only sounds like it: an operator, or a field whose name begins alike."""
    group, groups = field("group"), field("group_2")
    nodes = {
        "of": ts_mean(cs_neutralise(X, group), 5),
        "gated": ts_mean(group * X, 5),
        "alike": ts_mean(cs_neutralise(X, groups), 5),
        "mean": ts_mean(X, 5),
    }
    plan = Plan(nodes, ("group", "group_2"))
    old, new = Program(plan, 3), Program(plan, 3)
    for program in (old, new):
        for name in plan.statics:
            program.set_static(name, np.array([1.0, 2.0, 2.0]))
    random = np.random.default_rng(1)
    batch(old, random.normal(size=(50, 1, 3)), g=0)
    bars = random.normal(size=(51, 1, 3))
    batch(new, bars[:50], g=0)
    carry(old, new, np.full(3, 50), ["group"])
    names = list(nodes)
    after = batch(new, bars[50:], g=50)[-1]
    anew, on = (batch(program, bars[50:], g=50)[-1] for program in (_after(plan, bars[:50]), old))
    for name in ("of", "gated"):
        assert after[names.index(name)].tobytes() == anew[names.index(name)].tobytes()
    for name in ("alike", "mean"):
        assert after[names.index(name)].tobytes() == on[names.index(name)].tobytes()


def _after(plan: Plan, bars: NDArray[np.float64]) -> Program:
    program = Program(plan, 3)
    for name in plan.statics:
        program.set_static(name, np.array([1.0, 2.0, 2.0]))
    batch(program, bars, g=0)
    return program
