"""A plan: the nodes of some outputs in order, and where in the state block each of them lives. Data only.

Equal expressions are one step. A step belongs to the **own** part (one symbol's bars are enough) or, behind
an operator that looks across symbols, to the **cross** part, which steps once for each run_time with all
symbols. Nothing is shared across that border: what the cross part takes from the own part goes through a
gate, which lets through only the symbols that are members at that run_time, and has a history of its own.
So does what is made of a cross-section before it enters the next one: a mean of ranks has a value for who was
a member yesterday, and must not be ranked today.

Rows of the state block:

    member      1.0 where the symbol is in the cross-section of this bar, else 0.0
    constants   one row each, filled once
    series      one row, or a ring of 2**k where somebody reads the past; a row that nobody needs after this
                bar is used again by a later step
    own rows    what an operator remembers
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kernels.cross_section import GATE
from kernels.node import Node, Operator, field

__all__ = ["MEMBER", "Plan", "Series", "Step"]

MEMBER: Final = field("member")
"""1.0 where the symbol belongs to the cross-section of this bar, else 0.0; set by whoever runs the plan."""


@dataclass(frozen=True, slots=True)
class Series:
    """Where a series lies: bar g is in row `row + (g & mask)`."""

    row: int
    mask: int


@dataclass(frozen=True, slots=True)
class Step:
    """One call of one kernel."""

    operator: Operator
    parameters: tuple[int | float, ...]
    outputs: tuple[Series, ...]
    inputs: tuple[Series, ...]
    own_row: int
    """First of the operator's own rows."""
    phase: int
    """A number of the expression alone: an exact refresh is due when `(g + phase) % window == 0`."""
    cross: bool
    text: str
    """The call as an expression; behind the border, its inputs are written without their gates."""

    @property
    def n_own_rows(self) -> int:
        """How many rows it keeps for itself."""
        return len(self.operator.rows(*self.parameters))

    @property
    def words(self) -> list[int]:
        """The kernel's `p`."""
        series = [word for s in (*self.outputs, *self.inputs) for word in (s.row, s.mask)]
        return [*series, self.own_row, self.phase, *(x for x in self.parameters if isinstance(x, int))]

    @property
    def numbers(self) -> list[float]:
        """The kernel's `f`."""
        return [x for x in self.parameters if isinstance(x, float)]


class Plan:
    """What it takes to compute `outputs`, a mapping of names to nodes, in that order.

    statics  names of fields that are no columns of a bar: each symbol has one value for good, such as its
             group; `Program.set_static` gives it

    ValueError for no outputs, or for one that is a constant.
    """

    def __init__(self, outputs: Mapping[str, Node], statics: Iterable[str] = ()) -> None:
        if not outputs:
            raise ValueError("a plan needs at least one output")
        for name, node in outputs.items():
            if node.value is not None:
                raise ValueError(f"{name} is the constant {node.value!r}: it needs no plan")
        self.names: Final = tuple(outputs)
        """Names of the outputs, in order."""
        self.nodes: Final = tuple(outputs.values())
        """The outputs' expressions."""
        calls = _calls(self.nodes)
        layout = _Layout(calls, set(self.nodes))
        leaves = tuple(c.nodes[0].name for c in calls if c.is_field and c.nodes[0] is not MEMBER)
        named = frozenset(statics)
        self.statics: Final = tuple(name for name in leaves if name in named)
        """The fields that each symbol has one value of."""
        self.static_rows: Final = tuple(layout.place[field(name)] for name in self.statics)
        """Where they lie: in every row of the series."""
        self.fields: Final = tuple(name for name in leaves if name not in named)
        """The columns of the bar that are read, in order of first use."""
        self.field_rows: Final = tuple(layout.place[field(name)] for name in self.fields)
        """Where the fields lie."""
        self.member_row: Final = layout.place[MEMBER].row
        """Where the members of the cross-section are marked."""
        self.steps: Final = tuple(layout.steps)
        """All calls in order: first the own part, then the cross part."""
        self.n_own: Final = sum(not step.cross for step in self.steps)
        """How many of the steps belong to the own part."""
        self.outputs: Final = tuple(layout.place[node] for node in self.nodes)
        """Where the outputs lie."""
        cross = {node for call in calls if call.cross for node in call.nodes}
        self.is_cross: Final = tuple(node in cross for node in self.nodes)
        """Which outputs belong to the cross part."""
        self.initial: Final[NDArray[np.float64]] = np.array(layout.initial)
        """[n_rows]: each row's value before the first bar."""
        given = (Series(self.member_row, 0), *self.static_rows)
        self.own_rows: Final[NDArray[np.int64]] = _own_rows(self.steps, given, self.n_rows)
        """Rows that a symbol's own history has made: not those that the cross part writes, nor those that
        are given from outside, members and statics."""
        bars = _bars(calls)
        self.warm_up: Final = tuple(int(bars[node][0]) for node in self.nodes)
        """For each output: bars that pass before its first value, when no bar is missing."""
        self.memory: Final = tuple(bars[node][1] for node in self.nodes)
        """For each output: bars after which it no longer depends on the first bar; inf: it always does."""
        entering = (call.inputs[0] for call in calls if call.nodes[0].operator is GATE)
        self.gate_memory: Final = max((bars[x][1] for x in entering if x not in cross), default=0.0)
        """The same of what enters the cross part: so many later cross-sections a changed bar is seen in."""

    @property
    def n_rows(self) -> int:
        """Rows of the state block: 8 bytes each for every symbol."""
        return len(self.initial)

    @property
    def hash(self) -> str:
        """16 hex digits over all that decides what a state means: rows, calls, kernels' sources."""
        parts = [
            repr(
                (
                    self.names,
                    self.fields,
                    self.field_rows,
                    self.statics,
                    self.static_rows,
                    self.outputs,
                    self.initial.tolist(),
                )
            )
        ]
        parts += [f"{s.text} {s.words} {s.numbers} {s.operator.kernel.digest}" for s in self.steps]
        return hashlib.blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()


