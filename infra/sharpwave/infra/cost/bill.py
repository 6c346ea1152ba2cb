"""List prices, quantities, and what these cost."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from sharpwave.infra.errors import Misused

#: Who pays: the writer's own record, the pipeline, or the agents that receive and acknowledge.
Payer = Literal["writer", "pipeline", "agents"]
DEFAULT_REGION = "us-east-1"


class Price(BaseModel):
    """One list price: `usd` for `per` units; `verified` says that it was read at its source."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    usd: float = Field(ge=0)
    per: int = Field(ge=1)
    unit: str
    source: str = Field(pattern="^https://")
    verified: bool

    def of(self, quantity: float) -> float:
        """Give what a quantity costs, in dollars."""
        return self.usd * quantity / self.per


class PriceFile(BaseModel):
    """The prices of one region."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    region: str
    currency: str = Field(pattern="^USD$")
    dated: str = Field(pattern=r"^\d{4}-\d\d-\d\d$")
    note: str
    prices: Mapping[str, Price]

    @property
    def unverified(self) -> list[str]:
        """Name the prices nobody has read at their source."""
        return sorted(name for name, price in self.prices.items() if not price.verified)


def load_prices(region: str = DEFAULT_REGION) -> PriceFile:
    """Read the prices of a region.

    Raises:
        Misused: there is no price file for it.
    """
    folder = files("sharpwave.infra.cost")
    path = folder / f"{region}.json"
    if not path.is_file():
        names = [each.name for each in folder.iterdir() if each.name.endswith(".json")]
        known = sorted(name.removesuffix(".json") for name in names)
        raise Misused(f"no prices are known for {region!r}; there are: {', '.join(known)}")
    return PriceFile.model_validate_json(path.read_text())


class Use(NamedTuple):
    """So much of one priced thing, and what for."""

    item: str
    payer: Payer
    price: str
    quantity: float


class Line(NamedTuple):
    """A use with its cost in dollars."""

    item: str
    payer: Payer
    unit: str
    quantity: float
    usd: float


@dataclass(frozen=True)
class Bill:
    """Lines of one bill; its total leaves out what the receiving agents pay."""

    lines: Sequence[Line]

    @property
    def total(self) -> float:
        """Add up the writer's and the pipeline's lines, in dollars."""
        return self.of("writer") + self.of("pipeline")

    def of(self, payer: Payer) -> float:
        """Add up one payer's lines, in dollars."""
        return sum(line.usd for line in self.lines if line.payer == payer)

    def as_json(self) -> dict[str, object]:
        """Give the bill as plain values, dollars to the hundredth of a cent."""
        lines = [
            {**line._asdict(), "quantity": round(line.quantity, 3), "usd": round(line.usd, 4)}
            for line in self.lines
        ]
        beside = round(self.of("agents"), 4)
        return {"usd": round(self.total, 4), "agents_beside_usd": beside, "lines": lines}


def priced(uses: Iterable[Use], prices: PriceFile) -> Bill:
    """Price uses; those of one item, payer and price become one line, and zeros are left out."""
    sums: dict[tuple[str, Payer, str], float] = {}
    for use in uses:
        place = (use.item, use.payer, use.price)
        sums[place] = sums.get(place, 0.0) + use.quantity
    return Bill(
        [
            Line(item, payer, prices.prices[name].unit, quantity, prices.prices[name].of(quantity))
            for (item, payer, name), quantity in sums.items()
            if quantity
        ]
    )


def scaled(uses: Iterable[Use], factor: float) -> list[Use]:
    """Multiply uses."""
    return [use._replace(quantity=use.quantity * factor) for use in uses]
