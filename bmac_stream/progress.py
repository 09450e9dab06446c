"""How far the history is: a bar on a terminal, a line now and then elsewhere."""

import logging
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar

__all__ = ["Progress"]

log = logging.getLogger("bmac_stream.collector")

LINE_EVERY_S: Final = 5.0


class Progress:
    """Shows symbols done, weight used and time left, as a context manager.

    n_symbols     how many symbols are to be read
    weight_limit  the exchange's, per minute
    lines         false: without the bar nothing is said now and then, somebody else does
    """

    def __init__(
        self, n_symbols: int, weight_limit: int, console: "Console | None" = None, *, lines: bool = True
    ) -> None:
        self._lines = lines
        self._n_symbols = n_symbols
        self._weight_limit = weight_limit
        self._started = time.monotonic()
        self._next_line = self._started + LINE_EVERY_S
        self._bar: Bar | None = None
        if n_symbols and (console is not None or sys.stdout.isatty()):
            self._show_bar(console)

    def _show_bar(self, console: "Console | None") -> None:
        """A bar, if the console is a terminal. rich is 40 ms of imports, and most collectors have none."""
        from rich import progress
        from rich.console import Console

        console = console or Console()
        if not console.is_terminal:
            return
        self._bar = progress.Progress(
            progress.TextColumn("history"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("symbols, weight {task.fields[weight]}, left"),
            progress.TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("history", total=self._n_symbols, weight="0")

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        if kind is None and self._n_symbols:
            log.info("history of %d symbols in %.1f s", self._n_symbols, time.monotonic() - self._started)

    def show(self, n_left: int, weight_used: int, n_requests: int) -> None:
        """n_left symbols are still to be read; weight_used of this minute; n_requests so far."""
        done = max(0, self._n_symbols - n_left)
        weight = f"{weight_used}/{self._weight_limit}"
        if self._bar is not None:
            self._bar.update(self._task, completed=done, weight=weight)
            return
        now = time.monotonic()
        if now < self._next_line or not self._lines:
            return
        self._next_line = now + LINE_EVERY_S
        left = ""
        if done:
            left = f", about {(now - self._started) / done * n_left:.0f} s left"
        log.info(
            "history: %d/%d symbols, %d requests, weight used %s%s",
            done, self._n_symbols, n_requests, weight, left,
        )  # fmt: skip
