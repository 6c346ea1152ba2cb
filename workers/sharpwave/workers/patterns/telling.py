"""How a transition is told: in the pattern's row, its history, and a signal in our own name.

All three are one transaction, which holds only if the row is as it was read. Items of history are
never changed; a signal in the pipeline's name is its own only if it stands in one of them.
"""

from collections.abc import Mapping
from decimal import Decimal
from hashlib import blake2b
from typing import Any

from sharpwave.schemas import keys, tables
from sharpwave.schemas.ids import SUBSCRIBERS, SYSTEM
from sharpwave.schemas.ownership import sealed
from sharpwave.schemas.patterns import PatternVersion
from sharpwave.schemas.records import SCHEMA_VERSION
from sharpwave.schemas.times import iso_ms
from sharpwave.workers.patterns.admission import Part
from sharpwave.workers.patterns.life import Life, Step
from sharpwave.workers.work.ports import Insert, Item, Location, Reads, Update

PROMOTED, DEGRADED, RETIRED = "PATTERN_PROMOTED", "PATTERN_DEGRADED", "PATTERN_RETIRED"
#: Beyond these no signal of ours names a transition.
_LONGEST_SUBJECT, _MOST_STEPS = 256, 1_000_000


def told(
    version: PatternVersion, row: Item, before: Life, step: Step, values: Mapping[str, Any]
) -> list[Part]:
    """Give the transaction of one transition: row, history, and the signal of those that have one.

    It holds only if the row is as it was read.

    Args:
        version: whose.
        row: its row.
        before: where it stood.
        step: the transition.
        values: the figures at this moment, as attributes of the row.
    """
    life, moment = step.life, int(step.life.since or 0)
    history = {
        **keys.life(version.subject, life.seq).item(),
        "pattern": version.name,
        "owner": version.owner,
        "at": moment,
        "from": before.state,
        "to": life.state,
        "reason": step.reason,
        "figures": {n: value for n, value in values.items() if not n.startswith("GSI")},
        **({} if life.promised is None else {"promised": life.attributes()["promised"]}),
    }
    parts: list[Part] = []
    topic = _topic(before, life)
    if topic is not None:
        signal = _signal(version, row, topic, step)
        history |= {"signal_pk": signal["PK"], "signal_sk": signal["SK"]}
        parts.append(Insert(tables.SIGNALS, signal))
    revision, seq = row.get("figures_rev"), row.get("state_seq")
    held = {"version": row["version"], "figures_rev": revision, "state_seq": seq}
    expected = {name: value for name, value in held.items() if value is not None}
    place = Location(tables.MEMORY, keys.Key(row["PK"], row["SK"]))
    return [
        Insert(tables.PIPELINE, history),
        *parts,
        Update(
            place,
            row_after(row, step, values),
            equals=expected,
            missing=tuple(held.keys() - expected.keys()),
        ),
    ]


def row_after(row: Item, step: Step, values: Mapping[str, Any]) -> Item:
    """Give what a transition sets on a row, figures included."""
    # An index key belongs only where the row is in the index.
    kept = {n: value for n, value in values.items() if not n.startswith("GSI")}
    kept |= {n: values[n] for n in values if n.startswith("GSI") and f"{n[:4]}_PK" in row}
    revision = (row.get("figures_rev") or 0) + 1
    return {
        **kept,
        **step.life.attributes(),
        "figures_rev": revision,
        "updated_at": step.life.since,
    }


def _topic(before: Life, after: Life) -> str | None:
    """Name the signal of a transition; waking up and being granted are not told."""
    if before.state == "candidate" and after.state in ("active", "shared"):
        return PROMOTED
    if before.state in ("active", "shared") and after.state == "degraded":
        return DEGRADED
    return RETIRED if after.state == "retired" else None


def _signal(version: PatternVersion, row: Item, topic: str, step: Step) -> Item:
    life, moment = step.life, int(step.life.since or 0)
    text = f"{version.subject}\0{life.seq}"
    name = f"life_{blake2b(text.encode(), digest_size=12).hexdigest()}"
    iso = iso_ms(moment)
    key = keys.Key(keys.signal_pk(topic, SYSTEM), keys.dated_sk(iso, name))
    definition = version.definition
    return sealed(
        key,
        {
            **key.item(),
            "schema_version": SCHEMA_VERSION,
            "signal_id": name,
            "signal_type": topic,
            "source_agent": SYSTEM,
            "target_agents": [SUBSCRIBERS],
            "timestamp": moment,
            "iso_timestamp": iso,
            "data": {
                "pattern_id": definition.pattern_id,
                "version": version.version,
                "owner": version.owner,
                "decision_type": definition.decision_type,
                "kind": definition.kind,
                "description": row.get("description", ""),
                "state": life.state,
                "reason": step.reason,
                "subject": version.subject,
                "transition": life.seq,
            },
        },
    )


def is_told(signal: Item, reads: Reads) -> bool:
    """Say whether a signal in the pipeline's own name stands in the history of a pattern.

    Agents can write to the table of signals, and to that of histories they cannot.
    """
    data = signal.get("data")
    if not isinstance(data, Mapping):
        return False
    subject, number = data.get("subject"), data.get("transition")
    if not isinstance(subject, str) or len(subject) > _LONGEST_SUBJECT:
        return False
    if not isinstance(number, int | Decimal) or not 0 < number < _MOST_STEPS:
        return False
    place = Location(tables.PIPELINE, keys.life(subject, int(number)))
    held = reads.get([place]).get(place, {})
    return (held.get("signal_pk"), held.get("signal_sk")) == (signal["PK"], signal["SK"])
