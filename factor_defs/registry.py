"""From a factor's name and parameters, as users write them, to its expression.

    lookup("PctChg", 100)            BMAC's own names need no library
    lookup("qlib158:MA", 5)          library : factor
    lookup("qlib158:MA5")            a published name of that library
    lookup("my_factors:Bias", 20)    a user's own module

A user's module holds functions of numbers that return a node, or a dict of them for a factor of several
values; it needs no list, and may have one: `FACTORS`, a dict of name to function, as the libraries here.
What names a factor in a config is its **entry**: "name", or ["name", parameter, ...].
"""

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any, Final

from factor_defs.published import Factor, named
from kernels.node import Node, field

__all__ = ["LIBRARIES", "Entry", "UnknownFactor", "columns", "find", "library", "lookup"]

LIBRARIES: Final = ("bmac", "crypto", "ta", "qlib158", "alpha101", "gtja191")
"""The libraries of this package. A name without a library is looked for in bmac, then in the others; one
that several of the others have must be said with its library."""

Entry = str | Sequence[str | int | float | bool]
"""A factor in a config: "qlib158:KMID", ["PctChg", 100]. A library alone, "qlib158", is its published set."""


class UnknownFactor(LookupError):
    """No such library, module or factor; the message names the nearest."""


def library(name: str) -> dict[str, Node]:
    """A library's published set under its published names. UnknownFactor for a name that is no library."""
    if name not in LIBRARIES:
        raise UnknownFactor(f"no library {name!r}{_nearest(name, LIBRARIES)}")
    nodes = _module(name).nodes
    made: dict[str, Node] = nodes(**_supplied(nodes))
    return made


def find(name: str) -> Factor:
    """The function behind "Factor", "library:Factor" or "module:Factor". UnknownFactor names the nearest."""
    place, colon, factor = name.rpartition(":")
    if colon:
        if place in LIBRARIES:
            return _of_library(place, factor)
        return _of_module(place, factor)
    if name in _functions("bmac"):
        return _functions("bmac")[name]
    homes = [home for home in LIBRARIES if name in _functions(home)]
    if len(homes) > 1:
        raise UnknownFactor(
            f"{name} is in several libraries: {', '.join(f'{home}:{name}' for home in homes)}"
        )
    if homes:
        return _functions(homes[0])[name]
    known = {known: f"{home}:{known}" for home in reversed(LIBRARIES) for known in _functions(home)}
    raise UnknownFactor(f"no factor {name!r}{_nearest(name, known)}")


def lookup(name: str, *parameters: int | float | bool) -> Node | dict[str, Node]:
    """The expression of a factor with these parameters; a dict for a factor of several values.

    UnknownFactor for a name that nobody has; ValueError for parameters that do not fit, or a function that
    returns no node. Both say what would fit.
    """
    function = find(name)
    arguments = _arguments(name, function, parameters)
    try:
        made = function(**arguments)
    except ValueError as error:
        raise ValueError(f"{name}{_written(inspect.signature(function))}: {error}") from None
    several = made.values() if isinstance(made, dict) else (made,)
    if not several or not all(isinstance(node, Node) for node in several):
        raise ValueError(f"{name} must return a node or a dict of nodes, found {made!r:.100}")
    return made


def columns(entries: Iterable[Entry]) -> dict[str, Node]:
    """The columns that a config's factors make, in order: what a plan is made of.

    ["PctChg", 100] is the column "PctChg_100", as in BMAC; a factor of several values has one column each,
    "Boll_20_2.upper"; a library alone has its published names. ValueError for two columns of one name.
    """
    made: dict[str, Node] = {}
    for entry in entries:
        for column, node in _columns(*_parts(entry)).items():
            if made.setdefault(column, node) is not node:
                raise ValueError(f"two factors make a column {column!r}")
    return made


def _parts(entry: Entry) -> tuple[str, list[int | float | bool]]:
    words: list[Any] = [entry] if isinstance(entry, str) else [*entry]
    if not words or [type(x) is str for x in words] != [True, *(False for _ in words[1:])]:
        raise ValueError(f"a factor is written as 'name' or ['name', number, ...], found {entry!r}")
    return words[0], words[1:]


