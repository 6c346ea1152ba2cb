import pytest

from tests.world.routed import Streams


@pytest.fixture
def streams() -> Streams:
    return Streams()
