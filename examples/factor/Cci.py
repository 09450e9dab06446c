"""Commodity channel index."""

import numpy as np


def signal(*args):
    df, n, factor_name = args
    df["tp"] = (df["high"] + df["low"] + df["close"]) / 3
    window = df["tp"].rolling(n)
    mad = window.apply(lambda x: np.abs(x - x.mean()).mean(), raw=True)
    df[factor_name] = (df["tp"] - window.mean()) / (0.015 * mad)
    return df
