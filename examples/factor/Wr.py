"""Williams' R, 0 to 100."""


def signal(*args):
    df, n, factor_name = args
    df["high"] = df["high"].rolling(n).max()  # as some do: written over the candles
    df["low"] = df["low"].rolling(n).min()
    df[factor_name] = (df["high"] - df["close"]) / (df["high"] - df["low"]) * 100
    return df
