"""An exhaustive weak-memory model of the store's protocols: every local reordering times every interleaving.

x86 keeps loads in order and stores in order, so on x86 no stress test can miss a fence: the order is right
by accident. This model plays the same steps on a weaker machine, of the kind of ARMv8:

* a thread may execute a memory operation as soon as nothing before it in the program holds it back. Held
  back are: operations on the same word; everything after an acquire load; a release store after everything
  before it; an acquire load after an earlier release store (ARM's `stlr; ldar`); loads before an acquire
  fence against everything after it; everything before a release fence against the stores after it;
* memory is one and the same for all (multi-copy atomic): a store is seen by everybody at one moment;
* addresses hold nothing back. The reader guesses which window it will read, loads it in any order that the
  rules allow, and is asked afterwards whether the guess was right. This is weaker than hardware, which
  respects address dependencies, and as weak as what a compiler may do.

`explore` visits every reachable state once and counts, by adding up over paths, in how many executions a
reader was right, was wrong ("bad"), or refused. A protocol holds when bad == 0 and accepted > 0.

Limits: a few bars of one or two words, one writer, one reader (they do not influence each other), at most
two symbols; one pass of the reader, no retries. No machines without multi-copy atomicity (POWER), no values
out of thin air, no mixed sizes. It is a killer of mutants and no proof; the argument itself is in
docs/shm-format.md. What the compiler makes of the source is looked at in test_codegen.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

__all__ = [
    "MODELS",
    "Model",
    "Result",
    "copies",
    "corrections",
    "explore",
    "fence",
    "forming",
    "load",
    "panel",
    "ring",
    "slot_reuse",
    "store",
    "wakeup",
]

Loc = Hashable


@dataclass(frozen=True, slots=True)
class Op:
    """One step of a thread: a load into the next register, a store, an atomic add, or a fence."""

    kind: str  # "load", "store", "add", "fence"
    order: str  # "rlx", "acq", "rel", "full"
    loc: Loc = None
    value: Hashable = None

    @property
    def reads(self) -> bool:
        return self.kind in ("load", "add")

    @property
    def writes(self) -> bool:
        return self.kind in ("store", "add")


def load(loc: Loc, order: str = "rlx") -> Op:
    """A load; its value becomes the thread's next register."""
    return Op("load", order, loc)


def store(loc: Loc, value: Hashable, order: str = "rlx") -> Op:
    """A store of a value known beforehand: the only writer knows its own counters."""
    return Op("store", order, loc, value)


def add(loc: Loc, value: int, order: str = "full") -> Op:
    """An atomic read-modify-write; the old value becomes the thread's next register."""
    return Op("add", order, loc, value)


def fence(order: str) -> Op:
    """A fence: "acq", "rel" or "full"."""
    return Op("fence", order)


def _before(a: Op, b: Op) -> bool:
    """Must a, which is earlier in the program, take effect before b?"""
    if a.kind == "fence" and b.kind == "fence":
        return a.order == b.order == "full"
    if b.kind == "fence":
        return b.order in ("rel", "full") or (b.order == "acq" and a.reads)
    if a.kind == "fence":
        return a.order in ("acq", "full") or (a.order == "rel" and b.writes)
    return (
        a.loc == b.loc
        or a.order == "full"
        or b.order == "full"
        or (a.order == "acq" and a.reads)
        or (b.order == "rel" and b.writes)
        or (a.order == "rel" and b.order == "acq")
    )


def explore(
    threads: Sequence[Sequence[Op]],
    memory: dict[Loc, Hashable],
    judge: Callable[[Sequence[tuple[Hashable, ...]]], str],
) -> Counter[str]:
    """Number of executions by verdict. `judge` gets, for each thread, its registers in program order."""
    needs = [
        [sum(1 << i for i in range(j) if _before(ops[i], ops[j])) for j in range(len(ops))] for ops in threads
    ]
    done = tuple((1 << len(ops)) - 1 for ops in threads)
    locs = {loc: i for i, loc in enumerate(memory)}
    registers = [[j for j, op in enumerate(ops) if op.reads] for ops in threads]
    seen: dict[tuple[object, ...], Counter[str]] = {}

    def visit(
        masks: tuple[int, ...], mem: tuple[Hashable, ...], regs: tuple[tuple[Hashable, ...], ...]
    ) -> Counter[str]:
        if masks == done:
            return Counter({judge(regs): 1})
        key = (masks, mem, regs)
        found = seen.get(key)
        if found is not None:
            return found
        total: Counter[str] = Counter()
        for t, ops in enumerate(threads):
            mask = masks[t]
            for j, op in enumerate(ops):
                if mask >> j & 1 or needs[t][j] & ~mask:
                    continue
                new_mem, new_regs = mem, regs
                if op.reads:
                    row = list(regs[t])
                    row[registers[t].index(j)] = mem[locs[op.loc]]
                    new_regs = (*regs[:t], tuple(row), *regs[t + 1 :])
                if op.writes:
                    i = locs[op.loc]
                    value = mem[i] + op.value if op.kind == "add" else op.value  # type: ignore[operator]
                    new_mem = (*mem[:i], value, *mem[i + 1 :])
                total.update(visit((*masks[:t], mask | 1 << j, *masks[t + 1 :]), new_mem, new_regs))
        seen[key] = total
        return total

    blank = tuple((None,) * len(r) for r in registers)
    return visit((0,) * len(threads), tuple(memory.values()), blank)


