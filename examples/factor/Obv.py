"""On-balance volume of a window."""

import numpy as np


def signal(df, n, diff_num, factor_name):
    # the older form of four arguments
    df["signed"] = np.sign(df["close"].diff()) * df["volume"]
    df[factor_name] = df["signed"].rolling(n).sum()
    return df
