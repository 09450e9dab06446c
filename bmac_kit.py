"""BmacKit under its own name, so that not even a strategy's import line changes: see bmac_stream.bmac_kit."""

from bmac_stream.bmac_kit import (
    BmacAllMarketCalculator,
    BmacSingleSymbolCalculator,
    CandleFileReader,
    async_sleep_until_run_time,
    convert_interval_to_timedelta,
    next_run_time,
    now_time,
    sleep_until_run_time,
)

__all__ = [
    "BmacAllMarketCalculator",
    "BmacSingleSymbolCalculator",
    "CandleFileReader",
    "async_sleep_until_run_time",
    "convert_interval_to_timedelta",
    "next_run_time",
    "now_time",
    "sleep_until_run_time",
]
