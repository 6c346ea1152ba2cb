"""What follows from decisions, what is still awaited of them, and one of them with all about it."""

from collections.abc import Mapping
from dataclasses import dataclass

from sharpwave.producers.call import Identity, Operation
from sharpwave.producers.errors import AccessDenied
from sharpwave.producers.operations import decisions, memory, signals, storage
from sharpwave.producers.operations.decisions import Result, result_of, standing, whole_items
from sharpwave.producers.operations.signals import SignalView
from sharpwave.producers.operations.storage import ARRIVES_LATE_S, Item, Moment, Range
from sharpwave.schemas import keys
from sharpwave.schemas.patterns import PatternRow
from sharpwave.schemas.records import MAX_SIGNAL_TTL_S, DecisionRecord
from sharpwave.schemas.tables import DECISIONS, MEMORY, SIGNALS
from sharpwave.schemas.times import DAY_S, event_begin, is_event_time

_MAX_PATTERNS = 1000


def children(
    me: Identity, /, decision_id: str, *, limit: int = 100
) -> Operation[list[DecisionRecord]]:
    """Read the decisions that name one as their parent, oldest first.

    The pipeline lists them once they are counted, so one is found some seconds after it was made.
    With a strict policy the decisions of other agents are left out.
    """
    table = me.table(MEMORY)
    listed = storage.query(table, ("PK", keys.children_pk(decision_id)), newest_first=False)

    def whole(entries: list[Item]) -> Operation[list[Item]]:
        found = [keys.split_child(entry["SK"]) for entry in entries]
        try:
            items = yield from storage.fetch(me.table(DECISIONS), found)
        except AccessDenied:
            own = [key for key in found if keys.owner_of(key.pk) == me.agent_id]
            items = yield from storage.fetch(me.table(DECISIONS), own)
        return [items[key] for key in found if key in items]

    def pick(item: Item) -> DecisionRecord | None:
        record = standing(me, item, me.now())
        # The record has the last word on whose child it is.
        return record if record is not None and record.parent_id == decision_id else None

    return (yield from storage.select(listed, pick, limit=limit, expand=whole))


def descendants(
    me: Identity, /, decision_id: str, *, limit: int = 100
) -> Operation[list[DecisionRecord]]:
    """Read all that followed from a decision, generation by generation; itself is not among them.

    Each is given once, however its chain is closed or whatever ids repeat. It costs a query for
    each decision that is met.
    """
    met: dict[keys.Key, DecisionRecord] = {}
    asked, next_ones = {decision_id}, [decision_id]
    while next_ones and len(met) < limit:
        found = yield from children(me, next_ones.pop(0), limit=limit)
        for record in found:
            # Of a circle the decision that was asked about is a descendant too, which says nothing.
            if record.decision_id != decision_id:
                met.setdefault(record.key, record)
            if record.decision_id not in asked:
                asked.add(record.decision_id)
                next_ones.append(record.decision_id)
    return list(met.values())[:limit]


@dataclass(frozen=True)
class Due:
    """A decision without an outcome; `due_at` is the epoch second from which it is overdue."""

    decision: DecisionRecord
    due_at: int
    is_overdue: bool


