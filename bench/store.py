"""How fast is the store: to write, to read in place, from process to process, beside other transports?

    python bench/store.py [--json FILE] [--rounds 25] [--agree]

One-way latency is from the moment before the sender's call to the moment when the receiver holds the bar as
an array, for one bar of 12 numbers and its number (104 bytes), about every 0.3 ms, sender and receiver pinned
to a core each. Between bars the sender stays awake; it gives way to threads where a transport has some. All
contenders run in one pair of processes, in turns, round by round; every payload that is
received is checked. They must agree before they are timed. `--agree` is that alone, in a few seconds.
Readers of the store (and of a blackboard) see the newest bar, queues deliver each: the pace is slow enough
for all to see all, and what was skipped is said.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import statistics
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import fire
import numba
import numpy as np
from report import Figures, Rounds, interleave, pin
from transports import PATTERN, TRANSPORTS, WIDTH, absent, check, make_row

from shm import Spec, StoreReader, StoreWriter, Token, jit, ring
from shm.atomics import clock_ns, load_acquire, pause, store_release
from shm.layout import HEARTBEAT

VALUES = 12  # of a bar: 11 that follow from its number, and the moment of sending
COLUMNS = tuple(f"c{k}" for k in range(VALUES))
PACE_S = 0.0003
BARE_WORD = "one_word_jit_to_jit"
"""No transport: a word stored and seen, which takes as long as the host has put the two cores apart."""
POLLING = (  # nobody sleeps and no thread helps: the sender's core is its own until the next bar is due
    "shm_spin", "shm_spin_methods", "shm_jit_to_jit", BARE_WORD,
    "iceoryx2_blackboard_polling", "iceoryx2_pubsub_polling",
)  # fmt: skip
DIRECTORY = Path("/dev/shm")


def spec(window: int, max_symbols: int) -> Spec:
    return Spec(columns=COLUMNS, window=window, max_symbols=max_symbols, interval_ms=1000, source="bench")


# ---- compiled ends ----------------------------------------------------------------------------------------


@numba.njit(nogil=True)
def next_bar(store: Any, slot: int, seen: int, timeout_ns: int, out: Any) -> int:
    """Spin for the bar after `seen`, copy it into out[13] (number, values); its count, or `seen` in vain."""
    while True:
        count = jit.spin_count(store, slot, seen, timeout_ns)
        if count <= seen:
            return seen
        token = jit.begin(store, slot)
        cap = store.data.shape[2] // 2
        at = cap + (token[0] - 1) % cap
        out[0] = token[0] - 1
        for k in range(out.size - 1):
            out[1 + k] = store.data[slot, k, at]
        if jit.valid(store, slot, 1, token):
            return token[0]


@numba.njit(nogil=True)
def receive_all(store: Any, slot: int, last: int, rows: Any, latency_ns: Any) -> int:
    """The reader's compiled end: bars up to number `last`, and how long each was on its way."""
    seen, n = jit.begin(store, slot)[0], 0
    while n < len(rows):
        count = next_bar(store, slot, seen, 5_000_000_000, rows[n])
        if count == seen:
            return -1
        latency_ns[n] = clock_ns() - int(rows[n, VALUES])
        seen, n = count, n + 1
        if count > last:
            break
    return n


@numba.njit(nogil=True)
def send_all(words: Any, data: Any, first: int, n: int, pace_ns: int, pattern: Any) -> None:
    """The writer's compiled end: a bar every pace_ns."""
    row = np.empty(VALUES)
    due = clock_ns()
    for g in range(first, first + n):
        due += pace_ns
        while clock_ns() < due:
            pass
        for k in range(VALUES - 1):
            row[k] = g + pattern[k + 1]
        row[VALUES - 1] = clock_ns()
        ring.append(words, data, 0, g, row, 1)


@numba.njit(nogil=True)
def send_words(words: Any, n: int, pace_ns: int) -> None:
    """The moment itself, in the word for the writer's signs of life, every pace_ns."""
    due = clock_ns()
    for _ in range(n):
        due += pace_ns
        while clock_ns() < due:
            pass
        store_release(words, HEARTBEAT, clock_ns())


