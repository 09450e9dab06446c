"""Kaufman's efficiency ratio, 0 to 1."""


def signal(*args):
    df, n, factor_name = args
    way = df["close"].diff().abs().rolling(n).sum()
    df[factor_name] = df["close"].diff(n).abs() / way
    return df
