"""A bad record is parked with its faults; whom its key binds hears of it, and nobody else."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from sharpwave.schemas import keys, tables
from sharpwave.schemas.ids import signal_uid
from sharpwave.schemas.messages import NoticeMessage
from sharpwave.workers.work.ports import Item
from tests.simulation.book import Sent
from tests.simulation.checking.view import Seen
from tests.simulation.scene import Scene


def refusals(scene: Scene) -> Iterator[str]:
    """Check parked records and notices."""
    book = scene.book
    parked: dict[tuple[str, keys.Key], list[Item]] = defaultdict(list)
    for key, item in scene.tables.items(tables.PIPELINE).items():
        if key.pk.startswith("parked#"):
            record = keys.Key(item["record_pk"], item["record_sk"])
            parked[item["table"], record].append(item)
    told: set[tuple[str, str]] = set()
    notices: Counter[keys.Key] = Counter()
    for arrival in book.arrivals:
        message = arrival.message
        if not isinstance(message, NoticeMessage):
            continue
        told.add((arrival.target, message.code))
        about = message.record
        owner = _bound(about.PK) if about else None
        if owner != arrival.target or message.target_agent != arrival.target:
            what = about.PK if about else "nothing"
            yield f"{arrival.target} was told {message.code} about {what}, which binds {owner}"
        if about and message.code == "expired":
            notices[keys.Key(about.PK, about.SK)] += 1
    for refused in book.refused:
        found = parked.get((refused.table, refused.key), [])
        faults = [fault for item in found for fault in item["faults"]]
        if not found:
            yield f"{refused.table} {refused.key} was not parked"
        elif not faults or not all(fault["message"] for fault in faults):
            yield f"{refused.table} {refused.key} was parked without a fault"
        elif refused.owner and _reachable(scene, refused.owner):
            heard = any((refused.owner, fault["code"]) in told for fault in faults)
            if not heard:
                yield f"{refused.owner} never heard of {faults[0]['code']}"
    for key in book.oversized:
        if (tables.STATE, key) not in parked:
            yield f"{key} fits no fact, and nobody hears of it"
    wrong = {(refused.table, refused.key) for refused in book.refused}
    for table, key in parked.keys() - wrong:
        is_late = table == tables.STATE and key in book.oversized
        if not is_late:
            codes = [fault["code"] for fault in parked[table, key][0]["faults"]]
            yield f"{table} {key} was parked for {codes}, and it was good"
    yield from _told_of_expiry(scene, notices)


def _told_of_expiry(scene: Scene, notices: Counter[keys.Key]) -> Iterator[str]:
    """A sender that its key binds is told once that a delivery expired, and by name of none."""
    book, seen = scene.book, Seen.of(scene)
    expired = _ever_expired(scene)
    for key, sent in book.signals.items():
        count = notices[key]
        standing = [row for row in _rows(seen, sent) if row.get("reason") == "unacknowledged"]
        # An acknowledgement that comes while a delivery is being expired is late all the same.
        is_late = any(
            end["processed_at"] >= min(sent.deadlines)
            for target in sent.item["target_agents"]
            for end in book.acknowledged.get(seen.row_key(sent, target), [])
        )
        if count and signal_uid(*key) not in expired and not is_late:
            yield f"{sent.owner} was told that {key.sk} expired, and nothing did"
        # Whoever claimed to tell may have died, or two may handle one message at a time.
        if count > 1 + book.crashes + book.refusals + book.repeats:
            yield f"{sent.owner} was told {count} times that {key.sk} expired"
        if standing and sent.owner and not count and _reachable(scene, sent.owner):
            yield f"{sent.owner} was never told that {key.sk} expired"


def _rows(seen: Seen, sent: Sent) -> list[Item]:
    targets = {target for uid, target in seen.arrivals if uid == signal_uid(*sent.key)}
    rows = [seen.rows.get(seen.row_key(sent, target)) for target in targets]
    return [row for row in rows if row and row.get("status") == "EXPIRED"]


def _ever_expired(scene: Scene) -> set[str]:
    found = set()
    for record, _ in scene.tables.streams[tables.SIGNALS]:
        image = record["dynamodb"].get("NewImage", {})
        if image.get("status", {}).get("S") == "EXPIRED":
            found.add(image["SK"]["S"].partition("#")[2])
        # The mirror comes first, and an agent may be quicker than the row.
        entries = image.get("processing_status", {}).get("M", {}).values()
        if any(entry["M"]["status"]["S"] == "EXPIRED" for entry in entries):
            mirror = keys.Key(image["PK"]["S"], image["SK"]["S"])
            found.add(signal_uid(*keys.mirrored(mirror)))
    return found


def _reachable(scene: Scene, agent: str) -> bool:
    standings = scene.book.agents.get(agent, [])
    registered = bool(standings) and all(each.manners is not None for each in standings)
    return registered and agent not in scene.book.outages


def _bound(pk: str) -> str | None:
    head, _, rest = pk.partition("#")
    if head.startswith("agent:"):
        return head.removeprefix("agent:")
    name = rest.partition("#")[2]
    return name if head == "signal" and name and not name.isdigit() else None
