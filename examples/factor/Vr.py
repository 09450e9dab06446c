"""Volume ratio."""


def signal(*args):
    df, n, factor_name = args
    change = df["close"].diff()
    volume = df["volume"].where(change.notna())
    up = volume.where(change > 0, 0.0).where(change.notna()).rolling(n).sum()
    down = volume.where(change < 0, 0.0).where(change.notna()).rolling(n).sum()
    flat = volume.where(change == 0, 0.0).where(change.notna()).rolling(n).sum()
    df[factor_name] = 100 * (up + flat / 2) / (down + flat / 2)
    return df
