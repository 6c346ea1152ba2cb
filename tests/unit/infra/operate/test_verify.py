"""Evidence that is wrong in any way is named in plain words, with its remedy, and never passes."""

from dataclasses import replace
from typing import Any

import pytest

from sharpwave.infra.operate.verify import EXAMPLES, Evidence, Stored, Verified, judge
from sharpwave.schemas.keys import Key
from sharpwave.workers.patterns.counts import Arms, Counts
from sharpwave.workers.patterns.recount import Damage
from sharpwave.workers.patterns.stated import Confidences

NOW = 1_000_000.0
BASE, PATTERN = "base:ann:TRADE", "pattern:ann:up@1"
TWO = Counts(n=2, s=1)
#: Two decisions in their table, archived, and counted on one day of two ledgers.
SOUND = Evidence(
    archive_url="file:///archive",
    decisions=2,
    patterns=1,
    recounted={BASE: {"2025-10-18": TWO}, PATTERN: {"2025-10-18": TWO}},
    ledgers={
        BASE: {"2025-10-18": replace(TWO, revision=7, units=2)},
        PATTERN: {"2025-10-18": replace(TWO, revision=3, units=1)},
    },
    stored=2,
    depths={"learn": 0, "archive": 0, "learn_dlq": 0, "archive_dlq": 0},
    pump={"at": NOW - 5, "lag_s": 1, "open_shards": 1, "failing_shards": 0},
    now=NOW,
)


def kinds(verified: Verified) -> list[str]:
    return [each.kind for each in verified.findings]


def harmed(**changes: Any) -> Verified:
    verified = judge(replace(SOUND, **changes))
    assert not verified.ok
    assert all(each.what and each.remedy for each in verified.findings)
    return verified


def test_what_agrees_passes() -> None:
    verified = judge(SOUND)

    assert (verified.ok, verified.ledgers_checked, verified.decisions) == (True, 2, 2)


def test_nothing_at_all_agrees() -> None:
    assert judge(Evidence(archive_url="file:///archive")).ok


def test_a_deployment_that_a_mapping_reads_has_no_pump_to_miss() -> None:
    assert judge(replace(SOUND, pump=None)).ok


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ({"at": NOW - 31}, ["pump_silent"]),
        ({"lag_s": 10.5}, ["pump_late"]),
        ({"failing_shards": 1}, ["pump_failing"]),
        ({"at": NOW - 300, "lag_s": 99, "failing_shards": 1}, ["pump_silent", "pump_failing"]),
    ],
)
def test_a_pump_that_is_dead_or_late_or_fails_is_named(
    report: dict[str, Any], expected: list[str]
) -> None:
    assert SOUND.pump is not None

    assert kinds(harmed(pump={**SOUND.pump, **report})) == expected


@pytest.mark.parametrize("queue", ["learn", "archive", "learn_dlq", "archive_dlq"])
def test_a_message_anywhere_is_named(queue: str) -> None:
    verified = harmed(depths={**SOUND.depths, queue: 3})

    assert kinds(verified) == ["dead_letters" if queue.endswith("_dlq") else "pending"]
    assert f"{queue} " in verified.findings[0].what
    assert verified.may_pass == (not queue.endswith("_dlq"))


def test_an_archive_without_anything_is_named_as_that_alone() -> None:
    verified = harmed(decisions=0, recounted={}, unseen=2)

    assert kinds(verified) == ["empty_archive"]
    assert "file:///archive" in verified.findings[0].what
    assert len(verified.disagreements) == 2


def test_an_archive_of_other_decisions_is_named_as_that_alone() -> None:
    other = {BASE: {"2025-10-18": Counts(n=9, s=9)}, "base:zoe:TRADE": {"2025-10-18": TWO}}

    assert kinds(harmed(recounted=other, unseen=2)) == ["foreign_archive"]
    assert kinds(harmed(recounted=other, unseen=0, stored=0)) == ["foreign_archive"]


def test_decisions_that_a_gap_swallowed_make_no_archive_foreign() -> None:
    assert kinds(harmed(unseen=2, unseen_keys=[Key("pk", "sk")])) == ["unseen"]


@pytest.mark.parametrize(
    ("stored", "kind"),
    [
        ({"2025-10-18": Counts(n=3, s=1)}, "not_archived"),
        ({"2025-10-18": TWO, "2025-10-19": Counts(pending=1)}, "not_archived"),
        ({"2025-10-18": Counts(n=1, s=1)}, "not_counted"),
        ({}, "not_counted"),
        ({"2025-10-18": Counts(n=2, s=2)}, "outcomes"),
        ({"2025-10-18": Counts(n=1, s=1, pending=1)}, "outcomes"),
        ({"2025-10-17": TWO}, "moved"),
        ({"2025-10-17": Counts(n=1, s=1), "2025-10-18": Counts(n=1)}, "moved"),
    ],
)
def test_days_are_compared_in_both_directions(stored: dict[str, Counts], kind: str) -> None:
    verified = harmed(ledgers={**SOUND.ledgers, PATTERN: stored})

    assert kinds(verified) == [kind]
    assert PATTERN in verified.findings[0].what


