"""resample_history: longer bars out of the long history, against the same minutes folded at once."""

from pathlib import Path

import numpy as np
import pytest

from bmac_stream.archive import DataSet
from bmac_stream.archive_file import STORE
from bmac_stream.archive_file import Rows as Minutes
from bmac_stream.errors import HistoryForeign
from bmac_stream.resample import fold, grid_of
from bmac_stream.resample_history import merged, older_bars
from bmac_stream.resample_store import Rows
from shm import Status

MINUTE, DAY = 60_000, 86_400_000
START = 20_000 * DAY
N = 1440


def minutes(n_days: int, seed: int) -> np.ndarray:
    return np.round(np.random.default_rng(seed).uniform(1, 100, (9, n_days * N)), 3)


def written(
    root: Path, symbols: dict[str, np.ndarray], *, holes: dict[int, Status] | None = None, skip: int = -1
) -> DataSet:
    """A data set of whole days. holes: minute -> ABSENT or PENDING, of all; day `skip` has no file."""
    data = DataSet(root, "usdt_perp", "1m", "embedded:rule")
    holes = holes or {}
    n_days = max(values.shape[1] for values in symbols.values()) // N
    for day in range(n_days):
        if day == skip:
            continue
        start = START + day * DAY
        index = np.array([i for i in range(day * N, day * N + N) if i not in holes])
        absent = np.array(
            [START + i * MINUTE for i, s in holes.items() if s == Status.ABSENT and i // N == day]
        )

        def rows(index: np.ndarray = index) -> list[Minutes]:
            return [
                Minutes.fresh(symbol, START + index * MINUTE, values[:, index], STORE)
                for symbol, values in sorted(symbols.items())
            ]

        with data.change(STORE, "test") as change:
            change.update(start, rows, dict.fromkeys(symbols, absent.astype(np.int64)))
            change.commit()
    return data


@pytest.mark.parametrize(
    ("interval", "offset"),
    [("1h", 0), ("1h", 15), ("4h", 7), ("1d", 0), ("1d", 360), ("45m", 20), ("32m", 0)],
)
def test_bars_over_files_and_holes(tmp_path: Path, interval: str, offset: int) -> None:
    values = {"AAA": minutes(4, 1), "BBB": minutes(4, 2)}
    holes = {70: Status.ABSENT, 1500: Status.PENDING, 3 * N: Status.ABSENT}
    data = written(tmp_path, values, holes=holes)
    grid = grid_of(MINUTE, 0, interval, offset)
    found = older_bars(data, grid, 0, START)
    assert found.keys() == values.keys()
    for symbol, bars in found.items():
        rows = np.vstack([values[symbol], np.full(4 * N, float(Status.BAR))])
        for i, status in holes.items():
            rows[:, i] = np.nan
            rows[-1, i] = float(status)
        # the first whole bar of the four days
        first = START // MINUTE
        g = -(-(first - grid.shift) // grid.n)
        skip = grid.first(g) - first
        m = (4 * N - skip) // grid.n
        expected, status = fold(rows[:, skip : skip + m * grid.n], grid.n)
        known = np.flatnonzero(status != Status.PENDING)  # what is unknown at the ends is left out
        part = slice(known[0], known[-1] + 1)
        assert bars.g == g + known[0]
        np.testing.assert_array_equal(bars.status, status[part])
        np.testing.assert_array_equal(bars.values, expected[part])


def test_a_day_without_a_file_and_one_that_is_damaged_are_pending(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = written(tmp_path, {"AAA": minutes(5, 1)}, skip=1)
    path = data.path_of(START + 3 * DAY)
    path.write_bytes(path.read_bytes()[:-1000])
    grid = grid_of(MINUTE, 0, "1h", 30)
    told: list[int] = []
    bars = older_bars(data, grid, 0, START, between=lambda: told.append(1))["AAA"]
    known = bars.status == Status.BAR
    by_day = [int(known[max(0, 24 * d - 0) : 24 * d + 24].sum()) for d in range(5)]
    assert by_day[0] >= 22 and by_day[1] <= 1 and by_day[2] >= 22 and by_day[3] <= 1 and by_day[4] >= 22
    assert "not used for longer bars" in caplog.text
    assert len(told) == 5


def test_only_what_is_asked_for_and_columns_that_it_does_not_have(tmp_path: Path) -> None:
    data = written(tmp_path, {"AAA": minutes(3, 1)})
    grid = grid_of(MINUTE, 0, "1h")
    bars = older_bars(data, grid, 0, START + 2 * DAY, n_columns=11)["AAA"]
    assert bars.g == grid.holding((START + 2 * DAY) // MINUTE)
    assert bars.values.shape == (24, 11)
    assert np.isnan(bars.values[:, 9:]).all()
    assert older_bars(data, grid, 0, START + 9 * DAY) == {}
    assert older_bars(DataSet(tmp_path / "none", "usdt_perp", "1m", "x"), grid, 0, 0) == {}


def test_other_sources_are_refused(tmp_path: Path) -> None:
    written(tmp_path, {"AAA": minutes(1, 1)})
    other = DataSet(tmp_path, "usdt_perp", "1m", "binance")
    with pytest.raises(HistoryForeign):
        older_bars(other, grid_of(MINUTE, 0, "1h"), 0, START)


def test_what_two_memories_know_is_put_together() -> None:
    bar, pending = int(Status.BAR), int(Status.PENDING)
    one = Rows(10, np.array([[1.0], [np.nan], [3.0]]), np.array([bar, pending, bar], np.uint8))
    other = Rows(9, np.array([[9.0], [8.0], [7.0]]), np.array([bar, bar, bar], np.uint8))
    both = merged(one, other)
    assert both is not None
    assert both.g == 9
    assert both.values[:, 0].tolist() == [9, 1, 7, 3]
    assert both.status.tolist() == [bar] * 4
    assert merged(one, None) is one
    assert merged(None, None) is None
