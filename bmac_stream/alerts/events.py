"""What the collector says to the process that sends alerts: one JSON object for each message on a socket.

The collector says what happened; what is worth a message, and when, is decided at the other end.
"""

from typing import Final

import msgspec

__all__ = [
    "KINDS",
    "LEVELS",
    "MAX_NAMES",
    "MAX_TEXT",
    "Alert",
    "Bar",
    "Beat",
    "Bye",
    "Event",
    "Gone",
    "alert",
    "decode",
    "encode",
]

KINDS: Final = {
    "start": "info",  # the collector begins, and when it is live
    "stop": "info",  # it ends as it was told to
    "died": "error",  # it is gone without having said so
    "error": "error",  # whatever it logs as an error
    "stale": "error",  # symbols or the whole market not ready, catching up, no sign of life
    "recovery": "info",  # what was told as stale or banned is over
    "listing": "info",
    "delisting": "info",
    "ban": "error",  # 429 or 418
    "child": "error",  # one of its processes ended and was started again
    "clock": "error",  # the clock jumped
    "disk": "error",  # no room left
    "lost": "error",  # alerts that found no room on their way here
}
"""Every kind of message, and how serious it is."""

LEVELS: Final = ("info", "error")
MAX_TEXT: Final = 600
"""Letters of one alert's text; the rest is cut off."""
MAX_NAMES: Final = 100
"""Names of symbols that one event carries; of more only the number is told."""


class Alert(msgspec.Struct, frozen=True, tag="alert"):
    """Something to be told.

    kind  one of KINDS
    text  one line, without secrets
    at    when it happened, seconds since 1970 by this machine's clock
    """

    kind: str
    text: str
    at: float


class Bar(msgspec.Struct, frozen=True, tag="bar"):
    """A run_time was completed.

    run_time   ms UTC, exchange time
    active     symbols that are collected and readable
    n_pending  how many of them were not ready
    pending    their names, MAX_NAMES at most
    """

    run_time: int
    active: int
    n_pending: int
    pending: list[str]


class Beat(msgspec.Struct, frozen=True, tag="beat"):
    """The collector lives; said every second or so.

    phase      the store's phase: history, live, catching up, stopping
    complete   newest complete run_time, ms UTC; 0: none
    blocked_s  seconds for which the exchange forbids every request; 0: it does not
    banned     whether that is a ban (418), not a limit (429)
    dropped    events since the last beat that found no room on the way
    """

    phase: str
    complete: int = 0
    blocked_s: float = 0.0
    banned: bool = False
    dropped: int = 0


class Gone(msgspec.Struct, frozen=True, tag="gone"):
    """These symbols are no longer collected: nobody waits for them, and they do not come back."""

    symbols: list[str]


class Bye(msgspec.Struct, frozen=True, tag="bye"):
    """The collector ends in order. Without it the end of the socket means that it died."""


Event = Alert | Bar | Beat | Gone | Bye


def alert(kind: str) -> dict[str, str]:
    """For `extra=` of a log call: the record is to be told as an alert of this kind."""
    assert kind in KINDS, kind
    return {"alert": kind}


def encode(event: Event) -> bytes:
    """One message's bytes."""
    return msgspec.json.encode(event)


def decode(raw: bytes) -> Event:
    """One message; msgspec.DecodeError if it is none."""
    return msgspec.json.decode(raw, type=Event)  # type: ignore[no-any-return]
