"""`"exchange": "embedded"`: the simulator as a child process, on loopback, started again if it dies.

The collector talks to it as to any exchange. Its time goes on where the store ends, so that a replay which
was interrupted continues instead of beginning anew.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, NamedTuple

from .child import Child, with_us
from .config import Config
from .errors import BmacError

__all__ = ["EmbeddedExchange", "Ready"]

log = logging.getLogger("bmac_stream.embedded")

START_TIMEOUT_S: Final = 180.0  # it may have to compile its market first


class Ready(NamedTuple):
    """Where the embedded exchange listens, and what it is. start_ms: its time when it was started."""

    rest: str
    stream: str
    source: str
    start_ms: int


class EmbeddedExchange:
    """The simulator's process for one config.

    not_before_ms  exchange time that must have been reached: the end of what the store holds already
    """

    def __init__(self, config: Config, not_before_ms: int | None = None) -> None:
        self._config = config
        self._not_before_ms = not_before_ms
        self._child: Child | None = None
        self._port = 0

    async def start(self) -> Ready:
        """Start it and wait until it listens. BmacError if it does not."""
        start_ms = self._not_before_ms
        if (asked := _ms(self._config.embedded.start)) is not None:
            start_ms = max(asked, start_ms or asked)
        ready = await self._spawn(start_ms)
        self._port = int(ready.rest.rpartition(":")[2])
        return ready

    async def keep(self, now_ms: Callable[[], float]) -> None:
        """Start it again, at the same address and at the collector's exchange time, whenever it dies.
        Until cancelled."""
        pause_s = 0.5
        while True:
            assert self._child is not None
            while await self._child.line() is not None:
                pass
            status = await self._child.wait()
            log.error("the embedded exchange ended with status %d: started again", status)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, 30.0)
            try:
                await self._spawn(int(now_ms()))
            except BmacError as error:
                log.error("%s", error)

    async def stop(self, timeout_s: float = 3.0) -> None:
        """End it."""
        if self._child is not None:
            await self._child.stop(timeout_s)

    def kill(self) -> None:
        """End it without manners."""
        if self._child is not None:
            self._child.kill()

    @property
    def pid(self) -> int:
        """Its process id, 0 before it was started."""
        return 0 if self._child is None else self._child.pid

    def command(self, start_ms: int | None) -> list[str]:
        """Its command line."""
        config, options = self._config, self._config.embedded
        words = [
            "-m", "bmac_stream.simulator", f"--markets={config.market.name}", f"--rate={options.rate!r}",
            f"--seed={options.seed}", f"--n_symbols={options.n_symbols}", f"--port={self._port}",
        ]  # fmt: skip
        if config.market.name == "spot":
            words.append(f"--n_spot={options.n_symbols}")
        elif config.market.name == "coinm":
            words.append(f"--n_coinm={options.n_symbols}")
        if options.data is not None:
            words.append(f"--data={config.path(options.data)}")
        if start_ms is not None:
            words.append(f"--start={start_ms}")
        return with_us(*words)

    async def _spawn(self, start_ms: int | None) -> Ready:
        child = Child("the embedded exchange", self.command(start_ms))
        try:
            await child.start()
        except OSError as error:
            raise BmacError(f"the embedded exchange cannot be started: {error}") from None
        self._child = child
        line: str | None = None
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                line = await child.line()
            said = json.loads(line or "")
            urls = said["markets"][self._config.market.name]
            return Ready(urls["rest"], urls["stream"], said["source"], int(said["start_ms"]))
        except TimeoutError:
            await child.stop(1.0)
            raise BmacError(f"the embedded exchange did not start within {START_TIMEOUT_S:.0f} s") from None
        except (ValueError, KeyError, TypeError):
            status = await child.stop(1.0)
            said = "nothing" if line is None else ascii(line[:200])
            raise BmacError(f"the embedded exchange did not start: it said {said}, status {status}") from None


def _ms(text: str | int | None) -> int | None:
    """ms UTC of a number or an ISO 8601 text (checked by config.py)."""
    if text is None or isinstance(text, int):
        return text
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1e3)