def _own_rows(steps: Iterable[Step], given: Iterable[Series], n_rows: int) -> NDArray[np.int64]:
    own = np.ones(n_rows, bool)
    others = list(given)
    for step in steps:
        if step.cross:
            own[step.own_row : step.own_row + step.n_own_rows] = False
            others += step.outputs
    for series in others:
        own[series.row : series.row + series.mask + 1] = False
    return np.flatnonzero(own)


# ---- expressions to calls --------------------------------------------------------------------------------


@dataclass(eq=False, slots=True)
class _Call:
    """One application of an operator with those of its outputs that somebody needs; or a leaf."""

    nodes: list[Node]
    inputs: tuple[Node, ...]
    """After gating."""
    cross: bool

    @property
    def is_field(self) -> bool:
        return self.nodes[0].operator is None and self.nodes[0].value is None


def _order(nodes: Iterable[Node]) -> list[Node]:
    """All nodes below, each after its inputs; without recursion, since chains may be long."""
    seen: set[Node] = set()
    order: list[Node] = []
    stack = [(node, False) for node in reversed([*nodes])]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack += [(child, False) for child in reversed(node.inputs)]
    return order


def _calls(outputs: Sequence[Node]) -> list[_Call]:
    """All leaves and calls, each after its inputs; the own part first, gates where the cross part begins."""
    order = _order([MEMBER, *outputs])
    cross: dict[Node, bool] = {}
    groups: dict[tuple[object, ...], list[Node]] = {}
    for node in order:
        cross[node] = any(cross[x] for x in node.inputs) or (
            node.operator is not None and node.operator.cross
        )
        key = (node,) if node.operator is None else (node.operator, node.inputs, repr(node.parameters))
        groups.setdefault(key, []).append(node)
    own = [_Call(group, group[0].inputs, False) for group in groups.values() if not cross[group[0]]]
    behind: list[_Call] = []
    opened: set[Node] = set()
    for group in groups.values():
        if not cross[group[0]]:
            continue
        inputs = []
        for x in group[0].inputs:
            if _needs_gate(group[0], x, cross):
                gate = GATE(x, MEMBER)[0]
                if gate not in opened:
                    opened.add(gate)
                    behind.append(_Call([gate], (x, MEMBER), True))
                x = gate
            inputs.append(x)
        if group[0].operator is not GATE:
            behind.append(_Call(group, tuple(inputs), True))
        elif group[0] not in opened:  # a gate set by hand
            opened.add(group[0])
            behind.append(_Call(group, tuple(inputs), True))
    return own + behind


