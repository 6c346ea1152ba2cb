"""The server: what all nodes of a cluster share, and how their requests are answered.

Real nodes each have a memory and pass on what is written within a second; here they share one.
"""

import logging
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any, Self

from botocore.exceptions import BotoCoreError, ClientError

from sharpwave.infra.local.dax import operations, replies
from sharpwave.infra.local.dax.authentication import verify
from sharpwave.infra.local.dax.cache import CachedTables, CacheSettings
from sharpwave.infra.local.dax.cbor import encode
from sharpwave.infra.local.dax.expressions import Overlapping
from sharpwave.infra.local.dax.faults import Faults
from sharpwave.infra.local.dax.items import AttributeLists
from sharpwave.infra.local.dax.methods import Method
from sharpwave.infra.local.dax.nodes import Node
from sharpwave.producers.cache import MonotonicClock

log = logging.getLogger("sharpwave.dax")

_LEADER, _REPLICA = 1, 2


class DaxServer:
    """A DAX cluster on this machine, in front of any DynamoDB; a context manager.

    Args:
        dynamodb: a client of boto3 for the tables. It should neither try again nor check what it
            is given: the clients of DAX do the one, DynamoDB the other.
        ports: where its nodes listen, one each; 0 is any free one.
        host: the address they listen at and tell their clients.
        settings: how long and how much is remembered.
        secrets: secret keys by access key; without them whoever connects is let in.
        tls: the context of a server, for `daxs`; without it, plain `dax`.
        clock: monotonic seconds, of the memory.
        now: epoch seconds, of signatures.

    Attributes:
        faults: what is to go wrong, for tests.
    """

    def __init__(
        self,
        dynamodb: Any,
        *,
        ports: tuple[int, ...] = (0,),
        host: str = "127.0.0.1",
        settings: CacheSettings | None = None,
        secrets: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        clock: MonotonicClock = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        if not ports:
            raise ValueError("a cluster without a node cannot answer; give it a port or more")
        self.faults = Faults()
        self._tables = CachedTables(dynamodb, settings, clock)
        self._lists = AttributeLists()
        self._secrets, self._tls, self._now = secrets, tls, now
        self._nodes = [Node(self, number, host, port) for number, port in enumerate(ports)]
        self._roster = list(self._nodes)

    @property
    def endpoint(self) -> str:
        """Give the address of the first node, from which clients learn of the others."""
        return self.endpoints[0]

    @property
    def endpoints(self) -> list[str]:
        """Give the addresses of all nodes, which at AWS are behind one name."""
        scheme = "daxs" if self._tls else "dax"
        return [f"{scheme}://{node.host}:{node.port}" for node in self._nodes]

    @property
    def counters(self) -> Mapping[str, int]:
        """Count `item_hits`, `item_misses`, `query_hits` and `query_misses`."""
        return self._tables.counters

    def start(self) -> Self:
        """Listen.

        Raises:
            OSError: a port is taken.
        """
        try:
            for node in self._nodes:
                node.start()
        except OSError:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Close everything; safe to repeat."""
        self.faults.clear()
        for node in self._nodes:
            node.stop()
        for node in self._nodes:
            node.join()

    def stop_node(self, number: int, *, is_noticed: bool = True) -> None:
        """Lose a node: its connections are reset and new ones refused.

        Args:
            number: which node, from 0.
            is_noticed: the others name it no more, and lead if it led; else they do not know yet.
        """
        self._nodes[number].stop()
        if is_noticed:
            self._roster = [node for node in self._nodes if node.listens]

    def start_node(self, number: int) -> None:
        """Bring a node back at the same port."""
        self._nodes[number].start()
        self._roster = [node for node in self._nodes if node.listens]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wrap(self, raw: socket.socket) -> socket.socket:
        """Begin TLS on a connection, if this cluster speaks it."""
        return raw if self._tls is None else self._tls.wrap_socket(raw, server_side=True)

    def admit(self, access_key: str, signature: str, signed: bytes) -> None:
        """Check who connects.

        Raises:
            Refused: the signature is not one of a known key.
        """
        if self._secrets is not None:
            verify(self._secrets, access_key, signature, signed.decode(), now=self._now())

    @property
    def is_open(self) -> bool:
        """Say whether whoever connects is let in."""
        return self._secrets is None

    def roster(self) -> bytes:
        """Write the roster: the first node leads."""
        found = [
            {
                0: node.number,
                1: node.host,
                2: socket.inet_aton(node.host),
                3: node.port,
                4: _LEADER if place == 0 else _REPLICA,
                5: "local",
                6: 0,
            }
            for place, node in enumerate(self._roster)
        ]
        return encode(found)

    def answer(self, method: Method, arguments: list[Any], *, is_partial: bool) -> bytes:
        """Perform a method.

        Raises:
            Malformed: its arguments cannot be.
        """
        try:
            if method.perform is not None:
                context = operations.Context(self._tables, self._lists, is_partial)
                body = method.perform(context, *arguments)
            elif method.name == "endpoints":
                body = self.roster()
            elif method.name == "defineKeySchema":
                # Clients ask once a minute, so a table that was made anew is seen by then.
                table = arguments[0].decode()
                self._tables.forget_schema(table)
                body = encode(dict(self._tables.schema(table)))
            elif method.name == "defineAttributeListId":
                body = encode(self._lists.number(arguments[0]))
            else:
                body = encode(list(self._lists.names(arguments[0])))
            return replies.SUCCESS + body
        except operations.Cancelled as cancelled:
            return _failure(cancelled.error, cancelled.reasons)
        except ClientError as error:
            if _code(error) == "ResourceNotFoundException":
                # What is missing was asked for by this server, in other words than a client's.
                text = "Requested resource not found"
                return replies.failure(_code(error), text, codes=replies.TABLE_MISSING)
            return _failure(error)
        except Overlapping as error:
            return replies.failure("ValidationException", str(error))
        except BotoCoreError as error:
            log.warning("dynamodb_unreachable: %s: %s", method.name, error)
            return replies.failure("InternalServerError", f"DynamoDB: {error}", status=500)


def _code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "InternalServerError")


def _failure(error: ClientError, reasons: list[Any] | None = None) -> bytes:
    message = error.response.get("Error", {}).get("Message", str(error))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)
    return replies.failure(_code(error), message, status=status, reasons=reasons)
