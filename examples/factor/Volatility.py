"""Standard deviation of the changes of close."""


def signal(*args):
    df, n, factor_name = args
    df["change"] = df["close"].pct_change()
    df[factor_name] = df["change"].rolling(n).std()
    return df
