"""shm/ports.py, feed.py and follow.py: the quick calls do what the slow ones do, and refuse what those do."""

import math
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from shm import OrderError, ShmError, Status, StoreReader, StoreWriter, SymbolNotFound, WriterDead, ports
from shm.layout import FUTEX, HEARTBEAT
from tests.shm.support import fill, row, small_spec


@pytest.fixture
def writer(store_name: str) -> Iterator[StoreWriter]:
    with StoreWriter.open(store_name, small_spec()) as writer:
        fill(writer, 2, 0, 5)
        yield writer


@pytest.fixture
def reader(writer: StoreWriter, store_name: str) -> Iterator[StoreReader]:
    with StoreReader.attach(store_name) as reader:
        yield reader


@pytest.mark.parametrize(
    "values",
    [
        row(0, 5),
        row(0, 5).tolist(),
        tuple(row(0, 5)),
        np.repeat(row(0, 5), 2)[::2],
        row(0, 5)[::-1].copy()[::-1],
        row(0, 5).astype(np.float32),
        row(0, 5).astype(">f8"),
        np.frombuffer(row(0, 5).tobytes()),
    ],
    ids=["array", "list", "tuple", "strided", "backwards", "float32", "big-endian", "read-only"],
)
@pytest.mark.parametrize("status", [1, Status.PENDING, np.int64(2)], ids=repr)
def test_append_takes_what_is_like_a_row(writer: StoreWriter, values: Any, status: Any) -> None:
    writer.append(0, 5, values, status)
    found, statuses = writer.read(0, 5, 1)
    assert (found == row(0, 5)).all()
    assert statuses == [status]
    assert writer.count(0) == 6


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0, 4, row(0, 4)), OrderError, "S0: bar 4 asked for, bar 5 is next"),
        ((0, 6, row(0, 6)), OrderError, "bar 6 asked for, bar 5 is next"),
        ((0, 2**70, row(0, 6)), OverflowError, "too large|too big"),
        ((2, 5, row(0, 5)), SymbolNotFound, "slot 2 was never taken"),
        ((4, 5, row(0, 5)), SymbolNotFound, "slot 4 was never taken"),
        ((-1, 5, row(0, 5)), SymbolNotFound, "slot -1 was never taken"),
        ((0, 5, np.zeros(2)), ValueError, r"a row has 3 values, found an array of shape \(2,\)"),
        ((0, 5, np.zeros(4)), ValueError, r"shape \(4,\)"),
        ((0, 5, np.zeros((3, 1))), ValueError, r"shape \(3, 1\)"),
        ((0, 5, np.zeros((1,) * 20)), ValueError, "shape"),
        ((0, 5, 1.0), ValueError, "shape"),
        ((0, 5, "abc"), ValueError, "abc"),
        ((0, None, row(0, 5)), TypeError, "NoneType|none|str"),
        ((0, 5, row(0, 5), 0), ValueError, "BAR, ABSENT or PENDING"),
        ((0, 5, row(0, 5), 4), ValueError, "BAR, ABSENT or PENDING"),
        ((0, 5, row(0, 5), "1"), TypeError, "str"),
        ((0, "5", row(0, 5)), TypeError, "str"),
        ((0, 5.0, row(0, 5)), TypeError, "'float' object cannot be interpreted as an integer"),
        ((0.0, 5, row(0, 5)), TypeError, "'float' object cannot be interpreted as an integer"),
        (("0", 5, row(0, 5)), TypeError, "str"),
    ],
    ids=lambda value: "",
)
def test_append_refuses_and_writes_nothing(
    writer: StoreWriter, arguments: Any, error: type[Exception], message: str
) -> None:
    words, data = writer._words.copy(), writer._data.copy()
    with pytest.raises(error, match=message):
        writer.append(*arguments)
    assert (writer._words == words).all()
    assert np.array_equal(writer._data, data, equal_nan=True)


