"""Names of agents, types and records, and the ids derived from a record's primary key."""

import os
import re
import time
from functools import lru_cache
from hashlib import blake2b
from itertools import product
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

AGENT_ID = r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$"
TYPE_NAME = r"^[A-Z][A-Z0-9_]{0,62}$"
RECORD_ID = r"^[A-Za-z0-9_-]{1,64}$"
NAME_PREFIX = r"^[a-z0-9-]{0,20}$"
DOMAIN = r"^[a-z0-9-]{1,40}$"
ARCHIVE_URL = r"^(file:(//[^/]*)?/|s3://[^/])"
#: What the patterns say, for people.
IN_WORDS = {
    DOMAIN: "1 to 40 of a-z, 0-9 and '-'",
    NAME_PREFIX: "at most 20 of a-z, 0-9 and '-'",
    ARCHIVE_URL: "file:///folder or s3://bucket/prefix",
    AGENT_ID: "1 to 40 of a-z, 0-9 and '-', not at either end",
    TYPE_NAME: "1 to 63 of A-Z, 0-9 and '_', starting with a letter",
    RECORD_ID: "1 to 64 of A-Z, a-z, 0-9, '_' and '-'",
}

#: `target_agents` of a signal meant for every registered agent.
EVERYONE = "*"
#: `target_agents` of a signal meant for the agents that subscribed to its type.
SUBSCRIBERS = "@subscribers"

#: Whom signals of the pipeline itself come from; no agent has this name.
SYSTEM = "sharpwave"


def _not_the_systems(name: str) -> str:
    if name == SYSTEM:
        raise ValueError(f"{SYSTEM!r} names the pipeline itself; choose another name")
    return name


#: Who a signal is from: an agent, or the pipeline itself.
SourceId = Annotated[
    str,
    StringConstraints(pattern=AGENT_ID),
    Field(description=IN_WORDS[AGENT_ID]),
]
AgentId = Annotated[SourceId, AfterValidator(_not_the_systems)]
TypeName = Annotated[
    str,
    StringConstraints(pattern=TYPE_NAME),
    Field(description=IN_WORDS[TYPE_NAME]),
]
RecordId = Annotated[
    str,
    StringConstraints(pattern=RECORD_ID),
    Field(description=f"{IN_WORDS[RECORD_ID]}; need not be unique"),
]
Domain = Annotated[str, StringConstraints(pattern=DOMAIN)]

#: Two letters of base32 for each ten bits.
_BASE32 = ["".join(two) for two in product("abcdefghijklmnopqrstuvwxyz234567", repeat=2)]
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_AGENT_ID = re.compile(AGENT_ID)
_TYPE_NAME = re.compile(TYPE_NAME)
_RECORD_ID = re.compile(RECORD_ID)


def is_agent_id(text: object) -> bool:
    """Say whether `text` can name an agent."""
    return isinstance(text, str) and _AGENT_ID.fullmatch(text) is not None


def is_type_name(text: object) -> bool:
    """Say whether `text` can name a decision type or a signal type."""
    return isinstance(text, str) and _TYPE_NAME.fullmatch(text) is not None


def is_record_id(text: object) -> bool:
    """Say whether `text` can be a decision id or a signal id."""
    return isinstance(text, str) and _RECORD_ID.fullmatch(text) is not None


def ulid(*, epoch_ms: int | None = None) -> str:
    """Make a ULID: 48 bits of time in milliseconds, then 80 random bits, in 26 characters.

    Source: the ULID specification, "Canonical String Representation".
    """
    moment = time.time_ns() // 1_000_000 if epoch_ms is None else epoch_ms
    number = (moment << 80) | int.from_bytes(os.urandom(10))
    return "".join(_CROCKFORD[(number >> shift) & 31] for shift in range(125, -1, -5))


def ulid_epoch_ms(text: str) -> int | None:
    """Read the time of a ULID in epoch milliseconds, or None if `text` is not one."""
    if len(text) != 26 or text[0] > "7" or any(letter not in _CROCKFORD for letter in text):
        return None
    number = 0
    for letter in text[:10]:
        number = number * 32 + _CROCKFORD.index(letter)
    return number


def nonce() -> int:
    """Make a number that nobody made before, short enough to be stored with each write."""
    return int.from_bytes(os.urandom(6))


def decision_id(*, epoch_ms: int | None = None) -> str:
    """Make an id for a new decision."""
    return f"dec_{ulid(epoch_ms=epoch_ms)}"


def signal_id(*, epoch_ms: int | None = None) -> str:
    """Make an id for a new signal."""
    return f"sig_{ulid(epoch_ms=epoch_ms)}"


@lru_cache(maxsize=4096)
def signal_uid(pk: str, sk: str) -> str:
    """Derive a signal's identity from its primary key: 24 lower-case base32 characters.

    A `signal_id` is the writer's and may repeat; the primary key cannot.
    """
    digest = int.from_bytes(blake2b(f"{pk}\0{sk}".encode(), digest_size=15).digest())
    # As `base64.b32encode` in lower case does it, which takes twice as long.
    return "".join([_BASE32[(digest >> shift) & 1023] for shift in range(110, -1, -10)])


def delivery_id(uid: str, target: str) -> str:
    """Name the delivery of one signal to one target."""
    return f"{uid}.{target}"
