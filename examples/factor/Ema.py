"""Exponential mean of close, span n."""


def signal_multi_params(df, param_list):
    return {str(n): df["close"].ewm(span=n, adjust=False, ignore_na=True).mean() for n in param_list}