def test_append_of_one_column(store_name: str) -> None:
    """The stride of a single number means nothing."""
    with StoreWriter.open(store_name, small_spec(columns=("a",))) as writer:
        slot = writer.add_symbol("S", 0)
        writer.activate(slot)
        writer.append(slot, 0, np.arange(4.0)[1::4])
        assert writer.read(slot, 0, 1)[0].tolist() == [[1.0]]


def test_a_closed_writer_refuses(store_name: str) -> None:
    writer = StoreWriter.open(store_name, small_spec())
    fill(writer, 1, 0, 5)
    writer.close()
    with pytest.raises(ShmError, match="closed"):
        writer.append(0, 5, row(0, 5))
    with pytest.raises(ShmError, match="closed"):
        writer.complete(5)


def test_a_refused_port_is_not_followed() -> None:
    """Its addresses are gone: a call that looked at them would end the process."""
    port = np.zeros(8, np.int64)
    address = port.ctypes.data
    assert ports.append_at(address, 0, 0, row(0, 0), 1) != 0
    assert ports.complete_at(address, 0) != 0


def test_feeder_publishes_its_buffer(writer: StoreWriter, reader: StoreReader) -> None:
    feeder = writer.feed()
    assert feeder.row.shape == (3,) and np.isnan(feeder.row).all()
    for g in range(5, 45):  # more than the ring holds
        for slot in (0, 1):
            feeder.row[:] = row(slot, g)
            feeder.append(slot, g, complete=slot == 1)
        assert reader.complete_g == g
        assert [reader.rows(slot, 1)[:, 0].tolist() for slot in (0, 1)] == [[*row(s, g), 1.0] for s in (0, 1)]
    feeder.row[:] = np.nan
    feeder.append(0, 45, Status.ABSENT)
    feeder.append(1, 45, int(Status.PENDING))
    assert [reader.rows(slot, 1)[3, 0] for slot in (0, 1)] == [Status.ABSENT, Status.PENDING]


def test_feeder_of_a_given_buffer(writer: StoreWriter) -> None:
    whole = np.arange(5.0)
    feeder = writer.feed(whole[1:4])
    whole[:] = 7.0, *row(0, 5), 8.0
    feeder.append(0, 5)
    assert writer.read(0, 5, 1)[0].tolist() == [row(0, 5).tolist()]
    assert np.shares_memory(feeder.row, whole[1:4])


def test_feeder_keeps_its_buffer_where_it_is(writer: StoreWriter) -> None:
    """Compiled code knows its address: it must neither move nor go."""
    given = row(0, 5)
    feeders = [writer.feed(given), writer.feed()]
    for array in (given, *(feeder.row for feeder in feeders)):
        with pytest.raises(ValueError, match=r"resize|own its"):
            array.resize(200_000)
    del given
    feeders[0].append(0, 5)
    assert writer.read(0, 5, 1)[0].tolist() == [row(0, 5).tolist()]


@pytest.mark.parametrize(
    "buffer",
    [np.zeros(2), np.zeros((3, 1)), np.zeros(6)[::2], np.zeros(3, np.float32), np.zeros(3, ">f8"), [0.0] * 3],
    ids=["short", "two-dimensional", "strided", "float32", "big-endian", "list"],
)
def test_feeder_takes_no_other_buffer(writer: StoreWriter, buffer: Any) -> None:
    with pytest.raises(ValueError, match=r"a buffer is a contiguous float64\[3\], found "):
        writer.feed(buffer)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0, 4), OrderError, "S0: bar 4 asked for, bar 5 is next"),
        ((0, 2**70), OverflowError, "too large|too big"),
        ((2, 5), SymbolNotFound, "slot 2 was never taken"),
        ((-1, 5), SymbolNotFound, "slot -1 was never taken"),
        ((4, 5), SymbolNotFound, "slot 4 was never taken"),
        ((2**40, 5), SymbolNotFound, "was never taken"),
        ((0, 5.0), TypeError, "'float' object cannot be interpreted as an integer"),
        ((0, None), TypeError, "NoneType|none|str"),
        ((0, 5, 0), ValueError, "BAR, ABSENT or PENDING"),
        ((0, 5, 4), ValueError, "BAR, ABSENT or PENDING"),
    ],
    ids=lambda value: "",
)
@pytest.mark.parametrize("complete", [False, True])
def test_feeder_refuses_and_writes_nothing(
    writer: StoreWriter, arguments: Any, error: type[Exception], message: str, complete: bool
) -> None:
    feeder = writer.feed()
    words, data = writer._words.copy(), writer._data.copy()
    with pytest.raises(error, match=message):
        feeder.append(*arguments, complete=complete)
    assert (writer._words == words).all()
    assert np.array_equal(writer._data, data, equal_nan=True)


