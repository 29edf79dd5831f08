"""How far a long piece of work is: a bar on the terminal, and nothing anywhere else."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE_S = 1.0
"""What is over sooner shows none."""


@contextmanager
def shown_progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Gives a function to call with what is done of `total`; it draws on stderr, if that is a terminal."""
    if not sys.stderr.isatty():
        yield _show_nothing
        return
    bar = _Bar(what, total)
    try:
        yield bar.show
    finally:
        bar.close()


def _show_nothing(_done: int) -> None:
    return


class _Bar:
    """Appears after `PATIENCE_S`; only then is rich imported."""

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total = what, total
        self._begun_s = time.monotonic()
        self._update: Callable[[int], None] | None = None
        self._stop: Callable[[], None] | None = None

    def show(self, done: int) -> None:
        if self._update is None:
            if time.monotonic() - self._begun_s < PATIENCE_S:
                return
            self._open()
        if self._update is not None:
            self._update(done)

    def close(self) -> None:
        if self._stop is not None:
            self._stop()

    def _open(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        task = bar.add_task(self._what, total=self._total)
        bar.start()
        self._update = lambda done: bar.update(task, completed=done)
        self._stop = bar.stop
