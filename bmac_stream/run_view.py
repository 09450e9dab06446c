"""The live view of a trial (`bmac_stream.run`), laid out to the rows and columns of the terminal.

A number is shown whole or not at all: a column that does not fit is left out, as is the oldest line of
output. What is wrong stands above everything, in red: a dead or stalled writer, a process that ended.
"""

import math
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from rich.cells import cell_len
from rich.console import Console, Group
from rich.panel import Panel
from rich.text import Text

from bmac_stream.client import Store
from bmac_stream.config import Config
from bmac_stream.errors import ShmError
from bmac_stream.factors import Factors
from bmac_stream.status import span

__all__ = ["Alarm", "Said", "View", "alarms", "number"]

SHOWN: Final = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "DOGEUSDT", "BNBUSDT")
COUNTERS: Final = (
    "ws_frames", "ws_bars", "rest_bars", "pending_bars", "absent_bars", "corrections", "reconnects",
    "rest_requests", "weight_used_1m", "last_complete_ms",
)  # fmt: skip
STRATEGY_LINES: Final = 8
SILENT_S: Final = 3.0
"""A collector beats several times a second: longer silence is told."""
SPARE_S: Final = 2.0
"""A run_time may be so much later than its bar's deadline before its age is told in yellow, wall time."""
GAP: Final = 2
"""Between two columns, at least."""
_WRAPS: Final = Console()
"""Text.wrap asks a console for its settings only; the width is told."""


class Said(NamedTuple):
    """What is known of a process that was started.

    lines    its newest lines of output, oldest first
    quiet_s  wall seconds since the last of them
    ended    how it ended, or that it is stopped, in words; "" while it runs
    """

    name: str
    lines: Sequence[str]
    quiet_s: float
    ended: str


class Alarm(NamedTuple):
    """Something that is wrong. kind: the same as long as it is the same trouble."""

    kind: str
    text: str


class _Part(NamedTuple):
    """A panel: at least and at most so many rows inside its frame. draw(rows, width): its lines."""

    title: tuple[str, ...]
    style: str
    least: int
    most: int
    draw: Callable[[int, int], list[Text]]


