"""Many plain agents in one process: `python -m sharpwave.infra.chaos.crowd` drains their queues.

They use no SDK: each message is worked when it is received, and an acknowledgement is an update of
the agent's own row. A few threads go round all queues and take ten messages at a time, so that a
delivery costs little and an audience may be hundreds. Some agents behave badly: they delete their
rows, write what is not theirs, or leave a signal unacknowledged.
"""

import argparse
import json
import os
import random
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from sharpwave.infra.chaos import drafts, roster
from sharpwave.infra.chaos.history import History, What
from sharpwave.infra.errors import code_of
from sharpwave.schemas import keys, queues
from sharpwave.schemas.ids import ulid
from sharpwave.schemas.numbers import item_to_wire
from sharpwave.schemas.tables import SIGNALS, physical

#: Chance, after a batch was worked and before its messages are deleted, that the process dies.
DIES = 0.001
_THREADS = 3
#: One round takes at least as long as this many queues a second make it.
_QUEUES_PER_S = 90
_BAD, _NEGLECTS = 0.03, 0.5
_BRIEF_S = 60
#: What an agent that writes more than it may puts beside its acknowledgement.
_SPOILS: Sequence[Mapping[str, Any]] = (
    {"signal_sk": "spoilt"},
    {"chunk": "spoilt"},
    {"expires_at": 1},
    {"worker_rev": ulid()},
)


class Message(NamedTuple):
    """A signal in the hands of a plain agent."""

    receipt: str
    receives: int
    body: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Give the delivery's id."""
        return str(self.body["delivery_id"])

    @property
    def row(self) -> keys.Key:
        """Give the place of the acknowledgement."""
        return keys.Key(self.body["row"]["PK"], self.body["row"]["SK"])


class PlainAgent:
    """One agent with a queue; `serve` works what the queue holds now, up to ten messages."""

    def __init__(self, name: str, crowd: "Crowd") -> None:
        self.name, self._crowd = name, crowd
        self._url: str | None = None

    def serve(self) -> int:
        """Receive and work one batch; gives how many messages it held.

        Raises:
            ClientError: the backend refused a call; what was not finished comes again.
        """
        crowd = self._crowd
        try:
            self._url = self._url or crowd.queue_url(self.name)
            reply = crowd.sqs.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=10,
                WaitTimeSeconds=0,
                VisibilityTimeout=crowd.visibility_s,
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
            )
        except ClientError as error:
            if "NonExistentQueue" in code_of(error) or "QueueDoesNotExist" in code_of(error):
                return 0  # it has not registered yet, or an operator took the queue away
            raise
        received = reply.get("Messages", [])
        if received:
            self._work(received)
        return len(received)

    def _work(self, received: Sequence[Mapping[str, Any]]) -> None:
        messages = [
            Message(
                each["ReceiptHandle"],
                int(each["Attributes"]["ApproximateReceiveCount"]),
                json.loads(each["Body"]),
            )
            for each in received
        ]
        done = [each for each in messages if each.body["kind"] != "signal"]
        self._note([("told", _notice(each)) for each in done if each.body["kind"] == "notice"])
        signals = [each for each in messages if each.body["kind"] == "signal"]
        self._note([("handed", _handed(each)) for each in signals])
        done += [each for each in signals if self._settle(each)]
        self._crowd.perhaps_die(self.name)
        if done:
            entries = [{"Id": str(n), "ReceiptHandle": each.receipt} for n, each in enumerate(done)]
            self._crowd.sqs.delete_message_batch(QueueUrl=self._url, Entries=entries)

    def _settle(self, message: Message) -> bool:
        """Acknowledge a delivery, or misbehave; says whether its message may go."""
        draw = random.Random(message.name).random()
        is_brief = message.body["expires_at"] - time.time() <= _BRIEF_S
        if self._crowd.neglects and is_brief and draw < _NEGLECTS:
            return True
        is_bad = self._crowd.spoils and draw > 1 - _BAD
        number = int(draw * 1000)
        if is_bad and number % 3 == 0 and message.receives == 1:
            self._crowd.delete_row(message.row)  # the message stays and comes again
            return False
        spoils = _SPOILS[number % len(_SPOILS)] if is_bad and number % 3 == 1 else {}
        settled = self._crowd.acknowledge(message.row, spoils)
        if settled == "now":
            self._note([("settled", {"delivery": message.name, "status": "PROCESSED"})])
            if is_bad and number % 3 == 2:
                self._crowd.delete_row(message.row)
        elif settled == "before":
            self._note([("dropped", {"count": 1})])
        return settled != "no row"

    def _note(self, events: Sequence[tuple[What, Mapping[str, Any]]]) -> None:
        if events:
            self._crowd.history.note_all([(self.name, what, said) for what, said in events])


