"""Copies of a fact for those its owner shares it with, each where its reader may read.

The fact says who is to have a copy, and a list beside it who may have one: the list grows before
the first copy is made and shrinks after the last one is gone. A copy comes or goes only in one
transaction with a look at the fact's revision, so a worker that read the fact before a grant was
revoked leaves nothing behind, wherever it is killed.
"""

from collections.abc import Sequence

from sharpwave.schemas import keys, tables
from sharpwave.workers.work.ports import (
    Check,
    Delete,
    Item,
    Location,
    Put,
    Reads,
    Transactions,
    TryAgain,
    Update,
    Writes,
)

#: A fact's revision, and the partitions in which copies of it may be.
REV, COPIED_TO = "fact_rev", "copied_to"
#: What in an entry says whom it is shared with; a reader is not told of others.
SHARED = frozenset({"shared_with", "shared_domains"})
_ATTEMPTS = 8
_NOT_COPIED = frozenset({"PK", "SK", "ttl", REV, COPIED_TO, "entry_number"}) | SHARED


def serve(
    facts: Sequence[Location], *, reads: Reads, writes: Writes, transactions: Transactions
) -> None:
    """Make the copies of facts that are due and remove the others; safe to repeat and to race.

    Raises:
        TryAgain: a fact kept changing.
    """
    todo = list(facts)
    for _ in range(_ATTEMPTS):
        rows = reads.get(todo) if todo else {}
        todo = [
            fact for fact, row in rows.items() if not _serve(fact, row, reads, writes, transactions)
        ]
        if not todo:
            return
    raise TryAgain(f"the fact {todo[0].key} kept changing")


def _serve(
    fact: Location, row: Item, reads: Reads, writes: Writes, transactions: Transactions
) -> bool:
    wanted, known = set[str](), set(row.get(COPIED_TO, []))
    if "forgotten_at" not in row:
        wanted |= {keys.granted_pk(name) for name in row.get("shared_with", ())}
        wanted |= {keys.granted_domain_pk(name) for name in row.get("shared_domains", ())}
    if not wanted and not known:
        return True
    revision = row.get(REV)
    if revision is None or not wanted <= known:
        known |= wanted
        if not _note(fact, revision, known, writes):
            return False
        revision = (revision or 0) + 1
    stands = Check(fact, equals={REV: revision})
    sk = keys.granted_sk(row["agent_id"], row["memory_type"], fact.key.sk.partition("#")[2])
    content = {name: value for name, value in row.items() if name not in _NOT_COPIED}
    there = {pk: Location(tables.MEMORY, keys.Key(pk, sk)) for pk in known}
    found = reads.get(list(there.values()))
    for pk, place in there.items():
        copy = {**place.key.item(), **content} if pk in wanted else None
        if found.get(place) == copy:
            continue
        change = Delete(place, {}) if copy is None else Put(tables.MEMORY, copy)
        if not transactions.transact([stands, change]):
            return False
    return wanted == known or _note(fact, revision, wanted, writes)


def _note(fact: Location, revision: int | None, readers: set[str], writes: Writes) -> bool:
    values = {COPIED_TO: sorted(readers), REV: (revision or 0) + 1}
    equals = {} if revision is None else {REV: revision}
    missing = (REV,) if revision is None else ()
    return writes.apply([Update(fact, values, equals=equals, missing=missing)])[0]
