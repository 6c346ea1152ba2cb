"""Every target of a signal's audience gets it as it was admitted, or a reason that is true."""

from collections.abc import Iterator

from sharpwave.schemas.ids import signal_uid
from sharpwave.schemas.messages import SignalMessage
from tests.simulation.book import Arrival, Book, Sent
from tests.simulation.checking.view import KEPT_S, Entry, Seen, audience
from tests.simulation.scene import Scene
from tests.simulation.signalling import LARGE

#: A signal that lives as long as this is delivered in time where nothing holds the pipeline up.
_AMPLE_S = 600
#: Messages of one delivery where no process dies and every call is answered: streams repeat, and
#: two workers may send at the same time.
_MOST_COPIES = 4
_COPIED = (
    *("signal_id", "signal_type", "source_agent", "timestamp", "iso_timestamp", "severity"),
    *("confidence", "data", "context"),
)
#: Ends of deliveries that never reached an inbox.
_UNSENT = ("unknown_target", "not_accepted", "quota", "expired_before_delivery")


def deliveries(scene: Scene, *, is_punctual: bool) -> Iterator[str]:
    """Check who received what, and why the others did not."""
    book, seen = scene.book, Seen.of(scene)
    known = {signal_uid(*key): sent for key, sent in book.signals.items()}
    by_signal: dict[str, list[Arrival]] = {}
    for (uid, _), arrivals in seen.arrivals.items():
        by_signal.setdefault(uid, []).extend(arrivals)
    for uid in by_signal.keys() - known.keys():
        yield f"{by_signal[uid][0].message} is the delivery of no valid signal"
    for uid, sent in known.items():
        first = min((each.at.order for each in by_signal.get(uid, ())), default=float("inf"))
        must, may = audience(sent, book, first)
        for target in sorted(must):
            yield from _delivered(seen, sent, target, is_punctual=is_punctual)
        for arrival in by_signal.get(uid, ()):
            if arrival.target not in may:
                yield f"{_name(sent)} was sent to {arrival.target}, who is not in its audience"
            yield from _content(sent, arrival)
    for again in book.resent:
        yield f"{again} was sent although it was acknowledged"
    yield from _quotas(seen)
    yield from book.unhurried
    yield from _handed_out(book)


def _handed_out(book: Book) -> Iterator[str]:
    """What the SDK acknowledged it never hands out again, by whichever copy and process."""
    # An agent that deletes or spoils the row has removed what says so.
    spoilt = {refused.key for refused in book.refused} | book.dropped.keys()
    for row, at in book.handed:
        ended = book.ended.get(row)
        if ended is not None and ended.order < at.order and row not in spoilt:
            yield f"{row} was handed out again after the SDK had acknowledged it"


def _delivered(seen: Seen, sent: Sent, target: str, *, is_punctual: bool) -> Iterator[str]:
    book, end = seen.scene.book, seen.end(sent, target)
    arrivals = seen.arrivals.get((signal_uid(*sent.key), target), [])
    reason = end.get("reason")
    if arrivals:
        if end.get("status") in ("FAILED", "EXPIRED") and reason in _UNSENT:
            yield f"{_name(sent)} reached {target}, and yet ended as {dict(end)}"
        is_calm = is_punctual and not book.delays and target not in book.outages
        if is_calm and len(arrivals) > _MOST_COPIES:
            yield f"{_name(sent)} was sent to {target} {len(arrivals)} times"
        return
    is_due = is_punctual and min(sent.deadlines) - sent.at.second >= _AMPLE_S
    is_due = is_due and target not in book.outages
    if not end:
        # What an agent changes before a gap is healed, nobody saw as it was.
        if sent.key in book.lost:
            return
        # What removed the signal, or a week after its deadline the mirror, took along why.
        is_old = seen.scene.clock() >= max(sent.deadlines) + KEPT_S
        is_gone = is_old or sent.key not in seen.present
        if not is_gone or (is_due and not book.was_absent(target, sent.at)):
            if _denied(book, sent, target):
                return
            yield f"{_name(sent)} was never sent to {target}, and nothing says why"
        return
    if book.acknowledged.get(seen.row_key(sent, target)):
        return  # its agent found the row before the message
    if not _is_true(book, sent, target, reason, seen.scene.clock(), is_due=is_due):
        ended = f"it ended as {_short(end)}, which is untrue"
        yield f"{_name(sent)} was never sent to {target}; {ended}"


