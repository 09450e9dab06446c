"""What a user of BMAC has: BMAC's own pandas and pyarrow, and strategies that read its files.

    python tests/compat/reader.py OUT

Reads the run directories that tests/compat/write.py left, in an environment with BMAC's pins, and compares
them with the exchange's own REST bodies. Written to the description of BMAC's files alone; it imports nothing
of this project and shares no code with it. Ends with status 1 and every difference.
"""

import json
import math
import sys
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from glob import escape
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet

PINS = {"pandas": "2.2.1", "pyarrow": "15.0.2", "numpy": "1.26.4"}
HONG_KONG = timezone(timedelta(hours=8))
COLUMNS = [
    "open", "high", "low", "close", "volume", "quote_volume", "trade_num", "taker_buy_base_asset_volume",
    "taker_buy_quote_asset_volume",
]  # fmt: skip
KLINE_FIELDS = (1, 2, 3, 4, 5, 7, 8, 9, 10)
STABLECOINS = {
    "BKRWUSDT", "USDCUSDT", "USDPUSDT", "TUSDUSDT", "BUSDUSDT", "FDUSDUSDT", "DAIUSDT", "EURUSDT", "GBPUSDT",
    "USBPUSDT", "SUSDUSDT", "PAXGUSDT", "AEURUSDT", "USDSUSDT", "USDSBUSDT",
}  # fmt: skip
SPOT = {"usdt_spot": "USDT", "usdc_spot": "USDC", "btc_spot": "BTC"}
QUARTERS = ("CURRENT_QUARTER", "NEXT_QUARTER")
FUTURES = {
    "usdt_perp": ("USDT", ("PERPETUAL",)), "usdt_swap": ("USDT", ("PERPETUAL",)),
    "usdt_deli": ("USDT", QUARTERS), "usdc_perp": ("USDC", ("PERPETUAL",)),
    "btc_perp": ("BTC", ("PERPETUAL",)),
}  # fmt: skip
COIN = {"coin_perp": ("PERPETUAL",), "coin_swap": ("PERPETUAL",), "coin_deli": QUARTERS}
ALL_TYPES = {*SPOT, *FUTURES, *COIN}

problems = []


def expect(what, good):
    """Note `what` unless `good`."""
    if not good:
        problems.append(what)
    return good


class CandleFileReader:
    """The reader of BMAC's interface: paths, ready files, frames."""

    def __init__(self, base_dir, save_type):
        self.base_dir = base_dir
        self.save_type = save_type
        self.ext = {"parquet": "pqt", "feather": "fea"}[save_type]

    def check_ready(self, symbol, run_time):
        return (self.base_dir / f"{symbol}_{run_time.strftime('%Y%m%d_%H%M%S')}.ready").exists()

    def ready_times(self, symbol):
        """What stands there of a symbol: the times of names that are exactly its own."""
        found = []
        for path in self.base_dir.glob(f"{escape(symbol)}_*.ready"):
            text = path.name[len(symbol) + 1 : -len(".ready")]
            if len(text) == 15:
                found.append(datetime.strptime(text, "%Y%m%d_%H%M%S").replace(tzinfo=HONG_KONG))
                float(path.read_text())  # a time stamp
        return found

    def read_candle(self, symbol):
        path = self.base_dir / f"{symbol}.{self.ext}"
        return pd.read_feather(path) if self.save_type == "feather" else pd.read_parquet(path)

    def get_all_symbols(self):
        return [path.stem for path in self.base_dir.glob(f"*.{self.ext}") if path.name[0] != "."]


def market_of(trade_type):
    return "spot" if trade_type in SPOT else "usdm" if trade_type in FUTURES else "coinm"


def chosen(trade_type, info):
    """Entries of exchangeInfo that BMAC keeps, in the exchange's order."""
    kept = []
    for entry in info["symbols"]:
        if entry.get("status", entry.get("contractStatus")) != "TRADING":
            continue
        if trade_type in SPOT:
            good = entry["quoteAsset"] == SPOT[trade_type] and entry["symbol"] not in STABLECOINS
        elif trade_type in FUTURES:
            quote, kinds = FUTURES[trade_type]
            good = entry["quoteAsset"] == quote and entry["contractType"] in kinds
        else:
            good = entry["contractType"] in COIN[trade_type]
        if good:
            kept.append(entry)
    return kept


def rule(entry, kind, field):
    values = [each[field] for each in entry["filters"] if each["filterType"] == kind and field in each]
    return Decimal(values[0]) if values else None


