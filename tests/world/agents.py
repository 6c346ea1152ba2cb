"""The SDK's operations on a world in memory: an agent that receives and acknowledges there."""

from typing import Any, TypeVar

from botocore.exceptions import ClientError

from sharpwave.producers.call import Identity, Operation
from sharpwave.producers.drivers import Driver
from sharpwave.producers.operations import receiving, settling
from sharpwave.producers.operations.receiving import Ask, Inbox, Lease, Received
from sharpwave.schemas import keys
from sharpwave.schemas.numbers import item_from_wire, item_to_wire
from sharpwave.schemas.queues import INBOX_PREFIX, MAX_BATCH
from sharpwave.workers.work.ports import Location
from tests.world.world import World

_VISIBILITY_S = 60
T = TypeVar("T")


class Clients:
    """What boto3 offers an agent, as far as receiving and acknowledging need it.

    Attributes:
        calls: the calls that were made, each as its operation and the queue or table it names.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.calls: list[tuple[str, str]] = []
        self._hidden: dict[str, tuple[float, str, str, int]] = {}
        self._receives: dict[tuple[str, str], int] = {}

    def get_queue_url(self, *, QueueName: str) -> Any:
        """Find a queue."""
        self.calls.append(("get_queue_url", QueueName))
        if not self.world.inboxes.exists(QueueName.removeprefix(INBOX_PREFIX)):
            raise _error("AWS.SimpleQueueService.NonExistentQueue")
        return {"QueueUrl": f"memory://{QueueName}"}

    def receive_message(
        self, *, QueueUrl: str, MaxNumberOfMessages: int, VisibilityTimeout: int, **_: Any
    ) -> Any:
        """Take what is there; nothing is waited for."""
        name = QueueUrl.rpartition("/")[2]
        self.calls.append(("receive_message", name))
        self._surface()
        box, now = name.removeprefix(INBOX_PREFIX), self.world.clock()
        if not self.world.inboxes.exists(box):
            raise _error("AWS.SimpleQueueService.NonExistentQueue")
        messages: list[dict[str, Any]] = []
        for body in self.world.inboxes.waiting(box)[:MaxNumberOfMessages]:
            self.world.inboxes.delete(box, body)
            count = self._receives[box, body] = self._receives.get((box, body), 0) + 1
            receipt = f"{box}/{len(self.calls)}/{len(messages)}"
            self._hidden[receipt] = now + VisibilityTimeout, box, body, count
            system = {"ApproximateReceiveCount": str(count)}
            messages.append({"Body": body, "ReceiptHandle": receipt, "Attributes": system})
        return {"Messages": messages}

    def delete_message(self, *, QueueUrl: str, ReceiptHandle: str) -> Any:
        """Delete what was received."""
        self.calls.append(("delete_message", QueueUrl.rpartition("/")[2]))
        self._hidden.pop(ReceiptHandle, None)
        return {}

    def change_message_visibility_batch(self, *, QueueUrl: str, Entries: Any) -> Any:
        """Give back, or keep longer, what was received."""
        for entry in Entries:
            if held := self._hidden.get(entry["ReceiptHandle"]):
                until = self.world.clock() + entry["VisibilityTimeout"]
                self._hidden[entry["ReceiptHandle"]] = until, *held[1:]
        return {}

    def get_item(self, *, TableName: str, Key: Any, **_: Any) -> Any:
        """Read an item."""
        self.calls.append(("get_item", TableName))
        place = Location(TableName, keys.Key(Key["PK"]["S"], Key["SK"]["S"]))
        found = self.world.tables.get([place]).get(place)
        return {"Item": item_to_wire(found)} if found else {}

    def update_item(
        self,
        *,
        TableName: str,
        Key: Any,
        ExpressionAttributeNames: Any,
        ExpressionAttributeValues: Any,
        **_: Any,
    ) -> Any:
        """Set attributes, unless the item says PROCESSED: an acknowledgement."""
        key = keys.Key(Key["PK"]["S"], Key["SK"]["S"])
        place, given = Location(TableName, key), item_from_wire(ExpressionAttributeValues)
        found = self.world.tables.get([place]).get(place)
        if found is None or found.get("status") == "PROCESSED":
            item = {"Item": item_to_wire(found)} if found else {}
            fault = {"Code": "ConditionalCheckFailedException", "Message": "no"}
            refused: Any = {"Error": fault, **item}
            raise ClientError(refused, "UpdateItem")
        values = {name: given[f":{name}"] for name in ExpressionAttributeNames.values()}
        self.world.tables.update(TableName, key, values)
        return {}

    def _surface(self) -> None:
        now = self.world.clock()
        for receipt, (until, box, body, _) in list(self._hidden.items()):
            if until <= now:
                del self._hidden[receipt]
                self.world.inboxes.put_back(box, body)


class MemoryAgent:
    """One process of an agent: what `Agent.inbox` does, a receive and a delivery at a time."""

    def __init__(self, world: World, agent_id: str, clients: Clients | None = None) -> None:
        """Begin; processes of one agent share `clients`, for they hide messages from each other."""
        self.clients = clients or Clients(world)
        self.me = Identity(agent_id, clock=world.clock)
        self.inbox = Inbox(self.me)
        self._driver = Driver({"dynamodb": self.clients, "sqs": self.clients})

    def receive(self, at_most: int = MAX_BATCH) -> list[Lease]:
        """Receive once."""
        return self._run(receiving.receive(self.inbox, Ask(0, at_most), _VISIBILITY_S))

    def admit(self, lease: Lease) -> Received | None:
        """Give the delivery of a message if it is to be worked."""
        return self._run(receiving.admit(self.inbox, lease))

    def acknowledge(self, received: Received) -> None:
        """End a delivery."""
        self._run(settling.ack(received))

    def work(self, at_most: int = MAX_BATCH) -> list[str]:
        """Receive once and end all of it; gives the ids of the signals in order."""
        done = []
        for lease in self.receive(at_most):
            if received := self.admit(lease):
                done.append(received.message.signal_id)
                self.acknowledge(received)
        return done

    def _run(self, operation: Operation[T]) -> T:
        return self._driver.run(operation)


def _error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, "SQS")