def _is_true(
    book: Book, sent: Sent, target: str, reason: object, now: float, *, is_due: bool
) -> bool:
    """Say whether a reason why nothing was sent can be true."""
    if reason == "unknown_target" or reason == "agent_removed":
        return book.was_absent(target, sent.at)
    if reason in ("not_accepted", "quota"):
        return _denied(book, sent, target) == reason
    if reason == "expired_before_delivery":
        return min(sent.deadlines) <= now and not is_due
    return False


def _denied(book: Book, sent: Sent, target: str) -> str | None:
    for source in [each["source_agent"] for each in (sent.item, *sent.readings)]:
        for standing in book.agents.get(target, ()):
            accepted = (standing.manners or {}).get("accepts_from")
            if accepted is not None and source not in accepted:
                return "not_accepted"
        for standing in book.agents.get(source, ()):
            if "signals_per_minute" in (standing.manners or {}):
                return "quota"
    return None


def _content(sent: Sent, arrival: Arrival) -> Iterator[str]:
    message = arrival.message
    assert isinstance(message, SignalMessage)
    said = message.model_dump(include=set(_COPIED))
    for name in _COPIED:
        wanted = sent.item.get(name, {} if name in ("data", "context") else None)
        others = [reading.get(name) for reading in sent.readings]
        if said[name] not in (wanted, *others) and name not in message.omitted:
            yield f"{_name(sent)} reached {arrival.target} with {name} {said[name]}, not {wanted}"
    bound = "bound" if sent.owner == sent.item["source_agent"] else "unverified"
    if message.provenance != bound:
        yield f"{_name(sent)} reached {arrival.target} as {message.provenance}"
    if message.expires_at not in sent.deadlines:
        yield f"{_name(sent)} reached {arrival.target} with the deadline {message.expires_at}"
    if message.target_agent != arrival.target:
        yield f"{_name(sent)} for {message.target_agent} reached {arrival.target}"


def _quotas(seen: Seen) -> Iterator[str]:
    """Whether a source may send is decided once per signal, and no token is lost or invented."""
    book, workers = seen.scene.book, 3
    for source, standings in book.agents.items():
        rate = (standings[-1].manners or {}).get("signals_per_minute")
        mine = [sent for sent in book.signals.values() if sent.item["source_agent"] == source]
        if not rate or not mine:
            continue
        admitted, denied = [], []
        for sent in mine:
            uid = signal_uid(*sent.key)
            said = {
                bool(seen.arrivals.get((uid, target)))
                for target in set(sent.item["target_agents"])
                if seen.arrivals.get((uid, target))
                or seen.end(sent, target).get("reason") == "quota"
            }
            if len(said) > 1:
                yield f"{_name(sent)} was within its source's quota for some and not for others"
            if True in said:
                admitted.append(sent)
            elif said:
                denied.append(sent)
        # A process leases a tenth of the bucket at once, and what it holds dies with it.
        lease = max(1, rate // 10)
        lost = lease * (workers + book.crashes + book.refusals)
        if denied and len(mine) + lost <= rate:
            yield f"{len(denied)} of {len(mine)} signals of {source} were denied; it may {rate}"
        if admitted:
            arrivals = [
                arrival.at.second
                for sent in admitted
                for target in set(sent.item["target_agents"])
                for arrival in seen.arrivals.get((signal_uid(*sent.key), target), [])
            ]
            span = max(arrivals) - min(sent.at.second for sent in mine) + 10
            if len(admitted) > rate + rate * span / 60 + lease * workers:
                yield f"{len(admitted)} signals of {source} passed in {span} s; it may {rate}"


def _name(sent: Sent) -> str:
    many = len(sent.item["target_agents"]) > LARGE
    return f"signal {sent.key.sk[-8:]} of {sent.item['source_agent']}{' (chunked)' * many}"


def _short(end: Entry) -> str:
    return f"{end.get('status')}/{end.get('reason')}"
