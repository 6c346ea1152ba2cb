"""Every partition key and sort key. Nobody else formats or parses one.

`*_pk` gives a partition, `*_sk` a sort key, a plain noun a whole key, `*_span` a partition and the
bounds of a part of it (`after` exclusive), and `split_*` takes apart what the noun put together.
"""

from hashlib import blake2b
from typing import Literal, NamedTuple

from sharpwave.schemas.ids import is_agent_id, is_record_id, is_type_name
from sharpwave.schemas.times import is_iso, iso_ms_of


class Key(NamedTuple):
    """A primary key; the attributes are named `PK` and `SK` in every table."""

    pk: str
    sk: str

    def item(self) -> dict[str, str]:
        """Give the key as plain attributes."""
        return {"PK": self.pk, "SK": self.sk}

    def wire(self) -> dict[str, dict[str, str]]:
        """Give the key as the DynamoDB API takes it."""
        return {"PK": {"S": self.pk}, "SK": {"S": self.sk}}


#: Partitions that list things of a whole deployment.
KNOWN_AGENTS_PK, KNOWN_PATTERNS_PK, DUE_MINUTES_PK = "agents", "patterns", "due"
PAUSED_PK, WANTED_PK, PRESENCE_PK = "paused", "wanted", "workers"

#: Over how many partitions records of the whole fleet are spread.
#: A partition takes 1,000 writes a second. The numbers are part of the keys: never change them.
PARKED_SHARDS, CHANGED_SHARDS, DUE_SHARDS = 8, 8, 4

#: Short-term memory lasts a day; an agent's own strategies and facts last until they are forgotten.
MEMORY_TYPES, LASTING_TYPES = ("CONTEXT", "QUERY", "SIGNAL", "NOTE"), ("STRATEGY", "FACT")
CURRENT, REGISTRATION, LIMIT = "CURRENT", "REGISTRATION", "LIMIT"

Kind = Literal[
    "decision",
    "signal",
    "mirror",
    "inbox_row",
    "state",
    "registration",
    "memory",
    "limit",
    "metrics",
]

#: The family of keys that have none. Families are written into counters that others read, so their
#: names stay: an inbox row is a `row` there.
OTHER = "other"
_AGENT_FAMILIES = {
    "inbox": "row",
    "shared": "pattern",
    **{name: name for name in ("decision", "memory", "pattern", "fact", "episode", "strategy")},
    **{name: name for name in ("granted", "metrics")},
}
_WRITERS, _CHILDREN = "shared#writers#", "shared#children#"
#: Agents as all may find them; and when each was last seen, which it writes itself.
REGISTRY_PK, _SEEN = "shared#registry", "shared#seen#"
#: What the sort key of a mirror has behind its signal's; ids hold no `#`, so no signal's ends so.
_MIRROR = "#status"
_LEDGER_FAMILIES = {"L#": "slot", "H#": "head", "D#": "day", "T": "day"}
_FAMILIES = {
    "shared": "pattern",
    **{name: name for name in ("signal", "checkpoint", "audience", "agents", "patterns", "parked")},
    **{name: name for name in ("low_water", "rate", "notice", "paused", "wanted", "workers")},
    **{name: name for name in ("resolved", "due", "changed", "sources", "judged")},
    **{name: name for name in ("promotions", "life", "discovery", "granted", "names")},
}


class Parsed(NamedTuple):
    """What a key says: the kind of item, the agent it binds (if any) and its type."""

    kind: Kind
    owner: str | None
    type_name: str | None


# -- decisions -----------------------------------------------------------------------------------


def decision_pk(agent_id: str, decision_type: str) -> str:
    """Give the partition of one agent's decisions of one type."""
    return f"agent:{agent_id}#decision#{decision_type}"


def split_decision_pk(pk: str) -> tuple[str, str]:
    """Give the agent and the type that the partition of a sound decision names."""
    return owner_of(pk) or "", pk.rpartition("#")[2]


