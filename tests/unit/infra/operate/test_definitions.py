"""A file of definitions is JSON, YAML or Markdown; faults name definition and attribute."""

import json
from pathlib import Path

import pytest

from sharpwave.infra.errors import Misused
from sharpwave.infra.operate.definitions import read_definitions
from sharpwave.schemas.patterns import PatternDefinition

PATTERN = PatternDefinition.model_validate(
    {
        "pattern_id": "whale_pump",
        "agent_id": "trade-executor",
        "decision_type": "TRADE_ENTRY",
        "conditions": [
            {"path": "inputs.whale_count", "op": "gt", "value": 5},
            {"path": "context.market.trend", "op": "eq", "value": "bullish"},
        ],
        "min_lift": 0.1,
        "shared_with": ["risk-manager", "market-hunter"],
    }
)
WORDS = "inputs.whale_count > 5 and context.market.trend = bullish"


def with_number(attribute: str) -> str:
    return f'{{"pattern_id": "x", "decision_type": "T", {attribute}}}'


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
        (
            '[{"pattern_id": "x", "decision_type": "T", "confidence": 1}]',
            "0.confidence: it is computed",
        ),
        ('[{"pattern_id": "x", "decision_type": "T", "agent": "a"}]', "agent: there is no such"),
        ("[1, 2]", "0: it is no map of attributes but 1; 1: it is no map of attributes but 2"),
        (str([*range(7)]), "4: it is no map of attributes but 4; and 2 more"),
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


def test_conditions_may_be_written_in_words(tmp_path: Path) -> None:
    path = tmp_path / "patterns.json"
    path.write_text(json.dumps({**PATTERN.model_dump(mode="json"), "conditions": WORDS}))

    assert read_definitions(path) == [PATTERN]


def test_yaml_says_what_json_says(tmp_path: Path) -> None:
    path = tmp_path / "patterns.yaml"
    path.write_text(
        f"""
- pattern_id: whale_pump
  agent_id: trade-executor
  decision_type: TRADE_ENTRY
  conditions: {WORDS}
  min_lift: 0.1
  shared_with: [risk-manager, market-hunter]
- pattern_id: on_is_a_word
  decision_type: TRADE_ENTRY
  conditions:
    - {{path: context.switch, op: in, value: [on, no]}}
"""
    )

    whale_pump, switch = read_definitions(path)

    assert whale_pump == PATTERN
    assert switch.conditions is not None
    assert switch.conditions.describe() == "context.switch in [on, no]"


def test_the_tables_of_a_markdown_file_are_definitions_a_row(tmp_path: Path) -> None:
    path = tmp_path / "patterns.md"
    path.write_text(
        rf"""
# What we believe

| who | why |
|---|---|
| we | not a table of patterns |

| pattern_id | agent_id | decision_type | min_lift | shared_with | conditions |
|:---|---|---|--:|---|---|
| `whale_pump` | trade-executor | **TRADE_ENTRY** | 0.1 | risk-manager, market-hunter | {WORDS} |

| pattern_id | decision_type | conditions | description |
|---|---|---|---|
| piped | TRADE_ENTRY | `inputs.x = "a\|b"` | a \| b |
| bare | TRADE_ENTRY | | |
"""
    )

    whale_pump, piped, bare = read_definitions(path)

    assert whale_pump == PATTERN
    assert (piped.agent_id, piped.description) == (None, "a | b")
    assert piped.conditions is not None
    assert piped.conditions.root[0].value == "a|b"
    assert bare.conditions is None


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("a.yaml", "- [", "cannot be read as YAML"),
        ("a.yaml", "{pattern_id: x, pattern_id: y}", "duplicate key"),
        ("a.yaml", "pattern_id: x", "definition 0.decision_type: Field required"),
        ("a.md", "words", "has no table with a column pattern_id"),
        (
            "a.md",
            "| pattern_id | colour |\n|---|---|\n| x | red |",
            "column 'colour' is no attribute of a pattern",
        ),
        (
            "a.md",
            "| pattern_id | decision_type | conditions |\n|---|---|---|\n| x | T | inputs.x ~ 5 |",
            "definition 0.conditions: .* cannot be read at '~'",
        ),
    ],
)
def test_a_fault_of_yaml_or_markdown_is_named_too(
    name: str, text: str, fault: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(text)

    with pytest.raises(Misused, match=fault):
        read_definitions(path)
