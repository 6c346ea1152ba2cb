"""The server: nodes that listen, connections that sign in and ask, one memory behind them all.

Real nodes each have a memory and pass on what is written within a second; here they share one.
"""

import logging
import socket
import ssl
import struct
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Lock, Thread, current_thread
from typing import Any, NamedTuple, Self

from botocore.exceptions import BotoCoreError, ClientError

from sharpwave.infra.local.dax import operations, replies
from sharpwave.infra.local.dax.authentication import Refused, verify
from sharpwave.infra.local.dax.cache import CachedTables, CacheSettings
from sharpwave.infra.local.dax.cbor import Ended, Malformed, Reader, encode
from sharpwave.infra.local.dax.expressions import Overlapping
from sharpwave.infra.local.dax.faults import Faults
from sharpwave.infra.local.dax.items import AttributeLists
from sharpwave.producers.cache import MonotonicClock

log = logging.getLogger("sharpwave.dax")

MAGIC = b"gJ7yne5G"
_SERVICE = 1
_LEADER, _REPLICA = 1, 2
_JOIN_S = 5.0
#: Closes a connection with a reset, as the system does for a process that died.
_LINGER = struct.pack("ii", 1, 0)
_CHUNK = 65_536


class Method(NamedTuple):
    """A method of the protocol: how many arguments it has, and what performs it on data."""

    name: str
    arguments: int
    perform: Callable[..., bytes] | None = None


METHODS: Mapping[int, Method] = {
    1489122155: Method("authorizeConnection", 5),
    455855874: Method("endpoints", 0),
    -742646399: Method("defineKeySchema", 1),
    -1230579644: Method("defineAttributeListId", 1),
    670678385: Method("defineAttributeList", 1),
    263244906: Method("getItem", 3, operations.get_item),
    -2106490455: Method("putItem", 4, operations.put_item),
    1425579023: Method("updateItem", 3, operations.update_item),
    1013539361: Method("deleteItem", 3, operations.delete_item),
    -931250863: Method("query", 3, operations.query),
    -1875390620: Method("scan", 2, operations.scan),
    -697851100: Method("batchGetItem", 2, operations.batch_get_item),
    116217951: Method("batchWriteItem", 2, operations.batch_write_item),
    1866287579: Method("transactGetItems", 4, operations.transact_get_items),
    -1160037738: Method("transactWriteItems", 9, operations.transact_write_items),
}


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
        self._nodes = [_Node(self, number, host, port) for number, port in enumerate(ports)]
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
            return replies.SUCCESS + self._perform(method, arguments, is_partial)
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

    def _perform(self, method: Method, arguments: list[Any], is_partial: bool) -> bytes:
        if method.perform is not None:
            context = operations.Context(self._tables, self._lists, is_partial)
            return method.perform(context, *arguments)
        if method.name == "endpoints":
            return self.roster()
        (argument,) = arguments
        if method.name == "defineKeySchema":
            # Clients ask once a minute, so a table that was made anew is seen by then.
            self._tables.forget_schema(argument.decode())
            return encode(dict(self._tables.schema(argument.decode())))
        if method.name == "defineAttributeListId":
            return encode(self._lists.number(argument))
        return encode(list(self._lists.names(argument)))


def _code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "InternalServerError")


def _failure(error: ClientError, reasons: list[Any] | None = None) -> bytes:
    message = error.response.get("Error", {}).get("Message", str(error))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)
    return replies.failure(_code(error), message, status=status, reasons=reasons)


class _Node:
    """A listening socket and its connections, each in a thread."""

    def __init__(self, cluster: DaxServer, number: int, host: str, port: int) -> None:
        self._cluster = cluster
        self.number, self.host, self.port = number, host, port
        self._lock = Lock()
        self._listener: socket.socket | None = None
        self._connections: dict[Thread, socket.socket] = {}

    @property
    def listens(self) -> bool:
        return self._listener is not None

    def start(self) -> None:
        if self._listener is not None:
            return
        listener = socket.create_server((self.host, self.port))
        self.port = int(listener.getsockname()[1])
        self._listener = listener
        Thread(target=self._accept, args=(listener,), name=f"dax-{self.port}", daemon=True).start()

    def stop(self) -> None:
        listener, self._listener = self._listener, None
        if listener is None:
            return
        # A close alone leaves the accepting thread asleep, and with it the port open.
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        with self._lock:
            connections = list(self._connections.values())
        for connection in connections:
            _reset(connection)

    def join(self) -> None:
        with self._lock:
            threads = list(self._connections)
        for thread in threads:
            thread.join(_JOIN_S)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            thread = Thread(target=self._serve, args=(raw,), name="dax-connection", daemon=True)
            with self._lock:
                self._connections[thread] = raw
            thread.start()
            if self._listener is not listener:
                _reset(raw)

    def _serve(self, raw: socket.socket) -> None:
        connection = raw
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = self._cluster.wrap(raw)
            with self._lock:
                self._connections[current_thread()] = connection
            _Connection(self._cluster, self.number, connection).run()
        except Malformed as error:
            log.warning("malformed: %s; the connection is closed", error)
        except OSError as error:
            log.debug("connection_lost: %s", error)
        except Exception:
            log.exception("failed; the connection is closed")
        finally:
            connection.close()
            with self._lock:
                self._connections.pop(current_thread(), None)


