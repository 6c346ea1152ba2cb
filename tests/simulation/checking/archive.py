"""The archive holds every admitted state of every decision."""

from collections.abc import Iterator

from tests.simulation.scene import Scene

from sharpwave.schemas.keys import Key
from sharpwave.workers.testing.records import key_of


def archive(scene: Scene) -> Iterator[str]:
    """Look for states that no line of the archive holds."""
    held: set[tuple[Key, int, bool | None]] = set()
    for line in scene.archive.lines():
        if line["state"] == "refusal":
            continue
        image = line["image"]
        outcome = image.get("outcome", {}).get("M")
        success = None if outcome is None else bool(outcome["success"]["BOOL"])
        revision = 0 if outcome is None else int(image.get("outcome_rev", {}).get("N", 1))
        held.add((Key(line["PK"], line["SK"]), revision, success))
    for decided in scene.book.decisions.values():
        states = [decided.last] if scene.book.gaps else decided.states
        for state in states:
            key = key_of(decided.item)
            if (key, state.revision, state.success) not in held:
                yield f"the archive lacks {key.sk} at revision {state.revision}: {state.success}"
