"""The house itself: imports point one way, ours are the packages imported, the files agree."""

import ast
import importlib
import inspect
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("bmac_stream", "kernels", "factor_defs", "shm")

# who may not know whom: folder -> prefixes it must not import
FORBIDDEN = {
    "kernels": ("bmac_stream", "factor_defs", "shm"),
    "shm": ("bmac_stream", "factor_defs", "kernels"),
    "factor_defs": ("bmac_stream", "shm"),
    "bmac_stream/binance": ("shm", "kernels", "factor_defs", "bmac_stream.simulator"),
    "bmac_stream/simulator": ("bmac_stream.binance", "shm", "kernels", "factor_defs"),
}


def modules_of(tree: ast.AST, package: str) -> set[str]:
    """Every absolute module name that a syntax tree imports; relative ones are resolved in `package`."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = package.split(".")[: len(package.split(".")) - (node.level - 1)]
                base = ".".join([*parent, base]).rstrip(".")
            found.add(base)
            found.update(f"{base}.{alias.name}" for alias in node.names)
    return found


def imports_against(folder: str, banned: tuple[str, ...], root: Path = ROOT) -> list[str]:
    """Lines `file imports module` for every import in `folder` that `banned` forbids."""
    wrong = []
    for path in sorted((root / folder).rglob("*.py")):
        package = ".".join(path.parent.relative_to(root).parts)
        for module in sorted(modules_of(ast.parse(path.read_text("utf-8")), package)):
            if any(module == name or module.startswith(name + ".") for name in banned):
                wrong.append(f"{path.relative_to(root)} imports {module}")
    return wrong


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_imports_point_one_way(folder: str) -> None:
    assert any((ROOT / folder).rglob("*.py")), f"{folder} is empty: this test would prove nothing"
    assert imports_against(folder, FORBIDDEN[folder]) == []


def test_the_layering_check_sees_a_breach(tmp_path: Path) -> None:
    (tmp_path / "shm").mkdir()
    (tmp_path / "shm" / "a.py").write_text("from bmac_stream import bar\n")
    (tmp_path / "shm" / "b.py").write_text("def f():\n    import kernels.run\n")
    (tmp_path / "shm" / "c.py").write_text("from ..bmac_stream.bar import COLUMNS\n")
    wrong = imports_against("shm", FORBIDDEN["shm"], tmp_path)
    assert {line.split()[0] for line in wrong} == {"shm/a.py", "shm/b.py", "shm/c.py"}


@pytest.mark.parametrize("name", PACKAGES)
def test_the_package_imported_is_ours(name: str) -> None:
    # `kernels` and `shm` are names that others use too
    module = importlib.import_module(name)
    assert module.__file__ is not None
    assert Path(module.__file__).resolve().parent == ROOT / name


def modules() -> list[str]:
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for name in PACKAGES
        for path in sorted((ROOT / name).rglob("*.py"))
        if path.stem != "__main__"
    ]


@pytest.mark.parametrize("name", modules())
def test_what_is_promised_is_there(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} does not say what it owns"
    promised = getattr(module, "__all__", None)
    assert promised is not None, f"{name} has no __all__"
    missing = [word for word in promised if not hasattr(module, word)]
    assert missing == []
    for word in promised:
        thing = getattr(module, word)
        made_here = getattr(thing, "__module__", None) == name
        # constants (and compiler intrinsics) have their docstring after the assignment: no tool sees it
        if made_here and (inspect.isclass(thing) or inspect.isroutine(thing) or hasattr(thing, "py_func")):
            assert thing.__doc__, f"{name}.{word} has no docstring"


def conda_requirements() -> dict[str, str]:
    """name -> version constraint of every conda line of environment.yml."""
    found = {}
    for line in (ROOT / "environment.yml").read_text("utf-8").splitlines():
        if match := re.fullmatch(r"\s+- ([a-z0-9_-]+)\s*((?:[<>=!]=?[^#\s]*)?)\s*(?:#.*)?", line):
            found[match[1]] = match[2]
    return found


def test_environment_yml_holds_the_versions_of_the_lock_and_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = project["dependencies"] + [
        line for extra in project["optional-dependencies"].values() for line in extra
    ]
    conda = conda_requirements()
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    for requirement in wanted:
        match = re.match(r"([A-Za-z0-9_-]+)(?:\[[a-z]+\])?(>=[0-9.]+)", requirement)
        assert match, requirement
        name, least = match[1], match[2]
        locked = re.findall(rf"^{re.escape(name)}==([0-9.]+)", lock, re.MULTILINE)
        assert locked, f"{name} is not in requirements.lock"
        assert name in conda, f"{name} of pyproject.toml is not in environment.yml"
        assert conda[name] in {f"=={version}" for version in locked}, (name, conda[name], locked)
        assert tuple(map(int, locked[0].split("."))) >= tuple(map(int, least[2:].split("."))), requirement
    assert conda["python"] == project["requires-python"]
    text = (ROOT / "environment.yml").read_text("utf-8")
    assert "-e ." in text, "the project itself must be installed editable"


def test_the_lock_installs_by_hash_only_and_names_no_host() -> None:
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    pinned = re.findall(r"^[a-z0-9-]+==.*", lock, re.MULTILINE)
    assert len(pinned) > 20
    assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}", lock)) >= len(pinned)
    assert "://" not in lock


@pytest.mark.parametrize("path", ["README.md", "README.zh-CN.md"])
def test_readmes_name_the_two_commands(path: str) -> None:
    text = (ROOT / path).read_text("utf-8")
    assert "make run" in text
    assert "make test" in text


def test_the_readmes_have_the_same_skeleton() -> None:
    def skeleton(path: str) -> list[str]:
        text = (ROOT / path).read_text("utf-8")
        return re.findall(r"^(#+) ", text, re.MULTILINE) + re.findall(r"```(\w*)\n(.*?)```", text, re.DOTALL)

    assert skeleton("README.md") == skeleton("README.zh-CN.md")
