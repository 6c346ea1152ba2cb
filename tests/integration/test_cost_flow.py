"""What the real handlers write, rated by size: the model and the budgets hold them to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from sharpwave.infra.connection import connect
from sharpwave.infra.cost.bill import Bill, load_prices, priced
from sharpwave.infra.cost.flow import Flow, decision_units, signals
from sharpwave.infra.local import Backend
from sharpwave.infra.operate.agents import Wishes, add_agent
from sharpwave.infra.provision.structure import provision
from sharpwave.schemas import keys
from sharpwave.schemas.ids import signal_uid
from sharpwave.schemas.numbers import item_to_wire, parse_json, to_wire, wire_size
from sharpwave.schemas.tables import DECISIONS, SIGNALS, physical
from sharpwave.schemas.times import DAY_S
from sharpwave.workers.aws.clients import clients
from sharpwave.workers.aws.meter import Meter
from sharpwave.workers.main import compose_on_aws
from sharpwave.workers.router.router import Router
from sharpwave.workers.settings import Settings
from sharpwave.workers.signals.expiry import Partition, due_minute
from sharpwave.workers.work.incoming import StreamRecord
from tests.cost.estimate import Estimate
from tests.world import records
from tests.world.records import key_of

SOURCE, TARGETS = "hunter", ("risk", "trader")
SMALL = Flow(item_kb=0.8, mirrors_after_acks=1.0)
PRICES = load_prices()
Item = dict[str, Any]


class Line:
    """Router and handlers on a backend, one message after the other, everything metered."""

    def __init__(self, prefix: str, archive: Path) -> None:
        self.prefix, self.meter = prefix, Estimate(prefix=prefix)
        self.made = clients(self.meter)
        self.told = Meter(prefix=prefix)
        self.told.watch(self.made.dynamodb)
        settings = Settings(prefix=prefix, archive=archive.as_uri(), archive_linger_s=0)
        self._handlers = compose_on_aws(settings, self.made).handlers
        self._route = Router()
        self._iterators: dict[str, str] = {}

    def put(self, table: str, item: Item) -> None:
        self.made.dynamodb.put_item(
            TableName=physical(table, self.prefix),
            Item=item_to_wire(item),
            ConditionExpression="attribute_not_exists(PK)",
            ReturnConsumedCapacity="INDEXES",
        )

    def set(self, table: str, key: keys.Key, name: str, value: Any) -> None:
        self.made.dynamodb.update_item(
            TableName=physical(table, self.prefix),
            Key=key.wire(),
            UpdateExpression="SET #n = :v",
            ConditionExpression="attribute_exists(PK)",
            ExpressionAttributeNames={"#n": name},
            ExpressionAttributeValues={":v": to_wire(value)},
            ReturnConsumedCapacity="INDEXES",
        )

    def carry(self, table: str, *, expected: int) -> dict[str, float]:
        """Work off the next records of a table; gives the units that doing so used."""
        records = self._read(table, expected)
        before = self.meter.used()
        for message in self._route(table, records):
            content = parse_json(message.body)
            self._handlers[message.queue][content["actor_name"]](content["kwargs"]["entries"])
        return self.since(before)

    def work(self, queue: str, actor: str, entries: Sequence[Item]) -> dict[str, float]:
        before = self.meter.used()
        self._handlers[queue][actor](entries)
        return self.since(before)

    def since(self, before: dict[str, tuple[int, float]]) -> dict[str, float]:
        now = self.meter.used()
        units = {what: used - before.get(what, (0, 0.0))[1] for what, (_, used) in now.items()}
        return {what: used for what, used in units.items() if used}

    def _read(self, table: str, expected: int) -> list[StreamRecord]:
        deadline, found = time.monotonic() + 20, list[StreamRecord]()
        while len(found) < expected:
            assert time.monotonic() < deadline, f"{len(found)} of {expected} records came"
            reply = self.made.streams.get_records(ShardIterator=self._iterator(table))
            self._iterators[table] = reply["NextShardIterator"]
            found += reply["Records"]
            if not reply["Records"]:
                threading.Event().wait(0.02)
        return found

    def _iterator(self, table: str) -> str:
        if table not in self._iterators:
            name = physical(table, self.prefix)
            arn = self.made.dynamodb.describe_table(TableName=name)["Table"]["LatestStreamArn"]
            (shard,) = self.made.streams.describe_stream(StreamArn=arn)["StreamDescription"][
                "Shards"
            ]
            place = {"StreamArn": arn, "ShardId": shard["ShardId"]}
            reply = self.made.streams.get_shard_iterator(**place, ShardIteratorType="TRIM_HORIZON")
            self._iterators[table] = reply["ShardIterator"]
        return self._iterators[table]


@pytest.fixture
def line(backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Line:
    if backend.name != "embedded":
        # It makes no stream records of batched statements, so that each record here is an agent's.
        pytest.skip("the units are counted on the embedded backend")
    for name, value in backend.environment.items():
        monkeypatch.setenv(name, value)
    deployment = connect(backend.environment, prefix=f"c{uuid4().hex[:8]}")
    provision(deployment)
    for agent in (SOURCE, *TARGETS):
        add_agent(deployment, agent, Wishes())
    return Line(deployment.prefix, tmp_path)


def padded(item: Item, flow: Flow) -> Item:
    """Fill an item to the flow's size."""
    missing = flow.bytes - wire_size(item_to_wire({**item, "context": {"pad": ""}}))
    return {**item, "context": {"pad": "x" * missing}}


