"""A failed message is retried where it lies; it is never enqueued a second time."""

import json
import time
from collections.abc import Callable
from typing import Any

import dramatiq
import pytest
from dramatiq.errors import Retry
from dramatiq.middleware import Retries, Shutdown

from sharpwave.workers.sqs import MiddlewareRefused, SQSBroker, VisibilityRetries
from sharpwave.workers.sqs.holding import Received
from sharpwave.workers.sqs.retries import (
    MAX_BACKOFF_S,
    DeadLetter,
    RetryIn,
    SqsMessage,
    backoff_s,
)
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


@pytest.mark.parametrize("name", ["max_retries", "min_backoff", "max_backoff"])
def test_retries_refuse_nonsense(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is -1; it must be 0 or more"):
        VisibilityRetries(**{name: -1})  # type: ignore[arg-type]


# What is judged, without a queue.


@pytest.fixture
def broker(broker_on: Callable[..., SQSBroker]) -> SQSBroker:
    return broker_on()


@pytest.fixture
def received(broker: SQSBroker) -> Callable[..., SqsMessage]:
    """Give a message of an actor with `options` as SQS hands it out, for the n-th time."""

    def receive(receives: int = 1, message: Any = None, **options: Any) -> SqsMessage:
        name = f"act-{len(broker.actors)}"
        act = dramatiq.actor(broker=broker, queue_name="work", actor_name=name, **options)
        made: Any = act(lambda: None).message_with_options(**(message or {}))
        return SqsMessage(made, Received("handle", str(made.encode()), receives, 0.0, 0.0, 0.0))

    return receive


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records]


