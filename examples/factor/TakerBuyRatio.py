"""Share of turnover that takers bought."""


def signal(*args):
    df, n, factor_name = args
    bought = df["taker_buy_quote_asset_volume"].rolling(n).sum()
    df[factor_name] = bought / df["quote_volume"].rolling(n).sum()
    return df
