"""An event source mapping of a DynamoDB stream as AWS documents it: partial answers, bisecting,
retries, age, and what it discards into a bucket. Emulators have no more than the calling."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]
Function = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class EventSourceMapping:
    """Reads one shard.

    Attributes:
        position: how many records are behind it.
        discarded: the objects that it wrote to its bucket.
        enabled: whether it reads at all.
    """

    def __init__(
        self,
        stream: Sequence[Record],
        function: Function,
        *,
        batch_size: int,
        retries: int,
    ) -> None:
        self._stream, self._function = stream, function
        self._batch_size, self._retries = batch_size, retries
        self.position = 0
        self.discarded: list[str] = []
        self.enabled = True

    def poll(self) -> bool:
        """Take one batch to its end; say whether there was one."""
        batch = self._stream[self.position : self.position + self._batch_size]
        if not batch or not self.enabled:
            return False
        self._carry(batch, self._retries)
        self.position += len(batch)
        return True

    def _carry(self, batch: Sequence[Record], retries: int) -> None:
        """Call with a batch until it is done or discarded; halves are tried by themselves."""
        while batch:
            try:
                answer = self._function({"Records": list(batch)})
            except Exception:
                # A function that died says nothing of which record it was. Halving takes no retry.
                if len(batch) > 1:
                    half = len(batch) // 2
                    self._carry(batch[:half], retries)
                    self._carry(batch[half:], retries)
                    return
                failed = batch
            else:
                numbers = [each["itemIdentifier"] for each in answer["batchItemFailures"]]
                if not numbers:
                    return
                places = [i for i, each in enumerate(batch) if _number(each) in numbers]
                # Everything before the lowest is checkpointed; an unknown one fails all of it.
                failed = batch[places[0] :] if places else batch
            if len(failed) == len(batch):
                if not retries:
                    self.discarded.append(_object(batch))
                    return
                retries -= 1
            batch = failed


def _number(record: Record) -> str:
    return str(record["dynamodb"]["SequenceNumber"])


def _object(batch: Sequence[Record]) -> str:
    about = {
        "requestContext": {"condition": "RetryAttemptsExhausted"},
        "version": "1.0",
        "DDBStreamBatchInfo": {
            "shardId": "shardId-00000001573416182150-fd4e1a2e",
            "startSequenceNumber": _number(batch[0]),
            "endSequenceNumber": _number(batch[-1]),
            "batchSize": len(batch),
            "streamArn": batch[0]["eventSourceARN"],
        },
        "payload": json.dumps({"Records": list(batch)}),
    }
    return json.dumps(about)
