"""A bad config is told in full, at once, without a secret; BMAC v2's own files keep working."""

import grp
import itertools
import json
import os
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bmac_stream import config as module
from bmac_stream.bar import INTERVALS_MS
from bmac_stream.binance.markets import MARKETS, TRADE_TYPES
from bmac_stream.config import BMAC_KEYS, Config, Hosts, load_config, mask_url, secrets_of, stream_urls
from bmac_stream.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
GOOD = {"interval": "1m", "trade_type": "usdt_perp"}


def put(folder: Path, raw: object) -> Path:
    path = folder / "config.json"
    data = (
        raw if isinstance(raw, bytes) else raw.encode() if isinstance(raw, str) else json.dumps(raw).encode()
    )
    path.write_bytes(data)
    return path


def good(folder: Path, **keys: Any) -> Config:
    return load_config(put(folder, GOOD | keys))[0]


def problems(folder: Path, raw: object, strict: bool = False) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(put(folder, raw), strict)
    return caught.value.problems


# ------------------------------------------------------------------------------------------ files of BMAC


def test_bmacs_own_keys_have_bmacs_defaults(tmp_path: Path) -> None:
    config, warnings = load_config(put(tmp_path, GOOD))
    assert warnings == []
    assert {name: getattr(config, name) for name in BMAC_KEYS} == {
        "interval": "1m", "trade_type": "usdt_perp", "num_candles": 1500, "funding_rate": False,
        "keep_symbols": None, "save_type": "parquet", "http_timeout_sec": 5, "candle_close_timeout_sec": 15,
        "num_rest_fetchers": 8, "num_socket_listeners": 8, "dingding": None, "msg_sender": None,
    }  # fmt: skip
    assert config.exchange == "binance"
    assert config.store_name == "usdt_perp_1m"
    assert config.source == "binance"


def test_a_folder_holding_config_json_will_do(tmp_path: Path) -> None:
    put(tmp_path, GOOD)
    folder, file = load_config(tmp_path)[0], load_config(tmp_path / "config.json")[0]
    assert msgspec.structs.replace(folder, from_folder=False) == file
    assert folder.bmac_files_wanted, "BMAC's way of naming a configuration: BMAC's files"
    assert not file.bmac_files_wanted
    assert good(tmp_path, bmac_files=True).bmac_files_wanted


@pytest.mark.parametrize(
    ("target", "word"),
    [
        ({"interval": "1h"}, ""),
        ({"interval": "1h", "offset": 59}, ""),
        ({"interval": "1T"}, "multiple of 1m"),
        ({"interval": "3d"}, "at most 1d"),
        ({"interval": "7m"}, "must divide a day evenly, 7m does not; nearest: 6m and 8m"),
        ({"interval": "50m"}, "nearest: 48m and 1h"),
        ({"interval": "25h"}, "at most 1d, found 25h; nearest: 1d"),
        ({"interval": "1.5h"}, "no interval: a number of minutes or hours"),
        ({"interval": "45m", "offset": 45}, "0 to 44 minutes"),
        ({"interval": "60m"}, ""),
        ({"interval": "1H"}, ""),
        ({"interval": "1h", "offset": 60}, "0 to 59 minutes"),
        ({"interval": "1h", "name": "a b"}, "no store's name"),
        ({"interval": "1h", "name": "usdt_perp_1m"}, "taken"),
        ({"interval": "1h", "num_candles": 0}, "1 to 10000"),
    ],
)
def test_resampled_stores_are_checked(tmp_path: Path, target: dict[str, Any], word: str) -> None:
    if word:
        assert word in problems(tmp_path, GOOD | {"resample": [target]})[0]
        return
    config = good(tmp_path, resample=[target])
    name = "usdt_perp_1m.1h" + ("_59m" if "offset" in target else "")
    assert config.resampled_name(config.resample[0]) == name


@pytest.mark.parametrize(
    ("interval", "name"),
    [
        ("10m", "10m"),
        ("45T", "45m"),
        ("90m", "90m"),
        ("180m", "3h"),
        ("24m", "24m"),
        ("6h", "6h"),
        ("24h", "1d"),
    ],
)
def test_lengths_that_divide_a_day_have_one_name(tmp_path: Path, interval: str, name: str) -> None:
    config = good(tmp_path, resample=[{"interval": interval, "offset": 3}])
    assert config.resample[0].interval == name
    assert config.resampled_name(config.resample[0]) == f"usdt_perp_1m.{name}_3m"


