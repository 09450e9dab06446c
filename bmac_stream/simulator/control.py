"""Control messages of streams: SUBSCRIBE and its kin, their replies and their errors."""

from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from bmac_stream.simulator.streams import Connection, Hub

__all__ = ["control_reply"]

_METHODS: Final = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")


def control_reply(hub: "Hub", connection: "Connection", text: str) -> tuple[bytes, bool]:
    """Obey one control message; returns the reply and whether the connection may live on."""
    try:
        message = msgspec.json.decode(text.encode())
    except (msgspec.DecodeError, UnicodeEncodeError):
        return _error(3, "Invalid JSON: expected value at line 1 column 1", None), True
    if not isinstance(message, dict):
        return _error(2, "Invalid request: expected an object at line 1 column 1", None), True
    ident = message.get("id")
    column = len(text)
    if isinstance(ident, bool) or not (
        ident is None
        or (isinstance(ident, int) and -(2**63) <= ident < 2**63)
        or (isinstance(ident, str) and len(ident) <= 36)
    ):
        return _error(2, "Invalid request: request ID must be an unsigned integer", None), True
    if "method" not in message:
        return _error(2, f"Invalid request: missing field `method` at line 1 column {column}", ident), True
    method, params = message["method"], message.get("params", [])
    if method not in _METHODS:
        expected = ", ".join(f"`{m}`" for m in _METHODS)
        what = f"unknown variant `{method}`, expected one of {expected} at line 1 column {column}"
        return _error(2, f"Invalid request: {what}", ident), True
    if not isinstance(params, list):
        return _error(2, f"Invalid request: expected a sequence at line 1 column {column}", ident), True
    if method == "LIST_SUBSCRIPTIONS":
        return _result(list(connection.names), ident), True
    if method in ("SUBSCRIBE", "UNSUBSCRIBE"):
        if not all(isinstance(p, str) for p in params):
            what = f"invalid type, expected a string at line 1 column {column}"
            return _error(2, f"Invalid request: {what}", ident), True
        if method == "UNSUBSCRIBE":
            hub.unsubscribe(connection, params)
            return _result(None, ident), True
        return _result(None, ident), hub.subscribe(connection, params)
    return _property(hub, connection, method, params, ident), True


def _property(hub: "Hub", connection: "Connection", method: str, params: list[Any], ident: Any) -> bytes:
    n = 2 if method == "SET_PROPERTY" else 1
    if params and not isinstance(params[0], str):
        return _error(2, "Invalid request: property name must be a string", ident)
    if len(params) > n:
        return _error(2, "Invalid request: too many parameters", ident)
    if len(params) < n:
        return _error(2, "Invalid request: missing parameters", ident)
    if params[0] != "combined":
        return _error(0, "Unknown property", ident)
    if method == "GET_PROPERTY":
        return _result(connection.combined, ident)
    if not isinstance(params[1], bool):
        return _error(1, "Invalid value type: expected Boolean", ident)
    hub.set_combined(connection, params[1])
    return _result(None, ident)


def _result(result: Any, ident: Any) -> bytes:
    return msgspec.json.encode({"result": result, "id": ident})


def _error(code: int, msg: str, ident: Any) -> bytes:
    return msgspec.json.encode({"code": code, "msg": msg, "id": ident})
