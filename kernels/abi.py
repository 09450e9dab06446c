"""The one C signature of all kernels, how they are compiled and cached, and how they are called by address.

A **kernel** updates one node of a plan by one bar, for a run of symbols that lie side by side:

    kernel(state, stride, p, f, g, n)

    state   address of the first symbol's cell in row 0 of the state block, float64
    stride  cells from one row to the next: row r of the same symbol lies at state[r * stride]
    p       the node's int64 words: two for each series (outputs first, then inputs): its first row and its
            mask; then the node's first own row, its refresh phase, and its integer parameters
    f       the node's float64 parameters
    g       the bar number
    n       how many symbols

A **series** with history is a ring of 2**k rows: bar g lies in row `first + (g & mask)`; a series without has
mask 0 and one row. So the position depends on g alone, and one symbol may step alone, or all together, on
the same state. An operator's **own rows** keep what it must remember, one cell a symbol.

A kernel does no loop over symbols itself: it finds its rows and calls **row functions**, which get one
pointer for each row and loop over the n symbols. A row function's pointers must not overlap (two that are
only read may), so that LLVM vectorises without run-time checks; the plan gives every series and own row cells
of its own. No fastmath anywhere: the vector body and the scalar tail must give the same bits
(tests/kernels/test_abi.py).
"""

import contextlib
import fcntl
import hashlib
import importlib.metadata
import inspect
import os
import platform
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba import cfunc, njit, types
from numba.core import config
from numba.extending import intrinsic

__all__ = [
    "INTEGERS",
    "ROW",
    "SIGNATURE",
    "Kernel",
    "at",
    "back",
    "call",
    "compiled",
    "floats",
    "integers",
    "kernel",
    "now",
    "own",
    "part",
    "rows",
    "stream",
]

_F = TypeVar("_F", bound=Callable[..., object])


def _intrinsic(define: Callable[..., Any]) -> Any:
    """Numba's decorator; its stub shows callers the typing context as the first argument."""
    return intrinsic(define)


_config: Any = config  # its attributes come from the environment; checkers cannot know them

_I: Final = types.int64
ROW: Final = types.CPointer(types.float64)  # type: ignore[no-untyped-call]  # Numba's stub
"""Numba type: address of the first symbol's cell of one row."""
INTEGERS: Final = types.CPointer(types.int64)  # type: ignore[no-untyped-call]  # Numba's stub
"""Numba type: address of int64 words."""
SIGNATURE: Final = types.void(ROW, _I, INTEGERS, ROW, _I, _I)
"""Numba type of every kernel: (state, stride, p, f, g, n)."""

_DOUBLES: Final = ir.DoubleType().as_pointer()
_WORDS: Final = ir.IntType(64).as_pointer()
_C: Final = ir.FunctionType(
    ir.VoidType(), [_DOUBLES, ir.IntType(64), _WORDS, _DOUBLES, ir.IntType(64), ir.IntType(64)]
)


# ---- addresses inside compiled code ----------------------------------------------------------------------


@_intrinsic
def at(context: Any, pointer: Any, i: Any) -> Any:
    """The address of element i of `pointer`."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.gep(arguments[0], [arguments[1]])

    return pointer(pointer, _I), generate


@_intrinsic
def stream(context: Any, pointer: Any, i: Any, value: Any) -> Any:
    """Store `value` at element i, past the cache (a hint). This thread sees it at once, as others."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        stored = builder.store(arguments[2], builder.gep(arguments[0], [arguments[1]]))
        stored.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
        return ir.Constant(ir.IntType(64), 0)

    return _I(pointer, _I, types.float64), generate


@_intrinsic
def floats(context: Any, address: Any) -> Any:
    """An int64 address as a pointer to float64."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], _DOUBLES)

    return ROW(_I), generate


@_intrinsic
def integers(context: Any, address: Any) -> Any:
    """An int64 address as a pointer to int64."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], _WORDS)

    return INTEGERS(_I), generate


@_intrinsic
def call(context: Any, address: Any, state: Any, stride: Any, p: Any, f: Any, g: Any, n: Any) -> Any:
    """Call the kernel at an int64 address."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        builder.call(builder.inttoptr(arguments[0], _C.as_pointer()), arguments[1:])
        return ir.Constant(ir.IntType(64), 0)

    return _I(_I, ROW, _I, INTEGERS, ROW, _I, _I), generate


@njit(forceinline=True)
def now(state: Any, stride: int, p: Any, k: int, g: int) -> Any:
    """The row of the node's series k (outputs first, then inputs) at bar g."""
    return at(state, (p[2 * k] + (g & p[2 * k + 1])) * stride)


@njit(forceinline=True)
def back(state: Any, stride: int, p: Any, k: int, g: int, lag: int) -> Any:
    """The row of the node's series k at bar g - lag. The operator's `history` must be `lag` or more."""
    return at(state, (p[2 * k] + ((g - lag) & p[2 * k + 1])) * stride)


@njit(forceinline=True)
def own(state: Any, stride: int, p: Any, n_series: int, k: int) -> Any:
    """The node's own row k. `n_series` is the number of its outputs and inputs."""
    return at(state, (p[2 * n_series] + k) * stride)


# ---- compiling -------------------------------------------------------------------------------------------


