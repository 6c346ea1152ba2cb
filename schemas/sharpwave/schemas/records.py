"""The records that agents write, as pydantic models; also the source of the JSON Schemas.

Agents write them with any AWS SDK. Unknown attributes are kept and ignored, so a field added
later never breaks an older writer.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from sharpwave.schemas import keys, tables
from sharpwave.schemas.conditions import SignalConditions
from sharpwave.schemas.ids import (
    EVERYONE,
    SUBSCRIBERS,
    SYSTEM,
    AgentId,
    Domain,
    RecordId,
    SourceId,
    TypeName,
    is_agent_id,
    is_record_id,
)
from sharpwave.schemas.ownership import is_sealed
from sharpwave.schemas.times import DAY_S, MAX_DRIFT_S, epoch_of, is_event_time, is_iso

SCHEMA_VERSION = 1
MAX_SIGNAL_BYTES = 128 * 1024
#: Source: AWS, "Service, account, and table quotas in Amazon DynamoDB", item size.
MAX_ITEM_BYTES = 400 * 1024
MAX_DEPTH = 16
MAX_TARGETS = 10_000
#: Agents, and domains, that one memory entry is shared with.
MAX_READERS = 100
#: Sources of one decision that count, the first by name; and characters of a name that do.
MOST_SOURCES, MOST_SOURCE_NAME = 8, 64
#: Capabilities of one agent.
MAX_CAPABILITIES = 50
DECISION_TTL_S = 90 * DAY_S
SIGNAL_TTL_S = DAY_S
MAX_DECISION_TTL_S = 400 * DAY_S
MAX_SIGNAL_TTL_S = 10 * DAY_S
MAX_MEMORY_TTL_S = 10 * DAY_S
MEMORY_EXPIRES_S = DAY_S
MEMORY_TTL_S = 3 * DAY_S

Share = Annotated[Decimal, Field(ge=0, le=1, description="a number from 0 to 1")]
Timestamp = Annotated[int, Field(ge=0, le=9_999_999_999, description="epoch seconds, UTC")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
Iso = Annotated[
    str,
    StringConstraints(max_length=32),
    Field(description="UTC, such as 2025-10-18T14:30:00Z or 2025-10-18T14:30:00.000Z"),
]


class Record(BaseModel):
    """What every record has: its primary key and the version of its schema."""

    model_config = ConfigDict(frozen=True, extra="allow")

    PK: str
    SK: str
    schema_version: int = Field(default=SCHEMA_VERSION, ge=1, le=SCHEMA_VERSION)

    @property
    def key(self) -> keys.Key:
        """Give the record's primary key."""
        return keys.Key(self.PK, self.SK)


class Timed(Record):
    """A record with a moment: `timestamp` is the authority, `iso_timestamp` must agree."""

    timestamp: Timestamp
    iso_timestamp: Iso
    event_time: Iso | None = Field(
        default=None, description="domain time: a UTC time, or a day such as 2008-10-10"
    )
    ttl: Timestamp | None = Field(default=None, description="epoch seconds of removal")

    @model_validator(mode="after")
    def _times_agree(self) -> Self:
        if not is_iso(self.iso_timestamp):
            raise ValueError(
                f"iso_timestamp {self.iso_timestamp!r} is no UTC time; write 2025-10-18T14:30:00Z"
            )
        drift = abs(epoch_of(self.iso_timestamp) - self.timestamp)
        if drift > MAX_DRIFT_S:
            raise ValueError(
                f"iso_timestamp and timestamp are {drift:.0f} s apart; write the same moment"
            )
        if self.event_time is not None and not is_event_time(self.event_time):
            raise ValueError(f"event_time {self.event_time!r} is neither a UTC time nor a day")
        return self

    def _check_key(self, pks: tuple[str, ...], record_id: str) -> None:
        if self.PK not in pks:
            raise ValueError(f"PK {self.PK!r} does not fit the attributes; expected {pks[0]!r}")
        split = keys.split_dated_sk(self.SK)
        if split is None or split[1] != record_id:
            raise ValueError(f"SK {self.SK!r} is not <iso_timestamp>#{record_id}")
        # The key may be more or less precise than `iso_timestamp`: moments are compared, not text.
        if abs(epoch_of(split[0]) - self.timestamp) > MAX_DRIFT_S:
            raise ValueError(f"SK {self.SK!r} names another moment than timestamp")


