"""Mean range of the bars, relative."""


def signal(*args):
    df, n, factor_name = args
    df["range"] = df["high"] / df["low"] - 1
    df[factor_name] = df["range"].rolling(n).mean()
    return df
