"""Mean turnover."""


def signal_multi_params(df, param_list):
    return {str(n): df["quote_volume"].rolling(n).mean() for n in param_list}
