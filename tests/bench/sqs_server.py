"""A small SQS over HTTP that takes as long per call as it is told, and counts the calls.

Every queue library under test talks to it, so none gains from a fast emulator or suffers from a
slow one. It speaks the JSON protocol of current AWS clients. Run as a module it prints its port.
It keeps everything in memory and checks no signature: it is for measuring, and for nothing else.
"""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from hashlib import md5
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.bench.sqs_store import Queue

HOST = "127.0.0.1"
ACCOUNT = "000000000000"

Fields = Mapping[str, Any]
Answer = dict[str, Any]


class Missing(Exception):
    """There is no such queue."""


class Service:
    """The queues, the latencies in seconds by operation, and the counters."""

    def __init__(self) -> None:
        self.queues: dict[str, Queue] = {}
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
        }

    async def act(self, operation: str, fields: Fields) -> Answer:
        """Do one operation after its latency."""
        self.calls[operation] += 1
        if latency_s := self.latencies.get(operation, 0.0):
            await asyncio.sleep(latency_s)
        answer = self._actions[operation](fields)
        return await answer if isinstance(answer, Awaitable) else answer

    def control(self, path: str, fields: Fields) -> Answer:
        """Set up and look at the service, outside of SQS."""
        if path == "/_latencies":
            self.latencies = dict(fields)
        elif path == "/_create":
            self._create({"QueueName": fields["queue"]})
        elif path == "/_snapshot":
            self._named(fields["queue"]).snapshot()
        elif path == "/_rewind":
            self._named(fields["queue"]).rewind()
        return {"calls": self.calls, "stored": {n: q.stored for n, q in self.queues.items()}}

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


async def serve(service: Service, reader: asyncio.StreamReader, writer: Any) -> None:
    """Answer the requests of one connection until it closes."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            status, answer = await _answer(service, head.decode("latin-1"), reader)
            body = json.dumps(answer).encode()
            error = "" if status == 200 else "x-amzn-query-error: " + _CODE + ";Sender\r\n"
            writer.write(
                f"HTTP/1.1 {status} OK\r\nContent-Type: application/x-amz-json-1.0\r\n{error}"
                f"Content-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


_CODE = "AWS.SimpleQueueService.NonExistentQueue"


async def _answer(
    service: Service, head: str, reader: asyncio.StreamReader
) -> tuple[int, Mapping[str, Any]]:
    request, *lines = head.split("\r\n")
    headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length") or 0))
    target = urlsplit(request.split(" ")[1])
    try:
        if target.path.startswith("/_"):
            query = {name: values[0] for name, values in parse_qs(target.query).items()}
            return 200, service.control(target.path, json.loads(body) if body else query)
        operation = headers["x-amz-target"].rpartition(".")[2]
        return 200, await service.act(operation, json.loads(body or b"{}"))
    except Missing as missing:
        return 400, {"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": str(missing)}


def _sent(fields: Fields, message_id: str) -> Answer:
    digest = md5(fields["MessageBody"].encode(), usedforsecurity=False).hexdigest()
    return {"MessageId": message_id, "MD5OfMessageBody": digest}


def _all_done(fields: Fields) -> Answer:
    return {"Successful": [{"Id": entry["Id"]} for entry in fields["Entries"]], "Failed": []}


async def main() -> None:
    """Serve until the process is ended."""
    service = Service()
    server = await asyncio.start_server(
        lambda reader, writer: serve(service, reader, writer), HOST, 0, limit=4_000_000
    )
    port = server.sockets[0].getsockname()[1]
    service.base_url = f"http://{HOST}:{port}"
    print(json.dumps({"port": port}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
