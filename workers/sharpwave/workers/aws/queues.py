"""Messages for SQS in batches of ten: for inboxes, for work queues, and what a stream leads to.

One sender does all of it. What tells its users apart is when they give up: a worker soon, for its
own message comes again; a stream never, for behind the record in hand all others wait.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from threading import Event, Lock
from typing import Any, NamedTuple, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from sharpwave.schemas import queues, tables
from sharpwave.schemas.queues import MAX_BATCH_BYTES, batches
from sharpwave.workers.aws.errors import ATTEMPTS, code_of, full_jitter_s, in_words_of_ports
from sharpwave.workers.work.outgoing import WorkMessage
from sharpwave.workers.work.ports import CallRefused, Fate, InboxMessage, TryAgain

log = logging.getLogger(__name__)

T = TypeVar("T")

_PREFIX = "AWS.SimpleQueueService."
#: After how long an agent's urgent queue is looked for again; how many that had none are known.
_LOOK_AGAIN_S, _REMEMBERED = 60.0, 10_000
_GONE = frozenset({"NonExistentQueue", "QueueDoesNotExist"})
#: Refusals of a whole call that a smaller call, or a call without one bad message, may escape.
_CONTENT_FAULTS = frozenset(
    {"BatchRequestTooLong", "InvalidMessageContents", "InvalidParameterValue"}
)

OnRefused = Callable[[WorkMessage, str, str], None]
"""Parks a message for good: (message, SQS error code, SQS error message). Called from any
thread; when it raises, the message counts as not accepted and comes again."""


class SendAbandoned(Exception):
    """A stop was asked for before SQS accepted every message."""

    def __init__(self, count: int) -> None:
        """Say how many messages were not accepted."""
        super().__init__(f"{count} messages were not accepted before the stop; they are sent again")
        self.count = count


class QueueUrls:
    """Queue URLs by logical name, looked up once; safe to share between threads."""

    def __init__(self, client: Any, *, prefix: str = "") -> None:
        """Look up through a low-level `sqs` client."""
        self._client, self._prefix = client, prefix
        self._urls: dict[str, str] = {}
        self._lock = Lock()

    def find(self, name: str) -> str | None:
        """Give a queue's URL, or None if there is no such queue.

        Raises:
            ClientError: SQS does not tell.
            BotoCoreError: it does not answer.
        """
        with self._lock:
            known = self._urls.get(name)
        if known is not None:
            return known
        try:
            reply = self._client.get_queue_url(QueueName=tables.physical(name, self._prefix))
        except ClientError as error:
            if code_of(error).removeprefix(_PREFIX) in _GONE:
                return None
            raise
        with self._lock:
            return self._urls.setdefault(name, str(reply["QueueUrl"]))

    def forget(self, name: str) -> None:
        """Look a queue up anew next time."""
        with self._lock:
            self._urls.pop(name, None)


class Unaccepted(NamedTuple):
    """A message that SQS did not accept.

    Attributes:
        place: where it is among those that were to be sent.
        code: SQS's code without its prefix, or the name of the error.
        reason: SQS's words.
        is_final: it would be refused at any later time too.
        is_call: the whole call failed, not this entry of it.
        is_gone: SQS says that there is no such queue.
        cause: what botocore raised, if it raised.
    """

    place: int
    code: str
    reason: str
    is_final: bool = False
    is_call: bool = False
    is_gone: bool = False
    cause: ClientError | BotoCoreError | None = None


class BatchSender:
    """Sends messages to their queues, ten to a call and several calls at a time.

    What SQS refuses for what it is is never sent again; `on_refused` parks it. All else that it
    refuses of a batch is sent again. Safe to share between threads.

    Args:
        client: a low-level `sqs` client.
        urls: finds the queues.
        on_refused: parks a message for good; without it the message is given back.
        parallel: most calls under way at once, beside one of each thread that sends.
        max_bytes: most bytes of all bodies in one call.
        cap_s: the greatest ceiling of the wait before something is sent again.
        stop: when set, nothing is sent again.
    """

    def __init__(
        self,
        client: Any,
        *,
        urls: QueueUrls,
        on_refused: OnRefused | None = None,
        parallel: int = 8,
        max_bytes: int = MAX_BATCH_BYTES,
        cap_s: float = 5.0,
        stop: Event | None = None,
    ) -> None:
        self._client, self._urls, self._on_refused = client, urls, on_refused
        self._max_bytes, self._cap_s = max_bytes, cap_s
        self._stop = stop or Event()
        self._pool = ThreadPoolExecutor(parallel, thread_name_prefix="send")

    def send(
        self, messages: Sequence[WorkMessage], *, attempts: int | None = ATTEMPTS
    ) -> list[Unaccepted]:
        """Send messages, and give those that were not accepted.

        Args:
            messages: for any queues; each queue is sent its own in order, though SQS keeps none.
            attempts: calls that are made for a message that SQS does not accept. A call that
                fails whole is not made again, for botocore did that already. None goes on until
                all are accepted or parked, or a stop, whatever fails.
        """
        given_up: list[Unaccepted] = []
        todo: Sequence[int] = range(len(messages))
        failures = 0
        for attempt in count(1):
            again: list[Unaccepted] = []
            for each in self._attempt(messages, todo):
                if each.is_final and self._on_refused is None:
                    given_up.append(each)
                elif each.is_call and not each.is_final and attempts is not None:
                    given_up.append(each)
                elif not (each.is_final and self._park(messages[each.place], each)):
                    again.append(each)
            if not again or attempt == attempts:
                break
            for queue, one in {messages[each.place].queue: each for each in again}.items():
                fields = {"queue": queue, "code": one.code, "reason": one.reason}
                log.warning("queue_refused", extra=fields)
            # The page in hand was tried once even if the stop is set already: a pump that is told
            # to end mostly gets through with it.
            failures = 0 if len(again) < len(todo) else failures
            if self._stop.wait(full_jitter_s(failures, cap_s=self._cap_s)):
                break
            failures += 1
            todo = [each.place for each in again]
        return given_up + again

    def close(self) -> None:
        """End the threads that send; nothing may be sent afterwards."""
        self._pool.shutdown()

    def _attempt(self, messages: Sequence[WorkMessage], todo: Iterable[int]) -> list[Unaccepted]:
        by_queue: dict[str, list[int]] = {}
        for index in todo:
            by_queue.setdefault(messages[index].queue, []).append(index)

        def size(index: int) -> int:
            return len(messages[index].body.encode())

        parts = [
            batch
            for indexes in by_queue.values()
            for batch in batches(indexes, size=size, max_bytes=self._max_bytes)
        ]
        # Calls to any queues wait for SQS together; one of them needs no thread but this.
        others = [self._pool.submit(self._send_batch, messages, part) for part in parts[1:]]
        answers = [self._send_batch(messages, part) for part in parts[:1]]
        answers += [each.result() for each in others]
        return [each for answer in answers for each in answer]

    def _send_batch(
        self, messages: Sequence[WorkMessage], batch: Sequence[int]
    ) -> list[Unaccepted]:
        queue = messages[batch[0]].queue
        if queue not in queues.WORK_QUEUE_NAMES and not queue.startswith(queues.INBOX_PREFIX):
            known = ", ".join(queues.WORK_QUEUE_NAMES)
            reason = f"queue {queue!r} is not configured; known are {known}"
            return [Unaccepted(index, "UnknownQueue", reason, is_final=True) for index in batch]
        entries: list[dict[str, Any]] = []
        for index in batch:
            message = messages[index]
            delay = {"DelaySeconds": message.delay_s} if message.delay_s else {}
            entries.append({"Id": str(index), "MessageBody": message.body, **delay})
        try:
            url = self._urls.find(queue)
            if url is None:
                why = "QueueDoesNotExist", f"there is no queue {queue}"
                return [Unaccepted(index, *why, is_call=True, is_gone=True) for index in batch]
            answer = self._client.send_message_batch(QueueUrl=url, Entries=entries)
        except (ClientError, BotoCoreError) as error:
            code = code_of(error).removeprefix(_PREFIX) or type(error).__name__
            is_final = code in _CONTENT_FAULTS
            if is_final and len(batch) > 1:
                # The call was refused for one of them, and does not say which.
                return [left for index in batch for left in self._send_batch(messages, [index])]
            is_gone = code in _GONE
            if is_gone:
                # Its maker may make it anew, with another URL.
                self._urls.forget(queue)
            text = str(error)
            return [Unaccepted(each, code, text, is_final, True, is_gone, error) for each in batch]
        accepted = {entry["Id"] for entry in answer.get("Successful", ())}
        failed: dict[str, Mapping[str, Any]] = {
            entry["Id"]: entry for entry in answer.get("Failed", ())
        }
        unaccepted = []
        for index in batch:
            entry = failed.get(str(index))
            if entry is not None:
                # AWS also calls it the sender's fault when it throttles: see `is_final`.
                code, reason = entry.get("Code", "Unknown"), entry.get("Message", "")
                unaccepted.append(Unaccepted(index, code, reason, queues.is_final(entry)))
            elif str(index) not in accepted:
                # What an answer leaves out may be lost. Twice is safe, never is not.
                unaccepted.append(Unaccepted(index, "missing", "SQS did not mention it"))
        return unaccepted

    def _park(self, message: WorkMessage, refusal: Unaccepted) -> bool:
        assert self._on_refused is not None
        fields = {"queue": message.queue, "code": refusal.code, "reason": refusal.reason}
        try:
            self._on_refused(message, refusal.code, refusal.reason)
        except Exception:
            log.exception("refused_message_not_parked", extra=fields)
            return False
        log.error("message_refused", extra=fields)
        return True


class StreamSender:
    """Hands on what the records of a stream lead to, until SQS accepted it or it is parked.

    A message that SQS refuses for what it is counts as accepted once it is parked: it would be
    refused for ever and hold up all that follows it in its shard.
    """

    def __init__(self, sender: BatchSender) -> None:
        """Send through `sender`, which must know how to park."""
        self._sender = sender

    def send(self, messages: Sequence[WorkMessage]) -> None:
        """Return once every message is accepted or parked, however long that takes.

        Raises:
            SendAbandoned: a stop came first; some messages may have been accepted.
        """
        if unaccepted := self.try_send(messages, attempts=None):
            raise SendAbandoned(len(unaccepted))

    def try_send(
        self, messages: Sequence[WorkMessage], *, attempts: int | None
    ) -> list[WorkMessage]:
        """Try a number of times, or until a stop with None; give what was not accepted."""
        left = self._sender.send(messages, attempts=attempts)
        return [messages[each.place] for each in left]


class SqsInboxes:
    """`Inboxes` on SQS."""

    def __init__(
        self, client: Any, *, urls: QueueUrls, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Send through a low-level `sqs` client."""
        self._sender, self._clock = BatchSender(client, urls=urls), clock
        self._plain: dict[str, float] = {}

    def send(self, posts: Sequence[InboxMessage]) -> list[Fate]:
        """Send messages, and say of each what became of it.

        A copy for the urgent queue decides nothing: without it a message has lost its hurry, and
        an agent of an older deployment has no such queue.
        """
        now = self._clock()
        copied = [post for post in posts if post.urgent and self._plain.get(post.target, 0) <= now]
        names = {target: queues.inbox(target).name for target in {post.target for post in posts}}
        messages = [WorkMessage(names[post.target], post.body, ()) for post in posts]
        messages += [
            WorkMessage(queues.urgent_inbox(post.target).name, post.body, ()) for post in copied
        ]
        fates = [Fate.SENT] * len(posts)
        why: dict[str, str] = {}
        for each in self._sender.send(messages):
            if each.place >= len(posts):
                target = copied[each.place - len(posts)].target
                if each.is_gone:
                    # Anyone can name targets, so what is remembered of them is bounded.
                    self._plain = {} if len(self._plain) > _REMEMBERED else self._plain
                    self._plain[target] = now + _LOOK_AGAIN_S
                else:
                    log.warning("urgent_copy_failed", extra={"target": target, "error": each.code})
                continue
            fates[each.place] = Fate.GONE if each.is_gone else Fate.FAILED
            if not each.is_gone:
                why[posts[each.place].target] = f"{each.code}: {each.reason}"
        for target, error in why.items():
            log.warning("inbox_failed", extra={"target": target, "error": error})
        return fates


class SqsWorkQueues:
    """`WorkQueues` on SQS."""

    def __init__(self, client: Any, *, urls: QueueUrls) -> None:
        """Send through a low-level `sqs` client."""
        self._sender = BatchSender(client, urls=urls)

    def send(self, messages: Sequence[WorkMessage]) -> None:
        """Send messages; returns once every one was accepted.

        Raises:
            TryAgain: a queue is gone, or did not accept them all.
            CallRefused: SQS will never take one of them as it is.
        """
        unaccepted = self._sender.send(messages)
        if not unaccepted:
            return
        # The one that no patience mends decides how long the message that led to it is tried.
        first = max(unaccepted, key=lambda each: each.is_final)
        queue = messages[first.place].queue
        if first.is_gone:
            raise TryAgain(f"work queue {queue} does not exist; run `sharpwave provision`")
        if first.cause is not None and not first.is_final:
            raise in_words_of_ports(first.cause, f"SendMessageBatch to {queue}") from first.cause
        kind = CallRefused if first.is_final else TryAgain
        text = f"{queue} refused {len(unaccepted)} messages: {first.code}: {first.reason}"
        raise kind(text) from first.cause
