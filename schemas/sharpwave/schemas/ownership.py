"""Which attributes belong to the agent and which to the worker, and what a change means."""

from collections.abc import Callable, Mapping, Set
from enum import Enum
from hashlib import blake2b
from typing import Any, TypeVar

from sharpwave.schemas.ids import SYSTEM, ulid, ulid_epoch_ms
from sharpwave.schemas.keys import Key, Kind
from sharpwave.schemas.numbers import Wire, canonical_json, item_from_wire
from sharpwave.schemas.status import ACKNOWLEDGED

#: Attributes only workers write; every other attribute of a record is the agent's.
WORKER: Mapping[Kind, frozenset[str]] = {
    "decision": frozenset({"promoted_at", "is_stm"}),
    # Earlier releases kept the mirror in the signal itself.
    "signal": frozenset({"processing_status", "status_v", "audience_chunks"}),
    "mirror": frozenset({"processing_status", "status_v", "ttl"}),
    "inbox_row": frozenset(
        {"signal_pk", "signal_sk", "signal_id", "signal_type", "source_agent", "timestamp"}
        | {
            "provenance",
            "expires_at",
            "ttl",
            "chunk",
            "data",
            "context",
            "omitted",
            "in_reply_to",
            "worker_rev",
            "sent_at",
        }
    ),
    "state": frozenset(),
    "registration": frozenset(),
    "limit": frozenset(),
    # All of it is a worker's, and starts nothing.
    "metrics": frozenset(),
    "memory": frozenset({"promoted_at"}),
}
#: Attributes of a decision that may come and change after it.
OUTCOME = frozenset({"outcome", "outcome_rev"})
#: What an agent may change of a record once it is written.
MUTABLE: Mapping[Kind | None, frozenset[str]] = {
    "decision": OUTCOME | {"ttl"},
    "signal": frozenset({"ttl"}),
}
#: What attributes that later releases' workers may add to agents' records begin with: a release
#: that does not know one takes it neither for a change of the agent's nor for its content.
RESERVED = "sharpwave_"
#: On signals of the pipeline itself.
SEAL = RESERVED + "seal"
#: Attributes raw writers of the first plan may send; accepted and without effect.
IGNORED = frozenset({"GSI1_PK", "GSI1_SK", "GSI2_PK", "GSI2_SK", "GSI3_PK", "GSI3_SK", "is_stm"})
_OTHERS: Mapping[Kind | None, frozenset[str]] = {
    None: IGNORED,
    **{kind: names | IGNORED for kind, names in WORKER.items()},
}

_Image = TypeVar("_Image", bound=Mapping[str, Any])


class Verdict(Enum):
    """What a stream record says happened to a record."""

    INSERTED = "inserted"
    #: The agent changed something of its own.
    AGENT = "agent"
    #: A repeated PutItem removed what the worker had written, and changed nothing else.
    WIPED = "wiped"
    #: The agent changed something of its own and removed what the worker had written.
    OVERWRITTEN = "overwritten"
    #: Nothing of the agent's changed: a worker's write coming back.
    ECHO = "echo"
    REMOVED = "removed"


def differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> set[str]:
    """Name the attributes that differ."""
    gone = old.keys() - new.keys()
    return gone | {name for name, value in new.items() if old.get(name) != value}


def change_of(
    kind: Kind,
    old: _Image | None,
    new: _Image | None,
    differing: Callable[[_Image, _Image], Set[str]] = differing,
) -> tuple[Verdict, Set[str]]:
    """Compare a record's images, in either typed or plain form.

    Args:
        kind: what the record is.
        old: the record as it was, None if it came.
        new: the record as it is, None if it went.
        differing: names the attributes that differ between two such images.

    Returns:
        What happened, and the names of all attributes that differ, whoever owns them; none are
        given where an image is missing, or a worker's stamp says whose write it was.
    """
    if new is None:
        return Verdict.REMOVED, frozenset()
    if old is None:
        return Verdict.INSERTED, frozenset()
    names = differing(old, new)
    # First of all: a worker's write to a row changes names that agents may change too.
    if kind == "inbox_row" and "worker_rev" in names and is_stamped(new):
        return Verdict.ECHO, frozenset()
    if kind == "inbox_row":
        # Written once and never changed by a worker without its stamp.
        wiped = not names.isdisjoint(WORKER[kind])
    else:
        # A worker may change its attributes of these without a stamp; only their loss tells that an
        # agent put the whole record anew.
        wiped = not (WORKER[kind] & old.keys()) - new.keys() <= IGNORED
    if agents_own(kind, names):
        return Verdict.OVERWRITTEN if wiped else Verdict.AGENT, names
    return Verdict.WIPED if wiped else Verdict.ECHO, names


def agents_own(kind: Kind | None, names: Set[str]) -> set[str]:
    """Give those names of attributes that are an agent's own, and count."""
    return {name for name in names - _OTHERS[kind] if not name.startswith(RESERVED)}


def digest_of(kind: Kind | None, image: Mapping[str, Wire], but: Set[str] = frozenset()) -> str:
    """Give a digest of what the agent says in a typed image, whatever workers added to it.

    `but` names attributes that do not count.
    """
    own = {name: image[name] for name in agents_own(kind, image.keys() - but)}
    text = canonical_json(item_from_wire(own))
    return blake2b(text.encode(), digest_size=12).hexdigest()


def stamped(row: Key, values: Mapping[str, Any], *, status: str | None = None) -> dict[str, Any]:
    """Give what a worker sets on a row, with the `worker_rev` that tells its write from others.

    Args:
        row: the row's key.
        values: the attributes to set.
        status: the status that the row has, and the write insists on, if `values` sets none.
    """
    moment = ulid()
    stands = values["status"] if status is None else status
    return {**values, "worker_rev": f"{moment}.{_seal(row, stands, moment)}"}


def is_stamped(row: Mapping[str, Any]) -> bool:
    """Say whether a row's status, in typed or plain form, is one that a worker wrote.

    The stamp holds a digest of key and status, so a copy of one does not vouch for another row or
    status. It keeps nobody out who means to forge it: the row is its agent's own.
    """
    moment, _, seal = _text(row, "worker_rev").partition(".")
    if not seal:
        # Workers before this form stamped with a bare ULID and never acknowledged.
        status = _text(row, "status")
        return ulid_epoch_ms(moment) is not None and status not in ACKNOWLEDGED
    key = Key(_text(row, "PK"), _text(row, "SK"))
    return seal == _seal(key, _text(row, "status"), moment)


def sealed(signal: Key, values: Mapping[str, Any]) -> dict[str, Any]:
    """Give a signal of the pipeline itself with the seal that tells it from agents'."""
    return {**values, SEAL: _digest(*signal, SEAL)}


def is_sealed(signal: Key, values: Mapping[str, Any]) -> bool:
    """Say whether a signal has the seal of the pipeline, in its strict partition.

    It keeps out who takes the name by mistake. Whoever means to forge it can: that the signal is
    the pipeline's own is told by what stands in a table that agents have no access to.
    """
    is_strict = signal.pk.endswith(f"#{SYSTEM}") and signal.pk.count("#") == 2
    return is_strict and values.get(SEAL) == _digest(*signal, SEAL)


def _seal(row: Key, status: str, moment: str) -> str:
    return _digest(*row, status, moment)


def _digest(*words: str) -> str:
    return blake2b("\0".join(words).encode(), digest_size=6).hexdigest()


def _text(image: Mapping[str, Any], name: str) -> str:
    value = image.get(name)
    if isinstance(value, Mapping):
        value = value.get("S")
    return value if isinstance(value, str) else ""
