"""Turnover over its mean."""


def signal_multi_params(df, param_list):
    return {str(n): df["quote_volume"] / df["quote_volume"].rolling(n).mean() - 1 for n in param_list}
