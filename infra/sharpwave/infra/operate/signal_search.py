"""Finding a signal by its id, the cheapest way first."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sharpwave.infra.connection import Deployment
from sharpwave.infra.items import Item, Items
from sharpwave.infra.operate.agents import known_agents
from sharpwave.infra.provision.table_setup import describe
from sharpwave.schemas import keys
from sharpwave.schemas.ids import ulid_epoch_ms
from sharpwave.schemas.keys import Key
from sharpwave.schemas.numbers import item_from_wire
from sharpwave.schemas.tables import SIGNALS
from sharpwave.schemas.times import bound

#: How far a signal's own time may be from the time in its id, in seconds.
NEAR_S = 600
#: A table up to this size is scanned unasked.
SMALL_BYTES = 16_000_000
_PAGE_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is known of the signal looked for."""

    signal_id: str
    signal_type: str | None = None
    source_agent: str | None = None
    may_scan: bool = False


@dataclass(frozen=True, kw_only=True)
class Found:
    """The keys of all signals with the id, how they were found, and what that cost."""

    signals: tuple[Key, ...]
    how: str


def find(deployment: Deployment, search: Search) -> Found:
    """Find the primary keys of the signals with an id; several writers may use the same id.

    An id made by the SDK carries its time, so each known agent's inbox is read for those minutes
    only. A given type narrows it to that type's partitions. Else the table is scanned, if it is
    small or `may_scan` is set.
    """
    items = Items(deployment)
    moment = _moment(search.signal_id)
    agents = [entry["agent_id"] for entry in known_agents(items)]
    if moment is not None and search.signal_type is None:
        rows = [row for agent in agents for row in _rows(items, agent, moment)]
        signals = _signals(row for row in rows if row.get("signal_id") == search.signal_id)
        if signals:
            how = f"{len(rows)} inbox rows of {len(agents)} agents around the time in its id"
            return Found(signals=signals, how=how)
    if search.signal_type is not None:
        return _in_type(items, search, moment, agents)
    return _scanned(deployment, items, search)


def _moment(signal_id: str) -> float | None:
    epoch_ms = ulid_epoch_ms(signal_id.removeprefix("sig_"))
    return None if epoch_ms is None else epoch_ms / 1000


def _rows(items: Items, agent_id: str, moment: float) -> Iterator[Item]:
    return items.query(SIGNALS, keys.inbox_pk(agent_id), between=_window(moment))


def _window(moment: float) -> tuple[str, str]:
    return bound(moment - NEAR_S), bound(moment + NEAR_S)


def _signals(rows: Iterable[Item]) -> tuple[Key, ...]:
    return tuple(sorted({Key(row["signal_pk"], row["signal_sk"]) for row in rows}))


def _in_type(items: Items, search: Search, moment: float | None, agents: Sequence[str]) -> Found:
    sources = [search.source_agent] if search.source_agent else agents
    name = search.signal_type or ""
    partitions = [keys.signal_pk(name), *(keys.signal_pk(name, source) for source in sources)]
    window = None if moment is None else _window(moment)
    read = [item for pk in partitions for item in items.query(SIGNALS, pk, between=window)]
    signals = [Key(item["PK"], item["SK"]) for item in read if _is(item, search)]
    how = f"{len(read)} signals of type {name} in {len(partitions)} partitions"
    return Found(signals=tuple(signals), how=how)


def _scanned(deployment: Deployment, items: Items, search: Search) -> Found:
    size = int((describe(deployment, deployment.name(SIGNALS)) or {}).get("TableSizeBytes", 0))
    if size > SMALL_BYTES and not search.may_scan:
        units = size // _PAGE_BYTES // 2
        how = f"not in the inboxes; name its --type, or pay about {units} read units for --scan"
        return Found(signals=(), how=how)
    request: dict[str, Any] = {
        "FilterExpression": "signal_id = :id",
        "ExpressionAttributeValues": {":id": {"S": search.signal_id}},
        "ReturnConsumedCapacity": "TOTAL",
    }
    found, read, spent = [], 0, 0.0
    for page in items.pages("scan", SIGNALS, request):
        found += [item_from_wire(item) for item in page["Items"]]
        read += page["ScannedCount"]
        spent += page.get("ConsumedCapacity", {}).get("CapacityUnits", 0.0)
    rows = [item for item in found if "signal_pk" in item]
    direct = {Key(item["PK"], item["SK"]) for item in found if "signal_pk" not in item}
    how = f"a scan of {read} items for {spent:g} read units"
    return Found(signals=tuple(sorted(direct | set(_signals(rows)))), how=how)


def _is(item: Item, search: Search) -> bool:
    return bool(
        item.get("signal_id") == search.signal_id
        and search.source_agent in (None, item.get("source_agent"))
    )
