"""A pattern says whose decisions count, from when, and under which name they were applied."""

from typing import Any

import pytest
from pydantic import ValidationError

from sharpwave.schemas import keys
from sharpwave.schemas.patterns import (
    FrozenBase,
    PatternDefinition,
    PatternVersion,
    boundaries,
    content_hash,
    epoch_of,
)
from tests.world.records import decision
from tests.world.stores import START

UP = [{"path": "context.market", "op": "eq", "value": "up"}]


def version(**more: Any) -> PatternVersion:
    fields = {"pattern_id": "up", "agent_id": "ann", "decision_type": "TRADE", "conditions": UP}
    begin = int(START)
    return PatternVersion(
        definition=PatternDefinition.model_validate({**fields, **more}),
        version=3,
        effective_from=begin,
        effective_to=begin + 100,
        learned_at=begin,
    )


def up(**more: Any) -> dict[str, Any]:
    return decision(**{"context": {"market": "up"}, **more})


@pytest.mark.parametrize(
    ("made", "fits"),
    [
        (up(), True),
        (up(context={"market": "down"}), False),
        (up(agent="bob"), False),
        (up(kind="HEDGE"), False),
        (up(at=START - 1), False),
        (up(at=START + 99), True),
        (up(at=START + 100), False),
        ({**up(), "outcome": {"success": False}}, True),
    ],
)
def test_whose_decisions_count(made: dict[str, Any], *, fits: bool) -> None:
    assert version().counts(made) is fits


def test_a_domains_pattern_counts_every_agent() -> None:
    assert version(agent_id=None, domain="crypto").counts(up(agent="bob"))


@pytest.mark.parametrize(
    ("listed", "applied"),
    [
        (["up"], True),
        (["up@3"], True),
        (["up@2"], False),
        ({"up"}, True),
        ("up", False),
        (5, False),
        ([{"id": "up"}, ["up"]], False),
        ([{"id": "up"}, "up"], True),
    ],
)
def test_a_decision_names_what_it_applied(listed: object, *, applied: bool) -> None:
    made = decision(reasoning={"patterns_applied": listed})

    assert version().applied(made) is applied
    assert version(conditions=None).counts(made) is applied


@pytest.mark.parametrize("reasoning", [None, "up", ["up"], {}])
def test_reasoning_of_any_shape_can_be_asked(reasoning: object) -> None:
    assert not version().applied(decision(reasoning=reasoning))


def test_a_ledger_and_a_place_in_memory_follow_from_owner_and_version() -> None:
    mine, shared = version(), version(agent_id=None, domain="crypto")

    assert mine.subject == "pattern:ann:up@3"
    assert mine.pk == keys.pattern_pk("ann")
    assert shared.subject == "pattern:shared#crypto:up@3"
    assert shared.pk == keys.shared_pattern_pk("crypto")


def test_the_same_content_has_the_same_hash() -> None:
    one, other = version().definition, version(min_lift=0.1).definition

    assert content_hash(one) == content_hash(version().definition)
    assert content_hash(one) != content_hash(other)


@pytest.mark.parametrize(
    "wrong",
    [
        {"pattern_id": "a@1"},
        {"domain": "A B"},
        {"shards": 0},
        {"base_rate": 1},
        {"half_life_days": 0},
        {"colour": "red"},
        {"conditions": []},
        {"conditions": [{"path": "outcome.success", "op": "eq", "value": True}]},
    ],
)
def test_what_is_no_pattern(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        version(**wrong)


def test_a_version_reads_back() -> None:
    assert PatternVersion.model_validate_json(version().model_dump_json()) == version()


def lasting(begin: int, end: int | None = None, **more: object) -> PatternVersion:
    fields = {"pattern_id": "p", "agent_id": "ann", "decision_type": "TRADE", **more}
    definition = PatternDefinition.model_validate(fields)
    return PatternVersion(
        definition=definition, version=1, effective_from=begin, effective_to=end, learned_at=0
    )


@pytest.mark.parametrize(
    ("timestamp", "epoch"), [(0, 0), (99, 0), (100, 100), (199, 100), (200, 200), (10**10, 300)]
)
def test_an_epoch_begins_where_a_version_begins_or_ends(timestamp: int, epoch: int) -> None:
    versions = [lasting(100, 300), lasting(200, agent_id=None), lasting(100)]

    assert epoch_of(versions, "ann", "TRADE", timestamp) == epoch


def test_what_cannot_count_an_agents_decisions_begins_no_epoch_of_them() -> None:
    versions = [lasting(100, agent_id="bob"), lasting(150, decision_type="HEDGE")]

    assert epoch_of(versions, "ann", "TRADE", 1000) == 0
    assert boundaries(versions, "bob", "TRADE") == [0, 100]


def test_digests_that_were_stored_before_patterns_to_avoid_still_hold() -> None:
    definition = version().definition
    assert content_hash(definition) == "7f32fc61a25e2b1a273fa5b5"
    avoid = definition.model_copy(update={"kind": "avoid"})
    assert content_hash(avoid) != content_hash(definition)


def test_what_stands_beside_a_version_in_the_list_is_read_with_it() -> None:
    base = FrozenBase(p0=0.1 + 0.2, n=120, s=60, since="2025-10-18")
    known = version().model_copy(update={"base": base, "number": 3})
    assert PatternVersion.of_entry(known.entry()) == known
    assert "base" not in version().entry()
    older = {"version": version().model_dump_json(exclude={"origin", "parent", "reason", "base"})}
    assert PatternVersion.of_entry(older) == version()
    # What stands beside is not in what a succession writes back.
    assert known.entry()["version"] == version().entry()["version"]


def test_nothing_is_the_pipelines_own_pattern() -> None:
    with pytest.raises(ValidationError, match="names the pipeline itself"):
        version(agent_id="sharpwave")
