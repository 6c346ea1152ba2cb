"""Long-term memory holds what was remembered and decided, once, and never less than before."""

from collections import Counter
from collections.abc import Iterator

from sharpwave.schemas import keys, tables
from sharpwave.workers.work.ports import Item
from tests.simulation.checking.counting import Story, day_of, tellings
from tests.simulation.scene import Scene


def memory(scene: Scene) -> Iterator[str]:
    """Check facts and episodes."""
    stored = scene.tables.items(tables.MEMORY)
    yield from _facts(scene, stored)
    yield from _episodes(scene, stored)


def _facts(scene: Scene, stored: dict[keys.Key, Item]) -> Iterator[str]:
    facts = {key: item for key, item in stored.items() if key.pk.endswith("#fact")}
    for item in scene.book.memories.values():
        place = keys.fact(item["agent_id"], item["memory_type"], item["SK"])
        fact = facts.pop(place, None)
        if fact is None:
            yield f"the memory {item['SK']} of {item['agent_id']} was not promoted"
        elif fact["data"] != item["data"]:
            yield f"the fact {place.sk} says {fact['data']}, its entry said {item['data']} last"
        elif "GSI1_PK" in fact:
            yield f"the fact {place.sk} took an index key of its agent's along"
    for place in facts:
        if not any(key.sk in place.sk for key in scene.book.oversized):
            yield f"the fact {place} came from nowhere"


def _episodes(scene: Scene, stored: dict[keys.Key, Item]) -> Iterator[str]:
    found = {
        key: tuple(int(item.get(name, 0)) for name in ("sample_size", "successes", "pending"))
        for key, item in stored.items()
        if key.pk.endswith("#episode")
    }
    held = scene.tables.items(tables.DECISIONS)
    for key, decided in scene.book.decisions.items():
        item = held.get(key)
        if item and "promoted_at" not in item and not (decided.is_spoilt or decided.others):
            yield f"the decision {decided.item['SK']} was not folded into an episode"
    faults: list[str] = []
    # Of a day whose decisions their agent deleted or spoilt before they came of age, nothing is
    # promised; one that has an episode must count them all the same.
    kept = {
        _place(decided.item)
        for decided in scene.book.decisions.values()
        if not (decided.is_forgotten or decided.is_spoilt)
    }
    for told in tellings(scene.book.decisions.values()):
        faults = list(_differences(found, told, kept))
        if not faults:
            return
    yield from faults


def _differences(
    found: dict[keys.Key, tuple[int, ...]], told: list[Story], kept: set[keys.Key]
) -> Iterator[str]:
    n, successes, pending = Counter[keys.Key](), Counter[keys.Key](), Counter[keys.Key]()
    for item, state in told:
        place = _place(item)
        n[place] += state.success is not None
        successes[place] += state.success is True
        pending[place] += state.success is None
    for place in n:
        wanted = (n[place], successes[place], pending[place])
        if found.get(place) != wanted and (place in kept or place in found):
            yield f"the episode {place} says {found.get(place)}, the agents {wanted}"
    for place in found.keys() - n.keys():
        yield f"the episode {place} came from nowhere"


def _place(item: Item) -> keys.Key:
    return keys.episode(item["agent_id"], item["decision_type"], day_of(item))
