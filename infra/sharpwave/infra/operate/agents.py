"""The agents of a deployment: their registrations, their inbox queues and what they remember."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

from pydantic import ValidationError

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Missing, Misused
from sharpwave.infra.items import Item, Items
from sharpwave.infra.mailbox import Depth, Mailbox, depth_at
from sharpwave.infra.operate import apart
from sharpwave.infra.provision.structure import (
    Finding,
    Provisioned,
    Step,
    carry_out,
    queue_findings,
)
from sharpwave.schemas import keys, queues
from sharpwave.schemas.conditions import SignalConditions
from sharpwave.schemas.faults import explained
from sharpwave.schemas.ids import SYSTEM, is_agent_id
from sharpwave.schemas.numbers import item_from_wire, item_to_wire
from sharpwave.schemas.patterns import PatternVersion, boundaries
from sharpwave.schemas.records import Registration
from sharpwave.schemas.tables import MEMORY, PIPELINE, STATE, TABLES

MEMORY_KINDS = ("recent", "patterns", "shared", "facts", "episodes", "strategies", "granted")
#: Attributes by which the pipeline's items say of whose record they speak.
_ABOUT = ("signal_pk", "record_pk")


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What an agent's registration should say; None leaves an attribute as it is.

    `filters` are conditions in words by type, to which the agent subscribes with them; without any
    words it wants all of the type again. Types that are not named keep what they have.
    """

    subscriptions: Sequence[str] | None = None
    capabilities: Sequence[str] | None = None
    filters: Mapping[str, str] | None = None
    may_broadcast: bool | None = None
    accepts_from: Sequence[str] | None = None
    signals_per_minute: int | None = None

    def applied(self, found: Item) -> Item:
        """Give a registration with what was wished for.

        Raises:
            Misused: a filter cannot be read.
        """
        wanted, filters = {**found, **self.attributes()}, dict(found.get("filters", {}))
        for signal_type, words in (self.filters or {}).items():
            filters.pop(signal_type, None)
            if words:
                filters[signal_type] = _conditions(signal_type, words)
        if self.filters:
            known = wanted.get("subscriptions", ())
            wanted["subscriptions"] = sorted({*known, *self.filters})
            wanted.pop("filters", None)
        return wanted | ({"filters": filters} if filters else {})

    def attributes(self) -> dict[str, Any]:
        """Give what was wished for as attributes of the registration, without filters."""
        values = {
            "subscriptions": None if self.subscriptions is None else sorted(self.subscriptions),
            "capabilities": None if self.capabilities is None else sorted(self.capabilities),
            "may_broadcast": self.may_broadcast,
            "accepts_from": None if self.accepts_from is None else sorted(self.accepts_from),
            "signals_per_minute": self.signals_per_minute,
        }
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class AgentView:
    """One agent: what it registered and how its inbox stands (None without a queue).

    `urgent` are second copies of some deliveries; they stay where nobody was behind with its inbox.
    `last_seen`, in epoch seconds, is its last sign of life by the SDK.

    One that is neither registered nor removed wrote something without ever registering.
    """

    agent_id: str
    registered: bool
    removed: bool
    registration: Item
    inbox: Depth | None
    urgent: Depth | None
    dlq: Depth | None
    last_seen: int | None


@dataclass(frozen=True, kw_only=True)
class Removed:
    """What the removal of an agent did, and why its queue was kept, if it was."""

    steps: tuple[str, ...]  # what was done, in words
    closed: int = 0  # open deliveries that ended as FAILED, reason `agent_removed`
    deleted: Mapping[str, int] = field(default_factory=dict)  # items deleted of each table
    kept_queue: str | None = None  # why the queue was kept


