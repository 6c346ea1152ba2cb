"""The rules by which patterns are promoted, doubted and put aside: one frozen record."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sharpwave.schemas.faults import explained
from sharpwave.schemas.ids import AgentId
from sharpwave.schemas.numbers import parse_json
from sharpwave.schemas.patterns import TrailingBase
from sharpwave.workers.patterns.evidence import ALPHA, DEGRADED_AT, RETIRED_AT, WINDOW_DAYS

_Rate = Annotated[float, Field(gt=0, lt=1)]


class BadPolicy(ValueError):
    """A policy says what none can; the text names the file, the rule and the fault."""


class Policy(BaseModel):
    """When a pattern is believed, doubted and put aside.

    Attributes:
        alpha: bound on the share of false ones among an owner's promoted patterns.
        min_base: outcomes of the decisions a pattern does not match before its base is frozen.
        min_base_days: days with such outcomes.
        base_days: days before each day of evidence over which the rest is measured; 0: the base
            stays as it was frozen.
        base_lag_days: days between them and that day; no fewer than an outcome takes.
        min_units: units of evidence with an outcome before a promotion.
        min_days: days with an outcome before a promotion.
        min_confidence: `confidence` that a promotion takes, against the measured rest.
        max_unresolved: share of matched decisions without an outcome above which none is promoted.
        degraded_at: value of the drift detector that degrades.
        recovered_at: value to which it has to fall before a degraded pattern is believed again.
        retired_at: value that retires; a new version of the same conditions then begins.
        promise_growth: times the units behind a promise at which a greater one is made.
        promise_below: how far that lies below the rate it has kept, and its standard error more.
        window_days: days over which the detector looks back.
        dormant_days: days of its agents' decisions without a match that make a pattern dormant.
        dormant_n_eff: decayed outcomes below which a promoted pattern is dormant.
        closure_most: waiting candidates of one owner above which e-LOND decides.
        share_with: agents that promoted patterns are shared with by rule; none: no such rule.
        share_confidence: `confidence` that the rule takes.
        share_units: units of evidence that the rule takes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    alpha: _Rate = ALPHA
    min_base: Annotated[int, Field(ge=1)] = 100
    min_base_days: Annotated[int, Field(ge=1)] = 3
    base_days: Annotated[int, Field(ge=0, le=3_650)] = 90
    base_lag_days: Annotated[int, Field(ge=0, le=3_650)] = 7
    min_units: Annotated[int, Field(ge=1)] = 20
    min_days: Annotated[int, Field(ge=1)] = 3
    min_confidence: Annotated[float, Field(ge=0, lt=1)] = 0.95
    max_unresolved: Annotated[float, Field(ge=0, le=1)] = 0.3
    degraded_at: Annotated[float, Field(gt=1)] = DEGRADED_AT
    recovered_at: Annotated[float, Field(gt=0)] = DEGRADED_AT / 10
    retired_at: Annotated[float, Field(gt=1)] = RETIRED_AT
    promise_growth: Annotated[float, Field(gt=1)] = 2.0
    promise_below: Annotated[float, Field(ge=0, lt=1)] = 0.1
    window_days: Annotated[int, Field(ge=1, le=3_650)] = WINDOW_DAYS
    dormant_days: Annotated[int, Field(ge=1)] = 60
    dormant_n_eff: Annotated[float, Field(ge=0)] = 5.0
    closure_most: Annotated[int, Field(ge=0)] = 500
    share_with: tuple[AgentId, ...] = ()
    share_confidence: Annotated[float, Field(ge=0, lt=1)] = 0.9
    share_units: Annotated[int, Field(ge=1)] = 50

    @property
    def trailing(self) -> TrailingBase | None:
        """Say how versions that have no evidence yet are to measure the rest; None: once."""
        if not self.base_days:
            return None
        return TrailingBase(days=self.base_days, lag=self.base_lag_days, least=self.min_base)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.recovered_at < self.degraded_at <= self.retired_at:
            raise ValueError(
                f"recovered_at {self.recovered_at:g}, degraded_at {self.degraded_at:g} and "
                f"retired_at {self.retired_at:g} have to rise in this order"
            )
        return self

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file: YAML by `.yaml` or `.yml`, JSON else; what it leaves out is as it was.

        Raises:
            BadPolicy: it cannot be read, or a rule is unknown or nonsense.
            ModuleNotFoundError: YAML, and the extra that reads it is not installed.
        """
        form = "YAML" if path.suffix.lower() in (".yaml", ".yml") else "JSON"
        try:
            text = path.read_bytes().decode()
            found = _yaml(text) if form == "YAML" else parse_json(text)
        except (OSError, ValueError) as error:
            raise BadPolicy(f"policy {path} cannot be read as {form}: {error}") from error
        if not isinstance(found, Mapping):
            raise BadPolicy(
                f'policy {path} is no map of rules to values, such as {{"alpha": {ALPHA}}}'
            )
        try:
            return cls.model_validate(found)
        except ValidationError as error:
            said = "; ".join(
                f"{where}: {message}" if where else message
                for _, where, message in explained(error)
            )
            rules = ", ".join(cls.model_fields)
            raise BadPolicy(f"policy {path}: {said}; the rules are {rules}") from error


def _yaml(text: str) -> Any:
    # YAML 1.2, as definitions are read.
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
