"""Patterns that the archive suggests, found by subgroup discovery of pysubgroup.

It is a look back at one agent's decisions of one type, by a beam search over single conditions
and their conjunctions, ranked by weighted relative accuracy. What it finds is a suggestion, worth
nothing until outcomes that come after an import confirm it.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sharpwave.infra.errors import Missing, Rejected
from sharpwave.schemas.numbers import item_from_wire
from sharpwave.schemas.patterns import PatternDefinition
from sharpwave.workers.patterns.discover.columns import CUTS, MOST_VALUES, Gain, Seen
from sharpwave.workers.patterns.discover.features import (
    Feature,
    Rule,
    Said,
    Term,
    conditions_of,
    name_of,
    read,
    short,
)
from sharpwave.workers.patterns.recount import Parts

#: Resolved decisions that a proposal has to match, and without which nothing is searched.
LEAST_N, LEAST_DECISIONS = 30, 100
DEPTH, MOST = 3, 10
_BEAM = 60
#: What differs less from the rest than this, in standard deviations, is not worth a look.
_TELLING = 3.0


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A definition that the archive suggests.

    Attributes:
        definition: what `patterns check` and `import` read.
        sample_size: resolved decisions it matches.
        successes: those among them that succeeded.
        decisions: all resolved decisions of the agent and type.
        gain: share of decisions it matches times the difference of success rates.
    """

    definition: PatternDefinition
    sample_size: int
    successes: int
    decisions: int
    gain: float


@dataclass(frozen=True, slots=True)
class _Resolved:
    said: Mapping[Feature, Said]
    success: bool


def propose(
    archive: Parts, agent_id: str, decision_type: str, *, most: int = MOST
) -> list[Proposal]:
    """Look through the archive for what tells an agent's successes from its failures.

    Raises:
        Missing: there are too few resolved decisions of them.
        Rejected: a part of the archive cannot be read.
        ModuleNotFoundError: pysubgroup is not installed.
    """
    decisions = _resolved(archive, agent_id, decision_type)
    if len(decisions) < LEAST_DECISIONS:
        raise Missing(
            f"the archive holds {len(decisions)} {decision_type} of {agent_id} with an outcome; "
            f"proposals take {LEAST_DECISIONS}: wait for more, or mind the spelling"
        )
    everyone = Seen(len(decisions), sum(each.success for each in decisions))
    found: dict[str, Proposal] = {}
    for rule, avoid in _subgroups(decisions):
        matched = [each.success for each in decisions if all(t.holds(each.said) for t in rule)]
        gain = Gain(Seen(len(matched), sum(matched)), everyone)
        sign = -1 if avoid else 1
        if gain.mine.n < LEAST_N or sign * gain.z < _TELLING:
            continue
        name = name_of(rule, avoid=avoid)
        rest = everyone.since(gain.mine)
        definition = PatternDefinition(
            pattern_id=name,
            agent_id=agent_id,
            decision_type=decision_type,
            conditions=conditions_of(rule),
            description=(
                f"{gain.mine.s} of {gain.mine.n} archived decisions succeeded, "
                f"of the others {rest.s} of {rest.n}"
            ),
            kind="avoid" if avoid else "promote",
        )
        found[name] = Proposal(
            definition=definition,
            sample_size=gain.mine.n,
            successes=gain.mine.s,
            decisions=everyone.n,
            gain=gain.wracc,
        )
    ranked = sorted(found.values(), key=lambda each: (-abs(each.gain), each.definition.pattern_id))
    return ranked[:most]


def _resolved(archive: Parts, agent_id: str, decision_type: str) -> list[_Resolved]:
    """Give the latest archived state of each decision that has an outcome, by key."""
    latest: dict[tuple[str, str], tuple[int, _Resolved]] = {}
    for part in archive.part_names():
        try:
            for line in archive.read(part):
                state = item_from_wire(line["image"])
                outcome = state.get("outcome")
                if line["state"] == "refusal" or not isinstance(outcome, Mapping):
                    continue
                if (state["agent_id"], state["decision_type"]) != (agent_id, decision_type):
                    continue
                key, rev = (state["PK"], state["SK"]), int(state.get("outcome_rev") or 1)
                if key not in latest or latest[key][0] < rev:
                    latest[key] = rev, _Resolved(read(state), bool(outcome["success"]))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise Rejected(f"part {part} of the archive cannot be read: {error}") from error
    return [latest[key][1] for key in sorted(latest)]


def _subgroups(decisions: Sequence[_Resolved]) -> Iterator[tuple[Rule, bool]]:
    """Give what pysubgroup finds to succeed more often, and what to fail more often."""
    # Heavy, and an extra of its own.
    import pandas
    import pysubgroup

    values: dict[Feature, list[Any]] = {}
    for each in decisions:
        for feature, said in each.said.items():
            values.setdefault(feature, []).extend(said if isinstance(said, tuple) else [said])
    # The terms that the search is made of: usual values, and cuts at equal shares.
    terms: list[Term] = []
    for feature in sorted(values):
        path, seen = feature.path, values[feature]
        if feature.kind == "number":
            ordered = sorted(map(short, seen))
            places = (len(ordered) * number // (CUTS + 1) for number in range(1, CUTS + 1))
            # At the least value of all a cut would part nothing.
            for cut in sorted({ordered[place] for place in places} - {ordered[0]}):
                terms += [Term(path, "ge", cut), Term(path, "lt", cut)]
        else:
            # By type as well: to Python True and 1 are one key.
            counted = Counter((type(value).__name__, value) for value in seen)
            usual = sorted(counted, key=lambda label: (-counted[label], str(label)))[:MOST_VALUES]
            op = "eq" if feature.kind == "label" else "contains"
            terms += [Term(path, op, label) for _, label in usual]  # type: ignore[arg-type]
    columns = {str(at): [t.holds(each.said) for each in decisions] for at, t in enumerate(terms)}
    for avoid in (False, True):
        data = pandas.DataFrame({**columns, "hit": [d.success is not avoid for d in decisions]})
        task = pysubgroup.SubgroupDiscoveryTask(
            data,
            pysubgroup.BinaryTarget("hit", True),
            [pysubgroup.EqualitySelector(name, True) for name in columns],
            result_set_size=_BEAM,
            depth=DEPTH,
            qf=pysubgroup.WRAccQF(),
            min_quality=0,
        )
        found = pysubgroup.BeamSearch(beam_width=_BEAM).execute(task)
        for _, subgroup, _ in found.results:
            rule = tuple(sorted(terms[int(each.attribute_name)] for each in subgroup.selectors))
            # A path may be asked once, or for a range: x >= 2 and x < 5, and no second x < 4.
            ranges = [(each.path, each.op) for each in rule if each.op in ("ge", "lt")]
            others = [(each.path, each.op) for each in rule if each.op not in ("ge", "lt")]
            if rule and all(len(set(asked)) == len(asked) for asked in (ranges, others)):
                yield rule, avoid