@numba.njit(nogil=True)
def receive_words(store: Any, latency_ns: Any) -> int:
    """Spin for each; how many were seen until a second passed without one."""
    n, seen = 0, load_acquire(store.words, HEARTBEAT)
    until = clock_ns() + 1_000_000_000
    while n < len(latency_ns) and clock_ns() < until:
        for _ in range(64):
            word = load_acquire(store.words, HEARTBEAT)
            if word != seen:
                now = clock_ns()
                latency_ns[n] = now - word
                n, seen, until = n + 1, word, now + 1_000_000_000
                break
            pause()
    return n


@numba.njit(nogil=True)
def append_hot(words: Any, data: Any, first: int, n: int, row: Any) -> int:
    bad = 0
    for g in range(first, first + n):
        bad += ring.append(words, data, 0, g, row, 1)
    return bad


@numba.njit(nogil=True)
def append_round_robin(words: Any, data: Any, first: int, n: int, n_slots: int, row: Any) -> int:
    bad = 0
    for g in range(first, first + n):
        for slot in range(n_slots):
            bad += ring.append(words, data, slot, g, row, 1)
    return bad


@numba.njit(nogil=True)
def read_newest(store: Any, n: int, out: Any) -> int:
    accepted = 0
    for _ in range(n):
        token = jit.begin(store, 0)
        cap = store.data.shape[2] // 2
        at = cap + (token[0] - 1) % cap
        for k in range(out.size):
            out[k] += store.data[0, k, at]
        accepted += jit.valid(store, 0, 1, token)
    return accepted


@numba.njit(nogil=True)
def mean_of_window(store: Any, slot: int, column: int, n: int) -> tuple[float, bool]:
    token = jit.begin(store, slot)
    value = jit.window(store, slot, column, n, token).mean()
    return value, jit.valid(store, slot, n, token)


# ---- the store as a contender ------------------------------------------------------------------------------


class StoreSender:
    """A store of one symbol. `address` is its name."""

    def __init__(self, completes: bool) -> None:
        self.address = f"bench-{os.getpid()}-{'complete' if completes else 'append'}"
        self.completes = completes
        self.writer = StoreWriter.open(self.address, spec(window=100, max_symbols=1))
        self.slot = self.writer.add_symbol("BENCH", 0)
        self.writer.activate(self.slot)
        self.row: Any = None
        self.feeder = self.writer.feed()

    @property
    def next_g(self) -> int:
        return self.writer.count(self.slot)

    def send(self, row: Any) -> None:
        if row is not self.row:  # it is one array: its values are the buffer, as a collector has one
            self.row, self.feeder = row, self.writer.feed(row[1:])
        self.feeder.append(self.slot, int(row[0]), complete=self.completes)

    def close(self) -> None:
        self.writer.close()
        for path in DIRECTORY.glob(f"bmac.{self.address}*"):
            path.unlink()


class StoreReceiver:
    def __init__(self, address: str) -> None:
        self.reader = StoreReader.attach(address)
        self.arrays, self.slot = self.reader.arrays, 0
        self.count = self.reader.count(0)
        self.complete_g = self.reader.complete_g
        self.loop = asyncio.new_event_loop()
        self.follower = self.reader.follow(0, 0)
        self.view = self.follower.row[:WIDTH]  # without the status, which other transports do not carry
        self.row = np.empty(WIDTH)

    def _newest(self) -> Any:
        """A copy of the newest bar, which may be newer than the one that was waited for."""

        def copy(token: Token) -> int:
            self.row[1:] = self.reader.rows(self.slot, 1, token.g_end)[:-1, 0]
            return token.g_end

        self.count = self.reader.read_at(self.slot, copy, 1)
        self.row[0] = self.count - 1
        return self.row

    def spin_follower(self) -> Any:
        self.follower.next(5.0, spin_us=5e6)
        return self.view

    def block_follower(self) -> Any:
        self.follower.next(5.0)
        return self.view

    def spin(self) -> Any:
        self.reader.wait_slot(self.slot, self.count, 5.0, spin_us=5e6)
        return self._newest()

    def block(self) -> Any:
        self.reader.wait(self.count - 1, 5.0)
        return self._newest()

    async def block_async(self) -> Any:
        await self.reader.wait_async(self.count - 1, 5.0)
        return self._newest()

    def close(self) -> None:
        self.reader.close()
        self.loop.close()


