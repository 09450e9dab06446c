"""Mean volume."""


def signal_multi_params(df, param_list):
    return {str(n): df["volume"].rolling(n).mean() for n in param_list}
