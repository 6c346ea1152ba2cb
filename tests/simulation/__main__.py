"""Run many histories on all cores, replay one, or see how soon each mutant is caught."""

import argparse
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.histories import Lived, deaths, run
from tests.simulation.weather import Weather

_LOT = 20
_ALL_SORTS = ("signals", "broadcasts", "crowds", "deadlines", "counting", "memory")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; gives 1 if a promise was broken."""
    options = _parser().parse_args(arguments)
    if options.mutants is not None:
        from tests.simulation.mutants import table

        return table(options.mutants, patience=options.seeds, jobs=options.jobs)
    if options.deaths is not None:
        return _die(options.seed or 0, options.deaths)
    if options.seed is not None:
        return _replay(options.seed)
    return _many(range(options.start, options.start + options.seeds), options.jobs, options.keep)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000, help="how many histories")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="replay this one and say what it was")
    parser.add_argument("--deaths", type=int, metavar="STRIDE", help="die at so many calls in turn")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--keep", type=int, default=5, help="failing seeds that are shown")
    parser.add_argument("--mutants", nargs="*", metavar="NAME", help="break rules; all by default")
    return parser


def _replay(seed: int) -> int:
    report = run(seed)
    print(report.weather)
    print(f"{report.handled} messages, {report.calls} calls, {report.crashes} crashes")
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


def _many(seeds: range, jobs: int, keep: int) -> int:
    began, failing, totals, kinds = time.perf_counter(), [], Counter[str](), Counter[str]()
    for report in reports(seeds, jobs):
        totals.update(handled=report.handled, calls=report.calls, crashes=report.crashes)
        totals.update(deliveries=report.deliveries)
        if report.violations:
            failing.append(report)
            kinds.update({_kind(each) for each in report.violations})
    for report in failing[:keep]:
        print(f"seed {report.seed} ({', '.join(report.weather.themes)}):")
        for violation in report.violations[:4]:
            print(f"  - {violation[:240]}")
        print(f"  .venv/bin/python -m tests.simulation --seed {report.seed}")
    for kind, count in kinds.most_common():
        print(f"{count:6} seeds: {kind}")
    took = time.perf_counter() - began
    print(
        f"{len(seeds)} seeds in {took:.1f} s ({len(seeds) / took * 60:.0f} a minute):"
        f" {totals['deliveries']} deliveries, {totals['handled']} messages,"
        f" {totals['calls']} calls, {totals['crashes']} crashes; {len(failing)} broke a promise"
    )
    return 1 if failing else 0


def reports(seeds: Sequence[int], jobs: int) -> Iterator[Lived]:
    """Run histories on some processes, in the order of their seeds."""
    if jobs <= 1:
        yield from map(run, seeds)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(run, seeds, chunksize=_LOT)


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
