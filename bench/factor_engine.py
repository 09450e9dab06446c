"""The engine process under bench/factors.py: from the last symbol's bar to the whole matrix elsewhere."""

from __future__ import annotations

from report import Figures

__all__ = ["measure"]

FLOOR_MS = 1.0


def measure(figures: Figures, n_symbols: int = 500, rounds: int = 30) -> None:
    """Median time from the last symbol's bar published to the whole Alpha158 matrix of `n_symbols` being
    readable in another process, against the floor of 1 ms."""
    figures.unmet("engine_matrix_ms", FLOOR_MS, "the engine process is not measured yet")
