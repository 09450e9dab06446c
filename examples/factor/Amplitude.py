"""Range of the window, relative."""


def signal(*args):
    df, n, factor_name = args
    df[factor_name] = df["high"].rolling(n).max() / df["low"].rolling(n).min() - 1
    return df
