"""close / close of n bars ago - 1: the sample factor of BMAC's documents."""


def signal(*args):
    df = args[0]
    n = args[1]
    factor_name = args[2]
    df[factor_name] = df["close"].pct_change(n)
    return df