def test_nearest_lengths_are_made_of_whole_bars(tmp_path: Path) -> None:
    raw = GOOD | {"interval": "5m", "resample": [{"interval": "50m"}]}
    assert "nearest: 45m and 1h" in problems(tmp_path, raw)[0]
    raw = GOOD | {"interval": "1d", "resample": [{"interval": "1h"}]}
    assert "none can be made of 1d" in problems(tmp_path, raw)[0]


def test_the_collector_s_own_interval_is_binance_s(tmp_path: Path) -> None:
    assert "no interval" in problems(tmp_path, GOOD | {"interval": "45m"})[0]


def test_two_stores_of_one_name_are_refused(tmp_path: Path) -> None:
    assert "taken" in problems(tmp_path, GOOD | {"resample": [{"interval": "60m"}, {"interval": "1h"}]})[0]
    assert "taken" in problems(tmp_path, GOOD | {"resample": [{"interval": "1h"}, {"interval": "1h"}]})[0]


def test_an_unknown_time_zone_is_refused(tmp_path: Path) -> None:
    assert good(tmp_path).ready_timezone == "Asia/Hong_Kong"
    assert "time zone" in problems(tmp_path, GOOD | {"ready_timezone": "Mars/Olympus"})[0]


def test_what_bmac_applied_int_to_may_be_text(tmp_path: Path) -> None:
    config = good(tmp_path, http_timeout_sec="7", num_rest_fetchers="3", num_candles="99")
    assert (config.http_timeout_sec, config.num_rest_fetchers, config.num_candles) == (7.0, 3, 99)


def test_every_key_of_bmac_is_taken_without_a_word(tmp_path: Path) -> None:
    raw = GOOD | {
        "funding_rate": True,
        "save_type": "feather",
        "dingding": {"error": {"access_token": "hunter2hunter2", "secret": "SECfeed"}},
        "msg_sender": {"type": "wechat_work", "error": {"webhook_url": "https://hook/abcdef"}},
    }
    config, warnings = load_config(put(tmp_path, raw))
    assert not warnings
    assert not any(secret in word for word in warnings for secret in ("hunter2", "SECfeed", "abcdef"))
    hidden = secrets_of(config)
    assert {"https://hook/abcdef", "abcdef", "hunter2hunter2", "SECfeed"} <= set(hidden)
    assert hidden == sorted(hidden, key=len, reverse=True), "a part is not hidden before the whole"


def test_alerts_are_read_with_the_rest(tmp_path: Path) -> None:
    raw = GOOD | {"alerts": [{"type": "feishu", "token": "abc"}, {"type": "telegrm"}, {"type": "feishu"}]}
    found = problems(tmp_path, raw)
    assert len(found) == 2
    assert "alerts[1].type" in found[0] and "nearest: telegram" in found[0]
    assert "alerts[2]: needs token or webhook_url" in found[1]
    odd = GOOD | {"alerts": [{"type": "feishu", "token": "abc", "colour": 1}]}
    assert any("colour" in word for word in load_config(put(tmp_path, odd))[1])
    with pytest.raises(ConfigError, match="colour"):
        load_config(put(tmp_path, odd), strict=True)


def test_spot_has_no_funding(tmp_path: Path) -> None:
    assert not good(tmp_path, trade_type="usdt_spot", funding_rate=True).funding_rate


def test_bmacs_other_spelling_of_intervals(tmp_path: Path) -> None:
    assert good(tmp_path, interval="5T").interval == "5m"
    assert good(tmp_path, interval="4H").interval == "4h"


@pytest.mark.parametrize("trade_type", TRADE_TYPES)
def test_every_trade_type_of_bmac_loads(tmp_path: Path, trade_type: str) -> None:
    config = good(tmp_path, trade_type=trade_type)
    assert config.market.name == TRADE_TYPES[trade_type].market
    assert config.store_name == f"{trade_type}_1m"


# ---------------------------------------------------------------------------------------- what is wrong


def test_all_problems_at_once_each_with_file_and_key(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        {
            "interval": "7x", "trade_type": "usdt_prep", "num_candles": True, "save_type": "feathr",
            "keep_symbols": ["btcusdt"], "exchange": "binanse", "weight_share": 2, "store": {"slack": "1"},
            "snapshot": [], "http_timeout_sec": 0,
        },
    )  # fmt: skip
    keys = {line.split(": ")[1] for line in found}
    assert keys == {
        "interval", "trade_type", "num_candles", "save_type", "keep_symbols", "exchange", "weight_share",
        "store.slack", "snapshot", "http_timeout_sec",
    }  # fmt: skip
    assert all(line.startswith("config.json: ") for line in found)


