"""Progress of flashing: a bar on a terminal, nothing in a pipe."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn


class FlashProgress:
    """Progress of one run; `step` begins a step, `done` advances it."""

    def __init__(self, bars: Progress | None) -> None:
        self._bars = bars
        self._task = None if bars is None else bars.add_task("", total=None)

    def step(self, what: str, total_bytes: int) -> None:
        """Begins a new step of `total_bytes`."""
        if self._bars is not None and self._task is not None:
            self._bars.reset(self._task, description=what, total=max(1, total_bytes))

    def done(self, count: float) -> None:
        """Adds `count` bytes to the progress."""
        if self._bars is not None and self._task is not None:
            self._bars.advance(self._task, count)


@contextmanager
def steps(quiet: bool = False) -> Iterator[FlashProgress]:
    """Shows a bar on stderr where that is a terminal, unless `quiet`."""
    if quiet or not sys.stderr.isatty():
        yield FlashProgress(None)
        return
    columns = (TextColumn("{task.description:<24}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        yield FlashProgress(bars)
