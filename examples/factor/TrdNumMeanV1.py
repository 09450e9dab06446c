"""Mean range of price per trade. BMAC's own formula was never published: this one is ours."""


def signal(*args):
    df, n, factor_name = args
    range_per_trade = (df["high"] / df["low"] - 1) / df["trade_num"]
    df[factor_name] = range_per_trade.rolling(n, min_periods=1).mean()
    return df
