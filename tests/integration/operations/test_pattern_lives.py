"""People grant patterns and revoke that, put them aside, and read what became of them."""

import json
import time
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from sharpwave.infra import cli
from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Misused
from sharpwave.infra.items import Items
from sharpwave.infra.operate.lives import history, retire, revive, share, shared_to
from sharpwave.infra.operate.patterns import import_patterns, list_patterns, show_pattern
from sharpwave.infra.operate.report import report
from sharpwave.schemas import keys
from sharpwave.schemas.conditions import Conditions
from sharpwave.schemas.patterns import PatternDefinition
from sharpwave.schemas.tables import MEMORY, PIPELINE, SIGNALS
from sharpwave.workers.aws.tables import TableReads
from sharpwave.workers.aws.writes import TableTransactions
from sharpwave.workers.patterns.admission import Admission
from sharpwave.workers.patterns.discover.ending import Ending
from sharpwave.workers.patterns.policy import Policy


def definition(**change: Any) -> PatternDefinition:
    content = {"pattern_id": "whales", "agent_id": "ann", "decision_type": "TRADE", **change}
    return PatternDefinition.model_validate(content)


@pytest.fixture
def imported(deployment: Deployment) -> Deployment:
    import_patterns(deployment, [definition()])
    return deployment


def readers(deployment: Deployment) -> list[str]:
    return list(show_pattern(deployment, "whales").row["shared_with"])


def test_a_grant_makes_a_copy_and_its_revocation_removes_it_at_once(imported: Deployment) -> None:
    for _ in range(2):
        granted = share(imported, "whales", "bob")
        assert granted.shared_with == ("bob",)
        (copy,) = shared_to(imported, "bob")
        assert (copy["pattern_id"], copy["owner"], copy["state"]) == ("whales", "ann", "candidate")
    assert not granted.changed

    share(imported, "whales", "cid")
    assert share(imported, "whales", "bob", revoke=True).changed
    assert shared_to(imported, "bob") == []
    assert [copy["pattern_id"] for copy in shared_to(imported, "cid")] == ["whales"]
    assert readers(imported) == ["cid"]
    assert len(show_pattern(imported, "whales").versions) == 1


def test_a_rehearsal_grants_nothing(imported: Deployment) -> None:
    assert share(imported, "whales", "bob", dry_run=True).changed
    assert shared_to(imported, "bob") == []
    assert readers(imported) == []


def test_what_is_everybodys_or_ones_own_cannot_be_granted(imported: Deployment) -> None:
    import_patterns(imported, [definition(pattern_id="all", agent_id=None)])
    with pytest.raises(Misused, match="all agents may read it"):
        share(imported, "all", "bob")
    with pytest.raises(Misused, match="ann's own"):
        share(imported, "whales", "ann")
    with pytest.raises(Misused, match="cannot name an agent"):
        share(imported, "whales", "B B")


def test_what_is_retired_by_hand_is_told_once_and_can_be_revived(imported: Deployment) -> None:
    moved = retire(imported, "whales", "nobody trades it")
    assert (moved.before, moved.after) == ("candidate", "retired")
    with pytest.raises(Misused, match="retired already"):
        retire(imported, "whales", "again")
    (lived,) = history(imported, "whales")
    assert lived.item["reason"] == "nobody trades it"
    signal = keys.Key(lived.item["signal_pk"], lived.item["signal_sk"])
    told = Items(imported).get(SIGNALS, signal)
    assert told is not None
    assert (told["signal_type"], told["source_agent"]) == ("PATTERN_RETIRED", "sharpwave")

    assert revive(imported, "whales", "after all").after == "candidate"
    assert [one.item["to"] for one in history(imported, "whales")] == ["retired", "candidate"]
    with pytest.raises(Misused, match="is candidate, not retired"):
        revive(imported, "whales", "again")


def test_a_broken_promise_is_not_revived_by_hand(imported: Deployment) -> None:
    row = keys.Key(keys.pattern_pk("ann"), "whales")
    Items(imported).update(MEMORY, row, {"state": "retired", "drifted": True})
    with pytest.raises(Misused, match="a new version of it begins by itself"):
        revive(imported, "whales", "after all")


@pytest.fixture
def ended(imported: Deployment) -> Deployment:
    """Discovery made a candidate, and gave it up."""
    reads = TableReads(imported.dynamodb, prefix=imported.prefix)
    transactions = TableTransactions(imported.dynamodb, prefix=imported.prefix)
    known: Any = {"reads": reads, "transactions": transactions, "clock": time.time, "lead_s": 1.0}
    conditions = Conditions.read("context.trend = up")
    found = definition(pattern_id="found_up", conditions=conditions)
    admission = Admission(**known, policy=Policy())
    assert admission.admit(found, origin="discovery", parent=None, reason="seen")
    assert Ending(**known).retire("ann", "found_up")
    return imported


