"""Whether a record is sound, found out in one pass over the bytes of its typed image.

Nearly every record is. The pydantic models would say so too, but need the image as plain values
first, and take some twenty times as long. So this reads just the attributes that decide, passes
over the rest, and errs on one side only: what it admits the models admit; what it does not they
may still admit, and only they say what is wrong. `admission.py` asks here first and then there.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from re import compile as pattern
from typing import Annotated, Any, Literal

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
_FRACTION = r"(\.[0-9]{1,9})?Z"
_is_fraction = pattern(_FRACTION).fullmatch
_is_fraction_and_id = pattern(f"{_FRACTION}#{ids.RECORD_ID.strip('^$')}").fullmatch
_SECOND = len("2025-10-18T14:30:00")
_A_DATED_SK = keys.dated_sk("2000-01-01T00:00:00Z", "id")
#: Entries of each of the router's caches: keys, agents and seconds seen lately.
CACHED = 16_384

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


class _Outcome(Struct, gc=False):
    M: _OutcomeMap


class Resolved(Struct, gc=False):
    """What an image says of a decision's outcome, unread."""

    outcome: Raw | UnsetType = UNSET
    outcome_rev: Raw | UnsetType = UNSET


class _Texts(Struct, gc=False):
    L: list[_Text]


class _Targets(Struct, gc=False):
    L: Annotated[list[_Text], Meta(min_length=1, max_length=MAX_TARGETS)]


class Reading(Struct, kw_only=True, gc=False):
    """What is read of an image, of any kind."""

    ttl: _Moment | None = None
    schema_version: _Version | None = None


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


class Decision(_Timed, kw_only=True, gc=False):
    """What is read of a decision."""

    agent_id: _Text
    decision_id: _Text
    decision_type: _Text
    outcome: Raw | UnsetType = UNSET
    outcome_rev: Raw | UnsetType = UNSET
    agent_version: _Short | None = None
    reasoning: _Map | None = None
    inputs: _Map | None = None
    parent_decision_id: _Id | None = None
    root_decision_id: _Id | None = None


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


@lru_cache(CACHED)
def _is_agent_id(name: str) -> bool:
    # What is signed by the pipeline itself is rare, and the models look at it closely.
    return name != ids.SYSTEM and ids.is_agent_id(name)


_TABLES: Mapping[keys.Kind, str] = {
    **{"decision": tables.DECISIONS, "signal": tables.SIGNALS},
    **{"memory": tables.STATE, "state": tables.STATE, "registration": tables.STATE},
}
_is_type_name = lru_cache(CACHED)(ids.is_type_name)
_is_event_time = lru_cache(CACHED)(times.is_event_time)


@lru_cache(CACHED)
def place_of(table: str, pk: str, sk: str = _A_DATED_SK) -> keys.Parsed | None:
    """Say what a key stands for; where none is given, its sort key is taken for a good one."""
    return keys.parse(table, pk, sk)


def sound(
    kind: keys.Kind,
    raw: Raw,
    *,
    key: keys.Key,
    text: str,
    stored_at: float,
    event_ahead: EventAhead = times.AS_A_RULE,
) -> Reading | None:
    """Read of an image what decides, if the fast path admits it; see `READ` and `FITS`."""
    place = place_of(_TABLES[kind], key.pk) or place_of(_TABLES[kind], *key)
    if place is None or place.kind != kind or may_be_too_deep(text):
        return None
    if kind == "signal" and len(text) > MAX_SIGNAL_BYTES:
        return None
    try:
        reading = READ[kind](raw)
        return reading if FITS[kind](reading, place, key.sk, stored_at, event_ahead) else None
    except ValueError:
        return None


def sound_revision(said: Resolved | Decision) -> int:
    """Give the revision of an outcome, or of none, that the fast path admits, and else 0.

    Raises:
        ValueError: it does not, for its form.
    """
    if said.outcome is not UNSET:
        score = _read_outcome(said.outcome).M.quality_score
        if score is not None and not _is_share(score.N):
            return 0
    revision = revision_of(said)
    return revision if 1 <= revision <= 65_535 else 0


def revision_of(said: Resolved | Decision) -> int:
    """Give the revision of an outcome, which is 1 unless it is said.

    Raises:
        ValueError: it is no number, or not written as a whole one.
    """
    return 1 if said.outcome_rev is UNSET else int(_read_number(said.outcome_rev).N)


def _decision_fits(
    decision: Decision, place: keys.Parsed, sk: str, stored_at: float, event_ahead: EventAhead
) -> bool:
    _, owner, type_name = place
    return (
        owner == decision.agent_id.S != ids.SYSTEM
        and type_name == decision.decision_type.S
        and sound_revision(decision) > 0
        and _times_fit(decision, decision.decision_id.S, sk, stored_at, MAX_TTL_S["decision"])
        and (
            decision.event_time is None
            or not times.is_far_ahead(
                decision.event_time.S,
                decision.timestamp.N,
                decision.decision_type.S,
                event_ahead,
            )
        )
    )


