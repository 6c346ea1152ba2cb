"""A pattern: a claim that decisions with certain features succeed more often than the rest."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from hashlib import blake2b
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from sharpwave.schemas import keys
from sharpwave.schemas.conditions import Conditions
from sharpwave.schemas.ids import AgentId, Domain, TypeName
from sharpwave.schemas.numbers import plain_json

PatternId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
State = Literal["candidate", "active", "shared", "degraded", "dormant", "retired"]
"""Where a pattern stands in its life."""


class PatternDefinition(BaseModel):
    """What a user writes to import a pattern; the version is counted by `sharpwave`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pattern_id: PatternId
    agent_id: AgentId | None = Field(
        default=None, description="whose decisions count; absent for a pattern of a whole domain"
    )
    domain: Domain = "general"
    decision_type: TypeName
    conditions: Conditions | None = Field(
        default=None, description="absent: only decisions that name it in patterns_applied count"
    )
    description: str | None = None
    base_rate: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None, description="absent: the success rate of the decisions it does not match"
    )
    min_lift: Annotated[float, Field(ge=0, lt=1)] = 0.05
    half_life_days: Annotated[float, Field(gt=0)] = 14.0
    shards: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1, description="accepted and without effect: ledgers split by themselves"
    )
    shared_with: list[AgentId] = Field(default_factory=list)
    kind: Literal["promote", "avoid"] = Field(
        default="promote",
        description="avoid: it claims that what it matches succeeds less often than the rest",
    )

    @property
    def is_avoid(self) -> bool:
        """Say whether it claims that what it matches succeeds less often than the rest."""
        return self.kind == "avoid"


class TrailingBase(BaseModel):
    """Days before a day of evidence over which the rest is measured that it is held against.

    Attributes:
        days: how many.
        lag: days between them and the day of evidence, in which their outcomes come.
        least: outcomes of the rest that it takes; below, the frozen base stands.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    days: Annotated[int, Field(ge=1)]
    lag: Annotated[int, Field(ge=0)]
    least: Annotated[int, Field(ge=1)]


class FrozenBase(BaseModel):
    """The base rate that a version's evidence is asked against, stored once and never again.

    Attributes:
        p0: the rate, strictly between 0 and 1.
        n: outcomes it was measured on; 0 when the definition gave it.
        s: successes among `n`.
        since: evidence counts days after this one only; "" for all days.
        trailing: how the rest is measured anew for each day of evidence; None if it is not.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    p0: Annotated[float, Field(gt=0, lt=1)]
    n: Annotated[int, Field(ge=0)] = 0
    s: Annotated[int, Field(ge=0)] = 0
    since: str = ""
    trailing: TrailingBase | None = None

    def text(self) -> str:
        """Give it as it is stored."""
        return self.model_dump_json(exclude_none=True)


