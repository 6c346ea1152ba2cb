"""Stand-ins for AWS on this machine, each chosen by name, and the whole system on one of them."""

from sharpwave.infra.local.backend import (
    Backend,
    BackendDown,
    BackendError,
    BackendUnavailable,
    EnvironmentUnavailable,
    PortTaken,
)
from sharpwave.infra.local.emulators import (
    EmbeddedBackend,
    ExternalBackend,
    FauxqsBackend,
    MotoBackend,
    PairedBackend,
    open_backend,
)
from sharpwave.infra.local.localstack import LocalStackBackend, NativeLocalStackBackend

__all__ = [
    "Backend",
    "BackendDown",
    "BackendError",
    "BackendUnavailable",
    "EmbeddedBackend",
    "EnvironmentUnavailable",
    "ExternalBackend",
    "FauxqsBackend",
    "LocalStackBackend",
    "MotoBackend",
    "NativeLocalStackBackend",
    "PairedBackend",
    "PortTaken",
    "open_backend",
]