def test_feeder_names_who_lacks_a_bar(writer: StoreWriter, reader: StoreReader) -> None:
    feeder = writer.feed(row(0, 5))
    with pytest.raises(OrderError, match="bar 5 is not complete: S1 has published up to bar 4"):
        feeder.append(0, 5, complete=True)
    assert writer.count(0) == 6 and reader.complete_g == 4
    feeder.append(1, 5, complete=True)
    assert reader.complete_g == 5
    feeder.append(0, 6)
    feeder.append(1, 6, Status.PENDING, complete=True)  # not the plain number that the quick way takes
    assert reader.complete_g == 6


def test_feeder_wakes_and_is_a_sign_of_life(writer: StoreWriter, reader: StoreReader) -> None:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(reader.wait(4, 30.0)))
    thread.start()
    time.sleep(0.1)
    before, bumps = int(writer._words[HEARTBEAT]), int(writer._words[FUTEX])
    feeder = writer.feed(row(0, 5))
    feeder.append(0, 5)
    assert writer._words[FUTEX] == bumps, "nobody is woken for half a market"
    feeder.append(1, 5, complete=True)
    assert writer._words[FUTEX] == bumps + 1, "a reader that looks again by itself would come late"
    thread.join(5)
    assert found == [5]
    assert writer._words[HEARTBEAT] > before


def test_feeder_and_the_forming_bar(writer: StoreWriter, reader: StoreReader) -> None:
    feeder = writer.feed()
    for k in range(7):
        feeder.row[:] = row(1, 100 + k)
        feeder.write_forming(1, 5)
        assert reader.read_forming(1)[0] == 5
        assert reader.read_forming(1)[1].tolist() == row(1, 100 + k).tolist()
    for slot, g, error in (
        (2, 5, SymbolNotFound), (-1, 5, SymbolNotFound), (4, 5, SymbolNotFound), (2**40, 5, SymbolNotFound),
        (1, 2**70, OverflowError), (1, 5.0, TypeError), (1.0, 5, TypeError),
    ):  # fmt: skip
        words = writer._words.copy()
        with pytest.raises(error):
            feeder.write_forming(slot, g)
        assert (writer._words == words).all()


def test_feeder_without_forming_cells(store_name: str) -> None:
    with StoreWriter.open(store_name, small_spec(forming_cells=0)) as writer:
        fill(writer, 1, 0, 5)
        with pytest.raises(ValueError, match="has no cells for forming rows"):
            writer.feed().write_forming(0, 5)


def test_feeder_of_a_closed_writer(store_name: str) -> None:
    writer = StoreWriter.open(store_name, small_spec())
    fill(writer, 1, 0, 5)
    feeder = writer.feed()
    writer.close()
    with pytest.raises(ShmError, match="closed"):
        feeder.append(0, 5, complete=True)
    with pytest.raises(ShmError, match="closed"):
        feeder.write_forming(0, 5)