def dated_sk(iso_timestamp: str, record_id: str) -> str:
    """Give the sort key of a record that has a time and an id."""
    return f"{iso_timestamp}#{record_id}"


def time_and_id(sk: str) -> tuple[str, str]:
    """Split the sort key of a sound record or inbox row into its ISO time and its id or uid."""
    iso, _, name = sk.partition("#")
    return iso, name


def split_dated_sk(sk: str) -> tuple[str, str] | None:
    """Split a dated sort key into its ISO time and id, or None if it is not one."""
    iso, _, name = sk.partition("#")
    return (iso, name) if is_iso(iso) and is_record_id(name) else None


# -- signals and inbox rows ----------------------------------------------------------------------


def signal_pk(signal_type: str, source_agent: str | None = None) -> str:
    """Give a signal's partition; with `source_agent`, the strict form that IAM can bind.

    Writers of the compatible form may spread one type over `signal#TYPE#0`, `signal#TYPE#1` and so
    on: a third part of digits only is a shard and names no agent.
    """
    return (
        f"signal#{signal_type}" if source_agent is None else f"signal#{signal_type}#{source_agent}"
    )


def mirror(signal: Key) -> Key:
    """Give the key of the item beside a signal that says how far it got, target by target.

    It follows its signal at once in a query or a scan, and has none of a signal's attributes.
    """
    return Key(signal.pk, signal.sk + _MIRROR)


def is_mirror_sk(sk: str) -> bool:
    """Say whether a sort key, in the partition of a signal, is that of a mirror."""
    return sk.endswith(_MIRROR) and split_dated_sk(sk.removesuffix(_MIRROR)) is not None


def mirrored(mirror: Key) -> Key:
    """Give the key of the signal that a mirror stands beside."""
    return Key(mirror.pk, mirror.sk.removesuffix(_MIRROR))


def inbox_pk(target: str) -> str:
    """Give the partition of one agent's inbox rows."""
    return f"agent:{target}#inbox"


def inbox_sk(iso_timestamp: str, uid: str) -> str:
    """Give the sort key of an inbox row: the signal's time to the millisecond, then its uid."""
    # One precision for all, for text of several does not sort by time: "00Z" is after "00.5Z".
    return f"{iso_ms_of(iso_timestamp)}#{uid}"


def inbox_row(target: str, signal: Key, uid: str) -> Key:
    """Give the key of the row that stands for one signal at one target."""
    return Key(inbox_pk(target), inbox_sk(time_and_id(signal.sk)[0], uid))


# -- agent state ---------------------------------------------------------------------------------


def state_pk(agent_id: str) -> str:
    """Give the partition of one agent's state."""
    return f"agent:{agent_id}"


def registration(agent_id: str) -> Key:
    """Give the key of an agent's registration."""
    return Key(state_pk(agent_id), REGISTRATION)


def current_state(agent_id: str) -> Key:
    """Give the key of an agent's current state."""
    return Key(state_pk(agent_id), CURRENT)


def saved_state(agent_id: str, kind: Literal["CHECKPOINT", "BACKUP"], iso_timestamp: str) -> Key:
    """Give the key of a checkpoint or a backup of an agent's state."""
    return Key(state_pk(agent_id), f"{kind}#{iso_timestamp}")


def limit(agent_id: str, name: str) -> Key:
    """Give the key of the token bucket of one of an agent's own limits."""
    # In the partition of its state, where IAM's strict policy lets it write.
    return Key(state_pk(agent_id), f"{LIMIT}#{name}")


def state_type(sk: str) -> str:
    """Give what a sort key of state says it is: `CURRENT`, `CHECKPOINT` or `BACKUP`."""
    return sk.partition("#")[0]


def memory_pk(agent_id: str, memory_type: str) -> str:
    """Give the partition of what one agent itself remembers, of one type."""
    return f"agent:{agent_id}#memory#{memory_type}"


def metrics_pk(agent_id: str) -> str:
    """Give the partition of how an agent's sources did, by decision type; workers write it."""
    return f"agent:{agent_id}#metrics"


