"""Draws patterns, and how agents do: each picture as SVG and PNG, with its numbers as CSV beside.

Equal numbers give equal files: no date, no random names, no fonts of the machine in the SVG. What
lines are is told by their form and in words, never by colour alone.
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from sharpwave.infra.errors import OperationFailed
from sharpwave.infra.operate.pictures import Picture

FORMS = ("svg", "png", "csv")
#: Names in an SVG are made from this and what they name.
_SALT = "sharpwave"
_SETTINGS: Any = {
    "svg.hashsalt": _SALT,
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "text.parse_math": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
}
#: Colours that people tell apart who do not see all of them. Source: Okabe and Ito.
_BLUE, _ORANGE, _GREEN, _BLACK = "#0072B2", "#D55E00", "#009E73", "#000000"
_SIZE_INCHES = (9.0, 6.0)


def names_of(stem: str, pictures: Sequence[Picture]) -> list[str]:
    """Name the files that `draw` makes."""
    return [f"{stem}-{each.name}.{form}" for each in pictures for form in FORMS]


def draw(pictures: Sequence[Picture], folder: Path, stem: str) -> list[Path]:
    """Write pictures into a folder, which is made if absent; files of the same names go.

    Returns:
        What was written, by absolute path.

    Raises:
        OperationFailed: the folder cannot be written to.
        ModuleNotFoundError: the extra that draws is not installed.
    """
    # Only here: matplotlib takes a second to load. A canvas of its own keeps any display out.
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    contents: dict[str, bytes] = {}
    for picture in pictures:
        with matplotlib.rc_context():
            # Whatever the settings of whoever draws.
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_SETTINGS)
            figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
            FigureCanvasAgg(figure)
            figure.suptitle(picture.title, x=0.01, ha="left", fontsize=11)
            _DRAWN[picture.name](picture, figure)
            # Without dates and versions, equal pictures are equal files.
            of_form: dict[str, dict[str, str | None]] = {
                "svg": {"Date": None, "Creator": None, "Title": picture.title},
                "png": {"Software": None, "Title": picture.title},
            }
            files = {form: io.BytesIO() for form in of_form}
            for form, metadata in of_form.items():
                figure.savefig(files[form], format=form, dpi=120, metadata=metadata)
        found = {name: file.getvalue() for name, file in files.items()}
        found["csv"] = to_csv(picture).encode()
        contents |= {f"{stem}-{picture.name}.{form}": found[form] for form in FORMS}
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            target = (folder / name).resolve()
            target.write_bytes(content)
            written.append(target)
    except OSError as error:
        raise OperationFailed(f"{folder} cannot be written: {error}") from error
    return written


def to_csv(picture: Picture) -> str:
    """Give a picture's numbers as CSV; what is not known is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(picture.columns)
    writer.writerows(picture.rows)
    return text.getvalue()


def _columns(picture: Picture) -> dict[str, list[Any]]:
    columns = zip(*picture.rows, strict=True) if picture.rows else [()] * len(picture.columns)
    found: dict[str, list[Any]] = {
        name: [float("nan") if value is None else value for value in column]
        for name, column in zip(picture.columns, columns, strict=True)
    }
    if "day" in found:
        found["day"] = [date.fromisoformat(day) for day in found["day"]]
    return found


