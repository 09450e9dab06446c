"""The configuration: one JSON file in BMAC's format, one frozen tree of structs, every problem at once.

BMAC v2's config.json works unchanged: each of its keys has its meaning and default here; what belongs to a
feature that is not there yet is accepted with a warning. A key nobody knows is a warning that names the
nearest one (BMAC ignored them), with `strict` an error. Values of secret keys never appear in a message.
"""

import contextlib
import difflib
import grp
import json
import re
import types
import typing
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from .alerts.channels import read_channels, secrets_in
from .bar import INTERVALS_MS, interval_name, length_ms, made_interval_ms
from .binance.markets import MARKETS, TRADE_TYPES, Market, TradeType
from .binance.transport import parse_proxy, proxy_for, require_socks, ssl_context
from .errors import ConfigError, NetworkError, Unsupported

__all__ = [
    "BMAC_KEYS",
    "Config",
    "Embedded",
    "History",
    "Hosts",
    "Resample",
    "Snapshot",
    "Store",
    "Symbols",
    "load_config",
    "mask_url",
    "secrets_of",
    "stream_urls",
]

MAX_FILE_BYTES: Final = 1 << 20
MAX_CANDLES: Final = 10_000  # BMAC's own limit
MAX_PROBLEMS: Final = 50
STORE_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,100}")
RESERVED: Final = (".lock", ".bell", ".new", ".arrow")  # of the files beside a store
PROXY_SCHEMES: Final = ("http", "socks5", "socks5h")

BMAC_KEYS: Final = (
    "interval", "trade_type", "num_candles", "funding_rate", "keep_symbols", "save_type", "http_timeout_sec",
    "candle_close_timeout_sec", "num_rest_fetchers", "num_socket_listeners", "dingding", "msg_sender",
)  # fmt: skip
"""Every key of BMAC v2's config.json."""


class Hosts(msgspec.Struct, frozen=True, kw_only=True):
    """An exchange at hosts of one's own that speaks Binance's protocol: `"exchange": {...}`."""

    # base URL of REST, e.g. "http://127.0.0.1:8000"; required
    rest: str
    # base URL of the streams, or several of which the first that speaks wins; without a path the market's
    # own path is added (/market on USD-M); required
    stream: str | list[str]
    # exchange seconds per wall second; above 1 for a time-lapse replay
    rate: float = 1.0
    # what the store says its data is from; null: "custom:" + host of rest. Other sources never mix with it
    source: str | None = None


class Embedded(msgspec.Struct, frozen=True, kw_only=True):
    """The embedded exchange, when `"exchange": "embedded"`: its market and its speed."""

    # seed of the generated market
    seed: int = 7
    # symbols of the generated market
    n_symbols: int = 600
    # exchange seconds per wall second
    rate: float = 1.0
    # folder of recorded bars to replay, relative to the config file; null: a generated market
    data: str | None = None
    # exchange time at the start, ISO 8601 UTC or int ms; null: the market's own, or where the store ends
    start: str | int | None = None