WAYS = {  # name -> (which store, which way to receive)
    "shm_spin": ("append", "spin_follower"),
    "shm_spin_methods": ("append", "spin"),
    "shm_blocking": ("complete", "block_follower"),
    "shm_blocking_methods": ("complete", "block"),
    "shm_asyncio": ("complete", "block_async"),
}


def _receiver(connection: Connection, core: int, stores: dict[str, str], addresses: dict[str, Any]) -> None:
    """The other process. Serves (name, first bar, number of bars); answers (latencies us, skipped)."""
    pin(core)
    ours = {which: StoreReceiver(address) for which, address in stores.items()}
    others = {name: TRANSPORTS[name].receiver(address) for name, address in addresses.items()}
    receive_all(ours["append"].arrays, 0, -1, np.empty((0, WIDTH)), np.empty(0, np.int64))
    receive_words(ours["append"].arrays, np.empty(0, np.int64))
    connection.send("ready")
    while (job := connection.recv()) is not None:
        name, first, n = job
        try:
            connection.send(_receive(ours, others, name, first, n))
        except Exception as error:
            connection.send(f"{name}: {type(error).__name__}: {error}")
    for end in (*ours.values(), *others.values()):
        end.close()


def _receive(ours: Any, others: Any, name: str, first: int, n: int) -> tuple[list[float], int]:
    rows, latencies, last, k = np.empty((n, WIDTH)), np.empty(n), first + n - 1, 0
    if name == BARE_WORD:
        nanoseconds = np.empty(n, np.int64)
        k = receive_words(ours["append"].arrays, nanoseconds)
        assert k > 0, "nothing for a second"
        return (nanoseconds[:k] / 1e3).tolist(), n - k
    if name == "shm_jit_to_jit":
        nanoseconds = np.empty(n, np.int64)
        k = receive_all(ours["append"].arrays, 0, last, rows, nanoseconds)
        assert k > 0, "nothing for 5 s"
        latencies = nanoseconds / 1.0
    elif name == "shm_asyncio":
        end = ours["complete"]
        end.count = first

        async def receive() -> int:
            k = 0
            while True:
                got = await end.block_async()
                now = time.monotonic_ns()
                rows[k] = got
                latencies[k] = now - got[-1]
                k += 1
                if rows[k - 1, 0] >= last:
                    return k

        k = end.loop.run_until_complete(receive())
    else:
        if name in WAYS:
            end = ours[WAYS[name][0]]
            end.count = end.follower.count = first
            receive = getattr(end, WAYS[name][1])
        else:
            receive = others[name].receive
        while True:
            got = receive()
            now = time.monotonic_ns()
            rows[k] = got
            latencies[k] = now - got[-1]
            k += 1
            if rows[k - 1, 0] >= last:
                break
    conflates = name.startswith("shm") or TRANSPORTS[name].conflates
    skipped = check(rows[:k], first, last, conflates)
    return (latencies[:k] / 1e3).tolist(), skipped


