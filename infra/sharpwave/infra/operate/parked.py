"""Records that the pipeline refused: why, and what becomes of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Missing
from sharpwave.infra.items import Items
from sharpwave.schemas import keys
from sharpwave.schemas.faults import Fault
from sharpwave.schemas.keys import Key
from sharpwave.schemas.tables import PIPELINE, STREAMED


@dataclass(frozen=True, kw_only=True)
class Parked:
    """One refused record, however often it was refused; all but `refusals` is of the last time.

    Attributes:
        refusals: where each refusal is kept, by the id of its event, oldest first.
        image: its typed JSON as it was then, cut at 32 KB.
    """

    refusals: Mapping[str, Key]
    table: str
    record: Key
    event_id: str
    owner: str | None
    parked_at: int
    faults: tuple[Fault, ...]
    image: str


class Feed(Protocol):
    """Hands a record to the pipeline as if it had just been written."""

    def __call__(self, table: str, record: Key) -> bool:
        """Feed the record at a key; say whether there still is one."""


def list_parked(deployment: Deployment) -> Iterator[Parked]:
    """List what is parked, table by table."""
    items = Items(deployment)
    for table in STREAMED:
        for partition in keys.parked_pks(table):
            # Ordered by record: the refusals of one stand one after another.
            found = items.query(PIPELINE, partition)
            yield from (parse(list(same)) for _, same in groupby(found, key=_record_of))


def of_record(items: Items, table: str, record: Key) -> Parked | None:
    """Give what is parked of one record."""
    start = keys.parked(table, record.pk, record.sk, "")
    found = list(items.query(PIPELINE, start.pk, begins=start.sk))
    return parse(found) if found else None


def choose(deployment: Deployment, event_ids: Sequence[str]) -> list[Parked]:
    """Find parked records by event id.

    Raises:
        Missing: one is not there.
    """
    found = {event_id: parked for parked in list_parked(deployment) for event_id in parked.refusals}
    for event_id in event_ids:
        if event_id not in found:
            raise Missing(f"no record is parked with event id {event_id!r}; see `dlq show parked`")
    # Two events of one record mean the record once.
    return list({found[event_id].record: found[event_id] for event_id in event_ids}.values())


def discard(deployment: Deployment, chosen: Sequence[Parked]) -> int:
    """Forget parked records; the records themselves stay. Gives the number forgotten."""
    items = Items(deployment)
    gone = ([items.delete(PIPELINE, key) for key in each.refusals.values()] for each in chosen)
    return sum(map(any, gone))


def retry(deployment: Deployment, chosen: Sequence[Parked], feed: Feed) -> tuple[int, int]:
    """Hand the records, as they are now, to the pipeline again.

    One that is still at fault is parked anew. If a hand-over fails, its entry stays.

    Returns:
        How many were handed over, and how many no longer exist.
    """
    items = Items(deployment)
    handed = sum(_hand_over(items, parked, feed) for parked in chosen)
    return handed, len(chosen) - handed


def _hand_over(items: Items, parked: Parked, feed: Feed) -> bool:
    # Workers may park it again under the same key at any moment from the feed on, and a delete
    # after that would lose their word.
    entries = [items.get(PIPELINE, key) for key in parked.refusals.values()]
    for key in parked.refusals.values():
        items.delete(PIPELINE, key)
    try:
        return feed(parked.table, parked.record)
    except BaseException:
        for entry in entries:
            if entry is not None:
                items.put_new(PIPELINE, entry)
        raise


def _record_of(item: Mapping[str, Any]) -> Key:
    return Key(str(item.get("record_pk", "")), str(item.get("record_sk", "")))


def _age(item: Mapping[str, Any]) -> tuple[int, str]:
    # Within one second the number of its stream record tells, where there is one.
    return int(item.get("parked_at", 0)), str(item.get("words", {}).get("number", ""))


def parse(entries: Sequence[Mapping[str, Any]]) -> Parked:
    """Read the refusals of one record as the workers write them."""
    ordered = sorted(entries, key=_age)
    item = ordered[-1]
    return Parked(
        refusals={str(each.get("event_id", "")): Key(each["PK"], each["SK"]) for each in ordered},
        table=str(item.get("table", "")),
        record=_record_of(item),
        event_id=str(item.get("event_id", "")),
        owner=item.get("owner"),
        parked_at=int(item.get("parked_at", 0)),
        faults=tuple(
            Fault(fault.get("code", ""), fault.get("where", ""), fault.get("message", ""))
            for fault in item.get("faults", ())
        ),
        image=str(item.get("image", "")),
    )
