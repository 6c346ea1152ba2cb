"""Notices: what the pipeline tells an agent about a record of its own, in its inbox."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sharpwave.schemas import keys, tables
from sharpwave.schemas.faults import Fault
from sharpwave.schemas.ids import ulid
from sharpwave.schemas.numbers import plain_json
from sharpwave.schemas.times import DAY_S, Clock
from sharpwave.workers.work.ports import (
    Directory,
    Fate,
    Inboxes,
    InboxMessage,
    Insert,
    Location,
    Update,
    Writes,
)

#: A claim outlives every message that may come back to it.
KEPT_S = 15 * DAY_S


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to tell.

    Attributes:
        owner: whom the record's key binds; nobody else is ever told.
        claim: who tells first keeps this key; others of the same claim stay unsaid.
        event_id: what led to this; only it may take up a claim that was not carried out.
        code: the kind of news.
        reasons: the news in words.
        table: the table of the record.
        record: the key of the record.
    """

    owner: str
    claim: keys.Key
    event_id: str
    code: str
    reasons: Sequence[Fault]
    table: str
    record: keys.Key


@dataclass(frozen=True, slots=True)
class Notices:
    """Tells each notice once, and again only if its teller may have died before it was sent."""

    writes: Writes
    inboxes: Inboxes
    directory: Directory
    clock: Clock

    def tell(self, notices: Sequence[Notice]) -> frozenset[keys.Key]:
        """Tell registered owners; of several notices with one claim, the last.

        Returns:
            The records whose owners are to be told again: their inboxes took no message.
        """
        # Who is not registered has no inbox, and leaves no claim: it may hear of it later.
        known = self.directory.find({each.owner for each in notices})
        claims = {each.claim: each for each in notices if each.owner in known}
        unsaid = self._unsaid(claims) if claims else []
        now = self.clock()
        messages = []
        for each in unsaid:
            content = {
                "v": 1,
                "kind": "notice",
                "notice_id": ulid(epoch_ms=int(now * 1000)),
                "target_agent": each.owner,
                "code": each.code,
                "reasons": [reason._asdict() for reason in each.reasons],
                "record": {"table": each.table, **each.record.item()},
                "timestamp": int(now),
            }
            messages.append(InboxMessage(each.owner, plain_json(content)))
        fates = self.inboxes.send(messages)
        # Effect first, mark second: a teller that dies in between leaves a claim without `told`,
        # which its own event takes up again. An agent may hear of something twice, and never not.
        self.writes.apply(
            [
                Update(Location(tables.PIPELINE, each.claim), {"told": True})
                for each, fate in zip(unsaid, fates, strict=True)
                if fate is Fate.SENT
            ]
        )
        failed = [each for each, fate in zip(unsaid, fates, strict=True) if fate is not Fate.SENT]
        # A registered agent's queue is there, or will be; see `deliver`.
        there = self.directory.confirm({each.owner for each in failed}) if failed else {}
        return frozenset(each.record for each in failed if each.owner in there)

    def _unsaid(self, claims: Mapping[keys.Key, Notice]) -> list[Notice]:
        ttl = int(self.clock()) + KEPT_S
        fresh = self.writes.apply(
            [
                Insert(tables.PIPELINE, {**key.item(), "ttl": ttl, "event_id": notice.event_id})
                for key, notice in claims.items()
            ]
        )
        mine = [notice for notice, ok in zip(claims.values(), fresh, strict=True) if ok]
        taken = [notice for notice, ok in zip(claims.values(), fresh, strict=True) if not ok]
        # This write changes nothing. It succeeds if the same event claimed this and did not tell:
        # then its teller died, or its inbox took nothing. Another event's claim may be carried
        # out just now.
        again = self.writes.apply(
            [
                Update(
                    Location(tables.PIPELINE, each.claim),
                    {"event_id": each.event_id},
                    equals={"event_id": each.event_id},
                    missing=("told",),
                )
                for each in taken
            ]
        )
        return mine + [notice for notice, ok in zip(taken, again, strict=True) if ok]
