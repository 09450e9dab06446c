"""Compile all kernels once, before they are needed: `prepare`, or `python -m kernels.ahead`.

It takes a while on a new machine and after an edit; afterwards everything comes from the cache on disk. As
many processes compile as there are cores. Where no cache can be written, kernels are
compiled when a plan first needs them.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Final

from kernels.abi import Kernel
from kernels.operators import OPERATORS

__all__ = ["kernels", "missing", "prepare"]

_LOOK_S: Final = 0.25


def kernels() -> list[Kernel]:
    """Every kernel of the package, once."""
    return list(dict.fromkeys(operator.kernel for operator in OPERATORS))


def missing() -> list[Kernel]:
    """Those that are not in the cache."""
    return [kernel for kernel in kernels() if not kernel.is_cached]


def prepare(say: Callable[[str], None] | None = None, n_processes: int | None = None) -> int:
    """Compile what is not in the cache; returns how many kernels that were.

    say          told how far it is, now and then; default: a line on stderr that is written over
    n_processes  default: one for each core that this process may use
    RuntimeError with the compiler's words if a kernel cannot be compiled.
    """
    todo = missing()
    if not todo:
        return 0
    tell = say or _line
    n = n_processes or len(os.sched_getaffinity(0))
    started = time.monotonic()
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "kernels.ahead", str(i), str(n)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(min(n, len(todo)))
    ]
    told = -1
    try:
        while any(worker.poll() is None for worker in workers):
            done = sum(kernel.is_cached for kernel in todo)
            if done != told:
                told = done
                tell(f"compiling kernels, once on this machine: {done} of {len(todo)}")
            time.sleep(_LOOK_S)
        for worker in workers:
            _, errors = worker.communicate()
            if worker.returncode:
                raise RuntimeError(f"kernels could not be compiled:\n{errors}")
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    tell(f"compiled {len(todo)} kernels in {time.monotonic() - started:.1f} s\n")
    return len(todo)


def _line(text: str) -> None:
    sys.stderr.write(f"\r{text}")
    sys.stderr.flush()


def main(i: int, n: int) -> None:
    """Compile what is missing, as the i-th of n: each begins elsewhere, none does what others have done."""
    every = kernels()
    begin = len(every) * i // n
    for kernel in every[begin:] + every[:begin]:
        if not kernel.is_cached:
            _ = kernel.address


if __name__ == "__main__":
    if len(sys.argv) == 3:
        main(int(sys.argv[1]), int(sys.argv[2]))
    else:
        prepare()
