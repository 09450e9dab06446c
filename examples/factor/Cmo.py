"""Chande's momentum oscillator."""


def signal(*args):
    df, n, factor_name = args
    change = df["close"].diff()
    up = change.clip(lower=0).rolling(n).sum()
    down = (-change).clip(lower=0).rolling(n).sum()
    df[factor_name] = (up - down) / (up + down) * 100
    return df
