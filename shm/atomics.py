"""Every atomic load, store, fence and system call of the store: all memory ordering goes through here.

Who calls it: the compiled functions of `ring`, `directory`, `wake` and `jit`, in the writer and in the
readers. Nothing here can be called from plain Python; the functions exist inside compiled code only.

Numba has no atomics on the CPU, and plain stores are not enough even on x86: LLVM deletes a store that a
later one covers and lifts a load out of its wait loop. So each function below emits one LLVM instruction
with its ordering: `load atomic`, `store atomic`, `fence`, `atomicrmw`. Words are 8 bytes and aligned to 8.
`array, i` means element i of the array's memory in C order, whatever its number of dimensions.

relaxed  LLVM `monotonic`: never torn, deleted, doubled or lifted out of a loop; not ordered
acquire  what the writer stored before its release of the value read is visible after it
release  what was stored before is visible to whoever acquires this value
"""

import platform
from collections.abc import Callable
from typing import Any, Final, cast

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

__all__ = [
    "ARCHITECTURES",
    "clock_ns",
    "copy_eight",
    "eventfd_ring",
    "fence_acquire",
    "fence_release",
    "fence_seq_cst",
    "futex_wait",
    "futex_wake",
    "load_acquire",
    "load_float",
    "load_relaxed",
    "pause",
    "store_float",
    "store_relaxed",
    "store_release",
    "xadd",
]

ARCHITECTURES: Final = {"x86_64": 202, "aarch64": 98}
"""The machines this runs on, with the number of their futex system call."""

_FUTEX: Final = ARCHITECTURES.get(platform.machine(), -1)
_IS_X86: Final = platform.machine() == "x86_64"
_I8P: Final = ir.IntType(8).as_pointer()
_I32: Final = ir.IntType(32)
_I64: Final = ir.IntType(64)
_F64: Final = ir.DoubleType()

_CLOCK_MONOTONIC: Final = 1
_FUTEX_WAIT: Final = 0  # shared between processes, not FUTEX_PRIVATE; the time-out is relative
_FUTEX_WAKE: Final = 1


