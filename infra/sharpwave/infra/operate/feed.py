"""Records fed to the pipeline again: whole tables after a gap, and single ones that it refused."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Missing, Misused
from sharpwave.infra.items import Items
from sharpwave.schemas import keys
from sharpwave.schemas.faults import Fault
from sharpwave.schemas.keys import Key
from sharpwave.schemas.numbers import Wire, item_to_wire
from sharpwave.schemas.tables import PIPELINE, STREAMED


def reconcile_tables(
    deployment: Deployment, names: Sequence[str] = (), *, dry_run: bool = False
) -> dict[str, int]:
    """Feed every item of streamed tables to the router; gives how many, by table.

    Safe at any time: what was handled before changes nothing, and what was refused is passed
    over until its agent changes it; `dlq retry` hands it over all the same.

    Raises:
        Misused: a name is no streamed table.
    """
    wrong = [name for name in names if name not in STREAMED]
    if wrong:
        known = ", ".join(STREAMED)
        raise Misused(f"{wrong[0]!r} is no streamed table; there are: {known}")
    feed, items = _feeder(deployment, dry_run=dry_run), Items(deployment)
    return {name: feed(name, items.scan(name), is_meant=False) for name in names or STREAMED}


@dataclass(frozen=True, kw_only=True)
class Parked:
    """One refused record, however often it was refused; all but `refusals` is of the last time."""

    refusals: Mapping[str, Key]  # where each refusal is kept, by the id of its event, oldest first
    table: str
    record: Key
    event_id: str
    owner: str | None
    parked_at: int
    faults: tuple[Fault, ...]
    image: str  # its typed JSON as it was then, cut at 32 KB


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
            yield from (_parked(list(same)) for _, same in groupby(found, key=_record_of))


def parked_of(items: Items, table: str, record: Key) -> Parked | None:
    """Give what is parked of one record."""
    start = keys.parked(table, record.pk, record.sk, "")
    found = list(items.query(PIPELINE, start.pk, begins=start.sk))
    return _parked(found) if found else None


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


def retry(
    deployment: Deployment, chosen: Sequence[Parked], feed: Feed | None = None
) -> tuple[int, int]:
    """Hand the records, as they are now, to the pipeline again, or to `feed`.

    One that is still at fault is parked anew. If a hand-over fails, its entry stays.

    Returns:
        How many were handed over, and how many no longer exist.
    """
    items, feed_all = Items(deployment), None if feed else _feeder(deployment)

    def feed_one(table: str, record: Key) -> bool:
        item = items.get(table, record)
        if item is None or feed_all is None:
            return False
        # Whoever asks for this record means it, though it is parked under another event too.
        feed_all(table, [item_to_wire(item)], is_meant=True)
        return True

    handed = 0
    for parked in chosen:
        # Workers may park it again under the same key at any moment from the feed on, and a delete
        # after that would lose their word.
        entries = [items.get(PIPELINE, key) for key in parked.refusals.values()]
        for key in parked.refusals.values():
            items.delete(PIPELINE, key)
        try:
            handed += (feed or feed_one)(parked.table, parked.record)
        except BaseException:
            # New only: by now a worker may have parked it with a later reason, which counts.
            for entry in filter(None, entries):
                items.put_new(PIPELINE, entry)
            raise
    return handed, len(chosen) - handed


def _feeder(deployment: Deployment, *, dry_run: bool = False) -> Callable[..., int]:
    """Give the way into the pipeline; what it takes is routed here, into the work queues."""
    # Only those who feed need the workers' extra; others come here to read what is parked.
    from sharpwave.workers.aws.queues import QueueUrls, SqsWorkQueues
    from sharpwave.workers.aws.tables import TableReads
    from sharpwave.workers.main import build_router
    from sharpwave.workers.reconcile import reconcile
    from sharpwave.workers.settings import Settings
    from sharpwave.workers.signals.refusals import RefusedBefore

    route = build_router(Settings(prefix=deployment.prefix))
    queues = SqsWorkQueues(deployment.sqs, urls=QueueUrls(deployment.sqs, prefix=deployment.prefix))
    reads = TableReads(deployment.dynamodb, prefix=deployment.prefix)

    def feed(table: str, items: Iterable[Mapping[str, Wire]], *, is_meant: bool) -> int:
        return reconcile(
            table,
            items,
            route=route,
            send=(lambda _: None) if dry_run else queues.send,
            now=time.time(),
            refused=None if is_meant else RefusedBefore(reads),
        )

    return feed


def _record_of(item: Mapping[str, Any]) -> Key:
    return Key(str(item.get("record_pk", "")), str(item.get("record_sk", "")))


def _parked(entries: Sequence[Mapping[str, Any]]) -> Parked:
    """Read the refusals of one record as the workers write them."""
    # Within one second the number of its stream record tells, where there is one.
    ordered = sorted(
        entries,
        key=lambda each: (
            int(each.get("parked_at", 0)),
            str(each.get("words", {}).get("number", "")),
        ),
    )
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
