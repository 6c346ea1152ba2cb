"""Records in DynamoDB's typed form, valid ones and such as are nearly so, for properties."""

from collections.abc import Iterator
from random import Random
from typing import Any

from hypothesis import strategies as st

from sharpwave.schemas import keys, tables
from sharpwave.schemas.ids import signal_uid
from sharpwave.schemas.keys import Kind
from sharpwave.schemas.numbers import Wire, item_to_wire
from sharpwave.schemas.ownership import stamped
from sharpwave.workers.work.ports import Item
from tests.world.records import (
    decision,
    key_of,
    memory,
    outcome,
    registration,
    signal,
)
from tests.world.stores import START

DAY_S = 86_400
Image = dict[str, Wire]

_SECONDS = [int(START) + after for after in (-2, 0, 1, DAY_S, 11 * DAY_S, 401 * DAY_S)]
_NUMBERS = [
    *("0", "1", "2", "-1", "0.5", "1.0", "1.5", "1E+2", "0.1234567890123456789012345678901"),
    *("65535", "65536", "9999999999", "10000000000", *map(str, _SECONDS)),
]
_TIMES = [
    *("2025-10-18T14:30:00Z", "2025-10-18T14:30:00.999Z", "2025-10-18T14:30:01Z"),
    *("2025-10-18T14:29:59.000Z", "2025-10-18T14:29:58Z", "2025-10-18T14:30:00Z\n"),
    *("2025-10-18T25:30:00Z", "2025-10-18 14:30:00Z", "2025-10-18T14:30:00+00:00"),
    *("2025-10-20", "2008-10-10", "2008-13-10"),
]
_WORDS = [
    *("", "ann", "bob", "ann\n", "*", "@subscribers", "a#b", "d1", "s1", "d1\n", "1", "é" * 1025),
    *("TRADE", "TRADE\n", "ALERT", "NOTE", "CURRENT", "CHECKPOINT"),
    *("PENDING", "DELIVERED", "EXPIRED", "FAILED", "PROCESSED"),
]
_SCALARS: list[Wire] = [
    *({"S": text} for text in (*_WORDS, *_TIMES)),
    *({"N": text} for text in _NUMBERS),
    *({"BOOL": True}, {"BOOL": False}, {"NULL": True}, {"B": b"x"}),
    *({"SS": ["ann", "bob"]}, {"NS": ["1", "2"]}),
]


def _nested(levels: int) -> Wire:
    value: Wire = {"S": "x"}
    for level in range(levels):
        value = {"L": [value]} if level % 3 else {"M": {"in": value}}
    return value


_OUTCOMES: list[Wire] = [
    {"M": {"success": success, **score}}
    for success in ({"BOOL": True}, {"S": "true"}, {"N": "1"})
    for score in ({}, {"quality_score": {"N": "0.5"}}, {"quality_score": {"N": "2"}})
]
#: What an attribute may hold, or seldom should.
VALUES: list[Wire] = [
    *_SCALARS,
    *({"L": [{"S": word} for word in words]} for words in ("", ["*"], ["bob"], ["a#b", "ann"])),
    {"M": {}},
    {"M": {"success": {"BOOL": True}, "x": _nested(17)}},
    *_OUTCOMES,
    *(_nested(levels) for levels in (15, 16, 17, 18, 19)),
]
WIRE = st.recursive(
    st.sampled_from(_SCALARS) | st.text(max_size=8).map(lambda text: {"S": text}),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda parts: {"L": parts})
        | st.dictionaries(st.sampled_from(["success", "x", "#"]), inner, max_size=3).map(
            lambda parts: {"M": parts}
        )
    ),
    max_leaves=5,
)

#: A valid record of each kind that agents write.
VALID: dict[Kind, Item] = {
    "decision": decision(
        outcome=outcome(True, 1), outcome_rev=2, ttl=int(START) + DAY_S, context={"cycle": 1}
    ),
    "signal": signal(to=["bob", "eve"], confidence=1, severity="high", data={"x": [1]}),
    "memory": memory(importance=0.9, access_count=3, expires_at=int(START) + 60),
    "state": {
        **keys.current_state("ann").item(),
        **{"agent_id": "ann", "state_type": "CURRENT", "last_updated": int(START), "version": 3},
        **{"current_cycle": 0, "ttl": int(START) + DAY_S, "state": {"x": [1]}},
    },
    "registration": registration(
        "ann",
        subscriptions=["ALERT"],
        accepts_from=["bob"],
        may_broadcast=True,
        signals_per_minute=9,
    ),
}


_FILTER = [{"path": "data.n", "op": "ge", "value": 5}]


def _row(target: str) -> Item:
    of = key_of(VALID["signal"])
    row = keys.inbox_row(target, of, signal_uid(*of))
    ends = {"expires_at": int(START) + 60, "ttl": int(START) + DAY_S, "timestamp": int(START)}
    names = {"signal_pk": of.pk, "signal_sk": of.sk, "signal_id": "s1", "data": {"x": 1}}
    return {**row.item(), **ends, **names, **stamped(row, {"status": "PENDING"})}


