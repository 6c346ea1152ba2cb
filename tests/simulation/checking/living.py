"""A pattern's history is one chain, told once, and ends where its row stands."""

from collections.abc import Iterator

from sharpwave.schemas import keys, tables
from sharpwave.schemas.ids import SYSTEM
from sharpwave.schemas.patterns import PatternVersion
from sharpwave.workers.work.ports import Item
from tests.simulation.checking.following import BROKEN
from tests.simulation.scene import Scene

_PROMOTED = ("active", "shared")
_LADDER = {
    "candidate": ("active", "shared", "dormant", "retired"),
    # Where it stays what it is, its promise rises.
    "active": ("active", "shared", "degraded", "dormant", "retired"),
    "shared": ("active", "shared", "degraded", "dormant", "retired"),
    "degraded": ("active", "shared", "dormant", "retired"),
    "dormant": ("candidate", "active", "shared", "degraded", "retired"),
    # By hand only: what broke its promise is followed by a new version.
    "retired": ("candidate", "active", "shared", "degraded"),
}

#: Outcomes after which the search gives up what it found: looked at, or speaking against it.
_PATIENCE, _HOPELESS_UNITS = 1_024, 200


def lives(scene: Scene) -> Iterator[str]:
    """Check histories, the account they follow from, their signals, and what rows say."""
    pipeline = scene.tables.items(tables.PIPELINE)
    account = {
        subject: float(evidence)
        for key, item in pipeline.items()
        if key.pk == "promotions"
        for _, subject, evidence in item["promoted"]
    }
    histories: dict[str, list[Item]] = {}
    for key in sorted(pipeline):
        if key.pk.startswith("life#"):
            histories.setdefault(key.pk.removeprefix("life#"), []).append(pipeline[key])
    told: set[tuple[str, str]] = set()
    for subject, chain in histories.items():
        is_given_up = subject in scene.book.given_up or _got_nowhere(scene, subject, chain)
        yield from _chain(subject, chain, is_given_up=is_given_up)
        for item in chain:
            if item["from"] == "candidate" and item["to"] in _PROMOTED:
                if account.get(subject, 0.0) <= 0:
                    yield f"{subject} was promoted without evidence: {item}"
                if item["figures"]["evidence_n"] < 1:
                    yield f"{subject} was promoted without an outcome: {item}"
            if "signal_pk" in item:
                told.add((item["signal_pk"], item["signal_sk"]))
    said = {
        tuple(key)
        for key in scene.tables.keys(tables.SIGNALS)
        if key.pk.endswith(f"#{SYSTEM}") and "#life_" in key.sk and not keys.is_mirror_sk(key.sk)
    }
    if said != told:
        yield f"transitions told {sorted(told)}, signals say {sorted(said)}"
    yield from _rows(scene, histories)


def _got_nowhere(scene: Scene, subject: str, chain: list[Item]) -> bool:
    """Say whether the search found a pattern, and had outcomes enough to give it up again."""
    entry = scene.tables.items(tables.PIPELINE)[keys.known_pattern(subject)]
    version = PatternVersion.of_entry(entry)
    if version.origin not in ("discovery", "split") or version.effective_to is None:
        return False
    definition, since = version.definition, version.learned_at
    resolved = [
        each
        for each in scene.book.decisions.values()
        if each.item["agent_id"] == definition.agent_id
        and each.item["decision_type"] == definition.decision_type
        and each.last.success is not None
    ]
    is_against = sum(each.item["timestamp"] >= since for each in resolved) >= _HOPELESS_UNITS
    # What was decided before it was proposed may be looked at after it.
    return chain[-1]["from"] == "candidate" and (is_against or len(resolved) >= _PATIENCE)


def _chain(subject: str, chain: list[Item], *, is_given_up: bool) -> Iterator[str]:
    state = was = "candidate"
    if is_given_up and chain[-1]["to"] != "retired":
        yield f"{subject} was given up, and ended as {chain[-1]}"
    chain = chain[:-1] if is_given_up else chain
    for number, item in enumerate(chain, start=1):
        if keys.life(subject, number) != (item["PK"], item["SK"]):
            yield f"{subject} has {item['SK']} where transition {number} belongs"
        if state == "retired" and BROKEN in chain[number - 2]["reason"]:
            yield f"{subject} broke its promise, and then became {item['to']}"
        if item["from"] != state or item["to"] not in _LADDER.get(state, ()):
            yield f"{subject} was {state}, and then went from {item['from']} to {item['to']}"
        if state in ("dormant", "retired") and item["to"] not in ("dormant", "retired"):
            # Between the two of these readers decide, who come and go meanwhile.
            if item["to"] != was and not {item["to"], was} <= {*_PROMOTED}:
                yield f"{subject} was {was} before it was {state}, and then became {item['to']}"
        elif state != "dormant":
            was = state
        is_news = state == "candidate" and item["to"] in _PROMOTED
        is_news |= state in _PROMOTED and item["to"] == "degraded"
        if (is_news or item["to"] == "retired") != ("signal_pk" in item):
            yield f"{subject} went from {state} to {item['to']}, told: {'signal_pk' in item}"
        if item["from"] == item["to"] and item["promised"] <= chain[number - 2]["promised"]:
            yield f"{subject} promised {chain[number - 2]['promised']}, then {item['promised']}"
        state = item["to"]


def _rows(scene: Scene, histories: dict[str, list[Item]]) -> Iterator[str]:
    rows = scene.tables.items(tables.MEMORY)
    for listed in scene.book.versions:
        if listed.ends is not None:
            continue
        owner = listed.owner or keys.shared_owner("general")
        pk = keys.pattern_pk(owner) if listed.owner else keys.shared_pattern_pk("general")
        row = rows.get(keys.Key(pk, listed.name), {})
        chain = histories.get(keys.pattern_subject(owner, listed.name, listed.number), [])
        last = chain[-1]["to"] if chain else "candidate"
        stands = row.get("state"), int(row.get("state_seq", 0))
        if row.get("version") == listed.number and stands != (last, len(chain)):
            yield f"{listed.name}@{listed.number} stands at {stands}, its history at {last}"
