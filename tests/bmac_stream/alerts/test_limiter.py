"""bmac_stream.alerts.limiter: how often, what is merged, and that nothing is dropped in silence."""

import math
import random

from bmac_stream.alerts.events import KINDS, Alert
from bmac_stream.alerts.limiter import GATHER_S, MAX_LINES, PER_KIND_S, PER_MINUTE, Limiter, Note


def add(limiter: Limiter, now: float, kind: str = "error", text: str = "x") -> None:
    limiter.add(Alert(kind, text, now), now)


def texts(note: Note | None) -> list[str]:
    return [] if note is None else [line.text for line in note.lines]


def test_what_comes_together_is_one_message() -> None:
    limiter = Limiter()
    assert limiter.due_s(0.0) == math.inf and limiter.take(0.0) is None
    add(limiter, 10.0, "listing", "A")
    add(limiter, 10.2, "error", "B")
    assert limiter.take(10.2) is None, "it waits for more"
    assert 0 < limiter.due_s(10.2) <= GATHER_S
    note = limiter.take(10.0 + GATHER_S)
    assert texts(note) == ["A"], "B has not waited long enough, by its own kind"
    assert texts(limiter.take(10.2 + GATHER_S)) == ["B"]
    assert limiter.take(999.0) is None


def test_a_kind_is_told_once_in_a_while_and_the_rest_is_counted() -> None:
    limiter = Limiter()
    add(limiter, 0.0, text="first")
    assert texts(limiter.take(1.0)) == ["first"]
    for i in range(40):
        add(limiter, 2.0, text=f"e{i}")
    for _ in range(7):
        add(limiter, 3.0, text="e0")
    assert limiter.take(1.0 + PER_KIND_S - 0.01) is None
    note = limiter.take(1.0 + PER_KIND_S)
    assert note is not None
    assert texts(note) == [f"e{i}" for i in range(MAX_LINES)]
    assert note.lines[0].times == 8
    assert note.suppressed == {"error": 40 - MAX_LINES}


def test_other_kinds_do_not_wait_for_a_noisy_one() -> None:
    limiter = Limiter()
    add(limiter, 0.0)
    limiter.take(1.0)
    add(limiter, 2.0, "error")
    add(limiter, 2.0, "ban", "banned")
    assert texts(limiter.take(3.0)) == ["banned"]


def test_over_all_kinds_there_is_a_limit_too() -> None:
    limiter = Limiter(per_kind_s=0.0)
    sent, now = [], 0.0
    while now < 300.0:
        add(limiter, now, random.Random(now).choice(list(KINDS)))
        if limiter.take(now) is not None:
            sent.append(now)
        now += 0.5
    assert len(sent) > 5 * (PER_MINUTE - 1)
    for i in range(len(sent) - PER_MINUTE):
        assert sent[i + PER_MINUTE] - sent[i] >= 60.0


def test_no_alert_is_lost_without_being_counted() -> None:
    draw, limiter = random.Random(7), Limiter()
    added, told, now = 0, 0, 0.0
    while now < 1_000.0:
        for _ in range(draw.choice((0, 0, 0, 1, 5, 50))):
            add(limiter, now, draw.choice(list(KINDS)), str(draw.randrange(30)))
            added += 1
        if (note := limiter.take(now)) is not None:
            told += sum(line.times for line in note.lines) + sum(note.suppressed.values())
        now += draw.random()
    note = limiter.take(now, last=True)
    assert note is not None
    told += sum(line.times for line in note.lines) + sum(note.suppressed.values())
    assert told == added
    assert limiter.take(now, last=True) is None


def test_at_the_end_everything_goes() -> None:
    limiter = Limiter()
    add(limiter, 0.0)
    limiter.take(1.0)
    add(limiter, 1.1, "stop", "bye")
    add(limiter, 1.1, "error", "e")
    assert sorted(texts(limiter.take(1.1, last=True))) == ["bye", "e"]


def test_an_unknown_kind_is_an_error() -> None:
    limiter = Limiter()
    add(limiter, 0.0, "what?")
    note = limiter.take(1.0)
    assert note is not None and note.lines[0].kind == "error"


def test_a_channel_that_wants_some_kinds_only() -> None:
    limiter = Limiter()
    for kind in ("ban", "listing"):
        for i in range(MAX_LINES + 2):
            add(limiter, 0.0, kind, f"{kind}{i}")
    note = limiter.take(1.0)
    assert note is not None and note.only(None) is note
    part = note.only(("ban",))
    assert part is not None
    assert {line.kind for line in part.lines} == {"ban"} and part.suppressed == {"ban": 2}
    assert note.only(("disk",)) is None
