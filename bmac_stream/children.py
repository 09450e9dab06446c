"""The collector's children: processes of their own that read its store, each kept alive until the end.

What a child does never holds up a bar: it is an ordinary reader. When the collector ends, its children see
that the store is closed, write what they still have, and end with status 0.
"""

import asyncio
import logging
import sys
import time
from collections.abc import Callable
from typing import Final

from .alerts.events import alert
from .child import Child
from .config import Config

__all__ = ["Children", "commands"]

log = logging.getLogger("bmac_stream.collector")

STABLE_S: Final = 60.0
"""A child that lived for so long is started again soon, whatever happened before."""
MAX_PAUSE_S: Final = 60.0


def commands(config: Config) -> dict[str, list[str]]:
    """Name and command line of every child that `config` asks for."""
    found: dict[str, list[str]] = {}
    if config.snapshot.enabled:
        # Read here: it brings all that readers need, which this process does not before its children start.
        from . import recorder

        found["recorder"] = recorder.command(
            config.store_name,
            config.path(config.snapshot.directory),
            directory=config.store.directory,
            every_bars=config.snapshot.every_bars,
            min_interval_s=config.snapshot.min_interval_sec,
        )
    for name, module, wanted in (
        ("bmac files", "bmac_stream.bmac_files", config.bmac_files_wanted),
        ("history", "bmac_stream.history_recorder", config.history.enabled),
        ("resample", "bmac_stream.resample", bool(config.resample)),
    ):
        if wanted:
            found[name] = [sys.executable, "-m", module, config.config_file]
    return found


class Children:
    """All children of one collector.

    commands  name and command line of each
    on_line   told of every line a child says: (its name, the line)
    on_end    told when one ended that should not have: (its name, its exit status)
    """

    def __init__(
        self,
        commands: dict[str, list[str]],
        on_line: Callable[[str, str], None] = lambda name, line: None,
        on_end: Callable[[str, int], None] = lambda name, status: None,
    ) -> None:
        self.all = {name: Child(name, command) for name, command in commands.items()}
        self._on_line, self._on_end = on_line, on_end

    async def keep(self, name: str) -> None:
        """Start the child `name`, log what it says, start it again, ever later, when it ends."""
        child, pause_s = self.all[name], 1.0
        while True:
            started = time.monotonic()
            try:
                await child.start()
                while (line := await child.line()) is not None:
                    self._on_line(name, line)
                    tell = log.error if line.startswith("error: ") else log.info
                    tell("%s: %s", name, line[:500])
                status = await child.wait()
                log.error("%s: ended with status %d: started again", name, status, extra=alert("child"))
                self._on_end(name, status)
            except OSError as error:
                log.error("%s: cannot be started: %s", name, error, extra=alert("child"))
            pause_s = 1.0 if time.monotonic() - started > STABLE_S else min(2 * pause_s, MAX_PAUSE_S)
            await asyncio.sleep(pause_s)

    async def end(self, timeout_s: float) -> None:
        """Wait until all have seen that the store is closed; after `timeout_s` they are killed."""
        alive = {name: child for name, child in self.all.items() if child.alive}
        for name, status in zip(
            alive, await asyncio.gather(*(child.end(timeout_s) for child in alive.values())), strict=True
        ):
            if status != 0:
                log.error("%s: ended with status %s, perhaps without writing its last", name, status)

    def kill(self) -> None:
        """SIGKILL to all, at once."""
        for child in self.all.values():
            child.kill()