@pytest.mark.parametrize(
    ("keys", "key", "nearest"),
    [
        ({"trade_type": "usdt_prep"}, "trade_type", "usdt_perp"),
        ({"interval": "60m"}, "interval", "1h"),
        ({"interval": "24h"}, "interval", "1d"),
        ({"interval": "15min"}, "interval", "15m"),
        ({"interval": "1M"}, "interval", "1w"),
        ({"interval": "1s"}, "interval", "1m"),
        ({"save_type": "parket"}, "save_type", "parquet"),
        ({"exchange": "embeded"}, "exchange", "embedded"),
        ({"keep_symbols": ["btcusdt"]}, "keep_symbols", "'BTCUSDT'"),
    ],
)
def test_the_nearest_valid_name_is_told(tmp_path: Path, keys: dict[str, Any], key: str, nearest: str) -> None:
    (found,) = problems(tmp_path, GOOD | keys)
    assert f": {key}: " in found
    assert f"nearest: {nearest}" in found


def test_a_month_is_refused_by_name(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, GOOD | {"interval": "1M"})
    assert "1M has no fixed length" in found


@pytest.mark.parametrize("interval", INTERVALS_MS)
def test_every_interval_loads_where_it_exists(tmp_path: Path, interval: str) -> None:
    assert good(tmp_path, trade_type="usdt_spot", interval=interval).interval_ms == INTERVALS_MS[interval]
    if interval == "1s":
        assert "spot only" in problems(tmp_path, GOOD | {"interval": "1s"})[0]
    else:
        assert good(tmp_path, trade_type="coin_perp", interval=interval).interval == interval


def test_an_unknown_key_is_a_warning_and_with_strict_an_error(tmp_path: Path) -> None:
    raw = GOOD | {"num_candels": 5, "store": {"naem": "x"}}
    _, warnings = load_config(put(tmp_path, raw))
    assert warnings == [
        "config.json: 'num_candels': no such key; nearest: num_candles; ignored",
        "config.json: store.'naem': no such key; nearest: name; ignored",
    ]
    assert problems(tmp_path, raw, strict=True) == [
        "config.json: 'num_candels': no such key; nearest: num_candles",
        "config.json: store.'naem': no such key; nearest: name",
    ]


def test_a_misspelled_key_is_told_beside_the_missing_one(tmp_path: Path) -> None:
    found = problems(tmp_path, {"interval": "1m", "trade_tpye": "usdt_perp"})
    assert found[0].endswith("trade_type: is required and missing")
    assert "nearest: trade_type" in found[1]


@pytest.mark.parametrize("n", [1, 10_000])
def test_num_candles_at_its_bounds(tmp_path: Path, n: int) -> None:
    assert good(tmp_path, num_candles=n).num_candles == n


@pytest.mark.parametrize("n", [0, -5, 10_001, 1.5, None, "many", True])
def test_num_candles_beyond_its_bounds(tmp_path: Path, n: object) -> None:
    (found,) = problems(tmp_path, GOOD | {"num_candles": n})
    assert "num_candles" in found


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "one JSON object"),
        (b"null", "one JSON object"),
        (b'{"interval": NaN}', "NaN"),
        (b"\xff\xfe{\x00", "not UTF-8"),
        (b"[" * 200_000, "too deep"),
        (b'{"num_candles": ' + b"9" * 10_000 + b"}", "not a usable"),
        (b" " * (1 << 20) + b"{}", "at most"),
    ],
)
def test_files_that_are_no_config(tmp_path: Path, raw: bytes, told: str) -> None:
    (found,) = problems(tmp_path, raw)
    assert told in found
    assert len(found) < 300


def test_a_key_given_twice_is_told_with_all_the_rest(tmp_path: Path) -> None:
    raw = (
        b'{"interval": "7x", "trade_type": "usdt_prep", "interval": "7y", "store": {"slack": 1, "slack": 2}}'
    )
    found = problems(tmp_path, raw)
    assert {line.split(": ")[1] for line in found} == {
        "key 'interval'", "key 'slack'", "interval", "trade_type", "store.slack"
    }  # fmt: skip


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    assert load_config(put(tmp_path, b"\xef\xbb\xbf" + json.dumps(GOOD).encode()))[1] == []


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_config(tmp_path / "nothing.json")
    with pytest.raises(ConfigError, match=r"config\.json: no such file"):
        load_config(tmp_path)


