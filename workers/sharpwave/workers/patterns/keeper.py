"""Who keeps the lives of patterns: their bases, their owners' accounts, and each transition.

What decides is in `life` and `account`; here it meets the tables. A promotion is first entered in
its owner's account, and then told. Telling is one transaction of the row, an item of history whose
key is the number of the transition, and its signal. So each is written once, whoever else is at
it, and who comes with an older row writes nothing.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from sharpwave.schemas import keys, tables
from sharpwave.schemas.patterns import FrozenBase, PatternVersion
from sharpwave.schemas.times import Clock, bound
from sharpwave.workers.patterns.account import Account
from sharpwave.workers.patterns.admission import Admission, listed_at, mark
from sharpwave.workers.patterns.counts import Arms, Counts, Days, Row, counts_in, summed_rows_of
from sharpwave.workers.patterns.life import (
    Facts,
    Life,
    Weighed,
    base_of_rest,
    floored,
    lacking,
    needed,
    next_step,
    rest_of,
    weigh,
    weighed_attributes,
)
from sharpwave.workers.patterns.policy import Policy
from sharpwave.workers.patterns.sharing import grant
from sharpwave.workers.patterns.statistics import Figures
from sharpwave.workers.patterns.telling import row_after, told
from sharpwave.workers.work.ports import (
    Insert,
    Item,
    Ledger,
    Location,
    Reads,
    Transactions,
    TryAgain,
    Update,
    Write,
    Writes,
)

log = logging.getLogger(__name__)

_ATTEMPTS = 8
#: Most transitions of one look; what is left comes with the next.
_STEPS = 3


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look at a version came to.

    Attributes:
        figures: its evidence, as attributes of its row.
        life: where it stands now.
        row: its row as it is now, as far as this process knows.
        is_settled: nobody else was at it.
    """

    figures: Mapping[str, Any]
    life: Life
    row: Item | None
    is_settled: bool = True


class Round:
    """What a round of looks reads of what patterns share: each account and ledger once.

    What changes meanwhile was marked, so a later round looks again; an account is written by its
    revision, whatever was read of it here.
    """

    def __init__(self, accounts: Mapping[str, Account], reads: Reads) -> None:
        """Begin with the accounts of all owners that will be asked for."""
        self.accounts, self._reads = dict(accounts), reads
        self._rows: dict[str, dict[str, Row]] = {}
        self._days: dict[str, Days] = {}

    def rows_of(self, subject: str) -> Mapping[str, Row]:
        """Give the rows of a ledger's days, as last summed up."""
        if subject not in self._rows:
            self._rows[subject] = summed_rows_of(subject, self._reads)
        return self._rows[subject]

    def days_of(self, subject: str) -> Days:
        """Give a ledger's counts by day, as last summed up."""
        if subject not in self._days:
            rows = self.rows_of(subject)
            self._days[subject] = {day: Counts.from_row(row) for day, row in rows.items()}
        return self._days[subject]


