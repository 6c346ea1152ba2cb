"""The price file and the sums made with it."""

import pytest

from sharpwave.infra.cost import Use, load_prices, priced
from sharpwave.infra.errors import Misused

PRICES = load_prices()


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
