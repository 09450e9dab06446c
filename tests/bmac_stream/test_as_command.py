"""A command with a misspelt flag does nothing."""

import sys

import pytest

from bmac_stream.as_command import as_command


def start(cfg: str, seconds: float = 0.0) -> None:
    """What a collector would do."""
    print("started", cfg, seconds)


def words(monkeypatch: pytest.MonkeyPatch, *given: str) -> None:
    monkeypatch.setattr(sys, "argv", ["start", *given])


def test_what_is_understood_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    words(monkeypatch, "a.json", "--seconds=2.5")
    as_command(start)
    assert capsys.readouterr().out == "started a.json 2.5\n"


@pytest.mark.parametrize("given", [["a.json", "--second=3"], ["a.json", "1", "more"], [], ["--help"]])
def test_what_is_not_does_nothing(
    given: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words(monkeypatch, *given)
    with pytest.raises(SystemExit) as caught:
        as_command(start)
    assert caught.value.code == (0 if given == ["--help"] else 2)
    assert "started" not in capsys.readouterr().out
