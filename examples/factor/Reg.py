"""close over the end of its regression line on time."""

import numpy as np


def signal(*args):
    df, n, factor_name = args
    # The end of the line is a fixed weighting of the window.
    t = np.arange(n) - (n - 1) / 2
    weights = 1 / n + t[-1] * t / (t**2).sum()
    close = df["close"].to_numpy()
    line = np.full(len(df), np.nan)
    if len(df) >= n:
        line[n - 1 :] = np.lib.stride_tricks.sliding_window_view(close, n) @ weights
    df[factor_name] = close / line - 1
    return df