def test_a_ledger_that_nothing_should_have_filled_is_named() -> None:
    verified = harmed(ledgers={**SOUND.ledgers, "pattern:zoe:none@1": {"2025-10-18": TWO}})

    assert kinds(verified) == ["not_archived"]
    assert [each.subject for each in verified.disagreements] == ["pattern:zoe:none@1"]


def test_examples_are_few_and_the_rest_is_counted() -> None:
    damages = [Damage(f"part-{number}", "torn") for number in range(9)]
    days = {f"2025-10-{number:02d}": TWO for number in range(1, 20)}

    verified = harmed(damages=damages, ledgers={**SOUND.ledgers, PATTERN: days})

    assert kinds(verified).count("damaged_archive") == EXAMPLES + 1
    (found,) = [each.what for each in verified.findings if each.kind == "not_archived"]
    assert found.startswith("18 days of ledgers")
    assert "and 13 more" in found
    assert len(verified.disagreements) == 18


def test_sums_and_figures_are_judged_once_they_are_published() -> None:
    late = {"missummed": [BASE], "misfigured": [PATTERN]}

    assert kinds(harmed(**late)) == ["not_summed", "misfigured"]
    assert kinds(harmed(**late, unpublished=1)) == ["unpublished"]


def test_a_writer_on_no_list_and_a_pattern_nobody_can_read_are_named() -> None:
    assert kinds(harmed(unlisted=["zoe of TRADE"], unreadable=1)) == ["unreadable", "unlisted"]


UNITS = {PATTERN: {"2025-10-18": Arms(n=2, s=1)}}


def test_other_units_of_evidence_are_named_once_their_days_agree() -> None:
    assert judge(replace(SOUND, units=UNITS, recounted_units=UNITS)).ok
    verified = harmed(units=UNITS, recounted_units={PATTERN: {"2025-10-18": Arms(n=1, s=1)}})

    assert kinds(verified) == ["units"]
    assert f"{PATTERN} on 2025-10-18 has stored 2 with 1 successes, recounted 1 with 1" in (
        verified.findings[0].what
    )
    days = {BASE: {"2025-10-18": TWO}}
    assert "units" not in kinds(harmed(units=UNITS, ledgers=days))


STATING = replace(TWO, q_n=1, q_sum=5, q_sq=25, confidences=Confidences.of(9_000, True))


@pytest.mark.parametrize(
    "kept", [replace(STATING, q_sq=26), replace(STATING, confidences=Confidences.of(1, True))]
)
def test_other_sums_of_the_same_decisions_are_named(kept: Counts) -> None:
    days = {"recounted": {BASE: {"2025-10-18": STATING}}, "ledgers": {BASE: {"2025-10-18": kept}}}

    verified = harmed(**days)

    assert kinds(verified) == ["stated"]
    assert "sharpwave reconcile agent_decisions" in verified.findings[0].remedy
    assert verified.disagreements[0].stored != verified.disagreements[0].recounted


def test_what_an_older_release_did_not_keep_is_not_missed() -> None:
    older = Counts.from_row([7, 2, 1, 5, 1, 0, 0, 0, 2])
    recounted, ledgers = ({BASE: {"2025-10-18": each}} for each in (STATING, older))

    assert judge(replace(SOUND, recounted=recounted, ledgers=ledgers)).ok


def test_a_head_that_only_a_repeated_attempt_raised_is_summed() -> None:
    day, raised = "2025-10-18", replace(TWO, revision=7)
    summed = replace(TWO, revision=6)
    stored = Stored(counts={BASE: {day: raised}}, days={BASE: {day: summed}}, totals={BASE: summed})
    wrong = replace(stored, counts={BASE: {day: replace(raised, n=raised.n + 1)}})

    assert stored.missummed() == []
    assert wrong.missummed() == [BASE]


def test_sums_that_an_older_release_made_of_newer_counts_are_sums() -> None:
    day, older = "2025-10-18", Counts.from_row(STATING.to_row()[:9])
    stored = Stored(counts={BASE: {day: STATING}}, days={BASE: {day: older}}, totals={BASE: older})
    wrong = replace(stored, totals={BASE: replace(older, n=3)})

    assert stored.missummed() == []
    assert Stored(totals={PATTERN: Counts()}).missummed() == [], "it has counted nothing yet"
    assert wrong.missummed() == [BASE]
    assert replace(stored, days={}).missummed() == [BASE]


def test_a_pattern_that_matched_nothing_yet_has_a_sum_of_nothing() -> None:
    assert Stored(totals={PATTERN: Counts()}).missummed() == []
    assert Stored(totals={PATTERN: Counts(n=1)}).missummed() == [PATTERN]
    assert Stored(days={PATTERN: {"2025-10-18": Counts()}}).missummed() == [PATTERN]
