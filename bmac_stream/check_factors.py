"""A folder of pandas factor modules (`factor/{Name}.py`): which of them work here, and which the engine has.

`python -m bmac_stream.check_factors FOLDER` prints one JSON list of checks. `bmac_stream check` runs it as a
process of its own, with a time limit: importing a module runs it, and what that does nobody knows before.
"""

import contextlib
import importlib
import io
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from bmac_stream.doctor import Check

__all__ = ["look", "main"]

TIMEOUT_S: Final = 180.0
ROWS: Final = 400
PARAMETERS: Final = (20, "5,20", "20,2")
"""What a factor is tried with, in this order: which ones it is used with only the strategy knows."""
SAME: Final = 1e-9
"""Relative difference up to which an engine's factor gives the same numbers: sums in another order."""
MINUTE: Final = 60_000


def look(folder: Path) -> list[Check]:
    """What is to be said of the modules in `folder`. Never raises."""
    command = [sys.executable, "-m", "bmac_stream.check_factors", str(folder)]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        what = "took too long" if isinstance(error, subprocess.TimeoutExpired) else str(error)
        return [Check("factors", "warn", f"{folder}: {what}", "A module that never ends its import?")]
    try:
        return msgspec.json.decode(done.stdout.splitlines()[-1], type=list[Check])
    except (IndexError, msgspec.MsgspecError):
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or [
            f"status {done.returncode}"
        ]
        return [
            Check(
                "factors", "warn", f"{folder}: a module ended the process: {last[0][:300]}",
                "A factor module must not call sys.exit or read the terminal when it is imported.",
            )
        ]  # fmt: skip


def main(folder: str | Path) -> list[Check]:
    """The same, in this process: imports what is there."""
    path = Path(folder).resolve()
    try:
        from bmac_stream.bmac_kit.candles import Candles
    except ImportError as error:
        return [Check("factors", "warn", f"not looked at: {error}", "Install the extra `frames` (pandas).")]
    names = sorted(file.stem for file in path.glob("*.py") if file.stem != "__init__")
    if not names:
        return [
            Check("factors", "warn", f"{path} has no .py file", "Name the folder of your factor modules.")
        ]
    sys.path.insert(0, str(path.parent))
    importlib.invalidate_caches()
    candles: Candles = _candles()
    return [_module(path, name, candles) for name in names]


def _module(path: Path, name: str, candles: Any) -> Check:
    from bmac_stream.bmac_kit.factors import FactorList
    from bmac_stream.errors import LegacyFactorError

    what, tried = f"factor {name}", []
    if not name.isidentifier():
        return Check(what, "warn", f"{path / name}.py is no module's name", "Rename it.")
    for parameter in PARAMETERS:
        try:
            factors = FactorList([(name, parameter)], package=path.name)
            column = factors.columns[0]
            if factors.nodes:
                return Check(what, "fail", f"{path.name}.{name} was not found as a module", "Is it readable?")
            values = factors.of_frame(candles.frame())[column]
        except LegacyFactorError as error:
            tried.append(str(error))
            if "cannot be imported" in tried[0] or "expected" in tried[0].partition(":")[2][:60]:
                break
            continue
        except Exception as error:  # whatever a module may do
            tried.append(f"{type(error).__name__}: {error}")
            continue
        return _works(what, name, parameter, values, candles)
    return Check(
        what, "fail", tried[0].splitlines()[0][:500],
        "Symbols are left out, or the strategy stops, until this is mended; the collector does not mind.",
    )  # fmt: skip


def _works(what: str, name: str, parameter: Any, values: Any, candles: Any) -> Check:
    import numpy as np

    found = f"works with parameter {parameter!r}"
    try:
        numbers = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        return Check(what, "ok", f"{found}; its values are no numbers")
    if np.isnan(numbers).all():
        return Check(
            what, "warn", f"{found}, but every value is NaN", "Does it read columns that BMAC has not?"
        )
    home, twin = _twin(name, parameter, candles)
    if home is None:
        return Check(what, "ok", f"{found}; pandas only, the engine has no factor of this name")
    if twin is None:
        return Check(what, "ok", f"{found}; the engine has {home}, with other parameters")
    both = np.isfinite(numbers) & np.isfinite(twin)
    scale = np.maximum(np.abs(numbers[both]), np.abs(twin[both]))
    apart = np.abs(numbers[both] - twin[both]) / np.where(scale > 0, scale, 1.0)
    worst = float(apart.max()) if both.any() else float("inf")
    rows = int((np.isfinite(numbers) != np.isfinite(twin)).sum())
    if worst <= SAME and rows == 0:
        return Check(what, "ok", f'{found}; the engine has the same as {home}: prefer="engine" is faster')
    text = f"{found}; the engine's {home} is another formula ({worst:.2g} apart, {rows} rows in one only)"
    return Check(what, "ok", text, 'Yours goes on being used: prefer="legacy" is the default.')


def _twin(name: str, parameter: Any, candles: Any) -> tuple[str | None, Any]:
    """(the engine's factor of that name, its values over the same candles), None where there is none."""
    import numpy as np

    from bmac_stream.bmac_kit.factors import FactorList, of_panel
    from factor_defs import registry

    try:
        home = f"{registry.find(name).__module__.rpartition('.')[2]}:{name}"
    except Exception:  # it is in no library, or in several
        return None, None
    try:
        factors = FactorList([(home, parameter)])
        step = candles.interval_ms
        plan = factors.plan(step, candles.run_time_ms % step, candles.columns, {})
        if len(plan.names) != 1 or any(plan.is_cross):
            return home, None
        pieces = of_panel(plan, [candles], candles.run_time_ms, len(candles), {})
        return home, np.concatenate([piece[:, 0, 0].copy() for piece in pieces])
    except Exception:  # parameters that do not fit
        return home, None


def _candles() -> Any:
    """A made-up symbol: a random walk with a volume, always the same."""
    import numpy as np

    from bmac_stream.bmac_kit.candles import Candles

    random = np.random.default_rng(7)
    close = 100.0 * np.exp(np.cumsum(random.normal(0, 0.002, ROWS)))
    open_ = np.concatenate([[100.0], close[:-1]])
    high = np.maximum(open_, close) * (1 + random.uniform(0, 0.001, ROWS))
    low = np.minimum(open_, close) * (1 - random.uniform(0, 0.001, ROWS))
    volume = random.uniform(10, 1000, ROWS)
    share = random.uniform(0.3, 0.7, ROWS)
    trades = np.rint(volume * 3)
    values = np.array(
        [open_, high, low, close, volume, volume * close, trades, volume * share, volume * share * close]
    )
    begin = 1_767_225_600_000 + MINUTE * np.arange(ROWS, dtype=np.int64)
    return Candles("BTCUSDT", MINUTE, begin, values)


if __name__ == "__main__":
    with contextlib.redirect_stdout(io.StringIO()):  # a module may say something when it is imported
        checks = main(sys.argv[1])
    print(msgspec.json.encode(checks).decode())
