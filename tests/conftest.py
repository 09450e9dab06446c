"""What every test may use: recorded data if it is there, and store names that are cleaned up."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHM = Path("/dev/shm")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: whoever gets one last would keep all others waiting at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def recorded_data() -> Path:
    """Folder of recorded market data: $BMAC_DATA, else ../shared/data beside the project. Skips if absent."""
    place = Path(os.environ.get("BMAC_DATA", ROOT.parent / "shared" / "data"))
    if not place.is_dir():
        pytest.skip(f"no recorded market data at {place} (set BMAC_DATA)")
    return place


@pytest.fixture
def store_name() -> Iterator[str]:
    """A store name nobody else uses; its files in /dev/shm are removed afterwards."""
    name = f"test-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    yield name
    for path in SHM.glob(f"bmac.{name}*"):
        path.unlink(missing_ok=True)
