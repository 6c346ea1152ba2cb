"""The router alone: stream records to work messages, on one core, nothing sent.

From the bytes of a page, as the pump has them, reading included; and from parsed records, as Lambda
gives them. Beside the latter, in turn, the same record by stock parts: boto3's deserializer, the
pydantic model of the record, and json for a message each.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sized
from typing import Any

from boto3.dynamodb.types import TypeDeserializer
from msgspec import json as fast_json

from sharpwave.schemas import keys, tables
from sharpwave.schemas.faults import kind_of
from sharpwave.schemas.ids import signal_uid
from sharpwave.schemas.numbers import item_to_wire
from sharpwave.schemas.ownership import stamped
from sharpwave.schemas.records import RECORDS
from sharpwave.schemas.times import iso_ms
from sharpwave.workers.router.router import Router
from sharpwave.workers.work.incoming import page_of
from tests.bench.pace import Pace
from tests.bench.results import OURS, Row, summed

Route = Callable[[str, Any], Sized]

PART = "router"
STOCK = "boto3, pydantic, json"
_STOCK = TypeDeserializer()
_ROUTER = Router()
PAGE = 500
#: From what our rates were measured: a page as GetRecords answers it, or records in memory.
BYTES, PARSED = "from bytes", "parsed"
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
    for case, (table, make) in KINDS.items():
        records = batch(make, 2 * PAGE)
        pages = [records[:PAGE], records[PAGE:]]
        bodies = [fast_json.encode({"Records": page}) for page in pages]
        ways: dict[tuple[str, str], tuple[Route, list[Any]]] = {
            (f"{case}, {BYTES}", OURS): (_from_bytes, bodies),
            (f"{case}, {PARSED}", OURS): (_ROUTER, pages),
            (f"{case}, {PARSED}", STOCK): (_by_stock_parts, pages),
        }
        found: dict[tuple[str, str], list[dict[str, float]]] = {way: [] for way in ways}
        pace.sample()
        # In turn, so that a slow moment of the machine meets all.
        for _ in range(5):
            for way, (route, given) in ways.items():
                found[way].append(_run(route, table, given, seconds / 5))
        for (name, who), runs in found.items():
            yield summed(PART, name, who, runs)
    yield pace.row(PART)


def batch(make: Callable[[int], dict[str, Any]], size: int) -> list[Any]:
    """Make records that share what those of one Lambda event share: names, and nothing else."""
    records: list[Any] = json.loads(json.dumps([make(number) for number in range(size)]))
    return records


def _from_bytes(table: str, body: bytes) -> Sized:
    return _ROUTER(table, page_of(body)["Records"])


def _by_stock_parts(table: str, records: list[Any]) -> list[str]:
    messages = []
    for record in records:
        change = record["dynamodb"]
        image = change.get("NewImage") or change["OldImage"]
        item = {name: _STOCK.deserialize(value) for name, value in image.items()}
        kind = kind_of(table, item["PK"], item["SK"])
        if kind is not None and kind in RECORDS:
            RECORDS[kind].model_validate(item)
        body = {"event_id": record["eventID"], "table": table, "image": image}
        messages.append(json.dumps(body))
    return messages


def _run(route: Route, table: str, pages: list[Any], seconds: float) -> dict[str, float]:
    routed, messages = 0, 0
    began = time.process_time()
    while time.process_time() - began < seconds:
        for page in pages:
            messages += len(route(table, page))
        routed += PAGE * len(pages)
    took = time.process_time() - began
    return {
        "records_per_s": routed / took,
        "us_per_record": took / routed * 1e6,
        "messages_per_record": messages / routed,
    }


def _decision(number: int) -> dict[str, Any]:
    agent, kind, at = f"agent-{number % 50}", f"TRADE_{number % 5}", _NOW + number // 50
    own = {"agent_id": agent, "decision_id": f"dec_{number:026d}", "decision_type": kind}
    pk = keys.decision_pk(agent, kind)
    return {**_timed(pk, at, own["decision_id"]), **own, "context": _DETAIL}


def _signal(number: int) -> dict[str, Any]:
    agent, kind, at = f"agent-{number % 50}", f"ALERT_{number % 5}", _NOW + number // 50
    own = {"signal_id": f"sig_{number:026d}", "signal_type": kind, "source_agent": agent}
    more = {"target_agents": ["agent-1", "agent-2"], "confidence": 0.87, "data": _DETAIL}
    return {**_timed(keys.signal_pk(kind, agent), at, own["signal_id"]), **own, **more}


def _row(number: int) -> dict[str, Any]:
    signal = keys.Key(keys.signal_pk("ALERT"), keys.dated_sk(iso_ms(_NOW), f"sig_{number}"))
    row = keys.inbox_row(f"agent-{number % 50}", signal, signal_uid(*signal))
    own = {"signal_pk": signal.pk, "signal_sk": signal.sk, "signal_id": f"sig_{number}"}
    more = {"signal_type": "ALERT", "source_agent": "agent-1", "timestamp": _NOW}
    ends = {"expires_at": _NOW + 86_400, "ttl": _NOW + 8 * 86_400}
    status = stamped(row, {"status": "PENDING"})
    return {**row.item(), **own, **more, **ends, **status, "provenance": "bound"}


def _memory(number: int) -> dict[str, Any]:
    agent, kind, at = f"agent-{number % 50}", keys.MEMORY_TYPES[number % 4], _NOW + number // 50
    own = {"agent_id": agent, "memory_id": f"mem_{number:026d}", "memory_type": kind}
    more = {"importance": 0.9, "access_count": 3, "data": _DETAIL}
    return {**_timed(keys.memory_pk(agent, kind), at, own["memory_id"]), **own, **more}


def _registration(number: int) -> dict[str, Any]:
    agent = f"agent-{number}"
    wants = {"subscriptions": ["ALERT", "NEWS"], "accepts_from": ["agent-1", "agent-2"]}
    may = {"may_broadcast": True, "signals_per_minute": 600, "registered_at": _NOW}
    return {**keys.registration(agent).item(), "agent_id": agent, **wants, **may}


def _state(number: int) -> dict[str, Any]:
    agent = f"agent-{number}"
    own = {"agent_id": agent, "state_type": "CURRENT", "version": 7, "last_updated": _NOW}
    return {**keys.current_state(agent).item(), **own, "state": _DETAIL, "schema_version": 1}


def _timed(pk: str, at: int, record_id: str) -> dict[str, Any]:
    iso = iso_ms(at)
    moments = {"timestamp": at, "iso_timestamp": iso, "ttl": at + 86_400, "schema_version": 1}
    return {"PK": pk, "SK": keys.dated_sk(iso, record_id), **moments}


def record(
    number: int,
    old: dict[str, Any] | None,
    new: dict[str, Any] | None,
    *,
    stored_at: float = _NOW + 60.0,
) -> dict[str, Any]:
    """Make the stream record of an item that came, changed or went."""
    images = {
        name: item_to_wire(item)
        for name, item in (("OldImage", old), ("NewImage", new))
        if item is not None
    }
    image = images.get("NewImage") or images["OldImage"]
    change = {
        "Keys": {"PK": image["PK"], "SK": image["SK"]},
        **images,
        "SequenceNumber": str(10**20 + number),
        "ApproximateCreationDateTime": stored_at,
    }
    name = "REMOVE" if new is None else "INSERT" if old is None else "MODIFY"
    return {"eventID": f"{number:032x}", "eventName": name, "dynamodb": change}


def _outcome(number: int) -> dict[str, Any]:
    old = _decision(number)
    return record(number, old, {**old, "outcome": {"success": True, "quality_score": 0.8}})


def _correction(number: int) -> dict[str, Any]:
    old = {**_decision(number), "outcome": {"success": False}}
    return record(number, old, {**old, "outcome": {"success": True}, "outcome_rev": 2})


def _acknowledgement(number: int) -> dict[str, Any]:
    old = _row(number)
    return record(number, old, {**old, "status": "PROCESSED", "processed_at": _NOW + 1})


def _echo(number: int) -> dict[str, Any]:
    """Give what workers write in turn: a signal's mirror, and the status of a row."""
    if number % 2:
        old = _row(number)
        key = keys.Key(old["PK"], old["SK"])
        return record(number, old, {**old, **stamped(key, {"status": "EXPIRED"})})
    signal, sent = _signal(number), {"status": "DELIVERED", "delivered_ms": _NOW}
    place = keys.mirror(keys.Key(signal["PK"], signal["SK"])).item()
    first = {"processing_status": {"agent-1": sent, "agent-2": sent}, "status_v": 1}
    ended = {"status": "PROCESSED", "delivered_ms": _NOW, "processed_at": _NOW + 1}
    later = {"processing_status": {"agent-1": ended, "agent-2": sent}, "status_v": 2}
    return record(number, {**place, **first}, {**place, **later})


def _removal(number: int) -> dict[str, Any]:
    """Give what the time to live removed before a sweep met it."""
    by_ttl = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
    return {**record(number, _decision(number), None), "userIdentity": by_ttl}


#: What happens to records, and in which table.
KINDS: Mapping[str, tuple[str, Callable[[int], dict[str, Any]]]] = {
    "signal": (tables.SIGNALS, lambda number: record(number, None, _signal(number))),
    "decision": (tables.DECISIONS, lambda number: record(number, None, _decision(number))),
    "outcome": (tables.DECISIONS, _outcome),
    "corrected outcome": (tables.DECISIONS, _correction),
    "acknowledgement": (tables.SIGNALS, _acknowledgement),
    "memory": (tables.STATE, lambda number: record(number, None, _memory(number))),
    "registration": (tables.STATE, lambda number: record(number, None, _registration(number))),
    "state": (tables.STATE, lambda number: record(number, None, _state(number))),
    "worker's echo": (tables.SIGNALS, _echo),
    "removal by ttl": (tables.DECISIONS, _removal),
}
