"""Ratios that share what they are made of: one pass each where elementwise operators would take up to 19.

An elementwise step of 512 symbols in a large plan is mostly its rows' way from and to the cache, that of one
symbol alone is mostly the call. The divisions are the same ones: each of them is a true division.
"""

from typing import Any, Final

import numpy as np

from kernels.abi import back, kernel, now, own, part, rows
from kernels.fmath import two_sum
from kernels.node import Node, Number, Operator

__all__ = [
    "BAR_SHAPE",
    "BOTH_OVER",
    "MOMENTS_OVER",
    "MOVE_SHARES",
    "PATH_SHARES",
    "POSITION",
    "ROOT_OVER",
    "bar_shape",
    "both_over",
    "moments_over",
    "position",
    "root_over",
    "ts_move_shares",
    "ts_path_shares",
]


# ---- the shape of a bar ----------------------------------------------------------------------------------


@rows
def _bar_shape(
    open_: Any,
    high: Any,
    low: Any,
    close: Any,
    mid: Any,
    length: Any,
    mid_2: Any,
    up: Any,
    up_2: Any,
    down: Any,
    down_2: Any,
    shift: Any,
    shift_2: Any,
    n: int,
    epsilon: float,
) -> None:
    for i in range(n):
        o, h, l, c = open_[i], high[i], low[i], close[i]  # noqa: E741  # as the bar has them
        known = o == o and c == c
        span = (h - l) + epsilon
        upper = h - ((o if o > c else c) if known else np.nan)
        lower = ((o if o < c else c) if known else np.nan) - l
        both = (2.0 * c - h) - l
        mid[i] = (c - o) / o
        length[i] = (h - l) / o
        mid_2[i] = (c - o) / span
        up[i] = upper / o
        up_2[i] = upper / span
        down[i] = lower / o
        down_2[i] = lower / span
        shift[i] = both / o
        shift_2[i] = both / span


@kernel
def bar_shape_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """bar_shape: body, length, shadows and the close's lean, as parts of the open and of the length.

    in      open, high, low, close
    state   none
    out     mid, length, mid_2, up, up_2, down, down_2, shift, shift_2: body close - open, length high - low,
            upper shadow, lower shadow, 2 close - high - low; divided by the open, with `_2` by the length
            plus epsilon. NaN where one of their prices is
    source  KMID to KSFT2 of qlib's Alpha158
    """
    _bar_shape(
        now(state, stride, p, 9, g),
        now(state, stride, p, 10, g),
        now(state, stride, p, 11, g),
        now(state, stride, p, 12, g),
        now(state, stride, p, 0, g),
        now(state, stride, p, 1, g),
        now(state, stride, p, 2, g),
        now(state, stride, p, 3, g),
        now(state, stride, p, 4, g),
        now(state, stride, p, 5, g),
        now(state, stride, p, 6, g),
        now(state, stride, p, 7, g),
        now(state, stride, p, 8, g),
        n,
        f[0],
    )


BAR_SHAPE: Final = Operator(
    "bar_shape",
    bar_shape_kernel,
    inputs=("open", "high", "low", "close"),
    outputs=("mid", "length", "mid_2", "up", "up_2", "down", "down_2", "shift", "shift_2"),
    parameters=("epsilon",),
)


def bar_shape(
    open_: Number, high: Number, low: Number, close: Number, epsilon: float = 1e-12
) -> dict[str, Node]:
    """What a bar looks like, by name: body `mid` (close - open), `length` (high - low), shadows `up` and
    `down`, `shift` (2 close - high - low), each as a part of the open; with `_2` as a part of high - low +
    epsilon. NaN where a price it is made of is missing."""
    made = BAR_SHAPE(open_, high, low, close, parameters=(float(epsilon),))
    return dict(zip(BAR_SHAPE.outputs, made, strict=True))


# ---- two by one ------------------------------------------------------------------------------------------


@rows
def _both_over(x: Any, y: Any, by: Any, out: Any, out_y: Any, n: int) -> None:
    for i in range(n):
        out[i] = x[i] / by[i]
        out_y[i] = y[i] / by[i]


