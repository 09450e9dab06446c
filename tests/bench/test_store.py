"""bench/store.py in its smallest size: every contender runs and carries the same bars. Nothing is timed."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_contenders_agree() -> None:
    process = subprocess.Popen(
        [sys.executable, "bench/store.py", "--agree"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    out, err = process.communicate(timeout=150)
    assert process.returncode == 0, out + err
    assert "contenders agree" in out
    for name in ("shm_spin", "shm_blocking", "shm_asyncio", "shm_jit_to_jit", "multiprocessing.Queue"):
        assert name in out
    assert not list(Path("/dev/shm").glob(f"bmac.bench-{process.pid}-*")), "something was left behind"
