"""Change in percent of a threefold exponential mean."""


def signal(*args):
    df, n, factor_name = args
    ema = df["close"]
    for _ in range(3):
        ema = ema.ewm(span=n, adjust=False, ignore_na=True).mean()
    df[factor_name] = ema.pct_change() * 100
    return df
