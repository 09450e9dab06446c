"""check: every finding that a BMAC user should hear of, from directories made as BMAC makes them."""

import fcntl
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bmac_stream.bar import COLUMNS
from bmac_stream.bmac_guard import LOCK_NAME
from bmac_stream.bmac_kit import candles as kit_candles
from bmac_stream.check import checks, main
from bmac_stream.cli import main as cli_main
from bmac_stream.doctor import Check

HONG_KONG = timezone(timedelta(hours=8))
MINUTE_MS = 60_000
CONFIG: dict[str, Any] = {"interval": "1m", "trade_type": "usdt_perp", "num_candles": 200}


def configured(base: Path, **changes: Any) -> Path:
    (base / "config.json").write_text(json.dumps({**CONFIG, "store": {"directory": str(base)}, **changes}))
    return base


def frame(n: int, end: datetime, name: str | None = "candle_end_time") -> pd.DataFrame:
    """BMAC's own candle frame, its last bar ending at `end`."""
    index = pd.date_range(end=end, periods=n, freq="1min", tz="UTC").as_unit("ns")
    made = pd.DataFrame({column: np.arange(float(n)) + 1 for column in COLUMNS}, index=index)
    made.index.name = name
    made.insert(0, "candle_begin_time", index - pd.Timedelta(minutes=1))
    return made


def bmac_files(base: Path, *symbols: str, zone: timezone = HONG_KONG, old: bool = True) -> Path:
    """A run directory as BMAC leaves it; `old`: nobody has written it lately."""
    folder = base / "usdt_perp_1m"
    folder.mkdir()
    end = datetime(2026, 3, 1, 12, 0)
    for symbol in symbols:
        path = folder / f"{symbol}.pqt"
        frame(200, end).to_parquet(path)
        stamp = end.replace(tzinfo=UTC).astimezone(zone).strftime("%Y%m%d_%H%M%S")
        (folder / f"{symbol}_{stamp}.ready").write_text("1772366400.1")
        if old:
            os.utime(path, (1_772_366_400, 1_772_366_400))
    return folder


def texts(found: list[Check], name: str, level: str | None = None) -> str:
    """What was said under that name."""
    return "\n".join(
        f"{one.found}\n{one.advice}" for one in found if one.name == name and level in (None, one.level)
    )


def levels(found: list[Check]) -> set[str]:
    return {one.level for one in found}


# ---- configs


def test_a_plain_config_will_work_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(str(configured(tmp_path))) == 0
    said = capsys.readouterr().out
    assert "Will work as it is." in said
    assert "usdt_perp_1m" in said


def test_json_has_stable_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(str(configured(tmp_path, trade_type="usdt_prep")), json=True) == 1
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == {"ok", "checks"}
    assert found["ok"] is False
    assert all(one.keys() == {"name", "level", "found", "advice"} for one in found["checks"])
    assert any("usdt_perp" in one["found"] for one in found["checks"]), "the nearest is named"


def test_every_problem_of_a_config_is_named_and_bmac_s_pitfall_with_24h(tmp_path: Path) -> None:
    found = checks(configured(tmp_path, interval="24h", num_candles=20_000))
    said = texts(found, "config", "fail")
    assert "interval" in said and "1d" in said and "num_candles" in said
    assert "failed at its first period" in texts(found, "interval", "warn")


@pytest.mark.parametrize(
    ("interval", "level", "says"),
    [
        ("5m", "ok", "same bars"),
        ("6h", "warn", "Hong Kong"),
        ("12h", "warn", "Hong Kong"),
        ("1d", "ok", "failed with it"),
        ("5T", "ok", "5m"),
    ],
)
def test_pitfalls_of_intervals(tmp_path: Path, interval: str, level: str, says: str) -> None:
    assert says in texts(checks(configured(tmp_path, interval=interval)), "interval", level)


def test_alerts_that_bmac_never_sent(tmp_path: Path) -> None:
    secret = "0123456789abcdef"
    found = checks(
        configured(
            tmp_path,
            dingding={"error": {"access_token": secret, "secret": secret}, "info": {"access_token": secret}},
            msg_sender={"type": "wechat_work"},
        )
    )
    assert "be ready for messages" in texts(found, "dingding", "ok")
    assert "info" in texts(found, "dingding", "warn")
    assert secret not in "\n".join(f"{one}" for one in found)


