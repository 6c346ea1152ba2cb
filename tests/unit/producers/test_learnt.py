"""An agent uses what was learnt: patterns that a decision falls under, sources that served it."""

import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from sharpwave.producers import Choice, Recalled, RecordRefused
from sharpwave.producers.call import Identity
from sharpwave.producers.choosing import choose as draw
from sharpwave.producers.operations import decisions, learnt, memory
from sharpwave.schemas import keys
from sharpwave.schemas.numbers import item_to_wire
from sharpwave.schemas.patterns import PatternDefinition, PatternVersion
from tests.unit.producers.conftest import NOW, Played

Play = Callable[..., Played]

BULLISH = [{"path": "context.market.trend", "op": "eq", "value": "bullish"}]
DECISION: dict[str, Any] = {"context": {"market": {"trend": "bullish"}}, "inputs": {"ratio": 1.5}}


def row(pattern_id: str, **more: Any) -> dict[str, Any]:
    return {
        "PK": keys.pattern_pk("risk"),
        "SK": pattern_id,
        "memory_type": "PATTERN",
        "pattern_id": pattern_id,
        "agent_id": "risk",
        "decision_type": "ASSESS",
        "version": 1,
        "learned_at": NOW,
        "effective_from": NOW,
        "conditions": BULLISH,
        **more,
    }


def page(*items: dict[str, Any], more: bool = False) -> dict[str, Any]:
    reply: dict[str, Any] = {"Items": [item_to_wire(item) for item in items]}
    return {**reply, "LastEvaluatedKey": {"PK": {"S": "x"}}} if more else reply


def ids(played: Played) -> list[str]:
    return [each.pattern_id for each in played.result]


def test_a_pattern_comes_with_all_that_is_known_of_it(play: Play, me: Identity) -> None:
    known = row(
        "whales",
        sample_size=40,
        successes=30,
        success_rate=Decimal("0.75"),
        interval=[Decimal("0.6"), Decimal("0.85")],
        base_rate=Decimal("0.5"),
        confidence=Decimal("0.99"),
        as_of="2018-12-31",
        state="active",
        evidence=Decimal("3.5"),
        evidence_n=38,
        kind="avoid",
        description="whales gather",
    )

    (found,) = play(memory.recall(me, **DECISION), page(known), page(), page()).result

    assert isinstance(found, Recalled)
    assert (found.owner, found.pattern_id, found.version) == ("risk", "whales", 1)
    assert (found.n, found.successes, found.rate) == (40, 30, 0.75)
    assert (found.interval, found.base_rate, found.confidence) == ((0.6, 0.85), 0.5, 0.99)
    assert (found.state, found.evidence, found.evidence_n) == ("active", 3.5, 38)
    assert (found.avoid, found.is_proven, found.as_of) == (True, True, "2018-12-31")
    assert found.conditions is not None
    assert found.conditions.describe() == "context.market.trend = bullish"


def test_what_a_row_does_not_say_is_unknown_and_its_pattern_a_candidate(
    play: Play, me: Identity
) -> None:
    (found,) = play(memory.recall(me, **DECISION), page(row("new")), page(), page()).result

    assert (found.n, found.rate, found.interval, found.confidence) == (0, None, None, None)
    assert (found.state, found.is_proven, found.avoid) == ("candidate", False, False)
    assert (found.evidence, found.evidence_n, found.as_of) == (None, None, None)


def test_the_proven_come_first_and_of_equals_the_better_proven(play: Play, me: Identity) -> None:
    rows = [
        row("candidate-strong", evidence=Decimal(9)),
        row("candidate-sure", confidence=Decimal("0.9")),
        row("candidate-new"),
        row("active", state="active", evidence=Decimal("2.4")),
        row("shared", state="shared", evidence=Decimal("2.5")),
        row("active-old", state="active"),
    ]

    found = play(memory.recall(me, **DECISION), page(*rows), page(), page())

    assert ids(found) == [
        "shared",
        "active",
        "active-old",
        "candidate-strong",
        "candidate-sure",
        "candidate-new",
    ]
    assert ids(play(memory.recall(me, **DECISION, limit=1))) == ["shared"]


def test_what_no_longer_works_is_left_out_unless_asked_for(play: Play, me: Identity) -> None:
    rows = [row(state, state=state) for state in ("active", "degraded", "dormant", "retired")]

    found = play(memory.recall(me, **DECISION), page(*rows), page(), page())
    past = play(memory.recall(me, **DECISION, states=["degraded", "retired"]))

    assert (ids(found), ids(past)) == (["active"], ["degraded", "retired"])
    with pytest.raises(ValueError, match="fading: no state of a pattern; choose among active"):
        play(memory.recall(me, **DECISION, states=["fading"]))  # type: ignore[list-item]


