"""What an agent does with its memory, done by hand in its name by the SDK's operations."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Missing, Misused
from sharpwave.infra.items import Item
from sharpwave.infra.operate.signals import StandIn
from sharpwave.producers.errors import LargeEntryLost, RecordMissing, RecordRefused
from sharpwave.producers.operations import large, memory
from sharpwave.schemas.keys import Key, memory_pk


def remember(
    deployment: Deployment,
    agent_id: str,
    memory_type: Any,
    *,
    dry_run: bool,
    large_entries: str | None = None,
    **described: Any,
) -> Item:
    """Write a memory entry, and give it; `described` are the arguments of `Agent.remember`.

    Raises:
        Misused: the entry breaks its schema; nothing was written.
    """
    agent = StandIn(deployment, agent_id, dry_run=dry_run, large_entries=large_entries)
    with _told():
        kept = agent.run(memory.remember(agent.me, memory_type, **described))
    return kept.model_dump(exclude_unset=True)


def forget(
    deployment: Deployment,
    agent_id: str,
    memory_type: str,
    what: str,
    *,
    dry_run: bool,
    large_entries: str | None = None,
) -> None:
    """Forget an entry and what became of it; `what` is as `recall` shows it.

    With `large_entries` its object in S3 goes too.

    Raises:
        Misused: there can be no such entry.
    """
    agent = StandIn(deployment, agent_id, dry_run=dry_run, large_entries=large_entries)
    with _told():
        agent.run(memory.forget(agent.me, _key(agent_id, memory_type, what)))


def share(
    deployment: Deployment,
    agent_id: str,
    memory_type: str,
    what: str,
    *,
    agents: Collection[str],
    domains: Collection[str],
    revoke: bool,
    dry_run: bool,
) -> Item | None:
    """Share an entry, or revoke that; gives it as it is then, nothing on a dry run.

    Raises:
        Misused: there can be no such entry or reader.
        Missing: the entry is gone.
    """
    agent = StandIn(deployment, agent_id)
    change = memory.unshare if revoke else memory.share
    operation = change(agent.me, _key(agent_id, memory_type, what), agents=agents, domains=domains)
    with _told():
        if dry_run:
            next(operation)
            return None
        return agent.run(operation).model_dump(exclude_unset=True)


def grants(deployment: Deployment, agent_id: str) -> list[Item]:
    """List what an agent shares, and with whom."""
    agent = StandIn(deployment, agent_id)
    return [entry.model_dump(exclude_unset=True) for entry in agent.run(memory.grants(agent.me))]


def whole(
    deployment: Deployment,
    agent_id: str,
    found: Mapping[str, Sequence[Item]],
    large_entries: str,
) -> dict[str, list[Item]]:
    """Give what was recalled with the `data` that lies in S3; `lost` says why one has none."""
    agent = StandIn(deployment, agent_id, large_entries=large_entries)

    def loaded(item: Item) -> Item:
        if "large" not in item:
            return item
        try:
            return {**item, "data": agent.run(large.load(agent.me, item))}
        except LargeEntryLost as error:
            return {**item, "lost": str(error)}

    return {kind: [loaded(item) for item in items] for kind, items in found.items()}


def _key(agent_id: str, memory_type: str, what: str) -> Key:
    return Key(memory_pk(agent_id, memory_type), what.removeprefix(f"{memory_type}#"))


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except RecordRefused as refused:
        raise Misused(f"memory not changed: {refused}") from refused
    except RecordMissing as error:
        raise Missing(str(error)) from error
