"""What can go wrong with a shared-memory store.

ShmError
├── StoreNotFound         no such segment, or it never became READY
├── StoreBroken           foreign, truncated or damaged file
├── SegmentVersion        written by another layout version
├── SegmentMismatch       the file holds something else than asked for (source, columns, capacity, ...)
├── StoreRetired          the writer moved on to a new file: attach again
├── WriterLocked          another live process holds the writer's lock
├── WriterDead            the lock is free: nobody writes
├── WriterStalled         the lock is held, but the heartbeat is old
├── Lagging               the reader was overtaken, or asks for bars that the ring no longer holds
├── StoreFull             no free slot for another symbol
├── NoSpace               /dev/shm (or the disk behind it) is too small
├── OrderError            the writer was asked to break the order of bars
└── SymbolNotFound        the directory has no such symbol (also a KeyError)

Every message says what was expected, what was found, and where.
"""

__all__ = [
    "Lagging",
    "NoSpace",
    "OrderError",
    "SegmentMismatch",
    "SegmentVersion",
    "ShmError",
    "StoreBroken",
    "StoreFull",
    "StoreNotFound",
    "StoreRetired",
    "SymbolNotFound",
    "WriterDead",
    "WriterLocked",
    "WriterStalled",
]


class ShmError(Exception):
    """Base of everything that `shm` raises on purpose."""


class StoreNotFound(ShmError):
    """No segment of that name exists, or it did not become READY in time."""


class StoreBroken(ShmError):
    """The file is not a store: foreign, truncated, or its header does not add up."""


class SegmentVersion(ShmError):
    """The file's layout version is not the one this code knows."""


class SegmentMismatch(ShmError):
    """The file is a store, but of something else: source, columns, interval or capacity differ."""


class StoreRetired(ShmError):
    """The writer replaced this file by a new one; attach again by name."""


class WriterLocked(ShmError):
    """Another process holds the writer's lock on this store."""


class WriterDead(ShmError):
    """Nobody holds the writer's lock: the store is a still picture."""


class WriterStalled(ShmError):
    """The writer holds its lock, but its heartbeat is older than allowed."""


class Lagging(ShmError):
    """The reader was overtaken by the writer more often than it may retry; it got no value."""


class StoreFull(ShmError):
    """Every slot of the symbol directory is taken; slots are never reused within an epoch."""


class NoSpace(ShmError):
    """The file system cannot hold the segment; the message names need and room."""


class OrderError(ShmError):
    """The writer was asked for a bar out of order; nothing was written."""


class SymbolNotFound(ShmError, KeyError):
    """The symbol is not in the directory."""

    def __str__(self) -> str:
        return Exception.__str__(self)
