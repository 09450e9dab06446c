"""A strategy written only from BmacKit's public documents runs as it is, beside a writer of BMAC's files.

Its text is that of the documents: imports, constants, calls; only the constants' values are ours. The writer
knows nothing of this project (bmac_writer.py), closes a bar every second, and is late with one symbol.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.bmac_stream.bmac_kit.bmac_writer import BmacDirectory, candles

ROOT = Path(__file__).resolve().parents[3]
STEP = timedelta(seconds=1)
SYMBOLS = ["BTCUSDT", "ETHUSDT", "AAVEUSDT", "ZROUSDT"]

SINGLE = """
import asyncio
# 导入 BmacKit
from bmac_kit import BmacSingleSymbolCalculator, CandleFileReader, now_time
from bmac_kit import next_run_time, convert_interval_to_timedelta, sleep_until_run_time
# 运行周期
TIME_INTERVAL = '1s'
# BMAC 目录
CANDLE_DIR = 'usdt_perp_1s'
# 因子列表
FACTOR_LIST = [('PctChg', 100), ('TrdNumMeanV1', 80)]


async def main():
    # 初始化 CandleFileReader
    candle_reader = CandleFileReader(CANDLE_DIR, 'parquet')
    # 初始化 BmacKit 因子计算器
    calc = BmacSingleSymbolCalculator('BTCUSDT', candle_reader, FACTOR_LIST)
    run_time = next_run_time(TIME_INTERVAL) - convert_interval_to_timedelta(TIME_INTERVAL)
    df_factor_single = await calc.calc_factors(run_time)
    for i in range(3):
        # 当前 run_time
        run_time = next_run_time(TIME_INTERVAL)
        await sleep_until_run_time(run_time)
        # 测试因子计算
        df_factor_single = await calc.calc_factors(run_time)
        df_factor_single.to_parquet(f'{i}.frame')
        print(run_time, now_time(), df_factor_single[['close', 'PctChg_100', 'TrdNumMeanV1_80']].tail(1))


asyncio.run(main())
"""

ALL = """
import asyncio
from bmac_kit import BmacAllMarketCalculator, CandleFileReader, now_time
from bmac_kit import next_run_time, async_sleep_until_run_time
TIME_INTERVAL = '1s'
CANDLE_DIR = 'usdt_perp_1s'
EXGINFO_DIR = 'exginfo_1s'
FACTOR_LIST = [('PctChg', 100), ('TrdNumMeanV1', 80)]


async def main():
    # 初始化 CandleFileReader
    exginfo_reader = CandleFileReader(EXGINFO_DIR, 'parquet')
    candle_reader = CandleFileReader(CANDLE_DIR, 'parquet')
    # 初始化 BmacKit 因子计算器
    all_calc = BmacAllMarketCalculator(exginfo_reader, candle_reader, FACTOR_LIST)
    for i in range(3):
        # 当前 run_time
        run_time = next_run_time(TIME_INTERVAL)
        await async_sleep_until_run_time(run_time)
        # 测试因子计算
        df_factor_all = await all_calc.calc_all_factors(run_time)
        df_factor_all.to_parquet(f'{i}.frame')
        print(run_time, now_time(), df_factor_all)


