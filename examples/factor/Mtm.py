"""Momentum in percent."""


def signal(*args):
    df, n, factor_name = args
    df[factor_name] = (df["close"] / df["close"].shift(n) - 1) * 100
    return df
