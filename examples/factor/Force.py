"""Elder's force index."""


def signal(*args):
    df, n, factor_name = args
    df["force"] = df["close"].diff() * df["volume"]
    df[factor_name] = df["force"].ewm(span=n, adjust=False, ignore_na=True).mean()
    return df