def test_own_patterns_come_with_those_of_the_domain_and_those_shared(
    play: Play, me: Identity
) -> None:
    domain = row("d", PK=keys.shared_pattern_pk("crypto"), agent_id=None, domain="crypto")
    twice = {**domain, **keys.shared_pattern_copy("risk", "shared#crypto", "d").item()}
    copy = row("s", **keys.shared_pattern_copy("risk", "hunter", "s").item())
    copy["agent_id"] = "hunter"

    asked = memory.recall(me, **DECISION, domain="crypto")
    found = play(asked, page(row("own")), page(domain), page(twice, copy))

    assert [(each.owner, each.pattern_id) for each in found.result] == [
        ("shared#crypto", "d"),
        ("risk", "own"),
        ("hunter", "s"),
    ]
    places = [call.params["ExpressionAttributeValues"][":h"]["S"] for call in found.calls]
    assert places == ["agent:risk#pattern", "shared#pattern#crypto", "agent:risk#shared"]


@pytest.mark.parametrize(
    ("conditions", "reasoning"),
    [
        (BULLISH, None),
        ([{"path": "inputs.ratio", "op": "ge", "value": 1.5}], None),
        ([{"path": "inputs.ratio", "op": "gt", "value": 1.5}], None),
        ([{"path": "inputs.ratio", "op": "eq", "value": "1.5"}], None),
        ([{"path": "inputs.missing", "op": "exists", "value": False}], None),
        ([{"path": "agent_id", "op": "eq", "value": "risk"}], None),
        ([{"path": "decision_type", "op": "eq", "value": "ASSESS"}], None),
        ([{"path": "reasoning.mood", "op": "in", "value": ["fear"]}], {"mood": "fear"}),
        (None, None),
        (None, {"patterns_applied": ["p"]}),
        (None, {"patterns_applied": ["p@1"]}),
        (None, {"patterns_applied": ["p@2"]}),
    ],
)
def test_a_pattern_matches_here_exactly_what_workers_count_for_it(
    play: Play, me: Identity, conditions: Any, reasoning: dict[str, Any] | None
) -> None:
    definition = PatternDefinition.model_validate(
        {"pattern_id": "p", "decision_type": "ASSESS", "conditions": conditions}
    )
    version = PatternVersion(definition=definition, version=1, effective_from=0, learned_at=0)
    decision = {**DECISION, **({"reasoning": reasoning} if reasoning else {})}
    made = {**decision, "agent_id": "risk", "decision_type": "ASSESS", "timestamp": NOW}

    stored = row("p", conditions=conditions)
    found = play(memory.recall(me, **decision), page(stored), page(), page())

    assert bool(found.result) == version.counts(made)


def test_patterns_of_other_decisions_do_not_match(play: Play, me: Identity) -> None:
    rows = [
        row("other", decision_type="TRADE"),
        row("falls", conditions=[{**BULLISH[0], "value": "x"}]),
    ]
    asked = memory.recall(me, **DECISION, decision_type="ASSESS")

    assert play(asked, page(*rows, row("same")), page(), page()).result[0].pattern_id == "same"
    assert ids(play(memory.recall(me, **DECISION))) == ["other", "same"]


def test_a_place_is_read_once_a_minute_and_at_once_if_asked(play: Play) -> None:
    moment = [float(NOW)]
    me = Identity("risk", clock=lambda: moment[0])
    pages = (page(row("p")), page(), page())

    assert len(play(memory.recall(me, **DECISION), *pages).calls) == 3
    moment[0] += learnt.MAX_AGE_S - 1
    assert play(memory.recall(me, **DECISION)).calls == []
    assert len(play(memory.recall(me, **DECISION, max_age_s=0), *pages).calls) == 3
    moment[0] += learnt.MAX_AGE_S
    assert len(play(memory.recall(me, **DECISION), *pages).calls) == 3
    # A clock that was set back must not keep what was read for ever.
    moment[0] -= 3600
    assert len(play(memory.recall(me, **DECISION), *pages).calls) == 3


def test_of_a_place_no_more_than_its_first_pages_are_read(play: Play, me: Identity) -> None:
    endless = [page(row(f"p{n}"), row(f"p{n}@1"), more=True) for n in range(learnt.MAX_PAGES)]

    found = play(memory.recall(me, **DECISION, domain=None), *endless, page())

    assert ids(found) == ["p0", "p1", "p2", "p3"]
    assert me.counters["beyond"] == 1


