"""The edge of the network: Binance's REST API and streams, turned into checked bars.

markets.py   data: hosts, weights, limits, wire letters, universes
protocol.py  pure: bytes in, typed values out
weights.py   how much may be asked of the exchange, and when
transport.py proxies and TLS, for REST and streams alike
rest.py, websocket.py   connect, wait, retry; they understand nothing
"""

__all__: list[str] = []