class Store(msgspec.Struct, frozen=True, kw_only=True):
    """The shared-memory store."""

    # [A-Za-z0-9_.-], 1 to 100 letters; null: {trade_type}_{interval}
    name: str | None = None
    # where the segment lies
    directory: str = "/dev/shm"
    # symbols that fit, listings to come included; fixed when the store is made; null: 1024, 4096 on spot
    max_symbols: int | None = None
    # bars beyond num_candles that a slow reader may lag, bars
    slack: int = 100
    # permission bits, octal: "0600" only you, "0640" with a group
    mode: str = "0600"
    # name of the group that may read, with mode "0640"; null: none
    group: str | None = None


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Parquet snapshots of the store, written by a process of their own."""

    # false: none are written, none is read at the start
    enabled: bool = True
    # where they lie, relative to the config file
    directory: str = "snapshot"
    # one every so many bars, bars (a start fetches up to 98 missing bars at the price of one)
    every_bars: int = 30
    # never more often than this, seconds of wall time
    min_interval_sec: float = 60.0


class Symbols(msgspec.Struct, frozen=True, kw_only=True):
    """What has appeared since BMAC: by default collected, or not, as BMAC would. See universe.choose."""

    # TRADIFI_PERPETUAL contracts (shares, metals) among *_perp; BMAC took PERPETUAL only
    tradifi: bool = False
    # leveraged tokens (BTCUPUSDT ...) on spot
    leveraged: bool = True
    # names with other letters than ASCII; their files have such names too
    non_ascii: bool = True
    # the stablecoin pairs of BMAC's list, on spot
    stablecoins: bool = False
    # names that are never collected
    exclude: list[str] = []


class History(msgspec.Struct, frozen=True, kw_only=True):
    """The long history: a partitioned parquet data set of every closed bar."""

    # false: none is written
    enabled: bool = False
    # where it lies, relative to the config file
    directory: str = "history"


class Resample(msgspec.Struct, frozen=True, kw_only=True):
    """One store of longer bars, made from this collector's."""

    # length of its bars: whole bars of the collector's, dividing a day: 10m, 45m, 90m, 6h, ... 1d; required
    interval: str
    # minutes after midnight UTC at which the day's first bar begins, less than a bar
    offset: int = 0
    # bars that it keeps, bars; null: as many as the config's num_candles
    num_candles: int | None = None
    # its store's name; null: {store}.{interval}, with an offset {store}.{interval}_{offset}m
    name: str | None = None


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """All that the collector can be told. Times are seconds of the exchange's clock unless said otherwise."""

    # length of a bar, one of bar.INTERVALS_MS; required
    interval: str
    # which symbols: usdt_perp, usdt_spot, coin_perp, ...; required
    trade_type: str
    # bars of history that every symbol has, bars, 1 to 10000
    num_candles: int = 1500
    # funding rates in a store of their own, {store}.funding, and in BMAC's funding.pqt; futures only
    funding_rate: bool = False
    # only these symbols of the trade_type; null: all
    keep_symbols: list[str] | None = None
    # of BMAC's files: parquet or feather
    save_type: str = "parquet"
    # one REST request, seconds of wall time
    http_timeout_sec: float = 5.0
    # after a bar's close at most this long until its run_time is complete, with or without the late ones
    candle_close_timeout_sec: float = 15.0
    # REST requests at the same time
    num_rest_fetchers: int = 8
    # WebSocket connections that the symbols are spread over
    num_socket_listeners: int = 8
    # BMAC's alerts up to 2024-08: {"error": {"access_token", "secret"}}
    dingding: dict[str, Any] | None = None
    # BMAC's alerts since: {"type": "dingding" or "wechat_work", "error": {...}}
    msg_sender: dict[str, Any] | None = None
    # "binance", "embedded", or {"rest", "stream", "rate", "source"}
    exchange: str | Hosts = "binance"
    # only used when exchange is "embedded"
    embedded: Embedded = Embedded()
    # URL of an HTTP or SOCKS5 proxy for REST and WebSocket; "env": from the environment; null: none
    proxy: str | None = None
    # PEM file with a further certificate authority, relative to the config file; null: the system's only
    ca_file: str | None = None
    # share of the exchange's request weight that we may use; order execution on this IP needs the rest
    weight_share: float = 0.9
    # seconds between two readings of exchangeInfo (listings and delistings)
    exchange_info_every_sec: float = 300.0
    # seconds between two readings of /time
    clock_sync_every_sec: float = 60.0
    # a new connection must bring its first kline frame within this, seconds (1 s of wall time at least)
    first_frame_timeout_sec: float = 15.0
    # a connection that says nothing for so long is replaced, seconds (1 s of wall time at least)
    silence_timeout_sec: float = 60.0
    # the shared-memory store
    store: Store = Store()
    # parquet snapshots
    snapshot: Snapshot = Snapshot()
    # what `python -m bmac_stream.engine` computes: "name" or ["name", parameter, ...], as in docs/factors.md
    factors: list[str | list[str | int | float]] = []
    # groups of symbols, {"BTCUSDT": "majors", ...}, for factors that compare within them; the rest are one
    factor_groups: dict[str, str] = {}
    # bars of every factor that are kept in shared memory, 1 to 10000
    factor_depth: int = 1
    # seconds of wall time between two savings of the engine's state; 0: never, it replays at every start
    factor_state_every_sec: float = 600.0
    # BMAC's run directory beside the config file; null: yes when the collector was given a folder
    bmac_files: bool | None = None
    # time zone of the names of BMAC's ready files
    ready_timezone: str = "Asia/Hong_Kong"
    # which symbols that BMAC did not know of are collected
    symbols: Symbols = Symbols()
    # the long history
    history: History = History()
    # stores of longer bars made from this one
    resample: list[Resample] = []
    # further channels of alerts: {"type": "feishu", ...}; see alerts/channels.py
    alerts: list[dict[str, Any]] = []
    # the folder that holds the config file; not a key of the file
    base_dir: str = "."
    # the config file; not a key of the file
    config_file: str = ""
    # whether it was found in a folder, BMAC's way of naming a configuration; not a key of the file
    from_folder: bool = False

    @property
    def trade(self) -> TradeType:
        """The trade_type's entry in TRADE_TYPES."""
        return TRADE_TYPES[self.trade_type]

    @property
    def market(self) -> Market:
        """The market that the trade_type is of."""
        return MARKETS[self.trade.market]

    @property
    def interval_ms(self) -> int:
        """Length of a bar, ms."""
        return INTERVALS_MS[self.interval]

    @property
    def store_name(self) -> str:
        """Name of the store, by default {trade_type}_{interval}."""
        return self.store.name or f"{self.trade_type}_{self.interval}"

    @property
    def max_symbols(self) -> int:
        """Symbols the store has room for."""
        return self.store.max_symbols or (4096 if self.trade.market == "spot" else 1024)

    @property
    def rate(self) -> float:
        """Exchange seconds per wall second."""
        if isinstance(self.exchange, Hosts):
            return self.exchange.rate
        return self.embedded.rate if self.exchange == "embedded" else 1.0

    @property
    def source(self) -> str | None:
        """What the store says its data is from; None for the embedded exchange, which says it itself."""
        if isinstance(self.exchange, Hosts):
            return self.exchange.source or f"custom:{urlsplit(self.exchange.rest).netloc.rpartition('@')[2]}"
        return None if self.exchange == "embedded" else self.exchange

    @property
    def bmac_files_wanted(self) -> bool:
        """Whether BMAC's run directory is written."""
        return self.from_folder if self.bmac_files is None else self.bmac_files

    def resampled_name(self, target: Resample) -> str:
        """Name of the store that `target` asks for."""
        offset = f"_{target.offset}m" if target.offset else ""
        return target.name or f"{self.store_name}.{_made_name(target.interval)}{offset}"

    def path(self, name: str) -> Path:
        """A path of the file, relative to the folder of the config file."""
        return Path(self.base_dir, Path(name).expanduser())


