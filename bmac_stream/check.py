"""`python -m bmac_stream check DIR`: an existing BMAC directory or config: what of it will work.

In plain words, and it reads only: nothing is asked of the exchange, no file is written or touched. It
looks at config.json key by key, at the run directory file by file, at who writes there now, at the memory and
time that a start will take, at the engine's `factors`, and (in a process of its own) at every pandas factor
module.
"""

import json as json_module
import math
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bmac_stream.check_files import directory_checks, symbols_found
from bmac_stream.config import BMAC_KEYS, Config, load_config
from bmac_stream.doctor import Check, factor_checks
from bmac_stream.errors import ConfigError
from bmac_stream.room import advice, described, rooms

__all__ = ["checks", "main"]

TYPICAL: Final = {"spot": 450, "usdm": 550, "coinm": 30}
"""Symbols of a market's largest trade_type, where neither files nor keep_symbols say how many there are."""
BMAC_WRONG: Final = ("6h", "12h")
"""Intervals whose bars BMAC v2 waited for at the wrong time: its grid begins at midnight in Hong Kong."""
OTHER_KEYS: Final = {
    "http_timeout_sec": "{} s for one REST request, retries apart",
    "candle_close_timeout_sec": "complete {} s after a close at the latest; usually much sooner",
    "num_rest_fetchers": "{} REST requests at the same time",
    "num_socket_listeners": "the symbols are spread over {} connections, evenly",
}
"""BMAC's keys that need no more than a sentence."""
BMAC_NEVER: Final = ("1s", "1d", "3d", "1w")
"""Intervals with which BMAC v2 failed at its first period."""


def checks(path: Path, factors: Path | None = None) -> list[Check]:
    """What is to be said of a BMAC directory (or config file) and a folder of factor modules."""
    found: list[Check] = []
    has_config = path.is_file() or (path / "config.json").exists()
    if factors is None:
        factors = next((folder for name in ("factor", "factors") if (folder := path / name).is_dir()), None)
    if has_config or factors is None:
        try:
            config, warnings = load_config(path)
        except ConfigError as error:
            found += [
                Check("config", "fail", problem, "Correct it in the file.") for problem in error.problems
            ]
            found += _raw_notes(path)
        else:
            found += _config(config, warnings, _raw(path))
            for part in (_memory, _start, factor_checks, directory_checks):
                try:
                    found += part(config)
                except Exception as error:  # a check that breaks is a finding, not the end of the others
                    found.append(Check(part.__name__.strip("_"), "warn", f"{type(error).__name__}: {error}"))
    if factors is not None:
        from bmac_stream import check_factors

        found += check_factors.look(factors)
    return found


def main(directory: str, factors: str | None = None, *, json: bool = False) -> int:
    """Look, and print it; 1 if something will not work as it is, else 0."""
    found = checks(Path(directory).expanduser(), None if factors is None else Path(factors).expanduser())
    failed = any(check.level == "fail" for check in found)
    if json:
        text = msgspec.json.encode({"ok": not failed, "checks": found})
        print(msgspec.json.format(text, indent=2).decode())
    else:
        _show(found, Console(width=None if sys.stdout.isatty() else 100))
    return int(failed)


# ---- the config


def _raw(path: Path) -> dict[str, Any]:
    file = path / "config.json" if path.is_dir() else path
    try:
        raw = json_module.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return raw if isinstance(raw, dict) else {}


def _raw_notes(path: Path) -> list[Check]:
    """What can be said of a config that cannot be used: why BMAC may have taken it."""
    if _raw(path).get("interval") == "24h":
        return [Check("interval", "warn", "24h", "BMAC accepted it and failed at its first period: say 1d.")]
    return []


def _config(config: Config, warnings: list[str], raw: dict[str, Any]) -> Iterator[Check]:
    known = [key for key in BMAC_KEYS if key in raw]
    yield Check("config", "ok", f"{config.config_file}: {len(known)} of BMAC's keys, all with their meaning")
    for warning in warnings:
        yield Check("config", "warn", warning)
    folder = f"{config.trade_type}_{config.interval}"
    yield Check(
        "trade_type", "ok",
        f"{config.trade_type}: {config.market.name} market; files in {folder}/, store {config.store_name!r}",
        "As BMAC: leveraged tokens stay in, its stablecoin pairs and TRADIFI contracts stay out; the key"
        " `symbols` changes that.",
    )  # fmt: skip
    yield _interval(config)
    yield Check("num_candles", "ok", f"{config.num_candles} bars of each symbol, in files and in the store")
    if config.save_type == "feather":
        yield Check(
            "save_type", "ok", "feather: as with BMAC, the file does not hold the end of the bar (no index)",
            "Readers that want the index: parquet.",
        )  # fmt: skip
    if config.funding_rate:
        yield Check(
            "funding_rate", "ok",
            f"funding.pqt at every bar as with BMAC; settled rates in the store {config.store_name}.funding",
        )  # fmt: skip
    if config.keep_symbols:
        yield Check(
            "keep_symbols", "ok", f"{len(config.keep_symbols)} symbols; unknown ones are named at the start"
        )
    for key, meaning in OTHER_KEYS.items():
        if key in raw:
            yield Check(key, "ok", meaning.format(f"{getattr(config, key):g}"))
    yield from _alerts(config, raw)
    yield Check(
        "time zone", "ok", f"ready files are named in {config.ready_timezone}; data is in UTC, as BMAC's",
    )  # fmt: skip


