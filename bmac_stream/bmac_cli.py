"""The console script `bmac`, spelt as BMAC's own command: `bmac start ~/udeli_1m`.

    bmac start BASE_DIR        (BMAC: python cli.py bmac start BASE_DIR)
    bmac start --base_dir=BASE_DIR

is `python -m bmac_stream.collector BASE_DIR`, with the same exit statuses. Everything else is a command of
`python -m bmac_stream`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

__all__ = ["COMMANDS", "main"]

COMMANDS: Final = ("start",)
_ELSEWHERE: Final = {
    "bhds": "BMAC's downloader is not part of this; see python -m bmac_stream history --help",
    "bmac": 'leave the first word out: "bmac start BASE_DIR"',
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command. Ends the process: the collector's exit status, 2 for what is no command."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] not in COMMANDS and not words[0].startswith("-"):
        from bmac_stream.cli import COMMANDS as others

        hint = f" ({_ELSEWHERE[words[0]]})" if words[0] in _ELSEWHERE else ""
        print(
            f"bmac: no such command {words[0][:40]!r}{hint}; there is: start BASE_DIR. "
            f"python -m bmac_stream has {', '.join(others)}",
            file=sys.stderr,
        )
        raise SystemExit(2)
    # argparse, not fire: a misspelt flag must not start a collector
    parser = argparse.ArgumentParser("bmac", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="start")
    start = commands.add_parser(
        "start",
        allow_abbrev=False,
        help="collect what BASE_DIR/config.json asks for, and write BMAC's files there",
    )
    start.add_argument("folder", nargs="?", metavar="BASE_DIR", help="the folder that holds config.json")
    start.add_argument("--base_dir", help="the same")
    start.add_argument("--seconds", type=float, default=0.0, help="end by itself after so many seconds")
    start.add_argument("--bars", type=int, default=0, help="end by itself after so many bars")
    start.add_argument("--strict", action="store_true", help="unknown keys in the config are errors")
    found = parser.parse_args(words)
    if (found.folder is None) == (found.base_dir is None):
        start.error("needs one BASE_DIR")
    from bmac_stream import collector

    # the shell leaves a ~ after --base_dir= as it is
    folder = Path(found.folder or found.base_dir).expanduser()
    collector.main(str(folder), seconds=found.seconds, bars=found.bars, strict=found.strict)


if __name__ == "__main__":
    main()