class Pair:
    """Sender here, receiver there, and every contender that is not absent."""

    def __init__(self, receiver_core: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.absent = {name: why for name, t in TRANSPORTS.items() if (why := absent(t))}
        self.stores = {which: StoreSender(which == "complete") for which in ("append", "complete")}
        self.others = {name: t.sender() for name, t in TRANSPORTS.items() if name not in self.absent}
        self.names = [*WAYS, "shm_jit_to_jit", BARE_WORD, *self.others]
        self.g = dict.fromkeys(self.others, 0)
        self.latencies: dict[str, list[float]] = {name: [] for name in self.names}
        self.skipped = dict.fromkeys(self.names, 0)
        self.row = np.empty(WIDTH)
        self.connection, theirs = context.Pipe()
        stores = {which: store.address for which, store in self.stores.items()}
        others = {name: sender.address for name, sender in self.others.items()}
        self.process = context.Process(target=_receiver, args=(theirs, receiver_core, stores, others))
        self.process.start()
        theirs.close()
        self._send_compiled(0)  # compiles
        self._send_words(0)
        assert self.connection.poll(120), "the receiver did not start"
        assert self.connection.recv() == "ready"

    def _send_compiled(self, n: int) -> None:
        writer = self.stores["append"].writer
        first = self.stores["append"].next_g
        send_all(writer._words, writer._data, first, n, int(PACE_S * 1e9), PATTERN)

    def _send_words(self, n: int) -> None:
        send_words(self.stores["append"].writer._words, n, int(PACE_S * 1e9))

    def run(self, name: str, n: int) -> float:
        """One round of one contender: n bars; the median latency in us."""
        if name not in self.others:
            store = self.stores[WAYS[name][0] if name in WAYS else "append"]
            send, first = store.send, store.next_g
        else:
            send, first = self.others[name].send, self.g[name]
            self.g[name] += n
        self.connection.send((name, first, n))
        time.sleep(0.02)
        if name == "shm_jit_to_jit":
            self._send_compiled(n)
        elif name == BARE_WORD:
            self._send_words(n)
        else:
            due = time.monotonic_ns()
            row, give_way = self.row, name not in POLLING
            for g in range(first, first + n):
                make_row(g, row)  # what is sent is made before the clock starts
                due += int(PACE_S * 1e9)
                while time.monotonic_ns() < due:
                    if give_way:
                        time.sleep(0)  # awake, but a queue's feeder thread gets its turn
                row[-1] = time.monotonic_ns()
                send(row)
        assert self.connection.poll(30), f"{name}: the receiver does not answer"
        answer = self.connection.recv()
        assert not isinstance(answer, str), answer
        latencies, skipped = answer
        self.latencies[name] += latencies
        self.skipped[name] += skipped
        return statistics.median(latencies)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.send(None)
        self.process.join(10)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        for end in (*self.stores.values(), *self.others.values()):
            end.close()


# ---- one process ------------------------------------------------------------------------------------------


def one_process(figures: Figures, n_slots: int, rounds: int, n: int) -> None:
    """Append, consistent reads and views, on a store of the real size."""
    name = f"bench-{os.getpid()}-size"
    row = np.arange(float(VALUES))
    try:
        with StoreWriter.open(name, spec(window=1500, max_symbols=n_slots)) as writer:
            for i in range(n_slots):
                writer.activate(writer.add_symbol(f"S{i:03d}", 0))
            words, data = writer._words, writer._data
            append_round_robin(words, data, 0, 1700, n_slots, row)  # the ring is full
            append_hot(words, data, 1700, 0, row)

            def timed(call: Any, count: int) -> float:
                began = time.perf_counter_ns()
                assert call() == 0
                return (time.perf_counter_ns() - began) / count

            def round_robin() -> float:
                first = writer.count(1)
                return timed(lambda: append_round_robin(words, data, first, n, n_slots, row), n * n_slots)

            rows, statuses = np.tile(row, (n_slots, 1)), np.ones(n_slots, np.uint8)
            slots = np.arange(n_slots)

            def rows_in_one_call() -> float:
                began = time.perf_counter_ns()
                for _ in range(n):
                    writer.append_rows(slots, np.full(n_slots, writer.count(1)), rows, statuses)
                return (time.perf_counter_ns() - began) / (n * n_slots)

            with StoreReader.attach(name) as reader:
                store, out = reader.arrays, np.zeros(VALUES)
                read_newest(store, 1, out)
                calls = {
                    "append_round_robin_ns": round_robin,
                    "append_rows_ns": rows_in_one_call,
                    "read_newest_bar_jit_ns": lambda: timed(
                        lambda: read_newest(store, 100 * n, out) - 100 * n, 100 * n
                    ),
                    "mean_of_1500_jit_call_ns": lambda: timed(
                        lambda: sum(not mean_of_window(store, 0, 3, 1500)[1] for _ in range(n)), n
                    ),
                    "view_1500_ns": lambda: timed(
                        lambda: sum(len(reader.view(0, "c3", 1500)) != 1500 for _ in range(n)), n
                    ),
                    "panel_1500_ns": lambda: timed(
                        lambda: sum(reader.panel(3, 1500).shape[1] != 1500 for _ in range(n)), n
                    ),
                    "read_mean_1500_ns": lambda: timed(
                        lambda: sum(reader.read(0, _is_nan_mean, 1500) for _ in range(n)), n
                    ),
                }
                found = interleave(calls, rounds)
                #   last, since it leaves slot 0 ahead of the others
                hot = interleave(
                    {
                        "append_hot_ns": lambda: timed(
                            lambda: append_hot(words, data, writer.count(0), 100 * n, row), 100 * n
                        )
                    },
                    rounds,
                )
    finally:
        for path in DIRECTORY.glob(f"bmac.{name}*"):
            path.unlink()
    notes = {
        "append_hot_ns": "12 columns, one symbol",
        "append_round_robin_ns": f"12 columns, {n_slots} symbols by turns",
        "append_rows_ns": f"StoreWriter.append_rows of {n_slots} rows, per row, checks included",
        "read_newest_bar_jit_ns": "12 columns, validated",
        "mean_of_1500_jit_call_ns": "Python -> JIT: mean of 1500, validated",
        "view_1500_ns": "StoreReader.view",
        "panel_1500_ns": f"StoreReader.panel of {n_slots} symbols",
        "read_mean_1500_ns": "StoreReader.read: numpy mean of 1500, validated",
    }
    for rounds_of in (hot, found):
        for key in rounds_of.values:
            figures.add(key, rounds_of.median(key), notes[key])


def _is_nan_mean(rows: Any) -> bool:
    return bool(np.isnan(rows[3].mean()))


def latency_floors(figures: Figures, pair: Pair, found: Rounds) -> None:
    for name in pair.names:
        low, high = found.spread(name)
        ordered = sorted(pair.latencies[name])
        note = f"rounds {low:.3g} to {high:.3g}, p99 {ordered[int(0.99 * len(ordered))]:.3g}, "
        note += f"max {ordered[-1]:.3g}, n {len(ordered)}, skipped {pair.skipped[name]}"
        figures.add(f"latency_{name}_us", found.median(name), note)
    for floor, slow, fast, wanted in (
        ("blackboard_over_shm_spin", "iceoryx2_blackboard_polling", "shm_spin", 2.5),
        ("pyzmq_over_shm_blocking", "pyzmq_ipc", "shm_blocking", 2.0),
    ):
        if slow in pair.absent:
            figures.unmet(floor, wanted, f"{slow} could not run: {pair.absent[slow]}")
        else:
            figures.at_least(floor, wanted, figures.add(floor, found.ratio(slow, fast), "median of ratios"))
    figures.add("jit_to_jit_over_one_word", found.ratio("shm_jit_to_jit", BARE_WORD), "median of ratios")
    figures.at_most("latency_shm_jit_to_jit_us", 0.5, figures["latency_shm_jit_to_jit_us"])


def main(json: str | None = None, agree: bool = False, rounds: int = 25, n: int = 300) -> None:
    """Measure, print, and exit 1 if a floor is missed.

    json    write figures and floors to this file
    agree   only check that all contenders carry the same bars
    rounds  turns that every contender takes
    n       bars in a turn
    """
    figures = Figures("How fast is the store: to write, to read in place, and from process to process?")
    cores = sorted(os.sched_getaffinity(0))
    pin(cores[0])
    pair = Pair(cores[-1])
    try:
        for name in pair.names:
            pair.run(name, 30)
        contenders = [name for name in pair.names if name != BARE_WORD]
        print(f"{len(contenders)} contenders agree: {', '.join(contenders)}")
        for name, why in pair.absent.items():
            print(f"absent: {name}: {why}")
        if agree:
            return
        pair.latencies = {name: [] for name in pair.names}
        pair.skipped = dict.fromkeys(pair.names, 0)
        found = interleave({name: lambda name=name: pair.run(name, n) for name in pair.names}, rounds)
    finally:
        pair.close()
    one_process(figures, n_slots=500, rounds=rounds, n=200)
    figures.at_most("append_hot_ns", 20, figures["append_hot_ns"])
    figures.at_most("append_round_robin_ns", 120, figures["append_round_robin_ns"])
    latency_floors(figures, pair, found)
    sys.exit(figures.finish(json))


if __name__ == "__main__":
    fire.Fire(main)