@pytest.mark.parametrize(
    "keys",
    [
        {"proxy": "http://user:s3cretpass@:80"},
        {"proxy": "ftp://user:s3cretpass@host:80"},
        {"proxy": "http://user:s3cretpass@host:notaport"},
        {"proxy": ["http://user:s3cretpass@host:80"]},
        {"dingding": "s3cretpass"},
        {"msg_sender": ["s3cretpass"]},
        {"dingding": {"error": {"access_token": "s3cret pass"}}},
        {"msg_sender": {"type": "s3cretpass", "error": {"webhook_url": "s3cretpass"}}},
        {"alerts": [{"type": "feishu", "token": "s3cret pass", "secret": ["s3cretpass"]}]},
        {"alerts": [{"type": "webhook", "url": "ftp://h/s3cretpass"}]},
        {"exchange": {"rest": "http://user:s3cretpass@host", "stream": "ws://h"}},
        {"exchange": {"rest": "http://host", "stream": "ws://h/?key=s3cretpass"}},
    ],
)
def test_no_secret_is_echoed(tmp_path: Path, keys: dict[str, Any]) -> None:
    found = problems(tmp_path, GOOD | keys)
    assert found
    assert not any("s3cret" in line for line in found)


def test_secrets_are_known_to_whoever_logs(tmp_path: Path) -> None:
    config = good(tmp_path, proxy="socks5://me:s3cretpass@10.0.0.1:1080")
    assert "s3cretpass" in secrets_of(config)
    assert mask_url(config.proxy or "") == "socks5://***@10.0.0.1:1080"
    assert secrets_of(good(tmp_path, proxy="socks5://10.0.0.1:1080")) == []


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://h:80/path?x=1", "http://h:80"),
        ("http://u@h", "http://***@h"),
        ("nonsense s3cret", "(not shown)"),
        ("http://u:p@h:99999999", "(not shown)"),
    ],
)
def test_masked_urls(url: str, shown: str) -> None:
    assert mask_url(url) == shown


# -------------------------------------------------------------------------------------------- exchange


def test_hosts_of_ones_own(tmp_path: Path) -> None:
    config = good(
        tmp_path, exchange={"rest": "http://127.0.0.1:80", "stream": ["ws://a", "ws://b"], "rate": 60}
    )
    assert isinstance(config.exchange, Hosts)
    assert config.rate == 60
    assert config.source == "custom:127.0.0.1:80"
    named = good(tmp_path, exchange={"rest": "http://h", "stream": "ws://h", "source": "mine"})
    assert named.source == "mine"


def test_a_stream_url_without_a_path_gets_the_markets_own() -> None:
    assert stream_urls(MARKETS["usdm"], "ws://h:1/") == ("ws://h:1/market",)
    assert stream_urls(MARKETS["coinm"], ["ws://h:1"]) == ("ws://h:1", "ws://h:1/market")
    assert stream_urls(MARKETS["spot"], "ws://h:1") == ("ws://h:1",)
    assert stream_urls(MARKETS["usdm"], ["ws://h/x/", "ws://h"]) == ("ws://h/x", "ws://h/market")


def test_the_embedded_exchange_says_itself_what_it_is(tmp_path: Path) -> None:
    config = good(tmp_path, exchange="embedded", embedded={"rate": 30, "data": "."})
    assert (config.source, config.rate, config.path(".")) == (None, 30, tmp_path)


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ({"exchange": {"rest": "http://h"}}, "exchange.stream"),
        ({"exchange": {"rest": "ws://h", "stream": "ws://h"}}, "exchange.rest"),
        ({"exchange": {"rest": "http://h", "stream": []}}, "exchange.stream"),
        ({"exchange": {"rest": "http://h", "stream": ["http://h"]}}, "exchange.stream"),
        ({"exchange": {"rest": "http://h", "stream": "ws://h", "rate": 0}}, "exchange.rate"),
        ({"embedded": {"data": "nowhere"}}, "embedded.data"),
        ({"embedded": {"start": "tomorrow"}}, "embedded.start"),
        ({"embedded": {"start": -1}}, "embedded.start"),
        ({"ca_file": "nowhere.pem"}, "ca_file"),
        ({"store": {"name": "../x"}}, "store.name"),
        ({"store": {"mode": "0666"}}, "store.mode"),
        ({"store": {"mode": "rw"}}, "store.mode"),
        ({"store": {"group": "no-such-group", "mode": "0640"}}, "store.group"),
        ({"ca_file": "config.json"}, "ca_file"),
        ({"proxy": "https://h:3128"}, "proxy"),
        ({"proxy": "http://h:3128/path"}, "proxy"),
        ({"proxy": "socks5://h:1080?x=1"}, "proxy"),
        ({"keep_symbols": []}, "keep_symbols"),
        ({"keep_symbols": ["BTC/USDT"]}, "keep_symbols"),
    ],
)
def test_impossible_values(tmp_path: Path, keys: dict[str, Any], key: str) -> None:
    (found,) = problems(tmp_path, GOOD | keys)
    assert f": {key}: " in found


