"""Relative distance of close from its exponential mean."""


def signal_multi_params(df, param_list):
    return {
        str(n): df["close"] / df["close"].ewm(span=n, adjust=False, ignore_na=True).mean() - 1
        for n in param_list
    }
