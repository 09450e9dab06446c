"""Other ways to hand one bar to another process: the contenders of bench/store.py.

Each carries the same 104 bytes, a float64 row of 13: bar number, 11 values that follow from it, and the
moment of sending in ns of CLOCK_MONOTONIC. A `Transport` is two classes, because its ends live in two
processes: `Sender` here, `Receiver` there, joined by an `address`.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["TRANSPORTS", "WIDTH", "Receiver", "Sender", "Transport", "absent", "check", "make_row"]

WIDTH = 13
PATTERN = np.arange(12) * 1e-3  # added to the bar number; exact enough to be told from any other bar's
SERVICE = "bmac-bench"
BUFFER = 512  # samples of pub/sub: more than a round, or a machine that pauses for 20 ms loses some

Row = NDArray[np.float64]


def make_row(g: int, out: Row) -> None:
    """The payload of bar g into `out`, all but the moment of sending, out[12]."""
    out[:12] = g + PATTERN


def check(rows: NDArray[np.float64], g_first: int, g_last: int, conflates: bool) -> int:
    """Every received payload is exactly that of its bar, in order, none twice, and none lost unless the
    transport conflates. Returns how many bars were skipped. AssertionError with the first difference."""
    g = rows[:, 0]
    wrong = np.nonzero((rows[:, :12] != g[:, None] + PATTERN).any(axis=1))[0]
    assert not len(wrong), f"payload differs: {rows[wrong[0]]}"
    assert (np.diff(g) > 0).all(), "bars out of order or twice"
    assert g_first <= g[0] <= g[-1] == g_last, f"received {g[0]}..{g[-1]}, sent {g_first}..{g_last}"
    skipped = int(g_last - g_first + 1 - len(g))
    assert conflates or skipped == 0, f"{skipped} bars lost"
    return skipped


class Sender(Protocol):
    address: Any  # whatever the receiver's constructor needs; handed over at spawn

    def send(self, row: Row) -> None: ...
    def close(self) -> None: ...


class Receiver(Protocol):
    def receive(self) -> Row: ...
    def close(self) -> None: ...


class Transport(Protocol):
    """`conflates`: a late reader sees the newest only. `needs`: the package that must be importable."""

    conflates: bool
    needs: str
    sender: Callable[[], Sender]
    receiver: Callable[[Any], Receiver]


def absent(transport: Transport) -> str:
    """Why this contender cannot run here; empty if it can."""
    if transport.needs and importlib.util.find_spec(transport.needs) is None:
        return f"{transport.needs} is not installed"
    return ""


class QueueSender:
    def __init__(self) -> None:
        self.address = multiprocessing.get_context("spawn").Queue()

    def send(self, row: Row) -> None:
        self.address.put(row.copy())  # the feeder thread pickles it later

    def close(self) -> None:
        self.address.close()


class QueueReceiver:
    def __init__(self, address: Any) -> None:
        self.queue = address

    def receive(self) -> Row:
        row: Row = self.queue.get(timeout=5)
        return row

    def close(self) -> None:
        self.queue.close()


class PipeSender:
    def __init__(self) -> None:
        self.address, self.end = multiprocessing.get_context("spawn").Pipe(duplex=False)

    def send(self, row: Row) -> None:
        self.end.send_bytes(row.data)

    def close(self) -> None:
        self.end.close()
        self.address.close()


class PipeReceiver:
    def __init__(self, address: Connection) -> None:
        self.end = address

    def receive(self) -> Row:
        return np.frombuffer(self.end.recv_bytes())

    def close(self) -> None:
        self.end.close()


class ZmqSender:
    def __init__(self) -> None:
        import zmq

        self.directory = tempfile.mkdtemp(prefix="bmac-bench-")
        self.address = f"ipc://{self.directory}/socket"
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.PUB)
        self.socket.set_hwm(0)
        self.socket.bind(self.address)

    def send(self, row: Row) -> None:
        self.socket.send(row.tobytes())

    def close(self) -> None:
        self.context.destroy(linger=0)
        shutil.rmtree(self.directory)


class ZmqReceiver:
    def __init__(self, address: str) -> None:
        import zmq

        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.SUB)
        self.socket.set_hwm(0)
        self.socket.setsockopt(zmq.RCVTIMEO, 5000)
        self.socket.connect(address)
        self.socket.setsockopt(zmq.SUBSCRIBE, b"")

    def receive(self) -> Row:
        return np.frombuffer(self.socket.recv())

    def close(self) -> None:
        self.context.destroy(linger=0)


def _payload_type() -> Any:
    import ctypes

    return type("Bar13", (ctypes.Structure,), {"_fields_": [("v", ctypes.c_double * WIDTH)]})


def _node(directory: str) -> Any:
    """An iceoryx2 node with a root and a prefix of its own, so that `_sweep` can take away what it leaves."""
    import iceoryx2 as iox2

    iox2.set_log_level(iox2.LogLevel.Error)
    config = iox2.config.default()
    config.global_cfg.root_path = iox2.Path.new(directory)
    config.global_cfg.prefix = iox2.FileName.new(f"{Path(directory).name}_")
    return iox2.NodeBuilder.new().config(config).create(iox2.ServiceType.Ipc)


def _sweep(directory: str) -> None:
    for left in Path("/dev/shm").glob(f"{Path(directory).name}_*"):
        left.unlink()
    shutil.rmtree(directory, ignore_errors=True)


class BlackboardSender:
    def __init__(self) -> None:
        import ctypes

        import iceoryx2 as iox2

        self.address = tempfile.mkdtemp(prefix="bmac-bench-")
        self.node, self.type = _node(self.address), _payload_type()
        key = ctypes.c_uint64(0)
        service = self.node.service_builder(iox2.ServiceName.new(SERVICE)).blackboard_creator(type(key))
        self.service = service.add(key, self.type()).create()
        self.writer = self.service.writer_builder().create()
        self.entry = self.writer.entry(key, self.type)

    def send(self, row: Row) -> None:
        self.entry.update_with_copy(self.type.from_buffer(row))

    def close(self) -> None:
        del self.entry, self.writer, self.service, self.node
        _sweep(self.address)


class BlackboardReceiver:
    def __init__(self, address: str) -> None:
        import ctypes

        import iceoryx2 as iox2

        self.node = _node(address)
        key = ctypes.c_uint64(0)
        self.service = (
            self.node.service_builder(iox2.ServiceName.new(SERVICE)).blackboard_opener(type(key)).open()
        )
        self.reader = self.service.reader_builder().create()
        self.entry = self.reader.entry(key, _payload_type())
        self.last = self.entry.get()

    def receive(self) -> Row:
        entry, last = self.entry, self.last
        until = time.monotonic() + 5
        while True:
            for _ in range(1000):
                if not entry.is_up_to_date(last):
                    self.last = value = entry.get()
                    return np.frombuffer(value.data)
            if time.monotonic() > until:
                raise TimeoutError("blackboard: nothing for 5 s")

    def close(self) -> None:
        del self.entry, self.reader, self.service, self.node


class PubSubSender:
    def __init__(self) -> None:
        import iceoryx2 as iox2

        self.address = tempfile.mkdtemp(prefix="bmac-bench-")
        self.node, self.type = _node(self.address), _payload_type()
        builder = self.node.service_builder(iox2.ServiceName.new(SERVICE)).publish_subscribe(self.type)
        self.service = builder.subscriber_max_buffer_size(BUFFER).create()
        self.publisher = self.service.publisher_builder().create()

    def send(self, row: Row) -> None:
        self.publisher.send_copy(self.type.from_buffer(row))

    def close(self) -> None:
        del self.publisher, self.service, self.node
        _sweep(self.address)


class PubSubReceiver:
    def __init__(self, address: str) -> None:
        import iceoryx2 as iox2

        self.node = _node(address)
        builder = self.node.service_builder(iox2.ServiceName.new(SERVICE)).publish_subscribe(_payload_type())
        self.service = builder.open()
        self.subscriber = self.service.subscriber_builder().buffer_size(BUFFER).create()

    def receive(self) -> Row:
        until = time.monotonic() + 5
        receive = self.subscriber.receive
        while True:
            for _ in range(1000):
                sample = receive()
                if sample is not None:
                    return np.frombuffer(sample.payload().contents).copy()
            if time.monotonic() > until:
                raise TimeoutError("pub/sub: nothing for 5 s")

    def close(self) -> None:
        del self.subscriber, self.service, self.node


class Queue:
    conflates, needs, sender, receiver = False, "", QueueSender, QueueReceiver


class Pipe:
    conflates, needs, sender, receiver = False, "", PipeSender, PipeReceiver


class Zmq:
    conflates, needs, sender, receiver = False, "zmq", ZmqSender, ZmqReceiver


class Blackboard:
    conflates, needs, sender, receiver = True, "iceoryx2", BlackboardSender, BlackboardReceiver


class PubSub:
    conflates, needs, sender, receiver = False, "iceoryx2", PubSubSender, PubSubReceiver


TRANSPORTS: dict[str, Any] = {
    "multiprocessing.Queue": Queue,
    "multiprocessing.Pipe": Pipe,
    "pyzmq_ipc": Zmq,
    "iceoryx2_blackboard_polling": Blackboard,
    "iceoryx2_pubsub_polling": PubSub,
}
