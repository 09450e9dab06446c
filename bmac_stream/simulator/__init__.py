"""The embedded exchange: Binance's REST and WebSocket protocol on loopback, with a market of its own.

`Simulator` runs on a loop of yours, `SimulatorProcess` starts `python -m bmac_stream.simulator`. A market is
generated from a seed (`generator`) or read from recorded files (`recorded`). It shares no line with
bmac_stream.binance, so that simulator and parser cannot agree on the same mistake.
"""

from bmac_stream.simulator.exchange import Settings
from bmac_stream.simulator.faults import Fault
from bmac_stream.simulator.process import SimulatorProcess
from bmac_stream.simulator.server import Simulator

__all__ = ["Fault", "Settings", "Simulator", "SimulatorProcess"]
