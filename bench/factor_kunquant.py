"""A contender for bench/factors.py: KunQuant, as its own examples drive it, in float64 on one thread.

Its factors are C++ that g++ compiles for this machine: once, into a folder of the user's cache. Streaming as
in its Stream.md: partition_factor 8, fast_log, one pushData for each input, run, getCurrentBuffer for each
output. Batch with its fast windowed sums (`no_fast_stat` off), from arrays [bar][symbol] into given ones.
All its symbols step together, in blocks of one vector: one symbol alone costs a whole block.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import inspect
import io
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from factor_bars import COLUMNS, F64

__all__ = ["INPUTS", "SETS", "Batch", "Stream", "absent", "graph", "lanes"]

INPUTS: Final = {
    "open": "open",
    "high": "high",
    "low": "low",
    "close": "close",
    "volume": "volume",
    "amount": "quote_volume",
}
"""Its input -> our column."""

SETS: Final = ("alpha158", "alpha101", "ten")
"""What it is timed on: its own predefined libraries, and ten TA indicators made of its operators."""

_STREAM: Final[dict[str, Any]] = {
    "partition_factor": 8,
    "input_layout": "STREAM",
    "output_layout": "STREAM",
    "options": {"opt_reduce": False, "fast_log": True},
}
_BATCH: Final[dict[str, Any]] = {
    "partition_factor": 4,
    "input_layout": "TS",
    "output_layout": "TS",
    "options": {"opt_reduce": True, "fast_log": True, "no_fast_stat": "no_warn"},
}


def absent() -> str:
    """Why it cannot run here; empty if it can."""
    try:
        importlib.metadata.version("KunQuant")
    except importlib.metadata.PackageNotFoundError:
        return "KunQuant is not installed"
    if shutil.which("g++") is None:
        return "KunQuant needs g++"
    try:
        import KunQuant.runner.KunRunner  # noqa: F401
    except ImportError as error:
        return f"KunQuant does not load: {error}"
    return _trial()


@functools.cache
def _trial() -> str:
    """Whether the smallest set can be compiled and stepped."""
    try:
        Stream("ten", 1).run()
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        return f"KunQuant's factors do not compile here: {error}"
    return ""


def lanes() -> int:
    """Float64 lanes of the widest vector that it has code for on this machine."""
    if platform.machine() == "aarch64":
        return 2
    flags = Path("/proc/cpuinfo").read_text().split("flags", 1)[-1].split("\n", 1)[0].split()
    return 8 if {"avx512f", "avx512dq", "avx512vl"} <= set(flags) else 4


# ---- building ---------------------------------------------------------------------------------------------


def graph(name: str) -> Any:
    """The expressions of one set, as KunQuant's graph before it is compiled."""
    from KunQuant.Op import Builder, Input, Output
    from KunQuant.predefined import Alpha101, Alpha158
    from KunQuant.Stage import Function

    builder = Builder()
    with builder:
        inputs = {key: Input(key) for key in INPUTS}
        if name == "alpha158":
            data = Alpha158.AllData(**inputs)
            prices = [
                ("OPEN", data.open),
                ("HIGH", data.high),
                ("LOW", data.low),
                ("VWAP", data.vwap),
            ]
            made, names = data.build(
                {"kbar": {}, "price": {"windows": [0], "feature": prices}, "rolling": {}}
            )
            for node, label in zip(made, names, strict=True):
                Output(node, label)
        elif name == "alpha101":
            data = Alpha101.AllData(**inputs)
            for alpha in Alpha101.all_alpha:
                Output(alpha(data), alpha.__name__)
        else:
            for label, node in _ten(inputs).items():
                Output(node, label)
    return Function(builder.ops)


def _ten(x: dict[str, Any]) -> dict[str, Any]:
    """Ten TA indicators, 14 outputs, from its operators; names as in factor_indicators.py."""
    from KunQuant.Op import ConstantOp
    from KunQuant.ops import (
        BackRef,
        ExpMovingAvg,
        Max,
        Sqrt,
        WindowedAvg,
        WindowedMax,
        WindowedMin,
        WindowedVar,
    )
    from KunQuant.predefined.talib import ATR

    close = x["close"]
    change = close - BackRef(close, 1)
    up = ExpMovingAvg(Max(change, ConstantOp(0)), 2 * 14 - 1)
    down = ExpMovingAvg(Max(ConstantOp(0) - change, ConstantOp(0)), 2 * 14 - 1)
    macd = ExpMovingAvg(close, 12) - ExpMovingAvg(close, 26)
    signal = ExpMovingAvg(macd, 9)
    mean = WindowedAvg(close, 20)
    std = Sqrt(WindowedVar(close, 20) * (19 / 20))  # TA-Lib divides by the number of bars
    return {
        "sma": mean,
        "ema": ExpMovingAvg(close, 20),
        "rsi": up / (up + down) * 100.0,
        "std": std,
        "macd": macd,
        "macd_signal": signal,
        "macd_hist": macd - signal,
        "bb_upper": mean + std * 2.0,
        "bb_middle": mean + ConstantOp(0),
        "bb_lower": mean - std * 2.0,
        "atr": ATR(x["high"], x["low"], close, 14),
        "max": WindowedMax(close, 20),
        "min": WindowedMin(close, 20),
        "roc": (close / BackRef(close, 100) - 1.0) * 100.0,
    }


