"""The columns of a bar as leaves of expressions, and what is made of one bar alone.

Names are BMAC's. `open_` has an underscore because `open` is Python's; the field is "open".
"""

from typing import Final

from kernels.node import Node, field

__all__ = [
    "close",
    "high",
    "low",
    "open_",
    "quote_volume",
    "taker_buy_base",
    "taker_buy_quote",
    "trade_num",
    "volume",
    "vwap",
]

open_: Final[Node] = field("open")
"""First price of the bar."""
high: Final[Node] = field("high")
"""Highest price."""
low: Final[Node] = field("low")
"""Lowest price."""
close: Final[Node] = field("close")
"""Last price."""
volume: Final[Node] = field("volume")
"""Traded volume in base asset (coin-margined: contracts)."""
quote_volume: Final[Node] = field("quote_volume")
"""Traded volume in quote asset (coin-margined: base asset)."""
trade_num: Final[Node] = field("trade_num")
"""Number of trades."""
taker_buy_base: Final[Node] = field("taker_buy_base_asset_volume")
"""What takers bought, in base asset (coin-margined: contracts)."""
taker_buy_quote: Final[Node] = field("taker_buy_quote_asset_volume")
"""What takers bought, in quote asset (coin-margined: base asset)."""
vwap: Final[Node] = quote_volume / volume
"""Mean price of the bar's trades: quote volume / volume; NaN for a bar without trades. On coin-margined
markets the two volumes have other units and this is no price."""
