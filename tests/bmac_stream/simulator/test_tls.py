"""The embedded exchange over TLS: a client that trusts the test CA is served, any other one refuses."""

import ssl
from pathlib import Path

import aiohttp
import pytest
import trustme

from bmac_stream.simulator import Simulator, SimulatorProcess
from tests.bmac_stream.simulator.rig import START_MS, small_market


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


async def test_rest_and_streams_over_tls(authority: trustme.CA) -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(server)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with Simulator(small_market(), rate=60.0, tls=server) as simulator:
        url = simulator.urls("usdm")
        assert url["rest"].startswith("https://")
        assert url["stream"].startswith("wss://")
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10)) as session:
            async with session.get(url["rest"] + "/fapi/v1/time", ssl=trusting) as answer:
                assert (await answer.json())["serverTime"] >= START_MS
            stream = url["stream"] + "/market/ws/btcusdt@kline_1m"
            async with session.ws_connect(stream, ssl=trusting) as ws:
                first = await ws.receive_json(timeout=5)
                assert first["s"] == "BTCUSDT"
                simulator.fault("drop", abort=True)
                while (await ws.receive(5)).type is aiohttp.WSMsgType.TEXT:
                    pass
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await session.get(url["rest"] + "/fapi/v1/time")
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await session.ws_connect(stream)


def test_the_process_serves_tls(authority: trustme.CA, tmp_path: Path) -> None:
    issued = authority.issue_cert("127.0.0.1")
    cert, key, ca = (tmp_path / name for name in ("cert.pem", "key.pem", "ca.pem"))
    for blob in issued.cert_chain_pems:
        blob.write_to_path(str(cert), append=True)
    issued.private_key_pem.write_to_path(str(key))
    authority.cert_pem.write_to_path(str(ca))
    options = {"n_symbols": 2, "markets": "usdm", "tls_cert": cert, "tls_key": key}
    with SimulatorProcess(ca_file=str(ca), **options) as process:
        assert process.ready["rest"].startswith("https://")
        assert process.now_ms() >= process.ready["start_ms"]
