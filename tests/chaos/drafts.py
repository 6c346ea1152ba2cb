"""What agents write in a run, and what identifies a signal's content wherever it turns up."""

import json
import random
from hashlib import blake2b
from typing import Any

from sharpwave.infra.items import Item
from sharpwave.producers import Agent
from sharpwave.schemas.numbers import plain_json
from sharpwave.schemas.records import DecisionRecord
from tests.chaos.history import History


def token(data: object) -> str:
    """Give a digest of a signal's data that does not depend on the order of keys."""
    text = json.dumps(json.loads(plain_json(data)), sort_keys=True)
    return blake2b(text.encode(), digest_size=8).hexdigest()


def noted(item: Item) -> dict[str, Any]:
    """Give what a history must hold of a signal: what its targets must be told."""
    return {
        "record": "signal",
        "pk": item["PK"],
        "sk": item["SK"],
        "source": item["source_agent"],
        "type": item["signal_type"],
        "targets": item["target_agents"],
        "expires_at": item["ttl"],
        "token": token(item["data"]),
    }


def judge(agent: Agent, made: DecisionRecord, rng: random.Random, history: History) -> None:
    """Record what came of a decision, and correct it now and then; each step is noted."""
    revision = 1
    for step in range(2):
        success, quality = rng.random() < 0.6, round(rng.random(), 3)
        verdict = {"success": success, "quality": quality}
        history.note(agent.agent_id, "intends", kind="outcome", pk=made.key.pk, sk=made.key.sk)
        if step == 0:
            agent.record_outcome(made, success=success, quality_score=quality)
        else:
            revision = agent.correct_outcome(made, success=success, quality_score=quality)
        history.note(
            agent.agent_id,
            "wrote",
            record="outcome",
            pk=made.key.pk,
            sk=made.key.sk,
            revision=revision,
            **verdict,
        )
        if rng.random() > 0.2:
            return
