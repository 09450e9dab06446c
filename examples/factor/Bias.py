"""Relative distance of close from its mean."""


def signal_multi_params(df, param_list):
    return {str(n): df["close"] / df["close"].rolling(n).mean() - 1 for n in param_list}
