"""BmacKit's classes and functions, as its public documents have them.

    from bmac_stream.bmac_kit import BmacSingleSymbolCalculator, CandleFileReader, now_time

or, so that a strategy stays as it is, from the installed module `bmac_kit`. A strategy reads BMAC's
directories (BMAC's own or this project's), or, with one line changed, a store in shared memory: see
bmac_stream.bmac_kit.reader. Factors are the strategy's own pandas modules, the engine's, or both:
bmac_stream.bmac_kit.factors.

Needs pandas: extra `frames`.
"""

from bmac_stream.bmac_kit.calculators import BmacAllMarketCalculator, BmacSingleSymbolCalculator
from bmac_stream.bmac_kit.clock import (
    async_sleep_until_run_time,
    convert_interval_to_timedelta,
    next_run_time,
    now_time,
    sleep_until_run_time,
)
from bmac_stream.bmac_kit.reader import CandleFileReader

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
