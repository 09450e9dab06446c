"""The doctor: is this machine, and the way to the exchange, fit for a collector; and if not, what to do.

`python -m bmac_stream doctor [cfg.json]`: with a config it checks what that config needs (its market, its
proxy, its store's size, the embedded exchange); without, all of Binance's markets. Without a network it says
so, within `timeout_s`. It writes nothing but one temporary file beside the snapshots, and costs the exchange
less than 50 of request weight.
"""

import asyncio
import os
import platform
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from shlex import join
from types import SimpleNamespace
from typing import Final, Literal, cast

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bmac_stream import status
from bmac_stream.config import Config, load_config
from bmac_stream.errors import ConfigError
from bmac_stream.room import advice, described, rooms

__all__ = ["Check", "factor_checks", "machine_checks", "main"]

Level = Literal["ok", "warn", "fail"]

MIN_PYTHON: Final = (3, 11)
MIN_KERNEL: Final = (4, 18)
"""The oldest that a maintained distribution still has."""
MIN_FILES: Final = 1024
PACKAGES: Final = {
    "numpy": (2, 0),
    "numba": (0, 66),
    "pyarrow": (18, 0),
    "websockets": (15, 0),
    "aiohttp": (3, 11),
}
BYTES_PER_BAR: Final = 60
"""A bar in a snapshot, rounded up."""


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at.

    level   "ok"; "warn": works, but not as well or not for long; "fail": a collector, or the engine process
            that the config asks for, would not work
    found   what is the case
    advice  what to do, in plain words; "" if nothing
    """

    name: str
    level: Level
    found: str
    advice: str = ""


def machine_checks(config: Config | None) -> list[Check]:
    """What can be seen without a network. Never raises."""
    found: list[Check] = []
    looks = (
        _system, _python, _packages, _files, _clock_source, _shared_memory, _stores, _snapshots, factor_checks
    )  # fmt: skip
    for check in looks:
        try:
            found.extend(check(config))
        except Exception as error:
            # a check that breaks is a finding, not the end of the others
            found.append(Check(check.__name__.strip("_"), "warn", f"{type(error).__name__}: {error}"))
    return found


def _system(_: Config | None) -> Iterator[Check]:
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"):
        yield Check(
            "system",
            "fail",
            f"{platform.system()} on {platform.machine()}",
            "bmac_stream runs on Linux, x86-64 or aarch64 (WSL 2 and Docker are Linux).",
        )
        return
    kernel = _numbers(platform.release())[:2]
    if kernel < MIN_KERNEL:
        wanted = ".".join(map(str, MIN_KERNEL))
        yield Check("kernel", "fail", platform.release(), f"Upgrade the kernel: at least {wanted} is needed.")
    else:
        yield Check(
            "kernel", "ok", f"Linux {platform.release()}, {platform.machine()}, {os.cpu_count()} CPUs"
        )
    library, version = platform.libc_ver()
    if library == "glibc":
        yield Check("C library", "ok", f"glibc {version}")
    else:
        yield Check(
            "C library",
            "warn",
            f"{library or 'not glibc'} {version}".strip(),
            "Only glibc is tested. On Alpine use an image based on Debian or Ubuntu.",
        )


def _python(_: Config | None) -> Iterator[Check]:
    version = platform.python_version()
    if sys.version_info < MIN_PYTHON:
        yield Check("Python", "fail", version, "Install Python 3.11 or newer, then run `make env` again.")
    elif platform.python_implementation() != "CPython":
        yield Check("Python", "warn", platform.python_implementation(), "Only CPython is tested.")
    else:
        yield Check("Python", "ok", f"CPython {version}")


def _packages(_: Config | None) -> Iterator[Check]:
    versions, bad = [], []
    for name, least in PACKAGES.items():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            bad.append(f"{name} is missing")
            continue
        versions.append(f"{name} {version}")
        if _numbers(version)[:2] < least:
            bad.append(f"{name} {version} is older than {'.'.join(map(str, least))}")
    if bad:
        yield Check("packages", "fail", "; ".join(bad), "Run `make env`: it installs the tested versions.")
    else:
        yield Check("packages", "ok", ", ".join(versions))


def _files(_: Config | None) -> Iterator[Check]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < MIN_FILES:
        yield Check(
            "open files",
            "warn",
            f"limit {soft} (hard limit {hard})",
            f"Raise it to {MIN_FILES} or more: `ulimit -n 4096`, or LimitNOFILE= in a systemd unit.",
        )
    else:
        yield Check("open files", "ok", f"limit {soft}")


def _clock_source(_: Config | None) -> Iterator[Check]:
    current = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
    try:
        name = current.read_text().strip()
    except OSError:
        return
    if name in ("tsc", "arch_sys_counter", "kvm-clock", "hyperv_clocksource_tsc_page"):
        yield Check("clock source", "ok", name)
    else:
        yield Check(
            "clock source", "warn", name, "Reading the clock is slow here; latencies will be some us longer."
        )


def _shared_memory(config: Config | None) -> Iterator[Check]:
    directory = Path("/dev/shm" if config is None else config.store.directory)
    parts = rooms(config or Config(interval="1m", trade_type="usdt_perp"))
    need = sum(part.nbytes for part in parts)
    there = 0 if config is None else sum(part.there for part in parts)
    if not directory.is_dir():
        yield Check("shared memory", "fail", f"{directory} does not exist", "Mount a tmpfs there.")
        return
    if not os.access(directory, os.W_OK | os.X_OK):
        yield Check(
            "shared memory",
            "fail",
            f"{directory} is not writable",
            "Let this user write there.",
        )
        return
    room = shutil.disk_usage(directory)
    what = f"{directory}: {_mib(room.free)} free of {_mib(room.total)}; needed: {described(parts)}"
    if there:
        what += f" ({_mib(there)} of that is there)"
    if room.free + there < need:
        yield Check(
            "shared memory",
            "fail",
            what,
            advice(parts),
        )
    else:
        yield Check("shared memory", "ok", what)
    available = _memory_available()
    if available is not None and available + there < need * 1.25:
        yield Check(
            "memory",
            "warn",
            f"{_mib(available)} available, the stores need {_mib(need)}",
            "Close other programs, or lower num_candles or store.max_symbols.",
        )


def _stores(config: Config | None) -> Iterator[Check]:
    directory = Path("/dev/shm" if config is None else config.store.directory)
    for store in status.look(directory):
        if store.error is not None:
            yield Check(
                f"store {store.name}",
                "warn",
                store.error,
                f"If no collector uses it, remove it: {_removal(store.path)}",
            )
        elif store.writer in ("dead", "closed", "retired"):
            yield Check(
                f"store {store.name}",
                "ok" if store.writer == "closed" else "warn",
                f"{_mib(store.bytes)}, its collector is gone ({store.writer})",
                f"The next collector goes on from it; if there will be none: {_removal(store.path)}",
            )
        elif store.writer == "stalled":
            yield Check(
                f"store {store.name}",
                "warn",
                f"its collector (process {store.pid}) has been silent for {store.silent_s:.0f} s",
                f"Look at its log; if it hangs, end it: kill {store.pid}",
            )


def _removal(path: str) -> str:
    """The command that removes a store: its files by name, for a `*` would take longer names' stores too."""
    return join(["rm", *map(str, status.files_of(Path(path)))])


