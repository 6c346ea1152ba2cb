"""Periodic work: idempotent messages, sent by the pump on a laptop and by a scheduler at AWS."""

import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple

from sharpwave.schemas.times import Clock
from sharpwave.workers.work.envelope import Duty, Entry, ascii_json, message, pack
from sharpwave.workers.work.outgoing import WorkMessage


class Periodic(NamedTuple):
    """A periodic duty: its tick, and the duty each agent's share of it is sent to."""

    tick: Duty
    share: Duty | None


EXPIRY = Periodic(Duty("status", "on_expiry_tick", 1), None)
SWEEP = Periodic(Duty("promote", "on_sweep_tick", 1), Duty("promote", "on_sweep", 10))
FIGURES = Periodic(Duty("learn", "on_figures_tick", 1), None)
ALL = (EXPIRY, SWEEP, FIGURES)


def tick(periodic: Periodic, *, clock: Clock, **more: Any) -> WorkMessage:
    """Make one tick, with more for its handler to go on from where another one stopped."""
    nonce = Entry(ascii_json({"tick": secrets.token_hex(8), **more}), "")
    body = message(periodic.tick, [nonce], moment_ms=int(clock() * 1000))
    return WorkMessage(periodic.tick.queue, body, ())


def per_agent(periodic: Periodic, agents: Sequence[str], *, clock: Clock) -> list[WorkMessage]:
    """Split a tick into messages for a few agents each."""
    assert periodic.share is not None
    now = clock()
    entries = [Entry(ascii_json({"agent": agent, "tick": now}), "") for agent in agents]
    return list(pack(periodic.share, entries, moment_ms=int(now * 1000)))
