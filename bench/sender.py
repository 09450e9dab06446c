"""A raw WebSocket server that costs next to nothing, so that a bench does not measure its own sender.

It knows just enough of Binance's kline streams to satisfy a client: the handshake, `?streams=` and paths,
SUBSCRIBE / UNSUBSCRIBE / LIST_SUBSCRIPTIONS, pongs and closes. Frames are encoded beforehand, joined into
one buffer per connection (`prepare`), and written to the TCP (or TLS) sockets with one call each (`fire`).

One background thread accepts and answers; `fire` belongs to the caller's thread. Nothing is queued here:
a client that does not read makes `fire` wait, which is the back-pressure that a bench wants to see.
"""

import base64
import hashlib
import json
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import numpy.typing as npt

__all__ = ["Connection", "Plan", "Sender", "kline_event", "text_frame"]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SEND_BUFFER = 1 << 18  # bytes in the kernel per connection: bounds how far the sender can run ahead
_MAX_REQUEST = 1 << 17  # a handshake with hundreds of streams in its URL is some 20 KB


def kline_event(
    symbol: str,
    interval: str,
    open_time: int,
    close_time: int,
    event_time: int,
    values: npt.NDArray[np.float64],
    *,
    closed: bool,
) -> bytes:
    """The event of a kline stream (spot and USD-M letters). values float64[9] in the order of bar.COLUMNS.

    Numbers are printed in full, so that parsing them gives the same float64.
    """
    o, h, low, c, volume, quote, trades, taker, taker_quote = (_decimal(x) for x in values)
    n = int(values[6])
    first, last = (1, n) if n else (-1, -1)
    return (
        f'{{"e":"kline","E":{event_time},"s":"{symbol}","k":{{"t":{open_time},"T":{close_time},'
        f'"s":"{symbol}","i":"{interval}","f":{first},"L":{last},"o":"{o}","c":"{c}","h":"{h}","l":"{low}",'
        f'"v":"{volume}","n":{trades},"x":{"true" if closed else "false"},"q":"{quote}","V":"{taker}",'
        f'"Q":"{taker_quote}","B":"0"}}}}'
    ).encode()


def text_frame(payload: bytes) -> bytes:
    """One unmasked, unfragmented text frame."""
    return _frame(0x1, payload)


@dataclass(eq=False)
class Connection:
    """One client: its streams, and whether it gets combined frames. `lock` guards writes (and TLS reads)."""

    socket: socket.socket
    combined: bool
    streams: set[str] = field(default_factory=set)
    unread: bytearray = field(default_factory=bytearray)
    lock: threading.Lock = field(default_factory=threading.Lock)
    open: bool = True


Plan = list[tuple[Connection, bytes]]
"""Whole frames, joined per connection."""