def test_what_cannot_be_read_is_left_out_and_counted(play: Play, me: Identity) -> None:
    odd = [row("a", version="x"), row("b", conditions={"no such": "condition"})]

    assert ids(play(memory.recall(me, **DECISION), page(*odd, row("p")), page(), page())) == ["p"]
    assert me.counters["unreadable"] == 2


def test_facts_are_recalled_as_before(play: Play, me: Identity) -> None:
    fact = {**keys.fact("risk", "NOTE", "x").item(), "data": {"text": "remember"}}

    assert play(memory.recall(me, "NOTE"), page(fact)).result == [fact]
    assert play(memory.recall(me), page(fact)).result == [fact]


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ({"memory_type": "NOTE", "context": {}}, ValueError, "NOTE match no decision"),
        ({"memory_type": "NOTE", "decision_type": "X"}, ValueError, "without decision_type"),
        ({"context": "bullish"}, ValueError, "context is 'bullish'; give a map"),
        ({"inputs": {"ratio": float("nan")}}, RecordRefused, "inputs.ratio"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(
    play: Play, me: Identity, asked: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        play(memory.recall(me, **asked))


# Choosing among sources


def decided(
    number: int, selected: list[str], success: bool | None, trend: str = "bullish"
) -> dict[str, Any]:
    item = {
        "PK": keys.decision_pk("risk", "PICK"),
        "SK": f"2027-01-15T08:00:00.{number:03}Z#dec_{number}",
        "agent_id": "risk",
        "decision_id": f"dec_{number}",
        "decision_type": "PICK",
        "timestamp": NOW,
        "iso_timestamp": f"2027-01-15T08:00:00.{number:03}Z",
        "context": {"market": {"trend": trend}, "cycle": number},
        "reasoning": {"selected": selected},
    }
    return item if success is None else {**item, "outcome": {"success": success}}


def history(*parts: tuple[int, list[str], bool | None, str]) -> dict[str, Any]:
    made = [part[1:] for part in parts for _ in range(part[0])]
    return page(*(decided(number, *each) for number, each in enumerate(made)))


SERVED = history(
    (30, ["news"], True, "bullish"),
    (30, ["whales"], False, "bullish"),
    (30, ["news"], False, "bearish"),
    (30, ["whales"], True, "bearish"),
)


@pytest.mark.parametrize(("trend", "best"), [("bullish", "news"), ("bearish", "whales")])
def test_the_source_that_served_in_such_a_context_is_chosen(
    play: Play, me: Identity, trend: str, best: str
) -> None:
    asked = learnt.choose(
        me,
        ["news", "whales"],
        decision_type="PICK",
        context={"market": {"trend": trend}},
        chance=random.Random(1),
    )

    choice = play(asked, SERVED).result

    assert choice == Choice(best, 0.975, f"market.trend={trend}")


def test_only_single_sources_with_an_outcome_count(play: Play, me: Identity) -> None:
    silent = history(
        (90, ["news"], None, "bullish"),
        (90, ["news", "whales"], True, "bullish"),
        (90, ["rumours"], True, "bullish"),
    )

    def ask() -> Any:
        return learnt.choose(me, ["whales", "news"], decision_type="PICK", chance=random.Random(3))

    # As if nothing was known, from one read.
    nothing = draw({"news": (0, 0), "whales": (0, 0)}, random.Random(3))
    assert play(ask(), silent).result == nothing
    assert play(ask()).result == nothing


@pytest.mark.parametrize(
    ("sources", "context", "said"),
    [
        ([], {}, r"\[\] is no choice"),
        ("news", {}, "'news' is no choice; give the names"),
        (["news"], {"trends": ["up"]}, "takes a single value"),
        (["news"], {"no good": 1}, "is not a path"),
    ],
)
def test_what_cannot_be_chosen_by_is_refused(
    play: Play, me: Identity, sources: Any, context: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        play(learnt.choose(me, sources, decision_type="PICK", context=context))


def test_a_decision_keeps_the_choice_it_follows(play: Play, me: Identity) -> None:
    choice = Choice("news", 0.7215)

    made = play(
        decisions.decide(me, "PICK", reasoning={"scores": {"news": 0.8}}, choice=choice), {}
    ).result

    assert made.reasoning == {
        "scores": {"news": Decimal("0.8")},
        "selected": ["news"],
        "selection_prob": Decimal("0.7215"),
    }
    assert play(decisions.decide(me, "PICK", choice=choice), {}).result.reasoning["selected"]
    with pytest.raises(ValueError, match=r"reasoning.selected is \['whales'\], but the choice was"):
        play(decisions.decide(me, "PICK", reasoning={"selected": ["whales"]}, choice=choice))
