"""What lines and correlations share: from sums of distances to moments, and what rounding has left of them.

Sums are measured from a pivot near the values and updated by what enters and what leaves. As in `rolling`,
rounding is cleared away by an exact recomputation of the window (a) at every `window` bars, at a phase of the
expression's own, and (b) for a symbol whose squared deviations fell below a hundred-thousandth of their peak
since then.

A variance that rounding alone could have made is none: a standard deviation of 1e-15 of the mean or less (a
few units in the last place) counts as zero, and what would be divided by it is NaN. After (b) the variance of
a window of equal values is exactly zero, so long constants need no other care.
"""

from typing import Any, Final

import numpy as np

from kernels.abi import part, rows

__all__ = ["CANCELLED", "ROUNDING", "correlation_of", "gone", "window_and_least", "zero"]

CANCELLED: Final = 1e-5
"""A moment below this part of its peak has lost five of its sixteen digits."""
ROUNDING: Final = 1e-30
"""A variance up to this part of the squared mean counts as zero."""


@rows
def zero(x: Any, n: int) -> None:
    """Rows to zero."""
    for i in range(n):
        x[i] = 0.0


@part
def gone(c: float, s: float, q: float, top: float) -> bool:
    """Whether what is left of the squared deviations is mostly rounding."""
    return c * q - s * s < CANCELLED * top


@part
def correlation_of(
    c: float, zx: float, zy: float, sx: float, sy: float, xx: float, yy: float, xy: float, flat: float
) -> float:
    """Of c bars, from their sums; `flat` where one does not vary."""
    qx, qy, qxy = c * xx - sx * sx, c * yy - sy * sy, c * xy - sx * sy
    mx, my = c * zx + sx, c * zy + sy
    r = qxy / np.sqrt(qx * qy)
    r = 1.0 if r > 1.0 else r
    r = -1.0 if r < -1.0 else r
    return r if (qx > ROUNDING * (mx * mx)) & (qy > ROUNDING * (my * my)) else flat


def window_and_least(window: int, min_periods: int | None) -> tuple[int, int]:
    """(window, min_periods), checked; None: all of the window. ValueError if a line cannot be drawn."""
    least = window if min_periods is None else min_periods
    whole = isinstance(window, int) and isinstance(least, int) and not isinstance(window, bool)
    if not whole or window < 2 or not 1 <= least <= window:
        raise ValueError(
            f"whole numbers 1 <= min_periods <= window and a window of 2 or more are expected, found "
            f"window {window!r}, min_periods {least!r}"
        )
    return window, least