def part(function: _F) -> _F:
    """Make a piece of a kernel that is no row function: it may find rows and call row functions."""
    return cast(_F, njit(error_model="numpy", nogil=True)(function))


def rows(function: _F) -> _F:
    """Make a row function: compiled with its first caller, its pointers taken not to overlap."""
    made: Any = njit(error_model="numpy", nogil=True)(function)
    compiler = made._compiler
    customize = compiler._customize_flags

    def without_aliases(flags: Any) -> Any:
        # Numba has no option for it. LLVM would check all pairs of rows at every call, and give up beyond
        # eight checks: 395 instead of 72 us for Alpha158 of 512 symbols.
        flags = customize(flags)
        flags.noalias = True
        return flags

    compiler._customize_flags = without_aliases
    return cast(_F, made)


def _versions() -> str:
    machine = f"{platform.machine()} {llvm.get_host_cpu_name()} {llvm.get_host_cpu_features().flatten()}"
    settings = f"{_config.CPU_NAME} {_config.CPU_FEATURES} {_config.OPT} {_config.ENABLE_AVX}"
    return f"{numba.__version__} {importlib.metadata.version('llvmlite')} {machine} {settings}"


_SHARED: Final = tuple(Path(__file__).with_name(name) for name in ("abi.py", "fmath.py"))


def _digest(source: Path, also: tuple[Path, ...] = ()) -> Any:
    digest = hashlib.sha256()
    for path in (source, *_SHARED, *also):
        digest.update(path.read_bytes() + b"\0")
    return digest


def _folder(source: Path, also: tuple[Path, ...]) -> Path | None:
    """The cache folder of one source file in its present state; None where nothing can be written.

    Numba's cache looks at the date of the kernel's own file alone. The folder's name holds the content of
    that file and of the two that kernels may import from, so an edit of any of them is another folder.
    """
    digest = _digest(source, also)
    digest.update(_versions().encode())
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    bases = [source.parent / "__pycache__", user / "numba"]
    if _config.CACHE_DIR:
        bases.insert(0, Path(_config.CACHE_DIR))
    for base in bases:
        folder = base / f"{source.stem}-{digest.hexdigest()[:16]}"
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK | os.X_OK):
                return folder
    return None


_folders: dict[tuple[Path, ...], Path | None] = {}


def _cache_folder(source: Path, also: tuple[Path, ...] = ()) -> Path | None:
    """`_folder`, looked up once."""
    if (source, *also) not in _folders:
        _folders[source, *also] = _folder(source, also)
    return _folders[source, *also]


@contextlib.contextmanager
def _cache(source: Path, name: str, also: tuple[Path, ...] = ()) -> Iterator[bool]:
    """Numba's cache is the source's own folder inside; one process compiles a function, others wait."""
    folder = _cache_folder(source, also)
    if folder is None:
        yield False
        return
    before = _config.CACHE_DIR
    fd = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        _config.CACHE_DIR = str(folder)
        yield True
    finally:
        _config.CACHE_DIR = before
        os.close(fd)


class Kernel:
    """One kernel: compiled, or loaded from the cache, when its address is first asked for."""

    def __init__(self, function: Callable[..., None]) -> None:
        self.function = function
        """The Python function of the kernel's signature."""
        self.name = function.__name__
        self.__doc__ = function.__doc__
        self.source = Path(inspect.getfile(function)).resolve()
        """The file it stands in; what it calls must stand there, in `abi.py` or in `fmath.py`."""

    @cached_property
    def compiled(self) -> Any:
        """Numba's C callback: its `address` is called, its machine code can be looked at."""
        with _cache(self.source, self.name) as cached:
            make: Any = cfunc(SIGNATURE, cache=cached, error_model="numpy")
            return make(self.function)

    @cached_property
    def digest(self) -> str:
        """16 hex digits of all sources that the kernel is made of."""
        return str(_digest(self.source).hexdigest()[:16])

    @property
    def is_cached(self) -> bool:
        """Whether its machine code lies in the cache, or is loaded."""
        folder = _cache_folder(self.source)
        return "compiled" in self.__dict__ or (
            folder is not None and next(folder.rglob(f"*.{self.name}-*.nbi"), None) is not None
        )

    @property
    def address(self) -> int:
        """Where the machine code begins."""
        return int(self.compiled.address)

    def __repr__(self) -> str:
        return f"Kernel({self.name})"


def compiled(signature: Any, *, also: Iterable[Path] = ()) -> Callable[[_F], _F]:
    """Compile a function that Python calls, now and for exactly `signature`, or load it from the cache.

    also  source files of what it calls, beside its own, `abi.py` and `fmath.py`: an edit of one compiles anew

    Without the GIL; a float division by zero is inf or NaN, as in NumPy.
    """
    others = tuple(sorted(also))

    def decorate(function: _F) -> _F:
        with _cache(Path(inspect.getfile(function)).resolve(), function.__name__, others) as cached:
            made = njit(signature, cache=cached, nogil=True, error_model="numpy")(function)
        return cast(_F, made)

    return decorate


def kernel(function: Callable[..., None]) -> Kernel:
    """Make a kernel of a function `(state, stride, p, f, g, n)`."""
    return Kernel(function)
