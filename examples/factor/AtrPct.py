"""Mean true range over close."""

import pandas as pd


def signal(*args):
    df, n, factor_name = args
    last = df["close"].shift(1)
    ranges = [df["high"] - df["low"], (df["high"] - last).abs(), (df["low"] - last).abs()]
    df["tr"] = pd.concat(ranges, axis=1).max(axis=1, skipna=False)
    df[factor_name] = df["tr"].rolling(n).mean() / df["close"]
    return df
