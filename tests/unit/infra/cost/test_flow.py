"""The model of the flow, and a month of it."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharpwave.infra.aws.names import Names
from sharpwave.infra.aws.resolve import resources, shipped
from sharpwave.infra.cost.bill import Bill, load_prices, priced
from sharpwave.infra.cost.flow import (
    PROFILES,
    RATES,
    SCHEDULES,
    Flow,
    Plan,
    alternatives,
    at_rates,
    budgets,
    decisions,
    month,
    signals,
)

PRICES = load_prices()
SMALL = Flow(item_kb=0.8)
FLOWS = st.builds(
    Flow,
    targets=st.integers(1, 50),
    item_kb=st.floats(0.2, 100),
    per_message=st.floats(1, 50),
    full=st.floats(0.1, 1),
)


def quantities(bill: Bill) -> dict[str, float]:
    return {line.item: line.quantity / 1_000_000 for line in bill.lines}


def test_a_signal_costs_a_row_for_each_target_and_one_mirror() -> None:
    each = quantities(priced(signals(Flow(item_kb=0.7, targets=3)), PRICES))

    assert each["the agent's own write"] == 1
    assert each["inbox rows"] == 3
    assert each["mirror at delivery"] == 1
    assert each["agents' acknowledgements"] == 3


def test_an_urgent_signal_costs_each_target_a_second_copy() -> None:
    plain = priced(signals(Flow(targets=3)), PRICES)
    urgent = priced(signals(Flow(targets=3, urgent=0.1)), PRICES)

    more = quantities(urgent)
    sends = quantities(plain)["inbox sends"]
    assert more.keys() - quantities(plain).keys() == {
        "sends of urgent copies",
        "agents' receives of urgent copies",
        "agents' deletes of urgent copies",
        "agents' looks at rows of urgent copies",
    }
    assert more["sends of urgent copies"] == pytest.approx(sends / 10)
    assert more["agents' receives of urgent copies"] == pytest.approx(0.3)


def test_a_mirror_costs_by_its_own_size_and_not_by_its_signals() -> None:
    small, large, many = (
        quantities(priced(signals(flow), PRICES))
        for flow in (Flow(item_kb=1.0), Flow(item_kb=64.0), Flow(targets=50))
    )

    assert (small["the agent's own write"], large["the agent's own write"]) == (1, 64)
    assert small["mirror at delivery"] == large["mirror at delivery"] == 1
    assert many["mirror at delivery"] == 6


def test_acknowledgements_that_come_apart_cost_a_mirror_write_each() -> None:
    together, apart = (
        priced(signals(replace(SMALL, mirrors_after_acks=rounds)), PRICES).total
        for rounds in (1.0, 2.0)
    )

    assert apart - together > 0.625


@pytest.mark.parametrize("item_kb", [0.2, 1.0])
def test_a_million_signals_with_two_targets_stay_within_their_budget(item_kb: float) -> None:
    flow = Flow(item_kb=item_kb)
    bill = priced(signals(flow), PRICES)

    assert budgets(flow, bill)[0].kept, bill.total


def test_a_decision_pays_for_two_index_entries_and_one_more_for_its_outcome() -> None:
    each = quantities(priced(decisions(SMALL), PRICES))

    assert each["index entries of the put"] == 2
    assert each["index entry of the outcome"] == 1
    assert each["mark of promotion"] == 1


def test_grouping_decisions_is_what_makes_ledgers_cheap() -> None:
    singly = quantities(priced(decisions(replace(SMALL, per_message=1)), PRICES))
    grouped = quantities(priced(decisions(replace(SMALL, per_message=50)), PRICES))

    assert singly["ledger"] > 20 * grouped["ledger"]


@given(FLOWS)
def test_more_targets_and_larger_records_never_cost_less(flow: Flow) -> None:
    base = priced(signals(flow), PRICES).total

    assert priced(signals(replace(flow, targets=flow.targets + 1)), PRICES).total > base
    assert priced(signals(replace(flow, item_kb=flow.item_kb * 2)), PRICES).total >= base


@given(FLOWS)
def test_fuller_batches_never_cost_more(flow: Flow) -> None:
    fuller = replace(flow, full=1.0)

    for model in (signals, decisions):
        assert priced(model(fuller), PRICES).total <= priced(model(flow), PRICES).total


def test_a_month_without_traffic_costs_what_runs_and_polls() -> None:
    idle = Plan(signals=0, decisions=0)

    demo, production = (
        month(replace(idle, profile=name), PRICES) for name in ("demo", "production")
    )

    assert 0 < demo.total < 1
    assert {"tasks that always run", "interface endpoints", "keys"} <= quantities(production).keys()
    assert production.total > 50 * demo.total


def test_what_the_templates_make_for_money_is_counted() -> None:
    for name in PROFILES:
        made, watched = Counter[str](), 0
        for stack in ("data", "messaging", "compute", "observability"):
            template = shipped(name, stack)
            lacking = {
                parameter: "x"
                for parameter, said in template["Parameters"].items()
                if "Default" not in said
            }
            for each in resources(template, Names.of(""), **lacking).values():
                made[each["Type"]] += 1
                if each["Type"] == "AWS::CloudWatch::Alarm":
                    # An alarm is paid for by the metrics that it watches.
                    several = each["Properties"].get("Metrics", [{"MetricStat": {}}])
                    watched += sum("MetricStat" in metric for metric in several)
        counted = PROFILES[name]

        assert watched == counted.alarms
        assert made["AWS::CloudWatch::Dashboard"] == counted.dashboards
        assert made["AWS::Scheduler::Schedule"] == SCHEDULES
        assert made["AWS::KMS::Key"] == counted.keys
        assert made["AWS::EC2::NatGateway"] == made["AWS::EC2::EIP"] == 0


def test_a_month_is_priced_at_rest_and_at_three_rates_and_says_what_is_dearest() -> None:
    found = {(each.profile, each.per_s): each for each in at_rates(Plan(), PRICES)}

    for profile in PROFILES:
        idle, one, hundred, most = (found[profile, rate].usd for rate in RATES)
        # What runs anyway, and then so much an event.
        assert (most - idle) / (hundred - idle) == pytest.approx(100, rel=0.05)
        assert (hundred - idle) / (one - idle) == pytest.approx(100, rel=0.05)
    assert found["production", 0].dearest[0][0] == "tasks that always run"
    shares = [share for _, share in found["demo", 100].dearest]
    assert shares == sorted(shares, reverse=True)


def test_dax_and_retention_add_to_a_month_and_change_nothing_else() -> None:
    plain = month(Plan(ttl_days=7), PRICES)
    cached = month(Plan(ttl_days=7, dax="t3.small"), PRICES)
    kept = month(Plan(ttl_days=90), PRICES)

    assert cached.total - plain.total == pytest.approx(730 * 0.04)
    changed = {line.item for line in kept.lines if line not in plain.lines}
    assert changed == {"tables' storage", "tables' point-in-time recovery"}


def test_every_choice_stands_side_by_side_once() -> None:
    found = alternatives(Plan(), PRICES)

    assert len({(plan.profile, plan.dax, plan.ttl_days) for plan, _ in found}) == len(found) == 8
    assert {plan.signals for plan, _ in found} == {Plan().signals}


def test_a_budget_is_kept_exactly_when_what_was_found_is_within_it() -> None:
    for flow in (SMALL, Flow(item_kb=4), replace(SMALL, per_message=1)):
        for budget in budgets(flow, priced(signals(flow), PRICES)):
            assert budget.kept == (budget.found <= budget.limit)


def test_ungrouped_decisions_break_the_budget_of_a_ledger() -> None:
    bill = priced(signals(SMALL), PRICES)

    grouped, singly = (budgets(replace(SMALL, per_message=k), bill)[1] for k in (50, 1))

    assert grouped.kept
    assert not singly.kept
