"""Chaos as a command: `python -m tests.chaos`, which is `make chaos`."""

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sharpwave.infra.cli import obey
from sharpwave.infra.cli.command import Arguments, Parser, add_common
from sharpwave.infra.cli.extras import need
from sharpwave.infra.cli.output import Answer

if TYPE_CHECKING:
    from tests.chaos.controls import Control
    from tests.chaos.plan import Draw, Plan, Scale
    from tests.chaos.run import Trial

_MOST_AGENTS = 900
_CONTROLS: "tuple[Control, ...]" = ("ack-first", "no-marks")


def main(argv: Sequence[str] | None = None) -> int:
    """Run what a command line asks for, and give the exit code."""
    chaos = Parser(
        prog="python -m tests.chaos", description="Break the system at random; count what it lost."
    )
    add_common(chaos, is_root=True)
    chaos.set_defaults(handler=_chaos)
    chaos.add_argument("--seed", type=int, default=1, help="of all faults and the load; default: 1")
    chaos.add_argument("--runs", type=int, default=1, help="runs, with this seed and the next ones")
    chaos.add_argument("--signals", type=int, help="signals of one run")
    chaos.add_argument("--kills", type=int, help="processes killed in one run")
    chaos.add_argument("--freezes", type=int, help="processes frozen in one run")
    chaos.add_argument("--seconds", type=float, help="over which the signals of a run are spread")
    chaos.add_argument(
        "--router", choices=["pump", "lambda"], default="pump", help="what reads the streams"
    )
    chaos.add_argument("--quick", action="store_true", help="a short run")
    chaos.add_argument("--crowd", type=int, help="plain agents of one run; 0 for none")
    chaos.add_argument(
        "--only", metavar="DRAWS", help="what may go wrong beside kills and faults, as a,b,c"
    )
    chaos.add_argument("--without", metavar="DRAWS", help="what may not, as a,b,c; see --draws")
    chaos.add_argument(
        "--draws", action="store_true", help="list what may go wrong, and run nothing"
    )
    chaos.add_argument("--control", choices=_CONTROLS, help="run only this broken system")
    chaos.add_argument("--no-controls", action="store_true", help="run only the real system")
    chaos.add_argument("--folder", default=".sharpwave/chaos", help="for logs and histories")
    chaos.add_argument("--report", metavar="FILE", help="write everything there as JSON")
    chaos.add_argument(
        "--write-docs",
        metavar="FILE",
        nargs="?",
        const="docs/RELIABILITY.md",
        help="put the figures into this document; default: docs/RELIABILITY.md",
    )
    return obey(chaos, sys.argv[1:] if argv is None else argv)


def _chaos(args: Arguments) -> Answer:
    need("local")
    from sharpwave.schemas.numbers import plain_json
    from tests.chaos import report

    if args.draws:
        from tests.chaos.plan import DRAWS

        names = sorted(DRAWS)
        return Answer({"draws": names}, "\n".join(names))
    reports: list[Trial] = []
    # What is done is on paper before the next run begins: a long series may be interrupted.
    for run in (*_real(args), *_controls(args)):
        reports.append(run())
        if args.report:
            Path(args.report).write_text(plain_json(report.data(reports)) + "\n")
        if args.write_docs:
            report.write_docs(Path(args.write_docs), reports)
    data = {"ok": all(each.ok for each in reports), "runs": report.data(reports)}
    return Answer(data, "\n".join(map(report.text, reports)), ok=data["ok"] is True)


def _real(args: Arguments) -> "Iterator[Callable[[], Trial]]":
    from dataclasses import replace

    from tests.chaos.plan import make_plan

    for seed in () if args.control else range(args.seed, args.seed + args.runs):
        plan = make_plan(seed, _scale(args), draws=_draws(args))
        yield partial(_run, args, replace(plan, router=args.router))


def _controls(args: Arguments) -> "Iterator[Callable[[], Trial]]":
    from tests.chaos.plan import CONTROL, make_plan

    names: tuple[Control, ...] = (args.control,) if args.control else _CONTROLS
    for name in () if args.no_controls else names:
        # The broken systems are judged in plain circumstances, so that nothing else is caught.
        repeats = name != "ack-first"
        plan = make_plan(args.seed, CONTROL, draws=frozenset(), repeats=repeats)
        yield partial(_run, args, plan, name)


def _draws(args: Arguments) -> "frozenset[Draw]":
    from sharpwave.infra.errors import Misused
    from tests.chaos.plan import DRAWS

    only, without = (
        None if names is None else frozenset(filter(None, names.split(",")))
        for names in (args.only, args.without)
    )
    for name in (only or frozenset()) | (without or frozenset()):
        if name not in DRAWS:
            raise Misused(f"{name!r} is no draw; there are: {', '.join(sorted(DRAWS))}")
    chosen = DRAWS if only is None else DRAWS & only
    return chosen - (without or frozenset())


def _scale(args: Arguments) -> "Scale":
    from dataclasses import replace

    from sharpwave.infra.errors import Misused
    from tests.chaos.plan import FULL, QUICK

    named = {name: getattr(args, name) for name in ("signals", "kills", "freezes", "seconds")}
    wished = {name: value for name, value in named.items() if value is not None}
    for name, value in wished.items():
        if value <= 0:
            raise Misused(f"--{name} {value} makes no sense; give a number above 0")
    if args.crowd is not None:
        if not 0 <= args.crowd <= _MOST_AGENTS:
            raise Misused(f"--crowd {args.crowd} makes no sense; give 0 to {_MOST_AGENTS}")
        wished["crowd"] = args.crowd
    return replace(QUICK if args.quick else FULL, **wished)


def _run(args: Arguments, plan: "Plan", control: "Control | None" = None) -> "Trial":
    from tests.chaos.run import run

    name = control or f"seed-{plan.seed}"
    blows = ", ".join(f"{count} {kind}" for kind, count in plan.schedule().items())
    _say(f"{name}: {plan.scale.signals:,} signals over {plan.scale.seconds:g} s; {blows}")
    folder = Path(args.folder).resolve() / name
    return run(plan, control=control, folder=folder, tell=lambda text: _say(f"{name}: {text}"))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