def _needs_gate(reader: Node, x: Node, cross: Mapping[Node, bool]) -> bool:
    """Whether who is no member may have a value of x that `reader` must not see: all of the own part, and
    what stands between two operators across symbols, such as a mean of ranks or a rank that was filled."""
    if reader.operator is GATE or x.value is not None or x is MEMBER:
        return False
    if not cross[x]:
        return True
    assert reader.operator is not None and x.operator is not None
    return reader.operator.cross and not x.operator.cross


def _bars(calls: Sequence[_Call]) -> dict[Node, tuple[float, float]]:
    """(warm-up, memory) of every node, summed along the longest chain."""
    bars: dict[Node, tuple[float, float]] = {}
    for call in calls:
        operator, parameters = call.nodes[0].operator, call.nodes[0].parameters
        warm_up = max((bars[x][0] for x in call.inputs), default=0.0)
        memory = max((bars[x][1] for x in call.inputs), default=0.0)
        if operator is not None:
            own = operator.warm_up(*parameters)
            warm_up += own
            memory += own if operator.memory is None else operator.memory(*parameters)
        for node in call.nodes:
            bars[node] = (warm_up, memory)
    return bars


def _histories(calls: Sequence[_Call]) -> dict[Node, int]:
    """How many past bars of each node are read."""
    past: dict[Node, int] = {}
    for call in calls:
        operator = call.nodes[0].operator
        if operator is None:
            continue
        asked = operator.history(*call.nodes[0].parameters)
        each = asked if isinstance(asked, tuple) else (asked,) * len(call.inputs)
        for node, bars in zip(call.inputs, each, strict=True):
            past[node] = max(past.get(node, 0), bars)
    return past


class _Layout:
    """Gives every series and own row its place."""

    def __init__(self, calls: Sequence[_Call], kept: set[Node]) -> None:
        self.initial: list[float] = []
        self.place: dict[Node, Series] = {}
        self.steps: list[Step] = []
        self._free: list[int] = []
        past = _histories(calls)
        last: dict[Node, int] = {
            node: i for i, call in enumerate(calls) for node in (*call.nodes, *call.inputs)
        }
        for i, call in enumerate(calls):
            first = call.nodes[0]
            for node in call.nodes:
                self.place[node] = self._series(node, past.get(node, 0), node in kept)
            if first.operator is None:
                continue
            outputs = {node.output: self.place[node] for node in call.nodes}
            unasked = [k for k in range(len(first.operator.outputs)) if k not in outputs]
            outputs |= {k: Series(self._row(), 0) for k in unasked}  # the kernel writes it all the same
            own = first.operator.rows(*first.parameters)
            self.steps.append(
                Step(
                    operator=first.operator,
                    parameters=first.parameters,
                    outputs=tuple(outputs[k] for k in range(len(outputs))),
                    inputs=tuple(self.place[node] for node in call.inputs),
                    own_row=self._take(own) if len(own) else 0,
                    phase=first.digest,
                    cross=call.cross,
                    text=first.call,
                )
            )
            self._free += [outputs[k].row for k in unasked]
            for node in dict.fromkeys((*call.nodes, *call.inputs)):
                if last[node] == i and node.operator is not None and node not in kept and not past.get(node):
                    self._free.append(self.place[node].row)

    def _series(self, node: Node, past: int, kept: bool) -> Series:
        if node.value is not None:
            return Series(self._take([node.value]), 0)
        if past:
            length = 1 << past.bit_length()  # the least power of two above `past`
            return Series(self._take([np.nan] * length), length - 1)
        if kept or node.operator is None:
            return Series(self._take([np.nan]), 0)
        return Series(self._row(), 0)

    def _take(self, initial: Iterable[float]) -> int:
        """New rows, side by side, for good; the first of them."""
        row = len(self.initial)
        self.initial += initial
        return row

    def _row(self) -> int:
        """A row for the time being: one that is free, or a new one."""
        return self._free.pop() if self._free else self._take([np.nan])
