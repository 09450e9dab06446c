"""Money flow index."""


def signal(*args):
    df, n, factor_name = args
    df["tp"] = (df["high"] + df["low"] + df["close"]) / 3
    flow, change = df["tp"] * df["volume"], df["tp"].diff()
    up = flow.where(change > 0, 0.0).where(change.notna()).rolling(n).sum()
    down = flow.where(change < 0, 0.0).where(change.notna()).rolling(n).sum()
    df[factor_name] = up / (up + down) * 100
    return df
