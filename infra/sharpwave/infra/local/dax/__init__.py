"""DAX on this machine: a server that speaks its protocol to Amazon's own clients.

It stands in front of any DynamoDB, remembers what DAX would, and goes wrong on purpose where a
test wants it. Nothing of a client's code is used.

Example:
    >>> with DaxServer(dynamodb_client("http://127.0.0.1:4566"), ports=(8111, 8112)) as cluster:
    ...     cluster.faults.reset()
    ...     print(cluster.endpoint)

or as a process: `python -m sharpwave.infra.local.dax --endpoint http://127.0.0.1:4566`.
"""

from sharpwave.infra.local.dax.cache import CacheSettings, dynamodb_client
from sharpwave.infra.local.dax.faults import Faults
from sharpwave.infra.local.dax.server import DaxServer
from sharpwave.infra.local.dax.tls import Certificate, make_certificate, server_context

__all__ = [
    "CacheSettings",
    "Certificate",
    "DaxServer",
    "Faults",
    "dynamodb_client",
    "make_certificate",
    "server_context",
]
