"""How many AWS calls a process made, by operation, and what they consumed."""

import logging
from collections import Counter
from functools import partial
from threading import Lock
from typing import Any

from sharpwave.workers.metering import Charge, Names, charges, observing, reported

log = logging.getLogger(__name__)

_REQUEST, _OPERATION, _ASKED = "sharpwave_request", "sharpwave_operation", "sharpwave_asked"


class CallMeter:
    """Counts the calls of botocore clients, and their capacity; safe to share between threads.

    AWS is asked for the capacity each call consumed. Any other backend is asked for the items of
    a sample of changes, which the caller never sees, and sizes decide by DynamoDB's rules.
    """

    def __init__(self, *, prefix: str = "") -> None:
        """Start at nothing; `prefix` goes before the physical names of tables and queues."""
        self._names = Names(prefix)
        self._calls: Counter[str] = Counter()
        self._used: dict[str, list[float]] = {}
        self._seen: dict[str, list[float]] = {}
        self._sample = observing.Sample()
        self._lock = Lock()

    def watch(self, client: Any) -> Any:
        """Count a client's calls from now on; gives the client back."""
        self.watch_events(client.meta.events, endpoint_url=client.meta.endpoint_url)
        return client

    def watch_events(self, events: Any, *, endpoint_url: str) -> None:
        """Count the calls of clients yet to be made from a session with this event emitter.

        Args:
            events: the session's `events`; a client copies its handlers when it is made.
            endpoint_url: where those clients go.
        """
        is_aws = observing.tells_capacity(endpoint_url)
        events.register("before-parameter-build", partial(self._prepare, is_aws))
        events.register("after-call", partial(self._settle, is_aws))
        events.register("after-call-error", self._failed)

    def snapshot(self) -> dict[str, int]:
        """Give the calls so far, by operation such as `dynamodb.PutItem`."""
        with self._lock:
            return dict(self._calls)

    @property
    def total(self) -> int:
        """Count every call; a retry inside botocore belongs to its call."""
        with self._lock:
            return self._calls.total()

    def used(self) -> dict[str, tuple[int, float]]:
        """Give counts and units so far, by verb and thing such as `write:row`.

        Units are write units, read units, SQS requests of 64 KB, or calls, as the verb says.
        """
        with self._lock:
            return {what: (int(number), units) for what, (number, units) in self._used.items()}

    def _prepare(
        self, is_aws: bool, params: dict[str, Any], model: Any, context: dict[str, Any], **_: Any
    ) -> None:
        if model.service_model.service_name == "dynamodb":
            if is_aws:
                observing.ask_capacity(model.name, params)
            else:
                context[_ASKED] = observing.ask_old_image(
                    model.name, params, sample=self._sample, names=self._names
                )
        # A copy, for whoever writes the request may use it up.
        context[_REQUEST] = dict(params)
        context[_OPERATION] = f"{model.service_model.service_name}.{model.name}"

    def _settle(
        self, is_aws: bool, parsed: dict[str, Any], model: Any, context: dict[str, Any], **_: Any
    ) -> None:
        found: list[Charge] = []
        try:
            found = self._charges(context[_OPERATION], context[_REQUEST], parsed, is_aws=is_aws)
        except Exception:
            # What a call costs is never a reason to fail it.
            log.exception("call_not_metered", extra={"operation": model.name})
        if asked := context.get(_ASKED):
            observing.hide_old_image(model.name, parsed, asked)
        self._add(context[_OPERATION], found)

    def _charges(
        self, operation: str, request: Any, reply: dict[str, Any], *, is_aws: bool
    ) -> list[Charge]:
        told = reported(operation, request, reply, self._names) if is_aws else None
        return list(charges(operation, request, reply, self._names)) if told is None else told

    def _failed(self, context: dict[str, Any], **_: Any) -> None:
        self._add(context[_OPERATION], [])

    def _add(self, operation: str, found: list[Charge]) -> None:
        with self._lock:
            self._calls[operation] += 1
            for charge in found:
                held = self._used.setdefault(charge.what, [0, 0.0])
                held[0] += charge.number
                held[1] += charge.units if charge.guessed is None else self._changed(charge)

    def _changed(self, charge: Charge) -> float:
        """Give the units of a change; one not seen costs what those that were seen cost."""
        seen = self._seen.setdefault(charge.what, [0, 0.0])
        if not charge.guessed:
            seen[0] += charge.number
            seen[1] += charge.units
        elif seen[0]:
            return max(charge.units, charge.number * seen[1] / seen[0])
        return charge.units