def factor_checks(config: Config | None) -> Iterator[Check]:
    """Whether the engine process could compute the config's `factors`, by its own judgement: their names and
    parameters, the columns they read, and the bars they need. Modules of the user's own are imported."""
    if config is None or not config.factors:
        return
    from bmac_stream.client import Store
    from bmac_stream.collector import spec_of
    from bmac_stream.engine import FactorError, plan_factors

    spec = spec_of(config, config.source or "?")
    name, window = config.store_name, spec.window
    # all that is asked of a store there, of one that need not exist
    store = cast(Store, SimpleNamespace(
        name=name, window=window, columns=spec.columns, interval_ms=spec.interval_ms, origin_ms=spec.origin_ms
    ))  # fmt: skip
    problems = []
    for entry in config.factors:
        try:
            plan_factors(store, [entry])
        except FactorError as error:
            problems.append(str(error))
    if not problems:
        try:  # two of them may make the same column
            n = len(plan_factors(store, config.factors).names)
        except FactorError as error:
            problems.append(str(error))
        else:
            yield Check("factors", "ok", f"{n} columns; {window} bars are enough for each")
    for problem in problems:
        yield Check(
            "factors",
            "fail",
            problem,
            "The engine process would refuse to start: correct `factors`, or raise num_candles.",
        )