def due(
    me: Identity,
    /,
    *,
    horizons: Mapping[str, int] | None = None,
    within_s: int = 0,
    decision_type: str | None = None,
    agent_id: str | None = None,
    since: Moment | None = None,
    limit: int = 100,
) -> Operation[list[Due]]:
    """Read the decisions whose outcome is overdue, or falls due soon; those made first come first.

    A decision is due its type's horizon after its `event_time`, or after it was made if it has
    none. The workers' own horizons are in `SHARPWAVE_OUTCOME_HORIZON`.

    Args:
        horizons: seconds that an outcome may take, by decision type; else a day.
        within_s: also those that are overdue in so many seconds.
        decision_type: only this type.
        agent_id: whose; the agent's own unless given.
        since: only those made from this moment on; all are looked through otherwise.
        limit: the most to return.
    """
    now = me.now()

    def due_at(entry: Item) -> int:
        _, name = keys.split_decision_pk(entry["PK"])
        event = str(entry.get("event_time"))
        begun = event_begin(event) if is_event_time(event) else entry["timestamp"]
        return int(begun) + (horizons or {}).get(name, DAY_S)

    def fits(entry: Item) -> bool:
        name = keys.split_decision_pk(entry["PK"])[1]
        is_wanted = decision_type in (None, name) and result_of(entry) == "pending"
        return is_wanted and due_at(entry) < now + max(within_s, 0)

    def pick(item: Item) -> Due | None:
        record = standing(me, item, now) if fits(item) else None
        return None if record is None else Due(record, at := due_at(item), at < now)

    request = storage.query(
        me.table(DECISIONS),
        ("agent_id", agent_id or me.agent_id),
        index="by_agent",
        between=Range.of(since, None).timestamps,
        newest_first=False,
    )
    whole = whole_items(me, fits)
    return (yield from storage.select(request, pick, limit=limit, expand=whole))


@dataclass(frozen=True)
class DecisionView:
    """A decision and all that belongs to it.

    Attributes:
        decision: the decision itself.
        result: how it turned out.
        corrections: how often its outcome was replaced.
        ancestors: what it followed from, root first.
        children: what followed from it.
        signal: the delivery it answers, or None if there was none or its row is gone.
        patterns: the patterns it says it applied, as they stand now.
        unknown_patterns: names among these that stand for no pattern in reach.
    """

    decision: DecisionRecord
    result: Result
    corrections: int
    ancestors: list[DecisionRecord]
    children: list[DecisionRecord]
    signal: SignalView | None
    patterns: list[PatternRow]
    unknown_patterns: list[str]


def decision_view(
    me: Identity, /, decision_id: str, *, domain: str | None = "general"
) -> Operation[DecisionView | None]:
    """Read a decision with its signal, its patterns, its chain and its corrections, or None.

    Args:
        decision_id: which.
        domain: whose shared patterns count beside the agent's own and those shared with it.
    """
    chain = yield from decisions.chain(me, decision_id)
    if not chain:
        return None
    *ancestors, record = chain
    listed = record.reasoning.get("patterns_applied")
    names = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
    known = (yield from memory.patterns(me, domain=domain, limit=_MAX_PATTERNS)) if names else []
    # A version's own name is the pattern's and its number.
    applied = [row for row in known if row.pattern_id in {name.split("@")[0] for name in names}]
    found = {row.pattern_id for row in applied}
    return DecisionView(
        decision=record,
        result=result_of({"outcome": record.outcome and record.outcome.model_dump()}),
        corrections=(record.outcome_rev or 1) - 1,
        ancestors=ancestors,
        children=(yield from children(me, decision_id)),
        signal=(yield from _cause(me, record)),
        patterns=applied,
        unknown_patterns=[name for name in names if name.split("@")[0] not in found],
    )


def _cause(me: Identity, record: DecisionRecord) -> Operation[SignalView | None]:
    """Read the delivery that a decision says it answers, by its row."""
    uid, _, target = str((record.model_extra or {}).get("caused_by") or "").partition(".")
    # A row is found by its time too: it was written when the signal was, and that was before.
    span = Range.of(
        record.timestamp - MAX_SIGNAL_TTL_S - ARRIVES_LATE_S, record.timestamp + ARRIVES_LATE_S
    )
    if target != record.agent_id:
        return None
    request = storage.query(
        me.table(SIGNALS), ("PK", keys.inbox_pk(target)), between=span.sort_keys
    )

    def pick(row: Item) -> Item | None:
        return row if "signal_pk" in row and keys.time_and_id(row["SK"])[1] == uid else None

    rows = yield from storage.select(request, pick, limit=1)
    seen = yield from signals.views(me, rows)
    return seen[0] if seen else None
