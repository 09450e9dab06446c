"""A bar's mean price over its mean."""


def signal(*args):
    df, n, factor_name = args
    df["vwap"] = df["quote_volume"] / df["volume"]
    df[factor_name] = df["vwap"] / df["vwap"].rolling(n).mean() - 1
    return df
