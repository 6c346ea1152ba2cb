"""Copies of a pattern's row for those it was granted to, each in its reader's own partition.

A copy is made only while the grant stands, in one transaction with the entry that says so: a
worker that read the list before a grant was revoked leaves nothing behind.
"""

from collections.abc import Mapping

from pydantic import ValidationError

from sharpwave.schemas import keys, tables
from sharpwave.schemas.patterns import PatternVersion
from sharpwave.workers.patterns.admission import listed_at
from sharpwave.workers.work.ports import Check, Item, Location, Put, Reads, Transactions


def copy_of(version: PatternVersion, row: Item, reader: str, found: Item | None) -> Item:
    """Give the copy of a pattern's row for a reader, to replace the one that was found.

    It is in no index, for those are its owner's.
    """
    key = keys.shared_pattern_copy(reader, version.owner, version.definition.pattern_id)
    content = {name: value for name, value in row.items() if not name.startswith("GSI")}
    # Workers write figures under the revision they read, so those of the copy before now fail.
    revision = max(row.get("figures_rev", 0), (found or {}).get("figures_rev", 0)) + 1
    return {**content, **key.item(), "owner": version.owner, "figures_rev": revision}


def grant(
    version: PatternVersion,
    row: Item,
    found: Mapping[str, Item | None],
    *,
    reads: Reads,
    transactions: Transactions,
) -> bool:
    """Make copies that are missing or of another version; safe to repeat and to race.

    Args:
        version: a current version.
        row: its row.
        found: the readers to serve, each with the copy that there is.

    Returns:
        Whether all that are still granted it were served.
    """
    place = listed_at(version)
    entry = reads.get([place]).get(place)
    if entry is None:
        return True
    try:
        granted = PatternVersion.of_entry(entry).definition.shared_with
    except ValidationError:
        return False
    stands = Check(place, equals={"version": entry["version"]})
    done = True
    for reader in sorted(found.keys() & set(granted)):
        copy = copy_of(version, row, reader, found[reader])
        done &= transactions.transact([stands, Put(tables.MEMORY, copy)])
    return done


def place_of_copy(version: PatternVersion, reader: str) -> Location:
    """Say where a reader's copy is."""
    key = keys.shared_pattern_copy(reader, version.owner, version.definition.pattern_id)
    return Location(tables.MEMORY, key)
