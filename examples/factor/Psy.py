"""Percent of rising bars."""


def signal(*args):
    df, n, factor_name = args
    change = df["close"].diff()
    df["up"] = (change > 0).astype(float).where(change.notna())
    df[factor_name] = df["up"].rolling(n).sum() / n * 100
    return df
