"""Every example runs as it stands against `sharpwave up`, with nothing set but the endpoint."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.integration.up.conftest import Up

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"


@pytest.mark.parametrize("name", ["raw_agent.py", "raw_agent.sh", "raw_agent.mjs"])
def test_a_raw_agent_decides_signals_receives_and_acknowledges(
    name: str, up: Callable[[], Up], command_of: Callable[[str], list[Any]]
) -> None:
    said = run(command_of(name), up())

    assert re.search(r"acknowledged [a-z2-7]{24}\.raw-agent with dec_[\w-]+: .*whale_count", said)


@pytest.mark.parametrize("name", ["sdk_agent.py", "sdk_agent_async.py"])
def test_an_agent_on_the_sdk_registers_and_decides_once_per_delivery(
    name: str, up: Callable[[], Up]
) -> None:
    said = run([sys.executable, EXAMPLES / name], up())

    assert re.search(r"dec_\w+ settles [a-z2-7]{24}\.sdk-agent", said)


def run(argv: list[Any], served: Up) -> str:
    done = subprocess.run(
        argv,
        env={
            "PATH": os.environ["PATH"],
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{served.port}",
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
