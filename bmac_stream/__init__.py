"""Whole-market Binance bars in shared memory, at every bar close, for many strategy processes at once.

    import bmac_stream

    store = bmac_stream.attach("usdt_perp_1m")        # a running collector's store: read-only, no copy
    store["BTCUSDT"].close[-100:]                      # numpy view of shared memory
    run_time = store.wait(timeout_s=90)                # the market's next bar close
    engine = bmac_stream.Engine(store, [["PctChg", 100], "qlib158"])    # factors, in this process
    store.factors.cross_section("PctChg_100")          # or those that an engine process publishes

`import bmac_stream` alone loads nothing heavy: Numba and Arrow come with the first name that needs them.
"""

import importlib
from typing import TYPE_CHECKING, Any

from bmac_stream import bar

if TYPE_CHECKING:
    from bmac_stream import errors
    from bmac_stream.client import Bars, FormingBar, RunTime, Store, SymbolView, attach
    from bmac_stream.engine import Engine
    from bmac_stream.factors import Factors, attach_factors

__all__ = [
    "Bars",
    "Engine",
    "Factors",
    "FormingBar",
    "RunTime",
    "Store",
    "SymbolView",
    "attach",
    "attach_factors",
    "bar",
    "errors",
]

__version__ = "0.1.0"

_HOMES = {
    **dict.fromkeys(("Bars", "FormingBar", "RunTime", "Store", "SymbolView", "attach"), "client"),
    **dict.fromkeys(("Factors", "attach_factors"), "factors"),
    "Engine": "engine",
}


def __getattr__(name: str) -> Any:
    if name == "errors":  # its tree has shm's errors in it, and shm brings Numba
        return importlib.import_module("bmac_stream.errors")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"bmac_stream.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
