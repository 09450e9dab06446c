"""Mean number of trades."""


def signal_multi_params(df, param_list):
    return {str(n): df["trade_num"].rolling(n).mean() for n in param_list}
