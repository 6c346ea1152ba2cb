"""Run many histories on all cores, replay one, or see how soon each mutant is caught."""

import argparse
import math
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from random import Random
from typing import NamedTuple

from tests.simulation.histories import Lived, deaths, run
from tests.simulation.scene import OF_WEEKS
from tests.simulation.weather import QUIET, THEMES, Weather, draw, only

_LOT = 20
_ALL_SORTS = ("signals", "broadcasts", "crowds", "deadlines", "counting", "memory")


class Chosen(NamedTuple):
    """The one theme to live through, if any, and whether nothing dies meanwhile."""

    name: str | None
    is_quiet: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; gives 1 if a promise was broken."""
    options = _parser().parse_args(arguments)
    if options.mutants is not None:
        from tests.simulation.mutants import table

        return table(options.mutants, patience=options.seeds, jobs=options.jobs)
    if options.deaths is not None:
        return _die(options.seed or 0, options.deaths)
    theme = Chosen(options.theme, options.quiet)
    if options.seed is not None:
        return _replay(options.seed, theme)
    seeds = range(options.start, options.start + options.seeds)
    return _many(seeds, options.jobs, options.keep, theme)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000, help="how many histories")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="replay this one and say what it was")
    parser.add_argument("--theme", choices=sorted(THEMES), help="live through this one only")
    parser.add_argument("--quiet", action="store_true", help="with --theme: nothing dies")
    parser.add_argument("--deaths", type=int, metavar="STRIDE", help="die at so many calls in turn")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--keep", type=int, default=5, help="failing seeds that are shown")
    parser.add_argument("--mutants", nargs="*", metavar="NAME", help="break rules; all by default")
    return parser


def _replay(seed: int, theme: Chosen) -> int:
    report = _run(seed, theme)
    print(report.weather)
    print(f"{report.handled} messages, {report.calls} calls, {report.crashes} crashes")
    for step in sorted(report.steps):
        print(f"a pattern went from {step}")
    for violation in report.violations:
        print(f"- {violation}")
    return 1 if report.violations else 0


def _die(seed: int, stride: int) -> int:
    """Live one quiet history in which a bit of everything happens, dying at each call in turn."""
    weather = Weather(themes=_ALL_SORTS, agents=3, actions=12, skews=(0.0,))
    deadly = [report for report in deaths(seed, weather, stride=stride) if report.crashes]
    broken = [each for each in deadly if each.violations]
    for report in broken[:5]:
        print(f"death at {report.weather.death}: {report.violations[0][:240]}")
    print(f"{len(deadly)} deaths; {len(broken)} broke a promise")
    return 1 if broken or not deadly else 0


def _many(seeds: range, jobs: int, keep: int, theme: Chosen) -> int:
    began, failing, totals, kinds = time.perf_counter(), [], Counter[str](), Counter[str]()
    steps, fooled, planted = Counter[str](), 0, 0
    for report in reports(seeds, jobs, theme):
        steps.update(report.steps)
        planted += report.is_fooled is not None
        fooled += bool(report.is_fooled)
        totals.update(handled=report.handled, calls=report.calls, crashes=report.crashes)
        totals.update(deliveries=report.deliveries)
        if report.violations:
            failing.append(report)
            kinds.update({_kind(each) for each in report.violations})
    for report in failing[:keep]:
        print(f"seed {report.seed} ({', '.join(report.weather.themes)}):")
        for violation in report.violations[:4]:
            print(f"  - {violation[:240]}")
        more = f" --theme {theme.name}{' --quiet' * theme.is_quiet}" if theme.name else ""
        print(f"  .venv/bin/python -m tests.simulation --seed {report.seed}{more}")
    for kind, count in kinds.most_common():
        print(f"{count:6} seeds: {kind}")
    for step, count in sorted(steps.items()):
        print(f"{count:6} seeds: a pattern went from {step}")
    # Each by itself at most alpha of them: beyond that by three deviations is no chance.
    alpha = OF_WEEKS.alpha
    bound = alpha * planted + 3 * math.sqrt(alpha * (1 - alpha) * planted)
    if planted:
        print(f"{fooled:6} of {planted} seeds promoted what is nothing; {bound:.0f} may")
    took = time.perf_counter() - began
    print(
        f"{len(seeds)} seeds in {took:.1f} s ({len(seeds) / took * 60:.0f} a minute):"
        f" {totals['deliveries']} deliveries, {totals['handled']} messages,"
        f" {totals['calls']} calls, {totals['crashes']} crashes; {len(failing)} broke a promise"
    )
    return 1 if failing or fooled > bound else 0


def reports(seeds: Sequence[int], jobs: int, theme: Chosen) -> Iterator[Lived]:
    """Run histories on some processes, in the order of their seeds; of one theme if it says so."""
    live = partial(_run, theme=theme)
    if jobs <= 1:
        yield from map(live, seeds)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(live, seeds, chunksize=_LOT)


def _run(seed: int, theme: Chosen) -> Lived:
    if theme.name is None:
        return run(seed)
    weather = only(theme.name, draw(Random(seed)))
    return run(seed, replace(weather, **QUIET) if theme.is_quiet else weather)


def _kind(violation: str) -> str:
    """Leave out of a violation what differs from case to case."""
    text = re.sub(r"Key\(.*?\)|\{.*?\}|\(.*?\)|\[.*?\]|'.*?'", "..", violation)
    words = re.sub(r"[\w#.:-]*[0-9#][\w#.:-]*|greedy|modest", "..", text).split()
    return re.sub(r"(\.\. )+", ".. ", " ".join(words))[:110]


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of sets is part of a history, so that a seed gives the same one everywhere.
        again = [sys.executable, "-m", "tests.simulation", *sys.argv[1:]]
        os.execve(sys.executable, again, {**os.environ, "PYTHONHASHSEED": "0"})
    sys.exit(main())