def test_what_discovery_gave_up_is_revived_as_its_next_version(ended: Deployment) -> None:
    assert revive(ended, "found_up", "after all", dry_run=True).version == 2
    assert len(show_pattern(ended, "found_up").versions) == 1

    moved = revive(ended, "found_up", "after all")

    assert (moved.version, moved.before, moved.after) == (2, "retired", "candidate")
    view = show_pattern(ended, "found_up")
    first, second = view.versions
    assert (view.row["version"], view.row["state"]) == (2, "candidate")
    assert (second.origin, second.parent, second.reason) == ("import", "found_up@1", "after all")
    assert (first.effective_to or 0) <= second.effective_from
    assert second.effective_to is None
    with pytest.raises(Misused, match="is candidate, not retired"):
        revive(ended, "found_up", "again")


def test_what_discovery_gave_up_counts_again_once_somebody_imports_it(ended: Deployment) -> None:
    found = show_pattern(ended, "found_up").versions[-1].definition

    (done,) = import_patterns(ended, [found])
    (again,) = import_patterns(ended, [found])

    assert (done.change, done.version) == ("new version", 2)
    assert (again.change, again.version) == ("unchanged", 2)


def test_to_grant_what_discovery_gave_up_does_not_revive_it(ended: Deployment) -> None:
    share(ended, "found_up", "bob")

    (copy,) = shared_to(ended, "bob")
    assert (copy["version"], copy["state"]) == (1, "retired")
    assert len(show_pattern(ended, "found_up").versions) == 1
    share(ended, "found_up", "bob", revoke=True)
    assert shared_to(ended, "bob") == []


def test_a_base_is_frozen_at_the_import_where_enough_is_known(deployment: Deployment) -> None:
    total = {**keys.ledger_total(keys.base_subject("ann", "TRADE")).item()}
    Items(deployment).put(PIPELINE, {**total, "c": [3, 120, 60, 0, 0, 0, 0, 0, 0]})
    import_patterns(deployment, [definition()])
    base = show_pattern(deployment, "whales").versions[-1].base
    assert base is not None
    assert (base.n, base.s, base.since) == (120, 60, "")
    assert 0.5 < base.p0 < 0.6


def run(deployment: Deployment, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    where = ["--prefix", deployment.prefix, "--endpoint-url", deployment.endpoint("dynamodb") or ""]
    assert cli.main([*words, *where]) == 0
    return capsys.readouterr().out


def test_the_command_line_tells_where_a_pattern_stands(
    imported: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(words: Sequence[str]) -> str:
        return run(imported, capsys, *words)

    assert "has been a candidate" in command(["patterns", "history", "whales"])
    assert "is read by bob" in command(["patterns", "share", "whales", "--with", "bob"])
    assert "whales" in command(["patterns", "shared", "bob"])
    assert "0 of 1 patterns of ann stand out" in command(["patterns", "report"])
    row = keys.Key(keys.pattern_pk("ann"), "whales")
    shown: Any = {
        "interval": [Decimal("0.5"), Decimal("0.75")],
        "evidence": 4,
        "evidence_needed": 5,
        "evidence_n": 30,
        "base_frozen": 0,
    }
    Items(imported).update(MEMORY, row, {**shown, "uplift": "unknown", "not_applied": 3})
    said = command(["patterns", "show", "whales"])
    assert "interval      0.5 to 0.75" in said
    assert "4.0 of the 5.0 it needs" in said
    assert "unknown: 3 decisions matched without being applied" in said
    command(["patterns", "retire", "whales", "--reason", "old"])
    assert "1 hidden" in command(["patterns", "ls"])
    assert "whales" in command(["patterns", "ls", "--all"])
    assert "old" in command(["patterns", "history", "whales"])
    (view,) = json.loads(command(["patterns", "ls", "--json"]))
    assert view["current"]["state"] == "retired"
    assert len(list_patterns(imported)) == 1
    command(["patterns", "revive", "whales"])
    command(["patterns", "unshare", "whales", "--with", "bob"])
    assert "nobody shares" in command(["patterns", "shared", "bob"])


def test_a_report_names_what_stands_out_among_all_that_were_tried(deployment: Deployment) -> None:
    """Of seventeen, logs of evidence of 6 and 2.5; the latter would stand out alone."""
    import_patterns(deployment, [definition(pattern_id=f"p{n:02}") for n in range(17)])
    items = Items(deployment)
    for name, evidence in (("p03", "6"), ("p05", "2.5")):
        row = show_pattern(deployment, name).row
        items.update(MEMORY, keys.Key(row["PK"], row["SK"]), {"evidence": Decimal(evidence)})

    (mine,) = report(deployment, alpha=0.1)

    assert (mine.owner, mine.tried) == ("ann", 17)
    assert [each.pattern_id for each in mine.reported] == ["p03"]
    assert report(deployment, alpha=0.1, agent_id="bob") == []