def metrics(agent_id: str, decision_type: str) -> Key:
    """Give the key of how the sources of an agent's decisions of one type did."""
    return Key(metrics_pk(agent_id), decision_type)


# -- long-term memory ----------------------------------------------------------------------------


def pattern_pk(agent_id: str) -> str:
    """Give the partition of one agent's own patterns."""
    return f"agent:{agent_id}#pattern"


def shared_pattern_pk(domain: str) -> str:
    """Give the partition of the patterns shared in one domain."""
    return f"shared#pattern#{domain}"


def shared_owner(domain: str) -> str:
    """Name who owns the patterns of a domain, as ledgers and copies do."""
    return f"shared#{domain}"


def pattern_version_sk(pattern_id: str, version: int) -> str:
    """Give the sort key of one immutable version of a pattern."""
    return f"{pattern_id}@{version}"


def fact_pk(agent_id: str) -> str:
    """Give the partition of one agent's facts."""
    return f"agent:{agent_id}#fact"


def fact(agent_id: str, memory_type: str, sk: str) -> Key:
    """Give the key of the fact, or strategy, that a memory entry becomes."""
    pk = strategy_pk(agent_id) if memory_type == "STRATEGY" else fact_pk(agent_id)
    return Key(pk, f"{memory_type}#{sk}")


def episode_pk(agent_id: str) -> str:
    """Give the partition of one agent's episodes."""
    return f"agent:{agent_id}#episode"


def episode(agent_id: str, decision_type: str, day: str) -> Key:
    """Give the key of the summary of one agent's decisions of one type on one day."""
    return Key(episode_pk(agent_id), f"{decision_type}#{day}")


def strategy_pk(agent_id: str) -> str:
    """Give the partition of one agent's strategies."""
    return f"agent:{agent_id}#strategy"


def writers_pk(decision_type: str) -> str:
    """Give the partition that lists the agents that wrote decisions of one type."""
    return _WRITERS + decision_type


def writer(decision_type: str, agent_id: str) -> Key:
    """Give the key of an entry in the list of agents that wrote decisions of one type."""
    return Key(writers_pk(decision_type), agent_id)


def registry(agent_id: str) -> Key:
    """Give the key of an agent's entry in the list in which agents find each other."""
    return Key(REGISTRY_PK, agent_id)


def seen_pk(agent_id: str) -> str:
    """Give the partition of an agent's sign of life, its own so that IAM can bind it."""
    return _SEEN + agent_id


def seen(agent_id: str) -> Key:
    """Give the key of an agent's sign of life."""
    return Key(seen_pk(agent_id), "SEEN")


def children_pk(decision_id: str) -> str:
    """Give the partition that lists the decisions which name one as their parent."""
    return _CHILDREN + decision_id


def child(parent_id: str, decision: Key) -> Key:
    """Give the key of an entry in the list of the decisions that name one as their parent."""
    return Key(children_pk(parent_id), f"{decision.sk}|{decision.pk}")


def split_child(sk: str) -> Key:
    """Give the key of the decision that an entry in a list of children stands for."""
    # A sound decision's key holds no bar.
    own_sk, _, pk = sk.partition("|")
    return Key(pk, own_sk)


def episode_sources(agent_id: str, decision_type: str, day: str, hour: str) -> Key:
    """Give the key of the sources used by one day's decisions that were written in one hour."""
    return Key(f"sources#{agent_id}#{decision_type}", f"{day}#{hour}")


def shared_with_pk(reader: str) -> str:
    """Give the partition of what was shared with one reader."""
    return f"agent:{reader}#shared"


def shared_pattern_copy(reader: str, owner: str, pattern_id: str) -> Key:
    """Give the key of a reader's copy of a pattern that its owner shared with it."""
    return Key(shared_with_pk(reader), f"pattern#{owner}#{pattern_id}")


def granted_pk(reader: str) -> str:
    """Give the partition of the memories that others shared with one reader."""
    return f"agent:{reader}#granted"


