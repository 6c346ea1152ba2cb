"""Two deployments agree if and only if their digests do."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from sharpwave.infra.operate.digest import digest_of
from sharpwave.workers.patterns.counts import Arms, Counts, Days

BASE, PATTERN = "base:ann:TRADE", "pattern:ann:up@1"
ONE, TWO = Counts(n=3, s=1), Counts(n=2, s=2, pending=1)
LEDGERS = {BASE: {"2025-10-18": ONE, "2025-10-19": TWO}, PATTERN: {"2025-10-18": TWO}}
UNITS = {PATTERN: {"2025-10-18": Arms(n=2, s=2)}}

NUMBERS = st.integers(0, 2)
COUNTS = st.builds(lambda n, s, pending: Counts(n=n + s, s=s, pending=pending), *[NUMBERS] * 3)
SETS = st.dictionaries(
    st.sampled_from([BASE, PATTERN]),
    st.dictionaries(st.sampled_from(["2025-10-18", "2025-10-19"]), COUNTS),
)


def without_nothing(ledgers: dict[str, Days]) -> dict[str, Days]:
    kept = {
        subject: {day: counts for day, counts in days.items() if counts != Counts()}
        for subject, days in ledgers.items()
    }
    return {subject: days for subject, days in kept.items() if days}


@given(SETS, SETS)
def test_equal_digests_mean_equal_counts(one: dict[str, Days], other: dict[str, Days]) -> None:
    are_equal = without_nothing(one) == without_nothing(other)

    assert (digest_of(one, {}) == digest_of(other, {})) == are_equal


def test_the_order_of_ledgers_and_days_plays_no_part() -> None:
    turned = {subject: dict(reversed(days.items())) for subject, days in reversed(LEDGERS.items())}

    assert digest_of(turned, {}) == digest_of(LEDGERS, {})


def test_how_a_ledger_is_stored_plays_no_part() -> None:
    stored = {
        subject: {day: replace(counts, revision=7, units=2) for day, counts in days.items()}
        for subject, days in LEDGERS.items()
    }

    assert digest_of(stored, {}) == digest_of(LEDGERS, {})


def test_units_of_evidence_are_part_of_it() -> None:
    fewer = {PATTERN: {"2025-10-18": Arms(n=1)}}

    assert len({digest_of(LEDGERS, units) for units in ({}, UNITS, fewer)}) == 3


def test_it_is_the_same_in_every_release() -> None:
    assert digest_of({}, {}) == "cae66941d9efbd404e4d88758ea67670"
    assert digest_of(LEDGERS, UNITS) == "6fe10a0759f6f2f1c4b6c4b24fb97911"
