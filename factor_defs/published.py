"""How the values of factors are named: one rule for libraries and configs."""

from collections.abc import Callable, Mapping

from kernels.node import Node

__all__ = ["Factor", "defaults", "named"]

Factor = Callable[..., Node | dict[str, Node]]
"""A function of plain numbers; a dict for a factor of several values."""


def named(column: str, made: Node | dict[str, Node]) -> dict[str, Node]:
    """{column: node}, or {"column.value": node, ...} for a factor of several values."""
    if isinstance(made, Node):
        return {column: made}
    return {f"{column}.{value}": node for value, node in made.items()}


def defaults(factors: Mapping[str, Factor]) -> dict[str, Node]:
    """Every factor with its default parameters, under its name."""
    return {column: node for name, make in factors.items() for column, node in named(name, make()).items()}
