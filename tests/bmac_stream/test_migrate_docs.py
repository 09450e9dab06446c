"""docs/migrate-from-bmac: what it tells people to type exists, and both languages say the same."""

import ast
import importlib.util
import json
import re
from pathlib import Path

import pytest

from bmac_stream import bmac_kit
from bmac_stream.cli import COMMANDS
from bmac_stream.config import Config, load_config

DOCS = Path(__file__).resolve().parents[2] / "docs"
ENGLISH = (DOCS / "migrate-from-bmac.md").read_text("utf-8")
CHINESE = (DOCS / "migrate-from-bmac.zh-CN.md").read_text("utf-8")


def blocks(text: str) -> list[tuple[str, str]]:
    """(language, code) of every block."""
    return re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_both_languages_have_the_same_code_and_tables() -> None:
    assert blocks(ENGLISH) == blocks(CHINESE)
    assert len(blocks(ENGLISH)) >= 8
    rows = [sum(line.startswith("|") for line in text.splitlines()) for text in (ENGLISH, CHINESE)]
    assert rows[0] == rows[1]
    heads = [re.findall(r"^#+", text, re.MULTILINE) for text in (ENGLISH, CHINESE)]
    assert heads[0] == heads[1]


def test_commands_and_modules_exist() -> None:
    said = "\n".join([*(code for _, code in blocks(ENGLISH)), *re.findall(r"`(.*?)`", ENGLISH)])
    commands = set(re.findall(r"-m bmac_stream (\w+)", said))
    modules = set(re.findall(r"-m (bmac_stream\.\w+)", said))
    assert commands and commands <= set(COMMANDS)
    assert modules and all(importlib.util.find_spec(module) is not None for module in modules)
    for name in re.findall(r"(?:docs/)?(decisions/[\w-]+\.md)", ENGLISH):
        assert (DOCS / name).is_file(), name
    assert all((DOCS / link).exists() for link in re.findall(r"\]\(([\w./-]+)\)", ENGLISH))
    assert (DOCS.parent / "bench" / "compat.py").is_file()


@pytest.mark.parametrize("text", [ENGLISH, CHINESE], ids=["en", "zh"])
def test_keys_that_are_named_are_keys(text: str) -> None:
    for key in ("bmac_files", "ready_timezone", "weight_share", "symbols", "proxy", "exchange", "resample"):
        assert key in Config.__struct_fields__
        assert key in text


def test_the_resampling_example_is_a_config(tmp_path: Path) -> None:
    example = next(code for language, code in blocks(ENGLISH) if language == "json")
    raw = {"interval": "1m", "trade_type": "usdt_perp"} | json.loads("{" + example + "}")
    (tmp_path / "config.json").write_text(json.dumps(raw))
    config, warnings = load_config(tmp_path, strict=True)
    assert warnings == []
    names = [config.resampled_name(target) for target in config.resample]
    assert names == ["usdt_perp_1m.1h", "usdt_perp_1m.1h_15m", "usdt_perp_1m.4h"]
    assert f'attach("{names[1]}")' in ENGLISH


def test_python_is_python_and_the_kit_has_what_is_imported() -> None:
    imported: set[str] = set()
    for language, code in blocks(ENGLISH):
        if language == "python":
            for node in ast.walk(ast.parse(code)):
                if isinstance(node, ast.ImportFrom) and node.module == "bmac_kit":
                    imported |= {alias.name for alias in node.names}
    assert imported and all(hasattr(bmac_kit, name) for name in imported)
