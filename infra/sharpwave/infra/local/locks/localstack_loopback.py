"""Starts LocalStack on one interface: its own command listens on every one.

Run by the Python of LocalStack's environment, with the interface's address.
"""

import sys
from functools import partial

from localstack.runtime.main import main  # type: ignore[import-not-found]
from twisted.internet import endpoints  # type: ignore[import-not-found]

if __name__ == "__main__":
    endpoints.TCP4ServerEndpoint = partial(endpoints.TCP4ServerEndpoint, interface=sys.argv[1])
    main()
