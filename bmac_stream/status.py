"""What every store of this machine holds, for people (a table) and programs (JSON with stable keys).

`python -m bmac_stream status` looks at each store file of a directory with a read-only map, like any reader.
A file that cannot be read is listed with its error.
"""

import re
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from stat import S_ISREG
from typing import Final

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bmac_stream.client import Store, attach
from bmac_stream.config import RESERVED, STORE_NAME
from bmac_stream.errors import ShmError, StoreRetired, WriterDead, WriterStalled
from bmac_stream.universe import slots_low
from shm import Status
from shm.layout import first_cell

__all__ = ["StoreStatus", "files_of", "find_stores", "look", "look_at", "show", "span", "unfit"]

PREFIX: Final = "bmac."
NAMES_SHOWN: Final = 5
SPARE_S: Final = 10.0
"""What `unfit` allows beyond two bars."""


class StoreStatus(msgspec.Struct, kw_only=True):
    """One store. Where `error` is not null, only name, path and bytes mean anything. Times: ms UTC, 0 none.

    writer           "live", "stalled" (alive, but silent), "dead" (gone without a word), "closed" (ended
                     cleanly), "retired" (a new file took the name), "unknown"
    silent_s         seconds since the collector's last heartbeat
    ready            symbols whose bar at run_time is there or certain not to exist, of `active`
    missing          the others, sorted
    complete_ms      from the bar's close to the market being complete, at the newest run_time
    free_slots       symbols that still fit, of `capacity`; delisted ones keep their slots
    warnings         sentences for people: what will need a hand soon
    age_s            from run_time until now by this machine's clock; null for an embedded exchange, which has
                     a time of its own
    """

    name: str
    path: str
    error: str | None = None
    source: str = ""
    interval: str = ""
    interval_ms: int = 0
    trade_type: str = ""
    writer: str = "unknown"
    phase: str = ""
    silent_s: float = 0.0
    pid: int = 0
    generation: int = 0
    epoch: int = 0
    active: int = 0
    loading: int = 0
    delisted: int = 0
    capacity: int = 0
    free_slots: int = 0
    warnings: list[str] = []
    window: int = 0
    run_time: int = 0
    ready: int = 0
    missing: list[str] = []
    absent_now: int = 0
    complete_ms: int | None = None
    age_s: float | None = None
    corrections: int = 0
    absent_bars: int = 0
    pending_bars: int = 0
    late_fills: int = 0
    reconnects: int = 0
    weight_used_1m: int = 0
    counters: dict[str, int] = {}
    bytes: int = 0


def find_stores(directory: str | Path) -> list[str]:
    """Names of the stores in `directory`, sorted; [] if there is no such directory."""
    folder = Path(directory)
    names = []
    try:
        paths = list(folder.iterdir())
    except OSError:
        return []
    for path in paths:
        name = path.name.removeprefix(PREFIX)
        if name == path.name or not STORE_NAME.fullmatch(name) or name.endswith(RESERVED):
            continue
        try:
            if S_ISREG(path.lstat().st_mode):
                names.append(name)
        except OSError:
            continue  # gone meanwhile
    return sorted(names)


def files_of(path: Path) -> list[Path]:
    """The store at `path` and the files beside it that are there, sorted; none of another store whose name
    goes on."""
    ours = re.compile(re.escape(path.name) + r"(\.lock|\.bell|\.new|\.[a-z]+\.arrow(\.new)?)?")
    return sorted(file for file in path.parent.iterdir() if ours.fullmatch(file.name))


def look_at(name: str, directory: str | Path, owner: str | int | None = None) -> StoreStatus:
    """What the store `name` holds now. Never raises for what is in the file: see `error`.

    owner  the user (name or number) whose stores may be looked at besides one's own (a group's collector)
    """
    path = Path(directory) / f"{PREFIX}{name}"
    status = StoreStatus(name=name, path=str(path))
    try:
        status.bytes = path.stat().st_size
    except FileNotFoundError:
        others = ", ".join(find_stores(directory)) or "none"
        status.error = f"StoreNotFound: {directory} has no store {name!r}; stores there: {others}"
        return status
    except OSError as error:
        status.error = f"{type(error).__name__}: {error}"
        return status
    try:
        with attach(name, directory=str(directory), owner=owner) as store:
            _fill(status, store)
    except (ShmError, OSError, ValueError, KeyError) as error:  # KeyError: no such owner
        status.error = f"{type(error).__name__}: {error}"
    return status


def look(directory: str | Path, owner: str | int | None = None) -> list[StoreStatus]:
    """Every store of `directory`; owner as in `look_at`."""
    return [look_at(name, directory, owner) for name in find_stores(directory)]


def unfit(status: StoreStatus) -> str:
    """Why a strategy cannot rely on this store now, "" if it can: what a health check asks.

    A store is fit whose writer is live, and which has a run_time, complete and recent: at most two bars and
    SPARE_S old, and not without every symbol. Of an embedded exchange's, which has a time of its own, the age
    is not known here.
    """
    if status.error is not None:
        return status.error
    if status.writer != "live":
        return f"its collector is {status.writer}, silent for {span(status.silent_s)}"
    if not status.run_time:
        return f"no run_time is complete yet (phase {status.phase!r})"
    if status.age_s is not None and status.age_s > 2 * status.interval_ms / 1e3 + SPARE_S:
        return f"its newest run_time is {span(status.age_s)} old, a bar has {status.interval}"
    if not status.ready:
        return f"every one of {status.active} symbols is missing at the newest run_time"
    return ""


