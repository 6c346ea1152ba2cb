"""Nodes of a cluster: sockets that listen, connections that sign in and ask."""

import logging
import socket
import struct
from contextlib import suppress
from threading import Lock, Thread, current_thread
from typing import Any, Protocol

from sharpwave.infra.local.dax import replies
from sharpwave.infra.local.dax.authentication import Refused
from sharpwave.infra.local.dax.cbor import Ended, Malformed, Reader
from sharpwave.infra.local.dax.faults import Faults
from sharpwave.infra.local.dax.methods import METHODS, Method

log = logging.getLogger("sharpwave.dax")

MAGIC = b"gJ7yne5G"
_SERVICE = 1
_JOIN_S = 5.0
#: Closes a connection with a reset, as the system does for a process that died.
_LINGER = struct.pack("ii", 1, 0)
_CHUNK = 65_536


class Cluster(Protocol):
    """What nodes need of the cluster that they are of."""

    faults: Faults

    @property
    def is_open(self) -> bool:
        """Say whether whoever connects is let in."""
        ...

    def wrap(self, raw: socket.socket) -> socket.socket:
        """Begin TLS on a connection, if it is spoken here."""
        ...

    def admit(self, access_key: str, signature: str, signed: bytes) -> None:
        """Check who connects; raises `Refused`."""
        ...

    def answer(self, method: Method, arguments: list[Any], *, is_partial: bool) -> bytes:
        """Perform a method; raises `Malformed`, or whatever arguments of no use cause."""
        ...


class Node:
    """A listening socket and its connections, each in a thread."""

    def __init__(self, cluster: Cluster, number: int, host: str, port: int) -> None:
        self._cluster = cluster
        self.number, self.host, self.port = number, host, port
        self._lock = Lock()
        self._listener: socket.socket | None = None
        self._connections: dict[Thread, socket.socket] = {}

    @property
    def listens(self) -> bool:
        """Say whether it takes connections."""
        return self._listener is not None

    def start(self) -> None:
        """Listen, at the same port as before if there was one.

        Raises:
            OSError: the port is taken.
        """
        if self._listener is not None:
            return
        listener = socket.create_server((self.host, self.port))
        self.port = int(listener.getsockname()[1])
        self._listener = listener
        Thread(target=self._accept, args=(listener,), name=f"dax-{self.port}", daemon=True).start()

    def stop(self) -> None:
        """Close, and reset all connections."""
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
        """Wait for the threads of connections to end."""
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
            # Stopped since it was accepted: `stop` did not find it among the connections.
            if self._listener is not listener:
                _reset(raw)

    def _serve(self, raw: socket.socket) -> None:
        connection = raw
        try:
            # Else an answer waits until the client has acknowledged the one before.
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

    def __init__(self, cluster: Cluster, node: int, connection: socket.socket) -> None:
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
            if self._reader.take(len(MAGIC)) != MAGIC:
                raise Malformed("it does not begin as a client of DAX does")
            layering, _session, _about, types = (self._reader.value() for _ in range(4))
            if layering != 0 or types != 0:
                raise Malformed("it asks for layers or types, which DAX does not have")
            while True:
                service, number = self._reader.value(), self._reader.value()
                method = METHODS.get(number) if isinstance(number, int) else None
                if service != _SERVICE or method is None:
                    text = f"there is no method {number!r} of service {service!r}"
                    # How long it is nobody knows, so that nothing after it can be read.
                    self._connection.sendall(
                        replies.failure("ValidationException", text, codes=replies.NOT_IMPLEMENTED)
                    )
                    raise Malformed(text)
                arguments = [self._reader.value() for _ in range(method.arguments)]
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
