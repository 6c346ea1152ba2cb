"""The router alone: stream records to work messages, on one core, nothing sent.

Beside it, in turn, the same record by stock parts: boto3's deserializer, the pydantic model of the
record, and json for a message each.
"""

import json
import time
from collections.abc import Callable, Iterator, Sized
from datetime import UTC, datetime
from typing import Any

from boto3.dynamodb.types import TypeDeserializer

from sharpwave.infra.bench.pace import Pace
from sharpwave.infra.bench.results import OURS, Row, summed
from sharpwave.schemas import keys, tables
from sharpwave.schemas.faults import kind_of
from sharpwave.schemas.numbers import item_to_wire
from sharpwave.schemas.records import RECORDS
from sharpwave.schemas.times import iso_ms
from sharpwave.workers.router import Router

Route = Callable[[str, list[Any]], Sized]

PART, JUDGED = "router", "signal"
STOCK = "boto3, pydantic, json"
_STOCK = TypeDeserializer()
PAGE = 500
_NOW = 1_790_000_000
_DETAIL = {
    "market": {"trend": "bullish", "volatility": 0.31, "volume": 531_997},
    "features": {f"feature_{number}": number / 7 for number in range(12)},
    "tags": ["a", "b", "c"],
    "note": "x" * 220,
}


def measure(seconds: float, tell: Callable[[str], None]) -> Iterator[Row]:
    """Measure each kind of record for `seconds` of CPU time, five times."""
    tell(PART)
    pace = Pace()
    for case, (table, make) in _KINDS.items():
        records = [make(number) for number in range(2 * PAGE)]
        ways: dict[str, Route] = {OURS: Router(), STOCK: _by_stock_parts}
        found: dict[str, list[dict[str, float]]] = {who: [] for who in ways}
        # In turn, so that a slow moment of the machine meets both.
        for _ in range(5):
            if case == JUDGED:
                pace.sample()
            for who, route in ways.items():
                found[who].append(_run(route, table, records, seconds / 5))
        for who, runs in found.items():
            yield summed(PART, case, who, runs)
    yield pace.row(PART)


def _by_stock_parts(table: str, records: list[Any]) -> list[str]:
    messages = []
    for record in records:
        image = record["dynamodb"]["NewImage"]
        item = {name: _STOCK.deserialize(value) for name, value in image.items()}
        kind = kind_of(table, item["PK"], item["SK"])
        if kind is not None and kind in RECORDS:
            RECORDS[kind].model_validate(item)
        body = {"event_id": record["eventID"], "table": table, "image": image}
        messages.append(json.dumps(body))
    return messages


def _run(route: Route, table: str, records: list[Any], seconds: float) -> dict[str, float]:
    routed, messages = 0, 0
    began = time.process_time()
    while time.process_time() - began < seconds:
        for start in range(0, len(records), PAGE):
            messages += len(route(table, records[start : start + PAGE]))
        routed += len(records)
    took = time.process_time() - began
    return {
        "records_per_s": routed / took,
        "us_per_record": took / routed * 1e6,
        "messages_per_record": messages / routed,
    }


def _decision(number: int) -> dict[str, Any]:
    agent, kind, at = f"agent-{number % 50}", f"TRADE_{number % 5}", _NOW + number // 50
    record_id = f"dec_{number:026d}"
    return {
        "PK": keys.decision_pk(agent, kind),
        "SK": keys.dated_sk(iso_ms(at), record_id),
        "agent_id": agent,
        "decision_id": record_id,
        "decision_type": kind,
        "context": _DETAIL,
        **_times(at),
    }


def _signal(number: int) -> dict[str, Any]:
    agent, kind, at = f"agent-{number % 50}", f"ALERT_{number % 5}", _NOW + number // 50
    record_id = f"sig_{number:026d}"
    return {
        "PK": keys.signal_pk(kind, agent),
        "SK": keys.dated_sk(iso_ms(at), record_id),
        "signal_id": record_id,
        "signal_type": kind,
        "source_agent": agent,
        "target_agents": ["agent-1", "agent-2"],
        "confidence": 0.87,
        "data": _DETAIL,
        **_times(at),
    }


def _row(number: int) -> dict[str, Any]:
    signal = keys.Key(keys.signal_pk("ALERT"), keys.dated_sk(iso_ms(_NOW), f"sig_{number}"))
    return {
        **keys.inbox_row(f"agent-{number % 50}", signal, f"{number:024d}").item(),
        "signal_pk": signal.pk,
        "signal_sk": signal.sk,
        "signal_id": f"sig_{number}",
        "signal_type": "ALERT",
        "source_agent": "agent-1",
        "timestamp": _NOW,
        "status": "PENDING",
        "expires_at": _NOW + 86_400,
        "ttl": _NOW + 8 * 86_400,
    }


def _times(at: int) -> dict[str, Any]:
    moments = {"timestamp": at, "iso_timestamp": iso_ms(at), "ttl": at + 86_400}
    return {**moments, "schema_version": 1}


def record(
    number: int,
    new: dict[str, Any],
    old: dict[str, Any] | None = None,
    *,
    stored_at: int = _NOW + 60,
) -> dict[str, Any]:
    """Make the stream record of an item, new if there is no old one."""
    image = item_to_wire(new)
    change: dict[str, Any] = {
        "Keys": {"PK": image["PK"], "SK": image["SK"]},
        "NewImage": image,
        "SequenceNumber": str(10**20 + number),
        "ApproximateCreationDateTime": datetime.fromtimestamp(stored_at, UTC),
    }
    if old is not None:
        change["OldImage"] = item_to_wire(old)
    return {"eventID": f"{number:032x}", "eventName": "MODIFY", "dynamodb": change}


def _outcome(number: int) -> dict[str, Any]:
    old = _decision(number)
    return record(number, {**old, "outcome": {"success": True, "quality_score": 0.8}}, old)


def _acknowledgement(number: int) -> dict[str, Any]:
    old = _row(number)
    return record(number, {**old, "status": "PROCESSED", "processed_at": _NOW + 1}, old)


_KINDS: dict[str, tuple[str, Callable[[int], dict[str, Any]]]] = {
    "signal": (tables.SIGNALS, lambda number: record(number, _signal(number))),
    "decision": (tables.DECISIONS, lambda number: record(number, _decision(number))),
    "outcome": (tables.DECISIONS, _outcome),
    "acknowledgement": (tables.SIGNALS, _acknowledgement),
}