# BMAC applied int() to these, so "5" was accepted
_LAX: Final = frozenset(
    {
        "http_timeout_sec",
        "candle_close_timeout_sec",
        "num_rest_fetchers",
        "num_socket_listeners",
        "num_candles",
    }
)
_OURS_ONLY: Final = frozenset({"base_dir", "config_file", "from_folder"})
_WRONG: Final = object()
# stand in for a required value that is missing or wrong, so that the rest is still checked
_PLACEHOLDERS: Final = {
    "interval": "1m", "trade_type": "usdt_perp", "rest": "http://localhost", "stream": "ws://localhost"
}  # fmt: skip


def load_config(path: str | Path, strict: bool = False) -> tuple[Config, list[str]]:
    """Read the file at `path`, or config.json in the folder `path`: (config, warnings).

    strict  unknown keys are errors
    Raises ConfigError with every problem found, a line each: file, key, what is wrong, nearest valid name.
    """
    path = Path(path)
    from_folder = path.is_dir()
    if from_folder:
        path = path / "config.json"
    reading = _Reading(path.name, strict)
    raw = _read_json(path, reading)
    config = reading.struct(Config, raw, "")
    whole = path.resolve()
    config = msgspec.structs.replace(
        config, base_dir=str(whole.parent), config_file=str(whole), from_folder=from_folder
    )
    _check(config, reading)
    if reading.problems:
        # warnings too: a misspelled key explains a missing one
        raise ConfigError((reading.problems + reading.warnings)[:MAX_PROBLEMS])
    _check_later(config, reading)
    return _normal(config), reading.warnings


