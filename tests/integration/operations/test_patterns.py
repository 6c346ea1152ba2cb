"""Importing a pattern twice changes nothing; a changed one succeeds the version before it."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Conflict, Misused
from sharpwave.infra.items import Items
from sharpwave.infra.operate import patterns
from sharpwave.infra.operate.patterns import (
    Imported,
    import_patterns,
    known_versions,
    list_patterns,
    show_pattern,
)
from sharpwave.schemas import keys
from sharpwave.schemas.keys import Key
from sharpwave.schemas.patterns import PatternDefinition, PatternRow
from sharpwave.workers.patterns import admission

NOW = 1_760_797_800
OWN = keys.pattern_pk("trade-executor")


def pattern(threshold: int = 5, **change: Any) -> PatternDefinition:
    condition = {"path": "inputs.whale_count", "op": "gt", "value": threshold}
    definition = {
        "pattern_id": "whale_pump",
        "agent_id": "trade-executor",
        "decision_type": "TRADE_ENTRY",
        "conditions": [condition],
        **change,
    }
    return PatternDefinition.model_validate(definition)


def put(deployment: Deployment, definition: PatternDefinition, *, now: int = NOW) -> Imported:
    (done,) = import_patterns(deployment, [definition], now=now)
    return done


def row(deployment: Deployment, sk: str = "whale_pump", pk: str = OWN) -> dict[str, Any]:
    found = Items(deployment).get("agent_memory_ltm", Key(pk, sk))
    assert found is not None
    return found


def test_a_new_pattern_has_a_current_row_a_version_and_an_entry(deployment: Deployment) -> None:
    done = put(deployment, pattern())

    current = PatternRow.model_validate(row(deployment))
    (version,) = known_versions(Items(deployment))
    assert (done.change, done.version) == ("created", 1)
    assert current.version == 1
    assert current.description == "inputs.whale_count > 5"
    assert version.definition == pattern()
    assert version.effective_from == done.effective_from == NOW + 15
    assert version.effective_to is None
    assert row(deployment, "whale_pump@1")["definition"]["conditions"][0]["value"] == 5


def test_the_same_import_again_changes_nothing(deployment: Deployment) -> None:
    put(deployment, pattern())
    before = row(deployment)

    again = put(deployment, pattern(), now=NOW + 3600)

    assert (again.change, again.version) == ("unchanged", 1)
    assert row(deployment) == before


def test_a_pattern_that_counts_otherwise_succeeds_without_a_gap_or_overlap(
    deployment: Deployment,
) -> None:
    put(deployment, pattern(5))
    figures = {"sample_size": 40, "GSI1_SK": 1, "confidence": 1, "figures_rev": 7}
    Items(deployment).update("agent_memory_ltm", Key(OWN, "whale_pump"), figures)

    done = put(deployment, pattern(9), now=NOW + 3600)

    first, second = sorted(known_versions(Items(deployment)), key=lambda each: each.version)
    current = row(deployment)
    assert (done.change, done.version) == ("new version", 2)
    assert first.effective_to == second.effective_from == NOW + 3600 + 15
    assert second.effective_to is None
    assert current["version"] == 2
    assert current["figures_rev"] == 8
    assert not {"sample_size", "confidence", "GSI1_SK"} & current.keys()
    assert row(deployment, "whale_pump@1")["definition"]["conditions"][0]["value"] == 5
    assert row(deployment, "whale_pump@1")["effective_to"] == second.effective_from


def test_what_a_newer_release_imported_is_read_and_not_overwritten(
    deployment: Deployment,
) -> None:
    put(deployment, pattern())
    (version,) = known_versions(Items(deployment))
    place, text = keys.known_pattern(version.subject), json.loads(version.model_dump_json())
    newer = json.dumps({**text, "definition": {**text["definition"], "colour": "green"}})
    Items(deployment).update("pipeline", place, {"version": newer})

    assert list(known_versions(Items(deployment))) == [version]
    with pytest.raises(Misused, match="by a newer release"):
        put(deployment, pattern(9), now=NOW + 3600)
    assert Items(deployment).get("pipeline", place) == {**place.item(), "version": newer}

    unknown = newer.replace('"gt"', '"resembles"')
    Items(deployment).update("pipeline", place, {"version": unknown})
    assert list_patterns(deployment) == []


def test_a_version_without_conditions_shows_none(deployment: Deployment) -> None:
    put(deployment, pattern())

    put(deployment, pattern(conditions=None), now=NOW + 60)

    assert "conditions" not in row(deployment)
    assert "patterns_applied" in row(deployment)["description"]


def test_new_words_keep_version_and_evidence(deployment: Deployment) -> None:
    put(deployment, pattern())
    Items(deployment).update("agent_memory_ltm", Key(OWN, "whale_pump"), {"sample_size": 40})

    done = put(deployment, pattern(description="whales pump"), now=NOW + 60)

    (version,) = known_versions(Items(deployment))
    assert (done.change, done.version) == ("changed in place", 1)
    assert row(deployment)["description"] == "whales pump"
    assert row(deployment)["sample_size"] == 40
    assert version.definition.description == "whales pump"
    assert version.effective_from == NOW + 15


def test_readers_get_a_copy_and_lose_it_again(deployment: Deployment) -> None:
    sk, reader = "pattern#trade-executor#whale_pump", keys.shared_with_pk("risk-manager")
    put(deployment, pattern(shared_with=["risk-manager", "market-hunter"]))
    assert PatternRow.model_validate(row(deployment, sk, reader)).is_shared

    put(deployment, pattern(shared_with=["market-hunter"]))

    items = Items(deployment)
    assert items.get("agent_memory_ltm", Key(reader, sk)) is None
    assert items.get("agent_memory_ltm", Key(keys.shared_with_pk("market-hunter"), sk))
    assert row(deployment)["shared_with"] == ["market-hunter"]


def test_a_copy_keeps_the_figures_that_workers_gave_it(deployment: Deployment) -> None:
    copy = keys.shared_pattern_copy("risk-manager", "trade-executor", "whale_pump")
    put(deployment, pattern(shared_with=["risk-manager"]))
    Items(deployment).update("agent_memory_ltm", copy, {"sample_size": 40, "figures_rev": 3})

    put(deployment, pattern(shared_with=["risk-manager"]))
    put(deployment, pattern(shared_with=["risk-manager"], description="whales pump"))

    found = row(deployment, copy.sk, copy.pk)
    assert (found["sample_size"], found["figures_rev"]) == (40, 3)
    assert found["description"] == "whales pump"
    put(deployment, pattern(9, shared_with=["risk-manager"]), now=NOW + 60)
    assert row(deployment, copy.sk, copy.pk)["version"] == 2
    assert "sample_size" not in row(deployment, copy.sk, copy.pk)


def test_a_pattern_of_a_domain_is_found_in_its_partition(deployment: Deployment) -> None:
    put(deployment, pattern(agent_id=None, domain="markets"))

    found = row(deployment, pk="shared#pattern#markets")
    assert found["is_shared"] is True
    assert found["GSI2_PK"] == "shared#pattern#markets"
    assert show_pattern(deployment, "whale_pump").owner == "shared#markets"


def test_concurrent_imports_never_leave_two_current_versions(deployment: Deployment) -> None:
    put(deployment, pattern(1))

    def attempt(threshold: int) -> str:
        try:
            return put(deployment, pattern(threshold), now=NOW + threshold).change
        except Conflict:
            return "conflict"

    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(attempt, range(2, 8)))

    versions = sorted(known_versions(Items(deployment)), key=lambda each: each.version)
    assert outcomes.count("new version") == len(versions) - 1 >= 1
    assert [each.version for each in versions] == list(range(1, len(versions) + 1))
    assert [each.effective_to for each in versions if each.effective_to is None] == [None]
    assert row(deployment)["version"] == versions[-1].version


@pytest.mark.parametrize("filters", [{"agent_id": "nobody"}, {"domain": "none"}], ids=str)
def test_a_list_may_be_narrowed(deployment: Deployment, filters: dict[str, str]) -> None:
    put(deployment, pattern())

    assert [view.pattern_id for view in list_patterns(deployment)] == ["whale_pump"]
    assert list_patterns(deployment, **filters) == []


def test_the_command_imports_lists_and_shows(
    deployment: Deployment, sharpwave: Any, tmp_path: Path
) -> None:
    path = tmp_path / "patterns.json"
    path.write_text(json.dumps([pattern().model_dump(mode="json")]))

    assert sharpwave("patterns", "import", str(path), "--dry-run")[1]["dry_run"] is True
    assert list_patterns(deployment) == []
    assert sharpwave("patterns", "import", str(path))[1]["patterns"][0]["change"] == "created"
    assert sharpwave("patterns", "ls")[1][0]["current"]["version"] == 1
    assert sharpwave("patterns", "show", "whale_pump")[1]["versions"][0]["version"] == 1
    code, error = sharpwave("patterns", "show", "nothing")
    assert (code, error["kind"]) == (1, "Missing")
    memory = sharpwave("memory", "recall", "trade-executor")[1]
    assert [item["SK"] for item in memory["patterns"]] == ["whale_pump"]


def judge_until(deployment: Deployment, until: int) -> None:
    Items(deployment).put("pipeline", {**keys.judged().item(), "until": until})


def test_a_version_begins_after_what_workers_have_judged(deployment: Deployment) -> None:
    judge_until(deployment, NOW + 100)

    assert put(deployment, pattern()).effective_from == NOW + 101


@pytest.mark.parametrize("is_new", [True, False])
def test_a_version_that_workers_overtook_begins_later(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, *, is_new: bool
) -> None:
    """As if the import had been frozen between its first read and its write."""
    if not is_new:
        put(deployment, pattern(5))
    judge_until(deployment, NOW + 3_700)
    judged, seen = patterns._judged, iter([-1])
    monkeypatch.setattr(patterns, "_judged", lambda items: next(seen, judged(items)))

    done = put(deployment, pattern(9), now=NOW + 3_600)

    assert done.effective_from == NOW + 3_701
    assert done.version == (1 if is_new else 2)


def test_an_import_that_is_overtaken_again_and_again_says_so(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge_until(deployment, NOW + 3_700)
    judged, seen = patterns._judged, iter(range(6))
    late = lambda items: -1 if next(seen, 1) % 2 == 0 else judged(items)  # noqa: E731
    monkeypatch.setattr(patterns, "_judged", late)

    with pytest.raises(Conflict, match="workers are beyond its beginning; run it again"):
        put(deployment, pattern(), now=NOW)
    assert list(known_versions(Items(deployment))) == []


def test_an_import_asks_for_figures_and_again_for_those_of_new_copies(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks = iter(("first", "second"))
    monkeypatch.setattr(admission, "ulid", lambda: next(marks))
    put(deployment, pattern(shared_with=["risk-manager"]))

    mark = keys.changed("pattern:trade-executor:whale_pump@1", "2025-10-18")
    assert (Items(deployment).get("pipeline", mark) or {})["rev"] == "second"
