"""kernels/node.py: expressions are one object when they are equal, fold, and refuse what means nothing."""

import importlib
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernels import elementwise as e
from kernels.node import Node, Operator, as_node, constant, field
from kernels.rolling import MOMENTS, ts_mean, ts_std, ts_sum, ts_var
from tests.kernels.harness import check

x, y = field("x"), field("y")


def test_equal_expressions_are_one_object() -> None:
    assert field("x") is x and constant(2) is constant(2.0)
    assert ts_mean(x - y, 20) is ts_mean(x - y, 20)
    assert ts_mean(x - y, 20) is not ts_mean(x - y, 21)
    assert x - y is not y - x


def test_an_int_and_a_float_parameter_are_not_the_same() -> None:
    """They go to different words of the kernel."""
    take = Operator("take", MOMENTS.kernel, ("x",), parameters=("k",))
    assert take(x, parameters=(1,))[0] is not take(x, parameters=(1.0,))[0]


def test_zeros_of_either_sign_are_two_constants() -> None:
    assert constant(0.0) is not constant(-0.0)
    assert constant(math.nan) is constant(math.nan)


def test_numbers_beside_nodes() -> None:
    assert 1 + x is e.add(1.0, x) and x + 1 is e.add(x, 1.0)
    assert 1 - x is e.sub(1.0, x) and 2 * x is e.mul(2.0, x) and 1 / x is e.div(1.0, x)
    assert (x > 1) is e.less(1.0, x) and (x >= 1) is e.less_equal(1.0, x)
    assert (x < y) is e.less(x, y) and (x <= y) is e.less_equal(x, y)
    assert (x & 1) is e.logical_and(x, 1.0) and (0 | x) is e.logical_or(0.0, x)
    assert +x is x and -x is e.neg(x) and abs(x) is e.absolute(x) and ~x is e.logical_not(x)


def test_constants_fold() -> None:
    assert constant(6.0) is constant(2.0) * 3.0
    assert (constant(1.0) / 0.0).value == math.inf
    assert math.isnan((constant(math.nan) < 1.0).value or 0.0)
    assert (x * (constant(2.0) + 1.0)).text == "mul(x, 3.0)"


def test_outputs_of_one_pass_share_a_digest() -> None:
    """Refresh phases come from it: one pass has one phase."""
    assert ts_mean(x, 20).digest == ts_var(x, 20).digest != ts_mean(x, 21).digest
    assert ts_mean(ts_mean(x, 5), 5).digest != ts_mean(ts_var(x, 5), 5).digest


def test_text_and_digest_are_the_same_in_every_process() -> None:
    node = ts_std(x / 3.0, 20) - ts_sum(y, 5)
    code = (
        "from kernels.node import field; from kernels.rolling import *; x, y = field('x'), field('y');"
        "node = ts_std(x / 3.0, 20) - ts_sum(y, 5); print(node.text, node.digest)"
    )
    # Another hash seed: what hangs on the order of a set or on hash() would differ.
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        cwd=".",
        check=True,
    )
    assert found.stdout.strip() == f"{node.text} {node.digest}"
    assert node.text == "sub(sqrt(ts_moments(div(x, 3.0), 20, 20).var), ts_sum(y, 5, 5))"


def test_a_node_has_no_truth() -> None:
    with pytest.raises(TypeError, match="select"):
        bool(x < y)
    with pytest.raises(TypeError):
        _ = 0 < x < 1


@pytest.mark.parametrize("wrong", [True, None, "x", np.zeros(3)])
def test_what_is_no_number_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="nodes and numbers"):
        as_node(wrong)


def test_calls_that_do_not_fit_are_refused() -> None:
    with pytest.raises(TypeError, match="add takes x, y"):
        e.ADD(x)
    with pytest.raises(TypeError, match="min_periods"):
        MOMENTS(x, parameters=(20,))
    for wrong in (True, math.inf, math.nan, "20"):
        with pytest.raises(ValueError, match="window must be a finite number"):
            MOMENTS(x, parameters=(wrong, 1))  # type: ignore[arg-type]


def test_nodes_that_nobody_holds_are_forgotten() -> None:
    from kernels import node as module

    made: Node | None = ts_mean(field("forgotten"), 20)
    before = len(module._interned)
    del made
    assert len(module._interned) < before


USER: str = '''
"""A user's own operator in a file of the user's own."""

from typing import Any

import numpy as np

from kernels.abi import back, kernel, now, own, rows
from kernels.node import Node, Number, Operator


@rows
def _halve(x: Any, before: Any, kept: Any, out: Any, n: int, share: float) -> None:
    for i in range(n):
        kept[i] += 1.0 if x[i] == x[i] else 0.0
        out[i] = share * (x[i] + before[i]) if kept[i] > 2.0 else np.nan


@kernel
def halfway_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """halfway: a share of x and its value `lag` bars ago, from the third value on."""
    x, before = now(state, stride, p, 1, g), back(state, stride, p, 1, g, p[6])
    _halve(x, before, own(state, stride, p, 2, 0), now(state, stride, p, 0, g), n, f[0])


HALFWAY = Operator(
    "halfway", halfway_kernel, ("x",), parameters=("lag", "share"), rows=lambda lag, share: (0.0,),
    history=lambda lag, share: lag, warm_up=lambda lag, share: max(lag, 2),
    memory=lambda lag, share: float("inf"),
)


def halfway(x: Number, lag: int, share: float = 0.5) -> Node:
    return HALFWAY(x, parameters=(lag, share))[0]
'''


def test_a_users_own_operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the package knows of it; it is held to the same as all others, in one plan with them."""
    (tmp_path / "my_operators.py").write_text(USER)
    monkeypatch.syspath_prepend(str(tmp_path))
    halfway = importlib.import_module("my_operators").halfway

    def reference(values: Any) -> Any:
        before = np.concatenate([np.full(3, np.nan), values[:-3]])
        enough = np.cumsum(~np.isnan(values)) > 2
        with np.errstate(invalid="ignore"):
            return np.where(enough, 0.25 * (values + before) - values, np.nan)

    check(halfway(x, 3, 0.25) - x, reference, rtol=0.0)
