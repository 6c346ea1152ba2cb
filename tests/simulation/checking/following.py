"""What the pipeline itself adds to a history, held against why it may, before anything is counted.

A version that broke its promise is followed by one of the same conditions, from nothing. What it
says of transitions in its own name reaches whoever subscribed, as any other signal does.
"""

from collections.abc import Iterator

from sharpwave.schemas import keys, tables
from sharpwave.schemas.ids import SYSTEM
from sharpwave.schemas.numbers import item_from_wire
from sharpwave.schemas.patterns import PatternVersion
from sharpwave.schemas.times import DAY_S
from sharpwave.workers.work.ports import Item
from tests.simulation.book import Listed, Moment, Sent
from tests.simulation.scene import Scene

#: What a worker's clock may be off by, in whole seconds.
_SKEW_S = 3
BROKEN = "broke its promise"


def following(scene: Scene) -> Iterator[str]:
    """Check versions that follow broken promises; then the book holds them, and signals of ours."""
    yield from scene.book.broken
    entries = scene.tables.query(tables.PIPELINE, keys.KNOWN_PATTERNS_PK)
    stored = {each.subject: each for each in map(PatternVersion.of_entry, entries)}
    book = {subject_of(each): each for each in scene.book.versions}
    for version in sorted(stored.values(), key=lambda each: each.version):
        if version.origin == "drift":
            yield from _follower(scene, version, book)
    for subject, listed in sorted(book.items()):
        last = [*chain_of(scene, subject)][-1:]
        is_broken = bool(last) and last[0]["to"] == "retired" and BROKEN in last[0]["reason"]
        if is_broken and listed.ends is None:
            yield f"{subject} broke its promise, and no version follows it"
    _note_signals(scene)


def subject_of(listed: Listed) -> str:
    """Name the ledger of a version."""
    owner = listed.owner or keys.shared_owner("general")
    return keys.pattern_subject(owner, listed.name, listed.number)


def chain_of(scene: Scene, subject: str) -> Iterator[Item]:
    """Give the transitions of a version, in order."""
    return scene.tables.query(tables.PIPELINE, keys.life_pk(subject))


def steps_of(scene: Scene, name: str | None = None) -> Iterator[str]:
    """Give what patterns went through, as `active to degraded`; of one name, its promotions."""
    for key, item in scene.tables.items(tables.PIPELINE).items():
        if key.pk.startswith(keys.life_pk("")):
            is_promotion = item["from"] == "candidate" and item["to"] in ("active", "shared")
            if name is None or (is_promotion and item["pattern"].startswith(f"{name}@")):
                yield f"{item['from']} to {item['to']}"


def _follower(scene: Scene, version: PatternVersion, book: dict[str, Listed]) -> Iterator[str]:
    name = version.definition.pattern_id
    before = book.get(keys.pattern_subject(version.owner, name, version.version - 1))
    if before is None or version.parent != f"{name}@{before.number}":
        yield f"{version.subject} follows {version.parent}, which nobody knows"
        return
    last = [*chain_of(scene, subject_of(before))][-1:]
    if not last or last[0]["to"] != "retired" or BROKEN not in last[0]["reason"]:
        yield f"{version.subject} follows {version.parent}, which broke no promise: {last}"
    elif version.effective_from <= last[0]["at"] - _SKEW_S:
        yield f"{version.subject} counts what its parent was judged by, from before its end"
    if _market(version) != before.market:
        yield f"{version.subject} has other conditions than {version.parent}"
    before.ends = version.effective_from
    after = Listed(
        name,
        before.owner,
        before.kind,
        before.market,
        version.version,
        version.effective_from,
        base=before.base,
        half_life=before.half_life,
    )
    ends = [each.begins for each in scene.book.versions if each.name == name]
    after.ends = min((each for each in ends if each > after.begins), default=None)
    scene.book.versions.append(after)
    book[version.subject] = after


def _market(version: PatternVersion) -> str | None:
    conditions = version.definition.model_dump(mode="json")["conditions"]
    return conditions[0]["value"] if conditions else None


def _note_signals(scene: Scene) -> None:
    # What an operator moves is told too; whatever else speaks in the pipeline's name is forged.
    of_lives = {
        (item["signal_pk"], item["signal_sk"])
        for key, item in scene.tables.items(tables.PIPELINE).items()
        if key.pk.startswith("life#") and "signal_pk" in item
    }
    for record, by in scene.tables.streams[tables.SIGNALS]:
        image = item_from_wire(record["dynamodb"].get("NewImage", {}))
        if not image.get("PK", "").endswith(f"#{SYSTEM}"):
            continue
        key = keys.Key(image["PK"], image["SK"])
        if key in of_lives or (by == "worker" and not keys.is_mirror_sk(key.sk)):
            at = Moment(int(image["timestamp"]), 0)
            scene.book.signals.setdefault(key, Sent(key, image, at, [at.second + DAY_S]))