def _signal_fits(
    signal: Signal, place: keys.Parsed, sk: str, stored_at: float, __: EventAhead
) -> bool:
    _, owner, type_name = place
    source, targets = signal.source_agent.S, signal.target_agents.L
    if not (
        type_name == signal.signal_type.S
        and (owner is None or owner == source)
        and _is_agent_id(source)
        and (signal.confidence is None or _is_share(signal.confidence.N))
        and _times_fit(signal, signal.signal_id.S, sk, stored_at, MAX_TTL_S["signal"])
    ):
        return False
    for target in targets:
        if not _is_agent_id(target.S):
            return len(targets) == 1 and target.S in (ids.EVERYONE, ids.SUBSCRIBERS)
    return True


def _memory_fits(
    entry: Memory, place: keys.Parsed, sk: str, stored_at: float, _: EventAhead
) -> bool:
    return (
        place.owner == entry.agent_id.S != ids.SYSTEM
        and place.type_name == entry.memory_type.S
        and (entry.importance is None or _is_share(entry.importance.N))
        and _times_fit(entry, entry.memory_id.S, sk, stored_at, MAX_TTL_S["memory"])
    )


def _state_fits(
    state: _State, place: keys.Parsed, _: str, stored_at: float, __: EventAhead
) -> bool:
    return (
        place.owner == state.agent_id.S != ids.SYSTEM
        and place.type_name == state.state_type.S
        and (state.ttl is None or stored_at - 1 < state.ttl.N)
    )


def _registration_fits(
    mine: _Registration, place: keys.Parsed, _: str, __: float, ___: EventAhead
) -> bool:
    return (
        place.owner == mine.agent_id.S != ids.SYSTEM
        and (
            mine.subscriptions is None
            or all(_is_type_name(each.S) for each in mine.subscriptions.L)
        )
        and (mine.accepts_from is None or all(_is_agent_id(each.S) for each in mine.accepts_from.L))
    )


#: Read of an image what decides; raise ValueError for an attribute of another form than it has as
#: a rule. DynamoDB writes numbers as text, which `strict` would not take for numbers.
READ: Mapping[keys.Kind, Callable[[Raw], Reading]] = {
    "decision": fast_json.Decoder(Decision, strict=False).decode,
    "signal": fast_json.Decoder(Signal, strict=False).decode,
    "memory": fast_json.Decoder(Memory, strict=False).decode,
    "state": fast_json.Decoder(_State, strict=False).decode,
    "registration": fast_json.Decoder(_Registration, strict=False).decode,
}
_read_outcome = fast_json.Decoder(_Outcome).decode
_read_number = fast_json.Decoder(Number).decode
#: Say whether the fast path admits what was read, whose depth is known; what it does not, or raises
#: ValueError for, may have no fault. They take what was read, what the record's key stands for, its
#: sort key, epoch seconds at which it was stored, and how far ahead event times may lie.
FITS: Mapping[keys.Kind, Callable[[Any, keys.Parsed, str, float, EventAhead], bool]] = {
    "decision": _decision_fits,
    "signal": _signal_fits,
    "memory": _memory_fits,
    "state": _state_fits,
    "registration": _registration_fits,
}


def _times_fit(record: _Timed, record_id: str, sk: str, stored_at: float, max_ttl_s: int) -> bool:
    iso, moment, ttl = record.iso_timestamp.S, record.timestamp.N, record.ttl
    latest = stored_at + MAX_AHEAD_S
    return (
        # The sort key may have the time in another precision.
        (
            sk == f"{iso}#{record_id}"
            or (
                sk.partition("#")[2] == record_id
                and _is_fraction(iso[_SECOND:]) is not None
                and _agrees(iso[:_SECOND], moment)
            )
        )
        and _is_fraction_and_id(sk, _SECOND) is not None
        and _agrees(sk[:_SECOND], moment)
        and moment <= latest
        and (ttl is None or stored_at - 1 < ttl.N <= latest + max_ttl_s)
        and (record.event_time is None or _is_event_time(record.event_time.S))
    )


@lru_cache(CACHED)
def _agrees(iso: str, moment: int) -> bool:
    """Say whether a UTC time without fraction is this second or the one before.

    A time a whole second later agrees too, which is rare enough for the models to find out.
    """
    return times.is_iso(f"{iso}Z") and -1 <= times.epoch_of(iso) - moment <= 0


@lru_cache(CACHED)
def _is_share(text: str) -> bool:
    return _SHARE.fullmatch(text) is not None
