"""Invariant 4: nothing promoted is lost or doubled, and nothing expires unconsidered."""

from collections import Counter
from collections.abc import Iterator

from sharpwave.schemas import keys, tables
from sharpwave.schemas.times import day_and_hour
from sharpwave.workers.ports import Item
from tests.world.book import Book
from tests.world.world import World


def memory(world: World, book: Book) -> Iterator[str]:
    """Compare long-term memory with what the agents remember."""
    stored = world.tables.items(tables.MEMORY)
    facts = {key: item for key, item in stored.items() if key.pk.endswith("#fact")}
    for item in book.memories.values():
        place = keys.fact(item["agent_id"], item["memory_type"], item["SK"])
        fact = facts.pop(place, None)
        if fact is None:
            yield f"the memory {item['SK']} of {item['agent_id']} was not promoted"
        elif fact["data"] != item["data"] or "GSI1_PK" in fact:
            yield f"the fact {place} is not what was remembered: {fact}"
    for place in facts:
        yield f"the fact {place} came from nowhere"
    yield from _episodes(world, stored)


def _episodes(world: World, stored: dict[keys.Key, Item]) -> Iterator[str]:
    n, successes, pending = Counter[keys.Key](), Counter[keys.Key](), Counter[keys.Key]()
    for key, item in world.tables.items(tables.DECISIONS).items():
        if "promoted_at" not in item:
            yield f"the decision {key.sk} was not folded into an episode"
        day, _ = day_and_hour(item["timestamp"], item.get("event_time"))
        place = keys.episode(item["agent_id"], item["decision_type"], day)
        outcome = item.get("outcome")
        n[place] += outcome is not None
        successes[place] += outcome is not None and outcome["success"]
        pending[place] += outcome is None
    for place in n:
        found = stored.get(place, {})
        said = tuple(found.get(name) for name in ("sample_size", "successes", "pending"))
        if said != (n[place], successes[place], pending[place]):
            yield f"the episode {place} says {said}, not {n[place], successes[place]}"
