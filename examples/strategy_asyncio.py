"""The same within asyncio: bars wake the event loop, other work goes on meanwhile.

python examples/strategy_asyncio.py usdt_perp_1m BTCUSDT
"""

import asyncio
import sys

import fire

import bmac_stream
from bmac_stream.errors import ShmError


async def follow(market, symbol, n_run_times):
    """At every run_time of the market, one symbol's last hour."""
    view = market[symbol]
    seen = 0
    async for run_time in market.run_times():
        # fn runs in place and again if bars changed meanwhile, so it returns numbers, not views
        last, mean, volume = view.read(
            lambda bars: (bars.close[-1], bars.close.mean(), bars.volume.sum()), n=60
        )
        late = " (late)" if symbol in run_time.missing else ""
        print(f"{run_time} {symbol} {last:.6g}, mean {mean:.6g}, volume {volume:.6g}{late}", flush=True)
        seen += 1
        if seen == n_run_times:
            return


async def other_work():
    """Whatever else a strategy does: orders, account, a web page."""
    await asyncio.sleep(3600)


async def strategy(store, symbol, n_run_times, directory):
    """Run both until the bars end."""
    with bmac_stream.attach(store, directory=directory, timeout_s=10) as market:
        work = asyncio.create_task(other_work())
        try:
            await follow(market, symbol, n_run_times)
        finally:
            work.cancel()


def main(store, symbol="BTCUSDT", n_run_times=0, directory="/dev/shm"):
    """Follow one symbol; n_run_times 0: for ever."""
    asyncio.run(strategy(store, symbol, n_run_times, directory))


if __name__ == "__main__":
    try:
        fire.Fire(main)
    except (ShmError, TimeoutError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except KeyboardInterrupt:
        pass