class View:
    """Draws what a trial is at. It remembers when it first saw a run_time, for the age of it."""

    def __init__(self, config: Config, path: Path) -> None:
        self._config = config
        self.title = _title(config, path)
        self._seen: dict[str, tuple[int, float]] = {}

    def screen(
        self,
        console: Console,
        store: Store | None,
        factors: Factors | None,
        collector: Said,
        engine: Said | None,
        strategy: Said | None,
    ) -> Group:
        """The whole view, one row lower than the console (the cursor's)."""
        width = console.width
        room = max(1, console.height - 1)
        wrong: list[Text] = []
        for alarm in alarms(store, factors, collector, engine, strategy):
            wrong += Text(alarm.text, style="bold red").wrap(console, width)
        parts = self._parts(store, factors, collector, engine, strategy)
        needed = sum(part.least + 2 for part in parts)
        head = list(self.title.wrap(console, width))[: max(1, room - needed - len(wrong))] + wrong
        del head[max(1, room - 3) :]
        rows = room - len(head)
        while len(parts) > 1 and sum(part.least + 2 for part in parts) > rows:
            del parts[-2]  # the collector's lines stay to the last
        panels = [
            _panel(part, share, width)
            for part, share in zip(parts, _shares(parts, rows - 2 * len(parts)), strict=True)
        ]
        return Group(*head, *panels)

    def _parts(
        self,
        store: Store | None,
        factors: Factors | None,
        collector: Said,
        engine: Said | None,
        strategy: Said | None,
    ) -> list[_Part]:
        parts = []
        if store is not None:
            titles, style = self._market_title(store)
            most = 1 + max(len(_chosen(store.symbols)), len(COUNTERS) - 1)
            parts.append(_Part(titles, style, 2, most, lambda rows, width: self._market(store, rows, width)))
        if factors is not None and factors.run_time:
            n, age = len(factors.names), self._age("factors", factors.run_time)
            titles = (
                f"{n} factors from the engine process, of {_clock_text(factors.run_time)}, {age}",
                f"{n} factors, {age}",
            )
            style = "magenta" if engine is None or not engine.ended else "red"
            most = 1 + len(_chosen(factors.symbols))
            parts.append(_Part(titles, style, 2, most, lambda rows, width: _factors(factors, rows, width)))
        elif engine is not None:
            parts.append(
                _of_lines(
                    engine, (f"engine: no factors yet; newest first, {_ago(engine.quiet_s)}", "engine"), 3
                )
            )
        if strategy is not None:
            titles = (
                f"sample strategy (own process, reads in place), newest first, {_ago(strategy.quiet_s)}",
                f"sample strategy, newest first, {_ago(strategy.quiet_s)}",
                "sample strategy",
            )
            parts.append(_of_lines(strategy, titles, STRATEGY_LINES))
        plain = f"collector, newest first, {_ago(collector.quiet_s)}"
        rate = self._config.rate
        titles = (
            (plain, "collector")
            if rate == 1
            else (
                f"{plain}; its seconds are exchange time ({rate:g}x)",
                f"{plain} (exchange time)",
                plain,
                "collector",
            )
        )
        parts.append(_of_lines(collector, titles, 50))
        return parts

    def _market_title(self, store: Store) -> tuple[tuple[str, ...], str]:
        readable, run_time = f"{len(store.symbols)} symbols readable", store.run_time
        style = "red" if _unwritten(store) else "yellow" if store.silence_s > SILENT_S else "green"
        quiet = f", silent for {span(store.silence_s)}" if store.silence_s > SILENT_S else ""
        if not run_time:
            return (f"{readable}, no bar complete yet{quiet}", f"{readable}{quiet}"), style
        age = self._age("market", run_time)
        if self._age_s("market", run_time) > self._patience_s and style == "green":
            style = "yellow"
        return (
            f"{readable}, market complete at {_clock_text(run_time)}, {age}{quiet}",
            f"{readable}, complete at {_clock_text(run_time)[11:]}, {age}{quiet}",
            f"{readable}, complete {age}{quiet}",
            f"complete {age}{quiet}",
        ), style

    def _market(self, store: Store, rows: int, width: int) -> list[Text]:
        found = []
        for name in _chosen(store.symbols):
            view = store[name]
            if not view.count:
                continue
            close, volume, trades = view.read(
                lambda bars: (bars.close[-1], bars.volume[-1], bars.trade_num[-1]), n=1
            )
            forming = view.forming
            now = "-" if forming is None else _price(forming.close)
            found.append((name, _price(close), now, number(volume), number(trades)))
        heading = ("symbol", "last closed", "forming", "volume", "trades")
        counters = store.counters()
        told = [(_label(name, self._config), f"{counters[name]:,}") for name in COUNTERS if name in counters]
        lines = [heading, *found[: rows - 1]]
        beside = _needed(told[:rows]) + 2 * GAP
        if not told or _needed(lines) + beside > width:
            return _table(lines, width)
        left, right = _table(lines, width - beside), _table(told[:rows], beside - 2 * GAP, heading=False)
        left += [Text()] * (len(right) - len(left))
        right += [Text()] * (len(left) - len(right))
        column = width - beside + 2 * GAP
        return [a + Text(" " * (column - a.cell_len)) + b for a, b in zip(left, right, strict=True)]

    @property
    def _patience_s(self) -> float:
        """So old may the newest run_time become in wall seconds: a bar and what is waited for late ones."""
        config = self._config
        return (config.interval_ms / 1e3 + config.candle_close_timeout_sec) / config.rate + SPARE_S

    def _age_s(self, what: str, run_time: int) -> float:
        if self._config.exchange != "embedded" and self._config.rate == 1:
            return time.time() - run_time / 1e3
        now = time.monotonic()
        if self._seen.get(what, (0, 0.0))[0] != run_time:
            self._seen[what] = run_time, now
        return now - self._seen[what][1]

    def _age(self, what: str, run_time: int) -> str:
        return _ago(self._age_s(what, run_time))


def alarms(
    store: Store | None,
    factors: Factors | None,
    collector: Said,
    engine: Said | None,
    strategy: Said | None,
) -> list[Alarm]:
    """All that is wrong now: processes that ended, stores whose writer is dead or stalled."""
    children = (collector, engine, strategy)
    found = [Alarm(one.name, f"{one.name} {one.ended}") for one in children if one and one.ended]
    if store is not None and (text := _unwritten(store)):
        found.append(Alarm("store", text))
    # before its first run_time an engine compiles, and does not beat
    begun = factors is not None and factors.run_time and not (engine and engine.ended)
    if factors is not None and begun and (text := _unwritten(factors.last)):
        found.append(Alarm("factors", text))
    return found


