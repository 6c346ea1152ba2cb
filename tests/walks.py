"""Which of our files and functions one signal, or one decision, meets on its way.

    python tests/walks.py signal|decision [root]

The Lambda function of `docs/examples` gets the stream record and a worker process, as the Dramatiq
command line builds it, the messages that come of it. Both run on boto3; `Aws` answers where the
requests would leave the process. Nothing here knows how the product is built inside.
"""

import json
import os
import re
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.httpsession import URLLib3Session
from dramatiq import Worker

PATIENCE_S = 30.0
_DAY_S = 86_400


class Aws:
    """DynamoDB and SQS to the extent of a walk: what is put is there, every condition holds."""

    def __init__(self) -> None:
        self.items: dict[str, dict[tuple[str, str], dict[str, Any]]] = defaultdict(dict)
        self.waiting: dict[str, list[str]] = defaultdict(list)
        self.deleted: Counter[str] = Counter()
        self._changed = threading.Condition()

    def send(self, request: Any) -> Any:
        """Answer a request in place of the network."""
        target = request.headers["X-Amz-Target"]
        operation = (target.decode() if isinstance(target, bytes) else target).partition(".")[2]
        call = json.loads(request.body)
        answer: dict[str, Any] = getattr(self, operation, lambda _: {})(call)
        if "ReturnConsumedCapacity" in call:
            used = {"TableName": call.get("TableName", ""), "CapacityUnits": 1.0}
            answer["ConsumedCapacity"] = [used] if operation.startswith("Batch") else used
        reply: Any = AWSResponse(request.url, 200, HTTPHeaders(), None)
        reply._content = json.dumps(answer).encode()
        return reply

    def put(self, table: str, item: dict[str, Any]) -> None:
        """Store an item in typed form."""
        self.items[table][item["PK"]["S"], item["SK"]["S"]] = item

    def done(self, inbox: str, works: Sequence[str]) -> bool:
        """Wait until an inbox holds a message, if it is named, and of each work one is done."""
        with self._changed:
            return self._changed.wait_for(
                lambda: (
                    all(self.deleted[work] for work in works)
                    and (not inbox or bool(self.waiting[inbox]))
                ),
                PATIENCE_S,
            )

    # DynamoDB

    def BatchGetItem(self, call: Any) -> Any:
        """Find items by key."""
        return {
            "Responses": {
                table: [found for key in asked["Keys"] if (found := self._get(table, key))]
                for table, asked in call["RequestItems"].items()
            }
        }

    def GetItem(self, call: Any) -> Any:
        """Find one item."""
        found = self._get(call["TableName"], call["Key"])
        return {"Item": found} if found else {}

    def _get(self, table: str, key: Any) -> dict[str, Any] | None:
        return self.items[table].get((key["PK"]["S"], key["SK"]["S"]))

    def Query(self, call: Any) -> Any:
        """Find a partition's items, by the texts that sort keys shall lie between if any."""
        values, names = call["ExpressionAttributeValues"], call.get("ExpressionAttributeNames", {})
        name, own = re.findall(r"([#\w]+) = (:\w+)", call["KeyConditionExpression"])[0]
        bounds = [value["S"] for each, value in values.items() if each != own and "S" in value]
        after = bounds[0] if bounds else ""
        until = bounds[1] if len(bounds) > 1 else "\uffff"
        table = self.items[call["TableName"]]
        found = [
            key for key in sorted(table) if table[key].get(names.get(name, name)) == values[own]
        ]
        return {"Items": [table[key] for key in found if after < key[1] <= until]}

    def PutItem(self, call: Any) -> Any:
        """Store an item."""
        self.put(call["TableName"], call["Item"])
        return {}

    def BatchExecuteStatement(self, call: Any) -> Any:
        """Take every statement; what is inserted is there."""
        for each in call["Statements"]:
            if each["Statement"].startswith("INSERT"):
                names = re.findall(r"'([^']+)': \?", each["Statement"])
                table = each["Statement"].split('"')[1]
                self.put(table, dict(zip(names, each["Parameters"], strict=True)))
        return {"Responses": [{} for _ in call["Statements"]]}

    def UpdateItem(self, call: Any) -> Any:
        """Take every update; what it adds to holds just that."""
        values = call.get("ExpressionAttributeValues", {})
        added = re.findall(r"(\w+) (:\w+)", call["UpdateExpression"])
        held = {name: values[value] for name, value in added}
        return {"Attributes": held} if call.get("ReturnValues") == "ALL_NEW" else {}

    # SQS

    def GetQueueAttributes(self, call: Any) -> Any:
        """Give every queue dead letters."""
        arn = f"arn:aws:sqs:us-east-1:1:{_queue(call)}_dlq"
        policy = {"deadLetterTargetArn": arn, "maxReceiveCount": 20}
        return {"Attributes": {"RedrivePolicy": json.dumps(policy)}}

    def GetQueueUrl(self, call: Any) -> Any:
        """Give the URL of any queue; only names tell queues apart."""
        return {"QueueUrl": f"https://sqs.us-east-1.amazonaws.com/1/{call['QueueName']}"}

    def SendMessageBatch(self, call: Any) -> Any:
        """Accept messages."""
        with self._changed:
            queue = self.waiting[_queue(call)]
            queue += [entry["MessageBody"] for entry in call["Entries"]]
            self._changed.notify_all()
        return {"Successful": [{"Id": entry["Id"], "MessageId": "1"} for entry in call["Entries"]]}

    def ReceiveMessage(self, call: Any) -> Any:
        """Hand out what waits, for good."""
        queue = self.waiting[_queue(call)]
        with self._changed:
            self._changed.wait_for(lambda: bool(queue), min(1.0, call.get("WaitTimeSeconds", 0)))
            bodies, queue[:] = queue[:10], queue[10:]
        return {
            "Messages": [
                {
                    "MessageId": f"m{number}",
                    "ReceiptHandle": f"h{number}",
                    "Body": body,
                    "Attributes": {"ApproximateReceiveCount": "1"},
                }
                for number, body in enumerate(bodies)
            ]
        }

    def DeleteMessageBatch(self, call: Any) -> Any:
        """Note what is done."""
        with self._changed:
            self.deleted[_queue(call)] += len(call["Entries"])
            self._changed.notify_all()
        return {"Successful": [{"Id": entry["Id"]} for entry in call["Entries"]]}


