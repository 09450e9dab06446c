"""Chaikin's money flow."""


def signal(*args):
    df, n, factor_name = args
    df["flow"] = df["volume"] * (2 * df["close"] - df["high"] - df["low"]) / (df["high"] - df["low"])
    df[factor_name] = df["flow"].rolling(n).sum() / df["volume"].rolling(n).sum()
    return df