asyncio.run(main())
"""

FACTORS = {
    "PctChg": "def signal(*args):\n    df = args[0]\n    n = args[1]\n    factor_name = args[2]\n"
    "    df[factor_name] = df['close'].pct_change(n)\n    return df\n",
    "TrdNumMeanV1": "def signal(*args):\n    df = args[0]\n    n = args[1]\n    factor_name = args[2]\n"
    "    df['x'] = (df['high'] / df['low'] - 1) / df['trade_num']\n"
    "    df[factor_name] = df['x'].rolling(n, min_periods=1).mean()\n    return df\n",
}


class Market:
    """Bars of every second from long ago to soon, the same however often they are asked for."""

    def __init__(self) -> None:
        self.begin = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=300)
        end = self.begin + timedelta(seconds=900)
        self.frames = {symbol: candles(end, 900, STEP, seed) for seed, symbol in enumerate(SYMBOLS)}

    def until(self, symbol: str, run_time: datetime) -> pd.DataFrame:
        return self.frames[symbol].loc[:run_time].tail(200)


@contextmanager
def strategy(text: str, folder: Path) -> Iterator["subprocess.Popen[str]"]:
    (folder / "factor").mkdir()
    for name, factor in FACTORS.items():
        (folder / "factor" / f"{name}.py").write_text(factor)
    (folder / "strategy.py").write_text(text)
    process = subprocess.Popen(
        [sys.executable, "strategy.py"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},  # bmac_kit is installed with the project
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def beside(process: "subprocess.Popen[str]", folder: Path, market: Market) -> str:
    """Close bars as BMAC closes them until the strategy has ended; what it printed."""
    made = BmacDirectory(folder, interval="1s")
    now = datetime.now(UTC).replace(microsecond=0)
    deadline = time.monotonic() + 100
    while process.poll() is None and time.monotonic() < deadline:
        made.exginfo(SYMBOLS, now)
        for symbol in SYMBOLS:
            if symbol == "ZROUSDT":
                time.sleep(0.1)  # the last of the market
            made.live(symbol, market.until(symbol, now))
        now += STEP
        time.sleep(max(0.0, now.timestamp() - time.time()))
    out, err = process.communicate(timeout=5)
    assert process.returncode == 0 and err == "", err
    return out


def run(text: str, folder: Path, market: Market) -> list[pd.DataFrame]:
    """The frames that the strategy saw."""
    with strategy(text, folder) as process:
        assert "+08:00" in beside(process, folder, market)
    return [pd.read_parquet(folder / f"{i}.frame") for i in range(3)]


@pytest.mark.slow
def test_the_documents_single_symbol_strategy(tmp_path: Path) -> None:
    market = Market()
    frames = run(SINGLE, tmp_path, market)
    ends = [frame.index[-1] for frame in frames]
    assert ends == sorted(set(ends))
    for frame, end in zip(frames, ends, strict=True):
        expected = market.until("BTCUSDT", end.to_pydatetime())
        assert len(frame) == 200 and frame["close"].tolist() == expected["close"].tolist()
        pd.testing.assert_series_equal(
            frame["PctChg_100"], expected["close"].pct_change(100), check_names=False, check_freq=False
        )
        assert frame["PctChg_100"].isna().sum() == 100 and frame["TrdNumMeanV1_80"].notna().all()


@pytest.mark.slow
def test_the_documents_whole_market_strategy(tmp_path: Path) -> None:
    market = Market()
    frames = run(ALL, tmp_path, market)
    ends = [frame["candle_begin_time"].iloc[0] + STEP for frame in frames]
    assert ends == sorted(set(ends))
    for frame, end in zip(frames, ends, strict=True):
        assert frame.index.tolist() == SYMBOLS and frame["candle_begin_time"].nunique() == 1
        for symbol in SYMBOLS:
            expected = market.until(symbol, end.to_pydatetime())
            assert frame.loc[symbol, "close"] == expected["close"].iloc[-1]
            x = (expected["high"] / expected["low"] - 1) / expected["trade_num"]
            assert np.isclose(frame.loc[symbol, "TrdNumMeanV1_80"], x.tail(80).mean(), rtol=1e-9)


@pytest.mark.slow
def test_the_example_runs_on_a_directory(tmp_path: Path) -> None:
    market = Market()
    folders = [str(tmp_path / name) for name in ("usdt_perp_1s", "exginfo_1s")]
    with subprocess.Popen(
        [
            sys.executable,
            str(ROOT / "examples" / "bmac_kit_strategy.py"),
            *folders,
            "--interval=1s",
            "--n_run_times=2",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            lines = beside(process, tmp_path, market).splitlines()
        finally:
            process.kill()
    assert len(lines) == 2 and all("4 symbols; strongest: {" in line for line in lines), lines
