"""Quantities and what they cost."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from sharpwave.infra.cost.prices import PriceFile

#: Who pays: the writer's own record, the pipeline, or the agents that receive and acknowledge.
Payer = Literal["writer", "pipeline", "agents"]


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
