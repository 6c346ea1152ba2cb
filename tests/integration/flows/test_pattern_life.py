"""A pattern lives: it is believed once outcomes say so, told of, granted, and revoked again."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharpwave.infra.operate.patterns import show_pattern
from sharpwave.infra.operate.verify import verify
from sharpwave.producers import Recalled
from sharpwave.schemas import keys
from sharpwave.schemas.tables import MEMORY
from sharpwave.workers.aws.clients import Clients
from sharpwave.workers.main import compose_on_aws
from sharpwave.workers.settings import Settings

if TYPE_CHECKING:
    from tests.integration.conftest import World

KIND = "SOURCE_SELECTION"
BULLISH, BEARISH = {"trend": "bullish"}, {"trend": "bearish"}
#: Of these days, seen from the pattern; agents decide all of it within a moment.
DAYS = ("2026-03-02", "2026-03-03", "2026-03-04")


def test_a_pattern_is_promoted_told_of_recalled_granted_and_revoked(
    world: World, tmp_path: Path
) -> None:
    hunter = world.agent("hunter")
    reader = world.agent("reader", subscriptions=["PATTERN_PROMOTED"])
    pattern = f"bullish-{world.tag}"
    start = imported(world, tmp_path, pattern, hunter)
    for number in range(30):
        for context, success in ((BULLISH, number != 7), (BEARISH, number % 2 == 0)):
            world.decision(
                hunter,
                at=start + 1,
                context=context,
                event_time=DAYS[number % len(DAYS)],
                outcome={"success": success},
            )

    message, *_ = world.receive(reader)

    assert (message["signal_type"], message["source_agent"]) == ("PATTERN_PROMOTED", "sharpwave")
    assert message["provenance"] == "bound"
    told = {name: message["data"][name] for name in ("pattern_id", "version", "owner", "state")}
    assert told == {"pattern_id": pattern, "version": 1, "owner": hunter, "state": "active"}

    own = keys.Key(keys.pattern_pk(hunter), pattern)
    world.eventually(lambda: counted(world, own) == (30, 29), "all its decisions are counted")
    with world.sdk(hunter) as agent, world.sdk(reader) as other:
        (found,) = agent.recall(decision_type=KIND, context=BULLISH)
        assert (found.pattern_id, found.state, found.is_proven) == (pattern, "active", True)
        assert (found.n, found.successes, found.base_rate) == (30, 29, 0.5)
        assert agent.recall(decision_type=KIND, context=BEARISH) == []
        choice = agent.choose([pattern, "news"], decision_type=KIND, context=BULLISH)
        drawn = agent.decide(KIND, context=BULLISH, choice=choice)
        assert (drawn.reasoning or {})["selected"] == [choice.source]

        def asked() -> list[Recalled]:
            return other.recall(decision_type=KIND, context=BULLISH, max_age_s=0)

        assert asked() == []
        assert world.sharpwave("patterns", "share", pattern, "--with", reader)[0] == 0
        (granted,) = asked()
        assert (granted.pattern_id, granted.owner, granted.is_proven) == (pattern, hunter, True)
        world.eventually(lambda: state(world, own) == "shared", "it is shared")
        assert world.sharpwave("patterns", "unshare", pattern, "--with", reader)[0] == 0
        assert asked() == []
        world.eventually(lambda: state(world, own) == "active", "nobody is granted it")

    _, lived = world.sharpwave("patterns", "history", pattern)
    assert [(step["from"], step["to"]) for step in lived] == [
        ("candidate", "active"),
        ("active", "shared"),
        ("shared", "active"),
    ]
    agrees(world)


def test_what_nobody_wrote_down_is_found_and_counts_from_then_on(world: World) -> None:
    hunter, draws = world.agent("hunter"), random.Random(7)
    before = time.time() - 60
    for _ in range(128):
        trend = draws.choice(["bullish", "bearish", "flat"])
        success = draws.random() < (0.95 if trend == "bullish" else 0.3)
        world.decision(hunter, at=before, context={"trend": trend}, outcome={"success": success})

    assert discovery(world).sweep(hunter) == 128
    assert discovery(world).sweep(hunter) == 0

    _, listed = world.sharpwave("patterns", "ls", "--agent", hunter)
    told = {found["pattern_id"]: found["current"]["description"] for found in listed}
    (name,) = [name for name, words in told.items() if "trend = bullish seem to succeed" in words]
    assert name.startswith("found_")
    (version,) = show_pattern(world.deployment, name).versions
    assert (version.origin, version.reason) == ("discovery", told[name])
    own = keys.Key(keys.pattern_pk(hunter), name)
    world.decision(
        hunter, at=version.effective_from + 1, context=BULLISH, outcome={"success": True}
    )
    world.eventually(lambda: counted(world, own) == (1, 1), "it counts, and only what came later")
    assert state(world, own) == "candidate"
    agrees(world)


def imported(world: World, folder: Path, pattern: str, owner: str) -> int:
    """Import a pattern; gives the moment from which it counts."""
    definition = {
        "pattern_id": pattern,
        "agent_id": owner,
        "decision_type": KIND,
        "conditions": "context.trend = bullish",
        "base_rate": 0.5,
    }
    file = folder / "pattern.json"
    file.write_text(json.dumps(definition))
    code, answer = world.sharpwave("patterns", "import", str(file))
    assert code == 0
    return int(answer["patterns"][0]["effective_from"])


def discovery(world: World) -> Any:
    """Give a sweep as a worker makes it, of a deployment whose outcomes come at once."""
    settings = Settings(outcome_horizon={KIND: 0})
    made = Clients(world.deployment.dynamodb, None, world.deployment.sqs, None)
    return compose_on_aws(settings, made).discovery


def counted(world: World, key: keys.Key) -> tuple[int, int]:
    row = world.items.get(MEMORY, key) or {}
    return row.get("sample_size", 0), row.get("successes", 0)


def state(world: World, key: keys.Key) -> str:
    return str((world.items.get(MEMORY, key) or {}).get("state"))


def agrees(world: World) -> None:
    """Hold every ledger of the system against a recount of its archive."""
    found = verify(world.deployment, world.stack.archive)
    assert found.ok, found
    assert found.stored_digest == found.archived_digest
