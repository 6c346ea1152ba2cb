"""Examples run as they stand against `sharpwave up`, with nothing set but the endpoint.

One of each kind: `tests/contract/agent/test_agent_examples.py` runs all of them, in each language,
and looks at what they wrote. What the pipeline does for one does not depend on its language.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.integration.up.conftest import Up

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"


def test_a_raw_agent_decides_signals_receives_and_acknowledges(up: Callable[[], Up]) -> None:
    said = run("raw_agent.py", up())

    assert re.search(r"acknowledged [a-z2-7]{24}\.raw-agent with dec_[\w-]+: .*whale_count", said)


def test_an_agent_on_the_sdk_registers_and_decides_once_per_delivery(up: Callable[[], Up]) -> None:
    said = run("sdk_agent.py", up())

    assert re.search(r"dec_\w+ settles [a-z2-7]{24}\.sdk-agent", said)


def run(name: str, served: Up) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLES / name],
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
