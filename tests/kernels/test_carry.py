"""kernels/carry.py: what two plans share goes on, and nothing else."""

from dataclasses import replace

import numpy as np

from kernels.batch import batch
from kernels.carry import carry
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
