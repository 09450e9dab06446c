"""Bodies of exchangeInfo: keys, order and types as recorded in 2026-07 (spot, usdm) and 2021 (coinm)."""

import json
from functools import lru_cache
from typing import Any, Final

from bmac_stream.simulator.exchange import Exchange
from bmac_stream.simulator.market import Instrument

__all__ = ["exchange_info"]

_MINUTE_WEIGHT: Final = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1}
_RATE_LIMITS: Final = {
    "spot": [
        {**_MINUTE_WEIGHT, "limit": 6000},
        {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100},
        {"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": 200000},
        {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 300000},
    ],
    "usdm": [
        {**_MINUTE_WEIGHT, "limit": 2400},
        {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 1200},
        {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 300},
    ],
    "coinm": [
        {**_MINUTE_WEIGHT, "limit": 2400},
        {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 1200},
    ],
}
_SPOT_ORDER_TYPES: Final = [
    "LIMIT",
    "LIMIT_MAKER",
    "MARKET",
    "STOP_LOSS",
    "STOP_LOSS_LIMIT",
    "TAKE_PROFIT",
    "TAKE_PROFIT_LIMIT",
]
_FUTURES_ORDER_TYPES: Final = [
    "LIMIT",
    "MARKET",
    "STOP",
    "STOP_MARKET",
    "TAKE_PROFIT",
    "TAKE_PROFIT_MARKET",
    "TRAILING_STOP_MARKET",
]
_CACHE_MS: Final = 7_200_000
_CACHED_AT_MS: Final = 17_043


def exchange_info(exchange: Exchange, market: str, now: int, chosen: list[Instrument] | None = None) -> bytes:
    """The body for `market` at `now`: of all instruments that are announced, or of `chosen`.

    serverTime is live on spot; on the futures it is that of a cache, up to two hours old, as recorded.
    """
    instruments = exchange.market.instruments(market) if chosen is None else chosen
    symbols = []
    for instrument in instruments:
        status = instrument.status_at(now)
        if status is not None:
            symbols.append(_symbol(instrument, status, instrument.contract_type_at(now)))
    server_time = now
    if market != "spot":
        server_time = (now - _CACHED_AT_MS) // _CACHE_MS * _CACHE_MS + _CACHED_AT_MS
    head: dict[str, Any] = {"timezone": "UTC", "serverTime": server_time}
    if market == "usdm":
        head["futuresType"] = "U_MARGINED"
    head["rateLimits"] = _RATE_LIMITS[market]
    head["exchangeFilters"] = []
    if market == "usdm":
        assets = dict.fromkeys(i.margin_asset for i in exchange.market.instruments(market))
        head["assets"] = [
            {"asset": a, "marginAvailable": True, "autoAssetExchange": "-10000" if a == "USDT" else "0"}
            for a in assets
        ]
    text = json.dumps(head, separators=(",", ":"), ensure_ascii=False)
    return (text[:-1] + ',"symbols":[' + ",".join(symbols) + "]}").encode()


@lru_cache(maxsize=8192)
def _symbol(instrument: Instrument, status: str, contract_type: str) -> str:
    if instrument.market == "spot":
        entry = _spot(instrument, status)
    else:
        entry = _futures(instrument, status, contract_type)
    return json.dumps(entry, separators=(",", ":"), ensure_ascii=False)


def _spot(instrument: Instrument, status: str) -> dict[str, Any]:
    return {
        "symbol": instrument.symbol,
        "status": status,
        "baseAsset": instrument.base,
        "baseAssetPrecision": 8,
        "quoteAsset": instrument.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": _SPOT_ORDER_TYPES,
        "icebergAllowed": True,
        "ocoAllowed": True,
        "otoAllowed": True,
        "opoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": True,
        "cancelReplaceAllowed": True,
        "amendAllowed": True,
        "pegInstructionsAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": _eight(instrument.tick_size),
                "maxPrice": "1000000.00000000",
                "tickSize": _eight(instrument.tick_size),
            },
            {
                "filterType": "LOT_SIZE",
                "minQty": _eight(instrument.step_size),
                "maxQty": "9222449.00000000",
                "stepSize": _eight(instrument.step_size),
            },
            {"filterType": "ICEBERG_PARTS", "limit": 100},
            {
                "filterType": "MARKET_LOT_SIZE",
                "minQty": "0.00000000",
                "maxQty": "4609626.88702928",
                "stepSize": "0.00000000",
            },
            {
                "filterType": "TRAILING_DELTA",
                "minTrailingAboveDelta": 10,
                "maxTrailingAboveDelta": 2000,
                "minTrailingBelowDelta": 10,
                "maxTrailingBelowDelta": 2000,
            },
            {
                "filterType": "PERCENT_PRICE_BY_SIDE",
                "bidMultiplierUp": "2",
                "bidMultiplierDown": "0.5",
                "askMultiplierUp": "2",
                "askMultiplierDown": "0.5",
                "avgPriceMins": 5,
            },
            {
                "filterType": "NOTIONAL",
                "minNotional": _eight(instrument.min_notional),
                "applyMinToMarket": True,
                "maxNotional": "9000000.00000000",
                "applyMaxToMarket": False,
                "avgPriceMins": 5,
            },
            {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
            {"filterType": "MAX_NUM_ORDER_LISTS", "maxNumOrderLists": 20},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5},
            {"filterType": "MAX_NUM_ORDER_AMENDS", "maxNumOrderAmends": 10},
        ],
        "permissions": [],
        "permissionSets": [["SPOT", "TRD_GRP_004", "TRD_GRP_005", "TRD_GRP_006"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": [
            "EXPIRE_TAKER",
            "EXPIRE_MAKER",
            "EXPIRE_BOTH",
            "DECREMENT",
            "TRANSFER",
        ],
    }


