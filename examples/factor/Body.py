"""Mean part of the range that is the bar's body."""


def signal(*args):
    df, n, factor_name = args
    df["body"] = (df["close"] - df["open"]).abs() / (df["high"] - df["low"])
    df[factor_name] = df["body"].rolling(n, min_periods=1).mean()
    return df
