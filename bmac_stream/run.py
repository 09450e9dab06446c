"""`python -m bmac_stream run CFG`: collector, embedded exchange, factor engine and a sample strategy, seen in
one terminal.

Four processes: the collector (which starts the embedded exchange and the recorder itself), the engine if the
config names `factors`, the sample strategy, and this one, which only reads the stores and draws. Ctrl-C ends
them all, cleanly.
It is a trial: the config is copied to a temporary directory, so that snapshots go there, and that directory
and the stores it made are removed at the end, unless `--keep`. A store that was there before is left alone.
"""

import collections
import contextlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

import bmac_stream
from bmac_stream.client import Store
from bmac_stream.config import Config, load_config
from bmac_stream.errors import ShmError
from bmac_stream.factors import CROSS, Factors
from bmac_stream.factors import SUFFIX as FACTORS
from bmac_stream.funding import SUFFIX as FUNDING
from shm.segment import segment_path, writer_alive

__all__ = ["run"]

LINES_KEPT = 200
FACTORS_SHOWN = 6
SHOWN = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "DOGEUSDT", "BNBUSDT")


class Child:
    """A child process whose lines of output are kept, the newest LINES_KEPT of them."""

    def __init__(self, name: str, *command: str) -> None:
        self.name = name
        self.lines: collections.deque[str] = collections.deque(maxlen=LINES_KEPT)
        self.n_lines = 0
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C comes to us alone: we end the children in order
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            self.n_lines += 1

    def stop(self, timeout_s: float = 10.0) -> int:
        """SIGTERM, wait, and SIGKILL if that was not enough; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()


def _clock_text(run_time_ms: int) -> str:
    return datetime.fromtimestamp(run_time_ms / 1e3, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _title(config: Config, path: Path) -> Text:
    text = Text()
    text.append("bmac_stream", style="bold cyan")
    text.append(f"  {config.trade_type} {config.interval}, {config.num_candles} bars of history, ")
    if config.exchange == "embedded":
        rate = config.embedded.rate
        text.append("embedded exchange (synthetic or replayed data)", style="bold yellow")
        text.append(f" at {rate:g}x real time: a {config.interval} bar closes every ")
        text.append(f"{_bar_wall_s(config):g} s", style="bold")
    else:
        text.append(f"exchange {config.exchange}")
    text.append(f"\nconfig {path}, store {config.store_name}. Ctrl-C ends everything.", style="dim")
    return text


def _bar_wall_s(config: Config) -> float:
    return bmac_stream.bar.interval_ms(config.interval) / 1e3 / config.embedded.rate


def _prices(store: Store) -> Table:
    table = Table(expand=True, box=None, header_style="dim")
    table.add_column("symbol")
    for name in ("last closed", "forming", "volume", "trades"):
        table.add_column(name, justify="right")
    names = [name for name in SHOWN if name in store.symbols] or list(store.symbols)[: len(SHOWN)]
    for name in names:
        view = store[name]
        if not view.count:
            continue
        close, volume, trades = view.read(
            lambda bars: (bars.close[-1], bars.volume[-1], bars.trade_num[-1]), n=1
        )
        forming = view.forming
        table.add_row(
            name,
            f"{close:,.6g}",
            f"{forming.close:,.6g}" if forming is not None else "-",
            f"{volume:,.0f}",
            f"{trades:,.0f}",
        )
    return table


def _factors(factors: Factors) -> Table:
    """The newest values of the first few factors, for the symbols shown."""
    names = factors.names[:FACTORS_SHOWN]
    table = Table(expand=True, box=None, header_style="dim")
    table.add_column("symbol")
    for name in names:
        table.add_column(name, justify="right")
    symbols = [name for name in SHOWN if name in factors.symbols] or list(factors.symbols)[: len(SHOWN)]
    for symbol in symbols:
        values = factors.symbol(symbol)
        table.add_row(symbol, *(f"{values.get(name, float('nan')):.6g}" for name in names))
    return table


def _counters(store: Store) -> Table:
    table = Table.grid(padding=(0, 2))
    counters = store.counters()
    names = (
        "ws_frames", "ws_bars", "rest_bars", "pending_bars", "absent_bars", "corrections",
        "reconnects", "rest_requests", "weight_used_1m", "last_complete_ms",
    )  # fmt: skip
    for name in names:
        if name in counters:
            table.add_row(Text(name, style="dim"), f"{counters[name]:,}")
    return table


def _newest(lines: "collections.deque[str]", n: int) -> Text:
    # lines are other programs' output: plain text, never markup
    return Text("\n".join(list(lines)[-n:]) or "...", no_wrap=True, overflow="ellipsis")


def _screen(
    title: Text,
    store: Store | None,
    factors: Factors | None,
    collector: Child,
    engine: Child | None,
    strategy: Child | None,
) -> Group:
    parts: list[Panel | Text] = [title]
    if store is not None:
        complete = store.run_time
        head = f"{len(store.symbols)} symbols readable"
        if complete:
            head += f", market complete at {_clock_text(complete)}"
        grid = Table.grid(expand=True)
        grid.add_column(ratio=3)
        grid.add_column(ratio=2)
        grid.add_row(_prices(store), _counters(store))
        parts.append(Panel(grid, title=head, border_style="green"))
    if factors is not None:
        head = f"{len(factors.names)} factors from the engine process"
        if factors.run_time:
            head += f", of {_clock_text(factors.run_time)}"
        parts.append(Panel(_factors(factors), title=head, border_style="magenta"))
    elif engine is not None:
        parts.append(Panel(_newest(engine.lines, 2), title="engine"))
    if strategy is not None:
        parts.append(Panel(_newest(strategy.lines, 6), title="sample strategy (own process, reads in place)"))
    parts.append(Panel(_newest(collector.lines, 6), title="collector"))
    return Group(*parts)


def _plain(console: Console, child: Child | None, seen: int) -> int:
    if child is None:
        return seen
    new = child.n_lines - seen
    if new > 0:
        for line in list(child.lines)[-new:]:
            console.print(Text(f"{child.name}: {line}"), soft_wrap=True)
    return child.n_lines


def _stores(config: Config) -> list[Path]:
    """Every store that the processes of a trial may make."""
    own = config.store_name
    names = [own, own + FUNDING, own + FACTORS, own + FACTORS + CROSS]
    names += [config.resampled_name(target) for target in config.resample]
    return [segment_path(name, config.store.directory) for name in names]


def _remove(made: list[Path]) -> None:
    """The stores that were made here, with the files beside them; none that somebody writes."""
    for path in made:
        if not path.parent.is_dir() or writer_alive(path):
            continue
        beside = re.compile(re.escape(path.name) + r"(\.lock|\.bell|\.new|\.[a-z]+\.arrow)?")
        for file in [file for file in path.parent.iterdir() if beside.fullmatch(file.name)]:
            file.unlink(missing_ok=True)


def run(cfg: str, seconds: float = 0.0, keep: bool = False) -> int:
    """Start collector, engine and sample strategy for the config at `cfg`, and show them until Ctrl-C.

    seconds  end by itself after so many seconds; 0: not
    keep     leave the store in shared memory, and the snapshots, afterwards
    Returns the collector's exit status. Without a terminal, plain lines are printed instead of the view.
    """
    config, _ = load_config(cfg)
    path = Path(cfg) / "config.json" if Path(cfg).is_dir() else Path(cfg)
    base = Path(tempfile.mkdtemp(prefix="bmac_stream-"))
    shutil.copy(path, base / "config.json")
    console = Console()
    title = _title(config, path)
    end = time.monotonic() + seconds if seconds else float("inf")
    directory = config.store.directory
    before = [path for path in _stores(config) if path.exists()]
    collector = Child("collector", "bmac_stream.collector", str(base))
    strategy: Child | None = None
    engine: Child | None = None
    store: Store | None = None
    factors: Factors | None = None
    seen_collector = seen_engine = seen_strategy = 0
    live = Live(console=console, refresh_per_second=4, screen=False) if console.is_terminal else None
    # SIGTERM ends us as Ctrl-C does, so that the children never outlive us
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    if live is None:
        console.print(title)
    try:
        with live or contextlib.nullcontext():
            while time.monotonic() < end and collector.process.poll() is None:
                if store is None:
                    with contextlib.suppress(ShmError):
                        store = bmac_stream.attach(config.store_name, directory=directory)
                        if config.factors:
                            engine = Child("engine", "bmac_stream.engine", str(base))
                        strategy = Child(
                            "strategy",
                            "bmac_stream.sample_strategy",
                            config.store_name,
                            f"--directory={directory}",
                        )
                if store is not None and factors is None and engine is not None:
                    with contextlib.suppress(ShmError):
                        factors = store.factors
                if live is not None:
                    with contextlib.suppress(ShmError):
                        live.update(_screen(title, store, factors, collector, engine, strategy))
                else:
                    seen_collector = _plain(console, collector, seen_collector)
                    seen_engine = _plain(console, engine, seen_engine)
                    seen_strategy = _plain(console, strategy, seen_strategy)
                time.sleep(0.25)
    except KeyboardInterrupt:
        pass
    finally:
        ended_by_itself = collector.process.poll()
        for child in (strategy, engine):
            if child is not None:
                child.stop()
        status = collector.stop()
        time.sleep(0.1)  # the last lines of the pipe
        if live is None:
            _plain(console, engine, seen_engine)
            _plain(console, collector, seen_collector)
        elif ended_by_itself is not None:
            for line in list(collector.lines)[-20:]:
                console.print(Text(line), soft_wrap=True)
        if keep:
            console.print(f"kept: store {config.store_name} in {directory}, snapshots in {base}")
        else:
            shutil.rmtree(base, ignore_errors=True)
            _remove([path for path in _stores(config) if path not in before])
            for path in before:
                console.print(f"left as it was there before: {path}", soft_wrap=True)
    return status
