"""What a mutant is, and how one is made: functions of the product replaced for a history."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from random import Random
from typing import Any
from unittest.mock import patch

from tests.simulation.weather import SEASONS, Weather, draw, only

Break = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True, slots=True)
class Mutant:
    """A broken rule.

    Attributes:
        rule: which rule of reliability it breaks.
        what: how, in a few words.
        breaks: gives the context in which it is broken.
        themes: what agents are up to in the histories that look for it; all if empty.
        more: what else those histories have in common.
    """

    rule: int
    what: str
    breaks: Break
    themes: tuple[str, ...] = ()
    more: Mapping[str, Any] | None = None

    def weather(self, seed: int) -> Weather:
        """Give the weather of one of its histories."""
        drawn = draw(Random(seed))
        if self.themes == (SEASONS,):
            drawn = only(SEASONS, drawn)
        elif self.themes:
            drawn = replace(drawn, themes=self.themes)
        return replace(drawn, **dict(self.more or {}))


def changed(place: Any, name: str, value: Any) -> Break:
    """Break by putting something else in the place of one attribute."""
    return lambda: patch.object(place, name, value)


@contextmanager
def together(*contexts: AbstractContextManager[object]) -> Iterator[None]:
    """Break in several places at once."""
    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        yield


STORMY = {"crash_rate": 0.03, "refusal_rate": 0.03}
