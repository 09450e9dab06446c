"""Mean of close."""


def signal_multi_params(df, param_list):
    return {str(n): df["close"].rolling(n).mean() for n in param_list}