@dataclass(frozen=True, slots=True)
class Result:
    """Executions in which the reader got the right value, a wrong one, or refused."""

    good: int
    bad: int
    refused: int

    @property
    def accepted(self) -> int:
        return self.good + self.bad

    @classmethod
    def of(cls, counts: Counter[str]) -> Result:
        return cls(counts["good"], counts["bad"], counts["refused"])


# ---- (a) the slack ring ------------------------------------------------------------------------------


def ring(
    *,
    window: int = 1,
    cap: int = 3,
    n_appends: int = 4,
    start_fence: bool = True,
    release: bool = True,
    count_first: bool = False,
    acquire: bool = True,
    reader_fence: bool = True,
    limit: str = "<",
    validate: bool = True,
) -> Result:
    """append(g) against a read of the last `window` bars.

    append: release fence; two words of the bar into slot g mod cap; count = g + 1 (release).
    read:   c1 = count (acquire); the window's words; acquire fence; c2 = count; accept iff
            c2 - c1 < cap - window. Right iff every word is exactly bar k's.
    """
    first = cap  # the ring is full of bars 0 .. cap-1
    writer: list[Op] = []
    for g in range(first, first + n_appends):
        publish = store("count", g + 1, "rel" if release else "rlx")
        data = [store(("d", g % cap, word), g) for word in range(2)]
        if start_fence:
            writer.append(fence("rel"))
        writer += [publish, *data] if count_first else [*data, publish]
    memory: dict[Loc, Hashable] = {"count": first}
    memory |= {("d", slot, word): slot for slot in range(cap) for word in range(2)}

    counts: Counter[str] = Counter()
    for guess in range(first, first + n_appends + 1):
        bars = [(k, word) for k in range(guess - window, guess) for word in range(2)]
        reader = [load("count", "acq" if acquire else "rlx")]
        reader += [load(("d", k % cap, word)) for k, word in bars]
        if reader_fence:
            reader.append(fence("acq"))
        reader.append(load("count"))

        def judge(
            regs: Sequence[tuple[Hashable, ...]], guess: int = guess, bars: list[tuple[int, int]] = bars
        ) -> str:
            c1, *words, c2 = regs[1]
            if c1 != guess:
                return "other guess"
            ahead = c2 - c1  # type: ignore[operator]
            if validate and not (ahead < cap - window or (limit == "<=" and ahead == cap - window)):
                return "refused"
            return "good" if all(w == k for w, (k, _) in zip(words, bars, strict=True)) else "bad"

        counts += explore([writer, reader], memory, judge)
    return Result.of(counts)


def forming(
    *,
    cells: int = 3,
    n_updates: int = 4,
    start_fence: bool = True,
    release: bool = True,
    acquire: bool = True,
    reader_fence: bool = True,
    limit: str = "<",
    validate: bool = True,
    count_first: bool = False,
) -> Result:
    """The forming bar: the append form with window 1 and a few cells, counted by updates.

    A cell's words are the bar number and a value: both must come from the same update.
    """
    return ring(
        window=1,
        cap=cells,
        n_appends=n_updates,
        start_fence=start_fence,
        release=release,
        acquire=acquire,
        reader_fence=reader_fence,
        limit=limit,
        validate=validate,
        count_first=count_first,
    )


