"""Many plain agents in one process: `python -m tests.chaos.crowd` drains their queues.

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
from typing import Any, Literal, NamedTuple

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from sharpwave.schemas import keys, queues
from sharpwave.schemas.ids import ulid
from sharpwave.schemas.numbers import item_to_wire
from sharpwave.schemas.tables import SIGNALS, physical
from sharpwave.workers.aws.errors import code_of
from tests.chaos import drafts, roster
from tests.chaos.history import History, What

#: Chance, after a batch was worked and before its messages are deleted, that the process dies.
DIES = 0.001
_THREADS = 3
#: One round takes at least as long as this many queues a second make it.
_QUEUES_PER_S = 60
_BAD, _NEGLECTS = 0.03, 0.5
_BRIEF_S = 60

Habit = Literal["acknowledges", "neglects", "deletes", "overwrites", "acknowledges and deletes"]
_BAD_HABITS: Sequence[Habit] = ("deletes", "overwrites", "acknowledges and deletes")
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
        habits = [(each, self._habit(each)) for each in signals]
        # One transaction for those that are plainly acknowledged; what is not is looked at singly.
        plain = {each.row: each for each, habit in habits if habit == "acknowledges"}
        together = self._crowd.acknowledge_all(list(plain))
        settled = list(plain.values()) if together else []
        self._note([("settled", _settled(each)) for each in settled])
        done += settled
        done += [each for each, habit in habits if each not in settled and self._end(each, habit)]
        self._crowd.perhaps_die(self.name)
        if done:
            entries = [{"Id": str(n), "ReceiptHandle": each.receipt} for n, each in enumerate(done)]
            self._crowd.sqs.delete_message_batch(QueueUrl=self._url, Entries=entries)

    def _habit(self, message: Message) -> Habit:
        """Say what an agent does with a delivery, the same each time that it comes."""
        rng = random.Random(message.name)
        is_brief = message.body["expires_at"] - time.time() <= _BRIEF_S
        if self._crowd.neglects and is_brief and rng.random() < _NEGLECTS:
            return "neglects"
        if self._crowd.spoils and rng.random() < _BAD:
            return rng.choice(_BAD_HABITS)
        return "acknowledges"

    def _end(self, message: Message, habit: Habit) -> bool:
        """Do with one delivery what the agent does; says whether its message may go."""
        if habit == "neglects":
            return True
        if habit == "deletes" and message.receives == 1:
            self._note([("changed", {"record": "row", "delivery": message.name})])
            self._crowd.delete_row(message.row)  # the message stays and comes again
            return False
        spoils = random.Random(message.name).choice(_SPOILS) if habit == "overwrites" else {}
        settled = self._crowd.acknowledge(message.row, spoils)
        if settled == "now":
            self._note([("settled", _settled(message))])
            if habit == "acknowledges and deletes":
                self._note([("deleted", {"delivery": message.name})])
                self._crowd.delete_row(message.row)
            return True
        # A message that was sent twice comes again to an agent that deleted its row at the end;
        # others find that their row is put back, and it is not there yet.
        is_over = settled == "before" or habit == "acknowledges and deletes"
        if is_over:
            self._note([("dropped", {"count": 1})])
        return is_over

    def _note(self, events: Sequence[tuple[What, Mapping[str, Any]]]) -> None:
        if events:
            self._crowd.history.note_all([(self.name, what, said) for what, said in events])


class Crowd:
    """The process: goes round the queues of all its agents until SIGTERM.

    Args:
        history: where everything is noted.
        sqs: a boto3 client of the queues.
        dynamodb: a boto3 client of the tables.
        visibility_s: how long a dead process hides its messages.
        dies: chance of a death at each batch.
        spoils: some deliveries lead to writes that no agent may do.
        neglects: some signals that expire soon are not acknowledged.
    """

    def __init__(
        self,
        history: History,
        *,
        sqs: Any,
        dynamodb: Any,
        visibility_s: int,
        dies: float = DIES,
        spoils: bool = False,
        neglects: bool = False,
    ) -> None:
        self.history, self.visibility_s = history, visibility_s
        self.spoils, self.neglects = spoils, neglects
        self.sqs, self._dynamodb = sqs, dynamodb
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

    def acknowledge_all(self, rows: Sequence[keys.Key]) -> bool:
        """Set rows to PROCESSED, all or none; says whether it did."""
        if len(rows) < 2:
            return False
        try:
            updates = [{"Update": self._acknowledgement(row, {})} for row in rows]
            self._dynamodb.transact_write_items(TransactItems=updates)
        except ClientError as error:
            if code_of(error) != "TransactionCanceledException":
                raise
            return False
        return True

    def acknowledge(self, row: keys.Key, spoils: Mapping[str, Any]) -> str:
        """Set a row to PROCESSED: "now", "before" if it was, or "no row"."""
        try:
            self._dynamodb.update_item(**self._acknowledgement(row, spoils))
        except ClientError as error:
            if code_of(error) != "ConditionalCheckFailedException":
                raise
            answer: Any = error.response
            return "before" if answer.get("Item") else "no row"
        return "now"

    def _acknowledgement(self, row: keys.Key, spoils: Mapping[str, Any]) -> dict[str, Any]:
        values = {"status": "PROCESSED", "processed_at": int(time.time()), **spoils}
        given = {f":{number}": value for number, value in enumerate(values.values())}
        return {
            "TableName": self._table,
            "Key": row.wire(),
            "UpdateExpression": "SET " + ", ".join(f"#{n} = :{n}" for n in range(len(values))),
            "ConditionExpression": "attribute_exists(PK) AND #0 <> :0",
            "ExpressionAttributeNames": {f"#{n}": name for n, name in enumerate(values)},
            "ExpressionAttributeValues": item_to_wire(given),
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }

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


def _settled(message: Message) -> dict[str, Any]:
    return {"delivery": message.name, "status": "PROCESSED"}


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
        session = boto3.Session()
        crowd = Crowd(
            history,
            sqs=session.client("sqs"),
            dynamodb=session.client("dynamodb"),
            visibility_s=args.visibility,
            dies=args.dies,
            spoils=args.spoils,
            neglects=args.neglects,
        )
        crowd.run(args.names.read_text().split())


if __name__ == "__main__":
    main()