def _futures(instrument: Instrument, status: str, contract_type: str) -> dict[str, Any]:
    usdm = instrument.market == "usdm"
    delivery_ms = instrument.delivery_ms
    if status == "SETTLING" and instrument.delist_ms is not None:
        delivery_ms = instrument.delist_ms  # a settled symbol keeps its last moment
    lot = {"minQty": instrument.step_size, "stepSize": instrument.step_size}
    filters: list[dict[str, Any]] = [
        {
            "filterType": "PRICE_FILTER",
            "maxPrice": "1000000",
            "tickSize": instrument.tick_size,
            "minPrice": instrument.tick_size,
        },
        {"filterType": "LOT_SIZE", "maxQty": "1000000", **lot},
        {"filterType": "MARKET_LOT_SIZE", "maxQty": "100000", **lot},
        {"limit": 200, "filterType": "MAX_NUM_ORDERS"},
    ]
    percent = {"multiplierUp": "1.0500", "multiplierDown": "0.9500", "multiplierDecimal": "4"}
    if usdm:
        filters += [
            {"filterType": "MIN_NOTIONAL", "notional": instrument.min_notional},
            {"filterType": "PERCENT_PRICE", **percent},
            {"positionControlSide": "NONE", "filterType": "POSITION_RISK_CONTROL"},
        ]
    else:
        filters += [
            {"limit": 100, "filterType": "MAX_NUM_ALGO_ORDERS"},
            {**percent, "filterType": "PERCENT_PRICE"},
        ]
    entry: dict[str, Any] = {
        "symbol": instrument.symbol,
        "pair": instrument.pair,
        "contractType": contract_type,
        "deliveryDate": delivery_ms,
        "onboardDate": instrument.onboard_ms,
        "status" if usdm else "contractStatus": status,
    }
    if not usdm:
        entry |= {"contractSize": instrument.contract_size, "marginAsset": instrument.margin_asset}
    entry |= {"maintMarginPercent": "2.5000", "requiredMarginPercent": "5.0000"}
    entry |= {"baseAsset": instrument.base, "quoteAsset": instrument.quote}
    if usdm:
        entry["marginAsset"] = instrument.margin_asset
    entry |= {
        "pricePrecision": instrument.price_precision,
        "quantityPrecision": instrument.quantity_precision,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
    }
    if not usdm:
        entry |= {"equalQtyPrecision": 4, "maxMoveOrderLimit": 10000, "triggerProtect": "0.0500"}
    entry |= {
        "underlyingType": instrument.underlying_type,
        "underlyingSubType": list(instrument.underlying_sub_type),
    }
    margins = {"liquidationFee": "0.012500", "marketTakeBound": "0.05"}
    if usdm:
        entry |= {"triggerProtect": "0.0500", **margins, "maxMoveOrderLimit": 10000}
    entry |= {"filters": filters, "orderTypes": _FUTURES_ORDER_TYPES}
    if usdm:
        entry["timeInForce"] = ["GTC", "IOC", "FOK", "GTX", "GTD"]
        entry["permissionSets"] = ["GRID", "COPY", "DCA", "PSB"]
    else:
        entry |= {"timeInForce": ["GTC", "IOC", "FOK", "GTX"], **margins}
    return entry


def _eight(text: str) -> str:
    """A decimal text with eight decimals, as spot prints it."""
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction[:8]:0<8}"