def granted_domain_pk(domain: str) -> str:
    """Give the partition of the memories that were shared with all who read a domain."""
    return f"granted#{domain}"


def granted_sk(owner: str, memory_type: str, sk: str) -> str:
    """Give the sort key of a copy of an owner's memory entry, whoever reads it."""
    return f"{owner}#{memory_type}#{sk}"


# -- pipeline ------------------------------------------------------------------------------------


def checkpoint_pk(table: str) -> str:
    """Give the partition of the positions of one table's readers."""
    return f"checkpoint#{table}"


def checkpoint(table: str, shard_id: str) -> Key:
    """Give the key of a reader's position in one shard."""
    return Key(checkpoint_pk(table), shard_id)


def audience_pk(uid: str) -> str:
    """Give the partition of a signal's frozen audience: its head, its chunks, its quota verdict."""
    return f"audience#{uid}"


def audience(uid: str, chunk: int = 0) -> Key:
    """Give the key of one chunk of a signal's frozen audience."""
    return Key(audience_pk(uid), f"{chunk:05d}")


def late_chunk(uid: str, agent_id: str) -> Key:
    """Give the key of a chunk for one agent that registered in time and was listed late."""
    return Key(audience_pk(uid), f"late#{agent_id}")


def quota_verdict(uid: str) -> Key:
    """Give the key of what a source's quota said of one signal."""
    return Key(audience_pk(uid), "quota")


def resolved_pk(scope: str) -> str:
    """Give the partition that lists signals whose audience is looked up.

    `scope` is a signal's type for its subscribers, or `*` for everyone.
    """
    return f"resolved#{scope}"


def resolved(scope: str, stored_iso: str, uid: str) -> Key:
    """Give the key of an entry in the list of signals whose audience is looked up."""
    return Key(resolved_pk(scope), f"{stored_iso}#{uid}")


def due_pk(minute: int, shard: int) -> str:
    """Give a partition of the deliveries whose deadline falls into one minute since the epoch."""
    return f"due#{minute}#{shard}"


def due(minute: int, shard: int, entry: str) -> Key:
    """Give the key of deliveries whose deadline falls into one minute since the epoch."""
    return Key(due_pk(minute, shard), entry)


def due_minute(minute: int) -> Key:
    """Give the key of an entry in the list of minutes in which something falls due."""
    return Key(DUE_MINUTES_PK, str(minute))


def known_agent(agent_id: str) -> Key:
    """Give the key of an entry in the list of agents seen or registered."""
    return Key(KNOWN_AGENTS_PK, agent_id)


def known_pattern(subject: str) -> Key:
    """Give the key of an entry in the list of pattern versions that count decisions."""
    return Key(KNOWN_PATTERNS_PK, subject)


def promotions(owner: str) -> Key:
    """Give the key of an owner's account of promotions; `owner` is an agent or `shared_owner`."""
    return Key("promotions", owner)


def life_pk(subject: str) -> str:
    """Give the partition of the history of one version of a pattern."""
    return f"life#{subject}"


def life(subject: str, number: int) -> Key:
    """Give the key of one transition of a version, from 1; subject as in `pattern_subject`."""
    return Key(life_pk(subject), f"{number:06d}")


def judged() -> Key:
    """Give the key of the moment up to which decisions were judged by the list of versions."""
    return Key("judged", "patterns")


def parked(table: str, pk: str, sk: str, event_id: str) -> Key:
    """Give the key of a refused record; the refused records of one partition lie together."""
    # A sort key holds 1,024 bytes, and a refused record's own keys may be as long as they like. The
    # end is kept, for the event's id makes it unique.
    return Key(_parked_pk(table, pk), f"{pk}|{sk}|{event_id}"[-1000:])


def parked_span(table: str, pk: str, begins: str) -> tuple[str, str, str]:
    """Give the partition, and the bounds in it, of refused records by how their sort keys begin.

    Keys too long for a record that could be valid are cut and may lie elsewhere.
    """
    return _parked_pk(table, pk), f"{pk}|{begins}", f"{pk}|{begins}~"