def stream_urls(market: Market, urls: str | Sequence[str]) -> tuple[str, ...]:
    """Candidates for the base of stream URLs. One without a path gets each path the market's own have."""
    paths = list(dict.fromkeys(urlsplit(own).path for own in market.stream_urls))
    found: list[str] = []
    for url in [urls] if isinstance(urls, str) else urls:
        bare = not urlsplit(url).path.strip("/")
        found += [url.rstrip("/") + path for path in paths] if bare else [url.rstrip("/")]
    return tuple(dict.fromkeys(found))


def mask_url(url: str) -> str:
    """`url` without user name, password, path and query: what may be shown of a proxy or a webhook."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or "?"
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "(not shown)"
    if not parts.scheme:
        return "(not shown)"
    user = "***@" if parts.username or parts.password else ""
    return f"{parts.scheme}://{user}{host}{port}"


def secrets_of(config: Config) -> list[str]:
    """Every secret text of the configuration, for a log filter to hide: tokens, webhooks, proxy passwords."""
    found: list[str] = []
    for raw in (config.dingding, config.msg_sender, *config.alerts):
        found += secrets_in(raw)
    if config.proxy:
        with contextlib.suppress(ValueError):
            parts = urlsplit(config.proxy)
            found += [word for word in (parts.password, parts.username) if word]
            if parts.username or parts.password:
                found.append(config.proxy)
    return sorted(set(found), key=len, reverse=True)


def _read_json(path: Path, reading: "_Reading") -> object:
    """The file's JSON; ConfigError if there is no usable one. A key that is given twice is a problem."""
    name = path.name

    def pairs(items: list[tuple[str, object]]) -> dict[str, object]:
        seen = dict(items)
        if len(seen) < len(items):
            keys = [key for key, _ in items]
            twice = sorted({key for key in keys if keys.count(key) > 1})
            for key in twice:
                reading.problem(f"key {_short(key)}", "is given more than once")
        return seen

    def constant(word: str) -> object:
        raise ConfigError([f"{name}: {word} is not JSON"])

    try:
        if not path.is_file():
            raise ConfigError([f"{path}: no such file"])
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise ConfigError([f"{name}: {size} bytes; a config has at most {MAX_FILE_BYTES}"])
        text = path.read_bytes()[: MAX_FILE_BYTES + 1].decode("utf-8-sig")
        raw: object = json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([f"{name}: not UTF-8 text (byte {error.start})"]) from None
    except json.JSONDecodeError as error:
        raise ConfigError(
            [f"{name}: not JSON: {error.msg} (line {error.lineno}, column {error.colno})"]
        ) from None
    except (RecursionError, ValueError):
        raise ConfigError([f"{name}: not a usable JSON file (too deep, or a number too long)"]) from None
    if not isinstance(raw, dict):
        raise ConfigError([f"{name}: the file must hold one JSON object {{...}}, found {_kind(raw)}"])
    return raw