def test_a_misspelled_key_and_feather(tmp_path: Path) -> None:
    found = checks(configured(tmp_path, num_candels=3, save_type="feather"))
    assert "num_candles" in texts(found, "config", "warn")
    assert "no index" in texts(found, "save_type")


def test_bmac_s_other_keys_are_explained(tmp_path: Path) -> None:
    found = checks(configured(tmp_path, candle_close_timeout_sec="20", num_socket_listeners=3))
    assert "20 s after a close" in texts(found, "candle_close_timeout_sec")
    assert "3 connections" in texts(found, "num_socket_listeners")


def test_weight_and_memory_of_a_start(tmp_path: Path) -> None:
    found = checks(
        configured(
            tmp_path, num_candles=1500, keep_symbols=["BTCUSDT", "ETHUSDT"], resample=[{"interval": "1h"}]
        )
    )
    assert "2 symbols x 4 pages: weight 16 of 2400" in texts(found, "first start")
    assert "usdt_perp_1m.1h" in texts(found, "memory")
    assert "MiB free" in texts(found, "memory")


def test_memory_that_is_not_there(tmp_path: Path) -> None:
    found = checks(
        configured(tmp_path, num_candles=10_000, store={"directory": str(tmp_path), "max_symbols": 65_536})
    )
    assert "--shm-size" in texts(found, "memory", "fail")
    missing = checks(configured(tmp_path, store={"directory": str(tmp_path / "no")}))
    assert "is not there" in texts(missing, "memory", "fail")


# ---- run directories


def test_a_sound_run_directory(tmp_path: Path) -> None:
    base = configured(tmp_path)
    bmac_files(base, "BTCUSDT", "ETHUSDT", "币安人生USDT")
    found = checks(base)
    said = texts(found, "candle files", "ok")
    assert "3 files as BMAC writes them, 200 to 200 rows, up to 2026-03-01 12:00:00 UTC" in said
    assert "written by BMAC" in said
    assert "3 symbols" in texts(found, "first start")
    assert levels(found) == {"ok"}


def test_a_bar_that_closes_while_the_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = configured(tmp_path)
    folder = bmac_files(base, "BTCUSDT", "ETHUSDT")
    read = kit_candles.read_candles

    def written(path: Path, interval_ms: int | None = None) -> Any:
        if path.stem == "ETHUSDT":
            frame(200, datetime(2026, 3, 1, 12, 1)).to_parquet(path)
            os.utime(path, (1_772_366_400, 1_772_366_400))
            next(folder.glob("ETHUSDT_*.ready")).rename(folder / "ETHUSDT_20260301_200100.ready")
        return read(path, interval_ms)

    monkeypatch.setattr(kit_candles, "read_candles", written)
    assert levels(checks(base)) == {"ok"}


