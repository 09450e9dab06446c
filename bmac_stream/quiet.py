"""Log lines that a storm cannot multiply: one a minute for each key, with the number of those left out."""

import logging
import time
import traceback
from typing import Final

__all__ = ["EVERY_S", "MAX_KEYS", "Quiet"]

EVERY_S: Final = 60.0
MAX_KEYS: Final = 100
"""Keys beyond this share one line a minute: keys may be made of what comes from outside."""


class Quiet:
    """Wraps a logger: for each key the first line at once, then at most one every EVERY_S (wall time)."""

    def __init__(self, log: logging.Logger, every_s: float = EVERY_S) -> None:
        self._log = log
        self._every_s = every_s
        self._said: dict[str, tuple[float, int]] = {}  # key -> (when last said, left out since)

    def warning(self, key: str, text: str, *args: object) -> None:
        """Log a warning, unless this key had one less than a minute ago."""
        self._say(logging.WARNING, key, text, args)

    def error(self, key: str, text: str, *args: object) -> None:
        """Log an error, unless this key had one less than a minute ago."""
        self._say(logging.ERROR, key, text, args)

    def exception(self, key: str, text: str, *args: object) -> None:
        """Log an error with the traceback of the exception being handled."""
        self._say(logging.ERROR, key, text + "\n%s", (*args, traceback.format_exc(limit=-8)))

    def _say(self, level: int, key: str, text: str, args: tuple[object, ...]) -> None:
        if key not in self._said and len(self._said) >= MAX_KEYS:
            key = "..."
        now = time.monotonic()
        said, left_out = self._said.get(key, (-self._every_s, 0))
        if now - said < self._every_s:
            self._said[key] = (said, left_out + 1)
            return
        self._said[key] = (now, 0)
        if left_out:
            self._log.log(level, text + " (and %d more like it)", *args, left_out)
        else:
            self._log.log(level, text, *args)
