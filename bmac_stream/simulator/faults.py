"""Faults on demand: what can go wrong, when it applies, and how it disfigures an answer or a frame.

`FaultBoard` holds the armed faults. REST and streams ask it at the points where a fault can bite; it counts
each use and disarms a fault whose `count` or `duration_s` is over. Faults that act at once (a dropped
socket, a restart, a ban, a listing) are in `AT_ONCE` and carried out by the server.

A name that does not resolve is a fault of the client's side: point the client at a host under `.invalid`
(RFC 2606), e.g. http://exchange.invalid, which no resolver knows.
"""

import json
import random
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

__all__ = ["ARMED", "AT_ONCE", "KINDS", "MALFORMED", "Fault", "FaultBoard", "Frame", "malform"]

AT_ONCE: Final = {
    "drop": "close matching sockets: `code` (1000, 1001, ...) or `abort` (RST); at most `count` of them",
    "shutdown": "serverShutdown event on spot sockets, closed `seconds` of exchange time later",
    "restart": "close every listener and socket, refuse connections for `seconds` of wall time",
    "ban": "418 for `client` (none: every address) for `seconds` of exchange time",
    "listing": "list `symbols` `seconds` of exchange time from now",
    "delisting": "end trading of `symbols` `seconds` of exchange time from now",
}
ARMED: Final = {
    "stall": "matching sockets send nothing; with `pongs` false they do not read either (half-open)",
    "silent_new": "sockets opened from now on are accepted and acknowledged, but carry no event",
    "refuse_ws": "handshakes are answered with HTTP `status`",
    "silent_symbols": "no event of `symbols` is sent",
    "duplicate": "a frame is sent twice",
    "out_of_order": "the frame before is sent again, after its successor",
    "malformed": "a frame is replaced by a broken one (`variants` of MALFORMED in turn; none: all)",
    "late": "a frame is sent `seconds` of exchange time later",
    "missing_close": "a closing frame is not sent",
    "http_error": "HTTP `status` with an error's `code` and `msg`; 429 and 418 with Retry-After `seconds`",
    "html": "an HTML page with HTTP `status` (403: the firewall's)",
    "error_json": "HTTP 200 with an error object",
    "truncated": "the body is cut in half, Content-Length promises all of it",
    "slow": "the body dribbles over `seconds` of wall time",
    "reset": "the connection is reset instead of an answer",
    "short_page": "klines lose their newest rows: `rows` are left",
    "empty_page": "klines are []",
    "time_offset": "/time is `offset_ms` off (other endpoints tell the true time)",
}
KINDS: Final = {**AT_ONCE, **ARMED}
"""Every kind with what it does: the list that tests and the admin endpoint go by."""

_FRAME_KINDS: Final = frozenset(
    {"silent_symbols", "duplicate", "out_of_order", "malformed", "late", "missing_close"}
)
_REST_KINDS: Final = frozenset(
    {"http_error", "html", "error_json", "truncated", "slow", "reset", "short_page", "empty_page"}
)


