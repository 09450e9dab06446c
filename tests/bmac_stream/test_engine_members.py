"""bmac_stream/engine_members.py: what was recorded stays, and nothing else is said to be."""

import json

import numpy as np
import pytest

from bmac_stream.engine_members import Members


def row(*members: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    made = np.zeros(5)
    made[list(members)] = 1.0
    return made


def test_a_ring_of_the_newest_bars() -> None:
    members = Members(4, 5)
    for g in range(10, 17):
        members.record(g, row(g % 5))
    assert (members.first, members.stop) == (13, 17)
    assert members.of(3, 10, 20).tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 0, 0], "bar 13"
    assert members.of(1, 16, 17).tolist() == [1]
    rows = np.full((6, 3), 9.0)
    members.put_into(11, rows)
    assert rows[:2].tolist() == [[9.0] * 3] * 2, "not recorded: left alone"
    assert rows[2:].tolist() == [[0, 0, 0], [0, 0, 0], [1, 0, 0], [0, 1, 0]]


def test_after_a_gap_only_what_follows_is_recorded() -> None:
    members = Members(4, 5)
    members.record(1, row(0))
    members.record(7, row(1))
    assert (members.first, members.stop) == (7, 8)
    assert members.of(0, 1, 8).sum() == 0


def test_replaced_by_more_than_it_holds() -> None:
    members = Members(4, 5)
    members.record(99, row(4))
    members.replace(20, np.eye(6, 3))
    assert (members.first, members.stop) == (22, 26)
    assert members.of(2, 20, 26).tolist() == [0, 0, 1, 0, 0, 0] and members.of(4, 22, 26).sum() == 0


def test_saved_and_taken() -> None:
    members = Members(4, 5)
    for g in range(10, 17):
        members.record(g, row(g % 5, 2))
    saved = json.loads(json.dumps(members.saved(4)))
    other = Members(6, 9)
    other.take(saved)
    assert (other.first, other.stop) == (13, 17)
    for slot in range(4):
        assert other.of(slot, 13, 17).tolist() == members.of(slot, 13, 17).tolist()
    assert other.of(4, 13, 17).sum() == 0, "was not saved"
    empty = Members(6, 9)
    empty.take(Members(3, 2).saved(2))
    assert empty.first == empty.stop
    for wrong in ({"n_bars": 5}, {"n_slots": 99}, {"first": -1}, {"bits": "?"}):
        with pytest.raises(ValueError):
            Members(6, 9).take(saved | wrong)
