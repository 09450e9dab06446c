"""docs/factors.md, made from the code:

python -m factor_defs.catalogue > docs/factors.md
"""

import inspect
import re
import sys
from collections.abc import Iterator
from typing import Any

from factor_defs.published import named
from factor_defs.registry import LIBRARIES
from kernels.node import FOREVER, Operator
from kernels.operators import OPERATORS
from kernels.plan import Plan

__all__ = ["catalogue"]

_HEAD = """# Operators and factors

Made from the code by `python -m factor_defs.catalogue > docs/factors.md`; a test compares the two.

Both of these are for the parameters shown:

- **warm-up**: bars that pass before the first value, when no bar is missing.
- **forgets**: bars after which nothing depends on the first bar any more, to the bit; never: it always does.

NaN and infinities among the inputs count as missing. How factors are named in a config:
`factor_defs/registry.py`. How a factor or an operator of your own is made: `examples/`."""


def catalogue() -> str:
    """The whole text."""
    parts = [_HEAD, *_operators()]
    for name in LIBRARIES:
        parts += _library(name)
    return "\n\n".join(parts) + "\n"


def _operators() -> Iterator[str]:
    yield "## Operators: what expressions are made of"
    modules = list(dict.fromkeys(sys.modules[operator.kernel.function.__module__] for operator in OPERATORS))
    for module in modules:
        yield f"### kernels/{module.__name__.rpartition('.')[2]}.py"
        yield _first_paragraph(module.__doc__ or "")
        functions = [
            f"- `{name}{_signature(value)}`: {_line(value.__doc__ or '')}"
            for name, value in vars(module).items()
            if inspect.isfunction(value) and name in module.__all__ and value.__module__ == module.__name__
        ]
        if functions:
            yield "\n".join(functions)
    yield "### The kernels behind them"
    yield "What each remembers, when it is recomputed, how ties and missing values are treated."
    promises = [_promises(operator) for operator in OPERATORS]
    yield "```\n" + "\n".join(text for text in promises if "\n" not in text) + "\n```"
    yield from (f"```\n{text}\n```" for text in promises if "\n" in text)


def _promises(operator: Operator) -> str:
    text = inspect.cleandoc(operator.promises)
    return text if text.startswith(operator.name) else f"{operator.name}\n{text}"


def _library(name: str) -> Iterator[str]:
    module: Any = sys.modules.get(f"factor_defs.{name}") or __import__(f"factor_defs.{name}", fromlist=["_"])
    yield f"## `{name}`: {_line((module.__doc__ or '').partition(chr(10))[0])}"
    rest = inspect.cleandoc(module.__doc__ or "").partition("\n")[2].strip()
    if rest:
        yield rest
    rows = ["| factor | formula, source | warm-up | forgets |", "|---|---|---|---|"]
    for factor, function in module.FACTORS.items():
        plan = Plan(named(factor, function()))
        warm_up = " ".join(map(str, dict.fromkeys(plan.warm_up)))
        longest = max(plan.memory)
        forgets = "never" if longest == FOREVER else f"{longest:.0f}"
        rows.append(
            f"| `{factor}{_signature(function)}` | {_cell(function.__doc__ or '')} | {warm_up} | {forgets} |"
        )
    yield "\n".join(rows)
    published = [*module.nodes()]
    if published != [column for f, function in module.FACTORS.items() for column in named(f, function())]:
        yield f"Published set, {len(published)}: {', '.join(published)}."


def _signature(function: Any) -> str:
    """Names and defaults, without types."""
    parts, starred = [], False
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            parts.append("*")
            starred = True
        mark = "*" if parameter.kind is parameter.VAR_POSITIONAL else ""
        default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
        parts.append(f"{mark}{name}{default}")
    return f"({', '.join(parts)})"


def _first_paragraph(doc: str) -> str:
    return inspect.cleandoc(doc).partition("\n\n")[0].strip()


def _line(doc: str) -> str:
    """A docstring as one line; "name  what it is" begins a part of its own."""
    lines = inspect.cleandoc(doc).splitlines()
    return " ".join(" ".join(re.sub(r"^(\w+)  +", r"— `\1`: ", line) for line in lines).split())


def _cell(doc: str) -> str:
    return _line(doc).replace("|", "\\|")


if __name__ == "__main__":
    print(catalogue(), end="")
