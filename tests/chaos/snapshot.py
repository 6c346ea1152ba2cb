"""Everything that the tables and dead-letter queues hold, once nothing moves any more."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from sharpwave.infra.connection import Deployment
from sharpwave.infra.items import Items
from sharpwave.infra.mailbox import Mailbox
from sharpwave.infra.operate.verify import Verified
from sharpwave.schemas import keys, queues
from sharpwave.schemas.numbers import item_from_wire, plain_json
from sharpwave.schemas.queues import WORK_QUEUE_NAMES
from sharpwave.schemas.tables import DECISIONS, MEMORY, PIPELINE, SIGNALS, STATE

Item = Mapping[str, Any]
_TABLES = (DECISIONS, SIGNALS, MEMORY, STATE, PIPELINE)


@dataclass(frozen=True)
class Snapshot:
    """The end state as plain JSON, so that anybody may judge it again.

    Attributes:
        taken_at: when, in epoch seconds.
        tables: every item of every table.
        dead_letters: bodies of dead letters, by the queue they died in.
        miscounts: days of ledgers whose counts are not those of the archive, says `verify`.
        findings: what else `verify` finds wrong.
    """

    taken_at: float = 0.0
    tables: Mapping[str, Sequence[Item]] = field(default_factory=dict)
    dead_letters: Mapping[str, Sequence[str]] = field(default_factory=dict)
    miscounts: Sequence[str] = ()
    findings: Sequence[str] = ()

    def kind(self, table: str, name: str) -> Iterator[tuple[keys.Key, Item]]:
        """Give the items of a streamed table that are of one kind, with their keys."""
        for item in self.tables.get(table, ()):
            parsed = keys.parse(table, item["PK"], item["SK"])
            if parsed is not None and parsed.kind == name:
                yield keys.Key(item["PK"], item["SK"]), item

    def family(self, table: str, name: str) -> Iterator[tuple[keys.Key, Item]]:
        """Give the items of any table whose keys are of one family, with their keys."""
        for item in self.tables.get(table, ()):
            if keys.family(item["PK"], item["SK"]) == name:
                yield keys.Key(item["PK"], item["SK"]), item

    def save(self, path: Path) -> None:
        """Write it to a file."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        return cls(**json.loads(path.read_text()))


def take(deployment: Deployment, verified: Verified, *, agents: Sequence[str]) -> Snapshot:
    """Read everything; dead letters stay where they are, hidden for a minute."""
    names = [*WORK_QUEUE_NAMES, *(queues.inbox(name).name for name in agents)]
    dead = {name: _bodies(Mailbox(deployment, f"{name}_dlq")) for name in names}
    items = Items(deployment)
    return Snapshot(
        taken_at=time.time(),
        tables={
            name: [json.loads(plain_json(item_from_wire(item))) for item in items.scan(name)]
            for name in _TABLES
        },
        dead_letters={name: bodies for name, bodies in dead.items() if bodies},
        miscounts=[
            f"{each.subject} of {each.day} holds {dict(each.stored)},"
            f" recounted {dict(each.recounted)}"
            for each in verified.disagreements
        ],
        findings=[f"{each.kind}: {each.what}" for each in verified.findings],
    )


def _bodies(box: Mailbox) -> list[str]:
    if not box.depth().total:
        return []
    return [letter.body for letters in box.drain(limit=1000, hold_s=60) for letter in letters]
