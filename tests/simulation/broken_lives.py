"""One rule of the lives of patterns broken at a time: evidence, states, words, versions, grants."""

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from threading import local
from typing import Any
from unittest.mock import patch

from sharpwave.infra.operate import lives, patterns
from sharpwave.schemas import keys, tables
from sharpwave.schemas.patterns import PatternDefinition
from sharpwave.schemas.times import DAY_S, iso_ms
from sharpwave.workers.patterns import account, admission, keeper, life, publish, telling
from sharpwave.workers.patterns.admission import Admission
from sharpwave.workers.patterns.sharing import copy_of
from sharpwave.workers.router import router
from sharpwave.workers.signals import deliver
from sharpwave.workers.work.ports import Location, Put, Update
from tests.simulation.broken import STORMY, Break, Mutant, changed, together
from tests.simulation.weather import QUIET, SEASONS

_PROMOTED = ("active", "shared")
#: Nothing dies, but much happens while a worker looks.
_CROWDED = {**QUIET, "nest_rate": 0.1}

# -- states ---------------------------------------------------------------------------------------


def _steps(step: Callable[..., Any]) -> Break:
    """Decide on the next state by `step`, which is told how it is decided."""
    whole = life.next_step

    def next_step(held: Any, version: Any, facts: Any, policy: Any, moment: int) -> Any:
        def decide(held: Any = held, facts: Any = facts, policy: Any = policy) -> Any:
            return whole(held, version, facts, policy, moment)

        return step(decide, held, facts, policy, moment)

    return changed(keeper, "next_step", next_step)


def _rules(rules: Callable[[Any], Mapping[str, float]]) -> Break:
    """Decide on the next state by other rules than are asked for."""
    return _steps(
        lambda decide, held, facts, policy, _: decide(
            policy=policy.model_copy(update=dict(rules(policy)))
        )
    )


def _readers_promote(decide: Any, held: Any, facts: Any, *_: Any) -> Any:
    is_granted = facts.promoted is None and facts.has_readers
    return decide(facts=replace(facts, promoted=0.0) if is_granted else facts)


def _stays_in_doubt(decide: Any, held: Any, *_: Any) -> Any:
    step = decide()
    return None if held.state == "degraded" and step and step.life.state in _PROMOTED else step


def _stays_asleep(decide: Any, held: Any, *_: Any) -> Any:
    return None if held.state == "dormant" else decide()


def _wakes_as_new(decide: Any, held: Any, *_: Any) -> Any:
    step = decide()
    if step is None or held.state != "dormant":
        return step
    return replace(step, life=replace(step.life, state="candidate"))


def _comes_back(decide: Any, held: Any, *_: Any) -> Any:
    """Take what was put aside for what sleeps."""
    is_aside = held.state == "retired" and not held.drifted
    return decide(held=replace(held, state="dormant") if is_aside else held)


def _stays_shared(decide: Any, held: Any, facts: Any, *_: Any) -> Any:
    is_shared = facts.has_readers or held.state == "shared"
    return decide(facts=replace(facts, has_readers=is_shared))


def _by_the_wall(decide: Any, held: Any, facts: Any, policy: Any, moment: int) -> Any:
    today = iso_ms(moment)[:10]
    return decide(facts=replace(facts, latest=max(today, facts.latest)))


def _by_its_beginning(decide: Any, held: Any, facts: Any, *_: Any) -> Any:
    return decide(facts=replace(facts, latest=max(facts.began, facts.latest)))


def _woken_by_others() -> AbstractContextManager[object]:
    """Take the day of whatever led to a look for the latest on which its agents decided."""
    whole, told = vars(keeper.Keeper)["look"], local()

    def look(self: Any, *args: Any, latest: str, figures: Any, **more: Any) -> Any:
        told.latest = max(latest, figures.as_of or "")
        return whole(self, *args, latest=latest, figures=figures, **more)

    def step(decide: Any, held: Any, facts: Any, *_: Any) -> Any:
        return decide(facts=replace(facts, latest=told.latest or facts.began))

    return together(_steps(step)(), patch.object(keeper.Keeper, "look", look))


# -- evidence and promises ------------------------------------------------------------------------


def _missing_fail(version: Any, arms: Any, *more: Any) -> Any:
    """Weigh decisions without an outcome as failures, by the days that have any."""
    return _WEIGH(version, {day: replace(each, n=each.n + 1) for day, each in arms.items()}, *more)


def _few_will_do(weighed: Any, figures: Any, policy: Any) -> Any:
    few = {"min_units": 1, "min_days": 1, "min_confidence": 0.0}
    return _LACKING(weighed, figures, policy.model_copy(update=few))


