"""The price file: list prices of one region at one date, each with its source."""

from collections.abc import Mapping
from importlib.resources import files

from pydantic import BaseModel, ConfigDict, Field

from sharpwave.infra.errors import Misused

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
        known = sorted(each.name.removesuffix(".json") for each in folder.iterdir())
        raise Misused(f"no prices are known for {region!r}; there are: {', '.join(known)}")
    return PriceFile.model_validate_json(path.read_text())
