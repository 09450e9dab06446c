"""Where close lies in the range of the window, 0 to 1."""


def signal(*args):
    df, n, factor_name = args
    low = df["low"].rolling(n).min()
    high = df["high"].rolling(n).max()
    df[factor_name] = (df["close"] - low) / (high - low)
    return df
