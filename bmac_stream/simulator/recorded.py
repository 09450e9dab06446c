"""Markets made of recorded files: klines (parquet, CSV, zip) and single trades (jsonl).

Klines may come from our recorder (parquet), from BMAC, or from data.binance.vision (CSV with or without a
header, in zip files or not; times in ms, or in us as its spot files since 2025). Names of columns vary and
are understood; the unit of time and the interval are found from the numbers. What is inside a base bar is
invented by `path` (synthetic); with recorded trades it is what happened.
"""

import gzip
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from bmac_stream.bar import INTERVALS_MS
from bmac_stream.simulator.bars import DAY_MS, BarMarket, Block, scales_of
from bmac_stream.simulator.market import F64, I64, PERPETUAL_DELIVERY_MS, Funding, Instrument
from bmac_stream.simulator.numbers import POWERS
from bmac_stream.simulator.path import Steps, steps_of_trades

__all__ = ["RecordedMarket", "RecordedTrades", "read_klines", "to_ms"]

_NAMES: Final = (
    ("open",),
    ("high",),
    ("low",),
    ("close",),
    ("volume",),
    ("quote_volume", "quote_asset_volume"),
    ("trade_num", "trades", "count", "number_of_trades"),
    ("taker_buy_base_asset_volume", "taker_buy_volume"),
    ("taker_buy_quote_asset_volume", "taker_buy_quote_volume"),
)
_TIME_NAMES: Final = ("open_time", "candle_begin_time")
_CSV_NAMES: Final = (
    *("open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "count"),
    *("taker_buy_volume", "taker_buy_quote_volume", "ignore"),
)
_QUOTES: Final = ("FDUSD", "USDT", "USDC", "BUSD", "TUSD", "USD1", "BTC", "ETH", "BNB", "USD", "TRY", "EUR")


def to_ms(times: I64) -> I64:
    """int64 times in s, ms, us or ns since 1970 as ms: told apart by size, so for years 2001 to 2286."""
    if len(times) == 0:
        return times
    size = int(np.abs(times).max())
    if size < 10**10:
        return times * 1000
    return times // (1 if size < 10**13 else 1000 if size < 10**16 else 1_000_000)


def read_klines(path: Path) -> dict[str, tuple[I64, F64]]:
    """Symbol -> (open_time int64[n] ms, values float64[n, 9] in the order of bar.COLUMNS), ascending.

    path  a file, or a directory whose .parquet, .csv and .zip files are all read, or the folder
          {trade_type}/{interval} of a long history. A file without a symbol column is of the symbol its name
          begins with ("BTCUSDT-1m-2026-02.zip", "BTCUSDT.parquet").
    Columns that a file lacks (takers, as a rule) are zeros. Rows that come twice are taken once.
    ValueError: no file, or columns that cannot be understood.
    """
    files = [path] if path.is_file() else sorted(path.iterdir()) if path.is_dir() else []
    files = [f for f in files if f.suffix in (".parquet", ".csv", ".zip")]
    if not files and path.is_dir():  # a long history: .../date=2026-02-17/bars.parquet
        files = sorted(path.glob("date=*/*.parquet"))
    if not files:
        raise ValueError(f"{path}: no .parquet, .csv or .zip file of klines there")
    parts: dict[str, list[tuple[I64, F64]]] = {}
    for file in files:
        for name, table in _tables(file):
            for symbol, one in _by_symbol(table, name):
                parts.setdefault(symbol, []).append(_columns(one, file))
    found = {}
    for symbol in sorted(parts):
        times = np.concatenate([t for t, _ in parts[symbol]])
        values = np.concatenate([v for _, v in parts[symbol]])
        times, first = np.unique(times, return_index=True)
        found[symbol] = times, values[first]
    return found


def _tables(file: Path) -> Iterator[tuple[str, Any]]:
    if file.suffix == ".parquet":
        yield file.name, pq.read_table(file)
    elif file.suffix == ".csv":
        yield file.name, _csv(file.read_bytes())
    else:
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                if name.endswith(".csv"):
                    yield Path(name).name, _csv(archive.read(name))


def _csv(body: bytes) -> Any:
    header = not body[:1].isdigit()
    names = [] if header else list(_CSV_NAMES)
    return pa_csv.read_csv(io.BytesIO(body), read_options=pa_csv.ReadOptions(column_names=names))


def _by_symbol(table: Any, name: str) -> Iterator[tuple[str, Any]]:
    if "symbol" not in table.column_names:
        yield name.split(".")[0].split("-")[0], table
        return
    symbols = np.asarray(table.column("symbol").cast(pa.string()).to_pylist())
    for symbol in np.unique(symbols):
        yield str(symbol), table.filter(pa.array(symbols == symbol))


def _columns(table: Any, file: Path) -> tuple[I64, F64]:
    there = set(table.column_names)
    time_name = next((n for n in _TIME_NAMES if n in there), None)
    if time_name is None or not there >= {"open", "high", "low", "close", "volume"}:
        raise ValueError(f"{file}: expected open_time, open, high, low, close, volume; found {sorted(there)}")
    times = table.column(time_name)
    if pa.types.is_timestamp(times.type):
        times = times.cast(pa.timestamp("ms", tz=times.type.tz), safe=False)
    times = np.asarray(times.cast(pa.int64()), dtype=np.int64)
    values = np.zeros((len(times), 9))
    for i, names in enumerate(_NAMES):
        name = next((n for n in names if n in there), None)
        if name is not None:
            values[:, i] = np.asarray(table.column(name).cast(pa.float64()))
    return to_ms(times), values


def _decimals(x: F64, most: int = 8) -> int:
    """Fewest decimals that all of x can be printed with."""
    for d in range(most):
        if np.array_equal(np.rint(x * POWERS[d]) / POWERS[d], x):
            return d
    return most


def _instrument(
    symbol: str, market: str, times: I64, values: F64, info: dict[str, Any], step: int
) -> Instrument:
    """The instrument as its bars show it, or as the recorded exchangeInfo `info` does."""
    price, volume = _decimals(values[:, :4]), _decimals(values[:, [4, 7]])
    filters = {f["filterType"]: f for f in info.get("filters", ())}
    price = max(price, info.get("pricePrecision", 0)) if market != "spot" else price
    volume = max(volume, info.get("quantityPrecision", 0)) if market != "spot" else volume
    pair = symbol.split("_")[0]
    quote = next((q for q in _QUOTES if pair.endswith(q) and pair != q), "USDT")
    base = pair.removesuffix(quote)
    perpetual = "_" not in symbol or symbol.endswith("_PERP")
    tick, lot = f"{10.0**-price:.{price}f}", f"{10.0**-volume:.{volume}f}"
    printed = (8, 8, 8)
    if market == "spot":
        tick, lot = f"{float(tick):.8f}", f"{float(lot):.8f}"
    else:
        tick = filters.get("PRICE_FILTER", {}).get("tickSize", tick)
        lot = filters.get("LOT_SIZE", {}).get("stepSize", lot)
        printed = (price, volume, 8 if market == "coinm" else price + volume)
    first = int(times[0])
    return Instrument(
        market=market,
        symbol=symbol,
        pair=info.get("pair", pair),
        base=info.get("baseAsset", base),
        quote=info.get("quoteAsset", quote),
        margin_asset="" if market == "spot" else info.get("marginAsset", quote if market == "usdm" else base),
        contract_type="" if market == "spot" else info.get("contractType", "PERPETUAL" if perpetual else ""),
        price_precision=printed[0],
        quantity_precision=printed[1],
        quote_precision=printed[2],
        tick_size=tick,
        step_size=lot,
        min_notional=filters.get("MIN_NOTIONAL", {}).get("notional", "5"),
        contract_size=info.get("contractSize", (100 if base == "BTC" else 10) if market == "coinm" else 1),
        onboard_ms=info.get("onboardDate", first),
        delivery_ms=PERPETUAL_DELIVERY_MS if market != "spot" else 0,
        list_ms=first // step * step,
        funding_hours=8 if market != "spot" and perpetual else 0,
        underlying_type=info.get("underlyingType", "COIN"),
        underlying_sub_type=tuple(info.get("underlyingSubType", ())),
    )


class RecordedMarket(BarMarket):
    """Recorded klines of one market, served as if they happened now.

    data           file or directory, see read_klines
    market         "spot", "usdm" or "coinm"; None: coinm if the symbols say so, else usdm
    history_days   the exchange's clock starts so many days after the first bar (half of the data at most)
    start_ms       where it starts, instead; a full base bar
    exchange_info  a recorded exchangeInfo body (.json or .json.gz), for precisions that bars do not show
    funding        parquet with funding_time, symbol, funding_rate; None: invented ones
    A symbol whose bars end more than a day before the last ones is delisted there.
    """

    def __init__(
        self,
        data: str | Path,
        *,
        market: str | None = None,
        history_days: float = 10.0,
        start_ms: int | None = None,
        exchange_info: str | Path | None = None,
        funding: str | Path | None = None,
    ) -> None:
        bars = read_klines(Path(data))
        if market is None:
            market = "coinm" if all(s.split("_")[0].endswith("USD") for s in bars) else "usdm"
        interval = _interval(bars)
        step = INTERVALS_MS[interval]
        infos = _infos(exchange_info)
        first = min(int(times[0]) for times, _ in bars.values())
        end = max(int(times[-1]) for times, _ in bars.values()) + step
        digest = hashlib.blake2b(digest_size=6)
        instruments, self._bars = [], []
        for symbol, (times, values) in bars.items():
            digest.update(symbol.encode() + times.tobytes() + values.tobytes())
            one = _instrument(symbol, market, times, values, infos.get(symbol, {}), step)
            last = int(times[-1]) + step
            if last < end - max(DAY_MS, step):
                one = _ended(one, last)
            instruments.append(one)
            self._bars.append(_on_grid(times, values, step))
        if start_ms is None:
            start_ms = first + int(min(history_days * DAY_MS, (end - first) / 2)) // step * step
        super().__init__(
            {market: instruments},
            base=interval,
            source=f"embedded:recorded:{digest.hexdigest()}",
            start_ms=start_ms,
            end_ms=end,
            seconds=False,
        )
        self._recorded = instruments
        self._fundings = _read_funding(funding) if funding is not None else None

    def _raw_block(self, market: str, position: int, day: int) -> Block:
        if position >= len(self._bars):  # listed at run time: the bars of one that is recorded to the end
            position = next(p for p, i in enumerate(self._recorded) if i.delist_ms is None)
        first_open, values, ids = self._bars[position]
        out, out_ids = np.full((self._per_day, 9), np.nan), np.full(self._per_day, -1, np.int64)
        offset = (day * DAY_MS - first_open) // self._base_ms  # of the day's first bar in the recording
        low, high = max(0, -offset), min(self._per_day, len(values) - offset)
        if low < high:
            out[low:high] = values[offset + low : offset + high]
            out_ids[low:high] = ids[offset + low : offset + high]
        return out, out_ids

    def funding(self, market: str, symbol: str | None, start_ms: int, end_ms: int) -> Funding:
        if self._fundings is None:
            return super().funding(market, symbol, start_ms, end_ms)
        times, symbols, rates = self._fundings
        known = [i.symbol for i in self._instruments[market]]
        keep = (
            (times >= start_ms) & (times <= end_ms) & np.isin(symbols, known if symbol is None else [symbol])
        )
        names = [str(s) for s in symbols[keep]]
        return Funding(names, times[keep], rates[keep], np.full(int(keep.sum()), np.nan))


def _ended(one: Instrument, at_ms: int) -> Instrument:
    delivery_ms = at_ms if one.market != "spot" else 0
    return replace(one, delist_ms=at_ms, delivery_ms=delivery_ms)


def _interval(bars: dict[str, tuple[I64, F64]]) -> str:
    """The name of the files' one interval: the smallest distance of two open times."""
    steps = {int(np.diff(times).min()) for times, _ in bars.values() if len(times) > 1}
    name = next((n for n, ms in INTERVALS_MS.items() if steps == {ms}), None)
    if name is None or DAY_MS % INTERVALS_MS[name]:
        raise ValueError(f"expected bars of one interval up to 1d, found distances of {sorted(steps)} ms")
    return name


def _on_grid(times: I64, values: F64, step: int) -> tuple[int, F64, I64]:
    """(first open time, values of every bar of the grid with NaN where there is none, first trade ids)."""
    at = (times - times[0]) // step
    grid = np.full((int(at[-1]) + 1, 9), np.nan)
    grid[at] = values
    trades = np.nan_to_num(grid[:, 6]).astype(np.int64)
    return int(times[0]), grid, 1 + np.cumsum(trades) - trades


def _infos(path: str | Path | None) -> dict[str, dict[str, Any]]:
    if path is None:
        return {}
    body = Path(path).read_bytes()
    info = json.loads(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
    return {one["symbol"]: one for one in info["symbols"]}


def _read_funding(path: str | Path) -> tuple[I64, np.ndarray, F64]:
    table = pq.read_table(path)
    times = to_ms(np.asarray(table.column("funding_time").cast(pa.int64()), dtype=np.int64))
    symbols = np.asarray(table.column("symbol").cast(pa.string()).to_pylist())
    rates = np.asarray(table.column("funding_rate"), dtype=np.float64)
    order = np.lexsort((symbols, times))
    return times[order], symbols[order], rates[order]


class _Trade(msgspec.Struct, gc=False):
    s: str
    t: int
    p: str
    q: str
    T: int
    m: bool
    X: str | None = None


class _Message(msgspec.Struct, gc=False):
    data: _Trade


class RecordedTrades(BarMarket):
    """Bars made of recorded `@trade` messages: forming bars are exactly what they were.

    files  jsonl or jsonl.gz; a line is "<receiver's ns> <message of a combined stream>"
    Futures trades with an X other than MARKET (insurance fund, liquidations of the old kind) are no part of
    klines and are left out. A trade belongs to the bar of its T. Only whole minutes are served.
    """

    def __init__(self, files: list[Path], *, start_ms: int | None = None) -> None:
        trades = _read_trades(files)
        instruments: dict[str, list[Instrument]] = {}
        self._trades: dict[tuple[str, int], tuple[I64, I64, F64, F64, F64, np.ndarray]] = {}
        digest = hashlib.blake2b(digest_size=6)
        for (market, symbol), rows in sorted(trades.items()):
            rows.sort(key=lambda trade: trade.t)
            times = np.array([r.T for r in rows], dtype=np.int64)
            price, quantity = np.array([float(r.p) for r in rows]), np.array([float(r.q) for r in rows])
            digest.update(symbol.encode() + times.tobytes() + price.tobytes() + quantity.tobytes())
            values = np.zeros((len(rows), 9))
            values[:, :4], values[:, 4] = price[:, None], quantity
            info: dict[str, Any] = {"pricePrecision": len(rows[0].p.partition(".")[2])}
            info["quantityPrecision"] = len(rows[0].q.partition(".")[2])
            one = _instrument(symbol, market, -(-times // 60_000) * 60_000, values, info, 60_000)
            ps, vs, qs, _ = scales_of(one)
            p, q = np.rint(price * ps), np.rint(quantity * vs)
            # whole units on linear markets; on inverse ones fractions of 1e-8, rounded when they are read
            quote = q * one.contract_size / price * qs if market == "coinm" else p * q * (qs / (ps * vs))
            position = len(instruments.setdefault(market, []))
            ids = np.array([r.t for r in rows], dtype=np.int64)
            maker = np.array([r.m for r in rows])
            instruments[market].append(_ended(one, int(times[-1]) // 60_000 * 60_000))
            self._trades[market, position] = times, ids, p, q, quote, maker
        first = max(i.list_ms for known in instruments.values() for i in known)
        end = max(i.delist_ms or 0 for known in instruments.values() for i in known)
        super().__init__(
            instruments,
            base="1m",
            source=f"embedded:recorded:{digest.hexdigest()}",
            start_ms=first if start_ms is None else start_ms,
            end_ms=end,
        )

    def _minute(self, market: str, position: int, open_ms: int) -> tuple[Steps, int]:
        """The trades of a minute, and the id of its first (-1: none)."""
        times, ids, p, q, quote, maker = self._trades[market, position]
        inside = slice(*np.searchsorted(times, [open_ms, open_ms + 60_000]))
        steps = steps_of_trades(times[inside], p[inside], q[inside], quote[inside], maker[inside])
        steps.total[:, :, [1, 4]] = np.rint(steps.total[:, :, [1, 4]])
        return steps, int(ids[inside][0]) if steps.size[0] else -1

    def _raw_block(self, market: str, position: int, day: int) -> Block:
        values, first = np.full((1440, 9), np.nan), np.full(1440, -1, np.int64)
        times = self._trades[market, position][0]
        close = np.nan
        for open_ms in range(int(times[0]) // 60_000 * 60_000, int(times[-1]), 60_000):
            steps, first_id = self._minute(market, position, open_ms)
            n = int(steps.size[0])
            row = np.zeros(9)
            if n:
                units = np.empty((1, 9))
                units[0, :4] = steps.price[0, 0], steps.high[0, -1], steps.low[0, -1], steps.price[0, -1]
                units[0, 4:] = steps.total[0, -1]
                row = self._values(market, np.array([position]), units)[0]
                close = row[3]
            else:
                row[:4] = close
            if open_ms // DAY_MS == day:
                values[open_ms % DAY_MS // 60_000] = row
                first[open_ms % DAY_MS // 60_000] = first_id
        return values, first

    def _steps(self, market: str, index: I64, open_ms: int, values: F64) -> Steps:
        parts = [self._minute(market, p, open_ms)[0] for p in index.tolist()]
        width = max([p.time.shape[1] for p in parts], default=1)
        m = len(parts)
        price, high, low = np.zeros((m, width)), np.zeros((m, width)), np.zeros((m, width))
        far = np.full((m, width), 2**62, np.int64)
        out = Steps(np.zeros(m, np.int64), far, price, high, low, np.zeros((m, width, 5)))
        for i, part in enumerate(parts):
            n = int(part.size[0]) if values[i, 6] > 0 else 0
            out.size[i] = n
            out.time[i, :n], out.price[i, :n] = part.time[0, :n], part.price[0, :n]
            out.high[i, :n], out.low[i, :n] = part.high[0, :n], part.low[0, :n]
            out.total[i, :n] = part.total[0, :n]
        return out


def _read_trades(files: list[Path]) -> dict[tuple[str, str], list[_Trade]]:
    decoder = msgspec.json.Decoder(_Message)
    found: dict[tuple[str, str], dict[int, _Trade]] = {}
    for file in files:
        body = file.read_bytes()
        for line in (gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body).splitlines():
            trade = decoder.decode(line.partition(b" ")[2]).data
            if trade.X not in (None, "MARKET"):
                continue
            market = "spot" if trade.X is None else "coinm" if "USD_" in trade.s else "usdm"
            found.setdefault((market, trade.s), {})[trade.t] = trade
    return {key: list(trades.values()) for key, trades in found.items()}
