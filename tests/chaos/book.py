"""What a history tells of signals and agents: who wrote what, when, and whom it must reach."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sharpwave.schemas import keys
from sharpwave.schemas.ids import EVERYONE, SUBSCRIBERS, signal_uid
from tests.chaos.history import Event


class Member(NamedTuple):
    """A registration: `began` before it was written, `done` once it was accepted."""

    began: float
    done: float
    subscriptions: frozenset[str]
    per_minute: int | None


class Written(NamedTuple):
    """A signal as its writer put it; `done` is None where nobody learned whether it was stored."""

    key: keys.Key
    source: str
    type_name: str
    targets: Sequence[str]
    expires_at: int
    token: str
    began: float
    done: float | None

    @property
    def uid(self) -> str:
        """Give what its deliveries are named by."""
        return signal_uid(*self.key)

    @property
    def is_bound(self) -> bool:
        """Say whether its key names its source, who is told then what became of it."""
        return keys.owner_of(self.key.pk) == self.source


class Audience(NamedTuple):
    """Whom a signal must reach, and whom else it may."""

    must: frozenset[str]
    may: frozenset[str]


class Book(NamedTuple):
    """What a history tells.

    Attributes:
        signals: every signal that somebody tried to write.
        members: registrations, by agent.
        bad: keys of records that must be refused.
        changed: the agents' changes that must be refused, by the record's key.
        cuts: when an agent's queue was deleted with what was in it.
        gaps: from when to when something was written that streams may have lost.
        seen: events of each delivery, by its name and what they are.
        told: notices, by the key of the record they speak of.
    """

    signals: Mapping[keys.Key, Written]
    members: Mapping[str, Member]
    bad: frozenset[keys.Key]
    changed: Mapping[keys.Key, Sequence[Event]]
    cuts: Mapping[str, Sequence[float]]
    gaps: Sequence[tuple[float, float]]
    seen: Mapping[str, Mapping[str, Sequence[Event]]]
    told: Mapping[keys.Key, Sequence[Event]]

    def audience(self, signal: Written) -> Audience:
        """Say whom a signal must reach.

        An agent whose registration was accepted before the signal's write began must be reached;
        one that registered meanwhile or later may be, as long as the audience was not decided.
        """
        if signal.targets not in ([EVERYONE], [SUBSCRIBERS]):
            named = frozenset(signal.targets)
            return Audience(named, named)
        is_everyone = signal.targets == [EVERYONE]
        wanted = {
            name: member
            for name, member in self.members.items()
            if name != signal.source and (is_everyone or signal.type_name in member.subscriptions)
        }
        must = {name for name, member in wanted.items() if member.done <= signal.began}
        return Audience(frozenset(must), frozenset(wanted))


def of(events: Iterable[Event]) -> Book:
    """Read a history."""
    signals: dict[keys.Key, Written] = {}
    members: dict[str, Member] = {}
    bad: set[keys.Key] = set()
    changed: dict[keys.Key, list[Event]] = defaultdict(list)
    cuts: dict[str, list[float]] = defaultdict(list)
    gaps: list[tuple[float, float]] = []
    seen: dict[str, dict[str, list[Event]]] = defaultdict(lambda: defaultdict(list))
    told: dict[keys.Key, list[Event]] = defaultdict(list)
    for event in events:
        said = event.details
        key = keys.Key(str(said.get("pk")), str(said.get("sk")))
        if "delivery" in said:
            seen[said["delivery"]][event.what].append(event)
        if event.what == "registered":
            members[event.agent] = _member(event)
        elif event.what == "cut":
            cuts[event.agent].append(event.at)
        elif event.what == "gap":
            gaps.append((said["began"], event.at))
        elif event.what == "told":
            told[key].append(event)
        elif event.what == "changed" and "pk" in said:
            changed[key].append(event)
        elif said.get("record") == "signal":
            is_done = event.what == "wrote"
            if is_done or key not in signals:
                signals[key] = _written(key, said, event.at if is_done else None)
        elif event.what == "wrote" and said["record"] == "bad record":
            bad.add(key)
    return Book(signals, members, frozenset(bad), changed, cuts, gaps, seen, told)


def _member(event: Event) -> Member:
    said = event.details
    wanted = frozenset(said.get("subscriptions") or ())
    return Member(said["began"], event.at, wanted, said.get("signals_per_minute"))


def _written(key: keys.Key, said: Mapping[str, Any], done: float | None) -> Written:
    return Written(
        key=key,
        source=said["source"],
        type_name=said["type"],
        targets=said["targets"],
        expires_at=said["expires_at"],
        token=said["token"],
        began=said["began"],
        done=done,
    )
