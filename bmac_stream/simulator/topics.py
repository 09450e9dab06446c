"""Names of streams and what they ask for; events that are not klines; the WebSocket frame around an event."""

import json
import struct
from typing import Any, Final, NamedTuple

from bmac_stream.bar import INTERVALS_MS
from bmac_stream.simulator.market import Instrument

__all__ = ["MARKET_CODE", "Meaning", "in_microseconds", "mini_event", "parse_topic", "ws_frame"]

MARKET_CODE: Final = {"usdm": 1, "coinm": 2}
"""The field `st` of events that carry both futures markets."""


def ws_frame(payload: bytes, opcode: int = 1) -> bytes:
    """A final, unmasked WebSocket frame (RFC 6455 5.2); opcode 1 is text."""
    n = len(payload)
    if n < 126:
        return struct.pack("!BB", 0x80 | opcode, n) + payload
    if n < 65536:
        return struct.pack("!BBH", 0x80 | opcode, 126, n) + payload
    return struct.pack("!BBQ", 0x80 | opcode, 127, n) + payload


class Meaning(NamedTuple):
    """What a stream's name asks for. `subject` is a symbol or a pair, upper-case, "" for all."""

    kind: str
    subject: str = ""
    interval: str = ""
    contract_type: str = ""


def parse_topic(market: str, name: str) -> Meaning | None:
    """The meaning of stream `name` at `market`; None if it has none (such a stream stays silent).

    Names are lower-case; an upper-case symbol is another, unknown stream, as on the real exchange.
    """
    if name == "!miniTicker@arr":
        return Meaning("mini_all")
    if market != "spot" and name in ("!markPrice@arr", "!markPrice@arr@1s"):
        return Meaning("mark_all", interval="1s" if name.endswith("@1s") else "3s")
    subject, at, kind = name.partition("@")
    if not at or not subject or subject != subject.lower():
        return None
    subject = subject.upper()
    if kind == "miniTicker":
        return Meaning("mini", subject)
    if market != "spot" and kind in ("markPrice", "markPrice@1s"):
        return Meaning("mark", subject, "1s" if kind.endswith("@1s") else "3s")
    word, _, interval = kind.partition("_")
    if interval not in INTERVALS_MS or (interval == "1s" and market != "spot"):
        return None
    if word == "kline":
        return Meaning("kline", subject, interval)
    if word == "continuousKline" and market != "spot":
        for contract_type in ("TRADIFI_PERPETUAL", "PERPETUAL", "CURRENT_QUARTER", "NEXT_QUARTER"):
            if subject.endswith("_" + contract_type):
                return Meaning("continuous", subject[: -len(contract_type) - 1], interval, contract_type)
    return None


def mini_event(instrument: Instrument, values: list[float], now: int, merged: bool) -> bytes:
    """A 24hrMiniTicker event; `values` in the order of bar.COLUMNS. Futures carry ps, and st once merged."""
    o, h, low, c, v, q, *_ = values
    p, n, m = instrument.price_precision, instrument.quantity_precision, instrument.quote_precision
    extra = ""
    if instrument.market == "coinm" or merged:
        extra = f',"ps":"{instrument.pair}"'
    if merged:
        extra += f',"st":{MARKET_CODE[instrument.market]}'
    return (
        f'{{"e":"24hrMiniTicker","E":{now},"s":"{instrument.symbol}","c":"{c:.{p}f}","o":"{o:.{p}f}",'
        f'"h":"{h:.{p}f}","l":"{low:.{p}f}","v":"{v:.{n}f}","q":"{q:.{m}f}"{extra}}}'
    ).encode()


def in_microseconds(payload: bytes) -> bytes:
    """The same event with its times in microseconds (spot, ?timeUnit=MICROSECOND)."""

    def scale(event: dict[str, Any]) -> None:
        event["E"] *= 1000
        if k := event.get("k"):
            k["t"], k["T"] = k["t"] * 1000, (k["T"] + 1) * 1000 - 1

    decoded = json.loads(payload)
    for event in decoded if isinstance(decoded, list) else [decoded]:
        scale(event)
    return json.dumps(decoded, separators=(",", ":"), ensure_ascii=False).encode()
