"""Mean of the changes over n bars."""


def signal(*args):
    df, n, factor_name = args
    df["mtm"] = df["close"] / df["close"].shift(n) - 1
    df[factor_name] = df["mtm"].rolling(n).mean()
    return df
