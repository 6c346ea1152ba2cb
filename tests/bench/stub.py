"""A small SQS and DynamoDB over HTTP, fast, or as slow per call as it is told; counts the calls.

Whatever is under test talks to it, so none gains from a fast emulator or suffers from a slow one.
It speaks the JSON protocols of current AWS clients. Run as a module it prints its port. It keeps
everything in memory and checks no signature: it is for measuring, and for nothing else.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from hashlib import md5
from typing import Any
from urllib.parse import parse_qs, urlsplit

from msgspec import json as fast_json

from tests.bench.machine import pin
from tests.bench.stub_store import Answer, Fields, Queue, Tables

HOST = "127.0.0.1"
ACCOUNT = "000000000000"


class Missing(Exception):
    """There is no such queue."""


class Service:
    """Queues and tables, the latencies in seconds by operation, and the counters."""

    def __init__(self) -> None:
        self.queues: dict[str, Queue] = {}
        self.tables = Tables()
        self.latencies: dict[str, float] = {}
        self.calls: Counter[str] = Counter()
        self.base_url = ""
        self._actions: dict[str, Callable[[Fields], Awaitable[Answer] | Answer]] = {
            "CreateQueue": self._create,
            "GetQueueUrl": lambda f: {"QueueUrl": self._url(self._named(f["QueueName"]))},
            "GetQueueAttributes": lambda f: {"Attributes": self._of(f).attributes()},
            "ListQueues": self._list,
            "ReceiveMessage": self._receive,
            "SendMessage": lambda f: _sent(f, self._of(f).add(f["MessageBody"])),
            "SendMessageBatch": self._send_batch,
            "DeleteMessage": lambda f: self._of(f).delete(f["ReceiptHandle"]),
            "DeleteMessageBatch": self._delete_batch,
            "ChangeMessageVisibility": self._hide,
            "ChangeMessageVisibilityBatch": self._hide_batch,
            "SetQueueAttributes": lambda f: {},
            "TagQueue": lambda f: {},
            **self.tables.actions,
        }

    def act(self, operation: str, fields: Fields) -> Awaitable[Answer] | Answer:
        """Do one operation after its latency; what need not wait is answered at once."""
        self.calls[operation] += 1
        if latency_s := self.latencies.get(operation, 0.0):
            return self._late(latency_s, operation, fields)
        return self._actions[operation](fields)

    async def _late(self, latency_s: float, operation: str, fields: Fields) -> Answer:
        await asyncio.sleep(latency_s)
        answer = self._actions[operation](fields)
        return await answer if isinstance(answer, Awaitable) else answer

    def control(self, path: str, fields: Fields) -> Answer:
        """Set up and look at the service, outside of AWS's protocols."""
        if path == "/_latencies":
            self.latencies = dict(fields)
        elif path == "/_create":
            self._create({"QueueName": fields["queue"], "Attributes": fields.get("settings")})
        elif path == "/_snapshot":
            self._named(fields["queue"]).snapshot()
        elif path == "/_rewind":
            self._named(fields["queue"]).rewind()
        elif path == "/_fill":
            for table, items in fields["tables"].items():
                self.tables.fill(table, items)
            for body in fields["bodies"]:
                self._named(fields["queue"]).add(body)
        elif path == "/_bodies":
            return {"bodies": self._named(fields["queue"]).bodies()}
        stored = {name: queue.stored for name, queue in self.queues.items()}
        return {"calls": self.calls, "stored": stored, "cpu_s": time.process_time()}

    def _create(self, fields: Fields) -> Answer:
        name = fields["QueueName"]
        queue = self.queues.setdefault(name, Queue(name))
        queue.settings.update(fields.get("Attributes") or {})
        return {"QueueUrl": self._url(queue)}

    def _list(self, fields: Fields) -> Answer:
        prefix = fields.get("QueueNamePrefix", "")
        found = [queue for name, queue in self.queues.items() if name.startswith(prefix)]
        return {"QueueUrls": [self._url(queue) for queue in found]}

    async def _receive(self, fields: Fields) -> Answer:
        messages = await self._of(fields).receive(
            most=int(fields.get("MaxNumberOfMessages", 1)),
            wait_s=float(fields.get("WaitTimeSeconds", 0)),
            visibility_s=float(fields.get("VisibilityTimeout", 30)),
        )
        return {"Messages": messages} if messages else {}

    def _send_batch(self, fields: Fields) -> Answer:
        queue = self._of(fields)
        sent = [{"Id": e["Id"], **_sent(e, queue.add(e["MessageBody"]))} for e in fields["Entries"]]
        return {"Successful": sent, "Failed": []}

    def _delete_batch(self, fields: Fields) -> Answer:
        queue = self._of(fields)
        for entry in fields["Entries"]:
            queue.delete(entry["ReceiptHandle"])
        return _all_done(fields)

    def _hide(self, fields: Fields) -> Answer:
        return self._of(fields).hide(fields["ReceiptHandle"], float(fields["VisibilityTimeout"]))

    def _hide_batch(self, fields: Fields) -> Answer:
        queue = self._of(fields)
        for entry in fields["Entries"]:
            queue.hide(entry["ReceiptHandle"], float(entry["VisibilityTimeout"]))
        return _all_done(fields)

    def _of(self, fields: Fields) -> Queue:
        return self._named(fields["QueueUrl"].rpartition("/")[2])

    def _named(self, name: str) -> Queue:
        if name not in self.queues:
            raise Missing(name)
        return self.queues[name]

    def _url(self, queue: Queue) -> str:
        return f"{self.base_url}/{ACCOUNT}/{queue.name}"


