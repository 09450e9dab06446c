"""bmac_kit.legacy: pandas modules in every form that community has written them."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bmac_stream.bmac_kit import legacy
from bmac_stream.errors import LegacyFactorError

NUMBERS = itertools.count()


class Package:
    """A folder of factor modules with a name of its own."""

    def __init__(self, folder: Path) -> None:
        self.name = f"factor_{next(NUMBERS)}"
        self.folder = folder / self.name
        self.folder.mkdir()

    def add(self, name: str, text: str) -> Path:
        path = self.folder / f"{name}.py"
        path.write_text(text)
        return path

    def find(self, name: str) -> legacy.LegacyFactor:
        found = legacy.find(self.name, name)
        assert found is not None
        return found


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    monkeypatch.syspath_prepend(str(tmp_path))
    return Package(tmp_path)


@pytest.fixture
def frame() -> pd.DataFrame:
    index = pd.date_range("2026-11-22", periods=30, freq="5min", tz="UTC")
    close = 100.0 + np.arange(30.0)
    return pd.DataFrame({"close": close, "trade_num": 2.0 * close}, index=index)


FORMS = {
    "three": "def signal(df, n, factor_name):\n"
    "    df[factor_name] = df['close'].pct_change(n)\n    return df",
    "star": "def signal(*args):\n    df = args[0]\n    n = args[1]\n    factor_name = args[2]\n"
    "    df[factor_name] = df['close'].pct_change(n)\n    return df",
    "star unpacked": "def signal(*args):\n"
    "    df, n, name = args\n    df[name] = df['close'].pct_change(n)\n    return df",
    "four": "def signal(df, n, diff_num, factor_name):\n    assert diff_num == 0\n"
    "    df[factor_name] = df['close'].pct_change(n)\n    return df",
    "four with defaults": "def signal(df, n, diff_num=0, factor_name='x'):\n"
    "    df[factor_name] = df['close'].pct_change(n)\n    return df",
    "four in a star": "def signal(*args):\n    df = args[0]\n    n = args[1]\n    diff_num = args[2]\n"
    "    factor_name = args[3]\n    assert diff_num == 0\n"
    "    df[factor_name] = df['close'].pct_change(n)\n    return df",
    "four unpacked": "def signal(*args):\n"
    "    df, n, diff, name = args\n    df[name] = df['close'].pct_change(n)\n"
    "    return df",
    "a list": "def signal(*args):\n    df = args[0]\n    n = args[1][0]\n    name = args[2]\n"
    "    df[name] = df['close'].pct_change(n)\n    return df",
    "more by keyword": "def signal(df, n, factor_name, extra=None):\n"
    "    df[factor_name] = df['close'].pct_change(n)\n    return df",
    "returns nothing": "def signal(df, n, factor_name):\n    df[factor_name] = df['close'].pct_change(n)",
    "a series": "def signal(df, n, factor_name):\n    return df['close'].pct_change(n)",
    "drops rows": "def signal(df, n, factor_name):\n    df[factor_name] = df['close'].pct_change(n)\n"
    "    return df.dropna()",
    "resets the index": "def signal(df, n, factor_name):\n    df = df.reset_index(drop=True)\n"
    "    df[factor_name] = df['close'].pct_change(n)\n    return df",
    "many": "def signal_multi_params(df, param_list):\n"
    "    return {str(n): df['close'].pct_change(n) for n in param_list}",
    "both": "def signal(df, n, factor_name):\n    raise AssertionError\n\n"
    "def signal_multi_params(df, param_list):\n"
    "    return {str(n): df['close'].pct_change(n).to_numpy() for n in param_list}",
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_signal(package: Package, frame: pd.DataFrame, form: str) -> None:
    package.add("PctChg", FORMS[form])
    before = frame.copy()
    found = package.find("PctChg").series(frame, [3, 7])
    assert list(found) == ["PctChg_3", "PctChg_7"]
    for n in (3, 7):
        expected = frame["close"].pct_change(n)
        pd.testing.assert_series_equal(found[f"PctChg_{n}"], expected, check_names=False)
    pd.testing.assert_frame_equal(frame, before)


def test_parameters_are_handed_over_as_they_were_written(package: Package, frame: pd.DataFrame) -> None:
    package.add(
        "Two",
        "def signal(df, n, name):\n    assert type(n) is str\n    a, b = map(int, n.split(','))\n"
        "    df[name] = df['close'].rolling(a).mean() - b\n    return df",
    )
    found = package.find("Two").series(frame, ["5,20"])
    assert list(found) == ["Two_5,20"]
    assert found["Two_5,20"].iloc[-1] == frame["close"].tail(5).mean() - 20


@pytest.mark.parametrize(
    "spoils",
    [
        "df['trade_num'] = 0.0",
        "df.loc[:, 'trade_num'] = 0.0",
        "df.iloc[3:, 1] = 0.0",
        "df['trade_num'] *= 0",
        "df.drop(columns='trade_num', inplace=True)",
        "df['scratch'] = 1",
        "df.rename(columns={'trade_num': 'x'}, inplace=True)",
        "df.index = range(len(df))",
        "np.asarray(df['trade_num']).flags.writeable and np.asarray(df['trade_num']).fill(0)",
        "v = df['trade_num'].values\n    v.flags.writeable and v.fill(0)",
    ],
)
def test_each_call_has_a_copy_of_its_own(package: Package, frame: pd.DataFrame, spoils: str) -> None:
    """Scratch columns and overwritten candles reach neither the next parameter nor the caller."""
    package.add(
        "Spoiler",
        "import numpy as np\n\ndef signal(df, n, name):\n"
        f"    assert list(df.columns) == ['close', 'trade_num'] and df['trade_num'].iloc[-1] == 258.0\n"
        f"    x = df['close'] + n\n    {spoils}\n    return x.to_numpy()",
    )
    before = frame.copy()
    found = package.find("Spoiler").series(frame, [1, 2, 3])
    pd.testing.assert_frame_equal(frame, before)
    assert frame["trade_num"].to_numpy().tolist() == (2 * frame["close"]).tolist()
    assert [found[f"Spoiler_{n}"].iloc[0] for n in (1, 2, 3)] == [101, 102, 103]


def test_no_module_is_none(package: Package) -> None:
    assert legacy.find(package.name, "Nothing") is None
    assert legacy.find("no_such_package_anywhere", "PctChg") is None
    assert legacy.find(package.name, "../PctChg") is None and legacy.find(package.name, "") is None


UNREADABLE = {
    "syntax": ("x = 1\n\ndef signal(df n):\n", r"SyntaxError in .*Bad\.py, line 3"),
    "raises": ("x = 1\ny = 1 / 0\n", r"ZeroDivisionError in .*Bad\.py, line 2: division"),
    "imports": (
        "import pandas\nimport no_such_thing\n",
        r"ModuleNotFoundError in .*Bad\.py, line 2: .*no_such_thing",
    ),
    "nothing": ("x = 1\n", r"Bad\.py\): expected a function `signal`"),
    "bytes": ("\0\0", r"Bad"),
    "two": ("def signal(df, n):\n    return df\n", "found 2 parameters"),
    "five": ("def signal(df, a, b, c, name):\n    return df\n", "found 5 parameters"),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_a_module_that_cannot_be_used_is_named_with_its_line(package: Package, what: str) -> None:
    text, message = UNREADABLE[what]
    package.add("Bad", text)
    with pytest.raises(LegacyFactorError, match=message):
        legacy.find(package.name, "Bad")


def test_a_package_that_cannot_be_imported_is_named(package: Package) -> None:
    package.add("__init__", "import no_such_thing\n")
    package.add("PctChg", FORMS["three"])
    with pytest.raises(LegacyFactorError, match=r"__init__\.py, line 1"):
        legacy.find(package.name, "PctChg")


RAISING = {
    "raises": (
        "def signal(df, n, name):\n    x = n\n    raise KeyError('oi')\n",
        r"KeyError in .*Bad\.py, line 3: 'oi'",
    ),
    "deep": (
        "def signal(df, n, name):\n    df[name] = df['nothing']\n    return df\n",
        r"KeyError in .*Bad\.py, line 2",
    ),
    "no column": ("def signal(df, n, name):\n    return df\n", "expected a column 'Bad_5' from signal"),
    "length": (
        "def signal(df, n, name):\n    return df['close'].to_numpy()[:3]\n",
        "one value for each of 30 rows, found 3",
    ),
    "a number": ("def signal(df, n, name):\n    return 1.0\n", "TypeError"),
    "not all": ("def signal_multi_params(df, ns):\n    return {}\n", "KeyError"),
}


@pytest.mark.parametrize("what", RAISING)
def test_a_factor_that_raises_is_named_with_its_line(
    package: Package, frame: pd.DataFrame, what: str
) -> None:
    text, message = RAISING[what]
    package.add("Bad", text)
    with pytest.raises(LegacyFactorError, match=message):
        package.find("Bad").series(frame, [5])


def test_values_need_not_be_floats(package: Package, frame: pd.DataFrame) -> None:
    package.add("Flag", "def signal(df, n, name):\n    df[name] = df['close'] > n\n    return df")
    found: dict[str, Any] = package.find("Flag").series(frame, [110])
    assert found["Flag_110"].dtype == bool
