"""Files as data.binance.vision has them, and bars for them, made by rule."""

import hashlib
import io
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bmac_stream.bar import INTERVALS_MS

HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,"
    "taker_buy_volume,taker_buy_quote_volume,ignore"
)


def values(symbol: str, open_time: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Sound bars, float64 [9, n], with few decimals; they follow from symbol and time."""
    seed = sum(symbol.encode())
    k = (open_time // 60_000 * 7 + seed) % 1000
    o = 100.0 + seed + k / 8
    c = o + (k % 5 - 2) / 4
    h, low = np.maximum(o, c) + 0.5, np.minimum(o, c) - 0.25
    v = 10.0 + k / 4
    return np.array([o, h, low, c, v, v * 100, k + 1.0, v / 2, v * 50])


def lines(symbol: str, open_time: npt.NDArray[np.int64], interval: str, *, us: bool = False) -> list[str]:
    """The rows of a file, times in ms or us."""
    scale = 1000 if us else 1
    step = INTERVALS_MS[interval]
    made = []
    for t, (o, h, low, c, v, q, n, tv, tq) in zip(
        open_time.tolist(), values(symbol, open_time).T.tolist(), strict=True
    ):
        close_time = (t + step) * scale - 1
        made.append(f"{t * scale},{o},{h},{low},{c},{v},{close_time},{q},{int(n)},{tv},{tq},0")
    return made


def write(
    folder: Path,
    symbol: str,
    period: str,
    interval: str = "1m",
    *,
    us: bool = False,
    header: bool = False,
    zipped: bool = True,
    checksum: bool = True,
    rows: list[str] | None = None,
) -> Path:
    """A whole day ("2024-02-17") or month of bars, as a zip with its checksum beside, or a csv."""
    folder.mkdir(parents=True, exist_ok=True)
    if rows is None:
        rows = lines(symbol, times(period, interval), interval, us=us)
    text = "\n".join([HEADER, *rows] if header else rows) + "\n"
    name = f"{symbol}-{interval}-{period}"
    path = folder / f"{name}.{'zip' if zipped else 'csv'}"
    if zipped:
        body = io.BytesIO()
        with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{name}.csv", text)
        path.write_bytes(body.getvalue())
    else:
        path.write_text(text)
    if checksum:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        path.with_name(path.name + ".CHECKSUM").write_text(f"{digest}  {path.name}\n")
    return path


def times(period: str, interval: str = "1m") -> npt.NDArray[np.int64]:
    """Open times of a day or a month."""
    year, month, *day = map(int, period.split("-"))
    first = datetime(year, month, *(day or [1]), tzinfo=UTC)
    if day:
        end = first.timestamp() + 86_400
    else:
        end = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC).timestamp()
    return np.arange(int(first.timestamp()) * 1000, int(end) * 1000, INTERVALS_MS[interval])