class Fault(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One fault, as posted to /admin/fault. Fields that are None match everything.

    market, symbols, interval   which streams or klines (symbols upper-case)
    path                        REST and WebSocket paths that contain this text
    client                      client address
    closing                     frames: True only closing ones, False only forming ones
    probability                 chance that it bites when it could, drawn from the board's seeded generator
    count                       disarmed after so many bites
    duration_s                  disarmed after so many wall seconds
    The rest are parameters of single kinds, see KINDS.
    """

    kind: str
    market: str | None = None
    symbols: list[str] | None = None
    interval: str | None = None
    path: str | None = None
    client: str | None = None
    closing: bool | None = None
    probability: float = 1.0
    count: int | None = None
    duration_s: float | None = None
    code: int | None = None
    msg: str | None = None
    abort: bool = False
    status: int = 503
    seconds: float = 0.0
    pongs: bool = True
    variants: list[str] | None = None
    rows: int = 0
    offset_ms: int = 0
    id: int = 0
    hits: int = 0
    active: bool = True
    ends: float | None = None
    """time.monotonic() at which it is over (set by the board)."""

    def check(self) -> None:
        """ValueError unless the kind and the variants are known and the numbers make sense."""
        if self.kind not in KINDS:
            raise ValueError(f"unknown fault {self.kind!r}; known are {', '.join(KINDS)}")
        unknown = [v for v in self.variants or () if v not in MALFORMED]
        if unknown:
            raise ValueError(f"unknown variants {unknown}; known are {', '.join(MALFORMED)}")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability must be in [0, 1], found {self.probability}")
        if self.kind in {"listing", "delisting", "silent_symbols"} and not self.symbols:
            raise ValueError(f"{self.kind} needs symbols")


class Frame(msgspec.Struct, frozen=True):
    """One event on its way to a stream: the JSON text, and whether it closes a bar."""

    payload: bytes
    closing: bool


class FaultBoard:
    """The armed faults and the record of past ones (the last 1000)."""

    def __init__(self, seed: int = 0) -> None:
        self.faults: list[Fault] = []
        self.touches_frames = False
        """False: no armed fault concerns frames, so the streams need not ask."""
        self._random = random.Random(seed)
        self._next_id = 1
        self._before: dict[str, Frame] = {}

    def add(self, fault: Fault) -> Fault:
        """Arm a fault (or, for one of AT_ONCE, record it). ValueError if it makes no sense."""
        fault.check()
        fault.id, self._next_id = self._next_id, self._next_id + 1
        fault.hits = 0
        fault.ends = None if fault.duration_s is None else time.monotonic() + fault.duration_s
        fault.active = fault.kind in ARMED
        self.faults.append(fault)
        del self.faults[:-1000]
        self._refresh()
        return fault

    def clear(self, fault_id: int | None = None) -> int:
        """Disarm one fault, or all; returns how many were armed."""
        n = 0
        for fault in self.faults:
            if fault.active and fault_id in (None, fault.id):
                fault.active = False
                n += 1
        self._refresh()
        return n

    def armed(self, *kinds: str) -> Iterator[Fault]:
        """Armed faults of these kinds; those whose time is over are disarmed on the way."""
        now = time.monotonic()
        for fault in self.faults:
            if fault.active and fault.kind in kinds:
                if fault.ends is not None and now >= fault.ends:
                    fault.active = False
                    continue
                yield fault

    def bites(self, fault: Fault) -> bool:
        """Draw by the fault's probability; counts the bite and disarms the fault at its last one."""
        if not fault.active or (fault.probability < 1 and self._random.random() >= fault.probability):
            return False
        self.hit(fault)
        return True

    @staticmethod
    def hit(fault: Fault) -> None:
        """Count one bite."""
        fault.hits += 1
        if fault.count is not None and fault.hits >= fault.count:
            fault.active = False

    def rest(
        self, market: str, path: str, client: str, symbol: str | None = None, interval: str | None = None
    ) -> Fault | None:
        """The fault that disfigures this request's answer, if any: the first armed one that bites.

        symbol, interval  as the request asks for them; a fault of some symbols leaves other requests alone
        """
        for fault in self.armed(*_REST_KINDS):
            if (
                _matches(fault, market, path, client)
                and (fault.symbols is None or symbol in fault.symbols)
                and fault.interval in (None, interval)
                and self.bites(fault)
            ):
                return fault
        return None

    def handshake(self, market: str, path: str, client: str) -> Fault | None:
        """A fault that meets a new socket: refuse_ws or silent_new."""
        for fault in self.armed("refuse_ws", "silent_new"):
            if _matches(fault, market, path, client) and self.bites(fault):
                return fault
        return None

    def time_offset_ms(self, market: str) -> int:
        """How far /time of `market` is off, ms."""
        return sum(f.offset_ms for f in self.armed("time_offset") if f.market in (None, market))

    def frames(
        self, market: str, symbol: str, interval: str, key: str, frame: Frame
    ) -> tuple[list[Frame], list[tuple[float, Frame]]]:
        """What becomes of one frame of stream `key`: those to send now, and those to send later, each with
        its delay in ms of exchange time."""
        now = [frame]
        later: list[tuple[float, Frame]] = []
        before = self._before.get(key)
        self._before[key] = frame
        for fault in self.armed(*_FRAME_KINDS):
            if (
                fault.market not in (None, market)
                or (fault.symbols is not None and symbol not in fault.symbols)
                or fault.interval not in (None, interval)
                or fault.closing not in (None, frame.closing)
                or (fault.kind == "missing_close" and not frame.closing)
                or (fault.kind == "out_of_order" and before is None)
                or not now
                or not self.bites(fault)
            ):
                continue
            match fault.kind:
                case "silent_symbols" | "missing_close":
                    now = []
                case "duplicate":
                    now = [f for f in now for _ in range(2)]
                case "out_of_order":
                    assert before is not None
                    now = [*now, before]
                case "late":
                    later, now = [*later, *((fault.seconds * 1000, f) for f in now)], []
                case "malformed":
                    names = fault.variants or list(MALFORMED)
                    name = names[(fault.hits - 1) % len(names)]
                    now = [Frame(malform(f.payload, name), f.closing) for f in now]
        if not self.touches_frames or not any(True for _ in self.armed(*_FRAME_KINDS)):
            self._refresh()
        return now, later

    def _refresh(self) -> None:
        self.touches_frames = any(f.active and f.kind in _FRAME_KINDS for f in self.faults)
        if not self.touches_frames:
            self._before.clear()


def _matches(fault: Fault, market: str, path: str, client: str) -> bool:
    return (
        fault.market in (None, market)
        and (fault.path is None or fault.path in path)
        and fault.client in (None, client)
    )


def _edit(change: Callable[[dict[str, Any], dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    """A mutation of a decoded kline event: `change` gets the event and its `k`."""

    def mutate(payload: bytes) -> bytes:
        event = json.loads(payload)
        change(event, event.setdefault("k", {}))
        return json.dumps(event, separators=(",", ":")).encode()

    return mutate


MALFORMED: Final[dict[str, Callable[[bytes], bytes]]] = {
    "cut": lambda p: p[: len(p) // 2],
    "empty": lambda p: b"",
    "not_json": lambda p: b"<html><body>502 Bad Gateway</body></html>",
    "not_utf8": lambda p: p[:-2] + b"\xff\xfe" + p[-2:],
    "array": lambda p: b"[" + p + b"]",
    "null": lambda p: b"null",
    "number": lambda p: b"42",
    "deep": lambda p: b"[" * 50_000 + b"]" * 50_000,
    "huge": lambda p: p[:-1] + b',"z":"' + b"x" * 2_097_152 + b'"}',
    "trailing": lambda p: p + p,
    "nan": _edit(lambda e, k: k.update(c="NaN")),
    "infinite": _edit(lambda e, k: k.update(h="Infinity")),
    "overflow": _edit(lambda e, k: k.update(h="1e999")),
    "negative": _edit(lambda e, k: k.update(v="-1.0")),
    "price_zero": _edit(lambda e, k: k.update(o="0", c="0", h="0", l="0")),
    "text_price": _edit(lambda e, k: k.update(o="abc")),
    "null_price": _edit(lambda e, k: k.update(c=None)),
    "bare_price": _edit(lambda e, k: k.update(c=1.5)),
    "high_below_low": _edit(lambda e, k: k.update(h=k.get("l"), l=str(float(k.get("h", "1")) * 2))),
    "close_outside": _edit(lambda e, k: k.update(c=str(float(k.get("h", "1")) * 3))),
    "taker_above_total": _edit(lambda e, k: k.update(V=str(float(k.get("v", "1")) + 1e6))),
    "missing_k": _edit(lambda e, k: e.pop("k")),
    "missing_close": _edit(lambda e, k: k.pop("c", None)),
    "missing_x": _edit(lambda e, k: k.pop("x", None)),
    "x_text": _edit(lambda e, k: k.update(x="true")),
    "time_text": _edit(lambda e, k: k.update(t=str(k.get("t")))),
    "time_huge": _edit(lambda e, k: k.update(t=2**63)),
    "time_off_grid": _edit(lambda e, k: k.update(t=k.get("t", 0) + 1)),
    "close_time": _edit(lambda e, k: k.update(T=k.get("T", 0) + 1)),
    "future": _edit(lambda e, k: k.update(t=k.get("t", 0) + 86_400_000, T=k.get("T", 0) + 86_400_000)),
    "wrong_symbol": _edit(lambda e, k: (e.update(s="NOSUCHUSDT"), k.update(s="NOSUCHUSDT"))),
    "symbols_differ": _edit(lambda e, k: k.update(s="NOSUCHUSDT")),
    "wrong_interval": _edit(lambda e, k: k.update(i="7m")),
    "wrong_event": _edit(lambda e, k: e.update(e="klein")),
}
"""Ways to break a kline event: name -> payload to broken payload."""


def malform(payload: bytes, variant: str) -> bytes:
    """`payload`, broken in one of the ways of MALFORMED."""
    return MALFORMED[variant](payload)