def _waiting_fails(held: Any, version: Any, facts: Any, policy: Any) -> Any:
    """Take what has no outcome yet for a broken promise."""
    failed = tuple((day, n, 0) for day, n in facts.figures.waiting)
    weighed = replace(facts.weighed, by_day=(*facts.weighed.by_day, *failed))
    figures = replace(facts.figures, waiting=())
    return _WATCH(held, version, replace(facts, weighed=weighed, figures=figures), policy)


def _promise_falls(held: Any, *more: Any) -> Any:
    """Make a promise anew where it grows, whatever it was before."""
    found = _RENEWED(held and replace(held, promised=held.promised and 1e-4), *more)
    return None if found == held.promised else found


def _promise_of_its_rate(held: Any, version: Any, facts: Any, *more: Any) -> Any:
    found = _RENEWED(held, version, facts, *more)
    return found and min(max(found, facts.weighed.anytime[1]), 0.99)


_WEIGH, _LACKING, _WATCH = life.weigh, life.lacking, life.watch
_RENEWED = vars(life)["_renewed"]

# -- words ----------------------------------------------------------------------------------------


def _topics(topic: Callable[[Any, Any, str | None], str | None]) -> Break:
    """Tell of a transition by another topic than it has."""
    whole: Any = vars(telling)["_topic"]
    return changed(telling, "_topic", lambda old, new: topic(old, new, whole(old, new)))


def _told_beforehand() -> AbstractContextManager[object]:
    """Write the signal of a transition by itself, and then the transition."""
    begin: Any = keeper.Keeper.__init__

    class Twice:
        def __init__(self, whole: Any) -> None:
            self._whole = whole

        def transact(self, parts: Any) -> bool:
            said = [part for part in parts if part.location.table == tables.SIGNALS]
            rest = [part for part in parts if part.location.table != tables.SIGNALS]
            if said:
                self._whole.transact(said)
            return bool(self._whole.transact(rest))

    def __init__(self: Any, *, transactions: Any, **more: Any) -> None:
        begin(self, transactions=Twice(transactions), **more)

    return patch.object(keeper.Keeper, "__init__", __init__)


def _mirrors_are_anyones() -> AbstractContextManager[object]:
    """Take a mirror that a worker wrote for what an agent put there."""
    return together(
        patch.object(router, "has_new_version", lambda old, new: False),
        patch.object(router.Router, "_mirror", lambda self, record, _: _UNKNOWN(record)),
    )


_UNKNOWN: Any = vars(router)["_unknown"]

# -- versions -------------------------------------------------------------------------------------


def _listed(otherwise: Callable[[Any], Mapping[str, Any]]) -> Break:
    """List a version that says something else than was planned."""
    whole: Any = vars(admission)["_immutable"]

    def _immutable(version: Any) -> Any:
        return whole(version.model_copy(update=dict(otherwise(version))))

    return changed(admission, "_immutable", _immutable)


def _without_conditions(version: Any) -> Mapping[str, Any]:
    if version.origin != "drift":
        return {}
    plain = version.definition.model_dump(mode="json") | {"conditions": None}
    return {"definition": PatternDefinition.model_validate(plain)}


def _nobody_follows() -> AbstractContextManager[object]:
    """Let no version follow one that broke its promise."""
    whole: Any = Admission.admit

    def admit(self: Any, definition: Any, *, origin: str, **more: Any) -> Any:
        return None if origin == "drift" else whole(self, definition, origin=origin, **more)

    return patch.object(Admission, "admit", admit)


def _follows_from_before() -> AbstractContextManager[object]:
    """Let a version that follows count what the one before it was judged by."""
    whole: Any = vars(Admission)["_draft"]

    def _draft(self: Any, *more: Any) -> Any:
        draft = whole(self, *more)
        begins = draft.effective_from - 3 * DAY_S * (draft.origin == "drift")
        return draft.model_copy(update={"effective_from": begins})

    return together(
        patch.object(Admission, "_draft", _draft),
        patch.object(admission, "_fence", lambda version: [admission.mark(version)]),
    )


def _follows_as_active() -> AbstractContextManager[object]:
    whole: Any = admission.plan

    def plan(draft: Any, row: Any, stored: Any) -> Any:
        begin = {"state": "active" if draft.origin == "drift" else "candidate"}
        with patch.object(admission, "_BEGIN", begin):
            return whole(draft, row, stored)

    return patch.object(admission, "plan", plan)


