"""Factor modules of pandas code, as that community has written them: `factor/{Name}.py`.

    def signal(df, n, factor_name):              adds the column `factor_name` to df and returns df
    def signal(*args):                           the same three, unpacked
    def signal(df, n, diff_num, factor_name):    older; diff_num is given as 0
    def signal_multi_params(df, param_list):     {str(param): Series}; used where a module has both

Parameters are handed over as the strategy wrote them, numbers or strings such as '5,20'. A module whose
`signal(*args)` asks for `args[1][0]` gets its parameter in a list.

Each call has a copy of its own: factors write scratch columns, and some overwrite candles. Where pandas
copies on write (3.0 on) that is a shallow one.
"""

import ast
import importlib
import importlib.util
import inspect
import textwrap
import traceback
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, Final

import pandas as pd

from bmac_stream.errors import LegacyFactorError

__all__ = ["LegacyFactor", "find"]

_COPIES_ON_WRITE: Final = int(pd.__version__.split(".")[0]) >= 3


def find(package: str, name: str) -> "LegacyFactor | None":
    """The module `{package}.{name}`; None if there is none. LegacyFactorError, with its line, if it cannot be
    imported or has no `signal`."""
    where = f"{package}.{name}"
    if not all(part.isidentifier() for part in where.split(".")):
        return None
    try:
        if importlib.util.find_spec(where) is None:
            return None
    except ModuleNotFoundError as error:
        if error.name is not None and (where == error.name or where.startswith(f"{error.name}.")):
            return None
        raise _failed(f"{package} cannot be imported", error) from error
    except Exception as error:  # whatever a package's own __init__ may raise
        raise _failed(f"{package} cannot be imported", error) from error
    try:
        module = importlib.import_module(where)
    except Exception as error:
        raise _failed(f"factor module {where} cannot be imported", error) from error
    return LegacyFactor(name, module)


class LegacyFactor:
    """One module, checked.

    name    of the factor: what its columns begin with
    """

    def __init__(self, name: str, module: ModuleType) -> None:
        self.name = name
        self._module = module
        self._many = getattr(module, "signal_multi_params", None)
        signal = getattr(module, "signal", None)
        if not callable(self._many):
            self._many = None
            if not callable(signal):
                raise LegacyFactorError(
                    f"factor module {module.__name__} ({module.__file__}): expected a function `signal` or"
                    f" `signal_multi_params`, found neither"
                )
            self._signal: Callable[..., Any] = signal
            self._n_arguments, self._wants_list = _form(signal)
            if self._n_arguments not in (3, 4):
                raise LegacyFactorError(
                    f"factor module {module.__name__} ({module.__file__}): expected"
                    f" signal(df, n, factor_name) or signal(df, n, diff_num, factor_name),"
                    f" found {self._n_arguments} parameters"
                )

    def __repr__(self) -> str:
        return f"<{self._module.__name__} of {self._module.__file__}>"

    def column(self, parameter: Any) -> str:
        """The column's name: "PctChg_100"."""
        return f"{self.name}_{parameter}"

    def series(self, frame: pd.DataFrame, parameters: Sequence[Any]) -> dict[str, Any]:
        """{column: Series with one value for each row of `frame`}. `frame` stays as it is.

        LegacyFactorError with file and line if the module raises, or gives what fits no frame.
        """
        try:
            if self._many is not None:
                found = self._many(_own(frame), [*parameters])
                made = {self.column(p): found[str(p)] for p in parameters}
            else:
                made = {self.column(p): self._call(frame, p) for p in parameters}
            return {column: _fitting(values, frame, column) for column, values in made.items()}
        except LegacyFactorError:
            raise
        except Exception as error:
            raise _failed(f"factor module {self._module.__name__}", error, self._module.__file__) from error

    def _call(self, frame: pd.DataFrame, parameter: Any) -> Any:
        own, column = _own(frame), self.column(parameter)
        n = [parameter] if self._wants_list else parameter
        given = (n, 0, column) if self._n_arguments == 4 else (n, column)
        made = self._signal(own, *given)
        if made is None:  # some only write into the frame they were given
            made = own
        if isinstance(made, pd.DataFrame):
            if column not in made.columns:
                raise LegacyFactorError(
                    f"factor module {self._module.__name__} ({self._module.__file__}): expected a column"
                    f" {column!r} from signal, found {', '.join(map(str, made.columns))}"
                )
            return made[column]
        return made


def _own(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.copy(deep=not _COPIES_ON_WRITE)


def _fitting(values: Any, frame: pd.DataFrame, column: str) -> Any:
    """As a Series over the frame's index: rows that a factor dropped are missing."""
    index = frame.index
    if isinstance(values, pd.Series):
        if values.index is index or values.index.equals(index):
            return values
        if isinstance(values.index, pd.DatetimeIndex):
            return values.reindex(index)
        values = values.array  # a factor that reset the index
    if len(values) != len(index):
        raise LegacyFactorError(
            f"{column}: expected one value for each of {len(index)} rows, found {len(values)}"
        )
    return pd.Series(values, index=index)


def _failed(what: str, error: BaseException, file: str | None = None) -> LegacyFactorError:
    """The error with the file and line that a user would look at."""
    if isinstance(error, SyntaxError):
        at = f"{error.filename}, line {error.lineno}"
        return LegacyFactorError(f"{what}: {type(error).__name__} in {at}: {error.msg}")
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<frozen")]
    own = [f for f in frames if f.filename == file] or [f for f in frames if f.filename != __file__]
    at = f" in {own[-1].filename}, line {own[-1].lineno}" if own else ""
    return LegacyFactorError(f"{what}: {type(error).__name__}{at}: {error}")


def _form(signal: Callable[..., Any]) -> tuple[int, bool]:
    """(how many arguments `signal` wants, whether it wants its parameter in a list)."""
    try:
        parameters = inspect.signature(signal).parameters.values()
    except (TypeError, ValueError):
        return 3, False
    plain = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    star = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)
    if star is None or plain:
        needed = [p for p in plain if p.default is p.empty]
        if len(plain) == 4 and plain[2].name == "diff_num":
            return 4, False
        return len(needed) if len(needed) > 3 or len(plain) < 3 else 3, False
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(signal)))
    except (OSError, SyntaxError):
        return 3, False
    most, wants_list = 3, False
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript):
            at = _place(node, star)
            most = max(most, at + 1)
            wants_list |= isinstance(node.value, ast.Subscript) and _place(node.value, star) == 1
        elif (
            isinstance(node, ast.Assign) and _is(node.value, star) and isinstance(node.targets[0], ast.Tuple)
        ):
            most = max(most, len(node.targets[0].elts))
    return most, wants_list


def _is(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _place(node: ast.Subscript, star: str) -> int:
    """i of `star[i]`; -1 for anything else."""
    if _is(node.value, star) and isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, int):
        return node.slice.value
    return -1