def _parked_pk(table: str, pk: str) -> str:
    return f"parked#{table}#{_shard_of(pk, PARKED_SHARDS)}"


def parked_pks(table: str) -> list[str]:
    """List the partitions that hold a table's refused records."""
    return [f"parked#{table}#{shard}" for shard in range(PARKED_SHARDS)]


def ledger_pk(subject: str) -> str:
    """Give the partition of one ledger: its elements and its counts."""
    return f"ledger#{subject}"


def ledger_slot(subject: str, day: str, slot: str) -> Key:
    """Give the key of a ledger's set of elements for one slot of one day."""
    return Key(ledger_pk(subject), f"L#{day}#{slot}")


def ledger_head(subject: str, day: str, slot: str = "") -> Key:
    """Give the key of the counts of one slot of one day of a ledger."""
    return Key(ledger_pk(subject), f"H#{day}" + (f"#{slot}" if slot else ""))


def ledger_day(subject: str, day: str) -> Key:
    """Give the key of a ledger's counts for one day, summed over its slots."""
    return Key(ledger_pk(subject), f"D#{day}")


def ledger_total(subject: str) -> Key:
    """Give the key of a ledger's counts, summed over its days."""
    return Key(ledger_pk(subject), "T")


def ledger_slots_span(subject: str) -> tuple[str, str, str]:
    """Give the partition, and the bounds in it, of all of a ledger's sets of elements."""
    return ledger_pk(subject), "L#", "L#~"


def split_ledger_slot(sk: str) -> tuple[str, str]:
    """Give the day and the slot that the sort key of a set of elements, or of its counts, names."""
    day, _, slot = sk.partition("#")[2].partition("#")
    return day, slot


def ledger_heads_span(subject: str, day: str = "") -> tuple[str, str, str]:
    """Give the partition, and the bounds in it, of the counts of a ledger's slots, or a day's."""
    return ledger_pk(subject), f"H#{day}", f"H#{day}~"


def ledger_days_span(subject: str) -> tuple[str, str, str]:
    """Give the partition, and the bounds in it, of a ledger's counts by day."""
    return ledger_pk(subject), "D#", "D#~"


def ledger_subject(pk: str) -> str | None:
    """Give the subject of the ledger that a partition is, or None if it is no ledger's."""
    return pk.removeprefix("ledger#") if pk.startswith("ledger#") else None


def split_ledger_sk(sk: str) -> tuple[str, str]:
    """Give what a ledger's sort key is of and its day, "" for a total.

    `L` is a slot's set, `H` the counts of a slot, `D` those of a day and `T` those of all days.
    """
    kind, _, rest = sk.partition("#")
    return kind, rest.partition("#")[0]


def changed(subject: str, day: str) -> Key:
    """Give the key of the mark that a ledger's day changed since it was last published."""
    return Key(f"changed#{_shard_of(subject, CHANGED_SHARDS)}", f"{subject}|{day}")


def split_changed(sk: str) -> tuple[str, str]:
    """Give the ledger's subject and the day that the sort key of a mark names."""
    # From the right, where a day holds no bar.
    subject, _, day = sk.rpartition("|")
    return subject, day


def changed_pks() -> list[str]:
    """List the partitions that hold the marks of changed days."""
    return [f"changed#{shard}" for shard in range(CHANGED_SHARDS)]


def base_subject(agent_id: str, decision_type: str, epoch: int = 0) -> str:
    """Name the ledger that counts every decision of one agent and type in one epoch.

    An epoch begins, in epoch seconds, where a version of a pattern begins or ends for that agent
    and type; the first one has no name of its own.
    """
    return f"base:{agent_id}:{decision_type}" + (f"@{epoch}" if epoch else "")


def split_base_subject(subject: str) -> tuple[str, str, int] | None:
    """Give agent, type and epoch of a base ledger, or None if it is another's."""
    kind, _, rest = subject.partition(":")
    if kind != "base":
        return None
    name, _, epoch = rest.partition("@")
    agent_id, _, decision_type = name.partition(":")
    return agent_id, decision_type, int(epoch or 0)