def _queue(call: Any) -> str:
    return str(call["QueueUrl"].rpartition("/")[2])


class Trace:
    """What runs of the code below some folders, in every thread, while it is on.

    Attributes:
        seen: the functions called, in order.
        chain: the longest stack of them.
    """

    def __init__(self, root: Path, folders: list[Path]) -> None:
        self._root, self._folders = root, tuple(f"{folder}/" for folder in folders)
        self._ours: dict[CodeType, bool] = {}
        self.seen: dict[CodeType, None] = {}
        self.chain: list[CodeType] = []
        self.is_on = False

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        """Note a call; Python calls this at each."""
        if not self.is_on or event != "call" or not self._is_ours(frame.f_code):
            return
        self.seen[frame.f_code] = None
        stack, caller = [frame.f_code], frame.f_back
        while caller is not None:
            if self._is_ours(caller.f_code):
                stack.append(caller.f_code)
            caller = caller.f_back
        if len(stack) > len(self.chain):
            self.chain = stack[::-1]

    def _is_ours(self, code: CodeType) -> bool:
        known = self._ours.get(code)
        if known is None:
            # Neither modules nor the loops of comprehensions are functions.
            is_function = code.co_name == "<lambda>" or not code.co_name.startswith("<")
            known = self._ours[code] = is_function and code.co_filename.startswith(self._folders)
        return known

    def summary(self) -> dict[str, Any]:
        """Give files in the order they were met with their functions, and the longest chain."""
        files = Counter(str(Path(code.co_filename).relative_to(self._root)) for code in self.seen)
        chain = [f"{Path(code.co_filename).stem}.{code.co_qualname}" for code in self.chain]
        return {
            "files": files,
            "functions": len(self.seen),
            "depth": len(self.chain),
            "chain": chain,
        }