class Outcome(BaseModel):
    """What came of a decision."""

    model_config = ConfigDict(frozen=True, extra="allow")

    success: bool
    quality_score: Share | None = None


class DecisionRecord(Timed):
    """One decision of one agent, in `agent_decisions`.

    `outcome` comes with the first write or in a later update of the same item. A change of an
    outcome needs a higher `outcome_rev`; every other attribute is immutable.
    """

    agent_id: AgentId
    agent_version: Text | None = None
    decision_id: RecordId
    decision_type: TypeName
    context: dict[str, Any] = Field(default_factory=dict)
    reasoning: dict[str, Any] = Field(default_factory=dict)
    inputs: dict[str, Any] = Field(default_factory=dict)
    outcome: Outcome | None = None
    outcome_rev: int | None = Field(default=None, ge=1, le=65_535)
    parent_decision_id: RecordId | None = None
    root_decision_id: RecordId | None = None

    @model_validator(mode="after")
    def _key_fits(self) -> Self:
        self._check_key((keys.decision_pk(self.agent_id, self.decision_type),), self.decision_id)
        return self

    @property
    def parent_id(self) -> str | None:
        """Give the id of the decision this one follows from; see `parent_of`."""
        return parent_of({"parent_decision_id": self.parent_decision_id, "context": self.context})


def parent_of(decision: Mapping[str, Any]) -> str | None:
    """Give the id of the decision that one follows from, wherever its writer put it."""
    context = decision.get("context")
    said = (decision, context if isinstance(context, Mapping) else {})
    named = (each.get("parent_decision_id") for each in said)
    return next((name for name in named if is_record_id(name)), None)


class SignalRecord(Timed):
    """One signal from one agent to others, in `agent_signals`; immutable."""

    signal_id: RecordId
    signal_type: TypeName
    source_agent: SourceId
    target_agents: Annotated[list[str], Field(min_length=1, max_length=MAX_TARGETS)] = Field(
        description=f'agent ids, or ["{EVERYONE}"], or ["{SUBSCRIBERS}"]'
    )
    severity: Text | None = None
    confidence: Share | None = None
    data: dict[str, Any] = Field(default_factory=dict)
    context: dict[str, Any] = Field(default_factory=dict)
    recommended_action: Text | None = None
    correlation_id: Text | None = None
    traceparent: Text | None = None

    @model_validator(mode="after")
    def _key_and_targets_fit(self) -> Self:
        bound = keys.owner_of(self.PK)
        # What the key says IAM has checked; what the attribute says nobody has.
        if bound is not None and bound != self.source_agent:
            raise ValueError(
                f"source_agent {self.source_agent!r} is foreign: PK belongs to {bound!r}"
            )
        if self.source_agent == SYSTEM and not is_sealed(self.key, self.model_extra or {}):
            raise ValueError(
                f"source_agent {SYSTEM!r} names the pipeline itself; sign with your own agent_id"
            )
        # Of the compatible form any shard of the type fits, of the strict one the writer's own.
        place = keys.parse(tables.SIGNALS, self.PK, self.SK)
        is_shard = place is not None and place.type_name == self.signal_type and bound is None
        compatible = self.PK if is_shard else keys.signal_pk(self.signal_type)
        strict = keys.signal_pk(self.signal_type, self.source_agent)
        self._check_key((compatible, strict), self.signal_id)
        if self.target_agents in ([EVERYONE], [SUBSCRIBERS]):
            return self
        # Beside others the two words above are no agents' names, and refused as such.
        wrong = [name for name in self.target_agents if not is_agent_id(name)]
        if wrong:
            raise ValueError(f"target_agents holds {wrong[0]!r}, which cannot name an agent")
        return self

    @property
    def is_bound(self) -> bool:
        """Say whether the key itself binds the writer (strict mode)."""
        return keys.owner_of(self.PK) == self.source_agent

    @property
    def expires_at(self) -> int:
        """Give the deadline in epoch seconds: `ttl`, or a day after `timestamp`."""
        return self.ttl or self.timestamp + SIGNAL_TTL_S


