"""Change of the mean over n bars."""


def signal(*args):
    df, n, factor_name = args
    df["ma"] = df["close"].rolling(n).mean()
    df[factor_name] = df["ma"] / df["ma"].shift(n) - 1
    return df