def exginfo_rows(trade_type, entries):
    """The rows of exginfo as BMAC makes them."""
    rows = []
    for entry in entries:
        common = {"base_asset": entry["baseAsset"], "quote_asset": entry["quoteAsset"]}
        tick = rule(entry, "PRICE_FILTER", "tickSize")
        lot = rule(entry, "LOT_SIZE", "stepSize")
        if trade_type in SPOT:
            least = rule(entry, "NOTIONAL", "minNotional")
            row = {"symbol": entry["symbol"], "status": entry["status"], **common, "price_tick": tick,
                   "lot_size": lot, "min_notional_value": least}  # fmt: skip
        else:
            status = entry.get("status", entry.get("contractStatus"))
            row = {"symbol": entry["symbol"], "contract_type": entry["contractType"], "status": status,
                   **common, "margin_asset": entry["marginAsset"], "price_tick": tick}  # fmt: skip
            if trade_type in COIN:
                row["lot_size"] = Decimal(str(entry["contractSize"]))
            else:
                row |= {"lot_size": lot, "min_notional_value": rule(entry, "MIN_NOTIONAL", "notional")}
        rows.append(row)
    return rows


def check_candles(name, config, reader, symbol, klines):
    """One symbol's file against the exchange's bars. Its run_time; None if something is wrong."""
    where = f"{name}: {symbol}"
    times = reader.ready_times(symbol)
    if not expect(f"{where}: ready files {times}", len(times) == 1):
        return None
    run_time = times[0]
    frame = reader.read_candle(symbol)
    expect(f"{where}: columns {list(frame.columns)}", list(frame.columns) == ["candle_begin_time", *COLUMNS])
    dtypes = {str(frame[column].dtype) for column in COLUMNS}
    expect(f"{where}: dtypes {dtypes}", dtypes == {"float64"})
    begin = frame["candle_begin_time"]
    expect(f"{where}: begin is {begin.dtype}", str(begin.dtype) == "datetime64[ns, UTC]")
    if config["save_type"] == "feather":
        expect(
            f"{where}: index {frame.index}", isinstance(frame.index, pd.RangeIndex) and frame.index[0] == 0
        )
    else:
        expect(f"{where}: index is {frame.index.dtype}", str(frame.index.dtype) == "datetime64[ns, UTC]")
        expect(f"{where}: index named {frame.index.name}", frame.index.name in ("candle_end_time", None))
        ends = begin + pd.Timedelta(minutes=1)
        expect(f"{where}: index is not begin + interval", bool((frame.index == pd.DatetimeIndex(ends)).all()))
        expect(f"{where}: last bar ends at {frame.index[-1]}, ready {run_time}", frame.index[-1] == run_time)
        footer = pyarrow.parquet.ParquetFile(reader.base_dir / f"{symbol}.pqt").metadata
        kinds = {footer.row_group(0).column(i).compression for i in range(footer.num_columns)}
        expect(
            f"{where}: {footer.num_row_groups} row groups, {kinds}",
            footer.num_row_groups == 1 and kinds == {"SNAPPY"},
        )
        expect(f"{where}: parquet {footer.format_version}", footer.format_version == "2.6")
    end_ms = int(run_time.timestamp() * 1000)
    closed = [row for row in klines if row[0] + 60_000 <= end_ms]
    # the window is num_candles periods; where the exchange has no bar there is no row
    closed = [row for row in closed if row[0] >= end_ms - 60_000 * config["num_candles"]]
    begin_ms = begin.astype("int64").to_numpy() // 1_000_000
    wanted_ms = np.array([row[0] for row in closed], dtype="int64")
    if not expect(
        f"{where}: {len(begin_ms)} rows, expected {len(wanted_ms)}", np.array_equal(begin_ms, wanted_ms)
    ):
        return None
    wanted = np.array([[float(row[field]) for field in KLINE_FIELDS] for row in closed])
    expect(f"{where}: values differ", np.array_equal(frame[COLUMNS].to_numpy(), wanted))
    expect(f"{where}: not ready at {run_time}", reader.check_ready(symbol, run_time))
    expect(f"{where}: ready a period later", not reader.check_ready(symbol, run_time + timedelta(minutes=1)))
    expect(f"{where}: too few rows", len(frame) > 30)
    return run_time


def check_exginfo(name, config, reader, entries):
    times = reader.ready_times("exginfo")
    expect(f"{name}: exginfo's ready files {times}", len(times) == 1)
    frame = reader.read_candle("exginfo")
    wanted = pd.DataFrame.from_records(exginfo_rows(config["trade_type"], entries))
    expect(f"{name}: exginfo's columns {list(frame.columns)}", list(frame.columns) == list(wanted.columns))
    expect(f"{name}: exginfo's index {frame.index}", isinstance(frame.index, pd.RangeIndex))
    for column in wanted.columns:
        same = list(frame[column]) == list(wanted[column])
        expect(f"{name}: exginfo's {column}: {list(frame[column])[:3]}, {list(wanted[column])[:3]}", same)
        kinds = {type(value).__name__ for value in frame[column]}
        decimal = column in ("price_tick", "lot_size", "min_notional_value")
        expect(f"{name}: exginfo's {column} holds {kinds}", kinds == ({"Decimal"} if decimal else {"str"}))
        expect(f"{name}: exginfo's {column} is {frame[column].dtype}", frame[column].dtype == object)
    return times[0]


