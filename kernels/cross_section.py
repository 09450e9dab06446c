"""Operators across symbols, and the gate where they begin: one row in, one row out, at one run_time.

A cross-section kernel gets all symbols at once (its n is the number of slots). Symbols that are not members
at that run_time come as NaN; they, and missing values (NaN, +-inf), take no part and get NaN. What is one
number for the whole cross-section (`cs_mean`, `cs_pick`, ...) goes to every member, also to one whose own
value is missing.

No result depends on the order of the slots, to the bit, so that a market listed in another order gives the
same factors: sums are made order-independent (`_total`), sorting treats equals as equal. The one exception
is named where it stands: `cs_top` and `cs_bottom` break ties by the lower slot.

Nothing is remembered from bar to bar. What a kernel needs for the time being it writes to outputs that nobody
asks for (`order`, `spare`, ...): the plan gives those rows back at once, so that all kernels of a plan work
in the same few rows, which stay in the cache.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from kernels.abi import INTEGERS, ROW, kernel, now, part, rows
from kernels.fmath import bits, number, shift_right
from kernels.node import Node, Number, Operator, field

__all__ = [
    "CS_EXTREMES",
    "CS_GROUP",
    "CS_GROUP_RANK",
    "CS_MOMENTS",
    "CS_PICK",
    "CS_RANK",
    "CS_RESIDUAL",
    "CS_SCALE",
    "CS_STANDARD",
    "CS_TRUE",
    "CS_WINSORISE",
    "GATE",
    "cs_bottom",
    "cs_count",
    "cs_demean",
    "cs_group_mean",
    "cs_group_rank",
    "cs_mean",
    "cs_members",
    "cs_neutralise",
    "cs_pick",
    "cs_rank",
    "cs_residual",
    "cs_scale",
    "cs_std",
    "cs_sum",
    "cs_top",
    "cs_winsorise",
    "cs_zscore",
]


def _intrinsic(define: Callable[..., Any]) -> Any:
    """Numba's decorator; its stub shows callers the typing context as the first argument."""
    return intrinsic(define)


# ---- the gate --------------------------------------------------------------------------------------------


@rows
def _gate(x: Any, member: Any, out: Any, n: int) -> None:
    for i in range(n):
        out[i] = x[i] if member[i] == 1.0 else np.nan


