"""`verify` passes when everything that was written is counted right, and names what is not."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from threading import Timer
from typing import Any, Literal

import pytest

from sharpwave.infra.connection import Deployment
from sharpwave.infra.items import Items
from sharpwave.infra.local import Backend
from sharpwave.infra.local.stack import writes_on
from sharpwave.infra.mailbox import Mailbox, Received
from sharpwave.infra.operate.agents import remove_agent
from sharpwave.infra.operate.patterns import import_patterns
from sharpwave.infra.operate.pictures import pictures_of
from sharpwave.infra.operate.replay import replay
from sharpwave.infra.operate.verify import verify
from sharpwave.schemas import keys
from sharpwave.schemas.patterns import PatternDefinition, PatternVersion
from sharpwave.schemas.tables import DECISIONS, MEMORY, PIPELINE
from sharpwave.schemas.times import iso_ms
from sharpwave.workers.aws.clients import Clients
from sharpwave.workers.aws.tables import TableReads
from sharpwave.workers.aws.writes import TableTransactions
from sharpwave.workers.main import build_router, compose_on_aws
from sharpwave.workers.patterns.admission import Admission
from sharpwave.workers.patterns.policy import Policy
from sharpwave.workers.patterns.publish import attributes
from sharpwave.workers.settings import Settings
from sharpwave.workers.work import ticks
from sharpwave.workers.work.outgoing import WorkMessage

Raw = Mapping[str, Callable[..., Any]]
Writes = Literal["batched", "single"]

AGENTS = ("hunter", "trader", "stranger")
KIND = "SOURCE_SELECTION"
LONG_AGO = time.time() - 10 * 86_400
SUBJECT = "pattern:hunter:up@1"
DEFINITIONS = [
    {
        "pattern_id": "up",
        "agent_id": "hunter",
        "decision_type": KIND,
        "conditions": [{"path": "context.market", "op": "eq", "value": "up"}],
    },
    {
        "pattern_id": "down",
        "decision_type": KIND,
        "conditions": [{"path": "context.market", "op": "eq", "value": "down"}],
    },
]


class Scene:
    """A deployment whose workers are this process, and whose stream is what the test feeds."""

    def __init__(self, deployment: Deployment, folder: Path, raw: Raw, writes: Writes) -> None:
        self.raw, self.writes = raw, writes
        self.deployment, self.items, self.folder = deployment, Items(deployment), folder
        self.archive = f"file://{folder}"
        settings = Settings(
            prefix=deployment.prefix, archive=self.archive, archive_linger_s=0, writes=writes
        )
        made = Clients(deployment.dynamodb, None, deployment.sqs, None)
        self.route = build_router(settings)
        self.actors = {
            name: handle
            for duties in compose_on_aws(settings, made).handlers.values()
            for name, handle in duties.items()
        }
        self.decisions: list[dict[str, Any]] = []

    def decide(self, number: int, agent: str, market: str) -> dict[str, Any]:
        at = time.time() - 3 * 86_400 * (number % 2)
        context = {"market": market, "cycle": number}
        decision: dict[str, Any] = self.raw["decision"](agent, at=at, context=context)
        return decision

    def write(self, item: dict[str, Any]) -> None:
        """Store a decision without a stream that would carry it."""
        self.items.put(DECISIONS, item)
        self.decisions.append(item)

    def carry(self, *items: dict[str, Any], old: dict[str, Any] | None = None) -> None:
        """Do to decisions what pump and workers do."""
        records = [self.raw["record"](item, old=old) for item in items]
        for message in self.route(DECISIONS, records):
            self.handle(message)

    def handle(self, message: WorkMessage) -> None:
        body = json.loads(message.body)
        self.actors[body["actor_name"]](body["kwargs"]["entries"])

    def publish(self) -> None:
        self.handle(ticks.tick(ticks.FIGURES, clock=time.time))

    def parts(self) -> list[Path]:
        return sorted(self.folder.glob("day=*/*.gz"))


@pytest.fixture
def scene(deployment: Deployment, tmp_path: Path, raw: Raw, backend: Backend) -> Scene:
    """Two patterns and eighteen decisions on two days, counted, archived and published."""
    scene = Scene(deployment, tmp_path / "archive", raw, writes_on(backend.name))
    definitions = [PatternDefinition.model_validate(each) for each in DEFINITIONS]
    import_patterns(deployment, definitions, now=LONG_AGO)
    lived(scene)
    return scene


def lived(scene: Scene) -> None:
    for number in range(18):
        market = "up" if number % 3 else "down"
        item = scene.decide(number, AGENTS[number % 2 + number // 12], market)
        if number % 4:
            item["outcome"] = {"success": number % 5 > 1, "quality_score": Decimal("0.5")}
        scene.write(item)
    scene.carry(*scene.decisions)
    scene.publish()


@pytest.fixture
def found(deployment: Deployment, tmp_path: Path, raw: Raw, backend: Backend) -> Scene:
    """The same decisions, and a candidate that a worker found: base ledgers count it along."""
    scene = Scene(deployment, tmp_path / "archive", raw, writes_on(backend.name))
    admission = Admission(
        reads=TableReads(deployment.dynamodb, prefix=deployment.prefix),
        transactions=TableTransactions(deployment.dynamodb, prefix=deployment.prefix),
        clock=lambda: LONG_AGO,
        lead_s=1.0,
        policy=Policy(),
    )
    definition = PatternDefinition.model_validate(DEFINITIONS[0])
    made = admission.admit(definition, origin="discovery", parent=None, reason="seen")
    assert made is not None
    assert made.is_seated
    lived(scene)
    return scene


def test_what_has_a_seat_is_verified_as_what_has_a_ledger(found: Scene, sharpwave: Any) -> None:
    code, said = sharpwave("verify", "--archive", found.archive, "--wait", "0")

    assert (code, said["ok"], said["findings"]) == (0, True, [])
    assert said["digest"] == said["archived_digest"]
    row = found.items.get(MEMORY, keys.Key(keys.pattern_pk("hunter"), "up")) or {}
    assert row["sample_size"] > 0
    assert not heads(found, SUBJECT)
    code, told = sharpwave("analytics", "--recount", "--archive", found.archive)
    assert code == 0
    assert sum(each["volume"] for each in told["rows"] if each["kind"] == "pattern") > 0
    confidence, *_ = pictures_of(found.deployment, "up", "hunter", Policy())
    assert confidence.rows[-1][1] == row["sample_size"]


def test_a_seat_that_counts_otherwise_is_named(found: Scene, sharpwave: Any) -> None:
    version = PatternVersion.of_entry(found.items.get(PIPELINE, keys.known_pattern(SUBJECT)) or {})
    base = keys.base_subject("hunter", KIND, version.effective_from)
    head = heads(found, base)[0]
    row = (found.items.get(PIPELINE, head) or {})["c"]
    row[13][0][1] -= 1
    assert found.items.update(PIPELINE, head, {"c": row})

    code, said = sharpwave("verify", "--archive", found.archive, "--wait", "0")

    assert code == 1
    kinds = {finding["kind"]: finding["what"] for finding in said["findings"]}
    assert kinds.keys() == {"not_counted", "not_summed"}
    assert SUBJECT in kinds["not_counted"]
    assert base in kinds["not_summed"]


def test_what_agrees_is_verified(scene: Scene, sharpwave: Any) -> None:
    code, found = sharpwave("verify", "--archive", scene.archive, "--wait", "0")

    assert (code, found["ok"], found["findings"]) == (0, True, [])
    assert (found["decisions"], found["patterns_checked"]) == (18, 2)
    assert found["ledgers_checked"] > 2
    assert found["digest"] == found["archived_digest"]


def test_what_is_published_is_what_a_replay_says(scene: Scene) -> None:
    replayed = replay(scene.deployment, scene.archive)

    for pk, name in (
        (keys.pattern_pk("hunter"), "up"),
        (keys.shared_pattern_pk("general"), "down"),
    ):
        row = scene.items.get(MEMORY, keys.Key(pk, name)) or {}
        owner = "hunter" if name == "up" else "shared#general"
        figures = attributes(replayed[keys.pattern_subject(owner, name, 1)])
        shown = {name: row.get(name) for name in figures if not name.startswith("GSI")}
        assert shown == {name: figures[name] for name in shown}
        assert row["sample_size"] > 0


def test_cloudwatch_is_told_what_a_recount_found_once_nothing_is_on_its_way(
    scene: Scene,
    sharpwave: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def told() -> list[Any]:
        capsys.readouterr()
        sharpwave("verify", "--archive", scene.archive, "--wait", "0")
        lines = map(json.loads, filter(None, capsys.readouterr().err.splitlines()))
        return [(line["Deployment"], line["Miscounts"]) for line in lines]

    assert told() == []
    monkeypatch.setenv("SHARPWAVE_METRICS", "emf")
    assert told() == [(scene.deployment.prefix, 0)]
    a_decision_nobody_saw(scene)
    assert told() == [(scene.deployment.prefix, 1)]
    # What is on its way may be what is missing.
    a_message_to_count(scene)
    assert told() == []


def test_a_deployment_without_decisions_is_verified(deployment: Deployment, sharpwave: Any) -> None:
    code, found = sharpwave("verify", "--archive", "file:///nowhere", "--wait", "0")

    assert (code, found["decisions"], found["findings"]) == (0, 0, [])


# -- everything that must be named ---------------------------------------------------------------


def no_archive(scene: Scene) -> None:
    scene.archive = f"file://{scene.folder.parent / 'elsewhere'}"


def another_archive(scene: Scene) -> None:
    other = Scene(scene.deployment, scene.folder.parent / "other", scene.raw, scene.writes)
    line = scene.raw["decision"]("hunter", at=time.time() - 40 * 86_400)
    for message in scene.route(DECISIONS, [scene.raw["record"](line)]):
        if message.queue == "archive":
            other.handle(message)
    scene.archive = other.archive


def a_part_less(scene: Scene) -> None:
    scene.parts()[0].unlink()


def a_torn_part(scene: Scene) -> None:
    part = scene.parts()[0]
    part.write_bytes(part.read_bytes()[:-9])


def a_head_less(scene: Scene) -> None:
    head = heads(scene, SUBJECT)[0]
    scene.items.delete(PIPELINE, head)


def a_day_moved(scene: Scene) -> None:
    head = heads(scene, SUBJECT)[0]
    row = scene.items.get(PIPELINE, head) or {}
    _, _, slot = head.sk.split("#", 2)
    scene.items.delete(PIPELINE, head)
    scene.items.put(PIPELINE, {**row, **keys.ledger_head(SUBJECT, "2008-10-10", slot).item()})


def another_outcome(scene: Scene) -> None:
    head = heads(scene, SUBJECT)[0]
    row = (scene.items.get(PIPELINE, head) or {})["c"]
    assert row[1] > row[2]
    row[2] += 1
    scene.items.update(PIPELINE, head, {"c": row})


def a_ledger_of_nobody(scene: Scene) -> None:
    head = keys.ledger_head("pattern:nobody:none@1", "2008-10-10", "2008-10-10T00")
    scene.items.put(PIPELINE, {**head.item(), "c": [1, 1, 1, 0, 0, 0, 0, 0, 1]})


def a_decision_nobody_saw(scene: Scene) -> None:
    scene.write(scene.decide(1, "hunter", "up"))


def an_outcome_nobody_saw(scene: Scene) -> None:
    item = scene.decisions[0]
    assert "outcome" not in item
    scene.items.put(DECISIONS, {**item, "outcome": {"success": True}})


def a_message_to_count(scene: Scene) -> None:
    send(scene, "learn")


def a_delayed_message(scene: Scene) -> None:
    box = Mailbox(scene.deployment, "archive")
    scene.deployment.sqs.send_message(QueueUrl=box.url, MessageBody="{}", DelaySeconds=600)


def a_dead_letter(scene: Scene) -> None:
    send(scene, "archive_dlq")


def send(scene: Scene, queue: str) -> None:
    assert Mailbox(scene.deployment, queue).send([Received("", "", "{}", {}, {})])


def pump(scene: Scene, **more: Any) -> None:
    report = {"at": int(time.time()), "lag_s": 0, "open_shards": 1, "failing_shards": 0, **more}
    scene.items.put(PIPELINE, {**keys.pump_presence(DECISIONS).item(), **report})


def a_troubled_pump(scene: Scene) -> None:
    pump(scene, lag_s=Decimal("120.5"), failing_shards=1)


def a_mark(scene: Scene) -> None:
    scene.items.put(PIPELINE, {**keys.changed(SUBJECT, "2025-10-18").item(), "rev": 1})


def a_wrong_sum(scene: Scene) -> None:
    day = iso_ms(time.time())[:10]
    place = keys.ledger_day(SUBJECT, day)
    assert scene.items.update(PIPELINE, place, {"c": [9, 1, 1, 0, 0, 0, 0, 0, 1]})


def a_writer_less(scene: Scene) -> None:
    assert scene.items.delete(MEMORY, keys.writer(KIND, "stranger"))


def a_wrong_figure(scene: Scene) -> None:
    place = keys.Key(keys.pattern_pk("hunter"), "up")
    assert scene.items.update(MEMORY, place, {"base_rate": Decimal("0.1")})


def wrong_evidence(scene: Scene) -> None:
    place = keys.Key(keys.pattern_pk("hunter"), "up")
    assert scene.items.update(MEMORY, place, {"evidence_s": 77})


def a_pattern_of_a_newer_release(scene: Scene) -> None:
    place = keys.known_pattern(SUBJECT)
    version = json.loads((scene.items.get(PIPELINE, place) or {})["version"])
    scene.items.update(PIPELINE, place, {"version": json.dumps({**version, "form": 3})})


def heads(scene: Scene, subject: str) -> list[keys.Key]:
    found = scene.items.query(PIPELINE, keys.ledger_pk(subject), begins="H#")
    return [keys.Key(item["PK"], item["SK"]) for item in found]


@pytest.mark.parametrize(
    ("harm", "kind", "words"),
    [
        (no_archive, "empty_archive", "nothing is archived at"),
        (another_archive, "foreign_archive", "another deployment's"),
        (a_part_less, "not_archived", "the archive lacks"),
        (a_torn_part, "damaged_archive", "cannot be read"),
        (a_head_less, "not_counted", f"lack decisions that are archived: {SUBJECT} on "),
        (a_day_moved, "moved", "2008-10-10"),
        (another_outcome, "outcomes", SUBJECT),
        (a_ledger_of_nobody, "not_archived", "pattern:nobody:none@1 on 2008-10-10"),
        (a_decision_nobody_saw, "unseen", "1 decision in agent_decisions"),
        (an_outcome_nobody_saw, "unseen", "1 decision in agent_decisions"),
        (wrong_evidence, "misfigured", "other figures than the archive gives"),
        (a_pattern_of_a_newer_release, "unreadable", "1 pattern version"),
    ],
)
def test_what_is_wrong_is_named_and_fails(
    scene: Scene, sharpwave: Any, harm: Callable[[Scene], None], kind: str, words: str
) -> None:
    harm(scene)

    code, found = sharpwave("verify", "--archive", scene.archive, "--wait", "0")

    assert (code, found["ok"]) == (1, False)
    agree = found["digest"] == found["archived_digest"]
    # What was never counted, or published otherwise, leaves the counts as they are.
    assert agree == (kind in ("unseen", "misfigured")), "the digests tell whether counts differ"
    named = {each["kind"]: each for each in found["findings"]}
    assert words in named[kind]["what"]
    assert named[kind]["remedy"]


@pytest.mark.parametrize(
    ("harms", "expected"),
    [
        (
            (a_message_to_count, a_delayed_message, a_dead_letter, a_troubled_pump, a_mark),
            {
                "pending": ["queue learn still holds 1 message", "queue archive still holds 1"],
                "dead_letters": ["archive_dlq holds 1 dead letter"],
                "pump_late": ["120 s behind"],
                "pump_failing": ["1 of 1 shards"],
                "unpublished": ["1 ledger day changed"],
            },
        ),
        (
            (a_wrong_sum, a_writer_less, a_wrong_figure),
            {
                "not_summed": [SUBJECT],
                "unlisted": [f"stranger of {KIND}"],
                "misfigured": [SUBJECT],
            },
        ),
    ],
)
def test_every_one_of_several_faults_is_named(
    scene: Scene,
    sharpwave: Any,
    harms: Sequence[Callable[[Scene], None]],
    expected: Mapping[str, Sequence[str]],
) -> None:
    for harm in harms:
        harm(scene)

    code, found = sharpwave("verify", "--archive", scene.archive, "--wait", "0")

    assert code == 1
    named: dict[str, str] = {}
    for each in found["findings"]:
        named[each["kind"]] = named.get(each["kind"], "") + each["what"]
    assert named.keys() == expected.keys()
    assert all(words in named[kind] for kind, listed in expected.items() for words in listed)


def test_an_unseen_decision_is_named_by_its_key(scene: Scene, sharpwave: Any) -> None:
    a_decision_nobody_saw(scene)
    lost = scene.decisions[-1]

    _, found = sharpwave("verify", "--archive", scene.archive, "--wait", "0")

    (finding,) = found["findings"]
    assert f"{lost['PK']} {lost['SK']}" in finding["what"]
    assert finding["remedy"] == f"sharpwave reconcile {DECISIONS}"


def test_what_the_router_refused_is_not_missed(scene: Scene, sharpwave: Any) -> None:
    item = scene.decisions[0]
    changed = {**item, "context": {"market": "sideways"}}
    scene.items.put(DECISIONS, changed)
    scene.carry(changed, old=item)
    scene.items.put(DECISIONS, {**scene.decide(2, "hunter", "up"), "decision_type": "ANOTHER"})

    code, found = sharpwave("verify", "--archive", scene.archive, "--wait", "0")

    assert (code, found["findings"]) == (0, [])


def test_it_waits_for_what_is_on_its_way(scene: Scene) -> None:
    item = scene.decide(3, "hunter", "up")
    scene.write(item)

    def arrive() -> None:
        scene.carry(item)
        scene.publish()

    late = Timer(1.0, arrive)
    late.start()
    found = verify(scene.deployment, scene.archive, wait_s=30)
    late.join()

    assert found.ok, found
    assert found.decisions == 19


def test_a_decision_about_a_future_that_is_allowed_must_have_been_seen_too(
    scene: Scene, sharpwave: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHARPWAVE_EVENT_AHEAD", json.dumps({KIND: 10 * 86_400}))
    item = scene.decide(1, "hunter", "up")
    scene.write({**item, "event_time": iso_ms(item["timestamp"] + 5 * 86_400)})

    code, found = sharpwave("verify", "--archive", scene.archive, "--wait", "0")

    assert (code, [each["kind"] for each in found["findings"]]) == (1, ["unseen"])


def test_a_pattern_of_everyone_is_held_against_an_agents_decisions_after_its_data_went(
    deployment: Deployment, tmp_path: Path, raw: Raw, backend: Backend, sharpwave: Any
) -> None:
    scene = Scene(deployment, tmp_path / "archive", raw, writes_on(backend.name))
    definitions = [PatternDefinition.model_validate(each) for each in DEFINITIONS]
    import_patterns(deployment, definitions, now=time.time() - 10 * 86_400)
    # A second version divides the base ledgers of its agent, and goes with its data.
    again = {**DEFINITIONS[0], "conditions": None}
    second = [PatternDefinition.model_validate(again)]
    import_patterns(deployment, second, now=time.time() - 2 * 86_400)
    for number in range(90):
        is_hunters = number % 3 > 0
        market = "down" if number % 2 == number // 45 else "up"
        item = scene.decide(number, "hunter" if is_hunters else "trader", market)
        success = number % 10 > 0 if is_hunters and market == "down" else number % 4 > 2
        scene.write({**item, "outcome": {"success": success}})
    scene.carry(*scene.decisions)
    scene.publish()
    shared = keys.Key("shared#pattern#general", "down")
    before = scene.items.get(MEMORY, shared) or {}

    planned = sharpwave("agents", "rm", "hunter", "--data", "--dry-run")[1]["deleted"]
    done = remove_agent(deployment, "hunter", data=True)
    last = scene.decide(90, "trader", "down")
    scene.write(last)
    scene.carry(last)
    scene.publish()

    after = scene.items.get(MEMORY, shared) or {}
    for name in ("sample_size", "base_rate", "confidence", "interval"):
        assert after[name] == before[name], name
    assert after["unresolved"] == 1
    assert done.deleted == planned
    assert done.deleted["pipeline"] > 0
    assert set(remove_agent(deployment, "hunter", data=True).deleted.values()) == {0}
    found = sharpwave("verify", "--archive", scene.archive, "--wait", "0")[1]["findings"]
    assert {"misfigured", "unlisted", "not_summed"}.isdisjoint(each["kind"] for each in found)
