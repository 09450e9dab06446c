"""`python -m bmac_stream history import | verify | export`: the long history from the command line."""

import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from bmac_stream.errors import ConfigError, ImportRefused

__all__ = ["COMMANDS", "export", "import_", "verify"]

_SHOWN: Final = 200
"""Lines of faults that are printed; `--json` has all."""


def import_(
    *files: str,
    into: str,
    trade_type: str,
    interval: str,
    source: str = "binance",
    skip_bad: bool = False,
    json: bool = False,
) -> int:
    """Put files of data.binance.vision (zip or csv, or folders of them) into a long history: all, or none.

    into        folder of the histories (the config's history.directory)
    trade_type  usdt_perp, usdt_spot, coin_perp, ...
    interval    1m, 1h, ...
    source      what the bars are from; a data set of another source is left alone
    skip_bad    leave bad files out, whole, instead of refusing everything
    json        one JSON object instead of lines
    """
    from bmac_stream.archive_import import import_files

    data = _data_set(str(into), str(trade_type), str(interval), str(source))
    if not files:
        raise ConfigError(["history import: name files or folders to import"])
    show = _progress() if sys.stderr.isatty() else _quiet
    try:
        done = import_files(data, [str(one) for one in files], skip_bad=skip_bad, progress=show)
    except ImportRefused as error:
        if json:
            _print_json({"imported": False, "problems": error.problems})
        else:
            for problem in error.problems:
                print(problem, file=sys.stderr)
            print("nothing was imported", file=sys.stderr)
        return 1
    if json:
        _print_json({"imported": True, "data_set": str(data.folder), "import": done})
    else:
        for line in done.refused:
            print(f"left out: {line}", file=sys.stderr)
        if done.passed_over:
            some = ", ".join(done.passed_over[:3])
            print(f"{len(done.passed_over)} other files were passed over: {some}, ...", file=sys.stderr)
        print(
            f"{data.folder}: {done.n_files} files, {done.n_bars} bars: {done.n_added} are new,"
            f" {done.n_corrected} were corrected"
        )
    return int(bool(done.refused))


def verify(
    directory: str,
    cfg: str | None = None,
    sample: int = 2000,
    offline: bool = False,
    inner: bool = False,
    absent: bool = False,
    repair: bool = False,
    json: bool = False,
    seed: int | None = None,
) -> int:
    """Check a long history: files, gaps, and a sample of bars asked of the exchange. Exit status 1: faults.

    directory  folder of the histories, or {trade_type}/{interval} in it
    cfg        config (or its folder) of the collector: its exchange is asked; without: Binance, direct
    sample     bars to compare, about; 0: none
    offline    ask nobody
    inner      look for gaps only between a symbol's own first and last bar
    absent     ask again for bars that are noted as absent
    repair     put right what can be: damaged files aside, missing bars fetched, wrong ones corrected
    json       one JSON object with every fault
    seed       of the choice of the sample
    """
    import asyncio

    from bmac_stream import archive, archive_verify
    from bmac_stream.config import load_config

    config = None if cfg is None else load_config(str(cfg))[0]
    reports = [
        asyncio.run(
            archive_verify.verify(
                data,
                config=config,
                ask=not offline,
                sample=sample,
                inner=inner,
                absent=absent,
                repair=repair,
                seed=seed,
            )
        )
        for data in archive.find(str(directory))
        if config is None or (data.trade_type, data.interval) == (config.trade_type, config.interval)
    ]
    if not reports:
        raise ConfigError([f"{directory}: no history of the config's trade_type and interval there"])
    clean = all(one.clean for one in reports)
    if json:
        _print_json({"clean": clean, "data_sets": reports})
        return int(not clean)
    for one in reports:
        for fault in one.faults[:_SHOWN]:
            print(f"{'repaired' if fault.repaired else 'FAULT'} {fault.kind}: {fault.text}")
        if len(one.faults) > _SHOWN:
            print(f"... and {len(one.faults) - _SHOWN} more (--json has all)")
        for note in one.notes[:_SHOWN]:
            print(f"note: {note}")
        for hole in one.absent[:_SHOWN]:
            print(
                f"absent by the exchange's word: {hole.symbol}: {hole.n} bars, {_text(hole.first)} to"
                f" {_text(hole.end - (hole.end - hole.first) // hole.n)} UTC (open_time)"
            )
        if len(one.absent) > _SHOWN:
            print(f"... and {len(one.absent) - _SHOWN} more spans (--json has all)")
        mended = sum(fault.repaired for fault in one.faults)
        print(
            f"{one.data_set}: {one.n_files} files, {one.n_symbols} symbols, {one.n_bars} bars"
            f" from {_text(one.first)} to {_text(one.end)}, {one.n_absent} absent by the exchange's word,"
            f" {one.n_corrected} corrected, {one.n_compared} compared:"
            f" {len(one.faults) - mended} faults, {mended} repaired"
        )
    return int(not clean)


