"""One line that tells whether two sets of counts are equal: two deployments', or two archives'."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from hashlib import blake2b

from sharpwave.schemas.numbers import plain_json
from sharpwave.workers.patterns.counts import Arms, Counts, Days

#: How ledgers come to be stored as they are, which an archive cannot know.
_OF_STORAGE = frozenset({"revision", "units"})
_BYTES = 16


def digest_of(ledgers: Mapping[str, Days], units: Mapping[str, Mapping[str, Arms]]) -> str:
    """Give a digest of counts and units of evidence: equal if and only if all of them are.

    The order of ledgers and days plays no part, nor do days that count nothing, nor how often a
    ledger was written. What is 0 is left out, so that a release which counts more gives counts
    without any of it the digest they had.

    Args:
        ledgers: counts by ledger and day.
        units: units of evidence of patterns by ledger and day.
    """
    digest = blake2b(digest_size=_BYTES)
    sides: tuple[tuple[str, Mapping[str, Mapping[str, Counts | Arms]]], ...]
    sides = ("counts", ledgers), ("units", units)
    for kind, side in sides:
        for subject in sorted(side):
            for day in sorted(side[subject]):
                counts = side[subject][day]
                named = asdict(counts)
                counted = {
                    field.name: named[field.name]
                    for field in sorted(fields(counts), key=lambda field: field.name)
                    if field.name not in _OF_STORAGE
                    and getattr(counts, field.name) != field.default
                }
                if counted:
                    digest.update(f"{plain_json([kind, subject, day, counted])}\n".encode())
    return digest.hexdigest()
