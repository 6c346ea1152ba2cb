"""What reached nobody who works it: its sender is told, once for each signal."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from sharpwave.schemas import keys, tables
from sharpwave.schemas.faults import Fault
from sharpwave.schemas.ids import signal_uid
from sharpwave.schemas.times import Clock
from sharpwave.workers.signals.mirror import Holder, Statuses
from sharpwave.workers.signals.notices import Notice, Notices
from sharpwave.workers.work.envelope import Duty, Entry, ascii_json, pack
from sharpwave.workers.work.outgoing import WorkMessage
from sharpwave.workers.work.ports import Unfinished

TELL = Duty("status", "on_bounced", 20)
#: Ends that a sender learns of. Beyond its quota it would hear of nothing else.
TOLD = frozenset({"unknown_target", "agent_removed", "not_accepted"})
_NAMED = 10


class Bounced(NamedTuple):
    """Deliveries of one signal that ended without its target.

    Attributes:
        signal: the signal.
        reasons: by target.
        event_id: what led to this.
    """

    signal: keys.Key
    reasons: Mapping[str, str]
    event_id: str


def bounced(marked: Iterable[tuple[Holder, Statuses]], *, clock: Clock) -> list[WorkMessage]:
    """Give the work of telling each signal's sender, if its key binds one, what bounced.

    As with expiry nobody claims before there is a message that says what to tell; see `telling`.

    Args:
        marked: statuses by where they are mirrored.
        clock: the time in epoch seconds.
    """
    texts = []
    for holder, statuses in marked:
        reasons = {
            target: end["reason"]
            for target, end in sorted(statuses.items())
            # What an agent says itself when it fails is told by the mirror.
            if end.get("reason") in TOLD and "processed_at" not in end
        }
        if reasons and keys.owner_of(holder.signal.pk) is not None:
            # Of a signal's chunks the first one tells.
            event_id = "|".join([*holder.signal, holder.chunk or ""])
            content = {"key": holder.signal, "reasons": reasons, "event_id": event_id}
            texts.append(Entry(ascii_json(content), ""))
    return list(pack(TELL, texts, moment_ms=int(clock() * 1000)))


def tell_of_bounces(bounces: Sequence[Bounced], notices: Notices) -> None:
    """Tell each signal's sender, once, whom it did not reach and why.

    Raises:
        Unfinished: some senders' inboxes took no notice; the others are told.
    """
    news = []
    for signal, reasons, event_id in bounces:
        owner = keys.owner_of(signal.pk) or ""
        named = ", ".join(f"{name} ({why})" for name, why in list(reasons.items())[:_NAMED])
        more = f" and {len(reasons) - _NAMED} more" if len(reasons) > _NAMED else ""
        _, signal_id = keys.time_and_id(signal.sk)
        text = (
            f"it did not reach {named}{more};"
            f" `sharpwave trace {signal_id}` shows every target and reason"
        )
        claim = keys.told_of_bounce(owner, signal_uid(*signal))
        faults = [Fault("undeliverable", "target_agents", text)]
        news.append(Notice(owner, claim, event_id, "undeliverable", faults, tables.SIGNALS, signal))
    if untold := notices.tell(news):
        raise Unfinished(untold, f"{len(untold)} senders could not be told")
