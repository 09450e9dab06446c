"""bench/init.py: its bound is right, and at a small size the stored history is the exchange's."""

import pytest
from rich.console import Console

pytestmark = pytest.mark.usefixtures("bench_modules")


def test_weight_of_history() -> None:
    from init import weight_of_history

    assert weight_of_history(500, 1500) == 500 * (3 * 2 + 1) + 1  # three pages of 499 and one of 3 rows
    assert weight_of_history(1, 99) == 1 + 1
    assert weight_of_history(1, 499) == 2 + 1
    assert weight_of_history(1, 700) == 4 + 1


def test_bound_is_the_begin_of_the_last_minute() -> None:
    from init import allowed_s

    assert allowed_s(2160, 2160, started_ms=60_000_500) == 0  # one minute is enough
    assert allowed_s(3501, 2160, started_ms=60_000_500) == 59.5
    assert allowed_s(4321, 2160, started_ms=60_000_500) == 119.5
    assert allowed_s(3501, 2160, started_ms=60_059_000) == 1.0  # two budgets in a second


@pytest.mark.slow
def test_small_run_agrees() -> None:
    """From nothing and from a snapshot, with real processes. The figures are nobody's business."""
    import init
    from report import Figures

    small = init.Options(symbols=10, candles=150, rate=30.0, share=0.05, restarts=1)
    figures = Figures("small", console=Console(quiet=True))
    init.run(small, figures)
    assert figures["init_compared_bars"] == 10 * 150
    assert figures["init_max_weight"] <= 2400
    assert figures["restart_snapshot_bars"] > 0
