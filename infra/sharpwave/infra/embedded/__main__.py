"""Make pinned environments ahead of their first use: `python -m sharpwave.infra.embedded NAME...`.

Names are `ministack`, `moto`, `fauxqs`, `microburst` and `localstack`; without one, ministack's.
Prints where each is.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from sharpwave.infra.embedded.environment import ensure
from sharpwave.infra.embedded.errors import BackendError
from sharpwave.infra.embedded.localstack import NativeLocalStackBackend
from sharpwave.infra.embedded.node import ensure_node

TOOLS: Mapping[str, Callable[[], Path]] = {
    "ministack": partial(ensure, "ministack"),
    "moto": partial(ensure, "moto"),
    "fauxqs": partial(ensure_node, "fauxqs"),
    "microburst": partial(ensure, "microburst"),
    "localstack": NativeLocalStackBackend.install,
}


def main(names: Sequence[str]) -> int:
    """Make each environment; 0 if all are there, 1 if one failed, 2 for an unknown name."""
    unknown = [name for name in names if name not in TOOLS]
    if unknown:
        print(
            f"no such tool: {', '.join(unknown)}; choose among {', '.join(TOOLS)}", file=sys.stderr
        )
        return 2
    try:
        for name in names or ["ministack"]:
            print(TOOLS[name]())
    except BackendError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
