"""A failed message is retried where it lies; it is never enqueued a second time."""

import json
from collections.abc import Callable
from typing import Any

import dramatiq
import pytest
from dramatiq.errors import Retry
from dramatiq.middleware import Retries, Shutdown

from sharpwave.workers.sqs import MiddlewareRefused, SQSBroker, VisibilityRetries
from sharpwave.workers.sqs.retries import MAX_BACKOFF_S, backoff_s
from tests.world.sqs import MemorySqs
from tests.world.waiting import eventually

NOW = VisibilityRetries(max_retries=3, min_backoff=0)


@pytest.fixture
def failing(broker_on: Callable[..., SQSBroker], work_on: Callable[..., dramatiq.Worker]) -> Any:
    """Send one message to an actor that raises each of `errors` in turn; give its runs."""

    def run(*errors: Any, retries: Any = NOW, **options: Any) -> Any:
        broker = broker_on(middleware=[retries])
        runs, left = [], list(errors)

        @dramatiq.actor(broker=broker, queue_name="work", **options)
        def act() -> None:
            runs.append(1)
            if left:
                raise left.pop(0)

        act.send()
        work_on(broker)
        return runs

    return run


def dead_letter(sqs: MemorySqs) -> Any:
    [stored] = sqs.messages("work_dlq")
    return {name: value["StringValue"] for name, value in stored.attributes.items()}


def test_a_failed_message_runs_again_without_being_sent_again(sqs: MemorySqs, failing: Any) -> None:
    runs = failing(OSError("a"), OSError("b"))

    eventually(lambda: not sqs.messages("work"), "the message succeeded")
    assert len(runs) == 3
    assert sqs.calls["send_message"] == 1
    assert not sqs.messages("work_dlq")


def test_a_send_that_always_fails_cannot_lose_a_retry(sqs: MemorySqs, failing: Any) -> None:
    runs = failing(OSError("a"))
    sqs.fail("send_message", code="RequestThrottled", times=100)

    eventually(lambda: not sqs.messages("work"), "the message succeeded")
    assert len(runs) == 2


def test_a_message_waits_out_its_backoff_before_it_runs_again(sqs: MemorySqs, failing: Any) -> None:
    failing(OSError("a"), retries=VisibilityRetries(min_backoff=60_000))

    eventually(lambda: sqs.calls["change_message_visibility_batch"], "it was given back")
    [stored] = sqs.messages("work")
    assert not stored.is_ready


def test_the_last_attempt_goes_to_the_dead_letters_with_the_reason(
    sqs: MemorySqs, failing: Any
) -> None:
    runs = failing(*[OSError("disk full")] * 9)

    eventually(lambda: not sqs.messages("work"), "the message left the queue")
    assert len(runs) == 4
    assert dead_letter(sqs) == {
        "dead_letter_reason": "retries exceeded (4 receives): OSError: disk full",
        "dead_letter_queue": "work",
        "dead_letter_receives": "4",
    }


def test_a_dead_letter_has_the_body_as_it_was_received(sqs: MemorySqs, failing: Any) -> None:
    failing(ValueError("bad"), throws=(ValueError,))

    eventually(lambda: sqs.messages("work_dlq"), "the message is dead")
    [stored] = sqs.messages("work_dlq")
    body = json.loads(stored.body)
    assert (body["actor_name"], body["options"]) == ("act", {})


def test_an_exception_that_is_never_retried_is_dead_after_one_run(
    sqs: MemorySqs, failing: Any
) -> None:
    runs = failing(ValueError("bad"), throws=(ValueError,))

    eventually(lambda: sqs.messages("work_dlq"), "the message is dead")
    assert len(runs) == 1
    assert dead_letter(sqs)["dead_letter_reason"] == "never retried: ValueError: bad"


def test_a_predicate_decides_instead_of_the_number_of_retries(sqs: MemorySqs, failing: Any) -> None:
    failing(OSError("x"), OSError("y"), retry_when=lambda retries, error: retries < 1)

    eventually(lambda: sqs.messages("work_dlq"), "the message is dead")
    assert dead_letter(sqs)["dead_letter_reason"] == "not to be retried: OSError: y"


def test_an_actor_chooses_its_delay_by_raising_retry(sqs: MemorySqs, failing: Any) -> None:
    runs = failing(Retry(delay=0), retries=VisibilityRetries(min_backoff=600_000))

    eventually(lambda: not sqs.messages("work"), "the message ran again at once")
    assert len(runs) == 2


def test_a_message_interrupted_by_shutdown_is_given_back_at_once(
    sqs: MemorySqs, failing: Any
) -> None:
    runs = failing(Shutdown(), retries=VisibilityRetries(max_retries=0, min_backoff=600_000))

    eventually(lambda: not sqs.messages("work"), "the message ran again at once")
    assert len(runs) == 2


def test_a_reason_that_sqs_would_refuse_is_made_fit(sqs: MemorySqs, failing: Any) -> None:
    failing(ValueError("nul\x00 emoji \U0001f600 " + "é" * 2000), throws=ValueError)

    eventually(lambda: sqs.messages("work_dlq"), "the message is dead")
    reason = dead_letter(sqs)["dead_letter_reason"]
    assert reason.startswith("never retried: ValueError: nul  emoji")
    assert len(reason.encode()) <= 1024


def test_the_backoff_doubles_with_each_receive_and_half_of_it_is_random() -> None:
    for receives, most_s in [(1, 2), (2, 4), (5, 32), (60, 3600)]:
        drawn = [backoff_s(receives, min_s=2, max_s=3600) for _ in range(200)]

        assert most_s / 2 <= min(drawn) < max(drawn) <= most_s


def test_no_backoff_exceeds_what_sqs_allows() -> None:
    assert backoff_s(99, min_s=1, max_s=10**9) <= MAX_BACKOFF_S < 12 * 3600


def test_the_middleware_that_enqueues_copies_is_refused(sqs: MemorySqs) -> None:
    with pytest.raises(MiddlewareRefused, match="VisibilityRetries"):
        SQSBroker(client=sqs, middleware=[Retries()])


def test_a_broker_without_retries_gets_them(sqs: MemorySqs) -> None:
    broker = SQSBroker(client=sqs, middleware=[])

    assert VisibilityRetries in [type(m) for m in broker.middleware]