def test_files_that_are_cut_foreign_or_strange_are_named(tmp_path: Path) -> None:
    base = configured(tmp_path)
    folder = bmac_files(base, "BTCUSDT", "CUTUSDT", "ZONEUSDT", "FLOATUSDT", "NOREADY", "UTCUSDT")
    whole = (folder / "CUTUSDT.pqt").read_bytes()
    (folder / "CUTUSDT.pqt").write_bytes(whole[: len(whole) // 2])
    (folder / "EMPTYUSDT.pqt").write_bytes(b"")
    naive = frame(9, datetime(2026, 3, 1)).reset_index(drop=True)
    naive["candle_begin_time"] = naive["candle_begin_time"].dt.tz_localize(None)
    naive.to_parquet(folder / "ZONEUSDT.pqt")
    frame(9, datetime(2026, 3, 1)).astype({"volume": "float32"}).to_parquet(folder / "FLOATUSDT.pqt")
    frame(9, datetime(2026, 3, 1, 12)).reset_index(drop=True).to_feather(folder / "OLDUSDT.fea")
    (folder / "notes.txt").write_text("mine")
    next(folder.glob("NOREADY_*.ready")).unlink()
    (folder / "GONEUSDT_20260301_200000.ready").write_text("1")
    next(folder.glob("UTCUSDT_*.ready")).rename(folder / "UTCUSDT_20260301_120000.ready")
    next(folder.glob("BTCUSDT_*.ready")).rename(folder / "BTCUSDT_20260301_195900.ready")
    for path in folder.iterdir():
        os.utime(path, (1_772_366_400, 1_772_366_400))
    found = checks(base)
    said = texts(found, "candle files", "warn")
    for words in (
        ("CUTUSDT.pqt", "not a whole parquet file"),
        ("EMPTYUSDT.pqt", "empty"),
        ("ZONEUSDT.pqt", "without a zone"),
        ("FLOATUSDT.pqt", "expected float64, found float32"),
        ("other save_type", "OLDUSDT.fea"),
        ("no ready file of NOREADY",),
        ("without a readable data file", "GONEUSDT"),
        ("named in UTC", "UTCUSDT_20260301_120000.ready"),
        ("another time", "BTCUSDT_20260301_195900.ready"),
    ):
        assert all(word in said for word in words), (words, said)
    assert "notes.txt" in texts(found, "candle files", "ok")


@pytest.mark.parametrize(("age_s", "says"), [(0, "half written"), (60, "nobody is writing it")])
def test_what_is_said_of_a_file_that_is_not_whole(tmp_path: Path, age_s: float, says: str) -> None:
    """Half written is what is being written; a stray of last year is not, and no bar will replace it."""
    base = configured(tmp_path)
    folder = bmac_files(base, "BTCUSDT")
    path = folder / "notes-of-mine.pqt"
    path.write_bytes(b"not parquet")
    os.utime(path, (time.time() - age_s,) * 2)
    said = texts(checks(base), "candle files", "warn")
    assert "notes-of-mine.pqt: not a whole parquet file" in said and says in said
    assert ("move it away" in said) == (age_s > 0)


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    """A pipe under a symbol's name: who opens it waits for ever."""
    base = configured(tmp_path)
    folder = bmac_files(base, "BTCUSDT")
    os.mkfifo(folder / "PIPEUSDT.pqt")
    (folder / "DIRUSDT.pqt").mkdir()
    found = checks(base)
    assert levels(found) == {"ok"}
    assert "not BMAC's: DIRUSDT.pqt, PIPEUSDT.pqt" in texts(found, "candle files", "ok")


def test_files_of_the_first_live_bar_have_no_index_name(tmp_path: Path) -> None:
    """BMAC's index has no name after the first bar of a stream; such a file is as good."""
    base = configured(tmp_path)
    folder = bmac_files(base, "BTCUSDT")
    frame(200, datetime(2026, 3, 1, 12), None).to_parquet(folder / "BTCUSDT.pqt")
    os.utime(folder / "BTCUSDT.pqt", (1_772_366_400, 1_772_366_400))
    assert levels(checks(base)) == {"ok"}


def test_another_interval_s_file_under_this_name(tmp_path: Path) -> None:
    base = configured(tmp_path)
    folder = base / "usdt_perp_5m"
    bmac_files(base, "BTCUSDT").rename(folder)
    configured(tmp_path, interval="5m")
    found = checks(base)
    assert "300000 ms" in texts(found, "candle files", "warn")


def test_a_running_bmac_is_seen(tmp_path: Path) -> None:
    base = configured(tmp_path)
    cli = tmp_path / "cli.py"
    cli.write_text("import time\ntime.sleep(60)\n")
    bmac = subprocess.Popen([sys.executable, str(cli), "bmac", "start", str(base)])
    try:
        found = checks(base)
    finally:
        bmac.kill()
        bmac.wait()
    said = texts(found, "running BMAC", "fail")
    assert f"process {bmac.pid}" in said
    assert texts(checks(base), "running BMAC", "fail") == ""


def test_fresh_files_of_somebody_else(tmp_path: Path) -> None:
    base = configured(tmp_path)
    bmac_files(base, "BTCUSDT", old=False)
    assert "not by this project" in texts(checks(base), "running BMAC", "warn")


def test_our_own_collector_on_it_is_no_trouble(tmp_path: Path) -> None:
    base = configured(tmp_path)
    folder = bmac_files(base, "BTCUSDT")
    with (folder / LOCK_NAME).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "a collector of this project" in texts(checks(base), "writer", "ok")


def test_nothing_is_written_or_touched(tmp_path: Path) -> None:
    base = configured(tmp_path)
    bmac_files(base, "BTCUSDT")

    def state() -> dict[str, tuple[int, int]]:
        return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in sorted(base.rglob("*"))}

    before = state()
    checks(base)
    assert state() == before


# ---- factors

MODULES = {
    "PctChg": "def signal(*args):\n    df, n, name = args[0], args[1], args[2]\n"
    "    df[name] = df['close'].pct_change(n)\n    return df\n",
    "Mine": "def signal(df, n, factor_name):\n    df[factor_name] = df['volume'].rolling(n).sum()\n"
    "    return df\n",
    "Many": "def signal_multi_params(df, param_list):\n"
    "    return {str(p): df['close'].rolling(int(p)).mean() for p in param_list}\n",
    "Text": "def signal(df, n, factor_name):\n    a, b = map(int, n.split(','))\n"
    "    df[factor_name] = df['close'].rolling(a).mean() - df['close'].rolling(b).mean()\n    return df\n",
    "Broken": "def signal(df, n, factor_name)\n    return df\n",
    "Lacks": "import a_module_nobody_has\n\ndef signal(df, n, factor_name):\n    return df\n",
    "Raises": "def signal(df, n, factor_name):\n    df[factor_name] = df['no_such_column']\n    return df\n",
    "None_": "x = 1\n",
    "Empty": "def signal(df, n, factor_name):\n    df[factor_name] = df['close'] * float('nan')\n"
    "    return df\n",
    "Bias": "def signal(df, n, factor_name):\n    df[factor_name] = df['close'].rolling(n).max()\n"
    "    return df\n",
}  # fmt: skip


@pytest.fixture(scope="module")
def factor_checks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Check]:
    base = configured(tmp_path_factory.mktemp("bmac"))
    (base / "factor").mkdir()
    for name, text in MODULES.items():
        (base / "factor" / f"{name}.py").write_text(text)
    return {one.name.removeprefix("factor "): one for one in checks(base) if one.name.startswith("factor ")}