def add_agent(
    deployment: Deployment,
    agent_id: str,
    wishes: Wishes | None = None,
    *,
    strict: bool = False,
    dry_run: bool = False,
) -> Provisioned:
    """Register an agent and make its queues, each with a dead-letter queue.

    With `strict` it gets a role of its own too, and its queues are closed to all others, as the
    template of an agent has it. Safe to repeat; what was registered before and is not wished
    otherwise stays.

    Raises:
        Misused: the id or a wish cannot be.
    """
    check_agent_id(agent_id)
    items = Items(deployment)
    found = items.get(STATE, keys.registration(agent_id))
    known = {
        **(found or {"registered_at": int(time.time()), "schema_version": 1}),
        **keys.registration(agent_id).item(),
        "agent_id": agent_id,
    }
    wanted = (wishes or Wishes()).applied(known)
    try:
        Registration.model_validate(wanted)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in detail["loc"])
        raise Misused(f"registration of {agent_id!r}: {where}: {detail['msg']}") from error
    # The queue comes first: as soon as workers know the agent, they send to it.
    findings: list[Finding] = [
        found for queue in queues.of_agent(agent_id) for found in queue_findings(deployment, queue)
    ]
    if strict:
        findings += apart.findings(deployment, agent_id)
    if wanted != found:
        action: Any = "create" if found is None else "mend"
        run = partial(items.put, STATE, wanted)
        findings.append(Step(action, "agent", agent_id, "the registration", run))
    entry = items.get(PIPELINE, keys.known_agent(agent_id))
    if entry is None or entry.get("registered") is False:
        run = partial(_list, items, agent_id, registered=True)
        what = "an entry in the workers' list"
        findings.append(Step("create", "agent", agent_id, what, run))
    return carry_out(findings, dry_run=dry_run)


def _conditions(signal_type: str, words: str) -> Any:
    """Give a filter in the form in which it comes back from the table."""
    try:
        read = SignalConditions.read(words).model_dump(mode="json")
    except ValidationError as error:
        faults = "; ".join(fault.message for fault in explained(error))
        raise Misused(f"filter of {signal_type}: {faults}") from error
    except ValueError as error:
        raise Misused(f"filter of {signal_type}: {error}") from error
    return item_from_wire(item_to_wire({"filter": read}))["filter"]


def list_agents(deployment: Deployment) -> list[AgentView]:
    """List all agents ever registered or seen, and what their inbox queues hold, by id."""
    items = Items(deployment)

    def view(entry: Item) -> AgentView:
        agent_id = entry["agent_id"]
        inbox = queues.inbox(agent_id)
        registration = items.get(STATE, keys.registration(agent_id))
        sign = items.get(MEMORY, keys.seen(agent_id))
        return AgentView(
            agent_id=agent_id,
            registered=registration is not None,
            removed=registration is None and entry.get("registered") is False,
            registration=registration or {},
            inbox=depth_at(deployment, inbox.name),
            urgent=depth_at(deployment, queues.urgent_inbox(agent_id).name),
            dlq=depth_at(deployment, inbox.dlq),
            last_seen=None if sign is None else int(sign["last_seen"]),
        )

    return [view(entry) for entry in known_agents(items)]


def known_agents(items: Items) -> list[Item]:
    """Read the pipeline's list of agents ever registered, by `agent_id`."""
    entries = items.query(PIPELINE, keys.KNOWN_AGENTS_PK)
    return [{**entry, "agent_id": entry["SK"]} for entry in entries]