class PatternVersion(BaseModel):
    """One immutable version of a pattern, as workers count by it.

    It counts decisions with `effective_from <= timestamp < effective_to`, in epoch seconds.

    Attributes:
        form: which rules it counts by; 2 if it is seated. A release that adds rules raises it
            where a definition uses them, so that older ones leave its decisions to newer workers;
            what it adds otherwise, older ones pass over.
        origin: who made it: a person, discovery, or workers after drift or a split.
        parent: the version it came from, as `pattern_id@version`; None if from none.
        reason: why it was made, in words.
        base: what its evidence is asked against; None until enough is known. It stands beside the
            version in the list, for it may come later.
        number: its place in the order of arrival in its owner's family, from 1; None until it has
            one. Beside the version in the list, as `base`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    definition: PatternDefinition
    version: int
    form: Literal[1, 2] = 1
    effective_from: int
    effective_to: int | None = None
    learned_at: int
    origin: Literal["import", "discovery", "drift", "split"] = "import"
    parent: str | None = None
    reason: str | None = None
    base: FrozenBase | None = None
    number: int | None = None

    @classmethod
    def read(cls, text: str) -> Self:
        """Read a stored version; what a newer release added to it is passed over.

        Raises:
            ValidationError: a newer release wrote rules into it that this one does not know.
        """
        return cls.model_validate_json(text, extra="ignore")

    @classmethod
    def of_entry(cls, entry: Mapping[str, Any], *, strict: bool = False) -> Self:
        """Read an entry of the list of versions, with what is stored beside the version.

        Args:
            entry: as `entry` gives it; keys may stand beside.
            strict: refuse what a newer release added, for a caller that writes it back.

        Raises:
            ValidationError: a newer release wrote what this one does not know.
        """
        extra: Literal["forbid", "ignore"] = "forbid" if strict else "ignore"
        version = cls.model_validate_json(entry["version"], extra=extra)
        beside: dict[str, Any] = {}
        if "base" in entry:
            beside["base"] = FrozenBase.model_validate_json(entry["base"])
        if "number" in entry:
            beside["number"] = int(entry["number"])
        return version.model_copy(update=beside) if beside else version

    def entry(self) -> dict[str, Any]:
        """Give the attributes of its entry in the list; what stands beside comes if it is known."""
        entry: dict[str, Any] = {"version": self.model_dump_json(exclude={"base", "number"})}
        if self.base is not None:
            entry["base"] = self.base.text()
        if self.number is not None:
            entry["number"] = self.number
        return entry

    @property
    def name(self) -> str:
        """Name it as children name their parent: `pattern_id@version`."""
        return f"{self.definition.pattern_id}@{self.version}"

    @property
    def owner(self) -> str:
        """Name who owns the pattern: an agent, or `shared#<domain>`."""
        return self.definition.agent_id or keys.shared_owner(self.definition.domain)

    @property
    def subject(self) -> str:
        """Name the ledger of this version."""
        return keys.pattern_subject(self.owner, self.definition.pattern_id, self.version)

    @property
    def is_seated(self) -> bool:
        """Say whether base ledgers count it along with all decisions; else its own ledger does."""
        return self.form == 2

    @property
    def pk(self) -> str:
        """Give the partition of the pattern in long-term memory."""
        definition = self.definition
        if definition.agent_id:
            return keys.pattern_pk(definition.agent_id)
        return keys.shared_pattern_pk(definition.domain)

    @property
    def names(self) -> frozenset[str]:
        """Give the names by which a decision may list the pattern as applied."""
        pattern_id = self.definition.pattern_id
        return frozenset({pattern_id, self.name})

    def counts(self, decision: Mapping[str, Any]) -> bool:
        """Say whether a decision belongs to this version, whatever its outcome."""
        definition = self.definition
        if definition.agent_id not in (None, decision["agent_id"]):
            return False
        if definition.decision_type != decision["decision_type"]:
            return False
        if not self.covers(decision["timestamp"]):
            return False
        # Without conditions its author means what agents say that they applied.
        if definition.conditions is None:
            return self.applied(decision)
        return definition.conditions.matches(decision)

    def covers(self, moment: int) -> bool:
        """Say whether the version is in effect at an epoch second."""
        # Half open, so that a version and the one that follows it share no decision.
        end = self.effective_to
        return self.effective_from <= moment and (end is None or moment < end)

    def applied(self, decision: Mapping[str, Any]) -> bool:
        """Say whether the decision names this pattern in `reasoning.patterns_applied`."""
        reasoning = decision.get("reasoning")
        listed = reasoning.get("patterns_applied") if isinstance(reasoning, Mapping) else None
        names = listed if isinstance(listed, list | set) else ()
        return any(isinstance(name, str) and name in self.names for name in names)


class PatternRow(BaseModel):
    """A pattern in long-term memory as readers see it: its current version and its figures."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    PK: str
    SK: str
    memory_type: Literal["PATTERN"] = "PATTERN"
    pattern_id: PatternId
    agent_id: AgentId | None = None
    domain: Domain = "general"
    decision_type: TypeName
    version: int
    learned_at: int
    effective_from: int
    description: str = ""
    conditions: dict[str, Any] | list[Any] | None = None
    sample_size: int = 0
    successes: int = 0
    success_rate: Decimal | None = None
    interval: list[Decimal] | None = None
    confidence: Decimal | None = None
    base_rate: Decimal | None = None
    unresolved: int = 0
    as_of: str | None = None
    is_shared: bool = False
    shared_with: list[AgentId] = Field(default_factory=list)
    kind: Literal["promote", "avoid"] = "promote"
    state: State = "candidate"
    state_since: int | None = None
    evidence: Decimal | None = None
    evidence_n: int | None = None


def versions_of(
    versions: Iterable[PatternVersion], agent_id: str, decision_type: str
) -> list[PatternVersion]:
    """Give the versions that may count one agent's decisions of one type."""
    return [
        version
        for version in versions
        if version.definition.decision_type == decision_type
        and version.definition.agent_id in (None, agent_id)
    ]


def boundaries(versions: Iterable[PatternVersion], agent_id: str, decision_type: str) -> list[int]:
    """List the moments at which epochs of one agent's decisions of one type begin, in order.

    An epoch begins where a version that may count them begins or ends, so that each version
    covers whole epochs; the first one begins at 0.
    """
    moments = {0}
    for version in versions_of(versions, agent_id, decision_type):
        # An end divides as well: from there on decisions are not the version's.
        moments |= {version.effective_from, version.effective_to or 0}
    return sorted(moments)


def epoch_of(
    versions: Iterable[PatternVersion], agent_id: str, decision_type: str, timestamp: int
) -> int:
    """Give the epoch that a decision belongs to: the latest boundary up to its `timestamp`."""
    begun = boundaries(versions, agent_id, decision_type)
    return max((moment for moment in begun if moment <= timestamp), default=0)


def seated(
    versions: Iterable[PatternVersion], agent_id: str, decision_type: str, epoch: int
) -> list[PatternVersion]:
    """List the versions that the base ledger of an epoch counts, by their seats from 0.

    Who is in effect in an epoch is settled before any of its decisions is counted, and a version
    leaves the list only with all of its agent's: so a seat is never anybody else's.
    """
    those = versions_of(versions, agent_id, decision_type)
    found = [version for version in those if version.is_seated and version.covers(epoch)]
    return sorted(found, key=lambda version: version.subject)


def content_hash(definition: PatternDefinition) -> str:
    """Give a digest of what a pattern says, so that importing it again changes nothing."""
    plain = definition.model_dump(mode="json")
    if not definition.is_avoid:
        # Digests that were stored before there were patterns to avoid stay what they are.
        del plain["kind"]
    text = plain_json(plain)
    return blake2b(text.encode(), digest_size=12).hexdigest()
