"""What can be seen of a signal's deliveries: who it was for, what arrived, and how it ended."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sharpwave.schemas import keys, tables
from sharpwave.schemas.ids import signal_uid
from sharpwave.schemas.messages import SignalMessage
from sharpwave.workers.work.ports import Item
from tests.simulation.book import Arrival, Book, Sent, Standing
from tests.simulation.scene import Scene

Entry = Mapping[str, Any]
#: Seconds after a deadline from which time may remove rows and mirrors.
KEPT_S = 7 * 86_400


@dataclass(slots=True)
class Seen:
    """Everything about deliveries that a checker looks at, read once.

    Attributes:
        arrivals: the messages of each delivery, by the signal's uid and target.
        rows: the inbox rows as they are.
        mirrors: by signal, the status of each target, wherever it is kept.
        present: signals whose item is still there.
    """

    scene: Scene
    arrivals: dict[tuple[str, str], list[Arrival]] = field(default_factory=dict)
    rows: dict[keys.Key, Item] = field(default_factory=dict)
    mirrors: dict[str, dict[str, Entry]] = field(default_factory=dict)
    present: dict[keys.Key, Item] = field(default_factory=dict)

    @classmethod
    def of(cls, scene: Scene) -> "Seen":
        """Look at a scene."""
        arrivals: dict[tuple[str, str], list[Arrival]] = defaultdict(list)
        for arrival in scene.book.arrivals:
            if isinstance(arrival.message, SignalMessage):
                uid, _, target = arrival.message.delivery_id.partition(".")
                arrivals[uid, target].append(arrival)
        stored = scene.tables.items(tables.SIGNALS)
        mirrors: dict[str, dict[str, Entry]] = defaultdict(dict)
        for key, item in stored.items():
            if keys.is_mirror_sk(key.sk) and "status_v" in item:
                mirrors[signal_uid(*keys.mirrored(key))] |= item.get("processing_status") or {}
        for key, item in scene.tables.items(tables.PIPELINE).items():
            head, _, uid = key.pk.partition("#")
            if head == "audience" and "processing_status" in item:
                mirrors[uid] |= item["processing_status"]
        return cls(
            scene,
            dict(arrivals),
            {
                key: item
                for key, item in stored.items()
                if key.pk.endswith("#inbox")
                and (key not in scene.book.forged or "expires_at" in item)
            },
            dict(mirrors),
            {
                key: item
                for key, item in stored.items()
                if key.pk.startswith("signal#") and not keys.is_mirror_sk(key.sk)
            },
        )

    def row_key(self, sent: Sent, target: str) -> keys.Key:
        """Give the key of a delivery's row."""
        return keys.inbox_row(target, sent.key, signal_uid(*sent.key))

    def end(self, sent: Sent, target: str) -> Entry:
        """Say how a delivery ended: by its row, or else by the mirror; empty if nobody says."""
        row = self.rows.get(self.row_key(sent, target))
        return row or self.mirrors.get(signal_uid(*sent.key), {}).get(target, {})


def audience(sent: Sent, book: Book, first_arrival: float) -> tuple[set[str], set[str]]:
    """Give who has to be in a signal's audience, and who may be.

    An agent that was registered in the second in which the signal was stored, or before, has to
    be; one that came later may be until the audience was decided, which was before the first
    message of it arrived (`first_arrival` is the number of that event). Whom a change names that
    nobody had refused in time may be in it too.
    """
    listed = sent.item["target_agents"]
    may = {name for reading in sent.readings for name in reading["target_agents"]}
    may -= {"*", "@subscribers"}
    if listed not in (["*"], ["@subscribers"]):
        return set(listed), may | set(listed)
    must = set()
    for name, standings in book.agents.items():
        if name == sent.item["source_agent"]:
            continue
        before = [each for each in standings if each.since.second <= sent.at.second]
        after = [each for each in standings if each.since.second > sent.at.second]
        tied = [each for each in before if each.since.second == sent.at.second]
        current = [*before[-1:], *tied]
        if current and all(_wants(each, sent) for each in [*current, *after]):
            must.add(name)
        early = [each for each in after if each.since.order < first_arrival]
        if any(_wants(each, sent) for each in [*current, *before[-2:], *early]):
            may.add(name)
    return must, may


def _wants(standing: Standing, sent: Sent) -> bool:
    if standing.manners is None:
        return False
    if sent.item["target_agents"] == ["*"]:
        return True
    return sent.item["signal_type"] in standing.manners.get("subscriptions", ())


__all__ = ["KEPT_S", "Entry", "Seen", "audience"]
