"""What can go wrong with a backend.

BackendError                  an OperationFailed
├── BackendUnavailable        it cannot run here: something it needs is missing
│   └── EnvironmentUnavailable    its pinned packages could not be installed
├── PortTaken                 the port asked for belongs to another process
└── BackendDown               it did not come up, or it died
"""

from sharpwave.infra.errors import OperationFailed


class BackendError(OperationFailed):
    """The root of this package's errors."""


class BackendUnavailable(BackendError):
    """The backend cannot run on this machine."""

    def __init__(self, backend: str, reason: str) -> None:
        """Name the backend, and say what is missing and what to do."""
        super().__init__(f"backend {backend!r} is not available: {reason}")
        self.backend = backend
        self.reason = reason


class EnvironmentUnavailable(BackendUnavailable):
    """A pinned environment could not be made."""


class PortTaken(BackendError):
    """Another process listens on the port asked for."""

    def __init__(self, port: int) -> None:
        """Name the port."""
        super().__init__(
            f"port {port} on 127.0.0.1 is taken by another process; stop that one, "
            "or choose another port or none (then a free one is taken)"
        )
        self.port = port


class BackendDown(BackendError):
    """The backend did not answer its health check in time, or its process ended."""

    def __init__(self, backend: str, what: str, *, log_tail: str) -> None:
        """Name the backend, say what happened, and show the last lines of its log."""
        shown = f"its log ends with:\n{log_tail}" if log_tail else "its log is empty"
        super().__init__(f"backend {backend!r} {what}; {shown}")
        self.backend = backend
        self.log_tail = log_tail
