"""bench/ingest.py: its sender speaks WebSocket, BMAC's way does what BMAC did, a small run agrees."""

import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from websockets.asyncio.client import connect

pytestmark = pytest.mark.usefixtures("bench_modules")


VALUES = np.array([1.5, 2.0, 1e-05, 1.25, 1234567.125, 0.1 + 0.2, 42.0, 3.0, 0.0])


async def test_sender_speaks_to_a_client_of_others() -> None:
    from sender import Sender, kline_event

    event = kline_event("BTCUSDT", "1m", 60_000, 119_999, 120_480, VALUES, closed=True)
    with Sender() as sender:
        url = f"{sender.url}/market/stream?streams=btcusdt@kline_1m"
        async with connect(url, compression=None) as combined, connect(f"{sender.url}/market/ws") as raw:
            await raw.send(json.dumps({"method": "SUBSCRIBE", "params": ["ethusdt@kline_1m"], "id": 7}))
            assert json.loads(await raw.recv()) == {"result": None, "id": 7}
            await (await raw.ping())
            sender.wait_subscribed(["btcusdt@kline_1m", "ethusdt@kline_1m"], timeout_s=5)
            sender.fire(sender.prepare({"btcusdt@kline_1m": event, "ethusdt@kline_1m": event}))
            message = json.loads(await combined.recv())
            assert message["stream"] == "btcusdt@kline_1m"
            assert message["data"] == json.loads(await raw.recv()) == json.loads(event)
        assert sender.accepted == 2
    assert not sender.errors


def test_events_print_floats_that_read_back() -> None:
    from sender import kline_event

    kline = json.loads(kline_event("X", "1m", 0, 59_999, 60_000, VALUES, closed=False))["k"]
    assert [float(kline[letter]) for letter in "ohlcvqnVQ"] == VALUES.tolist()
    assert kline["n"] == kline["L"] - kline["f"] + 1
    assert "e" not in kline["l"]  # exchanges print no exponents


def test_bmac_way_merges_and_marks_ready(tmp_path: Path) -> None:
    from bmac_way import BmacWay
    from sender import kline_event

    way = BmacWay(tmp_path, "1m", num_candles=5)
    open_time = 60_000 * np.arange(5, dtype=np.int64)
    way.write_history("XUSDT", open_time, np.arange(45.0).reshape(5, 9))
    for at in (300_000, 300_000, 360_000):  # told twice: the second one changes nothing
        symbol, bar = way.decode(
            kline_event("XUSDT", "1m", at, at + 59_999, at + 60_000, VALUES, closed=True)
        )
        way.update(symbol, bar)
    found, values = way.read("XUSDT")
    assert found.tolist() == [120_000, 180_000, 240_000, 300_000, 360_000]
    assert np.array_equal(values[:3], np.arange(45.0).reshape(5, 9)[2:])
    assert np.array_equal(values[3:], [VALUES, VALUES])
    assert way.is_ready("XUSDT", 420_000)
    assert not way.is_ready("XUSDT", 360_000)
    assert len(list(tmp_path.glob("*.ready"))) == 1
    with pytest.raises(ValueError, match="gap"):
        way.update(*way.decode(kline_event("XUSDT", "1m", 600_000, 659_999, 0, VALUES, closed=True)))


@pytest.mark.slow
def test_small_run_agrees() -> None:
    """Real processes, all questions. What is asserted is the agreement; the figures are nobody's business."""
    import ingest
    from report import Figures

    small = ingest.Options(
        symbols=12,
        candles=40,
        rate=40.0,
        bursts=2,
        paced=1,
        late=2,
        n_late=3,
        tls=1,
        frames=30_000,
        sustained_rate=40.0,
    )
    figures = Figures("small", console=Console(quiet=True))
    ingest.run(small, figures)
    assert figures["compared_bars"] == 12 * 40
    for name in ("burst_ms_p50", "bmac_ms_p50", "frame_us_p50", "named_wait_ms_p50", "burst_tls_ms_p50"):
        assert figures[name] > 0
    assert figures["sustained_backlog_frames"] >= 0


def test_disagreement_is_an_error() -> None:
    from live import Disagreement, agreement

    agreement(True, "nothing")
    with pytest.raises(Disagreement, match="the store differs"):
        agreement(False, "the store differs")
