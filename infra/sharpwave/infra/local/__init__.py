"""Stand-ins for AWS on this machine, each chosen by name and used through one protocol."""

from sharpwave.infra.local.backend import (
    EmbeddedBackend,
    FauxqsBackend,
    MotoBackend,
    open_backend,
)
from sharpwave.infra.local.container import LocalStackBackend
from sharpwave.infra.local.errors import (
    BackendDown,
    BackendError,
    BackendUnavailable,
    EnvironmentUnavailable,
    PortTaken,
)
from sharpwave.infra.local.external import ExternalBackend
from sharpwave.infra.local.localstack import NativeLocalStackBackend
from sharpwave.infra.local.paired import PairedBackend
from sharpwave.infra.local.ports import Backend

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
