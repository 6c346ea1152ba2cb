"""Whether a record is sound, found out in one pass over the bytes of its typed image.

Nearly every record is. The pydantic models would say so too, but need the image as plain values
first, and take some twenty times as long. So this reads just the attributes that decide, passes
over the rest, and errs on one side only: what it admits the models admit; what it does not they
may still admit, and only they say what is wrong. `admission.py` asks here first and then there.
"""

import math
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
_record_id = pattern(ids.RECORD_ID).fullmatch
_SHARE = pattern(r"0(\.[0-9]{1,30})?|1(\.0{1,30})?")
_FRACTION = pattern(r"(\.[0-9]{1,9})?Z")
_A_DATED_SK = keys.dated_sk("2000-01-01T00:00:00Z", "id")
_LAST_MOMENT = 9_999_999_999
#: Entries of each of the router's caches: keys, agents and seconds seen lately.
CACHED = 16_384

# One struct for each kind, of what its model knows, in DynamoDB's typed form. An attribute of
# another type fails the conversion; one that is not named here is passed over, as by the models.
# None can be part of a cycle, so the garbage collector need not track them.


class _Number(Struct, gc=False):
    N: str


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
    quality_score: _Number | None = None


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

    PK: _Text
    SK: _Text
    ttl: _Number | None = None
    schema_version: _Version | None = None


class _Timed(Reading, kw_only=True, gc=False):
    timestamp: _Number
    iso_timestamp: _Text
    event_time: _Text | None = None
    context: _Map | None = None
    # A worker's, of which only matters whether it is there.
    promoted_at: Raw | UnsetType = UNSET

    @property
    def moments(self) -> tuple[int, int | None]:
        """Epoch seconds of the record and of its end, if it has one; of one that fits."""
        return int(self.timestamp.N), None if self.ttl is None else int(self.ttl.N)


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
    confidence: _Number | None = None
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
    importance: _Number | None = None
    access_count: _Number | None = None
    expires_at: _Number | None = None
    # One that has any of these takes the long way.
    domain: Raw | UnsetType = UNSET
    last_accessed: Raw | UnsetType = UNSET
    shared_with: Raw | UnsetType = UNSET
    shared_domains: Raw | UnsetType = UNSET
    large: Raw | UnsetType = UNSET
    forgotten_at: Raw | UnsetType = UNSET

    @property
    def is_plain(self) -> bool:
        """Say whether it has none of what only some entries have."""
        return (
            self.domain is UNSET
            and self.last_accessed is UNSET
            and self.shared_with is UNSET
            and self.shared_domains is UNSET
            and self.large is UNSET
            and self.forgotten_at is UNSET
        )

    @property
    def weights(self) -> tuple[float, float]:
        """Importance and number of accesses; 0 of what it does not say."""
        importance, count = self.importance, self.access_count
        return 0.0 if importance is None else float(importance.N), (
            0.0 if count is None else float(count.N)
        )


class _State(Reading, kw_only=True, gc=False):
    agent_id: _Text
    state_type: _Text
    last_updated: _Number
    version: _Number
    agent_version: _Short | None = None
    current_cycle: _Number | None = None
    configuration: _Map | None = None
    state: _Map | None = None


class _Registration(Reading, kw_only=True, gc=False):
    agent_id: _Text
    registered_at: _Number
    subscriptions: _Texts | None = None
    may_broadcast: _Flag | None = None
    accepts_from: _Texts | None = None
    signals_per_minute: _Number | None = None
    # Looked at by the models alone.
    filters: Raw | UnsetType = UNSET
    capabilities: Raw | UnsetType = UNSET


