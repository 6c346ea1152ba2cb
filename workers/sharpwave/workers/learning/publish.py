"""The figures of a pattern, computed from its counts and written where readers look."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from sharpwave.schemas import keys, tables
from sharpwave.schemas.patterns import PatternVersion
from sharpwave.schemas.times import Clock
from sharpwave.workers.learning.counts import Counts, total
from sharpwave.workers.learning.learn import SLOT
from sharpwave.workers.learning.statistics import DEFAULT_BASE_RATE, BaseRate, Report, report
from sharpwave.workers.ports import Change, Item, Location, Reads, Write, Writes

#: `GSI1_SK` moves in steps of this size, so that an index entry is not rewritten at each outcome.
RANK_STEP = Decimal("0.05")
_PLACES = Decimal("0.000001")

Days = dict[str, Counts]


def publish(
    versions: Sequence[PatternVersion], *, reads: Reads, writes: Writes, clock: Clock
) -> int:
    """Bring the rows of current pattern versions up to date.

    Safe to repeat and to race: a row changes only if nobody changed it since it was read, and
    its figures are a pure function of the counts.

    Returns:
        The number of patterns whose figures changed.
    """
    current = [version for version in versions if version.effective_to is None]
    places = {version.subject: _places(version) for version in current}
    rows = reads.get([place for each in places.values() for place in each])
    changes: list[Write] = []
    for version in current:
        values = attributes(figures(version, reads))
        for row in (rows[place] for place in places[version.subject] if place in rows):
            if row.get("version") == version.version:
                changes += _change(row, values, int(clock()))
    return sum(writes.apply(changes)) if changes else 0


def figures(version: PatternVersion, reads: Reads) -> Report:
    """Compute the figures of one version from the stored counts."""
    definition = version.definition
    days = days_of(version.subject, reads)
    everyone = [total(days_of(subject, reads).values()) for subject in _bases(version, reads)]
    stored = definition.base_rate or DEFAULT_BASE_RATE
    base = (
        BaseRate(definition.base_rate)
        if definition.base_rate
        else BaseRate.of_complement(total(everyone), total(days.values()), stored=stored)
    )
    return report(
        days, base=base, half_life_days=definition.half_life_days, min_lift=definition.min_lift
    )


def days_of(subject: str, reads: Reads) -> Days:
    """Read a ledger's counts, summed by day."""
    heads = reads.query(tables.PIPELINE, keys.ledger_pk(subject), after="H#", until="H~")
    return {head["SK"][2:]: total(_slots(head)) for head in heads}


def _slots(head: Item) -> list[Counts]:
    return [Counts.from_row(row) for name, row in head.items() if name.startswith(SLOT)]


def attributes(figures: Report) -> dict[str, Any]:
    """Give the figures as attributes of a pattern's row."""
    confidence = _rounded(figures.confidence)
    rank = (confidence / RANK_STEP).to_integral_value() * RANK_STEP
    return {
        "sample_size": figures.n,
        "successes": figures.successes,
        "success_rate": None if figures.rate is None else _rounded(figures.rate),
        "interval": [_rounded(bound) for bound in figures.interval],
        "confidence": confidence,
        "base_rate": _rounded(figures.base_rate),
        "n_eff": _rounded(figures.n_eff),
        "applied": figures.applied,
        "unresolved": figures.unresolved,
        "as_of": figures.as_of,
        "GSI1_SK": rank,
        "GSI2_SK": rank,
    }


def _bases(version: PatternVersion, reads: Reads) -> list[str]:
    definition = version.definition
    if definition.agent_id:
        return [keys.base_subject(definition.agent_id, definition.decision_type)]
    agents = reads.query(tables.PIPELINE, keys.known_agent("").pk)
    return [keys.base_subject(agent["SK"], definition.decision_type) for agent in agents]


def _change(row: Item, figures: Mapping[str, Any], moment: int) -> list[Change]:
    # An index key belongs only where the row is in the index.
    ranks = {name for name in ("GSI1_SK", "GSI2_SK") if f"{name[:4]}_PK" in row}
    values = {name: value for name, value in figures.items() if name[:3] != "GSI" or name in ranks}
    if all(row.get(name) == value for name, value in values.items()):
        return []
    place = Location(tables.MEMORY, keys.Key(row["PK"], row["SK"]))
    revision = row.get("figures_rev")
    values |= {"figures_rev": (revision or 0) + 1, "updated_at": moment}
    if revision is None:
        return [Change(place, values, missing=("figures_rev",))]
    return [Change(place, values, equals={"figures_rev": revision})]


def _places(version: PatternVersion) -> list[Location]:
    """Say where a pattern's figures stand: its own row, and the copies of its readers."""
    definition = version.definition
    own = keys.Key(version.pk, definition.pattern_id)
    copies = [
        keys.shared_pattern_copy(reader, version.owner, definition.pattern_id)
        for reader in definition.shared_with
    ]
    return [Location(tables.MEMORY, key) for key in (own, *copies)]


def _rounded(value: float) -> Decimal:
    return Decimal(repr(value)).quantize(_PLACES).normalize() + 0