@pytest.fixture
def longest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each delay be as long as it may."""
    monkeypatch.setattr("random.uniform", lambda least, most: most)


@pytest.fixture
def verdict(broker: SQSBroker) -> Callable[..., RetryIn | DeadLetter]:
    def judge(message: SqsMessage, error: Any = None, retries: Any = None) -> RetryIn | DeadLetter:
        return (retries or VisibilityRetries()).judge(broker, message, error or OSError("no"))

    return judge


def test_unless_told_otherwise_there_are_nine_retries_from_a_second_to_an_hour(
    received: Any, verdict: Any, longest: None
) -> None:
    delays = [verdict(received(n)) for n in range(1, 10)]
    most = verdict(received(20), retries=VisibilityRetries(max_retries=None))

    assert delays == [RetryIn(2.0**n) for n in range(9)]
    assert most == RetryIn(3600)
    assert verdict(received(10)) == DeadLetter(
        "retries exceeded (10 receives): OSError: no", is_exhausted=True
    )


@pytest.mark.parametrize(
    ("option", "broad", "narrow", "given"),
    [
        ("max_retries", 0, 3, RetryIn(4)),
        ("min_backoff", 1, 3_000, RetryIn(12)),
        ("max_backoff", 1, 3_000, RetryIn(3)),
    ],
)
def test_a_message_knows_better_than_its_actor_and_that_than_the_broker(
    received: Any, verdict: Any, longest: None, option: str, broad: int, narrow: int, given: RetryIn
) -> None:
    for_all: Any = VisibilityRetries
    by_actor = received(3, **{option: narrow})
    by_message = received(3, {option: narrow}, **{option: broad})

    assert verdict(received(3), retries=for_all(**{option: narrow})) == given
    assert verdict(by_actor, retries=for_all(**{option: broad})) == given
    assert verdict(by_message, retries=for_all(**{option: broad})) == given


def test_without_a_limit_a_message_is_retried_for_ever(received: Any, verdict: Any) -> None:
    assert isinstance(verdict(received(900, max_retries=None)), RetryIn)


def test_an_actors_own_delay_is_in_milliseconds_and_without_one_it_backs_off(
    received: Any, verdict: Any, longest: None
) -> None:
    assert verdict(received(), Retry(delay=1_500)) == RetryIn(1.5)
    assert verdict(received(), Retry()) == RetryIn(1)


def test_a_predicate_is_the_actors_or_the_brokers_and_never_in_a_body(
    received: Any, verdict: Any, longest: None
) -> None:
    never = VisibilityRetries(retry_when=lambda retries, error: False)
    asked: list[Any] = []

    def always(*told: Any) -> bool:
        asked.append(told)
        return True

    error = OSError("no")

    assert verdict(received(), error, never) == DeadLetter(
        "not to be retried: OSError: no", is_exhausted=True
    )
    assert verdict(received(99, retry_when=always), error, never) == RetryIn(3600)
    assert verdict(received(message={"retry_when": "always"}), error) == RetryIn(1)
    assert asked == [(98, error)]


def test_what_is_never_retried_says_so_even_on_the_last_attempt(
    received: Any, verdict: Any
) -> None:
    expected = DeadLetter("never retried: KeyError: 'k'", is_expected=True)

    assert verdict(received(99, throws=(LookupError,)), KeyError("k")) == expected
    # A body of JSON holds no exception, and one of another encoder may.
    by_message = received(99, throws=(OSError,))
    by_message.options["throws"] = (LookupError,)
    assert verdict(by_message, KeyError("k")) == expected


@pytest.mark.parametrize(("most", "last"), [(2, 3), (None, 10)])
def test_options_that_cannot_be_used_keep_a_message_but_not_for_ever(
    received: Any,
    verdict: Any,
    longest: None,
    caplog: pytest.LogCaptureFixture,
    most: int | None,
    last: int,
) -> None:
    retries = VisibilityRetries(max_retries=most, min_backoff=60_000)
    unusable = {"min_backoff": "soon", "max_retries": None}
    kept = received(last - 1, unusable)

    assert verdict(kept, retries=retries) == RetryIn(2.0 ** (last - 2))
    assert logged(caplog) == [("ERROR", "not judged")]
    assert caplog.records[0].__dict__["message_id"] == kept.message_id
    assert caplog.records[0].__dict__["error"].startswith("TypeError: unsupported operand")
    assert verdict(received(last, unusable), retries=retries) == DeadLetter(
        "its options cannot be used: OSError: no"
    )


@pytest.mark.parametrize(("written", "retries"), [(4, 5), (-3, 1), ("four", 1), (None, 1)])
def test_attempts_are_those_of_sqs_and_those_that_a_body_counted(
    received: Any, written: Any, retries: int
) -> None:
    message = received(2, {"retries": written})

    assert (message.receives, message.retries) == (2, retries)
    assert message.options["retries"] == retries


def test_a_message_that_was_received_says_what_the_one_that_was_sent_says(received: Any) -> None:
    message = received(1, {"priority": 3})

    for name in message._message.asdict():
        assert getattr(message, name) == getattr(message._message, name)


def test_a_message_is_the_same_by_its_queue_and_body(received: Any) -> None:
    message = received(1, {"retries": 1})
    again = SqsMessage(message._message, message.received)
    elsewhere = SqsMessage(message._message.copy(queue_name="other"), message.received)

    assert message == again
    assert message != elsewhere
    assert message != "message"


def test_whoever_listens_hears_of_the_delay_in_milliseconds_and_the_last_failure(
    broker: SQSBroker, received: Any, longest: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    heard: list[Any] = []

    class Listening(dramatiq.Middleware):
        def before_enqueue(self, broker: Any, message: Any, delay: Any) -> None:
            heard.append(("before", message.options["retries"], delay))

        def after_enqueue(self, broker: Any, message: Any, delay: Any) -> None:
            heard.append(("after", message.options["retries"], delay))

    message = received(2)
    broker.add_middleware(Listening())
    before_ms = time.time() * 1000

    try:
        raise OSError("disk full")
    except OSError as error:
        VisibilityRetries().fail(broker, message, error)

    assert message.verdict == RetryIn(2)
    assert heard == [("before", 2, 2_000), ("after", 2, 2_000)]
    assert "OSError: disk full" in message.options["traceback"]
    assert before_ms - 1 <= message.options["requeue_timestamp"] <= time.time() * 1000
    assert not message.failed
    assert logged(caplog) == [("INFO", "retry later")]
    assert caplog.records[0].__dict__["message_id"] == message.message_id
    assert caplog.records[0].__dict__["delay_s"] == 2


def test_a_traceback_of_any_depth_fits_a_message(broker: SQSBroker, received: Any) -> None:
    message = received()

    def there(left: int) -> None:
        back(left)

    def back(left: int) -> None:
        there(left - 1) if left else [].pop()

    try:
        there(100)
    except IndexError as error:
        VisibilityRetries().fail(broker, message, error)

    assert message.options["traceback"].count("\n  File ") == 30
    assert message.options["traceback"].endswith("IndexError: pop from empty list\n")


def test_a_message_that_is_never_retried_keeps_its_count(broker: SQSBroker, received: Any) -> None:
    message = received(2, throws=OSError)

    VisibilityRetries().fail(broker, message, OSError("no"))

    assert message.failed
    assert message.options["retries"] == 1


def test_no_failure_is_no_verdict(broker: SQSBroker, received: Any) -> None:
    message = received()

    VisibilityRetries().after_process_message(broker, message, result=1)

    assert message.verdict is None
