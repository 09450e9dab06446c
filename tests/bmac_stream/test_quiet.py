"""A storm of one kind is one line a minute, and says how many it stands for."""

import logging

import pytest

from bmac_stream.quiet import MAX_KEYS, Quiet

log = logging.getLogger("test.quiet")


def test_one_line_per_key_and_the_number_of_the_others(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("bmac_stream.quiet.time.monotonic", lambda: now[0])
    quiet = Quiet(log)
    for i in range(50):
        quiet.warning("a", "a %d", i)
        quiet.error("b", "b %d", i)
    assert caplog.messages == ["a 0", "b 0"]
    now[0] += 60.0
    quiet.warning("a", "a %d", 50)
    assert caplog.messages[2:] == ["a 50 (and 49 more like it)"]
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.ERROR, logging.WARNING]


def test_an_exception_comes_with_its_origin(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError("here")
    except ValueError:
        Quiet(log).exception("bug", "in %s", "it")
    assert caplog.messages[0].startswith("in it\nTraceback")
    assert caplog.messages[0].endswith("ValueError: here\n")


def test_keys_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    quiet = Quiet(log)
    for i in range(5 * MAX_KEYS):
        quiet.warning(f"key {i}", "%d", i)
    assert len(caplog.messages) == MAX_KEYS + 1
