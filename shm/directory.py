"""The directory: which symbol has which slot, and since when.

Writer: `take`, `retake`, `set_state`. Readers: `read`. A slot is filled first and shown last (its state, then
the number of slots, then the version, each with release ordering), and never given to another symbol within
an epoch: a reader can hold a slot number for as long as the epoch lasts.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from shm.errors import StoreFull
from shm.layout import (
    DIRECTORY_VERSION,
    N_SLOTS,
    NAME_BYTES,
    SLOT_COUNT,
    SLOT_FIRST_G,
    SLOT_FORMING,
    SLOT_LOADED,
    SLOT_NAME,
    SLOT_NAME_LENGTH,
    SLOT_STATE,
    SLOT_WORDS,
    SLOTS,
    SlotState,
)
from shm.ring import peek, post

__all__ = ["Entry", "read", "retake", "set_state", "slot_word", "take", "touch"]

_Words = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Entry:
    """One slot of the directory as it was when it was read."""

    slot: int
    symbol: str
    state: SlotState
    first_g: int


def slot_word(slot: int, field: int) -> int:
    """Index of a slot's control word."""
    return SLOTS + slot * SLOT_WORDS + field


def read(words: _Words) -> list[Entry]:
    """Every slot that was ever taken, in slot order."""
    entries = []
    for slot in range(int(peek(words, N_SLOTS))):
        state = SlotState(peek(words, slot_word(slot, SLOT_STATE)))
        length = int(words[slot_word(slot, SLOT_NAME_LENGTH)])
        at = slot_word(slot, SLOT_NAME)
        name = words[at : at + NAME_BYTES // 8].tobytes()[:length].decode()
        entries.append(Entry(slot, name, state, int(words[slot_word(slot, SLOT_FIRST_G)])))
    return entries


def take(words: _Words, max_symbols: int, symbol: str, first_g: int) -> int:
    """Give the next free slot to `symbol`, LOADING. Writer only.

    StoreFull if there is none; ValueError for a name that is empty or longer than 64 bytes of UTF-8.
    """
    name = symbol.encode()
    if not 0 < len(name) <= NAME_BYTES or b"\0" in name:
        raise ValueError(f"a symbol has 1 to {NAME_BYTES} bytes of UTF-8 and no zero byte, found {symbol!r}")
    slot = int(words[N_SLOTS])
    if slot >= max_symbols:
        raise StoreFull(
            f"no slot for {symbol}: all {max_symbols} are taken (delisted symbols keep theirs until the "
            "store is made anew with a larger max_symbols)"
        )
    at = slot_word(slot, SLOT_NAME)
    padded: Any = np.frombuffer(name.ljust(NAME_BYTES, b"\0"), np.int64)
    words[at : at + NAME_BYTES // 8] = padded
    words[slot_word(slot, SLOT_NAME_LENGTH)] = len(name)
    words[slot_word(slot, SLOT_FORMING)] = 0
    retake(words, slot, first_g)
    post(words, N_SLOTS, slot + 1)
    return slot


def retake(words: _Words, slot: int, first_g: int) -> None:
    """Begin a slot, or begin it again for the symbol that it was LOADING for. Writer only."""
    words[slot_word(slot, SLOT_COUNT)] = 0
    words[slot_word(slot, SLOT_FIRST_G)] = first_g
    words[slot_word(slot, SLOT_LOADED)] = first_g
    post(words, slot_word(slot, SLOT_STATE), int(SlotState.LOADING))


def set_state(words: _Words, slot: int, state: SlotState) -> None:
    """Move a slot on, and tell readers that the directory changed. Writer only."""
    post(words, slot_word(slot, SLOT_STATE), int(state))
    touch(words)


def touch(words: _Words) -> None:
    """The directory changed: readers compare this number with the one they read it at. Writer only."""
    post(words, DIRECTORY_VERSION, int(words[DIRECTORY_VERSION]) + 1)
