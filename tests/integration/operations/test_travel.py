"""Time travel: what the tables of patterns held at a moment, made anew from the archive alone."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from sharpwave.infra.connection import Deployment, connect
from sharpwave.infra.errors import Missing, Misused, Rejected
from sharpwave.infra.items import Items
from sharpwave.infra.operate.digest import digest_of
from sharpwave.infra.operate.patterns import import_patterns, list_patterns, show_pattern
from sharpwave.infra.operate.pictures import pictures_of
from sharpwave.infra.operate.replay import replay, replay_rules
from sharpwave.infra.operate.travel import travel
from sharpwave.infra.operate.verify import archive_at, known_patterns
from sharpwave.infra.provision.structure import destroy
from sharpwave.schemas import keys
from sharpwave.schemas.numbers import item_to_wire
from sharpwave.schemas.patterns import PatternDefinition
from sharpwave.schemas.tables import DECISIONS, MEMORY, PIPELINE, TABLES
from sharpwave.schemas.times import iso_ms
from sharpwave.workers.archive import lines_of
from sharpwave.workers.aws.archive import FolderArchive
from sharpwave.workers.patterns.policy import Policy
from sharpwave.workers.patterns.publish import attributes
from sharpwave.workers.patterns.recount import Recount

Raw = Mapping[str, Callable[..., Any]]

#: 2025-10-18T14:30:00Z
START = 1_760_797_800
DAY = 86_400
KIND = "SOURCE_SELECTION"
UP = {
    "pattern_id": "up",
    "agent_id": "hunter",
    "decision_type": KIND,
    "conditions": [{"path": "context.market", "op": "eq", "value": "up"}],
    "shared_with": ["trader"],
}
DOWN = {
    "pattern_id": "down",
    "decision_type": KIND,
    "conditions": [{"path": "context.market", "op": "eq", "value": "down"}],
}


def states(raw: Raw) -> list[dict[str, Any]]:
    """Make three days of decisions of two agents, most with an outcome, some corrected."""
    made = []
    for number in range(36):
        agent, market = ("hunter", "trader")[number % 2], ("up", "down")[number // 2 % 2]
        at = START + number % 3 * DAY + number
        item = raw["decision"](agent, at=at, context={"market": market, "cycle": number})
        item["decision_id"] = f"d{number}"
        item["SK"] = keys.dated_sk(iso_ms(at), f"d{number}")
        made.append(item)
        if number % 5:
            first = {"success": number % 7 > 2, "quality_score": Decimal("0.5")}
            made.append({**item, "outcome": first})
        if number % 8 == 1:
            made.append({**item, "outcome": {"success": False}, "outcome_rev": 2})
    return made


def store(folder: Path, made: Sequence[Mapping[str, Any]], *, parts: int = 2) -> str:
    """Archive states in so many parts a day."""
    lines: dict[str, list[str]] = {}
    for item in made:
        entry = {
            "event_id": f"e{len(lines)}",
            "state": "outcome" if "outcome" in item else "insert",
            "table": DECISIONS,
            "key": [item["PK"], item["SK"]],
            "stored_at": START,
            "image": item_to_wire(item),
        }
        for day, texts in lines_of([entry]).items():
            lines.setdefault(day, []).extend(texts)
    archive = FolderArchive(folder)
    for day, texts in lines.items():
        for part in range(parts):
            if texts[part::parts]:
                archive.write(day, texts[part::parts])
    return f"file://{folder}"


@pytest.fixture
def known(deployment: Deployment) -> Deployment:
    """A deployment that knows two patterns and counted nothing: only its list is read."""
    definitions = [PatternDefinition.model_validate(each) for each in (UP, DOWN)]
    import_patterns(deployment, definitions, now=START - DAY)
    return deployment


@pytest.fixture
def elsewhere(known: Deployment) -> Iterator[Callable[[], Deployment]]:
    """Give deployments beside the known one; they go with the test."""
    made: list[Deployment] = []

    def beside() -> Deployment:
        prefix = f"{known.prefix}-{len(made)}"
        made.append(connect({}, endpoint_url=known.endpoint_url, prefix=prefix))
        return made[-1]

    yield beside
    for each in made:
        destroy(each)


def contents(deployment: Deployment) -> dict[str, list[Any]]:
    """Read every table whole, byte for byte."""
    return {
        table.name: sorted(
            Items(deployment).scan(table.name), key=lambda item: str(item["PK"]) + str(item["SK"])
        )
        for table in TABLES
    }


def test_equal_archives_give_equal_tables_byte_for_byte(
    known: Deployment, elsewhere: Callable[[], Deployment], tmp_path: Path, raw: Raw
) -> None:
    made = states(raw)
    mixed = [*made, *made[:20]]
    random.Random(7).shuffle(mixed)
    first, second = elsewhere(), elsewhere()

    one = travel(known, store(tmp_path / "one", made), into=first)
    two = travel(known, store(tmp_path / "two", mixed, parts=5), into=second)

    assert contents(first) == contents(second)
    assert (one.digest, one.states) == (two.digest, two.states)
    assert one.states == len(made)
    # What only says that something is on its way is gone.
    assert not [item for item in contents(first)[PIPELINE] if "changed#" in item["PK"]["S"]]


def test_rows_and_ledgers_are_what_the_archive_says(
    known: Deployment, elsewhere: Callable[[], Deployment], tmp_path: Path, raw: Raw
) -> None:
    url, there = store(tmp_path / "archive", states(raw)), elsewhere()

    done = travel(known, url, into=there)

    with Recount(known_patterns(known).versions) as recount:
        recount.read(archive_at(known, url))
        assert done.digest == digest_of(recount.counts(), recount.arms())
    figures = replay(known, url)
    for pk, name, owner in (
        (keys.pattern_pk("hunter"), "up", "hunter"),
        (keys.shared_pattern_pk("general"), "down", "shared#general"),
    ):
        row = Items(there).get(MEMORY, keys.Key(pk, name)) or {}
        expected = attributes(figures[keys.pattern_subject(owner, name, 1)])
        assert {name: row.get(name) for name in expected if name[:3] != "GSI"} == {
            name: value for name, value in expected.items() if name[:3] != "GSI"
        }
        assert row["sample_size"] > 0
    copy = Items(there).get(MEMORY, keys.shared_pattern_copy("trader", "hunter", "up")) or {}
    assert copy["sample_size"] == figures["pattern:hunter:up@1"].n


def test_until_an_earlier_day_the_tables_are_those_of_that_day(
    known: Deployment, elsewhere: Callable[[], Deployment], tmp_path: Path, raw: Raw, sharpwave: Any
) -> None:
    made = states(raw)
    # A version that began on the third day.
    later = PatternDefinition.model_validate({**UP, "conditions": None})
    import_patterns(known, [later], now=START + 2 * DAY - 7_200)
    early = [item for item in made if item["timestamp"] < START + DAY + 3_600]
    whole, part = elsewhere(), elsewhere()

    code, done = sharpwave(
        *("replay", "--until", "2025-10-19", "--into", whole.prefix),
        *("--archive", store(tmp_path / "whole", made)),
    )
    travel(known, store(tmp_path / "early", early), into=part, until="2025-10-19")

    assert (code, done["states"], done["versions"]) == (0, len(early), 2)
    assert contents(whole) == contents(part)
    row = Items(whole).get(MEMORY, keys.Key(keys.pattern_pk("hunter"), "up")) or {}
    assert (row["version"], row["as_of"]) == (1, "2025-10-19")
    assert "effective_to" not in (
        Items(whole).get(MEMORY, keys.Key(keys.pattern_pk("hunter"), "up@1")) or {}
    )


def test_what_is_there_can_be_looked_at_as_ever(
    known: Deployment, elsewhere: Callable[[], Deployment], tmp_path: Path, raw: Raw
) -> None:
    there = elsewhere()
    travel(known, store(tmp_path / "archive", states(raw)), into=there)

    assert {view.pattern_id: view.row["sample_size"] > 0 for view in list_patterns(there)} == {
        "up": True,
        "down": True,
    }
    assert [each.definition.pattern_id for each in show_pattern(there, "up").versions] == ["up"]


def test_tables_that_hold_anything_are_refused(
    known: Deployment, elsewhere: Callable[[], Deployment], tmp_path: Path, raw: Raw
) -> None:
    url, there = store(tmp_path / "archive", states(raw)), elsewhere()
    travel(known, url, into=there)
    before = contents(there)

    with pytest.raises(Misused, match="holds something"):
        travel(known, url, into=there)
    with pytest.raises(Misused, match="that of the deployment itself"):
        travel(known, url, into=known)

    assert contents(there) == before


def test_a_dry_run_and_an_archive_that_is_none_write_nothing(
    known: Deployment, elsewhere: Callable[[], Deployment], tmp_path: Path, raw: Raw
) -> None:
    url, there = store(tmp_path / "archive", states(raw)), elsewhere()

    planned = travel(known, url, into=there, dry_run=True)
    part = next((tmp_path / "archive").glob("day=*/*.gz"))
    part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(Rejected, match="damaged"):
        travel(known, url, into=there)
    with pytest.raises(Rejected, match="nothing is archived at file:///nowhere"):
        travel(known, "file:///nowhere", into=there)

    assert (planned.states, planned.versions) == (len(states(raw)), 2)
    assert not destroy(there, dry_run=True).steps


def test_definitions_that_were_never_imported_are_counted_from_the_beginning(
    known: Deployment, elsewhere: Callable[[], Deployment], tmp_path: Path, raw: Raw
) -> None:
    made, there = states(raw), elsewhere()
    definition = PatternDefinition.model_validate({**UP, "pattern_id": "never"})

    travel(known, store(tmp_path / "a", made), into=there, definitions=[definition])

    row = Items(there).get(MEMORY, keys.Key(keys.pattern_pk("hunter"), "never")) or {}
    assert row["sample_size"] > 0
    assert Items(there).get(MEMORY, keys.Key(keys.pattern_pk("hunter"), "up")) is None


def test_other_rules_are_held_beside_the_present_ones(
    known: Deployment, tmp_path: Path, raw: Raw, sharpwave: Any
) -> None:
    assert list_patterns(known), "of which the rules are asked"
    url, file = store(tmp_path / "archive", states(raw)), tmp_path / "policy.json"
    file.write_text('{"alpha": 0.5, "min_units": 3}')

    code, found = sharpwave("replay", "--policy", str(file), "--archive", url)

    assert (code, [each["alpha"] for each in found["policies"]]) == (0, [0.1, 0.5])
    assert set(found["patterns"]) == {"pattern:hunter:up@1", "pattern:shared#general:down@1"}
    assert {name: set(both) for name, both in found["patterns"].items()} == {
        name: {"present", "file"} for name in found["patterns"]
    }
    file.write_text('{"alfa": 0.5}')
    assert sharpwave("replay", "--policy", str(file), "--archive", url)[0] == 2


def test_a_pattern_is_drawn_from_its_ledgers(
    known: Deployment, elsewhere: Callable[[], Deployment], tmp_path: Path, raw: Raw, sharpwave: Any
) -> None:
    made = [{**item, "reasoning": {"confidence": Decimal("0.7")}} for item in states(raw)]
    url, there = store(tmp_path / "archive", made), elsewhere()
    travel(known, url, into=there)

    pictures = {each.name: each for each in pictures_of(there, "up", "hunter", Policy())}

    assert set(pictures) == {"confidence", "evidence", "reliability", "budget"}
    days = [str(row[0]) for row in pictures["confidence"].rows]
    assert days == ["2025-10-18", "2025-10-19", "2025-10-20"]
    row = Items(there).get(MEMORY, keys.Key(keys.pattern_pk("hunter"), "up")) or {}
    assert pictures["confidence"].rows[-1][1] == row["sample_size"]
    (tenth,) = pictures["reliability"].rows
    assert (tenth[0], tenth[2]) == (0.7, 0.7)
    code, said = sharpwave("patterns", "plot", "up", "--out", str(tmp_path / "pictures"))
    assert (code, list(tmp_path.glob("pictures/*"))) == (1, [])
    assert "nothing to draw" in said["error"]
    assert pictures_of(there, "up", "hunter", Policy(), number=1) == [*pictures.values()]
    with pytest.raises(Missing, match="up has no version 2; there are: 1"):
        pictures_of(there, "up", "hunter", Policy(), number=2)


def test_lives_are_relived_and_are_those_that_the_walk_tells(
    known: Deployment, elsewhere: Callable[[], Deployment], tmp_path: Path, raw: Raw
) -> None:
    draws, made = random.Random(3), []
    for number in range(240):
        day, of_day = divmod(number, 20)
        market = ("up", "down")[number % 2]
        # For eight days it is a good pattern, and then a bad one.
        chance = (0.95 if day < 8 else 0.05) if market == "up" else 0.4
        at = START + day * DAY + of_day
        item = raw["decision"]("hunter", at=at, context={"market": market, "cycle": number})
        item |= {"decision_id": f"d{number}", "SK": keys.dated_sk(iso_ms(at), f"d{number}")}
        made.append({**item, "outcome": {"success": draws.random() < chance}})
    url, first, second = store(tmp_path / "archive", made), elsewhere(), elsewhere()
    definitions = [PatternDefinition.model_validate({**UP, "base_rate": 0.5, "shared_with": []})]

    travel(known, url, into=first, definitions=definitions)
    travel(known, url, into=second, definitions=definitions)

    assert contents(first) == contents(second)
    (told,) = replay_rules(known, url, [Policy()], definitions=definitions)
    walked = told["pattern:hunter:up@1"]
    history = [
        item
        for item in Items(first).query(PIPELINE, keys.life("pattern:hunter:up@1", 1).pk)
        if "to" in item
    ]
    assert walked.first("promoted")
    assert walked.first("retired")
    assert [item["to"] for item in history] == [turn.state for turn in walked.turns]
    assert [iso_ms(item["at"])[:10] for item in history] == [turn.day for turn in walked.turns]