def _cache() -> Path:
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    folder = user / "bmac_stream" / "bench"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(tempfile.gettempdir()) / f"bmac_stream-bench-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _library(name: str, way: str) -> Any:
    """The module of one set, `way` "stream" or "batch": compiled, or loaded from the cache."""
    from KunQuant.jit import cfake
    from KunQuant.runner import KunRunner as kr

    settings = _STREAM if way == "stream" else _BATCH
    settings = {**settings, "dtype": "double", "blocking_len": lanes()}
    label = f"{name}_{way}"
    gxx = subprocess.run(["g++", "-march=native", "-Q", "--help=target"], capture_output=True, check=True)
    parts = [importlib.metadata.version("KunQuant"), repr(settings)]
    parts += [inspect.getsource(graph), inspect.getsource(_ten)]
    key = hashlib.sha256("\0".join(parts).encode() + gxx.stdout).hexdigest()[:16]
    wanted = _cache() / f"kunquant-{label}-{key}.so"
    if not wanted.exists():
        print(f"KunQuant: g++ compiles {label}", flush=True)
        settings["options"] = dict(settings["options"])  # it writes into them
        config = cfake.KunCompilerConfig(**settings)
        with (
            tempfile.TemporaryDirectory(dir=wanted.parent) as folder,
            contextlib.redirect_stdout(io.StringIO()),
        ):
            made = cfake.compileit(
                [(label, graph(name), config)],
                label,
                cfake.CppCompilerConfig(),
                tempdir=folder,
                keep_files=True,
                load=False,
            )
            Path(made).replace(wanted)
    return kr.Library.load(str(wanted)).getModule(label)


# ---- running ----------------------------------------------------------------------------------------------


class Stream:
    """One set stepped bar by bar for `n_symbols`, and the symbols that fill up the last block."""

    def __init__(self, name: str, n_symbols: int, state: bytes | None = None) -> None:
        from KunQuant.runner import KunRunner as kr

        self.width = -(-n_symbols // lanes()) * lanes()
        """Symbols that it really steps."""
        self.n_symbols = n_symbols
        self._module = _library(name, "stream")  # must live as long as the context
        self._executor = kr.createSingleThreadExecutor()
        arguments = (self._executor, self._module, self.width)
        self.context = kr.StreamContext(*arguments) if state is None else kr.StreamContext(*arguments, state)
        self.names: list[str] = list(self._module.getOutputNames())
        reads = {key: column for key, column in INPUTS.items() if self._handle(key) is not None}
        self._inputs = [(self._handle(key), COLUMNS.index(column)) for key, column in reads.items()]
        self._outputs = [self._handle(key) for key in self.names]
        self.run = self.context.run
        """The step alone, its inputs being in place."""

    def _handle(self, name: str) -> int | None:
        try:
            return int(self.context.queryBufferHandle(name))
        except RuntimeError:  # an input that no output needs
            return None

    def push(self, bar: F64) -> None:
        """Bring one bar into place: float64 [len(COLUMNS), width]."""
        push = self.context.pushData
        for handle, column in self._inputs:
            push(handle, bar[column])

    def read(self, out: F64) -> None:
        """Copy every output into out[n_outputs, width]."""
        get = self.context.getCurrentBuffer
        for k, handle in enumerate(self._outputs):
            out[k] = get(handle)

    def whole_step(self, bar: F64, out: F64) -> None:
        """Load, step, read out."""
        self.push(bar)
        self.run()
        self.read(out)


class Batch:
    """One set over a whole history."""

    def __init__(self, name: str) -> None:
        from KunQuant.runner import KunRunner as kr

        self._module = _library(name, "batch")
        self._executor = kr.createSingleThreadExecutor()
        self._run = kr.runGraph
        self.names: list[str] = list(self._module.getOutputNames())

    def inputs(self, bars: F64) -> dict[str, F64]:
        """Its own form of `bars` [n_bars, len(COLUMNS), n_symbols]: one array [bar][symbol] for each."""
        return {key: np.ascontiguousarray(bars[:, COLUMNS.index(column)]) for key, column in INPUTS.items()}

    def run(self, inputs: dict[str, F64], out: F64) -> None:
        """Fill out[n_outputs, n_bars, n_symbols], which was touched before."""
        buffers = {name: out[k] for k, name in enumerate(self.names)}
        self._run(self._executor, self._module, inputs, 0, out.shape[1], buffers)
