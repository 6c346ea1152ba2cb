"""Whether a record is sound, found out in one pass over the bytes of its typed image.

Nearly every record is. The pydantic models would say so too, but need the image as plain values
first, and take some twenty times as long. So this reads just the attributes that decide, passes
over the rest, and errs on one side only: what it admits the models admit; what it does not they
may still admit, and only they say what is wrong. `admission.py` asks here first and then there.
"""

from collections.abc import Callable, Mapping
from functools import partial
from re import compile as pattern
from typing import Annotated, Literal, TypeVar

from msgspec import UNSET, Meta, Raw, Struct, UnsetType
from msgspec import json as fast_json

from sharpwave.schemas import ids, keys, tables, times
from sharpwave.schemas.faults import MAX_TTL_S
from sharpwave.schemas.records import MAX_SIGNAL_BYTES, MAX_TARGETS
from sharpwave.schemas.times import MAX_AHEAD_S, EventAhead
from sharpwave.workers.router.image import may_be_too_deep
from sharpwave.workers.work.incoming import Text as _Text

# In Python `$` also matches before a newline at the end, which the models do not.
_RECORD_ID = ids.RECORD_ID.removesuffix("$") + r"\Z"
_SHARE = pattern(r"0(\.[0-9]{1,30})?|1(\.0{1,30})?")
# What follows the seconds of a time, and in a sort key the id.
_FRACTION = r"(?:\.[0-9]{1,9})?Z"
_is_fraction = pattern(_FRACTION).fullmatch
_is_fraction_and_id = pattern(f"{_FRACTION}#{ids.RECORD_ID.strip('^$')}").fullmatch
_SECOND = len("2025-10-18T14:30:00")
_A_DATED_SK = keys.dated_sk("2000-01-01T00:00:00Z", "id")
#: Entries of each of the router's caches: keys, agents and seconds seen lately.
CACHED = 16_384

_Asked = TypeVar("_Asked")
_Answer = TypeVar("_Answer")


class Known(dict[_Asked, _Answer]):
    """Answers to what was asked lately, all forgotten when they become too many.

    It gives one in half the time of `lru_cache`, which forgets them one by one.
    """

    def __init__(self, find_out: Callable[[_Asked], _Answer]) -> None:
        """Know nothing yet, but how to find it out."""
        super().__init__()
        self._find_out = find_out

    def __missing__(self, asked: _Asked) -> _Answer:
        """Find an answer out, and keep it; what finding out raises is raised each time."""
        answer = self._find_out(asked)
        if len(self) >= CACHED:
            self.clear()
        self[asked] = answer
        return answer


class Place(Struct, gc=False):
    """What a key stands for: `keys.Parsed`, whose parts take longer to get."""

    kind: keys.Kind
    owner: str | None
    type_name: str | None


def _place(table: str, pk: str, sk: str = _A_DATED_SK) -> Place | None:
    parsed = keys.parse(table, pk, sk)
    return None if parsed is None else Place(*parsed)


def _may_sign(name: str) -> bool:
    # What is signed by the pipeline itself is rare, and the models look at it closely.
    return name != ids.SYSTEM and ids.is_agent_id(name)


#: What the partitions of each table stand for, where the sort key is taken for a good one.
PARTITIONS: Mapping[str, Known[str, Place | None]] = {
    table: Known(partial(_place, table)) for table in tables.STREAMED
}
#: What keys stand for, each asked with its table.
PLACES: Known[tuple[str, str, str], Place | None] = Known(lambda key: _place(*key))
_TABLES: Mapping[keys.Kind, str] = {
    **{"decision": tables.DECISIONS, "signal": tables.SIGNALS},
    **{"memory": tables.STATE, "state": tables.STATE, "registration": tables.STATE},
}
_is_agent_id = Known(_may_sign)
_is_type_name = Known[str, bool](ids.is_type_name)
_is_event_time = Known(times.is_event_time)
_is_share = Known[str, bool](lambda text: _SHARE.fullmatch(text) is not None)
#: Whole numbers by how they are written; raises ValueError for what is none.
WHOLE = Known[str, int](int)
# The seconds of the times that agree with a moment: its own and the one before. A time a whole
# second later agrees too, which is rare enough for the models to find out.
_seconds = Known[int, tuple[str, str]](
    lambda moment: (times.bound(moment), times.bound(moment - 1))
)

# One struct for each kind, of what its model knows, in DynamoDB's typed form. An attribute of
# another type fails the conversion; one that is not named here is passed over, as by the models.
# None can be part of a cycle, so the garbage collector need not track them.


class Number(Struct, gc=False):
    """A typed number, as it is written."""

    N: str


class _Moment(Struct, gc=False):
    N: Annotated[int, Meta(ge=0, le=9_999_999_999)]


class _Count(Struct, gc=False):
    N: Annotated[int, Meta(ge=0)]


class _Ordinal(Struct, gc=False):
    N: Annotated[int, Meta(ge=1)]


