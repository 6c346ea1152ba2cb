"""What is looked for: single terms, conjunctions of up to three, and which of them to propose.

The state of one agent's decisions of one type is a pure function of the decisions, one after the
other: how they are cut into batches does not matter, and equal decisions give equal bytes. It
has room for `MOST_BYTES` whatever they say. Every `ROUND` resolved decisions it looks at what it
counts: conjunctions that tell nothing make room, the children of the most telling begin to be
counted, and what tells enough is proposed. All that is counted here may only suggest; whether it
is so is for outcomes of decisions made after a proposal was admitted.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from hashlib import blake2b
from itertools import combinations
from typing import Any

from sharpwave.workers.patterns.discover.candidates import Candidate, brief, joined, order
from sharpwave.workers.patterns.discover.columns import Column, Gain, Seen
from sharpwave.workers.patterns.discover.features import (
    Feature,
    Rule,
    Said,
    Term,
    name_of,
    short,
)
from sharpwave.workers.patterns.statistics import HALF_LIFE_DAYS

#: Resolved decisions from one look at the counts to the next.
ROUND = 64
#: Features counted, the first there are; one gives its place to another if fewer than one decision
#: in `_SELDOM` has it, for columns that kept replacing each other would never count enough.
MOST_COLUMNS, _SELDOM = 28, 20
#: Conjunctions counted at a time of each length, and the greatest length.
MOST_COUNTED, DEPTH = 50, 3
#: The most telling terms, of which conjunctions are made, and how many of them of one path.
_PARENTS, _OF_ONE_PATH = 12, 2
#: Decisions of which the features are kept, drawn by the digest of their key.
SAMPLE = 48
#: Decisions that a term or conjunction needs before it tells anything.
LEAST_N = 30
#: What tells less than this many standard deviations tells nothing.
_NOTHING = 1.0
#: What is proposed tells at least this much, and a conjunction this much more than its parts.
TELLING, BETTER = 4.0, 2.0
#: A conjunction that had no LEAST_N decisions of so many is too rare.
_RARE = 512
#: Candidates open at a time, proposed in one round, and decisions for which one stays open.
MOST_OPEN, MOST_NEW, PATIENCE = 8, 2, 1_024
#: Candidates that were found true, and digests of rules that are not proposed or counted again.
_MOST_KEPT, _MOST_CLOSED = 8, 96
#: Two rules say the same if they share so much of what either holds for in the sample.
_SAME = 0.95

#: Matching decisions after which evidence weighs half, and the most days that may take. Counted in
#: days alone, all evidence of a rare decision would have faded before there is enough.
_HALF_LIFE, _LONGEST_HALF_LIFE_DAYS = 60, 730

#: No state is larger, in bytes.
MOST_BYTES = 60_000


@dataclass(slots=True)
class _Conjunction:
    rule: Rule
    seen: Seen
    before: Seen


@dataclass(slots=True)
class State:
    """All that is kept of one agent's decisions of one type.

    Attributes:
        seen: the decisions looked at that had an outcome.
        unresolved: those that had none; they count nowhere.
        days: the first and the last day of resolved ones, as ordinals; 0 before the first.
        columns: what is counted of features.
        conjunctions: what is counted of several terms together.
        sample: features of decisions drawn evenly from all, by the digests of their keys.
        open: candidates that are not decided.
        kept: the latest that were promoted.
        ending: names of candidates that were given up since the state was stored last.
        closed: digests of rules that led nowhere, the latest last.
        imported: patterns that people brought in; not stored here, but known for a sweep.
    """

    seen: Seen = field(default_factory=Seen)
    unresolved: int = 0
    days: tuple[int, int] = (0, 0)
    columns: list[Column] = field(default_factory=list)
    conjunctions: list[_Conjunction] = field(default_factory=list)
    sample: dict[int, dict[Feature, Said]] = field(default_factory=dict)
    open: list[Candidate] = field(default_factory=list)
    kept: list[Candidate] = field(default_factory=list)
    ending: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    imported: Sequence[Candidate] = ()

    def look(
        self,
        key: str,
        said: Mapping[Feature, Said],
        success: bool | None,
        *,
        day: str,
        proposes: bool = True,
    ) -> None:
        """Look at one decision.

        Args:
            key: its sort key; the order of keys is that of looking.
            said: its features, by name.
            success: what became of it; None if that is not known by now.
            day: the day it belongs to, `YYYY-MM-DD`.
            proposes: whether it may lead to candidates, or end them. What lies long back says
                nothing of how a candidate that counts from now on is doing.
        """
        if success is None:
            self.unresolved += 1
            return
        today = date.fromisoformat(day).toordinal()
        self.days = min(self.days[0] or today, today), max(self.days[1], today)
        lost: list[Term] = []
        held = []
        for feature, value in said.items():
            column = self._column(feature, lost)
            if column is not None:
                held.append(column)
                lost += column.count(value, success, self.seen)
        # Each term once: conjunctions are made of few.
        terms = {term for each in self.conjunctions for term in each.rule}
        true = {term for term in terms if term.holds(said)}
        for each in self.conjunctions:
            if true.issuperset(each.rule):
                each.seen = each.seen.plus(success)
        self.seen = self.seen.plus(success)
        self._forget(lost)
        self._draw(key, said)
        for column in held:
            if not column.is_due:
                continue
            sampled = (row.get(column.feature) for row in self.sample.values())
            numbers = [number for number in sampled if isinstance(number, float)]
            before = list(column.cuts)
            if column.draw_cuts(numbers, self.seen):
                path = column.feature.path
                self._forget([Term(path, op, cut) for cut in before for op in ("ge", "lt")])
        if self.seen.n % ROUND == 0:
            self._round(proposes=proposes)

    def refined(self, one: Candidate) -> Candidate | None:
        """Give the closest pattern, imported, open or promoted, that a rule says more than.

        It holds for a part of that one's decisions, and claims the same of them.
        """
        terms = set(one.rule)
        wider = [
            each
            for each in (*self.imported, *self.kept, *self.open)
            if each.avoid == one.avoid and set(each.rule) < terms
        ]
        return max(wider, key=lambda each: (len(each.rule), each.name), default=None)

    def settle(self, *, promoted: Sequence[str], ended: Sequence[str]) -> None:
        """Free the places of candidates, by name: of those promoted, and of those given up."""
        self.kept += [each for each in self.open if each.name in promoted]
        self.kept = self.kept[-_MOST_KEPT:]
        for each in self.open:
            if each.name in ended:
                self._close(each.rule)
                self.ending.append(each.name)
        decided = {*promoted, *ended}
        self.open = [each for each in self.open if each.name not in decided]

    def encode(self) -> str:
        """Write it as JSON, equal states alike."""
        features = {column.feature: number for number, column in enumerate(self.columns)}
        sample = []
        for digest in sorted(self.sample):
            row = {features[name]: said for name, said in self.sample[digest].items()}
            coded = [part for at in sorted(row) for part in (at, self._code(at, row[at]))]
            sample.append([digest, *coded])
        content = {
            "seen": [*self.seen, self.unresolved, *self.days],
            "columns": [column.row() for column in self.columns],
            "conjunctions": [
                [self._codes(each.rule), *each.seen, *each.before] for each in self.conjunctions
            ],
            "sample": sample,
            "open": [each.row() for each in self.open],
            "kept": [each.row() for each in self.kept],
            "ending": self.ending,
            "closed": self.closed,
        }
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"), sort_keys=True)

    @classmethod
    def decode(cls, text: str) -> "State":
        """Read what `encode` wrote; of an empty text, a state that has seen nothing.

        Raises:
            ValueError: it wrote something else.
        """
        if not text:
            return cls()
        try:
            content = json.loads(text)
            n, s, unresolved, *days = content["seen"]
            state = cls(Seen(n, s), unresolved, (days[0], days[1]))
            state.columns = [Column.of_row(row) for row in content["columns"]]
            for codes, own_n, own_s, of, of_s in content["conjunctions"]:
                terms = []
                for number, op, place in codes:
                    column = state.columns[number]
                    is_cut = op in ("ge", "lt")
                    value = column.cuts[place] if is_cut else column.values[place].label
                    terms.append(Term(column.feature.path, op, value))
                seen, before = Seen(own_n, own_s), Seen(of, of_s)
                state.conjunctions.append(_Conjunction(tuple(terms), seen, before))
            for digest, *row in content["sample"]:
                state.sample[digest] = {
                    state.columns[number].feature: state._said(number, code)
                    for number, code in zip(row[::2], row[1::2], strict=True)
                }
            state.open = [Candidate.of_row(row) for row in content["open"]]
            state.kept = [Candidate.of_row(row) for row in content["kept"]]
            state.ending, state.closed = list(content["ending"]), list(content["closed"])
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"no state of a search for patterns: {error!r}") from error
        return state

    def _column(self, feature: Feature, lost: list[Term]) -> Column | None:
        for column in self.columns:
            if column.feature == feature:
                return column
        fresh = Column(feature)
        if len(self.columns) < MOST_COLUMNS:
            self.columns.append(fresh)
            return fresh
        place = min(range(MOST_COLUMNS), key=lambda at: self.columns[at].weight)
        least = self.columns[place]
        if least.weight * _SELDOM >= self.seen.n:
            return None
        lost += [term for term, _ in least.gains(self.seen)]
        for row in self.sample.values():
            row.pop(least.feature, None)
        self.columns[place] = fresh
        return fresh

    def _draw(self, key: str, said: Mapping[Feature, Said]) -> None:
        """Keep a decision's features if the digest of its key is among the least."""
        digest = int.from_bytes(blake2b(key.encode(), digest_size=4).digest())
        if len(self.sample) == SAMPLE:
            greatest = max(self.sample)
            if digest >= greatest:
                return
            del self.sample[greatest]
        kept: dict[Feature, Said] = {}
        for column in self.columns:
            value = said.get(column.feature)
            placed = [each.label for each in column.values]
            if isinstance(value, float):
                kept[column.feature] = short(value)
            elif isinstance(value, tuple):
                if members := tuple(label for label in value if label in placed):
                    kept[column.feature] = members
            elif value is not None and value in placed:
                kept[column.feature] = value
        self.sample[digest] = kept

    def _forget(self, lost: Sequence[Term]) -> None:
        """Drop what was counted or kept of terms that have no place any more."""
        if not lost:
            return
        gone = set(lost)
        self.conjunctions = [each for each in self.conjunctions if gone.isdisjoint(each.rule)]
        for row in self.sample.values():
            for term in gone:
                if term.op == "eq" and term.holds(row):
                    del row[Feature(term.path, "label")]
                elif term.op == "contains" and term.holds(row):
                    feature = Feature(term.path, "members")
                    members = row[feature]
                    assert isinstance(members, tuple)
                    row[feature] = tuple(each for each in members if each != term.value)

    def _round(self, *, proposes: bool) -> None:
        gains: dict[Rule, Gain] = {
            (term,): gain for column in self.columns for term, gain in column.gains(self.seen)
        }
        for each in self.conjunctions:
            gains[each.rule] = Gain(each.seen, self.seen.since(each.before))
        # What is too rare, or tells nothing, makes room.
        kept = []
        for each in self.conjunctions:
            gain = gains[each.rule]
            is_rare = gain.mine.n < LEAST_N and gain.all.n >= _RARE
            if is_rare or (gain.mine.n >= LEAST_N and abs(gain.z) < _NOTHING):
                self._close(each.rule)
            else:
                kept.append(each)
        self.conjunctions = kept
        self._grow(gains)
        if proposes:
            late = [each.name for each in self.open if self.seen.n - each.since >= PATIENCE]
            self.settle(promoted=(), ended=late)
            self.open += list(self._proposed(gains))

    def _grow(self, gains: Mapping[Rule, Gain]) -> None:
        """Begin to count the children of the most telling, as far as there is room."""
        telling = sorted(
            (rule for rule, gain in gains.items() if gain.mine.n >= LEAST_N),
            key=lambda rule: (-abs(gains[rule].wracc), order(rule)),
        )
        singles: list[Rule] = []
        for rule in telling:
            if len(rule) == 1 and len(singles) < _PARENTS:
                # Neighbouring cuts of one number tell nearly the same, and would be all there is.
                path = rule[0].path
                if sum(each[0].path == path for each in singles) < _OF_ONE_PATH:
                    singles.append(rule)
        for depth in range(2, DEPTH + 1):
            parents = [rule for rule in telling if len(rule) == depth - 1]
            counted = {each.rule for each in self.conjunctions if len(each.rule) == depth}
            children: dict[Rule, float] = {}
            for parent in singles if depth == 2 else parents:
                for single in singles:
                    child = joined(parent, single)
                    if child is None or child in counted or brief(child) in self.closed:
                        continue
                    both = abs(gains[parent].wracc) + abs(gains[single].wracc)
                    children[child] = max(children.get(child, 0.0), both)
            ranked = sorted(children, key=lambda rule: (-children[rule], order(rule)))
            for child in ranked[: max(0, MOST_COUNTED - len(counted))]:
                self.conjunctions.append(_Conjunction(child, Seen(), self.seen))

    def _proposed(self, gains: Mapping[Rule, Gain]) -> Iterator[Candidate]:
        new = 0
        ranked = sorted(gains, key=lambda rule: (-abs(gains[rule].wracc), order(rule)))
        known = {each.name for each in (*self.open, *self.kept)}
        taken = [*self.open]
        for rule in ranked:
            gain = gains[rule]
            if new == MOST_NEW or len(taken) >= MOST_OPEN:
                return
            if gain.mine.n < LEAST_N or abs(gain.z) < TELLING:
                continue
            avoid = gain.wracc < 0
            # The days in which about `_HALF_LIFE` decisions match, by how many did so far.
            a_day = self.seen.n / (self.days[1] - self.days[0] + 1) * gain.mine.n / gain.all.n
            bounded = min(max(_HALF_LIFE / a_day, HALF_LIFE_DAYS), _LONGEST_HALF_LIFE_DAYS)
            half_life = round(bounded)
            name = name_of(rule, avoid=avoid)
            candidate = Candidate(name, rule, avoid, gain, self.seen.n, half_life)
            if candidate.name in known or brief(rule) in self.closed:
                continue
            if any({*rule} == {*each.rule} for each in self.imported):
                continue
            sign = -1 if avoid else 1
            parts = (part for size in range(1, len(rule)) for part in combinations(rule, size))
            if any(sign * gain.z_within(gains[part]) < BETTER for part in parts if part in gains):
                continue
            # Of rules about the same paths one at a time: neighbouring cuts say nearly the same.
            if any(each.paths == candidate.paths for each in taken):
                continue
            if any(self._is_same(candidate, each) for each in (*self.imported, *taken, *self.kept)):
                continue
            taken.append(candidate)
            new += 1
            yield candidate

    def _is_same(self, one: Candidate, other: Candidate) -> bool:
        rows = self.sample.values()
        mine = {at for at, row in enumerate(rows) if all(term.holds(row) for term in one.rule)}
        others = {at for at, row in enumerate(rows) if all(t.holds(row) for t in other.rule)}
        both = len(mine & others)
        return bool(both) and both > _SAME * max(len(mine), len(others))

    def _close(self, rule: Rule) -> None:
        digest = brief(rule)
        self.closed = [*(each for each in self.closed if each != digest), digest][-_MOST_CLOSED:]

    def _codes(self, rule: Rule) -> list[list[Any]]:
        """Write terms by the numbers of their columns, as paths would take most of the room."""
        codes = []
        for term in rule:
            kind = {"eq": "label", "contains": "members"}.get(term.op, "number")
            number = next(
                at for at, column in enumerate(self.columns) if column.feature == (term.path, kind)
            )
            column = self.columns[number]
            held = column.cuts if kind == "number" else [each.label for each in column.values]
            place = next(
                at
                for at, value in enumerate(held)
                if value == term.value and type(value) is type(term.value)
            )
            codes.append([number, term.op, place])
        return codes

    def _code(self, number: int, said: Said) -> float | int:
        """Write what a decision of the sample says: a number, the place of a label, or bits."""
        if isinstance(said, float):
            return said
        placed = [each.label for each in self.columns[number].values]
        if isinstance(said, tuple):
            return sum(1 << placed.index(label) for label in said)
        return next(at for at, each in enumerate(placed) if each is said or each == said)

    def _said(self, number: int, code: float | int) -> Said:
        column = self.columns[number]
        if column.feature.kind == "number":
            return float(code)
        if column.feature.kind == "label":
            return column.values[int(code)].label
        # In the order that members are read in.
        labels = [each.label for at, each in enumerate(column.values) if int(code) >> at & 1]
        return tuple(sorted(map(str, labels)))
