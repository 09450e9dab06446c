"""`python -m bmac_stream explain FACTOR...`: what a set of factors takes, before it runs.

Each line of the tree is one call of one kernel, or a field of the bar. A call that several factors share is
computed once and drawn once; where it comes again it is marked. Its cost is counted in rows: what the call
keeps, and what it looks at for one bar. 8 bytes a row and symbol; rows that nobody needs later are shared.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.tree import Tree

from bmac_stream.config import load_config
from bmac_stream.errors import ConfigError
from factor_defs import registry
from kernels.node import Node
from kernels.plan import Plan, Step

__all__ = ["entries", "explain", "main"]

SYMBOLS = 512
"""What sums are shown for."""


def entries(words: Iterable[Any]) -> list[registry.Entry]:
    """Factors as the command line has them: "PctChg,100" is ["PctChg", 100]."""
    made: list[registry.Entry] = []
    for word in words:
        parts = list(word) if isinstance(word, tuple | list) else str(word).split(",")
        name, *parameters = (part.strip() if isinstance(part, str) else part for part in parts)
        made.append([str(name), *(_number(x) for x in parameters)] if parameters else str(name))
    return made


def _number(text: Any) -> int | float:
    if isinstance(text, int | float):
        return text
    try:
        return int(text)
    except ValueError:
        return float(text)


def explain(nodes: Mapping[str, Node], console: Console, depth: int = 6) -> None:
    """Print the trees of these outputs, then what the plan takes as a whole."""
    plan = Plan(nodes)
    steps = {step.text: step for step in plan.steps}
    drawn: set[str] = set()
    if depth:
        for name, node in zip(plan.names, plan.nodes, strict=True):
            tree = Tree(f"[bold]{name}[/]")
            _branch(tree, node, steps, drawn, depth)
            console.print(tree)
    table = Table(title="the plan", show_header=False, title_justify="left")
    rows = plan.n_rows
    symbol_kib, all_mib = 8 * rows / 1024, 8 * rows * SYMBOLS / 2**20
    forgets = max(plan.memory)
    for what, value in (
        ("factors", f"{len(plan.names)}"),
        (
            "calls of kernels",
            f"{len(plan.steps)}, of them behind a cross-section {len(plan.steps) - plan.n_own}",
        ),
        ("fields of the bar", ", ".join(plan.fields)),
        ("warm-up", f"{max(plan.warm_up)} bars before the last factor has its first value"),
        ("forgets its first bar", "never" if forgets == float("inf") else f"after {int(forgets)} bars"),
        (
            "state",
            f"{rows} rows: {symbol_kib:.1f} KiB a symbol, {all_mib:.1f} MiB for {SYMBOLS}",
        ),
        (
            "looked at for one bar",
            f"{sum(_touched(step) for step in plan.steps)} rows, a refresh now and then apart",
        ),
    ):
        table.add_row(what, value)
    console.print(table)


def _touched(step: Step) -> int:
    return len(step.outputs) + len(step.inputs) + step.n_own_rows


def _branch(tree: Tree, node: Node, steps: Mapping[str, Step], drawn: set[str], depth: int) -> None:
    if node.operator is None:
        tree.add(f"[green]{node.text}[/]")
        return
    output = node.operator.outputs[node.output]
    call = f"{node.operator.name}{'.' + output if output else ''}"
    parameters = ", ".join(
        f"{key} {value:g}" for key, value in zip(node.operator.parameters, node.parameters, strict=True)
    )
    step = steps[node.call]
    cost = f"[dim]{step.n_own_rows} rows kept, {_touched(step)} looked at{', cross' if step.cross else ''}[/]"
    label = f"{call}{f' [cyan]{parameters}[/]' if parameters else ''}  {cost}"
    if node.call in drawn:
        tree.add(f"{call}{f' [cyan]{parameters}[/]' if parameters else ''}  [dim]computed above[/]")
        return
    drawn.add(node.call)
    branch = tree.add(label)
    if depth <= 1:
        branch.add("[dim]...[/]")
        return
    for below in node.inputs:
        _branch(branch, below, steps, drawn, depth - 1)


def main(factors: Iterable[Any], *, cfg: str | None = None, depth: int = 6) -> int:
    """The command. ConfigError for factors that there are not."""
    asked = entries(factors)
    if cfg is not None:
        config, _ = load_config(cfg)
        asked += config.factors
    if not asked:
        raise ConfigError(["explain: name a factor, such as PctChg,100 or qlib158:MA5, or a config by --cfg"])
    try:
        nodes = registry.columns(asked)
    except (LookupError, ValueError, TypeError) as error:
        raise ConfigError([f"explain: {error}"]) from error
    explain(nodes, Console(), depth)
    return 0
