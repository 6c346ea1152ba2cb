"""What is wrong with a deployment, and the command that mends it."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import Literal

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import OperationFailed, Unreachable, translated
from sharpwave.infra.items import Items
from sharpwave.infra.operate.agents import AgentView, list_agents
from sharpwave.infra.operate.feed import Parked, list_parked
from sharpwave.infra.operate.queues import QueueView, is_silent, list_queues, paused_queues, wanted
from sharpwave.infra.provision.structure import Step, survey
from sharpwave.schemas import keys
from sharpwave.schemas.queues import DLQ_SUFFIX, WORK_QUEUE_NAMES, owner_of_queue
from sharpwave.schemas.tables import PIPELINE
from sharpwave.workers.signals.expiry import DUE_MARK

#: Clocks further apart make records look written in the future, or late.
MAX_SKEW_S = 5.0
#: Deadlines that passed longer ago than this should have been handed out.
OVERDUE_AFTER_S = 600.0


@dataclass(frozen=True, kw_only=True)
class Ailment:
    """One thing found: what it is and what mends it; a note is no fault."""

    level: Literal["wrong", "note"]
    area: str
    what: str
    mend: str = ""


def examine(deployment: Deployment, *, now: float | None = None) -> list[Ailment]:
    """Look at everything; what needs the tables is left out where they are missing."""
    moment = time.time() if now is None else now
    before = time.time()
    try:
        with translated(f"endpoint {deployment.place}"):
            answer = deployment.dynamodb.list_tables(Limit=1)
    except OperationFailed as error:
        # What credentials or settings lack, their own text says.
        mend = "sharpwave up" if isinstance(error, Unreachable) else ""
        return [_wrong("endpoint", str(error), mend)]
    found: list[Ailment] = []
    if date := answer["ResponseMetadata"]["HTTPHeaders"].get("date"):
        # The header has whole seconds, so the difference is known to a second only.
        skew = (before + time.time()) / 2 - parsedate_to_datetime(date).timestamp() - 0.5
        if abs(skew) > MAX_SKEW_S:
            direction = "ahead of" if skew > 0 else "behind"
            what = f"this clock is {abs(skew):.0f} s {direction} the backend's"
            mend = "set the clock by NTP: timedatectl set-ntp true"
            found.append(_wrong("clock", what, mend))
    structure = list(_structure(deployment))
    found += structure
    # A missing table would make an error of each of these; its own line says what to do.
    if not any(ailment.level == "wrong" for ailment in structure):
        views = list_queues(deployment)
        found += _queues(views, list_agents(deployment))
        by_owner: dict[str, list[Parked]] = {}
        for record in list_parked(deployment):
            by_owner.setdefault(record.owner or "nobody known", []).append(record)
        for owner, records in sorted(by_owner.items()):
            example = records[0].faults[0] if records[0].faults else "no reason given"
            what = f"{len(records)} refused records of {owner}, such as {example}"
            found.append(_wrong("parked", what, "sharpwave dlq show parked"))
        found += [
            *_deadlines(deployment, moment),
            *_processes(deployment, views, moment),
        ]
        for queue, flag in paused_queues(Items(deployment)).items():
            reason = f": {flag['reason']}" if flag.get("reason") else ""
            found.append(_note("queue", f"{queue} is paused{reason}", f"sharpwave resume {queue}"))
    if deployment.is_local:
        what = "a local endpoint enforces no IAM: any agent can read and write as any other"
        found.append(_note("isolation", what))
    return found


def is_healthy(found: list[Ailment]) -> bool:
    """Say whether nothing is wrong; notes do not count."""
    return not any(ailment.level == "wrong" for ailment in found)


def _wrong(area: str, what: str, mend: str) -> Ailment:
    return Ailment(level="wrong", area=area, what=what, mend=mend)


def _note(area: str, what: str, mend: str = "") -> Ailment:
    return Ailment(level="note", area=area, what=what, mend=mend)


def _structure(deployment: Deployment) -> Iterator[Ailment]:
    findings = survey(deployment)
    missing = {one.name for one in findings if isinstance(one, Step) and one.action == "create"}
    for name in sorted(missing):
        yield _wrong("missing", f"{name} does not exist", "sharpwave provision")
    for found in findings:
        if found.name in missing:
            continue
        if isinstance(found, Step):
            yield _wrong(found.kind, f"{found.name} lacks: {found.what}", "sharpwave provision")
        else:
            make = _wrong if found.breaks else _note
            yield make(found.kind, f"{found.name}: {found.what}", "")


def _queues(views: list[QueueView], agents: list[AgentView]) -> Iterator[Ailment]:
    for view in views:
        if view.name not in WORK_QUEUE_NAMES and not view.redrives:
            what = f"{view.name} has no redrive to dead letters"
            yield _wrong("queue", what, f"sharpwave agents add {owner_of_queue(view.name)}")
        if view.dlq and view.dlq.total:
            what = f"{view.name}{DLQ_SUFFIX} holds {view.dlq.total} dead letters"
            yield _wrong("dead letters", what, f"sharpwave dlq show {view.name}")
    # An agent is its registration, and its inbox is made beside that: either may be missing.
    registered = {agent.agent_id: agent for agent in agents if agent.registered}
    for name, known in registered.items():
        if known.inbox is None:
            what = f"agent {name} is registered but has no inbox queue"
            yield _wrong("agent", what, f"sharpwave agents add {name}")
        elif known.urgent is None:
            what = f"agent {name} has no urgent queue: what is urgent waits behind its backlog"
            yield _note("agent", what, f"sharpwave agents add {name}")
    for view in views:
        owner = owner_of_queue(view.name)
        if view.name not in WORK_QUEUE_NAMES and owner not in registered:
            what = f"{view.name} belongs to no registered agent"
            remedy = f"sharpwave agents add {owner}, or sharpwave agents rm {owner} --purge"
            yield _note("agent", what, remedy)


def _deadlines(deployment: Deployment, now: float) -> Iterator[Ailment]:
    items = Items(deployment)
    mark = (items.get(PIPELINE, keys.low_water(*DUE_MARK)) or {}).get("mark", "")
    handed_out, late = int(mark or 0), int((now - OVERDUE_AFTER_S) // 60)
    between = (f"{handed_out + 1:08d}", keys.due_minute(late).sk)
    if handed_out >= late:
        return
    # The oldest is enough: deadlines are handed out in order, so all later ones wait for it.
    for first in islice(items.query(PIPELINE, keys.DUE_MINUTES_PK, between=between), 1):
        minutes = (now - int(first["SK"]) * 60) / 60
        what = f"deliveries that fell due {minutes:.0f} minutes ago still wait to expire"
        mend = "sharpwave workers run status, and sharpwave pump for the ticks"
        yield _wrong("deadlines", what, mend)


def _processes(deployment: Deployment, views: list[QueueView], now: float) -> Iterator[Ailment]:
    # DynamoDB deletes an expired row when it has time, which may be days later.
    beats = [
        beat
        for beat in Items(deployment).query(PIPELINE, keys.PRESENCE_PK)
        if not beat.get("draining") and beat.get("ttl", now) >= now
    ]
    living = [beat for beat in beats if not is_silent(beat, now)]
    served = {queue for beat in living for queue in beat.get("queues", ())}
    # Whatever `up` runs, it ends again what an operator scaled to nothing.
    wishes = wanted(deployment)
    none_wanted = {queue for queue, wish in wishes.items() if not wish.most}
    if not living:
        waiting = sum(view.depth.total for view in views if view.depth)
        what = f"no pump or worker reports, and {waiting} messages wait"
        idle = _note("process", "no pump or worker reports", "sharpwave up")
        yield _wrong("process", what, "sharpwave up") if waiting else idle
    for beat in beats:
        if beat not in living:
            name, queues = str(beat["SK"]), set(beat.get("queues", ()))
            silent_s = now - float(beat.get("at", 0))
            what = f"{name} last reported {silent_s:.0f} s ago: ended or frozen"
            if queues and queues <= served:
                yield _note("process", f"{what}; others serve its queues")
                continue
            missing = [_serve(queue, none_wanted) for queue in sorted(queues - served)]
            again = ", and ".join(missing) or "sharpwave pump"
            host, _, pid = name.rpartition(":")
            # A pump's row is named by its table, and tells its process within.
            kill = f"{pid} on {host}" if queues else beat.get("pid", "its process")
            mend = f"{again}; if it is frozen: kill -9 {kill}, and it is started again"
            yield _wrong("process", what, mend)
        elif beat.get("failing_shards"):
            what = f"{beat['SK']} fails on {beat['failing_shards']} of {beat['open_shards']} shards"
            mend = "read its log; it goes on by itself once the cause is gone"
            yield _wrong("process", what, mend)
    # What follows its backlog down to nothing is served as soon as something waits.
    resting = {
        view.name
        for view in views
        if (wish := wishes.get(view.name))
        and wish.least < wish.most
        and view.depth
        and not view.depth.ready
    }
    for queue in sorted(set(WORK_QUEUE_NAMES) - served - resting if living else ()):
        why = ": it is scaled to 0" if queue in none_wanted else ""
        what = f"no worker takes from {queue}{why}"
        yield _wrong("process", what, _serve(queue, none_wanted))


def _serve(queue: str, none_wanted: set[str]) -> str:
    """Give the command that lets a worker take from a queue."""
    verb, number = ("scale", "=1") if queue in none_wanted else ("run", "")
    return f"sharpwave workers {verb} {queue}{number}"