class Large(BaseModel):
    """Where the `data` of a memory entry lies that is too large for the table."""

    model_config = ConfigDict(frozen=True, extra="allow")

    url: Annotated[str, StringConstraints(pattern=r"^s3://[^/]+/.+", max_length=2048)]
    bytes: int = Field(ge=0)
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class MemoryEntry(Timed):
    """What an agent remembers, in `agent_state`.

    CONTEXT, QUERY, SIGNAL and NOTE expire a day after they were written; what is important, often
    read or shared is promoted before. STRATEGY and FACT last until they are forgotten.
    """

    agent_id: AgentId
    memory_id: RecordId
    memory_type: Literal["CONTEXT", "QUERY", "SIGNAL", "NOTE", "STRATEGY", "FACT"]
    data: dict[str, Any] = Field(default_factory=dict)
    domain: Domain | None = None
    importance: Share | None = None
    access_count: int = Field(default=0, ge=0)
    last_accessed: Timestamp | None = None
    expires_at: Timestamp | None = None
    shared_with: Annotated[set[AgentId], Field(max_length=MAX_READERS)] | None = Field(
        default=None, description="the agents that read a copy of it; a DynamoDB string set"
    )
    shared_domains: Annotated[set[Domain], Field(max_length=MAX_READERS)] | None = Field(
        default=None, description="who reads these domains reads a copy of it; a string set"
    )
    large: Large | None = None
    forgotten_at: Timestamp | None = Field(
        default=None, description="from then on nobody is shown it"
    )

    @property
    def is_shared(self) -> bool:
        """Say whether anybody else may read it."""
        return bool(self.shared_with or self.shared_domains)

    @model_validator(mode="after")
    def _key_fits(self) -> Self:
        self._check_key((keys.memory_pk(self.agent_id, self.memory_type),), self.memory_id)
        return self


class StateRecord(Record):
    """An agent's own state, in `agent_state`: CURRENT, a checkpoint or a backup."""

    agent_id: AgentId
    agent_version: Text | None = None
    state_type: Literal["CURRENT", "CHECKPOINT", "BACKUP"]
    current_cycle: int | None = Field(default=None, ge=0)
    last_updated: Timestamp
    configuration: dict[str, Any] = Field(default_factory=dict)
    state: dict[str, Any] = Field(default_factory=dict)
    version: int = Field(ge=1, description="one more at each update")
    ttl: Timestamp | None = None

    @model_validator(mode="after")
    def _key_fits(self) -> Self:
        if self.PK != keys.state_pk(self.agent_id) or keys.state_type(self.SK) != self.state_type:
            raise ValueError(
                f"the key does not fit; expected PK {keys.state_pk(self.agent_id)!r}"
                f" and an SK that starts with {self.state_type!r}"
            )
        return self


class Registration(Record):
    """What an agent may send and wants to receive, in `agent_state`."""

    agent_id: AgentId
    subscriptions: list[TypeName] = Field(default_factory=list)
    capabilities: Annotated[list[RecordId], Field(max_length=MAX_CAPABILITIES)] = Field(
        default_factory=list, description="what others may ask of it, for who looks for an agent"
    )
    filters: dict[TypeName, SignalConditions] = Field(
        default_factory=dict,
        description="by type, what a subscriber's signal must fulfil; absent means all of the type",
    )
    may_broadcast: bool = False
    accepts_from: list[SourceId] | None = Field(
        default=None, description="only these sources; absent means anyone"
    )
    signals_per_minute: int | None = Field(default=None, ge=1)
    registered_at: Timestamp

    @model_validator(mode="after")
    def _key_fits(self) -> Self:
        if self.key != keys.registration(self.agent_id):
            raise ValueError(f"the key does not fit; expected {keys.registration(self.agent_id)}")
        return self

    def wants(self, signal: Mapping[str, Any]) -> bool:
        """Say whether a signal to subscribers is for this agent, by its type and its filter."""
        name = signal["signal_type"]
        conditions = self.filters.get(name)
        return name in self.subscriptions and (conditions is None or conditions.matches(signal))


class Acknowledgement(BaseModel):
    """What an agent sets on its own inbox row, with `attribute_exists(PK)`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: Literal["PROCESSED", "FAILED"]
    processed_at: Timestamp
    decision_id: RecordId | None = None
    reason: Text | None = None


RECORDS: Mapping[keys.Kind, type[Record]] = {
    "decision": DecisionRecord,
    "signal": SignalRecord,
    "memory": MemoryEntry,
    "state": StateRecord,
    "registration": Registration,
}