def remove_agent(
    deployment: Deployment,
    agent_id: str,
    *,
    purge: bool = False,
    data: bool = False,
    strict: bool = False,
    dry_run: bool = False,
) -> Removed:
    """Withdraw an agent's registration, and end what was under way to it.

    Workers stop delivering to it within their cache's lifetime. Its queue goes too if it is empty
    or `purge` is given, and its role if `strict` is. Its records stay unless `data` is given; even
    then the base ledgers stay that patterns of a domain are held against. Safe to repeat; what
    workers wrote meanwhile is then found.

    Raises:
        Missing: no such agent is known, and `data` is not asked for.
        Misused: what is to stay of the data can only a newer release tell.
    """
    # Only the end of its deliveries needs the workers' extra; an agent is added without.
    from sharpwave.infra.operate.giving_up import GivingUp

    check_agent_id(agent_id)
    items = Items(deployment)
    inbox = queues.inbox(agent_id)
    depths = [depth_at(deployment, name) for name in (inbox.name, inbox.dlq)]
    entry = items.get(PIPELINE, keys.known_agent(agent_id))
    registration = items.get(STATE, keys.registration(agent_id))
    if entry is None and registration is None and depths == [None, None] and not data:
        raise Missing(f"agent {agent_id!r} is not known; `sharpwave agents ls` lists all")
    steps = []
    # Its role first: from then on it writes nothing more.
    if strict and (role := apart.role_of(deployment, agent_id)) is not None:
        steps.append(f"delete role {role}")
        if not dry_run:
            apart.drop_role(deployment, role)
    if registration or (entry and entry.get("registered") is not False):
        steps.append("withdraw the registration")
        if not dry_run:
            items.delete(STATE, keys.registration(agent_id))
            items.delete(MEMORY, keys.registry(agent_id))
            items.delete(MEMORY, keys.seen(agent_id))
            _list(items, agent_id, registered=False)
    # Only now: a worker that still wrote a row for it finds that the registration is gone.
    giving_up = GivingUp(deployment)
    if dry_run:
        closed = sum(len(page) for page in giving_up.open_rows(agent_id))
    else:
        closed = giving_up.inbox(agent_id)
    if closed:
        steps.append(f"end {closed} open deliveries as agent_removed")
    deleted: dict[str, int] = {}
    if data:
        stays = _kept_ledgers(deployment, items, agent_id, dry_run=dry_run)
        for table in TABLES:
            deleted[table.name] = _delete_items(items, table.name, agent_id, stays, dry_run=dry_run)
        steps += [f"delete {count} items of {name}" for name, count in deleted.items() if count]
    held = sum(depth.total for depth in depths if depth)
    # Copies for the urgent queue are no deliveries of their own and keep nothing.
    if held and not purge:
        kept = f"{inbox.name} and its dead letters hold {held} messages; --purge deletes them"
        return Removed(steps=tuple(steps), closed=closed, deleted=deleted, kept_queue=kept)
    urgent = queues.urgent_inbox(agent_id)
    for name in (inbox.name, inbox.dlq, urgent.name, urgent.dlq):
        if depth_at(deployment, name) is not None:
            steps.append(f"delete queue {deployment.name(name)}")
            if not dry_run:
                Mailbox(deployment, name).drop()
    return Removed(steps=tuple(steps), closed=closed, deleted=deleted)


def check_agent_id(agent_id: str) -> None:
    """Refuse what cannot name an agent.

    Raises:
        Misused: the id has other characters, is too long, or has digits only.
    """
    if not is_agent_id(agent_id):
        text = f"{agent_id!r} cannot name an agent; use 1 to 40 of a-z, 0-9 and inner '-'"
        raise Misused(text)
    if agent_id == SYSTEM:
        raise Misused(f"{SYSTEM!r} names the pipeline itself; choose another name")
    if keys.is_shard(agent_id):
        text = (
            f"{agent_id!r} cannot name an agent: in the key of a signal, signal#TYPE#{agent_id},"
            " digits alone are a shard of its type; add a letter"
        )
        raise Misused(text)


def recall(
    deployment: Deployment, agent_id: str, *, kinds: Sequence[str] = MEMORY_KINDS, limit: int = 20
) -> dict[str, list[Item]]:
    """Read what an agent remembers, newest first, at most `limit` of each kind.

    `recent` is short-term memory; `shared` are copies of others' patterns, and `granted` of their
    memories.

    Raises:
        Misused: the agent's id or a kind cannot be.
    """
    check_agent_id(agent_id)
    unknown = [kind for kind in kinds if kind not in MEMORY_KINDS]
    if unknown:
        raise Misused(f"{unknown[0]!r} is no kind of memory; there are {', '.join(MEMORY_KINDS)}")
    items = Items(deployment)
    lasting = {
        "patterns": keys.pattern_pk(agent_id),
        "shared": keys.shared_with_pk(agent_id),
        "facts": keys.fact_pk(agent_id),
        "episodes": keys.episode_pk(agent_id),
        "strategies": keys.strategy_pk(agent_id),
        "granted": keys.granted_pk(agent_id),
    }
    remembered = {}
    for kind in kinds:
        if kind == "recent":
            # A partition for each type, so all are read before the newest are known.
            partitions = [keys.memory_pk(agent_id, name) for name in keys.MEMORY_TYPES]
            entries = [entry for pk in partitions for entry in items.query(STATE, pk)]
            found = iter(sorted(entries, key=lambda entry: str(entry["SK"]), reverse=True))
        else:
            found = items.query(MEMORY, lasting[kind], newest_first=True)
        kept = (
            item
            for item in found
            if item.get("memory_type") != "PATTERN_VERSION" and "forgotten_at" not in item
        )
        remembered[kind] = list(islice(kept, limit))
    return remembered