def _fill(status: StoreStatus, store: Store) -> None:
    reader = store.reader
    status.source = store.source
    status.interval = store.interval
    status.interval_ms = store.interval_ms
    status.trade_type = str(store.meta.get("trade_type", ""))
    status.phase = store.phase
    status.writer = _writer_state(store)
    status.silent_s = round(store.silence_s, 3)
    status.pid = reader.writer_pid
    status.generation = reader.generation
    status.epoch = reader.epoch
    status.capacity = store.spec.max_symbols
    status.window = store.window
    states = [reader.slot_state(slot).name for slot in range(reader.n_slots)]
    status.active = states.count("ACTIVE")
    status.loading = states.count("LOADING")
    status.delisted = states.count("DELISTED")
    status.free_slots = status.capacity - reader.n_slots
    if slots_low(status.free_slots, status.capacity):
        status.warnings.append(
            f"{status.free_slots} of {status.capacity} slots are free: raise store.max_symbols"
        )
    status.counters = counters = store.counters()
    for field in ("corrections", "absent_bars", "pending_bars", "late_fills", "reconnects", "weight_used_1m"):
        setattr(status, field, counters.get(field, 0))
    g = reader.complete_g
    if g < 0:
        return
    status.run_time = store.open_time_of(g + 1)
    symbols = store.symbols
    slots = np.fromiter(symbols.values(), np.int64, len(symbols))
    cells = store.data[slots, -1, first_cell(g + 1, 1, store.cap)]
    status.missing = sorted(
        name for name, cell in zip(symbols, cells, strict=True) if cell not in (Status.BAR, Status.ABSENT)
    )
    status.ready = len(symbols) - len(status.missing)
    status.absent_now = int(np.count_nonzero(cells == Status.ABSENT))
    if "last_complete_ms" in counters:
        status.complete_ms = counters["last_complete_ms"]
    if not store.source.startswith("embedded"):
        status.age_s = round(time.time() - status.run_time / 1e3, 1)


def _writer_state(store: Store) -> str:
    try:
        store.check()
    except StoreRetired:
        return "retired"
    except WriterDead:
        return "closed" if store.phase == "closed" else "dead"
    except WriterStalled:
        return "stalled"
    return "live"


# ---- for people

_COLOUR: Final = {"live": "green", "stalled": "yellow", "dead": "red", "closed": "blue", "retired": "blue"}


def show(found: Iterable[StoreStatus], directory: str | Path, console: Console) -> None:
    """Print the table: one row per store, at most 100 columns wide."""
    table = Table(title=f"stores in {directory}", title_justify="left", width=min(console.width, 100))
    for heading in ("store", "collector", "symbols", "newest run_time", "so far"):
        table.add_column(heading, overflow="fold")
    n = 0
    for status in found:
        n += 1
        table.add_row(*_cells(status))
        table.add_section()
    if n == 0:
        console.print(Text(f"no store in {directory}: is a collector running?"))
    else:
        console.print(table)


def _cells(status: StoreStatus) -> list[Text]:
    store = Text(status.name, style="bold")
    if status.error is not None:
        store.append(f"\n{_size(status.bytes)}", style="dim")
        return [store, Text(status.error, style="red"), Text(), Text(), Text()]
    store.append(f"\n{status.source}", style="not bold")
    store.append(f"\n{status.interval} x {status.window}, {_size(status.bytes)}", style="not bold dim")
    live = status.writer == "live"
    writer = Text(status.writer, style="yellow" if live and unfit(status) else _COLOUR.get(status.writer, ""))
    writer.append(
        f"\nphase {status.phase or '-'}\nsilent {span(status.silent_s)}\npid {status.pid}", style="dim"
    )
    symbols = Text(f"{status.active} of {status.capacity}")
    for name in ("loading", "delisted"):
        if count := getattr(status, name):
            symbols.append(f"\n{count} {name}")
    for warning in status.warnings:
        symbols.append(f"\n{warning}", style="yellow")
    return [store, writer, symbols, _newest(status), _so_far(status)]


def _newest(status: StoreStatus) -> Text:
    if not status.run_time:
        return Text("none yet")
    try:
        when = datetime.fromtimestamp(status.run_time / 1e3, UTC)
    except (ValueError, OverflowError, OSError):
        return Text(f"{status.run_time} is no time: the file is damaged", style="red")
    newest = Text(when.strftime("%Y-%m-%d %H:%M:%S"))
    newest.append(f"\n{status.ready}/{status.active} ready", style="yellow" if status.missing else "green")
    if status.missing:
        names = ", ".join(status.missing[:NAMES_SHOWN])
        more = len(status.missing) - NAMES_SHOWN
        newest.append(f"\nwithout {names}{f' and {more} more' if more > 0 else ''}", style="yellow")
    if status.absent_now:
        newest.append(f"\n{status.absent_now} absent")
    if status.complete_ms is not None:
        newest.append(f"\nwhole after {status.complete_ms} ms")
    if status.age_s is not None:
        newest.append(f"\n{span(status.age_s)} ago")
    return newest


def _so_far(status: StoreStatus) -> Text:
    lines = [
        f"corrections {status.corrections}",
        f"absent {status.absent_bars}",
        f"pending {status.pending_bars}, filled {status.late_fills}",
        f"reconnects {status.reconnects}",
        f"weight {status.weight_used_1m}/min",
    ]
    return Text("\n".join(lines))


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:.0f} MiB" if n_bytes >= 2**20 else f"{n_bytes / 2**10:.0f} KiB"


def span(seconds: float) -> str:
    """A duration for people: 12.3 s, 45 min, 3.2 h."""
    if abs(seconds) < 120:
        return f"{seconds:.1f} s"
    if abs(seconds) < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
