"""The price file, the sums made with it, bills from counters, and the command that shows them."""

import json
from typing import Any

import pytest

from sharpwave.infra.cli import main
from sharpwave.infra.cost.bill import Usage, Use, load_prices, measured, priced
from sharpwave.infra.errors import Misused

PRICES = load_prices()
USAGE = Usage(
    used={
        "deliver": {
            "write:row": (200, 200.0),
            "write:signal": (100, 100.0),
            "receive:deliver": (10, 2.0),
            "poll:deliver": (0, 7.0),
            "write:workers": (5, 5.0),
        },
        "pump": {"new:signal": (100, 0.0), "new:decision": (50, 0.0), "send:deliver": (10, 2.0)},
        "learn": {"write:slot": (1, 3.0)},
        "agents": {"write:signal": (100, 100.0), "write:row": (200, 200.0)},
    },
    cpu_s={"deliver": 36.0, "learn": 0.0, "pump": 1.0},
)


def lines(bill: Any) -> dict[str, float]:
    return {line.item: line.quantity for line in bill.lines}


def test_counters_become_quantities_by_the_million() -> None:
    found = measured(USAGE, PRICES)

    assert found.signals is not None
    assert lines(found.signals) == {
        "inbox rows": 2_000_000,
        "mirror at delivery": 1_000_000,
        "work queue": 40_000,
        "workers' compute": pytest.approx(100),
        "the agent's own write": 1_000_000,
        "agents' acknowledgements": 2_000_000,
    }
    assert found.signals.of("agents") == pytest.approx(1.25)
    assert found.decisions is not None
    assert lines(found.decisions) == {"ledger": 60_000}


def test_polls_and_signs_of_life_are_nobodys_signal() -> None:
    background = lines(measured(USAGE, PRICES).background)

    assert background["deliver: poll deliver"] == 7
    assert background["deliver: write workers"] == 5


def test_every_unit_used_stands_on_exactly_one_bill() -> None:
    found = measured(USAGE, PRICES)
    assert found.signals is not None
    assert found.decisions is not None

    billed = sum(
        line.quantity * share
        for bill, share in ((found.signals, 1e-4), (found.decisions, 5e-5), (found.background, 1))
        for line in bill.lines
        if line.item != "workers' compute"
    )

    units = sum(units for used in USAGE.used.values() for _, units in used.values())
    assert billed == pytest.approx(units)


def test_calls_that_told_no_capacity_are_named_and_stand_on_no_bill() -> None:
    used = {"deliver": {"write:row": (2, 0.0), "untold:row": (2, 0.0)}}

    found = measured(Usage(used=used, cpu_s={}), PRICES)

    assert found.untold_calls == found.as_json()["untold_calls"] == 2
    assert lines(found.background) == {}


def test_a_run_without_decisions_has_no_price_for_them() -> None:
    idle = Usage(used={"pump": {"new:signal": (1, 0.0)}}, cpu_s={})

    assert measured(idle, PRICES).decisions is None


def test_signals_are_counted_where_they_are_delivered_if_no_pump_reads_the_stream() -> None:
    behind_lambda = Usage(used={"deliver": {"write:signal": (9, 9.0)}}, cpu_s={})

    assert behind_lambda.signals == 9


def test_the_command_answers_with_items_options_and_budgets(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["cost", "--json", "--item-kb", "0.5", "--signals-per-month", "2e6"]) == 0

    answer = json.loads(capsys.readouterr().out)
    assert answer["dated"] == PRICES.dated
    assert answer["plan"]["signals"] == 2e6
    assert len(answer["options"]) == 8
    assert {"item", "payer", "unit", "quantity", "usd"} == set(
        answer["per_million_signals"]["lines"][0]
    )
    assert [each["kept"] for each in answer["budgets"]].count(True) >= 1


def test_the_table_says_what_its_prices_are_worth(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost"]) == 0

    shown = capsys.readouterr().out
    assert "not verified at their source: alarm, custom_metric, dashboard" in shown
    assert "production  t3.small" in shown


def test_impossible_traffic_is_misuse(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cost", "--targets", "-1"]) == 2
    assert "--targets -1 makes no sense; give 0 or more" in capsys.readouterr().err


def test_each_price_has_a_source_and_says_whether_it_was_read_there() -> None:
    assert PRICES.region == "us-east-1"
    assert all(price.source.startswith("https://") for price in PRICES.prices.values())
    assert {"dynamodb_write", "dynamodb_read"}.isdisjoint(PRICES.unverified)
    assert "sqs_request" in PRICES.unverified


def test_a_region_without_prices_is_refused_with_those_there_are() -> None:
    with pytest.raises(Misused, match="there are: us-east-1"):
        load_prices("mars-north-1")


def test_a_million_writes_cost_what_the_file_says() -> None:
    bill = priced([Use("rows", "pipeline", "dynamodb_write", 1_000_000)], PRICES)

    assert bill.total == pytest.approx(PRICES.prices["dynamodb_write"].usd)


def test_uses_of_one_item_make_one_line_and_nothing_makes_none() -> None:
    uses = [Use("rows", "pipeline", "dynamodb_write", quantity) for quantity in (10, 20, 0)]

    bill = priced([*uses, Use("nothing", "pipeline", "sqs_request", 0)], PRICES)

    assert [(line.item, line.quantity) for line in bill.lines] == [("rows", 30)]


def test_what_receiving_agents_pay_stands_beside_the_total() -> None:
    uses = [
        Use("put", "writer", "dynamodb_write", 1_000_000),
        Use("rows", "pipeline", "dynamodb_write", 2_000_000),
        Use("acks", "agents", "dynamodb_write", 4_000_000),
    ]

    shown = priced(uses, PRICES).as_json()

    assert shown["usd"] == pytest.approx(3 * 0.625)
    assert shown["agents_beside_usd"] == pytest.approx(4 * 0.625)
