"""A Dramatiq broker on Amazon SQS."""

from __future__ import annotations

import heapq
import logging
import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from dramatiq import Broker, Message, Worker
from dramatiq.common import iter_queue
from dramatiq.errors import QueueJoinTimeout
from dramatiq.middleware import Middleware, MiddlewareError, Retries, TimeLimit, default_middleware

from sharpwave.schemas.queues import MAX_BATCH_BYTES
from sharpwave.workers.sqs.acknowledging import Channel
from sharpwave.workers.sqs.bodies import Bodies, ClaimStore
from sharpwave.workers.sqs.errors import (
    EnqueueFailed,
    MiddlewareRefused,
    QueueUnavailable,
    RedriveMissing,
    Unsent,
)
from sharpwave.workers.sqs.holding import MOST_HIDDEN_S, Crew, Received
from sharpwave.workers.sqs.metrics import Metrics, Snapshot
from sharpwave.workers.sqs.queues import Queues, SqsClient, code_of, default_client
from sharpwave.workers.sqs.receiving import SqsConsumer
from sharpwave.workers.sqs.retries import SqsMessage, VisibilityRetries
from sharpwave.workers.sqs.sending import fields_of, send_many

log = logging.getLogger(__name__)

_CLOSE_S = 5.0
_JOIN_INTERVAL_S = 0.05
_EMPTY_LOOKS = 3
# For acknowledgements, up to sixteen calls a lane, and for threads that send.
_CONNECTIONS_BESIDE_POLLERS = 40


