"""Distance of close from its mean, in standard deviations."""


def signal(*args):
    df, n, factor_name = args
    window = df["close"].rolling(n)
    df[factor_name] = (df["close"] - window.mean()) / window.std()
    return df