def _list(items: Items, agent_id: str, *, registered: bool) -> None:
    """Say on the workers' list whether an agent is registered; what they noted there stays."""
    entry, said = keys.known_agent(agent_id), {"registered": registered}
    whole = {**entry.item(), "agent_id": agent_id, **said}
    if not (items.update(PIPELINE, entry, said) or items.put_new(PIPELINE, whole)):
        items.update(PIPELINE, entry, said)  # a worker put it there in between


def _kept_ledgers(
    deployment: Deployment, items: Items, agent_id: str, *, dry_run: bool
) -> Mapping[str, str]:
    """Give the base ledgers that stay when an agent's data goes, each with its decision type.

    A pattern of a domain has counted the agent's decisions among all others', in sets that do not
    say whose is which. Its base rate is that of all decisions less those it counted: without the
    agent's share of the first, it would be that of nobody. The agent's own patterns, which go,
    divide these ledgers, so the list of writers keeps where.
    """
    from sharpwave.workers.aws.tables import TableReads
    from sharpwave.workers.patterns.catalogue import listed

    known = listed(TableReads(deployment.dynamodb, prefix=deployment.prefix))
    if any(scope.agent_id in (None, agent_id) for scope in known.unreadable):
        raise Misused(
            f"a newer release imported patterns that may count {agent_id!r}; remove its data with"
            " that one"
        )
    current: dict[str, list[PatternVersion]] = {}
    for version in known.versions:
        if version.definition.agent_id is None and version.effective_to is None:
            current.setdefault(version.definition.decision_type, []).append(version)
    kept: dict[str, str] = {}
    for decision_type, versions in current.items():
        entry = keys.writer(decision_type, agent_id)
        found = items.get(MEMORY, entry)
        if found is None:
            continue
        noted = found.get("epochs", [])
        moments = {*boundaries(known.versions, agent_id, decision_type), *noted}
        epochs = sorted(each for each in moments if any(one.covers(each) for one in versions))
        # Before the patterns go, for then nothing else knows.
        if epochs != noted and not dry_run:
            items.update(MEMORY, entry, {"epochs": epochs})
        subjects = (keys.base_subject(agent_id, decision_type, each) for each in epochs)
        kept |= dict.fromkeys(subjects, decision_type)
    return kept


def _delete_items(
    items: Items, table: str, agent_id: str, kept: Mapping[str, str], *, dry_run: bool
) -> int:
    """Delete what is an agent's own in one table, or count it; reads the whole table."""
    changed, writers = keys.changed_pks(), {keys.writer(each, agent_id) for each in kept.values()}

    def goes(item: Item) -> bool:
        key = _key(item)
        if key == keys.registration(agent_id):
            return False  # withdrawn before, as a step of its own
        # Rows that other agents hold of its signals are theirs, and lie in another table.
        about = [str(item[name]) for name in _ABOUT if name in item] if table == PIPELINE else []
        if not (keys.is_agents(agent_id, key) or agent_id in map(keys.owner_of, about)):
            return False
        # A ledger that stays keeps its mark, and its place in the list of writers.
        if key.pk in changed:
            return keys.split_changed(key.sk)[0] not in kept
        return key not in writers and keys.ledger_subject(key.pk) not in kept

    names = ("PK", "SK", *_ABOUT)
    pages = items.scan_pages(
        table,
        FilterExpression=" OR ".join(f"contains({name}, :agent)" for name in names),
        ExpressionAttributeValues={":agent": {"S": agent_id}},
        ProjectionExpression=", ".join(names),
    )
    count = 0
    # `contains` also finds agents whose id begins alike; whose an item is, its key says.
    for page in pages:
        mine = [_key(item) for item in map(item_from_wire, page["Items"]) if goes(item)]
        count += len(mine)
        if mine and not dry_run:
            items.delete_all(table, mine)
    return count


def _key(item: Item) -> keys.Key:
    return keys.Key(item["PK"], item["SK"])
