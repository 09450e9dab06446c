"""Virtual time for asyncio: sleeping costs nothing, and the exchange's clock is ours to be wrong about."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from bmac_stream.clock import Clock

__all__ = ["FakeClock", "VirtualLoop", "run_virtual"]

_T = TypeVar("_T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer as soon as nothing else is to do."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self.now = max(self.now, self._scheduled[0]._when)  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


def run_virtual(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run it on a VirtualLoop of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(coroutine)


class FakeClock(Clock):
    """Exchange time on the loop's time, and an error that a test may change.

    true_ms() is what the exchange's own clock says; now_ms() differs from it by error_ms.
    """

    def __init__(self, start_ms: float = 1_785_542_400_000.0, rate: float = 1.0) -> None:
        super().__init__(rate)
        self.start_ms = start_ms
        self.error_ms = 0.0
        self.uncertainty_ms = 0.0
        self.synced = True
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()

    def monotonic(self) -> float:
        return self._loop.time()

    def true_ms(self) -> float:
        return self.start_ms + (self._loop.time() - self._began) * 1e3 * self.rate

    def now_ms(self) -> float:
        return self.true_ms() + self.error_ms
