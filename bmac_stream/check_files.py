"""What lies in a BMAC run directory, file by file: whole or not, whose, how old; and the ready files."""

import fcntl
import os
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from bmac_stream.bmac_guard import LOCK_NAME, bmac_process, foreign_files
from bmac_stream.bmac_layout import EXTENSIONS, candle_folder, exginfo_folder, mark_of, parse_ready
from bmac_stream.bmac_layout import Mark as _Mark
from bmac_stream.config import Config
from bmac_stream.doctor import Check

__all__ = ["directory_checks", "symbols_found"]

NAMED: Final = 5
WRITING_S: Final = 10.0
"""A file that was last written so long ago is not being written: BMAC takes milliseconds for one."""
"""Files that are named of each kind of trouble."""
_TABLES: Final = ("exginfo", "funding")


def directory_checks(config: Config) -> Iterator[Check]:
    """What is to be said of the run directory beside a config."""
    base = Path(config.base_dir)
    yield from _writers(config, base)
    wanted = candle_folder(config.trade_type, config.interval)
    folder = base / wanted
    if not folder.is_dir():
        yield Check("candle files", "ok", f"{folder} is not there yet: it is made at the first start")
    else:
        yield from _folder(folder, config, tables=False)
    tables = base / exginfo_folder(config.interval)
    if tables.is_dir():
        yield from _folder(tables, config, tables=True)
    for other in sorted(path for path in base.iterdir() if path.is_dir() and path not in (folder, tables)):
        if any(other.glob("*.pqt")) or any(other.glob("*.fea")):
            yield Check(
                "other folders", "ok", f"{other.name} holds data files of another configuration: left alone"
            )


def symbols_found(config: Config) -> int | None:
    """How many symbols the exchange info or the candle files beside a config have; None: there are none."""
    base = Path(config.base_dir)
    table = base / exginfo_folder(config.interval) / f"exginfo.{EXTENSIONS[config.save_type]}"
    try:
        from bmac_stream.bmac_kit.candles import read_table

        return int(read_table(table).num_rows) or None
    except Exception:  # no such file, no pandas, a file that is broken: said elsewhere
        pass
    folder = base / candle_folder(config.trade_type, config.interval)
    try:
        n = sum(path.suffix[1:] in EXTENSIONS.values() for path in folder.iterdir())
    except OSError:
        return None
    return n or None


def _writers(config: Config, base: Path) -> Iterator[Check]:
    """Who writes here now."""
    pid = bmac_process(base)
    if pid is not None:
        yield Check(
            "running BMAC", "fail", f"process {pid} is a BMAC that writes {base}",
            f"Two writers would overwrite each other: end it first (kill {pid}), or give this project a copy"
            " of config.json in a folder of its own and compare.",
        )  # fmt: skip
        return
    folders = [
        base / candle_folder(config.trade_type, config.interval),
        base / exginfo_folder(config.interval),
    ]
    held = [folder for folder in folders if _is_locked(folder / LOCK_NAME)]
    if held:
        yield Check("writer", "ok", f"a collector of this project writes {held[0]} now")
        return
    since = time.time() - max(2.5 * config.interval_ms / 1e3, 60.0)
    fresh = foreign_files(folders, since)
    if fresh:
        age = time.time() - fresh[0][0]
        yield Check(
            "running BMAC", "warn", f"{fresh[0][1]} was written {age:.0f} s ago, and not by this project",
            "A BMAC in a container or on another machine? End it first: the collector would refuse to write.",
        )  # fmt: skip
    else:
        yield Check("running BMAC", "ok", f"nobody writes {base} now")