@lru_cache(CACHED)
def _is_agent_id(name: str) -> bool:
    # What is signed by the pipeline itself is rare, and the models look at it closely.
    return name != ids.SYSTEM and ids.is_agent_id(name)


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
    text: str,
    stored_at: float,
    event_ahead: EventAhead = times.AS_A_RULE,
) -> Reading | None:
    """Read of an image what decides, if the fast path admits it; see `read` and `fits`."""
    reading = read(kind, raw)
    is_fit = reading is not None and fits(kind, reading, text, stored_at, event_ahead)
    return reading if is_fit else None


def read(kind: keys.Kind, raw: Raw) -> Reading | None:
    """Read of an image what decides, if each attribute has the form that it has as a rule."""
    try:
        return _READ[kind](raw)
    except ValueError:
        return None


def fits(
    kind: keys.Kind, reading: Reading, text: str, stored_at: float, event_ahead: EventAhead
) -> bool:
    """Say whether the fast path admits what was read; one that it does not may have no fault.

    Args:
        kind: what the record's key says it is.
        reading: what `read` gave.
        text: the image as ASCII JSON, with anything around it, which bounds depth and size.
        stored_at: epoch seconds at which the record was stored.
        event_ahead: how far ahead the event time of decisions may lie, by their type.
    """
    if may_be_too_deep(text) or (kind == "signal" and len(text) > MAX_SIGNAL_BYTES):
        return False
    try:
        return _FITS[kind](reading, stored_at, event_ahead)
    except ValueError:
        return False


def sound_revision(said: Resolved | Decision) -> int:
    """Give the revision of an outcome, or of none, that the fast path admits, and else 0.

    Raises:
        ValueError: it does not, for its form.
    """
    if said.outcome is not UNSET and not _is_share(_read_outcome(said.outcome).M.quality_score):
        return 0
    revision = revision_of(said)
    return revision if 1 <= revision <= 65_535 else 0


def revision_of(said: Resolved | Decision) -> int:
    """Give the revision of an outcome, which is 1 unless it is said.

    Raises:
        ValueError: it is no number, or not written as a whole one.
    """
    return 1 if said.outcome_rev is UNSET else int(_read_number(said.outcome_rev).N)


def _decision_fits(decision: Decision, stored_at: float, event_ahead: EventAhead) -> bool:
    place = place_of(tables.DECISIONS, decision.PK.S)
    return (
        place is not None
        and place.owner == decision.agent_id.S != ids.SYSTEM
        and place.type_name == decision.decision_type.S
        and sound_revision(decision) > 0
        and _times_fit(decision, decision.decision_id.S, stored_at, MAX_TTL_S["decision"])
        and (
            decision.event_time is None
            or not times.is_far_ahead(
                decision.event_time.S,
                int(decision.timestamp.N),
                decision.decision_type.S,
                event_ahead,
            )
        )
    )


def _signal_fits(signal: Signal, stored_at: float, _: EventAhead) -> bool:
    place, source = place_of(tables.SIGNALS, signal.PK.S), signal.source_agent.S
    return (
        place is not None
        and place.type_name == signal.signal_type.S
        and (place.owner in (source, None) and _is_agent_id(source))
        and _is_share(signal.confidence)
        and _times_fit(signal, signal.signal_id.S, stored_at, MAX_TTL_S["signal"])
        and _targets_fit(signal.target_agents.L)
    )


def _memory_fits(entry: Memory, stored_at: float, _: EventAhead) -> bool:
    place = place_of(tables.STATE, entry.PK.S)
    return (
        place is not None
        and entry.is_plain
        and place.owner == entry.agent_id.S != ids.SYSTEM
        and place.type_name == entry.memory_type.S
        and _is_share(entry.importance)
        and _is_whole(entry.access_count)
        and _is_whole(entry.expires_at, most=_LAST_MOMENT)
        and _times_fit(entry, entry.memory_id.S, stored_at, MAX_TTL_S["memory"])
    )


