"""Settings of workers and pump: one frozen record, read once from `SHARPWAVE_*`."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, PrivateAttr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from sharpwave.schemas.faults import explained
from sharpwave.schemas.ids import ARCHIVE_URL, IN_WORDS, NAME_PREFIX
from sharpwave.schemas.messages import URGENT
from sharpwave.schemas.numbers import parse_json
from sharpwave.schemas.times import DAY_S
from sharpwave.workers.patterns.policy import BadPolicy, Policy

_PREFIX = "SHARPWAVE_"


def _from_json(given: object) -> object:
    try:
        return parse_json(given) if isinstance(given, str) else given
    except ValueError as error:
        raise ValueError(f"{given!r:.80} is no JSON") from error


#: Decoded by us, for pydantic's own decoding names neither the variable nor what it holds.
_SecondsByType = Annotated[
    dict[str, Annotated[int, Field(ge=0)]], NoDecode, BeforeValidator(_from_json)
]


def _words(given: object) -> object:
    if not isinstance(given, str):
        return given
    return frozenset(word.strip().lower() for word in given.split(",") if word.strip())


_Words = Annotated[frozenset[str], NoDecode, BeforeValidator(_words)]


class Misconfigured(ValueError):
    """A `SHARPWAVE_*` variable holds what it cannot; the text names it, the fault, the remedy."""

    #: A command, or a worker, that ends of it was misused.
    exit_code = 2


class Settings(BaseSettings):
    """What a worker or a pump is told. AWS itself is told by AWS's own variables."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, allow_inf_nan=False)

    prefix: str = Field(default="", pattern=NAME_PREFIX, description="before every name at AWS")
    archive: str = Field(
        default=Path(".sharpwave/archive").resolve().as_uri(),
        pattern=ARCHIVE_URL,
        description=IN_WORDS[ARCHIVE_URL],
    )
    writes: Literal["batched", "single"] = Field(
        default="batched",
        description="single for a backend whose BatchExecuteStatement is missing or makes no "
        "stream records",
    )
    promote_after_s: float = Field(
        default=DAY_S, gt=0, description="age at which memory and decisions are promoted"
    )
    promote_importance: float = Field(
        default=0.8, ge=0, le=1, description="importance from which memory is promoted at once"
    )
    promote_access_count: int = Field(
        default=10, ge=1, description="uses from which memory is promoted at once"
    )
    pattern_cache_s: float = Field(
        default=5.0,
        gt=0,
        description="how far ahead of its clock a worker judges decisions by its patterns",
    )
    pattern_policy: Path | None = Field(
        default=None, description="a file of the rules by which patterns are promoted and doubted"
    )
    clock_skew_s: float = Field(
        default=5.0, ge=0, description="how much later than that a new pattern takes effect"
    )
    event_ahead: _SecondsByType = Field(
        default={},
        description="seconds that event_time may lie ahead, by decision type, such as"
        ' {"FORECAST": 2592000}; else a day',
    )
    outcome_horizon: _SecondsByType = Field(
        default={},
        description="seconds after which a decision without an outcome is overdue, by decision"
        ' type, such as {"TRADE_ENTRY": 259200}; else a day',
    )
    discovery: bool = Field(
        default=False, description="whether sweeps look for patterns that nobody wrote down"
    )
    registration_cache_s: float = Field(
        default=5.0, ge=0, description="how long a worker keeps a registration"
    )
    quota_per_minute: int | None = Field(
        default=None, ge=1, description="signals of one source; none: no limit"
    )
    urgent: _Words = Field(
        default=URGENT,
        description="severities whose signals overtake a backlog, such as critical,sev1",
    )
    linger_s: float = Field(
        default=0.1, ge=0, description="in which acknowledgements share a write"
    )
    pump_wait_s: float = Field(
        default=0.01,
        ge=0,
        description="from one read of a stream to the next, under traffic; twice that if heavy",
    )
    archive_linger_s: float = Field(
        default=1.0, ge=0, description="in which archived states share a part"
    )
    tick_s: float = Field(default=60.0, gt=0, description="how often sweeps and figures run")
    visibility_timeout_s: int = Field(
        default=60, ge=2, le=43_200, description="how long a dead worker hides its messages"
    )
    threads: int = Field(default=8, ge=1, description="worker threads of one process")
    log: Literal["text", "json"] = Field(
        default="text", description="how log lines look; json: one object a line"
    )
    metrics: Literal["none", "emf", "prometheus"] = Field(
        default="none",
        description="emf: figures that CloudWatch reads off the output; prometheus: to be scraped",
    )
    traces: bool = Field(
        default=False, description="whether OpenTelemetry gets a span of each message"
    )
    heartbeat_s: float = Field(
        default=5.0, gt=0, description="how often a worker reports and looks for a pause"
    )

    _policy: Policy = PrivateAttr(default=Policy())

    @property
    def policy(self) -> Policy:
        """The rules by which patterns are promoted and doubted."""
        return self._policy

    @classmethod
    def read(cls) -> Self:
        """Read the environment.

        Raises:
            Misconfigured: a variable holds what it cannot.
        """
        try:
            settings = cls()
            if settings.pattern_policy is not None:
                # Read at the start, so that a fault in it ends the process and not a message.
                settings._policy = Policy.read(settings.pattern_policy)
            return settings
        except (BadPolicy, ModuleNotFoundError) as error:
            raise Misconfigured(f"{_PREFIX}PATTERN_POLICY: {error}; mend or unset it") from error
        except ValidationError as error:
            faults = []
            for _, where, message in explained(error):
                name, _, within = where.partition(".")
                place = f"{_PREFIX}{name.upper()}" + (f", {within}" if within else "")
                faults.append(f"{place}: {message} ({cls.model_fields[name].description})")
            raise Misconfigured(f"{'; '.join(faults)}; mend or unset it") from error