class Keeper:
    """Keeps bases, accounts and lives; safe to share between threads, and to race others."""

    def __init__(
        self,
        *,
        reads: Reads,
        writes: Writes,
        transactions: Transactions,
        ledger: Ledger,
        admission: Admission,
        policy: Policy,
        clock: Clock,
    ) -> None:
        """Decide by `policy`."""
        self._reads, self._writes, self._transactions = reads, writes, transactions
        self._ledger, self._admission = ledger, admission
        self._policy, self._clock = policy, clock

    def grant(self, version: PatternVersion, row: Item, found: Mapping[str, Item | None]) -> bool:
        """Make copies that readers lack; `found` are those readers, and what there is."""
        return grant(version, row, found, reads=self._reads, transactions=self._transactions)

    def numbered(self, versions: Iterable[PatternVersion]) -> list[PatternVersion]:
        """Give versions with their places in the order of arrival; new ones get theirs here.

        A place is given by when a version begins, whatever came of it: an order that knew outcomes
        would give the low numbers, which are worth most, to those that were lucky.
        """
        found = []
        for version in sorted(versions, key=lambda each: (each.effective_from, each.subject)):
            number = version.number
            if number is None:
                # A number that is given and not stored is lost, and no harm.
                owner = version.owner
                number = self._changed(owner, lambda one: replace(one, count=one.count + 1)).count
                place = listed_at(version)
                store = Update(place, {"number": number}, missing=("number",))
                if not self._writes.apply([store])[0]:
                    stored = self._reads.get([place]).get(place, {}).get("number")
                    number = None if stored is None else int(stored)
            found.append(version.model_copy(update={"number": number}))
        return found

    def round(self, versions: Iterable[PatternVersion]) -> Round:
        """Begin a round of looks at versions that have their numbers."""
        owners = sorted({version.owner for version in versions})
        places = {owner: Location(tables.PIPELINE, keys.promotions(owner)) for owner in owners}
        rows = self._reads.get(list(places.values())) if places else {}
        accounts = {owner: Account.of_row(rows.get(at, {})) for owner, at in places.items()}
        return Round(accounts, self._reads)

    def look(
        self,
        version: PatternVersion,
        row: Item | None,
        *,
        together: Round,
        counted: Mapping[str, int | None],
        days: Days,
        arms: Mapping[str, Arms],
        figures: Figures,
        everyone: int,
        bases: Sequence[str],
        latest: str,
        attributes: Callable[[Figures], dict[str, Any]],
    ) -> Seen:
        """Weigh a version's evidence, and carry out what follows from it.

        Args:
            version: a current one, with its number.
            row: its row as read before its counts; None if it has none.
            together: the round of looks that this is one of.
            counted: the ledgers that count it, by `places_of`.
            days: what they count of it, by day.
            arms: its units of evidence, by day.
            figures: its figures.
            everyone: outcomes of all decisions that it is held against, its own included.
            bases: the ledgers of those.
            latest: a day on which its agents decided, the latest that this look was told of; ""
                if it was told of none.
            attributes: gives the figures as attributes of a row.
        """
        version = self._based(version, days, everyone - figures.n, bases, together)
        rest: Mapping[str, tuple[int, int]] = {}
        if version.base is not None and version.base.trailing is not None:
            rest = rest_of(days, map(together.days_of, bases))
        weighed = weigh(version, arms, rest)
        account = together.accounts[version.owner]
        if row is None or row.get("version") != version.version:
            return Seen(self._shown(version, weighed, account), Life(), None)
        life = Life.of_row(row)
        if life.state == "dormant":
            # A late outcome of others' older day is no match, and what led here may be just that.
            latest = max([latest, *(day for each in bases for day in together.days_of(each))])
        is_candidate = life.state == "candidate"
        if is_candidate or version.number in account.waiting:
            is_ready = is_candidate and not lacking(weighed, figures, self._policy)
            evidence = float(floored(weighed.log_evidence)) if is_ready else None
            account = self._entered(version, evidence, figures.as_of, account)
            together.accounts[version.owner] = account
        promoted = account.promoted.get(version.number or 0)
        shown = self._shown(version, weighed, account)
        values = {**attributes(figures), **shown}
        began = bound(version.effective_from)[:10]
        for _ in range(_STEPS):
            facts = Facts(
                weighed=weighed,
                figures=figures,
                latest=max(latest, figures.as_of or began),
                promoted=promoted and promoted[1],
                has_readers=bool(row.get("is_shared")),
                began=began,
            )
            step = next_step(life, version, facts, self._policy, int(self._clock()))
            if step is None:
                break
            if step.life.state == "dormant" and self._is_behind(counted, figures, facts.latest):
                return Seen(shown, life, row, is_settled=False)
            if not self._transactions.transact(told(version, row, life, step, values)):
                # Somebody else told it, or wrote later figures: the next look starts from there.
                return Seen(shown, life, row, is_settled=False)
            row = {**row, **row_after(row, step, values)}
            life = step.life
            log.info(
                "pattern_state",
                extra={"pattern": version.name, "state": life.state, "reason": step.reason},
            )
        if life.state == "retired" and life.drifted:
            # Looked at whenever it is, until its follower has taken its place.
            self._admission.admit(
                version.definition,
                origin="drift",
                parent=version.name,
                reason=f"{version.name} broke its promise of {life.promised:.3f}",
            )
            return Seen(shown, life, None)
        if self._is_to_share(version, life, weighed, figures):
            return Seen(shown, life, None, is_settled=self._share(version, row))
        return Seen(shown, life, row)

    def _is_behind(self, counted: Mapping[str, int | None], figures: Figures, latest: str) -> bool:
        """Say whether a version counted decisions up to a day that its figures lack."""
        # The marks of one decision come one after the other, and a round may read but the first:
        # that its agents decided is known then, and that it matched stands in the ledger only.
        for subject, seat in counted.items():
            pk, begin, end = keys.ledger_heads_span(subject, figures.as_of or "")
            after = end if figures.as_of else begin
            _, _, until = keys.ledger_heads_span(subject, latest)
            # Of its own ledger any head will do; a base ledger's say who else was counted, too.
            most = 1 if seat is None else None
            heads = self._reads.query(tables.PIPELINE, pk, after=after, until=until, limit=most)
            counts = (counts_in(head["c"], seat) for head in heads)
            if any(each.n or each.pending for each in counts):
                return True
        return False

    def _is_to_share(
        self, version: PatternVersion, life: Life, weighed: Weighed, figures: Figures
    ) -> bool:
        """Say whether the rule shares a pattern now: once, so that a revocation stands."""
        policy = self._policy
        is_shared = life.shared_once or not policy.share_with or version.definition.agent_id is None
        return (
            not is_shared
            and life.state in ("active", "shared")
            and figures.confidence >= policy.share_confidence
            and weighed.units >= policy.share_units
        )

    def _share(self, version: PatternVersion, row: Item) -> bool:
        """Grant a pattern to those whom the rule names; the next look makes their copies."""
        place = listed_at(version)
        entry = self._reads.get([place]).get(place, {})
        try:
            stored = PatternVersion.of_entry(entry, strict=True)
        except ValidationError:
            return False  # written back by this release, it would lose what a newer one put there
        definition = stored.definition
        readers = {*definition.shared_with, *self._policy.share_with} - {definition.agent_id}
        wanted = definition.model_copy(update={"shared_with": sorted(filter(None, readers))})
        granted = stored.model_copy(update={"definition": wanted})
        values = {"shared_with": wanted.shared_with, "is_shared": True, "shared_once": True}
        return self._transactions.transact(
            [
                Update(
                    place,
                    {"version": granted.entry()["version"]},
                    equals={"version": entry["version"]},
                ),
                Update(
                    Location(tables.MEMORY, keys.Key(row["PK"], row["SK"])),
                    {**values, "figures_rev": row["figures_rev"] + 1},
                    equals={"version": row["version"], "figures_rev": row["figures_rev"]},
                ),
                mark(granted),
            ]
        )

    def _shown(self, version: PatternVersion, weighed: Weighed, account: Account) -> dict[str, Any]:
        bar = needed(version.number or account.count + 1, len(account.promoted), self._policy)
        return {**weighed_attributes(weighed), "evidence_needed": floored(bar)}

    def _based(
        self,
        version: PatternVersion,
        days: Days,
        rest: int,
        bases: Sequence[str],
        together: Round,
    ) -> PatternVersion:
        """Give a version with its base, which is frozen now if it can be."""
        if version.base is not None:
            return version
        if version.definition.base_rate is None and rest < self._policy.min_base:
            return version
        found = base_of_rest(version, days, map(together.days_of, bases), self._policy)
        if found is None:
            return version
        place = listed_at(version)
        freeze = Update(place, {"base": found.text()}, missing=("base",))
        if not self._writes.apply([freeze])[0]:
            # Another worker froze it first, and by other counts perhaps.
            entry = self._reads.get([place]).get(place, {})
            stored = entry.get("base")
            found = None if stored is None else FrozenBase.model_validate_json(stored)
        return version.model_copy(update={"base": found})

    def _entered(
        self, version: PatternVersion, evidence: float | None, day: str | None, account: Account
    ) -> Account:
        """Enter what a candidate has, None if it lacks more, and promote whom it is enough for."""
        number = version.number
        if number is None or number in account.promoted:
            return account

        def entered(held: Account) -> Account:
            if number in held.promoted:
                return held
            return held.entered(number, version.subject, evidence).settled(self._policy)

        if entered(account) == account:
            return account
        changed = self._changed(version.owner, entered)
        for other in changed.promoted.keys() - account.promoted.keys() - {number}:
            # Promoted along with this one: whoever looks at it next tells of it.
            mark = keys.changed(changed.promoted[other][0], day or bound(self._clock())[:10])
            self._ledger.mark(Location(tables.PIPELINE, mark))
        return changed

    def _changed(self, owner: str, change: Callable[[Account], Account]) -> Account:
        """Change an owner's account, by its revision."""
        place = Location(tables.PIPELINE, keys.promotions(owner))
        for _ in range(_ATTEMPTS):
            held = Account.of_row(self._reads.get([place]).get(place, {}))
            wanted = change(held)
            if wanted == held:
                return held
            wanted = replace(wanted, revision=held.revision + 1)
            values = wanted.attributes(self._policy)
            write: Write = Update(place, values, equals={"rev": held.revision})
            if not held.revision:
                write = Insert(place.table, {**place.key.item(), **values})
            if self._writes.apply([write])[0]:
                return wanted
        raise TryAgain(f"the account of {owner} is written by others, again and again")
