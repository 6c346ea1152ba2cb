"""Waiting for quiet: a run is judged when nothing is under way, not when time is up."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping

from sharpwave.infra.chaos import roster
from sharpwave.infra.connection import Deployment
from sharpwave.infra.items import Items
from sharpwave.infra.mailbox import Mailbox
from sharpwave.schemas import keys
from sharpwave.schemas.queues import WORK_QUEUE_NAMES
from sharpwave.schemas.tables import PIPELINE, STREAMED

#: Queues that ticks keep sending to: they are empty in between only.
_TICKED = frozenset({"status", "promote", "learn"})
_LOOK_EVERY_S, _TELL_EVERY_S = 0.1, 5.0

Held = dict[str, int]


class Quiet:
    """Tells when queues and streams have been still for longer than anything can hide.

    Args:
        deployment: the backend, not through the fault proxy.
        still_s: how long nothing may have been under way, in seconds.
    """

    def __init__(self, deployment: Deployment, *, still_s: float) -> None:
        inboxes = [f"inbox-{name}" for name in roster.AGENTS]
        self._boxes = [Mailbox(deployment, name) for name in (*WORK_QUEUE_NAMES, *inboxes)]
        self._items = Items(deployment)
        self._still_s = still_s

    def wait(self, within_s: float, tell: Callable[[str], None]) -> Held:
        """Wait until all is still; gives what was not within `within_s` seconds, by name."""
        deadline = time.monotonic() + within_s
        since, positions = time.monotonic(), self._positions()
        emptied: set[str] = set()
        told = since
        while True:
            held = {box.name: count for box in self._boxes if (count := box.depth().total)}
            now, moved = time.monotonic(), self._positions()
            if moved != positions or held.keys() - _TICKED:
                since, positions, emptied = now, moved, set()
            emptied |= _TICKED - held.keys()
            if now - since >= self._still_s and emptied == _TICKED:
                return {}
            if now - told > _TELL_EVERY_S:
                told = now
                tell(f"settling, under way: {_listed(held) or 'nothing'}")
            if now > deadline:
                return held or dict.fromkeys(sorted(_TICKED - emptied) or ["streams"], 1)
            threading.Event().wait(_LOOK_EVERY_S)

    def _positions(self) -> list[tuple[str, str]]:
        return list(self._checkpoints())

    def _checkpoints(self) -> Iterable[tuple[str, str]]:
        for table in STREAMED:
            for row in self._items.query(PIPELINE, keys.checkpoint(table, "").pk):
                yield f"{table} {row['SK']}", str(row["position"])


def _listed(held: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in held.items())