class _Id(Struct, gc=False):
    S: Annotated[str, Meta(pattern=_RECORD_ID)]


class _Short(Struct, gc=False):
    S: Annotated[str, Meta(min_length=1, max_length=1024)]


class _Version(Struct, gc=False):
    N: Literal["1"]


class _Anything(Struct, gc=False):
    """A map of which nothing is read."""


class _Map(Struct, gc=False):
    M: _Anything


class _Flag(Struct, gc=False):
    BOOL: bool


class _OutcomeMap(Struct, gc=False):
    success: _Flag
    quality_score: Number | None = None


class Outcome(Struct, gc=False):
    """What is read of a decision's outcome."""

    M: _OutcomeMap


class _Texts(Struct, gc=False):
    L: list[_Text]


class _Targets(Struct, gc=False):
    L: Annotated[list[_Text], Meta(min_length=1, max_length=MAX_TARGETS)]


class Reading(Struct, kw_only=True, gc=False):
    """What is read of an image, of any kind."""

    ttl: _Moment | None = None
    schema_version: _Version | None = None

    def fits(self, place: Place, sk: str, stored_at: float, event_ahead: EventAhead) -> bool:
        """Say whether the fast path admits what was read, whose depth is known.

        What it does not, or raises ValueError for, may have no fault.

        Args:
            place: what the record's key stands for.
            sk: its sort key.
            stored_at: epoch seconds at which it was stored.
            event_ahead: how far ahead event times may lie.
        """
        raise NotImplementedError


class _Timed(Reading, kw_only=True, gc=False):
    timestamp: _Moment
    iso_timestamp: _Text
    event_time: _Text | None = None
    context: _Map | None = None
    # A worker's, of which only matters whether it is there.
    promoted_at: Raw | UnsetType = UNSET

    @property
    def ends_at(self) -> int | None:
        """Epoch seconds of its end, if it has one."""
        return None if self.ttl is None else self.ttl.N

    def claimed_at(self, kind: keys.Kind) -> float:
        """Give the moment at which it says that it was stored, as `admission.claimed_at` does."""
        moment, ends_at = self.timestamp.N, self.ends_at
        return moment if ends_at is None else max(moment, ends_at - MAX_TTL_S[kind])

    def _times_fit(self, record_id: str, sk: str, stored_at: float, max_ttl_s: int) -> bool:
        iso, moment, ttl = self.iso_timestamp.S, self.timestamp.N, self.ttl
        seconds, latest = _seconds[moment], stored_at + MAX_AHEAD_S
        return (
            # The sort key may have the time in another precision.
            (
                sk == f"{iso}#{record_id}"
                or (
                    sk.partition("#")[2] == record_id
                    and _is_fraction(iso, _SECOND) is not None
                    and iso.startswith(seconds)
                )
            )
            and sk.startswith(seconds)
            and _is_fraction_and_id(sk, _SECOND) is not None
            and moment <= latest
            and (ttl is None or stored_at - 1 < ttl.N <= latest + max_ttl_s)
            and (self.event_time is None or _is_event_time[self.event_time.S])
        )


class Decision(_Timed, kw_only=True, gc=False):
    """What is read of a decision."""

    agent_id: _Text
    decision_id: _Text
    decision_type: _Text
    # Unread: it is looked for in the image, where it may be all that changed.
    outcome: Raw | UnsetType = UNSET
    outcome_rev: Number | UnsetType = UNSET
    agent_version: _Short | None = None
    reasoning: _Map | None = None
    inputs: _Map | None = None
    parent_decision_id: _Id | None = None
    root_decision_id: _Id | None = None

    def fits(self, place: Place, sk: str, stored_at: float, event_ahead: EventAhead) -> bool:
        """Say whether the fast path admits this decision."""
        return (
            place.owner == self.agent_id.S != ids.SYSTEM
            and place.type_name == self.decision_type.S
            and sound_revision(
                UNSET if self.outcome is UNSET else read_outcome(self.outcome), self.outcome_rev
            )
            > 0
            and self._times_fit(self.decision_id.S, sk, stored_at, MAX_TTL_S["decision"])
            and (
                self.event_time is None
                or not times.is_far_ahead(
                    self.event_time.S, self.timestamp.N, self.decision_type.S, event_ahead
                )
            )
        )


class Signal(_Timed, kw_only=True, gc=False):
    """What is read of a signal."""

    signal_id: _Text
    signal_type: _Text
    source_agent: _Text
    target_agents: _Targets
    severity: _Short | None = None
    confidence: Number | None = None
    data: _Map | None = None
    recommended_action: _Short | None = None
    correlation_id: _Short | None = None
    traceparent: _Short | None = None

    def fits(self, place: Place, sk: str, stored_at: float, event_ahead: EventAhead) -> bool:
        """Say whether the fast path admits this signal."""
        owner, source, targets = place.owner, self.source_agent.S, self.target_agents.L
        if not (
            place.type_name == self.signal_type.S
            and (owner is None or owner == source)
            and _is_agent_id[source]
            and (self.confidence is None or _is_share[self.confidence.N])
            and self._times_fit(self.signal_id.S, sk, stored_at, MAX_TTL_S["signal"])
        ):
            return False
        for target in targets:
            if not _is_agent_id[target.S]:
                return len(targets) == 1 and target.S in (ids.EVERYONE, ids.SUBSCRIBERS)
        return True


