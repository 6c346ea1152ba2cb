"""A pattern's version says what is counted; words and readers may change without a new one."""

import json
from pathlib import Path

import pytest

from sharpwave.infra.errors import Misused
from sharpwave.infra.operate.patterns import Timing, counted_hash, described, read_definitions
from sharpwave.schemas.patterns import PatternDefinition

PATTERN = PatternDefinition.model_validate(
    {
        "pattern_id": "whale_pump",
        "agent_id": "trade-executor",
        "decision_type": "TRADE_ENTRY",
        "conditions": [{"path": "inputs.whale_count", "op": "gt", "value": 5}],
    }
)


def with_number(attribute: str) -> str:
    return f'{{"pattern_id": "x", "decision_type": "T", {attribute}}}'


@pytest.mark.parametrize(
    "change",
    [{"description": "whales"}, {"shared_with": ["risk-manager"]}, {"shards": 8}],
    ids=str,
)
def test_words_readers_and_what_has_no_effect_do_not_change_what_is_counted(
    change: dict[str, object],
) -> None:
    assert counted_hash(PATTERN.model_copy(update=change)) == counted_hash(PATTERN)


@pytest.mark.parametrize(
    "change", [{"conditions": None}, {"decision_type": "TRADE_EXIT"}, {"base_rate": 0.5}], ids=str
)
def test_anything_else_does(change: dict[str, object]) -> None:
    assert counted_hash(PATTERN.model_copy(update=change)) != counted_hash(PATTERN)


@pytest.mark.parametrize("now", [1000.0, 1000.4, 1000.999])
def test_a_version_counts_only_when_every_worker_knows_it(now: float) -> None:
    timing = Timing(clock_skew_s=5, cache_s=5)

    start = timing.effective_from(now)

    assert now + 15 <= start < now + 16


def test_a_pattern_without_words_of_its_own_reads_as_its_conditions() -> None:
    assert described(PATTERN) == "inputs.whale_count > 5"
    assert described(PATTERN.model_copy(update={"description": "whales"})) == "whales"
    assert "patterns_applied" in described(PATTERN.model_copy(update={"conditions": None}))


def test_a_file_holds_one_definition_or_a_list(tmp_path: Path) -> None:
    one, many = tmp_path / "one.json", tmp_path / "many.json"
    definition = PATTERN.model_dump(mode="json")
    one.write_text(json.dumps(definition))
    many.write_text(json.dumps([definition, {**definition, "pattern_id": "other"}]))

    assert read_definitions(one) == [PATTERN]
    assert [each.pattern_id for each in read_definitions(many)] == ["whale_pump", "other"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", "cannot be read as JSON"),
        ('{"pattern_id": "x"}', "definition 0.decision_type: Field required"),
        ('[{"pattern_id": "x", "decision_type": "T", "confidence": 1}]', "0.confidence"),
        ("[1, 2]", r"\(and 1 more\)"),
        (
            with_number('"half_life_days": Infinity'),
            "0.half_life_days: inf is not a number DynamoDB can hold; leave it out instead",
        ),
        (
            with_number('"base_rate": 1e-300'),
            "0.base_rate: 1e-300 is outside 1e-130 to 1e125; give one within, or leave it out",
        ),
        (with_number('"min_lift": 1e-200'), "0.min_lift: 1e-200 is outside"),
        (
            with_number('"conditions": [{"path": "context.x", "op": "lt", "value": 1e200}]'),
            r"0.conditions.0.value: 1e\+200 is outside",
        ),
    ],
)
def test_a_faulty_file_names_the_definition_and_the_attribute(
    text: str, fault: str, tmp_path: Path
) -> None:
    path = tmp_path / "patterns.json"
    path.write_text(text)

    with pytest.raises(Misused, match=fault):
        read_definitions(path)