class Sender:
    """The server. A context manager: leaving it closes every socket and ends its thread.

    tls  a server-side context: the url is then wss.

    Attributes: `url`; `accepted`, connections since the start; `errors`, what went wrong with clients.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = socket.socketpair()
        self._connections: list[Connection] = []
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._serve, name="sender", daemon=True)
        self._stopping = False
        self.accepted = 0
        self.errors: list[str] = []
        self.url = f"{'wss' if tls else 'ws'}://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> "Sender":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopping = True
        self._wake_write.send(b"x")
        self._thread.join(10)
        for connection in self._connections:
            connection.socket.close()
        for each in (self._listener, self._wake_read, self._wake_write):
            each.close()
        self._selector.close()

    def streams(self) -> dict[str, Connection]:
        """Every stream that is subscribed, and by which connection (the newest, if by several)."""
        with self._changed:
            return {name: c for c in self._connections if c.open for name in c.streams}

    def wait_subscribed(self, streams: Iterable[str], timeout_s: float) -> None:
        """Waits until all of `streams` are subscribed. TimeoutError names how many are not."""
        wanted, deadline = set(streams), time.monotonic() + timeout_s
        with self._changed:
            while missing := wanted.difference(*(c.streams for c in self._connections if c.open), ()):
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"{len(missing)} of {len(wanted)} streams were not subscribed")
                self._changed.wait(min(left, 1.0))

    def prepare(self, events: Mapping[str, bytes]) -> Plan:
        """Frames of {stream: event}, wrapped as each connection wants them. KeyError: not subscribed."""
        where = self.streams()
        parts: dict[Connection, list[bytes]] = {}
        for stream, event in events.items():
            connection = where[stream]
            if connection.combined:
                event = b'{"stream":"' + stream.encode() + b'","data":' + event + b"}"
            parts.setdefault(connection, []).append(text_frame(event))
        return [(connection, b"".join(frames)) for connection, frames in parts.items()]

    def fire(self, plan: Plan) -> int:
        """Writes a plan; returns time.monotonic_ns() just before the first byte. Waits for slow clients."""
        begin = time.monotonic_ns()
        for connection, data in plan:
            self._send(connection, data)
        return begin

    def _send(self, connection: Connection, data: bytes) -> None:
        with connection.lock:
            try:
                connection.socket.sendall(data)
            except OSError as error:
                self._note(connection, f"send: {error}")

    def _note(self, connection: Connection, error: str) -> None:
        if not self._stopping:
            self.errors.append(error)
        connection.open = False

    def _serve(self) -> None:
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        while not self._stopping:
            for key, _ in self._selector.select(1.0):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.data is not None:
                    self._receive(key.data)

    def _accept(self) -> None:
        raw, _ = self._listener.accept()
        raw.settimeout(10)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        try:
            client = self._tls.wrap_socket(raw, server_side=True) if self._tls else raw
            connection = _handshake(client)
        except (OSError, ValueError) as error:
            self.errors.append(f"handshake: {error}")
            raw.close()
            return
        client.settimeout(60)
        with self._changed:
            self.accepted += 1
            self._connections.append(connection)
            self._changed.notify_all()
        self._selector.register(client, selectors.EVENT_READ, connection)
        if connection.unread:
            self._answer(connection)

    def _receive(self, connection: Connection) -> None:
        client = connection.socket
        try:
            with connection.lock:  # a TLS connection must not be read and written at the same time
                data = client.recv(1 << 16)
                while isinstance(client, ssl.SSLSocket) and client.pending():
                    data += client.recv(client.pending())
        except OSError as error:
            self._note(connection, f"receive: {error}")
            data = b""
        connection.unread += data
        if data:
            self._answer(connection)
        if not data or not connection.open:
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        self._selector.unregister(connection.socket)
        connection.socket.close()
        with self._changed:
            connection.open = False
            self._connections.remove(connection)
            self._changed.notify_all()

    def _answer(self, connection: Connection) -> None:
        for opcode, payload in _client_frames(connection.unread):
            if opcode == 0x9:
                self._send(connection, _frame(0xA, payload))
            elif opcode == 0x8:
                self._send(connection, _frame(0x8, payload))
                connection.open = False
            elif opcode == 0x1:
                self._send(connection, text_frame(self._control(connection, payload)))

    def _control(self, connection: Connection, payload: bytes) -> bytes:
        request = json.loads(payload)
        result: list[str] | None = None
        with self._changed:
            if request["method"] == "SUBSCRIBE":
                connection.streams.update(request["params"])
            elif request["method"] == "UNSUBSCRIBE":
                connection.streams.difference_update(request["params"])
            elif request["method"] == "LIST_SUBSCRIPTIONS":
                result = sorted(connection.streams)
            self._changed.notify_all()
        return json.dumps({"result": result, "id": request.get("id")}).encode()


def _decimal(value: float) -> str:
    return format(Decimal(repr(float(value))).normalize(), "f")


def _frame(opcode: int, payload: bytes) -> bytes:
    n = len(payload)
    if n < 126:
        return bytes((0x80 | opcode, n)) + payload
    if n < 1 << 16:
        return bytes((0x80 | opcode, 126)) + n.to_bytes(2, "big") + payload
    return bytes((0x80 | opcode, 127)) + n.to_bytes(8, "big") + payload


def _handshake(client: socket.socket) -> Connection:
    request = b""
    while b"\r\n\r\n" not in request:
        more = client.recv(1 << 16)
        if not more or len(request) > _MAX_REQUEST:
            raise ValueError(f"no whole request in {len(request)} bytes")
        request += more
    head, _, rest = request.partition(b"\r\n\r\n")
    lines = head.decode("ascii").split("\r\n")
    headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
    target = urlsplit(lines[0].split(" ")[1])
    accept = base64.b64encode(hashlib.sha1(headers["sec-websocket-key"].encode() + _GUID).digest()).decode()
    client.sendall(
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n\r\n"
        ).encode()
    )
    path, _, names = unquote(target.path).partition("/ws/")
    combined = path.endswith("/stream")
    listed = parse_qs(target.query).get("streams", [""])[0] if combined else names
    streams = {name for name in listed.split("/") if name}
    return Connection(client, combined, streams, bytearray(rest))


def _client_frames(unread: bytearray) -> Iterable[tuple[int, bytes]]:
    """Whole masked frames at the front of `unread`, which are taken from it. Fragments are not expected."""
    while len(unread) >= 6:
        opcode, n, at = unread[0] & 0x0F, unread[1] & 0x7F, 2
        if n >= 126:
            size = 2 if n == 126 else 8
            n, at = int.from_bytes(unread[2 : 2 + size], "big"), 2 + size
        if len(unread) < at + 4 + n:
            return
        mask, body = unread[at : at + 4], unread[at + 4 : at + 4 + n]
        key = (mask * (n // 4 + 1))[:n]
        payload = (int.from_bytes(body, "big") ^ int.from_bytes(key, "big")).to_bytes(n, "big")
        del unread[: at + 4 + n]
        yield opcode, payload