def sources_subject(agent_id: str, decision_type: str) -> str:
    """Name the ledger of one agent's decisions of one type that name their sources."""
    return f"sources:{agent_id}:{decision_type}"


def split_sources_subject(subject: str) -> tuple[str, str] | None:
    """Give agent and type of a ledger of sources, or None if it is another's."""
    kind, _, rest = subject.partition(":")
    agent_id, _, decision_type = rest.partition(":")
    return (agent_id, decision_type) if kind == "sources" else None


def pattern_subject(owner: str, pattern_id: str, version: int) -> str:
    """Name the ledger of one version of a pattern; `owner` is an agent or `shared_owner`."""
    return f"pattern:{owner}:{pattern_id}@{version}"


def source_name(agent_id: str, code: int) -> Key:
    """Give the key of the name that a code stands for in the ledgers of an agent."""
    return Key(f"names#{agent_id}", f"{code:08x}")


def low_water(duty: str, agent_id: str) -> Key:
    """Give the key of the position up to which a sweep has nothing left to do."""
    return Key(f"low_water#{duty}", agent_id)


def discovery_pk(agent_id: str) -> str:
    """Give the partition of what the search for one agent's patterns keeps."""
    return f"discovery#{agent_id}"


def discovery(agent_id: str, decision_type: str) -> Key:
    """Give the key of what the search for patterns keeps of an agent's decisions of one type."""
    return Key(discovery_pk(agent_id), decision_type)


def rate_bucket(agent_id: str) -> Key:
    """Give the key of an agent's token bucket."""
    return Key("rate", agent_id)


def told_of_bounce(agent_id: str, uid: str) -> Key:
    """Give the key that allows one notice per signal of which targets nothing was sent to."""
    return Key(f"notice#{agent_id}", f"undeliverable#{uid}")


def told_of_expiry(agent_id: str, uid: str) -> Key:
    """Give the key that allows one notice per signal of which deliveries expired."""
    return Key(f"notice#{agent_id}", f"expired#{uid}")


def notice_window(agent_id: str, code: str, minute: int) -> Key:
    """Give the key that allows one notice per agent, fault and minute."""
    return Key(f"notice#{agent_id}", f"{code}#{minute}")


def paused(queue: str) -> Key:
    """Give the key of the flag that pauses a work queue."""
    return Key(PAUSED_PK, queue)


def wanted_workers(queue: str) -> Key:
    """Give the key of the number of worker instances an operator wants for a queue."""
    return Key(WANTED_PK, queue)


def presence(process: str) -> Key:
    """Give the key of the sign of life of a worker process."""
    return Key(PRESENCE_PK, process)


def pump_presence(table: str) -> Key:
    """Give the key of the sign of life of the pump of a table."""
    return presence(f"pump:{table}")


# -- parsing -------------------------------------------------------------------------------------


def owner_of(pk: str) -> str | None:
    """Give the agent that a partition key binds, or None if it binds none."""
    if pk.startswith("agent:"):
        agent = pk[6:].partition("#")[0]
        return agent if is_agent_id(agent) else None
    if pk.startswith("signal#"):
        # Digits are a shard of the compatible form, which binds nobody; see `signal_pk`.
        agent = pk.rpartition("#")[2]
        is_one = is_agent_id(agent) and not is_shard(agent) and pk.count("#") == 2
        return agent if is_one else None
    return None


def is_shard(name: str) -> bool:
    """Say whether the third part of a signal's partition key is a shard, and so names nobody."""
    return name.isascii() and name.isdigit()


