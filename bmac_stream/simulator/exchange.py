"""What every listener of the embedded exchange shares: time, market, limits, faults and the record."""

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from bmac_stream.simulator.faults import FaultBoard
from bmac_stream.simulator.limits import ERAS, Era, RestLimits
from bmac_stream.simulator.market import MARKETS, Instrument, Market

__all__ = ["Exchange", "ExchangeTime", "Settings", "Stats"]


class ExchangeTime:
    """The exchange's clock: `start_ms` plus monotonic time since, times `rate`."""

    def __init__(self, start_ms: int, rate: float = 1.0) -> None:
        if not rate > 0:
            raise ValueError(f"rate must be above 0, found {rate}")
        self.rate = rate
        self._anchor_ms = float(start_ms)
        self._anchor_mono = time.monotonic()

    def now_ms(self) -> float:
        """Exchange time now, ms UTC."""
        return self._anchor_ms + (time.monotonic() - self._anchor_mono) * 1e3 * self.rate

    def wall_s(self, exchange_ms: float) -> float:
        """How many wall seconds `exchange_ms` of exchange time last."""
        return exchange_ms / 1e3 / self.rate

    def set_rate(self, rate: float) -> None:
        """Go on from now at another rate."""
        if not rate > 0:
            raise ValueError(f"rate must be above 0, found {rate}")
        self._anchor_ms, self._anchor_mono = self.now_ms(), time.monotonic()
        self.rate = rate


@dataclass(frozen=True, slots=True)
class Settings:
    """What the exchange is like. Times of sockets are wall seconds, all others exchange time.

    era                 see limits.ERAS
    coinm_route         where COIN-M streams speak: "plain" (/ws), "market" (/market/ws) or "both"
    max_streams         streams of one connection; one more and it is closed
    messages_per_s      incoming messages of one connection and second, spot and futures
    ping_every_s        wall seconds between server pings, spot and futures
    ping_deadline_s     wall seconds without the pong until the connection is closed, spot and futures
    life_ms             exchange time after which a connection is closed
    attempts            spot: connection attempts per 5 minutes and address
    close_timer_ms      when a bar is closed for want of a trade in the next
    tick_s              wall seconds between two rounds of pushes, at least
    soft_buffer         bytes unsent to a client from which it gets closing frames only
    hard_buffer         bytes unsent to a client at which it is disconnected
    """

    era: Era = "merged"
    coinm_route: str = "plain"
    max_streams: int = 1024
    messages_per_s: tuple[int, int] = (5, 10)
    ping_every_s: tuple[float, float] = (20.0, 180.0)
    ping_deadline_s: tuple[float, float] = (60.0, 600.0)
    life_ms: float = 24 * 3_600_000.0
    attempts: int = 300
    close_timer_ms: int = 2000
    tick_s: float = 0.02
    soft_buffer: int = 1 << 20
    hard_buffer: int = 16 << 20

    def __post_init__(self) -> None:
        if self.era not in ERAS:
            raise ValueError(f"era must be one of {', '.join(ERAS)}, found {self.era!r}")
        if self.coinm_route not in ("plain", "market", "both"):
            raise ValueError(f"coinm_route must be plain, market or both, found {self.coinm_route!r}")


@dataclass(slots=True)
class Stats:
    """What happened so far, for the judge."""

    requests: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    clients: Counter[str] = field(default_factory=Counter)
    faulty: Counter[str] = field(default_factory=Counter)
    closed: Counter[str] = field(default_factory=Counter)
    opened: int = 0
    refused: int = 0
    messages: int = 0
    most_messages_per_s: int = 0
    frames: int = 0
    closing_frames: int = 0
    skipped_frames: int = 0
    bytes_sent: int = 0
    longest_round_ms: float = 0.0


class Exchange:
    """One embedded exchange. Belongs to one event loop."""

    def __init__(
        self,
        market: Market,
        *,
        rate: float = 1.0,
        start_ms: int | None = None,
        settings: Settings | None = None,
        seed: int = 0,
    ) -> None:
        self.market = market
        self.settings = settings or Settings()
        self.start_ms = market.start_ms if start_ms is None else start_ms
        self.time = ExchangeTime(self.start_ms, rate)
        self.limits = RestLimits()
        self.faults = FaultBoard(seed)
        self.stats = Stats()

    def now_ms(self) -> int:
        """Exchange time now, whole ms; never past the end of the market's data."""
        now = int(self.time.now_ms())
        end = self.market.end_ms
        return now if end is None else min(now, end + 3_600_000)

    def universe(self, name: str) -> tuple[str, ...]:
        """The markets whose symbols are known at `name`: both futures once they are merged."""
        if name == "spot" or self.settings.era != "merged":
            return (name,)
        return ("usdm", "coinm") if name == "usdm" else ("coinm", "usdm")

    def find(self, name: str, symbol: str) -> Instrument | None:
        """The instrument that `symbol` means at market `name`, if it has been announced by now."""
        now = self.now_ms()
        for other in self.universe(name):
            instrument = self.market.find(other, symbol)
            if instrument is not None and instrument.status_at(now) is not None:
                return instrument
        return None

    def contract(self, name: str, pair: str, contract_type: str) -> Instrument | None:
        """The futures instrument of a pair and contract type that trades now."""
        now = self.now_ms()
        for other in self.universe(name):
            for instrument in self.market.instruments(other):
                if (
                    instrument.pair == pair
                    and instrument.contract_type_at(now) == contract_type
                    and instrument.trades_at(now)
                ):
                    return instrument
        return None

    def report(self) -> dict[str, Any]:
        """The record as JSON values (GET /admin/stats)."""
        stats = self.stats
        pools: dict[str, dict[str, Any]] = {}
        for (pool, client), account in self.limits.accounts.items():
            pools.setdefault(pool, {})[client] = {
                "max_per_window": account.max_used,
                "total": account.total,
                "refused": account.n_refused,
                "bans": account.bans,
                "banned_until_ms": account.banned_until_ms,
                "requests_during_ban": account.n_during_ban,
                "requests_during_limit": account.n_during_limit,
            }
        return {
            "exchange_ms": self.now_ms(),
            "rate": self.time.rate,
            "source": self.market.source,
            "requests": dict(stats.requests),
            "statuses": {str(k): v for k, v in stats.statuses.items()},
            "clients": dict(stats.clients),
            "faulty_answers": dict(stats.faulty),
            "pools": pools,
            "connections": {
                "opened": stats.opened,
                "refused": stats.refused,
                "closed": dict(stats.closed),
                "open": stats.opened - sum(stats.closed.values()),
            },
            "messages": stats.messages,
            "most_messages_per_s": stats.most_messages_per_s,
            "frames": stats.frames,
            "closing_frames": stats.closing_frames,
            "skipped_frames": stats.skipped_frames,
            "bytes_sent": stats.bytes_sent,
            "longest_round_ms": round(stats.longest_round_ms, 3),
        }


assert set(MARKETS) == {"spot", "usdm", "coinm"}
