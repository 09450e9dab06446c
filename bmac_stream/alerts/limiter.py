"""How often people are told: one message in a while for each kind and over all; what waits is counted.

Nothing is dropped in silence: alerts that come too soon wait for the next message of their kind, the first
few with their words and the others as a number. So the memory this takes has a bound: kinds times MAX_LINES.
"""

import math
from collections import deque
from typing import Final, NamedTuple

from bmac_stream.alerts.events import KINDS, Alert

__all__ = ["GATHER_S", "MAX_LINES", "PER_KIND_S", "PER_MINUTE", "Limiter", "Line", "Note"]

PER_KIND_S: Final = 60.0
"""Between two messages about one kind."""
PER_MINUTE: Final = 6
"""Messages of all kinds. DingTalk and WeCom stop a robot after 20 in a minute, DingTalk for ten minutes."""
GATHER_S: Final = 0.5
"""A message waits so long for what comes with its first alert."""
MAX_LINES: Final = 5
"""Different texts of a kind that one message carries."""


class Line(NamedTuple):
    """One alert of a message, told `times` times since `at` (seconds since 1970)."""

    kind: str
    text: str
    at: float
    times: int = 1


class Note(NamedTuple):
    """What one message says.

    lines       oldest first
    suppressed  how many more there were of each kind, whose words are lost
    """

    lines: tuple[Line, ...]
    suppressed: dict[str, int]

    def only(self, kinds: tuple[str, ...] | None) -> "Note | None":
        """The part of it that is of these kinds; None if there is none."""
        if kinds is None:
            return self
        lines = tuple(line for line in self.lines if line.kind in kinds)
        suppressed = {kind: n for kind, n in self.suppressed.items() if kind in kinds}
        return Note(lines, suppressed) if lines else None


class _Pending:
    """Alerts of one kind that wait."""

    __slots__ = ("lines", "since", "suppressed")

    def __init__(self, since: float) -> None:
        self.since = since
        self.lines: dict[str, Line] = {}
        self.suppressed = 0


class Limiter:
    """Gathers alerts into notes. Pure: times are seconds of the caller's monotonic clock.

    per_kind_s  between two notes with the same kind
    per_minute  notes in any sixty seconds
    """

    def __init__(self, *, per_kind_s: float = PER_KIND_S, per_minute: int = PER_MINUTE) -> None:
        self._per_kind_s, self._per_minute = per_kind_s, per_minute
        self._pending: dict[str, _Pending] = {}
        self._told: dict[str, float] = {}
        self._notes: deque[float] = deque(maxlen=per_minute)

    def add(self, alert: Alert, now: float) -> None:
        """Take an alert. A kind that nobody knows counts as an error."""
        kind = alert.kind if alert.kind in KINDS else "error"
        pending = self._pending.setdefault(kind, _Pending(now))
        if (line := pending.lines.get(alert.text)) is not None:
            pending.lines[alert.text] = line._replace(times=line.times + 1)
        elif len(pending.lines) < MAX_LINES:
            pending.lines[alert.text] = Line(kind, alert.text, alert.at)
        else:
            pending.suppressed += 1

    def due_s(self, now: float) -> float:
        """Seconds until `take` has something; inf if nothing waits."""
        if not self._pending:
            return math.inf
        at = min(self._due(kind, pending) for kind, pending in self._pending.items())
        if len(self._notes) == self._per_minute:
            at = max(at, self._notes[0] + 60.0)
        return max(0.0, at - now)

    def take(self, now: float, *, last: bool = False) -> Note | None:
        """A note of everything that may be told now, None if nothing may; `last`: of all that waits."""
        if not last and self.due_s(now) > 0:
            return None
        kinds = [kind for kind, pending in self._pending.items() if last or self._due(kind, pending) <= now]
        if not kinds:
            return None
        taken = {kind: self._pending.pop(kind) for kind in kinds}
        self._told.update(dict.fromkeys(kinds, now))
        self._notes.append(now)
        lines = sorted(
            (line for pending in taken.values() for line in pending.lines.values()), key=lambda line: line.at
        )
        return Note(tuple(lines), {kind: one.suppressed for kind, one in taken.items() if one.suppressed})

    def _due(self, kind: str, pending: _Pending) -> float:
        return max(pending.since + GATHER_S, self._told.get(kind, -math.inf) + self._per_kind_s)
