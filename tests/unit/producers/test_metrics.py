"""An agent reads how its sources did as workers wrote it, and passes over what is no such item."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from sharpwave.producers import Choice, SourceMetrics, Standing
from sharpwave.producers.call import Identity
from sharpwave.producers.operations.analytics import metrics
from sharpwave.producers.operations.decisions import with_choice
from sharpwave.schemas import keys
from sharpwave.schemas.numbers import item_to_wire
from sharpwave.workers.patterns.metrics import content_of
from sharpwave.workers.patterns.sources import Used, code_of

Play = Callable[..., Any]
NEWS, HIGH = code_of("news"), code_of("high")


def test_what_workers_published_is_read_and_what_is_no_item_of_theirs_counted(
    play: Play, me: Identity
) -> None:
    used = Used.merged([(0, NEWS, 1, 0, 0, 0, 0), (HIGH, NEWS, 0, 4, 1, 9_000, 3)])
    used += Used.merged([(HIGH, 0, 0, 4, 1, 9_000, 3)])
    item = {
        **keys.metrics(me.agent_id, "TRADE").item(),
        **{"decision_type": "TRADE", "updated_at": 7},
        **content_of(used, {NEWS: "news", HIGH: "high"}),
    }
    spoilt = [{**item, "source_metrics": {"news": 7}}, {**keys.metrics("x", "A").item()}]
    reply = {"Items": [item_to_wire(each) for each in (item, *spoilt)]}

    played = play(metrics(me), reply)

    standing = Standing(calls=4, outcomes=4, successes=1, rate=0.25, quality=0.3)
    assert played.result == [
        SourceMetrics(
            decision_type="TRADE",
            sources={"news": Standing(calls=5, outcomes=4, successes=1, rate=0.25, quality=0.3)},
            buckets={"high": standing},
            rates={"high": {"news": 0.25}},
            updated_at=7,
        )
    ]
    assert me.counters["unreadable"] == 2


def test_one_type_is_asked_for_by_its_key(play: Play, me: Identity) -> None:
    played = play(metrics(me, "TRADE"), {"Items": []})

    values = played.calls[0].params["ExpressionAttributeValues"]
    assert values[":from"] == values[":to"] == {"S": "TRADE"}
    assert played.calls[0].params["ConsistentRead"]


def test_a_source_without_an_outcome_has_no_rate() -> None:
    used = Used.merged([(HIGH, NEWS, 1, 0, 0, 0, 0), (HIGH, 0, 1, 0, 0, 0, 0)])

    found = content_of(used, {NEWS: "news", HIGH: "high"})

    assert found["source_metrics"]["news"]["success_rate"] is None
    assert found["context_performance"]["high"]["sources"] == {"news": None}
    assert content_of(Used.merged([(0, NEWS, 0, 3, 1, 0, 0)]), {})["source_metrics"] == {
        f"#{NEWS:08x}": {
            **{"total_calls": 3, "outcomes": 3, "successes": 1},
            **{"success_rate": Decimal("0.3333"), "quality_score": None},
        }
    }


def test_a_choice_for_a_context_names_its_bucket_in_the_decision() -> None:
    assert with_choice(None, Choice("news", 0.5, "market=up")) == {
        "selected": ["news"],
        "selection_prob": 0.5,
        "bucket": "market=up",
    }
    assert "bucket" not in (with_choice({}, Choice("news", 0.5)) or {})
