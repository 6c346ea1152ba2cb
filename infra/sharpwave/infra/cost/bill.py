"""List prices, quantities and what these cost, and the bills of a run that was measured.

A run is measured by the counters that its workers, its pump and its agents report.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Misused
from sharpwave.infra.items import Items
from sharpwave.schemas import keys
from sharpwave.schemas.tables import PIPELINE

#: Who pays: the writer's own record, the pipeline, or the agents that receive and acknowledge.
Payer = Literal["writer", "pipeline", "agents"]
DEFAULT_REGION = "us-east-1"
MILLION = 1_000_000


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
        # Beside the total: whoever receives pays its own calls, at each of any number of agents.
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


PUMP, AGENTS = "pump", "agents"
Used = Mapping[str, tuple[int, float]]
Event = Literal["signals", "decisions", "background"]

_PRICES = {
    **dict.fromkeys(("write", "index", "refused"), "dynamodb_write"),
    **dict.fromkeys(("send", "receive", "delete", "hide", "poll"), "sqs_request"),
    "read": "dynamodb_read",
    "stream": "dynamodb_stream_read",
    "put": "s3_put",
    "get": "s3_get",
}
_WRITES = ("write", "refused", "index")
_QUEUE = ("send", "receive", "delete", "hide")
_SUMMED = ("decision", "episode", "sources")


class _Rule(NamedTuple):
    """Who does what with which thing, what that is called, and on account of what."""

    who: tuple[str, ...]
    verbs: tuple[str, ...]
    things: tuple[str, ...]
    event: Event
    item: str
    payer: Payer = "pipeline"

    def covers(self, who: str, verb: str, thing: str) -> bool:
        return who in self.who and verb in self.verbs and thing in self.things


#: Where mirrors are: beside their signals, and in them by counters of earlier releases.
_MIRRORED = ("mirror", "signal")
#: The first that covers a use accounts for it.
_RULES = (
    _Rule(("agents",), ("write",), ("signal",), "signals", "the agent's own write", "writer"),
    _Rule(("agents",), _WRITES, ("row",), "signals", "agents' acknowledgements", "agents"),
    _Rule(("agents",), _QUEUE, ("inbox",), "signals", "agents' receives and deletes", "agents"),
    _Rule(("agents",), ("write",), ("decision",), "decisions", "the agents' own writes", "writer"),
    _Rule(("agents",), ("index",), ("decision",), "decisions", "index entries", "writer"),
    _Rule(("deliver",), _WRITES, ("row",), "signals", "inbox rows"),
    _Rule(("deliver",), _WRITES, _MIRRORED, "signals", "mirror at delivery"),
    _Rule(("deliver",), ("read",), (*_MIRRORED, "row"), "signals", "delivery's reads"),
    _Rule(("deliver",), ("send",), ("inbox",), "signals", "inbox sends"),
    _Rule(("deliver",), _WRITES, ("due",), "signals", "notes of deadlines"),
    _Rule(("status",), _WRITES, (*_MIRRORED, "row"), "signals", "mirror after acknowledgements"),
    _Rule(("status",), ("read",), (*_MIRRORED, "row"), "signals", "mirror's and sweeps' reads"),
    _Rule(("deliver", "pump"), _QUEUE, ("deliver",), "signals", "work queue"),
    _Rule(("status", "pump"), _QUEUE, ("status",), "signals", "acknowledgements' queue"),
    _Rule(("learn", "pump"), _QUEUE, ("learn",), "decisions", "work queue"),
    _Rule(("learn",), _WRITES, ("slot",), "decisions", "ledger"),
    _Rule(("learn",), _WRITES, ("head",), "decisions", "ledger's head"),
    _Rule(("learn",), _WRITES, ("changed", "day"), "decisions", "ledger's marks and sums"),
    _Rule(("learn",), _WRITES, ("children",), "decisions", "lists of children"),
    _Rule(("learn",), _WRITES, ("metrics",), "decisions", "how sources did"),
    _Rule(("learn",), _WRITES, ("writers", "agents", "judged"), "background", "lists of writers"),
    _Rule(("learn",), _WRITES, ("names",), "background", "names of sources"),
    _Rule(("archive", "pump"), _QUEUE, ("archive",), "decisions", "archive's queue"),
    _Rule(("archive",), ("put",), ("archive",), "decisions", "archive's parts"),
    _Rule(("promote",), _WRITES, ("decision",), "decisions", "mark of promotion"),
    _Rule(("promote",), _WRITES, ("episode", "sources"), "decisions", "summary of the day"),
    _Rule(("promote",), ("read",), _SUMMED, "decisions", "reads for the summary"),
    _Rule(("promote", "pump"), _QUEUE, ("promote",), "background", "promotion's queue"),
    _Rule(("promote",), _WRITES, ("fact", "memory"), "background", "memories promoted"),
)
_CPU: dict[str, Event] = {
    **dict.fromkeys(("deliver", "status"), "signals"),
    **dict.fromkeys(("learn", "promote", "archive"), "decisions"),
}


@dataclass(frozen=True)
class Usage:
    """What each part of a system used."""

    # Counts and units by who (a worker queue, `pump`, `agents`) and by verb and thing
    used: Mapping[str, Used]
    cpu_s: Mapping[str, float]  # processor seconds by who

    def with_agents(self, used: Used) -> "Usage":
        """Add what the agents used, as their meter has it."""
        return Usage({**self.used, AGENTS: used}, self.cpu_s)

    def count(self, what: str, *who: str) -> int:
        """Count what some, or all if none is named, did of one kind."""
        owners = who or tuple(self.used)
        return sum(self.used.get(owner, {}).get(what, (0, 0.0))[0] for owner in owners)

    @property
    def untold(self) -> int:
        """Count the calls of DynamoDB that told no capacity."""
        told = (used.items() for used in self.used.values())
        return sum(n for each in told for what, (n, _) in each if what.startswith("untold:"))

    @property
    def signals(self) -> int:
        """Count the signals: those new in the stream, else those marked delivered."""
        # Behind Lambda no pump counts; a mirror that was set twice then counts twice.
        return self.count("new:signal", PUMP) or self.count("write:signal", "deliver")

    @property
    def decisions(self) -> int:
        """Count the decisions new in the stream; 0 where no pump reads it."""
        return self.count("new:decision", PUMP)


class Measured(NamedTuple):
    """What a run's events cost by the million, and what was used beside them in all.

    `untold_calls` of DynamoDB told no capacity, as on some emulators; they stand on no bill.
    """

    signals: Bill | None
    decisions: Bill | None
    background: Bill
    untold_calls: int

    def as_json(self) -> dict[str, Any]:
        """Give the bills as plain values."""
        return {
            "per_million_signals": self.signals and self.signals.as_json(),
            "per_million_decisions": self.decisions and self.decisions.as_json(),
            "background": self.background.as_json(),
            "untold_calls": self.untold_calls,
        }


def usage_of(deployment: Deployment) -> Usage:
    """Sum what workers and pump reported within the last hour."""
    rows = [row for row in Items(deployment).query(PIPELINE, keys.PRESENCE_PK) if "used" in row]
    # A pump reports for all its tables in each of their rows; its latest one counts.
    pumps = sorted((row for row in rows if "queues" not in row), key=lambda row: row["at"])
    reports = [("+".join(row["queues"]), row) for row in rows if "queues" in row]
    reports += [(PUMP, row) for row in {row["pid"]: row for row in pumps}.values()]
    used: dict[str, dict[str, tuple[int, float]]] = {}
    cpu_s: dict[str, float] = {}
    for who, row in reports:
        mine = used.setdefault(who, {})
        for what, (number, units) in row["used"].items():
            held = mine.get(what, (0, 0.0))
            mine[what] = (held[0] + int(number), held[1] + float(units))
        cpu_s[who] = cpu_s.get(who, 0.0) + float(row.get("cpu_s", 0))
    return Usage(used, cpu_s)


def measured(usage: Usage, prices: PriceFile) -> Measured:
    """Price a run: by the million signals and decisions, and the background as a whole."""
    uses: dict[Event, list[Use]] = {"signals": [], "decisions": [], "background": []}
    for who, used in usage.used.items():
        for what, (_, units) in used.items():
            verb, _, thing = what.partition(":")
            if verb in _PRICES:
                # What no rule accounts for is paid beside the events, under its own name.
                payer: Payer = "agents" if who == AGENTS else "pipeline"
                other = _Rule((), (), (), "background", f"{who}: {verb} {thing}", payer)
                rule = next((one for one in _RULES if one.covers(who, verb, thing)), other)
                uses[rule.event].append(Use(rule.item, rule.payer, _PRICES[verb], units))
    for who, seconds in usage.cpu_s.items():
        compute = Use("workers' compute", "pipeline", "fargate_hour", seconds / 3600)
        uses[_CPU.get(who, "background")].append(compute)

    def by_the_million(event: Event, events: int) -> Bill | None:
        # Without a single event there is nothing to divide by, and no bill.
        return priced(scaled(uses[event], MILLION / events), prices) if events else None

    return Measured(
        by_the_million("signals", usage.signals),
        by_the_million("decisions", usage.decisions),
        priced(uses["background"], prices),
        usage.untold,
    )