class _Incoming:
    """The bytes of a connection; unlike a file over it, it does not keep the socket open."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._held = bytearray()

    def read(self, count: int) -> bytes:
        """Give so many bytes, or fewer where the connection ends."""
        while len(self._held) < count:
            data = self._connection.recv(_CHUNK)
            if not data:
                break
            self._held += data
        taken = bytes(self._held[:count])
        del self._held[:count]
        return taken


class _Connection:
    """One client: its preamble, then requests, each answered before the next is read."""

    def __init__(self, cluster: DaxServer, node: int, connection: socket.socket) -> None:
        self._cluster, self._node, self._connection = cluster, node, connection
        self._reader = Reader(_Incoming(connection))
        self._refusal = None if cluster.is_open else ("sign in first", replies.NOT_SIGNED_IN)

    def run(self) -> None:
        """Serve until the client closes.

        Raises:
            Malformed: it does not keep to the protocol.
            OSError: the connection broke.
        """
        try:
            self._greet()
            while (request := self._next()) is not None:
                method, arguments = request
                if method.name == "authorizeConnection":
                    self._sign_in(arguments)
                    continue
                answer = self._answer(method, arguments)
                if answer is None:
                    _reset(self._connection)
                    return
                self._connection.sendall(answer)
        except Ended as error:
            log.debug("ended: %s", error)

    def _greet(self) -> None:
        if self._reader.take(len(MAGIC)) != MAGIC:
            raise Malformed("it does not begin as a client of DAX does")
        layering, _session, _about, types = (self._reader.value() for _ in range(4))
        if layering != 0 or types != 0:
            raise Malformed("it asks for layers or types, which DAX does not have")

    def _next(self) -> tuple[Method, list[Any]] | None:
        service, number = self._reader.value(), self._reader.value()
        method = METHODS.get(number) if isinstance(number, int) else None
        if service != _SERVICE or method is None:
            text = f"there is no method {number!r} of service {service!r}"
            # How long it is nobody knows, so that nothing after it can be read.
            self._connection.sendall(
                replies.failure("ValidationException", text, codes=replies.NOT_IMPLEMENTED)
            )
            raise Malformed(text)
        return method, [self._reader.value() for _ in range(method.arguments)]

    def _sign_in(self, arguments: list[Any]) -> None:
        access_key, signature, signed, *_ = arguments
        try:
            self._cluster.admit(access_key, signature, signed)
            self._refusal = None
        except Refused as refused:
            # It is not answered itself: the next request is refused.
            self._refusal = str(refused), replies.SIGNATURE_WRONG

    def _answer(self, method: Method, arguments: list[Any]) -> bytes | None:
        if self._refusal is not None:
            text, codes = self._refusal
            return replies.failure("UnrecognizedClientException", text, status=401, codes=codes)
        is_partial = False
        if method.perform is not None:
            is_batch = method.name.startswith("batch")
            fault = self._cluster.faults.strike(self._node, is_batch=is_batch)
            match fault.kind if fault else None:
                case "reset":
                    return None
                case "error":
                    assert fault is not None
                    return replies.failure(fault.code, "as a test wanted")
                case "slow":
                    assert fault is not None
                    self._cluster.faults.wait(fault)
                case "partial":
                    is_partial = True
        try:
            return self._cluster.answer(method, arguments, is_partial=is_partial)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise Malformed(f"{method.name}: {error!r}") from error


def _reset(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
    # Wakes the thread that reads from it, which then closes it.
    with suppress(OSError):
        # Not that of TLS, which would send a farewell first.
        socket.socket.shutdown(connection, socket.SHUT_RD)
    connection.close()