def _snapshots(config: Config | None) -> Iterator[Check]:
    if config is None or not config.snapshot.enabled:
        return
    directory = config.path(config.snapshot.directory)
    parent = directory
    while not parent.exists():
        parent = parent.parent
    try:
        with tempfile.NamedTemporaryFile(dir=parent):
            pass
    except OSError as error:
        yield Check(
            "snapshots",
            "fail",
            f"{directory}: {error.strerror}",
            "Name a folder that this user can write to in snapshot.directory.",
        )
        return
    free = shutil.disk_usage(parent).free
    need = 3 * BYTES_PER_BAR * config.num_candles * min(config.max_symbols, 700)
    if free < need:
        yield Check(
            "snapshots",
            "warn",
            f"{directory}: {_mib(free)} free, three files may take {_mib(need)}",
            "Free some space: without room no new snapshot is written, the last one stays.",
        )
    else:
        yield Check("snapshots", "ok", f"{directory}: {_mib(free)} free")


# ---- the whole


def main(cfg: str | None, *, json: bool = False, timeout_s: float = 20.0) -> int:
    """Check everything and print it; 1 if anything fails, else 0."""
    found: list[Check] = []
    config = None
    if cfg is not None:
        try:
            config, warnings = load_config(cfg)
        except ConfigError as error:
            found += [
                Check("config", "fail", problem, "Correct the config file.") for problem in error.problems
            ]
        else:
            found.append(Check("config", "ok", f"{cfg}: {config.trade_type} {config.interval}"))
            found += [Check("config", "warn", warning) for warning in warnings]
    found += machine_checks(config)
    if not any(check.name == "config" and check.level == "fail" for check in found):
        from bmac_stream.doctor_route import exchange_checks

        found += asyncio.run(exchange_checks(config, timeout_s))
    failed = [check for check in found if check.level == "fail"]
    if json:
        print(
            msgspec.json.format(msgspec.json.encode({"ok": not failed, "checks": found}), indent=2).decode()
        )
    else:
        _show(found, Console(width=None if sys.stdout.isatty() else 100))
    return 1 if failed else 0


_COLOUR: Final = {"ok": "green", "warn": "yellow", "fail": "red"}


def _show(found: list[Check], console: Console) -> None:
    table = Table(show_header=False, box=None, width=min(console.width, 100), padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", max_width=22)
    table.add_column(overflow="fold")
    for check in found:
        text = Text(check.found)
        if check.advice:
            text.append(f"\n{check.advice}", style=_COLOUR[check.level] if check.level != "ok" else "dim")
        table.add_row(Text(check.level, style=_COLOUR[check.level]), Text(check.name), text)
    console.print(table)
    counts = {level: sum(check.level == level for check in found) for level in ("fail", "warn")}
    if counts["fail"]:
        console.print(Text(f"{counts['fail']} failed: it would not work yet.", style="red"))
    elif counts["warn"]:
        console.print(Text(f"Fit, with {counts['warn']} warnings.", style="yellow"))
    else:
        console.print(Text("Everything is fit.", style="green"))


def _numbers(version: str) -> tuple[int, ...]:
    numbers = []
    for part in version.replace("-", ".").split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)


def _memory_available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _mib(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:,.0f} MiB"