@kernel
def both_over_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """both_over: x / by and y / by.

    in      x, y, by
    state   none
    out     x, y: as IEEE has it
    """
    x, y, by = now(state, stride, p, 2, g), now(state, stride, p, 3, g), now(state, stride, p, 4, g)
    _both_over(x, y, by, now(state, stride, p, 0, g), now(state, stride, p, 1, g), n)


BOTH_OVER: Final = Operator("both_over", both_over_kernel, inputs=("x", "y", "by"), outputs=("x", "y"))


def both_over(x: Number, y: Number, by: Number) -> tuple[Node, Node]:
    """(x / by, y / by), as IEEE has it: 1 / 0 is inf, 0 / 0 is NaN."""
    first, second = BOTH_OVER(x, y, by)
    return first, second


@rows
def _moments_over(mean: Any, variance: Any, by: Any, out: Any, deviation: Any, n: int) -> None:
    for i in range(n):
        out[i] = mean[i] / by[i]
        deviation[i] = np.sqrt(variance[i]) / by[i]


@kernel
def moments_over_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """moments_over: mean / by and sqrt(variance) / by.

    in      mean, variance, by
    state   none
    out     mean, std: as IEEE has it; std is NaN where the variance is below 0
    """
    mean, variance = now(state, stride, p, 2, g), now(state, stride, p, 3, g)
    by = now(state, stride, p, 4, g)
    _moments_over(mean, variance, by, now(state, stride, p, 0, g), now(state, stride, p, 1, g), n)


MOMENTS_OVER: Final = Operator(
    "moments_over", moments_over_kernel, inputs=("mean", "variance", "by"), outputs=("mean", "std")
)


def moments_over(mean: Number, variance: Number, by: Number) -> tuple[Node, Node]:
    """(mean / by, sqrt(variance) / by), as IEEE has it."""
    first, second = MOMENTS_OVER(mean, variance, by)
    return first, second


@rows
def _root_over(x: Any, by: Any, out: Any, n: int, epsilon: float) -> None:
    for i in range(n):
        out[i] = np.sqrt(x[i]) / (by[i] + epsilon)


@kernel
def root_over_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """root_over: sqrt(x) / (by + epsilon).

    in      x, by
    state   none
    out     as IEEE has it; NaN where x is below 0
    """
    x, by = now(state, stride, p, 1, g), now(state, stride, p, 2, g)
    _root_over(x, by, now(state, stride, p, 0, g), n, f[0])


ROOT_OVER: Final = Operator("root_over", root_over_kernel, inputs=("x", "by"), parameters=("epsilon",))


def root_over(x: Number, by: Number, epsilon: float = 0.0) -> Node:
    """sqrt(x) / (by + epsilon), as IEEE has it; NaN where x is below 0."""
    return ROOT_OVER(x, by, parameters=(float(epsilon),))[0]


@rows
def _position(x: Any, low: Any, high: Any, out: Any, n: int, epsilon: float) -> None:
    for i in range(n):
        out[i] = (x[i] - low[i]) / ((high[i] - low[i]) + epsilon)


@kernel
def position_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """position: (x - low) / (high - low + epsilon).

    in      x, low, high
    state   none
    out     as IEEE has it
    """
    x, low, high = now(state, stride, p, 1, g), now(state, stride, p, 2, g), now(state, stride, p, 3, g)
    _position(x, low, high, now(state, stride, p, 0, g), n, f[0])


POSITION: Final = Operator("position", position_kernel, inputs=("x", "low", "high"), parameters=("epsilon",))


def position(x: Number, low: Number, high: Number, epsilon: float = 0.0) -> Node:
    """Where x stands between low and high: (x - low) / (high - low + epsilon), 0.0 at low, 1.0 at high."""
    return POSITION(x, low, high, parameters=(float(epsilon),))[0]


# ---- rises and falls of a window -------------------------------------------------------------------------


