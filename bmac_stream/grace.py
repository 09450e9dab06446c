"""How long to wait for a closing frame before REST is asked, learnt from how late they come.

Pure: fed with delays, asked for deadlines. All times are ms of exchange time.
"""

from bisect import bisect_left
from typing import Final

__all__ = ["DelayHistogram", "Grace"]

# edges grow by a sixth each: a quantile is at most that much too high
_EDGES: Final = tuple(4.0 * (7 / 6) ** i for i in range(80))


class DelayHistogram:
    """Delays in ms, the older the less they count.

    Memory is fixed: 81 buckets from 4 ms to 15 minutes.
    """

    def __init__(self) -> None:
        self._buckets = [0.0] * (len(_EDGES) + 1)
        self.total = 0.0

    def add(self, delay_ms: float) -> None:
        """Count one delay; below 0 (the clock is a little behind) counts as 0."""
        self._buckets[bisect_left(_EDGES, delay_ms)] += 1.0
        self.total += 1.0

    def fade(self, factor: float) -> None:
        """Let what was counted so far count `factor` as much, 0 < factor < 1."""
        self._buckets = [n * factor for n in self._buckets]
        self.total = sum(self._buckets)

    def quantile(self, q: float) -> float:
        """The delay that a share q of the counted ones do not exceed, ms; NaN if none was counted."""
        if not self.total:
            return float("nan")
        left = q * self.total
        for i, n in enumerate(self._buckets):
            left -= n
            if left <= 1e-9:
                return _EDGES[min(i, len(_EDGES) - 1)]
        return _EDGES[-1]


class Grace:
    """The deadlines of a bar's close.

    limit_ms  candle_close_timeout_sec: at close + limit_ms a run_time is complete, whatever is missing
    rate      exchange seconds per wall second: what this machine's scheduling costs grows with it

    Before MIN_DELAYS closing frames were seen, the grace is START_MS (the exchange's own timer is 2 s).
    """

    QUANTILE: Final = 0.995
    HEADROOM: Final = 1.2
    START_MS: Final = 3_000.0
    FLOOR_MS: Final = 1_200.0
    """A row of a quiet symbol proves itself closed by its age alone (backfill.CLOSE_MARGIN_MS): asked for
    earlier, it would have to be asked for twice."""
    FLOOR_WALL_MS: Final = 10.0
    MIN_DELAYS: Final = 20
    FADE: Final = 0.9
    """Once a bar: what was seen ten bars ago counts a third."""

    def __init__(self, limit_ms: float, rate: float = 1.0) -> None:
        assert limit_ms > 0
        self.limit_ms = limit_ms
        self._rate = rate
        self._frames = DelayHistogram()
        self._rest = DelayHistogram()
        self._n_frames = 0
        # REST needs its time too: never later than half of the limit
        self._latest_ms = limit_ms / 2
        self.grace_ms = min(self.START_MS, self._latest_ms)

    def frame(self, delay_ms: float) -> None:
        """A closing frame came so long after its bar's close. Late ones count too, up to twice the limit."""
        self._frames.add(min(delay_ms, 2 * self.limit_ms))
        self._n_frames += 1

    def rest(self, took_ms: float) -> None:
        """One REST request took so long."""
        self._rest.add(took_ms)

    def bar_over(self) -> None:
        """A run_time was completed: learn from what was seen, and let it fade."""
        if self._n_frames >= self.MIN_DELAYS:
            learnt = self._frames.quantile(self.QUANTILE) * self.HEADROOM + 100.0
            floor = max(self.FLOOR_MS, self.FLOOR_WALL_MS * self._rate)
            self.grace_ms = min(max(learnt, floor), self._latest_ms)
        self._frames.fade(self.FADE)
        self._rest.fade(self.FADE)

    def settle_ms(self, n_requests: int, n_fetchers: int) -> float:
        """After close, when what is still missing is published pending: grace plus the time that REST needs
        for `n_requests` by `n_fetchers` at once, at most limit_ms."""
        one = self._rest.quantile(0.95) if self._rest.total else 0.0
        one = max(1.5 * one, 1_000.0, 2 * self.FLOOR_WALL_MS * self._rate)
        rounds = 1 + -(-n_requests // n_fetchers)
        return min(self.grace_ms + rounds * one, self.limit_ms)
