"""Exchange info as a table beside a store: tick, lot, contract and status of every collected symbol.

    bmac_stream.attach("usdt_perp_1m").exchange_info()        a pyarrow.Table

The collector writes it whenever a reading of exchangeInfo says something new: under another name first, so
that nobody ever sees half a table, with the permissions of the store. It says which store's file it belongs
to; a table of another file, or of another source, is not there for its readers.
"""

import contextlib
import os
import stat
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from shm import StoreReader, StoreWriter
from shm.segment import open_owned, set_mode, table_path

from .binance.protocol import SymbolInfo
from .errors import StoreBroken, TableNotFound

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["COLUMNS", "ExchangeInfoTable", "read_table"]

COLUMNS: Final = (
    "symbol", "status", "contract_type", "base_asset", "quote_asset", "margin_asset",
    "price_tick", "lot_size", "min_notional_value", "contract_size", "onboard_ms", "delivery_ms",
)  # fmt: skip
"""Columns of the table, one row for each collected symbol, in the exchange's order:

symbol, status          text; status as the exchange writes it: TRADING, ...
contract_type           PERPETUAL, TRADIFI_PERPETUAL, CURRENT_QUARTER, ...; "" on spot
base_asset, quote_asset, margin_asset   text; margin_asset "" on spot
price_tick, lot_size, min_notional_value   decimals as text, exactly as the exchange writes them, null where
                        it has none. As in BMAC: tickSize, stepSize (COIN-M: contractSize), notional
contract_size           float64, quote asset per contract on COIN-M; NaN elsewhere
onboard_ms, delivery_ms int64, ms UTC; 0: not known
"""

_KIND: Final = "exginfo"
_VERSION: Final = b"1"
_MAX_BYTES: Final = 64 * 1024 * 1024


class ExchangeInfoTable:
    """The collector's end of a store's table.

    store        the open writer that it lies beside
    mode, group  of the file, as the store's own
    """

    def __init__(self, store: StoreWriter, mode: int, group: int | None) -> None:
        self._path = table_path(store.path, _KIND)
        self._mode, self._group = mode, group
        self._metadata = {b"version": _VERSION, b"source": store.spec.source.encode()}
        self._metadata[b"epoch"] = str(store.epoch).encode()
        self._written: tuple[SymbolInfo, ...] | None = None
        if store.created:  # what lies there is of a file that lost its name
            with contextlib.suppress(OSError):
                self._path.unlink()

    def write(self, infos: Sequence[SymbolInfo], symbols: Collection[str], read_ms: float) -> bool:
        """Write the rows of `symbols`, unless they are what was written last. Whether it was written.

        infos    all that the exchange listed, in its order
        read_ms  exchange time of that reading, ms UTC
        OSError if it cannot be written; what was there stays. May be called on another thread, one at a time.
        """
        rows = tuple(info for info in infos if info.symbol in symbols)
        if rows == self._written:
            return False
        _replace(self._path, _to_bytes(rows, {**self._metadata, b"read_ms": b"%d" % read_ms}), self._mode,
                 self._group)  # fmt: skip
        self._written = rows
        return True


def read_table(reader: StoreReader, owner: int | None = None) -> "pa.Table":
    """The table of an attached store; columns as COLUMNS, schema metadata b"read_ms": exchange time, ms UTC,
    of the reading of exchangeInfo that it is of.

    owner  as in `client.attach`
    TableNotFound (a LookupError) if there is none (yet), or only one of another file; StoreBroken if what is
    there is no such table.
    """
    import pyarrow as pa

    path = table_path(reader.path, _KIND)
    try:
        fd = open_owned(path, os.O_RDONLY, owner=owner)
    except FileNotFoundError:
        raise TableNotFound(
            f"store {reader.path} has no exchange info yet: its collector writes it at the start"
        ) from None
    with os.fdopen(fd, "rb") as file:
        if os.fstat(fd).st_size > _MAX_BYTES:
            raise StoreBroken(f"{path}: longer than a table may be")
        raw = file.read(_MAX_BYTES)
    try:
        table = pa.ipc.open_file(pa.BufferReader(raw)).read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:  # OSError: of Arrow's own, for what is no Arrow file
        raise StoreBroken(f"{path}: damaged: {str(error)[:200]}") from None
    metadata: Mapping[bytes, bytes] = table.schema.metadata or {}
    if metadata.get(b"version") != _VERSION or tuple(table.column_names) != COLUMNS:
        raise StoreBroken(f"{path}: not a table that this program can read")
    expected = (reader.spec.source.encode(), str(reader.epoch).encode())
    if (metadata.get(b"source"), metadata.get(b"epoch")) != expected:
        raise TableNotFound(
            f"{path} belongs to another file of that name: either the collector has not written this store's"
            " yet, or the store was replaced (reattach)"
        )
    return table


def _to_bytes(rows: Sequence[SymbolInfo], metadata: dict[bytes, bytes]) -> bytes:
    import pyarrow as pa

    from .arrow import from_numpy, from_words

    sizes = [np.nan if (size := row.contract_size) is None else size for row in rows]
    columns: dict[str, pa.Array] = {
        "symbol": from_words([row.symbol for row in rows]),
        "status": from_words([row.status for row in rows]),
        "contract_type": from_words([row.contract_type for row in rows]),
        "base_asset": from_words([row.base_asset for row in rows]),
        "quote_asset": from_words([row.quote_asset for row in rows]),
        "margin_asset": from_words([row.margin_asset for row in rows]),
        "price_tick": from_words([row.price_tick for row in rows]),
        "lot_size": from_words([row.lot_size for row in rows]),
        "min_notional_value": from_words([row.min_notional for row in rows]),
        "contract_size": from_numpy(np.array(sizes, np.float64)),
        "onboard_ms": from_numpy(np.array([row.onboard_ms for row in rows], np.int64)),
        "delivery_ms": from_numpy(np.array([row.delivery_ms for row in rows], np.int64)),
    }
    schema = pa.schema([(name, columns[name].type) for name in COLUMNS], metadata=metadata)
    table = pa.Table.from_arrays([columns[name] for name in COLUMNS], schema=schema)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema) as writer:
        writer.write_table(table)
    made: bytes = sink.getvalue().to_pybytes()
    return made


def _replace(path: Path, data: bytes, mode: int, group: int | None) -> None:
    """`data` as the file `path`, whole or not at all; a link in its place is replaced, never followed."""
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)  # of a collector that was killed; the store's lock is ours
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            assert stat.S_ISREG(os.fstat(fd).st_mode)
            file.write(data)
            file.flush()
            set_mode(fd, mode, group)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