class Memory(_Timed, kw_only=True, gc=False):
    """What is read of a short-term memory entry."""

    agent_id: _Text
    memory_id: _Text
    memory_type: _Text
    data: _Map | None = None
    importance: Number | None = None
    access_count: _Count | None = None
    expires_at: _Moment | None = None
    # One that has any of these cannot be read, and takes the long way.
    domain: None = None
    last_accessed: None = None
    shared_with: None = None
    shared_domains: None = None
    large: None = None
    forgotten_at: None = None

    def fits(self, place: Place, sk: str, stored_at: float, event_ahead: EventAhead) -> bool:
        """Say whether the fast path admits this entry."""
        return (
            place.owner == self.agent_id.S != ids.SYSTEM
            and place.type_name == self.memory_type.S
            and (self.importance is None or _is_share[self.importance.N])
            and self._times_fit(self.memory_id.S, sk, stored_at, MAX_TTL_S["memory"])
        )

    @property
    def weights(self) -> tuple[float, float]:
        """Importance and number of accesses; 0 of what it does not say."""
        importance, count = self.importance, self.access_count
        return 0.0 if importance is None else float(importance.N), 0 if count is None else count.N


class _State(Reading, kw_only=True, gc=False):
    agent_id: _Text
    state_type: _Text
    last_updated: _Moment
    version: _Ordinal
    agent_version: _Short | None = None
    current_cycle: _Count | None = None
    configuration: _Map | None = None
    state: _Map | None = None

    def fits(self, place: Place, sk: str, stored_at: float, event_ahead: EventAhead) -> bool:
        """Say whether the fast path admits this state."""
        return (
            place.owner == self.agent_id.S != ids.SYSTEM
            and place.type_name == self.state_type.S
            and (self.ttl is None or stored_at - 1 < self.ttl.N)
        )


class _Registration(Reading, kw_only=True, gc=False):
    agent_id: _Text
    registered_at: _Moment
    subscriptions: _Texts | None = None
    may_broadcast: _Flag | None = None
    accepts_from: _Texts | None = None
    signals_per_minute: _Ordinal | None = None
    # Looked at by the models alone.
    filters: None = None
    capabilities: None = None

    def fits(self, place: Place, sk: str, stored_at: float, event_ahead: EventAhead) -> bool:
        """Say whether the fast path admits this registration."""
        subscriptions, accepts_from = self.subscriptions, self.accepts_from
        return (
            place.owner == self.agent_id.S != ids.SYSTEM
            and (subscriptions is None or all(_is_type_name[each.S] for each in subscriptions.L))
            and (accepts_from is None or all(_is_agent_id[each.S] for each in accepts_from.L))
        )


def sound(
    kind: keys.Kind,
    raw: Raw,
    *,
    key: keys.Key,
    text: str,
    stored_at: float,
    event_ahead: EventAhead = times.AS_A_RULE,
) -> Reading | None:
    """Read of an image what decides, if the fast path admits it."""
    table = _TABLES[kind]
    place = PARTITIONS[table][key.pk] or PLACES[table, key.pk, key.sk]
    if place is None or place.kind != kind or may_be_too_deep(text):
        return None
    if kind == "signal" and len(text) > MAX_SIGNAL_BYTES:
        return None
    try:
        reading = READ[kind](raw)
        return reading if reading.fits(place, key.sk, stored_at, event_ahead) else None
    except ValueError:
        return None


def sound_revision(outcome: Outcome | UnsetType, outcome_rev: Number | UnsetType) -> int:
    """Give the revision of an outcome, or of none, that the fast path admits, and else 0.

    Raises:
        ValueError: it does not, for its form.
    """
    if outcome is not UNSET:
        score = outcome.M.quality_score
        if score is not None and not _is_share[score.N]:
            return 0
    if outcome_rev is UNSET:
        return 1
    revision = WHOLE[outcome_rev.N]
    return revision if 1 <= revision <= 65_535 else 0


#: Read of an image what decides; raise ValueError for an attribute of another form than it has as
#: a rule. DynamoDB writes numbers as text, which `strict` would not take for numbers.
READ: Mapping[keys.Kind, Callable[[Raw], Reading]] = {
    "decision": fast_json.Decoder(Decision, strict=False).decode,
    "signal": fast_json.Decoder(Signal, strict=False).decode,
    "memory": fast_json.Decoder(Memory, strict=False).decode,
    "state": fast_json.Decoder(_State, strict=False).decode,
    "registration": fast_json.Decoder(_Registration, strict=False).decode,
}
#: Read an outcome; raise ValueError for one of another form than it has as a rule.
read_outcome = fast_json.Decoder(Outcome).decode
