"""Detrended price: close over the mean of half a window ago."""


def signal(*args):
    df, n, factor_name = args
    df["ma"] = df["close"].rolling(n).mean()
    df[factor_name] = df["close"] / df["ma"].shift(n // 2 + 1) - 1
    return df