@rows
def _move_shares(
    x: Any,
    before: Any,
    old: Any,
    older: Any,
    known: Any,
    rising: Any,
    falling: Any,
    out: Any,
    out_fall: Any,
    out_both: Any,
    n: int,
    window: float,
) -> None:
    part = 1.0 / window
    for i in range(n):
        a, b, c, d = x[i], before[i], old[i], older[i]
        k, up, down = known[i], rising[i], falling[i]
        k += (1.0 if a == a and b == b else 0.0) - (1.0 if c == c and d == d else 0.0)
        up += (1.0 if a > b else 0.0) - (1.0 if c > d else 0.0)
        down += (1.0 if a < b else 0.0) - (1.0 if c < d else 0.0)
        known[i] = k
        rising[i] = up
        falling[i] = down
        rise, fall = up * part, down * part
        out[i] = rise if k >= window else np.nan
        out_fall[i] = fall if k >= window else np.nan
        out_both[i] = rise - fall if k >= window else np.nan


@kernel
def move_shares_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """ts_move_shares: the part of the last `window` bars where x rose, and where it fell.

    in      x
    state   3 rows: number of moves that are known, of rises, of falls; reads x window + 1 bars ago
    out     rise, fall, both (rise - fall): NaN unless all moves of the window are known, which take
            window + 1 values of x; inf is a value
    refresh not needed: counts are exact
    source  pandas (x > x.shift()).rolling(window).mean()
    """
    window = p[10]
    _move_shares(
        now(state, stride, p, 3, g),
        back(state, stride, p, 3, g, 1),
        back(state, stride, p, 3, g, window),
        back(state, stride, p, 3, g, window + 1),
        own(state, stride, p, 4, 0),
        own(state, stride, p, 4, 1),
        own(state, stride, p, 4, 2),
        now(state, stride, p, 0, g),
        now(state, stride, p, 1, g),
        now(state, stride, p, 2, g),
        n,
        float(window),
    )


MOVE_SHARES: Final = Operator(
    "ts_move_shares",
    move_shares_kernel,
    inputs=("x",),
    outputs=("rise", "fall", "both"),
    parameters=("window",),
    rows=lambda window: (0.0, 0.0, 0.0),
    history=lambda window: window + 1,
    warm_up=lambda window: window,
)


def ts_move_shares(x: Number, window: int) -> tuple[Node, Node, Node]:
    """(rise, fall, rise - fall): the part of the last `window` bars where x was above, below the bar before.

    NaN unless the window's bars, and the one before them, are all there.
    """
    rise, fall, both = MOVE_SHARES(x, parameters=(_window(window),))
    return rise, fall, both


_KNOWN, _LENGTH, _REST = range(3)  # own rows: number of moves, the sum of their sizes, its rounding error


@rows
def _walk(
    x: Any,
    before: Any,
    old: Any,
    older: Any,
    known: Any,
    length: Any,
    rest: Any,
    out: Any,
    out_fall: Any,
    out_both: Any,
    n: int,
    window: float,
    epsilon: float,
) -> None:
    for i in range(n):
        v, w, k, high, low = x[i], old[i], known[i], length[i], rest[i]
        a, b = abs(v - before[i]), abs(w - older[i])
        enters, leaves = a - a == 0.0, b - b == 0.0
        k += (1.0 if enters else 0.0) - (1.0 if leaves else 0.0)
        high, more = two_sum(high, a if enters else 0.0)
        high, less = two_sum(high, -b if leaves else 0.0)
        low += more + less
        known[i] = k
        length[i] = high
        rest[i] = low
        whole, move = high + low, v - w
        scale = 0.5 / (whole + epsilon)
        rise, fall = (whole + move) * scale, (whole - move) * scale
        out[i] = rise if k >= window else np.nan
        out_fall[i] = fall if k >= window else np.nan
        out_both[i] = rise - fall if k >= window else np.nan


@rows
def _forget(known: Any, length: Any, rest: Any, n: int) -> None:
    for i in range(n):
        known[i] = 0.0
        length[i] = 0.0
        rest[i] = 0.0


@rows
def _add(before: Any, x: Any, known: Any, length: Any, rest: Any, n: int) -> None:
    for i in range(n):
        k, high, low = known[i], length[i], rest[i]
        a = abs(x[i] - before[i])
        enters = a - a == 0.0
        high, more = two_sum(high, a if enters else 0.0)
        known[i] = k + (1.0 if enters else 0.0)
        length[i] = high
        rest[i] = low + more


