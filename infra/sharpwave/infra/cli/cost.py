"""`cost` and `retention`: what it takes to run this at AWS, and to keep its records."""

import os
from typing import TYPE_CHECKING, Any

from sharpwave.infra.cli.command import Arguments, Command, deployment, flag, option
from sharpwave.infra.cli.output import Answer, table

if TYPE_CHECKING:
    from sharpwave.infra.cost.bill import Bill, Line, Payer, PriceFile
    from sharpwave.infra.cost.flow import Plan


@Command(
    "cost",
    option("--signals-per-month", type=float, default=1e6, metavar="N"),
    option("--decisions-per-month", type=float, default=1e6, metavar="N"),
    option("--agents", type=int, default=5, metavar="N", help="default: 5"),
    option("--targets", type=int, default=2, metavar="N", help="of a signal; default: 2"),
    option("--urgent", type=float, default=0.0, metavar="SHARE", help="of the signals; default: 0"),
    option("--item-kb", type=float, default=1.0, metavar="KB", help="of a record; default: 1"),
    option(
        "--per-message",
        type=float,
        default=50.0,
        metavar="N",
        help="decisions of one ledger's hour that share a message; 50 at load, 1 when they"
        " come one by one; default: 50",
    ),
    option("--dax", choices=("none", "t3.small"), default="none"),
    option("--ttl-days", type=int, choices=(7, 90), default=90),
    option("--profile", choices=("demo", "production"), default="demo"),
    option("--region", default="us-east-1", help="whose prices; default: us-east-1"),
    flag("--measured", "from the counters of the running deployment"),
)
def cost(args: Arguments) -> Answer:
    """Say what the pipeline costs at list prices."""
    from sharpwave.infra.cost.bill import load_prices, measured, usage_of
    from sharpwave.infra.cost.flow import Flow, Plan
    from sharpwave.infra.errors import Misused

    prices = load_prices(args.region)
    if args.measured:
        run = usage_of(deployment(args))
        found = measured(run, prices)
        bills = {
            f"per million signals, from {run.signals:,}": found.signals,
            f"per million decisions, from {run.decisions:,}": found.decisions,
            "everything beside them, so far": found.background,
        }
        counted = {"signals": run.signals, "decisions": run.decisions}
        facts: dict[str, Any] = {"measured": counted, **found.as_json()}
        text = [_shown(name, bill) for name, bill in bills.items() if bill is not None]
        if found.untold_calls:
            text.append(
                f"{found.untold_calls:,} calls of DynamoDB told no capacity, as on some emulators;"
                " they stand on no bill"
            )
    else:
        counts = ("signals_per_month", "decisions_per_month", "agents", "targets")
        least = {**dict.fromkeys(counts, 0), "item_kb": 0.1, "per_message": 1, "urgent": 0}
        for name, bound in least.items():
            # Neither NaN nor infinity lies between them, and both are floats to argparse.
            if not bound <= getattr(args, name) <= 1e15:
                shown = f"--{name.replace('_', '-')} {getattr(args, name):g}"
                raise Misused(f"{shown} makes no sense; give {bound:g} or more")
        if not args.urgent <= 1:
            raise Misused(f"--urgent {args.urgent:g} makes no sense; give a share from 0 to 1")
        plan = Plan(
            signals=args.signals_per_month,
            decisions=args.decisions_per_month,
            agents=args.agents,
            flow=Flow(
                targets=args.targets,
                item_kb=args.item_kb,
                per_message=args.per_message,
                urgent=args.urgent,
            ),
            dax=args.dax,
            ttl_days=args.ttl_days,
            profile=args.profile,
        )
        facts, text = _planned(plan, prices)
    source = (
        f"list prices of {prices.region}, {prices.dated}, without free tier; not verified at their"
        f" source: {', '.join(prices.unverified)}"
    )
    about = {"region": prices.region, "dated": prices.dated, "unverified": prices.unverified}
    return Answer({**about, **facts}, "\n\n".join([*text, source]))