def _columns(name: str, parameters: Sequence[int | float | bool]) -> dict[str, Node]:
    if name in LIBRARIES and not parameters:
        return library(name)
    column = "_".join([name, *(f"{x:g}" for x in parameters)])
    return named(column, lookup(name, *parameters))


# ---- where factors are -----------------------------------------------------------------------------------


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"factor_defs.{name}")


def _functions(name: str) -> dict[str, Factor]:
    found: dict[str, Factor] = _module(name).FACTORS
    return found


def _of_library(place: str, factor: str) -> Factor:
    functions = _functions(place)
    if factor in functions:
        return functions[factor]
    published = library(place)
    if factor in published:
        return lambda: published[factor]
    raise UnknownFactor(f"no factor {factor!r} in {place}{_nearest(factor, [*functions, *published])}")


def _of_module(place: str, factor: str) -> Factor:
    if not all(part.isidentifier() for part in place.split(".")):
        raise UnknownFactor(
            f"no library {place!r}{_nearest(place, LIBRARIES)}; a module's name has no such letters"
        )
    try:
        module = importlib.import_module(place)
    except ModuleNotFoundError as error:
        # One that is missing inside the user's module is another matter, and tells itself best.
        if error.name is None or not (place == error.name or place.startswith(f"{error.name}.")):
            raise
        raise UnknownFactor(
            f"no library and no module {place!r} for {factor!r}{_nearest(place, LIBRARIES)}"
        ) from None
    functions = getattr(module, "FACTORS", None)
    if functions is None:
        functions = {
            name: value
            for name, value in vars(module).items()
            if inspect.isfunction(value) and not name.startswith("_") and value.__module__ == module.__name__
        }
    if factor not in functions:
        raise UnknownFactor(f"no factor {factor!r} in {place}{_nearest(factor, [*functions])}")
    found: Factor = functions[factor]
    return found


def _nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error message: up to three names like this one, else the first few there are.

    known  names; of a dict the keys are compared, the values shown
    """
    shown = known if isinstance(known, dict) else {x: x for x in known}
    lower = {x.lower(): x for x in shown}
    near = difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.6)
    if near:
        return f"; did you mean {' or '.join(shown[lower[x]] for x in near)}?"
    return f"; there are {', '.join([*shown][:8])}{', ...' if len(shown) > 8 else ''}"


def _supplied(function: Callable[..., Any]) -> dict[str, Node]:
    """Who compares symbols within groups gets the groups that the engine knows: the static field `group`."""
    return {"group": field("group")} if "group" in inspect.signature(function).parameters else {}


# ---- parameters ------------------------------------------------------------------------------------------


def _arguments(name: str, function: Factor, parameters: Sequence[int | float | bool]) -> dict[str, Any]:
    """Parameters by name, each of the type that the function's annotation says (none: as it is)."""
    signature = inspect.signature(function, eval_str=True)
    try:
        bound = signature.bind(*parameters).arguments
    except TypeError as error:
        raise ValueError(f"{name}{_written(signature)}: {error}, found {[*parameters]}") from None
    return {key: _fit(name, signature, key, value) for key, value in bound.items()}


def _fit(name: str, signature: inspect.Signature, key: str, value: Any) -> Any:
    wanted = signature.parameters[key].annotation
    fitting = {int: (int,), bool: (bool,), float: (int, float)}.get(wanted, (int, float, bool))
    if type(value) not in fitting:
        kind = "a number" if len(fitting) > 1 else fitting[0].__name__
        raise ValueError(f"{name}{_written(signature)}: {key} must be {kind}, found {value!r}")
    return float(value) if wanted is float else value


def _written(signature: inspect.Signature) -> str:
    """The parameters as one would write them: "(window = 20)"."""
    parts = [
        key if parameter.default is parameter.empty else f"{key} = {parameter.default}"
        for key, parameter in signature.parameters.items()
    ]
    return f"({', '.join(parts)})"
