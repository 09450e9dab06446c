"""Mean of the logarithm of turnover."""

import numpy as np


def signal(*args):
    df, n, factor_name = args
    df["log_volume"] = np.log(df["quote_volume"] + 1)
    df[factor_name] = df["log_volume"].rolling(n).mean()
    return df
