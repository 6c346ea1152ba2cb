"""A pattern's version says what is counted; words and readers may change without a new one."""

import pytest

from sharpwave.infra.operate.patterns import Timing
from sharpwave.schemas.patterns import PatternDefinition
from sharpwave.workers.patterns.admission import counted_hash, described

PATTERN = PatternDefinition.model_validate(
    {
        "pattern_id": "whale_pump",
        "agent_id": "trade-executor",
        "decision_type": "TRADE_ENTRY",
        "conditions": [{"path": "inputs.whale_count", "op": "gt", "value": 5}],
    }
)


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