def _interval(config: Config) -> Check:
    if config.interval in BMAC_WRONG:
        return Check(
            "interval", "warn", f"{config.interval}: BMAC waited for these bars at Hong Kong's hours",
            "Here they close with the exchange's, at 00:00 UTC and so on: a strategy's own next_run_time must"
            " do the same; bmac_stream.bmac_kit's does.",
        )  # fmt: skip
    if config.interval in BMAC_NEVER:
        return Check(
            "interval", "ok", f"{config.interval}: BMAC failed with it at its first period; works here"
        )
    if config.resample:
        names = ", ".join(config.resampled_name(target) for target in config.resample)
        return Check("interval", "ok", f"{config.interval}, and made of it: {names}")
    return Check("interval", "ok", f"{config.interval}: the same bars at the same times as BMAC's")


def _alerts(config: Config, raw: dict[str, Any]) -> Iterator[Check]:
    for key in ("dingding", "msg_sender"):
        given = raw.get(key)
        if not isinstance(given, dict) or not given:
            continue
        others = [name for name in given if name not in ("error", "type")]
        if "error" not in given:
            yield Check(
                key, "warn", "has no channel `error`: nothing is sent", 'Put it under "error": {...}.'
            )
        else:
            yield Check(
                key, "ok", "alerts are sent to its channel `error`",
                "BMAC's last version read `dingding` and never used it, and sent nothing for `msg_sender`"
                " either: be ready for messages.",
            )  # fmt: skip
        if others:
            yield Check(
                key, "warn", f"channels that BMAC never used: {', '.join(others)}", "They are not used here."
            )


# ---- what a start takes


def _memory(config: Config) -> Iterator[Check]:
    directory = Path(config.store.directory)
    parts = rooms(config)
    if not directory.is_dir():
        yield Check(
            "memory", "fail", f"{directory} is not there", "Mount a tmpfs there, or name another place."
        )
        return
    free = shutil.disk_usage(directory).free
    text = f"{described(parts)}, in {directory}, which has {_mib(free)} free"
    if free + sum(part.there for part in parts) < sum(part.nbytes for part in parts):
        yield Check("memory", "fail", text, advice(parts))
    else:
        yield Check("memory", "ok", text)


def _start(config: Config) -> Iterator[Check]:
    """Weight and time of the history of a first start."""
    from bmac_stream.fetcher import HISTORY_SHARE

    market = config.market
    found = symbols_found(config)
    n = len(config.keep_symbols) if config.keep_symbols else found
    about = "" if n else "about "
    n = n or TYPICAL[market.name]
    rows = market.page_rows(config.interval)
    pages = math.ceil((config.num_candles + 1) / rows)
    weight = n * pages * market.kline_weight(rows)
    per_minute = market.weight_limit * config.weight_share * HISTORY_SHARE
    minutes = weight / per_minute
    text = (
        f"{about}{n} symbols x {pages} pages: weight {weight} of {market.weight_limit} a minute,"
        f" {'less than a minute' if minutes < 1 else f'about {minutes:.1f} minutes'}"
    )
    advice = (
        "Once: later starts go on from the store or its snapshot. BMAC read everything anew at every start."
    )
    if config.interval == "1m" and n * config.num_candles > 300_000:
        advice += " By its code, its 1m start of so many symbols would never end; here bars do not wait."
    yield Check("first start", "ok", text, advice)


def _mib(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:,.0f} MiB"


# ---- for people

_COLOUR: Final = {"ok": "green", "warn": "yellow", "fail": "red"}


def _show(found: list[Check], console: Console) -> None:
    table = Table(show_header=False, box=None, width=min(console.width, 100), padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", max_width=22)
    table.add_column(overflow="fold")
    for check in found:
        text = Text(check.found)
        if check.advice:
            text.append(f"\n{check.advice}", style="dim" if check.level == "ok" else _COLOUR[check.level])
        table.add_row(Text(check.level, style=_COLOUR[check.level]), Text(check.name), text)
    console.print(table)
    n = {level: sum(check.level == level for check in found) for level in ("fail", "warn")}
    if n["fail"]:
        console.print(Text(f"Will not work as it is: {n['fail']} things to mend.", style="red"))
    elif n["warn"]:
        console.print(Text(f"Will work. To know before: {n['warn']}.", style="yellow"))
    else:
        console.print(Text("Will work as it is.", style="green"))