@Command(
    "retention",
    option("--decision-days", type=int, metavar="N", help="keep decisions so long: 1 to 400"),
    option("--signal-days", type=int, metavar="N", help="let signals expire after: 1 to 10"),
    option("--memory-days", type=int, metavar="N", help="keep short-term memory: 2 to 10"),
    option("--decisions-per-month", type=float, default=1e6, metavar="N"),
    option("--item-kb", type=float, default=1.0, metavar="KB", help="of a record; default: 1"),
    option("--region", default="us-east-1", help="whose prices; default: us-east-1"),
)
def retention(args: Arguments) -> Answer:
    """Say how long records are kept, and what another time would cost and remove."""
    from dataclasses import replace

    from sharpwave.infra.cost.bill import load_prices
    from sharpwave.infra.cost.flow import Flow, Plan, month
    from sharpwave.infra.errors import Misused
    from sharpwave.schemas.retention import Retention, variable

    least = {"decisions_per_month": 0, "item_kb": 0.1}
    if any(not bound <= getattr(args, name) <= 1e15 for name, bound in least.items()):
        raise Misused("--decisions-per-month is 0 or more, and --item-kb 0.1 or more")
    kinds = ("decision", "signal", "memory")
    asked = {kind: days for kind in kinds if (days := getattr(args, f"{kind}_days")) is not None}
    try:
        now = Retention.read(os.environ)
        then = replace(now, **asked)
    except ValueError as error:
        raise Misused(str(error)) from error
    prices = load_prices(args.region)
    lines, kept = [], {}
    for each in (now, then):
        plan = Plan(
            signals=0,
            decisions=args.decisions_per_month,
            flow=Flow(item_kb=args.item_kb),
            ttl_days=each.decision,
        )
        stored = [one for one in month(plan, prices).lines if one.item == "tables' storage"]
        kept[each] = (sum(one.quantity for one in stored), sum(one.usd for one in stored))
    for kind in kinds:
        was, days = getattr(now, kind), getattr(then, kind)
        said = f"{kind}: {was} day{'s' if was > 1 else ''}"
        lines.append(said if was == days else f"{said}; would be {days}")
    (gigabytes, usd), (gigabytes_then, usd_then) = kept[now], kept[then]
    lines.append(
        f"{args.decisions_per_month:,.0f} decisions a month of {args.item_kb:g} KB fill"
        f" {gigabytes:.2f} GB of the tables, {usd:.2f} USD a month"
    )
    if then.decision != now.decision:
        lines.append(
            f"with {then.decision} days it is {gigabytes_then:.2f} GB, {usd_then:.2f} USD, once the"
            f" last with the other time have gone, {max(now.decision, then.decision)} days after"
        )
    if then != now:
        lines.append(
            "Nothing that is stored changes: each record goes by the ttl that it was written with,"
            " and its removal is free. What is removed is no longer read by decisions() and cannot"
            " get an outcome any more; the archive, episodes and the counts of patterns keep it."
        )
        lines += [
            f"to change it, start the agents with: {variable(kind)}={getattr(then, kind)}"
            for kind in kinds
            if getattr(then, kind) != getattr(now, kind)
        ]
    facts = {
        "days": vars(now),
        "asked": vars(then),
        "storage": {"gb": round(gigabytes, 3), "usd": round(usd, 2)},
        "storage_asked": {"gb": round(gigabytes_then, 3), "usd": round(usd_then, 2)},
        "region": prices.region,
        "dated": prices.dated,
    }
    return Answer(facts, "\n".join(lines))


def _planned(plan: "Plan", prices: "PriceFile") -> tuple[dict[str, Any], list[str]]:
    from dataclasses import asdict

    from sharpwave.infra.cost.bill import priced
    from sharpwave.infra.cost.flow import alternatives, at_rates, budgets, decisions, month, signals

    flow = plan.for_its_decisions()
    bills = {
        "per_million_signals": priced(signals(flow), prices),
        "per_million_decisions": priced(decisions(flow), prices),
        "month": month(plan, prices),
    }
    options: list[tuple[dict[str, Any], float]] = [
        ({"profile": each.profile, "dax": each.dax, "ttl_days": each.ttl_days}, bill.total)
        for each, bill in alternatives(plan, prices)
    ]
    judged = budgets(flow, bills["per_million_signals"])
    facts: dict[str, Any] = {
        "plan": asdict(plan),
        **{name: bill.as_json() for name, bill in bills.items()},
        "options": [{**choice, "usd": round(usd, 2)} for choice, usd in options],
        "at_rates": [each._asdict() for each in at_rates(plan, prices)],
        "budgets": judged,
    }
    rows = [(*choice.values(), f"{usd:.2f}") for choice, usd in options]
    rates = [
        (
            each.profile,
            each.per_s,
            f"{each.usd:,.2f}",
            ", ".join(f"{item} {share:.0%}" for item, share in each.dearest),
        )
        for each in at_rates(plan, prices)
    ]
    at = ("PROFILE", "SIGNALS AND DECISIONS A SECOND", "USD A MONTH", "OF WHICH MOST")
    headers = ("PROFILE", "DAX", "DAYS KEPT", "USD A MONTH")
    kept = [(each.what, f"{each.limit:g}", f"{each.found:g}", each.kept) for each in judged]
    return facts, [
        *(_shown(name.replace("_", " "), _gathered(bill)) for name, bill in bills.items()),
        "the same month otherwise\n" + table(headers, rows, empty=""),
        "a month at other rates\n" + table(at, rates, empty=""),
        "budgets\n" + table(("OF", "AT MOST", "FOUND", "KEPT"), kept, empty=""),
    ]


def _shown(title: str, bill: "Bill") -> str:
    def row(line: "Line", prefix: str = "") -> tuple[str, ...]:
        amount = f"{line.quantity:.0f}" if line.quantity >= 100 else f"{line.quantity:.2f}"
        return prefix + line.item, amount if line.unit else "", line.unit, _usd(line.usd)

    # What agents pay for their own receives is no part of what the pipeline costs.
    rows = [row(line) for line in bill.lines if line.payer != "agents"]
    rows.append(("in all", "", "", _usd(bill.total)))
    rows += [row(line, "beside: ") for line in bill.lines if line.payer == "agents"]
    return f"{title}\n" + table(("FOR", "QUANTITY", "UNIT", "USD"), rows, empty="")


def _gathered(bill: "Bill") -> "Bill":
    """Make one line of all that a month's signals, or its decisions, cost one payer."""
    from sharpwave.infra.cost.bill import Bill, Line

    lines: list[Line] = []
    for line in bill.lines:
        event, mark, _ = line.item.partition(": ")
        payer: Payer = "agents" if line.payer == "agents" else "pipeline"
        if not mark or event not in ("signals", "decisions"):
            lines.append(line)
        elif lines and (lines[-1].item, lines[-1].payer) == (event, payer):
            lines[-1] = lines[-1]._replace(usd=lines[-1].usd + line.usd)
        else:
            lines.append(Line(event, payer, "", 0, line.usd))
    return Bill(lines)


def _usd(value: float) -> str:
    return f"{value:.4f}" if value < 1 else f"{value:.2f}"
