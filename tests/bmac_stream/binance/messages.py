"""Hand-written messages in the shapes that Binance sends, so that no test needs recorded data."""

import json
from typing import Any

__all__ = ["OPEN_TIME", "VALUES", "frame", "kline_object", "row", "rows"]

OPEN_TIME = 1_785_542_400_000  # 2026-08-01 00:00 UTC
VALUES = (
    "61800.30",
    "61812.00",
    "61799.90",
    "61805.10",
    "12.345",
    "762912.27810",
    "48",
    "5.000",
    "309001.50000",
)
"""In the order of bar.COLUMNS, as strings on the wire."""


def kline_object(
    open_time: int = OPEN_TIME, step: int = 60_000, interval: str = "1m", **change: Any
) -> dict[str, Any]:
    """The "k" of a kline event."""
    o, h, low, c, v, q, n, taker_v, taker_q = VALUES
    k = {
        "t": open_time, "T": open_time + step - 1, "s": "BTCUSDT", "i": interval, "f": 100, "L": 147,
        "o": o, "c": c, "h": h, "l": low, "v": v, "n": int(n), "x": False, "q": q, "V": taker_v, "Q": taker_q,
        "B": "0",
    }  # fmt: skip
    k.update(change)
    return k


def frame(
    *, combined: bool = True, stream: str | None = None, symbol: str = "BTCUSDT", **change: Any
) -> bytes:
    """A kline frame; `change` goes into its "k"."""
    k = kline_object(**{"s": symbol, **change})
    event = {"e": "kline", "E": k["t"] + 12_345, "s": symbol, "k": k}
    if not combined:
        return _bytes(event)
    return _bytes({"stream": stream or f"{symbol.lower()}@kline_{k['i']}", "data": event})


def row(open_time: int = OPEN_TIME, step: int = 60_000) -> list[Any]:
    """One row of a klines answer."""
    o, h, low, c, v, q, n, taker_v, taker_q = VALUES
    return [open_time, o, h, low, c, v, open_time + step - 1, q, int(n), taker_v, taker_q, "0"]


def rows(n: int, open_time: int = OPEN_TIME, step: int = 60_000) -> bytes:
    """A klines answer of n bars."""
    return _bytes([row(open_time + i * step, step) for i in range(n)])


def _bytes(message: object) -> bytes:
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()