def copies(
    *,
    cap: int = 3,
    window: int = 2,
    block: int = 2,
    n_appends: int = 5,
    copy: str = "with the next block",
    rest: bool = True,
    start_fence: bool = True,
    release: bool = True,
    acquire: bool = True,
    reader_fence: bool = True,
    limit: str = "<",
    validate: bool = True,
    reader_begins: str = "by the end",
) -> Result:
    """The ring as it lies: a bar is stored in the upper half, and copied to the lower one with its block.

    append(g): release fence; the upper word; if g begins a block of cells (or the ring), the lower words of
               the block before; count = g + 1 (release).
    read:      bars of the newest one's lap from the upper half, of the lap before from the lower one; else
               as `ring`. A window of an older layout began in the lower half whenever it fitted there.
    One word a bar: whole bars are `ring`'s business. The writer copies what it stored itself, so it is known.
    """
    first = 2 * cap - 2  # the last cells of a lap, all of the next one's first
    writer: list[Op] = []

    def held(c: int, g: int) -> int:
        """The bar in upper cell c once bar g is stored."""
        return g - (g - c) % cap

    def lower(begin: int, g: int) -> list[Op]:
        return [store(("l", c), held(c, g)) for c in range(begin, min(begin + block, cap))]

    for g in range(first, first + n_appends):
        cell = g % cap
        down: list[Op] = []
        if copy == "with its last bar but one":
            if cell % block == block - 2:
                down = lower(cell - cell % block, g)
        elif cell % block == 0 and copy != "never":
            before = (cell or cap) - 1
            if rest or (before + 1) % block == 0:
                down = lower(before - before % block, g)
        fences = [fence("rel")] if start_fence else []
        publish = store("count", g + 1, "rel" if release else "rlx")
        upper = store(("u", cell), g)
        if copy == "after the count":
            writer += [*fences, upper, publish, *down]
        else:
            writer += [*fences, upper, *down, publish]
    memory: dict[Loc, Hashable] = {"count": first}
    for c in range(cap):
        newest = c + cap if c + cap < first else c
        memory[("u", c)] = newest
        memory[("l", c)] = newest if c < (first - 1) % cap // block * block else newest % cap

    counts: Counter[str] = Counter()
    for guess in range(first, first + n_appends + 1):
        bars = range(guess - window, guess)
        fits = reader_begins == "in the lower half" and (guess - window) % cap + window <= cap
        lap = (guess - 1) // cap
        reader = [load("count", "acq" if acquire else "rlx")]
        reader += [load(("u" if k // cap == lap and not fits else "l", k % cap)) for k in bars]
        if reader_fence:
            reader.append(fence("acq"))
        reader.append(load("count"))

        def judge(regs: Sequence[tuple[Hashable, ...]], guess: int = guess, bars: range = bars) -> str:
            c1, *words, c2 = regs[1]
            if c1 != guess:
                return "other guess"
            ahead = c2 - c1  # type: ignore[operator]
            if validate and not (ahead < cap - window or (limit == "<=" and ahead == cap - window)):
                return "refused"
            return "good" if words == list(bars) else "bad"

        counts += explore([writer, reader], memory, judge)
    return Result.of(counts)


# ---- (b) corrections ---------------------------------------------------------------------------------


def corrections(
    *,
    late_fill: bool = False,
    begin: bool = True,
    begin_fence: bool = True,
    end_release: bool = True,
    end_first: bool = False,
    acquire: bool = True,
    reader_fence: bool = True,
    swapped: bool = False,
    validate: bool = True,
    count_only: bool = False,
    n_corrections: int = 2,
    halves: str = "ul",
) -> Result:
    """Changes to a bar that readers may be reading, while appends go on.

    Two bars (2, 3) are published, window 2, cap 4. The writer corrects bar 3, appends bar 4, corrects bar 3
    again (a late fill: what was corrected was PENDING; two words, value and status, either way). From bar 4
    on the ring has come round, and bar 3 is read from the lower half.
    correct: begin + 1; release fence; the words, in both `halves`; end + 1 (release).
    read:    e = end (acquire); c1 = count (acquire); words; acquire fence; c2 = count; b = begin;
             accept iff e == b and c2 - c1 < cap - window.
    Right iff every word of bar 3 is exactly what correction number e left, and the others their bar's.
    """
    cap, window = 4, 2
    writer: list[Op] = []
    for n in range(1, n_corrections + 1):
        if begin:
            writer.append(store("begin", n))
        if begin_fence:
            writer.append(fence("rel"))
        end = store("end", n, "rel" if end_release else "rlx")
        data = [store((half, 3, word), (3, n)) for half in halves for word in range(2)]
        writer += [end, *data] if end_first else [*data, end]
        if n == 1:
            writer += [fence("rel"), *(store(("u", 0, word), (4, 0)) for word in range(2))]
            writer.append(store("count", 5, "rel"))
    old = "pending" if late_fill else 0
    memory: dict[Loc, Hashable] = {"count": 4, "begin": 0, "end": 0}
    for slot in range(cap):
        for half in "ul":
            memory |= {(half, slot, word): (slot, old if slot == 3 else 0) for word in range(2)}

    counts: Counter[str] = Counter()
    first, last = ("begin", "end") if swapped else ("end", "begin")
    for guess in (4, 5):
        bars = [(k, word) for k in range(guess - window, guess) for word in range(2)]
        order = "acq" if acquire else "rlx"
        reader = [load(first, order), load("count", order)]
        lap = (guess - 1) // cap
        reader += [load(("u" if k // cap == lap else "l", k % cap, word)) for k, word in bars]
        if reader_fence:
            reader.append(fence("acq"))
        reader += [load("count"), load(last)]

        def judge(
            regs: Sequence[tuple[Hashable, ...]], guess: int = guess, bars: list[tuple[int, int]] = bars
        ) -> str:
            e, c1, *words, c2, b = regs[1]
            if c1 != guess:
                return "other guess"
            if validate and (c2 - c1 >= cap - window or (e != b and not count_only)):  # type: ignore[operator]
                return "refused"
            for word, (k, _) in zip(words, bars, strict=True):
                if word != (k, (e or old) if k == 3 else 0):
                    return "bad"
            return "good"

        counts += explore([writer, reader], memory, judge)
    return Result.of(counts)


# ---- (c) the panel -----------------------------------------------------------------------------------


def panel(
    *,
    cap: int = 3,
    head: bool = True,
    head_after: bool = False,
    head_max: bool = True,
    start_fence: bool = True,
    release: bool = True,
    complete_early: bool = False,
    acquire: bool = True,
    reader_fence: bool = True,
    limit: str = "<",
    validate: str = "head",
    up_to: str = "complete",
) -> Result:
    """Two symbols; A runs ahead of B. Window 1, so that the panel of bar g is one cell of each.

    append(g): head = max(head, g); release fence; the word; count = g + 1 (release).
    complete(g): complete = g + 1 (release), once both have g.
    panel: p = complete (acquire); both symbols' cells of bar p - 1; acquire fence; h = head; accept iff
           h - p < cap - window. Right iff both words are bar p - 1, in particular none is bar p - 1 - cap.
    Mutant readers validate by `complete` itself, or read up to `head`, or up to A's count.
    """
    first, window = cap, 1
    #   A begins cap - 1 bars while B still owes its first, then B follows
    steps = [("A", first), ("A", first + 1), ("B", first), ("done", first)]
    steps += [("A", first + 2), ("B", first + 1), ("done", first + 1)]
    steps += [("A", first + 3)] if cap == 3 else []
    writer: list[Op] = []
    newest = first - 1
    order = "rel" if release else "rlx"
    for i, (what, g) in enumerate(steps):
        if what == "done":
            if not complete_early:
                writer.append(store("complete", g + 1, order))
            continue
        newest = max(newest, g) if head_max else g
        raised = [store("head", newest)] if head else []
        body = [*([fence("rel")] if start_fence else []), store((what, g % cap), g)]
        writer += [*body, *raised] if head_after else [*raised, *body]
        writer.append(store(("count", what), g + 1, order))
        if complete_early and i + 2 < len(steps) and steps[i + 2][0] == "done":
            writer.append(store("complete", steps[i + 2][1] + 1, order))
    memory: dict[Loc, Hashable] = {
        "complete": first,
        "head": first - 1,
        ("count", "A"): first,
        ("count", "B"): first,
    }
    memory |= {(s, slot): slot for s in "AB" for slot in range(cap)}

    counts: Counter[str] = Counter()
    word = {"complete": "complete", "head": "head", "count": ("count", "A")}[up_to]
    last = {"head": "head", "complete": "complete", "none": "head"}[validate]
    for guess in range(first - 1, first + 5):
        newest_bar = guess if up_to == "head" else guess - 1
        reader = [load(word, "acq" if acquire else "rlx")]
        reader += [load((s, newest_bar % cap)) for s in "AB"]
        if reader_fence:
            reader.append(fence("acq"))
        reader.append(load(last))

        def judge(
            regs: Sequence[tuple[Hashable, ...]], guess: int = guess, newest_bar: int = newest_bar
        ) -> str:
            p, a, b, h = regs[1]
            if p != guess:
                return "other guess"
            ahead = h - newest_bar - 1  # type: ignore[operator]
            if validate != "none" and not (ahead < cap - window or (limit == "<=" and ahead == cap - window)):
                return "refused"
            return "good" if a == b == newest_bar else "bad"

        counts += explore([writer, reader], memory, judge)
    return Result.of(counts)


# ---- wake-up and directory: not about windows, the same machine -----------------------------------------


def wakeup(
    *,
    waiters: bool = True,
    bump: bool = True,
    bump_first: bool = False,
    flag_first: bool = False,
    word_late: bool = False,
    full: bool = True,
    recheck: bool = False,
) -> Result:
    """A reader goes to sleep while the writer publishes: "bad" is a reader asleep that nobody will wake.

    publisher: data = 1 (release); word + 1 (seq_cst); if waiters > 0: FUTEX_WAKE.
    consumer:  f = word (acquire); data seen? then done; waiters + 1 (seq_cst); FUTEX_WAIT(word == f).
    The kernel's compare is the consumer's second load of `word`: if it differs there is no sleep.
    With `waiters=False` the publisher wakes always. "refused" stands for: woken, or saw the data.
    """
    strong = "full" if full else "rlx"
    publish = store("data", 1, "rel")
    bumped = [add("word", 1, strong)] if bump else []
    look = [load("waiters", strong)] if waiters else []
    if flag_first:
        publisher = [*look, publish, *bumped]
    elif bump_first:
        publisher = [*bumped, publish, *look]
    else:
        publisher = [publish, *bumped, *look]
    sample, check = load("word", "acq"), load("data", "acq")
    consumer = [check, sample] if word_late else [sample, check]
    consumer += [add("waiters", 1, strong), load("word", "full" if full else "rlx")]
    if recheck:
        consumer.insert(3, load("data", "acq"))

    def judge(regs: Sequence[tuple[Hashable, ...]]) -> str:
        flag = regs[0][0 if flag_first or not bump else 1] if waiters else 1
        first, second = regs[1][:2]
        f, data = (second, first) if word_late else (first, second)
        if data or (recheck and regs[1][3]):
            return "good"
        slept = regs[1][-1] == f
        if not slept:
            return "refused"
        #   asleep before the bump: the wake call comes after it and finds the sleeper, if it is made at all.
        #   asleep after the last bump: the wake call may have been made already.
        after_bump = f == int(bump) or not bump
        return "bad" if flag == 0 or after_bump else "refused"

    return Result.of(explore([publisher, consumer], {"data": 0, "word": 0, "waiters": 0}, judge))


def slot_reuse(
    *, state_last: bool = True, release: bool = True, acquire: bool = True, reuse: bool = False
) -> Result:
    """A symbol is added while a reader looks: name and history first, then the state (release).

    With `reuse` a removed symbol's slot is given to another one, which the store never does: a reader that
    holds the slot number reads a stranger's bars, and the state says ACTIVE both times.
    """
    active = store("state", "active", "rel" if release else "rlx")
    fill = [store("name", "B"), store("data", "B")]
    if reuse:
        writer = [store("state", "delisted", "rel"), fence("rel"), *fill, active]
        memory: dict[Loc, Hashable] = {"state": "active", "name": "A", "data": "A"}
        reader = [load("name", "acq"), load("state", "acq"), load("data"), fence("acq"), load("state")]

        def judge(regs: Sequence[tuple[Hashable, ...]]) -> str:
            name, state, data, state2 = regs[1]
            if state != "active" or state2 != "active":
                return "refused"
            return "good" if name == data else "bad"

        return Result.of(explore([writer, reader], memory, judge))
    writer = [*fill, active] if state_last else [active, *fill]
    memory = {"state": "free", "name": "", "data": ""}
    reader = [load("state", "acq" if acquire else "rlx"), load("name"), load("data")]

    def judge_new(regs: Sequence[tuple[Hashable, ...]]) -> str:
        state, name, data = regs[1]
        if state != "active":
            return "refused"
        return "good" if name == data == "B" else "bad"

    return Result.of(explore([writer, reader], memory, judge_new))


@dataclass(frozen=True, slots=True)
class Model:
    """A protocol in its correct forms, and its deliberate mistakes: all as keyword arguments."""

    run: Callable[..., Result]
    correct: dict[str, dict[str, object]]
    mutants: dict[str, dict[str, object]]


MODELS: dict[str, Model] = {
    "ring": Model(
        ring,
        correct={
            "cap 2, window 1": {"cap": 2},
            "cap 3, window 1": {},
            "cap 3, window 2": {"window": 2},
            "cap 4, window 2": {"cap": 4, "window": 2},
        },
        mutants={
            "<= instead of <": {"limit": "<="},
            "no validation": {"validate": False},
            "cap == window": {"cap": 2, "window": 2, "limit": "<="},
            "no fence at the start of append": {"start_fence": False},
            "count stored before the data": {"count_first": True},
            "count not release": {"release": False},
            "reader without acquire fence": {"reader_fence": False},
            "reader without acquire load": {"acquire": False},
        },
    ),
    "copies": Model(
        copies,
        correct={
            "blocks of 2 and a rest": {},
            "whole blocks": {"cap": 4, "n_appends": 6},
            "whole blocks, window 3": {"cap": 4, "window": 3},
            "one block": {"block": 3},
            "shorter than a block": {"block": 4},
        },
        mutants={
            "never copied down": {"copy": "never"},
            "block copied with its last bar but one": {"copy": "with its last bar but one", "cap": 4},
            "block copied after the count": {"copy": "after the count"},
            "rest at the end of the ring forgotten": {"rest": False},
            "reader begins in the lower half where it can": {"reader_begins": "in the lower half", "cap": 4},
            "<= instead of <": {"limit": "<="},
            "no validation": {"validate": False},
            "no fence at the start of append": {"start_fence": False},
            "count not release": {"release": False},
            "reader without acquire fence": {"reader_fence": False},
            "reader without acquire load": {"acquire": False},
        },
    ),
    "corrections": Model(
        corrections,
        correct={"revised": {}, "late fill": {"late_fill": True}, "once": {"n_corrections": 1}},
        mutants={
            "no begin/end check, count only": {"count_only": True},
            "no validation": {"validate": False},
            "correction without begin": {"begin": False},
            "correction without fence": {"begin_fence": False},
            "end not release": {"end_release": False},
            "end stored before the data": {"end_first": True},
            "end loaded after begin": {"swapped": True},
            "reader without acquire fence": {"reader_fence": False},
            "reader without acquire load": {"acquire": False},
            "late fill without fence": {"begin_fence": False, "late_fill": True},
            "upper copy left out": {"halves": "l"},
            "lower copy left out": {"halves": "u"},
        },
    ),
    "panel": Model(
        panel,
        correct={"cap 2": {"cap": 2}, "cap 3": {}},
        mutants={
            "validated by complete, not head": {"validate": "complete"},
            "no validation": {"validate": "none"},
            "read up to head: shows bar g - cap": {"up_to": "head"},
            "read up to one symbol's count": {"up_to": "count"},
            "no head": {"head": False},
            "head stored after the data": {"head_after": True},
            "head may go back": {"head_max": False},
            "<= instead of <": {"limit": "<="},
            "no fence between head and data": {"start_fence": False},
            "complete not release": {"release": False},
            "complete stored before the last symbol": {"complete_early": True},
            "reader without acquire fence": {"reader_fence": False},
            "reader without acquire load": {"acquire": False},
        },
    ),
    "forming": Model(
        forming,
        correct={"2 cells": {"cells": 2}, "3 cells": {}, "4 cells": {"cells": 4}},
        mutants={
            "one cell": {"cells": 1, "limit": "<="},
            "<= instead of <": {"limit": "<="},
            "no validation": {"validate": False},
            "no fence at the start": {"start_fence": False},
            "version not release": {"release": False},
            "version stored before the data": {"count_first": True},
            "reader without acquire fence": {"reader_fence": False},
            "reader without acquire load": {"acquire": False},
        },
    ),
    "wake-up": Model(
        wakeup,
        correct={
            "waiters counted": {},
            "always woken": {"waiters": False},
            "with recheck": {"recheck": True},
        },
        mutants={
            "word sampled after the data check": {"word_late": True},
            "word bumped before the data": {"bump_first": True},
            "word not bumped": {"bump": False},
            "waiters read before publishing": {"flag_first": True},
            "no full fences": {"full": False},
        },
    ),
    "directory": Model(
        slot_reuse,
        correct={"name, data, then state": {}},
        mutants={
            "state before name": {"state_last": False},
            "state not release": {"release": False},
            "state loaded without acquire": {"acquire": False},
            "slot given to another symbol": {"reuse": True},
        },
    ),
}