@pytest.mark.parametrize(
    ("name", "level", "says"),
    [
        ("PctChg", "ok", "the engine has the same as bmac:PctChg"),
        ("Mine", "ok", "pandas only"),
        ("Many", "ok", "works with parameter 20"),
        ("Text", "ok", "works with parameter '5,20'"),
        ("Broken", "fail", "line 1"),
        ("Lacks", "fail", "a_module_nobody_has"),
        ("Raises", "fail", "no_such_column"),
        ("None_", "fail", "found neither"),
        ("Empty", "warn", "every value is NaN"),
        ("Bias", "ok", "another formula"),
    ],
)
def test_what_is_said_of_a_factor(factor_checks: dict[str, Check], name: str, level: str, says: str) -> None:
    one = factor_checks[name]
    assert one.level == level, one
    assert says in one.found, one


def test_a_module_that_ends_the_process(tmp_path: Path) -> None:
    folder = tmp_path / "factors"
    folder.mkdir()
    (folder / "Quits.py").write_text("import os\nos._exit(7)\n")
    found = checks(tmp_path)
    assert [one.level for one in found] == ["warn"]
    assert "ended the process" in found[0].found


def test_a_module_that_speaks_when_imported(tmp_path: Path) -> None:
    folder = tmp_path / "factor"
    folder.mkdir()
    (folder / "Chatty.py").write_text("print('hello')\n" + MODULES["Mine"])
    assert [one.level for one in checks(tmp_path)] == ["ok"]


# ---- the command


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli_main(["check", str(configured(tmp_path))]) == 0
    assert cli_main(["check", str(tmp_path / "nowhere")]) == 1
    assert "no such file" in capsys.readouterr().out.lower()
    assert cli_main(["check", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
