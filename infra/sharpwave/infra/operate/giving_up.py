"""Deliveries that an operator gives up end as FAILED, each with its reason: no row stays open."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from sharpwave.infra.connection import Deployment
from sharpwave.infra.mailbox import Received
from sharpwave.schemas import keys, tables
from sharpwave.schemas.ids import signal_uid
from sharpwave.schemas.messages import SignalMessage, parse_message
from sharpwave.schemas.numbers import item_from_wire, parse_json
from sharpwave.schemas.ownership import stamped
from sharpwave.workers.aws.queues import QueueUrls, SqsWorkQueues
from sharpwave.workers.aws.tables import TableReads
from sharpwave.workers.aws.writes import SingleWrites
from sharpwave.workers.signals.audience import is_resolved
from sharpwave.workers.signals.bounces import bounced
from sharpwave.workers.signals.mirror import Holder, Sent, mirror
from sharpwave.workers.work.envelope import image_of
from sharpwave.workers.work.ports import Item, Location, Update

_PAGE = 100
_DEAD = {"status": "FAILED", "reason": "dead_lettered"}
_REMOVED = {"status": "FAILED", "reason": "agent_removed"}


class GivingUp:
    """Ends deliveries of one deployment; everything is safe to repeat."""

    def __init__(self, deployment: Deployment) -> None:
        """Work on the tables of a deployment."""
        self._reads = TableReads(deployment.dynamodb, prefix=deployment.prefix)
        self._writes = SingleWrites(deployment.dynamodb, prefix=deployment.prefix)
        urls = QueueUrls(deployment.sqs, prefix=deployment.prefix)
        self._queues = SqsWorkQueues(deployment.sqs, urls=urls)

    def inbox_messages(self, messages: Iterable[Received]) -> int:
        """End the deliveries of inbox messages that are discarded.

        Returns:
            The number of rows that were still open.
        """
        places = set()
        for message in messages:
            # What cannot be read, or is a notice, stands for no delivery.
            with suppress(ValueError):
                signal = parse_message(message.body)
                if isinstance(signal, SignalMessage):
                    key = keys.Key(signal.row.PK, signal.row.SK)
                    places.add(Location(tables.SIGNALS, key))
        rows = self._reads.get(sorted(places))
        return self._close([row for row in rows.values() if _is_open(row)], _DEAD)

    def deliver_messages(self, messages: Iterable[Received]) -> int:
        """End the deliveries that discarded work messages of `deliver` have left open.

        Returns:
            The number of deliveries that end so.
        """
        ended = 0
        for message in messages:
            try:
                content = parse_json(message.body)
            except ValueError:
                continue  # poison: no worker of ours wrote it
            kwargs = content.get("kwargs", {}) if isinstance(content, dict) else {}
            for entry in kwargs.get("entries", ()):
                if isinstance(entry, dict) and "key" in entry:
                    ended += self._abandon(entry)
        return ended

    def open_rows(self, agent_id: str) -> Iterator[list[Item]]:
        """Give the open rows of an agent's inbox, in pages."""
        page: list[Item] = []
        for row in self._reads.query(tables.SIGNALS, keys.inbox_pk(agent_id)):
            if _is_open(row):
                page.append(row)
            if len(page) == _PAGE:
                yield page
                page = []
        if page:
            yield page

    def inbox(self, agent_id: str) -> int:
        """End the open deliveries to an agent that is not registered any more, and tell senders.

        Returns:
            The number of rows that were still open.
        """
        closed = 0
        for page in self.open_rows(agent_id):
            # First: who ends rows and dies then would find none to tell of. Nobody is told twice.
            ends = [(_holder(row), {agent_id: _REMOVED}) for row in page]
            self._queues.send(bounced(ends, clock=time.time))
            closed += self._close(page, _REMOVED)
        return closed

    def _close(self, rows: Sequence[Item], end: Mapping[str, Any]) -> int:
        """Settle the mirrors first and the rows second: a row still open is found again."""
        settled: dict[Holder, dict[str, Any]] = {}
        for row in rows:
            settled.setdefault(_holder(row), {})[keys.owner_of(row["PK"]) or ""] = dict(end)
        if not rows:
            return 0
        # A delivery that has not begun its mirror yet finds the rows ended when it does.
        sent = {holder: Sent(settled=ends) for holder, ends in settled.items()}
        mirror(sent, reads=self._reads, writes=self._writes)
        places = [Location(tables.SIGNALS, keys.Key(row["PK"], row["SK"])) for row in rows]
        return self._end(places, end)

    def _abandon(self, entry: Mapping[str, Any]) -> int:
        signal = keys.Key(*entry["key"])
        uid = signal_uid(*signal)
        # An agent that was listed late has a chunk of the audience to itself.
        chunk = keys.late_chunk(uid, entry["agent"]).sk if "agent" in entry else entry.get("chunk")
        holder = Holder(signal, chunk)
        item = item_from_wire(image_of(entry)) if chunk is None else {}
        if chunk is None and not is_resolved(item):
            # Its writer named the agents; nothing was frozen for them.
            targets = sorted(set(item["target_agents"]))
        else:
            place = holder.location
            if chunk is None:
                place = Location(tables.PIPELINE, keys.audience(uid))
            targets = list(self._reads.get([place]).get(place, {}).get("targets", ()))
        denied = dict.fromkeys(targets, _DEAD)
        if not denied:
            return 0
        # What was sent, ended or acknowledged stays; the message only spoke of the rest.
        sent = {holder: Sent(denied=denied, audience=frozenset(denied))}
        # The mirror decides, in one write: a worker that sends at this moment wins or loses there.
        known = mirror(sent, reads=self._reads, writes=self._writes).get(holder, denied)
        ended = [target for target in denied if known.get(target) == _DEAD]
        rows = (keys.inbox_row(name, signal, uid) for name in ended)
        self._end([Location(tables.SIGNALS, row) for row in rows], _DEAD)
        return len(ended)

    def _end(self, places: Sequence[Location], end: Mapping[str, Any]) -> int:
        # Only what is still PENDING: an agent that acknowledges at this moment has the last word.
        changes = [
            Update(place, stamped(place.key, end), equals={"status": "PENDING"}) for place in places
        ]
        return sum(self._writes.apply(changes))


def _holder(row: Item) -> Holder:
    return Holder(keys.Key(row["signal_pk"], row["signal_sk"]), row.get("chunk"))


def _is_open(row: Item) -> bool:
    # An agent may write into its own partition; only what its key was formed of is a delivery.
    uid = signal_uid(str(row.get("signal_pk")), str(row.get("signal_sk")))
    return str(row["SK"]).endswith(f"#{uid}") and row.get("status") == "PENDING"
