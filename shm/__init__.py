"""Shared memory: rows of float64 columns for many symbols, one writer process, any number of readers.

Linux only. Nothing in here has heard of a bar's meaning, an exchange or a factor: a row has a number, values
and a status. docs/shm-format.md draws the bytes, shm/ring.py says who may do what.
"""

from shm.errors import (
    Lagging,
    NoSpace,
    OrderError,
    SegmentMismatch,
    SegmentVersion,
    ShmError,
    StoreBroken,
    StoreFull,
    StoreNotFound,
    StoreRetired,
    SymbolNotFound,
    WriterDead,
    WriterLocked,
    WriterStalled,
)
from shm.layout import SlotState, Spec, Status
from shm.reader import PanelToken, StoreReader, Token
from shm.segment import check_platform
from shm.writer import StoreWriter

__all__ = [
    "Lagging",
    "NoSpace",
    "OrderError",
    "PanelToken",
    "SegmentMismatch",
    "SegmentVersion",
    "ShmError",
    "SlotState",
    "Spec",
    "Status",
    "StoreBroken",
    "StoreFull",
    "StoreNotFound",
    "StoreReader",
    "StoreRetired",
    "StoreWriter",
    "SymbolNotFound",
    "Token",
    "WriterDead",
    "WriterLocked",
    "WriterStalled",
    "check_platform",
]
