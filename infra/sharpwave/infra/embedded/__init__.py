"""Stand-ins for AWS on this machine, each chosen by name and used through one protocol."""

from sharpwave.infra.embedded.backend import (
    EmbeddedBackend,
    FauxqsBackend,
    MotoBackend,
    open_backend,
)
from sharpwave.infra.embedded.container import LocalStackBackend
from sharpwave.infra.embedded.errors import (
    BackendDown,
    BackendError,
    BackendUnavailable,
    EnvironmentUnavailable,
    PortTaken,
)
from sharpwave.infra.embedded.external import ExternalBackend
from sharpwave.infra.embedded.localstack import NativeLocalStackBackend
from sharpwave.infra.embedded.paired import PairedBackend
from sharpwave.infra.embedded.ports import Backend

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
