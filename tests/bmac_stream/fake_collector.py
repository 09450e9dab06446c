"""A collector without an exchange, for tests of what reads a store: a real StoreWriter, bars made by rule.

In process: `FakeCollector(tmp_path)`. As a process of its own, to be killed or stopped:
`python -m tests.bmac_stream.fake_collector DIRECTORY [--every_s 0.05]`.
"""

import sys
import time
from pathlib import Path

import numpy as np

from bmac_stream.bar import COLUMNS, N_COLUMNS
from shm import SlotState, Spec, Status, StoreWriter

SOURCE = "embedded:rule"
MINUTE = 60_000
G0 = 29_000_000
"""First bar of every symbol."""

COUNTERS = ("corrections", "absent_bars", "pending_bars", "late_fills", "reconnects", "weight_used_1m")


def make_spec(**changes: object) -> Spec:
    fields: dict[str, object] = {
        "columns": COLUMNS,
        "window": 50,
        "slack": 20,
        "max_symbols": 16,
        "interval_ms": MINUTE,
        "source": SOURCE,
        "meta": '{"trade_type": "usdt_perp", "interval": "1m"}',
        "counters": (*COUNTERS, "last_complete_ms"),
    }
    return Spec(**(fields | changes))  # type: ignore[arg-type]


def bar(slot: int, g: int | np.ndarray) -> np.ndarray:
    """The nine values of bar g of the symbol in `slot`, exact in float64; [9] or [n, 9]."""
    g = np.asarray(g)
    return 1000.0 * (slot + 1) + np.arange(N_COLUMNS) + (g % 4096)[..., None] / 4096


def run_time(g: int) -> int:
    """The right edge of bar g, ms UTC."""
    return (g + 1) * MINUTE


class FakeCollector(StoreWriter):
    """A writer that knows its symbols' bars. Made by `start`."""

    next_g: int

    @classmethod
    def start(
        cls,
        directory: Path | str,
        symbols: tuple[str, ...] = ("AAAUSDT", "BBBUSDT", "CCCUSDT"),
        *,
        name: str = "rule",
        history: int = 60,
        **spec: object,
    ) -> "FakeCollector":
        """Open the store; if it is new, give every symbol `history` bars and complete the last one."""
        writer = cls.open(name, make_spec(**spec), directory=directory)
        assert isinstance(writer, FakeCollector)
        if writer.created:
            for symbol in symbols:
                writer.list(symbol, G0, history)
            writer.next_g = G0 + history
            if history:
                writer.complete(writer.next_g - 1)
        else:
            writer.next_g = writer.complete_g + 1
        writer.set_phase("live")
        return writer

    def list(self, symbol: str, first_g: int, n: int) -> int:
        """Add a symbol with n bars of history."""
        slot = self.add_symbol(symbol, first_g)
        numbers = np.arange(first_g, first_g + n)
        self.load(slot, first_g, bar(slot, numbers), np.full(n, Status.BAR))
        self.activate(slot)
        return slot

    def close_bar(self, *, pending: tuple[str, ...] = (), absent: tuple[str, ...] = ()) -> int:
        """Publish the next bar of every readable symbol and complete it; its number."""
        g = self.next_g
        for symbol, slot in self.symbols.items():
            if self.slot_state(slot) is SlotState.LOADING:
                continue
            if symbol in pending or symbol in absent:
                status = Status.PENDING if symbol in pending else Status.ABSENT
                self.append(slot, g, np.full(N_COLUMNS, np.nan), status)
            else:
                self.append(slot, g, bar(slot, g))
        self.complete(g)
        self.next_g = g + 1
        return g


def main() -> None:
    directory, every_s = sys.argv[1], float(sys.argv[2])
    with FakeCollector.start(directory) as writer:
        print("ready", flush=True)
        while True:
            time.sleep(every_s)
            writer.close_bar()


if __name__ == "__main__":
    main()