def _state_fits(state: _State, stored_at: float, _: EventAhead) -> bool:
    place = place_of(tables.STATE, state.PK.S, state.SK.S)
    return (
        place is not None
        and place.kind == "state"
        and place.owner == state.agent_id.S != ids.SYSTEM
        and place.type_name == state.state_type.S
        and _is_whole(state.last_updated, most=_LAST_MOMENT)
        and _is_whole(state.version, 1)
        and _is_whole(state.current_cycle)
        and (state.ttl is None or stored_at - 1 < int(state.ttl.N) <= _LAST_MOMENT)
    )


def _registration_fits(mine: _Registration, _: float, __: EventAhead) -> bool:
    return (
        mine.filters is UNSET
        and mine.capabilities is UNSET
        and _is_agent_id(mine.agent_id.S)
        and (mine.PK.S, mine.SK.S) == keys.registration(mine.agent_id.S)
        and _is_whole(mine.registered_at, most=_LAST_MOMENT)
        and _is_whole(mine.signals_per_minute, 1)
        and (
            mine.subscriptions is None
            or all(_is_type_name(each.S) for each in mine.subscriptions.L)
        )
        and (mine.accepts_from is None or all(_is_agent_id(each.S) for each in mine.accepts_from.L))
    )


_READ: Mapping[keys.Kind, Callable[[Raw], Reading]] = {
    "decision": fast_json.Decoder(Decision).decode,
    "signal": fast_json.Decoder(Signal).decode,
    "memory": fast_json.Decoder(Memory).decode,
    "state": fast_json.Decoder(_State).decode,
    "registration": fast_json.Decoder(_Registration).decode,
}
_read_outcome = fast_json.Decoder(_Outcome).decode
_read_number = fast_json.Decoder(_Number).decode
_FITS: Mapping[keys.Kind, Callable[[Any, float, EventAhead], bool]] = {
    "decision": _decision_fits,
    "signal": _signal_fits,
    "memory": _memory_fits,
    "state": _state_fits,
    "registration": _registration_fits,
}


def _is_share(number: _Number | None) -> bool:
    return number is None or _is_share_text(number.N)


def _is_whole(number: _Number | None, least: int = 0, most: float = math.inf) -> bool:
    return number is None or least <= int(number.N) <= most


def _targets_fit(targets: list[_Text]) -> bool:
    for target in targets:
        if not _is_agent_id(target.S):
            return len(targets) == 1 and target.S in (ids.EVERYONE, ids.SUBSCRIBERS)
    return True


def _times_fit(record: _Timed, record_id: str, stored_at: float, max_ttl_s: int) -> bool:
    iso, _, name = record.SK.S.partition("#")
    also, claimed = record.iso_timestamp.S, record.timestamp.N
    latest = stored_at + MAX_AHEAD_S
    ttl = stored_at if record.ttl is None else int(record.ttl.N)
    return (
        name == record_id
        and _record_id(name) is not None
        and 0 <= _agreed(iso[:19], claimed) <= latest
        and _is_fraction(iso[19:])
        and (also == iso or (_agreed(also[:19], claimed) >= 0 and _is_fraction(also[19:])))
        and stored_at - 1 < ttl <= latest + max_ttl_s
        and ttl <= _LAST_MOMENT
        and (record.event_time is None or _is_event_time(record.event_time.S))
    )


@lru_cache(CACHED)
def _agreed(iso: str, timestamp: str) -> int:
    """Give `timestamp` if a UTC time without fraction is that second or the one before, else -1.

    A time a whole second later agrees too, which is rare enough for the models to find out.
    """
    second = int(times.epoch_of(iso)) if times.is_iso(f"{iso}Z") else math.inf
    moment = int(timestamp)
    return moment if -1 <= second - moment <= 0 and moment <= _LAST_MOMENT else -1


@lru_cache(CACHED)
def _is_share_text(text: str) -> bool:
    return _SHARE.fullmatch(text) is not None


@lru_cache(CACHED)
def _is_fraction(text: str) -> bool:
    return _FRACTION.fullmatch(text) is not None
