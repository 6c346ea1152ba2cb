"""Bills from the counters of a run: what the workers, the pump and the agents report."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from sharpwave.infra.connection import Deployment
from sharpwave.infra.cost.bill import Bill, Payer, PriceFile, Use, priced, scaled
from sharpwave.infra.cost.flow import MILLION
from sharpwave.infra.items import Items
from sharpwave.schemas import keys
from sharpwave.schemas.tables import PIPELINE

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


class _Rule(NamedTuple):
    """Who does what with which thing, what that is called, and on account of what."""

    who: tuple[str, ...]
    verbs: tuple[str, ...]
    things: tuple[str, ...]
    event: Event
    item: str
    payer: Payer = "pipeline"


_RULES = (
    _Rule(("agents",), ("write",), ("signal",), "signals", "the agent's own write", "writer"),
    _Rule(("agents",), _WRITES, ("row",), "signals", "agents' acknowledgements", "agents"),
    _Rule(("agents",), _QUEUE, ("inbox",), "signals", "agents' receives and deletes", "agents"),
    _Rule(("agents",), ("write",), ("decision",), "decisions", "the agents' own writes", "writer"),
    _Rule(("agents",), ("index",), ("decision",), "decisions", "index entries", "writer"),
    _Rule(("deliver",), _WRITES, ("row",), "signals", "inbox rows"),
    _Rule(("deliver",), _WRITES, ("signal",), "signals", "mirror at delivery"),
    _Rule(("deliver",), ("read",), ("signal", "row"), "signals", "delivery's reads"),
    _Rule(("deliver",), ("send",), ("inbox",), "signals", "inbox sends"),
    _Rule(("deliver",), _WRITES, ("due",), "signals", "notes of deadlines"),
    _Rule(("status",), _WRITES, ("signal", "row"), "signals", "mirror after acknowledgements"),
    _Rule(("status",), ("read",), ("signal", "row"), "signals", "mirror's and sweeps' reads"),
    _Rule(("deliver", "pump"), _QUEUE, ("deliver",), "signals", "work queue"),
    _Rule(("status", "pump"), _QUEUE, ("status",), "signals", "acknowledgements' queue"),
    _Rule(("learn", "pump"), _QUEUE, ("learn",), "decisions", "work queue"),
    _Rule(("learn",), _WRITES, ("slot",), "decisions", "ledger"),
    _Rule(("learn",), _WRITES, ("head",), "decisions", "ledger's head"),
    _Rule(("learn",), _WRITES, ("changed", "day"), "decisions", "ledger's marks and sums"),
    _Rule(("learn",), _WRITES, ("writers", "agents", "judged"), "background", "lists of writers"),
    _Rule(("archive", "pump"), _QUEUE, ("archive",), "decisions", "archive's queue"),
    _Rule(("archive",), ("put",), ("archive",), "decisions", "archive's parts"),
    _Rule(("promote",), _WRITES, ("decision",), "decisions", "mark of promotion"),
    _Rule(("promote",), _WRITES, ("episode", "sources"), "decisions", "summary of the day"),
    _Rule(
        ("promote",),
        ("read",),
        ("decision", "episode", "sources"),
        "decisions",
        "reads for the summary",
    ),
    _Rule(("promote", "pump"), _QUEUE, ("promote",), "background", "promotion's queue"),
    _Rule(("promote",), _WRITES, ("fact", "memory"), "background", "memories promoted"),
)
_CPU: Mapping[str, Event] = {
    "deliver": "signals",
    "status": "signals",
    "learn": "decisions",
    "promote": "decisions",
    "archive": "decisions",
}


@dataclass(frozen=True)
class Usage:
    """What each part of a system used.

    Attributes:
        used: counts and units by who (a worker queue, `pump`, `agents`) and by verb and thing.
        cpu_s: processor seconds by who.
    """

    used: Mapping[str, Used]
    cpu_s: Mapping[str, float]

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
    pumps: dict[Any, dict[str, Any]] = {}
    for row in sorted((row for row in rows if "queues" not in row), key=lambda row: row["at"]):
        # A pump reports for all its tables in each of their rows.
        pumps[row["pid"]] = row
    workers = [("+".join(row["queues"]), row) for row in rows if "queues" in row]
    return _summed([*workers, *((PUMP, row) for row in pumps.values())])


def measured(usage: Usage, prices: PriceFile) -> Measured:
    """Price a run: by the million signals and decisions, and the background as a whole."""
    uses: dict[Event, list[Use]] = {"signals": [], "decisions": [], "background": []}
    for event, use in _uses(usage):
        uses[event].append(use)
    return Measured(
        _by_the_million(uses["signals"], usage.signals, prices),
        _by_the_million(uses["decisions"], usage.decisions, prices),
        priced(uses["background"], prices),
        usage.untold,
    )


def _by_the_million(uses: list[Use], events: int, prices: PriceFile) -> Bill | None:
    return priced(scaled(uses, MILLION / events), prices) if events else None


def _uses(usage: Usage) -> Iterator[tuple[Event, Use]]:
    for who, used in usage.used.items():
        for what, (_, units) in used.items():
            verb, _, thing = what.partition(":")
            if verb in _PRICES:
                event, item, payer = _account(who, verb, thing)
                yield event, Use(item, payer, _PRICES[verb], units)
    for who, seconds in usage.cpu_s.items():
        event = _CPU.get(who, "background")
        yield event, Use("workers' compute", "pipeline", "fargate_hour", seconds / 3600)


def _account(who: str, verb: str, thing: str) -> tuple[Event, str, Payer]:
    for rule in _RULES:
        if who in rule.who and verb in rule.verbs and thing in rule.things:
            return rule.event, rule.item, rule.payer
    payer: Payer = "agents" if who == AGENTS else "pipeline"
    return "background", f"{who}: {verb} {thing}", payer


def _summed(rows: Iterable[tuple[str, Mapping[str, Any]]]) -> Usage:
    used: dict[str, dict[str, tuple[int, float]]] = {}
    cpu_s: dict[str, float] = {}
    for who, row in rows:
        mine = used.setdefault(who, {})
        for what, (number, units) in row["used"].items():
            held = mine.get(what, (0, 0.0))
            mine[what] = (held[0] + int(number), held[1] + float(units))
        cpu_s[who] = cpu_s.get(who, 0.0) + float(row.get("cpu_s", 0))
    return Usage(used, cpu_s)
