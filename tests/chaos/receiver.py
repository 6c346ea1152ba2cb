"""A process of agents on the SDK: `python -m tests.chaos.receiver` receives and reacts.

One thread per agent. What a delivery leads to follows from its id, so a repeated hand-out does the
same again. The process kills itself now and then at the points where it hurts most.
"""

import argparse
import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import boto3

from sharpwave.producers import Agent
from sharpwave.producers.deliveries import Delivery
from sharpwave.producers.errors import AgentError
from sharpwave.schemas.ids import signal_id
from sharpwave.schemas.messages import NoticeMessage
from sharpwave.schemas.numbers import item_to_wire
from sharpwave.schemas.records import SIGNAL_TTL_S
from sharpwave.schemas.tables import SIGNALS, physical
from sharpwave.schemas.times import now
from tests.chaos import drafts, roster
from tests.chaos.history import History
from tests.chaos.plan import NEAR_S, Offsets
from tests.world import records

_WAIT_S = 2
#: Chance, at each of three points of a delivery, that the process dies: before the effect, between
#: the effect and its acknowledgement, and between the acknowledgement and the message's end.
DIES = 0.0004
_RESTART_S = 0.2
_LEAVES, _FAILS, _DECIDES, _ECHOES = 0.02, 0.05, 0.15, 0.05


class Left(Exception):
    """The handler gave up; the message stays in the queue."""


class Reactor:
    """What one agent does with its deliveries.

    Args:
        agent: the agent.
        history: where everything is noted.
        asked: gives the moment at which this thread's last request began.
        dies: called where the process may die.
        put: puts a signal as a raw writer does, if handlers send any.
        off_s: by how much the agent's clock is ahead.
        is_careful: use what the inbox client offers against repetition; without, each hand-out
            makes a decision of its own.
    """

    def __init__(
        self,
        agent: Agent,
        history: History,
        *,
        asked: Callable[[], float],
        dies: Callable[[str], None],
        put: Callable[[Mapping[str, Any]], None] | None = None,
        off_s: float = 0.0,
        is_careful: bool = True,
    ) -> None:
        self._agent, self._history = agent, history
        self._put, self._off_s = put, off_s
        self._asked, self._dies, self._is_careful = asked, dies, is_careful

    def react(self, delivery: Delivery) -> None:
        """Handle a delivery."""
        name = delivery.delivery_id
        self._note(
            "handed",
            name,
            asked=self._asked(),
            receives=delivery.receive_count,
            source=delivery.source_agent,
            expires_at=delivery.message.expires_at,
            token=drafts.token(delivery.data),
        )
        rng = random.Random(name)
        time.sleep(rng.uniform(0, 0.002))
        self._dies("before the effect")
        draw = rng.random()
        if draw < _LEAVES and delivery.receive_count == 1:
            raise Left(name)
        if draw < _FAILS:
            delivery.fail("no use")
            self._note("settled", name, status="FAILED")
        elif draw < _DECIDES and self._off_s <= NEAR_S:
            self._decide(delivery, rng)
        else:
            self._note("effect", name, kind="own")
            if self._put is not None and draw > 1 - _ECHOES:
                self._echo(name, rng)
            self._dies("before the acknowledgement")
            delivery.ack()
            self._note("settled", name, status="PROCESSED")

    def _decide(self, delivery: Delivery, rng: random.Random) -> None:
        context = {"mood": rng.choice(("calm", "wild"))}
        kind = rng.choice(roster.DECISION_TYPES)
        if self._is_careful:
            made = delivery.decide(kind, context=context)
        else:
            made = self._agent.decide(kind, context=context, caused_by=delivery.delivery_id)
            self._dies("before the acknowledgement")
            delivery.ack(decision=made)
        details = {"kind": "decision", "pk": made.key.pk, "sk": made.key.sk}
        self._note("effect", delivery.delivery_id, **details)
        self._note("settled", delivery.delivery_id, status="PROCESSED")
        if rng.random() < 0.8:
            drafts.judge(self._agent, made, rng, self._history)

    def _echo(self, delivery: str, rng: random.Random) -> None:
        """Send a signal on; whether it was, nobody learns if the process dies at it."""
        me, moment = self._agent.agent_id, time.time()
        others = [name for name in roster.AGENTS if name != me]
        item = records.signal(
            me,
            signal_id(epoch_ms=int(moment * 1000)),
            kind=rng.choice(roster.SIGNAL_TYPES),
            to=[rng.choice(others)],
            at=moment,
            data={"after": delivery},
            ttl=int(moment) + SIGNAL_TTL_S,
        )
        said = {**drafts.noted(item), "began": moment}
        self._history.note(me, "intends", kind="signal", **said)
        self._dies("before a signal")
        if self._put is not None:
            self._put(item)
        self._dies("after a signal")
        self._history.note(me, "wrote", **said)

    def _note(self, what: Any, delivery: str, **details: Any) -> None:
        self._history.note(self._agent.agent_id, what, delivery=delivery, **details)


