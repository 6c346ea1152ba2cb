"""Waiting for quiet: a run is judged when nothing is under way, not when time is up."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping

from sharpwave.infra.connection import Deployment
from sharpwave.infra.operate.items import Items
from sharpwave.infra.operate.mailbox import Mailbox
from sharpwave.schemas import keys, queues
from sharpwave.schemas.queues import WORK_QUEUE_NAMES
from sharpwave.schemas.tables import PIPELINE, STREAMED

#: Queues that ticks keep sending to: they are empty in between only.
_TICKED = frozenset({"status", "promote", "learn"})
_LOOK_EVERY_S, _TELL_EVERY_S, _LOOK_AT_INBOXES_EVERY_S = 0.1, 5.0, 2.0

Held = dict[str, int]


class Quiet:
    """Tells when queues and streams have been still for longer than anything can hide.

    Args:
        deployment: the backend, not through the fault proxy.
        still_s: how long nothing may have been under way, in seconds.
        agents: whose inbox queues count. They may be hundreds, so they are looked at only while
            everything else is still.
    """

    def __init__(self, deployment: Deployment, *, still_s: float, agents: Iterable[str]) -> None:
        self._work = [Mailbox(deployment, name) for name in WORK_QUEUE_NAMES]
        self._inboxes = [Mailbox(deployment, queues.inbox(name).name) for name in agents]
        self._items = Items(deployment)
        self._still_s = still_s

    def wait(
        self, within_s: float, tell: Callable[[str], None], *, not_before: float = 0.0
    ) -> Held:
        """Wait until all is still; gives what was not within `within_s` seconds, by name.

        Not before an epoch second at which something may still become due by itself.
        """
        deadline = max(time.time(), not_before) + within_s
        since, positions = time.time(), self._positions()
        emptied: set[str] = set()
        told = looked = 0.0
        full: Held = {}
        while True:
            held = _depths(self._work)
            now, moved = time.time(), self._positions()
            if not held.keys() - _TICKED and now - looked > _LOOK_AT_INBOXES_EVERY_S:
                looked, full = now, _depths(self._inboxes)
            held |= full
            if moved != positions or held.keys() - _TICKED:
                since, positions, emptied = now, moved, set()
            emptied |= _TICKED - held.keys()
            if now - since >= self._still_s and emptied == _TICKED and now >= not_before:
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
            for row in self._items.query(PIPELINE, keys.checkpoint_pk(table)):
                yield f"{table} {row['SK']}", str(row["position"])


def _depths(boxes: Iterable[Mailbox]) -> Held:
    """Give the queues that hold messages, those delayed or in somebody's hands too."""
    return {box.name: count for box in boxes if (count := box.depth().total)}


def _listed(held: Mapping[str, int]) -> str:
    shown = [f"{count} {name}" for name, count in list(held.items())[:8]]
    return ", ".join(shown + ([f"and {len(held) - 8} more"] if len(held) > 8 else []))
