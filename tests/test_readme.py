"""What the READMEs and docs/client.md show: one code in both languages, and all that it names exists.

No snippet is run: names are looked up in the modules, attributes on the classes of what the snippets hold.
"""

import ast
import builtins
import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from bmac_stream.client import Bars, FormingBar, RunTime, Store, SymbolView
from bmac_stream.collector import COUNTERS
from bmac_stream.engine import Engine
from bmac_stream.factors import Factors

ROOT = Path(__file__).resolve().parent.parent
TEXTS = ("README.md", "README.zh-CN.md", "docs/client.md")
HELD = {
    "store": Store,
    "hours": Store,
    "funding": Store,
    "btc": SymbolView,
    "bars": Bars,
    "forming": FormingBar,
    "run_time": RunTime,
    "factors": Factors,
    "engine": Engine,
}
"""What snippets call a thing -> what it is; every snippet keeps to it."""


def snippets(path: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / path).read_text("utf-8"), re.DOTALL)


def attributes(of: type) -> set[str]:
    """What its objects have: of the class, and what its methods set on `self`."""
    found = set(dir(of))
    for node in ast.walk(ast.parse(inspect.getsource(of))):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found |= {node.attr} if isinstance(node.value, ast.Name) and node.value.id == "self" else set()
    return found


def faults(codes: list[str]) -> list[str]:
    """What in these snippets, pasted in this order, is not there, and what is imported for nothing."""
    wrong: list[str] = []
    known: dict[str, Any] = dict.fromkeys(dir(builtins))
    for tree in map(ast.parse, codes):
        imported: dict[str, Any] = {}
        made: set[str] = set()
        used: set[str] = set()
        for node in ast.walk(tree):
            match node:
                case ast.Import(names=names):
                    imported |= {one.asname or one.name: importlib.import_module(one.name) for one in names}
                case ast.ImportFrom(module=str(module), names=names):
                    for one in names:
                        thing = member(module, one.name)
                        imported[one.asname or one.name] = thing
                        wrong += [f"{module} has no {one.name}"] if thing is NOTHING else []
                case ast.Name(id=name, ctx=ast.Load()):
                    used.add(name)
                case ast.Name(id=name) | ast.arg(arg=name) | ast.ExceptHandler(name=str(name)):
                    made.add(name)
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    made.add(name)
        known |= dict.fromkeys(made - HELD.keys()) | imported
        wrong += [f"{name} is not there" for name in sorted(used - made - known.keys())]
        wrong += [f"{name} is imported and not used" for name in sorted(imported.keys() - used)]
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                owner, name = node.value.id, node.attr
                if owner in HELD:
                    there = name in attributes(HELD[owner])
                else:
                    there = not inspect.ismodule(known.get(owner)) or hasattr(known[owner], name)
                wrong += [] if there else [f"{owner} has no {name}"]
        known |= dict.fromkeys(made - known.keys())
    return wrong


NOTHING = object()


def member(module: str, name: str) -> Any:
    """What `from module import name` gives; NOTHING if that fails."""
    try:
        return getattr(importlib.import_module(module), name)
    except AttributeError:
        try:  # a module of the package
            return importlib.import_module(f"{module}.{name}")
        except ImportError:
            return NOTHING


def test_both_languages_have_the_same_code() -> None:
    assert snippets("README.md") == snippets("README.zh-CN.md")
    assert len(snippets("README.md")) >= 6


@pytest.mark.parametrize("path", TEXTS)
def test_snippets_name_what_is_there(path: str) -> None:
    codes = snippets(path)
    assert codes
    for code in codes:
        compile(code, path, "exec")
    assert faults(codes) == []


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("from bmac_stream import atach\natach", "bmac_stream has no atach"),
        ("frame = store.calc(run_time)", "store is not there"),
        ("from shm.jit import middle\nmiddle", "shm.jit has no middle"),
        ("def f(store):\n    store.calc()", "store has no calc"),
        ("def f(btc):\n    btc.close, btc.closing", "btc has no closing"),
        ("def f(engine):\n    engine.names, engine.store, engine.g, engine.h", "engine has no h"),
        ("import bmac_stream\nbmac_stream.atach", "bmac_stream has no atach"),
        ("import json", "json is imported and not used"),
    ],
)
def test_the_check_sees_a_fault(code: str, fault: str) -> None:
    assert fault in faults([code])


def test_the_check_sees_what_is_there() -> None:
    codes = ["import bmac_stream\nstore = bmac_stream.attach('x')", "store.interval_ms, store.panel"]
    assert faults(codes) == []


def test_every_counter_has_its_line() -> None:
    text = (ROOT / "docs" / "client.md").read_text("utf-8")
    rows = re.findall(r"^\| (`.*?) \|", text.partition("## Counters")[2], re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(COUNTERS)