def test_a_proxy_of_the_environment_is_looked_at_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "ftp://me:s3cretpass@h:21")
    assert good(tmp_path).proxy is None, "nobody asked for it"
    (found,) = problems(tmp_path, GOOD | {"proxy": "env"})
    assert ": proxy: the environment's: " in found
    assert "s3cret" not in found
    plain = {"exchange": {"rest": "http://h", "stream": "ws://h"}}
    assert good(tmp_path, proxy="env", **plain).proxy == "env", "that variable is not the one that counts"
    found = problems(tmp_path, GOOD | plain | {"proxy": "env", "trade_type": "usdt_prep"})[0]
    assert "trade_type" in found


def test_a_missing_extra_is_told_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bmac_stream.binance.transport.find_spec", lambda name: None)
    (found,) = problems(tmp_path, GOOD | {"proxy": "socks5://h:1080"})
    assert "socks" in found


def test_a_group_that_could_not_read_is_told(tmp_path: Path) -> None:
    name = grp.getgrgid(os.getgid()).gr_name
    (warning,) = load_config(put(tmp_path, GOOD | {"store": {"group": name}}))[1]
    assert "0640" in warning
    assert good(tmp_path, store={"group": name, "mode": "0640"}).store.group == name


def test_the_close_timeout_is_shorter_than_the_bar(tmp_path: Path) -> None:
    config, warnings = load_config(put(tmp_path, {"interval": "1s", "trade_type": "usdt_spot"}))
    assert config.candle_close_timeout_sec == 0.5
    assert len(warnings) == 1


def test_non_ascii_symbols_are_symbols(tmp_path: Path) -> None:
    assert good(tmp_path, keep_symbols=["币安人生USDT"]).keep_symbols == ["币安人生USDT"]


# --------------------------------------------------------------------------------------- the file itself


def keys_of(kind: type) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        if field.name not in ("base_dir", "config_file", "from_folder"):
            default = field.default
            if field.default_factory is not msgspec.NODEFAULT:
                default = field.default_factory()
            nested = isinstance(default, msgspec.Struct)
            found[field.name] = keys_of(type(default)) if nested else default
    return found


def test_the_full_example_shows_every_key_with_its_default() -> None:
    text = (ROOT / "examples" / "full.json").read_text("utf-8")
    raw = json.loads(text)
    wanted = keys_of(Config) | {"interval": "1m", "trade_type": "usdt_perp"}
    assert raw == wanted
    assert list(raw) == list(wanted), "same order as in the struct"


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.json")), ids=lambda path: path.name)
def test_every_example_loads_without_a_warning(path: Path) -> None:
    assert load_config(path, strict=True)[1] == []


def test_every_field_has_a_comment_before_it() -> None:
    lines = Path(module.__file__).read_text("utf-8").splitlines()
    inside = False
    for before, line in itertools.pairwise(lines):
        if line.startswith("class "):
            inside = "msgspec.Struct" in line
        elif line.startswith(("def ", "_", "    @property")):
            inside = False
        if inside and re.match(r"    [a-z_]+: ", line):
            assert before.startswith("    # "), line


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.dictionaries(st.sampled_from([field.name for field in msgspec.structs.fields(Config)]), json_values)
)
def test_whatever_the_values_only_a_config_error(tmp_path: Path, raw: dict[str, Any]) -> None:
    try:
        load_config(put(tmp_path, json.dumps(raw).encode("utf-8", "surrogatepass")))
    except ConfigError as error:
        assert all(len(line) < 1000 for line in error.problems)


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=200))
def test_whatever_the_bytes_only_a_config_error(tmp_path: Path, raw: bytes) -> None:
    with pytest.raises(ConfigError):
        load_config(put(tmp_path, raw))
