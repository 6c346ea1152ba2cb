"""What reads the streams of the systems under test: a pump, or the backend's Lambda as at AWS."""

import os
from typing import Any

import pytest

HOST: Any = os.environ.get("SHARPWAVE_TEST_HOST", "pump")


def needs_pump(why: str) -> pytest.MarkDecorator:
    """Mark a test that is of the pump alone."""
    return pytest.mark.skipif(HOST != "pump", reason=f"there is no pump to {why}")