def _element(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """Address of element `index` of an array."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index])


def _loader(ordering: str, as_float: bool = False) -> Any:
    def load(typingctx: Any, array: Any, index: Any) -> Any:
        if not isinstance(array, types.Array) or array.dtype not in (types.int64, types.float64):
            return None
        result = types.float64 if as_float else array.dtype

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            pointer = _element(context, builder, sig.args[0], *args)
            target = _F64 if sig.return_type == types.float64 else _I64
            pointer = builder.bitcast(pointer, target.as_pointer())
            return builder.load_atomic(pointer, ordering, 8, typ=target)

        return result(array, types.int64), codegen

    return intrinsic(load)


def _storer(ordering: str, as_float: bool = False) -> Any:
    def store(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
        if not isinstance(array, types.Array) or not array.mutable:
            return None
        value_type = types.float64 if as_float else array.dtype

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            pointer = _element(context, builder, sig.args[0], args[0], args[1])
            pointer = builder.bitcast(pointer, args[2].type.as_pointer())
            builder.store_atomic(args[2], pointer, ordering, 8)
            return context.get_dummy_value()

        return types.void(array, types.int64, value_type), codegen

    return intrinsic(store)


def _fence(ordering: str) -> Any:
    def fence(typingctx: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            builder.fence(ordering)
            return context.get_dummy_value()

        return types.void(), codegen

    return intrinsic(fence)


def _libc(builder: Any, name: str, result: Any, arguments: list[Any], var_arg: bool = False) -> Any:
    """The C library's function `name`, found by name when the code is loaded, so caching stays possible."""
    module = builder.module
    return module.globals.get(name) or ir.Function(
        module, ir.FunctionType(result, arguments, var_arg=var_arg), name
    )


def _local(builder: Any, kind: Any) -> Any:
    """A local variable, in the function's entry: one made inside a loop would grow the stack each time."""
    return cgutils.alloca_once(builder, kind)  # type: ignore[no-untyped-call]  # Numba's stub


def _or_errno(builder: Any, result: Any) -> Any:
    """`result`, or -errno when it is -1."""
    location = builder.call(_libc(builder, "__errno_location", _I32.as_pointer(), []), [])
    errno = builder.sext(builder.load(location, typ=_I32), _I64)
    failed = builder.icmp_signed("==", result, ir.Constant(_I64, -1))
    return builder.select(failed, builder.neg(errno), result)


def _xadd(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _element(context, builder, sig.args[0], args[0], args[1])
        return builder.atomic_rmw("add", pointer, args[2], "seq_cst")

    return types.int64(array, types.int64, types.int64), codegen


def _pause(typingctx: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if _IS_X86:
            builder.call(_libc(builder, "llvm.x86.sse2.pause", ir.VoidType(), []), [])
        else:
            hint = _libc(builder, "llvm.aarch64.hint", ir.VoidType(), [_I32])
            builder.call(hint, [ir.Constant(_I32, 1)])  # yield
        return context.get_dummy_value()

    return types.void(), codegen


def _copy_eight(typingctx: Any, array: Any, to: Any, source: Any) -> Any:
    if not isinstance(array, types.Array) or not array.mutable or array.dtype != types.float64:
        return None

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        eight = ir.VectorType(_F64, 8).as_pointer()
        to, source = (_element(context, builder, sig.args[0], args[0], i) for i in args[1:])
        cells = builder.load(builder.bitcast(source, eight), align=8, typ=eight.pointee)
        builder.store(cells, builder.bitcast(to, eight), align=8)
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64), codegen


def _clock_ns(typingctx: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        time = _local(builder, ir.ArrayType(_I64, 2))
        pointer = builder.bitcast(time, _I8P)
        clock = _libc(builder, "clock_gettime", _I32, [_I32, _I8P])
        builder.call(clock, [ir.Constant(_I32, _CLOCK_MONOTONIC), pointer])
        zero, one = ir.Constant(_I32, 0), ir.Constant(_I32, 1)
        seconds = builder.load(builder.gep(time, [zero, zero]), typ=_I64)
        rest = builder.load(builder.gep(time, [zero, one]), typ=_I64)
        return builder.add(builder.mul(seconds, ir.Constant(_I64, 1_000_000_000)), rest)

    return types.int64(), codegen


def _futex_wait(typingctx: Any, array: Any, index: Any, expected: Any, timeout_ns: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        word = builder.bitcast(_element(context, builder, sig.args[0], args[0], args[1]), _I8P)
        time = _local(builder, ir.ArrayType(_I64, 2))
        zero, one = ir.Constant(_I32, 0), ir.Constant(_I32, 1)
        second = ir.Constant(_I64, 1_000_000_000)
        builder.store(builder.udiv(args[3], second), builder.gep(time, [zero, zero]))
        builder.store(builder.urem(args[3], second), builder.gep(time, [zero, one]))
        call = _libc(builder, "syscall", _I64, [_I64], var_arg=True)
        expected32 = builder.and_(args[2], ir.Constant(_I64, 0xFFFFFFFF))
        numbers = [ir.Constant(_I64, n) for n in (_FUTEX, _FUTEX_WAIT)]
        arguments = [numbers[0], word, numbers[1], expected32, builder.bitcast(time, _I8P)]
        return _or_errno(builder, builder.call(call, arguments))

    return types.int64(array, types.int64, types.int64, types.int64), codegen


def _futex_wake(typingctx: Any, array: Any, index: Any, n_waiters: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        word = builder.bitcast(_element(context, builder, sig.args[0], args[0], args[1]), _I8P)
        call = _libc(builder, "syscall", _I64, [_I64], var_arg=True)
        numbers = [ir.Constant(_I64, n) for n in (_FUTEX, _FUTEX_WAKE)]
        return _or_errno(builder, builder.call(call, [numbers[0], word, numbers[1], args[2]]))

    return types.int64(array, types.int64, types.int64), codegen


def _eventfd_ring(typingctx: Any, fd: Any) -> Any:
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        one = _local(builder, _I64)
        builder.store(ir.Constant(_I64, 1), one)
        write = _libc(builder, "write", _I64, [_I32, _I8P, _I64])
        fd32 = builder.trunc(args[0], _I32)
        result = builder.call(write, [fd32, builder.bitcast(one, _I8P), ir.Constant(_I64, 8)])
        return _or_errno(builder, result)

    return types.int64(types.int64), codegen


# Numba types the intrinsics by the function that types them; callers need the shape of what they emit.
_Load = Callable[[Any, int], int]
_Store = Callable[[Any, int, Any], None]

load_acquire: Final = cast(_Load, _loader("acquire"))
"""load_acquire(array, i): the element, with acquire ordering."""
load_relaxed: Final = cast(_Load, _loader("monotonic"))
"""load_relaxed(array, i): the element, unordered."""
load_float: Final = cast(Callable[[Any, int], float], _loader("monotonic", as_float=True))
"""load_float(words, i): the bits of an int64 word as a float64, relaxed."""
store_release: Final = cast(_Store, _storer("release"))
"""store_release(array, i, value): after everything that was stored before."""
store_relaxed: Final = cast(_Store, _storer("monotonic"))
"""store_relaxed(array, i, value): unordered."""
store_float: Final = cast(_Store, _storer("monotonic", as_float=True))
"""store_float(words, i, value): the bits of a float64 into an int64 word, relaxed."""
fence_acquire: Final = cast(Callable[[], None], _fence("acquire"))
"""Loads before it are done before loads and stores after it."""
fence_release: Final = cast(Callable[[], None], _fence("release"))
"""Loads and stores before it are visible before stores after it."""
fence_seq_cst: Final = cast(Callable[[], None], _fence("seq_cst"))
"""Everything before it is visible before anything after it, in one order that all agree on."""
xadd: Final = cast(Callable[[Any, int, int], int], intrinsic(_xadd))
"""xadd(words, i, n): add n in one step, sequentially consistent; returns the value before."""
pause: Final = cast(Callable[[], None], intrinsic(_pause))
"""A spin loop's breath."""
copy_eight: Final = cast(Callable[[Any, int, int], None], intrinsic(_copy_eight))
"""copy_eight(array, to, source): eight float64 elements at once. Not atomic: for cells nobody may look at."""
clock_ns: Final = cast(Callable[[], int], intrinsic(_clock_ns))
"""CLOCK_MONOTONIC in ns: the same for all processes since boot; stands still while suspended."""
futex_wait: Final = cast(Callable[[Any, int, int, int], int], intrinsic(_futex_wait))
"""futex_wait(words, i, expected, timeout_ns): sleep while the low 32 bits of word i equal those of
`expected`. 0 woken, else -EAGAIN (differed), -EINTR, -ETIMEDOUT. Works on a read-only map."""
futex_wake: Final = cast(Callable[[Any, int, int], int], intrinsic(_futex_wake))
"""futex_wake(words, i, n): wake up to n sleepers of word i; returns how many."""
eventfd_ring: Final = cast(Callable[[int], int], intrinsic(_eventfd_ring))
"""eventfd_ring(fd): add 1 to an eventfd; 8, or -errno. Never blocks if the eventfd is non-blocking."""
