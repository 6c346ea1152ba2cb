"""An operator reads what agents decided, in which chain, and what is overdue."""

from typing import Any

import pytest

from sharpwave.infra.connection import Deployment
from sharpwave.infra.operate.signals import StandIn
from sharpwave.producers.operations import decisions
from sharpwave.schemas.times import DAY_S


def test_decisions_are_listed_in_pages_shown_and_found_due(
    deployment: Deployment, sharpwave: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = StandIn(deployment, "ann")
    root = ann.run(decisions.decide(ann.me, "SCAN"))
    leaf = ann.run(decisions.decide(ann.me, "BUY", parent=root))
    monkeypatch.setenv("SHARPWAVE_OUTCOME_HORIZON", '{"BUY": 0}')

    first = sharpwave("decisions", "ls", "--agent", "ann", "--limit", "1")[1]
    second = sharpwave("decisions", "ls", "--agent", "ann", "--cursor", first["cursor"])[1]
    shown = sharpwave("decisions", "show", leaf.decision_id)[1]
    chain = sharpwave("decisions", "chain", leaf.decision_id)[1]
    due = sharpwave("decisions", "due", "ann", "--within", str(DAY_S // 2))[1]

    pages = [page["decisions"] for page in (first, second)]
    assert [len(page) for page in pages] == [1, 1]
    assert second["cursor"] is None
    assert {page[0]["decision_id"] for page in pages} == {root.decision_id, leaf.decision_id}
    assert (shown["result"], shown["ancestors"][0]["decision_id"]) == ("pending", root.decision_id)
    assert [each["decision_id"] for each in chain["chain"]] == [root.decision_id, leaf.decision_id]
    assert [each["decision"]["decision_id"] for each in due] == [leaf.decision_id]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ls"], "give --agent, or --type"),
        (["ls", "--agent", "ann", "--since", "yesterday"], "is no time"),
        (["ls", "--agent", "ann", "--cursor", "x"], "is no cursor"),
        (["show", "dec_none"], "there is no decision dec_none"),
    ],
)
def test_a_read_that_cannot_be_says_why(
    deployment: Deployment, sharpwave: Any, words: list[str], said: str
) -> None:
    code, answer = sharpwave("decisions", *words)

    assert code in (1, 2)
    assert said in answer["error"]