def number(value: float) -> str:
    """A quantity in a few letters: 734, 18.1k, 1.25M, 40.2G; "-" for NaN."""
    if not math.isfinite(value):
        return "-"
    if abs(value) < 999.5:
        return f"{value:.0f}" if value == int(value) else f"{value:.3g}"
    for unit, size in (("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12)):
        if abs(value) < 999.5 * size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.2e}"


# ---- helpers


def _clock_text(run_time_ms: int) -> str:
    return datetime.fromtimestamp(run_time_ms / 1e3, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _title(config: Config, path: Path) -> Text:
    text = Text()
    text.append("bmac_stream", style="bold cyan")
    text.append(f" {config.trade_type} {config.interval}, {config.num_candles} bars of history, ")
    if config.exchange == "embedded":
        kind = "synthetic" if config.embedded.data is None else "replayed"
        text.append(f"embedded exchange ({kind} data)", style="bold yellow")
        text.append(f" at {config.rate:g}x real time: a bar closes every ")
        text.append(f"{config.interval_ms / 1e3 / config.rate:g} s", style="bold")
    else:
        text.append("exchange " + (config.exchange if isinstance(config.exchange, str) else "of your own"))
    text.append(f"\n{path}, store {config.store_name}. Ctrl-C ends everything.", style="dim")
    return text


def _unwritten(store: Store) -> str:
    """Why nobody writes a store, "" if somebody does."""
    try:
        store.check()
    except ShmError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _ago(seconds: float) -> str:
    return f"{seconds:.0f} s ago" if abs(seconds) < 120 else f"{span(seconds)} ago"


def _chosen(symbols: Sequence[str] | dict[str, int]) -> list[str]:
    return [name for name in SHOWN if name in symbols] or list(symbols)[: len(SHOWN)]


def _label(counter: str, config: Config) -> str:
    return f"{counter} (exchange time)" if counter.endswith("_ms") and config.rate != 1 else counter


def _price(value: float) -> str:
    return f"{value:,.6g}" if math.isfinite(value) else "-"


def _factors(factors: Factors, rows: int, width: int) -> list[Text]:
    """The newest values of as many factors as fit, for the symbols shown."""
    found: list[tuple[str, ...]] = [("symbol", *factors.names)]
    for symbol in _chosen(factors.symbols)[: rows - 1]:
        values = factors.symbol(symbol)
        found.append((symbol, *(f"{values.get(name, math.nan):.4g}" for name in factors.names)))
    return _table(found, width)


def _widths(lines: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(cell_len, column)) for column in zip(*lines, strict=True)]


def _needed(lines: Sequence[Sequence[str]]) -> int:
    """The width of such a table with all of its columns."""
    widths = _widths(lines)
    return sum(widths) + GAP * (len(widths) - 1)


def _table(lines: Sequence[Sequence[str]], width: int, heading: bool = True) -> list[Text]:
    """Lines of columns, the first one to the left, the others to the right: as many as fit whole into
    `width`. The first line is a heading."""
    widths = _widths(lines)
    while len(widths) > 1 and sum(widths) + GAP * (len(widths) - 1) > width:
        widths.pop()
    gap = " " * max(GAP, min(5, (width - sum(widths)) // max(1, len(widths) - 1)))
    made = []
    for i, line in enumerate(lines):
        text = line[0] + " " * (widths[0] - cell_len(line[0]))
        for cell, taken in zip(line[1 : len(widths)], widths[1:], strict=True):
            text += gap + " " * (taken - cell_len(cell)) + cell
        made.append(Text(text, style="dim" if heading and i == 0 else ""))
    return made


def _of_lines(said: Said, titles: tuple[str, ...], most: int) -> _Part:
    """A panel of a process' lines, the newest on top, each whole over as many rows as it takes."""

    def draw(rows: int, width: int) -> list[Text]:
        lines: list[Text] = []
        for line in reversed(said.lines):
            # other programs' output: plain text, never markup
            folded = list(Text(line).wrap(_WRAPS, width))
            if lines and len(lines) + len(folded) > rows:
                break
            lines += folded
        return lines[:rows] or [Text("...", style="dim")]

    return _Part(titles, "red" if said.ended else "", 1, most, draw)


def _shares(parts: Sequence[_Part], rows: int) -> list[int]:
    """Rows of each part: its least, then one more to each in turn while there are some; in the first round
    the lines of output come first, which take two rows each on a narrow terminal."""
    shares = [part.least for part in parts]
    left = rows - sum(shares)
    turns = [*reversed(range(len(parts)))]
    while left > 0 and any(share < part.most for share, part in zip(shares, parts, strict=True)):
        for i in turns:
            if left > 0 and shares[i] < parts[i].most:
                shares[i] += 1
                left -= 1
        turns = [*range(len(parts))]
    return shares


def _panel(part: _Part, rows: int, width: int) -> Panel:
    try:
        lines = part.draw(rows, width - 4)
    except ShmError as error:
        lines = [Text(f"{type(error).__name__}: {error}", style="yellow")]
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    title = next((text for text in part.title if cell_len(text) <= width - 6), part.title[-1])
    return Panel(Group(*lines[: max(1, rows)]), title=Text(title), border_style=part.style)