def test_complete_wakes_and_is_a_sign_of_life(writer: StoreWriter, reader: StoreReader) -> None:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(reader.wait(4, 30.0)))
    thread.start()
    time.sleep(0.1)
    before = int(writer._words[HEARTBEAT])
    for slot in (0, 1):
        writer.append(slot, 5, row(slot, 5))
    assert ports.complete_at(writer._address, 5) == 0
    thread.join(5)
    assert found == [5]
    assert writer._words[HEARTBEAT] > before
    assert ports.complete_at(writer._address, 5) != 0  # complete already
    assert ports.complete_at(writer._address, 6) != 0  # nobody has it


def test_follower_hands_over_each_bar(writer: StoreWriter, reader: StoreReader) -> None:
    follower = reader.follow(1)
    assert follower.count == 5
    for g in range(5, 45):  # more than the ring holds
        for slot in (0, 1):
            writer.append(slot, g, row(slot, g))
        writer.complete(g)
        found = follower.next(1.0, spin_us=1e6 * (g % 2))
        assert found.tolist() == [g, *row(1, g), Status.BAR]
        assert follower.count == g + 1


def test_follower_skips_to_the_newest(writer: StoreWriter, reader: StoreReader) -> None:
    follower = reader.follow(0, 0)
    assert follower.next(0.0)[0] == 4
    writer.append(0, 5, row(0, 5))
    writer.skip_to(0, 8)
    found = follower.next(0.0)
    assert found[[0, 4]].tolist() == [7, Status.PENDING]
    assert np.isnan(found[1:4]).all()


@pytest.mark.parametrize("spin_us", [0.0, 1000.0, math.inf])
def test_follower_times_out_and_goes_on(writer: StoreWriter, reader: StoreReader, spin_us: float) -> None:
    follower = reader.follow(0)
    start = time.monotonic()
    with pytest.raises(TimeoutError, match=r"nothing new within 0\.05 s"):
        follower.next(0.05, spin_us=spin_us)
    assert time.monotonic() - start >= 0.05
    writer.append(0, 5, row(0, 5))
    assert follower.next(1.0, spin_us=spin_us)[0] == 5


def test_follower_sleeps_until_it_is_woken(writer: StoreWriter, reader: StoreReader) -> None:
    follower, found = reader.follow(0), []
    thread = threading.Thread(target=lambda: found.append(follower.next(30.0).tolist()))
    thread.start()
    time.sleep(0.1)
    for slot in (0, 1):
        writer.append(slot, 5, row(slot, 5))
    writer.complete(5)
    thread.join(5)
    assert found == [[5, *row(0, 5), Status.BAR]]


def test_follower_says_that_the_writer_died(writer: StoreWriter, reader: StoreReader) -> None:
    follower = reader.follow(0)
    writer.close()
    with pytest.raises(WriterDead):
        follower.next(5.0)


def test_follower_waits_out_a_correction(writer: StoreWriter, reader: StoreReader) -> None:
    """A copy is refused while a correction is under way; the slow way knows for how long to be patient."""
    from shm.layout import CORR_BEGIN

    follower = reader.follow(0)
    writer.append(0, 5, row(0, 5))
    writer._words[CORR_BEGIN] += 1
    end = threading.Timer(0.1, lambda: writer._words.__setitem__(CORR_BEGIN, writer._words[CORR_BEGIN] - 1))
    end.start()
    assert follower.next(5.0).tolist() == [5, *row(0, 5), Status.BAR]
    end.join()


def test_follower_of_what_is_not_there(writer: StoreWriter, reader: StoreReader) -> None:
    for slot in (-1, 4):
        with pytest.raises(SymbolNotFound):
            reader.follow(slot)
    with pytest.raises(SymbolNotFound, match="nothing of it is published"):
        reader.follow(3)


def test_follower_outlives_its_reader(writer: StoreWriter, store_name: str) -> None:
    """The map stays for as long as a follower looks into it."""
    reader = StoreReader.attach(store_name)
    follower = reader.follow(0)
    reader.close()
    writer.append(0, 5, row(0, 5))
    assert follower.next(1.0)[0] == 5
