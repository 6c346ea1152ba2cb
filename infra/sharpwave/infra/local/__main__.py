"""Make pinned environments ahead of their first use: `python -m sharpwave.infra.local NAME...`.

Names are `ministack`, `moto`, `fauxqs` and `localstack`; without one, ministack's.
Prints where each is.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from sharpwave.infra.local.backend import BackendError
from sharpwave.infra.local.environment import ensure, ensure_node
from sharpwave.infra.local.localstack import NativeLocalStackBackend

TOOLS: Mapping[str, Callable[[], Path]] = {
    "ministack": partial(ensure, "ministack"),
    "moto": partial(ensure, "moto"),
    "fauxqs": partial(ensure_node, "fauxqs"),
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