class Connection(asyncio.Protocol):
    """One connection; a client waits for each answer before it asks again."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._received = bytearray()
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: Any) -> None:
        """Keep what to answer on."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer a request once it is whole."""
        self._received += data
        end = self._received.find(b"\r\n\r\n") + 4
        if end < 4:
            return
        request, *lines = self._received[:end].decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        whole = end + int(headers.get("content-length") or 0)
        if len(self._received) < whole:
            return
        body = bytes(self._received[end:whole])
        del self._received[:whole]
        target = request.split(" ")[1]
        try:
            answer = self._act(target, headers.get("x-amz-target", ""), body)
        except Missing as missing:
            self._send(_error(missing), status=400)
        else:
            if isinstance(answer, Awaitable):
                self._task = asyncio.ensure_future(self._wait(answer))
            else:
                self._send(answer)

    def _act(self, target: str, operation: str, body: bytes) -> Awaitable[Answer] | Answer:
        if operation:
            fields = fast_json.decode(body or b"{}")
            return self._service.act(operation.rpartition(".")[2], fields)
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        return self._service.control(parts.path, fast_json.decode(body) if body else query)

    async def _wait(self, answer: Awaitable[Answer]) -> None:
        try:
            self._send(await answer)
        except Missing as missing:
            self._send(_error(missing), status=400)

    def _send(self, answer: Mapping[str, Any], *, status: int = 200) -> None:
        body = fast_json.encode(answer)
        error = "" if status == 200 else f"x-amzn-query-error: {_CODE};Sender\r\n"
        head = (
            f"HTTP/1.1 {status} OK\r\nContent-Type: application/x-amz-json-1.0\r\n{error}"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self._transport.write(head.encode() + body)


_CODE = "AWS.SimpleQueueService.NonExistentQueue"


def _error(missing: Missing) -> Answer:
    return {"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": str(missing)}


def _sent(fields: Fields, message_id: str) -> Answer:
    digest = md5(fields["MessageBody"].encode(), usedforsecurity=False).hexdigest()
    return {"MessageId": message_id, "MD5OfMessageBody": digest}


def _all_done(fields: Fields) -> Answer:
    return {"Successful": [{"Id": entry["Id"]} for entry in fields["Entries"]], "Failed": []}


async def main() -> None:
    """Serve until the process is ended."""
    pin()
    service = Service()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(service), HOST, 0)
    port = server.sockets[0].getsockname()[1]
    service.base_url = f"http://{HOST}:{port}"
    print(json.dumps({"port": port}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
