"""Standard deviation of close."""


def signal_multi_params(df, param_list):
    return {str(n): df["close"].rolling(n).std() for n in param_list}
