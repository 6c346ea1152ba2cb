"""`cost`."""

from typing import TYPE_CHECKING, Any

from sharpwave.infra.cli.command import Arguments, command
from sharpwave.infra.cli.output import Answer, table
from sharpwave.infra.cli.settings import deployment

if TYPE_CHECKING:
    from sharpwave.infra.cli.command import Subparsers
    from sharpwave.infra.cost import Bill, Line, Measured, Payer, Plan, PriceFile


def add(commands: "Subparsers") -> None:
    """Declare the command."""
    cost = command(commands, "cost", _cost, "say what the pipeline costs at list prices")
    cost.add_argument("--signals-per-month", type=float, default=1e6, metavar="N")
    cost.add_argument("--decisions-per-month", type=float, default=1e6, metavar="N")
    cost.add_argument("--agents", type=int, default=5, metavar="N", help="default: 5")
    cost.add_argument("--targets", type=int, default=2, metavar="N", help="of a signal; default: 2")
    cost.add_argument(
        "--item-kb", type=float, default=1.0, metavar="KB", help="of a record; default: 1"
    )
    cost.add_argument(
        "--per-message",
        type=float,
        default=50.0,
        metavar="N",
        help="decisions of one ledger's"
        " hour that share a message; 50 at load, 1 when they come one by one; default: 50",
    )
    cost.add_argument("--dax", choices=("none", "t3.small"), default="none")
    cost.add_argument("--ttl-days", type=int, choices=(7, 90), default=90)
    cost.add_argument("--profile", choices=("demo", "production"), default="demo")
    cost.add_argument("--region", default="us-east-1", help="whose prices; default: us-east-1")
    cost.add_argument(
        "--measured", action="store_true", help="from the counters of the running deployment"
    )


def _cost(args: Arguments) -> Answer:
    from sharpwave.infra.cost import load_prices, measured, usage_of

    prices = load_prices(args.region)
    if args.measured:
        run = usage_of(deployment(args))
        return _answer_measured(measured(run, prices), run.signals, run.decisions, prices)
    return _answer_planned(_plan(args), prices)


def _plan(args: Arguments) -> "Plan":
    from sharpwave.infra.cost import Flow, Plan
    from sharpwave.infra.errors import Misused

    counts = ("signals_per_month", "decisions_per_month", "agents", "targets")
    least = {**dict.fromkeys(counts, 0), "item_kb": 0.1, "per_message": 1}
    for name, bound in least.items():
        if not bound <= getattr(args, name) <= 1e15:
            shown = f"--{name.replace('_', '-')} {getattr(args, name):g}"
            raise Misused(f"{shown} makes no sense; give {bound:g} or more")
    return Plan(
        signals=args.signals_per_month,
        decisions=args.decisions_per_month,
        agents=args.agents,
        flow=Flow(targets=args.targets, item_kb=args.item_kb, per_message=args.per_message),
        dax=args.dax,
        ttl_days=args.ttl_days,
        profile=args.profile,
    )


def _answer_planned(plan: "Plan", prices: "PriceFile") -> Answer:
    from dataclasses import asdict

    from sharpwave.infra.cost import alternatives, budgets, decisions, month, priced, signals

    flow = plan.for_its_decisions()
    bills = {
        "per_million_signals": priced(signals(flow), prices),
        "per_million_decisions": priced(decisions(flow), prices),
        "month": month(plan, prices),
    }
    options = alternatives(plan, prices)
    judged = budgets(flow, bills["per_million_signals"])
    data = {
        **_prices(prices),
        "plan": asdict(plan),
        **{name: bill.as_json() for name, bill in bills.items()},
        "options": [{**_option(each), "usd": round(bill.total, 2)} for each, bill in options],
        "budgets": judged,
    }
    rows = [(*_option(each).values(), f"{bill.total:.2f}") for each, bill in options]
    headers = ("PROFILE", "DAX", "DAYS KEPT", "USD A MONTH")
    kept = [(each.what, f"{each.limit:g}", f"{each.found:g}", each.kept) for each in judged]
    text = [
        *(_shown(name.replace("_", " "), _gathered(bill)) for name, bill in bills.items()),
        "the same month otherwise\n" + table(headers, rows, empty=""),
        "budgets\n" + table(("OF", "AT MOST", "FOUND", "KEPT"), kept, empty=""),
        _source(prices),
    ]
    return Answer(data, "\n\n".join(text))


def _answer_measured(
    found: "Measured", signals: int, decisions: int, prices: "PriceFile"
) -> Answer:
    bills = {
        f"per million signals, from {signals:,}": found.signals,
        f"per million decisions, from {decisions:,}": found.decisions,
        "everything beside them, so far": found.background,
    }
    data = {
        **_prices(prices),
        "measured": {"signals": signals, "decisions": decisions},
        **found.as_json(),
    }
    text = [_shown(name, bill) for name, bill in bills.items() if bill is not None]
    if found.untold_calls:
        text.append(
            f"{found.untold_calls:,} calls of DynamoDB told no capacity, as on some emulators;"
            " they stand on no bill"
        )
    return Answer(data, "\n\n".join([*text, _source(prices)]))


def _shown(title: str, bill: "Bill") -> str:
    rows: list[tuple[str, ...]] = [_row(line) for line in bill.lines if line.payer != "agents"]
    rows.append(("in all", "", "", _usd(bill.total)))
    rows += [_row(line, "beside: ") for line in bill.lines if line.payer == "agents"]
    return f"{title}\n" + table(("FOR", "QUANTITY", "UNIT", "USD"), rows, empty="")


def _row(line: "Line", prefix: str = "") -> tuple[str, ...]:
    amount = f"{line.quantity:.0f}" if line.quantity >= 100 else f"{line.quantity:.2f}"
    return prefix + line.item, amount if line.unit else "", line.unit, _usd(line.usd)


def _gathered(bill: "Bill") -> "Bill":
    """Make one line of all that a month's signals, or its decisions, cost one payer."""
    from sharpwave.infra.cost import Bill, Line

    lines: list[Line] = []
    for line in bill.lines:
        event, mark, _ = line.item.partition(": ")
        if not mark or event not in ("signals", "decisions"):
            lines.append(line)
        elif lines and (lines[-1].item, lines[-1].payer) == (event, _side(line)):
            lines[-1] = lines[-1]._replace(usd=lines[-1].usd + line.usd)
        else:
            lines.append(Line(event, _side(line), "", 0, line.usd))
    return Bill(lines)


def _side(line: "Line") -> "Payer":
    return "agents" if line.payer == "agents" else "pipeline"


def _option(plan: "Plan") -> dict[str, Any]:
    return {"profile": plan.profile, "dax": plan.dax, "ttl_days": plan.ttl_days}


def _prices(prices: "PriceFile") -> dict[str, Any]:
    return {"region": prices.region, "dated": prices.dated, "unverified": prices.unverified}


def _source(prices: "PriceFile") -> str:
    text = f"list prices of {prices.region}, {prices.dated}, without free tier"
    return f"{text}; not verified at their source: {', '.join(prices.unverified)}"


def _usd(value: float) -> str:
    return f"{value:.4f}" if value < 1 else f"{value:.2f}"