class _Reading:
    """One pass over a file: what is wrong, and what is odd."""

    def __init__(self, file: str, strict: bool) -> None:
        self.file = file
        self.strict = strict
        self.problems: list[str] = []
        self.warnings: list[str] = []

    def problem(self, key: str, text: str) -> None:
        self.problems.append(f"{self.file}: {key}: {text}")

    def warning(self, key: str, text: str) -> None:
        self.warnings.append(f"{self.file}: {key}: {text}")

    def struct(self, kind: type[Any], raw: object, where: str) -> Any:
        """`raw` as the struct `kind`. What is wrong is noted and has its default, so reading goes on."""
        if not isinstance(raw, dict):
            self.problem(where.rstrip("."), f"expected an object {{...}}, found {_kind(raw)}")
            return kind(**{f.name: _PLACEHOLDERS[f.name] for f in msgspec.structs.fields(kind) if f.required})
        fields = {field.name: field for field in msgspec.structs.fields(kind) if field.name not in _OURS_ONLY}
        for key in raw:
            if key not in fields:
                hint = _nearest(key, fields)
                if self.strict:
                    self.problem(f"{where}{_short(key)}", f"no such key{hint}")
                else:
                    self.warning(f"{where}{_short(key)}", f"no such key{hint}; ignored")
        values: dict[str, Any] = {}
        for name, field in fields.items():
            if name in raw:
                value = self.value(field.type, raw[name], where + name, name in _LAX)
                if value is not _WRONG:
                    values[name] = value
            elif field.required:
                self.problem(where + name, "is required and missing")
            if field.required and name not in values:
                values[name] = _PLACEHOLDERS[name]
        return kind(**values)

    def value(self, kind: Any, raw: object, where: str, lax: bool) -> Any:
        options = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
        inner = [
            option for option in options if isinstance(option, type) and issubclass(option, msgspec.Struct)
        ]
        if inner and (isinstance(raw, dict) or len(options) == 1):
            return self.struct(inner[0], raw, f"{where}.")
        rest: Any = kind
        if inner:
            rest = typing.Union[tuple(option for option in options if option not in inner)]  # noqa: UP007
        try:
            return msgspec.convert(raw, rest, strict=not lax)
        except msgspec.ValidationError as error:
            # msgspec's own text names types and places, never the value
            self.problem(where, str(error).replace("`", ""))
            return _WRONG


