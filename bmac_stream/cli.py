"""`python -m bmac_stream COMMAND`: what can be called from the command line, and nothing else.

What runs for long are modules with command lines of their own, MODULES: `python -m bmac_stream collector CFG`
becomes `python -m bmac_stream.collector CFG`.
"""

import functools
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

import fire

from bmac_stream import archive_cli
from bmac_stream.errors import BmacError, ConfigError, ShmError

__all__ = ["COMMANDS", "Commands", "main"]

COMMANDS: Final = ("status", "doctor", "check", "run", "explain", "version", "history")
"""What may be called; other attributes of Commands are not offered."""


MODULES: Final = ("collector", "engine", "alerts", "recorder", "simulator")
"""Modules of this package that may be named like a command: the process goes on as that module's."""
_ALSO: Final = """
PROGRAMS
    They run until Ctrl-C, and are modules of their own; `bmac_stream collector CFG` works as well.

     python -m bmac_stream.collector CFG    keeps the market of a config in shared memory
     python -m bmac_stream.engine CFG       computes its `factors` for all
     python -m bmac_stream.alerts CFG       sends its alerts; the collector starts it
"""


class Commands:
    """bmac_stream: whole-market bars in shared memory."""

    def status(
        self,
        store: str | None = None,
        *,
        json: bool = False,
        directory: str = "/dev/shm",
        check: bool = False,
        owner: str | int | None = None,
    ) -> int:
        """What every store holds: source, collector, symbols, newest run_time, lag, corrections, ...

        store      this one only
        json       one JSON object with stable keys instead of the table
        directory  where the stores lie
        check      for health checks: exit status 1, with the reasons on stderr, unless there is a store and
                   every one shown is live and has a complete run_time that is recent (two bars and 10 s;
                   the time of an embedded exchange is its own) and does not lack every symbol
        owner      the user whose collector it is, if not yours: its store has a group that you belong to

        Exit status 1 too if `store` is not there or cannot be read.
        """
        import msgspec
        from rich.console import Console

        from bmac_stream import status

        one = None if store is None else status.look_at(str(store), directory, owner)
        found = status.look(directory, owner) if one is None else [one]
        if one is not None and one.error is not None and not json:
            print(one.error, file=sys.stderr)
        elif json:
            text = msgspec.json.encode({"directory": str(directory), "stores": found})
            print(msgspec.json.format(text, indent=2).decode())
        else:
            status.show(found, directory, Console(width=None if sys.stdout.isatty() else 100))
        if not check:
            return int(one is not None and one.error is not None)
        unfit = [f"{this.name}: {why}" for this in found if (why := status.unfit(this))]
        if one is None or one.error is None:
            for line in unfit:
                print(line, file=sys.stderr)
        return int(bool(unfit) or not found)

    def doctor(self, cfg: str | None = None, *, json: bool = False, timeout_s: float = 20.0) -> int:
        """Check this machine and the way to the exchange, and say what to do. Exit status 1 if one fails.

        cfg        a collector's config file, or the folder it lies in; without: all of Binance's markets
        json       one JSON object instead of the table
        timeout_s  the longest that any one check may take
        """
        from bmac_stream import doctor

        return doctor.main(None if cfg is None else str(cfg), json=json, timeout_s=timeout_s)

    def check(self, directory: str, *, factors: str | None = None, json: bool = False) -> int:
        """What of an existing BMAC directory or config will work. Exit status 1 if something will not.

        directory  BMAC's base directory, a config file, or a folder that holds `factor/*.py` only
        factors    folder of pandas factor modules; without: DIRECTORY/factor, if there is one
        json       one JSON object instead of the table
        """
        from bmac_stream import check

        return check.main(str(directory), None if factors is None else str(factors), json=json)

    def run(self, cfg: str, *, seconds: float = 0.0, keep: bool = False) -> int:
        """Start collector, engine and sample strategy for a config, and show them until Ctrl-C.

        cfg      config file
        seconds  end by itself after so many seconds; 0: not
        keep     leave the store in shared memory, and the snapshots, afterwards
        """
        from bmac_stream.run import run

        return run(str(cfg), seconds=seconds, keep=keep)

    def explain(self, *factors: Any, cfg: str | None = None, depth: int = 6) -> int:
        """Print what it takes to compute factors: a tree of calls, with state, warm-up and cost.

        factors  "name", "library:name", "name,parameter,..." or a library: qlib158:MA5 PctChg,100
        cfg      the `factors` of this config as well
        depth    how deep the tree is drawn; 0: the sums only
        """
        from bmac_stream import explain

        return explain.main(factors, cfg=None if cfg is None else str(cfg), depth=depth)

    history = archive_cli.COMMANDS

    def version(self) -> int:
        """Print the version."""
        import bmac_stream

        print(bmac_stream.__version__)
        return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 2 for a config that cannot be used, 1 for other errors."""
    asked: list[Callable[[], int]] = []

    def offered(method: Any) -> Any:
        if isinstance(method, dict):
            return {name: offered(one) for name, one in method.items()}

        @functools.wraps(method)
        def call(*args: Any, **kwargs: Any) -> None:
            # Only noted: fire finds a word too many after the call. And None, so that it neither prints a
            # result nor offers its attributes as further commands.
            asked.append(functools.partial(method, *args, **kwargs))

        return call

    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] in MODULES:
        os.execv(sys.executable, [sys.executable, "-m", f"bmac_stream.{words[0]}", *words[1:]])
    if not words or words[0] in ("--help", "-h"):
        print(_help())
        return 0
    named = [word for word in words if not word.startswith("-")]
    there: Sequence[str] = COMMANDS
    if named[:1] == ["history"] and len(named) > 1:
        named, there = named[1:], tuple(Commands.history)
    if (named and named[0] not in there) or any(word.startswith("__") for word in words):
        # fire would take these for attributes of whatever it has in hand
        also = f"; programs: {', '.join(MODULES)}" if there is COMMANDS else ""
        print(f"bmac_stream: no such command; there are {', '.join(there)}{also}", file=sys.stderr)
        return 2
    try:
        fire.Fire(
            {name: offered(getattr(Commands(), name)) for name in COMMANDS}, command=words, name="bmac_stream"
        )
        return asked[-1]() if asked else 0
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except (BmacError, ShmError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _help() -> str:
    """What there is, a line each."""
    lines = ["Whole-market bars in shared memory. `bmac_stream COMMAND --help` says more.", "", "COMMANDS"]
    for name in COMMANDS:
        one = getattr(Commands, name)
        text = "The long history: " + ", ".join(one) if isinstance(one, dict) else (one.__doc__ or "")
        lines.append(f"     {name:<9} {text.strip().splitlines()[0]}")
    return "\n".join(lines) + "\n" + _ALSO.rstrip()
