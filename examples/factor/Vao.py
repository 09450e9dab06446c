"""Volume accumulation oscillator."""


def signal(*args):
    df, n, factor_name = args
    df["w"] = df["volume"] * (df["close"] - (df["high"] + df["low"]) / 2)
    df["v"] = df["w"] + df["w"].shift(1)
    df[factor_name] = df["v"].rolling(n).mean() - df["v"].rolling(3 * n).mean()
    return df
