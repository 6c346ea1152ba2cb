"""Reading what was learned."""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sharpwave.producers.call import Operation
from sharpwave.producers.identity import Identity
from sharpwave.producers.operations import storage
from sharpwave.producers.operations.storage import Item
from sharpwave.schemas import keys, tables
from sharpwave.schemas.conditions import Conditions
from sharpwave.schemas.patterns import PatternRow

_CONDITIONS: TypeAdapter[Conditions] = TypeAdapter(Conditions)
_EVERY = 1_000_000


def patterns(
    me: Identity,
    /,
    *,
    domain: str | None = None,
    min_confidence: float | None = None,
    matching: Mapping[str, Any] | None = None,
    limit: int = 100,
) -> Operation[list[PatternRow]]:
    """Read patterns: the agent's own, those shared with it, and those of a domain.

    The most confident come first, those without a confidence yet last.

    Args:
        domain: also the patterns shared in this domain, such as "general".
        min_confidence: at least this, 0 to 1; leaves out those without a confidence.
        matching: only patterns whose conditions a decision with these attributes would meet,
            such as {"context": {"market": {"trend": "bullish"}}}.
        limit: the most to return.
    """
    places = [keys.pattern_pk(me.agent_id), keys.shared_with_pk(me.agent_id)]
    places += [keys.shared_pattern_pk(domain)] if domain else []
    rows: list[PatternRow] = []
    for pk in places:
        request = storage.query(me.table(tables.MEMORY), ("PK", pk), newest_first=False)
        rows += yield from storage.select(request, lambda item: _current(me, item), limit=_EVERY)
    fit = [row for row in rows if _fits(row, min_confidence, matching)]
    fit.sort(key=lambda row: (row.confidence is not None, row.confidence or 0), reverse=True)
    return fit[:limit]


def _current(me: Identity, item: Item) -> PatternRow | None:
    # `<pattern_id>@<version>` is an immutable version; the row without it is the current one.
    if item.get("memory_type") != "PATTERN" or "@" in item["SK"]:
        return None
    return storage.readable(me, PatternRow, item)


def _fits(
    row: PatternRow, min_confidence: float | None, matching: Mapping[str, Any] | None
) -> bool:
    if min_confidence is not None and (row.confidence or -1) < min_confidence:
        return False
    if matching is None:
        return True
    if matching.get("decision_type", row.decision_type) != row.decision_type:
        return False
    try:
        return row.conditions is not None and _CONDITIONS.validate_python(row.conditions).matches(
            matching
        )
    except ValidationError:
        return False
