"""`decisions ...`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sharpwave.infra.cli.command import LIMIT, Arguments, Command, deployment, option
from sharpwave.infra.cli.output import Answer, plain, table, when

if TYPE_CHECKING:
    from sharpwave.schemas.records import DecisionRecord

_DECISION = option("decision_id", metavar="DECISION")
_AGENT = option("--agent", help="whose")
_TYPE = option("--type", metavar="TYPE", help="only of this type")


@Command(
    "decisions ls",
    _AGENT,
    option("--type", metavar="TYPE", help="only of this type; everyone's without --agent"),
    option("--outcome", choices=("success", "failure", "pending")),
    option("--since", metavar="TIME", help="a UTC time or a day"),
    option("--until", metavar="TIME", help="a UTC time or a day"),
    option("--cursor", help="go on where an answer with the same options ended"),
    LIMIT,
)
def decisions_ls(args: Arguments) -> Answer:
    """List decisions, newest first."""
    from sharpwave.infra.operate.decisions import list_decisions

    page = list_decisions(
        deployment(args),
        agent_id=args.agent,
        decision_type=args.type,
        outcome=args.outcome,
        since=args.since,
        until=args.until,
        cursor=args.cursor,
        limit=args.limit,
    )
    lines = [_table(page.decisions, empty="no such decisions")]
    lines += [f"there are more; go on with --cursor {page.cursor}"] if page.cursor else []
    return Answer(page, "\n".join(lines))


@Command("decisions show", _DECISION, option("--agent", help="whose, if ids repeat"))
def decisions_show(args: Arguments) -> Answer:
    """Show a decision with its signal, its patterns and its outcome."""
    from sharpwave.infra.operate.decisions import show_decision

    view = show_decision(deployment(args), args.decision_id, args.agent)
    record, signal = view.decision, view.signal
    outcome = "none yet"
    if record.outcome is not None:
        quality = record.outcome.quality_score
        outcome = view.result + ("" if quality is None else f", quality {quality}")
        outcome += f", corrected {view.corrections} times" if view.corrections else ""
    # Signals live for days, decisions for months: most causes are gone by time to live.
    cause = "none that is still there"
    if signal is not None:
        cause = f"{signal.signal_id} {signal.signal_type} from {signal.source_agent}"
    patterns = [f"{row.pattern_id} ({row.state})" for row in view.patterns]
    patterns += [f"{name} (not in reach)" for name in view.unknown_patterns]
    lines = [
        f"decision  {record.decision_id} of {record.agent_id}, {record.decision_type}",
        f"key       {record.PK} / {record.SK}",
        f"made      {when(record.timestamp)}",
        f"outcome   {outcome}",
        f"signal    {cause}",
        f"patterns  {', '.join(patterns) or 'none'}",
        f"followed  {' > '.join(each.decision_id for each in view.ancestors) or 'from none'}",
        f"led to    {', '.join(each.decision_id for each in view.children) or 'none'}",
    ]
    return Answer({**plain(view), "key": record.key}, "\n".join(lines))


@Command("decisions chain", _DECISION, option("--agent", help="whose, if ids repeat"))
def decisions_chain(args: Arguments) -> Answer:
    """Show what a decision followed from, and all that followed from it."""
    from sharpwave.infra.operate.decisions import chain_of

    chain = chain_of(deployment(args), args.decision_id, args.agent)
    data = {"chain": chain.ancestors, "descendants": chain.descendants}
    text = _table(chain.ancestors, empty="")
    below = _table(chain.descendants, empty="nothing that is listed followed from it")
    return Answer(data, f"{text}\n\n{below}")


@Command(
    "decisions due",
    option("agent_id", metavar="AGENT"),
    _TYPE,
    option("--within", type=int, default=0, metavar="SECONDS", help="also those due so soon"),
    LIMIT,
)
def decisions_due(args: Arguments) -> Answer:
    """List an agent's decisions without an outcome past SHARPWAVE_OUTCOME_HORIZON."""
    from sharpwave.infra.operate.decisions import due_decisions

    found = due_decisions(
        deployment(args), args.agent_id, args.type, within_s=args.within, limit=args.limit
    )
    rows = [
        (
            when(each.due_at),
            "overdue" if each.is_overdue else "soon",
            each.decision.decision_id,
            each.decision.decision_type,
            when(each.decision.timestamp),
        )
        for each in found
    ]
    headers = ("DUE", "IS", "DECISION", "TYPE", "MADE")
    empty = f"no outcome of {args.agent_id} is due"
    return Answer(found, table(headers, rows, empty=empty))


def _table(decisions: "Sequence[DecisionRecord]", *, empty: str) -> str:
    rows = [
        (
            when(each.timestamp),
            each.decision_id,
            each.agent_id,
            each.decision_type,
            "pending" if each.outcome is None else each.outcome.success,
            each.outcome and each.outcome.quality_score,
            each.parent_id,
        )
        for each in decisions
    ]
    headers = ("MADE", "DECISION", "AGENT", "TYPE", "SUCCESS", "QUALITY", "PARENT")
    return table(headers, rows, empty=empty)