@rows
def _add_three(before: Any, x: Any, y: Any, z: Any, known: Any, length: Any, rest: Any, n: int) -> None:
    """As `_add`, three moves at once: most of the time goes to the rows."""
    for i in range(n):
        k, high, low = known[i], length[i], rest[i]
        a, b, c = abs(x[i] - before[i]), abs(y[i] - x[i]), abs(z[i] - y[i])
        first, second, third = a - a == 0.0, b - b == 0.0, c - c == 0.0
        high, more = two_sum(high, a if first else 0.0)
        low += more
        high, more = two_sum(high, b if second else 0.0)
        low += more
        high, more = two_sum(high, c if third else 0.0)
        known[i] = ((k + (1.0 if first else 0.0)) + (1.0 if second else 0.0)) + (1.0 if third else 0.0)
        length[i] = high
        rest[i] = low + more


@part
def _walk_anew(state: Any, stride: int, p: Any, g: int, n: int, bars: int) -> None:
    """The sizes of the `bars` moves up to bar g - 1: the next one is let in as always."""
    known, length = own(state, stride, p, 4, _KNOWN), own(state, stride, p, 4, _LENGTH)
    rest = own(state, stride, p, 4, _REST)
    _forget(known, length, rest, n)
    lag = bars
    while lag >= 3:
        before, x = back(state, stride, p, 3, g, lag + 1), back(state, stride, p, 3, g, lag)
        y, z = back(state, stride, p, 3, g, lag - 1), back(state, stride, p, 3, g, lag - 2)
        _add_three(before, x, y, z, known, length, rest, n)
        lag -= 3
    while lag >= 1:
        before, x = back(state, stride, p, 3, g, lag + 1), back(state, stride, p, 3, g, lag)
        _add(before, x, known, length, rest, n)
        lag -= 1


@kernel
def path_shares_kernel(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """ts_path_shares: what part of the way of x over the last `window` bars was upwards, what part downwards.

    in      x
    state   3 rows: number of moves that are known, the sum of their sizes, and its rounding error, as ts_sum;
            reads x window + 1 bars ago
    out     rise, fall, both (rise - fall): (length +- move) / 2 / (length + epsilon), where length is the sum
            of |x - x before| and move is x - x[window]. Rises add up to (length + move) / 2: what this loses
            is below 1e-15 of the length. NaN unless all moves of the window are known and finite
    refresh exact every `window` bars
    source  SUMP, SUMN, SUMD of qlib's Alpha158
    """
    window = p[10]
    if (g + p[9]) % window == 0:
        _walk_anew(state, stride, p, g, n, window)
    _walk(
        now(state, stride, p, 3, g),
        back(state, stride, p, 3, g, 1),
        back(state, stride, p, 3, g, window),
        back(state, stride, p, 3, g, window + 1),
        own(state, stride, p, 4, _KNOWN),
        own(state, stride, p, 4, _LENGTH),
        own(state, stride, p, 4, _REST),
        now(state, stride, p, 0, g),
        now(state, stride, p, 1, g),
        now(state, stride, p, 2, g),
        n,
        float(window),
        f[0],
    )


PATH_SHARES: Final = Operator(
    "ts_path_shares",
    path_shares_kernel,
    inputs=("x",),
    outputs=("rise", "fall", "both"),
    parameters=("window", "epsilon"),
    rows=lambda window, epsilon: (0.0, 0.0, 0.0),
    history=lambda window, epsilon: window + 1,
    warm_up=lambda window, epsilon: window,
    memory=lambda window, epsilon: 2 * window + 1,
)


def ts_path_shares(x: Number, window: int, epsilon: float = 1e-12) -> tuple[Node, Node, Node]:
    """(rise, fall, rise - fall): what part of the way of x over `window` bars went up, and what part down.

    The way is the sum of |x - x one bar ago|; epsilon, in the unit of x, is added to what is divided by it.
    NaN unless the window's bars, and the one before them, are all there.
    """
    rise, fall, both = PATH_SHARES(x, parameters=(_window(window), float(epsilon)))
    return rise, fall, both


def _window(window: int) -> int:
    if isinstance(window, bool) or not isinstance(window, int) or window < 1:
        raise ValueError(f"a window of 1 or more whole bars is expected, found {window!r}")
    return window
