"""How an agent's sources did follows from its own decisions, each counted once."""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from sharpwave.schemas import keys, tables
from tests.simulation.checking.counting import Story, tellings
from tests.simulation.scene import Scene

Did = tuple[int, int, int]
"""Decisions, outcomes and successes."""


def sources(scene: Scene) -> Iterator[str]:
    """Add up sources and buckets by hand, and compare what agents read of them."""
    found = {
        (key.pk, key.sk): _shown(item)
        for key, item in scene.tables.items(tables.STATE).items()
        if keys.family(*key) == "metrics"
    }
    told = [_counted(each) for each in tellings(scene.book.decisions.values())]
    for place in sorted(found.keys() | {place for each in told for place in each}):
        wanted = [each.get(place, {}) for each in told]
        if found.get(place, {}) not in wanted:
            yield f"the sources of {place} did {found.get(place)}, not {wanted[0]}"


def _counted(told: Iterable[Story]) -> dict[tuple[str, str], dict[str, Did]]:
    found: dict[tuple[str, str], dict[str, Did]] = {}
    for item, state in told:
        said = item.get("reasoning", {})
        names = [f"source {name}" for name in said.get("selected", ())]
        bucket = said.get("bucket")
        if bucket:
            names += [f"{bucket} {name}" for name in said.get("selected", ())]
            names.append(f"bucket {bucket}")
        if names:
            pk, sk = keys.metrics(item["agent_id"], item["decision_type"])
            sums = found.setdefault((pk, sk), {})
            for name in names:
                calls, outcomes, successes = sums.get(name, (0, 0, 0))
                sums[name] = (
                    calls + 1,
                    outcomes + (state.success is not None),
                    successes + (state.success is True),
                )
    return {place: _rated(sums) for place, sums in found.items()}


def _rated(sums: dict[str, Did]) -> dict[str, Any]:
    """Of a source within a bucket only the rate is shown."""
    return {
        name: did
        if name.startswith(("source ", "bucket "))
        else (round(Decimal(did[2]) / did[1], 4) if did[1] else None)
        for name, did in sums.items()
    }


def _shown(item: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        f"source {name}": _did(said) for name, said in item["source_metrics"].items()
    }
    for bucket, said in item["context_performance"].items():
        found[f"bucket {bucket}"] = _did(said)
        found |= {f"{bucket} {name}": rate for name, rate in said["sources"].items()}
    return found


def _did(said: dict[str, Any]) -> Did:
    return int(said["total_calls"]), int(said["outcomes"]), int(said["successes"])
