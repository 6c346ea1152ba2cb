"""A progress bar with live counters, for a terminal."""

from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from sharpwave.infra.demo.progress import Progress


class Show:
    """Shows each `Progress` it is told, between entering and leaving a `with` block.

    Where nobody watches a terminal it prints nothing, so it may be used either way.
    """

    def __init__(self, console: Console) -> None:
        self._bar = Bar(
            TextColumn("{task.description}", justify="left"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._task = self._bar.add_task("getting ready", total=None)
        self._live = Live(console=console, refresh_per_second=8, transient=True)
        self._visible = console.is_terminal

    def __enter__(self) -> Self:
        if self._visible:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._visible:
            self._live.stop()

    def __call__(self, progress: Progress) -> None:
        """Show the latest counters."""
        if self._visible:
            self._live.update(self.picture(progress))

    def picture(self, progress: Progress) -> RenderableType:
        """Lay the bar and the counters out."""
        title = f"{progress.phase}  {progress.day or ''}".strip()
        total = progress.total_days or None
        self._bar.update(self._task, description=title, completed=progress.done_days, total=total)
        return Group(self._bar, _counters(progress), _patterns(progress))


def _counters(progress: Progress) -> Table:
    p50 = "-" if progress.p50_ms is None else f"{progress.p50_ms:.0f} ms"
    counters = {
        "due": progress.written,
        "delivered": progress.delivered,
        "processed": progress.processed,
        **progress.records,
        "p50": p50,
    }
    table = Table(box=None, pad_edge=False)
    for name in counters:
        table.add_column(name, justify="right")
    table.add_row(*(str(value) for value in counters.values()))
    return table


def _patterns(progress: Progress) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for one in progress.standings:
        if one.confidence is not None:
            filled = round(one.confidence * 20)
            name = one.pattern_id.removeprefix("pattern_").replace("_", " ")
            gauge = "█" * filled + "·" * (20 - filled)
            table.add_row(name, f"[cyan]{gauge}[/cyan]", f"{one.confidence:.2f}", f"n={one.n}")
    return table
