"""What one deployment wants of AWS: a profile as data, and what was asked for otherwise.

A profile is a file of values. Constructs are told values and never ask which profile it was.
"""

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from sharpwave.schemas import keys
from sharpwave.schemas.ids import IN_WORDS, NAME_PREFIX, is_agent_id
from sharpwave.schemas.queues import WORK_QUEUES

PROFILES = ("demo", "production")
DEFAULT_PROFILE = "demo"
#: What CloudWatch keeps logs for; it takes no other number of days.
LOG_DAYS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 3653)

Alarm = Literal[
    "age",
    "dead_letters",
    "stream_lag",
    "stream_stopped",
    "stream_lost",
    "throttled",
    "throttled_keys",
    "miscounts",
]


class PlanRefused(ValueError):
    """A plan holds what it cannot; the text names the value, the fault and the remedy."""

    exit_code = 2


def _listed(given: object) -> object:
    return tuple(part for part in given.split(",") if part) if isinstance(given, str) else given


_Names = BeforeValidator(_listed)


class Plan(BaseModel):
    """All that stacks are told. Each field may be given as context of CDK, lists with commas."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    prefix: str = Field("", pattern=NAME_PREFIX, description=IN_WORDS[NAME_PREFIX])
    agents: Annotated[tuple[str, ...], _Names] = Field((), description="agents with a stack each")
    alarm_address: str = Field(
        "",
        pattern=r"^([^@\s]+@[^@\s]+)?$",
        description="mail address that alarms go to; empty: none",
    )
    runbooks: str = Field(
        "docs/OPERATIONS.md", min_length=1, description="where alarms say their runbook is"
    )

    own_key: bool = Field(description="a KMS key of the deployment's own for all it stores")
    deletion_protection: bool = Field(description="tables refuse to be deleted")
    recovery_days: int = Field(ge=1, le=35, description="how far back tables can be restored")
    archive_cold_days: int = Field(
        ge=0, description="age at which archived parts move to colder storage; 0: never"
    )
    archive_days: int = Field(ge=0, description="age at which they are deleted; 0: never")
    log_days: int = Field(description="how long logs are kept")

    private_network: bool = Field(description="no public addresses; endpoints to each service")
    zones: int = Field(ge=2, le=3, description="availability zones")

    architecture: Literal["arm64", "x86_64"] = Field(description="of function and workers")
    router_memory_mb: int = Field(ge=128, le=10_240)
    batch_size: int = Field(ge=1, le=10_000, description="most stream records in one invocation")
    batch_window_s: int = Field(ge=0, le=300, description="in which records share an invocation")
    shard_concurrency: int = Field(ge=1, le=10, description="invocations at once per shard")
    retries: int = Field(
        ge=0, le=10_000, description="of a batch, before its records are set aside"
    )
    record_age_s: int = Field(ge=60, le=86_400, description="the same by a record's age")

    spot: bool = Field(description="workers on capacity that AWS may take back in two minutes")
    task_cpu: Literal[256, 512, 1024, 2048, 4096]
    task_memory_mb: int = Field(ge=512, le=30_720)
    threads: int = Field(ge=1, le=64, description="worker threads of one task")
    stop_s: int = Field(ge=10, le=120, description="in which a stopped task may finish its work")
    min_tasks: int = Field(ge=0, description="of each work queue's service")
    max_tasks: int = Field(ge=1)
    backlog_per_task: int = Field(ge=1, description="messages that wait for each task")
    tick_minutes: int = Field(ge=1, le=1440, description="how often sweeps and figures run")

    dax_nodes: int = Field(ge=0, le=10, description="nodes of a DAX cluster; 0: none")
    dax_node_type: Annotated[str, StringConstraints(pattern=r"^dax\.[a-z0-9]+\.[a-z0-9]+$")]

    metrics: Literal["none", "emf"] = Field(description="of their own that workers write")
    alarms: Annotated[tuple[Alarm, ...], _Names] = Field(
        description="kinds of alarms that are made"
    )
    watch: Literal["all", "few", "none"] = Field(
        description="which of the alarms are deployed unless told otherwise"
    )
    dashboard: bool = Field(description="a dashboard, unless told otherwise")
    oldest_message_s: int = Field(ge=60, description="age of a work message that is too old")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for agent in self.agents:
            if not is_agent_id(agent) or keys.is_shard(agent):
                raise ValueError(f"{agent!r} cannot name an agent")
        if len(set(self.agents)) < len(self.agents):
            raise ValueError("an agent is listed twice")
        if self.max_tasks < self.min_tasks:
            raise ValueError(f"max_tasks is below min_tasks, {self.min_tasks}")
        hidden = min(queue.visibility_timeout_s for queue in WORK_QUEUES)
        if self.stop_s >= hidden:
            # What a killed task still held comes back when its visibility has run out; a longer
            # stop would let it go on with messages that others have by then.
            raise ValueError(f"stop_s must be below the queues' visibility timeout of {hidden} s")
        if self.log_days not in LOG_DAYS:
            raise ValueError(f"log_days is none of {', '.join(map(str, LOG_DAYS))}")
        if 0 < self.archive_days <= self.archive_cold_days:
            raise ValueError("archive_days must be above archive_cold_days, or 0")
        return self

    @classmethod
    def of(cls, profile: str, given: Mapping[str, Any] | None = None) -> Self:
        """Read a profile, and change what is given.

        Raises:
            PlanRefused: there is no such profile, or a value cannot be.
        """
        if profile not in PROFILES:
            raise PlanRefused(f"{profile!r} is no profile; take {' or '.join(PROFILES)}")
        text = (files(__package__) / "profiles" / f"{profile}.json").read_text()
        values = {**json.loads(text), **(given or {})}
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            detail = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in detail["loc"][:1]) or "the plan"
            field = cls.model_fields.get(where)
            meant = f" ({field.description})" if field and field.description else ""
            said = detail["msg"].removeprefix("Value error, ")
            raise PlanRefused(
                f"{where}: {said}{meant}; change it, or leave it to {profile}"
            ) from error
