"""bmac_stream/engine_modules.py: a user's module is read again when it changed, and never half."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bmac_stream.engine import named
from bmac_stream.engine_modules import UserModules
from factor_defs.registry import Entry

HELPER = "from factor_defs.fields import close\n\n\ndef scaled():\n    return close * {}\n"
MINE = "from helper_of_mine import scaled\n\n\ndef Bias(n: int = 3):\n    return scaled() + {}\n"
ENTRIES: tuple[Entry, ...] = (["mine_to_read:Bias", 3],)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    write(tmp_path, 2.0, 0.5)
    yield tmp_path
    for name in ("mine_to_read", "helper_of_mine", "pack_of_mine", "pack_of_mine.part"):
        sys.modules.pop(name, None)


def write(folder: Path, scale: float, more: float) -> None:
    (folder / "helper_of_mine.py").write_text(HELPER.format(scale))
    (folder / "mine_to_read.py").write_text(MINE.format(more))


def text() -> str:
    return str(named(ENTRIES)["mine_to_read:Bias_3"].text)


def test_an_edit_of_it_or_of_what_it_imports(folder: Path) -> None:
    modules = UserModules()
    assert text() == "add(mul(close, 2.0), 0.5)"
    modules.note(ENTRIES)
    module = sys.modules["mine_to_read"]
    with modules.reread(ENTRIES) as changed:
        assert not changed and text() == "add(mul(close, 2.0), 0.5)"
    assert sys.modules["mine_to_read"] is module, "nothing changed: nothing is imported again"
    write(folder, 2.0, 7.5)  # as long as before, within the same second
    with modules.reread(ENTRIES) as changed:
        assert changed == ["mine_to_read"] and text() == "add(mul(close, 2.0), 7.5)"
    write(folder, 4.0, 7.5)
    with modules.reread(ENTRIES) as changed:
        assert changed == ["helper_of_mine"] and text() == "add(mul(close, 4.0), 7.5)"
    with modules.reread(ENTRIES) as changed:
        assert not changed


def test_a_broken_one_leaves_what_was(folder: Path) -> None:
    modules = UserModules()
    before = text()
    modules.note(ENTRIES)
    module = sys.modules["mine_to_read"]
    for broken in ("def Bias(n:\n", "raise OSError('no')\n"):
        write(folder, 8.0, 1.0)
        (folder / "mine_to_read.py").write_text(broken)
        with pytest.raises(Exception), modules.reread(ENTRIES):  # noqa: B017  # whatever it raises
            text()
        assert sys.modules["mine_to_read"] is module and text() == before
    write(folder, 8.0, 1.0)
    with modules.reread(ENTRIES) as changed:
        assert sorted(changed) == ["helper_of_mine", "mine_to_read"]
        assert text() == "add(mul(close, 8.0), 1.0)"


def test_one_that_was_left_out_for_a_while(folder: Path) -> None:
    modules = UserModules()
    text()
    modules.note(ENTRIES)
    with modules.reread(["qlib158"]) as changed:
        assert not changed
    write(folder, 2.0, 9.5)
    with modules.reread(ENTRIES) as changed:
        assert changed == ["mine_to_read"] and text() == "add(mul(close, 2.0), 9.5)"


def test_all_of_a_package(folder: Path) -> None:
    pack = folder / "pack_of_mine"
    pack.mkdir()
    (pack / "__init__.py").write_text("from pack_of_mine.part import scaled as Scaled\n")
    (pack / "part.py").write_text(HELPER.format(3.0))
    (pack / "__init__.py").write_text("from pack_of_mine import part\nFACTORS = {'Scaled': part.scaled}\n")
    entries = ["pack_of_mine:Scaled"]
    modules = UserModules()
    named(entries)
    modules.note(entries)
    (pack / "part.py").write_text(HELPER.format(5.0))
    with modules.reread(entries) as changed:
        assert changed == ["pack_of_mine.part"]
        assert named(entries)["pack_of_mine:Scaled"].text == "mul(close, 5.0)"
    assert "mine_to_read" not in modules._seen and "pytest" not in modules._seen