def is_agents(agent_id: str, key: Key) -> bool:
    """Say whether an item of any table is one agent's own, as far as its key says."""
    pk, sk = key
    head, _, rest = pk.partition("#")
    is_listed = pk == REGISTRY_PK or pk.startswith(_WRITERS)
    if head in ("agents", "rate", "low_water", "promotions") or is_listed:
        return sk == agent_id
    if pk.startswith(_SEEN):
        return pk == seen_pk(agent_id)
    if pk.startswith(_CHILDREN):
        return owner_of(split_child(sk).pk) == agent_id
    if head in ("notice", "sources", "discovery", "names"):
        return rest.partition("#")[0] == agent_id
    if head in ("ledger", "patterns", "changed", "life"):
        subject = rest if head in ("ledger", "life") else sk
        kinds = ("base", "pattern", "sources")
        return subject.startswith(tuple(f"{kind}:{agent_id}:" for kind in kinds))
    # What others hold of its memories goes with it.
    is_copy = head == "granted" or pk.endswith("#granted")
    return owner_of(pk) == agent_id or (is_copy and sk.startswith(f"{agent_id}#"))


def parse(table: str, pk: str, sk: str) -> Parsed | None:
    """Say what a key of a streamed table stands for, or None if it has no known shape."""
    parser = {"agent_decisions": _decision, "agent_signals": _signal, "agent_state": _state}[table]
    return parser(pk, sk)


def family(pk: str, sk: str) -> str:
    """Name what kind of item a key of any table stands for, or `OTHER`; for counters."""
    if pk.startswith("agent:"):
        parts = pk.split("#", 2)
        if len(parts) == 1:
            return {REGISTRATION: "registration", LIMIT: "limit"}.get(state_type(sk), "state")
        return _AGENT_FAMILIES.get(parts[1], OTHER)
    if pk.startswith(_WRITERS):
        return "writers"
    if pk == REGISTRY_PK or pk.startswith(_SEEN):
        return "registry"
    if pk.startswith(_CHILDREN):
        return "children"
    head = pk.partition("#")[0]
    if head == "signal" and sk.endswith(_MIRROR):
        return "mirror"
    if head == "ledger":
        return _LEDGER_FAMILIES.get(sk[:2], OTHER)
    return _FAMILIES.get(head, OTHER)


def _decision(pk: str, sk: str) -> Parsed | None:
    head, mark, name = pk.partition("#decision#")
    owner = owner_of(pk)
    if not mark or owner is None or head != f"agent:{owner}" or not is_type_name(name):
        return None
    return Parsed("decision", owner, name) if split_dated_sk(sk) else None


def _signal(pk: str, sk: str) -> Parsed | None:
    if pk.startswith("agent:"):
        owner = owner_of(pk)
        return Parsed("inbox_row", owner, None) if owner and pk == inbox_pk(owner) else None
    parts = pk.split("#")
    if parts[0] != "signal" or len(parts) not in (2, 3) or not is_type_name(parts[1]):
        return None
    if len(parts) == 3 and not is_agent_id(parts[2]):
        return None
    if is_mirror_sk(sk):
        return Parsed("mirror", owner_of(pk), parts[1])
    return Parsed("signal", owner_of(pk), parts[1]) if split_dated_sk(sk) else None


def _state(pk: str, sk: str) -> Parsed | None:
    owner = owner_of(pk)
    if owner is None:
        return None
    if pk == state_pk(owner):
        if sk == REGISTRATION:
            return Parsed("registration", owner, None)
        name = state_type(sk)
        if name == LIMIT:
            is_one = is_record_id(sk.partition("#")[2])
            return Parsed("limit", owner, None) if is_one else None
        known = (sk == CURRENT) or (name in ("CHECKPOINT", "BACKUP") and sk != name)
        return Parsed("state", owner, name) if known else None
    if pk == metrics_pk(owner):
        return Parsed("metrics", owner, sk) if is_type_name(sk) else None
    name = pk.removeprefix(f"agent:{owner}#memory#")
    known = name in (*MEMORY_TYPES, *LASTING_TYPES) and split_dated_sk(sk) is not None
    return Parsed("memory", owner, name) if known else None


def _shard_of(text: str, shards: int) -> int:
    # Python's own hash differs from process to process.
    return blake2b(text.encode(), digest_size=2).digest()[0] % shards