def _turns(picture: Picture, axes: Any) -> None:
    """Mark the days on which a pattern came into another state, in words."""
    for turn in picture.turns:
        at = date.fromisoformat(turn.day)
        axes.axvline(at, color=_BLACK, linewidth=0.8, linestyle=(0, (1, 3)))
        axes.annotate(
            turn.state,
            (at, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(3, -3),
            textcoords="offset points",
            rotation=90,
            va="top",
            fontsize=8,
        )


def _confidence(picture: Picture, figure: Any) -> None:
    above, below = figure.subplots(2, 1, sharex=True)
    of = _columns(picture)
    days = of["day"]
    above.fill_between(
        days,
        of["interval_low"],
        of["interval_high"],
        facecolor=_BLUE,
        alpha=0.2,
        hatch="//",
        edgecolor=_BLUE,
        linewidth=0,
        label="90 % interval (decayed)",
    )
    above.plot(days, of["success_rate"], color=_BLUE, marker=".", label="success rate")
    above.plot(days, of["base_rate"], color=_BLACK, linestyle="--", label="rate of the rest")
    above.set_ylabel("share of successes (0 to 1)")
    below.plot(days, of["confidence"], color=_GREEN, marker=".", label="confidence")
    asked = of["confidence_asked"]
    below.plot(days, asked, color=_ORANGE, linestyle="--", label="asked for a promotion")
    below.set_ylabel("confidence (probability)")
    for axes in (above, below):
        axes.set_ylim(-0.02, 1.02)
        axes.legend(loc="lower right", fontsize=8)
        _turns(picture, axes)
    below.set_xlabel("day")
    figure.autofmt_xdate()


def _evidence(picture: Picture, figure: Any) -> None:
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    of = _columns(picture)
    days = of["day"]
    above.plot(days, of["log10_evidence"], color=_BLUE, marker=".", label="evidence")
    bar = of["log10_bar"]
    above.plot(days, bar, color=_ORANGE, linestyle="--", label="suffices alone (e-LOND)")
    above.axhline(0, color=_BLACK, linewidth=0.8)
    above.set_ylabel("log10 of the e-value")
    above.legend(loc="best", fontsize=8)
    _turns(picture, above)
    below.step(days, of["units"], color=_BLACK, where="post")
    below.set_ylabel("units")
    below.set_xlabel("day")
    figure.autofmt_xdate()


def _reliability(picture: Picture, figure: Any) -> None:
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    of = _columns(picture)
    stated, true = of["mean_stated_confidence"], of["success_rate"]
    above.plot([0, 1], [0, 1], color=_BLACK, linestyle="--", label="what is stated comes true")
    above.plot(stated, true, color=_BLUE, marker="o", label="what came true")
    for x, y, n in zip(stated, true, of["outcomes"], strict=True):
        above.annotate(f"n {n}", (x, y), xytext=(5, -10), textcoords="offset points", fontsize=8)
    above.set_ylabel("share of successes (0 to 1)")
    above.set_ylim(-0.02, 1.02)
    above.legend(loc="upper left", fontsize=8)
    middles = [low + 0.05 for low in of["bin_from"]]
    below.bar(middles, of["outcomes"], width=0.09, color=_BLUE, edgecolor=_BLACK, hatch="//")
    below.set_ylabel("outcomes")
    below.set_xlabel("stated confidence (0 to 1)")
    below.set_xlim(-0.02, 1.02)


def _budget(picture: Picture, figure: Any) -> None:
    above, below = figure.subplots(2, 1, sharex=True)
    of = _columns(picture)
    days = of["day"]
    above.step(days, of["alpha_spent"], where="post", color=_BLUE, label="taken by candidates")
    above.plot(days, of["alpha"], color=_ORANGE, linestyle="--", label="all there is (alpha)")
    above.set_ylabel("false discovery rate")
    above.set_ylim(bottom=0)
    below.step(days, of["candidates"], where="post", color=_BLACK, label="candidates")
    promoted = of["promoted"]
    below.step(days, promoted, where="post", color=_GREEN, linestyle="-.", label="promoted")
    below.set_ylabel("patterns")
    below.set_ylim(bottom=0)
    below.set_xlabel("day")
    for axes in (above, below):
        axes.legend(loc="center right", fontsize=8)
    figure.autofmt_xdate()


_MARKS, _DASHES = "osD^vP*X", ("-", "--", "-.", ":")
_COLOURS = (_BLUE, _ORANGE, _GREEN, _BLACK)


def _by_line(picture: Picture, figure: Any) -> None:
    """Draw each number in axes of its own, by day, with a line for each subject."""
    of = _columns(picture)
    shown = [name for name in picture.columns if name not in ("line", "line_volume", "day")]
    lines = list(dict.fromkeys(of["line"]))[: len(_MARKS)]
    many = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for axes, name in zip(many, shown, strict=True):
        for number, line in enumerate(lines):
            at = [place for place, each in enumerate(of["line"]) if each == line]
            axes.plot(
                [of["day"][place] for place in at],
                [of[name][place] for place in at],
                color=_COLOURS[number % len(_COLOURS)],
                linestyle=_DASHES[number // 2 % len(_DASHES)],
                marker=_MARKS[number],
                markersize=4,
                label=line,
            )
        axes.set_ylabel(_UNITS.get(name, name.replace("_", " ")))
        if name in ("success_rate", "quality"):
            axes.set_ylim(-0.02, 1.02)
        else:
            axes.set_ylim(bottom=0)
    drawn, labels = many[0].get_legend_handles_labels()
    figure.legend(drawn, labels, loc="outside lower center", ncols=2, fontsize=7)
    many[-1].set_xlabel("day")
    figure.autofmt_xdate()


_UNITS = {
    "success_rate": "success (0 to 1)",
    "quality": "quality (0 to 1)",
    **{f"p{share}_s": f"{share} % within, s" for share in (50, 95, 99)},
}
_DRAWN: Mapping[str, Callable[[Picture, Any], None]] = {
    "confidence": _confidence,
    "evidence": _evidence,
    "reliability": _reliability,
    "budget": _budget,
    **dict.fromkeys(("volumes", "success", "times"), _by_line),
}
