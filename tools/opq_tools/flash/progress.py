"""How far it is: a bar on a terminal, nothing in a pipe."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn


class FlashProgress:
    """Progress of one run; `step` begins a stretch, `done` moves it on."""

    def __init__(self, bars: Progress | None) -> None:
        self._bars = bars
        self._task = None if bars is None else bars.add_task("", total=None)

    def step(self, what: str, total_bytes: int) -> None:
        """A new stretch of `total_bytes`."""
        if self._bars is not None and self._task is not None:
            self._bars.reset(self._task, description=what, total=max(1, total_bytes))

    def done(self, count: float) -> None:
        """So many bytes more."""
        if self._bars is not None and self._task is not None:
            self._bars.advance(self._task, count)


@contextmanager
def steps(quiet: bool = False) -> Iterator[FlashProgress]:
    """A bar on stderr when that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield FlashProgress(None)
        return
    columns = (TextColumn("{task.description:<24}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        yield FlashProgress(bars)
