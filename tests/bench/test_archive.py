"""bench/archive.py: at a small size all layouts hold the same rows, for every reader."""

import pytest

pytestmark = pytest.mark.usefixtures("bench_modules")


def test_small_run(capsys: pytest.CaptureFixture[str]) -> None:
    import archive

    archive.main(symbols=6, days=2)
    out = capsys.readouterr().out
    assert "a day: " in out and out.count(" k ") == 6
