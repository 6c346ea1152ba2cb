"""Make pinned environments ahead of their first use: `python -m sharpwave.infra.embedded NAME...`.

Names are `ministack`, `moto`, `fauxqs` and `microburst`; without one, ministack's. Prints where
each is.
"""

import sys
from collections.abc import Sequence

from sharpwave.infra.embedded.environment import ensure
from sharpwave.infra.embedded.errors import BackendError
from sharpwave.infra.embedded.node import ensure_node

TOOLS = ("ministack", "moto", "fauxqs", "microburst")


def main(names: Sequence[str]) -> int:
    """Make each environment; 0 if all are there, 1 if one failed, 2 for an unknown name."""
    unknown = [name for name in names if name not in TOOLS]
    if unknown:
        print(
            f"no such tool: {', '.join(unknown)}; choose among {', '.join(TOOLS)}", file=sys.stderr
        )
        return 2
    try:
        for name in names or TOOLS[:1]:
            print(ensure_node(name) if name == "fauxqs" else ensure(name))
    except BackendError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