def _mirror() -> Item:
    held = {"bob": {"status": "DELIVERED", "delivered_ms": int(START)}}
    more = {"processing_status": held, "status_v": 7, "ttl": int(START) + DAY_S}
    return {**keys.mirror(key_of(VALID["signal"])).item(), **more}


#: Records of every kind, by their table.
STORIES: tuple[tuple[str, Image], ...] = tuple(
    (table, item_to_wire(item))
    for table, item in (
        (tables.DECISIONS, VALID["decision"]),
        (tables.DECISIONS, decision(ttl=int(START) + DAY_S)),
        (tables.DECISIONS, decision(outcome_rev=1)),
        (tables.SIGNALS, VALID["signal"]),
        (tables.SIGNALS, signal(to=["*"], strict=False)),
        (tables.SIGNALS, _row("bob")),
        (tables.SIGNALS, _mirror()),
        (tables.STATE, VALID["memory"]),
        (tables.STATE, VALID["state"]),
        (tables.STATE, VALID["registration"]),
        (tables.STATE, registration("ann", filters={"ALERT": _FILTER})),
    )
)
#: What an update by an agent or a worker sets.
UPDATES: tuple[Image, ...] = tuple(
    item_to_wire(update)
    for update in (
        {"outcome": outcome(False)},
        {"outcome": outcome(True, 0.5), "outcome_rev": 3},
        {"status": "PROCESSED", "processed_at": int(START)},
        {"promoted_at": int(START)},
        {"processing_status": {"bob": {"status": "DELIVERED"}}, "status_v": 1},
        {"access_count": 40},
    )
)
_MORE = [
    *("event_time", "parent_decision_id", "traceparent", "target_agents", "ttl", "timestamp"),
    *("promoted_at", "is_stm", "processing_status", "status_v", "worker_rev", "chunk"),
    *(
        "GSI1_PK",
        "sharpwave_x",
        "own",
        "outcome",
        "outcome_rev",
        "status",
        "reason",
        "context",
        "filters",
    ),
]


def _names(image: Image) -> list[str]:
    return [name for name in dict.fromkeys([*image, *_MORE]) if name not in ("PK", "SK")]


def alike(image: Image, chance: Random) -> Iterator[tuple[str, Wire | None]]:
    """Give for each attribute all values of its type, some of other types, and none at all."""
    for name in _names(image):
        fit = [value for value in VALUES if value.keys() == image.get(name, {}).keys()]
        yield from ((name, value) for value in (None, *fit, *chance.sample(VALUES, 5)))
    name = image["SK"]["S"].partition("#")[2]
    yield from (("SK", {"S": f"{moment}#{name}"}) for moment in _TIMES)


@st.composite
def mutated(draw: st.DrawFn, image: Image) -> Image:
    """Replace, add or remove a few attributes."""
    image = dict(image)
    for name in draw(st.lists(st.sampled_from(_names(image)), max_size=3)):
        value = draw(st.none() | st.sampled_from(VALUES) | WIRE)
        if value is None:
            image.pop(name, None)
        else:
            image[name] = value
    return image


def streamed(
    old: Image | None, new: Image | None, *, at: float = START, by_ttl: bool = False
) -> dict[str, Any]:
    """Give the stream record of a change."""
    image = new or old or {}
    change: dict[str, Any] = {"Keys": {name: image[name] for name in ("PK", "SK")}}
    change |= {"SequenceNumber": "77", "ApproximateCreationDateTime": at}
    change |= {"OldImage": old} if old is not None else {}
    change |= {"NewImage": new} if new is not None else {}
    who = {"userIdentity": {"principalId": "dynamodb.amazonaws.com"}} if by_ttl else {}
    return {"eventID": "e1", "eventName": "MODIFY", "dynamodb": change, **who}


@st.composite
def changes(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """Give a table and a stream record of it: new, changed or removed, valid or nearly so."""
    table, image = draw(st.sampled_from(STORIES))
    if draw(st.integers(0, 9)) == 0:
        image = {**image, draw(st.sampled_from(["PK", "SK"])): {"S": draw(st.sampled_from(_WORDS))}}
    old = draw(st.none() | st.just(image) | mutated(image))
    stands = image if old is None else old
    update = st.sampled_from(UPDATES).map(lambda update: {**stands, **update})
    new = draw(st.just(stands) | update | mutated(stands))
    later = st.sampled_from([0, 5]) | st.floats(-1e6, 1e6) | st.integers(-400, 2 * DAY_S)
    is_gone = old is not None and draw(st.integers(0, 4)) == 0
    change = streamed(
        old, None if is_gone else new, at=START + draw(later), by_ttl=draw(st.booleans())
    )
    return table, change
