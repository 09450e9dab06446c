"""The errors of bmac_stream.

BmacError
├── ConfigError             the configuration cannot be used; holds every problem found
├── Unsupported             this platform or option is not supported
├── TableNotFound           a store has no such table beside it (yet); a LookupError
├── ExchangeError           the exchange, or the way to it
│   ├── NetworkError        no answer: DNS, refused, reset, TLS, proxy, time-out
│   ├── BadResponse         an answer that is not what the protocol promises (HTML page, cut body, other JSON)
│   ├── ApiError            the exchange's own {"code", "msg"} with its HTTP status
│   │   └── RateLimited     429: too much weight; holds retry_after_s
│   │       └── Banned      418: this address is banned; holds until_ms
│   └── BadFrame            a stream message that is malformed, out of range or foreign
├── RunDirectoryError       a file of BMAC's run directory cannot be written
│   └── RunDirectoryTaken   BMAC, or another process of ours, writes that directory
├── SnapshotError           a snapshot file cannot be used
│   ├── SnapshotDamaged     cut, flipped or not a snapshot at all: set it aside
│   └── SnapshotForeign     sound, but of another source, interval or columns, or from the future
└── KitError                bmac_kit
    ├── NotReady            what was asked for was not there at its deadline; a TimeoutError too
    ├── CandleFileError     a file of BMAC's directory cannot be used
    │   ├── CandleFileDamaged   cut, half-written or no parquet or feather at all
    │   └── CandleFileForeign   sound, but its columns, types, zone or order are not BMAC's
    └── LegacyFactorError   a pandas factor module cannot be imported or called, or it failed

shm.ShmError is the tree of the shared-memory store; it is drawn in shm/errors.py and re-exported here.
"""

from collections.abc import Sequence

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

__all__ = [
    "ApiError",
    "BadFrame",
    "BadResponse",
    "Banned",
    "BmacError",
    "CandleFileDamaged",
    "CandleFileError",
    "CandleFileForeign",
    "ConfigError",
    "ExchangeError",
    "KitError",
    "Lagging",
    "LegacyFactorError",
    "NetworkError",
    "NoSpace",
    "NotReady",
    "OrderError",
    "RateLimited",
    "RunDirectoryError",
    "RunDirectoryTaken",
    "SegmentMismatch",
    "SegmentVersion",
    "ShmError",
    "SnapshotDamaged",
    "SnapshotError",
    "SnapshotForeign",
    "StoreBroken",
    "StoreFull",
    "StoreNotFound",
    "StoreRetired",
    "SymbolNotFound",
    "TableNotFound",
    "Unsupported",
    "WriterDead",
    "WriterLocked",
    "WriterStalled",
]


class BmacError(Exception):
    """Base of everything that bmac_stream raises on purpose, beside shm.ShmError."""


class ConfigError(BmacError):
    """The configuration cannot be used. `problems` holds one line for each thing that is wrong."""

    def __init__(self, problems: Sequence[str]) -> None:
        assert problems, "a ConfigError needs at least one problem"
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


class Unsupported(BmacError):
    """The platform or an option is not supported; the message says what is."""


class TableNotFound(BmacError, LookupError):
    """A store has no such table beside it, or not yet."""


class ExchangeError(BmacError):
    """The exchange, or the way to it, failed."""


class NetworkError(ExchangeError):
    """No answer came: name resolution, refusal, reset, TLS, proxy or time-out."""


class BadResponse(ExchangeError):
    """An answer came that the protocol does not allow. `kind` is a short fixed word for counting."""

    def __init__(self, detail: str, kind: str = "response") -> None:
        self.kind = kind
        super().__init__(detail)


class ApiError(ExchangeError):
    """The exchange answered with an error of its own.

    status  HTTP status
    code    Binance's code, e.g. -1121
    msg     Binance's text
    """

    def __init__(self, status: int, code: int, msg: str) -> None:
        self.status = status
        self.code = code
        self.msg = msg
        super().__init__(f"HTTP {status}, code {code}: {msg}")


class RateLimited(ApiError):
    """HTTP 429. `retry_after_s` is the exchange's wish, in seconds of the exchange's clock."""

    def __init__(self, status: int, code: int, msg: str, retry_after_s: float) -> None:
        super().__init__(status, code, msg)
        self.retry_after_s = retry_after_s


class Banned(RateLimited):
    """HTTP 418: the address is banned for `retry_after_s` seconds."""


class BadFrame(ExchangeError):
    """A stream message that cannot be used. `kind` is a short fixed word for counting."""

    def __init__(self, kind: str, detail: str) -> None:
        self.kind = kind
        super().__init__(f"{kind}: {detail}")


class RunDirectoryError(BmacError):
    """A file of BMAC's run directory cannot be written."""


class RunDirectoryTaken(RunDirectoryError):
    """BMAC, or another process of ours, writes that directory."""


class SnapshotError(BmacError):
    """A snapshot file cannot be used."""


class SnapshotDamaged(SnapshotError):
    """The file is cut, has flipped bits, or is no snapshot at all."""


class SnapshotForeign(SnapshotError):
    """The file is sound, but of another source, interval or columns, or from the future."""


class KitError(BmacError):
    """What bmac_kit raises."""


class NotReady(KitError, TimeoutError):
    """A symbol's bar, or the exchange info, was not there at the deadline; the message says what was."""


class CandleFileError(KitError):
    """A file of BMAC's run directory cannot be used; the message names it."""


class CandleFileDamaged(CandleFileError):
    """The file is cut, half-written, or no file of its kind at all."""


class CandleFileForeign(CandleFileError):
    """The file is sound, but not as BMAC writes it: the message has what was expected and what was found."""


class LegacyFactorError(KitError):
    """A pandas factor module cannot be imported or called, or it raised; the message has file and line."""


class HistoryError(BmacError):
    """The long history's data set, or one of its files, cannot be used."""


class HistoryDamaged(HistoryError):
    """The file is cut, has flipped bits, or is not one of the data set's at all."""


class HistoryForeign(HistoryError):
    """The file is sound, but of another version, source, trade_type or interval."""


class HistoryLocked(HistoryError):
    """Another process is changing the data set; try again later."""


class ImportRefused(HistoryError):
    """Files to import that are not what they should be. `problems` holds a line for each, with its place."""

    def __init__(self, problems: Sequence[str]) -> None:
        assert problems, "an ImportRefused needs at least one problem"
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))
