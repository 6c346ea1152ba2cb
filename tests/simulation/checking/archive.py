"""The archive holds every admitted state, and `verify` says the truth about it."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sharpwave.infra.operate import verify
from sharpwave.schemas import keys, tables
from sharpwave.schemas.keys import Key
from sharpwave.schemas.patterns import PatternVersion
from sharpwave.workers.patterns.recount import Recount
from sharpwave.workers.router.admission import is_admissible
from tests.simulation.scene import Scene
from tests.world.records import key_of


def archive(scene: Scene) -> Iterator[str]:
    """Look for states that no line of the archive holds; then let `verify` look, twice.

    It has to agree where all is well, and must not once a decision is gone from the archive.
    """
    held: set[tuple[Key, int, bool | None]] = set()
    for line in scene.archive.lines():
        if line["state"] == "refusal":
            continue
        image = line["image"]
        outcome = image.get("outcome", {}).get("M")
        success = None if outcome is None else bool(outcome["success"]["BOOL"])
        revision = 0 if outcome is None else int(image.get("outcome_rev", {}).get("N", 1))
        held.add((Key(line["PK"], line["SK"]), revision, success))
    missing = False
    for decided in scene.book.decisions.values():
        states = [decided.last] if scene.book.gaps else decided.states
        for state in states:
            key = key_of(decided.item)
            if (key, state.revision, state.success) not in held:
                missing = True
                yield f"the archive lacks {key.sk} at revision {state.revision}: {state.success}"
    if missing or not held:
        return
    whole = _verify(scene, scene.archive)
    if not whole.ok:
        said = [finding.what for finding in whole.findings] or whole.disagreements
        yield f"verify finds {str(said[0])[:200]}, and nothing is wrong"
    lost = min(key for key, _, _ in held)
    if _verify(scene, _Without(scene, lost)).ok:
        yield f"verify finds nothing wrong, and {lost} is gone from the archive"


class _Without:
    """An archive that lost whatever it held of one decision."""

    def __init__(self, scene: Scene, lost: Key) -> None:
        self._archive, self._lost = scene.archive, lost

    def part_names(self) -> Iterable[str]:
        return self._archive.part_names()

    def read(self, name: str) -> Iterator[Mapping[str, Any]]:
        for line in self._archive.read(name):
            if (line["PK"], line["SK"]) != self._lost:
                yield line


def _verify(scene: Scene, parts: Any) -> verify.Verified:
    """Compare ledgers and archive as `sharpwave verify` does."""
    items = scene.tables.query(tables.PIPELINE, keys.KNOWN_PATTERNS_PK)
    versions = [PatternVersion.of_entry(item) for item in items]
    rows = scene.tables.items(tables.PIPELINE).values()
    ledgers = verify.stored_in(row for row in rows if keys.ledger_subject(row["PK"]) and "c" in row)
    marked = {
        keys.split_changed(key.sk)[0]
        for key in scene.tables.keys(tables.PIPELINE)
        if key.pk in keys.changed_pks()
    }
    with Recount(versions) as recount:
        for item in scene.tables.items(tables.DECISIONS).values():
            if is_admissible("decision", item):
                recount.note_stored(item)
        damages = recount.read(parts)
        evidence = verify.Evidence(
            archive_url="memory",
            damages=damages,
            decisions=recount.decisions,
            patterns=len(versions),
            recounted=recount.counts(),
            ledgers=ledgers.of(versions),
            recounted_units=recount.arms(),
            units=verify.stored_units(scene.tables, versions),
            # What was handed out again since the last tick has its mark, and may wait.
            missummed=[each for each in ledgers.missummed() if each not in marked],
            stored=recount.stored,
            unseen=recount.unseen,
            unseen_keys=recount.unseen_keys(5),
        )
    return verify.judge(evidence)