class Receiver:
    """The process: a thread per agent until SIGTERM."""

    def __init__(
        self,
        history: History,
        *,
        visibility_s: int,
        is_careful: bool,
        dies: float,
        echoes: bool = False,
        offsets: Offsets | None = None,
    ) -> None:
        self._history, self._visibility_s, self._is_careful = history, visibility_s, is_careful
        self._echoes, self._offsets = echoes, offsets or {}
        self._chance = dies
        self._stop = threading.Event()
        self._rng = random.Random()
        self._requests = threading.local()

    def run(self, agents: Sequence[str]) -> None:
        """Receive for every agent until told to stop."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._stop.set())
        threads = [threading.Thread(target=self._serve, args=(name,)) for name in agents]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _serve(self, name: str) -> None:
        session = boto3.Session()
        session.events.register("before-send", self._sending)
        session.events.register("before-send.sqs.DeleteMessage", self._deleting)
        off_s = self._offsets.get(name, 0.0)
        signals: Any = session.client("dynamodb")

        def put(item: Mapping[str, Any]) -> None:
            table = physical(SIGNALS, roster.PREFIX)
            signals.put_item(TableName=table, Item=item_to_wire(item))

        def told(notice: NoticeMessage) -> None:
            record = notice.record
            place = {"pk": record.PK, "sk": record.SK} if record else {}
            said = {"code": notice.code, "notice": notice.notice_id, **place}
            self._history.note(name, "told", **said)

        with Agent(
            name,
            prefix=roster.PREFIX,
            session=session,
            on_notice=told,
            clock=lambda: now() + off_s,
        ) as agent:
            while not self._stop.is_set():
                self._receive(agent, put, off_s)
                self._stop.wait(_RESTART_S)

    def _receive(
        self, agent: Agent, put: Callable[[Mapping[str, Any]], None], off_s: float
    ) -> None:
        reactor = Reactor(
            agent,
            self._history,
            asked=lambda: float(self._requests.at),
            dies=lambda where: self._perhaps_die(agent.agent_id, where),
            put=put if self._echoes else None,
            off_s=off_s,
            is_careful=self._is_careful,
        )
        dropped = agent.counters["deduplicated"]
        try:
            for delivery in agent.inbox(
                wait_s=_WAIT_S, visibility_timeout_s=self._visibility_s, until=self._stop.is_set
            ):
                if (now := agent.counters["deduplicated"]) > dropped:
                    self._history.note(agent.agent_id, "dropped", count=now - dropped)
                    dropped = now
                with delivery:
                    reactor.react(delivery)
        except Left:
            pass
        except AgentError as error:
            print(f"{agent.agent_id}: {type(error).__name__}: {error}", flush=True)

    def _sending(self, **_: Any) -> None:
        self._requests.at = time.time()

    def _deleting(self, **_: Any) -> None:
        self._perhaps_die("any", "before the end of the message")

    def _perhaps_die(self, agent: str, where: str) -> None:
        if self._rng.random() < self._chance:
            self._history.note(agent, "dying", where=where)
            os.kill(os.getpid(), signal.SIGKILL)


def main(argv: Sequence[str] | None = None) -> None:
    """Run one process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--history", type=Path, required=True)
    parser.add_argument("--visibility", type=int, required=True)
    parser.add_argument("--careless", action="store_true")
    parser.add_argument("--dies", type=float, default=DIES)
    parser.add_argument("--echoes", action="store_true", help="handlers send signals themselves")
    parser.add_argument("--offsets", type=json.loads, default={}, help="of the agents' clocks")
    parser.add_argument("agents", nargs="+")
    args = parser.parse_args(argv)
    with History(args.history, args.name) as history:
        receiver = Receiver(
            history,
            visibility_s=args.visibility,
            is_careful=not args.careless,
            dies=args.dies,
            echoes=args.echoes,
            offsets=args.offsets,
        )
        receiver.run(args.agents)


if __name__ == "__main__":
    main()
