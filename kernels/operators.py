"""The list of all operators: what is listed is compiled ahead, documented and tested."""

from typing import Final

from kernels import (
    cross_section,
    cumulative,
    elementwise,
    exponential,
    extremes,
    indicators,
    machines,
    quantiles,
    ratios,
    regression,
    rolling,
    shift,
    short_correlation,
    trend,
    weighted,
)
from kernels.node import Operator

__all__ = ["OPERATORS"]

_MODULES: Final = (
    elementwise,
    shift,
    rolling,
    weighted,
    regression,
    short_correlation,
    trend,
    extremes,
    quantiles,
    exponential,
    cumulative,
    indicators,
    ratios,
    machines,
    cross_section,
)

OPERATORS: Final[tuple[Operator, ...]] = tuple(
    value for module in _MODULES for value in vars(module).values() if isinstance(value, Operator)
)
"""Every operator of the package, in the order of the files."""