@kernel
def gate(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """gate: x where the symbol is a member of this bar's cross-section.

    in      x, member (1.0 or 0.0)
    state   none
    out     x, or NaN where member is not 1.0
    """
    _gate(now(state, stride, p, 1, g), now(state, stride, p, 2, g), now(state, stride, p, 0, g), n)


GATE: Final = Operator("gate", gate, inputs=("x", "member"), cross=True)


def _member() -> Node:
    """The node that `kernels.plan` calls MEMBER: 1.0 for a member of this bar's cross-section, else 0.0."""
    return field("member")


# ---- bits ------------------------------------------------------------------------------------------------

_cgutils: Any = cgutils  # it has no types
_MAGNITUDE: Final = 0x7FFFFFFFFFFFFFFF
_INT32: Final = types.CPointer(types.int32)  # type: ignore[no-untyped-call]  # Numba's stub
_VALUES: Final = 256
"""Values of one digit of a radix pass: three sets of counters are 3 KB of the first cache."""


@_intrinsic
def _words(context: Any, row: Any) -> Any:
    """A row as int64 words."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(64).as_pointer())

    return INTEGERS(ROW), generate


@_intrinsic
def _word(context: Any, words: Any, i: Any) -> Any:
    """The address of word i."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.gep(arguments[0], [arguments[1]])

    return INTEGERS(INTEGERS, types.int64), generate


@_intrinsic
def _counters(context: Any) -> Any:
    """Counters for all digits, on the stack: int32[3 * _VALUES], not cleared."""

    def generate(_: Any, builder: Any, __: Any, ___: Any) -> Any:
        place = _cgutils.alloca_once(builder, ir.ArrayType(ir.IntType(32), 3 * _VALUES))
        return builder.bitcast(place, ir.IntType(32).as_pointer())

    return _INT32(), generate


@part
def _key(x: float) -> int:
    """An integer that orders as the finite x does; 0.0 and -0.0 are one."""
    word = bits(x + 0.0)
    return int(word ^ ((word >> 63) & _MAGNITUDE))


# ---- order -----------------------------------------------------------------------------------------------
#
# A list of slots is int64 words, the slot in the lower half; while it is sorted, the upper half holds the
# leading bits of the slot's key. Times for 512 symbols on an EPYC of the third generation: 5 to 6 us for any
# data. Re-sorting the last bar's order by insertion is 3 us for prices, but 17 us for a momentum and 47 for
# noise; a comparison sort in Numba 12 to 25.

_SLOT: Final = 0xFFFFFFFF
_FEW: Final = 40
"""A run of this length is sorted faster by insertion than by clearing and summing up counters."""


@rows
def _finite(x: Any, order: Any, n: int) -> int:
    """List the slots with a value; how many there are."""
    m = 0
    for i in range(n):
        order[m] = i
        m += 1 if x[i] - x[i] == 0.0 else 0
    return m


@rows
def _pair(x: Any, y: Any, order: Any, n: int) -> int:
    """List the slots with a value of both; how many there are."""
    m = 0
    for i in range(n):
        order[m] = i
        m += 1 if x[i] - x[i] == 0.0 and y[i] - y[i] == 0.0 else 0
    return m


@rows
def _radix(x: Any, order: Any, spare: Any, m: int) -> int:
    """Sort m slots by the 24 bits of their keys that lead within these slots; 0 if all keys are equal.

    Stable. The upper half of each word tells the 24 bits afterwards.
    """
    least, most = _MAGNITUDE, -_MAGNITUDE
    for j in range(m):
        key = _key(x[order[j] & _SLOT])
        spare[j] = key
        least, most = min(least, key), max(most, key)
    if least == most:
        return 0
    # The differences take all 64 bits: they are unsigned, whatever int64 makes of them.
    shift = 0
    while shift_right(most - least, shift) >= 1 << 24 or (shift == 0 and most - least < 0):
        shift += 1
    count = _counters()
    for i in range(3 * _VALUES):
        count[i] = 0
    for j in range(m):
        lead = shift_right(spare[j] - least, shift)
        spare[j] = (lead << 32) | (order[j] & _SLOT)
        count[lead & 255] += 1
        count[_VALUES + ((lead >> 8) & 255)] += 1
        count[2 * _VALUES + (lead >> 16)] += 1
    a, b, c = 0, 0, 0
    for i in range(_VALUES):
        na, nb, nc = count[i], count[_VALUES + i], count[2 * _VALUES + i]
        count[i], count[_VALUES + i], count[2 * _VALUES + i] = a, b, c
        a, b, c = a + na, b + nb, c + nc
    for j in range(m):
        word = spare[j]
        k = (word >> 32) & 255
        order[count[k]] = word
        count[k] += 1
    for j in range(m):
        word = order[j]
        k = _VALUES + ((word >> 40) & 255)
        spare[count[k]] = word
        count[k] += 1
    for j in range(m):
        word = spare[j]
        k = 2 * _VALUES + (word >> 48)
        order[count[k]] = word
        count[k] += 1
    return 1


@rows
def _insert(x: Any, order: Any, begin: int, end: int) -> int:
    """Sort the slots of a short run by insertion, stably; how many have an equal one before them."""
    equal = 0
    for j in range(begin + 1, end):
        word = order[j]
        value = x[word & _SLOT]
        k = j
        while k > begin and x[order[k - 1] & _SLOT] > value:
            order[k] = order[k - 1]
            k -= 1
        order[k] = word
        equal += 1 if k > begin and x[order[k - 1] & _SLOT] == value else 0
    return equal


@part
def _sort(x: Any, order: Any, spare: Any, m: int) -> int:
    """Sort m listed slots by their finite x, stably; how many have an equal one before them.

    Where values crowd (one price of 0 among 500 at 1e9), 24 bits do not tell them apart: then each crowd is
    sorted by its own 24 leading bits, which lie at least 24 lower, so three times at the most.
    """
    if m < 2 or _radix(x, order, spare, m) == 0:
        return m - 1
    equal, j = 0, 0
    while j < m - 1:
        lead = order[j] >> 32
        end = j + 1
        while end < m and order[end] >> 32 == lead:
            end += 1
        if end - j > 1:
            if end - j <= _FEW:
                equal += _insert(x, order, j, end)
            elif _radix(x, _word(order, j), spare, end - j):
                continue
            else:
                equal += end - j - 1
        j = end
    return equal


@rows
def _fill(out: Any, n: int, value: float) -> None:
    for i in range(n):
        out[i] = value


@rows
def _spread(value: float, member: Any, out: Any, n: int) -> None:
    for i in range(n):
        out[i] = value if member[i] == 1.0 else np.nan


@rows
def _places(order: Any, m: int, out: Any) -> None:
    for j in range(m):
        out[order[j] & _SLOT] = j + 1.0


@rows
def _shared_places(x: Any, order: Any, spare: Any, m: int, out: Any) -> None:
    """Equals share the mean of their places: first from below, then last from above."""
    first, before = 0, np.nan
    for j in range(m):
        value = x[order[j] & _SLOT]
        first = first if value == before else j
        before = value
        spare[j] = first
    last, below = m - 1, spare[m - 1]
    for k in range(m):
        j = m - 1 - k
        last = last if spare[j] == below else j
        below = spare[j]
        out[order[j] & _SLOT] = 0.5 * (spare[j] + last) + 1.0


@rows
def _divide(out: Any, n: int, by: float) -> None:
    for i in range(n):
        out[i] = out[i] / by


@part
def _rank(x: Any, order: Any, spare: Any, m: int, out: Any) -> None:
    """The places of m listed slots, from 1; equals share theirs."""
    if _sort(x, order, spare, m) > 0:
        _shared_places(x, order, spare, m, out)
    else:
        _places(order, m, out)


# ---- sums that do not depend on the order ----------------------------------------------------------------

_EXPONENT: Final = 0x7FF0000000000000


@rows
def _total(x: Any, n: int) -> tuple[float, int]:
    """(sum, count) of the finite values, the same bits in whatever order they stand.

    Each value is cut at a bit that is the same for all, so that the upper parts add up without rounding, and
    what is left is cut a second time; what lies below is less than 1e-22 of the largest value. NaN if the
    largest is beyond 1e300.

    source  Demmel, Nguyen: Fast Reproducible Floating-Point Summation (2013); Rump's ExtractVector
    """
    most, count = 0, 0
    for i in range(n):
        finite = x[i] - x[i] == 0.0
        most = max(most, bits(x[i]) & _MAGNITUDE if finite else 0)
        count += 1 if finite else 0
    room = 4.0
    while room < n + 2.0:
        room *= 2.0
    upper = number(most & _EXPONENT) * 2.0 * room
    lower = upper * 2.0**-53 * room
    high, low = 0.0, 0.0
    for i in range(n):
        value = x[i] if x[i] - x[i] == 0.0 else 0.0
        head = (upper + value) - upper
        high += head
        low += (lower + (value - head)) - lower
    return high + low, count


@rows
def _deviate(x: Any, mean: float, out: Any, n: int) -> None:
    for i in range(n):
        out[i] = x[i] - mean if x[i] - x[i] == 0.0 else np.nan


@rows
def _less(x: Any, by: float, n: int) -> None:
    for i in range(n):
        x[i] -= by


@rows
def _square(x: Any, out: Any, n: int) -> None:
    for i in range(n):
        out[i] = x[i] * x[i]


@rows
def _product(x: Any, y: Any, out: Any, n: int) -> None:
    for i in range(n):
        out[i] = x[i] * y[i]


@rows
def _magnitude(x: Any, out: Any, n: int) -> None:
    for i in range(n):
        out[i] = abs(x[i])


@part
def _centre(x: Any, out: Any, n: int) -> tuple[float, float, int]:
    """The deviations from the mean to `out`; (sum, mean, count), NaN for a sum or mean of nothing."""
    total, count = _total(x, n)
    if count == 0:
        total = np.nan
    mean = total / count if count > 0 else np.nan
    _deviate(x, mean, out, n)
    # At 1e9 the mean's own rounding is 1e-7: what the deviations add up to corrects them. So the deviations
    # of equal values are exactly 0 as well.
    rest, _ = _total(out, n)
    _less(out, rest / count, n)
    return total, mean, count


@part
def _deviation(deviations: Any, squares: Any, n: int) -> float:
    """Standard deviation (ddof 1) from the deviations; NaN below two values."""
    _square(deviations, squares, n)
    total, count = _total(squares, n)
    return float(np.sqrt(total / (count - 1))) if count > 1 else np.nan


# ---- operators by order ----------------------------------------------------------------------------------


@kernel
def rank(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """cs_rank: place of each symbol's value among all, as a part of the number of values.

    in      x
    state   none
    out     in (0, 1]: the greatest has 1. NaN for a missing value, which the number does not count
    tie     equals get the mean of their places; 0.0 and -0.0 are equal
    source  pandas DataFrame.rank(axis=1, pct=True), inf taken as missing
    """
    x, out = now(state, stride, p, 3, g), now(state, stride, p, 0, g)
    order, spare = _words(now(state, stride, p, 1, g)), _words(now(state, stride, p, 2, g))
    _fill(out, n, np.nan)
    m = _finite(x, order, n)
    if m > 0:
        _rank(x, order, spare, m, out)
        _divide(out, n, float(m))


CS_RANK: Final = Operator("cs_rank", rank, inputs=("x",), outputs=("", "order", "spare"), cross=True)


def cs_rank(x: Number) -> Node:
    """Place of each symbol's x among all symbols with a value, divided by their number: in (0, 1].

    Equals share the mean of their places, as pandas rank(axis=1, pct=True) has it. The rank of a rank is that
    rank, and is not computed again.
    """
    if isinstance(x, Node) and x.operator is CS_RANK and x.output == 0:
        return x
    return CS_RANK(x)[0]


@part
def _quantile(x: Any, order: Any, m: int, q: float) -> float:
    place = q * (m - 1)
    k = min(max(int(place), 0), m - 1)
    low, high = x[order[k] & _SLOT], x[order[min(k + 1, m - 1)] & _SLOT]
    return float(low + (high - low) * (place - k))


@rows
def _clip(x: Any, low: float, high: float, out: Any, n: int) -> None:
    for i in range(n):
        out[i] = min(max(x[i], low), high) if x[i] - x[i] == 0.0 else np.nan


@kernel
def winsorise(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """cs_winsorise: x, limited to two quantiles of its cross-section.

    in      x
    state   none
    out     in the unit of x; NaN for a missing value
    source  pandas clip(quantile(lower), quantile(upper)), linear interpolation
    """
    x, out = now(state, stride, p, 3, g), now(state, stride, p, 0, g)
    order, spare = _words(now(state, stride, p, 1, g)), _words(now(state, stride, p, 2, g))
    m = _finite(x, order, n)
    if m == 0:
        _fill(out, n, np.nan)
        return
    _sort(x, order, spare, m)
    _clip(x, _quantile(x, order, m, f[0]), _quantile(x, order, m, f[1]), out, n)


CS_WINSORISE: Final = Operator(
    "cs_winsorise",
    winsorise,
    inputs=("x",),
    outputs=("", "order", "spare"),
    parameters=("lower", "upper"),
    cross=True,
)


def cs_winsorise(x: Number, lower: float = 0.01, upper: float = 0.99) -> Node:
    """x limited to the quantiles `lower` and `upper` (linear interpolation) of its cross-section."""
    if not 0 <= lower <= upper <= 1:
        raise ValueError(f"0 <= lower <= upper <= 1 is expected, found {lower} and {upper}")
    return CS_WINSORISE(x, parameters=(float(lower), float(upper)))[0]


@part
def _mark(order: Any, begin: int, end: int, out: Any) -> None:
    for j in range(begin, end):
        out[order[j] & _SLOT] = 1.0


@part
def _unmarked(order: Any, m: int, out: Any, n: int) -> None:
    _fill(out, n, np.nan)
    for j in range(m):
        out[order[j] & _SLOT] = 0.0


@kernel
def extremes(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """cs_extremes: which symbols have the k greatest values (top), and which the k least (bottom).

    in      x
    state   none
    out     1.0 or 0.0; NaN for a missing value. With k values or fewer all are 1.0
    tie     among equals the lower slot comes first, in both
    """
    x = now(state, stride, p, 4, g)
    top, bottom = now(state, stride, p, 0, g), now(state, stride, p, 1, g)
    order, spare = _words(now(state, stride, p, 2, g)), _words(now(state, stride, p, 3, g))
    m = _finite(x, order, n)
    k = min(p[12], m)
    _unmarked(order, m, top, n)
    _unmarked(order, m, bottom, n)
    if m == 0:
        return
    _sort(x, order, spare, m)
    _mark(order, 0, k, bottom)
    # Of those equal to the least that still is in, the first: not those that the order has last.
    edge = x[order[m - k] & _SLOT]
    first, after = m - k, m - k
    while first > 0 and x[order[first - 1] & _SLOT] == edge:
        first -= 1
    while after < m and x[order[after] & _SLOT] == edge:
        after += 1
    _mark(order, first, first + after - (m - k), top)
    _mark(order, after, m, top)


CS_EXTREMES: Final = Operator(
    "cs_extremes",
    extremes,
    inputs=("x",),
    outputs=("top", "bottom", "order", "spare"),
    parameters=("k",),
    cross=True,
)


def _k(k: int) -> tuple[int]:
    if k < 1:
        raise ValueError(f"k >= 1 is expected, found {k}")
    return (int(k),)


def cs_top(x: Number, k: int) -> Node:
    """1.0 for the k symbols with the greatest x, 0.0 for the others; ties go to the lower slot."""
    return CS_EXTREMES(x, parameters=_k(k))[0]


def cs_bottom(x: Number, k: int) -> Node:
    """1.0 for the k symbols with the least x, 0.0 for the others; ties go to the lower slot."""
    return CS_EXTREMES(x, parameters=_k(k))[1]


# ---- operators by sums -----------------------------------------------------------------------------------


@kernel
def moments(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """cs_moments: sum, mean, standard deviation (ddof 1) and number of the values of a cross-section.

    in      x, member
    state   none
    out     the same number for every member, also for one whose own value is missing; NaN for a sum and a
            mean of no value, and for a deviation of fewer than two. All equal: a deviation of exactly 0
    """
    x, member = now(state, stride, p, 5, g), now(state, stride, p, 6, g)
    spare = now(state, stride, p, 4, g)
    std = now(state, stride, p, 2, g)
    total, mean, count = _centre(x, spare, n)
    # The row of the deviation serves for the squares before.
    deviation = _deviation(spare, std, n)
    _spread(total, member, now(state, stride, p, 0, g), n)
    _spread(mean, member, now(state, stride, p, 1, g), n)
    _spread(deviation, member, std, n)
    _spread(float(count), member, now(state, stride, p, 3, g), n)


CS_MOMENTS: Final = Operator(
    "cs_moments",
    moments,
    inputs=("x", "member"),
    outputs=("sum", "mean", "std", "count", "spare"),
    cross=True,
)


def cs_sum(x: Number) -> Node:
    """Sum of x over the cross-section, for every member; NaN where nobody has a value."""
    return CS_MOMENTS(x, _member())[0]


def cs_mean(x: Number) -> Node:
    """Mean of x over the cross-section, for every member: the market's. Of a condition: the part that is
    true."""
    return CS_MOMENTS(x, _member())[1]


def cs_std(x: Number) -> Node:
    """Standard deviation (ddof 1) of x over the cross-section, for every member."""
    return CS_MOMENTS(x, _member())[2]


def cs_members(x: Number) -> Node:
    """How many symbols of the cross-section have a value of x, for every member."""
    return CS_MOMENTS(x, _member())[3]


@rows
def _true(x: Any, n: int) -> int:
    count = 0
    for i in range(n):
        count += 1 if x[i] == x[i] and x[i] != 0.0 else 0
    return count


@kernel
def true(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """cs_true: for how many symbols of the cross-section a condition holds.

    in      condition, member
    state   none
    out     the number, for every member; NaN conditions do not hold
    """
    count = _true(now(state, stride, p, 1, g), n)
    _spread(float(count), now(state, stride, p, 2, g), now(state, stride, p, 0, g), n)


CS_TRUE: Final = Operator("cs_true", true, inputs=("condition", "member"), cross=True)


def cs_count(condition: Number) -> Node:
    """For how many symbols of the cross-section the condition holds (is neither 0.0 nor NaN), for every
    member. How many have a value: `cs_members`."""
    return CS_TRUE(condition, _member())[0]


@kernel
def standard(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """cs_standard: deviation from the cross-section's mean, and the same in standard deviations (ddof 1).

    in      x
    state   none
    out     demeaned, in the unit of x; zscore, NaN when all are equal. NaN for a missing value
    source  pandas x.sub(x.mean(axis=1), axis=0) and its quotient by x.std(axis=1)
    """
    x = now(state, stride, p, 2, g)
    demeaned, zscore = now(state, stride, p, 0, g), now(state, stride, p, 1, g)
    _centre(x, demeaned, n)
    deviation = _deviation(demeaned, zscore, n)
    for i in range(n):
        zscore[i] = demeaned[i] / deviation if deviation > 0.0 else np.nan


CS_STANDARD: Final = Operator(
    "cs_standard", standard, inputs=("x",), outputs=("demeaned", "zscore"), cross=True
)


def cs_demean(x: Number) -> Node:
    """x minus the mean of its cross-section."""
    return CS_STANDARD(x)[0]


def cs_zscore(x: Number) -> Node:
    """x minus the mean of its cross-section, in standard deviations (ddof 1); NaN when all are equal."""
    return CS_STANDARD(x)[1]


@rows
def _times(x: Any, by: float, total: float, out: Any, n: int) -> None:
    for i in range(n):
        out[i] = x[i] / by * total if x[i] - x[i] == 0.0 and by > 0.0 else np.nan


@kernel
def scale(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """cs_scale: x, so that the magnitudes of its cross-section add up to `total`.

    in      x
    state   none
    out     NaN for a missing value, and for all when every value is 0
    source  Kakushadze, 101 Formulaic Alphas: scale(x, a)
    """
    x, out = now(state, stride, p, 1, g), now(state, stride, p, 0, g)
    _magnitude(x, out, n)
    magnitude, _ = _total(out, n)
    _times(x, magnitude, f[0], out, n)


CS_SCALE: Final = Operator("cs_scale", scale, inputs=("x",), parameters=("total",), cross=True)


def cs_scale(x: Number, total: float = 1.0) -> Node:
    """x times the number that makes the magnitudes of its cross-section add up to `total`."""
    return CS_SCALE(x, parameters=(float(total),))[0]


@rows
def _first_flagged(flag: Any, n: int) -> int:
    for i in range(n):
        if flag[i] == 1.0:
            return i
    return -1


@kernel
def pick(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """cs_pick: the value of the one symbol whose flag is 1.0, such as Bitcoin's return.

    in      x, flag, member
    state   none
    out     that value for every member; NaN when no member has the flag, and when its value is missing
    tie     the lowest slot of several with the flag
    """
    x, flag = now(state, stride, p, 1, g), now(state, stride, p, 2, g)
    i = _first_flagged(flag, n)
    value = x[i] if i >= 0 and x[i] - x[i] == 0.0 else np.nan
    _spread(value, now(state, stride, p, 3, g), now(state, stride, p, 0, g), n)


CS_PICK: Final = Operator("cs_pick", pick, inputs=("x", "flag", "member"), cross=True)


def cs_pick(x: Number, symbol_flag: Number) -> Node:
    """The x of the symbol whose flag is 1.0, for every member; NaN while that symbol is no member."""
    return CS_PICK(x, symbol_flag, _member())[0]


@rows
def _both(x: Any, y: Any, out: Any, n: int) -> None:
    """x where both have a value."""
    for i in range(n):
        out[i] = x[i] if x[i] - x[i] == 0.0 and y[i] - y[i] == 0.0 else np.nan


@kernel
def residual(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """cs_residual: what a straight line over the cross-section leaves of y: y - (a + b x), least squares.

    in      y, x
    state   none
    out     in the unit of y; NaN where y or x is missing, and for all when x is the same for all
    source  ordinary least squares with intercept
    """
    y, x, out = now(state, stride, p, 4, g), now(state, stride, p, 5, g), now(state, stride, p, 0, g)
    dy, dx, spare = now(state, stride, p, 1, g), now(state, stride, p, 2, g), now(state, stride, p, 3, g)
    _both(y, x, spare, n)
    _centre(spare, dy, n)
    _both(x, y, spare, n)
    _centre(spare, dx, n)
    _product(dx, dy, spare, n)
    xy, _ = _total(spare, n)
    _square(dx, spare, n)
    xx, _ = _total(spare, n)
    for i in range(n):
        out[i] = dy[i] - xy / xx * dx[i] if xx > 0.0 else np.nan


CS_RESIDUAL: Final = Operator(
    "cs_residual",
    residual,
    inputs=("y", "x"),
    outputs=("", "dy", "dx", "spare"),
    cross=True,
)


def cs_residual(y: Number, x: Number) -> Node:
    """Residual of the regression of y on x and a constant over the cross-section, in the unit of y."""
    return CS_RESIDUAL(y, x)[0]


# ---- operators by group ----------------------------------------------------------------------------------


@part
def _group_end(group: Any, order: Any, begin: int, m: int) -> int:
    """Where the group that begins in the sorted list at `begin` ends."""
    end = begin + 1
    value = group[order[begin] & _SLOT]
    while end < m and group[order[end] & _SLOT] == value:
        end += 1
    return end


@rows
def _gather(x: Any, order: Any, m: int, out: Any) -> None:
    for j in range(m):
        out[j] = x[order[j] & _SLOT]


@rows
def _scatter(x: Any, order: Any, m: int, out: Any) -> None:
    for j in range(m):
        out[order[j] & _SLOT] = x[j]


@kernel
def group(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """cs_group: mean of x among the symbols of the same group, and x minus it.

    in      x, group: any finite number that names the group
    state   none
    out     demeaned, mean: NaN where x or the group is missing. The only one of its group deviates by 0
    source  Kakushadze, 101 Formulaic Alphas: indneutralize(x, g)
    """
    x, ids = now(state, stride, p, 6, g), now(state, stride, p, 7, g)
    demeaned, means = now(state, stride, p, 0, g), now(state, stride, p, 1, g)
    order, spare = _words(now(state, stride, p, 2, g)), _words(now(state, stride, p, 3, g))
    values, deviations = now(state, stride, p, 4, g), now(state, stride, p, 5, g)
    _fill(demeaned, n, np.nan)
    _fill(means, n, np.nan)
    m = _pair(x, ids, order, n)
    _sort(ids, order, spare, m)
    begin = 0
    while begin < m:
        end = _group_end(ids, order, begin, m)
        own = _word(order, begin)
        _gather(x, own, end - begin, values)
        _, mean, _ = _centre(values, deviations, end - begin)
        _scatter(deviations, own, end - begin, demeaned)
        _fill(values, end - begin, mean)
        _scatter(values, own, end - begin, means)
        begin = end


CS_GROUP: Final = Operator(
    "cs_group",
    group,
    inputs=("x", "group"),
    outputs=("demeaned", "mean", "order", "spare", "values", "deviations"),
    cross=True,
)


def cs_neutralise(x: Number, group: Number) -> Node:
    """x minus the mean of its group in the cross-section. `group` is any number that names the group; a
    plain number puts all symbols into one."""
    return CS_GROUP(x, group)[0]


def cs_group_mean(x: Number, group: Number) -> Node:
    """Mean of x among the symbols of the same group; NaN where x or the group is missing."""
    return CS_GROUP(x, group)[1]


@rows
def _shift(order: Any, m: int, by: float, out: Any) -> None:
    for j in range(m):
        slot = order[j] & _SLOT
        out[slot] = out[slot] / by


@kernel
def group_rank(state: Any, stride: int, p: Any, f: Any, g: int, n: int) -> None:
    """cs_group_rank: place of each symbol's value within its group, as a part of the group's number.

    in      x, group: any finite number that names the group
    state   none
    out     in (0, 1]: NaN where x or the group is missing
    tie     equals get the mean of their places
    source  pandas groupby(group).rank(pct=True)
    """
    x, ids = now(state, stride, p, 3, g), now(state, stride, p, 4, g)
    out = now(state, stride, p, 0, g)
    order, spare = _words(now(state, stride, p, 1, g)), _words(now(state, stride, p, 2, g))
    _fill(out, n, np.nan)
    m = _pair(x, ids, order, n)
    _sort(ids, order, spare, m)
    begin = 0
    while begin < m:
        end = _group_end(ids, order, begin, m)
        own = _word(order, begin)
        _rank(x, own, spare, end - begin, out)
        _shift(own, end - begin, float(end - begin), out)
        begin = end


CS_GROUP_RANK: Final = Operator(
    "cs_group_rank",
    group_rank,
    inputs=("x", "group"),
    outputs=("", "order", "spare"),
    cross=True,
)


def cs_group_rank(x: Number, group: Number) -> Node:
    """Place of each symbol's x among the symbols of its group, divided by their number: in (0, 1]."""
    return CS_GROUP_RANK(x, group)[0]
