"""Expressions: what is computed, said once; and what every operator promises.

A **node** is a field of the bar, a constant, or one output of an operator applied to other nodes. Nodes are
interned: an expression written twice is one object, so a plan computes it once. Python's operators work on
nodes; a number beside a node becomes a constant:

    spread = (high - low) / close

Truth is a float: 1.0 yes, 0.0 no, NaN unknown. A comparison with NaN is NaN, not False as in NumPy, so that
warm-up and missing bars are seen at the end of every chain. `==` is identity; `equal(x, y)` compares values.
"""

import hashlib
import math
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Union

from kernels.abi import Kernel

__all__ = ["FOREVER", "Node", "Number", "Operator", "as_node", "constant", "field", "replaced"]

FOREVER: Final = math.inf
"""The memory of an operator that never forgets its first bar."""

Number = Union["Node", float, int]
"""What an expression may be made of: a plain number becomes a constant."""

Parameters = tuple[int | float, ...]


def _none(*_: Any) -> tuple[float, ...]:
    return ()


def _zero(*_: Any) -> int:
    return 0


@dataclass(frozen=True, eq=False)
class Operator:
    """A kernel with a name and promises.

    All callables get the parameters in order, as plain numbers. Bars are counted beyond the inputs' own:
    the plan adds them up along the chain.
    """

    name: str
    """`ts_` runs along time, `cs_` across symbols; others look at one bar of one symbol."""
    kernel: Kernel
    inputs: tuple[str, ...]
    """Names of the inputs, for error messages and docs."""
    outputs: tuple[str, ...] = ("",)
    """Names of the outputs; one pass makes all."""
    parameters: tuple[str, ...] = ()
    """Names of the parameters. An int goes to the kernel's `p`, a float to its `f`, each in order."""
    rows: Callable[..., Sequence[float]] = _none
    """The value before the first bar of each own row."""
    history: Callable[..., int | tuple[int, ...]] = _zero
    """How many bars back the kernel reads: of every input, or of each (a tuple). 0: only the present bar."""
    warm_up: Callable[..., int] = _zero
    """Bars that pass before the first value can be there, when no input is missing."""
    memory: Callable[..., float] | None = None
    """Bars after which nothing depends on the first bar any more, to the bit; None: as `warm_up`. A window
    that is updated by adding and taking away needs an exact refresh for it: window + refresh. FOREVER: it
    always does."""
    cross: bool = False
    """It looks across symbols: it steps once for each run_time, with all symbols."""
    fold: Callable[..., float] | None = None
    """The same on plain numbers, for constant folding; None: not folded."""
    doc: str = ""
    """The promises in words; empty: the kernel's docstring."""

    def __call__(self, *inputs: Number, parameters: Parameters = ()) -> tuple["Node", ...]:
        """The operator's outputs for these inputs. TypeError or ValueError names what does not fit."""
        if len(inputs) != len(self.inputs):
            raise TypeError(f"{self.name} takes {', '.join(self.inputs)}; found {len(inputs)} inputs")
        if len(parameters) != len(self.parameters):
            raise TypeError(f"{self.name} has the parameters {self.parameters}; found {parameters}")
        for name, value in zip(self.parameters, parameters, strict=True):
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"{self.name}: {name} must be a finite number, found {value!r}")
        nodes = tuple(as_node(x) for x in inputs)
        if self.fold is not None and all(node.value is not None for node in nodes):
            return (constant(self.fold(*(node.value for node in nodes), *parameters)),)
        return tuple(_intern(self, nodes, parameters, k) for k in range(len(self.outputs)))

    def __repr__(self) -> str:
        return f"Operator({self.name})"

    @property
    def promises(self) -> str:
        """The text that says what the operator does with what."""
        return self.doc or self.kernel.__doc__ or ""


