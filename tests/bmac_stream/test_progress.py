"""The progress of the history, on a terminal and without one."""

import io
import logging

import pytest
from rich.console import Console

from bmac_stream.progress import LINE_EVERY_S, Progress


def test_a_terminal_gets_a_bar() -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=120)
    with Progress(10, 2400, console) as progress:
        progress.show(4, 321, 12)
        progress._bar.refresh()  # type: ignore[union-attr]
    assert "6/10" in text.getvalue()
    assert "321/2400" in text.getvalue()


def test_elsewhere_a_line_now_and_then(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    now = [0.0]
    monkeypatch.setattr("bmac_stream.progress.time.monotonic", lambda: now[0])
    with Progress(10, 2400, Console(file=io.StringIO())) as progress:
        progress.show(10, 0, 0)
        assert caplog.messages == []
        now[0] = LINE_EVERY_S
        progress.show(5, 321, 12)
        progress.show(5, 321, 12)
    assert caplog.messages == [
        "history: 5/10 symbols, 12 requests, weight used 321/2400, about 5 s left",
        "history of 10 symbols in 5.0 s",
    ]