class Crowd:
    """The process: goes round the queues of all its agents until SIGTERM."""

    def __init__(
        self, history: History, *, visibility_s: int, dies: float, spoils: bool, neglects: bool
    ) -> None:
        self.history, self.visibility_s = history, visibility_s
        self.spoils, self.neglects = spoils, neglects
        session = boto3.Session()
        self.sqs: Any = session.client("sqs")
        self._dynamodb: Any = session.client("dynamodb")
        self._table = physical(SIGNALS, roster.PREFIX)
        self._stop = threading.Event()
        self._chance, self._rng = dies, random.Random()

    def run(self, names: Sequence[str]) -> None:
        """Drain every agent's queue until told to stop."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._stop.set())
        agents = [PlainAgent(name, self) for name in names]
        with ThreadPoolExecutor(_THREADS) as pool:
            for done in [pool.submit(self._go_round, agents[n::_THREADS]) for n in range(_THREADS)]:
                done.result()

    def _go_round(self, agents: Sequence[PlainAgent]) -> None:
        pace_s = _THREADS * len(agents) / _QUEUES_PER_S
        while not self._stop.is_set():
            began = time.monotonic()
            for agent in agents:
                try:
                    while agent.serve() == 10 and not self._stop.is_set():
                        pass
                except (ClientError, BotoCoreError) as error:
                    print(f"{agent.name}: {type(error).__name__}: {error}", flush=True)
            self._stop.wait(max(0.2, pace_s - (time.monotonic() - began)))

    def queue_url(self, name: str) -> str:
        """Look an agent's queue up."""
        queue = physical(queues.inbox(name).name, roster.PREFIX)
        return str(self.sqs.get_queue_url(QueueName=queue)["QueueUrl"])

    def acknowledge(self, row: keys.Key, spoils: Mapping[str, Any]) -> str:
        """Set a row to PROCESSED: "now", "before" if it was, or "no row"."""
        values = {"status": "PROCESSED", "processed_at": int(time.time()), **spoils}
        names = {f"#{number}": name for number, name in enumerate(values)}
        given = {f":{number}": value for number, value in enumerate(values.values())}
        try:
            self._dynamodb.update_item(
                TableName=self._table,
                Key=row.wire(),
                UpdateExpression="SET " + ", ".join(f"#{n} = :{n}" for n in range(len(values))),
                ConditionExpression="attribute_exists(PK) AND #0 <> :0",
                ExpressionAttributeNames=names,
                ExpressionAttributeValues=item_to_wire(given),
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ClientError as error:
            if code_of(error) != "ConditionalCheckFailedException":
                raise
            answer: Any = error.response
            return "before" if answer.get("Item") else "no row"
        return "now"

    def delete_row(self, row: keys.Key) -> None:
        """Delete a row, which no agent should."""
        self._dynamodb.delete_item(TableName=self._table, Key=row.wire())

    def perhaps_die(self, agent: str) -> None:
        """Die now and then, with everything worked and no message deleted."""
        if self._rng.random() < self._chance:
            self.history.note(agent, "dying", where="before the end of the messages")
            os.kill(os.getpid(), signal.SIGKILL)


def _handed(message: Message) -> dict[str, Any]:
    body = message.body
    return {
        "delivery": message.name,
        "receives": message.receives,
        "source": body["source_agent"],
        "expires_at": body["expires_at"],
        "token": drafts.token(body.get("data", {})),
    }


def _notice(message: Message) -> dict[str, Any]:
    body, record = message.body, message.body.get("record") or {}
    return {
        "code": body["code"],
        "notice": body["notice_id"],
        "pk": record.get("PK"),
        "sk": record.get("SK"),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Run the process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--history", type=Path, required=True)
    parser.add_argument("--visibility", type=int, required=True)
    parser.add_argument("--spoils", action="store_true")
    parser.add_argument("--neglects", action="store_true")
    parser.add_argument("--dies", type=float, default=DIES)
    parser.add_argument("--names", type=Path, required=True, help="a file with a name per line")
    args = parser.parse_args(argv)
    with History(args.history, "crowd") as history:
        crowd = Crowd(
            history,
            visibility_s=args.visibility,
            dies=args.dies,
            spoils=args.spoils,
            neglects=args.neglects,
        )
        crowd.run(args.names.read_text().split())


if __name__ == "__main__":
    main()