def walk(kind: str, root: Path) -> dict[str, Any]:
    """Let a signal to one target, or a decision with a late outcome, run to its end."""
    folders = [root / name for name in ("schemas", "producers", "workers", "infra")]
    sys.path[:0] = map(str, folders)
    os.environ |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}
    os.environ |= {"AWS_ACCESS_KEY_ID": "walk", "AWS_SECRET_ACCESS_KEY": "walk"}
    os.environ.pop("AWS_ENDPOINT_URL", None)
    aws, trace = Aws(), Trace(root, folders)
    setattr(URLLib3Session, "send", lambda _, request: aws.send(request))  # noqa: B010
    now = int(time.time())
    aws.put("agent_state", _registration("bob", now))
    record, inbox, works = _signal(now) if kind == "signal" else _decision(now - 2 * _DAY_S)
    table = record["eventSourceARN"].split("/")[1]
    aws.put(table, record["dynamodb"]["NewImage"])

    main = import_module("sharpwave.workers.main")
    settings = import_module("sharpwave.workers.settings").Settings.read()
    handler = main.build_handler(settings, import_module("sharpwave.workers.aws.clients").clients())
    build = main.build
    threading.setprofile(trace)
    Worker(build(), queues=set(works), worker_threads=1).start()
    # How a process starts is no part of the way.
    time.sleep(1.0)
    sys.setprofile(trace)
    trace.is_on = True
    answer = handler({"Records": [record]}, None)
    is_done = aws.done(inbox, works)
    trace.is_on = False
    sys.setprofile(None)
    if answer != {"batchItemFailures": []} or not is_done:
        raise SystemExit(f"{kind} came to no end: {answer}, {dict(aws.waiting)}, {aws.deleted}")
    return trace.summary()


def _signal(at: int) -> tuple[dict[str, Any], str, tuple[str, ...]]:
    """Give a signal's insertion, where it ends, and the queues on its way."""
    own = {
        "signal_id": {"S": "s1"},
        "signal_type": {"S": "ALERT"},
        "source_agent": {"S": "ann"},
        "target_agents": {"L": [{"S": "bob"}]},
    }
    image = {**_dated("signal#ALERT#ann", "s1", at), **own}
    return _record("agent_signals", image), "inbox-bob", ("deliver",)


def _decision(at: int) -> tuple[dict[str, Any], str, tuple[str, ...]]:
    """Give a decision's insertion, which is learnt from and promoted."""
    own = {
        "agent_id": {"S": "ann"},
        "decision_id": {"S": "d1"},
        "decision_type": {"S": "TRADE"},
        "outcome": {"M": {"success": {"BOOL": True}}},
    }
    image = {**_dated("agent:ann#decision#TRADE", "d1", at), **own}
    return _record("agent_decisions", image), "", ("learn", "promote")


def _dated(pk: str, name: str, at: int) -> dict[str, Any]:
    iso = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    times = {"timestamp": {"N": str(at)}, "iso_timestamp": {"S": iso}, "schema_version": {"N": "1"}}
    return {"PK": {"S": pk}, "SK": {"S": f"{iso}#{name}"}, **times}


def _registration(agent: str, at: int) -> dict[str, Any]:
    key = {"PK": {"S": f"agent:{agent}"}, "SK": {"S": "REGISTRATION"}}
    moment = {"N": str(at)}
    return {**key, "agent_id": {"S": agent}, "registered_at": moment, "schema_version": {"N": "1"}}


def _record(table: str, image: dict[str, Any]) -> dict[str, Any]:
    return {
        "eventID": "e1",
        "eventName": "INSERT",
        "eventSourceARN": f"arn:aws:dynamodb:us-east-1:1:table/{table}/stream/1",
        "dynamodb": {
            "Keys": {"PK": image["PK"], "SK": image["SK"]},
            "NewImage": image,
            "SequenceNumber": "1",
            "ApproximateCreationDateTime": time.time(),
        },
    }


if __name__ == "__main__":
    print(json.dumps(walk(sys.argv[1], Path(*sys.argv[2:]).resolve())))
    # The worker's threads have nothing left to do.
    sys.stdout.flush()
    os._exit(0)
