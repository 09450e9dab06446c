"""shm/local.py: what holds file numbers, maps or threads is neither copied nor pickled."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from shm import StoreReader, StoreWriter
from shm.segment import bell_path
from shm.wake import BellClient
from tests.shm.support import fill, small_spec


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, pickle.dumps])
def test_what_belongs_to_a_process_stays_in_it(store_name: str, way: Callable[[object], object]) -> None:
    """A copy's `close` closed the number of its original; one that was sent on kept old bars for ever."""
    with StoreWriter.open(store_name, small_spec()) as writer, StoreReader.attach(store_name) as reader:
        fill(writer, 1, 0, 5)
        client = BellClient(bell_path(reader.path))
        things: list[Any] = [
            reader, writer, reader._segment, reader._bell, reader.follow(0),
            writer.feed(), writer._bell, writer._lock, client,
        ]  # fmt: skip
        for thing in things:
            with pytest.raises(
                TypeError, match=rf"a {type(thing).__name__} can .* attach in the other process"
            ):
                way(thing)
        client.close()
        assert way(reader.token(0)) and way(reader.spec), "these are values"