def _rewritten_in_place() -> AbstractContextManager[object]:
    """Write into a version whatever is changed of its pattern."""
    whole: Any = admission.plan

    def plan(draft: Any, row: Any, stored: Any) -> Any:
        planned = whole(draft, row, stored)
        if planned.change != "changed in place":
            return planned
        version = planned.version
        sk = keys.pattern_version_sk(version.definition.pattern_id, version.version)
        says = {"definition": version.definition.model_dump(mode="json")}
        more = Update(Location(tables.MEMORY, keys.Key(version.pk, sk)), says)
        return replace(planned, writes=[*planned.writes, more])

    return together(
        patch.object(admission, "plan", plan),
        patch.object(patterns, "plan", plan),
    )


def _moves(change: Callable[[Any, Any], Any]) -> Break:
    """Put aside and take back otherwise: by the life before, and the step that it takes."""
    whole: Any = vars(lives)["_move"]

    def _move(
        deployment: Any, pattern_id: str, owner: Any, step: Any, *more: Any, **kw: Any
    ) -> Any:
        return whole(deployment, pattern_id, owner, lambda held: change(held, step), *more, **kw)

    return changed(lives, "_move", _move)


def _aside_is_broken(held: Any, step: Any) -> Any:
    after = step(held)
    return replace(after, drifted=after.state == "retired")


def _drift_forgotten() -> AbstractContextManager[object]:
    """Store of no pattern that it was retired for a broken promise."""
    whole: Any = telling.row_after
    return patch.object(telling, "row_after", lambda *more: {**whole(*more), "drifted": False})


# -- grants ---------------------------------------------------------------------------------------


def _grant_begins_anew() -> AbstractContextManager[object]:
    """Let whatever is changed of a pattern make it a candidate."""
    whole: Any = admission.current_row
    return patch.object(
        admission, "current_row", lambda version: {**whole(version), "state": "candidate"}
    )


def _copies_stay() -> AbstractContextManager[object]:
    whole: Any = vars(patterns)["_share"]
    return patch.object(
        patterns, "_share", lambda items, version, before: whole(items, version, set())
    )


def _granted_as_read(
    version: Any, row: Any, found: Mapping[str, Any], *, reads: Any, transactions: Any
) -> bool:
    """Make copies for whom the list named when it was read."""
    made = [
        transactions.transact([Put(tables.MEMORY, copy_of(version, row, reader, found[reader]))])
        for reader in sorted(found)
    ]
    return all(made)


def _copies_lag() -> AbstractContextManager[object]:
    """Tell no copy what its pattern became."""
    whole: Any = vars(publish)["_update"]

    def _update(place: Location, row: Any, figures: Mapping[str, Any], moment: int) -> Any:
        is_copy = place.key.pk.endswith("#shared")
        left_out = life.LIFE if is_copy else ()
        kept = {name: figures[name] for name in figures if name not in left_out}
        return whole(place, row, kept, moment)

    return patch.object(publish, "_update", _update)


def _seasons(rule: int, what: str, breaks: Break, more: Mapping[str, Any] = QUIET) -> Mutant:
    return Mutant(rule, what, breaks, (SEASONS,), more)


