"""The shared form of every benchmark: machine, figures, floors, one table, one JSON file, one exit status.

    figures = Figures("How fast is an append?")
    figures.add("append_hot_ns", 6.1, "12 columns")
    figures.at_most("append_hot_ns", 20, figures["append_hot_ns"])             # floors
    figures.unmet("blackboard_over_spin", 2.5, "iceoryx2 is not installed")
    sys.exit(figures.finish(json))                               # 1 if a floor is missed

Contenders are compared by `interleave`: one run, in turns, the order reversed every other round, so that a
busy minute of the machine hits all of them alike; ratios are taken round by round and the median is told.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

__all__ = ["Figures", "Rounds", "interleave", "machine", "pin", "quantile"]


def machine() -> dict[str, str | int | float]:
    """What the figures were measured on: processor, cores, memory, kernel, the packages that count."""
    cpu = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "CPU part", "Model")):
            cpu = line.split(":", 1)[1].strip()
            break
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    clock = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
    about: dict[str, str | int | float] = {
        "cpu": cpu,
        "arch": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(pages / 2**30, 1),
        "kernel": platform.release(),
        "libc": "-".join(platform.libc_ver()),
        "clocksource": clock.read_text().strip() if clock.exists() else "unknown",
        "hypervisor": "yes" if "hypervisor" in Path("/proc/cpuinfo").read_text() else "no",
        "load_1m": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
    }
    for package in ("numpy", "numba", "llvmlite", "pyzmq", "iceoryx2", "pandas", "pyarrow"):
        try:
            about[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            about[package] = "absent"
    return about


def pin(core: int) -> None:
    """Keep this process, and what it starts from now on, on one core."""
    os.sched_setaffinity(0, {core})


def quantile(values: list[float], q: float) -> float:
    """The value at rank q (0..1) of the sorted values; nan of none."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


@dataclass(slots=True)
class Rounds:
    """One figure for each contender and round."""

    values: dict[str, list[float]]

    def median(self, name: str) -> float:
        return statistics.median(self.values[name])

    def ratio(self, slow: str, fast: str) -> float:
        """How many times as long `slow` takes as `fast`: median over the rounds of the ratio in a round."""
        return statistics.median(s / f for s, f in zip(self.values[slow], self.values[fast], strict=True))

    def spread(self, name: str) -> tuple[float, float]:
        return min(self.values[name]), max(self.values[name])


def interleave(contenders: Mapping[str, Callable[[], float]], rounds: int) -> Rounds:
    """Run every contender once per round, in turns; the order is reversed every other round.

    A contender is called with nothing and returns its figure of one round (lower is better). The first
    round warms up and is thrown away.
    """
    values: dict[str, list[float]] = {name: [] for name in contenders}
    names = list(contenders)
    for i in range(rounds + 1):
        for name in names if i % 2 else reversed(names):
            value = contenders[name]()
            if i:
                values[name].append(value)
    return Rounds(values)


@dataclass(slots=True)
class _Floor:
    name: str
    value: float | None
    floor: float
    ok: bool
    reason: str = ""


@dataclass(slots=True)
class Figures:
    """What a benchmark found, and whether it is good enough."""

    question: str
    console: Console = field(default_factory=lambda: Console(highlight=False))
    about: dict[str, str | int | float] = field(default_factory=machine)
    figures: dict[str, float] = field(default_factory=dict)
    _notes: dict[str, str] = field(default_factory=dict)
    _floors: list[_Floor] = field(default_factory=list)

    def __getitem__(self, name: str) -> float:
        return self.figures[name]

    def add(self, name: str, value: float, note: str = "") -> float:
        """Record a figure. Its unit ends its name: "append_hot_ns"."""
        assert name not in self.figures, f"figure {name!r} is recorded twice"
        self.figures[name] = value
        self._notes[name] = note
        return value

    def at_most(self, name: str, floor: float, value: float) -> bool:
        """A floor of the kind "no slower than"."""
        self._floors.append(_Floor(name, value, floor, value <= floor, "<="))
        return value <= floor

    def at_least(self, name: str, floor: float, value: float) -> bool:
        """A floor of the kind "at least so many times as fast"."""
        self._floors.append(_Floor(name, value, floor, value >= floor, ">="))
        return value >= floor

    def unmet(self, name: str, floor: float, reason: str) -> None:
        """A floor that could not be measured, a contender being absent: not met, and the line says why."""
        self._floors.append(_Floor(name, None, floor, False, reason))

    @property
    def ok(self) -> bool:
        return all(f.ok for f in self._floors)

    def show(self) -> None:
        """Print question, machine, figures and floors."""
        self.console.print(f"[bold]{self.question}[/bold]")
        self.console.print(", ".join(f"{k} {v}" for k, v in self.about.items()), style="dim", soft_wrap=True)
        table = Table("figure", "value", "note", box=None, pad_edge=False)
        table.columns[1].justify = "right"
        for name, value in self.figures.items():
            table.add_row(name, f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}", self._notes[name])
        self.console.print(table)
        for f in self._floors:
            mark = "[green]met[/green]" if f.ok else "[red]MISSED[/red]"
            found = f"{f.value:.4g} (wanted {f.reason} {f.floor:g})" if f.value is not None else f.reason
            self.console.print(f"floor {mark}: {f.name}: {found}", soft_wrap=True)

    def write(self, path: str | Path) -> None:
        """{"machine": ..., "figures": {name: value}, "floors": [{"name", "value", "floor", "ok"}]}"""
        document = {
            "question": self.question,
            "machine": self.about,
            "figures": self.figures,
            "floors": [
                {"name": f.name, "value": f.value, "floor": f.floor, "ok": f.ok, "note": f.reason}
                for f in self._floors
            ],
        }
        Path(path).write_text(json.dumps(document, indent=2) + "\n")

    def finish(self, json_file: str | Path | None = None) -> int:
        """Show, write if asked, and return the exit status: 1 if any floor is missed."""
        self.show()
        if json_file:
            self.write(json_file)
        sys.stdout.flush()
        return 0 if self.ok else 1
