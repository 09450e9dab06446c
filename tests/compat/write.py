"""Run directories of every trade_type, as a user of BMAC gets them, and what the exchange says it had.

    python tests/compat/write.py OUT

One embedded exchange serves all markets; one collector per trade_type is started on a folder with BMAC's
config.json. Beside it a second process writes the same store as feather, under BMAC's alias if there is one.
OUT then holds `runs/{name}/`, the run directories, and `truth/`: the exchange's own REST bodies.
tests/compat/reader.py, which knows nothing of this project, compares them.
"""

import calendar
import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

REPO: Final = Path(__file__).resolve().parents[2]
RATE: Final = 12.0
"""Exchange seconds per second: a bar of a minute takes five."""
NUM_CANDLES: Final = 150
BARS: Final = 3
"""Closes that every directory is written through, after its first complete one."""
START_S: Final = 150.0
RUN_S: Final = 60.0

API: Final = {"spot": "/api/v3", "usdm": "/fapi/v1", "coinm": "/dapi/v1"}
RUNS: Final = (
    ("spot", "usdt_spot", "usdt_spot"), ("spot", "usdc_spot", "usdc_spot"), ("spot", "btc_spot", "btc_spot"),
    ("usdm", "usdt_perp", "usdt_swap"), ("usdm", "usdt_deli", "usdt_deli"),
    ("usdm", "usdc_perp", "usdc_perp"), ("usdm", "btc_perp", "btc_perp"),
    ("coinm", "coin_perp", "coin_swap"), ("coinm", "coin_deli", "coin_deli"),
)  # fmt: skip
"""Market, the collector's trade_type (parquet), and that of the second process (feather): the aliases."""
FUNDING: Final = ("usdt_perp", "usdt_swap", "coin_perp")


def main(out: Path) -> None:
    runs, truth = out / "runs", out / "truth"
    for folder in (runs, truth):
        folder.mkdir(parents=True)
    processes: list[subprocess.Popen[Any]] = []
    polls: list[Poll] = []
    try:
        exchange = _start(
            "bmac_stream.simulator", "--markets=spot,usdm,coinm", f"--rate={RATE}", "--n_symbols=40",
            "--n_spot=20", "--n_coinm=6", "--listing_hours=0", "--hole_days=1", log=out / "exchange.log",
            pipe=True,
        )  # fmt: skip
        processes.append(exchange)
        assert exchange.stdout is not None
        markets = json.loads(exchange.stdout.readline())["markets"]
        polls = [
            Poll(markets[market]["rest"] + API[market] + "/premiumIndex") for market in ("usdm", "coinm")
        ]
        folders = []
        for market, trade_type, alias in RUNS:
            one, other = runs / trade_type, runs / f"{alias}_feather"
            _configure(one, markets[market], trade_type, trade_type, "parquet", out)
            _configure(other, markets[market], trade_type, alias, "feather", out)
            processes.append(_start("bmac_stream.collector", str(one), log=one / "log"))
            folders += [one, other]
        first: dict[Path, int] = {}
        deadline = time.monotonic() + START_S
        for folder in folders:  # the second writer starts when its store is there
            if folder.name.endswith("_feather"):
                more = "bmac_stream.bmac_files", str(folder), "--attach_timeout_s=60"
                processes.append(_start(*more, log=folder / "log"))
        while len(first) < len(folders):
            for folder in folders:
                if folder not in first and (at := complete(folder)):
                    first[folder] = at
            _check(processes, deadline, "no complete directory of", set(folders) - set(first))
        deadline = time.monotonic() + RUN_S
        late = set(folders)
        while late:
            late -= {folder for folder in late if complete(folder) >= first[folder] + BARS * 60_000}
            _check(processes, deadline, "no further bars in", late)
        for process in processes[1:]:
            process.send_signal(signal.SIGTERM)
        for process in processes[1:]:
            if (status := process.wait(20)) != 0:
                sys.exit(f"{process.args} ended with status {status}\n{_logs(folders)}")
        for poll in polls:
            poll.end()
        for market in API:
            _dump(
                markets[market]["rest"] + API[market],
                truth,
                market,
                {m: polls[i] for i, m in enumerate(("usdm", "coinm"))},
            )
    finally:
        for poll in polls:
            poll.end()
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def complete(folder: Path) -> int:
    """The newest run_time (ms) for which all data and ready files, exginfo's too, are there; 0: none."""
    config = json.loads((folder / "config.json").read_text())
    candles = folder / f"{config['trade_type']}_1m"
    ending = {"parquet": "pqt", "feather": "fea"}[config["save_type"]]
    times = [path.name[-21:-6] for path in candles.glob("*.ready")]
    info = [path.name[-21:-6] for path in (folder / "exginfo_1m").glob("exginfo_*.ready")]
    if not times or not info or len(times) != len(list(candles.glob(f"*.{ending}"))):
        return 0
    oldest = min(times)
    return calendar.timegm(time.strptime(oldest, "%Y%m%d_%H%M%S")) * 1000


class Poll:
    """Everything that /premiumIndex said, several times a period."""

    def __init__(self, url: str) -> None:
        self.bodies: list[Any] = []
        self._url, self._stop = url, threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.3):
            with contextlib.suppress(OSError):
                self.bodies.append(_get(self._url))

    def end(self) -> None:
        """Stop; may be called twice."""
        self._stop.set()
        self._thread.join()


def _configure(
    folder: Path, market: dict[str, str], store: str, trade_type: str, save_type: str, out: Path
) -> None:
    folder.mkdir()
    config = {
        # BMAC's keys
        "interval": "1m", "trade_type": trade_type, "num_candles": NUM_CANDLES, "save_type": save_type,
        "funding_rate": trade_type in FUNDING, "candle_close_timeout_sec": 40, "num_socket_listeners": 2,
        # and ours: where the exchange is
        "exchange": {**market, "rate": RATE, "source": "embedded:compat"},
        "store": {"directory": str(out), "name": store, "max_symbols": 64},
        "snapshot": {"enabled": False},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))


def _start(module: str, *arguments: str, log: Path, pipe: bool = False) -> subprocess.Popen[Any]:
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments], cwd=REPO, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if pipe else file, stderr=file,
        )  # fmt: skip


def _check(processes: list[subprocess.Popen[Any]], deadline: float, what: str, folders: set[Path]) -> None:
    ended = [process.args for process in processes if process.poll() is not None]
    if ended or time.monotonic() > deadline:
        names = ", ".join(sorted(folder.name for folder in folders))
        sys.exit(f"{what} {names}; ended: {ended}\n{_logs(sorted(folders))}")
    time.sleep(0.2)


def _logs(folders: list[Path]) -> str:
    return "\n".join((folder / "log").read_text("utf-8", "replace")[-1500:] for folder in folders)


def _dump(base: str, truth: Path, market: str, polls: dict[str, Poll]) -> None:
    """The exchange's bodies, as they are."""
    info = _get(f"{base}/exchangeInfo")
    klines = {}
    for entry in info["symbols"]:
        if entry.get("status", entry.get("contractStatus")) == "TRADING":
            name = entry["symbol"]
            klines[name] = _get(f"{base}/klines?symbol={quote(name)}&interval=1m&limit=400")
    bodies = {"exchangeInfo": info, "klines": klines}
    if market in polls:
        bodies["premiumIndex"] = polls[market].bodies
    for name, body in bodies.items():
        (truth / f"{market}_{name}.json").write_text(json.dumps(body))


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
