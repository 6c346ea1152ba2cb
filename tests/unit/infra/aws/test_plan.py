"""Plans are profiles as data, changed by what was asked for."""

from typing import Any

import pytest

from sharpwave.infra.aws.plan import PROFILES, Plan, PlanRefused
from sharpwave.schemas.queues import WORK_QUEUES


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_is_whole(profile: str) -> None:
    assert Plan.of(profile).agents == ()


def test_the_demo_has_nothing_that_costs_by_the_hour() -> None:
    demo = Plan.of("demo")

    assert (demo.min_tasks, demo.dax_nodes, demo.own_key, demo.private_network) == (
        0,
        0,
        False,
        False,
    )


def test_production_is_private_encrypted_and_in_several_zones() -> None:
    production = Plan.of("production")

    assert production.private_network
    assert production.own_key
    assert production.deletion_protection
    assert production.zones > 1
    assert production.min_tasks > 1
    assert production.dax_nodes > 1


def test_what_is_given_as_text_is_read_as_what_it_is() -> None:
    plan = Plan.of("demo", {"agents": "risk-manager,market-hunter", "max_tasks": "7"})

    assert plan.agents == ("risk-manager", "market-hunter")
    assert plan.max_tasks == 7


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"agents": "No#Agent"}, "cannot name an agent"),
        ({"agents": "007"}, "cannot name an agent"),
        ({"agents": "a,a"}, "listed twice"),
        ({"prefix": "Prod"}, "at most 20 of a-z"),
        ({"alarm_address": "somebody"}, "alarm_address"),
        ({"log_days": 8}, "log_days is none of"),
        ({"min_tasks": 3, "max_tasks": 2}, "max_tasks is below min_tasks"),
        ({"archive_cold_days": 90, "archive_days": 90}, "archive_days must be above"),
        ({"threads": "many"}, "worker threads of one task"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_what_cannot_be_is_refused_by_name(given: dict[str, Any], said: str) -> None:
    with pytest.raises(PlanRefused, match=said):
        Plan.of("demo", given)


def test_an_unknown_profile_is_refused_with_those_there_are() -> None:
    with pytest.raises(PlanRefused, match="demo or production"):
        Plan.of("staging")


def test_a_task_is_gone_before_others_get_its_messages() -> None:
    hidden = min(queue.visibility_timeout_s for queue in WORK_QUEUES)

    with pytest.raises(PlanRefused, match="visibility timeout"):
        Plan.of("demo", {"stop_s": hidden})
    for profile in PROFILES:
        assert Plan.of(profile).stop_s < hidden
