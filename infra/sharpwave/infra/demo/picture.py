"""A picture of how confidence in each pattern moved over the market's days."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sharpwave.infra.demo.knowledge import Sample

Line = list[tuple[date, float]]


def draw(samples: Sequence[Sample], path: Path) -> Path:
    """Write a PNG with one line per pattern; its folder is made if absent.

    Returns:
        The absolute path.
    """
    figure = Figure(figsize=(10, 5.5), layout="constrained")
    # A canvas of its own keeps pyplot, and with it any display, out.
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for pattern_id, line in lines(samples).items():
        name = pattern_id.removeprefix("pattern_").replace("_", " ")
        axes.plot(*zip(*line, strict=True), label=name, linewidth=1.8, marker=".")
    axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel("confidence: P(beats its base rate by 5 points)")
    axes.set_title("What the market made of each pattern", loc="left")
    axes.axhline(0.5, color="grey", linewidth=0.8, linestyle=":")
    axes.grid(alpha=0.25)
    figure.autofmt_xdate()
    if samples:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    target = path.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=120)
    return target


def lines(samples: Sequence[Sample]) -> dict[str, Line]:
    """Give each pattern's confidence by day, in order, from its first outcome on.

    Of one day the latest sample holds.
    """
    points: dict[str, dict[date, float]] = defaultdict(dict)
    for sample in samples:
        standing = sample.standing
        if standing.n and standing.confidence is not None:
            points[standing.pattern_id][date.fromisoformat(sample.day)] = standing.confidence
    return {name: sorted(days.items()) for name, days in sorted(points.items())}