def check_funding(name, config, reader, bodies):
    times = reader.ready_times("funding")
    expect(f"{name}: funding's ready files {times}", len(times) == 1)
    frame = reader.read_candle("funding")
    expect(
        f"{name}: funding's columns {list(frame.columns)}",
        list(frame.columns) == ["symbol", "fundingRate", "time"],
    )
    dtypes = [str(dtype) for dtype in frame.dtypes]
    expect(f"{name}: funding is {dtypes}", dtypes == ["object", "float64", "datetime64[us, Hongkong]"])
    expect(f"{name}: funding ends at {frame['time'].max()}", frame["time"].max() == times[0])
    said = {}
    for body in bodies:
        for row in body:
            said.setdefault(row["symbol"], []).append((row["time"], row["lastFundingRate"]))
    n_periods = frame["time"].nunique()
    expect(f"{name}: {n_periods} periods of funding", n_periods >= 2)
    n_numbers = 0
    for time, part in frame.groupby("time"):
        at = int(time.timestamp() * 1000)
        expect(f"{name}: funding of {time} twice", part["symbol"].is_unique)
        expect(f"{name}: funding of {time} lacks symbols", set(part["symbol"]) == set(said))
        if config["save_type"] == "parquet":
            expect(f"{name}: funding's index", n_periods == 1 or list(part.index) == list(range(len(part))))
        for symbol, rate in zip(part["symbol"], part["fundingRate"], strict=True):
            near = [text for when, text in said.get(symbol, []) if at - 60_000 <= when <= at + 60_000]
            numbers = [float(text) if text not in ("", None) else math.nan for text in near]
            n_numbers += not math.isnan(rate)
            same = any(rate == number or (math.isnan(rate) and math.isnan(number)) for number in numbers)
            expect(f"{name}: {symbol}'s funding {rate} at {time} is none of {near[:4]}", same or not near)
    expect(f"{name}: no number among the funding", n_numbers > 0)


def main(out):
    found = {"pandas": pd.__version__, "pyarrow": pyarrow.__version__, "numpy": np.__version__}
    assert found == PINS, f"not BMAC's environment: {found}"
    truth = {path.stem: json.loads(path.read_text("utf-8")) for path in (out / "truth").glob("*.json")}
    seen, n_files, n_rows = set(), 0, 0
    for folder in sorted((out / "runs").iterdir()):
        name = folder.name
        config = json.loads((folder / "config.json").read_text())
        trade_type, save_type = config["trade_type"], config["save_type"]
        market = market_of(trade_type)
        entries = chosen(trade_type, truth[f"{market}_exchangeInfo"])
        symbols = {entry["symbol"] for entry in entries}
        candles = CandleFileReader(folder / f"{trade_type}_{config['interval']}", save_type)
        info = CandleFileReader(folder / f"exginfo_{config['interval']}", save_type)
        here = set(candles.get_all_symbols())
        expect(f"{name}: symbols {sorted(here ^ symbols)} differ", here == symbols and symbols)
        run_times = [
            check_candles(name, config, candles, symbol, truth[f"{market}_klines"][symbol])
            for symbol in sorted(here & symbols)
        ]
        start = check_exginfo(name, config, info, entries)
        newest = max((run_time for run_time in run_times if run_time), default=None)
        expect(f"{name}: exginfo of {start}, candles of {newest}", start == newest)
        if config["funding_rate"]:
            check_funding(name, config, info, truth[f"{market}_premiumIndex"])
        else:
            expect(f"{name}: funding that nobody asked for", info.get_all_symbols() == ["exginfo"])
        seen.add((trade_type, save_type))
        n_files += len(here)
        n_rows += sum(len(candles.read_candle(symbol)) for symbol in here)
    missing = {(kind, "feather") for kind in ALL_TYPES - {"usdt_perp", "coin_perp"}} - seen
    missing |= {(kind, "parquet") for kind in ALL_TYPES - {"usdt_swap", "coin_swap"}} - seen
    expect(f"no run directory of {sorted(missing)}", not missing)
    for problem in problems[:50]:
        print(problem, file=sys.stderr)
    print(f"{len(seen)} run directories, {n_files} candle files, {n_rows} rows; {len(problems)} differences")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