def signal(number: int, flow: Flow) -> Item:
    moment = time.time()
    more: dict[str, Any] = {"ttl": int(moment) + DAY_S}
    made = records.signal(SOURCE, f"sig-{number}", to=[*TARGETS], at=moment, **more)
    return padded(made, flow)


def decision(number: int, flow: Flow) -> Item:
    moment = time.time()
    more: dict[str, Any] = {"ttl": int(moment) + 90 * DAY_S}
    made = records.decision(SOURCE, f"dec-{number}", at=moment, kind="SELECT", **more)
    return padded(made, flow)


def modelled(bill: Bill, item: str) -> float:
    return next(line.quantity for line in bill.lines if line.item == item) / 1_000_000


@pytest.mark.parametrize("item_kb", [0.8, 1.0])
def test_a_signal_is_written_as_often_as_the_model_says(line: Line, item_kb: float) -> None:
    """Ten signals with two targets each: delivered, then acknowledged by both targets at once."""
    flow = replace(SMALL, item_kb=item_kb)
    bill = priced(signals(flow), PRICES)
    written = [signal(number, flow) for number in range(10)]
    for item in written:
        line.put(SIGNALS, item)

    delivery = line.carry(SIGNALS, expected=10)
    for item in written:
        for target in TARGETS:
            row = keys.inbox_row(target, key_of(item), signal_uid(*key_of(item)))
            line.set(SIGNALS, row, "status", "PROCESSED")
    acknowledging = line.carry(SIGNALS, expected=10 * len(TARGETS))

    assert delivery["write:row"] / 10 == modelled(bill, "inbox rows")
    assert delivery["write:mirror"] / 10 == modelled(bill, "mirror at delivery")
    assert delivery["send:inbox"] == len(TARGETS)
    assert acknowledging["write:mirror"] / 10 == modelled(bill, "mirror after acknowledgements")
    assert acknowledging["read:mirror"] + acknowledging["read:row"] == pytest.approx(
        10 * modelled(bill, "mirror's reads"), rel=0.1
    )


def test_a_deadline_that_was_kept_costs_what_the_model_says(line: Line) -> None:
    """As many signals as share a message, noted in one unit; then a mirror each, and no row."""
    flow = replace(SMALL, full=0.7)
    bill, number = priced(signals(flow), PRICES), 14
    ttl = int(time.time()) + DAY_S  # one for all, so that they fall due in one minute
    written = [{**signal(each, flow), "ttl": ttl} for each in range(number)]
    for item in written:
        line.put(SIGNALS, item)
    delivery = line.carry(SIGNALS, expected=number)
    for item in written:
        for target in TARGETS:
            row = keys.inbox_row(target, key_of(item), signal_uid(*key_of(item)))
            line.set(SIGNALS, row, "status", "PROCESSED")
    line.carry(SIGNALS, expected=number * len(TARGETS))

    minute = due_minute(ttl, time.time())
    entries = [Partition(minute, shard)._asdict() for shard in range(keys.DUE_SHARDS)]
    looking = line.work("status", "on_expiry", entries)

    # The minute goes on its list once for all.
    assert (delivery["write:due"] - 1) / number == pytest.approx(
        modelled(bill, "notes of deadlines"), rel=0.01
    )
    assert looking["read:mirror"] == number / 2
    assert "read:row" not in looking
    # A partition that holds nothing is never handed out.
    notes = looking["read:due"] - (keys.DUE_SHARDS - 1)
    assert (notes + looking["read:mirror"]) / number == pytest.approx(
        modelled(bill, "reads when deadlines pass"), rel=0.1
    )


@pytest.mark.parametrize(("item_kb", "most"), [(0.8, 8), (1.0, 11)])
def test_a_decisions_life_costs_what_the_model_says(
    line: Line, item_kb: float, most: float
) -> None:
    """Put, outcome, promotion; the marks and outcome of a whole kilobyte cost twice."""
    flow = replace(SMALL, item_kb=item_kb)
    made = [decision(number, flow) for number in range(10)]
    before = line.meter.used()
    for item in made:
        line.put(DECISIONS, item)
    for item in made:
        line.set(DECISIONS, key_of(item), "outcome", {"success": True, "quality_score": 1})
    agents = line.since(before)
    told = {what: units for what, (_, units) in line.told.used().items()}
    line.carry(DECISIONS, expected=20)

    entries = [
        {"key": list(key_of(item)), "event_id": "e", "image": item_to_wire(item)} for item in made
    ]
    promotion = line.work("promote", "on_late_outcomes", entries)

    life = decision_units(flow)
    assert agents["write:decision"] / 10 == life.put + life.outcome
    assert agents["index:decision"] / 10 == life.put_indexes + life.outcome_index
    # Of single writes the emulator itself tells as much, and the meter adds it up.
    assert {what: told[what] for what in agents} == agents
    assert promotion["write:decision"] / 10 == life.mark
    total = sum(agents.values()) + sum(
        units for what, units in promotion.items() if what.partition(":")[0] in ("write", "index")
    )
    assert total / 10 <= most


def test_a_ledger_takes_fifty_decisions_of_a_message_for_half_a_unit_each(line: Line) -> None:
    made = [decision(number, SMALL) for number in range(50)]
    for item in made:
        line.put(DECISIONS, item)

    used = line.carry(DECISIONS, expected=50)

    written = {what: units for what, units in used.items() if what.startswith("write:")}
    # Once for each agent, and once in some seconds for all.
    for name in ("writers", "agents", "judged"):
        written.pop(f"write:{name}", None)
    assert written.keys() == {"write:slot", "write:head", "write:changed"}
    assert sum(written.values()) <= 0.5 * 50
