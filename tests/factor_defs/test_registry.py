"""factor_defs/registry.py: names to expressions, and what an error says."""

import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import factor_defs
from factor_defs import bmac, qlib158
from factor_defs.registry import LIBRARIES, UnknownFactor, columns, find, library, lookup
from kernels.node import Node

USER = '''
"""A user's factors."""
from factor_defs.fields import close
from kernels.rolling import ts_mean

SCALE = 3

def Bias(n: int = 20, scale: float = 1.0):
    """close by its mean."""
    return scale * (close / ts_mean(close, n) - 1.0)

def Two(n):
    return {"a": ts_mean(close, n), "b": close + n}

def Wrong(n: int = 1):
    return n

def _hidden(n: int = 1):
    return close
'''


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "my_test_factors.py").write_text(USER)
    (tmp_path / "my_broken_factors.py").write_text("import no_such_thing_at_all\n")
    (tmp_path / "my_listed_factors.py").write_text(USER + '\nFACTORS = {"Distance": Bias}\n')
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_test_factors"
    for name in ("my_test_factors", "my_broken_factors", "my_listed_factors"):
        sys.modules.pop(name, None)


def message(name: str, *parameters: int | float | bool, error: type[Exception] = UnknownFactor) -> str:
    with pytest.raises(error) as caught:
        lookup(name, *parameters)
    return str(caught.value)


def test_a_name_without_a_library_is_bmacs() -> None:
    assert lookup("PctChg", 100) is bmac.pct_chg(100)
    assert lookup("PctChg") is bmac.pct_chg()
    assert lookup("bmac:Bias", 7) is bmac.bias(7)


def test_a_name_that_one_library_has_is_found_there() -> None:
    assert find("KMID2") is qlib158.kmid2


def test_library_and_published_names() -> None:
    assert lookup("qlib158:MA", 5) is qlib158.ma(5)
    assert lookup("qlib158:MA5") is qlib158.ma(5)
    assert lookup("qlib158:IMAX", 5, True) is qlib158.imax(5, newest=True)


def test_users_module(user_module: str) -> None:
    node = lookup(f"{user_module}:Bias", 20)
    assert isinstance(node, Node)
    assert lookup(f"{user_module}:Bias", 20, 1) is node  # 1 fits a float
    assert set(columns([[f"{user_module}:Two", 5]])) == {f"{user_module}:Two_5.a", f"{user_module}:Two_5.b"}
    assert lookup("my_listed_factors:Distance", 20) is node


def test_users_errors(user_module: str) -> None:
    assert "did you mean Bias?" in message(f"{user_module}:Bies", 20)
    assert "no factor '_hidden'" in message(f"{user_module}:_hidden")
    assert "no factor 'ts_mean'" in message(f"{user_module}:ts_mean", 3)  # what it imports is not its own
    assert "no factor 'Bias' in my_listed_factors" in message("my_listed_factors:Bias", 20)
    assert "must return a node" in message(f"{user_module}:Wrong", error=ValueError)
    with pytest.raises(ModuleNotFoundError, match="no_such_thing_at_all"):
        lookup("my_broken_factors:Bias")


def test_unknown_names_name_the_nearest() -> None:
    assert message("PctChng", 100) == "no factor 'PctChng'; did you mean bmac:PctChg?"
    assert "did you mean KMID2" in message("qlib158:KMDI2")
    assert "did you mean qlib158?" in message("qlib185:MA", 5)
    assert "did you mean" not in message("zzzzzzzz")
    assert message("../x:MA").startswith("no library '../x'")
    with pytest.raises(UnknownFactor, match="did you mean crypto"):
        library("cripto")


@pytest.mark.parametrize(
    ("name", "parameters", "expected"),
    [
        ("PctChg", (1, 2), "PctChg(n = 100): too many positional arguments, found [1, 2]"),
        ("PctChg", (20.0,), "PctChg(n = 100): n must be int, found 20.0"),
        ("PctChg", (True,), "PctChg(n = 100): n must be int, found True"),
        ("qlib158:IMAX", (5, 1), "qlib158:IMAX(window = 5, newest = False): newest must be bool, found 1"),
        ("Boll", (20, True), "Boll(n = 20, k = 2.0): k must be a number, found True"),
    ],
)
def test_parameters_that_do_not_fit(name: str, parameters: tuple[float, ...], expected: str) -> None:
    assert message(name, *parameters, error=ValueError) == expected


def test_a_window_that_cannot_be_is_told_with_the_factor() -> None:
    assert message("Bias", 0, error=ValueError).startswith("Bias(n = 20): ")


def test_columns_are_bmacs() -> None:
    made = columns([["PctChg", 100], "Ma", ["Boll", 20, 2.5]])
    assert list(made) == [
        *("PctChg_100", "Ma"),
        *(f"Boll_20_2.5.{x}" for x in ("upper", "middle", "lower", "width", "position")),
    ]
    assert made["PctChg_100"] is bmac.pct_chg(100)


def test_a_library_alone_is_its_published_set() -> None:
    assert list(columns(["qlib158"])) == list(qlib158.nodes())


def test_columns_that_clash_are_refused() -> None:
    assert len(columns([["PctChg", 5], ["PctChg", 5]])) == 1
    with pytest.raises(ValueError, match=r"two factors make a column 'Boll_20_2\.upper'"):
        columns([["Boll", 20, 2.0], ["Boll", 20, 2.0000001]])


def test_an_entry_of_another_form_is_refused() -> None:
    entries: list[Any] = [[], [5, "Ma"], ["Ma", "5"]]
    for entry in entries:
        with pytest.raises(ValueError, match="a factor is written as"):
            columns([entry])


def test_every_library_is_listed() -> None:
    modules = {module.name for module in pkgutil.iter_modules(factor_defs.__path__)}
    helpers = {"catalogue", "fields", "published", "registry"}
    assert modules - helpers == set(LIBRARIES)


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_library_keeps_its_promises(name: str) -> None:
    published = library(name)
    assert published and all(isinstance(node, Node) for node in published.values())
    module = sys.modules[f"factor_defs.{name}"]
    for factor, function in module.FACTORS.items():
        assert function.__doc__, f"{name}:{factor} says nothing"
        lookup(f"{name}:{factor}")  # every parameter has a default that works
