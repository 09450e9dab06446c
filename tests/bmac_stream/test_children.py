"""The collector's children: which there are, and that each is kept alive."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bmac_stream import children as module
from bmac_stream.children import Children, commands
from bmac_stream.config import Config, load_config


def config_of(folder: Path, **keys: Any) -> Config:
    path = folder / "config.json"
    path.write_text(json.dumps({"interval": "1m", "trade_type": "usdt_perp", **keys}))
    return load_config(path)[0]


def test_only_what_the_config_asks_for_is_started(tmp_path: Path) -> None:
    assert set(commands(config_of(tmp_path))) == {"recorder"}
    assert not commands(config_of(tmp_path, snapshot={"enabled": False}))
    whole = commands(
        config_of(tmp_path, bmac_files=True, history={"enabled": True}, resample=[{"interval": "1h"}])
    )
    assert set(whole) == {"recorder", "bmac files", "history", "resample"}
    for name in ("bmac files", "history", "resample"):
        assert whole[name][-1] == str(tmp_path / "config.json")


async def test_a_child_that_ends_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PAUSE_S", 0.01)
    said: list[str] = []
    ended: list[int] = []
    children = Children(
        {"c": [sys.executable, "-c", "print('hello'); raise SystemExit(7)"]},
        lambda name, line: said.append(name + line),
        lambda name, status: ended.append(status),
    )
    task = asyncio.create_task(children.keep("c"))
    async with asyncio.timeout(20):
        while len(ended) < 2:
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    children.kill()
    await children.end(5)
    assert said[:2] == ["chello", "chello"]
    assert ended[:2] == [7, 7]


async def test_a_child_that_does_not_end_is_killed(caplog: pytest.LogCaptureFixture) -> None:
    children = Children({"c": [sys.executable, "-c", "print(1, flush=True); import time; time.sleep(60)"]})
    child = children.all["c"]
    await child.start()
    await child.line()
    await children.end(0.2)
    assert not child.alive
    assert "c: ended with status -9" in caplog.text
