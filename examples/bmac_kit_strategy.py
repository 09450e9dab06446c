"""A strategy of BmacKit's kind: factors of the whole market at every bar close, the modules in `factor/`.

    python examples/bmac_kit_strategy.py ~/udeli_1m/usdt_deli_1m ~/udeli_1m/exginfo_1m
    python examples/bmac_kit_strategy.py shm:usdt_deli_1m shm:usdt_deli_1m

The first reads BMAC's directories, the second a store in shared memory.

It goes by this machine's clock, as BmacKit's strategies do. The embedded exchange has a time of its own: on a
trial no bar of now would ever come (NotReady). So its config says what time it is, in UTC (`date -u +%FT%T`),
just before each start of the collector, and leaves its `rate` at 1:

    "exchange": "embedded", "embedded": {"n_symbols": 100, "start": "2026-11-22T09:30:00"}

What it does with a frame is up to you: it prints the strongest symbols. It trades nothing.
"""

import asyncio

import fire

from bmac_stream.bmac_kit import (
    BmacAllMarketCalculator,
    CandleFileReader,
    next_run_time,
    sleep_until_run_time,
)

FACTOR_LIST = [
    ("PctChg", 100),  # factor/PctChg.py
    ("TrdNumMeanV1", 80),
    ("bmac:Bias", 20),  # the engine's own, kept current from bar to bar where there is a store
]


async def follow(candle_dir: str, exginfo_dir: str, interval: str, n_run_times: int) -> None:
    exginfo_reader = CandleFileReader(exginfo_dir, "parquet")
    candle_reader = CandleFileReader(candle_dir, "parquet")
    calc = BmacAllMarketCalculator(exginfo_reader, candle_reader, FACTOR_LIST)
    for _ in range(n_run_times):
        run_time = next_run_time(interval)
        await sleep_until_run_time(run_time)
        frame = await calc.calc_all_factors(run_time)  # a warning names who is not there in time
        strongest = frame["PctChg_100"].nlargest(3)
        print(run_time, len(frame), "symbols; strongest:", strongest.round(4).to_dict(), flush=True)


def main(candle_dir: str, exginfo_dir: str, interval: str = "1m", n_run_times: int = 1_000_000) -> None:
    """Follow the market of these directories (or of a store, "shm:NAME") for n_run_times bars."""
    asyncio.run(follow(candle_dir, exginfo_dir, interval, n_run_times))


if __name__ == "__main__":
    fire.Fire(main)