def export(
    directory: str,
    out: str,
    format: str = "csv",
    symbols: str | Sequence[str] | None = None,
    start: str | int | None = None,
    end: str | int | None = None,
) -> int:
    """Write a long history, or a part of it, as csv (data.binance.vision's columns) or parquet.

    directory  {trade_type}/{interval} of a history, or its root if there is one data set in it
    out        folder for the files
    format     csv: one file for each symbol and month; parquet: one file
    symbols    BTCUSDT,ETHUSDT: these only
    start      first open_time, end: not this one or later; ISO 8601 (UTC) or ms
    """
    from bmac_stream import archive, archive_export

    found = archive.find(str(directory))
    if len(found) > 1:
        names = ", ".join(f"{one.trade_type}/{one.interval}" for one in found)
        raise ConfigError([f"{directory}: several histories ({names}): name one"])
    if format not in archive_export.FORMATS:
        raise ConfigError([f"--format: {format!r}, expected {' or '.join(archive_export.FORMATS)}"])
    wanted = symbols.split(",") if isinstance(symbols, str) else symbols
    files, n_bars = archive_export.export(
        found[0],
        str(out),
        format=format,
        symbols=None if wanted is None else [str(one) for one in wanted],
        start_ms=_ms("--start", start),
        end_ms=_ms("--end", end),
    )
    print(f"{n_bars} bars in {len(files)} files in {out}")
    return 0


COMMANDS: Final[dict[str, Callable[..., int]]] = {"import": import_, "verify": verify, "export": export}


def _data_set(into: str, trade_type: str, interval: str, source: str) -> Any:
    from bmac_stream.archive import DataSet
    from bmac_stream.bar import INTERVALS_MS
    from bmac_stream.binance.markets import TRADE_TYPES

    problems = []
    if trade_type not in TRADE_TYPES:
        problems.append(f"--trade_type: {trade_type!r} is none of {', '.join(TRADE_TYPES)}")
    if interval not in INTERVALS_MS:
        problems.append(f"--interval: {interval!r} is none of {', '.join(INTERVALS_MS)}")
    if problems:
        raise ConfigError(problems)
    return DataSet(into, trade_type, interval, source)


def _ms(name: str, text: str | int | None) -> int | None:
    if text is None or isinstance(text, int):
        return text
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        raise ConfigError([f"{name}: {text!r} is no time, expected 2026-02-17 or ms"]) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _text(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1e3, UTC):%Y-%m-%d %H:%M}"


def _print_json(what: object) -> None:
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(what), indent=2).decode())


def _quiet(done: int, of: int) -> None:
    pass


def _progress() -> Callable[[int, int], None]:
    def show(done: int, of: int) -> None:
        if done % 20 == 0 or done == of:
            print(f"\r{done} of {of} files read", end="\n" if done == of else "", file=sys.stderr, flush=True)

    return show