LIVES = {
    # Promotions have evidence, and promises what they are made of.
    "any-evidence-will-do": _seasons(
        18,
        "whoever waits for evidence is promoted",
        changed(account.Account, "chosen", lambda self, policy: sorted(self.waiting)),
    ),
    "missing-is-failed": _seasons(
        18,
        "a day's evidence counts a decision more than have an outcome",
        changed(keeper, "weigh", _missing_fail),
    ),
    "few-units-will-do": _seasons(
        18, "evidence promotes, by however few units", changed(keeper, "lacking", _few_will_do)
    ),
    "overdue-forgiven": _seasons(
        18,
        "what is overdue does not count against a promotion",
        changed(life, "_if_overdue_failed", lambda *_: math.inf),
    ),
    "readers-promote": _seasons(
        18, "a candidate that is granted to somebody is promoted", _steps(_readers_promote)
    ),
    "nobody-promoted": _seasons(
        18,
        "no evidence suffices",
        changed(account.Account, "chosen", lambda self, policy: []),
    ),
    "promise-falls": _seasons(
        18, "a promise may become less", changed(life, "_renewed", _promise_falls)
    ),
    "promise-of-its-luck": _seasons(
        18,
        "a promise rises to the most that its rate may be",
        changed(life, "_renewed", _promise_of_its_rate),
    ),
    # States follow from what is known.
    "waiting-is-failed": _seasons(
        21,
        "a decision that still has its time breaks a promise",
        changed(life, "watch", _waiting_fails),
    ),
    "doubted-too-soon": _seasons(
        21,
        "a quarter of what a doubt takes degrades",
        _rules(lambda policy: {"degraded_at": policy.degraded_at / 4}),
    ),
    "retired-too-soon": _seasons(
        21, "a doubt retires", _rules(lambda policy: {"retired_at": policy.degraded_at})
    ),
    "never-doubted": _seasons(21, "nothing degrades", _rules(lambda _: {"degraded_at": 1e12})),
    "never-retired": _seasons(
        21, "no broken promise retires", _rules(lambda _: {"retired_at": 1e12})
    ),
    "doubt-stays": _seasons(21, "a doubt is never taken back", _steps(_stays_in_doubt)),
    "doubt-taken-back": _seasons(
        21, "a doubt is taken back at the next look", _rules(lambda _: {"recovered_at": 1e12})
    ),
    "never-asleep": _seasons(21, "nothing falls asleep", changed(life, "_sleeps", lambda *_: "")),
    "faint-is-believed": _seasons(
        21,
        "what has hardly an outcome left is believed",
        _rules(lambda _: {"dormant_n_eff": 0.0}),
    ),
    "never-awake": _seasons(21, "what sleeps never wakes", _steps(_stays_asleep)),
    "asleep-by-the-wall": _seasons(
        21, "a pattern falls asleep when its agents rest", _steps(_by_the_wall)
    ),
    "asleep-by-its-beginning": _seasons(
        21,
        "the day on which a pattern begins is taken for one of its agents' decisions",
        _steps(_by_its_beginning),
    ),
    "woken-by-others": _seasons(
        21, "a late outcome of what it does not match wakes a pattern", _woken_by_others
    ),
    "wakes-as-new": _seasons(21, "what wakes is a candidate", _steps(_wakes_as_new)),
    "comes-back": _seasons(21, "what was put aside wakes by itself", _steps(_comes_back)),
    "revived-as-new": _seasons(
        21,
        "what is taken back is a candidate",
        _moves(
            lambda held, step: step(
                replace(held, was="candidate") if held.state == "retired" else held
            )
        ),
    ),
    # Each step is told, once, and nothing else is.
    "promotion-untold": _seasons(
        19,
        "nobody is told of a promotion",
        _topics(lambda old, new, topic: None if topic == telling.PROMOTED else topic),
    ),
    "doubt-untold": _seasons(
        19,
        "nobody is told that a pattern is degraded",
        _topics(lambda old, new, topic: None if topic == telling.DEGRADED else topic),
    ),
    "end-untold": _seasons(
        19,
        "nobody is told that a pattern is retired",
        _topics(lambda old, new, topic: None if topic == telling.RETIRED else topic),
    ),
    "end-told-again": _seasons(
        19,
        "a retired pattern that is taken back is told as retired",
        _topics(lambda old, new, topic: telling.RETIRED if old.state == "retired" else topic),
    ),
    "told-beforehand": _seasons(19, "a step is told before it is one", _told_beforehand, STORMY),
    "own-signals-refused": _seasons(
        19,
        "a signal in the pipeline's name is nobody's",
        changed(deliver, "is_told", lambda signal, reads: False),
    ),
    "own-mirrors-refused": _seasons(
        19, "the mirror of a signal of ours starts work again", _mirrors_are_anyones
    ),
    # A version says one thing for good; one that follows begins from nothing.
    "nobody-follows": _seasons(
        22, "no version follows one that broke its promise", _nobody_follows
    ),
    "drift-forgotten": _seasons(
        22, "no row says that its pattern broke a promise", _drift_forgotten, STORMY
    ),
    "parent-lost": _seasons(
        22, "a version that follows names no parent", _listed(lambda _: {"parent": None})
    ),
    "follows-anything": _seasons(
        22, "a version that follows has no conditions", _listed(_without_conditions)
    ),
    "follows-from-before": _seasons(
        22, "a version that follows counts days of its parent", _follows_from_before
    ),
    "follows-as-active": _seasons(
        22, "a version that follows is believed at once", _follows_as_active
    ),
    "aside-is-broken": _seasons(22, "what is put aside is followed", _moves(_aside_is_broken)),
    "broken-taken-back": _seasons(
        22,
        "a broken promise is taken back by hand",
        _moves(lambda held, step: step(replace(held, drifted=False))),
        _CROWDED,
    ),
    "version-rewritten": _seasons(22, "a grant is written into the version", _rewritten_in_place),
    # Who may read a pattern sees it as it is, and whose grant was revoked does not.
    "grant-begins-anew": _seasons(23, "a grant makes a pattern a candidate", _grant_begins_anew),
    "copies-stay": _seasons(23, "a revocation leaves the copy", _copies_stay),
    "granted-as-read": _seasons(
        23,
        "a worker makes a copy for whom an older list names",
        changed(keeper, "grant", _granted_as_read),
        _CROWDED,
    ),
    "copies-lag": _seasons(23, "a copy does not say what its pattern became", _copies_lag),
    "shared-for-good": _seasons(
        23, "what was shared stays so, though nobody may read it", _steps(_stays_shared)
    ),
}