def _is_locked(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(fd)


class _File(NamedTuple):
    """A data file: its last run_time in ms, -1 if it holds no candles."""

    run_time_ms: int
    rows: int
    note: str


def _folder(folder: Path, config: Config, *, tables: bool) -> Iterator[Check]:
    """The data and ready files of one folder."""
    what = "exchange info files" if tables else "candle files"
    try:
        from bmac_stream.bmac_kit.candles import read_candles, read_table
        from bmac_stream.errors import CandleFileDamaged, CandleFileError
    except ImportError as error:
        yield Check(what, "warn", f"{folder} was not read: {error}", "Install the extra `frames` (pandas).")
        return
    ending = EXTENSIONS[config.save_type]
    data: dict[str, _File] = {}
    ready: dict[str, list[str]] = {}
    writers: Counter[str] = Counter()
    half: list[str] = []
    broken: list[str] = []
    foreign, strays, others = [], [], []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        stamped = parse_ready(path.name)
        if stamped is not None:
            ready.setdefault(stamped[0], []).append(stamped[1])
        elif path.suffix[1:] not in EXTENSIONS.values() or not path.is_file():  # a pipe would never end
            strays.append(path.name)
        elif path.suffix[1:] != ending:
            others.append(path.name)
        else:
            try:
                if tables or path.stem in _TABLES:
                    data[path.stem] = _File(-1, read_table(path).num_rows, "")
                else:
                    candles = read_candles(path, config.interval_ms)
                    data[path.stem] = _File(candles.run_time_ms, len(candles), "")
                writers["this project" if isinstance(mark_of(path), _Mark) else "BMAC"] += 1
            except CandleFileDamaged as error:
                (half if _age_s(path) < WRITING_S else broken).append(str(error))
            except CandleFileError as error:
                foreign.append(str(error))
    if data:
        rows = [one.rows for one in data.values()]
        text = f"{folder}: {len(data)} files as BMAC writes them, {min(rows)} to {max(rows)} rows"
        newest = max(one.run_time_ms for one in data.values())
        if newest > 0:
            text += f", up to {datetime.fromtimestamp(newest / 1e3, UTC):%Y-%m-%d %H:%M:%S} UTC"
        text += f"; written by {' and '.join(sorted(writers))}"
        advice = "" if "BMAC" not in writers else (
            "Strategies read them as they are. The collector writes anew: no history is taken from them."
        )  # fmt: skip
        yield Check(what, "ok", text, advice)
    elif not (half or broken or foreign):
        yield Check(what, "ok", f"{folder}: no data file")
    for level, texts, advice in (
        ("warn", half, "Written just now: half written by a BMAC at this moment, or cut. The file of a"
                       " collected symbol is replaced at its next bar."),
        ("warn", broken, "Cut, empty, or something else under such a name, and nobody is writing it. The file"
                         " of a collected symbol is replaced at its next bar, others are left alone: move"
                         " it away."),
        ("warn", foreign, "BMAC's readers would stumble over it. The file of a collected symbol is replaced,"
                          " others are left alone: move it away."),
    ):  # fmt: skip
        if texts:
            yield Check(what, level, _some(texts), advice)  # type: ignore[arg-type]
    if strays:
        yield Check(
            what,
            "ok",
            f"{folder}: not BMAC's: {_some(strays, ', ')}",
            "BMAC took such files for symbols; here they are left alone.",
        )
    if others:
        yield Check(
            what, "warn", f"{folder}: {len(others)} files of the other save_type ({_some(others, ', ')})",
            f"save_type is {config.save_type}: these are not written; who reads them sees old data.",
        )  # fmt: skip
    yield from _ready(folder, config, data, ready, what)


def _ready(
    folder: Path, config: Config, data: dict[str, _File], ready: dict[str, list[str]], what: str
) -> Iterator[Check]:
    zone = ZoneInfo(config.ready_timezone)
    lacking = [name for name in data if name not in ready]
    if lacking:
        yield Check(what, "warn", f"{folder}: no ready file of {_some(lacking, ', ')}",
                    "Readers take these symbols for not ready until the next bar.")  # fmt: skip
    alone = [name for name in ready if name not in data]
    if alone:
        yield Check(what, "warn", f"{folder}: ready files without a readable data file: {_some(alone, ', ')}",
                    "Readers would fail on them. They go with the symbol's next bar.")  # fmt: skip
    shifted: list[str] = []
    off: list[str] = []
    for name, stamps in ready.items():
        if name not in data or data[name].run_time_ms <= 0:
            continue
        end = data[name].run_time_ms / 1e3
        if f"{datetime.fromtimestamp(end, zone):%Y%m%d_%H%M%S}" in stamps:
            continue
        if not any((folder / f"{name}_{stamp}.ready").exists() for stamp in stamps):
            continue  # its next bar came while the files were read
        in_utc = f"{datetime.fromtimestamp(end, UTC):%Y%m%d_%H%M%S}" in stamps
        (shifted if in_utc else off).append(f"{name}_{max(stamps)}.ready")
    if shifted:
        yield Check(
            what, "warn", f"{folder}: named in UTC, not {config.ready_timezone}: {_some(shifted, ', ')}",
            "BMAC does that with a new symbol's first bar, and its readers never find it. Not so here.",
        )  # fmt: skip
    if off:
        yield Check(
            what, "warn", f"{folder}: another time than the data's newest bar: {_some(off, ', ')}",
            "Another zone (key ready_timezone), or a writer that was stopped between data and ready file.",
        )  # fmt: skip


def _age_s(path: Path) -> float:
    """How long ago it was written, seconds; 0 if it is gone."""
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


def _some(texts: list[str], joint: str = "\n") -> str:
    more = len(texts) - NAMED
    return joint.join(texts[:NAMED]) + (f"{joint}and {more} more" if more > 0 else "")