class Node:
    """One series of an expression. Make nodes with operators, `field` and `constant`, never directly."""

    __slots__ = ("__dict__", "__weakref__", "inputs", "name", "operator", "output", "parameters", "value")

    def __init__(
        self,
        operator: Operator | None,
        inputs: tuple["Node", ...],
        parameters: Parameters,
        output: int,
        name: str = "",
        value: float | None = None,
    ) -> None:
        self.operator = operator
        """None for a field and a constant."""
        self.inputs = inputs
        self.parameters = parameters
        self.output = output
        """Which of the operator's outputs this is."""
        self.name = name
        """The name of a field; empty for all others."""
        self.value = value
        """The number of a constant; None for all others."""

    @cached_property
    def text(self) -> str:
        """The expression as one line, the same in every process: `ts_moments(close, 20, 20).mean`."""
        if self.value is not None:
            return repr(self.value)
        if self.operator is None:
            return self.name
        output = self.operator.outputs[self.output]
        return f"{self.call}.{output}" if output else self.call

    @cached_property
    def call(self) -> str:
        """The call that makes it, the same for all outputs of one pass: `ts_moments(close, 20, 20)`."""
        if self.operator is None:
            return self.text
        arguments = [node.text for node in self.inputs] + [repr(x) for x in self.parameters]
        return f"{self.operator.name}({', '.join(arguments)})"

    @cached_property
    def digest(self) -> int:
        """31 bits of a hash of operator, inputs and parameters: equal for all outputs of one pass, in every
        process and version. Refresh phases come from it."""
        parts = [self.operator.name if self.operator else self.name, repr(self.value), repr(self.parameters)]
        parts += [f"{node.digest:x}.{node.output}" for node in self.inputs]
        made = hashlib.blake2b("\0".join(parts).encode(), digest_size=4).digest()
        return int.from_bytes(made, "little") >> 1

    def __repr__(self) -> str:
        return self.text

    def __bool__(self) -> bool:
        raise TypeError(
            f"{self.text} has no truth of its own: use &, |, ~ and select(), not and, or, not, if"
        )

    def __add__(self, other: Number) -> "Node":
        return _binary("add", self, other)

    def __radd__(self, other: Number) -> "Node":
        return _binary("add", other, self)

    def __sub__(self, other: Number) -> "Node":
        return _binary("sub", self, other)

    def __rsub__(self, other: Number) -> "Node":
        return _binary("sub", other, self)

    def __mul__(self, other: Number) -> "Node":
        return _binary("mul", self, other)

    def __rmul__(self, other: Number) -> "Node":
        return _binary("mul", other, self)

    def __truediv__(self, other: Number) -> "Node":
        return _binary("div", self, other)

    def __rtruediv__(self, other: Number) -> "Node":
        return _binary("div", other, self)

    def __pow__(self, other: Number) -> "Node":
        return _binary("power", self, other)

    def __rpow__(self, other: Number) -> "Node":
        return _binary("power", other, self)

    def __lt__(self, other: Number) -> "Node":
        return _binary("less", self, other)

    def __le__(self, other: Number) -> "Node":
        return _binary("less_equal", self, other)

    def __gt__(self, other: Number) -> "Node":
        return _binary("less", other, self)

    def __ge__(self, other: Number) -> "Node":
        return _binary("less_equal", other, self)

    def __and__(self, other: Number) -> "Node":
        return _binary("logical_and", self, other)

    def __rand__(self, other: Number) -> "Node":
        return _binary("logical_and", other, self)

    def __or__(self, other: Number) -> "Node":
        return _binary("logical_or", self, other)

    def __ror__(self, other: Number) -> "Node":
        return _binary("logical_or", other, self)

    def __invert__(self) -> "Node":
        return _unary("logical_not", self)

    def __neg__(self) -> "Node":
        return _unary("neg", self)

    def __pos__(self) -> "Node":
        return self

    def __abs__(self) -> "Node":
        return _unary("absolute", self)


_interned: "weakref.WeakValueDictionary[tuple[Any, ...], Node]" = weakref.WeakValueDictionary()


def _intern(operator: Operator, inputs: tuple[Node, ...], parameters: Parameters, output: int) -> Node:
    # repr tells 1 from 1.0, which go to different words of the kernel.
    key = (id(operator), tuple(id(node) for node in inputs), repr(parameters), output)
    found = _interned.get(key)
    if found is None:
        found = _interned[key] = Node(operator, inputs, parameters, output)
    return found


def field(name: str) -> Node:
    """A column of the bar, such as "close": a leaf."""
    found = _interned.get(("field", name))
    if found is None:
        found = _interned[("field", name)] = Node(None, (), (), 0, name=name)
    return found


def constant(value: float) -> Node:
    """The same number at every bar of every symbol; NaN is allowed."""
    value = float(value)
    found = _interned.get(("constant", repr(value)))
    if found is None:
        found = _interned[("constant", repr(value))] = Node(None, (), (), 0, value=value)
    return found


def replaced(nodes: Mapping[str, Node], by: Mapping[Node, Node]) -> dict[str, Node]:
    """The same expressions with each node of `by` replaced, wherever it stands below."""
    done: dict[Node, Node] = dict(by)
    made: dict[str, Node] = {}
    for name, top in nodes.items():
        stack = [top]
        while stack:
            node = stack[-1]
            if node in done or node.operator is None:
                done.setdefault(node, node)
                stack.pop()
                continue
            below = [x for x in node.inputs if x not in done]
            if below:
                stack += below
                continue
            inputs = tuple(done[x] for x in node.inputs)
            same = all(x is y for x, y in zip(inputs, node.inputs, strict=True))
            done[node] = node if same else node.operator(*inputs, parameters=node.parameters)[node.output]
            stack.pop()
        made[name] = done[top]
    return made


def as_node(value: Number) -> Node:
    """A node as it is, a number as a constant. TypeError for anything else."""
    if isinstance(value, Node):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"an expression is made of nodes and numbers, found {value!r}")
    return constant(value)


def _binary(name: str, x: Number, y: Number) -> Node:
    from kernels import elementwise  # its operators are made of nodes: importing it above would be a circle

    function: Callable[[Number, Number], Node] = getattr(elementwise, name)
    return function(x, y)


def _unary(name: str, x: Node) -> Node:
    from kernels import elementwise

    operator: Operator = getattr(elementwise, name.upper())
    return operator(x)[0]