class SQSBroker(Broker):
    """Runs Dramatiq actors from SQS queues that already exist.

    Delivery is at least once: make actors idempotent. A message is hidden from
    other workers while this process holds it, comes back within
    `visibility_timeout_s` if the process dies, and is retried where it lies (see
    `VisibilityRetries`). The broker never creates a queue; provision each with a
    RedrivePolicy to `<queue>_dlq`.

    Message options: `group_id` is the MessageGroupId, which orders messages in a
    FIFO queue and makes a standard queue fair between groups.

    Args:
        client: a low-level SQS client; one is made from AWS's environment
            variables if absent, and closed with the broker.
        queue_prefix: physical names are `<prefix>-<queue>`.
        queue_places: queue name to URL, ARN or physical name, where it is not that.
        visibility_timeout_s: seconds a dead worker hides its messages; 30 to 60 in
            production. It is renewed while a task runs.
        hold_limit_s: seconds for which a running message is kept hidden at least. A
            longer time limit of the message, the actor or `TimeLimit` extends it;
            without a time limit it is kept for as long as it runs, SQS's 12 h at most.
        max_pollers: most receives under way per queue.
        max_body_bytes: largest body; 1 MiB at AWS.
        max_batch_bytes: most bytes in one batch of sends.
        claims: store for bodies above `claim_over_bytes`.
        claim_over_bytes: bodies above this size go to `claims`.
        middleware: replaces the default list, which is Dramatiq's with
            `VisibilityRetries` for `Retries`; that one is added if it is missing.

    Raises:
        MiddlewareRefused: `middleware` holds Dramatiq's own Retries.
        ValueError: a number can never work; it is named.
    """

    def __init__(
        self,
        *,
        client: SqsClient | None = None,
        queue_prefix: str = "",
        queue_places: Mapping[str, str] | None = None,
        visibility_timeout_s: int = 60,
        hold_limit_s: float = 900.0,
        max_pollers: int = 10,
        max_body_bytes: int = 1_048_576,
        max_batch_bytes: int = MAX_BATCH_BYTES,
        claims: ClaimStore | None = None,
        claim_over_bytes: int = 262_144,
        middleware: list[Middleware] | None = None,
    ) -> None:
        for name, value, least, most in (
            ("visibility_timeout_s", visibility_timeout_s, 1, MOST_HIDDEN_S),
            ("hold_limit_s", hold_limit_s, 0, math.inf),
            ("max_pollers", max_pollers, 1, math.inf),
            ("max_body_bytes", max_body_bytes, 1, math.inf),
            ("max_batch_bytes", max_batch_bytes, 1, math.inf),
            ("claim_over_bytes", claim_over_bytes, 0, math.inf),
        ):
            if not least <= value <= most:
                bounds = f"between {least} and {most}" if most < math.inf else f"{least} or more"
                raise ValueError(f"{name} is {value!r}; it must be {bounds}")
        self.worker: Worker | None = None
        self._hooks: dict[str, tuple[Callable[..., Any], ...]] = {}
        super().__init__(middleware=default_middlewares() if middleware is None else middleware)
        if not any(isinstance(m, VisibilityRetries) for m in self.middleware):
            self.add_middleware(VisibilityRetries())
        self._owns_client = client is None
        # Each long poll keeps a connection for 20 s, and botocore opens ten by itself.
        connections = max_pollers + _CONNECTIONS_BESIDE_POLLERS
        self._client = client or default_client(connections=connections)
        self._queues = Queues(self._client, prefix=queue_prefix, places=queue_places)
        self._bodies = Bodies(
            max_bytes=max_body_bytes, claims=claims, claim_over_bytes=claim_over_bytes
        )
        self._max_batch_bytes = max_batch_bytes
        self._max_pollers = max_pollers
        self._visibility_s = visibility_timeout_s
        self._hold_limit_s = hold_limit_s
        self._lock = threading.Lock()
        self._crew: Crew | None = None
        self._metrics: dict[str, Metrics] = {}
        self._channels: dict[str, Channel] = {}
        self._consumers: dict[str, SqsConsumer] = {}

    def add_middleware(
        self,
        middleware: Middleware,
        *,
        before: type[Middleware] | None = None,
        after: type[Middleware] | None = None,
    ) -> None:
        """Add a middleware.

        Raises:
            MiddlewareRefused: it is Dramatiq's Retries, which re-enqueues.
        """
        if isinstance(middleware, Retries):
            raise MiddlewareRefused(
                "dramatiq's Retries enqueues a copy and acknowledges the original, which can "
                "lose the message; use sharpwave.workers.sqs.VisibilityRetries"
            )
        super().add_middleware(middleware, before=before, after=after)
        self._hooks = {}  # found again at the next signal

    def declare_queue(self, queue_name: str) -> None:
        """Declare a queue, without asking SQS for it yet."""
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues[queue_name] = None
            self.emit_after("declare_queue", queue_name)

    def verify(self) -> None:
        """Check every declared queue; call it when a worker boots.

        Raises:
            QueueUnavailable: a queue does not exist.
            RedriveMissing: a queue has no RedrivePolicy.
        """
        for name in sorted(self.queues):
            if self._queues.redrive_target(name) is None:
                raise RedriveMissing(name)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 1000) -> SqsConsumer:
        """Begin to receive from a queue.

        Args:
            queue_name: a declared queue.
            prefetch: twice the number of threads; only used to guess that number
                where no worker has said it, as the broker paces itself.
            timeout: longest wait for the next message, in milliseconds; polls of
                SQS last 20 s whatever it is.

        Raises:
            QueueUnavailable: the queue does not exist; Dramatiq tries again.
        """
        with self._lock:
            # One channel a queue for the life of the broker: consumers come and go.
            if (channel := self._channels.get(queue_name)) is None:
                queue = self._queues.get(queue_name)
                if self._queues.redrive_target(queue_name) is None:
                    log.warning(str(RedriveMissing(queue_name)))
                if self._crew is None:
                    worker = self.worker
                    self._crew = Crew(worker.worker_threads if worker else max(1, prefetch // 2))
                channel = self._channels[queue_name] = Channel(
                    self._client,
                    self._queues,
                    queue=queue,
                    metrics=self._metrics_of(queue_name),
                    crew=self._crew,
                    recall=self._recall,
                    visibility_s=self._visibility_s,
                    hold_limit_s=self._hold_limit_s,
                )
        consumer = self._consumers[queue_name] = SqsConsumer(
            channel,
            bodies=self._bodies,
            actors=self.actors,
            judge=lambda message, error: self._retries.judge(self, message, error),
            timeout_s=timeout / 1000,
            max_pollers=self._max_pollers,
        )
        return consumer

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        """Send a message, `delay` milliseconds late, at most 15 minutes.

        Raises:
            Unsendable: SQS can never take it: too large, too late, not JSON.
            QueueUnavailable: its queue does not exist.
            EnqueueFailed: SQS refused it, or did not answer.
        """
        self.emit_before("enqueue", message, delay)
        queue = self._queues.get(message.queue_name)
        fields = fields_of(message, queue, bodies=self._bodies, delay_ms=delay)
        metrics = self._metrics_of(queue.name)
        try:
            self._client.send_message(QueueUrl=queue.url, **fields)
        except Exception as error:
            metrics.add(send_calls=1, send_failures=1)
            raise EnqueueFailed([Unsent(message, code_of(error), str(error))]) from error
        metrics.add(send_calls=1, sent=1)
        self.emit_after("enqueue", message, delay)
        return message

    def enqueue_many(
        self, messages: Iterable[Message[Any]], *, delay: int | None = None
    ) -> list[Message[Any]]:
        """Send messages in batches of ten, to any queues.

        Raises:
            EnqueueFailed: names the messages not accepted, after trying them all.
        """
        by_queue: dict[str, list[Message[Any]]] = {}
        for message in messages:
            self.emit_before("enqueue", message, delay)
            by_queue.setdefault(message.queue_name, []).append(message)
        failed: list[Unsent] = []
        for name, group in by_queue.items():
            try:
                queue = self._queues.get(name)
            # The other queues get theirs; the caller is told of all that failed.
            except QueueUnavailable as error:
                failed += (Unsent(message, "QueueUnavailable", str(error)) for message in group)
                continue
            failed += send_many(
                self._client,
                queue,
                group,
                bodies=self._bodies,
                delay_ms=delay,
                max_batch_bytes=self._max_batch_bytes,
                metrics=self._metrics_of(name),
            )
        # By identity: a caller may send equal messages, of which one is refused.
        refused = {id(unsent.message) for unsent in failed}
        every = [message for group in by_queue.values() for message in group]
        sent = [message for message in every if id(message) not in refused]
        for message in sent:
            self.emit_after("enqueue", message, delay)
        if failed:
            raise EnqueueFailed(failed, sent)
        return sent

    def snapshot(self, queue_name: str) -> Snapshot:
        """Return the counters and the state of a queue in this process."""
        consumer = self._consumers.get(queue_name)
        if (channel := self._channels.get(queue_name)) is not None:
            return channel.snapshot(pollers=consumer.pollers if consumer else 0)
        return Snapshot(counts=self._metrics_of(queue_name).copy())

    def drain(self, worker: Worker) -> None:
        """Stop receiving and give back what no thread of `worker` has begun.

        Dramatiq keeps its consumers until the last actor has returned. Here waiting
        messages go back to the queue at once, and only those running keep it waiting.
        Give `--worker-shutdown-timeout` less than the orchestrator's grace (25000 ms
        for 30 s): its default of ten minutes ends in SIGKILL, and then the running
        messages come back only when their visibility runs out.
        """
        # Consumers first, as they fill the work queue.
        for consumer in list(self._consumers.values()):
            consumer.drain()
        for item in iter_queue(worker.work_queue):  # type: ignore[no-untyped-call]
            consumer_of = self._consumers.get(item.message.queue_name)
            if consumer_of is not None:
                consumer_of.requeue([item.message])
            worker.work_queue.task_done()

    def close(self) -> None:
        """Settle what is finished, give back what still runs, and stop every thread.

        A long poll under way is abandoned; what it still brings is given back.
        """
        for consumer in list(self._consumers.values()):
            consumer.drain()
        for channel in list(self._channels.values()):
            channel.close(timeout_s=_CLOSE_S)
        self._consumers.clear()
        self._channels.clear()
        self._crew = None
        if self._owns_client:
            self._client.close()

    def flush(self, queue_name: str) -> None:
        """Delete every message of a queue; AWS takes up to a minute over it."""
        url = self._queues.get(queue_name).url
        try:
            self._client.purge_queue(QueueUrl=url)
        except Exception as error:
            # A queue can be purged once a minute.
            if "PurgeQueueInProgress" not in code_of(error):
                raise

    def flush_all(self) -> None:
        """Delete every message of every declared queue."""
        for queue_name in self.queues:
            self.flush(queue_name)

    def join(self, queue_name: str, *, timeout: int | None = None) -> None:
        """Wait, for tests, until a queue and this process hold no message.

        SQS's counts are approximate, so they must be zero three times running.

        Raises:
            QueueJoinTimeout: `timeout` milliseconds have passed.
        """
        until = time.monotonic() + timeout / 1000 if timeout is not None else None
        looks = 0
        while looks < _EMPTY_LOOKS:
            if until is not None and time.monotonic() >= until:
                raise QueueJoinTimeout(queue_name)  # type: ignore[no-untyped-call]
            channel = self._channels.get(queue_name)
            is_idle = channel is None or not channel.held.everything()
            is_empty = is_idle and not self._queues.depth(queue_name)
            looks = looks + 1 if is_empty else 0
            time.sleep(_JOIN_INTERVAL_S)

    def emit_before(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Call the middleware that has a hook for `signal`, skipping those that do not.

        The broker's own part comes first: at a shutdown receiving has stopped when
        ShutdownNotifications interrupts actors.
        """
        if signal == "process_message":
            message = args[0]
            channel = self._channels.get(message.queue_name)
            if isinstance(message, SqsMessage) and channel is not None:
                channel.began(message.received, self._time_limit_s(message))
        elif signal == "worker_boot":
            self.worker = args[0]
        elif signal == "worker_shutdown":
            self.drain(args[0])
        for hook in self._hooks_of(f"before_{signal}"):
            try:
                hook(self, *args, **kwargs)
            except Exception as error:
                # An ack or a nack cannot be skipped any more: the message would run again.
                if isinstance(error, MiddlewareError) and signal not in ("ack", "nack"):
                    raise
                log.critical("middleware failed before %s", signal, exc_info=True)

    def emit_after(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Call the middleware that has a hook for `signal`, last added first.

        A middleware that fails after an actor, for example because it could not
        send the next message of a pipeline, makes the message be retried as if the
        actor had failed, and as often; Dramatiq would acknowledge it.
        """
        failure: Exception | None = None
        for hook in reversed(self._hooks_of(f"after_{signal}")):
            try:
                hook(self, *args, **kwargs)
            except Exception as error:
                log.critical("middleware failed after %s", signal, exc_info=True)
                failure = error
        if failure is not None and signal == "process_message":
            message = args[0]
            if isinstance(message, SqsMessage) and message.verdict is None:
                self._retries.fail(self, message, failure)

    @property
    def _retries(self) -> VisibilityRetries:
        return next(m for m in self.middleware if isinstance(m, VisibilityRetries))

    def _time_limit_s(self, message: SqsMessage) -> float:
        """Return how long an actor may run, infinitely where nothing stops it."""
        limits = [m for m in self.middleware if isinstance(m, TimeLimit)]
        if not limits:
            return math.inf
        actor = self.actors.get(message.actor_name)
        options = actor.options if actor is not None else {}
        limit_ms = message.options.get("time_limit") or options.get(
            "time_limit", min(limit.time_limit for limit in limits)
        )
        # What Dramatiq cannot read it does not limit.
        return limit_ms / 1000 if isinstance(limit_ms, int | float) else math.inf

    def _recall(self, waiting: Collection[Received]) -> Sequence[Received]:
        """Take those of some messages that no thread has begun out of the worker's queue."""
        if self.worker is None:
            return ()
        queue = self.worker.work_queue
        recalled: list[Received] = []
        # Its lock parts what a thread has taken from what none can take any more. The queue is a
        # heap by priority, so what stays is ordered anew.
        with queue.mutex:
            kept = []
            for item in queue.queue:
                received = getattr(item.message, "received", None)
                if received is not None and received in waiting:
                    recalled.append(received)
                else:
                    kept.append(item)
            heapq.heapify(kept)
            queue.queue[:] = kept
        for _ in recalled:
            queue.task_done()
        return recalled

    def _hooks_of(self, name: str) -> tuple[Callable[..., Any], ...]:
        if (hooks := self._hooks.get(name)) is None:
            hooks = tuple(
                getattr(m, name)
                for m in self.middleware
                # Those that do not override the hook would only cost a call for each message.
                if getattr(type(m), name, None) is not getattr(Middleware, name, None)
            )
            self._hooks[name] = hooks
        return hooks

    def _metrics_of(self, queue_name: str) -> Metrics:
        return self._metrics.setdefault(queue_name, Metrics())


class DieWithMaster(Middleware):
    """Ends a worker process whose master is gone.

    When Dramatiq's master is killed its workers live on unseen, and take
    messages from those that replace them. A watch of the parent's process id
    drains such a worker, and kills it if it has not finished in time.

    Args:
        grace_s: time to drain before SIGKILL, in seconds.
        interval_s: how often the parent is looked at, in seconds.
    """

    # Linux's parent-death signal is not used: it comes once for each dying thread of the master,
    # and a Dramatiq worker takes its second SIGTERM as an order to quit without a drain.

    def __init__(self, *, grace_s: float = 30.0, interval_s: float = 0.5) -> None:
        self._grace_s = grace_s
        self._interval_s = interval_s

    def after_process_boot(self, broker: Broker) -> None:
        """Begin to watch, in a worker process."""
        # None in the master itself, and where the broker is run without one.
        master = multiprocessing.parent_process()
        if master is not None:
            threading.Thread(
                target=self._watch, args=(master.pid,), name="die-with-master", daemon=True
            ).start()

    def _watch(self, master: int) -> None:
        while os.getppid() == master:
            time.sleep(self._interval_s)
        # To Dramatiq a first SIGTERM means to drain.
        log.critical("master gone", extra={"master_pid": master})
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(self._grace_s)
        os.kill(os.getpid(), signal.SIGKILL)


def default_middlewares() -> list[Middleware]:
    """Return Dramatiq's default middleware, safe for SQS.

    `VisibilityRetries` replaces `Retries`, and `DieWithMaster` leaves no orphans.
    """
    kept: list[Middleware] = [kind() for kind in default_middleware if kind is not Retries]
    return [*kept, VisibilityRetries(), DieWithMaster()]
