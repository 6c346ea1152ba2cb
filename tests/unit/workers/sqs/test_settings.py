"""A setting with which nothing can work is refused where it is made, by its name."""

from typing import Any

import pytest

from sharpwave.workers.sqs import SQSBroker, VisibilityRetries
from tests.world.sqs import MemorySqs


@pytest.mark.parametrize(
    ("name", "value", "bounds"),
    [
        ("visibility_timeout_s", 0, "between 1 and 43200"),
        ("visibility_timeout_s", 43_201, "between 1 and 43200"),
        ("hold_limit_s", -1, "0 or more"),
        ("max_pollers", 0, "1 or more"),
        ("max_body_bytes", 0, "1 or more"),
        ("max_batch_bytes", 0, "1 or more"),
        ("claim_over_bytes", -1, "0 or more"),
    ],
)
def test_a_broker_refuses_nonsense(sqs: MemorySqs, name: str, value: Any, bounds: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is {value}; it must be {bounds}"):
        SQSBroker(client=sqs, **{name: value})


@pytest.mark.parametrize("name", ["max_retries", "min_backoff", "max_backoff"])
def test_retries_refuse_nonsense(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is -1; it must be 0 or more"):
        VisibilityRetries(**{name: -1})  # type: ignore[arg-type]
