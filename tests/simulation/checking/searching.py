"""The search for patterns looks at a decision once, whatever happened on the way."""

import json
from collections import Counter
from collections.abc import Iterator

from sharpwave.schemas import keys, tables
from tests.simulation.scene import Scene


def searching(scene: Scene) -> Iterator[str]:
    """Check that no more was looked at than there ever was."""
    written = Counter(key.pk for key in scene.book.decisions)
    for key, item in scene.tables.items(tables.PIPELINE).items():
        agent_id = key.pk.removeprefix("discovery#")
        if agent_id == key.pk or not item["state"]:
            continue
        n, _, unresolved, *_ = json.loads(item["state"])["seen"]
        there_were = written[keys.decision_pk(agent_id, key.sk)]
        if n + unresolved > there_were:
            yield f"of {there_were} {key.sk} of {agent_id} {n + unresolved} were looked at"