def _check(config: Config, reading: _Reading) -> None:
    """Everything that types cannot say."""
    _check_trade_type(config.trade_type, reading)
    _check_interval(config.interval, config.trade_type, reading)

    def within(key: str, value: float, low: float, high: float) -> None:
        if not low <= value <= high:
            reading.problem(key, f"must be {low:g} to {high:g}, found {value:g}")

    if config.num_candles > MAX_CANDLES:
        reading.problem("num_candles", f"{config.num_candles} exceeds the limit of {MAX_CANDLES}")
    elif config.num_candles < 1:
        reading.problem("num_candles", f"must be at least 1, found {config.num_candles}")
    within("http_timeout_sec", config.http_timeout_sec, 0.1, 600)
    within("candle_close_timeout_sec", config.candle_close_timeout_sec, 1, 3600)
    within("num_rest_fetchers", config.num_rest_fetchers, 1, 64)
    within("num_socket_listeners", config.num_socket_listeners, 1, 100)
    within("weight_share", config.weight_share, 0.01, 1)
    within("exchange_info_every_sec", config.exchange_info_every_sec, 1, 86_400)
    within("clock_sync_every_sec", config.clock_sync_every_sec, 1, 86_400)
    within("first_frame_timeout_sec", config.first_frame_timeout_sec, 0.05, 3600)
    within("silence_timeout_sec", config.silence_timeout_sec, 0.05, 3600)
    within("embedded.n_symbols", config.embedded.n_symbols, 1, 5000)
    within("embedded.rate", config.embedded.rate, 0.01, 10_000)
    within("store.slack", config.store.slack, 10, 100_000)
    within("factor_depth", config.factor_depth, 1, 10_000)
    within("factor_state_every_sec", config.factor_state_every_sec, 0, 86_400)
    if config.store.max_symbols is not None:
        within("store.max_symbols", config.store.max_symbols, 1, 65_536)
    within("snapshot.every_bars", config.snapshot.every_bars, 1, 1_000_000)
    within("snapshot.min_interval_sec", config.snapshot.min_interval_sec, 0, 86_400)
    if not re.fullmatch(r"0?[0-7]{3}", config.store.mode):
        reading.problem("store.mode", 'must be octal permission bits such as "0600" or "0640"')
    elif int(config.store.mode, 8) & 0o117 or int(config.store.mode, 8) & 0o600 != 0o600:
        reading.problem("store.mode", 'may be "0600", or "0640" for a group: nobody else may read or write')
    if not STORE_NAME.fullmatch(config.store_name) or config.store_name.endswith(RESERVED):
        reading.problem(
            "store.name",
            "may have 1 to 100 letters of A-Z a-z 0-9 _ . - and no ending .lock, .bell, .new or .arrow",
        )
    try:
        ZoneInfo(config.ready_timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        reading.problem("ready_timezone", f"there is no time zone {_short(config.ready_timezone)}")
    _check_group(config.store, reading)
    _check_resample(config, reading)
    _check_symbols(config.keep_symbols, reading)
    _check_exchange(config, reading)
    _check_proxy(config, reading)
    _check_ca_file(config, reading)
    _check_alerts(config, reading)
    if config.save_type not in ("parquet", "feather"):
        hint = _nearest(config.save_type, ("parquet", "feather"))
        reading.problem("save_type", f"must be parquet or feather, found {_short(config.save_type)}{hint}")


def _check_trade_type(trade_type: str, reading: _Reading) -> None:
    if trade_type not in TRADE_TYPES:
        names = ", ".join(sorted(TRADE_TYPES))
        hint = _nearest(trade_type, TRADE_TYPES)
        reading.problem("trade_type", f"{_short(trade_type)} is not supported{hint}; there are {names}")


def _check_interval(interval: str, trade_type: str, reading: _Reading) -> None:
    name = _interval_name(interval)
    if interval == "1M":
        reading.problem("interval", "1M has no fixed length, so it is not supported; nearest: 1w")
    elif name not in INTERVALS_MS:
        hint = _same_length(interval) or _nearest(interval, INTERVALS_MS)
        reading.problem(
            "interval", f"{_short(interval)} is no interval{hint}; there are {' '.join(INTERVALS_MS)}"
        )
    elif trade_type in TRADE_TYPES and name not in MARKETS[TRADE_TYPES[trade_type].market].intervals:
        assert name == "1s"
        reading.problem("interval", f"1s exists on spot only, {trade_type} is of the futures; nearest: 1m")


def _check_resample(config: Config, reading: _Reading) -> None:
    base_ms = INTERVALS_MS.get(_interval_name(config.interval), 60_000)
    names = [config.store_name]
    for i, target in enumerate(config.resample):
        where = f"resample[{i}]"
        made_ms = 0
        try:
            made_ms = made_interval_ms(_interval_name(target.interval), base_ms)
        except ValueError as error:
            reading.problem(f"{where}.interval", str(error))
        if not made_ms:
            pass
        elif not 0 <= target.offset * 60_000 < made_ms or target.offset * 60_000 % base_ms:
            reading.problem(
                f"{where}.offset",
                f"must be 0 to {made_ms // 60_000 - 1} minutes, whole bars of {config.interval},"
                f" found {target.offset}",
            )
        elif made_ms // base_ms > config.num_candles:
            reading.problem(
                f"{where}.interval",
                f"a bar of {target.interval} is made of {made_ms // base_ms} bars of {config.interval}:"
                f" num_candles must be at least that, found {config.num_candles}",
            )
        if target.num_candles is not None and not 1 <= target.num_candles <= MAX_CANDLES:
            reading.problem(f"{where}.num_candles", f"must be 1 to {MAX_CANDLES}, found {target.num_candles}")
        name = config.resampled_name(target)
        if not STORE_NAME.fullmatch(name) or name.endswith(RESERVED):
            reading.problem(f"{where}.name", "is no store's name, see store.name")
        if name in names:
            reading.problem(f"{where}.name", f"{_short(name)} is taken by another store of this file")
        names.append(name)


def _check_symbols(symbols: list[str] | None, reading: _Reading) -> None:
    if symbols is None:
        return
    if not symbols:
        reading.problem("keep_symbols", "is empty: nothing would be collected; null means all symbols")
    bad = [name for name in symbols if not name or len(name) > 64 or re.search(r"[\s/@?&#%]", name)]
    if bad:
        reading.problem("keep_symbols", f"not symbol names: {', '.join(map(_short, bad[:10]))}")
    lower = [name for name in symbols if name not in bad and name != name.upper()]
    if lower:
        upper = ", ".join(_short(name.upper()) for name in lower[:10])
        reading.problem("keep_symbols", f"symbol names are upper case; nearest: {upper}")
    if len(set(symbols)) < len(symbols):
        twice = sorted({name for name in symbols if symbols.count(name) > 1})
        reading.warning("keep_symbols", f"given twice: {', '.join(map(_short, twice[:10]))}")


def _check_exchange(config: Config, reading: _Reading) -> None:
    exchange = config.exchange
    if isinstance(exchange, str):
        if exchange not in ("binance", "embedded"):
            hint = _nearest(exchange, ("binance", "embedded"))
            reading.problem(
                "exchange", f'must be "binance", "embedded" or an object, found {_short(exchange)}{hint}'
            )
    else:
        _check_url("exchange.rest", exchange.rest, ("http", "https"), reading)
        streams = [exchange.stream] if isinstance(exchange.stream, str) else exchange.stream
        if not streams:
            reading.problem("exchange.stream", "needs at least one URL")
        for url in streams:
            _check_url("exchange.stream", url, ("ws", "wss"), reading)
        if not 0.01 <= exchange.rate <= 10_000:
            reading.problem("exchange.rate", f"must be 0.01 to 10000, found {exchange.rate:g}")
        if exchange.source is not None and not 0 < len(exchange.source) <= 200:
            reading.problem("exchange.source", "must have 1 to 200 letters")
    if config.embedded.data is not None and not config.path(config.embedded.data).is_dir():
        reading.problem("embedded.data", f"no such folder: {_short(config.embedded.data)}")
    start = config.embedded.start
    if isinstance(start, str):
        try:
            datetime.fromisoformat(start)
        except ValueError:
            reading.problem("embedded.start", f"must be ISO 8601 or int ms, found {_short(start)}")
    elif start is not None and not 0 < start < 4_102_444_800_000:
        reading.problem("embedded.start", f"must be ms between 1970 and 2100, found {start}")


def _check_url(key: str, url: str, schemes: Sequence[str], reading: _Reading) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
        secret = bool(parts.username or parts.password or parts.query)
    except ValueError:
        good, secret = False, False
    if not good:
        reading.problem(key, f"must be a URL with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    elif secret:
        reading.problem(key, "must not hold a user name, a password or a query: market data needs no key")


def _check_ca_file(config: Config, reading: _Reading) -> None:
    if config.ca_file is None:
        return
    if not config.path(config.ca_file).is_file():
        reading.problem("ca_file", f"no such file: {_short(config.ca_file)}")
        return
    try:
        ssl_context(config.path(config.ca_file))
    except NetworkError as error:
        reading.problem("ca_file", str(error))


def _check_group(store: Store, reading: _Reading) -> None:
    if store.group is None:
        return
    try:
        grp.getgrnam(store.group)
    except (KeyError, ValueError):
        hint = _nearest(store.group, (entry.gr_name for entry in grp.getgrall()))
        reading.problem("store.group", f"there is no group {_short(store.group)} on this machine{hint}")
    if re.fullmatch(r"0?600", store.mode):
        reading.warning("store.group", 'has no effect with mode "0600": a group needs "0640"')


def _check_proxy(config: Config, reading: _Reading) -> None:
    proxy, exchange = config.proxy, config.exchange
    if proxy is None:
        return
    if proxy == "env":
        urls = ["https://", "wss://"]
        if isinstance(exchange, Hosts):
            streams = [exchange.stream] if isinstance(exchange.stream, str) else exchange.stream
            urls = [exchange.rest, *streams]
        try:
            for url in urls:
                proxy_for(proxy, url)
        except ValueError as error:
            reading.problem("proxy", f"the environment's: {error}")
        return
    try:
        parts = urlsplit(proxy)
        good = parts.scheme in PROXY_SCHEMES and bool(parts.hostname) and bool(parts.port)
        parse_proxy(proxy)
    except ValueError:
        good = False
    if good and parts.scheme != "http":
        try:
            require_socks()
        except Unsupported as error:
            reading.problem("proxy", str(error))
    if not good:
        schemes = ", ".join(f"{scheme}://host:port" for scheme in PROXY_SCHEMES)
        reading.problem(
            "proxy", f'must be {schemes}, "env" or null (value not shown: it may hold a password)'
        )


def _check_alerts(config: Config, reading: _Reading) -> None:
    found = read_channels(config.dingding, config.msg_sender, config.alerts, None)
    for key, text in found.problems:
        reading.problem(key, text)
    for key, text in found.warnings:
        reading.warning(key, text)
    for key, text in found.unknown:
        if reading.strict:
            reading.problem(key, text)
        else:
            reading.warning(key, f"{text}; ignored")


def _check_later(config: Config, reading: _Reading) -> None:
    """What is accepted, but not what its writer may think."""
    if config.funding_rate and config.trade.market == "spot":
        reading.warning("funding_rate", "spot has no funding rates: taken as false")
    length_ms = INTERVALS_MS[_interval_name(config.interval)]
    if config.candle_close_timeout_sec * 1e3 >= length_ms:
        reading.warning(
            "candle_close_timeout_sec",
            f"{config.candle_close_timeout_sec:g} s is not shorter than a bar of {config.interval}:"
            f" {length_ms / 2e3:g} s is used",
        )


def _normal(config: Config) -> Config:
    """The config with BMAC's other spellings resolved and the relations between values kept."""
    interval = _interval_name(config.interval)
    kept = config.keep_symbols
    return msgspec.structs.replace(
        config,
        interval=interval,
        funding_rate=config.funding_rate and config.trade.market != "spot",
        keep_symbols=None if kept is None else list(dict.fromkeys(kept)),
        resample=[
            msgspec.structs.replace(target, interval=_made_name(target.interval))
            for target in config.resample
        ],
        candle_close_timeout_sec=(
            config.candle_close_timeout_sec
            if config.candle_close_timeout_sec * 1e3 < INTERVALS_MS[interval]
            else INTERVALS_MS[interval] / 2e3
        ),
    )


def _interval_name(interval: str) -> str:
    """BMAC also took pandas' letters T and H: 5T is 5m, 4H is 4h."""
    if match := re.fullmatch(r"(\d{1,3})([TH])", interval):
        return match[1] + {"T": "m", "H": "h"}[match[2]]
    return interval


def _made_name(interval: str) -> str:
    """The one name of a resampled store's interval: 60m and 1H are 1h."""
    name = _interval_name(interval)
    ms = length_ms(name)
    return name if ms is None else interval_name(ms)


def _same_length(interval: str) -> str:
    """60m is 1h, 24h is 1d: the name Binance has for it, as a hint; '' if there is none."""
    if match := re.fullmatch(r"(\d{1,6})([smhdwTH])", interval):
        units = {"s": 1, "m": 60, "T": 60, "h": 3600, "H": 3600, "d": 86_400, "w": 604_800}
        length = int(match[1]) * units[match[2]] * 1000
        for name, ms in INTERVALS_MS.items():
            if ms == length:
                return f"; nearest: {name}"
    return ""


def _nearest(word: str, names: typing.Iterable[str]) -> str:
    """`; nearest: NAME`, or nothing if none is near."""
    options = list(names)
    lower = {name.lower(): name for name in options}
    found = difflib.get_close_matches(word.lower()[:100], lower, n=1, cutoff=0.5)
    return f"; nearest: {lower[found[0]]}" if found else ""


def _short(text: str) -> str:
    """A name from the file, quoted and bounded, control characters escaped."""
    shown = ascii(text) if not text.isprintable() else repr(text)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def _kind(value: object) -> str:
    """JSON's word for a value's type."""
    words = {dict: "an object", list: "a list", str: "a text", bool: "true/false", type(None): "null"}
    return words.get(type(value), "a number")
