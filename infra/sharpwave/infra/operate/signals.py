"""What an agent does with signals, done by hand in its name: the SDK's operations do all of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Conflict, Missing, Misused
from sharpwave.infra.items import Item, Items
from sharpwave.infra.operate.agents import check_agent_id
from sharpwave.producers.call import Call, Identity, Operation
from sharpwave.producers.drivers import Driver
from sharpwave.producers.errors import ConditionFailed, RecordRefused
from sharpwave.producers.operations import receiving, settling, signals
from sharpwave.producers.operations.settling import Acknowledged
from sharpwave.schemas import ids, keys
from sharpwave.schemas.keys import Key
from sharpwave.schemas.messages import AnyMessage, SignalMessage, parse_message
from sharpwave.schemas.tables import SIGNALS

HOLD_S = 60

T = TypeVar("T")


class StandIn:
    """An operator in an agent's place: the agent's operations, by the operator's clients.

    With `dry_run` an operation is prepared and checked, and its request is not sent, nor one before
    it that puts an object; each that is run so has one only. With `strict` its signals lie under
    keys that bind the agent. With `large_entries` it carries memory to S3 and back, as the agent
    does.

    Raises:
        Misused: `large_entries` is no place.
    """

    def __init__(
        self,
        deployment: Deployment,
        agent_id: str,
        *,
        strict: bool = True,
        dry_run: bool = False,
        large_entries: str | None = None,
    ) -> None:
        check_agent_id(agent_id)
        try:
            self.me = Identity(agent_id, deployment.prefix, strict, large_entries=large_entries)
        except ValueError as error:
            raise Misused(str(error)) from error
        self._dry_run = dry_run
        clients: dict[str, Any] = {"dynamodb": deployment.dynamodb, "sqs": deployment.sqs}
        if large_entries is not None:
            endpoint = deployment.endpoint("s3")
            clients["s3"] = deployment.session.client("s3", endpoint_url=endpoint)
        self._driver = Driver(clients)

    def run(self, operation: Operation[T]) -> T:
        """Run an operation to its result."""
        if not self._dry_run:
            return self._driver.run(operation)
        call = next(operation)
        try:
            if isinstance(call, Call) and call.service == "s3":
                operation.send({})
            operation.send({})
        except StopIteration as done:
            result: T = done.value
            return result
        raise AssertionError("an operation of one request asked for a second")


def send(
    deployment: Deployment,
    agent_id: str,
    signal_type: str,
    targets: Sequence[str],
    *,
    strict: bool = True,
    dry_run: bool = False,
    **described: Any,
) -> Item:
    """Send a signal, and give the record; `described` are the arguments of `Agent.signal`.

    Raises:
        Misused: the record breaks its schema; nothing was written.
    """
    agent = StandIn(deployment, agent_id, strict=strict, dry_run=dry_run)
    try:
        sent = agent.run(signals.signal(agent.me, signal_type, to=targets, **described))
    except RecordRefused as refused:
        raise Misused(f"signal not sent: {refused}") from refused
    return sent.model_dump(exclude_unset=True)


def peek(
    deployment: Deployment, agent_id: str, *, status: str | None = None, limit: int = 20
) -> list[Item]:
    """Read an agent's inbox rows as they are stored, newest first, without touching its queue.

    A look into the queue itself would count as a receive, and a few of those end in the dead
    letters.
    """
    rows = _rows(deployment, agent_id)
    return list(islice((row for row in rows if status in (None, row.get("status"))), limit))


def _rows(deployment: Deployment, agent_id: str) -> Iterator[Item]:
    check_agent_id(agent_id)
    return Items(deployment).query(SIGNALS, keys.inbox_pk(agent_id), newest_first=True)


def with_payloads(deployment: Deployment, rows: Sequence[Item]) -> list[Item]:
    """Give inbox rows with their signals' `data`; None where the signal is gone."""
    items = Items(deployment)

    def payload(row: Item) -> Any:
        if "signal_pk" not in row:
            return None
        signal = items.get(SIGNALS, Key(str(row["signal_pk"]), str(row["signal_sk"]))) or {}
        return signal.get("data")

    return [row if "data" in row else {**row, "data": payload(row)} for row in rows]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A message taken out of an inbox queue; `message` is None if it cannot be read."""

    lease: receiving.Lease
    message: AnyMessage | None
    acknowledged: bool = False


def receive(
    deployment: Deployment, agent_id: str, *, limit: int = 10, wait_s: int = 1, ack: bool = False
) -> list[Seen]:
    """Take messages out of an agent's queue for a minute; with `ack`, end them as PROCESSED.

    Without `ack` nothing is deleted, notices neither: `Agent.inbox` would take them from it.
    """
    agent = StandIn(deployment, agent_id)
    # Whoever looks by hand knows of no backlog, and is shown first what is urgent.
    inbox = receiving.Inbox(agent.me, has_backlog=True)
    # A wait of a second asks all of SQS's servers; a short poll may miss what is there.
    ask = receiving.Ask(wait_s, min(limit, receiving.MOST_AT_ONCE))
    seen = []
    for lease in agent.run(receiving.receive(inbox, ask, HOLD_S)):
        try:
            message = parse_message(lease.body)
        except (ValueError, RecursionError):
            message = None
        done = ack and message is not None
        if done and isinstance(message, SignalMessage):
            # What the agent itself ended before is dropped, and what is not its own is left.
            before = agent.me.counters["undecodable"]
            received = agent.run(receiving.admit(inbox, lease))
            if received is not None:
                agent.run(settling.ack(received))
            done = agent.me.counters["undecodable"] == before
        elif done:
            agent.run(receiving.discard(lease))
        seen.append(Seen(lease=lease, message=message, acknowledged=done))
    return seen


def acknowledge(
    deployment: Deployment,
    agent_id: str,
    signal_id: str,
    *,
    status: Acknowledged = "PROCESSED",
    reason: str | None = None,
    decision_id: str | None = None,
    dry_run: bool = False,
) -> Item:
    """Acknowledge a delivery on its row, by signal id or delivery id; gives the row's key.

    Its message, if there still is one, is dropped at the agent's next receive.

    Raises:
        Missing: the agent has no such row.
        Conflict: several rows have the id, or the delivery was acknowledged before.
    """
    # A delivery id is the signal's uid and the target, so both kinds of id lead to the row.
    uid = signal_id.partition(".")[0]
    found = [
        row
        for row in _rows(deployment, agent_id)
        if row.get("signal_id") == signal_id or keys.time_and_id(row["SK"])[1] == uid
    ]
    if not found:
        raise Missing(f"agent {agent_id!r} has no signal {signal_id}; see `sharpwave trace`")
    if len(found) > 1:
        uids = [keys.time_and_id(row["SK"])[1] for row in found]
        names = ", ".join(ids.delivery_id(uid, agent_id) for uid in uids)
        raise Conflict(f"{len(found)} signals have the id {signal_id}; name one of {names}")
    (row,) = found
    if receiving.is_acknowledged(row):
        raise Conflict(f"{signal_id} is {row['status']} already, which is final")
    agent, key = StandIn(deployment, agent_id, dry_run=dry_run), Key(row["PK"], row["SK"])
    end = settling.acknowledge(agent.me, key, status, decision_id=decision_id, reason=reason)
    try:
        return {**key.item(), **agent.run(end)}
    except ConditionFailed as met:
        # The agent was faster than this look at its row.
        if met.item:
            raise Conflict(f"{signal_id} is PROCESSED already, which is final") from met
        text = f"row {key.pk} / {key.sk} is gone; its time to live has ended"
        raise Missing(text) from met
    except RecordRefused as refused:
        raise Misused(f"not acknowledged: {refused}") from refused
